"""Attention: softmax(q k' / sqrt(d)) v, plain and with several heads."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.activation import softmax_along, softmax_array, softmax_backward
from kkori.ops.direct import direct
from kkori.ops.matmul import linear, matmul
from kkori.ops.pad import pad
from kkori.ops.table import TORCH
from kkori.tensor import Tensor, wrap

# One head.

def scaled_dot_product_attention(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
        dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
        enable_gqa: bool = False) -> Tensor:
    """softmax(query key' * scale + mask) value, over the last two dimensions.

    query (..., L, E), key (..., S, E), value (..., S, Ev); `attn_mask` says where to look (bool)
    or is added; `scale` is 1 / sqrt(E) if not given. Rows with nothing to look at give 0.
    """
    check_attention(query, key, value, attn_mask, is_causal)
    if enable_gqa:
        key, value = (grouped(x, query._array.shape[-3]) for x in (key, value))
    factor = scale if scale is not None else 1 / math.sqrt(query._array.shape[-1])
    scores = matmul(query * factor, key.transpose(-2, -1))
    if is_causal:
        attn_mask = causal_mask(scores)
    if attn_mask is not None:
        scores = masked_scores(scores, attn_mask)
    weights = safe_softmax(scores) if attn_mask is not None else softmax_along(scores, -1)
    if dropout_p > 0:
        weights = TORCH["dropout"](weights, dropout_p, True)
    return matmul(weights, value)


def check_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
                    is_causal: bool) -> None:
    """RuntimeError for tensors that do not fit together."""
    kinds = [x.dtype for x in (query, key, value)]
    if kinds[0] is not kinds[1] or kinds[0] is not kinds[2]:
        names = [C_NAMES.get(kind.name, kind.name) for kind in kinds]
        raise RuntimeError(errors.message(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{names[0]} key.dtype: {names[1]} and value.dtype: {names[2]} instead."))
    if min(x._array.ndim for x in (query, key, value)) < 2:
        sizes = [x._array.ndim for x in (query, key, value)]
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
            f"{sizes[0]}, key.dim: {sizes[1]} and value.dim: {sizes[2]} instead.")
    if is_causal and mask is not None:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set "
                           "when is_causal=True")
    if mask is not None and mask.dtype is not types.bool_ and not (
            mask.dtype.is_floating_point):
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
            f"attn_mask.dtype: {C_NAMES.get(mask.dtype.name, mask.dtype.name)} and  query.dtype: "
            f"{C_NAMES.get(kinds[0].name, kinds[0].name)} instead.")


C_NAMES = {"float32": "float", "float64": "double", "int64": "long int", "int32": "int",
           "float16": "c10::Half", "bfloat16": "c10::BFloat16", "bool": "bool"}


def grouped(x: Tensor, heads: int) -> Tensor:
    """Heads of keys or values repeated for groups of query heads."""
    own = x._array.shape[-3]
    if heads % own:
        raise RuntimeError("Number of heads in key and value must divide the number of heads in "
                           "query")
    return x if own == heads else TORCH["repeat_interleave"](x, heads // own, -3)


def causal_mask(scores: Tensor) -> Tensor:
    """True where a place may look: at itself and at what came before."""
    length, seen = scores._array.shape[-2:]
    return wrap(np.tri(length, seen, dtype=bool))


def masked_scores(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores with a mask added, or with -inf where it is False."""
    if mask.dtype is types.bool_:
        return el.where(mask, scores, float("-inf"))
    return scores + (mask if mask.dtype is scores.dtype else mask.to(scores.dtype))


def safe_softmax_array(scores: Any) -> Any:
    """Softmax along the last dimension; 0 where everything is -inf."""
    found = softmax_array(scores, -1)
    if scores.size and np.isneginf(scores[..., 0]).any():
        found[np.isneginf(scores).all(-1)] = 0
    return found


safe_softmax = direct("safe_softmax", safe_softmax_array, {
    "scores": lambda g, out: softmax_backward(g, out, g._array.ndim - 1)})


# Several heads.

def multi_head_attention_forward(
        query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int,
        in_proj_weight: Tensor | None, in_proj_bias: Tensor | None, bias_k: Tensor | None,
        bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor,
        out_proj_bias: Tensor | None, training: bool = True,
        key_padding_mask: Tensor | None = None, need_weights: bool = True,
        attn_mask: Tensor | None = None, use_separate_proj_weight: bool = False,
        q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None,
        v_proj_weight: Tensor | None = None, static_k: Tensor | None = None,
        static_v: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
    """Attention with `num_heads` heads between projections (Vaswani et al. 2017).

    query (L, N, E) or (L, E), key and value (S, N, E) or (S, E). Returns the output, and the
    weights (N, L, S) (or one a head) if `need_weights`.
    """
    batched = check_heads(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = (x.unsqueeze(1) for x in (query, key, value))
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    length, batch, width = query._array.shape
    masks, is_causal = both_masks(query, attn_mask, key_padding_mask, need_weights, is_causal)
    check_width(width, embed_dim_to_check, num_heads)
    check_keys(key, value, use_separate_proj_weight)
    if use_separate_proj_weight:
        q, k, v = projected_apart(query, key, value, q_proj_weight, k_proj_weight, v_proj_weight,
                                  in_proj_bias)
    else:
        q, k, v = projected(query, key, value, in_proj_weight, in_proj_bias)
    extra = (bias_k, bias_v) if bias_k is not None and bias_v is not None else ()
    q, k, v = heads_of(q, k, v, static_k, static_v, extra, add_zero_attn, batch, num_heads)
    mask = joined_mask(*masks, (length, key._array.shape[0], batch, num_heads), k._array.shape[1])
    output, weights = attended(q, k, v, mask, dropout_p if training else 0.0, need_weights,
                               is_causal, batch, num_heads)
    output = linear(output, out_proj_weight, out_proj_bias).reshape(length, batch, -1)
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    if not batched:
        output = output.squeeze(1)
        weights = None if weights is None else weights.squeeze(0)
    return output, weights


def both_masks(query: Tensor, attn_mask: Tensor | None, padding: Tensor | None,
               need_weights: bool, is_causal: bool) -> tuple[tuple[Any, Any], bool]:
    """Both masks as masks to add, and whether "causal" alone says it all."""
    padding = added_mask(padding, "key_padding_mask", query, attn_mask)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module "
            "method `generate_square_subsequent_mask` to create this mask.")
    if is_causal and padding is None and not need_weights:
        return (None, None), True
    return (added_mask(attn_mask, "attn_mask", query, None), padding), (
        is_causal and padding is None)


def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float,
             need_weights: bool, is_causal: bool, batch: int,
             heads: int) -> tuple[Tensor, Tensor | None]:
    """All heads at once: (L * N, E), and the weights (N, heads, L, S)."""
    length, seen = q._array.shape[1], k._array.shape[1]
    if not need_weights:
        if mask is not None:
            mask = mask.unsqueeze(0) if mask._array.shape[0] == 1 else mask.reshape(
                batch, heads, -1, seen)
        q, k, v = (x.reshape((batch, heads, *x._array.shape[1:])) for x in (q, k, v))
        found = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
        return found.permute(2, 0, 1, 3).reshape(length * batch, -1), None
    if is_causal and mask is None:
        raise AssertionError("FIXME: is_causal not implemented for need_weights")
    scores = TORCH["bmm"](q * math.sqrt(1.0 / q._array.shape[-1]), k.transpose(-2, -1))
    if mask is not None:
        scores = scores + mask
    weights = softmax_along(scores, -1)
    if dropout_p > 0:
        weights = TORCH["dropout"](weights, dropout_p, True)
    found = TORCH["bmm"](weights, v).transpose(0, 1).reshape(length * batch, -1)
    return found, weights.reshape(batch, heads, length, seen)


def heads_of(q: Tensor, k: Tensor, v: Tensor, static_k: Any, static_v: Any, extra: Any,
             add_zero: bool, batch: int, heads: int) -> list[Tensor]:
    """(length, N, E) as (N * heads, length, E / heads), given keys and values as they are.

    `extra` holds a key and a value more for everybody; `add_zero` adds one of zeros.
    """
    width = q._array.shape[-1] // heads
    if extra:
        k, v = (TORCH["cat"]([x, more.repeat(1, batch, 1)]) for x, more in zip(
            (k, v), extra, strict=True))
    found = []
    for name, x, fixed in (("", q, None), ("static_k", k, static_k), ("static_v", v, static_v)):
        if fixed is None:
            found.append(x.reshape(x._array.shape[0], batch * heads, width).transpose(0, 1))
            continue
        for dim, wanted in ((0, batch * heads), (2, width)):
            if fixed.size(dim) != wanted:
                raise AssertionError(f"expecting {name}.size({dim}) of {wanted}, but got "
                                     f"{fixed.size(dim)}")
        found.append(fixed)
    if add_zero:
        found[1:] = [TORCH["cat"]([x, x.new_zeros((batch * heads, 1, width))], 1)
                     for x in found[1:]]
    return found


def projected(query: Tensor, key: Tensor, value: Tensor, weight: Tensor | None,
              bias: Tensor | None) -> tuple[Tensor, ...]:
    """Queries, keys and values from one matrix; one product where they come from one tensor."""
    if weight is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
    if query is key and key is value:
        return tuple(linear(query, weight, bias).chunk(3, -1))
    parts = weight.chunk(3)
    offsets = (None,) * 3 if bias is None else bias.chunk(3)
    return tuple(linear(x, w, b) for x, w, b in zip((query, key, value), parts, offsets,
                                                    strict=True))


def projected_apart(query: Tensor, key: Tensor, value: Tensor, q_weight: Any, k_weight: Any,
                    v_weight: Any, bias: Tensor | None) -> tuple[Tensor, ...]:
    """Queries, keys and values, each from a matrix of its own."""
    width = query._array.shape[-1]
    offsets = (None,) * 3 if bias is None else bias.chunk(3)
    found = []
    for name, x, weight, offset in zip(("query", "key", "value"), (query, key, value),
                                       (q_weight, k_weight, v_weight), offsets, strict=True):
        if weight is None:
            raise AssertionError(f"use_separate_proj_weight is True but {name[0]}_proj_weight is "
                                 "None")
        wanted = (width, x._array.shape[-1])
        if weight._array.shape != wanted:
            raise AssertionError(f"expecting {name} weights shape of {wanted}, but got "
                                 f"{weight.shape}")
        found.append(linear(x, weight, offset))
    return tuple(found)


def added_mask(mask: Tensor | None, name: str, query: Tensor, other: Tensor | None) -> Any:
    """A mask to add to scores: truth values become 0 and -inf."""
    if mask is None:
        return None
    floating = mask.dtype.is_floating_point
    if mask.dtype is not types.bool_ and not floating:
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if other is not None and other.dtype is not mask.dtype:
        warnings.warn(f"Support for mismatched {name} and attn_mask is deprecated. Use same type "
                      "for both instead.", stacklevel=3)
    return mask if floating else el.where(mask, float("-inf"), query.new_zeros(()))


def mask_per_head(mask: Tensor, length: int, seen: int, batch: int, heads: int) -> Tensor:
    """A mask (L, S) or (N * heads, L, S) with three dimensions, its shape checked."""
    ndim, shape = mask._array.ndim, mask._array.shape
    wanted = {2: (length, seen), 3: (batch * heads, length, seen)}.get(ndim)
    if wanted is None:
        raise RuntimeError(f"attn_mask's dimension {ndim} is not supported")
    if shape != wanted:
        raise RuntimeError(f"The shape of the {ndim}D attn_mask is {mask.shape}, but should be "
                           f"{wanted}.")
    return mask.unsqueeze(0) if ndim == 2 else mask


def joined_mask(mask: Tensor | None, padding: Tensor | None, sizes: Any,
                seen: int) -> Tensor | None:
    """Both masks as one, (1 or N * heads, 1 or L, seen); nothing is hidden of added keys."""
    length, given, batch, heads = sizes
    if mask is not None:
        mask = mask_per_head(mask, length, given, batch, heads)
        mask = pad(mask, (0, seen - given)) if seen > given else mask
    if padding is None:
        return mask
    for dim, wanted in ((0, batch), (1, given)):
        if padding._array.shape[dim] != wanted:
            raise AssertionError(f"Expected key_padded_mask.shape[{dim}] to be {wanted}, but got "
                                 f"{padding._array.shape[dim]}")
    padding = pad(padding, (0, seen - given)) if seen > given else padding
    wide = padding.reshape(batch, 1, 1, seen).expand(-1, heads, -1, -1)
    wide = wide.reshape(batch * heads, 1, seen)
    return wide if mask is None else mask + wide


def check_heads(query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Any, attn_mask: Any,
                heads: int) -> bool:
    """Whether there is a batch; AssertionError where the numbers of dimensions do not fit."""
    ndim = query.dim()
    if ndim not in (2, 3):
        raise AssertionError("query should be unbatched 2D or batched 3D tensor but received "
                             f"{ndim}-D query tensor")
    said = f"For {'batched (3-D)' if ndim == 3 else 'unbatched (2-D)'} `query`, expected "
    if key.dim() != ndim or value.dim() != ndim:
        raise AssertionError(f"{said}`key` and `value` to be {ndim}-D but found {key.dim()}-D and "
                             f"{value.dim()}-D tensors respectively")
    if key_padding_mask is not None and key_padding_mask.dim() != ndim - 1:
        raise AssertionError(f"{said}`key_padding_mask` to be `None` or {ndim - 1}-D but found "
                             f"{key_padding_mask.dim()}-D tensor instead")
    if attn_mask is not None:
        if attn_mask.dim() not in (2, 3):
            raise AssertionError(f"{said}`attn_mask` to be `None`, 2-D or 3-D but found "
                                 f"{attn_mask.dim()}-D tensor instead")
        wanted = (heads, query.shape[0], key.shape[0])
        if ndim == 2 and attn_mask.dim() == 3 and tuple(attn_mask.shape) != wanted:
            raise AssertionError(f"Expected `attn_mask` shape to be {wanted} but got "
                                 f"{attn_mask.shape}")
    return ndim == 3


def check_width(width: int, wanted: int, heads: int) -> None:
    if width != wanted:
        raise AssertionError(f"was expecting embedding dimension of {wanted}, but got {width}")
    if width % heads:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {heads}")


def check_keys(key: Tensor, value: Tensor, apart: bool) -> None:
    if apart and key.shape[:2] != value.shape[:2]:
        raise AssertionError(f"key's sequence and batch dims {key.shape[:2]} do not match value's "
                             f"{value.shape[:2]}")
    if not apart and key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
