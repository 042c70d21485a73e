"""Large matrix products of arrays: own blocked kernels, shared by the pool's threads.

``multiply(a, b)`` is ``np.dot(a, b)`` for two large matrices of one floating type. NumPy's library
chooses its kernels by the processor names it knew when it was built; on newer ones it may take
those of an older generation, at half the speed. Code here is made for the processor it runs on.

Operands larger than the memory kept for packed panels are multiplied in slabs of columns and of k.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from kkori.codegen.assemble import compile_text
from kkori.codegen.matmul_blocks import (
    MULTIPLY,
    PACK,
    WORDS,
    Blocks,
    emit_blocks,
    panel_items,
    strip_items,
    tile_for,
)
from kkori.codegen.matmul_choice import suited
from kkori.codegen.pool import MOST_WORKERS, default_pool
from kkori.codegen.target import Target, current
from kkori.codegen.text import Module
from kkori.core.threads import get_num_threads

__all__ = ["Packed", "Variant", "multiply", "prepared", "variant_of"]

SCALARS = {"f": "float", "d": "double"}
FAMILIES = ("avx512", "avx2")  # elsewhere a system's own library is likely to be better
SLAB_STEPS = 4096  # of k
PANELS_BYTES = 32 << 20  # of packed columns
BLOCK_BYTES = 1536  # of one line of a block of k
STRIPS_BYTES = 384 << 10  # of packed rows, in the second cache level
CHUNKS = 4  # a thread: one that is late leaves work to the others
CACHE_LINE = 64

Variant = tuple[str, bool, bool]  # scalar, and whether A and B lie side by side (see `Blocks`)

_kept: list[np.ndarray] = []  # memory for packed operands


def variant_of(a: Any, b: Any) -> Variant | None:
    """Which code multiplies two matrices; None where there is none."""
    scalar = SCALARS.get(a.dtype.char) if a.dtype.isnative else None
    return (scalar, _columns_compact(a), not _columns_compact(b)) if scalar else None


def _columns_compact(array: Any) -> bool:
    """Whether columns lie in one piece each, and rows do not."""
    near, (down, across) = array.itemsize, array.strides
    return bool(down == near != across and across % near == 0 and array.flags.aligned)


def _compact(array: Any) -> Any:
    """The array if its rows or columns lie in one piece each, else a copy."""
    near, (down, across) = array.itemsize, array.strides
    if _columns_compact(array) or (across == near and down % near == 0 and array.flags.aligned):
        return array
    return np.ascontiguousarray(array)


@functools.cache
def prepared(variant: Variant, target: Target | None = None) -> Packed | None:
    """The compiled product of a variant; None on machines that have better libraries.

    Raises `MissingToolchain`.
    """
    target = target or current()
    return Packed(variant, target) if target.name in FAMILIES else None


def multiply(a: Any, b: Any, out: Any = None) -> Any:
    """``np.dot(a, b)``, by own kernels where they fit; `out` is row-major and overlaps neither."""
    variant = variant_of(a, b) if suited(a, b) else None
    packed = prepared(variant) if variant else None
    return np.dot(a, b, out=out) if packed is None else packed(a, b, out)


class Packed:
    """One variant, compiled; calling it multiplies two matrices that it fits."""

    def __init__(self, variant: Variant, target: Target) -> None:
        self.blocks, self.target = Blocks(*variant, *tile_for(target)), target
        self.item = 4 if variant[0] == "float" else 8
        self.width = self.blocks.width(target)
        module = Module(target)
        emit_blocks(module, self.blocks)
        self.code = compile_text(str(module), (PACK, MULTIPLY), target)

    def __call__(self, a: Any, b: Any, out: Any = None) -> Any:
        """The product, in a new array or in `out`."""
        (m, k), n = a.shape, b.shape[1]
        assert b.shape[0] == k
        a, b = _compact(a), _compact(b)
        if out is None:
            out = np.empty((m, n), a.dtype)
        steps = _equal(k, SLAB_STEPS)
        columns = self.columns(n, steps)
        for column in range(0, n, columns):
            for step in range(0, k, steps):
                self.slab(a[:, step:step + steps], b[step:step + steps, column:column + columns],
                          out[:, column:column + columns], step > 0)
        return out

    def columns(self, n: int, steps: int) -> int:
        """Columns of a slab: equal parts, whole panels."""
        most = max(1, PANELS_BYTES // (panel_items(self.blocks, self.target, steps) * self.item))
        return _equal(-(-n // self.width), most) * self.width

    def slab(self, a: Any, b: Any, c: Any, accumulate: bool) -> None:
        """Two regions of the pool: pack B, then multiply."""
        (m, k), n = a.shape, b.shape[1]
        threads = min(get_num_threads(), MOST_WORKERS + 1)
        words = self.division(m, n, k, threads)
        panels, strips, memory = self.memory(words, n, k, threads)
        words.update(
            a=address(a), b=address(b), c=address(c), panels=panels, strips=strips, m=m, n=n, k=k,
            lda=a.strides[self.blocks.left_side_by_side] // self.item,
            ldb=b.strides[not self.blocks.right_side_by_side] // self.item,
            ldc=c.strides[0] // self.item, accumulate=int(accumulate))
        context = (ctypes.c_int64 * len(WORDS))(*(words[word] for word in WORDS))
        pool, place = default_pool(threads), ctypes.addressof(context)
        pool.run(self.code[PACK], place, words["pack_parts"])
        pool.run(self.code[MULTIPLY], place, words["row_parts"] * words["column_parts"])
        _kept[:] = [memory]

    def division(self, m: int, n: int, k: int, threads: int) -> dict[str, int]:
        """How the work is cut: steps of k in equal blocks, rows for the cache, chunks for threads.

        Columns are cut where rows alone give too few chunks.
        """
        block = _equal(k, BLOCK_BYTES // self.item)
        rows, strips = self.blocks.rows, -(-m // self.blocks.rows)
        row_parts = -(-strips // (STRIPS_BYTES // (block * self.item * rows)))
        if row_parts > 1:
            row_parts = min(strips, -(-row_parts // threads) * threads)
        panels = -(-n // self.width)
        wanted = 1 if threads == 1 else -(-CHUNKS * threads // row_parts)
        step = strip_items(self.blocks, self.target, -(-strips // row_parts) * rows, block)
        return {"block": block, "row_parts": row_parts, "column_parts": min(wanted, panels),
                "pack_parts": 1 if threads == 1 else min(CHUNKS * threads, panels),
                "strips_step": _lines(step * self.item)}

    def memory(self, words: dict[str, int], n: int, k: int,
               threads: int) -> tuple[int, int, np.ndarray]:
        """Addresses of panels and strips, and the memory they lie in.

        It is taken away from where it is kept: two Python threads may multiply at once.
        """
        size = _lines(-(-n // self.width) * panel_items(self.blocks, self.target, k) * self.item)
        wanted = size + threads * words["strips_step"] + CACHE_LINE
        try:
            memory = _kept.pop()
        except IndexError:
            memory = np.empty(wanted, np.uint8)
        if memory.size < wanted:
            memory = np.empty(wanted, np.uint8)
        start = _lines(address(memory))
        return start, start + size, memory


def _equal(whole: int, most: int) -> int:
    """The size of the fewest equal parts of at most `most`."""
    return -(-whole // -(-whole // most))


def _lines(size: int) -> int:
    """Bytes in whole cache lines."""
    return -(-size // CACHE_LINE) * CACHE_LINE


def address(array: np.ndarray) -> int:
    """Where an array begins."""
    return int(array.__array_interface__["data"][0])
