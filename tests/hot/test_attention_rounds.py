"""Attention as people write it: split heads, causal masks, masks made anew in every round."""

from __future__ import annotations

import math

import pytest

import kkori as torch
from kkori import nn
from kkori.nn import functional as F

pytest.importorskip("llvmlite")

LENGTH, WIDTH, HEADS = 6, 8, 2


class Attention(nn.Module):
    """One head's worth of each kind, from one product that is split."""

    def __init__(self, attend):
        super().__init__()
        self.together, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.attend = attend

    def forward(self, x):
        parts = self.together(x).split(WIDTH, dim=2)
        q, k, v = (part.view(*x.shape[:2], HEADS, -1).transpose(1, 2) for part in parts)
        found = self.attend(q, k, v).transpose(1, 2).contiguous().view(*x.shape)
        return self.out(found)


def by_hand(q, k, v):
    scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
    visible = torch.tril(torch.ones(LENGTH, LENGTH))
    return F.softmax(scores.masked_fill(visible == 0, float("-inf")), dim=-1) @ v


def causal(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


VISIBLE = torch.ones(LENGTH, LENGTH).tril().bool()
VISIBLE[2] = False  # nothing: what is seen there is 0


def masked(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, VISIBLE)


@pytest.mark.parametrize("attend", [by_hand, causal, masked])
def test_heads_of_a_split_product(compare, attend):
    def loop(log):
        net = Attention(attend)
        opt = torch.optim.AdamW(net.parameters(), lr=0.01)
        for k in range(40):
            x = torch.randn(3, LENGTH, WIDTH)
            loss = (net(x) - x.roll(1, 1)).square().mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            if k > 35:
                log(loss, net.together.weight.grad)
    compare(loop, 25)


def test_a_mask_that_is_made_in_every_round(compare):
    def loop(log):
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16, 0.0)
        net = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        opt = torch.optim.SGD(net.parameters(), lr=0.01)
        for k in range(40):
            x = torch.randn(LENGTH, 3, WIDTH)
            mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
            loss = net(x, mask).square().mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            if k > 35:
                log(loss)
    compare(loop, 20)


VIEWS = {"heads": lambda x: x.split(4, 2)[1].view(3, 6, 2, 2),
         "turned": lambda x: x.transpose(0, 1).view(2, 3, 3, 8),
         "impossible": lambda x: x.transpose(0, 1).view(-1)}


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_what_is_not_in_order_are_made_or_refused(compare, name):
    def loop(log):
        net = nn.Linear(8, 8)
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        for k in range(30):
            h = net(torch.randn(3, 6, 8))
            try:
                h2 = VIEWS[name](h)
                log(h2.shape, h2.stride(), h2._base is h)
            except RuntimeError as error:
                log(str(error).splitlines()[0])
                h2 = h
            loss = (h2 * h2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            if k % 9 == 8:
                log(h2)
    compare(loop, 15)
