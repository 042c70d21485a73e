"""Distances and similarities between vectors, as layers."""

from __future__ import annotations

from kkori.nn import functional as F
from kkori.nn.layer import Layer
from kkori.tensor import Tensor

__all__ = ["CosineSimilarity", "PairwiseDistance"]


class PairwiseDistance(Layer, p=2.0, eps=1e-6, keepdim=False):
    """The p-norm of x1 - x2 + eps along the last dimension."""

    def prepare(self) -> None:
        self.norm = self.__dict__.pop("p")

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Layer, dim=1, eps=1e-8):
    """The cosine of the angle between x1 and x2 along `dim`."""

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
