"""Branches of rounds: what they begin with, and what had better stay beside them."""

from __future__ import annotations

import pytest
from loops import training

import kkori as torch
from kkori import nn
from kkori.run import hot

pytest.importorskip("llvmlite")


def counted(opt):
    counts = hot.enabled() and opt._hot_loop.tape.counts
    return counts and (counts["recorded"], counts["side exits"])


def test_what_numpy_shows_stays_beside_the_round(compare):
    """An agent acts now and then: no guard knows views of memory that NumPy code can write to."""
    def loop(log):
        numbers = torch.linspace(-1, 1, 400).reshape(100, 4).numpy().copy()
        net, opt, lossf, _, _ = training(torch.optim.Adam, nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
        for k in range(60):
            if k % 5:
                log(net(torch.from_numpy(numbers[k])).argmax().item())
            x = torch.tensor(numbers[k:k + 20])
            loss = lossf(net(x), x[:, :3])
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss)
        assert counted(opt) in (False, (2, 1))
    compare(loop, 45)


@pytest.mark.parametrize("odd", [
    lambda x: torch.as_strided(x.abs(), (5,), (2,)),
    lambda x: torch.bernoulli(x.abs()),
    lambda x: (x.abs() * 3).to(torch.int32)])
def test_what_cannot_be_part_of_a_branch_stays_beside_it(compare, odd):
    """And with it what it is made from; but the branch begins with the rest."""
    def loop(log):
        x = torch.linspace(-1, 1, 50)
        w = torch.randn((), requires_grad=True)
        e = torch.randn((), requires_grad=True)
        opt = torch.optim.SGD([w, e], lr=0.01)
        for k in range(60):
            y = w * x
            if k % 3 == 2:
                v = odd(x)
                y = y + v.sum() / 50 * e * x**4
            loss = (y - x).square().mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss)
        assert counted(opt) in (False, (2, 1))
        assert not hot.enabled() or opt._hot_loop.tape.counts["looks"] == 0
    compare(loop, 48)


def test_operations_that_a_guard_refuses_begin_no_branch(compare):
    """They would be refused again, and the branch would never be taken."""
    def loop(log):
        many = torch.linspace(-1, 1, 300_000).numpy()  # too many to be compared in every round
        x = torch.linspace(-1, 1, 50)
        w = torch.randn((), requires_grad=True)
        opt = torch.optim.SGD([w], lr=0.01)
        for _ in range(30):
            y = w * x
            loss = (y - torch.from_numpy(many).mean()).square().mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss)
        assert counted(opt) in (False, (2, 1))
    compare(loop, 20)
