"""Lengths and distances: vector norms, norm, dist, cdist, renorm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.reduce import as_axis, axes_of, one_axis, sum, unreduce
from kkori.ops.table import TORCH, op, operand, public
from kkori.tensor import Tensor


def vector_norm_array(input: Any, p: Any, axes: Any, keepdim: Any) -> Any:
    """(sum |x|^p)^(1/p); the count of what is not 0 for p = 0, an extreme for p = +-inf."""
    axis = as_axis(axes, input)
    wide = input.astype(np.float32) if input.dtype.itemsize == 2 else input
    size = np.abs(wide)
    if p == 0:
        found = np.add.reduce((size != 0).astype(size.dtype), axis=axis, keepdims=keepdim)
    elif math.isinf(p):
        extreme = np.maximum if p > 0 else np.minimum
        found = extreme.reduce(size, axis=axis, keepdims=keepdim)
    elif p == 1:
        found = np.add.reduce(size, axis=axis, keepdims=keepdim)
    elif p == 2:
        found = np.sqrt(np.add.reduce(size * size, axis=axis, keepdims=keepdim))
    else:
        found = np.power(np.add.reduce(np.power(size, p), axis=axis, keepdims=keepdim), 1 / p)
    return np.asarray(found).astype(input.real.dtype, copy=False)


def vector_norm_gradient(g: Tensor, input: Tensor, out: Tensor, p: float, axes: Any,
                         keepdim: bool) -> Tensor:
    """Slope of the norm; 0 where it has none."""
    shape = input._array.shape
    wide, length = unreduce(g, shape, axes, keepdim), unreduce(out, shape, axes, keepdim)
    if p == 0:
        return wide * input * 0
    if p == 1:
        return wide * el.sgn(input)
    if p == 2:
        return wide * (input / length).masked_fill(length == 0, 0)
    size = el.abs(input)
    if math.isinf(p):
        hit = ((size == length) | el.isnan(size)).to(wide.dtype)
        return el.sgn(input) * (wide * hit / sum(hit, axes, bool(shape)))
    scale = (wide / length ** (p - 1)).masked_fill(length == 0, 0)
    power = size ** (p - 1) if p > 1 else (size ** (p - 1)).masked_fill(size == 0, 0)
    return el.sgn(input) * power * scale


_vector_norm = op("vector_norm", vector_norm_array, {"input": vector_norm_gradient},
                  node="LinalgVectorNormBackward0")


def vector_norm(input: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False,
                dtype: Any = None) -> Tensor:
    """The p-norm of all elements, or along `dim` (``torch.linalg.vector_norm``)."""
    if dtype is not None:
        input = input.to(dtype)
    if input.dtype.kind < types.FLOATING:
        raise RuntimeError(errors.message(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{input.dtype.alias}", fix="x.float()"))
    axes = axes_of(dim, input._array.ndim)
    check_identity(input, p, axes)
    return _vector_norm(input, float(p), axes, keepdim)


def check_identity(input: Tensor, p: Any, axes: Any) -> None:
    """Extremes (and norms of negative order) of nothing are errors."""
    shape = input._array.shape
    if input._array.size or not (p < 0 or p == math.inf):
        return
    if axes is None:
        raise RuntimeError(errors.message(
            f"linalg.vector_norm cannot compute the {p:g} norm on an empty tensor because the "
            "operation does not have an identity"))
    for axis in axes:
        if not shape[axis]:
            raise RuntimeError(errors.message(
                f"linalg.vector_norm cannot compute the {p:g} norm on the dimension {axis} "
                "because this dimension is empty and the operation does not have an identity"))


@public
def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None,
         ) -> Tensor:
    """The length of `input`, of all or along `dim` (``torch.norm``).

    `p`: a number, "fro" (the square root of the sum of squares) or "nuc" (singular values).
    """
    if isinstance(p, str) and p != "fro":
        return matrix_norm_of(input, p, dim, keepdim, dtype)
    if p == "fro" and dim is not None and not isinstance(dim, int) and len(dim) > 2:
        raise RuntimeError(errors.message(
            f"linalg.matrix_norm: dim must be a 2-tuple. Got {' '.join(map(str, dim))}"))
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype)


def matrix_norm_of(input: Tensor, p: str, dim: Any, keepdim: bool, dtype: Any) -> Tensor:
    from importlib import import_module
    plane = (-2, -1) if dim is None else dim
    return import_module("kkori.linalg").matrix_norm(input, p, plane, keepdim, dtype=dtype)


TORCH["frobenius_norm"] = norm
TORCH["nuclear_norm"] = lambda input, dim=None, keepdim=False: norm(input, "nuc", dim, keepdim)


@public
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference of two tensors (``torch.dist``)."""
    operand("dist", input, other, "none")
    gap = input - other
    if gap.dtype.kind < types.FLOATING:
        raise RuntimeError(errors.message(
            "norm(): input dtype should be either floating point or complex. Got "
            f"{gap.dtype.alias} instead."))
    return vector_norm(gap, p)


def check_cdist(x1: Tensor, x2: Tensor, p: float, compute_mode: str | None) -> None:
    for name, x in (("X1", x1), ("X2", x2)):
        if x.dtype.kind != types.FLOATING:
            raise RuntimeError(errors.message(
                f"cdist only supports floating-point dtypes, {name} got: {x.dtype.alias}"))
    for name, x in (("X1", x1), ("X2", x2)):
        if x._array.ndim < 2:
            raise RuntimeError(errors.message(
                f"cdist only supports at least 2D tensors, {name} got: {x._array.ndim}D"))
    if x1._array.shape[-1] != x2._array.shape[-1]:
        raise RuntimeError(errors.message(
            "X1 and X2 must have the same number of columns. X1: "
            f"{x1._array.shape[-1]} X2: {x2._array.shape[-1]}"))
    if p < 0:
        raise RuntimeError(errors.message("cdist only supports non-negative p values"))
    if compute_mode not in COMPUTE_MODES:
        raise ValueError(errors.message(f"{compute_mode} is not a valid value for compute_mode"))


COMPUTE_MODES = (None, "use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist",
                 "donot_use_mm_for_euclid_dist")


@public(method=False, out=False)
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0,
          compute_mode: str | None = COMPUTE_MODES[1]) -> Tensor:
    """p-norm distances of all pairs of rows: (..., n, k), (..., m, k) give (..., n, m)."""
    check_cdist(x1, x2, p, compute_mode)
    gap = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    if not gap._array.shape[-1]:
        return gap.sum(-1)
    return _vector_norm(gap, float(p), (gap._array.ndim - 1,), False)


@public(inplace=True)
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Every slice along `dim` shrunk to a p-norm of at most `maxnorm` (``torch.renorm``)."""
    ndim = input._array.ndim
    if ndim < 2:
        raise RuntimeError(errors.message(
            f"renorm: input needs at least 2 dimensions, got {ndim} dimensions"))
    if p <= 0:
        raise RuntimeError(errors.message("renorm: non-positive-norm not supported"))
    if maxnorm < 0:
        raise RuntimeError(errors.message(
            f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}"))
    place = one_axis(dim, ndim)
    length = vector_norm(input, p, tuple(d for d in range(ndim) if d != place), True)
    factor = el.where(length > maxnorm, maxnorm / (length + 1e-7), 1.0)
    return input * factor.to(input.dtype)


__all__ = ["vector_norm", "norm", "dist", "cdist", "renorm"]
