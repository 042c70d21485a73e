"""Arrays joined along a dimension: each part is copied to its place, from where it is.

Parts are views and slices of arrays, or one number everywhere. A part is copied by a function that
all copies of its kind share: what lies side by side in vectors, else number by number. Axes that
both sides walk through as if they were one become one. Threads share what is large: they take
places along the first dimension, and of each part what lies there.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from math import prod
from typing import Any

from kkori.codegen.blueprint import WORK_TO_SHARE
from kkori.codegen.emit import Emitted
from kkori.codegen.graph import Value
from kkori.codegen.matrices import merged, seen
from kkori.codegen.scalars import LLVM_TYPES
from kkori.codegen.target import Target
from kkori.codegen.writer import Buffers
from kkori.core.size import contiguous_strides

__all__ = ["emit_join"]

WORK = 4  # to read a number and to write it, in additions
KINDS = 64  # of copies, whose texts are kept for the next program

Axis = tuple[int, ...]  # a length, and how far a step goes there and here


def emit_join(name: str, value: Value, buffers: Buffers, target: Target,
              place: int) -> tuple[Emitted, dict[str, str], int]:
    """The stage, its text by name, and its scratch memory: none."""
    from kkori.codegen.text import I64, PTR, VOID, Module
    work, scalar = WORK * prod(value.shape), scalar_of(value)
    lead = next((k for k, n in enumerate(value.shape) if n > 1), 0)
    several = work >= WORK_TO_SHARE * target.lanes("float")
    module, helpers, begun = Module(target), {}, 0
    with module.function(name, VOID, [("context", PTR), ("begin", I64), ("end", I64)]) as f:
        context, *bounds = f.arguments
        whole = f.load(PTR, f.offset(context, buffers.places[value], "i64"))
        for part in value.args:
            array, start, steps = seen(part, buffers.strides)
            there = contiguous_strides(value.shape)
            axes: list[Axis] = list(zip(part.shape, there, steps, strict=True))
            if several:
                first = axes.pop(lead)
                limits = [within(f, bound, begun, first[0]) if value.attr == lead else bound
                          for bound in bounds]
                axes = [first, *merged(axes)]
            else:
                axes = merged(axes) or [(1, 1, 1)]
                limits = [f.constant(bound, I64) for bound in (0, axes[0][0])]
            copy, parts = copier(target, scalar, way(axes[-1], scalar), len(axes))
            helpers.update(parts)
            here = constant(f, array, scalar) if array.kind == "constant" else f.load(
                PTR, f.offset(context, buffers.places[array], "i64"))
            numbers = [*axes[0][1:], *(number for axis in axes[1:] for number in axis)]
            f.call(copy, VOID, f.offset(whole, begun * there[value.attr], scalar),
                   f.offset(here, start, scalar), *limits,
                   *(f.constant(number, I64) for number in numbers))
            begun += part.shape[value.attr]
        f.ret()
    (text,) = module.parts().values()
    return Emitted(name, text, value.shape[lead], 1 if several else value.shape[lead],
                   work), helpers, 0


def scalar_of(value: Value) -> str:
    """The type of a value's numbers in memory."""
    return "i8" if value.dtype == "b1" else LLVM_TYPES[value.dtype]


def within(f: Any, bound: Any, begun: int, length: int) -> Any:
    """A place along the whole, as the nearest one of a part."""
    place = bound - begun
    place = f.select(place < 0, 0, place)
    return f.select(place < length, place, length)


def way(axis: Axis, scalar: str) -> str:
    """How the innermost axis is copied."""
    if axis[1] != 1 or scalar == "i8":
        return "each"
    return {1: "run", 0: "fill"}.get(axis[2], "each")


def constant(f: Any, value: Value, scalar: str) -> Any:
    """The address of a number that is known now."""
    from kkori.codegen.text import PTR, type_of
    address = f.line(f"alloca {scalar}", PTR, "p")
    f.store(f.constant(value.attr, type_of(scalar)), address)
    return address


# Copies.

@functools.lru_cache(maxsize=KINDS)
def copier(target: Target, scalar: str, way: str, rank: int) -> tuple[str, dict[str, str]]:
    """The function that all copies of one kind share: ``void name(ptr there, ptr here, i64 begin,
    i64 end)``, steps there and here, then length and steps of each axis inside. Its name, its text
    with what it needs."""
    from kkori.codegen.text import I64, PTR, VOID, Module
    module, name = Module(target), f"copy.{way}.{rank}.{scalar}"
    words = ["begin", "end", "there.0", "here.0", *(
        f"{word}.{k}" for k in range(1, rank) for word in ("length", "there", "here"))]
    with module.function(name, VOID, [("to", PTR), ("from", PTR),
                                      *((word, I64) for word in words)]) as f, ExitStack() as loops:
        there, here, begin, end, *steps = f.arguments
        while len(steps) > 2:
            row = loops.enter_context(f.loop(begin, end, name="row")).index
            there = f.offset(there, row * steps[0], scalar)
            here = f.offset(here, row * steps[1], scalar)
            begin, end, steps = f.constant(0, I64), steps[2], steps[3:]
        if way == "each":
            each(f, there, here, begin, end, steps, scalar)
        else:
            vectors(f, there, here, begin, end, scalar, way == "fill")
        loops.close()
        f.ret()
    return name, module.parts()


def each(f: Any, there: Any, here: Any, begin: Any, end: Any, steps: Any, scalar: str) -> None:
    """Number by number."""
    from kkori.codegen.text import type_of
    with f.loop(begin, end) as loop:
        number = f.load(type_of(scalar), f.offset(here, loop.index * steps[1], scalar))
        f.store(number, f.offset(there, loop.index * steps[0], scalar))


def vectors(f: Any, there: Any, here: Any, begin: Any, end: Any, scalar: str, same: bool) -> None:
    """What lies side by side there; here, too, or it is the `same` number everywhere."""
    from kkori.codegen.text import type_of
    lanes = f.target.lanes(scalar)
    kind = type_of(scalar, lanes)
    whole = begin + ((end - begin) & -lanes)
    number = f.splat(f.load(type_of(scalar), here), lanes) if same else None

    def copy(place: Any, mask: Any = None) -> tuple[()]:
        found = number if same else f.load(kind, f.offset(here, place, scalar), mask)
        f.store(found, f.offset(there, place, scalar), mask)
        return ()
    with f.loop(begin, whole, lanes) as loop:
        copy(loop.index)
    f.when(whole < end, (), lambda: copy(whole, f.tail_mask(end - whole, lanes)))
