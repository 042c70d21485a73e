"""NAdam: Adam with Nesterov's look ahead."""

from __future__ import annotations

from typing import Any

from kkori.optim.arithmetic import decayed, lerp, sqrt
from kkori.optim.checks import check_betas, check_learning_rate, check_nonnegative
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["NAdam"]


def nadam(
    param: Any,
    grad: Any,
    state: dict[str, Any],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    momentum_decay: float,
    decoupled_weight_decay: bool,
) -> tuple[Any, dict[str, Any]]:
    """Mixes this gradient and the average, as the next step's momentum will see them."""
    beta1, beta2 = betas
    step = state["step"] + 1
    if weight_decay != 0:
        param, grad = decayed(param, grad, lr, weight_decay, decoupled_weight_decay)
    mu, mu_next = (
        beta1 * (1.0 - 0.5 * 0.96 ** (count * momentum_decay)) for count in (step, step + 1)
    )
    product = state["mu_product"] * mu
    average = lerp(state["exp_avg"], grad, 1 - beta1)
    square = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
    denominator = sqrt(square / (1 - beta2**step)) + eps
    param = param + (-lr * (1.0 - mu) / (1.0 - product)) * grad / denominator
    param = param + (-lr * mu_next / (1.0 - product * mu_next)) * average / denominator
    new_state = {"step": step, "mu_product": product, "exp_avg": average, "exp_avg_sq": square}
    return param, new_state


class NAdam(RuleOptimizer):
    """NAdam (Dozat 2016).

    Raises ValueError for numbers out of range. Source: ``torch.optim.NAdam``.
    """

    rule = staticmethod(nadam)
    counters = ("step", "mu_product")
    _capturable_subjects = "params, mu_products and state_steps"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_nonnegative(weight_decay=weight_decay, momentum_decay=momentum_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        """A step count, the product of the momenta so far (one), and the averages (zero)."""
        return {"step": 0.0, "mu_product": 1.0, "exp_avg": 0.0, "exp_avg_sq": 0.0}
