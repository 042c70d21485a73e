"""``torch.signal``: windows."""

from __future__ import annotations

from kkori.signal import windows

__all__ = ["windows"]
