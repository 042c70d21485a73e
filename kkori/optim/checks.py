"""Checks of optimizer arguments, with PyTorch's messages."""

from __future__ import annotations

from typing import Any

from kkori.core.errors import message as explained
from kkori.tensor import Tensor

__all__ = ["check_betas", "check_fused", "check_learning_rate", "check_nonnegative"]


def check_learning_rate(lr: Any, message: str = "Invalid learning rate: ") -> None:
    """Raises ValueError unless ``lr`` is a number >= 0 or a tensor of one such number."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(explained("Tensor lr must be 1-element"))
    if not 0.0 <= lr:
        raise ValueError(explained(f"{message}{lr}", fix="choose one above 0: lr=0.01"))


def check_nonnegative(**values: Any) -> None:
    """Raises ValueError naming the first value that is not >= 0."""
    for name, value in values.items():
        if not 0.0 <= value:
            raise ValueError(explained(f"Invalid {name} value: {value}"))


def check_betas(betas: tuple[Any, Any]) -> None:
    """Raises ValueError unless both decay rates lie in [0, 1)."""
    for index in range(2):
        if not 0.0 <= betas[index] < 1.0:
            raise ValueError(explained(f"Invalid beta parameter at index {index}: {betas[index]}"))


def check_fused(fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """Raises RuntimeError where ``fused`` is asked for together with what it excludes."""
    if not fused:
        return
    if differentiable:
        raise RuntimeError(explained("`fused` does not support `differentiable`"))
    if foreach:
        raise RuntimeError(explained("`fused` and `foreach` cannot be `True` together."))
