"""Averages of weights along the way: stochastic weight averaging and moving averages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import chain
from typing import Any

import kkori
from kkori.autograd.mode import no_grad
from kkori.core import errors
from kkori.nn import Module
from kkori.nn.normalization import _BatchNorm
from kkori.optim.lr_scheduler.base import LRScheduler, Rate, per_group
from kkori.optim.optimizer import Optimizer
from kkori.tensor import Tensor

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

Average = Callable[[Tensor, Tensor, Any], Tensor]
MultiAverage = Callable[[list[Tensor], list[Tensor], Any], None]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(errors.message(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."))


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """An average that forgets: ``decay`` times the old one, the rest from the new weights."""
    _check_decay(decay)

    @no_grad()
    def ema_update(averaged: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        return decay * averaged + (1 - decay) * current

    return ema_update


def get_swa_avg_fn() -> Average:
    """The plain mean of all weights seen."""

    @no_grad()
    def swa_update(averaged: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        return averaged + (current - averaged) / (num_averaged + 1)

    return swa_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """`get_ema_avg_fn` for lists of tensors, changed in place."""
    _check_decay(decay)

    @no_grad()
    def ema_update(averaged: list[Tensor], current: list[Tensor], num_averaged: Any) -> None:
        for old, new in zip(averaged, current, strict=True):
            if _has_fractions(old):
                old.lerp_(new, 1 - decay)
            else:
                old.copy_(old * decay + new * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> MultiAverage:
    """`get_swa_avg_fn` for lists of tensors, changed in place."""

    @no_grad()
    def swa_update(averaged: list[Tensor], current: list[Tensor], num_averaged: Any) -> None:
        weight = 1 / (float(num_averaged) + 1)
        for old, new in zip(averaged, current, strict=True):
            if _has_fractions(old):
                old.lerp_(new, weight)
            else:
                old.copy_(old + (new - old) * weight)

    return swa_update


def _has_fractions(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


class AveragedModel(Module):
    """A copy of a model whose weights are the average of those it has been shown.

    Args:
        model: what is copied.
        device: where the copy lives.
        avg_fn: gives the new average from the old one, the present weights and their count.
        multi_avg_fn: the same for lists, in place; not together with ``avg_fn``.
        use_buffers: also averages buffers instead of copying them.

    Source: ``torch.optim.swa_utils.AveragedModel``.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError(errors.message(
                "Only one of avg_fn and multi_avg_fn should be provided"))
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", kkori.zeros((), dtype=kkori.long, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model makes of its input."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Takes the present weights of ``model`` into the average."""
        averaged = [tensor.detach() for tensor in self._tensors(self.module)]
        current = [tensor.detach() for tensor in self._tensors(model)]
        current = [new.to(old.device) for old, new in zip(averaged, current, strict=True)]
        if self.n_averaged == 0:
            _copy(averaged, current)
        elif self.avg_fn is not None:
            for old, new in zip(averaged, current, strict=True):
                old.copy_(self.avg_fn(old, new, self.n_averaged.to(old.device)))
        else:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(averaged, current, self.n_averaged)
        if not self.use_buffers:
            _copy(self.module.buffers(), model.buffers())
        self.n_averaged += 1

    def _tensors(self, module: Module) -> Iterator[Tensor]:
        if self.use_buffers:
            return chain(module.parameters(), module.buffers())
        return module.parameters()


def _copy(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.detach().copy_(source.detach().to(target.device))


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Measures the statistics of all batch norms anew, with one pass over the data.

    Args:
        loader: batches, or tuples or lists whose first entry is the batch.
        model: what they are fed to.
        device: where batches are moved first.
    """
    norms = {part: part.momentum for part in model.modules() if isinstance(part, _BatchNorm)}
    if not norms:
        return
    was_training = model.training
    model.train()
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # a plain mean over all batches
    for batch in loader:
        data = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(data if device is None else data.to(device))
    for module, momentum in norms.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Leads the rates to ``swa_lr`` in ``anneal_epochs`` and keeps them there.

    Raises ValueError for an unknown strategy or a negative number of epochs.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        rates = per_group("swa_lr", optimizer, swa_lr)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(errors.message(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"))
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(errors.message(
                f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}"))
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _progress(self, step: int) -> float:
        """How much of the way lies behind, between 0 and 1."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[Rate]:
        """The next rates: the start is found back from the present rates, then mixed anew."""
        self._warn_unless_computing()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._progress(step - 1), self._progress(step)
        rates = []
        for group in self.optimizer.param_groups:
            target, rate = group["swa_lr"], group["lr"]
            start = target if before == 1 else (rate - before * target) / (1 - before)
            rates.append(target * now + start * (1 - now))
        return rates
