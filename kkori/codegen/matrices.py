"""Matrices, rows and parts where they are: views and slices of an array, by start and strides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kkori.codegen.graph import Value
from kkori.core.size import contiguous_strides

__all__ = ["Matrices", "matrices_of", "merged", "offset", "seen"]


class Matrices(NamedTuple):
    """Their array and the place of the first number, how far they are apart along each dimension
    of the batch, how far their lines are, and whether lines are columns."""

    array: Value
    start: int
    apart: tuple[int, ...]
    stride: int
    transposed: bool


def matrices_of(value: Value, strides: Mapping[Value, tuple[int, ...]]) -> Matrices | None:
    """The matrices in the last two dimensions; None where neither rows nor columns are compact.
    What `strides` does not know lies in order."""
    array, start, steps = seen(value, strides)
    if array.kind in ("number", "constant", "range", "stretch"):
        return None
    (*apart, down, across), (height, width) = steps, value.shape[-2:]
    across, down = (1 if width == 1 else across), (max(down, 1) if height == 1 else down)
    if across == 1 and down > 0:
        return Matrices(array, start, tuple(apart), down, False)
    if down == 1 and across > 0:
        return Matrices(array, start, tuple(apart), across, True)
    return None


def seen(value: Value, strides: Mapping[Value, tuple[int, ...]]) -> tuple[Value, int, list[int]]:
    """The array behind views and slices, where in it `value` begins, and its strides."""
    parts = [value]
    while parts[-1].kind in ("view", "slice"):
        parts.append(parts[-1].args[0])
    array, start = parts.pop(), 0
    steps = list(strides.get(array, contiguous_strides(array.shape)))
    for part in reversed(parts):
        if part.kind == "slice":
            start += sum(first * step for (first, _), step in zip(part.attr, steps, strict=True))
            steps = [step * by for (_, by), step in zip(part.attr, steps, strict=True)]
            continue
        inner, steps = steps, [0] * len(part.shape)
        for dimension, step in zip(part.attr, inner, strict=True):
            if dimension is not None:
                steps[dimension] = step
    return array, start, steps


def merged(axes: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Axes as (length, step, ...) without those of length 1, neighbours that are walked through
    like one as one."""
    found: list[tuple[int, ...]] = []
    for axis in axes:
        length, *steps = axis
        if length == 1:
            continue
        if found and list(found[-1][1:]) == [length * step for step in steps]:
            axis = found.pop()[0] * length, *steps
        found.append(axis)
    return found


def offset(f: Any, axes: Sequence[tuple[int, ...]], number: Any, start: int) -> Any:
    """Text for where the element with this number is, counted in order along axes (length, step).
    """
    found = f.constant(start, number.type)
    for length, step in axes[:0:-1]:
        found = found + f.operate("u%", number, length) * step
        number = f.operate("u/", number, length)
    return found + number * axes[0][1] if axes else found
