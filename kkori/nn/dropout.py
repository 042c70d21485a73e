"""Dropout: zeros at random while training."""

from __future__ import annotations

from kkori.core import errors
from kkori.nn import functional as F
from kkori.nn.layer import Layer

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]

PASSES = ("p", "training", "inplace")


class _DropoutNd(Layer, shown="p={p}, inplace={inplace}", p=0.5, inplace=False):
    """`p` is the probability of a zero; ValueError outside [0, 1]."""

    def prepare(self) -> None:
        if self.p < 0 or self.p > 1:
            raise ValueError(errors.message(
                f"dropout probability has to be between 0 and 1, but got {self.p}"))


class Dropout(_DropoutNd, function=F.dropout, passes=PASSES):
    """Zero each element with probability p, scale the rest by 1 / (1 - p) (Hinton et al. 2012)."""


class Dropout1d(_DropoutNd, function=F.dropout1d, passes=PASSES):
    """Zero whole channels of (N, C, L) or (C, L)."""


class Dropout2d(_DropoutNd, function=F.dropout2d, passes=PASSES):
    """Zero whole channels of (N, C, H, W)."""


class Dropout3d(_DropoutNd, function=F.dropout3d, passes=PASSES):
    """Zero whole channels of (N, C, D, H, W) or (C, D, H, W)."""


class AlphaDropout(_DropoutNd, function=F.alpha_dropout, passes=("p", "training")):
    """Dropout that keeps mean 0 and variance 1, for SELU networks (Klambauer et al. 2017)."""


class FeatureAlphaDropout(_DropoutNd, function=F.feature_alpha_dropout, passes=("p", "training")):
    """AlphaDropout of whole channels."""
