"""Normalization: batch, layer, group, instance and root-mean-square, over one rule.

All of them standardize along some axes of some view of the input, then scale and shift: the rule
takes the view, the axes, and the shape in which weight and bias broadcast against the input.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from kkori.autograd.mode import before_write, switch
from kkori.autograd.views import overwrite
from kkori.core import errors
from kkori.core.dtype import finfo, float32
from kkori.core.meta import MetaArray
from kkori.ops import elementwise as el
from kkori.ops.direct import direct
from kkori.ops.table import TORCH, public
from kkori.tensor import Tensor, wrap


def standardize_array(input: Any, weight: Any, bias: Any, view: Any, axes: Any, place: Any,
                      eps: Any) -> Any:
    """(x - mean) / sqrt(var + eps) along `axes` of `view`, scaled and shifted; mean and var."""
    count = prod(view[axis] for axis in axes)
    x = input.reshape(view)
    mean = np.true_divide(np.add.reduce(x, axis=axes, keepdims=True), count)
    found = x - mean
    var = np.true_divide(np.add.reduce(found * found, axis=axes, keepdims=True), count)
    found *= np.reciprocal(np.sqrt(var + eps))
    found = found.reshape(input.shape)
    return scaled(found, weight, bias, place), mean, var


def scaled(found: Any, weight: Any, bias: Any, place: Any) -> Any:
    """`found` times weight plus bias, in its buffer."""
    if weight is not None:
        found *= weight.reshape(place)
    if bias is not None:
        found += bias.reshape(place)
    return found


def standardize_back_array(grad: Any, input: Any, weight: Any, mean: Any, var: Any, view: Any,
                           axes: Any, place: Any, eps: Any) -> Any:
    """Gradients of input, weight and bias."""
    count = prod(view[axis] for axis in axes)
    rate = np.reciprocal(np.sqrt(var + eps))
    x = input.reshape(view) - mean
    x *= rate
    others = tuple(d for d, n in enumerate(place) if n == 1)
    product = grad * x.reshape(input.shape)
    to_weight = np.add.reduce(product, axis=others).reshape(-1)
    to_bias = np.add.reduce(grad, axis=others).reshape(-1)
    if view == input.shape and others == axes:  # weight is constant along the axes
        inner, total = to_weight.reshape(place), to_bias.reshape(place)
        scale = rate if weight is None else rate * weight.reshape(place)
        found = grad - total / count
    else:
        g = grad if weight is None else grad * weight.reshape(place)
        g = g.reshape(view)
        inner = np.add.reduce(g * x, axis=axes, keepdims=True)
        found = g - np.add.reduce(g, axis=axes, keepdims=True) / count
        scale = rate
    x *= inner / count
    found -= x
    found *= scale
    return found.reshape(input.shape), to_weight, to_bias


_back = direct("standardize_backward", standardize_back_array, outputs=("input", "weight", "bias"))


def composed_back(g: Tensor, input: Tensor, weight: Any, view: Any, axes: Any, place: Any,
                  eps: Any) -> Any:
    """The same from the input alone in operations that can be differentiated again."""
    x = input.reshape(view)
    gap = x - x.mean(axes, True)
    rate = el.rsqrt((gap * gap).mean(axes, True) + eps)
    hat = gap * rate
    others = tuple(d for d, n in enumerate(place) if n == 1)
    wide = g if weight is None else g * weight.reshape(place)
    wide = wide.reshape(view)
    found = rate * (wide - wide.mean(axes, True) - hat * (wide * hat).mean(axes, True))
    return (found.reshape(input.shape), summed(g * hat.reshape(input.shape), others),
            summed(g, others))


def summed(g: Tensor, axes: Any) -> Tensor:
    """Sum along the axes in which a weight does not vary, as one row."""
    return (g.sum(axes) if axes else g).reshape(-1)


def standardize_gradient(gs: Any, input: Tensor, weight: Any, bias_shape: Any, mean: Any,
                         var: Any, view: Any, axes: Any, place: Any, eps: Any) -> Any:
    """One row where the gradient is final; composed where it is to be differentiated again."""
    g = gs[0]
    if switch.on:
        found = composed_back(g, input, weight, view, axes, place, eps)
    else:
        found = _back(g, input, weight, mean, var, view, axes, place, eps)
    to_input, to_weight, to_bias = found
    return [to_input, None if weight is None else to_weight.reshape(weight.shape),
            to_bias.reshape(bias_shape) if bias_shape else None, None, None, None, None]


def standardizing(name: str, node: str) -> Callable[..., Any]:
    """The rule under the name of one of PyTorch's functions."""
    return direct(name, standardize_array, {("input", "weight", "bias"): standardize_gradient},
                  outputs=("out", "mean", "var"), node=node)


_batch_norm = standardizing("native_batch_norm", "NativeBatchNormBackward0")
_layer_norm = standardizing("native_layer_norm", "NativeLayerNormBackward0")
_group_norm = standardizing("native_group_norm", "NativeGroupNormBackward0")


# With given statistics.

def fixed_array(input: Any, weight: Any, bias: Any, mean: Any, var: Any, place: Any,
                eps: Any) -> Any:
    """Standardized by statistics from elsewhere: one factor and one offset a channel."""
    factor = np.reciprocal(np.sqrt(var + eps))
    if weight is not None:
        factor = factor * weight
    offset = -mean * factor if bias is None else bias - mean * factor
    found = input * factor.reshape(place)
    found += offset.reshape(place)
    return found


def hat_of(input: Tensor, mean: Tensor, var: Tensor, place: Any, eps: float) -> Tensor:
    return (input - mean.reshape(place)) * el.rsqrt(var + eps).reshape(place)


def fixed_input(g: Tensor, weight: Any, var: Tensor, place: Any, eps: Any) -> Tensor:
    factor = el.rsqrt(var + eps)
    return g * (factor if weight is None else factor * weight).reshape(place)


def not_one(place: Any) -> tuple[int, ...]:
    return tuple(d for d, n in enumerate(place) if n == 1)


_fixed_norm = direct("fixed_batch_norm", fixed_array, {
    "input": fixed_input,
    "weight": lambda g, input, mean, var, place, eps: summed(
        g * hat_of(input, mean, var, place, eps), not_one(place)),
    "bias": lambda g, place: summed(g, not_one(place))}, node="NativeBatchNormBackward0")


def check_more_than_one(shape: Any) -> None:
    """ValueError: the statistics of one value a channel mean nothing."""
    if len(shape) > 1 and prod(shape) == shape[1] or len(shape) == 1 and shape[0] == 1:
        raise ValueError(errors.message(
            f"Expected more than 1 value per channel when training, got input size "
            f"torch.Size([{', '.join(map(str, shape))}])",
            fix="use batches of at least 2 (DataLoader(..., drop_last=True)), or model.eval()"))


def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
               weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
               momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """Each channel (dimension 1) standardized over the batch, or by running statistics.

    While training the running statistics move towards the batch's by `momentum`. ValueError for
    one value a channel while training. (Ioffe, Szegedy 2015)
    """
    if training:
        check_more_than_one(input._array.shape)
        if eps <= 0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    elif eps < 0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    return batch_normalized(input, weight, bias, running_mean, running_var, training, momentum,
                            eps)


@public(name="batch_norm", method=False, out=False)
def batch_norm_torch(input: Tensor, weight: Any, bias: Any, running_mean: Any, running_var: Any,
                     training: bool, momentum: float, eps: float, cudnn_enabled: bool) -> Tensor:
    """``torch.batch_norm``: `nn.functional.batch_norm` with another order of arguments."""
    return batch_normalized(input, weight, bias, running_mean, running_var, training, momentum,
                            eps)


def batch_normalized(input: Tensor, weight: Any, bias: Any, running_mean: Any, running_var: Any,
                     training: bool, momentum: float, eps: float) -> Tensor:
    shape = input._array.shape
    if not input._array.size:
        return input.clone()
    if len(shape) < 2:
        raise errors.bad_dimension(1, len(shape))
    channels = shape[1]
    for name, tensor in (("running_mean", running_mean), ("running_var", running_var),
                         ("weight", weight), ("bias", bias)):
        if tensor is not None and tensor._array.size != channels:
            raise RuntimeError(errors.message(
                f"{name} should contain {channels} elements not {tensor._array.size}"))
    place = (1, channels, *(1,) * (len(shape) - 2))
    if not training:
        if running_mean is None or running_var is None:
            name = "running_var" if running_mean is not None else "running_mean"
            raise RuntimeError(f"{name} must be defined in evaluation mode")
        return _fixed_norm(input, weight, bias, running_mean, running_var, place, eps)
    axes = (0, *range(2, len(shape)))
    found, mean, var = _batch_norm(input, weight, bias, shape, axes, place, eps)
    count = input._array.size // max(channels, 1)
    move_towards(running_mean, mean, 1.0, momentum)
    move_towards(running_var, var, count / max(count - 1, 1), momentum)
    return found


def moved_array(running: Any, found: Any, scale: Any, momentum: Any) -> Any:
    """``(1 - momentum) * running + momentum * scale * found``."""
    found = found if scale == 1 else found * scale
    return running * (1 - momentum) + found.reshape(running.shape) * momentum


_moved = direct("moved_towards", moved_array)


def move_towards(running: Tensor | None, found: Tensor, scale: float, momentum: float) -> None:
    """``running = (1 - momentum) * running + momentum * scale * found``, in place."""
    if running is None or isinstance(found._array, MetaArray):
        return
    if switch.tape is not None and running._array.dtype == found._array.dtype and not (
            running._requires_grad):
        overwrite(running, _moved(running, found, scale, momentum))
        return
    before_write(running)
    numbers, array = np.asarray(found._array), running._array
    numbers = numbers if scale == 1 else numbers * scale
    array *= 1 - momentum
    array += (numbers.reshape(array.shape) * momentum).astype(array.dtype, copy=False)
    running.shared_storage().version += 1


def instance_norm(input: Tensor, running_mean: Tensor | None = None,
                  running_var: Tensor | None = None, weight: Tensor | None = None,
                  bias: Tensor | None = None, use_input_stats: bool = True,
                  momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """Each channel of each example standardized over its places."""
    shape = input._array.shape
    if use_input_stats and prod(shape[2:]) == 1:
        raise ValueError("Expected more than 1 spatial element when training, got input size "
                         f"torch.Size([{', '.join(map(str, shape))}])")
    return TORCH["instance_norm"](input, weight, bias, running_mean, running_var,
                                  use_input_stats, momentum, eps, False)


@public(name="instance_norm", method=False, out=False)
def instance_norm_torch(input: Tensor, weight: Any, bias: Any, running_mean: Any,
                        running_var: Any, use_input_stats: bool, momentum: float, eps: float,
                        cudnn_enabled: bool) -> Tensor:
    """``torch.instance_norm``."""
    shape = input._array.shape
    place = (1, shape[1], *(1,) * (len(shape) - 2))
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when "
                               "use_input_stats is false")
        return _fixed_norm(input, weight, bias, running_mean, running_var, place, eps)
    axes = tuple(range(2, len(shape)))
    found, mean, var = _batch_norm(input, weight, bias, shape, axes, place, eps)
    count = prod(shape[2:])
    move_towards(running_mean, wrap(mean._array.mean(0)), 1.0, momentum)
    move_towards(running_var, wrap(var._array.mean(0)), count / max(count - 1, 1), momentum)
    return found


def check_normalized(input: Tensor, normalized_shape: tuple[int, ...], weight: Any,
                     bias: Any) -> None:
    """RuntimeError where the last dimensions, weight or bias have another shape."""
    if not normalized_shape:
        raise RuntimeError("Expected normalized_shape to be at least 1-dimensional, i.e., "
                           "containing at least one element, but got normalized_shape = []")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor._array.shape != normalized_shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of "
                f"shape {errors.of_shape(tensor._array.shape)} and normalized_shape = "
                f"{errors.of_shape(normalized_shape)}")
    shape = input._array.shape
    if shape[-len(normalized_shape):] != normalized_shape:
        sizes = ", ".join(map(str, normalized_shape))
        raise RuntimeError(errors.message(
            f"Given normalized_shape=[{sizes}], expected input with shape [*, {sizes}], but got "
            f"input of size{errors.of_shape(shape)}"))


@public(name="layer_norm", method=False, out=False)
def layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5,
               cudnn_enable: bool = True) -> Tensor:
    """Standardized over the last dimensions, which have `normalized_shape` (Ba et al. 2016)."""
    last = tuple(normalized_shape)
    check_normalized(input, last, weight, bias)
    shape = input._array.shape
    first = len(shape) - len(last)
    place = (1,) * first + last
    return _layer_norm(input, weight, bias, shape, tuple(range(first, len(shape))), place, eps)[0]


def rms_array(input: Any, weight: Any, axes: Any, eps: Any) -> Any:
    """x over the root of its mean square, and one over that root."""
    count = prod(input.shape[axis] for axis in axes)
    squares = np.add.reduce(input * input, axis=axes, keepdims=True)
    rate = np.reciprocal(np.sqrt(np.true_divide(squares, count) + eps))
    found = input * rate
    return (found if weight is None else found * weight), rate


def rms_back_array(grad: Any, input: Any, weight: Any, rate: Any, axes: Any) -> Any:
    """Gradients of input and weight."""
    count = prod(input.shape[axis] for axis in axes)
    hat = input * rate
    lead = tuple(range(input.ndim - len(axes)))
    to_weight = np.add.reduce(grad * hat, axis=lead)
    wide = grad if weight is None else grad * weight
    inner = np.add.reduce(wide * hat, axis=axes, keepdims=True) / count
    return rate * (wide - hat * inner), to_weight


_rms_back = direct("fused_rms_norm_backward", rms_back_array, outputs=("input", "weight"))


def rms_gradient(gs: Any, input: Tensor, weight: Any, rate: Any, axes: Any, eps: Any) -> Any:
    g = gs[0]
    if not switch.on:
        found, to_weight = _rms_back(g, input, weight, rate, axes)
        return [found, None if weight is None else to_weight, None, None]
    wide = g if weight is None else g * weight
    rate = el.rsqrt((input * input).mean(axes, True) + eps)
    hat = input * rate
    found = rate * (wide - hat * (wide * hat).mean(axes, True))
    return [found, None if weight is None else g * hat, None, None]


_rms_norm = direct("fused_rms_norm", rms_array, {("input", "weight"): rms_gradient},
                   outputs=("out", "rate"), node="FusedRmsNormBackward0")


@public(method=False, out=False)
def rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None,
             eps: float | None = None) -> Tensor:
    """x over the root of the mean square of the last dimensions (Zhang, Sennrich 2019)."""
    last = tuple(normalized_shape)
    check_normalized(input, last, weight, None)
    ndim = input._array.ndim
    if eps is None:
        kind = float32 if input.dtype.itemsize == 2 else input.dtype  # halves are summed in it
        eps = finfo(kind).eps
    return _rms_norm(input, weight, tuple(range(ndim - len(last), ndim)), eps)[0]


def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Channels in `num_groups` groups, each standardized in each example (Wu, He 2018)."""
    shape = input._array.shape
    if len(shape) < 2:
        raise RuntimeError("Expected at least 2 dimensions for input tensor but received "
                           f"{len(shape)}")
    check_more_than_one((shape[0] * shape[1] // num_groups, num_groups, *shape[2:]))
    return TORCH["group_norm"](input, num_groups, weight, bias, eps)


@public(name="group_norm", method=False, out=False)
def group_norm_torch(input: Tensor, num_groups: int, weight: Tensor | None = None,
                     bias: Tensor | None = None, eps: float = 1e-5,
                     cudnn_enabled: bool = True) -> Tensor:
    """``torch.group_norm``."""
    shape = input._array.shape
    channels = shape[1]
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if channels % num_groups:
        raise RuntimeError("Expected number of channels in input to be divisible by num_groups, "
                           f"but got input of shape {errors.of_shape(shape)} and "
                           f"num_groups={num_groups}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor._array.shape != (channels,):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in "
                f"input, but got {name} of shape {errors.of_shape(tensor._array.shape)} and input "
                f"of shape {errors.of_shape(shape)}")
    view = (shape[0], num_groups, prod(shape[1:]) // num_groups)
    place = (1, channels, *(1,) * (len(shape) - 2))
    return _group_norm(input, weight, bias, view, (2,), place, eps)[0]


# With the statistics as further results.

def rate_of(var: Tensor, eps: float) -> Tensor:
    """One over the standard deviation, as a result that is not followed."""
    return wrap(np.reciprocal(np.sqrt(var._array + eps)))


@public(method=False, out=False)
def native_layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None,
                      bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """``layer_norm``, the means, and one over the standard deviations."""
    last = tuple(normalized_shape)
    check_normalized(input, last, weight, bias)
    shape = input._array.shape
    first = len(shape) - len(last)
    found, mean, var = _layer_norm(input, weight, bias, shape, tuple(range(first, len(shape))),
                                   (1,) * first + last, eps)
    return found, mean.detach(), rate_of(var, eps)


@public(method=False, out=False)
def native_group_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int,
                      HxW: int, group: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """``group_norm``, the means (N, groups), and one over the standard deviations."""
    place, view = (1, C, *(1,) * (input._array.ndim - 2)), (N, group, C // group * HxW)
    found = _group_norm(input, weight, bias, view, (2,), place, eps)[0]
    mean = input.reshape(view).mean(2)
    gap = input.reshape(view) - mean.unsqueeze(2)
    return found, mean, el.rsqrt((gap * gap).mean(2) + eps)


@public(method=False, out=False)
def native_batch_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None,
                      running_mean: Tensor | None, running_var: Tensor | None, training: bool,
                      momentum: float, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """``batch_norm``, the batch's means, and one over its standard deviations."""
    found = batch_normalized(input, weight, bias, running_mean, running_var, training, momentum,
                             eps)
    if not training:
        empty = input.new_empty((0,)).detach()
        return found, empty, empty.clone()
    array = input._array
    axes = (0, *range(2, array.ndim))
    mean, var = array.mean(axes, keepdims=True), array.var(axes)
    return found, wrap(mean.reshape(-1)), rate_of(wrap(var), eps)
