"""The end of a round that ends with backward(), as a function of straight lines.

The same as `finish` for rounds without an optimizer's step: the gradients are put, or added, to
where they belong. Nothing of the round is kept alive by it, so arrays are known by references that
do not count.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np

from kkori.autograd.mode import hooked, switch
from kkori.core.storage import root_of
from kkori.core.threads import undisturbed
from kkori.run.entry import is_hooked
from kkori.run.finish import Finish, simple
from kkori.tensor import Tensor, wrap

__all__ = ["forget", "give", "write"]


def write(tape: Any, end: Any, held: Any, runner: Any) -> Any:
    """``finish(tape)``: True where it has ended a round like this one, or None; None where rounds
    like this one need more than straight lines."""
    tails = end.runner.tails
    if reads_inputs(runner) or not simple(tape.here.path(), held) or any(
            tails.wanted([*held[0], *[entry.slots[0] for entry, _ in held[2]]])):
        return None
    found = FreeFinish(tape, end, held, runner)
    found.same_results()
    found.same_inputs()
    found.same_leaves()
    found.compute()
    found.fulfil()
    found.deliver()
    found.begin_next()
    return found.function()


def reads_inputs(runner: Any) -> bool:
    """Whether a library, or an array rule, takes inputs: those it finds in `runner.inputs`."""
    return any(part.where == "input" for call in runner.plan.calls for part in call.parts)


class FreeFinish(Finish):
    """The lines of the function, and the globals they refer to."""

    def __init__(self, tape: Any, end: Any, held: Any, runner: Any) -> None:
        super().__init__(tape, end.runner, held, runner)
        from kkori.codegen.segment import address_of
        self.end = end
        self.gradients = end.slots if end.kind == "backward" else []
        self.lines[0] = "def finish(tape):"
        self.names.update(
            Tensor=Tensor, POINT=point, is_hooked=is_hooked, hooked=hooked, SWITCH=switch,
            give=give, undisturbed=undisturbed, KNOWN=runner.known, address_of=address_of,
            WRITTEN=list(end.runner.trace.written))

    def same_inputs(self) -> None:
        """Where all arrays are: addresses of those that are new are looked up."""
        self.add(" bound = tape.bound")
        self.unless("tape.originals")
        written = self.update.trace.written
        for number in range(self.end.externals):
            self.add(f" x{number} = tape.written[{number}].array" if number in written
                     else f" x{number} = bound[{number}]._array")
        arrays = "".join(f"x{number}, " for number in range(self.end.externals))
        same = " and ".join(f"KNOWN[{number}]() is x{number}"
                            for number in range(self.end.externals))
        self.unless(f"not ({same}) and not POINT(RUNNER, address_of, WRITTEN, ({arrays}))")

    def same_leaves(self) -> None:
        """No hooks, and gradients to which one can add."""
        for k, (number, _) in enumerate(self.end.leaves):
            self.add(f" leaf{k} = bound[{number}]", f" old{k} = leaf{k}._grad")
            self.unless(f"hooked[0] and is_hooked(leaf{k})",
                        f"old{k} is not None and (old{k}.__class__ is not Tensor or "
                        f"old{k}._requires_grad)")

    def origin(self, tails: Any, first: int) -> str:
        """What a node is filled from: no leaf is kept alive for the next round."""
        leaves = ", ".join(f"{number}: bound[{number}]" for number in tails.leaves)
        return f"({self.name('TAILS', tails)}, {first}, {{{leaves}}}, None)"

    def compute(self) -> None:
        """From here on nothing comes between."""
        self.add(" with undisturbed():",
                 "  if sum(map(getrefcount, RESULTS)) != RUNNER.free: RUNNER.refresh()")
        if self.end.number_count:
            self.add(f"  numbers = tape.numbers[:{self.end.number_count}]",
                     "  if numbers != RUNNER.numbers: RUNNER.take(numbers)")
        if self.runner.shared:
            self.add("  RUNNER.settle_threads()")
        self.add("  if CALL(): return None")

    def deliver(self) -> None:
        """Gradients go to their leaves."""
        place = {slot: number for number, slot in enumerate(self.order())}
        for k, slot in enumerate(self.gradients):
            array = f"RESULTS[{place[slot]}]"
            self.add(f"  if old{k} is None:", f"   leaf{k}._grad = grad = new(Tensor)",
                     f"   grad._array = {array}", f"  else: give(leaf{k}, {array})")

    def order(self) -> list[int]:
        """The slots in the order in which they come out."""
        return [*self.slots, *[slot for slot in self.gradients if slot not in self.slots]]

    def begin_next(self) -> None:
        """The next round begins."""
        self.to_root("  ")
        self.add("  tape.counts['rounds'] += 1", "  tape.idle = 1", "  tape.on = SWITCH.on",
                 " return True")


def forget(runner: Any) -> None:
    """Inputs have been pointed at in the general way: nothing of them is kept alive, or known."""
    count = len(runner.inputs)
    runner.inputs[:] = [None] * count
    runner.known[:] = [nothing] * count


def nothing() -> Any:
    """Refers to no array."""
    return nothing


def point(runner: Any, address_of: Any, written: list[int], arrays: Any) -> bool:
    """Tell native code where these inputs are; False where what it writes to is not apart.

    Nothing is kept alive for the next round.
    """
    known = runner.known
    for number, array in enumerate(arrays):
        if known[number]() is not array:
            root = root_of(array)
            others = written if number not in written else range(len(arrays))
            if any(root_of(arrays[other]) is root for other in others if other != number):
                known[number] = nothing
                return False
            runner.words[number] = address_of(array)
            known[number] = ref(array)
    return True


def give(leaf: Tensor, array: Any) -> None:
    """Put or add a gradient to a leaf."""
    old = leaf._grad
    if old is None:
        leaf._grad = wrap(array)
        return
    mine = old._array
    plain = mine.__class__ is np.ndarray and old._node is None and old._base is None
    if plain and mine.dtype == array.dtype and mine.shape == array.shape and mine.flags.writeable:
        np.add(mine, array, out=mine)
        old.shared_storage().version += 1
        return
    tape, outer = switch.tape, switch.on
    switch.tape, switch.on = None, False
    try:
        old.add_(wrap(array))
    finally:
        switch.tape, switch.on = tape, outer
