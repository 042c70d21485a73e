"""Which products of arrays leave NumPy: large ones, once enough were seen to pay for a compiler.

A product of one kind (type, and how both sides lie) is compiled when NumPy has done as much work of
that kind as compiling costs. So a program is at most twice as slow as without, and only for the
first tenth of a second; and as work is counted, not timed, a program that is run again gives the
same bits. Without llvmlite, and with ``KKORI_EAGER=1``, everything stays with NumPy.

This file imports nothing of the compiler before it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["batch", "fits", "product"]

LEAST = 1 << 22  # multiply-adds from which packing pays, about 160 in each direction
NARROW = 24  # a side below this is better served by kernels that pack less
# Multiply-adds that NumPy does in about 80 ms on two cores: what LLVM costs to load and to use.
WARM_UP = 1 << 33

_seen: dict[Any, int] = {}  # multiply-adds by kind
_state: dict[str, Any] = {"off": bool(os.environ.get("KKORI_EAGER")), "compiled": None}


def fits(m: int, n: int, k: int) -> bool:
    """Whether a product is large enough, and has no narrow side."""
    return m * n * k >= LEAST and min(m, n, k) >= NARROW


def product(a: Any, b: Any, out: Any = None) -> Any:
    """``np.dot`` of two matrices, by own kernels if they are large and many like them were seen.

    `out` is row-major and overlaps neither.
    """
    if _state["off"] or not suited(a, b):
        return np.dot(a, b, out=out)
    kind = a.dtype.char, a.strides[0] < a.strides[1], b.strides[0] < b.strides[1]
    seen = _seen.get(kind, 0)
    if seen < WARM_UP:
        _seen[kind] = seen + a.size * b.shape[1]
        return np.dot(a, b, out=out)
    return (_state["compiled"] or compiled())(a, b, out)


def batch(a: Any, b: Any) -> Any:
    """``np.matmul`` of two batches of matrices: one by one where each is large."""
    if _state["off"] or len(a) != len(b) or not len(a) or not suited(a[0], b[0]):
        return np.matmul(a, b)
    out = np.empty((len(a), a.shape[1], b.shape[2]), a.dtype)
    for one, other, place in zip(a, b, out, strict=True):
        product(one, other, place)
    return out


def suited(a: Any, b: Any) -> bool:
    """Whether own kernels may be better: two large matrices of one floating type."""
    if a.ndim != 2 or b.ndim != 2 or a.__class__ is not np.ndarray or a.dtype != b.dtype:
        return False
    return (a.dtype.char in "fd" and a.shape[1] == b.shape[0]
            and fits(a.shape[0], b.shape[1], a.shape[1]))


def compiled() -> Callable[[Any, Any, Any], Any]:
    """The compiler's product; NumPy's, from now on, where there is no compiler."""
    try:
        from kkori.codegen.matmul_large import multiply
        from kkori.codegen.toolchain import binding
        binding()
    except (ImportError, RuntimeError, OSError):
        _state["off"] = True
        return np.dot
    _state["compiled"] = multiply
    return multiply
