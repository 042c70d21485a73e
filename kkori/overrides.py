"""`torch.overrides`: what libraries ask to find out whether something behaves like a tensor."""

from __future__ import annotations

from typing import Any

from kkori.tensor import Tensor

__all__ = ["has_torch_function", "is_tensor_like"]


def is_tensor_like(inp: Any) -> bool:
    """Whether `inp` is a tensor."""
    return isinstance(inp, Tensor)


def has_torch_function(relevant_args: Any) -> bool:
    """Whether an argument takes over functions it is given to: none can."""
    return False
