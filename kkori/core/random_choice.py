"""Drawing categories by their weights, equal to PyTorch's `multinomial`."""

from __future__ import annotations

import numpy as np

from kkori.core.dtype import of
from kkori.core.generator import Generator
from kkori.core.random_streams import HALVES, exponential, unit64

NOT_WEIGHTS = "probability tensor contains either `inf`, `nan` or element < 0"
NO_WEIGHT = "invalid multinomial distribution (sum of probabilities <= 0)"
NEGATIVE = "invalid multinomial distribution (encountering probability entry < 0)"
NOT_FINITE = "invalid multinomial distribution (encountering probability entry = infinity or NaN)"


def multinomial(generator: Generator, weights: np.ndarray, count: int,
                replacement: bool) -> np.ndarray:
    """Indices of `count` categories for each row of `weights` (..., categories), as int64.

    RuntimeError, in PyTorch's words, where a row is no distribution.
    """
    if not replacement or count == 1:
        return _race(generator, weights, count)
    rows = weights.reshape(-1, weights.shape[-1])
    drawn = [_draw_row(generator, row, count) for row in rows]
    return np.stack(drawn).reshape(*weights.shape[:-1], count)


def _race(generator: Generator, weights: np.ndarray, count: int) -> np.ndarray:
    """Without replacement: every category waits for a time of its rate; the first ones win."""
    with np.errstate(invalid="ignore"):
        if not ((weights >= 0) & (weights < np.inf)).all():
            raise RuntimeError(NOT_WEIGHTS)
    if (weights.sum(-1) == 0).any():
        raise RuntimeError(NO_WEIGHT)
    waited = np.empty_like(weights)
    exponential(generator, waited)
    with np.errstate(all="ignore"):
        speed = weights / waited
    if count == 1:
        return speed.argmax(-1).reshape(*weights.shape[:-1], 1)
    first = np.argsort(-speed, axis=-1, kind="stable")[..., :count]
    return np.ascontiguousarray(first)


def _draw_row(generator: Generator, weights: np.ndarray, count: int) -> np.ndarray:
    """With replacement: uniform numbers, looked up in the running sum of the weights."""
    if of(weights.dtype).name in HALVES:
        weights = weights.astype(np.float32)
    if not (weights >= 0).all():
        raise RuntimeError(NEGATIVE)
    if not np.isfinite(weights).all():
        raise RuntimeError(NOT_FINITE)
    reached = np.cumsum(weights)
    if not reached[-1] > 0:
        raise RuntimeError(NO_WEIGHT)
    reached /= reached[-1]
    reached[-1] = 1
    return np.searchsorted(reached.astype(np.float64), unit64(generator, count))
