"""Rounds with pooling: small convolutional nets whose pools are loops."""

from __future__ import annotations

import pytest
from loops import training

import kkori as torch
import kkori.nn.functional as F
from kkori import nn

pytest.importorskip("llvmlite")


NETS = {
    "largest": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=False), nn.Flatten(), nn.Linear(4 * 3 * 2, 5)),
    "averages": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(3, 4, 2), nn.ReLU(),
        nn.AvgPool2d((3, 2)), nn.Flatten(), nn.Linear(4 * 2 * 2, 5)),
    "both": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(3 * 3 * 3, 5)),
    "one dimension": lambda: nn.Sequential(
        nn.Flatten(2), nn.Conv1d(1, 3, 3), nn.ReLU(), nn.MaxPool1d(2), nn.AvgPool1d(3),
        nn.Flatten(), nn.Linear(3 * 37, 5)),
    "padding, overlap": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.MaxPool2d(3, 2, 1), nn.ReLU(), nn.AvgPool2d(3, 1), nn.Flatten(),
        nn.Linear(3 * 5 * 4, 5)),
    "a stem": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 4, 3, 1, 1),
        nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(2, 1, ceil_mode=True), nn.Flatten(),
        nn.Linear(4 * 3 * 3, 5))}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("steps", [1, 3])
def test_nets_with_pools(compare, name, steps):
    def loop(log):
        net, opt, _, _, _ = training(torch.optim.Adam, NETS[name](), lr=0.01)
        lossf = nn.CrossEntropyLoss()
        x = torch.randn(60, 1, 17, 14)[:, :, :16, :]
        t = torch.randint(0, 5, (60,))
        for k in range(40):
            first = 6 * (k % 9)
            for _ in range(steps if k % 7 == 3 else 1):
                opt.zero_grad()
                loss = lossf(net(x[first:first + 6]), t[first:first + 6])
                loss.backward()
                opt.step()
            if k % 5 == 0:
                log(loss)
        log(*net.parameters())
    compare(loop, 25 if steps == 1 else None)


def test_indices_that_a_program_looks_at(compare):
    """They come from the array rule, and gradients go on by loops."""
    def loop(log):
        net, opt, _, _, _ = training(torch.optim.SGD, nn.Conv2d(2, 3, 3))
        pool = nn.MaxPool2d(2, return_indices=True)
        x = torch.randn(4, 2, 10, 12)
        for _ in range(30):
            opt.zero_grad()
            found, places = pool(net(x))
            loss = (found * 2 - 1).square().mean()
            loss.backward()
            opt.step()
            log(loss, places + 0)
    compare(loop, 20)


def test_pools_without_gradients(compare):
    def loop(log):
        net, pool = nn.Conv2d(1, 3, 3), nn.MaxPool2d(2)
        x = torch.randn(4, 1, 10, 13)
        for k in range(30):
            with torch.no_grad():
                log(pool(torch.relu(net(x + k))))
    compare(loop)


def test_indices_have_no_tail(compare):
    """What is kept of them is a leaf, also behind a round that was replayed."""
    def loop(log):
        net = nn.Linear(4, 4)
        opt = torch.optim.SGD(net.parameters(), lr=0.01)
        x = torch.randn(2, 1, 8, 4)
        for _ in range(20):
            h = net(x)
            values, places = F.max_pool2d(h, 2, return_indices=True)
            ordered, order = h.sort(-1)
            (values.sum() + ordered.sum()).backward()
            opt.step()
            opt.zero_grad()
            log(places, order, places.is_leaf, order.is_leaf, values.is_leaf)
            log(places.grad_fn is None, order.grad_fn is None)
    compare(loop, 8)
