"""Lesson 10: how long does a step take? Hidden layers of 512, 20480 and 204800 nodes on a CPU.

학습 시간 재기
"""
import time

import torch
from pictures import BLUE, GREY, ORANGE, arguments, plt, save

args = arguments(steps=20)

# What the course measured in 2022, in milliseconds a step: its CPU, and its graphics card.
COURSE = {512: (0.54, 1.45), 20480: (3.81, 1.31), 204800: (65.34, 2.08)}

torch.manual_seed(5)
x = torch.linspace(0, 1, 100).reshape(-1, 1)
y = torch.randn(100).reshape(-1, 1) * 0.01


def milliseconds_a_step(nodes):
    net = torch.nn.Sequential(
        torch.nn.Linear(1, nodes),
        torch.nn.ReLU(),
        torch.nn.Linear(nodes, 1),
    )
    loss_fn = torch.nn.MSELoss()
    optimizer = torch.optim.Adam(net.parameters())

    def step():
        yhat = net(x)
        loss = loss_fn(yhat, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    first = step()  # the first step also sets things up: do not time it
    start = time.perf_counter()
    for _ in range(args.steps):
        step()
    took = 1000 * (time.perf_counter() - start) / args.steps
    print(f"{nodes:7d} nodes {took:9.3f} ms a step   (loss at first {first:.6f})")
    return took


here = [milliseconds_a_step(nodes) for nodes in COURSE]

fig, ax = plt.subplots(figsize=(8, 4))
columns = (("this machine's CPU", BLUE, here),
           ("the course's CPU, 2022", GREY, [cpu for cpu, _ in COURSE.values()]),
           ("the course's GPU, 2022", ORANGE, [gpu for _, gpu in COURSE.values()]))
for offset, (name, color, times) in zip((-0.27, 0, 0.27), columns):
    bars = ax.bar([i + offset for i in range(3)], times, width=0.25, color=color, label=name)
    ax.bar_label(bars, fmt="%.3g", padding=2, fontsize=9)
ax.set(title="A training step of 1 → nodes → 1, Adam, 100 rows", ylabel="milliseconds",
       yscale="log", xticks=range(3), xticklabels=[f"{nodes:,} nodes" for nodes in COURSE])
ax.legend(loc="upper left")
ax.grid(axis="x", visible=False)
save(fig, args.out, "10_timing.png")
