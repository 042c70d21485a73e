"""Hot loops without an optimizer's step that could be replayed: rounds that end with backward().

Programs that change their parameters themselves (``w.data = w.data - lr * w.grad``), clip or add
up gradients, or train two models in turns, come by ``backward()`` again and again. Here a round
is what happens between the last write in place and the end of ``backward()``: it is computed
there and then, and gradients are put, or added, to where they belong.
"""

from __future__ import annotations

from typing import Any

from kkori.autograd.mode import switch
from kkori.run import hot
from kkori.run.entry import Entry, Unrecordable
from kkori.run.tape import Tape
from kkori.tensor import Tensor, wrap

__all__ = ["FreeTape", "begin"]

MOST_VARIANTS = 6


class Ending:
    """A backward() that ends a round, ready to be compiled."""

    def __init__(self, end: Entry, nodes: dict[int, Any]) -> None:
        from kkori.run.tails import Tails
        from kkori.run.update import Trace
        self.trace = Trace(end)
        self.trace.check()
        self.tails = Tails(end.path(), nodes)
        self.compiled: dict[tuple[int, ...], Any] = {}

    def runner(self, live: tuple[int, ...]) -> Any:
        """The compiled round that gives the slots in `live`; None where there is none."""
        from kkori.run.update import Unbuildable
        if live not in self.compiled:
            found = None
            if len(self.compiled) < MOST_VARIANTS:
                try:
                    found = self.trace.build(list(live))
                except Unbuildable:
                    pass
            self.compiled[live] = found
        return self.compiled[live]


class FreeTape(Tape):
    """The traces of one thread's rounds that end with backward()."""

    rest = 2 * hot.REST

    failures = idle = 0

    def begin(self) -> None:
        """The next round begins."""
        recording = self.recording or not self.root.children and self.may_record
        self.start_round()
        self.recording = recording
        useless = self.counts["flushed"] > 40 + 4 * self.counts["rounds"]
        self.idle += 1
        if useless or self.idle > hot.MOST_IDLE or (
                not self.may_record and not self.root.children):
            self.root.children, self.may_record = [], False
            switch.tape = switch.free = None  # after a rest, from the beginning
            switch.backwards = -self.rest
            return
        switch.tape = self

    def in_place(self, written: Any = None) -> None:
        """What was recorded so far is no part of a round that ends with backward()."""
        if not self.recording:
            super().in_place(written)
        elif self.inside is None and self.concerns(written):
            self.prune()
            self.start_round()
            self.recording = True

    def backward(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                 inputs: Any) -> None:
        """``backward()``, and with it the round."""
        from kkori.autograd.engine import inspect_results
        plain = not keep and not create and inputs is None and inspect_results[0] is None
        if self.recording:
            self.record_end(run, roots, grads, keep, create, inputs, plain)
            return
        with self.lock:
            if plain and self.copies_are_true():
                for entry in self.at.children:
                    if entry.kind == "backward":
                        fresh = self.match(entry.patterns, (*roots, *grads))
                        if fresh is not None and self.run_round(entry, fresh):
                            return
            if self.pending:
                self.miss()
        if self.recording:
            self.record_end(run, roots, grads, keep, create, inputs, plain)
            return
        self.now(run, (roots, grads, keep, create, inputs))
        self.start_round()
        self.missed()
        self.begin()

    def run_round(self, entry: Entry, fresh: list[Tensor]) -> bool:
        """Compute the round that ends here; False, with nothing changed, where that cannot be."""
        ending, bound = entry.runner, self.bound[:self.at.externals] + fresh
        leaves = [bound[number] for number, _ in entry.leaves]
        if ending is None or any(leaf._hooks is not None and any(leaf._hooks) or isinstance(
                leaf._grad, Tensor) and leaf._grad._requires_grad for leaf in leaves):
            return False
        held = hot.held_slots(self, ending.tails)
        if held is None:
            return False
        live = sorted({*(held - ending.trace.views), *entry.slots})
        runner = ending.runner(tuple(live))
        if runner is None:
            return False
        try:
            outputs = runner.compute([tensor._array for tensor in bound], [])
        except runner.Doubtful:
            return False
        runner.inputs[:] = [None] * len(runner.inputs)  # nothing is kept alive for the next round
        arrays = dict(zip(live, outputs, strict=True))
        self.bound = bound
        hot.keep(self, held, arrays, ending.tails)
        self.counts["rounds"] += 1
        self.idle = 0
        switch.tape = None
        seen: set[int] = {id(arrays[slot]) for slot in held if slot in arrays}
        for leaf, slot in zip(leaves, entry.slots, strict=True):
            array = arrays[slot]
            give(leaf, array.copy() if id(array) in seen else array)
            seen.add(id(array))
        self.begin()
        return True

    def record_end(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                   inputs: Any, plain: bool) -> None:
        """Record the backward() that ends this round, as if no gradient had been there before."""
        from kkori.run.update import Unbuildable, Unupdatable
        leaves = leaves_of(roots) if plain else []
        if not plain or any(leaf._hooks is not None and any(leaf._hooks) for leaf in leaves):
            self.give_up(self.broken or "backward() with options or hooks")
        before = [leaf._grad for leaf in leaves]
        for leaf in leaves:
            leaf._grad = None
        try:
            self.record_backward(run, roots, grads, keep, create, inputs, plain)
            end = self.at
            if not self.broken and end.kind == "backward" and end.runner is None:
                end.runner = Ending(end, self.nodes)
        except (Unrecordable, Unbuildable, Unupdatable) as reason:
            self.give_up(str(reason))
        finally:
            switch.tape = None
            for leaf, old in zip(leaves, before, strict=True):
                if old is not None:
                    new, leaf._grad = leaf._grad, old
                    if new is not None:
                        give(leaf, new._array)
        self.counts["recorded"] += 1
        self.failures += bool(self.broken)
        if self.failures >= 4 or self.counts["recorded"] >= 12:
            self.may_record = False
        self.forget()
        self.begin()


def give(leaf: Tensor, array: Any) -> None:
    """Put or add a gradient to a leaf."""
    old = leaf._grad
    if old is None:
        leaf._grad = wrap(array)
    else:
        outer, switch.on = switch.on, False
        try:
            old.add_(wrap(array))
        finally:
            switch.on = outer


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
    if hot.enabled():
        if switch.free is None:
            switch.free = FreeTape()
        switch.free.begin()
