"""Whether a wrong call was written as a function or as a method: PyTorch counts differently.

``torch.add(x, "1")`` is told of position 2, ``x.add("1")`` of position 1. Both run the same
function here, so when something is wrong, and only then, the caller's bytecode is asked.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from kkori.core import errors

__all__ = ["as_called", "as_in_place"]

PLACE = re.compile(r"\(position (\d+)\)")
GIVEN = re.compile(r"got \(Tensor(?:, )?")


CALLS = ("CALL", "CALL_KW", "PRECALL")


def written_as_method(frame: Any, count: int) -> bool:
    """Whether `frame` is calling with one argument fewer than the `count` that arrived."""
    import dis
    running = None
    for step in dis.get_instructions(frame.f_code):
        if step.offset > frame.f_lasti:  # which may stand behind the call itself, in its cache
            break
        running = step
    return running is not None and running.opname in CALLS and running.arg == count - 1


def as_called(error: Exception, count: int) -> Exception:
    """`error` of the function that calls this, which got `count` arguments, in PyTorch's words:
    for a method, `self` does not count."""
    text = error.args[0] if error.args else None
    if not isinstance(error, TypeError) or not isinstance(text, errors.Text):
        return error
    if written_as_method(sys._getframe(2), count):
        error.args = (without_self(text),)
    return error


def without_self(text: errors.Text) -> errors.Text:
    """The text of an error with positions counted after `self`."""
    first = PLACE.sub(lambda found: f"(position {int(found[1]) - 1})", text.first)
    return errors.renamed(text, GIVEN.sub("got (", first))


def as_in_place(error: Exception, name: str) -> Exception:
    """An error of `name` as PyTorch puts it for the method ``<name>_``."""
    text = error.args[0] if error.args else None
    if isinstance(text, errors.Text) and text.first.startswith(f"{name}()"):
        error.args = (without_self(text),)
        error.args = (errors.renamed(error.args[0], f"{name}_" + error.args[0].first[len(name):]),)
    return error
