"""`torch.save` and `torch.load`: checkpoints that PyTorch reads, and PyTorch's read here.

Plain data only, both ways: nothing in a file is imported or run, whatever `weights_only` says.
"""

from __future__ import annotations

import io
import os
import sys
import zlib
from collections.abc import Callable
from typing import IO, Any

__all__ = ["save", "load", "add_safe_globals", "clear_safe_globals", "get_safe_globals",
           "safe_globals"]

RERUN = ("In PyTorch 2.6, we changed the default value of the `weights_only` argument in "
         "`torch.load` from `False` to `True`. Re-running `torch.load` with `weights_only` set to "
         "`False` will likely succeed, but it can result in arbitrary code execution. Do it only "
         "if you got the file from a trusted source.")
FOREIGN = ("Weights only load failed. This file can still be loaded, to do so you have two "
           "options, \033[1mdo those steps only if you trust the source of the checkpoint\033[0m. ")
FAILED = f"Weights only load failed. {RERUN}"
HERE = "kkori never runs what a file brings, whatever weights_only says"
SAVE_STATE = "where it was made, save plain data: torch.save(net.state_dict(), path)"
NO_CUDA = ("Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is "
           "False. If you are running on a CPU-only machine, please use torch.load with "
           "map_location=torch.device('cpu') to map your storages to the CPU.")
NOT_SEEKABLE = (". You can only torch.load from a file that is seekable. Please pre-load the data "
                "into a buffer like io.BytesIO and try to load from it instead.")
WRONG_SIZE = ("record size ({} bytes) does not match expected size ({} bytes = {} elements * 1 "
              "bytes/element) for dtype Byte")
NEWEST_FORMAT = 10


# Saving

def save(obj: Any, f: Any, pickle_module: Any = None, pickle_protocol: int = 2,
         _use_new_zipfile_serialization: bool = True, _disable_byteorder_record: bool = False
         ) -> None:
    """Write plain data with its tensors to `f`, a path or an open binary file.

    Storages, strides and sharing are kept. A path is written whole or not at all. PicklingError,
    before anything is written, where `obj` holds something that is not plain data;
    `pickle_module` and `pickle_protocol` are accepted and change nothing.

    >>> import io, kkori as torch
    >>> file = io.BytesIO()
    >>> torch.save({"w": torch.ones(2)}, file)
    >>> torch.load(file)
    {'w': tensor([1., 1.])}
    """
    if not isinstance(f, str | os.PathLike) and not hasattr(f, "write"):
        raise AttributeError("expected 'f' to be string, path, or a file-like object with a "
                             "'write' attribute")
    from kkori.io.archive import write_archive
    from kkori.io.files import whole_file
    from kkori.io.pickling import dump
    content, buffers = dump(obj)
    records = _records(content, buffers)
    if not isinstance(f, str | os.PathLike):
        _write_to(f, records)
        return
    path = os.fspath(f)
    _check_folder(path)
    stem = os.path.splitext(os.path.basename(path))[0]
    folder = stem if stem.isascii() and stem else "archive"
    with whole_file(path) as file:
        write_archive(file, folder, records)


def _records(content: bytes, buffers: list[memoryview]) -> list[tuple[str, Any]]:
    """The records of a checkpoint, in PyTorch's order."""
    from kkori.io.archive import ALIGNMENT
    records: list[tuple[str, Any]] = [
        ("data.pkl", content), (".format_version", b"1"),
        (".storage_alignment", str(ALIGNMENT).encode()), ("byteorder", sys.byteorder.encode())]
    records += [(f"data/{number}", buffer) for number, buffer in enumerate(buffers)]
    sums = [zlib.crc32(part) for _, part in records]
    identity = f"{zlib.crc32(repr(sums).encode()):020d}{sum(sums):020d}"
    return [*records, ("version", b"3\n"), (".data/serialization_id", identity.encode())]


def _write_to(file: IO[bytes], records: list[tuple[str, Any]]) -> None:
    from kkori.io.archive import write_archive
    buffer = io.BytesIO()
    write_archive(buffer, "archive", records)
    file.write(buffer.getbuffer())
    if hasattr(file, "flush"):
        file.flush()


def _check_folder(path: Any) -> None:
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {folder} does not exist.\n"
                           f"  fix: os.makedirs({folder!r}, exist_ok=True)")
    if os.path.isdir(path):
        raise RuntimeError(f"File {path} cannot be opened.\n  it is a folder")


# Loading

def load(f: Any, map_location: Any = None, pickle_module: Any = None, *,
         weights_only: bool | None = None, mmap: bool | None = None, **pickle_load_args: Any
         ) -> Any:
    """Read what `save`, here or in PyTorch, wrote to `f`: a path or a seekable binary file.

    `map_location` (None, str, device, dict or function) says where tensors go. UnpicklingError
    where the file holds more than plain data, RuntimeError or EOFError where it is damaged.
    Files from before PyTorch 1.6 are not read. `mmap` is accepted and changes nothing.
    """
    if pickle_module is not None and weights_only:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    if isinstance(f, str | os.PathLike):
        if os.fspath(f).endswith(".safetensors"):
            from kkori.io.safetensors import load_file
            return load_file(f, device="cpu" if map_location is None else map_location)
        with open(f, "rb") as file:
            return _load(file, map_location, os.fspath(f))
    _check_seekable(f)
    return _load(f, map_location, "the file")


def _check_seekable(file: Any) -> None:
    try:
        file.seek(file.tell())
    except (io.UnsupportedOperation, AttributeError) as error:
        raise type(error)(str(error) + NOT_SEEKABLE) from None


def _load(file: IO[bytes], map_location: Any, name: Any) -> Any:
    import pickle

    from kkori.io.archive import Archive
    from kkori.io.unpickle import ForeignName, unpickle
    _check_start(file, name)
    archive = Archive(file)
    _check_version(archive)
    content = archive.read("data.pkl").tobytes()
    try:
        return unpickle(content, Buffers(archive, map_location).load)
    except ForeignName as error:
        first = FAILED if error.blocked else FOREIGN
        raise pickle.UnpicklingError(
            f"{first}\n  {error}\n  in {name}: {HERE}\n  fix: {SAVE_STATE}") from None
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(f"{FAILED}\n  {error}\n  in {name}") from None


def _check_start(file: IO[bytes], name: Any) -> None:
    """Leave at once where the file is empty or no zip file."""
    import pickle
    start = file.tell()
    if not start:  # else what stands at the end of the file counts, as for any zip
        head = file.read(4)
        file.seek(start)
        if not head:
            raise EOFError(f"Ran out of input\n  {name} is empty")
        if head != b"PK\x03\x04":
            old = head[:2] == b"\x80\x02"
            raise pickle.UnpicklingError(
                f"{FAILED}\n  {name} is no checkpoint: it starts with {head!r}\n" + (
                    "  this looks like PyTorch's format from before 1.6, which is not read here\n"
                    "  fix: load and save it once with a newer PyTorch" if old else
                    "  fix: check that it was downloaded or saved completely"))


def _check_version(archive: Any) -> None:
    if "version" not in archive and ".data/version" not in archive:
        raise RuntimeError('Expected hasRecord("version") to be true, but got false.  (Could this '
                           "error message be improved?  If so, please report an enhancement "
                           "request to PyTorch.)")
    text = archive.read("version" if "version" in archive else ".data/version").tobytes()
    number = int(text) if text.strip().isdigit() and len(text) < 20 else None
    if number is None or number > NEWEST_FORMAT:
        raise RuntimeError(f"Attempted to read a PyTorch file with version {text!r:.40}, but the "
                           f"maximum supported version for reading is {NEWEST_FORMAT}.")


class Buffers:
    """The records data/0, data/1, ... of a checkpoint, each read when first referred to."""

    def __init__(self, archive: Any, map_location: Any) -> None:
        self.archive, self.place = archive, _placer(map_location)
        self.loaded: dict[str, Any] = {}
        self.swapped = _is_swapped(archive)

    def load(self, identity: tuple) -> Any:
        """The buffer that ("storage", kind, key, location, count) refers to."""
        from kkori.io.rebuild import StorageKind, refuse
        _, kind, key, location, count = identity
        if not (isinstance(kind, StorageKind) and isinstance(key, str) and type(count) is int
                and isinstance(location, str) and count >= 0):
            raise refuse("a storage is not described as one")
        if key not in self.loaded:
            self.loaded[key] = self.read(kind, key, location, count)
        return self.loaded[key]

    def read(self, kind: Any, key: str, location: str, count: int) -> Any:
        import numpy as np

        from kkori.core import dtype as types
        from kkori.io.rebuild import StoredData
        dtype = kind.dtype or types.uint8
        expected, size = count * dtype.itemsize, self.archive.size(f"data/{key}")
        if size != expected:
            raise RuntimeError(WRONG_SIZE.format(size, expected, expected))
        raw = self.archive.read(f"data/{key}")
        if self.swapped:
            raw = raw.view(dtype.numpy).byteswap().view(np.uint8)
        if dtype is types.bool_:
            raw = (raw != 0).view(np.uint8)  # NumPy takes other bytes for neither true nor false
        data = StoredData(raw, dtype)
        return StoredData(None, dtype) if self.place(data.storage, location) == "meta" else data


def _is_swapped(archive: Any) -> bool:
    if "byteorder" not in archive:
        return sys.byteorder != "little"
    order = archive.read("byteorder").tobytes().decode("latin1")
    if order not in ("little", "big"):
        raise ValueError(f"Unknown endianness type: {order:.40}")
    return order != sys.byteorder


def _placer(map_location: Any) -> Callable[[Any, str], str]:
    """The function that says where a buffer tagged with a location goes: "cpu" or "meta"."""
    from kkori.core.device import device
    if map_location is None:
        return lambda storage, location: _known(location)
    if isinstance(map_location, dict):
        return lambda storage, location: _known(str(map_location.get(location, location)))
    if isinstance(map_location, str | bytes | device):
        target = map_location.decode() if isinstance(map_location, bytes) else str(map_location)
        return lambda storage, location: _known(target)
    if not callable(map_location):
        raise TypeError(f"{type(map_location).__name__!r} object is not callable")
    return lambda storage, location: (
        _known(location) if map_location(storage, location) is None else "cpu")


def _known(location: str) -> str:
    if location in ("cpu", "meta"):
        return location
    if location.startswith("cuda"):
        raise RuntimeError(NO_CUDA)
    raise RuntimeError("don't know how to restore data location of torch.storage.UntypedStorage "
                       f"(tagged with {location})")


# Lists of trusted names, which PyTorch has and which nothing here needs

def add_safe_globals(safe_globals: list[Any]) -> None:
    """Trust names that a file may use. Those of NumPy's numbers are trusted anyway.

    RuntimeError for anything else: kkori runs nothing that a file brings.
    """
    for item in safe_globals:
        entry = item[0] if isinstance(item, tuple) else item
        module = getattr(entry, "__module__", None) or type(entry).__module__
        if module.partition(".")[0] not in ("numpy", "collections", "builtins", "torch", "kkori",
                                            "_codecs"):
            raise RuntimeError(
                f"add_safe_globals: {entry!r:.80} cannot be trusted here: {HERE}\n"
                f"  fix: {SAVE_STATE}")


def get_safe_globals() -> list[Any]:
    """The names trusted beyond plain data: none."""
    return []


def clear_safe_globals() -> None:
    """Trust nothing beyond plain data, as ever."""


class safe_globals:
    """`with safe_globals([...])`: `add_safe_globals` for a block."""

    def __init__(self, safe_globals: list[Any]) -> None:
        self.names = safe_globals

    def __enter__(self) -> None:
        add_safe_globals(self.names)

    def __exit__(self, *error: object) -> None:
        return None
