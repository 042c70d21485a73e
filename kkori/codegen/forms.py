"""Loop nests as LLVM text: explicit vectors, register tiles, no passes needed afterwards.

A form writes the part [begin, end) of one loop; what lies outside of that is `emit`'s business.

    columns   lanes along an output axis; sums run down the rows, one accumulator a column
    rows      lanes along the summed axis; a tile of rows shares what is loaded, and long rows are
              summed in blocks that fit a cache; afterwards what is made of the sums, as columns
    totals    sums over the columns, gathered while those are written
    point     no loop at all

Every instruction is written at the outermost level at which its operands are known, so what does
not change in a loop is computed before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kkori.codegen.graph import Value
from kkori.codegen.scalars import LIBRARY, LLVM_TYPES, literal, shaped, splat, suffix
from kkori.codegen.schedule import FEW, Nest, addresses, functions, own_address, reads, real
from kkori.codegen.writer import Axis, Buffers, Code, Writer, combine, some

__all__ = ["Form", "columns", "point", "rows", "tile_of"]

COLUMN_VECTORS, ROW_TILE, ROW_VECTORS = 4, 4, 2
COLUMN_BLOCK = 256  # rows that are summed one after another
ROW_BLOCK = 4096  # elements of long rows that are summed before the next tile of rows is
NEUTRAL = {"add": -0.0, "max": float("-inf"), "min": float("inf")}


class Form:
    """What forms work on: a nest, its axes and their lengths, and names that are still free."""

    def __init__(self, nest: Nest, stored: set[Value], buffers: Buffers, width: int,
                 fixed: dict[str, Axis], lengths: dict[str, int], column: str, row: str,
                 over: str, registers: int) -> None:
        self.nest, self.stored, self.buffers, self.width = nest, stored, buffers, width
        self.fixed, self.lengths, self.registers = fixed, lengths, registers
        self.column, self.row, self.over = column, row, over
        self.gathers = False  # whether some arrays are read or written one lane at a time
        self.labels = self.count = 0

    def writer(self) -> Writer:
        """A writer whose names are new; give them back with `close`."""
        return Writer(self.stored, self.buffers, self.fixed, self.count)

    def close(self, writer: Writer) -> None:
        """Names that `writer` has used are taken from now on."""
        self.count = max(self.count, writer.code.count)

    def label(self, stem: str) -> str:
        """A label nobody has."""
        self.labels += 1
        return f"{stem}{self.labels}"

    def name(self, stem: str) -> str:
        self.count += 1
        return f"%{stem}{self.count}"


Carried = tuple[str, str, str, str]  # type, name, its start, its name after a turn


def blocks(form: Form, start: str, step: int, inside: list[str], at: str, level0: list[str],
           partial: bool = False, carried: Sequence[Carried] = ()) -> list[str]:
    """A loop over blocks of `step`, from `start` as far as they fit (or begin, if `partial`)."""
    head, body, done, entry = (form.label(s) for s in ("head", "body", "done", "enter"))
    after, fits = form.name("next"), form.name("fits")
    edge = at if partial else after
    sign = "slt" if partial else "sle"
    return [f"  br label %{entry}", f"{entry}:", *level0, f"  br label %{head}",
            f"{head}:", f"  {at} = phi i64 [ {start}, %{entry} ], [ {after}, %{body}.end ]",
            *(f"  {name} = phi {kind} [ {first}, %{entry} ], [ {new}, %{body}.end ]"
              for kind, name, first, new in carried),
            f"  {after} = add i64 {at}, {step}",
            f"  {fits} = icmp {sign} i64 {edge}, %end",
            f"  br i1 {fits}, label %{body}, label %{done}",
            f"{body}:", *inside, f"  br label %{body}.end", f"{body}.end:",
            f"  br label %{head}", f"{done}:"]


def straight(form: Form, inside: list[str], level0: list[str],
             carried: Sequence[Carried]) -> list[str]:
    """The same for a single turn."""
    entry, body = form.label("enter"), form.label("body")
    return [f"  br label %{entry}", f"{entry}:", *level0, f"  br label %{body}", f"{body}:",
            *(f"  {name} = phi {kind} [ {first}, %{entry} ]" for kind, name, first, _ in carried),
            *inside]


def parts(length: int, width: int, vectors: int) -> list[tuple[int, int, int, int]]:
    """How a loop of known length is cut: (first, last, vectors, live lanes) of each part."""
    found, first = [], 0
    for count in (vectors, 1) if vectors > 1 else (1,):
        last = first + (length - first) // (count * width) * (count * width)
        if last > first:
            found.append((first, last, count, width))
        first = last
    if length > first:
        found.append((first, length, 1, length - first))
    return found


# No loops.

def point(form: Form, maps: list[Value]) -> list[str]:
    """A few numbers."""
    writer = form.writer()
    writer.floor = 3
    for value in maps:
        finish(writer, value)
    form.close(writer)
    return writer.code.take(0) + writer.code.take(1) + writer.code.take(3)


def finish(writer: Writer, value: Value) -> None:
    """Evaluate an elementwise stored value at its own address and store it."""
    writer.computing = (value,)
    where = own_address(value)
    known = writer.value(value, where)
    writer.computing = ()
    writer.finished[value, writer.places(where)] = known
    writer.store(value, known, where, 3)


# Lanes along the output.

def columns(form: Form, sums: list[Value], maps: list[Value], vectors: int,
            totals: Sequence[Value] = ()) -> list[str]:
    """Blocks of several vectors, then what is left as one block whose last vector is partial."""
    width, length = form.width, form.lengths[form.column]
    lines: list[str] = []
    start, rest = "%begin", length % (vectors * width)
    once = rest == length  # nobody cuts so short a loop
    running = {(total, k): splat(NEUTRAL[total.attr[0]], total.dtype, width)
               for total in totals for k in range(vectors)}
    if length >= vectors * width:
        lines, start = columns_block(form, sums, maps, start, [width] * vectors, running)
    if rest:
        live = [min(width, rest - first) for first in range(0, rest, width)]
        lines += columns_block(form, sums, maps, start, live, running, True, once)[0]
    return lines + add_up(form, running)


def tile_of(form: Form, sums: list[Value]) -> int:
    """As many vectors as registers hold: accumulators, and what does not change along a sum.

    One where lanes are gathered one by one: that is work enough for a turn, and long to compile.
    """
    if form.gathers:
        return 1
    held = len(sums) + len({value for total in sums for value in leaves(total)})
    return max(1, min(COLUMN_VECTORS, (form.registers - 4) // max(held, 1)))


def leaves(total: Value) -> list[Value]:
    """Inputs of a sum that have fewer dimensions than it sums over."""
    size = max(total.args[0].shape, default=1)
    found, stack = [], [total.args[0]]
    seen = set()
    while stack:
        part = stack.pop()
        if part in seen:
            continue
        seen.add(part)
        if part.kind == "input" and size in part.shape:
            found.append(part)
        stack.extend(part.args if part.kind in ("map", "view") else ())
    return found


Running = dict[tuple[Value, int], str]  # partial totals, one for each vector of a block


def columns_block(form: Form, sums: list[Value], maps: list[Value], start: str, live: list[int],
                  running: Running, last: bool = False,
                  once: bool = False) -> tuple[list[str], str]:
    """One loop over blocks of vectors of columns, from `start`, and where it ends; no loop for
    what is done `once`."""
    writer = form.writer()
    code, width = writer.code, form.width
    at = "0" if once else code.name("j")
    tiles = [str(k * width) if once else at if k == 0 else code.put(1, f"add i64 {at}, {k * width}")
             for k in range(len(live))]
    axes = [{form.column: Axis(index, 1, width, some)}
            for index, some in zip(tiles, live, strict=True)]
    inner = columns_inner(form, writer, sums, axes) if sums else []
    writer.floor = 3
    side_by_side(form, writer, maps, axes)
    taken: dict[tuple[Value, int], Carried] = {}
    for number, axis in enumerate(axes):
        writer.axes.update(axis)
        for value in sums:
            where = own_address(value)
            writer.store(value, writer.finished[value, writer.places(where)], where, 3)
        for value in maps:
            finish(writer, value)
        taken.update({(total, k): take_in(form, writer, total, k, running)
                      for total, k in running if k == number})
    inside = [*code.take(1), *inner, *code.take(3)]
    level0 = code.take(0)
    form.close(writer)
    if once:
        running.update({key: carried[3] for key, carried in taken.items()})
        return straight(form, inside, level0, list(taken.values())), at
    return blocks(form, start, len(live) * width, inside, at, level0, last,
                  list(taken.values())), at


def take_in(form: Form, writer: Writer, total: Value, number: int, running: Running) -> Carried:
    """One more vector of columns in a total."""
    operand, where = addresses(total)
    axis, kind = writer.axes[form.column], shaped(total.dtype, form.width)
    writer.axes["r0"], before = axis, writer.axes.get("r0")
    writer.computing = (total,)
    text = writer.spread(writer.value(operand, where), total.dtype, form.width)
    writer.computing = ()
    if before is not None:
        writer.axes["r0"] = before
    text = only_live(writer.code, 3, total, axis, text)
    start, name = running[total, number], writer.code.name("acc")
    new = combine(writer.code, 3, total, name, text, form.width)
    running[total, number] = name
    return kind, name, start, new


def only_live(code: Code, level: int, value: Value, axis: Axis, text: str) -> str:
    """Lanes beyond the end add nothing to a reduction."""
    if axis.live == axis.lanes:
        return text
    kind = shaped(value.dtype, axis.lanes)
    start = splat(NEUTRAL[value.attr[0]], value.dtype, axis.lanes)
    return code.put(level, f"select {some(axis)}, {kind} {text}, {kind} {start}")


def add_up(form: Form, running: Running) -> list[str]:
    """The totals, from what the blocks have left."""
    writer = form.writer()
    found: dict[tuple[int, Value], str] = {}
    lines = across_all(writer.code, [(0, total, name) for (total, _), name in running.items()],
                       found, form.width)
    for (_, total), name in found.items():
        writer.store(total, (name, 1, 3), own_address(total), 3)
    form.close(writer)
    return lines + writer.code.take(0) + writer.code.take(3)


def columns_inner(form: Form, writer: Writer, sums: list[Value],
                  axes: list[dict[str, Axis]]) -> list[str]:
    """The loop down the rows, with one accumulator for each sum and column vector."""
    code, length = writer.code, form.lengths[form.over]
    loop, end, before = (form.label(s) for s in ("loop", "sum", "before"))
    blocked = length > 2 * COLUMN_BLOCK
    enter = f"{before}.block" if blocked else before
    row = code.name("i")
    phis, updates = [], []
    side_by_side(form, writer, sums, [{**axis, form.over: Axis(row, 2)} for axis in axes])
    for axis in axes:
        writer.axes.update(axis)
        writer.axes[form.over] = Axis(row, 2)
        for value in sums:
            new, phi = accumulate(form, writer, value, loop, enter)
            phis.append(phi)
            updates.append(((value, writer.places(own_address(value))), new))
    step, more = code.name("i"), code.name("more")
    ahead: list[str]
    behind: list[str]
    inside, first, stop, ahead, behind = code.take(2), "0", str(length), [], []
    if blocked:
        first, stop, ahead, behind, updates = in_blocks(form, writer, updates, before, end)
    for key, new in updates:
        writer.finished[key] = new, form.width, 3
    return [f"  br label %{before}", f"{before}:", *ahead, f"  br label %{loop}", f"{loop}:",
            f"  {row} = phi i64 [ {first}, %{enter} ], [ {step}, %{loop} ]", *phis,
            *inside, f"  {step} = add i64 {row}, 1", f"  {more} = icmp slt i64 {step}, {stop}",
            f"  br i1 {more}, label %{loop}, label %{end}", f"{end}:", *behind]


Updates = list[tuple[Any, str]]  # keys of finished sums, and their names


def in_blocks(form: Form, writer: Writer, updates: Updates, before: str,
              end: str) -> tuple[str, str, list[str], list[str], Updates]:
    """A loop over blocks of rows around the loop down the rows: where that begins and stops, the
    lines before and behind it, the totals. The sum of thousands of numbers, one after another,
    would lose digits that the sum of the sums of some hundred keeps."""
    code, length = writer.code, form.lengths[form.over]
    first, last, fits, stop, more = (code.name(s) for s in ("i", "i", "fits", "i", "more"))
    phis, totals = [], []
    for key, new in updates:
        value, total = key[0], code.name("total")
        start = splat(NEUTRAL[value.attr[0]], value.dtype, form.width)
        found = combine(code, 2, value, total, new, form.width)
        phis.append(f"  {total} = phi {shaped(value.dtype, form.width)} "
                    f"[ {start}, %{before} ], [ {found}, %{end} ]")
        totals.append((key, found))
    ahead = [f"  br label %{before}.block", f"{before}.block:",
             f"  {first} = phi i64 [ 0, %{before} ], [ {stop}, %{end} ]", *phis,
             f"  {last} = add i64 {first}, {COLUMN_BLOCK}",
             f"  {fits} = icmp slt i64 {last}, {length}",
             f"  {stop} = select i1 {fits}, i64 {last}, i64 {length}"]
    behind = [*code.take(2), f"  {more} = icmp slt i64 {stop}, {length}",
              f"  br i1 {more}, label %{before}.block, label %{end}.all", f"{end}.all:"]
    return first, stop, ahead, behind, totals


def side_by_side(form: Form, writer: Writer, values: Sequence[Value],
                 turns: Sequence[dict[str, Axis]]) -> None:
    """Write functions like exp for all turns of a block before what is made of them.

    Their instructions wait for one another; a processor that looks some hundred instructions
    ahead is busy only if it finds another turn's there. What needs one of `values` has to wait.
    """
    for value in values:
        for part, where in functions(value, form.stored, LIBRARY):
            if any(need in values for need, _ in reads(part, form.stored)):
                continue
            for turn in turns:
                writer.axes.update(turn)
                writer.computing = (value,)
                writer.value(part, where)
    writer.computing = ()


def accumulate(form: Form, writer: Writer, value: Value, loop: str,
               before: str) -> tuple[str, str]:
    """One more term in a sum: its new name, and the phi line of its old one."""
    operand, where = addresses(value)
    code, lanes = writer.code, form.width
    total, kind = code.name("acc"), shaped(value.dtype, lanes)
    start = splat(NEUTRAL[value.attr[0]], value.dtype, lanes)
    writer.computing = (value,)
    text = writer.spread(writer.value(operand, where), value.dtype, lanes)
    writer.computing = ()
    text = only_live(code, 2, value, writer.axes[form.over], text)
    new = combine(code, 2, value, total, text, lanes)
    return new, f"  {total} = phi {kind} [ {start}, %{before} ], [ {new}, %{loop} ]"


# Lanes along the sum.

def rows(form: Form, sums: list[Value], maps: list[Value],
         totals: Sequence[Value] = ()) -> list[str]:
    """All sums of the rows, then what is made of them."""
    lines = row_sums(form, sums)
    if not form.row:
        return lines + point(form, maps) if maps else lines
    if maps or totals:
        form.column = form.row
        lines += columns(form, [], maps, 1, totals)
    return lines


def row_sums(form: Form, sums: list[Value]) -> list[str]:
    """In blocks of the summed axis where that is long; the last block is what is left."""
    length = form.lengths[form.over]
    whole = 0
    if form.row and form.lengths[form.row] > ROW_TILE and length > 2 * ROW_BLOCK:
        whole = length // ROW_BLOCK
    if not whole:
        return row_pass(form, sums, "0", length, False)
    head, done = form.label("block"), form.label("rest")
    at, after, more = form.name("b"), form.name("b"), form.name("more")
    lines = [*clear(form, sums), f"  br label %{head}.enter", f"{head}.enter:",
             f"  br label %{head}", f"{head}:",
             f"  {at} = phi i64 [ 0, %{head}.enter ], [ {after}, %{head}.end ]",
             *row_pass(form, sums, at, ROW_BLOCK, True),
             f"  {after} = add i64 {at}, {ROW_BLOCK}",
             f"  {more} = icmp slt i64 {after}, {whole * ROW_BLOCK}",
             f"  br label %{head}.end", f"{head}.end:",
             f"  br i1 {more}, label %{head}, label %{done}", f"{done}:"]
    if length > whole * ROW_BLOCK:
        lines += row_pass(form, sums, str(whole * ROW_BLOCK), length - whole * ROW_BLOCK, True)
    return lines


def clear(form: Form, sums: list[Value]) -> list[str]:
    """Set the sums to what a sum starts from."""
    writer = form.writer()
    writer.floor = 3
    at = writer.code.name("i")
    writer.axes[form.row] = Axis(at, 1)
    for value in sums:
        start = literal(NEUTRAL[value.attr[0]], value.dtype)
        writer.store(value, (start, 1, 0), own_address(value), 3)
    inside, level0 = writer.code.take(1) + writer.code.take(3), writer.code.take(0)
    form.close(writer)
    return blocks(form, "%begin", 1, inside, at, level0)


def row_pass(form: Form, sums: list[Value], first: str, length: int, more: bool) -> list[str]:
    """[first, first + length) of all rows: tiles of rows, then single ones; a few rows at once."""
    rows_ = form.lengths[form.row] if form.row else 1
    if rows_ <= FEW:
        writer = form.writer()
        axes = [{form.row: Axis(str(k), 0)} if form.row else {} for k in range(rows_)]
        inside = row_tile(form, writer, sums, axes, first, length, more)
        form.close(writer)
        return writer.code.take(0) + inside
    lines: list[str] = []
    start = "%begin"
    for tile in (ROW_TILE, 1):
        block, start = row_block(form, sums, start, tile, first, length, more)
        lines += block
    return lines


def row_block(form: Form, sums: list[Value], start: str, tile: int, first: str, length: int,
              more: bool) -> tuple[list[str], str]:
    """One loop over blocks of `tile` rows, from `start` as far as they fit; where it ends."""
    writer = form.writer()
    code = writer.code
    at = code.name("i")
    tiles = [at if k == 0 else code.put(1, f"add i64 {at}, {k}") for k in range(tile)]
    axes = [{form.row: Axis(index, 1)} for index in tiles]
    inside = row_tile(form, writer, sums, axes, first, length, more)
    level0 = code.take(0)
    form.close(writer)
    return blocks(form, start, tile, inside, at, level0), at


def row_tile(form: Form, writer: Writer, sums: list[Value], axes: list[dict[str, Axis]],
             first: str, length: int, more: bool) -> list[str]:
    """The sums of a tile of rows; sums that belong to no row come with the first."""
    code = writer.code
    totals: dict[tuple[int, Value], str] = {}
    inner: list[str] = []
    vectors = ROW_VECTORS
    if (form.lengths[form.row] if form.row else 1) <= FEW and any(
            functions(value, form.stored, LIBRARY) for value in sums):
        vectors *= 2
    for part in parts(length, form.width, vectors):
        inner += row_loop(form, writer, sums, axes, totals, first, part)
    writer.floor = 3
    for (number, value), name in totals.items():
        writer.axes.update(axes[number])
        keep_total(writer, value, name, more)
    return [*code.take(1), *inner, *code.take(3)]


def keep_total(writer: Writer, value: Value, name: str, more: bool) -> None:
    """Store a row's total, or add it to what the blocks before have given."""
    where = own_address(value)
    if more:
        old = writer.load(value, where)[0]
        name = combine(writer.code, 3, value, old, name, 1)
    writer.store(value, (name, 1, 3), where, 3)


def row_loop(form: Form, writer: Writer, sums: list[Value], axes: list[dict[str, Axis]],
             totals: dict[tuple[int, Value], str], first: str,
             part: tuple[int, int, int, int]) -> list[str]:
    """One part of a row: a loop with vector accumulators, which end in `totals`."""
    begin, last, vectors, live = part
    code, width = writer.code, form.width
    loop, end, before = (form.label(s) for s in ("loop", "sum", "before"))
    at, step, more = code.name("j"), code.name("j"), code.name("more")
    places = [at if k == 0 else code.put(2, f"add i64 {at}, {k * width}") for k in range(vectors)]
    phis, partial = [], []
    side_by_side(form, writer, sums, [{**axis, form.over: Axis(place, 2, width, live)}
                                      for axis in axes for place in places])
    for number, axis in enumerate(axes):
        writer.axes.update(axis)
        for place in places:
            writer.axes[form.over] = Axis(place, 2, width, live)
            for value in sums:
                if number and real(value.shape) == ():
                    continue
                new, phi = accumulate(form, writer, value, loop, before)
                phis.append(phi)
                partial.append((number, value, new))
    low, high = code.name("from"), code.name("to")
    lines = [f"  br label %{before}", f"{before}:", f"  {low} = add i64 {first}, {begin}",
             f"  {high} = add i64 {first}, {last}", f"  br label %{loop}", f"{loop}:",
             f"  {at} = phi i64 [ {low}, %{before} ], [ {step}, %{loop} ]", *phis,
             *code.take(2), f"  {step} = add i64 {at}, {vectors * width}",
             f"  {more} = icmp slt i64 {step}, {high}",
             f"  br i1 {more}, label %{loop}, label %{end}", f"{end}:"]
    return lines + across_all(code, partial, totals, width)


def across_all(code: Code, partial: list[tuple[int, Value, str]],
               totals: dict[tuple[int, Value], str], width: int) -> list[str]:
    """Accumulators of one sum added up, then their lanes, then the parts of the row before."""
    together: dict[tuple[int, Value], str] = {}
    for number, value, name in partial:
        old = together.get((number, value))
        together[number, value] = name if old is None else combine(
            code, 2, value, old, name, width)
    for (number, value), name in together.items():
        one = across(code, value, name, width)
        old = totals.get((number, value))
        totals[number, value] = one if old is None else combine(code, 2, value, old, one, 1)
    return code.take(2)


def across(code: Code, value: Value, name: str, lanes: int) -> str:
    """The lanes of an accumulator as one number, in a fixed order."""
    if lanes == 1:
        return name
    kind, wide = LLVM_TYPES[value.dtype], shaped(value.dtype, lanes)
    ending = suffix(value.dtype, lanes)
    if value.attr[0] == "add":
        return code.put(2, f"call reassoc {kind} @llvm.vector.reduce.fadd.{ending}("
                           f"{kind} {literal(-0.0, value.dtype)}, {wide} {name})")
    which = {"max": "fmaximum", "min": "fminimum"}[value.attr[0]]
    return code.put(2, f"call {kind} @llvm.vector.reduce.{which}.{ending}({wide} {name})")
