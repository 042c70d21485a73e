"""Calls of layers as events: a model made of kkori's own modules is matched with one comparison.

What such a module computes depends on its arguments, its parameters and its settings alone. So
where the operations inside a call have all been matched, the call itself becomes an event that
leads straight to the last of them: next time `forward` is not run at all. Changing a setting, a
child or a hook of a module takes its events away (`changed`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary, ref

from kkori.core.promise import Promise
from kkori.run.entry import CONSTANT, EXTERNAL, SLOT, Entry, Unrecordable, check_constant
from kkori.run.guards import Guard
from kkori.run.renamed import is_held_elsewhere, is_of_result, rename
from kkori.run.writes import in_guard, promise_in_guard, tally
from kkori.tensor import Tensor

__all__ = ["Call", "changed", "is_pure", "learn", "place_of", "turned", "watched"]

MOST_TRIES = 4
watched: WeakKeyDictionary[Any, list[Any]] = WeakKeyDictionary()  # module -> references to events


class Call:
    """The call of a module at one place of the tree: `go` matches it and promises its result."""

    __slots__ = ("module", "go", "known", "modes", "away", "counts", "__weakref__")

    def __init__(self, module: Any, go: Any, counts: bool) -> None:
        self.module: Any = ref(module)
        self.known: Any = self.module
        self.go, self.counts = go, counts
        self.modes = {id(one): one.training for one in module.modules()}
        self.away = 0  # how many of them are in the other mode now: training, or not

    def turned(self, module: Any, training: bool) -> None:
        """One of the modules goes to another mode: back to the one in which it was recorded?"""
        self.away += -1 if self.modes.get(id(module)) is training else 1
        if self.go is not None:
            self.module = nobody if self.away else self.known


def changed(module: Any) -> None:
    """A setting, a parameter, a child or a hook of `module` has been replaced."""
    for event in watched.pop(module, ()):
        call = event()
        if call is not None:
            call.module = nobody
            call.go = None
            call.away = 1 << 30


def turned(module: Any, training: bool) -> None:
    """`module` goes to training mode, or leaves it: its calls wait until it comes back."""
    for event in watched.get(module, ()):
        call = event()
        if call is not None:
            call.turned(module, training)


def nobody() -> Any:
    return nobody  # is no module


def learn(tape: Any, module: Any, args: tuple[Any, ...]) -> Any:
    """Call a module, and make the call an event if all it did was to match operations."""
    if not tape.may_hold or not is_pure(module):
        return module.forward(*args)
    start, round, before = tape.here, tape.bound, (tape.asides, tape.counts["looks"])
    start.tries += 1
    with noticing_warnings() as warned, counting(tape) as counters:
        result = module.forward(*args)
    if not warned and before == (tape.asides, tape.counts["looks"]) and tape.bound is round:
        inner = [(entry, entry.results(tape.made)) for entry in tape.here.after(start)]
        source = source_of(inner, result)
        if source is not None:
            event = write(tape, module, args, start, inner[-1][0], source, counters)
            if event is not None:
                start.calls.append(event)
    return result


def source_of(inner: list[tuple[Entry, Any]], result: Any) -> tuple[Entry, int] | None:
    """The event that has made what a call returns, and which of its results that is (-1: all)."""
    for entry, tensors in reversed(inner):
        if entry.several and result.__class__ is tuple and len(result) == len(tensors) and (
                all(map(is_, result, tensors))):
            return entry, -1
        for number, tensor in enumerate(tensors):
            if tensor is result and (entry.kind == "op" or is_of_result(entry)):
                return entry, number
    return None


@contextmanager
def counting(tape: Any) -> Iterator[list[Tensor]]:
    """A list of the counters that have gone on inside."""
    found: list[Tensor] = []
    start = len(tape.tallied)
    tape.learning += 1
    try:
        yield found
    finally:
        tape.learning -= 1
        found += tape.tallied[start:]
        if not tape.learning:
            tape.tallied = []


@contextmanager
def noticing_warnings() -> Iterator[list[Any]]:
    """A list that is not empty after a warning inside, which is given as ever."""
    found: list[Any] = []
    warn = warnings.warn

    def noticing(message: Any, category: Any = None, stacklevel: int = 1, **options: Any) -> None:
        found.append(message)
        warn(message, category, stacklevel + 1, **options)

    warnings.warn = noticing  # type: ignore[assignment]
    try:
        yield found
    finally:
        warnings.warn = warn


def is_pure(module: Any) -> bool:
    """Whether a module and all its children are kkori's own, as they were written, unhooked."""
    for one in module.modules():
        if not OWN[type(one)] or "forward" in vars(one) or one._has_call_hooks:
            return False
    return True


class _Own(dict[Any, bool]):
    """Whether a class of modules is one of kkori's, as it was written."""

    def __missing__(self, kind: Any) -> bool:
        self[kind] = found = kind.__module__.startswith(("kkori.", "torch.")) and (
            getattr(kind.forward, "__module__", "").startswith("kkori."))
        return found


OWN = _Own()


def write(tape: Any, module: Any, args: tuple[Any, ...], start: Entry, end: Entry,
          source: tuple[Entry, int], counters: list[Tensor]) -> Call | None:
    """The event for a call with `args`; None where it uses other tensors than it was given."""
    path = end.after(start)
    layouts = [layout for entry in path for layout in entry.layouts]
    first = end.externals - len(layouts)
    if end.number_count != start.number_count or any(
            entry.mode is not end.mode or entry.kind not in ("op", "write") for entry in path):
        return None
    given_away = arguments_written(path)
    guard = Guard(tape, "def go(tape, args):")
    guard.check(f"tape.on is not {end.mode}")
    try:
        patterns = [pattern(tape, arg, end, given_away) for arg in args]
        names = {last: name_of(patterns, first) for first, last in given_away}
    except Unrecordable:
        return None
    seen: set[int] = set()
    for k, (kind, data) in enumerate(patterns):
        if kind == EXTERNAL:
            patterns[k] = kind, (data, None if data in seen else layouts)
            seen.add(data)
    given = "".join(f"a{k}, " for k in range(len(patterns)))
    guard.lines.append(f"  {given}= args" if patterns else "  () = args")
    guard.arguments(patterns, layouts, first)
    for number in range(first, end.externals):
        if number not in seen:
            place = place_of(module, tape.bound[number])
            if place is None:
                return None
            table, name = place
            guard.lines.append(f"  e = {guard.name('D', table)}[{guard.name('S', name)}]")
            guard.external("e", number, layouts[number - first])
    if not check_known(guard, module, path, first, seen):
        return None
    writing = [entry for entry in path if entry.kind == "write" and not is_of_result(entry)]
    for entry in writing:
        in_guard(guard, entry)
    for name in names.values():
        guard.check(f"{guard.name('H', is_held_elsewhere)}({name}._array)")
    if not count(guard, module, counters, end):
        return None
    guard.lines.append(" made = tape.made")
    for entry in writing:
        promise_in_guard(guard, entry)
    for old, last in given_away:
        rename(guard, last, names[last], old)
    made = [entry for entry in needed(path, source[0]) if entry not in names]
    result = names.get(source[0], "")
    for number, entry in enumerate(made):
        result = guard.promises(entry, str(number))
    if source[0].several and source[1] >= 0:
        result = f"r{len(made) - 1}_{source[1]}"
    event = Call(module, guard.done(end, result), bool(counters))
    for one in module.modules():
        watched.setdefault(one, []).append(ref(event))
    return event


def check_known(guard: Guard, module: Any, path: list[Entry], first: int,
                seen: set[int]) -> bool:
    """Compare the module's tensors that the round knew before: used before, or written to; False
    where there are others than its own."""
    bound = guard.tape.bound
    made = {slot for entry in path for slot in entry.slots}
    patterns = [pattern for entry in path for pattern in entry.patterns]
    known = {data[0]: None for kind, data in patterns if kind == EXTERNAL and data[0] < first}
    known.update({data.written: data for kind, data in patterns if kind == SLOT and (
        data.written >= 0 and data.slot not in made)})
    for number, kind in known.items():
        if number not in seen:
            place = place_of(module, bound[number])
            if place is None:
                return False
            found = f"{guard.name('D', place[0])}[{guard.name('S', place[1])}]"
            guard.check(f"{found} is not tape.bound[{guard.name('N', number)}]")
            if kind is not None:
                guard.check(f"{found}._array.__class__ is not {guard.name('K', kind)}")
    return True


def count(guard: Guard, module: Any, counters: list[Tensor], end: Entry) -> bool:
    """The end of the comparisons, and counters going on; False where one is not the module's.

    Where whole numbers are part of the round, counters might be among them: it is left then.
    """
    whole = any(layout.kind.kind == "i" for entry in end.path() for layout in entry.layouts)
    places = [place_of(module, counter) for counter in counters]
    texts = []
    for place in places:
        if place is None:
            return False
        texts.append(f"{guard.name('D', place[0])}[{guard.name('S', place[1])}]")
        if whole:
            guard.check(f"tape.concerns({texts[-1]}._array)")
    guard.otherwise()
    guard.names["tally"] = tally
    guard.lines += [f" tally({text})" for text in texts]
    return True


def arguments_written(path: list[Entry]) -> list[tuple[Any, Entry]]:
    """What is not made in these events, and written to in them: the promises that it was at first,
    and the events that wrote to it last."""
    made = {slot for entry in path for slot in entry.slots if entry.kind == "op"}
    found: dict[Any, tuple[Any, Entry]] = {}  # by what it is now
    for entry in path:
        if is_of_result(entry):
            old = entry.patterns[0][1]
            first, _ = found.pop(old, (old, entry))
            found[entry.promises[0]] = first, entry
    return [(first, last) for first, last in found.values() if first.slot not in made]


def name_of(patterns: list[tuple[int, Any]], promise: Any) -> str:
    """The argument that is this result. Unrecordable where none is."""
    for number, (kind, data) in enumerate(patterns):
        if kind == SLOT and data is promise:
            return f"a{number}"
    raise Unrecordable("a write to what is no argument")


def pattern(tape: Any, arg: Any, end: Entry, given_away: Any) -> tuple[int, Any]:
    """How an argument of a call is recognised next time."""
    if not isinstance(arg, Tensor):
        check_constant(arg)
        return CONSTANT, arg
    if isinstance(arg._array, Promise):
        kind = type(arg._array)
        return SLOT, next((first for first, last in given_away if last.promises[0] is kind), kind)
    for number in range(end.externals):
        if tape.bound[number] is arg:
            return EXTERNAL, number
    raise Unrecordable("an argument that is not used, or a copy of it")


def place_of(module: Any, tensor: Any) -> tuple[dict[str, Any], str] | None:
    """The table of parameters or buffers of a module, or of its children, that has a tensor."""
    for one in module.modules():
        for table in (one._parameters, one._buffers):
            for name, value in table.items():
                if value is tensor:
                    return table, name
    return None


def needed(path: list[Entry], end: Entry) -> list[Entry]:
    """The events whose results have to be there: the last, and what its views are views of."""
    found, wanted = [end], end.view
    while wanted is not None and wanted[0] == SLOT:
        source = next((entry for entry in path if wanted[1] in entry.slots), None)
        if source is None:
            break
        found.append(source)
        wanted = source.view
    return found[::-1]
