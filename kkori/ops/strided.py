"""Views by strides and offset, and copies with such a view replaced."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops.move import lengths
from kkori.ops.table import op, public
from kkori.tensor import Tensor


def strided_view(array: Any, shape: Any, strides: Any, offset: Any) -> Any:
    """A view of the buffer of `array` by strides and offset in elements."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    steps = tuple(s * array.itemsize for s in strides)
    count = owner.nbytes // array.itemsize
    flat = np.ndarray((count,), array.dtype, owner.reshape(-1, order="K") if not
                      owner.flags.c_contiguous and not owner.flags.f_contiguous else owner.T
                      if not owner.flags.c_contiguous else owner)
    last = offset + sum(s * (n - 1) for s, n in zip(strides, shape, strict=True)) if prod(
        shape) else 0
    if last >= count and prod(shape):
        raise RuntimeError(errors.message(
            f"setStorage: sizes {errors.of_shape(shape)}, strides {errors.of_shape(strides)}, "
            f"storage offset {offset}, and itemsize {array.itemsize} requiring a storage size of "
            f"{(last + 1) * array.itemsize} are out of bounds for storage of size {owner.nbytes}"))
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps)


def strided_scatter(g: Any, base_shape: Any, shape: Any, strides: Any, offset: Any) -> Any:
    """The gradient of a strided view: every element added to where it was read."""
    flat = np.zeros(prod(base_shape), g.dtype)
    places = np.full(shape, offset)
    for d, (n, step) in enumerate(zip(shape, strides, strict=True)):
        places += (np.arange(n) * step).reshape((-1,) + (1,) * (len(shape) - d - 1))
    np.add.at(flat, places, g)
    return flat.reshape(base_shape)


_as_strided = op("as_strided", lambda input, shape, strides, offset: strided_view(
    input, shape, strides, offset), {
    "input": lambda g, input_shape, shape, strides, offset: _as_strided_back(
        g, input_shape, shape, strides, offset)}, view=True)
_as_strided_back = op("as_strided_backward", strided_scatter, {
    "g": lambda g, shape, strides, offset: _as_strided(g, shape, strides, offset)})


@public(out=False)
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the storage by strides, in elements (``torch.as_strided``)."""
    offset = input.storage_offset() if storage_offset is None else storage_offset
    return _as_strided(input, lengths((size,)), lengths((stride,)), offset)


@public
def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any,
                       storage_offset: int | None = None) -> Tensor:
    """A copy of `input` with `src` written to the strided view of it."""
    result = input.clone()
    as_strided(result, size, stride, storage_offset or 0).copy_(src)
    return result


__all__ = ["as_strided", "as_strided_scatter"]
