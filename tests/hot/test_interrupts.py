"""Ctrl-C may come at any moment: nothing is left half done, and training goes on."""

from __future__ import annotations

import random
import signal
import threading
from contextlib import contextmanager, nullcontext

import pytest
from loops import training

import kkori as torch
from kkori.autograd.mode import switch
from kkori.run import hot

pytest.importorskip("llvmlite")


armed = []  # one entry while an interrupt is awaited: it comes once, and only then


def interrupt(signal_number, frame):
    if armed:
        armed.clear()
        raise KeyboardInterrupt


@contextmanager
def soon(seconds):
    """An interrupt comes within this block, or none does; none comes behind it."""
    try:
        armed.append(True)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        while armed:
            try:
                armed.clear()
            except KeyboardInterrupt:  # just now
                pass
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture
def interrupted():
    """Recording is on, and the timer interrupts."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not (
            threading.main_thread()):
        pytest.skip("needs a timer that interrupts the main thread")
    before, old = hot.enabled(), signal.signal(signal.SIGALRM, interrupt)
    hot.set_enabled(True)
    switch.free, switch.backwards = None, 0
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)
    hot.set_enabled(before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["step", "backward", "gradients"])
def test_interrupts_at_random_moments(interrupted, kind):
    torch.manual_seed(2)
    net, opt, lossf, x, y = training()
    chance = random.Random(3)

    def one():
        yhat = net(x)
        loss = lossf(yhat, y)
        if kind == "gradients":
            slope, = torch.autograd.grad(yhat.sum(), net[0].weight, create_graph=True)
            loss = loss + 0.01 * slope.pow(2).mean()
        loss.backward()
        if kind != "backward":
            opt.step()
        else:
            for p in net.parameters():
                p.data = p.data - 0.05 * p.grad
        opt.zero_grad()
        return loss, yhat

    for _ in range(60):
        found = one()
    first = found[0].item()
    caught = 0
    for _ in range(200):
        try:
            with soon(chance.random() * 1e-3 + 1e-4):
                while armed:  # Python drops an interrupt that comes while an object is deleted
                    found = one()
        except KeyboardInterrupt:
            caught += 1
        assert torch.isfinite(found[0]) and found[1].shape == y.shape
        opt.zero_grad()
    assert caught > 100
    assert one()[0].item() < first


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_leave_running_statistics_whole(interrupted):
    """All batches are the same here, so mean and variance have moved equally often, but for
    interrupts between the two; and nothing that is left over keeps rounds from being replayed."""
    torch.manual_seed(2)
    norm = torch.nn.BatchNorm1d(5)
    net = torch.nn.Sequential(norm, torch.nn.Linear(5, 1))
    opt, x = torch.optim.SGD(net.parameters(), lr=0.05), torch.randn(8, 5)
    chance, caught = random.Random(3), 0
    for turn in range(150):
        try:
            with soon(chance.random() * 1e-3 + 1e-4) if turn > 2 else nullcontext():
                for _ in range(20 if turn < 3 else 1000):
                    net(x).pow(2).mean().backward()
                    opt.step()
                    opt.zero_grad()
                    if turn > 2 and not armed:
                        break
        except KeyboardInterrupt:
            caught += 1
        opt.zero_grad()
        if turn % 10 == 9:
            moved = 1 - norm.running_mean / x.mean(0), (norm.running_var - x.var(0)) / (
                1 - x.var(0))
            assert all(torch.isfinite(one).all() for one in moved)
            norm.reset_running_stats()
            for _ in range(30):
                net(x).pow(2).mean().backward()
                opt.step()
                opt.zero_grad()
            left = 0.9 ** 30
            assert torch.allclose(norm.running_mean, x.mean(0) * (1 - left), atol=1e-5)
            assert torch.allclose(norm.running_var, left + x.var(0) * (1 - left), atol=1e-5)
            assert norm.num_batches_tracked == 30
    assert caught > 70
