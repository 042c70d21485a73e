"""Differences and areas on a grid: diff, gradient, and the trapezoid rule."""

from __future__ import annotations

from typing import Any

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.move import cat
from kkori.ops.reduce import axes_of
from kkori.ops.table import public
from kkori.tensor import Tensor, dimension

# diff.


def check_beside(input: Tensor, beside: Tensor, dim: int) -> None:
    """RuntimeError where something to prepend or append does not fit."""
    shape, other = input._array.shape, beside._array.shape
    if len(shape) != len(other):
        raise RuntimeError(errors.message(
            "diff expects prepend or append to be the same dimension as input"))
    for d, (n, m) in enumerate(zip(shape, other, strict=True)):
        if d != dim and n != m:
            raise RuntimeError(errors.message(
                "diff expects the shape of tensor to prepend or append to match that of input "
                f"except along the differencing dimension; input.size({d}) = {n}, but got "
                f"tensor.size({d}) = {m}"))


def between(input: Tensor, dim: int) -> Tensor:
    """Each element less the one before it; for truth values, whether they differ."""
    size = input._array.shape[dim]
    after, before = input.narrow(dim, 1, size - 1), input.narrow(dim, 0, size - 1)
    return el.logical_xor(after, before) if input.dtype is types.bool_ else after - before


@public
def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None,
         append: Tensor | None = None) -> Tensor:
    """The `n`-th differences of neighbours along `dim` (``torch.diff``)."""
    if not input._array.ndim:
        raise RuntimeError(errors.message("diff expects input to be at least one-dimensional"))
    place = dimension(dim, input._array.ndim)
    if n < 0:
        raise RuntimeError(errors.message(f"order must be non-negative but got {n}"))
    parts = [part for part in (prepend, input, append) if part is not None]
    for part in parts:
        check_beside(input, part, place)
    found = cat(parts, place) if len(parts) > 1 else input
    if n == 0:
        return found.clone()
    for _ in range(n):
        if not found._array.shape[place]:
            return found
        found = between(found, place)
    return found


# Areas.

def widths(y: Tensor, x: Tensor, dim: int) -> Tensor:
    """Distances of the sample points, shaped to multiply differences along `dim`."""
    if x._array.ndim == 1:
        if x._array.shape[0] != y._array.shape[dim]:
            raise RuntimeError(errors.message(
                "trapezoid: There must be one `x` value for each sample point"))
        return diff(x).reshape((-1,) + (1,) * (y._array.ndim - dim - 1))
    if x._array.ndim < y._array.ndim:
        x = x.reshape((1,) * (y._array.ndim - x._array.ndim) + tuple(x._array.shape))
    return diff(x, dim=dim)


def strips(name: str, y: Tensor, x: Any, dx: Any, dim: int) -> Tensor:
    """Areas between neighbours along `dim`."""
    if not y._array.ndim:
        raise IndexError(errors.message(
            "slice() cannot be applied to a 0-dim tensor." if name != "trapezoid" else
            f"Dimension specified as {dim} but tensor has no dimensions"))
    place = dimension(dim, y._array.ndim)
    size = y._array.shape[place]
    count = max(size - 1, 0)
    both = y.narrow(place, min(1, size), count) + y.narrow(place, 0, count)
    if isinstance(x, Tensor):
        return both * widths(y, x, place) / 2
    return both * (dx / 2)


@public(aliases=("trapz",), method=False)
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """Area under `y` along `dim` by the trapezoid rule (``torch.trapezoid``)."""
    if x is not None and y._array.ndim and not y._array.shape[dimension(dim, y._array.ndim)]:
        return y.sum(dim)
    return strips("trapezoid", y, x, dx, dim).sum(dim)


@public(method=False)
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1,
                         dim: int = -1) -> Tensor:
    """Running area under `y` along `dim` (``torch.cumulative_trapezoid``)."""
    return strips("cumulative_trapezoid", y, x, dx, dim).cumsum(dim)


# Slopes.

def slope_inside(input: Tensor, points: Any, dim: int) -> Tensor:
    """Second-order slopes at all points but the two ends."""
    size = input._array.shape[dim]
    left, middle, right = (input.narrow(dim, k, size - 2) for k in range(3))
    if not isinstance(points, Tensor):
        return (right - left) / (2 * points)
    shape = (-1,) + (1,) * (input._array.ndim - dim - 1)
    step = diff(points)
    before, after = (step.narrow(0, k, size - 2).reshape(shape) for k in range(2))
    return (left * (-after / (before * (before + after)))
            + middle * ((after - before) / (before * after))
            + right * (before / (after * (before + after))))


def slope_at_end(input: Tensor, points: Any, dim: int, order: int, last: bool) -> Tensor:
    """The slope at the first or the last point, from 2 or (order 2) 3 values."""
    size = input._array.shape[dim]
    places = [size - 1 - k if last else k for k in range(order + 1)]
    values = [input.narrow(dim, k, 1) for k in places]
    sign = -1 if last else 1
    if isinstance(points, Tensor):
        steps = [sign * (points[b] - points[a]) for a, b in zip(places, places[1:], strict=False)]
    else:
        steps = [points] * order
    if order == 1:
        return sign * (values[1] - values[0]) / steps[0]
    h, k = steps
    return sign * (-(2 * h + k) / (h * (h + k)) * values[0] + (h + k) / (h * k) * values[1]
                   - h / (k * (h + k)) * values[2])


def slope(input: Tensor, points: Any, dim: int, order: int) -> Tensor:
    """The slope along one dimension at every point."""
    ends = [slope_at_end(input, points, dim, order, last) for last in (False, True)]
    return cat([ends[0], slope_inside(input, points, dim), ends[1]], dim)


def spacings(spacing: Any, count: int) -> list[Any]:
    """One step length, or tensor of coordinates, a dimension."""
    if isinstance(spacing, (list, tuple)):
        found = list(spacing)
        if len(found) != count:
            raise RuntimeError(errors.message(
                "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and "
                "dim arguments to have the same length, but got a spacing argument of length "
                f"{len(found)} and a dim argument of length {count}."))
        return found
    return [1 if spacing is None else spacing] * count


def check_gradient(input: Tensor, points: list[Any], axes: Any, order: int) -> None:
    for part in points:
        if isinstance(part, Tensor) and part.device != input.device:
            raise RuntimeError(errors.message(
                "torch.gradient expected each tensor to be on the same device, but got devices "
                f"{input.device.type} and {part.device.type}!"))
    if order not in (1, 2):
        raise RuntimeError(errors.message(
            "torch.gradient only supports edge_order=1 and edge_order=2."))
    for axis in axes:
        if input._array.ndim and input._array.shape[axis] < order + 1:
            raise RuntimeError(errors.message(
                "torch.gradient expected each dimension size to be at least edge_order+1"))


@public(method=False, out=False)
def gradient(input: Tensor, *, spacing: Any = None, dim: Any = None,
             edge_order: int = 1) -> tuple[Tensor, ...]:
    """Slopes along each dimension (or `dim`) by central differences (``torch.gradient``)."""
    found = axes_of(dim, input._array.ndim)
    axes = tuple(range(input._array.ndim)) if found is None else found
    points = spacings(spacing, len(axes))
    check_gradient(input, points, axes, edge_order)
    if input.dtype.kind < types.FLOATING:
        input = input.to(types.get_default_dtype())
    return tuple(slope(input, part, axis, edge_order)
                 for axis, part in zip(axes, points, strict=True))


__all__ = ["diff", "trapezoid", "cumulative_trapezoid", "gradient"]
