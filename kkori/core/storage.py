"""The buffer that views share, and its version: how often it has been written in place."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Storage"]


class Storage:
    """One buffer. Tensors that are views of one another hold the same Storage object."""

    __slots__ = ("array", "version", "__weakref__")

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.version = 0

    def owner(self) -> np.ndarray:
        """The array that owns the memory; every view lies inside it."""
        owner = self.array
        base: Any = owner
        while (base := getattr(base, "base", None)) is not None:
            if isinstance(base, np.ndarray):  # as_strided puts an object of its own between
                owner = base
        return owner

    def data_ptr(self) -> int:
        """Address of the first byte."""
        return int(self.owner().__array_interface__["data"][0])

    def nbytes(self) -> int:
        """Size in bytes."""
        return int(self.owner().nbytes)

    size = nbytes

    def __len__(self) -> int:
        return self.nbytes()

    def __bool__(self) -> bool:
        return True

    def flat(self) -> np.ndarray:
        """The whole buffer as one row of elements, in memory order."""
        owner = self.owner()
        if owner.dtype != self.array.dtype:
            owner = owner.reshape(-1, order="A").view(self.array.dtype)
        return owner.ravel(order="K")

    def element_size(self) -> int:
        return int(self.array.itemsize)

    def tolist(self) -> list[Any]:
        return self.flat().tolist()

    @property
    def device(self) -> Any:
        from kkori.core.device import CPU
        return CPU


def offset_of(array: np.ndarray, storage: Storage) -> int:
    """Where `array` starts in `storage`, in elements."""
    address = array.__array_interface__["data"][0]
    return int((address - storage.data_ptr()) // array.itemsize)
