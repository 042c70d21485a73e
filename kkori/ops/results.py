"""Named results such as ``torch.max(x, 0)``: tuples that print as PyTorch's return types."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

__all__ = ["result_type", "KINDS"]

KINDS: dict[str, type] = {}  # torch.return_types.<name>


def result_type(name: str, *fields: str) -> type:
    """A tuple class called ``torch.return_types.<name>`` with `fields` as attributes."""
    known = KINDS.get(name)
    if known is not None:
        return known

    def show(self: Any) -> str:
        parts = ",\n".join(f"{field}={value!r}" for field, value in zip(fields, self, strict=True))
        return f"torch.return_types.{name}(\n{parts})"

    members: dict[str, Any] = {"__slots__": (), "__repr__": show, "_fields": fields,
                               "__module__": "torch.return_types"}
    for place, field in enumerate(fields):
        members[field] = property(itemgetter(place))
    KINDS[name] = type(name, (tuple,), members)
    return KINDS[name]
