"""Random training programs: a script is drawn from a seed, then run like any program."""

from __future__ import annotations

import random

import numpy as np

import kkori as torch

SHAPES = [(), (3,), (4, 3), (1, 3), (4, 1)]
UNARY = ["relu", "tanh", "exp", "sin", "square", "neg", "abs", "sigmoid"]
BINARY = ["add", "sub", "mul", "maximum"]
VIEWS = ["t", "flatten", "unsqueeze", "first", "expand", "reshape"]
LOOKS = [
    "item",
    "print",
    "numpy",
    "detach",
    "data",
    "keep",
    "shape",
    "grad_fn",
    "bool",
    "version",
    "copy",
    "requires",
    "leaf",
]
WRITES = ["add_", "mul_", "data.add_", "index", "fill", "input.add_", "input.data", "numpy"]
BETWEEN = [
    "param.data",
    "param.add_",
    "lr",
    "eval",
    "raise",
    "grad.mul_",
    "grad.assign",
    "grad.none",
    "load",
    "random",
    "momentum",
    "grad.keep",
    "backward",
    "hook",
    "swap",
    "nothing",
    "nothing",
    "nothing",
    "nothing",
]
OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("Adam", {}),
    ("AdamW", {}),
    ("RMSprop", {}),
    ("Adagrad", {}),
    ("SGD", {"weight_decay": 0.01, "nesterov": True, "momentum": 0.5}),
]


class Script:
    """One program: what is done in a round, where, and in which rounds."""

    def __init__(self, seed):
        draw = random.Random(seed)
        self.params = [draw.choice(SHAPES) for _ in range(draw.randint(1, 3))]
        self.inputs = [draw.choice(SHAPES) for _ in range(draw.randint(1, 3))]
        self.optimizer = draw.choice(OPTIMIZERS)
        self.rounds = draw.randint(14, 28)
        self.zero = draw.choice(
            ["after", "before", "middle", "zeros", "never"][: draw.randint(1, 5)]
        )
        self.numpy_inputs = draw.random() < 0.3
        self.holds = draw.random() < 0.15  # everything is held until the step is over
        wild = draw.random()
        self.steps = [self.step(draw, wild) for _ in range(draw.randint(2, 10))]
        self.events = [
            self.when(draw, draw.choice(BETWEEN)) for _ in range(draw.randint(0, 3)) if wild > 0.3
        ]

    def step(self, draw, wild):
        kind = draw.choices(
            ["unary", "binary", "view", "scalar", "look", "write", "sum"],
            [4, 6, 2, 3, 2 * wild, wild**2, 1],
        )[0]
        name = draw.choice(
            {
                "unary": UNARY,
                "binary": BINARY,
                "view": VIEWS,
                "look": LOOKS,
                "write": WRITES,
                "scalar": BINARY,
                "sum": ["sum", "mean"],
            }[kind]
        )
        what = (
            kind,
            name,
            draw.randrange(100),
            draw.randrange(100),
            draw.choice([0.5, -0.0, 2, 1.5]),
        )
        return self.when(draw, what)

    def when(self, draw, what):
        """Always, every few rounds, in one round, or by chance."""
        kind = draw.choices(["always", "every", "once", "chance"], [9, 1, 3, 1])[0]
        return what, kind, draw.randint(2, 5), draw.randint(0, self.rounds)


def wanted(kind, number, place, k, chance):
    return (
        kind == "always"
        or kind == "every"
        and k % number == 0
        or kind == "once"
        and (k == place)
        or kind == "chance"
        and chance.random() < 0.3
    )


def fresh(shape, scale=1.0):
    return torch.randn(shape) * scale


class Program:
    """A script while it runs."""

    def __init__(self, script, log):
        self.script, self.log, self.kept = script, log, []
        self.chance = random.Random(7)
        self.params = [fresh(shape, 0.3).requires_grad_() for shape in script.params]
        self.arrays = [np.array(fresh(shape), dtype=np.float32) for shape in script.inputs]
        self.inputs = [
            torch.from_numpy(a) if script.numpy_inputs else torch.tensor(a) for a in self.arrays
        ]
        name, options = script.optimizer
        self.opt = getattr(torch.optim, name)(self.params, lr=0.01, **options)

    def run(self):
        for k in range(self.script.rounds):
            try:
                self.round(k)
            except (RuntimeError, ValueError, LookupError) as error:
                self.log(type(error).__name__, str(error).splitlines()[0])
                self.opt.zero_grad()
        self.log(self.params, [p.grad for p in self.params], self.kept)
        self.log([[name, value] for p in self.params for name, value in self.opt.state[p].items()])

    def round(self, k):
        script = self.script
        if script.zero == "before":
            self.opt.zero_grad()
        loss, values = self.forward(k)
        if not script.holds:
            del values
        if script.zero == "middle":
            self.opt.zero_grad()
        self.event(k, loss, 0)
        loss.backward()
        self.event(k, loss, 1)
        self.opt.step()
        self.event(k, loss, 2)
        if script.zero == "after":
            self.opt.zero_grad()
        if script.zero == "zeros":
            self.opt.zero_grad(set_to_none=False)

    def forward(self, k):
        values = [*self.params, *self.inputs]
        for (kind, name, one, two, number), how, every, place in self.script.steps:
            if wanted(how, every, place, k, self.chance):
                getattr(self, kind)(values, name, one, two, number)
        loss = values[-1].square().mean() if not values[-1].shape else values[-1].tanh().mean()
        return loss + sum((p * p).sum() for p in self.params), values

    def unary(self, values, name, one, two, number):
        values.append(getattr(values[one % len(values)] * 0.3, name)())

    def binary(self, values, name, one, two, number):
        a, b = values[one % len(values)], values[-1 - two % min(3, len(values))]
        values.append(
            getattr(torch, name)(a, b).tanh() if one % 2 else getattr(torch, name)(a, b) * 0.5
        )

    def scalar(self, values, name, one, two, number):
        a = values[-1 - one % min(3, len(values))]
        values.append(a * number if name == "mul" else a + number if name == "add" else number - a)

    def sum(self, values, name, one, two, number):
        a = values[one % len(values)]
        values.append(getattr(a, name)() if not a.shape or one % 2 else getattr(a, name)(0))

    def view(self, values, name, one, two, number):
        a = values[-1 - one % min(3, len(values))]
        if name == "t":
            a = a.t() if a.dim() < 3 else a
        elif name == "flatten":
            a = a.flatten()
        elif name == "unsqueeze":
            a = a.unsqueeze(0).squeeze(0)
        elif name == "first":
            a = a[0] if a.dim() else a
        elif name == "expand":
            a = a.expand(2, *a.shape).sum(0) if a.dim() < 2 else a
        else:
            a = a.reshape(-1).reshape(a.shape)
        values.append(a)

    def look(self, values, name, one, two, number):
        a = values[-1 - one % min(4, len(values))]
        log = self.log
        if name == "item":
            log(a.sum().item())
        elif name == "print":
            log(len(repr(a)) > 3)
        elif name == "numpy":
            log(a.detach().numpy().sum().item())
        elif name == "detach":
            values.append(a.detach() * 2 + a)
        elif name == "data":
            values.append(a.data + a)
        elif name == "keep":
            self.kept.append(a)
        elif name == "shape":
            log(tuple(a.shape), a.stride(), a.is_contiguous(), a.dtype is torch.float32)
        elif name == "grad_fn":
            log(type(a.grad_fn).__name__)
        elif name == "bool":
            if a.sum() > 0:
                values.append(a * 0.9)
        elif name == "version":
            log(a._version)
        elif name == "copy":
            log(a.detach().clone())
        else:
            log(a.requires_grad, a.is_leaf)

    def write(self, values, name, one, two, number):
        a = values[-1 - one % min(3, len(values))]
        x = self.inputs[two % len(self.inputs)]
        if name == "add_":
            a = a * 1
            values.append(a.add_(number))
        elif name == "mul_":
            a.mul_(number)
        elif name == "data.add_":
            a.data.add_(0.01)
        elif name == "index":
            a[0] = number
        elif name == "fill":
            with torch.no_grad():
                a.fill_(0.25)
        elif name == "input.add_":
            x.add_(0.01)
        elif name == "input.data":
            x.data = x.data * 0.99
        else:
            self.arrays[two % len(self.arrays)][...] *= 0.99

    def event(self, k, loss, where):
        for name, how, every, place in self.script.events:
            if (every + place) % 3 == where and wanted(how, every, place, k, self.chance):
                self.happen(name, k, loss)

    def happen(self, name, k, loss):
        p = self.params[k % len(self.params)]
        g = self.opt.param_groups[0]
        if name == "param.data":
            p.data = p.data * 0.9
        elif name == "param.add_":
            with torch.no_grad():
                p.add_(0.01)
        elif name == "lr":
            g["lr"] *= 0.9
        elif name == "momentum" and "momentum" in g:
            g["momentum"] = 0.3
        elif name == "eval":
            with torch.no_grad():
                self.log((p * 2).sum().item(), (loss * 2).sum())
        elif name == "raise":
            raise ValueError("on purpose")
        elif name == "load":
            self.opt.load_state_dict(self.opt.state_dict())
        elif name == "random":
            self.log(torch.rand(2))
        elif name == "backward":
            loss.backward(retain_graph=k % 2 == 0)
        elif name == "hook":
            loss.register_hook(lambda gradient: gradient * 0.5)
        elif name == "swap":
            self.inputs[0] = self.inputs[0] + 0.1
        elif name == "grad.none":
            p.grad = None
        elif p.grad is not None:
            if name == "grad.mul_":
                p.grad.mul_(0.5)
            elif name == "grad.assign":
                p.grad = p.grad * 0.5
            else:
                self.kept.append(p.grad)
