"""Rounds in which tails are cut: ``detach()`` and ``.data`` of results and gradients."""

from __future__ import annotations

import copy

import pytest

import kkori as torch
from kkori import nn
from kkori.autograd.mode import switch
from kkori.nn import functional as F

pytest.importorskip("llvmlite")
ROUNDS = 24


def training(log, loss_of, after=None, rounds=ROUNDS, before=None):
    """Train two layers on ``loss_of(k, first, second, x, y)``."""
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    x, y = torch.randn(6, 3), torch.randn(6, 2)
    params = [*first.parameters(), *second.parameters()]
    optimizer = torch.optim.SGD(params, lr=0.05)
    for k in range(rounds):
        loss = loss_of(k, first, second, x, y)
        optimizer.zero_grad()
        loss.backward()
        if before is not None:
            before(k, params)
        optimizer.step()
        if after is not None:
            after(k)
    log(loss, *params)


def straight_through(k, first, second, x, y):
    h = first(x)
    h = h + (h.round() - h).detach()
    return F.mse_loss(second(h), y) + F.mse_loss(h, h.data * 0.5)


def bootstrapped(k, first, second, x, y):
    target = second(first(x + 1)).detach().max(1, keepdim=True)[0] * 0.9 + y
    return F.mse_loss(second(first(x)), target)


@pytest.mark.parametrize("loss_of", [straight_through, bootstrapped])
def test_tails_cut_in_mid_round_are_replayed(compare, loss_of):
    compare(lambda log: training(log, loss_of), ROUNDS - 7)


def test_what_is_kept_shares_memory_with_what_it_was_cut_from(compare):
    def loop(log):
        kept = []

        def loss_of(k, first, second, x, y):
            h = first(x)
            kept[:] = [h, h.detach(), h.data, h.detach().view(-1), h.t().detach()]
            return F.mse_loss(second(h), y)

        def after(k):
            places = [one.untyped_storage().data_ptr() for one in kept]
            log([place == places[0] for place in places], [one._version for one in kept])
            log(*kept, [one._base is None for one in kept])
            if k % 5 == 4:
                kept[1].mul_(2)
                kept[2][0] = 7.0
                log(*kept, [one._version for one in kept])
        training(log, loss_of, after)
    compare(loop, ROUNDS - 7)


def test_what_is_cut_outlives_what_it_was_cut_from(compare):
    def loop(log):
        kept, losses = [], []

        def loss_of(k, first, second, x, y):
            kept.append(second(torch.tanh(first(x))).detach())
            loss = F.mse_loss(second(torch.tanh(first(x))), y)
            losses.append(loss.detach())
            return loss
        training(log, loss_of, lambda k: log(kept[-1], losses[-1]))
        log(*kept, *losses, torch.stack(losses))
    compare(loop, ROUNDS - 7)


def test_a_tail_that_was_gone_when_the_round_was_recorded_is_there_when_it_is_kept(compare):
    """Rounds in which only what was cut outlives its result end by straight lines; those in which
    the result does, too, give it the tail that the recorded one no longer had."""
    def loop(log):
        kept = []

        def loss_of(k, first, second, x, y):
            h = torch.tanh(first(x))
            kept[:] = [h.detach()]
            if k % 16 == 15:
                kept.append(h)
            return F.mse_loss(second(first(x)), kept[0].sum(1, keepdim=True) + y)

        def after(k):
            log(*kept, [one._base is None for one in kept], [one._version for one in kept])
            if len(kept) > 1:
                tail = kept[1].grad_fn
                log(tail.name(), [node.name() for node, _ in tail.next_functions])
            if switch.tape is not None and k == 14:
                (end,) = switch.tape.root.endings()
                assert sum(end.runner.endings.count.values()) < 5  # rounds in the general way
        training(log, loss_of, after, rounds=4 * ROUNDS)
    compare(loop, 4 * ROUNDS - 20)


def test_hidden_states_are_carried_on_without_their_past(compare):
    def loop(log):
        cell, out = nn.RNNCell(3, 4), nn.Linear(4, 1)
        optimizer = torch.optim.Adam([*cell.parameters(), *out.parameters()], lr=0.01)
        h, data = torch.zeros(5, 4), torch.randn(ROUNDS, 3, 5, 3)
        for part in data:
            h = h.detach()
            loss = 0
            for x in part:
                h = cell(x, h)
                loss = loss + out(h).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            log(loss.item(), h.detach().requires_grad)
        log(*cell.parameters())
    compare(loop, ROUNDS - 8)


def test_gradients_without_their_leaves(compare):
    def loop(log):
        kept = []

        def before(k, params):
            kept[:] = [p.grad.detach() for p in params]
            kept.append(params[0].grad.data.norm(2))
        training(log, straight_through, lambda k: log(*kept), before=before)
    compare(loop, ROUNDS - 7)


def test_whoever_writes_to_what_was_cut_changes_the_result(compare):
    def loop(log):
        def loss_of(k, first, second, x, y):
            h = first(x)
            cut = h.detach()
            if k % 6 == 5:
                cut.zero_()
            if k % 6 == 4:
                h.data[0] = 1.0
            if k % 6 == 3:
                cut.numpy()[0] = 2.0
            log(cut._version, cut.requires_grad, cut.is_leaf, cut.grad_fn is None)
            return F.mse_loss(second(h * 1), y) + cut.mean()
        training(log, loss_of, rounds=2 * ROUNDS)
    compare(loop)


def test_what_was_cut_and_is_alone_is_written_to(compare):
    def loop(log):
        def loss_of(k, first, second, x, y):
            cut = first(x).detach()
            cut.mul_(2)
            cut.add_(1)
            return F.mse_loss(second(cut), y) + first.weight.sum()
        training(log, loss_of)
    compare(loop)


def test_what_was_cut_becomes_a_leaf(compare):
    def loop(log):
        def loss_of(k, first, second, x, y):
            h = first(x)
            leaf = h.detach().requires_grad_()
            slope, = torch.autograd.grad(second(leaf).sum(), leaf)
            log(slope)
            return F.mse_loss(second(h), y) + (slope * h).mean()
        training(log, loss_of)
    compare(loop)


def test_cut_in_some_rounds_only(compare):
    def loop(log):
        def loss_of(k, first, second, x, y):
            h = first(x)
            if k % 4 == 3:
                h = h.detach()
            if k == 20:
                log(h.detach().numpy().copy(), copy.copy(h), copy.deepcopy(h.detach()))
            return F.mse_loss(second(h), y) + first.weight.pow(2).sum()
        training(log, loss_of, rounds=2 * ROUNDS)
    compare(loop, ROUNDS)


def test_rounds_that_end_with_backward(compare):
    def loop(log):
        first, x, y = nn.Linear(3, 2), torch.randn(6, 3), torch.randn(6, 2)
        for _ in range(60):
            h = first(x)
            loss = F.mse_loss(h, y) + (h - h.detach().round()).pow(2).mean()
            loss.backward()
            with torch.no_grad():
                for p in first.parameters():
                    p -= 0.05 * p.grad
                    p.grad = None
            log(loss.detach())
        log(*first.parameters())
    compare(loop, 20)


def test_an_error_behind_a_cut(compare):
    def loop(log):
        def loss_of(k, first, second, x, y):
            h = first(x)
            cut = h.detach()
            if k == 15:
                with pytest.raises(RuntimeError):
                    cut @ cut
                log(cut, h)
            return F.mse_loss(second(h), y) + cut.mean()
        training(log, loss_of)
    compare(loop, ROUNDS - 9)
