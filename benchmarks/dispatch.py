"""What one small operation costs: microseconds a call, and the time of `import kkori`.

usage: dispatch.py [--module kkori] [--peer torch] [--rounds 5]

With --peer both modules are timed in turn, each in processes of its own, and ratios are printed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import timeit
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

Call = Callable[[], Any]


def add(torch: Any) -> Call:
    a, b = torch.rand(100), torch.rand(100)
    return lambda: a + b


def add_with_grad(torch: Any) -> Call:
    a, b = torch.rand(100, requires_grad=True), torch.rand(100)
    return lambda: a + b


def gradient(torch: Any) -> Call:
    x = torch.rand(100, requires_grad=True)

    def call() -> None:
        x.grad = None
        (x * x + x).sum().backward()

    return call


def linear_forward(torch: Any) -> Call:
    layer, x = torch.nn.Linear(10, 10), torch.rand(10, 10)
    return lambda: layer(x)


def module_call(torch: Any) -> Call:
    class Same(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x

    net, x = Same(), torch.rand(100)
    return lambda: net(x)


CASES: dict[str, Callable[[Any], Call]] = {
    "add": add,
    "add with grad": add_with_grad,
    "gradient of sum(x*x+x)": gradient,
    "Linear forward": linear_forward,
    "Module call": module_call,
}
TIME_OF_IMPORT = """
import time
start = time.perf_counter()
import {}
print(time.perf_counter() - start)
"""


def microseconds(call: Call) -> float:
    """The time of one call: the best of seven runs of about 30 ms, after a warm-up."""
    timer = timeit.Timer(call)
    number, took = timer.autorange()
    number = max(1, int(number * 0.03 / took))
    return min(timer.repeat(repeat=7, number=number)) / number * 1e6


def time_here(module: str) -> dict[str, float]:
    torch = importlib.import_module(module)
    return {name: microseconds(make(torch)) for name, make in CASES.items()}


def fresh(*arguments: str) -> str:
    """What a fresh interpreter prints. It may keep compiled modules, as interpreters usually do."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def time_apart(module: str) -> dict[str, float]:
    """The cases of `time_here`, timed in a process of their own."""
    lines = fresh(__file__, "--module", module, "--raw").splitlines()
    return {name: float(time) for name, time in (line.split("\t") for line in lines)}


def import_seconds(module: str) -> float:
    return float(fresh("-c", TIME_OF_IMPORT.format(module)))


def in_turn(measure: Callable[[str], Any], modules: Iterable[str], rounds: int) -> dict[str, list]:
    """Measure each module once a round, so that a busy machine disturbs all of them alike."""
    found: dict[str, list] = {module: [] for module in modules}
    for _ in range(rounds):
        for module, results in found.items():
            results.append(measure(module))
    return found


def print_calls(modules: list[str], rounds: int) -> None:
    found = in_turn(time_apart, modules, rounds)
    print(f"{'µs a call':24}" + "".join(f"{module:>12}" for module in modules)
          + (f"{modules[1]} / {modules[0]}".rjust(18) if modules[1:] else ""))
    for name in CASES:
        times = [median(result[name] for result in found[module]) for module in modules]
        ratio = f"{times[1] / times[0]:18.2f}" if times[1:] else ""
        print(f"{name:24}" + "".join(f"{time:12.2f}" for time in times) + ratio)


def print_imports(modules: list[str], rounds: int) -> None:
    in_turn(import_seconds, [*modules, "numpy"], rounds=1)  # the first import compiles: not timed
    times = in_turn(import_seconds, [*modules, "numpy"], rounds)
    numpy = min(times["numpy"])
    print(f"\nimport numpy {1000 * numpy:25.0f} ms")
    for module in modules:
        took = min(times[module])
        print(f"import {module:10}{1000 * took:21.0f} ms   {took / numpy:6.2f} x numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--module", default="kkori")
    parser.add_argument("--peer", help="a second module to time side by side, such as torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--raw", action="store_true", help="time here and print bare numbers")
    args = parser.parse_args()
    if args.raw:
        for name, time in time_here(args.module).items():
            print(f"{name}\t{time}")
        return
    modules = [args.module] + ([args.peer] if args.peer else [])
    print_calls(modules, args.rounds)
    print_imports(modules, 2 * args.rounds + 1)


if __name__ == "__main__":
    main()
