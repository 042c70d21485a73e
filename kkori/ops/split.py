"""Tensors cut apart: unbind, split, chunk and the splits along named dimensions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops.move import _slice, cat, stack
from kkori.ops.table import METHODS, TORCH, op, public
from kkori.tensor import Tensor, dimension


def unbind_array(input: Any, dim: Any) -> Any:
    return tuple(np.moveaxis(input, dim, 0)[k] if input.ndim > 1 else input[k, ...]
                 for k in range(input.shape[dim]))


def filled(gs: Any, shapes: Any) -> list[Tensor]:
    """Gradients of several outputs with zeros for those that got none."""
    some = next(g for g in gs if g is not None)
    return [some.new_zeros(shape) if g is None else g
            for g, shape in zip(gs, shapes, strict=True)]


def unbind_gradient(gs: Any, input_shape: Any, dim: int) -> Tensor:
    shape = input_shape[:dim] + input_shape[dim + 1:]
    return stack(filled(gs, [shape] * len(gs)), dim)


_unbind = op("unbind", unbind_array, {"input": unbind_gradient}, outputs=("parts",), view=True)


@public(out=False)
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along `dim`, views without it (``torch.unbind``)."""
    if not input._array.ndim:
        raise IndexError(errors.message(
            f"Dimension specified as {dim} but tensor has no dimensions"))
    return _unbind(input, dimension(dim, input._array.ndim))


def split_array(input: Any, sizes: Any, dim: Any) -> Any:
    ahead = (slice(None),) * dim
    ends = np.cumsum(sizes).tolist()
    return tuple(input[(*ahead, slice(end - size, end))]
                 for size, end in zip(sizes, ends, strict=True))


def split_gradient(gs: Any, input_shape: Any, sizes: Any, dim: int) -> Tensor:
    shapes = [input_shape[:dim] + (size,) + input_shape[dim + 1:] for size in sizes]
    return cat(filled(gs, shapes), dim)


_split, _split_sizes = (op(name, split_array, {"input": split_gradient}, outputs=("parts",),
                           view=True) for name in ("split", "split_with_sizes"))


@public(out=False)
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts along `dim`: of one size (the last may be shorter), or of given sizes."""
    place = dimension(dim, tensor._array.ndim)
    length = tensor._array.shape[place] if tensor._array.ndim else 0
    if not tensor._array.ndim:
        raise RuntimeError(errors.message("split expects at least a 1-dimensional tensor"))
    if isinstance(split_size_or_sections, (int, np.integer)):
        sizes = equal_parts(length, int(split_size_or_sections))
    else:
        sizes = [int(size) for size in split_size_or_sections]
        if sum(sizes) != length or any(size < 0 for size in sizes):
            raise RuntimeError(errors.message(
                f"split_with_sizes expects split_sizes to sum exactly to {length} (input tensor's "
                f"size at dimension {place}), but got split_sizes={errors.of_shape(sizes)}"))
    whole = isinstance(split_size_or_sections, (int, np.integer))
    return (_split if whole else _split_sizes)(tensor, tuple(sizes), place)


def equal_parts(length: int, size: int) -> list[int]:
    if size < 0:
        raise RuntimeError(errors.message(
            f"split expects split_size be non-negative, but got split_size={size}"))
    if size == 0 and length:
        raise RuntimeError(errors.message(
            f"split_size can only be 0 if dimension size is 0, but got dimension "
            f"size of {length}"))
    whole, rest = divmod(length, size) if size else (0, 0)
    return [size] * whole + ([rest] if rest or not whole else [])


@public(out=False)
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of equal size along `dim` (``torch.chunk``)."""
    if not input._array.ndim:
        raise RuntimeError(errors.message("chunk expects at least a 1-dimensional tensor"))
    if chunks <= 0:
        raise RuntimeError(errors.message(
            f"chunk expects `chunks` to be greater than 0, got: {chunks}"))
    length = input._array.shape[dimension(dim, input._array.ndim)]
    return split(input, max(-(-length // chunks), 1) if length else 0, dim)


METHODS["split"] = lambda self, split_size, dim=0: split(self, split_size, dim)
TORCH["split_with_sizes"] = METHODS["split_with_sizes"] = METHODS["split"]


# Nearly equal parts, or cut at given places.

@public(out=False)
def tensor_split(input: Tensor, indices_or_sections: Any = None, dim: int = 0, *,
                 indices: Any = None, sections: Any = None,
                 tensor_indices_or_sections: Any = None) -> tuple[Tensor, ...]:
    """Views along `dim`: so many nearly equal parts, or cut at the given places."""
    if not input._array.ndim:
        raise RuntimeError(errors.message(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"))
    wanted = next(value for value in (indices_or_sections, indices, sections,
                                      tensor_indices_or_sections) if value is not None)
    place = dimension(dim, input._array.ndim)
    cuts = cut_places(wanted, input._array.shape[place])
    bounds = list(zip([0, *cuts], [*cuts, None], strict=True))
    return tuple(part_of(input, place, start, stop) for start, stop in bounds)


def cut_places(wanted: Any, length: int) -> list[int]:
    """Where to cut, of a number of parts or a list of places."""
    if isinstance(wanted, Tensor):
        if wanted._array.dtype != np.int64:
            raise RuntimeError(errors.message(
                "tensor_split expected tensor_indices_or_sections to have dtype of long, but got "
                f"{wanted.dtype.alias}"))
        wanted = wanted.tolist()
    if not isinstance(wanted, int):
        return [int(place) for place in wanted]
    if wanted <= 0:
        raise RuntimeError(errors.message(
            f"number of sections must be larger than 0, got {wanted}"))
    small, larger = divmod(length, wanted)
    sizes = [small + 1] * larger + [small] * (wanted - larger)
    return list(itertools.accumulate(sizes))[:-1]


def part_of(input: Tensor, dim: int, start: int, stop: int | None) -> Tensor:
    first, last, _ = slice(start, stop).indices(input._array.shape[dim])
    return _slice(input, dim, first, max(first, last), 1)


def split_along(name: str, least: int, dim: int) -> Any:
    """torch.hsplit, torch.vsplit or torch.dsplit."""
    def function(input: Tensor, indices_or_sections: Any = None, *, indices: Any = None,
                 sections: Any = None) -> tuple[Tensor, ...]:
        wanted = next((value for value in (indices_or_sections, indices, sections)
                       if value is not None), None)
        if isinstance(wanted, str):
            raise TypeError(errors.message(
                f"{name}() received an invalid combination of arguments - got (Tensor, str), but "
                "expected one of:"))
        ndim = input._array.ndim
        if ndim < least:
            raise RuntimeError(errors.message(
                f"torch.{name} requires a tensor with at least {least} dimension, but got a "
                f"tensor with {ndim} dimensions!"))
        place = 0 if name == "hsplit" and ndim == 1 else dim
        if isinstance(wanted, int):
            check_divisible(name, wanted, input._array.shape[place], place)
        return tensor_split(input, wanted, place)
    function.__doc__ = f"Views along a dimension, equal parts or cut at places (``{name}``)."
    return public(function, name=name, out=False)


def check_divisible(name: str, parts: int, length: int, dim: int) -> None:
    if parts <= 0 or length % parts:
        raise RuntimeError(errors.message(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the "
            f"dimension {length} is not divisible by the split_size {parts}!"))


hsplit = split_along("hsplit", 1, 1)
vsplit = split_along("vsplit", 2, 0)
dsplit = split_along("dsplit", 3, 2)

UNSAFE = {"unsafe_chunk": chunk, "unsafe_split": split, "unsafe_split_with_sizes": split}


def owned(function: Any) -> Any:
    """The same parts, each with memory of its own."""
    def call(*args: Any, **options: Any) -> Any:
        return tuple(part.clone() for part in function(*args, **options))
    return call


for _name, _function in UNSAFE.items():
    TORCH[_name] = METHODS[_name] = owned(METHODS["split"] if _function is split else _function)


__all__ = ["unbind", "split", "chunk", "tensor_split", "hsplit", "vsplit", "dsplit"]
