"""Matrix products as LLVM text: small, skinny or fused with what comes before and after.

``emit(module, name, product)`` writes

    void name(ptr a, ptr b, ptr c, i64 begin, i64 end, i64 n, i64 k, i64 lda, i64 ldb, i64 ldc,
              ptr scratch, ptr extra)

which makes the rows [begin, end) of C (all of them where m is known), with strides in elements,
`scratch` of `scratch_bytes(product, target)` bytes aligned to 64 (one for each thread), and `extra`
for the epilogue. Threads share a product by taking rows each; the order of every sum depends on the
plan alone, not on who computes it. For large products without a small side see `matmul_blocks`:
beyond the caches it pays to pack both operands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kkori.codegen.matmul_plan import Operand, Plan, Product, cover, plan
from kkori.codegen.target import Target
from kkori.codegen.text import FLOATING, I32, I64, PTR, VOID, Function, Module, Type, Value, type_of

__all__ = ["ARGUMENTS", "Place", "Product", "emit", "scratch_bytes"]

ARGUMENTS = (("a", PTR), ("b", PTR), ("c", PTR), ("begin", I64), ("end", I64),
             ("n", I64), ("k", I64), ("lda", I64), ("ldb", I64), ("ldc", I64),
             ("scratch", PTR), ("extra", PTR))


class Place(NamedTuple):
    """Where a vector of results belongs, told to an epilogue.

    Lanes run along columns, or along rows where `swapped`; the methods hide which.
    """

    f: Function
    extra: Value
    kind: Type
    row: Value  # of the first lane
    column: Value
    mask: Value | None
    swapped: bool

    def per_column(self, pointer: Value) -> Value:
        """The elements of a vector with an entry a column (a bias), shaped like the results."""
        return self._along(pointer, self.column, not self.swapped)

    def per_row(self, pointer: Value) -> Value:
        """The elements of a vector with an entry a row."""
        return self._along(pointer, self.row, self.swapped)

    def _along(self, pointer: Value, start: Value, lanes: bool) -> Value:
        f, place = self.f, self.f.offset(pointer, start, self.kind.scalar)
        if lanes:
            return f.load(self.kind, place, self.mask)
        return f.splat(f.load(type_of(self.kind.scalar), place), self.kind.lanes)

    def _address(self, pointer: Value, stride: Value) -> Value:
        return self.f.offset(pointer, self.row * stride + self.column, self.kind.scalar)

    def load(self, pointer: Value, stride: Value) -> Value:
        """The same elements of another matrix (or of C)."""
        place = self._address(pointer, stride)
        if not self.swapped:
            return self.f.load(self.kind, place, self.mask)
        return _scattered(self, "gather", place, stride, None)

    def store(self, value: Value, pointer: Value, stride: Value) -> None:
        """Write the elements."""
        place = self._address(pointer, stride)
        if self.swapped:
            _scattered(self, "scatter", place, stride, value)
        else:
            self.f.store(value, place, self.mask)


def _scattered(place: Place, word: str, first: Value, stride: Value, value: Value | None) -> Value:
    """Lanes that lie a stride apart; rare, as it happens once a tile and not once a k."""
    f, kind, lanes = place.f, place.kind, place.kind.lanes
    steps = f.listed(range(lanes), "i64") * f.splat(stride, lanes)
    pointers = f.line(f"getelementptr {kind.scalar}, {first}, {steps}", type_of("ptr", lanes))
    name = f"llvm.masked.{word}.{kind.suffix}.v{lanes}p0"
    mask = place.mask or f.constant(1, kind.of("i1"))
    align = f.constant(kind.bytes, type_of("i32"))
    if value is not None:
        return f.call(name, VOID, value, pointers, align, mask)
    return f.call(name, kind, pointers, align, mask, Value("zeroinitializer", kind, f))


class _Writer:
    """One product being written: its operands by name, known sizes as constants."""

    def __init__(self, f: Function, product: Product, how: Plan) -> None:
        self.f, self.product, self.how = f, product, how
        a, b, self.c, begin, end, n, k, lda, ldb, self.ldc, self.scratch, self.extra = f.arguments
        self.m, self.n, self.k = (self._size(known, value) for known, value in (
            (product.m, end), (product.n, n), (product.k, k)))
        self.left = Operand(a, lda, product.transpose_a, product.scalar)
        self.right = Operand(b, ldb, not product.transpose_b, product.scalar)
        self.lanes = f.target.lanes(product.scalar)
        self.kind = type_of(product.scalar, self.lanes)
        self.zero = f.constant(0, I64)
        self.begin = begin if product.m is None else self.zero

    def _size(self, known: int | None, value: Value) -> Value:
        return value if known is None else self.f.constant(known, I64)

    def place(self, row: Value, column: Value, mask: Value | None, kind: Type | None = None,
              swapped: bool = False) -> Place:
        return Place(self.f, self.extra, kind or self.kind, row, column, mask, swapped)

    def finish(self, place: Place, value: Value) -> None:
        """Epilogue and store."""
        if self.product.epilogue is not None:
            value = self.product.epilogue(value, place)
        place.store(value, self.c, self.ldc)


def emit(module: Module, name: str, product: Product) -> Plan:
    """Write the function `name` into a module; the plan it follows."""
    how = plan(product, module.target)
    with module.function(name, VOID, ARGUMENTS) as f:
        (_Dots if how.way == "dot" else _Tiles)(f, product, how).write()
        f.ret()
    return how


def scratch_bytes(product: Product, target: Target, k: int | None = None) -> int:
    """Memory that a call needs beside its operands; `k` for a product that leaves it open."""
    how = plan(product, target)
    if not how.pack:
        return 0
    item, lanes = FLOATING[product.scalar], target.lanes(product.scalar)
    if how.way == "dot":
        length = product.k or k
        assert length is not None, "the scratch of dot products grows with k"
        return (product.n or 0) * length * item
    length = how.block or product.k or k
    assert length is not None, "the scratch of an undivided panel grows with k"
    return (length + lanes) * how.vectors * lanes * item


class _Tiles(_Writer):
    """Outer products: a tile of C stays in registers while k runs."""

    def __init__(self, f: Function, product: Product, how: Plan) -> None:
        super().__init__(f, product, how)
        self.swapped = how.way == "swapped"
        rows, columns = (self.begin, self.m), (self.zero, self.n)
        self.lines, self.across = (columns, rows) if self.swapped else (rows, columns)
        self.known_lines = product.n if self.swapped else product.m
        self.known_across = product.m if self.swapped else product.n
        if self.swapped:
            self.left, self.right = self.right, self.left
        self.blocked = how.block > 0
        self.width = how.vectors * self.lanes

    def write(self) -> None:
        """For each block of k and each panel of columns: pack the panel, then all rows."""
        if not self.blocked:
            self.panels(self.zero, self.k)
            return
        f = self.f
        # At least once: with k = 0 the result is still to be written.
        rounds = f.select(self.k > 0, self.k, 1)
        with f.loop(0, rounds, self.how.block, name="block") as loop:
            left = self.k - loop.index
            self.panels(loop.index, f.select(left < self.how.block, left, self.how.block))

    def panels(self, first: Value, length: Value) -> None:
        known = self.known_across
        if self.how.along_rows:
            cover(self.f, self.how.rows, self.known_lines, *self.lines,
                  lambda rows, line: self.row_of_tiles(rows, line, first, length))
            return
        if known is not None and known <= self.width:
            self.panel(self.zero, first, length)
            return
        with self.f.loop(*self.across, self.width, name="panel") as loop:
            self.panel(loop.index, first, length)

    def panel(self, column: Value, first: Value, length: Value) -> None:
        masks = self.masks(column)
        if self.how.pack:
            if self.right.side_by_side:
                self.copy(column, first, length, masks)
            else:
                self.turn(column, first, length)
        cover(self.f, self.how.rows, self.known_lines, *self.lines,
              lambda rows, line: self.tile(rows, line, column, first, length, masks))

    def row_of_tiles(self, rows: int, line: Value, first: Value, length: Value) -> None:
        """Neighbouring tiles one after the other, so that C is written as it lies."""
        begin, end = self.across
        whole = end - self.f.operate("u%", end - begin, self.width)
        plain: list[Value | None] = [None] * self.how.vectors
        with self.f.loop(begin, whole, self.width, name="along") as loop:
            self.tile(rows, line, loop.index, first, length, plain)
        if self.known_across is None or self.known_across % self.width:
            with self.f.loop(whole, end, self.width, name="rest") as loop:
                self.tile(rows, line, loop.index, first, length, self.masks(loop.index))

    def masks(self, column: Value) -> list[Value | None]:
        """Which lanes of each vector of a panel exist; None where all do."""
        if self.known_across is not None and self.known_across % self.width == 0:
            return [None] * self.how.vectors
        masks: list[Value | None] = []
        for vector in range(self.how.vectors):
            left = self.across[1] - column - vector * self.lanes
            left = self.f.select(left < 0, 0, left)
            masks.append(self.f.tail_mask(left, self.lanes))
        return masks

    # --- packing: a panel of the right operand, k by k, where the tile reads it ---------------

    def packed(self, k: Value, column: Value | int) -> Value:
        return self.f.offset(self.scratch, k * self.width + column, self.product.scalar)

    def copy(self, column: Value, first: Value, length: Value,
             masks: list[Value | None]) -> None:
        """Columns lie side by side: move them."""
        f = self.f
        with f.loop(0, length, name="pack") as loop:
            source = self.right.at(column, first + loop.index)
            for vector, mask in enumerate(masks):
                place = f.offset(source, vector * self.lanes, self.product.scalar)
                f.store(f.load(self.kind, place, mask),
                        self.packed(loop.index, vector * self.lanes))

    def turn(self, column: Value, first: Value, length: Value) -> None:
        """Each column lies along k: transpose squares. Columns beyond the last repeat it."""
        f = self.f
        with f.loop(0, length, self.lanes, name="pack") as loop:
            mask = f.tail_mask(length - loop.index, self.lanes)
            with f.loop(0, self.width, self.lanes, name="vector") as inner:
                line = f.settled(inner.index)
                square = [self.line_along_k(column + line + lane, first + loop.index, mask)
                          for lane in range(self.lanes)]
                place = self.packed(loop.index, line)
                for number, row in enumerate(_transposed(square)):
                    f.store(row, f.offset(place, number * self.width, self.product.scalar))

    def line_along_k(self, line: Value, k: Value, mask: Value) -> Value:
        if self.known_across is None or self.known_across % self.width:
            last = self.across[1] - 1
            line = self.f.select(line < last, line, last)
        return self.f.load(self.kind, self.right.at(line, k), mask)

    # --- the tile -----------------------------------------------------------------------------

    def tile(self, rows: int, line: Value, column: Value, first: Value, length: Value,
             masks: list[Value | None]) -> None:
        f, vectors = self.f, self.how.vectors
        places = [self.tile_place(line + row, column + vector * self.lanes, masks[vector])
                  for row in range(rows) for vector in range(vectors)]
        start = self.start(places, first)
        with f.loop(0, length, carried=(*start, *self.cursors(rows, line, column, first)),
                    name="k") as loop:
            sums, cursors = loop.carried[:len(start)], loop.carried[len(start):]
            self.fetch_ahead(cursors, rows, loop.index)
            right = self.right_vectors(cursors[-1], masks)
            result = []
            for row in range(rows):
                scalar = f.load(type_of(self.product.scalar), self.left_place(row, cursors))
                left = f.splat(scalar, self.lanes)
                result += [f.fma(left, one, sums[row * vectors + number])
                           for number, one in enumerate(right)]
            loop.carry(*result, *self.advanced(cursors))
        self.end(places, loop.results[:len(start)], first + length)

    def tile_place(self, line: Value, column: Value, mask: Value | None) -> Place:
        if self.swapped:
            return self.place(column, line, mask, swapped=True)
        return self.place(line, column, mask)

    def start(self, places: list[Place], first: Value) -> tuple[Value, ...]:
        """Zeros, or what C holds: always to accumulate, else from the second block of k on."""
        zeros = tuple(self.f.constant(0, self.kind) for _ in places)

        def before() -> tuple[Value, ...]:
            return tuple(place.load(self.c, self.ldc) for place in places)

        if self.product.accumulate:
            return before()
        return self.f.when(first > 0, zeros, before) if self.blocked else zeros

    def end(self, places: list[Place], sums: tuple[Value, ...], reached: Value) -> None:
        """Store; the epilogue belongs to the last block."""
        epilogue = self.product.epilogue
        if epilogue is None or not self.blocked:
            for place, value in zip(places, sums, strict=True):
                self.finish(place, value)
            return
        done = self.f.when(reached >= self.k, sums, lambda: tuple(
            epilogue(value, place) for place, value in zip(places, sums, strict=True)))
        for place, value in zip(places, done, strict=True):
            place.store(value, self.c, self.ldc)

    def cursors(self, rows: int, line: Value, column: Value, first: Value) -> list[Value]:
        """Addresses that move with k: of each row (or of all, side by side), then of the panel."""
        lines = 1 if self.left.side_by_side else rows
        left = [self.left.at(line + row, first) for row in range(lines)]
        right = self.scratch if self.how.pack else self.right.at(column, first)
        return [*left, right]

    def fetch_ahead(self, cursors: tuple[Value, ...], rows: int, k: Value) -> None:
        """Ask early for what comes from far memory, a line or so at a step.

        Rows side by side: the same rows of the next block, too far a jump to be foreseen. Whole
        rows that are read once: those of the next tile, all the memory between two tiles in turn.
        """
        f, left = self.f, self.left
        once = self.known_across is not None and self.known_across <= self.width
        if left.side_by_side and self.blocked:
            ahead = left.stride * self.how.block
        elif not left.side_by_side and not self.blocked and once:
            ahead = left.stride * rows + k * (rows - 1)
        else:
            return
        name, (read, near, data) = "llvm.prefetch.p0", (f.constant(n, I32) for n in (0, 2, 1))
        f.call(name, VOID, f.offset(cursors[0], ahead, self.product.scalar), read, near, data)

    def left_place(self, row: int, cursors: tuple[Value, ...]) -> Value:
        if self.left.side_by_side:
            return self.f.offset(cursors[0], row, self.product.scalar)
        return cursors[row]

    def right_vectors(self, cursor: Value, masks: list[Value | None]) -> list[Value]:
        f, scalar = self.f, self.product.scalar
        places = [f.offset(cursor, vector * self.lanes, scalar) for vector in range(len(masks))]
        if self.how.pack:
            return [f.load(self.kind, place) for place in places]
        return [f.load(self.kind, place, mask)
                for place, mask in zip(places, masks, strict=True)]

    def advanced(self, cursors: tuple[Value, ...]) -> list[Value]:
        f, scalar = self.f, self.product.scalar
        step = self.left.stride if self.left.side_by_side else f.constant(1, I64)
        left = [f.offset(one, step, scalar) for one in cursors[:-1]]
        width = f.constant(self.width, I64)
        across = width if self.how.pack else self.right.stride
        return [*left, f.offset(cursors[-1], across, scalar)]


def _transposed(square: list[Value]) -> list[Value]:
    """Rows become columns: log2(n) rounds of interleaving row i with row i + n/2."""
    lanes, f = len(square), square[0].function
    low = [lane for pair in range(lanes // 2) for lane in (pair, lanes + pair)]
    high = [lane + lanes // 2 for lane in low]
    for _ in range(lanes.bit_length() - 1):
        halves = zip(square[:lanes // 2], square[lanes // 2:], strict=True)
        square = [f.shuffle(one, other, order) for one, other in halves for order in (low, high)]
    return square


class _Dots(_Writer):
    """Sums along k, a few rows and columns at a time so that every load serves several."""

    def write(self) -> None:
        if self.how.pack:
            self.gather_columns()
        cover(self.f, self.how.rows, self.product.m, self.begin, self.m, self.row_of_tiles)

    def gather_columns(self) -> None:
        """Columns that lie side by side are laid along k first; there are few of them."""
        f, scalar = self.f, type_of(self.product.scalar)
        packed = Operand(self.scratch, self.k, False, self.product.scalar)
        with f.loop(0, self.k, name="pack") as loop:
            with f.loop(0, self.n, name="column") as inner:
                value = f.load(scalar, self.right.at(inner.index, loop.index))
                f.store(value, packed.at(inner.index, loop.index))
        self.right = packed

    def row_of_tiles(self, rows: int, row: Value) -> None:
        cover(self.f, self.how.columns, self.product.n, self.zero, self.n,
              lambda columns, column: self.tile(rows, columns, row, column))

    def tile(self, rows: int, columns: int, row: Value, column: Value) -> None:
        f = self.f
        left = [self.left.at(row + number, self.zero) for number in range(rows)]
        right = [self.right.at(column + number, self.zero) for number in range(columns)]
        zeros = [f.constant(0, self.kind)] * (rows * columns)
        whole = self.k - (self.k & (self.lanes - 1))
        with f.loop(0, whole, self.lanes, carried=zeros, name="k") as loop:
            loop.carry(*self.step(left, right, loop.index, loop.carried, None))
        mask = f.tail_mask(self.k - whole, self.lanes)
        sums: Any = loop.results
        if self.product.k is None or self.product.k % self.lanes:
            sums = self.step(left, right, whole, loop.results, mask)
        self.end(rows, columns, row, column, sums)

    def step(self, left: list[Value], right: list[Value], k: Value, sums: tuple[Value, ...],
             mask: Value | None) -> list[Value]:
        f, scalar = self.f, self.product.scalar
        ones, others = ([f.load(self.kind, f.offset(place, k, scalar), mask) for place in side]
                        for side in (left, right))
        return [f.fma(one, other, sums[number * len(others) + position])
                for number, one in enumerate(ones) for position, other in enumerate(others)]

    def end(self, rows: int, columns: int, row: Value, column: Value, sums: list[Value]) -> None:
        """Add up lanes; the sums of a row become one short vector, for the epilogue."""
        f, kind = self.f, type_of(self.product.scalar, columns)
        if columns == 1:
            totals = _totals(sums)
            rows_of = [f.splat(f.extract(totals, number), 1) for number in range(rows)]
        else:
            rows_of = [f.shuffle(_totals(sums[start:start + columns]), None, range(columns))
                       for start in range(0, rows * columns, columns)]
        for number, result in enumerate(rows_of):
            place = self.place(row + number, column, None, kind)
            if self.product.accumulate:
                result = place.load(self.c, self.ldc) + result
            self.finish(place, result)


def _totals(sums: list[Value]) -> Value:
    """The total of each vector, in the lanes of one: halves of two are added at once."""
    f, lanes = sums[0].function, sums[0].type.lanes
    count = 1 << (len(sums) - 1).bit_length()
    sums = [*sums, *[sums[-1]] * (count - len(sums))]
    if count > lanes:  # narrow vectors, many sums: in two parts
        half = count // 2
        return f.shuffle(_totals(sums[:half]), _totals(sums[half:]), range(count))
    group = lanes  # lanes that still hold parts of one sum
    while group > lanes // count:
        group //= 2
        low = [lane for lane in range(2 * lanes) if not lane & group]
        high = [lane + group for lane in low]
        sums = [f.shuffle(one, other, low) + f.shuffle(one, other, high)
                for one, other in zip(sums[::2], sums[1::2], strict=True)]
    (total,) = sums
    while group > 1:
        group //= 2
        turned = f.shuffle(total, None, [lane ^ group for lane in range(lanes)])
        total = total + turned
    return f.shuffle(total, None, _order_of_sums(count, lanes))


def _order_of_sums(count: int, lanes: int) -> list[int]:
    """A lane for each sum: follow where `_totals` put it."""
    held = [[number] * lanes for number in range(count)]
    group = lanes
    while len(held) > 1:
        group //= 2
        low = [lane for lane in range(2 * lanes) if not lane & group]
        held = [[(one + other)[lane] for lane in low]
                for one, other in zip(held[::2], held[1::2], strict=True)]
    return [held[0].index(number) for number in range(count)]
