"""What to do to a picture before it is learned from; each is a callable with a readable repr."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kkori.vision.transforms import functional
from kkori.vision.transforms.functional import InterpolationMode

__all__ = ["Compose", "ToTensor", "PILToTensor", "ToPILImage", "ConvertImageDtype", "Normalize",
           "Resize", "CenterCrop", "RandomCrop", "RandomHorizontalFlip", "RandomVerticalFlip",
           "Grayscale", "Lambda", "InterpolationMode", "functional"]


class Compose:
    """One transform after another."""

    def __init__(self, transforms: Sequence[Callable]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        lines = "".join(f"\n    {transform}" for transform in self.transforms)
        return f"{type(self).__name__}({lines}\n)"


class _Transform:
    """A function with its settings: `call` gets the picture, then the values named in `shown`."""

    shown: tuple[str, ...] = ()
    call: Callable

    def __call__(self, img: Any) -> Any:
        return type(self).call(img, *(getattr(self, name) for name in self.shown))

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={_text(getattr(self, name))}" for name in self.shown)
        return f"{type(self).__name__}({settings})"


def _text(value: Any) -> str:
    return value.value if isinstance(value, InterpolationMode) else str(value)


class ToTensor(_Transform):
    """A picture or array as a tensor (channels, height, width); 8-bit values become 0..1."""

    call = functional.to_tensor

    def __repr__(self) -> str:
        return "ToTensor()"


class PILToTensor(_Transform):
    """A picture as a tensor of its own values."""

    call = functional.pil_to_tensor


class ToPILImage(_Transform):
    """A tensor or array as a picture."""

    call = functional.to_pil_image

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode
        self.shown = ("mode",) if mode is not None else ()


class ConvertImageDtype(_Transform):
    """Change the type and scale the values to its span."""

    call = functional.convert_image_dtype
    shown = ("dtype",)

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype


class Normalize(_Transform):
    """(picture - mean) / std, channel by channel."""

    call = functional.normalize
    shown = ("mean", "std")

    def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
        self.mean, self.std, self.inplace = mean, std, inplace

    def __call__(self, img: Any) -> Any:
        return functional.normalize(img, self.mean, self.std, self.inplace)


class Resize(_Transform):
    """Another size: (height, width), or the length of the shorter side."""

    call = functional.resize
    shown = ("size", "interpolation", "max_size", "antialias")

    def __init__(self, size: Any, interpolation: Any = InterpolationMode.BILINEAR,
                 max_size: int | None = None, antialias: Any = True) -> None:
        self.size, self.interpolation = size, interpolation
        self.max_size, self.antialias = max_size, antialias


class CenterCrop(_Transform):
    """The middle of a picture."""

    call = functional.center_crop
    shown = ("size",)

    def __init__(self, size: Any) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)


class RandomCrop(_Transform):
    """A part of a picture, from a place drawn by the generator of `torch`."""

    shown = ("size",)

    def __init__(self, size: Any) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)

    def __call__(self, img: Any) -> Any:
        height, width = functional._size_of(img)
        if self.size[0] > height or self.size[1] > width:
            raise ValueError(f"Required crop size {self.size} is larger than input image size "
                             f"{(height, width)}")
        top, left = (_draw(room - wanted + 1) for room, wanted in
                     zip((height, width), self.size, strict=True))
        return functional.crop(img, top, left, *self.size)


def _draw(count: int) -> int:
    from kkori import randint
    return int(randint(0, count, (1,)).item())


class _RandomFlip(_Transform):
    shown = ("p",)

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, img: Any) -> Any:
        from kkori import rand
        return type(self).call(img) if rand(1).item() < self.p else img


class RandomHorizontalFlip(_RandomFlip):
    """Left becomes right, with probability p."""

    call = functional.hflip


class RandomVerticalFlip(_RandomFlip):
    """Top becomes bottom, with probability p."""

    call = functional.vflip


class Grayscale(_Transform):
    """Brightness only, as 1 or 3 equal channels."""

    call = functional.rgb_to_grayscale
    shown = ("num_output_channels",)

    def __init__(self, num_output_channels: int = 1) -> None:
        self.num_output_channels = num_output_channels


class Lambda:
    """Any function of the picture as a transform."""

    def __init__(self, lambd: Callable) -> None:
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
