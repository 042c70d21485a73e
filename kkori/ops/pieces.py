"""Gradient rows whose large arrays are computed piece by piece, over the gradient where possible.

A piece and all temporaries of an array rule fit in the cache, so nothing large is made but the
result; and where the engine offers the memory of the gradient that arrives (`autograd/spare.py`),
not even that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.piecewise import common_order, flat, part, pieces
from kkori.autograd.spare import LARGE, take
from kkori.ops.table import Op
from kkori.run.immediate import caller

__all__ = ["gradient_row", "in_pieces"]

ndarray = np.ndarray


def gradient_row(name: str, array: Callable[..., Any], grad: Any,
                 node: str | None = None) -> Callable[..., Any]:
    """A row of an elementwise array rule: ``array(g, *others)`` has the shape and type of `g`.

    A last parameter with a default, None, is where the rule may put its result.
    """
    code = array.__code__
    args = code.co_varnames[:code.co_argcount - len(array.__defaults__ or ())]
    return caller(Op(name, "general", in_pieces(array), args, grad, (), False, node))


def in_pieces(rule: Callable[..., Any]) -> Callable[..., Any]:
    """`rule`, elementwise in all its arrays, which for large ones is called with pieces."""
    def run(g: Any, *others: Any) -> Any:
        if g.__class__ is not ndarray or g.nbytes < LARGE:
            return rule(g, *others)
        order = common_order(g, others)
        if order is None:
            return rule(g, *others)
        out = g if take(g) else np.empty(g.shape, g.dtype, order)
        with np.errstate(all="ignore"):  # a warning that is raised would leave it half written
            fill(rule, out, g, others)
        return out
    return run


def fill(rule: Callable[..., Any], out: Any, g: Any, others: Any) -> None:
    """Put ``rule(g, *others)`` into `out`, which may be `g`."""
    out, g, others = flat(out), flat(g), [flat(other) for other in others]
    writes = bool(rule.__defaults__)
    for piece in pieces(g):
        parts = [part(other, piece) for other in others]
        if writes:
            rule(g[piece], *parts, out[piece])
        else:
            out[piece] = rule(g[piece], *parts)
