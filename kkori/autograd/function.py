"""Operations of the user's own: `torch.autograd.Function`."""

from __future__ import annotations

from typing import Any

from kkori.autograd.graph import Node, edge_of, node_of
from kkori.autograd.mode import no_grad, switch
from kkori.core import errors
from kkori.core.promise import settle
from kkori.tensor import Tensor, share

__all__ = ["Function", "FunctionCtx", "once_differentiable"]


class FunctionCtx:
    """What `forward` leaves for `backward`: saved tensors, needs, and attributes of your own."""

    needs_input_grad: tuple[bool, ...] = ()
    _saved: tuple[Any, ...] = ()
    _versions: tuple[int, ...] = ()
    _freed = False
    _dirty: tuple[Tensor, ...] = ()
    _constant: tuple[Tensor, ...] = ()
    _materialize = True
    _node: Any = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `backward`; changing them in place until then is an error."""
        self._saved = tensors
        self._versions = tuple(0 if t is None else t._version for t in tensors)

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Kept for forward-mode derivatives, which this package computes by other means."""

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept."""
        if self._freed:
            from kkori.autograd.graph import SECOND_TIME
            raise RuntimeError(SECOND_TIME)
        for tensor, version in zip(self._saved, self._versions, strict=True):
            if tensor is not None and tensor._version != version:
                from kkori.autograd.graph import changed_in_place
                raise changed_in_place(self._node, tensor._array, version, tensor._version,
                                       tensor._node, tensor._output_nr)
        return self._saved

    saved_variables = saved_tensors

    def mark_dirty(self, *args: Tensor) -> None:
        """Name the inputs that `forward` changed in place."""
        self._dirty = args

    def mark_non_differentiable(self, *args: Tensor) -> None:
        """Name the outputs that have no gradient."""
        self._constant = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing gradients arrive in `backward` as zeros (True) or None."""
        self._materialize = value


def is_expandable(shape: Any, wanted: Any) -> bool:
    """Whether `shape` broadcasts to `wanted`."""
    return len(shape) <= len(wanted) and all(
        one in (1, other) for one, other in zip(shape[::-1], wanted[::-1], strict=False))


class _FunctionNode(Node):
    """The node of a user's operation; its `apply` calls the user's `backward`."""

    __slots__ = ("context", "function", "tensors")

    @property
    def next_functions(self) -> tuple[Any, ...]:
        """The nodes its gradients flow to: one entry a tensor among the arguments."""
        return tuple((node_of(self.edges[place]), self.numbers[place]) for place in self.tensors)

    def apply(self, g: Any) -> Any:
        given = g if isinstance(g, list) else [g]
        if self.context._materialize:
            given = [self.zeros(k) if part is None else part for k, part in enumerate(given)]
        found = self.function.backward(self.context, *given)
        answers = found if isinstance(found, tuple) else (found,)
        count = len(self.edges)
        extra = answers[count:]
        if len(answers) < count or any(part is not None for part in extra):
            raise RuntimeError(errors.message(
                f"function {self.name()} returned an incorrect number of gradients (expected "
                f"{count}, got {len(answers)})",
                fix="backward returns one gradient, or None, for each argument of forward"))
        for number, (edge, answer) in enumerate(zip(self.edges, answers, strict=False)):
            self.check(number, edge, answer)
        return list(answers)

    def check(self, number: int, edge: Any, answer: Any) -> None:
        """A gradient must broadcast back to what it belongs to."""
        if edge is None or not isinstance(answer, Tensor):
            return
        shape = edge._array.shape if isinstance(edge, Tensor) else edge.shape
        if isinstance(shape, list):
            shape = shape[self.numbers[number]]
        found = answer._array.shape
        if found != shape and not is_expandable(shape, found):
            raise RuntimeError(errors.message(
                f"Function {self.name()} returned an invalid gradient at index {number} - got "
                f"{errors.of_shape(found)} but expected shape compatible with "
                f"{errors.of_shape(shape)}",
                fix="a gradient has the shape of the argument that it belongs to"))

    def zeros(self, number: int) -> Any:
        from kkori.core.dtype import of
        from kkori.ops.create import zeros
        shape = self.shape[number] if isinstance(self.shape, list) else self.shape
        kind = self.kind[number] if isinstance(self.kind, list) else self.kind
        return zeros(shape, dtype=of(kind))

    def release(self) -> None:
        self.context._freed = bool(self.context._saved)

    def __getattr__(self, name: str) -> Any:
        if name in ("saved_tensors", "needs_input_grad"):
            return getattr(self.context, name)
        return Node.__getattr__(self, name)


class _FunctionMeta(type):
    """Gives each Function a node class with PyTorch's name, ``<Name>Backward``."""

    def __init__(cls, name: str, bases: Any, members: Any) -> None:
        super().__init__(name, bases, members)
        cls._node_class = type(f"{name}Backward", (_FunctionNode,), {
            "__slots__": (), "__module__": "torch.autograd.function"})


class Function(FunctionCtx, metaclass=_FunctionMeta):
    """An operation with a `backward` of its own (``torch.autograd.Function``).

    >>> import kkori as torch
    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x ** 3
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * 3 * x ** 2
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        import warnings
        warnings.warn(f"{type(self)} should not be instantiated. Methods on autograd functions "
                      "are all static, so you should invoke them on the class itself. "
                      "Instantiating an autograd function will raise an error in a future version "
                      "of PyTorch.", DeprecationWarning, stacklevel=2)

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError(errors.message(
            "Legacy autograd function with non-static forward method is deprecated. Please use "
            "new-style autograd function with static forward method. (Example: "
            "https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"))

    @staticmethod
    def forward(*args: Any, **options: Any) -> Any:
        """The computation: ``forward(ctx, *args)``, or without ctx if `setup_context` is given."""
        raise NotImplementedError(errors.message(
            "You must implement the forward function for custom "
            "autograd.Function."))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> Any:
        """Save for `backward`, where `forward` has no ctx."""
        raise NotImplementedError(errors.message("setup_context is not implemented."))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Gradients of the arguments from those of the outputs."""
        raise NotImplementedError(errors.message(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."))

    @classmethod
    def apply(cls, *args: Any, **options: Any) -> Any:
        """Run `forward` and leave a node that will run `backward`."""
        context = FunctionCtx()
        context.needs_input_grad = tuple(
            isinstance(arg, Tensor) and arg._requires_grad for arg in args)
        split = cls.setup_context is not Function.setup_context
        with no_grad():
            found = cls.forward(*args, **options) if split else cls.forward(
                context, *args, **options)
        if split:
            cls.setup_context(context, args, found)
        if switch.on and any(context.needs_input_grad):
            return _follow(cls, context, args, found)
        return found


def _follow(cls: Any, context: FunctionCtx, args: Any, found: Any) -> Any:
    """Hang the user's node on the outputs of `forward`."""
    outputs = found if isinstance(found, tuple) else (found,)
    for value in (*args, *outputs):
        if isinstance(value, Tensor):
            settle(value)
    tensors = [_fresh(part, args, context) for part in outputs]
    edges = [edge_of(arg) if isinstance(arg, Tensor) and arg._requires_grad else None
             for arg in args]
    numbers = [arg._output_nr if isinstance(arg, Tensor) else 0 for arg in args]
    shapes = [getattr(part, "_array", part).shape if isinstance(part, Tensor) else ()
              for part in tensors]
    kinds = [part._array.dtype if isinstance(part, Tensor) else None for part in tensors]
    single = len(tensors) == 1
    node = cls._node_class(edges, numbers, shapes[0] if single else shapes,
                           kinds[0] if single else kinds)
    node.context, node.function = context, cls
    node.tensors = [place for place, arg in enumerate(args) if isinstance(arg, Tensor)]
    context._node = node
    constant = {id(tensor) for tensor in context._constant}
    for number, (part, given) in enumerate(zip(tensors, outputs, strict=True)):
        if isinstance(part, Tensor) and id(given) not in constant and \
                part._array.dtype.kind in "fcV":
            part._node, part._output_nr, part._requires_grad = node, number, True
    return tuple(tensors) if isinstance(found, tuple) else tensors[0]


def _fresh(part: Any, args: Any, context: FunctionCtx) -> Any:
    """An output that is one of the inputs becomes a tensor of its own, unless it was changed."""
    if not isinstance(part, Tensor):
        return part
    if any(part is dirty for dirty in context._dirty):
        part.shared_storage().version += 1
        return part
    return share(part) if any(part is arg for arg in args) else part


def once_differentiable(function: Any) -> Any:
    """Mark a `backward` whose own computation cannot be differentiated again."""
    import functools

    @functools.wraps(function)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            return function(ctx, *grads)
    return wrapper
