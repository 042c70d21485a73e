"""How many threads one operation may use."""

from __future__ import annotations

import _signal  # `signal` makes an Enum of every number and handler, which takes ten times as long
import os
import signal
import threading
from typing import Any

__all__ = ["get_num_threads", "set_num_threads", "undisturbed"]

_chosen: list[int] = []


def get_num_threads() -> int:
    """How many threads one operation may use (``torch.get_num_threads``)."""
    return _chosen[0] if _chosen else available_cores()


def available_cores() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_num_threads(number: int) -> None:
    """Let one operation use at most `number` threads. RuntimeError unless it is positive."""
    if number <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    _chosen[:] = [int(number)]


SIGNALS = [number for number in (getattr(signal, name, None) for name in (
    "SIGINT", "SIGALRM", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")) if number is not None]


class undisturbed:
    """A ``with`` block that Ctrl-C does not cut in two: signals are handled when it is over.

    Python runs handlers in the main thread only; elsewhere there is nothing to do.
    """

    __slots__ = ("handlers", "waiting")

    def __enter__(self) -> None:
        self.handlers: list[tuple[Any, Any]] = []
        self.waiting: list[tuple[Any, Any]] = []
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = _signal.getsignal(number)
                if callable(handler) and getattr(handler, "__func__", None) is not (
                        undisturbed.wait):
                    _signal.signal(number, self.wait)
                    self.handlers.append((number, handler))

    def wait(self, number: Any, frame: Any) -> None:
        self.waiting.append((number, frame))

    def __exit__(self, *error: object) -> None:
        for number, handler in self.handlers:
            _signal.signal(number, handler)
        for number, frame in self.waiting:
            handler = signal.getsignal(number)
            if callable(handler):
                handler(number, frame)
