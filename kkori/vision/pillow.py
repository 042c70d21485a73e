"""The one place where Pillow is imported, and where its absence is explained."""

from __future__ import annotations

from typing import Any

__all__ = ["image_module", "is_picture"]


def image_module() -> Any:
    """`PIL.Image`; ImportError with the way out where Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "pictures need Pillow, which is not installed\n"
            "  fix: pip install 'kkori[vision]'") from error
    return Image


def is_picture(value: Any) -> bool:
    """Whether `value` is a Pillow picture."""
    return isinstance(value, image_module().Image)
