"""The safetensors format: a JSON head that says where each tensor's bytes stand, then the bytes.

Names and behaviour are those of `safetensors.torch`. Reading checks the whole head before a tensor
is made: every byte of the file must belong to exactly one tensor.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from kkori.core import device as devices
from kkori.core import dtype as types
from kkori.core.meta import MetaArray, empty
from kkori.tensor import Tensor, wrap

__all__ = ["SafetensorError", "load", "load_file", "load_model", "safe_open", "save", "save_file",
           "save_model"]

LONGEST_HEAD = 100_000_000
CODES = {"BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
         "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16",
         "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64"}
CODE_OF = {name: code for code, name in CODES.items()}


class SafetensorError(Exception):
    """A file is not in the format, or does not have what was asked for."""


# Reading

def load(data: bytes) -> dict[str, Tensor]:
    """The tensors in the bytes of a safetensors file. SafetensorError where they are not one."""
    head, start = _parse(data[:8], data[8:], len(data))
    return {name: _tensor(entry, np.frombuffer(bytearray(data[start + entry.first:start
                                                               + entry.last]), np.uint8))
            for name, entry in head.entries.items()}


def load_file(filename: Any, device: Any = "cpu", **options: Any) -> dict[str, Tensor]:
    """The tensors in a safetensors file, on `device` ("cpu" or "meta")."""
    with safe_open(filename, framework="pt", device=device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


class _Entry:
    """One tensor's line of the head."""

    __slots__ = ("dtype", "shape", "first", "last")

    def __init__(self, name: str, line: Any) -> None:
        if not isinstance(line, dict) or sorted(line) != ["data_offsets", "dtype", "shape"]:
            raise SafetensorError(f"invalid header: {name!r:.80} needs dtype, shape, data_offsets")
        if line["dtype"] not in CODES:
            raise SafetensorError(f"invalid header: {name!r:.80} has dtype {line['dtype']!r:.40}, "
                                  f"known are {', '.join(CODES)}")
        self.dtype = types.BY_NAME[CODES[line["dtype"]]]
        self.shape = tuple(_lengths(name, line["shape"]))
        offsets = list(_lengths(name, line["data_offsets"]))
        if len(offsets) != 2:
            raise SafetensorError(f"invalid header: {name!r:.80} needs two data_offsets")
        self.first, self.last = offsets
        size = prod(self.shape) * self.dtype.itemsize
        if self.last - self.first != size:
            raise SafetensorError(
                f"invalid header: {name!r:.80} of shape {str(list(self.shape)):.200} and "
                f"{self.dtype} takes {size if size < 1 << 63 else 'too many'} bytes, "
                f"its data_offsets {offsets} have {self.last - self.first}")


def _lengths(name: str, numbers: Any) -> Iterator[int]:
    if not isinstance(numbers, list) or len(numbers) > 64:
        raise SafetensorError(f"invalid header: {name!r:.80} has {numbers!r:.80} for numbers")
    for number in numbers:
        if type(number) is not int or not 0 <= number < 1 << 62:
            raise SafetensorError(f"invalid header: {name!r:.80} has the length {number!r:.40}")
        yield number


class _Head:
    """All lines of the head, found to cover the rest of the file without gap or overlap."""

    def __init__(self, text: bytes, rest: int) -> None:
        lines = _json(text)
        self.metadata = lines.pop("__metadata__", None)
        if self.metadata is not None and not (isinstance(self.metadata, dict) and all(
                isinstance(value, str) for value in self.metadata.values())):
            raise SafetensorError("invalid header: __metadata__ must map text to text")
        self.entries = {name: _Entry(name, line) for name, line in lines.items()}
        end = 0
        for name, entry in sorted(self.entries.items(),
                                  key=lambda item: (item[1].first, item[1].last)):
            if entry.first != end:
                raise SafetensorError(f"invalid header: {name!r:.80} starts at byte {entry.first}, "
                                      f"the tensor before it ends at {end}")
            end = entry.last
        if end != rest:
            raise SafetensorError(f"incomplete file: the tensors take {end} bytes, "
                                  f"there are {rest}")


def _json(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise SafetensorError(f"invalid header: it starts with {text[:1]!r}, not with '{{'")
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise SafetensorError(f"invalid header: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _parse(size: bytes, text: Any, length: int) -> tuple[_Head, int]:
    """The head, and where the bytes begin. `text` is the file after its first 8 bytes."""
    if len(size) < 8:
        raise SafetensorError(f"header too small: the file has {length} bytes")
    count = int.from_bytes(size, "little")
    if count > LONGEST_HEAD or count > length - 8:
        raise SafetensorError(f"invalid header length: {count} bytes in a file of {length}")
    return _Head(bytes(text[:count]), length - 8 - count), 8 + count


def _tensor(entry: _Entry, raw: np.ndarray) -> Tensor:
    if entry.dtype is types.bool_:
        raw = (raw != 0).view(np.uint8)
    array = raw.view(entry.dtype.numpy).reshape(entry.shape)
    return wrap(array.byteswap() if sys.byteorder == "big" else array)


class safe_open:
    """A safetensors file of which single tensors are read: `with safe_open(path, "pt") as f`.

    `framework` is "pt" (tensors) or "np" (arrays). FileNotFoundError where there is no file,
    SafetensorError where it is damaged.
    """

    def __init__(self, filename: Any, framework: str = "pt", device: Any = "cpu",
                 **options: Any) -> None:
        if framework not in ("pt", "torch", "pytorch", "np", "numpy"):
            raise SafetensorError(f"framework {framework} is invalid\n  fix: framework='pt'")
        self.gives_arrays = framework in ("np", "numpy")
        self.device = devices.resolve(device)
        self.path = os.fspath(filename)
        length = os.stat(self.path).st_size
        self.file = open(self.path, "rb")
        try:
            size = self.file.read(8)
            count = min(int.from_bytes(size, "little"), max(length - 8, 0), LONGEST_HEAD)
            self.head, self.start = _parse(size, self.file.read(count), length)
        except SafetensorError as error:
            self.file.close()
            raise SafetensorError(
                f"Error while deserializing header: {error}\n  file: {self.path}") from None
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def keys(self) -> list[str]:
        """Names of the tensors, sorted."""
        return sorted(self.head.entries)

    def offset_keys(self) -> list[str]:
        """Names of the tensors, in the order of their bytes."""
        return sorted(self.head.entries, key=lambda name: self.head.entries[name].first)

    def metadata(self) -> dict[str, str] | None:
        """The texts saved beside the tensors."""
        return self.head.metadata

    def get_tensor(self, name: str) -> Any:
        """One tensor. SafetensorError where there is none of that name."""
        entry = self.head.entries.get(name)
        if entry is None:
            raise SafetensorError(f"File does not contain tensor {name}\n"
                                  f"  it has: {', '.join(self.keys()):.400}")
        if self.device is devices.META:
            return wrap(empty(entry.shape, entry.dtype.numpy))
        raw = np.empty(entry.last - entry.first, np.uint8)
        self.file.seek(self.start + entry.first)
        if self.file.readinto(raw.data) != raw.nbytes:
            raise SafetensorError(f"incomplete file: {name} ends after the file does")
        tensor = _tensor(entry, raw)
        return tensor._array if self.gives_arrays else tensor

    def get_slice(self, name: str) -> Any:
        """One tensor, to be indexed."""
        return self.get_tensor(name)


# Writing

def save(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file. RuntimeError or ValueError as for `save_file`."""
    return b"".join(_file_parts(tensors, metadata))


def save_file(tensors: dict[str, Tensor], filename: Any,
              metadata: dict[str, str] | None = None) -> None:
    """Write contiguous tensors, and texts in `metadata`, to a file; all of it or nothing.

    ValueError for tensors that are not contiguous, RuntimeError for such as share memory (use
    `save_model`), TypeError for other values.
    """
    from kkori.io.files import whole_file
    parts = list(_file_parts(tensors, metadata))
    with whole_file(filename) as file:
        for part in parts:
            file.write(part)


def _file_parts(tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> Iterator[Any]:
    """Head and contents in the order of the file: widest types first, then by name."""
    _check(tensors, metadata)
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    lines: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        lines[name] = {"dtype": CODE_OF[tensor.dtype.name], "shape": list(tensor.shape),
                       "data_offsets": [start, end]}
    text = json.dumps(lines, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        array = np.asarray(tensors[name]._array)
        yield (array.byteswap() if sys.byteorder == "big" else array).tobytes()


def _check(tensors: Any, metadata: Any) -> None:
    if not isinstance(tensors, dict):
        raise ValueError(f"Expected a dict of [str, torch.Tensor] but received {type(tensors)}")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise ValueError(f"Expected names to be text, got {name!r:.80}")
        _check_tensor(name, tensor)
    if metadata is not None and not all(
            isinstance(part, str) for pair in metadata.items() for part in pair):
        raise TypeError("metadata must map text to text")
    shared = [names for names in _sharing(tensors) if len(names) > 1]
    if shared:
        raise RuntimeError(
            "\n            Some tensors share memory, this will lead to duplicate memory on disk "
            f"and potential differences when loading them again: {shared}.\n"
            "            A potential way to correctly save your model is to use `save_model`.\n"
            "            More information at https://huggingface.co/docs/safetensors/"
            "torch_shared_tensors\n            ")


def _check_tensor(name: str, tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise ValueError(f"Key `{name}` is invalid, expected torch.Tensor but received "
                         f"{type(tensor)}")
    if isinstance(tensor._array, MetaArray):
        raise ValueError(f"Key `{name}` is on the meta device: it has no numbers to save")
    if tensor.dtype.name not in CODE_OF:
        raise ValueError(f"Key `{name}` has {tensor.dtype}, which the format does not know")
    if not tensor._array.flags.c_contiguous:
        raise ValueError(
            f"You are trying to save a non contiguous tensor: `{name}` which is not allowed. It "
            "either means you are trying to save tensors which are reference of each other in "
            "which case it's recommended to save only the full tensors, and reslice at load time, "
            "or simply call `.contiguous()` on your tensor to pack it before saving.")


def _sharing(tensors: dict[str, Tensor]) -> list[set[str]]:
    """Names grouped by overlapping memory."""
    spans = sorted((tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes, name)
                   for name, tensor in tensors.items() if tensor.nbytes)
    groups: list[set[str]] = []
    reached = 0
    for start, stop, name in spans:
        if groups and start < reached:
            groups[-1].add(name)
        else:
            groups.append({name})
        reached = max(reached, stop)
    return groups


# Whole models

def save_model(model: Any, filename: Any, metadata: dict[str, str] | None = None,
               force_contiguous: bool = True) -> None:
    """Save a module's state; of tensors that share memory, one, and the others' names."""
    state = dict(model.state_dict())
    notes = dict(metadata or {})
    for kept, others in _duplicates(state).items():
        for name in others:
            notes.setdefault(name, kept)
            del state[name]
    if force_contiguous:
        state = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(state, filename, notes or None)


def load_model(model: Any, filename: Any, strict: bool = True, device: Any = "cpu",
               **options: Any) -> tuple[set[str], list[str]]:
    """Load a file that `save_model` wrote into a module; what is missing, and what is unexpected.

    RuntimeError where either is not empty and `strict` is true.
    """
    found = load_file(filename, device=device)
    duplicates = _duplicates(dict(model.state_dict()))
    missing, unexpected = map(list, model.load_state_dict(found, strict=False))
    for kept, others in duplicates.items():
        group = {kept, *others}
        if group & set(found):
            missing = [name for name in missing if name not in group]
    if strict and (missing or unexpected):
        lines = [f"Error(s) in loading state_dict for {type(model).__name__}:"]
        for title, names in (("Missing", missing), ("Unexpected", unexpected)):
            if names:
                listed = ", ".join(f'"{name}"' for name in sorted(names))
                lines.append(f"    {title} key(s) in state_dict: {listed}")
        raise RuntimeError("\n".join(lines))
    return set(missing), unexpected


def _duplicates(state: dict[str, Tensor]) -> dict[str, list[str]]:
    """Of each group that shares memory: the name to keep, the first that covers it all."""
    found = {}
    for group in _sharing(state):
        if len(group) > 1:
            kept = min(group, key=lambda name: (-state[name].nbytes, name))
            found[kept] = sorted(group - {kept})
    return found
