"""Random programs cannot tell whether they are recorded: values, aliases, versions, errors,
random order. ``invisible.py`` runs more of them, by hand."""

from __future__ import annotations

import pytest
from programs import program
from watch import HEADER, compare

pytest.importorskip("llvmlite")
PROGRAMS = 100


@pytest.mark.parametrize("start", range(0, PROGRAMS, 20))
def test_random_programs(start):
    for seed in range(start, start + 20):
        source = program(seed)
        text, _ = compare(source, seed)
        assert not text, f"program {seed} can tell: {text}\n\n{HEADER}{source}"


def test_many_of_them_are_replayed():
    replayed = [compare(program(seed), seed)[1] for seed in range(20)]
    assert sum(count > 3 for count in replayed) > len(replayed) / 10
