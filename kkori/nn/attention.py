"""Multi-head attention as a layer (Vaswani et al. 2017)."""

from __future__ import annotations

import warnings
from typing import Any

from kkori.core.dtype import bool_
from kkori.nn import functional as F
from kkori.nn import init
from kkori.nn.linear import NonDynamicallyQuantizableLinear
from kkori.nn.module import Module
from kkori.nn.parameter import Parameter
from kkori.ops.create import empty, zeros_like
from kkori.tensor import Tensor

__all__ = ["MultiheadAttention", "float_mask"]

PROJECTIONS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


def float_mask(mask: Tensor | None, name: str, dtype: Any, other: Tensor | None = None,
               other_name: str = "") -> Tensor | None:
    """A mask to add to scores: -inf where a boolean one is True, a floating one as it is."""
    if mask is None:
        return None
    if mask.dtype is not bool_ and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if other is not None and mask.dtype != other.dtype:
        warnings.warn(f"Support for mismatched {name} and {other_name} is deprecated. Use same "
                      "type for both instead.", stacklevel=4)
    if mask.is_floating_point():
        return mask
    return zeros_like(mask, dtype=dtype).masked_fill_(mask, float("-inf"))


class MultiheadAttention(Module):
    """softmax(Q Kᵀ / √d) V for several projections of query, key and value at once.

    Inputs are (time, batch, embed_dim), with `batch_first` (batch, time, embed_dim), or without a
    batch. Returns (output, weights); weights are averaged over the heads, or None.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False, device: Any = None,
                 dtype: Any = None) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and "
                f"num_heads={num_heads} instead")
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads, self.dropout, self.batch_first = num_heads, dropout, batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self._make_parameters(bias, add_bias_kv, device=device, dtype=dtype)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _make_parameters(self, bias: bool, add_bias_kv: bool, **factory: Any) -> None:
        size = self.embed_dim
        shapes: dict[str, tuple[int, ...] | None] = dict.fromkeys(("in_proj_weight", *PROJECTIONS))
        if self._qkv_same_embed_dim:
            shapes["in_proj_weight"] = (3 * size, size)
        else:
            shapes.update(zip(PROJECTIONS, ((size, size), (size, self.kdim), (size, self.vdim)),
                              strict=True))
            shapes["in_proj_weight"] = shapes.pop("in_proj_weight")  # last, as in PyTorch
        shapes["in_proj_bias"] = (3 * size,) if bias else None
        for name, shape in shapes.items():
            value = None if shape is None else Parameter(empty(shape, **factory))
            self.register_parameter(name, value)
        self.out_proj = NonDynamicallyQuantizableLinear(size, size, bias=bias, **factory)
        self.bias_k = self.bias_v = None
        if add_bias_kv:
            self.bias_k = Parameter(empty((1, 1, size), **factory))
            self.bias_v = Parameter(empty((1, 1, size), **factory))

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", *PROJECTIONS):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.constant_(bias, 0.0)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"_qkv_same_embed_dim": True, **state})

    def forward(self, query: Tensor, key: Tensor, value: Tensor,
                key_padding_mask: Tensor | None = None, need_weights: bool = True,
                attn_mask: Tensor | None = None, average_attn_weights: bool = True,
                is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
        key_padding_mask = float_mask(key_padding_mask, "key_padding_mask", query.dtype, attn_mask,
                                      "attn_mask")
        attn_mask = float_mask(attn_mask, "attn_mask", query.dtype)
        swap = self.batch_first and query.dim() == 3
        if swap:
            query, key, value = _swapped(query, key, value)
        separate = {} if self._qkv_same_embed_dim else {
            "use_separate_proj_weight": True,
            **{name: getattr(self, name) for name in PROJECTIONS}}
        output, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout,
            self.out_proj.weight, self.out_proj.bias, training=self.training,
            key_padding_mask=key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
            average_attn_weights=average_attn_weights, is_causal=is_causal, **separate)
        return output.transpose(1, 0) if swap else output, weights

    def merge_masks(self, attn_mask: Tensor | None, key_padding_mask: Tensor | None,
                    query: Tensor) -> tuple[Tensor | None, int | None]:
        """Both masks as one of shape (batch, heads, time, time), and its kind: 0, 1 or 2."""
        if attn_mask is None:
            return key_padding_mask, None if key_padding_mask is None else 1
        batch, length, _ = query.shape
        if attn_mask.dim() == 3:
            merged = attn_mask.view(batch, -1, length, length)
        else:
            merged = attn_mask.view(1, 1, length, length).expand(batch, self.num_heads, -1, -1)
        if key_padding_mask is not None:
            padding = key_padding_mask.view(batch, 1, 1, length)
            merged = merged + padding.expand(-1, self.num_heads, -1, -1)
        return merged, 2


def _swapped(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Time before batch; inputs that were one tensor stay one."""
    made: dict[int, Tensor] = {}
    for each in (query, key, value):
        if id(each) not in made:
            made[id(each)] = each.transpose(1, 0)
    return made[id(query)], made[id(key)], made[id(value)]
