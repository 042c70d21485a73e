"""The plan: which values are stored, which nests there are, in which part of one a value is."""

import pytest
import recorded
from recorded import Recorder

from kkori.codegen.graph import Graph, check
from kkori.codegen.lowering import lower
from kkori.codegen.schedule import FEW, Call, choose_stored, cost, plan, reads, unrolled


def planned(program, **options):
    graph = Graph()
    slots = lower(program, graph)
    roots = [slots[slot] for slot in (*program.outputs, *(slot for _, slot in program.writes))]
    check(roots)
    return plan(roots, **options)


def parts(nest):
    return [len(part) for part in (nest.sums, nest.maps, nest.totals, nest.last)]


def test_a_loss_is_summed_where_the_rows_are_finished():
    first, second = planned(recorded.network()).stages
    assert first.out == (100,) and first.over == (512,) and len(first.totals) == 2
    assert second.out == (512,) and second.over == (100,)
    assert not second.totals


def test_a_hidden_layer_is_never_stored():
    stored = planned(recorded.network()).stored
    assert max(max(value.shape, default=1) for value in stored) == 512
    assert all(512 * 100 > value_size(value) for value in stored)


def value_size(value):
    size = 1
    for n in value.shape:
        size *= n
    return size


def test_sums_of_few_results_run_beside_those_of_one():
    (nest,) = planned(recorded.polynomial()).stages
    assert nest.out == (3,) and nest.over == (2000,) and nest.at_once
    assert sorted(value.shape for value in nest.sums) == [(), (), (3, 1)] or len(nest.sums) == 3


def test_sums_of_few_terms_are_no_loops():
    add = Recorder((50, FEW), (50, FEW + 1))
    few, many = (add("sum", ("input", k), (1,), False) for k in range(2))
    add.output(add("exp", few), add("exp", many))
    schedule = planned(add.program)
    assert [value.args[0].attr for value in schedule.stored if value.kind == "reduce"] == [1]


def test_dear_values_are_stored_and_cheap_ones_computed_again():
    add = Recorder((50,))
    dear = ("input", 0)
    for _ in range(6):
        dear = add("exp", dear)
    add.output(add("add", dear, 1.0), add("sum_all", dear))
    graph = Graph()
    slots = lower(add.program, graph)
    roots = [slots[slot] for slot in add.program.outputs]
    value = slots[dear[1]]
    assert cost(value, set()) > 80 and value in choose_stored(roots)
    assert slots[0] not in choose_stored(roots)


def test_addresses_of_unrolled_sums():
    graph = Graph()
    x = graph.make("input", (50, 3), "f4", (), 0)
    total = graph.reduce("add", x, (1,))
    assert unrolled(total, ("o0",)) == [("o0", 0), ("o0", 1), ("o0", 2)]
    doubled = graph.map("add", total, total)
    assert sorted(reads(doubled, {doubled}), key=str) == [(x, ("o0", k)) for k in range(3)]


def test_late_values_come_behind_the_barrier():
    add = Recorder((50,), (50,), ())
    w, g, out = (("input", k) for k in range(3))
    new = add("sub", w, g)
    total = add("sum_all", g)
    add.write(w, new)
    add.write(out, total)
    graph = Graph()
    slots = lower(add.program, graph)
    value, doubt = slots[new[1]], slots[total[1]]
    schedule = plan([value, doubt], late=[value], doubts=[doubt])
    assert schedule.home[doubt] == 0 and schedule.barrier == 1 and schedule.home[value] == 1
    assert plan([value, doubt]).home[value] == 0


@pytest.mark.parametrize("risky, barrier", [(True, 1), (False, 0)])
def test_a_risky_call_is_a_barrier(risky, barrier):
    add = Recorder((20, 20), (20, 20))
    add.output(add("mm", ("input", 0), ("input", 1)))
    schedule = planned(add.program, risky=lambda value: risky)
    assert isinstance(schedule.stages[0], Call) and schedule.barrier == barrier


def test_single_numbers_follow_the_loops_they_need():
    add = Recorder((50,), ())
    w, rate = ("input", 0), ("input", 1)
    add.output(add("exp", w), add("mul", add("sum_all", w), rate))
    (nest,) = planned(add.program).stages
    assert parts(nest) == [0, 1, 1, 1]


def test_a_value_can_be_taken_back():
    add = Recorder((50,))
    add.output(add("exp", ("input", 0)))
    schedule = planned(add.program)
    (value,) = schedule.stored
    schedule.remove(value)
    assert not schedule.stages and not schedule.stored and not schedule.home
