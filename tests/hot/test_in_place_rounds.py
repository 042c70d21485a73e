"""Rounds that write in place: batch normalisation, averages of weights, sums of losses."""

from __future__ import annotations

import copy

import pytest

import kkori as torch
from kkori import nn

pytest.importorskip("llvmlite")
ROUNDS = 20


def normed(dims=1, **options):
    """A small network with batch normalisation, its input and its target."""
    if dims == 1:
        net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5, **options), nn.ReLU(),
                            nn.Linear(5, 1))
        return net, torch.randn(8, 3), torch.randn(8, 1)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, **options), nn.ReLU(),
                        nn.Flatten(), nn.Linear(48, 1))
    return net, torch.randn(4, 1, 6, 6), torch.randn(4, 1)


def training(log, net, x, y, hook=None, after=None, rounds=ROUNDS, make=torch.optim.SGD):
    """Train, log, and call `hook(k)` between forward and backward, `after(k)` behind the step."""
    optimizer = make(net.parameters(), lr=0.05)
    for k in range(rounds):
        loss = (net(x) - y).pow(2).mean()
        if hook is not None:
            hook(k)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if after is not None:
            after(k)
    log(loss, *net.parameters(), *net.buffers())
    log([one._version for one in net.buffers()])


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": 0.5}, {"bias": False}])
def test_batch_normalisation_is_replayed(compare, dims, options):
    def loop(log):
        training(log, *normed(dims, **options))
    compare(loop, ROUNDS - 6)


@pytest.mark.parametrize("options", [{"momentum": None}, {"track_running_stats": False}])
def test_other_ways_of_keeping_statistics(compare, options):
    def loop(log):
        training(log, *normed(1, **options))
    compare(loop)


def test_statistics_may_be_looked_at_at_any_time(compare):
    def loop(log):
        net, x, y = normed()
        norm = net[1]

        def look(k):
            if k % 5 == 4:
                log(norm.running_mean, norm.running_var.tolist(), norm.num_batches_tracked)
                log(str(norm.running_mean[0].item())[:4], norm.running_var._version)
            log(norm.running_mean._version)
        training(log, net, x, y, look, rounds=40)
    compare(loop, 18)


def test_what_is_kept_of_buffers_in_mid_round(compare):
    def loop(log):
        net, x, y = normed()
        kept = []

        def look(k):
            if k == 9:
                kept.append(copy.deepcopy(net))
            if k == 12:
                kept.append(copy.deepcopy(net.state_dict()))
            if k == 15:
                kept.append(net[1].running_mean.clone())
        training(log, net, x, y, look, rounds=30)
        log(*kept[0].buffers(), kept[1], kept[2])
        training(log, kept[0], x, y, rounds=12)
    compare(loop, 20)


def test_other_tensors_on_the_memory_of_buffers(compare):
    def loop(log):
        net, x, y = normed()
        aliases = {}

        def look(k):
            if k == 8:
                aliases["view"] = net[1].running_mean[1:3]
            if k == 13:
                aliases["state"] = net.state_dict()
            if k == 18:
                aliases["array"] = net[1].running_var.numpy()
            if k == 24:
                aliases.clear()
            for one in aliases.values():
                log(one)
        training(log, net, x, y, look, look, rounds=34)
    compare(loop, 6)


def test_numpy_writes_to_buffers(compare):
    def loop(log):
        net, x, y = normed()
        array = net[1].running_mean.numpy()

        def write(k):
            array[k % 5] = k
        training(log, net, x, y, None, write)
        log(array)
    compare(loop)


def test_evaluation_and_training_by_turns(compare):
    def loop(log):
        net, x, y = normed()

        def evaluate(k):
            if k % 4 == 3:
                net.eval()
                with torch.no_grad():
                    log(net(x))
                net.train()
        training(log, net, x, y, evaluate, evaluate, rounds=40)
        training(log, net.eval(), x, y)
    compare(loop, 20)


def test_frozen_statistics_while_training(compare):
    def loop(log):
        net, x, y = normed()
        net[1].eval()
        training(log, net, x, y)
    compare(loop, ROUNDS - 6)


def test_buffers_that_are_replaced_or_written_to(compare):
    def loop(log):
        net, x, y = normed()

        def change(k):
            if k == 8:
                net[1].reset_running_stats()
            if k == 11:
                net[1].running_mean = torch.ones(5)
            if k == 14:
                net[1].running_var.data = torch.ones(5)
            if k == 17:
                net[1].running_var[2] = 4.0
            if k == 20:
                net.load_state_dict({name: one * 0.5 for name, one in net.state_dict().items()})
        training(log, net, x, y, None, change, rounds=40)
    compare(loop, 15)


def test_one_layer_twice_in_a_round(compare):
    def loop(log):
        net, x, y = normed()

        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = net

            def forward(self, x):
                return self.net(x) + self.net(x * 2)
        training(log, Twice(), x, y)
        same = nn.BatchNorm1d(3)
        training(log, nn.Sequential(same, same, nn.Linear(3, 1)), x, y)
    compare(loop, ROUNDS)


def test_an_exception_in_mid_round(compare):
    def loop(log):
        net, x, y = normed()

        def fail(k):
            if k == 15:
                raise KeyError(k)
        try:
            training(log, net, x, y, fail)
        except KeyError:
            log(*net.buffers())
        training(log, net, x, y)
    compare(loop, 15)


def test_an_error_of_a_layer_in_mid_round(compare):
    def loop(log):
        net, x, y = normed()

        def fail(k):
            if k in (9, 15):
                with pytest.raises(RuntimeError):
                    net(torch.ones(2, 4))
                with pytest.raises(ValueError, match="more than 1 value"):
                    net(torch.ones(1, 3))
        training(log, net, x, y, fail, rounds=30)
    compare(loop, 15)


def test_averages_of_weights(compare):
    def loop(log, frozen):
        net, x, y = normed()
        average = copy.deepcopy(net)
        if frozen:
            average.requires_grad_(False)

        def update(k):
            with torch.no_grad():
                for one, other in zip(average.parameters(), net.parameters(), strict=True):
                    one.mul_(0.9).add_(other, alpha=0.1)
                for one, other in zip(average.buffers(), net.buffers(), strict=True):
                    one.copy_(other)
        training(log, net, x, y, after=update)
        log(*average.parameters(), *average.buffers())
    compare(lambda log: loop(log, True), 1)
    compare(lambda log: loop(log, False), 1)


def test_averages_by_lerp_are_replayed(compare):
    def loop(log):
        net, x, y = nn.Linear(3, 1), torch.randn(8, 3), torch.randn(8, 1)
        average = [one.detach().clone() for one in net.parameters()]

        def update(k):
            with torch.no_grad():
                for one, other in zip(average, net.parameters(), strict=True):
                    one.lerp_(other, 0.1)
            if k % 7 == 6:
                log(*average)
        training(log, net, x, y, after=update, rounds=40)
        log(*average)
    compare(loop, 25)


def test_sums_of_losses_are_replayed(compare):
    def loop(log):
        net, x, y = nn.Linear(3, 1), torch.randn(8, 3), torch.randn(8, 1)
        optimizer, total, last = torch.optim.SGD(net.parameters(), 0.1), torch.zeros(()), None
        for k in range(40):
            loss = (net(x) - y).pow(2).mean()
            loss.backward()
            with torch.no_grad():
                total += loss
                total.mul_(0.99)
            optimizer.step()
            optimizer.zero_grad()
            if k % 10 == 9:
                log(total.item(), total._version)
                total.zero_()
        log(total, last)
    compare(loop, 25)


def test_a_tensor_under_two_names(compare):
    def loop(log):
        w = torch.ones(3, requires_grad=True)
        optimizer, one, two = torch.optim.SGD([w], 0.01), torch.ones(3), torch.full((3,), 2.0)
        for k in range(30):
            other = two if k < 15 else one
            loss = (w * other).sum()
            one.mul_(0.9).add_(w.detach() * 0.1)
            loss = loss + (w * other).sum() + (w * one.clone()).sum()
            if k == 20:
                log(loss.item())
            try:
                loss.backward()
            except RuntimeError as error:
                log(str(error).splitlines()[0])
            optimizer.step()
            optimizer.zero_grad()
        log(w, one, two)
    compare(loop)


def test_values_saved_for_backward_are_still_guarded(compare):
    def loop(log):
        w, c = torch.ones(3, requires_grad=True), torch.ones(3)
        optimizer = torch.optim.SGD([w], 0.01)
        for k in range(20):
            loss = (w * c).sum()
            if k > 12:
                c.mul_(0.5)
            try:
                loss.backward()
            except RuntimeError as error:
                log(str(error).splitlines()[0])
            optimizer.step()
            optimizer.zero_grad()
        log(w, c, c._version)
    compare(loop, 3)


def test_parameters_written_before_the_step(compare):
    def loop(log):
        net, x, y = nn.Linear(3, 1), torch.randn(8, 3), torch.randn(8, 1)

        def clip(k):
            with torch.no_grad():
                net.weight.clamp_(-0.3, 0.3)
        training(log, net, x, y, clip)
        training(log, net, x, y, after=clip)
    compare(loop)


def test_rounds_without_an_optimizer(compare):
    def loop(log):
        net, x, y = normed()
        for k in range(60):
            loss = (net(x) - y).pow(2).mean()
            loss.backward()
            with torch.no_grad():
                for one in net.parameters():
                    one -= 0.05 * one.grad
                    one.grad = None
            if k % 20 == 19:
                log(*net.buffers(), *net.parameters())
    compare(loop, 20)


def clipped(log, clip, rounds=ROUNDS, look=None, make=torch.optim.SGD):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x, y = torch.randn(8, 3), torch.randn(8, 1)
    optimizer = make(net.parameters(), lr=0.05)
    for k in range(rounds):
        loss = (net(x) - y).pow(2).mean()
        loss.backward()
        found = clip(net)
        if look is not None:
            look(k, net, found)
        optimizer.step()
        if k % 4 == 3:
            log(*[one.grad for one in net.parameters()])
        optimizer.zero_grad()
    log(loss, *net.parameters())


def scale(net):
    for one in net.parameters():
        one.grad.mul_(0.5)
        one.grad.add_(0.01)


CLIPS = {"norm": lambda net: nn.utils.clip_grad_norm_(net.parameters(), 0.1),
         "high norm": lambda net: nn.utils.clip_grad_norm_(net.parameters(), 100.0),
         "largest": lambda net: nn.utils.clip_grad_norm_(net.parameters(), 0.1, float("inf")),
         "value": lambda net: nn.utils.clip_grad_value_(net.parameters(), 0.05),
         "twice": scale,
         "one": lambda net: net[0].weight.grad.mul_(0.1)}


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_gradients_clipped_in_place_are_replayed(compare, clip, make):
    compare(lambda log: clipped(log, CLIPS[clip], make=make), ROUNDS - 9)


def test_clipped_gradients_may_be_looked_at(compare):
    def look(log, k, net, found):
        grad = net[0].weight.grad
        log(grad._version, grad.shape)
        if k % 5 == 4:
            log(found, grad)
        if k == 13:
            log(grad.detach(), grad.data[0], grad.numpy()[0], copy.deepcopy(net).state_dict())
        if k == 18:
            grad[0] = 0.0
        if k == 22:
            net[0].weight.grad = torch.ones(4, 3)
    compare(lambda log: clipped(log, CLIPS["norm"], 40, lambda *args: look(log, *args)), 10)


def test_views_of_gradients_see_what_is_written(compare):
    def loop(log):
        def look(k, net, found):
            one = net[0].weight.grad
            kept = one.view(-1), one[0], one.detach()
            one.mul_(2)
            if k > 12:
                log(*kept, one._version)
        clipped(log, CLIPS["norm"], 30, look)
    compare(loop)
