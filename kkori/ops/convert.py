"""Between types, devices, NumPy and Python: `to`, `float`, `item`, `numpy`, `copy_`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.mode import before_write, no_grad, switch
from kkori.autograd.views import overwrite
from kkori.core import device as devices
from kkori.core import dtype as types
from kkori.core import errors, meta
from kkori.core.dtype import dtype
from kkori.core.layout import memory_format, preserve_format
from kkori.core.meta import MetaArray
from kkori.core.promotion import cast
from kkori.core.storage import shown_to_numpy
from kkori.ops.move import _clone, _expand, memory_order
from kkori.ops.table import METHODS, TORCH, method, op, public
from kkori.tensor import Tensor, share, wrap


def cast_array(input: Any, row: Any) -> Any:
    """Another element type; a complex number loses its imaginary part."""
    if input.dtype.kind == "c" and row.kind < types.COMPLEX:
        if row.kind == types.BOOL:
            return input != 0
        input = input.real
    try:
        return input.astype(row.numpy)
    except FloatingPointError:  # NumPy's error state is the user's
        with np.errstate(all="ignore"):
            return input.astype(row.numpy)


_cast = op("to_copy", cast_array, {"input": lambda g: g}, node="ToCopyBackward0")
_to_meta = op("to_meta", lambda input: meta.empty(input.shape, input.dtype), {
    "input": lambda g: g}, node="ToCopyBackward0")


def converted(self: Tensor, row: dtype | None, place: Any, copy: bool, order: Any) -> Tensor:
    """`self` as type `row` on device `place`; itself where nothing changes."""
    result = self
    if row is not None and self._array.dtype != row.numpy:
        if self._requires_grad and row.kind < types.FLOATING:
            with no_grad():  # whole numbers have no gradients
                result = _cast(self, row)
        else:
            result = _cast(self, row)
    if place is not None and place != result.device:
        result = moved(result, place)
    if copy and result is self:
        result = _clone(self, memory_order(order))
    if order is not preserve_format and isinstance(order, memory_format):
        result = result.contiguous(memory_format=order)
    return result


def moved(tensor: Tensor, place: devices.device) -> Tensor:
    """`tensor` on another device."""
    if place.type == "meta":
        return _to_meta(tensor)
    if isinstance(tensor._array, MetaArray):
        raise NotImplementedError(errors.message("Cannot copy out of meta tensor; no data!"))
    return tensor


@method
def to(self: Tensor, *args: Any, dtype: Any = None, device: Any = None, other: Any = None,
       non_blocking: bool = False, copy: bool = False,
       memory_format: Any = preserve_format) -> Tensor:
    """As another dtype, on another device, or as `other` is; itself if nothing changes.

    AssertionError in PyTorch's words for a CUDA device where there is none.
    """
    row, place = dtype, device
    for arg in args:
        if isinstance(arg, types.dtype):
            row = arg
        elif isinstance(arg, (str, devices.device)):
            place = arg
        elif isinstance(arg, Tensor):
            row, place = arg.dtype, arg.device
        elif isinstance(arg, int) and not isinstance(arg, bool):
            place = arg
        elif isinstance(arg, bool):
            copy = copy or (arg if len(args) > 2 and arg is args[-1] else False)
        elif arg is not None:
            raise TypeError(errors.message(
                "to() received an invalid combination of arguments - got "
                f"({', '.join(type(a).__name__ for a in args)}), but expected one of:"))
    if other is not None:
        row, place = other.dtype, other.device
    found = None if place is None else devices.resolve(place)
    return converted(self, row, found, copy, memory_format)


def converter(name: str, row: dtype) -> Callable[..., Tensor]:
    """A method such as ``float()``."""
    def convert(self: Tensor, memory_format: Any = preserve_format) -> Tensor:
        return converted(self, row, None, False, memory_format)
    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = f"As {row!r}; itself if it is already."
    return convert


SHORT_NAMES = {"float": types.float32, "double": types.float64, "half": types.float16,
               "bfloat16": types.bfloat16, "int": types.int32, "long": types.int64,
               "short": types.int16, "char": types.int8, "byte": types.uint8,
               "bool": types.bool_, "cfloat": types.complex64, "cdouble": types.complex128}
for _name, _row in SHORT_NAMES.items():
    METHODS[_name] = converter(_name, _row)


@method(name="type")
def type_method(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of its type, such as ``'torch.FloatTensor'``; or itself as another type."""
    if dtype is None:
        return f"torch.{self.dtype.alias}Tensor"
    return converted(self, type_named(dtype), None, False, preserve_format)


def type_named(given: Any) -> dtype:
    """A dtype given as itself, as ``torch.FloatTensor`` or as ``'torch.FloatTensor'``."""
    if isinstance(given, types.dtype):
        return given
    name = given if isinstance(given, str) else f"torch.{given.__name__}"
    for row in types.BY_NAME.values():
        if name == f"torch.{row.alias}Tensor":
            return row
    raise ValueError(errors.message(f"invalid type: {given!r}"))


@method
def as_subclass(self: Tensor, cls: Any) -> Any:
    """The same elements as a tensor of class `cls`; gradients pass through."""
    from kkori.ops.index import _alias
    view = _alias(self) if self._requires_grad else share(self)
    made = object.__new__(cls)
    made.__dict__.update(view.__dict__)
    return made


@method
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """As the type of `other`."""
    return converted(self, other.dtype, None, False, preserve_format)


@method
def cpu(self: Tensor, memory_format: Any = preserve_format) -> Tensor:
    """On the CPU: itself, unless it is somewhere else."""
    return converted(self, None, devices.CPU, False, memory_format)


@method
def cuda(self: Tensor, device: Any = None, non_blocking: bool = False,
         memory_format: Any = preserve_format) -> Tensor:
    """On a CUDA device; AssertionError where there is none."""
    return converted(self, None, devices.resolve("cuda"), False, memory_format)


# To Python and NumPy.

def readable(self: Tensor) -> Any:
    """The array, for reading; a meta tensor has nothing to read."""
    if isinstance(self._array, MetaArray):
        raise NotImplementedError(errors.message("Cannot copy out of meta tensor; no data!"))
    return self._array


@method
def item(self: Tensor) -> Any:
    """The only element, as a Python number; RuntimeError if there are more."""
    array = self._array
    if array.size != 1:
        raise RuntimeError(errors.message(
            f"a Tensor with {array.size} elements cannot be converted to Scalar",
            fix="reduce it first: x.mean().item(), or x.tolist() for all elements"))
    if isinstance(array, MetaArray):
        raise RuntimeError(errors.message("Tensor.item() cannot be called on meta tensors"))
    found = array.item()
    return found if array.dtype.kind != "V" else float(found)


@method
def tolist(self: Tensor) -> Any:
    """Elements as nested Python lists (a number for a 0-dim tensor)."""
    array = readable(self)
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    return array.tolist()


def refuse_followed(self: Tensor) -> None:
    if self._requires_grad:
        raise RuntimeError(errors.message(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() "
            "instead.", fix="x.detach().numpy()"))


@method
def numpy(self: Tensor, *, force: bool = False) -> Any:
    """The elements as a NumPy array that shares the memory (a copy only with ``force``)."""
    if not force:
        refuse_followed(self)
        if isinstance(self._array, MetaArray):
            raise TypeError(errors.message(
                "can't convert meta device type tensor to numpy. Use Tensor.cpu() to "
                "copy the tensor to host memory first."))
    if self._array.dtype.kind == "V":
        raise TypeError(errors.message("Got unsupported ScalarType BFloat16"))
    if switch.tape is not None:
        found = switch.tape.hand_over(self)
        if found is not None:
            return found
    storage = self.untyped_storage()
    if switch.tape is not None:
        switch.tape.shown(self._array)  # it may be written to from now on
    if isinstance(self._array, MetaArray):
        return self._array
    return shown_to_numpy(self._array, storage)


@method(name="__array__")
def array_protocol(self: Tensor, dtype: Any = None, copy: Any = None) -> Any:
    """What NumPy and matplotlib read; a gradient-following tensor must be detached first."""
    array = self.numpy()
    if dtype is not None and array.dtype != dtype:
        return array.astype(dtype)
    return array.copy() if copy else array


@method(name="__array_wrap__")
def array_wrap(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
    """Results of NumPy functions on tensors are tensors."""
    return wrap(np.asarray(array))


def scalar_protocol(convert: Any, name: str) -> Any:
    """`float(x)`, `int(x)` and their like."""
    def protocol(self: Tensor) -> Any:
        if self._array.size != 1:
            raise ValueError(errors.message(
                "only one element tensors can be converted to Python scalars",
                what=f"a tensor of shape {errors.of_shape(self._array.shape)}",
                fix="pick or reduce first: float(x[0]), float(x.mean())"))
        value = self.item()
        if value.__class__ is complex and convert is not complex:
            wanted = "int64_t" if convert is int else "double"
            raise RuntimeError(errors.message(
                f"value cannot be converted to type {wanted} without overflow",
                fix="x.real, x.imag or x.abs()"))
        return convert(value)
    protocol.__name__ = name
    return protocol


METHODS["__float__"] = scalar_protocol(float, "__float__")
METHODS["__int__"] = scalar_protocol(int, "__int__")
METHODS["__complex__"] = scalar_protocol(complex, "__complex__")


@method(name="__bool__")
def truth(self: Tensor) -> bool:
    """The truth of the only element; RuntimeError if there are more, or none."""
    array = self._array
    if array.size == 1:
        return bool(self.item())
    many = "more than one value" if array.size else "no values"
    raise RuntimeError(errors.message(
        f"Boolean value of Tensor with {many} is ambiguous",
        fix="say what is meant: (x > 0).all() or (x > 0).any()"))


@method(name="__index__")
def index_protocol(self: Tensor) -> int:
    """A whole number for use as an index."""
    if self._array.size == 1 and self._array.dtype.kind in "iub":
        return int(self._array.item())
    raise TypeError(errors.message(
        "only integer tensors of a single element can be converted to an index"))


@method(name="__contains__")
def contains(self: Tensor, element: Any) -> bool:
    """Whether any element equals `element`."""
    if isinstance(element, (Tensor, int, float, complex, bool, np.generic)):
        return bool((self == element).any())
    raise RuntimeError(errors.message(
        f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
        f"{element.__class__}."))


# Writing whole tensors.

@method
def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Write the elements of `src` here, broadcast and converted."""
    if not isinstance(src, Tensor):
        raise TypeError(errors.message(
            f"copy_(): argument 'other' (position 1) must be Tensor, "
            f"not {src.__class__.__name__}"))
    if isinstance(self._array, MetaArray):
        return self
    readable(src)
    if src._array.dtype != self._array.dtype:
        src = _cast(src, self.dtype)
    if src._array.shape != self._array.shape:
        src = _expand(src, self._array.shape)
    if switch.on and self._base is None and (src._requires_grad or self._requires_grad):
        src = _copied(self, src)
    return overwrite(self, src)


_copied = op("copy", lambda input, src: src, {
    "input": lambda g: g.new_zeros(g.shape), "src": lambda g: g}, node="CopyBackwards")


@method
def fill_(self: Tensor, value: Any) -> Tensor:
    """Write `value` everywhere."""
    if isinstance(value, Tensor):
        if value._array.ndim:
            raise RuntimeError(errors.message(
                "fill_ only supports 0-dimension value tensor but got tensor with "
                f"{value._array.ndim} dimensions."))
        value = value.to(self.dtype)
    else:
        value = wrap(cast(value, self.dtype))
    if switch.on and (self._requires_grad or value._requires_grad):
        return overwrite(self, _fill(self, value))
    return METHODS["copy_"](self, value)


@public
def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like `input`, `value` everywhere."""
    return METHODS["fill_"](input.clone(), value)


_fill = op("fill", lambda input, value: np.full_like(input, value), {
    "input": lambda g: g.new_zeros(g.shape), "value": lambda g: g.sum()})


@method
def zero_(self: Tensor) -> Tensor:
    """Write 0 everywhere."""
    return METHODS["fill_"](self, 0)


TORCH["zero_"] = METHODS["zero_"]
TORCH["fill_"] = METHODS["fill_"]


@method
def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Another shape in place; what was there stays at the front of the memory."""
    if self._requires_grad:
        raise RuntimeError(errors.message(
            "cannot resize variables that require grad", fix="x.detach().resize_(3)"))
    from kkori.ops.move import lengths
    shape = lengths(sizes)
    before_write(self)
    count = int(np.prod(shape, dtype=np.int64))
    flat = self._array.reshape(-1)
    if count > flat.size:
        grown = np.zeros(count, self._array.dtype)
        grown[:flat.size] = flat
        flat = grown
    self._array = flat[:count].reshape(shape)
    self._storage = None
    return self


@method
def set_(self: Tensor, source: Any = None, *rest: Any) -> Tensor:
    """Share the memory of `source`."""
    before_write(self)
    self._storage, self._array = source.untyped_storage(), source._array
    return self


@method
def apply_(self: Tensor, function: Any) -> Tensor:
    """Put ``function(element)`` in place of every element (slow, for small things)."""
    flat = [function(value) for value in self._array.reshape(-1).tolist()]
    return overwrite(self, wrap(np.asarray(flat, self._array.dtype).reshape(self._array.shape)))


@method
def map_(self: Tensor, other: Tensor, function: Any) -> Tensor:
    """Put ``function(element, other's element)`` in place of every element."""
    pairs = zip(self._array.reshape(-1).tolist(),
                np.broadcast_to(other._array, self._array.shape).reshape(-1).tolist(), strict=True)
    flat = np.asarray([function(a, b) for a, b in pairs], self._array.dtype)
    return overwrite(self, wrap(flat.reshape(self._array.shape)))


@method
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Itself: there is no other memory to copy to."""
    return self


@method
def share_memory_(self: Tensor) -> Tensor:
    """Itself: threads share memory as it is."""
    return self


@method(name="__deepcopy__")
def deep_copy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """A copy with its own memory; only leaves can be copied."""
    if self._node is not None:
        raise RuntimeError(errors.message(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment.  If you were attempting to deepcopy a module, this may be "
            "because of a torch.nn.utils.weight_norm usage, see "
            "https://github.com/pytorch/pytorch/pull/103001"))
    if id(self) in memo:
        return memo[id(self)]
    result = object.__new__(self.__class__)
    memo[id(self)] = result
    result._array = self._array.copy("K")
    result._requires_grad = self._requires_grad
    if self.is_leaf and self.grad is not None or self._grad is not None:
        result._grad = deep_copy(self._grad, memo)
    return result


@method(name="__reduce_ex__")
def reduce(self: Tensor, protocol: int) -> Any:
    """Pickled as its array; the tail stays behind."""
    kind = None if self.__class__ is Tensor else self.__class__  # Tensor calls itself torch's
    return rebuild, (kind, np.asarray(readable(self), order="C"), self._requires_grad)


def rebuild(kind: Any, array: Any, requires_grad: bool) -> Tensor:
    """A pickled tensor, made again."""
    tensor: Tensor = object.__new__(kind or Tensor)
    tensor._array = array
    tensor._requires_grad = requires_grad
    return tensor
