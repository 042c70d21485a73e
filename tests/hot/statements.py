"""Statements that random programs are made of, by what they do.

They are plain Python with names to be drawn in braces: {H} is one of several tensors of shape
(n, 3), {B} (3,), {C} (n, 1), {S} (); {f} a float, {i} and {m} small integers, {round} a round.
Paragraphs are statements; in a paragraph that begins with "# each" every line is one. Those under
a key need what the key says.
"""

from __future__ import annotations

NAMES = {"H": ["h", "g", "u"], "B": ["b", "q"], "C": ["c", "d"], "S": ["s", "z"],
         "f": ["0.5", "-0.0", "2", "1.5", "-1.0", "0.1", "3", "True"],
         "i": ["0", "1", "2", "-1"], "m": ["2", "3", "4", "5"],
         "unary": ["relu", "tanh", "exp", "sin", "square", "neg", "abs", "sigmoid", "cos", "erf"],
         "binary": ["add", "sub", "mul", "maximum", "minimum"]}

FEEDS = {"": """\
# each
x, y, t = data, target, labels
x, y, t = data, target, labels
x, y, t = torch.from_numpy(array).to(data.dtype), target, labels

size = n if k % 4 else n - 2
x, y, t = data[:size], target[:size], labels[:size]

array[k % n] += 0.01
x, y, t = torch.tensor(array, dtype=data.dtype), target, labels
""", "rare": """\
x, y, t = data * (1 + 0.01 * k), target, labels

x, y, t = data[k % 2:], target[k % 2:], labels[k % 2:]

x, y, t = data.clone().requires_grad_(), target, labels
""", "random": """\
# each
x, y, t = torch.randn(n, 2), target, labels

order = torch.randperm(n)
x, y, t = data[order], target[order], labels[order]

places = torch.randint(0, n, (n,))
x, y, t = torch.stack([data[i] for i in places]), target, labels

places = torch.randint(0, n - 1, (n,)) + 1
x, y, t = torch.stack([data[int(i) - 1] for i in places * 1]), target[places - 1], labels
"""}

START = """\
g, u = h * v, y * 0.5 + h
b, q = v * 2, v - 1
c, d = x[:, :1] * v.sum(), y.mean(1, keepdim=True)
s, z = (w * w).sum(), v.mean()
"""
ALL = "(h + g + u + b * q + c * d + s * z).tanh().mean()"

COMPUTE = {"rare": """\
# each
{H} = {H}.unsqueeze(0).squeeze(0)
{H} = F.layer_norm({H}, (3,))
{H} = {H}.clamp({f} - 2, 2.5)
{H} = {H}.cumsum(0) / len({H})
{H} = {H}.sort(0)[0]
{S} = {H}.norm() + {H}.std()
{S} = {H}.gather(1, t[:, None]).sum()
{S} = {S} + {H}[{H} > 0].sum()
{S} = torch.logsumexp({B}, 0)
{S} = {S} if {S} > 0 else -{S}
{H} = {H}.double().mul({f}).to({H}.dtype)
{H} = {H} + torch.full_like({H}, {f})
{H} = {H} / 3 + k
{H} = {H} * k
{B} = {B} + torch.arange(3)
{B} = torch.zeros(3).index_add(0, t[:3], {H}[:3, 0].to(torch.get_default_dtype()))
{B} = {H}.max(0).values
{C} = {H}.amax(1, keepdim=True)
{C} = {C}.float().exp().neg().exp()
{H} = torch.atan2({H}, {B}).tanh()
{H} = {H} * (1 + 0.1 * k)
{H} = {H}.data + {H}
{H} = {H}.clamp(0, 2.5)

r = {H}.diagonal()
{S} = r.prod()
""", "": """\
# each
{H} = {H}.clamp(-1.5, 2.5)
{H} = {H}.{unary}()
{H} = torch.{unary}({H} * {f})
{H} = torch.{binary}({H}, {H}) * 0.5
{H} = torch.{binary}({H}, {B}).tanh()
{H} = {H} + {C} * {B}
{B} = {B}.{unary}() * 0.5
{B} = torch.{binary}({B}, {S})
{C} = {C} * {S}
{C} = {H}.sum(1, keepdim=True)
{S} = {H}.mean()
{S} = ({B} * {B}).sum() * {f}
{S} = {S}.{unary}() * {f}
{B} = {H}.sum(0)
{H} = {H} - {f}
{H} = {f} * {H}
{H} = torch.where({H} > 0, {H}, {H} * 0.1)
{H} = F.softmax({H}, 1)
{H} = {H} + {B}[t]
{H} = F.embedding(t, {H}[:3]) * {f} if len({H}) > 2 else {H}
{H} = {H} + {H}[:3].index_select(0, t) if len({H}) > 2 else {H}
{C} = {C} * {H}[(t + 1) % 3, t][:, None]
{H} = F.leaky_relu({H}, 0.2)
{H} = F.linear({H}, torch.eye(3, dtype={H}.dtype) * 0.5, {B})
{S} = F.mse_loss({H}, y)
{S} = F.cross_entropy({H}, t)
{S} = F.nll_loss(F.log_softmax({H}, -1), t)
{S} = F.smooth_l1_loss({H}, y) + {S}
{S} = F.binary_cross_entropy_with_logits({H}, y.sigmoid())
{H} = {H} @ ({H}.t() @ {H}).tanh()
{H} = torch.einsum("ij,j->ij", {H}, {B})
{H} = torch.cat([{H}[:1], {H}[1:] * {f}])
{H} = torch.stack([{H}, {H} * 2]).mean(0)
{H} = torch.cat([torch.zeros(len({H}), 1), {H}.tanh(), {C}], 1)[:, 1:4]
{H} = torch.stack([one * {f} for one in {H}.unbind(1)], 1)
{H} = ({H} - {H}.mean(0)) / ({H}.var(0) + 1).sqrt()
{H} = {H} * ({H} > 0)
{H} = F.relu({H}, inplace=True)
{H} = F.leaky_relu({H} * 1, 0.2, inplace=True)
{H} = ({H} - 0.1).relu_().mul_({B})
{H} += {C} * 0.1
{B} *= {B}
{S}.mul_(0.5).add_(0.1)
{H} = {H} + ({H}.tanh() - {H}).detach()
{S} = {S} + F.mse_loss({H}, {H}.detach() * 0.5)
{B} = {B}.data * 0.5 + {B}
{H} = 0.9 ** k * {H}
{S} = {S} / (k + 1) - 0.01 * k
{H} = torch.add({H}, {B}, alpha=0.1 * k).tanh()
{B} = {B}.clamp(-0.1 * k, 1.5)
{S} = [0.0, -0.0, 1.5, 2][k % 4] * {S}

lam = np.float64(1 / (k + 1))
{H} = lam * {H} + (1 - lam) * {B}
""", "random": """\
# each
{H} = F.dropout({H}, 0.3)
{H} = {H} + torch.randn_like({H}) * 0.1
{H} = {H} * torch.rand(3).to({H}.dtype)
{B} = {B} * torch.bernoulli(torch.full((3,), 0.5))

if torch.rand(1) < 0.5:
    {H} = {H} * 0.9
"""}

VIEWS = """\
# each
{S} = {H}.t().sum(1)[0]
{C} = {B}.expand(len({C}), 3)[:, :1]
{S} = sum(row.mean() for row in {H}.unbind(1))
{H} = {H}.reshape(-1).reshape({H}.shape)
{H} = {H}.t().contiguous().t()
{H} = {H}.permute(1, 0).transpose(0, 1)
{H} = {H}.flip(0)
{S} = v[0] * 2
{H} = {H}.detach() * 2 + {H}

r = {H}[1:]
{S} = (r * r).mean()
kept.append(r)

r = {H}.detach()
log.shared(r, {H})
kept.append(r)

r = {H}.view(-1)
{S} = r[::2].sum()

one, two = {H}.split([1, 2], 1)
{C} = one + two.sum(1, keepdim=True)
kept.append(two)

r = {H}.narrow(1, 0, 2)
log.shared(r, {H}, r.t())

r = {H}.T
log.facts(r, r[0])
refs.append(weakref.ref(r))
"""

LOOKS = """\
# each
log({S}.item())
log.text({S})
log.text({H})
log.text(f"{{S}.item():.3f}")
log(float({S}))
log({H}.tolist())
log({H}.detach().numpy().copy())
kept.append({H}.detach().numpy())
kept.append({H})
kept.append(({S}, {H}.t()))
log({H})
log({S}, {B})
log.facts({H}, {B}, {C}, {S})
log.tail({S})
log.shared({H}, {H}, {B}, x, w)
refs.append(weakref.ref({H}))
log({H}.requires_grad, {H}.is_leaf, {H}._version, {H}.shape, {H}.stride(), {H}.is_contiguous())
log(type({H}.grad_fn).__name__, {H}.grad_fn is {H}.grad_fn)
log({H}.argmax(1), {H} > 0)
log(bool({S} > 0), ({H} > 100).any())
log({H} is {H}, {H}.data_ptr() == {H}.data_ptr())
log(copy.deepcopy({H}.detach()))
log(pickle.loads(pickle.dumps({S}.detach())))
log({H}.grad is None if {H}.is_leaf else 0)
log.text(v)
log(v.tolist(), w.detach().clone(), len(pickle.dumps(v)) > 9)
log(len({H}), {H}.dim(), {H}.numel(), {H}.dtype, {H}.device, {H}.element_size())
last = {H}.detach() if len({H}) == n else last
log(hash({H}) == hash({H}), {H} in [{H}])
log(np.asarray({H}.detach()).sum())
log([row.item() for row in {B}])
log(repr({B}.sum(0, keepdim=True).detach() > 0))
log.text(torch.tensor([k, 1]) + {B}[:2].detach().to(torch.int64))

r = {H} * 1
refs.append(weakref.ref(r))
{H} = r + 1
del r

with torch.no_grad():
    r = {H} * 2
log(r)

with torch.no_grad():
    log(({H} - y).abs().max().item())

with torch.inference_mode():
    log(({H} * 2).sum().item())

{H}.tag = k
log(getattr({H}, "tag", None))

if {S}.isnan():
    {S} = z.detach() * 0
"""

WRITES = """\
# each
{H} = ({H} * 1).add_({f})
{H}.mul_(0.5)
{H} += 1
{H} *= {B}
{H}[0] = {f}
{H}[:, 1] = {B}[1]
{B}[1:] *= 2
{H}.data.add_(0.01)
x.add_(0.01)
x.data = x.data * 0.99
data.mul_(0.99)
data = data + 0.01
array *= 0.99
torch.add({H}.detach(), 1, out=last)
{H}.relu_()
{H} = F.relu({H}, inplace=True)
{S}.add_(1)
last.copy_(torch.ones(n, 3) * k)
{H}.detach().numpy()[...] = 0.5
{H}.swapaxes(0, 1)[0].data[...] = k
{H} = torch.relu({H}).masked_fill_({H} > 1, 1.0)

r = {H}.clone()
r[1:].mul_(2)
{H} = r

r = {H} * 1
r.t()[0] = 0.25
{H} = r

with torch.no_grad():
    {H}.fill_(0.25)

r = torch.empty(3)
torch.exp({B}.detach(), out=r)
{B} = {B} * r.to({B}.dtype)

r = torch.zeros_like({H})
r[:, {i}] = {H}[:, 0]
{H} = {H} + r

r = {H}.detach()
r.zero_()

if kept and isinstance(kept[-1], torch.Tensor):
    kept[-1].detach().mul_(2)

y = y.clone()
y[0] = k

r = torch.from_numpy(array)
array[0] = k
{S} = {S} + r.sum().to({S}.dtype)
array[1] = 0
"""

ERRORS = """\
# each
{H} @ {H}
torch.zeros(2, 7) + {H}
{H}.view(7, 11)
raise KeyError(k)
log(F.binary_cross_entropy({H}, y.sigmoid()))
{H}.backward()
F.cross_entropy({H}, t + 2)
{H}[9]
torch.tensor([k]).requires_grad_()
{B}.requires_grad_(False)
w.mul_(2)
{S}.numpy()
{H}.t().detach_()
1 / k

if {S} > 0.3:
    raise ValueError("on purpose")

{H}.sum().backward()
{H}.sum().backward()

try:
    {H} + torch.ones(5, 5)
finally:
    log({S})

if {H}:
    pass
"""

EVENTS = {"": """\
# each
params[0].grad = None
kept.append(v.grad)
log([p.grad for p in params])
log.facts(*params)
kept.append(loss)
kept.append(loss.detach())
kept.append(loss.item())
log.tail(loss)
loss.register_hook(lambda gradient: gradient * 0.5)
handles.append(w.register_hook(lambda gradient: log.facts(gradient)))
handles.append(v.register_hook(lambda gradient: gradient * 2))
handles.append(v.register_post_accumulate_grad_hook(lambda p: log(p.grad)))
loss.backward()
loss.backward(retain_graph=True)
v.requires_grad_(k % 2 == 0)
w.requires_grad_(not w.requires_grad)
log(torch.autograd.grad(loss, [v], retain_graph=True, allow_unused=True))
log(torch.autograd.grad((w * w).sum(), w, create_graph=True))
nn.utils.clip_grad_norm_(params, 1.0)
log(nn.utils.clip_grad_norm_(params, 0.5))
nn.utils.clip_grad_value_(params, 0.05)
raise ValueError("on purpose")
log.alive(*refs)
del kept[:]
target = target.clone()
log(torch.autograd.functional.jacobian(torch.tanh, torch.ones(2)))
log(copy.deepcopy(v))
v.data[0] = 0.5
v.data = v.data.clone()
v.data.mul_(0.9)
params.reverse()
loss = loss * 1
warnings.warn(f"round {k}")
log(v.grad is v.grad, None if v.grad is None else v.grad._version)
torch.set_grad_enabled(True)
v.copied = v.detach().clone()

p = params[k % len(params)]
p.data = p.data * 0.9

p = params[k % len(params)]
with torch.no_grad():
    p.add_(0.01)

if v.grad is not None:
    v.grad.mul_(0.5)

if v.grad is not None:
    v.grad = v.grad * 0.5

if v.grad is not None:
    v.grad.zero_()

refs.append(weakref.ref(loss))
kept.append(loss)

if handles:
    handles.pop().remove()

h.retain_grad()
kept.append(h)

if kept and isinstance(kept[-1], torch.Tensor) and not kept[-1].shape:
    kept[-1].backward()

with torch.no_grad():
    log((v * 2).sum().item(), loss)

with torch.no_grad():
    for p in params:
        p -= 0.01

with torch.autograd.set_detect_anomaly(True):
    (v * 2).sum().backward()

with torch.set_grad_enabled(k % 2 == 0):
    log.facts(v * 2)

for one in kept[-2:]:
    if isinstance(one, torch.Tensor):
        log(one)
        log.tail(one)

if kept and isinstance(kept[-1], torch.Tensor):
    target = target + kept[-1].detach().mean()

reader = threading.Thread(target=log, args=(loss,))
reader.start()
reader.join()

same = v.detach()
log.shared(same, v, v.data)
kept.append(same)

log(v.data.clone().sum().item(), h.max(1)[1].eq(t).sum().item())

r = (loss.exp() + 1).log()
kept.append(r)
log(r.item())

v.data.clamp_(-0.4, 0.4)
with torch.no_grad():
    w.clamp_(-0.6, 0.6)

with torch.no_grad():
    r = h.max(1)[0].mean()
target = target + 0.01 * r

array = array + 0.001 * loss.detach().numpy()
kept.append(v.detach().numpy())

# each
kept.append(loss.detach().numpy())
kept.append(loss.data.numpy()); log(loss.detach())
loss.data.numpy()[...] = 0.25; log(loss)
r = (h.argmax(1) == t).sum().numpy(); kept.append(r)
log(y.numpy().sum())
y.numpy()[...] *= 0.9
""", "random": """\
# each
log(torch.rand(2))
torch.manual_seed(k)
log(torch.randint(0, 10, (3,)), torch.initial_seed())

state = torch.get_rng_state()
log(torch.randn(2))
torch.set_rng_state(state)
""", "opt": """\
# each
opt.param_groups[0]["lr"] *= 0.9
opt.param_groups[0]["weight_decay"] = 0.01
opt.load_state_dict(opt.state_dict())
opt.load_state_dict(copy.deepcopy(opt.state_dict()))
log(opt.state_dict())
opt.state[v].clear()
handles.append(opt.register_step_pre_hook(lambda *args: log(v.grad)))
handles.append(opt.register_step_post_hook(lambda *args: log(v)))
opt.zero_grad()
opt.zero_grad(set_to_none=False)
opt.step()
log.text(opt)
opt.param_groups[0]["params"].reverse()
opt.param_groups[0]["maximize"] = k % 2 == 1
opt = torch.optim.SGD(params, lr=0.01, momentum=0.5)

for group in opt.param_groups:
    group["lr"] = 0.01 / (k + 1)

for one in opt.state.values():
    for name, value in one.items():
        if isinstance(value, torch.Tensor) and value.dim():
            value.mul_(0.5)

for one in list(opt.state.values()):
    log([name for name in one])

if len(opt.param_groups) == 1:
    opt.add_param_group({"params": [torch.ones(2, requires_grad=True)], "lr": 0.5})

for one in opt.state.values():
    if "exp_avg" in one:
        one["exp_avg"] = one["exp_avg"].clone()

opt = copy.deepcopy(opt)
params = [p for group in opt.param_groups for p in group["params"]]

scheduler = torch.optim.lr_scheduler.StepLR(opt, 2, gamma=0.8)
scheduler.step()

scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, 0.95)
for _ in range(2):
    opt.step()
    scheduler.step()
""", "net": """\
# each
net.eval()
net.train(k % 2 == 0)
net.zero_grad()
net.zero_grad(set_to_none=False)
net.requires_grad_(k % 3 != 1)
net.load_state_dict(net.state_dict())
log(net.state_dict())
log(copy.deepcopy(net).state_dict())
log(pickle.loads(pickle.dumps(net)).state_dict() if type(net) is nn.Sequential else 0)
net.scale = 0.1 * k
handles.append(net.register_forward_hook(lambda module, args, out: out * 1.5))
handles.append(net.register_forward_hook(lambda module, args, out: log.facts(out)))
handles.append(net.register_forward_pre_hook(lambda module, args: log.facts(*args)))
handles.append(net.register_full_backward_hook(lambda module, into, out: log(out)))
net = copy.deepcopy(net)
log.text(net)
net.double().to(torch.get_default_dtype())

file = io.BytesIO()
torch.save(net.state_dict(), file)
file.seek(0)
log(torch.load(file))

with torch.no_grad():
    log(net(data) if not isinstance(net, nn.RNNCell) else 0)

net.eval()
with torch.no_grad():
    log(h.mean(), loss)
net.train()

if isinstance(net, nn.Sequential):
    net[1] = nn.Tanh() if k % 2 else nn.Identity()

if isinstance(net, nn.Sequential):
    net[0].bias = nn.Parameter(net[0].bias.data * 0.5)

for name, p in net.named_parameters():
    if "bias" in name:
        p.requires_grad_(False)

for module in net.modules():
    log(module.training)

vector = nn.utils.parameters_to_vector(net.parameters())
nn.utils.vector_to_parameters(vector * 0.99, net.parameters())
""", "net random": """\
if isinstance(net, nn.Sequential):
    net[0] = nn.Linear(2, net[0].out_features)
"""}

CONDITIONS = ["k == {round}", "k == {round}", "k in ({round}, {round})", "k % {m} == 1",
              "chance.random() < 0.3", "{S} > 0.2", "{H}[0, 0] > 0", "{H}.max() < 1", "k > {round}",
              "{B}.sum().item() > 0", "not torch.isfinite({S})"]
AFTERWARDS = ["k == {round}", "k == {round}", "k in ({round}, {round})", "k % {m} == 1",
              "chance.random() < 0.3", "loss > 0.5", "k > {round}", "loss.item() < 0.4",
              "v[0] > 0.3"]

LOSSES = """\
# each
F.mse_loss(h, y) + {S}.tanh()
((h - y) ** 2).mean() + {B}.sum().tanh() * 0.1
nn.MSELoss()({H}.tanh(), y) + 0.1 * (w * w).sum()
F.cross_entropy({H}, t) + (c * d).mean().tanh()
F.l1_loss({H}, y) + (v ** 2).sum()
F.binary_cross_entropy(torch.sigmoid(h), y.sigmoid())
F.binary_cross_entropy_with_logits({H}, (y > 0).to(h.dtype))
torch.tanh({H} * {B}).pow(2).mean() + sum((p * p).sum() for p in params) * 0.1
nn.CrossEntropyLoss()(h, t) + {S}.tanh() + {H}.mean().tanh()
F.smooth_l1_loss(h, y) + {C}.mean().tanh()
"""

OPTIMIZERS = """\
# each
SGD(PARAMS, lr=0.05)
SGD(PARAMS, lr=0.02, momentum=0.9)
SGD(PARAMS, lr=0.02, momentum=0.5, nesterov=True, weight_decay=0.01)
Adam(PARAMS, lr=0.01, eps=1e-2)
AdamW(PARAMS, lr=0.01, eps=1e-2, weight_decay=0.1)
Adam(PARAMS, lr=0.01, eps=1e-2, amsgrad=True)
RMSprop(PARAMS, lr=0.01, eps=1e-2)
Adagrad(PARAMS, lr=0.05, eps=1e-2)
Adadelta(PARAMS, eps=1e-2)
NAdam(PARAMS, lr=0.01, eps=1e-2)
SGD([{"params": params[:1], "lr": 0.01}, {"params": params[1:]}], lr=0.05)
"""

CLIPPING = """\
# each
pass
pass
nn.utils.clip_grad_norm_(params, 1.0)
nn.utils.clip_grad_value_(params, 0.1)
"""

BACKWARD = ["loss.backward()"] * 9 + ["loss.backward(retain_graph=True)", "(loss * 2).backward()",
                                      "torch.autograd.backward([loss])",
                                      "loss.backward(torch.ones_like(loss))"]

UPDATES = """\
for p in params:
    if p.grad is not None:
        p.data = p.data - 0.05 * p.grad
        p.grad = None

with torch.no_grad():
    for p in params:
        if p.grad is not None:
            p -= 0.05 * p.grad
            p.grad.zero_()

for p in params:
    if p.grad is not None:
        p.data -= 0.05 * p.grad
        p.grad = None

for p in params:
    if p.grad is not None:
        p.data.add_(p.grad, alpha=-0.05)
        p.grad = torch.zeros_like(p)
"""
