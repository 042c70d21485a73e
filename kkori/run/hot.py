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

from kkori.autograd.mode import switch
from kkori.core.promise import Promise, promise_class
from kkori.run.entry import EXTERNAL, SLOT, Entry
from kkori.run.tape import Tape
from kkori.tensor import Tensor

__all__ = ["after_step", "enabled", "leave", "set_enabled", "step", "tapes"]

ROUNDS_BEFORE_RECORDING = 3
MOST_RECORDINGS = 12
MOST_FAILURES = 3
MOST_IDLE = 60  # rounds in a row that were not replayed, until a loop is left alone
REST = 500  # rounds for which it is, the first time; then twice as many
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
        self.rounds = self.recordings = self.failures = self.idle = 0
        self.rest = REST
        self.tape: Tape | None = None
        self.given_up = self.last_failure = ""

    def __del__(self) -> None:
        """The optimizer is gone: its trace lets go of what it holds."""
        tape = self.tape
        if tape is not None:
            tape.flush()
            tape.root.children, tape.may_record = [], False
            if switch is not None and switch.tape is tape:
                switch.tape = None

    def fail(self, reason: str) -> None:
        """A recording came to nothing; after some of these no more are made."""
        self.failures += 1
        self.last_failure = reason
        assert self.tape is not None
        if self.failures >= MOST_FAILURES:
            self.tape.may_record = False
            if not self.tape.root.children:
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


def step(optimizer: Any) -> bool:
    """Called as a step begins; True if the whole round, this step included, has been run."""
    tape = switch.tape
    if tape is None:
        return False
    if tape is not loop_of(optimizer).tape:
        tape.in_place()
        return False
    assert tape is not None
    if tape.recording:
        return False
    with tape.lock:
        for entry in tape.at.children:
            if entry.kind == "step" and run_round(tape, entry, optimizer):
                return True
        if tape.pending:
            tape.miss()
        return False


def after_step(optimizer: Any, done: bool) -> None:
    """Called as a step ends: the next round begins."""
    if not _state["on"]:
        return
    loop = loop_of(optimizer)
    tape = loop.tape
    if done:
        assert tape is not None
        tape.start_round()
        loop.idle = 0
        return
    loop.rounds += 1
    loop.idle += 1
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
    if tape is not None and tape.counts["flushed"] > 20 + 4 * tape.counts["rounds"]:
        give_up(loop, "values are looked at, or changed, before the step")
    elif loop.idle > MOST_IDLE:
        give_up(loop, "no two rounds are alike")
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
        loop.tape.root.children = []


def wake(loop: Loop) -> None:
    """The loop has been left alone for long; what it does may have changed."""
    loop.given_up, loop.tape, loop.rest = "", None, 4 * loop.rest
    loop.recordings = loop.failures = loop.idle = 0


def begin_round(loop: Loop) -> None:
    """Match the next round, or record it if there is nothing to match yet."""
    if loop.tape is None:
        loop.tape = Tape()
    tape = loop.tape
    if switch.tape is not None and switch.tape is not tape:
        switch.tape.in_place()
    if tape.thread != threading.get_ident():
        switch.tape = None
        return
    recording = tape.recording or not tape.root.children and tape.may_record
    tape.start_round()
    tape.recording = recording
    switch.tape = tape


def finish_recording(loop: Loop, tape: Tape, optimizer: Any) -> None:
    """A recorded round has ended: add its step to the tree, or forget it."""
    from kkori.run.update import Unbuildable, Unupdatable, Update
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
        tape.at.children = [child for child in tape.at.children if child.kind != "step"]
        tape.grow(entry)
    except (Unupdatable, Unbuildable) as reason:
        tape.prune()
        loop.fail(str(reason))
    except BaseException:
        tape.prune()
        raise
    finally:
        tape.forget()


def run_round(tape: Tape, entry: Entry, optimizer: Any) -> bool:
    """Compute a whole round; False, with nothing changed, where that is not possible."""
    update = entry.runner
    numbers = update.numbers(optimizer, tape)
    if numbers is None:
        return False
    arrays = update.arrays(tape)
    if arrays is None:
        return False
    held = held_slots(tape, update.tails)
    if held is None:
        return False
    live = sorted(held - update.trace.views) if held else []
    runner = update.runner(tuple(live))
    if runner is None:
        give_up(loop_of(optimizer), update.failure)
        return False
    try:
        outputs = runner.compute(arrays, numbers)
    except runner.Doubtful:  # nothing has been overwritten; an array rule may have something to say
        return False
    arrays = dict(zip(live, outputs, strict=True))
    try:
        keep(tape, held, arrays, update.tails)
        runner.commit()
        update.counted(optimizer)
    except KeyboardInterrupt:  # parameters may have been overwritten: the round is finished first
        keep(tape, held, arrays, update.tails)
        runner.commit()
        update.counted(optimizer)
        raise
    tape.counts["rounds"] += 1
    return True


# What CPython counts for a tensor, and for a promise, that only the tape holds.
_alone = [0, 0]


def held_slots(tape: Tape, tails: Any) -> set[int] | None:
    """Slots whose tensors somebody still holds; None if one of them needs a tail that a replayed
    round cannot give. What a held view is a view of is held, too."""
    found: set[int] = set()
    bases: dict[int, int] = {}
    by_tensor, by_promise = _alone
    for entry, tensors in reversed(tape.pending):
        for k in range(len(tensors)):
            tensor, slot = tensors[k], entry.slots[k]
            if getrefcount(tensor) > by_tensor or getrefcount(tensor._array) > by_promise or (
                    slot in found):
                if bases and slot not in found and getrefcount(tensor._array) <= by_promise and (
                        getrefcount(tensor) <= by_tensor + bases.get(id(tensor), 0)):
                    continue  # only by views of it, and nobody holds those
                found.add(slot)
                if entry.stubs[k] is not None and slot not in tails.first:
                    return None
                if entry.view is not None and entry.view[0] == SLOT:
                    found.add(entry.view[1])
        if entry.view is not None and entry.view[0] == SLOT:
            base = id(tensors[0]._base)
            bases[base] = bases.get(base, 0) + len(tensors)
    return found


def keep(tape: Tape, held: set[int], arrays: dict[int, Any], tails: Any) -> None:
    """Give the tensors that are still held their arrays and tails."""
    used: set[int] = set()
    round = None
    kept: dict[int, Tensor] = {}
    for entry, tensors in tape.pending if held else ():
        if entry.view is not None and not held.isdisjoint(entry.slots):
            keep_views(tape, entry, tensors, kept)
        for slot, tensor, stub in zip(entry.slots, tensors, entry.stubs, strict=True):
            if slot not in held:
                continue
            if entry.view is None:
                fulfil(tensor, arrays[slot], used)
            kept[slot] = tensor
            if stub is not None and slot in tails.first:
                if round is None:
                    round = tails.of_round(tape.bound)
                round.hang(tensor, slot)
    tape.pending = []


def fulfil(tensor: Tensor, array: Any, used: set[int]) -> None:
    """Put the computed array where one was promised."""
    promised = tensor._array
    if not isinstance(promised, Promise):
        return
    if promised.array is not None:
        array = promised.array  # it has been looked at
    elif id(array) in used:
        array = array.copy()
    if array.strides != promised.strides and array.size > 1:
        array = laid_out(array, promised.strides)
    used.add(id(array))
    promised.array, promised.tape = array, None
    tensor._array = array


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
        if tensor._base is not None and tensor._base._node is not None:
            tensor._origin = tensor._base._node


class _Nothing:
    first: dict[int, Any] = {}


def _calibrate() -> None:
    """Find out what `getrefcount` says of something that only the tape holds."""
    tape, entry = Tape(), Entry("op", None)
    entry.slots, entry.stubs = [0], [None]
    entry.promises = [promise_class(np.zeros(1), 0, False)]
    entry.results = [(entry.promises[0], None)]
    tape.promise(entry)
    found = []
    for place in (0, 1):
        _alone[:] = [1000, 1000]
        _alone[place] = 0
        while held_slots(tape, _Nothing):
            _alone[place] += 1
        found.append(_alone[place])
    _alone[:] = found
    tape.pending = []


_calibrate()
