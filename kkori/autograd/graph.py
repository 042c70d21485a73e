"""Nodes: what an operation leaves behind so that its gradient can be computed later."""

from __future__ import annotations

import itertools
from typing import Any

from numpy import ndarray

from kkori.core import errors
from kkori.core.promise import settle
from kkori.tensor import Tensor, wrap

__all__ = ["Node", "attach"]

_new = object.__new__
_next_number = itertools.count().__next__
OF_REPLAYED = ("metadata", "origin", "older", "others", "sequence")  # see kkori/run/tails.py
VALUE, SHAPE, OUTPUT, NEEDS, ALL_SHAPES, REST = range(6)  # what a gradient rule can ask for


class Node:
    """One operation that was run. `edges` point to the nodes (or leaves) of its arguments.

    Nodes are numbered as they are made, and edges always point to smaller numbers, so
    descending numbers are an order in which every gradient is complete when it is used.
    """

    __slots__ = ("row", "edges", "numbers", "saved", "versions", "shape", "kind", "sequence",
                 "hooks", "prehooks", "keepers", "metadata", "origin", "older", "others",
                 "__weakref__")
    row: Any
    hooks: Any
    prehooks: Any
    keepers: Any

    def __init__(self, edges: list[Any], numbers: list[int], shape: Any, kind: Any) -> None:
        self.edges, self.numbers, self.shape, self.kind = edges, numbers, shape, kind
        self.sequence = _next_number()
        self.hooks = self.prehooks = self.keepers = None
        self.saved: Any = None
        self.versions: Any = None

    def apply(self, g: Any) -> Any:
        """Gradients of the arguments, one an edge, from the gradient(s) of the output(s)."""
        row = self.row
        saved = _unpack(self) if row.plan else ()
        if row.joint is not None:
            return row.joint(g, *[saved[k] for k in row.joint_picks])
        found: list[Any] = []
        for edge, (rule, picks) in zip(self.edges, row.rules, strict=False):
            wanted = edge is not None and rule is not None
            found.append(rule(g, *map(saved.__getitem__, picks)) if wanted else None)
        return found

    def release(self) -> None:
        """Let go of what was saved; going back through here again is an error from now on."""
        if self.saved and self.row.keeps_values:
            self.saved = False

    def name(self) -> str:
        """PyTorch's name of this kind of node, such as ``MulBackward0``."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[Any, ...]:
        """The nodes its gradients flow to, each with the number of the output they belong to."""
        row, edges, numbers = self.row, self.edges, self.numbers
        return tuple((node_of(edges[place]), numbers[place])
                     for place in row.followed or range(len(row.args), len(edges)))

    def register_hook(self, hook: Any) -> Any:
        """Call ``hook(grad_inputs, grad_outputs)`` after this node has run."""
        if self.hooks is None:
            self.hooks = {}
        return _Handle(self.hooks, hook)

    def register_prehook(self, hook: Any) -> Any:
        """Call ``hook(grad_outputs)`` before this node runs."""
        if self.prehooks is None:
            self.prehooks = {}
        return _Handle(self.prehooks, (None, hook))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_saved_") and name != "_saved_tensors":
            return _saved_by_name(self, name[len("_saved_"):])
        if name in Node.__slots__ and name not in OF_REPLAYED:
            from kkori.run.tails import fill
            fill(self)  # of a replayed round: made when somebody asks
            return getattr(self, name)
        if name == "metadata":
            self.metadata: dict[Any, Any] = {}
            return self.metadata
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


class _Handle:
    """Takes a hook away again; also a context manager (PyTorch's RemovableHandle)."""

    _numbers = itertools.count()

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self.id = next(self._numbers)
        self.hooks = hooks
        hooks[self.id] = hook

    def remove(self) -> None:
        self.hooks.pop(self.id, None)

    def __enter__(self) -> _Handle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class AccumulateGrad:
    """The end of the tail: adds what arrives to ``variable.grad``."""

    __slots__ = ("variable", "__weakref__")
    next_functions: tuple[Any, ...] = ()
    metadata: dict[Any, Any] = {}

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def register_hook(self, hook: Any) -> Any:
        return self.variable.register_post_accumulate_grad_hook(
            lambda tensor: hook((), (tensor.grad,)))


def node_of(edge: Any) -> Any:
    """What `next_functions` shows for an edge: a node, AccumulateGrad for a leaf, or None."""
    if isinstance(edge, Tensor):
        if "_accumulate" not in edge.__dict__:
            edge._accumulate = AccumulateGrad(edge)
        return edge._accumulate
    return edge


def node_type(name: str) -> type[Node]:
    """A class of its own for each kind of node: programs read its name."""
    return type(name, (Node,), {"__slots__": (), "__module__": "torch.autograd.graph"})


def edge_of(tensor: Tensor) -> Any:
    """Where gradients of `tensor` go: its node, itself for a leaf."""
    if tensor._base is not None:
        from kkori.autograd.views import refresh
        settle(tensor)
        refresh(tensor)
    return tensor._node or tensor


def attach(row: Any, args: Any, outputs: Any) -> None:
    """Hang a node for `row` on `outputs`: a tensor, or a tuple of them."""
    edges: list[Any] = []
    numbers: Any = (0,) * len(args)
    for arg in args:
        if isinstance(arg, Tensor) and arg._requires_grad:
            base = arg._base
            if base is None or base._node is arg._origin and arg._array.__class__ is ndarray:
                edges.append(arg._node or arg)
            else:
                edges.append(edge_of(arg))
            if arg._output_nr:
                numbers = output_numbers(args)
        else:
            edges.append(None)
    node = _new(row.node_type or row.make_node_type())
    node.row, node.edges, node.numbers = row, edges, numbers
    node.hooks = node.prehooks = node.keepers = None
    node.sequence = _next_number()
    if outputs.__class__ is tuple:
        node.shape = [part._array.shape for part in outputs]
        node.kind = [part._array.dtype for part in outputs]
        for number, part in enumerate(outputs):
            if part._array.dtype.kind in "fcV":
                part._node, part._output_nr, part._requires_grad = node, number, True
    else:
        array = outputs._array
        node.shape, node.kind = array.shape, array.dtype
        outputs._node, outputs._requires_grad = node, True
    _save(node, row, args, outputs)


def output_numbers(args: Any) -> list[int]:
    """Which output of its node each argument is; 0 for those without one."""
    return [arg._output_nr if isinstance(arg, Tensor) and arg._requires_grad else 0
            for arg in args]


def _save(node: Node, row: Any, args: Any, outputs: Any) -> None:
    """Keep what the gradient rules ask for, and the versions of the values among it."""
    saved, versions, edges = [], [], node.edges
    for what, position, users in row.saves:
        version: Any = 0
        if what == VALUE:
            value = args[position]
            if isinstance(value, Tensor):
                for place in users:
                    if place < len(edges) and edges[place] is not None:
                        break
                else:
                    if users:
                        value = None  # only for gradients that nobody wants
                if value is not None and value._storage is not None:
                    storage = value._storage
                    version = storage.writes + storage.rounds.count  # its `version`
        elif what == SHAPE:
            value = args[position]
            value = value._array.shape if isinstance(value, Tensor) else ()
        else:
            value = _other(what, position, node, args, outputs)
            if what == REST:
                version = tuple(map(_version, value))
        saved.append(value)
        versions.append(version)
    node.saved, node.versions = saved, versions


def _version(value: Any) -> int:
    """How often a tensor has been written to in place."""
    storage = value._storage if isinstance(value, Tensor) else None
    return 0 if storage is None else storage.version


def _other(what: int, position: Any, node: Node, args: Any, outputs: Any) -> Any:
    """What gradient rules ask for less often than values and shapes of arguments."""
    if what == OUTPUT:
        return _Output(outputs if position is None else outputs[position], position)
    if what == REST:
        return args[position:]
    if what == NEEDS:
        return tuple([edge is not None for edge in node.edges])
    return [arg._array.shape if isinstance(arg, Tensor) else None for arg in args]


def keep_old_value(node: Node, tensor: Tensor) -> None:
    """`tensor` is about to be overwritten in place by what `node` made of it: save a copy."""
    if node.saved.__class__ is not list:
        return
    for place, value in enumerate(node.saved):
        if value is tensor:
            node.saved[place] = old = wrap(tensor._array.copy())
            old._node, old._output_nr = tensor.grad_fn, tensor._output_nr
            old._requires_grad = tensor._requires_grad
            node.versions[place] = 0


class _Output:
    """A saved output: its array, not its tensor, whose tail would point back here."""

    __slots__ = ("array", "storage", "version", "number")

    def __init__(self, tensor: Tensor, number: int | None) -> None:
        self.array, self.number = tensor._array, number or 0
        self.storage = tensor._storage or tensor.shared_storage()
        self.version = self.storage.version

    def tensor(self, node: Node) -> Tensor:
        if self.storage.version != self.version:
            raise changed_in_place(node, self.array, self.version, self.storage.version,
                                   node, self.number)
        found = wrap(self.array)
        found._storage = self.storage
        if self.array.dtype.kind in "fcV":  # places and counts have no gradients
            found._node, found._output_nr, found._requires_grad = node, self.number, True
        return found


def _unpack(node: Node) -> list[Any]:
    """What was saved, checked to be still as it was."""
    if node.saved is False:
        raise RuntimeError(errors.message(
            SECOND_TIME, what=f"first freed node on the way: {node.name()}",
            fix="recompute the loss before each backward(), or loss.backward(retain_graph=True)"))
    found = []
    for value, version in zip(node.saved, node.versions, strict=True):
        if isinstance(value, Tensor):
            storage = value._storage
            if storage is not None and storage.version != version:
                raise changed_since(node, value, version)
        elif isinstance(value, _Output):
            value = value.tensor(node)
        elif version.__class__ is tuple:
            for one, before in zip(value, version, strict=True):
                if _version(one) != before:
                    raise changed_since(node, one, before)
        found.append(value)
    return found


def changed_since(node: Node, value: Tensor, version: int) -> RuntimeError:
    """A saved tensor has been written to."""
    return changed_in_place(node, value._array, version, _version(value), value._node,
                            value._output_nr)


SECOND_TIME = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you "
    "call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward "
    "through the graph a second time or if you need to access saved tensors after calling "
    "backward.")


WITHOUT_CLASS = ("Bool", "BFloat16", "ComplexFloat", "ComplexDouble")  # types as PyTorch says them


def changed_in_place(node: Node, array: Any, version: int, now: int, maker: Any = None,
                     number: int = 0) -> RuntimeError:
    """A value that backward needs was overwritten after `node` had saved it.

    `maker` is the node whose output `number` the value is (None for leaves).
    """
    from kkori.core import dtype as types
    kind = types.of(array.dtype).alias
    name = f"CPU{kind}Type" if kind in WITHOUT_CLASS else f"torch.{kind}Tensor"
    return RuntimeError(errors.message(
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [{name} {errors.of_shape(array.shape)}]"
        f"{_which_output(maker, number)} is at version {now}; expected version {version} "
        "instead. Hint: enable anomaly detection to find the operation that failed to compute its "
        "gradient, with torch.autograd.set_detect_anomaly(True, check_nan=False).",
        what=f"it was saved for the gradient of {node.name()}, and changed after that",
        fix="replace the in-place operation: y = y + 1 instead of y += 1"))


def _which_output(maker: Any, number: int) -> str:
    if maker is None:
        return ""
    name, _, _ = maker.name().partition("Backward")
    return f", which is output {number} of {name},"


def _saved_by_name(node: Node, name: str) -> Any:
    aliases = {"self": "input", "result": "out"}
    wanted = aliases.get(name, name)
    values = _unpack(node)
    for (what, position), value in zip(node.row.plan, values, strict=True):
        label = "out" if what == OUTPUT else node.row.args[position] if position is not None else ""
        if label == wanted and what in (VALUE, OUTPUT):
            return value
    raise AttributeError(f"'{node.name()}' object has no attribute '_saved_{name}'")
