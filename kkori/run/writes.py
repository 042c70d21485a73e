"""Writes in place as events: buffers, averages and sums that a round changes.

``running_mean.mul_(0.9)`` computes a new tensor and puts its numbers into an old one. Where the
old one comes from outside the round, putting them there is an event (`overwrite` asks first).
From there to the end of the round the old tensor holds a promise, as results do: operations of
the round take it as the value that was put there, and whoever else looks makes the round be
computed operation by operation. The compiled round writes into the old array, which the tensor
then gets back (`give_back`). Versions count at once, as ever.

That is right only where nobody sees the memory but through this one tensor (`alone`).
"""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.autograd.views import overwrite
from kkori.core.promise import Promise, promise_class, promised
from kkori.core.storage import is_shared_with_numpy, root_of
from kkori.run import renamed
from kkori.run.entry import ALIAS, SLOT, Entry, Unrecordable, alike
from kkori.run.guards import Guard
from kkori.tensor import Tensor

__all__ = ["alone", "apart_from_others", "expect", "give_back", "guard",
           "in_guard", "opening", "promise_in_guard", "record", "redo", "show_again", "take_back",
           "tally", "written_of"]

ndarray = np.ndarray


class WRITE:
    """Stands where events have their row."""

    name = "a write in place"
    redo = staticmethod(overwrite)

    @staticmethod
    def fits(tape: Any, tensor: Tensor, result: Tensor) -> bool:
        """Whether results of one type and shape are written."""
        one, other = tensor._array, result._array
        return bool(one.shape == other.shape and one.dtype == other.dtype) and (
            tape.recorded(other) is not None and not tape.left_out.comes_before(tensor))

    @staticmethod
    def check(entry: Entry, number: int, tensor: Tensor, result: Tensor) -> None:
        """Unrecordable where a tensor from outside would get a tail."""
        if number >= 0 and switch.on and (tensor._requires_grad or result._requires_grad):
            raise Unrecordable("a write in place")

    @staticmethod
    def guard(entry: Entry, tape: Any) -> Any:
        """``go(tape, tensor, result)``: True, and the write is promised, or None."""
        found = opening(entry, tape)
        if renamed.is_of_result(entry):
            return renamed.guard(found, entry)
        found.otherwise()
        promise_in_guard(found, entry)
        if entry.patterns[0][0] == ALIAS:
            found.lines.append(f" tape.written[{found.name('N', entry.promises[0].written)}]"
                               ".goes_by(a0)")
        return found.done(entry, "True")


class Written:
    """A tensor that a pending round writes to: its array, and how often that was counted."""

    __slots__ = ("tensor", "array", "storage", "times", "aliases")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.array, self.times = tensor, tensor._array, 0
        self.storage = tensor.shared_storage()
        self.aliases: list[Tensor] = []

    def goes_by(self, alias: Tensor) -> None:
        """The tensor was written to by way of ``.data``, which holds what the tensor holds."""
        alias._array = self.tensor._array
        self.aliases.append(alias)


def alone(tensor: Tensor, aliases: int = 0) -> bool:
    """Whether `tensor` is the only way to its memory, but for so many aliases, and may be written
    to."""
    array, storage = tensor._array, tensor._storage
    if array.__class__ is not ndarray or tensor._base is not None or tensor._node is not None:
        return False
    owner = array.base
    if owner is not None and (owner.__class__ is not ndarray or owner.base is not None
                              or getrefcount(owner) > _alone["owner"]):
        return False
    flags = array.flags
    return bool(flags.writeable and flags.c_contiguous) and (storage is None or (
        getrefcount(storage) <= _alone["storage"] + aliases and not is_shared_with_numpy(storage)))


_alone = {"owner": 1000, "storage": 1000}  # what CPython counts where nobody else holds them


# While recording.

def record(tape: Any, tensor: Tensor, result: Tensor, row: Any = WRITE) -> bool:
    """Write now, and remember it; False, with nothing done, where that is no event."""
    if tape.broken or tape.inside is not None or not row.fits(tape, tensor, result):
        return False
    entry = Entry("write", tape.at)
    entry.row, entry.mode = row, switch.on
    tape.added = []
    try:
        entry.patterns = [tape.pattern(entry, tensor), tape.pattern(entry, result)]
        if any(kind == SLOT and data.slot in tape.seen for kind, data in entry.patterns):
            raise Unrecordable("a result that NumPy code sees")
        number = number_of(tape, entry, tensor)
        row.check(entry, number, tensor, result)
    except Unrecordable:
        for key in tape.added:
            del tape.external_of[key]
        return False
    try:
        if number < 0:
            renamed.write(tape, tensor, result)
        else:
            tape.now(row.redo, (tensor, result))
        follow(tape, entry, number, leaf_of(entry, tensor))
    except BaseException:
        tape.give_up("interrupted")
        raise
    return True


def number_of(tape: Any, entry: Entry, tensor: Tensor) -> int:
    """Which external is written to; -1 for a result of the round. Unrecordable where others may
    see its memory."""
    kind, data = entry.patterns[0]
    if kind == SLOT and data.written < 0:
        if not renamed.can_be(tape, data, tensor):
            raise Unrecordable("a write in place")
        return -1
    if kind != SLOT and not alone(leaf_of(entry, tensor), kind == ALIAS):
        raise Unrecordable("a write in place")
    return int(data.written if kind == SLOT else data[0])


def leaf_of(entry: Entry, tensor: Tensor) -> Tensor:
    """The tensor that is written to, whichever way."""
    leaf = tensor._leaf if entry.patterns[0][0] == ALIAS else tensor
    assert leaf is not None
    return leaf


def follow(tape: Any, entry: Entry, number: int, tensor: Tensor) -> None:
    """The tape stands behind this write, which is new, or has been recorded before."""
    same = next((child for child in tape.at.ops if child.row is entry.row
                 and child.mode is entry.mode and alike(child.patterns, entry.patterns)), None)
    if same is not None:
        tape.at = entry = same
    else:
        if number < 0:
            renamed.promise_of(entry, tensor)
        else:
            kind = promise_class(tensor._array, entry.slot_count, tensor._requires_grad)
            kind.written = number
            entry.slots, entry.promises, entry.stubs = [entry.slot_count], [kind], [None]
            entry.slot_count += 1
        tape.grow(entry)
    tape.note(entry.promises, (tensor,))


# In replay.

def expect(tape: Any, tensor: Tensor, result: Tensor, row: Any = WRITE) -> bool:
    """Whether the tree expects this write here: then it is promised."""
    for entry in tape.here.ops:
        if entry.row is row and entry.go(tape, tensor, result):
            return True
    return False


def guard(entry: Entry, tape: Any) -> Any:
    """The function that recognises a write, and promises it."""
    return entry.row.guard(entry, tape)


def opening(entry: Entry, tape: Any) -> Guard:
    """The comparisons with which ``go(tape, a0, a1)`` of a write begins."""
    found = Guard(tape, "def go(tape, a0, a1):")
    found.check(f"tape.on is not {entry.mode}")
    found.arguments(entry.patterns, entry.layouts, entry.externals - len(entry.layouts))
    in_guard(found, entry)
    return found


def in_guard(found: Guard, entry: Entry) -> None:
    """The comparisons of a write: what the first one of a round writes to must be alone."""
    found.names.update(alone=alone, promise=promise, has_one_name=has_one_name)
    if entry.patterns[0][0] != SLOT:
        aliases = ", 1" if entry.patterns[0][0] == ALIAS else ""
        here = found.name("N", entry.promises[0].written)
        kind = found.name("K", entry.promises[0])
        found.check(f"{here} in tape.originals or not alone(tape.bound[{here}]{aliases}) or "
                    f"tape.admitted != {kind}.checked and not has_one_name(tape, {here}, {kind})")


def promise_in_guard(found: Guard, entry: Entry) -> None:
    kind = entry.promises[0]
    here = found.name("N", kind.written)
    found.lines.append(f" promise(tape, {here}, {found.name('K', kind)}, tape.bound[{here}])")


def has_one_name(tape: Any, number: int, kind: Any) -> bool:
    """Whether external `number` is no other external, too; if so, as long as these stay."""
    tensor = tape.bound[number]
    for other, one in enumerate(tape.bound):
        if one is tensor and other != number:
            return False
    kind.checked = tape.admitted
    return True


def promise(tape: Any, number: int, kind: Any, tensor: Tensor) -> None:
    """Until the end of the round `tensor` holds a promise."""
    storage = tensor.shared_storage()
    written = written_of(tape, number, tensor)
    tensor._array = promised(kind, tape)
    written.times += storage is written.storage
    storage.version += 1


def written_of(tape: Any, number: int, tensor: Tensor) -> Written:
    """What is known of the external with this number, that is written to."""
    written: Written | None = tape.written.get(number)
    if written is None:
        tape.written[number] = written = Written(tensor)
    return written


def give_back(tape: Any) -> None:
    """The round is over: tensors get the arrays back into which it has written."""
    for one in tape.written.values():
        keep(one)
    tape.written = {}


def keep(one: Written) -> None:
    for tensor in (one.tensor, *one.aliases):
        array = tensor._array
        if isinstance(array, Promise):
            array.keep(one.array)
            tensor._array = one.array


def take_back(tape: Any) -> list[tuple[Tensor, Any]]:
    """The round is left: its writes have not happened, and are not counted. The tensors, each with
    what was promised for it."""
    written, tape.written = tape.written, {}
    found = [(one.tensor, one.tensor._array) for one in written.values()]
    for one in written.values():
        keep(one)
        one.tensor._storage = one.storage
        one.storage.version -= one.times
    return found


def show_again(taken: list[tuple[Tensor, Any]]) -> None:
    """The writes have happened after all: who has asked for what was promised is shown what the
    tensors hold now, which may be other memory than before."""
    for tensor, promise in taken:
        if isinstance(promise, Promise):
            promise.array = tensor._array


def redo(entry: Entry, args: list[Any], tensors: Any, values: dict[Any, Tensor]) -> Any:
    """The write, now."""
    if renamed.is_of_result(entry):
        return renamed.redo(entry, args, tensors, values)
    tensor = leaf_of(entry, args[0])
    values[entry.promises[0]] = tensor
    entry.row.redo(*args)
    return (tensor,)


def apart_from_others(arrays: list[Any], written: Any) -> bool:
    """Whether each of the arrays with these numbers is memory of its own among all."""
    roots = [id(root_of(array)) for array in arrays]
    return all(number < len(roots) and roots.count(roots[number]) == 1 for number in written)


# Counters: whole numbers that nothing in the round depends on.

def tally(counter: Tensor) -> None:
    """Add one to a counter, in place; a round goes on beside it."""
    array, tape = counter._array, switch.tape
    if array.__class__ is not ndarray or array.ndim or counter._base is not None:
        counter.add_(1)
        return
    if tape is not None:
        tape.tally(counter)
    array += 1
    counter.shared_storage().version += 1


def _calibrate() -> None:
    """Find out what `getrefcount` says where nobody else holds memory."""
    found: Any = object.__new__(Tensor)
    found._array = np.zeros((2, 2)).reshape(4)
    found.shared_storage()
    for name in _alone:
        _alone[name] = 0
        while not alone(found):
            _alone[name] += 1


_calibrate()
