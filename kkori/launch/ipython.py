"""`from IPython.display import display` without IPython: as much of it as notebooks use."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from kkori.launch.display import display
from kkori.shims import Lender

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


class Offer(MetaPathFinder):
    """Asked last, so that the real IPython is found first where it is installed."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self.modules = modules
        self.lent: dict[str, ModuleType] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A spec for the names that are offered."""
        module = self.modules.get(name)
        if module is None:
            return None
        return ModuleSpec(name, Lender(self.lent, module), is_package=name == "IPython")


def offer(shell: Any) -> None:
    """Make `IPython` and `IPython.display` importable; `get_ipython()` gives `shell`."""
    package, shown = ModuleType("IPython"), ModuleType("IPython.display")
    kinds = {name: type(name, (Shown,), {}) for name in KINDS}
    vars(shown).update(display=display, clear_output=clear_output, **kinds)
    vars(package).update(__path__=[], display=shown, get_ipython=lambda: shell,
                         __version__="9.0.0", version_info=(9, 0, 0, ""))
    sys.meta_path.append(Offer({"IPython": package, "IPython.display": shown}))
