"""Modules without the cost of initial values."""

from __future__ import annotations

import inspect
from typing import Any

from kkori.nn.module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: type[Module], *args: Any, **options: Any) -> Module:
    """Make a module whose parameters hold whatever the memory held."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    device = options.pop("device", "cpu")
    return module_cls(*args, **options, device="meta").to_empty(device=device)
