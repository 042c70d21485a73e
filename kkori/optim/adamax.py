"""Adamax: Adam with the largest recent gradient in place of the average square."""

from __future__ import annotations

from typing import Any

from kkori.optim.arithmetic import absolute, lerp, maximum
from kkori.optim.checks import check_betas, check_learning_rate, check_nonnegative
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["Adamax"]


def adamax(
    param: Any,
    grad: Any,
    state: dict[str, Any],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Any, dict[str, Any]]:
    """Divides the average gradient by its decaying maximum."""
    beta1, beta2 = betas
    step = state["step"] + 1
    if weight_decay != 0:
        grad = grad + weight_decay * param
    average = lerp(state["exp_avg"], grad, 1 - beta1)
    largest = maximum(beta2 * state["exp_inf"], absolute(grad) + eps)
    rate = lr / (1 - beta1**step)
    new_state = {"step": step, "exp_avg": average, "exp_inf": largest}
    return param - rate * average / largest, new_state


class Adamax(RuleOptimizer):
    """Adamax (Kingma and Ba 2015, section 7).

    Raises ValueError for numbers out of range. Source: ``torch.optim.Adamax``.
    """

    rule = staticmethod(adamax)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        check_nonnegative(epsilon=eps)
        check_betas(betas)
        check_nonnegative(weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        """A step count, the average and the maximum, all zero."""
        return dict.fromkeys(("step", "exp_avg", "exp_inf"), 0.0)
