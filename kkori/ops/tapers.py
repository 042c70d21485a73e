"""Window functions of signal processing: ``torch.hann_window`` and its like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.core.layout import strided
from kkori.ops.create import finish
from kkori.ops.table import public, type_name
from kkori.tensor import Tensor

__all__ = ["bartlett_window", "blackman_window", "hamming_window", "hann_window",
           "kaiser_window", "cosines", "triangle", "bessel"]


# Shapes: one number for each place, from -1 at the left end to 1 at the right.

def cosines(place: Any, weights: Sequence[float]) -> Any:
    """The sum of weights[k] cos(k pi place)."""
    return sum(weight * np.cos(k * pi * place) for k, weight in enumerate(weights))


def triangle(place: Any) -> Any:
    return 1 - np.abs(place)


def bessel(place: Any, beta: float) -> Any:
    """Kaiser's window."""
    from kkori.ops.special_bessel import i0
    return i0(beta * np.sqrt(np.maximum(1 - place * place, 0))) / i0(np.asarray(beta))


def places(count: int, periodic: bool) -> Any:
    """`count` places; a periodic window lacks the right end, which is the next left end."""
    if count == 1:
        return np.zeros(1)
    return np.linspace(-1, 1, count + periodic)[:count]


def window(name: str, length: Any, periodic: bool, dtype: Any, device: Any, requires_grad: bool,
           shape: Callable[[Any], Any]) -> Tensor:
    """A window of `length` numbers, after the checks that all of them share."""
    if not isinstance(length, (int, np.integer)) or isinstance(length, bool):
        raise TypeError(errors.message(
            f"{name}(): argument 'window_length' (position 1) must be int, not "
            f"{type_name(length)}"))
    row = dtype or types.get_default_dtype()
    if row.kind < types.FLOATING:
        raise RuntimeError(errors.message(
            f"{name} expects floating point dtypes, got: TensorOptions(dtype="
            f"{errors.C_NAMES[row.name]}, device=cpu, layout=Strided (default), "
            "requires_grad=false (default), pinned_memory=false, memory_format=(nullopt))"))
    if row.kind == types.COMPLEX:
        raise NotImplementedError(errors.message(f"\"arange_cpu\" not implemented for "
                                                 f"'{row.alias}'"))
    if length < 0:
        raise RuntimeError(errors.message(
            f"{name} requires non-negative window_length, got window_length={length}"))
    found = np.ones(1) if length == 1 else np.asarray(shape(places(int(length), bool(periodic))))
    return finish(found.astype(row.numpy), device, requires_grad)


@public(method=False)
def hann_window(window_length: int, periodic: bool = True, *, dtype: Any = None,
                layout: Any = strided, device: Any = None, requires_grad: bool = False,
                pin_memory: bool = False) -> Tensor:
    """A raised cosine, 0 at the ends (``torch.hann_window``)."""
    return window("hann_window", window_length, periodic, dtype, device, requires_grad,
                  lambda place: cosines(place, (0.5, 0.5)))


@public(method=False)
def hamming_window(window_length: int, periodic: bool = True, alpha: float = 0.54,
                   beta: float = 0.46, *, dtype: Any = None, layout: Any = strided,
                   device: Any = None, requires_grad: bool = False,
                   pin_memory: bool = False) -> Tensor:
    """A raised cosine, ``alpha - beta`` at the ends (``torch.hamming_window``)."""
    return window("hamming_window", window_length, periodic, dtype, device, requires_grad,
                  lambda place: cosines(place, (alpha, beta)))


@public(method=False)
def blackman_window(window_length: int, periodic: bool = True, *, dtype: Any = None,
                    layout: Any = strided, device: Any = None, requires_grad: bool = False,
                    pin_memory: bool = False) -> Tensor:
    """Three cosines (``torch.blackman_window``)."""
    return window("blackman_window", window_length, periodic, dtype, device, requires_grad,
                  lambda place: cosines(place, (0.42, 0.5, 0.08)))


@public(method=False)
def bartlett_window(window_length: int, periodic: bool = True, *, dtype: Any = None,
                    layout: Any = strided, device: Any = None, requires_grad: bool = False,
                    pin_memory: bool = False) -> Tensor:
    """A triangle (``torch.bartlett_window``)."""
    return window("bartlett_window", window_length, periodic, dtype, device, requires_grad,
                  triangle)


@public(method=False)
def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, *,
                  dtype: Any = None, layout: Any = strided, device: Any = None,
                  requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A Bessel function of a half circle (``torch.kaiser_window``)."""
    return window("kaiser_window", window_length, periodic, dtype, device, requires_grad,
                  lambda place: bessel(place, beta))
