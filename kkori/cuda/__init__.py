"""`torch.cuda` on a machine without CUDA: everything can be asked, nothing is there."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import Any

from kkori import amp

__all__ = ["is_available", "device_count", "current_device", "synchronize", "empty_cache",
           "manual_seed", "manual_seed_all", "amp"]


def is_available() -> bool:
    """Whether there is a GPU that tensors can live on."""
    return False


def device_count() -> int:
    """How many GPUs there are."""
    return 0


is_initialized = is_bf16_supported = is_available


def missing(*ignored: Any, **also_ignored: Any) -> Any:
    """AssertionError in PyTorch's words: there is no CUDA here."""
    raise AssertionError("Torch not compiled with CUDA enabled")


current_device = get_device_name = get_device_properties = get_device_capability = missing
synchronize = init = set_device = current_stream = mem_get_info = missing


def nothing(*ignored: Any, **also_ignored: Any) -> None:
    """Accepted where PyTorch accepts it without a GPU."""


manual_seed = manual_seed_all = seed = seed_all = empty_cache = ipc_collect = nothing
reset_peak_memory_stats = reset_max_memory_allocated = nothing


def memory_allocated(device: Any = None) -> int:
    """Bytes in use on the GPU: none."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


@contextmanager
def device(device: Any) -> Any:
    """Accepted: there is no other device to switch to."""
    yield


def stream(stream: Any) -> Any:
    """A context that changes nothing."""
    return nullcontext()
