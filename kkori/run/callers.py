"""Who calls models without gradients, and how often: each model's calls are counted here.

Inference has no anchor but the call itself. A model that has been called often enough, outside of
any recorded round, is handed to `run/inference.py`, which is not even loaded before.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from kkori.autograd.mode import switch

__all__ = ["Caller", "turn_of"]

CALLS_BEFORE_RECORDING = 12


class Caller:
    """The calls of one model in one thread."""

    __slots__ = ("module", "left", "tape", "run", "direct")

    def __init__(self, module: Any, callers: dict[int, Caller]) -> None:
        key = id(module)

        def forget(_: Any) -> None:
            caller = callers.pop(key, None)
            if caller is not None and caller.tape is not None:
                caller.tape.die()

        self.module = ref(module, forget)
        self.left = CALLS_BEFORE_RECORDING  # calls that are only counted
        self.tape: Any = None  # see run/inference.py
        self.run: Any = None  # its `call`
        self.direct: list[Any] = []  # functions that compute such calls; see run/direct.py


def turn_of(module: Any) -> Caller | None:
    """Count a call of `module` without gradients; its caller, if nobody else watches the call."""
    callers = switch.callers
    if callers is None:
        callers = switch.callers = {}
    caller: Caller | None = callers.get(id(module))
    if caller is None:
        caller = callers[id(module)] = Caller(module, callers)
    if caller.left > 0:
        caller.left -= 1
        return None
    if caller.run is None:
        from kkori.run.inference import call
        caller.run = call
    return caller
