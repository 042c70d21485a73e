"""exp, log, tanh, sin, erf and their kin as LLVM text, for vectors of any width.

No library has these on every platform, and calling one element at a time costs ten times as much.
Each function reduces its argument to a short interval, evaluates one polynomial there (see
`coefficients`) and undoes the reduction; both sides of a case are computed and selected, so there
is no branch but one: sin and cos of very large arguments. Nothing relies on `fast` flags: NaN,
infinities, signed zeros and denormals come out as IEEE 754 and PyTorch have them. tests/codegen
hold the table of error bounds.

Use ``inline("exp", f, x)`` to write the instructions into a `Function` being written, `define` for
a function to be called from any other text (inlined by the assembler), or `emit` for one that is
really called. A call costs 5 to 8 % alone in a loop, and spills every live vector register.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kkori.codegen.coefficients import ERF_EDGE, ERF_LAST, POLYNOMIALS
from kkori.codegen.target import Target
from kkori.codegen.text import Function, Module, Value, type_of
from kkori.codegen.trigonometry import cosine, sine, tangent

__all__ = ["FUNCTIONS", "Definition", "define", "emit", "inline"]

LN2 = math.log(2.0)
INFINITY = math.inf


class Format(NamedTuple):
    """What the reductions must know of a floating type."""

    mantissa: int  # stored bits of the significand
    bias: int
    ln2: tuple[float, float]  # high part times any exponent is exact; high + low
    log2e: tuple[float, float]  # 1 / ln 2, likewise in two parts
    log10e: tuple[float, float]  # 1 / ln 10
    log10_2: tuple[float, float]
    exp_range: tuple[float, float]  # beyond these exp is 0 or inf
    exp2_range: tuple[float, float]
    tiny: float  # smallest normal number
    small: float  # below this, f(x) = x for the odd functions here
    expm1_low: float  # below this, exp(x) - 1 is -1
    expm1_high: float  # from here on tanh(x / 2) is 1

    @property
    def magic(self) -> float:
        """Adding this leaves a number's nearest integer in the low bits of the sum."""
        return 1.5 * 2.0**self.mantissa

    @property
    def magic_bits(self) -> int:
        """`magic` as an integer."""
        return (self.bias + self.mantissa << self.mantissa) | 1 << (self.mantissa - 1)


FORMATS = {
    "float": Format(23, 127, (0.693359375, -0.00021219444005469057),
                    (1.44269502162933349609375, 1.92596303351e-8),
                    (0.4342944920063019, -1.0103050052231683e-08),
                    (0.301025390625, 4.605039066518657e-06),
                    (-104.5, 89.0), (-151.0, 129.0), 2.0**-126, 2.0**-13, -20.0, 20.0),
    "double": Format(52, 1023, (0.693147180369123816490, 1.90821492927058770002e-10),
                     (1.44269504088896338700, 2.03552737409310331e-17),
                     (0.4342944819032518, 1.098319650216765e-17),
                     (0.301029995663157, 8.241712586023572e-13),
                     (-746.0, 710.0), (-1076.0, 1025.0), 2.0**-1022, 2.0**-28, -40.0, 44.0),
}


def _format(x: Value) -> Format:
    return FORMATS[x.type.scalar]


def polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """Horner's rule, lowest power first."""
    f = x.function
    result = f.constant(coefficients[-1], x.type)
    for coefficient in reversed(coefficients[:-1]):
        result = f.fma(result, x, coefficient)
    return result


def table(name: str, x: Value, form: str | None = None) -> Value:
    """The fitted polynomial called `name`, at x."""
    return polynomial(x, POLYNOMIALS[name, form or x.type.scalar])


def between(x: Value, low: float, high: float) -> Value:
    """x limited to [low, high]; NaN stays NaN, as every comparison with it is false."""
    f = x.function
    x = f.select(x < low, low, x)
    return f.select(x > high, high, x)


def nearest(x: Value) -> tuple[Value, Value]:
    """The nearest integer as a float, and a float whose low bits hold it (see `Format.magic`)."""
    magic = _format(x).magic
    shifted = x + magic
    return shifted - magic, shifted


def power_of_two(shifted: Value) -> Value:
    """2**n for an n that `nearest` gave, if that is a normal number."""
    f, form = shifted.function, _format(shifted)
    bits = (f.bits(shifted) << form.mantissa) + (form.bias << form.mantissa)
    return f.convert("bitcast", bits, shifted.type)


def scaled(x: Value, exponent: Value) -> Value:
    """x * 2**exponent in two steps, so that it may end as a denormal or overflow."""
    half, half_shifted = nearest(exponent * 0.5)
    _, rest_shifted = nearest(exponent - half)
    return x * power_of_two(half_shifted) * power_of_two(rest_shifted)


def absolute(x: Value) -> Value:
    """|x|."""
    return x.function.intrinsic("llvm.fabs", x.type, x)


def with_sign_of(x: Value, sign: Value) -> Value:
    """|x| with the sign of another number."""
    return x.function.intrinsic("llvm.copysign", x.type, x, sign)


# --- exponentials -------------------------------------------------------------------------------


def split_exp(x: Value) -> tuple[Value, Value, Value]:
    """x = n ln 2 + r: n, its shifted form, and exp(r) - 1."""
    f, form = x.function, _format(x)
    n, shifted = nearest(x * (1 / LN2))
    r = f.fma(n, -form.ln2[0], x)
    r = f.fma(n, -form.ln2[1], r)
    return n, shifted, f.fma(r * r, table("exp", r), r)


def exp(x: Value) -> Value:
    """e**x."""
    n, _, less_one = split_exp(between(x, *_format(x).exp_range))
    return scaled(less_one + 1, n)


def _exp_normal(x: Value) -> Value:
    """e**x where that is a normal number: one scaling instead of two."""
    _, shifted, less_one = split_exp(x)
    return (less_one + 1) * power_of_two(shifted)


def exp2(x: Value) -> Value:
    """2**x."""
    x = between(x, *_format(x).exp2_range)
    n, _ = nearest(x)
    r = x - n
    return scaled(x.function.fma(r, table("exp2", r), 1), n)


def _expm1_between(x: Value) -> Value:
    """e**x - 1 where e**x is a normal number."""
    _, shifted, less_one = split_exp(x)
    scale = power_of_two(shifted)
    return x.function.fma(scale, less_one, scale - 1)


def expm1(x: Value) -> Value:
    """e**x - 1. The scale is halved meanwhile, as 2**n may overflow where the result does not."""
    f, form = x.function, _format(x)
    n, _, less_one = split_exp(between(x, form.expm1_low, form.exp_range[1]))
    half = power_of_two(nearest(n - 1)[1])
    result = f.fma(half, less_one, half - 0.5) * 2
    return f.select(absolute(x) < 2.0 ** -(form.mantissa + 2), x, result)


def tanh(x: Value) -> Value:
    """With t = expm1(2|x|): t / (t + 2)."""
    form = _format(x)
    t = _expm1_between(between(absolute(x) * 2, 0.0, form.expm1_high))
    return with_sign_of(t / (t + 2), x)


def sigmoid(x: Value) -> Value:
    """1 / (1 + e**-|x|), times e**-|x| for negative x: nothing overflows, denormals are kept."""
    f = x.function
    t = exp(-absolute(x))
    return f.select(x < 0, t, 1) / (t + 1)


def sigmoid_normal(x: Value) -> Value:
    """`sigmoid` for code that flushes denormals: a result that would be one is 0. Shorter."""
    f, low = x.function, math.log(_format(x).tiny)
    size = -absolute(x)
    t = _exp_normal(f.select(size < low, low, size))
    t = f.select(size < low, 0.0, t)
    return f.select(x < 0, t, 1) / (t + 1)


# --- logarithms ---------------------------------------------------------------------------------


def split_log(x: Value) -> tuple[Value, Value]:
    """x = 2**e m with m in [1/sqrt 2, sqrt 2): e (a float) and m, for positive normal x."""
    f, form = x.function, _format(x)
    one = form.bias << form.mantissa
    root = one - (1 << form.mantissa) + int((math.sqrt(0.5) * 2 - 1) * 2**form.mantissa)
    moved = f.bits(x) + (one - root)
    raised = f.operate(">>>", moved, form.mantissa) + form.magic_bits
    exponent = f.convert("bitcast", raised, x.type) - (form.magic + form.bias)
    bits = (moved & ((1 << form.mantissa) - 1)) + root
    return exponent, f.convert("bitcast", bits, x.type)


def normal(x: Value) -> tuple[Value, Value]:
    """x scaled out of the denormals, and the exponent this added (both as floats)."""
    f, form = x.function, _format(x)
    small = x < form.tiny
    lift = form.mantissa + 1
    return (f.select(small, x * 2.0**lift, x),
            f.select(small, f.constant(-float(lift), x.type), 0.0))


def log_special(x: Value, result: Value) -> Value:
    """log's values at 0, infinity, NaN and below 0."""
    f = x.function
    result = f.select(f.compare("==", x, 0), -INFINITY, result)
    result = f.select(f.compare("==", x, INFINITY), INFINITY, result)
    return f.select(f.compare("unordered", x, 0), x, f.select(x < 0, math.nan, result))


def _log_near_one(m: Value) -> Value:
    """log(1 + m) - m for a small m: the part that may be rounded."""
    f = m.function
    if m.type.scalar == "float":
        return f.fma(m * table("log", m), m * m, m * m * -0.5)
    s = m / (m + 2)
    square = m * m * 0.5
    return f.fma(s, square + s * s * table("atanh", s * s), -square)


def log(x: Value) -> Value:
    """Natural logarithm."""
    f, form = x.function, _format(x)
    lifted, less = normal(x)
    e, m = split_log(lifted)
    e, part = e + less, m - 1
    rest = f.fma(e, form.ln2[1], _log_near_one(part))
    return log_special(x, f.fma(e, form.ln2[0], part + rest))


def log2(x: Value) -> Value:
    """Logarithm to base 2; exact at powers of 2."""
    f, form = x.function, _format(x)
    lifted, less = normal(x)
    e, m = split_log(lifted)
    part = m - 1
    rest = f.fma(_log_near_one(part), form.log2e[0], part * form.log2e[1])
    return log_special(x, e + less + f.fma(part, form.log2e[0], rest))


def log10(x: Value) -> Value:
    """Logarithm to base 10."""
    f, form = x.function, _format(x)
    lifted, less = normal(x)
    e, m = split_log(lifted)
    e, part = e + less, m - 1
    log10e, low = form.log10e
    rest = f.fma(_log_near_one(part), log10e, part * low)
    rest = f.fma(e, form.log10_2[1], rest)
    return log_special(x, f.fma(e, form.log10_2[0], f.fma(part, log10e, rest)))


def log1p(x: Value) -> Value:
    """log(1 + x). What rounding 1 + x lost is added to its significand."""
    f, form = x.function, _format(x)
    y = x + 1
    one = y - x  # 1, as far as y holds it
    lost = (x - (y - one)) + (1 - one)
    e, m = split_log(y)
    top = form.bias - 1.0
    shrink = power_of_two(nearest(-f.select(e > top, top, e))[1])
    part = f.fma(lost, shrink, m - 1)
    rest = f.fma(e, form.ln2[1], _log_near_one(part))
    result = log_special(y, f.fma(e, form.ln2[0], part + rest))
    return f.select(absolute(x) < 2.0 ** -(form.mantissa + 2), x, result)


# --- the rest -----------------------------------------------------------------------------------


def erf(x: Value) -> Value:
    """Near 0 x plus an odd polynomial; further out 1 - exp(-p), p a polynomial of |x|."""
    f, scalar = x.function, x.type.scalar
    size = absolute(x)
    near = f.fma(x, table("erf", x * x), x)
    edge = ERF_EDGE[scalar]
    far = 1 - _exp_normal(-table("erf_tail", between(size, edge, ERF_LAST[scalar]) - edge))
    return f.select(size < edge, near, with_sign_of(far, x))


def atan(x: Value) -> Value:
    """Arc tangent: |x| is brought below tan(pi/8) by one of two identities, sharing a division."""
    f = x.function
    size = absolute(x)
    large, middle = size > math.tan(math.pi * 3 / 8), size > math.tan(math.pi / 8)
    upper = f.select(large, -1, f.select(middle, size - 1, size))
    lower = f.select(large, size, f.select(middle, size + 1, 1))
    t = upper / lower
    base = f.select(large, f.constant(math.pi / 2, x.type),
                    f.select(middle, f.constant(math.pi / 4, x.type), 0.0))
    error = _rounding_of(math.pi / 4, x.type.scalar)
    low = f.select(large, f.constant(2 * error, x.type),
                   f.select(middle, f.constant(error, x.type), 0.0))
    rest = f.fma(t * t * t, table("atan", t * t), low)
    return with_sign_of(base + (t + rest), x)


def _rounding_of(value: float, scalar: str) -> float:
    """pi/4 less its nearest number of the type (the only constant this is asked for)."""
    exact = 0.78539816339744830962, 3.061616997868383e-17
    if scalar == "double":
        return exact[1]
    return value - 0.785398185253143310546875


def sqrt(x: Value) -> Value:
    """Square root, correctly rounded by the instruction."""
    return x.function.intrinsic("llvm.sqrt", x.type, x)


def rsqrt(x: Value) -> Value:
    """1 / sqrt(x)."""
    return 1 / sqrt(x)


def reciprocal(x: Value) -> Value:
    """1 / x."""
    return 1 / x


def _elsewhere(room: str, name: str) -> Callable[..., Value]:
    """A function of a file that is built on this one; it is imported when used."""
    def write(*values: Value) -> Value:
        module = importlib.import_module(f"kkori.codegen.{room}")
        result: Value = getattr(module, name)(*values)
        return result
    return write


FUNCTIONS: dict[str, tuple[int, Callable[..., Value]]] = {
    "exp": (1, exp), "exp2": (1, exp2), "expm1": (1, expm1), "log": (1, log), "log2": (1, log2),
    "log10": (1, log10),
    "log1p": (1, log1p), "tanh": (1, tanh), "sigmoid": (1, sigmoid),
    "sigmoid_normal": (1, sigmoid_normal), "sin": (1, sine),
    "cos": (1, cosine), "erf": (1, erf), "atan": (1, atan), "sqrt": (1, sqrt),
    "rsqrt": (1, rsqrt), "reciprocal": (1, reciprocal), "pow": (2, _elsewhere("power", "power")),
    "tan": (1, tangent), "asin": (1, _elsewhere("arcs", "asin")),
    "acos": (1, _elsewhere("arcs", "acos")), "round": (1, _elsewhere("rounding", "nearest_even")),
    **{name: (1, _elsewhere("rounding", name)) for name in ("floor", "ceil", "trunc")},
    **{name: (1, _elsewhere("hyperbolic", name))
       for name in ("sinh", "cosh", "asinh", "acosh", "atanh")},
}


def inline(name: str, function: Function, *values: Value) -> Value:
    """Write the instructions of ``name(*values)`` into `function`; the result."""
    return FUNCTIONS[name][1](*values)


class Definition(NamedTuple):
    """An internal function: its symbol, and each line group its text needs, by name.

    Groups of several definitions may be merged (``{**one.parts, **other.parts}``), so that nothing
    is declared twice; ``"\\n".join(parts.values())`` is text that can be put into any module.
    """

    symbol: str
    parts: dict[str, str]

    @property
    def text(self) -> str:
        """All of it, for a module with no other definition."""
        return "\n".join(self.parts.values())


def define(name: str, width: int, dtype: str, target: Target, inlined: bool = True) -> Definition:
    """The function `name` of `width` lanes of ``"float"`` or ``"double"`` (width 0: a scalar)."""
    kind = type_of(dtype, width)
    symbol = f"kkori.{name}.{kind.suffix}"
    module = Module(target)
    arguments = [(f"x{number}", kind) for number in range(FUNCTIONS[name][0])]
    with module.function(symbol, kind, arguments, internal=True) as f:
        f.ret(inline(name, f, *f.arguments))
    head = f"define internal {kind.text} @{symbol}("
    marked = {name: text.replace(") {", ") alwaysinline {", 1) if text.startswith(head) else text
              for name, text in module.parts().items()}
    return Definition(symbol, marked if inlined else module.parts())


def emit(name: str, width: int, dtype: str, target: Target) -> tuple[str, str]:
    """Text of an internal function and its symbol, to be called; see `define` for several."""
    definition = define(name, width, dtype, target, inlined=False)
    return definition.text, definition.symbol
