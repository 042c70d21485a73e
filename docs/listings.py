"""The texts that today's code makes for the loop of docs/how-it-runs.md.

    python docs/listings.py            their names
    python docs/listings.py finish     one of them

tests/test_docs.py compares what that page quotes with these.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kkori as torch
from kkori.autograd.mode import switch
from kkori.codegen.assemble import assembly
from kkori.codegen.compiler import passes
from kkori.codegen.target import named
from kkori.run import finish, guards, hot, loops, record
from kkori.run.explain import Explanation, loop_facts

STARTS = {"def finish": "finish", "tape.hand_out()": "backward"}
TARGET = "avx512"  # by its description: the text is the same on every machine


def listings() -> dict[str, str]:
    """All texts by their names."""
    optimizer, found = train()
    end, = [end for end in optimizer._hot_loop.tape.root.endings() if end.kind == "step"]
    segment = list(end.runner.compiled.values())[-1]
    done = passes(segment.program, named(TARGET))
    assert done is not None
    text = done.native.text
    return {**found, "plan": plan(done.schedule), "text": text,
            "machine": assembly(text, named(TARGET)),
            "explain": str(Explanation([loop_facts(optimizer._hot_loop)], {})),
            "context": context(done)}


def train() -> tuple[Any, dict[str, str]]:
    """The loop of that page; the optimizer, and the functions that were written for its rounds."""
    x = torch.linspace(-1, 1, 100).reshape(100, 1)
    y = x**2
    net = torch.nn.Sequential(torch.nn.Linear(1, 512), torch.nn.ReLU(), torch.nn.Linear(512, 1))
    optimizer = torch.optim.Adam(net.parameters())
    with watched() as found:
        for _ in range(60):
            loss = torch.mean((net(x) - y) ** 2)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return optimizer, found


@contextmanager
def watched() -> Iterator[dict[str, str]]:
    """Recording as a new program finds it, and the texts of functions that are written for it."""
    found: dict[str, str] = {}
    names = ["call"]
    operation, code_of, closed = guards.operation, guards.code_of, guards.closed
    kinds = record.GUARDS

    def guard(entry: Any, tape: Any) -> Any:
        names.append(f"guard of {entry.row.name}")
        try:
            return operation(entry, tape)
        finally:
            names.pop()

    def note(text: str) -> str:
        found[next((name for start, name in STARTS.items() if start in text), names[-1])] = text
        return text

    def noted_guard(lines: list[str], names: dict[str, Any]) -> Any:
        note("\n".join(lines))
        return closed(lines, names)

    before, outer = hot.enabled(), dict(vars(switch))
    caution, most = loops._state["caution"], loops.MOST_CAUTION
    loops._state["caution"] = loops.MOST_CAUTION = 1  # whatever loops end meanwhile
    hot.set_enabled(True)
    vars(switch).clear()
    record.GUARDS = {**kinds, "op": guard}
    guards.closed = noted_guard
    finish.code_of = lambda text: code_of(note(text))  # type: ignore[assignment]
    try:
        yield found
    finally:
        record.GUARDS = kinds
        guards.closed, finish.code_of = closed, code_of
        hot.set_enabled(before)
        vars(switch).clear()
        vars(switch).update(outer)
        loops._state["caution"], loops.MOST_CAUTION = caution, most


def plan(schedule: Any) -> str:
    """The loop nests, and how many values each computes in its four parts."""
    return "\n".join(
        f"nest{number}: out {nest.out}, over {nest.over}: {len(nest.sums)} sums, "
        f"{len(nest.maps)} maps, {len(nest.totals)} totals, {len(nest.last)} last"
        for number, nest in enumerate(schedule.nests))


def context(done: Any) -> str:
    """How many words native code is given."""
    native = done.native
    return (f"{done.buffers.count} arrays, {native.pool - done.buffers.count} numbers, "
            f"{native.places - native.pool} words")


if __name__ == "__main__":
    everything = listings()
    print(everything[sys.argv[1]] if sys.argv[1:] else "\n".join(everything))
