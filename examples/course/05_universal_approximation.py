"""Lesson 5: one wide hidden layer can follow any curve (Cybenko, 1989).

시벤코 정리: 은닉층 하나라도 충분히 넓으면 무엇이든 그린다
"""
from pathlib import Path

import pandas as pd
import torch
from pictures import BLUE, GREY, ORANGE, RED, arguments, plt, save

args = arguments(nodes=2048, epochs=200, job_nodes=512, job_epochs=100)
DATA = Path(__file__).parent.parent / "data"


def h(x):
    """Two sigmoids, back to back, make a block: 1 between -0.5 and 0.5, and 0 elsewhere."""
    return torch.sigmoid(200 * (x + 0.5)) + torch.sigmoid(-200 * (x - 0.5)) - 1.0


class Block(torch.nn.Module):
    """h as an activation; each hidden node then puts one block somewhere."""

    def forward(self, x):
        return h(x)


def train(net, x, y, loss_fn, epochs):
    optimizer = torch.optim.Adam(net.parameters())
    for epoch in range(epochs):
        yhat = net(x)
        loss = loss_fn(yhat, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if epoch == 0:
            print(f"  loss at first {loss.item():9.4f}")
    print(f"  loss at last  {loss.item():9.4f}")


# 1. Random nets, not trained: the more nodes, the richer the shapes.
torch.manual_seed(43052)
span = torch.linspace(-10, 10, 400).reshape(-1, 1)
random_nets = {m: torch.nn.Sequential(torch.nn.Linear(1, m), Block(), torch.nn.Linear(m, 1))
               for m in (1, 3, 30, 1024)}

# 2. Waves and a slope together.
torch.manual_seed(43052)
x = torch.linspace(-10, 10, 200).reshape(-1, 1)
underlying = torch.sin(2 * x) + torch.sin(0.5 * x) + torch.exp(-0.2 * x)
y = underlying + torch.randn(200).reshape(-1, 1) * 0.1
waves = torch.nn.Sequential(
    torch.nn.Linear(1, args.nodes),
    Block(),
    torch.nn.Linear(args.nodes, 1),
)
print(f"sin and exp, {args.nodes} nodes:")
train(waves, x, y, torch.nn.MSELoss(), args.epochs)

# 3. Better specs, no job: the chance of being hired rises with x, then falls again.
jobs = pd.read_csv(DATA / "better-specs-no-job.csv")
specs = torch.tensor(jobs.x).reshape(-1, 1).float()
hired = torch.tensor(jobs.y).reshape(-1, 1).float()
torch.manual_seed(43052)
chance = torch.nn.Sequential(
    torch.nn.Linear(1, args.job_nodes),
    Block(),
    torch.nn.Linear(args.job_nodes, 1),
    torch.nn.Sigmoid(),
)
print(f"better specs, no job, {args.job_nodes} nodes:")
train(chance, specs, hired, torch.nn.BCELoss(), args.job_epochs)
off = (chance(specs).data.flatten() - torch.tensor(jobs.underlying).float()).abs().mean()
print(f"  off the true probability by {off.item():.4f} on average")

fig, axes = plt.subplots(2, 2, figsize=(10, 7))
bumps, shapes, left, right = axes.flatten()
near = torch.linspace(-1.5, 1.5, 400)
bumps.plot(near, torch.sigmoid(200 * (near + 0.5)), "--", color=ORANGE, label="one sigmoid")
bumps.plot(near, torch.sigmoid(-200 * (near - 0.5)), "--", color=GREY, label="its mirror image")
bumps.plot(near, h(near), color=BLUE, label="$h$: their sum, minus 1")
bumps.set(title="A block made of two sigmoids", ylim=(-0.1, 1.6))
bumps.legend(loc="upper center", ncols=2)
for m, net in random_nets.items():
    shapes.plot(span, net(span).data, lw=1.5, label=f"nodes: {m}")
shapes.set(title="Random weights, untrained", ylim=(-0.8, 1.9))
shapes.legend(ncols=2, loc="upper right")
left.plot(x, y, "o", color=BLUE, alpha=0.3, ms=4)
left.plot(x, underlying, color=GREY, lw=6, alpha=0.5, label="underlying")
left.plot(x, waves(x).data, "--", color=RED, label="net")
left.set(title="$\\sin 2x + \\sin 0.5x + e^{-0.2x}$", xlabel="$x$")
left.legend()
right.plot(specs, hired, "o", color=BLUE, alpha=0.05, ms=4)
right.plot(jobs.x, jobs.underlying, color=GREY, lw=6, alpha=0.5, label="underlying")
right.plot(specs, chance(specs).data, "--", color=RED, label="net")
right.set(title="Better specs, no job", xlabel="specs", ylabel="hired",
          xticks=[-1, -0.5, 0, 0.5, 1])
right.legend(loc="center left")
save(fig, args.out, "05_universal_approximation.png")
