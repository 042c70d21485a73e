"""The few functions update rules need beyond operators, for Tensors and NumPy arrays alike.

A rule written with these and with ``+ - * / **`` runs on arrays when a step is executed at once,
and on Tensors when it is differentiated or recorded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kkori
from kkori.tensor import Tensor

__all__ = ["absolute", "clamp", "decayed", "lerp", "maximum", "sign", "sqrt", "where"]

Value = Any  # a Tensor, an array or an array scalar


def sqrt(x: Value) -> Value:
    """The square root of every element."""
    return x.sqrt() if isinstance(x, Tensor) else np.sqrt(x)


def absolute(x: Value) -> Value:
    """The absolute value of every element."""
    return x.abs() if isinstance(x, Tensor) else np.absolute(x)


def sign(x: Value) -> Value:
    """-1, 0 or 1; the sign of NaN is 0, as in PyTorch."""
    if isinstance(x, Tensor):
        return x.sign()
    signs = np.sign(x)
    return np.where(x == x, signs, signs.dtype.type(0))


def maximum(a: Value, b: Value) -> Value:
    """The larger of two, element by element; NaN wins."""
    return a.maximum(b) if isinstance(a, Tensor) else np.maximum(a, b)


def clamp(x: Value, low: float, high: float) -> Value:
    """``x`` limited to ``[low, high]``."""
    if isinstance(x, Tensor):
        return x.clamp(low, high)
    return np.minimum(np.maximum(x, low), high)


def where(condition: Value, a: Value, b: Value) -> Value:
    """``a`` where the condition holds, ``b`` elsewhere."""
    if isinstance(condition, Tensor):
        return kkori.where(condition, a, b)
    return np.where(condition, a, b)


def lerp(start: Value, end: Value, weight: float) -> Value:
    """The point ``weight`` of the way from ``start`` to ``end``, exact at both ends."""
    if weight < 0.5:
        return start + weight * (end - start)
    return end - (end - start) * (1 - weight)


def decayed(
    param: Value, grad: Value, lr: float, weight_decay: float, decoupled: bool
) -> tuple[Value, Value]:
    """Parameter and gradient with weight decay: on the parameter itself, or by the gradient."""
    if decoupled:
        return param * (1 - lr * weight_decay), grad
    return param, grad + weight_decay * param
