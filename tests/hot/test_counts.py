"""What is compiled, and how often; and that what is pending never passes its bounds."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from loops import data, model
from watch import forget_rounds

import kkori as torch
from kkori import nn
from kkori.autograd.mode import switch
from kkori.run import hot

pytest.importorskip("llvmlite")
MOST_OPERATIONS = 2000


@pytest.fixture(autouse=True)
def recorded():
    before = hot.enabled()
    gc.collect()  # loops of other tests are gone
    hot.set_enabled(True)
    forget_rounds()
    yield
    hot.set_enabled(before)
    forget_rounds()


class Training:
    """A small loop, and what `explain()` says of it."""

    def __init__(self, hidden):
        self.x, self.y = data(23)
        self.net = model(hidden)
        self.opt = torch.optim.Adam(self.net.parameters(), lr=0.01)
        self.parts = {size: (self.x[:size].clone(), self.y[:size].clone()) for size in (9, 23)}

    def rounds(self, count, size=23, cut=False):
        for _ in range(count):
            x, y = (self.x[:size], self.y[:size]) if cut else self.parts[size]
            loss = nn.functional.mse_loss(self.net(x), y)
            loss.backward()
            self.opt.step()
            self.opt.zero_grad()

    def replayed(self):
        return sum(loop["replayed"] for loop in torch.explain().loops)


def made():
    """How many programs were compiled, or found on disk, so far."""
    found = torch.explain().machine
    return found.get("compiles", 0) + found.get("disk_hits", 0)


def test_no_program_is_made_on_replay():
    loop = Training(3)
    loop.rounds(20)
    before, replayed = made(), loop.replayed()
    loop.rounds(200)
    assert made() == before
    assert loop.replayed() == replayed + 200


@pytest.mark.parametrize("cut", [False, True])
def test_one_more_for_a_ragged_last_batch(cut):
    loop = Training(4)
    loop.rounds(20, cut=cut)
    before = made()
    for _ in range(40):
        loop.rounds(4, cut=cut)
        loop.rounds(1, size=9, cut=cut)
    assert made() == before + 1
    replayed = loop.replayed()
    loop.rounds(4, cut=cut)
    loop.rounds(1, size=9, cut=cut)
    assert loop.replayed() == replayed + 5


@pytest.mark.parametrize("how", ["places", "random order"])
def test_batches_cut_out_of_the_data(how):
    """What rounds cut out of the data is no part of them: all full batches are one program."""
    loop = Training(6)
    before = made()
    for _ in range(20):
        order = torch.randperm(23)
        for start in range(0, 23, 5):
            part = slice(start, start + 5) if how == "places" else order[start:start + 5]
            nn.functional.mse_loss(loop.net(loop.x[part]), loop.y[part]).backward()
            loop.opt.step()
            loop.opt.zero_grad()
    assert made() <= before + 3
    assert loop.replayed() >= 60


@pytest.mark.parametrize("how", ["schedule", "by hand"])
def test_none_for_a_learning_rate_that_changes(how):
    loop = Training(5)
    schedule = torch.optim.lr_scheduler.ExponentialLR(loop.opt, 0.99)
    loop.rounds(20)
    before, replayed = made(), loop.replayed()
    for k in range(50):
        loop.rounds(1)
        if how == "schedule":
            schedule.step()
        else:
            loop.opt.param_groups[0]["lr"] = 0.01 / (k + 1)
    assert made() == before
    assert loop.replayed() >= replayed + 49


def pending():
    """Operations that are promised in this thread."""
    return 0 if switch.tape is None else len(switch.tape.pending)


def test_never_more_than_so_many_operations_are_pending():
    """The longer a round, the more would be pending: at some length it runs at once."""
    w = torch.ones(4, requires_grad=True)
    opt = torch.optim.SGD([w], lr=0.01)
    most = 0
    for length in (100, 900, 2500):
        for _ in range(8):
            h = w
            for _ in range(length):
                h = h.neg()
            most = max(most, pending())
            h.mean().backward()
            opt.step()
            opt.zero_grad()
            assert pending() == 0
    assert 5 < most <= MOST_OPERATIONS


def test_what_is_pending_takes_no_memory():
    """Promises of 400 MB are promises: nothing is there before it is computed, nor is it all there
    at once when the round is left, operation by operation."""
    w = torch.ones(1 << 20, requires_grad=True)
    opt = torch.optim.SGD([w], lr=0.01)
    for k in range(12):
        tracemalloc.start()
        try:
            h = w
            for _ in range(100):
                h = h.neg()
            promised, (now, _) = pending(), tracemalloc.get_traced_memory()
            if k == 11:
                assert promised >= 100
                assert now < 1 << 20
                with torch.no_grad():
                    h.exp_()  # leaves the round
                assert tracemalloc.get_traced_memory()[1] < 40 << 20
        finally:
            tracemalloc.stop()
        h.mean().backward()
        opt.step()
        opt.zero_grad()


def test_a_round_is_few_loop_nests():
    """The 1 -> m -> 1 step: two nests do all that depends on the hidden layer."""
    loop = Training(64)
    loop.rounds(20)
    (found,) = torch.explain().loops
    assert found["kernels"] and max(found["kernels"]) <= 4
