"""Several calls of backward() before a step: their gradients are added up within the round."""

from __future__ import annotations

import pytest
from loops import parameters, training

import kkori as torch
from kkori import nn

pytest.importorskip("llvmlite")

ROUNDS = 30


def accumulated(log, net, opt, loss_of, x, y, k, parts=3, between=None, clip=True):
    """One step on `parts` pieces of the data."""
    size = len(x) // parts
    for number in range(parts):
        part = slice(number * size, (number + 1) * size)
        loss = loss_of(net(x[part]), y[part]) / parts
        loss.backward()
        if between is not None:
            between(log, net, k, number)
    if clip:
        log(nn.utils.clip_grad_norm_(net.parameters(), 0.5).item())
    opt.step()
    opt.zero_grad()
    log(loss.item())


def loop(rounds=ROUNDS, optimizer=torch.optim.Adam, **options):
    def run(log):
        given = training(optimizer)
        for k in range(rounds):
            accumulated(log, *given, k, **options)
        log(parameters(given[0]))
    return run


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("parts", [2, 4])
def test_pieces_of_a_batch(compare, clip, parts):
    compare(loop(clip=clip, parts=parts), ROUNDS - 12)


def see(log, net, k, number):
    if k % 5 == 4:
        log([(p.grad, p.grad._version) for p in net.parameters()])


def set_to_none(log, net, k, number):
    if k % 5 == 4 and number == 1:
        for p in net.parameters():
            p.grad = None


def see_and_set(log, net, k, number):
    """Looked at, forgotten, and then a gradient for one of them alone."""
    if k % 5 == 4 and number == 0:
        log(net[0].weight.grad)
        net[0].weight.grad = None


def write(log, net, k, number):
    if k % 5 == 4 and number == 1:
        net[0].weight.grad.mul_(0.5)


def keep(log, net, k, number):
    if k % 5 == 4:
        net.__dict__.setdefault("kept", []).append(net[2].bias.grad)
        log(net.__dict__["kept"][-3:])


def fail(log, net, k, number):
    if k % 7 == 6 and number == 1:
        try:
            net(torch.ones(3, 3))
        except RuntimeError as error:
            log(str(error).splitlines()[0])


@pytest.mark.parametrize("between", [see, set_to_none, see_and_set, write, keep, fail])
@pytest.mark.parametrize("clip", [False, True])
def test_something_in_between(compare, between, clip):
    compare(loop(between=between, clip=clip, rounds=40))


def test_versions_behind_the_step(compare):
    """What was added to counts as written to, also where nobody has looked before."""
    def run(log):
        net, opt, loss_of, x, y = training()
        for k in range(ROUNDS):
            loss_of(net(x), y).backward()
            loss_of(net(x * 0.5), y).backward()
            opt.step()
            if k % 3 == 2:
                log([(p.grad, p.grad._version) for p in net.parameters()])
            opt.zero_grad()
    compare(run, ROUNDS - 12)


def test_other_leaves_each_time(compare):
    """Two losses that share a layer; the heads get gradients from one of them."""
    def run(log):
        body, one, two = nn.Linear(1, 5), nn.Linear(5, 1), nn.Linear(5, 1)
        params = [*body.parameters(), *one.parameters(), *two.parameters()]
        opt = torch.optim.SGD(params, lr=0.05, momentum=0.5)
        _, _, loss_of, x, y = training()
        for k in range(ROUNDS):
            loss_of(one(body(x).tanh()), y).backward()
            loss_of(two(body(x).tanh()), -y).backward()
            opt.step()
            if k % 4 == 3:
                log([p.grad for p in params])
            opt.zero_grad(set_to_none=k % 2 == 0)
        log(params)
    compare(run)


def test_an_explicit_gradient(compare):
    def run(log):
        net, opt, _, x, _ = training()
        weight = torch.ones(len(x), 1)
        for _ in range(ROUNDS):
            net(x).backward(weight)
            net(x).square().backward(weight * 0.5)
            opt.step()
            opt.zero_grad()
        log(parameters(net))
    compare(run)
