"""Drivers: what Python calls. They check, run, store, and count."""

import ctypes

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")

from kkori.codegen.assemble import compile_text
from kkori.codegen.driver import CONTEXT, RESERVED, Check, Run, Store, declaration, drive, linked
from kkori.codegen.emit import Emitted
from kkori.codegen.target import host

POOL = 4  # behind two arrays and two numbers


class Machine:
    """A context of two arrays and two numbers, and a driver that works on it."""

    def __init__(self, actions, dtype=np.float32, last=True, more=""):
        self.arrays = [np.zeros((), dtype) for _ in range(2)]
        self.context = (ctypes.c_uint64 * (POOL + RESERVED))()
        for place, array in enumerate(self.arrays):
            self.context[place] = array.__array_interface__["data"][0]
        self.numbers = (ctypes.c_double * 2).from_buffer(self.context, 16)
        driver = drive("run", actions, POOL, host(), last)
        text = linked(more + str(driver), host(), {})
        self.code = compile_text(text, ["run"], None, {CONTEXT: ctypes.addressof(self.context)})
        self.call = ctypes.CFUNCTYPE(ctypes.c_int)(self.code["run"])

    @property
    def rounds(self):
        return self.context[POOL + 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_stored_and_rounds_counted(dtype):
    machine = Machine([Store(1, np.dtype(dtype).str[1:], 3)], dtype)
    for count, number in enumerate([2.0, 0.1, float("inf")], 1):
        machine.numbers[1] = number
        assert machine.call() == 0
        assert machine.arrays[1] == dtype(number) and machine.arrays[0] == 0
        assert machine.rounds == count


def test_rounds_are_counted_by_the_last_driver_only():
    machine = Machine([], last=False)
    assert machine.call() == 0 and machine.rounds == 0


@pytest.mark.parametrize("place", [0, 1])
def test_doubts_end_a_round_before_anything_is_stored(place):
    doubts = [(0, "f4"), (1, "f4")]
    machine = Machine([Check(doubts), Store(0, "f4", 2)])
    machine.numbers[0] = 5.0
    machine.arrays[place][...] = np.nan
    assert machine.call() == 1
    assert machine.arrays[0] != 5 and machine.rounds == 0
    machine.arrays[place][...] = np.inf
    assert machine.call() == 0
    assert machine.arrays[0] == 5 and machine.rounds == 1


def test_stages_are_run_in_order_and_finished():
    def stage(name, value):
        return f"""
define void @{name}(ptr %context, i64 %begin, i64 %end) {{
  %array = load ptr, ptr %context
  %old = load float, ptr %array
  %doubled = fmul float %old, 2.0
  %new = fadd float %doubled, {value}
  store float %new, ptr %array
  ret void
}}
"""
    stages = [Emitted("one", "", 1, 1, 1, finish="two"), Emitted("three", "", 1, 1, 1)]
    more = stage("one", "1.0") + stage("two", "2.0") + stage("three", "3.0")
    machine = Machine([Run(each) for each in stages], more=more)
    assert machine.call() == 0
    assert machine.arrays[0] == (1 * 2 + 2) * 2 + 3


@pytest.mark.parametrize("name, text", [
    ("llvm.sqrt.v16f32", "declare <16 x float> @llvm.sqrt.v16f32(<16 x float>)"),
    ("llvm.fabs.f64", "declare double @llvm.fabs.f64(double)"),
    ("llvm.masked.load.v8f32.p0",
     "declare <8 x float> @llvm.masked.load.v8f32.p0(ptr, i32, <8 x i1>, <8 x float>)"),
    ("llvm.vector.reduce.fadd.v4f64",
     "declare double @llvm.vector.reduce.fadd.v4f64(double, <4 x double>)")])
def test_intrinsics_are_declared_from_their_names(name, text):
    assert declaration(name) == text
