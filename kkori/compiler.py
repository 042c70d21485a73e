"""`torch.compile`: accepted, and gives the function back; loops need no marking here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["compile", "disable", "is_compiling"]


def compile(model: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`model` itself, with or without options (``torch.compile``)."""
    return (lambda function: function) if model is None else model


def disable(function: Callable[..., Any] | None = None, recursive: bool = True) -> Any:
    """`function` itself."""
    return (lambda inner: inner) if function is None else function


def is_compiling() -> bool:
    """Whether the program is being captured: never."""
    return False
