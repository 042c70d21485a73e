"""Operations, and writes in place, between the rounds: they are run beside them."""

from __future__ import annotations

import weakref

import pytest

import kkori as torch
import kkori.nn.functional as F
from kkori import nn

pytest.importorskip("llvmlite")


def model_and_data(rows=12):
    net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 3))
    return net, torch.randn(rows, 2), torch.arange(rows) % 3


BEHIND = {
    "counted": lambda loss, out, t, log: log(out.max(1)[1].eq(t).sum().item()),
    "detached": lambda loss, out, t, log: log(torch.max(out.data, 1)[1].eq(t).sum().item()),
    "logarithm": lambda loss, out, t, log: log(loss.log10().item()),
    "a chain": lambda loss, out, t, log: log((out.exp() / out.exp().sum(1, keepdim=True)).mean()),
    "a view": lambda loss, out, t, log: log(out[1:].t()[0], out.view(-1)),
}


@pytest.mark.parametrize("what", BEHIND)
def test_results_are_used_behind_the_step(compare, what):
    def loop(log):
        net, x, t = model_and_data()
        opt = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(30):
            out = net(x)
            loss = F.cross_entropy(out, t)
            opt.zero_grad()
            loss.backward()
            opt.step()
            BEHIND[what](loss, out, t, log)
    assert compare(loop) > 20


def test_results_are_used_in_the_middle_of_the_next_round(compare):
    def loop(log):
        net, x, t = model_and_data()
        opt, old = torch.optim.SGD(net.parameters(), lr=0.1), None
        for _ in range(30):
            out = net(x)
            if old is not None:
                log(old.mean(1).std().item(), (old * 2)[0])
            loss = F.cross_entropy(out, t)
            opt.zero_grad()
            loss.backward()
            opt.step()
            old = out
    assert compare(loop) > 20


def test_the_last_batch_is_recorded_though_rounds_begin_with_something_else(compare):
    def loop(log):
        net, x, t = model_and_data(20)
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, t), batch_size=8)
        for _ in range(30):
            for xs, ts in data:
                out = net(xs)
                loss = F.cross_entropy(out, ts)
                opt.zero_grad()
                loss.backward()
                opt.step()
                log(out.max(1)[1].eq(ts).sum().item())
    assert compare(loop) > 75


def test_results_that_the_next_round_goes_on_with(compare):
    def loop(log):
        net, x, t = model_and_data()
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        weights = torch.ones(len(x))
        for k in range(40):
            out = net(x)
            loss = (F.cross_entropy(out, t, reduction="none") * weights).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            weights = 1 + (out.max(1)[1] != t).float()  # no tail
            log(loss, weights)
            if k == 30:
                penalty = loss * 0.5  # a tail into a round that is over
                with pytest.raises(RuntimeError, match="second time"):
                    (net(x).sum() + penalty).backward()
                opt.zero_grad()
            elif k > 35:
                kept = torch.ones(2, requires_grad=True) * weights[:2]
                (net(x).mean() + kept.sum()).backward()  # a tail that is still whole
                log([p.grad for p in net.parameters()])
    assert compare(loop) > 20


READ = {
    "copies": lambda net, log: log(net[0].weight.data.clone()),
    "a number": lambda net, log: log(net[0].weight.detach().clone()[0, 0].item()),
    "norms": lambda net, log: log([p.detach().norm().item() for p in net.parameters()]),
    "squares": lambda net, log: log(sum((p.data ** 2).sum() for p in net.parameters())),
    "state": lambda net, log: log({k: v.clone() for k, v in net.state_dict().items()}),
}


@pytest.mark.parametrize("what", READ)
@pytest.mark.parametrize("place", ["behind the step", "before the step", "in mid-round"])
def test_parameters_are_read_by_another_name(compare, what, place):
    def loop(log):
        net, x, t = model_and_data()
        opt = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(30):
            out = net(x)
            if place == "in mid-round":
                READ[what](net, log)
            loss = F.cross_entropy(out, t)
            opt.zero_grad()
            loss.backward()
            if place == "before the step":
                READ[what](net, log)
            opt.step()
            if place == "behind the step":
                READ[what](net, log)
    assert compare(loop) > 20


def test_distance_to_the_weights_of_the_round_before(compare):
    def loop(log):
        net, x, t = model_and_data()
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(30):
            old = [p.detach().clone() for p in net.parameters()]
            for _ in range(2):
                loss = F.cross_entropy(net(x), t)
                loss = loss + 0.1 * sum(((p - q) ** 2).sum() for p, q in zip(
                    net.parameters(), old, strict=True))
                opt.zero_grad()
                loss.backward()
                opt.step()
                log(loss)
    compare(loop)


def test_numpy_sees_losses_of_every_round(compare):
    def loop(log):
        net, x, t = model_and_data()
        opt = torch.optim.Adam(net.parameters(), lr=0.01)
        losses, pictures = [], []
        for k in range(40):
            out = net(x)
            loss = F.cross_entropy(out, t)
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.detach().numpy())
            if k % 4 == 0:
                pictures.append(out.detach().numpy())
            if k % 10 == 9:
                net[0].weight.detach().numpy()[0] *= 0.5
                out.detach().numpy()[0] = 1
        log(losses, pictures, list(net.parameters()))
    assert compare(loop) > 30


def test_numpy_keeps_seeing_parameters_and_inputs(compare):
    def loop(log):
        net, x, t = model_and_data()
        opt = torch.optim.Adam(net.parameters(), lr=0.01)
        for k in range(40):
            loss = F.cross_entropy(net(x), t)
            opt.zero_grad()
            loss.backward()
            if k % 5 == 2:
                shown = (net[2].bias.detach(), x, opt.state[net[0].weight]["exp_avg"],
                         net[0].weight.grad)[k // 5 % 4].numpy()
            opt.step()
            if k > 5:
                log(loss, shown)
                shown *= 0.99
        log(list(net.parameters()))
    assert compare(loop) > 5


WRITES = {
    "clamp_": lambda net, _: [p.clamp_(-0.3, 0.3) for p in net.parameters()],
    "data": lambda net, _: [p.data.clamp_(-0.3, 0.3) for p in net.parameters()],
    "mul_": lambda net, _: net[0].weight.mul_(0.99),
    "norm": lambda net, _: net[2].weight.div_(net[2].weight.norm(dim=1, keepdim=True)),
    "copy_": lambda net, old: [p.copy_(q) for p, q in zip(net.parameters(), old, strict=True)],
    "state": lambda net, _: net.load_state_dict({
        k: v * 0.99 for k, v in net.state_dict().items()}),
}


@pytest.mark.parametrize("what", WRITES)
def test_parameters_are_written_behind_the_step(compare, what):
    def loop(log):
        net, x, t = model_and_data()
        opt = torch.optim.Adam(net.parameters(), lr=0.01)
        old = [p.detach() * 0.5 for p in net.parameters()]
        for _ in range(40):
            loss = F.cross_entropy(net(x), t)
            opt.zero_grad()
            loss.backward()
            opt.step()
            with torch.no_grad():
                WRITES[what](net, old)
            log(loss, [p._version for p in net.parameters()])
        log(list(net.parameters()))
    assert compare(loop) > 25


def test_an_image_stays_between_0_and_1(compare):
    def loop(log):
        net = nn.Linear(6, 2)
        image = torch.rand(1, 6).requires_grad_()
        opt = torch.optim.Adam([image], lr=0.05)
        for k in range(40):
            opt.zero_grad()
            loss = -net(image)[0, 1] + 0.01 * image.norm()
            loss.backward()
            opt.step()
            with torch.no_grad():
                if k % 2:
                    image.clamp_(0, 1)
                else:
                    image.data.clamp_(0, 1)
            log(loss, image, image.grad)
    assert compare(loop) > 25


def test_a_target_network_follows(compare):
    def loop(log):
        net, x, t = model_and_data()
        target = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 3))
        target.load_state_dict(net.state_dict())
        opt = torch.optim.Adam(net.parameters(), lr=0.01)
        for k in range(40):
            with torch.no_grad():
                wanted = target(x) + 0.1
            loss = F.mse_loss(net(x), wanted)
            opt.zero_grad()
            loss.backward()
            opt.step()
            if k < 20:
                for p, q in zip(net.parameters(), target.parameters(), strict=True):
                    q.data.copy_(0.1 * p.data + 0.9 * q.data)
            else:
                old, new = target.state_dict(), net.state_dict()
                for key in new:
                    old[key] = new[key] * 0.1 + old[key] * 0.9
                target.load_state_dict(old)
            log(loss)
        log(list(target.parameters()))
    assert compare(loop) > 25


def test_two_optimizers_each_with_something_behind_its_step(compare):
    def loop(log):
        one, two = nn.Linear(2, 3), nn.Linear(3, 1)
        x = torch.randn(8, 2)
        first = torch.optim.SGD(one.parameters(), lr=0.05)
        second = torch.optim.Adam(two.parameters(), lr=0.05)
        for _ in range(40):
            with torch.no_grad():
                made = one(x)
            loss = (two(made) - 1).square().mean()
            second.zero_grad()
            loss.backward()
            second.step()
            log(loss.sqrt().item())
            with torch.no_grad():
                for p in two.parameters():
                    p.clamp_(-0.5, 0.5)
            out = two(one(x))
            other = out.square().mean()
            first.zero_grad()
            second.zero_grad()
            other.backward()
            first.step()
            log(out.mean().item())
    assert compare(loop) > 50


def test_what_goes_on_with_old_results_is_not_held(compare):
    def loop(log):
        net, x, t = model_and_data()
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(20):
            out = net(x)
            loss = F.cross_entropy(out, t)
            opt.zero_grad()
            loss.backward()
            opt.step()
            again = out.exp()
            alive = weakref.ref(again)
            log(again.sum().item())
            del again, out
            log(alive() is None)
    compare(loop)
