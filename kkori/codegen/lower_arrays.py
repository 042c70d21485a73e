"""Rules for movement, sums and products."""

from __future__ import annotations

from itertools import accumulate
from math import prod
from typing import Any

from kkori.codegen.graph import Graph, Value
from kkori.codegen.matrices import matrices_of, seen
from kkori.codegen.rules import NoRule, convert, reduced, rule

PARTS = 64  # that are joined: more are left to NumPy
LARGE_SIDE = 256  # of a batch's matrices: a library has better ways with larger ones

# Movement.

@rule("t")
def t(graph: Graph, x: Value) -> Value:
    return graph.permute(x, tuple(reversed(range(len(x.shape)))))


@rule("transpose")
def transpose(graph: Graph, x: Value, first: int, second: int) -> Value:
    axes = list(range(len(x.shape)))
    axes[first], axes[second] = second, first
    return graph.permute(x, axes)


@rule("permute")
def permute(graph: Graph, x: Value, axes: Any) -> Value:
    return graph.permute(x, axes)


@rule("reshape", "reshape_copied")
def reshape(graph: Graph, x: Value, shape: Any) -> Value:
    return graph.reshape(x, shape)


@rule("squeeze_0")
def squeeze(graph: Graph, x: Value, shape: Any) -> Value:
    return graph.reshape(x, shape)


@rule("unsqueeze")
def unsqueeze(graph: Graph, x: Value, dim: int) -> Value:
    return graph.reshape(x, (*x.shape[:dim], 1, *x.shape[dim:]))


@rule("expand")
def expand(graph: Graph, x: Value, shape: Any) -> Value:
    return graph.expand(x, shape)


def part(graph: Graph, x: Value, dim: int, start: int, length: int, step: int = 1) -> Value:
    """A slice of what loops compute with."""
    if x.dtype == "i8" or not length:
        raise NoRule("integers, or nothing")
    return graph.slice(x, dim, start, length, step)


@rule("narrow")
def narrow(graph: Graph, x: Value, dim: int, start: int, length: int) -> Value:
    return part(graph, x, dim, start, length)


@rule("slice")
def slice_(graph: Graph, x: Value, dim: int, start: int, stop: int, step: int) -> Value:
    places = range(x.shape[dim])[start:stop:step]
    return part(graph, x, dim, places.start, len(places), places.step)


@rule("select")
def select(graph: Graph, x: Value, dim: int, index: int) -> Value:
    return graph.drop(part(graph, x, dim, index % x.shape[dim], 1), (dim,))


@rule("split", "split_with_sizes")
def split(graph: Graph, x: Value, sizes: Any, dim: int) -> tuple[Value, ...]:
    return tuple(part(graph, x, dim, end - size, size)
                 for size, end in zip(sizes, accumulate(sizes), strict=True))


@rule("unbind")
def unbind(graph: Graph, x: Value, dim: int) -> tuple[Value, ...]:
    return tuple(select(graph, x, dim, index) for index in range(x.shape[dim]))


@rule("alias")
def alias(graph: Graph, x: Value) -> Value:
    return x


@rule("clone")
def clone(graph: Graph, x: Value, *order: Any) -> Value:
    return x


@rule("copy")
def copy(graph: Graph, x: Value, source: Any) -> Value:
    return graph.expand(convert(graph, source, x.dtype), x.shape)


@rule("filled")
def filled(graph: Graph, x: Value, shape: Any, number: Any) -> Value:
    if x.dtype not in ("f4", "f8"):
        raise NoRule("truth values or integers")
    return graph.expand(graph.constant(float(number), x.dtype), shape)


# Joining.

@rule("cat")
def cat(graph: Graph, dim: int, *parts: Value) -> Value:
    """Parts are copied from where they are; what has no memory gets some."""
    if {part.dtype for part in parts} not in ({"f4"}, {"f8"}, {"b1"}) or len(parts) > PARTS:
        raise NoRule("integers, several types, or many parts")
    if len(parts) == 1:
        return parts[0]
    return graph.cat([graph.copy(part) if seen(part, graph.strides)[0].kind in (
        "number", "range", "stretch") else part for part in parts], dim)


@rule("stack")
def stack(graph: Graph, dim: int, *parts: Value) -> Value:
    return cat(graph, dim, *(unsqueeze(graph, part, dim) for part in parts))


# Reductions.

def count(x: Value, axes: Any) -> int:
    return prod(x.shape) if axes is None or not x.shape else prod(x.shape[axis] for axis in axes)


@rule("sum")
def sum_(graph: Graph, x: Value, axes: Any, keepdim: bool) -> Value:
    return reduced(graph, "add", x, axes, keepdim)


@rule("sum_all")
def sum_all(graph: Graph, x: Value) -> Value:
    return reduced(graph, "add", x, None, False)


@rule("mean")
def mean(graph: Graph, x: Value, axes: Any, keepdim: bool) -> Value:
    total = reduced(graph, "add", x, axes, keepdim)
    return graph.map("div", total, graph.constant(float(count(x, axes)), x.dtype))


@rule("mean_all")
def mean_all(graph: Graph, x: Value) -> Value:
    return mean(graph, x, None, False)


# Products.

@rule("mm")
def mm(graph: Graph, a: Value, b: Value) -> Value:
    if not a.dtype == b.dtype or a.dtype not in ("f4", "f8"):
        raise NoRule("a product of several types")
    return graph.dot(a, b)


@rule("matmul", "bmm")
def matmul(graph: Graph, a: Value, b: Value) -> Value:
    """Large matrices are left to the library; those that are not are as many products."""
    if not a.dtype == b.dtype or a.dtype not in ("f4", "f8") or min(len(a.shape), len(b.shape)) < 2:
        raise NoRule("a product of several types, or with a vector")
    if min(len(a.shape), len(b.shape)) == len(b.shape) == 2:
        rows = graph.reshape(a, (prod(a.shape[:-1]), a.shape[-1]))
        return graph.reshape(graph.dot(rows, b), (*a.shape[:-1], b.shape[1]))
    if max(*a.shape[-2:], b.shape[-1]) > LARGE_SIDE:
        raise NoRule("large matrices")
    return graph.batch(*(
        factor if matrices_of(factor, graph.strides) is not None else graph.copy(factor)
        for factor in (a, b)))


@rule("mv")
def mv(graph: Graph, a: Value, vector: Value) -> Value:
    column = graph.reshape(vector, (*vector.shape, 1))
    return graph.reshape(mm(graph, a, column), a.shape[:1])


@rule("dot")
def dot(graph: Graph, a: Value, b: Value) -> Value:
    return graph.reduce("add", graph.map("mul", a, b), (0,))


def weighted_sum(graph: Graph, bias: Value, product: Value, beta: Any, alpha: Any) -> Value:
    """beta bias + alpha product."""
    if beta == 0 or bias.dtype != product.dtype:
        raise NoRule("a bias that is not read, or of another type")
    if alpha != 1:
        product = graph.map("mul", product, convert(graph, alpha, product.dtype))
    if beta != 1:
        bias = graph.map("mul", bias, convert(graph, beta, product.dtype))
    return graph.map("add", product, bias)


@rule("addmm")
def addmm(graph: Graph, bias: Value, a: Value, b: Value, beta: Any, alpha: Any) -> Value:
    return weighted_sum(graph, bias, mm(graph, a, b), beta, alpha)


@rule("addmv")
def addmv(graph: Graph, bias: Value, a: Value, vector: Value, beta: Any, alpha: Any) -> Value:
    return weighted_sum(graph, bias, mv(graph, a, vector), beta, alpha)
