"""What is noted for `kkori.explain()`: why a round left its path, or could not be recorded.

Nothing is noted while rounds are replayed. Where one leaves its path all that it promised is
computed operation by operation, beside which finding the user's line costs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

from kkori.core.errors import PACKAGE, user_line
from kkori.run.entry import ALIAS, CONSTANT, NUMBER, SLOT, VARYING, same_constant, same_number
from kkori.run.numbers import is_number
from kkori.tensor import Tensor

__all__ = ["Notes", "built", "line"]

MOST_EXITS = 32  # that differ; more are counted as one
CALLED = {"step": "before_step", "grad": "grad"}  # by which functions some events come
# Events that are no method.
ENDS = {"return": "the end of the call", "grad": "torch.autograd.grad()", "shown": "numpy()"}


def line() -> Any:
    """File, number and text of the user's line; None where there is none (any more)."""
    try:
        return user_line()
    except Exception:  # the interpreter is shutting down, the file is not text
        return None


def built(build: Callable[[Any], Any], program: Any) -> Any:
    """``build(program)``; what comes of it knows how long that took, and where it was found."""
    from kkori.codegen.assemble import statistics
    before, begun = statistics().as_dict(), perf_counter()
    found = build(program)
    if found is not None:
        now = statistics().as_dict()
        found.ms, found.origin = (perf_counter() - begun) * 1e3, next(
            (origin for count, origin in ORIGINS.items() if now[count] > before[count]), "")
    return found


ORIGINS = {"compiles": "compiled", "disk_hits": "found on disk", "memory_hits": "found in memory"}


class Notes:
    """What is to be said of one tape."""

    def __init__(self) -> None:
        self.anchor: Any = None  # the line at which its rounds end
        self.refused: tuple[str, str, Any] = "", "", None  # last recording: why, operation, line
        self.exits: dict[tuple[str, Any], int] = {}

    def refuse(self, reason: str, row: Any) -> None:
        """A recording came to nothing; because of this operation, if there is one."""
        if reason != self.refused[0]:  # else somebody has only passed it on
            self.refused = reason, "" if row is None else row.name, line()

    def missed(self, tape: Any, row: Any, args: Any) -> None:
        """A side exit: this operation (None: something else) is not what the tree expects."""
        try:
            failed = wrong_operation(tape, row, args) if row is not None else wrong_end(tape)
        except Exception:  # whatever it is, the round goes on
            failed = "another operation than was recorded"
        self.count(failed)

    def flushed(self) -> None:
        """A side exit: what was promised is needed before the end of the round."""
        names = callers()
        if "miss" in names[:3] or "run_round" in names[:3]:  # said already; or it waits, matched
            return
        self.count(f"{self.called()} needs, or may change, what is promised")

    def called(self) -> str:
        """What the user's line has called, if that is a method of tensors."""
        name = callers()[-1]
        return name if hasattr(Tensor, name) else "this line"

    def count(self, failed: str) -> None:
        key = failed, line()
        if key not in self.exits and len(self.exits) >= MOST_EXITS:
            key = "others", None
        self.exits[key] = self.exits.get(key, 0) + 1


def callers() -> list[str]:
    """Which functions of kkori are running; the last is the one that the user's line has called."""
    frame: Any = sys._getframe(1)
    names = []
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def wrong_operation(tape: Any, row: Any, args: Any) -> str:
    """Which comparison of a guard has failed."""
    at = tape.here
    alike = [entry for entry in at.ops if entry.row is row]
    if not alike:
        return f"{row.name}, where {expected(at)} was recorded"
    entry = alike[-1]
    if entry.mode is not tape.on:
        return f"{row.name}: gradients were {'' if entry.mode else 'not '}followed, which is over"
    if len(entry.patterns) != len(args):
        return f"{row.name}: {len(args)} arguments, recorded were {len(entry.patterns)}"
    for number, (pattern, arg) in enumerate(zip(entry.patterns, args, strict=True), 1):
        found = difference(tape, pattern, arg, entry)
        if found:
            return f"{row.name}: argument {number} {found}"
    return f"{row.name}: one of its tensors"


def difference(tape: Any, pattern: tuple[int, Any], arg: Any, entry: Any) -> str:
    """What an argument should have been; empty if it is that."""
    kind, data = pattern
    if kind == SLOT:
        same = isinstance(arg, Tensor) and arg._array.__class__ is data and (
            arg._requires_grad is data.needs)
        return "" if same else "is another tensor than that result of this round"
    if kind == CONSTANT:
        return "" if same_constant(arg, data) else f"is {short(arg)}, recorded was {short(data)}"
    if kind == VARYING:
        return "" if is_number(arg) else f"is {short(arg)}, recorded was a number"
    if kind == NUMBER:
        return "" if same_number(arg, data) else "is another number"
    number, layout = data
    if kind == ALIAS:
        arg = arg._leaf if isinstance(arg, Tensor) else arg
    if layout is None:
        same = arg is tape.bound[number] or tape.copied(number, arg)
        return "" if same else "is another tensor than before in this round"
    if layout.fits(arg):
        shared = arg._storage is not None and arg._storage.exports
        return "shares its memory with NumPy" if shared else ""
    return f"is {looks(arg)}, recorded was {described(layout.kind, layout.shape, layout.needs)}"


def looks(arg: Any) -> str:
    """A tensor in words."""
    if not isinstance(arg, Tensor):
        return short(arg)
    if arg._node is not None:
        return "a result of an operation"
    return described(arg._array.dtype, arg._array.shape, arg._requires_grad)


def described(kind: Any, shape: tuple[int, ...], needs: bool) -> str:
    return f"{kind} of shape {tuple(shape)}{' that requires gradients' if needs else ''}"


def short(value: Any) -> str:
    text = repr(value) if not isinstance(value, Tensor) else "a tensor"
    return text if len(text) <= 40 else f"{text[:37]}..."


def expected(at: Any) -> str:
    """What the tree expects behind an event."""
    names = sorted({entry.row.name for entry in at.ops})
    names += sorted({ENDS.get(entry.kind, f"{entry.kind}()") for entry in at.ends})
    return " or ".join(names) or "nothing more"


def wrong_end(tape: Any) -> str:
    """Why a backward(), a step or the end of a call is not the recorded one."""
    if tape.ends_with_calls:
        known = any(entry.kind == "return" for entry in tape.here.ends)
        return ("an array rule has to see the numbers, or other results are kept" if known
                else f"the call was over, where {expected(tape.here)} was recorded")
    called = callers()
    kind = next((kind for kind, name in CALLED.items() if name in called), "backward")
    runners = [entry.runner for entry in tape.here.ends if entry.kind == kind]
    if not runners:
        return f"{ENDS.get(kind, f'{kind}()')}, where {expected(tape.here)} was recorded"
    if kind != "step":
        waits = "" if tape.may_hold else "a round that is not compiled yet, or "
        return (f"{waits}{ENDS.get(kind, 'backward()')} with other options, hooks or gradients "
                "than were recorded")
    optimizer = runners[-1].optimizer()
    return f"step(): {wrong_step(tape, runners[-1], optimizer)}"


def wrong_step(tape: Any, update: Any, optimizer: Any) -> str:
    """What `hot.run_round` has found."""
    from kkori.run.hot import still_held
    if update.numbers(optimizer, tape) is None:
        return "the optimizer's options, state or gradients are not as they were recorded"
    if not update.arrays(tape):
        return "memory that the step overwrites is used by something else, too"
    if still_held(tape, update.tails) is None:
        return "a result is kept whose graph a compiled round does not have"
    return "an array rule has to see the numbers"
