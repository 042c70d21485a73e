"""Numbers made presentable: rounded to digits, NaN and infinities replaced."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.ops.elementwise import zero
from kkori.ops.table import op, public
from kkori.tensor import Tensor

_nan_to_num = op("nan_to_num", lambda input, nan, posinf, neginf: np.where(
    np.isnan(input), nan, np.where(input == np.inf, posinf, np.where(
        input == -np.inf, neginf, input))).astype(input.dtype), {
    "input": lambda g, input: g.masked_fill(~input.isfinite(), 0)})


@public(inplace=True)
def nan_to_num(input: Tensor, nan: float | None = None, posinf: float | None = None,
               neginf: float | None = None) -> Tensor:
    """NaN and infinities replaced; by 0 and the type's limits if nothing is given."""
    if input.dtype.kind < types.FLOATING:
        return input.clone()
    limits = types.finfo(input.dtype)
    return _nan_to_num(input, 0.0 if nan is None else nan,
                       limits.max if posinf is None else posinf,
                       limits.min if neginf is None else neginf)


def round_array(input: Any, decimals: Any) -> Any:
    """To the nearest, halves to the even neighbour."""
    if input.dtype.kind in "iu":
        return input.copy()
    if not decimals:
        return np.rint(input)
    scale = input.dtype.type(10.0 ** np.abs(decimals))
    if decimals > 0:
        return np.rint(input * scale) / scale
    return np.rint(input / scale) * scale


_round, _round_decimals = (op(name, round_array, {"input": lambda g: zero(g)}, node=node)
                           for name, node in {"round": "RoundBackward0",
                                              "round_decimals": "RoundBackward1"}.items())


@public(inplace=True)
def round(input: Tensor, *, decimals: int | None = None) -> Tensor:
    """To the nearest integer, or to `decimals` digits; halves go to even (``torch.round``)."""
    return _round(input, 0) if decimals is None else _round_decimals(input, decimals)


__all__ = ["nan_to_num", "round"]
