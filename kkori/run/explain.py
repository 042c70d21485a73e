"""What was recorded, compiled and given up, in words: `kkori.explain()`."""

from __future__ import annotations

import os
import sys
from typing import Any

from kkori.autograd.mode import switch
from kkori.run import hot, loops

__all__ = ["Explanation", "eager", "explain"]


class Explanation:
    """The state of all hot loops; prints as text.

    ``loops`` has the same as dicts, one a loop, ``machine`` the counts of the compiler.
    """

    def __init__(self, loops: list[dict[str, Any]], machine: dict[str, float]) -> None:
        self.loops, self.machine = loops, machine

    def __repr__(self) -> str:
        lines = ["recording is " + ("on" if hot.enabled() else "off")]
        lines += [text_of(number, loop) for number, loop in enumerate(self.loops, 1)]
        if not self.loops:
            lines.append("no loop has come by a step or a backward() often enough yet")
        if self.machine:
            lines.append("machine code: {compiles:.0f} made in {compile_ms:.0f} ms, {disk_hits:.0f}"
                         " found on disk, {memory_hits:.0f} in memory".format(**self.machine))
        return "\n".join(lines)


def explain() -> Explanation:
    """What has been made of the program's loops so far.

    A loop is known by its anchor: the ``step()`` of an optimizer, or, where a program changes its
    parameters in other ways, ``backward()``, or, where gradients are not followed, the call of a
    model. For each: how many rounds there were and how many of
    them were one call of compiled code; the traces (the branches that rounds take), of how many
    operations, the compiled programs, of how many loop nests; side exits, with what was not as
    recorded and your line; and, where rounds run operation by operation, why.

    >>> import kkori as torch
    >>> w = torch.ones(3, requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.1)
    >>> for _ in range(10):
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    ...     optimizer.zero_grad()
    >>> explanation = torch.explain()     # print it
    >>> [loop["rounds"] for loop in explanation.loops if loop["anchor"] == "SGD.step()"]
    [10]
    """
    found = [loop_facts(loop) for loop in list(loops.tapes)]
    found += list(map(call_facts, calls_of_models()))
    found += [free_facts(tape) for tape in (getattr(switch, "free_before", None), switch.free)
              if tape is not None]
    return Explanation([loop for loop in found if loop["rounds"]], machine_facts())


# What there is to say, as dicts.


def loop_facts(loop: Any) -> dict[str, Any]:
    """A loop whose rounds end with an optimizer's step."""
    found = tape_facts(loop.tape)
    given_up = loop.given_up
    return {"anchor": f"{loop.name}.step()", "optimizer": loop.name,
            "rounds": loop.rounds + found["replayed"], **found, "given up": given_up,
            "why": reason(loop.tape, given_up or loop.last_failure)}


def free_facts(tape: Any) -> dict[str, Any]:
    """The loop whose rounds end with backward(), or with torch.autograd.grad()."""
    found = tape_facts(tape)
    given_up = ""
    if tape is not switch.free:
        given_up = tape.notes.refused[0] if not found["replayed"] and tape.failures else (
            loops.NOT_ALIKE if tape.idle > loops.PATIENCE else loops.LOOKED_AT)
    rounds = found["replayed"] + found["recorded"] + tape.root.misses
    return {"anchor": tape.ends_with, "optimizer": "", "rounds": rounds, **found,
            "given up": given_up, "why": reason(tape, given_up or tape.notes.refused[0])}


def calls_of_models() -> list[Any]:
    """The tapes of models that are called without gradients."""
    inference = sys.modules.get("kkori.run.inference")
    return list(inference.tapes) if inference is not None else []


def call_facts(tape: Any) -> dict[str, Any]:
    """The calls of one model in one thread."""
    found = tape_facts(tape)
    given_up = "" if found["replayed"] else tape.failure
    return {"anchor": f"calls of {tape.name} without gradients", "optimizer": "",
            "rounds": tape.others + found["replayed"], **found, "given up": given_up,
            "why": reason(tape, given_up or tape.failure)}


def tape_facts(tape: Any) -> dict[str, Any]:
    """What a tape knows of its rounds; of a loop that has none yet, too."""
    if tape is None:
        return {"line": None, "replayed": 0, "recorded": 0, "traces": [], "branches": 0,
                "operations": [], "kernels": [], "side exits": 0, "exits": [], "looks": 0}
    traces = [trace_facts(end) for end in tape.root.endings()]
    return {"line": tape.notes.anchor, "replayed": tape.replayed(),
            "recorded": tape.counts["recorded"], "traces": traces, "branches": len(traces),
            "operations": [trace["operations"] for trace in traces],
            "kernels": [program["nests"] for trace in traces for program in trace["programs"]],
            "side exits": sum(tape.notes.exits.values()), "looks": tape.counts["looks"],
            "exits": [{"guard": guard, "line": line, "times": times}
                      for (guard, line), times in tape.notes.exits.items()]}


def trace_facts(end: Any) -> dict[str, Any]:
    """A path through the tree of rounds, and the programs that were compiled for it."""
    path = end.path()
    programs = [program for program in end.runner.compiled.values() if program is not None]
    return {"operations": sum(1 for entry in path if entry.kind == "op"),
            "gradient operations": sum(len(entry.inner) for entry in path),
            "programs": [{"nests": program.kernels, "ms": program.ms, "origin": program.origin,
                          "rounds": program.rounds} for program in programs]}


def reason(tape: Any, given_up: str) -> dict[str, Any] | None:
    """Why rounds run operation by operation; the operation and the line if there is one."""
    if not given_up:
        return None
    refused, operation, line = ("", "", None) if tape is None else tape.notes.refused
    if refused != given_up:
        operation, line = "", None
    return {"reason": given_up, "operation": operation, "line": line}


def machine_facts() -> dict[str, float]:
    """Counts of the assembler, if it was ever needed."""
    assembler = sys.modules.get("kkori.codegen.assemble")
    return assembler.statistics().as_dict() if assembler is not None else {}


# The same as text.


def text_of(number: int, loop: dict[str, Any]) -> str:
    """One loop in a few lines."""
    where = f", {place(loop['line'])}" if loop["line"] else ""
    lines = [f"loop {number}: {rounds_of(loop['anchor'])}{where}",
             f"  {loop['rounds']} rounds, {loop['replayed']} of them replayed as compiled code; "
             f"{loop['recorded']} recorded"]
    for trace in loop["traces"]:
        lines.append(f"  trace of {trace['operations']} operations and "
                     f"{trace['gradient operations']} of gradients")
        lines += map(text_of_program, trace["programs"])
    if loop["looks"]:
        lines.append(f"  looked at in mid-round, without leaving it: {loop['looks']} times")
    for one in loop["exits"]:
        lines.append(f"  side exit, {one['times']} times: {one['guard']}")
        lines += [f"    {place(one['line'])}"] if one["line"] else []
    return "\n".join(lines + text_of_reason(loop))


def rounds_of(anchor: str) -> str:
    """What the rounds of a loop are."""
    return f"rounds {'are' if anchor.startswith('calls') else 'end with'} {anchor}"


def text_of_program(program: dict[str, Any]) -> str:
    nests = f"{program['nests']} loop nest{'s' * (program['nests'] != 1)}"
    return (f"    program of {nests}, {program['origin']} in {program['ms']:.1f} ms, "
            f"run {program['rounds']} times")


def text_of_reason(loop: dict[str, Any]) -> list[str]:
    """Why rounds run at once, or why the last recording came to nothing."""
    why = loop["why"]
    if why is None:
        return []
    head = "rounds run operation by operation" if loop["given up"] else "a recording was dropped"
    operation = f" ({why['operation']})" if why["operation"] not in why["reason"] else ""
    return [f"  {head}: {why['reason']}{operation}",
            *([f"    {place(why['line'])}"] if why["line"] else [])]


def place(line: tuple[str, int, str]) -> str:
    """A line of the user's, as short as it can be told."""
    name, number, text = line
    return f"{os.path.basename(name)}:{number}" + (f"  {text}" if text else "")


class eager:
    """A ``with`` block in which nothing is recorded: every operation runs when it is called."""

    def __enter__(self) -> None:
        self.before = hot.enabled()
        hot.set_enabled(False)

    def __exit__(self, *error: object) -> None:
        hot.set_enabled(self.before)
