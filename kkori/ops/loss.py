"""Losses between an output and a target, element by element: each one row, its slope another."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.direct import direct, not_for
from kkori.ops.elementwise import same_type, sigmoid_array
from kkori.ops.table import TORCH
from kkori.tensor import Tensor

Rule = Callable[..., Any]
REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


# What to do with one loss for each element.

def check_reduction(reduction: Any) -> str:
    """One of "none", "mean", "sum" (also given as 0, 1, 2); ValueError for anything else."""
    if reduction in REDUCTIONS:
        return str(reduction)
    if reduction == "elementwise_mean":
        warnings.warn("reduction='elementwise_mean' is deprecated. Please use reduction='mean' "
                      "instead.", stacklevel=4)
        return "mean"
    if isinstance(reduction, int) and 0 <= reduction <= 2:
        return tuple(REDUCTIONS)[reduction]
    raise ValueError(f"{reduction} is not a valid value for reduction")


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """`reduction`, or what the two deprecated arguments mean."""
    if size_average is None and reduce is None:
        return reduction if reduction in REDUCTIONS else check_reduction(reduction)
    for given in (size_average, reduce):
        if isinstance(given, Tensor) and given.numel() != 1:
            raise RuntimeError(errors.message(
                "Boolean value of Tensor with more than one value is ambiguous",
                what="a loss class is made with settings first; then it is called with tensors",
                fix="torch.nn.MSELoss()(prediction, target)"))
    averaged = size_average is None or size_average
    found = "none" if reduce is not None and not reduce else "mean" if averaged else "sum"
    errors.warn("size_average and reduce args will be deprecated, please use "
                f"reduction='{found}' instead.")
    return found


def reduced(values: Tensor, reduction: str) -> Tensor:
    """The mean or sum of `values`, or `values` themselves."""
    if reduction == "mean":
        return TORCH["mean"](values)
    return TORCH["sum"](values) if reduction == "sum" else values


def collect(values: Any, reduction: str) -> Any:
    """`reduced` for arrays."""
    if reduction == "none":
        return values
    total = np.add.reduce(values, axis=None)
    return np.true_divide(total, values.size) if reduction == "mean" else total


def share_of(grad: Any, reduction: str, count: int) -> Any:
    """The gradient that one of `count` elements gets of the gradient of the loss."""
    return np.true_divide(grad, count) if reduction == "mean" else grad


# A row for a loss.

def pointwise(name: str, value: Rule, slope: Rule, bend: Rule, *, target: Rule | None = None,
              node: str | None = None, total: Rule | None = None,
              scale: float = 1) -> Callable[..., Tensor]:
    """A loss of (input, target), broadcast together, and the row of its gradient.

    `value(x, t, how)` and `slope(x, t, how)` are array rules that return new arrays; the slope
    times `scale` is the derivative along x. `bend(input, target, how)` is the second derivative,
    `target(...)` the derivative along the target (the negative of that along x if not given),
    both in our own operations.
    `total(x, t, reduction, how)` may be a shorter way to the mean and sum.
    """
    back = pointwise_back(name, slope, bend, target is None, scale)

    def loss_array(input: Any, target: Any, reduction: Any, how: Any) -> Any:
        if total is not None and reduction != "none":
            return total(input, target, reduction, how)
        return collect(value(input, target, how), reduction)

    def loss_input(g: Tensor, input: Any, target: Any, reduction: Any, how: Any) -> Tensor:
        return back(g, input, target, reduction, how)

    def loss_target(g: Tensor, input: Any, target: Any, reduction: Any, how: Any) -> Tensor:
        if along_target is None:
            return -back(g, input, target, reduction, how)
        count = np.broadcast(input._array, target._array).size
        return shared(g, reduction, count) * along_target(input, target, how)

    along_target = target
    return direct(name, loss_array, {"input": loss_input, "target": loss_target}, node=node)


def shared(g: Tensor, reduction: str, count: int) -> Tensor:
    """`share_of` for tensors."""
    return g * (1 / count) if reduction == "mean" and count else g


def pointwise_back(name: str, slope: Rule, bend: Rule, symmetric: bool,
                   scale: float) -> Callable[..., Tensor]:
    """The row of the gradient along the input; `symmetric`: along the target it is the negative."""
    def back_array(grad: Any, input: Any, target: Any, reduction: Any, how: Any) -> Any:
        found = slope(input, target, how)
        if reduction == "none":
            return found * grad if scale == 1 else found * grad * scale
        share = grad.item() * scale  # one number, so that one pass over the array is enough
        found *= share / found.size if reduction == "mean" and found.size else share
        return found

    def back_grad(g: Tensor, input: Any, target: Any, reduction: Any, how: Any) -> Tensor:
        return shared(back(g, input, target, "none", how), reduction, g._array.size)

    def back_input(g: Tensor, grad: Any, input: Any, target: Any, reduction: Any,
                   how: Any) -> Tensor:
        return shared(g * grad * bend(input, target, how), reduction, g._array.size)

    def back_target(g: Tensor, grad: Any, input: Any, target: Any, reduction: Any,
                    how: Any) -> Tensor:
        return -back_input(g, grad, input, target, reduction, how)

    rules: dict[str, Rule] = {"grad": back_grad, "input": back_input}
    if symmetric:
        rules["target"] = back_target
    back = direct(f"{name}_backward", back_array, rules)
    return back


def square_total(input: Any, target: Any, reduction: str, how: Any) -> Any:
    """The sum of squares as one product of a vector with itself."""
    gap = input - target
    found = np.vdot(gap, gap)
    return found / gap.size if reduction == "mean" else found


def square_value(x: Any, t: Any, how: Any) -> Any:
    gap = x - t
    gap *= gap
    return gap


_mse = pointwise("mse_loss", square_value, lambda x, t, how: x - t, lambda x, t, how: 2.0,
                 total=square_total, scale=2)


def smooth_l1_value(x: Any, t: Any, beta: Any) -> Any:
    size = np.abs(x - t)
    return np.where(size < beta, size * size * (0.5 / beta), size - 0.5 * beta)


def smooth_l1_slope(x: Any, t: Any, beta: Any) -> Any:
    return np.clip((x - t) * (1 / beta), -1, 1)


_smooth_l1 = pointwise("smooth_l1_loss", smooth_l1_value, smooth_l1_slope,
                       lambda x, t, beta: el.mask(el.abs(x - t) < beta, 1 / beta))


def huber_value(x: Any, t: Any, delta: Any) -> Any:
    size = np.abs(x - t)
    return np.where(size <= delta, size * size * 0.5, delta * (size - 0.5 * delta))


_huber = pointwise("huber_loss", huber_value, lambda x, t, delta: np.clip(x - t, -delta, delta),
                   lambda x, t, delta: el.mask(el.abs(x - t) <= delta, 1.0))


def soft_margin_value(x: Any, t: Any, how: Any) -> Any:
    return np.log1p(np.exp(-t * x))


def soft_margin_slope(x: Any, t: Any, how: Any) -> Any:
    return -t * sigmoid_array(-t * x)


def soft_margin_bend(x: Tensor, t: Tensor, how: Any) -> Tensor:
    s = el.sigmoid(t * x)
    return t * t * s * (1 - s)


_soft_margin = pointwise("soft_margin_loss", soft_margin_value, soft_margin_slope,
                         soft_margin_bend, target=lambda x, t, how: -x * el.sigmoid(-t * x))


# Binary cross entropy.

SMALLEST_LOG, SMALLEST_PRODUCT = -100, 1e-12  # PyTorch's guards against log(0) and 1 / 0


def bce_array(input: Any, target: Any, weight: Any, reduction: Any) -> Any:
    """-(t log x + (1 - t) log(1 - x)), logarithms no lower than -100."""
    inside_unit("target", target)
    rest = bounded_log(np.log1p(-input))
    found = bounded_log(np.log(input))
    found -= rest
    found *= target
    found += rest
    found *= -1
    if weight is not None:
        found *= weight
    result = collect(found, reduction)
    total = result if reduction != "none" else np.add.reduce(found, axis=None)
    if total != total:  # the logarithm of an input outside [0, 1] is NaN
        inside_unit("input", input)
    return result


def bounded_log(found: Any) -> Any:
    """No lower than -100, in the same buffer."""
    return np.maximum(found, SMALLEST_LOG, out=found if found.ndim else None)


def bce_back_array(grad: Any, input: Any, target: Any, weight: Any, reduction: Any) -> Any:
    spread = 1 - input
    spread *= input
    found = input - target
    found /= np.maximum(spread, SMALLEST_PRODUCT)
    if weight is not None:
        found *= weight
    return found * share_of(grad, reduction, input.size)


def weighted(value: Tensor, weight: Tensor | None, reduction: str, count: int) -> Tensor:
    """`value` times weight, and over the count for a mean."""
    value = value if weight is None else value * weight
    return value * (1 / count) if reduction == "mean" and count else value


def bce_bend(g: Tensor, grad: Tensor, input: Tensor, target: Tensor, weight: Any,
             reduction: Any) -> Tensor:
    spread = el.clamp(input * (1 - input), min=SMALLEST_PRODUCT)
    curve = (spread - (input - target) * (1 - 2 * input)) / (spread * spread)
    return weighted(g * grad * curve, weight, reduction, g._array.size)


def bce_back_target(g: Tensor, grad: Tensor, input: Tensor, weight: Any, reduction: Any) -> Tensor:
    spread = el.clamp(input * (1 - input), min=SMALLEST_PRODUCT)
    return weighted(-g * grad / spread, weight, reduction, g._array.size)


def bce_back_grad(g: Tensor, input: Tensor, target: Tensor, weight: Any, reduction: Any) -> Tensor:
    found = _bce_back(g, input, target, weight, "none")
    return found * (1 / g._array.size) if reduction == "mean" else found


_bce_back = direct("binary_cross_entropy_backward", bce_back_array, {
    "grad": bce_back_grad, "input": bce_bend, "target": bce_back_target})


def bce_target(g: Tensor, input: Tensor, weight: Any, reduction: Any) -> Tensor:
    slope = el.clamp(el.log1p(-input), min=SMALLEST_LOG) - el.clamp(el.log(input),
                                                                    min=SMALLEST_LOG)
    return weighted(g * slope, weight, reduction, input._array.size)


_bce = direct("binary_cross_entropy", bce_array, {
    "input": lambda g, input, target, weight, reduction: _bce_back(
        g, input, target, weight, reduction),
    "target": bce_target,
    "weight": lambda g, input, target, reduction: weighted(
        g * _bce(input, target, None, "none"), None, reduction, input._array.size)})


def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                         size_average: bool | None = None, reduce: bool | None = None,
                         reduction: str = "mean") -> Tensor:
    """-(t log x + (1 - t) log(1 - x)); RuntimeError for numbers outside [0, 1]."""
    reduction = reduction_of(size_average, reduce, reduction)
    x, t = input._array, target._array
    if x.shape != t.shape:
        raise ValueError(errors.message(
            f"Using a target size ({target.size()}) that is different to the input size "
            f"({input.size()}) is deprecated. Please ensure they have the same size.",
            fix="give both one shape: loss(output.squeeze(1), target)"))
    if weight is not None:
        weight = weight.expand(np.broadcast_shapes(t.shape, weight._array.shape))
    for other in (target, weight):
        if other is not None and other._array.dtype != x.dtype:
            raise RuntimeError(errors.message(
                f"Found dtype {other.dtype.alias} but expected {input.dtype.alias}",
                fix=f"convert the target: target.to({input.dtype})"))
    if switch.tape is not None:  # else the row says so just as soon
        inside_unit("target", t)
    return _bce(input, target, weight, reduction)


def inside_unit(name: str, array: Any) -> None:
    """RuntimeError where a number is outside [0, 1] (NaN is let through, as in PyTorch)."""
    if array.size and array.__class__ is np.ndarray and not (
            np.minimum.reduce(array, axis=None) >= 0 and np.maximum.reduce(array, axis=None) <= 1):
        if np.isnan(array).any() and not ((array < 0) | (array > 1)).any():
            return
        raise RuntimeError(errors.message(
            f"all elements of {name} should be between 0 and 1",
            what=f"smallest {array.min():g}, largest {array.max():g}",
            fix="use BCEWithLogitsLoss, or apply a sigmoid first" if name == "input" else ""))


def logits_array(input: Any, target: Any, weight: Any, pos_weight: Any, reduction: Any) -> Any:
    """(1 - t) x + p log(1 + exp(-x)), p being 1 + (pos_weight - 1) t, without overflow."""
    rest = np.exp(-np.abs(input))
    rest = np.log1p(rest)
    rest -= np.minimum(input, 0)
    if pos_weight is not None:
        rest = rest * (1 + (pos_weight - 1) * target)
    found = 1 - target
    found *= input
    found = found + rest
    if weight is not None:
        found = found * weight
    return collect(found, reduction)


def logits_back_array(grad: Any, input: Any, target: Any, weight: Any, pos_weight: Any,
                      reduction: Any) -> Any:
    found = sigmoid_array(input)
    if pos_weight is None:
        found -= target
    else:
        p = pos_weight * target
        found = (p + 1 - target) * found - p
    if weight is not None:
        found = found * weight
    count = np.broadcast(found, target).size
    return found * share_of(grad, reduction, count)


def logits_back_grad(g: Tensor, input: Tensor, target: Tensor, weight: Any, pos_weight: Any,
                     reduction: Any) -> Tensor:
    found = _logits_back(g, input, target, weight, pos_weight, "none")
    return found * (1 / g._array.size) if reduction == "mean" else found


def logits_bend(g: Tensor, grad: Tensor, input: Tensor, target: Tensor, weight: Any,
                pos_weight: Any, reduction: Any) -> Tensor:
    s = el.sigmoid(input)
    curve = s * (1 - s)
    if pos_weight is not None:
        curve = curve * (1 + (pos_weight - 1) * target)
    return weighted(g * grad * curve, weight, reduction, g._array.size)


def logits_back_target(g: Tensor, grad: Tensor, input: Tensor, weight: Any, pos_weight: Any,
                       reduction: Any) -> Tensor:
    slope = -1.0 if pos_weight is None else (pos_weight - 1) * el.sigmoid(input) - pos_weight
    return weighted(g * grad * slope, weight, reduction, g._array.size)


_logits_back = direct("bce_with_logits_backward", logits_back_array, {
    "grad": logits_back_grad, "input": logits_bend, "target": logits_back_target})


def logits_target(g: Tensor, input: Tensor, weight: Any, pos_weight: Any,
                  reduction: Any) -> Tensor:
    slope = -input
    if pos_weight is not None:
        slope = slope - (pos_weight - 1) * minus_log_sigmoid(input) * -1
    return weighted(g * slope, weight, reduction, input._array.size)


def minus_log_sigmoid(input: Tensor) -> Tensor:
    """log(1 + exp(-x)) without overflow."""
    return el.log1p(el.exp(-el.abs(input))) - el.clamp(input, max=0)


def logits_weight(g: Tensor, input: Tensor, target: Tensor, pos_weight: Any,
                  reduction: Any) -> Tensor:
    found = _bce_logits(input, target, None, pos_weight, "none")
    return weighted(g * found, None, reduction, input._array.size)


def logits_pos_weight(g: Tensor, input: Tensor, target: Tensor, weight: Any,
                      reduction: Any) -> Tensor:
    found = g * target * minus_log_sigmoid(input)
    return weighted(found, weight, reduction, input._array.size)


_bce_logits = direct("binary_cross_entropy_with_logits", logits_array, {
    "input": lambda g, input, target, weight, pos_weight, reduction: _logits_back(
        g, input, target, weight, pos_weight, reduction),
    "target": logits_target, "weight": logits_weight, "pos_weight": logits_pos_weight})


def binary_cross_entropy_with_logits(
        input: Tensor, target: Tensor, weight: Tensor | None = None,
        size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
        pos_weight: Tensor | None = None) -> Tensor:
    """Binary cross entropy of sigmoid(input), computed without overflow.

    `pos_weight` multiplies what examples of the class 1 add. ValueError for different shapes.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    if input._array.shape != target._array.shape:
        raise ValueError(errors.message(
            f"Target size ({target.size()}) must be the same as input size ({input.size()})",
            fix="give both one shape: loss(output.squeeze(1), target)"))
    if target._array.dtype != input._array.dtype:
        if target._array.dtype.kind in "biu":
            raise errors.no_cast(input.dtype, target.dtype)
        input, target = same_type(input, target)
    return _bce_logits(input, target, weight, pos_weight, reduction)


# The public losses of two tensors that broadcast.

def pair(input: Tensor, target: Tensor, kernel: str | None = None) -> Any:
    """Both in one type; PyTorch's warning where their shapes differ."""
    if input._array.shape != target._array.shape:
        warn_of_shapes(input, target)
    if input._array.dtype is not target._array.dtype:
        input, target = same_type(input, target)
    if kernel is not None and input._array.dtype.kind not in "fV":
        raise not_for(kernel, input)
    return input, target


def warn_of_shapes(input: Tensor, target: Tensor) -> None:
    """A warning at the user's line; RuntimeError where the shapes do not even broadcast."""
    first, second = input._array.shape, target._array.shape
    try:
        shape, differ = np.broadcast_shapes(first, second), None
    except ValueError:
        shape, differ = (), errors.not_broadcastable((first, second))
    errors.warn(
        f"Using a target size ({target.size()}) that is different to the input size "
        f"({input.size()}). This will likely lead to incorrect results due to broadcasting. "
        "Please ensure they have the same size.",
        what="" if differ else f"they broadcast to {errors.of_shape(shape)}: "
             f"{math.prod(shape)} differences, not {math.prod(first)}",
        fix="target.reshape(input.shape)" if math.prod(first) == math.prod(second) else "")
    if differ is not None:
        raise differ


def weighed(values: Tensor, weight: Tensor, input: Tensor, reduction: str,
            by_weight: bool) -> Tensor:
    """Losses times weights; the mean over the sum of the weights, or over the count."""
    if weight._array.shape != input._array.shape:
        raise ValueError("Weights and input must have the same size.")
    if reduction not in REDUCTIONS:
        raise ValueError(f"Invalid reduction mode: {reduction}. Expected one of 'none', 'mean', "
                         "'sum'.")
    values = values * weight
    if reduction == "mean" and by_weight:
        return values.sum() / weight.sum()
    return reduced(values, reduction)


def mse_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
             reduce: bool | None = None, reduction: str = "mean",
             weight: Tensor | None = None) -> Tensor:
    """(input - target)², broadcast with a warning."""
    if weight is not None:
        input, target = pair(input, target)
        return weighed(el.square(input - target), weight, input, reduction, True)
    if (size_average is not None or reduce is not None) or reduction not in REDUCTIONS:
        reduction = reduction_of(size_average, reduce, reduction)
    x, t = input._array, target._array
    if x.shape != t.shape or x.dtype is not t.dtype or x.dtype.kind != "f":
        input, target = pair(input, target, "mse_cpu")
    return _mse(input, target, reduction, None)


def l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
            reduce: bool | None = None, reduction: str = "mean",
            weight: Tensor | None = None) -> Tensor:
    """|input - target|, broadcast with a warning."""
    reduction = reduction_of(size_average, reduce, reduction)
    if input._array.shape != target._array.shape:
        warn_of_shapes_outside(input, target)
    values = el.abs(input - target)
    if weight is not None:
        return weighed(values, weight, input, reduction, True)
    return reduced(values, reduction)


def warn_of_shapes_outside(input: Tensor, target: Tensor) -> None:
    """warn_of_shapes() for a function that calls no `pair` in between."""
    warn_of_shapes(input, target)


def smooth_l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
                   reduce: bool | None = None, reduction: str = "mean",
                   beta: float = 1.0) -> Tensor:
    """Squared over 2 beta where closer than beta, else the distance less beta / 2."""
    reduction = reduction_of(size_average, reduce, reduction)
    input, target = pair(input, target, "smooth_l1_cpu" if beta else None)
    if beta == 0:
        return reduced(el.abs(input - target), reduction)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    return _smooth_l1(input, target, reduction, beta)


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0,
               weight: Tensor | None = None) -> Tensor:
    """Half the square where closer than delta, else delta times (distance - delta / 2)."""
    input, target = pair(input, target, "huber_cpu")
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    if weight is not None:
        return weighed(_huber(input, target, "none", delta), weight, input, reduction, False)
    return _huber(input, target, check_reduction(reduction), delta)


def soft_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
                     reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target * input)), target being 1 or -1."""
    reduction = reduction_of(size_average, reduce, reduction)
    input, target = same_type(input, target)
    try:
        return _soft_margin(input, target, reduction, None)
    except ValueError:
        raise errors.not_broadcastable((input._array.shape, target._array.shape)) from None
