"""Where the time of a training step goes: forward, loss, backward, step, zero_grad.

usage: profile_loops.py [--module kkori] [--seconds 0.5] [--calls N] [LOOP ...]

The loops are those of a beginner's course. With --calls N the N functions that took longest are
listed as well (by cProfile, which itself slows every call: read shares there, not microseconds).
"""

from __future__ import annotations

import argparse
import cProfile
import importlib
import math
import pstats
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

PHASES = ("forward", "loss", "backward", "step", "zero_grad")


class Loop(NamedTuple):
    """What a training loop works with."""

    net: Any
    x: Any
    y: Any
    loss_fn: Any
    optimizer: Any


def line(torch: Any) -> Loop:
    x = torch.linspace(-1, 1, 100).reshape(-1, 1)
    y = 2.5 + 4 * x + 0.5 * torch.randn(100, 1)
    net = torch.nn.Linear(1, 1)
    return Loop(net, x, y, torch.nn.MSELoss(), torch.optim.SGD(net.parameters(), lr=0.1))


def cubic(torch: Any) -> Loop:
    x = torch.linspace(-math.pi, math.pi, 2000)
    powers = x.unsqueeze(-1).pow(torch.tensor([1, 2, 3]))
    net = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0, 1))
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-3)
    return Loop(net, powers, torch.sin(x), torch.nn.MSELoss(reduction="sum"), optimizer)


def branching(torch: Any) -> Loop:
    """A polynomial whose degree is drawn anew at every step."""

    class Polynomial(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.ParameterList(torch.zeros(()) for _ in range(5))

        def forward(self, x: Any) -> Any:
            y = self.weights[0]
            for power in range(1, random.randint(4, 6)):
                y = y + self.weights[min(power, 4)] * x ** power
            return y

    random.seed(0)
    x = torch.linspace(-math.pi, math.pi, 2000)
    net = Polynomial()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-8, momentum=0.9)
    return Loop(net, x, torch.sin(x), torch.nn.MSELoss(reduction="sum"), optimizer)


def logistic(torch: Any) -> Loop:
    x = torch.linspace(-1, 1, 2000).reshape(-1, 1)
    y = torch.bernoulli(torch.sigmoid(5 * x - 1))
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Sigmoid())
    return Loop(net, x, y, torch.nn.BCELoss(), torch.optim.SGD(net.parameters(), lr=0.1))


def wide(nodes: int) -> Callable[[Any], Loop]:
    def make(torch: Any) -> Loop:
        x = torch.linspace(0, 1, 100).reshape(-1, 1)
        y = 0.01 * torch.randn(100, 1)
        net = torch.nn.Sequential(
            torch.nn.Linear(1, nodes), torch.nn.ReLU(), torch.nn.Linear(nodes, 1)
        )
        return Loop(net, x, y, torch.nn.MSELoss(), torch.optim.Adam(net.parameters()))

    return make


def blocks(torch: Any) -> Loop:
    """A wide layer with a hand-made activation of two steep sigmoids."""

    class Block(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.sigmoid(200 * (x + 0.5)) + torch.sigmoid(-200 * (x - 0.5)) - 1.0

    x = torch.linspace(-1, 1, 2000).reshape(-1, 1)
    y = torch.bernoulli(torch.full((2000, 1), 0.5))
    net = torch.nn.Sequential(
        torch.nn.Linear(1, 2048), Block(), torch.nn.Linear(2048, 1), torch.nn.Sigmoid()
    )
    return Loop(net, x, y, torch.nn.BCELoss(), torch.optim.Adam(net.parameters()))


def digits(rows: int) -> Callable[[Any], Loop]:
    def make(torch: Any) -> Loop:
        x = torch.rand(rows, 784)
        y = torch.bernoulli(torch.full((rows, 1), 0.5))
        net = torch.nn.Sequential(
            torch.nn.Linear(784, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1), torch.nn.Sigmoid()
        )
        return Loop(net, x, y, torch.nn.BCELoss(), torch.optim.Adam(net.parameters()))

    return make


def lenet(torch: Any) -> Loop:
    """Two convolutions, two pools, three layers on four small pictures."""
    nn = torch.nn
    x, y = torch.randn(4, 3, 32, 32), torch.randint(0, 10, (4,))
    net = nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84),
        nn.ReLU(), nn.Linear(84, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    return Loop(net, x, y, nn.CrossEntropyLoss(), optimizer)


def pictures(torch: Any) -> Loop:
    """The net of PyTorch's MNIST example, on 64 pictures."""
    nn = torch.nn
    x, y = torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,))
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.25), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, 10), nn.LogSoftmax(1))
    return Loop(net, x, y, nn.NLLLoss(), torch.optim.Adadelta(net.parameters()))


LOOPS: dict[str, Callable[[Any], Loop]] = {
    "line": line,
    "cubic": cubic,
    "branching": branching,
    "logistic": logistic,
    "wide-512": wide(512),
    "wide-20480": wide(20480),
    "wide-204800": wide(204800),
    "blocks": blocks,
    "digits-2048": digits(2048),
    "digits-12396": digits(12396),
    "lenet": lenet,
    "pictures": pictures,
}


def timed_step(loop: Loop) -> list[float]:
    """One training step; the clock after each phase, and before the first."""
    clock = time.perf_counter
    start = clock()
    yhat = loop.net(loop.x)
    forward = clock()
    loss = loop.loss_fn(yhat, loop.y)
    measured = clock()
    loss.backward()
    backward = clock()
    loop.optimizer.step()
    stepped = clock()
    loop.optimizer.zero_grad()
    return [start, forward, measured, backward, stepped, clock()]


def phases(loop: Loop, seconds: float) -> list[float]:
    """Microseconds of each phase: medians over the steps that fit into `seconds`."""
    for _ in range(3):
        timed_step(loop)
    steps = []
    end = time.perf_counter() + seconds
    while len(steps) < 5 or time.perf_counter() < end:
        clocks = timed_step(loop)
        steps.append([after - before for before, after in zip(clocks, clocks[1:], strict=False)])
    return [1e6 * sorted(times)[len(times) // 2] for times in zip(*steps, strict=True)]


def longest_calls(loop: Loop, seconds: float, count: int) -> None:
    profiler = cProfile.Profile()
    end = time.perf_counter() + seconds
    with profiler:
        while time.perf_counter() < end:
            timed_step(loop)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--module", default="kkori")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each loop")
    parser.add_argument("--calls", type=int, default=0, help="list that many functions")
    parser.add_argument("loops", nargs="*", metavar="LOOP", help=" ".join(LOOPS))
    args = parser.parse_args()
    torch = importlib.import_module(args.module)
    print(f"{'µs':14}" + "".join(f"{phase:>11}" for phase in PHASES) + f"{'a step':>11}")
    for name in args.loops or LOOPS:
        torch.manual_seed(0)
        loop = LOOPS[name](torch)
        times = phases(loop, args.seconds)
        print(f"{name:14}" + "".join(f"{time:11.1f}" for time in [*times, sum(times)]), flush=True)
        if args.calls:
            longest_calls(loop, args.seconds, args.calls)


if __name__ == "__main__":
    main()
