"""Formulas of rows that are computed element by element, and of those along a dimension.

Each is the array rule of its row (in `kkori.ops`) written once more, in the same order.
"""

from __future__ import annotations

import math
from typing import Any

from kkori.codegen.rules import NoRule, Rule, Term, formula

INFINITY = math.inf

# One scalar operation a row.

PLAIN = {name: name for name in (
    "add", "sub", "mul", "div", "neg", "abs", "sqrt", "exp", "exp2", "expm1", "log", "log2",
    "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh",
    "acosh", "atanh", "sigmoid", "erf", "floor", "ceil", "trunc", "pow", "lt", "le", "gt", "ge",
    "eq", "ne")}
PLAIN.update(maximum="max", minimum="min", pow_number="pow")


def plain(name: str) -> Rule:
    """The formula that is one scalar operation."""
    def apply(first: Any, *rest: Any) -> Term:
        if not isinstance(first, Term):
            return Term(rest[0].graph, rest[0].graph.constant(
                float(first), rest[0].dtype)).do(name, *rest)
        return first.do(name, *rest)
    return apply


BETWEEN_NUMBERS = ("add", "sub", "mul", "div", "lt", "le", "gt", "ge", "eq", "ne")
for _row, _name in PLAIN.items():
    formula(_row, varying=(0, 1) if _row in BETWEEN_NUMBERS else ())(plain(_name))


def exp(x: Term) -> Term:
    return x.do("exp")


def log1p(x: Term) -> Term:
    return x.do("log1p")


def sigmoid(x: Term) -> Term:
    return x.do("sigmoid")


def largest(x: Term, other: Any) -> Term:
    return x.do("max", other)


def smallest(x: Term, other: Any) -> Term:
    return x.do("min", other)


@formula("rsub", varying=(1,))
def rsub(x: Term, other: Any) -> Term:
    return -x + other if not isinstance(other, Term) else other - x


@formula("positive")
def positive(x: Term) -> Term:
    return x


@formula("square")
def square(x: Term) -> Term:
    return x * x


@formula("reciprocal")
def reciprocal(x: Term) -> Term:
    return 1 / x


@formula("rsqrt")
def rsqrt(x: Term) -> Term:
    return 1 / x.do("sqrt")


@formula("frac")
def frac(x: Term) -> Term:
    return x - x.do("trunc")


@formula("round", "round_decimals")
def round_(x: Term, decimals: Any) -> Term:
    """To so many digits; halves go to the even neighbour."""
    if not decimals:
        return x.do("round")
    scale = 10.0 ** abs(decimals)
    if decimals > 0:
        return (x * scale).do("round") / scale
    return (x / scale).do("round") * scale


@formula("div_trunc")
def div_trunc(x: Any, other: Any) -> Term:
    return (x / other).do("trunc")


@formula("deg2rad")
def deg2rad(x: Term) -> Term:
    return x * (math.pi / 180)


@formula("rad2deg")
def rad2deg(x: Term) -> Term:
    return x * (180 / math.pi)


@formula("sign", "sgn")
def sign(x: Term) -> Term:
    return (x > 0).as_number(x.dtype) - (x < 0).as_number(x.dtype)


@formula("isnan")
def isnan(x: Term) -> Term:
    return x.do("ne", x)


@formula("isinf")
def isinf(x: Term) -> Term:
    return abs(x).do("eq", INFINITY)


@formula("isfinite")
def isfinite(x: Term) -> Term:
    return abs(x) < INFINITY


@formula("isposinf")
def isposinf(x: Term) -> Term:
    return x.do("eq", INFINITY)


@formula("isneginf")
def isneginf(x: Term) -> Term:
    return x.do("eq", -INFINITY)


def truth(x: Any) -> Any:
    """A truth value, or whether a number is not 0 (NaN is not)."""
    if isinstance(x, Term) and x.dtype in ("f4", "f8"):
        return x.do("ne", 0.0)
    return x


@formula("logical_not")
def logical_not(x: Term) -> Term:
    return ~truth(x)


@formula("logical_and")
def logical_and(x: Term, other: Any) -> Term:
    return truth(x) & truth(other)


@formula("logical_or")
def logical_or(x: Term, other: Any) -> Term:
    return truth(x) | truth(other)


@formula("logical_xor")
def logical_xor(x: Term, other: Any) -> Term:
    return bitwise_xor(truth(x), truth(other))


@formula("bitwise_not")
def bitwise_not(x: Term) -> Term:
    return ~x


@formula("bitwise_and")
def bitwise_and(x: Any, other: Any) -> Term:
    return x & other


@formula("bitwise_or")
def bitwise_or(x: Any, other: Any) -> Term:
    return x | other


def bitwise_xor(x: Any, other: Any) -> Term:
    return (x | other) & ~(x & other)


formula("bitwise_xor")(bitwise_xor)


@formula("where")
def where(condition: Term, yes: Any, no: Any) -> Term:
    return condition.choose(yes, no)


@formula("masked_fill")
def masked_fill(x: Term, mask: Term, value: Any) -> Term:
    return mask.choose(value, x)


@formula("clamp", "clamp_min", "clamp_max", "clamp_tensor", varying=(1, 2))
def clamp(x: Term, low: Any, high: Any) -> Term:
    x = x if low is None else largest(x, low)
    return x if high is None else smallest(x, high)


@formula("to_copy")
def to_copy(x: Term, kind: Any) -> Term:
    code = kind.numpy.str[1:]
    if code == "b1" and x.dtype in ("f4", "f8"):
        return truth(x)
    if code not in ("f4", "f8"):
        raise NoRule("a conversion to a type that loops do not compute in")
    return x.as_number(code)


@formula("pow_scalar")
def pow_scalar(x: Term, exponent: Any) -> Term:
    """Exponents that people write by multiplication, as the array rule has it."""
    if exponent in POWERS:
        return POWERS[exponent](x)
    if isinstance(exponent, (int, float)) and exponent in range(4, 9) and x.dtype == "f4":
        return whole_power(x.as_number("f8"), int(exponent)).as_number("f4")
    return x.do("pow", exponent)


def whole_power(x: Term, exponent: int) -> Term:
    found = x * x * x if exponent % 2 else x * x
    for _ in range(exponent // 2 - 1):
        found = found * (x * x)
    return found


POWERS = {1: positive, 2: square, 3: lambda x: x * x * x, 0.5: lambda x: x.do("sqrt"),
          -1: reciprocal, -0.5: rsqrt, -2: lambda x: 1 / (x * x)}


# Several operands.

@formula("lerp")
def lerp(x: Term, end: Term, weight: Any) -> Term:
    """From x to end, computed from the nearer side."""
    step = end - x
    near, far = x + step * weight, end - step * (1 - weight)
    if not isinstance(weight, Term):
        return near if abs(weight) < 0.5 else far
    return (abs(weight) < 0.5).choose(near, far)


def weighted_sum(x: Term, product: Term, beta: Any, alpha: Any) -> Term:
    """beta x + alpha product."""
    if beta == 0:
        raise NoRule("an addend that is not read")
    found = product if alpha == 1 else product * alpha
    return (x if beta == 1 else x * beta) + found


@formula("addcmul")
def addcmul(x: Term, one: Term, two: Term, beta: Any, alpha: Any) -> Term:
    return weighted_sum(x, one * two, beta, alpha)


@formula("addcdiv")
def addcdiv(x: Term, one: Term, two: Term, beta: Any, alpha: Any) -> Term:
    return weighted_sum(x, one / two, beta, alpha)


@formula("addr")
def addr(x: Term, one: Term, two: Term, beta: Any, alpha: Any) -> Term:
    return weighted_sum(x, one.reshape((*one.shape, 1)) * two, beta, alpha)


@formula("fmax")
def fmax(x: Term, other: Term) -> Term:
    return behind_nan(x, other, largest(x, other))


@formula("fmin")
def fmin(x: Term, other: Term) -> Term:
    return behind_nan(x, other, smallest(x, other))


def behind_nan(x: Term, other: Term, found: Term) -> Term:
    """`found`, and where one of the two is NaN the other."""
    return x.do("ne", x).choose(other, other.do("ne", other).choose(x, found))


@formula("heaviside")
def heaviside(x: Term, values: Term) -> Term:
    return x.do("eq", 0.0).choose(values, (x > 0).as_number(x.dtype))


@formula("xlogy")
def xlogy(x: Any, y: Term) -> Term:
    """x log y, 0 where x is, but for NaN."""
    zero = x.do("eq", 0.0) & y.do("eq", y)
    return zero.choose(0.0, y.do("log") * x)


@formula("logaddexp")
def logaddexp(x: Term, other: Term) -> Term:
    """The larger, and what the smaller adds to it; equal infinities have no difference."""
    found = largest(x, other) + log1p(exp(-abs(x - other)))
    return x.do("eq", other).choose(x + math.log(2.0), found)


@formula("nan_to_num")
def nan_to_num(x: Term, nan: Any, high: Any, low: Any) -> Term:
    found = x.do("eq", INFINITY).choose(high, x.do("eq", -INFINITY).choose(low, x))
    return x.do("ne", x).choose(nan, found)


# Computed in float64 whatever the operand's type.

@formula("logit")
def logit(x: Term, eps: Any) -> Term:
    """log(x / (1 - x)), x limited to [eps, 1 - eps]."""
    wide = x.as_number("f8")
    if eps is not None:
        wide = smallest(largest(wide, eps), 1 - eps)
    return (wide.do("log") - log1p(-wide)).as_number(x.dtype)


@formula("sinc")
def sinc(x: Term) -> Term:
    """sin(pi x) / (pi x), 1 at 0."""
    scaled = x.as_number("f8") * math.pi
    return scaled.do("eq", 0.0).choose(1.0, scaled.do("sin") / scaled).as_number(x.dtype)
