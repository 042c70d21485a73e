"""Formulas of activation functions and of their gradients: the array rules of
`kkori.ops.activation` once more, in the same order. `how` holds their settings."""

from __future__ import annotations

import math
from typing import Any

from kkori.codegen.lower_elements import exp, largest, log1p, sigmoid, smallest
from kkori.codegen.rules import Term, formula


@formula("relu")
def relu(x: Term) -> Term:
    return largest(x, 0.0)


@formula("relu_backward")
def relu_backward(g: Term, out: Term) -> Term:
    return (out <= 0).choose(0.0, g)


@formula("sigmoid_backward")
def sigmoid_backward(g: Term, out: Term) -> Term:
    return g * (out * (1 - out))


ROOT_HALF, NORMAL = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
TANH_SCALE, TANH_CUBE = math.sqrt(2 / math.pi), 0.044715


def normal_cdf(x: Term) -> Term:
    return ((x * ROOT_HALF).do("erf") + 1) * 0.5


def gelu_tanh(x: Term) -> Term:
    inner = (x * x * (TANH_CUBE * TANH_SCALE) + TANH_SCALE) * x
    return (inner.do("tanh") + 1) * 0.5


@formula("gelu")
def gelu(x: Term, how: Any) -> Term:
    return (gelu_tanh(x) if how else normal_cdf(x)) * x


@formula("gelu_backward")
def gelu_backward(g: Term, x: Term, how: Any) -> Term:
    if not how:
        return (exp(x * x * -0.5) * (x * NORMAL) + normal_cdf(x)) * g
    share = gelu_tanh(x)
    slope = x * x * (3 * TANH_CUBE) + 1
    return (share + x * (2 * TANH_SCALE) * share * (1 - share) * slope) * g


@formula("silu")
def silu(x: Term, how: Any) -> Term:
    return sigmoid(x) * x


@formula("silu_backward")
def silu_backward(g: Term, x: Term, how: Any) -> Term:
    share = sigmoid(x)
    return ((1 - share) * x + 1) * share * g


def tanh_softplus(x: Term) -> Term:
    e = exp(smallest(x, 20.0))
    e = e * (e + 2)
    return e / (e + 2)


@formula("mish")
def mish(x: Term, how: Any) -> Term:
    return tanh_softplus(x) * x


@formula("mish_backward")
def mish_backward(g: Term, x: Term, how: Any) -> Term:
    t = tanh_softplus(x)
    return (t + x * sigmoid(x) * (1 - t * t)) * g


@formula("softplus")
def softplus(x: Term, how: Any) -> Term:
    beta, threshold = how
    z = x if beta == 1 else x * beta
    found = log1p(exp(smallest(z, threshold)))
    return (z > threshold).choose(x, found if beta == 1 else found / beta)


@formula("softplus_backward")
def softplus_backward(g: Term, x: Term, how: Any) -> Term:
    beta, threshold = how
    z = x * beta
    return (z > threshold).choose(g, g * sigmoid(z))


@formula("log_sigmoid")
def log_sigmoid(x: Term, how: Any) -> Term:
    return smallest(x, 0.0) - log1p(exp(-abs(x)))


@formula("log_sigmoid_backward")
def log_sigmoid_backward(g: Term, x: Term, how: Any) -> Term:
    return sigmoid(-x) * g


@formula("elu", "celu")
def elu(x: Term, how: Any) -> Term:
    alpha, scale, rate = how
    return (smallest(x, 0.0) * rate).do("expm1") * (alpha * scale) + largest(x, 0.0) * scale


@formula("elu_backward", "celu_backward")
def elu_backward(g: Term, x: Term, how: Any) -> Term:
    alpha, scale, rate = how
    low = exp(smallest(x, 0.0) * rate) * (alpha * scale * rate)
    return (x <= 0).choose(low * g, g * scale)


@formula("leaky_relu")
def leaky_relu(x: Term, slope: Any) -> Term:
    scaled = x * slope
    return largest(scaled, x) if 0 <= slope <= 1 else (x > 0).choose(x, scaled)


@formula("leaky_relu_backward")
def leaky_relu_backward(g: Term, x: Term, slope: Any) -> Term:
    return (x > 0).choose(g, g * slope)


@formula("prelu_kernel")
def prelu(x: Term, weight: Term) -> Term:
    return (x > 0).choose(x, x * weight)


@formula("hardtanh")
def hardtanh(x: Term, how: Any) -> Term:
    return smallest(largest(x, how[0]), how[1])


@formula("hardtanh_backward")
def hardtanh_backward(g: Term, x: Term, how: Any) -> Term:
    return ((x <= how[0]) | (x >= how[1])).choose(0.0, g)


def six_steps(x: Term) -> Term:
    return smallest(largest(x + 3, 0.0), 6.0)


@formula("hardsigmoid")
def hardsigmoid(x: Term, how: Any) -> Term:
    return six_steps(x) / 6


@formula("hardsigmoid_backward")
def hardsigmoid_backward(g: Term, x: Term, how: Any) -> Term:
    return ((x > -3) & (x < 3)).choose(g / 6, 0.0)


@formula("hardswish")
def hardswish(x: Term, how: Any) -> Term:
    return six_steps(x) * x / 6


@formula("hardswish_backward")
def hardswish_backward(g: Term, x: Term, how: Any) -> Term:
    return (x <= -3).choose(0.0, (x < 3).choose(g * (x / 3 + 0.5), g))


@formula("threshold")
def threshold(x: Term, how: Any) -> Term:
    return (x <= how[0]).choose(how[1], x)


@formula("threshold_backward")
def threshold_backward(g: Term, x: Term, how: Any) -> Term:
    return (x <= how[0]).choose(0.0, g)


@formula("hardshrink")
def hardshrink(x: Term, size: Any) -> Term:
    return (abs(x) <= size).choose(0.0, x)


@formula("softshrink")
def softshrink(x: Term, size: Any) -> Term:
    return (x > size).choose(x - size, (x < -size).choose(x + size, x * 0))


@formula("hardshrink_backward", "softshrink_backward")
def shrink_backward(g: Term, x: Term, size: Any) -> Term:
    return (abs(x) <= size).choose(0.0, g)


@formula("rrelu_with_noise")
def rrelu(x: Term, noise: Any, slope: Any) -> Term:
    """Negative numbers times a random slope, or times the mean slope."""
    return x * noise if slope is None else (x > 0).choose(x, x * slope)
