"""Special functions that SciPy computes: Bessel functions, Airy's, incomplete gamma functions.

SciPy is an extra, imported when one of these is first called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.core import errors

__all__ = ["OF_ONE", "OF_TWO", "from_scipy"]

# torch's name: SciPy's
OF_ONE = {
    "bessel_j0": "j0", "bessel_j1": "j1", "bessel_y0": "y0", "bessel_y1": "y1",
    "modified_bessel_k0": "k0", "modified_bessel_k1": "k1",
    "scaled_modified_bessel_k0": "k0e", "scaled_modified_bessel_k1": "k1e",
    "airy_ai": "airy",
}
OF_TWO = {"gammainc": "gammainc", "gammaincc": "gammaincc"}


def scipy_special(name: str) -> Any:
    """scipy.special, or ImportError with the command that installs it."""
    try:
        return importlib.import_module("scipy.special")
    except ImportError as error:
        raise ImportError(errors.message(
            f"torch.special.{name} needs SciPy, which is not installed",
            fix="pip install 'kkori[special]'")) from error


def from_scipy(name: str, its_name: str) -> Callable[..., Any]:
    """An array rule that calls scipy.special.<its_name>, or the first of its results."""
    def rule(*arrays: Any) -> Any:
        found = getattr(scipy_special(name), its_name)(*arrays)
        return np.asarray(found[0] if isinstance(found, tuple) else found)
    return rule
