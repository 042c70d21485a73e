"""RAdam: Adam that does not trust the average square while it has seen little."""

from __future__ import annotations

from typing import Any

from kkori.optim.arithmetic import decayed, lerp, sqrt
from kkori.optim.checks import check_betas, check_learning_rate, check_nonnegative
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["RAdam"]


def radam(
    param: Any,
    grad: Any,
    state: dict[str, Any],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled_weight_decay: bool,
) -> tuple[Any, dict[str, Any]]:
    """Follows the average gradient, divided as in Adam once its variance is known well enough."""
    beta1, beta2 = betas
    step = state["step"] + 1
    if weight_decay != 0:
        param, grad = decayed(param, grad, lr, weight_decay, decoupled_weight_decay)
    average = lerp(state["exp_avg"], grad, 1 - beta1)
    square = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
    change = average / (1 - beta1**step) * lr
    scale, rectification = adaptive_scale(step, beta2)
    if rectification is not None:
        change = change * (scale / (sqrt(square) + eps)) * rectification
    return param - change, {"step": step, "exp_avg": average, "exp_avg_sq": square}


def adaptive_scale(step: float, beta2: float) -> tuple[float, float | None]:
    """The bias correction of the root mean square and its rectification, None while unknown."""
    correction = 1 - beta2**step
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / correction
    if length <= 5.0:
        return 1.0, None
    variance = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return correction**0.5, variance**0.5


class RAdam(RuleOptimizer):
    """RAdam (Liu et al. 2020).

    Raises ValueError for numbers out of range. Source: ``torch.optim.RAdam``.
    """

    rule = staticmethod(radam)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        """A step count and the averages, all zero."""
        return dict.fromkeys(("step", "exp_avg", "exp_avg_sq"), 0.0)
