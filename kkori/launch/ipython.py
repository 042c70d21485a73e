"""`from IPython.display import display` without IPython: as much of it as notebooks use."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

from kkori.launch.display import display

__all__ = ["offer"]

KINDS = ("HTML", "Markdown", "Latex", "Image", "SVG", "Javascript", "Code", "Math")


class Shown:
    """Something that only a browser can show; here it has the text that Jupyter gives it."""

    def __init__(self, data: Any = None, *more: Any, **options: Any) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"<IPython.core.display.{type(self).__name__} object>"


def clear_output(wait: bool = False) -> None:
    """Nothing: what was printed stays."""


def offer(shell: Any) -> None:
    """Make `IPython` and `IPython.display` importable, unless the real one is there."""
    if importlib.util.find_spec("IPython") is not None:
        return
    package, shown = ModuleType("IPython"), ModuleType("IPython.display")
    kinds = {name: type(name, (Shown,), {}) for name in KINDS}
    vars(shown).update(display=display, clear_output=clear_output, **kinds)
    vars(package).update(__path__=[], display=shown, get_ipython=lambda: shell)
    sys.modules.update({"IPython": package, "IPython.display": shown})
