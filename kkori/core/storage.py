"""The buffer that views share, and its version: how often it has been written in place."""

from __future__ import annotations

import sys
import weakref
from typing import Any

import numpy as np

__all__ = ["Rounds", "Storage", "is_shared_with_numpy", "root_of", "shown_to_numpy",
           "taken_from_numpy"]


class Rounds:
    """How often compiled rounds have written to all of some storages: one number for them all."""

    __slots__ = ("count", "complete")

    def __init__(self) -> None:
        self.count = 0
        self.complete = True  # none of the storages has been counted elsewhere since


_never = Rounds()


class Storage:
    """One buffer. Tensors that are views of one another hold the same Storage object."""

    __slots__ = ("array", "writes", "rounds", "exports", "__weakref__")

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.writes = 0  # in place, besides those that `rounds` counts
        self.rounds = _never
        self.exports: list[Any] | None = None  # NumPy arrays on this memory outside kkori

    @property
    def version(self) -> int:
        """How often it has been written to in place."""
        return self.writes + self.rounds.count

    @version.setter
    def version(self, number: int) -> None:
        self.writes = number - self.rounds.count

    def count_with(self, rounds: Rounds) -> None:
        """From now on `rounds` counts some of the writes."""
        if self.rounds is not rounds:
            self.writes += self.rounds.count - rounds.count
            self.rounds.complete = self.rounds is _never
            self.rounds = rounds

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


class _Fence:
    """Stands between two arrays on one memory: views of one never refer to the other."""

    __slots__ = ("base", "__array_interface__", "__weakref__")

    def __init__(self, base: np.ndarray) -> None:
        self.base, self.__array_interface__ = base, base.__array_interface__


def shown_to_numpy(array: np.ndarray, storage: Storage) -> np.ndarray:
    """`array` for use outside kkori; the storage knows as long as anybody holds it."""
    shown = np.asarray(_Fence(array))
    alive = [item for item in storage.exports or () if item.__class__ is not weakref.ref
             or item() is not None]
    storage.exports = [*alive, weakref.ref(shown)]
    return shown


def taken_from_numpy(array: np.ndarray) -> tuple[np.ndarray, Storage]:
    """`array`, which comes from outside, for use in kkori, and its storage."""
    fence = _Fence(array)
    inner = np.asarray(fence)
    storage = Storage(inner)
    storage.exports = [fence]
    return inner, storage


def is_shared_with_numpy(storage: Storage) -> bool:
    """Whether code outside kkori can write to the memory now."""
    for item in storage.exports or ():
        if item.__class__ is weakref.ref:
            if item() is not None:
                return True
        elif item.base.base is not None or sys.getrefcount(item.base) > 2:
            return True  # held by others than the fence (and by this call)
    return False


def root_of(array: np.ndarray) -> Any:
    """What holds the memory of `array`: the same object for all views of it."""
    base: Any = array
    while (inner := getattr(base, "base", None)) is not None:
        base = inner
    return base
