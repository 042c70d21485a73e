"""RMSprop: the gradient divided by the root of its average square."""

from __future__ import annotations

from typing import Any

from kkori.optim.arithmetic import lerp, sqrt
from kkori.optim.checks import check_learning_rate, check_nonnegative
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["RMSprop"]


def rmsprop(
    param: Any,
    grad: Any,
    state: dict[str, Any],
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
) -> tuple[Any, dict[str, Any]]:
    """Divides the gradient by its root mean square, or by its standard deviation."""
    if weight_decay != 0:
        grad = grad + weight_decay * param
    square = alpha * state["square_avg"] + (1 - alpha) * grad * grad
    new_state = {"step": state["step"] + 1, "square_avg": square}
    if centered:
        average = new_state["grad_avg"] = lerp(state["grad_avg"], grad, 1 - alpha)
        square = square - average * average
    denominator = sqrt(square) + eps
    if momentum > 0:
        buffer = momentum * state["momentum_buffer"] + grad / denominator
        new_state["momentum_buffer"] = buffer
        return param - lr * buffer, new_state
    return param - lr * grad / denominator, new_state


class RMSprop(RuleOptimizer):
    """RMSprop (Hinton's lecture 6); ``centered`` divides by an estimate of the deviation.

    Raises ValueError for numbers below zero. Source: ``torch.optim.RMSprop``.
    """

    rule = staticmethod(rmsprop)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_learning_rate(lr)
        check_nonnegative(epsilon=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        """A step count, the average square, and what momentum and centering need; all zero."""
        names = ["step", "square_avg"]
        if group["momentum"] > 0:
            names.append("momentum_buffer")
        if group["centered"]:
            names.append("grad_avg")
        return dict.fromkeys(names, 0.0)
