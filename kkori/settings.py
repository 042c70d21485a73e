"""Switches of the whole package that have no room of their own: threads, determinism, names."""

from __future__ import annotations

from typing import Any

from kkori.core import dtype as types
from kkori.core.threads import get_num_threads, set_num_threads
from kkori.tensor import Tensor

__all__ = ["set_num_threads", "get_num_threads", "set_num_interop_threads",
           "get_num_interop_threads", "use_deterministic_algorithms",
           "are_deterministic_algorithms_enabled", "is_deterministic_algorithms_warn_only_enabled",
           "set_flush_denormal", "set_default_tensor_type", "get_default_device", "typename",
           "is_storage", "is_floating_point", "is_complex", "is_nonzero", "is_signed", "numel",
           "set_float32_matmul_precision", "get_float32_matmul_precision", "set_warn_always",
           "is_warn_always_enabled", "is_conj", "is_neg", "is_inference", "is_same_size",
           "is_distributed"]

_state: dict[str, Any] = {"interop": 1, "deterministic": False,
                          "precision": "highest", "warn": False}


def get_num_interop_threads() -> int:
    """How many operations may run at once: one, they run in program order."""
    return int(_state["interop"])


def set_num_interop_threads(number: int) -> None:
    """Accepted; operations run in program order."""
    _state["interop"] = int(number)


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted: every operation here is deterministic."""
    _state["deterministic"] = mode


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told."""
    return bool(_state["deterministic"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    return False


def set_flush_denormal(mode: bool) -> bool:
    """False: the processor's handling of denormal numbers is left alone."""
    return False


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted: products are always computed in full float32."""
    _state["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told; "highest" at start."""
    return str(_state["precision"])


def set_warn_always(mode: bool) -> None:
    """Accepted: warnings follow Python's own filters."""
    _state["warn"] = mode


def is_warn_always_enabled() -> bool:
    return bool(_state["warn"])


def set_default_tensor_type(t: Any) -> None:
    """The older spelling of `set_default_dtype`: ``torch.DoubleTensor`` or its name."""
    from kkori.ops.convert import type_named
    types.set_default_dtype(type_named(t))


def get_default_device() -> Any:
    """The device of new tensors."""
    from kkori.core.device import default
    return default()


def typename(obj: Any) -> str:
    """The full name of an object's type."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    kind = type(obj)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def is_storage(obj: Any) -> bool:
    """Whether `obj` is a storage."""
    from kkori.core.storage import Storage
    return isinstance(obj, Storage)


def is_floating_point(input: Tensor) -> bool:
    """Whether elements are floating-point numbers."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """Whether elements are complex numbers."""
    return input.is_complex()


def is_signed(input: Tensor) -> bool:
    """Whether the type can hold negative numbers."""
    return input.is_signed()


def is_conj(input: Tensor) -> bool:
    """Whether a conjugation is pending (never: it is done at once)."""
    return False


is_neg = is_inference = is_distributed = is_conj


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape."""
    return input.shape == other.shape


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not 0; RuntimeError if there are more, or none."""
    if input.numel() != 1:
        count = "more than one value" if input.numel() else "no values"
        raise RuntimeError(f"Boolean value of Tensor with {count} is ambiguous")
    return bool(input)


def numel(input: Tensor) -> int:
    """How many elements it has."""
    return input.numel()
