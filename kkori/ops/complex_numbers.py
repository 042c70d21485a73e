"""Complex numbers: their parts, angles and conjugates, and pairs of real numbers seen as them."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.autograd.views import overwrite
from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.table import METHODS, TORCH, op, operand, public
from kkori.tensor import Tensor

_conj = op("conj", lambda input: np.conj(input), {"input": lambda g: g.conj()},
           node="ConjBackward0")
_real = op("real", lambda input: input.real, {"input": lambda g: g + 0j}, view=True)
_imag = op("imag", lambda input: input.imag, {
    "input": lambda g: _complex(el.zero(g), g)}, view=True)


def complex_array(real: Any, imag: Any) -> Any:
    """Both parts as they are: no multiplication by 1j, which would spoil infinities."""
    shape = np.broadcast_shapes(real.shape, imag.shape)
    found = np.empty(shape, np.result_type(real.dtype, np.complex64))
    found.real, found.imag = real, imag
    return found


_complex = op("complex", complex_array,
              {"real": lambda g: g.real, "imag": lambda g: g.imag})
_angle = op("angle", lambda input: np.angle(input) if input.dtype.kind == "c" else np.where(
    np.isnan(input), input, np.where(input < 0, np.pi, 0)).astype(input.dtype),
    {"input": lambda g, input: angle_gradient(g, input)})


def angle_gradient(g: Tensor, input: Tensor) -> Tensor:
    if not input.is_complex():
        return el.zero(g)
    size = el.abs(input)
    return el.where(size == 0, 0.0j, (g * 1j) * input / el.where(size == 0, 1.0, size * size))


@public(aliases=("conj_physical",))
def conj_(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor is returned itself."""
    return _conj(input) if input.is_complex() else input


for _registry in (TORCH, METHODS):
    _registry["conj"] = _registry.pop("conj_")
METHODS["conj_physical_"] = lambda self: overwrite(self, self.conj())
for _registry in (TORCH, METHODS):  # conjugates and negatives are computed, never promised
    _registry["resolve_neg"] = _registry["resolve_conj"] = lambda input: input


@public(method=False, out=False)
def real(input: Tensor) -> Tensor:
    """The real part, a view; a real tensor is returned itself."""
    return _real(input) if input.is_complex() else input


@public(method=False, out=False)
def imag(input: Tensor) -> Tensor:
    """The imaginary part, a view; RuntimeError for real tensors."""
    if not input.is_complex():
        raise RuntimeError(errors.message(
            "imag is not implemented for tensors with non-complex dtypes."))
    return _imag(input)


METHODS["real"] = property(real)
METHODS["imag"] = property(imag)


@public(method=False)
def complex(real: Tensor, imag: Tensor) -> Tensor:
    """A complex tensor of two real ones of the same type."""
    if not {real._array.dtype.name, imag._array.dtype.name} <= {"float16", "float32", "float64"}:
        raise RuntimeError(errors.message(
            "Expected both inputs to be Half, Float or Double tensors but got "
            f"{real.dtype.alias} and {imag.dtype.alias}"))
    if real._array.dtype != imag._array.dtype:
        raise RuntimeError(errors.message(
            f"Expected object of scalar type {real.dtype.alias} but got scalar type "
            f"{imag.dtype.alias} for second argument"))
    return _complex(real, imag)


@public
def angle(input: Tensor) -> Tensor:
    """The angle of each number, in radians."""
    if input.dtype.kind < types.FLOATING:
        input = input.to(types.get_default_dtype())
    return _angle(input)


@public(method=False)
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """Complex numbers of given sizes and angles (radians)."""
    operand("polar", abs, angle, "none")
    return complex(abs * el.cos(angle), abs * el.sin(angle))


# Complex numbers as pairs.

_view_as_real = op("view_as_real", lambda input: input[..., None].view(input.real.dtype), {
    "input": lambda g: _view_as_complex(g.contiguous())}, view=True)
_view_as_complex = op("view_as_complex", lambda input: input.view(
    np.result_type(input.dtype, np.complex64))[..., 0], {
    "input": lambda g: _view_as_real(g)}, view=True)


@public(method=False, out=False)
def view_as_real(input: Tensor) -> Tensor:
    """Complex numbers as pairs of real ones in a last dimension of 2, a view."""
    if input._array.dtype.kind != "c":
        raise RuntimeError(errors.message("view_as_real is only supported for complex tensors"))
    return _view_as_real(input)


@public(method=False, out=False)
def view_as_complex(input: Tensor) -> Tensor:
    """Pairs of real numbers in a last dimension of 2 as complex ones, a view."""
    array = input._array
    if input.dtype.kind != types.FLOATING:
        raise RuntimeError(errors.message(
            "view_as_complex is only supported for half, float and double tensors, but got a "
            f"tensor of scalar type: {input.dtype.alias}"))
    if not array.ndim:
        raise RuntimeError(errors.message("Input tensor must have one or more dimensions"))
    if array.shape[-1] != 2:
        raise RuntimeError(errors.message("Tensor must have a last dimension of size 2"))
    if array.strides[-1] != array.itemsize and not input.is_meta:
        raise RuntimeError(errors.message("Tensor must have a last dimension with stride 1"))
    return _view_as_complex(input)


__all__ = ["real", "imag", "complex", "angle", "polar", "view_as_real", "view_as_complex"]
