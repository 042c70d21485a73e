"""A notebook cell's text as Python: `%magic` and `!command` lines become calls.

The calls are those that IPython itself writes (`get_ipython().system(...)`), one line for one line,
so that line numbers stay what the reader of the notebook sees.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize

__all__ = ["as_python", "split_last", "is_silenced"]

ASSIGNED = re.compile(r"(?P<indent>\s*)(?P<target>[\w.,\[\] ]+?)\s*=\s*(?P<mark>[!%])(?P<rest>.*)")
STANDING = re.compile(r"(?P<indent>\s*)(?P<mark>!!?|%)(?P<rest>.*)")
HELP = re.compile(r"(?P<indent>\s*)(?:\?{1,2}(?P<after>[\w.]+)|(?P<before>[\w.]+)\?{1,2})\s*")


def as_python(cell: str) -> str:
    """The cell with its magic and shell lines written as calls."""
    first, _, rest = cell.lstrip().partition("\n")
    if first.startswith("%%"):
        name, _, line = first[2:].strip().partition(" ")
        return f"get_ipython().run_cell_magic({name!r}, {line.strip()!r}, {rest!r})"
    if _parses(cell):
        return cell
    done: list[str] = []
    lines = cell.split("\n")
    while lines:
        line = lines.pop(0)
        joined = 0
        while _is_special(line) and line.endswith("\\") and lines:
            line = line[:-1] + lines.pop(0).strip()
            joined += 1
        if _is_special(line) and not _inside("\n".join(done)):
            line = _call(line)
        done += [line] + [""] * joined
    return "\n".join(done)


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def _is_special(line: str) -> bool:
    return bool(STANDING.fullmatch(line) or ASSIGNED.fullmatch(line) or HELP.fullmatch(line))


def _inside(text: str) -> bool:
    """Whether what follows `text` would stand within a bracket or a string."""
    if not text.strip():
        return False
    try:
        for _ in tokenize.generate_tokens(io.StringIO(text + "\n").readline):
            pass
    except tokenize.TokenError:
        return True
    except SyntaxError:
        return False
    return False


def _call(line: str) -> str:
    if found := STANDING.fullmatch(line):
        return found["indent"] + _spoken(found["mark"], found["rest"])
    if found := ASSIGNED.fullmatch(line):
        spoken = (f"get_ipython().getoutput({found['rest'].strip()!r})" if found["mark"] == "!"
                  else _spoken("%", found["rest"]))
        return f"{found['indent']}{found['target']} = {spoken}"
    found = HELP.fullmatch(line)
    assert found is not None
    return found["indent"] + _spoken("%", f"pinfo {found['after'] or found['before']}")


def _spoken(mark: str, rest: str) -> str:
    if mark == "%":
        name, _, line = rest.strip().partition(" ")
        return f"get_ipython().run_line_magic({name!r}, {line.strip()!r})"
    verb = "getoutput" if mark == "!!" else "system"
    return f"get_ipython().{verb}({rest.strip()!r})"


def split_last(tree: ast.Module) -> tuple[ast.Module, ast.Expression | None]:
    """The statements, and the expression at the end whose value a notebook shows."""
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        return tree, None
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    return tree, ast.Expression(last.value)


def is_silenced(source: str) -> bool:
    """Whether the last statement ends in a semicolon: its value is then not shown."""
    last = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE,
                                  tokenize.ENDMARKER, tokenize.DEDENT, tokenize.INDENT):
                last = token.string
    except (tokenize.TokenError, SyntaxError):
        return False
    return last == ";"
