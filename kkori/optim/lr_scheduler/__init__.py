"""Learning-rate schedulers."""

from kkori.optim.lr_scheduler.base import LRScheduler, _LRScheduler
from kkori.optim.lr_scheduler.combined import ChainedScheduler, SequentialLR
from kkori.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from kkori.optim.lr_scheduler.cycles import CyclicLR, OneCycleLR
from kkori.optim.lr_scheduler.factors import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from kkori.optim.lr_scheduler.plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "_LRScheduler",
]
