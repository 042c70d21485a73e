"""A segment compiled: the main function of the compiler, and the object that runs the result.

    program -> lower -> check -> plan -> emit -> assemble -> one call a group of nests

Read `build` first: it is the table of contents.
"""

from __future__ import annotations

import ctypes
import warnings
from math import isnan, prod
from operator import is_
from sys import getrefcount
from typing import Any

import numpy as np

from kkori.codegen.assemble import compile_text
from kkori.codegen.emit import (
    WORK_TO_SHARE,
    Buffers,
    Emitted,
    Unsupported,
    chunked,
    drive,
    emit_nest,
    linked,
)
from kkori.codegen.graph import Graph, Value, check
from kkori.codegen.lowering import Program, lower
from kkori.codegen.products import emit_product
from kkori.codegen.schedule import Call, Nest, Plan, base, own_address, plan, reads
from kkori.codegen.target import Target, current
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
    if not program.writes:
        graph.doubts = []
    roots = [slots[slot] for slot in (*program.outputs, *(slot for _, slot in program.writes))]
    roots += graph.doubts
    check(roots)
    schedule = plan(roots)
    buffers = place_buffers(program, graph, schedule, slots)
    native = Native(schedule, buffers, program.numbers, target)
    code = compile_text(native.text, native.names, target)
    return Segment(program, slots, schedule, buffers, code, native, graph)


class Doubtful(Exception):
    """A number is NaN that must not be: the round has to be run by array rules, which raise."""


def place_buffers(program: Program, graph: Graph, schedule: Plan,
                  slots: dict[int, Value]) -> Buffers:
    """Every array's place in the context: inputs first, then what is stored.

    A value that overwrites an input shares its place where nothing reads the old numbers later,
    and nothing can be found wrong after all has been computed.
    """
    buffers = Buffers()
    inputs = [graph.make("input", spec.shape, spec.dtype, (), number)
              for number, spec in enumerate(program.inputs)]
    for value, spec in zip(inputs, program.inputs, strict=True):
        buffers.add(value, spec.strides)
    outputs = {base(slots[slot]) for slot in program.outputs}
    final = not graph.doubts and not graph.rows  # nothing can be found wrong later
    for number, slot in program.writes:
        value = slots[slot]
        if final and value in schedule.stored and value not in outputs and (
                value not in buffers.places) and in_place(inputs[number], value, schedule):
            buffers.share(value, inputs[number])
    for value in sorted(schedule.stored, key=lambda value: value.number):
        if value not in buffers.places:
            buffers.add(value)
    return buffers


def in_place(target: Value, value: Value, schedule: Plan) -> bool:
    """Whether `value` may be written where `target` is: each number is read, then written."""
    if target.shape != value.shape or value.kind != "map":
        return False
    home = next((k for k, stage in enumerate(schedule.stages)
                 if isinstance(stage, Nest) and value in stage.maps), None)
    if home is None:
        return False
    for number, stage in enumerate(schedule.stages):
        if isinstance(stage, Call):
            if number > home and any(base(arg) is target for arg in stage.value.args):
                return False
            continue
        for user in (*stage.sums, *stage.maps):
            for need, where in reads(user, schedule.stored):
                if need is target and (number > home or number == home and not (
                        where == own_address(value))):
                    return False
    return True


class Native:
    """The text of all nests and products, its drivers' names, and what threads may share."""

    def __init__(self, schedule: Plan, buffers: Buffers, numbers: int, target: Target) -> None:
        self.names: list[str] = []
        self.shared: list[tuple[int, Emitted]] = []  # places in the context, stages
        self.scratch: list[tuple[int, int]] = []  # places in the context, bytes for a thread
        self.calls: list[Value] = []  # what a library computes, each after one driver
        self.pool = buffers.count + numbers  # the place of the pool and its function
        self.places = self.pool + 2
        self.lanes, self.target, self.buffers = target.lanes("float"), target, buffers
        self.parts: list[str] = []
        self.helpers: dict[str, str] = {}
        waiting: list[tuple[Emitted, int]] = []
        for number, stage in enumerate(schedule.stages):
            if isinstance(stage, Nest):
                nest = emit_nest(f"nest{number}", stage, schedule.stored, buffers, target)
            else:
                product = self.product(f"product{number}", stage.value)
                if product is None:
                    waiting = self.drive(waiting)
                    self.calls.append(stage.value)
                    continue
                nest = product
            waiting.append((nest, self.add(nest)))
        self.drive(waiting)

    def product(self, name: str, value: Value) -> Emitted | None:
        """A matrix product as a stage; None for what a library does."""
        if value.kind != "dot":
            return None
        found = emit_product(name, value, self.buffers, self.target, self.places)
        if found is None:
            return None
        stage, parts, scratch = found
        self.helpers.update(parts)
        self.scratch.append((self.places, scratch))
        self.places += 1
        return stage

    def add(self, nest: Emitted) -> int:
        """Take a nest's text; the place of its number of parts, -1 if it is too small to share."""
        self.parts.append(nest.text)
        if nest.work < WORK_TO_SHARE * self.lanes or nest.extent <= nest.grain:
            return -1
        self.shared.append((self.places, nest))
        self.parts.append(chunked(nest, self.places))
        self.places += 1
        return self.places - 1

    def drive(self, waiting: list[tuple[Emitted, int]]) -> list[Any]:
        """A driver for the nests since the last library call."""
        self.names.append(f"run{len(self.names)}")
        self.parts.append(drive(self.names[-1], waiting, self.pool, self.target))
        return []

    @property
    def text(self) -> str:
        """What LLVM gets."""
        return linked("\n\n".join(self.parts), self.target, self.helpers)

    def chunks(self, nest: Emitted, threads: int) -> int:
        """Into how many parts a nest is cut: several a thread if each is worth it."""
        if threads == 1:
            return 1
        pieces = nest.work // (WORK_TO_SHARE * self.lanes)
        most = 2 if nest.product else 4
        return int(min(most * threads, max(threads, pieces), -(-nest.extent // nest.grain)))


NUMPY = {"f4": np.float32, "f8": np.float64, "b1": np.bool_, "i8": np.int64}


class Segment:
    """Compiled: call `compute` with the arrays and numbers of a round, then `commit`.

    Everything that stays the same from round to round is prepared once: buffers of values that
    nobody sees, their addresses, and the addresses of inputs that are the same arrays as before.
    """

    Doubtful = Doubtful

    def __init__(self, program: Program, slots: dict[int, Value], schedule: Plan,
                 buffers: Buffers, code: Any, native: Native, graph: Graph) -> None:
        self.program, self.slots, self.schedule = program, slots, schedule
        self.doubts, self.rows = graph.doubts, graph.rows
        self.results: dict[int, Any] = {}  # of rows that NumPy computes, within a round
        self.code, self.native, self.threads = code, native, 0
        self.functions = [code.function(name, None, ctypes.c_void_p) for name in native.names]
        count = buffers.count
        self.context = (ctypes.c_uint64 * native.places)()
        self.address = ctypes.addressof(self.context)
        self.numbers = (ctypes.c_double * program.numbers).from_buffer(
            self.context, 8 * count) if program.numbers else None
        self.kernels = sum(isinstance(stage, Nest) for stage in schedule.stages)
        self.inputs: list[Any] = [None] * len(program.inputs)
        self.settled = False  # every address in the context is that of the array kept for it
        self.prepare(buffers)

    def prepare(self, buffers: Buffers) -> None:
        """Hidden buffers, places of outputs, and what is left to copy at the end."""
        self.made: dict[Value, np.ndarray] = {}
        shapes = self.shapes()
        self.all: list[Any] = []  # (value, shape, type, place) of every array made here
        self.fresh: list[Any] = []  # of those, what the caller sees: made anew when he keeps it
        for value in self.schedule.stored:
            if value in buffers.aliases:
                continue
            item = value, shapes.get(value, value.shape), NUMPY[value.dtype], buffers.places[value]
            self.all.append(item)
            if value in shapes:
                self.fresh.append(item)
        self.copies = [(number, self.slots[slot]) for number, slot in self.program.writes
                       if base(self.slots[slot]) not in buffers.aliases]

    def shapes(self) -> dict[Value, tuple[int, ...]]:
        """What the caller sees of stored values, and in which shape: then no view is needed."""
        found: dict[Value, tuple[int, ...]] = {}
        self.plain: list[Value | None] = []  # for each output, what is handed out as it is
        for slot in self.program.outputs:
            value = self.slots[slot]
            inner = base(value)
            direct = inner.kind != "input" and inner not in found and in_order(value)
            self.plain.append(inner if direct else None)
            if inner.kind != "input":
                found.setdefault(inner, value.shape if direct else inner.shape)
        return found

    def make(self, value: Value, shape: tuple[int, ...], kind: Any, place: int) -> None:
        """A new array for a value."""
        self.made[value] = array = np.empty(shape, kind)
        self.context[place] = address_of(array)

    def run(self, arrays: list[np.ndarray], numbers: list[float]) -> list[np.ndarray]:
        """Compute the outputs, and overwrite the inputs that the program writes."""
        outputs = self.compute(arrays, numbers)
        self.commit()
        return outputs

    def compute(self, arrays: list[np.ndarray], numbers: list[float]) -> list[np.ndarray]:
        """Compute everything that is not written in place by the loops themselves.

        Raises `Doubtful`, with nothing overwritten, where an array rule might raise an error.
        """
        if not self.settled:
            self.start_over()
        self.settled = False
        if not all(map(is_, arrays, self.inputs)):
            self.point_at(arrays)
        if numbers:
            self.numbers[:] = numbers  # type: ignore[index]
        made = self.made
        for item in self.fresh:
            # free if only `made` and the call hold it: then it can be filled again
            if getrefcount(made[item[0]]) > 2:
                self.make(*item)
        self.run_stages()
        self.settled = True
        for value in self.doubts:
            if isnan(self.array(value).item()):
                raise Doubtful
        return [made[value] if value is not None else self.output(self.slots[slot])
                for value, slot in zip(self.plain, self.program.outputs, strict=True)]

    def start_over(self) -> None:
        """Arrays and addresses anew: at first, and where Ctrl-C or an error came in between."""
        self.threads, self.inputs = 0, [None] * len(self.inputs)
        for item in self.all:
            self.make(*item)

    def point_at(self, arrays: list[np.ndarray]) -> None:
        """Addresses of the inputs; those of the same arrays as before are known."""
        known = self.inputs
        for number, array in enumerate(arrays):
            if array is not known[number]:
                known[number] = array
                self.context[number] = address_of(array)

    def use_threads(self, threads: int) -> None:
        """Cut the nests that are worth it for so many threads."""
        self.threads, native = threads, self.native
        if threads > 1 and native.shared:
            from kkori.codegen.pool import default_pool
            self.workers = pool = default_pool(threads)
            self.context[native.pool] = pool.address
            self.context[native.pool + 1] = pool.symbols["kkori_parallel"]
        for place, nest in native.shared:
            self.context[place] = native.chunks(nest, threads)
        self.scratch = [np.empty(size * threads + 64, np.uint8) for _, size in native.scratch]
        for (place, _), memory in zip(native.scratch, self.scratch, strict=True):
            self.context[place] = -(-memory.__array_interface__["data"][0] // 64) * 64

    def run_stages(self) -> None:
        """One call for all native stages between two library calls."""
        if self.threads != get_num_threads():
            self.use_threads(get_num_threads())
        self.functions[0](self.address)
        try:
            for value, function in zip(self.native.calls, self.functions[1:], strict=True):
                self.call(value)
                function(self.address)
        finally:
            self.results.clear()

    def commit(self) -> None:
        """Overwrite what the loops could not write in place."""
        for number, value in self.copies:
            np.copyto(self.inputs[number], self.array(value))

    def output(self, value: Value) -> np.ndarray:
        """An array of its own for the caller."""
        return np.array(self.array(value), order="C")

    def array(self, value: Value) -> Any:
        """The array of a stored value, an input, or a view of either."""
        inner = base(value)
        found = self.inputs[inner.attr] if inner.kind == "input" else self.made[inner].reshape(
            inner.shape)
        if inner is value:
            return found
        kept = [k for k, d in enumerate(value.attr) if d is not None]
        found = found.reshape([inner.shape[k] for k in kept])
        where = [value.attr[k] for k in kept]
        found = found.transpose([where.index(d) for d in sorted(where)])
        full = found.reshape([n if d in where else 1 for d, n in enumerate(value.shape)])
        return np.broadcast_to(full, value.shape) if full.shape != value.shape else full

    def call(self, value: Value) -> None:
        """A matrix product by a library, or a copy in another shape."""
        parts = [self.array(arg) for arg in value.args]
        made = self.made[value]
        if value.kind == "dot":
            np.dot(parts[0], parts[1], out=made.reshape(value.shape))
        elif value.kind == "reshape":
            made[...] = parts[0].reshape(made.shape)
        else:
            made[...] = self.row(value, parts).reshape(made.shape)

    def row(self, value: Value, parts: list[Any]) -> Any:
        """One result of a row; all of them are computed when the first is asked for."""
        number, which = value.attr
        if number not in self.results:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                try:
                    self.results[number] = self.rows[number](parts)
                except Exception as error:  # its turn comes again, by itself, with its own words
                    raise Doubtful from error
        return np.asarray(self.results[number][which])


def in_order(value: Value) -> bool:
    """Whether a value's elements are those of what it shows, each once and in the same order."""
    if value.kind != "view":
        return True
    follows = [d for d in value.attr if d is not None]
    return follows == sorted(follows) and prod(value.shape) == prod(value.args[0].shape)


def address_of(array: np.ndarray) -> int:
    """Where an array begins."""
    return int(array.__array_interface__["data"][0])
