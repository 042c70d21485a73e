"""Factorizations that NumPy lacks, on arrays: LU with pivots, triangular systems, LDL.

All take batches of matrices, shape (..., n, m), and leave their arguments as they were.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

__all__ = ["ldl", "ldl_solve", "lu", "permutation_of", "solve_triangular", "solve_general"]

NARROW = 16  # columns that are eliminated one by one
SMALL = 128  # rows up to which LAPACK's general solver is the quickest for a triangle


@np.errstate(all="ignore")
def lu(matrix: Any) -> tuple[Any, Any, Any]:
    """(L and U in one, pivots counted from 1, column of the first zero pivot or 0), as getrf."""
    batch, (rows, columns) = matrix.shape[:-2], matrix.shape[-2:]
    work = matrix.reshape(prod(batch), rows, columns).copy()
    steps = min(rows, columns)
    pivots = np.zeros((len(work), steps), np.int64)
    eliminate(work, pivots, 0, steps)
    if columns > steps:
        work[:, :, steps:] = solve_triangular(work[:, :, :steps], work[:, :, steps:],
                                              False, True)
    diagonal = np.diagonal(work, axis1=-2, axis2=-1) == 0
    info = np.where(diagonal.any(-1), diagonal.argmax(-1) + 1, 0) if steps else \
        np.zeros(len(work))
    return (work.reshape(matrix.shape), (pivots + 1).astype(np.int32).reshape(*batch, steps),
            info.astype(np.int32).reshape(batch))


def eliminate(work: Any, pivots: Any, start: int, stop: int) -> None:
    """Columns start to stop in place: halves first, so that most work is matrix products."""
    if stop - start <= NARROW:
        for column in range(start, stop):
            eliminate_column(work, pivots, column, stop)
        return
    middle = (start + stop) // 2
    eliminate(work, pivots, start, middle)
    top, right = slice(start, middle), slice(middle, stop)
    corner = solve_triangular(work[:, top, top], work[:, top, right], False, True)
    work[:, top, right] = corner
    work[:, middle:, right] -= work[:, middle:, top] @ corner
    eliminate(work, pivots, middle, stop)


def eliminate_column(work: Any, pivots: Any, column: int, stop: int) -> None:
    """One step: the largest element of the column becomes the pivot, by exchange of rows."""
    if len(work) == 1:
        return eliminate_column_of_one(work[0], pivots[0], column, stop)
    each = np.arange(len(work))
    chosen = column + magnitude(work[:, column:, column]).argmax(-1)
    pivots[:, column] = chosen
    work[each, column], work[each, chosen] = work[each, chosen], work[each, column].copy()
    pivot = work[:, column, column]
    scale = np.where(pivot == 0, 1, pivot)
    work[:, column + 1:, column] /= scale[:, None]
    work[:, column + 1:, column + 1:stop] -= (work[:, column + 1:, column, None]
                                              * work[:, None, column, column + 1:stop])


def eliminate_column_of_one(work: Any, pivots: Any, column: int, stop: int) -> None:
    """The same for a single matrix, three times as fast."""
    chosen = column + int(magnitude(work[column:, column]).argmax())
    pivots[column] = chosen
    if chosen != column:
        work[[column, chosen]] = work[[chosen, column]]
    pivot, factor = work[column, column], work[column + 1:, column]
    if pivot != 0:
        factor /= pivot
    work[column + 1:, column + 1:stop] -= factor[:, None] * work[column, column + 1:stop]


def magnitude(values: Any) -> Any:
    """|x|, for complex numbers the sum of both parts' sizes, by which LAPACK chooses pivots."""
    return np.abs(values) if values.dtype.kind != "c" else np.abs(values.real) + np.abs(values.imag)


def permutation_of(pivots: Any, rows: int) -> Any:
    """The order of rows that a list of exchanges (counted from 1) leads to: (..., rows)."""
    flat = pivots.reshape(prod(pivots.shape[:-1]), pivots.shape[-1])
    order = np.tile(np.arange(rows), (len(flat), 1))
    each = np.arange(len(flat))
    for step in range(flat.shape[1]):
        other = flat[:, step].astype(np.int64) - 1
        order[each, step], order[each, other] = order[each, other], order[each, step].copy()
    return order.reshape(*pivots.shape[:-1], rows)


@np.errstate(all="ignore")
def solve_general(matrix: Any, other: Any) -> tuple[Any, Any]:
    """(X with matrix @ X = other, info): singular matrices give NaN and an `info` above 0."""
    try:
        return np.linalg.solve(matrix, other), np.zeros(matrix.shape[:-2], np.int32)
    except np.linalg.LinAlgError:
        pass
    factors, pivots, info = lu(matrix)
    order = permutation_of(pivots, matrix.shape[-1])
    batch = np.broadcast_shapes(matrix.shape[:-2], other.shape[:-2])
    order = np.broadcast_to(order, (*batch, matrix.shape[-1]))
    other = np.broadcast_to(other, (*batch, *other.shape[-2:]))
    other = np.take_along_axis(other, order[..., None], -2)
    half = solve_triangular(factors, other, False, True)
    found = solve_triangular(factors, half, True, False)
    return found, info


@np.errstate(all="ignore")
def solve_triangular(matrix: Any, other: Any, upper: bool, unit: bool) -> Any:
    """X with triangle(matrix) @ X = other; `unit`: the diagonal counts as ones."""
    size = matrix.shape[-1]
    if size > SMALL:
        return solve_by_halves(matrix, other, upper, unit)
    if not size or not other.shape[-1]:
        batch = np.broadcast_shapes(matrix.shape[:-2], other.shape[:-2])
        return np.zeros((*batch, *other.shape[-2:]), other.dtype)
    triangle = np.triu(matrix) if upper else np.tril(matrix)
    if unit:
        triangle[..., np.arange(size), np.arange(size)] = 1
    try:
        if upper:  # nothing below the diagonal: no rows are exchanged, no work is done
            return np.linalg.solve(triangle, other)
        return np.linalg.solve(triangle[..., ::-1, ::-1], other[..., ::-1, :])[..., ::-1, :]
    except np.linalg.LinAlgError:
        return substitute(triangle, other, upper)


def solve_by_halves(matrix: Any, other: Any, upper: bool, unit: bool) -> Any:
    """Half of the unknowns, then the other half with those put in."""
    middle = matrix.shape[-1] // 2
    first, second = slice(None, middle), slice(middle, None)
    if upper:
        first, second = second, first
    known = solve_triangular(matrix[..., first, first], other[..., first, :], upper, unit)
    rest = other[..., second, :] - matrix[..., second, first] @ known
    found = solve_triangular(matrix[..., second, second], rest, upper, unit)
    return np.concatenate([found, known] if upper else [known, found], axis=-2)


def substitute(triangle: Any, other: Any, upper: bool) -> Any:
    """Row by row; a zero on the diagonal gives infinities and NaN."""
    size = triangle.shape[-1]
    batch = np.broadcast_shapes(triangle.shape[:-2], other.shape[:-2])
    found = np.broadcast_to(other, (*batch, *other.shape[-2:])).copy()
    for row in (range(size - 1, -1, -1) if upper else range(size)):
        known = slice(row + 1, None) if upper else slice(None, row)
        found[..., row, :] -= (triangle[..., row, None, known] @ found[..., known, :])[..., 0, :]
        found[..., row, :] /= triangle[..., row, row, None]
    return found


# LDL of symmetric matrices: Bunch and Kaufman, "Some stable methods for calculating inertia and
# solving symmetric linear systems" (1977), in the storage of LAPACK's sytf2, lower triangle.

GROWTH = (1 + 17 ** 0.5) / 8


@np.errstate(all="ignore")
def ldl(matrix: Any, hermitian: bool) -> tuple[Any, Any, Any]:
    """(L and D in one, pivots, info) of batches of symmetric (or Hermitian) matrices."""
    size, count = matrix.shape[-1], prod(matrix.shape[:-2])
    work = np.tril(matrix).reshape(count, size, size)
    pivots = np.zeros((len(work), size), np.int32)
    info = np.zeros(len(work), np.int32)
    for number in range(len(work)):
        info[number] = ldl_of_one(work[number], pivots[number], hermitian)
    batch = matrix.shape[:-2]
    return work.reshape(matrix.shape), pivots.reshape(*batch, size), info.reshape(batch)


def ldl_of_one(work: Any, pivots: Any, hermitian: bool) -> int:
    """One lower triangle in place; returns the first zero block on the diagonal, or 0."""
    size, column, info = len(work), 0, 0
    while column < size:
        pair, other = choose_pivot(work, column, hermitian)
        if other < 0:
            info, pivots[column], column = info or column + 1, column + 1, column + 1
            continue
        last = column + pair
        exchange(work, last, other, hermitian)
        if pair and last != other:
            work[[last, other], column] = work[[other, last], column]
        block = slice(column, last + 1)
        reduce_rest(work, block, hermitian)
        pivots[block] = -(other + 1) if pair else other + 1
        column = last + 1
    return info


def choose_pivot(work: Any, column: int, hermitian: bool) -> tuple[int, int]:
    """(1 for a block of two else 0, the row to bring there); row -1: the column is zero."""
    here = magnitude(work[column, column])
    below = magnitude(work[column + 1:, column])
    most = below.max() if below.size else 0
    if max(here, most) == 0:
        return 0, -1
    if here >= GROWTH * most:
        return 0, column
    row = column + 1 + int(below.argmax())
    beside = np.concatenate([work[row, column:row], work[row + 1:, row]])
    widest = magnitude(beside).max()
    if here >= GROWTH * most * (most / widest):
        return 0, column
    if magnitude(work[row, row]) >= GROWTH * widest:
        return 0, row
    return 1, row


def exchange(work: Any, one: int, two: int, hermitian: bool) -> None:
    """Rows and columns `one` < `two` of what the lower triangle stands for change places."""
    if one == two:
        return
    below = slice(two + 1, None)
    work[below, [one, two]] = work[below, [two, one]]
    between = slice(one + 1, two)
    column, row = work[between, one].copy(), work[two, between].copy()
    work[between, one], work[two, between] = (row.conj(), column.conj()) if hermitian else (
        row, column)
    work[one, one], work[two, two] = work[two, two], work[one, one]
    if hermitian:
        work[two, one] = work[two, one].conj()


def reduce_rest(work: Any, block: slice, hermitian: bool) -> None:
    """Subtract what the block of D explains, and leave the columns of L in its place."""
    corner = full(work[block, block], hermitian)
    rest = slice(block.stop, None)
    columns = work[rest, block].copy()
    factor = np.linalg.solve(corner.T, columns.T).T if columns.size else columns
    work[rest, rest] -= np.tril(factor @ (columns.conj() if hermitian else columns).T)
    work[rest, block] = factor


def full(corner: Any, hermitian: bool) -> Any:
    """The matrix of which only the lower triangle is given."""
    low = np.tril(corner, -1)
    diagonal = np.diag(corner).real if hermitian else np.diag(corner)
    return low + (low.conj() if hermitian else low).T + np.diag(diagonal)


@np.errstate(all="ignore")
def ldl_solve(factors: Any, pivots: Any, other: Any, hermitian: bool) -> Any:
    """X with A @ X = other, where `factors` and `pivots` are those of A."""
    batch = np.broadcast_shapes(factors.shape[:-2], other.shape[:-2])
    size = factors.shape[-1]
    spread = [np.broadcast_to(array, (*batch, *array.shape[keep:])).reshape(
        prod(batch), *array.shape[keep:])
        for array, keep in ((factors, -2), (pivots, -1), (other, -2))]
    found = [ldl_solve_one(matrix, pivot, right, hermitian)
             for matrix, pivot, right in zip(*spread, strict=True)]
    return np.array(found, other.dtype).reshape(*batch, size, other.shape[-1])


def ldl_solve_one(factors: Any, pivots: Any, other: Any, hermitian: bool) -> Any:
    """Down through L, across D, up through its transpose; exchanges are made on the way."""
    x, size, column = other.copy(), len(factors), 0
    blocks = []
    while column < size:
        pair = int(pivots[column] < 0)
        row = abs(int(pivots[column])) - 1
        blocks.append((slice(column, column + pair + 1), column + pair, row))
        column += pair + 1
    for block, last, row in blocks:
        x[[last, row]] = x[[row, last]]
        x[block.stop:] -= factors[block.stop:, block] @ x[block]
    for block, _, _ in blocks:
        x[block] = divided(full(factors[block, block], hermitian), x[block])
    for block, last, row in reversed(blocks):
        below = factors[block.stop:, block]
        x[block] -= (below.conj() if hermitian else below).T @ x[block.stop:]
        x[[last, row]] = x[[row, last]]
    return x


def divided(corner: Any, x: Any) -> Any:
    """corner^-1 @ x for a block of D; a zero gives infinities and NaN."""
    return x / corner[0, 0] if len(corner) == 1 else np.linalg.solve(corner, x)
