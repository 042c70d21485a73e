"""Stand-ins with which an optimizer's rule is run, to learn what it computes.

While a step is recorded the rule gets symbols: every operation on them becomes a step of the
program, every float a run-time number. Probes compute nothing and collect those floats, in the
same order; so learning rates and bias corrections are computed by the rule itself, as the user
wrote it. Counts, such as Adam's step, are formulas meanwhile: what the rule makes of them becomes
a function of the count, which is all that has to be evaluated in most rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kkori.run.trace import Unupdatable

__all__ = ["Formula", "Probe", "Symbol", "function_of"]


class _Stand:
    """What stands for an array while a rule is run: operators and NumPy functions end in `do`."""

    __slots__ = ()
    __array_priority__ = 3000
    __neg__: Any

    def do(self, name: str, *operands: Any) -> Any:
        raise NotImplementedError

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        name = FUNCTIONS.get(ufunc.__name__)
        if name is None or method != "__call__" or options:
            raise Unupdatable(f"the rule uses {ufunc.__name__}")
        return self.do(name, *inputs)

    def __pow__(self, exponent: Any) -> Any:
        if exponent != 2:
            raise Unupdatable("the rule uses a power")
        return self.do("square", self)

    def __bool__(self) -> bool:
        raise Unupdatable("the rule looks at a value")


FUNCTIONS = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div",
             "true_divide": "div", "sqrt": "sqrt", "absolute": "abs", "maximum": "maximum",
             "minimum": "minimum", "negative": "neg", "exp": "exp"}


def _operators() -> None:
    for symbol, name in {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div"}.items():
        setattr(_Stand, f"__{symbol}__", lambda self, other, n=name: self.do(n, self, other))
        setattr(_Stand, f"__r{symbol}__", lambda self, other, n=name: self.do(n, other, self))
    _Stand.__neg__ = lambda self: self.do("neg", self)


_operators()


class Symbol(_Stand):
    """Stands for an array while the program is written."""

    __slots__ = ("ref", "writer", "place")

    def __init__(self, ref: tuple[str, Any], writer: Any, place: int) -> None:
        self.ref, self.writer, self.place = ref, writer, place

    def do(self, name: str, *operands: Any) -> Symbol:
        return self.writer.emit(name, operands)


class Probe(_Stand):
    """Collects the numbers of a rule and notes what it does (`done`); computes nothing."""

    __slots__ = ("found", "done", "place")

    def __init__(self, found: list[Any], done: list[Any], place: int) -> None:
        self.found, self.done, self.place = found, done, place

    def do(self, name: str, *operands: Any) -> Probe:
        done = self.done
        for operand in operands:
            if operand.__class__ is Probe:
                done.append(operand.place)
            else:
                self.found.append(operand if operand.__class__ is Formula else float(operand))
        done.append(name)
        return Probe(self.found, done, len(done))


class Formula:
    """What a rule makes of a count, as the text of a Python expression."""

    __slots__ = ("text",)
    __array_ufunc__ = None  # NumPy leaves mixed expressions to the operators below

    def __init__(self, text: str) -> None:
        self.text = text

    def __bool__(self) -> bool:
        raise Unupdatable("the rule looks at a count")

    __float__ = __int__ = __index__ = __bool__  # type: ignore[assignment]
    __lt__ = __le__ = __gt__ = __ge__ = lambda self, other: bool(self)
    __eq__ = __ne__ = lambda self, other: bool(self)  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


def text_of(value: Any) -> str:
    """A number or a formula as an expression that gives exactly that number."""
    if value.__class__ is Formula:
        return value.text
    if value.__class__ not in (int, float) or not math.isfinite(value):
        raise Unupdatable("a rule that mixes counts with other things than numbers")
    return f"({value!r})"


def _formulas() -> None:
    for name, sign in {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "pow": "**",
                       "mod": "%", "floordiv": "//"}.items():
        setattr(Formula, f"__{name}__", lambda self, other, s=sign: NotImplemented if isinstance(
            other, _Stand) else Formula(f"({self.text} {s} {text_of(other)})"))
        setattr(Formula, f"__r{name}__", lambda self, other, s=sign: Formula(
            f"({text_of(other)} {s} {self.text})"))
    Formula.__neg__ = lambda self: Formula(f"(-{self.text})")  # type: ignore


_formulas()


def function_of(counts: list[str], values: list[Any]) -> Callable[..., list[float]]:
    """A function that gives `values` (numbers and formulas) for counts of these names."""
    body = ", ".join(text_of(value) for value in values)
    return eval(f"lambda {', '.join(counts)}: [{body}]", {})
