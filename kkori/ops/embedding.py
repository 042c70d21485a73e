"""Rows of a matrix looked up by number, one by one or in bags."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from kkori.autograd.mode import before_write
from kkori.core import errors
from kkori.ops.direct import direct
from kkori.ops.table import public
from kkori.tensor import Tensor


def sum_by_index(values: Any, index: Any, size: int, axis: int = 0) -> Any:
    """Zeros of length `size` along `axis` with each slice of `values` added at its index."""
    shape = (*values.shape[:axis], size, *values.shape[axis + 1:])
    found = np.zeros(shape, values.dtype)
    if not values.size:
        return found
    order = np.argsort(index, kind="stable")
    places = index[order]
    starts = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1])))
    ahead = (slice(None),) * axis
    found[(*ahead, places[starts])] = np.add.reduceat(
        np.take(values, order, axis), starts, axis)
    return found


def embedding_array(weight: Any, indices: Any, padding_idx: Any, by_frequency: Any) -> Any:
    check_range(indices, len(weight))  # also where only a promise was looked up
    return np.take(weight, indices, 0)


def embedding_back_array(grad: Any, indices: Any, rows: Any, padding_idx: Any,
                         by_frequency: Any) -> Any:
    """Gradients added to the rows they come from; none for the padding row."""
    flat = indices.reshape(-1)
    values = grad.reshape(flat.size, -1)
    if by_frequency:
        counts = np.bincount(flat, minlength=rows)
        values = values / counts[flat][:, None].astype(grad.dtype)
    found = sum_by_index(values, flat, rows)
    if padding_idx >= 0:
        found[padding_idx] = 0
    return found


def embedding_back_grad(g: Tensor, indices: Tensor, padding_idx: int,
                        by_frequency: bool) -> Tensor:
    found = _embedding(g, indices, padding_idx, False)
    if padding_idx >= 0:
        found = found * (indices != padding_idx).unsqueeze(-1)
    if by_frequency:
        counts = np.bincount(indices._array.reshape(-1))[indices._array]
        found = found / found.new_tensor(counts).unsqueeze(-1)
    return found


_embedding_back = direct("embedding_backward", embedding_back_array,
                         {"grad": embedding_back_grad})
_embedding = direct("embedding", embedding_array, {
    "weight": lambda g, weight_shape, indices, padding_idx, by_frequency: _embedding_back(
        g, indices, weight_shape[0], padding_idx, by_frequency)})


def check_type(indices: Tensor, name: str) -> None:
    """Numbers of rows must be integers."""
    array = indices._array
    if array.dtype != np.int64 and array.dtype != np.int32:
        raise RuntimeError(errors.message(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got torch.{indices.dtype.alias}Tensor instead (while checking "
            f"arguments for {name})", fix="indices.long()"))


def check_range(array: Any, rows: int) -> None:
    """IndexError for a number that is no row's, as far as they are known."""
    if array.size and array.__class__ is np.ndarray:
        low, high = np.minimum.reduce(array, axis=None), np.maximum.reduce(array, axis=None)
        if low < 0 or high >= rows:
            raise IndexError(errors.message(
                "index out of range in self",
                what=f"indices from {low} to {high} in a table of {rows} rows",
                fix=f"make the table larger: nn.Embedding({high + 1}, ...)" if low >= 0 else ""))


@public(name="embedding", method=False, out=False)
def embedding_torch(weight: Tensor, indices: Tensor, padding_idx: int = -1,
                    scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    """``torch.embedding``: rows of `weight`, one for each index."""
    if weight._array.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    check_type(indices, "embedding")
    check_range(indices._array, weight._array.shape[0])
    return _embedding(weight, indices, padding_idx, scale_grad_by_freq)


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None,
              max_norm: float | None = None, norm_type: float = 2.0,
              scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    """Rows of `weight` (rows, features), one for each number in `input` of any shape.

    The row `padding_idx` gets no gradient. `max_norm` first shrinks (in place) the rows that are
    looked up. IndexError for numbers outside the table. Gradients are dense, also if `sparse`.
    """
    rows = weight._array.shape[0]
    if padding_idx is None:
        padding_idx = -1
    elif not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    elif padding_idx < 0:
        padding_idx += rows
    if max_norm is not None:
        check_type(input, "embedding")
        check_range(input._array, rows)
        shrink(weight, input._array, max_norm, norm_type)
    return embedding_torch(weight, input, padding_idx, scale_grad_by_freq)


def shrink(weight: Tensor, indices: Any, max_norm: float, norm_type: float) -> None:
    """Scale the rows that are looked up down to `max_norm`, in place, where they are longer."""
    chosen = np.unique(indices)
    rows = weight._array[chosen]
    norms = np.linalg.norm(rows, norm_type, axis=1)
    long = norms > max_norm
    before_write(weight)
    factors = max_norm / (norms[long] + 1e-7)
    weight._array[chosen[long]] = rows[long] * factors[:, None].astype(rows.dtype)
    weight.shared_storage().version += 1


# Bags.

MODES = ("sum", "mean", "max")


def bag_of(offsets: Any, count: int) -> Any:
    """The number of the bag that each of `count` indices is in."""
    return np.searchsorted(offsets, np.arange(count), side="right") - 1


def bag_array(weight: Any, indices: Any, offsets: Any, scale: Any, bags: Any, mode: Any,
              padding_idx: Any) -> Any:
    """The sum, mean or largest of the rows of each bag; empty bags are 0."""
    rows = np.take(weight, indices, 0)
    bag = bag_of(offsets, indices.size)
    kept = indices != padding_idx
    rows, bag = rows[kept], bag[kept]
    if scale is not None:
        rows = rows * scale[kept][:, None]
    if mode == "max":
        return largest(rows, bag, bags)[0]
    found = sum_by_index(rows, bag, bags)
    if mode == "mean":
        found /= np.maximum(np.bincount(bag, minlength=bags), 1)[:, None]
    return found


def largest(rows: Any, bag: Any, bags: int) -> tuple[Any, Any]:
    """For each bag and feature the largest value, and the number of the row that has it."""
    found = np.zeros((bags, rows.shape[1]), rows.dtype)
    which = np.full(found.shape, -1)
    for number in np.unique(bag):
        members = np.flatnonzero(bag == number)
        best = np.argmax(rows[members], 0)
        which[number] = members[best]
        found[number] = np.take_along_axis(rows[members], best[None], 0)[0]
    return found, which


def bag_back_array(grad: Any, weight: Any, indices: Any, offsets: Any, scale: Any, mode: Any,
                   padding_idx: Any, by_frequency: Any) -> Any:
    """The gradient of the table."""
    kept = indices != padding_idx
    bag, chosen = bag_of(offsets, indices.size)[kept], indices[kept]
    if mode == "max":
        return max_back(grad, np.take(weight, chosen, 0), chosen, bag, weight.shape)
    values = grad[bag]
    if mode == "mean":
        values = values / np.maximum(np.bincount(bag, minlength=len(grad)), 1)[bag][:, None]
    if scale is not None:
        values = values * scale[kept][:, None]
    if by_frequency:
        values = values / np.bincount(chosen, minlength=len(weight))[chosen][:, None]
    return sum_by_index(values.astype(grad.dtype, copy=False), chosen, len(weight))


def max_back(grad: Any, rows: Any, chosen: Any, bag: Any, shape: Any) -> Any:
    found = np.zeros(shape, grad.dtype)
    _, which = largest(rows, bag, len(grad))
    filled = which[:, 0] >= 0 if which.size else np.zeros(len(grad), bool)
    features = np.broadcast_to(np.arange(shape[1]), which.shape)
    np.add.at(found, (chosen[which[filled]], features[filled]), grad[filled])
    return found


def scale_back_array(grad: Any, weight: Any, indices: Any, offsets: Any, padding_idx: Any) -> Any:
    """The gradient of the factors of the rows."""
    bag = bag_of(offsets, indices.size)
    found = np.add.reduce(grad[bag] * np.take(weight, indices, 0), 1)
    found[indices == padding_idx] = 0
    return found


_bag_back = direct("embedding_bag_backward", bag_back_array)
_scale_back = direct("embedding_bag_per_sample_weights_backward", scale_back_array)
_bag = direct("embedding_bag", lambda weight, indices, offsets, scale, bags, mode, padding_idx,
              by_frequency: bag_array(weight, indices, offsets, scale, bags, mode, padding_idx), {
    "weight": lambda g, weight, indices, offsets, scale, mode, padding_idx, by_frequency:
        _bag_back(g, weight, indices, offsets, scale, mode, padding_idx, by_frequency),
    "scale": lambda g, weight, indices, offsets, padding_idx: _scale_back(
        g, weight, indices, offsets, padding_idx)})


def embedding_bag(input: Tensor, weight: Tensor, offsets: Tensor | None = None,
                  max_norm: float | None = None, norm_type: float = 2,
                  scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
                  per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
                  padding_idx: int | None = None) -> Tensor:
    """Sums, means or maxima of bags of rows of `weight`.

    input: (bags, length), or (indices) with `offsets` at which bags begin. ValueError for other
    shapes; NotImplementedError for `per_sample_weights` with another mode than "sum".
    """
    if weight._array.dtype == np.int64 and input._array.dtype.kind == "f":
        warnings.warn("Argument order of nn.functional.embedding_bag was changed. Usage "
                      "`embedding_bag(weight, input, ...)` is deprecated, and should now be "
                      "`embedding_bag(input, weight, ...)`.", stacklevel=2)
        input, weight = weight, input
    check_bags(input, weight, offsets, per_sample_weights)
    if input._array.ndim == 2:
        bags, length = input._array.shape
        starts = np.arange(bags) * length
        input = input.reshape(-1)
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)
    else:
        assert offsets is not None
        starts = offsets._array[:-1] if include_last_offset else offsets._array
        check_offsets(offsets._array, input._array.size)
        if include_last_offset:
            input = input[:int(offsets._array[-1])]
            if per_sample_weights is not None:
                per_sample_weights = per_sample_weights[:input._array.size]
    check_mode(mode, scale_grad_by_freq, sparse, per_sample_weights)
    rows = weight._array.shape[0]
    check_type(input, "embedding_bag")
    padding = padding_row(padding_idx, rows)
    check_bag_range(input._array, weight._array, mode, padding)
    if max_norm is not None:
        shrink(weight, input._array, max_norm, norm_type)
    return _bag(weight, input, starts, per_sample_weights, len(starts), mode, padding,
                scale_grad_by_freq)


def check_bag_range(array: Any, weight: Any, mode: str, padding: int) -> None:
    """RuntimeError for a number that is no row's, in the words of PyTorch's two kernels."""
    if array.__class__ is not np.ndarray:
        return
    rows = len(weight)
    wrong = (array < 0) | (array >= rows)
    if not wrong.any():
        return
    place = int(wrong.argmax())
    if weight.dtype == np.float32 and weight.flags.c_contiguous and mode != "max" and padding < 0:
        raise RuntimeError(errors.message(
            f"Index {place} of input takes value {array[place]} which is not in the valid range "
            f"[0, {rows})"))
    raise RuntimeError(errors.message(
        "embedding_bag: Expected idx >= 0 && idx < num_embeddings but found idx to be "
        f"{array[place]}"))


def padding_row(padding_idx: int | None, rows: int) -> int:
    """The row that does not count, from the front; -1 for none."""
    if padding_idx is None:
        return -1
    if not -rows <= padding_idx < rows:
        raise RuntimeError(
            f"padding_idx must be within the number of embeddings, -{rows} through {rows - 1}, "
            f"but got {padding_idx}")
    return padding_idx % rows


def check_bags(input: Tensor, weight: Tensor, offsets: Tensor | None, scale: Any) -> None:
    if scale is not None and scale._array.shape != input._array.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({scale.shape}) is not None, then it must have "
            f"the same shape as the input ({input.shape})")
    if weight._array.ndim != 2:
        raise ValueError("weight has to be a 2D Tensor, but got Tensor of dimension "
                         f"{weight._array.ndim}")
    ndim = input._array.ndim
    if ndim == 2 and offsets is not None:
        raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a "
                         "mini-batch of fixed length sequences. However, found offsets of type "
                         f"{type(offsets)}")
    if ndim == 1 and offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if ndim == 1 and offsets is not None and offsets._array.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    if ndim not in (1, 2):
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {ndim}")


def check_offsets(offsets: Any, count: int) -> None:
    if offsets.size and offsets[0] != 0:
        raise RuntimeError("offsets[0] has to be 0, i.e., the first sequence in the mini-batch "
                           f"has to start from position 0. However, got {offsets[0]}")
    if offsets.size and offsets[-1] > count:
        raise RuntimeError("offsets[-1] can not be greater than input's length. Got offsets[-1] of "
                           f"{offsets[-1]} and input's length {count}")


def check_mode(mode: str, by_frequency: bool, sparse: bool, scale: Any) -> None:
    if mode not in MODES:
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and by_frequency:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if scale is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            f"for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub.")
