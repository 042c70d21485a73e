"""Rounds that write in place to their own results: ``ReLU(inplace=True)``, ``out += identity``."""

from __future__ import annotations

import copy

import pytest

import kkori as torch
from kkori import nn
from kkori.nn import functional as F

pytest.importorskip("llvmlite")
ROUNDS = 24


def training(log, forward, after=None, rounds=ROUNDS, make=torch.optim.SGD):
    """Train two layers; ``forward(k, h)`` is what happens between them."""
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    x, y = torch.randn(6, 3), torch.randn(6, 2)
    params = [*first.parameters(), *second.parameters()]
    optimizer = make(params, lr=0.05)
    for k in range(rounds):
        try:
            loss = F.mse_loss(second(forward(k, first(x))), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        except RuntimeError as error:
            log(k, str(error).splitlines()[0])
            optimizer.zero_grad()
        if after is not None:
            after(k)
    log(loss, *params)


WAYS = {
    "relu_": lambda k, h: h.relu_(),
    "relu": lambda k, h: F.relu(h, inplace=True),
    "leaky_relu": lambda k, h: F.leaky_relu(h, 0.2, inplace=True),
    "elu": lambda k, h: F.elu(h, inplace=True),
    "hardtanh": lambda k, h: F.hardtanh(h, -0.5, 0.5, inplace=True),
    "silu": lambda k, h: F.silu(h, inplace=True),
    "tanh_": lambda k, h: h.tanh_().mul_(2),
    "sum": lambda k, h: h.add_(h * 2).sub_(1).div_(3),
    "scaled": lambda k, h: (h * 1).mul_(h).mul_(torch.full((4,), 0.5)),
    "square": lambda k, h: h.mul_(h),
    "power": lambda k, h: h.pow_(2),
    "clamp": lambda k, h: h.clamp_(-0.3, 0.8),
    "exp": lambda k, h: (h * 0.1).exp_(),
    "filled": lambda k, h: h.masked_fill_(h > 0.5, 0.5),
    "zero": lambda k, h: (h * 1).zero_() + h,
    "normed": lambda k, h: F.layer_norm(h, (4,)).relu_(),
    "viewed after": lambda k, h: h.relu_().view(-1).view(6, 4).t().t(),
    "view": lambda k, h: h.view(-1).relu_().view(6, 4),
    "viewed before": lambda k, h: (h.view(-1), h.relu_())[1] * 1,
    "a part": lambda k, h: (h.__setitem__(0, 1.0), h)[1],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_result_is_written_to(compare, way):
    replayed = 0 if way in ("view", "viewed before", "a part", "zero") else ROUNDS - 8
    compare(lambda log: training(log, WAYS[way]), replayed)


def test_residual_blocks_are_replayed(compare):
    def block(k, h):
        out = h * 2 - 1
        out += h
        return F.relu(out, inplace=True)
    compare(lambda log: training(log, block, make=torch.optim.Adam), ROUNDS - 7)


@pytest.mark.parametrize("dims", [1, 2])
def test_networks_of_layers_that_write_in_place(compare, dims):
    def loop(log):
        if dims == 1:
            net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(inplace=True),
                                nn.Linear(5, 4), nn.LeakyReLU(0.2, inplace=True), nn.Linear(4, 1))
            x, y = torch.randn(8, 3), torch.randn(8, 1)
        else:
            net = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(True),
                                nn.Conv2d(3, 2, 3, bias=False), nn.ReLU(True), nn.Flatten(),
                                nn.Linear(8, 1))
            x, y = torch.randn(4, 1, 6, 6), torch.randn(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for _ in range(ROUNDS):
            loss = (net(x) - y).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        log(loss, *net.parameters(), *net.buffers())
    compare(loop, ROUNDS - 8)


def test_what_is_kept_was_written_to(compare):
    def loop(log):
        kept = []

        def forward(k, h):
            kept[:] = [h, h.relu_(), h.detach(), h.view(-1), h.grad_fn is None]
            return h

        def after(k):
            h, again, cut, view, _ = kept
            log(h is again, h._version, cut._version, view._version, view._base is h)
            log(h, cut, view, type(h.grad_fn).__name__, type(view.grad_fn).__name__)
            log(type(h.grad_fn.next_functions[0][0]).__name__, h.grad_fn is again.grad_fn)
            log(cut.untyped_storage().data_ptr() == h.untyped_storage().data_ptr())
            if k % 5 == 4:
                with torch.no_grad():
                    h.mul_(2)
                log(h, cut, view, [one._version for one in kept[:4]])
        training(log, forward, after, 2 * ROUNDS)
    compare(loop)


def test_what_is_kept_is_handed_out_alike_in_every_round(compare):
    def loop(log):
        kept = []

        def forward(k, h):
            y = torch.tanh(h)
            h.copy_(y)
            kept[:] = [h, y]
            return h

        def after(k):
            h, y = kept
            log(h, y, h._version, y._version, h.grad_fn is y.grad_fn, h.requires_grad)
            log(h.untyped_storage().data_ptr() == y.untyped_storage().data_ptr())
        training(log, forward, after, 2 * ROUNDS)
    compare(loop, ROUNDS)


def test_looking_in_mid_round(compare):
    def loop(log):
        def forward(k, h):
            if k % 6 == 4:
                log(h, h._version)
            h.relu_()
            log(h._version, h.requires_grad, h.is_leaf, h.shape)
            if k % 6 == 5:
                log(h, type(h.grad_fn).__name__, h.sum().item())
            h += 1
            if k % 6 == 3:
                log(h.detach().numpy().copy())
            if k == 20:
                log(copy.deepcopy(h.detach()), h.tolist())
            return h
        training(log, forward, rounds=2 * ROUNDS)
    compare(loop, 8)


def test_another_name_for_the_memory(compare):
    def loop(log):
        def forward(k, h):
            other = None
            if k % 5 == 4:
                other = h.detach()
            if k % 7 == 6:
                other = copy.copy(h)
            h.relu_()
            if other is not None:
                log(other, other._version)
            return h
        training(log, forward, rounds=2 * ROUNDS)
    compare(loop)


def test_errors_of_backward_stay(compare):
    def loop(log):
        def forward(k, h):
            h = torch.tanh(h)
            if k % 6 == 5:
                h.mul_(2)  # backward() needs what it was
            return h
        training(log, forward, rounds=2 * ROUNDS)
    compare(loop, 8)


def test_leaves_are_not_written_to(compare):
    def loop(log):
        w = torch.ones(3, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1)
        for k in range(ROUNDS):
            h = w * 2
            if k % 5 == 4:
                with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
                    w.add_(h)
            h.add_(w)
            h.pow(2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        log(w, w._version)
    compare(loop)


def test_without_gradients_only_numbers_are_written(compare):
    def loop(log):
        def forward(k, h):
            with torch.no_grad():
                h.mul_(0.5)
            log(h._version)
            return h + 1
        training(log, forward)
    compare(loop, ROUNDS - 8)


def test_an_error_before_a_write(compare):
    def loop(log):
        def forward(k, h):
            if k == 18:
                try:
                    h @ h
                    h.relu_()
                except RuntimeError as error:
                    log(str(error).splitlines()[0], h, h._version)
            return h.relu_()
        training(log, forward)
    compare(loop, 8)


def test_an_error_of_numbers_before_a_write(compare):
    def loop(log):
        labels = torch.tensor([0, 1, 2, 3, 0, 1])

        def forward(k, h):
            try:
                one = F.binary_cross_entropy(h.detach() if k == 18 else torch.sigmoid(h.detach()),
                                             torch.sigmoid(h.detach()))
                two = F.cross_entropy(h, labels)
                h.relu_()
                return h * one.detach() + two
            except RuntimeError as error:
                log(str(error).splitlines()[0])
                return h
        training(log, forward)
    compare(loop)


def test_graphs_that_outlive_their_round(compare):
    def loop(log):
        first, second = nn.Linear(3, 4), nn.Linear(4, 2)
        x = torch.randn(6, 3)
        one, two = (torch.optim.SGD(each.parameters(), lr=0.05) for each in (second, first))
        for _ in range(2 * ROUNDS):
            fake = F.leaky_relu(first(x).relu_(), 0.2, inplace=True)
            second(fake.detach()).pow(2).mean().backward()
            one.step()
            one.zero_grad()
            log(fake, fake._version, type(fake.grad_fn).__name__)
            second(fake).sub(1).pow(2).mean().backward()
            two.step()
            two.zero_grad()
            one.zero_grad()
        log(*first.parameters(), *second.parameters())
    compare(loop, 8)


def test_rounds_that_end_with_backward(compare):
    def loop(log):
        net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 1))
        x, y = torch.randn(8, 3), torch.randn(8, 1)
        for _ in range(60):
            loss = (net(x) - y).pow(2).mean()
            loss.backward()
            with torch.no_grad():
                for p in net.parameters():
                    p -= 0.05 * p.grad
                    p.grad = None
        log(loss, *net.parameters())
    compare(loop, 20)


class Block(nn.Module):
    """A residual block that hands its argument on, and out, by several ways."""

    def __init__(self, seen):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)
        self.relu, self.seen = nn.ReLU(inplace=True), seen
        self.tail = nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Flatten(), nn.ReLU(True))

    def forward(self, x):
        out = self.second(self.relu(self.norm(self.first(x))))
        out += x
        out = self.relu(out)
        found = self.tail(out)
        self.seen[:] = [out, found]
        return found


@pytest.mark.parametrize("looking", [False, True])
def test_calls_of_layers_that_write_to_their_arguments(compare, looking):
    def loop(log):
        seen = []
        net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(True), Block(seen), nn.Linear(4, 1))
        x, y = torch.randn(8, 3), torch.randn(8, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for k in range(2 * ROUNDS):
            out = net(x)
            if looking and k % 7 == 5:
                log(seen[0], [one._version for one in seen])
            if looking and k == 30:
                net[1].inplace = False
            loss = (out - y).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            log(seen[0], seen[1], seen[0] is seen[1], out)
            log([one._version for one in (*seen, out)], type(seen[1].grad_fn).__name__)
        log(loss, *net.parameters(), *net.buffers())
    compare(loop, ROUNDS // 2)


def test_another_name_for_the_argument_of_a_call(compare):
    def loop(log):
        first, relu = nn.Linear(3, 4), nn.ReLU(inplace=True)
        x = torch.randn(8, 3)
        optimizer = torch.optim.SGD(first.parameters(), lr=0.05)
        for k in range(2 * ROUNDS):
            h = first(x)
            if k % 5 == 4:
                other = copy.copy(h)
            out = relu(h)
            log(out is h, out._version)
            if k % 5 == 4:
                log(other, h)
            out.pow(2).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        log(*first.parameters())
    compare(loop, 8)
