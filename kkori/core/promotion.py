"""Which type a result has: PyTorch's rules for tensors, 0-dim tensors and Python numbers.

The type comes from the operands with dimensions; 0-dim tensors, then Python numbers, only count
where they are of a higher category (bool < integer < floating < complex).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core.dtype import BOOL, COMPLEX, FLOATING, INTEGRAL, dtype

__all__ = ["all_alike", "promote_types", "can_cast", "result_type", "operands"]

_pairs: dict[tuple[dtype, dtype], dtype] = {}


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest type that holds values of both (``torch.promote_types``)."""
    if type1 is type2:
        return type1
    found = _pairs.get((type1, type2))
    if found is None:
        found = _pairs[type1, type2] = _promote(*sorted((type1, type2), key=_order))
    return found


def _order(row: dtype) -> tuple[int, int, str]:
    return row.kind, row.rank, row.name


def _promote(low: dtype, high: dtype) -> dtype:
    if high.kind == COMPLEX and low.kind == FLOATING:
        return promote_types(low, high.to_real()).to_complex()
    if low.kind != high.kind:
        return high
    if high.kind == INTEGRAL:
        return _promote_integers(low, high)
    return types.float32 if low.rank == high.rank else high


def _promote_integers(low: dtype, high: dtype) -> dtype:
    if low.is_signed == high.is_signed:
        return high
    signed, unsigned = (low, high) if low.is_signed else (high, low)
    if signed.itemsize > unsigned.itemsize:
        return signed
    if unsigned.itemsize == 8:
        return signed
    return {1: types.int16, 2: types.int32, 4: types.int64}[unsigned.itemsize]


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether in-place results of type `from_` may be written to `to` (``torch.can_cast``)."""
    if to.kind == BOOL:
        return from_.kind == BOOL
    if from_.kind == INTEGRAL and from_.is_signed and to.kind == INTEGRAL:
        return True
    return from_.kind <= to.kind


def scalar_type(value: Any) -> dtype:
    """The type a Python or NumPy number stands for: bool, int64, default float, or complex."""
    if isinstance(value, (bool, np.bool_)):
        return types.bool_
    if isinstance(value, (int, np.integer)):
        return types.int64
    if isinstance(value, (float, np.floating)):
        return types.get_default_dtype()
    return types.get_default_dtype().to_complex()


def common(values: Any) -> dtype:
    """The result type of arrays and Python numbers together."""
    found: list[dtype | None] = [None, None, None]  # with dimensions, 0-dim, numbers
    for value in values:
        if hasattr(value, "ndim") and hasattr(value, "strides") and not isinstance(
                value, np.generic):
            slot, row = (0 if value.ndim else 1), types.of(value.dtype)
        else:
            slot, row = 2, scalar_type(value)
        old = found[slot]
        found[slot] = row if old is None else promote_types(old, row)
    best = found[0]
    for other in found[1:]:
        if other is not None and (best is None or other.kind > best.kind):
            best = _lift(best, other)
    assert best is not None
    return best


def _lift(best: dtype | None, row: dtype) -> dtype:
    """`row` wins by category; a float64 tensor still asks complex numbers for complex128."""
    if best is not None and row.kind == COMPLEX and best.kind == FLOATING:
        return promote_types(best, row) if best is types.float64 else row
    return row


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The type of ``tensor1 + tensor2``, for tensors or numbers (``torch.result_type``)."""
    return common([getattr(value, "_array", value) for value in (tensor1, tensor2)])


def cast(value: Any, row: dtype) -> Any:
    """An array or number as an array of type `row`; numbers wrap as PyTorch's do."""
    if hasattr(value, "astype") and not isinstance(value, np.generic):
        return value if value.dtype is row.numpy else value.astype(row.numpy)
    if isinstance(value, (int, np.integer)) and row.kind == INTEGRAL:
        bits = row.itemsize * 8
        value = int(value) & ((1 << bits) - 1)
        if row.is_signed and value >> (bits - 1):
            value -= 1 << bits
    return np.asarray(value, dtype=row.numpy)


def operands(*values: Any, floats: bool = False) -> list[Any]:
    """All `values` as arrays of their common type; with `floats`, integers become floats."""
    row = common(values)
    if floats and row.kind < FLOATING:
        row = types.get_default_dtype()
    return [cast(value, row) for value in values]


def all_alike(arrays: list[Any]) -> bool:
    """Whether arrays have one type and one shape, which is not that of no numbers at all."""
    kind, shape = arrays[0].dtype, arrays[0].shape
    for array in arrays:
        if array.shape != shape or array.dtype is not kind or array.__class__ is not np.ndarray:
            return False
    return shape not in ((), (0,))
