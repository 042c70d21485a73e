"""Guards: the function that recognises one event of a recorded round and promises its results.

Matching has to cost less than computing, so each event gets a small function of its own, put
together from the lines below: one comparison an argument, then the promised tensors. What is
compared with is in the function's closure, so that events of the same form share one text, and
one compiled code object (globals would differ, and CPython looks up afresh what differs). All of
it is pure checking: where the program does something else the function returns None, and nothing
has happened.
"""

from __future__ import annotations

import builtins
from functools import lru_cache
from types import CellType, CodeType, FunctionType
from typing import Any

from numpy import ndarray

from kkori.autograd.engine import inspect_results
from kkori.autograd.mode import hooked
from kkori.core.promise import Promise, promised
from kkori.core.storage import is_shared_with_numpy
from kkori.run.entry import (
    ALIAS,
    CONSTANT,
    EXTERNAL,
    MOST_SNAPSHOT,
    SLOT,
    VARYING,
    Entry,
    Fleeting,
    Known,
    Layout,
    is_hooked,
    same_constant,
    same_number,
)
from kkori.run.numbers import is_number
from kkori.run.sums import dropped_slots, owed_slots
from kkori.tensor import Tensor, wrap

__all__ = ["Guard", "admit", "closed", "ending", "following", "later", "operation"]

_new = object.__new__
MOST_LEAVES = 64  # beyond what guards know now, of which is noted which guards knew them


class Guard:
    """The lines of a matching function, and the names they refer to."""

    def __init__(self, tape: Any, head: str) -> None:
        self.tape = tape
        self.lines = [head, " try:"]
        self.names: dict[str, Any] = {"Tensor": Tensor, "new": _new, "admit": admit}

    def name(self, stem: str, value: Any) -> str:
        """A name for `value`."""
        found = f"{stem}{len(self.names)}"
        self.names[found] = value
        return found

    def check(self, failed: str) -> None:
        """Give up where `failed` is true."""
        self.lines.append(f"  if {failed}: return None")

    def arguments(self, patterns: list[tuple[int, Any]], layouts: list[Layout],
                  first: int) -> None:
        """Compare all arguments; `first` is the number of the first external that is new."""
        if any(kind in (EXTERNAL, ALIAS) for kind, _ in patterns) or layouts:
            self.lines.append("  bound = tape.bound")
        for k, (kind, data) in enumerate(patterns):
            self.argument(f"a{k}", kind, data, layouts, first)

    def argument(self, arg: str, kind: int, data: Any, layouts: list[Layout], first: int) -> None:
        """Compare one argument."""
        if kind == SLOT:
            self.slot(arg, data)
        elif kind == EXTERNAL and data[0] >= first and data[1] is not None:
            self.external(arg, data[0], layouts[data[0] - first])
        elif kind == ALIAS:
            self.alias(arg, data, layouts, first)
        elif kind == EXTERNAL:
            here = self.name("N", data[0])
            self.check(f"{arg} is not bound[{here}] and not tape.copied({here}, {arg})")
        elif kind == VARYING:
            self.number(arg, data)
        else:
            self.constant(arg, kind, data)

    def number(self, arg: str, place: int) -> None:
        """A number that may be another one in every round."""
        self.names.update(float=float, is_number=is_number)
        self.check(f"{arg}.__class__ is not float and not is_number({arg})")
        self.lines.append(f"  tape.numbers[{self.name('N', place)}] = {arg}")

    def slot(self, arg: str, promise: type[Promise]) -> None:
        """A result of an earlier event of this round: every one has a class of its own. Whether
        it requires gradients cannot change without its promise being kept."""
        self.check(f"{arg}._array.__class__ is not {self.name('K', promise)}")

    def external(self, arg: str, number: int, layout: Layout) -> None:
        """A tensor from outside that this round has not used before."""
        known = layout.known
        if known is None:
            layout.known = known = (Known if self.tape.may_hold else Fleeting)(number)
            self.tape.known.append(known)
        where, cell = self.name("N", number), self.name("C", known)
        shape, called = self.name("L", layout), "" if self.tape.may_hold else "()"
        self.lines += [
            f"  if {arg} is not {cell}.tensor{called} or "
            f"{arg}._array is not {cell}.array{called} or "
            f"{arg}._requires_grad is not {layout.needs}:",
            f"   {arg} = admit(tape, {cell}, {shape}, {where}, {arg})",
            f"   if {arg} is None: return None",
            f"  bound[{where}] = {arg}"]

    def alias(self, arg: str, data: Any, layouts: list[Layout], first: int) -> None:
        """``.data`` of an external, taken since that was written to last."""
        self.lines.append(f"  leaf = {arg}._leaf")
        self.argument("leaf", EXTERNAL, data, layouts, first)
        self.check(f"{arg}._array is not leaf._array or {arg}._requires_grad")

    def constant(self, arg: str, kind: int, value: Any) -> None:
        """Anything that is not a tensor."""
        here = self.name("V", value)
        if value is None or value is True or value is False:
            self.check(f"{arg} is not {here}")
        elif value.__class__ in (int, str) or value.__class__ is float and value and value == value:
            self.check(f"{arg}.__class__ is not {self.name('T', value.__class__)} or "
                       f"{arg} != {here}")
        else:
            same = self.name("F", same_constant if kind == CONSTANT else same_number)
            self.check(f"not {same}({arg}, {here})")

    def promises(self, entry: Entry, stem: str) -> str:
        """Make the results of `entry`; the text of the tuple of them."""
        results = []
        for k, (promise, stub) in enumerate(zip(entry.promises, entry.stubs, strict=True)):
            one = f"r{stem}_{k}"
            results.append(one)
            if not promise.cell:
                promise.cell.append(promised(promise, self.tape))
            self.lines += [f" {one} = new(Tensor)",
                           f" {one}._array = {self.name('P', promise.cell)}[0]"]
            if stub is not None:
                self.lines += [f" {one}._requires_grad = True",
                               f" {one}._node = {self.name('G', stub)}"]
        found = f"({''.join(one + ', ' for one in results)})"
        if entry.view is not None:
            self.lines.append(f" tape.tie({self.name('E', entry)}, {found})")
        for slot, one in zip(entry.slots, results, strict=True):
            self.lines.append(f" made[{self.name('N', slot)}] = {one}")
        return found if entry.several else results[0]

    def otherwise(self) -> None:
        """The end of the comparisons: what has no `_array`, or another number of arguments."""
        self.lines.append(" except (AttributeError, TypeError, ValueError): return None")

    def done(self, end: Entry | None, result: str) -> Any:
        """The function; the round stands at the event `end` then, if that is not None."""
        if end is not None:
            self.lines.append(f" tape.here = {self.name('E', end)}")
        self.lines.append(f" return {result}")
        return closed(self.lines, self.names)


GUARD = "<guard of a recorded round>"
_globals = {"__builtins__": builtins}


def closed(lines: list[str], names: dict[str, Any]) -> Any:
    """The function that `lines` define, with `names` in its closure."""
    code = inner_code("\n ".join(lines), tuple(names))
    cells = tuple([CellType(names[name]) for name in code.co_freevars])
    return FunctionType(code, _globals, code.co_name, None, cells)


@lru_cache(maxsize=1024)
def inner_code(text: str, names: tuple[str, ...]) -> Any:
    """The code object of the function that `text` defines where there are `names`."""
    code = compile(f"def within({', '.join(names)}):\n {text}", GUARD, "exec")
    for _ in range(2):
        code = next(one for one in code.co_consts if isinstance(one, CodeType))
    return code


@lru_cache(maxsize=1024)
def code_of(text: str) -> Any:
    """The code object of a text; events of the same form share it."""
    return compile(text, GUARD, "exec")


def operation(entry: Entry, tape: Any) -> Any:
    """``go(tape, ...)`` for one operation: its promised result, or None."""
    guard = Guard(tape, head_of(entry))
    guard.check(f"tape.on is not {entry.mode}")
    guard.arguments(entry.patterns, entry.layouts, entry.externals - len(entry.layouts))
    guard.otherwise()
    guard.lines.append(" made = tape.made")
    return guard.done(entry, guard.promises(entry, "0"))


def head_of(entry: Entry) -> str:
    """The first line of a function that takes the arguments of an event one by one."""
    return f"def go({', '.join(['tape', *[f'a{k}' for k in range(len(entry.patterns))]])}):"


def later(entry: Entry, write: Any, place: str = "go") -> Any:
    """``go`` for an event that has not come again yet: the guard is made when it is first asked.

    Most events of rounds that are never alike are never asked.
    """
    def go(tape: Any, *args: Any) -> Any:
        found = write(entry, tape)
        setattr(entry, place, found)
        return found(tape, *args)
    return go


def ending(entry: Entry, tape: Any) -> Any:
    """``go(tape, ...)`` for backward(), whose arguments are roots and gradients: True, or None."""
    guard = Guard(tape, head_of(entry))
    guard.arguments(entry.patterns, entry.layouts, entry.externals - len(entry.layouts))
    guard.otherwise()
    return guard.done(None, "True")


def following(entry: Entry, tape: Any) -> Any:
    """``go(tape, root)`` for ``root.backward()`` as one event: nothing is done but noting that it
    was called, where the leaves are as they were: no gradient yet, no hooks."""
    guard = Guard(tape, "def go(tape, a0):")
    guard.names.update(is_hooked=is_hooked, hooked=hooked, inspects=inspect_results)
    guard.slot("a0", entry.patterns[0][1])
    guard.lines += ["  if tape.owes is not None: tape.hand_out()", "  bound = tape.bound"]
    for number, _ in entry.leaves:
        leaf = f"bound[{guard.name('N', number)}]"
        guard.check(f"{leaf}._grad is not None or hooked[0] and is_hooked({leaf})")
    for slot in owed_slots(entry):
        guard.check(f"tape.made[{slot}] is not None")
    for slot in dropped_slots(entry):
        guard.check(f"tape.made[{slot}] is None")
    event = guard.name("E", entry)
    guard.check("inspects[0] is not None or tape.originals and not tape.copies_are_true()")
    if entry.sums:
        guard.check(f"not tape.leaves_are_free({event})")
    guard.otherwise()
    implicit = guard.name("I", entry.implicit)
    guard.lines += [f" bound[{guard.name('N', entry.externals - 1)}] = {implicit}",
                    " tape.due = True"]
    return guard.done(entry, "True")


def admit(tape: Any, known: Known, layout: Layout, number: int, tensor: Any) -> Tensor | None:
    """What stands for external `number` in this round: `tensor`, a copy of it while NumPy code
    could write to it, or None where it is not like the recorded one."""
    if not layout.fits(tensor) or layout.needs and known.key() != id(tensor) and (
            is_another(tape, known, tensor)):
        return None
    if tensor._storage is not None and tensor._storage.exports:
        known.forget()
        tape.admitted += 1
        return snapshot(tape, layout, number, tensor)
    tape.admitted += 1
    known.remember(tensor)
    return tensor


def is_another(tape: Any, known: Known, tensor: Tensor) -> bool:
    """Whether a leaf is another external of this round already: where they were two tensors, each
    had a gradient of its own. Guards behind this one that know it by another number look again."""
    key, bound = id(tensor), tape.bound
    others = tape.known_by.get(key, ())
    if len(others) == 1 and others[0] is known:
        return False  # nobody else has ever known it
    if any(one.number < known.number and bound[one.number] is tensor for one in others):
        return True
    for one in others:
        if one.number > known.number and one.key() == key:
            one.forget()
    tape.known_by[key] = [known, *[one for one in others if one.key() == key]]
    if len(tape.known_by) > 2 * len(tape.known) + MOST_LEAVES:
        tape.known_by = {key: some for key, some in tape.known_by.items() if any(
            key in (one.key(), id(bound[one.number])) for one in some)}
    return False


def snapshot(tape: Any, layout: Layout, number: int, tensor: Tensor) -> Tensor | None:
    """`tensor`, or a copy of it while NumPy code could write to it; None where it is large."""
    if tape.atomic or not is_shared_with_numpy(tensor.shared_storage()):
        return tensor
    if layout.needs or layout.viewed or extent_of(tensor._array) > MOST_SNAPSHOT:
        return None
    copy = wrap(copy_of(tensor._array))
    tape.originals[number] = tensor, copy
    return copy


def copy_of(array: Any) -> Any:
    """A copy with the same strides, which is what a compiled round goes by."""
    copy = array.copy("K")
    if copy.strides != array.strides:
        copy = ndarray(array.shape, array.dtype, bytearray(extent_of(array)), 0, array.strides)
        copy[...] = array
    return copy


def extent_of(array: Any) -> int:
    """How many bytes lie between the first and the last element."""
    return sum(step * (length - 1) for step, length in zip(
        array.strides, array.shape, strict=True)) + array.itemsize if array.size else 0
