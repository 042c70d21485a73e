"""Activation functions: each one row, its slope another, both with rules of few passes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.spare import last_use
from kkori.core import dtype as types
from kkori.ops import elementwise as el
from kkori.ops.direct import direct, floats_only, in_place, not_for
from kkori.ops.elementwise import sigmoid_array
from kkori.ops.special_math import erf_array
from kkori.ops.table import METHODS, TORCH, not_a_tensor, public
from kkori.tensor import Tensor, dimension

Rule = Callable[..., Any]


def activation(name: str, forward: Rule, backward: Rule, bend: Rule | None = None, *,
               node: str | None = None) -> Callable[..., Tensor]:
    """A row and the row of its gradient.

    `forward(x, how)` and `backward(grad, x, how)` are array rules, `how` the settings;
    `bend(input, how)` is the second derivative in our own operations, None where it is 0.
    """
    rules: dict[str, Rule] = {"grad": last_use(lambda g, input, how: back(g, input, how))}
    if bend is not None:
        rules["input"] = lambda g, grad, input, how: g * grad * bend(input, how)
    back = direct(f"{name}_backward", lambda grad, input, how: backward(grad, input, how), rules,
                  pieces=True)
    return direct(name, lambda input, how: forward(input, how),
                  {"input": rules["grad"]}, node=node)


def product(first: Any, second: Any) -> Any:
    """`first` times `second`, in the buffer of `first`."""
    first *= second
    return first


def into(ufunc: Any, x: Any, *others: Any) -> Any:
    """``ufunc(x, *others)`` in the buffer of `x` (numbers without dimensions have none)."""
    return ufunc(x, *others, out=x if x.ndim else None)


# Smooth ones.

ROOT_HALF, NORMAL = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
TANH_SCALE, TANH_CUBE = math.sqrt(2 / math.pi), 0.044715


def normal_cdf(x: Any) -> Any:
    """How much of a standard normal distribution lies below x."""
    found = erf_array(x * ROOT_HALF)
    found += 1
    found *= 0.5
    return found


def gelu_array(x: Any, how: Any) -> Any:
    """x times the normal distribution up to x, exactly or by a tanh (Hendrycks, Gimpel 2016)."""
    return product(gelu_tanh(x) if how else normal_cdf(x), x)


def gelu_tanh(x: Any) -> Any:
    """The tanh approximation of the normal distribution."""
    found = x * x
    found *= TANH_CUBE * TANH_SCALE
    found += TANH_SCALE
    found *= x
    found = into(np.tanh, found)
    found += 1
    found *= 0.5
    return found


def gelu_slope(x: Any, how: Any) -> Any:
    if not how:
        density = np.exp(x * x * -0.5)
        density *= x * NORMAL
        density += normal_cdf(x)
        return density
    share = gelu_tanh(x)
    slope = x * x * (3 * TANH_CUBE) + 1
    return share + 2 * TANH_SCALE * x * share * (1 - share) * slope


def gelu_bend(x: Tensor, how: Any) -> Tensor:
    if not how:
        return el.exp(x * x * -0.5) * NORMAL * (2 - x * x)
    inner = TANH_SCALE * (x + TANH_CUBE * x ** 3)
    first = TANH_SCALE * (1 + 3 * TANH_CUBE * x * x)
    t = el.tanh(inner)
    curve = 6 * TANH_SCALE * TANH_CUBE * x
    return (1 - t * t) * (first + 0.5 * x * (curve - 2 * t * first * first))


_gelu = activation("gelu", gelu_array, lambda g, x, how: product(gelu_slope(x, how), g), gelu_bend)


@public(torch=False, method=False, out=False)
def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """x Φ(x), Φ being the normal distribution; `approximate="tanh"` for the fast formula."""
    floats_only(input, "gelu", "GeluKernelImpl")
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return _gelu(input, approximate == "tanh")


def silu_slope(g: Any, x: Any, how: Any) -> Any:
    share = sigmoid_array(x)
    slope = 1 - share
    slope *= x
    slope += 1
    slope *= share
    return product(slope, g)


def silu_bend(x: Tensor, how: Any) -> Tensor:
    s = el.sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


_silu = activation("silu", lambda x, how: product(sigmoid_array(x), x), silu_slope, silu_bend)


def tanh_softplus(x: Any) -> Any:
    """tanh(log(1 + exp(x))) without overflow: a ratio of polynomials in exp(x)."""
    e = np.minimum(x, 20)
    e = into(np.exp, e)
    e *= e + 2
    e /= e + 2
    return e


def mish_slope(g: Any, x: Any, how: Any) -> Any:
    t = tanh_softplus(x)
    return product(t + x * sigmoid_array(x) * (1 - t * t), g)


def mish_bend(x: Tensor, how: Any) -> Tensor:
    s, t = el.sigmoid(x), el.tanh(el.log1p(el.exp(x)))
    first = s * (1 - t * t)
    return 2 * first + x * (first * (1 - s) - 2 * s * t * first)


_mish = activation("mish", lambda x, how: product(tanh_softplus(x), x), mish_slope, mish_bend)


def softplus_array(x: Any, how: Any) -> Any:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    beta, threshold = how
    z = x if beta == 1 else x * beta
    found = np.minimum(z, threshold)
    found = into(np.log1p, into(np.exp, found))
    return np.where(z > threshold, x, found if beta == 1 else found / beta)


def softplus_slope(g: Any, x: Any, how: Any) -> Any:
    beta, threshold = how
    z = x * beta
    return np.where(z > threshold, g, g * sigmoid_array(z))


def softplus_bend(x: Tensor, how: Any) -> Tensor:
    beta, threshold = how
    s = el.sigmoid(x * beta)
    return el.mask(x * beta <= threshold, beta * s * (1 - s))


_softplus = activation("softplus", softplus_array, softplus_slope, softplus_bend)


@public(torch=False, method=False, out=False)
def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above `threshold`."""
    floats_only(input, "softplus", "softplus_cpu")
    return _softplus(input, (beta, threshold))


def logsigmoid_array(x: Any, how: Any) -> Any:
    found = np.abs(x)
    found *= -1
    found = into(np.log1p, into(np.exp, found))
    return into(np.subtract, np.minimum(x, 0), found)


def logsigmoid_bend(x: Tensor, how: Any) -> Tensor:
    s = el.sigmoid(x)
    return s * (s - 1)


_logsigmoid = activation("log_sigmoid", logsigmoid_array,
                         lambda g, x, how: product(sigmoid_array(-x), g), logsigmoid_bend)


@public(torch=False, method=False, out=False)
def logsigmoid(input: Tensor) -> Tensor:
    """log(1 / (1 + exp(-x))) without overflow."""
    floats_only(input, "log_sigmoid", "log_sigmoid_cpu")
    return _logsigmoid(input, None)


def elu_array(x: Any, how: Any) -> Any:
    """scale * x above 0, alpha * scale * (exp(x * input_scale) - 1) below."""
    alpha, scale, input_scale = how
    low = np.minimum(x, 0)
    if input_scale != 1:
        low *= input_scale
    low = into(np.expm1, low)
    if alpha * scale != 1:
        low *= alpha * scale
    high = np.maximum(x, 0)
    if scale != 1:
        high *= scale
    low += high
    return low


def elu_slope(g: Any, x: Any, how: Any) -> Any:
    alpha, scale, input_scale = how
    low = np.exp(np.minimum(x, 0) * input_scale) * (alpha * scale * input_scale)
    return np.where(x <= 0, low * g, g * scale)


def elu_bend(x: Tensor, how: Any) -> Tensor:
    alpha, scale, rate = how
    return el.mask(x <= 0, el.exp(el.clamp(x, max=0) * rate) * (alpha * scale * rate * rate))


_elu = activation("elu", elu_array, elu_slope, elu_bend)
_celu = activation("celu", elu_array, elu_slope, elu_bend)
SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1)

# Straight ones: their gradient is straight too.


def leaky_relu_array(x: Any, slope: Any) -> Any:
    scaled = x * slope
    if 0 <= slope <= 1:
        return into(np.maximum, scaled, x)
    return np.where(x > 0, x, scaled)


_leaky_relu = activation("leaky_relu", leaky_relu_array,
                         lambda g, x, slope: np.where(x > 0, g, g * slope))


def clip_array(x: Any, how: Any) -> Any:
    low, high = how
    return into(np.minimum, np.maximum(x, low), high)


_hardtanh = activation("hardtanh", clip_array,
                       lambda g, x, how: np.where((x <= how[0]) | (x >= how[1]), 0, g))


def six_steps(x: Any) -> Any:
    """x + 3 limited to [0, 6]."""
    found = x + 3
    return into(np.minimum, into(np.maximum, found, 0), 6)


_hardsigmoid = activation("hardsigmoid", lambda x, how: into(np.divide, six_steps(x), 6),
                          lambda g, x, how: np.where((x > -3) & (x < 3), g / 6, 0))


def hardswish_slope(g: Any, x: Any, how: Any) -> Any:
    return np.where(x <= -3, 0, np.where(x < 3, g * (x / 3 + 0.5), g))


def hardswish_array(x: Any, how: Any) -> Any:
    return into(np.divide, product(six_steps(x), x), 6)


_hardswish = activation("hardswish", hardswish_array, hardswish_slope,
                        lambda x, how: ((x > -3) & (x < 3)) * (1 / 3))
_hardshrink = activation("hardshrink", lambda x, size: np.where(np.abs(x) <= size, 0, x),
                         lambda g, x, size: np.where(np.abs(x) <= size, 0, g))


def softshrink_array(x: Any, size: Any) -> Any:
    return np.where(x > size, x - size, np.where(x < -size, x + size, x * 0))


_softshrink = activation("softshrink", softshrink_array,
                         lambda g, x, size: np.where(np.abs(x) <= size, 0, g))
_threshold = activation("threshold", lambda x, how: np.where(
    x <= how[0], x.dtype.type(how[1]), x), lambda g, x, how: np.where(x <= how[0], 0, g))


@public
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x, and 0 where its size is at most `lambd` (``torch.hardshrink``)."""
    floats_only(input, "hardshrink", "hardshrink_cpu")
    return _hardshrink(input, lambd)


@public(torch=False, method=False, out=False)
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by `lambd`, and 0 where it would cross."""
    floats_only(input, "softshrink", "softshrink_check")
    if lambd < 0:
        largest = types.finfo(input.dtype).max
        raise RuntimeError(f"lambda must be in range [0, {largest:g}] for input dtype "
                           f"{input.dtype.alias}, but found {lambd:g}")
    return _softshrink(input, lambd)


# With `inplace`: name, row, kernel that PyTorch names for wrong types (None: integers are fine).

def switchable(name: str, row: Any, kernel: str | None, how: Any, doc: str) -> Any:
    """An activation without settings, in a new tensor or in place."""
    def function(input: Tensor, inplace: bool = False) -> Tensor:
        if kernel is not None:
            floats_only(input, name, kernel)
        return in_place(input, row, how) if inplace else row(input, how)
    return named(function, name, doc)


def named(function: Any, name: str, doc: str) -> Any:
    """`function` under its public name."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


silu = switchable("silu", _silu, "silu_cpu", None, "x * sigmoid(x).")
mish = switchable("mish", _mish, "mish_cpu", None, "x * tanh(softplus(x)).")
selu = switchable("selu", _elu, "elu_cpu", SELU, "A self-normalising ELU (Klambauer et al. 2017).")
hardsigmoid = switchable("hardsigmoid", _hardsigmoid, "hardsigmoid_cpu", None,
                         "relu6(x + 3) / 6.")
hardswish = switchable("hardswish", _hardswish, "hardswish_cpu", None, "x * relu6(x + 3) / 6.")
relu6 = switchable("relu6", _hardtanh, None, (0, 6), "min(max(0, x), 6).")


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x)."""
    return METHODS["relu_"](input) if inplace else el.relu(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x above 0, negative_slope * x below."""
    floats_only(input, "leaky_relu", "leaky_relu_cpu")
    if inplace:
        return in_place(input, _leaky_relu, negative_slope)
    return _leaky_relu(input, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, alpha * (exp(x) - 1) below."""
    floats_only(input, "elu", "elu_cpu")
    how = (alpha, 1, 1)
    return in_place(input, _elu, how) if inplace else _elu(input, how)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, alpha * (exp(x / alpha) - 1) below. RuntimeError for alpha 0."""
    floats_only(input, "celu", "elu_cpu")
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    how = (alpha, 1, 1 / alpha)
    return in_place(input, _celu, how) if inplace else _celu(input, how)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0,
             inplace: bool = False) -> Tensor:
    """x limited to [min_val, max_val]. ValueError where they cross."""
    if not isinstance(input, Tensor):
        raise not_a_tensor("hardtanh", "input", 1, input)
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    kind = input._array.dtype
    if kind.kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    how = (int(min_val), int(max_val)) if kind.kind in "iu" else (min_val, max_val)
    return in_place(input, _hardtanh, how) if inplace else _hardtanh(input, how)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x above the threshold, `value` at it and below."""
    if not isinstance(input, Tensor):
        raise not_a_tensor("threshold", "input", 1, input)
    how = (threshold, value)
    return in_place(input, _threshold, how) if inplace else _threshold(input, how)


def changing(function: Any) -> Any:
    """The ``<name>_`` form of an activation that has `inplace`."""
    name = function.__name__ + "_"

    def call(input: Tensor, *args: Any, **options: Any) -> Tensor:
        return function(input, *args, **options, inplace=True)
    return named(call, name, f"In-place form of `{function.__name__}`.")


elu_, selu_, celu_, leaky_relu_, hardtanh_, threshold_ = map(
    changing, (elu, selu, celu, leaky_relu, hardtanh, threshold))
TORCH.update({"selu": selu, "selu_": selu_, "celu": celu, "celu_": celu_, "threshold": threshold,
              "threshold_": threshold_})


@public
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x above 0, weight * x below; one weight, or one for each channel (``torch.prelu``)."""
    if weight._array.dtype != input._array.dtype:
        raise RuntimeError(f"prelu: Type promoting not supported. Got {input.dtype.alias} and "
                           f"{weight.dtype.alias}")
    if weight._array.ndim > 1:
        raise RuntimeError("prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim "
                           f"= {weight._array.ndim}")
    shape, count = input._array.shape, weight._array.size
    if count != 1:
        channels = shape[1] if len(shape) > 1 else 1
        if count != channels:
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{count} and channel size = {channels}.")
        weight = weight.reshape((count, *(1,) * (len(shape) - 2)))
    elif weight._array.ndim and not shape:
        weight = weight.reshape(())
    return _prelu(input, weight)


_prelu = direct("prelu_kernel", lambda input, weight: np.where(input > 0, input, input * weight), {
    "input": lambda g, input, weight: el.where(input > 0, g, g * weight),
    "weight": lambda g, input: el.where(input > 0, 0.0, g * input)})


def glu_array(input: Any, axis: Any) -> Any:
    first, second = np.split(input, 2, axis)
    return product(sigmoid_array(second), first)


def glu_gradient(g: Tensor, input: Tensor, axis: int) -> Tensor:
    first, second = TORCH["chunk"](input, 2, axis)
    share = el.sigmoid(second)
    return TORCH["cat"]([g * share, g * first * share * (1 - share)], axis)


_glu = direct("glu", glu_array, {"input": glu_gradient})


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), a and b being the halves of `input` along `dim`."""
    if not input._array.ndim:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    axis = dimension(dim, input._array.ndim)
    size = input._array.shape[axis]
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {axis} is size {size}")
    return _glu(input, axis)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - el.tanh(input)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (el.abs(input) + 1)


# Along a dimension.

LONG = 512  # rows from which on a plain sum is as quick
ONES: dict[tuple[int, str], Any] = {}


def row_sums(x: Any, axis: Any) -> Any:
    """Sums along `axis`, kept as 1; along the last of many short rows as a matrix product."""
    if axis != x.ndim - 1 or x.ndim < 2 or not x.size or not x.flags.c_contiguous:
        return np.add.reduce(x, axis=axis, keepdims=True)
    length = x.shape[-1]
    if length > LONG:
        return np.add.reduce(x, axis=axis, keepdims=True)
    ones = ONES.get((length, x.dtype.char))
    if ones is None:
        ones = ONES[length, x.dtype.char] = np.ones(length, x.dtype)
    return np.dot(x.reshape(-1, length), ones).reshape(*x.shape[:-1], 1)


def lowered(x: Any, axis: Any) -> Any:
    """`x` less its largest element along `axis`, or less the largest of all if that is as safe.

    Along short rows the largest of all is much quicker to find; it is safe where all numbers are
    so close that no exponential of a difference vanishes.
    """
    if x.ndim > 1 and x.shape[axis] < 64:
        top = np.maximum.reduce(x, axis=None)
        if top - np.minimum.reduce(x, axis=None) < 40:
            return x - top
    return x - np.maximum.reduce(x, axis=axis, keepdims=True)


def softmax_array(input: Any, axis: Any) -> Any:
    """exp(x) over its sum; the largest is taken out first, so nothing overflows."""
    if not input.size:
        return input.copy()
    found = lowered(input, axis)
    found = np.exp(found, out=found) if found.ndim else np.exp(found)
    found /= row_sums(found, axis)
    return found


def softmax_slope(grad: Any, result: Any, axis: Any) -> Any:
    found = grad * result
    found -= result * row_sums(found, axis)
    return found


def softmax_bend(g: Tensor, grad: Tensor, result: Tensor, axis: Any) -> Tensor:
    total = (grad * result).sum(axis, True)
    return g * (grad - total) - grad * (g * result).sum(axis, True)


softmax_backward = direct("softmax_backward", softmax_slope, {
    "grad": lambda g, result, axis: softmax_backward(g, result, axis), "result": softmax_bend})
_softmax = direct("softmax", softmax_array, {
    "input": lambda g, out, axis: softmax_backward(g, out, axis)})


def log_softmax_array(input: Any, axis: Any) -> Any:
    """x less the logarithm of the sum of exp(x)."""
    if not input.size:
        return input.copy()
    found = lowered(input, axis)
    found -= np.log(row_sums(np.exp(found), axis))
    return found


def log_softmax_slope(grad: Any, result: Any, axis: Any) -> Any:
    found = np.exp(result)
    found *= row_sums(grad, axis)
    return np.subtract(grad, found, out=found) if found.ndim else grad - found


_log_softmax_backward = direct("log_softmax_backward", log_softmax_slope, {
    "grad": lambda g, result, axis: g - (g * el.exp(result)).sum(axis, True),
    "result": lambda g, grad, result, axis: -g * el.exp(result) * grad.sum(axis, True)})
_log_softmax = direct("log_softmax", log_softmax_array, {
    "input": lambda g, out, axis: _log_softmax_backward(g, out, axis)})


def along(name: str, row: Any) -> Any:
    """torch.softmax or torch.log_softmax."""
    kernel = f"{name}_lastdim_kernel_impl"

    def function(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
        if dtype is not None and input._array.dtype != dtype.numpy:
            input = input.to(dtype)
        array = input._array
        if array.dtype.kind not in "fV":
            raise not_for(kernel, input)
        axis = dimension(dim, array.ndim)
        return row(input, axis if array.ndim else None)
    return public(named(function, name, f"``torch.{name}`` along `dim`."))


softmax_along, log_softmax_along = along("softmax", _softmax), along("log_softmax", _log_softmax)


def guessed(name: str, ndim: int, stacklevel: int) -> int:
    """The dimension that PyTorch takes where none is given, with its warning."""
    warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to "
                  "include dim=X as an argument.", stacklevel=stacklevel + 1)
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3,
            dtype: Any = None) -> Tensor:
    """exp(x) over the sum of exp(x) along `dim`."""
    if dim is None:
        dim = guessed("softmax", input.dim(), _stacklevel)
    return softmax_along(input, dim, dtype)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3,
            dtype: Any = None) -> Tensor:
    """Softmax of -x."""
    if dim is None:
        dim = guessed("softmin", input.dim(), _stacklevel)
    return softmax_along(-input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3,
                dtype: Any = None) -> Tensor:
    """log(softmax(x)) along `dim`, without overflow."""
    if dim is None:
        dim = guessed("log_softmax", input.dim(), _stacklevel)
    return log_softmax_along(input, dim, dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10,
                   dim: int = -1) -> Tensor:
    """A random softmax of `logits` (Jang et al. 2017); `hard`: one-hot, gradients as if soft."""
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    noise = -el.log(TORCH["empty_like"](logits.detach()).exponential_())
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = TORCH["zeros_like"](logits).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft
