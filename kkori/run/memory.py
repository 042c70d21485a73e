"""Memory that has been paid for is kept: large arrays come and go in every training step.

glibc hands blocks over 128 KB back to the system when they are freed, and the next step pays for
the same pages again (2,400 page faults a step in a network of 20,480 units: 4 of its 9.5 ms).
Told once to keep what it has, it hands out the same memory again at no cost. Blocks over 32 MB go
back all the same: one that small blocks have settled in would not be found again, and the next
would be another. On other C libraries nothing is changed.

A loop that is compiled needs hardly any of it: its intermediate values never reach memory. So
there is `release`, for that moment; and `uncollected`, for what is done then.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

__all__ = ["keep_freed_memory", "release", "uncollected"]

# The numbers of glibc's mallopt(3), and what they are set to (32 MB is the most it accepts).
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
SETTINGS = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 2**31 - 1, MMAP_MAX: 65536}


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for the next array; whether it agreed."""
    mallopt = _function("mallopt")
    if mallopt is None:
        return False
    accepted = [mallopt(name, value) for name, value in SETTINGS.items()]  # all of them are set
    return all(answer == 1 for answer in accepted)


def release() -> bool:
    """Give memory that is free back to the system, once; whether there was any.

    To be called when a loop becomes compiled, before the compiler is loaded: what immediate rounds
    needed and the compiler's own 50 MB then never count together. What is freed later is kept
    again. It takes 1 ms and some for each 100 MB, and pages that are needed again cost anew.
    """
    malloc_trim = _function("malloc_trim")
    return malloc_trim is not None and malloc_trim(0) == 1


def uncollected(work: Any, *arguments: Any) -> Any:
    """``work(*arguments)``, while Python looks for no garbage: the compiler makes hardly any.

    But it makes so many objects that stay that Python would look through all there are, more than
    once: a fifth of the time that a first compilation takes.
    """
    was_on = gc.isenabled()
    try:  # an interrupt may come as soon as the next line is done
        gc.disable()
        return work(*arguments)
    finally:
        if was_on:
            gc.enable()


def _function(name: str) -> Any:
    """A function of glibc; None on other systems."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes
        return getattr(ctypes.CDLL(None), name)
    except (ImportError, OSError, AttributeError):
        return None
