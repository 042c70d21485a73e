"""Reductions: many elements to one, along some dimensions or all."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.move import spread_out
from kkori.ops.results import result_type
from kkori.ops.table import METHODS, TORCH, op, public
from kkori.tensor import Tensor, dimension


def axes_of(dim: Any, ndim: int) -> tuple[int, ...] | None:
    """Dimensions to reduce, counted from the front; None for all of them."""
    if dim is None:
        return None
    if isinstance(dim, (int, np.integer)):
        return (dimension(int(dim), ndim),)
    axes = tuple(dimension(int(d), ndim) for d in dim)
    if len(set(axes)) != len(axes):
        twice = next(a for a in axes if axes.count(a) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return axes or None


def one_axis(dim: int, ndim: int) -> int:
    """One dimension counted from the front."""
    return dimension(dim, ndim)


def as_axis(axes: Any, array: Any) -> Any:
    """NumPy's `axis` for `axes`: 0-dim arrays have none."""
    return None if array.ndim == 0 else axes


def unreduce(g: Tensor, shape: Any, axes: Any, keepdim: bool) -> Tensor:
    """`g` with the reduced dimensions put back as 1, ready to broadcast against `shape`."""
    if keepdim or not shape or g._array.ndim == len(shape):
        return g
    reduced = range(len(shape)) if axes is None else axes
    return g.reshape(tuple(1 if d in reduced else n for d, n in enumerate(shape)))


def spread(g: Tensor, shape: Any, axes: Any, keepdim: bool) -> Tensor:
    """`g` repeated along the reduced dimensions (a view)."""
    if axes is None and not keepdim:
        return spread_out(g, shape)
    return unreduce(g, shape, axes, keepdim).expand(shape)


def size_along(shape: Any, axes: Any) -> int:
    """How many elements each result was made of."""
    return prod(shape) if axes is None else prod(shape[a] for a in axes if shape)


# Sum and mean.

def sum_array(input: Any, axes: Any, keepdim: Any) -> Any:
    """Half-precision sums are collected in float32, as PyTorch does."""
    if input.dtype.itemsize == 2 and input.dtype.kind in "fV":
        return np.add.reduce(input.astype(np.float32), axis=as_axis(axes, input),
                             keepdims=keepdim).astype(input.dtype)
    return np.add.reduce(input, axis=as_axis(axes, input), keepdims=keepdim)


def sum_gradient(g: Tensor, input_shape: Any, axes: Any, keepdim: bool) -> Tensor:
    return spread(g, input_shape, axes, keepdim)


_sum = op("sum", sum_array, {"input": sum_gradient}, node="SumBackward1")
_sum_all = op("sum_all", lambda input: np.add.reduce(input, axis=None) if input.itemsize > 2
              else sum_array(input, None, False),
              {"input": lambda g, input_shape: spread_out(g, input_shape)}, node="SumBackward0")


def mean_array(input: Any, axes: Any, keepdim: Any) -> Any:
    """The sum over the count; the count of nothing gives NaN."""
    count = size_along(input.shape, axes)
    total = np.add.reduce(input if input.dtype.itemsize > 2 else input.astype(np.float32),
                          axis=as_axis(axes, input), keepdims=keepdim)
    return np.asarray(np.true_divide(total, count)).astype(input.dtype, copy=False)


def mean_gradient(g: Tensor, input_shape: Any, axes: Any, keepdim: bool) -> Tensor:
    count = builtins.max(size_along(input_shape, axes), 1)
    return spread(g * (1.0 / count), input_shape, axes, keepdim)


_mean = op("mean", mean_array, {"input": mean_gradient}, node="MeanBackward1")
def mean_all_array(input: Any) -> Any:
    """The mean of everything, by the shortest way for the usual types."""
    if input.dtype.kind == "f" and input.dtype.itemsize > 2 and input.size:
        return np.add.reduce(input, axis=None) / input.size
    return mean_array(input, None, False)


_mean_all = op("mean_all", mean_all_array,
               {"input": lambda g, input_shape: mean_gradient(g, input_shape, None, False)},
               node="MeanBackward0")


def to_type(input: Tensor, dtype: Any) -> Tensor:
    """`input` in the type a reduction computes in."""
    if dtype is None or input._array.dtype == dtype.numpy:
        return input
    return input.to(dtype)


def counted(input: Tensor, dtype: Any) -> Tensor:
    """Sums of truth values and small integers are int64."""
    if dtype is None:
        if input._array.dtype.kind not in "biu":
            return input
        dtype = types.int64
    return to_type(input, dtype)


@public
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum of all elements, or along `dim` (an int or several) (``torch.sum``)."""
    input = counted(input, dtype)
    if dim is None and not keepdim:
        return _sum_all(input)
    return _sum(input, axes_of(dim, input._array.ndim), keepdim)


def floating_needed(name: str, input: Tensor, dtype: Any) -> Tensor:
    """RuntimeError, in PyTorch's words, for means of integers."""
    input = to_type(input, dtype)
    if input._array.dtype.kind in "biu":
        which = "Input" if dtype is None else "Optional"
        given = f"{name}(): could not infer output dtype. {which} dtype must be either a " \
                f"floating point or complex dtype. Got: {input.dtype.alias}"
        raise RuntimeError(errors.message(given, fix="x.float().mean()"))
    return input


@public
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Mean of all elements, or along `dim`. RuntimeError for integers (``torch.mean``)."""
    input = floating_needed("mean", input, dtype)
    if dim is None and not keepdim:
        return _mean_all(input)
    return _mean(input, axes_of(dim, input._array.ndim), keepdim)


@public
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum that counts NaN as 0 (``torch.nansum``)."""
    input = counted(input, dtype)
    return _nansum(input, axes_of(dim, input._array.ndim), keepdim)


_nansum = op("nansum", lambda input, axes, keepdim: sum_array(
    np.where(np.isnan(input), input.dtype.type(0), input), axes, keepdim), {
    "input": lambda g, input, axes, keepdim: el.where(
        el.isnan(input), 0.0, spread(g, input.shape, axes, keepdim))})


@public
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Mean of what is not NaN (``torch.nanmean``)."""
    input = to_type(input, dtype)
    count = sum(~el.isnan(input), dim, keepdim)
    return nansum(input, dim, keepdim) / count


@public
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements are not 0 (``torch.count_nonzero``)."""
    return sum(input != 0, dim)


# Products.

def prod_gradient(g: Tensor, input: Tensor, axis: Any, keepdim: bool) -> Tensor:
    """Product of all the others: exact where there are zeros, unlike out / input."""
    if not input._array.ndim:
        return g
    flat = input.reshape(-1) if axis is None else input.movedim(axis, -1)
    size = flat._array.shape[-1]
    left = exclusive_product(flat, size)
    right = exclusive_product(flat.flip(-1), size).flip(-1)
    others = el.conj(left * right)
    if axis is None:
        return g * others.reshape(input.shape)
    wide = g if keepdim else g.unsqueeze(axis)
    return wide * others.movedim(-1, axis)


def exclusive_product(flat: Tensor, size: int) -> Tensor:
    """Products of what stands before each element of the last dimension."""
    ones = flat.new_ones((*flat.shape[:-1], 1))
    return TORCH["cat"]([ones, flat], -1).narrow(-1, 0, size).cumprod(-1)


_prod_all, _prod = (op(name, lambda input, axis, keepdim: np.multiply.reduce(
    input, axis=as_axis(axis, input), keepdims=keepdim), {"input": prod_gradient}, node=node)
    for name, node in {"prod_all": "ProdBackward0", "prod": "ProdBackward1"}.items())


@public
def prod_(input: Tensor, dim: int | None = None, keepdim: bool = False, *,
          dtype: Any = None) -> Tensor:
    """Product of all elements, or along `dim` (``torch.prod``)."""
    input = counted(input, dtype)
    axis = None if dim is None else one_axis(dim, input._array.ndim)
    return (_prod_all if axis is None else _prod)(input, axis, keepdim)


for _registry in (TORCH, METHODS):
    _registry["prod"] = _registry.pop("prod_")

# The largest and the smallest.


def reduced_extreme(function: Any) -> Callable[..., Any]:
    """Largest or smallest along axes; RuntimeError over nothing."""
    def rule(input: Any, axes: Any, keepdim: Any) -> Any:
        return function.reduce(input, axis=as_axis(axes, input), keepdims=keepdim)
    return rule


def extreme_gradient(g: Tensor, input: Tensor, out: Tensor, axes: Any, keepdim: bool) -> Tensor:
    """Shared equally among the elements that are the largest (or smallest)."""
    hit = input == unreduce(out, input.shape, axes, keepdim)
    count = sum(hit, axes, True) if input._array.ndim else hit.sum()
    return unreduce(g, input.shape, axes, keepdim) * (hit / count)


def extreme_of_all_gradient(g: Tensor, input: Tensor, out: Tensor) -> Tensor:
    """Shared equally among the elements that equal the extreme, or are NaN as it is."""
    hit = (input == out) | (el.isnan(input) & el.isnan(out))
    return el.mask(hit, g / hit.sum())


EXTREME_GRADIENT = {"input": extreme_gradient}
_amax = op("amax", reduced_extreme(np.maximum), EXTREME_GRADIENT)
_amin = op("amin", reduced_extreme(np.minimum), EXTREME_GRADIENT)
_max_all = op("max_all", lambda input: np.maximum.reduce(input, axis=None),
              {"input": extreme_of_all_gradient}, node="MaxBackward1")
_min_all = op("min_all", lambda input: np.minimum.reduce(input, axis=None),
              {"input": extreme_of_all_gradient}, node="MinBackward1")


def something_needed(name: str, input: Tensor, axes: Any, lead: str | None = None) -> None:
    """An extreme of nothing is an error."""
    shape = input._array.shape
    if axes is None and not input._array.size:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
            "the reduction dim with the 'dim' argument.")
    for axis in axes or ():
        if shape and not shape[axis]:
            raise IndexError(errors.message(
                f"{lead or name + '():'} Expected reduction dim {axis} to have non-zero size."))


@public
def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """Largest element along `dim`; gradients are shared among equals (``torch.amax``)."""
    axes = axes_of(dim, input._array.ndim)
    something_needed("amax", input, axes)
    return _amax(input, axes, keepdim)


@public
def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """Smallest element along `dim` (``torch.amin``)."""
    axes = axes_of(dim, input._array.ndim)
    something_needed("amin", input, axes)
    return _amin(input, axes, keepdim)


@public
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """Smallest and largest together (``torch.aminmax``)."""
    axes = None if dim is None else (one_axis(dim, input._array.ndim),)
    if axes is None and not input._array.size:
        raise RuntimeError(errors.message(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no "
            "identity."))
    something_needed("aminmax", input, axes, "aminmax:")
    return AMINMAX((_amin(input, axes, keepdim), _amax(input, axes, keepdim)))


AMINMAX = result_type("aminmax", "min", "max")


def first_index(function: Any) -> Callable[..., Any]:
    """argmax or argmin with NaN counted as the extreme, which is NumPy's rule too."""
    def rule(input: Any, axis: Any, keepdim: Any) -> Any:
        if input.ndim == 0:
            return np.zeros((), np.int64)
        return function(input, axis=axis, keepdims=keepdim)
    return rule


_argmax = op("argmax", first_index(np.argmax))
_argmin = op("argmin", first_index(np.argmin))


def arg_extreme(name: str, row: Any) -> Any:
    """torch.argmax or torch.argmin."""
    def function(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        if dim is not None:
            axis: int | None = one_axis(dim, input._array.ndim)
        else:
            axis = None
            if not input._array.size:
                raise IndexError(f"{name}(): Expected reduction dim to be specified for "
                                 "input.numel() == 0.")
        if axis is not None:
            something_needed(name, input, (axis,))
        if input._array.dtype.kind == "b":
            raise RuntimeError(f'"{name}_cpu" not implemented for \'Bool\'')
        return row(input, axis, keepdim)
    function.__doc__ = f"Index of the extreme element, in the flat tensor or along `dim` " \
                       f"(``torch.{name}``)."
    return public(function, name=name)


argmax = arg_extreme("argmax", _argmax)
argmin = arg_extreme("argmin", _argmin)


def with_indices(name: str, index_rule: Any) -> Any:
    """An extreme along one dimension with its index; the gradient goes to that element."""
    def rule(input: Any, axis: Any, keepdim: Any) -> Any:
        if input.ndim == 0:
            return input.copy(), np.zeros((), np.int64)
        indices = index_rule(input, axis=axis, keepdims=True)
        values = np.take_along_axis(input, indices, axis)
        if not keepdim:
            values, indices = values.squeeze(axis), indices.squeeze(axis)
        return values, indices
    return op(f"{name}_dim", rule, {"input": picked_gradient}, outputs=("values", "indices"),
              node=f"{name.capitalize()}Backward0")


def picked_gradient(gs: Any, input_shape: Any, indices: Tensor, axis: Any,
                    keepdim: bool) -> Tensor:
    """The gradient of picking one element along a dimension: put it back there."""
    g = gs[0]
    if not input_shape:
        return g
    if not keepdim:
        g, indices = g.unsqueeze(axis), indices.unsqueeze(axis)
    return g.new_zeros(input_shape).scatter(axis, indices, g)


_max_dim = with_indices("max", np.argmax)
_min_dim = with_indices("min", np.argmin)


def extreme(name: str, whole: Any, along: Any, pair: Any) -> Any:
    """torch.max or torch.min: of all, along a dimension, or of two tensors."""
    kind = result_type(name, "values", "indices")

    def function(input: Tensor, dim: Any = None, keepdim: bool = False, *,
                 other: Any = None) -> Any:
        if isinstance(dim, Tensor) or other is not None:
            return pair(input, dim if other is None else other)
        if dim is None:
            something_needed(name, input, None)
            return whole(input)
        axis = one_axis(dim, input._array.ndim)
        something_needed(name, input, (axis,))
        return kind(along(input, axis, keepdim))
    function.__doc__ = f"The extreme of all elements; with `dim`, (values, indices) along it; " \
                       f"with a tensor, elementwise (``torch.{name}``)."
    return public(function, name=name, overloaded=True)


max = extreme("max", _max_all, _max_dim, el.maximum)
min = extreme("min", _min_all, _min_dim, el.minimum)

# Truth.

_all = op("all", lambda input, axes, keepdim: np.logical_and.reduce(
    input, axis=as_axis(axes, input), keepdims=keepdim))
_any = op("any", lambda input, axes, keepdim: np.logical_or.reduce(
    input, axis=as_axis(axes, input), keepdims=keepdim))


@public
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all elements are true (``torch.all``)."""
    return _same_byte(_all(input, axes_of(dim, input._array.ndim), keepdim), input)


@public
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether any element is true (``torch.any``)."""
    return _same_byte(_any(input, axes_of(dim, input._array.ndim), keepdim), input)


def _same_byte(result: Tensor, input: Tensor) -> Tensor:
    """uint8 in, uint8 out: PyTorch keeps its old truth type."""
    return result.to(types.uint8) if input._array.dtype == np.uint8 else result


# Spread.

def correction_of(unbiased: Any, correction: Any) -> Any:
    """PyTorch's two spellings of the divisor's correction; 1 by default."""
    if correction is not None:
        return correction
    return 1 if unbiased is None or unbiased else 0


def var_array(input: Any, axes: Any, correction: Any, keepdim: Any) -> Any:
    """Squares around the mean, in two passes."""
    axis = as_axis(axes, input)
    wide = input if input.dtype.itemsize > 2 else input.astype(np.float32)
    count = size_along(input.shape, axes)
    center = np.true_divide(np.add.reduce(wide, axis=axis, keepdims=True), count)
    gap = wide - center
    squares = (gap * gap.conj()).real if gap.dtype.kind == "c" else gap * gap
    total = np.add.reduce(squares, axis=axis, keepdims=keepdim)
    divisor = count - correction
    found = np.true_divide(total, divisor if divisor > 0 else 0)
    kind = input.real.dtype if input.dtype.kind == "c" else input.dtype
    return np.asarray(found).astype(kind, copy=False)


def var_gradient(g: Tensor, input: Tensor, axes: Any, correction: Any, keepdim: bool) -> Tensor:
    count = size_along(input.shape, axes)
    divisor = count - correction
    factor = 2.0 / divisor if divisor > 0 else float("nan")
    center = mean(input, axes, input._array.ndim > 0)
    return unreduce(g, input.shape, axes, keepdim) * factor * (input - center)


_var = op("var", var_array, {"input": var_gradient})


def std_gradient(g: Tensor, input: Tensor, out: Tensor, axes: Any, correction: Any,
                 keepdim: bool) -> Tensor:
    half = el.where(out == 0, 0.0, g / (2 * out))
    return var_gradient(half, input, axes, correction, keepdim)


_std = op("std", lambda input, axes, correction, keepdim: np.sqrt(
    var_array(input, axes, correction, keepdim)), {"input": std_gradient})


def spread_function(name: str, row: Any) -> Any:
    """torch.var or torch.std."""
    def function(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
                 correction: Any = None) -> Tensor:
        if isinstance(dim, bool):  # var(x, False) means unbiased=False
            dim, unbiased = None, dim
        if input._array.dtype.kind in "biu":
            raise RuntimeError("std and var only support floating point and complex dtypes")
        axes = axes_of(dim, input._array.ndim)
        return row(input, axes, correction_of(unbiased, correction), keepdim)
    function.__doc__ = f"``torch.{name}`` over all elements or along `dim`; `correction` (1) is " \
                       "taken from the count in the divisor."
    return public(function, name=name)


var = spread_function("var", _var)
std = spread_function("std", _std)


@public(method=False, out=False)
def var_mean(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
             correction: Any = None) -> tuple[Tensor, Tensor]:
    """Variance and mean (``torch.var_mean``)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return (var(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim))


@public(method=False, out=False)
def std_mean(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
             correction: Any = None) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean (``torch.std_mean``)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return (std(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim))


# Logarithm of a sum of exponentials.

def logsumexp_array(input: Any, axes: Any, keepdim: Any) -> Any:
    """The largest is taken out first, so nothing overflows."""
    axis = as_axis(axes, input)
    if not input.size:
        return np.log(np.add.reduce(np.exp(input), axis=axis, keepdims=keepdim))
    top = np.maximum.reduce(input.real, axis=axis, keepdims=True)
    top = np.where(np.isinf(top), 0, top)
    found = np.log(np.add.reduce(np.exp(input - top), axis=axis, keepdims=True)) + top
    return found if keepdim else np.squeeze(found, axis)


_logsumexp = op("logsumexp", logsumexp_array, {
    "input": lambda g, input, out, axes, keepdim: unreduce(g, input.shape, axes, keepdim) * el.exp(
        input - unreduce(el.where(el.isneginf(out), 0.0, out), input.shape, axes, keepdim))})


@public(aliases=("special_logsumexp",))
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log of the sum of exp along `dim`, without overflow (``torch.logsumexp``)."""
    if input.dtype.kind < types.FLOATING:
        input = to_type(input, types.get_default_dtype())
    return _logsumexp(input, axes_of(dim, input._array.ndim), keepdim)


def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """Sum along the dimensions in which `size` is 1 or missing: broadcasting, undone."""
    shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
    found = input._array.shape
    extra = len(found) - len(shape)
    if extra > 0 and found[extra:] == tuple(shape):  # only whole dimensions too many
        return _sum(input, tuple(range(extra)), False)
    axes = tuple(range(extra)) + tuple(
        d + extra for d, n in enumerate(shape) if n == 1 and found[d + extra] != 1)
    if extra < 0 or list(shape) != [
            1 if d + extra in axes else found[d + extra] for d, n in enumerate(shape)]:
        raise RuntimeError(
            f"size {{{errors.of_shape(shape)}}} is not expandable to size "
            f"{{{errors.of_shape(found)}}}.")
    if axes:
        input = _sum(input, axes, True)
    return input.reshape(tuple(shape)) if extra else input


METHODS["sum_to_size"] = sum_to_size
