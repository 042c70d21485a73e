"""Tools around training: data loading, checkpointing, hooks."""

from __future__ import annotations

import importlib
from typing import Any

_SUBMODULES = ("checkpoint", "data", "hooks", "tensorboard")

__all__ = list(_SUBMODULES)


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"kkori.utils.{name}")
    raise AttributeError(f"module 'torch.utils' has no attribute '{name}'")
