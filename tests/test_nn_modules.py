"""Every module prints, begins and computes as PyTorch's does; the figures were made by PyTorch."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest

import kkori

FIGURES = Path(__file__).with_name("figures")
recipes = runpy.run_path(str(FIGURES / "make_nn_figures.py"))
figures = json.loads((FIGURES / "nn.json").read_text())
EVERY = [*recipes["CASES"], *recipes["STILL"]]
pytestmark = pytest.mark.filterwarnings("ignore")


def same(found, expected, what):
    assert found[:2] == expected[:2], what
    np.testing.assert_allclose(found[2], expected[2], rtol=2e-4, atol=2e-5, err_msg=what)


@pytest.mark.parametrize("text", EVERY)
def test_printed_form_and_first_values(text):
    found, expected = recipes["start"](kkori, text), figures["start"][text]
    assert found["repr"] == expected["repr"]
    assert found["keys"] == expected["keys"]
    assert found["draw"] == pytest.approx(expected["draw"]), "random numbers used up"
    for name, first in found["start"].items():
        same(first, expected["start"][name], name)


@pytest.mark.parametrize("text", recipes["CASES"])
def test_a_training_call(text):
    found, expected = recipes["call"](kkori, text), figures["call"][text]
    for what in ("outputs", "gradients", "buffers"):
        assert len(found[what]) == len(expected[what]), what
        for number, (tensor, digest) in enumerate(zip(found[what], expected[what], strict=True)):
            same(recipes["digest"](tensor), digest, f"{what} {number}")


@pytest.mark.parametrize("text", EVERY)
def test_copies_and_pickles_are_the_same_module(text):
    module = recipes["build"](kkori, text)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert repr(twin) == repr(module)
        pairs = zip(module.state_dict().items(), twin.state_dict().items(), strict=True)
        for (name, value), (other_name, other) in pairs:
            assert name == other_name
            if "Lazy" not in text:
                assert value.data_ptr() != other.data_ptr() or not value.numel()
                np.testing.assert_array_equal(value.numpy(), other.numpy())


@pytest.mark.oracle
def test_the_figures_are_what_torch_gives():
    torch = pytest.importorskip("torch")
    for text in EVERY[::7]:  # the tests below compare every module with torch itself
        found, first = recipes["start"](torch, text), figures["start"][text]
        assert {**found, "start": 0} == {**first, "start": 0}
        for name, digest in first["start"].items():
            same(found["start"][name], digest, f"{text} {name}")


@pytest.mark.oracle
@pytest.mark.parametrize("text", EVERY)
def test_every_first_value_is_torchs(text):
    torch = pytest.importorskip("torch")
    if "Lazy" in text:
        return
    ours, theirs = (recipes["build"](lib, text).state_dict() for lib in (kkori, torch))
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name].numpy(), value.numpy(), rtol=1e-6, err_msg=name)


@pytest.mark.oracle
@pytest.mark.parametrize("text", recipes["CASES"])
def test_every_number_of_a_training_call_is_torchs(text):
    torch = pytest.importorskip("torch")
    ours, theirs = (recipes["call"](lib, text) for lib in (kkori, torch))
    for what, tensors in theirs.items():
        for number, (mine, other) in enumerate(zip(ours[what], tensors, strict=True)):
            assert str(mine.dtype) == str(other.dtype)
            np.testing.assert_allclose(
                mine.detach().numpy(), other.detach().numpy(), rtol=1e-4, atol=2e-6,
                err_msg=f"{what} {number}")


def outputs_in_double(lib, text):
    """Outputs of two calls in float64: the first trains (and fills buffers), the second not."""
    module = recipes["build"](lib, text).double()
    inputs = [recipes["make_input"](lib, spec, i) for i, spec in enumerate(recipes["CASES"][text])]
    inputs = [x.double() if x.is_floating_point() else x for x in inputs]
    found = []
    for training in (True, False):
        lib.manual_seed(2)
        module.train(training)
        with lib.no_grad():
            found += recipes["tensors_in"](module(*[x * 1 for x in inputs]))
    return found


@pytest.mark.oracle
@pytest.mark.parametrize("text", recipes["CASES"])
def test_double_precision_and_eval_mode(text):
    torch = pytest.importorskip("torch")
    pairs = zip(outputs_in_double(kkori, text), outputs_in_double(torch, text), strict=True)
    for mine, other in pairs:
        assert str(mine.dtype) == str(other.dtype)
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.oracle
def test_no_module_is_missing():
    torch = pytest.importorskip("torch")
    tested = {text.partition("(")[0] for text in EVERY}
    abstract = {"RNNBase", "RNNCellBase", "Container", "NLLLoss2d"}
    unknown = {"LinearCrossEntropyOptions"}  # settings of a chunked kernel
    for name in torch.nn.modules.__all__:
        if name not in unknown:
            assert hasattr(kkori.nn, name), name
            assert name in tested | abstract | {"LinearCrossEntropyLoss"}, f"{name} has no case"


def test_warnings_do_not_come_from_making_modules():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recipes["build"](kkori, "Transformer(6, 2, 1, 1, 8, 0.0, batch_first=True)")


def arguments(kind):
    """Names, kinds and defaults of a constructor's arguments; functions only as such."""
    named = [each for each in inspect.signature(kind).parameters.values()
             if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return [(each.name, each.kind, each.default if each.default is each.empty
             or not callable(each.default) else "a function") for each in named]


@pytest.mark.oracle
def test_constructors_and_forwards_take_what_torchs_take():
    torch = pytest.importorskip("torch")
    for name in torch.nn.modules.__all__:
        if hasattr(kkori.nn, name):
            mine, theirs = getattr(kkori.nn, name), getattr(torch.nn, name)
            assert arguments(mine) == arguments(theirs), name
            if name != "RNNBase":  # here it is also the `forward` of its subclasses
                assert arguments(mine.forward) == arguments(theirs.forward), name


@pytest.mark.oracle
def test_init_and_utils_take_what_torchs_take():
    torch = pytest.importorskip("torch")
    utils = ("clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm",
             "parameters_to_vector", "vector_to_parameters", "weight_norm", "spectral_norm",
             "remove_weight_norm", "remove_spectral_norm", "fuse_conv_bn_eval",
             "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights")
    for kind in ("Embedding", "EmbeddingBag"):
        mine, theirs = getattr(kkori.nn, kind), getattr(torch.nn, kind)
        assert arguments(mine.from_pretrained) == arguments(theirs.from_pretrained)
    rooms = ((kkori.nn.init, torch.nn.init, [name for name in torch.nn.init.__all__
                                             if name.endswith("_") or name == "calculate_gain"]),
             (kkori.nn.utils, torch.nn.utils, utils),
             (kkori.nn.utils.rnn, torch.nn.utils.rnn, torch.nn.utils.rnn.__all__),
             (kkori.nn.utils.parametrize, torch.nn.utils.parametrize,
              torch.nn.utils.parametrize.__all__),
             (kkori.nn.utils.parametrizations, torch.nn.utils.parametrizations,
              torch.nn.utils.parametrizations.__all__))
    for mine, theirs, names in rooms:
        for name in names:
            assert arguments(getattr(mine, name)) == arguments(getattr(theirs, name)), name
