"""Tensors that NumPy code sees in mid-round: ``costs.append(loss.data.numpy())`` before
``backward()``, as events; and ``labels.numpy()``, for which the round goes on with a copy.

Such an array is the memory of the result from then on, whatever is written to it: what the round
gives back when it is over, or left, is just that. Its numbers are computed at once, by a program
of their own (run/looking.py). That is right where nothing else in the round reads the result, so
nothing depends on what NumPy code might make of it: a loss, of which only the tail goes on, or
counts of what was right.
"""

from __future__ import annotations

from typing import Any

from numpy import ndarray

from kkori.autograd.graph import Node, _next_number, _Output
from kkori.core.promise import Promise
from kkori.core.storage import Storage, root_of, shown_to_numpy
from kkori.core.threads import undisturbed
from kkori.run import inputs
from kkori.run.detached import DETACH
from kkori.run.entry import AWAY, MOST_SNAPSHOT, SLOT, Entry
from kkori.run.guards import copy_of, extent_of
from kkori.tensor import wrap

__all__ = ["expect", "goes_on", "put", "reads", "record", "redo_with_copies", "show", "slots_of"]


def expect(tape: Any, tensor: Any) -> Any:
    """The array for NumPy code, where the tree expects that it sees `tensor` here; or None."""
    promised, here = tensor._array, tape.here
    if not isinstance(promised, Promise) or promised.tape is not tape:
        return None
    for entry in here.ends:
        if entry.kind == "shown" and promised.__class__ is entry.patterns[0][1]:
            slot = entry.patterns[1][1].slot
            source = tape.made[slot]._array
            found = source.peek()
            if tape.here is not here or tape.made[promised.slot] is not tensor:
                return None  # it was computed by leaving the round
            with undisturbed():
                if slot not in tape.handed:
                    tape.handed[slot] = Storage(found)
                for _, kind in entry.patterns:
                    show(tape.made[kind.slot], found)
                tape.here = entry
                return shown_to_numpy(found, tape.handed[slot])
    return None


def show(tensor: Any, array: Any) -> None:
    """`tensor`, if there is one, is another name for a result whose numbers are in `array`."""
    promised = None if tensor is None else tensor._array
    if isinstance(promised, Promise) and promised.array is not array:
        promised.show(array)


def put(tape: Any, kind: Any, real: Any) -> None:
    """The round is left: what was just computed anew is what NumPy code sees."""
    storage = tape.handed.get(kind.slot)
    if storage is not None:
        real._array, real._storage = storage.array, storage


def record(tape: Any, tensor: Any) -> Any:
    """The array for NumPy code, and that it sees `tensor` is remembered; None where that is no
    event."""
    known = tape.recorded(tensor._array)
    if known is None or tape.broken or tape.inside is not None or tape.ends_with_calls:
        return None
    path = tape.at.path()
    if not any(kind.needs for one in path for kind in one.promises):
        return None  # the round begins behind what is looked at before anything is followed
    source = source_of(path, known)
    slots = set() if source is None else aliases(path, source.slot)
    if source is None or not goes_unread(tape, path, slots, source):
        return None
    entry = Entry("shown", tape.at)
    entry.patterns = [(SLOT, known), (SLOT, source)] + [
        (SLOT, kind) for one in path for kind in one.promises if kind.slot in slots]
    same = next((child for child in tape.at.ends if child.kind == "shown"
                 and child.patterns == entry.patterns), None)
    if same is not None:
        tape.at = same
    else:
        entry.go = inputs.never
        tape.grow(entry)
    tape.seen = slots_of(tape.at.path())
    return shown_to_numpy(tensor._array, tensor.shared_storage())


# Tensors from outside.

def goes_on(tape: Any, array: Any) -> bool:
    """Whether the round can go on although NumPy code may write to this memory from now on: all
    that it has of it are inputs that it does not change, of which it takes copies."""
    root = root_of(array)
    if tape.recording:
        return tape.inside is None and not tape.broken and is_followed(tape) and not any(
            is_on(held(), root) for held, _ in tape.class_of.values()) and not any(
            is_on(getattr(held(), "_array", None), root) and held()._requires_grad
            for held, _ in tape.external_of.values())
    if tape.here is tape.root or tape.here is AWAY or id(root) in tape.state_roots or any(
            is_on(one.array, root) for one in tape.written.values()):
        return False
    layouts = [layout for entry in tape.here.path() for layout in entry.layouts]
    found = [number for number, tensor in enumerate(tape.bound[:len(layouts)])
             if tensor is not None and is_on(tensor._array, root)]
    if any(layouts[number].needs or layouts[number].viewed or number in tape.originals
           or extent_of(tape.bound[number]._array) > MOST_SNAPSHOT for number in found):
        return False
    tape.asides += 1
    tape.branch = []
    shown_before = any(is_on(tensor._array, root) for tensor, _ in tape.originals.values())
    with undisturbed():
        for number in found:
            tensor, copy = tape.bound[number], wrap(copy_of(tape.bound[number]._array))
            tape.originals[number], tape.bound[number] = (tensor, copy), copy
            tape.admitted += 1
    return bool(found) or shown_before


def redo_with_copies(tape: Any, pending: list[Any], keep: bool) -> Any:
    """Run these events, some of whose inputs are copies; what they leave behind holds the tensors
    themselves, as they are now."""
    first, originals = _next_number(), tape.originals.values()
    results = [tensor for _, tensors in pending for tensor in tensors]
    for tensor, copy in originals:
        copy.shared_storage().version = tensor._version
    try:
        return tape.redo_all(pending, keep)
    finally:
        put_back([tensor._node for tensor in results], first,
                 {id(copy): tensor for tensor, copy in originals})


def put_back(nodes: list[Any], first: int, of_copy: dict[int, Any]) -> None:
    """These nodes, and those behind them that were made since `first`, hold no copies any more."""
    seen = set()
    while nodes:
        node = nodes.pop()
        if not isinstance(node, Node) or node.sequence < first or id(node) in seen:
            continue
        seen.add(id(node))
        nodes += node.edges
        if node.saved.__class__ is list:
            node.saved[:] = [tuple([of_copy.get(id(one), one) for one in value])
                             if value.__class__ is tuple else of_copy.get(id(value), value)
                             for value in node.saved]


def is_followed(tape: Any) -> bool:
    """Whether something that has been recorded is followed."""
    return any(kind.needs for _, kind in tape.class_of.values())


def is_on(array: Any, root: Any) -> bool:
    """Whether this is an array on the memory of `root`."""
    return array.__class__ is ndarray and root_of(array) is root


# Results.

def source_of(path: list[Entry], kind: Any) -> Any:
    """The promise class of the result whose memory this is, if it is all of it; None else."""
    maker = next((entry for entry in path if kind.slot in entry.slots), None)
    while maker is not None and maker.row is DETACH:
        kind = maker.patterns[0][1]
        maker = next((entry for entry in path if kind.slot in entry.slots), None)
    plain = maker is not None and maker.kind == "op" and maker.view is None and (
        kind.written < 0 and not kind.version and kind.flags.c_contiguous)
    return kind if plain else None


def aliases(path: list[Entry], slot: int) -> set[int]:
    """The slots that show the memory of a result."""
    found = {slot}
    for entry in path:
        if entry.view is not None and entry.view[0] == SLOT and entry.view[1] in found:
            found.update(entry.slots)
    return found


def goes_unread(tape: Any, path: list[Entry], slots: set[int], source: Any) -> bool:
    """Whether nothing in the round so far reads these slots, or keeps them for the walk back."""
    for entry in path:
        if source.slot in entry.slots and any(map(saves_output, map(tape.node_of, entry.slots))):
            return False
        events = entry.inner if entry.kind in ("backward", "grad") else [entry]
        for event in events:
            if event.row is not DETACH and event.kind != "shown" and reads(event, slots):
                return False
    return True


def saves_output(node: Any) -> bool:
    """Whether a node holds what its operation has given."""
    saved = getattr(node, "saved", None)
    return saved.__class__ is list and any(isinstance(value, _Output) for value in saved)


def reads(entry: Entry, slots: Any) -> bool:
    """Whether an event takes one of these slots."""
    return any(kind == SLOT and data.slot in slots for kind, data in entry.patterns)


def slots_of(path: list[Entry]) -> set[int]:
    """The slots of which NumPy code sees the memory."""
    found = set()
    for entry in path:
        if entry.kind == "shown":
            found |= aliases(path, entry.patterns[1][1].slot)
    return found
