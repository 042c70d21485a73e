"""What a notebook shows of a value: its text, laid out as IPython does, or a saved picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kkori.launch.album import album

__all__ = ["display", "pretty"]

WIDTH = 79
BRACKETS: dict[type, Sequence[str]] = {
    list: "[]", tuple: "()", set: "{}", frozenset: ("frozenset({", "})")}
DEEPEST = 20


def display(*values: Any) -> None:
    """Show each value: print its text, or save its picture and say where."""
    for value in values:
        if not _save_picture(value):
            print(pretty(value))


def _save_picture(value: Any) -> bool:
    """Save the picture that `value` is; False where it is none."""
    kind = type(value).__module__.partition(".")[0]
    if kind == "graphviz" and hasattr(value, "source"):
        album.save_graph(value)
    elif kind == "matplotlib" and hasattr(value, "savefig"):
        album.save_figure(value)
    elif hasattr(value, "_repr_png_") and (content := value._repr_png_()):
        album.save_bytes(content, ".png")
    else:
        return False
    return True


def pretty(value: Any, indent: int = 0) -> str:
    """The repr of a value; containers too wide for a line get one item a line."""
    kind = type(value)
    if kind.__repr__ is object.__repr__:
        return f"<{kind.__module__}.{kind.__qualname__} at {id(value):#x}>"
    if kind not in BRACKETS and kind is not dict or not value or indent > DEEPEST:
        return repr(value)
    opening, closing = "{}" if kind is dict else BRACKETS[kind]
    inner = indent + len(opening)
    if kind is dict:
        parts = [f"{key!r}: {pretty(item, inner)}" for key, item in value.items()]
    else:
        parts = [pretty(item, inner) for item in value]
    end = "," if kind is tuple and len(parts) == 1 else ""
    line = opening + ", ".join(parts) + end + closing
    if "\n" not in line and indent + len(line) <= WIDTH:
        return line
    broken = ",\n".join(parts).replace("\n", "\n" + " " * len(opening))
    return opening + broken + end + closing
