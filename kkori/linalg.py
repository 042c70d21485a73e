"""``torch.linalg``: matrix factorizations, systems of equations, norms and products."""

from __future__ import annotations

from kkori.ops import linalg_more, linalg_norms, linalg_public  # noqa: F401 - they fill NAMES
from kkori.ops.linalg_checks import LinAlgError
from kkori.ops.namespaces import NAMES

__all__ = ["LinAlgError", *NAMES["linalg"]]

globals().update(NAMES["linalg"])
