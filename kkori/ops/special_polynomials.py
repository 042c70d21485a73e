"""Orthogonal polynomials on arrays: Chebyshev, Hermite, Laguerre, Legendre, by recurrence.

``p_(k+1)(x) = (a_k x + b_k) p_k(x) - c_k p_(k-1)(x)``: one row a family. The degree may be an
array; it is cut to a whole number, and a negative one gives 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["POLYNOMIALS", "polynomial"]

Step = Callable[[int], tuple[float, float, float]]


def chebyshev(k: int) -> tuple[float, float, float]:
    return 2.0, 0.0, 1.0


def hermite_h(k: int) -> tuple[float, float, float]:
    return 2.0, 0.0, 2.0 * k


def hermite_he(k: int) -> tuple[float, float, float]:
    return 1.0, 0.0, float(k)


def laguerre(k: int) -> tuple[float, float, float]:
    return -1 / (k + 1), (2 * k + 1) / (k + 1), k / (k + 1)


def legendre(k: int) -> tuple[float, float, float]:
    return (2 * k + 1) / (k + 1), 0.0, k / (k + 1)


# name: (the step, p_1 = a x + b, whether x is first mapped from [0, 1] to [-1, 1])
POLYNOMIALS: dict[str, tuple[Step, float, float, bool]] = {
    "chebyshev_polynomial_t": (chebyshev, 1, 0, False),
    "chebyshev_polynomial_u": (chebyshev, 2, 0, False),
    "chebyshev_polynomial_v": (chebyshev, 2, -1, False),
    "chebyshev_polynomial_w": (chebyshev, 2, 1, False),
    "shifted_chebyshev_polynomial_t": (chebyshev, 1, 0, True),
    "shifted_chebyshev_polynomial_u": (chebyshev, 2, 0, True),
    "shifted_chebyshev_polynomial_v": (chebyshev, 2, -1, True),
    "shifted_chebyshev_polynomial_w": (chebyshev, 2, 1, True),
    "hermite_polynomial_h": (hermite_h, 2, 0, False),
    "hermite_polynomial_he": (hermite_he, 1, 0, False),
    "laguerre_polynomial_l": (laguerre, -1, 1, False),
    "legendre_polynomial_p": (legendre, 1, 0, False),
}
MOST = 10_000  # the highest degree that is computed; above it NaN


def polynomial(name: str) -> Callable[[Any, Any], Any]:
    """The array rule of one family."""
    step, slope, offset, mapped = POLYNOMIALS[name]

    def rule(x: Any, n: Any) -> Any:
        x, n = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(n, np.float64))
        degree = np.trunc(np.nan_to_num(n, nan=-1.0))
        place = 2 * x - 1 if mapped else x
        before, here = np.ones(x.shape), slope * place + offset
        found = np.where(degree < 0, 0.0, np.where(degree == 0, before, here))
        last = int(min(degree.max(initial=0), MOST))
        for k in range(1, last):
            a, b, c = step(k)
            before, here = here, (a * place + b) * here - c * before
            found = np.where(degree > k, here, found)
        return np.where(degree > MOST, np.nan, found)
    return rule
