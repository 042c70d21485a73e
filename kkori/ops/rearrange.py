"""Elements repeated, rolled, turned and seen through windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops.indexed import _index_select
from kkori.ops.move import lengths, reshape_to
from kkori.ops.table import METHODS, TORCH, method, op, public
from kkori.tensor import Tensor, dimension, wrap

# Repetition.


def repeat_gradient(g: Tensor, input_shape: Any, repeats: Any) -> Tensor:
    """Sums over the copies: each repeated dimension is first split into (copies, length)."""
    if 0 in repeats:
        return g.new_zeros(input_shape)
    ahead = (1,) * (len(repeats) - len(input_shape))
    pairs = [part for pair in zip(repeats, ahead + tuple(input_shape), strict=True)
             for part in pair]
    summed = g.reshape(pairs).sum(tuple(range(0, len(pairs), 2))) if pairs else g
    return summed.reshape(input_shape)


_repeat = op("repeat", lambda input, repeats: np.tile(input, repeats), {"input": repeat_gradient})


@method
def repeat(self: Tensor, *repeats: Any, **named: Any) -> Tensor:
    """Copies along each dimension, new ones in front (``Tensor.repeat``)."""
    times = lengths(repeats or (named["repeats"],))
    shape = self._array.shape
    if len(times) < len(shape):
        raise RuntimeError(errors.message(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor", fix=f"x.repeat({', '.join(['1'] * (len(shape) - len(times)))}, ...)"))
    full = (1,) * (len(times) - len(shape)) + tuple(shape)
    wanted = [n * r for n, r in zip(full, times, strict=True)]
    if any(n < 0 for n in wanted):
        raise RuntimeError(errors.message(
            f"Trying to create tensor with negative dimension {min(wanted)}: "
            f"{errors.of_shape(wanted)}"))
    return _repeat(self, times)


@public(method=False, out=False)
def tile(input: Tensor, dims: Any) -> Tensor:
    """Copies along each dimension; missing ones count as 1 (``torch.tile``)."""
    times = lengths((dims,))
    return repeat(input, (1,) * (input._array.ndim - len(times)) + times)


@method(name="tile")
def tile_method(self: Tensor, *dims: Any, **named: Any) -> Tensor:
    """Copies along each dimension; missing ones count as 1."""
    return tile(self, lengths(dims or (named["dims"],)))


def check_repeats(repeats: Tensor) -> None:
    if repeats._array.dtype not in (np.int64, np.int32):
        raise NotImplementedError(errors.message(
            f"\"repeat_interleave_cpu\" not implemented for '{repeats.dtype.alias}'"))
    if (repeats._array < 0).any():
        raise RuntimeError(errors.message("repeats can not be negative"))


def repeated_places(repeats: Tensor, count: int, dim: int) -> Any:
    """Each place as often as it is to be repeated."""
    array = repeats._array
    if array.ndim > 1:
        raise RuntimeError(errors.message("repeats must be 0-dim or 1-dim tensor"))
    if array.ndim and array.size not in (1, count):
        raise RuntimeError(errors.message(
            "repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{array.size} and input.size({dim}) = {count}"))
    check_repeats(repeats)
    return np.repeat(np.arange(count), array)


@public(out=False)
def repeat_interleave(input: Tensor, repeats: Any = None, dim: int | None = None, *,
                      output_size: int | None = None) -> Tensor:
    """Every element (slice along `dim`) repeated where it stands (``repeat_interleave``)."""
    if repeats is None:
        if input._array.ndim != 1:
            raise RuntimeError(errors.message(
                "repeat_interleave only accept 1D vector as repeat"))
        check_repeats(input)
        return wrap(np.repeat(np.arange(input._array.size), input._array))
    if not isinstance(repeats, Tensor):
        if repeats < 0:
            raise RuntimeError(errors.message("Repeats must be non-negative"))
        repeats = wrap(np.asarray(repeats, np.int64))
    if dim is None or not input._array.ndim:
        input, dim = input.reshape(-1), 0
    place = dimension(dim, input._array.ndim)
    places = repeated_places(repeats, input._array.shape[place], place)
    if output_size is not None and output_size != places.size:
        raise RuntimeError(errors.message("allocated size does not match required size"))
    return _index_select(input, place, wrap(places))


# Turning.

_flip = op("flip", lambda input, dims: np.flip(input, dims).copy() if dims else input.copy(), {
    "input": lambda g, dims: _flip(g, dims)})


@public(method=False)
def flip(input: Tensor, dims: Any) -> Tensor:
    """Elements in reverse order along `dims`, a copy (``torch.flip``)."""
    from kkori.ops.reduce import axes_of
    chosen = lengths((dims,))
    return _flip(input, axes_of(chosen, input._array.ndim) or ())


METHODS["flip"] = lambda self, *dims: flip(self, lengths(dims))


_roll = op("roll", lambda input, shifts, dims: np.roll(input, shifts, dims), {
    "input": lambda g, shifts, dims: _roll(g, tuple(-s for s in shifts), dims)})


@public
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Shifted along `dims`, what falls off coming in at the other end (``torch.roll``)."""
    steps = lengths((shifts,))
    axes = () if dims is None else lengths((dims,))
    if not steps:
        raise RuntimeError(errors.message("`shifts` required"))
    if not axes and len(steps) == 1:
        return _roll(input.reshape(-1), steps, (0,)).reshape(input.shape)
    if len(steps) != len(axes):
        raise RuntimeError(errors.message(
            f"shifts and dimensions must align. shifts: {len(steps)}, dims:{len(axes)}"))
    if not input._array.ndim:
        raise IndexError(errors.message(
            f"Dimension specified as {axes[0]} but tensor has no dimensions"))
    return _roll(input, steps, tuple(dimension(d, input._array.ndim) for d in axes))


@public(out=False)
def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order (``torch.fliplr``)."""
    if input._array.ndim < 2:
        raise RuntimeError(errors.message("Input must be >= 2-d."))
    return flip(input, (1,))


@public(out=False)
def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order (``torch.flipud``)."""
    if input._array.ndim < 1:
        raise RuntimeError(errors.message("Input must be >= 1-d."))
    return flip(input, (0,))


@public
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Turned `k` times by 90 degrees in the plane of two dimensions (``torch.rot90``)."""
    plane, ndim = lengths((dims,)), input._array.ndim
    if len(plane) != 2:
        raise RuntimeError(errors.message(
            f"expected total rotation dims == 2, but got dims = {len(plane)}"))
    if ndim < 2:
        raise RuntimeError(errors.message(f"expected total dims >= 2, but got total dims = {ndim}"))
    if plane[0] == plane[1] or abs(plane[0] - plane[1]) == ndim:
        raise RuntimeError(errors.message(
            f"expected rotation dims to be different, but got dim0 = {plane[0]} and dim1 = "
            f"{plane[1]}"))
    first, second = (dimension(d, ndim) for d in plane)
    turns = k % 4
    if turns == 0:
        return input.clone()
    if turns == 2:
        return flip(input, (first, second))
    return flip(input, (second if turns == 1 else first,)).transpose(first, second)


# Windows.

def unfold_array(input: Any, dim: Any, size: Any, step: Any) -> Any:
    """A view of all windows along `dim`; the window is the last dimension."""
    whole = np.atleast_1d(input)
    count = (whole.shape[dim] - size) // step + 1
    shape = tuple(count if d == dim else n for d, n in enumerate(whole.shape)) + (size,)
    steps = tuple(s * step if d == dim else s for d, s in enumerate(whole.strides))
    if not input.ndim:
        shape, steps = (size,), whole.strides
    return np.lib.stride_tricks.as_strided(whole, shape, (*steps, whole.strides[dim])[:len(shape)],
                                           subok=True)


def unfold_back_array(g: Any, shape: Any, dim: Any, size: Any, step: Any) -> Any:
    """Zeros of `shape` with every window added where it was seen."""
    found = np.zeros(shape, g.dtype)
    if not shape:
        return found + g.sum()
    span = (g.shape[dim] - 1) * step + 1
    for place in range(size):
        found[(slice(None),) * dim + (slice(place, place + span, step),)] += g[..., place]
    return found


_unfold = op("unfold", unfold_array, {
    "input": lambda g, input_shape, dim, size, step: _unfold_back(
        g, input_shape, dim, size, step)}, view=True)
_unfold_back = op("unfold_backward", unfold_back_array, {
    "g": lambda g, dim, size, step: _unfold(g, dim, size, step)})


@method
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size`, `step` apart, along a dimension; a view (``Tensor.unfold``)."""
    place = axis(dimension, self._array.ndim)
    length = self._array.shape[place] if self._array.ndim else 1
    if size < 0:
        raise RuntimeError(errors.message(f"size is {size} but must be >= 0"))
    if size > length:
        raise RuntimeError(errors.message(
            f"maximum size for tensor at dimension {place} is {length} but size is {size}"))
    if step <= 0:
        raise RuntimeError(errors.message(f"step is {step} but must be > 0"))
    return _unfold(self, place, size, step)


def axis(dim: int, ndim: int) -> int:
    return dimension(dim, ndim)


# Other sizes.

@method
def resize(self: Tensor, *sizes: Any) -> Tensor:
    """The same elements in another shape (``Tensor.resize``)."""
    shape = lengths(sizes)
    count = int(np.prod(shape, dtype=np.int64))
    if count != self._array.size:
        ours, theirs = ("x".join(map(str, s)) for s in (shape, self._array.shape))
        raise RuntimeError(errors.message(
            f"requested resize to {ours} ({count} elements in total), but the given tensor has a "
            f"size of {theirs} ({self._array.size} elements). autograd's resize can only change "
            "the shape of a given tensor, while preserving the number of elements. "))
    return reshape_to(self, shape)


@method
def resize_as(self: Tensor, tensor: Tensor) -> Tensor:
    """The same elements in the shape of `tensor`."""
    return resize(self, tensor.shape)


@method
def resize_as_(self: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """In place, the shape of another tensor (``Tensor.resize_as_``)."""
    return self.resize_(the_template.shape)


TORCH["resize_as_"] = resize_as_
__all__ = ["repeat", "tile", "repeat_interleave", "roll", "rot90", "fliplr", "flipud", "unfold",
           "resize"]
