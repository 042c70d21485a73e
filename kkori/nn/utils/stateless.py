"""Calling a module with other tensors in the place of its parameters and buffers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kkori.nn.module import Module
from kkori.tensor import Tensor

__all__ = ["functional_call"]

Named = dict[str, Tensor]


def functional_call(module: Module, parameters_and_buffers: Named, args: Any = None,
                    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True,
                    strict: bool = False) -> Any:
    """`torch.func.functional_call` under its old name."""
    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be "
        "removed in a future version of PyTorch. Please use `torch.func.functional_call` instead "
        "which is a drop-in replacement.", FutureWarning, stacklevel=2)
    return call_with(module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights,
                     strict=strict)


def call_with(module: Module, parameters_and_buffers: Any, args: Any = None,
              kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True,
              strict: bool = False) -> Any:
    """``module(*args, **kwargs)`` with the given tensors (a dict, or a sequence of dicts).

    The module is unchanged afterwards, also after an error. A name that is one of several for the
    same parameter replaces it under all of them, unless `tie_weights` is False. RuntimeError with
    `strict` for missing and unexpected names.
    """
    if not isinstance(parameters_and_buffers, dict):
        parameters_and_buffers = _merged(parameters_and_buffers)
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, parameters_and_buffers, tie_weights, strict):
        return module(*args, **(kwargs or {}))


def _merged(dicts: Any) -> Named:
    """A sequence of dicts of different names as one."""
    if not all(isinstance(each, dict) for each in dicts):
        raise ValueError(
            "Expected all elements of parameter_and_buffer_dicts to be dictionaries")
    names = [name for each in dicts for name in each]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise ValueError(
            f"{repeated} appeared in multiple dictionaries; behavior of functional call is "
            "ambiguous")
    return {name: value for each in dicts for name, value in each.items()}


@contextmanager
def _replaced(module: Module, given: Named, tie_weights: bool, strict: bool) -> Iterator[None]:
    tensors = _spread_to_tied(module, given) if tie_weights else given
    if strict:
        _check_names(module, tensors)
    before: list[tuple[dict[str, Any], str, Any]] = []
    placed: dict[str, tuple[dict[str, Any], str]] = {}
    try:
        for name, value in tensors.items():
            place = _place_of(module, name)
            if place is None:
                continue  # an unexpected name; `strict` refuses it
            table, key = placed[name] = place
            before.append((table, key, table[key]))
            table[key] = value
        yield
    finally:
        for name in given:
            if name in placed:  # a module that wrote to its buffers leaves them to the caller
                table, key = placed[name]
                given[name] = table.get(key, given[name])
        for table, key, value in reversed(before):
            table[key] = value


def _place_of(module: Module, name: str) -> tuple[dict[str, Any], str] | None:
    """The table, and the key in it, that hold the tensor called `name`; None where there is none.

    AttributeError for a path that does not exist.
    """
    path, _, key = name.rpartition(".")
    owner = module.get_submodule(path)
    tables = (owner._parameters, owner._buffers, owner.__dict__)
    return next(((table, key) for table in tables if key in table), None)


def _all_tensors(module: Module) -> Named:
    return {**dict(module.named_parameters(remove_duplicate=False)),
            **dict(module.named_buffers(remove_duplicate=False))}


def _spread_to_tied(module: Module, given: Named) -> Named:
    """`given`, with each tensor also under the other names of what it replaces."""
    names_of: dict[int, set[str]] = {}
    for name, value in _all_tensors(module).items():
        names_of.setdefault(id(value), set()).add(name)
    tied = {name: names for names in names_of.values() if len(names) > 1 for name in names}
    spread = dict(given)
    for name in given:
        names = tied.get(name, set())
        if len({id(given[each]) for each in names & given.keys()}) > 1:
            raise ValueError(f"functional_call got multiple values for keys {sorted(names)}, which "
                             "are tied. Consider using tie_weights=False")
        spread.update(dict.fromkeys(names, given[name]))
    return spread


def _check_names(module: Module, given: Named) -> None:
    own = _all_tensors(module)
    errors = [f"{what} key(s): {', '.join(map(repr, names))}." for what, names in (
        ("Unexpected", [name for name in given if name not in own]),
        ("Missing", [name for name in own if name not in given])) if names]
    if errors:
        raise RuntimeError("Error(s) in reparametrizing for {}:\n\t{}".format(
            module._get_name(), "\n\t".join(errors)))
