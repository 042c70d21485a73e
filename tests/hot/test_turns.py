"""Loops that take turns: what one sees, the others are told; steps that come behind others."""

from __future__ import annotations

import pytest

import kkori as torch
import kkori.nn.functional as F
from kkori import nn

pytest.importorskip("llvmlite")


def adversaries():
    maker, judge = nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    return maker, judge, torch.optim.Adam(maker.parameters(), lr=0.01), torch.optim.Adam(
        judge.parameters(), lr=0.02)


def judged(maker, judge, one, two, noise, real):
    with torch.no_grad():
        made = maker(noise)
    loss = F.softplus(-judge(real)).mean() + F.softplus(judge(made)).mean()
    one.zero_grad()
    two.zero_grad()
    loss.backward()
    two.step()
    return loss


def made(maker, judge, one, two, noise):
    loss = F.softplus(-judge(maker(noise))).mean()
    one.zero_grad()
    two.zero_grad()
    loss.backward()
    one.step()
    return loss


def test_both_of_two_loops_are_replayed(compare):
    def loop(log):
        maker, judge, one, two = adversaries()
        noise, real = torch.randn(6, 3), torch.randn(6, 4)
        for _ in range(40):
            log(judged(maker, judge, one, two, noise, real))
            log(made(maker, judge, one, two, noise))
        log(list(maker.parameters()), list(judge.parameters()))
    assert compare(loop) > 65


EVENTS = {
    "NumPy writes to a parameter of the other": lambda net, opt, x: (
        net[0].weight.detach().numpy().__imul__(0.5)),
    "NumPy writes to an input of the other": lambda net, opt, x: x.numpy().__imul__(0.5),
    "NumPy writes to state of the other": lambda net, opt, x: (
        opt.state[net[0].weight]["exp_avg"].numpy().__imul__(0.5)),
    "a count of the other": lambda net, opt, x: opt.state[net[0].weight]["step"].add_(3),
    "all counts of the other": lambda net, opt, x: [
        opt.state[p]["step"].mul_(2) for p in net.parameters()],
    "state of the other": lambda net, opt, x: opt.state[net[0].weight]["exp_avg"].zero_(),
    "its data": lambda net, opt, x: setattr(net[0].weight, "data", net[0].weight.data * 0.5),
    "its parameters": lambda net, opt, x: net[0].weight.data.mul_(0.5),
    "its options": lambda net, opt, x: opt.param_groups[0].update(lr=0.001),
    "its optimizer is loaded": lambda net, opt, x: opt.load_state_dict(opt.state_dict()),
    "it makes a step": lambda net, opt, x: opt.step(),
    "it is cleared": lambda net, opt, x: opt.state[net[0].weight].clear(),
}


@pytest.mark.parametrize("what", EVENTS)
@pytest.mark.parametrize("kept", [True, False])
def test_while_another_is_matched(compare, what, kept):
    def loop(log):
        maker, judge, one, two = adversaries()
        noise, real = torch.randn(6, 3), torch.randn(6, 4)
        shown = []
        for k in range(60):
            try:
                log(judged(maker, judge, one, two, noise, real))
                if k in (30, 31, 45):
                    shown.append(EVENTS[what](judge, two, real))
                log(made(maker, judge, one, two, noise))
            except KeyError as error:
                log(str(error))
            if k > 45 and shown[-1] is not None and kept and what.startswith("NumPy"):
                shown[-1][...] = k / 60
            if not kept:
                shown = [None]
        log(list(maker.parameters()), list(judge.parameters()), real)
    compare(loop)


def test_steps_of_two_optimizers_behind_one_backward(compare):
    def loop(log):
        first, second = nn.Linear(3, 4), nn.Linear(4, 1)
        one = torch.optim.Adam(first.parameters(), lr=0.01)
        two = torch.optim.SGD(second.parameters(), lr=0.01)
        x = torch.randn(6, 3)
        for k in range(40):
            one.zero_grad()
            two.zero_grad()
            loss = (second(first(x).tanh()) - 1).square().mean()
            loss.backward()
            one.step()
            if k == 20:
                log(second.bias.grad, first.bias.grad)
                second.bias.detach().numpy()[0] = 0.5
            two.step()
            log(loss)
        log(list(first.parameters()), list(second.parameters()), two._hot_loop.recordings
            if "_hot_loop" in two.__dict__ and two._hot_loop.recordings > 2 else 0)
    assert compare(loop) > 28
