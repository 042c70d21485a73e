"""Numbers that operations check: classes, indices, probabilities. Compiled rounds raise the same
errors, wherever the numbers come from, and see which targets are ignored."""

from __future__ import annotations

import pytest
from loops import ROUNDS

import kkori as torch
from kkori import nn
from kkori.nn import functional as F

pytest.importorskip("llvmlite")

CALLS = {
    "cross_entropy": lambda h, k: F.cross_entropy(h, k),
    "weighted": lambda h, k: F.cross_entropy(h, k, torch.arange(8.0) + 1),
    "smoothed": lambda h, k: F.cross_entropy(h, k, label_smoothing=0.1),
    "summed": lambda h, k: F.cross_entropy(h, k, ignore_index=2, reduction="sum"),
    "each": lambda h, k: F.cross_entropy(h, k, reduction="none").mean(),
    "nll2d": lambda h, k: F.nll_loss(h.log_softmax(1)[:, :, None, None], k[:, None, None]),
    "embedding": lambda h, k: F.embedding(k, h.t()).sum(),
    "index": lambda h, k: h.t()[k].sum(),
    "gather": lambda h, k: h.gather(1, k[:, None]).sum(),
    "scatter": lambda h, k: h.scatter(1, k[:, None], 0.5).sum(),
    "index_select": lambda h, k: h.index_select(1, k).sum(),
    "take_along_dim": lambda h, k: torch.take_along_dim(h, k[:, None], 1).sum(),
    "multi_margin": lambda h, k: F.multi_margin_loss(h, k),
    "binary": lambda h, k: F.binary_cross_entropy(h.sigmoid(), (k[:, None] / 7.0).expand(4, 8))}
LAYERS = {
    "CrossEntropyLoss": nn.CrossEntropyLoss, "NLLLoss": nn.NLLLoss,
    "MultiMarginLoss": nn.MultiMarginLoss, "Embedding": lambda: nn.Embedding(8, 3),
    "padded": lambda: nn.Embedding(8, 3, padding_idx=1)}


def use(name):
    if name in CALLS:
        return CALLS[name]
    layer = LAYERS[name]()
    if isinstance(layer, nn.Embedding):
        return lambda h, k: layer(k).sum() + h.sum()
    return layer


@pytest.mark.parametrize("wrong", [-100, -1, 8])
@pytest.mark.parametrize("made", [False, True], ids=["given", "made in the round"])
@pytest.mark.parametrize("name", [*CALLS, *LAYERS])
def test_numbers_out_of_range(compare, name, made, wrong):
    def loop(log):
        net, call = nn.Linear(6, 8), use(name)
        opt = torch.optim.SGD(net.parameters(), lr=0.01)
        x = torch.randn(4, 6)
        for k in range(ROUNDS + 8):
            late = k > ROUNDS
            classes = torch.tensor([0, 1, wrong if late and k % 2 else 5, late + 1])
            try:
                loss = call(net(x), classes * 1 if made else classes)
                loss.backward()
                opt.step()
                log(loss)
            except Exception as error:
                log(type(error).__name__, str(error).splitlines()[0])
            opt.zero_grad()
        log(net.weight)
    compare(loop, 0 if name in ("index_select", "take_along_dim") else ROUNDS - 8)


def test_targets_that_are_ignored_now_and_then(compare):
    """Whether any are decides which program is run: `forward` has to see them."""
    def loop(log):
        net, lossf = nn.Linear(6, 8), nn.CrossEntropyLoss()
        opt = torch.optim.SGD(net.parameters(), lr=0.01)
        x = torch.randn(4, 6)
        for k in range(60):
            loss = lossf(net(x), torch.tensor([0, 1, -100 if k > 10 and k % 2 else 2, 0]))
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss)
    compare(loop, 38)


def test_what_a_layer_looks_at_is_looked_at_every_time(compare):
    def loop(log):
        net, layer = nn.Linear(6, 8), nn.GaussianNLLLoss()
        opt = torch.optim.SGD(net.parameters(), lr=0.01)
        x = torch.randn(4, 6)
        for k in range(80):
            lossf = layer if k > 20 else F.gaussian_nll_loss  # by then, looking is cheap
            try:
                loss = lossf(net(x), x[:, :1].expand(4, 8), torch.full((4, 1), 60.5 - k) * 2)
                loss.backward()
                opt.step()
                log(loss)
            except ValueError as error:
                log(str(error).splitlines()[0])
            opt.zero_grad()
    compare(loop)
