"""What was recorded, compiled and given up, in words: `kkori.explain()`."""

from __future__ import annotations

from typing import Any

from kkori.run import hot

__all__ = ["Explanation", "eager", "explain"]


class Explanation:
    """The state of all hot loops; prints as text, and has the same as a list of dicts."""

    def __init__(self, loops: list[dict[str, Any]], machine: dict[str, float]) -> None:
        self.loops, self.machine = loops, machine

    def __repr__(self) -> str:
        lines = ["recording is " + ("on" if hot.enabled() else "off")]
        lines += [text_of(number, loop) for number, loop in enumerate(self.loops, 1)]
        if not self.loops:
            lines.append("no loop has come by an optimizer's step yet")
        if self.machine:
            lines.append("compiled: {compiles:.0f} in {compile_ms:.0f} ms, from disk: "
                         "{disk_hits:.0f}".format(**self.machine))
        return "\n".join(lines)


def text_of(number: int, loop: dict[str, Any]) -> str:
    """One loop in two or three lines."""
    head = (f"loop {number}, ends with a step of {loop['optimizer']}: {loop['rounds']} rounds, "
            f"{loop['replayed']} of them compiled")
    lines = [head, f"  recorded {loop['recorded']}, branches {loop['branches']}, operations a "
                   f"round {loop['operations']}, side exits {loop['side exits']}"]
    for kernels in loop["kernels"]:
        lines.append(f"  a compiled round is {kernels} loop nests")
    if loop["given up"]:
        lines.append(f"  runs operation by operation: {loop['given up']}")
    return "\n".join(lines)


def explain() -> Explanation:
    """What has been made of the training loops so far.

    For each loop: rounds seen and replayed, recordings, branches, side exits, how many loop nests
    a compiled round is, and, where it runs operation by operation, why.

    >>> import kkori as torch
    >>> explanation = torch.explain()
    """
    loops = [facts(loop) for loop in list(hot.tapes)]
    return Explanation([found for found in loops if found["rounds"]], machine_facts())


def facts(loop: Any) -> dict[str, Any]:
    """One loop as a dict."""
    tape = loop.tape
    counts = tape.counts if tape is not None else {}
    replayed = tape.replayed() if tape is not None else 0
    ends = tape.root.endings() if tape is not None else []
    return {"optimizer": loop.name, "rounds": loop.rounds + replayed,
            "replayed": replayed, "recorded": counts.get("recorded", 0),
            "side exits": counts.get("side exits", 0), "branches": len(ends),
            "operations": [entry.depth - 1 for entry in ends], "given up": loop.given_up,
            "kernels": [segment.kernels for entry in ends
                        for segment in entry.runner.compiled.values() if segment is not None]}


def machine_facts() -> dict[str, float]:
    """Counts of the assembler, if it was ever needed."""
    import sys
    assembler = sys.modules.get("kkori.codegen.assemble")
    return assembler.statistics().as_dict() if assembler is not None else {}


class eager:
    """A ``with`` block in which nothing is recorded: every operation runs when it is called."""

    def __enter__(self) -> None:
        self.before = hot.enabled()
        hot.set_enabled(False)

    def __exit__(self, *error: object) -> None:
        hot.set_enabled(self.before)
