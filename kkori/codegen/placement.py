"""Where results go: into arrays for the caller, or over inputs, and when that is safe.

    wanted   what the program gives, as values that can each have memory of their own
    settle   which of them are written over inputs by the loops that compute them; copies for others
    place    every array's place in the context

Nothing overwrites an input before the plan's `barrier`: behind it nothing can be found wrong any
more, and no library is called. So a round is computed whole, or has changed nothing.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from kkori.codegen.graph import PARTS, Graph, Value, base
from kkori.codegen.program import Program
from kkori.codegen.schedule import CALLED, Nest, Plan, append, own_address, put
from kkori.codegen.writer import Buffers
from kkori.core.size import contiguous_strides

__all__ = ["Wanted", "is_shown", "place", "place_inputs", "settle", "wanted"]


class Wanted(NamedTuple):
    """What a program gives: arrays for the caller, (input, what overwrites it), doubts."""

    outputs: list[Value]
    writes: list[tuple[Value, Value]]
    doubts: list[Value]

    @property
    def roots(self) -> list[Value]:
        """All that has to be computed."""
        return [*self.outputs, *(value for _, value in self.writes), *self.doubts]


def wanted(program: Program, graph: Graph, slots: dict[int, Value]) -> Wanted:
    """Outputs and writes: each a computed value that nobody else wants, or a copy."""
    inputs = [graph.make("input", spec.shape, spec.dtype, (), number)
              for number, spec in enumerate(program.inputs)]
    taken: set[Value] = set()
    outputs = [own(graph, slots[slot], taken) for slot in program.outputs]
    writes = []
    for number, slot in program.writes:
        value, target = slots[slot], inputs[number]
        if value.shape != target.shape:
            value = graph.expand(value, target.shape)
        if value.dtype != target.dtype:
            value = graph.map("cast", value, dtype=target.dtype)
        if value.kind != "map" or value in taken:
            value = another(graph, value, taken)
        taken.add(value)
        writes.append((target, value))
    return Wanted(outputs, writes, list(graph.doubts))


def own(graph: Graph, value: Value, taken: set[Value]) -> Value:
    """`value` if it, or what it is a view of, can be handed out as it is; else a copy."""
    inner = base(value)
    if inner.kind in ("input", "number", "constant", "range", *PARTS) or inner in taken or (
            not in_order(value)):
        value = inner = another(graph, value, taken)
    taken.add(inner)
    return value


def another(graph: Graph, value: Value, taken: set[Value]) -> Value:
    """A copy that nobody has yet."""
    value = graph.copy(value)
    while value in taken:
        value = graph.copy(value)
    return value


def in_order(value: Value) -> bool:
    """Whether a value's elements are those of what it shows, each once and in the same order."""
    if value.kind != "view":
        return True
    follows = [d for d in value.attr if d is not None]
    return follows == sorted(follows) and prod(value.shape) == prod(value.args[0].shape)


def place_inputs(program: Program, graph: Graph) -> Buffers:
    """The first places of the context: the inputs, as they are laid out."""
    buffers = Buffers()
    for number, spec in enumerate(program.inputs):
        buffers.add(graph.make("input", spec.shape, spec.dtype, (), number), spec.strides)
    return buffers


def settle(writes: list[tuple[Value, Value]], schedule: Plan, graph: Graph,
           buffers: Buffers) -> None:
    """Have every input overwritten, by the loops that compute its new numbers where that can be.

    Otherwise a copy is added to a nest that may do it, or in a nest of its own at the end.
    """
    late = []
    for target, value in writes:
        if schedule.home[value] >= schedule.barrier and in_place(target, value, schedule):
            buffers.share(value, target)
        else:
            late.append((target, value))
    for target, value in late:
        copy = graph.copy(value)
        first = max(schedule.barrier, schedule.home[value])
        put(copy, schedule, first)
        if not in_place(target, copy, schedule):
            schedule.remove(copy)
            append(copy, schedule)
        buffers.share(copy, target)


def in_place(target: Value, value: Value, schedule: Plan) -> bool:
    """Whether `value` may be written where `target` is: each number is read, then written."""
    home, here = schedule.home[value], []
    if any(user.kind in CALLED for user, _ in schedule.readers.get(value, ())):
        return False  # a product relies on how the value is laid out
    for user, where in schedule.readers.get(target, ()):
        if schedule.home[user] > home:
            return False
        if schedule.home[user] == home:
            here.append((user, where))
    return read_before(value, here, schedule.stages[home])


def read_before(value: Value, readers: list[tuple[Value, Any]], nest: Nest) -> bool:
    """Whether a nest reads each number of an array before it writes `value` there, given which of
    its values read the array and where.

    Its loops read a number at the address where it is written, before or as that is done; a number
    that has been read stays in a register. What precedes may read anything: the loops for single
    numbers, sums that are done at once for all.
    """
    is_last = value in nest.last
    group = nest.last if is_last else nest.maps
    turns = []
    for user, where in readers:
        if user in group:
            turns.append(group.index(user))
        elif is_last or nest.at_once and user in nest.sums:
            continue
        elif user not in nest.sums:
            return False  # what follows the loops
        if where != own_address(value):
            return False
    return min(turns, default=0) <= group.index(value)


def is_shown(value: Value, goals: Wanted, buffers: Buffers) -> bool:
    """Whether a reshape that nobody keeps is nothing but memory that lies in order."""
    operand = value.args[0] if value.kind == "reshape" else value
    if operand is value or operand.kind == "view" or value in map(base, goals.outputs) or any(
            operand is target or operand is written for target, written in goals.writes):
        return False
    return operand.kind != "input" or (
        buffers.strides[operand] == contiguous_strides(operand.shape))


def place(schedule: Plan, goals: Wanted, buffers: Buffers) -> None:
    """The rest of the places: what is stored and has not gone over an input."""
    for value in sorted(schedule.stored, key=lambda value: value.number):
        if value in buffers.places:
            continue
        if is_shown(value, goals, buffers):
            buffers.show(value, value.args[0])
        else:
            buffers.add(value)
