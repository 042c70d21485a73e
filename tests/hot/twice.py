"""Loops run twice in one process, immediately and recorded, and compared step by step."""

from __future__ import annotations

import math

import numpy as np

import kkori as torch
from kkori.autograd.mode import switch
from kkori.run import hot, loops


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
