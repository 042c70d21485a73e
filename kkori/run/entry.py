"""What a trace is made of: events, how their arguments are recognised, what their results are."""

from __future__ import annotations

from math import copysign
from typing import Any
from weakref import ref

import numpy as np

from kkori.core.promise import Promise
from kkori.tensor import Tensor

__all__ = ["ALIAS", "AWAY", "CONSTANT", "EXTERNAL", "KINDS", "MOST_OPERATIONS", "MOST_SNAPSHOT",
           "NUMBER", "PLAIN", "SLOT", "VARYING", "Entry", "Fleeting", "Known", "Layout",
           "Unrecordable", "alike", "check_constant", "is_hooked", "same_constant", "same_layout",
           "same_number", "stub_of"]

# What an argument of a recorded operation is: ALIAS is ``.data`` of an external, NUMBER an array
# without dimensions, VARYING a number that may be another one in every round.
SLOT, EXTERNAL, CONSTANT, NUMBER, ALIAS, VARYING = range(6)
MOST_OPERATIONS = 2000
MOST_SNAPSHOT = 1 << 20  # bytes of an input that NumPy code could write to
KINDS = ("f4", "f8", "b1", "i8")  # element types that compiled rounds read
PLAIN = (int, float, bool, str, type(None))

_new = object.__new__


class Unrecordable(Exception):
    """Something in this round cannot be replayed."""


def is_hooked(leaf: Any) -> bool:
    """Whether somebody sees the gradient of a leaf, or what it makes of ``.grad``."""
    return leaf._hooks is not None and any(leaf._hooks)


class Layout:
    """What an external tensor must look like again: type, shape, strides, whether it is a leaf."""

    __slots__ = ("kind", "shape", "strides", "needs", "viewed", "known")

    def __init__(self, tensor: Tensor) -> None:
        self.known: Known | None = None  # what it was last time, for all guards that ask for it
        array = tensor._array
        self.kind, self.shape, self.strides = array.dtype, array.shape, array.strides
        self.needs = tensor._requires_grad
        self.viewed = False  # somebody may hold a view of it: it cannot be replaced by a copy

    def fits(self, tensor: Any) -> bool:
        """Whether `tensor` can stand where the recorded one stood."""
        if not isinstance(tensor, Tensor):
            return False
        array = tensor._array
        return (tensor._requires_grad is self.needs and tensor._node is None
                and array.__class__ is np.ndarray and array.shape == self.shape
                and array.dtype == self.kind and array.strides == self.strides)


class Known:
    """The tensor that an external was last time, and its array: if both are the same again,
    nothing else has to be compared."""

    __slots__ = ("tensor", "array", "number", "__weakref__")

    def __init__(self, number: int) -> None:
        self.number = number  # of the external
        self.forget()

    def forget(self) -> None:
        """Compare everything next time."""
        self.tensor: Any = _nothing
        self.array: Any = _nothing

    def remember(self, tensor: Tensor) -> None:
        self.tensor, self.array = tensor, tensor._array

    def held(self) -> Any:
        """The array that is remembered."""
        return self.array

    def key(self) -> int:
        """The id of the tensor that is remembered."""
        return id(self.tensor)


_nothing = object()  # is no tensor, and no array


class Fleeting(Known):
    """The same for tapes that must not keep anything alive: references that do not count."""

    __slots__ = ()

    def forget(self) -> None:
        self.tensor = self.array = no_reference

    def remember(self, tensor: Tensor) -> None:
        self.tensor, self.array = ref(tensor), ref(tensor._array)

    def held(self) -> Any:
        return self.array()

    def key(self) -> int:
        return id(self.tensor())


def no_reference() -> Any:
    """Refers to no tensor, and no array."""
    return _nothing


class Entry:
    """One event of a round, and the events that have followed it."""

    __slots__ = ("kind", "row", "call", "patterns", "mode", "slots", "promises", "stubs",
                 "ops", "calls", "ends", "parent", "externals", "slot_count", "layouts", "inner",
                 "leaves", "depth", "misses", "runner", "several", "view", "looks", "go", "follow",
                 "tries", "implicit", "finishes", "walk", "sums", "adds", "number_count",
                 "__weakref__")

    def __init__(self, kind: str, parent: Entry | None) -> None:
        self.kind = kind
        self.parent = parent
        self.ops: list[Entry] = []  # operations, and writes in place, that have followed
        self.calls: list[Any] = []  # calls of modules that have followed; see run/calls.py
        self.ends: list[Entry] = []  # backward() and step() that have followed
        self.patterns: list[tuple[int, Any]] = []
        self.row: Any = None
        self.call: Any = None
        self.go: Any = None  # matches and promises; see run/guards.py
        self.follow: Any = None  # of backward() without arguments: notes that it was called
        self.runner: Any = None
        self.finishes: Any = ()  # of step(): functions that end rounds, and only those they know
        self.mode = True
        self.several = False
        self.implicit: Any = None  # of backward(): the gradient it starts from if none is given
        self.view: tuple[int, int] | None = None  # what the results are views of: kind and number
        self.slots: list[int] = []
        self.promises: list[type[Promise]] = []
        self.stubs: list[Any] = []
        self.inner: list[Any] = []  # of backward(): the operations inside
        self.leaves: list[tuple[int, int]] = []  # of backward(): (external leaf, slot of its grad)
        self.sums: list[tuple[int, int]] = []  # the same for leaves that had a gradient before
        # Of backward(): by leaf, what an earlier one of this round gave it; see run/sums.py.
        self.adds: dict[int, type[Promise]] = {}
        self.walk: Any = None  # of torch.autograd.grad(); see run/gradients.py
        self.slot_count = parent.slot_count if parent else 0
        self.externals = parent.externals if parent else 0
        self.number_count = parent.number_count if parent else 0  # see run/numbers.py
        self.layouts: list[Layout] = []  # of the externals that appear here first
        self.depth = parent.depth + 1 if parent else 0
        self.misses = self.tries = 0
        self.looks: dict[int, Any] = {}  # by slot: how often it was looked at here, or its program

    @property
    def children(self) -> list[Entry]:
        """All events that have followed."""
        return self.ops + self.ends

    def add(self, entry: Entry) -> None:
        """Another event that has followed."""
        (self.ops if entry.kind in ("op", "write") else self.ends).append(entry)

    def remove(self, entry: Entry) -> None:
        self.ops = [one for one in self.ops if one is not entry]
        self.ends = [one for one in self.ends if one is not entry]
        self.calls = []

    def clear(self) -> None:
        """Forget everything that has followed; functions and events no longer hold each other."""
        stack = [self]
        while stack:
            entry = stack.pop()
            stack.extend(entry.children)
            entry.finishes = ()
            entry.ops, entry.calls, entry.ends = [], [], []
            entry.go = entry.follow = entry.runner = entry.walk = None
            for kind in entry.promises:
                kind.cell.clear()  # a promise knows its tape

    def endings(self) -> list[Entry]:
        """The ends of rounds behind here that can be run."""
        found, stack = [], [self]
        while stack:
            entry = stack.pop()
            stack.extend(entry.children)
            if entry.runner is not None:
                found.append(entry)
        return found

    def replayed(self) -> int:
        """How many rounds that end behind here have been run as one call."""
        return sum(end.runner.rounds() for end in self.endings())

    def results(self, made: list[Any]) -> list[Tensor]:
        """What has been promised for this event in a round: nothing where it is a backward() whose
        gradients nobody has asked for, or is inside the call of a module."""
        found = [made[slot] for slot in self.slots]
        return found if all(tensor is not None for tensor in found) else []

    def path(self) -> list[Entry]:
        """The events from the start of the round to here."""
        found: list[Entry] = []
        entry: Entry | None = self
        while entry is not None and entry.parent is not None:
            found.append(entry)
            entry = entry.parent
        return found[::-1]

    def after(self, start: Entry) -> list[Entry]:
        """The events from behind `start` to here."""
        found: list[Entry] = []
        entry: Entry | None = self
        while entry is not None and entry is not start:
            found.append(entry)
            entry = entry.parent
        return found[::-1]


AWAY = Entry("away", None)  # where a tape stands while nothing is matched: no path leads on


def same_number(one: Any, two: Any) -> bool:
    """Whether two arrays without dimensions hold the same bits."""
    return (one.__class__ is np.ndarray and not one.ndim and one.dtype == two.dtype
            and one.tobytes() == two.tobytes())


def check_constant(arg: Any) -> None:
    """Unrecordable unless `arg` can be compared fully by `same_constant`."""
    if arg.__class__ in (tuple, list):
        for item in arg:
            check_constant(item)
    elif isinstance(arg, (np.ndarray, Promise, Tensor)) or callable(arg) or arg.__class__ is dict:
        raise Unrecordable("an argument that is a NumPy array")


def same_constant(one: Any, two: Any) -> bool:
    """Whether two arguments are the same: 1, 1.0 and True are not, nor are 0.0 and -0.0."""
    if one.__class__ is not two.__class__:
        return False
    if isinstance(one, float):
        return bool(one == two and copysign(1.0, one) == copysign(1.0, two) or (
            one != one and two != two))
    if one.__class__ in (tuple, list):
        return len(one) == len(two) and all(map(same_constant, one, two))
    return bool(one == two)


def alike(first: list[tuple[int, Any]], second: list[tuple[int, Any]]) -> bool:
    """Whether two lists of patterns recognise the same arguments."""
    if len(first) != len(second):
        return False
    for (kind, one), (other_kind, two) in zip(first, second, strict=True):
        if kind != other_kind:
            return False
        if kind in (EXTERNAL, ALIAS):
            if one[0] != two[0] or not same_layout(one[1], two[1]):
                return False
        elif kind == SLOT:
            if one is not two:
                return False
        elif kind == VARYING:
            if one != two:
                return False
        elif kind == NUMBER:
            if not same_number(one, two):
                return False
        elif not same_constant(one, two):
            return False
    return True


def same_layout(one: Layout | None, two: Layout | None) -> bool:
    """Whether two externals that appear for the first time look alike."""
    if one is None or two is None:
        return one is two
    return (one.kind, one.shape, one.strides, one.needs) == (
        two.kind, two.shape, two.strides, two.needs)


def stub_of(row: Any, tensor: Tensor) -> Any:
    """A node that only says that there is one, until the round is over."""
    node = _new(row.node_type or row.make_node_type())
    node.row, node.edges, node.numbers = row, [], []
    node.shape, node.kind = tensor._array.shape, tensor._array.dtype
    node.hooks = node.prehooks = node.keepers = node.versions = None
    node.sequence, node.saved = 0, False
    return node
