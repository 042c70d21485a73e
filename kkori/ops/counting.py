"""Counting into bins: bincount, histc, histogram, histogramdd."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops.results import result_type
from kkori.ops.table import op, public
from kkori.tensor import Tensor, wrap

_bincount = op("bincount", lambda input, weights, minlength: np.bincount(
    input, weights, minlength))


@public
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2, ... occurs, or the sums of their weights (``bincount``)."""
    array = input._array
    if array.ndim != 1 or array.dtype.kind in "iu" and array.size and array.min() < 0:
        raise RuntimeError(errors.message(
            "bincount only supports 1-d non-negative integral inputs."))
    if array.dtype.kind not in "iu":
        raise NotImplementedError(errors.message(
            f'"bincount_cpu" not implemented for \'{input.dtype.alias}\'', fix="x.long()"))
    if minlength < 0:
        raise RuntimeError(errors.message("minlength should be >= 0"))
    if weights is None:
        return _bincount(input.long(), None, minlength)
    if weights._array.shape != array.shape:
        raise RuntimeError(errors.message(
            "weights should be 1-d and have the same length as input"))
    found = _bincount(input.long(), weights.detach(), minlength)
    return found.to(weights.dtype) if weights._array.dtype == np.float32 else found


# Histograms. A bin holds its left edge; the last one its right edge too.

def edges_between(low: Any, high: Any, bins: int, kind: Any) -> Any:
    """Edges of `bins` equal bins, computed as torch.linspace does."""
    from kkori.core.dtype import of
    from kkori.ops.create import linspace_array
    return linspace_array(low, high, bins + 1, of(kind))


def range_of(values: Any, given: Any, name: str, margin: float) -> tuple[float, float]:
    """The range of a histogram: as given, or that of the values; widened where it is a point."""
    if given is not None:
        low, high = given
    elif values.size:
        low, high = values.min(), values.max()
    else:
        low = high = margin
    if not (np.isfinite(low) and np.isfinite(high)):
        shown = ["-nan" if np.isnan(x) else f"{x:g}" for x in (low, high)]
        raise RuntimeError(errors.message(f"{name}: range of [{shown[0]}, {shown[1]}] is not "
                                          "finite"))
    return (low - margin, high + margin) if low == high else (low, high)


def bin_of(values: Any, edges: Any) -> tuple[Any, Any]:
    """The bin of each value, and whether it has one."""
    places = np.searchsorted(edges, values, "right") - 1
    places[places == len(edges) - 1] -= 1
    return places, (values >= edges[0]) & (values <= edges[-1])


def check_bins(bins: int, dim: int = 0) -> None:
    if bins <= 0:
        raise RuntimeError(errors.message(
            f"torch.histogram(): bins must be > 0, but got {bins} for dimension {dim}"))


def check_floating(name: str, input: Tensor) -> None:
    if input._array.dtype not in (np.float32, np.float64):
        raise NotImplementedError(errors.message(
            f"\"{name}\" not implemented for '{input.dtype.alias}'", fix="x.float()"))


def histc_array(input: Any, bins: Any, low: Any, high: Any) -> Any:
    """Counts of values in equal bins from `low` to `high`."""
    values = input.reshape(-1)
    inside = values[(values >= low) & (values <= high)]
    places = ((inside - low) / (high - low) * bins).astype(np.int64)
    return np.bincount(np.minimum(places, bins - 1), minlength=bins).astype(input.dtype)


_histc = op("histc", histc_array)


@public
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many values lie in each of `bins` equal bins (``torch.histc``).

    Without `min` and `max`, from the smallest value to the largest.
    """
    if input.dtype.kind == types.FLOATING and input.itemsize == 2:
        return histc(input.float(), bins, min, max).to(input.dtype)
    check_floating("histogram_cpu", input)
    check_bins(bins)
    if min > max:
        raise RuntimeError(errors.message("torch.histc: max must be larger than min"))
    low, high = range_of(input._array, None if min == max else (min, max), "torch.histc", 1)
    return _histc(input.detach(), bins, float(low), float(high))


HISTOGRAM = result_type("histogram", "hist", "bin_edges")
HISTOGRAMDD = result_type("histogramdd", "hist", "bin_edges")


def counts_in(points: Any, edges: list[Any], weight: Any, density: bool) -> Any:
    """The histogram of points (n, d) in the boxes between d lists of edges."""
    shape = tuple(len(line) - 1 for line in edges)
    flat, inside = np.zeros(len(points), np.int64), np.ones(len(points), np.bool_)
    for column, line in enumerate(edges):
        places, found = bin_of(points[:, column], line)
        flat = flat * shape[column] + np.where(found, places, 0)
        inside &= found
    amounts = None if weight is None else weight.reshape(-1)[inside]
    total = np.bincount(flat[inside], amounts, int(np.prod(shape))).reshape(shape)
    if density:
        total = total / total.sum()
        for axis, line in enumerate(edges):
            width = np.diff(line)
            total = total / width.reshape((-1,) + (1,) * (len(shape) - axis - 1))
    return total.astype(points.dtype)


def check_weight(shape: Any, weight: Tensor | None) -> None:
    if weight is not None and weight._array.shape != shape[:-1]:
        raise RuntimeError(errors.message(
            "torch.histogramdd: if weight tensor is provided it should have the same shape as "
            "the input tensor excluding its innermost dimension, but got input with shape "
            f"{errors.of_shape(shape)} and weight with shape "
            f"{errors.of_shape(weight._array.shape)}"))


def edges_of(bins: list[Any], points: Any, given: Any) -> list[Any]:
    """The edges of each dimension: given ones, or equal steps over its range."""
    found = []
    for column, part in enumerate(bins):
        if isinstance(part, Tensor):
            if part._array.ndim != 1:
                raise RuntimeError(errors.message(
                    "torch.histogramdd: bins tensor should have one dimension, but got "
                    f"{part._array.ndim} dimensions in the bins tensor for dimension {column}"))
            found.append(part._array)
            continue
        check_bins(part, column)
        limits = None if given is None else given[2 * column:2 * column + 2]
        low, high = range_of(points[:, column], limits, "torch.histogramdd", 0.5)
        found.append(edges_between(low, high, part, points.dtype))
    return found


@public
def histogram(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None,
              density: bool = False) -> Any:
    """Counts (or weights) in bins, and the bins' edges: (hist, bin_edges)."""
    check_floating("histogramdd", input)
    points = input._array.reshape(-1, 1)
    edges = edges_of([bins], points, range)
    check_weight(points.shape, weight if weight is None else weight.reshape(-1))
    hist = counts_in(points, edges, None if weight is None else weight._array, density)
    return HISTOGRAM((wrap(hist), wrap(edges[0].copy())))


@public(method=False, out=False)
def histogramdd(input: Tensor, bins: Any, range: Any = None, weight: Tensor | None = None,
                density: bool = False) -> Any:
    """Counts of points (..., d) in d-dimensional boxes: (hist, bin_edges)."""
    if input._array.ndim < 2:
        raise RuntimeError(errors.message(
            "torch.histogramdd: input tensor should have at least 2 dimensions"))
    size = input._array.shape[-1]
    lines = [bins] * size if isinstance(bins, int) else list(bins)
    if len(lines) != size:
        raise RuntimeError(errors.message(
            "histogramdd: The size of bins must be equal to the innermost dimension of the "
            "input."))
    check_floating("histogramdd", input)
    check_weight(input._array.shape, weight)
    points = input._array.reshape(-1, size)
    edges = edges_of(lines, points, range)
    hist = counts_in(points, edges, None if weight is None else weight._array, density)
    return HISTOGRAMDD((wrap(hist), tuple(wrap(line.copy()) for line in edges)))


__all__ = ["bincount", "histc", "histogram", "histogramdd"]
