"""PyTorch's second spellings: views that come as copies, and in-place forms as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.mode import before_write
from kkori.autograd.views import overwrite
from kkori.ops import rearrange
from kkori.ops.convert import readable
from kkori.ops.create import empty_strided, legacy_tensor
from kkori.ops.move import lengths
from kkori.ops.strided import as_strided
from kkori.ops.table import METHODS, TORCH, method, public
from kkori.tensor import Tensor, share, wrap


def copied(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.<name>_copy``: what the view holds, in memory of its own."""
    def call(input: Tensor, *args: Any, **options: Any) -> Any:
        found = function(input, *args, **options)
        if isinstance(found, tuple):
            return tuple(part.clone() for part in found)
        return found.clone()
    call.__doc__ = f"A copy of what ``{name}`` gives a view of."
    return public(call, name=f"{name}_copy", method=False)


def alias(input: Tensor) -> Tensor:
    """The same elements, as a view."""
    return METHODS["__getitem__"](input, ...)


def slice_along(input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None,
                step: int = 1) -> Tensor:
    """A slice of one dimension, as a view."""
    place = dim % max(input._array.ndim, 1)
    return METHODS["__getitem__"](input, (*[slice(None)] * place, slice(start, end, step)))


COPIES = {
    "alias": alias, "slice": slice_along, "as_strided": as_strided, "unfold": rearrange.unfold,
    **{name: METHODS[name] for name in ("diagonal", "expand", "narrow", "permute",
                                        "select", "split", "split_with_sizes", "squeeze", "t",
                                        "transpose", "unbind", "unsqueeze", "view")},
    **{name: TORCH[name] for name in ("detach", "view_as_real", "view_as_complex")},
}
for _name, _function in COPIES.items():
    copied(_name, _function)
METHODS["narrow_copy"] = TORCH["narrow_copy"]


@method
def as_strided_(self: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """This tensor becomes a view of its memory by strides, in elements."""
    before_write(self)
    self._array = as_strided(self.detach(), size, stride, storage_offset)._array
    return self


def as_function(name: str) -> Any:
    """An in-place method as a function of the torch namespace."""
    def call(input: Tensor, *args: Any, **options: Any) -> Tensor:
        return METHODS[name](input, *args, **options)
    call.__doc__ = f"``Tensor.{name}`` as a function."
    call.__name__ = call.__qualname__ = name
    return call


for _name in ("addmv_", "as_strided_", "clamp_", "clamp_max_", "clamp_min_", "clip_",
              "conj_physical_", "gcd_", "lcm_", "ldexp_", "nan_to_num_", "round_", "xlogy_",
              "index_put_"):
    TORCH[_name] = as_function(_name)
TORCH["detach_"] = lambda input: input.detach_()


@public(method=False, out=False)
def empty_permuted(size: Any, physical_layout: Any, *, dtype: Any = None, layout: Any = None,
                   device: Any = None, requires_grad: bool = False,
                   pin_memory: bool = False) -> Tensor:
    """A tensor whose dimensions lie in memory in the given order (``torch.empty_permuted``)."""
    shape, order = lengths((size,)), lengths((physical_layout,))
    if sorted(order) != list(range(len(shape))):
        raise RuntimeError(
            f"Number of dimensions in size does not match the length of the physical_layout; i.e. "
            f"len(size) = {len(shape)} is not equal to len(physical_layout) = {len(order)}")
    strides, step = [0] * len(shape), 1
    for d in reversed(order):
        strides[d] = step
        step *= shape[d]
    return empty_strided(shape, tuple(strides), dtype=dtype, device=device,
                         requires_grad=requires_grad)


# The rest of Tensor.

@method
def dim_order(self: Tensor, *, ambiguity_check: Any = False) -> tuple[int, ...]:
    """Dimensions from the outermost in memory to the innermost (``Tensor.dim_order``)."""
    strides = self.stride()
    return tuple(sorted(range(len(strides)), key=lambda d: -strides[d]))


@method
def map2_(self: Tensor, x: Tensor, y: Tensor, function: Any) -> Tensor:
    """Put ``function(element, x's, y's)`` in place of every element."""
    columns = [np.broadcast_to(part._array, self._array.shape).reshape(-1).tolist()
               for part in (self, x, y)]
    flat = [function(*three) for three in zip(*columns, strict=True)]
    return overwrite(self, wrap(np.asarray(flat, self._array.dtype).reshape(self._array.shape)))


@method
def new(self: Tensor, *data: Any, device: Any = None) -> Tensor:
    """A tensor of this type, made as ``torch.Tensor(...)`` makes one (``Tensor.new``)."""
    return legacy_tensor(Tensor, self.dtype, *data)


@method(name="__reversed__")
def reversed_rows(self: Tensor) -> Tensor:
    """``reversed(x)``: the rows in reverse order."""
    return self.flip(0) if self._array.ndim else self


@method
def is_distributed(self: Tensor) -> bool:
    """False: there is one process."""
    return False


# Sharing memory with other libraries.

@method(name="__dlpack__")
def dlpack(self: Tensor, **options: Any) -> Any:
    """A capsule through which another library reads the same memory (DLPack)."""
    if self._requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    return readable(self).__dlpack__(**{key: value for key, value in options.items()
                                        if key != "stream"})


@method(name="__dlpack_device__")
def dlpack_device(self: Tensor) -> tuple[int, int]:
    """(1, 0): the CPU, in DLPack's numbers."""
    return 1, 0


@public(method=False, out=False)
def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of another library's array (``torch.from_dlpack``)."""
    if isinstance(ext_tensor, Tensor):
        return share(ext_tensor)
    return wrap(np.from_dlpack(ext_tensor))


__all__ = ["empty_permuted", "from_dlpack"]
