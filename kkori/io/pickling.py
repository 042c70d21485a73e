"""Writing a checkpoint's pickle: plain data in the instructions that PyTorch's loader accepts.

Nothing is looked up by name and nothing is asked to describe itself, so what comes out is what
`WRITERS` lists. Nesting of any depth is only memory: each writer is a generator that yields its
parts, and a stack of them takes the place of recursion.
"""

from __future__ import annotations

import pickle
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from kkori.core import device as devices
from kkori.core import dtype as types
from kkori.core import layout
from kkori.core.meta import MetaArray
from kkori.core.promise import settle
from kkori.core.size import Size
from kkori.tensor import Tensor
from kkori.version import TorchVersion

__all__ = ["dump"]

BATCH = 1000  # items that one APPENDS or SETITEMS brings
PLAIN = ("None, bool, int, float, complex, str, bytes, list, tuple, dict, set, OrderedDict, "
         "Counter, tensors, parameters, sizes, dtypes, devices, and NumPy's numbers and arrays")
TWO_TYPES = ("Cannot save multiple tensors or storages that view the same data as different types")


class Global:
    """A name for the reader to look up."""

    __slots__ = ("text",)

    def __init__(self, module: str, name: str) -> None:
        self.text = f"{module}\n{name}\n".encode()


class Call:
    """A call for the reader to make: a name and its arguments."""

    __slots__ = ("name", "args")

    def __init__(self, name: Global, *args: Any) -> None:
        self.name, self.args = name, args


class Stored:
    """A buffer that is a record of its own; the pickle only refers to it."""

    __slots__ = ("identity",)

    def __init__(self, *identity: Any) -> None:
        self.identity = identity


def dump(value: Any) -> tuple[bytes, list[memoryview]]:
    """The pickle of `value`, and the buffers that become the records data/0, data/1, ...

    PicklingError, with the way to it, for anything that is not plain data.
    """
    writer = Writer()
    writer.write(value)
    return b"".join(writer.out), [_flat(owner).data for owner in writer.owners]


class Writer:
    """The instructions so far, what has been written already, and the buffers referred to."""

    def __init__(self) -> None:
        self.out: list[bytes] = [pickle.PROTO, b"\x02"]
        self.memo: dict[int, int] = {}
        self.kept: list[Any] = []  # an id is only good while its object lives
        self.names: dict[bytes, int] = {}
        self.owners: list[np.ndarray] = []  # the arrays whose memory is saved, in order
        self.types: list[types.dtype] = []  # what each owner holds
        self.places: dict[int, int] = {}  # id of an owner -> its number

    def write(self, value: Any) -> None:
        """Write `value` and all that is in it."""
        trail: list[Any] = [None]  # the value that each pending writer is writing
        pending: list[Iterator[Any]] = [iter((value,))]
        open_tuples: set[int] = set()
        while pending:
            part = next(pending[-1], _END)
            if part is _END:
                pending.pop()
                trail.pop()
                continue
            memoized = self.memo.get(id(part))
            if memoized is not None:
                self.out.append(_indexed(pickle.BINGET, pickle.LONG_BINGET, memoized))
                continue
            if type(part) is tuple and _enters(part, open_tuples):
                raise pickle.PicklingError("a tuple that contains itself cannot be saved")
            writer = _writer_of(part)
            if writer is None:
                raise _not_plain(part, trail[1:])
            parts = writer(self, part)
            if parts is not None:
                pending.append(parts)
                trail.append(part)
        self.out.append(pickle.STOP)

    def remember(self, value: Any) -> None:
        """Number what was just written; the next time, the number is written in its place."""
        index = len(self.kept)
        self.kept.append(value)
        self.memo[id(value)] = index
        self.out.append(_indexed(pickle.BINPUT, pickle.LONG_BINPUT, index))


_END = object()


def _enters(value: tuple, open_tuples: set[int]) -> bool:
    """Whether `value` is being written already, for then it contains itself."""
    if id(value) in open_tuples:
        return True
    if value:
        open_tuples.add(id(value))
    return False


def _indexed(short: bytes, long: bytes, index: int) -> bytes:
    return short + bytes([index]) if index < 256 else long + struct.pack("<I", index)


def _writer_of(value: Any) -> Callable[[Writer, Any], Iterator[Any] | None] | None:
    found = WRITERS.get(type(value))
    if found is None:
        for kind, writer in SUBCLASSES:
            if isinstance(value, kind):
                return writer
    return found


def _not_plain(value: Any, trail: list[Any]) -> pickle.PicklingError:
    """The error for a value that no writer knows, with the way to it."""
    way = "".join(map(_label, trail, [*trail[1:], value]))
    return pickle.PicklingError(
        f"Can't pickle {value!r:.80}: torch.save here writes plain data only\n"
        f"  found: {type(value).__module__}.{type(value).__qualname__}"
        + (f" at obj{way}" if way else "") +
        f"\n  plain: {PLAIN}\n"
        f"  fix: {_fix_for(value)}")


def _label(parent: Any, child: Any) -> str:
    """Where `child` stands in `parent`, as it would be written: ['model'], [0]."""
    pairs = parent.items() if isinstance(parent, dict) else enumerate(
        parent if isinstance(parent, list | tuple) else ())
    return next((f"[{key!r}]" for key, value in pairs if value is child), "")


def _fix_for(value: Any) -> str:
    if hasattr(value, "state_dict"):
        return "save its state: torch.save(x.state_dict(), path), load with x.load_state_dict(...)"
    if isinstance(value, dict):
        return "save it as a plain dict: dict(x)"
    if isinstance(value, tuple | list):
        return "save it as a plain tuple or list: tuple(x)"
    return "save its plain parts, for example vars(x), in a dict"


# One writer a type. Those of containers yield what is in them; the others write and are done.

def _constant(code: bytes) -> Callable[[Writer, Any], None]:
    return lambda writer, value: writer.out.append(code)


def _bool(writer: Writer, value: bool) -> None:
    writer.out.append(pickle.NEWTRUE if value else pickle.NEWFALSE)


def _int(writer: Writer, value: int) -> None:
    if 0 <= value < 256:
        writer.out.append(pickle.BININT1 + bytes([value]))
    elif 0 <= value < 1 << 16:
        writer.out.append(pickle.BININT2 + struct.pack("<H", value))
    elif -(1 << 31) <= value < 1 << 31:
        writer.out.append(pickle.BININT + struct.pack("<i", value))
    else:
        content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        if len(content) > 255:
            raise pickle.PicklingError("an int of more than 255 bytes cannot be saved\n"
                                       "  fix: save it as text: str(x)")
        writer.out.append(pickle.LONG1 + bytes([len(content)]) + content)


def _float(writer: Writer, value: float) -> None:
    writer.out.append(pickle.BINFLOAT + struct.pack(">d", value))


def _str(writer: Writer, value: str) -> None:
    content = value.encode("utf-8", "surrogatepass")
    writer.out += [pickle.BINUNICODE, struct.pack("<I", len(content)), content]
    writer.remember(value)


def _global(writer: Writer, value: Global) -> None:
    index = writer.names.get(value.text)
    if index is not None:
        writer.out.append(_indexed(pickle.BINGET, pickle.LONG_BINGET, index))
        return
    writer.out += [pickle.GLOBAL, value.text]
    writer.names[value.text] = len(writer.kept)
    writer.remember(value)


def _call(writer: Writer, value: Call) -> Iterator[Any]:
    yield value.name
    yield from _items_of_tuple(writer, value.args)
    writer.out.append(pickle.REDUCE)


def _stored(writer: Writer, value: Stored) -> Iterator[Any]:
    yield from _items_of_tuple(writer, value.identity)
    writer.out.append(pickle.BINPERSID)


def _items_of_tuple(writer: Writer, value: tuple) -> Iterator[Any]:
    if len(value) > 3:
        writer.out.append(pickle.MARK)
    yield from value
    writer.out.append(TUPLES.get(len(value), pickle.TUPLE))


TUPLES = {0: pickle.EMPTY_TUPLE, 1: pickle.TUPLE1, 2: pickle.TUPLE2, 3: pickle.TUPLE3}


def _tuple(writer: Writer, value: tuple) -> Iterator[Any]:
    yield from _items_of_tuple(writer, value)
    if value:
        writer.remember(value)


def _list(writer: Writer, value: list) -> Iterator[Any]:
    writer.out.append(pickle.EMPTY_LIST)
    writer.remember(value)
    yield from _batches(writer, pickle.APPENDS, value)


def _batches(writer: Writer, code: bytes, items: Iterable[Any], size: int = BATCH) -> Iterator[Any]:
    number = -1
    for number, item in enumerate(items):
        if number % size == 0:
            writer.out.append(pickle.MARK)
        yield item
        if number % size == size - 1:
            writer.out.append(code)
    if number % size != size - 1:
        writer.out.append(code)


def _pairs(writer: Writer, value: dict) -> Iterator[Any]:
    flat = (part for pair in value.items() for part in pair)
    yield from _batches(writer, pickle.SETITEMS, flat, 2 * BATCH)


def _dict(writer: Writer, value: dict) -> Iterator[Any]:
    writer.out.append(pickle.EMPTY_DICT)
    writer.remember(value)
    yield from _pairs(writer, value)


def _called(writer: Writer, value: Any, call: Call) -> Iterator[Any]:
    """What `value` is once the reader has made a call."""
    yield from _call(writer, call)
    writer.remember(value)


def _ordered_dict(writer: Writer, value: OrderedDict) -> Iterator[Any]:
    yield from _called(writer, value, Call(Global("collections", "OrderedDict")))
    yield from _pairs(writer, value)
    if vars(value):  # a state_dict's _metadata
        yield dict(vars(value))
        writer.out.append(pickle.BUILD)


def _bytes_call(value: bytes) -> Call:
    return Call(Global("_codecs", "encode"), value.decode("latin1"), "latin1")


# How a value becomes a call: type -> the call that makes it again.
CALLS: dict[type, Callable[[Any], Call]] = {
    bytes: _bytes_call,
    bytearray: lambda value: Call(Global("__builtin__", "bytearray"), bytes(value)),
    complex: lambda value: Call(Global("__builtin__", "complex"), value.real, value.imag),
    set: lambda value: Call(Global("__builtin__", "set"), list(value)),
    Counter: lambda value: Call(Global("collections", "Counter"), dict(value)),
    Size: lambda value: Call(Global("torch", "Size"), tuple(value)),
    devices.device: lambda value: Call(Global("torch", "device"), *value.__reduce__()[1]),
    layout.layout: lambda value: Call(Global("torch.serialization", "_get_layout"), repr(value)),
}


def _by_call(writer: Writer, value: Any) -> Iterator[Any]:
    return _called(writer, value, CALLS[type(value)](value))


def _dtype(writer: Writer, value: types.dtype) -> None:
    _global(writer, Global("torch", value.name))


def _numpy_type(writer: Writer, value: np.dtype) -> Iterator[Any]:
    if value.kind not in "biufc" or value.name == "bfloat16":
        raise pickle.PicklingError(
            f"Can't pickle NumPy data of type {value}: only plain numbers can be saved")
    yield from _call(writer, Call(Global("numpy", "dtype"), value.str[1:], False, True))
    yield (3, value.str[0], None, None, None, -1, -1, 0)
    writer.out.append(pickle.BUILD)
    writer.remember(value)


def _numpy_scalar(writer: Writer, value: np.generic) -> Iterator[Any]:
    scalar = Global("numpy._core.multiarray", "scalar")
    return _called(writer, value, Call(scalar, value.dtype, value.tobytes()))


def _numpy_array(writer: Writer, value: np.ndarray) -> Iterator[Any]:
    make = Call(Global("numpy._core.multiarray", "_reconstruct"), Global("numpy", "ndarray"), (0,),
                b"b")
    yield from _called(writer, value, make)
    yield (1, value.shape, value.dtype, False, value.tobytes())
    writer.out.append(pickle.BUILD)


# Tensors

def _tensor(writer: Writer, value: Tensor) -> Iterator[Any]:
    from kkori.nn.parameter import Parameter
    made = _tensor_call(writer, value, isinstance(value, Parameter))
    attributes = {name: part for name, part in vars(value).items() if not name.startswith("_")}
    if attributes and not isinstance(value, Parameter):
        made = Call(Global("torch._tensor", "_rebuild_from_type_v2"), made.name,
                    Global("torch", "Tensor"), made.args, attributes)
    elif attributes:
        made = Call(Global("torch._utils", "_rebuild_parameter_with_state"), *made.args, attributes)
    return _called(writer, value, made)


def _tensor_call(writer: Writer, value: Tensor, is_parameter: bool) -> Call:
    utils = "torch._utils"
    hooks = Call(Global("collections", "OrderedDict"))
    wants = bool(value._requires_grad) and not is_parameter
    settle(value)
    array, dtype = value._array, value.dtype
    if isinstance(array, MetaArray):
        call = Call(Global(utils, "_rebuild_meta_tensor_no_storage"), dtype, tuple(value.shape),
                    value.stride(), wants)
    else:
        stored, offset, strides = _place(writer, array, value.shared_storage().owner())
        place = (stored, offset, tuple(array.shape), strides, wants, hooks)
        call = (Call(Global(utils, "_rebuild_tensor_v3"), *place, dtype) if _is_new(dtype) else
                Call(Global(utils, "_rebuild_tensor_v2"), *place))
    if not is_parameter:
        return call
    return Call(Global(utils, "_rebuild_parameter"), call, bool(value._requires_grad), hooks)


def _is_new(dtype: types.dtype) -> bool:
    """Whether the type came after PyTorch stopped adding storage classes."""
    return dtype.name in ("uint16", "uint32", "uint64")


def _place(writer: Writer, array: np.ndarray, owner: np.ndarray) -> tuple[Any, int, tuple]:
    """Where the numbers of `array` are: its stored buffer, offset and strides in elements."""
    dtype, width = types.of(array.dtype), array.itemsize
    offset = _address(array) - _address(owner)
    if not owner.flags.forc or owner.nbytes % width or offset % width or not array.size or any(
            step < 0 or step % width for step in array.strides):
        owner = array = np.array(array, order="C")  # PyTorch has no such layout: a copy of its own
        offset = 0
    number = writer.places.setdefault(id(owner), len(writer.owners))
    if number == len(writer.owners):
        writer.owners.append(owner)
        writer.types.append(dtype)
    elif writer.types[number] is not dtype:
        raise RuntimeError(TWO_TYPES)
    kind = Global("torch.storage", "UntypedStorage") if _is_new(dtype) else Global(
        "torch", f"{dtype.alias}Storage")
    count = owner.nbytes // (1 if _is_new(dtype) else width)
    stored = Stored("storage", kind, str(number), "cpu", count)
    return stored, offset // width, tuple(step // width for step in array.strides)


def _flat(owner: np.ndarray) -> np.ndarray:
    """The bytes of an array in the order in which they lie in memory."""
    return owner.reshape(-1, order="A").view(np.uint8)


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


WRITERS: dict[type, Callable[[Writer, Any], Iterator[Any] | None]] = {
    type(None): _constant(pickle.NONE), bool: _bool, int: _int, float: _float, str: _str,
    tuple: _tuple, list: _list, dict: _dict, OrderedDict: _ordered_dict, types.dtype: _dtype,
    TorchVersion: lambda writer, value: _str(writer, str(value)),
    np.ndarray: _numpy_array, Global: _global, Call: _call, Stored: _stored,
    **dict.fromkeys(CALLS, _by_call),
}
SUBCLASSES: list[tuple[type, Callable[[Writer, Any], Iterator[Any]]]] = [
    (Tensor, _tensor), (np.dtype, _numpy_type), (np.generic, _numpy_scalar)]
