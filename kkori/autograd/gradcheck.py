"""Gradients compared with finite differences: `gradcheck` and `gradgradcheck`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.api import grad, several
from kkori.tensor import Tensor, wrap

__all__ = ["gradcheck", "gradgradcheck", "GradcheckError"]


class GradcheckError(RuntimeError):
    """The gradient of a function is not what finite differences say."""


def outputs_of(function: Callable[..., Any], inputs: Any) -> list[Tensor]:
    """The differentiable outputs of one call."""
    found = function(*inputs)
    parts = [found] if isinstance(found, Tensor) else list(found)
    return [part for part in parts if isinstance(part, Tensor) and part._requires_grad]


def real_parts(outputs: Any) -> list[Any]:
    """Arrays of the outputs' numbers; a complex output counts as two real ones."""
    found = []
    for part in outputs:
        array = part._array
        found += [array.real.copy(), array.imag.copy()] if array.dtype.kind == "c" else [
            array.copy()]
    return found


def numerical(function: Callable[..., Any], inputs: Any, which: Tensor, eps: float) -> list[Any]:
    """Central differences: for each output a matrix (elements of `which`, elements of it)."""
    flat = which._array.reshape(-1)
    rows: list[list[Any]] = []
    for place in range(flat.size):
        columns = []
        for step in _steps(flat.dtype, eps):
            kept = flat[place]
            flat[place] = kept + step
            above = real_parts(outputs_of(function, inputs))
            flat[place] = kept - step
            below = real_parts(outputs_of(function, inputs))
            flat[place] = kept
            columns.append([(a - b).reshape(-1) / (2 * eps)
                            for a, b in zip(above, below, strict=True)])
        rows.append(columns[0] if len(columns) == 1 else [
            real + 1j * imag for real, imag in zip(*columns, strict=True)])
    return [np.stack(column) for column in zip(*rows, strict=True)] if rows else []


def _steps(kind: Any, eps: float) -> tuple[complex, ...]:
    return (eps, 1j * eps) if kind.kind == "c" else (eps,)


def analytical(function: Callable[..., Any], inputs: Any, which: Tensor) -> list[Any]:
    """The same matrices by going back once for each element of each output (or its parts)."""
    found = []
    starts = [(output, one) for output in outputs_of(function, inputs)
              for one in ((1, 1j) if output._array.dtype.kind == "c" else (1,))]
    for output, one in starts:
        columns = []
        for place in range(output._array.size):
            start = np.zeros(output._array.size, output._array.dtype)
            start[place] = one
            (g,) = grad(output, which, wrap(start.reshape(output._array.shape)),
                        retain_graph=True, allow_unused=True)
            columns.append(np.zeros(which._array.size) if g is None else g._array.reshape(-1))
        found.append(np.stack(columns, 1) if columns else np.zeros((which._array.size, 0)))
    return found


def gradcheck(func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5,
              rtol: float = 1e-3, raise_exception: bool = True, nondet_tol: float = 0.0,
              check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
              check_batched_grad: bool = False, fast_mode: bool = False, **ignored: Any) -> bool:
    """Whether gradients of `func` agree with central differences of width `eps`.

    Inputs that require gradients should be float64. GradcheckError (or False) where they differ
    by more than ``atol + rtol * |difference quotient|`` (``torch.autograd.gradcheck``).
    """
    given = several(inputs)
    for number, which in enumerate(given):
        if not isinstance(which, Tensor) or not which._requires_grad:
            continue
        pairs = zip(analytical(func, given, which), numerical(func, given, which, eps),
                    strict=True)
        for output, (ours, theirs) in enumerate(pairs):
            if not np.allclose(ours, theirs, rtol, atol):
                if not raise_exception:
                    return False
                raise GradcheckError(
                    f"Jacobian mismatch for output {output} with respect to input {number},\n"
                    f"numerical:{theirs}\nanalytical:{ours}\n")
    return True


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *,
                  eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
                  raise_exception: bool = True, **ignored: Any) -> bool:
    """Whether second derivatives of `func` agree with differences of its gradients."""
    given = several(inputs)
    generator = np.random.default_rng(0)
    starts = several(grad_outputs) if grad_outputs is not None else [
        _random_like(part, generator) for part in outputs_of(func, given)]
    places = [k for k, part in enumerate(given) if isinstance(part, Tensor) and part._requires_grad]

    def gradients(*args: Any) -> tuple[Any, ...]:
        inner = list(args[:len(given)])
        outputs = outputs_of(func, inner)
        found = grad(outputs, [inner[k] for k in places], list(args[len(given):]),
                     create_graph=True, allow_unused=True)
        return tuple(part for part in found if part is not None and part._requires_grad)

    return gradcheck(gradients, [*given, *starts], eps=eps, atol=atol, rtol=rtol,
                     raise_exception=raise_exception)


def _random_like(part: Tensor, generator: Any) -> Tensor:
    found = wrap(generator.standard_normal(part._array.shape).astype(part._array.dtype))
    return found.requires_grad_(True)
