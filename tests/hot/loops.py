"""What the tests of hot loops train."""

from __future__ import annotations

import kkori as torch
from kkori import nn

ROUNDS = 14


def data(n=20):
    x = torch.linspace(-1, 1, n).reshape(n, 1)
    return x, 2 * x + 0.5


def model(hidden=6):
    return nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1))


def training(optimizer=None, net=None, **options):
    x, y = data()
    net = net or model()
    make = optimizer or torch.optim.SGD
    return net, make(net.parameters(), **{"lr": 0.05, **options}), nn.MSELoss(), x, y


def parameters(net):
    return list(net.parameters())
