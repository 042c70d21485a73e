"""Tails that are cut within a round: ``h.detach()`` and ``h.data`` of its results, as events.

What they give shows the same memory as the result, with the storage of that, and requires no
gradients; unlike a view it knows nothing of what it shows. So it is an operation that computes
nothing: where both are still held when the round is over, they share their memory again.
"""

from __future__ import annotations

from typing import Any

from kkori.autograd.mode import switch
from kkori.core.promise import Promise, promise_class
from kkori.run.entry import AWAY, MOST_OPERATIONS, SLOT, Entry, Unrecordable, alike
from kkori.tensor import Tensor, asked_first, wrap

__all__ = ["DETACH", "is_shown", "shows_another"]


class DETACH:
    """Stands where events have their row."""

    name = "detach"
    view = True
    differentiable = keeps_values = False

    @staticmethod
    def array(array: Any) -> Any:
        return array


def in_round(tensor: Tensor) -> Tensor | None:
    """`tensor` without its tail, as a result of this round; None where it is none."""
    tape = switch.tape
    if tape is None or tape.here is AWAY and not tape.recording:
        return None
    promise = tensor._array
    if isinstance(promise, Promise):
        if promise.tape is not tape or promise.written >= 0 or tape.here is tape.root:
            return None
        found: Tensor | None = tape.matched(DETACH, (tensor,))
        if found is not None:
            if promise.array is not None:  # it has been looked at: so has this
                found._array.show(promise.array)
            return found
        tape.miss(DETACH, (tensor,))  # the tensor is no promise any more
    return record(tape, tensor) if tape.recording else None


def record(tape: Any, tensor: Tensor) -> Tensor | None:
    """Cut the tail, and remember it; None where that is no event."""
    known = tape.recorded(tensor._array)
    if known is None or tape.broken or tape.inside is not None or known.written >= 0 or (
            tape.at.depth > MOST_OPERATIONS):
        return None
    entry = Entry("op", tape.at)
    try:
        entry.patterns = [tape.pattern(entry, tensor)]
    except Unrecordable:
        return None
    entry.row, entry.call, entry.mode, found = DETACH, shown_again, switch.on, shown_again(tensor)
    same = next((child for child in tape.at.ops if child.row is DETACH
                 and child.mode is entry.mode and alike(child.patterns, entry.patterns)), None)
    if same is not None:
        tape.at = entry = same
    else:
        kind = promise_class(found._array, entry.slot_count, False)
        kind.version = known.version
        entry.slots, entry.promises, entry.stubs = [entry.slot_count], [kind], [None]
        entry.slot_count += 1
        entry.view = SLOT, known.slot
        tape.grow(entry)
    tape.note(entry.promises, (found,))
    if known.slot in tape.seen:
        tape.seen.update(entry.slots)
    return found


def shown_again(tensor: Tensor) -> Tensor:
    """The same memory as another tensor and another array, by which a recording knows it."""
    found = wrap(tensor._array[...])
    found._storage = tensor.shared_storage()
    return found


def shows_another(path: list[Entry], slot: int) -> bool:
    """Whether a result is a view of something, or shows the memory of another result."""
    return any(slot in entry.slots and entry.view is not None for entry in path)


def is_shown(path: list[Entry], slot: int) -> bool:
    """Whether there is a view of a result, or something else that shows its memory."""
    return any(entry.view == (SLOT, slot) for entry in path)


asked_first.append(in_round)
