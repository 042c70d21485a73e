"""Formulas of rows that are computed element by element, and of those along a dimension.

Each is the array rule of its row (in `kkori.ops`) written once more, in the same order.
"""

from __future__ import annotations

import math
from math import prod
from typing import Any

from kkori.codegen.rules import NoRule, Rule, Term, formula

INFINITY = math.inf

# One scalar operation a row.

PLAIN = {name: name for name in (
    "add", "sub", "mul", "div", "neg", "abs", "sqrt", "exp", "exp2", "expm1", "log", "log2",
    "log1p", "sin", "cos", "atan", "tanh", "sigmoid", "erf", "floor", "ceil", "trunc", "pow",
    "lt", "le", "gt", "ge", "eq", "ne")}
PLAIN.update(maximum="max", minimum="min")


def plain(name: str) -> Rule:
    """The formula that is one scalar operation."""
    def apply(first: Any, *rest: Any) -> Term:
        if not isinstance(first, Term):
            return Term(rest[0].graph, rest[0].graph.constant(
                float(first), rest[0].dtype)).do(name, *rest)
        return first.do(name, *rest)
    return apply


for _row, _name in PLAIN.items():
    formula(_row)(plain(_name))


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


@formula("rsub")
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


@formula("tan")
def tan(x: Term) -> Term:
    return x.do("sin") / x.do("cos")


@formula("frac")
def frac(x: Term) -> Term:
    return x - x.do("trunc")


@formula("round")
def round_(x: Term, decimals: Any) -> Term:
    if decimals:
        raise NoRule("rounding to decimals")
    return x.do("round")


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


@formula("logical_not", "bitwise_not")
def logical_not(x: Term) -> Term:
    return ~x


@formula("logical_and", "bitwise_and")
def logical_and(x: Term, other: Term) -> Term:
    return x & other


@formula("logical_or", "bitwise_or")
def logical_or(x: Term, other: Term) -> Term:
    return x | other


@formula("where")
def where(condition: Term, yes: Any, no: Any) -> Term:
    return condition.choose(yes, no)


@formula("masked_fill")
def masked_fill(x: Term, mask: Term, value: Any) -> Term:
    return mask.choose(value, x)


@formula("clamp", "clamp_min", "clamp_max", "clamp_tensor")
def clamp(x: Term, low: Any, high: Any) -> Term:
    x = x if low is None else largest(x, low)
    return x if high is None else smallest(x, high)


@formula("to_copy")
def to_copy(x: Term, kind: Any) -> Term:
    code = getattr(kind, "str", "")[1:]
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


# Activations; `how` holds their settings.

@formula("relu")
def relu(x: Term) -> Term:
    return largest(x, 0.0)


@formula("relu_backward")
def relu_backward(g: Term, out: Term) -> Term:
    return (out <= 0).choose(0.0, g)


@formula("sigmoid_backward")
def sigmoid_backward(g: Term, out: Term) -> Term:
    return g * (out * (1 - out))


ROOT_HALF, NORMAL = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
TANH_SCALE, TANH_CUBE = math.sqrt(2 / math.pi), 0.044715


def normal_cdf(x: Term) -> Term:
    return ((x * ROOT_HALF).do("erf") + 1) * 0.5


def gelu_tanh(x: Term) -> Term:
    inner = (x * x * (TANH_CUBE * TANH_SCALE) + TANH_SCALE) * x
    return (inner.do("tanh") + 1) * 0.5


@formula("gelu")
def gelu(x: Term, how: Any) -> Term:
    return (gelu_tanh(x) if how else normal_cdf(x)) * x


@formula("gelu_backward")
def gelu_backward(g: Term, x: Term, how: Any) -> Term:
    if not how:
        return (exp(x * x * -0.5) * (x * NORMAL) + normal_cdf(x)) * g
    share = gelu_tanh(x)
    slope = x * x * (3 * TANH_CUBE) + 1
    return (share + x * (2 * TANH_SCALE) * share * (1 - share) * slope) * g


@formula("silu")
def silu(x: Term, how: Any) -> Term:
    return sigmoid(x) * x


@formula("silu_backward")
def silu_backward(g: Term, x: Term, how: Any) -> Term:
    share = sigmoid(x)
    return ((1 - share) * x + 1) * share * g


def tanh_softplus(x: Term) -> Term:
    e = exp(smallest(x, 20.0))
    e = e * (e + 2)
    return e / (e + 2)


@formula("mish")
def mish(x: Term, how: Any) -> Term:
    return tanh_softplus(x) * x


@formula("mish_backward")
def mish_backward(g: Term, x: Term, how: Any) -> Term:
    t = tanh_softplus(x)
    return (t + x * sigmoid(x) * (1 - t * t)) * g


@formula("softplus")
def softplus(x: Term, how: Any) -> Term:
    beta, threshold = how
    z = x if beta == 1 else x * beta
    found = log1p(exp(smallest(z, threshold)))
    return (z > threshold).choose(x, found if beta == 1 else found / beta)


@formula("softplus_backward")
def softplus_backward(g: Term, x: Term, how: Any) -> Term:
    beta, threshold = how
    z = x * beta
    return (z > threshold).choose(g, g * sigmoid(z))


@formula("log_sigmoid")
def log_sigmoid(x: Term, how: Any) -> Term:
    return smallest(x, 0.0) - log1p(exp(-abs(x)))


@formula("log_sigmoid_backward")
def log_sigmoid_backward(g: Term, x: Term, how: Any) -> Term:
    return sigmoid(-x) * g


@formula("elu", "celu")
def elu(x: Term, how: Any) -> Term:
    alpha, scale, rate = how
    return (smallest(x, 0.0) * rate).do("expm1") * (alpha * scale) + largest(x, 0.0) * scale


@formula("elu_backward", "celu_backward")
def elu_backward(g: Term, x: Term, how: Any) -> Term:
    alpha, scale, rate = how
    low = exp(smallest(x, 0.0) * rate) * (alpha * scale * rate)
    return (x <= 0).choose(low * g, g * scale)


@formula("leaky_relu")
def leaky_relu(x: Term, slope: Any) -> Term:
    scaled = x * slope
    return largest(scaled, x) if 0 <= slope <= 1 else (x > 0).choose(x, scaled)


@formula("leaky_relu_backward")
def leaky_relu_backward(g: Term, x: Term, slope: Any) -> Term:
    return (x > 0).choose(g, g * slope)


@formula("prelu_kernel")
def prelu(x: Term, weight: Term) -> Term:
    return (x > 0).choose(x, x * weight)


@formula("hardtanh")
def hardtanh(x: Term, how: Any) -> Term:
    return smallest(largest(x, how[0]), how[1])


@formula("hardtanh_backward")
def hardtanh_backward(g: Term, x: Term, how: Any) -> Term:
    return ((x <= how[0]) | (x >= how[1])).choose(0.0, g)


def six_steps(x: Term) -> Term:
    return smallest(largest(x + 3, 0.0), 6.0)


@formula("hardsigmoid")
def hardsigmoid(x: Term, how: Any) -> Term:
    return six_steps(x) / 6


@formula("hardsigmoid_backward")
def hardsigmoid_backward(g: Term, x: Term, how: Any) -> Term:
    return ((x > -3) & (x < 3)).choose(g / 6, 0.0)


@formula("hardswish")
def hardswish(x: Term, how: Any) -> Term:
    return six_steps(x) * x / 6


@formula("hardswish_backward")
def hardswish_backward(g: Term, x: Term, how: Any) -> Term:
    return (x <= -3).choose(0.0, (x < 3).choose(g * (x / 3 + 0.5), g))


@formula("threshold")
def threshold(x: Term, how: Any) -> Term:
    return (x <= how[0]).choose(how[1], x)


@formula("threshold_backward")
def threshold_backward(g: Term, x: Term, how: Any) -> Term:
    return (x <= how[0]).choose(0.0, g)


# Along a dimension.

def along(x: Term, axis: Any) -> Any:
    return None if axis is None else (axis,)


def total(x: Term, axis: Any) -> Term:
    return x.reduce("add", along(x, axis), True)


@formula("softmax")
def softmax(x: Term, axis: Any) -> Term:
    found = exp(x - x.reduce("max", along(x, axis), True))
    return found / total(found, axis)


@formula("softmax_backward")
def softmax_backward(g: Term, out: Term, axis: Any) -> Term:
    found = g * out
    return found - out * total(found, axis)


@formula("log_softmax")
def log_softmax(x: Term, axis: Any) -> Term:
    found = x - x.reduce("max", along(x, axis), True)
    return found - total(exp(found), axis).do("log")


@formula("log_softmax_backward")
def log_softmax_backward(g: Term, out: Term, axis: Any) -> Term:
    return g - exp(out) * total(g, axis)


@formula("logsumexp")
def logsumexp(x: Term, axes: Any, keepdim: bool) -> Term:
    top = x.reduce("max", axes, True)
    top = abs(top).do("eq", INFINITY).choose(0.0, top)
    found = exp(x - top).reduce("add", axes, True).do("log") + top
    return found if keepdim else found.reshape(x.reduce("add", axes, False).shape)


@formula("amax")
def amax(x: Term, axes: Any, keepdim: bool) -> Term:
    return x.reduce("max", axes, keepdim)


@formula("amin")
def amin(x: Term, axes: Any, keepdim: bool) -> Term:
    return x.reduce("min", axes, keepdim)


@formula("max_all")
def max_all(x: Term) -> Term:
    return x.reduce("max", None, False)


@formula("min_all")
def min_all(x: Term) -> Term:
    return x.reduce("min", None, False)


def count(x: Term, axes: Any) -> int:
    """How many elements a sum along `axes` has."""
    return prod(x.shape) if axes is None else prod(x.shape[axis] for axis in axes)


@formula("var")
def var(x: Term, axes: Any, correction: Any, keepdim: bool) -> Term:
    gap = x - x.reduce("add", axes, True) / count(x, axes)
    divisor = count(x, axes) - correction
    return (gap * gap).reduce("add", axes, keepdim) / max(divisor, 0)


@formula("std")
def std(x: Term, axes: Any, correction: Any, keepdim: bool) -> Term:
    return var(x, axes, correction, keepdim).do("sqrt")


def normalized(x: Term, weight: Any, bias: Any, view: Any, axes: Any, place: Any,
               eps: Any) -> tuple[Term, Term, Term]:
    """(x - mean) / sqrt(var + eps) along `axes` of `view`, scaled and shifted."""
    wide = x.reshape(view)
    mean = wide.reduce("add", axes, True) / count(wide, axes)
    gap = wide - mean
    spread = (gap * gap).reduce("add", axes, True) / count(wide, axes)
    found = (gap * rsqrt(spread + eps)).reshape(x.shape)
    found = found if weight is None else found * weight.reshape(place)
    return found if bias is None else found + bias.reshape(place), mean, spread


@formula("standardize_backward")
def standardize_backward(g: Term, x: Term, weight: Any, mean: Term, spread: Term, view: Any,
                         axes: Any, place: Any, eps: Any) -> tuple[Term, Term, Term]:
    """Gradients of input, weight and bias."""
    rate = rsqrt(spread + eps)
    hat = (x.reshape(view) - mean) * rate
    others = tuple(d for d, n in enumerate(place) if n == 1)
    length = (prod(place),)
    to_weight = (g * hat.reshape(x.shape)).reduce("add", others, False).reshape(length)
    to_bias = g.reduce("add", others, False).reshape(length)
    wide = (g if weight is None else g * weight.reshape(place)).reshape(view)
    inner = (wide * hat).reduce("add", axes, True) / count(wide, axes)
    found = wide - wide.reduce("add", axes, True) / count(wide, axes) - hat * inner
    return (found * rate).reshape(x.shape), to_weight, to_bias


for _row in ("native_layer_norm", "native_group_norm", "native_batch_norm"):
    formula(_row)(normalized)
