"""Losses that are a few operations one after the other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from kkori.autograd.mode import no_grad
from kkori.ops import elementwise as el
from kkori.ops.distance import pairwise_distance
from kkori.ops.loss import REDUCTIONS, reduced, reduction_of
from kkori.ops.table import TORCH
from kkori.tensor import Tensor


def kl_div(input: Tensor, target: Tensor, size_average: bool | None = None,
           reduce: bool | None = None, reduction: str = "mean",
           log_target: bool = False) -> Tensor:
    """target * (log(target) - input); `input` (and the target, if so said) are logarithms.

    `reduction="batchmean"` divides the sum by the batch size, as the definition has it.
    """
    if reduction == "mean" and size_average is None and reduce is None:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.'mean' will be changed to behave the same as 'batchmean' in the next major "
            "release.", stacklevel=2)
    by_batch = reduction == "batchmean"
    reduction = reduction_of(size_average, reduce, "sum" if by_batch else reduction)
    if log_target:
        values = el.exp(target) * (target - input)
    else:
        values = el.xlogy(target, target) - target * input
    found = reduced(values, reduction)
    return found / input._array.shape[0] if by_batch and input._array.ndim else found


def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool = True, full: bool = False,
                     size_average: bool | None = None, eps: float = 1e-8,
                     reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """-log of the Poisson probability of `target`; `full` adds Stirling's approximation."""
    reduction = reduction_of(size_average, reduce, reduction)
    if log_input:
        values = el.exp(input) - target * input
    else:
        values = input - target * el.log(input + eps)
    if full:
        stirling = target * el.log(target) - target + 0.5 * el.log(2 * math.pi * target)
        values = values + el.mask(target > 1, stirling)
    return reduced(values, reduction)


def gaussian_nll_loss(input: Tensor, target: Tensor, var: Any, full: bool = False,
                      eps: float = 1e-6, reduction: str = "mean") -> Tensor:
    """-log of the normal density of `target`, with mean `input` and variance `var`.

    ValueError for negative variances, or variances of a shape that does not fit.
    """
    var = variances(input, var)
    if reduction not in REDUCTIONS:
        raise ValueError(reduction + " is not valid")
    var = var.clone()
    with no_grad():
        var.clamp_(min=eps)
    values = 0.5 * (el.log(var) + (input - target) ** 2 / var)
    if full:
        values = values + 0.5 * math.log(2 * math.pi)
    return reduced(values, reduction)


def variances(input: Tensor, var: Any) -> Tensor:
    """`var` in a shape that broadcasts against `input`."""
    if isinstance(var, float):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        return TORCH["full_like"](input, var)
    if (var < 0).any():
        raise ValueError("var has negative entry/entries")
    shape, found = input._array.shape, var._array.shape
    if found == shape:
        return var
    if shape[:-1] == found:
        return var.unsqueeze(-1)
    if len(shape) == len(found) and sum(
            n for m, n in zip(shape, found, strict=True) if m != n) == 1:
        return var
    raise ValueError("var is of incorrect size")


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0,
                         size_average: bool | None = None, reduce: bool | None = None,
                         reduction: str = "mean") -> Tensor:
    """input where the target is 1, max(0, margin - input) where it is -1."""
    reduction = reduction_of(size_average, reduce, reduction)
    far = el.where(target != 1, el.clamp(margin - input, min=0), 0.0)
    near = el.where(target != -1, input, 0.0)
    return reduced(far + near, reduction)


def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
                        size_average: bool | None = None, reduce: bool | None = None,
                        reduction: str = "mean") -> Tensor:
    """max(0, margin - target * (input1 - input2))."""
    reduction = reduction_of(size_average, reduce, reduction)
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} ")
    return reduced(el.clamp(-target * (input1 - input2) + margin, min=0), reduction)


def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
                          size_average: bool | None = None, reduce: bool | None = None,
                          reduction: str = "mean") -> Tensor:
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1."""
    reduction = reduction_of(size_average, reduce, reduction)
    check_cosine(input1, input2, target)
    dim = target._array.ndim
    length = ((input1 * input1).sum(dim) + 1e-12) * ((input2 * input2).sum(dim) + 1e-12)
    cosine = (input1 * input2).sum(dim) / el.sqrt(length)
    near = el.where(target == 1, 1 - cosine, 0.0)
    far = el.where(target == -1, el.clamp(cosine - margin, min=0), 0.0)
    return reduced(near + far, reduction)


def check_cosine(input1: Tensor, input2: Tensor, target: Tensor) -> None:
    """RuntimeError unless vectors, or rows of vectors, meet a number, or a row of them."""
    ndim = target._array.ndim
    if ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if not input1.dim() == input2.dim() == ndim + 1:
        raise RuntimeError(
            f"{ndim}D target tensor expects {ndim + 1}D input tensors, but found inputs with sizes "
            f"{list(input1.shape)} and {list(input2.shape)}.")


def check_triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> None:
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative "
            f"{negative.ndim}D inputs")


def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0,
                        p: float = 2, eps: float = 1e-6, swap: bool = False,
                        size_average: bool | None = None, reduce: bool | None = None,
                        reduction: str = "mean") -> Tensor:
    """max(0, distance to the positive - distance to the negative + margin)."""
    reduction = reduction_of(size_average, reduce, reduction)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return pairwise_distance(x, y, p, eps)
    return triplet(anchor, positive, negative, distance, margin, swap, reduction)


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, distance: Callable[..., Tensor],
            margin: float, swap: bool, reduction: str) -> Tensor:
    """The triplet loss with any distance."""
    check_triplet(anchor, positive, negative, margin)
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = el.minimum(far, distance(positive, negative))
    return reduced(el.clamp(margin + near - far, min=0), reduction)


def triplet_margin_with_distance_loss(
        anchor: Tensor, positive: Tensor, negative: Tensor, *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0,
        swap: bool = False, reduction: str = "mean") -> Tensor:
    """The triplet loss with a distance of your own."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return triplet(anchor, positive, negative, distance_function or pairwise_distance, margin,
                   swap, reduction)


def by_number(function: Callable[..., Tensor], *defaults: str) -> Callable[..., Tensor]:
    """The form in ``torch.``: no deprecated arguments, `reduction` may be 0, 1 or 2."""
    def call(*args: Any, **options: Any) -> Tensor:
        names = defaults[:len(args)]
        given = {**dict(zip(names, args, strict=True)), **options}
        number = given.get("reduction", 1)
        given["reduction"] = tuple(REDUCTIONS)[number] if isinstance(number, int) else number
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(**given)
    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    return call


def register(*functions: tuple[Callable[..., Tensor], str]) -> None:
    for function, names in functions:
        TORCH[function.__name__] = by_number(function, *names.split())


register(
    (kl_div, "input target reduction"),
    (poisson_nll_loss, "input target log_input full eps reduction"),
    (hinge_embedding_loss, "input target margin reduction"),
    (margin_ranking_loss, "input1 input2 target margin reduction"),
    (cosine_embedding_loss, "input1 input2 target margin reduction"),
    (triplet_margin_loss, "anchor positive negative margin p eps swap reduction"))
