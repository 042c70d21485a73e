"""Write figures.json: what PyTorch gives for every probe of the op table.

Run with the PyTorch that the figures are to come from: ``python tests/ops/make_figures.py``.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

import drivers
import rows  # noqa: F401
from table import ROWS


def figures(library: Any) -> dict[str, Any]:
    """For every row and probe, its figure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: {probe: drivers.figure(library, row, probe) for probe in row.probes}
                for name, row in ROWS.items()}


def write(found: dict[str, Any]) -> None:
    """One line a row, so that changes can be read."""
    lines = [f"{json.dumps(name)}: {json.dumps(part, separators=(',', ':'))}"
             for name, part in found.items()]
    drivers.FIGURES.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    import torch
    write(figures(torch))
