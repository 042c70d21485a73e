"""``torch.linalg``: products, powers, reflections and tensors read as matrices."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops import linalg as rows
from kkori.ops.diagonal import diagonal as _diagonal
from kkori.ops.linalg import adjoint, constant
from kkori.ops.linalg_checks import check_matrices, check_square, not_low, refuse, same_types
from kkori.ops.linalg_public import inv, inverse_of, solve
from kkori.ops.matmul import dot, vdot
from kkori.ops.matmul import matmul as _matmul
from kkori.ops.namespaces import member
from kkori.ops.products import check_cross, cross_along, multiplied
from kkori.ops.table import TORCH
from kkori.tensor import Tensor, dimension

__all__ = ["cross", "diagonal", "householder_product", "matmul", "matrix_exp", "matrix_power",
           "multi_dot", "tensorinv", "tensorsolve", "vander", "vecdot"]


@member("linalg")
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product along a dimension of length 3, broadcast."""
    check_cross(input, other, dim)
    return cross_along(input, other, dim)


@member("linalg", out=False)
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of each matrix, a view."""
    found: Tensor = _diagonal(A, offset, dim1, dim2)
    return found


@member("linalg")
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """``torch.matmul``."""
    found: Tensor = _matmul(input, other)
    return found


@member("linalg")
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sums of conj(x) * y along `dim`, broadcast."""
    same_types("linalg.vecdot", x, y, "x", "y")
    if x._array.ndim == 1 and y._array.ndim == 1 and x._array.dtype.kind in "fc":
        return vdot(x, y) if x.is_complex() else dot(x, y)  # type: ignore[no-any-return]
    found: Tensor = (x.conj() * y).sum(dim)
    return found


def check_chain(tensors: list[Tensor]) -> None:
    """RuntimeError, in PyTorch's words, unless the tensors can be multiplied in order."""
    count, name = len(tensors), "multi_dot(): "
    if count < 2:
        raise RuntimeError(errors.message(f"{name}expected at least 2 tensors but got {count}"))
    for place in (0, count - 1):
        ndim = tensors[place]._array.ndim
        if ndim not in (1, 2):
            which = "last" if place else "first"
            raise RuntimeError(errors.message(
                f"{name}the {which} tensor must be 1D or 2D but got {ndim}D"))
    for place in range(1, count - 1):
        ndim = tensors[place]._array.ndim
        if ndim != 2:
            raise RuntimeError(errors.message(f"{name}tensor {place} must be 2D but got {ndim}D"))
    for place in range(1, count):
        one, two = tensors[0].dtype.name, tensors[place].dtype.name
        if one != two:
            raise RuntimeError(errors.message(
                f"{name}all tensors must have be the same dtype but tensor 0 is "
                f"{errors.C_NAMES[one]} and tensor {place} {errors.C_NAMES[two]}"))
    for place in range(1, count):
        left, right = tensors[place - 1]._array.shape, tensors[place]._array.shape
        if left[-1] != right[0]:
            raise RuntimeError(errors.message(
                f"{name}tensors {place - 1} and {place} with shapes {errors.of_shape(left)} and "
                f"{errors.of_shape(right)} cannot be multiplied"))


@member("linalg")
def multi_dot(tensors: Any) -> Tensor:
    """The product of several matrices in the order that takes the fewest multiplications.

    The first and the last may be vectors.
    """
    given = list(tensors)
    check_chain(given)
    row, column = given[0]._array.ndim == 1, given[-1]._array.ndim == 1
    if row:
        given[0] = given[0].unsqueeze(0)
    if column:
        given[-1] = given[-1].unsqueeze(-1)
    found = multiplied(given)
    found = found.squeeze(-1) if column else found
    return found.squeeze(0) if row else found


@member("linalg", top=("matrix_power",))
def matrix_power(input: Tensor, n: int) -> Tensor:
    """Square matrices multiplied `n` times; for negative n their inverses."""
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool):
        from kkori.ops.table import type_name
        raise TypeError(errors.message(
            f"linalg_matrix_power(): argument 'n' (position 2) must be int, not {type_name(n)}"))
    check_matrices("linalg.matrix_power", input)
    if input._array.dtype.kind in "fc":
        check_square("linalg.matrix_power", input, kernel=None)
    if n < 0:
        input, n = inv(input), -n
    if n == 0:
        shape, kind = input._array.shape, input._array.dtype
        eye = np.broadcast_to(np.eye(shape[-1], dtype=kind), shape)
        return el.where(constant(np.zeros(shape, bool), input), input, constant(eye, input))
    found = None
    while True:
        if n & 1:
            found = input if found is None else _matmul(found, input)
        n >>= 1
        if not n:
            break
        input = _matmul(input, input)
    return found.clone() if found is input else found  # type: ignore


@member("linalg", top=("matrix_exp",))
def matrix_exp(input: Tensor) -> Tensor:
    """I + A + A^2 / 2 + … of square matrices."""
    check_square("linalg.matrix_exp", input, kernel=None)
    found: Tensor = rows.matrix_exp_row(input)
    return found


# Reflections.

def check_reflections(name: str, input: Tensor, tau: Tensor) -> None:
    problem, a, t = "", input._array.shape, tau._array.shape
    if len(a) < 2:
        problem = "input must have at least 2 dimensions."
    elif a[-2] < a[-1]:
        problem = "input.shape[-2] must be greater than or equal to input.shape[-1]"
    elif a[-1] < t[-1]:
        problem = "input.shape[-1] must be greater than or equal to tau.shape[-1]"
    elif len(a) - len(t) != 1:
        problem = f"Expected tau to have one dimension less than input, but got tau.ndim equal " \
                  f"to {len(t)} and input.ndim is equal to {len(a)}"
    elif a[:-2] != t[:-1]:
        problem = f"Expected batch dimensions of tau to be equal to input.shape[:-2], but got " \
                  f"{errors.of_shape(t[:-1])}"
    elif input.dtype != tau.dtype:
        problem = f"tau dtype {tau.dtype.alias} does not match input dtype {input.dtype.alias}"
    if problem:
        raise RuntimeError(errors.message(f"{name}: {problem}"))


def reflected(input: Tensor, tau: Tensor, other: Tensor, transposed: bool) -> Tensor:
    """H_1 H_2 … H_k @ other (`transposed`: … H_2^H H_1^H), H_i = I - tau_i v_i v_i^H.

    v_i is column i of `input` below the diagonal, with 1 on the diagonal.
    """
    count, size = tau._array.shape[-1], input._array.shape[-2]
    unit = constant(np.eye(size, count, dtype=input._array.dtype), input)
    vectors = input[..., :count].tril(-1) + unit
    for k in (range(count) if transposed else range(count - 1, -1, -1)):
        v = vectors[..., k:k + 1]
        factor = tau[..., k, None, None]
        factor = factor.conj() if transposed else factor
        other = other - _matmul(v * factor, _matmul(adjoint(v), other))
    return other


@member("linalg", top=("orgqr",))
def householder_product(input: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of reflections I - tau v v^H, as geqrf gives them."""
    check_reflections("torch.linalg.householder_product", input, tau)
    not_low("orgqr_cpu", input)
    height, width = input._array.shape[-2:]
    unit = np.broadcast_to(np.eye(height, width, dtype=input._array.dtype), input._array.shape)
    return reflected(input, tau, constant(unit, input), False)


# Tensors read as matrices.

@member("linalg")
def tensorinv(input: Tensor, ind: int = 2) -> Tensor:
    """The inverse of ``tensordot(input, ., ind)``: dimensions from `ind` on come first."""
    if ind <= 0:
        raise RuntimeError(errors.message(
            f"Expected a strictly positive integer for 'ind', but got {ind}"))
    shape = input._array.shape
    left, right = prod(shape[:ind]), prod(shape[ind:])
    if left != right:
        raise RuntimeError(errors.message(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {right} != {left}"))
    found, info = inverse_of("linalg.inv", input.reshape(left, right))
    refuse("inverse", "inv", info)
    return found.reshape((*shape[ind:], *shape[:ind]))


@member("linalg")
def tensorsolve(input: Tensor, other: Tensor, dims: Any = None) -> Tensor:
    """X with ``tensordot(input, X, X.ndim) = other``; `dims` of input are moved to its end."""
    if dims is not None:
        ndim = input._array.ndim
        ends = tuple(range(ndim - len(dims), ndim))
        input = input.movedim(tuple(dimension(d, ndim) for d in dims), ends)
    shape = input._array.shape[other._array.ndim:]
    size = prod(shape)
    found = solve(input.reshape(size, size), other.reshape(-1))
    return found.reshape(shape)


@member("linalg")
def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """Powers 0 to N - 1 of each number, in a new last dimension."""
    x = x if x._array.ndim else x.unsqueeze(0)
    count = N if N is not None else x._array.shape[-1]
    if count <= 1:
        raise RuntimeError(errors.message("N must be greater than 1."))
    wide = x.unsqueeze(-1).expand(*x._array.shape, count - 1)
    powers = TORCH["cumprod"](wide, -1)
    found: Tensor = TORCH["cat"]([powers.new_ones((*x._array.shape, 1)), powers], -1)
    return found
