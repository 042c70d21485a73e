"""Small programs that train in ways of their own: with gradients, hooks, parameters and the state
of optimizers taken in hand. Each sees the same, recorded or not."""

from __future__ import annotations

import pytest
from watch import assert_cannot_tell, in_rounds

pytest.importorskip("llvmlite")

# What a program does in its rounds.
ROUNDS = {
    "gradients dropped in mid-round, until they are not": """
for part in range(2):
    (net(x) - y).pow(2).mean().backward()
    if part == 0 and k < 13:
        opt.zero_grad()
opt.step()
opt.zero_grad()
""",
    "gradients added in mid-round, until they are dropped": """
for part in range(2):
    (net(x) - y).pow(2).mean().backward()
    if part == 0 and k >= 13:
        opt.zero_grad()
opt.step()
opt.zero_grad()
""",
    "gradients that are dropped are gone": """
(net(x) - y).pow(2).mean().backward()
held = weakref.ref(w.grad)
opt.step()
opt.zero_grad()
log.alive(held)
""",
    "gradients do not share memory": """
a, b = [torch.full((3,), 0.5 + i, requires_grad=True) for i in range(2)] if not kept else kept
kept[:] = a, b
loss = (a + b).sum() + (net(x) - y).pow(2).mean()
loss.backward()
log.shared(a.grad, b.grad)
log.facts(a.grad, b.grad)
log([p.grad.stride() for p in net.parameters()])
opt.step()
a.grad.mul_(2)
log(a.grad, b.grad)
a.grad = b.grad = None
opt.zero_grad()
""",
    "a gradient that is kept and one that is zeroed": """
(net(x) - y).pow(2).mean().backward()
if k == 7:
    kept.append(w.grad)
log(bool(kept) and w.grad is kept[0])
opt.step()
opt.zero_grad(set_to_none=k > 20)
log(bool(kept) and kept[0], w.grad)
""",
    "NumPy sees parameters change": """
if not kept:
    kept += [w.detach().numpy(), w.data[0], w.detach(), v.data]
(net(x) - y).pow(2).mean().backward()
opt.step()
opt.zero_grad()
log(kept, w.data_ptr() == kept[2].data_ptr())
log.shared(w, *kept[1:])
""",
    "state of the optimizer is the same tensors": """
(net(x) - y).pow(2).mean().backward()
opt.step()
opt.zero_grad()
if not kept:
    kept += list(opt.state[w].values())
log(kept)
log([value is other for value, other in zip(kept, opt.state[w].values())])
""",
    "a moving average of the weights": """
if not kept:
    kept.append(w.detach().clone())
(net(x) - y).pow(2).mean().backward()
opt.step()
kept[0].mul_(0.9).add_(w.detach(), alpha=0.1)
opt.zero_grad()
log(kept)
""",
    "parameters swapped with others": """
if k == 10:
    w.data = torch.ones(4, 2)
if k == 13:
    kept.append(w.data)
    w.data = torch.zeros(2, 4).t()
if k == 16:
    net[0].weight.data, net[0].bias.data = w.data * 2, net[0].bias.data + 1
(net(x) - y).pow(2).mean().backward()
opt.step()
opt.zero_grad()
log(w, kept)
""",
    "a post-accumulate hook sees the whole gradient": """
if k == 6:
    v.register_post_accumulate_grad_hook(lambda p: log(p.grad))
(net(x) - y).pow(2).mean().backward()
if k % 4 == 3:
    opt.step()
    opt.zero_grad()
""",
    "an optimizer inside hooks": """
if k == 6:
    def update(p):
        p.data.sub_(p.grad, alpha=0.1)
        p.grad = None
    for p in net.parameters():
        p.register_post_accumulate_grad_hook(update)
(net(x) - y).pow(2).mean().backward()
if k < 6:
    opt.zero_grad()
log(v, v.grad)
""",
    "a hook that looks at other gradients": """
if k == 6:
    w.register_hook(lambda g: log(v.grad, w.grad))
(net(x) - y).pow(2).mean().backward()
log(w.grad)
if k % 3 == 0:
    opt.step()
    opt.zero_grad()
""",
    "a hook that raises": """
def hook(g):
    if k % 9 == 8:
        raise ValueError(f"round {k}")
    return g * 0.5
try:
    h = net[0](x)
    h.register_hook(hook)
    (net[2](h.tanh()) - y).pow(2).mean().backward()
    opt.step()
except ValueError as error:
    log.error(error)
log([p.grad for p in net.parameters()])
opt.zero_grad()
""",
    "only some inputs": """
loss = (net(x) - y).pow(2).mean()
loss.backward(inputs=[v] if k % 10 == 9 else None)
log([p.grad is None for p in net.parameters()])
opt.step()
opt.zero_grad()
""",
    "an optimizer's step with a wrapper": """
if k == 8:
    inner = opt.step
    opt.step = lambda: log("step", w) or inner()
(net(x) - y).pow(2).mean().backward()
with torch.no_grad() if k % 2 else torch.enable_grad():
    opt.step()
opt.zero_grad()
""",
    "a step twice": """
(net(x) - y).pow(2).mean().backward()
opt.step()
if k % 6 == 5:
    opt.step()
log(opt.state[w]["step"], w)
opt.zero_grad()
""",
    "a learning rate that is a tensor": """
if k == 9:
    opt.param_groups[0]["lr"] = torch.tensor(0.02)
(net(x) - y).pow(2).mean().backward()
opt.step()
opt.zero_grad()
log(w)
""",
    "parameters that join a group by hand": """
if k == 9:
    kept.append(torch.ones(1, requires_grad=True))
    opt.param_groups[0]["params"].append(kept[0])
loss = (net(x) - y).pow(2).mean() + sum(p.pow(2).sum() for p in kept)
loss.backward()
opt.step()
opt.zero_grad()
log(kept, loss)
""",
    "a state that is edited": """
(net(x) - y).pow(2).mean().backward()
opt.step()
opt.zero_grad()
if k == 9:
    opt.state[w]["exp_avg"].zero_()
if k == 12:
    opt.state[w]["exp_avg"] = torch.ones_like(w)
if k == 15:
    opt.state[w]["step"] += 100
if k == 18:
    del opt.state[w]
if k == 21:
    opt.state[v]["step"] = torch.tensor(1.0)
log(w, v, opt.state_dict()["state"])
""",
    "a generator that trains": """
def rounds():
    while True:
        loss = (net(x) - y).pow(2).mean()
        got = yield loss
        log(got)
        loss.backward()
        opt.step()
        opt.zero_grad()
        yield
if not kept:
    kept.append(rounds())
log(next(kept[0]))
kept[0].send(k)
""",
    "a parameter that is written after it was saved": """
loss = (net(x) - y).pow(2).mean()
if k % 6 == 5:
    with torch.no_grad():
        net[2].weight.mul_(0.9)
try:
    loss.backward()
    opt.step()
except RuntimeError as error:
    log.error(error)
opt.zero_grad()
log(w)
""",
    "a graph over two rounds": """
h = net(x)
loss = (h - y).pow(2).mean() + (0 if not kept else (h - kept.pop()).pow(2).mean())
if k % 9 == 8:
    kept.append(h * 2)
try:
    loss.backward()
    opt.step()
except RuntimeError as error:
    log.error(error)
opt.zero_grad()
log(loss)
""",
    "early stopping and plateaus": """
if not kept:
    kept.append(torch.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=1))
loss = (net(x) - y).pow(2).mean()
loss.backward()
opt.step()
opt.zero_grad()
kept[0].step(loss)
log(opt.param_groups[0]["lr"], loss.item() < 0.5, min(loss, 1), max(loss.item(), 0.1))
""",
    "a gradient is taken away before the step of one round": """
loss = (net(x) - y).pow(2).mean()
opt.zero_grad()
loss.backward()
if k == 6:
    w.grad = None
opt.step()
""",
    "a gradient is replaced before the step of one round": """
h = net(x)
opt.zero_grad()
(h - y).pow(2).mean().backward()
if k in (3, 6):
    v.grad = h.detach().sum(0)
opt.step()
""",
    "a gradient is taken away between two steps backward": """
h, z = net(x), net(x * 2)
opt.zero_grad()
(h - y).pow(2).mean().backward()
if 3 <= k < 6:
    w.grad = None
(v * v).sum().backward() if k < 20 else v.sum().backward()
opt.step()
""",
    "rounds that do not come to their step any more": """
h = net(x) - y
loss = h.pow(2).mean()
log.alive(*kept)
kept.append(weakref.ref(h))
opt.zero_grad()
if k < 3:
    loss.backward()
    opt.step()
""",
    "a hook on a weight of a layer": """
n = 6 if k % 4 else 4
loss = (net(x[:n]) - y[:n]).pow(2).mean()
opt.zero_grad()
if k == 10:
    w.register_hook(lambda gradient: log.facts(gradient))
loss.backward()
opt.step()
""",
}
TWO_THREADS = """\
import threading
import kkori as torch
from watch import Log
def train(log):
    v = torch.tensor([0.1, 0.2, -0.3], requires_grad=True)
    x = torch.ones(6, 1)
    opt = torch.optim.Adam([v], lr=0.01, eps=1e-2)
    for k in range(16):
        try:
            opt.zero_grad()
            h = x[:6 if k % 4 else 4] * v
            (h * h).tanh().mean().backward()
            if k in (5, 7):
                opt.step()
            opt.step()
        except AssertionError as error:
            log.error(error)
    log(v)
logs = [Log(), Log()]
threads = [threading.Thread(target=train, args=(one,)) for one in logs]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
log.seen += [one.seen for one in logs]
"""


@pytest.mark.parametrize("name", ROUNDS)
def test_who_trains_otherwise_cannot_tell(name):
    assert_cannot_tell(in_rounds(ROUNDS[name]), name)


def test_two_threads_that_train_with_two_steps_in_some_rounds_cannot_tell():
    assert_cannot_tell(TWO_THREADS, "two threads")
