"""A program: what a segment is compiled from. And its key: all that decides the result.

Two programs with equal keys have equal machine code, but for addresses. A key is bytes that stay
the same from process to process.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["Program", "Spec", "Step", "Unkeyable", "key_of_program"]


class Spec(NamedTuple):
    """What is known of an array given at run time: shape, strides in elements, type."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str


class Step(NamedTuple):
    """One row that was run: its name, its arguments, the slots of its results.

    Arguments are ("slot", k), ("input", k), ("number", k) or ("value", anything).
    """

    row: str
    args: tuple[tuple[str, Any], ...]
    slots: tuple[int, ...]
    results: tuple[Spec, ...] = ()  # what its array rule gives, for a row without loops


class Program:
    """A segment: what comes in, what is done, what goes out and what is overwritten."""

    def __init__(self, inputs: Sequence[Spec] = (), numbers: int = 0, steps: Sequence[Step] = (),
                 outputs: Sequence[int] = (), writes: Sequence[tuple[int, int]] = (),
                 stores: Sequence[tuple[int, int]] = ()) -> None:
        self.inputs, self.numbers, self.steps = list(inputs), numbers, list(steps)
        self.outputs = list(outputs)  # slots wanted as new arrays
        self.writes = list(writes)  # (input overwritten, slot)
        self.stores = list(stores)  # (0-dim input, its new number)
        self.key: bytes | None = None  # once somebody has asked for it: nothing changes then

    def replaced(self, **parts: Any) -> Program:
        """The same with some parts replaced."""
        own = {name: value for name, value in vars(self).items() if name != "key"}
        return Program(**{**own, **parts})


# Keys.

class Unkeyable(Exception):
    """An argument of a kind that is not known here: the program has no key."""


PLAIN = frozenset((int, float, complex, bool, str, type(None), type(Ellipsis)))
FORMAT = 2  # of marshal: without references, so that equal things are equal bytes


def key_of_program(program: Program) -> bytes:
    """All that decides what is compiled, as bytes: 1, 1.0 and True are different, 0.0 and -0.0,
    a list and a tuple. The program may not be changed any more. Raises `Unkeyable`."""
    if program.key is None:
        program.key = written_down(program)
    return program.key


def written_down(program: Program) -> bytes:
    """The key of a program that has none yet."""
    specs = [layout(spec) for spec in program.inputs]
    steps = [(row, [argument(arg) for arg in args], list(slots), [layout(spec) for spec in results])
             for row, args, slots, results in program.steps]
    pairs = [[tuple(pair) for pair in pairs] for pairs in (program.writes, program.stores)]
    return marshal.dumps([specs, program.numbers, steps, program.outputs, pairs], FORMAT)


def layout(spec: Spec) -> tuple[Any, ...]:
    """A spec as plain tuples."""
    shape, strides, dtype = spec
    return tuple(map(int, shape)), tuple(map(int, strides)), dtype


def argument(arg: tuple[str, Any]) -> tuple[str, Any]:
    """An argument, with what it is given in plain terms."""
    kind, value = arg
    return arg if value.__class__ in PLAIN and arg.__class__ is tuple else (kind, plain(value))


def plain(value: Any) -> Any:
    """`value` in numbers, words, tuples and lists; anything else as a list that begins with bytes,
    which no other list does."""
    kind = value.__class__
    if kind in PLAIN:
        return value
    if kind is tuple or kind is list:
        return kind(map(plain, value))
    name = f"{kind.__module__}.{kind.__qualname__}"
    describe = OTHERS.get(name) or OTHERS.get(kind.__module__)
    if describe is None:
        raise Unkeyable(name)
    return [name.encode(), *map(plain, describe(value))]


OTHERS: dict[str, Callable[[Any], Any]] = {  # by class, or by module
    "builtins.slice": lambda value: (value.start, value.stop, value.step),
    "kkori.core.size.Size": tuple,
    "kkori.core.dtype.dtype": lambda value: (value.name,),
    "kkori.core.device.device": lambda value: (str(value),),
    "numpy": lambda value: (value.dtype.str, tuple(value.shape), numbers_of(value)),
    "numpy.dtypes": lambda value: (value.str,),
}


def numbers_of(array: Any) -> str:
    """The numbers of an array or of a scalar of NumPy's."""
    if array.dtype.hasobject or array.dtype.names:
        raise Unkeyable("an array of objects")
    return str(array.tobytes().hex())
