"""Leaves of rounds: two that are one later, which has one gradient; and some that are soon gone."""

from __future__ import annotations

import pytest

import kkori as torch

pytest.importorskip("llvmlite")


def one_backward(own, v):
    (own[0] * v * 2 + own[1] * v.sin()).sum().backward()


def two_backwards(own, v):
    for leaf in own:
        (leaf * v).sum().backward()


def gradients_of_both(own, v):
    loss = (own[0] * v * 2 + own[1] * v.sin()).sum()
    one, other = torch.autograd.grad(loss, own, create_graph=True)
    (loss + (one * other).sum()).backward()


@pytest.mark.parametrize("steps", [True, False])
@pytest.mark.parametrize("rounds", [one_backward, two_backwards, gradients_of_both])
def test_two_leaves_become_one(compare, rounds, steps):
    def loop(log):
        v = torch.full((3,), 0.5, requires_grad=True)
        opt = torch.optim.SGD([v], lr=0.01)
        for k in range(60):
            own = [torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)]
            if k % 40 > 20:
                own[1] = own[0]
            rounds(own, v)
            if k % 10 == 8:
                log(own[1].grad, v.grad)
            if steps:
                opt.step()
            else:
                v.data = v.data - 0.01 * v.grad
            opt.zero_grad()
            log(own[0].grad, own[1].grad, v)
    compare(loop, 10)


def test_leaves_that_move_up(compare):
    """Each round's second leaf is the first of the next one; then it is both."""
    def loop(log):
        v = torch.full((3,), 0.5, requires_grad=True)
        opt = torch.optim.SGD([v], lr=0.01)
        first, second = (torch.full((3,), k, requires_grad=True) for k in (0.2, 0.3))
        for k in range(60):
            loss = (first * v * 2 + second * v.sin()).sum()
            grads = torch.autograd.grad(loss, (first, second), create_graph=True)
            (loss + (grads[0] * grads[1]).sum()).backward()
            opt.step()
            log(first.grad, second.grad, v)
            opt.zero_grad()
            first.grad = second.grad = None
            first = second
            if k % 5:
                second = torch.full((3,), k / 10, requires_grad=True)
    compare(loop, 10)


def test_leaves_that_are_gone_when_the_round_ends(compare):
    def loop(log):
        v = torch.full((3,), 0.5, requires_grad=True)
        opt = torch.optim.SGD([v], lr=0.01)
        for _ in range(30):
            for _ in range(6):
                (torch.ones(3, requires_grad=True) * v).sum().backward()
            opt.step()
            opt.zero_grad()
            log(v)
    compare(loop, 10)


def test_a_leaf_with_a_gradient_that_is_gone_when_the_round_ends(compare):
    def loop(log):
        v = torch.full((3,), 0.5, requires_grad=True)
        opt = torch.optim.SGD([v], lr=0.01)
        for _ in range(30):
            own = torch.ones(3, requires_grad=True)
            own.grad = torch.ones(3)
            (own * v).sum().backward()
            del own
            opt.step()
            opt.zero_grad()
            log(v)
    compare(loop)
