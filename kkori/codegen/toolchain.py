"""Where llvmlite is imported: once, on first use, with words that help where it is missing.

Its shared library is 170 MB and costs 50 ms to load, so `import kkori` must not touch it, and a
platform without wheels (musl, Intel Macs, browsers) must work without it.

Of those 170 MB, 65 are in memory when something has been compiled, most of them because the system
maps the neighbours of what is touched. `rest` gives them back; they stay in the file cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import struct
import sys
import threading
from importlib.util import find_spec
from typing import Any

from kkori.core.threads import undisturbed

__all__ = ["MissingToolchain", "available", "binding", "installed", "rest", "version"]

OLDEST = 19  # LLVM's release that learned to write vector constants as `splat (...)`
MADV_DONTNEED = 4
LOADED, WRITABLE = 1, 2  # in the headers of an ELF file: a segment's type, and one of its flags

_lock = threading.Lock()
_loaded: Any = None


class MissingToolchain(RuntimeError):
    """llvmlite is absent or too old; everything still runs immediately."""


def binding() -> Any:
    """The module `llvmlite.binding`, with this machine's code generator initialised.

    Raises `MissingToolchain` where llvmlite is not installed or its LLVM is older than `OLDEST`.
    """
    global _loaded
    if _loaded is None:
        with undisturbed(), _lock:
            if _loaded is None:
                _loaded = _load()
    return _loaded


def _load() -> Any:
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        raise MissingToolchain(
            "native code needs llvmlite, which cannot be imported here; kkori runs without it, "
            "op by op\n  fix: python -m pip install llvmlite") from error
    if llvm.llvm_version_info[0] < OLDEST:
        found = ".".join(map(str, llvm.llvm_version_info))
        raise MissingToolchain(
            f"native code needs LLVM {OLDEST} or newer, llvmlite brings {found}"
            "\n  fix: python -m pip install --upgrade llvmlite")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def available() -> bool:
    """Whether native code can be made here."""
    try:
        binding()
    except MissingToolchain:
        return False
    return True


def installed() -> bool:
    """Whether llvmlite is there; nothing is loaded for that, so it may still be too old."""
    return _loaded is not None or find_spec("llvmlite") is not None


def rest() -> None:
    """Nothing is to be compiled for a while: this process needs none of the library's pages.

    It takes 1 ms; the next compilation finds them again at no cost that can be measured.
    """
    if _loaded is None:
        return
    with contextlib.suppress(OSError, AttributeError, ValueError, struct.error):
        for address, length in unwritten():
            ctypes.CDLL(None).madvise(
                ctypes.c_void_p(address), ctypes.c_size_t(length), MADV_DONTNEED)


@functools.cache
def unwritten() -> list[tuple[int, int]]:
    """Where LLVM's library is in memory, without what may be written to: addresses and lengths.

    Empty where this is not Linux, or the library is not found.
    """
    if not sys.platform.startswith("linux") or sys.maxsize < 2**32:
        return []
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        first = next((line.split() for line in file if "libllvmlite" in line), [])
    if len(first) < 3 or int(first[2], 16) != 0:  # the line is not that of the file's beginning
        return []
    return segments(int(first[0].partition("-")[0], 16))


def segments(base: int) -> list[tuple[int, int]]:
    """Whole pages of the read-only segments of the ELF file that is loaded at `base`."""
    page, head = os.sysconf("SC_PAGESIZE"), ctypes.string_at(base, 64)
    (start,), (count,) = struct.unpack_from("=Q", head, 32), struct.unpack_from("=H", head, 56)
    found = []
    for kind, flags, _, address, _, _, size, _ in struct.iter_unpack(
            "=IIQQQQQQ", ctypes.string_at(base + start, 56 * count)):
        if kind == LOADED and not flags & WRITABLE:
            begin = -(-(base + address) // page) * page
            end = (base + address + size) // page * page
            found.append((begin, max(end - begin, 0)))
    return found


def version() -> str:
    """LLVM's and llvmlite's versions as one word: objects of one do not serve another."""
    import llvmlite

    numbers = ".".join(map(str, binding().llvm_version_info))
    return f"llvm{numbers}-llvmlite{llvmlite.__version__}"
