"""Nests as functions: how they may be cut, what ends them, what threads make of them."""

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

import recorded
from recorded import NUMBERS, Recorder, arrays_for, compare

from kkori import settings
from kkori.codegen import emit, native
from kkori.codegen.compiler import passes
from kkori.codegen.segment import build
from kkori.codegen.target import current, host


@pytest.fixture
def all_shared(monkeypatch):
    """However little there is to do, threads share it."""
    monkeypatch.setattr(emit, "WORK_TO_SHARE", 1)
    monkeypatch.setattr(native, "WORK_TO_SHARE", 1)
    before = settings.get_num_threads()
    yield
    settings.set_num_threads(before)


def emitted(program):
    _, _, schedule, buffers, _ = passes(program, host())
    return [emit.emit_nest(f"nest{k}", nest, schedule.stored, buffers, host())
            for k, nest in enumerate(schedule.stages)]


def test_small_nests_end_themselves():
    for nest in emitted(recorded.network(100, 512)):
        assert nest.extent == nest.grain and not nest.finish


def test_large_nests_are_cut_and_ended_by_a_function_of_their_own():
    first, second = emitted(recorded.network(2000, 100_000))
    assert first.finish and "@nest0.finish(" in first.text
    assert not second.finish
    assert first.extent == 2000 and second.extent == 100_000
    assert first.extent > first.grain and second.extent > second.grain


def test_totals_are_gathered_in_the_loop_that_writes_the_columns():
    add = Recorder((1000,))
    x = add("exp", ("input", 0))
    add.output(x, add("sum_all", x))
    (nest,) = emitted(add.program)
    assert nest.text.count("define ") == 1
    loops = nest.text.count("phi i64")
    assert loops == 2, "whole blocks, and what is left"


def test_a_few_numbers_need_no_loop():
    add = Recorder((3,))
    add.output(add("exp", ("input", 0)))
    (nest,) = emitted(add.program)
    assert " phi " not in nest.text


SHARED = [(recorded.network, (100, 512)), (recorded.network, (70, 37)),
          (recorded.polynomial, (333,)), (recorded.logistic, (200, 9)), (recorded.linreg, (50,))]


@pytest.mark.parametrize("make, size", SHARED)
def test_parts_make_a_whole(make, size, all_shared):
    """The same bits for every number of threads, and what the array rules say."""
    program = make(*size)
    segment = build(program)
    given = NUMBERS[:program.numbers]
    found = []
    for threads in (1, 2, 3, 7, 1):
        settings.set_num_threads(threads)
        arrays = arrays_for(program)
        outputs = compare(segment, program, arrays, given, 1e-4)
        found.append([array.copy() for array in (*outputs, *arrays)])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name, start", [("sum_all", 0), ("max_all", None), ("min_all", None)])
@pytest.mark.parametrize("length", [5, 16, 64, 100, 1000])
def test_totals_of_every_kind(name, start, length):
    add = Recorder((length,))
    x = add("sub", ("input", 0), 0.5)
    add.output(x, add(name, x))
    segment = build(add.program)
    nests = passes(add.program, current()).schedule.nests
    assert [nest.totals for nest in nests] != [[]]
    arrays = arrays_for(add.program)
    compare(segment, add.program, arrays, [])
    arrays[0][-1] = np.nan
    assert np.isnan(segment.run(arrays, [])[1])


@pytest.mark.parametrize("length", [3, 16, 100, 1000])
def test_functions_of_what_the_same_loop_stores(length):
    """They are written side by side for several vectors, but not before what they are made of."""
    add = Recorder((length,), (length,))
    x = add("exp", ("input", 0))
    y = add("sigmoid", add("sub", x, ("input", 1)))
    z = add("tanh", add("mul", y, add("sin", ("input", 1))))
    add.output(x, y, z, add("sum_all", add("log", add("add", z, 1.0))))
    compare(build(add.program), add.program, arrays_for(add.program), [])


def test_functions_of_sums_stand_side_by_side():
    text = emitted(recorded.logistic(2000))[0].text
    calls = [line for line in text.splitlines() if "@kkori." in line and "v16f32" in line]
    if len(calls) < 8:
        pytest.skip("a machine with shorter vectors")
    names = [line[line.index("@kkori."):].split("(")[0] for line in calls]
    assert names[:4] == names[:1] * 4


def test_lanes_that_are_gathered_come_as_one_vector():
    """Four would be four times as much to compile, and no faster."""
    add = Recorder((64, 640), (640, 64))
    add.output(add("add", add("transpose", ("input", 0), 0, 1), ("input", 1)))
    (nest,) = emitted(add.program)
    assert nest.text.count("insertelement") == host().lanes("float")
    compare(build(add.program), add.program, arrays_for(add.program), [])


def test_endings_with_several_functions_are_short():
    nest, _ = emitted(recorded.logistic(1024, 4000))
    ending = nest.text.partition(".finish(")[2]
    assert 2 <= ending.count("@kkori.") <= emit.SIDE_BY_SIDE
