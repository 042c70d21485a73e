"""Traces of training rounds: recorded once, matched operation by operation, run as one call.

A round goes from the end of one ``optimizer.step()`` to the end of the next. Recorded rounds form
a tree (`Entry`): rounds that begin alike share a path, and where a program takes another branch,
another branch grows. In replay every operation is compared with what the tree expects here; if it
is the same, a promise is handed out and nothing is computed. At the end of the round everything
is computed at once. If it is not the same, what was promised so far is run operation by operation
(`flush`): nothing has happened yet, so nothing has to be undone.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.core.promise import Promise, promise_class
from kkori.tensor import Tensor

__all__ = ["Entry", "Tape"]

SLOT, EXTERNAL, CONSTANT = range(3)  # what an argument of a recorded operation is
MOST_OPERATIONS = 2000
KINDS = ("f4", "f8", "b1")  # element types that compiled rounds compute with

_new = object.__new__


class Unrecordable(Exception):
    """Something in this round cannot be replayed."""


class Layout:
    """What an external tensor must look like again: type, shape, strides, whether it is a leaf."""

    __slots__ = ("kind", "shape", "strides", "needs", "last", "last_array")

    def __init__(self, tensor: Tensor) -> None:
        array = tensor._array
        self.kind, self.shape, self.strides = array.dtype, array.shape, array.strides
        self.needs = tensor._requires_grad
        self.last, self.last_array = tensor, array

    def fits(self, tensor: Any) -> bool:
        """Whether `tensor` can stand where the recorded one stood."""
        if tensor is self.last and tensor._array is self.last_array:
            return bool(tensor._requires_grad == self.needs and tensor._node is None)
        if not isinstance(tensor, Tensor):
            return False
        array = tensor._array
        if array.__class__ is np.ndarray and array.shape == self.shape and (
                array.dtype == self.kind and array.strides == self.strides) and (
                tensor._requires_grad == self.needs and tensor._node is None):
            self.last, self.last_array = tensor, array
            return True
        return False


class Entry:
    """One event of a round, and the events that have followed it."""

    __slots__ = ("kind", "row", "call", "patterns", "mode", "slots", "promises", "stubs",
                 "children", "parent", "externals", "slot_count", "layouts", "inner", "leaves",
                 "depth", "misses", "runner", "several")

    def __init__(self, kind: str, parent: Entry | None) -> None:
        self.kind, self.parent = kind, parent
        self.children: list[Entry] = []
        self.patterns: list[tuple[int, Any]] = []
        self.row = self.call = self.runner = None
        self.mode = True
        self.several = False
        self.slots: list[int] = []
        self.promises: list[type[Promise]] = []
        self.stubs: list[Any] = []
        self.inner: list[Any] = []  # of backward(): the operations inside
        self.leaves: list[tuple[int, int]] = []  # of backward(): (external leaf, slot of its grad)
        self.slot_count = parent.slot_count if parent else 0
        self.externals = parent.externals if parent else 0
        self.layouts: list[Layout] = []  # of the externals that appear here first
        self.depth = parent.depth + 1 if parent else 0
        self.misses = 0

    def path(self) -> list[Entry]:
        """The events from the start of the round to here."""
        found, entry = [], self
        while entry.parent is not None:
            found.append(entry)
            entry = entry.parent
        return found[::-1]


class Tape:
    """The traces of one optimizer's rounds in one thread, and where the current round stands."""

    def __init__(self) -> None:
        self.root = Entry("root", None)
        self.thread = threading.get_ident()
        self.counts = {"rounds": 0, "recorded": 0, "side exits": 0, "flushed": 0}
        self.start_round()

    def start_round(self) -> None:
        self.at = self.root
        self.bound: list[Tensor] = []  # externals of this round, in order of appearance
        self.pending: list[tuple[Entry, list[Tensor]]] = []
        self.checks: list[tuple[Any, Promise]] = []
        self.recording = False
        self.broken = ""
        self.class_of: dict[int, Any] = {}  # recorded results: id of the array -> (array, class)
        self.external_of: dict[int, int] = {}
        self.inside: Entry | None = None

    # One operation.

    def call(self, call: Any, row: Any, args: tuple[Any, ...]) -> Any:
        """What `call` would return: at once while recording, a promise in replay."""
        if self.recording:
            return self.record(call, row, args)
        for entry in self.at.children:
            if entry.row is row and entry.mode is switch.on:
                fresh = self.match(entry.patterns, args)
                if fresh is not None:
                    self.bound += fresh
                    return self.promise(entry)
        self.miss()
        return call(*args)

    def match(self, patterns: list[tuple[int, Any]], args: Any) -> list[Tensor] | None:
        """The externals that these arguments bind, or None if they are not the recorded ones."""
        if len(patterns) != len(args):
            return None
        fresh: list[Tensor] = []
        have = len(self.bound)
        for (kind, data), arg in zip(patterns, args, strict=True):
            if kind == SLOT:
                if not isinstance(arg, Tensor) or arg._array.__class__ is not data:
                    return None
            elif kind == EXTERNAL:
                number, layout = data
                if number < have:
                    if arg is not self.bound[number]:
                        return None
                elif number - have < len(fresh):
                    if arg is not fresh[number - have]:
                        return None
                elif layout is not None and layout.fits(arg):
                    fresh.append(arg)
                else:
                    return None
            elif arg.__class__ is not data.__class__ or arg != data:
                return None
        return fresh

    def promise(self, entry: Entry) -> Any:
        """Hand out what `entry` will give."""
        tensors = []
        for kind, stub in zip(entry.promises, entry.stubs, strict=True):
            tensor = _new(Tensor)
            tensor._array = array = kind()
            array.array, array.tape = None, self
            if stub is not None:
                tensor._requires_grad, tensor._node = True, stub
            tensors.append(tensor)
        self.pending.append((entry, tensors))
        self.at = entry
        return tuple(tensors) if entry.several else tensors[0]

    def miss(self) -> None:
        """The program did something else: compute what was promised, go on at once."""
        self.counts["side exits"] += 1
        entry, pending, bound = self.at, self.pending, self.bound
        self.flush()
        entry.misses += 1
        if entry.misses in (2, 8, 32, 128):
            self.record_on(entry, pending, bound)

    # Recording.

    def record_on(self, entry: Entry, pending: Any, bound: list[Tensor]) -> None:
        """Record the rest of this round as a new branch at `entry`."""
        self.start_round()
        self.recording, self.at, self.bound = True, entry, bound
        for number, tensor in enumerate(bound):
            self.external_of[id(tensor)] = number
        for event, tensors in pending:
            self.note(event.promises, tensors)
        switch.tape = self

    def record(self, call: Any, row: Any, args: tuple[Any, ...]) -> Any:
        """Run an operation now, and remember it."""
        switch.tape = None
        try:
            found = call(*args)
        finally:
            switch.tape = self
        if not self.broken and found is not NotImplemented:
            try:
                self.remember(call, row, args, found)
            except Unrecordable as reason:
                self.give_up(str(reason))
        return found

    def give_up(self, reason: str) -> None:
        """This round cannot be recorded: forget it."""
        self.broken = reason
        self.class_of, self.external_of = {}, {}

    def remember(self, call: Any, row: Any, args: tuple[Any, ...], found: Any) -> None:
        if self.at.depth > MOST_OPERATIONS:
            raise Unrecordable("more than 2,000 operations in a round")
        entry = Entry("op", self.inside or self.at)
        if self.inside is not None:
            entry.slot_count, entry.externals = self.inside.slot_count, self.inside.externals
        entry.row, entry.call, entry.mode = row, call, switch.on
        entry.patterns = [self.pattern(entry, arg) for arg in args]
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
            self.at.children.append(entry)
            self.at = entry
        else:
            self.inside.inner.append(entry)
            self.inside.slot_count, self.inside.externals = entry.slot_count, entry.externals
            self.inside.layouts += entry.layouts

    def pattern(self, entry: Entry, arg: Any) -> tuple[int, Any]:
        """How an argument is recognised next time."""
        if isinstance(arg, Tensor):
            known = self.recorded(arg._array)
            if known is not None:
                return SLOT, known
            return EXTERNAL, self.external(entry, arg)
        if isinstance(arg, np.ndarray) or callable(arg):
            raise Unrecordable("an argument that is a NumPy array")
        return CONSTANT, arg

    def external(self, entry: Entry, tensor: Tensor) -> tuple[int, Layout | None]:
        number = self.external_of.get(id(tensor))
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
        self.external_of[id(tensor)] = number
        self.bound.append(tensor)
        return number, layout

    def add_results(self, entry: Entry, row: Any, found: Any) -> None:
        entry.several = found.__class__ is tuple
        for tensor in found if entry.several else (found,):
            if tensor._array.__class__ is not np.ndarray:
                raise Unrecordable("a result without numbers")
            slot = entry.slot_count
            entry.slot_count += 1
            entry.slots.append(slot)
            kind = promise_class(tensor._array, slot)
            entry.promises.append(kind)
            entry.stubs.append(stub_of(row, tensor) if tensor._requires_grad else None)
        self.note(entry.promises, found if entry.several else (found,))

    def note(self, promises: Any, tensors: Any) -> None:
        """Remember which recorded results these tensors are."""
        for kind, tensor in zip(promises, tensors, strict=True):
            self.class_of[id(tensor._array)] = weakref.ref(tensor._array), kind

    def recorded(self, array: Any) -> type[Promise] | None:
        """Which recorded result an array is, if it is one."""
        held, kind = self.class_of.get(id(array), (None, None))
        return kind if held is not None and held() is array else None

    # backward().

    def backward(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                 inputs: Any) -> None:
        """``backward()`` as one event: promised gradients for the leaves it reached."""
        plain = not keep and not create and inputs is None
        if self.recording:
            self.record_backward(run, roots, grads, keep, create, inputs, plain)
            return
        for entry in self.at.children:
            if entry.kind == "backward" and plain:
                fresh = self.match(entry.patterns, (*roots, *grads))
                if fresh is not None and self.leaves_free(entry, fresh):
                    self.bound += fresh
                    self.promise_gradients(entry)
                    return
        self.miss()
        run(roots, grads, keep, create, inputs)

    def leaves_free(self, entry: Entry, fresh: list[Tensor]) -> bool:
        """Whether all leaves are as recorded: no gradient yet, no hooks, none twice."""
        bound = self.bound + fresh
        leaves = [bound[number] for number, _ in entry.leaves]
        return all(leaf._grad is None and leaf._hooks is None for leaf in leaves) and len(
            {id(leaf) for leaf in leaves}) == len(leaves)

    def promise_gradients(self, entry: Entry) -> None:
        tensors = []
        for (number, _), kind in zip(entry.leaves, entry.promises, strict=True):
            tensor = _new(Tensor)
            tensor._array = array = kind()
            array.array, array.tape = None, self
            self.bound[number]._grad = tensor
            tensors.append(tensor)
        self.pending.append((entry, tensors))
        self.at = entry

    def record_backward(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                        inputs: Any, plain: bool) -> None:
        entry = Entry("backward", self.at)
        if not plain or self.inside is not None:
            self.broken = self.broken or "backward() with options"
        try:
            entry.patterns = [self.pattern(entry, arg) for arg in (*roots, *grads)]
        except Unrecordable as reason:
            self.broken = str(reason)
        outside = entry.externals
        self.inside = entry
        try:
            run(roots, grads, keep, create, inputs)
        finally:
            self.inside = None
        if entry.externals != outside:
            self.broken = self.broken or "a gradient rule that makes a tensor"
        if self.broken:
            return
        same = next((child for child in self.at.children if child.kind == "backward"
                     and alike(child.patterns, entry.patterns)), None)
        if same is not None:
            self.at = same
            self.note(same.promises, [self.bound[number]._grad for number, _ in same.leaves])
            return
        self.at.children.append(entry)
        self.at = entry

    def gradient(self, leaf: Tensor, value: Tensor, fresh: bool) -> None:
        """While recording: `value` was put into ``leaf.grad`` (`fresh`), or added to it."""
        entry = self.inside
        if entry is None or self.broken:
            return
        try:
            if not fresh or leaf._hooks is not None:
                raise Unrecordable("gradients are accumulated over rounds, or hooked")
            source = self.recorded(value._array)
            number = self.external_of.get(id(leaf))
            if source is None or number is None:
                raise Unrecordable("a gradient that no operation of the round made")
            assert leaf._grad is not None
            entry.leaves.append((number, source.slot))
            slot = entry.slot_count
            entry.slot_count += 1
            entry.slots.append(slot)
            entry.promises.append(promise_class(leaf._grad._array, slot))
            entry.stubs.append(None)
            self.note(entry.promises[-1:], [leaf._grad])
        except Unrecordable as reason:
            self.broken = str(reason)

    # Leaving the path.

    def in_place(self) -> None:
        """Something is about to be written in place: not part of a replayed round."""
        if self.recording:
            self.give_up(self.broken or "a write in place")
        else:
            self.flush()

    def flush(self) -> None:
        """Run what is pending, operation by operation, and stop matching in this round."""
        pending, bound, checks = self.pending, self.bound, self.checks
        self.pending, self.checks = [], []
        self.at, switch.tape = Entry("left", None), None
        if not pending:
            return
        self.counts["flushed"] += 1
        mode = switch.on
        values: dict[type[Promise], Tensor] = {}
        try:
            for entry, tensors in pending:
                args = [values[data] if kind == SLOT else bound[data[0]] if kind == EXTERNAL
                        else data for kind, data in entry.patterns]
                if entry.kind == "backward":
                    redo_backward(entry, args, tensors, bound)
                    continue
                switch.on = entry.mode
                found = entry.call(*args)
                for kind, tensor, real in zip(entry.promises, tensors, found if entry.several
                                              else (found,), strict=True):
                    become(tensor, real)
                    values[kind] = tensor
        finally:
            switch.on = mode
        for check, promised in checks:
            check(promised.real())


def redo_backward(entry: Entry, args: list[Any], tensors: list[Tensor],
                  bound: list[Tensor]) -> None:
    """``backward()`` now; the gradient tensors that were handed out get its results."""
    from kkori.autograd import engine
    leaves = [bound[number] for number, _ in entry.leaves]
    held = [leaf._grad is tensor for leaf, tensor in zip(leaves, tensors, strict=True)]
    others = [leaf._grad for leaf in leaves]
    for leaf in leaves:
        leaf._grad = None
    half = len(args) // 2
    engine.backward(args[:half], args[half:], False, False)
    for leaf, tensor, mine, other in zip(leaves, tensors, held, others, strict=True):
        become(tensor, leaf._grad)
        leaf._grad = tensor if mine else other


def become(tensor: Tensor, real: Tensor) -> None:
    """A promised tensor is now what was computed: array, storage, tail and all."""
    promised = tensor._array
    if isinstance(promised, Promise):
        promised.array = real._array
    here = tensor.__dict__
    for name in ("_node", "_requires_grad"):
        here.pop(name, None)
    here.update(real.__dict__)


def alike(first: list[tuple[int, Any]], second: list[tuple[int, Any]]) -> bool:
    """Whether two lists of patterns recognise the same arguments."""
    if len(first) != len(second):
        return False
    for (kind, one), (other_kind, two) in zip(first, second, strict=True):
        if kind != other_kind:
            return False
        if kind == EXTERNAL:
            if one[0] != two[0] or not same_layout(one[1], two[1]):
                return False
        elif kind == SLOT:
            if one is not two:
                return False
        elif one.__class__ is not two.__class__ or one != two:
            return False
    return True


def same_layout(one: Layout | None, two: Layout | None) -> bool:
    """Whether two externals that appear for the first time look alike."""
    if one is None or two is None:
        return one is two
    return (one.kind, one.shape, one.strides, one.needs) == (
        two.kind, two.shape, two.strides, two.needs)


def stub_of(row: Any, tensor: Tensor) -> Any:
    """A node as it is after backward() has used it: its name and shape, nothing saved."""
    node = _new(row.node_type or row.make_node_type())
    node.row, node.edges, node.numbers = row, [], []
    node.shape, node.kind = tensor._array.shape, tensor._array.dtype
    node.hooks = node.prehooks = node.keepers = node.versions = None
    node.sequence, node.saved = 0, False
    return node
