"""`torch.jit`: scripts and traces are the Python functions themselves."""

from __future__ import annotations

from typing import Any

__all__ = ["script", "trace", "ignore", "export", "unused", "is_scripting", "is_tracing"]


def script(obj: Any = None, **options: Any) -> Any:
    """`obj` itself: Python runs it."""
    return obj


def trace(func: Any, example_inputs: Any = None, **options: Any) -> Any:
    """`func` itself: Python runs it."""
    return func


def ignore(drop: Any = False, **options: Any) -> Any:
    """`drop` itself if it is a function, else a decorator that changes nothing."""
    return drop if callable(drop) else lambda function: function


def export(function: Any) -> Any:
    """`function` itself."""
    return function


unused = interface = _overload = export


def is_scripting() -> bool:
    """Never: programs run as Python."""
    return False


is_tracing = is_scripting
