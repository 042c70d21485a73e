"""From a loop nest to LLVM text: explicit vectors, register tiles, no passes needed afterwards.

A nest becomes ``void name(ptr context, i64 begin, i64 end)``, which does the part [begin, end) of
its outermost loop, so that threads can share it. The context holds the addresses of all buffers,
then the run-time numbers as doubles.

Which loop is vectorised decides the form (`choose_form`):

    columns   lanes along an output axis; sums run down the rows, one accumulator a column
    rows      lanes along the summed axis; a tile of rows shares what is loaded
    table     two output axes, nothing summed: a row at a time, lanes along it

Every instruction is written at the outermost level at which its operands are known, so what does
not change in a loop is computed before it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from kkori.codegen.graph import Value
from kkori.codegen.schedule import Address, Nest, addresses, narrowed, own_address, reads, through
from kkori.core.size import contiguous_strides

__all__ = ["Buffers", "Unsupported", "emit_nest", "choose_form"]

LLVM_TYPES = {"f4": "float", "f8": "double", "b1": "i1"}
BYTES = {"f4": 4, "f8": 8, "b1": 1}
ROW_TILE, VECTOR_TILE = 4, 4


class Unsupported(Exception):
    """A nest that has no form here; its steps are run by their array rules."""


class Buffers:
    """Where every array of the segment is: its place in the context, its strides, its type."""

    def __init__(self) -> None:
        self.places: dict[Value, int] = {}
        self.strides: dict[Value, tuple[int, ...]] = {}
        self.aliases: set[Value] = set()  # values that are written over an input
        self.count = 0

    def add(self, value: Value, strides: Sequence[int] | None = None) -> int:
        """Give `value` the next place; row-major unless `strides` (in elements) are given."""
        if value not in self.places:
            self.places[value] = self.count
            self.count += 1
        self.strides[value] = tuple(strides) if strides is not None else contiguous_strides(
            value.shape)
        return self.places[value]

    def share(self, value: Value, target: Value) -> None:
        """Write `value` over the input `target`."""
        self.places[value], self.strides[value] = self.places[target], self.strides[target]
        self.aliases.add(value)


class Axis:
    """One loop variable while code is written: its index, its level, lanes or a single value."""

    __slots__ = ("index", "level", "lanes")

    def __init__(self, index: str, level: int, lanes: int = 1) -> None:
        self.index, self.level, self.lanes = index, level, lanes


class Code:
    """Lines at levels: 0 the function, 1 the outer loop, 2 the inner loop, 3 after it."""

    def __init__(self) -> None:
        self.lines: dict[int, list[str]] = {0: [], 1: [], 2: [], 3: []}
        self.count = 0

    def name(self, stem: str = "v") -> str:
        self.count += 1
        return f"%{stem}{self.count}"

    def put(self, level: int, text: str, stem: str = "v") -> str:
        """Write ``name = text`` at `level`; returns the name."""
        name = self.name(stem)
        self.lines[level].append(f"  {name} = {text}")
        return name

    def do(self, level: int, text: str) -> None:
        self.lines[level].append(f"  {text}")

    def take(self, level: int) -> list[str]:
        lines, self.lines[level] = self.lines[level], []
        return lines


Known = tuple[str, int, int]  # name, lanes, level


class Writer:
    """Writes the evaluation of values at addresses, each only once."""

    def __init__(self, nest: Nest, stored: set[Value], buffers: Buffers, width: int) -> None:
        self.nest, self.stored, self.buffers, self.width = nest, stored, buffers, width
        self.code = Code()
        self.known: dict[Any, Known] = {}
        self.axes: dict[str, Axis] = {}
        self.floor = 0  # 3 while what follows the inner loop is written
        self.finished: dict[tuple[Value, str], Known] = {}  # sums of this nest, by column or row

    # Values.

    def key(self, value: Value, address: Address) -> Any:
        places = tuple(self.axes[a].index if a is not None else None for a in address)
        return value.number, places, self.floor, tuple(
            self.axes[a].lanes for a in address if a is not None)

    def value(self, value: Value, address: Address) -> Known:
        """The name of `value` at `address`, written where it can be known first."""
        stack = [(value, narrowed(value, address))]
        while stack:
            part, where = stack[-1]
            if self.key(part, where) in self.known:
                stack.pop()
                continue
            missing = [(arg, at) for arg, at in self.operands(part, where)
                       if self.key(arg, at) not in self.known]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            self.known[self.key(part, where)] = self.write(part, where)
        return self.known[self.key(value, narrowed(value, address))]

    def is_read(self, value: Value) -> bool:
        """Whether it is loaded (or already in a register) instead of computed here."""
        return value.kind == "input" or (value in self.stored and value not in self.computing)

    computing: tuple[Value, ...] = ()

    def operands(self, value: Value, where: Address) -> list[tuple[Value, Address]]:
        if self.is_read(value) or value.kind in ("constant", "number"):
            return []
        if value.kind == "view":
            inner = value.args[0]
            return [(inner, narrowed(inner, through(value, where)))]
        return [(arg, narrowed(arg, where)) for arg in value.args]

    def write(self, value: Value, where: Address) -> Known:
        if self.is_read(value):
            return self.finished_or_loaded(value, where)
        if value.kind == "constant":
            return literal(value.attr, value.dtype), 1, 0
        if value.kind == "number":
            return self.number(value), 1, 0
        found = [self.known[self.key(arg, at)] for arg, at in self.operands(value, where)]
        if value.kind == "view":
            return found[0]
        return self.scalar(value, found)

    def finished_or_loaded(self, value: Value, where: Address) -> Known:
        tile = self.tile_of(where)
        if (value, tile) in self.finished:
            return self.finished[value, tile]
        return self.load(value, where)

    def tile_of(self, where: Address) -> str:
        """The column or row of the tile that an address is in."""
        return next((self.axes[a].index for a in where if a is not None), "")

    def level_of(self, level: int) -> int:
        return 3 if self.floor == 3 and level > 0 else level

    def scalar(self, value: Value, found: list[Known]) -> Known:
        """One scalar operation on the names of its operands."""
        lanes = max(k[1] for k in found)
        level = self.level_of(max(k[2] for k in found))
        kinds = [arg.dtype for arg in value.args]
        names = [self.spread(k, kind, lanes) for k, kind in zip(found, kinds, strict=True)]
        text = instruction(value, kinds, names, lanes)
        return self.code.put(level, text), lanes, level

    def spread(self, known: Known, dtype: str, lanes: int) -> str:
        """A name with `lanes` lanes: a scalar is repeated, once for each level."""
        name, have, level = known
        if have == lanes:
            return name
        key = ("spread", name, lanes, self.floor)
        if key not in self.known:
            level = self.level_of(level)
            kind = f"<{lanes} x {LLVM_TYPES[dtype]}>"
            first = self.code.put(
                level, f"insertelement {kind} poison, {LLVM_TYPES[dtype]} {name}, i64 0")
            wide = self.code.put(level, f"shufflevector {kind} {first}, {kind} poison, "
                                        f"<{lanes} x i32> zeroinitializer")
            self.known[key] = (wide, lanes, level)
        return self.known[key][0]

    def number(self, value: Value) -> str:
        """A run-time number, from the end of the context."""
        place = self.buffers.count + value.attr
        pointer = self.code.put(0, f"getelementptr i64, ptr %context, i64 {place}")
        return self.code.put(0, f"load double, ptr {pointer}, align 8")

    # Memory.

    def base(self, value: Value) -> str:
        key = ("base", value.number)
        if key not in self.known:
            pointer = self.code.put(
                0, f"getelementptr ptr, ptr %context, i64 {self.buffers.places[value]}")
            self.known[key] = (self.code.put(0, f"load ptr, ptr {pointer}, align 8", "p"), 1, 0)
        return self.known[key][0]

    def pointer(self, value: Value, where: Address) -> tuple[str, int, int, int]:
        """Address of an element: pointer, lanes, stride along the lanes, level."""
        name, level, lanes, step = self.base(value), 0, 1, 0
        kind = LLVM_TYPES[value.dtype] if value.dtype != "b1" else "i8"
        parts = [(self.axes[a], stride) for a, stride in
                 zip(where, self.buffers.strides[value], strict=True) if a is not None and stride]
        for axis, stride in sorted(parts, key=lambda part: part[0].level):
            level = self.level_of(max(level, axis.level))
            offset = axis.index if stride == 1 else self.code.put(
                level, f"mul i64 {axis.index}, {stride}")
            name = self.code.put(level, f"getelementptr {kind}, ptr {name}, i64 {offset}")
            if axis.lanes > 1:
                lanes, step = axis.lanes, stride
        return name, lanes, step, level

    def load(self, value: Value, where: Address) -> Known:
        name, lanes, step, level = self.pointer(value, where)
        kind, size = LLVM_TYPES[value.dtype], BYTES[value.dtype]
        if value.dtype == "b1":
            return self.load_truth(name, lanes, step, level)
        if lanes == 1:
            return self.code.put(level, f"load {kind}, ptr {name}, align {size}"), 1, level
        if step == 1:
            return self.code.put(
                level, f"load <{lanes} x {kind}>, ptr {name}, align {size}"), lanes, level
        return self.gathered(name, lanes, step, level, kind, size), lanes, level

    def load_truth(self, name: str, lanes: int, step: int, level: int) -> Known:
        if lanes == 1:
            byte = self.code.put(level, f"load i8, ptr {name}, align 1")
            return self.code.put(level, f"icmp ne i8 {byte}, 0"), 1, level
        if step == 1:
            row = self.code.put(level, f"load <{lanes} x i8>, ptr {name}, align 1")
        else:
            row = self.gathered(name, lanes, step, level, "i8", 1)
        return self.code.put(
            level, f"icmp ne <{lanes} x i8> {row}, zeroinitializer"), lanes, level

    def gathered(self, name: str, lanes: int, step: int, level: int, kind: str,
                 size: int) -> str:
        """Lanes that do not lie side by side, one by one."""
        row = "poison"
        for lane in range(lanes):
            at = self.code.put(level, f"getelementptr {kind}, ptr {name}, i64 {lane * step}")
            one = self.code.put(level, f"load {kind}, ptr {at}, align {size}")
            row = self.code.put(
                level, f"insertelement <{lanes} x {kind}> {row}, {kind} {one}, i64 {lane}")
        return row

    def store(self, value: Value, known: Known, where: Address, level: int) -> None:
        """Write one element, or one vector of them, of a stored value."""
        before, self.floor = self.floor, 3 if level == 3 else self.floor
        name, lanes, step, _ = self.pointer(value, where)
        self.floor = before
        kind, size = LLVM_TYPES[value.dtype], BYTES[value.dtype]
        text = self.spread(known, value.dtype, lanes)
        if value.dtype == "b1":
            kind = "i8"
            shape = kind if lanes == 1 else f"<{lanes} x i8>"
            source = "i1" if lanes == 1 else f"<{lanes} x i1>"
            text = self.code.put(level, f"zext {source} {text} to {shape}")
        if lanes == 1 or step == 1:
            shape = kind if lanes == 1 else f"<{lanes} x {kind}>"
            self.code.do(level, f"store {shape} {text}, ptr {name}, align {size}")
            return
        for lane in range(lanes):
            one = self.code.put(level, f"extractelement <{lanes} x {kind}> {text}, i64 {lane}")
            at = self.code.put(level, f"getelementptr {kind}, ptr {name}, i64 {lane * step}")
            self.code.do(level, f"store {kind} {one}, ptr {at}, align {size}")


def literal(number: float, dtype: str) -> str:
    """A number as LLVM writes it: the bits of a double, already rounded to the type."""
    if dtype == "b1":
        return "true" if number else "false"
    if dtype == "f4":
        try:
            number = struct.unpack("f", struct.pack("f", number))[0]
        except OverflowError:
            number = float("inf") if number > 0 else float("-inf")
    return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"


ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
INTRINSIC = {"sqrt": "sqrt", "abs": "fabs", "exp": "exp", "log": "log", "sin": "sin",
             "cos": "cos", "floor": "floor", "max": "maximum", "min": "minimum",
             "tanh": "tanh"}


def shaped(dtype: str, lanes: int) -> str:
    return LLVM_TYPES[dtype] if lanes == 1 else f"<{lanes} x {LLVM_TYPES[dtype]}>"


def instruction(value: Value, kinds: list[str], names: list[str], lanes: int) -> str:
    """The right-hand side of one scalar operation."""
    name, kind = value.attr, shaped(kinds[-1], lanes)
    if name in ARITHMETIC:
        return f"{ARITHMETIC[name]} contract {kind} {names[0]}, {names[1]}"
    if name == "neg":
        return f"fneg {kind} {names[0]}"
    if name in COMPARE:
        return f"fcmp {COMPARE[name]} {kind} {names[0]}, {names[1]}"
    if name in ("and", "or"):
        return f"{name} {kind} {names[0]}, {names[1]}"
    if name == "not":
        return f"xor {kind} {names[0]}, {splat_true(lanes)}"
    if name == "select":
        return f"select {shaped('b1', lanes)} {names[0]}, {kind} {names[1]}, {kind} {names[2]}"
    if name == "cast":
        return f"{conversion(kinds[0], value.dtype)} {kind} {names[0]} to " \
               f"{shaped(value.dtype, lanes)}"
    if name in INTRINSIC:
        args = ", ".join(f"{kind} {operand}" for operand in names)
        return f"call {kind} @llvm.{INTRINSIC[name]}.{suffix(kinds[-1], lanes)}({args})"
    raise Unsupported(f"no instruction for {name}")


def suffix(dtype: str, lanes: int) -> str:
    """How an intrinsic's name ends."""
    plain = {"f4": "f32", "f8": "f64"}[dtype]
    return plain if lanes == 1 else f"v{lanes}{plain}"


def splat_true(lanes: int) -> str:
    return "true" if lanes == 1 else f"<{', '.join(['i1 true'] * lanes)}>"


def conversion(source: str, target: str) -> str:
    if source == "b1":
        return "uitofp"
    return {("f4", "f8"): "fpext", ("f8", "f4"): "fptrunc"}[source, target]


# Forms.

def choose_form(nest: Nest, stored: set[Value], buffers: Buffers, width: int) -> tuple[str, str]:
    """The form of a nest and the axis of its lanes."""
    out, over = len(nest.out), len(nest.over)
    if (out, over) == (0, 0):
        return "point", ""
    if (out, over) == (2, 0):
        return "table", "o1"
    candidates = [f"o{k}" for k in range(out)] + [f"r{k}" for k in range(over)]
    if len(candidates) > 2 or out > 1 or over > 1:
        raise Unsupported(f"no form for {nest}")
    best = max(candidates, key=lambda axis: score(axis, nest, stored, buffers, width))
    return ("columns" if best[0] == "o" else "rows"), best


def length(nest: Nest, axis: str) -> int:
    return (nest.out if axis[0] == "o" else nest.over)[int(axis[1:])]


def score(axis: str, nest: Nest, stored: set[Value], buffers: Buffers, width: int) -> Any:
    """Long enough for lanes; then neighbours in memory; then length."""
    side_by_side = 0
    for value in (*nest.sums, *nest.maps):
        for need, where in reads(value, stored):
            for name, stride in zip(where, buffers.strides.get(need, ()), strict=False):
                if name == axis:
                    side_by_side += 1 if stride == 1 else -1
    return length(nest, axis) >= width, side_by_side, length(nest, axis)


def emit_nest(name: str, nest: Nest, stored: set[Value], buffers: Buffers,
              width: int) -> tuple[str, int]:
    """The function's text, and the length of the loop that [begin, end) is a part of."""
    form, lanes_axis = choose_form(nest, stored, buffers, width)
    body = _FORMS[form](Form(name, nest, stored, buffers, width, lanes_axis))
    head = f"define void @{name}(ptr %context, i64 %begin, i64 %end) {{\nentry:"
    return "\n".join([head, *body, "  ret void", "}"]), extent(form, nest, lanes_axis)


def extent(form: str, nest: Nest, lanes_axis: str) -> int:
    """The length of the outermost loop."""
    if form == "columns":
        return length(nest, lanes_axis)
    return nest.out[0] if nest.out else 1


class Form:
    """What the three forms share: the nest, and pieces of loops."""

    def __init__(self, name: str, nest: Nest, stored: set[Value], buffers: Buffers, width: int,
                 lanes_axis: str) -> None:
        self.name, self.nest, self.stored, self.buffers = name, nest, stored, buffers
        self.width, self.lanes_axis = width, lanes_axis
        self.labels = 0
        self.code_count = 0

    def writer(self) -> Writer:
        writer = Writer(self.nest, self.stored, self.buffers, self.width)
        writer.code.count = self.code_count
        return writer

    def label(self, stem: str) -> str:
        self.labels += 1
        return f"{stem}{self.labels}"


def add_up(writer: Writer, value: Value, known: Known, total: str, lanes: int) -> str:
    """One more term in an accumulator."""
    kind = shaped(value.dtype, lanes)
    text = writer.spread(known, value.dtype, lanes)
    name = value.attr[0]
    if name == "add":
        return writer.code.put(2, f"fadd {kind} {total}, {text}")
    which = {"max": "maximum", "min": "minimum"}[name]
    return writer.code.put(
        2, f"call {kind} @llvm.{which}.{suffix(value.dtype, lanes)}({kind} {total}, {kind} {text})")


def neutral(value: Value, lanes: int) -> str:
    """What a sum, maximum or minimum starts from."""
    start = {"add": -0.0, "max": float("-inf"), "min": float("inf")}[value.attr[0]]
    one = literal(start, value.dtype)
    if lanes == 1:
        return one
    return "<" + ", ".join([f"{LLVM_TYPES[value.dtype]} {one}"] * lanes) + ">"


def point(form: Form) -> list[str]:
    """No loops at all: a few numbers."""
    writer = form.writer()
    writer.floor = 3
    for value in form.nest.maps:
        finish(writer, value)
    return writer.code.take(0) + writer.code.take(1) + writer.code.take(3)


def finish(writer: Writer, value: Value) -> None:
    """Evaluate an elementwise stored value at its own address and store it."""
    writer.computing = (value,)
    where = own_address(value)
    known = writer.value(value, where)
    writer.computing = ()
    tile = writer.tile_of(where)
    writer.finished[value, tile] = known
    writer.store(value, known, where, 3)


def columns(form: Form) -> list[str]:
    """Lanes along the output; blocks of several vectors, then of one, then single elements."""
    lines: list[str] = []
    start = "%begin"
    for vectors, lanes in ((VECTOR_TILE, form.width), (1, form.width), (1, 1)):
        block, start = columns_block(form, start, vectors, lanes)
        lines += block
    return lines


def columns_block(form: Form, start: str, vectors: int, lanes: int) -> tuple[list[str], str]:
    """One loop over blocks of `vectors` times `lanes` columns, from `start` as far as they fit."""
    writer, nest = form.writer(), form.nest
    code, step = writer.code, vectors * lanes
    head, body, done = form.label("head"), form.label("body"), form.label("done")
    entry = form.label("enter")
    at = code.name("j")
    tiles = []
    for k in range(vectors):
        index = at if k == 0 else code.put(1, f"add i64 {at}, {k * lanes}")
        tiles.append(index)
    inner = columns_inner(form, writer, tiles, lanes) if nest.over else []
    writer.floor = 3
    for index in tiles:
        writer.axes = {"o0": Axis(index, 1, lanes)}
        for value in nest.sums:
            writer.store(value, writer.finished[value, index], own_address(value), 3)
        for value in nest.maps:
            finish(writer, value)
    after = code.name("j")
    lines = [f"  br label %{entry}", f"{entry}:", *code.take(0), f"  br label %{head}",
             f"{head}:",
             f"  {at} = phi i64 [ {start}, %{entry} ], [ {after}, %{body}.end ]",
             f"  {after} = add i64 {at}, {step}",
             f"  %fits.{head} = icmp sle i64 {after}, %end",
             f"  br i1 %fits.{head}, label %{body}, label %{done}",
             f"{body}:", *code.take(1), *inner, *code.take(3),
             f"  br label %{body}.end", f"{body}.end:", f"  br label %{head}", f"{done}:"]
    form.code_count = code.count
    return lines, at


def columns_inner(form: Form, writer: Writer, tiles: list[str], lanes: int) -> list[str]:
    """The loop down the rows, with one accumulator for each sum and column vector."""
    nest, code = form.nest, writer.code
    loop, end = form.label("loop"), form.label("sum")
    before = form.label("before")
    row = code.name("i")
    phis, updates = [], []
    for index in tiles:
        writer.axes = {"o0": Axis(index, 1, lanes), "r0": Axis(row, 2)}
        for value in nest.sums:
            operand, where = addresses(value)
            total, kind = code.name("acc"), shaped(value.dtype, lanes)
            writer.computing = (value,)
            new = add_up(writer, value, writer.value(operand, where), total, lanes)
            writer.computing = ()
            phis.append(f"  {total} = phi {kind} [ {neutral(value, lanes)}, %{before} ], "
                        f"[ {new}, %{loop} ]")
            updates.append((value, index, new))
    step = code.name("i")
    lines = [f"  br label %{before}", f"{before}:", f"  br label %{loop}", f"{loop}:",
             f"  {row} = phi i64 [ 0, %{before} ], [ {step}, %{loop} ]", *phis,
             *code.take(2), f"  {step} = add i64 {row}, 1",
             f"  %more.{loop} = icmp slt i64 {step}, {nest.over[0]}",
             f"  br i1 %more.{loop}, label %{loop}, label %{end}", f"{end}:"]
    for value, index, new in updates:
        writer.finished[value, index] = (new, lanes, 3)
    return lines


def rows(form: Form) -> list[str]:
    """Lanes along the summed axis: tiles of rows, then single rows; without rows, one sum."""
    if not form.nest.out:
        writer_lines, _ = rows_block(form, "%begin", 1, single=True)
        return writer_lines
    lines: list[str] = []
    start = "%begin"
    for tile in (ROW_TILE, 1):
        block, start = rows_block(form, start, tile)
        lines += block
    return lines


def rows_block(form: Form, start: str, tile: int, single: bool = False) -> tuple[list[str], str]:
    """One loop over blocks of `tile` rows, from `start` as far as they fit."""
    writer, nest = form.writer(), form.nest
    code = writer.code
    head, body, done, entry = (form.label(s) for s in ("head", "body", "done", "enter"))
    at = code.name("i")
    tiles = [at if k == 0 else code.put(1, f"add i64 {at}, {k}") for k in range(tile)]
    inner = rows_inner(form, writer, tiles, single)
    writer.floor = 3
    for index in tiles:
        writer.axes = {} if single else {"o0": Axis(index, 1)}
        for value in nest.sums:
            tile_name = "" if single else index
            writer.store(value, writer.finished[value, tile_name], own_address(value), 3)
        for value in nest.maps:
            finish(writer, value)
    after = code.name("i")
    lines = [f"  br label %{entry}", f"{entry}:", *code.take(0), f"  br label %{head}",
             f"{head}:", f"  {at} = phi i64 [ {start}, %{entry} ], [ {after}, %{body}.end ]",
             f"  {after} = add i64 {at}, {tile}",
             f"  %fits.{head} = icmp sle i64 {after}, %end",
             f"  br i1 %fits.{head}, label %{body}, label %{done}",
             f"{body}:", *code.take(1), *inner, *code.take(3),
             f"  br label %{body}.end", f"{body}.end:", f"  br label %{head}", f"{done}:"]
    form.code_count = code.count
    return lines, at


def rows_inner(form: Form, writer: Writer, tiles: list[str], single: bool) -> list[str]:
    """Along the summed axis: several vectors at once, one vector, then single elements."""
    count = form.nest.over[0]
    lines: list[str] = []
    totals: dict[tuple[Value, str], str] = {}
    at = "0"
    for vectors, lanes in ((2, form.width), (1, form.width), (1, 1)):
        step = vectors * lanes
        first = int(at)
        last = first + (count - first) // step * step
        if last > first:
            lines += rows_loop(form, writer, tiles, single, totals, (first, last, vectors, lanes))
        at = str(last)
    for (value, index), name in totals.items():
        writer.finished[value, "" if single else index] = (name, 1, 3)
    return lines


def rows_loop(form: Form, writer: Writer, tiles: list[str], single: bool,
              totals: dict[tuple[Value, str], str], part: tuple[int, int, int, int]) -> list[str]:
    """One of these loops, [first, last) in steps; leaves scalar totals."""
    first, last, vectors, lanes = part
    nest, code = form.nest, writer.code
    loop, end, before = form.label("loop"), form.label("sum"), form.label("before")
    column = code.name("j")
    columns = [column if k == 0 else code.put(2, f"add i64 {column}, {k * lanes}")
               for k in range(vectors)]
    phis, partial = [], []
    for index in tiles:
        for lane_index in columns:
            writer.axes = {"r0": Axis(lane_index, 2, lanes)}
            if not single:
                writer.axes["o0"] = Axis(index, 1)
            for value in nest.sums:
                operand, where = addresses(value)
                total, kind = code.name("acc"), shaped(value.dtype, lanes)
                writer.computing = (value,)
                new = add_up(writer, value, writer.value(operand, where), total, lanes)
                writer.computing = ()
                phis.append(f"  {total} = phi {kind} [ {neutral(value, lanes)}, %{before} ], "
                            f"[ {new}, %{loop} ]")
                partial.append((value, index, new))
    step = code.name("j")
    lines = [f"  br label %{before}", f"{before}:", f"  br label %{loop}", f"{loop}:",
             f"  {column} = phi i64 [ {first}, %{before} ], [ {step}, %{loop} ]", *phis,
             *code.take(2), f"  {step} = add i64 {column}, {vectors * lanes}",
             f"  %more.{loop} = icmp slt i64 {step}, {last}",
             f"  br i1 %more.{loop}, label %{loop}, label %{end}", f"{end}:"]
    for value, index, new in partial:
        one = across(code, value, new, lanes, lines)
        old = totals.get((value, index))
        totals[value, index] = one if old is None else joined(code, value, old, one, lines)
    return lines


def across(code: Code, value: Value, name: str, lanes: int, lines: list[str]) -> str:
    """The lanes of an accumulator as one number, in a fixed order."""
    if lanes == 1:
        return name
    kind, wide = LLVM_TYPES[value.dtype], shaped(value.dtype, lanes)
    found = code.name("t")
    ending = suffix(value.dtype, lanes)
    if value.attr[0] == "add":
        lines.append(f"  {found} = call reassoc {kind} @llvm.vector.reduce.fadd.{ending}("
                     f"{kind} {literal(-0.0, value.dtype)}, {wide} {name})")
    else:
        which = {"max": "fmaximum", "min": "fminimum"}[value.attr[0]]
        lines.append(f"  {found} = call {kind} @llvm.vector.reduce.{which}.{ending}("
                     f"{wide} {name})")
    return found


def joined(code: Code, value: Value, old: str, new: str, lines: list[str]) -> str:
    """Two partial totals as one."""
    kind, found = LLVM_TYPES[value.dtype], code.name("t")
    if value.attr[0] == "add":
        lines.append(f"  {found} = fadd {kind} {old}, {new}")
    else:
        which = {"max": "maximum", "min": "minimum"}[value.attr[0]]
        lines.append(f"  {found} = call {kind} @llvm.{which}.{suffix(value.dtype, 1)}("
                     f"{kind} {old}, {kind} {new})")
    return found


def table(form: Form) -> list[str]:
    """Two output axes: rows one after another, lanes along each."""
    nest = form.nest
    lines: list[str] = []
    head, body, done, entry = (form.label(s) for s in ("head", "body", "done", "enter"))
    writer = form.writer()
    code = writer.code
    row, after = code.name("i"), code.name("i")
    inner: list[str] = []
    first = 0
    for vectors, lanes in ((VECTOR_TILE, form.width), (1, form.width), (1, 1)):
        step = vectors * lanes
        last = first + (nest.out[1] - first) // step * step
        if last > first:
            inner += table_loop(form, writer, row, (first, last, vectors, lanes))
        first = last
    lines += [f"  br label %{entry}", f"{entry}:", *code.take(0), f"  br label %{head}",
              f"{head}:", f"  {row} = phi i64 [ %begin, %{entry} ], [ {after}, %{body}.end ]",
              f"  {after} = add i64 {row}, 1", f"  %fits.{head} = icmp slt i64 {row}, %end",
              f"  br i1 %fits.{head}, label %{body}, label %{done}",
              f"{body}:", *code.take(1), *inner, f"  br label %{body}.end", f"{body}.end:",
              f"  br label %{head}", f"{done}:"]
    return lines


def table_loop(form: Form, writer: Writer, row: str, part: tuple[int, int, int, int]) -> list[str]:
    """Along one row, [first, last) in steps."""
    first, last, vectors, lanes = part
    code = writer.code
    loop, end, before = form.label("loop"), form.label("next"), form.label("before")
    column = code.name("j")
    for k in range(vectors):
        index = column if k == 0 else code.put(2, f"add i64 {column}, {k * lanes}")
        writer.axes = {"o0": Axis(row, 1), "o1": Axis(index, 2, lanes)}
        for value in form.nest.maps:
            writer.computing = (value,)
            known = writer.value(value, own_address(value))
            writer.computing = ()
            writer.store(value, known, own_address(value), 2)
    step = code.name("j")
    return [f"  br label %{before}", f"{before}:", f"  br label %{loop}", f"{loop}:",
            f"  {column} = phi i64 [ {first}, %{before} ], [ {step}, %{loop} ]", *code.take(2),
            f"  {step} = add i64 {column}, {vectors * lanes}",
            f"  %more.{loop} = icmp slt i64 {step}, {last}",
            f"  br i1 %more.{loop}, label %{loop}, label %{end}", f"{end}:"]


_FORMS = {"point": point, "columns": columns, "rows": rows, "table": table}
