"""Running a notebook from top to bottom without Jupyter: values shown, pictures saved.

A cell that fails ends the run, is named with its line, and makes the exit code 1; a cell tagged
`raises-exception` may fail, as in Jupyter.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import sys
import traceback
from types import TracebackType
from typing import Any

from kkori.launch import ipython
from kkori.launch.album import BACKEND, album
from kkori.launch.cells import as_python, is_silenced, split_last
from kkori.launch.display import display
from kkori.launch.magics import Shell
from kkori.launch.script import main_module, report, within

__all__ = ["run_notebook", "code_cells"]


def run_notebook(path: str, args: list[str]) -> int:
    """Run all code cells in the notebook's own folder; the exit code."""
    try:
        cells = code_cells(path)
    except (OSError, ValueError) as error:
        print(f"kkori: can't read notebook {path!r}: {error}", file=sys.stderr)
        return 2
    os.environ["MPLBACKEND"] = BACKEND
    folder, name = os.path.split(os.path.abspath(path))
    os.chdir(folder)
    sys.argv[:] = [path, *args]
    runner = Runner(name, vars(main_module(folder)))
    for number, (source, may_fail) in enumerate(cells, 1):
        if not runner.run(number, source) and not may_fail:
            return 1
    return 0


def code_cells(path: str) -> list[tuple[str, bool]]:
    """Text of each code cell that is not empty, and whether it may fail.

    ValueError where the file is no notebook.
    """
    with open(path, encoding="utf-8") as file:
        try:
            content = json.load(file)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise ValueError("it has no list of cells (notebook format 4)")
    found = []
    for cell in content["cells"]:
        if not isinstance(cell, dict):
            raise ValueError("a cell is not described as one")
        source = cell.get("source", "")
        text = "".join(map(str, source)) if isinstance(source, list) else str(source)
        if cell.get("cell_type") == "code" and text.strip():
            tags = (cell.get("metadata") or {}).get("tags") or []
            found.append((text, "raises-exception" in tags))
    return found


class Runner:
    """The names that the cells share, and how one cell is run."""

    def __init__(self, name: str, namespace: dict[str, Any]) -> None:
        self.name, self.namespace = name, namespace
        self.stem = os.path.splitext(name)[0]
        shell = Shell(namespace, self.execute_part)
        namespace.update(get_ipython=lambda: shell, display=display, In=[""], Out={})
        ipython.offer(shell)
        self.file = ""

    def run(self, number: int, source: str) -> bool:
        """Run a cell and show what it leaves; False, once it is reported, where it fails."""
        album.begin(f"{self.stem}_cell_{number}", report=sys.stdout)
        self.file = f"{self.name}, cell {number}"
        python = as_python(source)
        linecache.cache[self.file] = (len(python), None, f"{source}\n".splitlines(keepends=True),
                                      self.file)
        self.namespace["In"].append(source)
        try:
            value = self.execute(python)
            if value is not None:
                self.namespace["_"] = self.namespace["Out"][number] = value
                display(value)
            album.save_open_figures()
        except (Exception, KeyboardInterrupt) as error:
            sys.stdout.flush()
            line = _failing_line(error, self.file)
            report(error, self.file)
            text = source.splitlines()[line - 1].strip() if line else ""
            print(f"\n{self.name}: cell {number} failed"
                  + (f" at line {line}: {text}" if line else ""), file=sys.stderr, flush=True)
            return False
        sys.stdout.flush()
        return True

    def execute(self, python: str) -> Any:
        """Run the text; the value of the expression at its end, None where it is silenced."""
        statements, last = split_last(ast.parse(python, self.file))
        exec(compile(statements, self.file, "exec", dont_inherit=True), self.namespace)
        if last is None:
            return None
        value = eval(compile(last, self.file, "eval", dont_inherit=True), self.namespace)
        return None if is_silenced(python) else value

    def execute_part(self, source: str) -> None:
        """Run the part of a cell that a magic was given, and show its value."""
        value = self.execute(as_python(source))
        if value is not None:
            display(value)


def _failing_line(error: BaseException, file: str) -> int | None:
    """The line of the cell that failed: the last of its frames, or where its syntax is wrong."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    trace: TracebackType | None = within(error.__traceback__, file)
    lines = [line for frame, line in traceback.walk_tb(trace)
             if frame.f_code.co_filename == file]
    return lines[-1] if lines else None
