"""Batches of matrix products: read where they are, in views and slices, and shared by threads."""

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

import agreement

from kkori.codegen.graph import Graph
from kkori.codegen.matrices import matrices_of
from kkori.codegen.program import Program, Spec, Step
from kkori.codegen.segment import build


def numbers(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def spec(array):
    return Spec(array.shape, tuple(step // array.itemsize for step in array.strides),
                array.dtype.str[1:])


def check(a, b, target=None):
    """``a @ b``, natively, and as np.matmul has it."""
    wanted = np.matmul(a, b)
    step = Step("matmul", (("input", 0), ("input", 1)), (0,), (
        Spec(wanted.shape, (), wanted.dtype.str[1:]),))
    segment = build(Program([spec(a), spec(b)], 0, [step], [0]), target)
    assert not [call for call in segment.plan.calls if call.kind != "reshape"]
    found, = segment.run([a, b], [])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=(
        1e-5 if a.dtype == np.float32 else 1e-13) * np.abs(wanted).max())
    return segment


SHAPES = [((3, 5, 7), (3, 7, 4)), ((2, 3, 8, 16), (2, 3, 16, 8)), ((4, 1, 5), (4, 5, 6)),
          ((4, 6, 5), (4, 5, 1)), ((4, 6, 1), (4, 1, 5)), ((5, 3, 4), (4, 6)),
          ((1, 3, 4), (1, 4, 6)), ((2, 1, 3, 4), (5, 4, 6)), ((3, 4), (5, 4, 6)),
          ((7, 33, 40), (7, 40, 35)), ((2, 3, 2, 4, 5), (2, 3, 2, 5, 3))]


@pytest.mark.parametrize("shapes", SHAPES)
def test_shapes(shapes, target):
    check(*(numbers(*shape) for shape in shapes), target)


def test_doubles():
    check(numbers(3, 5, 7, dtype=np.float64), numbers(3, 7, 4, dtype=np.float64))


@pytest.mark.parametrize("left, right", [
    ((0, 2, 1, 3), (0, 2, 3, 1)), ((1, 0, 2, 3), (0, 1, 3, 2)), ((3, 1, 2, 0), (2, 1, 3, 0))])
def test_axes_in_another_order(left, right):
    """As heads are, which attention takes out of one matrix."""
    x = numbers(4, 6, 5, 6)
    a, b = x.transpose(left), x.transpose(right)
    size = min(a.shape[-1], b.shape[-2])
    count = [min(pair) for pair in zip(a.shape[:2], b.shape[:2], strict=True)]
    check(a[:count[0], :count[1], :, :size], b[:count[0], :count[1], :size])


def test_slices_are_no_copies():
    """Queries and keys are parts of one product's columns."""
    x, both = numbers(6, 10, 8), (("input", 0), ("value", (4, 4)), ("value", 2))
    shape = (6, 10, 4)
    steps = [Step("split", both, (0, 1), (Spec(shape, (), "f4"),) * 2),
             Step("transpose", (("slot", 1), ("value", 1), ("value", 2)), (2,), (
                 Spec((6, 4, 10), (), "f4"),)),
             Step("matmul", (("slot", 0), ("slot", 2)), (3,), (Spec((6, 10, 10), (), "f4"),))]
    segment = build(Program([spec(x)], 0, steps, [3]))
    assert not segment.plan.calls and segment.kernels == 0
    np.testing.assert_allclose(segment.run([x], [])[0], x[..., :4] @ x[..., 4:].swapaxes(1, 2),
                               rtol=0, atol=1e-5)


def test_who_computes_it_changes_no_bit():
    a, b = numbers(64, 40, 50), numbers(64, 50, 60)
    segment = check(a, b)
    assert segment.plan.shared
    found = [results[0] for results in agreement.by_threads(segment, [a, b])]
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_large_matrices_are_left_to_a_library():
    a, b = numbers(2, 300, 8), numbers(2, 8, 300)
    wanted = np.matmul(a, b)
    step = Step("matmul", (("input", 0), ("input", 1)), (0,), (Spec(wanted.shape, (), "f4"),))
    segment = build(Program([spec(a), spec(b)], 0, [step], [0]))
    assert [call.kind for call in segment.plan.calls] == ["row"]


def test_where_matrices_are():
    graph = Graph()
    x = graph.make("input", (6, 5, 8), "f4", (), 0)
    strides = {x: (40, 8, 1)}
    part = graph.slice(graph.slice(x, 2, 4, 4), 0, 1, 3, 2)
    assert matrices_of(part, strides) == (x, 44, (80,), 8, False)
    assert matrices_of(graph.permute(part, (0, 2, 1)), strides) == (x, 44, (80,), 8, True)
    assert matrices_of(graph.expand(x, (2, 6, 5, 8)), strides) == (x, 0, (0, 40), 8, False)
    assert matrices_of(graph.permute(x, (2, 1, 0)), strides) is None
    assert matrices_of(graph.slice(x, 2, 0, 4, 2), strides) is None
