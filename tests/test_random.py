"""Random numbers equal the committed figures of PyTorch, and the generator keeps its promises."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import kkori as torch

FIGURES = json.loads((Path(__file__).parent / "figures" / "random.json").read_text())
CHAINS = FIGURES["chains"]


def value_of(arg):
    if isinstance(arg, dict):
        return torch.tensor(arg["tensor"], dtype=getattr(torch, arg["dtype"]))
    return arg


def replayed(case):
    args = [value_of(arg) for arg in case["args"]]
    if "new" in case:
        return getattr(torch, case["new"])(*args)
    tensor = torch.zeros(case["shape"], dtype=getattr(torch, case["dtype"]))
    return getattr(tensor.t() if case.get("transposed") else tensor, case["fill"])(*args)


def same(a, b):
    return np.array_equal(a.detach().numpy(), b.detach().numpy())


def state_hash():
    return hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: f"seed={chain['seed']}")
def test_the_streams_are_the_figures(chain):
    torch.manual_seed(chain["seed"])
    for case in chain["cases"]:
        label = {name: case[name] for name in case if name not in ("values", "state")}
        result = replayed(case)
        assert str(result.dtype) == f"torch.{case['result']}", label
        got = np.array(result.double().tolist() if result.is_floating_point() else result.tolist())
        expected = np.array(case["values"])
        assert got.shape == expected.shape, label
        if result.is_floating_point():
            step = np.spacing(expected.astype(np.float32 if case["result"] != "float64"
                                              else np.float64))
            with np.errstate(invalid="ignore"):
                near = (got == expected) | (np.abs(got - expected) <= np.abs(step))
            assert near.all(), label
        else:
            assert (got == expected).all(), label
        assert state_hash() == case["state"], label


def test_a_seed_starts_its_stream_again():
    torch.manual_seed(5)
    first = torch.rand(1000)
    torch.manual_seed(5)
    assert same(first, torch.rand(1000))
    assert torch.initial_seed() == 5


def test_seeds_are_64_bits():
    for seed, kept in ((-1, 2**64 - 1), (2**64 - 1, 2**64 - 1), (-2**63, 2**63)):
        torch.manual_seed(seed)
        assert torch.initial_seed() == kept
    for seed in (2**64, -2**63 - 1):
        with pytest.raises(ValueError, match="Overflow when unpacking long long"):
            torch.manual_seed(seed)
    assert torch.initial_seed() == 2**63  # a refused seed changes nothing


def test_blocks_do_not_show():
    """However a stream is cut into calls, raw numbers come in one order."""
    torch.manual_seed(1)
    whole = torch.rand(20_000)
    torch.manual_seed(1)
    parts = torch.cat([torch.rand(n) for n in (1, 15, 16, 8192, 11_776)])
    assert same(whole, parts)


def test_fills_follow_memory_not_indices():
    torch.manual_seed(2)
    plain = torch.empty(3, 4, 5).uniform_()
    torch.manual_seed(2)
    turned = torch.empty(3, 4, 5).permute(2, 0, 1).uniform_()
    assert same(turned.permute(1, 2, 0), plain)


def test_states_can_be_saved_and_restored():
    torch.manual_seed(3)
    torch.randn(5)  # holds one normal number back
    state = torch.get_rng_state()
    expected = torch.randn(7), torch.rand(3)
    torch.set_rng_state(state)
    assert same(torch.randn(7), expected[0])
    assert same(torch.rand(3), expected[1])


@pytest.mark.parametrize("twin_of", [copy.deepcopy, torch.Generator.clone_state,
                                     lambda source: pickle.loads(pickle.dumps(source))])
def test_twins_of_a_generator_go_their_own_way(twin_of):
    source = torch.Generator().manual_seed(4)
    torch.randn(3, generator=source)
    twin = twin_of(source)
    assert same(torch.randn(9, generator=source), torch.randn(9, generator=twin))
    torch.rand(1, generator=twin)
    assert not same(torch.rand(4, generator=source), torch.rand(4, generator=twin))


def test_a_malformed_state_is_refused_whole():
    source = torch.Generator().manual_seed(6)
    before = source.get_state()
    broken = before.clone()
    broken[8:12] = 255  # `left` becomes -1
    for state, error, text in (
            (broken, RuntimeError, "Invalid mt19937 state"),
            (before[:-1], RuntimeError, "Expected a CPUGeneratorImplState of size 5056 but found "
                                        "the input RNG state size to be 5055"),
            (before.float(), TypeError, "RNG state must be a torch.ByteTensor"),
            (3, TypeError, "expected a torch.ByteTensor, but got int")):
        with pytest.raises(error, match=text):
            source.set_state(state)
        assert same(source.get_state(), before)


def test_fork_rng_gives_the_stream_back():
    torch.manual_seed(8)
    before = torch.get_rng_state()
    with torch.random.fork_rng():
        torch.rand(100)
        torch.manual_seed(1)
    assert same(torch.get_rng_state(), before)
    with pytest.raises(KeyError), torch.random.fork_rng():
        torch.rand(1)
        raise KeyError
    assert same(torch.get_rng_state(), before)


def test_refused_calls_take_nothing_from_the_stream():
    torch.manual_seed(9)
    before = torch.get_rng_state()
    ones = torch.ones(20)
    for call in (lambda: ones.normal_(0, -1), lambda: ones.uniform_(2, 1),
                 lambda: torch.multinomial(ones, 21), lambda: torch.bernoulli(2 * ones),
                 lambda: torch.poisson(-ones), lambda: torch.dropout(ones, 2.0, True),
                 lambda: torch.dropout(ones.long(), 0.5, True), lambda: torch.randint(3, 3, (2,)),
                 lambda: torch.randperm(300, dtype=torch.uint8)):
        with pytest.raises(RuntimeError):
            call()
    assert same(torch.get_rng_state(), before)
    assert same(ones, torch.ones(20))


def test_filled_tensors_forget_what_they_were():
    weight = torch.ones(4, requires_grad=True)
    filled = (weight * 2).normal_()
    assert filled.grad_fn.name() == "NormalBackward0"
    filled.sum().backward()
    assert weight.grad.tolist() == [0, 0, 0, 0]
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        weight.uniform_()
    with torch.no_grad():
        weight.uniform_()
    assert weight._version == 1


def test_dropout_sends_gradients_through_what_it_kept():
    torch.manual_seed(10)
    x = torch.full((1000,), 3.0, requires_grad=True)
    kept = torch.dropout(x, 0.25, True)
    kept.sum().backward()
    assert same(kept, x.detach() * x.grad)
    assert set(x.grad.tolist()) == {0.0, float(np.float32(1) / np.float32(0.75))}
    assert torch.dropout(x, 0.25, False) is x


def test_rrelu_sends_gradients_through_its_slopes():
    torch.manual_seed(11)
    x = torch.linspace(-2, 2, 41, requires_grad=True)
    y = torch.rrelu(x, 0.1, 0.3, True)
    y.sum().backward()
    slopes = x.grad.numpy()
    assert (slopes[21:] == 1).all()
    assert (slopes[:20] >= np.float32(0.1)).all() and (slopes[:20] < np.float32(0.3)).all()
    assert np.array_equal(y.detach().numpy(), slopes * x.detach().numpy())


def test_meta_tensors_draw_nothing():
    torch.manual_seed(12)
    before = torch.get_rng_state()
    assert torch.randn(2, 3, device="meta").shape == (2, 3)
    assert torch.empty(3, device="meta").uniform_().device.type == "meta"
    assert torch.multinomial(torch.empty(4, 5, device="meta"), 2).shape == (4, 2)
    assert same(torch.get_rng_state(), before)


def test_out_takes_its_own_type():
    torch.manual_seed(13)
    expected = torch.rand(4, dtype=torch.float64)
    torch.manual_seed(13)
    out = torch.empty(4, dtype=torch.float64)
    assert torch.rand(4, out=out) is out
    assert same(out, expected)


def test_expanded_tensors_are_refused():
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        torch.ones(3).expand(2, 3).normal_()
