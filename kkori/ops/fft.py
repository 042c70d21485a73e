"""``torch.fft``: discrete Fourier transforms of complex, real and Hermitian signals.

Three rows are all that is computed: complex to complex along several dimensions, real to half a
spectrum and back along one. `scale` is a factor, `forward` the sign of the exponent (minus).
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops.create import finish
from kkori.ops.linalg import factored
from kkori.ops.namespaces import member
from kkori.ops.table import TORCH, not_a_tensor, type_name
from kkori.tensor import Tensor, dimension, wrap

__all__ = ["complex_to_complex", "real_to_half", "half_to_real", "fftfreq", "rfftfreq",
           "fftshift", "ifftshift"]


# Rows. NumPy's norm "backward" leaves the transform without a factor, "forward" its inverse.

def scaled(found: Any, scale: float) -> Any:
    return found if scale == 1 else np.multiply(found, scale, dtype=found.dtype)


def complex_array(input: Any, dims: Any, scale: Any, forward: Any) -> Any:
    for dim in dims:
        input = np.fft.fft(input, axis=dim) if forward else \
            np.fft.ifft(input, axis=dim, norm="forward")
    return scaled(input, scale)


complex_to_complex = factored("fft_c2c", complex_array, {
    "input": lambda g, dims, scale, forward: complex_to_complex(g, dims, scale, not forward)},
    node="FftC2CBackward0")


def half_array(input: Any, dim: Any, scale: Any, forward: Any) -> Any:
    """The first half of the spectrum; the rest is its mirror image, conjugated."""
    found = scaled(np.fft.rfft(input, axis=dim), scale)
    return found if forward else np.conj(found)


def half_gradient(g: Tensor, input_shape: Any, dim: int, scale: float, forward: bool) -> Tensor:
    missing = input_shape[dim] - g._array.shape[dim]
    whole = resized(g, dim, input_shape[dim]) if missing else g
    return complex_to_complex(whole, (dim,), scale, not forward).real


real_to_half = factored("fft_r2c", half_array, {"input": half_gradient}, node="FftR2CBackward0")


def real_array(input: Any, dim: Any, scale: Any, forward: Any, size: Any) -> Any:
    """The real signal of `size` numbers whose half spectrum is `input`."""
    whole = np.conj(input) if forward else input
    return scaled(np.fft.irfft(whole, size, axis=dim, norm="forward"), scale)


def real_gradient(g: Tensor, dim: int, scale: float, forward: bool, size: int) -> Tensor:
    """Frequencies that stand for their mirror image too count twice."""
    found = real_to_half(g, dim, scale, not forward)
    length = found._array.shape[dim]
    weight = np.ones(length, g._array.dtype)
    weight[1:size - length + 1] = 2
    return found * wrap(weight.reshape((-1,) + (1,) * (found._array.ndim - dim - 1)))


half_to_real = factored("fft_c2r", real_array, {"input": real_gradient}, node="FftC2RBackward0")


# Arguments.

def resized(input: Tensor, dim: int, length: int) -> Tensor:
    """Cut off, or continued with zeros, to `length` along `dim`."""
    found = input._array.shape[dim]
    if length <= found:
        return input if length == found else input.narrow(dim, 0, length)
    shape = input._array.shape
    zeros = input.new_zeros((*shape[:dim], length - found, *shape[dim + 1:]))
    result: Tensor = TORCH["cat"]([input, zeros], dim)
    return result


def scale_of(norm: Any, forward: bool, count: int) -> float:
    """The factor that `norm` ("backward", "forward" or "ortho") asks of this direction."""
    if norm == "ortho":
        return 1 / sqrt(count)
    if norm not in (None, "backward", "forward"):
        raise RuntimeError(errors.message(f'Invalid normalization mode: "{norm}"',
                                          fix="norm is 'backward', 'forward' or 'ortho'"))
    return 1 / count if (norm == "forward") == forward else 1.0


def in_floats(name: str, input: Any, *, complex_too: bool = True) -> Tensor:
    """`input` in a type that has a transform: integers as default floats."""
    if not isinstance(input, Tensor):
        raise not_a_tensor(f"fft_{name}", "input", 1, input)
    kind = input._array.dtype
    if kind.kind == "c" and not complex_too:
        words = "a real-valued" if name in ("rfftn", "rfft2") else "a real"
        raise RuntimeError(errors.message(
            f"{'rfftn' if name == 'rfft2' else name} expects {words} input tensor, but got "
            f"{input.dtype.alias}", fix=f"torch.fft.{name.lstrip('ir')}(x) takes complex numbers"))
    if kind.kind in "biu":
        return input.to(types.get_default_dtype())
    if kind.itemsize == 2:
        raise RuntimeError(errors.message(f"Unsupported dtype {input.dtype.alias}",
                                          fix="x.float()"))
    return input


def as_complex(input: Tensor) -> Tensor:
    return input if input.is_complex() else input.to(input.dtype.to_complex())


def checked_length(name: str, n: Any, found: int) -> int:
    """The number of data points, at least 1."""
    if n is None:
        n = found
    elif not isinstance(n, (int, np.integer)):
        raise TypeError(errors.message(
            f"fft_{name}(): argument 'n' (position 2) must be int, not {type_name(n)}"))
    if n < 1:
        raise RuntimeError(errors.message(f"Invalid number of data points ({n}) specified"))
    return int(n)


def one_dimension(name: str, input: Tensor, dim: Any) -> int:
    if not isinstance(dim, (int, np.integer)):
        raise TypeError(errors.message(
            f"fft_{name}(): argument 'dim' must be int, not {type_name(dim)}"))
    if not input._array.ndim:
        raise IndexError(errors.message(
            f"Dimension specified as {dim} but tensor has no dimensions"))
    return dimension(int(dim), input._array.ndim)


def dims_and_lengths(input: Tensor, s: Any, dim: Any) -> tuple[list[int], list[int]]:
    """The dimensions to transform, and the lengths given for them (-1: as it is)."""
    shape, ndim = input._array.shape, input._array.ndim
    if s is not None:
        s = [int(s)] if isinstance(s, int) else [int(n) for n in s]
    if dim is not None:
        given = [dim] if isinstance(dim, int) else list(dim)
        dims = [dimension(int(d), ndim) for d in given]
        if len(set(dims)) != len(dims):
            raise RuntimeError(errors.message("FFT dims must be unique"))
        if s is not None and len(s) != len(dims):
            raise RuntimeError(errors.message(
                "When given, dim and shape arguments must have the same length"))
    elif s is None:
        dims = list(range(ndim))
    else:
        if len(s) > ndim:
            raise RuntimeError(errors.message(
                f"Got shape with {len(s)} values but input tensor only has {ndim} dimensions."))
        dims = list(range(ndim - len(s), ndim))
    sizes = [shape[d] if s is None or s[k] == -1 else s[k] for k, d in enumerate(dims)]
    return dims, sizes


def check_lengths(sizes: Any) -> None:
    for n in sizes:
        if n < 1:
            raise RuntimeError(errors.message(f"Invalid number of data points ({n}) specified"))


# Along several dimensions; along one is the same with one.

def transform(input: Tensor, dims: Any, sizes: Any, norm: Any, forward: bool) -> Tensor:
    """Complex to complex along `dims`, made `sizes` long first."""
    check_lengths(sizes)
    input, count = as_complex(input), 1
    for dim, size in zip(dims, sizes, strict=True):
        input, count = resized(input, dim, size), count * size
    found: Tensor = complex_to_complex(input, tuple(dims), scale_of(norm, forward, count), forward)
    return found


def transform_real(input: Tensor, dims: Any, sizes: Any, norm: Any, forward: bool) -> Tensor:
    """Real to half a spectrum along the last of `dims`, complex to complex along the others."""
    check_lengths(sizes)
    for dim, size in zip(dims, sizes, strict=True):
        input = resized(input, dim, size)
    found: Tensor = real_to_half(input, dims[-1], scale_of(norm, forward, sizes[-1]), forward)
    return transform(found, dims[:-1], sizes[:-1], norm, forward) if dims[1:] else found


def transform_back(input: Tensor, dims: Any, sizes: Any, norm: Any, forward: bool) -> Tensor:
    """Half a spectrum to real along the last of `dims`, after the others."""
    check_lengths(sizes)
    input = as_complex(input)
    if dims[1:]:
        input = transform(input, dims[:-1], sizes[:-1], norm, forward)
    last, size = dims[-1], sizes[-1]
    input = resized(input, last, size // 2 + 1)
    found: Tensor = half_to_real(input, last, scale_of(norm, forward, size), forward, size)
    return found


# name: (what computes it, forward, real input only, half a spectrum comes in)
KINDS: dict[str, tuple[Callable[..., Tensor], bool, bool, bool]] = {
    "fft": (transform, True, False, False),
    "ifft": (transform, False, False, False),
    "rfft": (transform_real, True, True, False),
    "irfft": (transform_back, False, False, True),
    "hfft": (transform_back, True, False, True),
    "ihfft": (transform_real, False, True, False),
}
WORDS = {"fft": "The Fourier transform", "ifft": "The inverse Fourier transform",
         "rfft": "Half the Fourier transform of real numbers",
         "irfft": "The real signal of half a spectrum",
         "hfft": "The real Fourier transform of half a Hermitian signal",
         "ihfft": "Half the inverse Fourier transform of real numbers"}


def along_one(kind: str) -> Any:
    """torch.fft.fft and its like."""
    compute, forward, real_only, half = KINDS[kind]

    def function(input: Tensor, n: int | None = None, dim: int = -1,
                 norm: str | None = None) -> Tensor:
        input = in_floats(kind, input, complex_too=not real_only)
        place = one_dimension(kind, input, dim)
        found = input._array.shape[place]
        size = checked_length(kind, n, 2 * (found - 1) if half else found)
        return compute(input, [place], [size], norm, forward)
    function.__doc__ = f"{WORDS[kind]} along `dim`, of `n` points (``torch.fft.{kind}``)."
    return member("fft", name=kind)(function)


def along_several(kind: str) -> Any:
    """torch.fft.fftn and its like; returns the function without its public name."""
    compute, forward, real_only, half = KINDS[kind]

    def function(input: Tensor, s: Any = None, dim: Any = None,
                 norm: str | None = None) -> Tensor:
        if kind == "ihfft" and isinstance(input, Tensor) and input.is_complex():
            raise RuntimeError(errors.message("Only supports floating-point dtypes, but found: "
                                              f"{input.dtype.alias}"))
        input = in_floats(f"{kind}n", input, complex_too=not real_only)
        dims, sizes = dims_and_lengths(input, s, dim)
        if not dims and kind not in ("fft", "ifft"):
            raise RuntimeError(errors.message(f"{kind}n must transform at least one axis"))
        if half and (s is None or (s if isinstance(s, int) else list(s)[-1]) == -1):
            sizes[-1] = 2 * (input._array.shape[dims[-1]] - 1)
        return compute(input, dims, sizes, norm, forward)
    function.__doc__ = f"{WORDS[kind]} along all of `dim` (``torch.fft.{kind}n``)."
    return function


def along_two(kind: str, several: Any) -> Any:
    """torch.fft.fft2 and its like: along the last two dimensions."""
    def function(input: Tensor, s: Any = None, dim: Any = (-2, -1),
                 norm: str | None = None) -> Tensor:
        found: Tensor = several(input, s, dim, norm)
        return found
    function.__doc__ = f"{WORDS[kind]} along two dimensions (``torch.fft.{kind}2``)."
    return member("fft", name=f"{kind}2")(function)


for _kind in KINDS:
    along_one(_kind)
    _several = along_several(_kind)
    member("fft", name=f"{_kind}n")(_several)
    along_two(_kind, _several)


# Frequencies and their order.

def frequencies(name: str, n: Any, d: float, dtype: Any, device: Any, requires_grad: bool,
                numbers: Callable[[int], Any]) -> Tensor:
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool):
        raise TypeError(errors.message(
            f"fft_{name}(): argument 'n' (position 1) must be int, not {type_name(n)}"))
    row = dtype or types.get_default_dtype()
    if row.kind < types.FLOATING:
        raise RuntimeError(errors.message(f"{name} requires a floating point or complex dtype"))
    found = (numbers(int(n)) * np.true_divide(1.0, n * d)).astype(row.numpy)
    return finish(found, device, requires_grad)


@member("fft")
def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, layout: Any = None, device: Any = None,
            requires_grad: bool = False) -> Tensor:
    """The frequencies of ``fft`` of `n` samples `d` apart: 0, positive, negative ones."""
    return frequencies("fftfreq", n, d, dtype, device, requires_grad, lambda count: np.concatenate(
        [np.arange((count + 1) // 2), np.arange(-(count // 2), 0)]))


@member("fft")
def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, layout: Any = None,
             device: Any = None, requires_grad: bool = False) -> Tensor:
    """The frequencies of ``rfft`` of `n` samples `d` apart."""
    return frequencies("rfftfreq", n, d, dtype, device, requires_grad,
                       lambda count: np.arange(count // 2 + 1))


def shifted(input: Tensor, dim: Any, steps: Callable[[int], int]) -> Tensor:
    """Rolled along `dim` (all by default) by ``steps(length)``."""
    ndim = input._array.ndim
    given = range(ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = [dimension(int(d), ndim) for d in given]
    if not dims:
        return input.clone()
    found: Tensor = TORCH["roll"](input, [steps(input._array.shape[d]) for d in dims], dims)
    return found


@member("fft", out=False)
def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The zero frequency moved to the middle."""
    return shifted(input, dim, lambda length: length // 2)


@member("fft", out=False)
def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The zero frequency moved back to the front: undoes ``fftshift``."""
    return shifted(input, dim, lambda length: (length + 1) // 2)
