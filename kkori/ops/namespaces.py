"""Functions that live in a room of their own: ``torch.linalg.inv``, ``torch.fft.fft``, …"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kkori.ops.table import public

__all__ = ["NAMES", "member"]

NAMES: dict[str, dict[str, Any]] = {"linalg": {}, "fft": {}, "special": {}}  # room: name: function


def member(room: str, *, name: str | None = None, out: bool = True, top: Sequence[str] = (),
           method: bool = True, inplace: bool = False) -> Callable[..., Any]:
    """A decorator: the function becomes ``torch.<room>.<name>``, called ``<room>_<name>``.

    `top`: further names, as ``torch.<name>`` and (with `method`) ``Tensor.<name>``; with
    `inplace` also ``Tensor.<name>_``.
    """
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        own = name or function.__name__
        call = public(function, name=f"{room}_{own}", torch=False, method=False, out=out)
        NAMES[room][own] = call
        for other in top:
            public(function, name=other, method=method, inplace=inplace, out=out)
        return call  # type: ignore[no-any-return]
    return register
