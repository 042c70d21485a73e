"""Putting in order: sort, argsort, topk. NaN counts as the largest number."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops.results import result_type
from kkori.ops.scatter import _scatter
from kkori.ops.table import op, public
from kkori.tensor import Tensor, dimension


def comparable(array: Any) -> Any:
    """The array in a type that NumPy can order."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def order(array: Any, dim: Any, descending: Any) -> Any:
    """Indices that sort along `dim`; equals stay in their order."""
    keys = comparable(array)
    if not descending:
        return np.argsort(keys, dim, kind="stable")
    last = array.shape[dim] - 1
    return np.flip(last - np.argsort(np.flip(keys, dim), dim, kind="stable"), dim)


def sort_array(input: Any, dim: Any, descending: Any) -> Any:
    if not input.ndim:
        return input.copy(), np.zeros((), np.int64)
    indices = np.ascontiguousarray(order(input, dim, descending))
    return np.take_along_axis(input, indices, dim), indices


def topk_array(input: Any, k: Any, dim: Any, largest: Any) -> Any:
    if not input.ndim:
        return input.copy(), np.zeros((), np.int64)
    first = (slice(None),) * dim + (slice(k),)
    indices = np.ascontiguousarray(order(input, dim, largest)[first])
    return np.take_along_axis(input, indices, dim), indices


def put_back(gs: Any, input_shape: Any, dim: int, indices: Tensor) -> Tensor:
    """The gradient of picking elements along a dimension: each back to its place."""
    return _scatter(gs[0].new_zeros(input_shape), dim, indices, gs[0])


OUTPUTS = ("values", "indices")
_sort = op("sort", sort_array, {"input": put_back}, outputs=OUTPUTS)
_topk = op("topk", topk_array, {"input": put_back}, outputs=OUTPUTS)
SORT, TOPK = result_type("sort", *OUTPUTS), result_type("topk", *OUTPUTS)


@public
def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
    """Sorted along `dim`, with the indices the elements had: (values, indices).

    ``torch.sort``; always stable.

    >>> import kkori as torch
    >>> torch.sort(torch.tensor([3, 1, 2])).indices
    tensor([1, 2, 0])
    """
    if input._array.dtype.kind == "c":
        raise RuntimeError(errors.message(" Sort does not support complex dtypes on CPU"))
    place = dimension(dim, input._array.ndim)
    return SORT(_sort(input, place, descending))


@public
def argsort(input: Tensor, dim: int = -1, descending: bool = False, *,
            stable: bool = False) -> Tensor:
    """Indices that sort along `dim` (``torch.argsort``)."""
    return sort(input.detach(), dim, descending).indices


@public
def msort(input: Tensor) -> Tensor:
    """Sorted along the first dimension (``torch.msort``)."""
    return sort(input, 0).values


@public
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The `k` largest (or smallest) along `dim`: (values, indices) (``torch.topk``)."""
    place = dimension(dim, input._array.ndim)
    size = input._array.shape[place] if input._array.ndim else 1
    if not 0 <= k <= size:
        raise RuntimeError(errors.message("selected index k out of range",
                                          what=f"k={k}; dimension {place} has size {size}"))
    return TOPK(_topk(input, int(k), place, largest))


__all__ = ["sort", "argsort", "msort", "topk"]
