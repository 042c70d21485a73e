"""Tensors as sets and as sorted tables: unique, isin, searchsorted, bucketize."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops.elementwise import same_type
from kkori.ops.table import METHODS, op, public
from kkori.tensor import Tensor, dimension, wrap

PARTS = ("values", "inverse", "counts")


def unique_array(input: Any, axis: Any) -> Any:
    """Sorted distinct elements (or slices), the place of each, and how often each came."""
    found = np.unique(input, return_inverse=True, return_counts=True, axis=axis, equal_nan=False)
    values, inverse, counts = found
    return values, inverse.reshape(input.shape if axis is None else -1), counts


def consecutive_array(input: Any, axis: Any) -> Any:
    """The same for runs of equal neighbours."""
    rows = input.reshape(-1) if axis is None else np.moveaxis(input, axis, 0)
    size = rows.shape[0]
    changed = (rows[1:] != rows[:-1]).any(tuple(range(1, rows.ndim)))
    starts = np.concatenate([np.zeros(min(size, 1), np.int64), np.flatnonzero(changed) + 1])
    inverse = np.cumsum(np.concatenate([np.zeros(min(size, 1), np.int64), changed]))
    counts = np.diff(np.append(starts, size))
    values = rows[starts] if axis is None else np.moveaxis(rows[starts], 0, axis)
    return values, inverse.reshape(input.shape if axis is None else -1), counts


_unique = op("unique", unique_array, outputs=PARTS)
_unique_consecutive = op("unique_consecutive", consecutive_array, outputs=PARTS)


def asked_for(found: Any, return_inverse: bool, return_counts: bool) -> Any:
    """The parts that the caller wanted: one tensor, or a tuple."""
    values, inverse, counts = found
    parts = [values, *([inverse] if return_inverse else []), *([counts] if return_counts else [])]
    return tuple(parts) if len(parts) > 1 else values


def axis_of(input: Tensor, dim: int | None) -> int | None:
    if dim is None:
        return None
    place = dimension(dim, input._array.ndim)
    shape = input._array.shape
    if 0 in shape and any(n == 0 and d != place for d, n in enumerate(shape)):
        raise RuntimeError(errors.message(
            "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied"))
    return place if shape else None


@public(out=False)
def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False,
           return_counts: bool = False, dim: int | None = None) -> Any:
    """The distinct elements (slices along `dim`), in order (``torch.unique``)."""
    found = _unique(input, axis_of(input, dim))
    return asked_for(found, return_inverse, return_counts)


@public(out=False)
def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None) -> Any:
    """The first of every run of equal neighbours (``torch.unique_consecutive``)."""
    found = _unique_consecutive(input, axis_of(input, dim))
    return asked_for(found, return_inverse, return_counts)


# Membership.

_isin = op("isin", lambda elements, test_elements, invert: np.isin(
    elements, test_elements, invert=invert))


@public(method=False)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False,
         invert: bool = False) -> Tensor:
    """For each element, whether it is among `test_elements` (``torch.isin``)."""
    if not isinstance(elements, Tensor) and not isinstance(test_elements, Tensor):
        given = f"({type(elements).__name__}, {type(test_elements).__name__})"
        raise TypeError(errors.message(
            f"isin() received an invalid combination of arguments - got {given}, but expected "
            "one of:"))
    return _isin(*same_type(elements, test_elements), invert)


# Places in sorted tables.

def searchsorted_array(boundaries: Any, values: Any, side: Any, sorter: Any) -> Any:
    """Where each value would be put in; a row of boundaries for each row of values."""
    if boundaries.ndim == 1:
        return np.asarray(np.searchsorted(boundaries, values, side, sorter))
    found = np.empty(values.shape, np.int64)
    for row in np.ndindex(*boundaries.shape[:-1]):
        found[row] = np.searchsorted(boundaries[row], values[row], side,
                                     None if sorter is None else sorter[row])
    return found


_searchsorted = op("searchsorted", searchsorted_array)


def side_of(right: bool, side: str | None) -> str:
    if side not in (None, "left", "right"):
        raise RuntimeError(errors.message(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"))
    if side == "left" and right:
        raise RuntimeError(errors.message(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left "
            "while right was True"))
    return "right" if right or side == "right" else "left"


def check_sorter(sequence: Tensor, sorter: Tensor) -> None:
    if sorter._array.dtype != np.int64:
        raise RuntimeError(errors.message(
            "torch.searchsorted(): sorter must be a tensor of long dtype but got dtype "
            f"{sorter.dtype.alias}"))
    if sorter._array.shape != sequence._array.shape:
        raise RuntimeError(errors.message(
            "torch.searchsorted(): boundary and sorter must have the same size, but got boundary "
            f"tensor {errors.of_shape(sequence._array.shape)}and got sorter tensor "
            f"{errors.of_shape(sorter._array.shape)}"))
    places = sorter._array
    if places.size and (places.min() < 0 or places.max() >= places.shape[-1]):
        raise RuntimeError(errors.message("torch.searchsorted(): sorter index out of range"))


def check_boundaries(sequence: Tensor, values: Tensor) -> None:
    table, wanted = sequence._array.shape, values._array.shape
    if not table:
        raise RuntimeError(errors.message(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 "
            "dimension"))
    if len(table) != 1 and (len(table) != len(wanted) or table[:-1] != wanted[:-1]):
        raise RuntimeError(errors.message(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            "dimensions of boundaries tensor and input value tensor must match, but we got "
            f"boundaries tensor {errors.of_shape(table)} and input value tensor "
            f"{errors.of_shape(wanted)}"))


@public(method=False)
def searchsorted(sorted_sequence: Tensor, input: Any, *, out_int32: bool = False,
                 right: bool = False, side: str | None = None,
                 sorter: Tensor | None = None) -> Tensor:
    """Where values would be put into sorted rows to keep them sorted (``torch.searchsorted``)."""
    values = input if isinstance(input, Tensor) else wrap(np.asarray(input))
    which = side_of(right, side)
    if sorter is not None:
        check_sorter(sorted_sequence, sorter)
    check_boundaries(sorted_sequence, values)
    found = _searchsorted(sorted_sequence, values, which, sorter)
    return METHODS["int"](found) if out_int32 else found


@public(method=False)
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False,
              right: bool = False) -> Tensor:
    """The bucket of each value between sorted `boundaries` (``torch.bucketize``)."""
    if boundaries._array.ndim != 1:
        raise RuntimeError(errors.message(
            f"boundaries tensor must be 1 dimension, but got dim({boundaries._array.ndim})"))
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


__all__ = ["unique", "unique_consecutive", "isin", "searchsorted", "bucketize"]
