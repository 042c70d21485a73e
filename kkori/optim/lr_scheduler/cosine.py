"""Schedulers that fall along half a cosine (Loshchilov and Hutter 2017)."""

from __future__ import annotations

import math

from kkori.core import errors
from kkori.optim.lr_scheduler.base import LRScheduler, Rate, group_values
from kkori.optim.optimizer import Optimizer

__all__ = ["CosineAnnealingLR", "CosineAnnealingWarmRestarts"]


class CosineAnnealingLR(LRScheduler):
    """Falls from the first rates to ``eta_min`` in ``T_max`` epochs and rises again."""

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Rate]:
        """The next rates, computed from the present ones so that other schedulers may join in."""
        self._warn_unless_computing()
        if self._is_initial:
            return group_values(self.optimizer, "lr")
        if self._step_count == 1 and self.last_epoch > 0:
            return self._get_closed_form_lr()
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:
            rise = 1 - math.cos(math.pi / self.T_max)
            return [
                rate + (base_lr - self.eta_min) * rise / 2
                for rate, base_lr in zip(rates, self.base_lrs, strict=True)
            ]
        height = 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        factor = height / (1 + math.cos(math.pi * (self.last_epoch - 1) / self.T_max))
        return [factor * (rate - self.eta_min) + self.eta_min for rate in rates]

    def _get_closed_form_lr(self) -> list[Rate]:
        height = 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        return [
            self.eta_min + (base_lr - self.eta_min) * height / 2 for base_lr in self.base_lrs
        ]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Falls to ``eta_min`` in ``T_0`` epochs and starts again, each time ``T_mult`` as long."""

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ValueError(errors.message(f"Expected positive integer T_0, but got {T_0}"))
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ValueError(errors.message(f"Expected integer T_mult >= 1, but got {T_mult}"))
        if not isinstance(eta_min, (float, int)):
            raise ValueError(errors.message(
                f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}"))
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Rate]:
        """The rates at this place between two restarts."""
        self._warn_unless_computing()
        height = 1 + math.cos(math.pi * self.T_cur / self.T_i)
        return [
            self.eta_min + (base_lr - self.eta_min) * height / 2 for base_lr in self.base_lrs
        ]

    def step(self, epoch: float | None = None) -> None:
        """Goes on by one epoch, or to ``epoch``, which may lie between two."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur = self.T_cur + 1
            if self.T_cur >= self.T_i:
                self.T_cur = self.T_cur % self.T_i
                self.T_i = self.T_i * self.T_mult
        else:
            self._go_to(epoch)
        self.last_epoch = math.floor(epoch)
        with self._computing():
            rates = self.get_lr()
        self._write(rates)

    def _go_to(self, epoch: float) -> None:
        if epoch < 0:
            raise ValueError(errors.message(f"Expected non-negative epoch, but got {epoch}"))
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            restarts = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            growth = self.T_mult**restarts
            self.T_cur = epoch - self.T_0 * (growth - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * growth
