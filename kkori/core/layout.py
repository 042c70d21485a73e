"""Names of memory layouts, and what they mean in strides."""

from __future__ import annotations

from typing import Any

__all__ = ["layout", "memory_format", "strided", "sparse_coo", "sparse_csr", "contiguous_format",
           "preserve_format", "channels_last", "channels_last_3d"]


class _Named:
    """A constant that prints as ``torch.<name>`` and is compared by ``is``."""

    __slots__ = ("name",)
    known: dict[str, Any] = {}

    def __init__(self, name: str) -> None:
        self.name = name
        self.known[name] = self

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _Named.known.__getitem__, (self.name,)


class layout(_Named):
    """How elements are stored; kkori's tensors are ``torch.strided``."""

    __slots__ = ()


class memory_format(_Named):
    """The order of dimensions in memory."""

    __slots__ = ()


strided = layout("strided")
sparse_coo = layout("sparse_coo")
sparse_csr = layout("sparse_csr")
contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
CHANNELS_LAST_ORDER = {channels_last: (0, 2, 3, 1), channels_last_3d: (0, 2, 3, 4, 1)}
