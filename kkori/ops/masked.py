"""Choosing by truth values: fill, select and scatter by a mask, and where the truths are."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import errors
from kkori.core.errors import C_NAMES
from kkori.ops.move import joined_shape
from kkori.ops.scatter import number_as
from kkori.ops.table import METHODS, op, public
from kkori.tensor import Tensor


def masked_fill_array(input: Any, mask: Any, value: Any) -> Any:
    found: Any = np.where(mask, value, input)
    return found.astype(input.dtype, copy=False)


_masked_fill = op("masked_fill", masked_fill_array, {
    "input": lambda g, mask: _masked_fill(g, mask, 0),
    "value": lambda g, mask: _masked_fill(g, ~mask, 0).sum()}, node="MaskedFillBackward0")
_masked_select = op("masked_select", lambda input, mask: input[mask], {
    "input": lambda g, input_shape, mask: _masked_scatter(g.new_zeros(input_shape), mask, g)})


def masked_scatter_array(input: Any, mask: Any, source: Any) -> Any:
    """A copy with the first elements of `source` written, in order, where the mask holds."""
    found = input.copy("C")
    found[mask] = source.reshape(-1)[:np.count_nonzero(mask)]
    return found


def masked_scatter_source(g: Tensor, mask: Tensor, source_shape: Any) -> Tensor:
    """Gradients in the order in which `source` was used; 0 for what was left over."""
    picked = _masked_select(g, mask)
    spare = int(np.prod(source_shape, dtype=np.int64)) - picked._array.size
    zeros = g.new_zeros((spare,))
    from kkori.ops.move import cat
    return cat([picked, zeros]).reshape(source_shape)


_masked_scatter = op("masked_scatter", masked_scatter_array, {
    "input": lambda g, mask: _masked_fill(g, mask, 0),
    "source": masked_scatter_source})


def same_shape(input: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Both stretched to their common shape."""
    if input._array.shape == mask._array.shape:
        return input, mask
    shape = joined_shape(mask._array.shape, input._array.shape)
    return input.expand(shape), mask.expand(shape)


@public(inplace=True, overloaded=True)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` (a number or a 0-dim tensor) where `mask` holds (``torch.masked_fill``)."""
    if mask._array.dtype != np.bool_:
        raise RuntimeError(errors.message(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            f"{C_NAMES[mask.dtype.name]}", fix="mask.bool()"))
    if isinstance(value, Tensor):
        if value._array.ndim:
            raise RuntimeError(errors.message(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value._array.ndim} dimension(s)."))
        filling: Any = value.to(input.dtype)
    else:
        filling = number_as(value, input)
    wide, truth = same_shape(input, mask)
    return _masked_fill(wide, truth, filling)


@public
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements at which `mask` holds, in one row (``torch.masked_select``)."""
    if mask._array.dtype != np.bool_:
        raise RuntimeError(errors.message("masked_select: expected BoolTensor for mask",
                                          fix="mask.bool()"))
    return _masked_select(*same_shape(input, mask))


@public(inplace=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The elements of `source`, in order, where `mask` holds (``torch.masked_scatter``)."""
    if input._array.dtype != source._array.dtype:
        raise RuntimeError(errors.message(
            f"masked_scatter: expected self and source to have same dtypes but got"
            f"{input.dtype.alias} and {source.dtype.alias}"))
    if mask._array.dtype != np.bool_:
        raise RuntimeError(errors.message(
            "masked_scatter_ only supports boolean masks, but got mask with dtype "
            f"{mask.dtype.alias}", fix="mask.bool()"))
    wide, truth = same_shape(input, mask)
    if np.count_nonzero(truth._array) > source._array.size:
        raise RuntimeError(errors.message(
            "Number of elements of source < number of ones in mask"))
    return _masked_scatter(wide, truth, source)


# Where the truths are.

_nonzero = op("nonzero", lambda input: np.argwhere(input))


@public
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Indices of what is not 0: a row each, or with `as_tuple` a vector for each dimension."""
    if not as_tuple:
        return _nonzero(input)
    source = input if input._array.ndim else input.reshape(1)
    return tuple(part.clone() for part in _nonzero(source).unbind(1))


@public
def argwhere(input: Tensor) -> Tensor:
    """Indices of what is not 0, a row each (``torch.argwhere``)."""
    return _nonzero(input)


@public
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """nonzero() cut or filled up to `size` rows (``torch.nonzero_static``)."""
    if size < 0:
        raise RuntimeError(errors.message("nonzero_static: 'size' must be an non-negative integer"))
    found = _nonzero(input)
    rows = found[:size]
    spare = rows.new_full((size - rows.shape[0], rows.shape[1]), fill_value)
    from kkori.ops.move import cat
    return cat([rows, spare])


@public
def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not 0 (``torch.is_nonzero``)."""
    return METHODS["__bool__"](input)


__all__ = ["masked_fill", "masked_select", "masked_scatter", "nonzero", "argwhere",
           "nonzero_static", "is_nonzero"]
