"""Optimizers and learning-rate schedulers."""

from kkori.optim import lr_scheduler, swa_utils
from kkori.optim.adadelta import Adadelta
from kkori.optim.adafactor import Adafactor
from kkori.optim.adagrad import Adagrad
from kkori.optim.adam import Adam, AdamW
from kkori.optim.adamax import Adamax
from kkori.optim.asgd import ASGD
from kkori.optim.lbfgs import LBFGS
from kkori.optim.muon import Muon
from kkori.optim.nadam import NAdam
from kkori.optim.optimizer import Optimizer
from kkori.optim.radam import RAdam
from kkori.optim.rmsprop import RMSprop
from kkori.optim.rprop import Rprop
from kkori.optim.sgd import SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]
