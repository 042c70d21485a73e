"""Which products of arrays leave NumPy: large ones, once enough were seen to pay for a compiler.

A kind of product (element type, and how both sides lie) is compiled when NumPy has done as much
work of that kind as compiling costs. So a program is at most twice as slow as without, and only for
the first tenth of a second; and as work is counted, not timed, a program that is run again gives
the same bits. Everything stays with NumPy where its library has good kernels for the processor
(`blas`), without llvmlite, and with ``KKORI_EAGER=1``.

This file imports nothing of the compiler before it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Kind", "batch", "columns_compact", "kind_of", "product"]

# From how many multiply-adds, and with which smallest side, own kernels are better in themselves.
LARGE = 1 << 22, 24
# The same once they are in use. The threads of NumPy's library look for more work for 26 ms after
# each product, and take the processor from ours: it is better not to call them in between.
BESIDE = 1 << 20, 8
# Multiply-adds that NumPy does in about 80 ms on two cores: what LLVM costs to load and to use.
WARM_UP = 1 << 33
SCALARS = {"f": "float", "d": "double"}

Kind = tuple[str, bool, bool]  # scalar; whether columns of A, and rows of B, lie in one piece each

_off = bool(os.environ.get("KKORI_EAGER"))
_sizes = [LARGE]  # the last one counts
_seen: dict[Kind, int] = {}  # multiply-adds
_own: dict[Kind, Callable[[Any, Any, Any], Any]] = {}


def product(a: Any, b: Any, out: Any = None) -> Any:
    """``np.dot`` of two matrices, by own kernels if they are large and many like them were seen.

    `out` is row-major and overlaps neither.
    """
    if not suited(a, b):
        return np.dot(a, b, out=out)
    kind = kind_of(a, b)
    return (_own.get(kind) or counted(kind, a.size * b.shape[1]))(a, b, out)


def batch(a: Any, b: Any) -> Any:
    """``np.matmul`` of two batches of matrices: one by one where each is large."""
    if len(a) != len(b) or not len(a) or not suited(a[0], b[0]):
        return np.matmul(a, b)
    out = np.empty((len(a), a.shape[1], b.shape[2]), a.dtype)
    for one, other, place in zip(a, b, out, strict=True):
        product(one, other, place)
    return out


def suited(a: Any, b: Any) -> bool:
    """Whether own kernels may be better: two large matrices of one floating type."""
    if _off or a.ndim != 2 or b.ndim != 2 or a.__class__ is not np.ndarray:
        return False
    (m, k), (rows, n), (least, narrow) = a.shape, b.shape, _sizes[-1]
    return (m * n * k >= least and min(m, n, k) >= narrow and k == rows and a.dtype == b.dtype
            and a.dtype.char in SCALARS and a.dtype.isnative)


def kind_of(a: Any, b: Any) -> Kind:
    """Which code multiplies two matrices."""
    return SCALARS[a.dtype.char], columns_compact(a), not columns_compact(b)


def columns_compact(array: Any) -> bool:
    """Whether columns lie in one piece each, and rows do not."""
    near, (down, across) = array.itemsize, array.strides
    return bool(down == near != across and across % near == 0 and array.flags.aligned)


def counted(kind: Kind, work: int) -> Callable[[Any, Any, Any], Any]:
    """NumPy's product for now, or own kernels if their time has come."""
    seen = _seen.get(kind, 0)
    if seen < WARM_UP:
        _seen[kind] = seen + work
        return np.dot
    own = compiled(kind)
    if own is not None:
        _sizes.append(BESIDE)
    _own[kind] = own or np.dot
    return _own[kind]


def compiled(kind: Kind) -> Callable[[Any, Any, Any], Any] | None:
    """Own kernels; None where NumPy's are as good, or where there is no compiler."""
    from kkori.codegen.blas import uses_half_the_lanes
    if not uses_half_the_lanes():
        return None
    try:
        from kkori.codegen.matmul_large import prepared
        return prepared(kind)
    except (ImportError, RuntimeError, OSError):  # no llvmlite, or memory may not be executed
        return None
