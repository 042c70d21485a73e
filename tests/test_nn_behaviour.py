"""Module and nn.utils answer, raise and warn as PyTorch's do, scenario by scenario."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

import kkori

FIGURES = Path(__file__).with_name("figures")
ROOMS = {room: (runpy.run_path(str(FIGURES / f"make_{room}_figures.py")),
                json.loads((FIGURES / f"{room}.json").read_text()))
         for room in ("nn_behaviour", "nn_utils")}
pytestmark = pytest.mark.filterwarnings("ignore")


def same(found, expected, place):
    if isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected), (place, found, expected)
        for number, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
            same(mine, theirs, f"{place}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=2e-4, abs=2e-5, nan_ok=True), place
    else:
        assert found == expected, place


@pytest.mark.parametrize(
    ("room", "name"), [(room, name) for room, (recipes, _) in ROOMS.items()
                       for name in recipes["SCENARIOS"]])
def test_scenario(room, name):
    recipes, figures = ROOMS[room]
    same(json.loads(json.dumps(recipes["SCENARIOS"][name](kkori))), figures[name], name)


@pytest.mark.oracle
@pytest.mark.parametrize("room", ROOMS)
def test_torch_agrees(room):
    torch = pytest.importorskip("torch")
    recipes, figures = ROOMS[room]
    found = recipes["figures"](torch)
    for name, expected in figures.items():
        same(found[name], expected, name)
