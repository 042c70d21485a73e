"""Calling a module: straight to `forward` where nothing is hooked, through every hook otherwise."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import Any

from kkori.autograd.mode import switch
from kkori.core import errors
from kkori.nn.hooks import (
    NOT_BOTH,
    BackwardHook,
    Hook,
    RemovableHandle,
    WrappedHook,
    everywhere,
    register,
)
from kkori.run.callers import turn_of
from kkori.run.calls import MOST_TRIES, OWN, learn
from kkori.tensor import Tensor

__all__ = ["CALL_TABLES", "Calls"]

# Tables of hooks that a call must look at. A module gets one when somebody first asks for it.
CALL_TABLES = frozenset({
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks",
    "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_backward_pre_hooks",
    "_backward_hooks"})


class Calls:
    """`module(...)`, and the hooks around it."""

    _modules: dict[str, Any]
    _has_call_hooks: bool  # whether the module has any of CALL_TABLES
    _is_full_backward_hook: bool | None = None
    _forward_pre_hooks: OrderedDict[int, Hook]
    _forward_pre_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks: OrderedDict[int, Hook]
    _forward_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks_always_called: OrderedDict[int, bool]
    _backward_pre_hooks: OrderedDict[int, Hook]
    _backward_hooks: OrderedDict[int, Hook]

    def forward(self, *input: Any) -> Any:
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **options: Any) -> Any:
        tape = switch.tape
        if tape is not None and not options and not everywhere.any:
            for event in tape.here.calls:  # in a hot loop: see kkori/run/calls.py
                if event.module() is self:
                    found = event.go(tape, args)
                    if found is not None:
                        return found
        try:
            if self._has_call_hooks or everywhere.any:
                return HookedCall(self, args, options).run()
            if not switch.on and self._modules and (tape is None or tape.here is tape.root):
                caller = turn_of(self)
                if caller is not None:
                    return caller.run(caller, self, args, options)
            if tape is not None and not options and tape.here.tries < MOST_TRIES and (
                    OWN[type(self)] and not tape.recording):
                return learn(tape, self, args)
            return self.forward(*args, **options)
        except Exception as error:
            errors.inside(error, self)  # adds to our own errors in which module they arose
            raise

    def _call_impl(self, *args: Any, **options: Any) -> Any:
        return Calls.__call__(self, *args, **options)

    def compile(self, *args: Any, **options: Any) -> Any:
        """Return the module itself: hot loops are compiled without being asked."""
        return self

    def register_forward_pre_hook(self, hook: Hook, *, prepend: bool = False,
                                  with_kwargs: bool = False) -> RemovableHandle:
        """Call ``hook(module, args)`` before `forward`; what it returns replaces the arguments."""
        return register(self._forward_pre_hooks, hook, prepend,
                        ((self._forward_pre_hooks_with_kwargs, with_kwargs),))

    def register_forward_hook(self, hook: Hook, *, prepend: bool = False,
                              with_kwargs: bool = False,
                              always_call: bool = False) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after `forward`; its result replaces the output."""
        return register(self._forward_hooks, hook, prepend, (
            (self._forward_hooks_with_kwargs, with_kwargs),
            (self._forward_hooks_always_called, always_call)))

    def register_full_backward_pre_hook(self, hook: Hook,
                                        prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before the module's gradients are computed."""
        return register(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` after they are computed."""
        return _register_backward(self, hook, prepend, full=True)

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """The old form, which sees the last operation of the module only."""
        return _register_backward(self, hook, False, full=False)

    def _get_backward_hooks(self) -> tuple[list[Hook], list[Hook]]:
        """(full hooks, old-style hooks), those on every module first."""
        found: dict[bool, list[Hook]] = {True: [], False: []}
        for full, table in ((everywhere.full, everywhere.backward),
                            (self._is_full_backward_hook, self._backward_hooks)):
            if full is not None:
                found[full] += table.values()
        return found[True], found[False]


def _register_backward(module: Any, hook: Hook, prepend: bool, full: bool) -> RemovableHandle:
    if module._is_full_backward_hook is (not full):
        raise RuntimeError(NOT_BOTH.format("on a single Module"))
    module._is_full_backward_hook = full
    return register(module._backward_hooks, hook, prepend)


class HookedCall:
    """One call of a module that has hooks; `run` is the order in which they happen."""

    def __init__(self, module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.module, self.args, self.options = module, args, options
        self.result: Any = None
        self.called: set[int] = set()

    def run(self) -> Any:
        try:
            self.before_forward()
            full, plain = self.module._get_backward_hooks()
            pre = [*everywhere.backward_pre.values(), *self.module._backward_pre_hooks.values()]
            hook = BackwardHook(self.module, full, pre) if full or pre else None
            if hook is not None:
                self.args = hook.setup_input_hook(self.args)
            self.result = self.module.forward(*self.args, **self.options)
            self.after_forward()
            if hook is not None:
                self.result = self.watch_output(hook)
            if plain:
                self.hook_last_node(plain)
            return self.result
        except Exception:
            self.always_called()
            raise

    def before_forward(self) -> None:
        module = self.module
        with_kwargs = module._forward_pre_hooks_with_kwargs
        for number, hook in [*everywhere.forward_pre.items(), *module._forward_pre_hooks.items()]:
            if number in with_kwargs:
                self.replace_all(hook(module, self.args, self.options))
            else:
                changed = hook(module, self.args)
                if changed is not None:
                    self.args = changed if isinstance(changed, tuple) else (changed,)

    def replace_all(self, changed: Any) -> None:
        if changed is None:
            return
        if not (isinstance(changed, tuple) and len(changed) == 2):
            raise RuntimeError("forward pre-hook must return None or a tuple of "
                               f"(new_args, new_kwargs), but got {changed}.")
        self.args, self.options = changed

    def after_forward(self) -> None:
        for number, hook in self.forward_hooks():
            if self.is_always_called(number):
                self.called.add(number)
            self.call_forward_hook(number, hook)

    def forward_hooks(self) -> list[tuple[int, Hook]]:
        return [*everywhere.forward.items(), *self.module._forward_hooks.items()]

    def is_always_called(self, number: int) -> bool:
        return (number in self.module._forward_hooks_always_called
                or number in everywhere.always_called)

    def call_forward_hook(self, number: int, hook: Hook) -> None:
        module = self.module
        if number in module._forward_hooks_with_kwargs or number in everywhere.with_kwargs:
            changed = hook(module, self.args, self.options, self.result)
        else:
            changed = hook(module, self.args, self.result)
        if changed is not None:
            self.result = changed

    def watch_output(self, hook: BackwardHook) -> Any:
        if not isinstance(self.result, (Tensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of "
                f"Tensors but received {type(self.result)}", stacklevel=4)
        return hook.setup_output_hook(self.result)

    def hook_last_node(self, hooks: list[Hook]) -> None:
        node = _first_tensor(self.result).grad_fn
        if node is None:
            return
        for hook in hooks:
            node.register_hook(WrappedHook(hook, self.module))
        complaint = _incomplete(self.args, self.result, node)
        if complaint:
            warnings.warn(complaint, FutureWarning, stacklevel=4)

    def always_called(self) -> None:
        """After an error: hooks that were promised to be called, their own errors silenced."""
        for number, hook in self.forward_hooks():
            if self.is_always_called(number) and number not in self.called:
                try:
                    self.call_forward_hook(number, hook)
                except Exception as error:
                    where = "global module" if number in everywhere.forward else "module"
                    warnings.warn(
                        f"{where} forward hook with ``always_call=True`` raised an exception that "
                        f"was silenced as another error was raised in forward: {error}",
                        stacklevel=4)


def _first_tensor(result: Any) -> Tensor:
    while not isinstance(result, Tensor):
        if isinstance(result, dict):
            result = next(each for each in result.values() if isinstance(each, Tensor))
        else:
            result = result[0]
    return result


WILL_GO = " is deprecated and will be removed in future versions. This hook will be missing some "
ASK_FULL = " Please use register_full_backward_hook to get the documented behavior."


def _incomplete(inputs: Any, result: Any, node: Any) -> str:
    """Why an old-style backward hook on `node` will not see every gradient; empty if it will."""
    results = _tensors(result)
    if results is None:
        return ("Using non-full backward hooks on a Module that does not return a single Tensor or "
                f"a tuple of Tensors{WILL_GO}of the grad_output.{ASK_FULL}")
    arguments = _tensors(inputs)
    if arguments is None:
        return ("Using non-full backward hooks on a Module that does not take as input a single "
                f"Tensor or a tuple of Tensors{WILL_GO}of the grad_input.{ASK_FULL}")
    nodes = {each.grad_fn for each in results if each.grad_fn is not None}
    if node not in nodes:
        return ("Using a non-full backward hook when outputs are nested in python data structure"
                f"{WILL_GO}grad_output.")
    if len(nodes) > 1:
        return ("Using a non-full backward hook when outputs are generated by different autograd "
                f"Nodes{WILL_GO}grad_output.{ASK_FULL}")
    before = {each.grad_fn for each in arguments if each.grad_fn is not None}
    if before != {link[0] for link in node.next_functions}:
        return ("Using a non-full backward hook when the forward contains multiple autograd Nodes"
                f"{WILL_GO}grad_input.{ASK_FULL}")
    return ""


def _tensors(value: Any) -> tuple[Tensor, ...] | None:
    """A tensor or a tuple of nothing but tensors, as a tuple; None for anything else."""
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, tuple) and all(isinstance(each, Tensor) for each in value):
        return value
    return None
