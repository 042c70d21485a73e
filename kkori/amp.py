"""`torch.amp`: mixed precision is accepted; here everything is computed in the tensors' own types.

`autocast` changes nothing, and `GradScaler` scales by 1: what programs written for GPUs do on a
CPU with ``enabled=False``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kkori.tensor import Tensor

__all__ = ["GradScaler", "autocast", "is_autocast_available"]


def is_autocast_available(device_type: str) -> bool:
    """Whether operations can be cast by themselves: no."""
    return False


class autocast:
    """A ``with`` block (or decorator) in which types stay as they are."""

    def __init__(self, device_type: str = "cpu", dtype: Any = None, enabled: bool = True,
                 cache_enabled: bool | None = None) -> None:
        self.device_type, self.enabled = device_type, False

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function


class GradScaler:
    """Scales losses by 1: float32 needs no scaling."""

    def __init__(self, device: str = "cpu", init_scale: float = 65536.0, *args: Any,
                 enabled: bool = True, **options: Any) -> None:
        self.state: dict[str, Any] = {}

    def scale(self, outputs: Any) -> Any:
        """`outputs` as they are."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing was scaled."""

    def step(self, optimizer: Any, *args: Any, **options: Any) -> Any:
        """``optimizer.step()``."""
        return optimizer.step(*args, **options)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """The scale stays 1."""

    def get_scale(self) -> float:
        """1.0."""
        return 1.0

    def is_enabled(self) -> bool:
        """Whether gradients are scaled: no."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Nothing to save."""
        return dict(self.state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore."""
        self.state = dict(state_dict)
