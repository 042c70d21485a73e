"""Elementwise operations: one row each, with its gradient in our own operations."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from kkori.autograd.spare import last_use
from kkori.core import dtype as types
from kkori.core import errors
from kkori.core.promotion import cast, common
from kkori.ops.pieces import gradient_row
from kkori.ops.table import (
    TORCH,
    binary,
    invalid_combination,
    not_a_tensor,
    op,
    operand,
    public,
    unary,
)
from kkori.tensor import Tensor

LN2, LN10 = math.log(2.0), math.log(10.0)


def conj(value: Any) -> Any:
    """The complex conjugate; real tensors and numbers themselves, at no cost."""
    if isinstance(value, Tensor):
        return value.conj() if value._array.dtype.kind == "c" else value
    return value.conjugate() if isinstance(value, builtins.complex) else value


def zero(g: Tensor) -> Tensor:
    """The gradient of what stays the same between its steps."""
    return g.new_zeros(g._array.shape)


def mask(condition: Tensor, value: Any) -> Tensor:
    """`value` where `condition` holds, 0 elsewhere."""
    return where(condition, value, 0.0)


# One argument. `floats`: integers are converted to the default floating type first.

exp = unary("exp", np.exp, lambda g, out: g * conj(out), floats=True)
exp2 = unary("exp2", np.exp2, lambda g, out: g * conj(out) * LN2, floats=True,
             aliases=("special_exp2",))
expm1 = unary("expm1", np.expm1, lambda g, out: g * (conj(out) + 1), floats=True)
log = unary("log", np.log, lambda g, input: g / conj(input), floats=True)
log2 = unary("log2", np.log2, lambda g, input: g / (conj(input) * LN2), floats=True)
log10 = unary("log10", np.log10, lambda g, input: g / (conj(input) * LN10), floats=True)
log1p = unary("log1p", np.log1p, lambda g, input: g / (conj(input) + 1), floats=True,
        node="Log1PBackward0")
sqrt = unary("sqrt", np.sqrt, lambda g, out: g / (2 * conj(out)), floats=True)
rsqrt = unary("rsqrt", lambda x: np.reciprocal(np.sqrt(x)),
              lambda g, out: -0.5 * g * conj(out) ** 3, floats=True)
reciprocal = unary("reciprocal", np.reciprocal, lambda g, out: -g * conj(out * out), floats=True)
sin = unary("sin", np.sin, lambda g, input: g * cos(conj(input)), floats=True)
cos = unary("cos", np.cos, lambda g, input: -g * sin(conj(input)), floats=True)
tan = unary("tan", np.tan, lambda g, out: g * conj(1 + out * out), floats=True)
asin = unary("asin", np.arcsin, lambda g, input: g * conj(rsqrt(1 - input * input)),
             floats=True, aliases=("arcsin",))
acos = unary("acos", np.arccos, lambda g, input: -g * conj(rsqrt(1 - input * input)),
             floats=True, aliases=("arccos",))
atan = unary("atan", np.arctan, lambda g, input: g / conj(input * input + 1),
             floats=True, aliases=("arctan",))
sinh = unary("sinh", np.sinh, lambda g, input: g * cosh(conj(input)), floats=True)
cosh = unary("cosh", np.cosh, lambda g, input: g * sinh(conj(input)), floats=True)
tanh = unary("tanh", np.tanh, lambda g, out: g * conj(1 - out * out), floats=True)
asinh = unary("asinh", np.arcsinh, lambda g, input: g * conj(rsqrt(input * input + 1)),
              floats=True, aliases=("arcsinh",))
acosh = unary("acosh", np.arccosh,
              lambda g, input: g * conj(rsqrt(input - 1) * rsqrt(input + 1)),
              floats=True, aliases=("arccosh",))
atanh = unary("atanh", np.arctanh, lambda g, input: g / conj(1 - input * input),
              floats=True, aliases=("arctanh",))


def sigmoid_array(x: Any) -> Any:
    """1 / (1 + exp(-x)) in one buffer."""
    if x.dtype.kind != "f" or x.__class__ is not np.ndarray:
        return 1 / (1 + np.exp(-x))
    out = np.negative(x)
    out = np.exp(out, out=out) if out.__class__ is np.ndarray else np.exp(out)
    out += 1
    return np.divide(1, out, out=out) if out.__class__ is np.ndarray else 1 / out


@last_use
def sigmoid_gradient(g: Tensor, out: Tensor) -> Tensor:
    """One row for real numbers; complex ones need the conjugate."""
    if out._array.dtype.kind == "c":
        return g * conj(out * (1 - out))
    return sigmoid_backward(g, out)


sigmoid = unary("sigmoid", sigmoid_array, sigmoid_gradient, floats=True,
                aliases=("special_expit",))
sigmoid_backward = gradient_row(
    "sigmoid_backward", lambda g, out, to=None: np.multiply(g, out * (1 - out), out=to),
    {"g": lambda g, out: g * (out * (1 - out)),
     "out": lambda gs, g, out: gs * g * (1 - 2 * out)})

neg = unary("neg", np.negative, lambda g: -g, aliases=("negative",))
positive = unary("positive", np.positive, lambda g: g, inplace=False)
abs = unary("abs", np.abs, lambda g, input: g * sgn(input), aliases=("absolute",))
square = unary("square", np.square, lambda g, input: g * (2 * conj(input)), node="PowBackward0")


def sign_array(x: Any) -> Any:
    """-1, 0 or 1; 0 for NaN too, as in PyTorch."""
    return x.copy() if x.dtype.kind == "b" else np.subtract(x > 0, x < 0, dtype=x.dtype)


sign = unary("sign", sign_array, lambda g: zero(g))


def sgn_array(x: Any) -> Any:
    """x / |x|, and 0 at 0; for real numbers the sign."""
    if x.dtype.kind != "c":
        return sign_array(x)
    size = np.abs(x)
    return np.where(size == 0, 0, x / np.where(size == 0, 1, size)).astype(x.dtype)


def sgn_gradient(g: Tensor, input: Tensor, out: Tensor) -> Tensor:
    if input._array.dtype.kind != "c":
        return zero(g)
    size = abs(input)
    part = (g / out - conj(g / out)) / 2 * out
    return where(size == 0, 0.0 * g, part / where(size == 0, 1.0, size))


def integers_as_they_are(function: Any) -> Any:
    """Rounding leaves integers alone; NumPy would make them floats."""
    return lambda x: x.copy() if x.dtype.kind in "iu" else function(x)


sgn = unary("sgn", sgn_array, sgn_gradient)
floor = unary("floor", integers_as_they_are(np.floor), lambda g: zero(g))
ceil = unary("ceil", integers_as_they_are(np.ceil), lambda g: zero(g))
trunc = unary("trunc", integers_as_they_are(np.trunc), lambda g: zero(g), aliases=("fix",))
frac = unary("frac", lambda x: x - np.trunc(x), lambda g: g)
deg2rad = unary("deg2rad", np.deg2rad, lambda g: g * (math.pi / 180), floats=True,
        node="Deg2RadBackward0")
rad2deg = unary("rad2deg", np.rad2deg, lambda g: g * (180 / math.pi), floats=True,
        node="Rad2DegBackward0")


BITS = {2: np.int16, 4: np.int32, 8: np.int64}


def relu_backward_array(g: Any, out: Any, to: Any = None) -> Any:
    """g, but 0 where out is not above 0 (NaN lets g pass).

    The bits of g are multiplied by 0 or 1: infinity times 0 would be NaN.
    """
    bits = BITS[g.dtype.itemsize]
    passes = np.logical_not(np.less_equal(out, 0))
    to = None if to is None else to.view(bits)
    return np.multiply(g.view(bits), passes, out=to).view(g.dtype)


relu_gradient = last_use(lambda g, out: relu_backward(g, out))
relu = unary("relu", lambda x: np.maximum(x, 0), relu_gradient)
relu_backward = gradient_row("relu_backward", relu_backward_array, {"g": relu_gradient},
                             node="ThresholdBackwardBackward0")

# One argument, a truth value out: no gradient.

logical_not = unary("logical_not", np.logical_not)
bitwise_not = unary("bitwise_not", np.bitwise_not)
isnan = unary("isnan", np.isnan, inplace=False)
isinf = unary("isinf", np.isinf, inplace=False)
isfinite = unary("isfinite", np.isfinite, inplace=False)
isposinf = unary("isposinf", lambda x: np.equal(x, np.inf), inplace=False)
isneginf = unary("isneginf", lambda x: np.equal(x, -np.inf), inplace=False)
signbit = unary("signbit", lambda x: x < 0 if x.dtype.kind in "iub" else np.signbit(x),
                inplace=False)
isreal = unary("isreal", lambda x: np.imag(x) == 0, inplace=False)

# Two arguments.

_add = binary("add", np.add, {"input": lambda g: g, "other": lambda g: g}, torch=False)
_sub = binary("sub", np.subtract, {"input": lambda g: g, "other": lambda g: -g}, torch=False)
_rsub = binary("rsub", lambda x, y: np.subtract(y, x),
               {"input": lambda g: -g, "other": lambda g: g}, torch=False, node="RsubBackward1")
mul = binary("mul", np.multiply, {"input": lambda g, other: g * conj(other),
                                  "other": lambda g, input: g * conj(input)},
             aliases=("multiply",), numbers="both")
_div = binary("div", np.true_divide,
              {"input": lambda g, other: g / conj(other),
               "other": lambda g, input, other: -g * conj(input / (other * other))},
              floats=True, torch=False)


def alpha_checked(alpha: Any, *values: Any) -> None:
    """RuntimeError where a fractional `alpha` meets integers."""
    kind = common([getattr(value, "_array", value) for value in values]).kind
    if isinstance(alpha, float) and kind < types.FLOATING:
        raise RuntimeError(errors.message(
            "For integral input tensors, argument alpha must not be a floating "
            "point number."))


@public(inplace=True)
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input + alpha * other``, broadcast (``torch.add``)."""
    input = operand("add", input, other)
    if alpha != 1:
        alpha_checked(alpha, input, other)
        other = other * alpha
    return _add(input, other)


def bool_subtraction_refused(*values: Any) -> None:
    """RuntimeError: truth values have no difference."""
    if any(getattr(getattr(value, "_array", None), "dtype", None) == np.bool_ for value in values):
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` "
            "or `logical_xor()` operator instead."
            if len([v for v in values if isinstance(v, Tensor)]) == 2 else
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are "
            "trying to invert a mask, use the `~` or `logical_not()` operator instead.")


@public(inplace=True, aliases=("subtract",))
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input - alpha * other``, broadcast (``torch.sub``)."""
    input = operand("sub", input, other)
    if alpha != 1:
        alpha_checked(alpha, input, other)
        other = other * alpha
    try:
        return _sub(input, other)
    except TypeError:
        bool_subtraction_refused(input, other)
        raise


@public(overloaded=True)
def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """``other - alpha * input`` (``torch.rsub``)."""
    try:
        return _rsub(input if alpha == 1 else input * alpha, other)
    except TypeError:
        bool_subtraction_refused(input, other)
        raise


@public(inplace=True, aliases=("divide",))
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``; `rounding_mode`: None, "trunc" or "floor" (``torch.div``)."""
    input = operand("div", input, other)
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return _div_trunc(input, other)
    raise RuntimeError(errors.message(
        "div expected rounding_mode to be one of None, 'trunc', or 'floor' but "
        f"found '{rounding_mode}'"))


@public(inplace=True)
def true_divide(input: Any, other: Any) -> Tensor:
    """``input / other`` (``torch.true_divide``)."""
    return _div(input, other)


def floor_divide_array(x: Any, y: Any) -> Any:
    """Floor of the quotient; division of an integer by zero is an error, as in PyTorch."""
    zero_refused(x, y)
    if np.asarray(x).dtype.kind not in "f":
        return np.floor_divide(x, y)
    return np.where(np.equal(y, 0), np.true_divide(x, y), np.floor_divide(x, y))


def zero_refused(x: Any, y: Any) -> None:
    """RuntimeError for integers divided by zero."""
    if np.asarray(x).dtype.kind in "iu" and np.any(np.equal(y, 0)):
        raise RuntimeError(errors.message("ZeroDivisionError"))


def div_trunc_array(x: Any, y: Any) -> Any:
    """The quotient cut towards zero."""
    zero_refused(x, y)
    if np.asarray(x).dtype.kind == "f":
        return np.trunc(np.true_divide(x, y))
    quotient = np.floor_divide(x, y)
    return quotient + ((np.remainder(x, y) != 0) & ((x < 0) != (y < 0)))


def remainder_array(x: Any, y: Any) -> Any:
    """Remainder with the divisor's sign (Python's ``%``)."""
    zero_refused(x, y)
    if np.asarray(x).dtype.kind != "f":
        return np.remainder(x, y)
    found = np.fmod(x, y)
    return np.where((found != 0) & ((found < 0) != np.less(y, 0)), found + y, found)


def fmod_array(x: Any, y: Any) -> Any:
    """Remainder with the dividend's sign (C's fmod)."""
    zero_refused(x, y)
    return np.fmod(x, y)


_div_trunc = binary("div_trunc", div_trunc_array, {"input": lambda g: zero(g),
                                                   "other": lambda g: zero(g)}, torch=False,
                    node="DivBackward2")
floor_divide = binary("floor_divide", floor_divide_array,
                      {"input": lambda g: zero(g), "other": lambda g: zero(g)},
                      node="NotImplemented", numbers="both")
remainder = binary("remainder", remainder_array,
                   {"input": lambda g: g,
                    "other": lambda g, input, other: -g * div(input, other,
                                                              rounding_mode="floor")},
                   numbers="either", node="RemainderBackward1")
fmod = binary("fmod", fmod_array,
              {"input": lambda g: g,
               "other": lambda g, input, other: -g * div(input, other, rounding_mode="trunc")},
              numbers="other", node="FmodBackward1")


def pow_array(x: Any, y: Any) -> Any:
    """x to the power y, by multiplications for the exponents people write."""
    if isinstance(y, (int, float)):
        shortcut = SMALL_POWERS.get(y)
        if shortcut is not None and x.dtype.kind in "fc":
            return shortcut(x)
        if y == 2:
            return np.square(x) if x.dtype.kind != "b" else np.power(x, y)
    try:
        return np.power(x, y)
    except ValueError as error:
        if "negative" in str(error):
            raise RuntimeError(errors.message(
                "Integers to negative integer powers are not allowed.")) from None
        raise


def whole_power(exponent: int) -> Any:
    """The rule for a whole exponent of 4 or more: multiplied in float64 and rounded once.

    For float32 that is 40 times faster than np.power; other types have no wider one at hand.
    """
    def power(x: Any) -> Any:
        if x.dtype.char != "f":
            return np.power(x, exponent)
        wide = x.astype(np.float64)
        square = wide * wide
        result = square * wide if exponent % 2 else square
        for _ in range(exponent // 2 - 1):
            result = result * square
        return result.astype(np.float32)
    return power


SMALL_POWERS: dict[float, Any] = {
    2: np.square, 3: lambda x: x * x * x, 1: np.positive, 0.5: np.sqrt, -1: np.reciprocal,
    -0.5: lambda x: np.reciprocal(np.sqrt(x)), -2: lambda x: np.reciprocal(x * x),
    **{exponent: whole_power(exponent) for exponent in range(4, 9)},
}


def pow_scalar_gradient(g: Tensor, input: Tensor, other: Any) -> Tensor:
    if other == 0:
        return zero(g)
    if other == 2:
        return g * (conj(input) * 2)
    return g * conj(input ** (other - 1) * other)


def pow_base_gradient(g: Tensor, input: Tensor, other: Any) -> Tensor:
    exponent = other - 1
    return g * conj(where(other == 0, 0.0, other * input ** exponent))


def pow_exponent_gradient(g: Tensor, input: Any, other: Tensor, out: Tensor) -> Tensor:
    base = input if isinstance(input, Tensor) else other.new_tensor(input)
    if base._array.dtype.kind == "c" or other._array.dtype.kind == "c":
        flat = (base == 0) & (other.real >= 0)
    else:
        flat = (base == 0) & (other >= 0)
    return g * conj(where(flat, 0.0, out * log(base)))


_pow_scalar = binary("pow_scalar", pow_array, {"input": pow_scalar_gradient}, torch=False,
                     node="PowBackward0")
_pow = binary("pow", pow_array, {"input": pow_base_gradient, "other": pow_exponent_gradient},
              torch=False, node="PowBackward1")
_pow_number = binary("pow_number", pow_array, {"other": pow_exponent_gradient}, torch=False,
                     node="PowBackward2")


@public(inplace=True, overloaded=True)
def pow(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent``, broadcast; either may be a number (``torch.pow``)."""
    operand("pow", input, exponent, "either")
    if not isinstance(exponent, Tensor):
        return _pow_scalar(input, exponent)
    return _pow(input, exponent) if isinstance(input, Tensor) else _pow_number(input, exponent)


@public(inplace=True, overloaded=True)
def float_power(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent`` in float64 or complex128 (``torch.float_power``)."""
    operand("float_power", input, exponent, "either")
    complex_ = any(isinstance(v, builtins.complex) or isinstance(v, Tensor) and v.is_complex()
                   for v in (input, exponent))
    wide = types.complex128 if complex_ else types.float64
    base, power = (value.to(wide) if isinstance(value, Tensor) else value
                   for value in (input, exponent))
    return pow(base, power)


def larger_gradient(g: Tensor, input: Any, other: Any) -> Tensor:
    """Gradient for the larger operand; equals share it, and NaN counts as larger."""
    return mask(~(input < other), where(input == other, g * 0.5, g))


maximum = binary("maximum", np.maximum,
                 {"input": larger_gradient,
                  "other": lambda g, input, other: larger_gradient(g, other, input)},
                 inplace=False)
minimum = binary("minimum", np.minimum,
                 {"input": lambda g, input, other: larger_gradient(g, other, input),
                  "other": larger_gradient}, inplace=False)
fmax = binary("fmax", np.fmax,
              {"input": lambda g, input, other: mask((input >= other) | isnan(other), g),
               "other": lambda g, input, other: mask(~((input >= other) | isnan(other)), g)},
              inplace=False)
fmin = binary("fmin", np.fmin,
              {"input": lambda g, input, other: mask((input <= other) | isnan(other), g),
               "other": lambda g, input, other: mask(~((input <= other) | isnan(other)), g)},
              inplace=False)
atan2 = binary("atan2", np.arctan2,
               {"input": lambda g, input, other: g * other / (input * input + other * other),
                "other": lambda g, input, other: -g * input / (input * input + other * other)},
               floats=True, aliases=("arctan2",))
hypot = binary("hypot", np.hypot, {"input": lambda g, input, out: g * (input / out),
                                   "other": lambda g, other, out: g * (other / out)})


def logaddexp_array(x: Any, y: Any) -> Any:
    """log(exp(x) + exp(y)); of complex numbers, by their real parts."""
    if np.asarray(x).dtype.kind != "c":
        return np.logaddexp(x, y)
    smaller, larger = np.where(x.real < y.real, x, y), np.where(x.real < y.real, y, x)
    gap = np.where(smaller == larger, 0, smaller - larger)
    return (np.log1p(np.exp(gap)) + larger).astype(x.dtype)


logaddexp = binary("logaddexp", logaddexp_array,
                   {"input": lambda g, input, out: g * conj(exp(input - out)),
                    "other": lambda g, other, out: g * conj(exp(other - out))}, inplace=False)
logaddexp2 = binary("logaddexp2", np.logaddexp2,
                    {"input": lambda g, input, out: g * exp2(input - out),
                     "other": lambda g, other, out: g * exp2(other - out)}, inplace=False)
copysign = binary("copysign", np.copysign,
                  {"input": lambda g, input, out: mask(input != 0, g * sign(input) * sign(out)),
                   "other": lambda g: zero(g)}, floats=True, numbers="other")
xlogy = binary("xlogy", lambda x, y: np.where((x == 0) & ~np.isnan(y), 0, x * np.log(y)),
               {"input": lambda g, input, other: g * xlogy_slope(input, other),
                "other": lambda g, input, other: g * input / other}, floats=True,
               aliases=("special_xlogy",), numbers="either")


def xlogy_slope(input: Any, other: Any) -> Any:
    """Slope of x log y along x: log y, but 0 where x is 0 and y not above it."""
    logarithm = log(other) if isinstance(other, Tensor) else math.log(other)
    return where((input == 0) & (other <= 0), 0.0, logarithm)


ldexp = binary("ldexp", lambda x, y: x * np.exp2(y),
               {"input": lambda g, other: g * conj(2.0 ** other),
                "other": lambda g, out: g * conj(out) * LN2}, floats=True)
nextafter = binary("nextafter", np.nextafter, {
    "input": lambda g, input, other: mask(input != other, g),
    "other": lambda g: zero(g)})
_heaviside = binary("heaviside", lambda x, y: np.where(x == 0, y, (x > 0).astype(x.dtype)),
                    torch=False)


@public(inplace=True)
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 below zero, 1 above, `values` at zero; both of one type (``torch.heaviside``)."""
    for place, (name, part) in enumerate((("input", input), ("values", values)), 1):
        if not isinstance(part, Tensor):
            raise not_a_tensor("heaviside", name, place, part)
    if input._array.dtype != values._array.dtype:
        raise RuntimeError(errors.message(
            "heaviside is not yet implemented for tensors with different dtypes."))
    return _heaviside(input, values)


gcd = binary("gcd", np.gcd)
lcm = binary("lcm", np.lcm)

# Comparison and logic: no gradient.

def ordered(name: str, compare: Any) -> Any:
    """`compare`, which NumPy would also do for complex numbers, for numbers that have an order."""
    def rule(x: Any, y: Any) -> Any:
        if x.dtype.kind == "c":
            raise errors.no_kernel(name, x)
        return compare(x, y)
    return rule



eq = binary("eq", np.equal, numbers="other")
ne = binary("ne", np.not_equal, aliases=("not_equal",), numbers="other")
lt = binary("lt", ordered("lt", np.less), aliases=("less",), numbers="other")
le = binary("le", ordered("le", np.less_equal), aliases=("less_equal",), numbers="other")
gt = binary("gt", ordered("gt", np.greater), aliases=("greater",), numbers="other")
ge = binary("ge", ordered("ge", np.greater_equal), aliases=("greater_equal",), numbers="other")
logical_and = binary("logical_and", np.logical_and)
logical_or = binary("logical_or", np.logical_or)
logical_xor = binary("logical_xor", np.logical_xor)
bitwise_and = binary("bitwise_and", np.bitwise_and, numbers="either")
bitwise_or = binary("bitwise_or", np.bitwise_or, numbers="either")
bitwise_xor = binary("bitwise_xor", np.bitwise_xor, numbers="either")
bitwise_left_shift = binary("bitwise_left_shift", np.left_shift, numbers="either")
bitwise_right_shift = binary("bitwise_right_shift", np.right_shift, numbers="either")

# Three arguments: promoted together, then one row.

_where = op("where", lambda condition, input, other: np.where(condition, input, other), {
    "input": lambda g, condition: where(condition, g, 0.0),
    "other": lambda g, condition: where(condition, 0.0, g)})


def same_type(*values: Any) -> list[Any]:
    """Tensors and numbers as tensors and numbers of one type (casts are followed)."""
    first = values[0]._array.dtype if values[0].__class__ is Tensor else None
    if first is not None and builtins.all(
            value.__class__ is Tensor and value._array.dtype is first for value in values):
        return list(values)
    row = common([getattr(value, "_array", value) for value in values])
    return [value.to(row) if isinstance(value, Tensor) and value._array.dtype != row.numpy
            else value for value in values]


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """`input` where `condition` holds, else `other`; alone: indices of what holds."""
    if not isinstance(condition, Tensor):
        raise invalid_combination("where", condition, input, other)
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if condition._array.dtype.kind != "b" and condition._array.dtype != np.uint8:
        raise RuntimeError(errors.message(
            "where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{condition.dtype.alias}", fix="torch.where(condition != 0, input, other)"))
    input, other = same_type(input, other)
    if input.__class__ is other.__class__ is Tensor and \
            input._array.dtype is other._array.dtype:
        return _where(condition, input, other)
    kind = common([getattr(value, "_array", value) for value in (input, other)])
    return _where(condition, *[value if isinstance(value, Tensor) else cast(value, kind)
                               for value in (input, other)])


TORCH["where"] = where


@public(torch=False, name="where")
def where_method(input: Tensor, condition: Tensor, other: Any) -> Any:
    """`input` where `condition` holds, else `other`."""
    return where(condition, input, other)


def clamp_array(input: Any, low: Any, high: Any) -> Any:
    """Between low and high; the upper bound wins where they cross, NaN stays."""
    found = input if low is None else np.maximum(input, low)
    found = found if high is None else np.minimum(found, high)
    kind = input.dtype  # numbers make bfloat16 arrays wider
    return found if found.dtype is kind else found.astype(kind)


def clamp_gradient(g: Tensor, input: Tensor, low: Any, high: Any) -> Tensor:
    inside = True
    if low is not None:
        inside = inside & (input >= low)
    if high is not None:
        inside = inside & (input <= high)
    return mask(inside, g)  # type: ignore[arg-type]


CLAMP_GRADIENT = {
    "input": clamp_gradient,
    "low": lambda g, input, low, high: mask(
        (input < low) if high is None else (input < low) & (low < high), g),
    "high": lambda g, input, low, high: mask(
        (input > high) if low is None else (input > high) | (low >= high), g)}
_clamp, _clamp_tensor, _clamp_min, _clamp_max = (
    op(name, clamp_array, CLAMP_GRADIENT, node=node) for name, node in {
        "clamp": "ClampBackward1", "clamp_tensor": "ClampBackward0",
        "clamp_min": "ClampMinBackward0", "clamp_max": "ClampMaxBackward0"}.items())


@public(inplace=True, aliases=("clip",), overloaded=True)
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """`input` limited to [`min`, `max`]; numbers or tensors (``torch.clamp``)."""
    if min is None and max is None:
        raise RuntimeError(errors.message(
            "torch.clamp: At least one of 'min' or 'max' must not be None"))
    bounds = isinstance(min, Tensor) or isinstance(max, Tensor)
    return clamped(_clamp_tensor if bounds else _clamp, input, min, max)


def clamped(run: Any, input: Tensor, min: Any, max: Any) -> Tensor:
    """One of the rows of clamp, on operands of one type."""
    given = [value for value in (input, min, max) if value is not None]
    row = common([getattr(value, "_array", value) for value in given])
    if input._array.dtype != row.numpy:
        input = input.to(row)
    low, high = (value.to(row) if isinstance(value, Tensor) else value
                 for value in (min, max))
    return run(input, low, high)


@public(inplace=True, overloaded=True)
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """`input` limited to at least `min`."""
    return clamped(_clamp_min, input, min, None)


@public(inplace=True, overloaded=True)
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """`input` limited to at most `max`."""
    return clamped(_clamp_max, input, None, max)


def lerp_array(input: Any, end: Any, weight: Any) -> Any:
    """From input to end, computed from the nearer side as PyTorch does."""
    if input.dtype.itemsize == 2 and input.dtype.kind in "fV":
        wide = [value.astype(np.float32) if isinstance(value, np.ndarray) else value
                for value in (input, end, weight)]
        return lerp_array(*wide).astype(input.dtype)
    near = np.abs(weight) < 0.5
    step = end - input
    if not isinstance(near, np.ndarray):
        return input + weight * step if near else end - step * (1 - weight)
    return np.where(near, input + weight * step, end - step * (1 - weight)).astype(step.dtype)


_lerp = op("lerp", lambda input, end, weight: lerp_array(input, end, weight),
           {"input": lambda g, weight: g * conj(1 - weight),
            "end": lambda g, weight: g * conj(weight),
            "weight": lambda g, input, end: g * conj(end - input)})


@public(inplace=True, overloaded=True)
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """``input + weight * (end - input)`` (``torch.lerp``)."""
    if not isinstance(end, Tensor):
        raise invalid_combination("lerp", input, end, weight)
    for name, value in (("end", end), ("weight", weight)):
        if isinstance(value, Tensor) and value._array.dtype != input._array.dtype:
            raise RuntimeError(errors.message(
                f"expected dtype {_plain(input)} for `{name}` but got dtype {_plain(value)}"))
    return _lerp(input, end, weight)


def _plain(tensor: Tensor) -> str:
    names = {"float32": "float", "float64": "double", "int64": "long int", "int32": "int"}
    return names.get(tensor.dtype.name, tensor.dtype.name)
