"""Hooks: functions that people hang on modules, and the handles that take them off again."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from kkori.autograd.function import Function
from kkori.autograd.mode import is_grad_enabled
from kkori.tensor import Tensor

__all__ = ["BackwardHook", "RemovableHandle"]

Hook = Callable[..., Any]


class RemovableHandle:
    """What registering a hook returns; ``remove()``, or the end of a ``with`` block, undoes it."""

    id: int
    next_id: int = 0

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.hooks_dict_ref: Any = weakref.ref(hooks_dict)
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1
        extra = [extra_dict] if isinstance(extra_dict, dict) else extra_dict or ()
        self.extra_dict_ref = tuple(weakref.ref(table) for table in extra)

    def remove(self) -> None:
        for reference in (self.hooks_dict_ref, *self.extra_dict_ref):
            table = reference()
            if table is not None:
                table.pop(self.id, None)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.hooks_dict_ref(), self.id, tuple(table() for table in self.extra_dict_ref)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        hooks, self.id, extra = state
        self.hooks_dict_ref = weakref.ref(OrderedDict() if hooks is None else hooks)
        self.extra_dict_ref = tuple(weakref.ref(table) for table in extra or ())
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.id + 1)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def register(table: OrderedDict[int, Hook], hook: Hook, prepend: bool = False,
             marks: tuple[tuple[OrderedDict[int, bool], bool], ...] = ()) -> RemovableHandle:
    """Put `hook` into `table`, and its number into each of `marks` whose flag is set."""
    handle = RemovableHandle(table, extra_dict=[mark for mark, _ in marks])
    table[handle.id] = hook
    for mark, wanted in marks:
        if wanted:
            mark[handle.id] = True
    if prepend:
        table.move_to_end(handle.id, last=False)
    return handle


class WrappedHook:
    """A hook that is given its module first, without keeping the module alive."""

    def __init__(self, hook: Hook, module: Any = None) -> None:
        self.hook = hook
        functools.update_wrapper(self, hook)
        self.with_module = module is not None
        if self.with_module:
            self.module: Any = weakref.ref(module)

    def __call__(self, *args: Any, **options: Any) -> Any:
        if not self.with_module:
            return self.hook(*args, **options)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **options)

    def __getstate__(self) -> dict[str, Any]:
        state = {"hook": self.hook, "with_module": self.with_module}
        return state | {"module": self.module()} if self.with_module else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.hook, self.with_module = state["hook"], state["with_module"]
        if self.with_module:
            if state["module"] is None:
                raise RuntimeError("You are trying to revive the hook of a dead Module!")
            self.module = weakref.ref(state["module"])


class BackwardHookFunction(Function):
    """The identity on any number of tensors; its node in the graph is where hooks hang."""

    @staticmethod
    def forward(context: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        context.mark_non_differentiable(*[each for each in tensors if not each.requires_grad])
        return tuple(each.view_as(each) for each in tensors)

    @staticmethod
    def backward(context: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return gradients


class BackwardHook:
    """One call of a module with backward hooks: an identity node before it and one after it.

    The node after the module runs first when gradients come back: the pre-hooks may change them
    there. The node before it sees the gradients of the module's inputs: the hooks may change those.
    """

    def __init__(self, module: Any, hooks: list[Hook], pre_hooks: list[Hook]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_outputs: tuple[Any, ...] | None = None
        self.outputs = _Places()
        self.inputs = _Places()

    def setup_input_hook(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.inputs.watch(args, self._hook_before)

    def setup_output_hook(self, result: Any) -> Any:
        if isinstance(result, tuple):
            return self.outputs.watch(result, self._hook_after)
        return self.outputs.watch((result,), self._hook_after)[0]

    def _hook_before(self, gradients: tuple[Any, ...], _: Any) -> tuple[Any, ...] | None:
        if self.grad_outputs is None:
            return None  # backward began inside the module
        spread = self.inputs.spread(gradients)
        for hook in self.hooks:
            changed = hook(self.module, spread, self.grad_outputs)
            if changed is not None:
                _same_length("Backward hook", "grad_input", changed, spread)
                spread = changed
        self.grad_outputs = None
        return self.inputs.gather(spread)

    def _hook_after(self, _: Any, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        spread = self.outputs.spread(gradients)
        for hook in self.pre_hooks:
            changed = hook(self.module, spread)
            if changed is not None:
                _same_length("Backward pre hook", "grad_output", changed, spread)
                spread = changed
        self.grad_outputs = spread
        if self.inputs.indices is None:
            self._no_input_wants_a_gradient(spread)
        return self.outputs.gather(spread)

    def _no_input_wants_a_gradient(self, grad_outputs: tuple[Any, ...]) -> None:
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module "
            "outputs since no inputs require gradients. See https://docs.pytorch.org/docs/main/"
            "generated/torch.nn.Module.html#torch.nn.Module.register_full_backward_hook for more "
            "details.", stacklevel=5)
        for hook in self.hooks:
            changed = hook(self.module, (None,) * self.inputs.length, grad_outputs)
            if changed is not None and any(each is not None for each in changed):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always "
                    "return None or None for all gradients.")
        self.grad_outputs = None


def _same_length(who: str, what: str, got: Any, expected: Any) -> None:
    if len(got) != len(expected):
        raise RuntimeError(f"{who} returned an invalid number of {what}, got {len(got)}, "
                           f"but expected {len(expected)}")


class _Places:
    """Which of a module's arguments (or results) are tensors that pass through an identity node."""

    def __init__(self) -> None:
        self.indices: list[int] | None = None
        self.length = -1

    def watch(self, values: tuple[Any, ...], hook: Hook) -> tuple[Any, ...]:
        self.length = len(values)
        places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
        if not (is_grad_enabled() and any(values[i].requires_grad for i in places)):
            return values
        self.indices = places
        passed = BackwardHookFunction.apply(*[values[i] for i in places])
        next(each.grad_fn for each in passed if each.grad_fn is not None).register_hook(hook)
        found = list(values)
        for i, tensor in zip(places, passed, strict=True):
            found[i] = tensor
        return tuple(found) if type(values) is tuple else type(values)(*found)

    def spread(self, gradients: tuple[Any, ...]) -> tuple[Any, ...]:
        found: list[Any] = [None] * self.length
        for i, gradient in zip(self.indices or (), gradients, strict=True):
            found[i] = gradient
        return tuple(found)

    def gather(self, spread: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(spread[i] for i in self.indices or ())


class Everywhere:
    """Hooks on every module: `torch.nn.modules.module.register_module_*_hook`."""

    def __init__(self) -> None:
        self.registration: dict[str, OrderedDict[int, Hook]] = {
            kind: OrderedDict() for kind in ("parameter", "buffer", "module")}
        self.forward_pre: OrderedDict[int, Hook] = OrderedDict()
        self.forward: OrderedDict[int, Hook] = OrderedDict()
        self.with_kwargs: OrderedDict[int, bool] = OrderedDict()
        self.always_called: OrderedDict[int, bool] = OrderedDict()
        self.backward_pre: OrderedDict[int, Hook] = OrderedDict()
        self.backward: OrderedDict[int, Hook] = OrderedDict()
        self.full: bool | None = None
        self.any = False  # the one thing a call without hooks looks at; never goes back

    def register(self, table: OrderedDict[int, Hook], hook: Hook, **how: Any) -> RemovableHandle:
        self.any = True
        return register(table, hook, **how)


everywhere = Everywhere()

NOT_BOTH = ("Cannot use both regular backward hooks and full backward hooks {}. "
            "Please use only one of them.")


def registered(kind: str, owner: Any, name: str, value: Any) -> Any:
    """`value` as the global hooks on registering a parameter, buffer or module leave it."""
    for hook in everywhere.registration[kind].values():
        changed = hook(owner, name, value)
        if changed is not None:
            value = changed
    return value


def register_module_parameter_registration_hook(hook: Hook) -> RemovableHandle:
    return register(everywhere.registration["parameter"], hook)


def register_module_buffer_registration_hook(hook: Hook) -> RemovableHandle:
    return register(everywhere.registration["buffer"], hook)


def register_module_module_registration_hook(hook: Hook) -> RemovableHandle:
    return register(everywhere.registration["module"], hook)


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    return everywhere.register(everywhere.forward_pre, hook)


def register_module_forward_hook(hook: Hook, *, with_kwargs: bool = False,
                                 always_call: bool = False) -> RemovableHandle:
    return everywhere.register(everywhere.forward, hook, marks=(
        (everywhere.with_kwargs, with_kwargs), (everywhere.always_called, always_call)))


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    return everywhere.register(everywhere.backward_pre, hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    return _register_global_backward(hook, full=True)


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    return _register_global_backward(hook, full=False)


def _register_global_backward(hook: Hook, full: bool) -> RemovableHandle:
    if everywhere.full is (not full):
        raise RuntimeError(NOT_BOTH.format("as a global Module hook"))
    everywhere.full = full
    return everywhere.register(everywhere.backward, hook)
