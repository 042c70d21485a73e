"""Adadelta: steps in the units of the parameters, with no learning rate to choose."""

from __future__ import annotations

from typing import Any

from kkori.core import errors
from kkori.optim.arithmetic import sqrt
from kkori.optim.checks import check_learning_rate, check_nonnegative
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["Adadelta"]


def adadelta(
    param: Any,
    grad: Any,
    state: dict[str, Any],
    *,
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
) -> tuple[Any, dict[str, Any]]:
    """Scales the gradient by the size of past steps over the size of past gradients."""
    if weight_decay != 0:
        grad = grad + weight_decay * param
    square = rho * state["square_avg"] + (1 - rho) * grad * grad
    delta = sqrt(state["acc_delta"] + eps) / sqrt(square + eps) * grad
    steps = rho * state["acc_delta"] + (1 - rho) * delta * delta
    new_state = {"step": state["step"] + 1, "square_avg": square, "acc_delta": steps}
    return param - lr * delta, new_state


class Adadelta(RuleOptimizer):
    """Adadelta (Zeiler 2012).

    Raises ValueError for numbers out of range. Source: ``torch.optim.Adadelta``.
    """

    rule = staticmethod(adadelta)
    _capturable_devices = RuleOptimizer._capturable_devices[:-1]

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(errors.message(f"Invalid rho value: {rho}"))
        check_nonnegative(epsilon=eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        """A step count and the two averages, all zero."""
        return dict.fromkeys(("step", "square_avg", "acc_delta"), 0.0)
