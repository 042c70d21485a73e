"""One index vector along one dimension, and indices into the flat tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.core import errors
from kkori.ops.index import _index_put, as_given, check_fits, checked_indices, index_of
from kkori.ops.scatter import (
    _scatter_reduce,
    flat_copy,
    flat_places,
    number_as,
    padded,
)
from kkori.ops.table import op, public
from kkori.tensor import Tensor, dimension


def index_select_array(input: Any, dim: Any, index: Any) -> Any:
    found = np.take(np.atleast_1d(input), np.atleast_1d(index), dim)
    return found if input.ndim else found.reshape(())


def spread_index(index: Any, dim: Any, shape: Any) -> Any:
    """An index vector as one index for every element of `shape`."""
    column = index.reshape((-1,) + (1,) * (len(shape) - dim - 1))
    return np.broadcast_to(column, shape)


def index_add_array(input: Any, dim: Any, index: Any, source: Any) -> Any:
    """A copy of `input` with the slices of `source` added where `index` points."""
    flat, whole = flat_copy(input), padded(input.shape)
    places = flat_places(spread_index(index, dim, padded(source.shape)), dim, whole)
    np.add.at(flat, places, source.reshape(-1))
    return flat.reshape(input.shape)


def index_write_array(input: Any, dim: Any, index: Any, value: Any) -> Any:
    """A copy of `input` with `value` written to the slices where `index` points."""
    found = np.array(np.atleast_1d(input), copy=True)
    found[(slice(None),) * dim + (np.atleast_1d(index),)] = value
    return found.reshape(input.shape)


_index_select = op("index_select", index_select_array, {
    "input": lambda g, input_shape, dim, index: _index_add(
        g.new_zeros(input_shape), dim, index, g)})
_index_add = op("index_add", index_add_array, {
    "input": lambda g: g,
    "source": lambda g, source_shape, dim, index: _index_select(g, dim, index).reshape(
        source_shape)})
_index_copy = op("index_copy", lambda input, dim, index, source: index_write_array(
    input, dim, index, source), {
    "input": lambda g, dim, index: _index_fill(g, dim, index, 0),
    "source": lambda g, source_shape, dim, index: _index_select(g, dim, index).reshape(
        source_shape)})
_index_fill = op("index_fill", lambda input, dim, index, value: index_write_array(
    input, dim, index, value), {
    "input": lambda g, dim, index: _index_fill(g, dim, index, 0),
    "value": lambda g, dim, index: (g - _index_fill(g, dim, index, 0)).sum()})

# Checks, with PyTorch's words.


def is_index(index: Tensor, *names: str) -> bool:
    """Whether the type of `index` is one of `names`."""
    return index.dtype.name in names


def check_vector(name: str, index: Tensor) -> None:
    if index._array.ndim > 1:
        raise IndexError(errors.message(
            f"{name}(): Index is supposed to be a vector, but got dim: {index._array.ndim} with "
            f"type: {index.dtype.alias} and size: {errors.of_shape(index._array.shape)}"))


def check_source(name: str, input: Tensor, dim: int, index: Tensor, source: Tensor) -> None:
    """What index_add and index_reduce ask of their source."""
    check_vector(name, index)
    if not is_index(index, "int64", "int32"):
        raise RuntimeError(errors.message(
            f"{name}(): Expected dtype int32/int64 for index but got: {index.dtype.alias}",
            fix="index.long()"))
    if input._array.dtype != source._array.dtype:
        raise RuntimeError(errors.message(
            f"{name}(): self ({input.dtype.alias}) and source ({source.dtype.alias}) must have "
            "the same scalar type"))
    whole, given = padded(input._array.shape), padded(source._array.shape)
    if len(given) <= dim or given[dim] != index._array.size:
        if input._array.ndim == source._array.ndim:
            raise wrong_count(name, index, given[dim], dim)
    if len(whole) != len(given) or any(
            n != m and d != dim for d, (n, m) in enumerate(zip(whole, given, strict=True))):
        raise RuntimeError(errors.message(
            "source tensor shape must match self tensor shape, excluding the specified dimension. "
            f"Got self.shape = {errors.of_shape(input._array.shape)} source.shape = "
            f"{errors.of_shape(source._array.shape)}"))


def wrong_count(name: str, index: Tensor, size: int, dim: int) -> RuntimeError:
    return RuntimeError(errors.message(
        f"{name}(): Number of indices ({index._array.size}) should be equal to "
        f"source.size(dim): ({size}), for dim: {dim}"))


def outside(index: Tensor, size: int, negative: bool = False) -> Any:
    """The first index outside [0, size), or [-size, size); None where there is none."""
    array = index._array
    low = -size if negative else 0
    if array.size and (array.max() >= size or array.min() < low):
        return array[(array >= size) | (array < low)].flat[0]
    return None


# What people call.

@public
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` along `dim` that `index` names (``torch.index_select``)."""
    place = dimension(dim, input._array.ndim)
    if index._array.ndim > 1:
        raise IndexError(errors.message("index_select(): Index is supposed to be a vector"))
    if not is_index(index, "int64", "int32"):
        raise RuntimeError(errors.message(
            "index_select(): Expected dtype int32 or int64 for index", fix="index.long()"))
    size = padded(input._array.shape)[place]
    bad = outside(index, size)
    if bad is not None and place:
        raise RuntimeError(errors.message(
            f"INDICES element is out of DATA bounds, id={bad} axis_dim={size}"))
    if bad is not None:
        raise IndexError(errors.message(
            "index out of range in self", what=f"index {bad}; dimension 0 has size {size}"))
    return _index_select(input, place, index)


@public(inplace=True)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *,
              alpha: Any = 1) -> Tensor:
    """`input` with ``alpha * source`` added to the slices `index` names (``torch.index_add``)."""
    place = dimension(dim, input._array.ndim)
    check_source("index_add_", input, place, index, source)
    size = padded(input._array.shape)[place]
    bad = outside(index, size)
    if bad is not None:
        raise RuntimeError(errors.message(
            f"index {bad} is out of bounds for dimension {place} with size {size}"))
    return _index_add(input, place, index, source if alpha == 1 else source * alpha)


@public(inplace=True)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`input` with the slices that `index` names replaced by `source` (``torch.index_copy``)."""
    place = dimension(dim, input._array.ndim)
    check_copy(input, place, index, source)
    size = padded(input._array.shape)[place]
    bad = outside(index, size)
    if bad is not None:
        raise IndexError(errors.message(
            f"index_copy_(): index {bad} is out of bounds for dimension {place} with size {size}"))
    return _index_copy(input, place, index, source)


def check_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> None:
    if index._array.ndim > 1:
        raise IndexError(errors.message(
            f"index_copy_(): Index should have dimension 1 or 0 (got {index._array.ndim})"))
    ours, theirs = input._array, source._array
    if ours.ndim != theirs.ndim and ours.ndim and theirs.ndim:
        raise IndexError(errors.message(
            "index_copy_(): When source and destination are not scalars, their dimensionality "
            f"must match. Source dimensionality ({theirs.ndim}), destination dimensionality "
            f"({ours.ndim})"))
    if not is_index(index, "int64"):
        raise RuntimeError(errors.message(
            f"index_copy_(): Expected a long tensor for index, but got {index.dtype.alias}"))
    if ours.dtype != theirs.dtype:
        raise RuntimeError(errors.message(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{input.dtype.alias} and (source) {source.dtype.alias}"))
    check_slices(dim, padded(ours.shape), padded(theirs.shape), index)


def check_slices(dim: int, whole: Any, given: Any, index: Tensor) -> None:
    if len(whole) == len(given):
        ours, theirs = ([n for d, n in enumerate(shape) if d != dim] for shape in (whole, given))
        if ours != theirs:
            raise RuntimeError(errors.message(
                "index_copy_(): Source/destination tensor must have same slice shapes. "
                f"Destination slice shape: {' '.join(map(str, ours))} at dimension {dim} and "
                f"source slice shape: {' '.join(map(str, theirs))} at dimension 0."))
        if given[dim] != index._array.size:
            raise IndexError(errors.message(
                f"index_copy_(): Number of indices ({index._array.size}) should be equal to "
                f"source.size(dim) ({given[dim]})"))


@public(inplace=True)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """`input` with `value` in the slices that `index` names (``torch.index_fill``)."""
    place = dimension(dim, input._array.ndim)
    if isinstance(value, Tensor) and value._array.ndim:
        raise RuntimeError(errors.message(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value._array.ndim} dimension(s)."))
    if not is_index(index, "int64"):
        raise IndexError(errors.message("index_fill_(): Expected dtype int64 for index."))
    if index._array.ndim > 1:
        raise RuntimeError(errors.message("Index has to be a vector/scalar"))
    size = padded(input._array.shape)[place]
    bad = outside(index, size, negative=True)
    if bad is not None:
        raise IndexError(errors.message(
            f"index {bad} is out of bounds for dimension {place} with size {size}"))
    filling = value.to(input.dtype) if isinstance(value, Tensor) else number_as(value, input)
    return _index_fill(input, place, index, filling)


@public(inplace=True)
def index_reduce(input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *,
                 include_self: bool = True) -> Tensor:
    """`input` combined with `source` in the slices `index` names (``torch.index_reduce``).

    `reduce`: "prod", "mean", "amax" or "amin".
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(errors.message(
            "index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got "
            f"{reduce}."))
    place = dimension(dim, input._array.ndim)
    check_source("index_reduce_", input, place, index, source)
    if outside(index, padded(input._array.shape)[place]) is not None:
        raise IndexError(errors.message("index out of range in self"))
    if not index._array.size:
        return input.clone()
    shape = padded(source._array.shape)
    each = index.reshape((-1,) + (1,) * (len(shape) - place - 1)).expand(shape)
    return _scatter_reduce(input, place, each, source.reshape(shape), reduce, include_self)


# Indices into the flat tensor.

_take = op("take", lambda input, index: input.reshape(-1)[index], {
    "input": lambda g, input_shape, index: _put(g.new_zeros(input_shape), index, g, True)})


def put_array(input: Any, index: Any, source: Any, accumulate: Any) -> Any:
    """A copy of `input` with `source` written (or added) at flat indices."""
    flat = flat_copy(input)
    if accumulate:
        np.add.at(flat, index.reshape(-1), source.reshape(-1))
    else:
        flat[index.reshape(-1)] = source.reshape(-1)
    return flat.reshape(input.shape)


_put = op("put", put_array, grad={
    "input": lambda g, index, accumulate: g if accumulate else _put(
        g, index, g.new_zeros(index.shape), False),
    "source": lambda g, index, source_shape: _take(g, index).reshape(source_shape)})


def check_flat(name: str, input: Tensor, index: Tensor) -> None:
    if not is_index(index, "int64"):
        raise RuntimeError(errors.message(
            f"{name}(): Expected a long tensor for index, but got {index.dtype.alias}"))
    size = input._array.size
    bad = outside(index, size, negative=True)
    if bad is not None and not (name == "take" and not size):
        raise IndexError(errors.message(
            f"out of range: tried to access index {bad} on a tensor of {size} elements."))


@public
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements of the flat tensor, in the shape of `index` (``torch.take``)."""
    check_flat("take", input, index)
    if index._array.size and not input._array.size:
        raise IndexError(errors.message("take(): tried to take from an empty tensor"))
    return _take(input, index)


@public(inplace=True)
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with `source` written at flat indices (``torch.put``)."""
    if input._array.dtype != source._array.dtype:
        raise RuntimeError(errors.message(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{input.dtype.alias} and source.dtype = {source.dtype.alias}"))
    if not is_index(index, "int64"):
        check_flat("put_", input, index)
    if index._array.size != source._array.size:
        raise IndexError(errors.message(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source._array.size}, index.numel() = {index._array.size}"))
    check_flat("put_", input, index)
    return _put(input, index, source, accumulate)


@public(inplace=True)
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with ``x[indices] = values`` done, or added (``torch.index_put``)."""
    for place, part in enumerate(indices):
        if not isinstance(part, Tensor) and part is not None:
            raise TypeError(errors.message(
                f"expected Tensor as element {place} in argument 0, but got "
                f"{type(part).__name__}"))
    if input._array.dtype != values._array.dtype:
        raise RuntimeError(errors.message(
            "Index put requires the source and destination dtypes match, got "
            f"{input.dtype.alias} for the destination and {values.dtype.alias} for the source."))
    places, arrays = checked_indices(input, placed(input, indices))
    check_fits(input, places, arrays, values)
    if switch.tape is None:
        arrays = as_given(indices, arrays)
    return _index_put(input, values, accumulate, places, *arrays)


def placed(input: Tensor, indices: Any) -> dict[int, Any]:
    """Index arrays by the dimension at which they start."""
    found, dim = {}, 0
    for part in indices:
        if part is not None:
            found[dim] = index_of(part)
        dim += found[dim].ndim if part is not None and found[dim].dtype == np.bool_ else 1
    if dim > input._array.ndim:
        raise IndexError(errors.message(
            f"too many indices for tensor of dimension {input._array.ndim} (got {dim})"))
    return found


@public(method=False, out=False)
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """Flat indices as one index a dimension (``torch.unravel_index``)."""
    found, rest = [], indices.long()
    for n in reversed([shape] if isinstance(shape, int) else list(shape)):
        found.append(rest % n)
        rest = rest // n
    return tuple(reversed(found))


__all__ = ["index_select", "index_add", "index_copy", "index_fill", "index_reduce", "take", "put",
           "index_put", "unravel_index"]
