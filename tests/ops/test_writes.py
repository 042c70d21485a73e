"""Writes to views reach the base, and gradients find their way around what was overwritten."""

from __future__ import annotations

import pytest

import kkori as torch

WRITES = {
    "diagonal": (lambda y: y.reshape(2, 3).diagonal().mul_(2), [2, 1, 1, 1, 2, 1]),
    "unfold": (lambda y: y.unfold(0, 2, 2)[0].mul_(2), [2, 2, 1, 1, 1, 1]),
    "fill_": (lambda y: y[:3].fill_(7), [0, 0, 0, 1, 1, 1]),
    "zero_": (lambda y: y[1:].zero_(), [1, 0, 0, 0, 0, 0]),
    "scatter_": (lambda y: y[:3].scatter_(0, torch.tensor([1]), 5.0), [1, 0, 1, 1, 1, 1]),
    "cumsum_": (lambda y: y[:3].cumsum_(0), [3, 2, 1, 1, 1, 1]),
    "masked_fill_": (lambda y: y.masked_fill_(y > 3, 0.0), [1, 1, 1, 1, 0, 0]),
    "index_put_": (lambda y: y.index_put_((torch.tensor([0, 1]),), torch.zeros(2)),
                   [0, 0, 1, 1, 1, 1]),
    "tensor_split": (lambda y: y.tensor_split(2)[0].mul_(2), [2, 2, 2, 1, 1, 1]),
}


@pytest.mark.parametrize("name", WRITES)
def test_gradient_after_a_write(name):
    write, expected = WRITES[name]
    x = torch.arange(6.0, requires_grad=True)
    y = x.clone()
    write(y)
    y.sum().backward()
    assert x.grad.tolist() == expected


@pytest.mark.parametrize(("part", "expected"), [
    (lambda y: y.real, 2 + 1j), (lambda y: y.imag, 1 + 2j), (torch.view_as_real, 2 + 2j)])
def test_parts_of_complex_numbers(part, expected):
    x = torch.tensor([1 + 2j, 3 + 4j], requires_grad=True)
    y = x.clone()
    part(y).mul_(2)
    (y.real + y.imag).sum().backward()
    assert x.grad.tolist() == [expected, expected]


def test_what_was_copied_gets_its_gradient():
    x, source = (torch.ones(n, requires_grad=True) for n in (4, 2))
    y = x.clone()
    y[:2].copy_(source * 3)
    y.sum().backward()
    assert (x.grad.tolist(), source.grad.tolist()) == ([0, 0, 1, 1], [3, 3])


@pytest.mark.parametrize("write", [
    lambda x: x.add_(1), lambda x: x.fill_(2), lambda x: torch.add(torch.ones(3), 1, out=x)])
def test_one_place_in_memory_is_not_written_twice(write):
    x = torch.zeros(1).expand(3)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        write(x)
    assert x.tolist() == [0, 0, 0]
