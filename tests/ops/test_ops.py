"""Every row of the op table, against PyTorch's figures, differences, and itself."""

from __future__ import annotations

import warnings

import drivers
import pytest
import rows  # noqa: F401  fills the table
from table import ROWS

FIGURES = drivers.read_figures()
PROBES = [(name, probe) for name, row in ROWS.items() for probe in row.probes]
WORKING = [(name, probe) for name, probe in PROBES if isinstance(FIGURES[name][probe], list)]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def test_every_row_has_figures_and_most_probes_succeed():
    assert {name: set(row.probes) for name, row in ROWS.items()} == {
        name: set(part) for name, part in FIGURES.items()}
    assert len(ROWS) >= 250
    assert len(WORKING) > 0.85 * len(PROBES)


@pytest.mark.parametrize(("name", "probe"), PROBES)
def test_values_types_and_errors(name, probe):
    drivers.check_values(ROWS[name], probe, FIGURES[name][probe])


SMOOTH = [(name, probe) for name, probe in WORKING if ROWS[name].smooth
          and drivers.has_slopes(ROWS[name], probe) and drivers.finite(FIGURES[name][probe])]


@pytest.mark.parametrize(("name", "probe"), SMOOTH)
def test_first_and_second_derivatives(name, probe):
    drivers.check_derivatives(ROWS[name], probe)


@pytest.mark.parametrize(("name", "probe"), [
    (name, probe) for name, probe in WORKING if ROWS[name].any_layout])
def test_memory_order_does_not_matter(name, probe):
    drivers.check_strides(ROWS[name], probe)


@pytest.mark.parametrize(("name", "probe"), [
    (name, probe) for name, probe in WORKING if ROWS[name].on_meta])
def test_shapes_without_numbers(name, probe):
    drivers.check_meta(ROWS[name], probe)


@pytest.mark.parametrize(("name", "probe"), [
    (name, probe) for name, probe in WORKING if drivers.in_place_form(ROWS[name])])
def test_in_place(name, probe):
    drivers.check_in_place(ROWS[name], probe)


@pytest.mark.parametrize("name", [
    name for name, row in ROWS.items() if row.elementwise and not name.startswith("nn.")])
def test_out(name):
    probe = next(probe for probe in ROWS[name].probes)
    drivers.check_out(ROWS[name], probe)
