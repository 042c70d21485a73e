"""NumPy's error state and Python's warnings are the user's: nothing of ours raises for them."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import numpy as np
import pytest

import kkori as torch
from kkori.nn import functional as F


@pytest.fixture(autouse=True)
def strict():
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def large():
    return torch.tensor([1e30, 0.0, -1e-40, 3.0])


@pytest.mark.parametrize("compute", [
    lambda x: x * x, lambda x: x / (x * 0), torch.exp, lambda x: x.neg().log(), lambda x: x ** 3,
    lambda x: x.norm(), lambda x: (x * 1e20).var(), lambda x: x[:1] - x[:1], lambda x: x.half(),
    lambda x: (x * x).sum().item(), lambda x: x.clone().mul_(1e30), lambda x: repr(x * 1e-38),
    lambda x: x[:, None] @ x[None], lambda x: F.linear(x, torch.full((2, 4), 1e30)),
    lambda x: F.softmax(x * 1e20, 0), lambda x: F.layer_norm(x, (4,)),
    lambda x: F.cross_entropy((x * 1e20)[None], torch.tensor([0]))])
def test_operations(compute):
    compute(large())


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "LBFGS"])
@pytest.mark.parametrize("recorded", [False, True])
def test_training(name, recorded):
    w = large().requires_grad_()
    opt = getattr(torch.optim, name)([w], lr=1e-3)

    def closure():
        opt.zero_grad()
        loss = (w * w * w / (w + 1)).sum() + F.softmax(w, 0)[0]
        loss.backward()
        return loss

    with nullcontext() if recorded else torch.eager():
        for _ in range(12):
            closure()
            opt.step(closure if name == "LBFGS" else None)
