"""Python's operators: the rows' own runners, which answer NotImplemented to foreign operands."""

from __future__ import annotations

from typing import Any

from kkori.core import errors
from kkori.ops.elementwise import (
    _add,
    _div,
    _pow,
    _pow_number,
    _pow_scalar,
    _rsub,
    _sub,
    abs,
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    bool_subtraction_refused,
    eq,
    floor_divide,
    ge,
    gt,
    le,
    lt,
    mul,
    ne,
    neg,
    positive,
    reciprocal,
    remainder,
)
from kkori.ops.table import METHODS
from kkori.run.immediate import is_operand
from kkori.tensor import Tensor


def _swapped(run: Any) -> Any:
    return lambda self, other: run(other, self)


def _augmented(name: str) -> Any:
    in_place = METHODS[name]

    def method(self: Tensor, other: Any) -> Any:
        return in_place(self, other) if is_operand(other) else NotImplemented
    return method


def _subtraction(run: Any) -> Any:
    def method(self: Tensor, other: Any) -> Any:
        try:
            return run(self, other)
        except TypeError:
            bool_subtraction_refused(self, other)
            raise
    return method


def _power(self: Tensor, exponent: Any) -> Any:
    if exponent.__class__ is int or not isinstance(exponent, Tensor):
        return _pow_scalar(self, exponent)
    return _pow(self, exponent)


def _power_of(self: Tensor, base: Any) -> Any:
    return _pow_number(base, self)


def _division_of(self: Tensor, other: Any) -> Any:
    return mul.run(reciprocal(self), other)


# symbol: run, run with operands swapped, in-place method
OPERATORS: dict[str, tuple[Any, Any, str]] = {
    "add": (_add, _add, "add_"),
    "sub": (_subtraction(_sub), _subtraction(_rsub), "sub_"),
    "truediv": (_div, _division_of, "div_"),
    "pow": (_power, _power_of, "pow_"),
}
PLAIN_OPERATORS = {"mul": mul, "floordiv": floor_divide, "mod": remainder, "and": bitwise_and,
                   "or": bitwise_or, "xor": bitwise_xor, "lshift": bitwise_left_shift,
                   "rshift": bitwise_right_shift}
COMMUTATIVE = ("mul", "and", "or", "xor")  # the tensor is then the first operand, as in PyTorch
for _symbol, _function in PLAIN_OPERATORS.items():
    _run = _function.run
    _other_side = _run if _symbol in COMMUTATIVE else _swapped(_run)
    OPERATORS[_symbol] = (_run, _other_side, _function.__name__ + "_")
for _symbol, (_forward, _backward, _in_place_name) in OPERATORS.items():
    METHODS[f"__{_symbol}__"] = _forward
    METHODS[f"__r{_symbol}__"] = _backward
    METHODS[f"__i{_symbol}__"] = _augmented(_in_place_name)
for _function in (eq, ne, lt, le, gt, ge):
    METHODS[f"__{_function.__name__}__"] = _function.run
METHODS["__neg__"] = neg
METHODS["__pos__"] = positive
METHODS["__abs__"] = abs


def _inverted(self: Tensor) -> Tensor:
    if self._array.dtype.kind not in "iub":
        raise TypeError(errors.message(
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors",
            fix="compare first: ~(x > 0)"))
    return bitwise_not(self)


METHODS["__invert__"] = _inverted
