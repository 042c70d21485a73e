"""How variables vary together: cov and corrcoef."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.complex_numbers import complex
from kkori.ops.table import public
from kkori.tensor import Tensor


def check_weights(name: str, weights: Tensor, count: int, floats: bool) -> None:
    """RuntimeError where frequencies (or other weights) do not fit the observations."""
    if weights._array.ndim > 1:
        raise RuntimeError(errors.message(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with "
            f"{weights._array.ndim} dimensions"))
    if (weights.dtype.kind == types.FLOATING) != floats or weights.dtype.kind == types.COMPLEX:
        kind = "floating point" if floats else "integral"
        raise RuntimeError(errors.message(
            f"cov(): expected {name} to have {kind} dtype but got {name} with "
            f"{weights.dtype.alias} dtype"))
    if weights._array.size != count:
        raise RuntimeError(errors.message(
            f"cov(): expected {name} to have the same numel as there are observations in the "
            f"input but got {weights._array.size} != {count}"))
    if weights._array.size and (weights._array < 0).any():
        raise RuntimeError(errors.message(f"cov(): {name} cannot be negative"))


def joint_weights(fweights: Tensor | None, aweights: Tensor | None) -> Any:
    if fweights is None or aweights is None:
        return aweights if fweights is None else fweights
    return fweights * aweights


def divisor(count: Any, weights: Any, aweights: Any, correction: int) -> Any:
    """How much the products of deviations are divided by."""
    if weights is None:
        return max(count - correction, 0)
    total = weights.sum()
    less = correction if aweights is None or correction == 0 else \
        correction * (weights * aweights).sum() / total
    return el.clamp(total - less, 0)


@public
def cov(input: Tensor, *, correction: int = 1, fweights: Tensor | None = None,
        aweights: Tensor | None = None) -> Tensor:
    """Covariances of the rows, the columns being observations (``torch.cov``)."""
    if input._array.ndim > 2:
        raise RuntimeError(errors.message(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{input._array.ndim} dimensions"))
    if input._array.dtype == np.bool_:
        raise RuntimeError(errors.message("cov(): bool dtype is not supported for input"))
    rows = input if input._array.ndim == 2 else input.reshape(1, -1)
    if rows.dtype.kind < types.FLOATING:
        rows = rows.to(types.get_default_dtype())
    count = rows._array.shape[1]
    for name, weights, floats in (("fweights", fweights, False), ("aweights", aweights, True)):
        if weights is not None:
            check_weights(name, weights, count, floats)
    return covariances(rows, joint_weights(fweights, aweights), aweights, correction).squeeze()


def covariances(rows: Tensor, weights: Any, aweights: Any, correction: int) -> Tensor:
    """Weighted products of deviations from the mean."""
    if weights is None:
        away = rows - rows.mean(1, keepdim=True)
        scaled = away
    else:
        away = rows - (rows * weights).sum(1, keepdim=True) / weights.sum()
        scaled = away * weights
    products = scaled @ el.conj(away.t())
    return products / divisor(rows._array.shape[1], weights, aweights, correction)


@public
def corrcoef(input: Tensor) -> Tensor:
    """Correlation coefficients of the rows (``torch.corrcoef``)."""
    if input._array.ndim > 2:
        raise RuntimeError(errors.message(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with "
            f"{input._array.ndim} dimensions"))
    found = cov(input)
    if not found._array.ndim:
        return found / found
    spread = el.sqrt(found.diagonal())
    spread = spread.real if spread.is_complex() else spread
    result = found / spread.unsqueeze(-1) / spread.unsqueeze(0)
    if result.is_complex():
        return complex(el.clamp(result.real, -1, 1), el.clamp(result.imag, -1, 1))
    return el.clamp(result, -1, 1)


__all__ = ["cov", "corrcoef"]
