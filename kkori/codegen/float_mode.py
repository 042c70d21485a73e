"""Flushing denormals to zero while native code runs, and the caller's mode afterwards.

Moments of an optimizer decay into denormals after some hundred steps, and arithmetic on those is
three to four times slower. The mode belongs to a thread, so it is set where a step enters native
code and put back where it leaves. LLVM does not know that arithmetic depends on it, so both are
calls of their own and end their block: instructions are chosen and ordered block by block.
"""

from __future__ import annotations

from kkori.codegen.target import Target
from kkori.codegen.text import I64, VOID, Function, Module, Value

__all__ = ["GET", "SET", "flush", "restore", "text_of"]

GET, SET = "kkori.float_mode", "kkori.set_float_mode"

X86 = f"""\
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)

define internal i64 @{GET}() noinline {{
  %place = alloca i32, align 4
  call void @llvm.x86.sse.stmxcsr(ptr %place)
  %word = load i32, ptr %place, align 4
  %mode = zext i32 %word to i64
  ret i64 %mode
}}

define internal void @{SET}(i64 %mode) noinline {{
  %place = alloca i32, align 4
  %word = trunc i64 %mode to i32
  store i32 %word, ptr %place, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
  ret void
}}
"""

AARCH64 = f"""\
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)

define internal i64 @{GET}() noinline {{
  %mode = call i64 @llvm.aarch64.get.fpcr()
  ret i64 %mode
}}

define internal void @{SET}(i64 %mode) noinline {{
  call void @llvm.aarch64.set.fpcr(i64 %mode)
  ret void
}}
"""

# Text, and the bits that flush: FTZ and DAZ of MXCSR; FZ of FPCR.
MODES = {"x86_64": (X86, 0x8040), "aarch64": (AARCH64, 1 << 24)}


def text_of(target: Target) -> str:
    """The two functions: ``i64 GET()`` and ``void SET(i64)``."""
    return MODES[target.family.architecture][0]


def _helpers(module: Module) -> None:
    module.helper(GET, lambda module: text_of(module.target))


def flush(f: Function) -> Value:
    """Turn flushing on; the result is the mode before, for `restore`."""
    _helpers(f.module)
    before = f.call(GET, I64)
    bits = MODES[f.target.family.architecture][1]
    f.call(SET, VOID, before | bits)
    _end_block(f)
    return before


def restore(f: Function, before: Value) -> None:
    """Back to the mode that `flush` found."""
    _helpers(f.module)
    _end_block(f)
    f.call(SET, VOID, before)
    _end_block(f)


def _end_block(f: Function) -> None:
    label = f.fresh_label("mode")
    f.effect(f"br label %{label}")
    f.begin(label)
