"""Values that are looked at in several places of a round: each place gets a program of its own."""

from __future__ import annotations

import pytest
from loops import training

import kkori as torch
from kkori import nn
from kkori.run import hot, looking

pytest.importorskip("llvmlite")


def looking_at(net, x, how_many, rounds):
    """A loop whose rounds look at that many values, and its tape, if there is one."""
    seen = []

    def loop(log):
        opt = torch.optim.SGD(net().parameters(), lr=0.01)
        model = net.last
        data = x()
        for _ in range(rounds):
            h = model(data)
            for k in range(how_many):
                log((h * (k + 1)).mean().item())
            (h**2).mean().backward()
            opt.step()
            opt.zero_grad()
        if hot.enabled():
            seen.append(opt._hot_loop.tape)
    return loop, seen


class Net:
    """Makes models, and remembers the last."""

    def __init__(self, *sizes):
        self.sizes, self.last = sizes, None

    def __call__(self):
        self.last = nn.Linear(*self.sizes)
        return self.last


@pytest.mark.parametrize("how_many", [2, 5])
def test_several_places(compare, how_many):
    loop, seen = looking_at(Net(4, 2), lambda: torch.randn(8, 4), how_many, 60)
    compare(loop, 35)
    assert seen[0].look_programs == how_many


def test_there_are_only_so_many_programs(compare):
    loop, seen = looking_at(Net(4, 2), lambda: torch.randn(8, 4), 20, 60)
    assert compare(loop) == 0
    assert seen[0].look_programs == looking.MOST_PROGRAMS


def test_where_it_is_much_work_to_compute_a_round_twice(compare):
    loop, seen = looking_at(Net(4, 400), lambda: torch.randn(200, 4), 2, 20)
    assert compare(loop) == 0
    assert seen[0].look_programs == 1


def test_patience_is_for_rounds_that_get_nowhere(compare, monkeypatch):
    from kkori.run import loops
    monkeypatch.setattr(loops, "PATIENCE", 5)

    def loop(log):
        net, opt, lossf, x, y = training()
        for _ in range(40):
            h = net(x)
            log(h.mean().item(), h.std().item(), h.max().item(), h.min().item())
            lossf(h, y).backward()
            opt.step()
            opt.zero_grad()
    compare(loop, 22)


def test_explain_names_what_has_ended_a_recording():
    """Not a write where nothing was written."""
    net = nn.Linear(4, 3)
    opt = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(40):
        h = net(torch.ones(2, 4))
        h.retain_grad()
        h.sum().backward()
        opt.step()
        opt.zero_grad()
    assert "retain_grad is no part of a round" in repr(torch.explain())
