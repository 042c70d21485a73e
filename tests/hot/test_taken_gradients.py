"""Rounds that end with torch.autograd.grad(): attacks, fits of an input, updates as functions."""

from __future__ import annotations

import pytest

import kkori as torch
from kkori import nn
from kkori.autograd.mode import switch
from kkori.nn import functional as F
from kkori.run import loops

pytest.importorskip("llvmlite")

ROUNDS = 40
AT_FIRST = 18  # counted, recorded, matched until compiling pays

grad = torch.autograd.grad


@pytest.fixture(autouse=True)
def as_programs_have_it(monkeypatch):
    monkeypatch.setattr(loops, "PATIENCE", 5)
    yield
    switch.tape = switch.free = None
    switch.backwards = switch.rest = 0


def test_an_attack(compare):
    def loop(log):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
        x, y = torch.rand(5, 6), torch.randint(0, 3, (5,))
        seen = x.clone()
        for _ in range(ROUNDS):
            seen.requires_grad = True
            loss = F.cross_entropy(model(seen), y)
            g = grad(loss, seen)[0]
            log(loss, g, seen, loss.grad_fn is not None)
            seen = seen.detach() + 0.01 * g.sign()
            seen = torch.clamp(x + torch.clamp(seen - x, -0.1, 0.1), 0, 1).detach()
    compare(loop, ROUNDS - AT_FIRST)


@pytest.mark.parametrize("form", ["in place", "data", "new leaves", "momentum"])
def test_updates(compare, form):
    def loop(log):
        torch.manual_seed(0)
        w, v = torch.randn(6, 3, requires_grad=True), torch.zeros(3, requires_grad=True)
        x, y = torch.randn(5, 6), torch.randn(5, 3)
        averages = [torch.zeros_like(w), torch.zeros_like(v)]
        for k in range(1, ROUNDS + 1):
            loss = ((x @ w + v).tanh() - y).square().mean()
            taken = grad(loss, (w, v))
            if form == "in place":
                with torch.no_grad():
                    w -= 0.1 * taken[0]
                    v.sub_(taken[1], alpha=0.1)
            elif form == "data":
                w.data = w.data - 0.1 * taken[0]
                v.data -= 0.1 * taken[1]
            elif form == "new leaves":
                w, v = [(p - 0.1 * g).detach().requires_grad_() for p, g in zip(
                    (w, v), taken, strict=True)]
            else:
                with torch.no_grad():
                    for place, (p, g) in enumerate(zip((w, v), taken, strict=True)):
                        averages[place] = 0.9 * averages[place] + 0.1 * g
                        p -= 0.1 * averages[place] / (1 - 0.9 ** k)
            log(loss.item(), taken, w, v, w.grad)
    compare(loop, ROUNDS - AT_FIRST)


def test_a_hook_sees_each_gradient(compare):
    def loop(log):
        torch.manual_seed(0)
        w, x = torch.randn(6, 3, requires_grad=True), torch.randn(5, 6)
        for k in range(ROUNDS):
            if k == 25:
                handle = w.register_hook(lambda g: (log(g), g * 2)[1])
            if k == 33:
                handle.remove()
            loss = (x @ w).square().mean()
            taken, = grad(loss, w)
            with torch.no_grad():
                w -= 0.05 * taken
            log(loss, taken)
    compare(loop)


def test_what_is_kept_of_a_round(compare):
    """Views, tails, graphs that are retained, a second walk back."""
    def loop(log):
        torch.manual_seed(0)
        w, x, kept = torch.randn(6, 3, requires_grad=True), torch.randn(5, 6), []
        for k in range(ROUNDS):
            h = (x @ w).exp()
            taken, = grad(h.sum(), w, retain_graph=k % 3 == 0)
            kept.append((h.t(), taken[0]))
            try:
                log(grad(h.sum(), w)[0])
            except RuntimeError as error:
                log(str(error).splitlines()[0])
            w = (w - 0.001 * taken).detach().requires_grad_()
            log(kept[-1][0], kept[-1][0]._base is h, taken._base is None)
        log(kept)
    compare(loop)


def test_an_error_in_between(compare):
    def loop(log):
        torch.manual_seed(0)
        w, x = torch.randn(6, 3, requires_grad=True), torch.randn(5, 6)
        table = torch.randn(4, 3, requires_grad=True)
        for k in range(ROUNDS):
            index = torch.tensor([0, 3, 1, 2, 4 if k in (24, 30) else 0])
            try:
                loss = (x @ w * F.embedding(index, table)).square().mean()
                first, second = grad(loss, (w, table))
            except IndexError as error:
                log(type(error).__name__)
                continue
            with torch.no_grad():
                w -= 0.05 * first
                table -= 0.05 * second
            log(loss, first, second)
    compare(loop)


def test_inputs_that_were_not_used(compare):
    def loop(log):
        torch.manual_seed(0)
        w, v = torch.randn(6, 3, requires_grad=True), torch.zeros(3, requires_grad=True)
        x = torch.randn(5, 6)
        for k in range(ROUNDS):
            loss = (x @ w).square().mean()
            taken = grad(loss, (v, w), allow_unused=k % 7 != 6) if k % 7 != 6 else None
            if taken is None:
                with pytest.raises(RuntimeError, match="appears to not have been used"):
                    grad(loss, (v, w))
                continue
            w = (w - 0.05 * taken[1]).detach().requires_grad_()
            log(loss, taken)
    compare(loop, 1)


def test_a_second_try_leaves_data_out():
    """Other numbers of rows every time; what is followed is alike."""
    w, x = torch.randn(6, 3, requires_grad=True), torch.randn(5, 6)
    for k in range(ROUNDS):
        rows = torch.randn(3 + k, 6)
        loss = ((x + (rows * 2).sum(0)) @ w).square().mean()
        taken, = grad(loss, w)
        w.data = w.data - 1e-4 * taken
    assert switch.free.left_out.followed_only
    assert switch.free.counts["rounds"] >= ROUNDS - 2 * AT_FIRST
