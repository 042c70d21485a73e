"""Pooling: one value for each window of the last one, two or three dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kkori.nn import functional as F
from kkori.nn.layer import Layer, as_tuple, with_own_init
from kkori.nn.module import Module
from kkori.tensor import Tensor

__all__ = ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
           "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d",
           "FractionalMaxPool2d", "FractionalMaxPool3d", "LPPool1d", "LPPool2d", "LPPool3d",
           "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"]

WINDOW = "kernel_size={kernel_size}, stride={stride}, padding={padding}"


def _default_stride(layer: Layer) -> None:
    if layer.stride is None:
        layer.stride = layer.kernel_size


class _MaxPoolNd(Layer, shown=WINDOW + ", dilation={dilation}, ceil_mode={ceil_mode}",
                 kernel_size=..., stride=None, padding=0, dilation=1, return_indices=False,
                 ceil_mode=False):
    """The largest element of each window, and with `return_indices` where it was."""

    def prepare(self) -> None:
        _default_stride(self)

    def forward(self, input: Tensor) -> Any:
        return self._function(input, self.kernel_size, self.stride, self.padding, self.dilation,
                              ceil_mode=self.ceil_mode, return_indices=self.return_indices)


class MaxPool1d(_MaxPoolNd, uses=F.max_pool1d):
    """Over the last dimension of (N, C, L) or (C, L)."""


class MaxPool2d(_MaxPoolNd, uses=F.max_pool2d):
    """Over the last two dimensions of (N, C, H, W) or (C, H, W)."""


class MaxPool3d(_MaxPoolNd, uses=F.max_pool3d):
    """Over the last three dimensions of (N, C, D, H, W) or (C, D, H, W)."""


def _as_tuples(layer: Layer, dims: int) -> None:
    _default_stride(layer)
    for name in ("kernel_size", "stride", "padding"):
        setattr(layer, name, as_tuple(getattr(layer, name), dims))


class _MaxUnpoolNd(Layer, shown=WINDOW, kernel_size=..., stride=None, padding=0):
    """Puts what MaxPool kept back where its indices say; zeros elsewhere."""

    _dims = 0

    def prepare(self) -> None:
        _as_tuples(self, self._dims)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return self._function(input, indices, self.kernel_size, self.stride, self.padding,
                              output_size)


class MaxUnpool1d(_MaxUnpoolNd, uses=F.max_unpool1d):
    """The inverse of `MaxPool1d`."""

    _dims = 1


class MaxUnpool2d(_MaxUnpoolNd, uses=F.max_unpool2d):
    """The inverse of `MaxPool2d`."""

    _dims = 2


class MaxUnpool3d(_MaxUnpoolNd, uses=F.max_unpool3d):
    """The inverse of `MaxPool3d`."""

    _dims = 3


class _AvgPoolNd(Layer, shown=WINDOW):
    """The mean of each window."""

    def prepare(self) -> None:
        _default_stride(self)


class AvgPool1d(_AvgPoolNd, function=F.avg_pool1d, kernel_size=..., stride=None, padding=0,
                ceil_mode=False, count_include_pad=True):
    """Over the last dimension of (N, C, L) or (C, L)."""

    def prepare(self) -> None:
        _as_tuples(self, 1)


class AvgPool2d(_AvgPoolNd, function=F.avg_pool2d, kernel_size=..., stride=None, padding=0,
                ceil_mode=False, count_include_pad=True, divisor_override=None):
    """Over the last two dimensions of (N, C, H, W) or (C, H, W)."""


class AvgPool3d(_AvgPoolNd, function=F.avg_pool3d, kernel_size=..., stride=None, padding=0,
                ceil_mode=False, count_include_pad=True, divisor_override=None):
    """Over the last three dimensions of (N, C, D, H, W) or (C, D, H, W)."""


class _FractionalMaxPool(Module):
    """Max pooling over windows at random places (Graham 2014)."""

    _dims = 0
    _function: Callable[..., Any]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "_dims" in vars(cls):
            with_own_init(cls)

    def __init__(self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
                 return_indices: bool = False, _random_samples: Tensor | None = None) -> None:
        super().__init__()
        dims, name = self._dims, f"FractionalMaxPool{self._dims}d"
        self.kernel_size = as_tuple(kernel_size, dims)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else as_tuple(output_size, dims)
        self.output_ratio = None if output_ratio is None else as_tuple(output_ratio, dims)
        if dims == 3 and any(length <= 0 for length in self.kernel_size):
            raise ValueError(f"kernel_size must be greater than 0, but got {kernel_size}")
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"{name} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if not all(0 < ratio < 1 for ratio in self.output_ratio or ()):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor) -> Any:
        return self._function(input, self.kernel_size, self.output_size, self.output_ratio,
                              self.return_indices, _random_samples=self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """Over the last two dimensions of (N, C, H, W) or (C, H, W)."""

    _dims, _function = 2, staticmethod(F.fractional_max_pool2d)


class FractionalMaxPool3d(_FractionalMaxPool):
    """Over the last three dimensions of (N, C, D, H, W) or (C, D, H, W)."""

    _dims, _function = 3, staticmethod(F.fractional_max_pool3d)


class _LPPoolNd(Layer, shown="norm_type={norm_type}, kernel_size={kernel_size}, stride={stride}, "
                "ceil_mode={ceil_mode}",
                norm_type=..., kernel_size=..., stride=None, ceil_mode=False):
    """The p-norm of each window."""

    def forward(self, input: Tensor) -> Tensor:
        return self._function(input, float(self.norm_type), self.kernel_size, self.stride,
                              self.ceil_mode)


class LPPool1d(_LPPoolNd, uses=F.lp_pool1d):
    """Over the last dimension of (N, C, L) or (C, L)."""


class LPPool2d(_LPPoolNd, uses=F.lp_pool2d):
    """Over the last two dimensions of (N, C, H, W) or (C, H, W)."""


class LPPool3d(_LPPoolNd, uses=F.lp_pool3d):
    """Over the last three dimensions of (N, C, D, H, W) or (C, D, H, W)."""


class _AdaptiveMaxPoolNd(Layer, shown="output_size={output_size}", output_size=...,
                         return_indices=False):
    """Max pooling with windows chosen so that the output has `output_size`."""


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd, function=F.adaptive_max_pool1d):
    """Over the last dimension of (N, C, L) or (C, L)."""


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd, function=F.adaptive_max_pool2d):
    """Over the last two dimensions of (N, C, H, W) or (C, H, W)."""


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd, function=F.adaptive_max_pool3d):
    """Over the last three dimensions of (N, C, D, H, W) or (C, D, H, W)."""


class _AdaptiveAvgPoolNd(Layer, shown="output_size={output_size}", output_size=...):
    """Mean pooling with windows chosen so that the output has `output_size`."""


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd, function=F.adaptive_avg_pool1d):
    """Over the last dimension of (N, C, L) or (C, L)."""


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd, function=F.adaptive_avg_pool2d):
    """Over the last two dimensions of (N, C, H, W) or (C, H, W)."""


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd, function=F.adaptive_avg_pool3d):
    """Over the last three dimensions of (N, C, D, H, W) or (C, D, H, W)."""
