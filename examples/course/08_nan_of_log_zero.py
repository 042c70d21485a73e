"""Lesson 8: where the NaN comes from, and how scaling the pixels cures it.

log 0이 만든 NaN, 그리고 255로 나누기
"""
import torch
from digits import two_kinds
from pictures import BLUE, GREEN, ORANGE, RED, arguments, plt, save

args = arguments(epochs=100)

# The trouble, in two numbers: both predictions are right, and yet ...
p = torch.tensor([0.0, 1.0])
print("log p:       ", torch.log(p))
print("p log p:     ", p * torch.log(p))
print("loss by hand:", -torch.mean(p * torch.log(p) + (1 - p) * torch.log(1 - p)))
print("BCELoss:     ", torch.nn.BCELoss()(p, p), "(its log stops at -100)")

X, y = two_kinds(0, 1)


def network():
    torch.manual_seed(12345)
    return torch.nn.Sequential(
        torch.nn.Linear(784, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 1),
        torch.nn.Sigmoid(),
    )


def by_hand(yhat, y):
    return -torch.mean(y * torch.log(yhat) + (1 - y) * torch.log(1 - yhat))


def train(X, loss_fn):
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.002)
    losses = []
    for epoch in range(args.epochs):
        yhat = net(X)
        loss = loss_fn(yhat, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    accuracy = torch.mean(((net(X) > 0.5) == y) * 1.0).item()
    return losses, accuracy


# Why it happens: an untrained net shouts when its inputs are as large as 255. Float32 has no number
# between 0.99999994 and 1, so a sigmoid of 17 or more IS 1, and log(1 - 1) is minus infinity.
for name, inputs in (("0..255", X), ("0..1", X / 255)):
    yhat = network()(inputs)
    print(f"pixels {name:6s}: of {len(y)} first outputs, {(yhat == 1).sum().item()} are exactly 1")

runs = {
    "0..255, BCELoss": train(X, torch.nn.BCELoss()),
    "0..255, by hand": train(X, by_hand),
    "0..1, by hand": train(X / 255, by_hand),
}
for name, (losses, accuracy) in runs.items():
    print(f"{name:15s}   last loss {losses[-1]:.5f}   accuracy {accuracy:.4f}")
# Train the last one for 200 epochs and the NaN is back: a net that is ever surer reaches exactly 1
# in the end. Scaling cures the start; BCELoss, or BCEWithLogitsLoss, cures it for good.

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
for name, inputs, color in (("pixels 0..255", X, ORANGE), ("pixels 0..1", X / 255, BLUE)):
    u = network()[:3](inputs).data.flatten()  # all but the sigmoid
    left.hist(u, bins=range(-60, 61, 2), log=True, color=color, alpha=0.8, label=name)
left.axvspan(17, 60, color=RED, alpha=0.12, lw=0)
left.text(24, 250, "sigmoid(u) is\nexactly 1", color=RED)
left.set(title="An untrained net, before its sigmoid", xlabel="$u$", ylabel="number of digits",
         xlim=(-60, 60))
left.legend(loc="upper left")
for (name, (losses, _)), color in zip(runs.items(), (ORANGE, RED, GREEN)):
    right.plot(losses, color=color, label=name)
right.plot(0, 1, "X", color=RED, ms=12)
right.text(4, 0.9, "NaN at once", color=RED)
right.set(title="The loss while training", xlabel="epoch", yscale="log")
right.legend()
save(fig, args.out, "08_nan_of_log_zero.png")
