"""Gradients: the graph that operations leave behind, and the walk back along it."""

from kkori.autograd.api import backward, grad
from kkori.autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)

__all__ = ["backward", "grad", "no_grad", "enable_grad", "set_grad_enabled", "is_grad_enabled",
           "inference_mode"]
