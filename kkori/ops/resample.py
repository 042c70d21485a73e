"""Interpolation: arrays at another resolution, one matrix for each dimension."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops.adaptive_pool import adaptive_avg_pool, resampling
from kkori.ops.pad import taking
from kkori.tensor import Tensor

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
SMOOTH = ("linear", "bilinear", "bicubic", "trilinear", "lanczos")
CUBIC, CUBIC_SMOOTHED = -0.75, -0.5  # the cubic's free coefficient, plain and antialiased


# Where results lie between the elements.

def step(size: int, out: int, factor: float | None, align_corners: bool) -> float:
    """How many elements one result is apart from the next."""
    if align_corners:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return 1 / factor if factor else size / out


@functools.lru_cache(maxsize=64)
def nearest_places(size: int, out: int, factor: float | None, exact: bool) -> Any:
    """The element that each result is a copy of; reckoned in float32 as PyTorch does."""
    scale = np.float32(step(size, out, factor, False))
    at = np.arange(out, dtype=np.float32)
    places = np.floor((at + np.float32(0.5)) * scale if exact else at * scale)
    return np.minimum(places.astype(np.int64), size - 1)


def cubic(x: Any, a: float) -> Any:
    """The cubic convolution kernel (Keys 1981)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def spread(rows: Any, places: Any, weights: Any, out: int, size: int) -> Any:
    """A matrix with `weights` added at (row, place), places limited to the array."""
    found = np.zeros((out, size))
    np.add.at(found, (rows, np.clip(places, 0, size - 1)), weights)
    return found


@functools.lru_cache(maxsize=64)
def plain_matrix(kind: str, size: int, out: int, factor: float | None,
                 align_corners: bool) -> Any:
    """Linear or cubic interpolation between neighbours, (out, size)."""
    scale = step(size, out, factor, align_corners)
    at = np.arange(out)
    source = at * scale if align_corners else (at + 0.5) * scale - 0.5
    taps = np.arange(-1, 3) if kind == "cubic" else np.arange(2)
    if kind == "linear":
        source = np.maximum(source, 0)
    whole = np.floor(source).astype(np.int64)
    if kind == "linear":
        whole = np.minimum(whole, size - 1)
    gap = (source - whole)[:, None] - taps
    weights = cubic(gap, CUBIC) if kind == "cubic" else 1 - np.abs(gap)
    rows = np.broadcast_to(at[:, None], weights.shape)
    return spread(rows, whole[:, None] + taps, weights, out, size)


def triangle(x: Any) -> Any:
    return np.maximum(1 - np.abs(x), 0)


def smooth_cubic(x: Any) -> Any:
    return cubic(x, CUBIC_SMOOTHED)


def lanczos(x: Any) -> Any:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


FILTERS = {"linear": (triangle, 2), "cubic": (smooth_cubic, 4), "lanczos": (lanczos, 6)}


@functools.lru_cache(maxsize=64)
def smooth_matrix(kind: str, size: int, out: int, factor: float | None,
                  align_corners: bool) -> Any:
    """The same with a window that widens where the result is smaller (antialiasing)."""
    filter_of, width = FILTERS[kind]
    scale = step(size, out, factor, align_corners)
    reach = width / 2 * max(scale, 1)
    found = np.zeros((out, size))
    for row in range(out):
        center = scale * (row + 0.5)
        first = max(int(center - reach + 0.5), 0)
        last = min(int(center + reach + 0.5), size)
        gap = (np.arange(first, last) - center + 0.5) / max(scale, 1)
        weights = filter_of(gap)
        total = weights.sum()
        found[row, first:last] = weights / total if total else weights
    return found


def title(mode: str) -> str:
    return "".join(part.capitalize() for part in mode.split("-"))


ROWS = {(mode, dims): taking(f"upsample_{mode}{dims}d",
                             f"Upsample{title(mode)}{dims}DBackward0")
        for mode in ("nearest", "nearest-exact") for dims in (1, 2, 3)}
ROWS.update({(mode, dims): resampling(f"upsample_{mode}{dims}d",
                                      f"Upsample{title(mode)}{dims}DBackward0")
             for mode, dims in (("linear", 1), ("bilinear", 2), ("trilinear", 3),
                                ("bicubic", 2))})
SMOOTH_ROWS = {mode: resampling(f"upsample_{mode}2d_aa", f"Upsample{title(mode)}2DAaBackward0")
               for mode in ("bilinear", "bicubic", "lanczos")}
FAMILY = {"linear": "linear", "bilinear": "linear", "trilinear": "linear", "bicubic": "cubic",
          "lanczos": "lanczos"}


# Arguments.

def as_list(value: Any, dims: int) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value] * dims


def check_mode(mode: str, align_corners: bool | None, antialias: bool, ndim: int) -> bool:
    """Whether corners are aligned; errors of settings that do not go together."""
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError("align_corners option can only be set with the interpolating modes: "
                             "linear | bilinear | bicubic | trilinear")
    elif align_corners is None:
        align_corners = False
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and ndim == 4):
        raise ValueError("Anti-alias option is restricted to bilinear, bicubic, and lanczos modes "
                         "and requires a 4-D tensor as input")
    return bool(align_corners)


def sizes_of(input: Tensor, size: Any, scale_factor: Any,
             recompute_scale_factor: bool | None) -> tuple[list[int], list[Any]]:
    """The result's lengths, and the factors (None where they follow from the lengths)."""
    space = input._array.shape[2:]
    dims = len(space)
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        check_count("output size of", "o", size, input)
        if recompute_scale_factor:
            raise ValueError(
                "recompute_scale_factor is not meaningful with an explicit size.")
        return [whole(n) for n in as_list(size, dims)], [None] * dims
    if scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    check_count("scale_factor of", "s", scale_factor, input)
    factors = [float(factor) for factor in as_list(scale_factor, dims)]
    out = [math.floor(n * factor) for n, factor in zip(space, factors, strict=True)]
    return out, [None] * dims if recompute_scale_factor else factors


def whole(n: Any) -> int:
    if isinstance(n, Tensor):
        return int(n)
    if not isinstance(n, (int, np.integer)):
        raise TypeError("expected size to be one of int or Tuple[int] or Tuple[int, int] or "
                        f"Tuple[int, int, int], but got size with types {[type(n)]}")
    return int(n)


def check_count(what: str, letter: str, given: Any, input: Tensor) -> None:
    """ValueError for another number of lengths than there are spatial dimensions."""
    space = list(input._array.shape[2:])
    if isinstance(given, (tuple, list)) and len(given) != len(space):
        if letter == "o":
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input "
                f"with spatial dimensions of {space} and output size of {given}. Please provide "
                "input tensor in (N, C, d1, d2, ...,dK) format and output size in (o1, o2, ...,oK)"
                " format.")
        raise ValueError(
            "Input and scale_factor must have the same number of spatial dimensions, but got input "
            f"with spatial dimensions of {space} and scale_factor of shape {given}. Please provide "
            "input tensor in (N, C, d1, d2, ...,dK) format and scale_factor in (s1, s2, ...,sK) "
            "format.")


def interpolate(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Tensor:
    """(N, C, *space) at another resolution, given as `size` or as factor.

    `mode`: "nearest", "nearest-exact", "area" for any space; "linear", "bilinear", "trilinear"
    for 1, 2, 3 dimensions; "bicubic", and "lanczos" with `antialias`, for 2.
    """
    ndim = input._array.ndim
    corners = check_mode(mode, align_corners, antialias, ndim)
    out, factors = sizes_of(input, size, scale_factor, recompute_scale_factor)
    dims = ndim - 2
    if mode == "area" and dims in (1, 2, 3):
        return adaptive_avg_pool(dims, input, tuple(out))
    check_lengths(input._array.shape[2:], out, dims)
    if antialias:
        return smoothed(input, mode, out, factors, corners)
    if mode == "lanczos":
        raise ValueError("Lanczos mode requires antialias=True")
    if (mode, dims) not in ROWS:
        raise wrong_mode(mode, ndim)
    space = input._array.shape[2:]
    if mode in ("nearest", "nearest-exact"):
        exact = mode == "nearest-exact"
        places = [None if n == m and factor in (None, 1.0) else nearest_places(n, m, factor, exact)
                  for n, m, factor in zip(space, out, factors, strict=True)]
        return ROWS[mode, dims](input, (None, None, *places))
    return ROWS[mode, dims](input, tuple(
        plain_matrix(FAMILY[mode], n, m, None if corners else factor, corners)
        for n, m, factor in zip(space, out, factors, strict=True)))


def smoothed(input: Tensor, mode: str, out: Any, factors: Any, corners: bool) -> Tensor:
    """Interpolation with antialiasing."""
    if mode == "lanczos" and corners:
        raise ValueError("Lanczos mode does not support align_corners=True")
    return SMOOTH_ROWS[mode](input, tuple(
        smooth_matrix(FAMILY[mode], n, m, factor, corners)
        for n, m, factor in zip(input._array.shape[2:], out, factors, strict=True)))


def check_lengths(space: Any, out: Any, dims: int) -> None:
    """RuntimeError for lengths of 0."""
    if dims in (1, 2, 3) and min((*space, *out)) <= 0:
        names = ("D", "H", "W")[-dims:]
        shown = [", ".join(f"{name}: {n}" for name, n in zip(names, lengths, strict=True))
                 for lengths in (space, out)]
        raise RuntimeError(errors.message(
            f"Input and output sizes should be greater than 0, but got input ({shown[0]}) output "
            f"({shown[1]})"))


def wrong_mode(mode: str, ndim: int) -> NotImplementedError:
    """A mode for another number of dimensions."""
    needed = {"linear": 3, "bilinear": 4, "trilinear": 5}
    if ndim in (3, 4, 5) and mode in needed:
        return NotImplementedError(errors.message(
            f"Got {ndim}D input, but {mode} mode needs {needed[mode]}D input",
            fix=f"mode={LINEAR[ndim - 2]!r}"))
    return NotImplementedError(
        f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {ndim}D) for the modes: "
        "nearest | linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact (got "
        f"{mode})")


def upsample(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
             align_corners: bool | None = None) -> Tensor:
    """The old name of `interpolate`."""
    warnings.warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` "
                  "instead.", stacklevel=2)
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The old name of `interpolate` with mode "nearest"."""
    warnings.warn("`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate`"
                  " instead.", stacklevel=2)
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The old name of `interpolate` with mode "bilinear" and aligned corners."""
    warnings.warn("`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional."
                  "interpolate` instead.", stacklevel=2)
    return interpolate(input, size, scale_factor, "bilinear", True)
