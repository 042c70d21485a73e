"""Every optimizer, with its options, goes where PyTorch's goes."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

import kkori

# Options to try, beside the defaults, and switches that all who have them are tried with.
OPTIONS = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ],
    "Adam": [{"lr": 0.05}, {"betas": (0.3, 0.5)}, {"amsgrad": True}, {"eps": 0.1}],
    "AdamW": [{"amsgrad": True, "lr": 0.02}, {"weight_decay": 0.0}],
    "RMSprop": [{"momentum": 0.9}, {"centered": True}, {"momentum": 0.5, "centered": True}],
    "Adagrad": [{"lr_decay": 0.1}, {"initial_accumulator_value": 0.5}],
    "Adadelta": [{"rho": 0.5}, {"eps": 1e-3, "lr": 0.5}],
    "Adamax": [{"betas": (0.5, 0.6)}],
    "NAdam": [{"decoupled_weight_decay": True}, {"momentum_decay": 0.1}],
    "RAdam": [{"decoupled_weight_decay": True}, {"betas": (0.5, 0.9)}],
    "ASGD": [{"t0": 5, "alpha": 0.5}, {"lambd": 0.1}],
    "Rprop": [{"etas": (0.3, 1.5)}, {"step_sizes": (1e-2, 0.1)}],
    "Adafactor": [{"d": 1.5, "eps": (1e-5, 1e-2)}, {"beta2_decay": -0.5}],
    "LBFGS": [{"line_search_fn": "strong_wolfe"}, {"history_size": 2, "max_iter": 5, "lr": 0.3}],
    "Muon": [{"nesterov": False, "adjust_lr_fn": "match_rms_adamw"}, {"ns_steps": 3}],
}
SWITCHES = [{"weight_decay": 0.1}, {"maximize": True}]
MATRICES_ONLY = {"Muon"}
REAL_ONLY = {"Adafactor", "Muon"}
SHAPES = ((3, 4), (4,), ())
STEPS = 100
MOST_STEPS = {"LBFGS": 5, "Muon": 10}  # each of them is many iterations


def optimizer_classes():
    """All of them, found by looking."""
    found = vars(kkori.optim).values()
    base = kkori.optim.Optimizer
    return [cls for cls in found if isinstance(cls, type) and issubclass(cls, base)
            and cls is not base]


def cases():
    for cls in optimizer_classes():
        accepted = inspect.signature(cls).parameters
        options = [{}, *OPTIONS[cls.__name__]]
        options += [switch for switch in SWITCHES if next(iter(switch)) in accepted]
        for each in options:
            yield pytest.param(cls.__name__, each, id=f"{cls.__name__}-{each}")


def values(shape, seed, dtype):
    source = np.random.RandomState(seed)
    found = source.randn(*shape)
    if np.dtype(dtype).kind == "c":
        found = found + 1j * source.randn(*shape)
    return np.asarray(found).astype(dtype)


def objective(lib, params, targets):
    total = 0.0
    for param, target in zip(params, targets, strict=True):
        square = (param - target).abs() ** 2
        total = total + 0.5 * square.sum() + (1 + square).sqrt().sum()
    return total


def trained(lib, name, options, dtype, shapes=SHAPES, steps=STEPS):
    """Parameters and optimizer after some steps towards random targets."""
    if name in MATRICES_ONLY:
        shapes = ((3, 4), (6, 2))
    params = [lib.tensor(values(shape, i, dtype)) for i, shape in enumerate(shapes)]
    targets = [lib.tensor(values(shape, i + 50, dtype)) for i, shape in enumerate(shapes)]
    for param in params:
        param.requires_grad_()
    optimizer = getattr(lib.optim, name)(params, **options)

    def closure():
        optimizer.zero_grad()
        loss = objective(lib, params, targets)
        loss.backward()
        return loss

    for _ in range(min(steps, MOST_STEPS.get(name, steps))):
        optimizer.step(closure)
    return params, optimizer


def largest_gap(found, expected):
    """The largest relative difference; numbers near zero count as a thousandth."""
    pairs = zip(found, expected, strict=True)
    pairs = [(a.detach().numpy(), b.detach().numpy()) for a, b in pairs]
    return max(float(np.max(np.abs(a - b) / (np.abs(b) + 1e-3))) for a, b in pairs)


@pytest.mark.oracle
@pytest.mark.parametrize(("name", "options"), list(cases()))
def test_trajectory_equals_torch(name, options):
    torch = pytest.importorskip("torch")
    expected, reference = trained(torch, name, options, "float64")
    found, optimizer = trained(kkori, name, options, "float64")
    assert largest_gap(found, expected) < 1e-7
    assert repr(optimizer) == repr(reference)
    same_layout(optimizer.state_dict(), reference.state_dict())


@pytest.mark.parametrize("name", [cls.__name__ for cls in optimizer_classes()])
def test_switches_of_implementation_change_nothing(name):
    """``foreach`` and ``fused`` choose among PyTorch's kernels; here there is one."""
    plain, _ = trained(kkori, name, {}, "float32", steps=3)
    accepted = inspect.signature(getattr(kkori.optim, name)).parameters
    for switch in {"foreach", "fused"} & set(accepted):
        found, optimizer = trained(kkori, name, {switch: True}, "float32", steps=3)
        assert largest_gap(found, plain) == 0
        assert optimizer.defaults[switch] is True


@pytest.mark.oracle
@pytest.mark.parametrize("name", [cls.__name__ for cls in optimizer_classes()])
def test_single_precision_equals_torch(name):
    torch = pytest.importorskip("torch")
    for options in ({}, *OPTIONS[name][:1]):
        expected, _ = trained(torch, name, options, "float32")
        found, _ = trained(kkori, name, options, "float32")
        assert largest_gap(found, expected) < 2e-5
        assert all(param.dtype is kkori.float32 for param in found)


@pytest.mark.oracle
@pytest.mark.parametrize("name", [cls.__name__ for cls in optimizer_classes()
                                  if cls.__name__ not in REAL_ONLY])
def test_complex_parameters_equal_torch(name):
    torch = pytest.importorskip("torch")
    expected, _ = trained(torch, name, {}, "complex128", steps=30)
    found, optimizer = trained(kkori, name, {}, "complex128", steps=30)
    assert largest_gap(found, expected) < 1e-7


def same_layout(found, expected):
    """Keys in the same order, tensors of the same shape and dtype, everywhere in a state dict."""
    assert found["param_groups"] == expected["param_groups"]
    assert [list(group) for group in found["param_groups"]] == [
        list(group) for group in expected["param_groups"]
    ]
    assert list(found["state"]) == list(expected["state"])
    for key, state in expected["state"].items():
        assert list(found["state"][key]) == list(state)
        for name, value in state.items():
            if hasattr(value, "shape"):
                assert tuple(found["state"][key][name].shape) == tuple(value.shape)
                assert str(found["state"][key][name].dtype) == str(value.dtype)


@pytest.mark.oracle
@pytest.mark.parametrize("name", [cls.__name__ for cls in optimizer_classes()])
def test_state_dicts_go_both_ways(name):
    """Half of the steps in one library, the rest in the other, give what one alone gives."""
    torch = pytest.importorskip("torch")
    for first, second in ((torch, kkori), (kkori, torch)):
        expected, _ = trained(second, name, {}, "float64", steps=20)
        if name in MOST_STEPS:
            expected, _ = continued(second, second, name)
        found, _ = continued(first, second, name)
        assert largest_gap(found, expected) < 1e-7


def continued(first, second, name, steps=10):
    halfway, optimizer = trained(first, name, {}, "float64", steps=steps)
    state = converted(optimizer.state_dict(), second)
    params = [second.tensor(param.detach().numpy().copy()) for param in halfway]
    targets = [second.tensor(values(p.shape, i + 50, "float64")) for i, p in enumerate(halfway)]
    for param in params:
        param.requires_grad_()
    resumed = getattr(second.optim, name)(params)
    resumed.load_state_dict(state)

    def closure():
        resumed.zero_grad()
        loss = objective(second, params, targets)
        loss.backward()
        return loss

    for _ in range(min(steps, MOST_STEPS.get(name, steps))):
        resumed.step(closure)
    return params, resumed


def converted(value, lib):
    """The same plain data with the other library's tensors."""
    if isinstance(value, dict):
        return {key: converted(item, lib) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(converted(item, lib) for item in value)
    if hasattr(value, "detach"):
        return lib.tensor(value.detach().numpy().copy())
    return value


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta",
                                  "Adamax", "NAdam", "RAdam", "ASGD", "Rprop"])
def test_blocks_of_a_large_array_equal_the_whole(name, monkeypatch):
    """Cache-sized pieces are a matter of speed only."""
    options = {**OPTIONS[name][-1], "lr": 0.05}
    whole, plain = trained(kkori, name, options, "float32", shapes=((7, 11),), steps=5)
    monkeypatch.setattr("kkori.optim.rule.BLOCK", 40)
    pieces, blocked = trained(kkori, name, options, "float32", shapes=((7, 11),), steps=5)
    assert np.array_equal(whole[0].detach().numpy(), pieces[0].detach().numpy())
    for key, value in plain.state[whole[0]].items():
        assert np.array_equal(value.numpy(), blocked.state[pieces[0]][key].numpy())


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "Adadelta", "Adamax",
                                  "NAdam", "RAdam", "ASGD", "Rprop"])
def test_differentiable_steps_equal_plain_ones(name):
    """The same rule runs on tensors; there the result has a tail that leads to the gradient."""
    start, slope = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    plain = kkori.tensor(start, requires_grad=True)
    plain.grad = kkori.tensor(slope)
    getattr(kkori.optim, name)([plain], lr=0.1).step()
    leaf = kkori.tensor(start, requires_grad=True)
    gradient = kkori.tensor(slope, requires_grad=True)
    moved = leaf.clone()
    moved.retain_grad()
    optimizer = getattr(kkori.optim, name)([moved], lr=0.1, differentiable=True)
    moved.grad = gradient
    optimizer.step()
    assert np.allclose(moved.detach().numpy(), plain.detach().numpy(), rtol=1e-12)
    assert moved.grad_fn is not None


FIGURES = json.loads((Path(__file__).parent / "figures" / "optim.json").read_text())


@pytest.mark.parametrize(
    "case", FIGURES["steps"], ids=lambda case: f"{case['name']}-{case['options']}"
)
def test_steps_are_the_committed_figures(case):
    param = kkori.tensor(FIGURES["start"], dtype=kkori.float64, requires_grad=True)
    options = {key: tuple(value) if isinstance(value, list) else value
               for key, value in case["options"].items()}
    optimizer = getattr(kkori.optim, case["name"])([param], **options)
    for gradient, expected in zip(FIGURES["gradients"], case["values"], strict=True):
        param.grad = kkori.tensor(gradient, dtype=kkori.float64)
        optimizer.step(lambda: kkori.tensor(1.0))
        assert np.allclose(param.detach().numpy(), expected, rtol=1e-7, atol=0)
    assert repr(optimizer) == case["repr"]
