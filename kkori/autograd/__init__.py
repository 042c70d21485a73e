"""Gradients: the graph that operations leave behind, and the walk back along it."""

from __future__ import annotations

import importlib
from typing import Any

from kkori.autograd.api import backward, grad
from kkori.autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)

# Where names live that most programs never use; they are loaded when asked for.
_LATER = {"Function": "function", "FunctionCtx": "function", "gradcheck": "gradcheck",
          "gradgradcheck": "gradcheck", "detect_anomaly": "anomaly",
          "set_detect_anomaly": "anomaly", "Variable": "variable"}
_MODULES = ("function", "functional", "anomaly", "graph")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        found = getattr(importlib.import_module(f"kkori.autograd.{_LATER[name]}"), name)
    elif name in _MODULES:
        found = importlib.import_module(f"kkori.autograd.{name}")
    else:
        raise AttributeError(f"module 'torch.autograd' has no attribute '{name}'")
    globals()[name] = found
    return found


__all__ = ["backward", "grad", "no_grad", "enable_grad", "set_grad_enabled", "is_grad_enabled",
           "inference_mode"]
