"""What is to be multiplied, and which of three ways does it: decided before a line is written.

    tile     lanes along the output's columns, one scalar of the left operand broadcast at a time:
             an outer product a step of k. For everything that is not skinny.
    swapped  the same with the operands exchanged, for few columns when the left operand lies in
             memory with its rows side by side (X' dY): lanes along the output's rows.
    dot      lanes along k, for operands that both lie along k and few rows or columns.

Sizes that are known make better tiles and less code; None stands for a size known at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kkori.codegen.target import Target
from kkori.codegen.text import FLOATING, Function, Value

__all__ = ["Operand", "Plan", "Product", "cover", "plan"]

ASSUMED = 224  # of an unknown size, when tiles are chosen
PACKED_PART = 2 / 3  # of the first cache level, for a panel of the right operand
ONLY_PART = 1 / 4  # of the second level, for a panel that is the whole right operand
BLOCK_SIDE_BY_SIDE = 96  # rows of a left operand that a step of k jumps over: each is another page
FEW_ROWS = 16
FEW_STEPS = 8  # of k: the product is then mostly writing, which should run along rows
VERY_LONG = 8  # times the lanes: k for which adding up lanes at the end of a dot is little
LATENCY = 4  # cycles until a multiply-add may be added to again; two start every cycle


class Product(NamedTuple):
    """``C = epilogue(A @ B)``, or ``epilogue(C + A @ B)`` to accumulate; C is m by n, row-major.

    A transposed operand is stored the other way round: A as k by m, B as n by k. The epilogue gets
    a vector of results and its `Place`, and returns what is to be stored.
    """

    scalar: str = "float"
    m: int | None = None
    n: int | None = None
    k: int | None = None
    transpose_a: bool = False
    transpose_b: bool = False
    accumulate: bool = False
    epilogue: Callable[[Value, Any], Value] | None = None


class Operand(NamedTuple):
    """One factor as lines (rows of A, columns of B) times k.

    `side_by_side` says that the same k of neighbouring lines are neighbours in memory; otherwise
    each line lies along k.
    """

    pointer: Value
    stride: Value
    side_by_side: bool
    scalar: str

    def at(self, line: Value, k: Value) -> Value:
        """The address of one element."""
        far, near = (k, line) if self.side_by_side else (line, k)
        place = far * self.stride + near
        return self.pointer.function.offset(self.pointer, place, self.scalar)


class Plan(NamedTuple):
    """How: the way, tile sizes, vectors a tile row, whether panels are packed, length of k blocks.

    `rows` and `columns` list tile sizes, largest first: all of the largest, then what is left.
    A block of 0 is all of k. `along_rows` goes through a row of tiles before the next one.
    """

    way: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    vectors: int
    pack: bool
    block: int
    along_rows: bool = False


def plan(product: Product, target: Target) -> Plan:
    """The way to compute a product on a target."""
    lanes = target.lanes(product.scalar)
    if _wants_dots(product, lanes):
        return _dots(product, target)
    few = product.n is not None and product.n <= lanes // 2
    if product.transpose_a and few and (product.m is None or product.m >= lanes):
        return _tiles("swapped", product.n, product.m, False, product, target)
    return _tiles("tile", product.m, product.n, product.transpose_b, product, target)


def _wants_dots(product: Product, lanes: int) -> bool:
    """Rows of A lie along k, and lanes along columns would be idle or would first be turned."""
    long = product.k is None or product.k >= lanes // 2
    if product.transpose_a or not long:
        return False
    few_rows = product.m is not None and product.m < FEW_ROWS
    if product.n is not None and product.n <= lanes // 2 and not few_rows:
        return True
    few = product.n is not None and product.n < lanes
    very_long = product.k is None or product.k >= VERY_LONG * lanes
    return product.transpose_b and (few_rows or (few and very_long))


def _dots(product: Product, target: Target) -> Plan:
    """Tiles of sums: every loaded vector serves as many as registers allow."""
    m, n = product.m or ASSUMED, product.n or ASSUMED
    shapes = [(rows, columns) for rows in range(1, min(m, 8) + 1) for columns in range(1, 9)
              if columns <= n and rows * columns + min(rows, columns) + 1 <= target.registers]

    def cost(shape: tuple[int, int]) -> float:
        rows, columns = shape
        sides = [(whole // size, size, whole % size) for whole, size in ((m, rows), (n, columns))]
        (a, rows, c), (x, columns, z) = sides
        return (a * x * _step(rows, columns) + x * bool(c) * _step(c, columns)
                + a * bool(z) * _step(rows, z) + bool(c * z) * _step(c, z))

    rows, columns = min(shapes, key=cost)
    return Plan("dot", _sizes(rows, product.m), _sizes(columns, product.n), 1,
                not product.transpose_b, 0)


def _sizes(size: int, whole: int | None) -> tuple[int, ...]:
    """A tile size and those for the rest: exact for a known whole, else a few smaller ones."""
    if whole is None:
        return tuple(dict.fromkeys((size, min(size, 4), 1)))
    size = min(size, whole)
    rest = whole % size
    return (size, rest) if rest else (size,)


def _tiles(way: str, lines: int | None, columns: int | None, lying: bool, product: Product,
           target: Target) -> Plan:
    """Plan of outer products for `lines` scalars times `columns` lanes."""
    lanes = target.lanes(product.scalar)
    rows, vectors = min(_tile_shapes(target), key=lambda shape: _cost(
        shape[0], shape[1], lines, columns, lanes))
    ragged = columns is None or columns % (vectors * lanes) != 0
    along_rows = not lying and product.k is not None and product.k <= FEW_STEPS
    pack = not along_rows and (lying or (lines or ASSUMED) > 2 * rows)
    pack = pack or (ragged and target.bits == 128)
    one_row = lines is not None and lines <= rows and not pack
    side_by_side = product.transpose_a if way == "tile" else not product.transpose_b
    only = columns is not None and columns <= vectors * lanes
    block = 0 if one_row else _block(product, vectors * lanes, side_by_side, only, target)
    return Plan(way, _sizes(rows, lines), (vectors * lanes,), vectors, pack, block,
                along_rows and not pack)


def _block(product: Product, width: int, side_by_side: bool, only: bool, target: Target) -> int:
    """Steps of k for which a panel stays in a cache; equal parts of a known k.

    With a single panel the left operand is read once, and better in whole rows than in strips.
    """
    room = target.caches.l2 * ONLY_PART if only else target.caches.l1 * PACKED_PART
    block = max(64, int(room) // (width * FLOATING[product.scalar]) // 16 * 16)
    if side_by_side:
        block = min(block, BLOCK_SIDE_BY_SIDE)
    if product.k is None:
        return block
    if product.k <= block:
        return 0
    return -(-product.k // -(-product.k // block))


def _tile_shapes(target: Target) -> list[tuple[int, int]]:
    """Accumulators, a row of the right operand and one broadcast fit into the registers."""
    spare = 1 if target.fma else 2
    return [(rows, vectors) for vectors in (1, 2, 3, 4, 6, 8, 12, 16, 24)
            for rows in range(1, 25)
            if rows * vectors + vectors + spare <= target.registers]


def _cost(rows: int, vectors: int, lines: int | None, columns: int | None, lanes: int) -> float:
    """Cycles for one k over the whole output, roughly; the last term prefers less code."""
    lines, columns = lines or ASSUMED, columns or ASSUMED
    across = -(-columns // (vectors * lanes))
    full, rest = divmod(lines, rows)
    cycles = full * _step(rows, vectors) + (_step(rest, vectors) if rest else 0)
    return across * cycles + 1e-3 * rows * vectors


def _step(rows: int, vectors: int) -> float:
    """Cycles of one k: two multiply-adds and two loads at a time, and the latency of a sum."""
    loads = rows + vectors
    return max(rows * vectors / 2, loads / 2, LATENCY) + 0.5 + 0.04 * loads


def cover(f: Function, sizes: tuple[int, ...], whole: int | None, begin: Value, end: Value,
          body: Callable[[int, Value], None]) -> None:
    """Write ``body(size, start)`` for tiles of the given sizes that cover [begin, end).

    A known `whole` is the length, and `begin` is 0.
    """
    if whole is not None:
        full = whole // sizes[0] * sizes[0]
        _repeat(f, sizes[0], begin, f.constant(full, end.type), full, body)
        if whole > full:
            body(whole - full, f.constant(full, end.type))
        return
    start = begin
    for size in sizes:
        stop = end - f.operate("u%", end - start, size)
        _repeat(f, size, start, stop, None, body)
        start = stop


def _repeat(f: Function, size: int, start: Value, stop: Value, length: int | None,
            body: Callable[[int, Value], None]) -> None:
    if length == size:
        body(size, start)
    elif length != 0:
        with f.loop(start, stop, size, name="tile") as loop:
            body(size, f.settled(loop.index))
