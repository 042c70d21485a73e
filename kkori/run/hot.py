"""Hot loops: noticing that a training loop repeats, and running its rounds as one call.

The anchor is the end of ``optimizer.step()``. A loop that has come by a few times is recorded;
from then on its rounds are matched (`tape`), and `step` computes all that is pending: forward,
backward and update together, by compiled loops. Where something cannot be recorded or compiled,
rounds go on as before.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import Any

from kkori.autograd.mode import switch
from kkori.core.promise import Promise
from kkori.run.tape import SLOT, Entry, Tape

__all__ = ["step", "after_step", "enabled", "set_enabled", "tapes"]

ROUNDS_BEFORE_RECORDING = 3
MOST_RECORDINGS = 12
_state = {"on": os.environ.get("KKORI_HOT") == "1" and not os.environ.get("KKORI_EAGER")}


def enabled() -> bool:
    """Whether hot loops are recorded."""
    return _state["on"]


def set_enabled(on: bool) -> None:
    """Turn recording on or off for all threads; what is pending in this one runs first."""
    if switch.tape is not None:
        switch.tape.flush()
        switch.tape = None
    _state["on"] = on


class Loop:
    """What is known of the rounds that end with one optimizer's step."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rounds = self.recordings = 0
        self.tape: Tape | None = None
        self.given_up = ""
        self.runners: dict[Any, Any] = {}


def loop_of(optimizer: Any) -> Loop:
    found = optimizer.__dict__.get("_hot_loop")
    if found is None:
        found = optimizer.__dict__["_hot_loop"] = Loop(
            type(optimizer).__name__)
        tapes.add(found)
    return found


tapes: weakref.WeakSet[Loop] = weakref.WeakSet()  # for explain()


def step(optimizer: Any) -> bool:
    """Called as a step begins; True if the whole round, this step included, has been run."""
    tape = switch.tape
    if tape is None:
        return False
    if tape is not loop_of(optimizer).tape:
        tape.in_place()
        return False
    if tape.recording:
        return False
    entry = next((child for child in tape.at.children
                  if child.kind == "step" and child.row is optimizer), None)
    if entry is None or not run_round(tape, entry, optimizer):
        if tape.pending or entry is None:
            tape.miss()
        return False
    return True


def after_step(optimizer: Any, done: bool) -> None:
    """Called as a step ends: the next round begins."""
    if not _state["on"]:
        return
    loop = loop_of(optimizer)
    tape = loop.tape
    if done:
        assert tape is not None
        tape.start_round()
        switch.tape = tape
        return
    if loop.given_up:
        switch.tape = None
        return
    loop.rounds += 1
    if tape is not None and tape.recording:
        finish_recording(loop, tape, optimizer)
    elif tape is not None and tape.counts["flushed"] > 20 + tape.counts["rounds"]:
        loop.given_up = "values are looked at before the step"
    if loop.given_up or loop.rounds < ROUNDS_BEFORE_RECORDING:
        switch.tape = None
        return
    begin_round(loop, optimizer)


def begin_round(loop: Loop, optimizer: Any) -> None:
    """Match the next round, or record it if there is nothing to match yet."""
    if loop.tape is None:
        loop.tape = Tape()
    tape = loop.tape
    if tape.thread != threading.get_ident():
        switch.tape = None
        return
    tape.start_round()
    if not tape.root.children:
        tape.recording = True
    switch.tape = tape


def finish_recording(loop: Loop, tape: Tape, optimizer: Any) -> None:
    """A recorded round has ended: add its step to the tree, or give up."""
    from kkori.run.update import Update, Unupdatable
    loop.recordings += 1
    tape.counts["recorded"] += 1
    switch.tape = None
    if not tape.broken and not any(child.kind == "step" for child in tape.at.children):
        try:
            entry = Entry("step", tape.at)
            entry.row = optimizer
            entry.runner = Update(optimizer, tape)
            tape.at.children.append(entry)
        except Unupdatable as reason:
            tape.broken = str(reason)
    if tape.broken or loop.recordings > MOST_RECORDINGS:
        loop.given_up = tape.broken or "too many different rounds"


def run_round(tape: Tape, entry: Entry, optimizer: Any) -> bool:
    """Compute a whole round; False, with nothing changed, where that is not possible."""
    update = entry.runner
    numbers = update.numbers(optimizer, tape)
    if numbers is None:
        return False
    live = live_slots(tape)
    if live is None:
        return False
    runner = update.runner(live, tape)
    if runner is None:
        update.loop_given_up(optimizer)
        return False
    outputs = runner.compute([tensor._array for tensor in update.externals(tape)], numbers)
    slots = sorted(live)
    arrays = dict(zip(slots, outputs, strict=True))
    for check, promised in tape.checks:
        check(arrays[promised.slot])
    runner.commit()
    keep(tape, arrays)
    update.counted(optimizer)
    tape.counts["rounds"] += 1
    return True


def live_slots(tape: Tape) -> frozenset[int] | None:
    """Slots whose tensors somebody still holds; None if one of them needs its tail."""
    found = set()
    consumed = False
    for entry, tensors in reversed(tape.pending):
        consumed = consumed or entry.kind == "backward"
        for k in range(len(tensors)):
            tensor = tensors[k]
            # held by the list, by this name and by the call; the promise by its tensor and the call
            if sys.getrefcount(tensor) > 3 or sys.getrefcount(tensor._array) > 2:
                if entry.stubs[k] is not None and not consumed:
                    return None
                found.add(entry.slots[k])
    return frozenset(found) if all(stand_alone(entry, found) for entry, _ in tape.pending) else None


def stand_alone(entry: Entry, live: set[int]) -> bool:
    """Whether a held view can be an array of its own: nobody holds what it is a view of."""
    if entry.row is None or not entry.row.view or entry.slots[0] not in live:
        return True
    kind, data = entry.patterns[0]
    return kind == SLOT and data.slot not in live


def keep(tape: Tape, arrays: dict[int, Any]) -> None:
    """Give the tensors that are still held their arrays."""
    used: set[int] = set()
    for entry, tensors in tape.pending:
        for slot, tensor in zip(entry.slots, tensors, strict=True):
            array = arrays.get(slot)
            if array is None:
                continue
            if id(array) in used:
                array = array.copy()
            used.add(id(array))
            promised = tensor._array
            if isinstance(promised, Promise):
                promised.array = array
            tensor._array = array
    tape.pending = []

