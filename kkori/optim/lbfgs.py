"""L-BFGS: Newton's method with the curvature guessed from the last steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import kkori
from kkori.autograd.mode import enable_grad, no_grad
from kkori.core import errors
from kkori.optim.checks import check_learning_rate
from kkori.optim.line_search import strong_wolfe
from kkori.optim.optimizer import Optimizer, ParamsT
from kkori.tensor import Tensor, wrap

__all__ = ["LBFGS"]

# What is kept in the state between steps, beside the two counts.
_REMEMBERED = ("d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss")


class LBFGS(Optimizer):
    """L-BFGS, optionally with a strong Wolfe line search; its step needs a closure.

    Holds ``history_size`` pairs of vectors as long as all parameters together. Raises ValueError
    for a learning rate below zero or more than one parameter group. Source: ``torch.optim.LBFGS``.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_learning_rate(lr)
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError(errors.message(
                "LBFGS doesn't support per-parameter options (parameter groups)"))
        self._params = self.param_groups[0]["params"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the optimizer and its short way to the parameters."""
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]

    # -- all parameters as one vector ------------------------------------------------------------

    def _flat_grad(self) -> Tensor:
        return kkori.cat([_flat(p, kkori.zeros_like(p) if p.grad is None else p.grad)
                          for p in self._params])

    def _move(self, step: Any, direction: Tensor) -> None:
        """Adds ``step * direction`` to the parameters."""
        offset = 0
        for param in self._params:
            target = kkori.view_as_real(param) if param.is_complex() else param
            size = target.numel()
            piece = direction[offset : offset + size].view_as(target)
            target.add_(piece, alpha=float(step))
            offset += size

    def _evaluate(self, closure: Callable, origin: list[Tensor], step: Any, direction: Tensor):
        """Loss, gradient and slope ``step`` away from ``origin``; the parameters come back."""
        self._move(step, direction)
        loss = float(closure())
        grad = self._flat_grad()
        for param, value in zip(self._params, origin, strict=True):
            param.copy_(value)
        return loss, grad, grad.dot(direction)

    # -- one step ---------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any]) -> Any:
        """Makes up to ``max_iter`` iterations.

        Args:
            closure: clears the gradients, evaluates the loss, calls ``backward`` and returns it.

        Returns the loss before the step.
        """
        with no_grad():
            return self._step(enable_grad()(closure))

    def _step(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = closure()
        state["func_evals"] += 1
        grad = self._flat_grad()
        if grad.abs().max() <= group["tolerance_grad"]:
            return first_loss
        run = _Run({name: state.get(name) for name in _REMEMBERED}, float(first_loss), grad)
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if self._iterate(run, closure, group, state, iteration):
                break
        state.update(run.memory)
        return first_loss

    def _iterate(
        self, run: _Run, closure: Callable, group: dict, state: dict, iteration: int
    ) -> bool:
        """One iteration; True where it was the last."""
        memory, lr = run.memory, _number(group["lr"])
        if state["n_iter"] == 1:
            run.start()
        else:
            run.update_direction(group["history_size"], state)
        _keep(memory, "prev_flat_grad", run.grad)
        memory["prev_loss"] = run.loss
        first = state["n_iter"] == 1
        memory["t"] = min(1.0, 1.0 / run.grad.abs().sum()) * lr if first else lr
        slope = run.grad.dot(memory["d"])
        if slope > -group["tolerance_change"]:
            return True
        evaluations = self._advance(run, closure, group, slope, iteration)
        run.evaluations += evaluations
        state["func_evals"] += evaluations
        return (
            iteration == group["max_iter"]
            or run.evaluations >= group["max_eval"]
            or bool(run.grad.abs().max() <= group["tolerance_grad"])
            or bool((memory["d"] * memory["t"]).abs().max() <= group["tolerance_change"])
            or abs(run.loss - memory["prev_loss"]) < group["tolerance_change"]
        )

    def _advance(
        self, run: _Run, closure: Callable, group: dict, slope: Any, iteration: int
    ) -> int:
        """Moves the parameters along the direction; returns how often the closure was called."""
        memory, direction = run.memory, run.memory["d"]
        if group["line_search_fn"] is None:
            self._move(memory["t"], direction)
            if iteration == group["max_iter"]:
                return 0
            run.loss = float(closure())
            run.grad = self._flat_grad()
            return 1
        if group["line_search_fn"] != "strong_wolfe":
            raise RuntimeError(errors.message("only 'strong_wolfe' is supported"))
        origin = [param.clone() for param in self._params]
        run.loss, run.grad, memory["t"], evaluations = strong_wolfe(
            lambda step: self._evaluate(closure, origin, step, direction),
            memory["t"],
            direction,
            run.loss,
            run.grad,
            slope,
            longest=group["max_eval"] - run.evaluations,
        )
        self._move(memory["t"], direction)
        return evaluations


class _Run:
    """What one call of ``step`` works on: the present loss and gradient, and the memory."""

    def __init__(self, memory: dict[str, Any], loss: float, grad: Tensor) -> None:
        self.memory = memory
        self.loss = loss
        self.grad = grad
        self.evaluations = 1

    def start(self) -> None:
        """Straight down, with nothing known of the curvature."""
        self.memory.update(d=-self.grad, old_dirs=[], old_stps=[], ro=[], H_diag=1)

    def update_direction(self, history_size: int, state: dict[str, Any]) -> None:
        """Learns from the last step, then bends the gradient by all that is remembered."""
        memory = self.memory
        change, step = self.grad - memory["prev_flat_grad"], memory["d"] * memory["t"]
        curvature = change.dot(step)
        if curvature > 1e-10:
            self._remember(change, step, curvature, history_size)
        memory["d"] = self._two_loops(state.setdefault("al", [None] * history_size))

    def _remember(self, change: Tensor, step: Tensor, curvature: Any, history_size: int) -> None:
        memory = self.memory
        entries = {"old_dirs": change, "old_stps": step, "ro": 1.0 / curvature}
        for name, value in entries.items():
            if len(memory[name]) == history_size:
                memory[name].pop(0)
            memory[name].append(value)
        memory["H_diag"] = curvature / change.dot(change)

    def _two_loops(self, weights: list[Any]) -> Tensor:
        """The gradient times the guessed inverse Hessian (Nocedal 1980), negated.

        On arrays: there are four small operations for each remembered pair, twice.
        """
        changes, steps, scales = (
            [_numbers(value) for value in self.memory[name]]
            for name in ("old_dirs", "old_stps", "ro"))
        direction = -_numbers(self.grad)
        for i in reversed(range(len(changes))):
            weight = np.dot(steps[i], direction) * scales[i]
            weights[i] = wrap(np.asarray(weight))
            direction -= changes[i] * weight
        direction *= _numbers(self.memory["H_diag"])
        for i in range(len(changes)):
            back = np.dot(changes[i], direction) * scales[i]
            direction += steps[i] * (weights[i]._array - back)
        return wrap(direction)


def _flat(param: Tensor, grad: Tensor) -> Tensor:
    return (kkori.view_as_real(grad) if param.is_complex() else grad).reshape(-1)


def _numbers(value: Any) -> Any:
    """What a tensor holds, computed by now; any other number as it is."""
    return np.asarray(value._array) if isinstance(value, Tensor) else value


def _keep(memory: dict[str, Any], name: str, value: Tensor) -> None:
    if memory[name] is None:
        memory[name] = value.clone()
    else:
        memory[name].copy_(value)


def _number(lr: float | Tensor) -> Any:
    return lr.squeeze() if isinstance(lr, Tensor) else lr
