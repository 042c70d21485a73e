"""The end of a round that always ends in the same way, as a function of straight lines.

A loop that goes on and on comes to its step with the same events behind it, and with the same
results still held by somebody. The general way to end a round (`hot.run_round`) looks all of that
up; here it is written down as Python text instead, which is one comparison for everything that
could be otherwise: then the function returns None, and the general way is taken.
"""

from __future__ import annotations

from sys import getrefcount
from typing import Any

from kkori.autograd.graph import _next_number
from kkori.core.storage import Storage
from kkori.run.entry import EXTERNAL
from kkori.run.guards import code_of

__all__ = ["Finish", "write"]

_new = object.__new__


class Finish:
    """The lines of the function, and the globals they refer to."""

    def __init__(self, tape: Any, update: Any, held: Any, runner: Any) -> None:
        self.tape, self.update, self.runner = tape, update, runner
        self.slots, _, self.views = held
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "new": _new, "getrefcount": getrefcount,
            "next_number": _next_number, "Storage": Storage, "UPDATE": update, "len": len,
            "START": tape.start, "RUNNER": runner, "RESULTS": runner.results, "CALL": runner.call,
            "sum": sum, "map": map,
            "Doubtful": runner.Doubtful, "WORDS": runner.words, 
            "LEAVES": update.leaf_tensors(tape), "SOME": [None] * tape.most_externals,
            "A": _alone[0], "B": _alone[1]}

    def name(self, stem: str, value: Any) -> str:
        found = f"{stem}{len(self.names)}"
        self.names[found] = value
        return found

    def add(self, *lines: str) -> None:
        self.lines += lines

    def events(self, here: Any) -> None:
        """The same events as last time, each with its tensors."""
        self.held: dict[int, str] = {}  # slot of a result that is still held: its variable
        viewed = {id(tensor) for _, tensors in self.views for tensor in tensors}
        self.add(" link = tape.here")
        failed, counts, promises = [], [], []
        while here[2] is not None:
            entry, tensors, here = here
            these = []
            for slot, tensor in zip(entry.slots, tensors, strict=False):
                one = f"result{slot}"
                these.append(one)
                if slot in self.slots or id(tensor) in viewed:
                    self.held[slot] = one
                    promises.append(f" promise{slot} = {one}._array")
                    if not self.is_shown(slot):
                        counts.append(f"getrefcount({one}) <= A and getrefcount(promise{slot}) <= B")
                    counts.append(f"promise{slot}.array is not None")
                else:
                    counts.append(f"getrefcount({one}) > A or getrefcount({one}._array) > 2")
            event = self.name("E", entry)
            self.add(f" event, these, link = link", f" if event is not {event}: return None")
            if these:
                self.add(f" if len(these) != {len(these)}: return None",
                         f" {', '.join(these)}, = these")
            else:
                self.add(" if these: return None")
        failed.append("link is not None" if False else "link is not START")
        self.add(*promises)
        for test in (*failed, *counts):
            self.add(f" if {test}: return None")

    def is_shown(self, slot: int) -> bool:
        """Whether a held view is a view of this result."""
        return any(entry.view[1] == slot and entry.view[0] != EXTERNAL for entry, _ in self.views)

    def optimizer(self) -> None:
        """The same optimizer, options and state."""
        update = self.update
        self.add(" admitted, bound = tape.admitted, tape.bound",
                 " if tape.originals or admitted != UPDATE.admitted or admitted != RUNNER.stamp: "
                 "return None")
        if len(update.groups) > 1 or update.outsiders:
            self.add(" numbers = UPDATE.numbers(optimizer, tape)",
                     " if numbers is None: return None")
            return
        group = update.groups[0]
        if group.counts:
            self.add(" if tape.last is not UPDATE: UPDATE.recount(tape)")
        self.names.update(update.identities, STATE=update.state, GROUP=group, OPTIONS=group.group)
        self.add(" groups, all = optimizer.param_groups, optimizer.state",
                 " if all is not STATE or len(groups) != 1 or groups[0] is not OPTIONS: return None",
                 " try:", f"  if not ({update.identity_text}): return None",
                 " except (KeyError, IndexError): return None",
                 " if OPTIONS != GROUP.options and not GROUP.examine(optimizer): return None",
                 f" numbers = GROUP.function({'*GROUP.counts' if group.counts else ''})",
                 " if not GROUP.exact: return None")

    def run(self) -> None:
        """Compute, and hand out."""
        counter = self.runner.native.pool + 2
        self.add(f" before = WORDS[{counter}]", " try:", "  if sum(map(getrefcount, RESULTS)) != RUNNER.free: RUNNER.refresh()",
                 "  if numbers != RUNNER.numbers: RUNNER.take(numbers)")
        if self.runner.shared:
            self.add("  RUNNER.settle_threads()")
        self.add("  if CALL(): return None",
                 f"  tape.owes = LEAVES, RESULTS, {len(self.slots)}, UPDATE")
        for number, slot in enumerate(self.slots):
            one = self.held[slot]
            self.add(f"  {one}._array = promise{slot}.array = RESULTS[{number}]", f"  promise{slot}.tape = None")
        for entry, tensors in self.views:
            self.view(entry)
        if any(slot in self.update.tails.first for slot in self.held):
            self.nodes()
        update = self.update
        if len(update.groups) == 1 and update.groups[0].exact and not update.outsiders:
            if update.groups[0].counts:
                self.add(f"  GROUP.counts = numbers[{update.groups[0].mine.start}:]")
            self.add("  for storage in UPDATE.storages: storage.version += 1")
        else:
            self.add("  UPDATE.counted(numbers)")
        self.add("  tape.bound = SOME[:]", "  tape.due = False",
                 "  tape.here = START", " except Doubtful: return None",
                 " except BaseException:", f"  UPDATE.finish_later(tape, RUNNER, before, numbers)",
                 "  raise", " return True")

    def view(self, entry: Any) -> None:
        """A view of what has been computed."""
        (slot,), source = entry.slots, entry.view[1]
        one, base = self.held[slot], self.held[source]
        shape = self.name("S", entry.promises[0].shape)
        self.add(f"  {one}._array = promise{slot}.array = {base}._array.reshape({shape})",
                 f"  promise{slot}.tape = None",
                 f"  {one}._storage = {base}._storage = Storage({base}._array)")

    def nodes(self) -> None:
        """The tails of what is held, to be filled when somebody asks."""
        tails = self.update.tails
        leaves, older = tails.of_round(self.tape), "None"
        self.add("  number = next_number()")
        for slot in sorted(self.held):
            if slot in tails.first:
                first, _ = tails.first[slot]
                kind = self.name("C", tails.templates[first][0])
                origin = self.name("O", (tails, first, leaves))
                place = self.name("P", tails.templates[first][-1])
                self.add(f"  {self.held[slot]}._node = node{slot} = new({kind})",
                         f"  node{slot}.origin = {origin}", f"  node{slot}.older = {older}",
                         f"  node{slot}.sequence = number + {place}")
                older = f"node{slot}"
        for entry, _ in self.views:
            slot, source = entry.slots[0], entry.view[1]
            if source in tails.first:
                self.add(f"  {self.held[slot]}._origin = {self.held[source]}._node")


def write(tape: Any, update: Any, here: Any, held: Any, runner: Any) -> Any:
    """``finish(tape, optimizer)``: True where it has ended a round like this one, or None; None
    where rounds like this one need more than straight lines."""
    if here[0] is not update.only_backward or here[1] or not simple(update, here, held):
        return None
    found = Finish(tape, update, held, runner)
    found.add("def finish(tape, optimizer):")
    found.events(here)
    found.optimizer()
    found.run()
    exec(code_of("\n".join(found.lines)), found.names)  # noqa: S102 our own text
    return found.names.pop("finish")


def simple(update: Any, here: Any, held: Any) -> bool:
    """Whether all that is held is one result of its operation, in order in memory, and every view
    is one of a result of this round with the same elements in the same order."""
    slots, _, views = held
    kept = set(slots)
    while here[2] is not None:
        entry, _, here = here
        for slot, promise in zip(entry.slots, entry.promises, strict=True):
            if slot in kept and (entry.several or not promise.flags.c_contiguous):
                return False
    for entry, _ in views:
        if entry.several or entry.view[0] == EXTERNAL or entry.view[1] not in kept or not (
                entry.promises[0].flags.c_contiguous) or not keeps_order(entry):
            return False
    return True


def keeps_order(entry: Any) -> bool:
    """Whether a view has all elements of what it shows."""
    parent = entry.parent()
    while entry.view[1] not in parent.slots:
        parent = parent.parent()
    shown = parent.promises[parent.slots.index(entry.view[1])]
    return shown.flags.c_contiguous and shown.size == entry.promises[0].size


_alone = [0, 0]


def _calibrate() -> None:
    """Find out what `getrefcount` says of a tensor and a promise that only the tape holds."""
    class Thing:
        pass

    thing = Thing()
    thing._array = Thing()  # type: ignore[attr-defined]
    here = (None, (thing,), None)
    del thing
    names = {"getrefcount": getrefcount}
    exec("def count(here):\n link = here\n event, these, link = link\n r0, = these\n"  # noqa: S102
         " p0 = r0._array\n return getrefcount(r0), getrefcount(p0)", names)
    _alone[:] = names["count"](here)  # type: ignore[operator]


_calibrate()
