"""What a new branch of rounds begins with: operations that were run beside the round before it was
known that a branch grows here.

Each of them may stay beside the round, as before; but what one that does was made from has to stay
there with it, or its numbers would have to be computed in the middle of every round.
"""

from __future__ import annotations

from typing import Any

from kkori.autograd.mode import switch
from kkori.run.entry import Unrecordable

__all__ = ["goes_on", "take_down"]


def goes_on(branch: list[Any], args: Any) -> bool:
    """Whether one of `args` is a result of these operations."""
    return any(arg is operation[3] for operation in branch for arg in args)


def take_down(tape: Any, branch: list[Any]) -> list[Any] | None:
    """Remember these operations; where that cannot be, the result is those with which to try
    again."""
    outer = switch.on
    try:
        for number, (call, row, args, found, switch.on) in enumerate(branch):
            if tape.left_out.goes_on(tape, row, args, found):
                continue
            tape.added = []
            before = tape.grown
            try:
                tape.remember(call, row, args, found)
            except Unrecordable:
                return without(branch, number)
            if tape.grown is before is None:  # an event that is there; but its guard said no
                return without(branch, number)
    except BaseException:  # Ctrl-C: what is noted down may be a half
        tape.give_up("interrupted")
        raise
    finally:
        switch.on = outer
    return None


def without(branch: list[Any], number: int) -> list[Any]:
    """These operations but for one, and for those that it was made from."""
    gone = [branch[number]]
    for operation in branch[number - 1::-1] if number else ():
        if any(goes_on([operation], one[2]) for one in gone):
            gone.append(operation)
    return [operation for operation in branch if not any(operation is one for one in gone)]
