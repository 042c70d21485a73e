"""Memory shared with NumPy, threads, copies, views, odd types: recorded as immediately."""

from __future__ import annotations

import copy
import io
import pickle
import threading

import numpy as np
import pytest
from loops import ROUNDS, data, model, parameters, training

import kkori as torch
from kkori import nn
from kkori.run import hot

pytest.importorskip("llvmlite")


@pytest.mark.parametrize("where", ["between", "forward", "backward"])
@pytest.mark.parametrize("made", ["from_numpy", "numpy", "as_tensor", "view"])
def test_numpy_memory_written_in_place(compare, where, made):
    def loop(log):
        net, opt, lossf, x, y = training()
        array = np.array(x)
        if made == "from_numpy":
            x = torch.from_numpy(array)
        elif made == "as_tensor":
            x = torch.as_tensor(array)
        elif made == "view":
            x = torch.from_numpy(array)[2:]
            y = y[2:]
        else:
            array = x.numpy()
        for _ in range(2 * ROUNDS):
            if where == "between":
                array *= 0.99
            loss = lossf(net(x), y)
            if where == "forward":
                array[3:5] += 0.01
            loss.backward()
            if where == "backward":
                array[3:5] += 0.01
            opt.step()
            opt.zero_grad()
            log(loss)
        log(parameters(net), x)
    compare(loop)


def test_inputs_that_alias_parameters(compare):
    def loop(log):
        w = torch.full((4,), 0.5, requires_grad=True)
        same = w.data
        opt = torch.optim.SGD([w], lr=0.1, momentum=0.9)
        for _ in range(ROUNDS):
            loss = ((w - 1) ** 2 * same).sum() + (w.detach() * w).sum()
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss, same)
    compare(loop)


def test_tied_weights(compare):
    def loop(log):
        one, two = nn.Linear(3, 3), nn.Linear(3, 3)
        two.weight = one.weight
        opt = torch.optim.SGD([*one.parameters(), two.bias], lr=0.1)
        x = torch.ones(4, 3)
        for _ in range(ROUNDS):
            loss = (two(one(x)) - 1).pow(2).mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
        log(parameters(one), parameters(two), loss)
    compare(loop)


@pytest.mark.parametrize("where", ["pending", "between"])
def test_copies_and_files(compare, where):
    def loop(log):
        net, opt, lossf, x, y = training(torch.optim.Adam)
        copies = []

        def save():
            copies.append(copy.deepcopy(net))
            copies.append(pickle.loads(pickle.dumps(net)))
            file = io.BytesIO()
            torch.save({"net": net.state_dict(), "opt": opt.state_dict()}, file)
            file.seek(0)
            log(torch.load(file)["net"])
            log(copy.deepcopy(opt.state_dict()))

        for k in range(2 * ROUNDS):
            loss = lossf(net(x), y)
            if k in (10, 15) and where == "pending":
                log(pickle.loads(pickle.dumps(loss.detach())), copy.deepcopy(loss.detach()))
                save()
            loss.backward()
            if k in (11, 16) and where == "pending":
                save()
                log(copy.copy(net[0].weight.grad), copy.deepcopy(net[0].weight.grad))
            opt.step()
            opt.zero_grad()
            if k in (10, 15) and where == "between":
                save()
        log(parameters(net), [parameters(one) for one in copies])
        net = copy.deepcopy(net)
        opt = copy.deepcopy(opt)
        log(opt.state_dict())
    compare(loop, replayed=8)


def test_another_thread_reads_what_is_pending(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        found = []
        for _ in range(2 * ROUNDS):
            loss = lossf(net(x), y)
            reader = threading.Thread(target=lambda one=loss: found.append(one.item()))
            reader.start()
            reader.join()
            loss.backward()
            opt.step()
            opt.zero_grad()
        log(found, parameters(net))
    compare(loop)


def test_training_in_two_threads(compare):
    def loop(log):
        results = {}

        def train(seed):
            w = torch.full((3,), float(seed), requires_grad=True)
            opt = torch.optim.SGD([w], lr=0.1)
            for _ in range(5 * ROUNDS):
                loss = ((w - 1) ** 2).mean()
                loss.backward()
                opt.step()
                opt.zero_grad()
            results[seed] = w, loss

        threads = [threading.Thread(target=train, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log([results[seed] for seed in range(3)])
    compare(loop)


def test_an_optimizer_that_moves_to_another_thread(compare):
    def loop(log):
        net, opt, lossf, x, y = training()

        def train():
            for _ in range(ROUNDS):
                loss = lossf(net(x), y)
                loss.backward()
                opt.step()
                opt.zero_grad()
            log(loss)

        for _ in range(3):
            train()
            thread = threading.Thread(target=train)
            thread.start()
            thread.join()
        log(parameters(net))
    compare(loop, replayed=8)


def test_step_with_a_closure(compare):
    def loop(log):
        net, opt, lossf, x, y = training()

        def closure():
            opt.zero_grad()
            loss = lossf(net(x), y)
            loss.backward()
            return loss

        for k in range(2 * ROUNDS):
            if k % 3:
                log(opt.step(closure))
            else:
                closure()
                opt.step()
        log(parameters(net))
    compare(loop)


@pytest.mark.parametrize("name", ["LBFGS"])
def test_lbfgs(compare, name):
    def loop(log):
        net, opt, lossf, x, y = training(torch.optim.LBFGS)

        def closure():
            opt.zero_grad()
            loss = lossf(net(x), y)
            loss.backward()
            return loss

        for _ in range(4):
            log(opt.step(closure))
        log(parameters(net))
    compare(loop)


def test_grad_inside_loops(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        for k in range(2 * ROUNDS):
            loss = lossf(net(x), y)
            if k % 5 == 4:
                log(torch.autograd.grad(loss, list(net.parameters()), retain_graph=True))
            if k % 7 == 6:
                loss.backward(retain_graph=True)
            loss.backward()
            opt.step()
            opt.zero_grad()
        log(parameters(net))
    compare(loop, replayed=4)


def test_loops_without_an_optimizer(compare):
    def loop(log):
        x, y = data()
        w = torch.tensor([[0.3]], requires_grad=True)
        for _ in range(ROUNDS):
            loss = ((x @ w - y) ** 2).mean()
            loss.backward()
            w.data = w.data - 0.1 * w.grad
            w.grad = None
            log(loss, w)
        for _ in range(ROUNDS):
            loss = ((x @ w - y) ** 2).mean()
            loss.backward()
            with torch.no_grad():
                w -= 0.1 * w.grad
            w.grad.zero_()
            log(loss, w)
    compare(loop)


@pytest.mark.parametrize("kind", ["double", "scalar", "empty", "int", "complex"])
def test_types_and_shapes(compare, kind):
    def loop(log):
        w = torch.full((2,), 0.5, requires_grad=True)
        x = torch.tensor([1.0, 2.0])
        if kind == "double":
            w = torch.full((2,), 0.5, requires_grad=True, dtype=torch.float64)
        if kind == "scalar":
            w = torch.tensor(0.5, requires_grad=True)
        if kind == "empty":
            w, x = torch.zeros(0, requires_grad=True), torch.zeros(0)
        if kind == "int":
            x = torch.tensor([1, 2])
        if kind == "complex":
            w = torch.full((2,), 0.5 + 0.5j, requires_grad=True)
        opt = torch.optim.Adam([w], lr=0.1)
        for _ in range(ROUNDS):
            out = w * x
            loss = (out - 1).abs().pow(2).sum()
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss, out)
        log(w)
    compare(loop)


def test_facts_about_what_is_pending(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        for k in range(2 * ROUNDS):
            h = net[0](x)
            log(h.shape, h.stride(), h.is_contiguous(), h.dtype, h.requires_grad, h.is_leaf,
                h.ndim, h.numel(), h.size(0), len(h), h.device, h._version, type(h).__name__)
            t = h.t()
            log(t.shape, t.stride(), t.is_contiguous(), t.requires_grad, t._version)
            yhat = net[2](net[1](h))
            if k % 6 == 5:
                log(h.T, h.detach(), h.data, yhat.grad_fn is None, yhat.storage_offset())
            if k % 6 == 4:
                log(t._base is h, t.data_ptr() == h.data_ptr())
                try:
                    t.detach_()
                except RuntimeError as error:
                    log(str(error).splitlines()[0])
            loss = lossf(yhat, y)
            loss.backward()
            log(net[0].weight.grad.shape, net[0].weight.grad.requires_grad,
                net[0].weight.grad.is_leaf, net[0].weight.grad.grad_fn is None)
            opt.step()
            opt.zero_grad()
        log(parameters(net))
    compare(loop)


@pytest.mark.parametrize("shape", ["t", "view", "squeeze", "index", "flat", "expand"])
@pytest.mark.parametrize("keep", ["view", "both"])
def test_views_that_are_kept(compare, shape, keep):
    def loop(log):
        net, opt, lossf, x, y = training()
        kept = []
        for _ in range(ROUNDS):
            h = net(x)
            v = {"t": lambda h: h.t(), "view": lambda h: h.view(4, 5),
                 "flat": lambda h: h.reshape(-1), "squeeze": lambda h: h.squeeze(1),
                 "index": lambda h: h[1:], "expand": lambda h: h.expand(20, 3)}[shape](h)
            loss = (v ** 2).mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
            kept.append((v, h) if keep == "both" else (v,))
            del h
        log(kept, parameters(net))
        v = kept[-1][0]
        log(v.is_contiguous(), v.data_ptr() == kept[-1][-1].data_ptr(), v.storage_offset())
        if keep == "both":
            with torch.no_grad():
                kept[-1][1].mul_(2)
            log(kept[-1])
    compare(loop)


def test_detached_results_used_later(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        average = 0
        last = torch.zeros(20, 1)
        for _ in range(2 * ROUNDS):
            yhat = net(x)
            loss = lossf(yhat, y) + 0.01 * (yhat - last).pow(2).mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
            last = yhat.detach()
            average = 0.9 * average + 0.1 * loss.detach()
        log(average, last, parameters(net))
    compare(loop)


def test_a_graph_that_grows_over_rounds(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        total = 0
        for _ in range(ROUNDS):
            loss = lossf(net(x), y)
            total = total + loss
            loss.backward()
            opt.step()
            opt.zero_grad()
        try:
            total.backward()
        except RuntimeError as error:
            log(str(error).splitlines()[0])
        log(total, parameters(net))
    compare(loop)


def test_an_extra_output_that_backward_does_not_reach(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        other = nn.Linear(1, 1)
        for _ in range(ROUNDS):
            extra = other(x).pow(2).mean()
            loss = lossf(net(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
        extra.backward()
        log([p.grad for p in other.parameters()], parameters(net))
    compare(loop)


def test_backward_again_after_the_step(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        for k in range(2 * ROUNDS):
            loss = lossf(net(x), y)
            loss.backward(retain_graph=k > 6)
            opt.step()
            opt.zero_grad()
        try:
            loss.backward()
        except RuntimeError as error:
            log(str(error).splitlines()[0])
        log(parameters(net))
    compare(loop)


def test_anomaly_mode(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        for k in range(2 * ROUNDS):
            with torch.autograd.set_detect_anomaly(k in (10, 11)):
                loss = lossf(net(x), y)
                if k == 11:
                    loss = loss * float("nan")
                try:
                    loss.backward()
                except RuntimeError as error:
                    log(str(error).splitlines()[0])
                opt.step()
                opt.zero_grad()
                if k == 11:
                    net.load_state_dict(model().state_dict())
        log(parameters(net))
    compare(loop)


def test_random_operations_stay_in_order(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        for _ in range(ROUNDS):
            noise = torch.bernoulli(torch.full((20, 1), 0.5))
            more = torch.rand_like(x)
            yhat = net(x + noise)
            late = torch.normal(torch.zeros(20, 1), torch.ones(20, 1))
            picked = torch.multinomial(torch.ones(4), 2)
            loss = lossf(yhat + late + more, y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(noise, picked, late)
        log(parameters(net))
    compare(loop)


@pytest.mark.parametrize("make", [
    lambda h, y: nn.functional.cross_entropy(h.expand(20, 3), torch.arange(20) % 3),
    lambda h, y: nn.functional.binary_cross_entropy(torch.sigmoid(h), (y > 0).float()),
    lambda h, y: nn.functional.binary_cross_entropy_with_logits(h, (y > 0).float()),
    lambda h, y: nn.functional.l1_loss(h, y), lambda h, y: nn.functional.smooth_l1_loss(h, y),
    lambda h, y: torch.where(y > 0, h, -h).mean(), lambda h, y: h.max() + h.min(),
    lambda h, y: (h * -0.0).sum() + (h * 0.0).sum(), lambda h, y: torch.cat([h, y]).std(),
    lambda h, y: torch.logsumexp(h, 0).sum(), lambda h, y: h.norm() + h.var(),
    lambda h, y: h[h > 0].sum() + h.sum() * 0, lambda h, y: h.topk(2, 0)[0].sum(),
    lambda h, y: torch.einsum("ij,ij->", h, y), lambda h, y: h.softmax(0).log().mean(),
    lambda h, y: (h.abs() + 0.1).log().sum().exp().sqrt(), lambda h, y: h.tanh().pow(3).sum(),
    lambda h, y: h.cumsum(0).mean(), lambda h, y: (h / (y.abs() + 1)).clamp(-1, 0.5).sum()])
def test_losses_of_all_kinds(compare, make):
    def loop(log):
        net, opt, lossf, x, y = training(torch.optim.SGD, lr=0.001)
        for _ in range(ROUNDS):
            loss = make(net(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss)
        log(parameters(net))
    compare(loop)


def test_constants_that_change(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        for k in range(3 * ROUNDS):
            loss = lossf(net(x), y) * (1 + 0.01 * k)
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss)
    compare(loop)

def test_a_branch_begins_with_what_was_run_beside_the_round(compare):
    """The first operations of a branch do not depend on the round, and are run before it is clear
    that it is another branch."""
    def loop(log):
        x = torch.linspace(-1, 1, 50)
        w = torch.randn((), requires_grad=True)
        e = torch.randn((), requires_grad=True)
        opt = torch.optim.SGD([w, e], lr=0.01)
        for k in range(60):
            y = w * x
            if k % 3 == 2:
                y = y + e * x**4
            loss = (y - x).square().mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss)
        counts = hot.enabled() and opt._hot_loop.tape.counts
        if counts:
            assert (counts["recorded"], counts["side exits"]) == (2, 1), counts
    compare(loop, 48)


def test_an_input_is_another_where_a_layer_is_called_in_another_way(compare):
    """The same events, by the call of a layer or one by one, and each time with an input that was
    known there before."""
    def loop(log):
        net, first, second = nn.Linear(3, 1), torch.randn(8, 3), torch.randn(8, 3) * 5
        opt = torch.optim.SGD(net.parameters(), lr=0.01)
        for k in range(120):
            if 8 <= k < 13 or k > 60 and k % 10 == 0:
                y = nn.functional.linear(first, net.weight, net.bias)
            else:
                y = net(second if k > 20 else first)
            loss = y.square().mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss)
    compare(loop, 100)


def test_inputs_that_want_gradients_are_replaced(compare):
    """Rounds that end alike again and again, with other leaves from time to time."""
    def loop(log):
        net = nn.Linear(3, 1)
        opt = torch.optim.SGD(net.parameters(), lr=0.01)
        inputs = [torch.randn(8, 3, requires_grad=True) for _ in range(4)]
        for k in range(160):
            x = inputs[k // 40]
            loss = net(x).square().mean()
            opt.zero_grad()
            x.grad = None
            loss.backward()
            opt.step()
            if k % 40 > 36:
                log(loss, [one.grad for one in inputs])
            if k % 40 == 36:
                log([node.variable is x for node in leaves_of(loss.grad_fn)
                     if node.variable.shape == x.shape])
    compare(loop, 120)


def leaves_of(node):
    found, stack = [], [node]
    while stack:
        node = stack.pop()
        if hasattr(node, "variable"):
            found.append(node)
        elif node is not None:
            stack += [one for one, _ in node.next_functions]
    return found
