"""State dicts: a module's tensors by name, out and in, and the report of what did not fit."""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from typing import Any

from kkori.autograd.mode import no_grad
from kkori.core.errors import message
from kkori.nn.hooks import Hook, RemovableHandle, WrappedHook, register
from kkori.nn.parameter import Parameter, is_lazy
from kkori.tensor import Tensor

__all__ = ["STATE_TABLES", "Saves"]

STATE_TABLES = frozenset({"_state_dict_hooks", "_state_dict_pre_hooks",
                          "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"})
EXTRA_STATE = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `load_state_dict` did not find, and what it found no place for."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class StateDict(OrderedDict[str, Any]):
    """An ordered dict that may carry `_metadata` (the versions of the modules it came from)."""

    _metadata: Any


class Saves:
    """`state_dict` and `load_state_dict`."""

    _version = 1
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: OrderedDict[int, Hook]
    _state_dict_pre_hooks: OrderedDict[int, Hook]
    _load_state_dict_pre_hooks: OrderedDict[int, Hook]
    _load_state_dict_post_hooks: OrderedDict[int, Hook]

    def get_extra_state(self) -> Any:
        """Anything else to save; a class that overrides it overrides `set_extra_state` too."""
        raise RuntimeError(_UNREACHABLE.format("get_extra_state"))

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave."""
        raise RuntimeError(_UNREACHABLE.format("set_extra_state"))

    # out ------------------------------------------------------------------------------------

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "",
                   keep_vars: bool = False) -> Any:
        """The module's parameters and persistent buffers by dotted name, in order.

        The tensors share memory with the module's but are detached, unless `keep_vars`.
        """
        if args:
            destination, prefix, keep_vars = _positional(args, destination, prefix, keep_vars)
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in _hooks(self, "_state_dict_pre_hooks"):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.",
                                  keep_vars=keep_vars)
        return _after_saving(self, destination, prefix, metadata)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, value in _own_state(self).items():
            destination[prefix + name] = value if keep_vars else value.detach()
        if type(self).get_extra_state is not Saves.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before the module is saved."""
        return register(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after; it returns None."""
        hook._from_public_api = True  # type: ignore[attr-defined]
        return register(self._state_dict_hooks, hook)

    def _register_state_dict_hook(self, hook: Hook) -> RemovableHandle:
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was "
                "previously registered via register_state_dict_post_hook")
        return register(self._state_dict_hooks, hook)

    # in -------------------------------------------------------------------------------------

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)`` before the module is loaded."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(self, hook: Hook,
                                           with_module: bool = False) -> RemovableHandle:
        wrapped = WrappedHook(hook, self if with_module else None)
        return register(self._load_state_dict_pre_hooks, wrapped)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after the module is loaded."""
        return register(self._load_state_dict_post_hooks, hook)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True,
                        assign: bool = False) -> Any:
        """Copy (or, with `assign`, take over) the tensors of `state_dict` by name.

        Raises RuntimeError with the whole report: missing and unexpected names (if `strict`) and
        tensors whose sizes differ. Everything that fits has been loaded by then, as in PyTorch.
        """
        if not isinstance(state_dict, Mapping):
            from kkori.nn.module import typename
            raise TypeError("Expected state_dict to be dict-like, got "
                            f"<class '{typename(type(state_dict))}'>.")
        load = Loading(state_dict, assign)
        load.module(self, load.state, "")
        load.report(self, strict)
        return _IncompatibleKeys(load.missing, load.unexpected)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: dict[str, Any],
                              strict: bool, missing_keys: list[str], unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:
        for hook in _hooks(self, "_load_state_dict_pre_hooks"):
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                 error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = _own_state(self)
        for name, value in own.items():
            key = prefix + name
            if key in state_dict:
                error_msgs += _load_one(self, name, value, key, state_dict[key], assign)
            elif strict:
                missing_keys.append(key)
        _load_extra(self, state_dict, prefix + EXTRA_STATE, strict, missing_keys, unexpected_keys)
        if strict:
            unexpected_keys += _without_a_place(self, state_dict, prefix, own)

def _hooks(module: Any, table: str) -> list[Hook]:
    here = module.__dict__
    if table in here or "_modules" not in here:  # the second is an AttributeError
        return list(getattr(module, table).values())
    return []


def _after_saving(module: Any, destination: Any, prefix: str, metadata: dict[str, Any]) -> Any:
    for hook in _hooks(module, "_state_dict_hooks"):
        changed = hook(module, destination, prefix, metadata)
        if changed is None:
            continue
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError("state_dict post-hook must return None")
        destination = changed
    return destination


def _own_state(module: Any) -> dict[str, Any]:
    """Parameters and persistent buffers of this module alone."""
    hidden = module._non_persistent_buffers_set
    state = {name: value for name, value in module._parameters.items() if value is not None}
    state |= {name: value for name, value in module._buffers.items()
              if value is not None and name not in hidden}
    return state


def _load_extra(module: Any, state_dict: Any, key: str, strict: bool, missing_keys: list[str],
                unexpected_keys: list[str]) -> None:
    if type(module).set_extra_state is not Saves.set_extra_state:
        if key in state_dict:
            module.set_extra_state(state_dict[key])
        elif strict:
            missing_keys.append(key)
    elif strict and key in state_dict:
        unexpected_keys.append(key)


def _without_a_place(module: Any, state_dict: Any, prefix: str, own: dict[str, Any]) -> list[str]:
    lost = []
    for key in state_dict:
        if key.startswith(prefix) and key != prefix + EXTRA_STATE:
            first, dot, _ = key[len(prefix):].partition(".")
            if first not in (module._modules if dot else own):
                lost.append(key)
    return lost


def _positional(args: tuple[Any, ...], destination: Any, prefix: str,
                keep_vars: bool) -> tuple[Any, str, bool]:
    warnings.warn(
        "Positional args are being deprecated, use kwargs instead. Refer to https://pytorch.org/"
        "docs/main/generated/torch.nn.Module.html#torch.nn.Module.state_dict for details.",
        FutureWarning, stacklevel=3)
    rest = (*args, None, None, None)
    return (rest[0] if destination is None else destination,
            rest[1] if len(args) > 1 and prefix == "" else prefix,
            rest[2] if len(args) > 2 and keep_vars is False else keep_vars)


class Loading:
    """One `load_state_dict`: the walk over the modules and the lists it fills."""

    def __init__(self, state_dict: Mapping[str, Any], assign: bool) -> None:
        self.assign = assign
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []
        self.metadata = getattr(state_dict, "_metadata", None)
        self.state: Any = StateDict(state_dict)  # hooks may change it: never the caller's own
        if self.metadata is not None:
            self.state._metadata = self.metadata

    def module(self, module: Any, state: Mapping[str, Any], prefix: str) -> None:
        metadata = {} if self.metadata is None else self.metadata.get(prefix[:-1], {})
        if self.assign:
            metadata["assign_to_params_buffers"] = True
        module._load_from_state_dict(state, prefix, metadata, True, self.missing, self.unexpected,
                                     self.errors)
        for name, child in module._modules.items():
            if child is not None:
                below = f"{prefix}{name}."
                part = {key: value for key, value in state.items() if key.startswith(below)}
                self.module(child, part, below)
        self.finish(module)

    def finish(self, module: Any) -> None:
        keys = _IncompatibleKeys(self.missing, self.unexpected)
        for hook in _hooks(module, "_load_state_dict_post_hooks"):
            if hook(module, keys) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not expected "
                    "to return new values, if incompatible_keys need to be modified, it should be "
                    "done inplace.")

    def report(self, module: Any, strict: bool) -> None:
        errors = self.errors
        if strict:
            listed = (("Missing", self.missing), ("Unexpected", self.unexpected))
            errors = [f"{what} key(s) in state_dict: {_quoted(keys)}. "
                      for what, keys in listed if keys] + errors
        if errors:
            report = "Error(s) in loading state_dict for {}:\n\t{}".format(
                type(module).__name__, "\n\t".join(errors))
            raise RuntimeError(message(report, fix=(
                "build the module with the sizes that the state_dict was saved from"
                if self.errors else
                "net.load_state_dict(state, strict=False) loads what both have")))


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


def _load_one(module: Any, name: str, value: Any, key: str, given: Any,
              assign: bool) -> list[str]:
    """Put `given` into the module's tensor `value`; the complaint, if it does not fit."""
    if not isinstance(given, Tensor):
        return [f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like '
                f"object from checkpoint but received {type(given)}"]
    if not is_lazy(value):
        if value.dim() == 0 and tuple(given.shape) == (1,):
            given = given[0]  # PyTorch once saved scalars as one-element tensors
        if given.shape != value.shape:
            return [f"size mismatch for {key}: copying a param with shape {given.shape} from "
                    f"checkpoint, the shape in current model is {value.shape}."]
    if value.is_meta and not given.is_meta and not assign:
        warnings.warn(
            f"for {key}: copying from a non-meta parameter in the checkpoint to a meta parameter "
            "in the current model, which is a no-op. (Did you mean to pass `assign=True` to assign "
            "items in the state dictionary to their corresponding key in the module instead of "
            "copying them in place?)", stacklevel=6)
    try:
        with no_grad():
            _put(module, name, value, given, assign)
    except Exception as error:
        return [f'While copying the parameter named "{key}", whose dimensions in the model are '
                f"{value.size()} and whose dimensions in the checkpoint are {given.size()}, an "
                f"exception occurred : {error.args}."]
    return []


def _put(module: Any, name: str, value: Any, given: Any, assign: bool) -> None:
    if not assign:
        value.copy_(given)
        return
    if isinstance(value, Parameter):
        if isinstance(given, Parameter):
            given.requires_grad_(value.requires_grad)
        else:
            given = Parameter(given, requires_grad=value.requires_grad)
    setattr(module, name, given)


_UNREACHABLE = ("Reached a code path in Module.{}() that should never be called. Please file an "
                "issue at https://github.com/pytorch/pytorch/issues/new?template=bug-report.yml "
                "to report this bug.")
