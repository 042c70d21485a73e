"""Pooling with fixed windows: largest elements (with where they were) and averages."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.core import errors
from kkori.ops.direct import direct, tuple_of
from kkori.ops.table import TORCH, not_a_tensor
from kkori.ops.windows import columns, padded, slices
from kkori.tensor import Tensor

# Putting values at flat places of (N, C, space), and taking them from there.


def planted_array(values: Any, places: Any, space: Any) -> Any:
    """Zeros of (N, C, *space) with `values` added at flat `places`, which may repeat."""
    lead = values.shape[:2]
    rows, size = prod(lead), prod(space)
    found = np.zeros(rows * size, values.dtype)
    flat = places.reshape(rows, prod(places.shape[2:])) + np.arange(rows)[:, None] * size
    np.add.at(found, flat.reshape(-1), values.reshape(-1))
    return found.reshape(*lead, *space)


def picked_array(input: Any, places: Any) -> Any:
    """The elements of (N, C, *space) at flat `places`."""
    rows = prod(input.shape[:2])
    flat = np.take_along_axis(input.reshape(rows, prod(input.shape[2:])),
                              places.reshape(rows, prod(places.shape[2:])), 1)
    return flat.reshape(places.shape)


_planted = direct("max_pool_backward", planted_array, {
    "values": lambda g, places: _picked(g, places)})
_picked = direct("pooled_gather", picked_array, {
    "input": lambda g, input_shape, places: _planted(g, places, input_shape[2:])})


# Largest.

def max_pool_array(input: Any, kernel: Any, stride: Any, padding: Any, dilation: Any,
                   out: Any) -> Any:
    """The largest element of each window, and its flat place; NaN counts as the largest."""
    space = input.shape[2:]
    lowest = -np.inf if input.dtype.kind == "f" else np.iinfo(input.dtype).min
    x = stretched(input, kernel, stride, padding, dilation, out, lowest)
    best: Any = None
    number: Any = None
    for k, (_, part) in enumerate(slices(kernel, stride, dilation, out)):
        seen = x[part]
        if best is None:
            best = seen.copy()
            number = np.broadcast_to(first_places(kernel, stride, padding, dilation, out),
                                     seen.shape).copy()
            continue
        number[seen > best] = k
        np.maximum(best, seen, out=best)
    if input.dtype.kind == "f" and np.isnan(best).any():
        seen = columns(x, kernel, stride, dilation, out)
        number = np.where(np.isnan(best), np.argmax(seen.reshape(*seen.shape[:2], -1, *out), 2),
                          number)
    return best, flat_places(number, space, kernel, stride, padding, dilation, out)


def first_places(kernel: Any, stride: Any, padding: Any, dilation: Any, out: Any) -> Any:
    """The first place of each window that is no padding: where all are -inf, it is the largest."""
    found: Any = np.zeros((), np.int64)
    for d, k in enumerate(kernel):
        outside = np.maximum(padding[d] - np.arange(out[d]) * stride[d], 0)
        first = -(-outside // dilation[d])
        found = found * k + first.reshape((-1, *(1,) * (len(kernel) - 1 - d)))
    return found


def stretched(input: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, out: Any,
              value: Any) -> Any:
    """`input` padded so far that every window is inside (windows may reach beyond the end)."""
    rims = tuple((p, max(p, (o - 1) * s + d * (k - 1) + 1 - n - p)) for n, k, s, p, d, o in zip(
        input.shape[2:], kernel, stride, padding, dilation, out, strict=True))
    return padded(input, rims, value)


def flat_places(number: Any, space: Any, kernel: Any, stride: Any, padding: Any, dilation: Any,
                out: Any) -> Any:
    """Flat places in the input of places in windows (numbered row by row)."""
    found = np.zeros(number.shape, np.int64)
    inside = np.unravel_index(number, kernel)
    for d, n in enumerate(space):
        starts = np.arange(out[d]) * stride[d] - padding[d]
        starts = starts.reshape((-1, *(1,) * (len(space) - 1 - d)))
        found *= n
        found += inside[d] * dilation[d] + starts
    return found


def max_values_array(input: Any, kernel: Any, stride: Any, padding: Any, dilation: Any,
                     out: Any) -> Any:
    """The largest elements only: what is enough where no gradient is wanted."""
    lowest = -np.inf if input.dtype.kind == "f" else np.iinfo(input.dtype).min
    x = stretched(input, kernel, stride, padding, dilation, out, lowest)
    best = None
    for _, part in slices(kernel, stride, dilation, out):
        best = x[part].copy() if best is None else np.maximum(best, x[part], out=best)
    return best


def max_pool_gradient(gs: Any, input_shape: Any, indices: Tensor) -> Any:
    return _planted(gs[0], indices, input_shape[2:])


_max_pools = {dims: direct(f"max_pool{dims}d_with_indices", max_pool_array,
                           {"input": max_pool_gradient}, outputs=("values", "indices"),
                           node=f"MaxPool{dims}DWithIndicesBackward0") for dims in (2, 3)}
_max_values = direct("max_pool_values", max_values_array)


def pooled_length(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    """How many windows fit; with `ceil_mode` the last may reach beyond the end."""
    reach = n + 2 * p - d * (k - 1) - 1
    found = (reach + (s - 1 if ceil_mode else 0)) // s + 1
    if ceil_mode and (found - 1) * s >= n + p:
        found -= 1
    return found


def window_settings(name: str, dims: int, input: Any, kernel_size: Any, stride: Any, padding: Any,
                    dilation: Any, ceil_mode: bool) -> Any:
    """Settings as tuples, the input as a batch, and the lengths of the result."""
    if not isinstance(input, Tensor):
        raise not_a_tensor(name, "input", 1, input)
    kernel, rim, spread = (tuple_of(v, dims) for v in (kernel_size, padding, dilation))
    step = kernel if stride is None or stride == [] or stride == () else tuple_of(stride, dims)
    check_settings(name, dims, kernel, step, rim, spread)
    shape = input._array.shape
    if len(shape) not in (dims + 1, dims + 2):
        raise wrong_dimensions(name, dims, shape)
    out = tuple(pooled_length(n, k, s, p, d, ceil_mode) for n, k, s, p, d in zip(
        shape[-dims:], kernel, step, rim, spread, strict=True))
    if min(out) < 1:
        raise too_small(name, dims, shape, out)
    batch = input if len(shape) == dims + 2 else input.unsqueeze(0)
    return batch, kernel, step, rim, spread, out


def wrong_dimensions(name: str, dims: int, shape: Any) -> RuntimeError:
    if dims == 1:
        return RuntimeError(f"{name}: Expected 2D or 3D (batch mode) tensor with optional 0 dim "
                            f"batch size for input, but got:{errors.of_shape(shape)}")
    if dims == 3:
        return RuntimeError("non-empty 4D or 5D (batch mode) tensor expected for input")
    return RuntimeError("non-empty 3D or 4D (batch mode) tensor expected for input")


def too_small(name: str, dims: int, shape: Any, out: Any) -> RuntimeError:
    """A result without elements."""
    if name == "max_pool1d":
        return RuntimeError(errors.message(
            f"max_pool1d() Invalid computed output size: {out[0]}",
            fix="a smaller kernel_size, or padding"))
    lead = shape[-dims - 1:] if dims > 1 else (shape[-2], 1, shape[-1])
    tail = (shape[-dims - 1], *out) if dims > 1 else (shape[-2], 1, *out)
    sizes = ["x".join(map(str, part)) for part in (lead, tail)]
    return RuntimeError(errors.message(
        f"Given input size: ({sizes[0]}). Calculated output size: ({sizes[1]}). Output size is "
        "too small", fix="a smaller kernel_size, or padding"))


def check_settings(name: str, dims: int, kernel: Any, step: Any, rim: Any, spread: Any) -> None:
    for what, values in (("kernel_size", kernel), ("stride", step), ("padding", rim),
                         ("dilation", spread)):
        if len(values) != dims:
            raise RuntimeError(f"{name}: {what} must either be a single int, or a tuple of "
                               f"{['one', 'two', 'three'][dims - 1]} ints")
    if min(kernel) <= 0:
        raise RuntimeError(f"{name}: kernel_size should be greater than zero")
    if min(step) <= 0:
        raise RuntimeError("stride should not be zero" if 0 in step
                           else "stride should be greater than zero")
    for p, k, d in zip(rim, kernel, spread, strict=True):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError(f"pad should be at most half of effective kernel size, but got "
                               f"pad={p}, kernel_size={k} and dilation={d}")


def max_pool(dims: int, input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
             dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """max_pool1d, 2d and 3d, with flat places of the largest if they are asked for."""
    batch, *how = window_settings(f"max_pool{dims}d", dims, input, kernel_size, stride, padding,
                                  dilation, ceil_mode)
    if dims == 1:
        batch = batch.unsqueeze(2)
        how = [(1, *how[0]), (1, *how[1]), (0, *how[2]), (1, *how[3]), (1, *how[4])]
    if return_indices or switch.on and input._requires_grad:
        found = _max_pools[max(dims, 2)](batch, *how)
    else:
        found = (_max_values(batch, *how),)
    if dims == 1:
        found = tuple(part.squeeze(2) for part in found)
    if batch is not input and input._array.ndim == dims + 1:
        found = tuple(part.squeeze(0) for part in found)
    return found if return_indices else found[0]


# Averages.

def divisors(space: Any, kernel: Any, stride: Any, padding: Any, out: Any,
             include_pad: bool) -> Any:
    """How many elements each average is of: one number, or an array of the result's shape."""
    found: Any = np.ones((), np.int64)
    for d, n in enumerate(space):
        start = np.arange(out[d]) * stride[d] - padding[d]
        end = np.minimum(start + kernel[d], n + padding[d])
        count = end - start if include_pad else np.minimum(end, n) - np.maximum(start, 0)
        found = found * count.reshape((-1, *(1,) * (len(space) - 1 - d)))
    return int(found.flat[0]) if (found == found.flat[0]).all() else found


def window_sum_array(input: Any, kernel: Any, stride: Any, padding: Any, out: Any,
                     divisor: Any) -> Any:
    """The sum of each window over `divisor`."""
    x = stretched(input, kernel, stride, padding, (1,) * len(kernel), out, 0)
    total = None
    for _, part in slices(kernel, stride, (1,) * len(kernel), out):
        total = x[part].copy() if total is None else np.add(total, x[part], out=total)
    return divided(total, divisor)


def divided(total: Any, divisor: Any) -> Any:
    """`total` over `divisor` in its own type; integers are cut off."""
    if total.dtype.kind in "iu":
        return total // divisor
    return total / np.asarray(divisor, total.dtype)


def window_spread_array(grad: Any, space: Any, kernel: Any, stride: Any, padding: Any,
                        divisor: Any) -> Any:
    """The adjoint: every gradient, over `divisor`, to all elements of its window."""
    out = grad.shape[2:]
    wide = tuple(max(n + 2 * p, (o - 1) * s + k) for n, k, s, p, o in zip(
        space, kernel, stride, padding, out, strict=True))
    share = grad / np.asarray(divisor, grad.dtype)
    found = np.zeros((*grad.shape[:2], *wide), grad.dtype)
    for _, part in slices(kernel, stride, (1,) * len(kernel), out):
        found[part] += share
    return found[(slice(None), slice(None), *(slice(p, p + n) for n, p in zip(
        space, padding, strict=True)))]


_window_spread = direct("avg_pool_backward", window_spread_array, {
    "grad": lambda g, grad_shape, kernel, stride, padding, divisor: _avg_pools[2](
        g, kernel, stride, padding, grad_shape[2:], divisor)})
_avg_pools = {dims: direct(f"avg_pool{dims}d", window_sum_array, {
    "input": lambda g, input_shape, kernel, stride, padding, divisor: _window_spread(
        g, input_shape[2:], kernel, stride, padding, divisor)},
    node=f"AvgPool{dims}DBackward0") for dims in (2, 3)}


def avg_pool(dims: int, input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
             ceil_mode: bool = False, count_include_pad: bool = True,
             divisor_override: int | None = None) -> Tensor:
    """avg_pool1d, 2d and 3d."""
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    batch, kernel, step, rim, _, out = window_settings(
        f"avg_pool{dims}d", dims, input, kernel_size, stride, padding, 1, ceil_mode)
    divisor: Any = divisor_override
    if divisor is None:
        divisor = divisors(batch._array.shape[2:], kernel, step, rim, out, count_include_pad)
    if dims == 1:
        divisor = np.expand_dims(divisor, 0) if np.ndim(divisor) else divisor
        found = _avg_pools[2](batch.unsqueeze(2), (1, *kernel), (1, *step), (0, *rim), (1, *out),
                              divisor).squeeze(2)
    else:
        found = _avg_pools[dims](batch, kernel, step, rim, out, divisor)
    return found if batch is input else found.squeeze(0)


def make_max_pool(dims: int) -> Any:
    def call(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
             dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False) -> Any:
        return max_pool(dims, input, kernel_size, stride, padding, dilation, ceil_mode,
                        return_indices)
    call.__name__ = call.__qualname__ = f"max_pool{dims}d"
    call.__doc__ = f"""The largest element of each window over {dims} dimension(s).

    input (N, C, *space) or (C, *space); windows step by `stride` (the kernel's size if not
    given). With `return_indices` also the flat places of the largest, for `max_unpool{dims}d`.
    """
    return call


def make_max_pool_with_indices(dims: int) -> Any:
    def call(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
             dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False) -> Any:
        return max_pool(dims, input, kernel_size, stride, padding, dilation, ceil_mode, True)
    call.__name__ = call.__qualname__ = f"max_pool{dims}d_with_indices"
    call.__doc__ = f"`max_pool{dims}d` with the flat places of the largest elements."
    return call


max_pool1d, max_pool2d, max_pool3d = map(make_max_pool, (1, 2, 3))
max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(
    make_max_pool_with_indices, (1, 2, 3))


def avg_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
               ceil_mode: bool = False, count_include_pad: bool = True) -> Tensor:
    """The average of each window over 1 dimension."""
    return avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def make_avg_pool(dims: int) -> Any:
    def call(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
             ceil_mode: bool = False, count_include_pad: bool = True,
             divisor_override: int | None = None) -> Tensor:
        return avg_pool(dims, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                        divisor_override)
    call.__name__ = call.__qualname__ = f"avg_pool{dims}d"
    call.__doc__ = f"The average of each window over {dims} dimensions."
    return call


avg_pool2d, avg_pool3d = map(make_avg_pool, (2, 3))
TORCH.update({function.__name__: function for function in (
    max_pool1d, max_pool2d, max_pool3d, max_pool1d_with_indices, avg_pool1d)})


# Back to where the largest were.

def max_unpool(dims: int, input: Tensor, indices: Tensor, kernel_size: Any, stride: Any,
               padding: Any, output_size: Any) -> Tensor:
    """max_unpool1d, 2d and 3d."""
    kernel, rim = tuple_of(kernel_size, dims), tuple_of(padding, dims)
    step = kernel if stride is None else tuple_of(stride, dims)
    space = unpooled_lengths(input._array.shape[-dims:], kernel, step, rim, output_size)
    check_unpool(dims, input, indices, space)
    if input._array.ndim == dims + 1:
        return _unpooled(input.unsqueeze(0), indices.unsqueeze(0), space).squeeze(0)
    return _unpooled(input, indices, space)


def put_array(input: Any, places: Any, space: Any) -> Any:
    """Zeros of (N, C, *space) with `input` at flat `places`; the last of several stays."""
    lead = input.shape[:2]
    found = np.zeros((prod(lead), prod(space)), input.dtype)
    each = prod(input.shape[2:])
    np.put_along_axis(found, places.reshape(len(found), each), input.reshape(len(found), each), 1)
    return found.reshape(*lead, *space)


_unpooled = direct("max_unpool", put_array, {"input": lambda g, places: _picked(g, places)},
                   node="MaxUnpool2DBackward0")


def unpooled_lengths(space: Any, kernel: Any, step: Any, rim: Any, output_size: Any) -> Any:
    """The lengths before pooling: the plain ones, or those asked for where they are possible."""
    default = [(n - 1) * s + k - 2 * p for n, k, s, p in zip(space, kernel, step, rim,
                                                             strict=True)]
    if output_size is None:
        wanted = default
    else:
        wanted = list(output_size)
        dims = len(kernel)
        if len(wanted) == dims + 2:
            wanted = wanted[2:]
        if len(wanted) != dims:
            raise ValueError(f"output_size should be a sequence containing {dims} or {dims + 2} "
                             f"elements, but it has a length of '{len(wanted)}'")
        for d, (n, usual, s) in enumerate(zip(wanted, default, step, strict=True)):
            if not usual - s < n < usual + s:
                raise ValueError(f'invalid output_size "{output_size}" (dim {d} must be between '
                                 f"{usual - s} and {usual + s})")
    for d, n in enumerate(wanted):
        if n < 0:
            raise ValueError("max_unpooling: output_size must contain non-negative spatial "
                             f"dimensions, but got output_size[{d}]={n}")
    return tuple(wanted)


def check_unpool(dims: int, input: Tensor, indices: Tensor, space: Any) -> None:
    if indices._array.dtype != np.int64:
        raise RuntimeError("elements in indices should be type int64 but got: "
                           f"{indices.dtype.alias}")
    if input._array.shape != indices._array.shape:
        raise RuntimeError("Expected shape of indices to be same as that of the input tensor "
                           f"({errors.of_shape(input._array.shape)}) but got indices tensor with "
                           f"shape: {errors.of_shape(indices._array.shape)}")
    places = indices._array
    if places.size and (places.min() < 0 or places.max() >= prod(space)):
        bad = places[(places < 0) | (places >= prod(space))].flat[0]
        shown = "x".join(map(str, space if dims > 1 else (*space, 1)))
        raise RuntimeError(f"Found an invalid max index: {bad} (output volumes are of size "
                           f"{shown})")


def make_unpool(dims: int) -> Any:
    def call(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None,
             padding: Any = 0, output_size: Any = None) -> Tensor:
        return max_unpool(dims, input, indices, kernel_size, stride, padding, output_size)
    call.__name__ = call.__qualname__ = f"max_unpool{dims}d"
    call.__doc__ = f"""The largest elements back at their places, zeros elsewhere.

    `indices` come from ``max_pool{dims}d(..., return_indices=True)``.
    """
    return call


max_unpool1d, max_unpool2d, max_unpool3d = map(make_unpool, (1, 2, 3))
