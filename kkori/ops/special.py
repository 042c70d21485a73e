"""``torch.special`` and what of it is at the top level: one row a function.

Array rules compute in float64 and give the type they got; see `special_math` (erf),
`special_gamma`, `special_bessel`, `special_normal`, `special_polynomials`, `special_extra`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.core.dtype import get_default_dtype
from kkori.core.meta import MetaArray, empty
from kkori.ops import elementwise as el
from kkori.ops import special_bessel as bessel
from kkori.ops import special_extra as extra
from kkori.ops import special_gamma as gamma
from kkori.ops import special_math as normal_series
from kkori.ops import special_normal as normal
from kkori.ops.direct import tensors_only
from kkori.ops.namespaces import NAMES, member
from kkori.ops.special_polynomials import POLYNOMIALS, polynomial
from kkori.ops.table import METHODS, TORCH, binary, not_a_tensor, op, public, type_name, unary
from kkori.tensor import Tensor, wrap

ROOT_PI, ROOT_TWO = math.sqrt(math.pi), math.sqrt(2)


def wide(kernel: str, rule: Callable[..., Any]) -> Callable[..., Any]:
    """`rule` in float64 on real arrays of any type; `kernel` names it for types it lacks."""
    def computed(*arrays: Any) -> Any:
        kind = next(a.dtype for a in arrays if isinstance(a, np.ndarray))
        if kind.kind == "c":
            raise errors.no_kernel(kernel, arrays[0])
        if any(isinstance(a, MetaArray) for a in arrays):
            return empty(np.broadcast_shapes(*(np.shape(a) for a in arrays)), kind)
        if kind == np.float32 and rule is normal_series.erf_array:  # has its own for this type
            return rule(*arrays)
        found = rule(*(np.asarray(a, np.float64) for a in arrays))
        return found if kind == np.float64 else found.astype(kind)

    def of_one(input: Any) -> Any:
        return computed(input)

    def of_two(input: Any, other: Any) -> Any:
        return computed(input, other)

    return of_two if rule.__code__.co_argcount == 2 else of_one


def of_one(name: str, rule: Callable[..., Any], grad: Any = None, *, top: Sequence[str] = (),
           aliases: Sequence[str] = (), kernel: str = "", node: str | None = None,
           half: bool = True, doc: str = "") -> Callable[[Tensor], Tensor]:
    """A row of one tensor: ``torch.special.<name>``, and ``torch.<top>`` with methods."""
    run = unary(name if top else f"special_{name}", wide(kernel or name, rule), grad, floats=True,
                torch=False, node=node)
    for own in (name, *aliases):
        NAMES["special"][own] = public(asked(f"special_{own}", run, half, name, doc),
                                       name=f"special_{own}", torch=False, method=False)
    for own in top:
        public(asked(own, run, half, name, doc), name=own, inplace=True)
        TORCH[f"{own}_"] = METHODS[f"{own}_"]
    return run


def asked(called: str, run: Callable[[Tensor], Tensor], half: bool, name: str,
          doc: str) -> Callable[[Tensor], Tensor]:
    """The function that people call: what is no tensor is refused by name."""
    def function(input: Tensor) -> Tensor:
        if not isinstance(input, Tensor):
            raise not_a_tensor(called, "input", 1, input)
        if not half and input._array.dtype.itemsize == 2 and input._array.dtype.kind in "fV":
            raise errors.no_kernel(name, input._array)
        return run(input)
    function.__doc__ = f"{doc} (``torch.special.{name}``)."
    return function


def shared(name: str, function: Callable[..., Any]) -> None:
    """A function of the top level, under its other name in ``torch.special``."""
    member("special", name=name)(getattr(function, "__wrapped__", function))


# The error function.

erf = of_one("erf", normal_series.erf_array, lambda g, input: g * slope_of_erf(input),
             top=("erf",), kernel="erf_vml", doc="The error function")
erfc = of_one("erfc", normal_series.erfc_array, lambda g, input: -g * slope_of_erf(input),
              top=("erfc",), kernel="erfc_vml", doc="1 - erf(x), without cancellation")
erfinv = of_one("erfinv", normal.erfinv, lambda g, out: g * el.exp(out * out) * (ROOT_PI / 2),
                top=("erfinv",), kernel="erfinv_vml", doc="The inverse of the error function")
erfcx = of_one("erfcx", normal.erfcx,
               lambda g, input, out: g * (2 * input * out - 2 / ROOT_PI), half=False,
               doc="exp(x^2) erfc(x)")


def slope_of_erf(x: Tensor) -> Tensor:
    return el.exp(-x * x) * (2 / ROOT_PI)


# The normal distribution.

ndtr = of_one("ndtr", normal.ndtr, lambda g, input: g * el.exp(input * input * -0.5) / (
    ROOT_TWO * ROOT_PI), doc="The part of the standard normal distribution below x")
ndtri = of_one("ndtri", normal.ndtri, lambda g, out: g * el.exp(out * out * 0.5) * (
    ROOT_TWO * ROOT_PI), half=False, doc="The inverse of ndtr")
log_ndtr = of_one("log_ndtr", normal.log_ndtr, lambda g, input: g / erfcx(input * -(
    ROOT_TWO / 2)) * (ROOT_TWO / ROOT_PI), half=False, doc="log(ndtr(x)), without underflow")


def entropy(x: Any) -> Any:
    """-x log x; 0 at 0, -inf below."""
    inside = np.where(x > 0, x, 1.0)
    return np.where(x > 0, -x * np.log(inside), np.where(x == 0, 0.0, np.where(
        np.isnan(x), x, -np.inf)))


entr = of_one("entr", entropy, lambda g, input: g * (-1 - el.log(input)),
              doc="-x log x: the entropy of one outcome")


# The gamma function.

lgamma = of_one("gammaln", gamma.lgamma, lambda g, input: g * digamma(input), top=("lgamma",),
                kernel="lgamma_vml", node="LgammaBackward0", doc="log |gamma(x)|")
digamma = of_one("digamma", gamma.digamma, lambda g, input: g * _polygamma(input, 1),
                 top=("digamma",), aliases=("psi",), doc="The slope of log gamma")


def polygamma_array(input: Any, n: Any) -> Any:
    return wide("polygamma", lambda x: gamma.polygamma(x, n))(input)


_polygamma = op("polygamma", polygamma_array, {
    "input": lambda g, input, n: g * _polygamma(input, n + 1)})


def polygamma_named(called: str) -> Any:
    """torch.polygamma and torch.special.polygamma: order first."""
    def function(n: int, input: Tensor) -> Tensor:
        if not isinstance(n, (int, np.integer)) or isinstance(n, bool):
            raise TypeError(errors.message(
                f"{called}(): argument 'n' (position 1) must be int, not {type_name(n)}"))
        if not isinstance(input, Tensor):
            raise not_a_tensor(called, "input", 2, input)
        if n < 0:
            raise RuntimeError(errors.message("polygamma(n, x) does not support negative n."))
        return _polygamma(in_floats(input), int(n))  # type: ignore[no-any-return]
    function.__doc__ = "The derivative of log gamma of order n + 1, at `input`."
    return function


def in_floats(input: Tensor) -> Tensor:
    """Integers as default floats."""
    return input.to(get_default_dtype()) if input._array.dtype.kind in "iub" else input


polygamma = public(polygamma_named("polygamma"), name="polygamma", method=False)
NAMES["special"]["polygamma"] = public(polygamma_named("special_polygamma"),
                                       name="special_polygamma", torch=False, method=False)


@public(name="polygamma", torch=False, inplace=True)
def polygamma_method(input: Tensor, n: int) -> Tensor:
    """The derivative of log gamma of order n + 1."""
    found: Tensor = polygamma(n, input)
    return found


@member("special", name="multigammaln", top=("mvlgamma",), inplace=True)
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension `p`."""
    if p < 1:
        raise RuntimeError(errors.message("p has to be greater than or equal to 1"))
    input = in_floats(input)
    steps = wrap((np.arange(1 - p, 1) / 2).astype(input._array.dtype))
    found: Tensor = lgamma(input.unsqueeze(-1) + steps).sum(-1) + p * (p - 1) / 4 * math.log(
        math.pi)
    return found


def no_slope(name: str) -> Any:
    """The gradient rule of an argument for which PyTorch has none."""
    def rule(g: Tensor) -> Tensor:
        raise NotImplementedError(errors.message(
            f"the derivative for '{name}' is not implemented.",
            fix="detach that argument: x.detach()"))
    return rule


def of_two(name: str, rule: Callable[..., Any], grad: Any = None, *, top: Sequence[str] = (),
           doc: str = "") -> Callable[..., Tensor]:
    """A row of two operands, broadcast: ``torch.special.<name>``."""
    run = binary(top[0] if top else f"special_{name}", wide(name, rule), grad, floats=True,
                 torch=False)

    def function(input: Any, other: Any) -> Tensor:
        if top:
            tensors_only(f"special_{name}", input=input, other=other)
        if not isinstance(input, Tensor) and not isinstance(other, Tensor):
            raise TypeError(errors.message(
                f"special_{name}() received an invalid combination of arguments - got "
                f"({type_name(input)}, {type_name(other)}), but expected one of:"))
        return run(input, other)
    function.__doc__ = f"{doc} (``torch.special.{name}``)."
    member("special", name=name, top=top, inplace=True)(function)
    return run


zeta = of_two("zeta", lambda s, q: gamma.zeta(s, q), {
    "input": no_slope("special_zeta: self"),
    "other": lambda g, input, other: g * (-input * zeta(input + 1, other))},
    doc="Hurwitz's zeta function: the sum of (other + k)^-input")


def log1p_weighted(x: Any, y: Any) -> Any:
    return np.where((x == 0) & ~np.isnan(y), 0.0, x * np.log1p(y))


def log1p_slope(input: Any, other: Any) -> Any:
    """Slope of x log1p(y) along x, 0 where x is 0 and y not above -1."""
    logarithm = el.log1p(other) if isinstance(other, Tensor) else math.log1p(other)
    return el.where((input == 0) & (other <= -1), 0.0, logarithm)


xlog1py = of_two("xlog1py", log1p_weighted, {
    "input": lambda g, input, other: g * log1p_slope(input, other),
    "other": lambda g, input, other: g * input / (other + 1)},
    doc="input * log1p(other), 0 where input is 0")


def gamma_density(g: Tensor, input: Any, other: Tensor) -> Tensor:
    """Slope of the lower incomplete gamma function along its upper limit."""
    whole = lgamma(input) if isinstance(input, Tensor) else math.lgamma(input)
    return g * el.exp((input - 1) * el.log(other) - other - whole)


gammainc = of_two("gammainc", lambda a, x: extra.from_scipy("gammainc", "gammainc")(a, x), {
    "input": no_slope("igamma: input"), "other": gamma_density}, top=("igamma",),
    doc="The lower incomplete gamma function, regularized")
gammaincc = of_two("gammaincc", lambda a, x: extra.from_scipy("gammaincc", "gammaincc")(a, x), {
    "input": no_slope("igammac: input"),
    "other": lambda g, input, other: -gamma_density(g, input, other)}, top=("igammac",),
    doc="The upper incomplete gamma function, regularized")


# Bessel functions.

def over(value: Tensor, x: Tensor, at_zero: float) -> Tensor:
    """value / x, and `at_zero` where x is 0."""
    zero = x == 0
    return el.where(zero, at_zero, value / el.where(zero, 1.0, x))


i0 = of_one("i0", bessel.i0, lambda g, input: g * i1(input), top=("i0",),
            doc="The modified Bessel function of the first kind, order 0")
i0e = of_one("i0e", bessel.i0e, lambda g, input, out: g * (i1e(input) - el.sgn(input) * out),
             doc="exp(-|x|) i0(x)")
i1 = of_one("i1", bessel.i1, lambda g, input, out: g * (i0(input) - over(out, input, 0.5)),
            doc="The modified Bessel function of the first kind, order 1")
i1e = of_one("i1e", bessel.i1e, lambda g, input, out: g * (
    i0e(input) - out * el.sgn(input) - over(out, input, 0.5)), doc="exp(-|x|) i1(x)")
of_one("modified_bessel_i0", bessel.i0, half=False, doc="The same as i0, without a gradient")
of_one("modified_bessel_i1", bessel.i1, half=False, doc="The same as i1, without a gradient")


def scipy_rule(name: str, its_name: str) -> Callable[[Any], Any]:
    return lambda x: extra.from_scipy(name, its_name)(x)


for _name, _theirs in extra.OF_ONE.items():
    of_one(_name, scipy_rule(_name, _theirs), half=False,
           doc="A Bessel or Airy function, computed by SciPy")


def spherical(x: Any) -> Any:
    """sin(x) / x, by its series near 0."""
    near = np.abs(x) < 0.5
    square = np.where(near, x * x, 0.0)
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72 * (
        1 - square / 110 * (1 - square / 156)))))
    found = np.where(near, series, np.sin(x) / np.where(near, 1.0, x))
    return np.where(np.isinf(x), 0.0, found)


of_one("spherical_bessel_j0", spherical, half=False, doc="sin(x) / x")


# Polynomials.

def orthogonal(name: str) -> None:
    """``torch.special.<name>(x, n)``."""
    run = binary(f"special_{name}", wide(name, lambda x, n: polynomial(name)(x, n)), floats=True,
                 torch=False)

    def function(x: Any, n: Any) -> Tensor:
        return run(x, n)
    function.__doc__ = f"The polynomial of degree `n` at `x` (``torch.special.{name}``)."
    member("special", name=name)(function)


for _name in POLYNOMIALS:
    orthogonal(_name)


# Sines and logits.

def sinc_array(x: Any) -> Any:
    """sin(pi x) / (pi x), 1 at 0."""
    scaled = np.pi * np.where(x == 0, 1.0, x)
    return np.where(x == 0, 1.0, np.sin(scaled) / scaled)


def sinc_gradient(g: Tensor, input: Tensor) -> Tensor:
    x = input * math.pi
    slope = over(over(x * el.cos(x) - el.sin(x), x, 0.0), input, 0.0)
    return g * el.conj(slope)


sinc = unary("sinc", lambda x: sinc_complex(x) if x.dtype.kind == "c" else _sinc(x),
             sinc_gradient, floats=True, doc="sin(pi x) / (pi x), 1 at 0 (``torch.sinc``).")
_sinc = wide("sinc", sinc_array)


def sinc_complex(x: Any) -> Any:
    return sinc_array(x).astype(x.dtype)


def logit_array(input: Any, eps: Any) -> Any:
    """log(x / (1 - x)), x limited to [eps, 1 - eps] where eps is given."""
    x = input.astype(np.float64)
    if eps is not None:
        x = np.clip(x, eps, 1 - eps)
    return (np.log(x) - np.log1p(-x)).astype(input.dtype)


def logit_gradient(g: Tensor, input: Tensor, eps: Any) -> Tensor:
    low = 0.0 if eps is None or eps < 0 else eps
    inside = (input >= low) & (input <= 1 - low)
    slope = g / (input * (1 - input))
    return el.where(inside, slope, math.nan if eps is None or eps < 0 else 0.0)


_logit = op("logit", logit_array, {"input": logit_gradient})


@member("special", top=("logit",), inplace=True)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), x first limited to [eps, 1 - eps] if `eps` is given."""
    if not isinstance(input, Tensor):
        raise not_a_tensor("logit", "input", 1, input)
    if input.is_complex():
        raise errors.no_kernel("logit", input._array)
    found: Tensor = _logit(in_floats(input), eps)
    return found


TORCH["logit_"] = METHODS["logit_"]

# Under their other names.

for _name, _theirs in {"expit": "sigmoid", "exp2": "exp2", "expm1": "expm1", "log1p": "log1p",
                       "round": "round", "xlogy": "xlogy", "sinc": "sinc",
                       "logsumexp": "logsumexp"}.items():
    shared(_name, TORCH[_theirs])


@member("special", out=False)
def softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """``torch.softmax``."""
    found: Tensor = TORCH["softmax"](input, dim, dtype=dtype)
    return found


@member("special", out=False)
def log_softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """``torch.log_softmax``."""
    found: Tensor = TORCH["log_softmax"](input, dim, dtype=dtype)
    return found


__all__ = ["erf", "erfc", "erfcx", "erfinv", "ndtr", "ndtri", "log_ndtr", "entr", "lgamma",
           "digamma", "polygamma", "mvlgamma", "zeta", "xlog1py", "gammainc", "gammaincc", "i0",
           "i0e", "i1", "i1e", "sinc", "logit", "softmax", "log_softmax"]
