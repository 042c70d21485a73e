"""What it costs that loops are watched, where watching cannot help: rounds that never repeat.

usage: overhead_of_watching.py [--rounds 7] [--steps 10000] [LOOP ...]

Each loop runs in fresh processes, in turn with ``KKORI_EAGER=1`` and watched; the ratio of their
processor times (the first step included) should be at most 1.05. Some 10 ms of it are spent once:
modules are loaded, the first rounds recorded.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Step = Callable[[int], None]


def trained(torch: Any, net: Any, loss_of: Callable[[int], Any], *, lr: float = 0.01) -> Step:
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)

    def step(k: int) -> None:
        optimizer.zero_grad()
        loss_of(k).backward()
        optimizer.step()

    return step


def small(torch: Any) -> Any:
    nn = torch.nn
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))


def shapes(torch: Any) -> Step:
    """Every batch has a size of its own."""
    net, data = small(torch), torch.randn(8000, 4)
    return trained(torch, net, lambda k: (net(data[k:2 * k + 3]) ** 2).mean())


def structure(torch: Any) -> Step:
    """Every round is another random chain of operations."""
    chance, net, x = random.Random(1), small(torch), torch.randn(20, 4)
    names = ["relu", "tanh", "sigmoid", "sin", "cos", "abs", "exp", "square", "neg"]

    def loss_of(k: int) -> Any:
        h = net(x)
        for _ in range(chance.randint(4, 12)):
            h = getattr(h, chance.choice(names))() * 0.5
        return h.mean()

    return trained(torch, net, loss_of)


def constants(torch: Any) -> Step:
    """A number in the formula is another one in every round."""
    net, x = small(torch), torch.randn(20, 4)
    return trained(torch, net, lambda k: ((net(x) - k * 1e-3) ** 2).mean())


def looks(torch: Any) -> Step:
    """A value is looked at, and decides what is done next."""
    net, x = small(torch), torch.randn(20, 4)

    def loss_of(k: int) -> Any:
        h = net(x + k % 7)
        if h.max().item() > 0.1:
            h = h * 0.9
        return (h * h).sum() / (1 + h.abs().sum().item())

    return trained(torch, net, loss_of)


def models(torch: Any) -> Step:
    """Ten steps, then a new model and optimizer: a search for options."""
    x, found = torch.randn(20, 4), []

    def step(k: int) -> None:
        if k % 10 == 0:
            net = small(torch)
            found[:] = [trained(torch, net, lambda k: (net(x) ** 2).mean())]
        found[0](k)

    return step


def hooks(torch: Any) -> Step:
    """A hook sees every gradient."""
    net, x, seen = small(torch), torch.randn(20, 4), []

    def loss_of(k: int) -> Any:
        h = net(x)
        h.register_hook(lambda gradient: seen.append(gradient.shape) or gradient * 0.9)
        return (h * h).mean()

    return trained(torch, net, loss_of)


def by_hand(torch: Any) -> Step:
    """No optimizer; another shape in every round."""
    data, w = torch.randn(8000, 4), torch.randn(4, 4, requires_grad=True)

    def step(k: int) -> None:
        (data[k:2 * k + 3] @ w).tanh().mean().backward()
        w.data = w.data - 0.01 * w.grad
        w.grad = None

    return step


def inference(torch: Any) -> Step:
    """No gradients at all; another shape in every round."""
    net, data = small(torch), torch.randn(8000, 4)

    def step(k: int) -> None:
        with torch.no_grad():
            net(data[k:2 * k + 3]).argmax(1)

    return step


LOOPS = {loop.__name__: loop for loop in (shapes, structure, constants, looks, models, hooks,
                                          by_hand, inference)}


def time_here(name: str, steps: int) -> float:
    """Microseconds of a step."""
    sys.path.insert(0, str(ROOT))
    import kkori as torch
    torch.manual_seed(1)
    step = LOOPS[name](torch)
    start = time.process_time()
    for k in range(steps):
        step(k)
    return (time.process_time() - start) / steps * 1e6


def time_there(name: str, steps: int, watched: bool) -> float:
    mode = {} if watched else {"KKORI_EAGER": "1"}
    others = {key: value for key, value in os.environ.items() if key != "KKORI_EAGER"}
    found = subprocess.run([sys.executable, __file__, "--here", "--steps", str(steps), name],
                           env={**others, **mode, "OPENBLAS_NUM_THREADS": "1"}, check=True,
                           capture_output=True, text=True)
    return float(found.stdout)


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("loops", nargs="*", metavar="LOOP", default=[])
    reader.add_argument("--rounds", type=int, default=7, help="processes of each kind")
    reader.add_argument("--steps", type=int, default=10_000, help="steps in a process")
    reader.add_argument("--here", action="store_true", help="time one loop in this process")
    options = reader.parse_args()
    if options.here:
        print(time_here(options.loops[0], options.steps))
        return
    print(f"{'loop':12}{'at once, µs':>14}{'watched, µs':>14}{'ratio':>8}")
    for name in options.loops or LOOPS:
        pairs = [(time_there(name, options.steps, False), time_there(name, options.steps, True))
                 for _ in range(options.rounds)]
        ratio = median(watched / at_once for at_once, watched in pairs)
        print(f"{name:12}{median(a for a, _ in pairs):14.1f}{median(b for _, b in pairs):14.1f}"
              f"{ratio:8.3f}", flush=True)


if __name__ == "__main__":
    main()
