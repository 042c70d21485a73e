"""Where results go: old numbers are read before they are overwritten, and nothing is shared."""

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

from recorded import Recorder, arrays_for, compare

from kkori.codegen.compiler import passes
from kkori.codegen.placement import in_place
from kkori.codegen.rules import Spec, Step
from kkori.codegen.segment import build
from kkori.codegen.target import current

SHAPES = [(), (1,), (3,), (40,), (5, 40)]


def swap(shape):
    """a, b = b, a"""
    add = Recorder(shape, shape)
    add.program.steps = [Step("clone", (("input", k),), (k,)) for k in (0, 1)]
    add.program.writes = [(0, 1), (1, 0)]
    return add.program


def rotate(shape):
    """a, b, c = b + c, c, 2 a"""
    add = Recorder(shape, shape, shape)
    a, b, c = (("input", k) for k in range(3))
    add.write(a, add("add", b, c))
    add.write(b, add("clone", c))
    add.write(c, add("mul", a, 2.0))
    return add.program


def old_numbers_given(shape):
    """The old numbers go out, the new ones come in, and the old ones are needed for those."""
    add = Recorder(shape, shape)
    w, g = ("input", 0), ("input", 1)
    add.output(add("clone", w))
    new = add("sub", w, g)
    add.write(w, new)
    add.output(add("mul", w, w))
    return add.program


def new_numbers_given(shape):
    """What overwrites an input is an output as well, twice, and overwrites another input."""
    add = Recorder(shape, shape, shape)
    w, g, other = (("input", k) for k in range(3))
    new = add("sub", w, g)
    add.write(w, new)
    add.write(other, new)
    add.output(new, add("clone", new))
    return add.program


def sum_of_old(shape):
    """A sum over what is overwritten, that the new numbers need."""
    add = Recorder(shape, shape)
    w, g = ("input", 0), ("input", 1)
    total = add("sum_all", add("mul", w, w))
    add.write(w, add("sub", w, add("mul", g, total)))
    add.output(total, add("sum_all", w))
    return add.program


def chain(shape):
    """Each new number is made of another new one."""
    add = Recorder(shape, shape, shape)
    w, m, g = (("input", k) for k in range(3))
    mean = add("add", add("mul", m, 0.9), g)
    add.write(m, mean)
    add.write(w, add("sub", w, mean))
    return add.program


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", [swap, rotate, old_numbers_given, new_numbers_given, sum_of_old,
                                  chain])
def test_old_numbers_are_read_before_they_are_overwritten(make, shape):
    program = make(shape)
    segment, arrays = build(program), arrays_for(program)
    for _ in range(3):
        outputs = compare(segment, program, arrays, [])
        assert not any(np.shares_memory(one, two) for k, one in enumerate(outputs)
                       for two in (*outputs[:k], *arrays))


@pytest.mark.parametrize("rows", [2, 4, 5, 40])
def test_turned_and_stretched_results(rows):
    add = Recorder((rows, 7), (7, rows), (rows,))
    a, b, c = (("input", k) for k in range(3))
    add.output(add("t", a), add("t", add("mul", a, 2.0)), add("expand", c, (3, rows)))
    add.write(b, add("t", add("add", a, 1.0)))
    add.write(a, add("t", b))
    program = add.program
    compare(build(program), program, arrays_for(program), [])


def test_the_gradient_of_a_weight_that_is_read_turned():
    """Each number of w is read at two addresses: it cannot be overwritten where it is computed."""
    add = Recorder((40, 40))
    w = ("input", 0)
    add.write(w, add("sub", w, add("t", w)))
    _, goals, schedule, buffers, _ = passes(add.program, current())
    ((target, value),) = goals.writes
    assert not in_place(target, value, schedule) and len(schedule.stages) == 2
    compare(build(add.program), add.program, arrays_for(add.program), [])


def test_what_can_be_is_written_in_place():
    _, goals, schedule, buffers, _ = passes(chain((40,)), current())
    assert all(value in buffers.aliases for _, value in goals.writes)
    assert len(schedule.stages) == 1 and buffers.count == 3


def test_nothing_is_overwritten_before_a_library_is_called():
    add = Recorder((40,), (40,))
    w, g = ("input", 0), ("input", 1)
    add.write(w, add("sub", w, g))
    add.program.steps.append(Step("flip", (g, ("value", (0,))), (1,), (Spec((40,), (1,), "f4"),)))
    add.write(g, ("slot", 1))
    _, goals, schedule, buffers, _ = passes(add.program, current())
    assert schedule.barrier == 1
    assert all(schedule.home[value] >= 1 for value in buffers.aliases)
    assert goals.writes[0][1] in buffers.aliases, "it is computed late, not copied"
    compare(build(add.program), add.program, arrays_for(add.program), [])
