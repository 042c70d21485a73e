"""Gradients that are added up over rounds: those of leaves that no optimizer changes.

Where a program asks for gradients of its inputs, ``backward()`` brings them to their ``.grad`` too,
and nobody sets it to None. A compiled round adds to such a gradient as it changes parameters: in
place. Until then the sum is pending, and nobody may hold the gradient but its leaf.
"""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import numpy as np

from kkori.run.entry import is_hooked
from kkori.tensor import Tensor, wrap

__all__ = ["is_alone"]

_alone = [1000, 1000]  # what CPython counts for a gradient, and its storage, of the leaf alone


def is_alone(leaf: Any) -> bool:
    """Whether a leaf has a gradient that nobody else can see."""
    grad = leaf._grad
    if grad.__class__ is not Tensor or grad._requires_grad or is_hooked(leaf) or (
            grad._base is not None or getrefcount(grad) > _alone[0]):
        return False
    storage = grad._storage
    return storage is None or not storage.exports and getrefcount(storage) <= _alone[1]


def _calibrate() -> None:
    """Find out what `getrefcount` says of something that only a leaf holds."""
    leaf = wrap(np.zeros(1))
    leaf._grad = wrap(np.zeros(1))
    leaf._grad.shared_storage()
    for place in (0, 1):
        found, _alone[place] = 0, 0
        while not is_alone(leaf):
            found += 1
            _alone[place] = found


_calibrate()
