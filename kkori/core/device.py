"""Where a tensor lives: `cpu`, `meta` (shapes only), or a `cuda` that may not be there."""

from __future__ import annotations

import threading
from typing import Any

from kkori.core import errors

__all__ = ["device"]

TYPES = ("cpu", "cuda", "meta", "mps", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve",
         "fpga", "maia", "xla", "lazy", "vulkan", "mtia", "hpu", "ipu", "privateuseone")


class device:
    """A place for tensors, such as ``torch.device('cpu')``; RuntimeError for unknown names."""

    __slots__ = ("type", "index", "_outer")

    def __init__(self, type: Any = None, index: int | None = None, *, device: Any = None) -> None:
        given = device if type is None else type
        if isinstance(given, str):
            name, number = _parse(given)
            if number is not None and index is not None:
                raise RuntimeError(errors.message(
                    "type (string) must not include an index because index was passed "
                    f"explicitly: {given}"))
            self.type, self.index = name, number if index is None else index
        elif isinstance(given, int) and not isinstance(given, bool):
            self.type, self.index = "cuda", given
        elif isinstance(given, globals()["device"]):
            self.type, self.index = given.type, given.index
        else:
            raise TypeError(
                "device(): argument 'type' must be str, not " + given.__class__.__name__)

    def __repr__(self) -> str:
        if self.index is None:
            return f"device(type='{self.type}')"
        return f"device(type='{self.type}', index={self.index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, device) and self.type == other.type
                and self.index == other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (self.type,) if self.index is None else (self.type, self.index)

    def __enter__(self) -> device:
        _default.stack = [*getattr(_default, "stack", ()), self]
        return self

    def __exit__(self, *error: object) -> None:
        _default.stack = _default.stack[:-1]


def _parse(text: str) -> tuple[str, int | None]:
    if not text:
        raise RuntimeError(errors.message("Device string must not be empty"))
    name, colon, number = text.partition(":")
    if name not in TYPES:
        if not name.isalpha():
            raise RuntimeError(errors.message(f"Invalid device string: '{text}'"))
        raise RuntimeError(errors.message(
            f"Expected one of {', '.join(_LISTED)} device type at start of device string: {name}"))
    if not colon:
        return name, None
    if not number.isdigit() or (len(number) > 1 and number[0] == "0"):
        raise RuntimeError(errors.message(f"Invalid device string: '{text}'"))
    return name, int(number)


_LISTED = ("cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga",
           "maia", "xla", "lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone")
_default = threading.local()
CPU = device("cpu")
META = device("meta")


def default() -> device:
    """The device of new tensors: the innermost ``with torch.device(...)``, else the CPU."""
    stack = getattr(_default, "stack", None)
    return stack[-1] if stack else CPU


def set_default(place: Any) -> None:
    """Make `place` the device of new tensors in this thread (``torch.set_default_device``)."""
    _default.stack = [] if place is None else [device(place)]


def resolve(place: Any) -> device:
    """`place` (None, str, int or device) as a device that exists here.

    AssertionError, in PyTorch's words, for a CUDA device where there is none.
    """
    if place is None:
        return default()
    found = place if isinstance(place, device) else device(place)
    if found.type in ("cpu", "meta"):
        return CPU if found.type == "cpu" else META
    if found.type == "cuda":
        raise AssertionError(errors.message("Torch not compiled with CUDA enabled"))
    raise RuntimeError(errors.message(
        f"Could not run 'aten::empty.memory_format' with arguments from the "
        f"'{found.type.upper()}' backend."))
