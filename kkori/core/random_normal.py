"""Normal numbers equal to PyTorch's: Box and Muller's pairs, made in three ways.

Sixteen numbers or more in contiguous memory are made from blocks of sixteen uniform numbers: the
first eight give radii, the last eight angles (a rest shorter than sixteen makes the last sixteen
anew). In float32 the logarithm and the sine are the Cephes polynomials, with a product and a
following sum rounded once; here they are computed in float64 and rounded where PyTorch rounds.
Everything else is made pair by pair in float64, the second of a pair waiting in the generator.
"""

from __future__ import annotations

import math

import numpy as np

from kkori.core.dtype import of
from kkori.core.generator import Generator
from kkori.core.random_streams import (
    BLOCK,
    blocks,
    exactly,
    fused,
    parts,
    put,
    transcendental,
    unit32,
    unit64,
)

LARGEST_EXPONENT = math.log(np.finfo(np.float64).max)
DIRECT = ("float32", "float64")  # types whose uniform numbers are drawn into the result itself
GROUP = 16  # uniform numbers a block: eight for radii, eight for angles


@np.errstate(all="ignore")
def normal(generator: Generator, target: np.ndarray, mean: float = 0.0, std: float = 1.0) -> None:
    """Fill with numbers of a normal distribution (``Tensor.normal_``); complex ones by parts."""
    real = parts(target)
    if real is not target:
        std = std / math.sqrt(2)
    if real.size < GROUP or not real.flags.c_contiguous:
        put(real, in_pairs(generator, real.size, mean, std, real.dtype))
    else:
        _in_groups(generator, real.reshape(-1), mean, std)


@np.errstate(all="ignore")
def log_normal(generator: Generator, target: np.ndarray, mean: float, std: float) -> None:
    """Fill with the exponentials of normal numbers (``Tensor.log_normal_``)."""
    values = in_pairs(generator, target.size, mean, std, target.dtype)
    large = values > LARGEST_EXPONENT
    made = transcendental("exp", target.dtype)(np.where(large, 0.0, values))
    put(target, np.where(large, np.inf, made))


# ---- pair by pair

def in_pairs(generator: Generator, count: int, mean: float, std: float,
             dtype: np.dtype) -> np.ndarray:
    """`count` float64 numbers, beginning with the one a former call left in the generator."""
    held = generator.next_normal_double
    wanted = count - (held is not None)
    samples = np.empty(count + 1)
    if count == 0:
        return samples[:0]
    first = 0
    if held is not None:
        samples[0], first = held, 1
    generator.next_normal_double = None
    if wanted:
        pairs = (wanted + 1) // 2
        made = _few_pairs if pairs <= GROUP // 2 else _many_pairs
        samples[first:first + 2 * pairs] = made(unit64(generator, 2 * pairs), dtype)
        if wanted % 2:
            generator.next_normal_double = float(samples[count])
    values = samples[:count]
    if mean == 0 and std == 1:
        return values
    return fused(values, std, mean)


def _few_pairs(unit: np.ndarray, dtype: np.dtype) -> list[float]:
    """Box and Muller's pairs, with the C library's functions."""
    made = []
    for first, second in unit.reshape(-1, 2).tolist():
        radius, angle = math.sqrt(-2.0 * math.log1p(-second)), 2.0 * math.pi * first
        made += [radius * math.cos(angle), radius * math.sin(angle)]
    return made


def _many_pairs(unit: np.ndarray, dtype: np.dtype) -> np.ndarray:
    log1p = transcendental("log1p", dtype)
    radius, angle = np.sqrt(-2.0 * log1p(-unit[1::2])), 2.0 * math.pi * unit[0::2]
    made = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)
    made[-2:] = _few_pairs(unit[-2:], dtype)  # one of them may be held, in full precision
    return made


# ---- in groups of sixteen

def _in_groups(generator: Generator, flat: np.ndarray, mean: float, std: float) -> None:
    kind = of(flat.dtype).name
    make, unit = (_groups64, unit64) if kind == "float64" else (_groups32, unit32)
    whole, rest = flat.size - flat.size % GROUP, flat.size % GROUP
    last = max(0, whole - BLOCK)  # the last block comes together with the rest
    for part in blocks(flat[:last - last % GROUP], 2 * BLOCK):
        put(part, make(unit(generator, part.size), mean, std))
    part = flat[last - last % GROUP:whole]
    numbers = unit(generator, part.size)
    if rest:
        if kind in DIRECT:  # numbers that PyTorch draws, too, and then overwrites
            unit(generator, rest)
        numbers = np.concatenate([numbers, unit(generator, GROUP)])
    made = make(numbers, mean, std)
    put(part, made[:part.size])
    if rest:
        put(flat[-GROUP:], made[-GROUP:])


def _groups64(unit: np.ndarray, mean: float, std: float) -> np.ndarray:
    pairs = unit.reshape(-1, 2, GROUP // 2)
    logarithm = exactly(math.log, (1.0 - pairs[:, 0]).reshape(-1)).reshape(-1, GROUP // 2)
    radius, angle = np.sqrt(-2.0 * logarithm), (2.0 * math.pi) * pairs[:, 1]
    made = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)
    return made + mean if std == 1 else fused(made, std, mean)


def _groups32(unit: np.ndarray, mean: float, std: float) -> np.ndarray:
    pairs = unit.reshape(-1, 2, GROUP // 2)
    radius = np.sqrt(np.float32(-2) * log32((1.0 - pairs[:, 0]).astype(np.float32).reshape(-1)))
    sine, cosine = sine_and_cosine32((TWO_PI * pairs[:, 1]).astype(np.float32).reshape(-1))
    made = np.empty(pairs.shape, np.float32)
    made[:, 0] = (radius * cosine).reshape(-1, GROUP // 2)
    made[:, 1] = (radius * sine).reshape(-1, GROUP // 2)
    flat = made.reshape(-1)
    if std == 1:
        flat += np.float32(mean)
        return flat
    return flat * np.float64(np.float32(std)) + np.float64(np.float32(mean))


# ---- Cephes' polynomials (S. Moshier's logf, sinf and cosf), each step rounded to float32

LOG = [np.float64(np.float32(c)) for c in (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)]
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
TWO_PI = np.float64(np.float32(2 * math.pi))
SQRT_HALF = np.float32(0.707106781186547524)
WAVES = np.array([[[-1.9515295891e-4], [2.443315711809948e-5]],  # sine's, cosine's
                  [[8.3321608736e-3], [-1.388731625493765e-3]],
                  [[-1.6666654611e-1], [4.166664568298827e-2]]], np.float32).astype(np.float64)
OCTANTS = np.float32(4 / math.pi)
PI_4_HIGH, PI_4_MIDDLE = np.float32(-0.78515625), np.float32(-2.4187564849853515625e-4)
PI_4_LOW = np.float64(np.float32(-3.77489497744594108e-8))
SINE_SIGN = np.array([1, 1, -1, -1, 1], np.float32)  # by quadrant
COSINE_SIGN = np.array([1, -1, -1, 1, 1], np.float32)


def log32(x: np.ndarray) -> np.ndarray:
    """The natural logarithm of positive float32 numbers, as PyTorch's normal numbers have it."""
    fraction, exponent = np.frexp(x)
    small = fraction < SQRT_HALF
    power = (exponent - small).astype(np.float32)
    x = np.where(small, fraction + fraction, fraction) - np.float32(1)
    wide, square = x.astype(np.float64), x * x
    value = LOG[0] * wide
    value += LOG[1]
    series = value.astype(np.float32)
    for coefficient in LOG[2:]:
        value[...] = series
        value *= wide
        value += coefficient
        series[...] = value
    series *= x
    value[...] = series
    value *= square
    value += power * LN2_LOW
    series[...] = value
    series -= square * np.float32(0.5)
    x += series
    x += power * LN2_HIGH
    return x


def sine_and_cosine32(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sine and cosine of float32 angles (one dimension) in [0, 2 pi]."""
    quadrant = ((angle * OCTANTS).astype(np.int32) + 1) >> 1
    turns = (2 * quadrant).astype(np.float32)
    near = turns * PI_4_HIGH
    near += angle
    near += turns * PI_4_MIDDLE
    near = (near + turns * PI_4_LOW).astype(np.float32)
    square = near * near
    wide = square.astype(np.float64)
    value = WAVES[0] * wide  # sine's series above cosine's
    value += WAVES[1]
    series = value.astype(np.float32)
    value[...] = series
    value *= wide
    value += WAVES[2]
    series[...] = value
    series *= square
    value[...] = series
    value[0] *= near
    value[0] += near
    value[1] *= wide
    value[1] -= wide * 0.5
    sine, cosine = value.astype(np.float32)
    cosine += np.float32(1)
    swapped = (quadrant & 1).astype(bool)
    return (np.where(swapped, cosine, sine) * SINE_SIGN[quadrant],
            np.where(swapped, sine, cosine) * COSINE_SIGN[quadrant])
