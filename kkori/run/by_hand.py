"""Parameters that a program changes itself: ``w.data = w.data - lr * w.grad``.

Rounds that end with backward() begin with such changes. Three things about them are events of
their own kind, or arguments of one:

* ``w.data`` as an argument: another tensor every time, with the array of the leaf that it was
  taken from. It is recognised by that leaf.
* ``w -= ...``, or ``w.data -= ...``: a write in place (run/writes.py), which may go by way of such
  an alias.
* ``w.data = result``: the leaf gets the memory of a result, and a storage that nobody has written
  to. The compiled round writes the numbers into the memory that the leaf has instead. Nobody can
  tell, as long as nobody else holds either (`alone`, and `sources` in run/free.py).
"""

from __future__ import annotations

from typing import Any

from kkori.autograd.mode import switch
from kkori.core.promise import promised
from kkori.core.storage import Storage
from kkori.run.detached import shows_another
from kkori.run.entry import SLOT, Entry, Unrecordable
from kkori.run.guards import Guard
from kkori.run.writes import Written, follow, in_guard, number_of
from kkori.tensor import Tensor

__all__ = ["REBIND", "expect", "record"]


class REBIND:
    """Stands where events have their row."""

    name = ".data ="

    @staticmethod
    def guard(entry: Entry, tape: Any) -> Any:
        """``go(tape, tensor, new)``: True, and the new numbers are promised, or None."""
        found = Guard(tape, "def go(tape, a0, a1):")
        found.check(f"tape.on is not {entry.mode}")
        found.arguments(entry.patterns, entry.layouts, entry.externals - len(entry.layouts))
        in_guard(found, entry)
        found.check("a1._base is not None or a1._storage is not None")
        found.otherwise()
        kind, found.names["promise"] = entry.promises[0], promise
        here = found.name("N", kind.written)
        found.lines.append(f" promise(tape, {here}, {found.name('K', kind)}, tape.bound[{here}])")
        return found.done(entry, "True")

    @staticmethod
    def redo(tensor: Tensor, result: Tensor) -> None:
        tensor.data = result


def record(tape: Any, tensor: Tensor, new: Tensor) -> bool:
    """Give `tensor` the memory of `new`, and remember it; False, with nothing done, where that is
    no event."""
    if tape.broken or tape.inside is not None or not fits(tape, tensor, new):
        return False
    entry = Entry("write", tape.at)
    entry.row, entry.mode = REBIND, switch.on
    tape.added = []
    try:
        entry.patterns = [tape.pattern(entry, tensor), tape.pattern(entry, new)]
        if entry.patterns[1][0] != SLOT:
            raise Unrecordable("memory from outside")
        number = number_of(tape, entry, tensor)
        if number < 0:
            raise Unrecordable("a result of the round")
    except Unrecordable:
        for key in tape.added:
            del tape.external_of[key]
        return False
    try:
        tape.now(REBIND.redo, (tensor, new))
        follow(tape, entry, number, tensor)
    except BaseException:
        tape.give_up("interrupted")
        raise
    return True


def fits(tape: Any, tensor: Tensor, new: Tensor) -> bool:
    """Whether the numbers of `new`, a result that is no view, can be put where those of `tensor`
    are."""
    known, mine, other = tape.recorded(new._array), tensor._array, new._array
    return known is not None and known.written < 0 and not known.version and (
        not shows_another(tape.at.path(), known.slot)) and (
        new._base is None and not new._requires_grad and mine.shape == other.shape
        and mine.dtype == other.dtype and mine.strides == other.strides
        and (new._storage is None or not new._storage.version))


def expect(tape: Any, tensor: Tensor, new: Tensor) -> bool:
    """Whether the tree expects this here: then it is promised."""
    for entry in tape.here.ops:
        if entry.row is REBIND and entry.go(tape, tensor, new):
            return True
    return False


def promise(tape: Any, number: int, kind: Any, tensor: Tensor) -> None:
    """Until the end of the round `tensor` holds a promise; its storage is a new one."""
    written = tape.written.get(number)
    if written is None:
        tape.written[number] = written = Written(tensor)
    tensor._array = promised(kind, tape)
    tensor._storage = Storage(written.array)
