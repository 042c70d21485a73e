"""Runs an update rule: loops over the parameters, holds their state, writes results in place.

An optimizer is one pure rule a parameter::

    rule(param, grad, state, **options) -> (new_param, new_state)

written with operators and the functions of ``kkori.optim.arithmetic``. Executed at once it gets
NumPy arrays, so a small step costs little more than its arithmetic; under ``differentiable=True``,
and wherever a parameter has no array, it gets Tensors. Scalars that count (``step``) come in and
go out as Python floats. Rules never see ``maximize`` (the gradient is negated before) nor complex
numbers (they see pairs of reals).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import kkori
from kkori.autograd.mode import enable_grad, hand_out_gradients, owed, set_grad_enabled
from kkori.core import errors
from kkori.optim.optimizer import Optimizer
from kkori.run import hot
from kkori.tensor import Tensor

__all__ = ["RuleOptimizer"]

# A larger array is updated in pieces of so many bytes, which stay in the cache with all the
# temporaries of a rule, and which the allocator hands out again instead of mapping new pages.
# Measured: Adam on 600,000 float32 takes 1.3 ms in pieces and 6.6 ms as a whole.
BLOCK = 131072

PLAIN_TYPES = frozenset({float, int, bool, type(None), str})

_CAPTURABLE_DEVICES = ["cuda", "xpu", "hpu", "privateuseone", "xla"]


class RuleOptimizer(Optimizer):
    """An optimizer that is a pure rule.

    A subclass gives ``rule``, the names of its scalar state in ``counters``, whether every element
    is updated on its own (``elementwise``), and `initial_state`.
    """

    rule: Callable[..., tuple[Any, dict[str, Any]]]
    counters: tuple[str, ...] = ("step",)
    elementwise = True
    _options: tuple[str, ...] = ()
    _capturable_subjects = "params and state_steps"
    _capturable_devices = _CAPTURABLE_DEVICES

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rule" in cls.__dict__:
            code = cls.rule.__code__
            first = code.co_argcount
            cls._options = code.co_varnames[first : first + code.co_kwonlyargcount]

    def initial_state(self, group: dict[str, Any]) -> dict[str, float] | None:
        """Names the state of a parameter with the numbers it is filled with; None: there is none.

        State that is not named here is made of what the rule first returns.
        """
        return {"step": 0.0}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient.

        Args:
            closure: evaluates the model again, with gradients, and returns the loss.

        Returns what ``closure`` returned, or None.
        """
        if closure is None and hot.replay(self):
            return None
        hot.before_step(self)
        if owed:
            hand_out_gradients([param for group in self.param_groups for param in group["params"]])
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
            hot.leave()
        with np.errstate(all="ignore"):  # numbers that overflow are ordinary, as in PyTorch
            for group in self.param_groups:
                self._update_group(group)
        hot.after_step(self)
        return loss

    step.replayable = True  # type: ignore[attr-defined]  # see `replay` in kkori/run/hot.py

    def _update_group(self, group: dict[str, Any]) -> None:
        on_tensors = bool(group.get("differentiable")) or not self.elementwise
        options = self._plain_options(group, keep_tensors=on_tensors)
        fresh = self.initial_state(group)
        maximize = group.get("maximize")
        for param in group["params"]:
            grad = param._grad
            if grad is None:
                continue
            if group.get("capturable"):
                self._refuse_capturable()
            state = {} if fresh is None else self._state_of(param, fresh)
            if on_tensors or type(param._array) is not np.ndarray:
                self._update_tensors(param, grad, state, options, maximize)
            else:
                self._update_arrays(param, grad, state, options, maximize)

    def _plain_options(self, group: dict[str, Any], keep_tensors: bool) -> dict[str, Any]:
        """The options of a rule; NumPy numbers and 1-element tensors as Python numbers."""
        options = {}
        for name in self._options:
            value = group[name]
            options[name] = value if type(value) in PLAIN_TYPES else _plain(value, keep_tensors)
        return options

    def _state_of(self, param: Tensor, fresh: dict[str, float]) -> dict[str, Any]:
        state = self.state[param]
        if not state:
            for name, number in fresh.items():
                if name in self.counters:
                    state[name] = _counter(number)
                else:
                    state[name] = _full_like(param, number)
        return state

    def _refuse_capturable(self) -> None:
        raise AssertionError(errors.message(
            f"If capturable=True, {self._capturable_subjects} must be on "
            f"supported devices: {self._capturable_devices}."))

    def _update_arrays(
        self,
        param: Tensor,
        grad: Tensor,
        state: dict[str, Any],
        options: dict[str, Any],
        maximize: bool | None,
    ) -> None:
        target = param._array
        gradient = -grad._array if maximize else grad._array
        slots = {name: entry._array for name, entry in state.items()}
        for name in self.counters if slots else ():
            slots[name] = slots[name].item()
        run = run_rule
        if target.nbytes > BLOCK:
            run = run_in_blocks
        elif not target.ndim:
            run = run_on_scalars
        if target.dtype.kind == "c":
            run = run_on_complex
        value, new_slots = run(type(self).rule, target, gradient, slots, options)
        overwrite(param, value)
        for name, value in new_slots.items():
            entry = state.get(name)
            if entry is None:
                state[name] = _new_entry(param, value)
            else:
                overwrite(entry, value)

    def _update_tensors(
        self,
        param: Tensor,
        grad: Tensor,
        state: dict[str, Any],
        options: dict[str, Any],
        maximize: bool | None,
    ) -> None:
        with set_grad_enabled(bool(self.defaults.get("differentiable"))):
            view = kkori.view_as_real if param.is_complex() else _identity
            slots = {
                name: entry.item() if name in self.counters else view(entry)
                for name, entry in state.items()
            }
            gradient = view(-grad if maximize else grad)
            value, new_slots = type(self).rule(view(param), gradient, slots, **options)
            back = kkori.view_as_complex if param.is_complex() else _identity
            param.copy_(back(value))
            for name, value in new_slots.items():
                if name in self.counters:
                    state[name].fill_(value)
                elif name in state:
                    state[name].copy_(back(value))
                else:
                    state[name] = back(value).detach().clone()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the optimizer; counters saved as plain numbers become tensors again."""
        super().__setstate__(state)
        for entry in self.state.values():
            for name in self.counters:
                if name in entry and not isinstance(entry[name], Tensor):
                    entry[name] = _counter(entry[name])


Arrays = dict[str, Any]


def run_rule(rule: Callable, target: Any, gradient: Any, slots: Arrays, options: dict) -> Any:
    """The rule on whole arrays."""
    return rule(target, gradient, slots, **options)


def run_on_scalars(rule: Callable, target: Any, gradient: Any, slots: Arrays, options: dict) -> Any:
    """The rule on NumPy scalars, whose arithmetic is ten times that of 0-dimensional arrays."""
    for name, value in slots.items():
        if type(value) is np.ndarray:
            slots[name] = value[()]
    return rule(target[()], gradient[()], slots, **options)


def run_in_blocks(rule: Callable, target: Any, gradient: Any, slots: Arrays, options: dict) -> Any:
    """The rule piece by piece; results are written where the arrays are, and returned."""
    arrays = [target, *(value for value in slots.values() if type(value) is np.ndarray)]
    if not all(array.flags.c_contiguous for array in arrays):
        return rule(target, gradient, slots, **options)
    flat_target, flat_gradient = target.reshape(-1), np.ascontiguousarray(gradient).reshape(-1)
    results: Arrays = {}
    length = BLOCK // target.itemsize
    for start in range(0, target.size, length):
        piece = slice(start, start + length)
        inputs = {
            name: value.reshape(-1)[piece] if type(value) is np.ndarray else value
            for name, value in slots.items()
        }
        value, outputs = rule(flat_target[piece], flat_gradient[piece], inputs, **options)
        flat_target[piece] = value
        for name, output in outputs.items():
            if type(output) is not np.ndarray:
                results[name] = output
                continue
            if name not in results:
                results[name] = slots[name] if name in slots else np.empty_like(target)
            results[name].reshape(-1)[piece] = output
    return target, results


def run_on_complex(rule: Callable, target: Any, gradient: Any, slots: Arrays, options: dict) -> Any:
    """The rule on pairs of reals, which is how PyTorch updates complex parameters."""
    pairs = {
        name: _as_pairs(value) if type(value) is np.ndarray else value
        for name, value in slots.items()
    }
    value, outputs = rule(_as_pairs(target), _as_pairs(gradient), pairs, **options)
    return _from_pairs(value), {
        name: _from_pairs(output) if type(output) is np.ndarray else output
        for name, output in outputs.items()
    }


def _as_pairs(array: Any) -> Any:
    return np.stack((array.real, array.imag), -1)


def _from_pairs(pairs: Any) -> Any:
    return pairs[..., 0] + 1j * pairs[..., 1]


def overwrite(tensor: Tensor, value: Any) -> None:
    """Writes new values into the memory of a tensor, and says so to autograd."""
    array = tensor._array
    if value is not array:
        array[...] = value
    storage = tensor._storage
    if storage is None:
        storage = tensor.shared_storage()
    storage.version += 1


def _new_entry(param: Tensor, value: Any) -> Tensor:
    entry = kkori.empty_like(param, requires_grad=False)
    entry._array[...] = value
    return entry


def _full_like(param: Tensor, number: float) -> Tensor:
    if param.is_complex():
        return kkori.full_like(param, complex(number, number), requires_grad=False)
    return kkori.full_like(param, number, requires_grad=False)


def _counter(number: Any) -> Tensor:
    """A number as state: of float64 where that is the default dtype, else of float32."""
    default = kkori.get_default_dtype()
    dtype = default if default is kkori.float64 else kkori.float32
    return kkori.as_tensor(float(number), dtype=dtype)


def _plain(value: Any, keep_tensors: bool) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_plain(item, keep_tensors) for item in value)
    if isinstance(value, Tensor):
        return value.squeeze() if keep_tensors else value.item()
    return value.item() if isinstance(value, np.generic) else value


def _identity(value: Any) -> Any:
    return value
