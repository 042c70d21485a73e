"""A matrix product as a region of the thread pool: chunks are runs of rows of C.

``emit_region(module, name, product)`` writes ``void name(ptr context, i64 chunk, i64 slot)`` around
a product whose m is open. The context is an array of 64-bit words, `WORDS`; `context_of` fills it.
Which thread takes which rows changes nothing in the result, as rows are summed on their own.
"""

from __future__ import annotations

import ctypes

from kkori.codegen.matmul_kernels import ARGUMENTS, Product, emit, scratch_bytes
from kkori.codegen.target import Target
from kkori.codegen.text import I64, PTR, VOID, Function, Module, Value

__all__ = ["WORDS", "context_of", "emit_region", "rows_of_a_chunk", "scratch_step"]

# The arguments of a product without `begin`, then how many rows a chunk has and how far apart the
# scratch memories of the threads are.
WORDS = tuple(name for name, _ in ARGUMENTS if name != "begin") + ("rows", "scratch_step")
KINDS = {**dict(ARGUMENTS), "rows": I64, "scratch_step": I64}


def emit_region(module: Module, name: str, product: Product) -> None:
    """Write the product as ``{name}.rows`` and the region's function as `name`."""
    assert product.m is None, "threads divide the rows: their number must be open"
    emit(module, f"{name}.rows", product)
    with module.function(name, VOID, [("context", PTR), ("chunk", I64), ("slot", I64)]) as f:
        context, chunk, slot = f.arguments
        word = {word: _word(f, context, number) for number, word in enumerate(WORDS)}
        begin = chunk * word["rows"]
        stop = begin + word["rows"]
        end = f.select(stop < word["end"], stop, word["end"])
        scratch = f.offset(word["scratch"], slot * word["scratch_step"], "i8")
        given = {**word, "begin": begin, "end": end, "scratch": scratch}
        f.call(f"{name}.rows", VOID, *(given[argument] for argument, _ in ARGUMENTS))
        f.ret()


def _word(f: Function, context: Value, number: int) -> Value:
    return f.load(KINDS[WORDS[number]], f.offset(context, number, "i64"))


def rows_of_a_chunk(m: int, threads: int) -> int:
    """Rows such that every thread gets about two chunks: a late thread leaves one to the others."""
    chunks = 1 if threads == 1 else 2 * threads
    return max(1, -(-m // chunks))


def scratch_step(product: Product, target: Target, k: int) -> int:
    """Bytes of scratch for one thread, in whole cache lines."""
    return -(-scratch_bytes(product, target, k) // 64) * 64


def context_of(product: Product, target: Target, rows: int, a: int, b: int, c: int, m: int, n: int,
               k: int, lda: int, ldb: int, ldc: int, scratch: int, extra: int = 0) -> ctypes.Array:
    """The context's words; `scratch` must hold `scratch_step` bytes a thread."""
    given = {"a": a, "b": b, "c": c, "end": m, "n": n, "k": k, "lda": lda, "ldb": ldb, "ldc": ldc,
             "scratch": scratch, "extra": extra, "rows": rows,
             "scratch_step": scratch_step(product, target, k)}
    return (ctypes.c_int64 * len(WORDS))(*(given[word] for word in WORDS))
