"""x**y for vectors: 2**(y log2 |x|) with a logarithm that has bits to spare, then the rules.

The exponent is multiplied by up to 1024, so an error in the logarithm grows by as much. float32
computes in doubles, which have 29 bits to spare. float64 carries the logarithm as a sum of two
doubles; products then need their rounding errors, which one fused multiply-add gives exactly.
"""

from __future__ import annotations

import math

from kkori.codegen.coefficients import POLYNOMIALS
from kkori.codegen.text import Type, Value, type_of
from kkori.codegen.vector_math import (
    absolute,
    between,
    nearest,
    normal,
    polynomial,
    scaled,
    split_log,
    table,
    with_sign_of,
)

__all__ = ["power"]

Pair = tuple[Value, Value]  # high and low part of one number

TWO_LOG2E = 2.8853900817779268, 4.0710547481862066e-17  # 2 / ln 2
THIRD = 1 / 3, 1.850371707708594e-17  # of the series of atanh
SPLITTER = 2.0**27 + 1


def power(x: Value, y: Value) -> Value:
    """x**y with C's rules for zeros, infinities, NaN and negative bases."""
    if x.type.scalar == "float":
        wide = type_of("double", x.type.lanes)
        size = _power_of_single(x, y, wide)
    else:
        size = _power_of_double(absolute(x), y)
    return _with_rules(x, y, size)


def _with_rules(x: Value, y: Value, size: Value) -> Value:
    """The sign of an odd power, NaN for roots of negative numbers, and the powers that are 1."""
    f = x.function
    whole, odd = _is_whole(y)
    negative = f.select(odd, with_sign_of(size, x), size)
    root = (x < 0) & (absolute(x) < math.inf) & f.compare("==", whole, 0)
    result = f.select(root, math.nan, negative)
    known = f.compare("==", absolute(x), 1) & f.compare("==", absolute(y), math.inf)
    one = known | f.compare("==", x, 1) | f.compare("==", y, 0)
    return f.select(one, 1, result)


def _is_whole(y: Value) -> tuple[Value, Value]:
    """1.0 where y is an integer (or NaN) else 0.0; and the mask of odd ones."""
    f = y.function
    large = 2.0 ** (23 if y.type.scalar == "float" else 52)
    size = absolute(y)

    def fraction(value: Value) -> Value:
        rounded = f.select(value < large, (value + large) - large, value)
        return f.compare("!=", rounded, value)

    part = fraction(size)
    odd = f.select(part, f.constant(0, part.type), fraction(size * 0.5))
    inside = size < 2 * large
    return f.select(part, f.constant(0, y.type), 1), odd & inside


def _extremes(size: Value, value: Value) -> Value:
    """log2 where the series does not reach: at 0, infinity and NaN."""
    f = size.function
    value = f.select(f.compare("==", size, 0), -math.inf, value)
    value = f.select(f.compare("==", size, math.inf), math.inf, value)
    return f.select(f.compare("unordered", size, 0), size, value)


def _power_of_single(x: Value, y: Value, wide: Type) -> Value:
    """|x|**y: log2 to 40 bits in doubles. Widened denormals are normal, so none are special."""
    f = x.function
    size = f.convert("fpext", absolute(x), wide)
    e, m = split_log(size)
    s = (m - 1) / (m + 1)
    rest = polynomial(s * s, POLYNOMIALS["atanh", "middle"])
    logarithm = f.fma(s * f.fma(s * s, rest, 2), 1 / math.log(2), e)
    product = f.convert("fpext", y, wide) * _extremes(size, logarithm)
    product = between(product, -160.0, 140.0)
    n, _ = nearest(product)
    r = product - n
    value = f.fma(r, polynomial(r, POLYNOMIALS["exp2", "middle"]), 1)
    whole = value * _exponent_only(n)
    return f.convert("fptrunc", whole, x.type)


def _exponent_only(n: Value) -> Value:
    from kkori.codegen.vector_math import power_of_two

    return power_of_two(nearest(n)[1])


def _power_of_double(size: Value, y: Value) -> Value:
    f = size.function
    high, low = _log2(size)
    y = between(y, -(2.0**64), 2.0**64)
    product, error = _product(y, high)
    exponent = between(product, -1100.0, 1100.0)
    exponent = f.select(f.compare("unordered", y, 0), y, exponent)
    n, _ = nearest(exponent)
    rest = f.fma(y, low, error)
    rest = f.select(absolute(product) < 1090.0, rest, 0.0)
    r = (exponent - n) + rest
    value = f.fma(r, table("exp2", r), 1)
    edge = f.select(f.compare("==", size, 0) | f.compare("==", size, math.inf), y, 0.0)
    result = scaled(value, n)
    grows = f.compare("==", size, 0)
    up = f.select(grows, -edge, edge)
    result = f.select(up > 0, math.inf, f.select(up < 0, 0.0, result))
    return f.select(f.compare("unordered", size, 0), size, result)


def _log2(size: Value) -> Pair:
    """log2 as a pair: 2/ln 2 (s + s^3/3 + s^5 ...) with s = (m - 1) / (m + 1), plus e."""
    f = size.function
    lifted, less = normal(size)
    e, m = split_log(lifted)
    e = e + less
    s = _quotient(m)
    z_high, z_low = _times(s, s)
    tail = z_high * polynomial(z_high, [c / 2 for c in POLYNOMIALS["atanh", "double"][1:]])
    v = _ordered_sum(f.constant(THIRD[0], size.type), tail)
    v = v[0], v[1] + THIRD[1]
    u = _times((z_high, z_low), v)
    cube = _times(s, u)
    series = _ordered_sum(s[0], cube[0])
    series = series[0], series[1] + (s[1] + cube[1])
    scale = f.constant(TWO_LOG2E[0], size.type), f.constant(TWO_LOG2E[1], size.type)
    part = _times(series, scale)
    total = _ordered_sum(e, part[0])
    return _ordered_sum(total[0], total[1] + part[1])


def _quotient(m: Value) -> Pair:
    """(m - 1) / (m + 1) as a pair: the remainder of the division gives the low part."""
    upper, lower = m - 1, m + 1
    lost = m - (lower - 1)  # of rounding m + 1
    high = upper / lower
    product, error = _product(high, lower)
    return high, ((upper - product) - error - high * lost) / lower


def _ordered_sum(large: Value, small: Value) -> Pair:
    """Sum and its rounding error, for |large| >= |small| or large = 0."""
    total = large + small
    return total, small - (total - large)


def _product(a: Value, b: Value) -> Pair:
    """Product and its rounding error; without FMA from halves of 26 bits (Dekker)."""
    f = a.function
    product = a * b
    if f.target.fma:
        return product, f.fma(a, b, -product)
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _halves(a: Value) -> Pair:
    scaled_ = a * SPLITTER
    high = scaled_ - (scaled_ - a)
    return high, a - high


def _times(a: Pair, b: Pair) -> Pair:
    """Product of pairs."""
    high, error = _product(a[0], b[0])
    f = high.function
    return _ordered_sum(high, f.fma(a[0], b[1], f.fma(a[1], b[0], error)))
