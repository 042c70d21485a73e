"""What linear algebra refuses, in PyTorch's words: types, shapes, singular matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops.table import not_a_tensor
from kkori.tensor import Tensor

__all__ = ["LinAlgError", "check_matrices", "check_square", "failed_at", "no_kernel", "not_low",
           "same_types"]


class LinAlgError(RuntimeError):
    """A matrix for which the computation has no result (``torch.linalg.LinAlgError``)."""

    __module__ = "torch._C"


LinAlgError.__name__ = LinAlgError.__qualname__ = "_LinAlgError"


def check_matrices(name: str, tensor: Any, argument: str = "A") -> None:
    """RuntimeError unless there are two dimensions at least."""
    if not isinstance(tensor, Tensor):
        raise not_a_tensor(name.replace("torch.", "").replace(".", "_"), argument, 1, tensor)
    if tensor._array.ndim < 2:
        raise RuntimeError(errors.message(
            f"{name}: The input tensor {argument} must have at least 2 dimensions.",
            what=f"shape: {errors.of_shape(tensor._array.shape)}",
            fix="a vector becomes a matrix of one column: x.unsqueeze(-1)"))


def check_square(name: str, tensor: Any, argument: str = "A", *, kernel: str | None = "") -> None:
    """RuntimeError unless `tensor` is a batch of square matrices of numbers with a fraction.

    `kernel` is what PyTorch calls the kernel that half precision lacks; ``""`` where it says so
    in words, None where half precision is fine.
    """
    check_matrices(name, tensor, argument)
    rows, columns = tensor._array.shape[-2:]
    if rows != columns:
        raise not_square(f"{name}: ", rows, columns, argument)
    check_floats(name, tensor, kernel)


def not_square(start: str, rows: int, columns: int, argument: str = "A") -> RuntimeError:
    return RuntimeError(errors.message(
        f"{start}{argument} must be batches of square matrices, but they are {rows} by "
        f"{columns} matrices", fix="torch.linalg.pinv and torch.linalg.lstsq take any matrix"))


def check_floats(name: str, tensor: Tensor, kernel: str | None = "") -> None:
    """RuntimeError unless the type is float32, float64 or complex."""
    kind = tensor._array.dtype
    if kind.kind in "biu":
        raise RuntimeError(errors.message(
            f"{name}: Expected a floating point or complex tensor as input. Got "
            f"{tensor.dtype.alias}", fix="A.float()"))
    if kind.itemsize > 2 or kernel is None:
        return
    if kernel:
        raise no_kernel(kernel, tensor)
    raise RuntimeError(errors.message(
        f"{name}: Low precision dtypes not supported. Got {tensor.dtype.alias}", fix="A.float()"))


def not_low(kernel: str, tensor: Tensor) -> None:
    """NotImplementedError for types that have no such kernel: integers and half precision."""
    kind = tensor._array.dtype
    if kind.kind in "biu" or kind.itemsize <= 2:
        raise no_kernel(kernel, tensor)


def no_kernel(kernel: str, tensor: Tensor) -> NotImplementedError:
    return NotImplementedError(errors.message(
        f"\"{kernel}\" not implemented for '{tensor.dtype.alias}'", fix="A.float()"))


def same_types(name: str, a: Tensor, b: Tensor, first: str = "A", second: str = "B") -> None:
    """RuntimeError where two tensors differ in type."""
    if a._array.dtype != b._array.dtype:
        raise RuntimeError(errors.message(
            f"{name}: Expected {first} and {second} to have the same dtype, but found {first} of "
            f"type {a.dtype.alias} and {second} of type {b.dtype.alias} instead",
            fix=f"{second}.to({first}.dtype)"))


def failed_at(info: Any) -> tuple[str, int]:
    """``(Batch element 2): `` for the first matrix of a batch that failed, and its `info`."""
    flat = np.asarray(info).reshape(-1)
    place = int(np.flatnonzero(flat)[0])
    return ("" if np.ndim(info) == 0 else f"(Batch element {place}): "), int(flat[place])


def _inversion(name: str, place: str, info: int) -> str:
    return (f"{name}: {place}The diagonal element {info} is zero, the inversion could not be "
            "completed because the input matrix is singular.")


def _solution(name: str, place: str, info: int) -> str:
    return f"{name}: {place}The solver failed because the input matrix is singular."


def _cholesky(name: str, place: str, info: int) -> str:
    return (f"{name}: {place}The factorization could not be completed because the input is not "
            f"positive-definite (the leading minor of order {info} is not positive-definite).")


PINV = "torch.linalg.pinv(A) and torch.linalg.lstsq(A, B) take singular matrices too"
FAILURES: dict[str, tuple[Callable[[str, str, int], str], str]] = {
    "inverse": (_inversion, PINV),
    "solution": (_solution, PINV),
    "cholesky": (_cholesky, "add a little to the diagonal: A + 1e-6 * torch.eye(n)"),
}


def refuse(kind: str, name: str, info: Any) -> None:
    """LinAlgError for the first matrix of a batch whose `info` is not 0, if there is one."""
    found = np.asarray(getattr(info, "_array", info))
    if not found.any():
        return
    text, fix = FAILURES[kind]
    raise LinAlgError(errors.message(text(name, *failed_at(found)), fix=fix))
