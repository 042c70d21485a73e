"""Loops of convolutional nets are replayed, and no round leaves native code for a convolution."""

from __future__ import annotations

import pytest

import kkori as torch
import kkori.nn.functional as F
from kkori import nn
from kkori.codegen import toolchain

NETS = {
    "images": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(),
                                     nn.Linear(4 * 36, 3)), (5, 1, 6, 6)),
    "steps": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4),
                                    nn.Tanh(), nn.Conv2d(4, 3, 4), nn.Flatten()), (3, 2, 7, 7)),
    "lines": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3, dilation=2), nn.ReLU(), nn.Conv1d(4, 1, 4),
                                    nn.Flatten()), (3, 2, 10)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1),
                                         nn.ReLU(), nn.Conv2d(4, 1, 6), nn.Flatten()),
                   (3, 3, 3, 3)),
    "groups": (lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, 2, 1, groups=4),
                                     nn.ReLU(), nn.Conv2d(4, 6, 2, groups=2), nn.Flatten()),
               (3, 2, 6, 6)),
    "no bias": (lambda: nn.Sequential(nn.Conv2d(1, 3, 2, bias=False), nn.Sigmoid(), nn.Flatten()),
                (2, 1, 4, 4)),
}


@pytest.mark.parametrize("name", NETS)
def test_nets(compare, name):
    make, shape = NETS[name]

    def loop(log):
        net = make()
        opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        x = torch.randn(*shape)
        for _ in range(12):
            loss = (net(x) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss)
        log(*net.parameters())
    compare(loop, 8 if toolchain.available() else None)


def test_weights_that_overflow(compare):
    """Where a sum is no number any more, array rules say which are none."""
    def loop(log):
        net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1))
        opt = torch.optim.SGD(net.parameters(), lr=0.05)
        x = torch.randn(2, 1, 5, 5)
        for k in range(14):
            if k == 9:
                with torch.no_grad():
                    net[1].weight[0, 0, 0, 0] = float("inf")
            loss = F.mse_loss(net(x), torch.zeros(2, 1, 5, 5))
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss, net[0].weight.grad.isnan(), net[1].weight.grad.isnan())
    compare(loop)


def test_rounds_call_no_library():
    if not toolchain.available():
        pytest.skip("llvmlite is not installed: no round is compiled here")
    from kkori.codegen.segment import Segment
    called = []
    array = Segment.call_library

    def noted(self, *args):
        called.append(self.plan.calls)
        return array(self, *args)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten())
    opt = torch.optim.SGD(net.parameters(), lr=0.05)
    x = torch.randn(4, 1, 8, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segment, "call_library", noted)
        for _ in range(12):
            loss = net(x).square().mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
    assert any(loop["replayed"] for loop in torch.explain().loops)
    assert not called
