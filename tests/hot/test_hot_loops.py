"""Training loops as people write them: recorded, they do what they do immediately."""

from __future__ import annotations

import copy
import random

import pytest
from loops import ROUNDS, data, model, parameters, training

import kkori as torch
from kkori import nn

pytest.importorskip("llvmlite")


def test_a_plain_loop_is_replayed(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        for _ in range(ROUNDS):
            yhat = net(x)
            loss = lossf(yhat, y)
            loss.backward()
            opt.step()
            opt.zero_grad()
        log(parameters(net), loss, yhat)
    compare(loop, replayed=8)


@pytest.mark.parametrize("when", ["before", "after", "middle", "tenth"])
@pytest.mark.parametrize("how", ["item", "print", "float", "tolist", "format", "detach", "numpy",
                                 "data", "bool", "compare"])
def test_looking_at_the_loss(compare, when, how, capsys):
    looks = {"item": lambda t: t.item(), "print": lambda t: repr(t).replace("0.", "."),
             "float": float, "tolist": lambda t: t.tolist(), "format": lambda t: f"{t:.1f}",
             "detach": lambda t: t.detach(), "numpy": lambda t: t.detach().numpy(),
             "data": lambda t: t.data, "bool": bool, "compare": lambda t: bool(t > 0.5)}
    look = looks[how]

    def loop(log):
        net, opt, lossf, x, y = training()
        for k in range(ROUNDS):
            loss = lossf(net(x), y)
            if when == "before":
                log(look(loss))
            opt.zero_grad()
            loss.backward()
            if when == "middle":
                log(look(loss))
            opt.step()
            if when == "after" or when == "tenth" and k % 5 == 4:
                log(look(loss))
        log(parameters(net))

    if how == "print":
        def rounded(log, inner=loop):
            inner(lambda *values: log(*[
                value[:10] if isinstance(value, str) else value for value in values]))
        compare(rounded)
    else:
        compare(loop)


def test_losses_kept(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        tensors, numbers, outputs, hidden = [], [], [], []
        for _ in range(ROUNDS):
            h = net[0](x)
            yhat = net[2](net[1](h))
            loss = lossf(yhat, y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            tensors.append(loss)
            numbers.append(loss.item())
            outputs.append(yhat)
            hidden.append(h)
        log(numbers, tensors, outputs, hidden)
        log([str(type(t.grad_fn).__name__) for t in tensors + outputs + hidden])
    compare(loop, replayed=8)


def names_of(node, depth=0):
    if node is None or depth > 8:
        return None
    return [type(node).__name__, [names_of(inner, depth + 1) for inner, _ in node.next_functions]]


def test_the_tail_of_a_kept_loss(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        kept = []
        for _ in range(ROUNDS):
            yhat = net(x)
            loss = lossf(yhat, y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            kept += [loss, yhat]
        for tensor in kept:
            log(names_of(tensor.grad_fn))
            try:
                tensor.sum().backward()
            except RuntimeError as error:
                log(str(error))
        assert len({id(tensor.grad_fn) for tensor in kept}) == len(kept)
        log(kept[-2].grad_fn.next_functions[0][0] is kept[-1].grad_fn)
    compare(loop, replayed=8)


def test_a_graph_without_saved_values_can_be_walked_again(compare):
    def loop(log):
        w = torch.zeros(3, requires_grad=True)
        opt = torch.optim.SGD([w], lr=0.1)
        for _ in range(ROUNDS):
            opt.zero_grad()
            loss = (w - 1).sum()
            loss.backward()
            opt.step()
        loss.backward()
        log(w.grad, w)
    compare(loop)


@pytest.mark.parametrize(
    "where", ["before", "after", "between", "never", "zeros", "by_hand", "net"])
def test_zero_grad(compare, where):
    def loop(log):
        net, opt, lossf, x, y = training()
        for _ in range(ROUNDS):
            if where == "before":
                opt.zero_grad()
            loss = lossf(net(x), y)
            if where == "between":
                opt.zero_grad()
            if where == "zeros":
                opt.zero_grad(set_to_none=False)
            if where == "net":
                net.zero_grad()
            loss.backward()
            log([p.grad for p in net.parameters()])
            opt.step()
            log([p.grad for p in net.parameters()])
            if where == "after":
                opt.zero_grad()
            if where == "by_hand":
                for p in net.parameters():
                    p.grad = None
            log([p.grad is None for p in net.parameters()])
        log(parameters(net))
    compare(loop)


@pytest.mark.parametrize("read", [True, False])
def test_gradients_accumulate(compare, read):
    def loop(log):
        net, opt, lossf, x, y = training()
        for k in range(2 * ROUNDS):
            loss = lossf(net(x), y) / 2
            loss.backward()
            if read:
                log(net[0].weight.grad)
            if k % 2:
                opt.step()
                opt.zero_grad()
        log(parameters(net), loss)
    compare(loop)


@pytest.mark.parametrize("clip", ["norm", "value", "hand", "data", "assign", "scale", "hook"])
def test_gradients_changed_before_the_step(compare, clip):
    def loop(log):
        net, opt, lossf, x, y = training()
        if clip == "hook":
            for p in net.parameters():
                p.register_hook(lambda g: g * 0.5)
        for _ in range(ROUNDS):
            opt.zero_grad()
            loss = lossf(net(x), y)
            loss.backward()
            if clip == "norm":
                log(torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1))
            elif clip == "value":
                torch.nn.utils.clip_grad_value_(net.parameters(), 0.01)
            elif clip == "hand":
                for p in net.parameters():
                    p.grad.clamp_(-0.01, 0.01)
            elif clip == "data":
                for p in net.parameters():
                    p.grad.data.mul_(0.5)
            elif clip == "assign":
                for p in net.parameters():
                    p.grad = p.grad * 0.5
            elif clip == "scale":
                for p in net.parameters():
                    p.grad /= 2
            opt.step()
        log(parameters(net), [p.grad for p in net.parameters()], loss)
    compare(loop)


OPTIMIZERS = [("SGD", {}), ("SGD", {"momentum": 0.9}), ("SGD", {"momentum": 0.9, "nesterov": True}),
              ("SGD", {"weight_decay": 0.1, "momentum": 0.5, "dampening": 0.1}),
              ("SGD", {"maximize": True}), ("Adam", {}), ("Adam", {"amsgrad": True}),
              ("Adam", {"weight_decay": 0.1}), ("Adam", {"maximize": True}), ("AdamW", {}),
              ("RMSprop", {}), ("RMSprop", {"centered": True, "momentum": 0.5}), ("Adagrad", {}),
              ("Adagrad", {"lr_decay": 0.1}), ("Adadelta", {}), ("Adamax", {}), ("NAdam", {}),
              ("RAdam", {}), ("ASGD", {}), ("Rprop", {})]


@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_optimizers(compare, name, options):
    def loop(log):
        net, opt, lossf, x, y = training(getattr(torch.optim, name), **options)
        for _ in range(ROUNDS):
            loss = lossf(net(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
        log(parameters(net), loss)
        log([[key, value] for p in net.parameters() for key, value in opt.state[p].items()])
    compare(loop)


@pytest.mark.parametrize("name, options", [
    ("StepLR", {"step_size": 3}), ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 10}), ("OneCycleLR", {"max_lr": 0.1, "total_steps": 30})])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_learning_rate_schedules(compare, name, options, optimizer):
    def loop(log):
        net, opt, lossf, x, y = training(getattr(torch.optim, optimizer))
        schedule = getattr(torch.optim.lr_scheduler, name)(opt, **options)
        for _ in range(ROUNDS):
            loss = lossf(net(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            schedule.step()
            log(schedule.get_last_lr())
        log(parameters(net))
    compare(loop, replayed=8)


def test_parameter_groups(compare):
    def loop(log):
        x, y = data()
        net = model()
        opt = torch.optim.SGD([
            {"params": net[0].parameters()},
            {"params": net[2].parameters(), "lr": 0.01, "momentum": 0.9}], lr=0.1)
        for k in range(2 * ROUNDS):
            loss = ((net(x) - y) ** 2).mean()
            loss.backward()
            opt.step()
            opt.zero_grad()
            if k == 8:
                opt.param_groups[1]["lr"] = 0.02
            if k == 10:
                opt.param_groups[0]["momentum"] = 0.5
            if k == 15:
                extra = nn.Parameter(torch.zeros(1))
                opt.add_param_group({"params": [extra]})
            if k == 18:
                opt.param_groups[0]["weight_decay"] = 0.1
        log(parameters(net))
    compare(loop, replayed=8)


@pytest.mark.parametrize("how", ["swap", "add", "overwrite", "copy", "index", "fill", "load",
                                 "load_optimizer", "random", "resize", "numpy", "zero_", "set"])
def test_parameters_changed_by_hand(compare, how):
    def change(net, opt, saved, views):
        w = net[0].weight
        if how == "swap":
            w.data = torch.full_like(w, 0.3)
        elif how == "add":
            w.data.add_(0.1)
        elif how == "overwrite":
            with torch.no_grad():
                w -= 0.1
        elif how == "copy":
            with torch.no_grad():
                w.copy_(torch.ones_like(w))
        elif how == "index":
            with torch.no_grad():
                w[0] = 0.7
        elif how == "fill":
            nn.init.constant_(w, 0.4)
        elif how == "random":
            nn.init.normal_(w)
        elif how == "load":
            net.load_state_dict(saved[0])
        elif how == "load_optimizer":
            opt.load_state_dict(saved[1])
        elif how == "numpy":
            w.detach().numpy()[0] = 0.2
        elif how == "zero_":
            w.data.zero_()
        elif how == "set":
            w.data.set_(torch.full((6, 1), 0.6))

    for where in ("between", "forward", "backward"):
        def loop(log, where=where):
            net, opt, lossf, x, y = training(torch.optim.Adam)
            saved = copy.deepcopy(net.state_dict()), None
            for k in range(3 * ROUNDS):
                if k == 1:
                    saved = saved[0], copy.deepcopy(opt.state_dict())
                h = net[0](x)
                if k in (12, 20, 21) and where == "forward" and how not in (
                        "add", "overwrite", "copy"):
                    change(net, opt, saved, None)
                loss = lossf(net[2](net[1](h)), y)
                loss.backward()
                if k in (12, 20, 21) and where == "backward":
                    change(net, opt, saved, None)
                opt.step()
                opt.zero_grad()
                if k in (12, 20, 21) and where == "between":
                    change(net, opt, saved, None)
                log(net[0].weight)
            log(parameters(net), loss)
            log([[key, value] for p in net.parameters() for key, value in opt.state[p].items()])
        compare(loop)


def test_eval_and_train(compare):
    def loop(log):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.3),
                            nn.Linear(4, 1))
        net, opt, lossf, x, y = training(net=net)
        for k in range(3 * ROUNDS):
            net.train() if k % 10 < 8 else net.eval()
            loss = lossf(net(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss)
        log(parameters(net), net.state_dict())
    compare(loop)


def test_dropout(compare):
    def loop(log):
        net = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 1))
        net, opt, lossf, x, y = training(net=net)
        for _ in range(ROUNDS):
            loss = lossf(net(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
        log(parameters(net), loss)
        net.eval()
        log(net(x))
    compare(loop, replayed=8)


def test_batches_with_a_ragged_last_one(compare):
    def loop(log):
        x, y = data(23)
        net = model()
        opt = torch.optim.Adam(net.parameters())
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=5,
                                             shuffle=True)
        for _ in range(12):
            total = 0
            for xs, ys in loader:
                loss = nn.functional.mse_loss(net(xs), ys)
                loss.backward()
                opt.step()
                opt.zero_grad()
                total += loss.item() * len(xs)
            with torch.no_grad():
                log(total, nn.functional.mse_loss(net(x), y))
        log(parameters(net))
    compare(loop, replayed=20)


def test_evaluation_between_epochs(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        for k in range(4 * ROUNDS):
            loss = lossf(net(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            if k % 5 == 4:
                with torch.no_grad():
                    log(lossf(net(x), y).item(), (net(x) - y).abs().max())
            if k % 7 == 6:
                log(lossf(net(x[:7]), y[:7]))
        log(parameters(net))
    compare(loop, replayed=8)


def test_two_optimizers(compare):
    def loop(log):
        torch.manual_seed(3)
        gen, dis = model(4), model(5)
        og = torch.optim.Adam(gen.parameters(), lr=0.01)
        od = torch.optim.Adam(dis.parameters(), lr=0.01)
        for _ in range(ROUNDS):
            z, real = torch.randn(8, 1), torch.randn(8, 1) + 3
            fake = gen(z)
            loss_d = (dis(real) - 1).pow(2).mean() + dis(fake.detach()).pow(2).mean()
            od.zero_grad()
            loss_d.backward()
            od.step()
            loss_g = (dis(fake) - 1).pow(2).mean()
            og.zero_grad()
            loss_g.backward()
            og.step()
            log(loss_d, loss_g)
        log(parameters(gen), parameters(dis))
    compare(loop)


def test_create_graph(compare):
    def loop(log):
        net = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1))
        opt = torch.optim.Adam(net.parameters(), lr=0.01)
        t = torch.linspace(0, 1, 9).reshape(-1, 1).requires_grad_()
        for _ in range(ROUNDS):
            u = net(t)
            (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
            loss = ((du + u) ** 2).mean() + (u[0] - 1).pow(2).sum()
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss.item())
        log(parameters(net), t.grad)
    compare(loop)


@pytest.mark.parametrize("kind", ["tensor", "node", "forward", "backward", "leaf", "post", "retain",
                                  "step_pre", "step_post"])
def test_hooks(compare, kind):
    def loop(log):
        net, opt, lossf, x, y = training()
        for k in range(2 * ROUNDS):
            if k == 10:
                if kind == "forward":
                    handle = net[0].register_forward_hook(lambda m, i, o: log(o) or o * 2)
                if kind == "backward":
                    handle = net[2].register_full_backward_hook(lambda m, i, o: log(o[0]))
                if kind == "leaf":
                    handle = net[0].weight.register_hook(lambda g: g * 3)
                if kind == "post":
                    handle = net[0].weight.register_post_accumulate_grad_hook(
                        lambda p: log(p.grad))
                if kind == "step_pre":
                    handle = opt.register_step_pre_hook(
                        lambda o, a, b: log(net[0].weight.grad, net[0].weight))
                if kind == "step_post":
                    handle = opt.register_step_post_hook(lambda o, a, b: log(net[0].weight))
            if k == 18 and kind not in ("tensor", "node", "retain"):
                handle.remove()
            h = net[0](x)
            if k in (8, 12, 13, 14):
                if kind == "tensor":
                    h.register_hook(lambda g: log(g) or g * 0.5)
                if kind == "node":
                    h.grad_fn.register_hook(lambda i, o: log(o[0]))
                if kind == "retain":
                    h.retain_grad()
            loss = lossf(net[2](net[1](h)), y)
            loss.backward()
            if kind == "retain":
                log(h.retains_grad and h.grad)
            opt.step()
            opt.zero_grad()
        log(parameters(net), loss)
    compare(loop, replayed=1)


def test_modules_changed_between_rounds(compare):
    def loop(log):
        net, opt, lossf, x, y = training()
        for k in range(4 * ROUNDS):
            if k == 12:
                net[1] = nn.Tanh()
            if k == 20:
                net[2].bias.requires_grad_(False)
            if k == 25:
                net[2].bias.requires_grad_(True)
            if k == 30:
                net[0] = nn.Linear(1, 6)
            if k == 36:
                x = x * 1.5
            if k == 40:
                net, x, y = net.double(), x.double(), y.double()
            loss = lossf(net(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            log(loss)
        log(parameters(net))
    compare(loop, replayed=4)


def test_branches(compare):
    def loop(log):
        random.seed(5)
        net, opt, lossf, x, y = training()
        middle = nn.Linear(6, 6)
        opt.add_param_group({"params": middle.parameters()})
        for _ in range(4 * ROUNDS):
            h = net[0](x).clamp(min=0)
            for _ in range(random.randint(0, 2)):
                h = middle(h).clamp(min=0)
            loss = lossf(net[2](h), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss.item(), middle.weight.grad is None)
        log(parameters(net))
    compare(loop)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", [0, 1, 2, 3])
def test_exceptions_in_the_middle(compare, kind, where):
    def loop(log):
        net, opt, lossf, x, y = training()
        for k in range(3 * ROUNDS):
            h = loss = None
            try:
                if k in (9, 15) and where == 0:
                    raise kind
                h = net[0](x)
                if k in (9, 15) and where == 1:
                    raise kind
                loss = lossf(net[2](net[1](h)), y)
                if k in (9, 15) and where == 2:
                    raise kind
                loss.backward()
                if k in (9, 15) and where == 3:
                    raise kind
                opt.step()
            except kind:
                log("caught", h, loss, [p.grad for p in net.parameters()])
            opt.zero_grad()
        log(parameters(net), loss)
    compare(loop, replayed=4)


def test_errors_come_from_the_same_line(compare):
    import traceback

    def loop(log):
        net, opt, lossf, x, y = training()
        bad = torch.ones(3, 7)
        for k in range(2 * ROUNDS):
            try:
                h = net[0](bad if k == 12 else x)
                loss = lossf(net[2](net[1](h)), y)
                loss.backward()
                if k == 14:
                    loss.backward()
                if k == 16:
                    h += 1
                    h.backward()
                opt.step()
            except RuntimeError as error:
                frames = traceback.extract_tb(error.__traceback__)
                log([frame.lineno for frame in frames if frame.filename == __file__])
                log(str(error).splitlines()[0])
            opt.zero_grad()
        log(parameters(net))
    compare(loop, replayed=4)


