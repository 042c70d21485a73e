"""Drivers: the functions that Python calls, which run a segment's stages one after another.

A driver takes nothing and returns 0, or 1 where a number is NaN that must not be. All it works on
is in the context, whose address is a symbol given at link time:

    addresses of arrays | run-time numbers | pool, its function, rounds | parts and scratch memory
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kkori.codegen import float_mode
from kkori.codegen.blueprint import CONTEXT
from kkori.codegen.emit import Emitted
from kkori.codegen.scalars import BYTES, INTRINSIC, LLVM_TYPES, library
from kkori.codegen.target import Target

__all__ = ["CONTEXT", "RESERVED", "Check", "Driver", "Run", "Store", "chunked", "drive", "linked"]

RESERVED = 3  # words behind the numbers: the pool, its ``kkori_parallel``, rounds completed


class Run(NamedTuple):
    """Run a stage; `place` is where its number of parts is, -1 if it is never shared."""

    stage: Emitted
    place: int = -1


class Check(NamedTuple):
    """Return 1 if one of these numbers is NaN: (place of its array, type)."""

    doubts: Sequence[tuple[int, str]]


class Store(NamedTuple):
    """Write a run-time number (its place) into an array of one element (its place, type)."""

    array: int
    dtype: str
    number: int


class Driver:
    """One driver's text, written from top to bottom."""

    def __init__(self, name: str, pool: int, target: Target) -> None:
        self.name, self.pool, self.target = name, pool, target
        self.lines: list[str] = []
        self.count = 0
        self.checks = False

    def word(self, place: int, kind: str = "ptr") -> str:
        """What the context holds at a place."""
        pointer = self.put(f"getelementptr i64, ptr @{CONTEXT}, i64 {place}")
        return self.put(f"load {kind}, ptr {pointer}, align 8")

    def put(self, text: str) -> str:
        """Write an instruction; the name of its result."""
        self.count += 1
        self.lines.append(f"  %v{self.count} = {text}")
        return f"%v{self.count}"

    def do(self, *texts: str) -> None:
        """Write instructions without results, and labels (which end in a colon)."""
        self.lines += [text if text.endswith(":") else f"  {text}" for text in texts]

    def run(self, stage: Emitted, place: int) -> None:
        """A stage: at once, or in parts by several threads if the context asks for that."""
        given = ", i64 0" if stage.product else ""
        call = f"call void @{stage.name}(ptr @{CONTEXT}, i64 0, i64 {stage.extent}{given})"
        if place < 0:
            self.do(call)
        else:
            self.share(stage, place, call)
        if stage.finish:
            self.do(f"call void @{stage.finish}(ptr @{CONTEXT}, i64 0, i64 {stage.extent})")

    def share(self, stage: Emitted, place: int, call: str) -> None:
        """A stage in parts, if there are several."""
        parts = self.word(place, "i64")
        several = self.put(f"icmp sgt i64 {parts}, 1")
        n = self.count
        self.do(f"br i1 {several}, label %many{n}, label %one{n}", f"one{n}:", call,
                f"br label %next{n}", f"many{n}:")
        pool, parallel = self.word(self.pool), self.word(self.pool + 1)
        self.do(f"call void {parallel}(ptr {pool}, ptr @{stage.name}.part, ptr @{CONTEXT}, "
                f"i64 {parts})", f"br label %next{n}", f"next{n}:")

    def check(self, doubts: Sequence[tuple[int, str]]) -> None:
        """Leave with 1 where a number is NaN: nothing has been overwritten yet."""
        self.checks = True
        for place, dtype in doubts:
            kind = LLVM_TYPES[dtype]
            number = self.put(f"load {kind}, ptr {self.word(place)}, align {BYTES[dtype]}")
            odd = self.put(f"fcmp uno {kind} {number}, {number}")
            n = self.count
            self.do(f"br i1 {odd}, label %doubtful, label %sure{n}", f"sure{n}:")

    def store(self, array: int, dtype: str, number: int) -> None:
        """A run-time number as the one element of an array."""
        value = self.word(number, "double")
        if dtype == "f4":
            value = self.put(f"fptrunc double {value} to float")
        self.do(f"store {LLVM_TYPES[dtype]} {value}, ptr {self.word(array)}, "
                f"align {BYTES[dtype]}")

    def finish(self) -> None:
        """Count a round that is complete."""
        pointer = self.put(f"getelementptr i64, ptr @{CONTEXT}, i64 {self.pool + 2}")
        old = self.put(f"load i64, ptr {pointer}, align 8")
        new = self.put(f"add i64 {old}, 1")
        self.do(f"store i64 {new}, ptr {pointer}, align 8")

    def __str__(self) -> str:
        bits = float_mode.MODES[self.target.family.architecture][1]
        back = f"  call void @{float_mode.SET}(i64 %mode)"
        doubtful = ["doubtful:", back, "  ret i32 1"] if self.checks else []
        return "\n".join([
            f"define i32 @{self.name}() {{", "entry:", f"  %mode = call i64 @{float_mode.GET}()",
            f"  %flush = or i64 %mode, {bits}", f"  call void @{float_mode.SET}(i64 %flush)",
            *self.lines, back, "  ret i32 0", *doubtful, "}"])


def drive(name: str, actions: Iterable[Run | Check | Store], pool: int, target: Target,
          last: bool = True) -> Driver:
    """The driver that does all that in order, denormals flushed; the last one counts rounds.

    At `pool` in the context are the reserved words (see `RESERVED`).
    """
    driver = Driver(name, pool, target)
    for action in actions:
        if isinstance(action, Run):
            driver.run(*action)
        elif isinstance(action, Check):
            driver.check(*action)
        else:
            driver.store(*action)
    if last:
        driver.finish()
    return driver


def chunked(nest: Emitted, place: int) -> str:
    """The function that does one of the parts into which threads cut a nest.

    How many parts there are is in the context at `place`. They end at multiples of the grain.
    """
    lines = [f"define internal void @{nest.name}.part(ptr %context, i64 %part, i64 %slot) {{",
             f"  %p = getelementptr i64, ptr %context, i64 {place}",
             "  %parts = load i64, ptr %p, align 8", "  %following = add i64 %part, 1",
             "  %last = icmp eq i64 %following, %parts"]
    for name, part in (("begin", "%part"), ("inner", "%following")):
        lines += [f"  %{name}.a = mul i64 {part}, {nest.extent}",
                  f"  %{name}.b = udiv i64 %{name}.a, %parts",
                  f"  %{name}.r = add i64 %{name}.b, {nest.grain // 2}",
                  f"  %{name}.c = udiv i64 %{name}.r, {nest.grain}",
                  f"  %{name} = mul i64 %{name}.c, {nest.grain}"]
    return "\n".join([*lines, f"  %end = select i1 %last, i64 {nest.extent}, i64 %inner",
                      f"  call void @{nest.name}(ptr %context, i64 %begin, i64 %end"
                      f"{', i64 %slot' if nest.product else ''})", "  ret void", "}"])


# The whole text.

SUFFIX = {"f32": "float", "f64": "double", "i8": "i8", "i64": "i64"}


def linked(text: str, target: Target, parts: dict[str, str]) -> str:
    """`text` with all that it calls: intrinsics declared, vector math defined, and `parts`."""
    parts = {CONTEXT: f"@{CONTEXT} = external global i8",
             float_mode.GET: float_mode.text_of(target), **parts}
    for name in sorted(set(re.findall(r"@((?:llvm|kkori)\.[\w.]+)\(", text))):
        if name.startswith("llvm."):
            parts.setdefault(name, declaration(name))
        else:
            definition = library(name, target) if name.count(".") == 2 else None
            parts.update(definition.parts if definition else {})
    return "\n".join((*parts.values(), text, ""))


def declaration(name: str) -> str:
    """The declaration of an intrinsic, from its name."""
    stem, ending = name[:name.rindex(".")], name[name.rindex(".") + 1:]
    if ending == "p0":
        stem, ending = stem[:stem.rindex(".")], stem[stem.rindex(".") + 1:]
    lanes, scalar = re.fullmatch(r"(?:v(\d+))?(\w+)", ending).groups()  # type: ignore[union-attr]
    one = SUFFIX[scalar]
    kind, mask = (f"<{lanes} x {one}>", f"<{lanes} x i1>") if lanes else (one, "i1")
    if stem == "llvm.masked.load":
        return f"declare {kind} @{name}(ptr, i32, {mask}, {kind})"
    if stem == "llvm.masked.store":
        return f"declare void @{name}({kind}, ptr, i32, {mask})"
    if stem == "llvm.vector.reduce.fadd":
        return f"declare {one} @{name}({one}, {kind})"
    if stem.startswith("llvm.vector.reduce"):
        return f"declare {one} @{name}({kind})"
    assert stem[5:] in INTRINSIC.values(), name
    return f"declare {kind} @{name}({kind})"
