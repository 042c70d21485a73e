"""Running an operation now: array rule in, tensor out, a node left behind where it is needed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.graph import attach
from kkori.autograd.mode import switch
from kkori.core import errors
from kkori.core.dtype import get_default_dtype
from kkori.core.meta import MetaArray, answer
from kkori.core.promotion import operands
from kkori.run.memory import keep_freed_memory
from kkori.tensor import Tensor

__all__ = ["caller", "unary_caller", "binary_caller"]

_new = object.__new__
ndarray = np.ndarray

# Division by zero, overflow and NaN are ordinary numbers here, as in PyTorch; NumPy's warnings
# about them are turned off for lines of this package only, never for the user's own.
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"kkori(\.|$)")
warnings.filterwarnings("ignore", category=np.exceptions.ComplexWarning, module=r"kkori(\.|$)")

keep_freed_memory()


def quietly(rule: Callable[..., Any], *arrays: Any) -> Any:
    """`rule` once more, for users who turn NumPy's warnings into errors: ours are not for them."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return rule(*arrays)


def caller(row: Any) -> Callable[..., Any]:
    """The function that runs `row`: tensors in (their arrays to the rule), tensor(s) out."""
    if row.view and not row.outputs:
        return view_caller(row)
    rule, view, several = row.array, row.view, bool(row.outputs)

    def call(*args: Any) -> Any:
        tape = switch.tape
        if tape is not None:
            return tape.call(call, row, args)
        arrays = [arg._array if isinstance(arg, Tensor) else arg for arg in args]
        try:
            if arrays[0].__class__ is MetaArray:
                found = answer(rule, arrays)
            else:
                found = rule(*arrays)
        except (RuntimeWarning, FloatingPointError):
            found = quietly(rule, *arrays)
        except ValueError as error:
            raise errors.named_shapes(error, arrays) from None
        if several:
            result: Any = tuple([_tensor(part) for part in found])
            if view:
                for part in result:
                    _share_with(args[0], part)
        else:
            result = _new(Tensor)
            result._array = found if isinstance(found, ndarray) else np.asarray(found)
        if switch.on and row.differentiable:
            for arg in args:
                if isinstance(arg, Tensor) and arg._requires_grad:
                    attach(row, args, result)
                    break
        return result

    return call


def view_caller(row: Any) -> Callable[..., Tensor]:
    """The same for a view of the first argument; the others are plain numbers."""
    rule, may_copy = row.array, row.view == "maybe"

    def call(input: Tensor, *args: Any) -> Tensor:
        tape = switch.tape
        if tape is not None:
            return tape.call(call, row, (input, *args))
        array = input._array
        result = _new(Tensor)
        result._array = found = rule(array, *args)
        if not may_copy or array.flags.c_contiguous or np.may_share_memory(found, array):
            _share_with(input, result)
        if input._requires_grad and switch.on and row.differentiable:
            attach(row, (input, *args), result)
        return result

    return call


def _tensor(array: Any) -> Tensor:
    tensor = _new(Tensor)
    tensor._array = array if isinstance(array, ndarray) else np.asarray(array)
    return tensor


def _share_with(source: Tensor, view: Tensor) -> None:
    """Make a view what it is: the same storage, and its base remembered."""
    view._storage = source._storage or source.shared_storage()
    view._base = base = source if source._base is None else source._base
    if base._node is not None:
        view._origin = base._node


def unary_caller(row: Any, floats: bool) -> Callable[[Tensor], Tensor]:
    """The same for an elementwise operation of one tensor; `floats`: integers become floats."""
    rule = row.array

    def call(input: Tensor) -> Tensor:
        tape = switch.tape
        if tape is not None:
            for event in tape.here.ops:  # in a hot loop: see kkori/run/tape.py
                if event.row is row:
                    promised = event.go(tape, input)
                    if promised is not None:
                        return promised
            return tape.unmatched(call, row, (input,))
        x = input._array
        if floats and x.dtype.kind in "iub":
            x = x.astype(get_default_dtype().numpy)
        try:
            found = rule(x)
        except (RuntimeWarning, FloatingPointError):
            found = quietly(rule, x)
        except TypeError as error:
            raise errors.not_implemented(row.name, x, error) from None
        result = _new(Tensor)
        result._array = found if isinstance(found, ndarray) else np.asarray(found)
        if input._requires_grad and switch.on and row.differentiable:
            attach(row, (input,), result)
        return result

    return call


def binary_caller(row: Any, floats: bool) -> Callable[[Any, Any], Tensor]:
    """The same for two operands, of which one may be a number; types are promoted here."""
    rule = row.array

    def call(input: Any, other: Any) -> Tensor:
        tape = switch.tape
        if tape is not None:
            for event in tape.here.ops:  # in a hot loop: see kkori/run/tape.py
                if event.row is row:
                    promised = event.go(tape, input, other)
                    if promised is not None:
                        return promised
            return tape.unmatched(call, row, (input, other))
        followed = False
        if isinstance(input, Tensor):
            x = input._array
            followed = input._requires_grad
        else:
            x = input
        if isinstance(other, Tensor):
            y = other._array
            if other._requires_grad:
                followed = True
            if x.__class__ is not ndarray or x.dtype is not y.dtype or (
                    floats and y.dtype.kind not in "fc"):
                x, y = _prepare(x, y, floats)
        elif other.__class__ is float and x.dtype.kind == "f" or (
                other.__class__ is int and x.dtype.kind in "if" and not floats
                and -128 <= other < 128):
            y = other
        elif is_operand(other):
            x, y = _prepare(x, other, floats)
        else:
            return NotImplemented
        try:
            found = rule(x, y)
        except (RuntimeWarning, FloatingPointError):
            found = quietly(rule, x, y)
        except ValueError:
            _raise_if_shapes_differ(x, y)
            raise
        except TypeError as error:
            raise errors.not_implemented(row.name, x, error) from None
        result = _new(Tensor)
        if found.__class__ is not ndarray:
            if found.__class__ is MetaArray and y.__class__ is MetaArray is not x.__class__:
                _prepare(x, y, floats)  # where it was not called above; checks the devices
            elif not isinstance(found, ndarray):
                found = np.asarray(found)
        result._array = found
        if followed and switch.on and row.differentiable:
            attach(row, (input, other), result)
        return result

    return call


NUMBERS = (int, float, complex, np.ndarray, np.generic)


def is_operand(value: Any) -> bool:
    """Whether `value` can stand beside a tensor in an expression."""
    return isinstance(value, (Tensor, *NUMBERS))


def _prepare(x: Any, y: Any, floats: bool) -> Any:
    """Operands of one type on one device."""
    if isinstance(x, MetaArray) != isinstance(y, MetaArray):
        for value in (x, y):
            if isinstance(value, ndarray) and not isinstance(value, MetaArray) and value.ndim:
                raise RuntimeError(errors.two_devices(x, y))
    return operands(x, y, floats=floats)


def _raise_if_shapes_differ(x: Any, y: Any) -> None:
    try:
        np.broadcast_shapes(np.shape(x), np.shape(y))
    except ValueError:
        raise errors.not_broadcastable((np.shape(x), np.shape(y))) from None


