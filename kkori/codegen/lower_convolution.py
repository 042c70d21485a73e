"""Rules for convolutions: three products of windows (see `convolution`)."""

from __future__ import annotations

from math import prod
from typing import Any

from kkori.codegen.convolution import Convolution
from kkori.codegen.graph import PARTS, Graph, Value
from kkori.codegen.rules import NoRule, rule

MOST_PLACES = 121  # of a window
MOST_COLUMNS = 1 << 14  # of a weight's gradient: channels times places
MOST_PIXELS = 1 << 20  # of one image's group, in planes


@rule("convolution")
def convolution(graph: Graph, x: Value, weight: Value, bias: Any, stride: Any, padding: Any,
                dilation: Any, groups: int) -> Value:
    conv = described("forward", x.shape, weight.shape, None, stride, padding, dilation, groups)
    shape = (x.shape[0], weight.shape[0], *conv.out[2 - len(stride):])
    return with_bias(graph, product(graph, shape, x, weight, conv), bias)


@rule("conv_input")
def conv_input(graph: Graph, grad: Value, weight: Value, bias: Any, shape: Any, stride: Any,
               padding: Any, dilation: Any, groups: int) -> Value:
    """The input's gradient. A weight of infinity times a zero around an image would be NaN: then
    array rules are asked."""
    conv = described("input", shape, weight.shape, grad.shape, stride, padding, dilation, groups)
    found = product(graph, tuple(shape), grad, weight, conv)
    doubt(graph, graph.map("mul", weight, graph.constant(0.0, weight.dtype)))
    return with_bias(graph, found, bias)


@rule("conv_weight")
def conv_weight(graph: Graph, grad: Value, x: Value, shape: Any, stride: Any, padding: Any,
                dilation: Any, groups: int) -> Value:
    """The weight's gradient. Sums go over zeros between rows, too, and infinity times zero would be
    NaN: array rules are asked about what is."""
    conv = described("weight", x.shape, shape, grad.shape, stride, padding, dilation, groups)
    found = product(graph, tuple(shape), grad, x, conv)
    doubt(graph, found)
    return found


def described(way: str, image: Any, weight: Any, result: Any, stride: Any, padding: Any,
              dilation: Any, groups: int) -> Convolution:
    """The product in numbers, from shapes (None for that of the result of `forward`); NoRule for
    what its kernels do not do."""
    if len(stride) > 2 or any(min(pair) < 0 for pair in padding):
        raise NoRule("volumes")
    (batch, channels, *space), (outputs, _, *kernel) = image, weight
    out = list(result[2:]) if result else [
        (n + sum(pair) - d * (k - 1) - 1) // s + 1
        for n, pair, d, k, s in zip(space, padding, dilation, kernel, stride, strict=True)]
    before = [pair[0] for pair in padding]
    conv = Convolution(way, batch, channels, outputs, flat(space), flat(kernel), flat(out),
                       flat(stride), flat(before, 0), flat(dilation), groups)
    places, one = prod(conv.kernel), conv.one
    if places > MOST_PLACES or places * one.channels > MOST_COLUMNS or min(out) < 1 or (
            max(one.channels * prod(space), one.outputs * prod(out)) > MOST_PIXELS):
        raise NoRule("a very large window or image")
    return conv


def flat(numbers: Any, height: int = 1) -> Any:
    """Numbers of two dimensions: lines are images of height 1."""
    found = tuple(map(int, numbers))
    return found if len(found) == 2 else (height, *found)


def product(graph: Graph, shape: Any, a: Value, b: Value, conv: Convolution) -> Value:
    if a.dtype != b.dtype or a.dtype not in ("f4", "f8"):
        raise NoRule("operands of several types")
    return graph.make("conv", shape, a.dtype, (lying(graph, a), lying(graph, b)), conv)


def lying(graph: Graph, value: Value) -> Value:
    """`value` as an array, not as a view of one."""
    return graph.copy(value) if value.kind in (
        "view", *PARTS, "constant", "number") else value


def with_bias(graph: Graph, found: Value, bias: Any) -> Value:
    if bias is None:
        return found
    ends = (1,) * (len(found.shape) - 2)
    return graph.map("add", found, graph.reshape(bias, (*bias.shape, *ends)))


def doubt(graph: Graph, value: Value) -> None:
    """Array rules decide where a number of `value` is none."""
    graph.doubts.append(graph.reduce("add", value, range(len(value.shape))))
