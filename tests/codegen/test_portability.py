"""Code for every kind of machine: written for all of them, run where this one can.

Every loop rule and a whole training step become objects for AVX-512, AVX2, plain x86-64 and
aarch64 that need nothing but what kkori gives them: no C library. AVX2 and plain x86-64 code runs
here, and agrees with the array rules on special values.
"""

import functools
import struct

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

import agreement
import ordinary
import test_special_values as special

from kkori import nn
from kkori.codegen import target
from kkori.codegen.assemble import object_code
from kkori.codegen.blueprint import CONTEXT
from kkori.codegen.compiler import passes
from kkori.codegen.graph import Graph
from kkori.codegen.lowering import LOWER, Spec, Step, lower
from kkori.codegen.segment import build

GROUPS = 6  # programs into which all rules are put: one would compile for seconds


def group(number):
    """Every so many rules: all their sample calls."""
    return [call for row in sorted(LOWER)[number::GROUPS] for call in special.samples()[row]]


def one_case(call, dtype):
    """A call with special values in its arguments, and what its array rule gives."""
    cases = next(special.rounds(call, np.dtype(dtype)))
    args = cases[1]
    return call[0], args, agreement.results_of(call[0], args, call[2])


def is_doubtful(call):
    """Whether the array rule may raise an error for some numbers."""
    graph = Graph()
    lower(agreement.program_of([call])[0], graph)
    return bool(graph.doubts)


@functools.cache
def cases_of(number, dtype):
    """The calls of a group that can be in one program, and their cases."""
    return [(call, one_case(call, dtype)) for call in group(number) if not is_doubtful(call)]


def training_step():
    """Linear, LayerNorm, GELU, Linear, softmax, cross entropy; gradients, and descent in place."""
    ordinary.begin()
    net = nn.Sequential(nn.Linear(13, 37), nn.LayerNorm(37), nn.GELU(), nn.Linear(37, 5))
    x, t = ordinary.x(21, 13, grad=False), ordinary.classes(5, 21)
    calls = ordinary.calls_of(lambda: nn.CrossEntropyLoss()(net(x), t))
    program, arrays = agreement.program_of(calls)
    slots = {id(result): slot for call, step in zip(calls, program.steps, strict=True)
             for result, slot in zip(call[2], step.slots, strict=True)}
    for param in net.parameters():
        gradient = next(slots[id(result)] for call in reversed(calls) for result in call[2]
                        if result.shape == param.shape and np.array_equal(
                            result, param.grad._array))
        place = next(k for k, array in enumerate(arrays) if array is param._array)
        first = len(slots) + 2 * len(program.writes)
        like = (Spec(tuple(param.shape), (), "f4"),)
        program.steps += [Step("mul", (("slot", gradient), ("value", 0.1)), (first,), like),
                          Step("sub", (("input", place), ("slot", first)), (first + 1,), like)]
        program.writes.append((place, first + 1))
    loss = next(call for call in calls if call[0] == "nll_loss")
    program.outputs = [slots[id(loss[2][0])]]
    return program, arrays


# Objects for every target.

def undefined(data):
    """Symbols that an ELF object (64 bit, little-endian) wants from elsewhere."""
    start, = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + size * k) for k in range(count)]
    found = set()
    for kind, place, length, link in [(s[1], s[4], s[5], s[6]) for s in sections]:
        if kind != 2:  # the table of symbols
            continue
        names = sections[link][4]
        for at in range(place + 24, place + length, 24):
            name, _, _, home = struct.unpack_from("<IBBH", data, at)
            if home == 0:
                found.add(data[names + name:data.index(b"\0", names + name)].decode())
    return found


MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine


def is_complete(program, there):
    """The object is of the right machine, and wants nothing that nobody gives."""
    data = object_code(passes(program, there).native.text, there)
    if data[:4] != b"\x7fELF":  # the format of another system: it has been made, that is all
        assert data
        return
    assert struct.unpack_from("<H", data, 18) == (MACHINES[there.family.architecture],)
    assert undefined(data) <= {CONTEXT}


@pytest.mark.parametrize("name", target.FAMILIES)
@pytest.mark.parametrize("number", range(GROUPS))
def test_every_rule_becomes_an_object_for_every_target(number, name):
    firsts = {call[0]: case for call, case in reversed(cases_of(number, "f4"))}
    firsts.update((call[0], call) for call in group(number) if is_doubtful(call))
    assert set(firsts) == set(sorted(LOWER)[number::GROUPS])
    calls = list(firsts.values())
    is_complete(agreement.program_of(calls)[0], target.named(name))


@pytest.mark.parametrize("name", target.FAMILIES)
def test_a_training_step_becomes_an_object_for_every_target(name):
    is_complete(training_step()[0], target.named(name))


# Runs on what is here.

HERE = [name for name in target.FAMILIES if target.named(name).runs_here]
OTHERS = [name for name in HERE if name != target.host().name]  # the host: test_special_values


def test_the_host_is_of_a_family_that_runs_here():
    assert target.host().name in HERE


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("number", range(GROUPS))
def test_every_rule_agrees_on_every_target(number, name):
    there = target.named(name)
    cases = cases_of(number, "f4")
    program, arrays = agreement.program_of([case for _, case in cases])
    outputs = iter(special.quietly(build(program, there).run, arrays, []))
    for call, (row, args, results) in cases:
        how = special.elementwise(call), special.mixes_zeros(special.graph_of(call))
        exact = special.exact_results(row, args, results)
        for one, near in zip(results, exact, strict=True):
            wrong = special.agree(next(outputs), one, near, (
                *how, special.slack(row, args) if how[0] else 0))
            assert wrong is None, (row, wrong[0], special.where(args, wrong[1]))
    for call in group(number):
        if is_doubtful(call):
            special.check(call, np.dtype("f4"), there)


@pytest.mark.parametrize("name", HERE)
def test_a_training_step_on_every_target(name):
    program, arrays = training_step()
    mine = [array.copy() for array in arrays]
    (loss,) = agreement.by_array_rules(program, arrays)
    (found,) = build(program, target.named(name)).run(mine, [])
    np.testing.assert_allclose(found, loss, rtol=1e-5)
    program.outputs = [slot for _, slot in program.writes]
    for (place, _), wanted in zip(program.writes, agreement.by_array_rules(program, arrays),
                                  strict=True):
        np.testing.assert_allclose(mine[place], wanted, rtol=1e-4, atol=1e-6)
        assert not np.array_equal(mine[place], arrays[place])
