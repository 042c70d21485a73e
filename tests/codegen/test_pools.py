"""Pooling as loops: values, places of the largest and gradients are what array rules give."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import agreement
from agreement import flushing

import kkori.nn.functional  # noqa: F401  (fills the table)
from kkori.codegen import target
from kkori.codegen.graph import Graph, check
from kkori.codegen.program import Program, Spec, Step
from kkori.codegen.segment import build
from kkori.ops.table import TABLE

ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1.0, 1e-40]
ONE = (1, 1)


def spec(array):
    return Spec(array.shape, tuple(step // array.itemsize for step in array.strides),
                array.dtype.str[1:])


def given(*arguments):
    return tuple(arg if isinstance(arg, tuple) and arg[:1] in (("slot",), ("input",))
                 else ("value", arg) for arg in arguments)


def numbers(shape, dtype, odd, seed=0):
    random = np.random.default_rng(seed)
    found = random.integers(-3, 4, shape) / 4 + random.standard_normal(shape) * (seed % 2)
    if odd:
        found = np.where(random.random(shape) < 0.3, random.choice(ODD, shape), found)
    return found.astype(dtype)


def out_of(space, kernel, stride, padding, dilation):
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(
        space, kernel, stride, padding, dilation, strict=True))


def largest(x, g, kernel, stride, padding, dilation):
    """Steps that take the largest and give its gradient back, and what array rules make of them."""
    dims = len(kernel)
    windows = kernel, stride, padding, dilation, g.shape[2:]
    row = f"max_pool{dims}d_with_indices"
    with flushing(), np.errstate(invalid="ignore"):
        best, places = TABLE[row].array(x, *windows)
        back = TABLE["max_pool_backward"].array(g, places, x.shape[2:])
    steps = [Step(row, given(("input", 0), *windows), (0, 1), (spec(best), spec(places))),
             Step("max_pool_backward", given(("input", 1), ("slot", 1), x.shape[2:]), (2,),
                  (spec(back),)),
             Step("max_pool_values", given(("input", 0), *windows), (3,), (spec(best),))]
    return steps, [best, places, back, best]


def average(x, g, kernel, stride, padding, dilation):
    size = prod(kernel)
    with flushing(), np.errstate(invalid="ignore"):
        mean = TABLE["avg_pool2d"].array(x, kernel, stride, padding, g.shape[2:], size)
        back = TABLE["avg_pool_backward"].array(g, x.shape[2:], kernel, stride, padding, size)
    steps = [Step(f"avg_pool{len(kernel)}d",
                  given(("input", 0), kernel, stride, padding, g.shape[2:], size), (0,),
                  (spec(mean),)),
             Step("avg_pool_backward",
                  given(("input", 1), x.shape[2:], kernel, stride, padding, size), (1,),
                  (spec(back),))]
    return steps, [mean, back]


def compared(pool, shape, kernel, stride=None, padding=None, dilation=None, *, dtype="f4",
             odd=False, order="C", wanted=None, there=None):
    """Run a pool and its gradient as loops, compare with the array rules; how many rows NumPy
    has computed."""
    stride, dims = stride or kernel, len(kernel)
    padding, dilation = padding or (0,) * dims, dilation or (1,) * dims
    out = out_of(shape[2:], kernel, stride, padding, dilation)
    x = np.array(numbers(shape, dtype, odd), order=order)
    g = np.array(numbers((*shape[:2], *out), dtype, odd, 1), order=order)
    g.reshape(-1)[:2] = -0.0
    steps, values = pool(x, g, kernel, stride, padding, dilation)
    wanted = range(len(values)) if wanted is None else wanted
    segment = build(Program(inputs=[spec(x), spec(g)], steps=steps, outputs=list(wanted)), there)
    assert segment is not None
    for number, found in zip(wanted, segment.run([x, g], []), strict=True):
        expected = values[number]
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        if pool is largest:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, 1e-5, 1e-6)
        if number == (2 if pool is largest else 1):  # gradients are sums that begin with 0
            assert not np.signbit(found[found == 0]).any()
    return len({call.step for call in segment.plan.calls if call.kind == "row"})


CASES = [((2, 3, 8, 6), (2, 2)), ((2, 3, 9, 7), (2, 2)), ((2, 3, 9, 9), (3, 3)),
         ((1, 2, 40, 134), (2, 2)), ((1, 1, 41, 135), (2, 2)), ((1, 2, 13, 200), (3, 3)),
         ((1, 1, 4, 4), (4, 4)), ((2, 3, 5, 5), (1, 1)), ((2, 3, 1, 37), (1, 2)),
         ((2, 2, 6, 2), (3, 1)), ((3, 3, 33, 5), (2, 5)), ((40, 5, 2, 2), (2, 2)),
         ((2, 2, 4, 6, 5), (2, 3, 2))]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("odd", [False, True], ids=["ordinary", "odd"])
@pytest.mark.parametrize("shape, kernel", CASES)
def test_the_largest_and_its_gradient_need_no_array_rule(shape, kernel, odd, dtype):
    for order in "CF":
        assert compared(largest, shape, kernel, dtype=dtype, odd=odd, order=order,
                        wanted=[0, 2, 3]) == 0


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("odd", [False, True], ids=["ordinary", "odd"])
@pytest.mark.parametrize("shape, kernel", [*CASES, ((2, 3, 7, 9), (7, 9))])
def test_averages_and_their_gradient_need_no_array_rule(shape, kernel, odd, dtype):
    for order in "CF":
        assert compared(average, shape, kernel, dtype=dtype, odd=odd, order=order) == 0


@pytest.mark.parametrize("name", target.FAMILIES)
@pytest.mark.parametrize("shape, kernel", CASES)
def test_on_every_target(shape, kernel, name):
    there = target.named(name)
    if there.runs_here:
        compared(largest, shape, kernel, wanted=[0, 2], there=there)
        compared(average, shape, kernel, there=there)


def test_indices_that_somebody_wants_are_computed_by_the_array_rule_alone():
    for shape, kernel in CASES:  # denormals are 0 in loops only: there other places may win
        assert compared(largest, shape, kernel) == 1


TWO = (2, 2)
KERNELS = {  # windows that overlap, lie apart, are padded, or have many places
    "a stem": ((2, 3, 12, 14), (3, 3), TWO, ONE), "overlap": ((2, 3, 11, 13), (3, 3), TWO),
    "at every pixel": ((2, 2, 7, 6), (3, 3), ONE, ONE), "apart": ((2, 3, 11, 13), TWO, (3, 3)),
    "neighbours": ((2, 3, 11, 13), (3, 3), (3, 3), ONE), "many places": ((1, 2, 21, 25), (5, 5)),
    "a line": ((2, 3, 1, 40), (1, 3), (1, 2), (0, 1)), "sides differ": (
        (2, 2, 9, 14), (2, 3), (3, 1), (1, 0)), "wide": ((1, 2, 20, 133), (3, 3), ONE, ONE),
    "small": ((3, 40, 2, 2), (3, 3), TWO, ONE),
    "nearly all is padding": ((2, 2, 3, 1), (4, 2), TWO, (2, 1)),
    "large": ((2, 1, 40, 40), (11, 11), (4, 4), (5, 5))}
SPREAD = {"spread": ((2, 3, 11, 13), TWO, TWO, None, TWO), "spread and padded": (
    (2, 2, 12, 11), (3, 2), (1, 2), TWO, (2, 3))}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("odd", [False, True], ids=["ordinary", "odd"])
@pytest.mark.parametrize("name", [*KERNELS, *SPREAD])
def test_windows_that_overlap_or_are_padded(name, odd, dtype):
    form = {**KERNELS, **SPREAD}[name]
    for order in "CF":
        how = {"dtype": dtype, "odd": odd, "order": order}
        assert compared(largest, *form, **how, wanted=[0, 2, 3]) == 0
        assert compared(largest, *form, **how, wanted=[3]) == 0
        if name in KERNELS:
            assert compared(average, *form, **how) == 0


@pytest.mark.parametrize("there", target.FAMILIES)
@pytest.mark.parametrize("name", KERNELS)
def test_these_on_every_target(name, there):
    here = target.named(there)
    if here.runs_here:
        compared(largest, *KERNELS[name], wanted=[0, 2], there=here)
        compared(average, *KERNELS[name], there=here)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_windows_of_nothing_but_the_smallest_number(dtype):
    """The first of a window's pixels is the largest, not the padding before it."""
    x, g = np.full((1, 2, 5, 6), -np.inf, dtype), numbers((1, 2, 3, 3), dtype, False, 1)
    x[0, 1, 3:] = np.nan
    steps, (best, places, back, _) = largest(x, g, (3, 3), TWO, ONE, ONE)
    assert places[0, 0].tolist() == [[0, 1, 3], [6, 7, 9], [18, 19, 21]]
    segment = build(Program(inputs=[spec(x), spec(g)], steps=steps, outputs=[0, 2]))
    assert not segment.plan.calls
    for found, expected in zip(segment.run([x, g], []), (best, back), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_windows_that_reach_beyond_the_end():
    """As with `ceil_mode`: there are more windows than fit."""
    x, g = numbers((2, 3, 8, 10), "f4", True), numbers((2, 3, 4, 5), "f4", True, 1)
    for pool in (largest, average):
        steps, values = pool(x, g, (3, 3), TWO, (0, 0), ONE)
        wanted = [0, 2] if pool is largest else [0, 1]
        segment = build(Program(inputs=[spec(x), spec(g)], steps=steps, outputs=wanted))
        assert not segment.plan.calls
        for number, found in zip(wanted, segment.run([x, g], []), strict=True):
            np.testing.assert_allclose(found, values[number], 1e-6)


def test_who_computes_it_changes_no_bit():
    x, g = (np.random.default_rng(0).standard_normal(shape).astype("f4")
            for shape in ((8, 40, 56, 56), (8, 40, 28, 28)))
    for pool, wanted in ((largest, [0, 2]), (average, [0, 1])):
        steps, _ = pool(x, g, (3, 3), TWO, ONE, ONE)
        segment = build(Program(inputs=[spec(x), spec(g)], steps=steps, outputs=wanted))
        assert segment.plan.shared, "too little work to share: the test shows nothing"
        runs = agreement.by_threads(segment, [x, g])
        for one, other in itertools.product(runs[:1], runs[1:]):
            assert all(map(np.array_equal, one, other))


@pytest.mark.parametrize("pool, form, values, gradients", [
    (largest, ((2, 2, 5, 6, 7), (2, 2, 2), ONE + (1,)), 0, 2),
    (largest, ((2, 2, 5, 6, 7), (2, 2, 2), TWO + (2,), ONE + (1,)), 1, 2),
    (average, ((2, 2, 5, 6, 7), (2, 2, 2), ONE + (1,)), 0, 1),
    (average, ((2, 2, 5, 6, 7), (2, 2, 2), TWO + (2,), ONE + (1,)), 1, 1)])
def test_what_has_no_loops_is_left_to_array_rules(pool, form, values, gradients):
    """Volumes with padding; where gradients are wanted, with windows that overlap."""
    assert compared(pool, *form, wanted=[3 if pool is largest else 0]) == values
    assert compared(pool, *form, wanted=[0, 2] if pool is largest else [1]) == gradients


def test_parts_of_gradients():
    """Slices of what is stretched, and what is stretched of slices and of what is stretched."""
    g = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    windows = (2, 3), (2, 3), (0, 0), 1
    wide = TABLE["avg_pool_backward"].array(g, (8, 15), *windows)
    again = TABLE["avg_pool_backward"].array(wide, (16, 45), *windows)
    starts = itertools.product((0, 1, 3), (1, 2))
    steps = [Step("avg_pool_backward", given(("input", 0), (8, 15), *windows), (0,), (spec(wide),)),
             Step("avg_pool_backward", given(("slot", 0), (16, 45), *windows), (1,),
                  (spec(again),))]
    expected = [wide, again]
    for number, (start, step) in enumerate(starts, 2):
        part = again[..., start:40:step]
        steps.append(Step("slice", given(("slot", 1), 3, start, 40, step), (number,),
                          (Spec(part.shape, (), "f4"),)))
        expected.append(part)
    total = expected[2].sum((0, 1, 2))
    steps.append(Step("sum", given(("slot", 2), (0, 1, 2), False), (8,), (spec(total),)))
    program = Program(inputs=[spec(g)], steps=steps, outputs=[*range(1, 9)])
    segment = build(program)
    for found, one in zip(segment.run([g], []), [*expected[1:], total], strict=True):
        np.testing.assert_allclose(found, one, 1e-6)


def test_parts_of_places_in_windows():
    """The number of a place in its window counts from anywhere, by any step."""
    x = numbers((2, 2, 12, 60), "f4", False, 1)
    g = numbers((2, 2, 4, 20), "f4", False, 3)
    steps, (_, _, back, _) = largest(x, g, (3, 3), (3, 3), (0, 0), ONE)
    cuts = [(3, start, 57, step) for start in (1, 3, 4) for step in (1, 2)] + [(2, 2, 11, 2)]
    expected = []
    for number, (dim, start, stop, step) in enumerate(cuts, 4):
        part = back[(slice(None),) * dim + (slice(start, stop, step),)]
        steps.append(Step("slice", given(("slot", 2), dim, start, stop, step), (number,),
                          (Spec(part.shape, (), "f4"),)))
        expected.append(part)
    segment = build(Program(inputs=[spec(x), spec(g)], steps=steps,
                            outputs=[*range(4, 4 + len(cuts))]))
    assert not segment.plan.calls
    for found, one in zip(segment.run([x, g], []), expected, strict=True):
        np.testing.assert_array_equal(found, one)


def test_stretched_values_are_checked():
    graph = Graph()
    x = graph.make("input", (2, 5), "f4", (), 0)
    both = graph.stretch(graph.stretch(x, 0, 3, 6), 1, 2, 11)
    assert both.args == (x,) and both.attr == (3, 2) and both.shape == (6, 11)
    assert graph.stretch(x, 0, 1, 2) is x
    check([both, graph.stretch(both, 1, 2, 22), graph.stretch(graph.slice(x, 1, 1, 2), 1, 2, 4)])
    with pytest.raises(AssertionError):
        check([graph.make("stretch", (2, 4), "f4", (x,), (1, 1))])
