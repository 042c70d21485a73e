"""Registered names are found at once, and nothing else about attributes is different for it."""

import copy
import pickle

import pytest

import kkori as torch
from kkori import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(2.0))
        self.layer = nn.Linear(1, 1)
        self.register_buffer("steps", torch.tensor(0))
        self.register_parameter("nothing", None)

    def forward(self, x):
        return self.slope * self.layer(x)


def test_what_is_registered_is_what_the_tables_say_now():
    net = Net()
    other = nn.Parameter(torch.tensor(3.0))
    net._parameters["slope"] = other
    assert net.slope is other
    net._modules["layer"] = None
    assert net.layer is None and net.nothing is None
    assert net.steps is net._buffers["steps"]


def test_no_lookup_goes_through_getattr(monkeypatch):
    net = Net()
    asked = []
    usual = nn.Module.__getattr__
    monkeypatch.setattr(nn.Module, "__getattr__",
                        lambda self, name: asked.append(name) or usual(self, name))
    assert net.slope is not None and net.layer is not None and net.steps is not None
    assert not asked
    assert net.nothing is None and asked == ["nothing"]  # there has never been one of that name


def test_the_class_looks_as_if_it_had_none():
    Net()
    assert not hasattr(Net, "slope")
    with pytest.raises(AttributeError, match="^type object 'Net' has no attribute 'slope'$"):
        _ = Net.slope


def test_what_is_gone_is_gone():
    net, other = Net(), Net()
    del net.slope
    with pytest.raises(AttributeError, match="^'Net' object has no attribute 'slope'"):
        _ = net.slope
    assert other.slope.item() == 2
    net.slope = 7
    assert net.slope == 7 and "slope" in vars(net)


def test_names_of_the_class_stay_what_they_are():
    class Named(nn.Module):
        size = 3

        def __init__(self):
            super().__init__()
            with pytest.raises(KeyError, match="attribute 'size' already exists"):
                self.register_buffer("size", torch.zeros(1))
            self._buffers["size"] = torch.zeros(1)

    assert Named().size == 3


def test_modules_that_look_attributes_up_themselves_do():
    class Doubling(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(2.0))

        def __getattr__(self, name):
            found = super().__getattr__(name)
            return found * 2 if name == "weight" else found

    assert Doubling().weight.item() == 4


def test_copies_have_their_own():
    net = Net()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin.slope is not net.slope and twin.slope is twin._parameters["slope"]
        twin.slope = nn.Parameter(torch.tensor(5.0))
        assert net.slope.item() == 2 and twin.slope.item() == 5


def test_before_init_there_is_nothing():
    Net()

    class Late(Net):
        def __init__(self):
            pass

    with pytest.raises(AttributeError, match="'Late' object has no attribute 'slope'"):
        _ = Late().slope
