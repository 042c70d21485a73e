"""Matrix products, convolutions, pools as stages of a segment, next to loops: same context, pool.

A factor may be an array or a view of one, as long as its rows or its columns lie side by side.
Large products with no small side are called from Python, between drivers (`matmul_choice`).
"""

from __future__ import annotations

import functools
from itertools import chain
from math import prod
from typing import Any, NamedTuple

from kkori.codegen.blueprint import WORK_TO_SHARE
from kkori.codegen.convolution import Convolution, Pool
from kkori.codegen.emit import Emitted
from kkori.codegen.graph import Value
from kkori.codegen.joins import emit_join
from kkori.codegen.matrices import matrices_of, merged, offset
from kkori.codegen.scalars import LLVM_TYPES
from kkori.codegen.tables import emit_gather, emit_scatter
from kkori.codegen.target import Target
from kkori.codegen.writer import Buffers
from kkori.core.size import contiguous_strides

__all__ = ["EMIT", "Factor", "emit_product", "factor_of", "is_own"]

KERNELS = 64  # texts that are kept for the next program
SMALL_SIDE = 256  # up to here it pays to divide only the rows among threads


class Factor(NamedTuple):
    """Where a factor lies: its array, how far its lines are apart, whether lines are columns."""

    array: Value
    stride: int
    transposed: bool


def factor_of(value: Value, buffers: Buffers) -> Factor | None:
    """A two-dimensional value as a factor; None where neither rows nor columns are compact."""
    array = value.args[0] if value.kind == "view" else value
    if array.kind in ("number", "constant", "range"):
        return None
    follows = value.attr if value.kind == "view" else range(len(array.shape))
    steps = [0, 0]
    strides = buffers.strides.get(array, contiguous_strides(array.shape))
    for dimension, step in zip(follows, strides, strict=True):
        if dimension is not None:
            steps[dimension] = step
    if 0 in steps or min(steps) < 0:
        return None
    if steps[1] == 1:
        return Factor(array, steps[0], False)
    return Factor(array, steps[1], True) if steps[0] == 1 else None


def is_own(value: Value, buffers: Buffers) -> bool:
    """Whether own kernels compute a product, given how the inputs are laid out."""
    if value.kind != "dot":
        return value.kind in EMIT
    return min(*value.shape, value.args[0].shape[1]) <= SMALL_SIDE and (
        all(factor_of(arg, buffers) is not None for arg in value.args))


def emit_product(name: str, value: Value, buffers: Buffers, target: Target,
                 place: int) -> tuple[Emitted, dict[str, str], int]:
    """The stage, its text by name, and its bytes of scratch memory a thread, whose address will
    be in the context at `place`. For products that are own kernels' (`is_own`)."""
    left, right = (factor_of(arg, buffers) for arg in value.args)
    (m, k), n = value.args[0].shape, value.shape[1]
    assert left is not None and right is not None, value
    shared = m * n * k >= WORK_TO_SHARE * target.lanes("float")
    rows, parts, scratch = kernel(target, LLVM_TYPES[value.dtype], None if shared else m, n, k,
                                  left.transposed, right.transposed)
    places = [buffers.places[part] for part in (left.array, right.array, value)] + [place]
    text = around(name, rows, places, scratch, (n, k, left.stride, right.stride, n))
    return Emitted(name, text, m, min(16, m), m * n * k, True), parts, scratch


def emit_batch(name: str, value: Value, buffers: Buffers, target: Target,
               place: int) -> tuple[Emitted, dict[str, str], int]:
    """The same for a batch of products."""
    from kkori.codegen.text import I64, PTR, VOID, Module
    from kkori.codegen.text import Value as Name
    left, right = (matrices_of(arg, buffers.strides) for arg in value.args)
    assert left is not None and right is not None, value
    (*lead, m, k), n = value.args[0].shape, value.shape[-1]
    scalar, count = LLVM_TYPES[value.dtype], prod(lead)
    rows, parts, scratch = kernel(target, scalar, m, n, k, left.transposed, right.transposed)
    module = Module(target)
    with module.function(name, VOID, [("context", PTR), ("begin", I64), ("end", I64),
                                      ("slot", I64)]) as f:
        context, begin, end, slot = f.arguments
        arrays = [f.load(PTR, f.offset(context, word, "i64")) for word in (
            buffers.places[left.array], buffers.places[right.array], buffers.places[value], place)]
        own = f.offset(arrays.pop(), slot * scratch, "i8")
        with f.loop(begin, end, name="matrix") as loop:
            one = f.settled(loop.index)
            apart = (left.apart, right.apart, contiguous_strides(value.shape)[:-2])
            ways = [merged(zip(lead, steps, strict=True)) for steps in apart]
            places = [offset(f, way, one, start) for way, start in zip(
                ways, (left.start, right.start, 0), strict=True)]
            moved = [f.offset(*pair, scalar) for pair in zip(arrays, places, strict=True)]
            sizes = [f.constant(size, I64) for size in (0, m, n, k, left.stride, right.stride, n)]
            f.call(rows, VOID, *moved, *sizes, own, Name("null", PTR, f))
        f.ret()
    return Emitted(name, next(iter(module.parts().values())), count, 1, count * m * n * k,
                   True), parts, scratch


def emit_images(name: str, value: Value, buffers: Buffers, target: Target,
                place: int) -> tuple[Emitted, dict[str, str], int]:
    """The same for a convolution, or for a pool with windows that overlap or are padded, or their
    gradients."""
    given, arrays = value.attr, (value.args[0], value.args[-1])
    images, parts, scratch, grain = IMAGES[value.kind](
        target, LLVM_TYPES[value.dtype], given, *(strides_of(arg, buffers) for arg in arrays))
    places = [buffers.places[part] for part in (*arrays, value)] + [place]
    text = around(name, images, places, scratch, ())
    return Emitted(name, text, given.extent, grain, given.work, True), parts, scratch


@functools.lru_cache(maxsize=KERNELS)
def pooled(target: Target, scalar: str, pool: Pool, a: Any,
           b: Any) -> tuple[str, dict[str, str], int, int]:
    """The function that all pools of one kind share, as for convolutions."""
    from kkori.codegen.pool_kernels import Pooled, emit, scratch_bytes
    from kkori.codegen.text import Module
    given, module = Pooled(pool, scalar, a, b), Module(target)
    windows = pool.windows
    numbers = (windows.batch, windows.channels, *chain(*windows[4:-1]), *a, *b)
    name = f"pool.{pool.what}.{windows.way}.{scalar}." + ".".join(map(str, numbers))
    emit(module, name, given)
    return name, module.parts(), scratch_bytes(given, target), 1


def strides_of(value: Value, buffers: Buffers) -> tuple[int, int, int, int]:
    """Of an array of images; those of lines are images of height 1."""
    strides = buffers.strides.get(value, contiguous_strides(value.shape))
    outer, channel, *inner = strides
    return (outer, channel, 0, *inner) if len(inner) == 1 else (  # type: ignore[return-value]
        outer, channel, *inner)


@functools.lru_cache(maxsize=KERNELS)
def convolution(target: Target, scalar: str, conv: Convolution, a: Any,
                b: Any) -> tuple[str, dict[str, str], int, int]:
    """The function that all convolutions of one kind share: its name, its text with what it needs,
    its bytes of scratch memory a thread, and how it may be cut."""
    from kkori.codegen.convolution_kernels import Given, emit, grain, scratch_bytes
    from kkori.codegen.text import Module
    given, module = Given(conv, scalar, a, b), Module(target)
    numbers = (conv.batch, conv.channels, conv.outputs, conv.groups, *chain(*conv[4:-1]), *a, *b)
    name = f"conv.{conv.way}.{scalar}." + ".".join(map(str, numbers))
    emit(module, name, given)
    return name, module.parts(), scratch_bytes(given, target), grain(given, target)


@functools.lru_cache(maxsize=KERNELS)
def kernel(target: Target, scalar: str, m: int | None, n: int, k: int, left_turned: bool,
           right_turned: bool) -> tuple[str, dict[str, str], int]:
    """The function that all products of one kind share: its name, its text with what it needs,
    and its bytes of scratch memory a thread."""
    # Imported here: most small programs have no products, and wait a millisecond less.
    from kkori.codegen.matmul_kernels import emit
    from kkori.codegen.matmul_plan import Product
    from kkori.codegen.matmul_region import scratch_step
    from kkori.codegen.text import Module
    product, module = Product(scalar, m, n, k, left_turned, right_turned), Module(target)
    letters = "".join("nt"[turned] for turned in (left_turned, right_turned))
    sizes = ".".join("m" if size is None else str(size) for size in (m, n, k))
    name = f"rows.{letters}.{sizes}.{scalar}"
    emit(module, name, product)
    return name, module.parts(), scratch_step(product, target, k)


def around(name: str, rows: str, places: list[int], scratch: int, sizes: tuple[int, ...]) -> str:
    """``void name(ptr context, i64 begin, i64 end, i64 slot)`` around the product's function."""
    lines = [f"define void @{name}(ptr %context, i64 %begin, i64 %end, i64 %slot) {{", "entry:"]
    for letter, place in zip("abcs", places, strict=True):
        lines += [f"  %p.{letter} = getelementptr i64, ptr %context, i64 {place}",
                  f"  %{letter} = load ptr, ptr %p.{letter}, align 8"]
    listed = "".join(f"i64 {size}, " for size in sizes)
    return "\n".join([*lines, f"  %skip = mul i64 %slot, {scratch}",
                      "  %scratch = getelementptr i8, ptr %s, i64 %skip",
                      f"  call void @{rows}(ptr %a, ptr %b, ptr %c, i64 %begin, i64 %end, "
                      f"{listed}ptr %scratch, ptr null)", "  ret void", "}"])


IMAGES: dict[str, Any] = {"conv": convolution, "pool": pooled}
EMIT = {"dot": emit_product, "batch": emit_batch, "conv": emit_images, "pool": emit_images,
        "cat": emit_join, "gather": emit_gather, "scatter": emit_scatter}
