"""The largest singular values by random projection: ``torch.svd_lowrank``, ``pca_lowrank``.

Halko, Martinsson and Tropp, "Finding structure with randomness" (2011), algorithms 4.4 and 5.1.
"""

from __future__ import annotations

from typing import Any

from kkori.core import errors
from kkori.ops import linalg as rows
from kkori.ops import spectral
from kkori.ops.linalg import adjoint
from kkori.ops.matmul import matmul
from kkori.ops.random import randn
from kkori.ops.table import public
from kkori.tensor import Tensor

__all__ = ["pca_lowrank", "svd_lowrank"]


def basis(A: Tensor, count: int, niter: int) -> Tensor:
    """`count` orthonormal columns that nearly span what A maps to."""
    start = randn(A._array.shape[-1], count, dtype=A.dtype, device=A.device)
    found: Tensor = rows.qr_row(matmul(A, start), "reduced")[0]
    for _ in range(niter):
        found = rows.qr_row(matmul(adjoint(A), found), "reduced")[0]
        found = rows.qr_row(matmul(A, found), "reduced")[0]
    return found


@public(method=False, out=False)
def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2,
                M: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(U, S, V) with A - M near U diag(S) V^H, of `q` singular values (``torch.svd_lowrank``)."""
    if M is not None:
        A = A - M.broadcast_to(A.shape)
    height, width = A._array.shape[-2:]
    tall = A if height >= width else adjoint(A)
    Q = basis(tall, 6 if q is None else q, 2 if niter is None else niter)
    U, S, Vh = spectral.svd_row(matmul(adjoint(Q), tall), False)
    U, V = matmul(Q, U), adjoint(Vh)
    return (U, S, V) if height >= width else (V, S, U)


@public(method=False, out=False)
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True,
                niter: int = 2) -> tuple[Any, Any, Any]:
    """(U, S, V): principal components of the rows of A are V's columns (``pca_lowrank``)."""
    least = min(A._array.shape[-2:])
    q = min(6, least) if q is None else q
    if not 0 <= q <= least:
        raise ValueError(errors.message(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={least}"))
    if niter < 0:
        raise ValueError(errors.message(f"niter(={niter}) must be non-negative integer"))
    if A._array.dtype.kind not in "fcV":
        raise ValueError(errors.message(f"input must be floating point dtype, but got {A.dtype}"))
    return svd_lowrank(A - A.mean(-2, True) if center else A, q, niter)
