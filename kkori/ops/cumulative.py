"""Running totals: what an operation gives over all elements up to each one."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.reduce import counted
from kkori.ops.results import result_type
from kkori.ops.scatter import _scatter_add
from kkori.ops.table import op, public
from kkori.tensor import Tensor, dimension


def running(function: Any) -> Any:
    """An array rule for a ufunc's running result; half precision collects in float32."""
    def rule(input: Any, dim: Any) -> Any:
        if not input.ndim:
            return input.copy()
        if input.dtype.itemsize == 2 and input.dtype.kind in "fV":
            return function.accumulate(input.astype(np.float32), dim).astype(input.dtype)
        return function.accumulate(input, dim, dtype=input.dtype)
    return rule


def backwards_sum(g: Tensor, dim: int) -> Tensor:
    """Sums of each element and all after it."""
    return _cumsum(g.flip(dim), dim).flip(dim) if g._array.ndim else g


def cumprod_gradient(g: Tensor, input: Tensor, out: Tensor, dim: int) -> Tensor:
    """sum over k >= i of g_k out_k / x_i; by products without division where there are zeros."""
    if not input._array.ndim:
        return g
    if input._array.all():
        return backwards_sum(g * el.conj(out), dim) / el.conj(input)
    return cumprod_gradient_with_zeros(g, input, dim)


def cumprod_gradient_with_zeros(g: Tensor, input: Tensor, dim: int) -> Tensor:
    """For each element, the products in which it takes part, without it."""
    x, gx = input.movedim(dim, -1), g.movedim(dim, -1)
    size = x._array.shape[-1]
    parts = []
    for i in range(size):
        before = x[..., :i].prod(-1, keepdim=True)
        ones = x.new_ones((*x.shape[:-1], 1))
        from kkori.ops.move import cat
        after = cat([ones, x[..., i + 1:]], -1).cumprod(-1)
        parts.append((gx[..., i:] * el.conj(before * after)).sum(-1))
    from kkori.ops.move import stack
    return stack(parts, -1).movedim(-1, dim)


_cumsum = op("cumsum", running(np.add), {"input": backwards_sum})
_cumprod = op("cumprod", running(np.multiply), {"input": cumprod_gradient})


def extreme_with_places(function: Any, better: Any) -> Any:
    """An array rule for the running extreme and the last place where it stood."""
    def rule(input: Any, dim: Any) -> Any:
        if not input.ndim:
            return input.copy(), np.zeros((), np.int64)
        values = function.accumulate(input, dim)
        column = np.arange(input.shape[dim]).reshape((-1,) + (1,) * (input.ndim - dim - 1))
        taken = np.isnan(input) | better(input, values) if input.dtype.kind == "f" else \
            better(input, values)
        return values, np.maximum.accumulate(np.where(taken, column, 0), dim)
    return rule


def placed_gradient(gs: Any, input_shape: Any, dim: int, indices: Tensor) -> Tensor:
    """Each gradient to the element that was the extreme."""
    return _scatter_add(gs[0].new_zeros(input_shape), dim, indices, gs[0])


OUTPUTS = ("values", "indices")
_cummax = op("cummax", extreme_with_places(np.maximum, np.greater_equal),
             {"input": placed_gradient}, outputs=OUTPUTS)
_cummin = op("cummin", extreme_with_places(np.minimum, np.less_equal),
             {"input": placed_gradient}, outputs=OUTPUTS)


def logcumsumexp_array(input: Any, dim: Any) -> Any:
    """Running logaddexp; complex numbers one step at a time, so that angles add up unbroken."""
    if not input.ndim:
        return input.copy()
    if input.dtype.kind != "c":
        wide = input.astype(np.float32) if input.dtype.itemsize == 2 else input
        return np.logaddexp.accumulate(wide, dim).astype(input.dtype, copy=False)
    found = input.copy()
    rows = np.moveaxis(found, dim, 0)
    for place in range(1, len(rows)):
        rows[place] = el.logaddexp_array(rows[place - 1], rows[place])
    return found


def logcumsumexp_gradient(g: Tensor, input: Tensor, out: Tensor, dim: int) -> Tensor:
    """exp(x_i) times the sum over k >= i of g_k exp(-out_k), signs kept apart from sizes."""
    if not input._array.ndim:
        return g
    if input._array.dtype.kind == "c":
        return backwards_sum(g * el.conj(el.exp(-out)), dim) * el.conj(el.exp(input))
    least = types.finfo(g.dtype).min
    parts = []
    for sign in (1, -1):
        size = el.where(g * sign > 0, el.log(el.clamp(g * sign, 0)), least)
        total = _logcumsumexp((size - out).flip(dim), dim).flip(dim)
        parts.append(el.exp(total + input))
    return parts[0] - parts[1]


_logcumsumexp = op("logcumsumexp", logcumsumexp_array, {"input": logcumsumexp_gradient})

# What people call.


@public(inplace=True)
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sums along `dim`; integers are summed in int64 (``torch.cumsum``)."""
    place = dimension(dim, input._array.ndim)
    return _cumsum(counted(input, dtype), place)


@public(inplace=True)
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running products along `dim` (``torch.cumprod``)."""
    place = dimension(dim, input._array.ndim)
    return _cumprod(counted(input, dtype), place)


@public
def cummax(input: Tensor, dim: int) -> Any:
    """Running maximum along `dim` with its places: (values, indices) (``torch.cummax``)."""
    place = dimension(dim, input._array.ndim)
    return result_type("cummax", *OUTPUTS)(_cummax(input, place))


@public
def cummin(input: Tensor, dim: int) -> Any:
    """Running minimum along `dim` with its places: (values, indices) (``torch.cummin``)."""
    place = dimension(dim, input._array.ndim)
    return result_type("cummin", *OUTPUTS)(_cummin(input, place))


@public
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log of the running sums of exp along `dim`, without overflow (``torch.logcumsumexp``)."""
    place = dimension(dim, input._array.ndim)
    if input.dtype.kind < types.FLOATING:
        raise NotImplementedError(errors.message(
            f'"logcumsumexp_out_cpu" not implemented for \'{input.dtype.alias}\'',
            fix="x.float()"))
    return _logcumsumexp(input, place)


__all__ = ["cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"]
