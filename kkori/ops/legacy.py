"""The older names of typed tensors: `torch.FloatTensor(2, 3)` and its like."""

from __future__ import annotations

from typing import Any

from kkori.core import dtype as types
from kkori.ops.create import legacy_tensor
from kkori.ops.table import LEGACY_TENSORS
from kkori.tensor import Tensor


class _TypedTensor(type):
    """Calls make tensors of one dtype; ``isinstance`` asks for it."""

    row: Any

    def __call__(cls, *data: Any, **options: Any) -> Tensor:
        return legacy_tensor(Tensor, cls.row, *data, **options)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Tensor) and value.dtype is cls.row


for _row in types.BY_NAME.values():
    _name = f"{_row.alias}Tensor"
    LEGACY_TENSORS[_name] = _TypedTensor(_name, (), {"row": _row, "dtype": _row,
                                                     "__module__": "torch"})
