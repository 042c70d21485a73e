"""asin and acos: a polynomial up to 1/2, and beyond it of the half angle's sine.

For x > 1/2, with s = sqrt((1 - x) / 2), asin x = pi/2 - 2 asin s and acos x = 2 asin s: the root is
small where the functions are steep, so nothing is lost near 1. Beyond 1 the root is NaN.
"""

from __future__ import annotations

from kkori.codegen.text import Value
from kkori.codegen.vector_math import absolute, table, with_sign_of

__all__ = ["acos", "asin"]

HALF_PI = {"float": (1.57079637050628662109375, -4.371139000186241e-8),
           "double": (1.5707963267948966, 6.123233995736766e-17)}  # high and low part


def _short(x: Value) -> tuple[Value, Value, Value]:
    """Whether |x| > 1/2, the argument s below 1/2, and asin(s) - s."""
    f, size = x.function, absolute(x)
    far = size > 0.5
    square = f.select(far, f.fma(size, -0.5, 0.5), size * size)
    s = f.select(far, f.intrinsic("llvm.sqrt", x.type, square), size)
    return far, s, s * square * table("asin", square)


def asin(x: Value) -> Value:
    """Arc sine."""
    f = x.function
    high, low = HALF_PI[x.type.scalar]
    far, s, rest = _short(x)
    beyond = high - (s * 2 + (rest * 2 - low))
    return with_sign_of(f.select(far, beyond, s + rest), x)


def acos(x: Value) -> Value:
    """Arc cosine."""
    f = x.function
    high, low = HALF_PI[x.type.scalar]
    far, s, rest = _short(x)
    below = x < 0
    angle = (s + rest) * 2
    wide = f.select(below, 2 * high - (angle - 2 * low), angle)
    signed, signed_rest = with_sign_of(s, x), with_sign_of(rest, x)
    return f.select(far, wide, high - (signed + (signed_rest - low)))

