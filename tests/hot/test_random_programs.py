"""Random programs cannot tell whether they are recorded: values, aliases, versions, errors,
random order. ``invisible.py`` runs more of them, by hand."""

from __future__ import annotations

import pytest
from programs import program
from watch import HEADER, Log, compare, first_difference, run

pytest.importorskip("llvmlite")
PROGRAMS = 100


@pytest.mark.parametrize("start", range(0, PROGRAMS, 20))
def test_random_programs(start):
    for seed in range(start, start + 20):
        source = program(seed)
        text, _ = compare(source, seed)
        assert not text, f"program {seed} can tell: {text}\n\n{HEADER}{source}"


def test_where_a_name_has_no_value_is_not_compared():
    """CPython 3.11 gives another line for it once the code has run a few times."""
    names, log = {}, Log()
    exec(compile("def f(a):\n h = a\n h = h * 2\n if b: pass\n b = 1", "program", "exec"), names)
    for _ in range(20):
        try:
            names["f"](1)
        except UnboundLocalError as error:
            log.error(error)
    assert len(log.seen) == 20 and log.seen.count(log.seen[0]) == 20


def test_many_of_them_are_replayed():
    replayed = [compare(program(seed), seed)[1] for seed in range(20)]
    assert sum(count > 3 for count in replayed) > len(replayed) / 10


UNSTABLE = """
import kkori as torch
torch.set_default_dtype(torch.float64)
x = torch.tensor(0.3, requires_grad=True)
for _ in range(ROUNDS):
    x = x * 3.9 * (1 - x)
log(x)
"""


def test_rounding_that_a_program_enlarges_tells_nothing():
    many, few = UNSTABLE.replace("ROUNDS", "40"), UNSTABLE.replace("ROUNDS", "3")
    seen, other = run(many, False)[0], run(many, False, noise=9)[0]
    assert first_difference(seen, other, []).startswith("number")
    assert not first_difference(seen, other, [run(many, False, noise=n)[0] for n in range(3)])
    seen, other = run(few, False)[0], run(few.replace("3.9", "3.90000001"), False)[0]
    assert first_difference(seen, other, [run(few, False, noise=n)[0] for n in range(3)])
