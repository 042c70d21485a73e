"""`torch.types`: names for annotations."""

from __future__ import annotations

from typing import Union

from kkori.core.device import device
from kkori.core.dtype import dtype
from kkori.core.size import Size
from kkori.tensor import Tensor

__all__ = ["Number", "Device", "_size", "_dtype", "_TensorOrTensors"]

Number = Union[int, float, bool]  # noqa: UP007 (programs read it at run time)
Device = Union[device, str, int, None]  # noqa: UP007
_size = Union[Size, list, tuple]  # noqa: UP007
_dtype, _device = dtype, device
_TensorOrTensors = Union[Tensor, tuple]  # noqa: UP007
