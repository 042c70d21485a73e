"""Formulas of losses and of their gradients: the array rules of `kkori.ops.loss` once more."""

from __future__ import annotations

from collections.abc import Callable
from math import nan, prod
from typing import Any

from kkori.codegen.graph import broadcast
from kkori.codegen.lower_elements import exp, largest, log1p, sigmoid, smallest
from kkori.codegen.rules import Term, formula

SMALLEST_LOG, SMALLEST_PRODUCT = -100.0, 1e-12


def collect(values: Term, reduction: str) -> Term:
    """The mean or sum of losses, or themselves."""
    if reduction == "none":
        return values
    total = values.reduce("add", None, False)
    return total / prod(values.shape) if reduction == "mean" else total


def share_of(g: Term, reduction: str, count: int) -> Term:
    """The gradient that one of `count` elements gets."""
    return g / count if reduction == "mean" else g


# Losses of (input, target): the loss of one element, and its slope along the input.

def square(x: Term, t: Term, how: Any) -> Term:
    return (x - t) * (x - t)


def gap(x: Term, t: Term, how: Any) -> Term:
    return x - t


def smooth_l1(x: Term, t: Term, beta: Any) -> Term:
    size = abs(x - t)
    return (size < beta).choose(size * size * (0.5 / beta), size - 0.5 * beta)


def smooth_l1_slope(x: Term, t: Term, beta: Any) -> Term:
    return smallest(largest((x - t) * (1 / beta), -1.0), 1.0)


def huber(x: Term, t: Term, delta: Any) -> Term:
    size = abs(x - t)
    return (size <= delta).choose(size * size * 0.5, (size - 0.5 * delta) * delta)


def huber_slope(x: Term, t: Term, delta: Any) -> Term:
    return smallest(largest(x - t, -delta), delta)


def soft_margin(x: Term, t: Term, how: Any) -> Term:
    return log1p(exp(-t * x))


def soft_margin_slope(x: Term, t: Term, how: Any) -> Term:
    return -t * sigmoid(-t * x)


POINTWISE: dict[str, tuple[Callable[..., Term], Callable[..., Term]]] = {
    "mse_loss": (square, gap), "smooth_l1_loss": (smooth_l1, smooth_l1_slope),
    "huber_loss": (huber, huber_slope), "soft_margin_loss": (soft_margin, soft_margin_slope)}
SCALES = {"mse_loss": 2.0}  # by which the slope is multiplied, after the gradient's share is taken


def pointwise(name: str, value: Callable[..., Term], slope: Callable[..., Term]) -> None:
    """Register a loss and its gradient."""
    scale = SCALES.get(name, 1)

    @formula(name)
    def loss(x: Term, target: Term, reduction: str, how: Any) -> Term:
        return collect(value(x, target, how), reduction)

    @formula(f"{name}_backward")
    def loss_backward(g: Term, x: Term, target: Term, reduction: str, how: Any) -> Term:
        count = prod(broadcast((x.shape, target.shape)))
        if reduction == "none":
            found = slope(x, target, how) * g
            return found if scale == 1 else found * scale
        return slope(x, target, how) * share_of(g if scale == 1 else g * scale, reduction, count)


for _name, _rules in POINTWISE.items():
    pointwise(_name, *_rules)


# Binary cross entropy.

@formula("binary_cross_entropy")
def binary_cross_entropy(x: Term, target: Term, weight: Any, reduction: str) -> Term:
    """-(t log x + (1 - t) log(1 - x)), logarithms no lower than -100."""
    rest = largest(log1p(-x), SMALLEST_LOG)
    found = -((largest(x.do("log"), SMALLEST_LOG) - rest) * target + rest)
    found = ((target >= 0.0) & (target <= 1.0)).choose(found, nan)
    result = collect(found if weight is None else found * weight, reduction)
    x.graph.doubts.append(collect(result, "sum").value)  # NaN for a number outside [0, 1]
    return result


@formula("binary_cross_entropy_backward")
def binary_cross_entropy_backward(g: Term, x: Term, target: Term, weight: Any,
                                  reduction: str) -> Term:
    found = (x - target) / largest((1 - x) * x, SMALLEST_PRODUCT)
    found = found if weight is None else found * weight
    return found * share_of(g, reduction, prod(x.shape))


@formula("binary_cross_entropy_with_logits")
def with_logits(x: Term, target: Term, weight: Any, pos_weight: Any, reduction: str) -> Term:
    """(1 - t) x + p log(1 + exp(-x)), p being 1 + (pos_weight - 1) t, without overflow."""
    rest = log1p(exp(-abs(x))) - smallest(x, 0.0)
    if pos_weight is not None:
        rest = rest * (1 + (pos_weight - 1) * target)
    found = (1 - target) * x + rest
    return collect(found if weight is None else found * weight, reduction)


@formula("bce_with_logits_backward")
def with_logits_backward(g: Term, x: Term, target: Term, weight: Any, pos_weight: Any,
                         reduction: str) -> Term:
    share = sigmoid(x)
    if pos_weight is None:
        found = share - target
    else:
        p = pos_weight * target
        found = (p + 1 - target) * share - p
    found = found if weight is None else found * weight
    return found * share_of(g, reduction, prod(broadcast((found.shape, target.shape))))


# Losses whose target is a class.

def hits(target: Term, classes: int, dtype: str, axis: int) -> Term:
    """Where a class is the target's, classes along `axis`."""
    wide = target.reshape((*target.shape[:axis], 1, *target.shape[axis:])).as_number(dtype)
    places = Term(target.graph, target.graph.range(classes, dtype))
    return wide.do("eq", places.reshape((classes, *(1,) * (len(target.shape) - axis))))


def picked(hit: Term, x: Term, axis: int) -> Term:
    """What `x` holds where there is a hit (all else adds nothing, not even a sign)."""
    return hit.choose(x, -0.0).reduce("add", (axis,), False)


def factors(hit: Term, target: Term, weight: Any, kept: Any, axis: int, dtype: str) -> Term | None:
    """What each target counts for; None where all count the same."""
    if weight is None:
        return None if kept is None else kept.as_number(dtype)
    wide = weight.reshape((*weight.shape, *(1,) * (len(target.shape) - axis)))
    return blanked(picked(hit, wide, axis), kept)


def not_ignored(target: Term, ignored: int, ignores: bool, dtype: str) -> Term | None:
    """Where targets count; None where all do."""
    return target.as_number(dtype).do("ne", ignored) if ignores else None


def doubt_classes(target: Term, classes: int, ignored: int, ignores: bool, dtype: str) -> None:
    """Doubt targets that are no class, and those that are ignored where none are to be."""
    place = target.as_number(dtype)
    right = (place >= 0) & (place < classes)
    if ignores:
        right = right | place.do("eq", ignored)
    elif 0 <= ignored < classes:
        right = right & place.do("ne", ignored)
    target.graph.doubts.append(collect(right.choose(place, nan), "sum").value)


def blanked(values: Term, kept: Any) -> Term:
    """0 where targets are ignored, whatever was there."""
    return values if kept is None else kept.choose(values, 0.0)


@formula("nll_loss", "nll_loss2d")
def nll_loss(x: Term, target: Term, weight: Any, ignored: int, ignores: bool,
             reduction: str) -> Term:
    axis = min(len(x.shape) - 1, 1)
    doubt_classes(target, x.shape[axis], ignored, ignores, x.dtype)
    hit = hits(target, x.shape[axis], x.dtype, axis)
    kept = not_ignored(target, ignored, ignores, x.dtype)
    share = factors(hit, target, weight, kept, axis, x.dtype)
    values = -picked(hit, x, axis)
    values = blanked(values if weight is None else values * share, kept)
    if reduction != "mean" or share is None:
        return collect(values, reduction)
    return collect(values, "sum") / collect(share, "sum")


@formula("nll_loss_backward")
def nll_loss_backward(g: Term, shape: Any, target: Term, weight: Any, ignored: int,
                      ignores: bool, reduction: str) -> Term:
    axis = min(len(shape) - 1, 1)
    hit = hits(target, shape[axis], g.dtype, axis)
    kept = not_ignored(target, ignored, ignores, g.dtype)
    share = factors(hit, target, weight, kept, axis, g.dtype)
    if reduction == "mean":
        g = g / (prod(target.shape) if share is None else collect(share, "sum"))
    values = blanked(-g if weight is None else -g * share, kept)
    if reduction == "none" or share is not None:
        values = values.reshape((*target.shape[:axis], 1, *target.shape[axis:]))
    return hit.choose(values, 0.0)
