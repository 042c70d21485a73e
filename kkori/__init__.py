"""kkori: deep learning that runs PyTorch programs. ``import kkori as torch`` works.

Operations register themselves in the op table (`kkori.ops`); this file gives them their public
names, binds them to Tensor, and finds the larger rooms (`nn`, `optim`, …) when they are asked for.
"""

from __future__ import annotations

import importlib
import math as _math
from typing import Any

from kkori import settings as _settings
from kkori.autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from kkori.core import dtype as _types
from kkori.core.device import device
from kkori.core.device import set_default as set_default_device
from kkori.core.dtype import dtype, finfo, get_default_dtype, iinfo, set_default_dtype
from kkori.core.layout import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    layout,
    memory_format,
    preserve_format,
    sparse_coo,
    sparse_csr,
    strided,
)
from kkori.core.promotion import can_cast, promote_types, result_type
from kkori.core.size import Size
from kkori.ops import table as _table
from kkori.tensor import Tensor
from kkori.version import __version__

# The rooms of the op table, in the order in which they build on one another.
for _room in _table.ROOMS:
    importlib.import_module(f"kkori.ops.{_room}")

for _name in _settings.__all__:
    globals()[_name] = getattr(_settings, _name)
globals().update(_types.BY_NAME)
globals().update(_types.ALIASES)
globals().update(_table.TORCH)
_table.bind()

pi, e, inf, nan, newaxis = _math.pi, _math.e, _math.inf, _math.nan, None

# Loaded on first use: `torch.nn`, `torch.optim` and so on.
_SUBMODULES = ("accelerator", "amp", "autograd", "backends", "compiler", "cuda", "fft", "func",
               "jit", "linalg", "nn", "optim", "overrides", "random", "return_types", "signal",
               "special", "testing", "types", "utils", "version", "vision")
_LAZY = {"save": "io", "load": "io", "serialization": "io", "install_as_torch": "shims",
         "Generator": "core.generator", "default_generator": "core.generator",
         "set_printoptions": "show.printing", "compile": "compiler", "explain": "run.explain",
         "eager": "run.explain", "autocast": "amp", "GradScaler": "amp",
         "is_autocast_available": "amp", "is_anomaly_enabled": "autograd.anomaly"}
_LATER = {name: room for room, names in _table.LATER.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        found: Any = importlib.import_module(f"kkori.{name}")
    elif name in _LATER:
        room = importlib.import_module(f"kkori.ops.{_LATER[name]}")
        found = _table.TORCH.get(name) or getattr(room, name)
    elif name in _LAZY:
        found = getattr(importlib.import_module(f"kkori.{_LAZY[name]}"), name)
    elif name.endswith("Tensor") and not name.startswith("_"):
        importlib.import_module("kkori.ops.legacy")
        found = _table.LEGACY_TENSORS.get(name)
        if found is None:
            raise AttributeError(f"module 'torch' has no attribute '{name}'")
    else:
        raise AttributeError(f"module 'torch' has no attribute '{name}'", name=name,
                             obj=importlib.import_module(__name__))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, *_LAZY, *_LATER})


__all__ = [name for name in globals() if not name.startswith("_")]
