"""Loops that take turns, such as two optimizers of adversaries: each is told what the other sees.

What guards and updates remember may not hold any more where NumPy code is shown memory, or state is
written to. Only the tape that is matched is told of that. So it tells those whose turn was just
before, as long as nothing came between but replayed rounds of one another; any other tape has to
look at all again when its turn comes.
"""

from __future__ import annotations

from typing import Any

from kkori.core.storage import root_of
from kkori.run.shown import relies_on

__all__ = ["begin", "shown", "written"]


def begin(tape: Any, before: Any) -> None:
    """The turn of `tape` comes, behind a replayed round of the tape `before` (None: or behind
    anything else)."""
    if before is None:
        tape.turns = []
    elif any(one is tape for one in before.turns):
        return
    else:
        before.turns = before.turns or [before]
        before.turns.append(tape)
        tape.turns = before.turns
    tape.doubt()


def written(tape: Any, array: Any) -> None:
    """`array` is about to be changed; None: nobody knows what."""
    root = None if array is None else id(root_of(array))
    for one in tape.turns or (tape,):
        if root is None or root in one.state_roots:
            one.doubt()


def shown(tape: Any, array: Any) -> None:
    """NumPy code sees `array` from now on, and may write to it."""
    for one in tape.turns or (tape,):
        if relies_on(one, array):
            one.doubt()
