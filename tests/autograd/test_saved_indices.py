"""Indices that are written to before gradients need them: an error, as in PyTorch."""

from __future__ import annotations

import pytest

import kkori as torch


def put(x, k):
    y = x * 1
    y[k] = 5.0
    return y



@pytest.mark.parametrize("use", [
    lambda x, k: x[k], lambda x, k: x.reshape(2, 3)[:, k], lambda x, k: x.reshape(3, 2)[k, k - k],
    lambda x, k: x[k[:]], lambda x, k: (x * 1).index_put((k,), torch.ones(2)), put,
    lambda x, k: torch.zeros(6).index_put((k,), x[:2])])
def test_whole_numbers(use):
    x, k = torch.arange(6.0, requires_grad=True), torch.tensor([0, 2])
    y = use(x, k)
    k.zero_()
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: \[torch.LongTensor "
                       r"\[2\]\] is at version 1; expected version 0 instead"):
        y.sum().backward()


@pytest.mark.parametrize("use", [lambda x, m: x[m], put])
def test_masks(use):
    x, m = torch.arange(6.0, requires_grad=True), torch.arange(6) > 2
    y = use(x, m)
    m.logical_not_()
    with pytest.raises(RuntimeError, match=r"operation: \[CPUBoolType \[6\]\] is at version 1"):
        y.sum().backward()


def test_what_was_written_before_counts_as_it_is():
    x, k = torch.arange(6.0, requires_grad=True), torch.tensor([0, 2])
    k.add_(1)
    x[k].sum().backward()
    assert x.grad.tolist() == [0, 1, 0, 1, 0, 0]
