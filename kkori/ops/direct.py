"""Rows with an array rule of their own, which half precision and shape-only arrays reach safely.

`direct` is `op` for rules that index, loop or work in place: on half-precision arrays they run
in float32, on shape-only arrays they run on zeros, of which only shape and type are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kkori.autograd.views import overwrite
from kkori.core import errors
from kkori.core.meta import MetaArray, empty
from kkori.ops.pieces import in_pieces
from kkori.ops.table import Op, not_a_tensor
from kkori.run.immediate import caller
from kkori.tensor import Tensor

__all__ = ["direct", "floats_only", "in_place", "plain", "tensors_only", "tuple_of"]

ndarray = np.ndarray


def direct(name: str, array: Callable[..., Any], grad: Any = None, *,
           outputs: Sequence[str] = (), node: str | None = None,
           pieces: bool = False) -> Callable[..., Any]:
    """A row; see `op`. The first argument of `array` is the input (or incoming gradient).

    `pieces`: the rule is elementwise, and large arrays are given to it piece by piece.
    """
    code = array.__code__
    args = code.co_varnames[:code.co_argcount]
    rule = guarded(in_pieces(array) if pieces else array)
    return caller(Op(name, "general", rule, args, grad, outputs, False, node))


def guarded(rule: Callable[..., Any]) -> Callable[..., Any]:
    """`rule` for ordinary arrays at once, for all others by way of `unusual`."""
    def run(*args: Any) -> Any:
        first = args[0]
        if first.__class__ is ndarray and first.dtype.itemsize != 2:
            return rule(*args)
        return unusual(rule, args)
    return run


def unusual(rule: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Run on zeros for shape-only arrays, in float32 for half precision."""
    if any(isinstance(arg, MetaArray) for arg in args):
        return hollow(rule(*[plain(arg) for arg in args]))
    kind = args[0].dtype
    if kind.itemsize != 2 or kind.kind not in "fV":
        return rule(*args)
    wide = [arg.astype(np.float32) if is_half(arg) else arg for arg in args]
    return narrowed(rule(*wide), kind)


def is_half(value: Any) -> bool:
    return isinstance(value, ndarray) and value.dtype.itemsize == 2 and value.dtype.kind in "fV"


def plain(value: Any) -> Any:
    """A shape-only array as zeros of its shape (a view of one zero)."""
    return value.view(ndarray) if isinstance(value, MetaArray) else value


def hollow(found: Any) -> Any:
    if isinstance(found, (ndarray, np.generic)):
        return empty(found.shape, found.dtype)
    return tuple(hollow(part) for part in found) if isinstance(found, tuple) else found


def narrowed(found: Any, kind: Any) -> Any:
    """float32 results back in half precision."""
    if isinstance(found, tuple):
        return tuple(narrowed(part, kind) for part in found)
    return found.astype(kind) if found.dtype == np.float32 else found


def in_place(input: Tensor, function: Callable[..., Tensor], *args: Any) -> Tensor:
    """Put ``function(input, *args)`` into `input`; `function` is that of one row."""
    return overwrite(input, function(input, *args))


def tuple_of(value: Any, length: int) -> tuple[int, ...]:
    """A number repeated `length` times, or a sequence (of one, or of `length`) as a tuple."""
    if isinstance(value, (int, np.integer)):
        return (int(value),) * length
    found = tuple(int(item) for item in value)
    return found * length if len(found) == 1 else found


def tensors_only(name: str, **arguments: Any) -> None:
    """TypeError for the first of the arguments (in the function's order) that is no tensor."""
    for position, (argument, value) in enumerate(arguments.items(), 1):
        if not isinstance(value, Tensor):
            raise not_a_tensor(name, argument, position, value)


def floats_only(input: Any, name: str, kernel: str) -> None:
    """TypeError where `input` is no tensor, NotImplementedError where it is not floating."""
    if not isinstance(input, Tensor):
        raise not_a_tensor(name, "input", 1, input)
    if input._array.dtype.kind not in "fV":
        raise not_for(kernel, input)


def not_for(kernel: str, input: Tensor) -> NotImplementedError:
    """A type for which PyTorch has no kernel of this name."""
    return NotImplementedError(errors.message(
        f"\"{kernel}\" not implemented for '{input.dtype.alias}'", fix="x.float()"))
