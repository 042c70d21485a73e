"""What the names in a checkpoint's pickle mean: the whole list, and how each is built.

A name that is not in `GLOBALS` is refused. Nothing in a file is ever called except what stands
here, and each of these checks its arguments: a file can bring plain data and nothing else.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from kkori.core import device as devices
from kkori.core import dtype as types
from kkori.core import layout, meta
from kkori.core.size import Size
from kkori.core.storage import Storage
from kkori.tensor import Tensor, wrap

__all__ = ["GLOBALS", "Callee", "StoredData", "check_key", "build"]

DEEPEST_KEY = 50


class Callee:
    """A name that a pickle may call: what is called instead of whatever the name says."""

    __slots__ = ("name", "make")

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        self.name, self.make = name, make

    def __repr__(self) -> str:
        return self.name


class StorageKind:
    """`torch.FloatStorage` and its like: the type of a buffer's elements."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: types.dtype | None) -> None:
        self.dtype = dtype


class StoredData:
    """A buffer of the file: raw bytes (None on the meta device), and the Storage they became."""

    __slots__ = ("raw", "dtype", "storage")

    def __init__(self, raw: np.ndarray | None, dtype: types.dtype) -> None:
        self.raw, self.dtype = raw, dtype
        self.storage = None if raw is None else Storage(raw.view(dtype.numpy))


def refuse(message: str) -> pickle.UnpicklingError:
    """The error for data that no honest file has."""
    return pickle.UnpicklingError(message)


def check_key(value: Any) -> Any:
    """`value`, which is to be hashed; hashing tuples nested too deeply would end the process."""
    level, depth = [value], 0
    while level:
        level = [part for item in level if type(item) is tuple for part in item]
        depth += 1
        if depth > DEEPEST_KEY:
            raise refuse(f"a key of tuples nested more than {DEEPEST_KEY} deep")
        if len(level) > 10_000:
            raise refuse("a key of more than 10000 parts")
    return value


# Tensors

def _tensor(data: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    if not isinstance(data, StoredData):
        raise refuse(f"a tensor needs a storage, but got {type(data).__name__}")
    for numbers in (size, stride):
        if not isinstance(numbers, tuple) or not all(type(n) is int for n in numbers):
            raise refuse(f"sizes and strides must be tuples of int, but got {numbers!r:.60}")
    _check_geometry(data, offset, size, stride)
    kind = data.dtype.numpy
    if data.raw is None:
        return wrap(meta.empty(size, kind))
    if prod(size) == 0:
        return wrap(np.empty(size, kind))
    steps = tuple(step * kind.itemsize for step in stride)
    tensor = wrap(np.ndarray(size, kind, data.raw, offset * kind.itemsize, steps))
    tensor._storage = data.storage
    return tensor


def _check_geometry(data: StoredData, offset: Any, size: Any, stride: Any) -> None:
    """RuntimeError, in PyTorch's words where it has some, for a layout outside the buffer."""
    if len(size) != len(stride):
        raise RuntimeError(
            f"unequal size length ({len(size)}) and stride length ({len(stride)})")
    if type(offset) is not int or offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    if len(size) > 64 or any(n < 0 for n in size) or prod(size) * data.dtype.itemsize >= 1 << 62:
        raise RuntimeError(f"numel: integer multiplication overflow\n  sizes: {list(size)}")
    if any(step < 0 for step in stride):
        raise RuntimeError("Storage size calculation overflowed with "
                           f"sizes={list(size)} and strides={list(stride)}")
    if data.raw is None or prod(size) == 0:
        return
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= data.raw.nbytes // data.dtype.itemsize:
        raise RuntimeError(
            "Trying to resize storage that is not resizable\n"
            f"  sizes {list(size)}, strides {list(stride)}, offset {offset}: element {last} of a "
            f"storage of {data.raw.nbytes // data.dtype.itemsize}")


def _with_flags(tensor: Tensor, requires_grad: Any, metadata: Any) -> Tensor:
    if isinstance(metadata, dict) and metadata.get("conj"):
        tensor = wrap(np.conj(tensor._array))
    if isinstance(metadata, dict) and metadata.get("neg"):
        tensor = wrap(np.negative(tensor._array))
    return tensor.requires_grad_() if requires_grad else tensor


def _rebuild_tensor_v2(data: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False,
                       hooks: Any = None, metadata: Any = None) -> Tensor:
    return _with_flags(_tensor(data, offset, size, stride), requires_grad, metadata)


def _rebuild_tensor_v3(data: Any, offset: Any, size: Any, stride: Any, requires_grad: Any,
                       hooks: Any, dtype: Any, metadata: Any = None) -> Tensor:
    if not isinstance(data, StoredData) or not isinstance(dtype, types.dtype):
        raise refuse("a tensor needs a storage and a dtype")
    if data.raw is not None and data.raw.nbytes % dtype.itemsize:
        raise refuse(f"a storage of {data.raw.nbytes} bytes cannot hold {dtype}")
    if data.dtype is not dtype:
        data.dtype = dtype
        data.storage = None if data.raw is None else Storage(data.raw.view(dtype.numpy))
    return _rebuild_tensor_v2(data, offset, size, stride, requires_grad, hooks, metadata)


def _rebuild_meta(dtype: Any, size: Any, stride: Any, requires_grad: Any = False) -> Tensor:
    if not isinstance(dtype, types.dtype):
        raise refuse(f"a tensor needs a dtype, but got {type(dtype).__name__}")
    return _with_flags(_tensor(StoredData(None, dtype), 0, size, stride), requires_grad, None)


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any = None, state: Any = None) -> Any:
    from kkori.nn.parameter import Parameter
    if not isinstance(data, Tensor):
        raise refuse(f"a parameter needs a tensor, but got {type(data).__name__}")
    parameter = Parameter(data, requires_grad=bool(requires_grad))
    return _with_attributes(parameter, state)


def _rebuild_from_type(make: Any, kind: Any, args: Any, state: Any) -> Any:
    if not isinstance(make, Callee) or not isinstance(args, tuple):
        raise refuse("a tensor with attributes is not described as one")
    tensor = make.make(*args)
    if not isinstance(tensor, Tensor):
        raise refuse(f"a tensor with attributes was expected, not {type(tensor).__name__}")
    return _with_attributes(tensor, state)


def _with_attributes(tensor: Any, state: Any) -> Any:
    """Give a tensor the attributes that a user had set on it; names that it has mean no others."""
    named = state[0] if isinstance(state, tuple) and state else state
    for name, value in (named or {}).items() if isinstance(named, dict | None) else ():
        if isinstance(name, str) and not name.startswith("_") and not hasattr(type(tensor), name):
            setattr(tensor, name, value)
    return tensor


# Plain values

def _ordered_dict(pairs: Any = ()) -> OrderedDict:
    return OrderedDict((check_key(key), value) for key, value in pairs)


def _counter(counts: Any = ()) -> Counter:
    return Counter(counts if type(counts) is dict else [check_key(item) for item in counts])


def _set(items: Any = ()) -> set:
    return {check_key(item) for item in items}


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if type(text) is not str or encoding not in ("latin1", "utf-8", "ascii"):
        raise refuse("bytes are not described as such")
    return text.encode(encoding)


def _empty_bytes() -> bytes:  # the only call that a pickle of bytes makes
    return b""


def _bytearray(content: Any = b"") -> bytearray:
    if type(content) is not bytes:  # a number would ask for that much memory
        raise refuse(f"a bytearray needs bytes, but got {type(content).__name__}")
    return bytearray(content)


def _complex(real: Any = 0.0, imag: Any = 0.0) -> complex:
    if type(real) not in (int, float) or type(imag) not in (int, float):
        raise refuse("a complex number needs two numbers")
    return complex(real, imag)


def _size(lengths: Any = ()) -> Size:
    if not isinstance(lengths, tuple | list) or not all(type(n) is int for n in lengths):
        raise refuse("a size needs a tuple of int")
    return Size(lengths)


def _layout(name: Any) -> Any:
    known = {repr(value): value for value in vars(layout).values()
             if isinstance(value, layout.layout)}
    if name not in known:
        raise refuse(f"unknown layout {name!r:.40}")
    return known[name]


# NumPy's numbers and arrays

PLAIN_NUMPY = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|c8|c16)")


def _numpy_type(name: Any, align: Any = False, copy: Any = True) -> np.dtype:
    if not isinstance(name, str) or not PLAIN_NUMPY.fullmatch(name):
        raise refuse(f"NumPy data of type {name!r:.40} is not plain numbers")
    return np.dtype(name, copy=True)


def _numpy_scalar(kind: Any, content: Any) -> Any:
    if not isinstance(kind, np.dtype) or type(content) is not bytes or (
            len(content) != kind.itemsize):
        raise refuse("a NumPy number is not described as one")
    return np.frombuffer(content, kind)[0]


def _numpy_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    if not isinstance(kind, Callee) or kind.name != "numpy.ndarray":
        raise refuse("a NumPy array is not described as one")
    return np.empty(0, np.uint8)


def _not_made(*args: Any) -> Any:
    raise refuse("this class is only a name here, it is not called")


def build(instance: Any, state: Any) -> None:
    """Give a fresh object its state: what the pickle instruction BUILD is for."""
    if type(instance) is OrderedDict:
        if not isinstance(state, dict):
            raise refuse("the attributes of an OrderedDict must be a dict")
        vars(instance).update({name: value for name, value in state.items()
                               if isinstance(name, str) and not hasattr(OrderedDict, name)})
    elif isinstance(instance, np.dtype):
        _build_numpy_type(instance, state)
    elif type(instance) is np.ndarray:
        _build_numpy_array(instance, state)
    else:
        raise refuse("Can only build Tensor, Parameter, OrderedDict or types allowlisted via "
                     f"`add_safe_globals`, but got {type(instance)}")


def _build_numpy_type(kind: Any, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
        raise refuse("a NumPy dtype is not described as one")
    kind.__setstate__((3, state[1], None, None, None, -1, -1, 0))


def _build_numpy_array(array: Any, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) != 5:
        raise refuse("a NumPy array is not described as one")
    _, shape, kind, fortran, content = state
    if (not isinstance(kind, np.dtype) or type(content) is not bytes or not isinstance(shape, tuple)
            or not all(type(n) is int and n >= 0 for n in shape)
            or prod(shape) * kind.itemsize != len(content)):
        raise refuse("a NumPy array does not have the size that its shape says")
    array.__setstate__((1, shape, kind, bool(fortran), content))


# The list

def _callees() -> dict[str, Any]:
    makers: dict[str, Callable[..., Any]] = {
        "collections.OrderedDict": _ordered_dict, "collections.Counter": _counter,
        "builtins.set": _set, "builtins.bytes": _empty_bytes,
        "builtins.bytearray": _bytearray, "builtins.complex": _complex,
        "_codecs.encode": _encode, "torch.Size": _size, "torch.device": devices.device,
        "torch.serialization._get_layout": _layout,
        "torch._utils._rebuild_tensor": _rebuild_tensor_v2,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
        "torch._utils._rebuild_meta_tensor_no_storage": _rebuild_meta,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
        "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
        "torch.Tensor": _not_made, "torch.nn.parameter.Parameter": _not_made,
        "numpy.dtype": _numpy_type, "numpy.ndarray": _not_made,
    }
    for core in ("core", "_core"):  # NumPy 1 and 2
        makers[f"numpy.{core}.multiarray.scalar"] = _numpy_scalar
        makers[f"numpy.{core}.multiarray._reconstruct"] = _numpy_array
    return {name: Callee(name, make) for name, make in makers.items()}


def _globals() -> dict[str, Any]:
    found = _callees()
    for dtype in types.BY_NAME.values():
        found[repr(dtype)] = dtype
        found[f"torch.{dtype.alias}Storage"] = StorageKind(dtype)
    found["torch.storage.UntypedStorage"] = StorageKind(None)
    return found


GLOBALS = _globals()
