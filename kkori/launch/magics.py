"""The part of IPython that notebooks lean on: shell lines, and the magics of everyday use."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from typing import Any

__all__ = ["Shell"]

IGNORED = {"matplotlib", "load_ext", "reload_ext", "autoreload", "config", "pylab", "precision",
           "reset", "who", "whos", "notebook", "history"}
COMMANDS = {"ls", "ll", "cat", "mkdir", "rmdir", "rm", "cp", "mv", "pip", "conda"}
SHOWN_ELSEWHERE = {"html", "HTML", "javascript", "js", "latex", "svg", "SVG", "markdown"}


class Events:
    """IPython's list of callbacks, to which matplotlib adds one; nothing here calls them."""

    def register(self, event: str, function: Callable[..., Any]) -> None:
        """Accept a callback."""

    unregister = register


class Shell:
    """What `get_ipython()` gives in a notebook run by kkori."""

    config: dict[str, Any] = {}  # tqdm and others look here for Jupyter's own application

    def __init__(self, namespace: dict[str, Any], run_cell: Callable[[str], None]) -> None:
        self.user_ns, self.run_cell, self.events = namespace, run_cell, Events()

    # Shell lines

    def system(self, command: str) -> None:
        """`!command`: run it, its output as it comes. An exit code is not an error."""
        for line in self._lines(command):
            print(line, end="")

    def getoutput(self, command: str) -> list[str]:
        """`x = !command`: its output, as lines."""
        return [line.rstrip("\n") for line in self._lines(command)]

    def _lines(self, command: str) -> Any:
        sys.stdout.flush()
        with subprocess.Popen(self._expanded(command), shell=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace") as process:
            assert process.stdout is not None
            yield from process.stdout

    def _expanded(self, command: str) -> str:
        """The command with {expressions} and $names of the notebook filled in."""
        def filled(found: re.Match[str]) -> str:
            try:
                return str(eval(found[1] or found[2], self.user_ns))
            except Exception:
                return found[0]  # the shell's own, then
        return re.sub(r"\{([^{}]+)\}|\$(\w+)", filled, command)

    # Magics

    def run_line_magic(self, name: str, line: str, _stack_depth: int = 1) -> Any:
        """`%name line`."""
        if name in COMMANDS:
            start = f"{sys.executable} -m pip" if name == "pip" else name
            return self.system(f"{start} {line}")
        return self._method("line", name)(line)

    def run_cell_magic(self, name: str, line: str, cell: str) -> Any:
        """`%%name line` over a cell."""
        return self._method("cell", name)(line, cell)

    magic = run_line_magic

    def _method(self, kind: str, name: str) -> Callable[..., Any]:
        method = getattr(self, f"{kind}_{name}", None)
        if method is not None:
            return method
        if name not in IGNORED | SHOWN_ELSEWHERE:
            print(f"[skipped {'%' if kind == 'line' else '%%'}{name}: kkori run has no such magic]",
                  file=sys.stderr)
        return lambda *parts: None

    def line_time(self, line: str) -> None:
        """`%time`: run it and say how long that took."""
        self.cell_time("", line)

    def cell_time(self, line: str, cell: str) -> None:
        """`%%time`: run the cell and say how long that took."""
        start = time.perf_counter()
        self.run_cell(f"{line}\n{cell}" if line else cell)
        print(f"Wall time: {_readable(time.perf_counter() - start)}")

    def line_timeit(self, line: str) -> None:
        """`%timeit`: the mean time of many runs, and its spread."""
        timer = timeit.Timer(re.sub(r"^(\s*-\w+\s*\d*)+", "", line).strip(),
                             globals=self.user_ns)
        loops, _ = timer.autorange()
        times = [total / loops for total in timer.repeat(repeat=5, number=loops)]
        mean = sum(times) / len(times)
        spread = (sum((single - mean) ** 2 for single in times) / len(times)) ** 0.5
        print(f"{_readable(mean)} ± {_readable(spread)} per loop (mean ± std. dev. of "
              f"{len(times)} runs, {loops:,} loops each)")

    def cell_timeit(self, line: str, cell: str) -> None:
        """`%%timeit`."""
        self.line_timeit(cell)

    def cell_capture(self, line: str, cell: str) -> None:
        """`%%capture`: run the cell and show nothing of it."""
        import contextlib
        import io
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self.run_cell(cell)

    def cell_bash(self, line: str, cell: str) -> None:
        """`%%bash`: the cell is a shell program."""
        self.system(cell)

    cell_sh = cell_bash

    def cell_writefile(self, line: str, cell: str) -> None:
        """`%%writefile path`: the cell is the content of a file."""
        with open(line, "w", encoding="utf-8") as file:
            file.write(cell + "\n")
        print(f"Writing {line}")

    def line_pinfo(self, line: str) -> None:
        """`name?`: the type and the documentation of what the name means."""
        value = eval(line, self.user_ns)
        print(f"Type: {type(value).__name__}\n{inspect.getdoc(value) or 'No documentation'}")

    def line_cd(self, line: str) -> None:
        """`%cd path`."""
        os.chdir(os.path.expanduser(line.strip("'\"") or "~"))
        print(os.getcwd())

    def line_pwd(self, line: str) -> str:
        """`%pwd`."""
        return os.getcwd()

    def line_env(self, line: str) -> Any:
        """`%env`, `%env NAME`, `%env NAME=value`."""
        name, sign, value = line.partition("=")
        if sign:
            os.environ[name.strip()] = value.strip()
            return print(f"env: {name.strip()}={value.strip()}")
        return os.environ.get(name.strip()) if name else dict(os.environ)

    def line_run(self, line: str) -> None:
        """`%run script.py`: its names are then the notebook's."""
        path = line.split()[0]
        with open(path, "rb") as file:
            exec(compile(file.read(), path, "exec"), self.user_ns)


def _readable(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
