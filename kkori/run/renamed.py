"""Writes in place to results of the round: ``F.relu_(h)``, ``out += identity``, clipped gradients.

No memory changes here: from such a write on the tensor is another result of the round, that which
was put there, tail and all (`rename`). What it was before stays behind as a tensor that only the
tape holds. Where the round is left, the write is done after all, as immediate execution does it.

That is right where nobody else sees the memory: there is no view of the result, it is none itself,
and no other tensor holds its array.
"""

from __future__ import annotations

from sys import getrefcount
from typing import Any
from weakref import ref

from numpy import ndarray, zeros

from kkori.autograd.views import overwrite
from kkori.core.promise import Promise, promise_class, promised
from kkori.core.storage import is_shared_with_numpy
from kkori.run.detached import is_shown, shows_another
from kkori.run.entry import Entry, stub_of
from kkori.run.guards import Guard
from kkori.tensor import Tensor, wrap

__all__ = ["become", "can_be", "guard", "is_held_elsewhere", "is_of_result", "promise_of", "redo",
           "rename", "restore", "write"]


def is_of_result(entry: Entry) -> bool:
    """Whether an event is a write to a result of the round, such as a gradient."""
    return entry.kind == "write" and entry.promises[0].written < 0


# While recording.

def can_be(tape: Any, known: Any, tensor: Tensor) -> bool:
    """Whether nobody but `tensor` sees the memory of the recorded result `known`."""
    array, storage, path = tensor._array, tensor._storage, tape.at.path()
    owner = array.base
    if owner is not None and (owner.__class__ is not ndarray or owner.base is not None or (
            getrefcount(owner) > _alone["owner"])):
        return False
    if tensor._base is not None or tensor._requires_grad and tensor._node is None or (
            is_shown(path, known.slot) or shows_another(path, known.slot)):
        return False
    return bool(array.flags.writeable) and 0 not in array.strides and (
        storage is None or not is_shared_with_numpy(storage) and (
            getrefcount(storage) <= _alone["storage"])) and getrefcount(array) <= _alone["array"]


def write(tape: Any, tensor: Tensor, result: Tensor) -> None:
    """Write now. Where a node has saved what the tensor was before, it has a copy from now on: the
    round knows that as what the tensor was."""
    node, known = result._node, tape.recorded(tensor._array)
    saved = node.saved if node is not None and node.saved.__class__ is list else []
    places = [place for place, value in enumerate(saved) if value is tensor]
    tape.now(overwrite, (tensor, result))
    for place in places:
        copy = saved[place]
        if copy is not tensor:
            tape.class_of[id(copy._array)] = ref(copy._array), known


def promise_of(entry: Entry, tensor: Tensor) -> None:
    """What the tensor is from this new event on."""
    kind = promise_class(tensor._array, entry.slot_count, tensor._requires_grad)
    kind.version = entry.patterns[0][1].version + 1
    entry.slots, entry.promises = [entry.slot_count], [kind]
    entry.stubs = [stub_of(tensor._node.row, tensor) if tensor._requires_grad else None]
    entry.slot_count += 1


# In replay.

def rename(found: Guard, entry: Entry, name: str, old: Any) -> None:
    """The lines of a guard that make the tensor `name`, which has been `old`, another result. Until
    the last of them an interrupt finds it where the tape looks for it."""
    kind, stub = entry.promises[0], entry.stubs[0]
    if not kind.cell:
        kind.cell.append(promised(kind, found.tape))
    found.lines += [" made = tape.made", " before = new(Tensor)", f" before._array = {name}._array"]
    if old.needs:
        found.lines += [" before._requires_grad = True", f" before._node = {name}._node"]
    found.lines.append(f" {name}._array = {found.name('P', kind.cell)}[0]")
    if old.needs or kind.needs:
        found.lines += [f" {name}._requires_grad = {kind.needs}",
                        f" {name}._node = {found.name('G', stub)}"]
    found.lines += [f" made[{found.name('N', kind.slot)}] = {name}",
                    f" tape.here = {found.name('E', entry)}",
                    f" made[{found.name('N', old.slot)}] = before"]


def guard(found: Guard, entry: Entry) -> Any:
    """The rest of ``go(tape, a0, a1)``, behind the comparisons."""
    found.names["is_held_elsewhere"] = is_held_elsewhere
    found.check("is_held_elsewhere(a0._array)")
    found.otherwise()
    rename(found, entry, "a0", entry.patterns[0][1])
    return found.done(None, "True")


def is_held_elsewhere(promise: Promise) -> bool:
    """Whether somebody but one tensor holds a promise."""
    cell = promise.cell
    waits = 1 if cell and cell[0] is promise else 0
    return getrefcount(promise) - waits > _alone["promise"]


# Leaving the round.

def redo(entry: Entry, args: list[Any], tensors: Any, values: dict[Any, Tensor]) -> tuple[Tensor]:
    """The write, now."""
    tensor, result = args
    overwrite(tensor, result)
    for one in tensors:
        if one is not tensor:
            become(one, tensor)
            tensor = one
    values[entry.promises[0]] = tensor
    return (tensor,)


def become(tensor: Tensor, real: Any) -> None:
    """A promised tensor is now what was computed: array, storage, tail and all."""
    promised = tensor._array
    here = tensor.__dict__
    for name in ("_node", "_requires_grad", "_base", "_storage", "_origin"):
        here.pop(name, None)
    here.update(real.__dict__)
    if isinstance(promised, Promise):
        promised.keep(real._array)


def restore(pending: list[tuple[Entry, Any]], values: dict[Any, Tensor]) -> None:
    """After an error: tensors that have been computed, and were still to be written to, are as
    they were before that. `pending`: the newest first."""
    for entry, tensors in reversed(pending):
        if is_of_result(entry):
            before = values.get(entry.patterns[0][1])
            if before is not None:
                values[entry.promises[0]] = before
                for tensor in tensors:
                    become(tensor, before)


# What CPython counts where only one tensor holds something.
_alone = {"owner": 1000, "storage": 1000, "array": 1000, "promise": 1000}


def _calibrate() -> None:
    """Find out what `getrefcount` says where only one tensor holds things."""
    class Nothing:
        slot = -1

        @staticmethod
        def path() -> list[Entry]:
            return []

    tape: Any = Nothing
    tape.at = Nothing
    tensor = wrap(zeros((1, 1)).reshape(1))
    tensor.shared_storage()
    for name in ("owner", "storage", "array"):
        _alone[name] = 0
        while not can_be(tape, Nothing, tensor):
            _alone[name] += 1
    tensor = wrap(promised(promise_class(zeros(1), 0, False), None))
    _alone["promise"] = 0
    while is_held_elsewhere(tensor._array):
        _alone["promise"] += 1


_calibrate()
