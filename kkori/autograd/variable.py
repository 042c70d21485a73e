"""`Variable`, from the time before tensors carried their own tails."""

from __future__ import annotations

from typing import Any

from kkori.tensor import Tensor, followed

__all__ = ["Variable"]


def Variable(data: Tensor, requires_grad: bool = False, volatile: Any = None) -> Tensor:
    """`data` as a tensor of its own that may require gradients."""
    found = data.detach()
    return followed(found) if requires_grad else found
