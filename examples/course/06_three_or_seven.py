"""Lesson 6: is it a three or a seven? A network reads real handwriting (MNIST).

손글씨 3과 7 구분하기
"""
import torch
from digits import two_kinds
from pictures import BLUE, GREEN, ORANGE, RED, arguments, plt, save, show_digit
from tqdm import tqdm

args = arguments(epochs=200)

# 784 grey levels in, 0.0 for a three and 1.0 for a seven out.
X, y = two_kinds(3, 7)
X_test, y_test = two_kinds(3, 7, test=True)
X, X_test = X / 255, X_test / 255
print("to learn from:", X.shape, " to be examined on:", X_test.shape)

torch.manual_seed(43052)
net = torch.nn.Sequential(
    torch.nn.Linear(in_features=28 * 28, out_features=30),
    torch.nn.ReLU(),
    torch.nn.Linear(in_features=30, out_features=1),
    torch.nn.Sigmoid(),
)
loss_fn = torch.nn.BCELoss()
optimizer = torch.optim.Adam(net.parameters(), lr=0.002)


def accuracy(X, y):
    return torch.mean(((net(X) > 0.5) == y) * 1.0).item()


losses, test_losses = [], []
for epoch in tqdm(range(args.epochs), desc="training", unit=" epochs"):
    yhat = net(X)
    loss = loss_fn(yhat, y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    with torch.no_grad():
        test_losses.append(loss_fn(net(X_test), y_test).item())

print(f"train accuracy {accuracy(X, y):.4f}")
print(f"test accuracy  {accuracy(X_test, y_test):.4f}")

# Picture: the loss, some test digits taken at random, and the ones it found hardest.
seven = net(X_test).data.flatten()  # how sure it is of a seven
wrongness = (seven - y_test.flatten()).abs()
hardest = wrongness.argsort(descending=True)[:5].tolist()
some = [i for i in torch.randperm(len(X_test)).tolist() if i not in hardest][:10]

fig = plt.figure(figsize=(10, 4.6))
curve, gallery = fig.subfigures(1, 2, width_ratios=(1, 1.25))
ax = curve.subplots()
ax.plot(losses, color=BLUE, label="training digits")
ax.plot(test_losses, "--", color=ORANGE, label="test digits")
ax.set(title="The loss falls", xlabel="epoch", ylabel="cross entropy", yscale="log")
ax.legend()
gallery.suptitle(f"Test digits it never saw: {accuracy(X_test, y_test):.1%} right", fontsize=12)
axes = gallery.subplots(3, 5)
for ax, i in zip(axes.flatten(), some + hardest):
    answer, sure = (7, seven[i].item()) if seven[i] > 0.5 else (3, 1 - seven[i].item())
    right = wrongness[i] < 0.5
    show_digit(ax, X_test[i], f"{answer}  ({sure:.0%} sure)", GREEN if right else RED)
axes[2, 0].set_ylabel("the hardest", loc="center")
save(fig, args.out, "06_three_or_seven.png")
