"""sin, cos and tan of vectors: reduction by pi/2 for ordinary arguments, and for very large ones.

Ordinary arguments lose multiples of pi/2, which is held in three or four parts. That fails where
the multiple has too many bits; then some lanes leave the straight path, and integer arithmetic on
as many digits of 2/pi as the exponent asks for gives the exact remainder. It is slow, rare, and one
function per module.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from kkori.codegen.coefficients import POLYNOMIALS
from kkori.codegen.text import Function, Module, Type, Value, type_of

__all__ = ["cosine", "sine", "tangent"]


class Reduction(NamedTuple):
    """How a type is reduced: the bound of the fast way, and the integers of the exact one."""

    bound_fused: float
    bound_plain: float
    parts_fused: tuple[int, ...]  # bits of each part of pi/2
    parts_plain: tuple[int, ...]  # short, so that their products with the multiple are exact
    word: int  # bits of the integer that holds argument times 2/pi
    margin: int  # how far below 0 the exponent of an argument above the bound may be
    mantissa: int
    bias: int


REDUCTIONS = {
    "float": Reduction(1e5, 6000.0, (24, 24, 24), (12, 12, 12, 24), 256, 16, 23, 127),
    "double": Reduction(1e6, 1e6, (53, 53, 53), (32, 32, 32, 53), 1216, 40, 52, 1023),
}


def _digits_of_pi(bits: int) -> int:
    """floor(pi * 2**bits), by Machin's formula in integers."""
    extra = 32
    one = 1 << (bits + extra)

    def arctan_of_inverse(n: int) -> int:
        term, total, k = one // n, 0, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term //= n * n
            k += 2
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) >> extra


@functools.cache
def _two_over_pi(bits: int) -> int:
    """floor(2/pi * 2**bits)."""
    return (1 << (2 * bits + 1)) // _digits_of_pi(bits)


@functools.cache
def _parts_of_half_pi(lengths: tuple[int, ...]) -> tuple[float, ...]:
    """pi/2 as a sum of numbers of so many bits each."""
    scale = 400
    rest = _digits_of_pi(scale) >> 1
    parts: list[float] = []
    for length in lengths:
        cut = max(rest.bit_length() - length, 0)
        head = (rest + (1 << cut >> 1)) >> cut << cut if len(parts) == len(lengths) - 1 else (
            rest >> cut << cut)
        parts.append(math.ldexp(head >> cut, cut - scale))
        rest -= head
    return tuple(parts)


def _reduce(x: Value) -> tuple[Value, Value]:
    """x = q pi/2 + r with |r| <= pi/4: r, and q as integers of which the low two bits count."""
    f, how = x.function, REDUCTIONS[x.type.scalar]
    fused = f.target.fma
    parts = _parts_of_half_pi(how.parts_fused if fused else how.parts_plain)
    magic = 1.5 * 2.0**how.mantissa
    shifted = x * (2 / math.pi) + magic
    n = shifted - magic
    r = x
    for part in parts:
        r = f.fma(n, -part, r)
    size = f.intrinsic("llvm.fabs", x.type, x)
    big = size > (how.bound_fused if fused else how.bound_plain)
    exact = functools.partial(_reduce_exactly, x, size, big, r, f.bits(shifted))
    return f.when(f.any(big), (r, f.bits(shifted)), exact)  # type: ignore[return-value]


def _reduce_exactly(x: Value, size: Value, big: Value, r: Value, q: Value) -> tuple[Value, Value]:
    """The same for the lanes in `big`; infinities are left alone (their r is NaN already)."""
    f, kind = x.function, x.type
    big = big & (size < math.inf)
    name = f"kkori.exact_reduction.{kind.suffix}"
    result = Type(f"{{ {kind.text}, {kind.integer.text} }}", 0)
    f.module.helper(name, lambda module: _exact_reduction(module, name, kind, result))
    both = f.call(name, result, f.select(big, size, 2.0 ** 20))
    exact_r = f.line(f"extractvalue {both}, 0", kind)
    exact_q = f.line(f"extractvalue {both}, 1", kind.integer)
    below = x < 0
    exact_r = f.select(below, -exact_r, exact_r)
    exact_q = f.select(below, -exact_q, exact_q)
    return f.select(big, exact_r, r), f.select(big, exact_q, q)


def _exact_reduction(module: Module, name: str, kind: Type, result: Type) -> str:
    """Text of the function that reduces every lane of a vector of large positive numbers."""
    f = Function(module, name, result, [("x", kind)], internal=True)
    (x,) = f.arguments
    if not kind.lanes:
        r, q = _reduce_scalar(x)
    else:
        start = (f.constant(0, kind), f.constant(0, kind.integer))
        with f.loop(0, kind.lanes, carried=start, name="lane") as loop:
            r, q = _reduce_scalar(f.extract(x, loop.index))
            rs, qs = loop.carried
            loop.carry(f.insert(rs, r, loop.index), f.insert(qs, q, loop.index))
        r, q = loop.results
    first = f.line(f"insertvalue {result.text} poison, {r}, 0", result)
    f.ret(f.line(f"insertvalue {first}, {q}, 1", result))
    return str(f)


def _reduce_scalar(x: Value) -> tuple[Value, Value]:
    """Significand times digits of 2/pi, shifted by the exponent: the top two bits are q mod 4."""
    f, how = x.function, REDUCTIONS[x.type.scalar]
    word = type_of(f"i{how.word}")
    bits = f.bits(x)
    exponent = f.operate(">>>", bits, how.mantissa)
    significand = (bits & ((1 << how.mantissa) - 1)) | (1 << how.mantissa)
    digits = f.constant(0, word)
    digits.name = str(_two_over_pi(how.word - 2 - how.margin))
    product = f.convert("zext", significand, word) * digits
    shift = f.convert("zext", exponent - (how.bias + how.mantissa - how.margin), word)
    turned = product << shift
    # The top bits as a fixed-point number of quarter turns; rounding moves it to [-1/2, 1/2].
    high = f.convert("trunc", f.operate(">>>", turned, how.word - 64), type_of("i64"))
    low = f.convert("trunc", f.operate(">>>", turned, how.word - 128), type_of("i64"))
    quarter = f.operate(">>>", high + (1 << 61), 62)
    rest = f.convert("sitofp", high - (quarter << 62), type_of("double"))
    below = f.convert("uitofp", low, type_of("double"))
    r = (rest + below * 2.0**-64) * (math.pi / 2 * 2.0**-62)
    if x.type.scalar == "float":
        return f.convert("fptrunc", r, x.type), f.convert("trunc", quarter, bits.type)
    return r, quarter


def _sine_polynomial(r: Value, square: Value) -> Value:
    f = r.function
    rest = _horner(square, POLYNOMIALS["sin", r.type.scalar])
    return f.fma(r * square, rest, r)


def _cosine_polynomial(square: Value) -> Value:
    f = square.function
    rest = _horner(square, POLYNOMIALS["cos", square.type.scalar])
    return f.fma(square * square, rest, f.fma(square, -0.5, 1))


def _horner(x: Value, coefficients: tuple[float, ...]) -> Value:
    result = x.function.constant(coefficients[-1], x.type)
    for coefficient in reversed(coefficients[:-1]):
        result = x.function.fma(result, x, coefficient)
    return result


def _turned(r: Value, q: Value) -> Value:
    """sin(r + q pi/2)."""
    f = r.function
    square = r * r
    odd = f.compare("!=", q & 1, 0)
    value = f.select(odd, _cosine_polynomial(square), _sine_polynomial(r, square))
    sign = (q & 2) << (8 * r.type.bytes - 2)
    return f.convert("bitcast", f.bits(value) ^ sign, r.type)


def sine(x: Value) -> Value:
    """sin x; x itself where x is tiny, which keeps the sign of zero."""
    f = x.function
    r, q = _reduce(x)
    size = f.intrinsic("llvm.fabs", x.type, x)
    return f.select(size < 2.0 ** -(REDUCTIONS[x.type.scalar].mantissa // 2 + 2), x, _turned(r, q))


def cosine(x: Value) -> Value:
    """cos x."""
    r, q = _reduce(x)
    return _turned(r, q + 1)


def tangent(x: Value) -> Value:
    """tan x: sine over cosine of the same remainder, or the negative inverse of that."""
    f = x.function
    r, q = _reduce(x)
    square = r * r
    upper, lower = _sine_polynomial(r, square), _cosine_polynomial(square)
    odd = f.compare("!=", q & 1, 0)
    result = f.select(odd, -lower, upper) / f.select(odd, upper, lower)
    size = f.intrinsic("llvm.fabs", x.type, x)
    return f.select(size < 2.0 ** -(REDUCTIONS[x.type.scalar].mantissa // 2 + 2), x, result)
