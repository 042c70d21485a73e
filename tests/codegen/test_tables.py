"""Rows looked up and added to by number: natively, as array rules have it, within the arrays."""

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

import agreement

from kkori import nn
from kkori.codegen.program import Program, Spec, Step
from kkori.codegen.segment import build
from kkori.ops.table import TABLE

assert nn  # it brings the rows

random = np.random.default_rng(0)


def numbers(*shape, dtype=np.float32):
    return random.standard_normal(shape).astype(dtype)


def whole(length, *shape):
    return random.integers(0, length, shape)


def spec(array):
    return Spec(array.shape, tuple(step // array.itemsize for step in array.strides),
                array.dtype.str[1:])


def built(row, args, target=None):
    """A segment of one row, its arrays, and what its array rule gives."""
    arrays = [arg for arg in args if isinstance(arg, np.ndarray)]
    wanted = TABLE[row].array(*args)
    places = iter(range(len(arrays)))
    given = tuple(("input", next(places)) if isinstance(arg, np.ndarray) else ("value", arg)
                  for arg in args)
    step = Step(row, given, (0,), (Spec(wanted.shape, (), wanted.dtype.str[1:]),))
    return build(Program(list(map(spec, arrays)), 0, [step], [0]), target), arrays, wanted


def check(row, *args, target=None):
    """The row, natively, as often as one likes."""
    segment, arrays, wanted = built(row, args, target)
    assert not segment.plan.calls, "an array rule was called"
    for _ in range(2):  # what the first round leaves in its memory changes nothing
        found, = segment.run(arrays, [])
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(found, wanted, rtol=0, atol=(
                1e-5 if wanted.dtype == np.float32 else 1e-14))
        else:
            np.testing.assert_array_equal(found, wanted)
    return segment, arrays


WIDTHS = [1, 2, 7, 16, 19, 300]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("shape", [(), (1,), (40,), (6, 4), (2, 3, 5)])
def test_embeddings(shape, width, target):
    places = np.asarray(whole(9, *shape))
    check("embedding", numbers(9, width), places, -1, False, target=target)
    for padding in (-1, 3):  # most rows are met several times
        check("embedding_backward", numbers(*shape, width), places, 9, padding, False,
              target=target)


def test_the_padding_row_gets_nothing_whatever_there_is():
    g = numbers(4, 5)
    g[1] = np.nan
    segment, arrays = check("embedding_backward", g, np.array([0, 2, 1, 0]), 3, 2, False)
    assert (segment.run(arrays, [])[0][2] == 0).all()


@pytest.mark.parametrize("width", [2, 5, 19])
def test_doubles(width):
    check("embedding", numbers(9, width, dtype=np.float64), whole(9, 6, 4), -1, False)
    check("embedding_backward", numbers(6, 4, width, dtype=np.float64), whole(9, 6, 4), 9, -1,
          False)


def strided():
    """Indices of one shape that lie otherwise."""
    wide = whole(9, 12, 20)
    return [wide[::2, ::5], wide.T[:6, :4], wide[5::-1, 3::-1], wide[:6, 7:11],
            np.broadcast_to(wide[0, :4], (6, 4)), np.broadcast_to(wide[:6, :1], (6, 4))]


@pytest.mark.parametrize("number", range(6))
def test_indices_that_lie_otherwise(number):
    places = strided()[number]
    check("embedding", numbers(9, 5), places, -1, False)
    check("embedding_backward", numbers(6, 4, 5), places, 9, -1, False)


def test_tables_and_gradients_that_lie_otherwise():
    places = whole(9, 6, 4)
    for table in (numbers(5, 9).T, numbers(18, 10)[::2, ::2], numbers(20, 7)[9:0:-1, 1:6]):
        check("embedding", table, places, -1, False)
    for g in (numbers(5, 4, 6).T, numbers(6, 8, 10)[:, ::2, ::2], numbers(4, 6, 5).swapaxes(0, 1),
              np.broadcast_to(numbers(5), (6, 4, 5)), np.broadcast_to(numbers(6, 4, 1), (6, 4, 5))):
        check("embedding_backward", g, places, 9, -1, False)


def test_indices_of_tensors(target):
    """From the end, along several dimensions, broadcast; of tables of integers, too."""
    table, rows = numbers(9, 7, 5), whole(9, 6, 4)
    turned, column = np.where(rows % 2, rows - 9, rows), whole(7, 6, 1)
    for places in ((turned,), (rows, column), (turned, column, whole(5, 4))):
        how = (True,) * len(places)
        check("index", table, how, *places, target=target)
        check("index_backward", numbers(6, 4, *table.shape[len(places):]), table.shape, how,
              *places, target=target)
    check("index", whole(99, 9, 5), (True,), turned, target=target)
    check("index", whole(99, 9), (True,), turned, target=target)
    check("index_select", table, 0, rows[0], target=target)
    check("index_add", table, 0, rows[0], numbers(4, 7, 5), target=target)


@pytest.mark.parametrize("row, args", [
    ("index", (numbers(4, 9), (False, True), whole(9, 6))), ("index_select", (
        numbers(4, 9), 1, whole(9, 6))),
    ("embedding_backward", (numbers(6, 5), whole(9, 6), 9, -1, True)),
    ("index_add", (numbers(4, 9), 1, whole(9, 6), numbers(4, 6)))])
def test_what_stays_with_array_rules(row, args):
    segment, arrays, wanted = built(row, args)
    assert [call.kind for call in segment.plan.calls] == ["row"]
    np.testing.assert_array_equal(segment.run(arrays, [])[0], wanted)


WRONG = [9, -1, 2**24 + 1, 2**40, 2**53 + 1, 2**63 - 1, -2**63, -10]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_row_is_doubted(wrong):
    """Nothing is read or written outside the arrays, and the round counts for nothing."""
    good = whole(9, 6)
    for row, args in {"embedding": (numbers(9, 5), good, -1, False),
                      "embedding_backward": (numbers(6, 5), good, 9, -1, False),
                      "index_select": (numbers(9, 5), 0, good),
                      "index": (numbers(9, 5), (True,), good),
                      "index_backward": (numbers(6, 5), (9, 5), (True,), good),
                      "index_add": (numbers(9, 5), 0, good, numbers(6, 5))}.items():
        if wrong == -1 and row in ("index", "index_backward"):
            continue  # the last row
        segment, arrays, _ = built(row, args)
        segment.run(arrays, [])
        place = next(k for k, array in enumerate(arrays) if array.dtype == np.int64)
        arrays[place] = good.copy()
        arrays[place][2] = wrong
        with pytest.raises(segment.Doubtful):
            segment.run(arrays, [])


def test_large_tables_are_told_exactly():
    """Where numbers of 32 bits do not know neighbours apart."""
    table = np.zeros((2**24 + 1, 1), np.float32)
    table[-1] = 7
    segment, arrays, _ = built("embedding", (table, np.array([2**24, 3]), -1, False))
    np.testing.assert_array_equal(segment.run(arrays, [])[0], [[7], [0]])
    arrays[1] = np.array([2**24 + 1, 3])
    with pytest.raises(segment.Doubtful):
        segment.run(arrays, [])


@pytest.mark.parametrize("row", ["embedding", "embedding_backward"])
def test_who_computes_it_changes_no_bit(row):
    rows, width, count = 301, 40, 50_000
    places = whole(rows, count)
    args = (numbers(rows, width), places, -1, False) if row == "embedding" else (
        numbers(count, width), places, rows, 7, False)
    segment, arrays, wanted = built(row, args)
    assert segment.plan.shared, "too little work to share: the test shows nothing"
    found = [results[0] for results in agreement.by_threads(segment, arrays)]
    np.testing.assert_allclose(found[0], wanted, rtol=0, atol=1e-3)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_rows_are_added_in_their_order():
    places, g = np.array([1, 0, 1, 1, 0]), numbers(5, 37) * np.float32(1e4)
    wanted = np.zeros((2, 37), np.float32)
    for place, row in zip(places, g, strict=True):
        wanted[place] += row
    segment, arrays, _ = built("embedding_backward", (g, places, 2, -1, False))
    np.testing.assert_array_equal(segment.run(arrays, [])[0], wanted)


def test_one_lookup_wanted_twice():
    """Results are arrays of their own, of integers as well."""
    table, places = whole(99, 9, 5), whole(9, 6)
    like = (Spec((6, 5), (), "i8"),)
    steps = [Step("index", (("input", 0), ("value", (True,)), ("input", 1)), (slot,), like)
             for slot in range(2)]
    segment = build(Program([spec(table), spec(places)], 0, steps, [0, 1]))
    one, two = segment.run([table, places], [])
    assert not np.shares_memory(one, two)
    np.testing.assert_array_equal(one, table[places])
    np.testing.assert_array_equal(two, table[places])
