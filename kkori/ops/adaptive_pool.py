"""Pooling whose windows follow from the size of the result, or from chance; and power averages."""

from __future__ import annotations

import math
from math import prod
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.direct import direct, tuple_of
from kkori.ops.pool import _planted, avg_pool1d, avg_pool2d, avg_pool3d, max_pool
from kkori.ops.table import TORCH, public
from kkori.tensor import Tensor


def bounds(size: int, out: int) -> list[tuple[int, int]]:
    """Where each of `out` windows over `size` elements begins and ends."""
    return [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


def averaging(size: int, out: int, kind: Any) -> Any:
    """The matrix that averages over the windows, (out, size)."""
    found = np.zeros((out, size), kind)
    for row, (start, end) in enumerate(bounds(size, out)):
        found[row, start:end] = 1 / (end - start)
    return found


def contracted(x: Any, matrix: Any, axis: int) -> Any:
    """`matrix` applied along one dimension."""
    if axis == x.ndim - 1:
        return np.matmul(x, matrix.T)
    if axis == x.ndim - 2:
        return np.matmul(matrix, x)
    return np.moveaxis(np.matmul(np.moveaxis(x, axis, -1), matrix.T), -1, axis)


def resampled_array(input: Any, matrices: Any) -> Any:
    """One matrix for each of the last dimensions, applied along it (None: as it is)."""
    found = input
    first = input.ndim - len(matrices)
    for place, matrix in enumerate(matrices):
        if matrix is not None:
            found = contracted(found, matrix.astype(input.dtype, copy=False), first + place)
    return np.ascontiguousarray(found) if found is not input else input.copy()


def turned(matrices: Any) -> Any:
    return tuple(None if matrix is None else matrix.T for matrix in matrices)


def resampling(name: str, node: str) -> Any:
    """The row under the name of one of PyTorch's functions; its gradient is one again."""
    return direct(name, resampled_array, {
        "input": lambda g, matrices: _resampled(g, turned(matrices))}, node=node)


_resampled = resampling("resampled", "ResampledBackward0")
_averages = {dims: resampling(f"adaptive_avg_pool{dims}d", f"AdaptiveAvgPool{dims}DBackward0")
             for dims in (1, 2, 3)}


def wanted_lengths(name: str, dims: int, input: Tensor, output_size: Any) -> tuple[int, ...]:
    """The result's lengths; None keeps the input's."""
    shape = input._array.shape
    if len(shape) not in (dims + 1, dims + 2):
        raise RuntimeError(errors.message(
            f"{name}(): Expected {dims + 1}D or {dims + 2}D tensor, but got "
            f"{errors.of_shape(shape)}"))
    given = (output_size,) * dims if isinstance(output_size, (int, np.integer)) else output_size
    given = tuple(given) * dims if len(tuple(given)) == 1 else tuple(given)
    if len(given) != dims:
        raise RuntimeError(f"{name}: output_size must be {dims}")
    found = tuple(n if size is None else int(size) for n, size in zip(
        shape[-dims:], given, strict=True))
    if min(found) < 0:
        raise RuntimeError(f"{name}(): elements of output_size must be greater than or equal to 0 "
                           f"but received {errors.of_shape(found)}")
    return found


def adaptive_avg_pool(dims: int, input: Tensor, output_size: Any) -> Tensor:
    """adaptive_avg_pool1d, 2d and 3d."""
    name = f"adaptive_avg_pool{dims}d"
    out = wanted_lengths(name, dims, input, output_size)
    if prod(out) == 1 and dims > 1:
        return TORCH["mean"](input, tuple(range(-dims, 0)), True)
    space = input._array.shape[-dims:]
    matrices = tuple(None if n == m else averaging(n, m, np.float64)
                     for n, m in zip(space, out, strict=True))
    return _averages[dims](input, matrices)


def adaptive_max_array(input: Any, out: Any) -> Any:
    """The largest of each window, and its flat place."""
    space = input.shape[2:]
    spans = [bounds(n, m) for n, m in zip(space, out, strict=True)]
    values = np.empty((*input.shape[:2], *out), input.dtype)
    places = np.empty(values.shape, np.int64)
    for cell in np.ndindex(*out):
        window = [span[i] for span, i in zip(spans, cell, strict=True)]
        seen = input[(slice(None), slice(None), *(slice(*ends) for ends in window))]
        lengths = seen.shape[2:]
        flat = seen.reshape(*seen.shape[:2], prod(lengths))
        best = np.argmax(flat, 2)
        inside = np.unravel_index(best, lengths)
        where = np.zeros_like(best)
        for n, place, (start, _) in zip(space, inside, window, strict=True):
            where = where * n + place + start
        spot = (slice(None), slice(None), *cell)
        values[spot] = np.take_along_axis(flat, best[..., None], 2)[..., 0]
        places[spot] = where
    return values, places


def planted_gradient(gs: Any, input_shape: Any, indices: Tensor) -> Any:
    return _planted(gs[0], indices, input_shape[2:])


_adaptive_max = {dims: direct(f"adaptive_max_pool{dims}d", adaptive_max_array,
                              {"input": planted_gradient}, outputs=("values", "indices"),
                              node=f"AdaptiveMaxPool{dims}DBackward0") for dims in (1, 2, 3)}


def adaptive_max_pool(dims: int, input: Tensor, output_size: Any,
                      return_indices: bool = False) -> Any:
    """adaptive_max_pool1d, 2d and 3d, with flat places of the largest if they are asked for."""
    out = wanted_lengths(f"adaptive_max_pool{dims}d", dims, input, output_size)
    if 0 in input._array.shape[1:]:
        empty = input._array.shape.index(0, 1)
        raise RuntimeError(
            f"Expected input to have non-zero size for non-batch dimensions, but input has sizes "
            f"{errors.of_shape(input._array.shape)} with dimension {empty} being empty")
    batched = input._array.ndim == dims + 2
    found = _adaptive_max[dims](input if batched else input.unsqueeze(0), out)
    if not batched:
        found = tuple(part.squeeze(0) for part in found)
    return found if return_indices else found[0]


def make_adaptive(dims: int) -> tuple[Any, Any, Any]:
    """The three functions of so many dimensions."""
    def average(input: Tensor, output_size: Any) -> Tensor:
        return adaptive_avg_pool(dims, input, output_size)

    def largest(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        return adaptive_max_pool(dims, input, output_size, return_indices)

    def with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        return adaptive_max_pool(dims, input, output_size, True)
    names = (f"adaptive_avg_pool{dims}d", f"adaptive_max_pool{dims}d",
             f"adaptive_max_pool{dims}d_with_indices")
    for function, name, what in zip((average, largest, with_indices), names, (
            "Averages", "Largest elements", "Largest elements and their flat places"),
            strict=True):
        function.__name__ = function.__qualname__ = name
        function.__doc__ = f"{what} of as many windows as `output_size` says (None: all)."
    return average, largest, with_indices


adaptive_avg_pool1d, adaptive_max_pool1d, adaptive_max_pool1d_with_indices = make_adaptive(1)
adaptive_avg_pool2d, adaptive_max_pool2d, adaptive_max_pool2d_with_indices = make_adaptive(2)
adaptive_avg_pool3d, adaptive_max_pool3d, adaptive_max_pool3d_with_indices = make_adaptive(3)
TORCH["adaptive_avg_pool1d"] = adaptive_avg_pool1d


@public(name="adaptive_max_pool1d", method=False, out=False)
def adaptive_max_pool1d_torch(input: Tensor, output_size: Any) -> Any:
    """``torch.adaptive_max_pool1d``: always with places."""
    return adaptive_max_pool1d_with_indices(input, output_size)


# Power averages.

def lp_pool(dims: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any,
            ceil_mode: bool) -> Tensor:
    """(sum of x^p)^(1/p) of each window; the largest size for p = inf."""
    if isinstance(norm_type, (int, float)) and math.isinf(norm_type):
        sign = 1 if norm_type > 0 else -1
        found = max_pool(dims, sign * el.abs(input), kernel_size, stride, 0, 1, ceil_mode)
        return found if sign > 0 else -found
    average = (avg_pool1d, avg_pool2d, avg_pool3d)[dims - 1]
    mean = average(input ** norm_type, kernel_size, stride, 0, ceil_mode)
    count = prod(tuple_of(kernel_size, dims))
    return (el.sign(mean) * el.relu(el.abs(mean)) * count) ** (1.0 / norm_type)


def make_lp(dims: int) -> Any:
    def call(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None,
             ceil_mode: bool = False) -> Tensor:
        return lp_pool(dims, input, norm_type, kernel_size, stride, ceil_mode)
    call.__name__ = call.__qualname__ = f"lp_pool{dims}d"
    call.__doc__ = "(sum of x^p)^(1/p) of each window, p being `norm_type`."
    return call


lp_pool1d, lp_pool2d, lp_pool3d = map(make_lp, (1, 2, 3))


# Windows at random places (Graham 2014).

def starts_of(samples: Any, size: int, out: int, kernel: int) -> Any:
    """Where the windows of each (example, channel) begin: (N, C, out)."""
    last = np.full((*samples.shape, 1), size - kernel)
    if out == 1:
        return last
    alpha = (size - kernel) / (out - 1)
    steps = np.arange(out - 1)
    u = samples[..., None]
    inner = ((steps + u) * alpha).astype(np.int64) - (u * alpha).astype(np.int64)
    return np.concatenate((inner, last), -1)


def fractional_array(input: Any, samples: Any, kernel: Any, out: Any) -> Any:
    """The largest of windows of one size that begin at random places, and its flat place."""
    space, dims = input.shape[2:], len(out)
    places: Any = 0
    for d, (n, m, k) in enumerate(zip(space, out, kernel, strict=True)):
        order = dims - 1 - d  # the first sample belongs to the last dimension
        seen = starts_of(samples[..., order], n, m, k)[..., None] + np.arange(k)
        shape = [*seen.shape[:2]] + [1] * (2 * dims)
        shape[2 + d], shape[2 + dims + d] = m, k
        places = places * n + seen.reshape(shape)
    full = (*input.shape[:2], *out, *kernel)
    places = np.broadcast_to(places, full).reshape(*input.shape[:2], *out, prod(kernel))
    flat = input.reshape(*input.shape[:2], prod(space))
    values = np.take_along_axis(flat, places.reshape(*flat.shape[:2], prod(full[2:])), 2)
    values = values.reshape(places.shape)
    best = np.argmax(values, -1)[..., None]
    return (np.take_along_axis(values, best, -1)[..., 0],
            np.take_along_axis(places, best, -1)[..., 0])


_fractional = {dims: direct(f"fractional_max_pool{dims}d", fractional_array,
                            {"input": planted_gradient}, outputs=("values", "indices"),
                            node=f"FractionalMaxPool{dims}DBackward0") for dims in (2, 3)}


def fractional_max_pool(dims: int, input: Tensor, kernel_size: Any, output_size: Any = None,
                        output_ratio: Any = None, samples: Tensor | None = None) -> Any:
    """fractional_max_pool2d and 3d, values and places."""
    name = f"fractional_max_pool{dims}d"
    space = input._array.shape[-dims:]
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if output_size is None:
        ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else (
            output_ratio,) * dims
        output_size = tuple(int(n * ratio) for n, ratio in zip(space, ratios, strict=True))
    kernel, out = tuple_of(kernel_size, dims), tuple_of(output_size, dims)
    for what, n, k, m in zip(("time", "height", "width")[-dims:], space, kernel, out, strict=True):
        if m + k - 1 > n:
            raise RuntimeError(f"{name}(): pool {what} {k} too large relative to input {what} {n}")
    batch = input if input._array.ndim == dims + 2 else input.unsqueeze(0)
    if samples is None:
        samples = TORCH["rand"](*batch._array.shape[:2], dims, dtype=input.dtype)
    found = _fractional[dims](batch, samples, kernel, out)
    return found if batch is input else tuple(part.squeeze(0) for part in found)


def make_fractional(dims: int) -> tuple[Any, Any]:
    """The two functions of so many dimensions."""
    def with_indices(input: Tensor, kernel_size: Any, output_size: Any = None,
                     output_ratio: Any = None, return_indices: bool = False,
                     _random_samples: Tensor | None = None) -> Any:
        return fractional_max_pool(dims, input, kernel_size, output_size, output_ratio,
                                   _random_samples)

    def largest(input: Tensor, kernel_size: Any, output_size: Any = None,
                output_ratio: Any = None, return_indices: bool = False,
                _random_samples: Tensor | None = None) -> Any:
        found = with_indices(input, kernel_size, output_size, output_ratio, True, _random_samples)
        return found if return_indices else found[0]
    largest.__name__ = largest.__qualname__ = f"fractional_max_pool{dims}d"
    with_indices.__name__ = with_indices.__qualname__ = largest.__name__ + "_with_indices"
    largest.__doc__ = "The largest of windows at random places, `output_size` of them."
    with_indices.__doc__ = f"`{largest.__name__}` with the flat places of the largest."
    return largest, with_indices


fractional_max_pool2d, fractional_max_pool2d_with_indices = make_fractional(2)
fractional_max_pool3d, fractional_max_pool3d_with_indices = make_fractional(3)
