"""`torch.return_types`: the named tuples that some functions return."""

from __future__ import annotations

import importlib
from typing import Any

from kkori.ops.results import KINDS


def __getattr__(name: str) -> Any:
    if name not in KINDS and not name.startswith("__"):
        importlib.import_module("kkori.ops.linalg_legacy")  # most kinds are defined there
    if name in KINDS:
        return KINDS[name]
    raise AttributeError(f"module 'torch.return_types' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(KINDS)
