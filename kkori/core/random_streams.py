"""Random arrays equal to PyTorch's: uniform and everything made of one uniform number each.

Every function fills `target`, a NumPy array of any strides, from a `Generator`. What each value is
made of (how many 32-bit numbers, at which precision, rounded how often) follows PyTorch's CPU
kernels as they run with AVX2, where a product and the sum after it are rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kkori.core.dtype import of
from kkori.core.generator import Generator

BLOCK = 8192  # values made at a time: what they need stays in the processor's cache
HALVES = ("float16", "bfloat16")
LOW_24, LOW_53 = np.uint64(2**24 - 1), np.uint64(2**53 - 1)


# ---- the order of filling

def stream_axes(target: np.ndarray) -> list[int]:
    """The dimensions of `target` from the slowest to the fastest, as PyTorch walks them."""
    axes: list[int] = []
    for axis in reversed(range(target.ndim)):  # an insertion sort by stride, fastest first
        place = len(axes)
        for before in reversed(range(len(axes))):
            order = _compare(target, axis, axes[before])
            if order > 0:
                break
            if order < 0:
                place = before
        axes.insert(place, axis)
    return axes[::-1]


def stream_order(target: np.ndarray) -> np.ndarray:
    """A view of `target` whose C order is the order PyTorch fills it in: that of its memory."""
    if target.flags.c_contiguous:
        return target
    return target.transpose(stream_axes(target))


def _compare(target: np.ndarray, axis: int, other: int) -> int:
    """-1 where `axis` has to be walked faster than `other`, 1 where slower, 0 where it is open."""
    stride, bound = target.strides[axis], target.strides[other]
    if stride == 0 or bound == 0:
        return 0
    if stride == bound:
        return -1 if target.shape[axis] < target.shape[other] else 0
    return -1 if stride < bound else 1


def fill(target: np.ndarray, make: Callable[[int], np.ndarray]) -> None:
    """Fill `target` with the numbers of `make(count)`, called for one block after another."""
    count = target.size
    if count <= BLOCK:
        if count:
            put(target, make(count))
    elif target.flags.c_contiguous:
        for part in blocks(target.reshape(-1)):
            put(part, make(part.size))
    else:
        flat = np.empty(count, target.dtype)
        fill(flat, make)
        put(target, flat)


def put(target: np.ndarray, values: np.ndarray) -> None:
    """Write as many `values` as `target` has places, in the order PyTorch walks them.

    Numbers change type as in C++: to the half types by way of float32.
    """
    if of(target.dtype).name in HALVES:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32, copy=False).astype(target.dtype)
    if values.shape == target.shape:
        target[...] = values
    else:
        view = stream_order(target)
        view[...] = values.reshape(view.shape)


def blocks(flat: np.ndarray, size: int = BLOCK) -> Iterator[np.ndarray]:
    """One-dimensional `flat`, in pieces of `size`."""
    for start in range(0, flat.size, size):
        yield flat[start:start + size]


def parts(target: np.ndarray) -> np.ndarray:
    """The real numbers of a complex array, as one more dimension of two; others as they are."""
    if target.dtype.kind != "c":
        return target
    real = target.real
    return np.lib.stride_tricks.as_strided(
        real, (*target.shape, 2), (*target.strides, real.itemsize))


# ---- bits and uniform numbers

def draw64(generator: Generator, count: int) -> np.ndarray:
    """`count` 64-bit numbers (uint64): the earlier 32 bits are the upper half."""
    pairs = generator.raw(2 * count)
    high = pairs[0::2]
    return (high << np.uint64(32)) | pairs[1::2]


def unit32(generator: Generator, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) of 24 bits, from one draw each: float32's, held in float64."""
    bits = generator.raw(count)
    bits &= LOW_24
    return bits.view(np.int64) * 2.0**-24


def unit64(generator: Generator, count: int) -> np.ndarray:
    """`count` float64 numbers in [0, 1): 53 bits of two draws each."""
    bits = draw64(generator, count)
    bits &= LOW_53
    return bits.view(np.int64) * 2.0**-53


@np.errstate(all="ignore")
def fused(a: np.ndarray, b: float, c: float) -> np.ndarray:
    """``a * b + c`` in float64 rounded once, as the processor's fused multiply-add does it."""
    product = a * b
    high_a, high_b = _upper_half(a), _upper_half(b)
    low_a, low_b = a - high_a, b - high_b
    lost = ((high_a * high_b - product) + high_a * low_b + low_a * high_b) + low_a * low_b
    total = product + c
    back = total - product
    lost += (product - (total - back)) + (c - back)
    return np.where(np.isfinite(lost), total + lost, total)


def _upper_half(x: Any) -> Any:
    """The upper 26 bits of a float64 (Dekker's split), so that products of halves are exact."""
    spread = x * 134217729.0
    return spread - (spread - x)


def exactly(function: Callable[[float], float], numbers: np.ndarray) -> np.ndarray:
    """`function` of the C library, number by number: NumPy's own may differ in the last bit."""
    return np.fromiter(map(function, numbers.tolist()), np.float64, numbers.size)


def transcendental(name: str, dtype: np.dtype) -> Callable[[np.ndarray], np.ndarray]:
    """The function `name` for float64 numbers that are rounded to `dtype` afterwards."""
    if dtype == np.float64:
        exact = getattr(math, name)
        return lambda numbers: exactly(exact, numbers)
    return getattr(np, name)


# ---- distributions

def uniform(generator: Generator, target: np.ndarray, low: float = 0.0, high: float = 1.0) -> None:
    """Fill with numbers in [low, high) (``Tensor.uniform_``); complex ones by their parts."""
    real = parts(target)
    name = of(real.dtype).name
    unit = unit64 if name == "float64" else unit32
    if low == 0 and high == 1 and name not in HALVES:
        fill(real, lambda count: unit(generator, count))
        return
    start, span = _in_work_precision(name, low, high)
    ends = np.empty(2, real.dtype)
    put(ends, np.array([low, high], np.float64))

    def make(count: int) -> np.ndarray:
        values = unit(generator, count)
        values = fused(values, span, start) if name == "float64" else values * span + start
        return _below(values, ends)

    fill(real, make)


def _in_work_precision(name: str, low: float, high: float) -> tuple[float, float]:
    """Start and length of the range, rounded to the type PyTorch reckons in."""
    kind = np.float64 if name == "float64" else np.float32
    return float(kind(low)), float(kind(kind(high) - kind(low)))


def _below(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """`values` in the type of `ends`; where rounding reached the upper end, the lower one."""
    rounded = np.empty(values.shape, ends.dtype)
    put(rounded, values)
    reached = rounded == ends[1]
    if reached.any():
        rounded[reached] = ends[0]
    return rounded


def bernoulli(generator: Generator, target: np.ndarray, p: float) -> None:
    """Fill with ones and zeros, ones of probability `p` (``Tensor.bernoulli_(p)``)."""
    fill(target, lambda count: unit64(generator, count) < p)


def bernoulli_each(generator: Generator, target: np.ndarray, p: np.ndarray) -> None:
    """Fill with ones and zeros, ones of the probabilities `p` (``Tensor.bernoulli_(tensor)``)."""
    axes = stream_axes(target)
    chances = np.broadcast_to(p, target.shape).transpose(axes)
    double = p.dtype == np.float64
    chances = chances.reshape(-1) if double else chances.reshape(-1).astype(np.float32)
    flat = np.empty(target.size, bool)
    start = 0
    for part in blocks(flat):
        unit = (unit64 if double else unit32)(generator, part.size)
        np.less(unit, chances[start:start + part.size], out=part)
        start += part.size
    put(target, flat)


@np.errstate(all="ignore")
def exponential(generator: Generator, target: np.ndarray, rate: float = 1.0) -> None:
    """Fill with waiting times at `rate` (``Tensor.exponential_``)."""
    log1p, factor = transcendental("log1p", target.dtype), -1.0 / rate
    fill(target, lambda count: factor * log1p(-unit64(generator, count)))


@np.errstate(all="ignore")
def geometric(generator: Generator, target: np.ndarray, p: float) -> None:
    """Fill with the number of trials up to the first success (``Tensor.geometric_``)."""
    scale = math.log1p(-p)
    fill(target, lambda count: np.ceil(np.log(unit64(generator, count)) / scale))


@np.errstate(all="ignore")
def cauchy(generator: Generator, target: np.ndarray, median: float, sigma: float) -> None:
    """Fill with Cauchy numbers (``Tensor.cauchy_``)."""
    tan = transcendental("tan", target.dtype)

    def make(count: int) -> np.ndarray:
        return fused(tan(math.pi * (unit64(generator, count) - 0.5)), sigma, median)

    fill(target, make)
