"""Gradient rules of elementwise rows, a piece of the arrays at a time.

A rule such as ``g * (1 - out * out)`` makes an array for each of its operations. Given pieces that
fit in the cache, it makes small ones, and its result can be written over the gradient that
arrived, if nobody else needs that. The rule is the same; it is called more often.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kkori.autograd.graph import OUTPUT, VALUE, Node, _unpack
from kkori.autograd.mode import switch
from kkori.tensor import Tensor, wrap

__all__ = ["common_order", "flat", "gradients", "part", "pieces"]

LARGE = 4 << 20  # bytes; for smaller arrays the calls cost more than they save
PIECE = 1 << 18  # bytes
ndarray = np.ndarray


def gradients(node: Node, g: Tensor, ours: bool) -> Any:
    """What ``node.apply(g)`` would give, or None where it has to be called for that.

    `ours`: `g` may be overwritten.
    """
    row, array = node.row, g._array
    if row.kind != "unary" and not (ours and row.kind == "binary") or switch.tape is not None or (
            array.__class__ is not ndarray or array.nbytes < LARGE):
        return None
    if any(what not in (VALUE, OUTPUT) for what, _ in row.plan):
        return None
    saved = [value._array if isinstance(value, Tensor) else value for value in _unpack(node)]
    order = common_order(array, saved)
    if order is None:
        return None
    found: list[Any] = [None] * len(node.edges)
    wanted = [place for place, edge in enumerate(node.edges)
              if edge is not None and row.rules[place][0] is not None]
    for place in wanted:
        rule, picks = row.rules[place]
        over = ours and place == wanted[-1] and not any(one is g for one in found)
        found[place] = one_gradient(rule, g, [saved[k] for k in picks], order, over)
        if found[place] is None:
            return None
    return found


def one_gradient(rule: Any, g: Tensor, saved: list[Any], order: Any, over: bool) -> Any:
    """``rule(g, *saved)``, written over `g` if it may be; None if a piece gives something else."""
    source = flat(g._array)
    values = [flat(value) for value in saved]
    result = target = None
    for piece in pieces(source):
        some = wrap(source[piece])
        given = rule(some, *[wrap(part(value, piece)) if isinstance(value, ndarray) else value
                             for value in values])
        if given is some:
            return g
        array = given._array
        if target is None:
            if array.shape != some._array.shape or array.dtype != source.dtype:
                return None
            result = g._array if over else np.empty(g._array.shape, source.dtype, order)
            target = flat(result)
        target[piece] = array
    return wrap(result)


def common_order(g: Any, others: Any) -> Any:
    """The order of memory, "C" or "F", in which all arrays lie without gaps; None for none.

    What has no dimensions fits everywhere, and so does one number in the place of all of `g`.
    """
    arrays = [other for other in others if isinstance(other, ndarray) and other.ndim]
    if not g.ndim or not all(one.__class__ is ndarray and one.shape == g.shape
                             and one.dtype == g.dtype for one in arrays):
        return None
    if any(g.strides):
        arrays.append(g)
    orders: tuple[Any, ...] = ("C", "F")
    return next((order for order in orders if all(one.flags[order] for one in arrays)), None)


def pieces(array: Any) -> Iterator[slice]:
    """The pieces of a flat array."""
    length = PIECE // array.itemsize
    return (slice(start, start + length) for start in range(0, array.size, length))


def part(value: Any, piece: slice) -> Any:
    """`piece` of a flat array; anything else as it is."""
    return value[piece] if isinstance(value, ndarray) and value.ndim else value


def flat(array: Any) -> Any:
    """A view of all elements in the order of memory; what is no such array as it is."""
    if not isinstance(array, ndarray) or not array.ndim:
        return array
    if not any(array.strides):
        return as_strided(array, (array.size,), (0,))
    return (array if array.flags.c_contiguous else array.T).reshape(-1)
