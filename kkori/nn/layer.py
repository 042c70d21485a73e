"""Layers that are a few settings and one function: a class statement is the whole layer.

`class ELU(Layer, function=F.elu, alpha=1.0, inplace=False)` makes a module whose constructor
takes `alpha` and `inplace`, whose `forward(input)` is `F.elu(input, self.alpha, self.inplace)`,
and which knows its printed form. `...` marks a setting without a default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from operator import attrgetter
from types import FunctionType
from typing import Any

from kkori.nn.module import Module

__all__ = ["Layer", "as_tuple", "pair", "single", "triple"]

class _Signature:
    """`inspect.signature` of a layer class, made when somebody asks."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        from inspect import Parameter, Signature
        if owner is Layer or owner.__init__ is not Layer.__init__:
            raise AttributeError("__signature__")
        kind, required = Parameter.POSITIONAL_OR_KEYWORD, Parameter.empty
        return Signature([Parameter(name, kind, default=required if default is ... else default)
                          for name, default in owner._settings.items()])


class Layer(Module):
    """The base; see the module's docstring.

    Class keywords: `function` is called with the input and then the settings named in `passes`
    (all of them if not given); `uses` is a function kept for a `forward` of your own; `shown` is
    the format of the printed settings (", inplace=True" follows by itself); every other keyword
    is a setting and its default.
    """

    _settings: dict[str, Any] = {}
    _owner = "Layer"  # the class that declared the settings: errors name it, as Python would
    _shown: str | None = None
    _function: Callable[..., Any]
    __signature__ = _Signature()

    def __init_subclass__(cls, function: Callable[..., Any] | None = None,
                          passes: tuple[str, ...] | None = None, shown: str | None = None,
                          uses: Callable[..., Any] | None = None, **settings: Any) -> None:
        super().__init_subclass__()
        if settings:
            cls._settings = settings
        if settings or "_dims" in vars(cls):
            cls._owner = cls.__qualname__
        if shown is not None:
            cls._shown = shown
        if uses is not None:
            cls._function = staticmethod(uses)
        if function is not None:
            names = tuple(cls._settings) if passes is None else passes
            forward = forward_with(function, names)
            forward.__name__, forward.__qualname__ = "forward", f"{cls.__qualname__}.forward"
            cls.forward = forward  # type: ignore[method-assign]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()
        self.__dict__.update(bind(self._owner, self._settings, args, options))
        self.prepare()

    def prepare(self) -> None:
        """Check the settings and bring them into the form the function wants."""

    def extra_repr(self) -> str:
        if self._shown is None:
            return ""
        here = self.__dict__
        text = self._shown.format_map(here)
        if here.get("inplace") and "{inplace}" not in self._shown:
            return f"{text}, inplace=True" if text else "inplace=True"
        return text


def forward_with(function: Callable[..., Any], names: tuple[str, ...]) -> Any:
    """A `forward` that passes on the attributes called `names`."""
    if not names:
        return lambda self, input: function(input)
    get = attrgetter(*names)
    if len(names) == 1:
        return lambda self, input: function(input, get(self))
    return lambda self, input: function(input, *get(self))


def bind(owner: str, settings: dict[str, Any], args: tuple[Any, ...],
         options: dict[str, Any]) -> dict[str, Any]:
    """A value for each setting; TypeError in Python's words for arguments that do not fit."""
    if len(args) > len(settings):
        raise _too_many(owner, settings, args)
    values = dict(zip(settings, args, strict=False))
    for name in options:
        if name not in settings:
            raise TypeError(f"{owner}.__init__() got an unexpected keyword argument '{name}'")
        if name in values:
            raise TypeError(f"{owner}.__init__() got multiple values for argument '{name}'")
    bound = {**settings, **values, **options}
    missing = [f"'{name}'" for name, value in bound.items() if value is ...]
    if missing:
        raise TypeError(f"{owner}.__init__() missing {len(missing)} required positional argument"
                        f"{'s' * (len(missing) > 1)}: {_listed(missing)}")
    return bound


def _too_many(owner: str, settings: dict[str, Any], args: tuple[Any, ...]) -> TypeError:
    most = len(settings) + 1
    least = 1 + sum(value is ... for value in settings.values())
    span = f"from {least} to {most}" if least < most else f"{most}"
    plural = "s" * (most > 1)
    return TypeError(f"{owner}.__init__() takes {span} positional argument{plural} but "
                     f"{len(args) + 1} were given")


def _listed(names: list[str]) -> str:
    if len(names) < 3:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def with_own_init(cls: type) -> None:
    """Give `cls` a copy of the `__init__` it inherits, so that Python's errors name `cls`."""
    inherited: Any = cls.__init__  # type: ignore[misc]
    copy = FunctionType(inherited.__code__, inherited.__globals__, "__init__",
                        inherited.__defaults__, inherited.__closure__)
    copy.__kwdefaults__, copy.__annotations__ = inherited.__kwdefaults__, inherited.__annotations__
    copy.__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__init__ = copy  # type: ignore[misc]


def as_tuple(value: Any, length: int) -> tuple[Any, ...]:
    """`value` repeated `length` times, or, if it is a sequence, as a tuple."""
    return tuple(value) if isinstance(value, Iterable) else tuple(repeat(value, length))


def single(value: Any) -> tuple[Any, ...]:
    """`value` as a tuple of one."""
    return as_tuple(value, 1)


def pair(value: Any) -> tuple[Any, ...]:
    """`value` as a tuple of two."""
    return as_tuple(value, 2)


def triple(value: Any) -> tuple[Any, ...]:
    """`value` as a tuple of three."""
    return as_tuple(value, 3)
