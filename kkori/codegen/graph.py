"""The graph a segment becomes: values, and what each is made of. With its spec and its checker.

A `Value` is an array that may or may not ever exist. There are eighteen kinds:

    input    an array given at run time             attr: its number
    number   a float given at run time, 0-dim       attr: its number
    constant a Python number, 0-dim                 attr: the number
    range    0, 1, 2, ... as numbers, one dimension  attr: None, or where they begin again at 0
    map      one scalar operation on every element  attr: its name (SCALARS); operands broadcast
    reduce   sum, max or min along axes             attr: (operation, axes); axes disappear
    view     the operand's elements, re-addressed   attr: for each dimension of the operand, the
                                                    dimension of the view it follows, or None (it
                                                    has length 1 there, or stays at index 0)
    slice    some of the operand's elements         attr: for each dimension (start, step)
    stretch  the operand's elements, each repeated  attr: for each dimension how often; what is
                                                    longer than that repeats the last
    reshape  the operand's elements in row-major order in another shape
    dot      a matrix product (n, k) x (k, m) that is no mere loop
    batch    matrix products (..., n, k) x (..., k, m), one for each place of the dimensions before
    cat      the operands one behind another   attr: the dimension along which they are joined
    conv     a convolution's result, or one of its gradients   attr: its `Convolution`
    pool     a pool whose windows overlap or are padded, or its gradient    attr: its `Pool`
    gather   rows of a table, one for each index           attr: its `Lookup`
    scatter  zeros with rows added, each at its index      attr: its `Lookup`
    row      a result of an array rule               attr: (number of its step, of the result)

Equal values are one object: the graph is built through `Graph`, which looks before it makes. So
common subexpressions are found as they arise, and identity is equality. `check` verifies the spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["DTYPES", "Graph", "SCALARS", "Value", "base", "check", "order"]

# Scalar operations: how many operands, and whether the result is a truth value.
SCALARS: dict[str, tuple[int, bool]] = {
    "add": (2, False), "sub": (2, False), "mul": (2, False), "div": (2, False),
    "neg": (1, False), "abs": (1, False), "max": (2, False), "min": (2, False),
    "sqrt": (1, False), "exp": (1, False), "log": (1, False), "log1p": (1, False),
    "expm1": (1, False), "tanh": (1, False), "sigmoid": (1, False), "sin": (1, False),
    "cos": (1, False), "erf": (1, False), "atan": (1, False), "exp2": (1, False),
    "log2": (1, False), "pow": (2, False), "log10": (1, False), "tan": (1, False),
    "asin": (1, False), "acos": (1, False), "sinh": (1, False), "cosh": (1, False),
    "asinh": (1, False), "acosh": (1, False), "atanh": (1, False),
    "floor": (1, False), "ceil": (1, False), "trunc": (1, False), "round": (1, False),
    "lt": (2, True), "le": (2, True), "gt": (2, True), "ge": (2, True), "eq": (2, True),
    "ne": (2, True), "and": (2, True), "or": (2, True), "not": (1, True),
    "select": (3, False), "cast": (1, False), "copy": (1, False),
}
UNORDERED = ("add", "mul", "and", "or", "eq", "ne")  # the order of operands makes no difference
REDUCTIONS = ("add", "max", "min")
KINDS = ("input", "number", "constant", "range", "map", "reduce", "view", "slice", "stretch",
         "reshape", "dot", "batch", "cat", "conv", "pool", "gather", "scatter", "row")
PARTS = ("slice", "stretch")  # elements of the operand, where only loops find them
DTYPES = ("f4", "f8", "b1", "i8")  # what loops compute in; of integers only inputs, to be cast


class Value:
    """One array of the graph; compare by ``is``."""

    __slots__ = ("kind", "shape", "dtype", "args", "attr", "number")

    def __init__(self, kind: str, shape: tuple[int, ...], dtype: str, args: tuple[Value, ...],
                 attr: Any, number: int) -> None:
        self.kind, self.shape, self.dtype = kind, shape, dtype
        self.args, self.attr, self.number = args, attr, number

    def __repr__(self) -> str:
        args = ", ".join(f"%{arg.number}" for arg in self.args)
        attr = "" if self.attr is None else f" {self.attr!r}"
        return f"%{self.number} = {self.kind}{attr} ({args}) : {self.dtype}{list(self.shape)}"


def base(value: Value) -> Value:
    """Behind a view, what it shows."""
    return value.args[0] if value.kind == "view" else value


class Graph:
    """Makes values, each only once. With `one_axis` sums go along one axis at a time.

    `doubts` are numbers that must not be NaN: otherwise an array rule may have to raise an error.
    """

    def __init__(self, one_axis: bool = False) -> None:
        self.one_axis = one_axis
        self.doubts: list[Value] = []
        self.rows: dict[int, Any] = {}  # number of a step: what runs it on its arrays
        self.strides: dict[Value, tuple[int, ...]] = {}  # of inputs
        self.shown: dict[Value, Callable[[], Value]] = {}  # slices as results of array rules
        self.windows: dict[Value, Any] = {}  # by indices of a pool: see `lower_pools`
        self.values: list[Value] = []
        self._known: dict[Any, Value] = {}

    def make(self, kind: str, shape: Sequence[int], dtype: str, args: Sequence[Value] = (),
             attr: Any = None) -> Value:
        """The value with these fields."""
        key = (kind, tuple(shape), dtype, tuple(arg.number for arg in args),
               repr(attr) if kind == "constant" else attr)
        found = self._known.get(key)
        if found is None:
            found = Value(kind, tuple(shape), dtype, tuple(args), attr, len(self.values))
            self.values.append(found)
            self._known[key] = found
        return found

    def constant(self, value: float, dtype: str) -> Value:
        """A number known now."""
        return self.make("constant", (), dtype, (), value)

    def range(self, length: int, dtype: str, again: int | None = None) -> Value:
        """The numbers 0, 1, 2, ... below `length`, or `again` and again those below that."""
        return self.make("range", (length,), dtype, (), again)

    def map(self, name: str, *args: Value, dtype: str | None = None) -> Value:
        """A scalar operation; operands are broadcast by views."""
        shape = broadcast(arg.shape for arg in args)
        given = [self.expand(arg, shape) for arg in args]
        if name in UNORDERED:  # so that equal values are found equal
            given.sort(key=lambda arg: arg.number)
        if dtype is None:
            dtype = "b1" if SCALARS[name][1] else given[-1].dtype
        if name == "cast" and given[0].dtype == dtype:
            return given[0]
        return self.make("map", shape, dtype, given, name)

    def reduce(self, name: str, operand: Value, axes: Sequence[int]) -> Value:
        """Along axes of length 1 there is nothing to do but to drop them."""
        assert all(0 <= axis < len(operand.shape) for axis in axes), axes
        real = tuple(axis for axis in sorted(axes) if operand.shape[axis] != 1)
        shape = tuple(n for axis, n in enumerate(operand.shape) if axis not in axes)
        if not real:
            return self.drop(operand, axes)
        trivial = tuple(axis for axis in axes if axis not in real)
        if trivial:
            kept = [axis for axis in range(len(operand.shape)) if axis not in trivial]
            operand = self.drop(operand, trivial)
            real = tuple(kept.index(axis) for axis in real)
        if self.one_axis:
            for axis in reversed(real):
                inner = tuple(n for k, n in enumerate(operand.shape) if k != axis)
                operand = self.make("reduce", inner, operand.dtype, (operand,), (name, (axis,)))
            return operand
        gap = next((k for k in range(len(real) - 1, 0, -1) if any(
            n != 1 for n in operand.shape[real[k - 1] + 1:real[k]])), 0)
        if gap:  # loops run along neighbours as along one axis, but not along others
            return self.reduce(name, self.reduce(name, operand, real[gap:]), real[:gap])
        return self.make("reduce", shape, operand.dtype, (operand,), (name, real))

    def drop(self, operand: Value, axes: Sequence[int]) -> Value:
        """Without dimensions of length 1."""
        kept = [axis for axis in range(len(operand.shape)) if axis not in axes]
        place = {axis: number for number, axis in enumerate(kept)}
        follows = tuple(place.get(axis) for axis in range(len(operand.shape)))
        return self.view(operand, [operand.shape[axis] for axis in kept], follows)

    def view(self, operand: Value, shape: Sequence[int], follows: Sequence[int | None]) -> Value:
        """Re-addressed elements; views of views are one view."""
        shape, follows = tuple(shape), tuple(follows)
        if operand.kind == "view":
            inner = operand.attr
            follows = tuple(None if d is None else follows[d] for d in inner)
            operand = operand.args[0]
        follows = tuple(None if n == 1 else d for n, d in zip(operand.shape, follows, strict=True))
        if shape == operand.shape and all(
                d == k for k, d in enumerate(follows) if operand.shape[k] != 1):
            return operand
        return self.make("view", shape, operand.dtype, (operand,), follows)

    def slice(self, operand: Value, dim: int, start: int, length: int, step: int = 1) -> Value:
        """Every `step`-th element along a dimension from `start` on; slices of slices are one."""
        if length == operand.shape[dim]:
            return operand
        shape = (*operand.shape[:dim], length, *operand.shape[dim + 1:])
        places = [(start, step) if k == dim else (0, 1) for k in range(len(shape))]
        if operand.kind == "slice":
            places = [(first + start * by, step * by) for (start, step), (first, by) in zip(
                places, operand.attr, strict=True)]
            operand = operand.args[0]
        return self.make("slice", shape, operand.dtype, (operand,), tuple(places))

    def stretch(self, operand: Value, dim: int, times: int, length: int) -> Value:
        """Every element so many times along a dimension, then the last one up to `length`."""
        if (length, times) == (operand.shape[dim], 1):
            return operand
        repeats = [times if k == dim else 1 for k in range(len(operand.shape))]
        shape = (*operand.shape[:dim], length, *operand.shape[dim + 1:])
        if operand.kind == "stretch" and operand.attr[dim] == 1 and (
                operand.shape[dim] == operand.args[0].shape[dim]):
            repeats = [a * b for a, b in zip(repeats, operand.attr, strict=True)]
            operand = operand.args[0]
        if base(operand).kind in PARTS:
            operand = self.copy(operand)
        return self.make("stretch", shape, operand.dtype, (operand,), tuple(repeats))

    def in_memory(self, value: Value) -> Value:
        """`value` as something that is not computed by loops alone can read it: for slices, what
        the array rule shows of the operand, or else a copy."""
        inner = base(value)
        if inner.kind not in PARTS:
            return value
        made = self.shown.get(inner)
        found = made() if made is not None else self.copy(inner)
        return found if inner is value else self.view(found, value.shape, value.attr)

    def copy(self, operand: Value) -> Value:
        """The same elements once more, as something that can have memory of its own."""
        return self.make("map", operand.shape, operand.dtype, (operand,), "copy")

    def expand(self, operand: Value, shape: Sequence[int]) -> Value:
        """Lengths of 1 stretched, dimensions added in front."""
        ahead = len(shape) - len(operand.shape)
        return self.view(operand, shape, [ahead + k for k in range(len(operand.shape))])

    def permute(self, operand: Value, axes: Sequence[int]) -> Value:
        """Dimensions in another order."""
        shape = [operand.shape[axis] for axis in axes]
        return self.view(operand, shape, [list(axes).index(k) for k in range(len(axes))])

    def reshape(self, operand: Value, shape: Sequence[int]) -> Value:
        """A view where only lengths of 1 come and go, else elements in row-major order."""
        shape = tuple(shape)
        if shape == operand.shape:
            return operand
        real = [k for k, n in enumerate(shape) if n != 1]
        if [n for n in shape if n != 1] == [n for n in operand.shape if n != 1]:
            rest = iter(real)
            return self.view(operand, shape, [None if n == 1 else next(rest)
                                              for n in operand.shape])
        if operand.kind == "slice":
            found = self.cut(operand, shape)
            if found is not None:
                return found
        if operand.kind == "view" or operand.kind in PARTS:
            operand = self.copy(operand)
        return self.make("reshape", shape, operand.dtype, (operand,))

    def cut(self, operand: Value, shape: tuple[int, ...]) -> Value | None:
        """A slice along the last dimension, which is split in two: the same slice of the whole
        array so split, if it is cut where the parts are. That is no copy."""
        (whole,), (start, step), size = operand.args, operand.attr[-1], shape[-1]
        if shape[:-2] != operand.shape[:-1] or whole.kind == "view" or (
                whole.shape[:-1] != operand.shape[:-1]) or step != 1 or (
                start % size or whole.shape[-1] % size):
            return None
        parts = self.reshape(whole, (*shape[:-2], whole.shape[-1] // size, size))
        return self.slice(parts, len(shape) - 2, start // size, shape[-2])

    def dot(self, left: Value, right: Value) -> Value:
        """A matrix product: a loop where one of the three lengths is 1."""
        (n, k), (_, m) = left.shape, right.shape
        if min(n, k, m) > 1:
            factors = self.in_memory(left), self.in_memory(right)
            return self.make("dot", (n, m), left.dtype, factors)
        shape = (n, k, m)
        product = self.map("mul", self.view(left, shape, (0, 1)), self.view(right, shape, (1, 2)))
        return self.reduce("add", product, (1,))

    def batch(self, left: Value, right: Value) -> Value:
        """A matrix product for each place of the dimensions before the last two."""
        lead = broadcast((left.shape[:-2], right.shape[:-2]))
        (n, k), m = left.shape[-2:], right.shape[-1]
        left, right = self.expand(left, (*lead, n, k)), self.expand(right, (*lead, k, m))
        return self.make("batch", (*lead, n, m), left.dtype, (left, right))

    def cat(self, parts: Sequence[Value], dim: int) -> Value:
        """One behind another along a dimension."""
        first = parts[0].shape
        length = sum(part.shape[dim] for part in parts)
        return self.make("cat", (*first[:dim], length, *first[dim + 1:]), parts[0].dtype, parts,
                         dim)


def broadcast(shapes: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The shape that all shapes stretch to."""
    found: list[int] = []
    for shape in shapes:
        ahead = len(shape) - len(found)
        found = [1] * max(ahead, 0) + found
        for k, n in enumerate(reversed(shape)):
            if n != 1:
                found[-1 - k] = n
    return tuple(found)


def order(roots: Iterable[Value]) -> list[Value]:
    """All values that `roots` are made of, operands first."""
    wanted: set[int] = set()
    stack = list(roots)
    found: dict[int, Value] = {}
    while stack:
        value = stack.pop()
        if value.number not in wanted:
            wanted.add(value.number)
            found[value.number] = value
            stack.extend(value.args)
    return [found[number] for number in sorted(found)]


def check(roots: Iterable[Value]) -> None:
    """AssertionError where a value breaks the spec at the top of this file."""
    for value in order(roots):
        assert value.kind in KINDS, value
        assert value.dtype in DTYPES, value
        assert all(arg.number < value.number for arg in value.args), value
        _CHECKS[value.kind](value)


def _check_leaf(value: Value) -> None:
    assert not value.args, value
    dimensions = {"range": 1}.get(value.kind, 0)
    assert value.kind == "input" or len(value.shape) == dimensions, value
    assert value.kind == "input" or value.dtype != "i8", value


def _check_map(value: Value) -> None:
    count, truth = SCALARS[value.attr]
    assert len(value.args) == count, value
    assert all(arg.shape == value.shape for arg in value.args), value
    assert not truth or value.dtype == "b1", value
    if value.attr == "select":
        assert value.args[0].dtype == "b1", value
        assert value.args[1].dtype == value.args[2].dtype == value.dtype, value
    elif value.attr != "cast":
        assert len({arg.dtype for arg in value.args}) == 1, value


def _check_reduce(value: Value) -> None:
    name, axes = value.attr
    (operand,) = value.args
    assert name in REDUCTIONS and axes, value
    kept = tuple(n for k, n in enumerate(operand.shape) if k not in axes)
    assert kept == value.shape and all(operand.shape[k] > 1 for k in axes), value


def _check_view(value: Value) -> None:
    (operand,) = value.args
    assert operand.kind != "view" and len(value.attr) == len(operand.shape), value
    for n, d in zip(operand.shape, value.attr, strict=True):
        assert (n == 1) if d is None else value.shape[d] == n, value


def _check_slice(value: Value) -> None:
    (operand,) = value.args
    assert operand.kind != "slice" and len(value.attr) == len(operand.shape), value
    for n, length, (start, step) in zip(value.shape, operand.shape, value.attr, strict=True):
        assert start >= 0 and step > 0 and start + (n - 1) * step < length, value


def _check_stretch(value: Value) -> None:
    (operand,) = value.args
    assert base(operand).kind not in PARTS and len(value.attr) == len(operand.shape), value
    assert all(times > 0 and length >= n for times, length, n in zip(
        value.attr, value.shape, operand.shape, strict=True)), value


def _check_reshape(value: Value) -> None:
    from math import prod
    assert prod(value.shape) == prod(value.args[0].shape), value


def _check_dot(value: Value) -> None:
    left, right = value.args
    assert left.shape[1] == right.shape[0] and value.shape == (
        left.shape[0], right.shape[1]), value


def _check_batch(value: Value) -> None:
    left, right = value.args
    assert left.shape[:-2] == right.shape[:-2] == value.shape[:-2], value
    assert left.shape[-1] == right.shape[-2], value
    assert value.shape[-2:] == (left.shape[-2], right.shape[-1]), value


def _check_cat(value: Value) -> None:
    dim = value.attr
    assert sum(part.shape[dim] for part in value.args) == value.shape[dim], value
    for part in value.args:
        assert part.dtype == value.dtype and len(part.shape) == len(value.shape), value
        assert all(n == m or k == dim for k, (n, m) in enumerate(zip(
            part.shape, value.shape, strict=True))), value


def _check_conv(value: Value) -> None:
    assert len(value.args) == 2 or len(value.args) == 1 and value.kind == "pool", value
    assert len({arg.dtype for arg in (*value.args, value)}) == 1, value
    assert all(arg.kind != "view" and arg.kind not in PARTS for arg in value.args), value


def _check_lookup(value: Value) -> None:
    array, *indices = value.args
    lookups = indices[0].shape
    rows, table = (array, value) if value.kind == "scatter" else (value, array)
    assert rows.shape == (*lookups, *table.shape[value.attr.dims:]), value
    assert all((one.dtype, one.shape) == ("i8", lookups) for one in indices), value
    assert len(indices) == value.attr.dims and array.dtype == value.dtype, value


def _check_row(value: Value) -> None:
    assert len(value.attr) == 2, value


_CHECKS = {"row": _check_row, "input": _check_leaf, "number": _check_leaf, "constant": _check_leaf,
           "range": _check_leaf, "map": _check_map, "reduce": _check_reduce, "view": _check_view,
           "slice": _check_slice, "stretch": _check_stretch, "reshape": _check_reshape,
           "dot": _check_dot, "batch": _check_batch, "cat": _check_cat,
           "conv": _check_conv, "pool": _check_conv,
           "gather": _check_lookup, "scatter": _check_lookup}
