"""Schedulers that go up and down, and momentum down and up with them (Smith 2017, 2018)."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any

from kkori.core import errors
from kkori.optim.lr_scheduler.base import (
    LRScheduler,
    Rate,
    check_optimizer,
    per_group,
    write_rate,
)
from kkori.optim.optimizer import Optimizer

__all__ = ["CyclicLR", "OneCycleLR"]


class _MomentumCycle(LRScheduler):
    """What both share: momentum, or Adam's first beta, that moves against the rates."""

    def _start_momentum(self, base: Any, largest: Any, last_epoch: int) -> tuple[list, list]:
        """Checks and remembers the bounds, one pair a group; starts at the upper one."""
        optimizer = self.optimizer
        if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            raise ValueError(errors.message(
                "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"))
        self.use_beta1 = "betas" in optimizer.defaults
        bases = per_group("base_momentum", optimizer, base)
        maxima = per_group("max_momentum", optimizer, largest)
        if last_epoch == -1:
            for group, low, high in zip(optimizer.param_groups, bases, maxima, strict=True):
                self._write_momentum(group, high)
                group["max_momentum"] = high
                group["base_momentum"] = low
        return bases, maxima

    def _write_momentum(self, group: dict[str, Any], momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


class CyclicLR(_MomentumCycle):
    """Goes from ``base_lr`` to ``max_lr`` in ``step_size_up`` batches, then down, and so on.

    ``mode`` shrinks the cycles: not at all, by half each, or by ``gamma`` every batch;
    ``scale_fn`` replaces it. Raises ValueError for an unknown mode and for optimizers without
    momentum where ``cycle_momentum`` is on.
    """

    _scales: dict[str, tuple[str, Callable[[float, float], float]]] = {
        "triangular": ("cycle", lambda gamma, x: 1.0),
        "triangular2": ("cycle", lambda gamma, x: 1 / (2.0 ** (x - 1))),
        "exp_range": ("iterations", lambda gamma, x: gamma**x),
    }

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = per_group("base_lr", optimizer, base_lr)
        if mode not in self._scales and scale_fn is None:
            raise ValueError(errors.message("mode is invalid and scale_fn is None"))
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, base_lrs, strict=True):
                write_rate(group, rate)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else self._scales[mode][0]
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._start_momentum(
                base_momentum, max_momentum, last_epoch
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """How much of the height is left, at cycle or batch ``x``."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        return self._scales[self.mode][1](self.gamma, x)

    def get_lr(self) -> list[Rate]:
        """The rates at this place of the cycle; momentum is written on the way."""
        self._warn_unless_computing()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        rising = x <= self.step_ratio
        height = x / self.step_ratio if rising else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            bounds = zip(self.base_momentums, self.max_momentums, strict=True)
            for group, (low, high) in zip(self.optimizer.param_groups, bounds, strict=True):
                self._write_momentum(group, high - (high - low) * height * scale)
        return [
            low + (high - low) * height * scale
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; of a scale function that is an object, what it holds."""
        state = super().state_dict()
        function = state.pop("_scale_fn_custom")
        is_object = function is not None and not isinstance(function, types.FunctionType)
        state["_scale_fn_custom"] = function.__dict__.copy() if is_object else None
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned; the scale function itself stays."""
        fields = state_dict["_scale_fn_custom"]
        rest = {name: value for name, value in state_dict.items() if name != "_scale_fn_custom"}
        super().load_state_dict(rest)
        if fields is not None:
            self._scale_fn_custom.__dict__.update(fields)


class OneCycleLR(_MomentumCycle):
    """One rise to ``max_lr`` and one fall to almost nothing, over all batches of a training.

    Raises ValueError where the number of steps is missing or not positive, and when stepped more
    often than that.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.total_steps = _count_steps(total_steps, epochs, steps_per_epoch)
        if pct_start < 0 or pct_start > 1 or not isinstance(pct_start, float):
            raise ValueError(errors.message(
                f"Expected float between 0 and 1 pct_start, but got {pct_start}"))
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(errors.message(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"))
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        rates = per_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["initial_lr"] = rate / div_factor
                group["max_lr"] = rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._start_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Rate]:
        """The rates at this step; momentum is written on the way."""
        self._warn_unless_computing()
        if self.last_epoch > self.total_steps:
            raise ValueError(errors.message(
                f"Tried to step {self.last_epoch} times. "
                f"The specified number of total steps is {self.total_steps}"))
        phase, fraction = self._place()
        groups = self.optimizer.param_groups
        if self.cycle_momentum:
            for group in groups:
                self._write_momentum(group, self._between(group, phase, "momentum", fraction))
        return [self._between(group, phase, "lr", fraction) for group in groups]

    def _place(self) -> tuple[dict[str, Any], float]:
        """The phase this step belongs to and how far into it the step is."""
        start = 0.0
        for phase in self._schedule_phases:
            end = phase["end_step"]
            if self.last_epoch <= end or phase is self._schedule_phases[-1]:
                break
            start = end
        return phase, (self.last_epoch - start) / (end - start)

    def _between(self, group: dict, phase: dict, what: str, fraction: float) -> Any:
        start, end = group[phase[f"start_{what}"]], group[phase[f"end_{what}"]]
        if self._anneal_func_type == "linear":
            return (end - start) * fraction + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * fraction) + 1)


def _count_steps(total: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total is not None:
        return _positive("total_steps", total)
    if epochs is None or steps_per_epoch is None:
        raise ValueError(errors.message(
            "You must define either total_steps OR (epochs AND steps_per_epoch)"))
    return _positive("epochs", epochs) * _positive("steps_per_epoch", steps_per_epoch)


def _positive(name: str, value: int) -> int:
    if not isinstance(value, int) or value <= 0:
        raise ValueError(errors.message(f"Expected positive integer {name}, but got {value}"))
    return value


def _phases(total: int, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
    """When each phase ends, and between which options of a group it leads."""
    rise = (float(pct_start * total) - 1, "initial_lr", "max_lr", "max", "base")
    if three_phase:
        fall = (float(2 * pct_start * total) - 2, "max_lr", "initial_lr", "base", "max")
        table = [rise, fall, (total - 1, "initial_lr", "min_lr", "max", "max")]
    else:
        table = [rise, (total - 1, "max_lr", "min_lr", "base", "max")]
    return [
        {
            "end_step": end,
            "start_lr": start_lr,
            "end_lr": end_lr,
            "start_momentum": f"{start_momentum}_momentum",
            "end_momentum": f"{end_momentum}_momentum",
        }
        for end, start_lr, end_lr, start_momentum, end_momentum in table
    ]
