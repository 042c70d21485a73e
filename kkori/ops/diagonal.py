"""Diagonals and triangles of matrices, and copies with one part replaced."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops.move import _select, _slice, select
from kkori.ops.table import method, op, public
from kkori.tensor import Tensor, dimension
from kkori.tensor import wrap as tensor_of

# Diagonals.


def diagonal_array(input: Any, offset: Any, dim1: Any, dim2: Any) -> Any:
    """A writable view; the diagonal is the last dimension."""
    found = input.diagonal(offset, dim1, dim2)
    if input.flags.writeable:
        found.flags.writeable = True
    return found


def embed_array(g: Any, shape: Any, offset: Any, dim1: Any, dim2: Any) -> Any:
    """Zeros of `shape` with `g` on a diagonal."""
    found = np.zeros(shape, g.dtype)
    diagonal_array(found, offset, dim1, dim2)[...] = g
    return found


_diagonal = op("diagonal", diagonal_array, {
    "input": lambda g, input_shape, offset, dim1, dim2: _diagonal_back(
        g, input_shape, offset, dim1, dim2)}, view=True)
_diagonal_back = op("diagonal_backward", embed_array, {
    "g": lambda g, offset, dim1, dim2: _diagonal(g, offset, dim1, dim2)})
_diag_embed = op("diag_embed", lambda input, shape, offset, dim1, dim2: embed_array(
    input, shape, offset, dim1, dim2), {
    "input": lambda g, offset, dim1, dim2: _diagonal(g, offset, dim1, dim2)})


def two_dims(dim1: int, dim2: int, ndim: int) -> tuple[int, int]:
    first, second = dimension(dim1, ndim), dimension(dim2, ndim)
    if first == second:
        raise RuntimeError(errors.message(
            f"diagonal dimensions cannot be identical {dim1}, {dim2}"))
    return first, second


@public(out=False)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A diagonal of two dimensions as the last dimension, a view (``torch.diagonal``)."""
    return _diagonal(input, offset, *two_dims(dim1, dim2, input._array.ndim))


@public
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices of zeros with the last dimension of `input` on a diagonal (``diag_embed``)."""
    first, second = two_dims(dim1, dim2, input._array.ndim + 1)
    length = input._array.shape[-1] + abs(offset)
    rest = iter(input._array.shape[:-1])
    shape = tuple(length if d in (first, second) else next(rest)
                  for d in range(input._array.ndim + 1))
    return _diag_embed(input, shape, offset, first, second)


@public
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A matrix with a vector on its diagonal, or a matrix's diagonal (``torch.diag``)."""
    ndim = input._array.ndim
    if ndim not in (1, 2):
        raise RuntimeError(errors.message(
            f"diag(): Supports 1D or 2D tensors. Got {ndim}D"))
    return diag_embed(input, diagonal) if ndim == 1 else \
        _diagonal(input, diagonal, 0, 1).clone()


@public
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements on a diagonal (``torch.diagflat``)."""
    return diag_embed(input.reshape(-1), offset)


_trace = op("trace", lambda input: np.trace(input), {
    "input": lambda g, input_shape: _diagonal_back(
        g.expand((min(input_shape),)), input_shape, 0, 0, 1)})


@public
def trace(input: Tensor) -> Tensor:
    """Sum of a matrix's diagonal (``torch.trace``)."""
    if input._array.ndim != 2:
        raise RuntimeError(errors.message(
            f"trace: expected a matrix, but got tensor with dim {input._array.ndim}"))
    if input._array.dtype.kind == "b":
        raise NotImplementedError(errors.message("\"trace\" not implemented for 'Bool'"))
    return _trace(input if input._array.dtype.kind not in "iu" else input.long())


@method
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Write `fill_value` on the main diagonal, in place (``Tensor.fill_diagonal_``)."""
    shape = self._array.shape
    if len(shape) < 2:
        raise RuntimeError(errors.message("dimensions must larger than 1"))
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError(errors.message("all dimensions of input must be of equal length"))
    mask = np.zeros(shape, np.bool_)
    np.fill_diagonal(mask, True, wrap)
    return self.masked_fill_(tensor_of(mask), fill_value)


# Triangles.

_tril = op("tril", lambda input, diagonal: np.tril(input, diagonal), {
    "input": lambda g, diagonal: _tril(g, diagonal)})
_triu = op("triu", lambda input, diagonal: np.triu(input, diagonal), {
    "input": lambda g, diagonal: _triu(g, diagonal)})


def triangle(name: str, row: Any, words: str) -> Any:
    """torch.tril or torch.triu."""
    def function(input: Tensor, diagonal: int = 0) -> Tensor:
        if input._array.ndim < 2:
            raise RuntimeError(errors.message(
                f"{name}: input tensor must have at least 2 dimensions"))
        return row(input, diagonal)
    function.__doc__ = f"The triangle {words} a diagonal, 0 elsewhere (``torch.{name}``)."
    return public(function, name=name, inplace=True)


tril = triangle("tril", _tril, "on and below")
triu = triangle("triu", _triu, "on and above")


def triangle_indices(name: str, find: Any) -> Any:
    """torch.tril_indices or torch.triu_indices."""
    def function(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> Tensor:
        for label, n in (("row", row), ("col", col)):
            if n < 0:
                raise RuntimeError(errors.message(f"{label} must be non-negative, got{n}"))
        found = tensor_of(np.stack(find(row, offset, col)).astype(np.int64))
        return found.to(dtype=dtype or types.int64, device=device)
    function.__doc__ = f"Row and column of every element of that triangle (``torch.{name}``)."
    return public(function, name=name, method=False, out=False)


tril_indices = triangle_indices("tril_indices", np.tril_indices)
triu_indices = triangle_indices("triu_indices", np.triu_indices)

# A copy with one part replaced.


def replaced(input: Any, src: Any, part: Any) -> Any:
    """A copy of `input`, `src` written to the view that `part` takes of it."""
    found = input.copy("C")
    part(found)[...] = src
    return found


_select_scatter = op("select_scatter", lambda input, src, dim, index: replaced(
    input, src, lambda whole: whole[(slice(None),) * dim + (index, ...)]), {
    "input": lambda g, src_shape, dim, index: _select_scatter(
        g, g.new_zeros(src_shape), dim, index),
    "src": lambda g, dim, index: _select(g, dim, index)})
_slice_scatter = op("slice_scatter", lambda input, src, dim, start, stop, step: replaced(
    input, src, lambda whole: whole[(slice(None),) * dim + (slice(start, stop, step),)]), {
    "input": lambda g, src_shape, dim, start, stop, step: _slice_scatter(
        g, g.new_zeros(src_shape), dim, start, stop, step),
    "src": lambda g, dim, start, stop, step: _slice(g, dim, start, stop, step)})
_diagonal_scatter = op("diagonal_scatter", lambda input, src, offset, dim1, dim2: replaced(
    input, src, lambda whole: diagonal_array(whole, offset, dim1, dim2)), {
    "input": lambda g, src_shape, offset, dim1, dim2: _diagonal_scatter(
        g, g.new_zeros(src_shape), offset, dim1, dim2),
    "src": lambda g, offset, dim1, dim2: _diagonal(g, offset, dim1, dim2)})


def check_part(src: Tensor, part: Tensor) -> None:
    if src._array.shape != part._array.shape:
        raise RuntimeError(errors.message(
            "expected src to have a size equal to the slice of self. src size = "
            f"{errors.of_shape(src._array.shape)}, slice size = "
            f"{errors.of_shape(part._array.shape)}"))


@public
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """`input` with ``input.select(dim, index)`` replaced by `src` (``select_scatter``)."""
    check_part(src, select(input.detach(), dim, index))
    place = dimension(dim, input._array.ndim)
    return _select_scatter(input, src, place, index % input._array.shape[place])


@public
def slice_scatter(input: Tensor, src: Tensor, dim: int = 0, start: int | None = None,
                  end: int | None = None, step: int = 1) -> Tensor:
    """`input` with a slice along `dim` replaced by `src` (``torch.slice_scatter``)."""
    place = dimension(dim, input._array.ndim)
    if step <= 0:
        raise RuntimeError(errors.message("slice step must be positive"))
    first, last, by = slice(start, end, step).indices(input._array.shape[place])
    last = max(first, last)
    check_part(src, _slice(input.detach(), place, first, last, by))
    return _slice_scatter(input, src, place, first, last, by)


@public
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0,
                     dim2: int = 1) -> Tensor:
    """`input` with a diagonal replaced by `src` (``torch.diagonal_scatter``)."""
    first, second = two_dims(dim1, dim2, input._array.ndim)
    check_part(src, _diagonal(input.detach(), offset, first, second))
    return _diagonal_scatter(input, src, offset, first, second)


__all__ = ["diagonal", "diag", "diag_embed", "diagflat", "trace", "tril", "triu", "tril_indices",
           "triu_indices", "select_scatter", "slice_scatter", "diagonal_scatter"]
