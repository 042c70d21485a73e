"""What programs ask of results in mid-round without leaving it: lengths, truths, samples, whole
numbers, what an index points at."""

from __future__ import annotations

import pytest

import kkori as torch
from kkori import nn
from kkori.nn import functional as F

pytest.importorskip("llvmlite")

ROUNDS = 24
AT_FIRST = 14  # rounds that may run at once: numbers are looked at there some times before


def samples(h, t):
    return torch.multinomial(torch.softmax(h, 1), 2).tolist()


QUESTIONS = {
    "length": lambda h, t: len(h) + len(list(h * 1)),
    "truth": lambda h, t: bool((h > 0.5).any()),
    "sameness": lambda h, t: torch.equal(h, h),
    "samples": samples,
    "whole numbers": lambda h, t: (h * 3).long().sum().item(),
    "truths": lambda h, t: (h * 3).bool().float().mean().item(),
    "gather": lambda h, t: h.gather(1, t[:, None]).mean().item(),
    "gather by result": lambda h, t: h.gather(1, h.argmax(1, keepdim=True)).sum().item(),
    "scatter": lambda h, t: torch.zeros(4, 8).scatter(1, t.unsqueeze(1), 1.0).sum().item(),
    "along": lambda h, t: h.take_along_dim(t[:, None], 1).sum().item(),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_questions_leave_rounds_alone(compare, question):
    ask = QUESTIONS[question]

    def loop(log):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        x, t = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(ROUNDS):
            h = net[:2](x)
            log(ask(h, t))
            loss = F.cross_entropy(net[2](h), t)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            log(loss.item())
        return optimizer
    compare(loop, ROUNDS - AT_FIRST)


@pytest.mark.parametrize("call", [
    lambda h, index: h.gather(1, index),
    lambda h, index: h.scatter(1, index, 0.0),
    lambda h, index: h[torch.arange(4)[:, None], index],
    lambda h, index: h.scatter_add(1, index, torch.ones(4, 1)),
    lambda h, index: h.scatter_reduce(1, index, torch.ones(4, 1), "sum"),
])
def test_an_index_that_points_outside_is_refused_in_every_round(compare, call):
    def loop(log):
        torch.manual_seed(0)
        net, x = nn.Linear(6, 8), torch.randn(4, 6)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        index = torch.tensor([0, 1, 2, 0])
        for number in range(ROUNDS):
            if number == ROUNDS - 1:
                index += 6
            try:
                call(net(x), index[:, None]).sum().backward()
                optimizer.step()
                optimizer.zero_grad()
            except (IndexError, RuntimeError) as error:
                log(str(error).splitlines()[0])
        log(net.weight)
        return optimizer
    compare(loop, ROUNDS - AT_FIRST)
