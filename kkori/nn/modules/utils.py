"""Small tools that programs import from here: sizes as tuples, prefixes of state dicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kkori.nn.layer import as_tuple
from kkori.nn.layer import pair as _pair
from kkori.nn.layer import single as _single
from kkori.nn.layer import triple as _triple

__all__ = ["consume_prefix_in_state_dict_if_present"]


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple[Any, ...]]:
    def parse(x: Any) -> tuple[Any, ...]:
        return as_tuple(x, n)

    parse.__name__ = name
    return parse


_quadruple = _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(t: Any, n: int) -> tuple[Any, ...]:
    return tuple(x for x in reversed(t) for _ in range(n))


def consume_prefix_in_state_dict_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """Remove `prefix` (such as ``module.``) from the names it begins, in place, keeping order."""
    _without_prefix(state_dict, prefix, prefix)
    metadata = getattr(state_dict, "_metadata", None)
    if metadata is not None:
        _without_prefix(metadata, prefix, prefix.replace(".", ""))


def _without_prefix(table: dict[str, Any], prefix: str, alone: str) -> None:
    for key in list(table):
        if key and (key.startswith(prefix) or key == alone):
            table[key[len(prefix):]] = table.pop(key)


__all__ += ["_ntuple", "_pair", "_quadruple", "_reverse_repeat_tuple", "_single", "_triple"]
