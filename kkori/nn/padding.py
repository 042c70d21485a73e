"""Padding: more elements around the last one, two or three dimensions."""

from __future__ import annotations

from typing import Any

from kkori.nn import functional as F
from kkori.nn.layer import Layer, as_tuple
from kkori.tensor import Tensor

__all__ = ["CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d",
           "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d",
           "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d",
           "ZeroPad3d"]


class _PadNd(Layer, shown="{padding}", padding=...):
    """`padding` is one number, or (left, right), then (top, bottom), then (front, back)."""

    _mode = "constant"
    _dims = 0

    def __init_subclass__(cls, dims: int = 0, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if dims:
            cls._dims, cls._owner = dims, cls.__qualname__

    def prepare(self) -> None:
        self.padding = as_tuple(self.padding, 2 * self._dims)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)


class _CircularPadNd(_PadNd):
    _mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        low = self._dims + 1
        if input.dim() not in (low, low + 1):
            raise ValueError(f"expected {low}D or {low + 1}D input (got {input.dim()}D input)")
        return super().forward(input)


class _ConstantPadNd(_PadNd, shown="padding={padding}, value={value}", padding=..., value=...):
    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)


class _ReflectionPadNd(_PadNd):
    _mode = "reflect"


class _ReplicationPadNd(_PadNd):
    _mode = "replicate"


class CircularPad1d(_CircularPadNd, dims=1):
    """The end before the beginning, the beginning after the end."""


class CircularPad2d(_CircularPadNd, dims=2):
    """`CircularPad1d` in two dimensions."""


class CircularPad3d(_CircularPadNd, dims=3):
    """`CircularPad1d` in three dimensions."""


class ConstantPad1d(_ConstantPadNd, dims=1):
    """One value on both sides."""


class ConstantPad2d(_ConstantPadNd, dims=2):
    """`ConstantPad1d` in two dimensions."""


class ConstantPad3d(_ConstantPadNd, dims=3):
    """`ConstantPad1d` in three dimensions."""


class ReflectionPad1d(_ReflectionPadNd, dims=1):
    """The input mirrored at its first and last element."""


class ReflectionPad2d(_ReflectionPadNd, dims=2):
    """`ReflectionPad1d` in two dimensions."""


class ReflectionPad3d(_ReflectionPadNd, dims=3):
    """`ReflectionPad1d` in three dimensions."""


class ReplicationPad1d(_ReplicationPadNd, dims=1):
    """The first and the last element, again and again."""


class ReplicationPad2d(_ReplicationPadNd, dims=2):
    """`ReplicationPad1d` in two dimensions."""


class ReplicationPad3d(_ReplicationPadNd, dims=3):
    """`ReplicationPad1d` in three dimensions."""


class _Zeros(_ConstantPadNd, shown="{padding}", padding=...):
    def prepare(self) -> None:
        self.value = 0.0
        super().prepare()


class ZeroPad1d(_Zeros, ConstantPad1d, dims=1):
    """Zeros on both sides."""


class ZeroPad2d(_Zeros, ConstantPad2d, dims=2):
    """Zeros on four sides."""


class ZeroPad3d(_Zeros, ConstantPad3d, dims=3):
    """Zeros on six sides."""
