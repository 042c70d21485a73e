"""Gradient rows whose large arrays are computed piece by piece, over the gradient where possible.

A piece and all temporaries of an array rule fit in the cache, so nothing large is made but the
result; and where the engine offers the memory of the gradient that arrives (`autograd/spare.py`),
not even that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.spare import LARGE, take
from kkori.ops.table import Op
from kkori.run.immediate import caller

__all__ = ["gradient_row", "in_pieces"]

PIECE = 1 << 17  # bytes
ndarray = np.ndarray


def gradient_row(name: str, array: Callable[..., Any], grad: Any,
                 node: str | None = None) -> Callable[..., Any]:
    """A row of an elementwise array rule: ``array(g, *others)`` has the shape and type of `g`."""
    code = array.__code__
    args = code.co_varnames[:code.co_argcount]
    return caller(Op(name, "general", in_pieces(array), args, grad, (), False, node))


def in_pieces(rule: Callable[..., Any]) -> Callable[..., Any]:
    """`rule`, elementwise in all its arrays, which for large ones is called with pieces."""
    def run(g: Any, *others: Any) -> Any:
        if g.__class__ is not ndarray or g.nbytes < LARGE or not alike(g, others):
            return rule(g, *others)
        out = g if take(g) else np.empty_like(g)
        with np.errstate(all="ignore"):  # a warning that is raised would leave it half written
            fill(rule, out, g, others)
        return out
    return run


def alike(g: Any, others: Any) -> bool:
    """Whether all arrays lie in memory as `g` does, without gaps."""
    order: Any = "C" if g.flags.c_contiguous else "F"
    return bool(g.flags[order]) and all(
        other.shape == g.shape and other.flags[order] and other.dtype == g.dtype
        for other in others if isinstance(other, ndarray))


def fill(rule: Callable[..., Any], out: Any, g: Any, others: Any) -> None:
    """Put ``rule(g, *others)`` into `out`, which may be `g`."""
    rest = [flat(other) if isinstance(other, ndarray) else other for other in others]
    out, g = flat(out), flat(g)
    length = PIECE // g.itemsize
    for start in range(0, g.size, length):
        piece = slice(start, start + length)
        out[piece] = rule(g[piece], *[
            other[piece] if isinstance(other, ndarray) else other for other in rest])


def flat(array: Any) -> Any:
    """A view of all elements in the order of memory."""
    return (array if array.flags.c_contiguous else array.T).reshape(-1)
