"""Slices: loops read them where they are, array rules and products see them as NumPy shows them."""

from __future__ import annotations

import numpy as np
import pytest

from kkori.codegen.graph import Graph, check
from kkori.codegen.program import Program, Spec, Step
from kkori.ops.table import TABLE

pytest.importorskip("llvmlite")

from kkori.codegen.segment import build

X = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)


def input_(number=0):
    return "input", number


def slot(number):
    return "slot", number


def value(given):
    return "value", given


def steps(*rows):
    """Steps from (row, arguments, slots), with what their array rules give."""
    values, found = {}, []
    for row, args, slots in rows:
        given = [X if kind == "input" else values[what] if kind == "slot" else what
                 for kind, what in args]
        results = TABLE[row].array(*given)
        results = results if isinstance(results, tuple) else (results,)
        values.update(zip(slots, results, strict=True))
        specs = tuple(Spec(np.shape(one), (), np.asarray(one).dtype.str[1:]) for one in results)
        found.append(Step(row, args, slots, specs))
    return found, values


# Rows, what is wanted, how many stages are no loops.
CASES = {
    "split": ([("split", (input_(), value((10, 10, 20)), value(1)), (0, 1, 2)),
               ("mul", (slot(0), slot(1)), (3,)), ("exp", (slot(2),), (4,))], [3, 4], 0),
    "rows": ([("narrow", (input_(), value(0), value(2), value(3)), (0,)),
              ("sum", (slot(0), value((1,)), value(False)), (1,))], [0, 1], 0),
    "steps": ([("slice", (input_(), value(1), value(3), value(40), value(3)), (0,)),
               ("exp", (slot(0),), (1,)),
               ("sum", (slot(1), value((0,)), value(False)), (2,))], [1, 2], 0),
    "of what is computed": ([
        ("exp", (input_(),), (0,)), ("select", (slot(0), value(1), value(-3)), (1,)),
        ("select", (slot(0), value(0), value(2)), (2,)), ("mul", (slot(1), slot(1)), (3,)),
        ("sum_all", (slot(2),), (4,))], [3, 4], 0),
    "of a slice": ([("slice", (input_(), value(1), value(3), value(40), value(3)), (0,)),
                    ("narrow", (slot(0), value(1), value(2), value(6)), (1,)),
                    ("t", (slot(1),), (2,)), ("add", (slot(2), slot(2)), (3,))], [3, 1], 0),
    "sums": ([("narrow", (input_(), value(1), value(5), value(33)), (0,)),
              ("sum", (slot(0), value((0,)), value(False)), (1,)),
              ("sum", (slot(0), value((1,)), value(False)), (2,)),
              ("sum_all", (slot(0),), (3,))], [1, 2, 3], 0),
    "each": ([("unbind", (input_(), value(0)), tuple(range(6))), ("mul", (slot(0), slot(5)), (6,)),
              ("sum", (slot(6), value((0,)), value(False)), (7,))], [6, 7], 0),
    "factors": ([("split", (input_(), value((6, 34)), value(1)), (0, 1)),
                 ("mm", (slot(0), slot(1)), (2,)), ("tanh", (slot(2),), (3,))], [3], 2),
    "in another shape": ([("narrow", (input_(), value(1), value(5), value(30)), (0,)),
                          ("reshape", (slot(0), value((5, 36))), (1,)),
                          ("exp", (slot(1),), (2,))], [2], 0),
    "for an array rule": ([("narrow", (input_(), value(1), value(5), value(30)), (0,)),
                           ("sin", (slot(0),), (3,)), ("flip", (slot(0), value((1,))), (1,)),
                           ("exp", (slot(1),), (2,))], [2, 3], 2),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("order", ["rows", "columns"])
def test_slices_are_what_array_rules_give(name, order):
    rows, wanted, others = CASES[name]
    found, values = steps(*rows)
    array = X if order == "rows" else np.asfortranarray(X)
    strides = tuple(step // 4 for step in array.strides)
    program = Program(inputs=[Spec(X.shape, strides, "f4")], steps=found, outputs=wanted)
    segment = build(program)
    assert segment is not None
    for number, result in zip(wanted, segment.run([array], []), strict=True):
        np.testing.assert_allclose(result, values[number], rtol=1e-5, atol=1e-6)
    assert len(segment.plan.calls) == others


def test_slices_of_slices_are_one():
    graph = Graph()
    x = graph.make("input", (9, 40), "f4", (), 0)
    one = graph.slice(graph.slice(x, 1, 3, 10, 3), 1, 2, 4, 2)
    assert one.args == (x,) and one.attr == ((0, 1), (9, 6)) and one.shape == (9, 4)
    assert graph.slice(x, 0, 0, 9) is x
    check([one])
    with pytest.raises(AssertionError):
        check([graph.make("slice", (9, 4), "f4", (x,), ((0, 1), (30, 6)))])


def test_reshapes_of_what_lies_in_order_copy_nothing():
    found, values = steps(
        ("exp", (input_(),), (0,)), ("reshape", (slot(0), value((4, 60))), (1,)),
        ("sum", (slot(1), value((0,)), value(False)), (2,)),
        ("reshape", (slot(1), value((2, 5, 24))), (3,)), ("flip", (slot(3), value((2,))), (4,)),
        ("reshape", (input_(), value((240,))), (5,)), ("mul", (slot(5), slot(5)), (6,)))
    for wanted, others in (([2, 4, 6], 1), ([0, 2, 6], 0), ([0, 1, 3, 5], 3)):
        program = Program(inputs=[Spec(X.shape, (40, 1), "f4")], steps=found, outputs=wanted)
        segment = build(program)
        assert segment is not None
        results = segment.run([X], [])
        for number, result in zip(wanted, results, strict=True):
            np.testing.assert_allclose(result, values[number], rtol=1e-5, atol=1e-6)
        assert len(segment.plan.calls) == others
        assert len({result.ctypes.data for result in (X, *results)}) == len(wanted) + 1
