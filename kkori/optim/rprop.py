"""Rprop: steps whose size only the sign of the gradient decides."""

from __future__ import annotations

from typing import Any

from kkori.core import errors
from kkori.optim.arithmetic import clamp, sign, where
from kkori.optim.checks import check_learning_rate
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["Rprop"]


def rprop(
    param: Any,
    grad: Any,
    state: dict[str, Any],
    *,
    etas: tuple[float, float],
    step_sizes: tuple[float, float],
) -> tuple[Any, dict[str, Any]]:
    """Steps grow while the gradient keeps its sign; where it turned they shrink and wait."""
    shrink, grow = etas
    agreement = grad * state["prev"]
    turned, size = agreement < 0, state["step_size"]
    size = where(agreement > 0, size * grow, where(turned, size * shrink, size))
    size = clamp(size, *step_sizes)
    grad = where(turned, 0.0, grad)
    new_state = {"step": state["step"] + 1, "prev": grad, "step_size": size}
    return param - sign(grad) * size, new_state


class Rprop(RuleOptimizer):
    """Resilient backpropagation (Riedmiller and Braun 1993).

    Raises ValueError unless ``etas`` lie on both sides of one. Source: ``torch.optim.Rprop``.
    """

    rule = staticmethod(rprop)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(errors.message(f"Invalid eta values: {etas[0]}, {etas[1]}"))
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        """A step count, no gradient before the first, and steps of ``lr``."""
        return {"step": 0.0, "prev": 0.0, "step_size": float(group["lr"])}
