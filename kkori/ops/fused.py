"""A product added to something: addmv, addr, baddbmm, addbmm, addcmul, addcdiv.

One rule for all: ``beta * input + alpha * product(one, two)``. Half precision is computed in
float32 and rounded once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops.elementwise import conj, same_type
from kkori.ops.matmul import _bmm, _mv, check_bmm, check_mv, check_vectors, outer, scaled, turned
from kkori.ops.move import _t
from kkori.ops.table import not_a_tensor, op, public
from kkori.tensor import Tensor


def is_half(array: Any) -> bool:
    return array.dtype.itemsize == 2 and array.dtype.kind in "fV"


def fused_rule(product: Any) -> Any:
    """The array rule of one row; with beta 0 `input` gives nothing but its shape."""
    def rule(input: Any, one: Any, two: Any, beta: Any, alpha: Any) -> Any:
        kind = input.dtype
        if is_half(input):
            input, one, two = (array.astype(np.float32) for array in (input, one, two))
        found = product(one, two)
        if alpha != 1:
            found = found * np.asarray(alpha, found.dtype)
        if beta == 0:
            shape = np.broadcast_shapes(input.shape, found.shape)
            return np.broadcast_to(found, shape).astype(kind)
        addend = input if beta == 1 else input * np.asarray(beta, input.dtype)
        return (addend + found).astype(kind, copy=False)
    return rule


def fused_row(name: str, product: Any, for_one: Any, for_two: Any) -> Callable[..., Tensor]:
    """A row of this kind; `for_one` and `for_two` give the gradients of the product."""
    return op(name, fused_rule(product), grad={
        "input": lambda g, beta: scaled(g, beta),
        "one": lambda g, one, two, alpha: scaled(for_one(g, one, two), alpha),
        "two": lambda g, one, two, alpha: scaled(for_two(g, one, two), alpha)})


def batches(g: Tensor, one: Tensor) -> Tensor:
    """The gradient of a sum over a batch: the same for each of it."""
    return g.expand((one._array.shape[0], *g._array.shape))


_addcmul = fused_row("addcmul", np.multiply, lambda g, one, two: g * conj(two),
                     lambda g, one, two: g * conj(one))
_addcdiv = fused_row("addcdiv", np.true_divide, lambda g, one, two: g / conj(two),
                     lambda g, one, two: -g * conj(one / (two * two)))
_addmv = fused_row("addmv", np.dot, lambda g, one, two: outer(g, conj(two)),
                   lambda g, one, two: _mv(turned(one), g))
_addr = fused_row("addr", np.multiply.outer, lambda g, one, two: _mv(g, conj(two)),
                  lambda g, one, two: _mv(_t(g), conj(one)))
_baddbmm = fused_row("baddbmm", np.matmul, lambda g, one, two: _bmm(g, turned(two)),
                     lambda g, one, two: _bmm(turned(one), g))
_addbmm = fused_row("addbmm", lambda a, b: np.add.reduce(np.matmul(a, b), axis=0),
                    lambda g, one, two: _bmm(batches(g, one), turned(two)),
                    lambda g, one, two: _bmm(turned(one), batches(g, one)))


def stretched(input: Tensor, shape: Any) -> Tensor:
    """`input` if it broadcasts to the product's `shape`; PyTorch's error if it does not."""
    if input._array.shape != shape:
        input.expand(shape)
    return input


@public(inplace=True)
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * mat @ vec`` (``torch.addmv``)."""
    check_mv(mat, vec)
    return _addmv(stretched(input, mat._array.shape[:1]), mat, vec, beta, alpha)


@public(inplace=True)
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)`` (``torch.addr``)."""
    check_vectors(vec1, vec2)
    shape = vec1._array.shape + vec2._array.shape
    return _addr(*same_type(stretched(input, shape), vec1, vec2), beta, alpha)


@public(inplace=True)
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1,
            alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * batch1 @ batch2`` (``torch.baddbmm``)."""
    check_bmm(batch1, batch2)
    shape = batch1._array.shape[:2] + batch2._array.shape[2:]
    return _baddbmm(stretched(input, shape), batch1, batch2, beta, alpha)


@public(inplace=True)
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1,
           alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * sum of batch1 @ batch2`` (``torch.addbmm``)."""
    check_bmm(batch1, batch2)
    shape = batch1._array.shape[1:2] + batch2._array.shape[2:]
    return _addbmm(stretched(input, shape), batch1, batch2, beta, alpha)


def check_factors(name: str, *factors: Any) -> None:
    for place, factor in enumerate(factors, 1):
        if not isinstance(factor, Tensor):
            raise not_a_tensor(name, f"tensor{place}", place + 1, factor)


@public(inplace=True)
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 * tensor2`` (``torch.addcmul``)."""
    check_factors("addcmul", tensor1, tensor2)
    return _addcmul(*same_type(input, tensor1, tensor2), 1, value)


@public(inplace=True)
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 / tensor2`` (``torch.addcdiv``)."""
    check_factors("addcdiv", tensor1, tensor2)
    if all(t.dtype.kind < types.FLOATING for t in (tensor1, tensor2)):
        raise RuntimeError(errors.message(INTEGER_ADDCDIV, fix="tensor1.float()"))
    return _addcdiv(*same_type(input, tensor1, tensor2), 1, value)


INTEGER_ADDCDIV = (
    "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will "
    "perform a true division of tensor1 and tensor2. The historic addcdiv behavior can be "
    "implemented as (input + value * torch.trunc(tensor1 / tensor2)).to(input.dtype) for integer "
    "inputs and as (input + value * tensor1 / tensor2) for float inputs. The future addcdiv "
    "behavior is just the latter implementation: (input + value * tensor1 / tensor2), for all "
    "dtypes.")

__all__ = ["addmv", "addr", "baddbmm", "addbmm", "addcmul", "addcdiv"]
