"""Tensors print letter for letter as PyTorch prints them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import kkori
from kkori.show import printing

FIGURES = Path(__file__).with_name("figures")
cases = runpy.run_path(str(FIGURES / "make_printing_figures.py"))
figures = json.loads((FIGURES / "printing.json").read_text())


@pytest.fixture(autouse=True)
def default_options():
    yield
    kkori.set_printoptions(profile="default")


def test_every_random_tensor_prints_as_the_figures_say():
    assert len(figures["texts"]) == cases["COUNT"] == 500
    for index, expected in enumerate(figures["texts"]):
        with np.errstate(all="ignore"):
            assert cases["text"](kkori, index) == expected, f"case {index}"


@pytest.mark.oracle
def test_the_figures_are_what_torch_prints():
    torch = pytest.importorskip("torch")
    for index, expected in enumerate(figures["texts"]):
        with np.errstate(all="ignore"):
            assert cases["text"](torch, index) == expected, f"case {index}"


@pytest.mark.parametrize("kind", cases["KINDS"])
def test_special_tensors(kind):
    assert cases["texts_of_kind"](kkori, kind) == figures["kinds"][kind]


@pytest.mark.oracle
@pytest.mark.parametrize("kind", cases["KINDS"])
def test_torch_agrees_on_special_tensors(kind):
    torch = pytest.importorskip("torch")
    assert cases["texts_of_kind"](torch, kind) == figures["kinds"][kind]


def test_format_of_one_number():
    assert f"{kkori.tensor(3.14159):.3f}" == "3.142"
    assert f"{kkori.tensor(42):>5d}" == "   42"
    assert f"{kkori.tensor(2.0, requires_grad=True):.1f}" == "2.0"
    assert f"{kkori.tensor(0.5):.0%}" == "50%"


def test_format_of_many_numbers():
    ones = kkori.ones(2)
    assert f"{ones}" == "tensor([1., 1.])"
    with pytest.raises(TypeError, match="unsupported format string passed to Tensor.__format__"):
        f"{ones:.3f}"
    with pytest.raises(TypeError, match="unsupported format string passed to Parameter.__format__"):
        f"{kkori.nn.Parameter(kkori.ones(())):.3f}"


def test_options_hold_until_changed_back():
    before = printing.get_printoptions()
    with printing.printoptions(precision=1, sci_mode=False):
        assert repr(kkori.tensor([0.00001, 100.0])) == "tensor([  0.0, 100.0])"
    assert printing.get_printoptions() == before
    kkori.set_printoptions(sci_mode=True)
    kkori.set_printoptions(precision=2)  # a call that does not name sci_mode frees it again
    assert repr(kkori.tensor([1.5])) == "tensor([1.50])"


def test_own_contents():
    assert kkori.ones(2).__repr__(tensor_contents="two ones") == "tensor(two ones)"


def test_printing_does_not_extend_the_graph_or_change_the_tensor():
    x = kkori.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    node = y.grad_fn
    str(y)
    assert y.grad_fn is node and y.tolist() == [3.0, 6.0]
