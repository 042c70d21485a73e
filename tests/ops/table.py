"""What a test row is: an operation, the inputs it is tried on, and what may be asked of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5]


class Numbers:
    """Inputs, the same on every machine: NumPy's frozen generator, seeded by the row's name."""

    def __init__(self, name: str) -> None:
        self.stream = np.random.RandomState(zlib.crc32(name.encode()))

    def __call__(self, *shape: int, low: float = -2.0, high: float = 2.0) -> Any:
        """Floating numbers, no two of them equal."""
        return np.asarray(self.stream.uniform(low, high, shape))

    def whole(self, high: int, *shape: int, low: int = 0) -> Any:
        """Whole numbers from `low` up to, not including, `high`."""
        return np.asarray(self.stream.randint(low, high, shape, dtype=np.int64))

    def mask(self, *shape: int) -> Any:
        """Truth values."""
        return np.asarray(self.stream.randint(0, 2, shape).astype(np.bool_))

    def complex(self, *shape: int) -> Any:
        """Complex numbers."""
        return self(*shape) + 1j * self(*shape)


@dataclass
class Row:
    """One operation. `probes`: by name, the arguments of one call (the last may be a dict)."""

    name: str
    probes: dict[str, Callable[[Numbers], tuple[Any, ...]]]
    smooth: bool = True  # whether first and second derivatives are compared with differences
    method: bool = False  # a method of Tensor only
    any_layout: bool = True  # whether it takes inputs however they lie in memory
    on_meta: bool = True  # whether the result's shape is known without the numbers
    expected: Callable[..., Any] | None = None  # for operations that PyTorch does not have
    elementwise: bool = False

    def args(self, probe: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of a probe, as arrays and plain values."""
        given = self.probes[probe](Numbers(self.name + probe))
        if given and isinstance(given[-1], dict):
            return given[:-1], given[-1]
        return given, {}

    def call(self, library: Any, args: Any, options: Any) -> Any:
        """The operation of a library (PyTorch or kkori) on tensors of that library."""
        name = self.name.partition(":")[0]  # what follows a colon tells two rows apart
        if self.method:
            return getattr(args[0], name)(*args[1:], **options)
        found = library
        for part in name.split("."):
            found = getattr(found, part)
        return found(*args, **options)


ROWS: dict[str, Row] = {}


def add(row: Row) -> Row:
    """Put a row into the table. ValueError where there is one of that name."""
    if row.name in ROWS:
        raise ValueError(f"there are two rows called '{row.name}'")
    ROWS[row.name] = row
    return row


def unary(name: str, low: float = -2.0, high: float = 2.0, *, smooth: bool = True,
          kinds: str = "fi", special: bool = True, expected: Any = None) -> Row:
    """An elementwise operation of one tensor of numbers in [low, high].

    `kinds`: what it takes, of f (floating), i (integers), b (truth values). `special`: whether it
    is tried on NaN and infinities.
    """
    probes: dict[str, Any] = {}
    if "f" in kinds:
        probes |= {
            "plain": lambda n: (n(2, 3, low=low, high=high),),
            "float32": lambda n: (n(4, low=low, high=high).astype(np.float32),),
            "scalar": lambda n: (n(low=low, high=high),),
            "empty": lambda n: (np.zeros((2, 0)),),
        }
    if "f" in kinds and special:
        probes["special"] = lambda n: (np.array(SPECIAL),)
    if "i" in kinds:
        probes["whole"] = lambda n: (n.whole(5, 4, low=-4),)
        probes["byte"] = lambda n: (n.whole(9, 3).astype(np.uint8),)
    if "b" in kinds:
        probes["truth"] = lambda n: (np.array([True, False]),)
    return add(Row(name, probes, smooth, expected=expected, elementwise=True))


def binary(name: str, first: tuple[float, float] = (-2.0, 2.0),
           second: tuple[float, float] = (-2.0, 2.0), *, smooth: bool = True, kinds: str = "fi",
           numbers: bool = True, special: bool = True) -> Row:
    """An elementwise operation of two tensors. `numbers`: the second may be a Python number."""
    probes: dict[str, Any] = {}
    (a, b), (c, d) = first, second
    if "f" in kinds:
        probes |= {
            "plain": lambda n: (n(2, 3, low=a, high=b), n(2, 3, low=c, high=d)),
            "broadcast": lambda n: (n(2, 1, low=a, high=b), n(3, low=c, high=d)),
            "float32": lambda n: (n(3, low=a, high=b).astype(np.float32),
                                  n(3, low=c, high=d).astype(np.float32)),
            "promoted": lambda n: (n(3, low=a, high=b).astype(np.float32),
                                   n(low=c, high=d)),
            "scalar": lambda n: (n(low=a, high=b), n(low=c, high=d)),
            "empty": lambda n: (np.zeros((2, 0)), np.ones((1, 1))),
        }
        if special:
            probes["special"] = lambda n: (np.repeat(SPECIAL, 8), np.tile(SPECIAL, 8))
        if numbers:
            probes["number"] = lambda n: (n(3, low=a, high=b), 1.5)
    if "i" in kinds:
        probes["whole"] = lambda n: (n.whole(7, 5, low=1), n.whole(5, 5, low=1))
    if "b" in kinds:
        probes["truth"] = lambda n: (np.array([True, False, True, False]),
                                     np.array([True, True, False, False]))
    return add(Row(name, probes, smooth, elementwise=True))


def row(name: str, *probes: Callable[[Numbers], tuple[Any, ...]], smooth: bool = True,
        method: bool = False, any_layout: bool = True, on_meta: bool = True) -> Row:
    """Any other operation, with the arguments of one call a probe."""
    return add(Row(name, {str(k): probe for k, probe in enumerate(probes)}, smooth, method,
                   any_layout, on_meta))
