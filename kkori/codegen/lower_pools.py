"""Rules of pooling with fixed windows: the windows are slices, gradients are stretched.

Each place of a window is one slice of the input, with all windows in it; the largest and the sum
are chains over those. Loops know which place of its window was the largest as a number (`Won`),
not as an index into the input: indices are integers, which the array rule gives if somebody wants
them. Mostly that is nobody: the gradient's rule finds the number beside the indices
(`Graph.windows`).

Where windows do not overlap, every element of the input looks at its one window: its gradient is
that window's, stretched over it. What has padding or large windows, or windows that overlap and a
gradient, has kernels of its own in two dimensions (`pooled`), and is left to the array rules in
three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from kkori.codegen.convolution import Convolution, Pool
from kkori.codegen.graph import Graph, Value
from kkori.codegen.lower_convolution import MOST_PIXELS, MOST_PLACES, lying
from kkori.codegen.rules import NoRule, Term, reduced, rule

MOST = 16  # places of a window: each is read by itself

Lengths = Sequence[int]


class Won(NamedTuple):
    """For each window the place of its largest element, numbered row by row."""

    place: Value
    kernel: Lengths


class Looked(NamedTuple):
    """What windows look at, and their kernel, stride, padding, dilation, and how many there are."""

    input: Value
    windows: tuple[Lengths, ...]


def pooled(graph: Graph, what: str, way: str, args: Sequence[Value], shape: Lengths,
           windows: Sequence[Lengths]) -> Value:
    """The largest or the sum of each window of an input of `shape`, or the gradient, by a kernel
    (`pool_kernels`); windows may overlap, and reach beyond the input."""
    (batch, channels, *space), (kernel, stride, padding, dilation, out) = shape, windows
    if len(space) != 2 or any(arg.dtype != args[0].dtype or arg.dtype not in ("f4", "f8")
                              for arg in args):
        raise NoRule("integers, or volumes")
    if prod(kernel) > MOST_PLACES or max(prod(space), prod(out)) > MOST_PIXELS:
        raise NoRule("very large windows or images")
    sides = (tuple(map(int, side)) for side in (space, kernel, out, stride, padding, dilation))
    conv = Convolution._make((way, batch, channels, channels, *sides, channels))
    found = shape if way == "input" else (batch, channels, *out)
    return graph.make("pool", found, args[0].dtype, [lying(graph, arg) for arg in args],
                      Pool(what, conv))


def are_slices(x: Value, kernel: Lengths, stride: Lengths, padding: Lengths, dilation: Lengths,
               out: Lengths) -> bool:
    """Whether each place of the window is a slice of the input, and they are not many."""
    return not any(padding) and prod(kernel) <= MOST and all(
        (o - 1) * s + (k - 1) * d < n for n, k, s, d, o in zip(
            x.shape[2:], kernel, stride, dilation, out, strict=True))


def seen(graph: Graph, x: Value, kernel: Lengths, stride: Lengths, padding: Lengths,
         dilation: Lengths, out: Lengths) -> Iterator[Term]:
    """What all windows have at each of their places."""
    if x.dtype not in ("f4", "f8") or not are_slices(x, kernel, stride, padding, dilation, out):
        raise NoRule("integers, large windows, or such as reach beyond the input")
    for place in np.ndindex(*kernel):
        part = x
        for dim, (index, d, s, o) in enumerate(zip(place, dilation, stride, out, strict=True), 2):
            part = graph.slice(part, dim, index * d, o, s)
        yield Term(graph, part)


@rule("max_pool_values")
def max_pool_values(graph: Graph, x: Value, *windows: Any) -> Value:
    if not are_slices(x, *windows):
        return pooled(graph, "max", "forward", (x,), x.shape, windows)
    best, *rest = seen(graph, x, *windows)
    for other in rest:
        best = best.do("max", other)
    return best.value


@rule("max_pool2d_with_indices", "max_pool3d_with_indices")
def max_pool(graph: Graph, x: Value, kernel: Lengths, stride: Lengths, padding: Lengths,
             dilation: Lengths, out: Lengths) -> Any:
    """The first of the largest; NaN is the largest there is."""
    windows = kernel, stride, padding, dilation, out
    if not are_neighbours(kernel, stride, dilation) or not are_slices(x, *windows):
        def look(indices: Value) -> None:
            graph.windows[indices] = Looked(x, windows)
        return pooled(graph, "max", "forward", (x,), x.shape, windows), look
    best, *rest = seen(graph, x, kernel, stride, padding, dilation, out)
    place = Term(graph, graph.expand(graph.constant(0.0, x.dtype), best.shape))
    for number, other in enumerate(rest, 1):
        odd = other.do("ne", other) & best.do("eq", best)
        place = ((other > best) | odd).choose(float(number), place)
        best = best.do("max", other)

    def note(indices: Value) -> None:
        graph.windows[indices] = Won(place.value, kernel)
    return best.value, note


def are_neighbours(kernel: Lengths, stride: Lengths, dilation: Lengths) -> bool:
    """Whether each window begins where the one before ends."""
    return all(k == s and (d == 1 or k == 1)
               for k, s, d in zip(kernel, stride, dilation, strict=True))


@rule("max_pool_backward")
def max_pool_backward(graph: Graph, g: Value, indices: Value, space: Lengths) -> Value:
    won = graph.windows.get(indices)
    if isinstance(won, Looked):
        return pooled(graph, "max", "input", (won.input, g), won.input.shape, won.windows)
    if won is None or won.place.dtype != g.dtype:
        raise NoRule("indices from elsewhere, or windows that are no neighbours")
    wide = stretched(graph, g, won.kernel, space)
    own = Term(graph, graph.expand(graph.constant(0.0, g.dtype), wide.shape))
    for dim, k in enumerate(won.kernel, 2):
        if k > 1:
            own = own * float(k) + counted(wide, dim, k)
    hit = stretched(graph, won.place, won.kernel, space).do("eq", own)
    return alone(hit, wide, won.kernel, g.shape)


def stretched(graph: Graph, x: Value, kernel: Lengths, space: Lengths) -> Term:
    """Every element of (N, C, *windows) all over its window, and the last ones further on."""
    if any(n < k * windows for n, k, windows in zip(space, kernel, x.shape[2:], strict=True)):
        raise NoRule("windows that reach beyond the input")
    for dim, (k, n) in enumerate(zip(kernel, space, strict=True), 2):
        x = graph.stretch(x, dim, k, n)
    return Term(graph, x)


def counted(like: Term, dim: int, again: int | None = None) -> Term:
    """In the shape of another: the place along a dimension, or that in a window."""
    places = like.graph.range(like.shape[dim], like.dtype, again)
    return Term(like.graph, like.graph.view(places, like.shape, (dim,)))


def alone(hit: Term | None, wide: Term, kernel: Lengths, windows: Lengths) -> Value:
    """Gradients of the elements that are `hit` (None: all) and in a window, added to zeros."""
    for dim, (k, n) in enumerate(zip(kernel, windows[2:], strict=True), 2):
        if wide.shape[dim] > k * n:
            inside = counted(wide, dim) < float(k * n)
            hit = inside if hit is None else hit & inside
    return ((wide if hit is None else hit.choose(wide, 0.0)) + 0.0).value


# Averages.

@rule("avg_pool2d", "avg_pool3d")
def avg_pool(graph: Graph, x: Value, kernel: Lengths, stride: Lengths, padding: Lengths,
             out: Lengths, divisor: Any) -> Value:
    if tuple(kernel) == x.shape[2:] and prod(kernel) > MOST and x.dtype in ("f4", "f8"):
        whole = reduced(graph, "add", x, range(2, len(x.shape)), True)
        return (Term(graph, whole) / the_same(divisor)).value
    windows = kernel, stride, padding, (1,) * len(kernel), out
    if not are_slices(x, *windows):
        whole = pooled(graph, "sum", "forward", (x,), x.shape, windows)
        return (Term(graph, whole) / the_same(divisor)).value
    total, *rest = seen(graph, x, *windows)
    for other in rest:
        total = total + other
    return (total / the_same(divisor)).value


@rule("avg_pool_backward")
def avg_pool_backward(graph: Graph, g: Value, space: Lengths, kernel: Lengths, stride: Lengths,
                      padding: Lengths, divisor: Any) -> Value:
    if g.dtype not in ("f4", "f8"):
        raise NoRule("integers")
    share, each = Term(graph, g) / the_same(divisor), (1,) * len(kernel)
    if any(padding) or not are_neighbours(kernel, stride, each) or any(
            n < k * o for n, k, o in zip(space, kernel, g.shape[2:], strict=True)):
        return pooled(graph, "sum", "input", (share.value,), (*g.shape[:2], *space),
                      (kernel, stride, padding, each, g.shape[2:]))
    return alone(None, stretched(graph, share.value, kernel, space), kernel, g.shape)


def the_same(divisor: Any) -> float:
    """By what each sum is divided, if that is one number."""
    if not isinstance(divisor, (int, float)):
        raise NoRule("windows of several sizes")
    return float(divisor)
