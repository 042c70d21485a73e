"""Embeddings: a table of vectors, looked up by number."""

from __future__ import annotations

from typing import Any

from kkori.autograd.mode import no_grad
from kkori.core import errors
from kkori.nn import functional as F
from kkori.nn import init
from kkori.nn.module import Module
from kkori.nn.parameter import Parameter
from kkori.ops.create import empty
from kkori.tensor import Tensor

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """A weight of shape (num_embeddings, embedding_dim), N(0, 1), zeros at `padding_idx`."""

    def _make(self, rows: int, columns: int, padding_idx: int | None, word: str,
              given: Tensor | None, freeze: bool, device: Any, dtype: Any) -> None:
        if padding_idx is not None:
            if not -rows <= padding_idx < rows:
                raise AssertionError(errors.message(f"{word} must be within num_embeddings"))
            padding_idx %= rows
        self.num_embeddings, self.embedding_dim = rows, columns
        self.padding_idx = padding_idx
        if given is None:
            weight = empty((rows, columns), device=device, dtype=dtype)
            self.weight = Parameter(weight, requires_grad=not freeze)
            self.reset_parameters()
        else:
            if list(given.shape) != [rows, columns]:
                raise AssertionError(errors.message(
                    "Shape of weight does not match num_embeddings and embedding_dim"))
            self.weight = Parameter(given, requires_grad=not freeze)

    def reset_parameters(self) -> None:
        init.normal_(self.weight)
        self._fill_padding_idx_with_zero()

    def _fill_padding_idx_with_zero(self) -> None:
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx].fill_(0)

    def _shown(self, *more: tuple[str, Any]) -> str:
        """The printed settings: those that differ from the usual, which stands beside them."""
        parts = [f"{name}={getattr(self, name)!r}" for name, usual in more
                 if getattr(self, name) != usual]
        return ", ".join([f"{self.num_embeddings}, {self.embedding_dim}", *parts])


def _rows_and_columns(embeddings: Tensor) -> tuple[int, int]:
    if embeddings.dim() != 2:
        raise AssertionError(errors.message("Embeddings parameter is expected to be 2-dimensional"))
    rows, columns = embeddings.shape
    return rows, columns


class Embedding(_Table):
    """Row `i` of the weight for each number `i` of the input: (*) to (*, embedding_dim).

    Rows longer than `max_norm` are shortened in place when they are looked up; the row
    `padding_idx` gets no gradient.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0,
                 scale_grad_by_freq: bool = False, sparse: bool = False,
                 _weight: Tensor | None = None, _freeze: bool = False, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        self._make(num_embeddings, embedding_dim, padding_idx, "Padding_idx", _weight, _freeze,
                   device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
                           self.scale_grad_by_freq, self.sparse)

    def extra_repr(self) -> str:
        return self._shown(("padding_idx", None), ("max_norm", None), ("norm_type", 2),
                           ("scale_grad_by_freq", False), ("sparse", False))

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True,
                        padding_idx: int | None = None, max_norm: float | None = None,
                        norm_type: float = 2.0, scale_grad_by_freq: bool = False,
                        sparse: bool = False) -> Any:
        """An Embedding on the given table, not trained unless `freeze` is False."""
        rows, columns = _rows_and_columns(embeddings)
        return cls(rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
                   _weight=embeddings, _freeze=freeze)


class EmbeddingBag(_Table):
    """The sum, mean or max of the rows of each bag of numbers."""

    def __init__(self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None,
                 norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
                 sparse: bool = False, _weight: Tensor | None = None,
                 include_last_offset: bool = False, padding_idx: int | None = None,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.mode, self.sparse = scale_grad_by_freq, mode, sparse
        self.include_last_offset = include_last_offset
        self._make(num_embeddings, embedding_dim, padding_idx, "padding_idx", _weight, False,
                   device, dtype)

    def forward(self, input: Tensor, offsets: Tensor | None = None,
                per_sample_weights: Tensor | None = None) -> Tensor:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
            self.mode, self.sparse, per_sample_weights, self.include_last_offset,
            self.padding_idx)

    def extra_repr(self) -> str:
        return self._shown(("max_norm", None), ("norm_type", 2), ("scale_grad_by_freq", False),
                           ("mode", None), ("padding_idx", None))

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True,
                        max_norm: float | None = None, norm_type: float = 2.0,
                        scale_grad_by_freq: bool = False, mode: str = "mean",
                        sparse: bool = False, include_last_offset: bool = False,
                        padding_idx: int | None = None) -> Any:
        """An EmbeddingBag on the given table, not trained unless `freeze` is False."""
        rows, columns = _rows_and_columns(embeddings)
        made = cls(rows, columns, max_norm, norm_type, scale_grad_by_freq, mode, sparse,
                   _weight=embeddings, include_last_offset=include_last_offset,
                   padding_idx=padding_idx)
        made.weight.requires_grad = not freeze
        return made
