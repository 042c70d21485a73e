"""A recorded path as a program for the compiler."""

from __future__ import annotations

from typing import Any

from kkori.run.detached import DETACH
from kkori.run.entry import ALIAS, EXTERNAL, NUMBER, SLOT, VARYING, Entry
from kkori.run.memory import uncollected
from kkori.run.notes import ORIGINS, built

__all__ = ["Trace", "Unbuildable", "Unupdatable", "look"]


class Unupdatable(Exception):
    """A step that cannot be part of a compiled round."""


class Unbuildable(Exception):
    """A program that the compiler has no form for, or fails to compile."""


class Trace:
    """A recorded path as steps of a program."""

    def __init__(self, end: Entry) -> None:
        from kkori.codegen.program import Program, Spec, Step
        path = end.path()
        self.asked: Any = None  # the program that was asked for last
        self.program = program = Program(numbers=end.number_count)
        self.next_slot = end.slot_count
        self.written: dict[int, int] = {}  # externals that are written to: slots of their values
        for entry in path:
            for layout in entry.layouts:
                steps = tuple(step // layout.kind.itemsize for step in layout.strides)
                program.inputs.append(Spec(layout.shape, steps, layout.kind.str[1:]))
            if entry.kind == "write":
                self.write(entry)
                continue
            for inner in ([entry] if entry.kind == "op" else entry.inner):
                args = tuple(reference(pattern) for pattern in inner.patterns)
                results = tuple(Spec(kind.shape, (), kind.dtype.str[1:])
                                for kind in inner.promises)
                name = "alias" if inner.row is DETACH else inner.row.name
                program.steps.append(Step(name, args, tuple(inner.slots), results))
            for (_, source), slot in zip(entry.leaves, entry.slots, strict=False):
                program.steps.append(Step("clone", (("slot", source),), (slot,)))
        self.externals = len(program.inputs)
        self.work = sum(kind.size for entry in path for event in (entry.inner or [entry])
                        for kind in event.promises)
        self.views = {slot for entry in path if entry.view is not None
                      for slot in entry.slots}

    def write(self, entry: Entry) -> None:
        """What is written in place is a value of its own from here on."""
        from kkori.codegen.program import Step
        slot = entry.slots[0]
        self.program.steps.append(Step("clone", (reference(entry.patterns[1]),), (slot,)))
        if entry.promises[0].written >= 0:
            self.written[entry.promises[0].written] = slot

    def build(self, outputs: list[int]) -> Any:
        """The compiled program that gives the slots in `outputs`. Unupdatable where a step has no
        loop rule, Unbuildable where the compiler is at a loss."""
        return uncollected(self.found, outputs)

    def found(self, outputs: list[int]) -> Any:
        """What `build` gives."""
        from kkori.codegen import toolchain
        if not toolchain.available():
            raise Unupdatable("compiling needs llvmlite, which is not installed")
        try:
            from kkori.codegen.segment import build
            found = built(build, self.asking(outputs))
            if found is None or found.origin != ORIGINS["memory_hits"]:
                toolchain.rest()
            missing = "" if found is not None else self.missing()
        except Exception as error:  # whatever is wrong there: the program goes on without it
            raise Unbuildable(f"the compiler failed: {type(error).__name__}: {error}") from error
        if missing:
            raise Unupdatable(missing)
        if found is None:
            raise Unbuildable("the compiler has no form for this round yet")
        return found

    def is_kept(self, outputs: list[int]) -> bool:
        """Whether the program that gives the slots in `outputs` was compiled before."""
        from kkori.codegen import toolchain
        if not toolchain.available():
            return False
        from kkori.codegen.kept_blueprints import is_kept
        from kkori.codegen.target import current
        return is_kept(self.asking(outputs), current())

    def asking(self, outputs: list[int]) -> Any:
        """The program that gives the slots in `outputs`."""
        if self.asked is None or self.asked.outputs != outputs:
            self.asked = self.program.replaced(outputs=outputs)
        return self.asked

    def missing(self) -> str:
        """Which step has no loop rule; empty if all have."""
        from kkori.codegen.compiler import lowers
        from kkori.codegen.lowering import LOWER
        if lowers(self.program):
            return ""
        rows = [step.row for step in self.program.steps if step.row not in LOWER]
        return f"{rows[0]} has no loop rule yet" if rows else (
            "an operation with options that have no loop rule yet")


def reference(pattern: tuple[int, Any]) -> tuple[str, Any]:
    kind, data = pattern
    if kind == SLOT:
        return "slot", data.slot
    if kind == NUMBER:
        return "value", data.item()
    if kind == VARYING:
        return "number", data
    return ("input", data[0]) if kind in (EXTERNAL, ALIAS) else ("value", data)


def look(end: Entry, slot: int) -> Any:
    """A program that computes one value of an unfinished round; None where there is none."""
    try:
        return Trace(end).build([slot])
    except (Unbuildable, Unupdatable):
        return None
