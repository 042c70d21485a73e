"""Eigenvalues and singular values: rows with gradients, on NumPy's LAPACK, batched."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.linalg import adjoint, factored, pinv_gradient, solved
from kkori.ops.linalg_checks import LinAlgError
from kkori.ops.matmul import matmul
from kkori.tensor import Tensor

__all__ = ["eig_row", "eigh_row", "pinv_row", "svd_row", "svdvals_row"]


def gaps(values: Tensor) -> Tensor:
    """1 / (w_j - w_i), and 0 on the diagonal."""
    difference = values[..., None, :] - values[..., :, None]
    eye = values.new_ones(values.shape).diag_embed()
    return (1 - eye) / (difference + eye)


def plus(one: Any, two: Any) -> Any:
    """The sum of two gradients, of which either may be missing."""
    return two if one is None else one if two is None else one + two


def check_phases(name: str, product: Any, quantity: str = "quantity, so it is") -> None:
    """RuntimeError where a gradient asks for the phases of complex vectors, which are free.

    `product` holds V^H gV: how the loss changes with each phase is on its diagonal.
    """
    if not product.is_complex():
        return
    turns = np.diagonal(product._array, axis1=-2, axis2=-1).imag
    if not np.allclose(turns, 0, atol=1e-2):
        kind = "singular vectors" if name == "svd" else "eigenvectors"
        raise RuntimeError(errors.message(
            f"{name}_backward: The {kind} in the complex case are specified up to multiplication "
            f"by e^{{i phi}}. The specified loss function depends on this {quantity} ill-defined.",
            fix="use what does not depend on the phase, e.g. vectors.abs()"))


# Symmetric (Hermitian) matrices.

def eigh_array(input: Any, letter: Any) -> Any:
    """(Eigenvalues in ascending order, eigenvectors) of the triangle that `letter` names."""
    try:
        values, vectors = np.linalg.eigh(input, letter)
    except np.linalg.LinAlgError:
        values = np.full(input.shape[:-1], np.nan, input.real.dtype)
        vectors = np.full(input.shape, np.nan, input.dtype)
    lost = np.isnan(values).any(-1) & np.isnan(input).any((-2, -1))
    if lost.any() and input.shape[-1] > 2:
        place = "" if not lost.ndim else f"(Batch element {int(lost.argmax())}): "
        raise LinAlgError(errors.message(
            f"linalg.eigh: {place}The algorithm failed to converge because the input matrix is "
            "ill-conditioned or has too many repeated eigenvalues (error code: "
            f"{input.shape[-1] - 1}).", fix="print(torch.isfinite(A).all(-1)) shows the rows"))
    return values, vectors


def eigh_gradient(gs: Any, eigenvalues: Tensor, eigenvectors: Tensor) -> Tensor:
    """Giles, "An extended collection of matrix derivative results" (2008), section 3.1.

    The result is Hermitian, as the input is meant to be.
    """
    g_values, g_vectors = gs
    inner = None
    if g_vectors is not None:
        product = matmul(adjoint(eigenvectors), g_vectors)
        check_phases("linalg_eigh", product)
        inner = (product - adjoint(product)) * 0.5 * gaps(eigenvalues)
    if g_values is not None:
        diagonal = g_values.diag_embed()
        inner = plus(inner, diagonal + 0j if eigenvectors.is_complex() else diagonal)
    return matmul(matmul(eigenvectors, inner), adjoint(eigenvectors))


eigh_row = factored("linalg_eigh", eigh_array, {"input": eigh_gradient},
                    outputs=("eigenvalues", "eigenvectors"), node="LinalgEighBackward0")


# All square matrices.

def eig_array(input: Any) -> Any:
    if not np.isfinite(input).all():
        raise RuntimeError(errors.message(
            "torch.linalg.eig: input tensor should not contain infs or NaNs.",
            fix="print(torch.isfinite(A).all(-1)) shows the rows that are not finite"))
    values, vectors = np.linalg.eig(input)
    kind = np.result_type(input.dtype, np.complex64)
    return values.astype(kind), vectors.astype(kind)


def eig_gradient(gs: Any, input: Tensor, eigenvalues: Tensor, eigenvectors: Tensor) -> Tensor:
    """Boeddeker et al., "On the computation of complex-valued gradients" (2017)."""
    g_values, g_vectors = gs
    inner = None
    if g_vectors is not None:
        product = matmul(adjoint(eigenvectors), g_vectors)
        check_phases("linalg_eig", product)
        overlap = matmul(adjoint(eigenvectors), eigenvectors)
        own = product.diagonal(dim1=-2, dim2=-1).real
        inner = (product - overlap * own[..., None, :]) * el.conj(gaps(eigenvalues))
    if g_values is not None:
        inner = plus(inner, g_values.diag_embed())
    found = solved(adjoint(eigenvectors), matmul(inner, adjoint(eigenvectors)))
    return found if input.is_complex() else found.real


eig_row = factored("linalg_eig", eig_array, {"input": eig_gradient},
                   outputs=("eigenvalues", "eigenvectors"), node="LinalgEigBackward0")


# Singular values.

def no_convergence(input: Any) -> LinAlgError:
    """What LAPACK did not manage, which is always because of NaN or infinities."""
    finite = np.isfinite(input).all((-2, -1))
    place = "" if input.ndim == 2 else f"(Batch element {int(np.argmin(finite))}): "
    return LinAlgError(errors.message(
        f"linalg.svd: {place}The algorithm failed to converge because the input matrix contained "
        "non-finite values.", fix="print(torch.isfinite(A).all(-1)) shows the rows"))


def svd_array(input: Any, full: Any) -> Any:
    return tuple(decomposed(input, full, True))


def decomposed(input: Any, full: bool, vectors: bool) -> Any:
    """numpy.linalg.svd; LinAlgError for NaN."""
    if np.isnan(input).any():
        raise no_convergence(input)
    try:
        return np.linalg.svd(input, full) if vectors else np.linalg.svd(input, compute_uv=False)
    except np.linalg.LinAlgError:
        raise no_convergence(input) from None


def svd_gradient(gs: Any, U: Tensor, S: Tensor, Vh: Tensor) -> Tensor:
    """Townsend, "Differentiating the singular value decomposition" (2016)."""
    gU, gS, gVh = gs
    size = S._array.shape[-1]
    U, Vh = U[..., :size], Vh[..., :size, :]
    if gU is None and gVh is None:
        return matmul(U * gS[..., None, :], Vh)
    gU = None if gU is None else gU[..., :size]
    gVh = None if gVh is None else gVh[..., :size, :]
    inner = None if gS is None else gS.diag_embed()
    found = matmul(matmul(U, rotations(gU, gVh, U, S, Vh, inner)), Vh)
    if gU is not None and U._array.shape[-2] > size:
        outside = gU - matmul(U, matmul(adjoint(U), gU))
        found = found + matmul(outside / S[..., None, :], Vh)
    if gVh is not None and Vh._array.shape[-1] > size:
        outside = gVh - matmul(matmul(gVh, adjoint(Vh)), Vh)
        found = found + matmul(U, outside / S[..., :, None])
    return found


def rotations(gU: Any, gVh: Any, U: Tensor, S: Tensor, Vh: Tensor, inner: Any) -> Any:
    """The part of the gradient inside the spaces of U and V."""
    squares = gaps(S * S)
    left = None if gU is None else matmul(adjoint(U), gU)
    right = None if gVh is None else matmul(Vh, adjoint(gVh))
    check_phases("svd", plus(left, right), "phase term, making it")
    if left is not None:
        inner = plus(inner, (left - adjoint(left)) * squares * S[..., None, :])
        if U.is_complex():
            inner = inner + phases(left, S)
    if right is not None:
        inner = plus(inner, S[..., :, None] * ((right - adjoint(right)) * squares))
    return inner


def phases(product: Tensor, S: Tensor) -> Tensor:
    """The part of U's gradient along its free phases."""
    return (1j * product.diagonal(dim1=-2, dim2=-1).imag / S).diag_embed()


svd_row = factored("linalg_svd", svd_array, {"input": svd_gradient}, outputs=("U", "S", "Vh"),
                   node="LinalgSvdBackward0")


def svdvals_array(input: Any) -> Any:
    return decomposed(input, False, False)


def svdvals_gradient(g: Tensor, input: Tensor) -> Tensor:
    U, _, Vh = svd_row(input, False)
    return matmul(U * g[..., None, :], Vh)


svdvals_row = factored("linalg_svdvals", svdvals_array, {"input": svdvals_gradient},
                       node="LinalgSvdBackward0")


def pinv_array(input: Any, atol: Any, rtol: Any, hermitian: Any) -> Any:
    """Singular values (or eigenvalues) below max(atol, rtol * the largest) count as 0."""
    if not input.size:
        return np.zeros((*input.shape[:-2], *input.shape[:-3:-1]), input.dtype)
    if hermitian:
        values, vectors = eigh_array(input, "L")
        left, size, right = vectors, np.abs(values), vectors.conj().swapaxes(-1, -2)
    else:
        left, size, right = svd_array(input, False)
        values = size
    bound = np.maximum(atol, rtol * size.max(-1))
    keep = size > np.asarray(bound)[..., None]
    weight = np.where(keep, 1 / np.where(keep, values, 1), 0).astype(values.dtype)
    return (right.conj().swapaxes(-1, -2) * weight[..., None, :]) @ left.conj().swapaxes(-1, -2)


pinv_row = factored("linalg_pinv", pinv_array, {"input": pinv_gradient},
                    node="LinalgPinvBackward0")
