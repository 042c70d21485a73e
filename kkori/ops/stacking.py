"""Tensors put side by side, on grids and into blocks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from kkori.core import errors, meta
from kkori.core.meta import MetaArray
from kkori.ops.elementwise import same_type
from kkori.ops.move import cat, checked_tensors, stack
from kkori.ops.table import op, public
from kkori.tensor import Tensor, wrap

# At least so many dimensions.


def with_dimensions(ndim: int) -> Any:
    """A function that gives one tensor at least `ndim` dimensions."""
    def grow(tensor: Tensor) -> Tensor:
        shape = tensor._array.shape
        if len(shape) >= ndim:
            return tensor
        if ndim == 3 and shape:
            return tensor.reshape((1,) * (len(shape) == 1) + tuple(shape) + (1,))
        return tensor.reshape((1,) * (ndim - len(shape)) + tuple(shape))
    return grow


GROW = {ndim: with_dimensions(ndim) for ndim in (1, 2, 3)}


def atleast(ndim: int) -> Any:
    """torch.atleast_1d and its family."""
    name = f"atleast_{ndim}d"

    def function(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], Tensor):
            return GROW[ndim](tensors[0])
        several = tensors[0] if len(tensors) == 1 and isinstance(
            tensors[0], (list, tuple)) else tensors
        if not all(isinstance(tensor, Tensor) for tensor in several):
            given = ", ".join(type(tensor).__name__ for tensor in tensors)
            raise TypeError(errors.message(
                f"{name}() received an invalid combination of arguments - got ({given}), but "
                "expected one of:"))
        return tuple(GROW[ndim](tensor) for tensor in several)
    function.__doc__ = f"One tensor, or several, with at least {ndim} dimension(s)."
    return public(function, name=name, method=False, out=False)


atleast_1d, atleast_2d, atleast_3d = (atleast(ndim) for ndim in (1, 2, 3))

# Side by side.


def needed(name: str, tensors: Any) -> list[Tensor]:
    given = list(tensors)
    if not given:
        raise RuntimeError(errors.message(f"{name} expects a non-empty TensorList"))
    checked_tensors(name, given)
    return given


@public(method=False)
def hstack(tensors: Any) -> Tensor:
    """Side by side: along the second dimension, vectors along the first (``torch.hstack``)."""
    grown = [GROW[1](tensor) for tensor in needed("hstack", tensors)]
    return cat(grown, 0 if grown[0]._array.ndim == 1 else 1)


@public(method=False, aliases=("row_stack",))
def vstack(tensors: Any) -> Tensor:
    """One above the other: vectors count as rows (``torch.vstack``)."""
    return cat([GROW[2](tensor) for tensor in needed("vstack", tensors)], 0)


@public(method=False)
def dstack(tensors: Any) -> Tensor:
    """One behind the other: along the third dimension (``torch.dstack``)."""
    return cat([GROW[3](tensor) for tensor in needed("dstack", tensors)], 2)


@public(method=False)
def column_stack(tensors: Any) -> Tensor:
    """Side by side: vectors count as columns (``torch.column_stack``)."""
    given = needed("column_stack", tensors)
    return hstack([tensor if tensor._array.ndim > 1 else tensor.reshape(-1, 1)
                   for tensor in given])


def block_diag_array(shape: Any, kind: Any, *blocks: Any) -> Any:
    """Zeros with the blocks along the diagonal."""
    if blocks[0].__class__ is MetaArray:
        return meta.empty(shape, kind)
    found = np.zeros(shape, kind)
    row = column = 0
    for block in blocks:
        height, width = block.shape
        found[row:row + height, column:column + width] = block
        row, column = row + height, column + width
    return found


def block_diag_gradient(g: Tensor, needs: Any, args_shapes: Any) -> Any:
    parts: list[Any] = [None, None]
    row = column = 0
    for need, (height, width) in zip(needs[2:], args_shapes[2:], strict=True):
        parts.append(g[row:row + height, column:column + width] if need else None)
        row, column = row + height, column + width
    return parts


_block_diag = op("block_diag", block_diag_array, block_diag_gradient)


@public(method=False, out=False)
def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the given matrices along its diagonal (``torch.block_diag``)."""
    for place, tensor in enumerate(tensors):
        if tensor._array.ndim > 2:
            raise RuntimeError(errors.message(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions. Input "
                f"{place} has {tensor._array.ndim} dimensions"))
    if not tensors:
        return wrap(np.zeros((1, 0), np.float32))
    blocks = [GROW[2](tensor) for tensor in same_type(*tensors)]
    shape = tuple(sum(block._array.shape[d] for block in blocks) for d in (0, 1))
    return _block_diag(shape, blocks[0]._array.dtype, *blocks)


# Grids.

@public(method=False, out=False)
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """The coordinates of a grid's points, one tensor a vector, views (``torch.meshgrid``).

    `indexing`: "ij" (rows first, the default) or "xy".
    """
    given = list(tensors[0]) if len(tensors) == 1 and isinstance(
        tensors[0], (list, tuple)) else list(tensors)
    if not given:
        raise RuntimeError(errors.message("meshgrid expects a non-empty TensorList"))
    check_grid(given, indexing)
    if indexing == "xy" and len(given) > 1:
        swapped = meshgrid(given[1], given[0], *given[2:])
        return (swapped[1], swapped[0], *swapped[2:])
    shape = tuple(tensor._array.size for tensor in given)
    return tuple(tensor.reshape((-1,) + (1,) * (len(given) - place - 1)).expand(shape)
                 for place, tensor in enumerate(given))


def check_grid(given: list[Tensor], indexing: str | None) -> None:
    for tensor in given:
        if tensor._array.ndim > 1:
            sizes = "".join(f" {n} " for n in tensor._array.shape).rstrip()
            raise RuntimeError(errors.message(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {sizes}"))
        if tensor._array.dtype != given[0]._array.dtype:
            raise RuntimeError(errors.message(
                "meshgrid expects all tensors to have the same dtype"))
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(errors.message(
            'torch.meshgrid: indexing must be one of "xy" or "ij", but received: '
            f"{indexing}"))


def check_vector(tensor: Tensor) -> None:
    if tensor._array.ndim != 1:
        raise RuntimeError(errors.message(
            f"Expect a 1D vector, but got shape {errors.of_shape(tensor._array.shape)}"))


@public(method=False, out=False)
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of one element of each vector, a row each (``cartesian_prod``)."""
    for tensor in tensors:
        check_vector(tensor)
    if len(tensors) == 1:
        return tensors[0]
    return stack([part.reshape(-1) for part in meshgrid(*tensors)], 1)


@public(method=False, out=False)
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of `r` elements of a vector, a row each (``torch.combinations``)."""
    check_vector(input)
    if r < 0:
        raise RuntimeError(errors.message(f"Expect a non-negative number, but got {r}"))
    if r == 0:
        return input.new_empty((0,))
    choose: Any = itertools.combinations_with_replacement if with_replacement else \
        itertools.combinations
    rows = np.asarray(list(choose(range(input._array.size), r)), np.int64).reshape(-1, r)
    return input.index_select(0, wrap(rows.reshape(-1))).reshape(rows.shape)


__all__ = ["atleast_1d", "atleast_2d", "atleast_3d", "hstack", "vstack", "dstack", "column_stack",
           "block_diag", "meshgrid", "cartesian_prod", "combinations"]
