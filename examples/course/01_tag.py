"""Lesson 1: the tag that a tensor carries, and gradients that pile up.

꼬리표: 미분을 기억하는 텐서, 그리고 쌓이는 기울기
"""
import torch
from pictures import BLUE, GREEN, GREY, ORANGE, RED, arguments, plt, save

args = arguments()


def f(x):
    return x ** 2


# 1. A slope without torch: take a small step h and see how much f grows.
h = 0.0001
print("by a small step:", (f(8 + h) - f(8)) / h)

# 2. With torch: ask x to be followed. Whatever is computed from it carries a tag (grad_fn) ...
x = torch.tensor(8.0, requires_grad=True)
y = f(x)
print("x =", x)
print("y =", y)

# ... and backward() follows the tags home, to x, and leaves the slope there.
print("before backward:", (x.data, x.grad))
y.backward()
print("after backward: ", (x.data, x.grad))

# 3. A chain of steps, z = 2 f(x) = 2x², is no harder.
x = torch.tensor(3.0, requires_grad=True)
z = 2 * f(x)
z.backward()
print("z =", z, " slope at 3:", x.grad)

# 4. Two unknowns: (a + 2b)² has one slope for each. A vector holds both at once.
a = torch.tensor(2.5, requires_grad=True)
b = torch.tensor(2.5, requires_grad=True)
((a + 2 * b) ** 2).backward()
print("two slopes:", (a.grad, b.grad))
v = torch.tensor([[2.5], [2.5]], requires_grad=True)
((torch.tensor([[1.0, 2.0]]) @ v) ** 2).backward()
print("as a vector:\n", v.grad, sep="")

# 5. The trap: backward() ADDS to x.grad. Slope at 2, then move x to 3 and ask again:
x = torch.tensor(2.0, requires_grad=True)
f(x).backward()
x.data = torch.tensor(3.0)
f(x).backward()
print("4 + 6, not 6:", x.grad)

# The cure: empty it first. (optimizer.zero_grad() does this for all parameters.)
x.grad = None
f(x).backward()
print("emptied first:", x.grad)

# Picture: the curve, and the slope that backward() finds at some points.
curve = torch.linspace(-4, 4, 200)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
left.plot(curve, f(curve), color=BLUE)
for at, color in ((-3.0, RED), (0.0, GREEN), (2.0, ORANGE)):
    x = torch.tensor(at, requires_grad=True)
    y = f(x)
    y.backward()
    near = torch.linspace(at - 1, at + 1, 2)
    left.plot(near, y.data + x.grad * (near - at), color=color)
    left.plot(x.data, y.data, "o", color=color, label=f"$f'({at:g}) = {x.grad.item():g}$")
left.set(title="$f(x) = x^2$ and its slopes", xlabel="$x$", ylim=(-2, 17))
left.legend(loc="upper center")

# Many slopes at once: the sum of all f(x) has, for each x, that x's own slope.
x = torch.linspace(-4, 4, 17, requires_grad=True)
f(x).sum().backward()
right.plot(curve, 2 * curve, color=GREY, label="by hand: $2x$")
right.plot(x.detach(), x.grad, "o", color=BLUE, label="x.grad after backward()")
right.set(title="What backward() found", xlabel="$x$")
right.legend()
save(fig, args.out, "01_tag.png")
