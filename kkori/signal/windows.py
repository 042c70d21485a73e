"""``torch.signal.windows``: window functions, symmetric unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.core.layout import strided
from kkori.ops.create import finish
from kkori.ops.tapers import bessel, cosines, places, triangle
from kkori.tensor import Tensor

__all__ = ["bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine",
           "general_hamming", "hamming", "hann", "kaiser", "nuttall"]


def made(name: str, M: int, shape: Callable[[], Any], dtype: Any, layout: Any, device: Any,
         requires_grad: bool) -> Tensor:
    """The window that `shape` gives, after the checks that all of them share."""
    row = dtype or types.get_default_dtype()
    if M < 0:
        raise ValueError(errors.message(
            f"{name} requires non-negative window length, got M={M}"))
    if layout is not strided:
        raise ValueError(errors.message(
            f"{name} is implemented for strided tensors only, got: {layout}"))
    if row not in (types.float32, types.float64):
        raise ValueError(errors.message(
            f"{name} expects float32 or float64 dtypes, got: {row!r}", fix="dtype=torch.float32"))
    found = np.asarray(shape()) if M else np.zeros(0)
    return finish(found.astype(row.numpy), device, requires_grad)


def from_center(M: int, sym: bool) -> Any:
    """Whole or half steps from the middle of the window."""
    return np.arange(M) - (M if not sym and M > 1 else M - 1) / 2


def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True,
                dtype: Any = None, layout: Any = strided, device: Any = None,
                requires_grad: bool = False) -> Tensor:
    """exp(-|k - center| / tau); the center is the middle by default."""
    if tau <= 0:
        raise ValueError(errors.message(f"Tau must be positive, got: {tau} instead."))
    if sym and center is not None:
        raise ValueError(errors.message("Center must be None for symmetric windows"))
    middle = (M if not sym and M > 1 else M - 1) / 2 if center is None else center
    return made("exponential", M, lambda: np.exp(-np.abs(np.arange(M) - middle) / tau), dtype,
                layout, device, requires_grad)


def cosine(M: int, *, sym: bool = True, dtype: Any = None, layout: Any = strided,
           device: Any = None, requires_grad: bool = False) -> Tensor:
    """Half a wave, not quite to its zeros."""
    whole = M if sym or M == 1 else M + 1
    return made("cosine", M, lambda: np.sin(np.pi / whole * (np.arange(M) + 0.5)), dtype, layout,
                device, requires_grad)


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, dtype: Any = None,
             layout: Any = strided, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A normal curve of `std` samples."""
    if std <= 0:
        raise ValueError(errors.message(
            f"Standard deviation must be positive, got: {std} instead."))
    return made("gaussian", M, lambda: np.exp(-(from_center(M, sym) / std) ** 2 / 2), dtype,
                layout, device, requires_grad)


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, dtype: Any = None,
           layout: Any = strided, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A Bessel function of a half circle."""
    if beta < 0:
        raise ValueError(errors.message(f"beta must be non-negative, got: {beta} instead."))
    return made("kaiser", M, lambda: bessel(places(M, not sym), beta), dtype, layout, device,
                requires_grad)


def bartlett(M: int, *, sym: bool = True, dtype: Any = None, layout: Any = strided,
             device: Any = None, requires_grad: bool = False) -> Tensor:
    """A triangle."""
    return made("bartlett", M, lambda: triangle(places(M, not sym)), dtype, layout, device,
                requires_grad)


def general_cosine(M: int, *, a: Iterable[float], sym: bool = True, dtype: Any = None,
                   layout: Any = strided, device: Any = None,
                   requires_grad: bool = False) -> Tensor:
    """A sum of cosines with weights `a`."""
    if not isinstance(a, Iterable):
        raise TypeError(errors.message("Coefficients must be a list/tuple"))
    weights = list(a)
    if not weights:
        raise ValueError(errors.message("Coefficients cannot be empty"))
    return made("general_cosine", M, lambda: cosines(places(M, not sym), weights), dtype, layout,
                device, requires_grad)


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, **options: Any) -> Tensor:
    """``alpha - (1 - alpha) cos``."""
    return general_cosine(M, a=[alpha, 1 - alpha], sym=sym, **options)


def hamming(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """A raised cosine that does not quite end at 0."""
    return general_hamming(M, sym=sym, **options)


def hann(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """A raised cosine."""
    return general_hamming(M, alpha=0.5, sym=sym, **options)


def blackman(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Three cosines."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, **options)


def nuttall(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Four cosines."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, **options)
