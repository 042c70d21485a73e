"""Results of a round that become its inputs: ``mixed = (a * x + b * y).requires_grad_()``.

From there on such a tensor is a leaf, as if it had come from outside. Its numbers are computed at
once, by a program of their own, and the rest of the round takes them as an input.
"""

from __future__ import annotations

from typing import Any

from kkori.core.promise import Promise
from kkori.core.threads import undisturbed
from kkori.run.detached import is_shown, shows_another
from kkori.run.entry import SLOT, Entry, Unrecordable
from kkori.tensor import Tensor

__all__ = ["expect", "record"]

_new = object.__new__


def expect(tape: Any, tensor: Any) -> bool:
    """Whether the tree expects that `tensor` becomes an input here: then it is one."""
    promised, here = tensor._array, tape.here
    if not isinstance(promised, Promise) or tensor._requires_grad or tape.originals:
        return False
    for entry in here.ends:
        if entry.kind == "input" and promised.__class__ is entry.patterns[0][1]:
            found = promised.peek()
            if tape.here is not here or tape.made[promised.slot] is not tensor:
                return False  # it was computed by leaving the round
            with undisturbed():
                tape.made[promised.slot] = other = _new(Tensor)  # what was promised; nobody has it
                other._array = promised
                tape.bound[entry.externals - 1] = tensor
                tape.admitted += 1
                tape.here = entry
                tensor._array = found
            return True
    return False


def record(tape: Any, tensor: Any) -> bool:
    """Remember that `tensor` is an input from here on; False where that is no event."""
    known = tape.recorded(tensor._array)
    if tape.broken or tape.inside is not None or known is None or not can_be(tape, known, tensor):
        return False
    entry = Entry("input", tape.at)
    entry.patterns = [(SLOT, known)]
    try:
        del tape.class_of[id(tensor._array)]
        tensor._requires_grad = True
        tape.external(entry, tensor)
    except Unrecordable as reason:
        tape.give_up(str(reason))
        return True
    same = next((child for child in tape.at.ends if child.kind == "input"
                 and child.patterns == entry.patterns), None)
    if same is not None:
        tape.at = same
        return True
    entry.go = never
    tape.grow(entry)
    return True


def can_be(tape: Any, known: Any, tensor: Any) -> bool:
    """Whether nothing else in the round shows the same memory."""
    return (known.slot not in tape.seen and not known.needs and known.written < 0
            and tensor._base is None and known.flags.c_contiguous
            and not is_shown(tape.at.path(), known.slot)
            and not shows_another(tape.at.path(), known.slot))


def never(tape: Any, args: Any) -> None:
    """Such events are not matched as others are."""
