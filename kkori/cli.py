"""The command `kkori`: `kkori run train.py`, `kkori run lesson.ipynb`, `kkori version`."""

from __future__ import annotations

import sys

__all__ = ["main"]

HELP = """\
usage: kkori run FILE [ARGUMENTS...]
       kkori version

  run      run a PyTorch script (.py) or notebook (.ipynb) with kkori in PyTorch's place.
           In it, torch, torchvision, fastai and safetensors.torch mean kkori's own modules.
           A script runs as `python FILE ARGUMENTS...` would run it. A notebook runs cell by
           cell, without Jupyter: values at the end of cells are printed, pictures are saved
           beside it as NAME_cell_N.png, and a cell that fails is named.
  version  print the version of kkori, and of the PyTorch that it stands in for

environment:
  KKORI_DATA   folder with data sets for use without a network (mnist_png, or MNIST's idx files)
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if command in ("version", "--version", "-V"):
        return print_version()
    if command != "run":
        return misused(f"unknown command {command!r}")
    if not rest:
        return misused("run needs a FILE")
    if rest[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    return run(rest[0], rest[1:])


def misused(what: str) -> int:
    """Say what is wrong with the command line; exit code 2."""
    print(f"kkori: {what}\n\n{HELP}", end="", file=sys.stderr)
    return 2


def print_version() -> int:
    """Print the versions."""
    from kkori.version import reference, release
    print(f"kkori {release} (in place of PyTorch {reference})")
    return 0


def run(path: str, args: list[str]) -> int:
    """Run a script or a notebook."""
    from kkori.shims import install_as_torch
    install_as_torch()
    if path.endswith(".ipynb"):
        from kkori.launch.notebook import run_notebook
        return run_notebook(path, args)
    from kkori.launch.script import run_script
    return run_script(path, args)


if __name__ == "__main__":
    sys.exit(main())
