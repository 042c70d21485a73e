"""`torch.testing`: comparisons for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core.promotion import promote_types
from kkori.ops.create import as_tensor
from kkori.tensor import Tensor

__all__ = ["assert_close"]

# Relative and absolute tolerance by type, as torch.testing has them.
TOLERANCES = {"float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5),
              "float64": (1e-7, 1e-7), "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7)}


def assert_close(actual: Any, expected: Any, *, allow_subclasses: bool = True,
                 rtol: float | None = None, atol: float | None = None, equal_nan: bool = False,
                 check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
                 check_stride: bool = False, msg: Any = None) -> None:
    """AssertionError unless both agree: ``|actual - expected| <= atol + rtol * |expected|``."""
    if isinstance(expected, dict):
        pairs = [(actual[key], expected[key]) for key in expected]
    elif isinstance(expected, (list, tuple)):
        pairs = list(zip(actual, expected, strict=True))
    else:
        compare(as_tensor(actual), as_tensor(expected), rtol, atol, equal_nan,
                check_dtype and isinstance(actual, Tensor), msg)
        return
    for left, right in pairs:
        assert_close(left, right, rtol=rtol, atol=atol, equal_nan=equal_nan,
                     check_dtype=check_dtype, msg=msg)


def compare(actual: Tensor, expected: Tensor, rtol: Any, atol: Any, equal_nan: bool,
            check_dtype: bool, msg: Any) -> None:
    """One pair of tensors."""
    if actual.shape != expected.shape:
        raise AssertionError(msg or "The values for attribute 'shape' do not match: "
                             f"{actual.shape} != {expected.shape}.")
    if check_dtype and actual.dtype is not expected.dtype:
        raise AssertionError(msg or "The values for attribute 'dtype' do not match: "
                             f"{actual.dtype} != {expected.dtype}.")
    row = promote_types(actual.dtype, expected.dtype)
    relative, absolute = TOLERANCES.get(row.name, (0.0, 0.0))
    relative = relative if rtol is None else rtol
    absolute = absolute if atol is None else atol
    ours, theirs = (wide(part) for part in (actual, expected))
    close = np.isclose(ours, theirs, relative, absolute, equal_nan)
    if not close.all():
        raise AssertionError(msg or report(ours, theirs, close, relative, absolute))


def wide(part: Tensor) -> Any:
    """The numbers in a type NumPy compares well."""
    array = part.detach()._array
    return array.astype(np.float64) if array.dtype.kind in "fV" else array


def report(ours: Any, theirs: Any, close: Any, rtol: float, atol: float) -> str:
    """How many differ, and by how much."""
    gap = np.abs(np.where(close, 0, ours.astype(theirs.dtype) - theirs)) if ours.dtype.kind != "b" \
        else (~close).astype(int)
    bad, count = int((~close).sum()), close.size
    return (f"Tensor-likes are not close!\n\nMismatched elements: {bad} / {count} "
            f"({100 * bad / count:.1f}%)\nGreatest absolute difference: {gap.max()} (up to {atol} "
            f"allowed)\n(relative tolerance: {rtol})")
