"""Lesson 12: overfitting: a net that learns the noise by heart.

오버피팅: 오차까지 외워 버린 신경망
"""
import torch
from pictures import BLUE, GREY, ORANGE, RED, arguments, plt, save

args = arguments(epochs=1000)

# There is nothing to learn here: y is noise around 0, whatever x is.
torch.manual_seed(5)
x = torch.linspace(0, 1, 100).reshape(100, 1)
y = torch.randn(100).reshape(100, 1) * 0.01

# The last fifth is kept aside: the net is examined on it, never trained on it.
x_train, y_train = x[:80], y[:80]
x_test, y_test = x[80:], y[80:]

torch.manual_seed(1)
net = torch.nn.Sequential(
    torch.nn.Linear(in_features=1, out_features=512),
    torch.nn.ReLU(),
    torch.nn.Linear(in_features=512, out_features=1),
)
loss_fn = torch.nn.MSELoss()
optimizer = torch.optim.Adam(net.parameters())
train_losses, test_losses = [], []
for epoch in range(args.epochs):
    loss = loss_fn(net(x_train), y_train)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    train_losses.append(loss.item())
    with torch.no_grad():
        test_losses.append(loss_fn(net(x_test), y_test).item())

print("error of a typical prediction, in thousandths")
for name, inputs, answers in (("train", x_train, y_train), ("test", x_test, y_test)):
    by_net = 1000 * loss_fn(net(inputs), answers).item() ** 0.5
    by_zero = 1000 * torch.mean(answers ** 2).item() ** 0.5
    print(f"{name:6s} net {by_net:7.3f}   always saying 0 {by_zero:7.3f}")

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
left.plot(x, y, "o", color=BLUE, alpha=0.5, ms=4, label="data: nothing but noise")
left.axhline(0, color=GREY, lw=1)
left.plot(x_train, net(x_train).data, color=ORANGE, label="net, where it was trained")
left.plot(x_test, net(x_test).data, "--", color=RED, label="net, where it was not")
left.axvspan(0.8, 1, color=RED, alpha=0.06, lw=0)
left.set(title="It follows the noise", xlabel="$x$")
left.legend()
right.plot(train_losses, color=ORANGE, label="train")
right.plot(test_losses, "--", color=RED, label="test")
right.set(title="The gap is the overfitting", xlabel="epoch", ylabel="mean squared error",
          yscale="log")
right.legend()
save(fig, args.out, "12_overfitting.png")
