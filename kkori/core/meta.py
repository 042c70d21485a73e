"""Arrays without numbers: shapes, strides and types only, for `device='meta'`.

A MetaArray is an ndarray view of one zero, so NumPy's own views work on it. Computations are
answered with another MetaArray of the shape and type that the real computation would have.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["MetaArray", "answer", "empty"]


class MetaArray(np.ndarray):
    """Shape and type of an array; reading its numbers is an error at a higher layer."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        options.pop("out", None)
        if method != "__call__" or ufunc.signature is not None:
            return _answer(getattr(ufunc, method), inputs, options)
        shape = np.broadcast_shapes(*(np.shape(value) for value in inputs))
        ones = [_plain(value).reshape(-1)[:1].reshape(()) if isinstance(value, np.ndarray)
                and value.size else (np.zeros((), value.dtype) if isinstance(value, np.ndarray)
                                     else value) for value in inputs]
        with np.errstate(all="ignore"):
            found = ufunc(*ones, **options)
        if isinstance(found, tuple):
            return tuple(empty(shape, np.asarray(part).dtype) for part in found)
        return empty(shape, np.asarray(found).dtype)

    def __array_function__(self, func: Any, kinds: Any, inputs: Any, options: Any) -> Any:
        return _answer(func, inputs, options)


def empty(shape: Any, kind: Any) -> MetaArray:
    """A MetaArray of `shape` and NumPy dtype `kind`, which takes no memory."""
    lengths = (shape,) if isinstance(shape, int) else tuple(shape)
    zero = np.zeros((), kind)
    return np.ndarray.__new__(MetaArray, lengths, zero.dtype, zero, 0, (0,) * len(lengths))


def answer(rule: Any, arrays: Any) -> Any:
    """What an array rule gives for arrays some of which have no numbers: shapes and types."""
    with np.errstate(all="ignore"):
        return _hollow(rule(*[_plain(array) for array in arrays]))


def _plain(value: Any) -> Any:
    if isinstance(value, MetaArray):
        return value.view(np.ndarray)
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(part) for part in value)
    return value


def _answer(func: Any, inputs: Any, options: Any) -> Any:
    """Run `func` on zeros of the right shape and keep only what it says of shape and type."""
    plain = {name: _plain(value) for name, value in options.items()}
    with np.errstate(all="ignore"):
        found = func(*(_plain(value) for value in inputs), **plain)
    return _hollow(found)


def _hollow(found: Any) -> Any:
    if isinstance(found, (np.ndarray, np.generic)):
        return empty(found.shape, found.dtype)
    if isinstance(found, (list, tuple)):
        return type(found)(_hollow(part) for part in found)
    return found
