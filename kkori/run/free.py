"""Hot loops without an optimizer's step that could be replayed: rounds that end with backward().

Programs that change their parameters themselves (``w.data = w.data - lr * w.grad``), clip or add
up gradients, or train two models in turns, come by ``backward()`` again and again. Here a round
is what happens between the last write in place and the end of ``backward()``: it is computed
there and then, and gradients are put, or added, to where they belong. So it is with
``torch.autograd.grad()``, where that lets the graph go: what it gives back are results.
"""

from __future__ import annotations

from typing import Any

from kkori.autograd.engine import inspect_results
from kkori.autograd.mode import BACKWARDS_BEFORE_RECORDING, switch
from kkori.core.threads import undisturbed
from kkori.run import by_hand, gradients, guards, hot, loops, writes
from kkori.run.entry import Entry, Unrecordable, is_hooked
from kkori.run.finish import Endings
from kkori.run.free_finish import forget, give, write
from kkori.run.notes import line
from kkori.run.tape import Tape
from kkori.tensor import Tensor

__all__ = ["FreeTape", "begin"]

MOST_VARIANTS = 6


class Ending:
    """A backward(), or the last operation of a torch.autograd.grad(), that ends a round, ready to
    be compiled."""

    def __init__(self, end: Entry, tape: Tape) -> None:
        from kkori.run.tails import Tails
        from kkori.run.trace import Trace
        self.trace = Trace(end)
        self.trace.program.writes += self.trace.written.items()
        self.matches = 0
        self.tails = Tails(end.path(), tape)
        self.sources = {entry.patterns[1][1].slot for entry in end.path()
                        if entry.row is by_hand.REBIND}  # whose memory a parameter has got
        self.compiled: dict[tuple[int, ...], Any] = {}
        self.endings = Endings(write)

    def runner(self, live: tuple[int, ...]) -> Any:
        """The compiled round that gives the slots in `live`; None where there is none."""
        from kkori.run.trace import Unbuildable, Unupdatable
        self.matches += 1
        if live not in self.compiled and self.matches >= loops.matches_needed(self.trace.work):
            found = None
            if len(self.compiled) < MOST_VARIANTS:
                try:
                    found = self.trace.build(list(live))
                except (Unbuildable, Unupdatable):
                    pass
            self.compiled[live] = found
        return self.compiled.get(live)

    def rounds(self) -> int:
        """None: such a tape counts its rounds itself."""
        return 0


class FreeTape(Tape):
    """The traces of one thread's rounds that end with backward()."""

    failures = idle = 0
    ends_with = "backward()"  # what the round that was recorded last has ended with
    may_hold = False  # there is no optimizer with which this tape would go

    def begin(self) -> None:
        """The next round begins."""
        self.may_record = self.failures < 4 and self.counts["recorded"] < min(
            2 + self.counts["rounds"] // loops.REPLAYS_FOR_ANOTHER, loops.MOST_RECORDINGS)
        if self.recording or not self.root.ops and self.may_record:
            self.begin_recording()
        else:
            self.start_round()
        if switch.tape is not self:
            self.doubt()
        self.on = switch.on
        self.idle += 1
        rest = switch.rest or loops.REST
        if self.counts["rounds"] >= loops.LONG:
            rest = loops.REST
        if self.idle > loops.PATIENCE or not self.may_record and not self.root.ops:
            self.let_go()
            switch.free_before = self  # for explain()
            switch.tape = switch.free = None  # after a rest, from the beginning
            if not (self.counts["rounds"] or self.left_out.followed_only):
                switch.free = again = FreeTape()
                again.left_out.followed_only = True
                again.begin()
                return
            switch.backwards = BACKWARDS_BEFORE_RECORDING - rest
            switch.rest = min(2 * rest, loops.LONGEST_REST)
            return
        switch.tape = self

    def in_place(self, written: Any = None) -> None:
        """What was recorded so far is no part of a round that ends with backward()."""
        if not self.recording:
            super().in_place(written)
        elif self.inside is None and self.concerns(written):
            self.prune()
            self.begin_recording()

    def rebind(self, tensor: Tensor, new: Tensor) -> bool:
        """Whether ``tensor.data = new`` has been done, or will be."""
        return by_hand.rebind(self, tensor, new)

    def gradients(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                  goals: Any) -> Any:
        """``torch.autograd.grad()``: an event, or the end of the round."""
        if keep or create:
            return super().gradients(run, roots, grads, keep, create, goals)
        args = len(roots), len(goals), False, False, *roots, *goals, *grads
        before = self.here
        if not self.recording and before is not self.root and self.copies_are_true():
            found = gradients.matched(self, args)
            if found is not None:
                if self.ends_here():
                    return found
                gradients.unmatch(self, before)
        if not self.recording and self.here is not self.root:
            self.miss()
        if self.recording:
            return self.record_gradients(run, args)
        found = self.now(run, (roots, grads, keep, create, goals))
        self.begin_another()
        return found

    def ends_here(self) -> bool:
        """Whether the round has ended with the operation that was matched last, and is computed."""
        end = self.here
        return end.runner is not None and (
            any(finish(self) for finish in end.finishes) or self.run_round(end))

    def begin_another(self) -> None:
        """The next round begins, behind one that was not replayed."""
        first = self.first
        self.start_round()
        self.missed(first)
        self.begin()

    def backward(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                 inputs: Any) -> None:
        """``backward()``, and with it the round."""
        if not (self.recording or keep or create or inputs) and (
                inspect_results[0] is None and self.copies_are_true()):
            for entry in self.here.ends:
                if entry.kind == "backward" and len(entry.patterns) == len(roots) + len(grads) and (
                        entry.go(self, *roots, *grads) and self.run_round(entry)):
                    return
        if not self.recording and self.here is not self.root:
            self.miss()
        if self.recording:
            self.record_end(run, roots, grads, keep, create, inputs)
            return
        self.now(run, (roots, grads, keep, create, inputs))
        self.begin_another()

    def run_round(self, entry: Entry) -> bool:
        """Compute the round that ends here; False, with nothing changed, where that cannot be."""
        ending, bound = entry.runner, self.bound[:entry.externals]
        leaves = [bound[number] for number, _ in entry.leaves]
        if ending is None or any(is_hooked(leaf) or isinstance(
                leaf._grad, Tensor) and leaf._grad._requires_grad for leaf in leaves):
            return False
        found = hot.still_held(self, ending.tails)
        if found is None or not ending.sources.isdisjoint(found[0]):
            return False
        slots = found[0]
        live = (*slots, *[slot for slot in given_by(entry) if slot not in slots])
        runner = ending.runner(live)
        if runner is None:
            if live not in ending.compiled:
                self.idle = 0  # rounds are alike; it does not pay yet
            return False
        arrays, written = self.inputs(entry.externals), ending.trace.written
        if written and not writes.apart_from_others(arrays, written):
            return False
        forget(runner)
        try:
            outputs = runner.run(arrays, self.numbers[:entry.number_count])
        except runner.Doubtful:
            return False
        ending.endings.note(self, entry, found, runner)
        with undisturbed():
            self.finish(found, outputs, ending.tails)
            self.deliver(leaves, outputs[len(slots):])
        forget(runner)
        self.begin()
        return True

    def finish(self, held: Any, outputs: list[Any], tails: Any) -> None:
        """Hand out what is still wanted of a computed round."""
        writes.give_back(self)
        hot.fulfil(held, outputs, tails, self)
        self.here = self.root
        self.counts["rounds"] += 1
        self.idle = 0

    def deliver(self, leaves: list[Tensor], arrays: list[Any]) -> None:
        """Put, or add, the gradients of a computed round to where they belong."""
        switch.tape = None
        for leaf, array in zip(leaves, arrays, strict=True):
            give(leaf, array)
        switch.tape = self

    def record_end(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                   inputs: Any) -> None:
        """Record the backward() that ends this round, as if no gradient had been there before."""
        plain = not (keep or create or inputs) and inspect_results[0] is None
        self.notes.anchor, self.ends_with = line(), "backward()"
        from kkori.run.trace import Unbuildable, Unupdatable
        leaves = leaves_of(roots) if plain else []
        if not plain or any(map(is_hooked, leaves)):
            self.give_up(self.broken or "backward() with options or hooks")
        if self.broken:
            leaves = []
        before = [leaf._grad for leaf in leaves]
        for leaf in leaves:
            leaf._grad = None
        try:
            self.record_backward(run, roots, grads, keep, create, inputs)
            end = self.at
            if not self.broken and end.kind == "backward" and end.runner is None:
                end.runner = Ending(end, self)
                if end.implicit is not None:
                    end.follow = guards.later(end, following, "follow")
        except (Unrecordable, Unbuildable, Unupdatable) as reason:
            self.give_up(str(reason))
        finally:
            switch.tape = None
            for leaf, old in zip(leaves, before, strict=True):
                if old is not None:
                    new, leaf._grad = leaf._grad, old
                    if new is not None:
                        give(leaf, new._array)
        self.count_recording()

    def record_gradients(self, run: Any, args: Any) -> Any:
        """Record the torch.autograd.grad() that ends this round."""
        self.notes.anchor, self.ends_with = line(), "torch.autograd.grad()"
        from kkori.run.trace import Unbuildable, Unupdatable
        try:
            found = gradients.call(self, run, *gradients.parts(args))
            if not self.broken and self.at.runner is None:
                self.at.runner = Ending(self.at, self)
        except (Unrecordable, Unbuildable, Unupdatable) as reason:
            self.give_up(str(reason))
        finally:
            switch.tape = None
        self.count_recording()
        return found

    def count_recording(self) -> None:
        """A round has been recorded, or not; the next one begins."""
        self.counts["recorded"] += 1
        self.failures += bool(self.broken)
        self.forget()
        self.begin()


def following(end: Entry, tape: Tape) -> Any:
    """``go(tape, root)`` for ``root.backward()`` where rounds end with it in a known way: True
    where it has been done, or None."""
    kind, implicit, place = end.patterns[0][1], end.implicit, end.externals - 1

    def go(tape: Tape, root: Tensor) -> Any:
        if root._array.__class__ is kind and root._requires_grad and inspect_results[0] is None:
            tape.bound[place] = implicit
            for finish in end.finishes:
                if finish(tape):
                    return True
        return None
    return go


def given_by(end: Entry) -> list[int]:
    """The slots of gradients that are put to where they belong at the end of a round."""
    return end.slots if end.kind == "backward" else []


def leaves_of(roots: Any) -> list[Tensor]:
    """The leaves that gradients of `roots` arrive at."""
    found: dict[int, Tensor] = {}
    stack = [root._node or root for root in roots]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Tensor):
            found[id(node)] = node
        else:
            stack.extend(node.edges)
    return list(found.values())


def begin() -> None:
    """Called after a backward() of which no tape knows: the next round begins."""
    if hot.enabled() and not loops.is_settled():
        if switch.free is None:
            switch.free = FreeTape()
        switch.free.begin()
