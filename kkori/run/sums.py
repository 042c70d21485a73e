"""Gradients that are added up: over rounds, and within one.

Where a program asks for gradients of its inputs, ``backward()`` brings them to their ``.grad`` too,
and nobody sets it to None. A compiled round adds to such a gradient as it changes parameters: in
place. Until then the sum is pending, and nobody may hold the gradient but its leaf.

Where ``backward()`` is called several times before a step, the later ones add to what the first
has given (`adds`). In the program that is a new value, which takes the place of the old one; in
replay the old one must still be owed, so nobody can have seen it. Where the program dropped what
the first had given, replay must see that it was handed out, as whoever drops a gradient does.
"""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import numpy as np

from kkori.core.promise import Promise, promise_class
from kkori.run.entry import SLOT, Entry, is_hooked
from kkori.tensor import Tensor, wrap

__all__ = ["add", "dropped_slots", "given", "is_alone", "is_first", "is_gradient", "owed_slots",
           "replaced", "result"]

_alone = [1000, 1000]  # what CPython counts for a gradient, and its storage, of the leaf alone


def is_alone(leaf: Any) -> bool:
    """Whether a leaf has a gradient that nobody else can see."""
    grad = leaf._grad
    if grad.__class__ is not Tensor or grad._requires_grad or is_hooked(leaf) or (
            grad._base is not None or getrefcount(grad) > _alone[0]):
        return False
    storage = grad._storage
    return storage is None or not storage.exports and getrefcount(storage) <= _alone[1]


# Within a round.

def is_first(at: Entry, number: int) -> bool:
    """Whether no backward() of this round has added to an older gradient of leaf `number`."""
    return not any(number == one for entry in at.path() for one, _ in entry.sums)


def is_gradient(at: Entry, number: int, kind: type[Promise]) -> bool:
    """Whether a value is what an earlier backward() of this round has given to leaf `number`."""
    return any((leaf, one) == (number, kind) for entry in at.path() if entry.kind == "backward"
               for (leaf, _), one in zip(entry.leaves, entry.promises, strict=True))


def add(entry: Entry, number: int, old: type[Promise], new: type[Promise]) -> type[Promise]:
    """The sum of two gradients, as an operation inside the backward() `entry`."""
    from kkori.ops.table import TABLE
    inner = Entry("op", entry)
    inner.row, inner.mode = TABLE["add"], False
    inner.patterns = [(SLOT, old), (SLOT, new)]
    kind = result(entry, np.empty(old.shape, old.dtype), None)
    inner.slots, inner.promises, inner.stubs = [kind.slot], [kind], [None]
    entry.inner.append(inner)
    entry.adds[number] = old
    return kind


def result(entry: Entry, array: Any, old: type[Promise] | None) -> type[Promise]:
    """The next slot of a backward(); what has been added to `old` is that tensor, changed."""
    kind = promise_class(array, entry.slot_count, False)
    entry.slot_count += 1
    if old is not None:
        kind.version = old.version + 1
    return kind


def owed_slots(entry: Entry) -> list[int]:
    """A slot of each backward() that `entry` adds to: all of one are handed out together."""
    old = entry.adds.values()
    return [one.slots[0] for one in entry.path() if any(kind in old for kind in one.promises)]


def dropped_slots(entry: Entry) -> list[int]:
    """A slot of each earlier backward() of the round whose gradients were dropped before `entry`
    gave new ones to their leaves."""
    fresh = {number for number, _ in entry.leaves if number not in entry.adds}
    return [one.slots[0] for one in entry.path() if one is not entry and one.kind == "backward"
            and any(number in fresh for number, _ in one.leaves)]


def replaced(path: list[Entry]) -> set[int]:
    """The slots of gradients to which something was added later."""
    return {kind.slot for entry in path for kind in entry.adds.values()}


def given(kind: type[Promise], array: Any) -> Any:
    """The gradient of a computed round as its tape keeps it: the array, or a tensor where it has
    been added to."""
    if not kind.version:
        return array
    found = wrap(array)
    found.shared_storage().version = kind.version
    return found


def _calibrate() -> None:
    """Find out what `getrefcount` says of something that only a leaf holds."""
    leaf = wrap(np.zeros(1))
    leaf._grad = wrap(np.zeros(1))
    leaf._grad.shared_storage()
    for place in (0, 1):
        found, _alone[place] = 0, 0
        while not is_alone(leaf):
            found += 1
            _alone[place] = found


_calibrate()
