"""``torch.linalg``: factorizations, systems of equations, inverses and determinants."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops import linalg as rows
from kkori.ops import spectral
from kkori.ops.factors import permutation_of
from kkori.ops.linalg import adjoint, constant
from kkori.ops.linalg_checks import (
    check_floats,
    check_matrices,
    check_square,
    failed_at,
    not_low,
    not_square,
    refuse,
    same_types,
)
from kkori.ops.matmul import matmul
from kkori.ops.namespaces import member
from kkori.ops.results import result_type
from kkori.ops.table import is_meta
from kkori.tensor import Tensor, wrap

__all__ = ["cholesky", "cholesky_ex", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "inv_ex",
           "ldl_factor", "ldl_factor_ex", "ldl_solve", "lu", "lu_factor", "lu_factor_ex",
           "lu_solve", "qr", "slogdet", "solve", "solve_ex", "solve_triangular", "svd", "svdvals"]


# Inverse and determinant.

def inverse_of(name: str, tensor: Tensor) -> tuple[Tensor, Tensor]:
    check_square(name, tensor)
    found: tuple[Tensor, Tensor] = rows.inv_row(tensor)
    return found


@member("linalg", top=("inverse",))
def inv(A: Tensor) -> Tensor:
    """The inverse of each matrix of a batch; LinAlgError where one is singular.

    >>> import kkori as torch
    >>> torch.linalg.inv(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    found, info = inverse_of("linalg.inv", A)
    refuse("inverse", "linalg.inv", info)
    return found


INV_EX = result_type("linalg_inv_ex", "inverse", "info")


@member("linalg")
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """(inverse, info); `info` is the number of a zero pivot where there is no inverse."""
    found, info = inverse_of("linalg.inv", A)
    if check_errors:
        refuse("inverse", "linalg.inv_ex", info)
    return INV_EX((found, info))


@member("linalg", top=("det",))
def det(A: Tensor) -> Tensor:
    """The determinant of each matrix, shape (...)."""
    check_square("linalg.det", A, kernel="lu_cpu")
    found: Tensor = rows.det_row(A)
    return found


SLOGDET = result_type("linalg_slogdet", "sign", "logabsdet")
OLD_SLOGDET = result_type("slogdet", "sign", "logabsdet")


@member("linalg")
def slogdet(A: Tensor) -> Any:
    """(sign, logabsdet): the determinant is ``sign * exp(logabsdet)``."""
    check_square("linalg.slogdet", A)
    return SLOGDET(rows.slogdet_row(A))


# Systems of equations.

def is_vector_case(A: Tensor, B: Tensor) -> bool:
    """Whether B is a vector, or a batch of vectors whose shape is that of A without columns."""
    return B._array.ndim == 1 or (A._array.ndim - 1 == B._array.ndim
                                  and B._array.shape == A._array.shape[:-1])


def check_fit(name: str, A: Tensor, B: Tensor, left: bool = True) -> None:
    """RuntimeError where the shapes of A X = B (or X A = B) do not meet."""
    a, b = A._array.shape[-2:], B._array.shape[-2:]
    if (b[0] if left else b[1]) != a[0]:
        raise RuntimeError(errors.message(
            f"{name}: Incompatible shapes of A and B for the equation "
            f"{'AX' if left else 'XA'} = B ({a[0]}x{a[1]} and {b[0]}x{b[1]})",
            fix=f"B needs {a[0]} {'rows' if left else 'columns'}"))


def solution_of(A: Tensor, B: Tensor, left: bool) -> tuple[Tensor, Tensor]:
    """(X, info) of A X = B or X A = B, vectors allowed, batches broadcast."""
    check_square("linalg.solve", A, kernel="lu_cpu")
    same_types("linalg.solve", A, B)
    vector = is_vector_case(A, B)
    if vector and not left:
        raise RuntimeError(errors.message(
            "linalg.solve: Vector broadcasting of the left hand side is not supported for "
            "left=False. In this case linalg.solve is equivalent to B / A.squeeze(-1)"))
    other = B.unsqueeze(-1) if vector else B
    check_fit("linalg.solve", A, other, left)
    if not left:
        A, other = A.mT, other.mT
    found, info = rows.solve_row(A, other)
    found = found if left else found.mT
    return found.squeeze(-1) if vector else found, info


@member("linalg")
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (``left=False``: X A = B); LinAlgError where A is singular.

    A: (..., n, n). B: (..., n, k), or vectors (..., n).
    """
    found, info = solution_of(A, B, left)
    refuse("solution", "torch.linalg.solve", info)
    return found


SOLVE_EX = result_type("linalg_solve_ex", "result", "info")


@member("linalg")
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """(result, info) of ``solve``; `info` is not 0 where A is singular."""
    found, info = solution_of(A, B, left)
    if check_errors:
        refuse("solution", "torch.linalg.solve_ex", info)
    return SOLVE_EX((found, info))


@member("linalg")
def solve_triangular(input: Tensor, B: Tensor, *, upper: bool | None = None, left: bool = True,
                     unitriangular: bool = False) -> Tensor:
    """X with A X = B for triangular A, of which the other triangle is not read."""
    name = "linalg.solve_triangular"
    if upper is None:
        raise TypeError(errors.message(
            'linalg_solve_triangular() missing 1 required positional arguments: "upper"',
            fix="torch.linalg.solve_triangular(A, B, upper=False)"))
    check_matrices(name, input)
    check_matrices(name, B, "B")
    same_types(name, input, B)
    check_square(name, input, kernel="triangular_solve_cpu")
    check_fit(name, input, B, left)
    if left:
        found: Tensor = rows.triangular_row(input, B, upper, unitriangular)
    else:
        found = rows.triangular_row(input.mT, B.mT, not upper, unitriangular).mT
    return found


# Cholesky.

def cholesky_of(name: str, input: Tensor, upper: bool) -> tuple[Tensor, Tensor]:
    check_square(name, input, kernel="cholesky_cpu")
    found: tuple[Tensor, Tensor] = rows.cholesky_row(input, upper)
    return found


@member("linalg")
def cholesky(input: Tensor, *, upper: bool = False) -> Tensor:
    """Lower triangular L with A = L L^H (`upper`: A = L^H L); LinAlgError if there is none."""
    factor, info = cholesky_of("linalg.cholesky", input, upper)
    refuse("cholesky", "linalg.cholesky", info)
    return factor


CHOLESKY_EX = result_type("linalg_cholesky_ex", "L", "info")


@member("linalg")
def cholesky_ex(input: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info); `info` is the order of the first minor that is not positive definite."""
    factor, info = cholesky_of("linalg.cholesky", input, upper)
    if check_errors:
        refuse("cholesky", "linalg.cholesky_ex", info)
    return CHOLESKY_EX((factor, info))


# LU.

def lu_of(A: Tensor, pivot: bool, name: str = "torch.lu_factor") -> tuple[Tensor, Tensor, Tensor]:
    if A._array.ndim < 2:
        raise RuntimeError(errors.message(
            f"{name}: Expected tensor with 2 or more dimensions. Got size: "
            f"{errors.of_shape(A._array.shape)} instead"))
    not_low("lu_cpu", A)
    if not pivot:
        raise RuntimeError(errors.message(
            "linalg.lu_factor: LU without pivoting is not implemented on the CPU"))
    found: tuple[Tensor, Tensor, Tensor] = rows.lu_row(A)
    return found


LU_FACTOR = result_type("linalg_lu_factor", "LU", "pivots")
LU_FACTOR_EX = result_type("linalg_lu_factor_ex", "LU", "pivots", "info")
LU = result_type("linalg_lu", "P", "L", "U")


def zero_refused(name: str, info: Tensor) -> None:
    """RuntimeError for a zero on the diagonal of U."""
    if not info._array.any():
        return
    place, number = failed_at(info._array)
    raise RuntimeError(errors.message(
        f"{name}: {place}U[{number},{number}] is zero and using it on lu_solve would result in a "
        "division by zero. If you still want to perform the factorization, consider calling "
        "linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"))


@member("linalg")
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """(L and U in one matrix, pivots counted from 1) with partial pivoting."""
    LU, pivots, info = lu_of(A, pivot)
    zero_refused("torch.linalg.lu_factor", info)
    return LU_FACTOR((LU, pivots))


@member("linalg")
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """(LU, pivots, info); `info` is the number of the first zero pivot, or 0."""
    found = lu_of(A, pivot)
    if check_errors:
        zero_refused("torch.linalg.lu_factor_ex", found[2])
    return LU_FACTOR_EX(found)


def triangles(LU: Tensor) -> tuple[Tensor, Tensor]:
    """L with ones on its diagonal, and U, out of the matrix that holds both."""
    rows_, columns = LU._array.shape[-2:]
    size = min(rows_, columns)
    eye = np.eye(rows_, size, dtype=LU._array.dtype)
    return LU[..., :size].tril(-1) + constant(eye, LU), LU[..., :size, :].triu()


def permutation(pivots: Tensor, LU: Tensor) -> Tensor:
    """The matrix P of A = P L U."""
    height, kind = LU._array.shape[-2], LU._array.dtype
    if is_meta(LU):
        return constant(np.zeros((*LU._array.shape[:-2], height, height), kind), LU)
    order = permutation_of(pivots._array, height)
    return wrap(np.eye(height, dtype=kind)[order].swapaxes(-1, -2))


@member("linalg")
def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """(P, L, U) with A = P L U."""
    LU_, pivots, _ = lu_of(A, pivot, "linalg.lu")
    L, U = triangles(LU_)
    return LU((permutation(pivots, LU_), L, U))


def lu_solution(LU: Tensor, pivots: Tensor, B: Tensor, left: bool, adjoint_: bool) -> Tensor:
    """X with A X = B, or its variants, by two triangular systems."""
    if not left:  # X A = B is A^H X^H = B^H
        return adjoint(lu_solution(LU, pivots, adjoint(B), True, not adjoint_))
    P = permutation(pivots, LU)
    solved = rows.triangular_row
    if adjoint_:
        half = solved(adjoint(LU), B, False, False)
        return matmul(P, solved(adjoint(LU), half, True, True))
    return solved(LU, solved(LU, matmul(P.mT, B), False, True), True, False)  # type: ignore


@member("linalg")
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True,
             adjoint: bool = False) -> Tensor:
    """X with A X = B, of the factors of A (``left=False``: X A = B; `adjoint`: A^H X = B)."""
    check_lu("linalg.lu_solve", LU, pivots, B, left)
    return lu_solution(LU, pivots, B, left, adjoint)


def check_lu(name: str, LU: Tensor, pivots: Tensor, B: Tensor, left: bool = True) -> None:
    """RuntimeError where factors, pivots and right side are not of one system."""
    if pivots._array.dtype != np.int32:
        raise RuntimeError(errors.message(
            f"{name}: pivots should be a Tensor of scalar type torch.int32",
            fix="LU, pivots = torch.linalg.lu_factor(A)"))
    same_types(name, LU, B, "LU", "B")
    check_square(name, LU, "LU", kernel="lu_solve_cpu")
    check_matrices(name, B, "B")
    check_fit(name, LU, B, left)
    if pivots._array.shape[-1:] != LU._array.shape[-1:]:
        raise RuntimeError(errors.message(
            f"{name}: Number of pivots per batch should be same as the dimension of the matrix"))
    if pivots._array.shape[:-1] != LU._array.shape[:-2]:
        raise RuntimeError(errors.message(
            f"{name}: Expected LU.shape[:-1] and pivots.shape to be the same, but got pivots with "
            f"shape {errors.of_shape(pivots._array.shape)} instead"))


# LDL.

LDL_FACTOR = result_type("linalg_ldl_factor", "LD", "pivots")
LDL_FACTOR_EX = result_type("linalg_ldl_factor_ex", "LD", "pivots", "info")


@member("linalg")
def ldl_factor_ex(input: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """(LD, pivots, info) of symmetric matrices, which need not be positive definite."""
    name = "torch.linalg.ldl_factor_ex"
    check_square(name, input, kernel="ldl_factor_kernel_cpu")
    found = rows.ldl_row(input, hermitian)
    if check_errors:
        singular_refused(name, found[2])
    return LDL_FACTOR_EX(found)


def singular_refused(name: str, info: Tensor) -> None:
    """RuntimeError for a zero block in D."""
    if info._array.any():
        place, number = failed_at(info._array)
        raise RuntimeError(errors.message(
            f"{name}: {place}D[{number},{number}] is zero and using it on ldl_solve would result "
            "in a division by zero.", fix="torch.linalg.ldl_factor_ex(A) does not raise"))


@member("linalg")
def ldl_factor(input: Tensor, *, hermitian: bool = False) -> Any:
    """(LD, pivots); RuntimeError where D is singular."""
    LD, pivots, info = ldl_factor_ex(input, hermitian=hermitian)
    singular_refused("torch.linalg.ldl_factor", info)
    return LDL_FACTOR((LD, pivots))


@member("linalg")
def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """X with A X = B, of the factors that ``ldl_factor`` gave."""
    name = "torch.linalg.ldl_solve"
    check_square(name, LD, kernel="ldl_solve_kernel_cpu")
    check_matrices(name, B, "B")
    if pivots._array.dtype.kind not in "iu":
        raise RuntimeError(errors.message(
            f"{name}: Expected pivots to be integers. Got {pivots.dtype.alias}"))
    if pivots._array.shape != LD._array.shape[:-1]:
        raise RuntimeError(errors.message(
            f"{name}: Expected LD.shape[:-1] and pivots.shape to be the same, but got pivots with "
            f"shape {errors.of_shape(pivots._array.shape)} instead"))
    same_types("linalg.ldl_solve", LD, B, "LD", "B")
    check_fit("linalg.ldl_solve", LD, B)
    found: Tensor = rows.ldl_solve_row(LD, pivots, B, hermitian)
    return found


# QR.

QR = result_type("linalg_qr", "Q", "R")
QR_MODES = ("reduced", "complete", "r")


@member("linalg")
def qr(A: Tensor, mode: str = "reduced") -> Any:
    """(Q, R) with A = Q R; `mode`: "reduced", "complete" or "r" (R alone)."""
    if mode not in QR_MODES:
        raise RuntimeError(errors.message(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), "
            "'r', or 'complete'"))
    check_matrices("linalg.qr", A)
    check_floats("linalg.qr", A, "geqrf_cpu")
    return QR(rows.qr_row(A, mode))


# Spectral decompositions.

EIG = result_type("linalg_eig", "eigenvalues", "eigenvectors")
EIGH = result_type("linalg_eigh", "eigenvalues", "eigenvectors")
SVD = result_type("linalg_svd", "U", "S", "Vh")


def eig_of(name: str, input: Tensor) -> Any:
    if isinstance(input, Tensor) and input._array.dtype.kind in "biu":
        raise RuntimeError(errors.message(
            f"Unknown Complex ScalarType for {input.dtype.alias}", fix="A.float()"))
    check_square(name, input, kernel="linalg_eig_out_cpu")
    return spectral.eig_row(input)


@member("linalg")
def eig(input: Tensor) -> Any:
    """(eigenvalues, eigenvectors), complex, of square matrices."""
    return EIG(eig_of("linalg.eig", input))


@member("linalg")
def eigvals(input: Tensor) -> Tensor:
    """The eigenvalues, complex, of square matrices."""
    found: Tensor = eig_of("linalg.eigvals", input)[0]
    return found


def eigh_of(input: Tensor, letter: str) -> Any:
    check_matrices("linalg.eigh", input)
    height, width = input._array.shape[-2:]
    if height != width:
        raise not_square("linalg.eigh: ", height, width)
    if letter.upper() not in ("L", "U"):
        raise RuntimeError(errors.message(
            f"Expected UPLO argument to be 'L' or 'U', but got {letter}"))
    not_low("linalg_eigh_cpu", input)
    return spectral.eigh_row(input, letter.upper())


@member("linalg")
def eigh(input: Tensor, UPLO: str = "L") -> Any:
    """(eigenvalues in ascending order, eigenvectors) of symmetric or Hermitian matrices."""
    return EIGH(eigh_of(input, UPLO))


@member("linalg")
def eigvalsh(input: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues, in ascending order, of symmetric or Hermitian matrices."""
    found: Tensor = eigh_of(input, UPLO)[0]
    return found


def check_svd(A: Tensor, driver: str | None) -> None:
    check_matrices("linalg.svd", A)
    check_floats("linalg.svd", A, "linalg_svd_cpu")
    if driver is not None:
        raise RuntimeError(errors.message(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with "
            "cuSOLVER backend.", fix="torch.linalg.svd(A)"))


@member("linalg")
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """(U, S, Vh) with A = U diag(S) Vh and S in descending order."""
    check_svd(A, driver)
    return SVD(spectral.svd_row(A, full_matrices))


@member("linalg")
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values in descending order."""
    check_svd(A, driver)
    found: Tensor = spectral.svdvals_row(A)
    return found


