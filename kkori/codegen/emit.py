"""From a loop nest to a function: which axes become one, where lanes go, what lies outside.

A nest becomes ``void name(ptr context, i64 begin, i64 end)``, which does the part [begin, end) of
its outermost loop, so that threads can share it. The context holds the addresses of all buffers,
then the run-time numbers as doubles, then what drivers need (see `driver`).

Neighbouring axes that every array walks through as if they were one become one. Of what is left,
one axis gets the lanes; `forms` writes the loops over it, the summed axis and one more. All
others are counted by a single loop around that.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import nan, prod
from typing import Any, NamedTuple

from kkori.codegen.blueprint import WORK_TO_SHARE
from kkori.codegen.forms import Form, columns, point, rows, tile_of
from kkori.codegen.graph import Value
from kkori.codegen.scalars import LIBRARY, Unsupported
from kkori.codegen.schedule import (
    COST,
    FEW,
    Address,
    Nest,
    functions,
    outer_address,
    own_address,
    reads,
)
from kkori.codegen.target import Target
from kkori.codegen.writer import NEAR, Axis, Buffers

__all__ = ["WORK_TO_SHARE", "Emitted", "Unsupported", "emit_nest", "has_form"]

TURN = 30  # instructions around those of a turn that is a call
CLEARLY = 1.4  # what is estimated so much better is better
SIDE_BY_SIDE = 4  # functions that do not wait for one another

Access = tuple[Address, tuple[float, ...]]


class Emitted(NamedTuple):
    """A nest's function: its text, the length of its outermost loop, how that may be cut."""

    name: str
    text: str
    extent: int
    grain: int  # parts of the loop must be multiples of this, but for the last
    work: int  # scalar operations, roughly
    product: bool = False  # takes the number of its thread too, and is cut less finely
    finish: str = ""  # a function that ends what the parts have begun


def emit_nest(name: str, nest: Nest, stored: set[Value], buffers: Buffers,
              target: Target) -> Emitted:
    """The nest's function. Raises `Unsupported` where it has no form."""
    wide = any(v.dtype == "f8" and v.shape != () for v in every(nest.values, stored))
    width = target.lanes("double" if wide else "float")
    lengths, accesses, fixed = axes_of(nest, stored, buffers)
    out = [axis for axis in lengths if axis[0] == "o" and axis not in fixed]
    over = [axis for axis in lengths if axis[0] == "r" and axis not in fixed]
    if len(over) > 1:
        raise Unsupported("a sum along axes that are not one")
    lanes = lanes_of(nest, out, over, lengths, accesses, width)
    inner = out[-1:] if lanes in over else [lanes] if out else []
    outer = [axis for axis in out if axis not in inner]
    for axis in outer:
        fixed[axis] = Axis(f"%q.{axis}", 0)
    form = Form(nest, stored, buffers, width, fixed, lengths, lanes if lanes in out else "",
                (inner or [""])[0], (over or [""])[0], target.registers)
    form.gathers = is_gathered(lanes, accesses)
    work = prod(nest.out) * (prod(nest.over) * effort(nest.sums, stored)
                             + effort((*nest.maps, *nest.totals), stored))
    extent = prod(lengths[axis] for axis in outer or inner)
    grain = 1 if outer else grain_of(form, lanes)
    whole = not outer and (extent <= grain or work < WORK_TO_SHARE * target.lanes("float"))
    ending = bool(nest.totals or nest.last) and not whole
    text = [define(name, [f"%q.{axis}" for axis in outer], write_form(form, lanes, whole))]
    if outer:
        text.append(around(name, outer, lengths, lengths[inner[0]]))
    if ending:
        text.append(define(f"{name}.finish", [], write_ending(form)))
    return Emitted(f"{name}.all" if outer else name, "\n\n".join(text), extent,
                   extent if whole else grain, work, finish=f"{name}.finish" if ending else "")


def has_form(nest: Nest, stored: set[Value], buffers: Buffers) -> bool:
    """Whether `emit_nest` can write a nest: its sums must go along axes that are like one."""
    if len(nest.over) < 2:
        return True
    lengths, _, fixed = axes_of(nest, stored, buffers)
    return sum(axis[0] == "r" and axis not in fixed for axis in lengths) < 2


def axes_of(nest: Nest, stored: set[Value], buffers: Buffers
            ) -> tuple[dict[str, int], list[Access], dict[str, Axis]]:
    """A nest's axes and their lengths, how arrays are walked along them, which need no loop."""
    accesses = [access for value in nest.values if value not in nest.totals
                for access in accesses_of(value, stored, buffers)]
    accesses += [(outer_address(where), strides) for total in nest.totals
                 for where, strides in accesses_of(total, stored, buffers)]
    lengths = {f"o{k}": n for k, n in enumerate(nest.out)}
    lengths.update((f"r{k}", n) for k, n in enumerate(nest.over))
    return lengths, accesses, merged(lengths, accesses)


def lanes_of(nest: Nest, out: list[str], over: list[str], lengths: dict[str, int],
             accesses: list[Access], width: int) -> str:
    """The axis that gets the lanes; that of the sums where some of them have no other; a short one
    where that costs less than to gather lanes one by one."""
    if nest.at_once:
        return over[0]
    best = max((*out, *over), default="",
               key=lambda axis: score(axis, lengths, accesses, width))
    if over or not is_gathered(best, accesses):
        return best
    other = min(out, key=lambda axis: toll(axis, lengths, accesses, width))
    gain = toll(best, lengths, accesses, width) / toll(other, lengths, accesses, width)
    return other if gain > CLEARLY else best


def is_gathered(axis: str, accesses: list[Access]) -> bool:
    """Whether lanes along an axis are read or written one at a time, in some array."""
    return any(name == axis and stride > NEAR for where, strides in accesses
               for name, stride in zip(where, strides, strict=True))


def toll(axis: str, lengths: dict[str, int], accesses: list[Access], width: int) -> float:
    """Roughly, instructions an element if an axis has the lanes: of a turn, to read, to write."""
    length = lengths[axis]
    ways = [stride for where, strides in accesses
            for name, stride in zip(where, strides, strict=True) if name == axis]
    turns = -(-length // width) / length
    return TURN * turns + sum(4 if stride > NEAR else 2 * turns for stride in ways)


def effort(values: Iterable[Value], stored: set[Value]) -> int:
    """What one turn of the loops costs, in additions; loads and sums are one each."""
    parts = {part for part in every(values, stored) if part.kind == "map"
             or part.kind == "input"}
    return sum(COST.get(part.attr, 1) if part.kind == "map" else 1 for part in parts) + len(
        list(values))


def grain_of(form: Form, lanes: str) -> int:
    """The multiple at which the outermost loop may be cut."""
    if not lanes:
        return 1
    if lanes[0] == "r":
        rows_ = form.lengths[form.row] if form.row else 1
        return rows_ if rows_ <= FEW else form.width
    return tile_of(form, form.nest.sums) * form.width


def write_form(form: Form, lanes: str, whole: bool) -> list[str]:
    """The body of the function: all that the nest computes, if it does the `whole` loop."""
    nest = form.nest
    totals, last = (nest.totals, nest.last) if whole else ([], [])
    if not lanes:
        return point(form, [*nest.maps, *last])
    if lanes[0] == "r":
        lines = rows(form, nest.sums, nest.maps, totals)
    else:
        lines = columns(form, nest.sums, nest.maps, tile_of(form, nest.sums), totals)
    return lines + (point(form, last) if last else [])


def write_ending(form: Form) -> list[str]:
    """What comes behind the loop, when threads have done it in parts."""
    nest, lines = form.nest, []
    if nest.totals:
        form.column = form.column or form.row
        lines = columns(form, [], [], tile_of_ending(form), nest.totals)
    return lines + (point(form, nest.last) if nest.last else [])


def tile_of_ending(form: Form) -> int:
    """A few vectors; fewer where each has several functions like log, which are long to compile
    and keep a processor busy as soon as there are some of them side by side."""
    totals = form.nest.totals
    many = sum(len(functions(total, form.stored, LIBRARY)) for total in totals)
    return min(tile_of(form, totals), max(1, SIDE_BY_SIDE // max(many, 1)))


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
    found = [walked(where, buffers.strides.get(need, (0,))) for need, where in reads(value, stored)]
    return [*found, (own_address(value), buffers.strides[value])]


def walked(where: Address, strides: tuple[int, ...]) -> Access:
    """The axes along which an array is walked through, and how far a turn of each takes: NaN where
    not every turn does."""
    return (tuple([a[0] if a.__class__ is tuple else a for a in where]),
            tuple([stride if a.__class__ is not tuple else stride * a[2] if len(a) == 3 else nan
                   for a, stride in zip(where, strides, strict=True)]))


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
