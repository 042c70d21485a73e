"""Lesson 3: a cubic learns the sine, seven ways from NumPy to a net that changes its mind.

3차 다항식으로 사인 곡선 따라가기: NumPy에서 DynamicNet까지 일곱 가지
"""
import math
import random

import numpy as np
import torch
from pictures import GREY, arguments, plt, save

args = arguments(steps=2000)

x = torch.linspace(-math.pi, math.pi, 2000)
y = torch.sin(x)
RATE = 1e-6
torch.manual_seed(0)
START = torch.randn(4)  # a, b, c, d of a + bx + cx² + dx³: all seven ways begin here
losses = {}             # the loss at every step, for each way


def numpy_alone(log):
    """Every derivative worked out with a pencil."""
    x = np.linspace(-math.pi, math.pi, 2000)
    y = np.sin(x)
    a, b, c, d = START.tolist()
    for _ in range(args.steps):
        y_pred = a + b * x + c * x ** 2 + d * x ** 3
        log.append(np.square(y_pred - y).sum())
        grad_y_pred = 2.0 * (y_pred - y)
        a -= RATE * grad_y_pred.sum()
        b -= RATE * (grad_y_pred * x).sum()
        c -= RATE * (grad_y_pred * x ** 2).sum()
        d -= RATE * (grad_y_pred * x ** 3).sum()
    return a, b, c, d


def tensors(log):
    """The same pencil work on tensors."""
    a, b, c, d = START.clone()
    for _ in range(args.steps):
        y_pred = a + b * x + c * x ** 2 + d * x ** 3
        log.append((y_pred - y).pow(2).sum().item())
        grad_y_pred = 2.0 * (y_pred - y)
        a -= RATE * grad_y_pred.sum()
        b -= RATE * (grad_y_pred * x).sum()
        c -= RATE * (grad_y_pred * x ** 2).sum()
        d -= RATE * (grad_y_pred * x ** 3).sum()
    return a, b, c, d


def autograd(log):
    """backward() does the pencil work."""
    a, b, c, d = weights = [w.clone().requires_grad_() for w in START]
    for _ in range(args.steps):
        y_pred = a + b * x + c * x ** 2 + d * x ** 3
        loss = (y_pred - y).pow(2).sum()
        log.append(loss.item())
        loss.backward()
        with torch.no_grad():  # an update is no part of the formula: leave no tag on it
            for w in weights:
                w -= RATE * w.grad
                w.grad = None
    return weights


loss_fn = torch.nn.MSELoss(reduction="sum")
powers = x.unsqueeze(-1).pow(torch.tensor([1, 2, 3]))  # columns x, x², x³: (2000, 3)


def linear_net():
    """A cubic in x is linear in (x, x², x³)."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0, 1))
    net[0].bias.data = START[:1].clone()
    net[0].weight.data = START[1:].reshape(1, 3).clone()
    return net


def layers(log):
    """A net holds the weights."""
    net = linear_net()
    for _ in range(args.steps):
        loss = loss_fn(net(powers), y)
        log.append(loss.item())
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for w in net.parameters():
                w -= RATE * w.grad
    return *net[0].bias, *net[0].weight[0]


def train(net, inputs, optimizer, log):
    for _ in range(args.steps):
        loss = loss_fn(net(inputs), y)
        log.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def optimizer(log):
    """An optimizer updates them, with a step of its own size for each weight."""
    net = linear_net()
    train(net, powers, torch.optim.RMSprop(net.parameters(), lr=3e-3), log)
    return *net[0].bias, *net[0].weight[0]


class Polynomial3(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (torch.nn.Parameter(w.clone()) for w in START)

    def forward(self, x):
        return self.a + self.b * x + self.c * x ** 2 + self.d * x ** 3


def own_module(log):
    """A module of our own says what it computes."""
    net = Polynomial3()
    train(net, x, torch.optim.SGD(net.parameters(), lr=RATE), log)
    return net.a, net.b, net.c, net.d


class DynamicNet(Polynomial3):
    def __init__(self):
        super().__init__()
        self.e = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        y = super().forward(x)
        for power in range(4, random.randint(4, 6)):  # x⁴, x⁴ and x⁵, or neither: one e for all
            y = y + self.e * x ** power
        return y


def dynamic_net(log):
    """Plain Python inside: a different formula at every step, and backward() still knows."""
    random.seed(0)
    net = DynamicNet()
    train(net, x, torch.optim.Adam(net.parameters(), lr=0.01), log)
    return net.a, net.b, net.c, net.d


WAYS = (numpy_alone, tensors, autograd, layers, optimizer, own_module, dynamic_net)
found = {}
print("   way                loss        y =  a   +    b x  +   c x²  +   d x³")
for number, way in enumerate(WAYS, 1):
    log = losses[way] = []
    found[way] = [w.item() for w in way(log)]
    print(f"{number}  {way.__name__:12s} {log[-1]:10.4f}   ", *(f"{w:9.5f}" for w in found[way]))

# Picture: five of the ways are one and the same walk, so three curves tell it all.
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
left.plot(x, y, color=GREY, lw=6, alpha=0.5, label="$\\sin x$")
left.set_prop_cycle(None)
for way, name in ((autograd, "plain descent (1–4, 6)"), (optimizer, "RMSprop (5)"),
                  (dynamic_net, "DynamicNet, Adam (7)")):
    a, b, c, d = found[way]
    left.plot(x, a + b * x + c * x ** 2 + d * x ** 3, "--", label=name)
    right.plot(losses[way], label=name)
left.set(title=f"After {args.steps} steps", xlabel="$x$")
right.set(title="The sum of squared errors", xlabel="step", yscale="log")
left.legend()
right.legend()
save(fig, args.out, "03_polynomial_to_sine.png")
