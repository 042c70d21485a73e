"""A segment compiled: the main function of the compiler, and the object that runs the result.

    program -> lower -> wanted -> check -> plan -> settle -> place -> Native -> compile_text

Read `build_once` first: it is the table of contents.
"""

from __future__ import annotations

import ctypes
import struct
import warnings
from operator import is_
from sys import getrefcount
from typing import Any

import numpy as np

from kkori.codegen.assemble import compile_text
from kkori.codegen.driver import CONTEXT
from kkori.codegen.emit import Unsupported
from kkori.codegen.graph import Graph, Value, check
from kkori.codegen.lowering import Program, lower
from kkori.codegen.matmul_choice import product
from kkori.codegen.native import Native
from kkori.codegen.placement import Wanted, place, place_inputs, settle, wanted
from kkori.codegen.products import is_own
from kkori.codegen.schedule import Plan, base, plan
from kkori.codegen.target import Target, current
from kkori.codegen.writer import Buffers
from kkori.core.threads import get_num_threads

__all__ = ["Doubtful", "Segment", "build"]


def build(program: Program, target: Target | None = None) -> Segment | None:
    """Compile a program; None where something in it has no loop rule yet."""
    target = target or current()
    try:
        return build_once(program, Graph(), target)
    except Unsupported:
        pass
    try:  # sums along several axes that are not like one
        return build_once(program, Graph(one_axis=True), target)
    except Unsupported:
        return None


def build_once(program: Program, graph: Graph, target: Target) -> Segment | None:
    """The passes in their order. Raises `Unsupported`."""
    slots = lower(program, graph)
    if slots is None:
        return None
    goals = wanted(program, graph, slots)
    check(goals.roots)
    buffers = place_inputs(program, graph)
    schedule = plan(goals.roots, [value for _, value in goals.writes], goals.doubts,
                    lambda call: not is_own(call, buffers))
    settle(goals.writes, schedule, graph, buffers)
    place(schedule, buffers)
    native = Native(program, schedule, goals.doubts, buffers, target)
    return Segment(program, goals, schedule, buffers, native, graph)


class Doubtful(Exception):
    """A number is NaN that must not be: the round has to be run by array rules, which raise."""


NUMPY = {"f4": np.float32, "f8": np.float64, "b1": np.bool_, "i8": np.int64}
_probe = [object()]
ALONE = getrefcount(_probe[0])  # what is counted for something that only a list holds


class Segment:
    """Compiled: call `run` with the arrays and numbers of a round.

    Everything that stays the same from round to round is prepared once: memory for values that
    nobody sees, addresses of arrays, the list of outputs. So a round is a few comparisons and one
    native call. An interrupt (Ctrl-C) may come between any two steps of `run`: whether the round is
    complete then is told by `rounds`, and `outputs()` has what it gave. Whatever Python keeps here
    is forgotten before it changes, so that the next round settles it anew.
    """

    Doubtful = Doubtful

    def __init__(self, program: Program, goals: Wanted, schedule: Plan, buffers: Buffers,
                 native: Native, graph: Graph) -> None:
        self.program, self.schedule, self.native = program, schedule, native
        self.kernels = sum(nest.loops for nest in schedule.nests)
        self.context = (ctypes.c_uint64 * native.places)()
        self.words = memoryview(self.context).cast("B").cast("Q")
        self.code = compile_text(native.text, native.names, native.target,
                                 {CONTEXT: ctypes.addressof(self.context)})
        self.functions = [self.function(number) for number in range(len(native.drivers))]
        self.call = self.functions[0] if len(self.functions) == 1 else self.call_all
        self.inputs: list[Any] = [None] * len(program.inputs)
        self.numbers: list[float] | None = None
        self.format, self.offset = f"={program.numbers}d", 8 * buffers.count
        self.shared, self.threads = bool(native.shared or native.scratch), 0
        self.results: list[Any] = [None] * len(goals.outputs)
        self.counter = native.pool + 2  # the word that counts complete rounds
        self.stamp = -1  # for the caller: whose inputs these are
        self.free = -1  # what `getrefcount` says of all results together if nobody else has them
        self.array_rules = graph.rows
        self.row_results: dict[int, Any] = {}  # of rows that NumPy computes, within a round
        self.prepare(goals.outputs, buffers)

    def function(self, number: int) -> Any:
        """A driver as a callable of ctypes; small ones do not let other threads run meanwhile."""
        driver = self.native.drivers[number]
        make = ctypes.PYFUNCTYPE if self.native.is_tiny(number) else ctypes.CFUNCTYPE
        return make(ctypes.c_int if driver.checks else None)(self.code[driver.name])

    def prepare(self, outputs: list[Value], buffers: Buffers) -> None:
        """Shapes, types and places of the arrays that are made here."""
        self.numbers_of = {base(value): number for number, value in enumerate(outputs)}
        self.made = [(value.shape, NUMPY[value.dtype], buffers.places[base(value)])
                     for value in outputs]
        self.hidden: dict[Value, np.ndarray] = {}
        self.to_hide = [value for value in self.schedule.stored
                        if value not in self.numbers_of and value not in buffers.aliases]
        self.places = buffers.places

    # A round.

    def run(self, arrays: list[np.ndarray], numbers: list[float]) -> list[np.ndarray]:
        """Compute the outputs, and overwrite the inputs that the program writes.

        Raises `Doubtful`, with nothing overwritten, where an array rule might raise an error.
        `arrays` may be `self.inputs` itself: then none is looked at.
        """
        if arrays is not self.inputs and not all(map(is_, arrays, self.inputs)):
            self.point_at(arrays)
        if numbers != self.numbers:
            self.take(numbers)
        if sum(map(getrefcount, self.results)) != self.free:
            self.refresh()
        if self.shared:
            self.settle_threads()
        if self.call():
            raise Doubtful
        return self.results[:]

    compute = run

    def commit(self) -> None:
        """Nothing is left to do."""

    @property
    def rounds(self) -> int:
        """How many rounds are complete: counted by native code, after all has been written."""
        return self.words[self.counter]

    def outputs(self) -> list[np.ndarray]:
        """What the last complete round gave; until the next one."""
        return self.results[:]

    def point_at(self, arrays: list[np.ndarray]) -> None:
        """Addresses of the inputs; those of the same arrays as before are known."""
        known, words = self.inputs, self.words
        for number, array in enumerate(arrays):
            if array is not known[number]:
                known[number] = None
                words[number] = address_of(array)
                known[number] = array

    def take(self, numbers: list[float]) -> None:
        """Numbers that are not those of the round before (which 0.0 may be, and is not -0.0)."""
        self.numbers = None
        struct.pack_into(self.format, self.context, self.offset, *numbers)
        if 0.0 not in numbers:
            self.numbers = list(numbers)

    def refresh(self) -> None:
        """New arrays for results that somebody still holds; at first, all arrays."""
        results, words = self.results, self.words
        self.free = -1
        for number, (shape, kind, word) in enumerate(self.made):
            if results[number] is None or getrefcount(results[number]) > ALONE:
                results[number] = None
                array: Any = np.empty(shape, kind)
                words[word] = address_of(array)
                results[number] = array
        for value in self.to_hide if len(self.hidden) < len(self.to_hide) else ():
            if value not in self.hidden:
                array = np.empty(value.shape, NUMPY[value.dtype])
                words[self.places[value]] = address_of(array)
                self.hidden[value] = array
        array = None  # a result that is new is nobody else's, either
        self.free = sum(map(getrefcount, results))

    def settle_threads(self) -> None:
        """Cut the nests that are worth it for as many threads as there are to be."""
        threads, native = get_num_threads(), self.native
        if threads == self.threads:
            return
        self.threads = 0
        if threads > 1 and native.shared:
            from kkori.codegen.pool import default_pool
            self.workers = pool = default_pool(threads)
            self.words[native.pool] = pool.address
            self.words[native.pool + 1] = pool.symbols["kkori_parallel"]
        for word, nest in native.shared:
            self.words[word] = native.chunks(nest, threads)
        self.scratch = [np.empty(size * threads + 64, np.uint8) for _, size in native.scratch]
        for (word, _), memory in zip(native.scratch, self.scratch, strict=True):
            self.words[word] = -(-address_of(memory) // 64) * 64
        self.threads = threads

    # Stages that a library computes.

    def call_all(self) -> int:
        """All drivers, and the library calls between them; 1 where a driver has doubts."""
        try:
            for function, value in zip(self.functions, self.native.calls, strict=False):
                function()
                self.call_library(value)
        finally:
            self.row_results.clear()
        return self.functions[-1]() or 0

    def call_library(self, value: Value) -> None:
        """A matrix product by a library, a copy in another shape, a row by its array rule."""
        parts, out = [self.array(arg) for arg in value.args], self.array(value)
        if value.kind == "dot":
            product(parts[0], parts[1], out)
        elif value.kind == "reshape":
            out[...] = parts[0].reshape(out.shape)
        else:
            out[...] = self.row(value, parts).reshape(out.shape)

    def array(self, value: Value) -> Any:
        """The array of a stored value, an input, or a view of either."""
        inner = base(value)
        if inner.kind == "input":
            found = self.inputs[inner.attr]
        elif inner in self.numbers_of:
            found = self.results[self.numbers_of[inner]].reshape(inner.shape)
        else:
            found = self.hidden[inner]
        return found if inner is value else seen_through(value, found)

    def row(self, value: Value, parts: list[Any]) -> Any:
        """One result of a row; all of them are computed when the first is asked for."""
        number, which = value.attr
        if number not in self.row_results:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                try:
                    self.row_results[number] = self.array_rules[number](parts)
                except Exception as error:  # its turn comes again, by itself, with its own words
                    raise Doubtful from error
        return np.asarray(self.row_results[number][which])


def seen_through(value: Value, array: Any) -> Any:
    """The view `value` of the array of what it shows."""
    inner = value.args[0]
    kept = [k for k, d in enumerate(value.attr) if d is not None]
    array = array.reshape([inner.shape[k] for k in kept])
    where = [value.attr[k] for k in kept]
    array = array.transpose([where.index(d) for d in sorted(where)])
    full = array.reshape([n if d in where else 1 for d, n in enumerate(value.shape)])
    return np.broadcast_to(full, value.shape) if full.shape != value.shape else full


def address_of(array: np.ndarray) -> int:
    """Where an array begins."""
    try:  # five times faster than asking NumPy
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):  # not compact, or not to be written
        return int(array.__array_interface__["data"][0])
