"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from typing import Any

from kkori.core import errors
from kkori.optim.checks import check_fused, check_learning_rate, check_nonnegative
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["SGD"]


def sgd(
    param: Any,
    grad: Any,
    state: dict[str, Any],
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> tuple[Any, dict[str, Any]]:
    """Goes ``lr`` against the gradient, or against its decaying sum."""
    if weight_decay != 0:
        grad = grad + weight_decay * param
    if momentum == 0:
        return param - lr * grad, {}
    buffer = state.get("momentum_buffer")
    buffer = grad if buffer is None else momentum * buffer + (1 - dampening) * grad
    grad = grad + momentum * buffer if nesterov else buffer
    return param - lr * grad, {"momentum_buffer": buffer}


class SGD(RuleOptimizer):
    """Stochastic gradient descent; ``momentum`` sums past gradients, ``nesterov`` looks ahead.

    Raises ValueError for numbers below zero and for ``nesterov`` without a plain momentum.
    Source: ``torch.optim.SGD``.

    >>> import kkori as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.5000], requires_grad=True)
    """

    rule = staticmethod(sgd)
    counters = ()

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_learning_rate(lr)
        check_nonnegative(momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(errors.message(
                "Nesterov momentum requires a momentum and zero dampening"))
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)

    def initial_state(self, group: dict[str, Any]) -> dict[str, float] | None:
        """Without momentum there is no state; the buffer starts as the first gradient."""
        return None if group["momentum"] == 0 else {}
