"""Picture files to uint8 tensors (channels, height, width) and back, as `torchvision.io` does."""

from __future__ import annotations

import io
import os
from enum import Enum
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.io.files import write_whole
from kkori.tensor import Tensor, wrap
from kkori.vision.pillow import image_module

__all__ = ["ImageReadMode", "read_file", "write_file", "read_image", "decode_image", "decode_png",
           "decode_jpeg", "encode_png", "write_png", "encode_jpeg", "write_jpeg"]


class ImageReadMode(Enum):
    """Which channels a decoded picture shall have."""

    UNCHANGED = 0
    GRAY = 1
    GRAY_ALPHA = 2
    RGB = 3
    RGB_ALPHA = 4


PILLOW_MODES = {ImageReadMode.GRAY: "L", ImageReadMode.GRAY_ALPHA: "LA", ImageReadMode.RGB: "RGB",
                ImageReadMode.RGB_ALPHA: "RGBA"}
KEPT_MODES = ("L", "LA", "RGB", "RGBA", "I;16")
FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
UNSUPPORTED = "Unsupported image file. Only jpeg, png, webp and gif are currently supported."


def read_file(path: Any) -> Tensor:
    """The bytes of a file as a 1-d uint8 tensor. RuntimeError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise RuntimeError(
            f"[Errno {error.errno}] {os.strerror(error.errno or 0)}: '{path}'") from error
    return wrap(np.frombuffer(bytearray(content), np.uint8))


def write_file(filename: Any, data: Tensor) -> None:
    """Write a 1-d uint8 tensor as a file, all of it or nothing."""
    write_whole(filename, _bytes_of(data))


def read_image(path: Any, mode: ImageReadMode = ImageReadMode.UNCHANGED,
               apply_exif_orientation: bool = False) -> Tensor:
    """A PNG, JPEG, WEBP or GIF file as a tensor (channels, height, width).

    uint8, or uint16 for grey pictures of 16 bits (16-bit colour is read as 8 bits).
    RuntimeError where the file is missing, is no such picture, or is damaged.
    """
    try:
        return decode_image(read_file(path), mode, apply_exif_orientation)
    except RuntimeError as error:
        if str(path) in str(error):
            raise
        raise RuntimeError(f"{error}\n  file: {path}") from error.__cause__


def decode_image(input: Tensor, mode: ImageReadMode = ImageReadMode.UNCHANGED,
                 apply_exif_orientation: bool = False) -> Tensor:
    """A picture file's bytes (a 1-d uint8 tensor) as a tensor (channels, height, width)."""
    return _decode(input, mode, apply_exif_orientation, FORMATS)


def decode_png(input: Tensor, mode: ImageReadMode = ImageReadMode.UNCHANGED,
               apply_exif_orientation: bool = False) -> Tensor:
    """`decode_image` for PNG only."""
    return _decode(input, mode, apply_exif_orientation, ("PNG",))


def decode_jpeg(input: Tensor, mode: ImageReadMode = ImageReadMode.UNCHANGED, device: Any = "cpu",
                apply_exif_orientation: bool = False) -> Tensor:
    """`decode_image` for JPEG only."""
    return _decode(input, mode, apply_exif_orientation, ("JPEG",))


def _decode(input: Tensor, mode: Any, upright: bool, formats: tuple[str, ...]) -> Tensor:
    content = _bytes_of(input)
    if not content:
        raise RuntimeError("Expected a non empty 1-dimensional tensor")
    mode = ImageReadMode[mode] if isinstance(mode, str) else ImageReadMode(mode)
    Image = image_module()
    try:
        with Image.open(io.BytesIO(content), formats=formats) as picture:
            return wrap(_pixels(picture, mode, upright))
    except Image.UnidentifiedImageError as error:
        raise RuntimeError(UNSUPPORTED) from error
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        raise RuntimeError(f"cannot decode the image: {error}") from error


def _pixels(picture: Any, mode: ImageReadMode, upright: bool) -> np.ndarray:
    if upright:
        from PIL import ImageOps
        picture = ImageOps.exif_transpose(picture)
    if mode is not ImageReadMode.UNCHANGED:
        picture = picture.convert(PILLOW_MODES[mode])
    elif picture.mode not in KEPT_MODES:
        picture = picture.convert(_nearest_mode(picture))
    pixels = np.array(picture, np.uint16 if picture.mode == "I;16" else np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _nearest_mode(picture: Any) -> str:
    if picture.mode == "1":
        return "L"
    return "RGBA" if "transparency" in picture.info else "RGB"


def encode_png(input: Tensor, compression_level: int = 6) -> Tensor:
    """A uint8 tensor (1 or 3 channels, height, width) as a PNG file's bytes (1-d uint8)."""
    if not 0 <= compression_level <= 9:
        raise RuntimeError("Compression level should be between 0 and 9")
    return _encode(input, "PNG", compress_level=compression_level)


def encode_jpeg(input: Tensor, quality: int = 75) -> Tensor:
    """A uint8 tensor (1 or 3 channels, height, width) as a JPEG file's bytes (1-d uint8)."""
    if quality < 1 or quality > 100:
        raise ValueError("Image quality should be a positive number between 1 and 100")
    return _encode(input, "JPEG", quality=quality)


def _encode(input: Tensor, format: str, **options: Any) -> Tensor:
    if input.dtype is not types.uint8:
        raise RuntimeError("Input tensor dtype should be uint8")
    if input.ndim != 3:
        raise RuntimeError("Input data should be a 3-dimensional tensor")
    pixels = input._array
    if pixels.shape[0] not in (1, 3):
        raise RuntimeError(f"The number of channels should be 1 or 3, got: {pixels.shape[0]}")
    pixels = pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image_module().fromarray(pixels).save(buffer, format, **options)
    return wrap(np.frombuffer(bytearray(buffer.getbuffer()), np.uint8))


def write_png(input: Tensor, filename: Any, compression_level: int = 6) -> None:
    """Save a uint8 tensor (1 or 3 channels, height, width) as a PNG file."""
    write_file(filename, encode_png(input, compression_level))


def write_jpeg(input: Tensor, filename: Any, quality: int = 75) -> None:
    """Save a uint8 tensor (1 or 3 channels, height, width) as a JPEG file."""
    write_file(filename, encode_jpeg(input, quality))


def _bytes_of(data: Any) -> bytes:
    if not isinstance(data, Tensor):
        raise TypeError(f"Expected a torch.uint8 tensor, got {type(data).__name__}")
    if data.dtype is not types.uint8:
        raise RuntimeError("Expected a torch.uint8 tensor")
    if data.ndim != 1:
        raise RuntimeError("Expected a non empty 1-dimensional tensor")
    return data._array.tobytes()
