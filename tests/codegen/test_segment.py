"""Whole training steps compiled to loop nests: numbers against NumPy, nests counted."""

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

from recorded import Recorder

from kkori import settings
from kkori.codegen.compiler import passes
from kkori.codegen.graph import Graph, check
from kkori.codegen.lowering import Spec, Step, lower
from kkori.codegen.schedule import Nest, plan
from kkori.codegen.segment import build
from kkori.codegen.target import current


def network(n, m):
    """x -> Linear(1, m) -> ReLU -> Linear(m, 1), squared error, gradients, plain descent."""
    add = Recorder((n, 1), (n, 1), (m, 1), (m,), (1, m), (1,), ())
    x, t, w1, b1, w2, b2, one = (("input", k) for k in range(7))
    h = add("relu", add("addmm", b1, x, add("t", w1), 1, 1))
    w2t = add("t", w2)
    y = add("addmm", b2, h, w2t, 1, 1)
    loss = add("mse_loss", y, t, "mean", None)
    gy = add("mse_loss_backward", one, y, t, "mean", None)
    gh = add("mm", gy, add("t", w2t))
    gw2 = add("t", add("mm", add("t", h), gy))
    gb2 = add("reshape", add("sum", gy, (0,), True), (1,))
    gu = add("relu_backward", gh, h)
    gw1 = add("t", add("mm", add("t", x), gu))
    gb1 = add("reshape", add("sum", gu, (0,), True), (m,))
    for place, weight, g in ((2, w1, gw1), (3, b1, gb1), (4, w2, gw2), (5, b2, gb2)):
        new = add("sub", weight, add("mul", g, 0.1))
        add.program.writes.append((place, new[1]))
    add.program.outputs = [loss[1]]
    return add.program


def by_hand(arrays):
    x, t, w1, b1, w2, b2, _ = (array.astype(np.float64) for array in arrays)
    u = x @ w1.T + b1
    h = np.maximum(u, 0)
    y = h @ w2.T + b2
    gy = 2 / len(x) * (y - t)
    gu = gy @ w2 * (h > 0)
    steps = [gu.T @ x, gu.sum(0), gy.T @ h, gy.sum(0)]
    return ((y - t) ** 2).mean(), [w - 0.1 * g for w, g in zip((w1, b1, w2, b2), steps,
                                                               strict=True)]


def arrays_for(program, seed=0):
    random = np.random.default_rng(seed)
    arrays = [random.standard_normal(spec.shape).astype(np.float32) for spec in program.inputs]
    arrays[6] = np.ones((), np.float32)
    return arrays


@pytest.mark.parametrize("n, m", [(100, 512), (7, 37), (1, 3), (33, 100), (5, 1)])
def test_a_step_of_a_network(n, m, target):
    program = network(n, m)
    segment = build(program, target)
    arrays = arrays_for(program)
    loss, weights = by_hand(arrays)
    (found,) = segment.run(arrays, [])
    assert found == pytest.approx(loss, rel=1e-5)
    for array, wanted in zip(arrays[2:6], weights, strict=True):
        np.testing.assert_allclose(array, wanted, rtol=2e-4, atol=2e-5)


def test_the_hidden_layer_is_never_stored():
    program = network(100, 512)
    graph = Graph()
    slots = lower(program, graph)
    roots = [slots[k] for k in program.outputs] + [slots[k] for _, k in program.writes]
    check(roots)
    schedule = plan(roots)
    large = [stage for stage in schedule.stages if isinstance(stage, Nest)
             and np.prod((*stage.out, *stage.over)) > 1000]
    assert len(large) == 2
    assert all(np.prod(value.shape) <= 512 for value in schedule.stored)


def test_what_has_no_rule_is_left_to_array_rules():
    add = Recorder((3,))
    add.program.outputs = [add("cumsum", ("input", 0), 0)[1]]
    assert build(add.program) is None


@pytest.mark.parametrize("shape", [(), (1,), (5,), (16,), (130,), (3, 7), (20, 40), (1, 9)])
def test_elementwise_values_of_every_shape(shape):
    add = Recorder(shape, shape)
    a, b = ("input", 0), ("input", 1)
    add.program.outputs = [add("relu", add("sub", add("mul", a, b), 0.5))[1]]
    random = np.random.default_rng(1)
    arrays = [np.asarray(random.standard_normal(shape), np.float32) for _ in range(2)]
    (found,) = build(add.program).run(arrays, [])
    np.testing.assert_allclose(found, np.maximum(arrays[0] * arrays[1] - np.float32(0.5), 0),
                               rtol=1e-6, atol=1e-6)


def test_nan_and_infinity_keep_their_meaning():
    add = Recorder((20,))
    out = add("relu", ("input", 0))
    add.program.outputs = [out[1], add("relu_backward", ("input", 0), out)[1]]
    array = np.array([np.nan, np.inf, -np.inf, -0.0, 1.0] * 4, np.float32)
    value, gradient = build(add.program).run([array], [])
    np.testing.assert_array_equal(value, np.maximum(array, 0))
    np.testing.assert_array_equal(gradient, np.where(np.maximum(array, 0) <= 0, 0, array))


def test_nothing_is_overwritten_where_a_rule_would_raise():
    add = Recorder((6, 1), (6, 1))
    x, t = ("input", 0), ("input", 1)
    loss = add("binary_cross_entropy", x, t, None, "mean")
    add.program.outputs = [loss[1]]
    add.program.writes = [(0, add("mul", x, 0.5)[1])]
    segment = build(add.program)
    good = np.full((6, 1), 0.5, np.float32)
    bad, target = good.copy(), np.ones((6, 1), np.float32)
    bad[3] = 1.5
    with pytest.raises(segment.Doubtful):
        segment.run([bad, target], [])
    assert bad[0] == 0.5 and bad[3] == 1.5
    (found,) = segment.run([good, target], [])
    assert found == pytest.approx(np.log(2)) and good[0] == 0.25


def test_rows_without_loops_run_between_loops():
    add = Recorder((4, 6), (4, 6))
    x, out = ("input", 0), Spec((4, 6), (6, 1), "f4")
    steps = add.program.steps
    doubled = add("mul", x, 2.0)
    steps.append(Step("cumsum", (doubled, ("value", 1)), (len(steps),), (out,)))
    end = add("sub", ("slot", 1), ("input", 1))
    add.program.outputs = [end[1]]
    add.program.writes = [(0, end[1])]
    segment = build(add.program)
    for seed in (1, 2):
        arrays = [np.random.default_rng(seed + k).standard_normal((4, 6)).astype(np.float32)
                  for k in range(2)]
        wanted = np.cumsum(arrays[0] * 2, 1) - arrays[1]
        (found,) = segment.run(arrays, [])
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(arrays[0], found)


def test_a_row_that_raises_overwrites_nothing():
    add = Recorder((3,))
    steps = add.program.steps
    steps.append(Step("cumsum", (("input", 0), ("value", 7)), (0,), (Spec((3,), (1,), "f4"),)))
    add.program.writes = [(0, add("mul", ("slot", 0), 0.5)[1])]
    segment, array = build(add.program), np.ones(3, np.float32)
    with pytest.raises(segment.Doubtful):
        segment.run([array], [])
    assert array.tolist() == [1, 1, 1]


@pytest.fixture
def threads():
    before = settings.get_num_threads()
    yield settings.set_num_threads
    settings.set_num_threads(before)


def test_results_do_not_depend_on_the_number_of_threads(threads):
    program = network(100, 9000)
    segment = build(program)
    assert segment.plan.shared, "large enough to be shared"
    found = []
    for count in (1, 2, 3, 1):
        threads(count)
        arrays = arrays_for(program)
        loss = segment.run(arrays, [])[0]
        found.append([loss.copy(), *arrays])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_products_are_stages_of_the_step(threads):
    add = Recorder((300, 90), (40, 90), (40,))
    x, w, b = (("input", k) for k in range(3))
    h = add("relu", add("addmm", b, x, add("t", w), 1, 1))
    add.program.outputs = [h[1], add("mm", add("t", h), x)[1]]
    segment = build(add.program)
    assert not segment.plan.calls
    arrays = arrays_for_shapes((300, 90), (40, 90), (40,))
    hidden = np.maximum(arrays[0] @ arrays[1].T + arrays[2], 0)
    for count in (1, 2):
        threads(count)
        for found, wanted in zip(segment.run(arrays, []), (hidden, hidden.T @ arrays[0]),
                                 strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def test_products_of_one_kind_share_their_code():
    add = Recorder((30, 20), (20, 20), (20, 20))
    first = add("mm", ("input", 0), ("input", 1))
    add.output(first, add("mm", first, ("input", 2)), add("mm", first, add("t", ("input", 2))))
    text = passes(add.program, current()).native.text
    assert text.count("define void @rows.nn.30.20.20.float(") == 1
    assert text.count("define void @rows.nt.30.20.20.float(") == 1
    assert text.count("call void @rows.nn.30.20.20.float(") == 2
    arrays = arrays_for_shapes((30, 20), (20, 20), (20, 20))
    one, two, three = build(add.program).run(arrays, [])
    for found, wanted in ((one, arrays[0] @ arrays[1]), (two, one @ arrays[2]),
                          (three, one @ arrays[2].T)):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def arrays_for_shapes(*shapes):
    random = np.random.default_rng(2)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def test_denormals_are_flushed_inside_a_step_only():
    add = Recorder((32,))
    add.program.outputs = [add("mul", ("input", 0), 0.5)[1]]
    tiny = np.full(32, 2.0 ** -126, np.float32)
    (found,) = build(add.program).run([tiny], [])
    assert not found.any()
    assert (tiny * np.float32(0.5)).all()


def test_what_the_caller_holds_is_not_written_again():
    add = Recorder((64,))
    add.program.outputs = [add("add", ("input", 0), 1.0)[1]]
    segment = build(add.program)
    first = segment.run([np.zeros(64, np.float32)], [])[0]
    second = segment.run([np.ones(64, np.float32)], [])[0]
    assert first[0] == 1 and second[0] == 2
    place = second.__array_interface__["data"][0]
    del second
    third = segment.run([np.zeros(64, np.float32)], [])[0]
    assert third.__array_interface__["data"][0] == place, "memory that nobody holds is used again"
