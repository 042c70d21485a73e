"""The end of a round that was matched: everything that is pending becomes one call.

`replay` is called as ``optimizer.step()`` begins. Where all of the round was matched, forward,
backward and update are computed together by compiled loops, and what the program still holds of
the round gets its numbers.
"""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.core.promise import Promise, promise_class
from kkori.core.threads import undisturbed
from kkori.run.entry import EXTERNAL, SLOT, Entry
from kkori.run.guards import operation
from kkori.run.loops import (
    after_step,
    before_step,
    enabled,
    give_up,
    leave,
    loop_of,
    set_enabled,
    tapes,
)
from kkori.run.sums import given, replaced
from kkori.run.tape import Tape
from kkori.run.writes import give_back
from kkori.tensor import Tensor

__all__ = ["after_step", "before_step", "enabled", "leave", "replay", "set_enabled", "tapes"]


def replay(optimizer: Any) -> bool:
    """Whether the whole round, with the step that begins now, could be run as one call."""
    tape = switch.tape
    if tape is not None:
        for entry in tape.here.ends:
            if entry.kind == "step" and entry.runner.optimizer() is optimizer:
                return run_round(tape, entry, optimizer)
    return False


def run_round(tape: Tape, end: Any, optimizer: Any) -> bool:
    """Compute a whole round, up to the step `end`; False, with nothing changed, where that is not
    possible."""
    update = end.runner
    numbers = update.numbers(optimizer, tape)
    if numbers is None:
        return False
    arrays = update.verified if update.admitted == tape.admitted else update.arrays(tape)
    if not arrays:
        return False
    here = tape.here
    held = still_held(tape, update.tails)
    if held is None:
        return False
    slots = tuple(held[0])
    runner = update.compiled.get(slots)
    if runner is None:
        if slots not in update.compiled and not update.is_worth_it(slots, tape):
            tape.waited = True
            held = None  # or it would hold results longer than they are needed
            tape.flush()
            return False
        runner = update.runner(slots, tape)
        if runner is None:
            tape.flush()
            give_up(loop_of(optimizer), update.failure)
            return False
    before = runner.rounds
    try:
        outputs = runner.run(arrays, numbers)
        runner.stamp = tape.admitted
        update.endings.note(tape, end, held, runner)
        finish(tape, update, held, outputs, numbers)
    except runner.Doubtful:  # nothing has been overwritten; an array rule may have something to say
        for entry in (tape.root, *here.path()):
            entry.calls = []  # and so may the Python of a layer: let it run next time
        return False
    except BaseException:  # parameters may have been overwritten: then the round is finished first
        if runner.rounds != before:
            with undisturbed():
                if tape.here is here:
                    finish(tape, update, held, runner.outputs(), numbers)
                tape.reset()
        raise
    return True


def finish(tape: Tape, update: Any, held: Any, outputs: list[Any], numbers: Any) -> None:
    """The round has been computed: hand out what is still wanted of it, and begin the next.

    Until the last line it may be called again, where an interrupt has come in between.
    """
    if tape.due:
        tape.owes = owed_by(tape, update, held[0], outputs)
    if tape.written:
        give_back(tape)
    if held[0] or held[2]:
        fulfil(held, outputs, update.tails, tape)
    update.counted(numbers)
    tape.reset()
    if tape.next is not None:
        tape.next(tape)


def owed_by(tape: Tape, update: Any, held: list[int], outputs: list[Any]) -> Any:
    """Gradients that nobody has asked for: leaves, arrays from a certain one on, and whose
    ``zero_grad()`` may clear them. The tape keeps them until somebody asks."""
    if tape.here is update.only_backward:
        return update.leaf_tensors(tape), outputs, len(held), update
    leaves, arrays = [], []
    found = dict(zip(update.outputs[tuple(held)], outputs, strict=True))
    bound = tape.bound
    gone = replaced(tape.here.path())
    for entry in tape.unasked()[::-1]:
        for (number, _), kind in zip(entry.leaves, entry.promises, strict=True):
            if kind.slot not in gone:
                leaves.append(bound[number])
                arrays.append(given(kind, found[kind.slot]))
    return leaves, arrays, 0, update


# What CPython counts for a tensor, and for a promise, that only the tape holds.
_alone = [0, 0]


def still_held(tape: Any, tails: Any) -> Any:
    """What somebody still holds of a round, the newest first: slots, their tensors, and the events
    that made views. None if one of them needs a tail that a replayed round cannot give.

    Behind the slots of the tensors are those of values that their tails hold.
    """
    slots: list[int] = []
    found: list[Tensor] = []
    by_tensor, by_promise = _alone
    entry, made = tape.here, tape.made
    while entry is not None:
        for k, slot in enumerate(entry.slots):
            tensor = made[slot]
            if tensor is None:
                continue
            if entry.view is not None:
                tensor = None  # or it would be held here
                return held_among_views(tape, tails)
            if getrefcount(tensor) > by_tensor or getrefcount(tensor._array) > by_promise:
                if entry.stubs[k] is not None and slot not in tails.first:
                    return None
                if tensor._array.slot == slot:  # else it has been written to since
                    slots.append(slot)
                    found.append(tensor)
        entry = entry.parent
    if tails.needs:
        slots += tails.more(slots)
    return slots, found, ()


def held_among_views(tape: Any, tails: Any) -> Any:
    """The same where there are views: whoever holds one holds what it is a view of."""
    slots: list[int] = []
    found: list[Tensor] = []
    views: list[Any] = []
    wanted: set[int] = set()  # slots of which views are held
    bases: dict[int, int] = {}  # by how many views a tensor is held that nobody else holds
    known: set[int] = set()  # tensors that somebody sees as the base of a view, tail and all
    by_tensor, by_promise = _alone
    entry, made = tape.here, tape.made
    while entry.parent is not None:
        of_slot = entry.view is not None and entry.view[0] == SLOT
        held = False
        for k, slot in enumerate(entry.slots):
            tensor = made[slot]
            if tensor is None:
                continue
            alone = getrefcount(tensor._array) <= by_promise and (
                getrefcount(tensor) <= by_tensor + bases.get(id(tensor), 0))
            if alone and slot not in wanted:
                continue
            held = True
            if entry.stubs[k] is not None and slot not in tails.first and not (
                    alone and id(tensor) not in known):
                return None
            if not alone and tensor._base is not None:
                known.add(id(tensor._base))
            if entry.view is None and tensor._array.slot == slot:
                slots.append(slot)
                found.append(tensor)
        if held and entry.view is not None:
            views.append((entry, entry.results(made)))
            if of_slot:
                wanted.add(entry.view[1])
        if of_slot and made[entry.slots[0]] is not None:
            base = id(made[entry.slots[0]]._base)
            bases[base] = bases.get(base, 0) + len(entry.slots)
        entry = entry.parent
    if tails.needs:
        slots += tails.more([*slots, *[slot for entry, _ in views for slot in entry.slots]])
    return slots, found, views[::-1]


def fulfil(held: Any, outputs: list[Any], tails: Any, tape: Tape) -> None:
    """Give the tensors that are still held their arrays and tails."""
    slots, found, views = held
    for tensor, array in zip(found, outputs, strict=False):
        promised = tensor._array
        if promised.__class__ is np.ndarray:
            continue
        if promised.array is not None:
            array = promised.array  # it has been looked at
            if promised.slot in tape.handed:
                tensor._storage = tape.handed[promised.slot]
        elif not promised.flags.c_contiguous:
            array = laid_out(array, promised.strides)
        promised.keep(array)
        tensor._array = array
        if promised.version:
            tensor.shared_storage().version = promised.version
    kept = dict(zip(slots, found, strict=False))
    more = dict(zip(slots[len(found):], outputs[len(found):], strict=False))
    for entry, tensors in views:  # the oldest first
        keep_views(tape, entry, tensors, kept)
        kept.update(zip(entry.slots, tensors, strict=True))
    tails.hang(sorted(kept.items(), reverse=True), tape, more)
    for _, tensors in views:
        for tensor in tensors:
            if tensor._base is not None and tensor._base._node is not None:
                tensor._origin = tensor._base._node


def laid_out(array: Any, strides: tuple[int, ...]) -> Any:
    """`array` with its dimensions in memory in the order that `strides` have."""
    order = sorted(range(array.ndim), key=lambda d: -strides[d])
    found = np.empty([array.shape[d] for d in order], array.dtype).transpose(np.argsort(order))
    found[...] = array
    return found


def keep_views(tape: Tape, entry: Entry, tensors: list[Tensor], kept: dict[int, Tensor]) -> None:
    """Views of what is kept are views of it again."""
    assert entry.view is not None
    kind, number = entry.view
    source = tape.bound[number] if kind == EXTERNAL else kept.get(number)
    assert source is not None and not isinstance(source._array, Promise)
    found = entry.row.array(source._array, *[data for _, data in entry.patterns[1:]])
    for tensor, array in zip(tensors, found if entry.several else (found,), strict=True):
        promised = tensor._array
        if not isinstance(promised, Promise):
            continue
        promised.keep(array)
        tensor._array = array
        tensor._storage = source.shared_storage()


class _Nothing:
    first: dict[int, Any] = {}
    needs: dict[int, Any] = {}


def _calibrate() -> None:
    """Find out what `getrefcount` says of something that only the tape holds."""
    entry = Entry("op", None)
    entry.slots, entry.stubs, entry.slot_count = [0], [None], 1
    entry.promises = [promise_class(np.zeros(1), 0, False)]
    entry.row, tape = entry, Tape()
    tape.on = entry.mode  # wherever this module is imported
    entry.go = operation(entry, tape)
    tape.root.add(entry)
    tape.most_slots = 1
    tape.reset()
    tape.call(None, entry, ())
    found = []
    for place in (0, 1):
        _alone[:] = [1000, 1000]
        _alone[place] = 0
        while still_held(tape, _Nothing)[0]:
            _alone[place] += 1
        found.append(_alone[place])
    _alone[:] = found
    tape.reset()
    tape.let_go()


_calibrate()
