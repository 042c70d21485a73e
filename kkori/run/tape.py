"""Traces of training rounds: recorded once, matched operation by operation, run as one call.

A round goes from the end of one ``optimizer.step()`` to the end of the next. Recorded rounds form
a tree (`Entry`): rounds that begin alike share a path, and where a program takes another branch,
another branch grows. In replay every operation is compared with what the tree expects here; if it
is the same, a promise is handed out and nothing is computed. At the end of the round everything
is computed at once. If it is not the same, what was promised so far is run operation by operation
(`flush`), nothing has happened yet, so nothing has to be undone; and the tree is tried again from
its root. Only rounds that the compiler knows all operations of stay in the tree.
"""

from __future__ import annotations

import threading
import weakref
from math import copysign
from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.core.promise import Promise, promise_class
from kkori.core.storage import is_shared_with_numpy, root_of
from kkori.run.entry import (
    CONSTANT,
    EXTERNAL,
    KINDS,
    LEFT,
    MOST_OPERATIONS,
    MOST_SNAPSHOT,
    NUMBER,
    SLOT,
    ZERO,
    Entry,
    Layout,
    Unrecordable,
    alike,
    check_constant,
    same_number,
    stub_of,
)
from kkori.tensor import Tensor, wrap

__all__ = ["Entry", "Tape"]

_new = object.__new__


class Tape:
    """The traces of one optimizer's rounds in one thread, and where the current round stands."""

    def __init__(self) -> None:
        self.root = Entry("root", None)
        self.thread = threading.get_ident()
        self.lock = threading.RLock()  # another thread may ask for what is pending in this one
        self.counts = {"rounds": 0, "recorded": 0, "side exits": 0, "flushed": 0, "looks": 0}
        self.may_record, self.recording = True, False
        self.pending: list[tuple[Entry, list[Tensor]]] = []
        self.compilable: Any = compilable
        self.start_round()

    def start_round(self) -> None:
        if self.pending:
            self.flush()  # an interrupt has come between
        self.at = self.root
        self.bound: list[Tensor] = []  # externals of this round, in order of appearance
        self.originals: dict[int, Any] = {}  # number: external, and its copy in `bound`
        self.pending = []
        self.values: dict[Any, Tensor] = {}  # while flushing: what promises have become
        self.forget()

    def forget(self) -> None:
        """Nothing is being recorded."""
        self.recording = False
        self.broken = ""
        self.class_of: dict[int, Any] = {}  # recorded results: id of the array -> (array, class)
        self.external_of: dict[int, Any] = {}  # id of the tensor -> (tensor, number)
        self.added: list[int] = []  # keys of `external_of` that the current operation has made
        self.arrays: list[Any] = []  # of the externals
        self.nodes: dict[int, Any] = {}  # slot -> node of a recorded result
        self.grown: Any = None  # the first entry that this recording has made, and its parent
        self.inside: Entry | None = None

    # One operation.

    def call(self, call: Any, row: Any, args: tuple[Any, ...]) -> Any:
        """What `call` would return: at once while recording, a promise in replay."""
        if self.recording:
            return self.record(call, row, args)
        with self.lock:
            on = switch.on
            for entry in self.at.children:
                if entry.row is row and entry.mode is on:
                    fresh = self.match(entry.patterns, args)
                    if fresh is not None:
                        if fresh:
                            self.bound[self.at.externals:] = fresh
                        return self.promise(entry)
            found: Entry | None = None
            if self.pending:
                others = self.aside(row, args)
                if others is not None:
                    return self.now(call, others)
                self.miss()
                if not self.recording:
                    found = self.find(row, args)
            if found is not None:
                return self.promise(found)
        if self.recording:
            return self.record(call, row, args)
        return self.now(call, args)

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
        if not apart(row, args):
            return None
        pending = self.pending
        found = [wrap(arg._array.peek()) if isinstance(arg, Tensor) and isinstance(
            arg._array, Promise) else arg for arg in args]
        return found if pending is self.pending and pending else None

    def now(self, call: Any, args: Any) -> Any:
        """Run something of which the tape does not know."""
        switch.tape = None
        try:
            return call(*args)
        finally:
            switch.tape = self

    def find(self, row: Any, args: Any) -> Entry | None:
        """The recorded operation that this is; what it binds is bound."""
        for entry in self.at.children:
            if entry.row is row and entry.mode is switch.on:
                fresh = self.match(entry.patterns, args)
                if fresh is not None:
                    if fresh:
                        self.bound[self.at.externals:] = fresh
                    return entry
        return None

    def match(self, patterns: list[tuple[int, Any]], args: Any) -> list[Tensor] | None:
        """The externals that these arguments bind, or None if they are not the recorded ones."""
        if len(patterns) != len(args):
            return None
        fresh: list[Tensor] = []
        have = self.at.externals
        for (kind, data), arg in zip(patterns, args, strict=True):
            if kind == SLOT:
                if not isinstance(arg, Tensor) or arg._array.__class__ is not data or (
                        arg._requires_grad is not data.needs):
                    return None
            elif kind == EXTERNAL:
                number, layout = data
                if number < have:
                    if arg is not self.bound[number] and not self.copied(number, arg):
                        return None
                elif number - have < len(fresh):
                    if arg is not fresh[number - have]:
                        return None
                elif layout is not None and layout.fits(arg):
                    if arg._storage is not None and arg._storage.exports:
                        arg = self.snapshot(number, layout, arg)
                        if arg is None:
                            return None
                    fresh.append(arg)
                else:
                    return None
            elif kind == NUMBER:
                if not same_number(arg, data):
                    return None
            elif arg.__class__ is not data.__class__ or arg != data:
                return None
            elif kind == ZERO and copysign(1.0, arg) != copysign(1.0, data):
                return None
        return fresh

    def snapshot(self, number: int, layout: Layout, tensor: Tensor) -> Tensor | None:
        """`tensor`, or a copy of it while NumPy code could write to it; None where it is large."""
        if not is_shared_with_numpy(tensor.shared_storage()):
            return tensor
        if layout.needs or layout.viewed or tensor._array.nbytes > MOST_SNAPSHOT:
            return None
        copy = wrap(tensor._array.copy("K"))
        self.originals[number] = tensor, copy
        return copy

    def copied(self, number: int, tensor: Any) -> bool:
        """Whether `tensor` is the one that external `number` is a copy of, unchanged since."""
        original, copy = self.originals.get(number, (None, None))
        return original is tensor and self.bound[number] is copy and np.array_equal(
            tensor._array, copy._array, equal_nan=True)

    def copies_are_true(self) -> bool:
        """Whether NumPy code has left alone what this round has copies of."""
        return all(np.array_equal(tensor._array, copy._array, equal_nan=True)
                   for tensor, copy in self.originals.values() if held_by(self.bound, copy))

    def promise(self, entry: Entry) -> Any:
        """Hand out what `entry` will give."""
        tensors = []
        for kind, stub in entry.results:
            tensor = _new(Tensor)
            tensor._array = array = kind()
            array.array, array.tape = None, self
            if stub is not None:
                tensor._requires_grad, tensor._node = True, stub
            tensors.append(tensor)
        if entry.view is not None:
            self.tie(entry, tensors)
        self.pending.append((entry, tensors))
        self.at = entry
        return tuple(tensors) if entry.several else tensors[0]

    def tie(self, entry: Entry, tensors: list[Tensor]) -> None:
        """Promised views: they know what they are views of."""
        assert entry.view is not None
        kind, number = entry.view
        if kind == EXTERNAL:
            source = self.bound[number]
            base = source if source._base is None else source._base
            for tensor in tensors:
                tensor._base, tensor._storage = base, source.shared_storage()
            return
        for other, found in self.pending:
            if number in other.slots:
                source = found[other.slots.index(number)]
                for tensor in tensors:
                    tensor._base = source if source._base is None else source._base

    def miss(self) -> None:
        """The program did something else: compute what was promised, go on at once."""
        self.counts["side exits"] += 1
        entry, pending, bound = self.at, list(self.pending), self.bound
        copies = bool(self.originals)
        self.flush()
        entry.misses += 1
        if entry.misses in (2, 8, 32, 128) and entry is not LEFT and not copies:
            self.record_on(entry, pending, bound)

    def missed(self) -> None:
        """A round did not end as a replayed one; now and then the next is recorded for that."""
        self.root.misses += 1
        if self.root.misses in (2, 8, 32, 128) and self.may_record:
            self.recording = True

    # Recording.

    def record_on(self, entry: Entry, pending: Any, bound: list[Tensor]) -> None:
        """Record the rest of this round as a new branch at `entry`."""
        if not self.may_record:
            return
        self.start_round()
        self.recording, self.at = True, entry
        for number, tensor in enumerate(bound):
            self.arrays.append(weakref.ref(tensor._array))
            self.external_of[id(tensor)] = weakref.ref(tensor), number
        for event, tensors in pending:
            self.note(event.promises, tensors)

    def record(self, call: Any, row: Any, args: tuple[Any, ...]) -> Any:
        """Run an operation now, and remember it."""
        found = self.now(call, args)
        if not self.broken and found is not NotImplemented:
            self.added = []
            try:
                self.remember(call, row, args, found)
            except Unrecordable as reason:
                for number in self.added:
                    del self.external_of[number]
                if not self.is_aside(row, args, found):
                    self.give_up(str(reason))
        return found

    def is_aside(self, row: Any, args: Any, found: Any) -> bool:
        """Whether an operation that cannot be recorded can be left out of the round."""
        if self.inside is not None or any(map(holds_tensors, args)):
            return False
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        return apart(row, args) or not any(self.recorded(one._array) for one in tensors) and (
            not any(one._requires_grad for one in tensors))

    def give_up(self, reason: str) -> None:
        """This round cannot be recorded: forget it."""
        self.prune()
        self.broken = reason
        self.class_of, self.external_of, self.nodes = {}, {}, {}

    def prune(self) -> None:
        """Take what this recording has added to the tree away again."""
        if self.grown is not None:
            parent, entry = self.grown
            parent.children = [child for child in parent.children if child is not entry]
            self.grown, self.at = None, LEFT

    def grow(self, entry: Entry) -> None:
        """A new event behind the last one."""
        if self.grown is None:
            self.grown = self.at, entry
        self.at.children.append(entry)
        self.at = entry

    def remember(self, call: Any, row: Any, args: tuple[Any, ...], found: Any) -> None:
        if self.at.depth > MOST_OPERATIONS:
            raise Unrecordable("more than 2,000 operations in a round")
        entry = Entry("op", self.inside or self.at)
        if self.inside is not None:
            entry.slot_count, entry.externals = self.inside.slot_count, self.inside.externals
        if not self.compilable(row.name):
            raise Unrecordable(f"{row.name} has no loop rule yet")
        entry.row, entry.call, entry.mode = row, call, switch.on
        entry.patterns = [self.pattern(entry, arg) for arg in args]
        for kind, data in entry.patterns:
            if kind == NUMBER and data.dtype not in {
                    arg._array.dtype for arg in args if isinstance(arg, Tensor)}:
                raise Unrecordable("a number of another type")
        if self.inside is None:
            same = next((child for child in self.at.children if child.row is row
                         and child.mode is entry.mode and alike(child.patterns, entry.patterns)),
                        None)
            if same is not None:
                self.at = same
                self.note(same.promises, found if same.several else (found,))
                return
        self.add_results(entry, row, found)
        if self.inside is None:
            self.grow(entry)
        else:
            self.inside.inner.append(entry)
            self.inside.slot_count, self.inside.externals = entry.slot_count, entry.externals
            self.inside.layouts += entry.layouts

    def pattern(self, entry: Entry, arg: Any) -> tuple[int, Any]:
        """How an argument is recognised next time."""
        if isinstance(arg, Tensor):
            known = self.recorded(arg._array)
            if known is not None:
                if known.needs is not arg._requires_grad:
                    raise Unrecordable("a result whose tail was cut")
                return SLOT, known
            return EXTERNAL, self.external(entry, arg)
        if arg.__class__ is np.ndarray and not arg.ndim and arg.dtype.str[1:] in KINDS:
            if self.inside is not None and arg != 0:
                raise Unrecordable("a number that a gradient rule has computed")
            return NUMBER, arg
        check_constant(arg)
        return (ZERO if arg.__class__ is float and arg == 0 else CONSTANT), arg

    def external(self, entry: Entry, tensor: Tensor) -> tuple[int, Layout | None]:
        number = self.number_of(tensor)
        if number is not None:
            return number, None
        if tensor._array.__class__ is not np.ndarray or tensor._array.dtype.str[1:] not in KINDS:
            raise Unrecordable(f"a tensor of {tensor.dtype}")
        if tensor._requires_grad and tensor._node is not None:
            raise Unrecordable("a tensor that was computed in an earlier round")
        number = entry.externals
        entry.externals += 1
        layout = Layout(tensor)
        entry.layouts.append(layout)
        self.external_of[id(tensor)] = weakref.ref(tensor), number
        self.added.append(id(tensor))
        self.arrays.append(weakref.ref(tensor._array))
        return number, layout

    def number_of(self, tensor: Tensor) -> int | None:
        """Which external of the recorded round `tensor` is, if it is one."""
        held, number = self.external_of.get(id(tensor), (None, None))
        return number if held is not None and held() is tensor else None

    def add_results(self, entry: Entry, row: Any, found: Any) -> None:
        entry.several = found.__class__ is tuple
        tensors = found if entry.several else (found,)
        for tensor in tensors:
            if tensor._array.__class__ is not np.ndarray:
                raise Unrecordable("a result without numbers")
            slot = entry.slot_count
            entry.slot_count += 1
            entry.slots.append(slot)
            kind = promise_class(tensor._array, slot, tensor._requires_grad)
            entry.promises.append(kind)
            entry.stubs.append(stub_of(row, tensor) if tensor._requires_grad else None)
            entry.results.append((kind, entry.stubs[-1]))
        if tensors and tensors[0]._base is not None and self.inside is None:
            self.note_view(entry)
        self.note(entry.promises, tensors)

    def note_view(self, entry: Entry) -> None:
        """The results of `entry` are views of its first argument."""
        kind, data = entry.patterns[0]
        if kind == SLOT:
            entry.view = SLOT, data.slot
            return
        entry.view = EXTERNAL, data[0]
        layouts = [layout for event in (*self.at.path(), entry) for layout in event.layouts]
        layouts[data[0]].viewed = True

    def note(self, promises: Any, tensors: Any) -> None:
        """Remember which recorded results these tensors are."""
        for kind, tensor in zip(promises, tensors, strict=True):
            self.class_of[id(tensor._array)] = weakref.ref(tensor._array), kind
            if tensor._node is not None:
                self.nodes[kind.slot] = tensor._node

    def recorded(self, array: Any) -> Any:
        """Which recorded result an array is, if it is one."""
        held, kind = self.class_of.get(id(array), (None, None))
        return kind if held is not None and held() is array else None

    # backward().

    def backward(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                 inputs: Any) -> None:
        """``backward()`` as one event: promised gradients for the leaves it reached."""
        from kkori.autograd.engine import inspect_results
        plain = not keep and not create and inputs is None and inspect_results[0] is None
        if self.recording:
            self.record_backward(run, roots, grads, keep, create, inputs, plain)
            return
        with self.lock:
            for entry in self.at.children if plain and self.copies_are_true() else ():
                if entry.kind == "backward":
                    fresh = self.match(entry.patterns, (*roots, *grads))
                    if fresh is not None and self.leaves_free(entry, fresh):
                        self.bound[self.at.externals:] = fresh
                        self.promise_gradients(entry)
                        return
            if self.pending:
                self.miss()
        if self.recording:
            self.record_backward(run, roots, grads, keep, create, inputs, plain)
        else:
            self.now(run, (roots, grads, keep, create, inputs))

    def leaves_free(self, entry: Entry, fresh: list[Tensor]) -> bool:
        """Whether all leaves are as recorded: no gradient yet, no hooks, none twice."""
        have = self.at.externals
        for number, _ in entry.leaves:
            leaf = self.bound[number] if number < have else fresh[number - have]
            if leaf._grad is not None or leaf._hooks is not None and any(leaf._hooks):
                return False
        return True

    def promise_gradients(self, entry: Entry) -> None:
        tensors = []
        for kind in entry.promises:
            tensor = _new(Tensor)
            tensor._array = array = kind()
            array.array, array.tape = None, self
            tensors.append(tensor)
        self.pending.append((entry, tensors))
        self.at = entry
        for (number, _), tensor in zip(entry.leaves, tensors, strict=True):
            self.bound[number]._grad = tensor

    def record_backward(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                        inputs: Any, plain: bool) -> None:
        entry = Entry("backward", self.at)
        if not plain or self.inside is not None or watched(roots):
            self.give_up(self.broken or "backward() with options or hooks")
        try:
            if not self.broken:
                entry.patterns = [self.pattern(entry, arg) for arg in (*roots, *grads)]
        except Unrecordable as reason:
            self.give_up(str(reason))
        if self.broken:
            self.now(run, (roots, grads, keep, create, inputs))
            return
        outside = entry.externals
        self.inside = entry
        try:
            run(roots, grads, keep, create, inputs)
        finally:
            self.inside = None
        if entry.externals != outside:
            self.give_up(self.broken or "a gradient rule that makes a tensor")
        if self.broken:
            return
        same = next((child for child in self.at.children if child.kind == "backward"
                     and alike(child.patterns, entry.patterns)
                     and child.leaves == entry.leaves), None)
        if same is not None:
            self.at = same
            leaves = self.leaves_by_number()
            self.note(same.promises, [leaves[number]._grad for number, _ in same.leaves])
            return
        self.grow(entry)

    def leaves_by_number(self) -> dict[int, Any]:
        return {number: held() for held, number in self.external_of.values()}

    def gradient(self, leaf: Tensor, value: Tensor, fresh: bool) -> None:
        """While recording: `value` was put into ``leaf.grad`` (`fresh`), or added to it."""
        entry = self.inside
        if entry is None or self.broken:
            return
        try:
            if not fresh or leaf._hooks is not None and any(leaf._hooks):
                raise Unrecordable("gradients are accumulated over rounds, or hooked")
            source = self.recorded(value._array)
            number = self.number_of(leaf)
            if source is None or number is None:
                raise Unrecordable("a gradient that no operation of the round made")
            assert leaf._grad is not None
            entry.leaves.append((number, source.slot))
            slot = entry.slot_count
            entry.slot_count += 1
            entry.slots.append(slot)
            entry.promises.append(promise_class(leaf._grad._array, slot, False))
            entry.stubs.append(None)
            self.note(entry.promises[-1:], [leaf._grad])
        except Unrecordable as reason:
            self.give_up(str(reason))

    # Leaving the path.

    def in_place(self, written: Any = None) -> None:
        """Something (the array `written`) is about to be changed: not part of a replayed round."""
        if self.recording:
            if not self.broken and self.concerns(written):
                self.give_up("a write in place")
        elif self.pending and self.concerns(written):
            self.flush()

    def concerns(self, written: Any) -> bool:
        """Whether memory that is written to is part of this round."""
        if not isinstance(written, np.ndarray):
            return True
        root = root_of(written)
        if self.recording:
            for held in (*[held for held, _ in self.class_of.values()], *self.arrays):
                known = held()
                if known is not None and root_of(known) is root:
                    return True
            return False
        for tensor in self.bound:
            array = tensor._array
            if array.__class__ is np.ndarray and root_of(array) is root:
                return True
        return False

    def flush(self) -> None:
        """Run what is pending, operation by operation; the round may match from the root again."""
        with self.lock:
            if self.recording:
                return
            if not self.pending:
                self.at, self.bound, self.originals = self.root, [], {}
                return
            self.at = LEFT
            self.counts["flushed"] += 1
            mode, outer, interrupt = switch.on, switch.tape, None
            switch.tape = None
            try:
                while self.pending:
                    try:
                        self.redo(*self.pending[0])
                        del self.pending[0]
                    except KeyboardInterrupt as error:  # every event can be run again
                        interrupt = error
            except Exception as error:
                self.fail(error)
                raise
            finally:
                switch.on, switch.tape = mode, outer
            for tensor, copy in self.originals.values():
                copy.__dict__.update(tensor.__dict__)  # from now on it is the same memory
            self.at, self.bound, self.originals, self.values = self.root, [], {}, {}
            if interrupt is not None:
                raise interrupt

    def fail(self, error: Exception) -> None:
        """What was promised cannot be computed: whoever asks gets the same error."""
        failed = Failed(error)
        for _, tensors in self.pending:
            for tensor in tensors:
                if isinstance(tensor._array, Promise):
                    tensor._array.tape = failed
        self.pending, self.at, self.bound, self.values = [], self.root, [], {}

    def redo(self, entry: Entry, tensors: list[Tensor]) -> None:
        """Run one event that was promised."""
        bound, values = self.bound, self.values
        args = [values[data] if kind == SLOT else bound[data[0]] if kind == EXTERNAL
                else data for kind, data in entry.patterns]
        if entry.kind == "backward":
            switch.on = True
            redo_backward(entry, args, tensors, bound)
            found: Any = tensors
        else:
            switch.on = entry.mode
            found = entry.call(*args)
            found = found if entry.several else (found,)
        for kind, tensor, real in zip(entry.promises, tensors, found, strict=True):
            if entry.kind != "backward":
                become(tensor, real)
            values[kind] = tensor

    # Looking.

    def look(self, promised: Promise) -> None:
        """Compute one promised value without leaving the path, where that pays."""
        with self.lock:
            if promised.array is not None:
                return
            at, slot = self.at, promised.slot
            count = at.looks.get(slot, 0)
            if self.recording or at is LEFT or threading.get_ident() != self.thread or count == -1:
                self.flush()
                return
            if count.__class__ is int:
                at.looks[slot] = count = count + 1
                if count < 3:
                    self.flush()
                    return
                from kkori.run.update import look
                at.looks[slot] = count = look(at, slot) or -1
                if count == -1:
                    self.flush()
                    return
            self.counts["looks"] += 1
            try:
                (promised.array,) = count.compute(
                    [tensor._array for tensor in self.bound[:at.externals]], [])
            except count.Doubtful:
                self.flush()


class Failed:
    """Stands for the tape in promises that an error has made impossible to keep."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def flush(self) -> None:
        raise self.error

    def look(self, promised: Promise) -> None:
        raise self.error


def held_by(tensors: list[Tensor], tensor: Tensor) -> bool:
    return any(one is tensor for one in tensors)


def compilable(name: str) -> bool:
    """Whether a row can be part of a compiled round: as a loop, or by its array rule."""
    from kkori.codegen.lowering import BY_ARRAY_RULE, LOWER
    return name in LOWER or name in BY_ARRAY_RULE


def holds_tensors(value: Any) -> bool:
    """Whether there are tensors in a list or tuple."""
    return value.__class__ in (list, tuple) and any(
        isinstance(item, Tensor) or holds_tensors(item) for item in value)


def apart(row: Any, args: Any) -> bool:
    """Whether the results of an operation have no tie to its arguments."""
    return not row.view and not (switch.on and row.differentiable and any(
        arg._requires_grad for arg in args if isinstance(arg, Tensor)))


def watched(roots: Any) -> bool:
    """Whether somebody wants to see gradients on their way, or runs Python of their own there."""
    stack = [root._node for root in roots]
    seen = set()
    while stack:
        node = stack.pop()
        if node is None or isinstance(node, Tensor) or id(node) in seen:
            continue
        seen.add(id(node))
        if node.hooks or node.prehooks or node.keepers or not hasattr(node, "row") or (
                not hasattr(node.row, "plan")):
            return True
        stack.extend(node.edges)
    return False


def redo_backward(entry: Entry, args: list[Any], tensors: list[Tensor],
                  bound: list[Tensor]) -> None:
    """``backward()`` now; the gradient tensors that were handed out get its results."""
    from kkori.autograd import engine
    leaves = [bound[number] for number, _ in entry.leaves]
    others = [leaf._grad for leaf in leaves]
    hooks = [leaf._hooks for leaf in leaves]
    for leaf in leaves:
        leaf._grad = leaf._hooks = None
    try:
        half = len(args) // 2
        engine.backward(args[:half], args[half:], True, False)  # so that it can be run again
        for leaf, tensor in zip(leaves, tensors, strict=True):
            become(tensor, leaf._grad)
        engine.release(args[:half])
    finally:
        for leaf, other, hook in zip(leaves, others, hooks, strict=True):
            leaf._grad, leaf._hooks = other, hook


def become(tensor: Tensor, real: Any) -> None:
    """A promised tensor is now what was computed: array, storage, tail and all."""
    promised = tensor._array
    here = tensor.__dict__
    for name in ("_node", "_requires_grad", "_base", "_storage", "_origin"):
        here.pop(name, None)
    here.update(real.__dict__)
    if isinstance(promised, Promise):
        promised.array, promised.tape = real._array, None
