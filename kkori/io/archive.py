"""The zip files that PyTorch calls checkpoints: named records in one folder, not compressed.

Reading trusts nothing: sizes are compared with the file's own before memory is asked for, so that
a small file cannot claim to be a large one. Damage is a RuntimeError in PyTorch's words.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import IO, Any

import numpy as np

__all__ = ["Archive", "write_archive", "ALIGNMENT"]

ALIGNMENT = 64  # records start at multiples of this many bytes, so that they can be mapped
MOST_EXPANSION = 200  # times the file's size that its records may unpack to
HEADER_BYTES = 30  # of a zip record, before its name

MINIZ = (" This is an internal miniz error. If you are seeing this error, there is a high "
         "likelihood that your checkpoint file is corrupted. This can happen if the checkpoint was "
         "not saved properly, was transferred incorrectly, or the file was modified after saving.")
NOT_ZIP = "PytorchStreamReader failed reading zip archive: {}." + MINIZ
NO_RECORD = "PytorchStreamReader failed locating file {}: file not found." + MINIZ
BAD_RECORD = "PytorchStreamReader failed reading file {}: {}." + MINIZ


class Archive:
    """An open checkpoint; records are asked for by the name that follows its folder's."""

    def __init__(self, file: IO[bytes]) -> None:
        import zipfile
        self.damage = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError,
                       KeyError, IndexError, NotImplementedError, RuntimeError, OverflowError)
        try:
            self.zip = zipfile.ZipFile(file)
            self.records = self._records(_length(file))
        except self.damage as error:
            raise RuntimeError(NOT_ZIP.format("failed finding central directory")
                               + f"\n  {error}") from error

    def _records(self, length: int) -> dict[str, Any]:
        """The records by name, once their sizes have been found possible."""
        packed = unpacked = 0
        records = {}
        root = self.zip.namelist()[0].partition("/")[0] + "/"
        for record in self.zip.infolist():
            packed += record.compress_size
            unpacked += record.file_size
            if record.compress_type == 0 and record.compress_size != record.file_size:
                raise ValueError(f"{record.filename} has two sizes")
            records[record.filename.removeprefix(root)] = record
        if packed > length:
            raise ValueError("the records are longer than the file")
        if unpacked > MOST_EXPANSION * length:
            raise ValueError(f"the records unpack to {unpacked} bytes, the file has {length}")
        return records

    def __contains__(self, name: str) -> bool:
        return name in self.records

    def size(self, name: str) -> int:
        """Bytes of a record; RuntimeError where there is no such record."""
        if name not in self.records:
            raise RuntimeError(NO_RECORD.format(name))
        return int(self.records[name].file_size)

    def read(self, name: str) -> np.ndarray:
        """A record's bytes as a fresh uint8 array; its checksum is compared."""
        content = np.empty(self.size(name), np.uint8)
        try:
            with self.zip.open(self.records[name]) as record:
                if _fill(record, content.data) or record.read(1):
                    raise ValueError("its length is not the one that the directory says")
        except self.damage as error:
            raise RuntimeError(BAD_RECORD.format(name, error)) from error
        return content


def _length(file: IO[bytes]) -> int:
    place = file.tell()
    length = file.seek(0, os.SEEK_END)
    file.seek(place)
    return length


def _fill(record: IO[bytes], view: memoryview) -> int:
    """Read into all of `view`; how many bytes were missing."""
    done = 0
    while done < len(view):
        chunk = record.read(min(len(view) - done, 1 << 20))
        if not chunk:
            break
        view[done:done + len(chunk)] = chunk
        done += len(chunk)
    return len(view) - done


def write_archive(file: IO[bytes], folder: str, records: list[tuple[str, Any]]) -> None:
    """Write `records` (name, bytes-like) in that order; the content of each is aligned."""
    import zipfile
    start = file.tell() if file.seekable() else 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records:
            record = zipfile.ZipInfo(f"{folder}/{name}")  # dated 1980: equal data, equal files
            record.file_size = len(content)
            record.extra = _padding(archive.fp.tell() - start, record)  # type: ignore[union-attr]
            with archive.open(record, "w", force_zip64=_is_large(record)) as target:
                target.write(content)


def _is_large(record: Any) -> bool:
    return record.file_size >= 1 << 31


def _padding(position: int, record: Any) -> bytes:
    """An extra field so long that the content after it starts at a multiple of ALIGNMENT."""
    start = position + HEADER_BYTES + len(record.filename.encode()) + 4
    start += 20 if _is_large(record) else 0
    length = -start % ALIGNMENT
    return b"FB" + struct.pack("<H", length) + b"Z" * length
