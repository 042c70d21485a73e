"""From the graph to loop nests: what is stored, what is recomputed, and which loops are shared.

A value is *stored* where it must exist as an array: results, sums, matrix products, what they
read, and what would be recomputed at too high a price. Everything else is recomputed in registers
where it is used: a hidden layer of 20 million numbers never touches memory.

Each stored value wants a loop over its own dimensions (`out`) and, for a reduction, over the
reduced ones (`over`). Values that want the same loops share a nest if none of them needs another
one's finished result, with one exception: an elementwise value may follow a reduction of its own
nest, element by element (the optimizer's update behind the gradient).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

from kkori.codegen.graph import Value, order

__all__ = ["Nest", "Plan", "plan"]

Address = tuple["str | None", ...]  # an axis name for each dimension, None for index 0

# What a scalar operation costs, in additions; recomputing is free up to LIMIT.
COST = {"div": 4, "sqrt": 6, "exp": 14, "log": 18, "log1p": 20, "expm1": 20, "tanh": 24,
        "sigmoid": 18, "sin": 16, "cos": 16, "erf": 30}
LIMIT = 80
CALLED = ("dot", "reshape", "row")  # kinds of values that no loop nest computes


class Nest:
    """Loops over `out` and `over` (lengths), and the stored values computed in them."""

    def __init__(self, out: tuple[int, ...], over: tuple[int, ...]) -> None:
        self.out, self.over = out, over
        self.sums: list[Value] = []  # reductions, finished when the inner loops end
        self.maps: list[Value] = []  # elementwise values, after them

    def __repr__(self) -> str:
        return f"Nest(out={self.out}, over={self.over}, sums={self.sums}, maps={self.maps})"


class Call:
    """A matrix product, a reshape that has to copy, a row without loops: between the nests."""

    def __init__(self, value: Value) -> None:
        self.value = value


class Plan:
    """Nests and calls in the order in which they run, and what is stored."""

    def __init__(self, stages: list[Any], stored: set[Value]) -> None:
        self.stages, self.stored = stages, stored


def real(shape: Sequence[int]) -> tuple[int, ...]:
    """Lengths that are not 1."""
    return tuple(n for n in shape if n != 1)


def loops_of(value: Value) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The lengths a stored value loops over: its own, and those that are summed away."""
    if value.kind != "reduce":
        return real(value.shape), ()
    axes = value.attr[1]
    shape = value.args[0].shape
    return (real([n for k, n in enumerate(shape) if k not in axes]),
            tuple(shape[k] for k in axes))


def addresses(value: Value) -> tuple[Value, Address]:
    """What the loops evaluate for a stored value, and at which axes: out axes o0, o1..., r0..."""
    names = iter(f"o{k}" for k in range(8))
    if value.kind != "reduce":
        return value, tuple(None if n == 1 else next(names) for n in value.shape)
    axes = value.attr[1]
    over = iter(f"r{k}" for k in range(8))
    operand = value.args[0]
    return operand, tuple(next(over) if k in axes else None if n == 1 else next(names)
                          for k, n in enumerate(operand.shape))


def own_address(value: Value) -> Address:
    """The address of a stored value's own elements in its nest."""
    names = iter(f"o{k}" for k in range(8))
    return tuple(None if n == 1 else next(names) for n in value.shape)


def through(value: Value, address: Address) -> Address:
    """The address in a view's operand of what the view has at `address`."""
    return tuple(None if d is None else address[d] for d in value.attr)


def narrowed(value: Value, address: Address) -> Address:
    """`address` with index 0 along dimensions of length 1."""
    return tuple([None if n == 1 else a for n, a in zip(value.shape, address, strict=True)])


def cost(value: Value, stored: set[Value]) -> int:
    """What computing one element of `value` again costs."""
    seen: set[Value] = set()
    stack, total = [value], 0
    while stack:
        part = stack.pop()
        if part in seen or (part in stored and part is not value):
            continue
        seen.add(part)
        if part.kind == "map":
            total += COST.get(part.attr, 1)
        if part.kind in ("map", "view"):
            stack.extend(part.args)
    return total


def base(value: Value) -> Value:
    """Behind a view, what it shows."""
    return value.args[0] if value.kind == "view" else value


def choose_stored(roots: Sequence[Value]) -> set[Value]:
    """The values that must exist as arrays."""
    stored = {base(root) for root in roots if base(root).kind not in ("input",)}
    values = order(roots)
    users: dict[Value, list[Value]] = {value: [] for value in values}
    for value in values:
        for arg in value.args:
            users[base(arg)].append(value)
            if arg.kind == "view":
                users.setdefault(arg, [])
    for value in values:
        if value.kind in ("reduce", *CALLED):
            stored.add(value)
        if value.kind in CALLED:
            stored.update(base(arg) for arg in value.args if base(arg).kind == "map")
    for value in values:
        if value.kind == "map" and value not in stored and value.shape != () and (
                is_lower(value, users) or shared_and_dear(value, users, stored)):
            stored.add(value)
    return stored


def is_lower(value: Value, users: dict[Value, list[Value]]) -> bool:
    """Whether larger values are made of it: it would be recomputed for each of their rows."""
    size = prod(value.shape)
    return any(prod(user.shape if user.kind != "reduce" else user.args[0].shape) > size
               for user in users[value])


def shared_and_dear(value: Value, users: dict[Value, list[Value]], stored: set[Value]) -> bool:
    """Whether several values are made of it and computing it again costs more than memory."""
    return len(users[value]) > 1 and cost(value, stored) > LIMIT


def reads(value: Value, stored: set[Value]) -> list[tuple[Value, Address]]:
    """Inputs and stored values that computing `value` reads, and where."""
    start, address = addresses(value)
    found, seen = [], set()
    stack = [(start, address)]
    while stack:
        part, where = stack.pop()
        where = narrowed(part, where)
        if (part, where) in seen:
            continue
        seen.add((part, where))
        if part.kind in ("input", "range") or (part in stored and part is not value):
            found.append((part, where))
        elif part.kind == "view":
            stack.append((part.args[0], through(part, where)))
        elif part.kind == "map":
            stack.extend((arg, where) for arg in part.args)
        else:
            assert part.kind in ("constant", "number"), part
    return found


def plan(roots: Sequence[Value]) -> Plan:
    """Nests and calls, in order, that compute `roots`."""
    stored = choose_stored(roots)
    stages: list[Any] = []
    place: dict[Value, int] = {}
    for value in order(roots):
        if value not in stored:
            continue
        if value.kind in CALLED:
            stages.append(Call(value))
            place[value] = len(stages) - 1
            continue
        place[value] = put(value, stages, place, stored)
    return Plan(stages, stored)


def put(value: Value, stages: list[Any], place: dict[Value, int], stored: set[Value]) -> int:
    """Into the first nest with these loops that comes after all it needs; else a new one."""
    out, over = loops_of(value)
    needs = reads(value, stored)
    for number, nest in enumerate(stages):
        if isinstance(nest, Nest) and nest.out == out and fits(value, over, nest) and all(
                ready(need, where, number, nest, place, value) for need, where in needs):
            (nest.sums if value.kind == "reduce" else nest.maps).append(value)
            return number
    nest = Nest(out, over)
    (nest.sums if value.kind == "reduce" else nest.maps).append(value)
    stages.append(nest)
    return len(stages) - 1


def fits(value: Value, over: tuple[int, ...], nest: Nest) -> bool:
    """A reduction needs the same inner loops; an elementwise value only the outer ones."""
    return value.kind != "reduce" or nest.over == over


def ready(need: Value, where: Address, number: int, nest: Nest, place: dict[Value, int],
          value: Value) -> bool:
    """Whether `need` is finished before this nest, or element by element within it."""
    if need.kind in ("input", "range") or place[need] < number:
        return True
    return (place[need] == number and value.kind == "map" and need in (*nest.sums, *nest.maps)
            and where == own_address(need))


def kernels(stages: Iterable[Any]) -> int:
    """How many loop nests run."""
    return sum(isinstance(stage, Nest) for stage in stages)
