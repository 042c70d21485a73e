"""Traces of training rounds: recorded once, matched operation by operation, run as one call.

A round goes from the end of one ``optimizer.step()`` to the end of the next. Recorded rounds form
a tree (`Entry`): rounds that begin alike share a path, and where a program takes another branch,
another branch grows. In replay every operation is compared with what the tree expects here
(`guards`); if it is the same, a promise is handed out and nothing is computed. At the end of the
round everything is computed at once. If it is not the same, what was promised so far is run
operation by operation (`flush`), nothing has happened yet, so nothing has to be undone; and the
tree is tried again from its root. Only rounds that the compiler knows all operations of stay in
the tree.

Where a round stands is one value, `here`: the last event, which knows those before it. The tensors
that were promised are in `made`, by their slots, and the tensors from outside in `bound`. `here`
is set last, so an interrupt finds it true.
"""

from __future__ import annotations

import os
import sys
import threading
from time import sleep
from typing import Any

import numpy as np

from kkori.autograd.engine import inspect_results
from kkori.autograd.mode import owed, switch
from kkori.core.promise import Promise, promised
from kkori.core.storage import root_of
from kkori.core.threads import undisturbed
from kkori.run import branches, gradients, handed, inputs, looking, numbers, renamed, turns, writes
from kkori.run.asides import Asides, follows_nothing, holds_tensors, is_data
from kkori.run.detached import DETACH
from kkori.run.entry import ALIAS, AWAY, EXTERNAL, MOST_SNAPSHOT, SLOT, VARYING, Entry, is_hooked
from kkori.run.guards import GUARD
from kkori.run.notes import Notes
from kkori.run.record import Recording, apart, is_cut
from kkori.run.renamed import become
from kkori.run.sums import dropped_slots, is_alone, owed_slots
from kkori.tensor import Tensor, share, wrap

__all__ = ["Entry", "Tape"]

_new = object.__new__
MISSES = (1, 2, 4, 8, 32, 128)  # after which a place where rounds differ is recorded
MOST_BESIDE = 16  # operations run beside a round that may begin a branch
MOST_CUTS = 2  # pieces of data with which rounds begin, each recorded as a case of its own


class Tape(Recording):
    """The traces of one optimizer's rounds in one thread, and where the current round stands."""

    def __init__(self) -> None:
        self.root = Entry("root", None)
        self.here = self.root
        self.thread = threading.get_ident()
        self.lock = threading.RLock()  # another thread may ask for what is pending in this one
        self.on = switch.on  # whether operations are followed, as guards see it
        self.counts = {"rounds": 0, "recorded": 0, "side exits": 0, "flushed": 0, "looks": 0}
        self.notes = Notes()  # for explain()
        self.known: list[Any] = []  # what guards, and updates, remember: each can `forget`
        self.state_roots: set[int] = set()  # memory that updates rely on: ids of its owners
        self.turns: list[Tape] = []  # this tape, and others that take turns with it
        self.known_by: dict[int, Any] = {}  # by id of a leaf: which of them know it
        self.admitted = 0  # how often a guard has met another tensor than last time
        self.asides = 0  # operations that were run although a round was being matched
        self.left_out = Asides()
        self.written: dict[int, Any] = {}  # number: an external that the pending round writes to
        self.tallied: list[Tensor] = []  # counters that went on while calls are `learning`
        self.learning = 0
        self.may_record = True
        self.last: Any = None  # the update that was run last
        self.owes: Any = None  # gradients of the last round that nobody has asked for
        self.steps: dict[Any, Any] = {}  # by storages: how often rounds have written to them
        self.due = False  # whether this round has promised gradients that nobody has asked for
        self.beginnings: dict[Any, int] = {}  # how often rounds that were not replayed began so
        self.awaited: Any = None  # a round that begins with this is to be recorded
        self.numbers: list[Any] = []  # that this round was given; see run/numbers.py
        self.start_round()

    def start_round(self) -> None:
        if self.here is AWAY:
            with self.lock:  # another thread may be computing what is pending
                pass
        if self.here is not self.root and self.here is not AWAY:
            self.flush()  # an interrupt has come between
        self.forget()
        self.reset()

    def reset(self) -> None:
        """Nothing is pending."""
        self.here = self.root
        self.first: Any = None  # operation of the round that no known round begins with
        self.due = False
        self.bound: list[Any] = [None] * self.most_externals
        self.made: list[Any] = [None] * self.most_slots
        self.branch_at: Any = None  # where `branch` has been run, beside the round
        self.branch: list[Any] = []
        self.handed: dict[int, Any] = {}  # by slot: storages of results that NumPy code sees
        self.originals: dict[int, Any] = {}  # number: external, and its copy in `bound`
        if self.written:
            writes.take_back(self)

    most_externals = most_slots = 0
    relies: tuple[Any, ...] = (-1, -1)  # memory that guards know; see run/shown.py
    atomic = False  # no line of the user's runs between a promise and the end of the round
    ends_with_calls = False  # rounds are calls of a model; see run/inference.py
    rebasing = False  # some of what is being computed are views of others
    look_programs = 0  # that have been built; see run/looking.py
    waited = False  # the round could have been replayed, but that does not pay yet
    next: Any = None  # called after a replayed round where another loop's round follows
    may_hold = True  # parameters: the optimizer with which this tape goes holds them too

    @property
    def pending(self) -> list[tuple[Entry, list[Tensor]]]:
        """The events of this round so far, oldest first, each with what was promised for it."""
        return [(entry, entry.results(self.made)) for entry in self.here.path()]

    def unasked(self) -> list[Entry]:
        """The backward()s of this round whose gradients nobody has asked for."""
        return [entry for entry in self.here.path()
                if entry.kind == "backward" and not entry.results(self.made)]

    def let_go(self) -> None:
        """Nothing more will be matched: forget all, and what it holds."""
        if self.here is not self.root:
            self.flush()
        self.hand_out()
        self.forget()
        self.counts["rounds"] = self.replayed()
        self.root.clear()
        self.turns.clear()
        self.doubt()
        self.known, self.may_record = [], False
        self.reset()
        if self in owed:
            owed.remove(self)

    def replayed(self) -> int:
        """How many rounds have been run as one call."""
        return self.counts["rounds"] + self.root.replayed()

    def drop_steps(self, entry: Entry) -> None:
        """Forget how rounds have ended behind `entry`: the optimizer does something else now."""
        for end in entry.ends:
            if end.kind == "step":
                self.counts["rounds"] += end.runner.rounds()
        entry.ends = [end for end in entry.ends if end.kind != "step"]

    # One operation.

    def call(self, call: Any, row: Any, args: tuple[Any, ...]) -> Any:
        """What `call` would return: at once while recording, a promise in replay."""
        found = self.matched(row, args)
        return self.unmatched(call, row, args) if found is None else found

    def matched(self, row: Any, args: tuple[Any, ...]) -> Any:
        """The promise of an operation that the tree expects here; None if it does not."""
        for entry in self.here.ops:
            if entry.row is row and len(entry.patterns) == len(args):
                found = entry.go(self, *args)
                if found is not None:
                    return found
        return None

    def unmatched(self, call: Any, row: Any, args: tuple[Any, ...]) -> Any:
        """The result of an operation that the tree does not expect here."""
        if self.recording:
            return self.record(call, row, args)
        if self.left_out.followed_only and is_data(args):
            self.asides += 1
            return self.now(call, args)
        if self.here is not self.root and self.here is not AWAY:
            args = numbers.fresh(self, row, args)
            others = self.aside(row, args)
            if others is not None:
                return self.beside(call, row, args, others)
            self.miss(row, args)
            if self.recording:
                return self.record(call, row, args)
            found = self.matched(row, args)
            if found is not None:
                return found
        elif self.first is None and self.here is self.root:
            if self.left_out.are_before(args):
                return self.beside(call, row, args, args)
            if self.is_awaited(row, args):
                self.begin_recording()
                return self.record(call, row, args)
        self.asides += 1
        return self.now(call, args)

    def beside(self, call: Any, row: Any, args: Any, others: Any) -> Any:
        """Run an operation beside the round, with `others` for its arguments; it is the beginning
        of a new branch if one grows here."""
        self.asides += 1
        found = self.now(call, others)
        if self.branch_at is not self.here:
            self.branch_at, self.branch = self.here, []
        if self.left_out.are_before(args) and not branches.goes_on(self.branch, args):
            self.left_out.leave_out(found)
        elif len(self.branch) < MOST_BESIDE and is_small(found):
            self.branch.append((call, row, args, found, switch.on))
        return found

    def is_awaited(self, row: Any, args: Any) -> bool:
        """Whether a round that begins with this operation, as no known one does, is to be
        recorded."""
        self.first = key = self.left_out.first(row, args)
        if key is None or key != self.awaited or not self.may_record:
            return False
        self.awaited = None
        return True

    def aside(self, row: Any, args: Any) -> Any:
        """The arguments with which an operation that is no part of the round can run now, with
        the round going on; None if the round has to be left for it."""
        promised = False
        for arg in args:
            if isinstance(arg, Tensor):
                promised = promised or isinstance(arg._array, Promise)
            elif holds_tensors(arg):
                return None
        if not promised:
            return args
        if self.only_shows():
            return None
        if not apart(row, args) or self.may_record and numbers.has_other(self, row, args):
            return None
        here = self.here
        found = [wrap(arg._array.peek()) if isinstance(arg, Tensor) and isinstance(
            arg._array, Promise) else arg for arg in args]
        return found if here is self.here else None

    def only_shows(self) -> bool:
        """Whether nothing has been promised so far but views of what was there: to leave such a
        round costs less than a look at it."""
        return all(entry.view is not None for entry in self.here.path())

    def now(self, call: Any, args: Any) -> Any:
        """Run something of which the tape does not know."""
        switch.tape = None
        try:
            return call(*args)
        finally:
            switch.tape = self

    def copied(self, number: int, tensor: Any) -> bool:
        """Whether `tensor` is the one that external `number` is a copy of, unchanged since."""
        original, copy = self.originals.get(number, (None, None))
        return original is not None and original is tensor and self.bound[number] is copy and (
            np.array_equal(tensor._array, copy._array, equal_nan=True))

    def copies_are_true(self) -> bool:
        """Whether NumPy code has left alone what this round has copies of."""
        return not self.originals or all(
            np.array_equal(tensor._array, copy._array, equal_nan=True)
            for tensor, copy in self.originals.values() if held_by(self.bound, copy))

    def tie(self, entry: Entry, tensors: Any) -> None:
        """Promised views: they know what they are views of."""
        assert entry.view is not None
        kind, number = entry.view
        if kind == EXTERNAL:
            source = self.bound[number]
            storage = source.shared_storage()
        else:
            source, storage = self.made[number], None
        base = source if source._base is None else source._base
        if entry.row is DETACH:
            base, storage = None, source._storage
        for tensor in tensors:
            tensor._base = base
            if storage is not None:
                tensor._storage = storage

    def miss(self, row: Any = None, args: Any = ()) -> None:
        """The program did something else: compute what was promised, go on at once."""
        self.counts["side exits"] += 1
        self.notes.missed(self, row, args)
        entry, bound = self.here, self.bound
        branch = self.branch if self.branch_at is entry else []
        copies = bool(self.originals)
        self.numbers[:] = map(numbers.new_float, self.numbers)  # as `fresh` has it
        found = self.flush(keep=True)
        entry.misses += 1
        if entry.misses in MISSES and entry is not AWAY and not copies:
            self.record_on(entry, found, bound[:entry.externals], branch)

    def leave_out(self, path: list[Entry], missed: bool) -> None:
        """A round was left behind these events. If they are about data alone, they are no part of
        rounds from now on: somebody needs their numbers."""
        if all(map(is_cut, path)):
            self.leave_data_out()
        elif not missed and all(map(follows_nothing, path)) and self.left_out.looked_at(path):
            self.leave_data_out()
            if any(path[0] is entry for entry in self.root.ops):
                self.root.remove(path[0])
                self.counts["rounds"] += path[0].replayed()

    def leave_data_out(self) -> None:
        """From now on no round begins with what it cuts out of the data."""
        self.leaves_data_out = True
        self.beginnings.clear()
        for entry in filter(is_cut, self.root.ops):
            self.root.remove(entry)
            self.counts["rounds"] += entry.replayed()

    def missed(self, first: Any) -> None:
        """A round that began with the operation `first` did not end as a replayed one; now and
        then one that begins like it, or else the next, is recorded for that."""
        self.root.misses += 1
        count = self.root.misses
        if first:
            self.beginnings[first] = count = self.beginnings.get(first, 0) + 1
            if sum(is_view for _, _, is_view in self.beginnings) >= MOST_CUTS:
                self.leave_data_out()
                first = None
        if count in MISSES and self.may_record:
            if first and count == 1:
                self.awaited = first
            else:
                self.recording, self.here = True, AWAY

    # backward().

    def leaves_are_free(self, entry: Entry) -> bool:
        """Whether a backward() would do what it did: no gradients yet, no hooks."""
        bound = self.bound
        for number, _ in entry.leaves:
            leaf = bound[number]
            if leaf._grad is not None or leaf._hooks is not None and is_hooked(leaf):
                return False
        made = self.made
        if any(made[slot] is not None for slot in owed_slots(entry)) or any(
                made[slot] is None for slot in dropped_slots(entry)):
            return False
        if entry.sums and not all(is_alone(bound[number]) for number, _ in entry.sums):
            return False
        return inspect_results[0] is None and (not self.originals or self.copies_are_true())

    def backward(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                 inputs: Any) -> None:
        """``backward()`` with all it can be given: recorded, or after what is pending."""
        if self.owes is not None:
            self.hand_out_computed()
        if not (self.recording or keep or create or inputs):
            for entry in self.here.ends:
                if entry.kind == "backward" and len(entry.patterns) == len(roots) + len(grads) and (
                        self.leaves_are_free(entry) and entry.go(self, *roots, *grads)):
                    self.due = True
                    self.here = entry
                    return
        self.hand_out()
        if not self.recording and self.here is not self.root:
            self.miss()
        if self.recording:
            self.record_backward(run, roots, grads, keep, create, inputs)
        else:
            self.now(run, (roots, grads, keep, create, inputs))

    def hand_out(self, leaves: Any = ()) -> None:
        """Put the gradients where programs find them: somebody looks, or may, at those of `leaves`.
        """
        if self.owes is not None:
            self.hand_out_computed()
        if any(leaf._added_to for leaf in leaves) and any(
                entry.sums for entry in self.here.path()):
            self.flush()
        if not self.due:
            return
        with self.lock:
            for entry in self.unasked() if self.due else ():
                self.hand_out_promised(entry)
            self.due = False

    def owes_any(self, tensors: Any) -> bool:
        """Whether gradients of one of `tensors` are promised, or there for whoever asks."""
        leaves = list(self.owes[0]) if self.owes is not None else []
        if self.due:
            leaves += [tensor for tensor in self.bound if isinstance(tensor, Tensor)]
        ids = set(map(id, leaves))
        return any(id(tensor) in ids for tensor in tensors)

    def hand_out_computed(self) -> None:
        """The gradients of a round that is over."""
        leaves, arrays, start, update = self.owes
        self.owes = None
        update.part_with_gradients()
        for leaf, array in zip(leaves, arrays[start:], strict=True):
            if leaf._grad is None:
                leaf._grad = array if array.__class__ is Tensor else wrap(array)
            else:  # one leaf that is two inputs
                leaf._grad._array += array

    def hand_out_promised(self, entry: Entry) -> None:
        """The gradients of the round that is pending."""
        made = self.made[:]
        for slot, kind in zip(entry.slots, entry.promises, strict=True):
            made[slot] = tensor = _new(Tensor)
            tensor._array = promised(kind, self)
        self.made = made  # all of them at once
        for (number, _), slot in zip(entry.leaves, entry.slots, strict=True):
            self.bound[number]._grad = made[slot]

    def gradients(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                  goals: Any) -> Any:
        """``torch.autograd.grad()``: see run/gradients.py."""
        return gradients.call(self, run, roots, grads, keep, create, goals)

    def becomes_input(self, tensor: Tensor) -> bool:
        """Whether a result that will require gradients is an input of the round from now on."""
        return (inputs.record if self.recording else inputs.expect)(self, tensor)

    def hand_over(self, tensor: Tensor) -> Any:
        """The array of a result for NumPy code, where that is an event of the round; or None."""
        return (handed.record if self.recording else handed.expect)(self, tensor)

    # Writing in place.

    def write(self, tensor: Tensor, result: Tensor) -> bool:
        """Whether numbers of `result` are (or will have been) put into `tensor`."""
        if not self.recording:
            if writes.expect(self, tensor, result):
                return True
            if self.here is not self.root and self.here is not AWAY and isinstance(
                    result._array, Promise) and self.concerns(tensor._array):
                self.miss()
        return self.recording and writes.record(self, tensor, result)

    def rebind(self, tensor: Tensor, new: Tensor) -> bool:
        """Whether ``tensor.data = new`` has been done, or will be."""
        return False

    def tally(self, counter: Tensor) -> None:
        """A counter goes on, beside the round."""
        asides = self.asides
        self.in_place(counter._array)
        if self.learning:
            self.asides = asides
            self.tallied.append(counter)

    def inputs(self, count: int) -> list[Any]:
        """The arrays of the first externals, also of those that are written to."""
        found = [tensor._array for tensor in self.bound[:count]]
        for number, one in self.written.items():
            if number < count:
                found[number] = one.array
        return found

    # Leaving the path.

    def in_place(self, written: Any = None) -> None:
        """Something (the array `written`) is about to be changed: not part of a replayed round."""
        self.asides += 1
        self.branch = []
        turns.written(self, written)
        if self.recording:
            if not self.broken and self.concerns(written) and not self.begin_here(written):
                self.give_up("a write in place" if written is not None else
                             f"{self.notes.called()} is no part of a round")
        elif self.here is not self.root and self.concerns(written):
            self.flush()

    def doubt(self) -> None:
        """What guards remember may not hold any more: let them look again."""
        for known in self.known:
            known.forget()

    def shown(self, array: Any) -> None:
        """NumPy code sees `array` from now on, and may write to it."""
        if self.ends_with_calls or not handed.goes_on(self, array):
            self.in_place(array)
        turns.shown(self, array)

    def concerns(self, written: Any) -> bool:
        """Whether memory that is written to is part of this round."""
        if not isinstance(written, np.ndarray):
            return True
        root = root_of(written)
        if self.recording:
            return self.has_recorded(root)
        for tensor in (*self.bound, *[original for original, _ in self.originals.values()]):
            if tensor is not None:
                array = tensor._array
                if array.__class__ is np.ndarray and root_of(array) is root:
                    return True
        return False

    def flush(self, keep: bool = False) -> list[tuple[Entry, Any]]:
        """Run what is pending, operation by operation; the round may match from the root again.

        Returns the events with their results, if these are to be kept.
        """
        found: list[tuple[Entry, Any]] = []
        if threading.get_ident() != self.thread:
            wait_for(self.thread)
        with self.lock, undisturbed():
            if self.recording or self.here is AWAY:
                return found
            pending, self.here, self.due = self.pending, AWAY, False
            self.made = []  # or it would hold results longer than they are needed
            taken = writes.take_back(self)
            if pending:
                self.counts["flushed"] += 1
                if not self.waited:
                    self.notes.flushed()
                self.leave_out([entry for entry, _ in pending], keep)
                redo_all = handed.redo_with_copies if self.originals else Tape.redo_all
                try:
                    found = redo_all(self, pending, keep)
                finally:
                    writes.show_again(taken)
            first = False if pending else self.first
            self.reset()
            self.first = first
        return found

    def redo_all(self, pending: list[tuple[Entry, Any]], keep: bool) -> list[tuple[Entry, Any]]:
        """Run these events, and hold no result longer than it is needed; after an error, whoever
        asks for what is missing gets it again."""
        mode, outer = switch.on, switch.tape
        switch.tape = None
        values: dict[Any, Tensor] = {}  # what promises have become
        found: list[tuple[Entry, Any]] = []
        done_with = last_uses(pending)
        self.rebasing = any(entry.kind == "grad" or entry.view is not None and (
            entry.view[0] == SLOT) for entry, _ in pending)
        pending.reverse()
        try:
            while pending:
                results = self.redo(*pending[-1], values)
                entry, _ = pending.pop()
                if keep:
                    found.append((entry, results))
                del results
                for kind in done_with.get(len(pending), ()):
                    values.pop(kind, None)
        except Exception as error:
            renamed.restore(pending, values)
            fail(pending, error)
            self.reset()
            raise
        finally:
            switch.on, switch.tape = mode, outer
        return found

    def redo(self, entry: Entry, tensors: Any, values: dict[Any, Tensor]) -> Any:
        """Run one event that was promised; its results, as they were handed out."""
        bound = self.bound
        args = [values[data] if kind == SLOT else bound[data[0]] if kind == EXTERNAL
                else share(bound[data[0]]) if kind == ALIAS
                else self.numbers[data] if kind == VARYING else data
                for kind, data in entry.patterns]
        if entry.kind == "backward":
            switch.on = True
            tensors = redo_backward(entry, args, tensors, bound, values)
            values.update(zip(entry.promises, tensors, strict=True))
            return tensors
        if entry.kind == "grad":
            gradients.redo(entry, args, values)
        if entry.kind in ("grad", "input", "shown"):
            return ()
        switch.on = entry.mode
        if entry.kind == "write":
            return writes.redo(entry, args, tensors, values)
        found = values.pop(entry) if entry in values else entry.call(*args)
        found = found if entry.several else (found,)
        tensors = tensors or found
        for kind, tensor, real in zip(entry.promises, tensors, found, strict=True):
            handed.put(self, kind, real)
            if tensor is not real:
                become(tensor, real)
                if self.rebasing:
                    gradients.rebase(tensor, real, values)
            values[kind] = tensor
        return tensors

    def look(self, promised: Promise) -> None:
        """One promised value, without leaving the path where that pays: see run/looking.py."""
        looking.look(self, promised)


def wait_for(thread: int) -> None:
    """Wait until a thread is not matching, or computing a round; not for ever: it may wait, too."""
    for _ in range(10_000):
        if not is_inside(thread):
            return
        sleep(1e-4)


def is_inside(thread: int) -> bool:
    """Whether a thread is matching, or computing a round, just now."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code.co_filename.startswith((FOLDER, GUARD)):
            return True
        frame = frame.f_back
    return False


FOLDER = os.path.dirname(os.path.abspath(__file__))


class Failed:
    """Stands for the tape in promises that an error has made impossible to keep."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def flush(self) -> None:
        raise self.error

    def look(self, promised: Promise) -> None:
        raise self.error


def fail(pending: list[tuple[Entry, list[Tensor]]], error: Exception) -> None:
    """What was promised cannot be computed: whoever asks gets the same error."""
    failed = Failed(error)
    for _, tensors in pending:
        for tensor in tensors:
            if isinstance(tensor._array, Promise):
                tensor._array.renew()
                tensor._array.tape = failed


def is_small(found: Any) -> bool:
    """Whether the result of an operation may be held a little longer."""
    return isinstance(found, Tensor) and found._array.nbytes <= MOST_SNAPSHOT


def last_uses(pending: list[tuple[Entry, Any]]) -> dict[int, list[Any]]:
    """The promises that no later event refers to, by how many events are left by then."""
    left: dict[Any, int] = {}
    for number, (entry, _) in enumerate(pending, 1):
        for kind in (*entry.promises, *entry.adds.values(),
                     *[data for what, data in entry.patterns if what == SLOT]):
            left[kind] = len(pending) - number
    found: dict[int, list[Any]] = {}
    for kind, number in left.items():
        found.setdefault(number, []).append(kind)
    return found


def held_by(tensors: list[Tensor], tensor: Tensor) -> bool:
    return any(one is tensor for one in tensors)


def redo_backward(entry: Entry, args: list[Any], tensors: list[Tensor], bound: list[Tensor],
                  values: dict[Any, Tensor]) -> list[Tensor]:
    """``backward()`` now; the gradient tensors that were handed out get its results."""
    from kkori.autograd import engine
    leaves = [bound[number] for number, _ in entry.leaves]
    others = [leaf._grad for leaf in leaves]
    hooks = [leaf._hooks for leaf in leaves]
    for leaf, (number, _) in zip(leaves, entry.leaves, strict=True):
        leaf._grad = values[entry.adds[number]] if number in entry.adds else None
        leaf._hooks = None
    half = len(args) // 2
    try:
        engine.backward(args[:half], args[half:], False, False)
        for leaf, tensor in zip(leaves, tensors, strict=bool(tensors)):
            become(tensor, leaf._grad)
        return tensors or [leaf._grad for leaf in leaves]  # type: ignore[misc]
    finally:
        for leaf, other, hook in zip(leaves, others, hooks, strict=True):
            leaf._hooks = hook
            if tensors:
                leaf._grad = other
