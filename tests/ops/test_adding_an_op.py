"""docs/adding-an-op.md, done as written: one row in the library, one in the tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import drivers
import pytest
import table

import kkori
from kkori.ops import elementwise
from kkori.ops import table as library

PAGE = Path(__file__).parents[2] / "docs" / "adding-an-op.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
REGISTERS = (library.TABLE, library.TORCH, library.METHODS, table.ROWS)
BINARY_TEST = 'binary("rotate", numbers=False, kinds="f")'


@pytest.fixture
def added():
    """Both rows of the page in the library and in the tests; gone again afterwards."""
    before = [dict(register) for register in REGISTERS]
    unary_row, binary_row, unary_test = BLOCKS
    names = vars(elementwise) | {}
    exec(unary_row + binary_row, names)
    new = set(library.METHODS) - set(before[2])
    publish(new)
    exec(unary_test + BINARY_TEST, vars(table) | {"np": names["np"]})
    yield new
    for name in new:
        delattr(kkori.Tensor, name)
        vars(kkori).pop(name, None)
    for register, old in zip(REGISTERS, before, strict=True):
        for name in set(register) - set(old):
            del register[name]


def publish(names):
    """What happens to every row when kkori is imported."""
    for name in names:
        setattr(kkori.Tensor, name, library.METHODS[name])
        if name in library.TORCH:
            setattr(kkori, name, library.TORCH[name])


def test_each_row_is_one_statement():
    assert [len(ast.parse(block).body) for block in BLOCKS] == [1, 1, 1]
    assert max(len(line) for block in BLOCKS for line in block.splitlines()) <= 100


def test_the_row_brings_function_method_and_in_place_form(added):
    assert added == {"haversin", "haversin_", "rotate", "rotate_"}
    x = kkori.tensor([0.0, kkori.pi], requires_grad=True)
    y = kkori.haversin(x)
    assert y.tolist() == [0.0, 1.0]
    assert type(y.grad_fn).__name__ == "HaversinBackward0"
    assert kkori.haversin(kkori.tensor([0])).dtype is kkori.float32


PROBES = ["plain", "float32", "scalar", "empty", "special", "whole", "byte"]


@pytest.mark.parametrize("probe", PROBES)
def test_drivers_on_the_new_row(added, probe):
    row = table.ROWS["haversin"]
    assert list(row.probes) == PROBES
    drivers.check_values(row, probe, None)
    drivers.check_strides(row, probe)
    drivers.check_in_place(row, probe)
    drivers.check_out(row, probe)
    if drivers.has_slopes(row, probe):
        drivers.check_derivatives(row, probe)


@pytest.mark.parametrize("probe", ["plain", "broadcast", "scalar", "empty"])
def test_drivers_on_the_new_row_of_two(added, probe):
    row = table.ROWS["rotate"]
    drivers.check_strides(row, probe)
    drivers.check_derivatives(row, probe)


def test_a_wrong_gradient_is_found(added, monkeypatch):
    row = library.TABLE["haversin"]
    monkeypatch.setattr(row, "rules", [(lambda g, input: g * input.sin(), row.rules[0][1])])
    with pytest.raises(AssertionError, match="first derivative"):
        drivers.check_derivatives(table.ROWS["haversin"], "plain")
