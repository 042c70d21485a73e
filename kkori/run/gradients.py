"""``torch.autograd.grad`` as an event: gradients that the program takes itself, within a round.

While a round is recorded the walk back is done, and the operations in it are noted down as events
behind the call, like any others: they have results, tails and views, and a later backward() can
go through them. In replay the call is matched as a whole, and leads straight to the last of these
operations; of their results only those are promised that the call gives back. Where the round is
left, the walk is done after all.
"""

from __future__ import annotations

from typing import Any

from kkori.autograd.engine import grad_of, inspect_results
from kkori.autograd.mode import switch
from kkori.core.promise import Promise
from kkori.run.entry import AWAY, EXTERNAL, SLOT, Entry, Unrecordable, alike, is_hooked
from kkori.run.guards import Guard, later
from kkori.run.record import watched

__all__ = ["call", "matched", "parts", "redo", "unmatch"]

HEAD = 4  # arguments before the tensors: how many roots and inputs, retain_graph, create_graph
RESULT, GIVEN, NOTHING = range(3)  # what a call gives back: a result, an argument, or None


class Gradients:
    """What is known of one recorded call: its operations, and what it gives back."""

    __slots__ = ("inner", "answers", "implicit", "needed", "other_order")

    def __init__(self, inner: list[Entry], answers: list[tuple[int, int]],
                 implicit: dict[int, Any]) -> None:
        self.inner = inner
        self.answers = answers  # of each input: RESULT and a slot, GIVEN and which argument
        self.needed: list[Entry] = []  # whose results are promised
        self.implicit = implicit  # by argument: gradients that were not given, but made for roots
        self.other_order = False  # operations had been run beside the round: a walk back that is
        # done again, behind what it goes through, takes another way. What it gives is known then

    def is_like(self, other: Gradients) -> bool:
        return self.answers == other.answers and self.implicit.keys() == other.implicit.keys() and (
            [entry.row for entry in self.inner] == [entry.row for entry in other.inner])


def call(tape: Any, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
         goals: Any) -> Any:
    """What ``run(roots, grads, keep, create, goals)`` gives: promised, noted down, or at once."""
    args = (len(roots), len(goals), bool(keep), bool(create), *roots, *goals, *grads)
    if not tape.recording and tape.here is not tape.root:
        found = matched(tape, args)
        if found is not None:
            return found
        if any(isinstance(arg._array, Promise) for arg in args[HEAD:]):
            tape.miss()
        else:
            tape.asides += 1
    if tape.recording and not tape.broken:
        return record(tape, run, args)
    return tape.now(run, (roots, grads, keep, create, goals))


def matched(tape: Any, args: Any) -> Any:
    """The promised gradients, if this is what the round does here."""
    if inspect_results[0] is None:
        for entry in tape.here.ends:
            if entry.kind == "grad":
                found = entry.go(tape, args)
                if found is not None:
                    return found
    return None


def unmatch(tape: Any, before: Entry) -> None:
    """Forget the promised gradients that nobody has seen yet; the round stands at `before` again.
    """
    for entry in tape.here.after(before):
        for slot in entry.slots:
            tape.made[slot] = None
    tape.here = before


# Recording.

def parts(args: Any) -> tuple[Any, Any, bool, bool, Any]:
    """Roots, gradients to start from, retain_graph, create_graph and inputs of a call."""
    tensors, middle = args[HEAD:], args[0] + args[1]
    return tensors[:args[0]], tensors[middle:], args[2], args[3], tensors[args[0]:middle]


def record(tape: Any, run: Any, args: Any) -> Any:
    """Take the gradients now, and remember how."""
    roots, grads, _, _, goals = given = parts(args)
    entry = Entry("grad", tape.at)
    try:
        if tape.inside is not None or inspect_results[0] is not None or watched(roots) or any(
                map(is_hooked, goals)):
            raise Unrecordable("torch.autograd.grad() with hooks or functions of one's own")
        entry.patterns = [tape.pattern(entry, arg) for arg in args]
    except Unrecordable as reason:
        tape.give_up(str(reason))
        return tape.now(run, given)
    found = tape.walk(entry, run, given, "a torch.autograd.grad()")
    if not tape.broken:
        try:
            implicit = {place: arg for place, arg in enumerate(args)
                        if place >= len(args) - len(grads) and "_implicit" in arg.__dict__}
            answers = [answer(tape, entry, value, args, implicit) for value in found]
            add(tape, entry, Gradients(entry.inner, answers, implicit))
        except Unrecordable as reason:
            tape.give_up(str(reason))
        except BaseException:
            tape.give_up("interrupted")
            raise
    return found


def answer(tape: Any, entry: Entry, value: Any, args: Any, implicit: Any) -> tuple[int, int]:
    """What one of the gradients is."""
    if value is None:
        return NOTHING, 0
    for place in range(len(args) - 1, HEAD - 1, -1):
        if args[place] is value and place not in implicit:
            return GIVEN, place
    known = tape.recorded(value._array)
    if known is None or known.needs is not value._requires_grad or (
            tape.node_of(known.slot) is not value._node) or not any(
            known.slot in inner.slots for inner in entry.inner):
        raise Unrecordable("a gradient that no operation of the round made")
    return RESULT, known.slot


def add(tape: Any, entry: Entry, calls: Gradients) -> None:
    """The call as an event behind the last one, and its operations behind that."""
    patterns = entry.patterns
    for child in tape.at.ends:
        if child.kind == "grad" and alike(child.patterns, patterns) and child.walk.is_like(calls):
            rename(tape, calls.inner, child.walk.inner)
            tape.at = child.walk.inner[-1] if child.walk.inner else child
            return
    if not entry.patterns[3][1]:  # no graph: see the end of `grad_of`
        own_memory(calls)
    parent, entry.inner = entry, []
    for inner in calls.inner:
        inner.parent, inner.depth = parent, parent.depth + 1
        parent.add(inner)
        parent = inner
    last = calls.inner[-1] if calls.inner else entry
    entry.walk = calls
    calls.other_order = not is_in_order(tape, entry.parent)
    calls.needed = needed(entry, calls)
    entry.slot_count = tape.at.slot_count
    entry.go = later(entry, guard)
    tape.grow(entry)
    tape.at = last
    tape.most_slots = max(tape.most_slots, last.slot_count)


def is_in_order(tape: Any, at: Any) -> bool:
    """Whether nodes were made in the order of the events up to `at`."""
    found = [node.sequence for entry in at.path() for slot in entry.slots[:1]
             if entry.kind == "op" and (node := tape.node_of(slot)) is not None]
    return found == sorted(found)


def own_memory(calls: Gradients) -> None:
    """What is given back are no views. Unrecordable where somebody could tell."""
    made = {slot: inner for inner in calls.inner for slot in inner.slots}
    slots = {slot for kind, slot in calls.answers if kind == RESULT}
    roots = set()
    for slot in slots:
        root, promise = slot, made[slot].promises[made[slot].slots.index(slot)]
        while root in made and made[root].view is not None:
            kind, root = made[root].view  # type: ignore[misc]
            if kind == EXTERNAL:
                root = -1
        if root not in made or root in roots or root in slots and root != slot or (
                not is_dense(promise)):
            raise Unrecordable("a gradient that is a view of another value")
        roots.add(root)
    for inner in calls.inner:
        inner.view = None


def is_dense(promise: Any) -> bool:
    """Whether an array has one place for each element, and no others, in some order."""
    size = promise.itemsize
    for step, length in sorted(zip(promise.strides, promise.shape, strict=True)):
        if length != 1:
            if step != size:
                return False
            size *= length
    return True


def rename(tape: Any, new: list[Entry], old: list[Entry]) -> None:
    """What has just been noted as results of `new` are results of `old`."""
    kinds = {one: other for mine, theirs in zip(new, old, strict=True)
             for one, other in zip(mine.promises, theirs.promises, strict=True)}
    for key, (held, kind) in list(tape.class_of.items()):
        tape.class_of[key] = held, kinds.get(kind, kind)


# Matching.

def guard(entry: Entry, tape: Any) -> Any:
    """``go(tape, args)``: the promised gradients as a list, or None."""
    calls, found = entry.walk, Guard(tape, "def go(tape, args):")
    last = calls.inner[-1] if calls.inner else entry
    given = "".join(f"a{k}, " for k in range(len(entry.patterns)))
    found.lines += [f"  {given}= args", "  bound = tape.bound"]
    first = entry.externals - len(entry.layouts)
    goals = range(HEAD + entry.patterns[0][1], HEAD + entry.patterns[0][1] + entry.patterns[1][1])
    for k, (kind, data) in enumerate(entry.patterns):
        if k in calls.implicit:
            found.check(f'"_implicit" not in a{k}.__dict__')
            found.lines.append(f"  bound[{data[0]}] = {found.name('I', calls.implicit[k])}")
        else:
            found.argument(f"a{k}", kind, data, entry.layouts, first)
        if k in goals and (kind == EXTERNAL or kind == SLOT and data.written >= 0):
            found.check(f"a{k}._hooks is not None and any(a{k}._hooks)")
    found.names["any"] = any
    found.otherwise()
    found.lines.append(" made = tape.made")
    names: dict[int, str] = {}
    for number, inner in enumerate(calls.needed):
        found.promises(inner, str(number))
        names.update({slot: f"r{number}_{k}" for k, slot in enumerate(inner.slots)})
    texts: dict[int, Any] = {RESULT: names.get, GIVEN: "a{}".format, NOTHING: lambda _: "None"}
    answers = ", ".join(texts[kind](data) for kind, data in calls.answers)
    return found.done(last, f"[{answers}]")


def needed(entry: Entry, calls: Gradients) -> list[Entry]:
    """The operations whose results have to be there: what is given back, and what its views are
    views of."""
    wanted = {slot for kind, slot in calls.answers if kind == RESULT}
    found = []
    for inner in reversed(calls.inner):
        if wanted & set(inner.slots):
            found.append(inner)
            if inner.view is not None and inner.view[0] == SLOT:
                wanted.add(inner.view[1])
    made = {slot for inner in calls.inner for slot in inner.slots}
    made |= {data.slot for kind, data in entry.patterns if kind == SLOT}
    for inner in found:
        if inner.view is not None and inner.view[0] == SLOT and inner.view[1] not in made:
            raise Unrecordable("a gradient that is a view of another value")
    return found[::-1]


# Leaving the round.

class Listener:
    """Stands where a tape stands, and remembers what operations have given."""

    here = AWAY
    recording = False
    inside = on = True

    def __init__(self) -> None:
        self.heard: list[tuple[Any, Any]] = []

    def unmatched(self, call: Any, row: Any, args: tuple[Any, ...]) -> Any:
        """Run an operation now."""
        switch.tape = None
        try:
            found = call(*args)
        finally:
            switch.tape = self
        self.heard.append((row, found))
        return found

    call = unmatched

    def in_place(self, written: Any = None) -> None:
        """Nothing depends on it."""


def redo(entry: Entry, args: Any, values: dict[Any, Any]) -> Any:
    """Take the gradients now; `values` gets, by event, what its operations have given."""
    roots, grads, keep, create, goals = parts(args)
    listener = switch.tape = Listener()
    try:
        found = grad_of(roots, grads, keep, create, goals)
    finally:
        switch.tape = None
    inner, heard = entry.walk.inner, listener.heard
    if entry.walk.other_order or [row for row, _ in heard] != [one.row for one in inner]:
        inner, heard = answered(entry.walk, found)
    for one, (_, result) in zip(inner, heard, strict=True):
        values[one] = result
        for tensor in result if one.several else (result,):
            tensor.shared_storage()  # before there are two tensors of it
    return found


def answered(calls: Gradients, found: Any) -> tuple[list[Entry], list[Any]]:
    """The operations that have made what a call gives back, and what they have given."""
    made = {one.slots[0]: one for one in calls.inner if not one.several}
    pairs = {slot: value for (kind, slot), value in zip(calls.answers, found, strict=True)
             if kind == RESULT and slot in made}
    return [made[slot] for slot in pairs], [(made[slot].row, pairs[slot]) for slot in pairs]


def rebase(tensor: Any, real: Any, values: dict[Any, Any]) -> None:
    """Remember that `tensor` has become `real`: views of one are views of the other."""
    values[real] = tensor
    base = tensor._base
    if base is not None and base in values:
        tensor._base = values[base]
