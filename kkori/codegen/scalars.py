"""One scalar operation of the graph as LLVM instructions, on any number of lanes.

Most are one instruction, functions like exp are calls of `vector_math` that the assembler inlines.
No instruction says that NaN or infinity cannot happen; `contract` only lets a product and a sum be
rounded once.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any

from kkori.codegen.target import Target
from kkori.codegen.vector_math import FUNCTIONS, Definition, define

__all__ = ["BYTES", "LLVM_TYPES", "Unsupported", "apply", "extreme", "library", "literal",
           "shaped", "splat", "suffix"]

LLVM_TYPES = {"f4": "float", "f8": "double", "b1": "i1", "i8": "i64"}
BYTES = {"f4": 4, "f8": 8, "b1": 1, "i8": 8}
ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
INTRINSIC = {"sqrt": "sqrt", "abs": "fabs"}  # rounding is none: without SSE4 LLVM calls libm
CONVERSIONS = {("f4", "f8"): "fpext", ("f8", "f4"): "fptrunc", ("i8", "f4"): "sitofp",
               ("i8", "f8"): "sitofp"}
LIBRARY = {name for name in FUNCTIONS if name not in ("sqrt", "rsqrt", "reciprocal")}
FLUSHED = {"sigmoid": "sigmoid_normal"}  # denormals are flushed where this code runs

Put = Callable[[str], str]


class Unsupported(Exception):
    """Something that has no loop here; its steps are run by their array rules."""


def shaped(dtype: str, lanes: int) -> str:
    """The LLVM type of one value, or of a vector of them."""
    return LLVM_TYPES[dtype] if lanes == 1 else f"<{lanes} x {LLVM_TYPES[dtype]}>"


def suffix(dtype: str, lanes: int) -> str:
    """How an intrinsic's name ends."""
    plain = {"f4": "f32", "f8": "f64"}[dtype]
    return plain if lanes == 1 else f"v{lanes}{plain}"


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


def splat(number: float, dtype: str, lanes: int) -> str:
    """A number, in every lane."""
    one = literal(number, dtype)
    return one if lanes == 1 else f"splat ({LLVM_TYPES[dtype]} {one})"


def apply(put: Put, name: str, kinds: Sequence[str], to: str, names: Sequence[str], lanes: int,
          numbers: Sequence[bool]) -> str:
    """Write operation `name` on `names`, whose types are `kinds`; the result's name.

    `numbers` says which operands are constants: those are not NaN.
    """
    kind = shaped(kinds[-1], lanes)
    if name in ARITHMETIC:
        return put(f"{ARITHMETIC[name]} contract {kind} {names[0]}, {names[1]}")
    if name in COMPARE:
        return put(f"fcmp {COMPARE[name]} {kind} {names[0]}, {names[1]}")
    if name in ("max", "min"):
        return extreme(put, name, kind, names, numbers)
    if name in INTRINSIC or name in LIBRARY:
        return put(f"call {kind} @{callee(name, kinds[-1], lanes)}({kind} "
                   + f", {kind} ".join(names) + ")")
    if name not in SPECIAL:
        raise Unsupported(f"no instruction for {name}")
    return SPECIAL[name](put, kinds, to, names, lanes)


def callee(name: str, dtype: str, lanes: int) -> str:
    """The function that computes `name`."""
    stem = f"llvm.{INTRINSIC[name]}" if name in INTRINSIC else f"kkori.{FLUSHED.get(name, name)}"
    return f"{stem}.{suffix(dtype, lanes)}"


def extreme(put: Put, name: str, kind: str, names: Sequence[str],
            numbers: Sequence[bool]) -> str:
    """The larger or smaller, NaN if either is: one instruction where one cannot be NaN."""
    first, second = names
    if numbers[0] and not numbers[1]:
        first, second, numbers = second, first, (numbers[1], numbers[0])
    hit = put(f"fcmp {'ogt' if name == 'max' else 'olt'} {kind} {second}, {first}")
    mask = hit_type(kind)
    found = put(f"select {mask} {hit}, {kind} {second}, {kind} {first}")
    if numbers[1]:
        return found
    odd = put(f"fcmp uno {kind} {second}, {second}")
    return put(f"select {mask} {odd}, {kind} {second}, {kind} {found}")


def hit_type(kind: str) -> str:
    """The type of a comparison of two values of LLVM type `kind`."""
    return f"{kind[:kind.rindex(' ')]} i1>" if kind[0] == "<" else "i1"


def negate(put: Put, kinds: Any, to: str, names: Any, lanes: int) -> str:
    return put(f"fneg {shaped(to, lanes)} {names[0]}")


def select(put: Put, kinds: Any, to: str, names: Any, lanes: int) -> str:
    kind = shaped(to, lanes)
    return put(f"select {shaped('b1', lanes)} {names[0]}, {kind} {names[1]}, {kind} {names[2]}")


def invert(put: Put, kinds: Any, to: str, names: Any, lanes: int) -> str:
    return put(f"xor {shaped('b1', lanes)} {names[0]}, {splat(1, 'b1', lanes)}")


def both(put: Put, kinds: Any, to: str, names: Any, lanes: int) -> str:
    return put(f"and {shaped('b1', lanes)} {names[0]}, {names[1]}")


def either(put: Put, kinds: Any, to: str, names: Any, lanes: int) -> str:
    return put(f"or {shaped('b1', lanes)} {names[0]}, {names[1]}")


def cast(put: Put, kinds: Any, to: str, names: Any, lanes: int) -> str:
    """Between types; a truth value is 1 or 0."""
    source, kind = kinds[0], shaped(to, lanes)
    if source == "b1":
        return put(f"select {shaped('b1', lanes)} {names[0]}, {kind} {splat(1.0, to, lanes)}, "
                   f"{kind} {splat(0.0, to, lanes)}")
    if to == "b1":
        return put(f"fcmp une {shaped(source, lanes)} {names[0]}, {splat(0.0, source, lanes)}")
    return put(f"{CONVERSIONS[source, to]} {shaped(source, lanes)} {names[0]} to {kind}")


def copy(put: Put, kinds: Any, to: str, names: Any, lanes: int) -> str:
    return str(names[0])


SPECIAL = {"copy": copy, "neg": negate, "select": select, "not": invert, "and": both, "or": either,
           "cast": cast}


@functools.cache
def library(symbol: str, target: Target) -> Definition | None:
    """The definition of ``kkori.<name>.<type>``; None if that is none of vector math's."""
    _, name, kind = symbol.split(".")
    if name not in LIBRARY:
        return None
    dtype = "float" if kind.endswith("f32") else "double"
    return define(name, int(kind[1:-3]) if kind[0] == "v" else 0, dtype, target)
