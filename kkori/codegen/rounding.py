"""floor, ceil, trunc and round to nearest even, also where no instruction does it.

Plain x86-64 has none before SSE4.1, and LLVM would call the C library once a lane. Adding and
subtracting 2**23 (2**52) rounds a smaller number; larger ones have no fraction.
"""

from __future__ import annotations

from kkori.codegen.text import Value
from kkori.codegen.vector_math import FORMATS, absolute, with_sign_of

__all__ = ["ceil", "floor", "nearest_even", "trunc"]

WITHOUT = {"x86-64"}  # targets that have no such instruction


def _instruction(x: Value, name: str) -> Value | None:
    f = x.function
    if f.target.name in WITHOUT:
        return None
    return f.intrinsic(f"llvm.{name}", x.type, x)


def nearest_even(x: Value) -> Value:
    """The nearest integer, halves to the even one (``round`` of PyTorch and NumPy)."""
    return _instruction(x, "rint") or _rounded(x)


def _rounded(x: Value) -> Value:
    f, large = x.function, 2.0 ** FORMATS[x.type.scalar].mantissa
    size = absolute(x)
    return f.select(size < large, with_sign_of((size + large) - large, x), x)


def floor(x: Value) -> Value:
    """The largest integer not above x."""
    found = _instruction(x, "floor")
    if found is not None:
        return found
    near = _rounded(x)
    return with_sign_of(x.function.select(near > x, near - 1, near), x)


def ceil(x: Value) -> Value:
    """The smallest integer not below x."""
    return _instruction(x, "ceil") or -floor(-x)


def trunc(x: Value) -> Value:
    """x without its fraction."""
    return _instruction(x, "trunc") or with_sign_of(floor(absolute(x)), x)
