"""What stands at a given rank: kthvalue, median, quantile; and what comes most often: mode."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.reduce import picked_gradient, something_needed
from kkori.ops.results import result_type
from kkori.ops.sort import comparable, order, sort
from kkori.ops.table import op, public
from kkori.tensor import Tensor, dimension, wrap

OUTPUTS = ("values", "indices")


def pick_along(input: Any, chosen: Any, axis: Any, keepdim: Any) -> Any:
    """Values and indices of one element along `axis`; `chosen` has length 1 there."""
    values = np.take_along_axis(input, chosen, axis)
    if keepdim:
        return values, chosen
    return values.squeeze(axis), chosen.squeeze(axis)


def ranked(choose: Any) -> Any:
    """An array rule that picks one element along an axis, by its order."""
    def rule(input: Any, axis: Any, keepdim: Any, k: Any) -> Any:
        if not input.ndim:
            return input.copy(), np.zeros((), np.int64)
        return pick_along(input, choose(input, axis, k), axis, keepdim)
    return rule


def kth_place(input: Any, axis: Any, k: Any) -> Any:
    return np.take(order(input, axis, False), [k - 1], axis)


def median_place(input: Any, axis: Any, k: Any) -> Any:
    """The lower middle; the first NaN where there is one."""
    middle = np.take(order(input, axis, False), [(input.shape[axis] - 1) // 2], axis)
    if input.dtype.kind not in "fV":
        return middle
    missing = np.isnan(input)
    first = np.argmax(missing, axis, keepdims=True)
    return np.where(missing.any(axis, keepdims=True), first, middle)


def nanmedian_place(input: Any, axis: Any, k: Any) -> Any:
    """The lower middle of what is not NaN."""
    count = (~np.isnan(comparable(input))).sum(axis, keepdims=True)
    return np.take_along_axis(order(input, axis, False), np.maximum(count - 1, 0) // 2, axis)


def mode_place(input: Any, axis: Any, k: Any) -> Any:
    """The last place of the smallest of the values that come most often."""
    rows = np.moveaxis(comparable(input), axis, -1)
    found = np.empty(rows.shape[:-1], np.int64)
    for place in np.ndindex(*rows.shape[:-1]):
        values, counts = np.unique(rows[place], return_counts=True)
        hits = rows[place] == values[np.argmax(counts)]
        found[place] = np.flatnonzero(hits)[-1] if hits.any() else rows.shape[-1] - 1
    return np.expand_dims(found, axis)


def row(name: str, choose: Any, node: str | None = None) -> Any:
    return op(name, ranked(choose), {"input": picked_gradient}, outputs=OUTPUTS, node=node)


_kthvalue, _mode = row("kthvalue", kth_place), row("mode", mode_place)
_median_dim = row("median_dim", median_place, "MedianBackward1")
_nanmedian_dim = row("nanmedian_dim", nanmedian_place, "NanmedianBackward1")


def shared_gradient(g: Tensor, input: Tensor, out: Tensor) -> Tensor:
    """Shared equally among the elements equal to the result."""
    hit = el.isnan(input) if np.isnan(out._array) else input == out
    return g * (hit / hit.sum())


def whole(choose: Any) -> Any:
    """An array rule for the same over all elements."""
    def rule(input: Any) -> Any:
        flat = input.reshape(-1)
        if not flat.size:
            return np.full((), np.nan if flat.dtype.kind == "f" else np.iinfo(flat.dtype).min,
                           flat.dtype)
        return flat[choose(flat, 0, None)].reshape(())
    return rule


_median = op("median", whole(median_place), {"input": shared_gradient})
_nanmedian = op("nanmedian", whole(nanmedian_place), {"input": shared_gradient})


@public
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The `k`-th smallest along `dim`, from 1: (values, indices) (``torch.kthvalue``)."""
    place = dimension(dim, input._array.ndim)
    something_needed("kthvalue", input, (place,))
    size = input._array.shape[place] if input._array.ndim else 1
    if not 1 <= k <= size:
        raise RuntimeError(errors.message(
            f"kthvalue(): selected number k out of range for dimension {place}",
            what=f"k={k}, to be between 1 and {size}"))
    return result_type("kthvalue", *OUTPUTS)(_kthvalue(input, place, keepdim, int(k)))


@public
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """What comes most often along `dim`, the smallest of those: (values, indices)."""
    place = dimension(dim, input._array.ndim)
    something_needed("mode", input, (place,))
    return result_type("mode", *OUTPUTS)(_mode(input, place, keepdim, None))


def median_function(name: str, of_all: Any, along: Any, words: str) -> Any:
    """torch.median or torch.nanmedian."""
    kind = result_type(name, *OUTPUTS)

    def function(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
        if input._array.dtype.kind in "bc":
            raise NotImplementedError(errors.message(
                f'"median_cpu" not implemented for \'{input.dtype.alias}\''))
        if dim is None:
            return of_all(input)
        place = dimension(dim, input._array.ndim)
        something_needed("median", input, (place,))
        return kind(along(input, place, keepdim, None))
    function.__doc__ = f"The lower middle {words} of all, or (values, indices) along `dim` " \
                       f"(``torch.{name}``)."
    return public(function, name=name)


median = median_function("median", _median, _median_dim, "element")
nanmedian = median_function("nanmedian", _nanmedian, _nanmedian_dim, "of what is not NaN,")

# Quantiles: ranks between elements.

INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def check_quantile(name: str, input: Tensor, q: Any, interpolation: str) -> Tensor:
    """`q` as a tensor, after PyTorch's checks."""
    if not input._array.size:
        raise RuntimeError(errors.message(f"{name}() input tensor must be non-empty"))
    if input._array.dtype not in (np.float32, np.float64):
        raise RuntimeError(errors.message(
            f"{name}() input tensor must be either float or double dtype", fix="x.float()"))
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(errors.message(
                f"{name}() q must be in the range [0, 1] but got {q:g}"))
        q = wrap(np.asarray(q, input._array.dtype))
    if q._array.ndim > 1:
        raise RuntimeError(errors.message(f"{name}() q must be a scalar or 1D tensor"))
    if q._array.dtype != input._array.dtype:
        raise RuntimeError(errors.message(
            f"{name}() q tensor must be same dtype as the input tensor"))
    if interpolation not in INTERPOLATIONS:
        raise RuntimeError(errors.message(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            f"but got {interpolation}"))
    if ((q._array < 0) | (q._array > 1)).any():
        raise RuntimeError(errors.message(f"{name}() q values must be in the range [0, 1]"))
    return q


def at_rank(ordered: Tensor, rank: Tensor, interpolation: str) -> Tensor:
    """Elements of the last dimension at fractional ranks, from its sorted values."""
    if interpolation == "nearest":
        return ordered.gather(-1, rank.round().long())
    if interpolation == "higher":
        return ordered.gather(-1, rank.ceil().long())
    below = rank.floor()
    low = ordered.gather(-1, below.long())
    if interpolation == "lower":
        return low
    weight = rank - below if interpolation == "linear" else 0.5 * (rank != below)
    high = ordered.gather(-1, rank.ceil().long())
    return el.lerp(low, high, weight.to(low.dtype))


def quantile_function(name: str, ignore_nan: bool) -> Any:
    """torch.quantile or torch.nanquantile."""
    def function(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
                 interpolation: str = "linear") -> Tensor:
        wanted = check_quantile(name, input, q, interpolation)
        rows = input.reshape(-1) if dim is None else lined_up(input, dim)
        ordered = sort(rows, -1).values
        rank = ranks(ordered, wanted.reshape(-1), ignore_nan)
        found = at_rank(ordered, rank, interpolation)
        return arranged(found, input, dim, keepdim, bool(wanted._array.ndim))
    function.__doc__ = f"Values below which the fractions `q` lie, of all or along `dim` " \
                       f"(``torch.{name}``)."
    return public(function, name=name)


def lined_up(input: Tensor, dim: int) -> Tensor:
    """Dimension `dim` as the last."""
    if not input._array.ndim:
        dimension(dim, 0)
        return input.reshape(1)
    return input.movedim(dim, -1)


def ranks(ordered: Tensor, q: Tensor, ignore_nan: bool) -> Tensor:
    """Rank of each fraction in each row; the last place, which holds NaN, in rows with NaN."""
    size = ordered._array.shape[-1]
    count = (~el.isnan(ordered)).sum(-1, keepdim=True)
    if ignore_nan:
        return (q * (count - 1)).clamp(min=0)
    return el.where(count < size, float(size - 1), q * (size - 1)).to(q.dtype)


def arranged(found: Tensor, input: Tensor, dim: int | None, keepdim: bool,
             several: bool) -> Tensor:
    """Results with the fractions first, the reduced dimension where it belongs."""
    found = found.movedim(-1, 0)
    if keepdim:
        ndim = input._array.ndim
        if dim is None:
            found = found.reshape((found._array.shape[0],) + (1,) * ndim)
        elif ndim:
            found = found.unsqueeze(dimension(dim, ndim) + 1)
    return found if several else found.squeeze(0)


quantile = quantile_function("quantile", False)
nanquantile = quantile_function("nanquantile", True)
__all__ = ["kthvalue", "mode", "median", "nanmedian", "quantile", "nanquantile"]
