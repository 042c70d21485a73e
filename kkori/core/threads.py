"""How many threads one operation may use."""

from __future__ import annotations

import os

__all__ = ["get_num_threads", "set_num_threads"]

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
