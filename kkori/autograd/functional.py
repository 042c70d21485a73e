"""Derivatives of functions: jacobian, hessian, vjp, jvp, hvp, vhp."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.api import grad
from kkori.autograd.mode import enable_grad
from kkori.tensor import Tensor, wrap

__all__ = ["jacobian", "hessian", "vjp", "jvp", "hvp", "vhp"]


def as_tuple(value: Any) -> tuple[Any, ...]:
    """One tensor or several, as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def fresh(inputs: Any, create_graph: bool) -> tuple[Tensor, ...]:
    """Inputs to differentiate by: tied to the originals where a graph is wanted."""
    if create_graph:
        return tuple(part.view_as(part) if part._requires_grad
                     else part.detach().requires_grad_() for part in inputs)
    return tuple(part.detach().requires_grad_() for part in inputs)


def called(func: Callable[..., Any], inputs: Any) -> tuple[tuple[Tensor, ...], bool]:
    """Outputs of one followed call, and whether they came as a tuple."""
    with enable_grad():
        found = func(*inputs)
    outputs = as_tuple(found)
    for part in outputs:
        if not isinstance(part, Tensor):
            name = sys._getframe(1).f_code.co_name
            raise TypeError(
                f"The outputs of the user-provided function given to {name} must be either a "
                "Tensor or a tuple of Tensors but the given outputs of the user-provided function "
                f"has type {type(part)}.")
    return outputs, isinstance(found, tuple)


def unwrapped(values: tuple[Any, ...], several: bool) -> Any:
    return values if several else values[0]


def zeros_for(value: Any, like: Tensor) -> Tensor:
    return wrap(np.zeros_like(like._array)) if value is None else value


def one_jacobian(output: Tensor, inputs: Any, create_graph: bool) -> list[Tensor]:
    """Rows of derivatives of every element of `output`, shaped (output, input)."""
    from kkori.ops.move import stack
    rows: list[Any] = [[] for _ in inputs]
    for place in range(output._array.size):
        if not output._requires_grad:
            found: Any = [None] * len(inputs)
        else:
            found = grad(output.reshape(-1)[place], inputs, retain_graph=True,
                         create_graph=create_graph, allow_unused=True)
        for column, value, part in zip(rows, found, inputs, strict=True):
            column.append(zeros_for(value, part))
    return [stack(column).reshape((*output.shape, *part.shape)) if column else
            part.new_zeros((*output.shape, *part.shape))
            for column, part in zip(rows, inputs, strict=True)]


def jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool = False,
             strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:
    """All first derivatives: shape (*output, *input) (``torch.autograd.functional.jacobian``)."""
    points = fresh(as_tuple(inputs), create_graph)
    outputs, many_out = called(func, points)
    rows = tuple(unwrapped(tuple(one_jacobian(output, points, create_graph)),
                           isinstance(inputs, tuple)) for output in outputs)
    return unwrapped(rows, many_out)


def hessian(func: Callable[..., Any], inputs: Any, create_graph: bool = False,
            strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:
    """All second derivatives of a function with one number out."""
    def gradients(*points: Tensor) -> Any:
        outputs, _ = called(func, points)
        if outputs[0]._array.size != 1:
            raise RuntimeError("The Tensor returned by the function given to hessian should "
                               "contain a single element")
        found = grad(outputs[0].sum(), points, create_graph=True, allow_unused=True)
        values = tuple(zeros_for(value, part) for value, part in zip(found, points, strict=True))
        return unwrapped(values, isinstance(inputs, tuple))
    return jacobian(gradients, inputs, create_graph)


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """Outputs, and `v` times the jacobian."""
    points = fresh(as_tuple(inputs), create_graph)
    outputs, many = called(func, points)
    starts = None if v is None else as_tuple(v)
    found = grad(outputs, points, starts, create_graph=create_graph, allow_unused=True)
    values = tuple(zeros_for(value, part) for value, part in zip(found, points, strict=True))
    kept = outputs if create_graph else tuple(part.detach() for part in outputs)
    return unwrapped(kept, many), unwrapped(values, isinstance(inputs, tuple))


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """Outputs, and the jacobian times `v`, by going back twice."""
    points = fresh(as_tuple(inputs), create_graph)
    outputs, many = called(func, points)
    directions = as_tuple(v) if v is not None else tuple(
        wrap(np.ones_like(part._array)) for part in points)
    dummies = tuple(wrap(np.zeros_like(part._array)).requires_grad_() for part in outputs)
    back = grad(outputs, points, dummies, create_graph=True, allow_unused=True)
    used = [(value, direction) for value, direction in zip(back, directions, strict=True)
            if value is not None and value._requires_grad]
    found: Any = [None] * len(dummies)
    if used:
        found = grad([value for value, _ in used], dummies, [d for _, d in used],
                     create_graph=create_graph, allow_unused=True)
    values = tuple(zeros_for(value, part) for value, part in zip(found, outputs, strict=True))
    kept = outputs if create_graph else tuple(part.detach() for part in outputs)
    return unwrapped(kept, many), unwrapped(values, many)


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """The function's number, and `v` times its hessian."""
    points = fresh(as_tuple(inputs), create_graph)
    outputs, many = called(func, points)
    first = grad(outputs[0], points, create_graph=True, allow_unused=True)
    pairs = [(value, direction) for value, direction in zip(
        first, as_tuple(v) if v is not None else [None] * len(points), strict=True)
        if value is not None and value._requires_grad]
    second = grad([value for value, _ in pairs], points, [d for _, d in pairs],
                  create_graph=create_graph, allow_unused=True) if pairs else [None] * len(points)
    values = tuple(zeros_for(value, part) for value, part in zip(second, points, strict=True))
    kept = outputs if create_graph else tuple(part.detach() for part in outputs)
    return unwrapped(kept, many), unwrapped(values, isinstance(inputs, tuple))


hvp = vhp  # the hessian is symmetric
