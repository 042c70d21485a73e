"""A segment compiled: the main function of the compiler, and the object that runs the result.

    program -> lower -> check -> plan -> emit -> assemble -> one call a group of nests

Read `build` first: it is the table of contents.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from kkori.codegen.assemble import compile_text
from kkori.codegen.emit import Buffers, Unsupported, emit_nest
from kkori.codegen.graph import Graph, Value, check
from kkori.codegen.lowering import Program, lower
from kkori.codegen.schedule import Call, Nest, Plan, base, plan
from kkori.codegen.target import Target, current

__all__ = ["Segment", "build"]


def build(program: Program, target: Target | None = None) -> Segment | None:
    """Compile a program; None where something in it has no loop rule yet."""
    graph = Graph()
    slots = lower(program, graph)
    if slots is None:
        return None
    roots = [slots[slot] for slot in (*program.outputs, *(slot for _, slot in program.writes))]
    check(roots)
    schedule = plan(roots)
    buffers = place_buffers(program, graph, schedule)
    target = target or current()
    try:
        names, text = emit(schedule, buffers, target)
    except Unsupported:
        return None
    code = compile_text(text, names, target)
    return Segment(program, slots, schedule, buffers, code, names)


def place_buffers(program: Program, graph: Graph, schedule: Plan) -> Buffers:
    """Every array's place in the context: inputs first, then what is stored."""
    buffers = Buffers()
    for number, spec in enumerate(program.inputs):
        buffers.add(graph.make("input", spec.shape, spec.dtype, (), number), spec.strides)
    for value in sorted(schedule.stored, key=lambda value: value.number):
        buffers.add(value)
    return buffers


def emit(schedule: Plan, buffers: Buffers, target: Target) -> tuple[list[str], str]:
    """One function a nest, and a driver for each run of nests without a call between them."""
    parts, names, driver = [], [], []
    for number, stage in enumerate(schedule.stages):
        if isinstance(stage, Call):
            if driver:
                names.append(drive(f"run{len(names)}", driver, parts))
                driver = []
            continue
        kinds = {value.dtype for value in (*stage.sums, *stage.maps)}
        width = target.lanes("double" if "f8" in kinds else "float")
        text, extent = emit_nest(f"nest{number}", stage, schedule.stored, buffers, width)
        parts.append(text)
        driver.append((f"nest{number}", extent))
    if driver:
        names.append(drive(f"run{len(names)}", driver, parts))
    return names, declarations("\n\n".join(parts))


def drive(name: str, nests: list[tuple[str, int]], parts: list[str]) -> str:
    """A function that runs nests one after another."""
    calls = [f"  call void @{nest}(ptr %context, i64 0, i64 {extent})" for nest, extent in nests]
    parts.append("\n".join([f"define void @{name}(ptr %context) {{", *calls, "  ret void", "}"]))
    return name


def declarations(text: str) -> str:
    """Declare the intrinsics that `text` calls, each once."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        place = line.find("@llvm.")
        if place < 0:
            continue
        result = line[line.index("call") + 4:place].replace("reassoc", "").replace(
            "contract", "").strip()
        name, rest = line[place:].split("(", 1)
        kinds = [argument.strip().rsplit(" ", 1)[0] for argument in split_arguments(rest[:-1])]
        found[name] = f"declare {result} {name}({', '.join(kinds)})"
    return "\n".join([*found.values(), "", text])


def split_arguments(text: str) -> list[str]:
    """Arguments between the commas that are not inside <...>."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter == "<") - (letter == ">")
        if letter == "," and not depth:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


class Segment:
    """Compiled: call `run` with the arrays and numbers of a round."""

    def __init__(self, program: Program, slots: dict[int, Value], schedule: Plan,
                 buffers: Buffers, code: Any, names: list[str]) -> None:
        self.program, self.slots, self.schedule = program, slots, schedule
        self.buffers, self.code = buffers, code
        self.functions = [code.function(name, None, ctypes.c_void_p) for name in names]
        self.context = (ctypes.c_uint64 * (len(buffers.places) + program.numbers))()
        self.numbers = (ctypes.c_double * program.numbers).from_buffer(
            self.context, 8 * len(buffers.places)) if program.numbers else None
        self.kept: dict[Value, np.ndarray] = {}
        self.kernels = sum(isinstance(stage, Nest) for stage in schedule.stages)

    def run(self, arrays: list[np.ndarray], numbers: list[float]) -> list[np.ndarray]:
        """Compute the outputs, and overwrite the inputs that the program writes."""
        context = self.context
        for number, array in enumerate(arrays):
            context[number] = array.__array_interface__["data"][0]
        for number, value in enumerate(numbers):
            self.numbers[number] = value  # type: ignore[index]
        made = self.make_buffers()
        functions = iter(self.functions)
        pending = False
        for stage in self.schedule.stages:
            if isinstance(stage, Call):
                if pending:
                    next(functions)(ctypes.addressof(context))
                    pending = False
                self.call(stage.value, made, arrays)
            else:
                pending = True
        if pending:
            next(functions)(ctypes.addressof(context))
        for number, slot in self.program.writes:
            np.copyto(arrays[number], self.array(self.slots[slot], made, arrays))
        return [self.array(self.slots[slot], made, arrays) for slot in self.program.outputs]

    def make_buffers(self) -> dict[Value, np.ndarray]:
        """Fresh arrays for what is stored."""
        made = {}
        kinds = {"f4": np.float32, "f8": np.float64, "b1": np.bool_}
        for value in self.schedule.stored:
            array = np.empty(value.shape, kinds[value.dtype])
            made[value] = array
            self.context[self.buffers.places[value]] = array.__array_interface__["data"][0]
        return made

    def array(self, value: Value, made: dict[Value, np.ndarray], arrays: list[np.ndarray]) -> Any:
        """The array of a stored value, an input, or a view of either."""
        inner = base(value)
        found = arrays[inner.attr] if inner.kind == "input" else made[inner]
        if inner is value:
            return found
        kept = [k for k, d in enumerate(value.attr) if d is not None]
        found = found.reshape([inner.shape[k] for k in kept])
        where = [value.attr[k] for k in kept]
        found = found.transpose([where.index(d) for d in sorted(where)])
        full = found.reshape([n if d in where else 1 for d, n in enumerate(value.shape)])
        return np.broadcast_to(full, value.shape)

    def call(self, value: Value, made: dict[Value, np.ndarray], arrays: list[np.ndarray]) -> None:
        """A matrix product by BLAS, or a copy in another shape."""
        parts = [self.array(arg, made, arrays) for arg in value.args]
        if value.kind == "dot":
            np.dot(parts[0], parts[1], out=made[value])
        else:
            made[value][...] = parts[0].reshape(value.shape)
