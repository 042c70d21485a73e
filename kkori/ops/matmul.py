"""Matrix products. One row a BLAS shape; gradients are matrix products again."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.core.meta import MetaArray
from kkori.ops import elementwise as el
from kkori.ops import move
from kkori.ops.move import _t, _transpose
from kkori.ops.table import METHODS, TORCH, not_a_tensor, op, public
from kkori.tensor import Tensor

# Names of C++ types, which PyTorch's messages use here.


def dot_array(a: Any, b: Any) -> Any:
    """np.dot, in float32 for half precision; a large outer product is a plain multiplication."""
    if a.dtype.itemsize == 2 and a.dtype.kind in "fV":
        return product(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    return product(a, b)


def product(a: Any, b: Any) -> Any:
    """np.dot for the types that it is good at; very large products may be compiled."""
    if b.size > LONG_ROW and a.ndim == b.ndim == 2 and a.shape[1] == 1:
        return np.multiply(a, b)
    if a.size * b.size > LARGE:
        from kkori.codegen import matmul_choice
        return matmul_choice.product(a, b)
    return np.dot(a, b)


LONG_ROW = 4096  # elements from which BLAS is slower than a multiplication
LARGE = 1 << 26  # elements of one side times those of the other: own kernels may be faster


def matmul_array(a: Any, b: Any) -> Any:
    """np.matmul, in float32 for half precision; batches of large matrices may be compiled."""
    if a.dtype.itemsize == 2 and a.dtype.kind in "fV":
        return matmul_array(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    if a.size * b.size > LARGE and a.ndim == b.ndim == 3:
        from kkori.codegen import matmul_choice
        return matmul_choice.batch(a, b)
    return np.matmul(a, b)


def turned(tensor: Tensor) -> Tensor:
    """The conjugate transpose of a matrix, or of each of a batch."""
    ndim = tensor._array.ndim
    flipped = move.flipped(tensor) if ndim == 2 else _transpose(tensor, ndim - 2, ndim - 1)
    return el.conj(flipped)


_mm = op("mm", lambda input, mat2: dot_array(input, mat2), {
    "input": lambda g, mat2: _mm(g, turned(mat2)),
    "mat2": lambda g, input: _mm(turned(input), g)})
_mv = op("mv", lambda input, vec: dot_array(input, vec), {
    "input": lambda g, vec: outer(g, el.conj(vec)),
    "vec": lambda g, input: _mv(turned(input), g)})
_dot = op("dot", lambda input, tensor: dot_array(input, tensor), {
    "input": lambda g, tensor: g * el.conj(tensor),
    "tensor": lambda g, input: g * el.conj(input)})
_bmm = op("bmm", lambda input, mat2: matmul_array(input, mat2), {
    "input": lambda g, mat2: _bmm(g, turned(mat2)),
    "mat2": lambda g, input: _bmm(turned(input), g)})


def addmm_array(input: Any, mat1: Any, mat2: Any, beta: Any, alpha: Any) -> Any:
    """beta * input + alpha * mat1 @ mat2, added into the product's buffer.

    Half precision is computed in float32 and rounded once, at the end.
    """
    if mat1.dtype.itemsize == 2 and mat1.dtype.kind in "fV":
        wide = [array.astype(np.float32) for array in (input, mat1, mat2)]
        return addmm_array(wide[0], wide[1], wide[2], beta, alpha).astype(mat1.dtype)
    found = product(mat1, mat2)
    if alpha != 1:
        found = found * np.asarray(alpha, found.dtype)
    if beta == 0:
        return found
    addend = input if beta == 1 else input * np.asarray(beta, input.dtype)
    if found.__class__ is not np.ndarray:
        return found + addend
    found += addend
    return found


_addmm = op("addmm", addmm_array, {
    "input": lambda g, beta: g if beta == 1 else g * beta,
    "mat1": lambda g, mat2, alpha: scaled(_mm(g, turned(mat2)), alpha),
    "mat2": lambda g, mat1, alpha: scaled(_mm(turned(mat1), g), alpha)})


def scaled(g: Tensor, factor: Any) -> Tensor:
    """`g * factor`; nothing to do for 1."""
    return g if factor == 1 else g * el.conj(factor)


def sides(input: Tensor, other: Tensor) -> tuple[Any, Any]:
    """The arrays of both sides, on one device."""
    a, b = input._array, other._array
    if isinstance(a, MetaArray) != isinstance(b, MetaArray):
        raise RuntimeError(errors.two_devices(a, b))
    return a, b


def cannot_multiply(a: Any, b: Any) -> RuntimeError:
    return RuntimeError(errors.message(
        f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and "
        f"{b.shape[0]}x{b.shape[1]})",
        what=f"columns on the left: {a.shape[1]}, rows on the right: {b.shape[0]}; "
             "they must be equal",
        fix=transpose_hint(a.shape, b.shape)))


def transpose_hint(a: Any, b: Any) -> str:
    """The transposition that makes two shapes fit, if one does."""
    if a[1] == b[1]:
        return "transpose the right side: a @ b.T"
    if a[0] == b[0]:
        return "transpose the left side: a.T @ b"
    return "print(a.shape, b.shape), and choose sizes that meet"


def different_types(input: Tensor, other: Tensor) -> RuntimeError:
    one, two = errors.C_NAMES[input.dtype.name], errors.C_NAMES[other.dtype.name]
    return RuntimeError(errors.message(
        f"expected m1 and m2 to have the same dtype, but got: {one} != {two}",
        what=sides_text(input, other), fix=type_hint(input, other)))


def sides_text(input: Tensor, other: Tensor) -> str:
    """Both sides as a message shows them."""
    return (f"left: {input.dtype!r} {errors.of_shape(input._array.shape)}, "
            f"right: {other.dtype!r} {errors.of_shape(other._array.shape)}")


def type_hint(input: Tensor, other: Tensor) -> str:
    """The conversion that gives two sides one type: to the wider one."""
    wider = input.dtype if input.dtype.rank >= other.dtype.rank else other.dtype
    return f"a @ b.to({wider!r})" if wider is input.dtype else f"a.to({wider!r}) @ b"


@public
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Product of two matrices, (n, k) and (k, m) (``torch.mm``)."""
    a, b = sides(input, mat2)
    if a.ndim != 2:
        raise RuntimeError("self must be a matrix")
    if b.ndim != 2:
        raise RuntimeError("mat2 must be a matrix")
    if a.shape[1] != b.shape[0]:
        raise cannot_multiply(a, b)
    if a.dtype is not b.dtype and a.dtype != b.dtype:
        raise different_types(input, mat2)
    if a.dtype.kind == "b":
        raise NotImplementedError('"addmm_impl_cpu_" not implemented for \'Bool\'')
    return _mm(input, mat2)


@public
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Product of a matrix (n, m) and a vector (m) (``torch.mv``)."""
    check_mv(input, vec)
    return _mv(input, vec)


def check_mv(input: Tensor, vec: Tensor) -> None:
    """RuntimeError, in PyTorch's words, where a matrix and a vector do not fit."""
    a, b = sides(input, vec)
    if a.ndim != 2 or b.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {a.ndim}, {b.ndim}")
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(errors.message(
            f"size mismatch, got input ({a.shape[0]}), mat ({a.shape[0]}x{a.shape[1]}), vec "
            f"({b.shape[0]})",
            fix=f"a vector of {a.shape[1]} numbers, one for each column: torch.ones({a.shape[1]})"))
    if a.dtype != b.dtype:
        raise RuntimeError(errors.message(
            f"addmv input tensors must have the same dtype, but got {vec.dtype.alias}, "
            f"{input.dtype.alias}, and {vec.dtype.alias}",
            what=sides_text(input, vec), fix=type_hint(input, vec)))


@public
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Sum of the products of two vectors of one length (``torch.dot``)."""
    a, b = sides(input, tensor)
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if a.dtype != b.dtype:
        raise RuntimeError(f"dot : expected both vectors to have same dtype, but found "
                           f"{input.dtype.alias} and {tensor.dtype.alias}")
    if a.shape != b.shape:
        raise RuntimeError(errors.message(
            f"inconsistent tensor size, expected tensor [{a.size}] and src [{b.size}] to have the "
            f"same number of elements, but got {a.size} and {b.size} elements respectively"))
    return _dot(input, tensor)


@public
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """dot() with the first vector conjugated (``torch.vdot``)."""
    return dot(el.conj(input), other)


@public
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of two batches of matrices (``torch.bmm``)."""
    check_bmm(input, mat2)
    return _bmm(input, mat2)


def check_bmm(input: Tensor, mat2: Tensor) -> None:
    """RuntimeError, in PyTorch's words, where two batches of matrices do not fit."""
    a, b = sides(input, mat2)
    for array, name in ((a, "batch1"), (b, "batch2")):
        if array.ndim != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    if b.shape[:2] != (a.shape[0], a.shape[2]):
        raise RuntimeError(errors.message(
            f"Expected size for first two dimensions of batch2 tensor to be: "
            f"{errors.of_shape((a.shape[0], a.shape[2]))} but got: {errors.of_shape(b.shape[:2])}."
        ))
    if a.dtype != b.dtype:
        raise scalar_types(input, mat2)


def scalar_types(input: Tensor, other: Tensor) -> RuntimeError:
    return RuntimeError(errors.message(
        f"expected scalar type {input.dtype.alias} but found {other.dtype.alias}",
        what=sides_text(input, other), fix=type_hint(input, other)))


@public
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product for any number of dimensions (``torch.matmul``, ``@``).

    Vectors count as a row on the left and a column on the right; batches broadcast.
    """
    left, right = input._array.ndim, other._array.ndim
    if left == 2 and right == 2:
        return mm(input, other)
    if left == 1 and right == 1:
        return dot(input, other)
    if not left or not right:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are "
                           f"{left}D and {right}D")
    if left == 2 and right == 1:
        return mv(input, other)
    if left == 1 and right == 2:
        return mm(input.unsqueeze(0), other).squeeze(0)
    return batched(input, other)


def batched(input: Tensor, other: Tensor) -> Tensor:
    """Products with more than two dimensions on at least one side."""
    left, right = input._array.shape, other._array.shape
    if len(right) <= 2:  # one matrix for the whole batch: a single large product
        rows = input.reshape(prod(left[:-1]), left[-1])
        product = mm(rows, other) if len(right) == 2 else mv(rows, other)
        return move._reshape_copied(product, left[:-1] + right[1:])
    if len(left) == 1:
        return batched(input.unsqueeze(0), other).squeeze(-2)
    if left[-1] != right[-2]:
        wanted, got = (right[0], left[-1]), (right[0], right[-2])
        raise RuntimeError(errors.message(
            f"Expected size for first two dimensions of batch2 tensor to be: "
            f"{errors.of_shape(wanted)} but got: {errors.of_shape(got)}."))
    if input._array.dtype != other._array.dtype:
        raise scalar_types(input, other)
    try:
        np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError:
        raise errors.not_broadcastable((left[:-2], right[:-2])) from None
    return _matmul(input, other)


_matmul = op("matmul", lambda input, other: matmul_array(input, other), {
    "input": lambda g, other: _matmul(g, turned(other)),
    "other": lambda g, input: _matmul(turned(input), g)}, node="UnsafeViewBackward0")


def matmul_operator(self: Tensor, other: Any) -> Any:
    if isinstance(other, Tensor):
        return matmul(self, other)
    if hasattr(other, "__array__"):
        return matmul(self, TORCH["as_tensor"](other))
    return NotImplemented


def matmul_operator_swapped(self: Tensor, other: Any) -> Any:
    return matmul(TORCH["as_tensor"](other), self) if hasattr(other, "__array__") else \
        NotImplemented


METHODS["__matmul__"] = matmul_operator
METHODS["__rmatmul__"] = matmul_operator_swapped


@public(inplace=True)
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * mat1 @ mat2`` (``torch.addmm``)."""
    a, b = sides(mat1, mat2)
    if a.ndim != 2 or b.ndim != 2:
        raise RuntimeError(f"mat{1 if a.ndim != 2 else 2} must be a matrix, got "
                           f"{a.ndim if a.ndim != 2 else b.ndim}-D tensor")
    if a.shape[1] != b.shape[0]:
        raise cannot_multiply(a, b)
    if a.dtype is not b.dtype and a.dtype != b.dtype:
        raise RuntimeError(errors.message(
            f"mat1 and mat2 must have the same dtype, but got {mat1.dtype.alias} and "
            f"{mat2.dtype.alias}", fix=f"convert the input: x = x.to({mat2.dtype})"))
    shape = (a.shape[0], b.shape[1])
    if input._array.shape != shape and input._array.shape != shape[1:]:
        move._expand(input, shape)  # raises in PyTorch's words where it does not fit
    return _addmm(input, mat1, mat2, beta, alpha)


@public(aliases=("ger",))
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of two vectors' elements, (n, m) (``torch.outer``)."""
    check_vectors(input, vec2)
    return input.unsqueeze(1) * vec2


def check_vectors(input: Tensor, vec2: Tensor) -> None:
    for tensor in (input, vec2):
        if tensor._array.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument "
                               f"{'self' if tensor is input else 'vec2'}, but got "
                               f"{tensor._array.ndim}-D")


@public
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dimension of both (``torch.inner``)."""
    if not input._array.ndim or not other._array.ndim:
        return input * other
    if input._array.shape[-1] != other._array.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{errors.of_shape(input._array.shape)} and {errors.of_shape(other._array.shape)}")
    return TORCH["tensordot"](input, other, dims=([-1], [-1]))


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``: (..., k), (m, k), (m) give (..., m).

    ``torch.nn.functional.linear``; RuntimeError where lengths or types do not fit.
    """
    try:
        shape = input._array.shape
    except AttributeError:
        raise not_a_tensor("linear", "input", 1, input) from None
    columns = _t(weight)
    if len(shape) == 2:
        if bias is not None and fit_at_once(input._array, columns._array, bias._array):
            return _addmm(bias, input, columns, 1, 1)
        try:
            return mm(input, columns) if bias is None else addmm(bias, input, columns)
        except RuntimeError:
            check_features(shape, weight._array.shape)
            raise
    if not shape:
        raise RuntimeError("both arguments to linear need to be at least 1D, but they are 0D and "
                           f"{weight._array.ndim}D")
    if weight._array.ndim == 1:
        product = matmul(input, weight)
        return product if bias is None else product + bias
    check_features(shape, weight._array.shape)
    rows = input.reshape(prod(shape[:-1]), shape[-1])
    wanted = shape[:-1] + columns._array.shape[1:]
    if bias is None:
        return move._reshape_copied(mm(rows, columns), wanted)
    return move._reshape(addmm(bias, rows, columns), wanted)


def fit_at_once(rows: Any, columns: Any, bias: Any) -> bool:
    """Whether arrays fit as they usually do: of one type, a bias for each column, no shapes only.

    False says nothing yet: `addmm` broadcasts, and has the messages.
    """
    return bool(columns.shape == rows.shape[1:] + bias.shape
                and rows.dtype is columns.dtype is bias.dtype
                and rows.__class__ is not MetaArray is not columns.__class__)


def check_features(shape: tuple[int, ...], weight: tuple[int, ...]) -> None:
    """RuntimeError where an input of `shape` does not have as many features as `weight` takes."""
    if len(weight) != 2 or shape[-1] == weight[1]:
        return
    raise RuntimeError(errors.message(
        f"mat1 and mat2 shapes cannot be multiplied ({prod(shape[:-1])}x{shape[-1]} and "
        f"{weight[1]}x{weight[0]})",
        what=f"the input has shape {errors.of_shape(shape)}, so {shape[-1]} features; the layer "
             f"takes {weight[1]}",
        fix=features_hint(shape, weight[1], weight[0])))


def features_hint(shape: tuple[int, ...], taken: int, given: int) -> str:
    """What makes an input of `shape` fit a layer that takes `taken` features and gives `given`."""
    if taken == 1:
        return "x.reshape(-1, 1): one number in each row"
    if len(shape) > 2 and prod(shape[1:]) == taken:
        return "x.flatten(1)"
    if len(shape) == 2 and shape[0] == taken:
        return "x.T: examples in rows, features in columns"
    return f"torch.nn.Linear({shape[-1]}, {given})"
