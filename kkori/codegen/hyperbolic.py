"""sinh, cosh and the inverses of sinh, cosh and tanh, made of expm1 and log1p.

The forms are those that lose nothing near 0 and overflow only where the result does.
"""

from __future__ import annotations

import math

from kkori.codegen.text import Value
from kkori.codegen.vector_math import (
    FORMATS,
    absolute,
    between,
    log1p,
    nearest,
    power_of_two,
    split_exp,
    with_sign_of,
)

__all__ = ["acosh", "asinh", "atanh", "cosh", "sinh"]


def _quarters(x: Value) -> tuple[Value, Value, Value]:
    """expm1(|x|) / 4 and exp(|x|) / 4, which are finite when sinh and cosh are; and |x|."""
    f = x.function
    top = FORMATS[x.type.scalar].exp_range[1] + 0.7  # then 2**(n - 2) is a number still
    size = between(absolute(x), 0.0, top)
    n, _, less_one = split_exp(size)
    quarter = power_of_two(nearest(n - 2)[1])
    return f.fma(quarter, less_one, quarter - 0.25), f.fma(quarter, less_one, quarter), size


def sinh(x: Value) -> Value:
    """With t = expm1(|x|): (t + t / (t + 1)) / 2."""
    quarter, _, size = _quarters(x)
    result = quarter * 2 + quarter / (quarter * 2 + 0.5)
    small = size < FORMATS[x.type.scalar].small
    return with_sign_of(x.function.select(small, size, result), x)


def cosh(x: Value) -> Value:
    """With t = exp(|x|): (t + 1 / t) / 2."""
    _, quarter, _ = _quarters(x)
    return quarter * 2 + 0.125 / quarter


def _log_of_double(size: Value, exact: Value) -> Value:
    """log1p(exact), or log(2 size) where size is so large that its square is of no use."""
    f = size.function
    large = size > 2.0 ** (30 if size.type.scalar == "float" else 60)
    result = log1p(f.select(large, size, exact))
    return f.select(large, result + math.log(2.0), result)


def asinh(x: Value) -> Value:
    """log1p(|x| + x^2 / (1 + sqrt(x^2 + 1))), with the sign of x."""
    f, size = x.function, absolute(x)
    square = size * size
    root = f.intrinsic("llvm.sqrt", x.type, square + 1)
    return with_sign_of(_log_of_double(size, size + square / (root + 1)), x)


def acosh(x: Value) -> Value:
    """log1p(t + sqrt(2 t + t^2)) with t = x - 1; NaN below 1."""
    f, t = x.function, x - 1
    root = f.intrinsic("llvm.sqrt", x.type, f.fma(t, t, t * 2))
    return f.select(x < 1, math.nan, _log_of_double(x, t + root))


def atanh(x: Value) -> Value:
    """log1p(2 |x| / (1 - |x|)) / 2, with the sign of x; NaN beyond 1."""
    size = absolute(x)
    return with_sign_of(log1p(size * 2 / (1 - size)) * 0.5, x)
