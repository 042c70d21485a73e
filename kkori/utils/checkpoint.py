"""Checkpointing: what a part of a model saves for backward is dropped and computed again.

Without re-entering (``use_reentrant=False``) the part runs as usual; then every node it made
forgets what it saved. When backward comes to one of them, the part runs again, and the nodes of
the second run hand their values to those of the first. Gradients flow through the first run's
graph, so ``autograd.grad``, hooks and second derivatives work as they do without a checkpoint.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import kkori
from kkori.autograd.function import Function
from kkori.autograd.graph import Node, _next_number, edge_of
from kkori.autograd.mode import enable_grad, is_grad_enabled, no_grad
from kkori.tensor import Tensor

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential", "noop_context_fn"]

_REENTRANT_WARNING = (
    "{}: the use_reentrant parameter should be passed explicitly. {} use_reentrant=False is "
    "recommended, but if you need to preserve the current default behavior, you can pass "
    "use_reentrant=True. Refer to docs for more details on the differences between the two "
    "variants."
)
_WARNINGS = {
    "torch.utils.checkpoint": (
        "Starting in PyTorch 2.9, calling checkpoint without use_reentrant will raise an "
        "exception."
    ),
    "torch.utils.checkpoint.checkpoint_sequential": (
        "In version 2.9 we will raise an exception if use_reentrant is not passed."
    ),
}


class CheckpointError(RuntimeError):
    """The second run did not make what the first made."""


def noop_context_fn() -> tuple[Any, Any]:
    """Contexts for the two runs that do nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """Calls ``function`` and keeps its inputs only; backward calls it again.

    Args:
        function: what runs twice; the second time with the same random numbers, unless
            ``preserve_rng_state=False``.
        args, kwargs: what it is called with (keywords only with ``use_reentrant=False``).
        use_reentrant: False is better in every respect; True is what None means, with a warning.
        context_fn: gives the contexts the two runs happen in.

    Raises ValueError for keywords with ``use_reentrant=True``; CheckpointError, in backward, where
    the second run differs. Source: ``torch.utils.checkpoint.checkpoint``.

    >>> import kkori as torch
    >>> from kkori.utils.checkpoint import checkpoint
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> y = checkpoint(lambda x: (x * x).exp().log(), x, use_reentrant=False)
    >>> y.backward()
    >>> x.grad
    tensor(6.)
    """
    if use_reentrant is None:
        use_reentrant = _warn_of_default("torch.utils.checkpoint")
    preserve = kwargs.pop("preserve_rng_state", True)
    if not use_reentrant:
        return _Region(function, args, kwargs, preserve, context_fn()).run()
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if context_fn is not noop_context_fn or debug is not False:
        raise ValueError(
            "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
        )
    return CheckpointFunction.apply(function, preserve, *args)


def _warn_of_default(name: str) -> bool:
    text = _REENTRANT_WARNING.format(name, _WARNINGS[name])
    warnings.warn(text, UserWarning, stacklevel=3)
    return True


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Runs a chain of modules in ``segments`` parts, all but the last of them checkpointed.

    Source: ``torch.utils.checkpoint.checkpoint_sequential``.
    """
    if use_reentrant is None:
        use_reentrant = _warn_of_default("torch.utils.checkpoint.checkpoint_sequential")
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    chain = list(functions.children() if hasattr(functions, "children") else functions)
    size = len(chain) // segments
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(
            _run_chain,
            chain[start : start + size],
            input,
            use_reentrant=use_reentrant,
            preserve_rng_state=preserve,
        )
    return _run_chain(chain[size * (segments - 1) :], input)


def _run_chain(functions: list[Callable], input: Any) -> Any:
    for function in functions:
        input = function(input)
    return input


class _Region:
    """A part of the graph that can be computed again."""

    def __init__(
        self, function: Callable, args: tuple, kwargs: dict, preserve: bool, contexts: tuple
    ) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.first_context, self.second_context = contexts
        self.random_state = kkori.get_rng_state() if preserve else None
        self.nodes: list[str] = []
        self.values: dict[int, Any] = {}

    def run(self) -> Any:
        """The first run; its nodes forget what they saved."""
        start = _next_number()
        with self.first_context:
            result = self.function(*self.args, **self.kwargs)
        if is_grad_enabled():
            nodes = _nodes_since(start, result)
            self.nodes = [node.name() for node in nodes]
            for index, node in enumerate(nodes):
                if isinstance(node.saved, list):
                    node.saved = _Forgotten(self, index)
        return result

    def take(self, index: int) -> Any:
        """What a node had saved. Each value is given once: a second backward runs again."""
        if index not in self.values:
            self.values = self._run_again()
        return self.values.pop(index)

    def _run_again(self) -> dict[int, Any]:
        start = _next_number()
        with _random_state(self.random_state), enable_grad(), self.second_context:
            result = self.function(*self.args, **self.kwargs)
        nodes = _nodes_since(start, result)
        if [node.name() for node in nodes] != self.nodes:
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the "
                "original forward and recomputation.\n"
                f"Number of tensors saved during forward: {len(self.nodes)}\n"
                f"Number of tensors saved during recomputation: {len(nodes)}."
            )
        return {index: node.saved for index, node in enumerate(nodes) if node.saved is not None}


class _Forgotten:
    """Stands for the values of one node; computes them when backward reads them."""

    __slots__ = ("region", "index")

    def __init__(self, region: _Region, index: int) -> None:
        self.region, self.index = region, index

    def __iter__(self) -> Iterator[Any]:
        return iter(self.region.take(self.index))


def _nodes_since(start: int, result: Any) -> list[Node]:
    """The nodes behind a result that are younger than ``start``, in the order they were made."""
    waiting = [edge_of(tensor) for tensor in _tensors_in(result)]
    found: dict[int, Node] = {}
    while waiting:
        node = waiting.pop()
        if isinstance(node, Node) and node.sequence > start and node.sequence not in found:
            found[node.sequence] = node
            waiting += node.edges
    return [found[sequence] for sequence in sorted(found)]


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors_in(item)
    elif isinstance(value, dict):
        yield from _tensors_in(list(value.values()))


@contextlib.contextmanager
def _random_state(state: Tensor | None) -> Iterator[None]:
    """The default random stream from an earlier place, put back afterwards."""
    if state is None:
        yield
        return
    present = kkori.get_rng_state()
    kkori.set_rng_state(state)
    try:
        yield
    finally:
        kkori.set_rng_state(present)


class CheckpointFunction(Function):
    """The re-entrant variant: one node, whose backward runs forward and backward again inside."""

    @staticmethod
    def forward(ctx: Any, run_function: Callable, preserve_rng_state: bool, *args: Any) -> Any:
        """Runs without following; remembers the arguments."""
        if not any(isinstance(arg, Tensor) and arg.requires_grad for arg in args):
            warnings.warn(
                "None of the inputs have requires_grad=True. Gradients will be None",
                stacklevel=4,
            )
        ctx.run_function = run_function
        ctx.random_state = kkori.get_rng_state() if preserve_rng_state else None
        ctx.inputs = args
        ctx.save_for_backward(*[arg for arg in args if isinstance(arg, Tensor)])
        with no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Runs again, followed this time, and goes back from there."""
        saved = iter(ctx.saved_tensors)
        inputs = [
            next(saved).detach().requires_grad_(arg.requires_grad)
            if isinstance(arg, Tensor)
            else arg
            for arg in ctx.inputs
        ]
        with _random_state(ctx.random_state), enable_grad():
            outputs = ctx.run_function(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [
            (output, grad)
            for output, grad in zip(outputs, grads, strict=False)
            if isinstance(output, Tensor) and output.requires_grad
        ]
        if not pairs:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        kkori.autograd.backward([output for output, _ in pairs], [grad for _, grad in pairs])
        found = (arg.grad if isinstance(arg, Tensor) else None for arg in inputs)
        return (None, None, *found)
