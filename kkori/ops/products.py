"""Named products: kron, cross, chains of matrices, Vandermonde matrices."""

from __future__ import annotations

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops.elementwise import same_type
from kkori.ops.matmul import mm
from kkori.ops.move import broadcast_tensors, cat
from kkori.ops.table import public
from kkori.tensor import Tensor, dimension


@public
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: `other` times every element of `input` (``torch.kron``)."""
    ndim = max(input._array.ndim, other._array.ndim)
    one, two = ((1,) * (ndim - t._array.ndim) + tuple(t._array.shape) for t in (input, other))
    left = input.reshape([n for pair in zip(one, (1,) * ndim, strict=True) for n in pair])
    right = other.reshape([n for pair in zip((1,) * ndim, two, strict=True) for n in pair])
    return (left * right).reshape([n * m for n, m in zip(one, two, strict=True)])


def check_cross(input: Tensor, other: Tensor, dim: int) -> None:
    if input._array.ndim != other._array.ndim:
        raise RuntimeError(errors.message(
            "linalg.cross: inputs must have the same number of dimensions."))
    place = dimension(dim, input._array.ndim)
    n, m = input._array.shape[place], other._array.shape[place]
    if n != 3 or m != 3:
        raise RuntimeError(errors.message(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {n} and {m}"))


@public
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The vector product along a dimension of length 3 (``torch.cross``).

    Without `dim`, along the first dimension that has that length.
    """
    if dim is None:
        dim = next((d for d, n in enumerate(input._array.shape) if n == 3), None)
        if dim is None:
            raise RuntimeError(errors.message("no dimension of size 3 in input"))
    check_cross(input, other, dim)
    return cross_along(input, other, dim)


def cross_along(input: Tensor, other: Tensor, dim: int) -> Tensor:
    """The vector product along `dim`, broadcast."""
    a, b = broadcast_tensors(*same_type(input, other))
    ahead, behind = a.roll(-1, dim), b.roll(-1, dim)
    return (a * behind - ahead * b).roll(-1, dim)


@public(method=False)
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of matrices, multiplied in the cheapest order (``torch.chain_matmul``)."""
    if not matrices:
        raise RuntimeError(errors.message("chain_matmul(): Expected one or more matrices"))
    for matrix in matrices:
        if matrix._array.ndim != 2:
            raise RuntimeError(errors.message(
                f"Tensor dimension is {matrix._array.ndim}, expected 2 instead."))
    for place, (a, b) in enumerate(zip(matrices, matrices[1:], strict=False)):
        if a._array.shape[1] != b._array.shape[0]:
            raise RuntimeError(errors.message(
                f"multi_dot(): tensors {place} and {place + 1} with shapes "
                f"{errors.of_shape(a._array.shape)} and {errors.of_shape(b._array.shape)} cannot "
                "be multiplied"))
    return multiplied(list(matrices))


def multiplied(matrices: list[Tensor]) -> Tensor:
    """Their product in the order that needs the fewest multiplications (Cormen et al., 15.2)."""
    sizes = [matrix._array.shape[0] for matrix in matrices] + [matrices[-1]._array.shape[1]]
    count = len(matrices)
    cost = {(i, i): 0 for i in range(count)}
    cut: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i, j], cut[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j))

    def product(i: int, j: int) -> Tensor:
        if i == j:
            return matrices[i]
        return mm(product(i, cut[i, j]), product(cut[i, j] + 1, j))
    return product(0, count - 1)


@public(method=False)
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Powers of a vector's elements as columns, falling unless `increasing` (``vander``)."""
    if x._array.ndim != 1:
        raise RuntimeError(errors.message("x must be a one-dimensional tensor."))
    count = x._array.size if N is None else N
    if count < 0:
        raise RuntimeError(errors.message("N must be non-negative."))
    if x.dtype.kind < types.FLOATING:
        x = x.to(types.int64)
    if not count:
        return x.new_empty((x._array.size, 0))
    ones = x.new_ones((x._array.size, 1))
    powers = cat([ones, x.unsqueeze(1).expand(-1, count - 1)], 1).cumprod(1)
    return powers if increasing else powers.flip(1)


__all__ = ["kron", "cross", "chain_matmul", "vander"]
