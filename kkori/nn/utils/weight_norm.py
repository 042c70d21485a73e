"""Weight normalisation by hooks: a weight as direction times length (Salimans and Kingma 2016)."""

from __future__ import annotations

import warnings
from typing import Any

from kkori.nn.module import Module
from kkori.nn.parameter import Parameter, UninitializedParameter
from kkori.tensor import Tensor

__all__ = ["WeightNorm", "norm_except_dim", "remove_weight_norm", "scaled_to", "weight_norm"]


def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The norms of the slices of `v` along `dim`, which keeps its place (-1: of all of `v`)."""
    if dim == -1:
        return v.norm(pow)
    others = [d for d in range(v.dim()) if d != dim]
    return v.norm(pow, dim=others, keepdim=True) if others else v.abs()


def scaled_to(v: Tensor, g: Tensor, dim: int) -> Tensor:
    """`v` with the lengths `g` along `dim`."""
    return v * (g / norm_except_dim(v, 2, dim))


class WeightNorm:
    """The pre-hook that computes the weight from ``<name>_g`` and ``<name>_v``."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Tensor:
        return scaled_to(getattr(module, self.name + "_v"), getattr(module, self.name + "_g"),
                         self.dim)

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        warnings.warn("`torch.nn.utils.weight_norm` is deprecated in favor of "
                      "`torch.nn.utils.parametrizations.weight_norm`.", FutureWarning,
                      stacklevel=3)
        if find_hook(module, WeightNorm, name) is not None:
            raise RuntimeError(
                f"Cannot register two weight_norm hooks on the same parameter {name}")
        hook = WeightNorm(name, dim)
        weight = getattr(module, name)
        if isinstance(weight, UninitializedParameter):
            raise ValueError(
                "The module passed to `WeightNorm` can't have uninitialized parameters. Make sure "
                "to run the dummy forward before applying weight normalization")
        del module._parameters[name]
        lengths = norm_except_dim(weight, 2, hook.dim)
        module.register_parameter(name + "_g", Parameter(lengths.data))
        module.register_parameter(name + "_v", Parameter(weight.data))
        setattr(module, name, hook.compute_weight(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[self.name + "_g"]
        del module._parameters[self.name + "_v"]
        setattr(module, self.name, Parameter(weight.data))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def find_hook(module: Module, kind: type, name: str) -> int | None:
    """The number of the forward pre-hook of this kind and name; None if there is none."""
    return next((number for number, hook in module._forward_pre_hooks.items()
                 if isinstance(hook, kind) and getattr(hook, "name", None) == name), None)


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Replace a parameter by ``<name>_g`` (lengths) and ``<name>_v`` (directions)."""
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """Undo `weight_norm`; ValueError where there is none."""
    number = find_hook(module, WeightNorm, name)
    if number is None:
        raise ValueError(f"weight_norm of '{name}' not found in {module}")
    module._forward_pre_hooks.pop(number).remove(module)
    return module
