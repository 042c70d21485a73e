"""Convolutions as LLVM text; see `convolution` for where pixels lie.

``emit(module, name, given)`` writes

    void name(ptr a, ptr b, ptr c, i64 begin, i64 end, ptr scratch, ptr extra)

where a and b are the input and the weight (`forward`), the result's gradient and the weight
(`input`), or the result's gradient and the input (`weight`). It makes the images [begin, end) of c,
or of the weight's gradient the rows, with `scratch_bytes(given, target)` bytes for each thread. Of
several groups each is computed by itself: then it is groups of images, or all rows of groups. The
order of every sum depends on `given` and the target alone, not on who computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

from kkori.codegen.convolution import Convolution, Part, Planes, copies, parts, planes
from kkori.codegen.matmul_plan import cover
from kkori.codegen.target import Target
from kkori.codegen.text import FLOATING, I64, PTR, VOID, Function, Module, Value, type_of

__all__ = ["ARGUMENTS", "Given", "PlaneWriter", "Strides", "emit", "grain",
           "in_cache_lines", "pieces", "room", "scratch_bytes", "vectors_of"]

ARGUMENTS = (("a", PTR), ("b", PTR), ("c", PTR), ("begin", I64), ("end", I64), ("scratch", PTR),
             ("extra", PTR))
MORE_CODE = 0.03  # of its cycles, for which a tile of another size is not worth writing
LATENCY = 4  # cycles until a multiply-add may be added to again; two start every cycle
GROUP = 1 << 18  # bytes of images that are looked at together: they stay in the second cache level
UNROLLED = 8  # vectors of a row that are copied without a loop

Strides = tuple[int, int, int, int]


class Given(NamedTuple):
    """A product, the type of its numbers, and how a and b are laid out: strides in elements."""

    conv: Convolution
    scalar: str
    a: Strides
    b: Strides


def emit(module: Module, name: str, given: Given) -> None:
    """Write the function `name` into a module."""
    with module.function(name, VOID, ARGUMENTS) as f:
        (_Weight if given.conv.way == "weight" else _Pixels)(f, given).write()
        f.ret()


def scratch_bytes(given: Given, target: Target) -> int:
    """Memory that a call needs besides, in whole cache lines."""
    given = of_one_group(given)
    kind = _Weight if given.conv.way == "weight" else _Pixels
    return in_cache_lines(kind.scratch(given, target), given.scalar)


def in_cache_lines(count: int, scalar: str) -> int:
    """Bytes of so many numbers, in whole cache lines."""
    return -(-count * FLOATING[scalar] // 64) * 64


def room(length: int, lanes: int) -> int:
    """Numbers in planes of this length, and what is read behind them."""
    return -(-length // 16) * 16 + 2 * lanes


def vectors_of(part: Part, lying: Planes, lanes: int) -> int:
    """How long a part's line is, in vectors."""
    return -(-part.line(lying) // lanes)


def grain(given: Given, target: Target) -> int:
    """Into multiples of what threads may cut the work: images, groups, or rows."""
    rows = given.conv.way == "weight" and given.conv.groups == 1
    return _Weight.tile(given, target)[0] if rows else 1


def of_one_group(given: Given) -> Given:
    """What is computed of each group."""
    return given._replace(conv=given.conv.one)


def step(rows: int, vectors: int, loads: int) -> float:
    """Cycles of one round of multiply-adds: two at a time, two loads, the latency of a sum."""
    return max(rows * vectors / 2, loads / 2, LATENCY) + 0.5 + 0.04 * loads


def pieces(whole: int, size: int) -> tuple[int, ...]:
    """`size` as often as it fits, and then the rest."""
    size = min(size, whole)
    return (size, whole % size) if whole % size else (size,)


def price(wholes: tuple[int, int], sizes: tuple[int, int]) -> float:
    """Cycles of one round over all tiles of these sizes; other sizes at the ends are more code."""
    ends = [pieces(whole, size) for whole, size in zip(wholes, sizes, strict=True)]
    (high, wide), (tall, across) = wholes, ends
    cycles = sum((high // a if a == tall[0] else 1) * (wide // b if b == across[0] else 1)
                 * step(a, b, a + b) for a in tall for b in across)
    return cycles * (1 + MORE_CODE * len(tall) * len(across)) + 1e-3 * prod(sizes)


def best(wholes: tuple[int, int], target: Target) -> tuple[int, int]:
    """The sizes of tiles: the sums of one, what is read along one side, and a number fit into the
    registers."""
    spare = 1 if target.fma else 2
    return min(((a, b) for a in range(1, min(wholes[0], 24) + 1)
                for b in range(1, min(wholes[1], 24) + 1)
                if a * b + min(a, b) + spare <= target.registers),
               key=lambda sizes: price(wholes, sizes))


class PlaneWriter:
    """What all have in common: planes that are cleared, and filled with an image."""

    def __init__(self, f: Function, given: Given) -> None:
        self.f, self.whole, self.given = f, given.conv, of_one_group(given)
        self.conv = self.given.conv
        self.a, self.b, self.c, self.begin, self.end, self.memory, _ = f.arguments
        self.scalar = given.scalar
        self.lanes = f.target.lanes(self.scalar)
        self.kind = type_of(self.scalar, self.lanes)
        self.planes = planes(self.conv)
        self.parts = parts(self.conv)

    def at(self, pointer: Value, index: Value | int) -> Value:
        return self.f.offset(pointer, index, self.scalar)

    def cleared(self, pointer: Value, count: int, number: float = 0) -> None:
        """Zeros, or another number, up to a whole vector."""
        with self.f.loop(0, count, self.lanes, name="clear") as loop:
            self.f.store(self.f.constant(number, self.kind), self.at(pointer, loop.index))

    def filled(self, image: Value, strides: Strides, lying: Planes, line: Value,
               space: tuple[int, int]) -> None:
        """Copy an image of `space` into its planes."""
        f, (_, channel, down, across) = self.f, strides
        for copy in copies(lying, space):
            first = copy.first[0] * down + copy.first[1] * across
            with f.loop(0, lying.channels, name="channel") as each:
                with f.loop(0, copy.counts[0], name="row") as row:
                    source = each.index * channel + row.index * (copy.step[0] * down) + first
                    place = each.index * lying.channel + row.index * lying.size[1] + copy.place
                    self.moved(self.at(image, source), copy.step[1] * across,
                               self.at(line, place), 1, copy.counts[1])

    def copied(self, value: Value) -> Value:
        """What is written of numbers that are copied."""
        return value

    def moved(self, source: Value, far: int, place: Value, apart: int, count: int) -> None:
        """Copy `count` numbers that lie `far` apart to where they lie `apart`."""
        f = self.f
        if (far, apart) in ((2, 1), (1, 2)) and f.target.bits > 128 and count > self.lanes // 2:
            self.seconds_moved(source, far, place, count)
            return
        if far != 1 or apart != 1:
            with f.loop(0, count, name="each") as loop:
                value = f.load(type_of(self.scalar), self.at(source, loop.index * far))
                f.store(self.copied(value), self.at(place, loop.index * apart))
            return
        whole = count // self.lanes * self.lanes
        if whole > UNROLLED * self.lanes:
            with f.loop(0, whole, self.lanes, name="each") as loop:
                self.vector_moved(source, place, loop.index, None)
        else:
            for start in range(0, whole, self.lanes):
                self.vector_moved(source, place, start, None)
        if whole < count:
            mask = f.listed([k < count - whole for k in range(self.lanes)], "i1")
            self.vector_moved(source, place, whole, mask)

    def vector_moved(self, source: Value, place: Value, start: Value | int,
                     mask: Value | None) -> None:
        f = self.f
        value = self.copied(f.load(self.kind, self.at(source, start), mask))
        f.store(value, self.at(place, start), mask)

    def seconds_moved(self, source: Value, far: int, place: Value, count: int) -> None:
        """The same where one side is every second number: vectors of which half is looked at.
        Of the last one no more is touched than is there."""
        f, lanes = self.f, self.lanes
        move = self.gathered if far == 2 else self.scattered
        whole = (count - 1) // lanes * lanes
        if whole > UNROLLED * lanes:
            with f.loop(0, whole, lanes, name="each") as loop:
                move(source, place, loop.index, lanes, False)
        else:
            for start in range(0, whole, lanes):
                move(source, place, f.constant(start, I64), lanes, False)
        move(source, place, f.constant(whole, I64), count - whole, True)

    def first(self, count: int, step: int = 1) -> Value | None:
        """The mask of every `step`-th lane below `count`; None for all."""
        chosen = [k < count and k % step == 0 for k in range(self.lanes)]
        return None if all(chosen) else self.f.listed(chosen, "i1")

    def gathered(self, source: Value, place: Value, start: Value, count: int, last: bool) -> None:
        """`count` numbers from every second place; behind the last of all may be no memory."""
        f, lanes = self.f, self.lanes
        there = 2 * count - last
        low = f.load(self.kind, self.at(source, start * 2), self.first(there))
        high = f.load(self.kind, self.at(source, start * 2 + lanes), self.first(there - lanes)) if (
            there > lanes) else low
        value = self.copied(f.shuffle(low, high, range(0, 2 * lanes, 2)))
        f.store(value, self.at(place, start), self.first(count))

    def scattered(self, source: Value, place: Value, start: Value, count: int, last: bool) -> None:
        """`count` numbers to every second place; what lies between stays."""
        f, lanes = self.f, self.lanes
        value = self.copied(f.load(self.kind, self.at(source, start), self.first(count)))
        for half in range(1 + (2 * count > lanes)):
            wide = f.shuffle(value, None, [(half * lanes + k) // 2 for k in range(lanes)])
            f.store(wide, self.at(place, start * 2 + half * lanes),
                    self.first(2 * count - half * lanes, 2))

    def outer(self, sums: Sequence[Value], rows: int, columns: int, left: Callable[[int], Value],
              right: Callable[[int], Value]) -> list[Value]:
        """Sums of products, row by row. Of the longer side one number at a time is in a register.
        """
        found = list(sums)
        if rows > columns:
            kept = [right(column) for column in range(columns)]
            pairs = ((row, column, one, kept[column]) for row in range(rows)
                     for one in [left(row)] for column in range(columns))
        else:
            kept = [left(row) for row in range(rows)]
            pairs = ((row, column, kept[row], one) for column in range(columns)
                     for one in [right(column)] for row in range(rows))
        for row, column, a, b in pairs:
            found[row * columns + column] = self.f.fma(a, b, found[row * columns + column])
        return found

    def listed(self, label: str, numbers: Sequence[int]) -> Value:
        """A table of numbers, which loops read."""
        name = f"@{self.f.name}.{label}"
        text = ", ".join(f"i64 {number}" for number in numbers)
        self.f.module.helper(name, lambda module: (
            f"{name} = private unnamed_addr constant [{len(numbers)} x i64] [{text}], align 64\n"))
        return Value(name, PTR, self.f)

    def entry(self, table: Value, index: Value) -> Value:
        return self.f.load(I64, self.f.offset(table, index, "i64"))


class _Pixels(PlaneWriter):
    """Images: of the result, or of the input's gradient. Tiles are channels times lanes of a line,
    and stay in registers while taps and channels of the planes are summed."""

    def __init__(self, f: Function, given: Given) -> None:
        super().__init__(f, given)
        given = self.given
        self.rows, self.vectors = self.tile(given, f.target)
        self.lines = self.at(self.memory, self.room(given, f.target))
        line, channel, down, across = given.b
        self.row_step, self.channel_step = (channel, line) if self.conv.way == "input" else (
            line, channel)
        self.down, self.across = down, across

    @staticmethod
    def tile(given: Given, target: Target) -> tuple[int, int]:
        """Channels, and vectors of the line, of a tile."""
        lanes, conv = target.lanes(given.scalar), given.conv
        lying = planes(conv)
        along = max(vectors_of(part, lying, lanes) for part in parts(conv))
        return best((conv.rows, along), target)

    @staticmethod
    def room(given: Given, target: Target) -> int:
        """Numbers in the planes, and what is read behind them."""
        return room(planes(given.conv).length, target.lanes(given.scalar))

    @staticmethod
    def scratch(given: Given, target: Target) -> int:
        lying, lanes = planes(given.conv), target.lanes(given.scalar)
        longest = lanes * max(vectors_of(part, lying, lanes) for part in parts(given.conv))
        return _Pixels.room(given, target) + _Pixels.tile(given, target)[0] * longest

    def write(self) -> None:
        f, weights, groups = self.f, self.b, self.whole.groups
        self.cleared(self.memory, self.room(self.given, f.target))
        with f.loop(self.begin, self.end, name="image") as loop:
            number = f.settled(loop.index)
            place = number * self.given.a[0]
            if groups > 1:
                group = f.operate("u%", number, groups)
                place = f.operate("u/", number, groups) * self.given.a[0] + group * (
                    self.given.a[1] * self.planes.channels)
                self.b = self.at(weights, group * (self.conv.outputs * self.given.b[0]))
            self.filled(self.at(self.a, place), self.given.a, self.planes, self.memory,
                        self.conv.out if self.conv.way == "input" else self.conv.space)
            for k, part in enumerate(self.parts):
                self.part(k, part, number)

    def part(self, number: int, part: Part, image: Value) -> None:
        """All channels of the results of a part; `image` counts those of a group as one."""
        table = self.listed(f"taps{number}", [
            place for tap in part.taps
            for place in (tap.offset, tap.place[0] * self.down + tap.place[1] * self.across)])
        length, rows = vectors_of(part, self.planes, self.lanes), self.conv.rows
        sizes, tall = pieces(length, self.vectors), pieces(rows, self.rows)
        f, zero = self.f, self.f.constant(0, I64)

        def channels(count: int, channel: Value) -> None:
            cover(f, sizes, length, zero, f.constant(length, I64),
                  lambda vectors, along: self.tile_of(part, table, count, channel, vectors, along,
                                                      length))
            self.stored(part, count, channel, image, length)

        cover(f, tall, rows, zero, f.constant(rows, I64), channels)

    def tile_of(self, part: Part, table: Value, rows: int, channel: Value, vectors: int,
                along: Value, length: int) -> None:
        """A tile, into the lines."""
        f = self.f
        source = self.at(self.memory, along * self.lanes + part.start)
        weight = self.at(self.b, channel * self.row_step)
        zeros = [f.constant(0, self.kind)] * (rows * vectors)
        with f.loop(0, len(part.taps), carried=zeros, name="tap") as tap:
            here = self.at(source, self.entry(table, tap.index * 2))
            there = self.at(weight, self.entry(table, tap.index * 2 + 1))
            tap.carry(*self.summed(tap.carried, rows, vectors, here, there))
        for row in range(rows):
            for vector in range(vectors):
                place = along * self.lanes + (row * length + vector) * self.lanes
                f.store(tap.results[row * vectors + vector], self.at(self.lines, place))

    def summed(self, sums: Sequence[Value], rows: int, vectors: int, source: Value,
               weight: Value) -> Sequence[Value]:
        """One tap, of all channels of the planes."""
        if self.planes.channels == 1:
            return self.added(sums, rows, vectors, source, weight)
        with self.f.loop(0, self.planes.channels, carried=(*sums, source, weight),
                         name="sum") as loop:
            *now, pixel, factor = loop.carried
            loop.carry(*self.added(now, rows, vectors, pixel, factor),
                       self.at(pixel, self.planes.channel), self.at(factor, self.channel_step))
        return loop.results[:-2]

    def added(self, sums: Sequence[Value], rows: int, vectors: int, source: Value,
              weight: Value) -> list[Value]:
        f, one = self.f, type_of(self.scalar)
        return self.outer(sums, rows, vectors, lambda row: f.splat(
            f.load(one, self.at(weight, row * self.row_step)), self.lanes),
            lambda vector: f.load(self.kind, self.at(source, vector * self.lanes)))

    def stored(self, part: Part, rows: int, channel: Value, image: Value, length: int) -> None:
        """Lines become rows of the result, without what is between them."""
        f, (high, wide) = self.f, self.conv.space if self.conv.way == "input" else self.conv.out
        (down, across), gap = part.counts, self.planes.size[1]
        if gap == across and part.step == (1, 1) and across == wide:
            down, across = 1, down * across  # nothing is
        first = (image * self.conv.rows + channel) * (high * wide) + (
            part.first[0] * wide + part.first[1])
        with f.loop(0, rows, name="channel") as each, f.loop(0, down, name="row") as row:
            source = each.index * (length * self.lanes) + row.index * gap
            place = first + each.index * (high * wide) + row.index * (part.step[0] * wide)
            self.moved(self.at(self.lines, source), 1, self.at(self.c, place), part.step[1], across)


class _Weight(PlaneWriter):
    """The weight's gradient: dot products of a line of the result's gradient, zero where it has no
    pixels, and the line that a tap sees. Several images are summed before lanes are."""

    def __init__(self, f: Function, given: Given) -> None:
        super().__init__(f, given)
        given = self.given
        self.rows, self.columns = self.tile(given, f.target)
        self.images = self.group(given, f.target)
        self.length = self.line(given, f.target)
        self.tile_sums = self.memory
        self.memory = self.at(self.memory, self.rows * self.columns * self.lanes)
        self.lines = self.at(self.memory, self.room(given, f.target))
        self.table = self.listed("columns", [
            channel * self.planes.channel + tap.offset
            for channel in range(self.conv.channels) for tap in self.parts[0].taps])
        self.width = self.conv.channels * prod(self.conv.kernel)

    @staticmethod
    def tile(given: Given, target: Target) -> tuple[int, int]:
        """Rows and columns of the gradient that are summed together."""
        conv = given.conv
        return best((conv.outputs, conv.channels * prod(conv.kernel)), target)

    @staticmethod
    def line(given: Given, target: Target) -> int:
        """The length of a line, up to a whole vector."""
        lanes, conv = target.lanes(given.scalar), given.conv
        return lanes * vectors_of(parts(conv)[0], planes(conv), lanes)

    @staticmethod
    def group(given: Given, target: Target) -> int:
        """How many images are looked at together."""
        lying = planes(given.conv)
        each = lying.length + given.conv.outputs * _Weight.line(given, target)
        return max(1, min(given.conv.batch, GROUP // (each * FLOATING[given.scalar])))

    @staticmethod
    def room(given: Given, target: Target) -> int:
        """Numbers in the planes of a group of images, and what is read behind them."""
        length = planes(given.conv).length * _Weight.group(given, target)
        return room(length, target.lanes(given.scalar))

    @staticmethod
    def scratch(given: Given, target: Target) -> int:
        lines = given.conv.outputs * _Weight.group(given, target) * _Weight.line(given, target)
        sums = prod(_Weight.tile(given, target)) * target.lanes(given.scalar)
        return sums + _Weight.room(given, target) + lines

    def write(self) -> None:
        f, (a, b, c) = self.f, (self.a, self.b, self.c)
        self.cleared(self.tile_sums, self.scratch(self.given, f.target))
        if self.whole.groups == 1:
            self.group_of()
            return
        with f.loop(self.begin, self.end, name="part") as loop:
            group, outputs = f.settled(loop.index), self.conv.outputs
            self.a = self.at(a, group * (outputs * self.given.a[1]))
            self.b = self.at(b, group * (self.conv.channels * self.given.b[1]))
            self.c = self.at(c, group * (outputs * self.width))
            self.begin, self.end = f.constant(0, I64), f.constant(outputs, I64)
            self.group_of()

    def group_of(self) -> None:
        """The rows [begin, end) of one group."""
        f = self.f
        with f.loop(self.begin * self.width, self.end * self.width, name="clear") as loop:
            f.store(f.constant(0, type_of(self.scalar)), self.at(self.c, loop.index))
        with f.loop(0, self.conv.batch, self.images, name="group") as group:
            left = self.conv.batch - group.index
            images = f.select(left < self.images, left, self.images)
            with f.loop(0, images, name="image") as image:
                self.image(group.index + image.index, image.index)
            cover(f, pieces(self.conv.outputs, self.rows), None, self.begin, self.end,
                  lambda rows, row: self.strip(rows, row, images))

    def image(self, number: Value, place: Value) -> None:
        """Copy an image, and the rows of its result's gradient."""
        f = self.f
        self.filled(self.at(self.b, number * self.given.b[0]), self.given.b, self.planes,
                    self.at(self.memory, place * self.planes.length), self.conv.space)
        first, channel, down, across = self.given.a
        (high, wide), gap = self.conv.out, self.planes.size[1]
        with f.loop(self.begin, self.end, name="channel") as each:
            line = ((each.index - self.begin) * self.images + place) * self.length
            with f.loop(0, high, name="row") as row:
                source = number * first + each.index * channel + row.index * down
                self.moved(self.at(self.a, source), across,
                           self.at(self.lines, line + row.index * gap), 1, wide)

    def strip(self, rows: int, row: Value, images: Value) -> None:
        """Some rows of the gradient, tile after tile."""
        f, width = self.f, self.width
        cover(f, pieces(width, self.columns), width, f.constant(0, I64), f.constant(width, I64),
              lambda columns, column: self.square(rows, row, columns, column, images))

    def square(self, rows: int, row: Value, columns: int, column: Value, images: Value) -> None:
        f = self.f
        seen = [self.at(self.memory, self.entry(self.table, column + k)) for k in range(columns)]
        line = self.at(self.lines, (row - self.begin) * (self.images * self.length))
        zeros = [f.constant(0, self.kind)] * (rows * columns)
        with f.loop(0, images, carried=zeros, name="of") as image:
            skip, ahead = image.index * self.planes.length, image.index * self.length
            with f.loop(0, self.length, self.lanes, image.carried, name="along") as along:
                here, there = skip + along.index, ahead + along.index
                along.carry(*self.added(along.carried, rows, here, seen, self.at(line, there)))
            image.carry(*along.results)
        for k, value in enumerate(image.results):
            f.store(value, self.at(self.tile_sums, k * self.lanes))
        with f.loop(0, rows, name="row") as one, f.loop(0, columns, name="column") as other:
            sums = self.at(self.tile_sums, (one.index * columns + other.index) * self.lanes)
            place = self.at(self.c, (row + one.index) * self.width + column + other.index)
            total = f.total(f.load(self.kind, sums))
            f.store(f.load(type_of(self.scalar), place) + total, place)

    def added(self, sums: Sequence[Value], rows: int, here: Value, seen: Sequence[Value],
              line: Value) -> list[Value]:
        f, kind = self.f, self.kind
        return self.outer(sums, rows, len(seen), lambda row: f.load(
            kind, self.at(line, row * self.images * self.length)),
            lambda column: f.load(kind, self.at(seen[column], here)))


