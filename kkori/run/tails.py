"""The tails of what is kept from a replayed round: nodes as backward() has left them.

In a replayed round no node is made. Where somebody keeps a result, it gets one; the nodes behind
it are made when somebody asks for them, from what the recorded round looked like.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from kkori.autograd.graph import _next_number
from kkori.run.entry import EXTERNAL, SLOT, Entry
from kkori.tensor import Tensor

__all__ = ["Tails"]

_new = object.__new__


class Tails:
    """What the nodes of one recorded path look like after its backward()."""

    def __init__(self, path: list[Entry], nodes: dict[int, Any]) -> None:
        slot_of = {id(node): entry.slots[0] for entry in path for slot in entry.slots
                   if (node := nodes.get(slot)) is not None and entry.kind == "op"}
        self.templates: dict[int, Any] = {}  # by the first slot of an operation
        self.first: dict[int, tuple[int, int]] = {}  # slot: that slot, and which output it is
        self.leaves: set[int] = set()
        self.known_leaves: dict[int, Tensor] = {}  # as they were when the tape had met so many
        self.known_at = -1
        for entry in path:
            node = nodes.get(entry.slots[0]) if entry.kind == "op" and entry.slots else None
            if node is None:
                node = next((nodes[slot] for slot in entry.slots if slot in nodes), None)
            if node is None or entry.kind != "op":
                continue
            template = self.template(entry, node, slot_of)
            if template is not None:
                self.templates[entry.slots[0]] = template
                for number, slot in enumerate(entry.slots):
                    self.first[slot] = entry.slots[0], number

    def template(self, entry: Entry, node: Any, slot_of: dict[int, int]) -> Any:
        """All there is to say of a node; None while it holds values, or others behind it do."""
        saved = node.saved
        if saved is not False and (node.row.keeps_values or any(
                isinstance(value, Tensor) for value in saved or ())):
            return None
        edges: list[Any] = []
        for edge, (kind, data) in zip(node.edges, entry.patterns, strict=False):
            if edge is None:
                edges.append(None)
            elif isinstance(edge, Tensor):
                if kind != EXTERNAL:
                    return None
                edges.append((EXTERNAL, data[0]))
                self.leaves.add(data[0])
            elif slot_of.get(id(edge)) in self.templates:
                edges.append((SLOT, slot_of[id(edge)]))
            else:
                return None
        return node.__class__, node.row, edges, node.numbers, node.shape, node.kind, saved, (
            node.versions), entry.depth

    def of_round(self, tape: Any) -> Round:
        """The tails of the round that `tape` has matched."""
        leaves = self.known_leaves
        if self.known_at != tape.admitted or not tape.may_hold:
            leaves = {number: tape.bound[number] for number in self.leaves}
            if tape.may_hold:
                self.known_leaves, self.known_at = leaves, tape.admitted
        round = _new(Round)
        round.tails, round.leaves, round.nodes = self, leaves, {}
        round.sequence = _next_number()
        return round


class Round:
    """The nodes of one replayed round, each made once; it holds none of them."""

    __slots__ = ("tails", "leaves", "nodes", "sequence")
    tails: Tails
    leaves: dict[int, Tensor]
    nodes: dict[int, Any]
    sequence: float

    def hang(self, tensor: Tensor, slot: int) -> None:
        """Give a kept result its node."""
        first, number = self.tails.first[slot]
        if first in self.nodes:  # another output of the same operation
            tensor._node = self.node(first)
        else:
            tensor._node = node = _new(self.tails.templates[first][0])
            node.origin = self, first
            self.nodes[first] = ref(node)
        if number:
            tensor._output_nr = number

    def node(self, slot: int) -> Any:
        """The node of an operation; it is filled when somebody asks for something of it."""
        held = self.nodes.get(slot)
        found = None if held is None else held()
        if found is None:
            found = _new(self.tails.templates[slot][0])
            self.nodes[slot] = ref(found)
            found.origin = self, slot
        return found


def fill(node: Any) -> None:
    """Give a node of a replayed round everything that nodes have."""
    round, slot = node.origin
    _, row, edges, numbers, shape, kind, saved, versions, depth = round.tails.templates[slot]
    node.row, node.shape, node.kind, node.saved, node.versions = row, shape, kind, saved, versions
    node.hooks = node.prehooks = node.keepers = None
    node.sequence = round.sequence + depth / 4096  # between this round's and the next's
    node.numbers = list(numbers)
    node.edges = [None if edge is None else round.leaves[edge[1]]
                  if edge[0] == EXTERNAL else round.node(edge[1]) for edge in edges]
