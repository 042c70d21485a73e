"""Random programs give the same recorded as immediately: values, errors, versions, random order."""

from __future__ import annotations

import pytest
from programs import Program, Script

import kkori as torch

pytest.importorskip("llvmlite")
PROGRAMS = 320
replayed = []


@pytest.mark.parametrize("start", range(0, PROGRAMS, 20))
def test_random_programs(compare, start):
    for seed in range(start, start + 20):
        script = Script(seed)

        def loop(log, script=script):
            with torch.random.fork_rng():
                Program(script, log).run()
            log(torch.rand(1).item())

        try:
            replayed.append(compare(loop))
        except AssertionError as error:
            raise AssertionError(f"program {seed}: {error}") from error


def test_many_of_them_were_replayed():
    assert sum(count > 3 for count in replayed) > len(replayed) / 5
