"""Random training programs: source text drawn from a seed."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from statements import (
    AFTERWARDS,
    ALL,
    BACKWARD,
    CLIPPING,
    COMPUTE,
    CONDITIONS,
    ERRORS,
    EVENTS,
    FEEDS,
    LOOKS,
    LOSSES,
    NAMES,
    OPTIMIZERS,
    START,
    UPDATES,
    VIEWS,
    WRITES,
)

__all__ = ["program"]

BLANK = re.compile(r"\{(" + "|".join([*NAMES, "round"]) + r")\}")

BEGINNING = """\
import copy, io, pickle, random, threading, warnings, weakref
import numpy as np
import kkori as torch
from kkori import nn
import kkori.nn.functional as F
torch.manual_seed(SEED)
chance = random.Random(SEED)
"""

DATA = """\
n = {n}
data, target = torch.randn(n, 2), torch.randn(n, 3)
labels, array = torch.arange(n) % 3, np.ones((n, 2)) * 0.5
kept, refs, handles, micro = [], [], [], {m}
last = torch.zeros(n, 3)
"""

MODELS = {
    "parameters": ("", """\
w = (torch.randn(2, 3) * 0.5).requires_grad_()
v = torch.full((3,), 0.5, requires_grad=True)
params = [w, v]
""", "x @ w + v"),
    "one tensor": ("", """\
v = torch.tensor([0.1, 0.2, -0.3], requires_grad=True)
w, params = v, [v]
""", "x[:, :1] * v"),
    "double": ("rare", """\
w = torch.eye(2, 3, dtype=torch.float64).requires_grad_()
v = torch.zeros(3, dtype=torch.float64, requires_grad=True)
params = [w, v]
""", "x.double() @ w + v"),
    "sequential": ("net", """\
net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
params, w, v = list(net.parameters()), net[0].weight, net[2].bias
""", "net(x)"),
    "deeper": ("net rare", """\
net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 4), nn.ELU(), nn.Linear(4, 3))
params, w, v = list(net.parameters()), net[2].weight, net[4].bias
""", "net(x)"),
    "dropout": ("net random", """\
net = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.3), nn.Linear(4, 3))
params, w, v = list(net.parameters()), net[0].weight, net[2].bias
""", "net(x)"),
    "norms": ("net rare", """\
net = nn.Sequential(nn.Linear(2, 4), nn.{norm}(4), nn.Linear(4, 3))
params, w, v = list(net.parameters()), net[0].weight, net[2].bias
""", "net(x)"),
    "module": ("net rare", """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.scale = nn.Linear(2, 4), nn.Linear(4, 3), 0.5
        self.table = nn.Embedding(3, 3)
        self.register_buffer("seen", torch.zeros(3))
    def forward(self, x):
        h = torch.relu(self.one(x))
        if {branch}:
            h = h * self.scale
        found = self.two(h) + self.table(labels[:len(x)])
        {tracking}
        return found
net = Net()
params, w, v = list(net.parameters()), net.one.weight, net.two.bias
""", "net(x)"),
    "recurrent": ("net rare", """\
net = nn.RNNCell(2, 3)
params, w, v = list(net.parameters()), net.weight_ih, net.bias_hh
""", "net(x, last[:len(x)])"),
    "images": ("net rare", """\
net = nn.Sequential(nn.Linear(2, 20), nn.Unflatten(1, (1, 4, 5)), nn.Conv2d(1, 2, (1, 2)),
                    nn.{activation}(), nn.{pool}, nn.Flatten(), nn.Linear(8, 3))
params, w, v = list(net.parameters()), net[0].weight, net[6].bias
""", "net(x)"),
    "heads": ("net rare", """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.both, self.out = nn.Linear(2, 12), nn.Linear(4, 3)
    def forward(self, x):
        q, k, u = (one.view(len(x), 2, 2).transpose(0, 1) for one in self.both(x).split(4, 1))
        found = (q @ k.transpose(1, 2) * 0.7).softmax(-1) @ u
        return self.out(found.transpose(0, 1).reshape(len(x), 4))
net = Net()
params, w, v = list(net.parameters()), net.both.weight, net.out.bias
""", "net(x)"),
    "tied": ("net", """\
net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.Sigmoid(), nn.Linear(3, 3))
net[3].weight = net[1].weight
params, w, v = list(net.parameters()), net[1].weight, net[3].bias
""", "net(x)"),
}

# Loops. A line @name is replaced by statements drawn from a table; ROUNDS by a number.
LOOPS = {
    "standard": (6, "opt", """\
opt = torch.optim.@optimizer
@schedule
for k in range(ROUNDS):
    try:
        @zero before
        @forward
        loss = @loss
        @zero middle
        @events
        @backward
        @events
        @clip
        opt.step()
        @step schedule
        @events
        @zero after
    except Exception as error:
        log.error(error)
        opt.zero_grad()
"""),
    "closure": (1, "opt", """\
opt = torch.optim.@optimizer
for k in range(ROUNDS):
    def closure():
        opt.zero_grad()
        @forward
        loss = @loss
        loss.backward()
        return loss
    try:
        loss = opt.step(closure)
        @events
    except Exception as error:
        log.error(error)
"""),
    "adversaries": (1.5, "opt random", """\
judge = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.2), nn.Linear(4, 1))
opt = torch.optim.@optimizer
other = torch.optim.Adam(judge.parameters(), lr=0.01, eps=1e-2)
for k in range(ROUNDS):
    try:
        @forward
        other.zero_grad()
        r = F.softplus(-judge(y)).mean() + F.softplus(judge(h.detach().to(y.dtype))).mean()
        r.backward()
        @events
        other.step()
        opt.zero_grad()
        loss = F.softplus(-judge(h.to(y.dtype))).mean() + 0.1 * @loss
        loss.backward()
        @events
        opt.step()
        log(r.item(), loss)
    except Exception as error:
        log.error(error)
        opt.zero_grad()
"""),
    "accumulation": (1.5, "opt", """\
opt = torch.optim.@optimizer
for k in range(ROUNDS):
    try:
        for part in range(micro):
            @forward
            loss = (@loss) / micro
            @backward
            @events
        @clip
        opt.step()
        @events
        opt.zero_grad()
    except Exception as error:
        log.error(error)
        opt.zero_grad()
"""),
    "two on one graph": (1, "opt", """\
opt = torch.optim.@optimizer
other = torch.optim.Adagrad(params[:1], lr=0.01, eps=1e-2)
for k in range(ROUNDS):
    try:
        @forward
        loss = @loss
        opt.zero_grad()
        other.zero_grad()
        @backward
        @events
        opt.step()
        other.step()
        @events
    except Exception as error:
        log.error(error)
        opt.zero_grad()
"""),
    "by hand": (2, "", """\
for k in range(ROUNDS):
    try:
        @forward
        loss = @loss
        @events
        @backward
        @events
        @update
        @events
    except Exception as error:
        log.error(error)
        for p in params:
            p.grad = None
"""),
    "autograd.grad": (1, "", """\
for k in range(ROUNDS):
    try:
        @forward
        loss = @loss
        @events
        grads = torch.autograd.grad(loss, params, allow_unused=True)
        with torch.no_grad():
            for p, grad in zip(params, grads):
                if grad is not None:
                    p.sub_(0.05 * grad)
        @events
    except Exception as error:
        log.error(error)
"""),
    "taken gradients": (1, "", """\
state = [torch.zeros_like(p) for p in params]
for k in range(ROUNDS):
    try:
        @forward
        loss = @loss
        grads = torch.autograd.grad(loss, params, allow_unused=True, retain_graph=k % 9 == 8)
        @events
        for place, (p, grad) in enumerate(zip(params, grads)):
            if grad is not None and k > 2:
                state[place] = 0.9 * state[place] + 0.1 * grad
                p.data = p.data - 0.05 * state[place] / (1 - 0.9 ** k)
        if k % 5 == 4:
            kept.append(grads[0])
        @events
    except Exception as error:
        log.error(error)
"""),
    "derivatives": (1, "opt", """\
opt = torch.optim.@optimizer
for k in range(ROUNDS):
    try:
        @forward
        slope, = torch.autograd.grad(h.tanh().sum(), v, create_graph=True, allow_unused=True)
        loss = (@loss) + (0 if slope is None else (slope ** 2).mean())
        @events
        opt.zero_grad()
        loss.backward()
        @events
        opt.step()
        @events
    except Exception as error:
        log.error(error)
        opt.zero_grad()
"""),
    "loader": (1.5, "opt random", """\
from kkori.utils.data import DataLoader, TensorDataset
opt = torch.optim.@optimizer
loader = DataLoader(TensorDataset(data, target, labels), batch_size=micro + 2, shuffle=True)
scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)
k = 0
for epoch in range(ROUNDS // 2):
    total = 0
    for x, y, t in loader:
        k += 1
        try:
            @forward without feed
            loss = @loss
            @backward
            opt.step()
            @events
            opt.zero_grad()
            total += loss.item() * len(x)
        except Exception as error:
            log.error(error)
            opt.zero_grad()
    log(total)
    scheduler.step()
"""),
    "function": (1.5, "opt", """\
opt = torch.optim.@optimizer
def train(k, x, y, t):
    @forward without feed
    loss = @loss
    opt.zero_grad()
    @backward
    @events
    opt.step()
    return h, loss
for k in range(ROUNDS):
    try:
        @feed
        h, loss = train(k, x, y, t)
        @events
    except Exception as error:
        log.error(error)
"""),
    "inference": (0.5, "opt", """\
opt = torch.optim.@optimizer
for k in range(ROUNDS):
    try:
        with torch.no_grad():
            @forward
            log((@loss).item())
        @forward
        loss = @loss
        loss.backward()
        opt.step()
        for _ in range(k % 3):
            with torch.no_grad():
                loss = @loss
                kept.append(loss)
        @events
        opt.zero_grad()
    except Exception as error:
        log.error(error)
        opt.zero_grad()
"""),
    "calls": (1.5, "opt", """\
opt = torch.optim.@optimizer
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net
    def forward(self, x, y, t, k=0):
        @forward without feed
        @events
        loss = @loss
        return h, loss
model = Model()
for k in range(ROUNDS * 2):
    try:
        @feed
        with torch.no_grad():
            h, loss = model(x, y, t, k)
        @events
        if k % 5 == 4:
            @forward without feed
            loss = @loss
            loss.backward()
            opt.step()
            opt.zero_grad()
        with torch.no_grad():
            log(net(x))
    except Exception as error:
        log.error(error)
        opt.zero_grad()
"""),
    "growing": (0.5, "opt", """\
opt = torch.optim.@optimizer
total = 0
for k in range(ROUNDS):
    try:
        @forward
        loss = @loss
        total = total + loss
        if k % micro == 0:
            opt.zero_grad()
            total.backward()
            total = 0
            opt.step()
        @events
    except Exception as error:
        log.error(error)
        total = 0
"""),
}

THREADS = """\
setting_up = threading.Lock()
def train(seed, log):
    chance = random.Random(seed)
    with setting_up:
        torch.manual_seed(seed)
        @setup
    @loop
    log(params, kept)
    log.count()
logs = [Log() for _ in range(3)]
threads = [threading.Thread(target=train, args=(number, one)) for number, one in enumerate(logs)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for one in logs:
    log.add(one.seen)
"""

END = """\
log.count()
log(params, [p.grad for p in params], [p.is_leaf for p in params])
log(kept, last, data)
log.alive(*refs)
if kept and isinstance(kept[-1], torch.Tensor):
    log.tail(kept[-1])
    log.shared(kept[-1], *params)
"""


class Writer:
    """Draws one program."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.steady = self.random.random() < 0.6  # most rounds are alike
        self.rounds = self.random.choice([14, 16, 20, 30] if self.steady else [8, 10, 12, 25])
        self.wild = self.random.random()
        self.has: set[str] = set()

    def program(self) -> str:
        """The whole program."""
        threads = self.random.random() < 0.05
        setup, loop = self.setup(threads), self.loop()
        body = setup + loop + END
        if threads:
            place = {"setup": setup, "loop": loop}
            body = "from watch import Log\n" + "".join(
                indented(place[line.strip()[1:]], line) if line.strip().startswith("@") else line
                for line in THREADS.splitlines(True))
        elif self.random.random() < 0.5:
            body = "def main():\n" + indented(body + "log(h, loss)\n", "    ") + "main()\n"
        default = "" if self.random.random() < 0.7 else "torch.set_default_dtype(torch.float64)\n"
        end = "" if threads else "log(torch.rand(2), chance.random(), torch.is_grad_enabled())\n"
        return BEGINNING.replace("SEED", str(self.seed)) + default + body + end

    def setup(self, threads: bool) -> str:
        """Data and model."""
        may = {"net"} | (set() if threads else {"random"}) | (
            set() if self.steady or self.random.random() < 0.3 else {"rare"})
        names = [name for name in MODELS if may.issuperset(MODELS[name][0].split())]
        has, model, self.forward_start = MODELS[self.random.choice(names)]
        self.has = may - {"net"} | {*has.split()}
        self.feed = self.statement(FEEDS)
        model = model.replace("{norm}", self.random.choice(["LayerNorm", "BatchNorm1d"]))
        model = model.replace("{activation}", self.random.choice(["ReLU", "Tanh", "Sigmoid"]))
        model = model.replace("{pool}", self.random.choice(
            ["MaxPool2d(2)", "AvgPool2d(2)", "MaxPool2d(3, 2, 1)", "AvgPool2d(3, 2, 1)"]))
        model = model.replace("{branch}", self.random.choice(
            ["self.training", "h.sum() > 1", "len(x) > 4", "h.mean().item() > 0.2"]))
        model = model.replace("{tracking}", self.random.choice(
            ["pass", "self.seen += found.detach().mean(0)", "self.last = found",
             "self.seen = found.detach().mean(0)"]))
        setup = DATA.replace("{n}", str(self.random.randint(4, 9))).replace(
            "{m}", str(self.random.randint(2, 3)))
        return setup + model

    def loop(self) -> str:
        """The training loop."""
        able = {name: loop for name, loop in LOOPS.items()
                if "random" not in loop[1] or "random" in self.has}
        name = self.random.choices(list(able), [loop[0] for loop in able.values()])[0]
        self.has |= {*able[name][1].split()}
        self.zero = self.random.choice(["before", "middle", "after"] + (
            [] if self.steady else ["never", "zeros"]))
        self.clip = "" if self.steady else self.choose(CLIPPING)
        self.all_used = self.random.random() < (1 if self.steady else 0.6)  # by the loss
        self.lets_go = name != "inference" and self.random.random() < 0.7
        self.scheduled = self.random.random() < 0.2
        self.forward_text = self.forward()
        return "".join(self.expand(able[name][2]))

    def expand(self, text: str) -> Iterator[str]:
        """The lines of a loop, with statements in place of ``@names``."""
        for line in text.replace("ROUNDS", str(self.rounds)).splitlines(True):
            head, mark, name = line.rstrip("\n").partition("@")
            if not mark:
                yield line
            elif head.strip():  # an expression in a line
                word = name.split(")")[0]
                table = {"loss": LOSSES, "optimizer": OPTIMIZERS}[word]
                found = self.fill(self.choose(table)).strip().replace("PARAMS", "params")
                if word == "loss" and self.all_used:
                    found += " + " + ALL
                yield head + found + name[len(word):] + "\n"
                if word == "loss" and self.lets_go:
                    yield indented("g = u = b = q = c = d = s = z = None", head)
            else:
                yield indented(self.lines(name), head)

    def lines(self, name: str) -> str:
        """What stands for ``@name``."""
        zero = "opt.zero_grad(set_to_none=False)" if self.zero == "zeros" else "opt.zero_grad()"
        place = "after" if self.zero == "zeros" else self.zero
        return {"forward": lambda: self.feed + self.forward_text,
                "feed": lambda: self.feed, "forward without feed": lambda: self.forward_text,
                "events": self.events, "clip": lambda: self.clip,
                "backward": lambda: self.random.choice(BACKWARD[:9 if self.steady else None]),
                "update": lambda: self.choose(UPDATES),
                "schedule": lambda: "scheduler = torch.optim.lr_scheduler.StepLR(opt, 3, 0.7)"
                if self.scheduled else "",
                "step schedule": lambda: "scheduler.step()" if self.scheduled else "",
                }.get(name, lambda: zero if name == f"zero {place}" else "")()

    def forward(self) -> str:
        """A forward pass: what every round begins with, then what was drawn."""
        found = [f"h = {self.forward_start}\n", START]
        tables = [COMPUTE, VIEWS, LOOKS, WRITES, ERRORS]
        wild = self.wild
        weights = [10, 2, 4 * wild, 2 * wild ** 2, wild ** 2]
        for _ in range(self.random.randint(1, 12)):
            table = self.random.choices(tables, weights)[0]
            text = self.fill(self.statement(table) if isinstance(table, dict)
                             else self.choose(table))
            often = [0.1, 0.9, 1, 1, 1] if self.steady else [0.15, 0.2, 0.6, 0.4, 0.95]
            found.append(self.sometimes(text, often[tables.index(table)], CONDITIONS))
        return "".join(found)

    def events(self) -> str:
        """What happens around backward() and step()."""
        found = ""
        for _ in range(self.random.choice([0, 0, 0, 1, 1, 2]) if self.wild > 0.1 else 0):
            text = self.fill(self.statement(EVENTS))
            found += self.sometimes(text, 1 if self.steady else 0.8, AFTERWARDS)
        return found

    def sometimes(self, text: str, probability: float, conditions: list[str]) -> str:
        """`text`, in some rounds only with this probability."""
        if self.random.random() > probability:
            return text
        first = conditions.index("k == {round}")
        condition = self.fill(self.random.choice(
            conditions[first:first + 3] if self.steady else conditions))
        return f"if {condition}:\n" + indented(text, "    ")

    def statement(self, table: dict[str, str]) -> str:
        """One statement of those that this program can have."""
        return self.random.choice([text for need, group in table.items()
                                   if self.has.issuperset(need.split())
                                   for text in parts(group)])

    def choose(self, table: str) -> str:
        return self.random.choice(list(parts(table)))

    def fill(self, text: str) -> str:
        """`text` with names drawn."""
        return BLANK.sub(lambda found: self.name(found[1]), text)

    def name(self, kind: str) -> str:
        if kind == "round":
            return str(self.random.randint(self.rounds // 3, self.rounds))
        return self.random.choice(NAMES[kind])


def parts(table: str) -> Iterator[str]:
    """The statements in a table."""
    for paragraph in table.rstrip("\n").split("\n\n"):
        if paragraph.startswith("# each\n"):
            yield from (line + "\n" for line in paragraph.splitlines()[1:])
        else:
            yield paragraph + "\n"


def indented(text: str, by: str) -> str:
    by = by[:len(by) - len(by.lstrip())]
    return "".join(by + line for line in text.splitlines(True)) + (
        "" if not text or text.endswith("\n") else "\n")


def program(seed: int) -> str:
    """The program of a seed, as source text."""
    return Writer(seed).program()
