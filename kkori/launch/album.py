"""Pictures that a program shows, saved as files where there is no screen to show them on."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import Any

__all__ = ["Album", "album", "has_screen"]

BACKEND = "module://kkori.launch.pictures"


class Album:
    """Names for the pictures of one program, and how each kind is written."""

    def __init__(self) -> None:
        self.stem = "figure"
        self.names: Counter[str] = Counter()
        self.report: Any = sys.stderr

    def begin(self, stem: str, *, report: Any = None) -> None:
        """From here on pictures are `<stem>.png`, `<stem>_2.png`, ...; told on `report`."""
        self.stem, self.report = stem, report

    def path(self, ending: str) -> str:
        """A name for the next picture."""
        key = self.stem + ending
        self.names[key] += 1
        return self.stem + (f"_{self.names[key]}" if self.names[key] > 1 else "") + ending

    def tell(self, path: str) -> None:
        """Say what was saved."""
        print(f"[saved {path}]", file=self.report or sys.stderr, flush=True)

    def save_figure(self, figure: Any) -> None:
        """Save one matplotlib figure, unless nothing was drawn in it."""
        if figure.axes:
            path = self.path(".png")
            figure.savefig(path, bbox_inches="tight")
            self.tell(path)

    def save_open_figures(self) -> None:
        """Save and close all figures that pyplot has open."""
        pyplot: Any = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            self.save_figure(pyplot.figure(number))
        pyplot.close("all")

    def save_bytes(self, content: bytes, ending: str) -> None:
        """Save a picture that comes as the content of a file."""
        path = self.path(ending)
        with open(path, "wb") as file:
            file.write(content)
        self.tell(path)

    def save_graph(self, graph: Any) -> None:
        """Save a graphviz graph: its source, and the drawing where `dot` is installed."""
        path = self.path(".gv")
        with open(path, "w", encoding="utf-8") as file:
            file.write(graph.source)
        self.tell(path)
        import shutil
        if shutil.which("dot"):
            self.save_bytes(graph.pipe(format="svg"), ".svg")


def has_screen() -> bool:
    """Whether windows can be shown here."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


album = Album()
