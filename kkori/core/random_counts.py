"""Random numbers that take as many draws as they need: Poisson, binomial, gamma, Dirichlet.

Each value is found by rejection, so the stream is walked number by number in plain Python. The
methods are Hoermann's (1993) transformed rejection for Poisson and binomial numbers, counting of
waiting times where the mean is small, and Marsaglia and Tsang's (2000) for gamma numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from kkori.core.generator import Generator
from kkori.core.random_streams import unit64

AHEAD = 1024  # uniform numbers made ahead; the unused ones are given back
Unit = Callable[[], float]


class Walk:
    """The generator's float64 uniform numbers one by one; leaves it after the last one taken."""

    def __init__(self, generator: Generator, about: int) -> None:
        self.generator, self.ahead = generator, max(min(about, AHEAD), 4)
        self.left: list[float] = []
        self.before = generator.state_bytes()

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *error: object) -> None:
        used = self.ahead - len(self.left) if self.left else 0
        if used:
            held = self.generator.next_normal_double
            self.generator.load_state_bytes(self.before)
            self.generator.next_normal_double = held
            self.generator.raw(2 * used)

    def next(self) -> float:
        """The next number in [0, 1)."""
        if not self.left:
            self.before = self.generator.state_bytes()
            self.left = unit64(self.generator, self.ahead)[::-1].tolist()
        return self.left.pop()

    def next_normal(self) -> float:
        """The next standard normal number, the second of a pair being held."""
        held = self.generator.next_normal_double
        if held is not None:
            self.generator.next_normal_double = None
            return held
        angle = 2.0 * math.pi * self.next()
        radius = math.sqrt(-2.0 * math.log1p(-self.next()))
        self.generator.next_normal_double = radius * math.sin(angle)
        return radius * math.cos(angle)


# ---- Poisson

def poisson(generator: Generator, rates: np.ndarray) -> np.ndarray:
    """One Poisson number for each of `rates`, in their type (``torch.poisson``).

    ValueError for a negative rate.
    """
    with Walk(generator, 4 * rates.size) as walk:
        counts = [_poisson_one(rate, walk.next) for rate in _as_list(rates)]
    return _like(counts, rates)


def _poisson_one(rate: float, unit: Unit) -> float:
    if not rate >= 0:
        raise ValueError("invalid Poisson rate, expected rate to be non-negative")
    if rate == 0:
        return 0
    return _poisson_many(rate, unit) if rate >= 10 else _poisson_few(rate, unit)


def _poisson_few(rate: float, unit: Unit) -> int:
    floor, product, count = math.exp(-rate), unit(), 0
    while product > floor:
        product *= unit()
        count += 1
    return count


def _poisson_many(rate: float, unit: Unit) -> float:
    root, log_rate = math.sqrt(rate), math.log(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    log_inverse_alpha = math.log(1.1239 + 1.1328 / (b - 3.4))
    quick = 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = unit() - 0.5, unit()
        edge = 0.5 - abs(u)
        k = math.floor((2 * a / edge + b) * u + rate + 0.43) if edge else -1
        if edge >= 0.07 and v <= quick:
            return k
        if k < 0 or (edge < 0.013 and v > edge):
            continue
        if (_log(v) + log_inverse_alpha - math.log(a / (edge * edge) + b)
                <= -rate + k * log_rate - math.lgamma(k + 1)):
            return k


# ---- binomial

def binomial(generator: Generator, counts: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Successes in `counts` trials of the given `chances`, one type (``torch.binomial``)."""
    precise = counts.dtype == np.float64
    narrow = float if precise else _single
    with Walk(generator, 4 * counts.size) as walk:
        made = [_binomial_one(count, chance, walk.next, narrow)
                for count, chance in zip(_as_list(counts), _as_list(chances), strict=True)]
    return _like(made, counts)


def _binomial_one(count: float, chance: float, unit: Unit,
                  narrow: Callable[[float], float]) -> float:
    if count <= 0 or chance <= 0:
        return 0
    if chance >= 1:
        return count
    if chance > 0.5:
        return narrow(count - _successes(count, narrow(1.0 - chance), unit, narrow))
    if chance <= 0.5:
        return _successes(count, chance, unit, narrow)
    return math.nan


def _successes(count: float, chance: float, unit: Unit, narrow: Callable[[float], float]) -> float:
    if narrow(count * chance) >= 10:
        return _successes_many(count, chance, unit, narrow)
    scale, waited, found = math.log1p(-chance), 0.0, 0
    while True:
        number = unit()
        waited += math.ceil(math.log(number) / scale) if number else math.inf
        if waited > count:
            return found
        found += 1


def _successes_many(count: float, chance: float, unit: Unit,
                    narrow: Callable[[float], float]) -> float:
    mean = narrow(count * chance)
    spread = narrow(math.sqrt(narrow(mean * narrow(1 - chance))))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * chance
    quick = 0.92 - 4.2 / b
    odds = narrow(chance / narrow(1 - chance))
    alpha = (2.83 + 5.1 / b) * spread
    mode = math.floor(narrow(narrow(count + 1) * chance))
    while True:
        u, v = unit() - 0.5, unit()
        edge = 0.5 - abs(u)
        k = narrow(math.floor((2 * a / edge + b) * u + (mean + 0.5))) if edge else -1.0
        if k < 0 or k > count:
            continue
        if edge >= 0.07 and v <= quick:
            return k
        bound = _log_ratio(count, mode, k, odds, narrow)
        if _log(v * alpha / (a / (edge * edge) + b)) <= bound:
            return k


def _log_ratio(count: float, mode: float, k: float, odds: float,
               narrow: Callable[[float], float]) -> float:
    """How much less likely `k` successes are than `mode`, as a logarithm."""
    failures = narrow(count - k)
    return ((mode + 0.5) * math.log((mode + 1) / (odds * (count - mode + 1)))
            + narrow(count + 1) * math.log((count - mode + 1) / narrow(failures + 1))
            + (k + 0.5) * math.log(odds * narrow(failures + 1) / narrow(k + 1))
            + _stirling_rest(mode) + _stirling_rest(count - mode)
            - _stirling_rest(k) - _stirling_rest(failures))


def _stirling_rest(k: float) -> float:
    """What Stirling's formula leaves out of log(k!)."""
    if k < len(STIRLING_RESTS):
        return STIRLING_RESTS[int(k)]
    square = (k + 1) * (k + 1)
    return (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (k + 1)


STIRLING_RESTS = tuple(
    math.lgamma(k + 1) - (0.5 * math.log(2 * math.pi) + (k + 0.5) * math.log(k + 1) - (k + 1))
    for k in range(10))


# ---- gamma and Dirichlet

def gamma(generator: Generator, shapes: np.ndarray) -> np.ndarray:
    """Gamma numbers of scale one, in the type of `shapes` (``torch._standard_gamma``)."""
    smallest = float(np.finfo(shapes.dtype).tiny)
    with Walk(generator, 4 * shapes.size) as walk:
        made = [_gamma_one(shape, walk, shapes.dtype) for shape in _as_list(shapes)]
    return np.maximum(_like(made, shapes), shapes.dtype.type(smallest))


def dirichlet(generator: Generator, concentration: np.ndarray) -> np.ndarray:
    """Points of a simplex, one for each row of `concentration` (``torch._sample_dirichlet``)."""
    made = gamma(generator, concentration.astype(np.float64))
    kind = concentration.dtype.type
    shares = (made / made.sum(-1, keepdims=True)).astype(kind)
    return np.clip(shares, np.finfo(kind).tiny, np.nextafter(kind(1), kind(0)))


def _gamma_one(shape: float, walk: Walk, dtype: np.dtype) -> float:
    scale, narrow = 1.0, float if dtype == np.float64 else _single
    if shape < 1:
        if shape == 0:
            return 0.0
        scale = math.pow(1 - walk.next(), narrow(1.0 / shape))
        shape = narrow(shape + 1.0)
    d = narrow(shape - _single(1 / 3))
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = walk.next_normal()
        y = 1.0 + c * x
        if y <= 0:
            continue
        v, u, square = y * y * y, 1 - walk.next(), x * x
        if (u < 1.0 - _single(0.0331) * square * square
                or math.log(u) < 0.5 * square + d * (1.0 - v + math.log(v))):
            return scale * d * v


# ---- numbers in and out

def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _single(x: float) -> float:
    return float(np.float32(x))


def _as_list(values: np.ndarray) -> Iterator[float]:
    return iter(values.astype(np.float64).reshape(-1).tolist())


def _like(made: list[float], values: np.ndarray) -> np.ndarray:
    return np.array(made, np.float64).astype(values.dtype).reshape(values.shape)
