"""Random whole numbers and permutations equal to PyTorch's: remainders of 32 or 64 random bits."""

from __future__ import annotations

import numpy as np

from kkori.core.dtype import of
from kkori.core.generator import Generator
from kkori.core.random_streams import draw64, fill

# How many equally likely values `random_()` has in each type, and whether they take 64 bits.
FULL = {"bool": 2, "uint8": 2**8, "int8": 2**7, "int16": 2**15, "int32": 2**31, "int64": 2**63,
        "float16": 2**11 + 1, "bfloat16": 2**8 + 1, "float32": 2**24 + 1, "float64": 2**53 + 1}
WIDE_TYPES = ("int64", "float64")
WIDE_RANGE = 1 << 28  # from here on 32 bits would favour the small remainders visibly
LOWEST = -2**63
SHUFFLE_WIDE = (2**32 - 1) // 20  # permutations from this length on take 64 bits a place


def random_all(generator: Generator, target: np.ndarray) -> None:
    """Fill with whole numbers from 0 up to what the type can hold (``Tensor.random_()``)."""
    name = of(target.dtype).name
    _remainders(generator, target, FULL[name], 0, name in WIDE_TYPES)


def random_between(generator: Generator, target: np.ndarray, low: int, span: int) -> None:
    """Fill with whole numbers in [low, low + span) (``Tensor.random_(from, to)``).

    `span` is 1 to 2**64; 2**64 stands for all 64-bit numbers.
    """
    if span == 2**64:
        fill(target, lambda count: draw64(generator, count).view(np.int64))
    else:
        _remainders(generator, target, span, low, span >= WIDE_RANGE)


def _remainders(generator: Generator, target: np.ndarray, span: int, low: int, wide: bool) -> None:
    divisor, start = np.uint64(span), np.int64(low)

    def make(count: int) -> np.ndarray:
        bits = draw64(generator, count) if wide else generator.raw(count)
        if span & (span - 1):
            bits %= divisor
        else:
            bits &= np.uint64(span - 1)
        values = bits.view(np.int64)
        if low:
            values += start  # wraps around, as it does in PyTorch
        return values

    fill(target, make)


def permutation(generator: Generator, count: int) -> np.ndarray:
    """The numbers below `count` in random order (int64; ``torch.randperm``)."""
    if count >= SHUFFLE_WIDE:
        return _inside_out(generator, count)
    order = list(range(count))
    if count > 1:
        left = np.arange(count, 1, -1, dtype=np.uint64)
        jumps = (generator.raw(count - 1) % left).view(np.int64)
        jumps += np.arange(count - 1)
        for place, other in enumerate(jumps.tolist()):
            order[place], order[other] = order[other], order[place]
    return np.array(order, np.int64)


def _inside_out(generator: Generator, count: int, block: int = 1 << 20) -> np.ndarray:
    """The same for lengths at which 32 bits no longer suffice."""
    order = np.empty(count, np.int64)
    for start in range(0, count, block):
        places = np.arange(start, min(start + block, count), dtype=np.uint64)
        others = draw64(generator, places.size) % (places + np.uint64(1))
        for place, other in zip(places.tolist(), others.tolist(), strict=True):
            order[place] = order[other] if other < place else place
            order[other] = place
    return order
