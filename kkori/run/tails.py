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
            node.versions), entry.depth / 4096  # between two rounds' numbers

    def of_round(self, tape: Any) -> dict[int, Tensor]:
        """The leaves of the round that `tape` has matched, by their numbers."""
        if self.known_at == tape.admitted:
            return self.known_leaves
        leaves = {number: tape.bound[number] for number in self.leaves}
        if tape.may_hold:
            self.known_leaves, self.known_at = leaves, tape.admitted
        return leaves

    def hang(self, held: Any, tape: Any) -> None:
        """Give kept results, in pairs of slot and tensor, the newest first, their nodes."""
        leaves, base, older = self.of_round(tape), _next_number(), None
        made: dict[int, Any] = {}
        for slot, tensor in reversed(held):
            if slot in self.first:
                first, number = self.first[slot]
                if first not in made:
                    made[first] = node = self.node(first, leaves, base)
                    node.older, older = older, node
                tensor._node = made[first]
                if number:
                    tensor._output_nr = number

    def node(self, slot: int, leaves: dict[int, Tensor], base: float) -> Any:
        """The node of an operation; it is filled when somebody asks for something of it."""
        node = _new(self.templates[slot][0])
        node.origin = self, slot, leaves
        node.sequence = base + self.templates[slot][-1]
        return node


def fill(node: Any) -> None:
    """Give a node of a replayed round everything that nodes have."""
    tails, slot, leaves = node.origin
    _, row, edges, numbers, shape, kind, saved, versions, place = tails.templates[slot]
    node.row, node.shape, node.kind, node.saved, node.versions = row, shape, kind, saved, versions
    node.hooks = node.prehooks = node.keepers = None
    node.numbers, node.edges = list(numbers), []
    others = nodes_of_round(node)
    for edge in edges:
        if edge is not None and edge[0] == SLOT:
            held = others.get(edge[1])
            behind = None if held is None else held()
            if behind is None:
                behind = tails.node(edge[1], leaves, node.sequence - place)
                others[edge[1]], behind.others = ref(behind), others
            node.edges.append(behind)
        else:
            node.edges.append(None if edge is None else leaves[edge[1]])


def nodes_of_round(node: Any) -> dict[int, Any]:
    """References to the nodes of a replayed round that exist: each is made once.

    Those of kept results are linked, from the newest to the oldest, until somebody asks.
    """
    chain, others = [], None
    while node is not None and others is None:
        others = getattr(node, "others", None)
        if others is None:
            chain.append(node)
            node = node.older
    others = {} if others is None else others
    for one in chain:
        others[one.origin[1]], one.others = ref(one), others
    return others
