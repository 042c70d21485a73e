"""``torch.special``: special functions of mathematics."""

from __future__ import annotations

from kkori.ops.namespaces import NAMES

__all__ = [*NAMES["special"]]  # noqa: PLE0604 - names that the op table knows

globals().update(NAMES["special"])
