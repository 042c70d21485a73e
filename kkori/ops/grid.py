"""Sampling at places that are themselves tensors: affine grids and grid samples."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.pool import _picked
from kkori.ops.rounding import nan_to_num
from kkori.ops.table import TORCH
from kkori.tensor import Tensor, wrap

CHANGED = ("Default grid_sample and affine_grid behavior has changed to align_corners=False since "
           "1.3.0. Please specify align_corners=True if the old behavior is desired. See the "
           "documentation of grid_sample for details.")
MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The places, in [-1, 1], that affine maps send a regular grid to.

    theta (N, 2, 3) and size (N, C, H, W) give (N, H, W, 2); (N, 3, 4) and 5 lengths likewise.
    """
    if align_corners is None:
        warnings.warn(CHANGED, stacklevel=2)
        align_corners = False
    size = tuple(int(n) for n in size)
    check_theta(theta, size)
    if align_corners and min(size[2:]) == 1:
        warnings.warn(
            "Since version 1.3.0, affine_grid behavior has changed for unit-size grids when "
            "align_corners=True. This is not an intended use case of affine_grid. See the "
            "documentation of affine_grid for details.", stacklevel=2)
    elif min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    return affine_grid_generator(theta, size, align_corners)


def check_theta(theta: Tensor, size: Any) -> None:
    if theta._array.dtype.kind not in "fV":
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if len(size) not in (4, 5):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {size}.")
    dims = len(size) - 2
    if theta.dim() != 3 or theta._array.shape[1:] != (dims, dims + 1):
        raise ValueError(f"Expected a batch of {dims}D affine matrices of shape Nx{dims}x{dims + 1}"
                         f" for size {size}. Got {theta.shape}.")


def line(n: int, align_corners: bool) -> Any:
    """`n` places from -1 to 1."""
    if n <= 1:
        return np.zeros(n)
    places = np.linspace(-1, 1, n)
    return places if align_corners else places * (n - 1) / n


def affine_grid_generator(theta: Tensor, size: Any, align_corners: bool) -> Tensor:
    """``torch.affine_grid_generator``."""
    space = tuple(size[2:])
    axes = np.meshgrid(*(line(n, align_corners) for n in space), indexing="ij")
    base = np.stack((*reversed(axes), np.ones(space)), -1).reshape(-1, len(space) + 1)
    points = theta.new_tensor(base)
    found = TORCH["matmul"](points, theta.transpose(1, 2))
    return found.reshape((theta._array.shape[0], *space, len(space)))


TORCH["affine_grid_generator"] = affine_grid_generator


# Samples.

def grid_sample(input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None) -> Tensor:
    """(N, C, *space) at the places in `grid` (N, *out, dimensions), given in [-1, 1], x first.

    Differentiable along both. ValueError for unknown modes, RuntimeError for other shapes.
    """
    if mode not in MODES:
        raise ValueError("nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' "
                         f"or 'bicubic', but got: '{mode}'")
    if padding_mode not in PADDINGS:
        raise ValueError("nn.functional.grid_sample(): expected padding_mode to be 'zeros', "
                         f"'border', or 'reflection', but got: '{padding_mode}'")
    if align_corners is None:
        warnings.warn(CHANGED, stacklevel=2)
        align_corners = False
    check_grid(input, grid, mode)
    sampler = Sampler(input, padding_mode, align_corners)
    axes = [sampler.unscaled(grid.select(-1, d), -1 - d) for d in range(grid._array.shape[-1])]
    axes.reverse()  # the order of the dimensions of `input`
    if mode == "bicubic":
        return sampler.cubic(axes)
    axes = [sampler.bounded(at, d) for d, at in enumerate(axes)]
    return sampler.nearest(axes) if mode == "nearest" else sampler.linear(axes)


def grid_sampler(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int,
                 align_corners: bool) -> Tensor:
    """``torch.grid_sampler``: modes by number."""
    return grid_sample(input, grid, MODES[interpolation_mode], PADDINGS[padding_mode],
                       align_corners)


for _name in ("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"):
    TORCH[_name] = grid_sampler


def check_grid(input: Tensor, grid: Tensor, mode: str) -> None:
    x, g = input._array.shape, grid._array.shape
    if x[0] != g[0]:
        raise RuntimeError(errors.message(
            "grid_sampler(): expected grid and input to have same batch size, but got input with "
            f"sizes {errors.of_shape(x)} and grid with sizes {errors.of_shape(g)}"))
    if len(x) not in (4, 5) or len(x) != len(g):
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            f"got input with sizes {errors.of_shape(x)} and grid with sizes {errors.of_shape(g)}")
    if g[-1] != len(x) - 2:
        raise RuntimeError(f"grid_sampler(): expected grid to have size {len(x) - 2} in last "
                           f"dimension, but got grid with sizes {errors.of_shape(g)}")
    if mode == "bicubic" and len(x) == 5:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


class Sampler:
    """Reads `input` at coordinates, one tensor of them for each spatial dimension."""

    def __init__(self, input: Tensor, padding: str, align_corners: bool) -> None:
        self.input, self.padding, self.align_corners = input, padding, align_corners
        self.space = input._array.shape[2:]

    def unscaled(self, at: Tensor, dim: int) -> Tensor:
        """Coordinates counted in elements, from [-1, 1]."""
        n = self.space[dim]
        return (at + 1) * ((n - 1) / 2) if self.align_corners else ((at + 1) * n - 1) / 2

    def bounded(self, at: Tensor, dim: int) -> Tensor:
        """Coordinates brought into the array, as the padding mode says."""
        n = self.space[dim]
        if self.padding == "zeros":
            return at
        if self.padding == "reflection":
            at = self.reflected(at, n)
        return el.clamp(at, 0, n - 1)

    def reflected(self, at: Tensor, n: int) -> Tensor:
        """Mirrored at the centers of the outer elements, or at their edges."""
        low, high = (0.0, n - 1.0) if self.align_corners else (-0.5, n - 0.5)
        span = high - low
        if not span:
            return at * 0
        far = el.abs(at - low)
        turns = el.floor(far / span)
        rest = far - turns.detach() * span
        return el.where(turns % 2 == 0, rest + low, span - rest + low)

    def read(self, places: list[Any]) -> Tensor:
        """Elements at whole coordinates (arrays); 0 outside."""
        inside, flat = np.ones(places[0].shape, bool), np.zeros(places[0].shape, np.int64)
        for n, place in zip(self.space, places, strict=True):
            inside &= (place >= 0) & (place <= n - 1)
            flat = flat * n + np.clip(np.nan_to_num(place), 0, n - 1).astype(np.int64)
        lead = self.input._array.shape[:2]
        wide = np.broadcast_to(flat[:, None], (*lead, *flat.shape[1:]))
        found = _picked(self.input, wrap(np.ascontiguousarray(wide)))
        if inside.all():
            return found
        return found * self.input.new_tensor(inside[:, None])

    def nearest(self, axes: list[Tensor]) -> Tensor:
        """The nearest elements; places get a gradient of 0."""
        found = self.read([np.rint(at._array) for at in axes])
        return found + 0 * nan_to_num(axes[0]).unsqueeze(1)

    def linear(self, axes: list[Tensor]) -> Tensor:
        """Linear in each dimension: all corners around, weighted by nearness."""
        floors = [np.floor(at._array) for at in axes]
        gaps = [at - at.new_tensor(floor) for at, floor in zip(axes, floors, strict=True)]
        found: Any = None
        for corner in itertools.product((0, 1), repeat=len(axes)):
            weight: Any = None
            for gap, side in zip(gaps, corner, strict=True):
                part = gap if side else 1 - gap
                weight = part if weight is None else weight * part
            value = self.read([floor + side for floor, side in zip(floors, corner, strict=True)])
            value = value * weight.unsqueeze(1)
            found = value if found is None else found + value
        return found

    def cubic(self, axes: list[Tensor]) -> Tensor:
        """Cubic in both dimensions: sixteen elements around, each kept inside by itself."""
        floors = [np.floor(at._array) for at in axes]
        weights = [cubic_weights(at - at.new_tensor(floor)) for at, floor in zip(
            axes, floors, strict=True)]
        found: Any = None
        for i, j in itertools.product(range(4), repeat=2):
            places = [self.bounded(axes[d].new_tensor(floors[d] + k - 1), d)._array
                      for d, k in enumerate((i, j))]
            value = self.read([np.rint(place) if self.padding != "zeros" else place
                               for place in places])
            value = value * (weights[0][i] * weights[1][j]).unsqueeze(1)
            found = value if found is None else found + value
        return found


def cubic_weights(t: Tensor) -> list[Tensor]:
    """Weights of the four neighbours at distance 1 + t, t, 1 - t, 2 - t (Keys, a = -0.75)."""
    a = -0.75

    def near(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return [far(t + 1), near(t), near(1 - t), far(2 - t)]
