"""Convolutions: columns of windows times a matrix. Three rows that are one another's gradients."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops.direct import direct, tuple_of
from kkori.ops.table import TORCH, not_a_tensor
from kkori.ops.windows import (
    channels_last,
    columns,
    crop,
    from_columns,
    from_rows,
    out_lengths,
    padded,
    rows_of_windows,
    slices,
)
from kkori.tensor import Tensor

LIMIT = 1 << 20  # elements of columns made at a time


def pieces(examples: int, each: int) -> list[slice]:
    """Slices of a batch whose columns stay within the limit."""
    step = max(1, LIMIT // max(each, 1))
    return [slice(start, start + step) for start in range(0, examples, step)]


def conv_array(input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
               groups: Any) -> Any:
    """input (N, C, *space), weight (O, C / groups, *kernel), bias (O): (N, O, *out)."""
    kernel = weight.shape[2:]
    out = out_lengths(input.shape[2:], kernel, stride, padding, dilation)
    if by_rows(input.shape[1], out, groups):
        return with_bias(conv_rows(input, weight, stride, padding, dilation, out), bias)
    x = padded(input, padding)
    if by_channels(weight.shape, groups):
        return with_bias(conv_channels(x, weight, stride, dilation, out), bias)
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    count = prod(out)
    found = np.empty((len(x), *matrix.shape[:2], count), input.dtype)
    for part in pieces(len(x), matrix.shape[-1] * groups * count):
        np.matmul(matrix, as_columns(x[part], kernel, stride, dilation, out, groups),
                  out=found[part])
    return with_bias(found.reshape(len(x), weight.shape[0], *out), bias)


def with_bias(found: Any, bias: Any) -> Any:
    """A number added to each channel, in the same buffer."""
    if bias is not None:
        found += bias.reshape(-1, *(1,) * (found.ndim - 2))
    return found


# With channels last, one row a window: one large product, and long rows to copy.

def by_rows(channels: int, out: Any, groups: int) -> bool:
    """Whether channels are more than the places of a row of the result."""
    return groups == 1 and channels >= 8 and channels >= out[-1]


def as_matrix(weight: Any) -> Any:
    """The weight as (kernel * C, O)."""
    return np.moveaxis(weight, (0, 1), (-1, -2)).reshape(-1, weight.shape[0])


def conv_rows(input: Any, weight: Any, stride: Any, padding: Any, dilation: Any, out: Any) -> Any:
    kernel, outputs = weight.shape[2:], weight.shape[0]
    x, matrix = channels_last(input, padding), as_matrix(weight)
    found = np.empty((len(x), outputs, prod(out)), input.dtype)
    for part in pieces(len(x), matrix.shape[0] * prod(out)):
        product = rows_of_windows(x[part], kernel, stride, dilation, out) @ matrix
        found[part] = product.reshape(-1, prod(out), outputs).swapaxes(1, 2)
    return found.reshape(len(x), outputs, *out)


def conv_input_rows(grad: Any, weight: Any, shape: Any, stride: Any, padding: Any,
                    dilation: Any) -> Any:
    kernel, out = weight.shape[2:], grad.shape[2:]
    g, matrix = channels_last(grad, ((0, 0),) * len(out)), as_matrix(weight)
    found = np.empty(shape, grad.dtype)
    for part in pieces(len(g), matrix.shape[0] * prod(out)):
        rows = g[part].reshape(-1, weight.shape[0]) @ matrix.T
        found[part] = from_rows(rows, (len(g[part]), *shape[1:]), padding, kernel, stride,
                                dilation, out)
    return found


def conv_weight_rows(grad: Any, input: Any, shape: Any, stride: Any, padding: Any,
                     dilation: Any) -> Any:
    kernel, out = shape[2:], grad.shape[2:]
    x, g = channels_last(input, padding), channels_last(grad, ((0, 0),) * len(out))
    found = np.zeros((prod(shape[1:]), shape[0]), grad.dtype)
    for part in pieces(len(x), found.shape[0] * prod(out)):
        rows = rows_of_windows(x[part], kernel, stride, dilation, out)
        found += rows.T @ g[part].reshape(-1, shape[0])
    return np.moveaxis(found.reshape(*kernel, shape[1], shape[0]), (-1, -2), (0, 1)).copy()


def as_columns(x: Any, kernel: Any, stride: Any, dilation: Any, out: Any, groups: int) -> Any:
    """Columns as matrices: (N, groups, C / groups * kernel, out)."""
    if prod(kernel) == 1 and prod(stride) == 1:
        found = np.ascontiguousarray(x)
    else:
        found = columns(x, kernel, stride, dilation, out)
    return found.reshape(len(x), groups, x.shape[1] // groups * prod(kernel), prod(out))


# One channel in, one out, in each group: a product for each place of the window.

def by_channels(weight_shape: Any, groups: int) -> bool:
    """Whether every channel is convolved by itself."""
    return groups > 1 and weight_shape[:2] == (groups, 1)


def factor(weight: Any, place: Any) -> Any:
    """The weights of one place, shaped to broadcast against (N, C, *space)."""
    return weight[(slice(None), 0, *place)].reshape(-1, *(1,) * len(place))


def conv_channels(x: Any, weight: Any, stride: Any, dilation: Any, out: Any) -> Any:
    found = np.zeros((*x.shape[:2], *out), x.dtype)
    product = np.empty_like(found)
    for place, part in slices(weight.shape[2:], stride, dilation, out):
        found += np.multiply(x[part], factor(weight, place), out=product)
    return found


def conv_input_channels(grad: Any, weight: Any, space: Any, stride: Any, dilation: Any) -> Any:
    found = np.zeros((*grad.shape[:2], *space), grad.dtype)
    product = np.empty_like(grad)
    for place, part in slices(weight.shape[2:], stride, dilation, grad.shape[2:]):
        found[part] += np.multiply(grad, factor(weight, place), out=product)
    return found


def conv_weight_channels(grad: Any, x: Any, shape: Any, stride: Any, dilation: Any) -> Any:
    found = np.empty(shape, grad.dtype)
    letters = "nc" + "xyz"[:len(shape) - 2]
    for place, part in slices(shape[2:], stride, dilation, grad.shape[2:]):
        found[(slice(None), 0, *place)] = np.einsum(f"{letters},{letters}->c", grad, x[part])
    return found


def conv_input_array(grad: Any, weight: Any, shape: Any, stride: Any, padding: Any, dilation: Any,
                     groups: Any) -> Any:
    """The gradient of the input (of `shape`): also what a transposed convolution computes."""
    kernel, out = weight.shape[2:], grad.shape[2:]
    if by_rows(shape[1], out, groups):
        return conv_input_rows(grad, weight, shape, stride, padding, dilation)
    space = tuple(n + before + after for n, (before, after) in zip(
        shape[2:], padding, strict=True))
    if by_channels(weight.shape, groups):
        return crop(conv_input_channels(grad, weight, space, stride, dilation), shape[2:], padding)
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1).swapaxes(1, 2)
    g = grad.reshape(len(grad), groups, -1, prod(out))
    found = np.empty((len(grad), shape[1], *space), grad.dtype)
    for part in pieces(len(grad), matrix.shape[1] * groups * prod(out)):
        product = np.matmul(matrix, g[part])
        product = product.reshape(len(product), shape[1], *kernel, *out)
        found[part] = from_columns(product, space, kernel, stride, dilation, out)
    return crop(found, shape[2:], padding)


def conv_weight_array(grad: Any, input: Any, shape: Any, stride: Any, padding: Any, dilation: Any,
                      groups: Any) -> Any:
    """The gradient of the weight (of `shape`)."""
    kernel, out = shape[2:], grad.shape[2:]
    if by_rows(shape[1], out, groups):
        return conv_weight_rows(grad, input, shape, stride, padding, dilation)
    x = padded(input, padding)
    if by_channels(shape, groups):
        return conv_weight_channels(grad, x, shape, stride, dilation)
    g = grad.reshape(len(grad), groups, shape[0] // groups, prod(out))
    found = np.zeros((groups, shape[0] // groups, prod(shape[1:])), grad.dtype)
    for part in pieces(len(x), found.shape[-1] * groups * prod(out)):
        seen = as_columns(x[part], kernel, stride, dilation, out, groups)
        found += np.add.reduce(np.matmul(g[part], seen.swapaxes(2, 3)), 0)
    return found.reshape(shape)


def bias_gradient(g: Tensor) -> Tensor:
    """Sums over the batch and all places."""
    return g.sum((0, *range(2, g._array.ndim)))


_conv = direct("convolution", conv_array, {
    "input": lambda g, input_shape, weight, stride, padding, dilation, groups: _conv_input(
        g, weight, None, input_shape, stride, padding, dilation, groups),
    "weight": lambda g, input, weight_shape, stride, padding, dilation, groups: _conv_weight(
        g, input, weight_shape, stride, padding, dilation, groups),
    "bias": bias_gradient})


def transposed_array(grad: Any, weight: Any, bias: Any, shape: Any, stride: Any, padding: Any,
                     dilation: Any, groups: Any) -> Any:
    """`conv_input_array` and a bias."""
    return with_bias(conv_input_array(grad, weight, shape, stride, padding, dilation, groups), bias)


def trimmed(found: Tensor, shape: Any) -> Tensor:
    """Without windows beyond `shape`, which an output padding larger than the stride makes."""
    for axis, n in enumerate(shape):
        if found._array.shape[axis] != n:
            found = found.narrow(axis, 0, n)
    return found


_conv_input = direct("conv_input", transposed_array, {
    "grad": lambda g, grad_shape, weight, stride, padding, dilation, groups: trimmed(_conv(
        g, weight, None, stride, padding, dilation, groups), grad_shape),
    "weight": lambda g, grad, weight_shape, stride, padding, dilation, groups: _conv_weight(
        grad, g, weight_shape, stride, padding, dilation, groups),
    "bias": bias_gradient}, node="ConvolutionBackward0")
_conv_weight = direct("conv_weight", conv_weight_array, {
    "grad": lambda g, grad_shape, input, stride, padding, dilation, groups: trimmed(_conv(
        input, g, None, stride, padding, dilation, groups), grad_shape),
    "input": lambda g, grad, input_shape, stride, padding, dilation, groups: _conv_input(
        grad, g, None, input_shape, stride, padding, dilation, groups)},
    node="ConvolutionBackwardBackward0")


# What users call.

def settings(dims: int, **values: Any) -> Any:
    """Each setting as a tuple of one number a dimension; RuntimeError for too many or few."""
    found = []
    for key, value in values.items():
        numbers = tuple_of(value, dims)
        if len(numbers) != dims:
            raise RuntimeError(
                f"expected {key} to be a single integer value or a list of {dims} values to match "
                f"the convolution dimensions, but got {key}={errors.of_shape(numbers)}")
        found.append(numbers)
    return found


def check_types(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """One type for all; RuntimeError in PyTorch's words otherwise."""
    row = input.dtype
    if bias is not None and bias.dtype is not row:
        one, two = (errors.C_NAMES.get(kind.name, kind.name) for kind in (row, bias.dtype))
        raise RuntimeError(errors.message(
            f"Input type ({one}) and bias type ({two}) should be the same",
            what=f"the input has dtype {row!r}, the layer's parameters {bias.dtype!r}",
            fix=f"x.to({bias.dtype!r})"))
    if weight.dtype is not row:
        raise RuntimeError(errors.message(
            f"expected scalar type {row.alias} but found {weight.dtype.alias}",
            what=f"the input has dtype {row!r}, the weight {weight.dtype!r}",
            fix=f"x.to({weight.dtype!r})"))


def check_shapes(name: str, dims: int, input: Tensor, weight: Tensor, groups: int,
                 transposed: bool) -> None:
    """PyTorch's errors where weight and input do not fit each other."""
    x, w = input._array.shape, weight._array.shape
    if len(x) not in (dims + 1, dims + 2):
        raise RuntimeError(errors.message(
            f"Expected {dims + 1}D (unbatched) or {dims + 2}D (batched) input to {name}, but got "
            f"input of size: {errors.of_shape(x)}"))
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if len(w) != dims + 2:
        raise RuntimeError(
            f"Expected {dims + 2}-dimensional weight for {dims + 2}-dimensional input "
            f"{errors.of_shape(x)}, but got {len(w)}-dimensional weight of size "
            f"{errors.of_shape(w)} instead")
    batched = x if len(x) == dims + 2 else (1, *x)
    check_channels(batched, w, groups, transposed)


def check_channels(x: Any, w: Any, groups: int, transposed: bool) -> None:
    if transposed:
        if x[1] != w[0]:
            raise RuntimeError(errors.message(
                f"Given transposed=1, weight of size {errors.of_shape(w)}, expected input"
                f"{errors.of_shape(x)} to have {w[0]} channels, but got {x[1]} channels instead"))
        return
    if w[0] < groups or w[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be "
            f"{'at least ' + str(groups) if w[0] < groups else 'divisible by ' + str(groups)} at "
            f"dimension 0, but got weight of size [{errors.of_shape(w)}] instead")
    if x[1] != w[1] * groups:
        raise RuntimeError(errors.message(
            f"Given groups={groups}, weight of size {errors.of_shape(w)}, expected input"
            f"{errors.of_shape(x)} to have {w[1] * groups} channels, but got {x[1]} channels "
            "instead", fix=channel_hint(x, w[1] * groups)))


def channel_hint(x: Any, wanted: int) -> str:
    """One change that makes the channels fit, if it is plain."""
    if x[-1] == wanted and len(x) == 4:
        return "channels come first here: x = x.permute(0, 3, 1, 2)"
    return f"give the layer {x[1]} input channels"


def check_bias(bias: Tensor | None, channels: int, weight: Tensor, transposed: bool) -> None:
    if bias is not None and bias._array.shape != (channels,):
        given = "transposed=1, " if transposed else ""
        raise RuntimeError(
            f"Given {given}weight of size {errors.of_shape(weight.shape)}, expected bias to be "
            f"1-dimensional with {channels} elements, but got bias of size "
            f"{errors.of_shape(bias.shape)} instead")


def same_padding(kernel: Any, stride: Any, dilation: Any) -> Any:
    """Padding that keeps lengths; the odd one goes to the end."""
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


def padding_pairs(padding: Any, dims: int, kernel: Any, stride: Any, dilation: Any) -> Any:
    """(before, after) for each dimension; also from "same" and "valid"."""
    if isinstance(padding, str):
        if padding == "same":
            return same_padding(kernel, stride, dilation)
        if padding != "valid":
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        padding = 0
    (numbers,) = settings(dims, padding=padding)
    if min(numbers) < 0:
        raise RuntimeError("negative padding is not supported")
    return tuple((n, n) for n in numbers)


def conv(name: str, dims: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any,
         padding: Any, dilation: Any, groups: int) -> Tensor:
    """conv1d, conv2d and conv3d."""
    for position, (argument, value) in enumerate((("input", input), ("weight", weight)), 1):
        if not isinstance(value, Tensor):
            raise not_a_tensor(name, argument, position, value)
    check_shapes(name, dims, input, weight, groups, False)
    check_types(input, weight, bias)
    check_bias(bias, weight._array.shape[0], weight, False)
    steps, spread = settings(dims, stride=stride, dilation=dilation)
    if min(steps) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(spread) <= 0:
        raise RuntimeError("non-positive dilation is not supported")
    kernel = weight._array.shape[2:]
    pairs = padding_pairs(padding, dims, kernel, steps, spread)
    check_kernel(input._array.shape[-dims:], kernel, pairs, spread)
    if input._array.ndim == dims + 1:
        return _conv(input.unsqueeze(0), weight, bias, steps, pairs, spread, groups).squeeze(0)
    return _conv(input, weight, bias, steps, pairs, spread, groups)


def check_kernel(space: Any, kernel: Any, pairs: Any, dilation: Any) -> None:
    """RuntimeError where the window is larger than what it slides over."""
    wide = [n + before + after for n, (before, after) in zip(space, pairs, strict=True)]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(r > n for r, n in zip(reach, wide, strict=True)):
        raise RuntimeError(errors.message(
            f"Calculated padded input size per channel: ({' x '.join(map(str, wide))}). Kernel "
            f"size: ({' x '.join(map(str, reach))}). Kernel size can't be greater than actual "
            "input size"))


def conv_transpose(name: str, dims: int, input: Tensor, weight: Tensor, bias: Tensor | None,
                   stride: Any, padding: Any, output_padding: Any, groups: int,
                   dilation: Any) -> Tensor:
    """conv_transpose1d, 2d and 3d: the gradient of a convolution along its input."""
    for position, (argument, value) in enumerate((("input", input), ("weight", weight)), 1):
        if not isinstance(value, Tensor):
            raise not_a_tensor(name, argument, position, value)
    check_shapes(name, dims, input, weight, groups, True)
    check_types(input, weight, None)
    channels = weight._array.shape[1] * groups
    check_bias(bias, channels, weight, True)
    steps, rim, extra, spread = settings(dims, stride=stride, padding=padding,
                                         output_padding=output_padding, dilation=dilation)
    for more, s, d in zip(extra, steps, spread, strict=True):
        if more >= s and more >= d:
            raise RuntimeError(
                "output padding must be smaller than either stride or dilation, but got "
                f"output_padding_height: {extra[0]} output_padding_width: {extra[-1]} "
                f"stride_height: {steps[0]} stride_width: {steps[-1]} dilation_height: "
                f"{spread[0]} dilation_width: {spread[-1]}")
    x = input if input._array.ndim == dims + 2 else input.unsqueeze(0)
    kernel, space = weight._array.shape[2:], x._array.shape[2:]
    out = tuple((n - 1) * s - 2 * p + d * (k - 1) + more + 1 for n, s, p, d, k, more in zip(
        space, steps, rim, spread, kernel, extra, strict=True))
    shape = (x._array.shape[0], channels, *out)
    found = _conv_input(x, weight, bias, shape, steps, tuple((p, p) for p in rim), spread, groups)
    return found if x is input else found.squeeze(0)


def make_conv(dims: int) -> Any:
    name = f"conv{dims}d"

    def call(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
             padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Tensor:
        return conv(name, dims, input, weight, bias, stride, padding, dilation, groups)
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"""Convolution over {dims} spatial dimension(s) (``torch.{name}``).

    input (N, C, *space) or (C, *space), weight (O, C / groups, *kernel), bias (O); `padding` is
    a number for each dimension, "same" or "valid". RuntimeError where shapes do not fit.
    """
    return call


def make_transposed(dims: int) -> Any:
    name = f"conv_transpose{dims}d"

    def call(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
             padding: Any = 0, output_padding: Any = 0, groups: int = 1,
             dilation: Any = 1) -> Tensor:
        return conv_transpose(name, dims, input, weight, bias, stride, padding, output_padding,
                              groups, dilation)
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"""Transposed convolution over {dims} spatial dimension(s) (``torch.{name}``).

    input (N, C, *space) or (C, *space), weight (C, O / groups, *kernel), bias (O).
    """
    return call


conv1d, conv2d, conv3d = map(make_conv, (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(make_transposed, (1, 2, 3))
for _function in (conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d):
    TORCH[_function.__name__] = _function


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Convolution in time: input (T, N, C), weight (kernel, C, O), bias (O)."""
    turned = conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return turned.permute(2, 0, 1)


def convolution(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any,
                dilation: Any, transposed: bool, output_padding: Any, groups: int) -> Tensor:
    """``torch.convolution``: any of the six, by the number of dimensions of `weight`."""
    dims = weight._array.ndim - 2
    if transposed:
        return conv_transpose(f"conv_transpose{dims}d", dims, input, weight, bias, stride, padding,
                              output_padding, groups, dilation)
    return conv(f"conv{dims}d", dims, input, weight, bias, stride, padding, dilation, groups)


TORCH.update({"conv_tbc": conv_tbc, "convolution": convolution})
