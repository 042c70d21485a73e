"""Which loops are worth it: watching, recording and compiling have to pay for themselves.

The anchor is the end of ``optimizer.step()``. Everything is counted, nothing timed, so that runs
repeat. A loop's fourth round is recorded; if rounds like it come by, they are compiled when a few
have come. A loop whose rounds are not alike is watched for a few rounds only, then left
alone for a while, each time for twice as long; while it is, it runs as if nobody had ever looked.
Programs that make many short loops make those that follow wait longer.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import Any

from kkori.autograd.mode import hand_out_gradients, owed, switch
from kkori.run import turns
from kkori.run.entry import Entry
from kkori.run.notes import line
from kkori.run.tape import Tape

__all__ = ["LOOKED_AT", "NOT_ALIKE", "Loop", "activate", "after_step", "before_step", "enabled",
           "give_up", "leave", "loop_of", "matches_needed", "set_enabled", "tapes"]

ROUNDS_BEFORE_RECORDING = 3
MATCHES_BEFORE_COMPILING = 2, 4  # where a round is much work, and where it is little
RECORDINGS = 3  # that a loop may make before any of its rounds has been replayed
MUCH_WORK = 3e6  # numbers: some milliseconds
REPLAYS_FOR_ANOTHER = 10  # and then one more for so many replayed rounds,
MOST_RECORDINGS = 24  # up to these
PATIENCE = 5  # rounds in a row that were not replayed, until a loop is left alone
REST = 40  # rounds for which it is, the first time; then twice as many
LONGEST_REST = 10_000
SHORT, LONG = 30, 200  # replayed rounds of a loop that did not pay, and of one that did
MOST_CAUTION = 8
NOT_ALIKE = "no two rounds are alike"
LOOKED_AT = "values are looked at, or changed, in mid-round"
_state = {"on": not os.environ.get("KKORI_EAGER"), "caution": 1}

tapes: weakref.WeakSet[Loop] = weakref.WeakSet()  # for explain()


def enabled() -> bool:
    """Whether hot loops are recorded."""
    return bool(_state["on"])


def set_enabled(on: bool) -> None:
    """Turn recording on or off for all threads; what is pending in this one runs first."""
    if switch.tape is not None:
        switch.tape.flush()
        switch.tape = None
    hand_out_gradients()
    _state["on"] = on


def matches_needed(work: float) -> int:
    """How many rounds have to come that are like a recorded one, until it is compiled; `work`
    is how many numbers it computes."""
    return MATCHES_BEFORE_COMPILING[work < MUCH_WORK] * _state["caution"]


class Loop:
    """What is known of the rounds that end with one optimizer's step."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rounds = self.recordings = self.idle = self.replayed = self.wakes = self.looked_at = 0
        self.empty = 0  # recordings of rounds without operations
        self.rest, self.wake_at = REST, ROUNDS_BEFORE_RECORDING * _state["caution"]
        self.tape: Tape | None = None
        self.given_up = self.last_failure = ""
        self.follower: Any = weakref.ref(self)  # the loop whose step came after this one's

    def __del__(self, at_exit: Any = sys.is_finalizing) -> None:
        """The optimizer is gone: its trace lets go of what it holds."""
        tape = self.tape
        if tape is not None and not at_exit():  # then nobody can look any more
            tape.flush()
            self.learn_from(tape.replayed())
            tape.let_go()
            if switch is not None and switch.tape is tape:
                switch.tape = None

    def learn_from(self, replayed: int) -> None:
        """Be more careful after a loop that was recorded and ended soon."""
        if replayed >= LONG:
            _state["caution"] = 1
        elif replayed < SHORT and self.recordings:
            _state["caution"] = min(2 * _state["caution"], MOST_CAUTION)

    def rest_now(self) -> None:
        """Nobody looks at this loop for a while, and it is as if nobody had ever looked."""
        if self.tape is not None:
            self.tape.forget()
            self.tape.start_round()
            self.tape.hand_out()
            if self.tape in owed:
                owed.remove(self.tape)

    def count(self) -> None:
        """A round has ended that was not replayed."""
        self.rounds += 1
        self.idle += self.rounds > self.wake_at  # those before were not watched
        tape = self.tape
        if tape is None:
            return
        tape.doubt()  # the optimizer's counts have gone on without it
        replayed = tape.replayed()
        if replayed != self.replayed or tape.waited or tape.look_programs != self.looked_at:
            self.idle, self.replayed, self.given_up = 0, replayed, ""
            self.looked_at = tape.look_programs
        if replayed >= LONG:
            self.rest = REST
        tape.may_record = self.recordings < min(
            RECORDINGS + self.wakes + replayed // REPLAYS_FOR_ANOTHER, MOST_RECORDINGS)

    def is_watched(self) -> bool:
        """Whether the next round is matched or recorded, or nobody looks."""
        if self.rounds < self.wake_at:
            return False
        if self.idle > PATIENCE and not self.tries_again():
            self.idle, self.wake_at = 0, self.rounds + self.rest
            self.rest = min(2 * self.rest, LONGEST_REST)
            if not self.last_failure and self.tape is not None:
                others = self.tape.counts["side exits"]  # rounds that were left for anything else
                looked_at = self.tape.counts["flushed"] > 2 * others
                self.given_up = LOOKED_AT if looked_at else NOT_ALIKE
            else:
                self.given_up = self.last_failure
            self.wakes += 1
            return False
        return True

    def tries_again(self) -> bool:
        """Whether this loop, of which no round could be replayed, has not been tried without the
        operations on data alone; now it is."""
        old = self.tape
        if old is None or self.replayed or old.left_out.followed_only:
            return False
        old.let_go()
        if switch.tape is old:
            switch.tape = None
        self.tape = new = Tape()
        new.left_out.followed_only = True
        new.notes, new.counts, new.next = old.notes, old.counts, old.next
        self.idle, self.last_failure = 0, ""
        self.wakes += RECORDINGS
        return True


def is_settled() -> bool:
    """Whether the loop whose step was the last could be recorded, or is being looked at: then
    rounds that end with backward() would be no more alike than those that end with its steps."""
    loop = switch.loop() if switch.loop is not None else None
    return loop is not None and (not loop.last_failure or loop.rounds >= loop.wake_at)


def loop_of(optimizer: Any) -> Loop:
    found = optimizer.__dict__.get("_hot_loop")
    if found is None:
        found = optimizer.__dict__["_hot_loop"] = Loop(type(optimizer).__name__)
        tapes.add(found)
    return found


def leave() -> None:
    """Compute what is pending in this thread: something comes that is no part of a round."""
    if switch.tape is not None:
        switch.tape.in_place()


def before_step(optimizer: Any) -> None:
    """Called as a step begins that could not be replayed: what is pending is computed."""
    tape = switch.tape
    if tape is None:
        return
    if tape is not loop_of(optimizer).tape:
        if tape.recording:
            tape.in_place()
        tape.flush()
        return
    assert tape is not None
    if not tape.recording and tape.here is not tape.root:
        tape.miss()


def after_step(optimizer: Any) -> None:
    """Called as a step ends that was not replayed: the next round begins."""
    if not _state["on"]:
        return
    loop = loop_of(optimizer)
    tape = loop.tape
    if tape is not None and loop.rounds + 1 < loop.wake_at and tape is not switch.tape:
        loop.rounds += 1
        return
    loop.count()
    if tape is not None and tape.recording:
        finish_recording(loop, tape, optimizer)
    elif tape is not None and switch.tape is tape:
        first = tape.first
        tape.start_round()
        if not tape.waited:
            tape.missed(first)
    if tape is not None:
        tape.waited = False
    follow(loop)


def follow(loop: Loop) -> None:
    """The next round belongs to the loop whose step has followed this one's the last time."""
    previous = switch.loop() if switch.loop is not None else None
    if previous is not None and previous.follower() is not loop:
        previous.follower = weakref.ref(loop)
        if previous.tape is not None:
            previous.tape.next = None if previous is loop else follow_replayed
    switch.loop = weakref.ref(loop)
    activate(loop.follower() or loop)


def follow_replayed(tape: Tape) -> None:
    """The same after a replayed round."""
    loop = next(one for one in tapes if one.tape is tape)
    switch.loop = weakref.ref(loop)
    activate(loop.follower() or loop, tape)


def activate(loop: Loop, replayed: Tape | None = None) -> None:
    """Match the next round for a loop, or record it if there is nothing to match yet; behind one
    that was `replayed`, if any."""
    tape = loop.tape
    if switch.tape is not None and switch.tape is not tape and switch.tape is not replayed:
        switch.tape.in_place()
    elsewhere = tape is not None and tape.thread != threading.get_ident()
    watched = not elsewhere and loop.is_watched()
    tape = loop.tape
    if not watched:
        if not elsewhere:
            loop.rest_now()
        switch.tape = None
        return
    if tape is None:
        tape = loop.tape = Tape()
        tape.next = None if loop.follower() is loop else follow_replayed
    if tape not in owed:
        owed.append(tape)
    if tape.recording or not tape.root.ops and tape.may_record:
        tape.begin_recording()
    elif tape.root.ops:
        tape.start_round()
    else:
        loop.rest_now()  # there is nothing to match, and nothing to be recorded
        switch.tape = None
        return
    turns.begin(tape, None if replayed is not switch.tape else replayed)
    tape.on = switch.on
    switch.tape = tape


def finish_recording(loop: Loop, tape: Tape, optimizer: Any) -> None:
    """A recorded round has ended: add its step to the tree, or forget it."""
    from kkori.run.trace import Unbuildable, Unupdatable
    from kkori.run.update import Update
    loop.recordings += 1
    if tape.at is tape.root and not tape.broken:
        loop.empty += 1
        if loop.empty > 1:  # its step comes behind another's: so it will be
            loop.wake_at = loop.rounds + LONGEST_REST
    tape.counts["recorded"] += 1
    tape.notes.anchor = line()
    try:
        shared = tape.left_out.learn(optimizer)
        if tape.broken:
            raise Unupdatable(tape.broken)
        if shared:
            raise Unupdatable("memory that the step overwrites is used by something else, too")
        if tape.at is tape.root:
            raise Unupdatable("a round without operations")
        entry = Entry("step", tape.at)
        entry.runner = Update(optimizer, tape)
        tape.drop_steps(tape.at)
        tape.grow(entry)
    except (Unupdatable, Unbuildable) as reason:
        tape.prune()
        loop.last_failure = str(reason)
        loop.given_up = "" if tape.root.ops else loop.last_failure
    except BaseException:
        tape.prune()
        raise
    finally:
        tape.forget()


def give_up(loop: Loop, reason: str) -> None:
    """This loop's rounds are run at once from now on, for a long while."""
    loop.given_up = loop.last_failure = reason
    loop.wake_at = loop.rounds + LONGEST_REST
    if loop.tape is not None:
        loop.tape.forget()
        loop.tape.let_go()

