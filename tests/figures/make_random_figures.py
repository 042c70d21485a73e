"""Writes random.json beside itself: random numbers as PyTorch 2.13 (CPU) draws them.

Run it with PyTorch installed; the tests replay the file without. One case is a call (`new`: a
function of the library; `fill`: a method of a tensor of the given shape and type) after
`manual_seed`; cases of one chain go on from the stream as the case before left it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

FLOATS = ("float32", "float64", "float16", "bfloat16")
WHOLE = ("uint8", "int8", "int16", "int32", "int64", "bool")
SHAPES = ([], [1], [5], [15], [16], [19], [3, 4, 5])
FILLS: dict[str, list[list[Any]]] = {
    "uniform_": [[], [-2.5, 1.0]],
    "normal_": [[], [3.0, 0.5]],
    "exponential_": [[], [2.0]],
    "cauchy_": [[], [1.0, 2.0]],
    "log_normal_": [[], [0.5, 0.25]],
    "geometric_": [[0.25]],
    "bernoulli_": [[], [0.75]],
    "random_": [[], [100], [-7, 9]],
}
TENSOR = "tensor"  # {"tensor": values, "dtype": name}


def fill_cases() -> list[dict[str, Any]]:
    cases = []
    for name, ways in FILLS.items():
        for args in ways:
            for dtype in FLOATS:
                shape = SHAPES[len(cases) % len(SHAPES)]
                cases.append({"fill": name, "args": args, "shape": shape, "dtype": dtype})
    for dtype in WHOLE:
        cases.append({"fill": "random_", "args": [], "shape": [6], "dtype": dtype})
        cases.append({"fill": "bernoulli_", "args": [0.3], "shape": [6], "dtype": dtype})
    for name in ("uniform_", "normal_", "random_"):
        cases.append({"fill": name, "args": [], "shape": [5, 4], "dtype": "float32",
                      "transposed": True})
    return cases


def new_cases() -> list[dict[str, Any]]:
    weights = {TENSOR: [[0.1, 3.0, 0.5, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0, 0.5]], "dtype": "float32"}
    rates = {TENSOR: [0.5, 3.0, 9.5, 12.0, 400.0], "dtype": "float64"}
    counts = {TENSOR: [5.0, 60.0, 1000.0, 0.0, 20.0], "dtype": "float32"}
    chances = {TENSOR: [0.5, 0.1, 0.7, 0.3, 1.0], "dtype": "float32"}
    means = {TENSOR: [float(i) for i in range(18)], "dtype": "float32"}
    rows = [
        ("rand", [3, 2]), ("rand", [40]), ("randn", [3]), ("randn", [21]), ("randn", [2, 16]),
        ("randint", [10, [8]]), ("randint", [-5, 2**40, [8]]), ("randint", [0, 2**28, [4]]),
        ("randperm", [0]), ("randperm", [1]), ("randperm", [50]),
        ("bernoulli", [chances]), ("poisson", [rates]), ("binomial", [counts, chances]),
        ("multinomial", [weights, 3]), ("multinomial", [weights, 7, True]),
        ("multinomial", [weights, 1, True]), ("normal", [means, 2.0]), ("normal", [1.0, means]),
        ("normal", [means, means]), ("normal", [1.0, 3.0, [4]]), ("_standard_gamma", [rates]),
        ("dropout", [means, 0.3, True]), ("alpha_dropout", [means, 0.3, True]),
    ]
    return [{"new": name, "args": args} for name, args in rows]


def value_of(arg: Any) -> Any:
    if isinstance(arg, dict):
        return torch.tensor(arg[TENSOR], dtype=getattr(torch, arg["dtype"]))
    return arg


def run(case: dict[str, Any]) -> torch.Tensor:
    args = [value_of(arg) for arg in case["args"]]
    if "new" in case:
        return getattr(torch, case["new"])(*args)
    tensor = torch.zeros(case["shape"], dtype=getattr(torch, case["dtype"]))
    if case.get("transposed"):
        tensor = tensor.t()
    return getattr(tensor, case["fill"])(*args)


def answered(case: dict[str, Any]) -> dict[str, Any]:
    result = run(case)
    exact = result.double() if result.is_floating_point() else result.long()
    state = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
    return {**case, "result": str(result.dtype)[6:], "values": exact.tolist(), "state": state[:16]}


def main() -> None:
    chains = []
    for seed, cases in ((0, fill_cases()), (-3, new_cases()), (2**63 + 5, new_cases()[::-1])):
        torch.manual_seed(seed)
        chains.append({"seed": seed, "cases": [answered(case) for case in cases]})
    target = Path(__file__).with_name("random.json")
    lines = ",\n".join(json.dumps(chain).replace('{"fill"', '\n{"fill"').replace(
        '{"new"', '\n{"new"') for chain in chains)
    target.write_text(f'{{"torch": "{torch.__version__}", "chains": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
