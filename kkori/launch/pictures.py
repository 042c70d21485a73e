"""A matplotlib backend for machines without a screen: `plt.show()` saves the figures."""

from __future__ import annotations

from typing import Any

from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

from kkori.launch.album import album

__all__ = ["FigureCanvas", "FigureManager"]


class FigureManager(FigureManagerBase):
    """Holds a figure; showing it means saving it."""

    def show(self) -> None:
        """Save this figure (`figure.show()`)."""
        album.save_figure(self.canvas.figure)

    @classmethod
    def pyplot_show(cls, *args: Any, **options: Any) -> None:
        """Save and close all open figures (`plt.show()`)."""
        album.save_open_figures()


class FigureCanvas(FigureCanvasAgg):
    """Draws with Agg."""

    manager_class = FigureManager
