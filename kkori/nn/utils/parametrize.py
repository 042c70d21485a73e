"""Parametrizations: a module's tensor as the result of other modules, wherever it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from kkori.autograd.mode import no_grad
from kkori.nn.containers import ModuleDict, ModuleList
from kkori.nn.module import Module
from kkori.nn.parameter import Parameter
from kkori.tensor import Tensor

__all__ = ["ParametrizationList", "cached", "is_parametrized", "register_parametrization",
           "remove_parametrizations", "transfer_parametrizations_and_params",
           "type_before_parametrizations"]


class _Cache:
    depth = 0
    values: dict[tuple[int, str], Tensor] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrized tensor once in the ``with`` block."""
    _Cache.depth += 1
    try:
        yield
    finally:
        _Cache.depth -= 1
        if not _Cache.depth:
            _Cache.values = {}


def _register(module: Module, name: str, value: Tensor) -> None:
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def _set(target: Tensor, value: Tensor) -> None:
    target.data = value.detach()


def _unchanged(before: Any, after: Tensor, start: str, old: str, new: str,
               what: tuple[str, ...] = ("dtype", "shape")) -> None:
    """ValueError where `after` has another dtype or shape than `before`."""
    for name in what:
        if getattr(before, name) != getattr(after, name):
            raise ValueError(f"{start.format(name)}\n{old.format(name)}: {getattr(before, name)}\n"
                             f"{new.format(name)}: {getattr(after, name)}")


class ParametrizationList(ModuleList):
    """The modules a tensor goes through, and what it starts from (`original`, or several)."""

    def __init__(self, modules: Sequence[Module], original: Any, unsafe: bool = False) -> None:
        if not len(modules):
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        before = _Facts(original)
        start = self._inverted(original)
        self.is_tensor = isinstance(start, Tensor)
        self.ntensors = 1 if self.is_tensor else len(start)
        if self.is_tensor:
            _unchanged(before, start, "When `right_inverse` outputs one tensor, it may not change "
                       "the {}.", "original.{}", "right_inverse(original).{}", ("dtype", "device"))
            _set(original, start)
            _register(self, "original", original)
        else:
            self._register_several(start, original)
        if not unsafe:
            result = self()
            if not isinstance(result, Tensor):
                raise ValueError("A parametrization must return a tensor. Got "
                                 f"{type(result).__name__}.")
            _unchanged(before, result, "Registering a parametrization may not change the {} of the "
                       "tensor, unless `unsafe` flag is enabled.", "unparametrized {}",
                       "parametrized {}")

    def _inverted(self, value: Any) -> Any:
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    try:
                        value = module.right_inverse(value)
                    except NotImplementedError:
                        pass
        if not isinstance(value, (Tensor, Sequence)):
            raise ValueError("'right_inverse' must return a Tensor or a Sequence of tensors (list, "
                             f"tuple...). Got {type(value).__name__}")
        return value

    def _register_several(self, values: Sequence[Any], original: Any) -> None:
        for number, value in enumerate(values):
            if not isinstance(value, Tensor):
                raise ValueError(
                    "'right_inverse' must return a Tensor or a Sequence of tensors (list, "
                    f"tuple...). Got element {number} of the sequence with type "
                    f"{type(value).__name__}.")
            if isinstance(original, Parameter):
                value = Parameter(value, original.requires_grad)
            value.requires_grad_(original.requires_grad)
            _register(self, f"original{number}", value)

    def right_inverse(self, value: Any) -> None:
        """Set the original(s) so that the parametrized tensor becomes `value`."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not "
                                       "implement right_inverse.")
                value = module.right_inverse(value)
            if self.is_tensor:
                self._set_original(value)
            else:
                self._set_originals(value)

    def _set_original(self, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise ValueError(f"`right_inverse` should return a tensor. Got {type(value).__name__}")
        if value.dtype != self.original.dtype:
            raise ValueError(f"The tensor returned by `right_inverse` has dtype {value.dtype} "
                             f"while `original` has dtype {self.original.dtype}")
        _set(self.original, value)

    def _set_originals(self, values: Any) -> None:
        if not isinstance(values, Sequence):
            raise ValueError("'right_inverse' must return a sequence of tensors. Got "
                             f"{type(values).__name__}.")
        if len(values) != self.ntensors:
            raise ValueError("'right_inverse' must return a sequence of tensors of length "
                             f"{self.ntensors}. Got a sequence of length {len(values)}.")
        for number, value in enumerate(values):
            original = getattr(self, f"original{number}")
            if original.dtype != value.dtype:
                raise ValueError(f"Tensor {number} returned by `right_inverse` has dtype "
                                 f"{value.dtype} while `original{number}` has dtype "
                                 f"{original.dtype}")
            _set(original, value)

    def forward(self) -> Any:
        first, *rest = self
        if self.is_tensor:
            value = first(self.original)
        else:
            value = first(*[getattr(self, f"original{i}") for i in range(self.ntensors)])
        for module in rest:
            value = module(value)
        return value


class _Facts:
    """What may not change about a tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape, self.dtype, self.device = tensor.shape, tensor.dtype, tensor.device


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    if id(self) not in memo:
        replica = memo[id(self)] = self.__new__(self.__class__)
        replica.__dict__ = deepcopy(self.__dict__, memo)
    return memo[id(self)]


def _no_pickle(self: Any) -> Any:
    raise RuntimeError(
        "Serialization of parametrized modules is only supported through state_dict(). See:\n"
        "https://pytorch.org/tutorials/beginner/saving_loading_models.html#saving-loading-a-"
        "general-checkpoint-for-inference-and-or-resuming-training")


def _own_class(module: Module) -> None:
    """Give `module` a class of its own, on which properties can be put."""
    kind = type(module)
    body: dict[str, Any] = {"__getstate__": _no_pickle}
    if not hasattr(kind, "__deepcopy__"):
        body["__deepcopy__"] = _deepcopy
    module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), body)


def _property_of(name: str) -> property:
    def get(self: Any) -> Any:
        parametrization = self.parametrizations[name]
        if not _Cache.depth:
            return parametrization()
        key = (id(self), name)
        if key not in _Cache.values:
            _Cache.values[key] = parametrization()
        return _Cache.values[key]

    def set(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, set)


def register_parametrization(module: Any, tensor_name: str, parametrization: Module, *,
                             unsafe: bool = False) -> Any:
    """Make ``module.<tensor_name>`` what `parametrization` returns for it.

    ValueError where dtype or shape would change (checked unless `unsafe`).
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_next(module, tensor_name, parametrization)
        chain = module.parametrizations[tensor_name]
        chain.append(parametrization)
        chain.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        chain = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _own_class(module)
            module.parametrizations = ModuleDict()
        setattr(type(module), tensor_name, _property_of(tensor_name))
        module.parametrizations[tensor_name] = chain
    else:
        raise ValueError(f"Module '{module}' does not have a parameter, a buffer, or a "
                         f"parametrized element with name '{tensor_name}'")
    return module


def _check_next(module: Any, name: str, parametrization: Any) -> None:
    """One more parametrization: neither it nor its inverse may change dtype or shape."""
    before = getattr(module, name)
    after = parametrization(before)
    if not isinstance(after, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(after).__name__}.")
    _unchanged(before, after, "Registering a parametrization may not change the {} of the tensor, "
               "unless the `unsafe` flag is enabled.", f"module.{name}.{{}}",
               f"parametrization(module.{name}).{{}}")
    if not hasattr(parametrization, "right_inverse"):
        return
    try:
        back = parametrization.right_inverse(after)
    except NotImplementedError:
        return
    if not isinstance(back, Tensor):
        raise ValueError(f"parametrization.right_inverse must return a tensor. Got: "
                         f"{type(back).__name__}")
    _unchanged(before, back, "The tensor returned by parametrization.right_inverse must have the "
               f"same {{}} as module.{name}, unless the `unsafe` flag is enabled.",
               f"module.{name}.{{}}", "returned {}")


def is_parametrized(module: Any, tensor_name: str | None = None) -> bool:
    """Whether the module (or one tensor of it) is parametrized."""
    found = getattr(module, "parametrizations", None)
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(module: Any, tensor_name: str, leave_parametrized: bool = True) -> Any:
    """Make the tensor an ordinary one: its present value, or (not `leave_`) its original."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    chain = module.parametrizations[tensor_name]
    if not chain.is_tensor and not leave_parametrized:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors.")
    if chain.is_tensor:
        original = chain.original
        if leave_parametrized:
            with no_grad():
                _set(original, getattr(module, tensor_name))
    else:
        value = getattr(module, tensor_name)
        original = Parameter(value) if value.requires_grad else value
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Any) -> type:
    """The class the module had before it was parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(from_module: Any, to_module: Any,
                                         tensor_name: str | None = None) -> Any:
    """Parametrize `to_module` as `from_module` is, with the same originals."""
    if not is_parametrized(from_module):
        return to_module
    for name in list(from_module.parametrizations) if tensor_name is None else [tensor_name]:
        chain = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name)))
        for parametrization in chain:
            register_parametrization(to_module, name, parametrization)
        for original in ["original", *[f"original{i}" for i in range(chain.ntensors)]]:
            if hasattr(chain, original):
                setattr(to_module.parametrizations[name], original, getattr(chain, original))
    return to_module
