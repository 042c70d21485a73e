"""Values that are looked at in mid-round: ``a = h.mean().item()`` before ``backward()``.

The first times the round is left for it. Where a value is looked at again and again a program of
its own computes it, from the beginning of the round, and the round goes on. Such a program has to
pay: there is one, and one more for every ten replayed rounds. A round in which values are looked
at in several places is not replayed before each of them has its program; so what a round has had
so far does not count, as long as computing it again and again is little work.
"""

from __future__ import annotations

import threading
from typing import Any

from kkori.run import writes
from kkori.run.entry import AWAY, Entry

__all__ = ["look"]

LOOKS_BEFORE_COMPILING = 3
REPLAYS_FOR_ANOTHER = 10
MOST_PROGRAMS = 8  # that a round may have before it has been replayed
LITTLE_WORK = 1e5  # numbers that they compute: some ten microseconds


def look(tape: Any, promised: Any) -> None:
    """Compute one promised value without leaving the path, where that pays."""
    with tape.lock:
        if promised.array is None and not (can_look(tape, promised) and show(tape, promised)):
            tape.flush()


def can_look(tape: Any, promised: Any) -> bool:
    """Whether the round can go on behind a look."""
    at = tape.here
    return not (tape.recording or at is AWAY or threading.get_ident() != tape.thread
                or promised.written >= 0) and (not tape.written or writes.apart_from_others(
                    tape.inputs(at.externals), tape.written))


def show(tape: Any, promised: Any) -> bool:
    """Whether a program has computed what is looked at."""
    at = tape.here
    program = program_of(tape, at, promised.slot)
    if program is None:
        return False
    tape.counts["looks"] += 1
    try:
        promised.show(*program.run(tape.inputs(at.externals), tape.numbers[:at.number_count]))
    except program.Doubtful:
        return False
    return True


def program_of(tape: Any, at: Entry, slot: int) -> Any:
    """The program that computes `slot` where the round stands; None while, or if, there is none."""
    found = at.looks.get(slot, 0)
    if found == -1:
        return None
    if found.__class__ is int:
        at.looks[slot] = found = found + 1
        if found < LOOKS_BEFORE_COMPILING or not pays(tape, at):
            return None
        tape.look_programs += 1
        from kkori.run.trace import look
        at.looks[slot] = found = look(at, slot) or -1
    return None if found == -1 else found


def pays(tape: Any, at: Entry) -> bool:
    """Whether another program is worth it."""
    earned = tape.replayed() // REPLAYS_FOR_ANOTHER
    if tape.look_programs <= earned:
        return True
    count, work, so_far = 0, 0, 0
    for entry in at.path():
        so_far += sum(kind.size for kind in entry.promises)
        here = sum(program.__class__ is not int for program in entry.looks.values())
        count += here
        work += here * so_far
    return count < MOST_PROGRAMS and tape.look_programs <= earned + count and (
        work + so_far <= LITTLE_WORK)
