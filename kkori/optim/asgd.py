"""Averaged stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from kkori.optim.checks import check_learning_rate, check_nonnegative
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["ASGD"]


def asgd(
    param: Any,
    grad: Any,
    state: dict[str, Any],
    *,
    lr: float,
    lambd: float,
    alpha: float,
    t0: float,
    weight_decay: float,
) -> tuple[Any, dict[str, Any]]:
    """Goes against the gradient at a falling rate and averages the points it has been at."""
    step, eta, mu = state["step"] + 1, state["eta"], state["mu"]
    if weight_decay != 0:
        grad = grad + weight_decay * param
    param = param * (1 - lambd * eta) - eta * grad
    average = param if mu == 1 else state["ax"] + (param - state["ax"]) * mu
    new_state = {
        "step": step,
        "eta": lr / (1 + lambd * lr * step) ** alpha,
        "mu": 1 / max(1, step - t0),
        "ax": average,
    }
    return param, new_state


class ASGD(RuleOptimizer):
    """Averaged stochastic gradient descent (Polyak and Juditsky 1992); ``state["ax"]`` averages.

    Raises ValueError for numbers below zero. Source: ``torch.optim.ASGD``.
    """

    rule = staticmethod(asgd)
    counters = ("step", "eta", "mu")
    _capturable_subjects = "params, mus, etas, and state_steps"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        check_nonnegative(weight_decay=weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        """A step count, this step's rate ``eta``, the averaging weight ``mu`` and the average."""
        return {"step": 0.0, "eta": float(group["lr"]), "mu": 1.0, "ax": 0.0}
