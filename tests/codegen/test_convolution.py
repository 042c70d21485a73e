"""Convolutions of every form are what their array rules say, on every target and by any threads."""

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

import agreement

from kkori import nn
from kkori.codegen.convolution import Convolution, copies, parts, planes
from kkori.codegen.program import Program, Spec, Step
from kkori.codegen.segment import build
from kkori.ops.table import TABLE

assert nn  # it brings the rows

# Batch, channels, outputs, space, kernel, stride, padding (before, after), dilation, groups.
FORMS = {
    "a row": (3, 2, 5, (11,), (3,), (1,), ((1, 1),), (1,)),
    "a long row": (2, 1, 7, (70,), (5,), (2,), ((0, 3),), (2,)),
    "one channel": (4, 1, 8, (14, 14), (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "padded": (2, 8, 16, (9, 12), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "padded on one side": (2, 3, 4, (6, 7), (4, 2), (1, 1), ((1, 2), (0, 1)), (1, 1)),
    "padded more than the window": (1, 2, 3, (4, 5), (2, 2), (1, 1), ((3, 3), (3, 3)), (1, 1)),
    "single pixels": (3, 20, 9, (7, 7), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "pixels left out": (2, 4, 3, (9, 10), (1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1)),
    "steps": (3, 6, 7, (13, 12), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "steps that differ": (2, 3, 5, (12, 15), (5, 3), (3, 1), ((2, 2), (0, 1)), (1, 1)),
    "spread": (2, 3, 4, (13, 11), (3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2)),
    "spread steps": (2, 3, 4, (14, 15), (3, 2), (2, 3), ((1, 1), (2, 0)), (3, 2)),
    "one window": (5, 3, 33, (5, 4), (5, 4), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "pixels no window sees": (2, 2, 3, (10, 10), (2, 2), (4, 4), ((0, 0), (0, 0)), (1, 1)),
    "many images": (70, 2, 5, (6, 6), (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "groups": (2, 6, 9, (9, 12), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
    "groups of single pixels": (3, 20, 8, (7, 7), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 4),
    "groups of rows": (3, 6, 10, (40,), (3,), (2,), ((2, 2),), (2,), 2),
    "groups of many outputs": (2, 4, 66, (8, 8), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 2),
    "every channel alone": (3, 7, 7, (14, 13), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 7),
    "small channels alone": (2, 5, 5, (4, 4), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 5),
    "large channels alone": (2, 3, 3, (40, 40), (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 3),
    "every channel in steps": (3, 6, 6, (15, 12), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 6),
    "several outputs a channel": (2, 5, 15, (9, 10), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 5),
    "the same in steps": (2, 4, 8, (9, 10), (3, 2), (2, 1), ((1, 0), (1, 1)), (1, 2), 4),
}
ROWS = ("convolution", "conv_input", "conv_weight")


def call(row, form, dtype=np.float32):
    """A row's arguments: its arrays, then the rest."""
    batch, channels, outputs, space, kernel, stride, padding, dilation, groups = (*form, 1)[:9]
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, channels, *space)).astype(dtype)
    weight = random.standard_normal((outputs, channels // groups, *kernel)).astype(dtype)
    bias = random.standard_normal(outputs).astype(dtype)
    how = stride, padding, dilation, groups
    result = TABLE["convolution"].array(x, weight, bias, *how)
    grad = random.standard_normal(result.shape).astype(dtype)
    return {"convolution": ([x, weight, bias], [*how]),
            "conv_input": ([grad, weight], [None, x.shape, *how]),
            "conv_weight": ([grad, x], [weight.shape, *how])}[row]


def program_of(row, arrays, rest, result):
    """The program of one row."""
    inputs = [Spec(array.shape, tuple(step // array.itemsize for step in array.strides),
                   array.dtype.str[1:]) for array in arrays]
    args = (*(("input", number) for number in range(len(arrays))),
            *(("value", value) for value in rest))
    return Program(inputs, 0, [Step(row, args, (0,), (
        Spec(result.shape, (), result.dtype.str[1:]),))], [0])


def assert_native(segment):
    assert not segment.plan.calls, "an array rule was called"


def assert_close(found, wanted):
    scale = np.abs(wanted).max() * (2e-6 if wanted.dtype == np.float32 else 1e-14)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=8 * scale)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("row", ROWS)
def test_forms(row, name, target):
    arrays, rest = call(row, FORMS[name])
    wanted = TABLE[row].array(*arrays, *rest)
    segment = build(program_of(row, arrays, rest, wanted), target)
    assert_native(segment)
    for _ in range(2):  # what the first round leaves in its memory changes nothing
        assert_close(segment.run(arrays, [])[0], wanted)


@pytest.mark.parametrize("name", ["steps", "groups", "every channel in steps"])
@pytest.mark.parametrize("row", ROWS)
def test_doubles(row, name):
    arrays, rest = call(row, FORMS[name], np.float64)
    wanted = TABLE[row].array(*arrays, *rest)
    segment = build(program_of(row, arrays, rest, wanted))
    assert_native(segment)
    assert_close(segment.run(arrays, [])[0], wanted)


@pytest.mark.parametrize("name", ["padded", "groups", "several outputs a channel"])
@pytest.mark.parametrize("row", ROWS)
def test_arrays_that_lie_otherwise(row, name):
    """Channels last, and every second pixel."""
    arrays, rest = call(row, FORMS[name])
    wanted = TABLE[row].array(*arrays, *rest)
    last = [np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)
            if array.ndim > 1 else array for array in arrays]
    wide = [np.repeat(array, 2, axis=-1)[..., ::2] for array in arrays]
    for given in (last, wide):
        segment = build(program_of(row, given, rest, wanted))
        assert_native(segment)
        assert_close(segment.run(given, [])[0], wanted)


@pytest.mark.parametrize("form", [
    (16, 16, 24, (20, 20), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    (6, 48, 96, (20, 20), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
    (16, 64, 64, (40, 40), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 64)])
@pytest.mark.parametrize("row", ROWS)
def test_who_computes_it_changes_no_bit(row, form):
    arrays, rest = call(row, form)
    wanted = TABLE[row].array(*arrays, *rest)
    segment = build(program_of(row, arrays, rest, wanted))
    assert segment.plan.shared, "too little work to share: the test shows nothing"
    found = [results[0] for results in agreement.by_threads(segment, arrays)]
    assert_close(found[0], wanted)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


@pytest.mark.parametrize("name", ["padded", "groups", "every channel alone"])
@pytest.mark.parametrize("row, place, odd", [
    ("conv_input", 1, np.inf), ("conv_weight", 1, np.nan), ("conv_weight", 0, np.inf)])
def test_what_is_no_number_is_left_to_array_rules(row, place, odd, name):
    """A zero between rows times infinity would be NaN, where the array rule has a number."""
    arrays, rest = call(row, FORMS[name])
    wanted = TABLE[row].array(*arrays, *rest)
    segment = build(program_of(row, arrays, rest, wanted))
    arrays[place].flat[3] = odd
    with pytest.raises(segment.Doubtful):
        segment.run(arrays, [])


@pytest.mark.parametrize("change", ["volumes", "a huge image"])
def test_what_stays_with_array_rules(change):
    x, weight, how = (2, 4, 6, 6), (4, 4, 3, 3), [(1, 1), ((0, 0),) * 2, (1, 1), 1]
    if change == "volumes":
        x, weight, how[:3] = (*x, 5), (*weight, 3), ((1,) * 3, ((0, 0),) * 3, (1,) * 3)
    else:
        x = (1, 4, 520, 520)
    arrays = [np.ones(x, np.float32), np.ones(weight, np.float32)]
    wanted = TABLE["convolution"].array(*arrays, None, *how)
    segment = build(program_of("convolution", arrays, [None, *how], wanted))
    assert [one.kind for one in segment.plan.calls] == ["row"]
    assert_close(segment.run(arrays, [])[0], wanted)


# Where pixels lie.

def test_every_pixel_that_a_window_sees_is_copied_once():
    for space, kernel, stride, before in ((7, 3, 1, 1), (9, 2, 3, 0), (5, 4, 2, 3)):
        out = (space + 2 * before - kernel) // stride + 1
        conv = Convolution("forward", 1, 1, 1, (space, 1), (kernel, 1), (out, 1), (stride, 1),
                           (before, 0), (1, 1))
        lying = planes(conv)
        line = np.full(lying.length, -1)
        for copy in copies(lying, conv.space):
            for row in range(copy.counts[0]):
                place = copy.place + row * lying.size[1]
                assert line[place] == -1
                line[place] = copy.first[0] + row * copy.step[0]
        (part,) = parts(conv)
        for tap in part.taps:
            seen = line[part.start + tap.offset:][:out]
            pixels = np.arange(out) * stride + tap.place[0] - before
            inside = (pixels >= 0) & (pixels < space)
            assert np.array_equal(seen, np.where(inside, pixels, -1))


def test_the_parts_of_an_input_s_gradient_are_all_its_pixels():
    for space, kernel, stride, before in ((7, 3, 1, 1), (9, 2, 3, 0), (8, 4, 2, 3), (5, 1, 4, 0)):
        out = (space + 2 * before - kernel) // stride + 1
        conv = Convolution("input", 1, 1, 1, (space, 1), (kernel, 1), (out, 1), (stride, 1),
                           (before, 0), (1, 1))
        pixels = [part.first[0] + part.step[0] * k for part in parts(conv)
                  for k in range(part.counts[0])]
        assert sorted(pixels) == list(range(space))
