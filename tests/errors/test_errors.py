"""Mistakes get PyTorch's exception type and first line, and then lines that help."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

import kkori

HERE = Path(__file__).parent
mistakes = runpy.run_path(str(HERE / "make_figures.py"))
FIGURES = json.loads((HERE / "figures.json").read_text())

# The errors that the course runs into, and others whose cause is far from where they are raised.
EXPLAINED = {
    "matmul_second_too_short": "shapes",
    "matmul_first_too_narrow": "shapes",
    "matmul_float_long": "dtypes",
    "matmul_long_float": "dtypes",
    "linear_vector": "shapes",
    "linear_in_sequential": "shapes",
    "two_devices_add": "devices",
    "two_devices_linear": "devices",
    "backward_twice": "gradients",
    "backward_of_vector": "gradients",
    "backward_of_constant": "gradients",
    "leaf_in_place": "gradients",
    "broadcast_add": "shapes",
    "view_size": "shapes",
    "cat_sizes": "shapes",
    "cross_entropy_class": "values",
    "cross_entropy_float_target": "dtypes",
    "bce_input_outside": "values",
    "linear_long_input": "dtypes",
    "numpy_of_recorded": "gradients",
    "saved_modified": "gradients",
    "embedding_index": "values",
    "add_float_to_long_in_place": "dtypes",
}
FIX = "  fix: "


def test_there_are_enough_mistakes_and_each_does_something():
    assert set(FIGURES) == set(mistakes["CASES"])
    assert len(FIGURES) >= 300
    assert all(FIGURES.values())


@pytest.mark.parametrize("name", FIGURES)
def test_type_and_first_line(name):
    found = mistakes["figure"](kkori, name)
    expected = FIGURES[name]
    if "\n" in expected.get("line", ""):  # a report of many lines: what we add comes after it
        assert found["line"].startswith(expected["line"])
        expected = expected | {"line": found["line"]}
    assert found == expected


@pytest.mark.oracle
def test_the_figures_are_what_torch_says():
    torch = pytest.importorskip("torch")
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        found = {name: mistakes["figure"](torch, name) for name in FIGURES}
    finally:
        torch.set_warn_always(before)
    assert found == FIGURES


def message_of(name):
    error, _ = mistakes["run"](kkori, name)
    return str(error), mistakes["CASES"][name].__code__


@pytest.mark.parametrize("name", EXPLAINED)
def test_the_added_lines_name_the_place_and_one_fix(name):
    text, code = message_of(name)
    added = text.split("\n")[1:]
    assert 2 <= len(added) <= 5
    numbers = {number for _, _, number in code.co_lines() if number}
    places = [line for line in added if line.startswith(f"  at {code.co_filename}:")]
    assert len(places) == 1
    assert int(places[0].removeprefix(f"  at {code.co_filename}:").split(":")[0]) in numbers
    assert sum(line.startswith(FIX) for line in added) == 1


@pytest.mark.parametrize("name", FIGURES)
def test_never_more_than_five_added_lines(name):
    error, _ = mistakes["run"](kkori, name)
    reported = FIGURES[name].get("line", "").count("\n")
    assert len(str(error).split("\n")) - 1 <= 5 + reported


def test_no_parameters_is_explained():
    text, code = message_of("no_parameters")
    assert text.startswith("\n") and "ReLU() has no parameters" in text
    assert f"at {code.co_filename}:{code.co_firstlineno + 1}" in text


def test_the_module_is_named_as_the_user_named_it():
    net = kkori.nn.Sequential(kkori.nn.Linear(2, 20), kkori.nn.ReLU(), kkori.nn.Linear(30, 1))
    with pytest.raises(RuntimeError) as caught:
        net(kkori.ones(5, 2))
    assert "  in net.2 = Linear(in_features=30, out_features=1, bias=True)" in str(caught.value)


class Tower(kkori.nn.Module):
    def __init__(self):
        super().__init__()
        self.floors = kkori.nn.ModuleList([kkori.nn.Linear(2, 2), kkori.nn.Linear(3, 1)])

    def forward(self, x):
        for floor in self.floors:
            x = floor(x)
        return x


def test_the_module_is_named_through_a_users_own_module():
    tower = Tower()
    with pytest.raises(RuntimeError) as caught:
        tower(kkori.ones(5, 2))
    text = str(caught.value)
    assert "  in tower.floors.1 = Linear(in_features=3, out_features=1, bias=True)" in text
    assert f"  at {__file__}:" in text and "x = floor(x)" in text


def test_the_module_of_an_attribute_is_named():
    class Keeper:
        def __init__(self):
            self.model = Tower()

    keeper = Keeper()
    with pytest.raises(RuntimeError, match=r"  in Tower\.floors\.1 = Linear\("):
        keeper.model(kkori.ones(5, 2))


def test_a_module_that_cannot_be_printed_hides_no_error():
    class Odd(kkori.nn.Linear):
        def __repr__(self):
            raise OSError("no name")

    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        Odd(2, 1)(kkori.ones(5, 3))


def test_an_error_of_the_users_own_passes_unchanged():
    class Strict(kkori.nn.Module):
        def forward(self, x):
            raise ValueError("not today")

    with pytest.raises(ValueError, match="^not today$"):
        Strict()(kkori.ones(1))


def test_the_broadcasting_warning_is_given_at_the_users_line():
    layer, x, y = kkori.nn.Linear(1, 1), kkori.ones(10, 1), kkori.ones(10)
    with pytest.warns(UserWarning) as caught:
        kkori.nn.MSELoss()(layer(x), y)
    (warning,) = caught
    assert warning.filename == __file__
    assert "  they broadcast to [10, 10]: 100 differences, not 10" in str(warning.message)
    assert "  fix: target.reshape(input.shape)" in str(warning.message)
