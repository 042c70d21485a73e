"""Lesson 11: mini-batches: a little of the data at a time.

미니배치: 데이터를 조금씩 나누어 배우기
"""
import torch
from digits import two_kinds
from pictures import BLUE, GREEN, ORANGE, arguments, plt, save

args = arguments(epochs=10)

# A data set pairs each x with its y; a loader hands it out in batches, the last one what is left.
x = torch.tensor(range(10)).float()
y = torch.tensor([1.0] * 5 + [0.0] * 5)
ds = torch.utils.data.TensorDataset(x, y)
print("all of it:", ds.tensors)
for xx, yy in torch.utils.data.DataLoader(ds, batch_size=3):
    print("a batch:", xx, yy)
torch.manual_seed(43052)
for xx, yy in torch.utils.data.DataLoader(ds, batch_size=3, shuffle=True):
    print("shuffled:", xx, yy)

# Zeros and ones, in batches of different sizes. The same ten looks at all the data ...
X, y = two_kinds(0, 1)
X_test, y_test = two_kinds(0, 1, test=True)
X, X_test = X / 255, X_test / 255
ds = torch.utils.data.TensorDataset(X, y)
loss_fn = torch.nn.BCELoss()


def train(batch_size):
    """The loss on all training digits, after every epoch."""
    torch.manual_seed(43052)
    net = torch.nn.Sequential(
        torch.nn.Linear(784, 32),
        torch.nn.ReLU(),
        torch.nn.Linear(32, 1),
        torch.nn.Sigmoid(),
    )
    optimizer = torch.optim.Adam(net.parameters())
    dl = torch.utils.data.DataLoader(ds, batch_size=batch_size, shuffle=True)
    losses = [loss_fn(net(X), y).item()]
    for epoch in range(args.epochs):
        for xx, yy in dl:
            loss = loss_fn(net(xx), yy)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss_fn(net(X), y).item())
    return net, losses, len(dl)


# ... but the smaller the batch, the more updates.
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
print("batch size   updates an epoch   last loss   train accuracy   test accuracy")
for batch_size, color in ((len(X), BLUE), (256, ORANGE), (32, GREEN)):
    net, losses, updates = train(batch_size)
    train_accuracy, test_accuracy = (torch.mean(((net(inputs) > 0.5) == answers) * 1.0).item()
                                     for inputs, answers in ((X, y), (X_test, y_test)))
    print(f"{batch_size:10d} {updates:18d} {losses[-1]:11.5f}"
          f" {train_accuracy:16.4f} {test_accuracy:15.4f}")
    name = "all at once" if batch_size == len(X) else f"batches of {batch_size}"
    left.plot(losses, "o-", color=color, label=name)
    right.plot([updates * epoch for epoch in range(1, len(losses))], losses[1:], "o-", color=color)
left.set(title="By looks at all the data", xlabel="epochs", ylabel="loss on all training digits",
         yscale="log")
right.set(title="By updates of the weights", xlabel="updates", xscale="log")
left.legend()
save(fig, args.out, "11_mini_batches.png")
