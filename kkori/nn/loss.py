"""Losses: how far an output is from its target, as layers with a `reduction`."""

from __future__ import annotations

import math
import warnings
from typing import Any

from kkori.nn import functional as F
from kkori.nn.distance import PairwiseDistance
from kkori.nn.layer import Layer
from kkori.nn.linear import Linear
from kkori.ops.loss import reduction_of
from kkori.tensor import Tensor

__all__ = ["BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss", "CrossEntropyLoss",
           "GaussianNLLLoss", "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss",
           "LinearCrossEntropyLoss", "MSELoss", "MarginRankingLoss", "MultiLabelMarginLoss",
           "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss", "NLLLoss2d",
           "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss", "TripletMarginLoss",
           "TripletMarginWithDistanceLoss"]

OLD = {"size_average": None, "reduce": None}  # what `reduction` was before PyTorch 0.4.1
TENSORS = ("weight", "pos_weight")  # settings that are buffers


class _Loss(Layer, **OLD, reduction="mean"):
    """`loss(input, target)`: its settings go to `function` by name.

    `reduction` is "mean", "sum" or "none" (one value an element, or an example).
    """

    def prepare(self) -> None:
        here = self.__dict__
        old = here.pop("size_average", None), here.pop("reduce", None)
        if old != (None, None):
            self.reduction = reduction_of(*old, "mean")
        for name in TENSORS:
            if name in here:
                self.register_buffer(name, here.pop(name))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return self._function(input, target, **options_of(self))


class _WeightedLoss(_Loss, weight=None, **OLD, reduction="mean"):
    """A loss with a weight for each class or element."""


def options_of(loss: _Loss) -> dict[str, Any]:
    """A loss's settings, as its function takes them."""
    return {name: getattr(loss, name) for name in loss._settings if name not in OLD}


class MSELoss(_Loss):
    """(input - target)²."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss, uses=F.l1_loss):
    """|input - target|."""


class SmoothL1Loss(_Loss, uses=F.smooth_l1_loss, **OLD, reduction="mean", beta=1.0):
    """Squared and divided by 2 * beta below beta, absolute less beta / 2 above."""


class HuberLoss(_Loss, uses=F.huber_loss, reduction="mean", delta=1.0):
    """SmoothL1Loss times delta."""

    def prepare(self) -> None:
        if not isinstance(self.delta, (float, int)):
            raise TypeError(f"delta must be a float or int, got: {type(self.delta)}")


class CrossEntropyLoss(_WeightedLoss, weight=None, size_average=None, ignore_index=-100,
                       reduce=None, reduction="mean", label_smoothing=0.0):
    """-log(softmax(input)) at the target class (N) or over the target's probabilities (N, C)."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input, target, weight=self.weight, ignore_index=self.ignore_index,
            reduction=self.reduction, label_smoothing=self.label_smoothing)


class NLLLoss(_WeightedLoss, uses=F.nll_loss, weight=None, size_average=None, ignore_index=-100,
              reduce=None, reduction="mean"):
    """-input at the target class; input holds log-probabilities."""


class NLLLoss2d(NLLLoss):
    """The old name of `NLLLoss`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        warnings.warn(
            "`NLLLoss2d` has been deprecated. Please use `NLLLoss` instead as a drop-in "
            "replacement and see https://pytorch.org/docs/main/nn.html#torch.nn.NLLLoss for more "
            "details.", FutureWarning, stacklevel=2)
        super().__init__(*args, **options)


class LinearCrossEntropyLoss(_WeightedLoss):
    """A linear layer and the cross entropy of its output, as one."""

    def __init__(self, in_features: int, num_classes: int, *, out_features: tuple[int, ...] = (),
                 bias: bool = False, device: Any = None, dtype: Any = None,
                 reduction: str = "mean", weight: Tensor | None = None,
                 ignore_index: int | None = None, label_smoothing: float = 0.0,
                 options: Any = None) -> None:
        if weight is not None and weight.shape != (num_classes,):
            raise RuntimeError(f"expected weight shape to be {(num_classes,)}, got "
                               f"{tuple(weight.shape)}")
        if label_smoothing < 0 or label_smoothing > 1.0:
            raise RuntimeError("expected label_smoothing to be in range [0, 1], got "
                               f"{label_smoothing}")
        super().__init__(weight, reduction=reduction)
        self.num_classes, self.out_features = num_classes, out_features
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.linear = Linear(in_features, math.prod(out_features, start=num_classes), bias=bias,
                             device=device, dtype=dtype)
        self.options = options

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        linear, shape = self.linear, (self.num_classes, *self.out_features)
        bias = None if linear.bias is None else linear.bias.reshape(shape)
        return F.linear_cross_entropy(
            input, linear.weight.reshape((*shape, linear.in_features)), target, linear_bias=bias,
            weight=self.weight, reduction=self.reduction, ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing, options=self.options)

    def extra_repr(self) -> str:
        linear = self.linear
        return (f"in_features={linear.in_features}, num_classes={self.num_classes}, "
                f"out_features={self.out_features}, bias={linear.bias is not None}, "
                f"reduction={self.reduction}, ignore_index={self.ignore_index}, "
                f"label_smoothing={self.label_smoothing}, options={self.options}")


class BCELoss(_WeightedLoss, uses=F.binary_cross_entropy):
    """Cross entropy of two classes; input holds the probability of the class 1."""


class BCEWithLogitsLoss(_Loss, uses=F.binary_cross_entropy_with_logits, weight=None, **OLD,
                        reduction="mean", pos_weight=None):
    """BCELoss of sigmoid(input), computed so that no logarithm of 0 appears."""


class KLDivLoss(_Loss, uses=F.kl_div, **OLD, reduction="mean", log_target=False):
    """target * (log(target) - input); input holds log-probabilities."""


class PoissonNLLLoss(_Loss, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None,
                     reduction="mean"):
    """-log of the Poisson probability of the target; input is the rate, or its logarithm."""

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        return F.poisson_nll_loss(log_input, target, **options_of(self))


class GaussianNLLLoss(_Loss, full=False, eps=1e-6, reduction="mean"):
    """-log of the normal density at the target; input is the mean, `var` the variance."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(full, eps, reduction)

    def forward(self, input: Tensor, target: Tensor, var: Any) -> Tensor:
        return F.gaussian_nll_loss(input, target, var, **options_of(self))


class HingeEmbeddingLoss(_Loss, uses=F.hinge_embedding_loss, margin=1.0, **OLD, reduction="mean"):
    """input where the target is 1, max(0, margin - input) where it is -1."""


class SoftMarginLoss(_Loss, uses=F.soft_margin_loss):
    """log(1 + exp(-target * input)), target being 1 or -1."""


class MultiLabelMarginLoss(_Loss, uses=F.multilabel_margin_loss):
    """Hinge between each target class and each other class; targets end at the first -1."""


class MultiLabelSoftMarginLoss(_WeightedLoss, uses=F.multilabel_soft_margin_loss):
    """BCEWithLogitsLoss over the classes of each example."""


class MultiMarginLoss(_WeightedLoss, uses=F.multi_margin_loss, p=1, margin=1.0, weight=None, **OLD,
                      reduction="mean"):
    """max(0, margin - input[target] + input[other])^p over the other classes."""

    def prepare(self) -> None:
        weight = self.weight
        if self.p not in (1, 2):
            raise ValueError("only p == 1 and p == 2 supported")
        if weight is not None and weight.dim() != 1:
            raise ValueError("MultiMarginLoss: expected weight to be None or 1D tensor, got "
                             f"{weight.dim()}D instead")
        super().prepare()


class _PairLoss(_Loss):
    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return self._function(input1, input2, target, **options_of(self))


class CosineEmbeddingLoss(_PairLoss, uses=F.cosine_embedding_loss, margin=0.0, **OLD,
                          reduction="mean"):
    """1 - cos(input1, input2) where the target is 1, max(0, cos - margin) where it is -1."""


class MarginRankingLoss(_PairLoss, uses=F.margin_ranking_loss, margin=0.0, **OLD,
                        reduction="mean"):
    """max(0, -target * (input1 - input2) + margin), target being 1 or -1."""


def _check_margin(loss: _Loss) -> None:
    if loss.margin <= 0:
        raise ValueError(f"{loss._owner}: expected margin to be greater than 0, got "
                         f"{loss.margin} instead")


class TripletMarginLoss(_Loss, margin=1.0, p=2.0, eps=1e-6, swap=False, **OLD, reduction="mean"):
    """max(0, |anchor - positive| - |anchor - negative| + margin)."""

    def prepare(self) -> None:
        super().prepare()
        _check_margin(self)

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_loss(anchor, positive, negative, **options_of(self))


class TripletMarginWithDistanceLoss(_Loss, distance_function=None, margin=1.0, swap=False,
                                    reduction="mean"):
    """TripletMarginLoss with a distance of your choice."""

    def __init__(self, *, distance_function: Any = None, margin: float = 1.0, swap: bool = False,
                 reduction: str = "mean") -> None:
        super().__init__(None, margin, swap, reduction)
        self.distance_function = (
            PairwiseDistance() if distance_function is None else distance_function)
        _check_margin(self)

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_with_distance_loss(anchor, positive, negative, **options_of(self))


class CTCLoss(_Loss, blank=0, reduction="mean", zero_infinity=False):
    """-log of the probability of all alignments of the targets (Graves et al. 2006)."""

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Any,
                target_lengths: Any) -> Tensor:
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, self.blank,
                          self.reduction, self.zero_infinity)
