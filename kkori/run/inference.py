"""Calls of models without gradients: what one computes is run as one call of compiled code.

In loops under ``no_grad`` nothing but the call itself comes again and again. So a round is what
happens inside the outermost call of a model: it begins when the model is called and is computed
before the call returns. Inside, all is as in the rounds of `run/tape.py`: operations are matched
and promised, calls of kkori's own layers are events, and your ``forward`` runs. A model that is
made of such layers alone is matched with one comparison.

A loop of training that waits for its next round, or rests, is not disturbed by such calls.
"""

from __future__ import annotations

import weakref
from math import prod
from typing import Any

from kkori.autograd.mode import switch
from kkori.core.threads import undisturbed
from kkori.run import hot, loops, writes
from kkori.run.callers import Caller
from kkori.run.calls import MOST_TRIES, OWN, is_pure, learn
from kkori.run.direct import forget_memory, write, write_end
from kkori.run.entry import Entry
from kkori.run.finish import in_order
from kkori.run.notes import line
from kkori.run.tape import Tape

__all__ = ["CallTape", "call", "tapes"]

REST = 200  # calls for which a model whose calls are not alike is left alone; then twice as many
MOST_VARIANTS = 6  # of what is kept of one path
MOST_KEPT = 1 << 20  # bytes that a program may keep for the next call
MOST_DIRECT = 8  # functions that are asked one after the other
CALLS_BEFORE_DIRECT = 8  # that were alike
CALLS_TO_SORT = 4  # in which new guards will have met their tensors
TIMES_TO_WRITE = 12, 100  # calls after which the end of such a call gets a function of its own
NEVER = 1 << 60

tapes: weakref.WeakSet[CallTape] = weakref.WeakSet()  # for explain()


def call(caller: Caller, module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """``module(*args, **options)`` without gradients, as a round if it may be one."""
    outer = switch.tape
    if not loops.enabled() or outer is not None and not leaves_calls_to_others(outer):
        return inside(outer, module, args, options)
    if not options:
        for go in caller.direct:
            found = go(args)
            if found is not None:
                return found
    tape = caller.tape
    if tape is None:
        from kkori.codegen import toolchain
        if not toolchain.installed():
            caller.left = NEVER
            return inside(outer, module, args, options)
        tape = caller.tape = CallTape(type(module).__name__)
        tapes.add(tape)
    if tape.busy:
        return inside(outer, module, args, options)
    found = tape.call_of(module, args, options, outer)
    if tape.rest:
        caller.left, tape.rest = tape.rest, 0
    if tape.direct is not None:
        alive = [go for go in caller.direct if go.event.go is not None]
        caller.direct, tape.direct = [*alive[-MOST_DIRECT + 1:], tape.direct], None
    return found


def leaves_calls_to_others(tape: Any) -> bool:
    """Whether a tape is between two rounds, of which none begins without gradients."""
    return (tape.here is tape.root and not tape.recording and tape.__class__ is not CallTape
            and all(entry.mode for entry in tape.root.ops))


def inside(tape: Any, module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Call a module in the middle of a round, or where there is none."""
    if tape is not None and not options and not tape.recording and OWN[type(module)] and (
            tape.here.tries < MOST_TRIES):
        return learn(tape, module, args)
    return module.forward(*args, **options)


class Ending:
    """The end of a call, ready to be compiled."""

    def __init__(self, end: Entry, tape: Tape) -> None:
        from kkori.run.tails import Tails
        from kkori.run.trace import Trace, Unupdatable
        path = end.path()
        if any(entry.kind not in ("op", "write") or any(kind.needs for kind in entry.promises)
               for entry in path):
            raise Unupdatable("gradients inside the call")
        self.trace = Trace(end)
        self.trace.program.writes += self.trace.written.items()
        self.tails = Tails(path, tape)
        self.compiled: dict[tuple[int, ...], Any] = {}
        self.passing: list[int] = []  # externals that are not the model's
        self.failure = ""
        self.tries = 0  # to write a function of straight lines

    def runner(self, live: tuple[int, ...], bound: list[Any], own: set[int]) -> Any:
        """The compiled call that gives the slots in `live`; None where there is none."""
        if live not in self.compiled:
            from kkori.run.trace import Unbuildable, Unupdatable
            found = None
            if len(self.compiled) < MOST_VARIANTS:
                try:
                    found = self.trace.build(list(live))
                    if not self.pays(found):
                        raise Unbuildable("NumPy computes the most of it, compiled or not")
                    self.passing = [number for number, tensor in enumerate(bound)
                                    if id(tensor) not in own]
                    found.is_large = bytes_of(found) > MOST_KEPT
                except (Unbuildable, Unupdatable) as reason:
                    found, self.failure = None, str(reason)
            self.compiled[live] = found
        return self.compiled[live]

    def pays(self, found: Any) -> bool:
        """Whether a program saves more than the rows cost that Python runs between its loops."""
        rows = sum(call.kind != "dot" for call in found.plan.calls)
        return 2 * rows <= len(self.trace.program.steps)

    def rounds(self) -> int:
        """How many calls have ended here."""
        return sum(one.rounds for one in self.compiled.values() if one is not None)


def is_one_result(held: Any, result: Any) -> bool:
    """Whether nothing is left of a call but a new tensor, in order in memory."""
    _, found, views = held
    return len(found) == 1 and found[0] is result and not views and in_order(result._array)


def bytes_of(runner: Any) -> int:
    """Memory for the results of a program, and for what nobody sees of it."""
    return sum(prod(place.shape) * int(place.dtype[1:])
               for place in (*runner.plan.results, *runner.plan.hidden))


class CallTape(Tape):
    """The traces of the calls of one model in one thread."""

    ends_with_calls = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.others = 0  # calls that were not replayed
        self.idle = self.wakes = self.rest = self.done = 0
        self.next_rest = REST
        self.busy = False
        self.outer: Any = None  # the tape that waits meanwhile
        self.sorted = self.unsorted = 0  # how many guards' memories have been looked through
        self.passing: list[Any] = []  # those of tensors that are not the model's
        self.failure = ""
        self.event: Any = None  # the one by which the whole call was recognised
        self.direct: Any = None  # a function for calls like the one that was just computed

    def call_of(self, module: Any, args: Any, options: Any, outer: Any) -> Any:
        """One call: recorded, matched, or run at once."""
        self.busy, self.outer, self.on = True, outer, switch.on
        try:
            switch.tape = self
            if self.recording or not self.root.ops and self.may_record:
                self.begin_recording()
            result = self.through(module, args, options)
            return self.end(module, args, result)
        except BaseException:
            self.abandon("a call that did not come to its end")
            raise
        finally:
            self.busy, self.outer, self.event, self.atomic = False, None, None, False
            if switch.tape is self:
                switch.tape = outer
                if outer is not None:
                    outer.on = switch.on

    def through(self, module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """What the model computes, promised or at once."""
        if not options and not self.recording:
            for event in self.here.calls:
                if event.module() is module:
                    self.atomic = True
                    found = event.go(self, args)
                    if found is not None:
                        self.event = event
                        return found
        self.atomic = self.here.tries < MOST_TRIES and OWN[type(module)] and is_pure(module)
        return inside(self, module, args, options)

    # The end of a call.

    def end(self, module: Any, args: Any, result: Any) -> Any:
        """The call is about to return `result`; what it returns instead."""
        if switch.tape is not self:
            self.abandon("a step, or backward(), inside the call")
            return result
        again = False
        if not self.recording:
            if self.here is not self.root and self.run_round(module, args, result):
                return result
            first = self.first
            again = self.event is not None and not self.event.counts
            if again:
                self.drop()
            elif self.here is not self.root:
                self.miss()
        if self.recording:
            self.finish_recording()
            self.start_round()
        else:
            self.start_round()
            self.missed(first)
        self.count()
        self.doubt()
        return self.now(module.forward, args) if again else result

    def drop(self) -> None:
        """Forget what was promised for a call that has done nothing else: it begins anew, and
        raises its own errors."""
        self.counts["side exits"] += 1
        self.notes.missed(self, None, ())
        self.here.misses += 1
        self.reset()

    def run_round(self, module: Any, args: Any, result: Any) -> bool:
        """Compute the call that ends here; False, with nothing changed, where that cannot be."""
        entry = next((one for one in self.here.ends if one.kind == "return"), None)
        if entry is None or not self.copies_are_true():
            return False
        for finish in entry.finishes:
            if finish(self):
                return True
        ending = entry.runner
        held = hot.still_held(self, ending.tails)
        if held is None:
            return False
        slots = tuple(held[0])
        runner = ending.compiled.get(slots)
        if runner is None or self.unsorted or len(self.known) != self.sorted:
            own = self.sort(module)
            runner = ending.runner(slots, self.bound[:entry.externals], own)
        if runner is None:
            self.failure = ending.failure
            self.idle, self.next_rest = loops.PATIENCE, loops.LONGEST_REST
            return False
        arrays, written = self.inputs(entry.externals), ending.trace.written
        if written and not writes.apart_from_others(arrays, written):
            return False
        before = runner.rounds
        if self.event is not None and before >= CALLS_BEFORE_DIRECT > ending.tries:
            ending.tries += 1
            if is_one_result(held, result) and not (written or self.originals):
                self.direct = write(self, module, args, self.event, runner, entry)
        elif before in TIMES_TO_WRITE and not (written or self.unsorted):
            found = write_end(self, held, runner, entry)
            entry.finishes = (*entry.finishes, found) if found is not None else entry.finishes
        try:
            outputs = runner.run(arrays, self.numbers[:entry.number_count])
            self.finish(held, outputs, ending, runner)
        except runner.Doubtful:
            return False
        except BaseException:
            if runner.rounds != before and self.here is not self.root:
                with undisturbed():
                    self.finish(held, runner.outputs(), ending, runner)
            raise
        return True

    def finish(self, held: Any, outputs: list[Any], ending: Ending, runner: Any) -> None:
        """Hand out what is wanted of a computed call; hold nothing that is not the model's."""
        if self.written:
            writes.give_back(self)
        hot.fulfil(held, outputs, ending.tails, self)
        self.reset()
        for known in self.passing:
            known.forget()
        for number in ending.passing:
            runner.inputs[number] = None
        if runner.is_large:
            forget_memory(runner)

    def sort(self, module: Any) -> set[int]:
        """Which tensors are the model's, by id; guards will forget others after each call."""
        own = {id(tensor) for one in module.modules()
               for table in (one._parameters, one._buffers) for tensor in table.values()}
        self.passing = [known for known in self.known if id(known.tensor) not in own]
        self.unsorted = self.unsorted - 1 if len(self.known) == self.sorted else CALLS_TO_SORT
        self.sorted = len(self.known)
        return own

    def finish_recording(self) -> None:
        """A recorded call has come to its end: it can be matched from now on, or is forgotten."""
        from kkori.run.trace import Unbuildable, Unupdatable
        self.counts["recorded"] += 1
        self.notes.anchor = line()
        try:
            if self.broken:
                raise Unupdatable(self.broken)
            if self.at is self.root:
                raise Unupdatable("a call without operations")
            if not any(end.kind == "return" for end in self.at.ends):
                entry = Entry("return", self.at)
                entry.go = never
                entry.runner = Ending(self.at, self)
                self.grow(entry)
                self.root.tries = 0  # the call may be learnt that begins here
        except (Unupdatable, Unbuildable) as reason:
            self.prune()
            self.failure = str(reason)
        except BaseException:
            self.prune()
            raise

    def count(self) -> None:
        """A call was not replayed: after a few, nobody looks for a while."""
        self.others += 1
        replayed = self.replayed()
        self.idle = self.idle + 1 if replayed == self.done else 1  # in a row
        self.done = replayed
        self.may_record = self.counts["recorded"] < min(
            loops.RECORDINGS + self.wakes + replayed // loops.REPLAYS_FOR_ANOTHER,
            loops.MOST_RECORDINGS)
        if self.idle <= loops.PATIENCE and (self.root.ops or self.may_record):
            return
        self.idle = 0
        self.wakes += 1
        self.rest = self.next_rest = REST if replayed >= loops.LONG else self.next_rest
        self.next_rest = min(2 * self.next_rest, loops.LONGEST_REST)
        if not replayed:
            self.let_go()

    # What is no part of such rounds.

    def abandon(self, reason: str) -> None:
        """Compute what is pending; nothing else is known of this call."""
        if self.recording:
            self.give_up(self.broken or reason)
            self.counts["recorded"] += 1
            self.count()
        self.start_round()
        self.doubt()

    def backward(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                 inputs: Any) -> None:
        self.gradients(run, roots, grads, keep, create, inputs)

    def gradients(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                  goals: Any) -> Any:
        """Gradients inside the call: the rest of it runs at once."""
        if self.recording:
            self.give_up(self.broken or "gradients inside the call")
        self.flush()
        return self.now(run, (roots, grads, keep, create, goals))

    def in_place(self, written: Any = None) -> None:
        """The tape that waits has to know, too."""
        super().in_place(written)
        if self.outer is not None:
            self.outer.in_place(written)

    def shown(self, array: Any) -> None:
        """The same for memory that NumPy sees."""
        super().shown(array)
        if self.outer is not None:
            self.outer.shown(array)

    def leave_data_out(self) -> None:
        """Models cut their arguments in the same way each time."""

    def die(self) -> None:
        """The model is gone."""
        self.let_go()


def never(tape: Any, *args: Any) -> None:
    """The end of a call is not matched as operations are."""
