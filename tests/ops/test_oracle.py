"""The figures are PyTorch's: made again, they are the same."""

from __future__ import annotations

import drivers
import pytest
import rows  # noqa: F401  fills the table

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch")

from make_figures import figures  # noqa: E402


def test_figures_are_pytorchs():
    kept = drivers.read_figures()
    for name, part in figures(torch).items():
        for probe, found in part.items():
            drivers.check_figure(found, kept[name][probe])
