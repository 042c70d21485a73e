"""DataParallel where there is one device: the module itself, in a wrapper of PyTorch's name."""

from __future__ import annotations

from typing import Any

from kkori.nn.module import Module

__all__ = ["DataParallel"]


class DataParallel(Module):
    """Calls `module`; its state dict has PyTorch's ``module.`` before every name."""

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None,
                 dim: int = 0) -> None:
        super().__init__()
        self.module, self.dim = module, dim
        self.device_ids: list[int] = []

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return self.module(*inputs, **options)
