"""The normal distribution's family on arrays: scaled erfc, inverse erf, quantiles, logarithms.

Built on the series of `kkori.ops.special_math`; inverses by Halley's and Newton's steps on them.
"""

from __future__ import annotations

from math import log, pi, sqrt
from typing import Any

import numpy as np

from kkori.ops.special_math import TAIL, erf_array, erfc_array

__all__ = ["erfcx", "erfinv", "log_ndtr", "ndtr", "ndtri"]

ROOT_HALF = sqrt(0.5)
SLOPE = 2 / sqrt(pi)
WINITZKI = 0.147  # of his approximation of erf, whose inverse has a closed form


def erfcx(x: Any) -> Any:
    """exp(x^2) erfc(x)."""
    size = np.abs(x)
    right = scaled_tail(size)
    left = 2 * np.exp(np.minimum(x, 0) ** 2) - right
    return np.where(x < 0, left, right)


def scaled_tail(x: Any) -> Any:
    """The same for numbers that are not negative."""
    bounded = np.where(np.isposinf(x), 0.0, x)
    found = np.polynomial.chebyshev.chebval((bounded - 3) / (bounded + 3), TAIL) / (bounded + 3)
    return np.where(np.isposinf(x), 0.0, found)


def first_guess(logarithm: Any) -> Any:
    """erfinv(x) to three digits, of log(1 - x^2)."""
    middle = 2 / (pi * WINITZKI) + logarithm / 2
    return np.sqrt(np.sqrt(middle * middle - logarithm / WINITZKI) - middle)


def erfinv(x: Any) -> Any:
    """The y with erf(y) = x; infinite at -1 and 1, NaN outside."""
    size = np.abs(x)
    inner = np.minimum(size, 0.5)
    near = first_guess(np.log1p(-inner * inner))
    for _ in range(2):
        error = (erf_array(near) - inner) / (SLOPE * np.exp(-near * near))
        near = near - error / (1 + near * error)
    far = erfcinv(np.clip(1 - size, 0, 0.5))
    found = np.copysign(np.where(size < 0.5, near, far), x)
    return np.where(size > 1, np.nan, found) + x * 0


def erfcinv(c: Any) -> Any:
    """The y >= 0 with erfc(y) = c, for c from 0 to 1: Newton on the logarithm, to its poles."""
    bounded = np.maximum(c, 5e-324)
    wanted = np.log(bounded)
    found = first_guess(np.where(bounded < 1, wanted + np.log(2 - bounded), 0.0))
    for _ in range(4):
        scaled = scaled_tail(found)
        found = found + (np.log(scaled) - found * found - wanted) * scaled / SLOPE
        found = np.maximum(found, 0)
    return np.where(c == 0, np.inf, found)


def ndtr(x: Any) -> Any:
    """The part of the standard normal distribution below x."""
    return erfc_array(-x * ROOT_HALF) / 2


def ndtri(p: Any) -> Any:
    """The x below which a part p of the standard normal distribution lies."""
    tail = np.minimum(p, 1 - p)
    middle = erfinv(2 * np.clip(p, 0.25, 0.75) - 1)
    outer = np.copysign(erfcinv(2 * np.clip(tail, 0, 0.25)), p - 0.5)
    found = np.where(tail > 0.25, middle, outer) / ROOT_HALF
    return np.where((p < 0) | (p > 1), np.nan, found) + p * 0


def log_ndtr(x: Any) -> Any:
    """The logarithm of ndtr(x), without underflow."""
    low, high = np.minimum(x, -1), np.maximum(x, -1)
    below = np.log(scaled_tail(-low * ROOT_HALF)) - low * low / 2 - log(2)
    above = np.log1p(-erfc_array(high * ROOT_HALF) / 2)
    return np.where(x < -1, np.where(np.isneginf(x), -np.inf, below), above)
