"""Linear layers: x @ weight.T + bias, and what is closest to it."""

from __future__ import annotations

import math
from typing import Any

from kkori.autograd.mode import no_grad
from kkori.core import errors
from kkori.nn import functional as F
from kkori.nn import init
from kkori.nn.lazy import LazyModuleMixin
from kkori.nn.module import Module
from kkori.nn.parameter import Parameter, UninitializedParameter
from kkori.ops.create import empty
from kkori.tensor import Tensor

__all__ = ["Bilinear", "Identity", "LazyLinear", "Linear", "NonDynamicallyQuantizableLinear"]


class Identity(Module):
    """Returns its input; takes any arguments, so that it can stand for any layer."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


def add_bias(module: Module, wanted: bool, *shape: int, **factory: Any) -> None:
    """Give a module its `bias`: a parameter of `shape`, or None."""
    bias = Parameter(empty(*shape, **factory)) if wanted else None
    module.register_parameter("bias", bias)


def init_like_linear(weight: Tensor, bias: Tensor | None) -> None:
    """U(-b, b) with b = 1 / sqrt(fan in), weight first: what linear and conv layers begin with."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        fan_in, _ = init._calculate_fan_in_and_fan_out(weight)
        bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
        init.uniform_(bias, -bound, bound)


class Linear(Module):
    """input @ weight.T + bias, for an input of shape (*, in_features).

    `weight` has shape (out_features, in_features), `bias` (out_features); both begin as
    U(-b, b) with b = 1 / sqrt(in_features).
    """

    in_features: int
    out_features: int
    weight: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty((out_features, in_features), device=device, dtype=dtype))
        add_bias(self, bias, out_features, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init_like_linear(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        parameters = self._parameters  # several times faster than self.weight before Python 3.12
        try:
            weight, bias = parameters["weight"], parameters["bias"]
        except KeyError:  # weight_norm and its like put a plain tensor in a parameter's place
            weight, bias = self.weight, self.bias
        return F.linear(input, weight, bias)

    def extra_repr(self) -> str:
        return (f"in_features={self.in_features}, out_features={self.out_features}, "
                f"bias={self.bias is not None}")


class NonDynamicallyQuantizableLinear(Linear):
    """The Linear inside MultiheadAttention; its name is part of the printed form."""


class Bilinear(Module):
    """x1 @ weight[k] @ x2 + bias[k] for each output k."""

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        factory = {"device": device, "dtype": dtype}
        self.weight = Parameter(empty((out_features, in1_features, in2_features), **factory))
        add_bias(self, bias, out_features, **factory)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.in1_features <= 0:
            raise ValueError(errors.message(
                f"in1_features must be > 0, but got (in1_features={self.in1_features})"))
        bound = 1 / math.sqrt(self.in1_features)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
                f"out_features={self.out_features}, bias={self.bias is not None}")


class LazyLinear(LazyModuleMixin, Linear):
    """A Linear whose `in_features` is the last length of its first input."""

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.in_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        if self.has_uninitialized_params():
            with no_grad():
                self.in_features = input.shape[-1]
                self.weight.materialize((self.out_features, self.in_features))
                if self.bias is not None:
                    self.bias.materialize((self.out_features,))
                self.reset_parameters()
        if self.in_features == 0:
            if input.shape[-1] != self.weight.shape[-1]:
                raise AssertionError(errors.message(
                    f"The in_features inferred from input: {input.shape[-1]} is not equal to "
                    f"in_features from self.weight: {self.weight.shape[-1]}"))
            self.in_features = input.shape[-1]
