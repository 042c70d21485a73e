"""How far vectors are apart, and what is made of pairs of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import errors
from kkori.core.promotion import common
from kkori.ops import elementwise as el
from kkori.ops.elementwise import same_type
from kkori.ops.matmul import linear, mm
from kkori.ops.norms import vector_norm
from kkori.ops.table import TORCH, public
from kkori.tensor import Tensor, wrap


@public(method=False, out=False)
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6,
                      keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension, broadcast."""
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)


@public(method=False, out=False)
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`, norms counted as at least `eps`."""
    kind = common([x1._array, x2._array])
    if not kind.is_floating_point:
        raise RuntimeError("expected common dtype to be floating point, yet common dtype is "
                           f"{kind.alias}")
    x1, x2 = TORCH["broadcast_tensors"](*same_type(x1, x2))
    return (unit(x1, dim, eps) * unit(x2, dim, eps)).sum(dim)


def unit(x: Tensor, dim: int, eps: float) -> Tensor:
    """`x` over its norm along `dim`, or over `eps` where that is larger."""
    length = vector_norm(x, 2, dim, True)
    short = length._array < eps
    if np.any(short):
        length = el.where(length.new_tensor(np.asarray(short)), eps, length)
    return x / length


def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12,
              out: Tensor | None = None) -> Tensor:
    """`input` over its p-norm along `dim`, which counts as at least `eps`."""
    length = el.clamp(vector_norm(input, p, dim, True), min=eps)
    if out is None:
        return input / length
    return TORCH["div"](input, length, out=out)


@public(method=False, out=False)
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Distances between all pairs of rows, (n (n - 1) / 2)."""
    if input._array.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input._array.ndim}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    first, second = (input.new_tensor(places).long() for places in np.triu_indices(
        input._array.shape[0], 1))
    return vector_norm(input[first] - input[second], p, -1)


@public(method=False, out=False)
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1' W input2 for each output's matrix W: (*, I), (*, J), (O, I, J) give (*, O)."""
    check_bilinear(input1, input2, weight)
    lead = input1._array.shape[:-1]
    outputs, rows, columns = weight._array.shape
    left = mm(input1.reshape(-1, rows), weight.permute(1, 0, 2).reshape(rows, -1))
    products = left.reshape(-1, outputs, columns) * input2.reshape(-1, 1, columns)
    found = products.sum(-1).reshape((*lead, outputs))
    return found if bias is None else found + bias


def check_bilinear(input1: Tensor, input2: Tensor, weight: Tensor) -> None:
    """RuntimeError where shapes do not fit."""
    a, b, w = input1._array.shape, input2._array.shape, weight._array.shape
    if len(a) != len(b):
        raise RuntimeError("bilinear(): input dimensions do not match: got "
                           f"{len(a)} and {len(b)}")
    for d, (m, n) in enumerate(zip(a[:-1], b[:-1], strict=True)):
        if m != n:
            raise RuntimeError(f"bilinear(): input batch dimensions do not match at dim {d}: got "
                               f"{m} and {n}")
    for number, size, place in ((1, a[-1], 1), (2, b[-1], 2)):
        if size != w[place]:
            raise RuntimeError(errors.message(
                f"bilinear(): input{number} size does not match weight size: got {size} but "
                f"expected {w[place]}"))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 zeros with a 1 at each class: (*) gives (*, classes); -1: as many as are needed."""
    array = tensor._array
    if array.dtype != np.int64:
        raise RuntimeError(errors.message(
            "one_hot is only applicable to index tensor of type LongTensor.", fix="x.long()"))
    if not array.size:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
    else:
        if array.min() < 0:
            raise RuntimeError("Class values must be non-negative.")
        if num_classes == -1:
            num_classes = int(array.max()) + 1
        elif array.max() >= num_classes:
            raise RuntimeError("Class values must be smaller than num_classes.")
    found = np.zeros((*array.shape, num_classes), np.int64)
    np.put_along_axis(found, array[..., None], 1, -1)
    return wrap(found)


def linear_cross_entropy(input: Tensor, linear_weight: Tensor, target: Tensor, *,
                         linear_bias: Tensor | None = None, weight: Tensor | None = None,
                         reduction: str = "mean", ignore_index: int | None = None,
                         label_smoothing: float = 0.0, options: Any = None) -> Tensor:
    """Cross entropy of ``linear(input, linear_weight, linear_bias)``.

    linear_weight: (classes, *outputs, features). `options` (how to chunk) changes no result.
    """
    from kkori.ops.class_loss import cross_entropy
    check_linear_cross_entropy(input, linear_weight, linear_bias)
    shape = linear_weight._array.shape
    logits_shape = (*input._array.shape[:-1], *shape[:-1])
    if target._array.shape == logits_shape and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    logits = linear(input, linear_weight.reshape(-1, shape[-1]),
                    None if linear_bias is None else linear_bias.reshape(-1))
    return cross_entropy(logits.reshape(logits_shape), target, weight=weight, reduction=reduction,
                         ignore_index=-100 if ignore_index is None else ignore_index,
                         label_smoothing=label_smoothing)


def check_linear_cross_entropy(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    x, w = input._array.shape, weight._array.shape
    if len(x) not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {len(x)}")
    if len(w) < 2:
        raise RuntimeError("expected linear_weight with dimensionality at least 2, got "
                           f"{len(w)}")
    if x[-1] != w[-1]:
        raise RuntimeError("expected equal input and linear_weight last dimensions (in_features), "
                           f"got {x[-1]} and {w[-1]}, respectively")
    if bias is not None and bias._array.shape != w[:-1]:
        raise RuntimeError(f"expected linear_bias shape {w[:-1]}, got {bias._array.shape}")
    if len(w) > 2 and len(x) == 1:
        raise RuntimeError(f"K-dimensional loss defined by linear_weight shape {w} requires "
                           f"batched input, (N, {x[-1]}), got unbatched input with shape {x}")
