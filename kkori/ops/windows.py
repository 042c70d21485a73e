"""Windows that slide over the spatial dimensions: columns of them, and sums back from columns.

Arrays have the shape (N, C, *space). `padding` holds (before, after) for each spatial dimension.
Work is done one place of the window at a time: each is one large strided slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

__all__ = ["channels_last", "columns", "crop", "from_columns", "from_rows", "out_lengths",
           "padded", "rows_of_windows", "slices"]


def out_lengths(space: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """How many windows there are along each dimension (may be 0 or less)."""
    return tuple((n + before + after - d * (k - 1) - 1) // s + 1
                 for n, k, s, (before, after), d in zip(space, kernel, stride, padding, dilation,
                                                        strict=True))


def padded(x: Any, padding: Any, value: Any = 0) -> Any:
    """`x` with `value` around its spatial dimensions; itself where there is nothing to add."""
    if not any(before or after for before, after in padding):
        return x
    space = x.shape[2:]
    shape = (*x.shape[:2], *(n + before + after for n, (before, after) in zip(
        space, padding, strict=True)))
    found = np.zeros(shape, x.dtype) if not value else np.full(shape, value, x.dtype)
    found[inner(space, padding)] = x
    return found


def inner(space: Any, padding: Any) -> Any:
    """Where the unpadded array lies in the padded one."""
    return (slice(None), slice(None), *(slice(before, before + n) for n, (before, _) in zip(
        space, padding, strict=True)))


def crop(x: Any, space: Any, padding: Any) -> Any:
    """The padded array without its padding."""
    return x[inner(space, padding)] if any(before or after for before, after in padding) else x


def slices(kernel: Any, stride: Any, dilation: Any, out: Any) -> Iterator[tuple[Any, Any]]:
    """For each place of the window: the place, and the slice that all windows see there."""
    for place in np.ndindex(*kernel):
        yield place, (slice(None), slice(None), *(
            slice(i * d, i * d + s * (n - 1) + 1, s)
            for i, d, s, n in zip(place, dilation, stride, out, strict=True)))


def columns(x: Any, kernel: Any, stride: Any, dilation: Any, out: Any) -> Any:
    """What the windows see: (N, C, *kernel, *out), from an array padded already."""
    x = np.ascontiguousarray(x)
    n, c, *steps = x.strides
    apart = tuple(step * d for step, d in zip(steps, dilation, strict=True))
    ahead = tuple(step * s for step, s in zip(steps, stride, strict=True))
    seen: Any = np.ndarray((*x.shape[:2], *kernel, *out), x.dtype, x, 0, (n, c, *apart, *ahead))
    return seen.copy()


def from_columns(found: Any, space: Any, kernel: Any, stride: Any, dilation: Any,
                 out: Any) -> Any:
    """The adjoint of `columns`: every element added to where it was seen."""
    x = np.zeros((*found.shape[:2], *space), found.dtype)
    for place, part in slices(kernel, stride, dilation, out):
        x[part] += found[(slice(None), slice(None), *place)]
    return x


# The same with the channels last: quicker where rows of places are short and channels many.

def channels_last(x: Any, padding: Any) -> Any:
    """(N, *space, C) with zeros around the spatial dimensions, contiguous."""
    wide = tuple(n + before + after for n, (before, after) in zip(
        x.shape[2:], padding, strict=True))
    moved = np.moveaxis(x, 1, -1)
    if wide == x.shape[2:]:
        return np.ascontiguousarray(moved)
    found = np.zeros((len(x), *wide, x.shape[1]), x.dtype)
    found[spaces(x.shape[2:], padding)] = moved
    return found


def spaces(space: Any, padding: Any) -> Any:
    """Where the unpadded array lies in one padded with channels last."""
    return (slice(None), *(slice(before, before + n) for n, (before, _) in zip(
        space, padding, strict=True)))


def rows_of_windows(x: Any, kernel: Any, stride: Any, dilation: Any, out: Any) -> Any:
    """What the windows see, a row each: (N * out, kernel * C), from `channels_last`."""
    n, *steps, c = x.strides
    apart = tuple(step * d for step, d in zip(steps, dilation, strict=True))
    ahead = tuple(step * s for step, s in zip(steps, stride, strict=True))
    shape = (len(x), *out, *kernel, x.shape[-1])
    seen: Any = np.ndarray(shape, x.dtype, x, 0, (n, *ahead, *apart, c))
    return seen.reshape(len(x) * prod(out), prod(kernel) * x.shape[-1])


def from_rows(rows: Any, shape: Any, padding: Any, kernel: Any, stride: Any, dilation: Any,
              out: Any) -> Any:
    """The adjoint, as (N, C, *space) of `shape` without the padding."""
    count, channels, *space = shape
    wide = [n + before + after for n, (before, after) in zip(space, padding, strict=True)]
    x = np.zeros((count, *wide, channels), rows.dtype)
    rows = rows.reshape(count, *out, *kernel, channels)
    all_out = (slice(None),) * (1 + len(out))
    for place, part in slices(kernel, stride, dilation, out):
        x[part[1:]] += rows[(*all_out, *place)]
    return np.moveaxis(x[spaces(space, padding)], -1, 1)
