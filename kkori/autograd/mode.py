"""Whether operations are followed for gradients: one switch a thread, and its context managers."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from kkori.core.promise import owed

__all__ = ["no_grad", "enable_grad", "set_grad_enabled", "is_grad_enabled", "inference_mode",
           "is_inference_mode_enabled"]


class _Switch(threading.local):
    on = True
    inference = False
    loop: Any = None  # a reference to the loop whose step was the last; see run/loops.py
    rest = 0  # backward()s for which such rounds are left alone next; 0: they never were
    backwards = 0  # how many of them there were
    free: Any = None  # the tape of rounds that end with backward(); see run/free.py
    tape: Any = None  # records or replays the operations of this thread; see run/tape.py
    callers: Any = None  # models that are called without gradients; see run/callers.py


switch = _Switch()


def hand_out_gradients(leaves: Any = ()) -> None:
    """Called before ``.grad`` of a leaf is read or set, which another thread may have computed."""
    here = threading.get_ident()
    for tape in list(owed):
        if tape.thread == here:
            tape.hand_out(leaves)
        elif leaves and tape.owes_any(leaves):
            tape.flush()
            tape.hand_out()


def turn(on: bool) -> None:
    """Follow operations in this thread from now on, or do not."""
    switch.on = on
    if switch.tape is not None:
        switch.tape.on = on


BACKWARDS_BEFORE_RECORDING = 12
hooked = [False]  # whether any leaf has ever had hooks


def after_backward() -> None:
    """Called after a backward() that no tape knows of: the first few are only counted."""
    switch.backwards += 1
    if switch.backwards > BACKWARDS_BEFORE_RECORDING:
        from kkori.run.free import begin
        begin()


def before_write(tensor: Any) -> None:
    """To be called before numbers of `tensor` are changed in place, or others put there."""
    if switch.tape is not None:
        switch.tape.in_place(tensor._array)


def is_grad_enabled() -> bool:
    """True where operations on tensors that require gradients are followed."""
    return switch.on


def is_inference_mode_enabled() -> bool:
    """True inside ``torch.inference_mode()``."""
    return switch.inference


class _Mode:
    """A value of the switch for the length of a ``with`` block or of a decorated call."""

    value = True

    def __init__(self) -> None:
        self.outer: list[bool] = []

    def __enter__(self) -> None:
        self.outer.append(switch.on)
        turn(self.value)

    def __exit__(self, *error: object) -> None:
        turn(self.outer.pop())

    def clone(self) -> _Mode:
        return type(self)()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function):
            return self._around_generator(function)

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            with self.clone():
                return function(*args, **options)
        return call

    def _around_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def generate(*args: Any, **options: Any) -> Any:
            with self.clone():
                generator = function(*args, **options)
            answer = None
            while True:
                try:
                    with self.clone():
                        item = generator.send(answer)
                except StopIteration as stop:
                    return stop.value
                answer = yield item
        return generate


class _BareMode(_Mode):
    """A mode that also decorates without parentheses: ``@torch.no_grad``."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        mode = object.__new__(cls)
        if function is None:
            return mode
        mode.__init__()  # type: ignore[misc]
        return mode(function)


class no_grad(_BareMode):
    """Operations inside are not followed: results do not require gradients.

    >>> import kkori as torch
    >>> w = torch.tensor(2.0, requires_grad=True)
    >>> with torch.no_grad():
    ...     (w * 3).requires_grad
    False
    """

    value = False


class enable_grad(_BareMode):
    """Operations inside are followed, also within ``no_grad``."""

    value = True


class set_grad_enabled(_Mode):
    """Turn following on or off, at once or for a ``with`` block."""

    def __init__(self, mode: bool) -> None:
        self.value = mode
        self.outer = [switch.on]
        turn(mode)

    def __enter__(self) -> None:
        turn(self.value)

    def clone(self) -> _Mode:
        return set_grad_enabled(self.value)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        turn(self.outer[0])
        return super().__call__(function)


class inference_mode(_Mode):
    """``no_grad`` for code that will never ask for gradients of what it makes."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = mode
        self.value = not mode

    def __new__(cls, mode: Any = True) -> Any:
        made = object.__new__(cls)
        if isinstance(mode, bool):
            return made
        made.__init__()  # type: ignore[misc]
        return made(mode)

    def __enter__(self) -> None:
        self.outer += [switch.on, switch.inference]
        switch.inference = self.mode
        turn(switch.on and not self.mode)

    def __exit__(self, *error: object) -> None:
        switch.inference = self.outer.pop()
        turn(self.outer.pop())

    def clone(self) -> _Mode:
        return inference_mode(self.mode)
