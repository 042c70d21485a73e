"""Activations: elementwise (or softmax-like) functions as layers."""

from __future__ import annotations

import warnings
from typing import Any

from kkori.nn import functional as F
from kkori.nn import init
from kkori.nn.layer import Layer
from kkori.nn.module import Module
from kkori.nn.parameter import Parameter
from kkori.ops.create import empty
from kkori.tensor import Tensor

__all__ = ["CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh",
           "LeakyReLU", "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6",
           "SELU", "Sigmoid", "SiLU", "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink",
           "Softsign", "Tanh", "Tanhshrink", "Threshold"]


class ReLU(Layer, shown="", inplace=False):
    """max(0, x)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, self.inplace)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class Threshold(Layer, function=F.threshold, shown="threshold={threshold}, value={value}",
                threshold=..., value=..., inplace=False):
    """x above the threshold, `value` at it and below."""


class Hardtanh(Layer, function=F.hardtanh, passes=("min_val", "max_val", "inplace"),
               shown="min_val={min_val}, max_val={max_val}",
               min_val=-1.0, max_val=1.0, inplace=False, min_value=None, max_value=None):
    """x clamped to [min_val, max_val]."""

    def prepare(self) -> None:
        for name in ("min", "max"):
            old = self.__dict__.pop(f"{name}_value")
            if old is not None:
                warnings.warn(f"keyword argument `{name}_value` is deprecated and renamed to "
                              f"`{name}_val`", FutureWarning, stacklevel=3)
                self.__dict__[f"{name}_val"] = old
        if self.max_val <= self.min_val:
            raise AssertionError(
                f"max_val ({self.max_val}) must be greater than min_val ({self.min_val})")


class ReLU6(Hardtanh, shown="", inplace=False):
    """min(max(0, x), 6)."""

    def prepare(self) -> None:
        self.min_val, self.max_val = 0.0, 6.0


class RReLU(Layer, function=F.rrelu, passes=("lower", "upper", "training", "inplace"),
            shown="lower={lower}, upper={upper}", lower=1.0 / 8, upper=1.0 / 3, inplace=False):
    """LeakyReLU with a slope drawn anew for each element while training."""


class LeakyReLU(Layer, function=F.leaky_relu, shown="negative_slope={negative_slope}",
                negative_slope=0.01, inplace=False):
    """x above 0, negative_slope * x below."""


class ELU(Layer, function=F.elu, shown="alpha={alpha}", alpha=1.0, inplace=False):
    """x above 0, alpha * (exp(x) - 1) below."""


class CELU(Layer, function=F.celu, shown="alpha={alpha}", alpha=1.0, inplace=False):
    """x above 0, alpha * (exp(x / alpha) - 1) below."""


class SELU(Layer, function=F.selu, shown="", inplace=False):
    """ELU, scaled so that mean and variance tend to 0 and 1 (Klambauer et al. 2017)."""


class GELU(Layer, shown="approximate={approximate!r}", approximate="none"):
    """x times the probability that a standard normal is below x."""

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, approximate=self.approximate)


class SiLU(Layer, function=F.silu, shown="", inplace=False):
    """x * sigmoid(x)."""


class Mish(Layer, function=F.mish, shown="", inplace=False):
    """x * tanh(softplus(x))."""


class Hardsigmoid(Layer, function=F.hardsigmoid, inplace=False):
    """relu6(x + 3) / 6."""


class Hardswish(Layer, function=F.hardswish, inplace=False):
    """x * relu6(x + 3) / 6."""


class Softplus(Layer, function=F.softplus, shown="beta={beta}, threshold={threshold}",
               beta=1.0, threshold=20.0):
    """log(1 + exp(beta * x)) / beta; x itself where beta * x is above the threshold."""


class Softshrink(Layer, function=F.softshrink, shown="{lambd}", lambd=0.5):
    """x moved towards 0 by lambd, and 0 where it would cross."""


class Hardshrink(Layer, function=F.hardshrink, shown="{lambd}", lambd=0.5):
    """x, and 0 where its size is at most lambd."""


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softsign(input)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class LogSigmoid(Module):
    """log(1 / (1 + exp(-x)))."""

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


class GLU(Layer, function=F.glu, shown="dim={dim}", dim=-1):
    """a * sigmoid(b), where a and b are the halves of the input along `dim`."""


class PReLU(Module):
    """x above 0, weight * x below; the weight is learnt, one for all channels or one for each."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class _AlongDimension(Layer, shown="dim={dim}", dim=None):
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"dim": None, **state})


class Softmax(_AlongDimension):
    """exp(x) over the sum of exp(x) along `dim`."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim, _stacklevel=5)


class Softmin(_AlongDimension):
    """Softmax of -x."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim, _stacklevel=5)


class LogSoftmax(_AlongDimension):
    """log(softmax(x)) along `dim`."""

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim, _stacklevel=5)


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (3, 4):
            raise ValueError(
                f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead")
        return F.softmax(input, -3, _stacklevel=5)
