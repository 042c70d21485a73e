"""Rounds that pick out of what is followed: by numbers, by masks, by both, by results."""

from __future__ import annotations

import pytest

import kkori as torch
from kkori import nn

pytest.importorskip("llvmlite")

ROUNDS = 14
GENERATOR_SEED = 3


def by_numbers(out, target, mask):
    return -out[torch.arange(12), target].mean()


def by_list(out, target, mask):
    return out[[0, 3, 3]].sum()


def by_mask(out, target, mask):
    return nn.functional.cross_entropy(out[mask], target[mask])


def by_mask_of_all(out, target, mask):
    return (out[mask[:, None] & torch.ones(3, dtype=torch.bool)] ** 2).mean()


def by_result(out, target, mask):
    return (out[out.detach().sum(1).argsort()] * out).sum()


# What is picked, and how many rounds are replayed at least.
PICKS = {by_numbers: ROUNDS - 8, by_list: ROUNDS - 8, by_mask: ROUNDS - 8,
         by_mask_of_all: None, by_result: None}


def train(pick):
    """A loop for `compare`."""
    def loop(log):
        torch.manual_seed(GENERATOR_SEED)
        net = nn.Linear(5, 3)
        x, target = torch.randn(12, 5), torch.randint(0, 3, (12,))
        mask = torch.arange(12) % 3 != 0
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for _ in range(ROUNDS):
            optimizer.zero_grad()
            loss = pick(net(x), target, mask)
            loss.backward()
            optimizer.step()
            log(loss.item(), net.weight, net.weight.grad)
        return optimizer
    return loop


@pytest.mark.parametrize(("pick", "replayed"), PICKS.items())
def test_rounds_that_pick(compare, pick, replayed):
    compare(train(pick), replayed)


def test_numbers_outside_are_refused_in_replayed_rounds(compare):
    def loop(log):
        torch.manual_seed(GENERATOR_SEED)
        net, x = nn.Linear(5, 3), torch.randn(12, 5)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        index = torch.tensor([0, 11])
        for number in range(ROUNDS):
            if number == ROUNDS - 1:
                index += 1
            try:
                net(x)[index].sum().backward()
                optimizer.step()
                optimizer.zero_grad()
            except IndexError as error:
                log(str(error).splitlines()[0])
        log(net.weight)
        return optimizer
    compare(loop, ROUNDS - 8)


def test_masks_of_results_without_gradients():
    """What a mask picks has no shape that is known beforehand: it is no part of compiled calls."""
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 3))

        def forward(self, x):
            h = self.net(x)
            return h[h > 0].sum()

    model = Model()
    with torch.no_grad():
        for _ in range(40):
            x = torch.randn(8, 2)
            assert model(x).isclose(model.net(x).relu().sum())
