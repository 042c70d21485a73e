"""Ctrl-C may come at any moment: nothing is left half done, and training goes on."""

from __future__ import annotations

import random
import signal
import threading

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
@pytest.mark.parametrize("kind", ["step", "backward"])
def test_interrupts_at_random_moments(interrupted, kind):
    torch.manual_seed(2)
    net, opt, lossf, x, y = training()
    chance = random.Random(3)

    def one():
        yhat = net(x)
        loss = lossf(yhat, y)
        loss.backward()
        if kind == "step":
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
            armed.append(True)
            signal.setitimer(signal.ITIMER_REAL, chance.random() * 1e-3 + 1e-4)
            while armed:  # Python drops an interrupt that comes while an object is deleted
                found = one()
        except KeyboardInterrupt:
            caught += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        armed.clear()
        assert torch.isfinite(found[0]) and found[1].shape == y.shape
        opt.zero_grad()
    assert caught > 100
    assert one()[0].item() < first
