"""Parameters and buffers: tensors that a module keeps, and the ones that wait for their shape."""

from __future__ import annotations

from typing import Any

from kkori.core import errors
from kkori.ops.create import empty
from kkori.tensor import Tensor, share

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter",
           "UninitializedTensorMixin", "is_lazy"]


class _ParameterType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return type.__instancecheck__(cls, instance) or (
            cls is Parameter and isinstance(instance, Tensor)
            and getattr(instance, "_is_param", False))


class Parameter(Tensor, metaclass=_ParameterType):
    """A tensor to be trained: assigned to a module's attribute, it appears in `parameters()`.

    It shares memory with `data`. RuntimeError where `data` is of an integer type and
    `requires_grad` is left True.

    >>> import kkori as torch
    >>> torch.nn.Parameter(torch.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    __module__ = "torch.nn.parameter"

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = empty(0)
        if type(data) is Tensor or type(data) is Parameter:
            return _subclassed(data, cls, requires_grad)
        detached = data.detach().requires_grad_(requires_grad)
        if type(detached) is not type(data):
            raise RuntimeError(errors.message(
                f"Creating a Parameter from an instance of type {type(data).__name__} requires "
                "that detach() returns an instance of the same type, but return type "
                f"{type(detached).__name__} was found instead. To use the type as a Parameter, "
                "please correct the detach() semantics defined by its __torch_dispatch__() "
                "implementation."))
        detached._is_param = True
        return detached

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.data.clone(), self.requires_grad)
        return memo[id(self)]

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from kkori.show.printing import tensor_repr
        return "Parameter containing:\n" + tensor_repr(self, tensor_contents=tensor_contents)

    def __reduce_ex__(self, protocol: Any) -> Any:
        kind = None if type(self) is Parameter else type(self)  # it calls itself torch's
        extra = {name: value for name, value in self.__dict__.items() if name[0] != "_"}
        return rebuild, (self.data, self.requires_grad, kind), extra or None


def rebuild(data: Tensor, requires_grad: bool, kind: type | None = None) -> Any:
    """The parameter of a pickle."""
    return (kind or Parameter)(data, requires_grad)


def _subclassed(data: Tensor, cls: type, requires_grad: bool) -> Any:
    made: Any = share(data)
    made.__class__ = cls
    made.__dict__.pop("_leaf", None)  # it stands for itself: `data` may go
    if requires_grad:
        if not (made.is_floating_point() or made.is_complex()):
            raise RuntimeError(errors.message(
                "Only Tensors of floating point and complex dtype can require gradients"))
        made._requires_grad = True
    return made


class _BufferType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        if cls is Buffer:
            return isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)
        return type.__instancecheck__(cls, instance)


class Buffer(Tensor, metaclass=_BufferType):
    """A tensor that is part of a module's state without being trained.

    What this makes is a plain tensor with a mark; `persistent` ones are in the state dict.
    """

    __module__ = "torch.nn.parameter"

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = empty(0)
        made = data.detach().requires_grad_(data.requires_grad)
        made.persistent = persistent
        made._is_buffer = True
        return made


class UninitializedTensorMixin:
    """A tensor whose shape is not known before the first call; `materialize` gives it one."""

    cls_to_become: type = Tensor

    def materialize(self: Any, shape: Any, device: Any = None, dtype: Any = None) -> None:
        data = self.data
        self.data = empty(shape, device=data.device if device is None else device,
                          dtype=data.dtype if dtype is None else dtype)
        self.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        raise RuntimeError(errors.message(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually "
            "happens in `load_state_dict` when trying to load an uninitialized parameter into an "
            "initialized one. Call `forward` to initialize the parameters before accessing their "
            "attributes."))

    def share_memory_(self) -> Any:
        raise RuntimeError(errors.message(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to "
            "initialize the parameters before calling `module.share_memory()`."))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        return type(self), (self.requires_grad,)

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            data = self.data
            memo[id(self)] = type(self)(self.requires_grad, data.device, data.dtype)
        return memo[id(self)]


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc]
    """A parameter of a lazy module before its first call."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return _subclassed(empty(0, device=device, dtype=dtype), cls, requires_grad)


class UninitializedBuffer(UninitializedTensorMixin, Tensor):  # type: ignore[misc]
    """A buffer of a lazy module before its first call."""

    def __new__(cls, requires_grad: bool = False, device: Any = None, dtype: Any = None,
                persistent: bool = True) -> Any:
        made = _subclassed(empty(0, device=device, dtype=dtype), cls, requires_grad)
        made.persistent = persistent
        made._is_buffer = True
        return made


def is_lazy(param: Any) -> bool:
    """Whether `param` still waits for its shape."""
    return isinstance(param, UninitializedTensorMixin)
