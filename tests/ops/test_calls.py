"""Wrong calls are told of PyTorch's positions: methods do not count `self`."""

from __future__ import annotations

import pytest

import kkori as torch

x = torch.ones(2, 3)
SAYINGS = {
    "torch.maximum(x, 1)": "maximum(): argument 'other' (position 2) must be Tensor, not int",
    "x.maximum(1)": "maximum(): argument 'other' (position 1) must be Tensor, not int",
    "x.add_('a')": "add_(): argument 'other' (position 1) must be Tensor, not str",
    "torch.gather(x, 0, 1)": "gather(): argument 'index' (position 3) must be Tensor, not int",
    "x.gather(0, 1)": "gather(): argument 'index' (position 2) must be Tensor, not int",
    "x.topk('a')": "topk(): argument 'k' (position 1) must be int, not str",
    "x.eq('a')": "eq() received an invalid combination of arguments - got (str), but expected one "
                 "of:",
    "torch.pow(1, 2)": "pow() received an invalid combination of arguments - got (int, int), but "
                       "expected one of:",
    "torch.sum(1)": "sum(): argument 'input' (position 1) must be Tensor, not int",
}


@pytest.mark.parametrize("call", SAYINGS)
def test_positions(call):
    with pytest.raises(TypeError) as caught:
        eval(call, {"torch": torch, "x": x})
    assert str(caught.value).split("\n")[0] == SAYINGS[call]


@pytest.mark.oracle
def test_sayings_are_pytorchs():
    theirs = pytest.importorskip("torch")
    for call, saying in SAYINGS.items():
        with pytest.raises(TypeError) as caught:
            eval(call, {"torch": theirs, "x": theirs.ones(2, 3)})
        assert str(caught.value).split("\n")[0] == saying
