"""Sums of many numbers keep their digits: they are sums of sums of some hundred."""

from __future__ import annotations

import numpy as np
import pytest

from kkori.codegen.program import Program, Spec, Step

pytest.importorskip("llvmlite")

from kkori.codegen.segment import build


@pytest.mark.parametrize("length", [513, 768, 20_000, 20_001])
@pytest.mark.parametrize("along", [0, 1])
@pytest.mark.parametrize("row", ["sum", "amax"])
def test_long_sums(length, along, row):
    shape = (length, 70) if along == 0 else (70, length)
    x = np.random.default_rng(2).uniform(0.5, 1.5, shape).astype(np.float32)
    steps = [Step("exp", (("input", 0),), (0,), (Spec(shape, (), "f4"),)),
             Step(row, (("slot", 0), ("value", (along,)), ("value", False)), (1,),
                  (Spec((70,), (), "f4"),))]
    program = Program(inputs=[Spec(shape, (shape[1], 1), "f4")], steps=steps, outputs=[1])
    segment = build(program)
    assert segment is not None
    result, = segment.run([x], [])
    exact = np.exp(x.astype(np.float64))
    wanted = exact.sum(along) if row == "sum" else exact.max(along)
    np.testing.assert_allclose(result, wanted, rtol=8e-7)
