"""Reading and writing by index: `x[...]`, and what it is made of."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from kkori.autograd.mode import before_write, switch
from kkori.autograd.views import check_writable, overwrite
from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops.move import _select, _slice, _unsqueeze
from kkori.ops.table import METHODS, op
from kkori.tensor import Tensor, wrap

_alias = op("alias", lambda input: input[...], {"input": lambda g: g}, view=True)


def index_array(input: Any, places: Any, *indices: Any) -> Any:
    """NumPy's own indexing by arrays; dimensions without one are kept whole."""
    try:
        return input[spread_out(places, indices)]
    except IndexError:
        dims = [dim for dim, here in enumerate(places) if here]
        if not any(array.dtype == np.bool_ for array in indices):
            for number, (dim, array) in enumerate(zip(dims, indices, strict=True)):
                check_bounds(array, input.shape[dim], number)
        raise different_shapes(indices) from None


def different_shapes(indices: Any) -> IndexError:
    """Index arrays that do not broadcast together (a mask counts as its number of hits)."""
    shapes = [array.shape if array.dtype != np.bool_ else (int(array.sum()),) for array in indices]
    return IndexError(errors.message(
        "shape mismatch: indexing tensors could not be broadcast together with shapes "
        + ", ".join(map(errors.of_shape, shapes)),
        fix="for all combinations, make one a column: x[rows[:, None], columns]"))


def spread_out(places: Any, indices: Any) -> Any:
    """Index arrays at their dimensions, whole slices elsewhere."""
    rest = iter(indices)
    return tuple(next(rest) if here else slice(None) for here in places)


def index_back_array(g: Any, shape: Any, places: Any, *indices: Any) -> Any:
    """Zeros with `g` added where it was read; indices may repeat."""
    found = np.zeros(shape, g.dtype)
    where = spread_out(places, indices)
    if len(indices) == 1 and indices[0].dtype == np.bool_:
        found[where] = g
    elif all(places) and all(index.dtype != np.bool_ for index in indices):
        add_rows(found, indices, g)
    else:
        np.add.at(found, where, g)
    return found


def add_rows(found: Any, indices: Any, g: Any) -> None:
    """Add `g` where whole numbers for the leading dimensions point, by flat places: far faster."""
    lead = found.shape[:len(indices)]
    width = prod(found.shape[len(indices):])
    row: Any = 0
    for number, (index, size) in enumerate(zip(indices, lead, strict=True)):
        check_bounds(index, size, number)  # of flat places nobody could tell
        row = row * size + np.where(index < 0, index + size, index)
    places = np.reshape(row, (-1, 1)) * width + np.arange(width)
    np.add.at(found.reshape(-1), places.reshape(-1), g.reshape(-1))


_index = op("index", index_array, grad={
    "input": lambda g, input_shape, places, rest: _index_back(g, input_shape, places, *rest)})
_index_back = op("index_backward", index_back_array, grad={
    "g": lambda g, places, rest: _index(g, places, *rest)})
_index_put = op("index_put", lambda input, values, accumulate, places, *indices: index_put_array(
    input.copy(), values, accumulate, places, indices), grad={
        "input": lambda g, accumulate, places, rest: g if accumulate else _index_put(
            g, g.new_zeros(()), False, places, *rest),
        "values": lambda g, places, rest: _index(g, places, *rest)})


def index_put_array(found: Any, values: Any, accumulate: Any, places: Any, indices: Any) -> Any:
    """Write (or add) `values` into `found` where the indices point."""
    where = spread_out(places, indices)
    if accumulate:
        np.add.at(found, where, values)
    else:
        found[where] = values
    return found


# Reading.

def get_item(self: Tensor, index: Any) -> Tensor:
    """``self[index]``: a view for numbers, slices, None and ``...``; a copy for tensors."""
    if index.__class__ is int:
        return pick(self, 0, index)
    if index.__class__ is slice and self._array.ndim:
        return cut(self, 0, index)
    parts = index if isinstance(index, tuple) else as_tuple(index)
    view, indices = take_views(self, parts)
    if not indices:
        return view if view is not self else _alias(self)
    places, arrays = checked_indices(view, indices)
    if view._requires_grad:
        places, arrays = followed_indices(parts, places, arrays)
    return _index(view, places, *arrays)


def followed_indices(parts: tuple[Any, ...], places: tuple[bool, ...],
                     arrays: list[Any]) -> tuple[tuple[bool, ...], list[Any]]:
    """The same as tensors, with which rounds can be recorded; and where they are, masks as numbers,
    because what shape a mask gives nobody knows beforehand."""
    if switch.tape is not None and any(array.dtype == np.bool_ for array in arrays):
        places, arrays = without_masks(places, arrays)
    return places, as_given(parts, arrays)


def as_given(parts: Any, arrays: list[Any]) -> list[Any]:
    """The tensors that index arrays come from: their versions tell whether somebody writes to
    them before gradients need them."""
    given = {id(part._array): part for part in parts if isinstance(part, Tensor)}
    return [given[id(array)] if id(array) in given else wrap(array) for array in arrays]


def without_masks(places: tuple[bool, ...],
                  arrays: list[Any]) -> tuple[tuple[bool, ...], list[Any]]:
    """Masks as the numbers of their hits, one array for each of their dimensions."""
    rest = iter(arrays)
    kept: list[bool] = []
    found: list[Any] = []
    for here in places:
        if not here:
            kept.append(False)
            continue
        array = next(rest)
        hits = array.nonzero() if array.dtype == np.bool_ else (array,)
        found += hits
        kept += [True] * len(hits)
    return tuple(kept), found


def as_tuple(index: Any) -> tuple[Any, ...]:
    """A list that holds slices or lists counts as a tuple, as PyTorch still has it."""
    if isinstance(index, list) and any(
            isinstance(part, (slice, type(None), type(...))) for part in index):
        return tuple(index)
    return (index,)


def pick(tensor: Tensor, dim: int, index: int) -> Tensor:
    """One index of one dimension, checked."""
    shape = tensor._array.shape
    if not shape:
        raise IndexError(errors.message(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or "
            "`tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"))
    if not -shape[dim] <= index < shape[dim]:
        raise out_of_bounds(index, dim, shape[dim])
    return _select(tensor, dim, index % shape[dim])


def out_of_bounds(index: int, dim: int, size: int) -> IndexError:
    return IndexError(errors.message(
        f"index {index} is out of bounds for dimension {dim} with size {size}",
        fix=f"indices here run from {-size} to {size - 1}" if size else ""))


def cut(tensor: Tensor, dim: int, part: slice) -> Tensor:
    """One slice of one dimension."""
    start, stop, step = (whole(value) for value in (part.start, part.stop, part.step))
    if step is not None and step <= 0:
        raise ValueError("step must be greater than zero")
    first, last, step = slice(start, stop, step).indices(tensor._array.shape[dim])
    return _slice(tensor, dim, first, max(last, first), step)


def whole(value: Any) -> Any:
    """A slice's bound as a Python int."""
    return value if value is None or value.__class__ is int else int(value)


def take_views(tensor: Tensor, parts: tuple[Any, ...]) -> tuple[Tensor, dict[int, Any]]:
    """Apply the parts of an index that are views; return what is left, by dimension."""
    consumed = sum(dimensions_used(part) for part in parts)
    if consumed > tensor._array.ndim:
        raise IndexError(errors.message(
            f"too many indices for tensor of dimension {tensor._array.ndim}"))
    dim, indices = 0, {}
    for position, part in enumerate(parts):
        if part is None:
            tensor, dim = _unsqueeze(tensor, dim), dim + 1
        elif part is Ellipsis:
            skipped = tensor._array.ndim - dim - remaining(parts, part)
            dim += skipped
        elif isinstance(part, slice):
            if part != slice(None) or len(parts) == 1:
                tensor = cut(tensor, dim, part)
            dim += 1
        elif is_number(part):
            tensor = pick_reported(tensor, dim, int(part), position)
        elif isinstance(part, (bool, np.bool_)):
            tensor = _unsqueeze(tensor, dim)
            indices[dim] = np.asarray([0] if part else [], np.int64)
            dim += 1
        else:
            array = index_of(part)
            indices[dim] = array
            dim += array.ndim if array.dtype == np.bool_ else 1
    return tensor, indices


def pick_reported(tensor: Tensor, dim: int, index: int, position: int) -> Tensor:
    """pick(), with errors that say where in the brackets the index stands, as PyTorch's do."""
    size = tensor._array.shape[dim]
    if not -size <= index < size:
        raise out_of_bounds(index, position, size)
    return _select(tensor, dim, index % size)


def dimensions_used(part: Any) -> int:
    """How many dimensions of the tensor a part of an index speaks of."""
    if part is None or part is Ellipsis or isinstance(part, (bool, np.bool_)):
        return 0
    kind = getattr(part, "dtype", None)
    if kind is not None and (kind == np.bool_ or kind is types.bool_):
        return int(part.ndim)
    if isinstance(part, list) and is_truth_list(part):
        return int(np.ndim(part))
    return 1


def is_truth_list(part: Any) -> bool:
    while isinstance(part, list) and part:
        part = part[0]
    return isinstance(part, (bool, np.bool_))


def remaining(parts: tuple[Any, ...], ellipsis: Any) -> int:
    """Dimensions spoken of after the ellipsis."""
    place = next(k for k, part in enumerate(parts) if part is ellipsis)
    return sum(dimensions_used(part) for part in parts[place + 1:])


def is_number(part: Any) -> bool:
    """Whether a part of an index is one whole number."""
    if isinstance(part, (int, np.integer)) and not isinstance(part, (bool, np.bool_)):
        return True
    return (isinstance(part, Tensor) and not part._array.ndim
            and part._array.dtype.kind in "iu")


def index_of(part: Any) -> Any:
    """An index array of a tensor, array, list or range; IndexError for anything else."""
    if isinstance(part, Tensor):
        array = part._array
    elif isinstance(part, (list, tuple, range, np.ndarray)):
        array = np.asarray([whole(p) if isinstance(p, Tensor) else p for p in part]
                           if isinstance(part, list) and part and isinstance(part[0], Tensor)
                           else part)
        if not array.size:
            array = array.astype(np.int64)
    elif isinstance(part, str):
        raise TypeError("new(): invalid data type 'str'")
    else:
        raise IndexError(errors.message(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(part).__name__})"))
    if array.dtype == np.uint8 and isinstance(part, Tensor):
        array = array.astype(np.bool_)
    if array.dtype.kind not in "ib":
        raise IndexError(errors.message(
            "tensors used as indices must be long, int, byte or bool tensors",
            fix="x[i.long()]"))
    return array


def checked_indices(view: Tensor, indices: dict[int, Any]) -> tuple[tuple[bool, ...], list[Any]]:
    """Which dimensions are indexed, and by which arrays, all within bounds."""
    shape = view._array.shape
    places = tuple(dim in indices for dim in range(max(indices) + 1))
    arrays: list[Any] = []
    kept: list[bool] = []
    dim = 0
    while dim < len(places):
        array = indices.get(dim)
        kept.append(array is not None)
        if array is None:
            dim += 1
            continue
        if array.dtype == np.bool_:
            check_mask(array, shape, dim)
            dim += array.ndim
        else:
            check_bounds(array, shape[dim], len(arrays))
            dim += 1
        arrays.append(array)
    return tuple(kept), arrays


def check_mask(mask: Any, shape: Any, dim: int) -> None:
    if mask.shape != shape[dim:dim + mask.ndim]:
        at = next((k for k in range(mask.ndim) if dim + k >= len(shape)
                   or mask.shape[k] != shape[dim + k]), 0)
        raise IndexError(errors.message(
            f"The shape of the mask {errors.of_shape(mask.shape)} at index {at} does not match "
            f"the shape of the indexed tensor {errors.of_shape(shape)} at index {dim + at}"))


def check_bounds(array: Any, size: int, dim: int) -> None:
    """IndexError where an index array points outside; `dim` is its number among the arrays."""
    if array.size and array.__class__ is np.ndarray and (  # the row itself looks at promises
            array.max() >= size or array.min() < -size):
        bad = array[(array >= size) | (array < -size)].flat[0]
        raise out_of_bounds(int(bad), dim, size)


# Writing.

def set_item(self: Tensor, index: Any, value: Any) -> None:
    """``self[index] = value``, in place."""
    parts = index if isinstance(index, tuple) else as_tuple(index)
    view, indices = take_views(self, parts)
    new = value_for(self, value)
    if not indices:
        write_view(view if view is not self else self, new)
        return
    places, arrays = checked_indices(view, indices)
    check_fits(view, places, arrays, new)
    if switch.on and (self._requires_grad or new._requires_grad):
        check_writable(view)
        arrays = arrays if switch.tape is not None else as_given(parts, arrays)
        overwrite(view, _index_put(view, new, False, places, *arrays))
        return
    before_write(self)
    index_put_array(view._array, new._array, False, places, arrays)
    self.shared_storage().version += 1


def value_for(target: Tensor, value: Any) -> Tensor:
    """What is to be written, as a tensor of the target's type."""
    if isinstance(value, Tensor):
        return value if value._array.dtype == target._array.dtype else value.to(target.dtype)
    if isinstance(value, (int, float, complex, np.generic)):
        return wrap(np.asarray(value).astype(target._array.dtype))
    if isinstance(value, np.ndarray) and not value.ndim:
        return wrap(value.astype(target._array.dtype))
    raise TypeError(errors.message(
        "can't assign a "
        f"{'numpy.ndarray' if isinstance(value, np.ndarray) else type(value).__name__}"
        f" to a torch.{target.dtype.alias}Tensor", fix="x[i] = torch.tensor(value)"))


def write_view(view: Tensor, new: Tensor) -> None:
    """Fill a view, leading lengths of 1 of the value ignored as in PyTorch."""
    array = new._array
    while array.ndim > view._array.ndim and array.shape[0] == 1:
        new = new[0]  # type: ignore[index]
        array = new._array
    METHODS["copy_"](view, new)


def check_fits(view: Tensor, places: Any, arrays: Any, new: Tensor) -> None:
    shape = np.empty(view._array.shape, np.bool_)[spread_out(places, arrays)].shape if \
        view._array.size < 4096 else view._array[spread_out(places, arrays)].shape
    found = new._array.shape
    try:
        fits = np.broadcast_shapes(shape, found) == shape
    except ValueError:
        fits = False
    if not fits:
        raise RuntimeError(errors.message(
            f"shape mismatch: value tensor of shape {errors.of_shape(found)} cannot be broadcast "
            f"to indexing result of shape {errors.of_shape(shape)}"))


METHODS["__getitem__"] = get_item
METHODS["__setitem__"] = set_item
__all__ = ["get_item", "set_item", "index_of"]
