"""The optimizer base class: parameter groups, state dicts and hooks.

What a step computes is elsewhere: most optimizers are a pure rule (``kkori.optim.rule``), and a
program may subclass `Optimizer` and write its own ``step``.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import wraps
from itertools import chain
from typing import Any

import kkori
from kkori.autograd.mode import switch
from kkori.core.errors import message
from kkori.nn.hooks import RemovableHandle, register
from kkori.run.hot import replay
from kkori.tensor import Tensor

__all__ = [
    "Optimizer",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
    "required",
]

ParamsT = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
StateDict = dict[str, Any]


class _Required:
    """Marks an option that every parameter group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()

Hooks = OrderedDict[int, Callable]
_global_step_pre_hooks: Hooks = OrderedDict()
_global_step_post_hooks: Hooks = OrderedDict()

# What a group saved by an older version did not have yet.
_LEGACY_OPTIONS = {
    "amsgrad": False,
    "capturable": False,
    "centered": False,
    "decoupled_weight_decay": False,
    "differentiable": False,
    "foreach": None,
    "fused": None,
    "maximize": False,
    "momentum": 0,
    "nesterov": False,
}


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """Calls ``hook(optimizer, args, kwargs)`` before every step of every optimizer."""
    return register(_global_step_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """Calls ``hook(optimizer, args, kwargs)`` after every step of every optimizer."""
    return register(_global_step_post_hooks, hook)


def _with_hooks(step: Callable) -> Callable:
    """``step`` with the hooks of its optimizer, and the global ones, called around it."""
    replayable = getattr(step, "replayable", False)

    @wraps(step)
    def hooked_step(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        tape = switch.tape
        if tape is not None and replayable and not (
                args or kwargs or self._optimizer_step_pre_hooks or _global_step_pre_hooks
                or self._optimizer_step_post_hooks or _global_step_post_hooks):
            for entry in tape.here.ends:  # in a hot loop: see kkori/run/finish.py
                for finish in entry.finishes:
                    if finish(tape, self):
                        return None
            if replay(self):
                return None
        if self._optimizer_step_pre_hooks or _global_step_pre_hooks:
            args, kwargs = _run_pre_hooks(self, step, args, kwargs)
        result = step(self, *args, **kwargs)
        if self._optimizer_step_post_hooks or _global_step_post_hooks:
            own, common = self._optimizer_step_post_hooks, _global_step_post_hooks
            for hook in (*own.values(), *common.values()):
                hook(self, (self, *args), kwargs)
        return result

    hooked_step.hooked = True  # type: ignore[attr-defined]
    return hooked_step


def _run_pre_hooks(optimizer: Optimizer, step: Callable, args: tuple, kwargs: dict):
    arguments = (optimizer, *args)
    own, common = optimizer._optimizer_step_pre_hooks, _global_step_pre_hooks
    for hook in (*common.values(), *own.values()):
        result = hook(optimizer, arguments, kwargs)
        if result is None:
            continue
        if not (isinstance(result, tuple) and len(result) == 2):
            raise RuntimeError(message(
                f"{step} must return None or a tuple of (new_args, new_kwargs), but got {result}."))
        arguments, kwargs = result
    return arguments[1:], kwargs


def _type_name(value: Any) -> str:
    """The type of a value as PyTorch's messages print it."""
    if isinstance(value, Tensor):
        return value.type()
    kind = type(value)
    module = kind.__module__
    return kind.__name__ if module in ("builtins", "__builtin__") else f"{module}.{kind.__name__}"


class Optimizer:
    """Holds the parameters of a model in groups, with the options and the state of each.

    Args:
        params: tensors, ``(name, tensor)`` pairs, or dictionaries, one a group, each with the key
            ``"params"`` and any options that differ from ``defaults``.
        defaults: the options of a group that does not set them itself.

    A subclass defines ``step``. Raises TypeError or ValueError for parameters that cannot be
    optimized. Source: ``torch.optim.Optimizer``.
    """

    _optimizer_step_pre_hooks: Hooks
    _optimizer_step_post_hooks: Hooks
    _optimizer_state_dict_pre_hooks: Hooks
    _optimizer_state_dict_post_hooks: Hooks
    _optimizer_load_state_dict_pre_hooks: Hooks
    _optimizer_load_state_dict_post_hooks: Hooks

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._add_hook_tables()
        self._wrap_step()
        groups = _list_of_groups(params, type(self).__name__)
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _add_hook_tables(self) -> None:
        for name in Optimizer.__annotations__:
            self.__dict__.setdefault(name, OrderedDict())

    def _wrap_step(self) -> None:
        """Lets the hooks run around ``step``; done once a class, whoever wrote the method."""
        cls = type(self)
        if not getattr(cls.step, "hooked", False):
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "state": self.state,
            "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._add_hook_tables()
        self._wrap_step()
        self.defaults.setdefault("differentiable", False)
        for group in self.param_groups:
            for name, value in _LEGACY_OPTIONS.items():
                if name in self.defaults:
                    group.setdefault(name, value)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for index, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {index}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join(lines) + "\n)"

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Makes one step; ``closure`` evaluates the model again and returns the loss."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters, or fills them with zeros."""
        tape = switch.tape
        owes = tape.owes if tape is not None and set_to_none else None
        if owes is not None and owes[3].cleared_by() is self:
            tape.owes = None  # nobody has asked for the gradients of the last round
            return
        for group in self.param_groups:
            for param in group["params"]:
                grad = param.grad
                if grad is None:
                    continue
                if set_to_none:
                    param.grad = None
                else:
                    _fill_with_zeros(grad)

    # -- hooks ---------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Calls ``hook(optimizer, args, kwargs)`` before each step; it may return new ones."""
        return register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Calls ``hook(optimizer, args, kwargs)`` after each step."""
        return register(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False):
        """Calls ``hook(optimizer)`` before `state_dict` collects anything."""
        return register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False):
        """Calls ``hook(optimizer, state_dict)``; what it returns, if not None, is the result."""
        return register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False):
        """Calls ``hook(optimizer, state_dict)``; what it returns, if not None, is loaded."""
        return register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False):
        """Calls ``hook(optimizer)`` when a state dict has been loaded."""
        return register(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # -- state dicts ---------------------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """The state and the options, with parameters named by their position.

        Returns ``{"state": {position: {...}}, "param_groups": [{..., "params": [position]}]}``;
        tensors are the optimizer's own, not copies.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        positions: dict[int, int] = {}
        groups = [_pack_group(group, positions) for group in _numbered(self.param_groups)]
        state = {
            positions[id(key)] if isinstance(key, Tensor) else key: value
            for key, value in self.state.items()
        }
        result: StateDict = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Takes over what `state_dict` returned; floating state is cast to its parameter's dtype.

        Raises ValueError where the groups do not fit, before anything has changed.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        saved_groups = deepcopy(state_dict["param_groups"])
        _check_groups_fit(self.param_groups, saved_groups)
        state = self._cast_state(state_dict, saved_groups)
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved_groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def _cast_state(self, state_dict: StateDict, saved_groups: list[dict]) -> defaultdict:
        """The loaded state, keyed by our parameters; what belongs to none is kept as it is."""
        positions = chain.from_iterable(group["params"] for group in saved_groups)
        params = chain.from_iterable(group["params"] for group in self.param_groups)
        owners = dict(zip(positions, params, strict=True))
        float_steps = {
            position
            for group in saved_groups
            for position in group["params"]
            if group.get("capturable") or group.get("fused")
        }
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in owners:
                state[owners[key]] = _cast(owners[key], value, key in float_steps)
            else:
                state[key] = value
        return state

    # -- groups --------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters, for instance of layers that are trained from now on.

        Raises TypeError for what is not a tensor, ValueError for a tensor that is no leaf or is in
        a group already; nothing has been added then.
        """
        if not isinstance(param_group, dict):
            raise TypeError(message(f"param_group must be a dict, but got {type(param_group)}"))
        param_group["params"] = _as_list(param_group["params"])
        _split_names(param_group)
        self._check_params(param_group["params"])
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(message(
                    "parameter group didn't specify a value of required "
                    f"optimization parameter {name}"))
            param_group.setdefault(name, default)
        self._check_group_is_new(param_group)
        self.param_groups.append(param_group)

    def _check_params(self, params: list[Any]) -> None:
        for param in params:
            if not isinstance(param, Tensor):
                first = (
                    "optimizer can only optimize Tensors, "
                    f"but one of the params is {_type_name(param)}"
                )
                raise TypeError(message(first, fix=_fix_of_call(type(self).__name__)))
            if not self.defaults.get("differentiable") and not (
                param.is_leaf or param.retains_grad
            ):
                raise ValueError(message(
                    "can't optimize a non-leaf Tensor",
                    what=f"it was computed by {param.grad_fn.name()}",
                    fix="make it a leaf: w = w.detach().requires_grad_()",
                ))

    def _check_group_is_new(self, param_group: dict[str, Any]) -> None:
        new = {id(param) for param in param_group["params"]}
        if len(new) != len(param_group["params"]):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; "
                "in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=4,
            )
        named = "param_names" in param_group
        for group in self.param_groups:
            if named != ("param_names" in group):
                raise ValueError(message(
                    "all optimizer param groups should be with/without names. cannot add param "
                    f"group {'with' if named else 'without'} names to the optimizer"))
        if any(id(param) in new for group in self.param_groups for param in group["params"]):
            raise ValueError(message(
                "some parameters appear in more than one parameter group",
                fix="give each parameter to one group only, or set group['lr'] of the one it is in",
            ))


def _list_of_groups(params: Any, name: str) -> list[Any]:
    """The parameters, or the groups of them, that an optimizer was made with."""
    if isinstance(params, Tensor):
        raise TypeError(message(
            "params argument given to the optimizer should be an iterable of "
            f"Tensors or dicts, but got {_type_name(params)}",
            fix=f"put it into a list: torch.optim.{name}([w], lr=0.1)",
        ))
    try:
        groups = list(params)
    except TypeError as error:
        raise TypeError(message(str(error), fix=_fix_of_call(name))) from None
    if not groups:
        raise ValueError(message(
            "optimizer got an empty parameter list",
            what="a generator, such as model.parameters(), gives its parameters only once",
            fix=_fix_of_call(name),
        ))
    return groups


def _fix_of_call(name: str) -> str:
    return f"torch.optim.{name}(model.parameters(), lr=0.1)"


def _fill_with_zeros(grad: Tensor) -> None:
    if grad.grad_fn is not None:
        grad.detach_()
    else:
        grad.requires_grad_(False)
    grad.zero_()


def _as_list(params: Any) -> list[Any]:
    if isinstance(params, Tensor):
        return [params]
    if isinstance(params, set):
        raise TypeError(message(
            "optimizer parameters need to be organized in ordered collections, but "
            "the ordering of tensors in sets will change between runs. Please use a list instead."))
    return list(params)


def _split_names(param_group: dict[str, Any]) -> None:
    """Turns ``(name, tensor)`` pairs into the tensors and the list ``"param_names"``."""
    params = param_group["params"]
    names = [param[0] for param in params if isinstance(param, tuple)]
    if not names:
        return
    if len(names) != len(params):
        raise ValueError(message(
            "all optimizer params should be with/without names. Some param names are missing"))
    param_group["params"] = [param for _, param in params]
    param_group["param_names"] = names


def _numbered(groups: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each group with the position of its first parameter."""
    start = 0
    for group in groups:
        yield start, group
        start += len(group["params"])


def _pack_group(numbered: tuple[int, dict], positions: dict[int, int]) -> dict[str, Any]:
    """A group with positions in place of its parameters; ``positions`` learns the new ones."""
    start, group = numbered
    for position, param in enumerate(group["params"], start):
        positions.setdefault(id(param), position)
    packed = {key: value for key, value in group.items() if key != "params"}
    packed["params"] = [positions[id(param)] for param in group["params"]]
    return packed


def _check_groups_fit(groups: list[dict], saved_groups: list[dict]) -> None:
    if len(groups) != len(saved_groups):
        raise ValueError(message(
            "loaded state dict has a different number of parameter groups",
            what=f"loaded: {len(saved_groups)}, this optimizer: {len(groups)}",
            fix="make the optimizer with the groups it was saved with, then load",
        ))
    for group, saved in zip(groups, saved_groups, strict=True):
        if len(group["params"]) != len(saved["params"]):
            raise ValueError(message(
                "loaded state dict contains a parameter group "
                "that doesn't match the size of optimizer's group",
                what=f"loaded: {len(saved['params'])} parameters, this optimizer's group: "
                f"{len(group['params'])}",
                fix="make the optimizer with the parameters of the same model, then load",
            ))


def _cast(param: Tensor, value: Any, float_step: bool, key: Any = None) -> Any:
    """Loaded state in the dtype and on the device of its parameter; counters stay as they are."""
    if isinstance(value, Tensor):
        if key == "step":
            return value.to(dtype=kkori.float32, device=param.device) if float_step else value
        if param.is_floating_point():
            return value.to(dtype=param.dtype, device=param.device)
        return value.to(device=param.device)
    if isinstance(value, dict):
        return {name: _cast(param, item, float_step, name) for name, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return type(value)(_cast(param, item, float_step) for item in value)  # type: ignore[call-arg]
    return value
