"""Infinities and NaN that come back in backward: they stop where PyTorch 2.13.0 stops them."""

from __future__ import annotations

import numpy as np
import pytest

import kkori as torch

INF, NAN = float("inf"), float("nan")
POINTS = [-2.0, 2.0, NAN, 0.0]

# what is computed of POINTS, the gradient that comes back, and what PyTorch leaves in .grad
CASES = {
    "relu, inf": (lambda x: x.relu(), INF, [0, INF, INF, 0]),
    "relu, nan": (lambda x: x.relu(), NAN, [0, NAN, NAN, 0]),
    "relu, 1": (lambda x: x.relu(), 1.0, [0, 1, 1, 0]),
    "maximum, inf": (lambda x: torch.maximum(x, torch.zeros(4)), INF, [0, INF, INF, INF]),
    "maximum, 1": (lambda x: torch.maximum(x, torch.zeros(4)), 1.0, [0, 1, 1, 0.5]),
    "minimum, inf": (lambda x: torch.minimum(x, torch.zeros(4)), INF, [INF, 0, INF, INF]),
    "minimum, 1": (lambda x: torch.minimum(x, torch.zeros(4)), 1.0, [1, 0, 1, 0.5]),
    "max of all, inf": (lambda x: x.max(), INF, [0, 0, INF, 0]),
    "max of all, 1": (lambda x: x.max(), 1.0, [0, 0, 1, 0]),
    "min of all, 1": (lambda x: x.min(), 1.0, [0, 0, 1, 0]),
}


@pytest.mark.parametrize("name", CASES)
def test_gradient(name: str) -> None:
    function, arriving, expected = CASES[name]
    x = torch.tensor(POINTS, requires_grad=True)
    y = function(x)
    y.backward(torch.full_like(y.detach(), arriving))
    np.testing.assert_array_equal(x.grad.numpy(), np.float32(expected))


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
def test_gradient_is_pytorchs(name: str) -> None:
    peer = pytest.importorskip("torch")
    _, arriving, expected = CASES[name]
    word = name.partition(",")[0].split()[0]
    x = peer.tensor(POINTS, requires_grad=True)
    y = getattr(peer, word)(x, peer.zeros(4)) if "imum" in word else getattr(x, word)()
    y.backward(peer.full_like(y.detach(), arriving))
    np.testing.assert_array_equal(x.grad.numpy(), np.float32(expected))


@pytest.mark.parametrize("exponent", range(4, 9))
def test_whole_powers_of_float32_are_rounded_once(exponent: int) -> None:
    x = np.float32([-3.7, -1.0, -0.0, 0.3, 1.1, 5e8, INF, NAN])
    with np.errstate(over="ignore"):
        expected = np.power(x.astype(np.float64), exponent).astype(np.float32)
    found = (torch.tensor(x) ** exponent).numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
