"""What it means that loops agree with array rules, and programs made of noted calls.

A compiled step flushes denormals: it reads those it is given as zeros of their sign, and gives
zeros where a result would be one. So it agrees with array rules that run in the same mode of the
processor (`flushing`); what is left is rounding. NaN and infinities are in the same places, but
that a sum of a product, rounded once, may not overflow on the way. Zeros have the same sign, with
three exceptions: numbers that were rounded to zero; the larger or smaller of two zeros (loops give
the first, as PyTorch does; NumPy what the processor's instruction gives, in `np.fmax` differently
from place to place); and sums of negative zeros (-0 in loops, as IEEE 754 has it; 0 in NumPy).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import warnings

import numpy as np

from kkori.codegen import float_mode, target
from kkori.codegen.assemble import compile_text
from kkori.codegen.lowering import Program, Spec, Step
from kkori.codegen.rules import as_run
from kkori.core import threads
from kkori.ops.table import TABLE

KINDS = ("f4", "f8", "b1", "i8")


def spec(array):
    steps = tuple(step // array.itemsize for step in array.strides)
    return Spec(array.shape, steps, array.dtype.str[1:])


def program_of(calls):
    """The program that makes these calls again, and the arrays it starts from.

    None where an operand is of a type that no compiled program reads.
    """
    program, arrays, places, kept = Program(), [], {}, []
    for row, args, results in calls:
        given = []
        for arg in args:
            if not isinstance(arg, np.ndarray):
                given.append(("value", arg))
                continue
            if arg.dtype.str[1:] not in KINDS:
                return None
            if id(arg) not in places:
                places[id(arg)] = "input", len(arrays)
                arrays.append(arg)
                program.inputs.append(spec(arg))
            given.append(places[id(arg)])
        first = len(kept)
        for number, result in enumerate(results, first):
            places[id(result)] = "slot", number
            kept.append(result)
        shapes = tuple(Spec(one.shape, (), one.dtype.str[1:]) for one in results)
        program.steps.append(Step(row, tuple(given), tuple(range(first, len(kept))), shapes))
    program.outputs = list(range(len(kept)))
    return program, arrays


def by_array_rules(program, arrays):
    """The outputs of a program, row by row."""
    slots = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for step in program.steps:
            args = [arrays[value] if kind == "input" else slots[value] if kind == "slot" else value
                    for kind, value in step.args]
            found = as_run(step)(*args)
            found = found if isinstance(found, (tuple, list)) else (found,)
            slots.update(zip(step.slots, map(np.asarray, found), strict=True))
    return [slots[slot] for slot in program.outputs]


@functools.cache
def mode_functions():
    """Read and set this thread's floating-point mode."""
    here = target.host()
    text = f"""{float_mode.text_of(here)}
define i64 @get() {{
  %mode = call i64 @{float_mode.GET}()
  ret i64 %mode
}}
define void @set(i64 %mode) {{
  call void @{float_mode.SET}(i64 %mode)
  ret void
}}
"""
    code = compile_text(text, ["get", "set"], here)
    return code.function("get", ctypes.c_int64), code.function("set", None, ctypes.c_int64)


@contextlib.contextmanager
def flushing():
    """Array rules flush denormals meanwhile, as compiled steps do."""
    get, put = mode_functions()
    mode = get()
    put(mode | float_mode.MODES[target.host().family.architecture][1])
    try:
        yield
    finally:
        put(mode)


def results_of(row, args, like):
    """What an array rule gives while denormals are flushed (`like`: of which types its results
    are); None where it raises."""
    run = as_run(Step(row, (), (), tuple(map(spec, like))))
    if any(getattr(arg, "dtype", None) == np.longdouble for arg in args):
        run = TABLE[row].array
    with warnings.catch_warnings(), flushing():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            found = run(*args)
        except RuntimeError:
            return None
    found = found if isinstance(found, (tuple, list)) else (found,)
    return tuple(map(np.asarray, found))


def by_threads(segment, arrays):
    """What a segment gives with one, two and three threads."""
    before, found = threads.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            found.append([result.copy() for result in segment.run(arrays, [])])
    finally:
        threads.set_num_threads(before)
    return found
