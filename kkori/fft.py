"""``torch.fft``: discrete Fourier transforms."""

from __future__ import annotations

from kkori.ops.namespaces import NAMES

__all__ = [*NAMES["fft"]]  # noqa: PLE0604 - names that the op table knows

globals().update(NAMES["fft"])
