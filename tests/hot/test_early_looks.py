"""Numbers that are looked at before anything is followed: places in the data that are drawn."""

from __future__ import annotations

import pytest
from loops import training

import kkori as torch
from kkori import nn

pytest.importorskip("llvmlite")

ROUNDS = 40
TEXT = torch.arange(300) * 7 % 11


def pieces(places, length=6):
    return torch.stack([TEXT[i:i + length] for i in places]), torch.stack(
        [TEXT[i + 1:i + length + 1] for i in places])


def numbers(places, length=6):
    return pieces([int(i * 2) // 2 for i in places], length)


def tables(places, length=6):
    order = (places + 1)[:, None] + torch.arange(length)
    assert order.max().item() < 300
    return TEXT[order - 1], TEXT[order]


@pytest.mark.parametrize("cut", [pieces, numbers, tables])
@pytest.mark.parametrize("look", [False, True])
def test_pieces_of_a_text(compare, cut, look):
    def loop(log):
        net = nn.Sequential(nn.Embedding(11, 5), nn.Linear(5, 11))
        opt = torch.optim.AdamW(net.parameters(), lr=0.01)
        for k in range(ROUNDS):
            x, y = cut(torch.randint(290, (4,)))
            if look and k > 5:
                log(x, y[0, 0].item())
            loss = nn.functional.cross_entropy(net(x).view(-1, 11), y.view(-1))
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss.item())
    compare(loop, ROUNDS - 14)


def test_looks_at_what_is_followed(compare):
    """Looking at results of the model, or at data behind it."""
    def loop(log):
        net, opt, loss_of, x, y = training(torch.optim.Adam)
        for k in range(ROUNDS):
            scaled = x * 2 + 1
            found = net(scaled)
            if k % 3:
                log(found[0].item())
            log(scaled.mean().item())
            loss = loss_of(found, y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss)
    compare(loop)


def test_data_that_is_prepared_and_looked_at_now_and_then(compare):
    def loop(log):
        net, opt, loss_of, x, y = training(torch.optim.Adam)
        for k in range(ROUNDS):
            scaled = x * 2
            scaled = scaled - scaled.mean()
            if k in (12, 13, 20, 30):
                log(scaled)
            loss = loss_of(net(scaled), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
        log(list(net.parameters()))
    compare(loop, 25)
