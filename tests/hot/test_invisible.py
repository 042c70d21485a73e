"""Small programs that look at results where recording could show: memory and strides, versions and
tails, what is printed, raised and warned of. Each sees the same, recorded or not."""

from __future__ import annotations

import pytest
from watch import assert_cannot_tell, in_rounds

pytest.importorskip("llvmlite")

# What a program does in its rounds.
ROUNDS = {
    "a result that is dropped in mid-round is gone": """
h = net(x)
r = h * 2
held, loss = weakref.ref(r), (r + 1).pow(2).mean()
del r
log.alive(held)
loss.backward()
opt.step()
opt.zero_grad()
""",
    "a loss that is dropped before the step is gone": """
loss = (net(x) - y).pow(2).mean()
loss.backward()
held = weakref.ref(loss)
del loss
log.alive(held)
opt.step()
opt.zero_grad()
""",
    "attributes of tensors stay": """
h = net(x)
h.tag = k
loss = (h - y).pow(2).mean()
log(h.tag, hasattr(loss, "tag"))
loss.backward()
w.grad.tag = k
log(w.grad.tag)
opt.step()
opt.zero_grad()
log(h.tag, list(vars(h)) == ["tag"] or "tag" in vars(h))
""",
    "warnings come from the same line": """
loss = F.mse_loss(net(x), y[:, 0])
log(loss.grad_fn.name())
if k in (9, 12):
    log(net(x).grad)
loss.backward()
opt.step()
opt.zero_grad()
""",
    "NumPy's error state is not ours": """
if k == 12:
    before = np.seterr(all="raise")
try:
    h = net(x)
    loss = ((h * 1e30).exp() + h / (h * 0)).isnan().sum() + (h - y).pow(2).mean()
    loss.backward()
    opt.step()
except FloatingPointError as error:
    log.error(error)
opt.zero_grad()
if k == 14:
    np.seterr(**before)
log(loss)
""",
    "gradients of results in the middle": """
h = net[0](x)
loss = (net[2](h.tanh()) - y).pow(2).mean()
if k % 8 == 7:
    log(torch.autograd.grad(loss, [h, w], retain_graph=True))
loss.backward()
opt.step()
opt.zero_grad()
""",
    "memory of a result": """
h = net(x)
loss = (h - y).pow(2).mean()
if k % 5 == 4:
    log(h.untyped_storage().nbytes(), h.t().storage_offset(), h[1:].storage_offset())
    log(h.detach().__array__(), np.asarray(h.detach()))
loss.backward()
opt.step()
opt.zero_grad()
""",
    "a function of one's own": """
class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a):
        log("forward", a)
        ctx.save_for_backward(a)
        return a * 2
    @staticmethod
    def backward(ctx, g):
        log("backward", g, ctx.saved_tensors)
        return g * 2
loss = (Twice.apply(net(x)) - y).pow(2).mean()
loss.backward()
opt.step()
opt.zero_grad()
""",
    "the same dropout": """
h = F.dropout(net(x), 0.5)
if k == 9:
    torch.manual_seed(1)
loss = (h - y).pow(2).mean()
if k == 12:
    log(torch.rand(1))
loss.backward()
opt.step()
opt.zero_grad()
log(loss, torch.rand(1))
""",
    "statistics of a batch norm": """
if not kept:
    kept.append(nn.BatchNorm1d(1))
h = kept[0](net(x * (1 + k)))
if k % 7 == 6:
    kept[0].eval()
(h - y).pow(2).mean().backward()
kept[0].train()
opt.step()
opt.zero_grad()
log(kept[0].state_dict())
""",
    "old losses and their tails": """
loss = (net(x) - y).pow(2).mean()
loss.backward()
opt.step()
opt.zero_grad()
kept.append((loss, net[0](x)))
if k % 5 == 4:
    old, h = kept[-3]
    log.tail(old)
    log.tail(h)
    try:
        old.backward()
    except RuntimeError as error:
        log.error(error)
    try:
        h.sum().backward()
    except RuntimeError as error:
        log.error(error)
    log(w.grad)
    opt.zero_grad()
""",
    "versions count": """
h = net[0](x)
r = h.relu_() if k % 9 == 8 else h.tanh()
loss = (net[2](r) - y).pow(2).mean()
log(h._version, r._version, w._version, x._version)
loss.backward()
opt.step()
opt.zero_grad()
log(w._version, opt.state[w]["exp_avg"]._version, loss._version)
""",
    "an input that is written after it was saved": """
h = net(x)
loss = (h - y).pow(2).mean()
if k % 6 == 5:
    (x if k % 4 == 1 else y).mul_(1.01)
try:
    loss.backward()
    opt.step()
except RuntimeError as error:
    log.error(error)
opt.zero_grad()
log(w)
""",
    "a result that is written": """
h = net[0](x)
if k % 6 == 5:
    h[0] = 0.5
    h.data[1] = 0.25
if k % 7 == 6:
    h.detach().numpy()[2] = 1
try:
    loss = (net[2](h.tanh()) - y).pow(2).mean()
    if k % 8 == 7:
        h.add_(1)
    loss.backward()
    opt.step()
except RuntimeError as error:
    log.error(error)
log(h, h.grad_fn.name())
opt.zero_grad()
""",
    "leaves and results that change their minds": """
h = net(x)
loss = (h - y).pow(2).mean()
if k % 7 == 6:
    try:
        h.requires_grad = False
    except RuntimeError as error:
        log.error(error)
    h.requires_grad_()
    log(h.detach().requires_grad_().is_leaf)
if k in (11, 12):
    v.requires_grad = not v.requires_grad
loss.backward()
opt.step()
opt.zero_grad()
log(v)
""",
    "data of a result": """
h = net[0](x)
if k % 7 == 6:
    h.data = h.data * 2
if k % 9 == 8:
    h.data = torch.ones(6, 4)
loss = (net[2](h.tanh()) - y).pow(2).mean()
loss.backward()
opt.step()
opt.zero_grad()
log(h, loss)
""",
    "another thread looks and writes": """
h = net(x)
loss = (h - y).pow(2).mean()
def other():
    log(h.sum())
    with torch.no_grad():
        if k % 9 == 8:
            w.mul_(0.99)
        log(torch.rand(1), loss)
if k % 3 == 2:
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
try:
    loss.backward()
    log(w.grad)
    opt.step()
except RuntimeError as error:
    log.error(error)
opt.zero_grad()
""",
    "another thread goes backward": """
loss = (net(x) - y).pow(2).mean()
if k % 5 == 4:
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()
else:
    loss.backward()
log(w.grad)
if k % 7 == 6:
    thread = threading.Thread(target=opt.step)
    thread.start()
    thread.join()
else:
    opt.step()
opt.zero_grad()
log(w)
""",
    "a process that is forked in mid-round": """
loss = (net(x) - y).pow(2).mean()
if k == 12:
    into, out = os.pipe()
    child = os.fork()
    if not child:
        loss.backward()
        os.write(out, repr([round(w.grad.sum().item(), 3)]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    log(os.read(into, 100))
loss.backward()
opt.step()
opt.zero_grad()
""",
    "copies in mid-round": """
h = net(x)
loss = (h - y).pow(2).mean()
if k % 9 == 8:
    log(copy.copy(h.detach()), pickle.loads(pickle.dumps(net)).state_dict())
loss.backward()
if k % 9 == 7:
    twin = copy.deepcopy(net)
    log([p.grad for p in twin.parameters()], copy.deepcopy(opt).state_dict())
opt.step()
opt.zero_grad()
""",
    "modes that change": """
with torch.inference_mode() if k % 11 == 10 else torch.enable_grad():
    h = net(x)
log(h.requires_grad, h.is_inference())
with torch.autograd.set_grad_enabled(k % 13 != 12):
    loss = (h - y).pow(2).mean()
try:
    loss.backward()
    opt.step()
except RuntimeError as error:
    log.error(error)
opt.zero_grad()
""",
    "the default type changes": """
if k == 12:
    torch.set_default_dtype(torch.float64)
h = net(x) + torch.ones(1) * 0.5
loss = (h - y).pow(2).mean()
loss.backward()
opt.step()
opt.zero_grad()
log(h.dtype, loss, w)
""",
    "numbers that are the same for ==": """
a = [1, 1.0, True, -0.0, 0, 0.0, False, np.float32(1), np.int64(1)][k % 9 if k > 8 else 0]
h = net(x) * a
loss = (h - y).pow(2).mean()
log(h * 0, (h * a).dtype)
loss.backward()
opt.step()
opt.zero_grad()
""",
    "special numbers": """
if k > 8:
    y = y.clone()
    y[0] = [float("nan"), float("inf"), -0.0, 1e-42, -1e38][k % 5]
h = net(x)
loss = (h * y).tanh().sum() + (h.clamp(min=0) * y).mean()
log(h * 0 * y, loss)
loss.backward()
log(w.grad)
opt.zero_grad()
opt.step()
""",
    "no rows, one row": """
n = [6, 6, 6, 6, 6, 6, 6, 6, 0, 1, 6, 2, 0, 6][k % 14]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    loss = (net(x[:n]) - y[:n]).pow(2).mean()
    loss.backward()
log(loss, w.grad)
opt.zero_grad()
if n:
    (net(x[:n]) - y[:n]).pow(2).sum().backward()
    opt.step()
opt.zero_grad()
log(w)
""",
    "strides of results": """
h = net[0](x.t().contiguous().t() if k % 6 == 5 else x)
g = h.t() * 2
log(h.stride(), g.stride(), g.is_contiguous(), torch.empty_like(g).stride())
loss = (net[2](g.t().tanh()) - y).pow(2).mean()
loss.backward()
log(w.grad.stride())
opt.step()
opt.zero_grad()
if k % 5 == 4:
    log.facts(h, g)
    log(g)
""",
    "an exception with results in its hands": """
try:
    h = net(x)
    loss = (h - y).pow(2).mean()
    if k % 6 == 5:
        raise ValueError(h, loss)
    loss.backward()
    if k % 7 == 6:
        raise ValueError(w.grad)
    opt.step()
except ValueError as error:
    log(*error.args)
opt.zero_grad()
""",
    "errors in the middle": """
try:
    h = net(x)
    if k % 6 == 5:
        h = h @ torch.ones(7, 7)
    h = 3 * h.abs() if k % 7 == 6 else h * 0
    loss = F.binary_cross_entropy(h + 0.5, y.sigmoid())
    loss.backward()
    if k % 8 == 7:
        loss.backward()
    opt.step()
except RuntimeError as error:
    log.error(error)
opt.zero_grad()
""",
    "what is printed": """
h = net(x)
loss = (h - y).pow(2).mean()
if k % 5 == 4:
    log.text(loss)
    log.text(h)
    log.text(f"{loss:.3f} {h[0]}")
loss.backward()
if k % 6 == 5:
    log.text(w.grad)
opt.step()
opt.zero_grad()
if k % 7 == 6:
    log.text([loss, net, opt])
""",
    "tensors as keys and in lists": """
h = net(x)
loss = (h - y).pow(2).mean()
log({h: 1}[h], h in {loss: 1}, [h, loss].index(h), sorted([loss, loss * 2])[0] is loss)
loss.backward()
opt.step()
opt.zero_grad()
""",
    "finalizers": """
h = net(x)
weakref.finalize(h, log, "gone", k)
loss = (h - y).pow(2).mean()
loss.backward()
log("after backward")
del h
log("dropped")
opt.step()
opt.zero_grad()
""",
}
KNOWN = {
    "what a round has promised is held until the round is over": [
        "a result that is dropped in mid-round is gone",
        "a loss that is dropped before the step is gone",
        "finalizers",
    ],
}


@pytest.mark.parametrize("name", ROUNDS)
def test_who_looks_at_results_cannot_tell(name, request):
    for reason, names in KNOWN.items():
        if name in names:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=False))
    assert_cannot_tell(in_rounds(ROUNDS[name]), name)
