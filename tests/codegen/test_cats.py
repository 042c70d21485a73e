"""Arrays joined along a dimension: parts are copied from where they are, natively."""

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

from kkori.codegen.graph import Graph, check
from kkori.codegen.joins import merged
from kkori.codegen.program import Program, Spec, Step
from kkori.codegen.segment import build
from kkori.core.threads import get_num_threads, set_num_threads
from kkori.ops.table import TABLE


def numbers(*shape, dtype=np.float32):
    found = np.random.default_rng(sum(shape)).standard_normal(shape)
    return found > 0 if dtype is np.bool_ else found.astype(dtype)


def spec(array):
    return Spec(array.shape, tuple(step // array.itemsize for step in array.strides),
                array.dtype.str[1:])


def joined(row, dim, arrays, target=None, native=True):
    """The row on these arrays, natively, and as its array rule has it: the same bits."""
    wanted = TABLE[row].array(dim, *arrays)
    args = (("value", dim), *(("input", number) for number in range(len(arrays))))
    step = Step(row, args, (0,), (Spec(wanted.shape, (), wanted.dtype.str[1:]),))
    segment = build(Program([spec(array) for array in arrays], 0, [step], [0]), target)
    assert [call.kind for call in segment.plan.calls] == ([] if native else ["row"])
    found, = segment.run(list(arrays), [])
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert found.tobytes() == np.ascontiguousarray(wanted).tobytes()
    return segment


SHAPES = [(0, (3, 5), (4, 5)), (1, (3, 5), (3, 28)), (0, (7,), (1,), (19,)),
          (1, (32, 28), (32, 128)), (2, (2, 3, 5), (2, 3, 1)),
          (1, (2, 3, 5), (2, 1, 5), (2, 40, 5)), (0, (1, 1), (1, 1)), (1, (1, 9), (1, 8)),
          (1, (2, 3, 5, 7), (2, 4, 5, 7)), (3, (2, 3, 5, 7), (2, 3, 5, 17)),
          (0, *[(2, 33)] * 64)]


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_shapes(case, target):
    dim, *shapes = case
    joined("cat", dim, [numbers(*shape) for shape in shapes], target)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_stacks(dim, dtype, target):
    joined("stack", dim, [numbers(6, 37, dtype=dtype) for _ in range(3)], target)
    joined("stack", 0, [numbers(dtype=dtype) for _ in range(5)], target)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_parts_in_any_order(dim, dtype, target):
    """Permuted, reversed, with gaps, stretched."""
    x = numbers(12, 20, 36, dtype=dtype)
    row = np.broadcast_to(x[0, :, :1], (20, 18))
    plane = np.broadcast_to(x[0, 0, :18], (20, 18))
    joined("stack", dim, [x[1, :, ::2], x[2, ::-1, 18:], x[:, 3].T[:20, :12].repeat(2, 1)[:, :18],
                          row, plane], target)
    parts = [x[::2], x.transpose(0, 1, 2)[6:], x.reshape(12, 36, 20).transpose(0, 2, 1)[::-2]]
    joined("cat", dim, parts, target)


def test_bits_stay_as_they_are():
    """Denormals, NaN with all they carry, zeros of both signs."""
    bits = np.random.default_rng(1).integers(0, 2**32, (5, 100), np.uint32)
    bits[:, ::3] &= 0x807FFFFF
    array = bits.view(np.float32)
    joined("cat", 1, [array, array[:, ::2]])
    joined("stack", 2, [array, array])


def test_what_is_left_to_the_array_rule():
    joined("cat", 0, [numbers(2, 3).astype(np.int64)] * 2 + [np.ones((1, 3), np.int64)],
           native=False)
    joined("cat", 0, [numbers(2, 3) for _ in range(65)], native=False)


def test_one_part_is_handed_on():
    joined("cat", 0, [numbers(5, 3)])


# In programs.

def native(steps, outputs, arrays, wanted):
    """What a program gives that leaves native code nowhere."""
    segment = build(Program([spec(array) for array in arrays], 0, steps, outputs))
    assert segment.plan.calls == () and len(segment.plan.drivers) == 1
    for _ in range(2):
        for found, expected in zip(segment.run(arrays, []), wanted, strict=True):
            np.testing.assert_array_equal(found, expected)
    return segment


def of(*shape):
    return (Spec(shape, (), "f4"),)


def slots(*numbers):
    return tuple(("slot", number) for number in numbers)


def values(*given):
    return tuple(("value", one) for one in given)


def test_parts_that_are_computed():
    """Maps, sums, slices of them, and numbers that are known now."""
    x = numbers(6, 40)
    steps = [Step("neg", (("input", 0),), (0,), of(6, 40)),
             Step("narrow", (*slots(0), *values(1, 3, 10)), (1,), of(6, 10)),
             Step("amax", (*slots(0), *values((1,), True)), (2,), of(6, 1)),
             Step("filled", (("input", 0), *values((6, 7), 1.5)), (3,), of(6, 7)),
             Step("t", slots(0), (4,), of(40, 6)),
             Step("cat", (("value", 1), *slots(0, 1, 2, 3)), (5,), of(6, 58)),
             Step("abs", slots(5), (6,), of(6, 58)),
             Step("cat", (("value", 1), *slots(4, 4)), (7,), of(40, 12)),
             Step("expand", (*slots(2), ("value", (6, 7))), (8,), of(6, 7)),
             Step("stack", (("value", 0), *slots(3, 8, 3)), (9,), of(3, 6, 7))]
    most = (-x).max(1, keepdims=True)
    whole = np.concatenate([-x, -x[:, 3:13], most, np.full((6, 7), 1.5, np.float32)], 1)
    half = np.full((6, 7), 1.5, np.float32)
    native(steps, [6, 7, 5, 9], [x], [
        abs(whole), np.concatenate([-x.T, -x.T], 1), whole,
        np.stack([half, np.broadcast_to(most, (6, 7)), half])])


def test_joined_again_and_multiplied():
    """As the steps of a recurrent net: input and state are joined, states are stacked."""
    x, h, w = numbers(4, 8), numbers(4, 16), numbers(24, 16)
    steps, state = [], ("input", 1)
    for k in range(5):
        steps += [Step("cat", (("value", 1), ("input", 0), state), (3 * k,), of(4, 24)),
                  Step("mm", (("slot", 3 * k), ("input", 2)), (3 * k + 1,), of(4, 16)),
                  Step("relu", (("slot", 3 * k + 1),), (3 * k + 2,), of(4, 16))]
        state = "slot", 3 * k + 2
    steps.append(Step("stack", (("value", 1), *slots(*range(2, 15, 3))), (15,), of(4, 5, 16)))
    segment = build(Program([spec(array) for array in (x, h, w)], 0, steps, [15]))
    assert segment.plan.calls == ()
    found, = segment.run([x, h, w], [])
    states = []
    for _ in range(5):
        h = np.maximum(np.concatenate([x, h], 1) @ w, 0)
        states.append(h)
    np.testing.assert_allclose(found, np.stack(states, 1), rtol=1e-5, atol=1e-5)


def test_inputs_are_read_before_they_are_overwritten():
    x, y = numbers(6, 8), numbers(6, 8)
    steps = [Step("cat", (("value", 0), ("input", 0), ("input", 1)), (0,), of(12, 8)),
             Step("narrow", (*slots(0), *values(0, 6, 6)), (1,), of(6, 8)),
             Step("neg", (("input", 0),), (2,), of(6, 8))]
    program = Program([spec(x), spec(y)], 0, steps, [0])
    program.writes = [(0, 1), (1, 2)]
    wanted = np.concatenate([x, y])
    given = [x.copy(), y.copy()]
    found, = build(program).run(given, [])
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(given[0], y)
    np.testing.assert_array_equal(given[1], -x)


@pytest.mark.parametrize("dim, shapes", [
    (0, [(700, 500), (300, 500), (900, 500)]), (1, [(900, 700), (900, 1), (900, 500)]),
    (1, [(1, 3, 250, 400), (1, 7, 250, 400)]), (0, [(400_000,), (600_001,)])])
def test_who_copies_changes_no_bit(dim, shapes):
    arrays = [numbers(*shape) for shape in shapes]
    threads = get_num_threads()
    try:
        for count in (1, 2, 3):
            set_num_threads(count)
            assert joined("cat", dim, arrays).plan.shared
    finally:
        set_num_threads(threads)


def test_large_stacks_are_shared():
    for dim in (0, 1, 2):
        assert joined("stack", dim, [numbers(500, 600), numbers(600, 500).T,
                                     np.broadcast_to(numbers(600), (500, 600))]).plan.shared


# Their parts.

def test_axes_that_are_like_one():
    assert merged([(3, 20, 20), (4, 5, 5), (5, 1, 1)]) == [(60, 1, 1)]
    assert merged([(3, 40, 20), (1, 7, 9), (4, 5, 5), (5, 1, 1)]) == [(3, 40, 20), (20, 1, 1)]
    assert merged([(3, 4, 0), (4, 1, 0)]) == [(12, 1, 0)]
    assert merged([(1, 1, 1)]) == []


def test_the_checker_knows_what_fits():
    graph = Graph()
    x = graph.make("input", (6, 5), "f4", (), 0)
    whole = graph.cat([x, graph.slice(x, 1, 0, 2)], 1)
    assert whole.shape == (6, 7)
    check([whole])
    with pytest.raises(AssertionError):
        check([graph.make("cat", (6, 8), "f4", whole.args, 1)])
    with pytest.raises(AssertionError):
        check([graph.make("cat", (12, 5), "f4", whole.args, 0)])
