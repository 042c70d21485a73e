"""What all lessons share: the command line, one look for the pictures, and where they are saved."""
import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draw into files, with or without a screen
import matplotlib.pyplot as plt

BLUE, ORANGE, GREEN, RED, GREY = "#2f6db3", "#e8871e", "#2a9d6f", "#c8333a", "#9aa3ad"

plt.rcParams.update({
    "figure.dpi": 150, "figure.constrained_layout.use": True,
    "font.size": 11, "axes.titlesize": 12, "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#e8ebee", "axes.axisbelow": True, "legend.frameon": False,
    "lines.linewidth": 2,
    "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, RED, GREY]),
})


def arguments(**numbers):
    """`--out FOLDER`, and one option for each number a lesson lets you change."""
    lesson = sys.modules["__main__"].__doc__
    parser = argparse.ArgumentParser(description=lesson)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for pictures (./out)")
    for name, number in numbers.items():
        parser.add_argument(f"--{name}", type=type(number), default=number, help=f"({number})")
    return parser.parse_args()


def save(figure, folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / name)
    plt.close(figure)
    print("picture:", folder / name)


def show_digit(ax, image, title="", color="black"):
    ax.imshow(image.reshape(28, 28), cmap="gray_r")
    ax.set_title(title, color=color, fontsize=9, loc="center")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for side in ax.spines.values():
        side.set(visible=True, color=color)
