"""``torch.fft``: discrete Fourier transforms."""

from __future__ import annotations

from kkori.ops import fft  # noqa: F401 - it fills NAMES
from kkori.ops.namespaces import NAMES

__all__ = [*NAMES["fft"]]

globals().update(NAMES["fft"])
