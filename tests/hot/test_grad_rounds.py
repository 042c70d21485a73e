"""Rounds that end with ``torch.autograd.grad()``, and what the program makes of the gradients."""

from __future__ import annotations

import gc
import random
import weakref

import numpy as np
import pytest
from twice import run

import kkori as torch
from kkori import nn
from kkori.autograd.mode import switch

pytest.importorskip("llvmlite")
grad = torch.autograd.grad


def problem():
    x = torch.randn(12, 3)
    params = [torch.randn(3, 4).requires_grad_(), torch.randn(4, 1).requires_grad_()]
    return x, x.prod(1, keepdim=True), params


def loss_of(x, y, params):
    return ((x @ params[0]).tanh() @ params[1] - y).pow(2).mean()


def descend(params, grads, rate=0.05):
    with torch.no_grad():
        for p, g in zip(params, grads, strict=True):
            p -= rate * g


def test_an_optimizer_by_hand_is_part_of_the_round(compare):
    """Its averages are tensors of the round before; its corrections, other numbers every time."""
    def loop(log):
        x, y, params = problem()
        first = [torch.zeros_like(p) for p in params]
        second = [torch.zeros_like(p) for p in params]
        for t in range(1, 61):
            grads = grad(loss_of(x, y, params), params)
            with torch.no_grad():
                for k, (p, g) in enumerate(zip(params, grads, strict=True)):
                    first[k] = 0.9 * first[k] + 0.1 * g
                    second[k] = 0.99 * second[k] + 0.01 * g ** 2
                    p -= 0.01 * (first[k] / (1 - 0.9 ** t)) / (
                        (second[k] / (1 - 0.99 ** t)).sqrt() + 1e-8)
            if t % 7 == 0:
                log(params, first, grads, [p._version for p in params], [p.grad for p in params])
        log(params, first, second)
    assert compare(loop) >= 40


def test_one_call_computes_update_forward_and_gradients():
    def loop(log):
        x, y, params = problem()
        for _ in range(60):
            descend(params, grad(loss_of(x, y, params), params))
        (end,) = [end for end in switch.free.root.endings() if end.runner.compiled]
        kinds = [entry.kind for entry in end.path()]
        assert kinds.count("write") == 2 and kinds.count("grad") == 1
        assert torch.explain().loops[-1]["anchor"] == "torch.autograd.grad()"
        log(params)
    assert run(loop, True)[1] >= 40


def test_inputs_are_changed_instead(compare):
    def loop(log):
        net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5))
        x, y = torch.rand(6, 3), torch.arange(6) % 5
        one = x.clone()
        for _ in range(60):
            one.requires_grad = True
            loss = nn.functional.cross_entropy(net(one), y)
            slope = grad(loss, one)[0]
            one = one.detach() + 0.01 * slope.sign()
            one = torch.clamp(x + torch.clamp(one - x, -0.1, 0.1), 0, 1).detach()
            log(loss, one)
    assert compare(loop) >= 40


@pytest.mark.parametrize("used", ["loss", "gradient", "result"])
def test_what_is_kept_is_what_it_was(compare, used):
    """Graphs that are gone, gradients that are written to, results with their tails."""
    def loop(log):
        x, y, params = problem()
        kept = []
        for k in range(60):
            hidden = (x @ params[0]).tanh()
            loss = (hidden @ params[1] - y).pow(2).mean()
            grads = grad(loss, params)
            kept.append({"loss": loss, "gradient": grads[0], "result": hidden}[used])
            if k % 9 == 8:
                one = kept[-2]
                log(type(one.grad_fn).__name__, one._base is None, one._version, one)
                try:
                    grad(one.sum(), params, allow_unused=True)
                except RuntimeError as error:
                    log(str(error).splitlines()[0])
                with torch.no_grad():
                    kept[-3].mul_(2)
            descend(params, grads)
        log(kept, params)
    assert compare(loop) >= 20


def test_errors_and_options(compare):
    def loop(log):
        x, y, params = problem()
        other = torch.ones(2, requires_grad=True)
        calls = 0

        def hook(g):
            nonlocal calls
            calls += 1
            return g * 2

        for k in range(80):
            loss = loss_of(x, y, params)
            handle = params[0].register_hook(hook) if k in (40, 41) else None
            try:
                grads = grad(loss, [*params, other] if k in (30, 50) else params,
                             retain_graph=k in (35, 55), allow_unused=k == 50)
                if k in (33, 55):
                    log(grad(loss, params))
                descend(params, grads[:2])
                if k == 60:
                    grad(loss.detach(), params)
            except RuntimeError as error:
                log(str(error).splitlines()[0])
            if handle is not None:
                handle.remove()
            log(loss)
        log(params, other.grad, calls)
    assert compare(loop) >= 30


def test_with_backward_in_turns(compare):
    def loop(log):
        x, y, params = problem()
        w = torch.randn(2, 1).requires_grad_()
        for k in range(90):
            grads = grad(loss_of(x, y, params), params)
            descend(params, grads)
            loss = (x[:, :2] @ w - y).pow(2).mean()
            loss.backward()
            with torch.no_grad():
                w -= 0.1 / (k + 1) * w.grad
                w.grad = None
            log(loss)
        log(params, w)
    assert compare(loop) >= 70


def test_walks_with_noise(compare):
    """What is drawn is drawn in the same order."""
    def loop(log):
        x = torch.zeros(5).requires_grad_()
        for k in range(60):
            slope, = grad(-(x ** 4 - x ** 2).sum() / 2, x)
            x = (x + 0.01 * slope + 0.1 * torch.randn(5)).detach().requires_grad_()
            if k % 10 == 9:
                log(x, slope)
    compare(loop)


@pytest.mark.parametrize("rates", ["falling", "drawn", "zero"])
def test_rates_are_numbers_of_the_round(compare, rates):
    def loop(log):
        draw, (x, y, params) = random.Random(2), problem()
        for k in range(60):
            loss = loss_of(x, y, params) * (1 + 1 / (k + 1))
            loss.backward()
            rate = {"falling": 0.1 * 0.95 ** k, "drawn": draw.random() * 0.1,
                    "zero": (0.0, -0.0, 0.05)[k % 3] if k > 20 else 0.01}[rates]
            for p in params:
                p.data.add_(p.grad, alpha=-rate)
                p.grad = None
            log(loss)
        log(params)
    assert compare(loop) >= (5 if rates == "zero" else 40)


def test_nothing_is_kept_alive():
    def loop(log):
        held = []
        for _ in range(60):
            x, y, params = problem()
            descend(params, grad(loss_of(x, y, params), params))
            held.append(weakref.ref(x))
        del x, y, params
        gc.collect()
        log(sum(one() is not None for one in held[:-2]))
    seen, rounds, _ = run(loop, True)
    assert seen[0] == 0 and rounds >= 40


def test_memory_of_numpy_with_gaps(compare):
    """A part of what NumPy may write to has strides of its own, also where it is copied."""
    def loop(log):
        array = np.ones((9, 4), np.float32) * 0.5
        v = torch.tensor([0.1, 0.2, -0.3], requires_grad=True)
        for _ in range(60):
            x = torch.from_numpy(array)
            loss = (x[:, ::2][:, :1] * v).pow(2).mean()
            loss.backward()
            with torch.no_grad():
                v -= 0.05 * v.grad
                v.grad = None
            array[:, 0] += 0.01
            log(loss)
        log(v)
    compare(loop)


def test_storage_that_is_asked_for_first(compare):
    """What shares memory with a result that was written to shares its storage, too."""
    def loop(log):
        x, w, kept = torch.randn(4, 3), torch.randn(3, 3).requires_grad_(), []
        for _ in range(30):
            g = x @ w
            g += 0.1
            kept.append(g.detach())
            log(kept[-1].untyped_storage().data_ptr() == g.untyped_storage().data_ptr())
            (g * g).mean().backward()
            w.grad = None
        log([one._version for one in kept], kept)
    compare(loop)
