"""Whole tensors compared, numbers taken apart: isclose, allclose, equal, frexp."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.core.promise import peeked
from kkori.ops.results import result_type
from kkori.ops.table import METHODS, TORCH, not_a_tensor, op, public
from kkori.tensor import Tensor

_isclose = op("isclose", lambda input, other, rtol, atol, equal_nan: np.isclose(
    input, other, rtol, atol, equal_nan))


@public(out=False)
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08,
            equal_nan: bool = False) -> Tensor:
    """Where ``|input - other| <= atol + rtol * |other|`` (``torch.isclose``)."""
    for value, name, place in ((input, "input", 1), (other, "other", 2)):
        if not isinstance(value, Tensor):
            raise not_a_tensor("isclose", name, place, value)
    if input._array.dtype != other._array.dtype:
        raise RuntimeError(errors.message(
            f"{input.dtype.alias} did not match {other.dtype.alias}",
            fix=f"convert one side: y.to({input.dtype!r})"))
    for name, limit in (("rtol", rtol), ("atol", atol)):
        if limit < 0:
            raise RuntimeError(errors.message(
                f"{name} must be greater than or equal to zero, but got {limit:g}"))
    try:
        return _isclose(input, other, rtol, atol, equal_nan)
    except ValueError:
        raise errors.not_broadcastable((input._array.shape, other._array.shape)) from None


@public(out=False)
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08,
             equal_nan: bool = False) -> bool:
    """Whether all elements are close, as isclose() has it (``torch.allclose``)."""
    return bool(isclose(input, other, rtol, atol, equal_nan)._array.all())


@public(out=False)
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements (``torch.equal``)."""
    if not isinstance(other, Tensor):
        raise not_a_tensor("equal", "other", 2, other)
    return bool(np.array_equal(peeked(input._array), peeked(other._array)))


FREXP = result_type("frexp", "mantissa", "exponent")


def frexp_gradient(gs: Any, exponent: Tensor) -> Tensor:
    return gs[0] / 2.0 ** exponent


_frexp = op("frexp", lambda input: np.frexp(input), {"input": frexp_gradient},
            outputs=("mantissa", "exponent"))


@public
def frexp(input: Tensor) -> Any:
    """Mantissas in [0.5, 1) and powers of 2 that make up the numbers (``torch.frexp``)."""
    if input.dtype.kind != types.FLOATING:
        raise RuntimeError(errors.message("torch.frexp() only supports floating-point dtypes"))
    return FREXP(_frexp(input))


# What a tensor is, as functions.

def asking(name: str) -> Any:
    """torch.is_complex and its like: the tensor's own method."""
    def function(input: Tensor) -> bool:
        return getattr(input, name)()
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"What ``Tensor.{name}`` says of `input`."
    return function


for _name in ("is_complex", "is_floating_point", "is_signed", "is_conj", "is_neg", "is_inference",
              "numel", "get_device"):
    TORCH[_name] = asking(_name)


@public(out=False)
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape."""
    return input._array.shape == other._array.shape


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both are the same elements of the same memory (``Tensor.is_set_to``)."""
    same = (self.untyped_storage() is tensor.untyped_storage()
            and self._array.shape == tensor._array.shape)
    return same and self.data_ptr() == tensor.data_ptr() and self.stride() == tensor.stride()


METHODS["is_set_to"] = is_set_to
__all__ = ["isclose", "allclose", "equal", "frexp", "is_same_size"]
