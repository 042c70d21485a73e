"""Every row that loops compute agrees with its array rule: on ordinary numbers, NaN, infinities,
zeros of both signs and denormals; without dimensions, flat, permuted and broadcast."""

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

import kkori.nn.functional
import kkori.special  # noqa: F401  (both fill the table)
from kkori.codegen.compiler import passes
from kkori.codegen.graph import Graph
from kkori.codegen.lowering import BY_ARRAY_RULE, LOWER, Program, Spec, Step, lower
from kkori.codegen.segment import build
from kkori.codegen.target import current
from kkori.ops.table import TABLE

ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1.0, -1.0, 3.4e38, 90.0, -90.0]
X, Y, POSITIVE, UNIT, TARGET, TRUTH = "xyputb"  # what an argument is drawn from
SHAPES = [(), (67,), (5, 40), (2, 3, 20)]


def draw(kind, shape, random, odd):
    """Numbers of one kind; with `odd`, unusual ones among them."""
    array = random.standard_normal(shape) * 3
    if kind == TRUTH:
        return np.asarray(array > 0)
    if kind == POSITIVE:
        array = abs(array) + 0.1
    if kind in (UNIT, TARGET):
        array = 1 / (1 + np.exp(-array))
    if odd and kind in (X, Y) and array.size > 12:
        flat = array.reshape(-1)
        flat[:12], flat[20:32] = ODD, ODD[::-1] if kind == X else ODD
        flat[30] = 0.5
    if odd and kind == UNIT and array.size > 2:
        array.reshape(-1)[:2] = 0, 1
    return np.asarray(array, np.float32)


def variants(kinds):
    """Arrays for a row: each shape, with odd numbers, and in another memory order."""
    random = np.random.default_rng(3)
    for shape in SHAPES:
        yield [draw(kind, shape, random, shape != (67,)) for kind in kinds]
    yield [np.asfortranarray(draw(kind, (33, 18), random, False)) for kind in kinds]
    yield [draw(kind, (40, 9), random, False)[::2, ::3] for kind in kinds]


def program_for(row, cases, arguments):
    """One program that runs the row on all cases."""
    program, arrays = Program(), []
    for number, case in enumerate(cases):
        given = iter(case)
        args = []
        for argument in arguments:
            if argument in tuple("xyputb") and isinstance(argument, str):
                array = next(given)
                steps = tuple(step // array.itemsize for step in array.strides)
                program.inputs.append(Spec(array.shape, steps, array.dtype.str[1:]))
                args.append(("input", len(arrays)))
                arrays.append(array)
            else:
                args.append(("value", argument))
        program.steps.append(Step(row, tuple(args), (number,)))
        program.outputs.append(number)
    return program, arrays


def flushed(value):
    """Denormals as the compiled step sees them: zeros."""
    if not isinstance(value, np.ndarray) or value.dtype != np.float32:
        return value
    return np.where(abs(value) < 2.0 ** -126, value * 0, value)


def compare(found, wanted, tolerance):
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    if wanted.dtype == bool:
        np.testing.assert_array_equal(found, wanted)
        return
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=1e-37 + tolerance / 10,
                               equal_nan=True)


ONE = (X,)
TWO = (X, Y)
ELU = (1.0, 1.0, 1.0)
SIMPLE = {
    "add": TWO, "sub": TWO, "mul": TWO, "div": TWO, "rsub": TWO, "maximum": TWO, "minimum": TWO,
    "neg": ONE, "abs": ONE, "sqrt": (POSITIVE,), "exp": ONE, "exp2": ONE, "expm1": ONE,
    "log": ONE, "log2": ONE, "log1p": ONE, "sin": ONE, "cos": ONE, "tan": ONE, "atan": ONE,
    "tanh": ONE, "sigmoid": ONE, "erf": ONE, "floor": ONE, "ceil": ONE, "trunc": ONE,
    "frac": (POSITIVE,), "square": ONE, "reciprocal": ONE, "rsqrt": (POSITIVE,), "sign": ONE,
    "sgn": ONE, "positive": ONE, "lt": TWO, "le": TWO, "gt": TWO, "ge": TWO, "eq": TWO,
    "ne": TWO, "isnan": ONE, "isinf": ONE, "isfinite": ONE, "logical_not": (TRUTH,),
    "logical_and": (TRUTH, TRUTH), "logical_or": (TRUTH, TRUTH), "bitwise_not": (TRUTH,),
    "where": (TRUTH, X, Y), "pow": (POSITIVE, UNIT), "relu": ONE, "relu_backward": TWO,
    "sigmoid_backward": (Y, UNIT), "prelu_kernel": (X, POSITIVE)}
SETTINGS = [
    ("add", X, 0.5), ("mul", X, -2), ("rsub", X, 1.5), ("gt", X, 0), ("round", X, 0),
    ("clamp", X, -1.0, 2.0), ("clamp_min", X, 0.5, None), ("clamp_max", X, None, 0.5),
    ("where", TRUTH, X, 0.0), ("masked_fill", X, TRUTH, -5.0),
    *(("pow_scalar", X, n) for n in (1, 2, 3, 4, 5, 8, -1, -2, 2.0)),
    *(("pow_scalar", POSITIVE, n) for n in (0.5, -0.5, 1.7)),
    ("gelu", X, False), ("gelu", X, True), ("silu", X, None), ("mish", X, None),
    ("softplus", X, (1, 20)), ("softplus", X, (2.0, 10)), ("log_sigmoid", X, None),
    ("elu", X, ELU), ("elu", X, (1.5, 1.1, 0.7)), ("celu", X, ELU), ("leaky_relu", X, 0.01),
    ("leaky_relu", X, 1.5), ("hardtanh", X, (-1.0, 1.0)), ("hardsigmoid", X, None),
    ("hardswish", X, None), ("threshold", X, (0.5, 7.0)),
    ("gelu_backward", Y, X, False), ("gelu_backward", Y, X, True), ("silu_backward", Y, X, None),
    ("mish_backward", Y, X, None), ("softplus_backward", Y, X, (1, 20)),
    ("log_sigmoid_backward", Y, X, None), ("elu_backward", Y, X, ELU),
    ("celu_backward", Y, X, ELU), ("leaky_relu_backward", Y, X, 0.01),
    ("hardtanh_backward", Y, X, (-1.0, 1.0)), ("hardsigmoid_backward", Y, X, None),
    ("hardswish_backward", Y, X, None), ("threshold_backward", Y, X, (0.5, 7.0)),
    ("sum_all", UNIT), ("mean_all", UNIT), ("sum", UNIT, None, False), ("max_all", X),
    ("min_all", X)]
LOSSES = [(name, how) for name, how in (("mse_loss", None), ("smooth_l1_loss", 0.7),
                                        ("huber_loss", 0.7), ("soft_margin_loss", None))]
SETTINGS += [(name, UNIT, TARGET, reduction, how) for name, how in LOSSES
             for reduction in ("mean", "sum", "none")]
SETTINGS += [("binary_cross_entropy", UNIT, TARGET, None, "none"),
             ("binary_cross_entropy", UNIT, TARGET, POSITIVE, "mean"),
             ("binary_cross_entropy_with_logits", X, TARGET, None, None, "none"),
             ("binary_cross_entropy_with_logits", UNIT, TARGET, None, POSITIVE, "mean")]
ALL = [*SIMPLE.items()] + [(case[0], case[1:]) for case in SETTINGS]


def naming(value):
    return "-".join(map(str, value)) if isinstance(value, tuple) else None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("row, arguments", ALL, ids=naming)
def test_a_row_gives_what_its_array_rule_gives(row, arguments):
    kinds = [a for a in arguments if isinstance(a, str) and a in tuple("xyputb")]
    cases = list(variants(kinds))
    program, arrays = program_for(row, cases, arguments)
    segment = build(program)
    assert segment is not None, "no loop rule"
    outputs = segment.run(arrays, [])
    for case, found in zip(cases, outputs, strict=True):
        given = iter(case)
        args = [flushed(next(given)) if isinstance(a, str) and a in tuple("xyputb") else a
                for a in arguments]
        wanted = np.asarray(TABLE[row].array(*args))
        compare(found, wanted, 8e-5 if row.startswith("gelu") else 4e-6)


ALONG = [("sum", (0,), False), ("sum", (1,), True), ("sum", (0, 2), False), ("sum", (1, 2), True),
         ("mean", (1,), False), ("amax", (0,), False), ("amin", (2,), True),
         ("amax", (0, 1), False), ("softmax", 1), ("softmax", 2), ("log_softmax", 2),
         ("log_softmax", 0), ("safe_softmax",), ("logsumexp", (1,), False),
         ("logsumexp", (2,), True), ("var", (2,), 1, False), ("var", None, 0, False),
         ("std", (0, 1), 1, True)]


@pytest.mark.parametrize("case", ALONG, ids=naming)
@pytest.mark.parametrize("order", ["rows", "permuted"])
def test_rows_along_dimensions(case, order):
    row, *rest = case
    array = np.random.default_rng(4).standard_normal((4, 21, 35)).astype(np.float32)
    if order == "permuted":
        array = np.ascontiguousarray(array.transpose(2, 0, 1)).transpose(1, 2, 0)
    program, arrays = program_for(row, [[array]], (X, *rest))
    segment = build(program)
    assert segment is not None
    compare(segment.run(arrays, [])[0], np.asarray(TABLE[row].array(array, *rest)), 6e-5)


@pytest.mark.parametrize("row, args", [
    ("softmax_backward", (Y, UNIT, 1)), ("log_softmax_backward", (Y, UNIT, 0)),
    ("mse_loss_backward", ("g", UNIT, TARGET, "mean", None)),
    ("huber_loss_backward", ("g", UNIT, TARGET, "sum", 0.3)),
    ("smooth_l1_loss_backward", ("g", UNIT, TARGET, "mean", 0.3)),
    ("soft_margin_loss_backward", ("g", UNIT, TARGET, "mean", None)),
    ("binary_cross_entropy_backward", ("g", UNIT, TARGET, None, "mean")),
    ("binary_cross_entropy_backward", (X, UNIT, TARGET, POSITIVE, "none")),
    ("bce_with_logits_backward", ("g", X, TARGET, None, None, "mean")),
    ("bce_with_logits_backward", ("g", X, TARGET, POSITIVE, POSITIVE, "sum"))], ids=naming)
def test_gradients_of_losses(row, args):
    random = np.random.default_rng(5)
    drawn = {}
    for number, kind in enumerate(args):
        if kind == "g":
            drawn[number] = np.asarray(0.7, np.float32)
        elif isinstance(kind, str) and kind in tuple("xyputb"):
            drawn[number] = draw(kind, (6, 23), random, False)
    pattern = tuple(X if number in drawn else kind for number, kind in enumerate(args))
    program, arrays = program_for(row, [list(drawn.values())], pattern)
    found = build(program).run(arrays, [])[0]
    wanted = TABLE[row].array(*[drawn.get(number, kind) for number, kind in enumerate(args)])
    compare(found, wanted, 4e-6)


@pytest.mark.parametrize("shape, view, axes, place", [
    ((6, 20), (6, 20), (1,), (1, 20)), ((6, 20), (6, 20), (0,), (1, 20)),
    ((4, 5, 6), (4, 5, 6), (0, 2), (1, 5, 1)), ((4, 6, 10), (4, 2, 30), (2,), (1, 6, 1))])
def test_normalization(shape, view, axes, place):
    random = np.random.default_rng(6)
    x, g = (random.standard_normal(shape).astype(np.float32) for _ in range(2))
    weight, bias = (random.standard_normal(place).astype(np.float32).reshape(-1)
                    for _ in range(2))
    rest = (view, axes, place, 1e-5)
    program, arrays = program_for("native_layer_norm", [[x, weight, bias]], (X, Y, UNIT, *rest))
    program.steps[0] = Step("native_layer_norm", program.steps[0].args, (0, 1, 2))
    program.outputs = [0, 1, 2]
    wanted = TABLE["native_layer_norm"].array(x, weight, bias, *rest)
    for found, expected in zip(build(program).run(arrays, []), wanted, strict=True):
        compare(found, expected, 3e-5)
    _, mean, var = wanted
    program, arrays = program_for("standardize_backward", [[g, x, weight, mean, var]],
                                  (X, Y, UNIT, TARGET, POSITIVE, *rest))
    program.steps[0] = Step("standardize_backward", program.steps[0].args, (0, 1, 2))
    program.outputs = [0, 1, 2]
    wanted = TABLE["standardize_backward"].array(g, x, weight, mean, var, *rest)
    for found, expected in zip(build(program).run(arrays, []), wanted, strict=True):
        compare(found, expected, 3e-5)


@pytest.mark.parametrize("shape", [(7,), (40, 10), (4, 5, 9), (6, 1)])
@pytest.mark.parametrize("weighted, ignored", [(False, -100), (True, 2)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_of_classes(shape, weighted, ignored, reduction):
    random = np.random.default_rng(8)
    ignored = ignored if len(shape) > 1 else -100  # one target, ignored: nothing over nothing
    axis = min(len(shape) - 1, 1)
    x = random.standard_normal(shape).astype(np.float32)
    x.reshape(-1)[-1] = -np.inf if shape[axis] > 1 else 1
    target = np.asarray(random.integers(0, shape[axis], shape[:axis] + shape[axis + 1:]))
    weight = random.random(shape[axis]).astype(np.float32) if weighted else None
    arrays = [x, target] if weight is None else [x, target, weight]
    ignores = ignored == 2
    given = (X, Y, UNIT if weighted else None, ignored, ignores, reduction)
    program, arrays = program_for("nll_loss", [arrays], given)
    with np.errstate(all="ignore"):  # nothing is left over nothing, where all are ignored
        wanted = np.asarray(TABLE["nll_loss"].array(x, target, weight, ignored, ignores,
                                                   reduction))
    compare(build(program).run(arrays, [])[0], wanted, 4e-6)
    grad = np.asarray(random.standard_normal(wanted.shape), np.float32)
    arrays = [grad, target] if weight is None else [grad, target, weight]
    given = (X, shape, Y, UNIT if weighted else None, ignored, ignores, reduction)
    program, arrays = program_for("nll_loss_backward", [arrays], given)
    with np.errstate(all="ignore"):
        wanted = TABLE["nll_loss_backward"].array(grad, shape, target, weight, ignored, ignores,
                                                  reduction)
    compare(build(program).run(arrays, [])[0], wanted, 4e-6)


def test_every_rule_belongs_to_a_row():
    lower(Program(), Graph())
    assert not set(LOWER) - set(TABLE)
    assert not BY_ARRAY_RULE - set(TABLE) and not BY_ARRAY_RULE & set(LOWER)


def test_arrays_of_no_elements_are_left_to_array_rules():
    program, _ = program_for("add", [[np.zeros((0, 3), np.float32)]], (X, 1.0))
    assert build(program) is None


@pytest.mark.parametrize("step", [2, 3, 4, 5])
@pytest.mark.parametrize("length", [5, 16, 64, 131])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_])
def test_elements_that_lie_apart(step, length, dtype):
    """Lanes are picked out of whole vectors; the array ends with the last that is wanted."""
    memory = np.random.default_rng(9).random((length - 1) * step + 1) * 2
    array = (memory > 1 if dtype is np.bool_ else memory.astype(dtype))[::step]
    row = "logical_not" if dtype is np.bool_ else "neg"
    program, arrays = program_for(row, [[array]], (X,))
    found = build(program).run(arrays, [])[0]
    np.testing.assert_array_equal(found, np.asarray(TABLE[row].array(array)))


@pytest.mark.parametrize("length", [2, 5, 7, 15, 23])
@pytest.mark.parametrize("turned", [False, True])
def test_short_axes_beside_long_ones(length, turned):
    """Lanes go along either: what lies apart may be gathered, vectors may be partly filled."""
    random = np.random.default_rng(10)
    wide = random.random((length, 300) if turned else (300, length)).astype(np.float32)
    wide, row = wide.T if turned else wide, random.random(length).astype(np.float32)
    program, arrays = program_for("sub", [[wide, row]], (X, Y))
    np.testing.assert_array_equal(build(program).run(arrays, [])[0], wide - row)


def test_sums_along_axes_with_another_between_split_no_other_sum():
    """A bias of images: its gradient is summed over images and pixels, channels lie between."""
    array = np.random.default_rng(0).standard_normal((5, 4, 6, 7)).astype(np.float32)
    program, arrays = program_for("sum", [[array]], (X, (0, 2, 3), False))
    found = passes(program, current())
    assert not found.graph.one_axis
    total, = build(program).run(arrays, [])
    np.testing.assert_allclose(total, array.sum((0, 2, 3)), rtol=1e-5, atol=1e-5)
