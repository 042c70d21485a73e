"""`torch.backends`: what other libraries are there. Settings are accepted and change nothing."""

from __future__ import annotations

from typing import Any

__all__ = ["cudnn", "mps", "mkl", "mkldnn", "openmp", "cuda", "cpu"]


class _Backend:
    """One library: absent, with settings that programs may read and write."""

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)

    def is_available(self) -> bool:
        """Whether the library is there."""
        return False

    is_built = is_available

    def version(self) -> None:
        """None: it is not there."""


class _Processor(_Backend):
    def get_cpu_capability(self) -> str:
        """The widest instructions used."""
        return "DEFAULT"


cudnn = _Backend(enabled=False, benchmark=False, deterministic=True, allow_tf32=False)
mps, mkl, mkldnn, openmp = _Backend(), _Backend(), _Backend(enabled=False), _Backend()
cuda = _Backend(matmul=_Backend(allow_tf32=False))
cpu = _Processor()
