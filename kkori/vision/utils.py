"""Many pictures as one, and tensors as picture files: `make_grid` and `save_image`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kkori.tensor import Tensor, wrap
from kkori.vision.pillow import image_module

__all__ = ["make_grid", "save_image"]


def make_grid(tensor: Any, nrow: int = 8, padding: int = 2, normalize: bool = False,
              value_range: tuple[float, float] | None = None, scale_each: bool = False,
              pad_value: float = 0.0) -> Tensor:
    """Lay a batch (count, channels, height, width), or a list of pictures, out as one picture.

    `nrow` pictures stand in a row, `padding` pixels of `pad_value` around each. Grey pictures get
    three channels. `normalize` stretches `value_range` (default: the values' own; with
    `scale_each`, each picture's own) to 0..1. TypeError unless tensors are given.
    """
    pictures = _batch(tensor)
    if normalize:
        groups = [picture[None] for picture in pictures] if scale_each else [pictures]
        pictures = np.concatenate([_stretched(group, value_range) for group in groups])
    if len(pictures) == 1:
        return wrap(pictures[0])
    count, channels, height, width = pictures.shape
    columns = min(nrow, count)
    rows = math.ceil(count / columns)
    grid = np.full((channels, rows * (height + padding) + padding,
                    columns * (width + padding) + padding), pad_value, pictures.dtype)
    for number, picture in enumerate(pictures):
        top = number // columns * (height + padding) + padding
        left = number % columns * (width + padding) + padding
        grid[:, top:top + height, left:left + width] = picture
    return wrap(grid)


def _batch(tensor: Any) -> np.ndarray:
    """Whatever `make_grid` accepts, as an array (count, 3 or more channels, height, width)."""
    parts = tensor if isinstance(tensor, list) else [tensor]
    if not all(isinstance(part, Tensor) for part in parts):
        raise TypeError(f"tensor or list of tensors expected, got {type(tensor)}")
    pictures = np.stack([part._array for part in parts]) if isinstance(tensor, list) else (
        tensor._array)
    if pictures.ndim == 2:
        pictures = pictures[None]
    if pictures.ndim == 3:
        pictures = pictures[None]
    if pictures.shape[1] == 1:
        pictures = np.repeat(pictures, 3, axis=1)
    return pictures


def _stretched(pictures: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    low, high = value_range or (float(pictures.min()), float(pictures.max()))
    return (np.clip(pictures, low, high) - low) / max(high - low, 1e-5)


def save_image(tensor: Any, fp: Any, format: str | None = None, **options: Any) -> None:
    """Save pictures with values in 0..1 as one picture file; `options` are `make_grid`'s.

    `fp` is a path or an open file; with a file, `format` says which kind ("PNG").
    """
    grid = make_grid(tensor, **options)._array
    pixels = np.clip(grid * 255 + 0.5, 0, 255).transpose(1, 2, 0).astype(np.uint8)
    image_module().fromarray(np.ascontiguousarray(pixels)).save(fp, format=format)
