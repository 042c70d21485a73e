"""Memory that has been paid for is kept: large arrays come and go in every training step.

glibc hands blocks over 128 KB back to the system when they are freed, and the next step pays for
the same pages again (2,400 page faults a step in a network of 20,480 units: 4 of its 9.5 ms).
Told once to keep what it has, it hands out the same memory again at no cost. On other C libraries
nothing is changed.
"""

from __future__ import annotations

import sys

__all__ = ["keep_freed_memory"]

# The numbers of glibc's mallopt(3), and what they are set to.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
SETTINGS = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 2**31 - 1, MMAP_MAX: 0}


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for the next array; whether it agreed."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        import ctypes
        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError):
        return False
    accepted = [mallopt(name, value) for name, value in SETTINGS.items()]  # all of them are set
    return all(answer == 1 for answer in accepted)
