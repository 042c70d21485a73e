"""Adam and AdamW: steps scaled by running averages of the gradient and of its square."""

from __future__ import annotations

from typing import Any

from kkori.core import errors
from kkori.optim.arithmetic import decayed, lerp, maximum, sqrt
from kkori.optim.checks import (
    check_betas,
    check_fused,
    check_learning_rate,
    check_nonnegative,
)
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["Adam", "AdamW"]


def adam(
    param: Any,
    grad: Any,
    state: dict[str, Any],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    decoupled_weight_decay: bool,
) -> tuple[Any, dict[str, Any]]:
    """Divides the average gradient by the root of the average square, both freed of their bias."""
    beta1, beta2 = betas
    step = state["step"] + 1
    if weight_decay != 0:
        param, grad = decayed(param, grad, lr, weight_decay, decoupled_weight_decay)
    average = lerp(state["exp_avg"], grad, 1 - beta1)
    square = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
    new_state = {"step": step, "exp_avg": average, "exp_avg_sq": square}
    if amsgrad:
        square = new_state["max_exp_avg_sq"] = maximum(state["max_exp_avg_sq"], square)
    step_size = lr / (1 - beta1**step)
    denominator = sqrt(square) / (1 - beta2**step) ** 0.5 + eps
    return param - step_size * average / denominator, new_state


class Adam(RuleOptimizer):
    """Adam (Kingma and Ba 2015); ``amsgrad`` never lets the average square shrink.

    Raises ValueError for numbers out of range, ``Invalid beta parameter at index 0`` and the like.
    Source: ``torch.optim.Adam``.
    """

    rule = staticmethod(adam)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        _check_tensor_options(lr, betas, foreach and not capturable)
        check_learning_rate(lr)
        check_nonnegative(epsilon=eps)
        check_betas(betas)
        check_nonnegative(weight_decay=weight_decay)
        _check_beta_kinds(betas)
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)

    def initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        """A step count and the averages, all zero."""
        names = ["step", "exp_avg", "exp_avg_sq"]
        if group["amsgrad"]:
            names.append("max_exp_avg_sq")
        return dict.fromkeys(names, 0.0)


class AdamW(Adam):
    """Adam with weights that decay on their own, not through the gradient (Loshchilov 2019).

    Source: ``torch.optim.AdamW``.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the optimizer; what was saved by plain Adam decays on its own from now on."""
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


def _check_tensor_options(lr: Any, betas: tuple[Any, Any], uncapturable_foreach: Any) -> None:
    for name, value in {"lr": lr, "betas[0]": betas[0], "betas[1]": betas[1]}.items():
        if not isinstance(value, Tensor):
            continue
        if uncapturable_foreach:
            raise ValueError(errors.message(
                f"{name} as a Tensor is not supported for capturable=False and foreach=True"))
        if value.numel() != 1:
            raise ValueError(errors.message(f"Tensor {name} must be 1-element"))


def _check_beta_kinds(betas: tuple[Any, Any]) -> None:
    if not any(all(isinstance(beta, kind) for beta in betas) for kind in (float, Tensor)):
        raise ValueError(errors.message("betas must be either both floats or both Tensors"))
