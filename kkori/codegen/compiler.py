"""The main function of the compiler: from a program to a blueprint.

    program -> lower -> wanted -> check -> plan -> settle -> place -> Native -> object code

Read `passes` first: it is the table of contents. Nothing here is needed, or imported, where a
blueprint is found in memory or on disk.
"""

from __future__ import annotations

from typing import NamedTuple

from kkori.codegen import blueprint
from kkori.codegen.assemble import object_code
from kkori.codegen.blueprint import Array, Blueprint
from kkori.codegen.emit import Unsupported, has_form
from kkori.codegen.graph import Graph, Value, base, check
from kkori.codegen.lowering import Program, lower
from kkori.codegen.native import Native
from kkori.codegen.placement import Wanted, is_shown, place, place_inputs, settle, wanted
from kkori.codegen.products import is_own
from kkori.codegen.schedule import Plan, plan
from kkori.codegen.target import Target
from kkori.codegen.writer import Buffers

__all__ = ["Compiled", "compiled", "lowers", "passes"]


class Compiled(NamedTuple):
    """What the passes make of a program."""

    graph: Graph
    goals: Wanted
    schedule: Plan
    buffers: Buffers
    native: Native


def compiled(program: Program, target: Target) -> Blueprint | None:
    """A program's blueprint; None where something in it has no loop rule yet."""
    found = passes(program, target)
    return described(found, object_code(found.native.text, target)) if found else None


def lowers(program: Program) -> bool:
    """Whether every step has a rule."""
    return lower(program, Graph()) is not None


def passes(program: Program, target: Target) -> Compiled | None:
    """All passes but LLVM; None where something in the program has no loop rule yet."""
    try:
        return passes_once(program, Graph(), target)
    except Unsupported:
        pass
    try:  # sums along several axes that are not like one
        return passes_once(program, Graph(one_axis=True), target)
    except Unsupported:
        return None


def passes_once(program: Program, graph: Graph, target: Target) -> Compiled | None:
    """The passes in their order. Raises `Unsupported`."""
    slots = lower(program, graph)
    if slots is None:
        return None
    goals = wanted(program, graph, slots)
    check(goals.roots)
    buffers = place_inputs(program, graph)
    schedule = plan(goals.roots, [value for _, value in goals.writes], goals.doubts,
                    lambda call: not (is_own(call, buffers) or is_shown(call, goals, buffers)))
    settle(goals.writes, schedule, graph, buffers)
    place(schedule, goals, buffers)
    if not all(has_form(nest, schedule.stored, buffers) for nest in schedule.nests):
        raise Unsupported("a sum along axes that are not like one")  # before anything is written
    native = Native(program, schedule, goals.doubts, buffers, target)
    return Compiled(graph, goals, schedule, buffers, native)


# The result in plain terms.

def described(found: Compiled, code: bytes) -> Blueprint:
    """The blueprint with this object code."""
    graph, goals, schedule, buffers, native = found
    places = buffers.places
    numbers = {base(value): number for number, value in enumerate(goals.outputs)}
    hidden = sorted((value for value in schedule.stored
                     if value not in numbers and value not in buffers.aliases
                     and value not in buffers.shown),
                    key=lambda value: value.number)

    rows = {value.attr[0] for value in native.calls if value.kind == "row"}

    def array(value: Value) -> Array:
        inner = base(value)
        held = buffers.shown.get(inner, inner)
        where, number = ("input", held.attr) if held.kind == "input" else (
            "result", numbers[held]) if held in numbers else ("hidden", hidden.index(held))
        if inner is value:
            return Array(where, number, inner.shape)
        return Array(where, number, inner.shape, value.shape, value.attr)

    return Blueprint(
        sum(nest.loops for nest in schedule.nests), buffers.count, native.pool, native.places,
        tuple(native.described()), tuple(native.shared), tuple(native.scratch),
        tuple(blueprint.Place(value.shape, value.dtype, places[base(value)])
              for value in goals.outputs),
        tuple(blueprint.Place(value.shape, value.dtype, places[value]) for value in hidden),
        tuple(blueprint.Call(value.kind, tuple(map(array, value.args)), array(value),
                             *(value.attr if value.kind == "row" else ()))
              for value in native.calls),
        tuple((number, graph.rows[number]) for number in sorted(rows)), code)
