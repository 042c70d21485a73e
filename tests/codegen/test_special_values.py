"""Every row with a loop rule agrees with its array rule on special values, shapes and layouts.

The rows come from the table of rules, their arguments from ordinary programs (`ordinary`), run
forward and backward: what is differentiated and what a gradient rule calls are rows like others.
A rule that no program reaches fails `test_no_rule_is_left_out`. `agreement` says what agreeing
means where denormals are concerned.
"""

import functools
import itertools
import warnings

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

import agreement
import ordinary

from kkori.codegen.graph import Graph
from kkori.codegen.lowering import LOWER, lower
from kkori.codegen.segment import build

TINY = {4: 2.0**-126, 8: 2.0**-1022}
EPS = {4: 2.0**-23, 8: 2.0**-52}


# Samples: calls of each row, as ordinary programs make them.

def pattern(arg):
    """What tells two calls of a row apart: types and numbers of dimensions, and settings."""
    if isinstance(arg, np.ndarray):
        return arg.dtype.str, arg.ndim
    if isinstance(arg, tuple) and all(isinstance(one, int) for one in arg):
        return len(arg)  # a shape, or axes
    return arg > 0 if isinstance(arg, float) else repr(arg)


@functools.cache
def samples():
    """By row: its different calls."""
    found = {}
    for _, loss in ordinary.programs():
        for call in ordinary.calls_of(loss):
            row, args, _ = call
            if row in LOWER:
                found.setdefault(row, {}).setdefault(tuple(map(pattern, args)), call)
    return {row: different(calls.values()) for row, calls in found.items()}


def different(calls):
    """Without elementwise calls that differ in shapes only: those are tried in many shapes."""
    found = {}
    for call in calls:
        key = [pattern(arg) for arg in call[1]]
        if elementwise(call):
            key = [(part[0], part[1] > 0) if isinstance(part, tuple) else part for part in key]
        found.setdefault(tuple(key), call)
    return list(found.values())


def test_no_rule_is_left_out():
    assert sorted(samples()) == sorted(LOWER)


# Arrays with special values in them.

def edges(dtype):
    """Numbers at which something may go wrong."""
    limits = np.finfo(dtype)
    size = [0.0, float(limits.tiny) / 8, float(limits.tiny), 1e-3, 0.5, 1.0, 2.5, 3.0, 6.0, 30.0,
            90.0, 800.0, float(limits.max)]
    return np.array([np.nan, np.inf, -np.inf, *size, *(-one for one in size)], dtype)


def special(count, size, dtype, seed):
    """`count` arrays of `size` elements: all pairs of edges first, then edges and numbers mixed."""
    random, known = np.random.default_rng(seed), edges(dtype)
    if count == 1:
        start = [known]
    else:
        start = np.array(list(itertools.product(known, known))).T
        random.shuffle(start, axis=1)
    found = []
    for number in range(count):
        mixed = np.where(random.random(size) < 0.3, random.choice(known, size),
                         random.standard_normal(size) * 3)
        head = start[number][:size] if number < len(start) else []
        mixed[:len(head)] = head
        found.append(mixed.astype(dtype))
    return found


def laid_out(array, how):
    """The same numbers in another memory order."""
    if how == "columns" and array.ndim > 1:
        return np.asfortranarray(array)
    if how == "apart" and array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if how == "stretched" and array.ndim:
        return np.broadcast_to(array[..., :1], array.shape)
    return array


SHAPES = [((), "rows"), ((3, 229), "rows"), ((29, 31), "columns"), ((800,), "apart"),
          ((5, 7, 23), "stretched")]


def is_float(arg):
    return isinstance(arg, np.ndarray) and arg.dtype.kind == "f"


def shaped(call, shape):
    """The call with arrays of another shape (those without dimensions stay so)."""
    row, args, results = call
    return (row, [np.ones(shape if arg.ndim else (), arg.dtype) if isinstance(arg, np.ndarray)
                  else arg for arg in args], [np.ones(shape, one.dtype) for one in results])


def elementwise(call):
    """Whether a call takes arrays of any one shape to arrays of that shape, by maps alone."""
    if not any(isinstance(arg, np.ndarray) and arg.ndim for arg in call[1]):
        return False
    for shape in ((7, 11), (13,)):
        graph = Graph()
        try:
            slots = lower(agreement.program_of([shaped(call, shape)])[0], graph)
        except (IndexError, ValueError, AssertionError):
            return False
        if slots is None or any(value.shape != shape for value in slots.values()) or not {
                value.kind for value in graph.values} <= {"input", "constant", "map", "view"}:
            return False
    return True


def graph_of(call):
    """What a call becomes."""
    graph = Graph()
    lower(agreement.program_of([call])[0], graph)
    return graph


def mixes_zeros(graph):
    """Whether loops take the larger or smaller of two numbers, or sums: then NumPy has rules of
    its own for zeros of both signs, of which `agreement` tells."""
    return any(value.kind in ("reduce", "dot", "conv") or value.kind == "map" and value.attr in (
        "max", "min") for value in graph.values)


ODD = [[], [np.nan], [0.0, -0.0], [np.inf], [-np.inf], ["tiny", 90.0, -90.0]]


def rounds(call, dtype):
    """Rounds of cases, each the arguments of a call with special values; the cases of one round
    have the shapes and layouts of the next's. float64 gets some of them."""
    every = 1 if dtype.itemsize == 4 else 2
    if elementwise(call):
        yield [anew(call, dtype, shape, how, seed)
               for seed, (shape, how) in list(enumerate(SHAPES))[every - 1::every]]
        return
    for some in (ODD[:3], ODD[3:]):
        yield [[laid_out(sprinkled(arg, odd, dtype, seed), how) if is_float(arg) else arg
                for arg in call[1]]
               for seed, (odd, how) in enumerate(zip(some, ("rows", "columns", "apart"),
                                                     strict=True))]
        if every == 2:
            return


def anew(call, dtype, shape, how, seed):
    """The arguments of an elementwise call, in another shape."""
    random = np.random.default_rng(seed)
    values = iter(special(sum(map(is_float, call[1])), int(np.prod(shape)), dtype, seed))
    found = []
    for arg in call[1]:
        if is_float(arg):
            value = next(values)
            found.append(laid_out(value.reshape(shape), how) if arg.ndim
                         else np.asarray(value[random.integers(value.size)]))
        elif isinstance(arg, np.ndarray):
            found.append(np.asarray(random.random(shape) < 0.5))
        else:
            found.append(arg)
    return found


def sprinkled(array, odd, dtype, seed):
    """Near the numbers a program had, some of them replaced."""
    random = np.random.default_rng(seed)
    found = array.astype(dtype)
    odd = [TINY[dtype.itemsize] / 4 if one == "tiny" else one for one in odd]
    if odd:
        chosen = random.random(array.shape) < 0.2
        found = np.where(chosen, random.choice(np.array(odd, dtype), array.shape), found)
    return np.array(found, order="C")


# Comparing.

def agree(found, wanted, exact, how):
    """What is wrong with `found`, if anything: equal but for rounding is fine, that is as near to
    the exact values as the array rule is, or nearly so. Zeros have one sign unless they were
    rounded to zero. `how`: (elementwise, mixes zeros, error allowed for another reason)."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return "another shape or type", ...
    if wanted.dtype.kind != "f":
        return ("another value", found != wanted) if (found != wanted).any() else None
    size = wanted.dtype.itemsize
    largest = float(np.finfo(wanted.dtype).max)
    with np.errstate(all="ignore"):
        real = np.isfinite(wanted)
        own = np.where(real, abs(wanted - exact), 0)
        own = np.where(np.isfinite(own), own, 0)
        if not how[0]:  # sums of numbers of several sizes
            own = own.max(initial=0) + 4 * EPS[size] * abs(wanted[real]).max(initial=0)
        allowed = 64 * EPS[size] * abs(wanted) + 8 * own + 4 * TINY[size] + how[2]
        wide = found.astype(exact.dtype)
        far = ~(abs(wide - wanted) <= allowed)
        # what overflows on the way need not, where a product and a sum are rounded once
        mended = np.isinf(wanted) & (abs(exact) <= largest) & (
            abs(wide - exact) <= 1e-3 * abs(exact))
    for what, wrong in (
            ("NaN", np.isnan(found) != np.isnan(wanted)),
            ("infinity", (np.isinf(found) | np.isinf(wanted)) & (found != wanted) & ~mended),
            ("too far", far & real),
            ("sign of zero", (found == 0) & (wanted == 0) & (exact == 0) & (not how[1]) & (
                np.signbit(found) != np.signbit(wanted)))):
        if wrong.any():
            return what, wrong
    return None


def slack(row, args):
    """Error allowed where large parts of a sum take each other away: it grows with the operands."""
    if not row.startswith(CANCELLING):
        return 0
    with np.errstate(all="ignore"):
        size = functools.reduce(np.multiply, [
            np.clip(abs(arg), 1, 1e30) for arg in args if is_float(arg)])
    return 4 * EPS[args[0].itemsize] * np.nan_to_num(size)


CANCELLING = ("gelu", "binary_cross_entropy_with_logits")


def widened(args):
    """The same numbers with more digits."""
    return [arg.astype(np.float64 if arg.itemsize == 4 else np.longdouble) if is_float(arg)
            else arg for arg in args]


def exact_results(row, args, wanted):
    """Results with more digits, where the array rule can."""
    try:
        found = agreement.results_of(row, widened(args), wanted)
    except (KeyError, ValueError, TypeError):
        return wanted
    fits = [one.dtype.itemsize > other.dtype.itemsize for one, other in zip(
        found, wanted, strict=True)]
    return [one if good else other for one, other, good in zip(found, wanted, fits, strict=True)]


def where(args, wrong):
    """The operands at the first place where something is wrong."""
    if wrong is ... or not wrong.any():
        return ""
    place = tuple(np.argwhere(wrong)[0])
    return [arg[place] if isinstance(arg, np.ndarray) and arg.shape == wrong.shape
            else arg.shape if isinstance(arg, np.ndarray) and arg.size > 1 else arg
            for arg in args]


def check(call, dtype, target=None):
    """One call of a row with special values in its arguments, by loops and by its array rule."""
    graph, segment = graph_of(call), None
    assert has_whole_numbers(call) or not graph.rows, f"{call[0]} is not a loop"
    how = elementwise(call), mixes_zeros(graph)
    for cases in rounds(call, dtype):
        segment = check_round(call, cases, how, segment, target)


def check_round(call, cases, how, segment, target):
    """Some cases at once; the segment that has run them."""
    row, wanted = call[0], [agreement.results_of(call[0], args, call[2]) for args in cases]
    known = next((one for one in wanted if one is not None), call[2])
    program, arrays = agreement.program_of([
        (row, args, [np.empty_like(one) for one in results or known])
        for args, results in zip(cases, wanted, strict=True)])
    segment = segment or build(program, target)
    assert segment is not None, f"{row} is not lowered"
    try:
        outputs = iter(quietly(segment.run, arrays, []))
    except segment.Doubtful:  # then array rules run: they may raise an error
        if len(cases) > 1:
            for args in cases:
                check_round(call, [args], how, None, target)
        else:
            assert wanted[0] is None or any(np.isnan(one).any() for one in wanted[0]), row
        return segment
    assert None not in wanted, f"{row}: the array rule raises an error, the loops do not"
    for args, results in zip(cases, wanted, strict=True):
        exact = exact_results(row, args, results)
        for one, near in zip(results, exact, strict=True):
            found = next(outputs)
            wrong = agree(found, one, near, (*how, slack(row, args) if how[0] else 0))
            assert wrong is None, (row, wrong[0], where(args, wrong[1]), found[wrong[1]][:3],
                                   one[wrong[1]][:3])
    return segment


def has_whole_numbers(call):
    """Whether integers come in or go out: some of those calls are left to array rules."""
    return any(isinstance(one, np.ndarray) and one.dtype.kind == "i"
               for one in (*call[1], *call[2]))


def quietly(function, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(*args)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("row", sorted(LOWER))
def test_loops_agree_with_array_rules(row, dtype):
    for call in samples()[row] if dtype is np.float32 else samples()[row][:3]:
        check(call, np.dtype(dtype))


# Arrays of no elements, whole programs.

def emptied(value):
    """An array without its first dimension's elements; a shape likewise."""
    return value[:0] if isinstance(value, np.ndarray) and value.ndim else value


def test_arrays_of_no_elements_are_left_to_array_rules():
    for row, calls in samples().items():
        for _, args, results in calls:
            given = [emptied(arg) for arg in args]
            if any(isinstance(arg, np.ndarray) and not arg.size for arg in given):
                found = agreement.program_of([(row, given, [emptied(one) for one in results])])
                assert build(found[0]) is None, row


@functools.cache
def recorded():
    """By name: the calls of each ordinary program."""
    return {name: ordinary.calls_of(loss) for name, loss in ordinary.programs()}


def largest(array):
    """Of its finite numbers, whatever their sign."""
    return abs(array[np.isfinite(array)]).max(initial=0) if is_float(array) else 0


def near(found, wanted, operands):
    """Rounding errors of a whole program in float32: they grow with the operands of a row, which
    may take each other away."""
    if wanted.dtype.kind == "f":
        slack = 1e-5 * largest(wanted) + 1e-6 * max(map(largest, operands), default=0) + 3e-7
        np.testing.assert_allclose(found, wanted, 2e-3, slack)
    else:
        assert (found == wanted).mean() > 0.9  # a comparison may turn at a rounding error


@pytest.mark.parametrize("name", [name for name, _ in ordinary.programs()])
def test_ordinary_programs_forward_and_backward(name):
    """They compile whole, and every value on the way is what the array rules gave."""
    program, arrays = agreement.program_of(recorded()[name])
    segment = build(program)
    assert segment is not None
    outputs = quietly(segment.run, arrays, [])
    wanted = quietly(agreement.by_array_rules, program, arrays)
    for step in program.steps:
        operands = [arrays[value] if kind == "input" else wanted[value]
                    for kind, value in step.args if kind != "value"]
        for slot in step.slots:
            near(outputs[slot], wanted[slot], operands)
