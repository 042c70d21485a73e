"""Numbers that are others in every round: ``lam * x``, ``beta * kl``, ``loss / n``.

A number among the arguments of an operation is a constant of the recorded event at first: another
number is another branch. Where such a branch is recorded, and nothing but the number is different,
it becomes a number of the round: the new event takes any, and hands it to the compiled program with
the others (see `Group` in run/update.py). The old event, and what was compiled behind it, has no
use any more. What comes behind it in the tree is compared on the way (`old`), so all numbers that
have changed are found at once.

Gradient rules hand such numbers on. They are recognised by identity: while a round is recorded the
operation gets a number object that nobody else has (`fresh`). Only rows of which the compiler says
that they use numbers just so are treated like this (`varying` in codegen/rules.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.run.entry import (
    ALIAS,
    CONSTANT,
    EXTERNAL,
    SLOT,
    VARYING,
    Entry,
    alike,
    same_constant,
    same_layout,
)
from kkori.tensor import Tensor

__all__ = ["Numbers", "class_or_value", "follow", "fresh", "has_other", "is_number", "new_float",
           "settle"]

EXACT = 1 << 53  # whole numbers up to this one are floats, too


class Numbers:
    """What a recording knows of the numbers of its round."""

    __slots__ = ("known", "old", "superseded")

    def __init__(self) -> None:
        self.known: dict[int, tuple[float, int]] = {}  # by id: the object, and which number it is
        self.old: Entry | None = None  # the event that the last one replaces, or stands for
        self.superseded: list[tuple[Entry, Entry]] = []  # events that were replaced: parent, event

    def which(self, arg: Any) -> int | None:
        """Which number of the round an argument is, if it is one."""
        found, number = self.known.get(id(arg), (None, None))
        return number if found is arg else None

    def note(self, numbers: list[Any]) -> None:
        """These are the first numbers of the round."""
        self.known = {id(value): (value, number) for number, value in enumerate(numbers)}

    def replace(self) -> int:
        """Take the events that were replaced out of the tree; how many rounds they have run."""
        rounds = 0
        for parent, entry in self.superseded:
            rounds += entry.replayed()
            parent.remove(entry)
        return rounds


def is_number(arg: Any) -> bool:
    """Whether `arg` is a number that floating tensors can be computed with as with a float."""
    kind = arg.__class__
    return kind is float or kind is np.float64 or kind is int and -EXACT <= arg <= EXACT


def places_of(row: Any, args: Any) -> list[int]:
    """The places of arguments that may be other numbers in other rounds."""
    from kkori.codegen.lowering import VARYING as ROWS
    places = ROWS.get(row.name, ())
    if not places or any(isinstance(arg, Tensor) and arg._array.dtype.str[1:] not in ("f4", "f8")
                         for arg in args):
        return []
    return [place for place in places if place < len(args) and is_number(args[place])]


def class_or_value(row: Any, args: Any) -> tuple[Any, ...]:
    """The arguments, with the class of a number in place of one that may be another."""
    places = places_of(row, args)
    return tuple(arg.__class__ if place in places else arg for place, arg in enumerate(args))


def fresh(tape: Any, row: Any, args: Any) -> Any:
    """The arguments, with number objects that nobody else has where another number may come.

    Whole numbers stay what they are until another one has come.
    """
    places = places_of(row, args) if tape.inside is None else ()
    if not places:
        return args
    found = list(args)
    for place in places:
        if args[place].__class__ is not int or has_come(tape, row, place):
            found[place] = new_float(args[place])
    return tuple(found)


def new_float(number: Any) -> float:
    """A float object of its own; NaN and -0.0 stay what they are."""
    return float(number) * 1.0


def has_come(tape: Any, row: Any, place: int) -> bool:
    """Whether this operation was recorded here before, with some number at this place."""
    return any(one.row is row and place < len(one.patterns)
               and one.patterns[place][0] in (CONSTANT, VARYING) for one in candidates(tape))


def has_other(tape: Any, row: Any, args: Any) -> bool:
    """Whether this operation was recorded here before, with other numbers for the same tensors."""
    places = places_of(row, args)
    return bool(places) and any(
        one.row is row and len(one.patterns) == len(args) and all(
            kind == CONSTANT if place in places else kind != SLOT or arg._array.__class__ is data
            for place, (arg, (kind, data)) in enumerate(zip(args, one.patterns, strict=True)))
        for one in tape.here.ops)


def candidates(tape: Any) -> list[Entry]:
    """Events that were recorded here: in the tree, or in what is about to be replaced."""
    at = tape.at if tape.recording else tape.here
    return at.ops if tape.varying.old is None else at.ops + tape.varying.old.ops


def settle(tape: Any, entry: Entry, args: Any) -> None:
    """Compare a new event with those recorded here before: numbers that were others then are
    numbers of the round."""
    numbers = tape.varying
    old, numbers.old = numbers.old, None
    places = [place for place in places_of(entry.row, args) if args[place].__class__ is float]
    for one in tape.at.ops if places else ():
        varying = different(one, entry, places)
        if varying and alike(*without(one, entry, varying)):
            if all(one.patterns[place][0] == VARYING for place in varying):
                adopt(numbers, entry, one, varying, args)
            else:
                vary(numbers, entry, varying, args)
                numbers.superseded.append((tape.at, one))
                numbers.old = one
            return
    for one in () if old is None else old.ops:
        varying = different(one, entry, places)
        if varying is not None and stands_for(*without(one, entry, varying)):
            vary(numbers, entry, varying, args)
            numbers.old = one
            return


def different(one: Entry, entry: Entry, places: list[int]) -> list[int] | None:
    """The places where an event of the same kind has, or may have, other numbers; None if it is
    another kind."""
    if one.row is not entry.row or one.mode is not entry.mode or (
            len(one.patterns) != len(entry.patterns)):
        return None
    found = []
    for place in places:
        kind, value = one.patterns[place]
        if kind == VARYING or kind == CONSTANT and is_number(value) and not same_constant(
                value, entry.patterns[place][1]):
            found.append(place)
    return found


def without(one: Entry, entry: Entry, places: Any) -> list[list[tuple[int, Any]]]:
    """The patterns of both but for these places."""
    return [[pattern for place, pattern in enumerate(event.patterns) if place not in places]
            for event in (one, entry)]


def adopt(numbers: Numbers, entry: Entry, one: Entry, places: list[int], args: Any) -> None:
    """The numbers that the tree has here."""
    entry.number_count = one.number_count
    for place in places:
        entry.patterns[place] = one.patterns[place]
        numbers.known[id(args[place])] = args[place], one.patterns[place][1]


def vary(numbers: Numbers, entry: Entry, places: Any, args: Any) -> None:
    """New numbers of the round."""
    for place in places:
        entry.patterns[place] = VARYING, entry.number_count
        numbers.known[id(args[place])] = args[place], entry.number_count
        entry.number_count += 1


def stands_for(first: list[tuple[int, Any]], second: list[tuple[int, Any]]) -> bool:
    """Whether patterns recognise the same arguments, if slots with the same number are the
    same."""
    for (kind, one), (other_kind, two) in zip(first, second, strict=True):
        if kind != other_kind:
            return False
        if kind == SLOT:
            if one.slot != two.slot:
                return False
        elif kind in (EXTERNAL, ALIAS):
            if one[0] != two[0] or not same_layout(one[1], two[1]):
                return False
        elif not alike([(kind, one)], [(kind, two)]):
            return False
    return True


def follow(tape: Any, entry: Entry) -> None:
    """An event that is no operation has come: what comes next is compared with what came behind
    the one like it."""
    old = tape.varying.old
    if old is not None:
        same = next((one for one in old.children if one.kind == entry.kind), None)
        if same is not None and same.walk is not None and same.walk.inner:
            same = same.walk.inner[-1]
        tape.varying.old = same
