"""``torch.nn.functional``: the functions behind the layers, under PyTorch's names.

The functions live in `kkori.ops`, each in the file of its kind; this module lists them and reads
the arguments of those that are only another way to call an operation.
"""


from __future__ import annotations

import warnings
from typing import Any

from kkori.ops import elementwise as _el
from kkori.ops.activation import (
    celu,
    celu_,
    elu,
    elu_,
    gelu,
    glu,
    gumbel_softmax,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    selu_,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
    threshold_,
)
from kkori.ops.adaptive_pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d,
    adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d,
    adaptive_max_pool3d_with_indices,
    fractional_max_pool2d,
    fractional_max_pool2d_with_indices,
    fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
)
from kkori.ops.attention import multi_head_attention_forward, scaled_dot_product_attention
from kkori.ops.class_loss import (
    cross_entropy,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
)
from kkori.ops.composed_loss import (
    cosine_embedding_loss,
    gaussian_nll_loss,
    hinge_embedding_loss,
    kl_div,
    margin_ranking_loss,
    poisson_nll_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from kkori.ops.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_tbc,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from kkori.ops.ctc import ctc_loss
from kkori.ops.distance import (
    bilinear,
    cosine_similarity,
    linear_cross_entropy,
    normalize,
    one_hot,
    pairwise_distance,
    pdist,
)
from kkori.ops.dropout import rrelu_
from kkori.ops.embedding import embedding, embedding_bag
from kkori.ops.grid import affine_grid, grid_sample
from kkori.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
    soft_margin_loss,
)
from kkori.ops.matmul import linear
from kkori.ops.norm import batch_norm, group_norm, instance_norm, rms_norm
from kkori.ops.norm import layer_norm as _layer_norm
from kkori.ops.pad import pad
from kkori.ops.pool import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool2d_with_indices,
    max_pool3d,
    max_pool3d_with_indices,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from kkori.ops.resample import interpolate, upsample, upsample_bilinear, upsample_nearest
from kkori.ops.shuffle import channel_shuffle, fold, pixel_shuffle, pixel_unshuffle, unfold
from kkori.ops.table import METHODS as _METHODS
from kkori.ops.table import TORCH as _TORCH
from kkori.tensor import Tensor

relu_ = _METHODS["relu_"]
native_channel_shuffle = channel_shuffle


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _el.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """tanh(x)."""
    return _el.tanh(input)


def rrelu(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
          inplace: bool = False) -> Tensor:
    """leaky_relu with a slope drawn from [lower, upper) for each element while training."""
    return _TORCH["rrelu_" if inplace else "rrelu"](input, lower, upper, training)


def layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Standardized over the last dimensions, which have `normalized_shape` (Ba et al. 2016)."""
    return _layer_norm(input, normalized_shape, weight, bias, eps)


# Dropout.

def _probability(p: float) -> None:
    """ValueError unless `p` is a probability."""
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _dropped(name: str, input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    return _TORCH[name + "_" if inplace else name](input, p, training)


def dropout(input: Tensor, p: float = 0.5, training: bool = True,
            inplace: bool = False) -> Tensor:
    """Zeros with probability `p` while training, the rest divided by 1 - p."""
    _probability(p)
    return _dropped("dropout", input, p, training, inplace)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False,
                  inplace: bool = False) -> Tensor:
    """Dropout that keeps mean and variance after SELU."""
    _probability(p)
    return _dropped("alpha_dropout", input, p, training, inplace)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False,
                          inplace: bool = False) -> Tensor:
    """alpha_dropout of whole channels."""
    _probability(p)
    return _dropped("feature_alpha_dropout", input, p, training, inplace)


_WRONG_DIMENSIONS = (
    "{name}: Received a {found}-D input to {name}, which is deprecated and will result in an "
    "error in a future release. To retain the behavior and silence this warning, please use "
    "dropout instead. Note that {name} exists to provide channel-wise dropout on inputs with "
    "{space} spatial dimensions, a channel dimension, and an optional batch dimension (i.e. "
    "{single}D or {batched}D inputs).")


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True,
              inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, L) or (C, L) dropped."""
    _probability(p)
    ndim = input.dim()
    if ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {ndim}D input. Note that "
            "dropout1d exists to provide channel-wise dropout on inputs with 1 spatial dimension, "
            "a channel dimension, and an optional batch dimension (i.e. 2D or 3D inputs).")
    return _channels_dropped(input, ndim == 3, p, training, inplace)


def _channels_dropped(input: Tensor, batched: bool, p: float, training: bool,
                      inplace: bool) -> Tensor:
    if batched:
        return _dropped("feature_dropout", input, p, training, inplace)
    if inplace:
        return _dropped("feature_dropout", input.unsqueeze_(0), p, training, True).squeeze_(0)
    return _dropped("feature_dropout", input.unsqueeze(0), p, training, False).squeeze(0)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True,
              inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, H, W) dropped."""
    _probability(p)
    ndim = input.dim()
    if ndim not in (3, 4):
        warnings.warn(_WRONG_DIMENSIONS.format(name="dropout2d", found=ndim, space=2, single=3,
                                               batched=4), stacklevel=2)
    if ndim == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D "
            "dropout behavior is desired - input is interpreted as shape (N, C, L), where C is "
            "the channel dim. This behavior will change in a future release to interpret the "
            "input as one without a batch dimension, i.e. shape (C, H, W). To maintain the 1D "
            "channel-wise dropout behavior, please switch to using dropout1d instead.",
            stacklevel=2)
    return _dropped("feature_dropout", input, p, training, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True,
              inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, D, H, W) or (C, D, H, W) dropped."""
    _probability(p)
    ndim = input.dim()
    if ndim not in (4, 5):
        warnings.warn(_WRONG_DIMENSIONS.format(name="dropout3d", found=ndim, space=3, single=4,
                                               batched=5), stacklevel=2)
    return _channels_dropped(input, ndim != 4, p, training, inplace)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75,
                        k: float = 1.0) -> Tensor:
    """Each element over a power of the mean square of `size` neighbouring channels.

    ValueError below 3 dimensions. (Krizhevsky et al. 2012)
    """
    shape = input.shape
    if len(shape) < 3:
        raise ValueError("Expected 3D or higher dimensionality                          input "
                         f"(got {len(shape)} dimensions)")
    if not input.numel():
        return input
    squares = (input * input).reshape(shape[0], 1, shape[1], -1)
    squares = pad(squares, (0, 0, size // 2, (size - 1) // 2))
    means = avg_pool2d(squares, (size, 1), stride=1).reshape(shape)
    return input / (means * alpha + k) ** beta


__all__ = [_name for _name in globals() if not _name.startswith("_") and _name not in (
    "annotations", "warnings", "Any", "Tensor")]
