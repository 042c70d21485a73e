"""The end of a round that always ends in the same way, as a function of straight lines.

A loop that goes on and on comes to its step with the same events behind it, and with the same
results still held by somebody. The general way to end a round (`hot.run_round`) looks all of that
up; here it is written down as Python text instead, which is one comparison for everything that
could be otherwise: then the function returns None, and the general way is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import getrefcount
from typing import Any

import numpy as np

from kkori.autograd.graph import _next_number
from kkori.core.storage import Storage
from kkori.run.detached import DETACH
from kkori.run.entry import EXTERNAL
from kkori.run.guards import code_of
from kkori.run.writes import give_back

__all__ = ["Endings", "Finish", "counted", "in_order", "simple", "write"]

ROUNDS_BEFORE_FINISH = 32  # it takes a millisecond to write, and saves some 15 microseconds
MOST_FINISHES = 4
_new = object.__new__
_alone: dict[str, int] = {}  # what CPython counts for a tensor, and a promise, of the tape alone


def write(tape: Any, end: Any, held: Any, runner: Any) -> Any:
    """``finish(tape, optimizer)``: True where it has ended a round like this one, or None; None
    where rounds like this one need more than straight lines."""
    update = end.runner
    if tape.here is not update.only_backward or tape.here.results(tape.made) or not simple(
            tape.here.path(), held) or any(
            update.tails.wanted([*held[0], *[entry.slots[0] for entry, _ in held[2]]])):
        return None
    found = Finish(tape, update, held, runner)
    found.same_results()
    found.same_optimizer()
    found.compute()
    found.hand_out()
    found.begin_next()
    return found.function()


class Endings:
    """How often rounds have ended in which way. A few that are alike get a function of their own:
    `write` makes it, or gives None."""

    def __init__(self, write: Callable[..., Any]) -> None:
        self.write = write
        self.count: dict[Any, int] = {}

    def note(self, tape: Any, end: Any, held: Any, runner: Any) -> None:
        """A round is about to be ended in the general way, by the event `end`."""
        key = tuple([tensor is not None for tensor in tape.made]), tuple(held[0]), len(held[2])
        self.count[key] = count = self.count.get(key, 0) + 1
        if count == ROUNDS_BEFORE_FINISH and len(end.finishes) < MOST_FINISHES:
            finish = self.write(tape, end, held, runner)
            if finish is not None:
                end.finishes = (*end.finishes, finish)


def simple(path: list[Any], held: Any) -> bool:
    """Whether all that is held is one result of its operation, in order in memory, and every view
    is one of a result of this round with the same elements in the same order."""
    slots, _, views = held
    for entry in path:
        if entry.kind in ("input", "shown"):
            return False
        for slot, promise in zip(entry.slots, entry.promises, strict=True):
            if slot in slots and (entry.several or not in_order(promise)):
                return False
    return all(not entry.several and entry.view[0] != EXTERNAL and entry.view[1] in slots
               and keeps_order(entry) for entry, _ in views)


def keeps_order(entry: Any) -> bool:
    """Whether a view has all elements of what it shows, in their order in memory."""
    parent = entry.parent
    while entry.view[1] not in parent.slots:
        parent = parent.parent
    shown, seen = parent.promises[parent.slots.index(entry.view[1])], entry.promises[0]
    return in_order(shown) and in_order(seen) and shown.size == seen.size


def held_by_views(path: list[Any], given: list[int], forgotten: list[int]) -> int:
    """How often the results that have been given hold one that is forgotten: their base."""
    base: dict[int, int] = {}
    for entry in path:
        if entry.view is not None and entry.view[0] != EXTERNAL and entry.row is not DETACH:
            for slot in entry.slots:
                base[slot] = base.get(entry.view[1], entry.view[1])
    of_external = {slot for entry in path if entry.view is not None and entry.view[0] == EXTERNAL
                   for slot in entry.slots}
    return sum(slot in given and one in forgotten and one not in of_external
               for slot, one in base.items())


def in_order(promise: Any) -> bool:
    """Whether elements lie in memory as in a new array, to the strides of dimensions of one."""
    return promise.flags.c_contiguous and (
        promise.strides == np.empty(promise.shape, promise.dtype).strides)


class Finish:
    """The lines of the function, and the globals they refer to."""

    def __init__(self, tape: Any, update: Any, held: Any, runner: Any) -> None:
        self.update = update
        self.hand(tape, held, runner)
        self.lines = ["def finish(tape, optimizer):", " made = tape.made"]
        self.names: dict[str, Any] = {
            "new": _new, "getrefcount": getrefcount, "next_number": _next_number, "len": len,
            "map": map, "sum": sum, "Storage": Storage, "ROOT": tape.root, "UPDATE": update,
            "RUNNER": runner, "RESULTS": runner.results, "CALL": runner.call,
            "WORDS": runner.words, "SLOTS": self.slots, "VIEWS": self.views,
            **counted()}

    def hand(self, tape: Any, held: Any, runner: Any) -> None:
        """What is held of the round that `runner` computes."""
        self.tape, self.runner = tape, runner
        self.slots, _, views = held
        self.views = [entry for entry, _ in views]
        self.shown = {entry.view[1] for entry in self.views}
        self.kinds = {slot: kind for entry in tape.here.path()
                      for slot, kind in zip(entry.slots, entry.promises, strict=True)}
        self.held = sorted([*self.slots, *[entry.slots[0] for entry in self.views]])

    def name(self, stem: str, value: Any) -> str:
        """A global for `value`."""
        found = f"{stem}_{len(self.names)}"
        self.names[found] = value
        return found

    def add(self, *lines: str) -> None:
        self.lines += lines

    def function(self) -> Any:
        """The function that the lines define."""
        exec(code_of("\n".join(self.lines)), self.names)
        return self.names.pop("finish")

    def unless(self, *conditions: str) -> None:
        """Leave the round to others where one of these is true."""
        self.lines += [f" if {condition}: return None" for condition in conditions]

    # Is it the same?

    def same_results(self) -> None:
        """The same results have been promised as last time, and of these the same are still held.

        That the events are the same goes without saying: this function is asked behind one only.
        """
        path = self.tape.here.path()
        slots = [slot for entry in path for slot in (
            entry.slots if entry.kind != "backward" else entry.slots[:1])]  # all of them, or none
        given = [slot for slot in slots if self.tape.made[slot] is not None]
        absent = [slot for slot in slots if slot not in given]
        forgotten = [slot for slot in given if slot not in self.held]
        if absent:
            self.unless(" is ".join(["not None", *[f"made[{slot}]" for slot in absent], "None"]))
        if forgotten:
            counts = " + ".join(f"getrefcount(made[{slot}])" for slot in forgotten)
            self.names["ALONE"] = len(forgotten) * _alone["listed"] + held_by_views(
                self.tape.here.path(), given, forgotten)
            self.unless(f"{counts} != ALONE")
        for slot in self.held:
            self.add(f" result{slot} = made[{slot}]", f" promise{slot} = result{slot}._array")
        self.given = given
        self.unless(*map(self.otherwise_held, self.held))

    def otherwise_held(self, slot: int) -> str:
        """Whether nobody holds a result that somebody held before, or its promise is held by more
        than it, or somebody has looked at it."""
        looked = f"promise{slot}.array is not None or getrefcount(promise{slot}) != PROMISE"
        if slot not in self.shown:
            return f"getrefcount(result{slot}) <= TENSOR or {looked}"
        if not self.kinds[slot].needs or slot in self.update.tails.first:
            return looked  # its views hold it, and others may
        count = held_by_views(self.tape.here.path(), self.given, [slot])
        return f"getrefcount(result{slot}) > TENSOR + {count} or {looked}"

    def same_optimizer(self) -> None:
        """The same inputs, optimizer, options and state; the rule's numbers."""
        update = self.update
        self.add(" admitted, bound = tape.admitted, tape.bound")
        self.unless("tape.originals", "admitted != UPDATE.admitted", "admitted != RUNNER.stamp")
        self.one_group = len(update.groups) == 1 and not update.outsiders
        if not self.one_group:
            self.add(" numbers = UPDATE.numbers(optimizer, tape)")
            self.unless("numbers is None")
            return
        group = update.groups[0]
        self.names.update(update.identities, STATE=update.state, GROUP=group, OPTIONS=group.group)
        if group.counts:
            self.add(" if tape.last is not UPDATE: UPDATE.recount(tape)")
        self.add(" groups, state = optimizer.param_groups, optimizer.state")
        self.unless("state is not STATE", "len(groups) != 1", "groups[0] is not OPTIONS")
        self.add(" try:", f"  if not ({update.identity_text}): return None",
                 " except (KeyError, IndexError): return None")
        self.unless("OPTIONS != GROUP.options and not GROUP.examine(optimizer)",
                    "not GROUP.exact")
        given = f"tape.numbers[:{update.given}] + " if update.given else ""
        self.add(f" numbers = {given}" + ("GROUP.function(*GROUP.counts)" if group.counts
                                          else "GROUP.constant"))

    # Then it is run.

    def compute(self) -> None:
        """What `Segment.run` does, for inputs that are where they were."""
        self.names["FREE"] = len(self.slots) * _alone["listed"]
        counts = "".join(f" + getrefcount(RESULTS[{k}])" for k in range(len(self.slots)))
        self.add(f" before = WORDS[{self.runner.counter}]", " try:",
                 f"  if RUNNER.free < 0 or 0{counts} != FREE: RUNNER.refresh()",
                 "  if numbers != RUNNER.numbers: RUNNER.take(numbers)")
        if self.runner.shared:
            self.add("  RUNNER.settle_threads()")
        self.add("  if CALL(): return None")

    def hand_out(self) -> None:
        """Arrays and tails for what is held; the gradients, for whoever asks."""
        leaves = "UPDATE.leaf_tensors(tape)"
        if self.are_parameters(number for number, _ in self.update.leaves):
            leaves, self.names["LEAVES"] = "LEAVES", self.update.leaf_tensors(self.tape)
        self.add(f"  tape.owes = {leaves}, RESULTS, {len(self.slots)}, UPDATE")
        self.fulfil()

    def fulfil(self) -> None:
        """Arrays and tails for what is held."""
        self.arrays("  ")
        if any(slot in self.update.tails.first for slot in self.held):
            self.tails()
        if self.update.trace.written:
            self.add(f"  {self.name('GIVE_BACK', give_back)}(tape)")

    def arrays(self, indent: str) -> None:
        """Arrays, and storages where they are shared or have been written to."""
        lines = []
        for number, slot in enumerate(self.slots):
            lines.append(f"result{slot}._array = RESULTS[{number}]")
            if slot in self.shown or self.kinds[slot].version:
                lines.append(f"result{slot}._storage = Storage(result{slot}._array)")
            if self.kinds[slot].version:
                lines.append(f"result{slot}._storage.version = {self.kinds[slot].version}")
        for entry in self.views:
            slot, base = entry.slots[0], f"result{entry.view[1]}"
            view = f"{base}._array.reshape({self.name('SHAPE', entry.promises[0].shape)})"
            lines += [f"result{slot}._array = {view}", f"result{slot}._storage = {base}._storage"]
        self.add(*[indent + line for line in lines])

    def to_root(self, indent: str) -> None:
        """The round is over. Where it stands comes first, so an interrupt finds it true; more
        tensors may come from outside by now than when this was written."""
        forget = "".join(f"made[{slot}] = " for slot in self.given)
        self.add(*[indent + line for line in (
            "tape.here = ROOT", "tape.bound = [None] * tape.most_externals", "tape.due = False",
            f"tape.first = {forget}None")])

    def tails(self) -> None:
        """The nodes of what is held (see `Tails.hang`), the oldest first."""
        tails = self.update.tails
        older = "None"
        self.add("  number = next_number()")
        for first in dict.fromkeys(tails.first[slot][0] for slot in self.held
                                   if slot in tails.first):
            *_, place = template = tails.templates[first]
            origin = self.origin(tails, first)
            self.add(f"  node{first} = new({self.name('NODE', template[0])})",
                     f"  node{first}.origin = {origin}", f"  node{first}.older = {older}",
                     f"  node{first}.sequence = number + {self.name('PLACE', place)}")
            older = f"node{first}"
        for slot in self.held:
            if slot in tails.first:
                first, number = tails.first[slot]
                self.add(f"  result{slot}._node = node{first}")
                if number:
                    self.add(f"  result{slot}._output_nr = {number}")
        for entry in self.views:
            if entry.view[1] in tails.first and entry.row is not DETACH:
                first, _ = tails.first[entry.view[1]]
                self.add(f"  result{entry.slots[0]}._origin = node{first}")

    def origin(self, tails: Any, first: int) -> str:
        """What a node is filled from."""
        if self.are_parameters(tails.leaves):
            return self.name("ORIGIN", (tails, first, tails.of_round(self.tape), None))
        known = self.name("TAILS", tails)
        return f"({known}, {first}, {known}.of_round(tape), None)"

    def are_parameters(self, numbers: Any) -> bool:
        """Whether these externals are the optimizer's, which `same_optimizer` compares; others
        may be new ones."""
        return set(numbers) <= set(self.update.place_of.values())

    def begin_next(self) -> None:
        """Count the step; the next round begins."""
        group = self.update.groups[0]
        if self.one_group:
            if group.counts:
                self.add(f"  GROUP.counts = numbers[{group.mine.start}:]")
            self.add("  steps = UPDATE.steps", "  if not steps.complete: UPDATE.attach()",
                     "  steps.count += 1")
            for _, place, _ in self.update.sums:
                held = self.name("PLACE", place)
                self.add(f"  {held}['_grad'].shared_storage().version += 1")
        else:
            self.add("  UPDATE.counted(numbers)")
        self.to_root("  ")
        self.add("  if tape.next is not None: tape.next(tape)", " except BaseException:",
                 "  UPDATE.finish_later(tape, RUNNER, before, numbers, SLOTS, VIEWS)", "  raise",
                 " return True")


def counted() -> dict[str, int]:
    """What CPython counts for a tensor, and for a promise, in functions like those above."""
    return {"TENSOR": _alone["tensor"], "PROMISE": _alone["promise"]}


def _calibrate() -> None:
    """Ask `getrefcount` about something that only a tape holds, in lines like those above."""
    class Thing:
        _array: Any

    thing = Thing()
    thing._array = Thing()
    made, cell, names = [thing], [thing._array], {"getrefcount": getrefcount}
    del thing
    exec("def count(made):\n listed = getrefcount(made[0])\n result0 = made[0]\n"
         " promise0 = result0._array\n"
         " return listed, getrefcount(result0), getrefcount(promise0)", names)
    _alone.update(zip(("listed", "tensor", "promise"), names["count"](made),  # type: ignore
                      strict=True))
    del cell


_calibrate()
