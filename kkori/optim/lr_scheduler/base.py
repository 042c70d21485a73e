"""The scheduler base class: when rates change, where they are written, what is remembered."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from weakref import ref

from kkori.core import errors
from kkori.optim.optimizer import Optimizer
from kkori.tensor import Tensor

__all__ = ["LRScheduler"]

Rate = float | Tensor

EPOCH_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where "
    "possible. Please use `scheduler.step()` to step the scheduler. During the deprecation, if "
    "epoch is different from None, the closed form is used instead of the new chainable form, "
    "where available. Please open an issue if you are unable to replicate your use case: "
    "https://github.com/pytorch/pytorch/issues/new/choose."
)
MORE = (
    "See more details at "
    "https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"
)
OVERRIDDEN_WARNING = (
    "Seems like `optimizer.step()` has been overridden after learning rate scheduler "
    "initialization. Please, make sure to call `optimizer.step()` before `lr_scheduler.step()`. "
    + MORE
)
ORDER_WARNING = (
    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and "
    "later, you should call them in the opposite order: `optimizer.step()` before "
    "`lr_scheduler.step()`.  Failure to do this will result in PyTorch skipping the first value "
    "of the learning rate schedule. " + MORE
)
LAST_LR_WARNING = (
    "To get the last learning rate computed by the scheduler, please use `get_last_lr()`."
)
RESUME_ERROR = (
    "param 'initial_lr' is not specified in param_groups[{}] when resuming scheduler with "
    "last_epoch >= 0.\nThis typically happens when:\n"
    "1. You're trying to resume training from a checkpoint but haven't properly loaded the "
    "optimizer state\n"
    "2. You're using last_epoch >= 0 for a fresh training run (not recommended)"
)


def check_optimizer(optimizer: Any) -> None:
    """Raises TypeError for what is not an optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(errors.message(f"{type(optimizer).__name__} is not an Optimizer"))


def copied(value: Any) -> Any:
    """A tensor's copy, a number itself."""
    return value.clone() if isinstance(value, Tensor) else value


def group_values(optimizer: Optimizer, name: str) -> list[Any]:
    """One option of every group, as it is now."""
    return [copied(group[name]) for group in optimizer.param_groups]


def write_rate(group: dict[str, Any], rate: Any, name: str = "lr") -> None:
    """Sets a group's rate; a tensor is filled, so whoever else holds it sees the change."""
    if isinstance(group[name], Tensor):
        group[name].fill_(rate.squeeze() if isinstance(rate, Tensor) else rate)
    else:
        group[name] = rate


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value a group: those of a list or tuple, or the same one for all."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        value = [value] * count
    elif len(value) != count:
        raise ValueError(errors.message(
            f"{name} must have the same length as optimizer.param_groups. "
            f"{name} has {len(value)} values, param_groups has {count}."))
    return [copied(item) for item in value]


class LRScheduler:
    """Changes the learning rates of an optimizer from epoch to epoch.

    A subclass defines ``get_lr()``: the new rate of every group, from ``last_epoch``,
    ``base_lrs`` and the present rates. Source: ``torch.optim.lr_scheduler.LRScheduler``.
    """

    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(RESUME_ERROR.format(index))
        self.base_lrs = group_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _note_steps(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Rate]:
        """The rates written last, one a group."""
        return self._last_lr

    def get_lr(self) -> list[Rate]:
        """The next rates, one a group."""
        raise NotImplementedError

    def step(self, epoch: int | None = None) -> None:
        """Goes on by one epoch; ``epoch`` itself is deprecated."""
        if self._step_count == 1:
            self._warn_of_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _warn_of_order(self) -> None:
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            warnings.warn(OVERRIDDEN_WARNING, UserWarning, stacklevel=3)
        elif not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(ORDER_WARNING, UserWarning, stacklevel=3)

    def _update_lr(self, epoch: int | None = None) -> None:
        with self._computing():
            self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
            closed_form = getattr(self, "_get_closed_form_lr", None)
            use_closed_form = epoch is not None and closed_form is not None
            rates = closed_form() if use_closed_form else self.get_lr()  # type: ignore[misc]
        self._write(rates)

    def _write(self, rates: list[Rate]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            write_rate(group, rate)
        self._last_lr = group_values(self.optimizer, "lr")

    @contextmanager
    def _computing(self) -> Iterator[None]:
        self._get_lr_called_within_step = True
        try:
            yield
        finally:
            self._get_lr_called_within_step = False

    def _warn_unless_computing(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(LAST_LR_WARNING, UserWarning, stacklevel=3)


class _LRScheduler(LRScheduler):
    """The name older programs know the base class by."""


def _note_steps(optimizer: Optimizer) -> None:
    """Lets the optimizer remember that it has made a step, for the warning about the order."""
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        return
    function = optimizer.step.__func__  # type: ignore[attr-defined]
    weak = ref(optimizer)

    @wraps(function)
    def step(*args: Any, **kwargs: Any) -> Any:
        owner = weak()
        owner._opt_called = True  # type: ignore[union-attr]
        return function(owner, *args, **kwargs)

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = step  # type: ignore[method-assign]
