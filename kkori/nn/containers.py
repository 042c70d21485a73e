"""Containers: modules and parameters in order, in lists and under names."""

from __future__ import annotations

import operator
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, count
from typing import Any

from kkori.core import errors
from kkori.nn.module import Module, indented, typename
from kkori.nn.parameter import Parameter
from kkori.run.calls import changed
from kkori.tensor import Tensor

__all__ = ["Container", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


class Container(Module):
    """PyTorch's first container; `Module` does all of it."""

    def __init__(self, **modules: Any) -> None:
        warnings.warn(
            "`nn.Container` is deprecated. All of its functionality is now implemented in "
            "`nn.Module`. Subclass that instead.", FutureWarning, stacklevel=2)
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class Ordered(Module):
    """Modules under the names "0", "1", ... (what Sequential and ModuleList have in common)."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def __setitem__(self, idx: int, module: Module) -> None:
        setattr(self, key_at(self, idx), module)

    def __delitem__(self, idx: Any) -> None:
        keys = list(self._modules)[idx] if isinstance(idx, slice) else [key_at(self, idx)]
        for key in keys:
            delattr(self, key)
        self._modules = {str(i): module for i, module in enumerate(self._modules.values())}

    def append(self, module: Any) -> Any:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def pop(self, key: Any) -> Any:
        """Take a module (or a slice of them) out."""
        found = self[key]  # type: ignore[index]
        del self[key]
        return found


def key_at(modules: Module, idx: Any) -> str:
    """The name of the module number `idx`; IndexError where there is none."""
    keys = list(modules._modules)
    try:
        return keys[operator.index(idx)]
    except IndexError:
        raise IndexError(errors.message(f"index {operator.index(idx)} is out of range")) from None


def _make_place(modules: Module, index: int) -> None:
    changed(modules)
    table = modules._modules
    for i in range(len(table), index, -1):
        table[str(i)] = table[str(i - 1)]


class Sequential(Ordered):
    """Modules one after the other: each is called with the result of the one before.

    >>> import kkori as torch
    >>> torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.ReLU())
    Sequential(
      (0): Linear(in_features=1, out_features=8, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = len(args) == 1 and isinstance(args[0], OrderedDict)
        for name, module in args[0].items() if named else zip(
                map(str, count()), args, strict=False):
            self.add_module(name, module)

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)
        return input

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, slice):
            return type(self)(OrderedDict(list(self._modules.items())[idx]))
        return self._modules[key_at(self, idx)]

    def __iadd__(self, other: Any) -> Sequential:
        return self.extend(list(_checked_sequential(other)))

    def __add__(self, other: Any) -> Sequential:
        return Sequential(*self, *_checked_sequential(other))

    def __mul__(self, other: int) -> Sequential:
        return Sequential(*[module for _ in _times(self, other) for module in self])

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Sequential:
        return self.extend([module for _ in _times(self, other)[1:] for module in list(self)])

    def insert(self, index: int, module: Module) -> Sequential:
        """Put `module` before number `index`."""
        if not isinstance(module, Module):
            raise AssertionError(errors.message(
                f"module should be of type: <class '{typename(Module)}'>"))
        length = len(self)
        if not -length <= index <= length:
            raise IndexError(errors.message(f"Index out of range: {index}"))
        index += length if index < 0 else 0
        _make_place(self, index)
        self._modules[str(index)] = module
        return self

    def extend(self, sequential: Iterable[Any]) -> Sequential:
        """Add modules at the end."""
        for module in sequential:
            self.append(module)
        return self


def _checked_sequential(other: Any) -> Any:
    if not isinstance(other, Sequential):
        raise ValueError(errors.message(
            "add operator supports only objects of Sequential class, but "
            f"{_class(other)} is given."))
    return other


def _class(thing: Any) -> str:
    return f"<class '{typename(type(thing))}'>"


def _times(modules: Sequential, times: Any) -> range:
    if not isinstance(times, int):
        raise TypeError(errors.message(
            f"unsupported operand type(s) for *: {_class(modules)} and {_class(times)}"))
    if times <= 0:
        raise ValueError(errors.message(
            f"Non-positive multiplication factor {times} for {_class(modules)}"))
    return range(times)


class ModuleList(Ordered):
    """A list of modules that are all registered."""

    def __init__(self, modules: Iterable[Any] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, slice):
            return type(self)(list(self._modules.values())[idx])
        return self._modules[key_at(self, idx)]

    def __iadd__(self, modules: Iterable[Any]) -> ModuleList:
        return self.extend(modules)

    def __add__(self, other: Iterable[Any]) -> ModuleList:
        return ModuleList(chain(self, other))

    def insert(self, index: int, module: Module) -> None:
        """Put `module` before number `index`."""
        _make_place(self, index)
        self._modules[str(index)] = module

    def extend(self, modules: Iterable[Any]) -> ModuleList:
        """Add modules at the end."""
        _check_iterable("ModuleList.extend should be called with an iterable", modules)
        for module in list(modules):
            self.append(module)
        return self

    def __repr__(self) -> str:
        if not len(self):
            return f"{self._get_name()}()"
        lines = [f"({span}): {indented(text)}" for span, text in _runs([repr(m) for m in self])]
        return "{}(\n  {}\n)".format(self._get_name(), "\n  ".join(lines))


def _runs(texts: list[str]) -> Iterator[tuple[str, str]]:
    """Equal neighbours written once, as ``0-2`` and ``3 x text``."""
    start = 0
    for end in range(1, len(texts) + 1):
        if end == len(texts) or texts[end] != texts[start]:
            if end - start == 1:
                yield str(start), texts[start]
            else:
                yield f"{start}-{end - 1}", f"{end - start} x {texts[start]}"
            start = end


def _check_iterable(complaint: str, values: Any) -> None:
    if not isinstance(values, Iterable) or isinstance(values, Tensor):
        raise TypeError(errors.message(f"{complaint}, but got {type(values).__name__}"))


def _pairs(owner: str, values: Any) -> Iterator[tuple[str, Any]]:
    """The (key, value) pairs of a sequence; TypeError or ValueError for an item that is none."""
    for number, pair in enumerate(values):
        if not isinstance(pair, Iterable):
            raise TypeError(errors.message(
                f"{owner} update sequence element #{number} should be Iterable; is"
                f"{type(pair).__name__}"))
        if len(pair) != 2:  # type: ignore[arg-type]
            raise ValueError(errors.message(
                f"{owner} update sequence element #{number} has length "
                f"{len(pair)}; 2 is required"))  # type: ignore[arg-type]
        yield pair[0], pair[1]  # type: ignore[index]


class ModuleDict(Module):
    """Modules under names of your choice, all registered, in order."""

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Any) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        changed(self)
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Take every module out."""
        changed(self)
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Take one module out."""
        changed(self)
        return self._modules.pop(key)

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def items(self) -> Any:
        """(name, module) pairs."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Add (or replace) modules from a mapping or from (name, module) pairs."""
        _check_iterable("ModuleDict.update should be called with an iterable of key/value pairs",
                        modules)
        mapping = isinstance(modules, (ModuleDict, Mapping))
        for name, module in modules.items() if mapping else _pairs("ModuleDict", modules):
            self[name] = module


def _as_parameter(value: Any) -> Any:
    plain = isinstance(value, Tensor) and not isinstance(value, Parameter)
    return Parameter(value) if plain else value


def _described(items: Iterable[tuple[Any, Any]], kind: Any) -> str:
    """One line for each of a container's values; `kind` names the type of a tensor."""
    lines = []
    for key, value in items:
        if isinstance(value, Tensor):
            what = "Parameter" if isinstance(value, Parameter) else "Tensor"
            where = f" ({value.device})" if value.device.type == "cuda" else ""
            size = "x".join(map(str, value.size()))
            text = f"{what} containing: [{kind(value)} of size {size}{where}]"
        else:
            text = f"Object of type: {type(value).__name__}"
        lines.append(f"  ({key}): {text}")
    return "\n".join(lines)


class ParameterList(Module):
    """A list of parameters that are all registered; tensors put into it become parameters."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([self[i] for i in range(len(self))])

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, slice):
            return type(self)([self[i] for i in range(*idx.indices(len(self)))])
        return getattr(self, _place(idx, len(self)))

    def __setitem__(self, idx: int, param: Any) -> None:
        setattr(self, _place(idx, len(self)), _as_parameter(param))

    def __iadd__(self, parameters: Iterable[Any]) -> ParameterList:
        return self.extend(parameters)

    def append(self, value: Any) -> ParameterList:
        """Add a value at the end."""
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Add values at the end."""
        _check_iterable("ParameterList.extend should be called with an iterable", values)
        for value in values:
            self.append(value)
        return self

    def extra_repr(self) -> str:
        return _described(enumerate(self), lambda value: value.dtype)

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError(errors.message("ParameterList should not be called."))


def _place(idx: Any, length: int) -> str:
    number = operator.index(idx)
    if not -length <= number < length:
        raise IndexError(errors.message(f"index {number} is out of range"))
    return str(number % length)


class ParameterDict(Module):
    """Parameters under names of your choice, all registered, in order."""

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def _key_to_attr(self, key: Any) -> str:
        if not isinstance(key, str):
            raise TypeError(errors.message(
                "Index given to ParameterDict cannot be used as a key as it is not a string (type "
                f"is '{type(key).__name__}'). Open an issue on github if you need non-string "
                "keys."))
        return key

    def __getitem__(self, key: str) -> Any:
        return getattr(self, self._key_to_attr(key))

    def __setitem__(self, key: str, value: Any) -> None:
        attribute = self._key_to_attr(key)
        self._keys[key] = None
        setattr(self, attribute, _as_parameter(value))

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, self._key_to_attr(key))

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def copy(self) -> ParameterDict:
        """A new ParameterDict of the same parameters."""
        return ParameterDict(OrderedDict(self.items()))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value under `key`, which becomes `default` if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Take everything out."""
        for key in list(self._keys):
            del self[key]

    def pop(self, key: str) -> Any:
        """Take one value out."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last (key, value) out."""
        key = next(reversed(self._keys), None)
        if key is None:
            self._keys.popitem()  # raises the KeyError of an empty dictionary
        return key, self.pop(key)  # type: ignore[arg-type,return-value]

    def get(self, key: str, default: Any = None) -> Any:
        """The value under `key`, or `default`."""
        return self[key] if key in self else default

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new ParameterDict with the same value under every key."""
        return ParameterDict((key, default) for key in keys)

    def keys(self) -> Any:
        """The keys."""
        return self._keys.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """(key, value) pairs."""
        return ((key, self[key]) for key in self._keys)

    def values(self) -> Iterable[Any]:
        """The values."""
        return (self[key] for key in self._keys)

    def update(self, parameters: Any) -> None:
        """Add (or replace) values; those of a plain dict in the order of their keys."""
        _check_iterable("ParametersDict.update should be called with an iterable of key/value "
                        "pairs", parameters)
        pairs: Any
        if isinstance(parameters, (OrderedDict, ParameterDict)):
            pairs = parameters.items()
        elif isinstance(parameters, Mapping):
            pairs = sorted(parameters.items())
        else:
            pairs = _pairs("ParameterDict", parameters)
        for key, value in pairs:
            self[key] = value

    def extra_repr(self) -> str:
        return _described(self.items(), typename)

    def __call__(self, input: Any) -> Any:
        raise RuntimeError(errors.message("ParameterDict should not be called."))

    def __or__(self, other: Any) -> ParameterDict:
        merged = self.copy()
        merged.update(other)
        return merged

    def __ror__(self, other: Any) -> ParameterDict:
        merged = other.copy()
        merged.update(self)
        return merged

    def __ior__(self, other: Any) -> ParameterDict:
        self.update(other)
        return self
