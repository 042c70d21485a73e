"""Lesson 4: logistic regression, where the answer is a probability.

로지스틱 회귀: 성공할 확률을 배운다
"""
import torch
from pictures import BLUE, GREY, ORANGE, RED, arguments, plt, save

args = arguments(epochs=600)

# The larger x, the likelier is success (y = 1): P(y = 1) = sigmoid(-1 + 5x).
torch.manual_seed(43052)
x = torch.linspace(-1, 1, 2000).reshape(2000, 1)
v = torch.exp(-1 + 5 * x) / (1 + torch.exp(-1 + 5 * x))
y = torch.bernoulli(v)
print(f"{int(y.sum().item())} of {len(y)} succeed")


def squared_error(yhat, y):
    return torch.mean((y - yhat) ** 2)


def cross_entropy(yhat, y):
    """What torch.nn.BCELoss() computes; the loss that belongs to yes-or-no data."""
    return -torch.mean(y * torch.log(yhat) + (1 - y) * torch.log(1 - yhat))


def fit(loss_fn):
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Sigmoid())
    net[0].bias.data = torch.tensor([-1.0])
    net[0].weight.data = torch.tensor([[1.0]])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    walk = []
    for _ in range(args.epochs):
        walk.append((net[0].bias.item(), net[0].weight.item()))
        yhat = net(x)
        loss = loss_fn(yhat, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return net, walk


first_guess = torch.sigmoid(-1 + x)
fits = {"squared error": fit(squared_error), "cross entropy": fit(cross_entropy)}
print("loss               w0       w1    (the truth: -1 and 5)")
for name, (net, _) in fits.items():
    print(f"{name:14s} {net[0].bias.item():8.4f} {net[0].weight.item():8.4f}")

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
left.plot(x, y, "o", color=BLUE, alpha=0.05, ms=4)
left.plot(x, v, color=GREY, lw=6, alpha=0.5, label="the truth")
left.plot(x, first_guess, ":", color=RED, label="first guess")
for (name, (net, walk)), color in zip(fits.items(), (ORANGE, BLUE)):
    left.plot(x, net(x).data, "--", color=color, label=name)
    right.plot([w1 for _, w1 in walk], color=color, label=f"$w_1$, {name}")
    right.plot([w0 for w0, _ in walk], color=color, lw=1, label=f"$w_0$, {name}")
for truth in (-1, 5):
    right.axhline(truth, color=GREY, ls="--", lw=1)
left.set(title="The probability of success", xlabel="$x$", ylabel="$y$",
         xticks=[-1, -0.5, 0, 0.5, 1])
right.set(title="The same data, two losses", xlabel="epoch")
left.legend(loc="center left")
right.legend(loc="center right")
save(fig, args.out, "04_logistic_regression.png")
