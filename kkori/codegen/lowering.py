"""From steps of a segment to the graph: one short rule a row of the op table.

`lower(program)` returns the graph's values of the program's slots, or None where a step has no
rule here: such steps are run by their array rules, between native pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from kkori.codegen.graph import SCALARS, Graph, Value

__all__ = ["Program", "Step", "Spec", "LOWER", "lower"]


@dataclass(frozen=True)
class Spec:
    """What is known of an array given at run time: shape, strides in elements, type."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Step:
    """One row that was run: its name, its arguments, the slots of its results.

    Arguments are ("slot", k), ("input", k), ("number", k) or ("value", anything).
    """

    row: str
    args: tuple[tuple[str, Any], ...]
    slots: tuple[int, ...]


@dataclass
class Program:
    """A segment: what comes in, what is done, what goes out and what is overwritten."""

    inputs: list[Spec] = field(default_factory=list)
    numbers: int = 0
    steps: list[Step] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)  # slots wanted as new arrays
    writes: list[tuple[int, int]] = field(default_factory=list)  # (input overwritten, slot)


Rule = Callable[..., Any]
LOWER: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a lowering under the names of its rows."""
    def register(function: Rule) -> Rule:
        for name in names:
            LOWER[name] = function
        return function
    return register


def lower(program: Program, graph: Graph) -> dict[int, Value] | None:
    """The value of every slot; None where a step has no rule or computes in another type."""
    inputs = [graph.make("input", spec.shape, spec.dtype, (), number)
              for number, spec in enumerate(program.inputs)]
    if any(spec.dtype not in ("f4", "f8", "b1") for spec in program.inputs):
        return None
    slots: dict[int, Value] = {}
    for step in program.steps:
        function = LOWER.get(step.row)
        if function is None:
            return None
        args = [argument(graph, kind, value, inputs, slots) for kind, value in step.args]
        found = function(graph, *args)
        if found is None:
            return None
        for slot, value in zip(step.slots, found if isinstance(found, tuple) else (found,),
                               strict=True):
            slots[slot] = value
    return slots


def argument(graph: Graph, kind: str, value: Any, inputs: Sequence[Value],
             slots: dict[int, Value]) -> Any:
    """An argument as its rule gets it: a Value for arrays and run-time numbers."""
    if kind == "input":
        return inputs[value]
    if kind == "slot":
        return slots[value]
    if kind == "number":
        return graph.make("number", (), "f8", (), value)
    return value


def alike(graph: Graph, *args: Any) -> list[Value] | None:
    """Operands in one type: that of the arrays; Python numbers and run-time numbers follow."""
    arrays = [arg for arg in args if isinstance(arg, Value) and arg.kind != "number"
              and arg.dtype != "b1"]
    sized = {arg.dtype for arg in arrays if arg.shape} or {arg.dtype for arg in arrays}
    if len(sized) > 1:
        return None
    dtype = sized.pop() if sized else "f4"
    return [convert(graph, arg, dtype) for arg in args]


def convert(graph: Graph, arg: Any, dtype: str) -> Value:
    """A number or array in `dtype`."""
    if not isinstance(arg, Value):
        return graph.constant(float(arg), dtype)
    return arg if arg.dtype == dtype else graph.map("cast", arg, dtype=dtype)


def scalar(name: str, swap: bool = False) -> Rule:
    """A row that is one scalar operation."""
    def apply(graph: Graph, *args: Any) -> Value | None:
        given = alike(graph, *args)
        if given is None:
            return None
        return graph.map(name, *(reversed(given) if swap else given))
    return apply


for _name in SCALARS:
    if _name not in ("select", "cast", "max", "min", "not", "and", "or"):
        LOWER[_name] = scalar(_name)
LOWER.update(rsub=scalar("sub", swap=True), maximum=scalar("max"), minimum=scalar("min"))


@rule("square")
def square(graph: Graph, x: Value) -> Value:
    return graph.map("mul", x, x)


@rule("reciprocal")
def reciprocal(graph: Graph, x: Value) -> Value:
    return graph.map("div", graph.constant(1.0, x.dtype), x)


@rule("rsqrt")
def rsqrt(graph: Graph, x: Value) -> Value:
    return reciprocal(graph, graph.map("sqrt", x))


@rule("relu")
def relu(graph: Graph, x: Value) -> Value:
    """NaN stays NaN: the larger of x and 0, as NumPy's maximum has it."""
    return graph.map("max", x, graph.constant(0.0, x.dtype))


@rule("relu_backward")
def relu_backward(graph: Graph, g: Value, out: Value) -> Value:
    """g, but 0 where out is not above 0; NaN lets g pass."""
    closed = graph.map("le", out, graph.constant(0.0, out.dtype))
    return graph.map("select", closed, graph.constant(0.0, g.dtype), g)


@rule("sigmoid_backward")
def sigmoid_backward(graph: Graph, g: Value, out: Value) -> Value:
    rest = graph.map("sub", graph.constant(1.0, out.dtype), out)
    return graph.map("mul", g, graph.map("mul", out, rest))


@rule("pow_scalar")
def pow_scalar(graph: Graph, x: Value, exponent: Any) -> Value | None:
    """Small whole powers by multiplication, in the order of the array rule."""
    if exponent == 2:
        return graph.map("mul", x, x)
    if exponent == 3:
        return graph.map("mul", graph.map("mul", x, x), x)
    if exponent == 1:
        return x
    return graph.map("sqrt", x) if exponent == 0.5 else None


@rule("where")
def where(graph: Graph, condition: Value, a: Any, b: Any) -> Value | None:
    given = alike(graph, a, b)
    if given is None or condition.dtype != "b1":
        return None
    return graph.map("select", condition, *given)


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


@rule("reshape", "squeeze", "reshape_copied")
def reshape(graph: Graph, x: Value, shape: Any) -> Value:
    return graph.reshape(x, shape)


@rule("unsqueeze")
def unsqueeze(graph: Graph, x: Value, dim: int) -> Value:
    return graph.reshape(x, (*x.shape[:dim], 1, *x.shape[dim:]))


@rule("expand")
def expand(graph: Graph, x: Value, shape: Any) -> Value:
    return graph.expand(x, shape)


@rule("clone", "copy")
def clone(graph: Graph, x: Value, *order: Any) -> Value:
    return x


# Reductions.

def reduced(graph: Graph, name: str, x: Value, axes: Any, keepdim: bool) -> Value:
    """A reduction with PyTorch's axes (None: all) and keepdim."""
    along = tuple(range(len(x.shape))) if axes is None else tuple(axes)
    found = graph.reduce(name, x, along)
    if not keepdim:
        return found
    return graph.reshape(found, tuple(1 if k in along else n for k, n in enumerate(x.shape)))


def count(x: Value, axes: Any) -> int:
    return prod(x.shape) if axes is None else prod(x.shape[axis] for axis in axes)


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
def mm(graph: Graph, a: Value, b: Value) -> Value | None:
    return graph.dot(a, b) if a.dtype == b.dtype != "b1" else None


@rule("mv")
def mv(graph: Graph, a: Value, vector: Value) -> Value:
    column = graph.reshape(vector, (*vector.shape, 1))
    return graph.reshape(graph.dot(a, column), a.shape[:1])


@rule("dot")
def dot(graph: Graph, a: Value, b: Value) -> Value:
    return graph.reduce("add", graph.map("mul", a, b), (0,))


@rule("addmm")
def addmm(graph: Graph, bias: Value, a: Value, b: Value, beta: Any, alpha: Any) -> Value | None:
    if beta != 1 or alpha != 1:
        return None
    return graph.map("add", graph.dot(a, b), bias)


# Losses.

@rule("mse_loss")
def mse_loss(graph: Graph, x: Value, target: Value, reduction: str, weight: Any) -> Value | None:
    if weight is not None or reduction not in ("mean", "sum"):
        return None
    gap = graph.map("sub", x, target)
    total = reduced(graph, "add", graph.map("mul", gap, gap), None, False)
    if reduction == "sum":
        return total
    return graph.map("div", total, graph.constant(float(prod(x.shape)), x.dtype))


@rule("mse_loss_backward")
def mse_loss_backward(graph: Graph, g: Value, x: Value, target: Value, reduction: str,
                      weight: Any) -> Value | None:
    if weight is not None or reduction not in ("mean", "sum"):
        return None
    factor = 2.0 / prod(x.shape) if reduction == "mean" else 2.0
    gap = graph.map("sub", x, target)
    return graph.map("mul", gap, graph.map("mul", g, graph.constant(factor, g.dtype)))
