"""Lesson 2: ten ways to fit a line, from a pencil to torch.optim.

직선을 맞추는 열 가지 방법
"""
import torch
from pictures import BLUE, GREY, ORANGE, RED, arguments, plt, save

args = arguments(epochs=30)

# The truth is y = 2.5 + 4x; we see it through noise. Every way starts at -5 + 10x.
torch.manual_seed(43052)
x = torch.randn(100).sort()[0]
y = 2.5 + 4 * x + torch.randn(100) * 0.5

# For the ways with matrices: a column of ones carries w0.
X = torch.stack([torch.ones(100), x], axis=1)
Y = y.reshape(-1, 1)
START = torch.tensor([[-5.0], [10.0]])
mse = torch.nn.MSELoss()


def sse(w0, w1):
    """Sum of squared errors of the line w0 + w1 x."""
    return torch.sum((y - (w0 + w1 * x)) ** 2)


def small_steps():
    w0, w1, h = -5.0, 10.0, 0.001
    for _ in range(args.epochs):
        slope0 = (sse(w0 + h, w1) - sse(w0, w1)) / h
        slope1 = (sse(w0, w1 + h) - sse(w0, w1)) / h
        w0, w1 = w0 - 0.001 * slope0, w1 - 0.001 * slope1
    return w0, w1


def two_numbers():  # backward() finds both slopes
    w0 = torch.tensor(-5.0, requires_grad=True)
    w1 = torch.tensor(10.0, requires_grad=True)
    for _ in range(args.epochs):
        loss = sse(w0, w1)
        loss.backward()
        w0.data = w0.data - 0.001 * w0.grad
        w1.data = w1.data - 0.001 * w1.grad
        w0.grad = None
        w1.grad = None
    return w0, w1


def descend(loss_of, rate):
    W = START.clone().requires_grad_()
    for _ in range(args.epochs):
        loss = loss_of(X @ W)
        loss.backward()
        W.data = W.data - rate * W.grad
        W.grad = None
    return W.flatten()


def matrix_and_sum():
    return descend(lambda Yhat: torch.sum((Y - Yhat) ** 2), rate=0.001)


def matrix_and_mean():  # a hundredth of the sum, so the rate may be a hundred times larger
    return descend(lambda Yhat: torch.mean((Y - Yhat) ** 2), rate=0.1)


def mse_loss():
    return descend(lambda Yhat: mse(Yhat, Y), rate=0.1)


def linear():
    """The same X @ W, made by a layer: net(X) is X @ net.weight.T."""
    net = torch.nn.Linear(2, 1, bias=False)
    net.weight.data = START.T.clone()
    return net


def layer():
    net = linear()
    for _ in range(args.epochs):
        loss = mse(net(X), Y)
        loss.backward()
        net.weight.data = net.weight.data - 0.1 * net.weight.grad
        net.weight.grad = None
    return net.weight.flatten()


def optimizer_step():
    net = linear()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(args.epochs):
        loss = mse(net(X), Y)
        loss.backward()
        optimizer.step()
        net.weight.grad = None
    return net.weight.flatten()


def train(net, inputs):
    """The loop of every lesson from here on: predict, measure, differentiate, update."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(args.epochs):
        yhat = net(inputs)
        loss = mse(yhat, Y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def zero_grad():
    net = linear()
    train(net, X)
    return net.weight.flatten()


def layer_with_bias():  # the bias is w0: no column of ones any more
    net = torch.nn.Linear(1, 1)
    net.bias.data = torch.tensor([-5.0])
    net.weight.data = torch.tensor([[10.0]])
    train(net, x.reshape(-1, 1))
    return net.bias, net.weight


def closed_form():  # known to statisticians; the other nine walk towards it
    return torch.linalg.inv(X.T @ X) @ X.T @ Y


WAYS = (small_steps, two_numbers, matrix_and_sum, matrix_and_mean, mse_loss, layer,
        optimizer_step, zero_grad, layer_with_bias, closed_form)

print("    way                   w0       w1   sum of squares")
for number, way in enumerate(WAYS, 1):
    w0, w1 = (w.item() for w in way())
    print(f"{number:2d}  {way.__name__:16s} {w0:8.4f} {w1:8.4f} {sse(w0, w1).item():10.3f}")


# Picture: the lines on the way from the first guess to the last, and the path of (w0, w1).
path = [(-5.0, 10.0)]
for _ in range(args.epochs):
    W = torch.tensor(path[-1], requires_grad=True)
    sse(W[0], W[1]).backward()
    path.append(tuple((W.data - 0.001 * W.grad).tolist()))

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
left.plot(x, y, "o", color=BLUE, alpha=0.45, ms=5, label="data")
for step, (a, b) in enumerate(path):
    left.plot(x, a + b * x, color=ORANGE, lw=1, alpha=0.15 + 0.5 * step / len(path))
left.plot(x, -5 + 10 * x, "--", color=GREY, label="first guess")
left.plot(x, path[-1][0] + path[-1][1] * x, color=RED, label=f"after {args.epochs} steps")
left.set(title="The line turns into place", xlabel="$x$", ylabel="$y$")
left.legend()

w0 = torch.linspace(-6, 6, 121)
w1 = torch.linspace(1, 11, 101)
errors = y - w0.reshape(1, -1, 1) - w1.reshape(-1, 1, 1) * x
right.contour(w0, w1, (errors ** 2).mean(-1), levels=[1, 4, 10, 20, 35, 55, 80], colors=GREY,
              linewidths=0.8)
right.plot(*zip(*path), "o-", color=ORANGE, ms=4, lw=1.2, label="gradient descent")
right.plot(2.5, 4, "*", color=RED, ms=14, label="the truth (2.5, 4)")
right.set(title="The walk downhill", xlabel="$w_0$", ylabel="$w_1$")
right.legend()
save(fig, args.out, "02_ten_ways_to_fit_a_line.png")
