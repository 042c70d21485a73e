"""Linear algebra under its older names: ``torch.cholesky``, ``torch.svd``, ``torch.lu``, …"""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops import linalg as rows
from kkori.ops import linalg_public as modern
from kkori.ops import spectral
from kkori.ops.factors import solve_triangular
from kkori.ops.linalg import adjoint
from kkori.ops.linalg_checks import (
    check_floats,
    check_matrices,
    check_square,
    not_low,
    not_square,
    refuse,
)
from kkori.ops.linalg_more import reflected
from kkori.ops.linalg_norms import pinv
from kkori.ops.matmul import matmul
from kkori.ops.results import result_type
from kkori.ops.table import TORCH, public
from kkori.tensor import Tensor

__all__ = ["cholesky", "cholesky_inverse", "cholesky_solve", "geqrf", "logdet", "lu", "lu_solve",
           "lu_unpack", "ormqr", "pinverse", "qr", "slogdet", "svd", "triangular_solve"]


@public
def slogdet(input: Tensor) -> Any:
    """``torch.linalg.slogdet``."""
    check_square("linalg.slogdet", input)
    return modern.OLD_SLOGDET(rows.slogdet_row(input))


@public(out=False)
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant: NaN where that is negative."""
    check_square("logdet", input)
    sign, value = rows.slogdet_row(input)
    if input.is_complex():
        found: Tensor = el.log(sign) + value
    else:
        found = el.where(sign == -1.0, float("nan"), value)
    return found


@public(out=False)
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """``torch.linalg.pinv(input, rcond)``."""
    found: Tensor = pinv(input, rcond)
    return found


# Cholesky.

@public
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """``torch.linalg.cholesky``."""
    factor, info = modern.cholesky_of("cholesky", input, upper)
    refuse("cholesky", "cholesky", info)
    return factor


@public
def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """The inverse of the matrix of which `input` is the Cholesky factor."""
    check_square("cholesky_inverse", input, kernel="cholesky_inverse_out_cpu")
    diagonal = np.diagonal(input._array, axis1=-2, axis2=-1) == 0
    if diagonal.any():
        refuse("inverse", "cholesky_inverse",
               np.where(diagonal.any(-1), diagonal.argmax(-1) + 1, 0))
    eye = rows.constant(np.eye(input._array.shape[-1], dtype=input._array.dtype), input)
    found: Tensor = cholesky_solution(eye, input, upper)
    return found


def cholesky_solution_array(input: Any, factor: Any, upper: Any) -> Any:
    """X with L L^H X = input (`upper`: U^H U X = input), by two triangular systems."""
    turned = factor.conj().swapaxes(-1, -2)
    lower, high = (turned, factor) if upper else (factor, turned)
    return solve_triangular(high, solve_triangular(lower, input, False, False), True, False)


def cholesky_solution_gradient(g: Tensor, factor: Tensor, out: Tensor, upper: bool) -> Tensor:
    """For the factor; as in PyTorch the unread triangle gets what a full matrix would."""
    part = matmul(cholesky_solution(g, factor, upper), adjoint(out))
    both = part + adjoint(part)
    return -matmul(factor, both) if upper else -matmul(both, factor)


cholesky_solution = rows.factored("cholesky_solve", cholesky_solution_array, {
    "input": lambda g, factor, upper: cholesky_solution(g, factor, upper),
    "factor": cholesky_solution_gradient})


@public
def cholesky_solve(input: Tensor, input2: Tensor, upper: bool = False) -> Tensor:
    """X with A X = input, where `input2` is the Cholesky factor of A."""
    for name, tensor in (("b", input), ("u", input2)):
        if tensor._array.ndim < 2:
            raise RuntimeError(errors.message(
                f"{name} should have at least 2 dimensions, but has {tensor._array.ndim} "
                "dimensions instead"))
    check_system("cholesky_solve", input, input2)
    not_low("cholesky_solve_cpu", input)
    found: Tensor = cholesky_solution(input, input2, upper)
    return found


def check_system(name: str, b: Tensor, A: Tensor) -> None:
    """RuntimeError unless A is square and has as many rows as b."""
    rows_, columns = A._array.shape[-2:]
    if rows_ != columns:
        raise not_square("", rows_, columns)
    if b._array.shape[-2] != columns:
        raise RuntimeError(errors.message(
            f"Incompatible matrix sizes for {name}: each A matrix is {rows_} by {columns} but "
            f"each b matrix is {b._array.shape[-2]} by {b._array.shape[-1]}"))


TRIANGULAR = result_type("triangular_solve", "solution", "cloned_coefficient")


@public
def triangular_solve(input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False,
                     unitriangular: bool = False) -> Any:
    """(X with triangle(A) X = input, a copy of A); `transpose`: with A^T instead of A."""
    for name, tensor in (("b", input), ("A", A)):
        if tensor._array.ndim < 2:
            raise RuntimeError(errors.message(
                f"torch.triangular_solve: Expected {name} to have at least 2 dimensions, but it "
                f"has {tensor._array.ndim} dimensions instead"))
    check_system("triangular_solve", input, A)
    not_low("triangular_solve_cpu", input)
    batch = np.broadcast_shapes(input._array.shape[:-2], A._array.shape[:-2])
    wide = A.expand(*batch, *A._array.shape[-2:])
    matrix = A.mT if transpose else A
    found = rows.triangular_row(matrix, input, upper != transpose, unitriangular)
    return TRIANGULAR((found, wide.clone()))


# LU.

LU_INFO = result_type("_lu_with_info", "LU", "pivots", "info")
UNPACKED = result_type("lu_unpack", "P", "L", "U")


@public(out=False)
def lu(A: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """(L and U in one, pivots), with `get_infos` the number of the first zero pivot, too."""
    LU, pivots, info = modern.lu_of(A, pivot)
    return LU_INFO((LU, pivots, info)) if get_infos else (LU, pivots)


@public
def lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """``torch.linalg.lu_solve``, the right side first."""
    modern.check_lu("linalg.lu_solve", LU_data, LU_pivots, input)
    return modern.lu_solution(LU_data, LU_pivots, input, True, False)


@public(method=False)
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True,
              unpack_pivots: bool = True) -> Any:
    """(P, L, U) of what ``torch.linalg.lu_factor`` gave."""
    if unpack_pivots and LU_pivots._array.dtype != np.int32:
        raise RuntimeError(errors.message(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
            "dtype.\nNote: this function is intended to be used with the output produced by "
            "torch.linalg.lu_factor"))
    nothing = LU_data.new_zeros((0,))
    L, U = modern.triangles(LU_data) if unpack_data else (nothing, nothing)
    P = nothing
    if unpack_pivots:
        P = modern.permutation(LU_pivots, LU_data)
    return UNPACKED((P, L, U))


# QR.

OLD_QR = result_type("qr", "Q", "R")
GEQRF = result_type("geqrf", "a", "tau")


@public
def qr(input: Tensor, some: bool = True) -> Any:
    """``torch.linalg.qr`` with mode "reduced", or "complete" where not `some`."""
    check_matrices("linalg.qr", input)
    check_floats("linalg.qr", input, "geqrf_cpu")
    return OLD_QR(rows.qr_row(input, "reduced" if some else "complete"))


@public
def geqrf(input: Tensor) -> Any:
    """(a, tau): QR as LAPACK keeps it, R above the diagonal and reflections below."""
    if input._array.ndim < 2:
        raise RuntimeError(errors.message("torch.geqrf: input must have at least 2 dimensions."))
    not_low("geqrf_cpu", input)
    return GEQRF(rows.raw_qr_row(input))


@public
def ormqr(input: Tensor, input2: Tensor, input3: Tensor, left: bool = True,
          transpose: bool = False) -> Tensor:
    """`input3` times the product of the reflections in `input` and `input2` (tau)."""
    check_ormqr(input, input2, input3, left)
    if left:
        return reflected(input, input2, input3, transpose)
    return adjoint(reflected(input, input2, adjoint(input3), not transpose))


def check_ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool) -> None:
    side, problem = (-2 if left else -1), ""
    if input._array.ndim < 2:
        problem = "input must have at least 2 dimensions."
    elif other._array.ndim < 2:
        problem = "other must have at least 2 dimensions."
    elif other._array.shape[side] != input._array.shape[-2]:
        problem = f"other.shape[{side}] must be equal to input.shape[-2]"
    elif other._array.shape[side] < tau._array.shape[-1]:
        problem = f"other.shape[{side}] must be greater than or equal to tau.shape[-1]"
    elif tau._array.shape[-1] > input._array.shape[-1]:
        problem = "tau.shape[-1] must be less than or equal to input.shape[-1]"
    if problem:
        raise RuntimeError(errors.message(f"torch.ormqr: {problem}"))


# Singular values.

OLD_SVD = result_type("svd", "U", "S", "V")


@public
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V) with input = U diag(S) V^H; U and V are zeros without `compute_uv`."""
    if input._array.ndim < 2:
        raise RuntimeError(errors.message(
            "linalg.svd: input should have at least 2 dimensions, but has "
            f"{input._array.ndim} dimensions instead"))
    modern.check_svd(input, None)
    if compute_uv:
        U, S, Vh = spectral.svd_row(input, not some)
        return OLD_SVD((U, S, adjoint(Vh)))
    shape = input._array.shape
    squares = [input.new_zeros((*shape[:-2], n, n)) for n in shape[-2:]]
    return OLD_SVD((squares[0], spectral.svdvals_row(input), squares[1]))


# Names that PyTorch removed, and what it says of them.
REMOVED = {
    "eig": "`torch.linalg.eig` returns complex tensors of dtype `cfloat` or `cdouble` rather than "
           "real tensors mimicking complex tensors.",
    "symeig": "The default behavior has changed from using the upper triangular portion of the "
              "matrix by default to using the lower triangular portion.",
    "lstsq": "`torch.lstsq` is deprecated in favor of `torch.linalg.lstsq`.",
    "solve": "`torch.solve` is deprecated in favor of `torch.linalg.solve`. "
             "`torch.linalg.solve` has its arguments reversed and does not return the LU "
             "factorization.",
    "matrix_rank": "",
}
FIXES = {"eig": "torch.linalg.eig(A)", "symeig": "torch.linalg.eigh(A)",
         "lstsq": "torch.linalg.lstsq(A, B)", "solve": "torch.linalg.solve(A, B)",
         "matrix_rank": "torch.linalg.matrix_rank(A)"}


def removed(name: str, reason: str) -> None:
    def function(*args: Any, **options: Any) -> Any:
        raise RuntimeError(errors.message(
            f"This function was deprecated since version 1.9 and is now removed. {reason}"
            if reason else "This function was deprecated since version 1.9 and is now removed.",
            fix=FIXES[name]))
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Removed from PyTorch; use {FIXES[name]}."
    TORCH[name] = function


for _name, _reason in REMOVED.items():
    removed(_name, _reason)
