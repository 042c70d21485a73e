"""Channels and places exchanged: pixel and channel shuffles, and blocks as columns."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops.direct import direct, tuple_of
from kkori.ops.table import public
from kkori.ops.windows import columns, crop, from_columns, out_lengths, padded
from kkori.tensor import Tensor


def apart(found: Any, input: Any) -> Any:
    """`found` in memory of its own."""
    return found.copy() if np.may_share_memory(found, input) else found


def pixel_shuffle_array(input: Any, r: Any) -> Any:
    """(*, C r², H, W) as (*, C, H r, W r)."""
    *lead, channels, h, w = input.shape
    x = input.reshape(prod(lead), channels // (r * r), r, r, h, w).transpose(0, 1, 4, 2, 5, 3)
    return apart(x.reshape(*lead, channels // (r * r), h * r, w * r), input)


def pixel_unshuffle_array(input: Any, r: Any) -> Any:
    """(*, C, H r, W r) as (*, C r², H, W)."""
    *lead, channels, h, w = input.shape
    x = input.reshape(prod(lead), channels, h // r, r, w // r, r).transpose(0, 1, 3, 5, 2, 4)
    return apart(x.reshape(*lead, channels * r * r, h // r, w // r), input)


_pixel_shuffle = direct("pixel_shuffle", pixel_shuffle_array, {
    "input": lambda g, r: _pixel_unshuffle(g, r)})
_pixel_unshuffle = direct("pixel_unshuffle", pixel_unshuffle_array, {
    "input": lambda g, r: _pixel_shuffle(g, r)})


@public(method=False, out=False)
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C r², H, W) as (*, C, H r, W r), r being `upscale_factor` (Shi et al. 2016)."""
    shape = input._array.shape
    if len(shape) < 3:
        raise RuntimeError("pixel_shuffle expects input to have at least 3 dimensions, but got "
                           f"input with {len(shape)} dimension(s)")
    if upscale_factor <= 0:
        raise RuntimeError("pixel_shuffle expects a positive upscale_factor, but got "
                           f"{upscale_factor}")
    square = upscale_factor * upscale_factor
    if shape[-3] % square:
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={shape[-3]} is not divisible by {square}")
    return _pixel_shuffle(input, upscale_factor)


@public(method=False, out=False)
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H r, W r) as (*, C r², H, W), r being `downscale_factor`."""
    shape = input._array.shape
    if len(shape) < 3:
        raise RuntimeError("pixel_unshuffle expects input to have at least 3 dimensions, but got "
                           f"input with {len(shape)} dimension(s)")
    if downscale_factor <= 0:
        raise RuntimeError("pixel_unshuffle expects a positive downscale_factor, but got "
                           f"{downscale_factor}")
    for name, place in (("height", -2), ("width", -1)):
        if shape[place] % downscale_factor:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but "
                f"input.size({place})={shape[place]} is not divisible by {downscale_factor}")
    return _pixel_unshuffle(input, downscale_factor)


def channel_shuffle_array(input: Any, groups: Any) -> Any:
    """Channels of the groups dealt out one by one."""
    n, channels = input.shape[:2]
    places = prod(input.shape[2:])
    x = input.reshape(n, groups, channels // groups, places).swapaxes(1, 2)
    return apart(x.reshape(input.shape), input)


_channel_shuffle = direct("channel_shuffle", channel_shuffle_array, {
    "input": lambda g, input_shape, groups: _channel_shuffle(g, input_shape[1] // groups)})


@public(aliases=("native_channel_shuffle",), method=False, out=False)
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels in `groups` groups, dealt out one by one (Zhang et al. 2018)."""
    shape = input._array.shape
    if len(shape) < 3:
        raise RuntimeError("channel_shuffle expects input with > 2 dims, but got input with sizes "
                           f"{errors.of_shape(shape)}")
    if groups <= 0:
        raise RuntimeError("Number of groups to divide channels in must be positive. Value of "
                           f"groups:{groups}")
    if shape[1] % groups:
        raise RuntimeError("Number of channels must be divisible by groups. Got "
                           f"{shape[1]} channels and {groups} groups.")
    return _channel_shuffle(input, groups)


# Sliding blocks as columns, and back.

def im2col_array(input: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """(N, C, H, W) as (N, C * kernel, blocks)."""
    pairs = tuple((p, p) for p in padding)
    out = out_lengths(input.shape[2:], kernel, stride, pairs, dilation)
    found = columns(padded(input, pairs), kernel, stride, dilation, out)
    return found.reshape(len(input), input.shape[1] * prod(kernel), prod(out))


def col2im_array(input: Any, space: Any, kernel: Any, dilation: Any, padding: Any,
                 stride: Any) -> Any:
    """Blocks added up where they lie: (N, C, *space)."""
    pairs = tuple((p, p) for p in padding)
    out = out_lengths(space, kernel, stride, pairs, dilation)
    wide = tuple(n + 2 * p for n, p in zip(space, padding, strict=True))
    blocks = input.reshape(len(input), input.shape[1] // prod(kernel), *kernel, *out)
    return crop(from_columns(blocks, wide, kernel, stride, dilation, out), space, pairs)


_im2col = direct("im2col", im2col_array, {
    "input": lambda g, input_shape, kernel, dilation, padding, stride: _col2im(
        g, input_shape[2:], kernel, dilation, padding, stride)}, node="Im2ColBackward0")
_col2im = direct("col2im", col2im_array, {
    "input": lambda g, kernel, dilation, padding, stride: _im2col(
        g, kernel, dilation, padding, stride)}, node="Col2ImBackward0")


def block_settings(kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """All settings as pairs, checked."""
    found = [tuple_of(value, 2) for value in (kernel_size, dilation, padding, stride)]
    for (name, least), values in zip((("kernel", 1), ("dilation", 1), ("padding", 0),
                                      ("stride", 1)), found, strict=True):
        if min(values) < least:
            kind = "non-negative" if least == 0 else "greater than zero"
            raise RuntimeError(
                f"{name} size should be {kind}, but got {name}_height: {values[0]} {name}_width: "
                f"{values[1]}" if name == "kernel" else
                f"{name} should be {kind}, but got {name}_height: {values[0]} {name}_width: "
                f"{values[1]}")
    return found


def shown(values: Any) -> str:
    return f"({', '.join(map(str, values))})"


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
           stride: Any = 1) -> Tensor:
    """Sliding blocks of (N, C, H, W) as columns: (N, C * kernel, blocks)."""
    settings = block_settings(kernel_size, dilation, padding, stride)
    kernel, spread, rim, step = settings
    shape = input._array.shape
    if len(shape) not in (3, 4):
        if len(shape) < 3:
            raise IndexError(errors.message(
                f"Dimension out of range (expected to be in range of [{-len(shape)}, "
                f"{len(shape) - 1}], but got {len(shape)})"))
        raise RuntimeError("Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and "
                           f"other non-zero dimensions for input, but got: "
                           f"{errors.of_shape(shape)}")
    out = out_lengths(shape[-2:], kernel, step, tuple((p, p) for p in rim), spread)
    if min(out) < 1:
        raise RuntimeError(
            f"Given input with spatial size {shown(shape[-2:])}, kernel_size={shown(kernel)}, "
            f"dilation={shown(spread)}, padding={shown(rim)}, calculated shape of the array of "
            f"sliding blocks as {shown(out)}, but its components must be at least one.")
    batch = input if len(shape) == 4 else input.unsqueeze(0)
    found = _im2col(batch, *settings)
    return found if batch is input else found.squeeze(0)


def fold(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
         stride: Any = 1) -> Tensor:
    """Columns (N, C * kernel, blocks) added up where the blocks lie: (N, C, *output_size)."""
    space = tuple_of(output_size, 2)
    settings = block_settings(kernel_size, dilation, padding, stride)
    shape = input._array.shape
    if len(shape) not in (2, 3):
        raise RuntimeError("Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch "
                           f"size and non-zero dimensions for input, but got: "
                           f"{errors.of_shape(shape)}")
    check_fold(shape, space, *settings)
    batch = input if len(shape) == 3 else input.unsqueeze(0)
    found = _col2im(batch, space, *settings)
    return found if batch is input else found.squeeze(0)


def check_fold(shape: Any, space: Any, kernel: Any, spread: Any, rim: Any, step: Any) -> None:
    if shape[-2] % prod(kernel):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={shape[-2]} and kernel_size={shown(kernel)}.")
    out = out_lengths(space, kernel, step, tuple((p, p) for p in rim), spread)
    given = (f"Given output_size={shown(space)}, kernel_size={shown(kernel)}, "
             f"dilation={shown(spread)}, padding={shown(rim)}, stride={shown(step)}, ")
    if min(out) < 1:
        raise RuntimeError(given + "calculated shape of the array of sliding blocks as "
                           f"{shown(out)}, which is too small (non-positive)")
    if shape[-1] != prod(out):
        raise RuntimeError(
            given + "expected size of input's dimension 2 to match the calculated number of "
            f"sliding blocks {out[0]} * {out[1]} = {prod(out)}, but got input.size(2)="
            f"{shape[-1]}.")
