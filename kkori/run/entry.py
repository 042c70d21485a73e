"""What a trace is made of: events, how their arguments are recognised, what their results are."""

from __future__ import annotations

import weakref
from math import copysign
from typing import Any

import numpy as np

from kkori.core.promise import Promise
from kkori.tensor import Tensor

__all__ = ["CONSTANT", "EXTERNAL", "KINDS", "LEFT", "MOST_OPERATIONS", "MOST_SNAPSHOT", "NUMBER",
           "PLAIN", "SLOT", "ZERO", "Entry", "Layout", "Unrecordable", "alike", "check_constant",
           "same_layout", "same_number", "stub_of"]

SLOT, EXTERNAL, CONSTANT, ZERO, NUMBER = range(5)  # what an argument of a recorded operation is
MOST_OPERATIONS = 2000
MOST_SNAPSHOT = 1 << 20  # bytes of an input that NumPy code could write to
KINDS = ("f4", "f8", "b1", "i8")  # element types that compiled rounds read
PLAIN = (int, float, bool, str, type(None))

_new = object.__new__


class Unrecordable(Exception):
    """Something in this round cannot be replayed."""


class Layout:
    """What an external tensor must look like again: type, shape, strides, whether it is a leaf."""

    __slots__ = ("kind", "shape", "strides", "needs", "viewed", "last")

    def __init__(self, tensor: Tensor) -> None:
        array = tensor._array
        self.kind, self.shape, self.strides = array.dtype, array.shape, array.strides
        self.needs = tensor._requires_grad
        self.last = weakref.ref(array)  # fitted last time
        self.viewed = False  # somebody may hold a view of it: it cannot be replaced by a copy

    def fits(self, tensor: Any) -> bool:
        """Whether `tensor` can stand where the recorded one stood."""
        if not isinstance(tensor, Tensor):
            return False
        array = tensor._array
        if tensor._requires_grad is not self.needs or tensor._node is not None:
            return False
        if array is self.last():
            return True
        if array.__class__ is np.ndarray and array.shape == self.shape and (
                array.dtype == self.kind and array.strides == self.strides):
            self.last = weakref.ref(array)
            return True
        return False


class Entry:
    """One event of a round, and the events that have followed it."""

    __slots__ = ("kind", "row", "call", "patterns", "mode", "slots", "promises", "stubs",
                 "children", "parent", "externals", "slot_count", "layouts", "inner", "leaves",
                 "depth", "misses", "runner", "several", "view", "looks", "results", "__weakref__")

    def __init__(self, kind: str, parent: Entry | None) -> None:
        self.kind = kind
        self.parent = None if parent is None else weakref.ref(parent)
        self.children: list[Entry] = []
        self.patterns: list[tuple[int, Any]] = []
        self.row: Any = None
        self.call: Any = None
        self.runner: Any = None
        self.mode = True
        self.several = False
        self.view: tuple[int, int] | None = None  # what the results are views of: kind and number
        self.slots: list[int] = []
        self.promises: list[type[Promise]] = []
        self.stubs: list[Any] = []
        self.results: list[Any] = []  # promises and stubs, in pairs
        self.inner: list[Any] = []  # of backward(): the operations inside
        self.leaves: list[tuple[int, int]] = []  # of backward(): (external leaf, slot of its grad)
        self.slot_count = parent.slot_count if parent else 0
        self.externals = parent.externals if parent else 0
        self.layouts: list[Layout] = []  # of the externals that appear here first
        self.depth = parent.depth + 1 if parent else 0
        self.misses = 0
        self.looks: dict[int, Any] = {}  # by slot: how often it was looked at here, or its program

    def path(self) -> list[Entry]:
        """The events from the start of the round to here."""
        found: list[Entry] = []
        entry: Entry | None = self
        while entry is not None and entry.parent is not None:
            found.append(entry)
            entry = entry.parent()
        return found[::-1]


LEFT = Entry("left", None)  # no path leads on from here


def same_number(one: Any, two: Any) -> bool:
    """Whether two arrays without dimensions hold the same bits."""
    return (one.__class__ is np.ndarray and not one.ndim and one.dtype == two.dtype
            and one.tobytes() == two.tobytes())


def check_constant(arg: Any) -> None:
    """Unrecordable unless `arg` is compared fully by ``==``."""
    if arg.__class__ in (tuple, list):
        for item in arg:
            if item.__class__ in (float, bool):
                raise Unrecordable("a list of numbers as an argument")
            check_constant(item)
    elif isinstance(arg, (np.ndarray, Tensor)) or callable(arg) or arg.__class__ is dict:
        raise Unrecordable("an argument that is a NumPy array")


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
        elif kind == NUMBER:
            if not same_number(one, two):
                return False
        elif one.__class__ is not two.__class__ or one != two or (
                kind == ZERO and copysign(1.0, one) != copysign(1.0, two)):
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
