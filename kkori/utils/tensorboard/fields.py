"""Protocol buffers, the few kinds of fields that event files need, as bytes.

A message is the concatenation of its fields; a field is a key (number and wire type) and a value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

__all__ = ["boolean", "double", "doubles", "integer", "message", "single", "text"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF  # negative numbers are written as 64 bits
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _field(number: int, wire: int, payload: bytes) -> bytes:
    return _varint(number << 3 | wire) + payload


def integer(number: int, value: int) -> bytes:
    """An int32, int64 or enum."""
    return _field(number, _VARINT, _varint(value))


def boolean(number: int, value: bool) -> bytes:
    """A bool."""
    return integer(number, int(value))


def single(number: int, value: float) -> bytes:
    """A float; numbers too large for it become infinite."""
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        packed = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return _field(number, _FIXED32, packed)


def double(number: int, value: float) -> bytes:
    """A double."""
    return _field(number, _FIXED64, struct.pack("<d", value))


def doubles(number: int, values: Iterable[float]) -> bytes:
    """A packed list of doubles."""
    return message(number, b"".join(struct.pack("<d", value) for value in values))


def message(number: int, *parts: bytes) -> bytes:
    """A message inside a message, or bytes."""
    payload = b"".join(parts)
    return _field(number, _BYTES, _varint(len(payload)) + payload)


def text(number: int, value: str) -> bytes:
    """A string."""
    return message(number, value.encode())
