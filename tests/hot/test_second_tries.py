"""Loops that are replayed at the second try: operations on data alone are no part of the round."""

from __future__ import annotations

import random

import pytest

import kkori as torch
from kkori import nn
from kkori.nn import functional as F
from kkori.run import loops

pytest.importorskip("llvmlite")

ROUNDS = 40
AT_FIRST = 16  # rounds: the first try, and what it takes to compile another


@pytest.fixture(autouse=True)
def little_patience(monkeypatch):
    monkeypatch.setattr(loops, "PATIENCE", 5)
    monkeypatch.setattr(loops, "RECORDINGS", 3)


def remembered(chance):
    """A state, its successor (there may be none) and a reward."""
    after = torch.randn(1, 4) if chance.random() < 0.8 else None
    return torch.randn(1, 4), after, torch.tensor([chance.random()])


def test_targets_of_another_model_for_as_many_rows_as_there_are(compare):
    def loop(log):
        torch.manual_seed(0)
        chance = random.Random(0)
        net, other = nn.Linear(4, 3), nn.Linear(4, 3)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        memory = [remembered(chance) for _ in range(20)]
        for _ in range(ROUNDS):
            state, after, reward = zip(*chance.sample(memory, 8), strict=True)
            known = torch.tensor([one is not None for one in after])
            rows = torch.cat([one for one in after if one is not None])
            actions = torch.randint(0, 3, (8, 1))
            value = net(torch.cat(state)).gather(1, actions)
            wanted = torch.zeros(8)
            with torch.no_grad():
                wanted[known] = other(rows).max(1).values
            wanted = wanted * 0.9 + torch.cat(reward)
            loss = F.smooth_l1_loss(value, wanted.unsqueeze(1))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_value_(net.parameters(), 0.05)
            optimizer.step()
            found = other.state_dict()
            for name, param in net.state_dict().items():
                found[name] = param * 0.1 + found[name] * 0.9
            other.load_state_dict(found)
            log(loss.item(), wanted.sum().item(), other.weight.detach().clone())
        return optimizer
    compare(loop, ROUNDS - AT_FIRST)


def test_data_that_the_round_has_read_is_written_to(compare):
    """Rows come and go; between forward and backward an input of the round is changed."""
    def loop(log):
        torch.manual_seed(0)
        net, x, total = nn.Linear(4, 3), torch.randn(8, 4), torch.zeros(3)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for number in range(ROUNDS):
            part = torch.randn(5 + number, 4) * 2
            h = net(x).tanh()
            with torch.no_grad():
                total += part.sum(0)[:3]
                seen = x[:2] * 1
                if number % 10 == 9:
                    x[0] = 1.0
            loss = (h * total.mean() / 10).mean() + h[0].mean()
            optimizer.zero_grad()
            try:
                loss.backward()
            except RuntimeError as error:
                log(str(error).splitlines()[0])
            optimizer.step()
            log(loss.item(), seen, total.clone(), x._version, total._version)
        return optimizer
    compare(loop, ROUNDS - 2 * AT_FIRST)


def test_values_that_are_looked_at_and_numbers_of_gradients(compare):
    """What depends on results of the round, or on gradients, is part of it, followed or not."""
    def loop(log):
        torch.manual_seed(0)
        net, data = nn.Linear(4, 3), torch.randn(32, 4)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for number in range(ROUNDS):
            order = torch.randperm(32)[:8]
            batch = data[order]
            batch = (batch - batch.mean()) / (batch.std() + 1e-8)
            h = net(batch)
            with torch.no_grad():
                wide = (h.abs() > 0.5).float().mean()
                rows = torch.randn(3 + number, 4).sum(0)
            loss = (h * h).mean() + rows.mean() * h.mean()
            optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                size = sum((p.grad ** 2).sum() for p in net.parameters())
            optimizer.step()
            log(wide.item(), size.item(), loss.item())
        return optimizer
    compare(loop, ROUNDS - 2 * AT_FIRST)


def test_a_loop_that_is_replayed_at_once_is_not_tried_again():
    torch.manual_seed(0)
    net, x = nn.Linear(4, 3), torch.randn(8, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for number in range(ROUNDS):
        for _ in range(1 + number // 25 * 5 % 7):
            h = net(x if number < 20 else torch.randn(3 + number, 4))
        optimizer.zero_grad()
        h.mean().backward()
        optimizer.step()
    loop = loops.loop_of(optimizer)
    assert loop.tape.replayed() and not loop.tape.left_out.followed_only


def test_a_loop_that_is_never_alike_is_tried_again_once():
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for number in range(ROUNDS):
        optimizer.zero_grad()
        net(torch.randn(3 + number, 4)).mean().backward()
        optimizer.step()
    loop = loops.loop_of(optimizer)
    assert loop.tape.left_out.followed_only and loop.wake_at > ROUNDS
    assert loop.tape.counts["recorded"] <= 2 * loops.RECORDINGS + 2


@pytest.mark.parametrize("writes", [False, True])
def test_what_is_kept_over_the_step_holds_an_index(compare, writes):
    def loop(log):
        torch.manual_seed(0)
        net, x = nn.Linear(4, 3), torch.randn(8, 4)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for number in range(ROUNDS):
            index = torch.tensor([0, 2, 5 + number % 2])
            kept = net(x).exp()[index, torch.tensor([0, 1, 2])]
            loss = net(x * 2).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if writes and number % 4 == 3:
                index.add_(1)
            try:
                kept.sum().backward()
            except RuntimeError as error:
                log(str(error).splitlines()[0])
            log(loss.item(), kept.tolist(), net.weight.grad.clone())
        return optimizer
    compare(loop, ROUNDS - 2 * AT_FIRST)
