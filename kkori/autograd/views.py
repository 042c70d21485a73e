"""In-place writes: the numbers change, the version counts it, and the tail is re-tied.

A write to a view is a write to its base: the base gets a node that sends the gradient of the
written part to what was written, and the rest to what the base was before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.autograd.graph import Node, edge_of, keep_old_value
from kkori.autograd.mode import switch, turn
from kkori.core import dtype as types
from kkori.core import errors
from kkori.core.promotion import can_cast
from kkori.core.storage import offset_of
from kkori.tensor import Tensor

__all__ = ["overwrite", "refresh", "check_writable"]


def overwrite(tensor: Tensor, result: Tensor) -> Tensor:
    """Put the numbers of `result` into `tensor`, and its tail too; returns `tensor`.

    RuntimeError, before anything is changed, where PyTorch has one: a leaf that requires
    gradients, a type that cannot hold the result, a shape that would have to grow.
    """
    tape = switch.tape
    if tape is not None:
        if tape.write(tensor, result):
            return tensor
        tape.in_place(tensor._array)
    follow = switch.on and (result._requires_grad or tensor._requires_grad)
    if follow:
        check_writable(tensor)
    array, new = tensor._array, result._array
    if 0 in array.strides:
        errors.refuse_overlap(array)
    if new.dtype != array.dtype and not can_cast(types.of(new.dtype), types.of(array.dtype)):
        raise errors.no_cast(types.of(new.dtype), types.of(array.dtype))
    if new.shape != array.shape:
        _check_shape(array.shape, new.shape)
    if follow and result._node is not None:
        keep_old_value(result._node, tensor)
    np.copyto(array, new, casting="unsafe")
    tensor.shared_storage().version += 1
    if follow:
        _retie(tensor, result)
    return tensor


def _check_shape(shape: Any, found: Any) -> None:
    if len(found) > len(shape) or np.broadcast_shapes(shape, found) != shape:
        raise RuntimeError(errors.message(
            f"output with shape {errors.of_shape(shape)} doesn't match the broadcast shape "
            f"{errors.of_shape(found)}",
            fix="use the operation that makes a new tensor: x = x + y instead of x += y"))


def check_writable(tensor: Tensor) -> None:
    """RuntimeError where a write would change a leaf whose gradient is being followed."""
    if tensor._requires_grad and tensor._node is None:
        raise errors.leaf_in_place()
    base = tensor._base
    if base is not None and base._requires_grad and base._node is None:
        raise RuntimeError(errors.message(
            "a view of a leaf Variable that requires grad is being used in an in-place "
            "operation.", fix="wrap the update: with torch.no_grad(): w[0] = 1.0"))


def _retie(tensor: Tensor, result: Tensor) -> None:
    if tensor._base is not None:
        base = tensor._base
        base._node = CopySlices(base, tensor, result)
        base._output_nr, base._requires_grad = 0, True
        _tie_view(tensor)
    elif result._requires_grad:
        tensor._node, tensor._output_nr = result._node, result._output_nr
        tensor._requires_grad = True
    else:
        tensor._node, tensor._requires_grad, tensor._output_nr = None, False, 0


def refresh(tensor: Tensor) -> None:
    """Give a view whose base was written to since the tail that it has now."""
    base = tensor._base
    assert base is not None
    if base._node is not tensor._origin and base._node is not None:
        _tie_view(tensor)


def geometry(tensor: Tensor) -> tuple[Any, Any, int]:
    """Shape, strides and offset of a view from the start of its base, in elements of the view."""
    offset = offset_of(tensor._array, tensor.shared_storage()) - start_of_base(tensor)
    return tuple(tensor._array.shape), tensor.stride(), offset


def start_of_base(tensor: Tensor) -> int:
    """Where the base of a view starts in the storage, in elements of the view."""
    base = tensor._base
    assert base is not None
    start = offset_of(base._array, base.shared_storage())
    return start * base._array.itemsize // tensor._array.itemsize


def seen_as(tensor: Tensor, kind: str) -> Tensor:
    """Complex numbers as pairs where a view of kind `kind` is of real ones, and the reverse."""
    from kkori.ops.complex_numbers import view_as_complex, view_as_real
    own = tensor._array.dtype.kind
    if (own == "c") == (kind == "c"):
        return tensor
    return view_as_real(tensor) if own == "c" else view_as_complex(tensor)


def _tie_view(tensor: Tensor) -> None:
    from kkori.ops.strided import as_strided
    shape, strides, offset = geometry(tensor)
    base = tensor._base
    assert base is not None
    outer = switch.on
    turn(True)
    try:
        again = as_strided(seen_as(base, tensor._array.dtype.kind), shape, strides,
                           start_of_base(tensor) + offset)
    finally:
        turn(outer)
    tensor._node, tensor._output_nr = again._node, 0
    tensor._requires_grad, tensor._origin = True, base._node


class _CopySlicesRow:
    keeps_values = False
    args = followed = ()


class CopySlices(Node):
    """The base after a write to one of its views."""

    __slots__ = ("geometry", "base_strides", "view_kind")

    def __init__(self, base: Tensor, view: Tensor, result: Tensor) -> None:
        before = edge_of(base) if base._requires_grad else None
        written = edge_of(result) if result._requires_grad else None
        super().__init__([before, written], [base._output_nr, result._output_nr],
                         base._array.shape, base._array.dtype)
        self.row = _CopySlicesRow
        self.geometry = geometry(view)
        self.base_strides, self.view_kind = base.stride(), view._array.dtype.kind

    def name(self) -> str:
        return "torch::autograd::CopySlices"

    def apply(self, g: Any) -> Any:
        shape, strides, offset = self.geometry
        laid_out = g.new_empty_strided(g.shape, self.base_strides).copy_(g)
        same = seen_as(laid_out, self.view_kind)
        part = same.as_strided(shape, strides, offset)
        rest = None
        if self.edges[0] is not None:
            rest = same.as_strided_scatter(part * 0, shape, strides, offset)
            rest = seen_as(rest, laid_out._array.dtype.kind)
        return [rest, part]
