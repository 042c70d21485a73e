"""A segment: a compiled program, ready to be run.

`build` looks for what an equal program has become before, in memory and then on disk; only where
there is nothing the passes are run (`compiler`).
"""

from __future__ import annotations

import ctypes
import struct
import warnings
from operator import is_
from sys import getrefcount
from typing import Any

import numpy as np

from kkori.codegen import kept_blueprints
from kkori.codegen.assemble import BadText, load
from kkori.codegen.blueprint import CONTEXT, WORK_TO_SHARE, Array, Blueprint, Call, Driver, Shared
from kkori.codegen.matmul_choice import product
from kkori.codegen.program import Program
from kkori.codegen.target import Target, current
from kkori.core.threads import get_num_threads

__all__ = ["Doubtful", "Segment", "build"]


def build(program: Program, target: Target | None = None) -> Segment | None:
    """Compile a program; None where something in it has no loop rule yet."""
    target = target or current()
    found = kept_blueprints.find(program, target)
    if found is None:
        return None
    try:
        return Segment(program, found)
    except BadText:  # what the disk has kept is whole, but no object
        found = kept_blueprints.find(program, target, anew=True)
        assert found is not None
        return Segment(program, found)


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

    def __init__(self, program: Program, plan: Blueprint) -> None:
        self.program, self.plan, self.kernels = program, plan, plan.kernels
        self.context = (ctypes.c_uint64 * plan.words)()
        self.words = memoryview(self.context).cast("B").cast("Q")
        self.code = load(plan.code, [driver.name for driver in plan.drivers],
                         {CONTEXT: ctypes.addressof(self.context)})
        self.functions = [self.function(driver) for driver in plan.drivers]
        self.call = self.functions[0] if len(self.functions) == 1 else self.call_all
        self.inputs: list[Any] = [None] * len(program.inputs)
        self.known: list[Any] = []  # for the caller: references to where inputs are
        self.numbers: list[float] | None = None
        self.format, self.offset = f"={program.numbers}d", 8 * plan.first_number
        self.shared, self.threads = bool(plan.shared or plan.scratch), 0
        self.results: list[Any] = [None] * len(plan.results)
        self.made = [(shape, NUMPY[dtype], word) for shape, dtype, word in plan.results]
        self.hidden: dict[int, Any] = {}  # by number: memory for what nobody sees
        self.counter = plan.pool + 2  # the word that counts complete rounds
        self.stamp = -1  # for the caller: whose inputs these are
        self.free = -1  # what `getrefcount` says of all results together if nobody else has them
        self.array_rules: dict[int, Any] = {}
        self.row_results: dict[int, Any] = {}  # of rows that NumPy computes, within a round
        if plan.rows:
            from kkori.codegen.rows import array_rule
            self.array_rules = {number: array_rule(program.steps[number], arguments)
                                for number, arguments in plan.rows}

    def function(self, driver: Driver) -> Any:
        """A driver as a callable of ctypes; small ones do not let other threads run meanwhile."""
        make = ctypes.PYFUNCTYPE if driver.tiny else ctypes.CFUNCTYPE
        return make(ctypes.c_int if driver.checks else None)(self.code[driver.name])

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
        hidden = self.plan.hidden
        for number, (shape, dtype, word) in enumerate(hidden) if (
                len(self.hidden) < len(hidden)) else ():
            if number not in self.hidden:
                array = np.empty(shape, NUMPY[dtype])
                words[word] = address_of(array)
                self.hidden[number] = array
        array = None  # a result that is new is nobody else's, either
        self.free = sum(map(getrefcount, results))

    def settle_threads(self) -> None:
        """Cut the nests that are worth it for as many threads as there are to be."""
        threads, plan = get_num_threads(), self.plan
        if threads == self.threads:
            return
        self.threads = 0
        if threads > 1 and plan.shared:
            from kkori.codegen.pool import default_pool
            self.workers = pool = default_pool(threads)
            self.words[plan.pool] = pool.address
            self.words[plan.pool + 1] = pool.symbols["kkori_parallel"]
        for stage in plan.shared:
            self.words[stage.word] = parts_for(stage, threads)
        self.scratch = [np.empty(size * threads + 64, np.uint8) for _, size in plan.scratch]
        for (word, _), memory in zip(plan.scratch, self.scratch, strict=True):
            self.words[word] = -(-address_of(memory) // 64) * 64
        self.threads = threads

    # Stages that a library computes.

    def call_all(self) -> int:
        """All drivers, and the library calls between them; 1 where one has doubts."""
        try:
            if self.array_rules:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)
                    self.call_each()
            else:
                self.call_each()
        except Doubtful:  # of an array rule
            return 1
        finally:
            self.row_results.clear()
        return self.functions[-1]() or 0

    def call_each(self) -> None:
        """All drivers but the last, each with the library call behind it."""
        for function, call in zip(self.functions, self.plan.calls, strict=False):
            function()
            self.call_library(call)

    def call_library(self, call: Call) -> None:
        """A matrix product by a library, a copy in another shape, a row by its array rule."""
        parts, out = [self.array(part) for part in call.parts], self.array(call.out)
        if call.kind == "dot":
            product(parts[0], parts[1], out)
        elif call.kind == "reshape":
            out[...] = parts[0].reshape(out.shape)
        else:
            out[...] = self.row(call, parts).reshape(out.shape)

    def array(self, wanted: Array) -> Any:
        """The array of a stored value, an input, or a view of either."""
        held = self.inputs if wanted.where == "input" else (
            self.results if wanted.where == "result" else self.hidden)
        found = held[wanted.number]
        if found.shape != wanted.shape:
            found = found.reshape(wanted.shape)
        return found if wanted.seen is None else seen_through(wanted, found)

    def row(self, call: Call, parts: list[Any]) -> Any:
        """One result of a row; all of them are computed when the first is asked for."""
        number = call.step
        if number not in self.row_results:
            try:
                self.row_results[number] = self.array_rules[number](parts)
            except Exception as error:  # its turn comes again, by itself, with its own words
                raise Doubtful from error
        return np.asarray(self.row_results[number][call.result])


def parts_for(stage: Shared, threads: int) -> int:
    """Into how many parts a stage is cut: several a thread if each is worth it."""
    if threads == 1:
        return 1
    pieces = stage.work // (WORK_TO_SHARE * stage.scale)
    most = 2 if stage.product else 4
    return int(min(most * threads, max(threads, pieces), -(-stage.extent // stage.grain)))


def seen_through(view: Array, array: Any) -> Any:
    """What a view shows of an array."""
    shape = view.seen
    assert shape is not None
    kept = [k for k, d in enumerate(view.follows) if d is not None]
    array = array.reshape([view.shape[k] for k in kept])
    where: list[Any] = [view.follows[k] for k in kept]
    array = array.transpose([where.index(d) for d in sorted(where)])
    full = array.reshape([n if d in where else 1 for d, n in enumerate(shape)])
    return np.broadcast_to(full, shape) if full.shape != shape else full


def address_of(array: np.ndarray) -> int:
    """Where an array begins."""
    try:  # five times faster than asking NumPy
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):  # not compact, or not to be written
        return int(array.__array_interface__["data"][0])
