"""Record files: each record is framed by its length and by masked CRC-32C checksums of both."""

from __future__ import annotations

import struct

__all__ = ["checksum", "record"]

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def checksum(data: bytes) -> int:
    """CRC-32C of some bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    value = checksum(data)
    rotated = value >> 15 | value << 17 & 0xFFFFFFFF
    return struct.pack("<I", rotated + 0xA282EAD8 & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    """One record of a record file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)
