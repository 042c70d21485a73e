"""The gamma function's family on arrays: log gamma, its derivatives, Hurwitz's zeta function.

Real numbers, float64 inside. Coefficients are Bernoulli numbers and values of the zeta function;
see the NIST Handbook of Mathematical Functions, sections 5.7, 5.11, 5.15 and 25.11.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["digamma", "lgamma", "polygamma", "trigamma", "zeta"]

# (zeta(k) - 1) (-1)^k / k for k = 2, 3, ...
ZETA = (0.3224670334241132, -0.0673523010531981, 0.020580808427784546, -0.007385551028673986,
    0.0028905103307415234, -0.001192753911703261, 0.0005096695247430425,
    -0.00022315475845357939, 9.945751278180853e-05, -4.492623673813314e-05,
    2.050721277567069e-05, -9.439488275268397e-06, 4.374866789907488e-06,
    -2.039215753801366e-06, 9.55141213040742e-07, -4.492469198764566e-07,
    2.1207184805554665e-07, -1.0043224823968099e-07, 4.7698101693639804e-08,
    -2.2711094608943164e-08, 1.0838659214896955e-08, -5.183475041970047e-09,
    2.4836745438024785e-09, -1.1921401405860912e-09, 5.731367241678862e-10,
    -2.7595228851242334e-10, 1.330476437424449e-10, -6.4229645638381e-11,
    3.1044247747322276e-11)
ONE_MINUS_EULER = 0.42278433509846713
# B_2k / (2k (2k - 1)), B_2k / 2k and B_2k / (2k)! for k = 1, 2, ..., where B are Bernoulli's.
STIRLING = (0.08333333333333333, -0.002777777777777778, 0.0007936507936507937,
    -0.0005952380952380953, 0.0008417508417508417, -0.0019175269175269176,
    0.00641025641025641, -0.029550653594771242, 0.17964437236883057,
    -1.3924322169059011)
SLOPE = (0.08333333333333333, -0.008333333333333333, 0.003968253968253968,
    -0.004166666666666667, 0.007575757575757576, -0.021092796092796094,
    0.08333333333333333, -0.4432598039215686, 3.0539543302701198, -26.456212121212122)
TAYLOR = (0.08333333333333333, -0.001388888888888889, 3.306878306878307e-05,
    -8.267195767195768e-07, 2.08767569878681e-08, -5.284190138687493e-10,
    1.3382536530684679e-11, -3.3896802963225827e-13, 8.586062056277845e-15,
    -2.174868698558062e-16, 5.5090028283602295e-18, -1.3954464685812522e-19,
    3.534707039629467e-21)
HALF_LOG_TAU = 0.9189385332046727  # log(2 pi) / 2
LOG_PI = 1.1447298858494002
FAR = 10  # from here on the asymptotic series are exact to the last digit


def horner(coefficients: Any, z: Any) -> Any:
    """The polynomial with these coefficients (constant first) at `z`."""
    found = np.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        found = found * z + coefficient
    return found


def sine_of_pi(x: Any) -> Any:
    """sin(pi x), exactly 0 at integers."""
    rest = x - 2 * np.rint(x / 2)
    found = np.sin(np.pi * rest)
    return np.where(rest == np.rint(rest), np.copysign(0.0, rest), found)


def lgamma(x: Any) -> Any:
    """log |gamma(x)|, also near its zeros at 1 and 2; infinite at 0, -1, -2, ..."""
    right = np.where(x < 0.5, 1 - x, x)
    found = np.where(right <= 2.5, lgamma_near(np.minimum(right, 2.5)),
                     lgamma_far(np.maximum(right, 2.5)))
    with_sine = LOG_PI - np.log(np.abs(sine_of_pi(x))) - found
    return np.where(x < 0.5, np.where(np.isneginf(x), np.inf, with_sine), found)


def lgamma_near(x: Any) -> Any:
    """On [0.5, 2.5]: Taylor series around 2, or around 1 less a logarithm."""
    z = np.where(x < 1.5, x - 1, x - 2)
    series = z * (ONE_MINUS_EULER + z * horner(ZETA, z))
    return np.where(x < 1.5, series - np.log1p(np.where(x < 1.5, z, 0)), series)


def lgamma_far(x: Any) -> Any:
    """Above 2: Stirling's series, after steps to the right where x is small."""
    product = np.ones_like(x)
    for _ in range(FAR - 2):
        near = x < FAR
        product = np.where(near, product * x, product)
        x = np.where(near, x + 1, x)
    inverse = 1 / x
    tail = inverse * horner(STIRLING, inverse * inverse)
    found = (x - 0.5) * np.log(x) - x + HALF_LOG_TAU + tail - np.log(product)
    return np.where(np.isposinf(x), np.inf, found)


def stepped(x: Any, power: int) -> tuple[Any, Any]:
    """(x moved right to at least FAR by whole steps, the sum of 1 / x^power on the way)."""
    total = np.zeros_like(x)
    for _ in range(FAR):
        near = x < FAR
        total = np.where(near, total + x ** -power, total)
        x = np.where(near, x + 1, x)
    return x, total


def digamma(x: Any) -> Any:
    """The slope of log gamma; NaN at negative integers, infinite at 0."""
    mirrored = x < 0
    far, passed = stepped(np.where(mirrored, 1 - x, x), 1)
    square = 1 / (far * far)
    found = np.log(far) - 0.5 / far - square * horner(SLOPE, square) - passed
    found = np.where(np.isposinf(far), np.inf, found)
    rest = x - np.rint(x)
    found = np.where(mirrored, found - np.pi / np.tan(np.pi * rest), found)
    found = np.where(mirrored & (rest == 0), np.nan, found)
    return np.where(x == 0, np.copysign(np.inf, -x), found)


def trigamma(x: Any) -> Any:
    """The second derivative of log gamma."""
    mirrored = x < 0.5
    far, passed = stepped(np.where(mirrored, 1 - x, x), 2)
    inverse = 1 / far
    square = inverse * inverse
    weights = [2 * k * c for k, c in enumerate(SLOPE, 1)]
    found = inverse + square / 2 + inverse * square * horner(weights, square) + passed
    sine = sine_of_pi(x)
    return np.where(mirrored, (np.pi / sine) ** 2 - found, found)


def zeta(s: Any, q: Any) -> Any:
    """The sum of (q + k)^-s over k = 0, 1, ...; for q < 0 where s is a whole number."""
    s, q = np.broadcast_arrays(s, q)
    low = np.floor(q)
    whole = (q == low) & np.isfinite(q)
    negative = (q < 0) & ~whole & (s == np.floor(s)) & np.isfinite(q)
    usable = (s > 1) & ((q > 0) | negative)
    power = np.where(usable, s, 2.0)
    part = np.where(negative, q - low, np.where(usable, q, 1.0))
    found = zeta_positive(power, part)
    if negative.any():  # the terms left of 0 are those of two sums that start right of it
        passed = zeta_positive(power, 1 - part) - zeta_positive(
            power, np.where(negative, 1 - q, 1.0))
        found = np.where(negative, found + np.where(power % 2 == 0, passed, -passed), found)
    found = np.where(usable, found, np.nan)
    pole = (s == 1) | (s > 1) & (q <= 0) & whole
    return np.where(np.isnan(s) | np.isnan(q), np.nan, np.where(pole, np.inf, found))


def zeta_positive(s: Any, q: Any) -> Any:
    """Euler and Maclaurin's formula, from q = FAR on."""
    total, place = np.zeros(s.shape), q
    for _ in range(FAR):
        near = place < FAR
        total = np.where(near, total + place ** -s, total)
        place = np.where(near, place + 1, place)
    last = place ** -s
    total = total + last * place / (s - 1) + last / 2
    factor, inverse = s * last / place, 1 / (place * place)
    for k, weight in enumerate(TAYLOR, 1):
        total = total + weight * factor
        factor = factor * (s + 2 * k - 1) * (s + 2 * k) * inverse
    return np.where(np.isposinf(q), 0.0, total)


def polygamma(x: Any, n: int) -> Any:
    """The derivative of log gamma of order n + 1."""
    if n < 2:
        return digamma(x) if n == 0 else trigamma(x)
    factorial = float(np.exp(lgamma(np.asarray(n + 1.0)))) if n > 20 else float(
        np.prod(np.arange(1.0, n + 1)))
    return (1 if n % 2 else -1) * factorial * zeta(np.asarray(n + 1.0), x)
