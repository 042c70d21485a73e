"""`torch.random`: the default generator's seed and state, and how to borrow it for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from kkori.core.generator import current
from kkori.ops.random import (
    Generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)

__all__ = ["set_rng_state", "get_rng_state", "manual_seed", "seed", "initial_seed", "fork_rng",
           "thread_safe_generator"]


@contextlib.contextmanager
def fork_rng(devices: Iterable[int] | None = None, enabled: bool = True,
             _caller: str = "fork_rng", _devices_kw: str = "devices",
             device_type: str | None = None) -> Iterator[None]:
    """Inside the ``with`` block, draw as you like; afterwards the stream goes on as before it.

    >>> import kkori as torch
    >>> with torch.random.fork_rng():
    ...     _ = torch.manual_seed(7)
    """
    if not enabled or device_type == "meta":
        yield
        return
    generator = current()
    state = generator.state_bytes()
    try:
        yield
    finally:
        generator.load_state_bytes(state)


def thread_safe_generator() -> Generator | None:
    """The generator of the data-loading thread that calls; None elsewhere: use the default one."""
    from kkori.utils.data import get_worker_info
    worker = get_worker_info()
    if worker is None or getattr(worker, "worker_method", None) != "thread":
        return None
    numbers = getattr(worker, "rng", None)
    return None if numbers is None else numbers.torch_generator
