"""Formulas of rows along dimensions: softmax, extremes, norms, variances, normalization, gates."""

from __future__ import annotations

import math
from math import prod
from typing import Any

from kkori.codegen.lower_elements import exp, rsqrt, sigmoid, truth
from kkori.codegen.rules import Term, formula


def along(x: Term, axis: Any) -> Any:
    return None if axis is None else (axis,)


def total(x: Term, axis: Any) -> Term:
    return x.reduce("add", along(x, axis), True)


@formula("softmax")
def softmax(x: Term, axis: Any) -> Term:
    found = exp(x - x.reduce("max", along(x, axis), True))
    return found / total(found, axis)


@formula("safe_softmax")
def safe_softmax(x: Term) -> Term:
    top = x.reduce("max", (len(x.shape) - 1,), True)
    hidden = top.do("eq", -math.inf)
    found = exp(x - hidden.choose(0.0, top))
    return hidden.choose(0.0, found / total(found, len(x.shape) - 1))


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
    top = abs(top).do("eq", math.inf).choose(0.0, top)
    found = exp(x - top).reduce("add", axes, True).do("log") + top
    return found if keepdim else found.reshape(x.reduce("add", axes, False).shape)


@formula("amax")
def amax(x: Term, axes: Any, keepdim: bool) -> Term:
    return x.reduce("max", axes, keepdim)


@formula("amin")
def amin(x: Term, axes: Any, keepdim: bool) -> Term:
    return x.reduce("min", axes, keepdim)


@formula("all")
def all_(x: Term, axes: Any, keepdim: bool) -> Term:
    return truth(x).as_number("f4").reduce("min", axes, keepdim) > 0


@formula("any")
def any_(x: Term, axes: Any, keepdim: bool) -> Term:
    return truth(x).as_number("f4").reduce("max", axes, keepdim) > 0


@formula("max_all")
def max_all(x: Term) -> Term:
    return x.reduce("max", None, False)


@formula("min_all")
def min_all(x: Term) -> Term:
    return x.reduce("min", None, False)


def count(x: Term, axes: Any) -> int:
    """How many elements a sum along `axes` has."""
    return prod(x.shape) if axes is None or not x.shape else prod(x.shape[axis] for axis in axes)


@formula("var")
def var(x: Term, axes: Any, correction: Any, keepdim: bool) -> Term:
    gap = x - x.reduce("add", axes, True) / count(x, axes)
    divisor = count(x, axes) - correction
    return (gap * gap).reduce("add", axes, keepdim) / max(divisor, 0)


@formula("std")
def std(x: Term, axes: Any, correction: Any, keepdim: bool) -> Term:
    return var(x, axes, correction, keepdim).do("sqrt")


@formula("vector_norm")
def vector_norm(x: Term, p: Any, axes: Any, keepdim: bool) -> Term:
    """(sum |x|^p)^(1/p); the count of what is not 0 for p = 0, an extreme for p = +-inf."""
    size = abs(x)
    if p == 0:
        return truth(x).as_number(x.dtype).reduce("add", axes, keepdim)
    if math.isinf(p):
        return size.reduce("max" if p > 0 else "min", axes, keepdim)
    if p == 1:
        return size.reduce("add", axes, keepdim)
    if p == 2:
        return (size * size).reduce("add", axes, keepdim).do("sqrt")
    return size.do("pow", p).reduce("add", axes, keepdim).do("pow", 1 / p)


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
    size = count(hat, axes)
    if view == x.shape and others == axes:  # weight is constant along the axes
        inner, total, wide = to_weight.reshape(place), to_bias.reshape(place), g
        scale = rate if weight is None else rate * weight.reshape(place)
    else:
        wide = (g if weight is None else g * weight.reshape(place)).reshape(view)
        inner = (wide * hat).reduce("add", axes, True)
        total, scale = wide.reduce("add", axes, True), rate
    found = (wide - total / size - hat * (inner / size)) * scale
    return found.reshape(x.shape), to_weight, to_bias


for _row in ("native_layer_norm", "native_group_norm", "native_batch_norm"):
    formula(_row)(normalized)


@formula("moved_towards")
def moved_towards(running: Term, found: Term, scale: Any, momentum: Any) -> Term:
    """The running statistics of a batch normalisation after a batch."""
    found = found.reshape(running.shape)
    return running * (1 - momentum) + (found if scale == 1 else found * scale) * momentum


@formula("fixed_batch_norm")
def fixed_batch_norm(x: Term, weight: Any, bias: Any, mean: Term, var: Term, place: Any,
                     eps: Any) -> Term:
    """Standardized by given statistics: one factor and one offset a channel."""
    factor = rsqrt(var + eps)
    factor = factor if weight is None else factor * weight
    offset = -(mean * factor) if bias is None else bias - mean * factor
    return x * factor.reshape(place) + offset.reshape(place)


@formula("fused_rms_norm")
def rms_norm(x: Term, weight: Any, axes: Any, eps: Any) -> tuple[Term, Term]:
    """x over the root of its mean square, and one over that root."""
    rate = rsqrt((x * x).reduce("add", axes, True) / count(x, axes) + eps)
    found = x * rate
    return found if weight is None else found * weight, rate


@formula("fused_rms_norm_backward")
def rms_norm_backward(g: Term, x: Term, weight: Any, rate: Term, axes: Any) -> tuple[Term, Term]:
    """Gradients of input and weight."""
    hat = x * rate
    lead = tuple(range(len(x.shape) - len(axes)))
    to_weight = (g * hat).reduce("add", lead, False)
    wide = g if weight is None else g * weight
    inner = (wide * hat).reduce("add", axes, True) / count(x, axes)
    return (wide - hat * inner) * rate, to_weight


@formula("lstm_gates")
def lstm_gates(x: Term, hidden_x: Term, cell: Term) -> tuple[Term, Term]:
    write, keep, candidate, show = (x + hidden_x).chunks(4, 1)
    following = sigmoid(keep) * cell + sigmoid(write) * candidate.do("tanh")
    return sigmoid(show) * following.do("tanh"), following


@formula("gru_gates")
def gru_gates(x: Term, hidden_x: Term, hidden: Term) -> Term:
    (reset_x, update_x, new_x), (reset_h, update_h, new_h) = x.chunks(3, 1), hidden_x.chunks(3, 1)
    update = sigmoid(update_x + update_h)
    new = (new_x + sigmoid(reset_x + reset_h) * new_h).do("tanh")
    return (hidden - new) * update + new
