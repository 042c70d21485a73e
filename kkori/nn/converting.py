"""Moving and casting a whole module: `to`, `double`, `cuda`, `to_empty` and their like."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from kkori.autograd.mode import no_grad
from kkori.core.device import device as Device
from kkori.core.dtype import dtype as DType
from kkori.nn.parameter import Parameter, is_lazy
from kkori.tensor import Tensor

__all__ = ["Converts", "parse_to"]

T = TypeVar("T", bound="Converts")
Change = Callable[[Tensor], Tensor]


class Converts:
    """One function over every parameter, gradient and buffer."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]

    def children(self) -> Any:
        raise NotImplementedError

    def _apply(self: T, fn: Change, recurse: bool = True) -> T:
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, parameter in self._parameters.items():
            if parameter is not None:
                self._parameters[name] = _changed(parameter, fn)
        for name, buffer in self._buffers.items():
            if is_lazy(buffer):
                buffer.data = fn(buffer)  # goes on waiting for its shape
            elif buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self: T, *args: Any, **options: Any) -> T:
        """Move to a device, cast floating parameters and buffers to a dtype, or both, in place.

        ``to(device, dtype)``, ``to(dtype)``, ``to(tensor)``; TypeError for an integer dtype.
        """
        device, dtype, non_blocking, memory_format = parse_to(*args, **options)
        if dtype is not None:
            _check_dtype(dtype)

        def convert(tensor: Tensor) -> Tensor:
            wanted = dtype if tensor.is_floating_point() or tensor.is_complex() else None
            more = {} if memory_format is None or tensor.dim() not in (4, 5) else {
                "memory_format": memory_format}
            return _moved(tensor, device, wanted, non_blocking, more)
        return self._apply(convert)

    def cpu(self: T) -> T:
        """Move to the CPU."""
        return self._apply(lambda tensor: tensor.cpu())

    def cuda(self: T, device: Any = None) -> T:
        """Move to a GPU."""
        return self._apply(lambda tensor: tensor.cuda(device))

    def type(self: T, dst_type: Any) -> T:
        """Cast everything, integers too."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def float(self: T) -> T:
        """Cast floating parameters and buffers to float32."""
        return self._apply(_cast("float"))

    def double(self: T) -> T:
        """Cast floating parameters and buffers to float64."""
        return self._apply(_cast("double"))

    def half(self: T) -> T:
        """Cast floating parameters and buffers to float16."""
        return self._apply(_cast("half"))

    def bfloat16(self: T) -> T:
        """Cast floating parameters and buffers to bfloat16."""
        return self._apply(_cast("bfloat16"))

    def to_empty(self: T, *, device: Any, recurse: bool = True) -> T:
        """Give every parameter and buffer fresh, unwritten memory on `device`."""
        from kkori.ops.create import empty_like
        return self._apply(lambda tensor: empty_like(tensor, device=device), recurse=recurse)

    def share_memory(self: T) -> T:
        """Put the tensors where other processes can see them."""
        return self._apply(lambda tensor: tensor.share_memory_())


def _cast(method: str) -> Change:
    return lambda tensor: getattr(tensor, method)() if tensor.is_floating_point() else tensor


def _changed(parameter: Parameter, fn: Change) -> Parameter:
    """`parameter` holding what `fn` makes of it; a new one where it cannot hold that."""
    with no_grad():
        value = fn(parameter)
    gradient = parameter.grad
    if value.device.type != parameter.device.type:
        parameter = Parameter(value, parameter.requires_grad)
        if gradient is not None:
            with no_grad():
                parameter.grad = fn(gradient).requires_grad_(gradient.requires_grad)
        return parameter
    parameter.data = value
    if gradient is not None:
        with no_grad():
            gradient.data = fn(gradient)
    return parameter


def _moved(tensor: Tensor, device: Any, dtype: Any, non_blocking: bool,
           more: dict[str, Any]) -> Tensor:
    try:
        return tensor.to(device, dtype, non_blocking, **more)
    except NotImplementedError as error:
        if not str(error).startswith("Cannot copy out of meta tensor; no data!"):
            raise
        raise NotImplementedError(
            "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() "
            "instead of torch.nn.Module.to() when moving module from meta to a different device."
        ) from None


def _check_dtype(dtype: DType) -> None:
    if not (dtype.is_floating_point or dtype.is_complex):
        raise TypeError("nn.Module.to only accepts floating point or complex dtypes, but got "
                        f"desired dtype={dtype}")
    if dtype.is_complex:
        warnings.warn(
            "Complex modules are a new feature under active development whose design may change, "
            "and some modules might not work as expected when using complex tensors as parameters "
            "or buffers. Please file an issue at https://github.com/pytorch/pytorch/issues/new?"
            "template=bug-report.yml if a complex module does not work as expected.", stacklevel=3)


def parse_to(*args: Any, device: Any = None, dtype: Any = None, tensor: Any = None,
             non_blocking: bool = False, copy: bool = False,
             memory_format: Any = None) -> tuple[Any, Any, bool, Any]:
    """(device, dtype, non_blocking, memory_format) of the arguments of a ``to``."""
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        tensor = rest.pop(0)
    if tensor is not None:
        device, dtype = tensor.device, tensor.dtype
    elif rest and not isinstance(rest[0], DType):
        device = rest.pop(0)
    if rest and (rest[0] is None or isinstance(rest[0], DType)):
        dtype = rest.pop(0)
    if rest:
        non_blocking = rest.pop(0)
    if device is not None and not isinstance(device, Device):
        device = Device(device)
    return device, dtype, non_blocking, memory_format
