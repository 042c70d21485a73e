"""Running a script as `python script.py args` does, with `torch` meaning kkori."""

from __future__ import annotations

import os
import sys
import traceback
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any, TypeGuard

from kkori.launch.album import BACKEND, album, has_screen
from kkori.shims import ROOTS

__all__ = ["run_script", "main_module", "report", "within"]


def run_script(path: str, args: list[str]) -> int:
    """Run the file with `sys.argv` as Python sets it; the exit code. SystemExit passes through."""
    full = os.path.abspath(path)
    try:
        with open(full, "rb") as file:
            source = file.read()
    except OSError as error:
        print(f"kkori: can't open file {full!r}: [Errno {error.errno}] {error.strerror}",
              file=sys.stderr)
        return 2
    album.begin(os.path.splitext(os.path.basename(path))[0])
    if not has_screen():
        os.environ.setdefault("MPLBACKEND", BACKEND)
    sys.argv[:] = [path, *args]
    module = main_module(os.path.dirname(os.path.realpath(full)))
    vars(module).update(__file__=full, __cached__=None, __loader__=SourceFileLoader(
        "__main__", full))
    try:
        exec(compile(source, full, "exec", dont_inherit=True), vars(module))
    except KeyboardInterrupt as error:
        report(error, full)
        return 130
    except Exception as error:
        report(error, full)
        return 1
    return 0


def main_module(folder: str) -> ModuleType:
    """A fresh `__main__`, with `folder` first on the import path."""
    module = ModuleType("__main__")
    vars(module).update(__builtins__=__builtins__, __spec__=None)
    sys.modules["__main__"] = module
    if not sys.flags.safe_path:
        sys.path[0] = folder
    return module


def report(error: BaseException, file: str) -> None:
    """Show an error as Python does, from the program's own first line on."""
    if isinstance(error, ModuleNotFoundError) and _is_borrowed(error.name):
        error.add_note(f"  kkori stands in for {error.name.partition('.')[0]} in this program, "
                       "and has no such part.")
    error.__traceback__ = within(error.__traceback__, file)
    if sys.excepthook is sys.__excepthook__:
        traceback.print_exception(error)  # unlike Python's own hook, it shows lines of notebooks
    else:
        sys.excepthook(type(error), error, error.__traceback__)


def _is_borrowed(name: str | None) -> TypeGuard[str]:
    return name is not None and name.partition(".")[0] in ROOTS


def within(trace: TracebackType | None, file: str) -> TracebackType | None:
    """The traceback from the first frame in `file` on; None where there is none."""
    while trace is not None and _code(trace).co_filename != file:
        trace = trace.tb_next
    return trace


def _code(trace: Any) -> CodeType:
    return trace.tb_frame.f_code
