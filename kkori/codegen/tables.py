"""Rows of tables, looked up or added to by number: stages of a segment beside products.

    gather   for each place of the indices, the row of the table that they say
    scatter  zeros, then for each place of the indices its row added to the one that they say

Several tensors of indices count along as many dimensions of the table, as in ``table[i, j]``. Rows
are added in the order of the indices, and threads divide the table's rows among them: the result
is the same for any number of threads. A number that is no row's is a doubt of the graph, whose
round counts for nothing; all that happens here is that no memory beside the arrays is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

from kkori.codegen.emit import Emitted
from kkori.codegen.graph import Value
from kkori.codegen.matrices import merged, offset, seen
from kkori.codegen.scalars import LLVM_TYPES
from kkori.codegen.target import Target
from kkori.codegen.writer import Buffers
from kkori.core.size import contiguous_strides

__all__ = ["Lookup", "emit_gather", "emit_scatter", "is_compact"]

STRAIGHT = 16  # vectors of a row that are written one by one

Strides = Mapping[Value, tuple[int, ...]]
Stage = tuple[Emitted, dict[str, str], int]


class Lookup(NamedTuple):
    """How many dimensions of the table indices count along, whether from the end where they are
    negative, and the row that gets nothing (-1: all get theirs)."""

    dims: int = 1
    wraps: bool = False
    padding: int = -1


class Places(NamedTuple):
    """An array, where in it `value` begins, and its dimensions: (length, step), those in
    one that are walked through as if they were."""

    array: Value
    start: int
    dims: list[tuple[int, ...]]


def places_of(value: Value, strides: Strides, count: int) -> Places:
    """Where the first `count` dimensions of a value go."""
    array, start, steps = seen(value, strides)
    return Places(array, start, merged(zip(value.shape[:count], steps[:count], strict=True)))


def is_compact(value: Value, strides: Strides, count: int) -> bool:
    """Whether what is behind the first `count` dimensions lies side by side."""
    array, _, steps = seen(value, strides)
    rest = merged(zip(value.shape[count:], steps[count:], strict=True))
    return array.kind not in ("number", "constant", "range", "stretch") and (
        not rest or len(rest) == 1 and rest[0][1] == 1)


# The stages.

def emit_gather(name: str, value: Value, buffers: Buffers, target: Target, place: int) -> Stage:
    """Each row of the result is one of the table's; threads divide the result's."""
    lookup, (table, *indices) = value.attr, value.args
    count = len(indices[0].shape)
    rows, width = prod(value.shape[:count]), prod(value.shape[count:])
    array, start, steps = seen(table, buffers.strides)
    with function(name, target) as (f, module):
        load = loader(f, value, buffers)
        source, out, (_, begin, end, _) = load(array), load(value), f.arguments
        number = numbers(f, indices, buffers, load)
        with f.loop(begin, end, name="row") as loop:
            here = f.settled(loop.index)
            at: Any = f.constant(start, here.type)
            for index, length, step in zip(
                    number(here), table.shape, steps[:lookup.dims], strict=False):
                at = at + inside(f, index, length, lookup.wraps) * step
            scalar = LLVM_TYPES[value.dtype]
            one, other = f.offset(source, at, scalar), f.offset(out, here * width, scalar)
            along(f, width, scalar, lambda kind, part: f.store(
                f.load(kind, f.offset(one, part, scalar)), f.offset(other, part, scalar)))
        f.ret()
    work = rows * (width + 8 * lookup.dims)
    return Emitted(name, next(iter(module.parts().values())), rows, 1, work, True), {}, 0


def emit_scatter(name: str, value: Value, buffers: Buffers, target: Target, place: int) -> Stage:
    """Every thread goes through all indices, and adds to its rows what is for them."""
    lookup, (given, *indices) = value.attr, value.args
    lengths, count = value.shape[:lookup.dims], len(indices[0].shape)
    rows, width, turns = prod(lengths), prod(value.shape[lookup.dims:]), prod(indices[0].shape)
    source, scalar = places_of(given, buffers.strides, count), LLVM_TYPES[value.dtype]
    with function(name, target) as (f, module):
        load = loader(f, value, buffers)
        added, out, (_, begin, end, _) = load(source.array), load(value), f.arguments
        number = numbers(f, indices, buffers, load)
        with f.loop(begin, end, name="row") as loop:
            row = f.offset(out, f.settled(loop.index) * width, scalar)
            along(f, width, scalar, lambda kind, part: f.store(
                f.constant(0.0, kind), f.offset(row, part, scalar)))
        with f.loop(0, turns, name="turn") as loop:
            here = f.settled(loop.index)
            at = place_in_order(f, number(here), lengths, lookup.wraps)
            with when(f, is_own(f, at, begin, end, lookup.padding)):
                one = f.offset(added, offset(f, source.dims, here, source.start), scalar)
                other = f.offset(out, at * width, scalar)

                def add(kind: Any, part: Any) -> None:
                    where = f.offset(other, part, scalar)
                    f.store(f.load(kind, where) + f.load(kind, f.offset(one, part, scalar)), where)
                along(f, width, scalar, add)
        f.ret()
    work = rows * width + turns * (2 * width + 8 * lookup.dims)
    return Emitted(name, next(iter(module.parts().values())), rows, 1, work, True), {}, 0


@contextmanager
def function(name: str, target: Target) -> Iterator[Any]:
    """A stage's function being written, and its module."""
    from kkori.codegen.text import I64, PTR, VOID, Module
    module = Module(target)
    with module.function(name, VOID, [("context", PTR), ("begin", I64), ("end", I64),
                                      ("slot", I64)]) as f:
        yield f, module


def loader(f: Any, value: Value, buffers: Buffers) -> Callable[[Value], Any]:
    """What finds where an array begins."""
    from kkori.codegen.text import PTR
    return lambda array: f.load(PTR, f.offset(f.arguments[0], buffers.places[array], "i64"))


def numbers(f: Any, indices: Sequence[Value], buffers: Buffers,
            load: Callable[[Value], Any]) -> Callable[[Any], list[Any]]:
    """What reads the indices of a place, one for each dimension of the table."""
    from kkori.codegen.text import I64
    ways = [places_of(index, buffers.strides, len(index.shape)) for index in indices]
    arrays = [load(way.array) for way in ways]
    return lambda here: [f.load(I64, f.offset(array, offset(f, way.dims, here, way.start), "i64"))
                         for array, way in zip(arrays, ways, strict=True)]


def inside(f: Any, index: Any, length: int, wraps: bool) -> Any:
    """An index as one of `length`, whatever it is."""
    index = from_the_end(f, index, length) if wraps else index
    return f.select(f.compare("u<", index, length), index, f.constant(length - 1, index.type))


def from_the_end(f: Any, index: Any, length: int) -> Any:
    """A negative index as what it means."""
    return f.select(f.compare("<", index, 0), index + length, index)


def place_in_order(f: Any, indices: Sequence[Any], lengths: Sequence[int], wraps: bool) -> Any:
    """Which of the table's rows indices mean; too large a number where they mean none."""
    found: Any = f.constant(0, indices[0].type)
    for index, length, step in zip(indices, lengths, contiguous_strides(lengths), strict=True):
        found = found + (from_the_end(f, index, length) if wraps else index) * step
    return found


def is_own(f: Any, at: Any, begin: Any, end: Any, padding: int) -> Any:
    """Whether something is added to a row, and by this thread."""
    own = f.compare("u<", at - begin, end - begin)
    return own if padding < 0 else own & f.compare("!=", at, padding)


@contextmanager
def when(f: Any, condition: Any) -> Iterator[None]:
    """What is written inside is done where the condition holds."""
    then, after = f.fresh_label("then"), f.fresh_label("after")
    f.effect(f"br {condition}, label %{then}, label %{after}")
    f.begin(then)
    yield
    f.effect(f"br label %{after}")
    f.begin(after)


def along(f: Any, width: int, scalar: str, do: Callable[[Any, Any], None]) -> None:
    """Something for all of a row: whole vectors, then smaller ones."""
    from kkori.codegen.text import type_of
    lanes, done = f.target.lanes(scalar), 0
    if width > STRAIGHT * lanes:
        done = width - width % lanes
        with f.loop(0, done, lanes, name="part") as loop:
            do(type_of(scalar, lanes), loop.index)
    while done < width:
        while lanes > width - done:
            lanes //= 2
        do(type_of(scalar, lanes if lanes > 1 else 0), done)
        done += lanes
