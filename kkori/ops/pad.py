"""Padding: around an array with a number, or with its own elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops.direct import direct
from kkori.ops.embedding import sum_by_index
from kkori.ops.table import TORCH
from kkori.tensor import Tensor


def constant_pad_array(input: Any, pads: Any, value: Any) -> Any:
    """`pads`: (before, after) for each dimension; negative ones take away."""
    shape = tuple(n + before + after for n, (before, after) in zip(input.shape, pads, strict=True))
    found = np.full(shape, value, input.dtype) if value else np.zeros(shape, input.dtype)
    source, target = [], []
    for n, (before, after) in zip(input.shape, pads, strict=True):
        source.append(slice(max(-before, 0), n - max(-after, 0)))
        target.append(slice(max(before, 0), n + before + after - max(after, 0)))
    found[tuple(target)] = input[tuple(source)]
    return found


_constant_pad = direct("constant_pad_nd", constant_pad_array, {
    "input": lambda g, pads: _constant_pad(g, tuple((-a, -b) for a, b in pads), 0)})


# Elements at given places of each dimension, and back.

def taken_array(input: Any, places: Any) -> Any:
    """`places`: for each dimension an index array, or None for all of it."""
    found = input
    for axis, index in enumerate(places):
        if index is not None:
            found = np.take(found, index, axis)
    return found if found is not input else input.copy()


def given_back_array(grad: Any, places: Any, shape: Any) -> Any:
    """The adjoint: every element added to the place it was taken from."""
    found = grad
    for axis, index in enumerate(places):
        if index is not None:
            found = sum_by_index(found, index, shape[axis], axis)
    return found


def taking(name: str, node: str) -> Any:
    """The row under the name of one of PyTorch's functions."""
    return direct(name, taken_array, {
        "input": lambda g, input_shape, places: _given_back(g, places, input_shape)}, node=node)


_given_back = direct("taken_backward", given_back_array, {
    "grad": lambda g, places: _taken(g, places)})
_taken = taking("taken", "TakenBackward0")
_shaped = {(mode, dims): taking(f"{mode}_pad{dims}d", f"{title}Pad{dims}DBackward0")
           for mode, title in (("reflect", "Reflection"), ("replicate", "Replication"),
                               ("circular", "Circular")) for dims in (1, 2, 3)}


def reflected(n: int, before: int, after: int) -> Any:
    """Places of a length mirrored at both ends, the ends not repeated."""
    places = np.abs(np.arange(-before, n + after))
    return (n - 1) - np.abs((n - 1) - places)


def repeated(n: int, before: int, after: int) -> Any:
    return np.clip(np.arange(-before, n + after), 0, n - 1)


def wrapped(n: int, before: int, after: int) -> Any:
    """What is not cut off, repeated; negative numbers cut off first."""
    kept = np.arange(max(-before, 0), n - max(-after, 0))
    return kept[np.arange(-max(before, 0), len(kept) + max(after, 0)) % len(kept)]


PLACES = {"reflect": reflected, "replicate": repeated, "circular": wrapped}


def check_pad(mode: str, shape: Any, pairs: list[tuple[int, int]], value: Any) -> None:
    """PyTorch's errors for what padding with own elements does not do."""
    if mode not in PLACES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value not in (None, 0):
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    dims = len(pairs)
    if len(shape) not in (dims + 1, dims + 2) or dims > 3:
        raise NotImplementedError(
            f"Padding size {2 * dims} is not supported for {len(shape)}D input tensor.")
    for d in range(dims):
        n, (before, after) = shape[len(shape) - dims + d], pairs[dims - 1 - d]
        if mode == "reflect" and (before >= n or after >= n):
            raise RuntimeError(errors.message(
                f"Argument #{2 * (dims - d) + 2}: "
                "Padding size should be less than the corresponding "
                f"input dimension, but got: padding ({before}, {after}) at dimension "
                f"{len(shape) - dims + d} of input {errors.of_shape(shape)}"))
        if mode == "circular" and (before > n or after > n):
            raise RuntimeError("Padding value causes wrapping around more than once.")


def pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """`input` with elements added around it.

    `pad` holds (before, after) for the last dimension, then for the one before it, and so on;
    `mode` is "constant" (with `value`), "reflect", "replicate" or "circular". RuntimeError or
    NotImplementedError where that many dimensions cannot be padded so.
    """
    numbers = [int(n) for n in pad]
    shape = input._array.shape
    if len(numbers) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(numbers) > 2 * len(shape):
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(numbers)} and input of dimension {len(shape)}")
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    if mode == "constant":
        return constant_padded(input, pairs, value)
    check_pad(mode, shape, pairs, value)
    places: list[Any] = [None] * len(shape)
    for back, (before, after) in enumerate(pairs, 1):
        if before or after:
            places[-back] = PLACES[mode](shape[-back], before, after)
    return _shaped[mode, len(pairs)](input, tuple(places))


def constant_padded(input: Tensor, pairs: Any, value: float | None) -> Tensor:
    """Padding with a number, over as many of the last dimensions as there are pairs."""
    shape = input._array.shape
    pads = ((0, 0),) * (len(shape) - len(pairs)) + tuple(reversed(pairs))
    for n, (before, after) in zip(shape, pads, strict=True):
        if n + before + after < 0 or n + min(before, 0) + min(after, 0) < 0:
            raise RuntimeError("narrow(): length must be non-negative.")
    return _constant_pad(input, pads, 0 if value is None else value)


def constant_pad_nd(input: Tensor, pad: Any, value: float = 0) -> Tensor:
    """``torch.constant_pad_nd``."""
    numbers = [int(n) for n in pad]
    return constant_padded(input, list(zip(numbers[::2], numbers[1::2], strict=True)), value)


TORCH["constant_pad_nd"] = constant_pad_nd
