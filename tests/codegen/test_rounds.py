"""Whole rounds as one call: what they compute, what they overwrite, what they do not."""

import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

import recorded
from recorded import NUMBERS, Recorder, arrays_for, compare

from kkori.codegen import segment as segments
from kkori.codegen.compiler import passes
from kkori.codegen.rules import Spec, Step
from kkori.codegen.segment import build
from kkori.codegen.target import current

ROUNDS = [recorded.linreg, recorded.polynomial, recorded.logistic, recorded.network]
SIZES = {recorded.linreg: [(100,), (7,), (2,), (1,)], recorded.polynomial: [(2000,), (33,), (3,)],
         recorded.logistic: [(2000, 1), (2000, 2), (50, 3), (50, 9), (1, 1)],
         recorded.network: [(100, 512), (7, 37), (1, 3), (33, 100), (5, 1), (3, 3), (64, 2)]}


def numbers_for(program):
    return NUMBERS[:program.numbers]


@pytest.mark.parametrize("make, size", [(make, size) for make in ROUNDS for size in SIZES[make]])
def test_rounds_are_what_array_rules_make_of_them(make, size, target):
    program = make(*size)
    segment = build(program, target)
    arrays = arrays_for(program)
    given = numbers_for(program)
    for factor in (1.0, 0.5, 0.5):
        compare(segment, program, arrays, [factor * number for number in given], 1e-4)


@pytest.mark.parametrize("make, nests", [(recorded.linreg, 1), (recorded.polynomial, 1),
                                         (recorded.logistic, 1), (recorded.network, 2)])
def test_how_many_loop_nests_a_round_takes(make, nests):
    segment = build(make())
    assert segment.kernels == nests
    assert len(segment.functions) == 1, "one call"


def test_inputs_are_overwritten_by_the_loops_themselves():
    program = recorded.network()
    segment = build(program)
    assert len(segment.plan.hidden) < 10  # the output layer's sums; no array for a parameter
    overwritten = {place for place, _ in program.writes}
    found = passes(program, current())
    places = found.buffers.places
    shared = [places[value] for value in found.schedule.stored
              if places[value] < len(program.inputs)]
    assert set(shared) == overwritten


# What is kept from round to round.

def test_the_same_arrays_and_numbers_again():
    program = recorded.linreg()
    segment, arrays, given = build(program), arrays_for(program), [0.1]
    for _ in range(3):
        compare(segment, program, arrays, given)
    assert all(known is array for known, array in zip(segment.inputs, arrays, strict=True))
    wanted, after = recorded.by_rules(program, arrays, given)
    (loss, *_) = segment.run(segment.inputs, given)
    np.testing.assert_allclose(loss, wanted[0], rtol=1e-5)
    np.testing.assert_allclose(arrays[2], after[2], rtol=1e-5)


def test_a_list_of_numbers_that_is_changed_in_place():
    add = Recorder((3,), numbers=1)
    add.output(add("mul", ("input", 0), ("number", 0)))
    segment, array, given = build(add.program), np.ones(3, np.float32), [2.0]
    assert segment.run([array], given)[0][0] == 2
    given[0] = 3.0
    assert segment.run([array], given)[0][0] == 3


@pytest.mark.parametrize("first, second", [(0.0, -0.0), (-0.0, 0.0), (0.0, 1.0)])
def test_zeros_of_both_signs_are_different_numbers(first, second):
    add = Recorder((3,), numbers=1)
    add.output(add("mul", ("input", 0), ("number", 0)))
    segment, array = build(add.program), np.ones(3, np.float32)
    for number in (first, second, first):
        found = segment.run([array], [number])[0]
        np.testing.assert_array_equal(np.signbit(found), np.signbit([number] * 3))


def test_nan_as_a_number():
    add = Recorder((3,), numbers=1)
    add.output(add("mul", ("input", 0), ("number", 0)))
    segment, array = build(add.program), np.ones(3, np.float32)
    for number in (float("nan"), 2.0, float("nan")):
        np.testing.assert_array_equal(segment.run([array], [number])[0], [number] * 3)


def test_outputs_that_somebody_holds_stay_as_they_are():
    program = recorded.linreg()
    segment, arrays = build(program), arrays_for(program)
    kept = [segment.run(arrays, [0.1]) for _ in range(4)]
    assert len({float(outputs[0]) for outputs in kept}) == 4
    places = {array.__array_interface__["data"][0] for outputs in kept for array in outputs}
    assert len(places) == 12


def test_one_output_that_is_held_costs_one_new_array():
    program = recorded.linreg()
    segment, arrays = build(program), arrays_for(program)
    loss, *_ = segment.run(arrays, [0.1])
    del _
    ids = [id(array) for array in segment.results]
    value = float(loss)
    segment.run(arrays, [0.1])
    assert [id(array) for array in segment.results][1:] == ids[1:] and id(segment.results[0]) != (
        ids[0])
    assert float(loss) == value


def test_another_layout_in_memory_is_addressed_where_it_is():
    add = Recorder((4,))
    add.program.inputs[0] = Spec((4,), (2,), "f4")
    add.output(add("mul", ("input", 0), 2.0))
    segment = build(add.program)
    for seed in (1, 2):
        array = np.random.default_rng(seed).random(8).astype(np.float32)[::2]
        np.testing.assert_array_equal(segment.run([array], [])[0], array * 2)
    array = np.arange(8, dtype=np.float32)[::2]
    array.flags.writeable = False
    np.testing.assert_array_equal(segment.run([array], [])[0], array * 2)


# Counters.

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_stored_into_single_elements(dtype):
    program = recorded.linreg()
    program.numbers = 3
    places = range(len(program.inputs), len(program.inputs) + 3)
    program.inputs += [Spec((), (), np.dtype(dtype).str[1:])] * 3
    program.stores = [(places[0], 1), (places[1], 2), (places[2], 2)]
    segment = build(program)
    assert segment.kernels == 1
    arrays = [*arrays_for(recorded.linreg()), *(np.zeros((), dtype) for _ in places)]
    for step in (1.0, 2.0, 3.5):
        segment.run(arrays, [0.1, step, 10 * step])
        assert [float(array) for array in arrays[places[0]:]] == [step, 10 * step, 10 * step]


# Doubts.

def bad_logistic(n=50, features=3):
    program = recorded.logistic(n, features)
    arrays = arrays_for(program)
    arrays[1][3] = np.nan  # a target that makes the loss NaN
    return program, arrays


@pytest.mark.parametrize("features", [1, 3, 9, 40])
def test_a_doubt_leaves_everything_as_it_was(features):
    program, arrays = bad_logistic(50, features)
    program.stores = [(4, 0)]
    segment, before = build(program), [array.copy() for array in arrays]
    with pytest.raises(segment.Doubtful):
        segment.run(arrays, [0.1])
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)
    assert segment.rounds == 0
    arrays[1][3] = 0.5
    compare(segment, program, arrays, [0.1], 1e-4)
    assert segment.rounds == 1


def test_large_parameters_are_overwritten_in_place_behind_the_check():
    program = recorded.logistic(50, 40)
    found = passes(program, current())
    weights = next(value for value in found.schedule.stored if found.buffers.places[value] == 2)
    assert weights.attr != "copy"
    assert found.schedule.barrier > 0


# Interrupts.

def with_cumsum():
    """A round in which a row is run by its array rule, between two drivers."""
    add = Recorder((4, 6), (4, 6), numbers=1)
    x, t = ("input", 0), ("input", 1)
    doubled = add("mul", x, 2.0)
    add.program.steps.append(Step("flip", (doubled, ("value", (1,))), (1,),
                                  (Spec((4, 6), (6, 1), "f4"),)))
    end = add("sub", ("slot", 1), t)
    add.write(x, end)
    add.write(t, add("mul", end, ("number", 0)))
    add.output(end)
    return add.program


class Interrupter:
    """Raises KeyboardInterrupt before the n-th bytecode that `segment.py` runs."""

    def __init__(self, moment):
        self.left = moment

    def __call__(self, frame, event, arg):
        if frame.f_code.co_filename != segments.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if self.left == 0:
                self.left = -1
                raise KeyboardInterrupt
            self.left -= 1
        return self


def interrupted(segment, arrays, given, moment):
    """Whether the interrupt came before the round was over for Python."""
    sys.settrace(Interrupter(moment))
    try:
        segment.run(arrays, given)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def forget(segment):
    """As it was before its first round."""
    segment.inputs[:], segment.numbers, segment.free = [None] * len(segment.inputs), None, -1
    segment.results[:], segment.threads = [None] * len(segment.results), 0
    segment.hidden.clear()


@pytest.mark.parametrize("steady", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("make", [recorded.linreg, recorded.logistic, with_cumsum])
def test_an_interrupt_at_any_moment_leaves_a_whole_round_or_none(make, steady):
    program = make()
    segment, given = build(program), [0.1]
    complete = incomplete = moment = 0
    while True:
        arrays = arrays_for(program)
        if not steady:
            forget(segment)
        before, rounds = [array.copy() for array in arrays], segment.rounds
        wanted, after = recorded.by_rules(program, arrays, given)
        if not interrupted(segment, arrays, given, moment):
            break
        done = segment.rounds > rounds
        for array, expected in zip(arrays, after if done else before, strict=True):
            np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-4)
        for array, expected in zip(segment.outputs() if done else (), wanted, strict=False):
            np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-4)
        compare(segment, program, arrays, [0.2], 1e-4)
        complete, incomplete, moment = complete + done, incomplete + (not done), moment + 1
    assert complete > 3 and incomplete > 20, "interrupts came on both sides of the native call"
