"""Hot loops: noticing that a training loop repeats, and running its rounds as one call.

The anchor is the end of ``optimizer.step()``. A loop that has come by a few times is recorded;
from then on its rounds are matched (`tape`), and `step` computes all that is pending: forward,
backward and update together, by compiled loops. Where something cannot be recorded or compiled,
rounds go on as before.
"""

from __future__ import annotations

import os
import threading
import weakref
from sys import getrefcount
from typing import Any

import numpy as np

from kkori.autograd.mode import hand_out_gradients, owed, switch
from kkori.core.promise import Promise, promise_class
from kkori.core.threads import undisturbed
from kkori.run.entry import EXTERNAL, SLOT, Entry
from kkori.run.guards import operation
from kkori.run.memory import release
from kkori.run.notes import line
from kkori.run.tape import Tape
from kkori.run.writes import give_back
from kkori.tensor import Tensor

__all__ = ["after_step", "before_step", "drop_gradients", "enabled", "leave", "replay",
           "set_enabled", "tapes"]

ROUNDS_BEFORE_RECORDING = 3
MOST_RECORDINGS = 12
MOST_FAILURES = 3
MOST_IDLE = 60  # rounds in a row that were not replayed, until a loop is left alone
LOOKED_AT = "values are looked at, or changed, in mid-round"
NOT_ALIKE = "no two rounds are alike"
REST = 500  # rounds for which it is, the first time; then twice as many
_state = {"on": not os.environ.get("KKORI_EAGER")}


def enabled() -> bool:
    """Whether hot loops are recorded."""
    return _state["on"]


def set_enabled(on: bool) -> None:
    """Turn recording on or off for all threads; what is pending in this one runs first."""
    if switch.tape is not None:
        switch.tape.flush()
        switch.tape = None
    hand_out_gradients()
    _state["on"] = on


class Loop:
    """What is known of the rounds that end with one optimizer's step."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rounds = self.recordings = self.failures = self.idle = 0
        self.rest, self.replayed = REST, 0
        self.tape: Tape | None = None
        self.given_up = self.last_failure = ""

    def __del__(self) -> None:
        """The optimizer is gone: its trace lets go of what it holds."""
        tape = self.tape
        if tape is not None:
            tape.flush()
            tape.let_go()
            if switch is not None and switch.tape is tape:
                switch.tape = None

    def fail(self, reason: str) -> None:
        """A recording came to nothing; after some of these no more are made."""
        self.failures += 1
        self.last_failure = reason
        assert self.tape is not None
        if self.failures >= MOST_FAILURES:
            self.tape.may_record = False
            if not self.tape.root.ops:
                self.given_up = reason


def loop_of(optimizer: Any) -> Loop:
    found = optimizer.__dict__.get("_hot_loop")
    if found is None:
        found = optimizer.__dict__["_hot_loop"] = Loop(type(optimizer).__name__)
        tapes.add(found)
    return found


tapes: weakref.WeakSet[Loop] = weakref.WeakSet()  # for explain()


def leave() -> None:
    """Compute what is pending in this thread: something comes that is no part of a round."""
    if switch.tape is not None:
        switch.tape.in_place()


def before_step(optimizer: Any) -> None:
    """Called as a step begins that could not be replayed: what is pending is computed."""
    tape = switch.tape
    if tape is None or tape.recording and tape is loop_of(optimizer).tape:
        return
    if tape is not loop_of(optimizer).tape:
        tape.in_place()
    elif tape is not None and tape.here is not tape.start:
        tape.miss()


def after_step(optimizer: Any) -> None:
    """Called as a step ends: the next round begins."""
    if not _state["on"]:
        return
    loop = loop_of(optimizer)
    tape = loop.tape
    loop.rounds += 1
    loop.idle += 1
    if tape is not None:
        tape.doubt()  # counts have gone on without it
        if tape.replayed() != loop.replayed:
            loop.replayed, loop.idle = tape.replayed(), 0
    if loop.given_up:
        if switch.tape is tape:
            switch.tape = None
        if loop.idle > loop.rest:
            wake(loop)
        return
    if tape is not None and tape.recording:
        finish_recording(loop, tape, optimizer)
    elif tape is not None and switch.tape is tape:
        tape.start_round()
        tape.missed()
    if tape is not None and tape.counts["flushed"] > 20 + 4 * tape.replayed():
        give_up(loop, LOOKED_AT)
    elif loop.idle > MOST_IDLE:
        give_up(loop, NOT_ALIKE)
    if loop.given_up or loop.rounds < ROUNDS_BEFORE_RECORDING:
        if switch.tape is tape:
            switch.tape = None
        return
    begin_round(loop)


def give_up(loop: Loop, reason: str) -> None:
    """This loop's rounds are run at once from now on."""
    loop.given_up = reason
    if loop.tape is not None:
        loop.tape.forget()
        loop.tape.let_go()


def wake(loop: Loop) -> None:
    """The loop has been left alone for long; what it does may have changed."""
    loop.given_up, loop.tape, loop.rest = "", None, 4 * loop.rest
    loop.recordings = loop.failures = loop.idle = 0


def begin_round(loop: Loop) -> None:
    """Match the next round, or record it if there is nothing to match yet."""
    if loop.tape is None:
        loop.tape = Tape()
        owed.append(loop.tape)
    tape = loop.tape
    if switch.tape is not None and switch.tape is not tape:
        switch.tape.in_place()
    if tape.thread != threading.get_ident():
        switch.tape = None
        return
    if tape.recording or not tape.root.ops and tape.may_record:
        tape.begin_recording()
    else:
        tape.start_round()
    tape.on = switch.on
    switch.tape = tape


def finish_recording(loop: Loop, tape: Tape, optimizer: Any) -> None:
    """A recorded round has ended: add its step to the tree, or forget it."""
    from kkori.run.trace import Unbuildable, Unupdatable
    from kkori.run.update import Update
    tape.notes.anchor = line()
    release()  # compiled rounds keep nothing in memory that rounds have kept so far
    loop.recordings += 1
    tape.counts["recorded"] += 1
    if loop.recordings >= MOST_RECORDINGS:
        tape.may_record = False
    try:
        if tape.broken:
            raise Unupdatable(tape.broken)
        if tape.at is tape.root:
            raise Unupdatable("a round without operations")
        entry = Entry("step", tape.at)
        entry.runner = Update(optimizer, tape)
        tape.drop_steps(tape.at)
        tape.grow(entry)
    except (Unupdatable, Unbuildable) as reason:
        tape.prune()
        loop.fail(str(reason))
    except BaseException:
        tape.prune()
        raise
    finally:
        tape.forget()


def replay(optimizer: Any) -> bool:
    """Whether the whole round, with the step that begins now, could be run as one call."""
    tape = switch.tape
    if tape is not None:
        for entry in tape.here[0].ends:
            if entry.kind == "step" and entry.runner.optimizer() is optimizer:
                return run_round(tape, entry.runner, optimizer)
    return False


def run_round(tape: Tape, update: Any, optimizer: Any) -> bool:
    """Compute a whole round; False, with nothing changed, where that is not possible."""
    numbers = update.numbers(optimizer, tape)
    if numbers is None:
        return False
    arrays = update.verified if update.admitted == tape.admitted else update.arrays(tape)
    if not arrays:
        return False
    here = tape.here
    held = still_held(here, update.tails)
    if held is None:
        return False
    slots = tuple(held[0])
    runner = update.compiled.get(slots) or update.runner(slots)
    if runner is None:
        tape.flush()
        give_up(loop_of(optimizer), update.failure)
        return False
    before = runner.rounds
    try:
        outputs = runner.run(arrays, numbers)
        runner.stamp = tape.admitted
        update.note(tape, here, held, runner)
        finish(tape, update, held, outputs, numbers)
    except runner.Doubtful:  # nothing has been overwritten; an array rule may have something to say
        return False
    except BaseException:  # parameters may have been overwritten: then the round is finished first
        if runner.rounds != before:
            with undisturbed():
                if tape.here is here:
                    finish(tape, update, held, runner.outputs(), numbers)
                tape.reset()
        raise
    return True


def finish(tape: Tape, update: Any, held: Any, outputs: list[Any], numbers: Any) -> None:
    """The round has been computed: hand out what is still wanted of it, and begin the next.

    Until the last line it may be called again, where an interrupt has come in between.
    """
    if tape.due:
        tape.owes = owed_by(tape, update, held[0], outputs)
    if tape.written:
        give_back(tape)
    if held[0] or held[2]:
        fulfil(held, outputs, update.tails, tape)
    update.counted(numbers)
    tape.reset()


def owed_by(tape: Tape, update: Any, held: list[int], outputs: list[Any]) -> Any:
    """Gradients that nobody has asked for: leaves, arrays from a certain one on, and whose
    ``zero_grad()`` may clear them. The tape keeps them until somebody asks."""
    here = tape.here
    if here[0] is update.only_backward:
        return update.leaf_tensors(tape), outputs, len(held), update
    leaves, arrays = [], []
    found = dict(zip(update.outputs[tuple(held)], outputs, strict=True))
    bound = tape.bound
    while here[2] is not None:
        entry, tensors, here = here
        if entry.kind == "backward" and not tensors:
            leaves += [bound[number] for number, _ in entry.leaves]
            arrays += [found[slot] for slot in entry.slots]
    return leaves, arrays, 0, update


def drop_gradients(optimizer: Any) -> bool:
    """``zero_grad()`` of what the last round has in store; False if there may be more to do."""
    tape = switch.tape
    if tape is None or tape.owes is None:
        return False
    update = tape.owes[3]
    if not update.clears_all or update.optimizer() is not optimizer:
        return False
    tape.owes = None
    return True


# What CPython counts for a tensor, and for a promise, that only the tape holds.
_alone = [0, 0]


def still_held(here: Any, tails: Any) -> Any:
    """What somebody still holds of a round, the newest first: slots, their tensors, and the events
    that made views. None if one of them needs a tail that a replayed round cannot give."""
    slots: list[int] = []
    found: list[Tensor] = []
    by_tensor, by_promise = _alone
    at = here
    while at[2] is not None:
        entry, tensors, at = at
        if entry.view is not None and tensors:
            tensor = None  # or it would be held here
            return held_among_views(here, tails)
        k = 0
        for tensor in tensors:
            if getrefcount(tensor) > by_tensor or getrefcount(tensor._array) > by_promise:
                slot = entry.slots[k]
                if entry.stubs[k] is not None and slot not in tails.first:
                    return None
                slots.append(slot)
                found.append(tensor)
            k += 1
    return slots, found, ()


def held_among_views(here: Any, tails: Any) -> Any:
    """The same where there are views: whoever holds one holds what it is a view of."""
    slots: list[int] = []
    found: list[Tensor] = []
    views: list[Any] = []
    wanted: set[int] = set()  # slots of which views are held
    bases: dict[int, int] = {}  # by how many views a tensor is held that nobody else holds
    by_tensor, by_promise = _alone
    while here[2] is not None:
        entry, tensors, here = here
        of_slot = entry.view is not None and entry.view[0] == SLOT
        held = False
        for k in range(len(tensors)):  # zip() would hold a tensor, too
            slot, tensor = entry.slots[k], tensors[k]
            if slot not in wanted and getrefcount(tensor._array) <= by_promise and (
                    getrefcount(tensor) <= by_tensor + bases.get(id(tensor), 0)):
                continue
            held = True
            if entry.stubs[k] is not None and slot not in tails.first:
                return None
            if entry.view is None:
                slots.append(slot)
                found.append(tensor)
        if held and entry.view is not None:
            views.append((entry, tensors))
            if of_slot:
                wanted.add(entry.view[1])
        if tensors and of_slot:
            base = id(tensors[0]._base)
            bases[base] = bases.get(base, 0) + len(tensors)
    return slots, found, views[::-1]


def fulfil(held: Any, outputs: list[Any], tails: Any, tape: Tape) -> None:
    """Give the tensors that are still held their arrays and tails."""
    slots, found, views = held
    for tensor, array in zip(found, outputs, strict=False):
        promised = tensor._array
        if promised.__class__ is np.ndarray:
            continue
        if promised.array is not None:
            array = promised.array  # it has been looked at
        elif not promised.flags.c_contiguous:
            array = laid_out(array, promised.strides)
        promised.array, promised.tape = array, None
        tensor._array = array
    kept = dict(zip(slots, found, strict=True))
    for entry, tensors in views:  # the oldest first
        keep_views(tape, entry, tensors, kept)
        kept.update(zip(entry.slots, tensors, strict=True))
    tails.hang(sorted(kept.items(), reverse=True), tape)
    for _, tensors in views:
        for tensor in tensors:
            if tensor._base is not None and tensor._base._node is not None:
                tensor._origin = tensor._base._node


def laid_out(array: Any, strides: tuple[int, ...]) -> Any:
    """`array` with its dimensions in memory in the order that `strides` have."""
    order = sorted(range(array.ndim), key=lambda d: -strides[d])
    found = np.empty([array.shape[d] for d in order], array.dtype).transpose(np.argsort(order))
    found[...] = array
    return found


def keep_views(tape: Tape, entry: Entry, tensors: list[Tensor], kept: dict[int, Tensor]) -> None:
    """Views of what is kept are views of it again."""
    assert entry.view is not None
    kind, number = entry.view
    source = tape.bound[number] if kind == EXTERNAL else kept.get(number)
    assert source is not None and not isinstance(source._array, Promise)
    found = entry.row.array(source._array, *[data for _, data in entry.patterns[1:]])
    for tensor, array in zip(tensors, found if entry.several else (found,), strict=True):
        promised = tensor._array
        if not isinstance(promised, Promise):
            continue
        promised.array, promised.tape = array, None
        tensor._array = array
        tensor._storage = source.shared_storage()


class _Nothing:
    first: dict[int, Any] = {}


def _calibrate() -> None:
    """Find out what `getrefcount` says of something that only the tape holds."""
    entry = Entry("op", None)
    entry.slots, entry.stubs = [0], [None]
    entry.promises = [promise_class(np.zeros(1), 0, False)]
    entry.row, tape = entry, Tape()
    entry.go = operation(entry, tape)
    tape.root.add(entry)
    tape.call(None, entry, ())
    found = []
    for place in (0, 1):
        _alone[:] = [1000, 1000]
        _alone[place] = 0
        while still_held(tape.here, _Nothing)[0]:
            _alone[place] += 1
        found.append(_alone[place])
    _alone[:] = found
    tape.reset()
    tape.let_go()


_calibrate()
