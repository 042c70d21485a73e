"""How far rounding alone moves what a program sees.

A program may enlarge what its arithmetic rounds off: training that diverges doubles it in every
round, and float32 somewhere in a float64 program is as coarse as float32. So it is run once more
immediately, with each result of an operation off by a few units in its last place. Where that
moves numbers, recorded rounds may move them as far.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.run.entry import AWAY
from kkori.run.tape import Tape
from kkori.tensor import Tensor

__all__ = ["Noise"]

UNITS = 4  # in the last place
NEVER = 1 << 30


class Noise(Tape):
    """Takes the place of a tape: all is run at once, and not quite exactly."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = np.random.RandomState(seed)
        self.root.tries = NEVER  # calls of layers are none of its events

    def call(self, call: Any, row: Any, args: Any) -> Any:
        found = self.now(call, args)
        known = [arg._array for arg in flat(args) if isinstance(arg, Tensor)]
        for tensor in found if found.__class__ is tuple else (found,):
            if isinstance(tensor, Tensor):
                self.disturb(tensor._array, known)
        return found

    unmatched = call

    def disturb(self, array: Any, known: list[Any]) -> None:
        """Change an array that is no view of those that are `known`; what is 0 stays so."""
        if array.dtype.kind == "f" and array.__class__ is np.ndarray and array.size and not any(
                np.may_share_memory(array, other) for other in known):
            noise = self.random.uniform(-UNITS, UNITS, array.shape) * np.finfo(array.dtype).eps
            with np.errstate(all="ignore"):
                array *= (1 + noise).astype(array.dtype)

    def backward(self, run: Any, *args: Any) -> None:
        self.gradients(run, *args)

    def gradients(self, run: Any, *args: Any) -> Any:
        self.inside = AWAY
        try:
            return run(*args)
        finally:
            self.inside = None

    def gradient(self, leaf: Any, value: Any, fresh: bool) -> None:
        """It is no event."""


def flat(args: Any) -> list[Any]:
    """What is in lists and tuples, however deep."""
    found, stack = [], list(args)
    while stack:
        one = stack.pop()
        if isinstance(one, (list, tuple)):
            stack += one
        else:
            found.append(one)
    return found
