"""Pools whose windows overlap or reach into padding, as LLVM text; see `convolution` for planes.

``emit(module, name, given)`` writes

    void name(ptr a, ptr b, ptr c, i64 begin, i64 end, ptr scratch, ptr extra)

which makes the channels [begin, end) of c, counted through all images. For results a is the input;
for gradients b is the result's gradient, and a the input, of which is found once more who was the
largest (sums do not look at it). A channel lies in planes with what no window notices around it,
lanes run along the lines of all windows, and there is one vector for each place of the window.

The largest of a window is found by integers that are in the same order as the numbers: so all NaN
are one, and larger than the rest, both zeros are one, and what is around the channel is smaller
than any number. The sums of a gradient are taken in the order of array rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kkori.codegen.convolution import Part, Planes, Pool, copies, parts, planes
from kkori.codegen.convolution_kernels import (
    ARGUMENTS,
    Given,
    PlaneWriter,
    Strides,
    in_cache_lines,
    pieces,
    room,
    vectors_of,
)
from kkori.codegen.matmul_plan import cover
from kkori.codegen.target import Target
from kkori.codegen.text import FLOATING, I32, I64, VOID, Function, Module, Value, type_of

__all__ = ["Pooled", "emit", "scratch_bytes"]

VECTORS = 6  # of a line at a time: each has up to two values in registers, of 16


class Pooled(NamedTuple):
    """A pool or its gradient, the type of its numbers, and how a and b are laid out."""

    pool: Pool
    scalar: str
    a: Strides
    b: Strides


def emit(module: Module, name: str, given: Pooled) -> None:
    """Write the function `name` into a module."""
    with module.function(name, VOID, ARGUMENTS) as f:
        (_Gradient if given.pool.windows.way == "input" else _Result)(f, given).write()
        f.ret()


def scratch_bytes(given: Pooled, target: Target) -> int:
    """Memory that a call needs besides, in whole cache lines."""
    conv, lanes = given.pool.windows.one, target.lanes(given.scalar)
    seen = conv._replace(way="forward")
    lengths = [room(planes(one).length, lanes) for one in (seen, conv, conv)]
    longest = max(vectors_of(part, planes(one), lanes)
                  for one in (seen, conv) for part in parts(one))
    return in_cache_lines(sum(lengths) + lanes * longest, given.scalar)


class _Pool(PlaneWriter):
    """What both have in common: planes of the input, one channel after the other."""

    def __init__(self, f: Function, given: Pooled) -> None:
        super().__init__(f, Given(given.pool.windows, given.scalar, given.a, given.b))
        self.seen = self.conv._replace(way="forward")
        self.is_max = given.pool.what == "max"
        self.input = planes(self.seen)
        self.lines = self.at(self.memory, room(self.input.length, self.lanes))

    def channels(self, body: Callable[[Value], None]) -> None:
        """One after the other."""
        with self.f.loop(self.begin, self.end, name="channel") as loop:
            body(self.f.settled(loop.index))

    def place(self, number: Value, strides: Strides) -> Value:
        """Where a channel begins."""
        f, channels = self.f, self.whole.channels
        return f.operate("u/", number, channels) * strides[0] + (
            f.operate("u%", number, channels) * strides[1])

    def along(self, part: Part, lying: Planes,
              tile: Callable[[int, Value], Sequence[Value]]) -> None:
        """Write ``tile(vectors, where)`` into the lines, for all of a part's line."""
        f, count = self.f, vectors_of(part, lying, self.lanes)

        def body(vectors: int, start: Value) -> None:
            where = start * self.lanes
            for k, value in enumerate(tile(vectors, where)):
                f.store(value, self.at(self.lines, where + k * self.lanes))
        cover(f, pieces(count, VECTORS), count, f.constant(0, I64), f.constant(count, I64), body)

    def stored(self, part: Part, gap: int, number: Value, space: tuple[int, int]) -> None:
        """Lines become rows of the result, without what is between them."""
        (high, wide), (down, across) = space, part.counts
        first = number * (high * wide) + (part.first[0] * wide + part.first[1])
        with self.f.loop(0, down, name="row") as row:
            self.moved(self.at(self.lines, row.index * gap), 1, self.at(
                self.c, first + row.index * (part.step[0] * wide)), part.step[1], across)


class _Result(_Pool):
    """The largest elements, or sums."""

    def write(self) -> None:
        outside = float("-inf") if self.is_max else 0.0
        self.cleared(self.memory, room(self.input.length, self.lanes), outside)
        self.channels(self.channel)

    def channel(self, number: Value) -> None:
        """The results of a channel."""
        strides, (part,) = self.given.a, self.parts
        self.filled(self.at(self.a, self.place(number, strides)), strides, self.input,
                    self.memory, self.conv.space)
        table = self.listed("taps", [tap.offset for tap in part.taps])
        self.along(part, self.input, lambda vectors, where: self.tile(
            table, len(part.taps), vectors, self.at(self.memory, where)))
        self.stored(part, self.input.size[1], number, self.conv.out)

    def tile(self, table: Value, taps: int, vectors: int, source: Value) -> Sequence[Value]:
        f = self.f
        start = f.constant(float("-inf") if self.is_max else -0.0, self.kind)
        with f.loop(0, taps, carried=[start] * vectors, name="tap") as tap:
            here = self.at(source, self.entry(table, tap.index))
            tap.carry(*(self.joined(known, f.load(self.kind, self.at(here, k * self.lanes)))
                        for k, known in enumerate(tap.carried)))
        return tap.results

    def joined(self, known: Value, seen: Value) -> Value:
        """The sum, or the larger one, and NaN is the largest."""
        if not self.is_max:
            return known + seen
        larger = self.f.select(seen > known, seen, known)  # one instruction
        return self.f.select(self.f.compare("unordered", seen, seen), seen, larger)


class _Gradient(_Pool):
    """What the input gets of the gradient, from the windows that see it: if largest, or from all.
    """

    def __init__(self, f: Function, given: Pooled) -> None:
        super().__init__(f, given)
        self.whole_numbers = self.kind.integer
        self.grad = self.lines
        self.winners = self.at(self.grad, room(self.planes.length, self.lanes))
        self.lines = self.at(self.winners, room(self.planes.length, self.lanes))
        self.as_keys = False
        bits = 8 * FLOATING[self.scalar] - 1
        self.sign, self.most = bits, (1 << bits) - 1

    def write(self) -> None:
        f = self.f
        if self.is_max:
            low = f.constant(-self.most - 1, self.whole_numbers)
            with f.loop(0, room(self.input.length, self.lanes), self.lanes, name="clear") as loop:
                f.store(low, self.at(self.memory, loop.index))
        self.cleared(self.grad, 2 * room(self.planes.length, self.lanes))
        self.channels(self.channel)

    def channel(self, number: Value) -> None:
        """The gradient of a channel."""
        strides = self.given.b
        self.filled(self.at(self.b, self.place(number, strides)), strides, self.planes,
                    self.grad, self.conv.out)
        if self.is_max:
            self.won(number)
        for k, part in enumerate(self.parts):
            taps = part.taps[::-1] if self.is_max else part.taps
            table = self.listed(f"taps{k}", [
                entry for tap in taps
                for entry in (tap.offset, tap.place[0] * self.conv.kernel[1] + tap.place[1])])
            self.along(part, self.planes, self.tiles(table, part))
            self.stored(part, self.planes.size[1], number, self.conv.space)

    def won(self, number: Value) -> None:
        """Which place of each window is the first of the largest, as planes like the gradient's."""
        strides, (part,) = self.given.a, parts(self.seen)
        self.as_keys = True
        self.filled(self.at(self.a, self.place(number, strides)), strides, self.input,
                    self.memory, self.conv.space)
        self.as_keys = False
        table = self.listed("seen", [tap.offset for tap in part.taps])
        self.along(part, self.input, lambda vectors, where: self.winner(
            table, len(part.taps), vectors, self.at(self.memory, where)))
        (copy,), (high, wide) = copies(self.planes, self.conv.out), self.conv.out
        with self.f.loop(0, high, name="row") as row:
            place = row.index * self.planes.size[1] + copy.place
            self.moved(self.at(self.lines, row.index * self.input.size[1]), 1,
                       self.at(self.winners, place), 1, wide)

    def winner(self, table: Value, taps: int, vectors: int, source: Value) -> Sequence[Value]:
        f, kind = self.f, self.whole_numbers
        low, first = f.constant(-self.most - 1, kind), f.constant(0, kind)
        starts = [low] * vectors + [first] * vectors
        with f.loop(0, taps, carried=starts, name="tap") as tap:
            here = self.at(source, self.entry(table, tap.index))
            now, found = self.number(tap.index), []
            for k in range(vectors):
                seen = f.load(kind, self.at(here, k * self.lanes))
                best, place = tap.carried[k], tap.carried[vectors + k]
                larger = seen > best
                found.append((f.select(larger, seen, best), f.select(larger, now, place)))
            tap.carry(*(best for best, _ in found), *(place for _, place in found))
        return tap.results[vectors:]

    def number(self, value: Value) -> Value:
        """A whole number in all lanes."""
        narrow = self.whole_numbers.scalar == "i32"
        return self.f.splat(self.f.convert("trunc", value, I32) if narrow else value, self.lanes)

    def tiles(self, table: Value, part: Part) -> Callable[[int, Value], Sequence[Value]]:
        """What makes the tiles of a part."""
        return lambda vectors, where: self.tile(table, len(part.taps), vectors, where + part.start)

    def tile(self, table: Value, taps: int, vectors: int, start: Value) -> Sequence[Value]:
        f, zero = self.f, self.f.constant(0.0, self.kind)
        with f.loop(0, taps, carried=[zero] * vectors, name="tap") as tap:
            where = start + self.entry(table, tap.index * 2)
            grad, places = self.at(self.grad, where), self.at(self.winners, where)
            own = self.number(self.entry(table, tap.index * 2 + 1)) if self.is_max else None
            found = []
            for k, known in enumerate(tap.carried):
                share = f.load(self.kind, self.at(grad, k * self.lanes))
                if own is not None:
                    place = f.load(self.whole_numbers, self.at(places, k * self.lanes))
                    share = f.select(f.compare("==", place, own), share, zero)
                found.append(known + share)
            tap.carry(*found)
        return tap.results

    def copied(self, value: Value) -> Value:
        """The integer that stands for a number, as the bits of one."""
        if not self.as_keys:
            return value
        f = self.f
        bits = f.bits(value + 0.0)  # of two zeros that of 0
        kind = bits.type
        key = bits ^ (f.operate(">>", bits, self.sign) & self.most)
        key = f.select(f.compare("unordered", value, value), f.constant(self.most, kind), key)
        return f.convert("bitcast", key, type_of(self.scalar, kind.lanes))
