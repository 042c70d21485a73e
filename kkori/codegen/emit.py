"""From a loop nest to a function: which axes become one, where lanes go, what lies outside.

A nest becomes ``void name(ptr context, i64 begin, i64 end)``, which does the part [begin, end) of
its outermost loop, so that threads can share it. The context holds the addresses of all buffers,
then the run-time numbers as doubles, then what the driver needs (see `Driver`).

Neighbouring axes that every array walks through as if they were one become one. Of what is left,
one axis gets the lanes; `forms` writes the loops over it, the summed axis and one more. All
others are counted by a single loop around that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import prod
from typing import Any, NamedTuple

from kkori.codegen import float_mode
from kkori.codegen.forms import Form, columns, point, rows, tile_of
from kkori.codegen.graph import Value
from kkori.codegen.scalars import INTRINSIC, Unsupported, library
from kkori.codegen.schedule import COST, Nest, own_address, reads
from kkori.codegen.target import Target
from kkori.codegen.writer import Axis, Buffers

__all__ = ["Buffers", "Emitted", "Unsupported", "drive", "emit_nest", "linked"]

Access = tuple[tuple["str | None", ...], tuple[int, ...]]


class Emitted(NamedTuple):
    """A nest's function: its text, the length of its outermost loop, how that may be cut."""

    name: str
    text: str
    extent: int
    grain: int  # parts of the loop must be multiples of this, but for the last
    work: int  # scalar operations, roughly
    product: bool = False  # takes the number of its thread too, and is cut less finely


def emit_nest(name: str, nest: Nest, stored: set[Value], buffers: Buffers,
              target: Target) -> Emitted:
    """The nest's function. Raises `Unsupported` where it has no form."""
    values = (*nest.sums, *nest.maps)
    wide = any(v.dtype == "f8" and v.shape != () for v in every(values, stored))
    width = target.lanes("double" if wide else "float")
    accesses = [access for value in values for access in accesses_of(value, stored, buffers)]
    lengths = {f"o{k}": n for k, n in enumerate(nest.out)}
    lengths.update((f"r{k}", n) for k, n in enumerate(nest.over))
    fixed = merged(lengths, accesses)
    out = [axis for axis in lengths if axis[0] == "o" and axis not in fixed]
    over = [axis for axis in lengths if axis[0] == "r" and axis not in fixed]
    if len(over) > 1:
        raise Unsupported("a sum along axes that are not one")
    lanes = max((*out, *over), default="",
                key=lambda axis: score(axis, lengths, accesses, width))
    inner = out[-1:] if lanes in over else [lanes] if out else []
    outer = [axis for axis in out if axis not in inner]
    for axis in outer:
        fixed[axis] = Axis(f"%q.{axis}", 0)
    form = Form(nest, stored, buffers, width, fixed, lengths, lanes if lanes in out else "",
                (inner or [""])[0], (over or [""])[0], target.registers)
    body, grain = write_form(form, lanes)
    work = prod(nest.out) * (prod(nest.over) * effort(nest.sums, stored)
                             + effort(nest.maps, stored))
    text = [define(name, [f"%q.{axis}" for axis in outer], body)]
    if not outer:
        extent = lengths[inner[0]] if inner else 1
        return Emitted(name, text[0], extent, grain, work)
    text.append(around(name, outer, lengths, lengths[inner[0]]))
    return Emitted(f"{name}.all", "\n\n".join(text), prod(lengths[a] for a in outer), 1, work)


def effort(values: Iterable[Value], stored: set[Value]) -> int:
    """What one turn of the loops costs, in additions; loads and sums are one each."""
    parts = {part for part in every(values, stored) if part.kind == "map"
             or part.kind == "input"}
    return sum(COST.get(part.attr, 1) if part.kind == "map" else 1 for part in parts) + len(
        list(values))


def write_form(form: Form, lanes: str) -> tuple[list[str], int]:
    """The body of the function, and the grain of its loop."""
    nest = form.nest
    if not lanes:
        return point(form, nest.maps), 1
    if lanes[0] == "r":
        return rows(form, nest.sums, nest.maps), form.width
    vectors = tile_of(form, nest.sums)
    return columns(form, nest.sums, nest.maps, vectors), vectors * form.width


def every(values: Iterable[Value], stored: set[Value]) -> Iterable[Value]:
    """All values that computing `values` meets, up to what is stored."""
    values = list(values)
    stack, seen = list(values), set()
    while stack:
        value = stack.pop()
        if value not in seen:
            seen.add(value)
            yield value
            if value in values or value not in stored:
                stack.extend(value.args)


def accesses_of(value: Value, stored: set[Value], buffers: Buffers) -> list[Access]:
    """Where a stored value and what it reads are touched: axes and strides."""
    found = [(where, buffers.strides.get(need, (0,))) for need, where in reads(value, stored)]
    return [*found, (own_address(value), buffers.strides[value])]


# Axes.

def merged(lengths: dict[str, int], accesses: list[Access]) -> dict[str, Axis]:
    """Axes that a later one covers: its length grows, they need no loop."""
    fixed: dict[str, Axis] = {}
    known, cover = dict(lengths), {axis: axis for axis in lengths}
    axes = sorted(lengths)
    for first, second in list(zip(axes, axes[1:], strict=False))[::-1]:
        if first[0] == second[0] and all(
                as_one(access, first, second, known[second]) for access in accesses):
            cover[first] = cover[second]
            lengths[cover[first]] *= known[first]
            fixed[first] = Axis(None, 0)
    return fixed


def as_one(access: Access, first: str, second: str, length: int) -> bool:
    """Whether an array has neither of two axes, or walks through both as through one."""
    where, strides = access
    one = [stride for axis, stride in zip(where, strides, strict=True) if axis == first]
    two = [stride for axis, stride in zip(where, strides, strict=True) if axis == second]
    return not one and not two or len(one) == len(two) == 1 and one[0] == two[0] * length


def score(axis: str, lengths: dict[str, int], accesses: list[Access], width: int) -> Any:
    """Long enough for lanes; then neighbours in memory; then length."""
    side_by_side = 0
    for where, strides in accesses:
        for name, stride in zip(where, strides, strict=True):
            if name == axis and stride:
                side_by_side += 1 if stride == 1 else -1
    return lengths[axis] >= width, side_by_side, lengths[axis]


# Functions.

def define(name: str, others: list[str], body: list[str]) -> str:
    """The function with the loops; `others` are the indices of the axes outside."""
    more = "".join(f", i64 {other}" for other in others)
    linkage = "internal " if others else ""
    return "\n".join([f"define {linkage}void @{name}(ptr %context, i64 %begin, i64 %end{more}) {{",
                      "entry:", *body, "  ret void", "}"])


def around(name: str, outer: list[str], lengths: dict[str, int], extent: int) -> str:
    """One loop that counts all outer axes, and calls the function with the loops inside."""
    lines, rest = [], "%at"
    for number, axis in enumerate(reversed(outer)):
        lines.append(f"  %q.{axis} = urem i64 {rest}, {lengths[axis]}")
        lines.append(f"  %rest{number} = udiv i64 {rest}, {lengths[axis]}")
        rest = f"%rest{number}"
    given = "".join(f", i64 %q.{axis}" for axis in outer)
    return "\n".join([f"define void @{name}.all(ptr %context, i64 %begin, i64 %end) {{", "entry:",
                      "  br label %head", "head:",
                      "  %at = phi i64 [ %begin, %entry ], [ %next, %body ]",
                      "  %more = icmp slt i64 %at, %end",
                      "  br i1 %more, label %body, label %done", "body:", *lines,
                      f"  call void @{name}(ptr %context, i64 0, i64 {extent}{given})",
                      "  %next = add i64 %at, 1", "  br label %head", "done:", "  ret void", "}"])


WORK_TO_SHARE = 150_000  # vector operations: about 30 microseconds


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


def drive(name: str, nests: list[tuple[Emitted, int]], pool: int, target: Target) -> str:
    """A function that runs nests one after another, denormals flushed.

    Each nest comes with the place of its number of parts in the context, or -1 if it is never
    shared; at `pool` are the pool and the address of its ``kkori_parallel``.
    """
    bits = float_mode.MODES[target.family.architecture][1]
    lines = [f"define void @{name}(ptr %context) {{", "entry:",
             f"  %mode = call i64 @{float_mode.GET}()", f"  %flush = or i64 %mode, {bits}",
             f"  call void @{float_mode.SET}(i64 %flush)",
             f"  %p.pool = getelementptr i64, ptr %context, i64 {pool}",
             f"  %p.share = getelementptr i64, ptr %context, i64 {pool + 1}",
             "  %pool = load ptr, ptr %p.pool, align 8",
             "  %share = load ptr, ptr %p.share, align 8"]
    for number, (nest, place) in enumerate(nests):
        call = f"  call void @{nest.name}(ptr %context, i64 0, i64 {nest.extent}" \
               f"{', i64 0' if nest.product else ''})"
        lines += [call] if place < 0 else shared(nest, number, place, call)
    return "\n".join([*lines, f"  call void @{float_mode.SET}(i64 %mode)", "  ret void", "}"])


def shared(nest: Emitted, number: int, place: int, call: str) -> list[str]:
    """A nest in parts by several threads, if the context asks for more than one."""
    n = number
    return [f"  %p{n} = getelementptr i64, ptr %context, i64 {place}",
            f"  %parts{n} = load i64, ptr %p{n}, align 8",
            f"  %several{n} = icmp sgt i64 %parts{n}, 1",
            f"  br i1 %several{n}, label %many{n}, label %one{n}", f"one{n}:", call,
            f"  br label %next{n}", f"many{n}:",
            f"  call void %share(ptr %pool, ptr @{nest.name}.part, ptr %context, i64 %parts{n})",
            f"  br label %next{n}", f"next{n}:"]


# The whole text.

SUFFIX = {"f32": "float", "f64": "double", "i8": "i8", "i64": "i64"}


def linked(text: str, target: Target, parts: dict[str, str]) -> str:
    """`text` with all that it calls: intrinsics declared, vector math defined, and `parts`."""
    parts = {float_mode.GET: float_mode.text_of(target), **parts}
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
