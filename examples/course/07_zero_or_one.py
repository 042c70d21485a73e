"""Lesson 7: zero or one, and what accuracy means.

손글씨 0과 1, 그리고 정확도
"""
import torch
from digits import two_kinds
from pictures import BLUE, GREEN, ORANGE, RED, arguments, plt, save, show_digit

args = arguments(epochs=200)

X, y = two_kinds(0, 1)
X_test, y_test = two_kinds(0, 1, test=True)
print("training digits:", X.shape, y.shape)

torch.manual_seed(12345)
net = torch.nn.Sequential(
    torch.nn.Linear(784, 64),
    torch.nn.ReLU(),
    torch.nn.Linear(64, 1),
    torch.nn.Sigmoid(),
)
untrained = net(X).data
loss_fn = torch.nn.BCELoss()
optimizer = torch.optim.Adam(net.parameters(), lr=0.002)
for epoch in range(args.epochs):
    yhat = net(X)
    loss = loss_fn(yhat, y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
print(f"loss {loss.item():.6f}")

# Accuracy, step by step: decide, compare, count, divide.
ytilde = (yhat > 0.5) * 1
hit = (ytilde == y) * 1
print("decided:", ytilde[:3].flatten().tolist(), "...", ytilde[-3:].flatten().tolist())
print(f"train accuracy {torch.sum(hit).item()} / {len(y)} = {torch.sum(hit).item() / len(y):.4f}")

# The same in one line, on digits the net has never seen.
print(f"test accuracy  {torch.mean(((net(X_test) > 0.5) == y_test) * 1.0).item():.4f}")

fig = plt.figure(figsize=(10, 4.2))
plots, gallery = fig.subfigures(1, 2, width_ratios=(1.35, 1))
before, after = plots.subplots(2, 1, sharex=True)
for ax, guess, title in ((before, untrained, "Before training"), (after, yhat.data, "After")):
    ax.plot(y, color=BLUE, label="$y$: 0 or 1")
    ax.plot(guess, ".", color=ORANGE, alpha=0.4, ms=4, label="$\\hat{y}$")
    ax.set(title=title, yticks=[0, 0.5, 1])
after.legend(loc="center left", markerscale=2)
after.set(xlabel="training digit, zeros first")

# The hardest test digits: zeros with the highest score, ones with the lowest.
score = net[:3](X_test).data.flatten()  # all but the sigmoid: below 0 reads zero, above 0 reads one
order = score.argsort().tolist()
zeros = [i for i in reversed(order) if y_test[i] == 0][:3]
ones = [i for i in order if y_test[i] == 1][:3]
gallery.suptitle("The hardest test digits and their scores", fontsize=12)
for ax, i in zip(gallery.subplots(2, 3).flatten(), zeros + ones):
    right = (score[i] > 0) == y_test[i]
    show_digit(ax, X_test[i], f"{score[i].item():+.1f}", GREEN if right else RED)
save(fig, args.out, "07_zero_or_one.png")
