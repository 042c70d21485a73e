"""Rows that NumPy computes, by their array rules, between the loops of a compiled program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kkori.codegen.program import Step
from kkori.core.promotion import operands

__all__ = ["ELEMENTWISE", "Argument", "array_rule", "as_run", "table"]

ELEMENTWISE = ("unary", "binary")

# One argument of a row in plain terms: ("array",) for an array of the round, ("full", shape,
# number, type) for one that is the same in every round, ("given",) for what stands in the step.
Argument = tuple[Any, ...]


def table() -> dict[str, Any]:
    """The op table; it stands in a room above this one."""
    from kkori.ops.table import TABLE
    return TABLE


def array_rule(step: Step, arguments: Sequence[Argument]) -> Callable[[Sequence[Any]], Any]:
    """What computes a step's results, as a sequence, from the arrays among its arguments."""
    rule = as_run(step)
    fixed = [np.full(argument[1], argument[2], argument[3]) if argument[0] == "full" else given
             for argument, (_, given) in zip(arguments, step.args, strict=True)]
    is_array = [argument[0] == "array" for argument in arguments]

    def run(arrays: Sequence[Any]) -> Sequence[Any]:
        given = iter(arrays)
        found = rule(*[next(given) if changes else known
                       for changes, known in zip(is_array, fixed, strict=True)])
        return found if isinstance(found, (tuple, list)) else (found,)
    return run


def as_run(step: Step) -> Callable[..., Any]:
    """A row's array rule; elementwise rows first bring their operands to one type."""
    row = table()[step.row]
    found: Callable[..., Any] = row.array
    if row.kind not in ELEMENTWISE:
        return found
    floats = step.results[0].dtype in ("f4", "f8")

    def run(*given: Any) -> Any:
        one, other = given[0], given[-1]
        if other.__class__ in (int, float) and getattr(one, "dtype", None) in (
                np.float32, np.float64):
            return found(one, other)  # array rules know some numbers by heart
        return found(*operands(*given, floats=floats))
    return run
