"""Recording: what the operations of one round were, as a path of the tree of rounds.

While a round is recorded every operation runs at once, as ever, and is noted down: what it was
called with (results of this round, tensors from outside, constants) and what its results look
like. What cannot be replayed makes the recording `broken`: it is forgotten.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.core.promise import promise_class
from kkori.core.storage import is_shared_with_numpy, root_of
from kkori.core.threads import undisturbed
from kkori.run import branches, guards, handed, numbers, sums, writes
from kkori.run.asides import Asides, holds_tensors
from kkori.run.entry import (
    ALIAS,
    AWAY,
    CONSTANT,
    EXTERNAL,
    KINDS,
    MOST_OPERATIONS,
    NUMBER,
    SLOT,
    VARYING,
    Entry,
    Layout,
    Unrecordable,
    alike,
    check_constant,
    is_hooked,
    stub_of,
)
from kkori.run.notes import Notes
from kkori.tensor import Tensor

__all__ = ["Recording", "apart", "compilable"]

GUARDS = {"op": guards.operation, "write": writes.guard, "backward": guards.ending}


class Recording:
    """The recording side of a tape."""

    root: Entry
    here: Any
    counts: dict[str, int]
    may_record: bool
    may_hold: bool
    notes: Notes
    left_out: Asides
    most_externals: int
    most_slots: int
    recording = False
    numbers: list[Any]  # of the round that is being matched; see run/numbers.py
    varying: Any = None
    leaves_data_out = False  # rounds cut their own part out of the data: it comes from outside

    def compilable(self, name: str) -> bool:
        """Whether a row can be part of a compiled round."""
        return compilable(name)

    def start_round(self) -> None:
        raise NotImplementedError

    def now(self, call: Any, args: Any) -> Any:
        raise NotImplementedError

    def leave_data_out(self) -> None:
        raise NotImplementedError

    def forget(self) -> None:
        """Nothing is being recorded."""
        if self.varying is not None and self.at.runner is not None:
            self.counts["rounds"] += self.varying.replace()
        self.varying = numbers.Numbers()
        self.recording, self.broken = False, ""
        self.at = self.root
        self.class_of: dict[int, Any] = {}  # recorded results: id of the array -> (array, class)
        self.external_of: dict[int, Any] = {}  # id of the tensor -> (tensor, number)
        self.added: list[int] = []  # keys of `external_of` that the current operation has made
        self.arrays: list[Any] = []  # of the externals
        self.left_out.forget()
        self.nodes: dict[int, Any] = {}  # slot -> reference to the node of a recorded result
        self.seen: set[int] = set()  # slots of which NumPy code sees the memory
        self.grown: Any = None  # the first entry that this recording has made, and its parent
        self.inside: Entry | None = None

    def begin_recording(self) -> None:
        """Record the round that begins now."""
        self.start_round()
        self.recording, self.here = True, AWAY

    def record_on(self, entry: Entry, pending: Any, bound: list[Tensor], branch: Any) -> None:
        """Record the rest of this round as a new branch at `entry`, which begins with the
        operations in `branch`, as far as they can be part of it."""
        if not self.may_record:
            return
        self.begin_recording()
        self.at = entry
        for number, tensor in enumerate(bound):
            self.arrays.append(weakref.ref(tensor._array))
            self.external_of[id(tensor)] = weakref.ref(tensor), number
        for event, tensors in pending:
            self.note(event.promises, tensors)
        self.varying.note(self.numbers[:entry.number_count])
        self.seen = handed.slots_of(entry.path())
        fewer = branches.take_down(self, branch)
        if fewer is not None:
            self.prune()
            self.record_on(entry, pending, bound, fewer)

    def record(self, call: Any, row: Any, args: tuple[Any, ...]) -> Any:
        """Run an operation now, and remember it."""
        args = numbers.fresh(self, row, args)
        found = self.now(call, args)
        self.take_down(call, row, args, found)
        return found

    def take_down(self, call: Any, row: Any, args: tuple[Any, ...], found: Any) -> None:
        """Remember an operation that has just been run; what cannot be is left out, or ends the
        recording."""
        if self.broken or found is NotImplemented:
            return
        if self.inside is None and self.left_out.goes_on(self, row, args, found):
            return
        self.added = []
        try:
            self.remember(call, row, args, found)
        except Unrecordable as reason:
            for number in self.added:
                del self.external_of[number]
            if not self.is_aside(row, args, found):
                self.leave_data_out()  # next time: it may be that which is in the way
                self.give_up(str(reason), row)
            elif self.at is self.root:
                self.left_out.begins_no_round(row, args)
        except BaseException:  # Ctrl-C: what is noted down may be a half
            self.give_up("interrupted")
            raise

    def is_aside(self, row: Any, args: Any, found: Any) -> bool:
        """Whether an operation that cannot be recorded can be left out of the round."""
        if self.inside is not None or any(map(holds_tensors, args)):
            return False
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        return apart(row, args) or not any(self.recorded(one._array) for one in tensors) and (
            not any(one._requires_grad for one in tensors))

    def is_part_of_data(self, row: Any, args: Any) -> bool:
        """Whether an operation cuts something out of tensors that the round has not made."""
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        return bool(row.view) and not any(
            one._requires_grad or self.recorded(one._array) is not None for one in tensors)

    def leave_out_other_cuts(self, row: Any, args: Any) -> None:
        """Unrecordable where a round, behind an update by hand, cuts another part out of the data
        than one did that has not come again since: no two may be the same."""
        if not any(entry.kind == "write" for entry in self.at.path()):
            return
        others = [one for one in self.at.ops if one.row is row and is_cut(one)]
        if others and self.is_part_of_data(row, args) and not any(
                one.replayed() for one in others):
            self.leave_data_out()
            for one in others:
                self.at.remove(one)
            raise Unrecordable("a part of the data")

    def give_up(self, reason: str, row: Any = None) -> None:
        """This round cannot be recorded: forget it."""
        self.broken = reason
        self.notes.refuse(reason, row)
        with undisturbed():
            self.prune()
            self.class_of, self.external_of, self.nodes = {}, {}, {}

    def begin_here(self, written: Any) -> bool:
        """Whether the round can begin behind a write in place instead, which is about to come:
        nothing that was recorded is followed. Then it does."""
        if self.inside is not None or written.__class__ is not np.ndarray or any(
                kind.needs for _, kind in self.class_of.values()):
            return False
        self.prune()
        self.left_out.begin_later()
        self.begin_recording()
        return True

    def prune(self) -> None:
        """Take what this recording has added to the tree away again."""
        self.varying.superseded = []
        if self.grown is not None:
            parent, entry = self.grown
            parent.remove(entry)
            self.grown, self.at = None, AWAY

    def grow(self, entry: Entry) -> None:
        """A new event behind the last one."""
        if self.grown is None:
            self.grown = self.at, entry
        if entry.kind != "step" and entry.go is None:
            entry.go = guards.later(entry, GUARDS[entry.kind])
        if entry.implicit is not None and self.may_hold:
            entry.follow = guards.later(entry, guards.following, "follow")
        if entry.kind != "op":
            numbers.follow(self, entry)
        self.at.add(entry)
        self.at = entry
        self.numbers += [0.0] * (entry.number_count - len(self.numbers))
        self.most_externals = max(self.most_externals, entry.externals)
        self.most_slots = max(self.most_slots, entry.slot_count)

    def remember(self, call: Any, row: Any, args: tuple[Any, ...], found: Any) -> None:
        if self.at.depth > MOST_OPERATIONS:
            raise Unrecordable("more than 2,000 operations in a round")
        entry = Entry("op", self.inside or self.at)
        if self.inside is not None:
            entry.slot_count, entry.externals = self.inside.slot_count, self.inside.externals
        if self.leaves_data_out and self.inside is None and self.is_part_of_data(row, args):
            raise Unrecordable("a part of the data")
        if not self.compilable(row.name):
            raise Unrecordable(f"{row.name} has no loop rule yet")
        entry.row, entry.call, entry.mode = row, call, switch.on
        entry.patterns = [self.pattern(entry, arg) for arg in args]
        if self.seen and handed.reads(entry, self.seen):
            raise Unrecordable("a result that NumPy code sees")
        for kind, data in entry.patterns:
            if kind == NUMBER and data.dtype not in {
                    arg._array.dtype for arg in args if isinstance(arg, Tensor)}:
                raise Unrecordable("a number of another type")
        if self.inside is None:
            numbers.settle(self, entry, args)
            same = next((child for child in self.at.ops if child.row is row
                         and child.mode is entry.mode and alike(child.patterns, entry.patterns)),
                        None)
            if same is not None:
                self.at = same
                self.note(same.promises, found if same.several else (found,))
                return
            self.leave_out_other_cuts(row, args)
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
                    raise Unrecordable(
                        "a torch.autograd.Function of your own" if hasattr(
                            type(arg._node), "context") else "a result whose tail was cut")
                if known.written >= 0 and known.needs and switch.on and self.may_hold:
                    self.left_out.write_before_rounds(arg)
                    raise Unrecordable("a leaf that this round has written to")
                return SLOT, known
            leaf = None if self.may_hold else arg._leaf
            if leaf is not None and leaf._array is arg._array and not arg._requires_grad:
                return ALIAS, self.external(entry, leaf)
            return EXTERNAL, self.external(entry, arg)
        if arg.__class__ is np.ndarray and not arg.ndim and arg.dtype.str[1:] in KINDS:
            if self.inside is not None and arg != 0:
                raise Unrecordable("a number that a gradient rule has computed")
            return NUMBER, arg
        number = self.varying.which(arg)
        if number is not None and self.inside is not None:
            return VARYING, number
        check_constant(arg)
        return CONSTANT, arg

    def external(self, entry: Entry, tensor: Tensor) -> tuple[int, Layout | None]:
        number = self.number_of(tensor)
        if number is not None:
            return number, None
        if tensor._array.__class__ is not np.ndarray or tensor._array.dtype.str[1:] not in KINDS:
            raise Unrecordable(f"a tensor of {tensor.dtype}")
        if tensor._requires_grad and tensor._node is not None:
            raise Unrecordable("a tensor that was computed before what is recorded begins")
        number = entry.externals
        entry.externals += 1
        layout = Layout(tensor)
        entry.layouts.append(layout)
        self.external_of[id(tensor)] = weakref.ref(tensor), number
        self.added.append(id(tensor))
        self.arrays.append(weakref.ref(tensor._array))
        self.left_out.met(tensor)
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
            if tensor._array.dtype.str[1:] not in KINDS:
                raise Unrecordable(f"a result of {tensor.dtype}")
            slot = entry.slot_count
            entry.slot_count += 1
            entry.slots.append(slot)
            kind = promise_class(tensor._array, slot, tensor._requires_grad)
            entry.promises.append(kind)
            entry.stubs.append(stub_of(row, tensor) if tensor._requires_grad else None)
        if tensors and tensors[0]._base is not None and (
                self.inside is None or self.inside.kind == "grad"):
            self.note_view(entry, tensors[0])
        self.note(entry.promises, tensors)

    def note_view(self, entry: Entry, view: Tensor) -> None:
        """The results of `entry`, such as `view`, are views of its first argument."""
        kind, data = entry.patterns[0]
        if kind == SLOT and data.written >= 0 and not self.may_hold:
            kind, data = EXTERNAL, (data.written, None)  # that is whose memory it shows
        if kind == SLOT:
            if data.written >= 0:
                raise Unrecordable("a view of what is written in place")
            entry.view = SLOT, data.slot
            for promise in entry.promises:
                promise.version = data.version
            return
        if self.inside is None and not view._requires_grad and is_shared_with_numpy(
                view.shared_storage()):
            raise Unrecordable("a view of memory that NumPy code may write to")  # no guard has it
        entry.view = EXTERNAL, data[0]
        inside = [] if self.inside is None else [self.inside]
        layouts = [layout for event in (*self.at.path(), *inside, entry)
                   for layout in event.layouts]
        layouts[data[0]].viewed = True

    def note(self, promises: Any, tensors: Any) -> None:
        """Remember which recorded results these tensors are."""
        for kind, tensor in zip(promises, tensors, strict=True):
            self.class_of[id(tensor._array)] = weakref.ref(tensor._array), kind
            if tensor._node is not None:
                self.nodes[kind.slot] = weakref.ref(tensor._node)

    def node_of(self, slot: int) -> Any:
        """The node of a recorded result, if it has one that is still there."""
        held = self.nodes.get(slot)
        return None if held is None else held()

    def recorded(self, array: Any) -> Any:
        """Which recorded result an array is, if it is one."""
        held, kind = self.class_of.get(id(array), (None, None))
        return kind if held is not None and held() is array else None

    def record_backward(self, run: Any, roots: Any, grads: Any, keep: bool, create: bool,
                        inputs: Any) -> None:
        from kkori.autograd.engine import inspect_results
        plain = not keep and not create and inputs is None and inspect_results[0] is None
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
        self.walk(entry, run, (roots, grads, keep, create, inputs), "a backward()")
        if self.broken:
            return
        if len(roots) == 1 and "_implicit" in grads[0].__dict__ and entry.patterns[0][0] == SLOT:
            entry.implicit = grads[0]
        same = next((child for child in self.at.ends if child.kind == "backward"
                     and (child.implicit is None) is (entry.implicit is None)
                     and alike(child.patterns, entry.patterns)
                     and child.leaves == entry.leaves and child.sums == entry.sums
                     and child.adds == entry.adds), None)
        if same is not None:
            self.at = same
            leaves = self.leaves_by_number()
            self.note(same.promises, [leaves[number]._grad for number, _ in same.leaves])
            return
        self.grow(entry)

    def walk(self, entry: Entry, run: Any, args: Any, what: str) -> Any:
        """Walk back, with the operations on the way noted down inside `entry`."""
        outside = entry.externals
        self.inside = entry
        try:
            found = run(*args)
        except BaseException:
            self.give_up(self.broken or f"{what} that did not come to its end")
            raise
        finally:
            self.inside = None
        if entry.externals != outside:
            self.give_up(self.broken or "a gradient rule that makes a tensor")
        return found

    def leaves_by_number(self) -> dict[int, Any]:
        """The externals; one that is gone is None, or not among them."""
        return {number: held() for held, number in self.external_of.values()}

    def gradient(self, leaf: Tensor, value: Tensor, fresh: bool) -> None:
        """While recording: `value` was put into ``leaf.grad`` (`fresh`), or will be added to it."""
        entry = self.inside
        if entry is None or self.broken:
            return
        try:
            if is_hooked(leaf):
                raise Unrecordable("gradients with hooks")
            source = self.recorded(value._array)
            number = self.number_of(leaf)
            if source is None or number is None:
                raise Unrecordable("a gradient that no operation of the round made")
            assert leaf._grad is not None
            if not fresh:
                old = self.recorded(leaf._grad._array)
                if old is None and self.may_hold and sums.is_first(self.at, number):
                    leaf._added_to = True
                    entry.sums.append((number, source.slot))
                    return
                if old is None or not sums.is_gradient(self.at, number, old):
                    raise Unrecordable("gradients are added up within a round")
                source = sums.add(entry, number, old, source)
            entry.leaves.append((number, source.slot))
            kind = sums.result(entry, leaf._grad._array, entry.adds.get(number))
            entry.slots.append(kind.slot)
            entry.promises.append(kind)
            entry.stubs.append(None)
            self.note([kind], [leaf._grad])
        except Unrecordable as reason:
            self.give_up(str(reason))

    def has_recorded(self, root: Any) -> bool:
        """Whether memory is part of the recorded round."""
        for held in (*[held for held, _ in self.class_of.values()], *self.arrays):
            known = held()
            if known is not None and root_of(known) is root:
                return True
        return False


def is_cut(entry: Entry) -> bool:
    """Whether an event shows a part of data, which has no gradient, and does nothing else."""
    return entry.view is not None and entry.view[0] == EXTERNAL and not entry.promises[0].needs


def compilable(name: str) -> bool:
    """Whether a row can be part of a compiled round: as a loop, or by its array rule."""
    from kkori.codegen.lowering import BY_ARRAY_RULE, LOWER
    return name in LOWER or name in BY_ARRAY_RULE


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
