"""Loops run twice in one process, immediately and recorded, and compared step by step."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

import kkori as torch
from kkori.autograd.mode import switch
from kkori.run import hot, loops, update

sys.path.insert(0, str(Path(__file__).parent))  # tests in this folder import its modules


class Log:
    """What a loop saw: numbers to be equal but for rounding, everything else exactly."""

    def __init__(self):
        self.seen = []

    def __call__(self, *values):
        self.seen += [self.plain(value) for value in values]

    def plain(self, value):
        if isinstance(value, torch.Tensor):
            return ("tensor", tuple(value.shape), value.stride(), str(value.dtype),
                    value.requires_grad, value.is_leaf, value._version,
                    np.array(value.detach().numpy(), copy=True))
        if isinstance(value, np.ndarray):
            return ("array", value.shape, np.array(value, copy=True))
        if isinstance(value, (list, tuple)):
            return [self.plain(item) for item in value]
        if isinstance(value, dict):
            return [(key, self.plain(item)) for key, item in value.items()]
        return value


def same(one, two, where):
    assert type(one) is type(two), (where, one, two)
    if isinstance(one, (list, tuple)):
        assert len(one) == len(two), (where, one, two)
        for number, (a, b) in enumerate(zip(one, two, strict=True)):
            same(a, b, (*where, number))
    elif isinstance(one, np.ndarray):
        np.testing.assert_allclose(one, two, rtol=2e-4, atol=2e-5, err_msg=str(where))
    elif isinstance(one, float):
        assert one == two or math.isnan(one) and math.isnan(two) or math.isclose(
            one, two, rel_tol=2e-4, abs_tol=2e-5), (where, one, two)
    else:
        assert one == two, (where, one, two)


def run(loop, on):
    """What the loop logs, and how many of its rounds were replayed."""
    before = hot.enabled()
    hot.set_enabled(on)
    mine = []
    loops._state["caution"] = 1
    start = loops.activate
    loops.activate = lambda loop, *replayed: (
        mine.append(loop) if loop not in mine else None, start(loop, *replayed))
    switch.free, switch.loop, switch.backwards = None, None, 0
    torch.manual_seed(43052)
    log = Log()
    try:
        loop(log)
        log(torch.rand(1).item())  # the same random numbers have been drawn
        rounds = sum(one.tape.replayed() for one in mine if one.tape is not None)
        if switch.free is not None:
            rounds += switch.free.counts["rounds"]
        return log.seen, rounds, [one.given_up for one in mine if one.given_up]
    finally:
        loops.activate = start
        hot.set_enabled(before)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """The loops of tests are short and odd: rounds are compiled the first time they come again,
    more is recorded than pays, and loops of earlier tests that end only now change nothing."""
    loops._state["caution"] = 1
    for name, value in {"MATCHES_BEFORE_COMPILING": (1, 1), "PATIENCE": 60,
                        "RECORDINGS": 12, "MOST_CAUTION": 1}.items():
        monkeypatch.setattr(loops, name, value)
    monkeypatch.setattr(update, "ROUNDS_BEFORE_FINISH", 3)
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
