"""What users call: `backward`, `torch.autograd.grad`, hooks on tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.autograd import engine
from kkori.autograd.graph import _Handle
from kkori.autograd.mode import after_backward, hooked, switch
from kkori.core import errors
from kkori.core.meta import MetaArray
from kkori.core.promise import model_of, settle
from kkori.tensor import Tensor, wrap

__all__ = ["backward", "grad"]


def several(value: Any) -> list[Any]:
    """One tensor or a sequence of them, as a list."""
    return [value] if isinstance(value, Tensor) else list(value)


def first_gradients(roots: list[Tensor], given: list[Any]) -> list[Tensor]:
    """The gradients to start from: those given, 1 for numbers."""
    found = []
    for number, (root, gradient) in enumerate(zip(roots, given, strict=True)):
        if not root._requires_grad:
            raise RuntimeError(errors.message(
                f"element {number} of tensors does not require grad and does not have a grad_fn",
                what="nothing on the way to it requires gradients, or the way was cut: by "
                     "torch.no_grad(),\n.data, .detach(), .item(), torch.tensor(loss), argmax or a "
                     "comparison",
                fix="w = torch.ones(2, requires_grad=True) before the computation"))
        if gradient is None:
            if root._array.size != 1:
                raise RuntimeError(errors.message(
                    "grad can be implicitly created only for scalar outputs",
                    what=f"this output has shape {errors.of_shape(root._array.shape)}",
                    fix="make one number of it: loss.mean().backward()"))
            gradient = wrap(one_like(root._array))
            gradient._implicit = True
        elif gradient._array.shape != root._array.shape:
            raise RuntimeError(errors.message(
                f"Mismatch in shape: grad_output[{number}] has a shape of {gradient.shape} and "
                f"output[{number}] has a shape of {root.shape}.",
                fix="y.backward(torch.ones_like(y))"))
        found.append(gradient)
    return found


def one_like(array: Any) -> Any:
    """An array of one 1, in the shape and type of `array`."""
    if isinstance(array, MetaArray):
        return array
    return np.array(1, array.dtype) if not array.ndim else np.ones(array.shape, array.dtype)


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None,
             create_graph: bool = False, grad_variables: Any = None, inputs: Any = None) -> None:
    """Add the gradients of `tensors` to ``.grad`` of the leaves they came from.

    `grad_tensors` start the walk (1 for single numbers). RuntimeError for outputs that do not
    require gradients or are not single numbers (``torch.autograd.backward``).
    """
    roots = several(tensors)
    given = [None] * len(roots) if grad_tensors is None else several(grad_tensors)
    goals = None if inputs is None else several(inputs)
    if goals == []:
        raise RuntimeError(errors.message("'inputs' argument to backward() cannot be empty."))
    keep = create_graph if retain_graph is None else retain_graph
    engine.backward(roots, first_gradients(roots, given), keep, create_graph, goals)
    if switch.tape is None:
        after_backward()


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
         is_grads_batched: bool = False, materialize_grads: bool = False) -> tuple[Any, ...]:
    """Gradients of `outputs` for `inputs`, returned instead of accumulated.

    RuntimeError where an input was not used, unless `allow_unused` (``torch.autograd.grad``).
    """
    roots, goals = several(outputs), several(inputs)
    given = [None] * len(roots) if grad_outputs is None else several(grad_outputs)
    starts = first_gradients(roots, given)
    for goal in goals:
        if not goal._requires_grad:
            raise RuntimeError(errors.message(
                "One of the differentiated Tensors does not require grad",
                fix="x.requires_grad_() before the computation"))
    keep = create_graph if retain_graph is None else retain_graph
    found = engine.grad_of(roots, starts, keep, create_graph, goals)
    if switch.tape is None and not keep:
        after_backward()
    return tuple(_answer(number, goal, value, allow_unused, materialize_grads)
                 for number, (goal, value) in enumerate(zip(goals, found, strict=True)))


def _answer(number: int, goal: Tensor, value: Any, allow_unused: Any, materialize: bool) -> Any:
    if value is not None:
        return value
    if materialize:
        return wrap(np.zeros_like(model_of(goal._array)))
    if not allow_unused:
        raise RuntimeError(errors.message(
            f"The differentiated Tensor at index {number} appears to not have been used in the "
            "graph. Set allow_unused=True if this is the desired behavior.",
            what=f"inputs[{number}] has shape {errors.of_shape(goal._array.shape)}",
            fix="pass the tensor that was used itself, not a copy, view or .data of it"))
    return None


# Methods of Tensor.

def tensor_backward(self: Tensor, gradient: Any = None, retain_graph: bool | None = None,
                    create_graph: bool = False, inputs: Any = None) -> None:
    """Follow the tail home: add gradients of this tensor to ``.grad`` of its leaves.

    >>> import kkori as torch
    >>> x = torch.tensor(8.0, requires_grad=True)
    >>> (x ** 2).backward()
    >>> x.grad
    tensor(16.)
    """
    tape = switch.tape
    if tape is not None and gradient is None and inputs is None and not retain_graph and (
            not create_graph):
        for entry in tape.here.ends:  # in a hot loop: see kkori/run/tape.py
            if entry.follow is not None and entry.follow(tape, self):
                return
    backward([self], [gradient], retain_graph, create_graph, inputs=inputs)


def retain_grad(self: Tensor) -> None:
    """Keep the gradient of a result too, not only of leaves."""
    if not self._requires_grad:
        raise RuntimeError(errors.message(
            "can't retain_grad on Tensor that has requires_grad=False"))
    settle(self)
    if self._node is None or self._keeps_grad:
        return
    if switch.tape is not None:
        switch.tape.in_place()
    self._keeps_grad = True
    node = self._node
    node.keepers = [*(node.keepers or ()), (self._output_nr, self)]


def register_hook(self: Tensor, hook: Any) -> Any:
    """Call ``hook(grad)`` when this tensor's gradient is known; what it returns replaces it."""
    if not self._requires_grad:
        raise RuntimeError(errors.message(
            "cannot register a hook on a tensor that doesn't require gradient"))
    settle(self)
    if switch.tape is not None:
        switch.tape.in_place()
    if self._node is None:
        return _Handle(_leaf_hooks(self)[0], hook)
    node = self._node
    if node.prehooks is None:
        node.prehooks = {}
    return _Handle(node.prehooks, (self._output_nr, hook))


def register_post_accumulate_grad_hook(self: Tensor, hook: Any) -> Any:
    """Call ``hook(tensor)`` after a gradient was added to ``tensor.grad`` of a leaf."""
    if self._node is not None:
        raise RuntimeError(errors.message(
            "post accumulate grad hooks cannot be registered on non-leaf tensors"))
    return _Handle(_leaf_hooks(self)[1], hook)


def _leaf_hooks(tensor: Tensor) -> tuple[dict[int, Any], dict[int, Any]]:
    if tensor._hooks is None:
        tensor._hooks = ({}, {})
        hooked[0] = True
    return tensor._hooks


for _name, _function in {
        "backward": tensor_backward, "retain_grad": retain_grad, "register_hook": register_hook,
        "register_post_accumulate_grad_hook": register_post_accumulate_grad_hook}.items():
    setattr(Tensor, _name, _function)
