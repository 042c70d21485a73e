"""Checkpointing gives the gradients of a plain run, from less memory."""

from __future__ import annotations

import pytest

import kkori
from kkori.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential

BOTH = pytest.mark.parametrize("use_reentrant", [True, False])


def part(x, w):
    return (x * w).exp().sin() * x


def gradients(run):
    x = kkori.tensor([0.5, -1.0], requires_grad=True)
    w = kkori.tensor([1.5, 2.0], requires_grad=True)
    with kkori.eager():  # numbers to the last bit
        (run(x, w) * x).sum().backward()
    return x.grad.tolist(), w.grad.tolist()


@BOTH
def test_gradients_equal_those_of_a_plain_run(use_reentrant):
    found = gradients(lambda x, w: checkpoint(part, x, w, use_reentrant=use_reentrant))
    assert found == gradients(part)


@BOTH
def test_captured_parameters_get_gradients_too(use_reentrant):
    found = gradients(
        lambda x, w: checkpoint(lambda x: part(x, w), x, use_reentrant=use_reentrant)
    )
    assert found == gradients(part)


@BOTH
def test_the_second_run_draws_the_same_random_numbers(use_reentrant):
    x = kkori.ones(50, requires_grad=True)
    kkori.manual_seed(1)
    out = checkpoint(lambda x: x * kkori.rand(50), x, use_reentrant=use_reentrant)
    after = kkori.rand(1)
    out.sum().backward()
    assert x.grad.tolist() == out.tolist()
    kkori.manual_seed(1)
    kkori.rand(50)
    assert kkori.rand(1).tolist() == after.tolist()


def test_values_are_dropped_and_the_function_runs_again_once():
    runs = []

    def noted(x):
        runs.append(1)
        return x.exp().exp().exp()

    x = kkori.ones(3, requires_grad=True)
    out = checkpoint(noted, x, use_reentrant=False)
    assert not isinstance(out.grad_fn.saved, list)
    out.sum().backward()
    assert len(runs) == 2


def test_a_kept_graph_runs_again_for_every_backward():
    x = kkori.tensor(0.5, requires_grad=True)
    out = checkpoint(lambda x: x.exp() * x, x, use_reentrant=False)
    out.backward(retain_graph=True)
    first = x.grad.item()
    out.backward()
    assert x.grad.item() == 2 * first


def test_grad_of_captured_parameters_and_second_derivatives():
    w = kkori.tensor(2.0, requires_grad=True)
    x = kkori.tensor(3.0)
    out = checkpoint(lambda x: (x * w) ** 3, x, use_reentrant=False)
    (first,) = kkori.autograd.grad(out, w, create_graph=True)
    (second,) = kkori.autograd.grad(first, w)
    assert first.item() == pytest.approx(3 * 27 * 4)
    assert second.item() == pytest.approx(6 * 27 * 2)
    assert w.grad is None


def test_nested_checkpoints():
    def outer(x, w):
        return checkpoint(part, x * 2, w, use_reentrant=False).tanh()

    found = gradients(lambda x, w: checkpoint(outer, x, w, use_reentrant=False))
    assert found == gradients(lambda x, w: part(x * 2, w).tanh())


def test_several_outputs_and_keywords():
    def two(x, *, factor):
        return {"a": x.exp() * factor, "b": [x.sin()]}

    x = kkori.tensor([1.0, 2.0], requires_grad=True)
    out = checkpoint(two, x, use_reentrant=False, factor=3.0)
    (out["a"] + out["b"][0]).sum().backward()
    assert x.grad.tolist() == pytest.approx((3 * x.exp() + x.cos()).tolist())


def test_without_gradients_it_is_a_call():
    with kkori.no_grad():
        out = checkpoint(lambda x: x * 2, kkori.ones(1), use_reentrant=False)
    assert out.tolist() == [2.0]
    assert not out.requires_grad


def test_a_different_second_run_is_told():
    runs = []

    def fickle(x):
        runs.append(1)
        return x.exp().sin() if len(runs) == 1 else x.exp()

    out = checkpoint(fickle, kkori.ones(1, requires_grad=True), use_reentrant=False)
    with pytest.raises(CheckpointError, match="A different number of tensors was saved"):
        out.sum().backward()


def test_the_choice_must_be_made():
    x = kkori.ones(1, requires_grad=True)
    with pytest.warns(UserWarning, match="the use_reentrant parameter should be passed"):
        checkpoint(kkori.exp, x).sum().backward()
    assert x.grad.tolist() == pytest.approx([2.7182817])


def test_mistakes():
    x = kkori.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: a,b"):
        checkpoint(kkori.exp, x, use_reentrant=True, a=1, b=2)
    with pytest.raises(ValueError, match="`debug` is only supported when use_reentrant=False"):
        checkpoint(kkori.exp, x, use_reentrant=True, debug=True)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        out = checkpoint(kkori.exp, kkori.ones(1), use_reentrant=True)
    assert not out.requires_grad


@BOTH
@pytest.mark.parametrize("segments", [1, 2, 3])
def test_chains(segments, use_reentrant):
    chain = [kkori.exp, kkori.sin, kkori.tanh, kkori.cos, kkori.exp]
    x, y = (kkori.tensor([0.1, 0.2], requires_grad=True) for _ in range(2))
    with kkori.eager():  # numbers to the last bit
        checkpoint_sequential(chain, segments, x, use_reentrant=use_reentrant).sum().backward()
        y.exp().sin().tanh().cos().exp().sum().backward()
    assert x.grad.tolist() == y.grad.tolist()
