"""Large matrix products as LLVM text: both operands are copied into blocks that caches hold.

``emit_blocks(module, shape)`` writes two functions for the thread pool, ``void (ptr context,
i64 chunk, i64 slot)``. First `PACK` lays the right operand out as panels, so many columns wide as a
tile is; all threads then read them. `MULTIPLY` makes a part of C: for each block of k it lays its
rows of the left operand out as strips of a tile's height, which stay in the second cache level, and
takes one panel after the other through the first. Edges go through a tile of memory, so there is
one kernel without masks. The order of every sum depends on k alone, not on who computes it.

The context is an array of 64-bit words, `WORDS`; `block` is how many steps of k are a block.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple

from kkori.codegen.matmul_kernels import _transposed
from kkori.codegen.matmul_plan import Operand
from kkori.codegen.target import Target
from kkori.codegen.text import I32, I64, PTR, VOID, Function, Module, Type, Value, type_of

__all__ = ["MULTIPLY", "PACK", "WORDS", "Blocks", "emit_blocks", "panel_items",
           "strip_items", "tile_for"]

PACK, MULTIPLY = "pack", "multiply"
POINTERS = ("a", "b", "c", "panels", "strips")
PLACES = ("lda", "ldb", "ldc", "accumulate")
SIZES = ("m", "n", "k", "block", "strips_step", "pack_parts", "row_parts", "column_parts")
WORDS = (*POINTERS, *PLACES, *SIZES)
KERNEL = (("a", PTR), ("b", PTR), ("c", PTR), ("ldc", I64), ("k", I64), ("add", I64))
COPY = (("source", PTR), ("stride", I64), ("lines", I64), ("k", I64), ("target", PTR))
EDGE = (("tile", PTR), ("c", PTR), ("ldc", I64), ("rows", I64), ("columns", I64), ("add", I64))


class Blocks(NamedTuple):
    """What the code is written for: element type, how operands lie, rows and vectors of a tile.

    An operand lies `side_by_side` if the same k of neighbouring rows of A (columns of B) are
    neighbours in memory: A transposed, B as it is.
    """

    scalar: str
    left_side_by_side: bool
    right_side_by_side: bool
    rows: int
    vectors: int

    def width(self, target: Target) -> int:
        """Columns of a tile."""
        return self.vectors * target.lanes(self.scalar)


def tile_for(target: Target) -> tuple[int, int]:
    """Rows and vectors of a tile: as many sums as registers hold beside what is multiplied."""
    return {(512, 32): (14, 2), (256, 16): (6, 2)}.get((target.bits, target.registers), (4, 2))


def panel_items(blocks: Blocks, target: Target, k: int) -> int:
    """Elements of one packed panel: whole squares of lanes are written."""
    return _whole(k, target.lanes(blocks.scalar)) * blocks.width(target)


def strip_items(blocks: Blocks, target: Target, rows: int, block: int) -> int:
    """Elements of scratch memory of a thread: a tile for edges, then the strips of a block."""
    lanes = target.lanes(blocks.scalar)
    strip = _whole(block, lanes) * blocks.rows
    return blocks.rows * blocks.width(target) + -(-rows // blocks.rows) * strip + lanes


def _whole(size: int, step: int) -> int:
    return -(-size // step) * step


def emit_blocks(module: Module, blocks: Blocks) -> None:
    """Write `PACK` and `MULTIPLY` into a module."""
    writer = _Writer(module, blocks)
    writer.copies("left", blocks.rows, blocks.left_side_by_side)
    writer.copies("right", writer.width, blocks.right_side_by_side)
    writer.kernel()
    writer.edge()
    writer.pack()
    writer.multiply()


class _Writer:
    """All functions of one product."""

    def __init__(self, module: Module, blocks: Blocks) -> None:
        self.module, self.blocks, self.scalar = module, blocks, blocks.scalar
        self.lanes = module.target.lanes(blocks.scalar)
        self.width = blocks.width(module.target)
        self.kind: Type = type_of(blocks.scalar, self.lanes)

    # --- laying out -----------------------------------------------------------------------------

    def copies(self, name: str, width: int, side_by_side: bool) -> None:
        """``copy.name``: up to `width` lines of an operand, k by k; more lines are made up."""
        with self.module.function(f"copy.{name}", VOID, COPY, internal=True) as f:
            (self.lines_moved if side_by_side else self.lines_turned)(f, width)
            f.ret()

    def lines_moved(self, f: Function, width: int) -> None:
        """Lines lie side by side. A ragged last vector is overwritten by the next k."""
        source, stride, lines, k, target = f.arguments
        starts = range(0, width, self.lanes)
        masks = [f.tail_mask(_positive(f, lines - start), min(self.lanes, width - start))
                 for start in starts]
        with f.loop(0, k, carried=(source, target), name="k") as loop:
            here, there = loop.carried
            for start, mask in zip(starts, masks, strict=True):
                kind = type_of(self.scalar, mask.type.lanes)
                value = f.load(kind, f.offset(here, start, self.scalar), mask)
                f.store(value, f.offset(there, start, self.scalar))
            loop.carry(f.offset(here, stride, self.scalar), f.offset(there, width, self.scalar))

    def lines_turned(self, f: Function, width: int) -> None:
        """Each line lies along k: squares are transposed, the last one first, as it may be ragged
        and reach into the next k, which is written after it."""
        source, stride, lines, k, target = f.arguments
        operand = Operand(source, stride, False, self.scalar)
        with f.loop(0, k, self.lanes, name="k") as loop:
            mask = f.tail_mask(k - loop.index, self.lanes)
            there = f.offset(target, loop.index * width, self.scalar)
            for start in reversed(range(0, width, self.lanes)):
                square = [self.line(f, operand, start + lane, lines, loop.index, mask)
                          for lane in range(self.lanes)]
                for number, row in enumerate(_transposed(square)):
                    f.store(row, f.offset(there, number * width + start, self.scalar))

    def line(self, f: Function, operand: Operand, number: int, lines: Value, k: Value,
             mask: Value) -> Value:
        last = lines - 1
        line = f.select(last > number, number, last)
        return f.load(self.kind, operand.at(line, k), mask)

    # --- the tile -------------------------------------------------------------------------------

    def kernel(self) -> None:
        """``kernel``: a whole tile of C from a strip and a panel."""
        blocks = self.blocks
        with self.module.function("kernel", VOID, KERNEL, internal=True) as f:
            a, b, c, ldc, k, add = f.arguments
            for place in self.places(f, c, ldc):  # needed at the end: asked for now
                self.fetch(f, place)
            zeros = [f.constant(0, self.kind)] * (blocks.rows * blocks.vectors)
            with f.loop(0, k, carried=(*zeros, a, b), name="k") as loop:
                *sums, left, right = loop.carried
                loop.carry(*self.step(f, left, right, sums),
                           f.offset(left, blocks.rows, self.scalar),
                           f.offset(right, self.width, self.scalar))
            done: tuple[Value, ...] = loop.results[:-2]
            places = self.places(f, c, ldc)
            done = f.when(f.compare("!=", add, 0), done, lambda: [
                f.load(self.kind, place) + value
                for place, value in zip(places, loop.results, strict=False)])
            for place, value in zip(places, done, strict=True):
                f.store(value, place)
            f.ret()

    def places(self, f: Function, c: Value, ldc: Value) -> list[Value]:
        """The address of each vector of a tile of C."""
        rows = [f.offset(c, ldc * row, self.scalar) for row in range(self.blocks.rows)]
        return [f.offset(row, vector * self.lanes, self.scalar)
                for row in rows for vector in range(self.blocks.vectors)]

    @staticmethod
    def fetch(f: Function, place: Value) -> None:
        """Ask for a line of memory that will be written."""
        write, near, data = (f.constant(number, I32) for number in (1, 3, 1))
        f.call("llvm.prefetch.p0", VOID, place, write, near, data)

    def step(self, f: Function, left: Value, right: Value, sums: list[Value]) -> list[Value]:
        """One k: an outer product."""
        vectors = [f.load(self.kind, f.offset(right, vector * self.lanes, self.scalar))
                   for vector in range(self.blocks.vectors)]
        result = []
        for row in range(self.blocks.rows):
            scalar = f.load(type_of(self.scalar), f.offset(left, row, self.scalar))
            one = f.splat(scalar, self.lanes)
            result += [f.fma(one, vector, sums[row * len(vectors) + number])
                       for number, vector in enumerate(vectors)]
        return result

    def edge(self) -> None:
        """``edge``: the part of a tile that exists, from the tile's own memory to C."""
        with self.module.function("edge", VOID, EDGE, internal=True) as f:
            tile, c, ldc, rows, columns, add = f.arguments
            with f.loop(0, rows, name="row") as row:
                here = f.offset(tile, row.index * self.width, self.scalar)
                there = f.offset(c, row.index * ldc, self.scalar)
                with f.loop(0, columns, self.lanes, name="column") as column:
                    mask = f.tail_mask(columns - column.index, self.lanes)
                    value = f.load(self.kind, f.offset(here, column.index, self.scalar))
                    place = f.offset(there, column.index, self.scalar)
                    (value,) = f.when(f.compare("!=", add, 0), [value], lambda: [
                        f.load(self.kind, place, mask) + value])
                    f.store(value, place, mask)
            f.ret()

    # --- what threads are given -----------------------------------------------------------------

    def region(self, name: str) -> AbstractContextManager[Function]:
        """A function that the pool calls for each chunk."""
        return self.module.function(name, VOID, [("context", PTR), ("chunk", I64), ("slot", I64)])

    def pack(self) -> None:
        """A run of panels of the right operand."""
        with self.region(PACK) as f:
            word = _Words(f)
            begin, end = _share(f, self.up(f, word.n, self.width), f.arguments[1], word.pack_parts)
            step = self.up(f, word.k, self.lanes) * (self.lanes * self.width)
            with f.loop(begin, end, name="panel") as loop:
                column = loop.index * self.width
                source = self.lines_at(f, word.b, word.ldb, column, self.blocks.right_side_by_side)
                f.call("copy.right", VOID, source, word.ldb, word.n - column, word.k,
                       f.offset(word.panels, loop.index * step, self.scalar))
            f.ret()

    def up(self, f: Function, size: Value, step: int) -> Value:
        return f.operate("u/", size + (step - 1), step)

    def lines_at(self, f: Function, pointer: Value, stride: Value, line: Value,
                 side_by_side: bool) -> Value:
        return Operand(pointer, stride, side_by_side, self.scalar).at(line, f.constant(0, I64))

    def multiply(self) -> None:
        """A part of C: some strips of rows by some panels of columns, all of k."""
        with self.region(MULTIPLY) as f:
            word, chunk, slot = _Words(f), f.arguments[1], f.arguments[2]
            rows = _share(f, self.up(f, word.m, self.blocks.rows),
                          f.operate("u%", chunk, word.row_parts), word.row_parts)
            panels = _share(f, self.up(f, word.n, self.width),
                            f.operate("u/", chunk, word.row_parts), word.column_parts)
            tile = f.offset(word.strips, slot * word.strips_step, "i8")
            with f.loop(0, word.k, word.block, name="block") as loop:
                left = word.k - loop.index
                length = f.select(left < word.block, left, word.block)
                _Block(self, f, word, tile, loop.index, length).write(rows, panels)
            f.ret()


class _Block:
    """One block of k in a part of C."""

    def __init__(self, writer: _Writer, f: Function, word: _Words, tile: Value, first: Value,
                 length: Value) -> None:
        self.writer, self.f, self.word, self.tile = writer, f, word, tile
        self.first, self.length, self.scalar = first, length, writer.scalar
        self.rows, self.width, self.lanes = writer.blocks.rows, writer.width, writer.lanes
        self.strips = f.offset(tile, self.rows * self.width, self.scalar)
        self.strip = writer.up(f, length, self.lanes) * (self.lanes * self.rows)
        self.panel = writer.up(f, word.k, self.lanes) * (self.lanes * self.width)
        later = f.convert("zext", f.compare("!=", first, 0), I64)
        self.add = later | word.accumulate

    def write(self, rows: tuple[Value, Value], panels: tuple[Value, Value]) -> None:
        f, word, (begin, end) = self.f, self.word, rows
        with f.loop(begin, end, name="strip") as loop:
            line, number = loop.index * self.rows, loop.index - begin
            operand = Operand(word.a, word.lda, self.writer.blocks.left_side_by_side, self.scalar)
            f.call("copy.left", VOID, operand.at(line, self.first), word.lda, word.m - line,
                   self.length, f.offset(self.strips, number * self.strip, self.scalar))
        with f.loop(*panels, name="panel") as loop:
            self.column(loop.index, begin, end)

    def column(self, panel: Value, begin: Value, end: Value) -> None:
        """All tiles of one panel: whole ones, then those over the edge of C."""
        f, word = self.f, self.word
        place = panel * self.panel + self.first * self.width
        right = f.offset(word.panels, place, self.scalar)
        columns = word.n - panel * self.width
        whole = f.operate("u/", word.m, self.rows)
        whole = f.select(whole < end, whole, end)
        whole = f.select(columns < self.width, begin, whole)
        for start, stop, inside in ((begin, whole, True), (whole, end, False)):
            with f.loop(start, stop, name="tile") as loop:
                left = f.offset(self.strips, (loop.index - begin) * self.strip, self.scalar)
                row = loop.index * self.rows
                c = f.offset(word.c, row * word.ldc + panel * self.width, self.scalar)
                if inside:
                    f.call("kernel", VOID, left, right, c, word.ldc, self.length, self.add)
                else:
                    self.over(left, right, c, word.m - row, columns)

    def over(self, left: Value, right: Value, c: Value, rows: Value, columns: Value) -> None:
        f = self.f
        zero, width = f.constant(0, I64), f.constant(self.width, I64)
        f.call("kernel", VOID, left, right, self.tile, width, self.length, zero)
        rows = f.select(rows < self.rows, rows, self.rows)
        columns = f.select(columns < self.width, columns, self.width)
        f.call("edge", VOID, self.tile, c, self.word.ldc, rows, columns, self.add)


class _Words:
    """The context's words as attributes, read once at the start of a function."""

    def __init__(self, f: Function) -> None:
        for number, name in enumerate(WORDS):
            kind = PTR if name in POINTERS else I64
            setattr(self, name, f.load(kind, f.offset(f.arguments[0], number, "i64")))

    def __getattr__(self, name: str) -> Value:  # tells type checkers what the words are
        raise AttributeError(name)


def _share(f: Function, count: Value, part: Value, parts: Value) -> tuple[Value, Value]:
    """Which of `count` things belong to a part: sizes differ by one at most."""
    return (f.operate("u/", count * part, parts), f.operate("u/", count * (part + 1), parts))


def _positive(f: Function, value: Value) -> Value:
    return f.select(value < 0, 0, value)
