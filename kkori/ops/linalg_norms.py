"""Matrix norms and what is measured with them: condition, rank, pseudoinverse, least squares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops import linalg as rows
from kkori.ops import norms, spectral
from kkori.ops.linalg_checks import check_floats, check_matrices, not_square
from kkori.ops.linalg_public import check_svd, eigvalsh, svdvals
from kkori.ops.matmul import matmul
from kkori.ops.namespaces import member
from kkori.ops.results import result_type
from kkori.ops.table import is_meta, type_name
from kkori.tensor import Tensor, dimension, wrap

__all__ = ["cond", "lstsq", "matrix_norm", "matrix_rank", "norm", "pinv", "vector_norm"]


# Norms.

def check_norm_type(name: str, input: Tensor, dtype: Any) -> None:
    """RuntimeError unless the norm can be taken, in `dtype` where one is given."""
    check_floats(name, input, None)
    if dtype is None:
        return
    if dtype.kind < types.FLOATING:
        raise RuntimeError(errors.message(
            f"{name}: dtype should be floating point or complex, but got {dtype.alias}"))
    if input.is_complex() != (dtype.kind == types.COMPLEX):
        raise RuntimeError(errors.message(
            f"{name}: dtype should be {'complex' if input.is_complex() else 'real'} for "
            f"{'complex' if input.is_complex() else 'real'} inputs, but got {dtype.alias}"))
    if dtype.rank < input.dtype.rank:
        raise RuntimeError(errors.message(
            f"{name}: the dtype of the input ({input.dtype.alias}) should be convertible without "
            f"narrowing to the specified dtype ({dtype.alias})"))


@member("linalg")
def vector_norm(input: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *,
                dtype: Any = None) -> Tensor:
    """(sum |x|^ord)^(1/ord) over all elements or along `dim`; real, also for complex numbers.

    >>> import kkori as torch
    >>> torch.linalg.vector_norm(torch.tensor([3.0, -4.0]))
    tensor(5.)
    """
    if not isinstance(ord, (int, float)):
        raise TypeError(errors.message(
            "linalg_vector_norm(): argument 'ord' (position 2) must be Number, not "
            f"{type_name(ord)}"))
    check_norm_type("linalg.vector_norm", input, dtype)
    return norms.vector_norm(input, ord, dim, keepdim, dtype)


def plane_of(name: str, input: Tensor, dim: Any) -> tuple[int, int]:
    """The two dimensions of the matrices, counted from the front."""
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    if len(given) != 2:
        raise RuntimeError(errors.message(
            f"{name}: dim must be a 2-tuple. Got {' '.join(map(str, given))}"))
    first, second = (dimension(d, input._array.ndim) for d in given)
    if first == second:
        raise RuntimeError(errors.message(
            f"{name}: dims must be different. Got ({given[0]}, {given[1]})"))
    return first, second


def spectral_norm(input: Tensor, order: Any, plane: tuple[int, int], keepdim: bool) -> Tensor:
    """Norms of the singular values: their sum, the largest or the smallest."""
    moved = input.movedim(plane, (-2, -1))
    check_svd(moved, None)
    values = spectral.svdvals_row(moved)
    if order == "nuc":
        found = values.sum(-1)
    else:
        found = extreme(values, order > 0, -1)
    return found.unsqueeze(-1).unsqueeze(-1).movedim((-2, -1), plane) if keepdim else found


def extreme(values: Tensor, largest: bool, dim: int) -> Tensor:
    """The largest or smallest along `dim`; the largest of no numbers is 0 here."""
    if not values._array.shape[dim]:
        return values.sum(dim)
    found: Tensor = values.amax(dim) if largest else values.amin(dim)
    return found


def line_norm(input: Tensor, order: Any, plane: tuple[int, int], keepdim: bool) -> Tensor:
    """The largest (smallest) sum of a column for order 1 (-1), of a row for order inf (-inf)."""
    along, over = plane if math.isfinite(order) else plane[::-1]
    sums = norms.vector_norm(input, 1, along, True)
    found = extreme(sums.movedim(over, -1), order > 0, -1).unsqueeze(-1).movedim(-1, over)
    if keepdim:
        return found
    return found.squeeze(max(plane)).squeeze(min(plane))


@member("linalg")
def matrix_norm(input: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *,
                dtype: Any = None) -> Tensor:
    """A norm of matrices: "fro", "nuc", 1, 2, inf or one of those with a minus sign."""
    name = "linalg.matrix_norm"
    check_norm_type(name, input, dtype)
    check_matrices(name, input)
    plane = plane_of(name, input, dim)
    if dtype is not None:
        input = input.to(dtype)
    if ord == "fro":
        return norms.vector_norm(input, 2, plane, keepdim)
    if ord == "nuc" or ord in (2, -2):
        return spectral_norm(input, ord, plane, keepdim)
    if isinstance(ord, str) or abs(ord) not in (1, math.inf):
        shown = ord if isinstance(ord, str) else f"{ord:g}"
        raise RuntimeError(errors.message(
            f"{name}: Order {shown} not supported.",
            fix="ord is one of 'fro', 'nuc', 1, -1, 2, -2, float('inf'), -float('inf')"))
    return line_norm(input, ord, plane, keepdim)


@member("linalg")
def norm(input: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *,
         dtype: Any = None) -> Tensor:
    """``vector_norm``, or ``matrix_norm`` where `ord` is given and there are two dimensions."""
    ndim = input._array.ndim
    if dim is not None and not isinstance(dim, (int, np.integer)):
        dim = tuple(dim)
    if ord is None:
        return vector_norm(input, 2, dim, keepdim, dtype=dtype)
    if dim is None and ndim not in (1, 2):
        raise RuntimeError(errors.message(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
            f"{ndim}D.", fix="torch.linalg.vector_norm(x, 2) takes any number of dimensions"))
    plane = tuple(range(ndim)) if dim is None else (dim,) if isinstance(dim, int) else dim
    if isinstance(ord, str) or len(plane) == 2:
        return matrix_norm(input, ord, plane, keepdim, dtype=dtype)
    return vector_norm(input, ord, plane, keepdim, dtype=dtype)


# Condition.

def check_condition(input: Tensor, p: Any) -> None:
    height, width = input._array.shape[-2:]
    if height != width:
        raise not_square(f"linalg.cond(ord={p}): ", height, width)
    if p not in ("fro", "nuc") and (isinstance(p, str) or abs(p) not in (1, math.inf)):
        raise RuntimeError(errors.message(f"linalg.cond got an invalid norm type: {p}"))


@member("linalg")
def cond(input: Tensor, p: Any = None) -> Tensor:
    """How much errors grow when a system with this matrix is solved: ||A|| ||A^-1||."""
    if input._array.ndim < 2:
        raise RuntimeError(errors.message(
            "linalg.cond: The input tensor must have at least 2 dimensions."))
    if p in (None, 2, -2):
        values = svdvals(input)
        if not values._array.shape[-1]:
            return values.sum(-1)
        first, last = values[..., 0], values[..., -1]
        return last / first if p == -2 else first / last
    check_condition(input, p)
    if not input._array.size:
        return input.new_zeros(input.shape[:-2])
    if p == "nuc":
        values = svdvals(input)
        return values.sum(-1) * values.reciprocal().sum(-1)
    inverse, info = rows.inv_row(input)
    found = matrix_norm(input, p) * matrix_norm(inverse, p)
    return el.where(wrap(info._array > 0), math.inf, found) if info._array.any() else found


# Rank and pseudoinverse.

def tolerances(input: Tensor, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """Arrays; rtol is by default the larger size times the precision, or 0 where atol is set."""
    atol, rtol = (t._array if isinstance(t, Tensor) else t for t in (atol, rtol))
    if rtol is None:
        rtol = max(input._array.shape[-2:]) * types.finfo(input.dtype).eps
        if atol is not None:
            rtol = np.where(np.asarray(atol) > 0, 0.0, rtol)
    return np.asarray(0.0 if atol is None else atol), np.asarray(rtol)


@member("linalg")
def matrix_rank(input: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None,
                rtol: Any = None) -> Tensor:
    """How many singular values are above max(atol, rtol * the largest), as int64."""
    if isinstance(tol, bool):
        tol, hermitian = None, tol
    check_matrices("torch.linalg.matrix_rank", input, "input")
    if input._array.dtype.kind in "biu" or input._array.dtype.itemsize <= 2:
        raise RuntimeError(errors.message(
            "This function doesn't handle types other than float and double", fix="A.float()"))
    if tol is not None:
        atol, rtol = tol, 0.0
    atol, rtol = tolerances(input, atol, rtol)
    found = eigvalsh(input) if hermitian else svdvals(input)
    if is_meta(input):
        return rows.constant(np.zeros(found._array.shape[:-1], np.int64), input)
    values = np.abs(found._array)
    if not values.shape[-1]:
        return wrap(np.zeros(values.shape[:-1], np.int64))
    bound = np.maximum(atol, rtol * values.max(-1))
    return wrap(np.asarray((values > bound[..., None]).sum(-1)))


@member("linalg")
def pinv(input: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None,
         rtol: Any = None) -> Tensor:
    """Moore and Penrose's pseudoinverse; small singular values count as 0 (see matrix_rank)."""
    array = input._array
    if array.ndim < 2 or array.dtype.kind not in "fc" or array.dtype.itemsize <= 2:
        raise RuntimeError(errors.message(
            f"linalg.pinv({input.dtype.alias}{{{errors.of_shape(array.shape)}}}): expected a "
            "tensor with 2 or more dimensions of float, double, cfloat or cdouble types"))
    if isinstance(rcond, bool):
        rcond, hermitian = None, rcond
    if hermitian and array.shape[-1] != array.shape[-2]:
        raise not_square("linalg.eigh: ", *array.shape[-2:])
    atol, rtol = tolerances(input, atol, rcond if rcond is not None else rtol)
    found: Tensor = spectral.pinv_row(input, atol, rtol, hermitian)
    return found


# Least squares.

LSTSQ = result_type("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def check_lstsq(input: Tensor, b: Tensor, driver: str | None) -> bool:
    """Whether `b` is a vector (or a batch of them); RuntimeError where shapes do not fit."""
    name, a = "torch.linalg.lstsq", input._array
    if a.dtype.kind in "biu" or a.dtype.itemsize <= 2:
        raise RuntimeError(errors.message(
            "This function doesn't handle types other than float and double", fix="A.float()"))
    problem, vector = "", a.ndim - 1 == b._array.ndim and a.shape[:-1] == b._array.shape
    if a.ndim < 2:
        problem = "input must have at least 2 dimensions."
    elif not b._array.ndim:
        problem = "other must have at least 1 dimension."
    elif a.ndim < b._array.ndim or a.ndim - b._array.ndim > 1:
        problem = "input.dim() must be greater or equal to other.dim() and (input.dim() - " \
                  "other.dim()) <= 1"
    elif not vector and a.shape[-2] != b._array.shape[-1 if b._array.ndim == 1 else -2]:
        which = -1 if b._array.ndim == a.ndim - 1 else -2
        problem = f"input.size(-2) should match other.size({which})"
    elif input.dtype != b.dtype:
        problem = f"Expected input and other to have the same dtype, but got input's dtype " \
                  f"{input.dtype.alias} and other's dtype {b.dtype.alias}"
    elif driver not in (None, *DRIVERS):
        problem = "parameter `driver` should be one of (gels, gelsy, gelsd, gelss)"
    if problem:
        raise RuntimeError(errors.message(f"{name}: {problem}"))
    return vector


def residuals_of(input: Tensor, solution: Tensor, b: Tensor, rank: Any, driver: str) -> Tensor:
    """Sums of squares per column; nothing where LAPACK's driver does not give them."""
    rows_, columns = input._array.shape[-2:]
    if rows_ <= columns or driver == "gelsy" or (driver != "gels" and (rank != columns).any()):
        return input.new_zeros((0,), dtype=input.dtype.to_real())
    gap = matmul(input, solution) - b
    found: Tensor = (el.abs(gap) ** 2).sum(-2)
    return found


@member("linalg", out=False)
def lstsq(input: Tensor, b: Tensor, rcond: Any = None, *, driver: str | None = None) -> Any:
    """X that makes ||A X - B|| smallest: (solution, residuals, rank, singular_values)."""
    vector = check_lstsq(input, b, driver)
    other = b.unsqueeze(-1) if vector else b
    used = driver or "gelsy"
    full = used == "gels"
    rtol = np.asarray(0.0 if full else rcond if rcond is not None else
                      types.finfo(input.dtype).eps * max(input._array.shape[-2:]))
    values = spectral.svdvals_array(input._array)
    rank = (values > rtol * values[..., :1]).sum(-1) if values.shape[-1] else \
        np.zeros(values.shape[:-1], np.int64)
    pinv_of: Tensor = spectral.pinv_row(input, np.asarray(0.0), rtol, False)
    solution = matmul(pinv_of, other)
    residuals = residuals_of(input, solution, other, rank, used)
    shown = values if used in ("gelsd", "gelss") else np.zeros((0,), values.dtype)
    ranks = np.zeros((0,), np.int64) if full else np.asarray(rank)
    return LSTSQ((solution.squeeze(-1) if vector else solution, residuals, wrap(ranks),
                  wrap(shown)))

