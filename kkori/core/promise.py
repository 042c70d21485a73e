"""An array that has been promised: its shape and type are known, its numbers come later.

While a trace is replayed, operations hand out tensors whose `_array` is a Promise. Shape, strides
and type can be read as often as one likes; whoever asks for anything else gets the real array,
which is computed first. Every slot of a trace has a class of its own, so that making a promise is
making an empty object, and recognising one is comparing classes. A slot comes once in a round, so
a promise that was not needed serves again in the next: it waits in the `cell` of its class.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

__all__ = ["Promise", "model_of", "owed", "peeked", "promise_class", "promised", "settle"]

owed: list[Any] = []  # tapes that may still have to put gradients into ``.grad``; see run/tape.py


class _Flags:
    """What is known of a promised array before it is there."""

    __slots__ = ("c_contiguous", "f_contiguous")
    writeable = aligned = True

    def __init__(self, array: Any) -> None:
        self.c_contiguous = array.flags.c_contiguous
        self.f_contiguous = array.flags.f_contiguous

    contiguous = property(lambda self: self.c_contiguous or self.f_contiguous)


class Promise:
    """The base of all promise classes; see the module."""

    __slots__ = ("array", "tape")
    array: Any  # None until it has been computed
    tape: Any
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dtype: Any = None
    ndim = size = itemsize = nbytes = 0
    slot = -1
    needs = False  # whether its tensor requires gradients
    written = checked = -1  # which external of the round its tensor is; see run/writes.py
    version = 0  # how often its tensor, if that is a result, has been written to in place
    flags: Any = None
    cell: list[Any] = []  # with the promise that the next tensor of this slot will hold
    __array_priority__ = 2000

    def keep(self, array: Any) -> None:
        """The numbers are there."""
        self.renew()
        self.array, self.tape = array, None

    def show(self, array: Any) -> None:
        """The numbers have been looked at, and the round goes on."""
        self.renew()
        self.array = array

    def renew(self) -> None:
        """The next tensor of this slot needs a promise of its own."""
        cell = self.cell
        if cell and cell[0] is self:
            cell[0] = promised(type(self), self.tape)

    def real(self) -> Any:
        """The numbers, as they will be seen by all; what is pending is computed now."""
        if self.tape is not None:
            self.tape.flush()
        assert self.array is not None, "a promise was not kept"
        return self.array

    def peek(self) -> Any:
        """The numbers for reading only: the round stays as it is where that can be."""
        if self.array is None:
            self.tape.look(self)
        assert self.array is not None, "a promise was not kept"
        return self.array

    def item(self) -> Any:
        return self.peek().item()

    def tolist(self) -> Any:
        return self.peek().tolist()

    def __getattr__(self, name: str) -> Any:
        if name in ("array", "tape"):
            raise AttributeError(name)
        return getattr(self.real(), name)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        found = self.real()
        return found if dtype is None else found.astype(dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "__call__" and "out" not in options:
            return ufunc(*[value.peek() if isinstance(value, Promise) else value
                           for value in inputs], **options)
        if "out" in options:
            options["out"] = tuple(map(plain, options["out"]))
        return getattr(ufunc, method)(*map(plain, inputs), **options)

    def __array_function__(self, func: Any, kinds: Any, inputs: Any, options: Any) -> Any:
        return func(*plain_all(inputs), **{name: plain(v) for name, v in options.items()})

    def __len__(self) -> int:
        return len(self.real())

    def __iter__(self) -> Any:
        return iter(self.real())

    def __getitem__(self, index: Any) -> Any:
        return self.real()[plain(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.real()[index] = plain(value)

    def __bool__(self) -> bool:
        return bool(self.real())

    def __float__(self) -> float:
        return float(self.real())


def plain(value: Any) -> Any:
    """A promise's real array; anything else as it is."""
    return value.real() if isinstance(value, Promise) else value


def peeked(array: Any) -> Any:
    """`array`, for reading only: a round in which it is promised goes on where that can be."""
    return array.peek() if isinstance(array, Promise) else array


def plain_all(values: Any) -> Any:
    """The same inside lists and tuples."""
    if isinstance(values, (list, tuple)):
        return type(values)(plain_all(value) for value in values)
    return plain(values)


def _operators() -> None:
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or",
                 "xor", "eq", "ne", "lt", "le", "gt", "ge"):
        function = getattr(operator, f"__{name}__")
        setattr(Promise, f"__{name}__",
                lambda self, other, f=function: f(self.real(), plain(other)))
        setattr(Promise, f"__r{name}__",
                lambda self, other, f=function: f(plain(other), self.real()))
    for name in ("neg", "pos", "abs", "invert"):
        function = getattr(operator, f"__{name}__")
        setattr(Promise, f"__{name}__", lambda self, f=function: f(self.real()))
    Promise.__hash__ = object.__hash__  # type: ignore[method-assign]


_operators()


def promise_class(array: Any, slot: int, needs: bool) -> type[Promise]:
    """The class of promises that look like `array`."""
    return type("Promise", (Promise,), {
        "__slots__": (), "shape": array.shape, "strides": array.strides, "dtype": array.dtype,
        "ndim": array.ndim, "size": array.size, "itemsize": array.itemsize,
        "nbytes": array.nbytes, "slot": slot, "needs": needs, "flags": _Flags(array), "cell": []})


def promised(kind: type[Promise], tape: Any) -> Promise:
    """A promise that `tape` will keep."""
    promise = kind()
    promise.array, promise.tape = None, tape
    return promise


def settle(tensor: Any) -> None:
    """Make sure that `tensor` has its real array, its storage and its tail."""
    array = tensor.__dict__.get("_array")
    if isinstance(array, Promise):
        real = array.real()
        if tensor._array is array:
            tensor._array = real


def model_of(array: Any) -> Any:
    """`array`, or for a promise something that looks like it, whose numbers mean nothing."""
    if not isinstance(array, Promise):
        return array
    one = np.empty(1, array.dtype)
    return np.lib.stride_tricks.as_strided(one, array.shape, array.strides, writeable=False)
