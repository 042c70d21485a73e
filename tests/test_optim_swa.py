"""Averages of weights against PyTorch."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import kkori


def model_of(lib):
    model = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.BatchNorm1d(4), lib.nn.Linear(4, 1))
    source = np.random.RandomState(0)
    with lib.no_grad():
        for param in model.parameters():
            param.copy_(lib.tensor(source.randn(*param.shape).astype(np.float32)))
    return model


def batches(lib, count=4):
    source = np.random.RandomState(1)
    return [lib.tensor(source.randn(5, 3).astype(np.float32)) for _ in range(count)]


def plain_ema(averaged, current, count):
    return 0.5 * averaged + 0.5 * current


def averages(lib, options):
    swa = lib.optim.swa_utils
    made = {name: value(swa) if callable(value) else value for name, value in options.items()}
    return swa.AveragedModel, made


OPTIONS = [
    {},
    {"use_buffers": True},
    {"avg_fn": lambda swa: swa.get_ema_avg_fn(0.9)},
    {"avg_fn": lambda swa: swa.get_swa_avg_fn()},
    {"avg_fn": lambda swa: plain_ema},
    {"multi_avg_fn": lambda swa: swa.get_ema_multi_avg_fn(0.7), "use_buffers": True},
    {"multi_avg_fn": lambda swa: swa.get_swa_multi_avg_fn()},
]


@pytest.mark.oracle
@pytest.mark.parametrize("options", OPTIONS)
def test_averaged_models_equal_torch(options):
    torch = pytest.importorskip("torch")

    def run(lib):
        cls, made = averages(lib, options)
        model = model_of(lib)
        averaged = cls(model, **made)
        optimizer = lib.optim.SGD(model.parameters(), lr=0.05)
        for batch in batches(lib):
            optimizer.zero_grad()
            (model(batch) ** 2).mean().backward()
            optimizer.step()
            averaged.update_parameters(model)
        averaged.eval()
        state = {name: value.numpy() for name, value in averaged.state_dict().items()}
        return state, averaged(batches(lib)[0]).detach().numpy()

    (expected, output), (found, own_output) = run(torch), run(kkori)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert np.allclose(found[name], value, rtol=1e-5, atol=1e-6), name
    assert np.allclose(own_output, output, rtol=1e-4, atol=1e-5)


@pytest.mark.oracle
def test_update_bn_equals_torch():
    torch = pytest.importorskip("torch")

    def run(lib):
        model = model_of(lib)
        model.eval()
        loader = [(batch, None) for batch in batches(lib)]
        lib.optim.swa_utils.update_bn(loader, model)
        return model[1].running_mean.numpy(), model[1].running_var.numpy(), model[1].momentum

    for found, expected in zip(run(kkori), run(torch), strict=True):
        assert np.allclose(found, expected, rtol=1e-5)


def test_update_bn_leaves_the_mode_and_the_momentum():
    model = model_of(kkori).eval()
    kkori.optim.swa_utils.update_bn(batches(kkori), model)
    assert not model.training
    assert model[1].momentum == 0.1


def test_the_average_is_a_model_of_its_own():
    model = model_of(kkori)
    averaged = kkori.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    before = copy.deepcopy(averaged.module[0].weight.detach())
    with kkori.no_grad():
        model[0].weight.add_(1.0)
    assert kkori.equal(averaged.module[0].weight, before)
    averaged.update_parameters(model)
    assert kkori.allclose(averaged.module[0].weight, before + 0.5)
    assert averaged.n_averaged.item() == 2


def test_mistakes():
    swa = kkori.optim.swa_utils
    with pytest.raises(ValueError, match=r"Invalid decay value 1\.5 provided"):
        swa.get_ema_avg_fn(1.5)
    with pytest.raises(ValueError, match=r"Invalid decay value -1 provided"):
        swa.get_ema_multi_avg_fn(-1)
    with pytest.raises(AssertionError, match="Only one of avg_fn and multi_avg_fn"):
        swa.AveragedModel(
            kkori.nn.Linear(1, 1),
            avg_fn=swa.get_swa_avg_fn(),
            multi_avg_fn=swa.get_swa_multi_avg_fn(),
        )
