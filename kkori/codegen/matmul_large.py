"""Large matrix products of arrays: own blocked kernels, shared by the pool's threads.

``prepared(kind_of(a, b))(a, b)`` is ``np.dot(a, b)`` for two large matrices. NumPy's library
chooses its kernels by the processor names it knew when it was built; on newer ones it may take
those of an older generation, at half the speed. Code here is made for the processor it runs on.

Operands larger than the memory kept for packed panels are multiplied in slabs of columns and of k.
"""

from __future__ import annotations

import functools
import struct
from typing import Any, NamedTuple

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
from kkori.codegen.matmul_choice import Kind, columns_compact
from kkori.codegen.pool import MOST_WORKERS, default_pool
from kkori.codegen.target import Target, current
from kkori.codegen.text import Module
from kkori.core.threads import get_num_threads

__all__ = ["Packed", "prepared"]

SLAB_STEPS = 4096  # of k
PANELS_BYTES = 32 << 20  # of packed columns
BLOCK_BYTES = 1536  # of one line of a block of k
STRIPS_BYTES = 384 << 10  # of packed rows, in the second cache level
CHUNKS = 4  # a thread: one that is late leaves work to the others
SHARED = 1 << 19  # multiply-adds from which a thread is worth waking
CACHE_LINE = 64
CONTEXT = struct.Struct(f"{len(WORDS)}q")  # as bytes, which ctypes passes by their address

_kept: list[np.ndarray] = []  # memory for packed operands


def _compact(array: Any) -> Any:
    """The array if its rows or columns lie in one piece each, else a copy."""
    near, (down, across) = array.itemsize, array.strides
    if columns_compact(array) or (across == near and down % near == 0 and array.flags.aligned):
        return array
    return np.ascontiguousarray(array)


@functools.cache
def prepared(kind: Kind) -> Packed | None:
    """The compiled product of a kind; None for vectors that NumPy's library has as well.

    Raises `MissingToolchain`.
    """
    target = current()
    return Packed(kind, target) if target.bits >= 512 else None


class Packed:
    """One kind of product, compiled; calling it multiplies two matrices of that kind."""

    def __init__(self, kind: Kind, target: Target) -> None:
        self.blocks, self.target = Blocks(*kind, *tile_for(target)), target
        self.item = 4 if kind[0] == "float" else 8
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
        (m, k), n, item = a.shape, b.shape[1], self.item
        threads = min(get_num_threads(), MOST_WORKERS + 1)
        layout = layout_of(self.blocks, self.target, m, n, k, threads)
        memory = _memory(layout.bytes)
        panels = _lines(address(memory))
        context: Any = CONTEXT.pack(
            address(a), address(b), address(c), panels, panels + layout.strips,
            a.strides[self.blocks.left_side_by_side] // item,
            b.strides[not self.blocks.right_side_by_side] // item,
            c.strides[0] // item, accumulate, *layout.sizes)
        pool = default_pool(threads)
        pool.run(self.code[PACK], context, layout.pack_chunks)
        pool.run(self.code[MULTIPLY], context, layout.chunks)
        _kept[:] = [memory]


class Layout(NamedTuple):
    """How a slab's work and memory are cut."""

    sizes: tuple[int, ...]  # the words `SIZES` of the context
    pack_chunks: int
    chunks: int
    strips: int  # where strips begin, in bytes after the panels
    bytes: int


@functools.lru_cache(256)
def layout_of(blocks: Blocks, target: Target, m: int, n: int, k: int, threads: int) -> Layout:
    """Steps of k in equal blocks, rows for the second cache level, chunks for threads.

    Columns are cut where rows alone give too few chunks.
    """
    item = 4 if blocks.scalar == "float" else 8
    block, height = _equal(k, BLOCK_BYTES // item), blocks.rows
    strips, panels = -(-m // height), -(-n // blocks.width(target))
    hands = threads if m * n * k >= SHARED else 1
    rows = -(-strips // max(1, STRIPS_BYTES // (block * item * height)))
    if rows > 1:
        rows = min(strips, -(-rows // hands) * hands)
    columns = 1 if hands == 1 else min(panels, -(-CHUNKS * hands // rows))
    pack = 1 if hands == 1 else min(panels, CHUNKS * hands)
    step = _lines(strip_items(blocks, target, -(-strips // rows) * height, block) * item)
    begin = _lines(panels * panel_items(blocks, target, k) * item)
    sizes = (m, n, k, block, step, pack, rows, columns)
    return Layout(sizes, pack, rows * columns, begin, begin + threads * step + CACHE_LINE)


def _memory(size: int) -> np.ndarray:
    """Memory of at least `size` bytes: what is kept, or more.

    It is taken away from there, as two Python threads may multiply at once.
    """
    try:
        memory = _kept.pop()
    except IndexError:
        return np.empty(size, np.uint8)
    return memory if memory.size >= size else np.empty(size, np.uint8)


def _equal(whole: int, most: int) -> int:
    """The size of the fewest equal parts of at most `most`."""
    return -(-whole // -(-whole // most))


def _lines(size: int) -> int:
    """Bytes in whole cache lines."""
    return -(-size // CACHE_LINE) * CACHE_LINE


def address(array: np.ndarray) -> int:
    """Where an array begins."""
    return int(array.__array_interface__["data"][0])
