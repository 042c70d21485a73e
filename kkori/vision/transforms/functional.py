"""One picture in, one picture out: the functions behind the transforms' classes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.tensor import Tensor, wrap
from kkori.vision.pillow import image_module, is_picture

__all__ = ["InterpolationMode", "to_tensor", "pil_to_tensor", "to_pil_image", "normalize",
           "convert_image_dtype", "resize", "center_crop", "crop", "hflip", "vflip",
           "rgb_to_grayscale", "to_grayscale"]

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R 601, as torchvision rounds them


class InterpolationMode(Enum):
    """How `resize` finds values between pixels."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def to_tensor(pic: Any) -> Tensor:
    """A picture or array (height, width[, channels]) as a tensor (channels, height, width).

    8-bit values become float32 in 0..1; others keep their type. TypeError for anything else,
    ValueError for an array of other than 2 or 3 dimensions.
    """
    if is_picture(pic):
        pixels = _picture_array(pic)
    elif isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        pixels = pic if pic.ndim == 3 else pic[:, :, None]
    else:
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if pixels.dtype == np.uint8:
        scale = types.get_default_dtype().numpy.type(255)
        return wrap(pixels.astype(scale.dtype) / scale)
    return wrap(pixels if pixels.flags.writeable and pixels.base is None else pixels.copy())


def _picture_array(pic: Any) -> np.ndarray:
    """The values of a Pillow picture: (height, width, channels)."""
    if pic.mode == "1":
        pixels = np.array(pic, np.uint8) * np.uint8(255)
    else:
        pixels = np.array(pic, {"I": np.int32, "I;16": np.uint16, "F": np.float32}.get(pic.mode))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def pil_to_tensor(pic: Any) -> Tensor:
    """A picture as a tensor (channels, height, width) of its own values, unscaled."""
    if not is_picture(pic):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    return wrap(np.ascontiguousarray(_picture_array(pic).transpose(2, 0, 1)))


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A tensor (channels, height, width), or an array (height, width, channels), as a picture.

    Floating values are taken as 0..1. TypeError and ValueError as torchvision raises them.
    """
    if not isinstance(pic, Tensor | np.ndarray):
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    pixels = pic._array if isinstance(pic, Tensor) else pic
    if pixels.ndim not in (2, 3):
        raise ValueError(f"pic should be 2/3 dimensional. Got {pixels.ndim} dimensions.")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    elif isinstance(pic, Tensor):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.shape[2] > 4:
        raise ValueError(f"pic should not have > 4 channels. Got {pixels.shape[2]} channels.")
    if pixels.dtype.kind == "f" and isinstance(pic, Tensor) and mode != "F":
        pixels = (pixels * 255).astype(np.uint8)
    if pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    picture = image_module().fromarray(np.ascontiguousarray(pixels))
    return picture if mode in (None, picture.mode) else picture.convert(mode)


def normalize(tensor: Tensor, mean: Any, std: Any, inplace: bool = False) -> Tensor:
    """(tensor - mean) / std, channel by channel, for floating tensors (..., C, H, W)."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}")
    if not tensor.is_floating_point():
        raise TypeError(f"Input tensor should be a float tensor. Got {tensor.dtype}.")
    if tensor.ndim < 3:
        raise ValueError("Expected tensor to be a tensor image of size (..., C, H, W). Got "
                         f"tensor.size() = {tensor.size()}")
    means, spreads = (_per_channel(value, tensor._array.dtype) for value in (mean, std))
    if (spreads == 0).any():
        raise ValueError(f"std evaluated to zero after conversion to {tensor.dtype}, leading to "
                         "division by zero.")
    result = (tensor - wrap(means)) / wrap(spreads)
    return tensor.copy_(result) if inplace else result


def _per_channel(values: Any, kind: Any) -> np.ndarray:
    plain = values._array if isinstance(values, Tensor) else values
    array = np.asarray(plain, kind)
    return array.reshape(-1, 1, 1) if array.ndim == 1 else array


def convert_image_dtype(image: Tensor, dtype: Any = types.float32) -> Tensor:
    """Change the type and scale the values: integers span their type, floats span 0..1."""
    source, pixels = image.dtype, image._array
    if source is dtype:
        return image
    if dtype.is_floating_point:
        top = 1 if source.is_floating_point else types.iinfo(source).max
        return wrap(pixels.astype(dtype.numpy) / dtype.numpy.type(top))
    top = types.iinfo(dtype).max
    if source.is_floating_point:
        if (source.name, dtype.name) in (("float32", "int32"), ("float32", "int64"),
                                         ("float64", "int64")):
            raise RuntimeError(
                f"The cast from {source} to {dtype} cannot be performed safely.")
        return wrap((pixels * (top + 1 - 1e-3)).astype(dtype.numpy))
    span, wanted = types.iinfo(source).max + 1, top + 1
    if span > wanted:
        return wrap((pixels // (span // wanted)).astype(dtype.numpy))
    return wrap(pixels.astype(dtype.numpy) * dtype.numpy.type(wanted // span))


def resize(img: Any, size: Any, interpolation: Any = InterpolationMode.BILINEAR,
           max_size: int | None = None, antialias: Any = True) -> Any:
    """A picture or tensor (..., H, W) at another size: (height, width), or the shorter side."""
    if not isinstance(size, int | Sequence):
        raise TypeError(f"Size should be int or sequence. Got {type(size)}")
    height, width = _size_of(img)
    target = _target_size(height, width, size, max_size)
    method = image_module().Resampling[InterpolationMode(interpolation).name]
    if is_picture(img):
        return img.resize(target[::-1], method)
    return wrap(_resize_array(img._array, target, method))


def _target_size(height: int, width: int, size: Any, max_size: int | None) -> tuple[int, int]:
    if not isinstance(size, int) and len(size) == 2:
        return int(size[0]), int(size[1])
    shorter = size if isinstance(size, int) else size[0]
    low, high = sorted((height, width))
    longer = int(shorter * high / low)
    if max_size is not None and longer > max_size:
        shorter, longer = int(max_size * shorter / longer), max_size
    return (shorter, longer) if height <= width else (longer, shorter)


def _resize_array(pixels: np.ndarray, target: tuple[int, int], method: Any) -> np.ndarray:
    fromarray = image_module().fromarray
    planes = pixels.reshape(-1, *pixels.shape[-2:]).astype(np.float32)
    resized = np.stack([np.asarray(fromarray(plane).resize(target[::-1], method))
                        for plane in planes])
    if pixels.dtype.kind in "iu":
        limits = np.iinfo(pixels.dtype)
        resized = np.clip(np.rint(resized), limits.min, limits.max)
    return resized.astype(pixels.dtype).reshape(*pixels.shape[:-2], *target)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """The part of a picture or tensor that starts at (top, left)."""
    if is_picture(img):
        return img.crop((left, top, left + width, top + height))
    return img[..., top:top + height, left:left + width]


def center_crop(img: Any, output_size: Any) -> Any:
    """The middle (height, width) of a picture or tensor at least that large."""
    wanted = (output_size,) * 2 if isinstance(output_size, int) else tuple(output_size)
    height, width = _size_of(img)
    if wanted[0] > height or wanted[1] > width:
        raise ValueError(f"cannot crop {wanted} out of {(height, width)}\n"
                         "  fix: enlarge it first, with transforms.Resize")
    top, left = round((height - wanted[0]) / 2), round((width - wanted[1]) / 2)
    return crop(img, top, left, *wanted)


def _size_of(img: Any) -> tuple[int, int]:
    if is_picture(img):
        return img.height, img.width
    if not isinstance(img, Tensor):
        raise TypeError(f"Unexpected type {type(img)}")
    return int(img.shape[-2]), int(img.shape[-1])


def hflip(img: Any) -> Any:
    """Left becomes right."""
    if is_picture(img):
        return img.transpose(image_module().Transpose.FLIP_LEFT_RIGHT)
    return img.flip(-1)


def vflip(img: Any) -> Any:
    """Top becomes bottom."""
    if is_picture(img):
        return img.transpose(image_module().Transpose.FLIP_TOP_BOTTOM)
    return img.flip(-2)


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """Brightness of a colour picture or tensor (..., 3, H, W), as 1 or 3 equal channels."""
    if num_output_channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    if is_picture(img):
        grey = img.convert("L")
        return grey if num_output_channels == 1 else grey.convert("RGB")
    pixels = img._array
    if pixels.shape[-3] == 3:
        red, green, blue = (pixels[..., channel, :, :] for channel in range(3))
        weights = GREY_WEIGHTS
        mixed = weights[0] * red + weights[1] * green + weights[2] * blue
        pixels = mixed.astype(pixels.dtype)[..., None, :, :]
    return wrap(np.repeat(pixels, num_output_channels, axis=-3))


to_grayscale = rgb_to_grayscale
