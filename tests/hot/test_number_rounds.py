"""Numbers that are others in every round: factors that fall, weights that are drawn, counts."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from loops import training

import kkori as torch
from kkori import nn
from kkori.codegen.lowering import VARYING
from kkori.ops.table import TABLE
from kkori.run import loops
from kkori.run.immediate import binary_caller, caller

pytest.importorskip("llvmlite")

ROUNDS = 40
LOSSES = {
    "a factor that falls": lambda f, y, k: (f - y).square().mean() * 0.9 ** k,
    "a factor in front": lambda f, y, k: (0.9 ** k * f - y).square().mean(),
    "a count": lambda f, y, k: (f * k - y).square().mean() / (k + 1),
    "a number over": lambda f, y, k: (1.5 ** (k % 9) / (1 + f * f) + y).square().mean(),
    "a number less": lambda f, y, k: (0.1 * k - f - y).square().mean(),
    "alpha": lambda f, y, k: torch.add(f.mean(), (f - y).abs().mean(), alpha=1 / (k + 1)),
    "sub with alpha": lambda f, y, k: f.sub(y, alpha=0.1 * k).square().mean(),
    "bounds": lambda f, y, k: (f.clamp(-0.01 * k, 0.1 * k) - y).square().mean(),
    "a threshold": lambda f, y, k: torch.where(f > 0.02 * k, f, 0.1 * f).square().mean(),
    "one number twice": lambda f, y, k: ((lambda a: (f * a - y * a) / a)(1.0 + k)).square().mean(),
    "a number of NumPy's": lambda f, y, k: (f - y).square().mean() * np.float64(1 / (1 + k)),
    "a power of the same number": lambda f, y, k: (lambda a: (a * f - y).abs().add(0.1).pow(
        0.5 if k % 2 else a).mean())(1.0 / (1 + k // 4)),
    "signs, infinities": lambda f, y, k: (f * (0.0, -0.0, 1.0, math.inf, 2)[k % 5]).tanh().mean(),
    "in place": lambda f, y, k: (f * 1).mul_(0.9 ** k).sub(y).square().mean(),
    "logged": lambda f, y, k: (f - y).square().mean() + (0.9 ** k * f).mean(),
}


def train(log, loss_of, optimizer=torch.optim.Adam, rounds=ROUNDS):
    net, opt, _, x, y = training(optimizer)
    for k in range(rounds):
        loss = loss_of(net(x), y, k)
        opt.zero_grad()
        loss.backward()
        opt.step()
        log(loss.item())
    log(list(net.parameters()))


def recordings(monkeypatch):
    """How many rounds are recorded, counted from now on."""
    found = []
    finish = loops.finish_recording
    monkeypatch.setattr(loops, "finish_recording", lambda *args: (found.append(1), finish(*args)))
    return found


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in (
    "in place", "a power of the same number")])
def test_is_recorded_once_more_and_then_replayed(compare, monkeypatch, name):
    recorded = recordings(monkeypatch)
    compare(lambda log: train(log, LOSSES[name]), ROUNDS - 9)
    assert len(recorded) <= 3


@pytest.mark.parametrize("name", ["in place", "a power of the same number"])
def test_is_the_same(compare, name):
    compare(lambda log: train(log, LOSSES[name]))


@pytest.mark.parametrize("ints", [False, True])
def test_mixed_data(compare, monkeypatch, ints):
    """What rounds begin with depends on the numbers, too; all of them are found at once."""
    recorded = recordings(monkeypatch)

    def loop(log):
        net, opt, loss_of, x, y = training(torch.optim.AdamW)
        draw = random.Random(3)
        for k in range(ROUNDS):
            lam = k % 7 if ints else draw.random()
            order = torch.randperm(len(x))
            out = net(lam * x + (1 - lam) * x[order])
            loss = lam * loss_of(out, y) + (1 - lam) * loss_of(out, y[order])
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss.item())
    compare(loop, ROUNDS - 12)
    assert len(recorded) <= 3


def test_of_parameters_in_mid_round(compare, monkeypatch):
    """Operations that are run before it is known that a branch begins with them."""
    recorded = recordings(monkeypatch)

    def loop(log):
        net, opt, loss_of, x, y = training(torch.optim.Adam)
        for k in range(ROUNDS):
            found = net(x)
            scaled = net[0].weight * 0.9 ** k
            loss = loss_of(found, y) + (scaled.square() * (1 / (k + 1))).sum()
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss.item())
    compare(loop, ROUNDS - 12)
    assert len(recorded) <= 3


def test_branches_have_their_numbers(compare):
    def loss_of(found, y, k):
        loss = (found - y).square().mean() * 0.95 ** k
        return loss + 0.01 * k * found.abs().mean() if k % 3 == 0 else loss
    compare(lambda log: train(log, loss_of, rounds=60), 30)


def test_what_is_pending_is_computed_with_the_numbers_of_its_round(compare):
    def loss_of(found, y, k):
        loss = ((0.9 ** k * found - y) / (k + 1)).square().mean()
        if k in (20, 21, 25):
            assert loss.tolist() > 0
        if k == 30:
            loss = loss.log()
        return loss
    compare(lambda log: train(log, loss_of), 20)


def test_results_that_are_kept(compare):
    """Tails of what was kept, and never walked back, know the numbers of their rounds."""
    def loop(log):
        net, opt, loss_of, x, y = training(torch.optim.Adam)
        kept = []
        for k in range(ROUNDS):
            part = net[2].bias * (0.5 + k)
            kept.append(part)
            loss_of(net(x), y).mul(0.9 ** k).backward()
            opt.step()
            opt.zero_grad()
            if k % 5 == 4:
                log(torch.autograd.grad(kept[-2], net[2].bias))
            del kept[:-2], part
            log(kept[-1])
    compare(loop)


def test_gradients_of_gradients(compare):
    def loop(log):
        net, opt, _, x, _ = training(torch.optim.Adam)
        for k in range(ROUNDS):
            point = x.clone().requires_grad_()
            out = net(point).tanh() * 0.95 ** k
            slope, = torch.autograd.grad(out.sum(), point, create_graph=True)
            loss = (slope / (k + 1)).square().mean() + out.mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss.item())
    compare(loop, ROUNDS - 12)


def test_what_is_no_number_leaves_the_round(compare):
    """A tensor, an array or a truth value where there was a number."""
    def loss_of(found, y, k):
        factor = {15: True, 17: torch.tensor(0.5), 19: np.float32(2.5), 21: np.ones(1),
                  23: 1 << 60, 25: 3}.get(k, 0.9 ** k)
        return (found - y).square().mean() * factor
    compare(lambda log: train(log, lambda f, y, k: loss_of(f, y, k).sum()), 20)


def test_double_precision(compare):
    def loop(log):
        net = nn.Linear(3, 1).double()
        x = torch.linspace(-1, 1, 30, dtype=torch.float64).reshape(10, 3)
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        for k in range(ROUNDS):
            loss = (net(x) / (1 / 3 + k) - 1).square().mean() * (1 / (k + 1))
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss)
    compare(loop, ROUNDS - 9)


class Watched(float):
    """A number with which nobody may compute in Python."""

    def refuse(self, *others):
        if any(isinstance(other, torch.Tensor) for other in others):
            return NotImplemented
        raise AssertionError("a gradient rule computes with a number in Python")

    for _name in ("neg", "abs", "pos", "add", "radd", "sub", "rsub", "mul", "rmul", "truediv",
                  "rtruediv", "pow", "rpow", "lt", "le", "gt", "ge", "bool"):
        locals()[f"__{_name}__"] = refuse


@pytest.mark.parametrize("name", sorted(VARYING))
def test_gradient_rules_hand_numbers_on(name):
    """Those of every row that may get run-time numbers, also for gradients of gradients."""
    row = TABLE[name]
    for place in VARYING[name]:
        x = torch.linspace(-1, 1, 5).requires_grad_()
        args = [x, x, x][:len(row.args)]
        args[place] = number = Watched(0.5)
        if name.startswith("clamp"):
            args = [x, *[number if k == place else None for k in (1, 2)]]
        call = binary_caller(row, name == "div") if row.kind == "binary" else caller(row)
        out = call(*args)
        if not out.requires_grad:
            continue
        g = torch.ones(5, requires_grad=True)
        slope, = torch.autograd.grad(out, x, g, create_graph=True)
        seen = [value for value in out.grad_fn.saved if isinstance(value, float)]
        assert all(value is number for value in seen)
        if slope.requires_grad:
            torch.autograd.grad(slope, g, torch.ones(5), allow_unused=True)
