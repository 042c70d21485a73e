"""Writing the evaluation of graph values at loop positions: each once, as far out as it can be.

Loops are written by `forms`; here is what stands in them: loads, scalar operations, stores. The
last vector of a loop may have fewer live lanes than it has lanes: the rest are loaded as 0 and
never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kkori.codegen.graph import Value, base
from kkori.codegen.scalars import (
    BYTES,
    LLVM_TYPES,
    Unsupported,
    apply,
    extreme,
    literal,
    shaped,
    splat,
)
from kkori.codegen.schedule import SEEN_THROUGH, Address, Stretched, narrowed, operands
from kkori.core.size import contiguous_strides

__all__ = ["NEAR", "Axis", "Buffers", "Code", "Known", "Writer", "combine", "some"]


class Buffers:
    """Where every array of the segment is: its place in the context, its strides, its type."""

    def __init__(self) -> None:
        self.places: dict[Value, int] = {}
        self.strides: dict[Value, tuple[int, ...]] = {}
        self.aliases: set[Value] = set()  # values that are written over an input
        self.shown: dict[Value, Value] = {}  # values that are the memory of another, and of which
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

    def show(self, value: Value, operand: Value) -> None:
        """`value` is the memory of `operand`, in another shape."""
        self.places[value] = self.places[operand]
        self.strides[value] = contiguous_strides(value.shape)
        self.shown[value] = self.shown.get(operand, operand)


class Axis:
    """One loop variable while code is written: its index, its level, lanes or a single value.

    `index` is None for an axis that another one covers (see `emit.merged`).
    """

    __slots__ = ("index", "lanes", "level", "live")

    def __init__(self, index: str | None, level: int, lanes: int = 1, live: int = 0) -> None:
        self.index, self.level, self.lanes, self.live = index, level, lanes, live or lanes


class Code:
    """Lines at levels: 0 the function, 1 the outer loop, 2 the inner loop, 3 after it."""

    def __init__(self, count: int = 0) -> None:
        self.lines: dict[int, list[str]] = {0: [], 1: [], 2: [], 3: []}
        self.count = count

    def name(self, stem: str = "v") -> str:
        """A name nobody has."""
        self.count += 1
        return f"%{stem}{self.count}"

    def put(self, level: int, text: str, stem: str = "v") -> str:
        """Write ``name = text`` at `level`; returns the name."""
        name = self.name(stem)
        self.lines[level].append(f"  {name} = {text}")
        return name

    def do(self, level: int, text: str) -> None:
        """Write an instruction without a result."""
        self.lines[level].append(f"  {text}")

    def take(self, level: int) -> list[str]:
        """The lines of a level, which is empty from then on."""
        lines, self.lines[level] = self.lines[level], []
        return lines


Known = tuple[str, int, int]  # name, lanes, level


class Writer:
    """Writes values at addresses, each only once."""

    def __init__(self, stored: set[Value], buffers: Buffers, axes: dict[str, Axis],
                 count: int) -> None:
        self.stored, self.buffers = stored, buffers
        self.code = Code(count)
        self.known: dict[Any, Known] = {}
        self.axes = dict(axes)
        self.floor = 0  # 3 while what follows the inner loop is written
        self.finished: dict[Any, Known] = {}  # sums of this nest, by column or row
        self.computing: tuple[Value, ...] = ()

    # Values.

    def places(self, address: Address) -> tuple[Any, ...]:
        """What tells two positions apart."""
        axes = self.axes
        return tuple([(axes[a].index, axes[a].lanes) if a.__class__ is str
                      else (axes[a[0]].index, axes[a[0]].lanes, *a[1:]) if a.__class__ is tuple
                      else a for a in address if a is not None])

    def key(self, value: Value, address: Address) -> Any:
        """What tells names apart."""
        return value.number, self.places(address) if address else (), self.floor

    def value(self, value: Value, address: Address) -> Known:
        """The name of `value` at `address`, written where it can be known first."""
        where = narrowed(value, address)
        first, known = self.key(value, where), self.known
        if first in known:
            return known[first]
        stack: list[tuple[Value, Address, Any, list[Any] | None]] = [(value, where, first, None)]
        while stack:
            part, where, key, keys = stack.pop()
            if key in known:
                continue
            if keys is None:  # its operands come first
                operands = [(arg, at, self.key(arg, at), None)
                            for arg, at in self.operands(part, where)]
                keys = [operand[2] for operand in operands]
                missing = [operand for operand in operands if operand[2] not in known]
                if missing:
                    stack.append((part, where, key, keys))
                    stack += missing
                    continue
            known[key] = self.write(part, where, [known[one] for one in keys])
        return known[first]

    def is_read(self, value: Value) -> bool:
        """Whether it is loaded (or already in a register) instead of computed here."""
        return value.kind == "input" or (value in self.stored and value not in self.computing)

    def operands(self, value: Value, where: Address) -> list[tuple[Value, Address]]:
        """What a value is computed of here."""
        if value.kind in ("constant", "number", "range") or self.is_read(value):
            return []
        return [(arg, narrowed(arg, at)) for arg, at in operands(value, where)]

    def write(self, value: Value, where: Address, operands: list[Known]) -> Known:
        """Load or compute `value`, whose operands are known."""
        if self.is_read(value):
            found = self.finished.get((value, self.places(where)))
            return self.load(value, where) if found is None else found
        if value.kind == "constant":
            return literal(value.attr, value.dtype), 1, 0
        if value.kind == "number":
            return self.number(value), 1, 0
        if value.kind == "range":
            return self.counted(value, where)
        if value.kind == "reduce":
            return self.folded(value, operands)
        return operands[0] if value.kind in SEEN_THROUGH else self.scalar(value, operands)

    def level_of(self, level: int) -> int:
        return 3 if self.floor == 3 and level > 0 else level

    def scalar(self, value: Value, found: list[Known]) -> Known:
        """One scalar operation on the names of its operands."""
        lanes = max(k[1] for k in found)
        level = self.level_of(max(k[2] for k in found))
        kinds = [arg.dtype for arg in value.args]
        names = [self.spread(k, kind, lanes, base(arg))
                 for k, kind, arg in zip(found, kinds, value.args, strict=True)]
        name = apply(lambda text: self.code.put(level, text), value.attr, kinds, value.dtype,
                     names, lanes, [is_number(arg) for arg in value.args])
        return name, lanes, level

    def folded(self, value: Value, found: list[Known]) -> Known:
        """A reduction of a few terms, one after another."""
        lanes = max(k[1] for k in found)
        level = self.level_of(max(k[2] for k in found))
        total, *rest = [self.spread(k, value.dtype, lanes) for k in found]
        for name in rest:
            total = combine(self.code, level, value, total, name, lanes)
        return total, lanes, level

    def spread(self, known: Known, dtype: str, lanes: int, value: Value | None = None) -> str:
        """A name with `lanes` lanes: a scalar is repeated, once for each level."""
        name, have, level = known
        if have == lanes:
            return name
        if value is not None and value.kind == "constant":
            return splat(value.attr, dtype, lanes)
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
        return self.slot(self.buffers.count + value.attr, "double")

    def counted(self, value: Value, where: Address) -> Known:
        """The index along an axis, as a number."""
        (place,), again = where, value.attr
        if place is None or isinstance(place, int):
            return literal(float((place or 0) % (again or (place or 0) + 1)), value.dtype), 1, 0
        name, first, by = (place, 0, 1) if isinstance(place, str) else place[:3]
        if isinstance(place, tuple) and len(place) > 3:
            raise Unsupported("a range that is stretched")
        axis, put, lanes = self.axes[name], self.code.put, self.axes[name].lanes
        level, wide = self.level_of(axis.level), shaped(value.dtype, lanes)
        if again and lanes > 1 and by == 1 and lanes % again == first % again == 0:
            return vector_of([lane % again for lane in range(lanes)], value.dtype), lanes, 0
        index = self.affine(axis, level, first, by)
        if lanes > 1:
            index = put(level, f"add <{lanes} x i64> {self.spread((index, 1, level), 'i8', lanes)},"
                               f" <{', '.join(f'i64 {lane * by}' for lane in range(lanes))}>")
        if again:
            index = put(level, f"urem {shaped('i8', lanes)} {index}, {every(again, lanes)}")
        return put(level, f"sitofp {shaped('i8', lanes)} {index} to {wide}"), lanes, level

    def slot(self, place: int, kind: str) -> str:
        """What the context holds at a place."""
        pointer = self.code.put(0, f"getelementptr i64, ptr %context, i64 {place}")
        return self.code.put(0, f"load {kind}, ptr {pointer}, align 8")

    # Memory.

    def base(self, value: Value) -> str:
        """The address of an array."""
        key = ("base", value.number)
        if key not in self.known:
            self.known[key] = self.slot(self.buffers.places[value], "ptr"), 1, 0
        return self.known[key][0]

    def pointer(self, value: Value, where: Address) -> tuple[str, Axis, int, int]:
        """Address of an element: pointer, the axis of its lanes, the stride along it, level."""
        name, level, lanes, step = self.base(value), 0, SINGLE, 0
        kind = LLVM_TYPES[value.dtype] if value.dtype != "b1" else "i8"
        ways = list(zip(where, self.buffers.strides[value], strict=True))
        several = [(a, stride) for a, stride in ways if a.__class__ is tuple and len(a) > 3]
        ways = [(a, stride) for a, stride in ways if a.__class__ is not tuple or len(a) == 3]
        ahead = sum(a * stride for a, stride in ways if a.__class__ is int)
        ahead += sum(a[1] * stride for a, stride in ways if a.__class__ is tuple)
        ways = [(a[0], stride * a[2]) if a.__class__ is tuple else (a, stride)
                for a, stride in ways]
        if ahead:
            name = self.code.put(0, f"getelementptr {kind}, ptr {name}, i64 {ahead}")
        parts = [(self.axes[a], stride) for a, stride in ways if a.__class__ is str and stride]
        for axis, stride in sorted(parts, key=lambda part: part[0].level):
            if axis.index is None:
                continue
            level = self.level_of(max(level, axis.level))
            offset = axis.index if stride == 1 else self.code.put(
                level, f"mul i64 {axis.index}, {stride}")
            name = self.code.put(level, f"getelementptr {kind}, ptr {name}, i64 {offset}")
            if axis.lanes > 1:
                lanes, step = axis, stride
        for a, stride in several:
            level = self.level_of(max(level, self.axes[a[0]].level))
            offset = self.code.put(level, f"mul i64 {self.one_of(a, level)}, {stride}")
            name = self.code.put(level, f"getelementptr {kind}, ptr {name}, i64 {offset}")
        return name, lanes, step, level

    def affine(self, axis: Axis, level: int, first: int, by: int) -> str:
        """first + by * the index of an axis."""
        index = str(axis.index)
        if by != 1:
            index = self.code.put(level, f"mul i64 {index}, {by}")
        return self.code.put(level, f"add i64 {index}, {first}") if first else index

    def one_of(self, place: Stretched, level: int) -> str:
        """The index of the element that stands at a place for several."""
        name, first, by, times, last = place
        put, index = self.code.put, self.affine(self.axes[name], level, first, by)
        index = put(level, f"udiv i64 {index}, {times}") if times > 1 else index
        if last is None:
            return index
        more = put(level, f"icmp ugt i64 {index}, {last}")
        return put(level, f"select i1 {more}, i64 {last}, i64 {index}")

    def load(self, value: Value, where: Address) -> Known:
        """Read an element, or a vector of them."""
        kind, size = LLVM_TYPES[value.dtype], BYTES[value.dtype]
        if value.dtype == "b1":
            kind = "i8"
        for place, stride in zip(where, self.buffers.strides[value], strict=True):
            if place.__class__ is tuple and len(place) > 3 and stride and (
                    self.axes[place[0]].lanes > 1):
                found, axis, level = self.repeated(value, where, place, stride, kind, size)
                break
        else:
            name, axis, step, level = self.pointer(value, where)
            found = self.vector(name, axis, step, level, kind, size)
        if value.dtype == "b1":
            shape = kind if axis.lanes == 1 else f"<{axis.lanes} x i8>"
            zero = "0" if axis.lanes == 1 else "zeroinitializer"
            found = self.code.put(level, f"icmp ne {shape} {found}, {zero}")
        return found, axis.lanes, level

    def repeated(self, value: Value, where: Address, place: Stretched, stride: int, kind: str,
                 size: int) -> tuple[str, Axis, int]:
        """Lanes of which several are one element: each is read once if they begin with a new one,
        otherwise they are read lane by lane."""
        axis, times, put = self.axes[place[0]], place[3], self.code.put
        some = elements_of(axis, place)
        if some is None:
            found = "zeroinitializer"
            for lane in range(axis.live):
                at = put(self.level_of(axis.level), f"add i64 {axis.index}, {lane}")
                self.axes[place[0]] = Axis(at, axis.level)
                name, _, _, level = self.pointer(value, where)
                one = put(level, f"load {kind}, ptr {name}, align {size}")
                found = put(level, f"insertelement <{axis.lanes} x {kind}> {found}, "
                                   f"{kind} {one}, i64 {lane}")
        else:
            self.axes[place[0]] = Axis(axis.index, axis.level)
            name, _, _, level = self.pointer(value, where)
            few = Axis(axis.index, axis.level, axis.lanes // times, some)
            one = self.vector(name, few, stride, level, kind, size)
            shape = f"<{few.lanes} x {kind}>"
            chosen = ", ".join(f"i32 {min(lane // times, some - 1)}" for lane in range(axis.lanes))
            found = put(level, f"shufflevector {shape} {one}, {shape} poison, "
                               f"<{axis.lanes} x i32> <{chosen}>")
        self.axes[place[0]] = axis
        return found, axis, level

    def vector(self, name: str, axis: Axis, step: int, level: int, kind: str, size: int) -> str:
        """Lanes from memory: side by side, some of them, or one by one."""
        put = self.code.put
        if axis.lanes == 1:
            return put(level, f"load {kind}, ptr {name}, align {size}")
        if step != 1:
            return self.gathered(name, axis, step, level, kind, size)
        shape = f"<{axis.lanes} x {kind}>"
        if axis.live == axis.lanes:
            return put(level, f"load {shape}, ptr {name}, align {size}")
        return put(level, f"call {shape} @llvm.masked.load.v{axis.lanes}{letters(kind)}.p0("
                          f"ptr {name}, i32 {size}, {some(axis)}, {shape} zeroinitializer)")

    def gathered(self, name: str, axis: Axis, step: int, level: int, kind: str,
                 size: int) -> str:
        """Lanes that do not lie side by side."""
        if 1 < step <= NEAR <= axis.lanes:
            return self.picked(name, axis, step, level, kind, size)
        name = self.code.put(level, f"freeze ptr {name}")  # or LLVM tries to step each by itself
        row = "zeroinitializer" if axis.live < axis.lanes else "poison"
        for lane in range(axis.live):
            at = self.code.put(level, f"getelementptr {kind}, ptr {name}, i64 {lane * step}")
            one = self.code.put(level, f"load {kind}, ptr {at}, align {size}")
            row = self.code.put(
                level, f"insertelement <{axis.lanes} x {kind}> {row}, {kind} {one}, i64 {lane}")
        return row

    def picked(self, name: str, axis: Axis, step: int, level: int, kind: str, size: int) -> str:
        """Every second (third, fourth) element: whole vectors, of which some lanes are taken.

        The last vector ends with the last element that is wanted, so nothing behind it is read.
        """
        lanes, live = axis.lanes, axis.live
        shape, span = f"<{lanes} x {kind}>", (live - 1) * step + 1
        whole = Axis(axis.index, axis.level, lanes, min(span, lanes))
        found, first = "poison" if live == lanes else "zeroinitializer", 0
        for number in range(-(-span // lanes)):
            begin = max(min(number * lanes, span - lanes), 0)
            at = self.code.put(level, f"getelementptr {kind}, ptr {name}, i64 {begin}")
            part = self.vector(at, whole, 1, level, kind, size)
            last = min(-(-(begin + lanes) // step), live)
            mask = [lane if lane < first else lanes + lane * step - begin
                    for lane in range(last)]
            mask += [-1 if live == lanes else lane for lane in range(last, lanes)]
            chosen = ", ".join("i32 poison" if k < 0 else f"i32 {k}" for k in mask)
            found = self.code.put(level, f"shufflevector {shape} {found}, {shape} {part}, "
                                         f"<{lanes} x i32> <{chosen}>")
            first = last
        return found

    def store(self, value: Value, known: Known, where: Address, level: int) -> None:
        """Write one element, or one vector of them, of a stored value."""
        before, self.floor = self.floor, 3 if level == 3 else self.floor
        name, axis, step, _ = self.pointer(value, where)
        self.floor = before
        lanes, kind, size = axis.lanes, LLVM_TYPES[value.dtype], BYTES[value.dtype]
        text = self.spread(known, value.dtype, lanes, value)
        if value.dtype == "b1":
            kind = "i8"
            shape = kind if lanes == 1 else f"<{lanes} x i8>"
            text = self.code.put(level, f"zext {shaped('b1', lanes)} {text} to {shape}")
        shape = kind if lanes == 1 else f"<{lanes} x {kind}>"
        if lanes == 1 or step == 1 and axis.live == lanes:
            self.code.do(level, f"store {shape} {text}, ptr {name}, align {size}")
        elif step == 1:
            self.code.do(level, f"call void @llvm.masked.store.v{lanes}{letters(kind)}.p0("
                                f"{shape} {text}, ptr {name}, i32 {size}, {some(axis)})")
        else:
            self.scatter(text, name, axis, step, level, kind, size)

    def scatter(self, text: str, name: str, axis: Axis, step: int, level: int, kind: str,
                size: int) -> None:
        """Lanes to places that do not lie side by side."""
        name = self.code.put(level, f"freeze ptr {name}")
        for lane in range(axis.live):
            one = self.code.put(level,
                                f"extractelement <{axis.lanes} x {kind}> {text}, i64 {lane}")
            at = self.code.put(level, f"getelementptr {kind}, ptr {name}, i64 {lane * step}")
            self.code.do(level, f"store {kind} {one}, ptr {at}, align {size}")


def combine(code: Code, level: int, value: Value, old: str, new: str, lanes: int) -> str:
    """Two partial results of a reduction as one."""
    kind = shaped(value.dtype, lanes)
    if value.attr[0] == "add":
        return code.put(level, f"fadd contract {kind} {old}, {new}")
    return extreme(lambda text: code.put(level, text), value.attr[0], kind, (old, new),
                   (False, False))


SINGLE = Axis("0", 0)
NEAR = 4  # lanes so many elements apart are picked out of whole vectors


def elements_of(axis: Axis, place: Stretched) -> int | None:
    """How many elements the live lanes have at a place where each stands for several; None where
    the first lane may not be the first of its element, or some elements not exist."""
    _, first, by, times, last = place
    if by != 1 or first % times or axis.lanes % times:
        return None
    found = -(-axis.live // times)
    if last is None:
        return found
    index = str(axis.index)
    left = last + 1 - (int(index) + first) // times if index.isdigit() else 0
    return min(found, left) if left > 0 else None


def every(number: int, lanes: int) -> str:
    """An integer, in every lane."""
    return str(number) if lanes == 1 else f"splat (i64 {number})"


def vector_of(numbers: Sequence[float], dtype: str) -> str:
    """Numbers known now, one a lane."""
    return f"<{', '.join(f'{LLVM_TYPES[dtype]} {literal(one, dtype)}' for one in numbers)}>"


def letters(kind: str) -> str:
    """How intrinsics spell a type."""
    return {"float": "f32", "double": "f64"}.get(kind, kind)


def some(axis: Axis) -> str:
    """The mask of the live lanes of an axis, with its type."""
    bits = ", ".join(f"i1 {'true' if lane < axis.live else 'false'}" for lane in range(axis.lanes))
    return f"<{axis.lanes} x i1> <{bits}>"


def is_number(value: Value) -> bool:
    """Whether a value is a constant other than NaN."""
    value = base(value)
    return value.kind == "constant" and value.attr == value.attr
