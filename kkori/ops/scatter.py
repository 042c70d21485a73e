"""Gather and scatter: an index for every element, along one dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.core.promise import peeked
from kkori.core.size import contiguous_strides
from kkori.ops import elementwise as el
from kkori.ops.table import op, public
from kkori.tensor import Tensor, dimension, wrap


def flat_places(index: Any, dim: int, shape: Any) -> Any:
    """Where each element of `index` points in a row-major array of `shape`, laid out flat."""
    strides = contiguous_strides(shape)
    places = index.astype(np.int64) * strides[dim]
    for d, n in enumerate(index.shape):
        if d != dim:
            places += (np.arange(n) * strides[d]).reshape((-1,) + (1,) * (index.ndim - d - 1))
    return places.reshape(-1)


def flat_copy(input: Any) -> Any:
    """A row-major copy in one row, to be written to."""
    return np.array(input, order="C", copy=True).reshape(-1)


def gather_array(input: Any, dim: Any, index: Any) -> Any:
    whole, places = np.atleast_1d(input), np.atleast_1d(index)
    if not places.size:
        return np.empty(index.shape, input.dtype)
    check_bounds(places, dim, whole.shape[dim])
    part = whole[tuple(slice(None) if d == dim else slice(n) for d, n in enumerate(places.shape))]
    return np.take_along_axis(part, places, dim).reshape(index.shape)


def scatter_array(input: Any, dim: Any, index: Any, src: Any) -> Any:
    """A copy of `input` with `src` written where `index` points."""
    flat, places = flat_copy(input), np.atleast_1d(index)
    if not places.size:
        return flat.reshape(input.shape)
    check_bounds(places, dim, padded(input.shape)[dim])
    flat[flat_places(places, dim, padded(input.shape))] = np.reshape(src, -1)
    return flat.reshape(input.shape)


def scatter_add_array(input: Any, dim: Any, index: Any, src: Any) -> Any:
    """A copy of `input` with `src` added where `index` points."""
    flat, places = flat_copy(input), np.atleast_1d(index)
    if not places.size:
        return flat.reshape(input.shape)
    check_bounds(places, dim, padded(input.shape)[dim])
    np.add.at(flat, flat_places(places, dim, padded(input.shape)), np.reshape(src, -1))
    return flat.reshape(input.shape)


_gather = op("gather", gather_array, {
    "input": lambda g, input_shape, dim, index: _scatter_add(
        g.new_zeros(input_shape), dim, index, g)})
_scatter = op("scatter", scatter_array, {
    "input": lambda g, dim, index: _scatter(g, dim, index, 0),
    "src": lambda g, dim, index: _gather(g, dim, index)})
_scatter_add = op("scatter_add", scatter_add_array, {
    "input": lambda g: g,
    "src": lambda g, dim, index: _gather(g, dim, index)})

# Checks, with PyTorch's words.


def check_index_type(name: str, index: Tensor) -> None:
    if index._array.dtype not in (np.int64, np.int32):
        raise RuntimeError(errors.message(
            f"{name}(): Expected dtype int32/int64 for index", fix="index.long()"))


def check_bounds(array: Any, dim: int, size: int) -> None:
    """RuntimeError where an index points outside dimension `dim`; negative ones do. Rows check,
    not those who call them: the numbers may only be promised before."""
    if array.size and (array.max() >= size or array.min() < 0):
        bad = array[(array >= size) | (array < 0)].flat[0]
        raise RuntimeError(errors.message(
            f"index {bad} is out of bounds for dimension {dim} with size {size}",
            fix=f"indices here run from 0 to {size - 1}" if size else ""))


def padded(shape: Any) -> Any:
    """A 0-dim shape counts as one of length 1."""
    return tuple(shape) or (1,)


def check_gather(input: Tensor, dim: int, index: Tensor) -> None:
    check_index_type("gather", index)
    whole, places = padded(input._array.shape), padded(index._array.shape)
    if len(whole) != len(places):
        raise RuntimeError(errors.message(
            "Index tensor must have the same number of dimensions as input tensor"))
    for d, (n, here) in enumerate(zip(whole, places, strict=True)):
        if d != dim and here > n:
            raise RuntimeError(errors.message(
                f"Size does not match at dimension {d} expected index "
                f"{errors.of_shape(index._array.shape)} to be no larger than self "
                f"{errors.of_shape(input._array.shape)} apart from dimension {dim}"))


def check_scatter(input: Tensor, dim: int, index: Tensor, src: Any) -> None:
    check_index_type("scatter", index)
    if isinstance(src, Tensor) and src._array.dtype != input._array.dtype:
        raise RuntimeError(errors.message(
            "scatter(): Expected self.dtype to be equal to src.dtype",
            fix=f"src.to({input.dtype!r})"))
    whole, places = padded(input._array.shape), padded(index._array.shape)
    source = padded(src._array.shape) if isinstance(src, Tensor) else places
    for name, shape in (("self", whole), ("src", source)):
        if len(shape) != len(places):
            raise RuntimeError(errors.message(
                f"Index tensor must have the same number of dimensions as {name} tensor"))
    if any(here > n and d != dim or here > m for d, (here, n, m) in enumerate(
            zip(places, whole, source, strict=True))):
        raise too_large(input, dim, index, src)


def too_large(input: Tensor, dim: int, index: Tensor, src: Any) -> RuntimeError:
    text = (f"Expected index {errors.of_shape(index._array.shape)} to be no larger than self "
            f"{errors.of_shape(input._array.shape)} apart from dimension {dim}")
    if isinstance(src, Tensor):
        text += f" and to be no larger size than src {errors.of_shape(src._array.shape)}"
    return RuntimeError(errors.message(text))


def cut_to(src: Any, index: Tensor) -> Any:
    """The part of `src` that `index` speaks of: its first elements in every dimension."""
    if not isinstance(src, Tensor) or padded(src._array.shape) == padded(index._array.shape):
        return src
    for d, n in enumerate(index._array.shape):
        src = src.narrow(d, 0, n)
    return src


def number_as(value: Any, like: Tensor) -> Any:
    """A Python number in the type of `like`, cut as C cuts it."""
    kind = like.dtype
    if isinstance(value, complex) and kind.kind < types.COMPLEX:
        name = "float" if kind.kind == types.FLOATING else "int64_t"
        raise RuntimeError(errors.message(
            f"value cannot be converted to type {name} without overflow"))
    return np.asarray(value).astype(kind.numpy)


# What people call.

@public
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Elements of `input` picked along `dim` by `index`, in the shape of `index`.

    ``torch.gather``; RuntimeError where an index is out of bounds.

    >>> import kkori as torch
    >>> torch.gather(torch.tensor([[1, 2], [3, 4]]), 1, torch.tensor([[0, 0], [1, 0]]))
    tensor([[1, 1],
            [4, 3]])
    """
    place = dimension(dim, input._array.ndim)
    if index._array.size:
        check_gather(input, place, index)
    return _gather(input, place, index)


@public(inplace=True)
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
            reduce: str | None = None) -> Tensor:
    """`input` with `src` (a tensor or a number) written along `dim` where `index` points.

    ``torch.scatter``; `reduce`: None, "add" or "multiply" instead of writing.
    """
    src = value if src is None else src
    place = dimension(dim, input._array.ndim)
    if reduce is not None and reduce not in ("add", "multiply"):
        raise RuntimeError(errors.message("reduce argument must be either add or multiply."))
    if not index._array.size:
        return input.clone()
    check_scatter(input, place, index, src)
    if not isinstance(src, Tensor):
        src = number_as(src, input)
    src = cut_to(src, index)
    if reduce is None:
        return _scatter(input, place, index, src)
    if not isinstance(src, Tensor):
        src = wrap(np.broadcast_to(src, index._array.shape))
    if reduce == "add":
        return _scatter_add(input, place, index, src)
    return _scatter_reduce(input, place, index, src, "prod", True)


@public(inplace=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`input` with `src` added along `dim` where `index` points (``torch.scatter_add``)."""
    place = dimension(dim, input._array.ndim)
    if not index._array.size:
        return input.clone()
    check_scatter(input, place, index, src)
    check_bounds(peeked(index._array), place, padded(input._array.shape)[place])  # gradients do not
    return _scatter_add(input, place, index, cut_to(src, index))


@public(inplace=True)
def scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *,
                   include_self: bool = True) -> Tensor:
    """`input` combined with `src` where `index` points (``torch.scatter_reduce``).

    `reduce`: "sum", "prod", "mean", "amax" or "amin"; without `include_self` the elements of
    `input` that are written to do not take part.
    """
    if reduce not in UFUNCS:
        raise RuntimeError(errors.message(
            "reduce argument must be either sum, prod, mean, amax or amin, got " + str(reduce)))
    place = dimension(dim, input._array.ndim)
    if not index._array.size:
        return input.clone()
    check_scatter(input, place, index, src)
    check_bounds(peeked(index._array), place, padded(input._array.shape)[place])  # gradients do not
    return _scatter_reduce(input, place, index, cut_to(src, index), reduce, include_self)


@public
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """gather() with broadcasting; without `dim`, in the flat tensor (``take_along_dim``)."""
    if indices._array.dtype != np.int64:
        raise RuntimeError(errors.message(
            "torch.take_along_dim(): dtype of indices should be Long but got "
            f"{indices.dtype.alias}"))
    if dim is None:
        return _gather(input.reshape(-1), 0, indices.reshape(-1))
    if input._array.ndim != indices._array.ndim:
        raise RuntimeError(errors.message(
            "torch.take_along_dim(): input and indices should have the same number of "
            f"dimensions, but got {input._array.ndim} dimensions for input, and "
            f"{indices._array.ndim} dimensions for indices"))
    place = dimension(dim, input._array.ndim)
    shapes = [list(input._array.shape), list(indices._array.shape)]
    common = broadcast_apart_from(place, *shapes)
    for shape, own in zip(shapes, (input, indices), strict=True):
        shape[:] = [own._array.shape[d] if d == place else n for d, n in enumerate(common)]
    wrapped = el.where(indices < 0, indices + input._array.shape[place], indices)
    return gather(input.expand(shapes[0]), place, wrapped.expand(shapes[1]))


def broadcast_apart_from(dim: int, *shapes: Any) -> tuple[int, ...]:
    """The common shape of `shapes` with a 1 at `dim`."""
    reduced = [tuple(1 if d == dim else n for d, n in enumerate(shape)) for shape in shapes]
    try:
        return np.broadcast_shapes(*reduced)
    except ValueError:
        raise errors.not_broadcastable(reduced) from None


# Combining what meets at one place.

UFUNCS: dict[str, Any] = {"sum": np.add, "mean": np.add, "prod": np.multiply,
                          "amax": np.maximum, "amin": np.minimum}


def neutral(how: str, kind: Any) -> Any:
    """The number that changes nothing."""
    if how in ("sum", "mean"):
        return 0
    if how == "prod":
        return 1
    low = how == "amax"
    if kind.kind == "b":
        return not low
    if kind.kind in "iu":
        return np.iinfo(kind).min if low else np.iinfo(kind).max
    return -np.inf if low else np.inf


def scatter_reduce_array(input: Any, dim: Any, index: Any, src: Any, reduce: Any,
                         include_self: Any) -> Any:
    """A copy of `input` with `src` combined into it where `index` points."""
    flat, whole = flat_copy(input), padded(input.shape)
    check_bounds(index, dim, whole[dim])
    places = flat_places(np.atleast_1d(index), dim, whole)
    if not include_self:
        flat[places] = neutral(reduce, flat.dtype)
    UFUNCS[reduce].at(flat, places, np.reshape(src, -1))
    if reduce == "mean":
        counts = np.full(flat.shape, int(include_self))
        np.add.at(counts, places, 1)
        counts = np.maximum(counts, 1)
        flat = (flat // counts if flat.dtype.kind in "iu" else flat / counts).astype(flat.dtype)
    return flat.reshape(input.shape)


def kept_gradient(g: Tensor, input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str,
                  include_self: bool, out: Tensor) -> Tensor:
    """The gradient of what was there before."""
    kept, _ = PARTS[reduce](g, input, dim, index, src, reduce, include_self, out)
    return kept if include_self else _scatter(kept, dim, index, 0)


def given_gradient(g: Tensor, input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str,
                   include_self: bool, out: Tensor) -> Tensor:
    """The gradient of what was combined into it."""
    return PARTS[reduce](g, input, dim, index, src, reduce, include_self, out)[1]


def sum_parts(g: Tensor, input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str,
              include_self: bool, out: Tensor) -> Any:
    return g, _gather(g, dim, index)


def mean_parts(g: Tensor, input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str,
               include_self: bool, out: Tensor) -> Any:
    counts = _scatter_add(el.mul(g.detach() * 0 + int(include_self), 1), dim, index,
                          src.detach().new_ones(src.shape))
    share = g / el.clamp(counts, 1)
    return share, _gather(share, dim, index)


def product_parts(g: Tensor, input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str,
                  include_self: bool, out: Tensor) -> Any:
    """The product of all others: out / own, or computed anew where own is the only zero."""
    own = el.where(input == 0, 1.0, input)
    kept = g * _scatter_reduce(own, dim, index, src, reduce, include_self) / own
    zero = src == 0
    zeros = _gather(_scatter_add(input.new_zeros(input.shape), dim, index,
                                 zero.to(src.dtype)), dim, index)
    single = zero & (zeros == 1)
    without = _scatter_reduce(input, dim, index, el.where(single, 1.0, src), reduce, include_self)
    given = el.where(single, _gather(g * without, dim, index),
                     _gather(g * out, dim, index) / el.where(zero, 1.0, src))
    return kept, given


def extreme_parts(g: Tensor, input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str,
                  include_self: bool, out: Tensor) -> Any:
    """Shared equally among the elements that are the extreme."""
    mine = (input == out).to(g.dtype)
    theirs = (src == _gather(out, dim, index)).to(g.dtype)
    share = g / _scatter_add(mine, dim, index, theirs)
    return mine * share, theirs * _gather(share, dim, index)


PARTS = {"sum": sum_parts, "mean": mean_parts, "prod": product_parts, "amax": extreme_parts,
         "amin": extreme_parts}
_scatter_reduce = op("scatter_reduce", scatter_reduce_array, grad={
    "input": kept_gradient, "src": given_gradient})
__all__ = ["gather", "scatter", "scatter_add", "scatter_reduce", "take_along_dim"]
