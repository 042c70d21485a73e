"""``torch.special``: special functions of mathematics."""

from __future__ import annotations

from kkori.ops import special  # noqa: F401 - it fills NAMES
from kkori.ops.namespaces import NAMES

__all__ = [*NAMES["special"]]

globals().update(NAMES["special"])
