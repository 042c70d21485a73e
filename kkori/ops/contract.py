"""Sums of products over named dimensions: einsum and tensordot."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from kkori.core import errors
from kkori.ops.matmul import _bmm, scalar_types
from kkori.ops.move import _permute
from kkori.ops.table import public
from kkori.tensor import Tensor, dimension

ELLIPSIS = "..."
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # PyTorch's order of labels

# Reading the equation.


def wrong(text: str) -> RuntimeError:
    return RuntimeError(errors.message(f"einsum(): {text}"))


def labels_of(text: str, start: int, whose: str) -> list[str]:
    """One side's labels; `start` is where it stands in the equation."""
    found: list[str] = []
    place = 0
    while place < len(text):
        letter = text[place]
        if letter == ".":
            if ELLIPSIS in found:
                again = " but an ellipsis (...) was already found" if whose == "output" else \
                    " for which an ellipsis was already found"
                raise wrong(f"found '.' for {whose}{again}")
            if text[place:place + 3] != ELLIPSIS:
                raise wrong(f"found '.' for {whose} that is not part of any ellipsis"
                            + (" (...)" if whose == "output" else ""))
            found.append(ELLIPSIS)
            place += 2
        elif letter in LETTERS:
            found.append(letter)
        elif letter != " ":
            raise wrong(f"invalid subscript given at index {start + place} in the equation "
                        "string, subscripts must be in [a-zA-Z]")
        place += 1
    return found


def parse(equation: str, count: int) -> tuple[list[list[str]], list[str] | None]:
    """The labels of each operand, and of the result if the equation names them."""
    left, arrow, right = equation.partition("->")
    inputs: list[list[str]] = []
    start = 0
    for number, part in enumerate(left.split(",")):
        if number >= count:
            raise wrong("fewer operands were provided than specified in the equation")
        inputs.append(labels_of(part, start, f"operand {number}"))
        start += len(part) + 1
    if len(inputs) < count:
        raise wrong("more operands were provided than specified in the equation")
    return inputs, labels_of(right, len(left) + 2, "output") if arrow else None


def expanded_labels(labels: list[str], ndim: int, number: int, widest: int) -> list[str]:
    """Labels with the ellipsis as one numbered label for each dimension it stands for."""
    named = [label for label in labels if label != ELLIPSIS]
    if ELLIPSIS not in labels:
        if len(named) != ndim:
            raise wrong(f"the number of subscripts in the equation ({len(named)}) does not match "
                        f"the number of dimensions ({ndim}) for operand {number} and no ellipsis "
                        "was given")
        return labels
    if len(named) > ndim:
        raise wrong(f"the number of subscripts in the equation ({len(named)}) is more than the "
                    f"number of dimensions ({ndim}) for operand {number}")
    covered = ndim - len(named)
    return with_ellipsis(labels, list(range(widest - covered, widest)))


def with_ellipsis(labels: list[str], numbers: Any) -> list[Any]:
    at = labels.index(ELLIPSIS)
    return [*labels[:at], *numbers, *labels[at + 1:]]


def output_labels(wanted: list[str] | None, inputs: list[list[Any]], widest: int) -> list[Any]:
    """Labels of the result: as named, or the ellipsis and all that come once, in order."""
    every = [label for labels in inputs for label in labels]
    if wanted is None:
        once = [label for label in LETTERS if every.count(label) == 1]
        return [*range(widest), *once]
    for place, label in enumerate(wanted):
        if label == ELLIPSIS:
            continue
        if label in wanted[:place]:
            raise wrong(f"output subscript {label} appears more than once in the output")
        if label not in every:
            raise wrong(f"output subscript {label} does not appear in the equation for any input "
                        "operand")
    return with_ellipsis(wanted, range(widest)) if ELLIPSIS in wanted else wanted


# Computing it.

def without_repeats(tensor: Tensor, labels: list[Any], number: int) -> tuple[Tensor, list[Any]]:
    """Diagonals where an operand names a dimension twice."""
    kept: list[Any] = []
    for label in labels:
        if label not in kept:
            kept.append(label)
            continue
        first, second = kept.index(label), len(kept)
        shape = tensor._array.shape
        if shape[first] != shape[second]:
            raise wrong(f"subscript {label} is repeated for operand {number} but the sizes don't "
                        f"match, {shape[second]} != {shape[first]}")
        tensor = tensor.diagonal(0, first, second).movedim(-1, first)
    return tensor, kept


def check_sizes(operands: list[Tensor], inputs: list[list[Any]]) -> None:
    """RuntimeError where a label has two lengths other than 1."""
    seen: dict[Any, int] = {}
    for number, (tensor, labels) in enumerate(zip(operands, inputs, strict=True)):
        for label, size in zip(labels, tensor._array.shape, strict=True):
            before = seen.get(label, 1)
            if before != 1 and size not in (1, before):
                raise wrong(f"subscript {label if isinstance(label, str) else '.'} has size "
                            f"{size} for operand {number} which does not broadcast with "
                            f"previously seen size {before}")
            seen[label] = size if before == 1 else before


def sum_out(tensor: Tensor, labels: list[Any], kept: Any) -> tuple[Tensor, list[Any]]:
    """Sums over the dimensions that nobody needs any more."""
    gone = tuple(d for d, label in enumerate(labels) if label not in kept)
    if not gone:
        return tensor, labels
    return tensor.sum(gone), [label for label in labels if label in kept]


def laid_out(tensor: Tensor, labels: list[Any], order: Sequence[Any]) -> Tensor:
    """Dimensions in the order `order`."""
    places = tuple(labels.index(label) for label in order)
    return tensor if places == tuple(range(len(places))) else _permute(tensor, places)


def common_sizes(left: Tensor, a: list[Any], right: Tensor, b: list[Any]) -> tuple[Tensor, Tensor]:
    """Lengths of 1 stretched where the other side's is larger."""
    sizes = dict(zip(a, left._array.shape, strict=True))
    for label, size in zip(b, right._array.shape, strict=True):
        sizes[label] = max(size, sizes.get(label, 1)) if size else 0
    return left.expand([sizes[x] for x in a]), right.expand([sizes[x] for x in b])


def contract(left: Tensor, a: list[Any], right: Tensor, b: list[Any],
             kept: Any) -> tuple[Tensor, list[Any]]:
    """Two operands into one by a batched matrix product; only labels in `kept` remain."""
    left, a = sum_out(left, a, {*kept, *b})
    right, b = sum_out(right, b, {*kept, *a})
    if left._array.dtype != right._array.dtype:
        raise scalar_types(left, right)
    if any(x in b for x in a):
        left, right = common_sizes(left, a, right, b)
    sizes = dict(zip([*a, *b], [*left._array.shape, *right._array.shape], strict=True))
    both = [x for x in a if x in b and x in kept]
    summed = [x for x in a if x in b and x not in kept]
    rows, columns = [x for x in a if x not in b], [x for x in b if x not in a]
    batch, n, k, m = (prod(sizes[x] for x in part) for part in (both, rows, summed, columns))
    one = laid_out(left, a, both + rows + summed).reshape(batch, n, k)
    two = laid_out(right, b, both + summed + columns).reshape(batch, k, m)
    product = one * two if k == 1 and (n == 1 or m == 1) else _bmm(one, two)
    labels = both + rows + columns
    return product.reshape([sizes[x] for x in labels]), labels


def einsum_of(inputs: list[list[Any]], wanted: list[str] | None,
              operands: list[Tensor]) -> Tensor:
    """Contract the operands from left to right."""
    for place, tensor in enumerate(operands):
        if not isinstance(tensor, Tensor):
            raise TypeError(errors.message(
                f"expected Tensor as element {place} in argument 1, but got "
                f"{type(tensor).__name__}"))
    widest = max((t._array.ndim - len(x) + 1 for t, x in zip(operands, inputs, strict=True)
                  if ELLIPSIS in x), default=0)
    inputs = [expanded_labels(labels, tensor._array.ndim, number, widest)
              for number, (tensor, labels) in enumerate(zip(operands, inputs, strict=True))]
    result = output_labels(wanted, inputs, widest)
    pairs = [without_repeats(tensor, labels, number)
             for number, (tensor, labels) in enumerate(zip(operands, inputs, strict=True))]
    check_sizes([tensor for tensor, _ in pairs], [labels for _, labels in pairs])
    found, labels = pairs[0]
    for place, (tensor, others) in enumerate(pairs[1:], 2):
        later = {label for _, names in pairs[place:] for label in names}
        found, labels = contract(found, labels, tensor, others, {*result, *later})
    found, labels = sum_out(found, labels, result)
    return laid_out(found, labels, [label for label in result if label in labels])


MISSING = ("must specify the equation string and at least one operand, or at least one operand "
           "and its subscripts list")


def from_sublists(args: tuple[Any, ...]) -> tuple[list[list[str]], list[str] | None, list[Tensor]]:
    """``einsum(x, [0, 1], y, [1, 2], [0, 2])`` as labels and operands."""
    def named(numbers: Any) -> list[str]:
        return [ELLIPSIS if number is Ellipsis else letter_of(number) for number in numbers]
    operands = [arg for arg in args if isinstance(arg, Tensor)]
    lists = [named(arg) for arg in args if not isinstance(arg, Tensor)]
    wanted = lists.pop() if len(lists) > len(operands) else None
    return lists, wanted, operands


def letter_of(number: int) -> str:
    if not 0 <= number < len(LETTERS):
        raise ValueError(errors.message(
            "einsum(): subscript in subscript list is not within the valid range [0, 52)"))
    return LETTERS[number]


@public(method=False, out=False)
def einsum(*args: Any) -> Tensor:
    """Products of elements summed over the dimensions that the result does not name.

    ``torch.einsum``; ``einsum("ij,jk->ik", a, b)`` or ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.

    >>> import kkori as torch
    >>> torch.einsum("ij,ij->i", torch.ones(2, 3), torch.ones(2, 3))
    tensor([3., 3.])
    """
    if len(args) < 2:
        raise ValueError(errors.message(f"einsum(): {MISSING}"))
    if isinstance(args[0], Tensor):
        return einsum_of(*from_sublists(args))
    several = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
    operands = list(several)
    return einsum_of(*parse(args[0], len(operands)), operands)


# tensordot.

def contracted_dims(a: Tensor, b: Tensor, dims: Any) -> tuple[list[int], list[int]]:
    """The dimensions to sum over on both sides."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if not isinstance(dims, int):
        first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
        return first, second
    if dims < 0:
        raise RuntimeError(errors.message(f"tensordot expects dims >= 0, but got dims={dims}"))
    if dims > min(a._array.ndim, b._array.ndim):
        raise RuntimeError(errors.message(
            f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}"))
    return list(range(-dims, 0)), list(range(dims))


@public(method=False)
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sum of products over the last `dims` of `a` and first of `b`, or given dimensions."""
    first, second = contracted_dims(a, b, dims)
    if len(first) != len(second):
        raise RuntimeError(errors.message("both dimension lists should have same length"))
    if a._array.dtype != b._array.dtype:
        raise RuntimeError(errors.message("both inputs should have same dtype"))
    one = [dimension(d, a._array.ndim) for d in first]
    two = [dimension(d, b._array.ndim) for d in second]
    for d, e, x, y in zip(one, two, first, second, strict=True):
        n, m = a._array.shape[d], b._array.shape[e]
        if n != m and 1 not in (n, m):
            raise RuntimeError(errors.message(
                f"contracted dimensions need to match, but first has size {n} in dim {x} and "
                f"second has size {m} in dim {y}"))
    left: list[Any] = [("a", d) for d in range(a._array.ndim)]
    right: list[Any] = [("b", e) for e in range(b._array.ndim)]
    for e, d in zip(two, one, strict=True):
        right[e] = left[d]
    summed = [left[d] for d in one]
    kept = [x for x in left + right if x not in summed]
    found, labels = contract(a, left, b, right, set(kept))
    return laid_out(found, labels, kept)


__all__ = ["einsum", "tensordot"]
