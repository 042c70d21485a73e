"""A small writer of LLVM text: typed values, fresh names, loops with phi, masks for ragged tails.

Text is 25 times faster to write than llvmlite's object model and can be read, diffed and hashed.
A `Value` remembers the function it is written into, so arithmetic on values writes instructions:
``y = x * 2.0 + 1.0`` appends two lines. Plain numbers become constants of the other operand's type.
"""

from __future__ import annotations

import functools
import itertools
import operator
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kkori.codegen.target import Target

__all__ = ["BOOL", "DOUBLE", "FLOAT", "I32", "I64", "PTR", "VOID", "Function", "Loop", "Module",
           "Type", "Value", "type_of"]

FLOATING = {"float": 4, "double": 8}
INTEGER_OF = {"float": "i32", "double": "i64"}
PREDICATES = {"==": ("oeq", "eq"), "!=": ("une", "ne"), "<": ("olt", "slt"), "<=": ("ole", "sle"),
              ">": ("ogt", "sgt"), ">=": ("oge", "sge"), "unordered": ("uno", ""),
              "u<": ("", "ult"), "u<=": ("", "ule"), "u>": ("", "ugt"), "u>=": ("", "uge")}
ARITHMETIC = {"+": ("fadd", "add"), "-": ("fsub", "sub"), "*": ("fmul", "mul"),
              "/": ("fdiv", "sdiv"), "%": ("frem", "srem"), "&": ("", "and"), "|": ("", "or"),
              "^": ("", "xor"), "<<": ("", "shl"), ">>": ("", "ashr"), ">>>": ("", "lshr"),
              "u/": ("", "udiv"), "u%": ("", "urem")}
RARELY = '!{!"branch_weights", i32 1, i32 100000}'


class Type:
    """``float``, ``i64``, ``ptr`` or, with `lanes`, a vector of them. Made by `type_of` only."""

    __slots__ = ("floating", "lanes", "scalar", "text")

    def __init__(self, scalar: str, lanes: int) -> None:
        self.scalar, self.lanes = scalar, lanes
        self.text = f"<{lanes} x {scalar}>" if lanes else scalar
        self.floating = scalar in FLOATING

    def __repr__(self) -> str:
        return self.text

    @property
    def suffix(self) -> str:
        """How intrinsics spell this type: ``v16f32``, ``i64``, ``p0``."""
        scalar = {"float": "f32", "double": "f64", "ptr": "p0"}.get(self.scalar, self.scalar)
        return f"v{self.lanes}{scalar}" if self.lanes else scalar

    @property
    def bytes(self) -> int:
        """Size of one lane; also the alignment that may be relied on."""
        return FLOATING.get(self.scalar) or {"ptr": 8}.get(self.scalar) or int(self.scalar[1:]) // 8

    def of(self, scalar: str) -> Type:
        """The type of as many lanes of another scalar."""
        return type_of(scalar, self.lanes)

    @property
    def integer(self) -> Type:
        """Integers of the same shape and size, to look at the bits."""
        return self.of(INTEGER_OF[self.scalar])


@functools.cache
def type_of(scalar: str, lanes: int = 0) -> Type:
    """The one `Type` object for ``scalar`` (lanes=0) or a vector of `lanes` of it."""
    return Type(scalar, lanes)


VOID, PTR, BOOL = type_of("void"), type_of("ptr"), type_of("i1")
I32, I64 = type_of("i32"), type_of("i64")
FLOAT, DOUBLE = type_of("float"), type_of("double")


def number(value: float, scalar: str) -> str:
    """A literal. Floats are rounded to `scalar`; those that decimals hold exactly stay legible."""
    if scalar not in FLOATING:
        return str(int(value))
    if value == 0:  # before the cache, to which 0.0 and -0.0 are the same
        return repr(float(value))
    return _float_number(value, scalar)


@functools.cache
def _float_number(value: float, scalar: str) -> str:
    if scalar == "float":
        value = _to_single(value)
    if abs(value) < 1e6 and value * 16 == int(value * 16):
        return repr(float(value))
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _to_single(value: float) -> float:
    if value != value or value in (float("inf"), float("-inf")):
        return value
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


class Value:
    """A name of a `Type` inside one `Function`; operators append instructions to it."""

    __slots__ = ("function", "name", "type")

    def __init__(self, name: str, type: Type, function: Function) -> None:
        self.name, self.type, self.function = name, type, function

    def __repr__(self) -> str:
        return f"{self.type.text} {self.name}"

    def __add__(self, other: Any) -> Value:
        return self.function.operate("+", self, other)

    def __radd__(self, other: Any) -> Value:
        return self.function.operate("+", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.function.operate("-", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.function.operate("-", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.function.operate("*", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.function.operate("*", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.function.operate("/", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.function.operate("/", other, self)

    def __and__(self, other: Any) -> Value:
        return self.function.operate("&", self, other)

    def __or__(self, other: Any) -> Value:
        return self.function.operate("|", self, other)

    def __xor__(self, other: Any) -> Value:
        return self.function.operate("^", self, other)

    def __lshift__(self, other: Any) -> Value:
        return self.function.operate("<<", self, other)

    def __rshift__(self, other: Any) -> Value:
        return self.function.operate(">>", self, other)

    def __neg__(self) -> Value:
        if not self.type.floating:
            return self.function.operate("-", 0, self)
        return self.function.line(f"fneg {self}", self.type)

    def __lt__(self, other: Any) -> Value:
        return self.function.compare("<", self, other)

    def __le__(self, other: Any) -> Value:
        return self.function.compare("<=", self, other)

    def __gt__(self, other: Any) -> Value:
        return self.function.compare(">", self, other)

    def __ge__(self, other: Any) -> Value:
        return self.function.compare(">=", self, other)


# What is known while text is written: LLVM would find it out, too, but every line takes it time.

COMPUTED: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul}
COMPARED: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge}


def is_literal(value: Value) -> bool:
    """Whether an integer is a number known now."""
    return value.name[0] != "%" and value.name.lstrip("-").isdigit()


def folded(sign: str, left: Value, right: Value) -> Value | None:
    """The value of an integer operation where no instruction is needed."""
    if is_literal(left):
        if is_literal(right) and sign in COMPUTED:
            found = COMPUTED[sign](int(left.name), int(right.name))
            return left.function.constant(found, I64) if abs(found) < 1 << 63 else None
        if left.name == NEUTRAL.get(sign) and sign != "-":
            return right
    return left if right.name == NEUTRAL.get(sign) else None


NEUTRAL = {"+": "0", "-": "0", "*": "1"}


class Module:
    """One text: functions, and whatever they declare or share, each written once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._declared: dict[str, str] = {}
        self._helpers: dict[str, str] = {}
        self._functions: list[str] = []

    def declare(self, name: str, result: Type, arguments: Sequence[Type]) -> None:
        """Make `name` (an intrinsic, or a symbol given at link time) callable."""
        if name not in self._declared:
            listed = ", ".join(kind.text for kind in arguments)
            self._declared[name] = f"declare {result.text} @{name}({listed})"

    def helper(self, name: str, write: Callable[[Module], str]) -> None:
        """Add what ``write(self)`` returns, unless `name` is there already."""
        if name not in self._helpers:
            self._helpers[name] = ""
            self._helpers[name] = write(self)

    @contextmanager
    def function(self, name: str, result: Type, arguments: Sequence[tuple[str, Type]],
                 internal: bool = False) -> Iterator[Function]:
        """Write a function: ``with module.function("f", VOID, [("x", PTR)]) as f: ...``."""
        function = Function(self, name, result, arguments, internal)
        yield function
        self._functions.append(str(function))

    def parts(self) -> dict[str, str]:
        """Declarations, helpers and functions by name, to be merged into other text."""
        functions = {text.splitlines()[0]: text for text in self._functions}
        found = {**self._declared, **self._helpers, **functions}
        return {name: text.replace(") #0 {", ") {") for name, text in found.items()}

    def __str__(self) -> str:
        probe = ' "no-stack-arg-probe"' if self.target.is_windows else ""
        attributes = f"attributes #0 = {{ nounwind{probe} }}"
        parts = [*self._declared.values(), "", *self._helpers.values(), *self._functions]
        return "\n".join((*parts, attributes, ""))


class Function:
    """The body of one function, written from top to bottom."""

    def __init__(self, module: Module, name: str, result: Type,
                 arguments: Sequence[tuple[str, Type]], internal: bool = False) -> None:
        self.module, self.name, self.result = module, name, result
        self.target = module.target
        self.arguments = tuple(Value(f"%{label}", kind, self) for label, kind in arguments)
        self.internal = internal
        self.lines: list[str] = []
        self.label = "entry"
        self._numbers = itertools.count(1)

    def __str__(self) -> str:
        listed = ", ".join(map(repr, self.arguments))
        linkage = "internal " if self.internal else ""
        head = f"define {linkage}{self.result.text} @{self.name}({listed}) #0 {{"
        return "\n".join((head, "entry:", *self.lines, "}", ""))

    # --- values -----------------------------------------------------------------------------

    def constant(self, value: float, kind: Type) -> Value:
        """A number of type `kind`, in every lane where that is a vector."""
        text = number(value, kind.scalar)
        return Value(f"splat ({kind.scalar} {text})" if kind.lanes else text, kind, self)

    def listed(self, values: Sequence[float], scalar: str) -> Value:
        """A vector constant, lane by lane."""
        text = ", ".join(f"{scalar} {number(value, scalar)}" for value in values)
        return Value(f"<{text}>", type_of(scalar, len(values)), self)

    def line(self, text: str, kind: Type, hint: str = "v") -> Value:
        """Append ``%fresh = text``; the new value."""
        name = f"%{hint}.{next(self._numbers)}"
        self.lines.append(f"  {name} = {text}")
        return Value(name, kind, self)

    def effect(self, text: str) -> None:
        """Append an instruction without a result."""
        self.lines.append(f"  {text}")

    def comment(self, text: str) -> None:
        """A line for the reader."""
        self.lines.append(f"  ; {text}")

    def operate(self, sign: str, left: Any, right: Any) -> Value:
        """Arithmetic by its sign in `ARITHMETIC`; one operand may be a plain number."""
        left, right = self._pair(left, right)
        kind = left.type
        if kind is I64:
            known = folded(sign, left, right)
            if known is not None:
                return known
        word = ARITHMETIC[sign][0 if kind.floating else 1]
        assert word, f"no {sign} of {kind}"
        return self.line(f"{word} {left}, {right.name}", kind)

    def compare(self, sign: str, left: Any, right: Any) -> Value:
        """A truth value (a mask, for vectors). Comparisons with NaN are false, but ``!=``."""
        left, right = self._pair(left, right)
        floating = left.type.floating
        if left.type is I64 and sign in COMPARED and is_literal(left) and is_literal(right):
            return self.constant(COMPARED[sign](int(left.name), int(right.name)), BOOL)
        word = PREDICATES[sign][0 if floating else 1]
        assert word, f"no {sign} of {left.type}"
        kind = "fcmp" if floating else "icmp"
        return self.line(f"{kind} {word} {left}, {right.name}", left.type.of("i1"), "is")

    def _pair(self, left: Any, right: Any) -> tuple[Value, Value]:
        if not isinstance(left, Value):
            left = self.constant(left, right.type)
        if not isinstance(right, Value):
            right = self.constant(right, left.type)
        assert left.type is right.type, f"{left} and {right} differ in type"
        return left, right

    def select(self, mask: Value, left: Any, right: Any) -> Value:
        """`left` where the mask is true, else `right`."""
        left, right = self._pair(left, right)
        if mask.type is BOOL and is_literal(mask):
            return left if int(mask.name) else right
        return self.line(f"select {mask}, {left}, {right}", left.type)

    def settled(self, index: Value) -> Value:
        """A loop's index, of which LLVM does not see how it moves on.

        Otherwise it looks for the best way to step every address that is made of it, which takes a
        sixth of the time to compile and gains nothing where there are many in an outer loop.
        `freeze` hides it; the addition of 0 is there because a frozen counter is seen through.
        """
        same = self.line(f"add {index}, 0", index.type)
        return self.line(f"freeze {same}", index.type)

    def convert(self, word: str, value: Value, kind: Type) -> Value:
        """``bitcast``, ``sitofp``, ``zext``, ``fptrunc`` ... to `kind`."""
        return self.line(f"{word} {value} to {kind.text}", kind)

    def bits(self, value: Value) -> Value:
        """A float's bits as an integer."""
        return self.convert("bitcast", value, value.type.integer)

    def fma(self, left: Any, right: Any, plus: Any) -> Value:
        """``left * right + plus``: rounded once where the target can, else twice."""
        known = next(value for value in (left, right, plus) if isinstance(value, Value))
        left, right, plus = (value if isinstance(value, Value) else self.constant(value, known.type)
                             for value in (left, right, plus))
        if not self.target.fma:
            return left * right + plus
        return self.intrinsic("llvm.fma", left.type, left, right, plus)

    def intrinsic(self, stem: str, kind: Type, *arguments: Value) -> Value:
        """Call the overload of ``stem`` for `kind` (its result's type)."""
        return self.call(f"{stem}.{kind.suffix}", kind, *arguments)

    def call(self, name: str, result: Type, *arguments: Value) -> Value:
        """Call a function by name; it is declared unless this module defines it."""
        if name.startswith("llvm."):
            self.module.declare(name, result, [value.type for value in arguments])
        text = f"call {result.text} @{name}({', '.join(map(repr, arguments))})"
        if result is VOID:
            self.effect(text)
            return Value("", VOID, self)
        return self.line(text, result)

    # --- vectors ----------------------------------------------------------------------------

    def splat(self, value: Value, lanes: int) -> Value:
        """The scalar in every lane."""
        kind = type_of(value.type.scalar, lanes)
        first = self.line(f"insertelement {kind.text} poison, {value}, i32 0", kind)
        return self.line(f"shufflevector {first}, {kind.text} poison, "
                         f"<{lanes} x i32> zeroinitializer", kind)

    def shuffle(self, left: Value, right: Value | None, lanes: Sequence[int]) -> Value:
        """The listed lanes of `left` followed by `right` (None: only `left` is used)."""
        other = repr(right) if right is not None else f"{left.type.text} poison"
        kind = type_of(left.type.scalar, len(lanes))
        chosen = ", ".join(f"i32 {lane}" for lane in lanes)
        return self.line(f"shufflevector {left}, {other}, <{len(lanes)} x i32> <{chosen}>", kind)

    def extract(self, value: Value, lane: Value | int) -> Value:
        """One lane as a scalar."""
        where = lane if isinstance(lane, Value) else self.constant(lane, I32)
        return self.line(f"extractelement {value}, {where}", type_of(value.type.scalar))

    def insert(self, value: Value, scalar: Value, lane: Value | int) -> Value:
        """The vector with one lane replaced."""
        where = lane if isinstance(lane, Value) else self.constant(lane, I32)
        return self.line(f"insertelement {value}, {scalar}, {where}", value.type)

    def fold(self, value: Value, combine: Callable[[Value, Value], Value]) -> Value:
        """All lanes combined in halves: a fixed order, so the same result every time."""
        lanes = value.type.lanes
        while lanes > 1:
            lanes //= 2
            low = self.shuffle(value, None, range(lanes))
            high = self.shuffle(value, None, range(lanes, 2 * lanes))
            value = combine(low, high)
        return self.extract(value, 0)

    def total(self, value: Value) -> Value:
        """The sum of all lanes."""
        return self.fold(value, lambda low, high: low + high)

    def any(self, mask: Value) -> Value:
        """Whether some lane of a mask is true."""
        if not mask.type.lanes:
            return mask
        packed = self.convert("bitcast", mask, type_of(f"i{mask.type.lanes}"))
        return self.compare("!=", packed, 0)

    def tail_mask(self, left: Value, lanes: int) -> Value:
        """The mask of the first `left` lanes; `left` is an i64 of any size >= 0."""
        most = self.select(self.compare("u<", left, lanes), left, lanes)
        count = self.splat(self.convert("trunc", most, I32), lanes)
        return self.compare("u<", self.listed(range(lanes), "i32"), count)

    # --- memory -----------------------------------------------------------------------------

    def offset(self, pointer: Value, index: Value | int, scalar: str) -> Value:
        """The address of element `index` of an array of `scalar`."""
        where = index if isinstance(index, Value) else self.constant(index, I64)
        return self.line(f"getelementptr {scalar}, {pointer}, {where}", PTR, "p")

    def load(self, kind: Type, pointer: Value, mask: Value | None = None,
             align: int | None = None) -> Value:
        """Read; lanes that a mask leaves out are 0 and their memory is not touched."""
        align = align or kind.bytes
        if mask is None:
            return self.line(f"load {kind.text}, {pointer}, align {align}", kind, "x")
        zeros = Value("zeroinitializer", kind, self)
        return self.call_masked("load", kind, pointer, self.constant(align, I32), mask, zeros)

    def store(self, value: Value, pointer: Value, mask: Value | None = None,
              align: int | None = None) -> None:
        """Write; lanes that a mask leaves out stay as they are."""
        align = align or value.type.bytes
        if mask is None:
            self.effect(f"store {value}, {pointer}, align {align}")
        else:
            self.call_masked("store", value.type, value, pointer, self.constant(align, I32), mask)

    def call_masked(self, word: str, kind: Type, *arguments: Value) -> Value:
        """``llvm.masked.load`` or ``llvm.masked.store`` of a vector of `kind`."""
        name = f"llvm.masked.{word}.{kind.suffix}.p0"
        return self.call(name, kind if word == "load" else VOID, *arguments)

    # --- control ----------------------------------------------------------------------------

    def ret(self, value: Value | None = None) -> None:
        """Return."""
        self.effect("ret void" if value is None else f"ret {value}")

    def begin(self, label: str) -> None:
        """Start a block; the one before must have ended in a branch."""
        self.lines.append(f"{label}:")
        self.label = label

    def fresh_label(self, hint: str) -> str:
        """A label nobody has."""
        return f"{hint}.{next(self._numbers)}"

    def when(self, condition: Value, otherwise: Sequence[Value],
             then: Callable[[], Sequence[Value]]) -> tuple[Value, ...]:
        """What `then` writes and returns if the condition holds, the values `otherwise` if not.

        The condition is taken to be rare: registers are kept for the straight path.
        """
        rare, join, origin = self.fresh_label("then"), self.fresh_label("join"), self.label
        self.effect(f"br {condition}, label %{rare}, label %{join}, !prof {RARELY}")
        self.begin(rare)
        values = then()
        last = self.label
        self.effect(f"br label %{join}")
        self.begin(join)
        return tuple(self.line(f"phi {one.type.text} [ {one.name}, %{last} ], "
                               f"[ {other.name}, %{origin} ]", one.type)
                     for one, other in zip(values, otherwise, strict=True))

    @contextmanager
    def loop(self, start: Value | int, stop: Value | int, step: Value | int = 1,
             carried: Sequence[Value] = (), name: str = "i") -> Iterator[Loop]:
        """``for i in range(start, stop, step)`` over i64 (step > 0), with values handed round.

        Inside, read ``loop.index`` and ``loop.carried`` and call ``loop.carry(...)`` with the
        values for the next round; afterwards ``loop.results`` holds the last ones.
        """
        start, stop, step = (item if isinstance(item, Value) else self.constant(item, I64)
                             for item in (start, stop, step))
        loop = Loop(self, start, carried, name)
        more = self.compare("<", loop.index, stop)
        body, after = self.fresh_label(f"{name}.body"), self.fresh_label(f"{name}.end")
        self.effect(f"br {more}, label %{body}, label %{after}")
        self.begin(body)
        yield loop
        following = loop.index + step
        loop.close(following)
        self.effect(f"br label %{loop.head}")
        self.begin(after)


class Loop:
    """A loop being written: its phi lines are completed when the end of its body is known."""

    def __init__(self, function: Function, start: Value, carried: Sequence[Value],
                 name: str) -> None:
        self.function = function
        self._starts = (start, *carried)
        self._origin = function.label
        self.head = function.fresh_label(name)
        function.effect(f"br label %{self.head}")
        function.begin(self.head)
        self._place = len(function.lines)
        phis = [function.line("phi", value.type, name if not number_ else "carry")
                for number_, value in enumerate(self._starts)]
        self.index, self.carried = phis[0], tuple(phis[1:])
        self._next: tuple[Value, ...] = ()

    def carry(self, *values: Value) -> None:
        """Hand these to the next round."""
        assert len(values) == len(self.carried)
        self._next = values

    @property
    def results(self) -> tuple[Value, ...]:
        """The carried values after the last round."""
        return self.carried

    def close(self, following: Value) -> None:
        """Fill in where each phi comes from."""
        assert len(self._next) == len(self.carried), "loop.carry was not called"
        phis = (self.index, *self.carried)
        values = (following, *self._next)
        for number_, (phi, first, later) in enumerate(zip(phis, self._starts, values, strict=True)):
            self.function.lines[self._place + number_] = (
                f"  {phi.name} = phi {phi.type.text} [ {first.name}, %{self._origin} ], "
                f"[ {later.name}, %{self.function.label} ]")
