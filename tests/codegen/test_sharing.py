"""Nests that differ in where their arrays are share a function, and give what they gave."""

from __future__ import annotations

import re

import numpy as np
import pytest

from kkori.codegen.compiler import passes
from kkori.codegen.program import Program, Spec, Step
from kkori.codegen.target import named

pytest.importorskip("llvmlite")

from kkori.codegen.segment import build

LAYERS, ROWS, COLUMNS = 5, 600, 40


def deep(rows):
    """Softmax of slices of one array, one after another, each times the one before."""
    values = Spec((rows, COLUMNS), (), "f4")
    steps = [Step("narrow", (("input", 0), ("value", 1), ("value", 0), ("value", COLUMNS)), (0,),
                  (values,))]
    for k in range(1, LAYERS):
        steps += [
            Step("narrow", (("input", 0), ("value", 1), ("value", k * COLUMNS),
                            ("value", COLUMNS)), (3 * k,), (values,)),
            Step("mul", (("slot", 3 * k - 3 if k == 1 else 3 * k - 1), ("slot", 3 * k)),
                 (3 * k + 1,), (values,)),
            Step("softmax", (("slot", 3 * k + 1), ("value", 1)), (3 * k + 2,), (values,))]
    width = LAYERS * COLUMNS
    return Program(inputs=[Spec((rows, width), (width, 1), "f4")], steps=steps,
                   outputs=[3 * k + 2 for k in range(1, LAYERS)])


def expected(x):
    found, *parts = np.split(x.astype(np.float64), LAYERS, 1)
    for part in parts:
        found = np.exp(found * part - (found * part).max(1, keepdims=True))
        found /= found.sum(1, keepdims=True)
    return found


@pytest.mark.parametrize("rows", [7, ROWS, 40 * ROWS])
def test_what_is_shared_computes_the_same(rows):
    x = np.random.default_rng(1).standard_normal((rows, LAYERS * COLUMNS)).astype(np.float32)
    segment = build(deep(rows))
    assert segment is not None
    *_, result = segment.run([x], [])
    np.testing.assert_allclose(result, expected(x), rtol=3e-5, atol=1e-7)


def test_each_kind_of_nest_is_written_once():
    done = passes(deep(ROWS), named("avx512"))
    assert done is not None
    text, nests = done.native.text, len(done.schedule.nests)
    models = set(re.findall(r"define internal void @(like\.nest\d+)[.(]", text))
    calls = re.findall(r"call void @(like\.nest\d+)[\w.]*\(ptr %context, i64 %begin", text)
    assert models == set(calls)
    assert nests - len(calls) + len(models) <= nests / 2  # functions with loops
    assert len(re.findall(r"define void @nest\d+", text)) >= nests


def test_a_nest_without_another_like_it_is_as_it_was():
    program = Program(inputs=[Spec((9,), (1,), "f4")], outputs=[0], steps=[
        Step("exp", (("input", 0),), (0,), (Spec((9,), (), "f4"),))])
    done = passes(program, named("avx512"))
    assert done is not None and "like." not in done.native.text
