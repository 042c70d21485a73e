"""Looking for the operation that first made a NaN on the way back."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.autograd import engine

__all__ = ["detect_anomaly", "set_detect_anomaly", "is_anomaly_enabled"]


def check(node: Any, found: Any) -> None:
    """RuntimeError if `node` returned NaN, naming the node and the place of the gradient."""
    for place, value in enumerate(found):
        if value is not None and value._array.dtype.kind in "fc" and np.isnan(
                value._array).any():
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {place}th "
                               "output.")


class set_detect_anomaly:
    """Turn the search on or off, at once or for a ``with`` block."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.outer = engine.inspect_results[0]
        engine.inspect_results[0] = check if mode and check_nan else None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        engine.inspect_results[0] = self.outer


class detect_anomaly(set_detect_anomaly):
    """Stop ``backward()`` at the first operation whose gradient is NaN, and name it."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)


def is_anomaly_enabled() -> bool:
    """Whether the search is on."""
    return engine.inspect_results[0] is not None
