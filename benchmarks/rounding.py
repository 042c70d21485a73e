"""How far the losses of compiled loops are from exact ones, and whether others are nearer.

usage: rounding.py [--steps 400] [--peer torch] [LOOP ...]

Each loop runs with float64, at once, and then with float32: at once, recorded, and with --peer also
in PyTorch, from the same start. Printed is how far the loss is from that of float64 (relative, the
largest of the last tenth of the steps). Training amplifies roundings: after some hundred steps two
orders of the same sum may give losses that differ in the fourth digit. So compare the columns with
each other; what is compiled should be as near as what is not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from profile_loops import LOOPS, Loop
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
FASTER = ("line", "cubic", "branching", "logistic", "wide-512", "blocks", "digits-2048")
RUNS = {"float64": ("kkori", "float64", "1"), "at once": ("kkori", "float32", "1"),
        "recorded": ("kkori", "float32", "")}


def exact(torch: Any, loop: Loop) -> Loop:
    """The same loop with float64."""
    net, old = loop.net.double(), loop.optimizer
    options = {name: old.defaults[name] for name in ("lr", "momentum") if name in old.defaults}
    return Loop(net, loop.x.double(), loop.y.double(), loop.loss_fn,
                type(old)(net.parameters(), **options))


def losses(module: str, dtype: str, name: str, steps: int) -> list[float]:
    """The losses of a loop's steps."""
    torch = __import__(module)
    torch.manual_seed(0)
    loop = LOOPS[name](torch)
    if dtype == "float64":
        loop = exact(torch, loop)
    found = []
    for _ in range(steps):
        loss = loop.loss_fn(loop.net(loop.x), loop.y)
        loss.backward()
        loop.optimizer.step()
        loop.optimizer.zero_grad()
        found.append(loss)
    return [loss.item() for loss in found]


def in_a_process(run: tuple[str, str, str], name: str, steps: int) -> list[float]:
    module, dtype, eager = run
    environment = {**os.environ, "KKORI_EAGER": eager}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    command = [sys.executable, __file__, "--one", module, dtype, "--steps", str(steps), name]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    answer: list[float] = json.loads(found.stdout)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("loops", nargs="*", metavar="LOOP", help=", ".join(LOOPS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--peer", help="another module that runs the same loops: torch")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        module, dtype = options.one
        print(json.dumps(losses(module, dtype, options.loops[0], options.steps)))
        return
    compare(options.loops or list(FASTER), options.steps, options.peer)


def compare(loops: list[str], steps: int, peer: str | None) -> None:
    runs = {**RUNS, **({peer: (peer, "float32", "")} if peer else {})}
    print(f"{'':12}", *[f"{name:>10}" for name in list(runs)[1:]])
    for name in loops:
        found = {title: in_a_process(run, name, steps)
                 for title, run in tqdm(runs.items(), desc=name, leave=False)}
        last = range(steps - max(1, steps // 10), steps)
        far = {title: max(abs(values[k] / found["float64"][k] - 1) for k in last)
               for title, values in found.items()}
        print(f"{name:12}", *[f"{value:10.1e}" for value in list(far.values())[1:]], flush=True)


if __name__ == "__main__":
    main()
