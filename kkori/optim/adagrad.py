"""Adagrad: the gradient divided by the root of the sum of all its squares."""

from __future__ import annotations

from typing import Any

from kkori.optim.arithmetic import sqrt
from kkori.optim.checks import check_fused, check_learning_rate, check_nonnegative
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["Adagrad"]


def adagrad(
    param: Any,
    grad: Any,
    state: dict[str, Any],
    *,
    lr: float,
    lr_decay: float,
    weight_decay: float,
    eps: float,
) -> tuple[Any, dict[str, Any]]:
    """Divides the gradient by the root of the sum of all squares seen."""
    step = state["step"] + 1
    if weight_decay != 0:
        grad = grad + weight_decay * param
    rate = lr / (1 + (step - 1) * lr_decay)
    total = state["sum"] + grad * grad
    return param - rate * grad / (sqrt(total) + eps), {"step": step, "sum": total}


class Adagrad(RuleOptimizer):
    """Adagrad (Duchi, Hazan and Singer 2011).

    Raises ValueError for numbers below zero. Source: ``torch.optim.Adagrad``.
    """

    rule = staticmethod(adagrad)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_learning_rate(lr)
        check_nonnegative(
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            epsilon=eps,
        )
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)
        for group in self.param_groups:  # the sums are there before the first step, as in PyTorch
            for param in group["params"]:
                self._state_of(param, self.initial_state(group))

    def initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        """A step count of zero and the value the sum of squares starts from."""
        return {"step": 0.0, "sum": self.defaults["initial_accumulator_value"]}
