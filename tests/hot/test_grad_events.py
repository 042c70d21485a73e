"""Rounds that take gradients themselves, with ``torch.autograd.grad``, are replayed as compiled
ones; no program can tell."""

from __future__ import annotations

import numpy as np
import pytest
from watch import HEADER, compare

pytest.importorskip("llvmlite")

START = """\
import copy, gc, warnings, weakref
import numpy as np
import kkori as torch
from kkori import nn
import kkori.nn.functional as F
torch.manual_seed(3)
grad = torch.autograd.grad
x = torch.linspace(0, 2, 7).reshape(7, 1).requires_grad_()
net = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 1))
opt = torch.optim.Adam(net.parameters(), lr=0.01, eps=1e-2)
w = net[0].weight
kept = []

def slopes(u):
    u_x = grad(u, x, torch.ones_like(u), create_graph=True)[0]
    return u_x, grad(u_x, x, torch.ones_like(u_x), create_graph=True)[0]

"""

FLAT = """
u = net(x)
u_x, = grad(u.sum(), x, create_graph=True)
loss = u_x.pow(2).mean()
"""

STEP = """
loss.backward()
opt.step()
opt.zero_grad()
"""

# What programs do in a round, and how many of their 14 rounds are replayed at least.
PROGRAMS = {
    "a network for u'' + u = 0": (9, """
def loss_of():
    u = net(x)
    u_x, u_xx = slopes(u)
    return (u_xx + u).pow(2).mean() + (net(x.detach()[:1]) - 1).pow(2).mean()
loss = loss_of()
loss.backward()
opt.step()
log(loss.item(), x.grad)
opt.zero_grad()
"""),
    "its values are kept": (9, """
u = net(x)
u_x, u_xx = slopes(u)
loss = (u_xx + u).pow(2).mean() + (u_x[0] - 1).pow(2).sum()
loss.backward()
opt.step()
opt.zero_grad()
log(u, u_x, u_xx, loss)
log.facts(u, u_x, u_xx, loss)
log.tail(u_x)
"""),
    "what is kept is used in a later backward()": (3, """
u = net(x)
u_x, u_xx = slopes(u)
loss = u_xx.pow(2).mean()
loss.backward()
opt.step()
opt.zero_grad()
if k % 5 == 4:
    for one in (u, u_x, u_xx, loss):
        try:
            (one * 2).sum().backward()
        except RuntimeError as error:
            log(str(error).splitlines()[0])
    log(w.grad, x.grad)
    opt.zero_grad()
"""),
    "gradients of what was kept, by inputs only": (3, """
u = net(x)
u_x = grad(u, x, torch.ones_like(u), create_graph=True)[0]
loss = (net(x) - 1).pow(2).mean()
loss.backward()
opt.step()
opt.zero_grad()
if k % 5 == 4:
    try:
        log(grad(u_x.sum(), x, retain_graph=True))
    except RuntimeError as error:
        log(str(error).splitlines()[0])
    try:
        log(grad(u.sum(), net[4].bias, retain_graph=True), x.grad)
    except RuntimeError as error:
        log(str(error).splitlines()[0])
"""),
    "two inputs joined": (9, """
t = torch.full((7, 1), 0.1 * k, requires_grad=True)
wide = kept[0] if kept else kept.append(nn.Linear(2, 1)) or kept[0]
both = torch.cat([x, t], 1)
u = net(wide(both))
u_x, u_t = grad(u.sum(), (x, t), create_graph=True)
u_xx = grad(u_x, x, torch.ones_like(u_x), create_graph=True)[0]
loss = (u_t - u_xx).pow(2).mean()
""" + STEP + """
log(u_x, u_t, t.grad, x.grad)
log.facts(u_x, u_t)
log.shared(u_x, u_t)
"""),
    "a gradient penalty": (5, """
real, fake = torch.randn(6, 1), torch.randn(6, 1)
eps = torch.rand(6, 1)
mixed = (eps * real + (1 - eps) * fake).requires_grad_()
score = net(mixed)
slope, = grad(outputs=score, inputs=mixed, grad_outputs=torch.ones_like(score),
              create_graph=True, retain_graph=True, only_inputs=True)
slope = slope.view(slope.size(0), -1)
penalty = ((slope.norm(2, dim=1) - 1) ** 2).mean()
loss = net(fake).mean() - net(real).mean() + 10 * penalty
""" + STEP + """
log(loss, penalty, slope)
log.facts(slope, mixed)
"""),
    "a gradient that is a number": (9, """
u = net(x)
g = grad(u.sum(), x)[0]
u = net(x)
loss = (u - g.sign()).pow(2).mean()
""" + STEP + """
log(g)
log.facts(g)
"""),
    "a gradient for an intermediate result": (9, """
h = net[1](net[0](x))
u = net[4](h)
g, = grad(u.pow(2).sum(), h, create_graph=True)
loss = (g - 1).pow(2).mean() + u.mean()
""" + STEP + """
log(g, h)
log.facts(g, h)
"""),
    "several inputs, some of them twice or not used": (9, """
u = net(x)
other = torch.ones(3, requires_grad=True)
found = grad(u.sum(), (x, w, other, x, u), allow_unused=True, create_graph=True)
log(found[2] is None, found[0] is found[3])
zeros = grad(u.sum(), (other, w), allow_unused=True, materialize_grads=True, create_graph=True)
loss = found[0].pow(2).mean() + found[1].pow(2).mean() + zeros[1].mean()
""" + STEP + """
log(zeros[0], found[4])
"""),
    "gradients of gradients of a product with a vector": (9, """
v = torch.full((7, 1), 0.5, requires_grad=True)
u = net(x)
g, = grad(u, x, v, create_graph=True)
jvp, = grad(g, v, torch.ones_like(g), create_graph=True)
loss = (jvp - 1).pow(2).mean()
""" + STEP + """
log(v.grad, jvp)
"""),
    "several roots": (9, """
u = net(x)
z = u * 2
g, = grad((u.sum(), z.mean()), x, create_graph=True)
h, = grad([u, z.sum()], [x], [torch.ones_like(u) * 3, None], retain_graph=True)
loss = (g - h).pow(2).mean()
""" + STEP),
    "a gradient that was given": (9, """
u = net(x)
start = torch.ones_like(u)
same, = grad(u, u, start, retain_graph=True)
log(same is start)
loss = (u * same).pow(2).mean()
""" + STEP),
    "values are looked at in mid-round": (0, """
u = net(x)
u_x, u_xx = slopes(u)
if k % 3 == 2:
    log(u_x)
if k % 4 == 3:
    log(u_xx.max().item())
loss = (u_xx + u_x).pow(2).mean()
""" + STEP + """
log(loss)
"""),
    "the round is left behind a gradient": (0, """
u = net(x)
u_x, u_xx = slopes(u)
if k % 3 == 2:
    u_x = u_x.exp()
if k % 5 == 3:
    loss = u_xx.abs().mean() + u_x.mean()
else:
    loss = (u_xx + u_x).pow(2).mean()
""" + STEP + """
log(loss, x.grad)
"""),
    "a gradient is changed in place": (0, """
u = net(x)
u_x, = grad(u.sum(), x, create_graph=True)
if k % 4 == 3:
    u_x.mul_(2)
    log.facts(u_x)
if k % 7 == 6:
    u_xx, = grad(u_x.sum(), x, create_graph=True)
    u_x.add_(u_xx)
loss = (u_x - 1).pow(2).mean()
""" + STEP + """
log(u_x)
log.facts(u_x)
"""),
    "a parameter is changed before the backward()": (0, FLAT + """
if k % 6 == 5:
    with torch.no_grad():
        net[2].weight.mul_(0.99)
try:
    loss.backward()
    opt.step()
except RuntimeError as error:
    log(str(error).splitlines()[0])
opt.zero_grad()
log(x.grad)
"""),
    "the gradient of the input is looked at": (0, FLAT + """
before = x.grad if k % 5 == 3 else None
loss.backward()
if k % 4 == 2:
    log(x.grad, x.grad._version, w.grad)
if k % 5 == 3:
    log(before)
opt.step()
log(x.grad, x.grad._version)
opt.zero_grad()
if k == 9:
    x.grad.zero_()
if k == 11:
    x.grad = None
"""),
    "the gradient of the input has other names": (0, FLAT + """
loss.backward()
if k == 6:
    kept.append(x.grad.detach())
if k == 8:
    kept.append(x.grad.numpy())
if k > 8:
    log(*kept)
opt.step()
log(*kept)
opt.zero_grad()
"""),
    "gradients of parameters are looked at before the step": (5, FLAT + """
loss.backward()
log(w.grad.shape)
opt.step()
opt.zero_grad()
log(x.grad)
"""),
    "the gradient of the input is zeroed": (0, FLAT + """
loss.backward()
opt.step()
opt.zero_grad()
log(x.grad)
x.grad.zero_()
"""),
    "hooks come and go": (0, """
u = net(x)
if k == 8:
    kept.append(x.register_hook(lambda g: log("leaf", g)))
if k == 10:
    kept.pop().remove()
if k == 11:
    u.register_hook(lambda g: log("result", g))
if k == 12:
    u.retain_grad()
u_x, u_xx = slopes(u)
loss = (u_xx + u).pow(2).mean()
""" + STEP + """
log(loss, u.grad if k == 12 else 0)
"""),
    "errors": (0, """
u = net(x)
u_x, = grad(u.sum(), x, create_graph=k != 7)
if k == 5:
    try:
        grad(u_x.sum(), torch.ones(2, requires_grad=True))
    except RuntimeError as error:
        log.error(error)
if k == 6:
    try:
        grad(u, x)
    except RuntimeError as error:
        log.error(error)
if k == 8:
    grad(u.sum(), x)
try:
    loss = (u_x + u).pow(2).mean()
    loss.backward()
    opt.step()
except RuntimeError as error:
    log.error(error)
opt.zero_grad()
log(x.grad)
"""),
    "under no_grad, and with other options": (0, """
u = net(x)
with torch.no_grad():
    u_x, = grad(u.sum(), x, create_graph=True)
    a = u_x * 2
log.facts(u_x, a)
keep = k % 4 == 3
v, = grad(u.sum(), x, retain_graph=True, create_graph=keep)
log.facts(v)
with torch.autograd.set_detect_anomaly(k == 9):
    g, = grad(u_x.sum(), x, retain_graph=True)
loss = (u_x - g + v).pow(2).mean()
""" + STEP),
    "backward() that makes a graph": (0, """
loss = (net(x) - 1).pow(2).mean()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    loss.backward(create_graph=True)
penalty = sum(p.grad.pow(2).sum() for p in net.parameters())
opt.zero_grad()
(penalty + 0).backward()
opt.step()
opt.zero_grad()
log(penalty)
"""),
    "parameters changed by hand": (0, """
loss = (net(x) - 1).pow(2).mean()
found = grad(loss, net.parameters())
with torch.no_grad():
    for p, g in zip(net.parameters(), found):
        p -= 0.1 * g
log(loss, w)
"""),
    "by hand, with backward()": (3, """
u = net(x)
u_x, = grad(u.sum(), x, create_graph=True)
loss = (u_x - 1).pow(2).mean()
loss.backward()
with torch.no_grad():
    for p in net.parameters():
        if p.grad is not None:
            p -= 0.1 * p.grad
        p.grad = None
log(loss, x.grad, u_x)
"""),
}


def source_of(text, rounds=14):
    body = "\n".join("    " + line for line in text.strip("\n").splitlines())
    return f"{START}for k in range({rounds}):\n{body}\nlog.count()\nlog(w, x.grad)\n"


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_program_can_tell(name):
    least, text = PROGRAMS[name]
    source = source_of(text, 30 if "by hand" in name or name.startswith("parameters") else 14)
    found, rounds = compare(source, name)
    assert not found, f"{found}\n\n{HEADER}{source}"
    assert rounds >= least, rounds


@pytest.mark.oracle
def test_the_network_learns_what_it_learns_in_pytorch():
    pytorch = pytest.importorskip("torch")
    import kkori

    def losses(torch, weights):
        nn, grad = torch.nn, torch.autograd.grad
        net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(),
                            nn.Linear(8, 1))
        with torch.no_grad():
            for param, values in zip(net.parameters(), weights, strict=False):
                param.copy_(torch.tensor(values))
        opt = torch.optim.Adam(net.parameters(), lr=1e-2)
        x = torch.linspace(0, 1.5, 20).reshape(20, 1).requires_grad_(True)
        ends = torch.tensor([[0.0], [1.5]])
        found = []
        for _ in range(40):
            opt.zero_grad()
            u = net(x)
            u_x = grad(u, x, torch.ones_like(u), create_graph=True)[0]
            u_xx = grad(u_x, x, torch.ones_like(u_x), create_graph=True)[0]
            loss = (u_xx + u).pow(2).mean() + (net(ends) - torch.sin(ends)).pow(2).mean()
            loss.backward()
            opt.step()
            found.append(loss.item())
        return found, [param.tolist() for param in net.parameters()], x.grad.tolist()

    pytorch.manual_seed(0)
    sizes = [(8, 1), (8,), (8, 8), (8,), (1, 8), (1,)]
    weights = [(pytorch.randn(size) / 3).tolist() for size in sizes]
    theirs, mine = losses(pytorch, weights), losses(kkori, weights)
    for one, other in zip(mine, theirs, strict=True):
        for a, b in zip(one, other, strict=True):
            assert np.allclose(a, b, rtol=2e-3, atol=2e-5)
