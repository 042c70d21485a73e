"""Reading arguments as PyTorch reads them: signatures in its notation, errors in its words.

A `Signatures` object is made of one or more texts such as
``uniform_(float from=0, float to=1, *, Generator generator=None)``. Called with positional and
keyword arguments it answers which signature fits and the values by name; where none fits it
raises the TypeError that PyTorch raises.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.core import device as devices
from kkori.core import dtype as types
from kkori.core import errors
from kkori.core.generator import Generator
from kkori.core.layout import layout, memory_format
from kkori.ops.table import METHODS, TORCH, type_name
from kkori.tensor import Tensor

__all__ = ["Signatures", "parsed"]

REQUIRED = object()
Values = dict[str, Any]


# ---- what fits a parameter

def _is_number_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and not value._array.ndim and not value._requires_grad


def _is_float(value: Any) -> bool:
    return isinstance(value, (int, float, np.floating, np.integer)) or _is_number_tensor(value)


def _is_int(value: Any) -> bool:
    if isinstance(value, (int, np.integer)):
        return not isinstance(value, bool)
    return _is_number_tensor(value) and value._array.dtype.kind in "iu"


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (int, float, complex, np.number)) or _is_number_tensor(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and (not value or _is_int(value[0]))


def _is_type(value: Any) -> bool:
    return isinstance(value, types.dtype) or value in (bool, int, float, complex)


def _is_place(value: Any) -> bool:
    return isinstance(value, (str, devices.device)) or _is_int(value)


def _is_plain(kind: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


# ---- what is made of it

def _as_int(value: Any) -> int:
    number = int(value)
    if not -2**63 <= number < 2**63:
        raise ValueError("Overflow when unpacking long long")
    return number


def _as_size(value: Any) -> tuple[int, ...]:
    for place, item in enumerate(value):
        if not _is_int(item):
            raise TypeError(f"argument 'size' failed to unpack the object at pos {place + 1} with "
                            f'error "type must be tuple of ints,but got {type_name(item)}"')
    size = tuple(int(item) for item in value)
    for length in size:
        if length < 0:
            raise RuntimeError(errors.message(
                f"Trying to create tensor with negative dimension {length}: "
                f"{errors.of_shape(size)}"))
    return size


def _as_number(value: Any) -> Any:
    return value.item() if isinstance(value, (Tensor, np.generic)) else value


def _as_type(value: Any) -> types.dtype:
    if isinstance(value, types.dtype):
        return value
    return types.float64 if value is float else types.OF_PYTHON[value]


def _same(value: Any) -> Any:
    return value


# In signatures: (in messages, does a value fit, what the function gets)
KINDS: dict[str, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    "Tensor": ("Tensor", _is_plain(Tensor), _same),
    "float": ("float", _is_float, float),
    "int": ("int", _is_int, _as_int),
    "Scalar": ("Number", _is_scalar, _as_number),
    "bool": ("bool", _is_plain((bool, np.bool_)), bool),
    "size": ("tuple of ints", _is_size, _as_size),
    "Generator": ("torch.Generator", _is_plain(Generator), _same),
    "dtype": ("torch.dtype", _is_type, _as_type),
    "layout": ("torch.layout", _is_plain(layout), _same),
    "device": ("torch.device", _is_place, _same),
    "format": ("torch.memory_format", _is_plain(memory_format), _same),
}
CONSTANTS = {"None": None, "True": True, "False": False}


class Parameter:
    """One parameter: ``Generator generator=None``."""

    __slots__ = ("name", "shown", "fits", "convert", "default", "none_fits", "keyword", "size")

    def __init__(self, text: str, keyword: bool) -> None:
        kind, _, rest = text.strip().partition(" ")
        self.name, equals, default = rest.partition("=")
        self.shown, self.fits, self.convert = KINDS[kind.rstrip("?")]
        self.default = _constant(default) if equals else REQUIRED
        self.none_fits = kind.endswith("?") or (bool(equals) and self.default is None)
        self.keyword, self.size = keyword, kind == "size"


def _constant(text: str) -> Any:
    if text in CONSTANTS:
        return CONSTANTS[text]
    return float(text) if "." in text else int(text)


class Signature:
    """One way to call a function."""

    __slots__ = ("name", "parameters", "positional", "required", "required_positional", "variadic")

    def __init__(self, text: str) -> None:
        self.name, _, inside = text.rstrip(")").partition("(")
        self.parameters, keyword = [], False
        for part in inside.split(","):
            if part.strip() == "*":
                keyword = True
            elif part.strip():
                self.parameters.append(Parameter(part, keyword))
        place = [one for one in self.parameters if not one.keyword]
        self.positional = len(place)
        self.required = sum(one.default is REQUIRED for one in self.parameters)
        self.required_positional = sum(one.default is REQUIRED for one in place)
        self.variadic = len(place) == 1 and place[0].size

    def read(self, args: tuple[Any, ...], options: Values) -> Values | str:
        """The values by name, or what is wrong."""
        if len(args) > self.positional and not self.variadic:
            return self._too_many(len(args))
        values: Values = {}
        place, left = 0, len(options)
        for one in self.parameters:
            named = place >= len(args)
            if not named and one.keyword:
                return self._too_many(len(args))
            given = options.get(one.name, REQUIRED) if named else args[place]
            if given is REQUIRED or (given is None and one.none_fits):
                if given is REQUIRED and one.default is REQUIRED:
                    return self._missing(values)
                values[one.name] = None if given is None else one.default
            elif one.fits(given):
                values[one.name] = given
            elif self.variadic and not named and not place and _is_int(given):
                values[one.name], place = args, len(args)
                continue
            else:
                return self._unfit(one, given, None if named else place + 1)
            if named:
                left -= given is not REQUIRED
            else:
                place += 1
        return values if not left else self._unknown(options, len(args))

    def convert(self, values: Values) -> Values:
        """The values as the function gets them."""
        for one in self.parameters:
            value = values[one.name]
            if value is not None and value is not one.default:
                try:
                    values[one.name] = one.convert(value)
                except TypeError as problem:
                    raise TypeError(f"{self.name}(): {problem}") from None
        return values

    def _too_many(self, count: int) -> str:
        least, most = self.required_positional, self.positional
        if least != most:
            return (f"{self.name}() takes from {least} to {most} positional arguments but {count} "
                    "were given")
        return (f"{self.name}() takes {most} positional argument{'s' * (most != 1)} but {count} "
                f"{'was' if count == 1 else 'were'} given")

    def _missing(self, values: Values) -> str:
        missing = [f'"{one.name}"' for one in self.parameters
                   if one.name not in values and one.default is REQUIRED]
        plural = "s" if len(missing) == 1 else ""  # so it is in PyTorch
        return (f"{self.name}() missing {len(missing)} required positional argument{plural}: "
                + ", ".join(missing))

    def _unfit(self, one: Parameter, given: Any, place: int | None) -> str:
        where = f" (position {place})" if place else ""
        return (f"{self.name}(): argument '{one.name}'{where} must be {one.shown}, not "
                f"{type_name(given)}")

    def _unknown(self, options: Values, given: int) -> str:
        known = [one.name for one in self.parameters]
        for name in options:
            if name not in known:
                return f"{self.name}() got an unexpected keyword argument '{name}'"
            if known.index(name) < given:
                return f"{self.name}() got multiple values for argument '{name}'"
        return f"invalid keyword arguments to {self.name}()"


class Signatures:
    """All ways to call one function."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self._ways: list[Signature] = []

    @property
    def ways(self) -> list[Signature]:
        """The signatures, read from their texts when first needed."""
        if not self._ways:
            self._ways = [Signature(text) for text in self.texts]
        return self._ways

    def __call__(self, args: tuple[Any, ...], options: Values) -> tuple[int, Values]:
        """Number of the signature that fits, and its values by name."""
        for number, way in enumerate(self.ways):
            found = way.read(args, options)
            if isinstance(found, dict):
                return number, way.convert(found)
        raise TypeError(errors.message(self._problem(args, options)))

    def one(self, args: tuple[Any, ...], options: Values) -> Values:
        """The values by name, where there is one signature."""
        return self(args, options)[1]

    def _problem(self, args: tuple[Any, ...], options: Values) -> str:
        count = len(args) + len(options)
        likely = [way for way in self.ways if way.required <= count <= len(way.parameters)]
        if len(self.ways) == 1 or len(likely) == 1:
            found = (likely if len(likely) == 1 else self.ways)[0].read(args, options)
            assert isinstance(found, str)
            return found
        given = ", ".join(map(type_name, args)) + (", " if args and options else "")
        given += ", ".join(f"{name}={type_name(options[name])}" for name in reversed(options))
        given += ", " if options and not args else ""
        listed = "\n".join(f" * {text[text.index('('):]}" for text in self.texts)
        return (f"{self.ways[0].name}() received an invalid combination of arguments - got "
                f"({given}), but expected one of:\n{listed}")


def parsed(function: Any = None, *, method: bool = False) -> Any:
    """Make a function that reads its arguments itself PyTorch's: ``torch.<name>``."""
    if function is None:
        return functools.partial(parsed, method=method)
    TORCH[function.__name__] = function
    if method:
        METHODS[function.__name__] = function
    return function
