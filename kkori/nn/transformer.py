"""Transformers: encoder and decoder layers, their stacks, and both together."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.mode import is_grad_enabled
from kkori.core.promise import peeked
from kkori.nn import functional as F
from kkori.nn import init
from kkori.nn.activation import GELU, ReLU
from kkori.nn.attention import MultiheadAttention, float_mask
from kkori.nn.containers import ModuleList
from kkori.nn.dropout import Dropout
from kkori.nn.linear import Linear
from kkori.nn.module import Module
from kkori.nn.normalization import LayerNorm
from kkori.ops.create import full
from kkori.tensor import Tensor

__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
           "TransformerEncoderLayer"]

Mask = Tensor | None
Activation = str | Callable[[Tensor], Tensor]


def _generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
    return full((sz, sz), float("-inf"), dtype=dtype, device=device).triu(1)


class _Block(Module):
    """What both kinds of layer share: attention and a two-layer network, each added to its input.

    With `norm_first` the sum's second part sees a normalised input; otherwise the sum is
    normalised.
    """

    def _make(self, d_model: int, nhead: int, dim_feedforward: int, dropout: float,
              activation: Activation, layer_norm_eps: float, batch_first: bool, norm_first: bool,
              bias: bool, attentions: tuple[str, ...], **factory: Any) -> None:
        for name in attentions:
            setattr(self, name, MultiheadAttention(d_model, nhead, dropout=dropout, bias=bias,
                                                   batch_first=batch_first, **factory))
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **factory)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **factory)
        self.norm_first = norm_first
        numbers = range(1, len(attentions) + 2)
        for number in numbers:
            setattr(self, f"norm{number}",
                    LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **factory))
        for number in numbers:
            setattr(self, f"dropout{number}", Dropout(dropout))
        self.activation = _activation(activation)

    def _add(self, x: Tensor, norm: Module, block: Callable[[Tensor], Tensor]) -> Tensor:
        return x + block(norm(x)) if self.norm_first else norm(x + block(x))

    def _feed_forward(self, x: Tensor, dropout: Module) -> Tensor:
        return dropout(self.linear2(self.dropout(self.activation(self.linear1(x)))))


def _activation(activation: Activation) -> Any:
    if not isinstance(activation, str):
        return activation
    if activation not in ("relu", "gelu"):
        raise RuntimeError(f"activation should be relu/gelu, not {activation}")
    return getattr(F, activation)


class TransformerEncoderLayer(_Block):
    """Self-attention, then a two-layer network."""

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Activation = F.relu, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self._make(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps,
                   batch_first, norm_first, bias, ("self_attn",), device=device, dtype=dtype)
        is_relu = self.activation is F.relu or isinstance(self.activation, ReLU)
        is_gelu = self.activation is F.gelu or isinstance(self.activation, GELU)
        self.activation_relu_or_gelu = 1 if is_relu else 2 if is_gelu else 0

    def forward(self, src: Tensor, src_mask: Mask = None, src_key_padding_mask: Mask = None,
                is_causal: bool = False) -> Tensor:
        padding = float_mask(src_key_padding_mask, "src_key_padding_mask", src.dtype, src_mask,
                             "src_mask")
        mask = float_mask(src_mask, "src_mask", src.dtype)
        x = self._add(src, self.norm1, lambda x: self._sa_block(x, mask, padding, is_causal))
        return self._add(x, self.norm2, self._ff_block)

    def _sa_block(self, x: Tensor, attn_mask: Mask, key_padding_mask: Mask,
                  is_causal: bool = False) -> Tensor:
        return self.dropout1(self.self_attn(
            x, x, x, attn_mask=attn_mask, key_padding_mask=key_padding_mask, need_weights=False,
            is_causal=is_causal)[0])

    def _ff_block(self, x: Tensor) -> Tensor:
        return self._feed_forward(x, self.dropout2)


class TransformerDecoderLayer(_Block):
    """Self-attention, attention to `memory`, then a two-layer network."""

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Activation = F.relu, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self._make(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps,
                   batch_first, norm_first, bias, ("self_attn", "multihead_attn"), device=device,
                   dtype=dtype)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # As in PyTorch 2.13: an activation that is a module is not in `state`, so a copy (every
        # layer of a TransformerDecoder is one) computes relu, whatever its printed form says.
        super().__setstate__({"activation": F.relu, **state})

    def forward(self, tgt: Tensor, memory: Tensor, tgt_mask: Mask = None, memory_mask: Mask = None,
                tgt_key_padding_mask: Mask = None, memory_key_padding_mask: Mask = None,
                tgt_is_causal: bool = False, memory_is_causal: bool = False) -> Tensor:
        x = self._add(tgt, self.norm1, lambda x: self._sa_block(
            x, tgt_mask, tgt_key_padding_mask, tgt_is_causal))
        x = self._add(x, self.norm2, lambda x: self._mha_block(
            x, memory, memory_mask, memory_key_padding_mask, memory_is_causal))
        return self._add(x, self.norm3, self._ff_block)

    def _sa_block(self, x: Tensor, attn_mask: Mask, key_padding_mask: Mask,
                  is_causal: bool = False) -> Tensor:
        return self.dropout1(self.self_attn(
            x, x, x, attn_mask=attn_mask, key_padding_mask=key_padding_mask, is_causal=is_causal,
            need_weights=False)[0])

    def _mha_block(self, x: Tensor, mem: Tensor, attn_mask: Mask, key_padding_mask: Mask,
                   is_causal: bool = False) -> Tensor:
        return self.dropout2(self.multihead_attn(
            x, mem, mem, attn_mask=attn_mask, key_padding_mask=key_padding_mask,
            is_causal=is_causal, need_weights=False)[0])

    def _ff_block(self, x: Tensor) -> Tensor:
        return self._feed_forward(x, self.dropout3)


def _get_clones(module: Module, N: int) -> ModuleList:
    return ModuleList([copy.deepcopy(module) for _ in range(N)])


def _is_causal(mask: Mask, is_causal: bool | None, x: Tensor, batch_first: bool) -> bool:
    """`is_causal` if given; otherwise whether `mask` hides exactly the future."""
    if is_causal is not None or mask is None:
        return is_causal is True
    length = x.shape[1 if batch_first and x.dim() == 3 else 0]
    causal = np.triu(np.full((length, length), -np.inf), 1).astype(mask._array.dtype)
    return np.array_equal(peeked(mask._array), causal)


# Why padded positions keep whatever attention makes of them: what must be so of the layer for
# PyTorch to leave them out (they are 0 then), in PyTorch's order and words.
NOT_SPARSE: tuple[tuple[Callable[[Any], Any], str], ...] = (
    (lambda layer: not isinstance(layer, TransformerEncoderLayer),
     "encoder_layer was not TransformerEncoderLayer"),
    (lambda layer: layer.norm_first, "encoder_layer.norm_first was True"),
    (lambda layer: not layer.self_attn.batch_first,
     "encoder_layer.self_attn.batch_first was not True"
     "(use batch_first for better inference performance)"),
    (lambda layer: not layer.self_attn._qkv_same_embed_dim,
     "encoder_layer.self_attn._qkv_same_embed_dim was not True"),
    (lambda layer: layer.self_attn.in_proj_bias is None,
     "encoder_layer.self_attn was passed bias=False"),
    (lambda layer: not layer.activation_relu_or_gelu,
     "encoder_layer.activation_relu_or_gelu was not True"),
    (lambda layer: layer.norm1.eps != layer.norm2.eps,
     "encoder_layer.norm1.eps was not equal to encoder_layer.norm2.eps"),
    (lambda layer: layer.self_attn.num_heads % 2 == 1,
     "encoder_layer.self_attn.num_heads is odd"),
)


class TransformerEncoder(Module):
    """`num_layers` copies of a layer, one after the other, and a last normalisation."""

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
                 enable_nested_tensor: bool = True, mask_check: bool = True) -> None:
        super().__init__()
        self.layers = _get_clones(encoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm
        self.enable_nested_tensor = self.use_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check
        why_not = next((why for test, why in NOT_SPARSE if test(encoder_layer)), None)
        if enable_nested_tensor and why_not is not None:
            warnings.warn("enable_nested_tensor is True, but self.use_nested_tensor is False "
                          f"because {why_not}", stacklevel=2)
            self.use_nested_tensor = False

    def forward(self, src: Tensor, mask: Mask = None, src_key_padding_mask: Mask = None,
                is_causal: bool | None = None) -> Tensor:
        padding = float_mask(src_key_padding_mask, "src_key_padding_mask", src.dtype, mask, "mask")
        mask = float_mask(mask, "mask", src.dtype)
        is_causal = _is_causal(mask, is_causal, src, self.layers[0].self_attn.batch_first)
        output = src
        for layer in self.layers:
            output = layer(output, src_mask=mask, is_causal=is_causal, src_key_padding_mask=padding)
        if padding is not None and mask is None and self._leaves_padding_out(src, padding):
            output = output.masked_fill((padding != 0).unsqueeze(-1), 0.0)
        return output if self.norm is None else self.norm(output)

    def _leaves_padding_out(self, src: Tensor, padding: Tensor) -> bool:
        """Whether PyTorch would skip padded positions, whose output is then 0."""
        if not self.use_nested_tensor or self.layers[0].training or src.dim() != 3:
            return False
        if is_grad_enabled() and (src.requires_grad or any(
                parameter.requires_grad for parameter in self.layers[0].parameters())):
            return False
        hidden = (padding != 0).long()
        at_the_end = bool((hidden == hidden.cummax(1)[0]).all())
        return at_the_end or not self.mask_check


class TransformerDecoder(Module):
    """`num_layers` copies of a layer, one after the other, and a last normalisation."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _get_clones(decoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def forward(self, tgt: Tensor, memory: Tensor, tgt_mask: Mask = None, memory_mask: Mask = None,
                tgt_key_padding_mask: Mask = None, memory_key_padding_mask: Mask = None,
                tgt_is_causal: bool | None = None, memory_is_causal: bool = False) -> Tensor:
        causal = _is_causal(tgt_mask, tgt_is_causal, tgt, self.layers[0].self_attn.batch_first)
        output = tgt
        for layer in self.layers:
            output = layer(output, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                           tgt_key_padding_mask=tgt_key_padding_mask,
                           memory_key_padding_mask=memory_key_padding_mask,
                           tgt_is_causal=causal, memory_is_causal=memory_is_causal)
        return output if self.norm is None else self.norm(output)


class Transformer(Module):
    """An encoder of `src` and a decoder of `tgt` that attends to it (Vaswani et al. 2017)."""

    def __init__(self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6,
                 num_decoder_layers: int = 6, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Activation = F.relu, custom_encoder: Any = None,
                 custom_decoder: Any = None, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        settings = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps,
                    batch_first, norm_first, bias, device, dtype)
        norm = {"eps": layer_norm_eps, "bias": bias, "device": device, "dtype": dtype}
        self.encoder = custom_encoder if custom_encoder is not None else TransformerEncoder(
            TransformerEncoderLayer(*settings), num_encoder_layers, LayerNorm(d_model, **norm))
        self.decoder = custom_decoder if custom_decoder is not None else TransformerDecoder(
            TransformerDecoderLayer(*settings), num_decoder_layers, LayerNorm(d_model, **norm))
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(self, src: Tensor, tgt: Tensor, src_mask: Mask = None, tgt_mask: Mask = None,
                memory_mask: Mask = None, src_key_padding_mask: Mask = None,
                tgt_key_padding_mask: Mask = None, memory_key_padding_mask: Mask = None,
                src_is_causal: bool | None = None, tgt_is_causal: bool | None = None,
                memory_is_causal: bool = False) -> Tensor:
        batch = 0 if self.batch_first else 1
        if src.dim() == 3 and src.size(batch) != tgt.size(batch):
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.size(-1) != self.d_model or tgt.size(-1) != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask,
                              is_causal=src_is_causal)
        return self.decoder(tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                            tgt_key_padding_mask=tgt_key_padding_mask,
                            memory_key_padding_mask=memory_key_padding_mask,
                            tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """-inf above the diagonal, 0 elsewhere: hides the future."""
        return _generate_square_subsequent_mask(sz, device=device, dtype=dtype)

    def _reset_parameters(self) -> None:
        for parameter in self.parameters():
            if parameter.dim() > 1:
                init.xavier_uniform_(parameter)
