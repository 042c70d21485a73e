"""Adafactor: Adam's scaling from one row and one column of averages in place of a matrix."""

from __future__ import annotations

from typing import Any

import kkori
from kkori.core import errors
from kkori.optim.checks import check_learning_rate
from kkori.optim.optimizer import ParamsT
from kkori.optim.rule import RuleOptimizer
from kkori.tensor import Tensor

__all__ = ["Adafactor"]


def adafactor(
    param: Tensor,
    grad: Tensor,
    state: dict[str, Any],
    *,
    lr: float,
    beta2_decay: float,
    eps: tuple[float | None, float],
    d: float,
    weight_decay: float,
) -> tuple[Tensor, dict[str, Any]]:
    """Scales the gradient by a rank-one estimate of its average square, clipped at ``d``."""
    smallest = kkori.finfo(param.dtype).eps if eps[0] is None else eps[0]
    step = state["step"] + 1
    weight = step**beta2_decay
    size = param.norm(2).item() / param.numel() ** 0.5
    rate = max(eps[1], size) * min(lr, 1 / step**0.5)
    if weight_decay != 0:
        param = param * (1 - lr * weight_decay)
    if grad.dim() > 1:
        rows = state["row_var"].lerp(_mean_square(grad, -1), weight)
        columns = state["col_var"].lerp(_mean_square(grad, -2), weight)
        square = rows @ columns / rows.mean(dim=-2, keepdim=True).clamp(min=smallest)
        new_state = {"step": step, "row_var": rows, "col_var": columns}
    else:
        square = state["variance"].lerp(grad * grad, weight)
        new_state = {"step": step, "variance": square}
    update = square.clamp(min=smallest * smallest).rsqrt() * grad
    clip = max(1.0, update.norm(2).item() / (update.numel() ** 0.5 * d))
    return param - (rate / clip) * update, new_state


def _mean_square(grad: Tensor, dim: int) -> Tensor:
    return kkori.norm(grad, dim=dim, keepdim=True).square() / grad.size(dim)


class Adafactor(RuleOptimizer):
    """Adafactor (Shazeer and Stern 2018); ``lr`` bounds the relative step size.

    Raises ValueError for numbers out of range. Source: ``torch.optim.Adafactor``.
    """

    rule = staticmethod(adafactor)
    elementwise = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_learning_rate(lr, "Learning rate should be >= 0 but is: ")
        _check(0.0 >= beta2_decay, f"beta2_decay should be <= 0 but is: {beta2_decay}")
        _check(eps[0] is None or 0.0 <= eps[0], f"epsilon1 should be >= 0 but is: {eps[0]}")
        _check(0.0 <= eps[1], f"epsilon2 should be >= 0 but is: {eps[1]}")
        _check(1.0 <= d, f"Clipping threshold d should be >= 1 but is: {d}")
        _check(0.0 <= weight_decay, f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _state_of(self, param: Tensor, fresh: dict[str, float]) -> dict[str, Any]:
        """Averages of rows and columns for matrices, of elements for vectors."""
        if param.is_complex():
            raise RuntimeError(errors.message("Adafactor does not support complex parameters"))
        state = self.state[param]
        if state:
            return state
        state = super()._state_of(param, fresh)
        if param.dim() > 1:
            shape = list(param.shape)
            state["row_var"] = param.new_zeros([*shape[:-1], 1])
            state["col_var"] = param.new_zeros([*shape[:-2], 1, shape[-1]])
        else:
            state["variance"] = kkori.zeros_like(param, requires_grad=False)
        return state


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
