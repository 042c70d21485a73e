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

from kkori.core.promise import promised
from kkori.core.storage import Storage
from kkori.run import writes
from kkori.run.detached import shows_another
from kkori.run.entry import SLOT, Entry, Unrecordable
from kkori.tensor import Tensor

__all__ = ["REBIND", "rebind"]


class REBIND:
    """Stands where events have their row."""

    name = ".data ="

    @staticmethod
    def guard(entry: Entry, tape: Any) -> Any:
        """``go(tape, tensor, new)``: True, and the new numbers are promised, or None."""
        found = writes.opening(entry, tape)
        found.check("a1._base is not None or a1._storage is not None")
        found.otherwise()
        kind, found.names["promise"] = entry.promises[0], promise
        here = found.name("N", kind.written)
        found.lines.append(f" promise(tape, {here}, {found.name('K', kind)}, tape.bound[{here}])")
        return found.done(entry, "True")

    @staticmethod
    def redo(tensor: Tensor, result: Tensor) -> None:
        tensor.data = result

    @staticmethod
    def fits(tape: Any, tensor: Tensor, new: Tensor) -> bool:
        """Whether the numbers of `new`, a result that is no view, can be put where those of
        `tensor` are."""
        known, mine, other = tape.recorded(new._array), tensor._array, new._array
        return known is not None and known.written < 0 and not known.version and (
            not shows_another(tape.at.path(), known.slot)) and (
            new._base is None and not new._requires_grad and mine.shape == other.shape
            and mine.dtype == other.dtype and mine.strides == other.strides
            and (new._storage is None or not new._storage.version))

    @staticmethod
    def check(entry: Entry, number: int, tensor: Tensor, new: Tensor) -> None:
        """Unrecordable but where a tensor from outside gets a result."""
        if number < 0 or entry.patterns[1][0] != SLOT:
            raise Unrecordable("memory that is no result of the round")


def rebind(tape: Any, tensor: Tensor, new: Tensor) -> bool:
    """Whether ``tensor.data = new`` has been done, and is remembered, or is promised."""
    return (writes.record if tape.recording else writes.expect)(tape, tensor, new, REBIND)


def promise(tape: Any, number: int, kind: Any, tensor: Tensor) -> None:
    """Until the end of the round `tensor` holds a promise; its storage is a new one."""
    written = writes.written_of(tape, number, tensor)
    tensor._array = promised(kind, tape)
    tensor._storage = Storage(written.array)
