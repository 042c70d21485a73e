"""The walk back: from the outputs to the leaves, each node once, without recursion."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import numpy as np

from kkori.autograd import piecewise
from kkori.autograd.graph import Node, edge_of
from kkori.autograd.mode import hand_out_gradients, owed, switch
from kkori.autograd.spare import LARGE, holders, is_ours, offer, uses_once
from kkori.core.promise import settle
from kkori.tensor import Tensor, wrap

__all__ = ["backward", "grad_of"]


inspect_results: list[Any] = [None]  # called with each node and its gradients; see anomaly.py


class Walk:
    """One backward pass: gradients on their way, by node and by leaf."""

    def __init__(self, keep_graph: bool, wanted: set[Any] | None) -> None:
        self.keep_graph = keep_graph
        self.wanted = wanted  # nodes and leaves that matter; None: all
        self.heap: list[tuple[int, Node]] = []
        self.waiting: dict[Node, Any] = {}
        self.leaves: dict[Tensor, Any] = {}
        self.captured: dict[tuple[Node, int], Tensor] = {}
        self.captures: set[tuple[Node, int]] = set()

    def give(self, target: Any, number: int, value: Any) -> None:
        """Add `value` to what waits at output `number` of `target` (a node, or a leaf)."""
        if self.wanted is not None and target not in self.wanted:
            return
        if isinstance(target, Tensor):
            value = fit(value, target._array.shape, target._array.dtype)
            old = self.leaves.get(target)
            if old is not None:
                self.leaves[target] = None  # keeps its place
                over = old._array.nbytes >= LARGE and is_ours(holders(old), old)
                value = add(old, value, over)
            self.leaves[target] = value
            return
        if target.shape.__class__ is list:
            self.give_part(target, number, value)
            return
        value = fit(value, target.shape, target.kind)
        old = self.waiting.pop(target, None)
        if old is None:
            heappush(self.heap, (-target.sequence, target))
        else:
            over = old._array.nbytes >= LARGE and is_ours(holders(old), old)
            value = add(old, value, over)
        self.waiting[target] = value

    def give_part(self, target: Node, number: int, value: Any) -> None:
        """The same for a node of several outputs: a list waits, with None for no gradient."""
        parts = self.waiting.get(target)
        if parts is None:
            parts = self.waiting[target] = [None] * len(target.shape)
            heappush(self.heap, (-target.sequence, target))
        value = fit(value, target.shape[number], target.kind[number])
        parts[number] = value if parts[number] is None else add(parts[number], value, False)

    def run(self) -> None:
        """Take the newest waiting node until none is left."""
        heap, waiting = self.heap, self.waiting
        found: Any
        value: Any
        while heap:
            found = value = None  # what the node before gave is held by `waiting` alone
            node = heappop(heap)[1]
            g = waiting.pop(node)
            if node.prehooks or node.keepers or self.captures:
                g = self.before(node, g)
            if g.__class__ is Tensor and g._array.nbytes >= LARGE and not switch.on:
                ours = is_ours(holders(g), g)  # a line of its own: nothing else is on the stack
                found = _apply_large(node, g, ours)
            else:
                found = node.apply(g)
            if node.hooks:
                found = _after(node, found, g)
            if inspect_results[0] is not None:
                inspect_results[0](node, found)
            if not self.keep_graph:
                node.release()
            for target, number, value in zip(node.edges, node.numbers, found, strict=False):
                if target is not None and value is not None:
                    self.give(target, number, value)

    def before(self, node: Node, g: Any) -> Any:
        """Hooks on the output(s), kept gradients, and gradients that were asked for."""
        parts = list(g) if isinstance(g, list) else [g]
        for number, hook in list((node.prehooks or {}).values()):
            _hook_outputs(parts, number, hook)
        for number, tensor in (node.keepers or ()):
            if parts[number] is not None:
                tensor._grad = parts[number].clone() if not switch.on else parts[number]
        for number, part in enumerate(parts):
            if (node, number) in self.captures and part is not None:
                self.captured[node, number] = part
        return parts if isinstance(g, list) else parts[0]


def _apply_large(node: Node, g: Tensor, ours: bool) -> Any:
    """``node.apply(g)``; where `g` is `ours` it may be written over."""
    if type(node).apply is not Node.apply or node.hooks:
        return node.apply(g)
    if not uses_once(node):
        found = piecewise.gradients(node, g, ours)
        return node.apply(g) if found is None else found
    offer(g._array if ours else None)
    try:
        return node.apply(g)
    finally:
        offer(None)


def _hook_outputs(parts: list[Any], number: int | None, hook: Any) -> None:
    if number is None:  # a prehook of the node sees all
        answer = hook(tuple(parts))
        if answer is not None:
            parts[:] = answer
    elif parts[number] is not None:
        answer = hook(parts[number])
        if answer is not None:
            parts[number] = answer


def _after(node: Node, found: Any, g: Any) -> Any:
    outputs = tuple(g) if isinstance(g, list) else (g,)
    for hook in list(node.hooks.values()):
        answer = hook(tuple(found), outputs)
        if answer is not None:
            found = answer
    return found


def fit(value: Tensor, shape: Any, kind: Any) -> Tensor:
    """A gradient in the shape and type of what it belongs to: broadcasting is undone here."""
    array = value._array
    if array.shape != shape:
        value = value.sum_to_size(shape)
        array = value._array
    if array.dtype is not kind and array.dtype != kind:
        from kkori.core.dtype import of
        if array.dtype.kind == "c" and kind.kind != "c":
            value = value.real
        value = value.to(of(kind))
    return value


def add(old: Tensor, new: Tensor, over: bool) -> Tensor:
    """The sum of two gradients of one value; `over`: it may be written over the first."""
    if over and not switch.on and switch.tape is None and new._array.__class__ is np.ndarray:
        with np.errstate(all="ignore"):
            np.add(old._array, new._array, out=old._array)
        return old
    return old + new


def accumulate(leaf: Tensor, value: Tensor, keep: bool = False) -> None:
    """Add `value` to ``leaf.grad``, after the leaf's hooks have seen it.

    `keep`: nobody else has `value`, so it can be the leaf's gradient itself, not a copy.
    """
    hooks = leaf._hooks
    if hooks is not None:
        if value._base is not None and value._node is None and switch.tape is not None:
            value = wrap(value._array)  # recorded gradient rules take views
        for hook in list(hooks[0].values()):
            answer = hook(value)
            value = value if answer is None else answer
    old = leaf._grad
    if old is None:
        array = value._array
        if value._node is not None:
            leaf._grad = value
        else:
            whole = keep and array.base is None and array.flags.c_contiguous
            leaf._grad = wrap(array if whole else array.copy("C"))
        if value._array.__class__ is not leaf._grad._array.__class__:
            leaf._grad._array = leaf._grad._array.view(value._array.__class__)
        if switch.tape is not None:
            switch.tape.gradient(leaf, value, True)
    elif switch.on:
        leaf._grad = old + value
    elif switch.tape is not None:
        switch.tape.gradient(leaf, value, False)
        switch.tape.now(old.add_, (value,))
    else:
        old.add_(value)
    if hooks is not None:
        for hook in list(hooks[1].values()):
            hook(leaf)


def walk_from(roots: Any, grads: Any, keep_graph: bool, wanted: set[Any] | None,
              captures: set[Any]) -> Walk:
    """Start at `roots` with `grads` and walk to the end."""
    walk = Walk(keep_graph, wanted)
    walk.captures = captures
    for root, g in zip(roots, grads, strict=True):
        walk.give(edge_of(root), root._output_nr, g)
    walk.run()
    return walk


def backward(roots: Any, grads: Any, keep_graph: bool, create_graph: bool,
             inputs: Any = None) -> None:
    """Add the gradients of `roots` to ``.grad`` of the leaves (or of `inputs` only)."""
    if switch.tape is not None and switch.tape.inside is None:
        switch.tape.backward(backward, roots, grads, keep_graph, create_graph, inputs)
        return
    if owed:
        hand_out_gradients()
    for root in roots:
        settle(root)
    outer, switch.on = switch.on, create_graph
    try:
        wanted, captures = (None, set()) if inputs is None else _towards(roots, inputs)
        walk = walk_from(roots, grads, keep_graph, wanted, captures)
        for leaf in list(walk.leaves):
            value = walk.leaves.pop(leaf)
            keep = leaf._hooks is None and value._array.nbytes >= LARGE and (
                is_ours(holders(value), value))
            accumulate(leaf, value, keep)
        for tensor in inputs or ():
            found = walk.captured.get((tensor._node, tensor._output_nr))
            if found is not None:
                accumulate(tensor, found)
    finally:
        switch.on = outer


def grad_of(roots: Any, grads: Any, keep_graph: bool, create_graph: bool,
            inputs: Any) -> list[Tensor | None]:
    """The gradients of `roots` for `inputs`; None where there is no way to them."""
    tape = switch.tape
    if tape is not None and tape.inside is None:
        found: list[Tensor | None] = tape.gradients(grad_of, roots, grads, keep_graph,
                                                    create_graph, inputs)
        return found
    for root in roots:
        settle(root)
    outer, switch.on = switch.on, create_graph
    try:
        wanted, captures = _towards(roots, inputs)
        walk = walk_from(roots, grads, keep_graph, wanted, captures)
        results = [_result_for(tensor, walk) for tensor in inputs]
    finally:
        switch.on = outer
    for value in results:
        if not create_graph and value is not None and value._base is not None and not any(
                value is given for given in grads):
            value._base = value._storage = None  # gradient rules may take views, or not
    return results


def _result_for(tensor: Tensor, walk: Walk) -> Tensor | None:
    if tensor._node is not None:
        return walk.captured.get((tensor._node, tensor._output_nr))
    value = walk.leaves.get(tensor)
    if value is not None and tensor._hooks is not None:
        for hook in list(tensor._hooks[0].values()):
            answer = hook(value)
            value = value if answer is None else answer
    return value


def _towards(roots: Any, inputs: Any) -> tuple[set[Any], set[Any]]:
    """The nodes and leaves on the way from `roots` to `inputs`, and the outputs to capture."""
    goals = {edge_of(tensor) for tensor in inputs}
    captures = {(tensor._node, tensor._output_nr) for tensor in inputs if tensor._node is not None}
    wanted = set(goals)
    for node in sorted(_reachable(roots), key=lambda node: node.sequence):
        if any(edge in wanted for edge in node.edges if edge is not None):
            wanted.add(node)
    return wanted, captures


def release(roots: Any) -> None:
    """Let the graph behind `roots` go, as backward() does."""
    for node in _reachable(roots):
        node.release()


def _reachable(roots: Any) -> set[Node]:
    stack = [edge_of(root) for root in roots]
    seen: set[Any] = set()
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node not in seen:
            seen.add(node)
            stack.extend(edge for edge in node.edges if edge is not None)
    return seen
