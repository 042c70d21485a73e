"""Making tensors: from numbers, lists and arrays, or filled by a rule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.core import device as devices
from kkori.core import dtype as types
from kkori.core import errors, meta
from kkori.core.dtype import dtype
from kkori.core.layout import preserve_format, strided
from kkori.core.meta import MetaArray
from kkori.core.promise import model_of
from kkori.core.promotion import cast
from kkori.core.size import contiguous_strides
from kkori.core.storage import taken_from_numpy
from kkori.ops.convert import cast_array
from kkori.ops.move import lengths
from kkori.ops.table import METHODS, TORCH, invalid_combination, method, op, public, type_name
from kkori.tensor import Tensor, followed, share, wrap


def finish(array: Any, place: Any, requires_grad: bool) -> Tensor:
    """A new tensor of `array` on its device."""
    if place is not None or getattr(devices._default, "stack", None):
        if devices.resolve(place).type == "meta":
            array = meta.empty(array.shape, array.dtype)
    tensor = wrap(array)
    return followed(tensor) if requires_grad else tensor


# From data.

def array_of(data: Any, row: dtype | None) -> Any:
    """A new array of numbers, nested sequences, tensors or arrays; PyTorch's type rules."""
    if isinstance(data, Tensor):
        found = data._array.copy()
    elif isinstance(data, np.ndarray):
        found = native(data).copy()
    elif hasattr(data, "to_numpy"):  # pandas
        found = native(data.to_numpy()).copy()
    elif isinstance(data, np.generic):
        found = np.asarray(data)
    elif isinstance(data, (bool, int, float, complex)):
        return number_array(data, row)
    elif hasattr(data, "__array__") and not isinstance(data, (list, tuple)):
        found = native(np.asarray(data)).copy()
    else:
        return sequence_array(data, row)
    types.of(found.dtype)
    return found if row is None or found.dtype == row.numpy else cast_array(found, row)


def native(array: Any) -> Any:
    """An array in this machine's byte order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def number_array(value: Any, row: dtype | None) -> Any:
    """A 0-dim array of a Python number."""
    row = row or types.OF_PYTHON[value.__class__ if value.__class__ in types.OF_PYTHON else
                                 next(k for k in types.OF_PYTHON if isinstance(value, k))]
    if isinstance(value, complex) and row.kind in (types.INTEGRAL, types.FLOATING):
        raise not_real(row)
    try:
        return np.asarray(value, row.numpy)
    except OverflowError:
        raise overflow(value, row) from None


def overflow(value: Any, row: dtype) -> Exception:
    """A number too large for its type, or for any."""
    if isinstance(value, int) and not -2**63 <= value < 2**63:
        return ValueError("Overflow when unpacking long long")
    limits = types.iinfo(row)
    return RuntimeError(errors.message(
        f"value cannot be converted to type {row.name} without overflow",
        what=f"{value} is not in {row!r}'s range of {limits.min} to {limits.max}",
        fix="take a type that holds it: dtype=torch.int64"))


def sequence_array(data: Any, row: dtype | None) -> Any:
    """An array of nested sequences; all branches must have equal lengths."""
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type_name(data)}'")
    if isinstance(data, dict) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        if hasattr(data, "__iter__") or not hasattr(data, "__index__"):
            raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
        return number_array(int(data), row)
    plain = plain_lists(data)
    try:
        found = np.asarray(plain)
    except ValueError:
        raise ragged(plain) from None
    except OverflowError:
        raise ValueError("Overflow when unpacking long long") from None
    if found.dtype.kind in "USO":
        raise wrong_leaf(plain)
    if row is None:
        row = inferred(found, plain)
    if found.dtype == np.uint64 and row.kind != types.INTEGRAL:
        found = found.astype(np.float64)
    if row.kind == types.INTEGRAL and found.dtype != row.numpy and found.dtype.kind != "b":
        check_fits(found, row)
    if row.kind == types.FLOATING and found.dtype.kind == "c":
        raise not_real(row)
    return cast_array(found, row)


def not_real(row: dtype) -> TypeError:
    """Complex numbers do not become others by themselves."""
    return TypeError(errors.message(
        "must be real number, not complex" if row.kind == types.FLOATING else
        "'complex' object cannot be interpreted as an integer", fix="value.real"))


def check_fits(found: Any, row: dtype) -> None:
    """RuntimeError where a number does not fit; unsigned types take negative whole ones too."""
    if found.dtype.kind == "c":
        raise not_real(row)
    limits = types.iinfo(row)
    low = limits.min if row.is_signed else -limits.max if found.dtype.kind in "iu" else 0
    for value in (found.min(), found.max()) if found.size else ():
        if not low <= value <= limits.max:
            raise overflow(value.item(), row)


def plain_lists(data: Any) -> Any:
    """Nested sequences with tensors inside turned into arrays."""
    if isinstance(data, (range, np.ndarray)):
        return data
    if data.__class__ is list and data and isinstance(data[0], (int, float)):
        return data if not any_tensor(data) else [leaf(part) for part in data]
    return [leaf(part) for part in data]


def any_tensor(data: list[Any]) -> bool:
    return any(isinstance(part, Tensor) for part in data)


def leaf(part: Any) -> Any:
    if isinstance(part, Tensor):
        if part._array.size != 1:
            raise ValueError(errors.message(
                "only one element tensors can be converted to Python scalars",
                what=f"a list of tensors, one of shape {errors.of_shape(part._array.shape)}",
                fix="torch.stack(tensors), or torch.cat(tensors)"))
        return part._array.item()
    if isinstance(part, (list, tuple)):
        return plain_lists(part)
    return part


def ragged(data: Any, depth: int = 0) -> Exception:
    """The first branch whose length differs from its first sibling's, in PyTorch's words."""
    shape = []
    part = data
    while isinstance(part, (list, tuple, np.ndarray)) and len(part):
        shape.append(len(part))
        part = part[0]
    level = [data]
    for dim, expected in enumerate(shape):
        for branch in level:
            if not isinstance(branch, (list, tuple, np.ndarray)):
                return TypeError("not a sequence")
            if len(branch) != expected:
                return ValueError(errors.message(
                    f"expected sequence of length {expected} at dim {dim} (got {len(branch)})",
                    fix="pad the rows to one length, e.g. torch.nn.utils.rnn.pad_sequence"))
        level = [child for branch in level for child in branch]
    first = first_leaf(data)
    for part in level:
        if isinstance(part, (list, tuple, np.ndarray)):
            kind = type(part).__name__
            return TypeError(errors.message(
                f"'{kind}' object cannot be interpreted as an integer" if type(first) is int else
                f"must be real number, not {kind}",
                fix="the same number of brackets around every number"))
    return ValueError("too many dimensions")


def wrong_leaf(data: Any) -> Exception:
    """What stands where a number should, in PyTorch's words."""
    if isinstance(first_leaf(data), str):
        return ValueError(errors.message(
            "too many dimensions 'str'", fix="turn text into numbers first: [float(s) for s in x]"))
    odd = [part for part in leaves(data) if not isinstance(part, (int, float, complex))]
    if not odd:
        return ValueError(errors.message("Overflow when unpacking long long"))
    if isinstance(odd[0], str):
        return TypeError(errors.message("new(): invalid data type 'str'"))
    return RuntimeError(errors.message(f"Could not infer dtype of {type(odd[0]).__name__}"))


def first_leaf(data: Any) -> Any:
    """What stands first in nested sequences."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def leaves(data: Any) -> Iterator[Any]:
    """All that stands in nested sequences, in order."""
    waiting = [data]
    while waiting:
        part = waiting.pop()
        if isinstance(part, (list, tuple)):
            waiting += part[::-1]
        else:
            yield part


def inferred(found: Any, data: Any) -> dtype:
    """The type of a list's tensor: of its Python numbers, or of the arrays inside."""
    if not found.size:
        return types.get_default_dtype()
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    if isinstance(data, (np.ndarray, np.generic)):
        return types.of(found.dtype)
    return types.OF_PYTHON[{"b": bool, "i": int, "u": int, "f": float, "c": complex}[
        found.dtype.kind]]


@public(method=False, out=False)
def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:
    """A new tensor of numbers, nested lists, arrays or pandas columns; always copies.

    Python floats become the default type, float32; NumPy's float64 stays (``torch.tensor``).

    >>> import kkori as torch
    >>> torch.tensor([[1.0, 2.0], [3.0, 4.0]]).shape
    torch.Size([2, 2])
    """
    if isinstance(data, Tensor):
        import warnings
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach()."
            "clone() or sourceTensor.detach().clone().requires_grad_(True), rather than "
            "torch.tensor(sourceTensor).", UserWarning, stacklevel=3)
    return finish(array_of(data, dtype), device, requires_grad)


@public(method=False, out=False, aliases=("asarray",))
def as_tensor(data: Any, dtype: Any = None, device: Any = None, *, copy: Any = None,
              requires_grad: bool = False) -> Tensor:
    """A tensor that shares memory with `data` where it can (``torch.as_tensor``)."""
    if isinstance(data, Tensor):
        same = dtype is None or dtype is data.dtype
        if copy:
            return data.clone() if same else data.to(dtype)
        return data.to(dtype=dtype, device=device)
    if isinstance(data, np.ndarray) and not copy and (dtype is None or data.dtype == dtype.numpy):
        return from_numpy(data)
    return finish(array_of(data, dtype), device, requires_grad)


@public(method=False, out=False)
def from_numpy(ndarray: Any) -> Tensor:
    """A tensor on the memory of a NumPy array (``torch.from_numpy``)."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    types.of(ndarray.dtype)
    if not ndarray.dtype.isnative:
        raise ValueError("given numpy array has byte order different from the native byte order. "
                         "Conversion between byte orders is currently not supported.")
    if any(step < 0 for step in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array  with array.copy().) ")
    if not ndarray.flags.writeable:
        import warnings
        warnings.warn(READ_ONLY, UserWarning, stacklevel=3)
    if type(ndarray) is not np.ndarray or ndarray.dtype.kind == "V":
        return wrap(ndarray)
    inner, storage = taken_from_numpy(ndarray)
    tensor = wrap(inner)
    tensor._storage = storage
    return tensor


READ_ONLY = (
    "The given NumPy array is not writable, and PyTorch does not support non-writable tensors. "
    "This means writing to this tensor will result in undefined behavior. You may want to copy "
    "the array to protect its data or make it writable before converting it to a tensor. This "
    "type of warning will be suppressed for the rest of this program.")


@public(method=False, out=False)
def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0,
               requires_grad: bool = False) -> Tensor:
    """A tensor on the memory of a bytes-like object (``torch.frombuffer``)."""
    return finish(np.frombuffer(buffer, dtype.numpy, count, offset), None, requires_grad)


def legacy_tensor(kind: Any, row: dtype, *data: Any, **options: Any) -> Tensor:
    """``torch.Tensor(...)``: sizes make an unfilled tensor, a sequence makes its numbers."""
    if not data:
        found = wrap(np.empty(0, row.numpy))
    elif len(data) == 1 and isinstance(data[0], Tensor):
        if data[0]._array.dtype != row.numpy:
            raise TypeError(f"expected {row.alias} (got {data[0].dtype.alias})")
        found = share(data[0])
    elif len(data) == 1 and not isinstance(data[0], (int, tuple)) or (
            len(data) == 1 and isinstance(data[0], tuple) and not is_size(data[0])):
        found = wrap(array_of(data[0], row))
    elif len(data) == 1 and data[0].__class__ is tuple:
        found = wrap(array_of(data[0], row))
    else:
        found = wrap(np.zeros(lengths(data), row.numpy))
    if kind is not Tensor and isinstance(kind, type) and issubclass(kind, Tensor):
        special = object.__new__(kind)
        special.__dict__.update(found.__dict__)
        return special
    return found


def is_size(value: Any) -> bool:
    return type(value).__name__ == "Size"


# Filled by a rule.

def size_given(name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes as `lengths` reads them, checked to be whole and not negative."""
    listed = size[0] if len(size) == 1 and hasattr(size[0], "__iter__") else size
    for place, length in enumerate(listed):
        if length.__class__ is not int and not hasattr(length, "__index__"):
            raise not_a_size(name, listed is size, place, length)
    shape = lengths(size)
    if name == "zeros" and shape and min(shape) < 0:
        raise RuntimeError(errors.message("zeros: Dimension size must be non-negative."))
    return shape


def not_a_size(name: str, direct: bool, place: int, found: Any) -> TypeError:
    """A length that is no whole number."""
    kind = type_name(found)
    if not place and (direct or kind == "str"):
        return TypeError(errors.message(
            f"{name}(): argument 'size' (position 1) must be tuple of ints, not {kind}",
            fix=f"torch.{name}(int(n))"))
    return TypeError(errors.message(
        f"{name}(): argument 'size' failed to unpack the object at pos {place + 1} with error "
        f'"type must be tuple of ints,but got {kind}"', fix=f"torch.{name}(2, int(n))"))


def new_array(shape: Any, row: Any, place: Any, value: Any) -> Any:
    """An array of `shape` filled with `value` (None: left as it is)."""
    kind = (row or types.get_default_dtype()).numpy
    if devices.resolve(place).type == "meta":
        return meta.empty(shape, kind)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension "
                           f"{min(shape)}: {errors.of_shape(shape)}")
    try:
        if value is None or value == 0:
            return np.zeros(shape, kind)
        return np.full(shape, cast(value, types.of(kind)), kind)
    except (MemoryError, ValueError) as error:
        size = math.prod(shape) * kind.itemsize
        raise RuntimeError(f"[enforce fail at alloc_cpu.cpp] err == 0. DefaultCPUAllocator: can't "
                           f"allocate memory: you tried to allocate {size} bytes.") from error


def maker(name: str, value: Any, doc: str) -> Any:
    """torch.zeros, torch.ones or torch.empty."""
    def make(*size: Any, dtype: Any = None, layout: Any = strided, device: Any = None,
             requires_grad: bool = False, pin_memory: bool = False,
             memory_format: Any = None, names: Any = None, **named: Any) -> Tensor:
        shape = size_given(name, size or (named["size"],))
        found = wrap(new_array(shape, dtype, device, value))
        return followed(found) if requires_grad else found
    make.__doc__ = doc
    return public(make, name=name, method=False)


zeros = maker("zeros", 0, "A tensor of the given size filled with 0 (``torch.zeros``).")
ones = maker("ones", 1, "A tensor of the given size filled with 1 (``torch.ones``).")
empty = maker("empty", None, "A tensor of the given size; kkori fills it with 0 "
              "(``torch.empty``).")


@public(method=False)
def full(size: Any, fill_value: Any, *, dtype: Any = None, layout: Any = strided,
         device: Any = None, requires_grad: bool = False, names: Any = None) -> Tensor:
    """A tensor of `size` filled with `fill_value`, whose type it takes (``torch.full``)."""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    row = dtype or types.OF_PYTHON[value.__class__ if value.__class__ in types.OF_PYTHON else float]
    found = wrap(new_array(lengths((size,)), row, device, value))
    return followed(found) if requires_grad else found


def like_maker(name: str, value: Any) -> Any:
    """torch.zeros_like and its family."""
    def make(input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None,
             requires_grad: bool = False, pin_memory: bool = False,
             memory_format: Any = preserve_format) -> Tensor:
        return like(input, value, dtype, device, requires_grad, memory_format)
    make.__doc__ = f"A tensor of the size and type of `input` (``torch.{name}``)."
    return public(make, name=name, method=False)


def like(input: Tensor, value: Any, row: Any, place: Any, requires_grad: bool,
         order: Any = preserve_format) -> Tensor:
    """A tensor shaped and laid out as `input`, filled with `value`."""
    array, kind = input._array, (row or input.dtype).numpy
    where = devices.resolve(place) if place is not None else input.device
    if where.type == "meta":
        found: Any = meta.empty(array.shape, kind)
    elif isinstance(array, MetaArray):
        found = np.zeros(array.shape, kind)
    else:
        layout = "K" if order is preserve_format else "C"
        found = np.zeros_like(model_of(array), kind, layout, False)  # type: ignore[call-overload]
    if value:
        found[...] = value
    tensor = wrap(found)
    return followed(tensor) if requires_grad else tensor


zeros_like = like_maker("zeros_like", 0)
ones_like = like_maker("ones_like", 1)
empty_like = like_maker("empty_like", None)


@public(method=False)
def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None, layout: Any = None,
              device: Any = None, requires_grad: bool = False,
              memory_format: Any = preserve_format) -> Tensor:
    """A tensor of the size and type of `input` filled with `fill_value`."""
    return like(input, fill_value, dtype, device, requires_grad)


_filled = op("filled", lambda input, shape, value: np.full(shape, value, input.dtype))


def new_maker(name: str, value: Any) -> None:
    """x.new_zeros and its family: x's type and device."""
    def make(self: Tensor, *size: Any, dtype: Any = None, device: Any = None,
             requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
             **named: Any) -> Tensor:
        shape = lengths(size or (named["size"],))
        if switch.tape is not None and switch.tape.inside is not None and value is not None and (
                dtype is None and device is None and not requires_grad):
            return _filled(self, shape, value)  # in a gradient rule that is being recorded
        found = wrap(new_array(shape, dtype or self.dtype,
                               self.device if device is None else device, value))
        return followed(found) if requires_grad else found
    make.__name__ = name
    make.__doc__ = "A new tensor of this type and device, of the given size."
    METHODS[name] = make


for _name, _value in {"new_zeros": 0, "new_ones": 1, "new_empty": None}.items():
    new_maker(_name, _value)


@method
def new_full(self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None,
             requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Tensor:
    """A new tensor of this type and device filled with `fill_value`."""
    return full(size, fill_value, dtype=dtype or self.dtype, device=device or self.device,
                requires_grad=requires_grad)


@method
def new_tensor(self: Tensor, data: Any, *, dtype: Any = None, device: Any = None,
               requires_grad: bool = False) -> Tensor:
    """A new tensor of `data` in this type."""
    return finish(array_of(data, dtype or self.dtype), device, requires_grad)


@method
def new_empty_strided(self: Tensor, size: Any, stride: Any, *, dtype: Any = None,
                      device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor of this type with the given strides, in elements."""
    return empty_strided(size, stride, dtype=dtype or self.dtype, device=device,
                         requires_grad=requires_grad)


@public(method=False, out=False)
def empty_strided(size: Any, stride: Any, *, dtype: Any = None, layout: Any = None,
                  device: Any = None, requires_grad: bool = False,
                  pin_memory: bool = False) -> Tensor:
    """A tensor with the given strides, in elements (``torch.empty_strided``)."""
    shape, strides = lengths((size,)), lengths((stride,))
    kind = (dtype or types.get_default_dtype()).numpy
    if tuple(strides) == contiguous_strides(shape):
        return finish(np.zeros(shape, kind), device, requires_grad)
    count = 1 + sum(s * (n - 1) for s, n in zip(strides, shape, strict=True)) \
        if math.prod(shape) else 0
    array = np.ndarray(shape, kind, np.zeros(max(count, 1), kind), 0,
                       tuple(s * kind.itemsize for s in strides))
    return finish(array, device, requires_grad)


def range_type(values: Any) -> dtype:
    """int64 for whole bounds, the default floating type otherwise."""
    whole = all(isinstance(value, (int, np.integer)) for value in values)
    return types.int64 if whole else types.get_default_dtype()


def plain_number(value: Any) -> Any:
    return value.item() if isinstance(value, (Tensor, np.generic)) else value  # type: ignore[union-attr]


@public(method=False)
def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None,
           layout: Any = strided, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:
    """Numbers from `start` up to, not including, `end` (``torch.arange``)."""
    if end is None:
        start, end = 0, start
    start, end, step = plain_number(start), plain_number(end), plain_number(step)
    check_range(start, end, step)
    row = dtype or range_type((start, end, step))
    if row is types.int64:
        start, end, step = int(start), int(end), int(step)
    count = max(math.ceil((end - start) / step), 0)
    if row.kind < types.FLOATING:
        array = int(start) + np.arange(count) * int(step)
    else:
        array = start + np.arange(count, dtype=np.float64) * step
    return finish(array.astype(row.numpy), device, requires_grad)


def check_range(start: Any, end: Any, step: Any) -> None:
    """The errors of arange(), in PyTorch's words."""
    if step == 0:
        raise RuntimeError(errors.message("step must be nonzero"))
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(errors.message(f"unsupported range: {start:g} -> {end:g}"))
    if (end - start) * step < 0:
        raise RuntimeError(errors.message(
            "upper bound and lower bound inconsistent with step sign"))


@public(method=False)
def range_(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None,
           device: Any = None, requires_grad: bool = False, layout: Any = strided) -> Tensor:
    """Numbers from `start` to `end`, both included (``torch.range``)."""
    count = math.floor((end - start) / step) + 1
    row = dtype or types.get_default_dtype()
    return finish((start + np.arange(count) * step).astype(row.numpy), device, requires_grad)


TORCH["range"] = TORCH.pop("range_")


@public(method=False, overloaded=True)
def linspace(start: Any, end: Any, steps: int, *, dtype: Any = None, layout: Any = strided,
             device: Any = None, requires_grad: bool = False) -> Tensor:
    """`steps` numbers from `start` to `end`, evenly spaced (``torch.linspace``).

    Computed from both ends towards the middle in the result's own type, as PyTorch does.
    """
    row = dtype or types.get_default_dtype()
    first, last = checked_ends("linspace", start, end, steps)
    return finish(linspace_array(first, last, steps, row), device, requires_grad)


def checked_ends(name: str, start: Any, end: Any, steps: Any) -> tuple[Any, Any]:
    """Both ends as numbers, after PyTorch's checks."""
    if not isinstance(steps, (int, np.integer)):
        raise invalid_combination(name, start, end, steps)
    one, two = (value.ndim if isinstance(value, Tensor) else 0 for value in (start, end))
    if one or two:
        raise RuntimeError(errors.message(
            f"{name} only supports 0-dimensional start and end tensors, but got start with {one} "
            f"dimension(s) and end with {two} dimension(s)."))
    if steps < 0:
        raise RuntimeError(errors.message("number of steps must be non-negative"))
    return plain_number(start), plain_number(end)


def linspace_array(start: Any, end: Any, steps: int, row: dtype) -> Any:
    """Evenly spaced numbers, exact at both ends."""
    kind = row.numpy if row.kind >= types.FLOATING else np.dtype(np.float64)
    if row.kind < types.FLOATING:
        start, end = int(start), int(end)
    if steps == 1:
        return np.full(1, start).astype(row.numpy)
    first, last = np.asarray(start, kind), np.asarray(end, kind)
    step = np.asarray((last - first) / np.asarray(max(steps - 1, 1), kind), kind)
    places = np.arange(steps)
    half = steps // 2
    up = first + step * places.astype(kind)
    down = last - step * (steps - 1 - places).astype(kind)
    return np.where(places < half, up, down).astype(row.numpy)


@public(method=False, overloaded=True)
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: Any = None,
             layout: Any = strided, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`base` to the powers of an even spacing (``torch.logspace``)."""
    row = dtype or types.get_default_dtype()
    first, last = checked_ends("logspace", start, end, steps)
    if row.kind < types.FLOATING:
        first, last = int(first), int(last)
    wide = types.float64 if row.kind < types.COMPLEX else types.complex128
    powers = linspace_array(first, last, steps, wide)
    return finish(np.power(base, powers).astype(row.numpy), device, requires_grad)


@public(method=False)
def eye(n: int, m: int | None = None, *, dtype: Any = None, layout: Any = strided,
        device: Any = None, requires_grad: bool = False) -> Tensor:
    """A matrix with 1 on the diagonal, 0 elsewhere (``torch.eye``)."""
    row = dtype or types.get_default_dtype()
    if n < 0:
        raise RuntimeError(errors.message(f"n must be greater or equal to 0, got {n}"))
    if m is not None and m < 0:
        raise RuntimeError(errors.message(f"m must be greater or equal to 0, got {m}"))
    return finish(np.eye(n, m, dtype=row.numpy), device, requires_grad)


@public(method=False, out=False)
def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, layout: Any = None,
                  requires_grad: bool = False) -> Tensor:
    """A 0-dim tensor of a number."""
    return finish(cast(s, dtype or types.get_default_dtype()), device, requires_grad)


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Tensor)


TORCH["is_tensor"] = is_tensor


@public(method=False, out=False)
def detach(input: Tensor) -> Tensor:
    """The same elements without the tail."""
    return share(input)
