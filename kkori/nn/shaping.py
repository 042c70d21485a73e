"""Layers that move elements: flatten, fold, shuffle, and resampling of images."""

from __future__ import annotations

from typing import Any

from kkori.nn import functional as F
from kkori.nn.layer import Layer
from kkori.tensor import Tensor

__all__ = ["ChannelShuffle", "Flatten", "Fold", "PixelShuffle", "PixelUnshuffle", "Unflatten",
           "Unfold", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]


class Flatten(Layer, shown="start_dim={start_dim}, end_dim={end_dim}", start_dim=1, end_dim=-1):
    """Dimensions `start_dim` to `end_dim` as one; by default everything but the batch."""

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)


class Unflatten(Layer, shown="dim={dim}, unflattened_size={unflattened_size}",
                dim=..., unflattened_size=...):
    """Dimension `dim` as several of the lengths `unflattened_size`."""

    def prepare(self) -> None:
        self._require_tuple_int(self.unflattened_size)

    def _require_tuple_int(self, input: Any) -> None:
        if not isinstance(input, (tuple, list)):
            raise TypeError("unflattened_size must be a tuple of ints, but found type "
                            f"{type(input).__name__}")
        for place, length in enumerate(input):
            if not isinstance(length, int):
                raise TypeError("unflattened_size must be tuple of ints, but found element of type "
                                f"{type(length).__name__} at pos {place}")

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, self.unflattened_size)


class Fold(Layer, function=F.fold,
           shown="output_size={output_size}, kernel_size={kernel_size}, dilation={dilation}, "
                 "padding={padding}, stride={stride}",
           output_size=..., kernel_size=..., dilation=1, padding=0, stride=1):
    """An image from its windows, summed where they overlap: (N, C * k, L) to (N, C, H, W)."""


class Unfold(Layer, function=F.unfold,
             shown="kernel_size={kernel_size}, dilation={dilation}, padding={padding}, "
                   "stride={stride}",
             kernel_size=..., dilation=1, padding=0, stride=1):
    """The windows of an image as columns: (N, C, H, W) to (N, C * k, L)."""


class PixelShuffle(Layer, function=F.pixel_shuffle, shown="upscale_factor={upscale_factor}",
                   upscale_factor=...):
    """(*, C * r², H, W) to (*, C, H * r, W * r) (Shi et al. 2016)."""


class PixelUnshuffle(Layer, function=F.pixel_unshuffle,
                     shown="downscale_factor={downscale_factor}", downscale_factor=...):
    """The inverse of `PixelShuffle`."""


class ChannelShuffle(Layer, function=F.channel_shuffle, shown="groups={groups}", groups=...):
    """Channels dealt out over groups: 0 1 2 3 becomes 0 2 1 3 with two groups."""


class Upsample(Layer, size=None, scale_factor=None, mode="nearest", align_corners=None,
               recompute_scale_factor=None):
    """Resize the last dimensions to `size` or by `scale_factor`; see `F.interpolate`."""

    def prepare(self) -> None:
        self.name = type(self).__name__
        factor: Any = self.scale_factor
        if isinstance(factor, tuple):
            factor = tuple(map(float, factor))
        else:
            factor = float(factor) if factor else None
        self.scale_factor = factor

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners,
                             recompute_scale_factor=self.recompute_scale_factor)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"recompute_scale_factor": True, **state})

    def extra_repr(self) -> str:
        name = "size" if self.scale_factor is None else "scale_factor"
        return f"{name}={getattr(self, name)!r}, mode={self.mode!r}"


class _Upsampling(Upsample, size=None, scale_factor=None):
    _fixed: dict[str, Any] = {}

    def prepare(self) -> None:
        self.__dict__.update(align_corners=None, recompute_scale_factor=None)
        self.__dict__.update(self._fixed)
        super().prepare()


class UpsamplingNearest2d(_Upsampling, size=None, scale_factor=None):
    """Resize (N, C, H, W) by repeating the nearest element."""

    _fixed = {"mode": "nearest"}


class UpsamplingBilinear2d(_Upsampling, size=None, scale_factor=None):
    """Resize (N, C, H, W) linearly between the corners."""

    _fixed = {"mode": "bilinear", "align_corners": True}
