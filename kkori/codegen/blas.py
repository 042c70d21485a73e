"""What the library behind NumPy's matrix products is, so that own kernels know where they pay.

OpenBLAS holds kernels for many processors and chooses by a list of names. A processor that is newer
than the list gets kernels of an older generation: half the lanes, half the speed.
"""

from __future__ import annotations

import ctypes
import functools
import threading

__all__ = ["core_name", "stop_turning", "uses_half_the_lanes"]

# OpenBLAS's own question, under the names that builds of it for NumPy give to their functions.
QUESTIONS = ("scipy_openblas_get_corename64_", "scipy_openblas_get_corename",
             "openblas_get_corename64_", "openblas_get_corename")
AVX2_CORES = ("Haswell", "Zen", "Excavator")


@functools.cache
def uses_half_the_lanes() -> bool:
    """Whether NumPy's products are known to use vectors of 256 bits where there are 512."""
    try:
        from numpy._core import _multiarray_umath as numpy_core  # type: ignore[attr-defined]
        wide = numpy_core.__cpu_features__.get("AVX512F", False)
        return bool(wide) and core_name(numpy_core.__file__) in AVX2_CORES
    except (ImportError, AttributeError, OSError):
        return False


def core_name(path: str) -> str:
    """The processor that kernels of the OpenBLAS behind NumPy's extension module at `path` were
    chosen for; "" for other libraries."""
    library = ctypes.CDLL(path)  # also finds what it is linked with
    for name in QUESTIONS:
        question = getattr(library, name, None)
        if question is not None:
            question.restype = ctypes.c_char_p
            return (question() or b"").decode("ascii", "replace")
    return ""


def stop_turning() -> bool:
    """Let OpenBLAS's threads go; whether that was done.

    They turn idly for 0.1 s after each product and take a processor from compiled loops, which
    then run as if there was only one. The next product makes them anew, in some milliseconds.
    Nothing is done where another thread may be in the middle of a product.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()
              and not thread.name.startswith("kkori")]
    if others or threading.current_thread() is not threading.main_thread():
        return False
    try:
        from numpy._core import _multiarray_umath as numpy_core  # type: ignore[attr-defined]
        stop = ctypes.CDLL(numpy_core.__file__).blas_thread_shutdown_
    except (ImportError, AttributeError, OSError):
        return False
    stop()
    return True
