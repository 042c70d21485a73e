"""Training rounds as recorded programs, and what their array rules make of them, row by row."""

import numpy as np

import kkori.nn.functional  # noqa: F401  (fills the table)
from kkori.codegen.rules import Program, Spec, Step
from kkori.core.size import contiguous_strides
from kkori.ops.table import TABLE

REFERENCES = ("slot", "input", "number")


class Recorder:
    """Writes a program as a user's round would leave it."""

    def __init__(self, *shapes, numbers=0):
        self.program = Program(inputs=[Spec(shape, contiguous_strides(shape), "f4")
                                       for shape in shapes], numbers=numbers)

    def __call__(self, row, *args):
        steps = self.program.steps
        given = tuple(arg if isinstance(arg, tuple) and arg[:1] and arg[0] in REFERENCES
                      else ("value", arg) for arg in args)
        steps.append(Step(row, given, (len(steps),)))
        return ("slot", len(steps) - 1)

    def write(self, place, slot):
        self.program.writes.append((place[1], slot[1]))

    def output(self, *slots):
        self.program.outputs += [slot for _, slot in slots]


def places(count, first=0):
    return [("input", first + k) for k in range(count)]


def numbers(count):
    return [("number", k) for k in range(count)]


def plain(add, weight, g):
    """SGD."""
    add.write(weight, add("sub", weight, add("mul", ("number", 0), g)))


def rmsprop(add, weight, g, square):
    decay, share, epsilon, rate = numbers(4)
    new = add("add", add("mul", decay, square), add("mul", add("mul", share, g), g))
    add.write(square, new)
    divisor = add("add", add("sqrt", new), epsilon)
    add.write(weight, add("sub", weight, add("div", add("mul", rate, g), divisor)))


def adam(add, weight, g, first, second):
    share, decay, rest, root, epsilon, rate = numbers(6)
    mean = add("add", first, add("mul", share, add("sub", g, first)))
    square = add("add", add("mul", decay, second), add("mul", add("mul", rest, g), g))
    add.write(first, mean)
    add.write(second, square)
    divisor = add("add", add("div", add("sqrt", square), root), epsilon)
    add.write(weight, add("sub", weight, add("div", add("mul", rate, mean), divisor)))


def linear(add, weight, bias, x, g):
    """Gradients of a linear layer's weight and bias."""
    by_weight = add("t", add("mm", add("t", x), g))
    return by_weight, add("reshape", add("sum", g, (0,), True), add.program.inputs[bias[1]].shape)


def linreg(n=100):
    """Linear(1, 1), mean squared error, SGD."""
    add = Recorder((n, 1), (n, 1), (1, 1), (1,), (), numbers=1)
    x, t, w, b, one = places(5)
    y = add("addmm", b, x, add("t", w), 1, 1)
    loss = add("mse_loss", y, t, "mean", None)
    g = add("mse_loss_backward", one, y, t, "mean", None)
    gw, gb = linear(add, w, b, x, g)
    plain(add, w, gw)
    plain(add, b, gb)
    add.output(loss, gw, gb)
    return add.program


def polynomial(n=2000):
    """Linear(3, 1), Flatten, summed squared error, RMSprop."""
    add = Recorder((n, 3), (n,), (1, 3), (1,), (), (1, 3), (1,), numbers=4)
    x, t, w, b, one, sw, sb = places(7)
    y = add("reshape", add("addmm", b, x, add("t", w), 1, 1), (n,))
    loss = add("mse_loss", y, t, "sum", None)
    g = add("reshape", add("mse_loss_backward", one, y, t, "sum", None), (n, 1))
    gw, gb = linear(add, w, b, x, g)
    rmsprop(add, w, gw, sw)
    rmsprop(add, b, gb, sb)
    add.output(loss, gw, gb)
    return add.program


def logistic(n=2000, features=1):
    """Linear(features, 1), Sigmoid, binary cross entropy, SGD."""
    add = Recorder((n, features), (n, 1), (1, features), (1,), (), numbers=1)
    x, t, w, b, one = places(5)
    p = add("sigmoid", add("addmm", b, x, add("t", w), 1, 1))
    loss = add("binary_cross_entropy", p, t, None, "mean")
    gp = add("binary_cross_entropy_backward", one, p, t, None, "mean")
    gw, gb = linear(add, w, b, x, add("sigmoid_backward", gp, p))
    plain(add, w, gw)
    plain(add, b, gb)
    add.output(loss, gw, gb)
    return add.program


def network(n=100, m=512):
    """Linear(1, m), ReLU, Linear(m, 1), mean squared error, Adam."""
    add = Recorder((n, 1), (n, 1), (), *[s for s in ((m, 1), (m,), (1, m), (1,))
                                         for _ in range(3)], numbers=6)
    x, t, one = places(3)
    w1, b1, w2, b2 = (places(3, 3 + 3 * k) for k in range(4))
    h = add("relu", add("addmm", b1[0], x, add("t", w1[0]), 1, 1))
    y = add("addmm", b2[0], h, add("t", w2[0]), 1, 1)
    loss = add("mse_loss", y, t, "mean", None)
    g = add("mse_loss_backward", one, y, t, "mean", None)
    gu = add("relu_backward", add("mm", g, w2[0]), h)
    gw2, gb2 = linear(add, w2[0], b2[0], h, g)
    gw1, gb1 = linear(add, w1[0], b1[0], x, gu)
    for place, gradient in ((w1, gw1), (b1, gb1), (w2, gw2), (b2, gb2)):
        adam(add, place[0], gradient, *place[1:])
    add.output(loss, gb2, gw2, gb1, gw1)
    return add.program


NUMBERS = [0.1, 0.99, 0.01, 0.3, 1e-8, 1e-3]


def arrays_for(program, seed=0):
    """Inputs: positive, below 1 (so that they may be states, targets and probabilities)."""
    random = np.random.default_rng(seed)
    return [np.asarray(random.random(spec.shape), np.float32) for spec in program.inputs]


def by_rules(program, arrays, given):
    """Outputs, and the inputs afterwards: every row by its array rule."""
    slots = {}
    for step in program.steps:
        args = [argument(kind, value, arrays, given, slots) for kind, value in step.args]
        if step.row == "clone":  # recorded without an order where it stands for a gradient
            args[1:] = ["C"]
        found = TABLE[step.row].array(*args)
        slots.update(zip(step.slots, found if isinstance(found, tuple) else (found,), strict=True))
    after = [array.copy() for array in arrays]
    for place, slot in program.writes:
        after[place][...] = slots[slot]
    for place, number in program.stores:
        after[place][...] = given[number]
    return [np.array(slots[slot]) for slot in program.outputs], after


def argument(kind, value, arrays, given, slots):
    if kind == "number":
        return np.float32(given[value])
    return {"input": arrays, "slot": slots}[kind][value] if kind != "value" else value


def compare(segment, program, arrays, given, tolerance=2e-5):
    """Run a round and compare all it does with the array rules."""
    wanted, after = by_rules(program, arrays, given)
    outputs = segment.run(arrays, given)
    for found, expected in zip([*outputs, *arrays], [*wanted, *after], strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    return outputs
