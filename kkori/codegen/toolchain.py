"""Where llvmlite is imported: once, on first use, with words that help where it is missing.

Its shared library is 170 MB and costs 50 ms to load, so `import kkori` must not touch it, and a
platform without wheels (musl, Intel Macs, browsers) must work without it.
"""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["MissingToolchain", "available", "binding", "version"]

OLDEST = 19  # LLVM's release that learned to write vector constants as `splat (...)`

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
        with _lock:
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


def version() -> str:
    """LLVM's and llvmlite's versions as one word: objects of one do not serve another."""
    import llvmlite

    numbers = ".".join(map(str, binding().llvm_version_info))
    return f"llvm{numbers}-llvmlite{llvmlite.__version__}"
