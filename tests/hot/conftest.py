"""Fixtures of the tests of recorded rounds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kkori.run import finish, loops, update

sys.path.insert(0, str(Path(__file__).parent))  # tests in this folder import its modules
from twice import run, same


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """The loops of tests are short and odd: rounds are compiled the first time they come again,
    more is recorded than pays, and loops of earlier tests that end only now change nothing."""
    loops._state["caution"] = 1
    for name, value in {"MATCHES_BEFORE_COMPILING": (1, 1), "PATIENCE": 60,
                        "RECORDINGS": 12, "MOST_CAUTION": 1}.items():
        monkeypatch.setattr(loops, name, value)
    monkeypatch.setattr(finish, "ROUNDS_BEFORE_FINISH", 3)
    monkeypatch.setattr(update, "PATIENCE_OF_BRANCHES", 1)


@pytest.fixture
def compare():
    """Compare a loop with itself, recorded; returns how many rounds were replayed."""
    def check(loop, replayed=None):
        expected, none, _ = run(loop, False)
        found, rounds, reasons = run(loop, True)
        assert none == 0
        assert len(expected) == len(found)
        for number, (one, two) in enumerate(zip(expected, found, strict=True)):
            same(one, two, (number,))
        if replayed is not None:
            assert rounds >= replayed, (rounds, reasons)
        return rounds
    return check
