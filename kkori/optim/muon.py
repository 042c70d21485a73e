"""Muon: momentum whose matrix is brought close to an orthogonal one."""

from __future__ import annotations

import math
from typing import Any

import kkori
from kkori.core import errors
from kkori.optim.arithmetic import lerp
from kkori.optim.checks import check_learning_rate
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["Muon"]

_ADJUSTMENTS = {
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}


def muon(
    param: Tensor,
    grad: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
    ns_coefficients: tuple[float, float, float],
    eps: float,
    ns_steps: int,
    adjust_lr_fn: str | None,
) -> tuple[Tensor, dict[str, Any]]:
    """Goes along the momentum with all its singular values brought near one."""
    buffer = lerp(state["momentum_buffer"], grad, 1 - momentum)
    update = lerp(grad, buffer, momentum) if nesterov else buffer
    update = orthogonalize(update, ns_coefficients, ns_steps, eps)
    rate = lr * _ADJUSTMENTS[adjust_lr_fn or "original"](*param.shape[:2])
    param = param * (1 - lr * weight_decay) - rate * update.to(param.dtype)
    return param, {"momentum_buffer": buffer}


def orthogonalize(matrix: Tensor, coefficients: Any, steps: int, eps: float) -> Tensor:
    """The nearest orthogonal matrix, roughly, by Newton and Schulz's iteration in bfloat16."""
    if steps >= 100:
        raise ValueError(errors.message(
            "Number of steps must be less than 100 for computational efficiency"))
    if len(coefficients) != 3:
        raise ValueError(errors.message("Coefficients must be a tuple of exactly 3 values"))
    a, b, c = coefficients
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.bfloat16()
    x = x.T if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = kkori.addmm(x, kkori.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(RuleOptimizer):
    """Muon (Jordan et al. 2024), for matrices only.

    Raises ValueError for numbers out of range and for parameters that are not matrices.
    Source: ``torch.optim.Muon``.
    """

    rule = staticmethod(muon)
    counters = ()
    elementwise = False

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_learning_rate(lr, "Learning rate should be >= 0 but is: ")
        for name, value in {"momentum": momentum, "weight decay": weight_decay}.items():
            if not 0.0 <= value:
                raise ValueError(errors.message(f"{name} should be >= 0 but is: {value}"))
        if adjust_lr_fn is not None and adjust_lr_fn not in _ADJUSTMENTS:
            raise ValueError(errors.message(
                f"Adjust learning rate function {adjust_lr_fn} is not supported"))
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for param in (param for group in self.param_groups for param in group["params"]):
            if param.ndim != 2:
                raise ValueError(errors.message(
                    "Muon only supports 2D parameters whereas we found a parameter with size: "
                    f"{param.size()}"))

    def initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        """A momentum of zero."""
        return {"momentum_buffer": 0.0}
