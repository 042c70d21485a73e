"""The tails of what is kept from a replayed round: nodes as backward() has left them.

In a replayed round no node is made. Where somebody keeps a result, it gets one; the nodes behind
it are made when somebody asks for them, from what the recorded round looked like. Where nodes hold
values that backward() has not freed, the round gives these too (`needs`).
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from kkori.autograd.graph import _next_number, _Output
from kkori.run.asides import holds_tensors
from kkori.run.detached import DETACH
from kkori.run.entry import EXTERNAL, SLOT, Entry
from kkori.run.renamed import is_of_result
from kkori.tensor import Tensor, wrap

__all__ = ["Tails"]

_new = object.__new__
OUTPUT, REST = -1, -2  # saved: a result of the node itself; a tuple of all other arguments


class Held(list[Any]):
    """What the values are that a node holds."""


class Tails:
    """What the nodes of one recorded path look like after its backward()."""

    def __init__(self, path: list[Entry], tape: Any) -> None:
        nodes = {slot: node for slot in tape.nodes if (node := tape.node_of(slot)) is not None}
        self.tape: Any = tape  # while it is recorded
        self.makers = {slot: entry for entry in path for slot in entry.slots}
        self.written = {entry.promises[0].written for entry in path if entry.kind == "write"}
        self.needs: dict[int, Any] = {}  # by the first slot: values and externals that tails hold
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
            if node is not None and is_of_result(entry):
                self.rename(entry, node, nodes)
            if node is None or entry.kind != "op":
                continue
            template = self.template(entry, node, slot_of)
            if template is not None:
                self.templates[entry.slots[0]] = template
                for number, slot in enumerate(entry.slots):
                    if slot in tape.nodes:  # indices beside values have none
                        self.first[slot] = entry.slots[0], number
        self.tape = None
        self.makers = {slot: entry for slot, entry in self.makers.items() if entry.view is not None}

    def rename(self, entry: Entry, node: Any, nodes: Any) -> None:
        """What was written to in place has the tail of what was put there, or the one it had."""
        for _, kind in entry.patterns[::-1]:
            if nodes.get(kind.slot) is node and kind.slot in self.first:
                self.first[entry.slots[0]] = self.first[kind.slot]
                return

    def template(self, entry: Entry, node: Any, slot_of: dict[int, int]) -> Any:
        """All there is to say of a node; None while it holds values, or others behind it do."""
        saved, needs = node.saved, (set[int](), set[int]())
        if saved and any(self.tape.varying.which(value) is not None for value in saved):
            return None
        if saved is not False and (node.row.keeps_values or any(
                isinstance(value, Tensor) for value in saved or ())):
            saved = Held([self.saved_value(value, version, needs) for value, version in zip(
                saved, node.versions, strict=True)])
            if None in saved:
                return None
        edges: list[Any] = []
        for edge, (kind, data) in zip(node.edges, entry.patterns, strict=False):
            if edge is None:
                edges.append(None)
            elif isinstance(edge, Tensor):
                number = data[0] if kind == EXTERNAL else data.written if kind == SLOT else -1
                if number < 0:
                    return None
                edges.append((EXTERNAL, number))
                self.leaves.add(number)
            elif slot_of.get(id(edge)) in self.templates:
                edges.append((SLOT, slot_of[id(edge)]))
                for mine, more in zip(needs, self.needs.get(slot_of[id(edge)], ()), strict=False):
                    mine |= more
            else:
                return None
        if any(needs):
            self.needs[entry.slots[0]] = needs
        return node.__class__, node.row, edges, node.numbers, node.shape, node.kind, saved, (
            node.versions), entry.depth / 4096  # between two rounds' numbers

    def saved_value(self, value: Any, version: Any, needs: Any) -> Any:
        """What a saved value is: a result, an external or plain; None where nobody can say."""
        if isinstance(value, (Tensor, _Output)):
            kind = self.tape.recorded(value._array if isinstance(value, Tensor) else value.array)
            if kind is not None and kind.slot in self.makers and kind.written < 0 and (
                    self.is_as_saved(value, version, kind)):
                self.rely_on(SLOT, kind.slot, needs)
                if isinstance(value, _Output):
                    return OUTPUT, kind.slot, value.number
                return (SLOT, kind) if self.has_tail(kind, needs) else None
            number = self.tape.number_of(value) if isinstance(value, Tensor) else None
            if number is None or kind is not None or number in self.written:
                return None
            self.rely_on(EXTERNAL, number, needs)
            return EXTERNAL, number
        if version.__class__ is tuple and value:
            found = [self.saved_value(*one, needs) for one in zip(value, version, strict=True)]
            return None if None in found else (REST, found)
        return None if holds_tensors(value) else (None, value)

    def has_tail(self, kind: Any, needs: Any) -> bool:
        """Whether a saved value can be given its tail."""
        if kind.needs and kind.slot in self.first:
            for mine, more in zip(needs, self.needs.get(self.first[kind.slot][0], ()),
                                  strict=False):
                mine |= more
        return not kind.needs or kind.slot in self.first

    def is_as_saved(self, value: Any, version: int, known: Any) -> bool:
        """Whether a value was not written to between when it was saved and the round's end."""
        if isinstance(value, _Output):
            version = value.version
        elif value._storage is None:
            return True  # a copy, such as of what is about to be overwritten
        kind, slot = SLOT, known.slot
        while kind == SLOT and self.makers[slot].view is not None:
            kind, slot = self.makers[slot].view  # type: ignore[misc]
        return kind == EXTERNAL or known.version == version

    def rely_on(self, kind: int, number: int, needs: Any) -> None:
        """A result, or what it is a view of, has to be there when somebody asks."""
        while kind == SLOT and self.makers[number].view is not None:
            kind, number = self.makers[number].view  # type: ignore[misc]
        needs[kind == EXTERNAL].add(number)

    def wanted(self, held: Any) -> tuple[set[int], set[int]]:
        """The values, and the externals, that the tails of these slots hold."""
        values, externals = set[int](), set[int]()
        for slot in held:
            if slot in self.first and self.first[slot][0] in self.needs:
                mine, others = self.needs[self.first[slot][0]]
                values |= mine
                externals |= others
        return values, externals

    def more(self, held: Any) -> list[int]:
        """The slots that a round has to give besides those that are `held`."""
        return sorted(self.wanted(held)[0].difference(held)) if self.needs else []

    def of_round(self, tape: Any) -> dict[int, Tensor]:
        """The leaves of the round that `tape` has matched, by their numbers."""
        if self.known_at == tape.admitted:
            return self.known_leaves
        leaves = {number: tape.bound[number] for number in self.leaves}
        if tape.may_hold:
            self.known_leaves, self.known_at = leaves, tape.admitted
        return leaves

    def hang(self, held: Any, tape: Any, more: Any = ()) -> None:
        """Give kept results, in pairs of slot and tensor, the newest first, their nodes.

        `more`: slots of values that tails hold, and their arrays.
        """
        leaves, base, older = self.of_round(tape), _next_number(), None
        values = Values(self, dict(held), tape, more) if self.needs else None
        if values is not None and not (values.results or values.externals):
            values = None
        made: dict[int, Any] = {}
        for slot, tensor in reversed(held):
            if slot in self.first:
                first, number = self.first[slot]
                if first not in made:
                    made[first] = node = self.node(first, leaves, base, values)
                    node.older, older = older, node
                tensor._node = made[first]
                if number:
                    tensor._output_nr = number

    def node(self, slot: int, leaves: dict[int, Tensor], base: float, values: Any) -> Any:
        """The node of an operation; it is filled when somebody asks for something of it."""
        node = _new(self.templates[slot][0])
        node.origin = self, slot, leaves, values if slot in self.needs else None
        node.sequence = base + self.templates[slot][-1]
        return node


class Values:
    """The values that the tails of one round hold, as they were when it ended."""

    def __init__(self, tails: Tails, kept: dict[int, Tensor], tape: Any, more: Any) -> None:
        self.tails = tails
        slots, externals = tails.wanted(kept)
        self.results: dict[int, Any] = dict(more)  # as arrays
        self.storages: dict[int, Any] = {}  # of those that somebody else holds too, with versions
        for slot in slots.intersection(kept):
            self.results[slot], storage = kept[slot]._array, kept[slot].shared_storage()
            self.storages[slot] = storage, storage.version
        self.externals: dict[int, Any] = {}
        for number in externals:
            tensor = tape.originals[number][0] if number in tape.originals else tape.bound[number]
            self.externals[number] = tensor, (
                0 if tensor._storage is None else tensor._storage.version)

    def tensor(self, slot: int) -> tuple[Tensor, int]:
        """A result of the round without its tail, and its version."""
        maker = self.tails.makers.get(slot)
        if maker is not None and maker.view is not None:
            kind, number = maker.view
            source, version = self.tensor(number) if kind == SLOT else self.externals[number]
            found = maker.row.array(source._array, *[data for _, data in maker.patterns[1:]])
            tensor = wrap(found[maker.slots.index(slot)] if maker.several else found)
            tensor._storage = source.shared_storage()
            if maker.row is not DETACH:
                tensor._base = source if source._base is None else source._base
            return tensor, version
        tensor = wrap(self.results[slot])
        tensor._storage, version = self.storages.get(slot, (None, 0))
        return tensor, version


def fill(node: Any) -> None:
    """Give a node of a replayed round everything that nodes have."""
    tails, slot, leaves, values = node.origin
    _, row, edges, numbers, shape, kind, saved, versions, _ = tails.templates[slot]
    node.row, node.shape, node.kind, node.saved, node.versions = row, shape, kind, saved, versions
    node.hooks = node.prehooks = node.keepers = None
    node.numbers, node.edges = list(numbers), []
    for edge in edges:
        if edge is not None and edge[0] == SLOT:
            node.edges.append(node_of_round(node, edge[1]))
        else:
            node.edges.append(None if edge is None else leaves[edge[1]])
    if saved.__class__ is Held:
        node.saved, node.versions = [], []
        for what in saved:
            value, version = saved_again(node, what)
            node.saved.append(value)
            node.versions.append(version)


def saved_again(node: Any, what: Any) -> tuple[Any, Any]:
    """A value that a node holds, and its version."""
    tails, _, _, values = node.origin
    kind = what[0]
    if kind is None:
        return what[1], 0
    if kind == REST:
        found, versions = zip(*[saved_again(node, one) for one in what[1]], strict=True)
        return found, versions
    if kind == EXTERNAL:
        return values.externals[what[1]]  # type: ignore[no-any-return]
    tensor, version = values.tensor(what[1] if kind == OUTPUT else what[1].slot)
    if kind == OUTPUT:
        output = _Output(tensor, what[2])
        output.version = version
        return output, 0
    if what[1].needs:
        first, number = tails.first[what[1].slot]
        tensor._requires_grad, tensor._output_nr = True, number
        tensor._node = node_of_round(node, first)
    return tensor, version


def node_of_round(node: Any, slot: int) -> Any:
    """The node of another operation of the same round."""
    tails, mine, leaves, values = node.origin
    others = nodes_of_round(node)
    held = others.get(slot)
    found = None if held is None else held()
    if found is None:
        found = tails.node(slot, leaves, node.sequence - tails.templates[mine][-1], values)
        others[slot], found.others = ref(found), others
    return found


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
