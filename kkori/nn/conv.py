"""Convolutions and transposed convolutions in one, two and three dimensions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from kkori.autograd.mode import no_grad
from kkori.core import errors
from kkori.nn import functional as F
from kkori.nn.layer import as_tuple, with_own_init
from kkori.nn.lazy import LazyModuleMixin
from kkori.nn.linear import add_bias, init_like_linear
from kkori.nn.module import Module
from kkori.nn.parameter import Parameter, UninitializedParameter
from kkori.ops.create import empty
from kkori.tensor import Tensor

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
           "LazyConv1d", "LazyConv2d", "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d",
           "LazyConvTranspose3d"]

PADDING_MODES = {"zeros", "reflect", "replicate", "circular"}
PADDING_WORDS = {"same", "valid"}
SHOWN = (("padding", 0), ("dilation", 1), ("output_padding", 0))  # printed where not this number


class _ConvNd(Module):
    """What all convolutions share. `weight` and `bias` begin as those of `Linear` do."""

    _dims = 0
    _function: Callable[..., Tensor]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "_dims" in vars(cls):
            with_own_init(cls)

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, ...],
                 stride: tuple[int, ...], padding: Any, dilation: tuple[int, ...],
                 transposed: bool, output_padding: tuple[int, ...], groups: int, bias: bool,
                 padding_mode: str, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        _check(in_channels, out_channels, stride, padding, groups, padding_mode)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.transposed = dilation, transposed
        self.output_padding, self.groups = output_padding, groups
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = _pad_arguments(padding, kernel_size, dilation)
        self.weight = Parameter(empty(_weight_shape(self), device=device, dtype=dtype))
        add_bias(self, bias, out_channels, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init_like_linear(self.weight, self.bias)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
                 f"stride={self.stride}"]
        for name, usual in SHOWN:
            value = getattr(self, name)
            if value != (usual,) * len(value):
                parts.append(f"{name}={value}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"padding_mode": "zeros", **state})


def _check(in_channels: int, out_channels: int, stride: tuple[int, ...], padding: Any,
           groups: int, padding_mode: str) -> None:
    if groups <= 0:
        raise ValueError(errors.message("groups must be a positive integer"))
    if in_channels % groups != 0:
        raise ValueError(errors.message("in_channels must be divisible by groups"))
    if out_channels % groups != 0:
        raise ValueError(errors.message("out_channels must be divisible by groups"))
    if isinstance(padding, str):
        if padding not in PADDING_WORDS:
            raise ValueError(errors.message(
                f"Invalid padding string {padding!r}, should be one of "
                f"{PADDING_WORDS}"))
        if padding == "same" and any(step != 1 for step in stride):
            raise ValueError(errors.message(
                "padding='same' is not supported for strided convolutions"))
    if padding_mode not in PADDING_MODES:
        raise ValueError(errors.message(
            f"padding_mode must be one of {PADDING_MODES}, but got "
            f"padding_mode='{padding_mode}'"))


def _weight_shape(conv: _ConvNd) -> tuple[int, ...]:
    first, second = conv.out_channels, conv.in_channels
    if conv.transposed:
        first, second = second, first
    return first, second // conv.groups, *conv.kernel_size


def _pad_arguments(padding: Any, kernel_size: Sequence[int],
                   dilation: Sequence[int]) -> Any:
    """The padding as `F.pad` wants it: (before, after) for the last dimension first."""
    if padding == "valid":
        return [0, 0] * len(kernel_size)
    if padding != "same":
        return tuple(length for length in reversed(padding) for _ in range(2))
    found: list[int] = []
    for step, length in zip(reversed(dilation), reversed(kernel_size), strict=True):
        total = step * (length - 1)
        found += [total // 2, total - total // 2]
    return found


class _Conv(_ConvNd):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = "zeros", device: Any = None, dtype: Any = None) -> None:
        dims = self._dims
        super().__init__(
            in_channels, out_channels, as_tuple(kernel_size, dims), as_tuple(stride, dims),
            padding if isinstance(padding, str) else as_tuple(padding, dims),
            as_tuple(dilation, dims), False, (0,) * dims, groups, bias, padding_mode, device, dtype)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = (0,) * self._dims
        return self._function(input, weight, bias, self.stride, padding, self.dilation,
                              self.groups)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """Cross-correlation of (N, C, L) or (C, L) with `out_channels` kernels."""

    _dims, _function = 1, staticmethod(F.conv1d)


class Conv2d(_Conv):
    """Cross-correlation of (N, C, H, W) or (C, H, W) with `out_channels` kernels."""

    _dims, _function = 2, staticmethod(F.conv2d)


class Conv3d(_Conv):
    """Cross-correlation of (N, C, D, H, W) or (C, D, H, W) with `out_channels` kernels."""

    _dims, _function = 3, staticmethod(F.conv3d)


class _ConvTransposeNd(_ConvNd):
    """The gradient of a convolution with respect to its input, as a layer."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
                 dilation: Any = 1, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None) -> None:
        if padding_mode != "zeros":
            raise ValueError(errors.message(
                f'Only "zeros" padding mode is supported for {type(self).__name__}'))
        dims = self._dims
        super().__init__(
            in_channels, out_channels, as_tuple(kernel_size, dims), as_tuple(stride, dims),
            as_tuple(padding, dims), as_tuple(dilation, dims), True,
            as_tuple(output_padding, dims), groups, bias, padding_mode, device, dtype)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        if self.padding_mode != "zeros":
            raise ValueError(errors.message(
                "Only `zeros` padding mode is supported for "
                f"ConvTranspose{self._dims}d"))
        output_padding: Sequence[int] = self.output_padding
        if output_size is not None:
            output_padding = self._output_padding(input, list(output_size))
        return self._function(input, self.weight, self.bias, self.stride, self.padding,
                              output_padding, self.groups, self.dilation)

    def _output_padding(self, input: Tensor, output_size: list[int]) -> list[int]:
        """How much larger than the smallest possible output `output_size` is."""
        dims = self._dims
        outer = 2 if input.dim() == dims + 2 else 1
        if len(output_size) == outer + dims:
            output_size = output_size[outer:]
        if len(output_size) != dims:
            raise ValueError(errors.message(
                f"ConvTranspose{dims}D: for {input.dim()}D input, output_size must have {dims} or "
                f"{outer + dims} elements (got {len(output_size)})"))
        low = [(length - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
               for length, stride, padding, dilation, kernel in zip(
                   input.shape[outer:], self.stride, self.padding, self.dilation,
                   self.kernel_size, strict=True)]
        high = [length + stride - 1 for length, stride in zip(low, self.stride, strict=True)]
        if any(not a <= size <= b for a, size, b in zip(low, output_size, high, strict=True)):
            raise ValueError(errors.message(
                f"requested an output size of {output_size}, but valid sizes range from {low} to "
                f"{high} (for an input of {input.size()[2:]})"))
        return [size - length for size, length in zip(output_size, low, strict=True)]


class ConvTranspose1d(_ConvTransposeNd):
    """For (N, C, L) or (C, L)."""

    _dims, _function = 1, staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTransposeNd):
    """For (N, C, H, W) or (C, H, W)."""

    _dims, _function = 2, staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTransposeNd):
    """For (N, C, D, H, W) or (C, D, H, W)."""

    _dims, _function = 3, staticmethod(F.conv_transpose3d)


class _ConvTransposeMixin(_ConvTransposeNd):
    def __init__(self, *args: Any, **options: Any) -> None:
        warnings.warn("`_ConvTransposeMixin` is a deprecated internal class. Please consider "
                      "using public APIs.", FutureWarning, stacklevel=2)
        super().__init__(*args, **options)


class _LazyConvXdMixin(LazyModuleMixin):
    """`in_channels` is the number of channels of the first input."""

    def _become_lazy(self: Any, out_channels: int, bias: bool, **factory: Any) -> None:
        self.weight = UninitializedParameter(**factory)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(**factory)

    def reset_parameters(self: Any) -> None:
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self: Any, input: Tensor, *args: Any, **options: Any) -> None:
        if not self.has_uninitialized_params():
            return
        channels = self._get_in_channels(input)
        if channels % self.groups != 0:
            raise ValueError(errors.message("in_channels must be divisible by groups"))
        self.in_channels = channels
        with no_grad():
            self.weight.materialize(_weight_shape(self))
            if self.bias is not None:
                self.bias.materialize((self.out_channels,))
            self.reset_parameters()

    def _get_in_channels(self: Any, input: Tensor) -> int:
        unbatched = self._dims + 1
        if input.dim() not in (unbatched, unbatched + 1):
            raise RuntimeError(errors.message(
                f"Expected {unbatched}D (unbatched) or {unbatched + 1}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {input.shape}"))
        return input.shape[0 if input.dim() == unbatched else 1]

    def _get_num_spatial_dims(self: Any) -> int:
        return self._dims


class _LazyConv(_LazyConvXdMixin):
    def __init__(self: Any, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = "zeros", device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False,
                         padding_mode, device, dtype)
        self._become_lazy(out_channels, bias, device=device, dtype=dtype)


class _LazyConvTranspose(_LazyConvXdMixin):
    def __init__(self: Any, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
                 dilation: Any = 1, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, output_padding, groups, False,
                         dilation, padding_mode, device, dtype)
        self._become_lazy(out_channels, bias, device=device, dtype=dtype)


class LazyConv1d(_LazyConv, Conv1d):
    """A Conv1d that learns `in_channels` from its first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """A Conv2d that learns `in_channels` from its first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """A Conv3d that learns `in_channels` from its first input."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """A ConvTranspose1d that learns `in_channels` from its first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """A ConvTranspose2d that learns `in_channels` from its first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """A ConvTranspose3d that learns `in_channels` from its first input."""

    cls_to_become = ConvTranspose3d
