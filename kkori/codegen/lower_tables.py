"""Rules for rows that tensors of indices pick out of a table, and for their gradients.

Integers are read where they are, by native code that is on its guard (see `tables`). Which numbers
are no row's is told by a sum that becomes NaN: then array rules run, and raise their error.
"""

from __future__ import annotations

from math import nan
from typing import Any

from kkori.codegen.graph import Graph, Value, base, broadcast
from kkori.codegen.matrices import seen
from kkori.codegen.rules import NoRule, Term, rule
from kkori.codegen.tables import Lookup, is_compact

EXACT = 1 << 24  # up to here all whole numbers are numbers of 32 bits


@rule("embedding")
def embedding(graph: Graph, table: Value, indices: Value, padding: int,
              by_frequency: bool) -> Value:
    return gather(graph, table, [indices], Lookup())


@rule("embedding_backward")
def embedding_backward(graph: Graph, g: Value, indices: Value, rows: int, padding: int,
                       by_frequency: bool) -> Value:
    if by_frequency:
        raise NoRule("rows that are counted")
    shape = (rows, *g.shape[len(indices.shape):])
    return scatter(graph, g, [indices], shape, Lookup(padding=max(padding, -1)))


@rule("index")
def index(graph: Graph, table: Value, places: Any, *indices: Value) -> Value:
    return gather(graph, table, leading(places, indices), Lookup(len(indices), True))


@rule("index_backward")
def index_backward(graph: Graph, g: Value, shape: Any, places: Any, *indices: Value) -> Value:
    return scatter(graph, g, leading(places, indices), shape, Lookup(len(indices), True))


@rule("index_select")
def index_select(graph: Graph, table: Value, dim: int, indices: Value) -> Value:
    if dim or len(indices.shape) != 1 or not table.shape:
        raise NoRule("another dimension than the first")
    return gather(graph, table, [indices], Lookup())


@rule("index_add")
def index_add(graph: Graph, x: Value, dim: int, indices: Value, source: Value) -> Value:
    """Mostly to zeros: the gradient of what `index_select` gives."""
    if dim or len(indices.shape) != 1 or x.dtype != source.dtype or (
            source.shape != (*indices.shape, *x.shape[1:])):
        raise NoRule("another dimension than the first, or several types")
    found = scatter(graph, source, [indices], x.shape, Lookup())
    is_zero = base(x).kind == "constant" and base(x).attr == 0
    return found if is_zero else graph.map("add", x, found)


def leading(places: Any, indices: Any) -> list[Value]:
    """Indices of the first dimensions, in one shape."""
    if not all(places):
        raise NoRule("dimensions that are kept whole before others")
    return list(indices)


def gather(graph: Graph, table: Value, indices: Any, lookup: Lookup) -> Value:
    """The rows that indices say."""
    if table.dtype not in ("f4", "f8", "i8"):
        raise NoRule("truth values")
    indices = trusted(graph, indices, table.shape, lookup)
    shape = (*indices[0].shape, *table.shape[lookup.dims:])
    table = table if is_compact(table, graph.strides, lookup.dims) else graph.copy(table)
    return graph.make("gather", shape, table.dtype, (table, *indices), lookup)


def scatter(graph: Graph, g: Value, indices: Any, shape: Any, lookup: Lookup) -> Value:
    """Zeros of this shape, and `g` added to the rows that indices say."""
    if g.dtype not in ("f4", "f8"):
        raise NoRule("truth values or integers")
    indices = trusted(graph, indices, shape, lookup)
    count = len(indices[0].shape)
    wanted = (*indices[0].shape, *shape[lookup.dims:])
    g = g if g.shape == wanted else graph.expand(g, wanted)
    g = g if is_compact(g, graph.strides, count) else graph.copy(g)
    return graph.make("scatter", shape, g.dtype, (g, *indices), lookup)


def trusted(graph: Graph, indices: list[Value], lengths: Any, lookup: Lookup) -> list[Value]:
    """Indices in one shape, and a doubt about each."""
    for one in indices:
        if one.dtype != "i8" or seen(one, graph.strides)[0].kind in (
                "constant", "range", "stretch", "map"):
            raise NoRule("no integers in memory")
    for one, length in zip(indices, lengths, strict=False):
        doubt_places(graph, one, length, -length if lookup.wraps else 0)
    shape = broadcast(one.shape for one in indices)
    return [graph.expand(one, shape) for one in indices]


def doubt_places(graph: Graph, indices: Value, length: int, least: int) -> None:
    """Doubt numbers that are no row's."""
    place = Term(graph, indices).as_number("f4" if length <= EXACT else "f8")
    right = (place >= float(least)) & (place < float(length))
    found = right.choose(place, nan).reduce("add", None, False).value
    if found not in graph.doubts:
        graph.doubts.append(found)
