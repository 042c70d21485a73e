"""Losses whose target is a class (or a set of classes): negative log-likelihood and margins."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.activation import log_softmax_along, logsigmoid
from kkori.ops.direct import direct
from kkori.ops.loss import collect, reduced, reduction_of, share_of
from kkori.tensor import Tensor

# Negative log-likelihood. input: (N, C, ...) or (C), target: (N, ...) or ().

# Rows check their targets themselves, and see for themselves whether some are ignored: compiled
# rounds do not look. `ignores` says whether they are to expect that; where they do not, targets
# that are ignored make them run the row.

def chosen(target: Any, weight: Any, ignore_index: int, kind: Any) -> tuple[Any, Any, Any]:
    """Target classes with ignored ones replaced by 0, their weights (None: all 1), and where they
    are ignored (None: nowhere)."""
    ignored = target == ignore_index
    if not ignored.any():
        return target, None if weight is None else weight[target], None
    classes = np.where(ignored, 0, target)
    return classes, blanked(kind.type(1) if weight is None else weight[classes], ignored), ignored


def blanked(values: Any, ignored: Any) -> Any:
    """0 where targets are ignored, whatever was there: times 0, NaN and infinities would stay."""
    return values if ignored is None else np.where(ignored, values.dtype.type(0), values)


def nll_array(input: Any, target: Any, weight: Any, ignore_index: Any, ignores: Any,
              reduction: Any) -> Any:
    """Minus what `input` holds at the target classes, weighted."""
    check_classes(target, input.shape[1 if input.ndim > 1 else 0], ignore_index)
    classes, factors, ignored = chosen(target, weight, ignore_index, input.dtype)
    values = -picked(input, classes)
    if factors is not None:
        values = blanked(values * factors, ignored)
    if reduction != "mean" or factors is None:
        return collect(values, reduction)
    return np.add.reduce(values, axis=None) / np.add.reduce(factors, axis=None)


def picked(input: Any, classes: Any) -> Any:
    """input[n, classes[n, ...], ...]."""
    if input.ndim == 1:
        return np.asarray(input[classes])
    if input.ndim == 2:
        return input[np.arange(classes.shape[0]), classes]
    return np.take_along_axis(input, np.expand_dims(classes, 1), 1)[:, 0]


def nll_back_array(grad: Any, shape: Any, target: Any, weight: Any, ignore_index: Any,
                   ignores: Any, reduction: Any) -> Any:
    """Zeros with the gradient at the target classes."""
    classes, factors, ignored = chosen(target, weight, ignore_index, grad.dtype)
    found = np.zeros(shape, grad.dtype)
    if reduction == "mean":
        count = classes.size if factors is None else np.add.reduce(factors, axis=None)
        grad = grad / grad.dtype.type(count)
    values = -grad if factors is None else blanked(-grad * factors, ignored)
    if len(shape) == 1:
        found[classes] = values
    elif len(shape) == 2:
        found[np.arange(classes.shape[0]), classes] = values
    else:
        values = np.broadcast_to(values, classes.shape)
        np.put_along_axis(found, np.expand_dims(classes, 1), np.expand_dims(values, 1), 1)
    return found


_nll_back = direct("nll_loss_backward", nll_back_array, {
    "grad": lambda g, target, weight, ignore_index, ignores, reduction: _nll(
        g, target, weight, ignore_index, ignores, reduction)})
NLL_GRADIENT = {
    "input": lambda g, input_shape, target, weight, ignore_index, ignores, reduction: _nll_back(
        g, input_shape, target, weight, ignore_index, ignores, reduction)}
_nll = direct("nll_loss", nll_array, NLL_GRADIENT)
_nll_of_places = direct("nll_loss2d", nll_array, NLL_GRADIENT, node="NllLoss2DBackward0")


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None,
             size_average: bool | None = None, ignore_index: int = -100,
             reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """-input at the target class, (N, C, ...) and (N, ...); input holds log-probabilities.

    IndexError for classes that do not exist, ValueError for batches of different sizes.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    return nll_of(input, target, weight, ignore_index, reduction)


def nll_of(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int,
           reduction: str) -> Tensor:
    x, t = input._array, target._array
    check_nll(x, t, weight, target)
    classes = x.shape[1 if x.ndim > 1 else 0]
    if x.ndim == 1 and t.ndim == 1:
        target = target.reshape(())
    if t.dtype.kind == "u":
        target = target.long()
    ignores = switch.tape is None or may_ignore(switch.tape, target._array, classes, ignore_index)
    return (_nll if x.ndim < 3 else _nll_of_places)(
        input, target, weight, ignore_index, ignores, reduction)


def may_ignore(tape: Any, target: Any, classes: int, ignore_index: int) -> bool:
    """Whether a round is to expect that some of its targets are ignored: those that it makes
    itself may be."""
    if target.__class__ is not np.ndarray or tape.recorded(target) is not None:
        return True
    return check_classes(target, classes, ignore_index)


def check_nll(x: Any, t: Any, weight: Tensor | None, target: Tensor) -> None:
    """PyTorch's errors for shapes and types that do not fit."""
    if x.ndim < 1:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if x.ndim == 1:
        if t.ndim and t.shape != (1,):
            raise ValueError("For 1D input, 1D target must have size 1, but got target size: "
                             f"{t.shape[0]}")
    elif not t.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    elif x.shape[0] != t.shape[0]:
        raise ValueError(errors.message(
            f"Expected input batch_size ({x.shape[0]}) to match target batch_size "
            f"({t.shape[0]}).", what=f"input {errors.of_shape(x.shape)}, target "
            f"{errors.of_shape(t.shape)}"))
    elif x.ndim == 2 and t.ndim > 1:
        raise RuntimeError(errors.message(
            "0D or 1D target tensor expected, multi-target not supported",
            what=f"input {errors.of_shape(x.shape)}, target {errors.of_shape(t.shape)}",
            fix="target.squeeze(1)" if t.shape[1] == 1 else ""))
    elif x.ndim > 2:
        check_places(x, t)
    check_class_types(x, t, weight, target)


def check_places(x: Any, t: Any) -> None:
    if x.ndim == 4 and t.ndim != 3:
        raise RuntimeError("only batches of spatial targets supported (3D tensors) but got "
                           f"targets of dimension: {t.ndim}")
    if t.shape[1:] != x.shape[2:]:
        if x.ndim == 4:
            raise RuntimeError(f"size mismatch (got input: {errors.of_shape(x.shape)} , target: "
                               f"{errors.of_shape(t.shape)}")
        wanted = (x.shape[0], *x.shape[2:])
        raise RuntimeError(f"Expected target size {errors.of_shape(wanted)}, got "
                           f"{errors.of_shape(t.shape)}")


def check_class_types(x: Any, t: Any, weight: Tensor | None, target: Tensor) -> None:
    if t.dtype != np.int64 and t.dtype != np.uint8:
        raise RuntimeError(errors.message(
            f"expected target dtype to be Long or Byte, but got {target.dtype.alias}",
            fix="target.long()"))
    classes = x.shape[1 if x.ndim > 1 else 0]
    if weight is not None and weight._array.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but "
            f"got weight tensor of shape: {errors.of_shape(weight._array.shape)}")


def check_classes(target: Any, classes: int, ignore_index: int) -> bool:
    """Whether `ignore_index` may be among the targets; IndexError for a class that is none."""
    if target.__class__ is not np.ndarray or not target.size:
        return False
    low, high = np.minimum.reduce(target, axis=None), np.maximum.reduce(target, axis=None)
    if low >= 0 and high < classes:
        return 0 <= ignore_index < classes
    wrong = ((target < 0) | (target >= classes)) & (target != ignore_index)
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        raise IndexError(errors.message(
            f"Target {target[wrong].flat[0]} is out of bounds.",
            what=f"there are {classes} classes, so targets are 0 to {classes - 1}; this one is "
                 f"target{place if place else ''}",
            fix=label_hint(target[target != ignore_index], classes)))
    return True


def label_hint(labels: Any, classes: int) -> str:
    """What to do about labels of which one is no class."""
    if labels.min() == 1 and labels.max() == classes:
        return "target - 1: labels count from 0"
    return f"target.unique() shows the labels; the last layer gives {classes} numbers for each row"


def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                  size_average: bool | None = None, ignore_index: int = -100,
                  reduce: bool | None = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """-log(softmax(input)) at the target class, or averaged over the target's probabilities.

    input: (C), (N, C) or (N, C, ...); target: classes without C, or probabilities of that shape.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    shape = input._array.shape
    if shape == target._array.shape and target._array.dtype.kind in "fV":
        check_smoothing(label_smoothing)
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return soft_target(input, target, weight, reduction, label_smoothing)
    axis = 0 if len(shape) == 1 else 1
    if label_smoothing:
        check_smoothing(label_smoothing)
        return smoothed(log_softmax_along(input, axis), target, weight, ignore_index, reduction,
                        label_smoothing)
    return nll_of(log_softmax_along(input, axis), target, weight, ignore_index, reduction)


def check_smoothing(label_smoothing: float) -> None:
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError("label_smoothing must be between 0.0 and 1.0. Got: "
                           f"{label_smoothing:g}")


def class_weights(weight: Tensor, input: Tensor) -> Tensor:
    """Weights of the classes, shaped to broadcast against `input`."""
    ndim = input._array.ndim
    return weight if ndim == 1 else weight.reshape((1, -1, *(1,) * (ndim - 2)))


def soft_target(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str,
                label_smoothing: float) -> Tensor:
    """Cross entropy with a probability for each class."""
    axis = 0 if input._array.ndim == 1 else 1
    classes = input._array.shape[axis]
    logs = log_softmax_along(input, axis)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    if weight is not None:
        logs = logs * class_weights(weight, input)
    if reduction == "none":
        return -(logs * target).sum(axis)
    total = -(logs * target).sum()
    return total / (input._array.size // max(classes, 1)) if reduction == "mean" else total


def smoothed(logs: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int,
             reduction: str, label_smoothing: float) -> Tensor:
    """Cross entropy with a class as target, of which a part is spread over all classes."""
    sharp = nll_of(logs, target, weight, ignore_index, reduction)
    axis = 0 if logs._array.ndim == 1 else 1
    flat = -(logs if weight is None else logs * class_weights(weight, logs)).sum(axis)
    ignored = target == ignore_index
    flat = el.where(ignored.reshape(flat._array.shape), 0.0, flat)
    if reduction == "mean":
        safe = el.where(ignored, 0, target)
        counted = ~ignored if weight is None else el.where(ignored, 0.0, weight[safe])
        flat = flat.sum() / counted.sum()
    elif reduction == "sum":
        flat = flat.sum()
    return (1 - label_smoothing) * sharp + (label_smoothing / logs._array.shape[axis]) * flat


# Margins between classes.

def hinge_gaps(input: Any, target: Any, p: Any, margin: Any, weight: Any) -> Any:
    """max(0, margin - x_target + x_j) for every other class j, (N, C), and the weights."""
    check_margin_range(target, input.shape[1])
    rows = np.arange(target.size)
    gaps = np.maximum(margin - input[rows, target][:, None] + input, 0)
    gaps[rows, target] = 0
    return gaps, 1 if weight is None else weight[target][:, None]


def multi_margin_array(input: Any, target: Any, p: Any, margin: Any, weight: Any,
                       reduction: Any) -> Any:
    gaps, factors = hinge_gaps(input, target, p, margin, weight)
    values = (gaps if p == 1 else gaps * gaps) * factors
    return collect(np.add.reduce(values, 1) / input.dtype.type(input.shape[1]), reduction)


def multi_margin_back_array(grad: Any, input: Any, target: Any, p: Any, margin: Any, weight: Any,
                            reduction: Any) -> Any:
    gaps, factors = hinge_gaps(input, target, p, margin, weight)
    slope = ((gaps > 0).astype(input.dtype) if p == 1 else 2 * gaps) * factors
    slope /= input.shape[1]
    rows = np.arange(target.size)
    slope[rows, target] = -np.add.reduce(slope, 1)
    share = share_of(grad, reduction, input.shape[0])
    return slope * (share[:, None] if reduction == "none" else share)


_multi_margin_back = direct("multi_margin_loss_backward", multi_margin_back_array)
_multi_margin = direct("multi_margin_loss", multi_margin_array, {
    "input": lambda g, input, target, p, margin, weight, reduction: _multi_margin_back(
        g, input, target, p, margin, weight, reduction)})


def multi_margin_loss(input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0,
                      weight: Tensor | None = None, size_average: bool | None = None,
                      reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """Hinge between the target class and each other class, to the power p (1 or 2)."""
    reduction = reduction_of(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight._array.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    rows, classes, single = as_rows(input, target)
    check_margin_targets(rows, classes, input, target)
    found = _multi_margin(rows, classes, p, margin, weight, "none" if single else reduction)
    return found.reshape(()) if single else found


def as_rows(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, bool]:
    """One example as a batch of one."""
    if input._array.ndim < 2:
        return input.reshape(1, -1), target.reshape(-1), not target._array.ndim
    return input, target, False


def check_margin_targets(rows: Tensor, classes: Tensor, input: Tensor, target: Tensor) -> None:
    if classes._array.shape != (rows._array.shape[0],):
        raise RuntimeError(f"inconsistent target size, expected {rows._array.shape[0]} but got "
                           f"{errors.of_shape(target._array.shape)}")
    check_margin_range(classes._array, rows._array.shape[1])


def check_margin_range(target: Any, classes: int) -> None:
    """RuntimeError for a class that is none, where the numbers are known."""
    if target.__class__ is np.ndarray and target.size and (
            target.min() < 0 or target.max() >= classes):
        raise RuntimeError("target out of range")


def multilabel_gaps(input: Any, target: Any) -> tuple[Any, Any]:
    """max(0, 1 - x_target + x_j), (N, C targets, C others), 0 where there is no such pair."""
    if target.__class__ is np.ndarray and target.size and (
            target.min() < -1 or target.max() >= input.shape[1]):
        raise RuntimeError("argument #2 'target' is out of range")
    listed = np.logical_and.accumulate(target >= 0, 1)
    safe = np.where(listed, target, 0)
    is_target = np.zeros(input.shape, bool)
    rows = np.broadcast_to(np.arange(len(input))[:, None], target.shape)
    is_target[rows[listed], target[listed]] = True
    scores = np.take_along_axis(input, safe, 1)
    gaps = np.maximum(1 - scores[:, :, None] + input[:, None, :], 0)
    return gaps * (listed[:, :, None] & ~is_target[:, None, :]), safe


def multilabel_margin_array(input: Any, target: Any, reduction: Any) -> Any:
    gaps, _ = multilabel_gaps(input, target)
    return collect(np.add.reduce(gaps, (1, 2)) / input.dtype.type(input.shape[1]), reduction)


def multilabel_margin_back_array(grad: Any, input: Any, target: Any, reduction: Any) -> Any:
    gaps, safe = multilabel_gaps(input, target)
    hit = (gaps > 0).astype(input.dtype) / input.shape[1]
    slope = np.add.reduce(hit, 1)
    rows = np.broadcast_to(np.arange(len(input))[:, None], safe.shape)
    np.subtract.at(slope, (rows, safe), np.add.reduce(hit, 2))
    share = share_of(grad, reduction, input.shape[0])
    return slope * (share[:, None] if reduction == "none" else share)


_multilabel_back = direct("multilabel_margin_loss_backward", multilabel_margin_back_array)
_multilabel = direct("multilabel_margin_loss", multilabel_margin_array, {
    "input": lambda g, input, target, reduction: _multilabel_back(g, input, target, reduction)})


def multilabel_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
                           reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """Hinge between each target class and each other class; targets end at the first -1."""
    reduction = reduction_of(size_average, reduce, reduction)
    if input._array.shape != target._array.shape:
        raise RuntimeError(f"inconsistent target size: {errors.of_shape(target._array.shape)} for "
                           f"input of size: {errors.of_shape(input._array.shape)}")
    if input._array.ndim > 1:
        return _multilabel(input, target, reduction)
    return _multilabel(input.reshape(1, -1), target.reshape(1, -1), "sum")


def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                size_average: bool | None = None, reduce: bool | None = None,
                                reduction: str = "mean") -> Tensor:
    """Binary cross entropy with logits, averaged over the classes."""
    reduction = reduction_of(size_average, reduce, reduction)
    values = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        values = values * weight
    axis = input._array.ndim - 1
    return reduced(values.sum(axis) / input._array.shape[axis], reduction)
