"""Factorizations of matrices and what follows from them, on NumPy's LAPACK, batched.

One row a factorization; gradients are written with other rows, so they can be taken again.
`A^H` below is the conjugate transpose. Spectral decompositions are in `kkori.ops.spectral`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.core.meta import MetaArray, empty
from kkori.ops import elementwise as el
from kkori.ops import factors
from kkori.ops.matmul import matmul, turned
from kkori.ops.table import TORCH, op
from kkori.tensor import Tensor, wrap

__all__ = ["adjoint", "cholesky_row", "constant", "det_row", "factored", "inv_row", "ldl_row",
           "ldl_solve_row", "lu_row", "matrix_exp_row", "pinv_gradient", "qr_row", "raw_qr_row",
           "slogdet_row", "solve_row", "triangular_row"]

adjoint = turned


def factored(name: str, array: Callable[..., Any], grad: Any = None, *,
             outputs: Sequence[str] = (), node: str | None = None) -> Callable[..., Any]:
    """A row; see `op`. Shape-only arrays are answered with a computation on unit matrices."""
    row = op(name, array, grad, outputs=outputs, node=node)

    def call(*args: Any) -> Any:
        if any(isinstance(arg, Tensor) and isinstance(arg._array, MetaArray) for arg in args):
            return shapes_only(array, args, bool(outputs))
        return row(*args)
    return call


def shapes_only(array: Callable[..., Any], args: Any, several: bool) -> Any:
    found = array(*[solid(arg._array) if isinstance(arg, Tensor) else arg for arg in args])
    parts = [wrap(empty(part.shape, part.dtype)) for part in (found if several else [found])]
    return tuple(parts) if several else parts[0]


def solid(array: Any) -> Any:
    """Unit matrices (ones, where there are fewer dimensions) of the shape of `array`."""
    if array.ndim < 2:
        return np.ones(array.shape, array.dtype)
    return np.broadcast_to(np.eye(*array.shape[-2:], dtype=array.dtype), array.shape)


def constant(array: Any, like: Tensor) -> Tensor:
    """A tensor of `array` on the device of `like`."""
    if isinstance(like._array, MetaArray):
        array = empty(array.shape, array.dtype)
    return wrap(array)


def no_failures(array: Any) -> Any:
    """`info` where everything went well."""
    return np.zeros(array.shape[:-2], np.int32)


# Inverse and solutions of systems.

def inv_array(input: Any) -> Any:
    """(The inverse, info); singular matrices give NaN and the number of the zero pivot."""
    try:
        return np.linalg.inv(input), no_failures(input)
    except np.linalg.LinAlgError:
        unit = np.broadcast_to(np.eye(input.shape[-1], dtype=input.dtype), input.shape)
        return factors.solve_general(input, unit)


def inv_gradient(gs: Any, inverse: Tensor) -> Tensor:
    return -matmul(adjoint(inverse), matmul(gs[0], adjoint(inverse)))


inv_row = factored("linalg_inv", inv_array, {"input": inv_gradient},
                   outputs=("inverse", "info"), node="LinalgInvExBackward0")


def solve_array(input: Any, other: Any) -> Any:
    """(X with input @ X = other, info), both batches of matrices."""
    return factors.solve_general(input, other)


solve_row = factored("linalg_solve", solve_array, {
    "input": lambda gs, input, result: -matmul(solved(adjoint(input), gs[0]), adjoint(result)),
    "other": lambda gs, input: solved(adjoint(input), gs[0])},
    outputs=("result", "info"), node="LinalgSolveExBackward0")


def solved(input: Tensor, other: Tensor) -> Tensor:
    """X with input @ X = other."""
    found: Tensor = solve_row(input, other)[0]
    return found


def triangular_array(input: Any, other: Any, upper: Any, unit: Any) -> Any:
    return factors.solve_triangular(input, other, upper, unit)


def triangular_gradient(g: Tensor, input: Tensor, out: Tensor, upper: bool, unit: bool) -> Tensor:
    found = -matmul(triangular_row(adjoint(input), g, not upper, unit), adjoint(out))
    return found.triu(int(unit)) if upper else found.tril(-int(unit))


triangular_row = factored("linalg_solve_triangular", triangular_array, {
    "input": triangular_gradient,
    "other": lambda g, input, upper, unit: triangular_row(adjoint(input), g, not upper, unit)},
    node="LinalgSolveTriangularBackward0")


# Determinants.

def cofactors(input: Tensor) -> Tensor:
    """The matrix of cofactors, conjugated: exact for singular matrices too."""
    from kkori.ops.spectral import svd_row
    U, S, Vh = svd_row(input, False)
    sign = det_row(U) * det_row(Vh)
    size = S._array.shape[-1]
    eye = np.eye(size, dtype=bool)
    rest = el.where(wrap(eye), 1.0, S[..., None, :].expand(*S.shape, size)).prod(-1)
    return el.conj(sign)[..., None, None] * matmul(U * rest[..., None, :], Vh)


def det_gradient(g: Tensor, input: Tensor, out: Tensor) -> Tensor:
    size = np.abs(out._array)
    if not size.size or size.min() < 100 * np.finfo(size.dtype).eps:
        return g[..., None, None] * cofactors(input)
    return (g * el.conj(out))[..., None, None] * adjoint(inv_row(input)[0])


det_row = factored("linalg_det", lambda input: np.asarray(np.linalg.det(input), input.dtype),
                   {"input": det_gradient}, node="LinalgDetBackward0")


def slogdet_gradient(gs: Any, input: Tensor, sign: Tensor) -> Tensor:
    """d log|det A| = Re tr(A^-1 dA); the sign turns by the imaginary part of that trace."""
    weight = gs[1]
    if gs[0] is not None and input.is_complex():
        turn = 1j * (el.conj(sign) * gs[0]).imag
        weight = turn if weight is None else weight + turn
    if weight is None:
        return input * 0
    return weight[..., None, None] * adjoint(inv_row(input)[0])


def slogdet_array(input: Any) -> Any:
    sign, value = np.linalg.slogdet(input)
    if input.dtype.kind == "f":
        sign = np.where(np.isnan(value), 0, sign)
    return np.asarray(sign, input.dtype), np.asarray(value, input.real.dtype)


slogdet_row = factored("linalg_slogdet", slogdet_array, {"input": slogdet_gradient},
                       outputs=("sign", "logabsdet"), node="LinalgSlogdetBackward0")


# Cholesky.

def cholesky_array(input: Any, upper: Any) -> Any:
    """(The lower factor of the lower triangle, or the upper one of the upper, and info)."""
    if upper:
        factor, info = cholesky_array(input.conj().swapaxes(-1, -2), False)
        return factor.conj().swapaxes(-1, -2), info
    try:
        found = np.linalg.cholesky(input)
        return found, not_finite(found)
    except np.linalg.LinAlgError:
        pass
    flat = input.reshape(-1, *input.shape[-2:])
    pairs = [cholesky_of_one(matrix) for matrix in flat]
    found, info = (np.stack(part) for part in zip(*pairs, strict=True))
    return found.reshape(input.shape), info.astype(np.int32).reshape(input.shape[:-2])


def not_finite(factor: Any) -> Any:
    """`info` of a finished Cholesky factor: where NaN or infinity first spoils a pivot, or 0."""
    diagonal = np.diagonal(factor, axis1=-2, axis2=-1)
    spoiled = ~np.isfinite(diagonal)
    if not spoiled.any():
        return no_failures(factor)
    place = spoiled.argmax(-1)
    after = np.isinf(np.take_along_axis(diagonal, place[..., None], -1))[..., 0]
    order = np.minimum(place + 1 + after, diagonal.shape[-1])
    return np.where(spoiled.any(-1), order, 0).astype(np.int32)


def cholesky_of_one(matrix: Any) -> tuple[Any, int]:
    """The factor, or as much of it as there is and the order of the minor that has none."""
    for order in range(len(matrix), -1, -1):
        try:
            found = np.tril(matrix).astype(matrix.dtype)
            found[:order, :order] = np.linalg.cholesky(matrix[:order, :order])
        except np.linalg.LinAlgError:
            continue
        break
    whole = order == len(matrix)
    return found, int(not_finite(found)) if whole else order + 1


def cholesky_gradient(gs: Any, factor: Tensor, upper: bool) -> Tensor:
    """Murray, "Differentiation of the Cholesky decomposition" (2016), equation 9."""
    g = gs[0]
    if upper:
        g, factor = adjoint(g), adjoint(factor)
    inner = matmul(adjoint(factor), g).tril()
    inner = (inner + adjoint(inner.tril(-1))) * 0.5
    half = triangular_row(adjoint(factor), inner, True, False)
    return adjoint(triangular_row(adjoint(factor), adjoint(half), True, False))


cholesky_row = factored("linalg_cholesky", cholesky_array, {"input": cholesky_gradient},
                        outputs=("factor", "info"), node="LinalgCholeskyExBackward0")


# LU and LDL.

def lu_gradient(gs: Any, LU: Tensor, pivots: Tensor) -> Tensor:
    """From dA = P (dL U + L dU): the left square part by two triangular systems."""
    g = gs[0]
    rows, columns = LU._array.shape[-2:]
    size = min(rows, columns)
    square = LU[..., :size, :size]
    lower, upper = adjoint(square.tril(-1)), adjoint(square.triu())
    left, right = g[..., :size, :size].tril(-1), g[..., :size, :size].triu()
    below, beside = left + matmul(lower, left), matmul(right, upper)
    if rows > columns:
        beside = beside - matmul(adjoint(LU[..., size:, :]), g[..., size:, :])
    if columns > rows:
        below = below - matmul(g[..., size:], adjoint(LU[..., size:]))
    inner = triangular_row(lower, below.tril(-1) + beside.triu(), True, True)
    found = divided_right(inner, square)
    if rows > columns:
        found = TORCH["cat"]([found, divided_right(g[..., size:, :], square)], -2)
    if columns > rows:
        found = TORCH["cat"]([found, triangular_row(lower, g[..., size:], True, True)], -1)
    back = np.argsort(factors.permutation_of(pivots._array, rows), -1)
    return found.take_along_dim(wrap(back[..., None]), -2)


def divided_right(g: Tensor, square: Tensor) -> Tensor:
    """g U^-H, where U is the upper triangle of `square`."""
    return adjoint(triangular_row(square, adjoint(g), True, False))


lu_row = factored("linalg_lu_factor", lambda input: factors.lu(input), {"input": lu_gradient},
                  outputs=("LU", "pivots", "info"), node="LinalgLuFactorExBackward0")


def no_ldl_gradient(name: str) -> RuntimeError:
    return RuntimeError(errors.message(
        f"derivative for aten::{name} is not implemented", fix="torch.linalg.solve(A, B) has one"))


def ldl_gradient(gs: Any) -> Tensor:
    raise no_ldl_gradient("linalg_ldl_factor_ex")


def ldl_solve_gradient(g: Tensor) -> Any:
    raise no_ldl_gradient("linalg_ldl_solve")


ldl_row = factored("linalg_ldl_factor", lambda input, hermitian: factors.ldl(input, hermitian),
                   {"input": ldl_gradient}, outputs=("LD", "pivots", "info"))
ldl_solve_row = factored("linalg_ldl_solve", lambda LD, pivots, other, hermitian: factors.ldl_solve(
    LD, pivots, other, hermitian), {"LD": ldl_solve_gradient, "other": ldl_solve_gradient})


# QR.

def qr_array(input: Any, mode: Any) -> Any:
    if mode == "r":
        return np.zeros((0,), input.dtype), np.linalg.qr(input, "r")
    return tuple(np.linalg.qr(input, mode))


NO_Q = ("The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please "
        "use linalg.qr(A, mode='reduced') if you are going to differentiate through linalg.qr.")
TALL = "The QR decomposition is not differentiable when mode='complete' and nrows > ncols."


def qr_gradient(gs: Any, Q: Tensor, R: Tensor, mode: str) -> Tensor:
    """Roberts and Roberts, "QR and LQ decomposition matrix backpropagation" (2020)."""
    if mode == "r":
        raise RuntimeError(NO_Q)
    rows, columns = Q._array.shape[-2], R._array.shape[-1]
    if mode == "complete" and rows > columns:
        raise RuntimeError(TALL)
    if rows < columns:
        return wide_qr_gradient(gs[0], gs[1], Q, R)
    return tall_qr_gradient(gs[0], gs[1], Q, R)


def tall_qr_gradient(gQ: Any, gR: Any, Q: Tensor, R: Tensor) -> Tensor:
    middle = None
    if gR is not None:
        middle = matmul(R, adjoint(gR))
    if gQ is not None:
        back = matmul(adjoint(gQ), Q)
        middle = -back if middle is None else middle - back
    inner = matmul(Q, mirrored(middle))
    if gQ is not None:
        inner = inner + gQ
    return divided_right(inner, R)


def mirrored(matrix: Any) -> Tensor:
    """The lower triangle and its adjoint above it, with a real diagonal (the paper's copyltu)."""
    low = matrix.tril(-1)
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    if diagonal.is_complex():
        diagonal = diagonal.real + 0j
    return low + adjoint(low) + diagonal.diag_embed()


def wide_qr_gradient(gQ: Any, gR: Any, Q: Tensor, R: Tensor) -> Tensor:
    """Fewer rows than columns: the left square part carries Q, the rest follows it."""
    size = R._array.shape[-2]
    left, right = R[..., :size], R[..., size:]
    g_left, second = None, Q.new_zeros((*Q.shape[:-1], right.shape[-1]))
    if gR is not None:
        g_left, g_right = gR[..., :size], gR[..., size:]
        second = matmul(Q, g_right)
        rest = matmul(matmul(Q, right), adjoint(g_right))
        gQ = rest if gQ is None else gQ + rest
    found: Tensor = TORCH["cat"]([tall_qr_gradient(gQ, g_left, Q, left), second], -1)
    return found


qr_row = factored("linalg_qr", qr_array, {"input": qr_gradient}, outputs=("Q", "R"),
                  node="LinalgQrBackward0")


def raw_qr_array(input: Any) -> Any:
    """The reflections of a QR decomposition, as LAPACK's geqrf keeps them."""
    packed, tau = np.linalg.qr(input, "raw")
    return packed.swapaxes(-1, -2), tau


def raw_qr_gradient(gs: Any) -> Tensor:
    raise NotImplementedError(errors.message(
        "the derivative for 'geqrf' is not implemented.",
        fix="Q, R = torch.linalg.qr(A) has one"))


raw_qr_row = factored("geqrf", raw_qr_array, {"input": raw_qr_gradient}, outputs=("a", "tau"))


# Pseudoinverse and exponential.

def pinv_gradient(g: Tensor, input: Tensor, out: Tensor) -> Tensor:
    """Golub and Pereyra, "The differentiation of pseudo-inverses" (1973), equation 4.12."""
    turned_out, turned_g = adjoint(out), adjoint(g)
    found = -matmul(turned_out, matmul(g, turned_out))
    right = matmul(matmul(turned_g, out), turned_out)
    left = matmul(turned_out, matmul(out, turned_g))
    found = found + right - matmul(input, matmul(out, right))
    return found + left - matmul(matmul(left, out), input)


# Coefficients of the Padé approximation of degree 13: Higham, "The scaling and squaring method
# for the matrix exponential revisited" (2005), and the norm up to which it is exact to 2^-53.
PADE = (64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
        129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0,
        40840800.0, 960960.0, 16380.0, 182.0, 1.0)
PADE_NORM = 5.371920351148152


def matrix_exp_array(input: Any) -> Any:
    """exp of square matrices: scaled down by a power of 2, approximated, squared again."""
    kind, size = input.dtype, input.shape[-1]
    if not input.size:
        return input.copy()
    wide = input.astype(np.complex128 if kind.kind == "c" else np.float64)
    norm = np.abs(wide).sum(-2).max(-1)
    finite = np.where(np.isfinite(norm), norm, 0)
    squarings = np.maximum(np.ceil(np.log2(np.maximum(finite, 1e-300) / PADE_NORM)), 0)
    scaled = wide / 2.0 ** squarings[..., None, None]
    found = pade(scaled, np.eye(size))
    for step in range(int(squarings.max())):
        again = (step < squarings)[..., None, None]
        found = np.where(again, found @ found, found)
    found = np.where(np.isfinite(norm)[..., None, None], found, np.nan)
    return found.astype(kind)


def pade(matrix: Any, eye: Any) -> Any:
    """The quotient of two polynomials of degree 13 that is closest to exp near 0."""
    two = matrix @ matrix
    four = two @ two
    six = four @ two
    b = PADE
    odd = matrix @ (six @ (b[13] * six + b[11] * four + b[9] * two)
                    + b[7] * six + b[5] * four + b[3] * two + b[1] * eye)
    even = (six @ (b[12] * six + b[10] * four + b[8] * two)
            + b[6] * six + b[4] * four + b[2] * two + b[0] * eye)
    return np.linalg.solve(even - odd, even + odd)


def matrix_exp_gradient(g: Tensor, input: Tensor) -> Tensor:
    """The upper right corner of exp([[A^H, g], [0, A^H]])."""
    size = input._array.shape[-1]
    turned_input, cat = adjoint(input), TORCH["cat"]
    top = cat([turned_input, g], -1)
    bottom = cat([g * 0, turned_input], -1)
    found: Tensor = matrix_exp_row(cat([top, bottom], -2))[..., :size, size:]
    return found


matrix_exp_row = factored("linalg_matrix_exp", matrix_exp_array, {"input": matrix_exp_gradient},
                          node="LinalgMatrixExpBackward0")
