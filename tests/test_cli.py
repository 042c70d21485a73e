"""`kkori run`: scripts as Python runs them, notebooks cell by cell, pictures saved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kkori.launch.cells import as_python, is_silenced
from kkori.launch.display import pretty

ROOT = Path(__file__).parent.parent


def kkori_run(folder, *arguments, **environment):
    clean = {name: value for name, value in os.environ.items()
             if name not in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")}  # fmt: skip
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "kkori", *map(str, arguments)], cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment},
        capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip


def without_marks(trace):
    """A traceback without the ^^^ under its lines, which each Python draws in its own way."""
    lines = trace.splitlines(keepends=True)
    return "".join(line for line in lines if line == "\n" or line.strip(" ~^\n"))


@pytest.fixture
def script(tmp_path):
    def run(text, *arguments, **environment):
        (tmp_path / "train.py").write_text(text, encoding="utf-8")
        return kkori_run(tmp_path, "run", "train.py", *arguments, **environment)

    return run


# The command line


def test_help_and_version(tmp_path):
    for arguments in ((), ("--help",), ("-h",), ("run", "--help")):
        done = kkori_run(tmp_path, *arguments)
        assert done.returncode == 0 and done.stdout.startswith("usage: kkori run FILE")
    for arguments in (("version",), ("--version",)):
        done = kkori_run(tmp_path, *arguments)
        assert done.stdout == "kkori 0.1.0 (in place of PyTorch 2.13.0)\n"


@pytest.mark.parametrize("arguments", [("fly",), ("run",)])
def test_misuse_is_told_with_exit_code_2(arguments, tmp_path):
    done = kkori_run(tmp_path, *arguments)
    assert done.returncode == 2 and "usage: kkori run FILE" in done.stderr


# Scripts


def test_a_script_runs_as_python_runs_it(script, tmp_path):
    (tmp_path / "helper.py").write_text("import torch\nvalue = torch.ones(2)\n")
    done = script("""
import sys, torch, helper, __main__
if __name__ == "__main__":
    print(sys.argv, sys.path[0], __file__, __main__.helper is helper)
    print(helper.value, torch.__name__)
""", "--lr", "0.1", "-h")  # fmt: skip
    assert done.stderr == "" and done.returncode == 0
    assert done.stdout.splitlines() == [
        f"['train.py', '--lr', '0.1', '-h'] {tmp_path} {tmp_path / 'train.py'} True",
        "tensor([1., 1.]) kkori"]  # fmt: skip


@pytest.mark.parametrize("text, code", [("", 0), ("import sys; sys.exit(7)", 7), ("1/0", 1),
                                        ("raise SystemExit('bye')", 1),
                                        ("raise KeyboardInterrupt", 130),
                                        ("x = (", 1)])  # fmt: skip
def test_exit_codes(script, text, code):
    assert script(text).returncode == code


def test_errors_show_the_program_and_not_its_runner(script, tmp_path):
    done = script("def f():\n    raise ValueError('no')\n\nf()\n")
    path = tmp_path / "train.py"
    assert without_marks(done.stderr) == f"""Traceback (most recent call last):
  File "{path}", line 4, in <module>
    f()
  File "{path}", line 2, in f
    raise ValueError('no')
ValueError: no
"""
    done = script("x = (\n")
    assert done.stderr.startswith(f'  File "{path}", line 1\n')
    assert "SyntaxError" in done.stderr and "kkori" not in done.stderr.replace(str(ROOT), "")


def test_a_part_that_kkori_lacks_is_named(script):
    done = script("import torch.no_such_part\n")
    assert "ModuleNotFoundError: No module named 'torch.no_such_part'" in done.stderr
    assert "kkori stands in for torch in this program, and has no such part." in done.stderr


def test_an_excepthook_of_the_program_is_asked(script):
    done = script("import sys\nsys.excepthook = lambda *e: print('mine', e[0].__name__)\n1/0\n")
    assert (done.stdout, done.stderr, done.returncode) == ("mine ZeroDivisionError\n", "", 1)


def test_a_script_that_is_not_there(tmp_path):
    done = kkori_run(tmp_path, "run", "none.py")
    assert done.returncode == 2
    assert "can't open file" in done.stderr and "No such file or directory" in done.stderr


PLOT = """
import matplotlib.pyplot as plt, torch
x = torch.linspace(0, 1, 10)
plt.plot(x, x ** 2)
plt.show()
plt.figure()
plt.imshow(torch.ones(2, 2))
plt.show()
plt.show()
"""


def test_shown_figures_are_saved_where_there_is_no_screen(script, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the `plot` extra")
    done = script(PLOT)
    assert done.stdout == "" and done.returncode == 0, done.stderr
    assert done.stderr == "[saved train.png]\n[saved train_2.png]\n"
    for name in ("train.png", "train_2.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_backend_that_was_chosen_is_kept(script, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the `plot` extra")
    done = script("import matplotlib.pyplot as plt\nprint(plt.get_backend())\n", MPLBACKEND="svg")
    assert done.stdout == "svg\n"


# Notebooks


def write_notebook(path, *cells):
    def cell(given):
        text, tags = given if isinstance(given, tuple) else (given, [])
        return {"cell_type": "code", "source": text.splitlines(keepends=True),
                "metadata": {"tags": tags}, "outputs": [], "execution_count": None}  # fmt: skip

    markdown = {"cell_type": "markdown", "source": ["# not code"], "metadata": {}}
    path.write_text(json.dumps({"cells": [markdown, *map(cell, cells)], "metadata": {},
                                "nbformat": 4, "nbformat_minor": 5}))  # fmt: skip


@pytest.fixture
def notebook(tmp_path):
    def run(*cells, **environment):
        write_notebook(tmp_path / "lesson.ipynb", *cells)
        return kkori_run(tmp_path, "run", "lesson.ipynb", **environment)

    return run


def test_a_notebook_shows_what_jupyter_shows(notebook):
    done = notebook(
        "import torch\nx = torch.arange(3.)\nx", "x + 1;", "print('printed')\nNone", "y = 3", "",
        "_.sum(), y", "display('a', y)\nfor i in range(2):\n    i", "x.shape  # a comment",
    )  # fmt: skip
    assert done.stderr == "" and done.returncode == 0
    assert done.stdout.splitlines() == [
        "tensor([0., 1., 2.])", "printed", "(tensor(3.), 3)", "'a'", "3", "torch.Size([3])",
    ]  # fmt: skip


def test_wide_values_get_one_item_a_line(notebook):
    done = notebook("import numpy as np, torch\nnp.linspace(0, 1, 10), torch.linspace(0, 1, 10)")
    assert done.stdout == """(array([0.        , 0.11111111, 0.22222222, 0.33333333, 0.44444444,
        0.55555556, 0.66666667, 0.77777778, 0.88888889, 1.        ]),
 tensor([0.0000, 0.1111, 0.2222, 0.3333, 0.4444, 0.5556, 0.6667, 0.7778, 0.8889,
         1.0000]))
"""


def test_shell_lines_and_magics(notebook, tmp_path):
    done = notebook(
        "%matplotlib inline\n%load_ext autoreload\nn = 3",
        "!echo {n + 1} $n\nif n:\n    !echo indented\nlines = !printf 'a\\nb\\n'\nlines",
        "!false\n!no-such-command-here 2>/dev/null\n'went on'",
        "text = '''\n!not a command\n%not a magic\n'''\ntext",
        "%%time\nz = n + 1\nz", "%%writefile made.txt\nhello", "%pwd",
        "%%bash\necho one\necho two", "%%capture\nprint('hidden')", "%unknown thing",
        "%%html\n<b>bold</b>", "%env KKORI_TEST_NAME=v\n%env KKORI_TEST_NAME",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert shown[:4] == ["4 3", "indented", "['a', 'b']", "'went on'"]
    assert shown[4:6] == [repr("\n!not a command\n%not a magic\n"), "4"]
    assert shown[6].startswith("Wall time: ")
    assert shown[7:] == ["Writing made.txt", repr(str(tmp_path)), "one", "two",
                         "env: KKORI_TEST_NAME=v", "'v'"]  # fmt: skip
    assert done.stderr == "[skipped %unknown: kkori run has no such magic]\n"
    assert (tmp_path / "made.txt").read_text() == "hello\n"


def test_names_from_ipython_need_no_ipython(notebook):
    pytest.importorskip("matplotlib", reason="needs the `plot` extra")
    done = notebook(
        "from IPython.display import HTML, clear_output, display\nimport IPython",
        "display(1)\nclear_output()\nHTML('<b>bold</b>')", "IPython.get_ipython().system('echo x')",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n<IPython.core.display.HTML object>\nx\n[saved lesson_cell_4.png]\n"


def test_a_failing_cell_is_named(notebook):
    done = notebook("a = 1", "def f():\n    return a / 0\n\nf()  # here", "print('never')")
    assert done.returncode == 1 and done.stdout == ""
    assert without_marks(done.stderr) == """Traceback (most recent call last):
  File "lesson.ipynb, cell 2", line 4, in <module>
    f()  # here
  File "lesson.ipynb, cell 2", line 2, in f
    return a / 0
ZeroDivisionError: division by zero

lesson.ipynb: cell 2 failed at line 2: return a / 0
"""


def test_wrong_syntax_is_named(notebook):
    done = notebook("a = 1", "b = 2\nc = = 3\n!echo never")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.endswith("lesson.ipynb: cell 2 failed at line 2: c = = 3\n")


def test_errors_of_kkori_name_the_cell(notebook):
    done = notebook("import torch", "a = torch.ones(2)\na + torch.ones(3)")
    assert "at lesson.ipynb, cell 2:2: a + torch.ones(3)" in done.stderr


def test_a_cell_that_may_fail(notebook):
    done = notebook(("1 / 0", ["raises-exception"]), "'went on'")
    assert done.returncode == 0 and done.stdout == "'went on'\n"
    assert "ZeroDivisionError" in done.stderr


def test_exit_in_a_cell(notebook):
    done = notebook("import sys\nsys.exit(3)", "print('never')")
    assert done.returncode == 3 and done.stdout == ""


def test_pictures_are_saved(notebook, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the `plot` extra")
    pytest.importorskip("graphviz", reason="needs the `plot` extra")
    pytest.importorskip("PIL", reason="needs the `vision` extra")
    done = notebook(
        "import torch, matplotlib.pyplot as plt, graphviz\n%matplotlib inline",
        "plt.plot(torch.ones(3), 'o');",
        "fig, ax = plt.subplots()\nax.plot([1, 2])\nplt.show()\nprint('after')",
        "plt.figure()\nplt.plot([1])\nplt.figure()\nplt.plot([2]);",
        "graphviz.Source('digraph G { a -> b }')",
        "from PIL import Image\nImage.new('L', (4, 4))",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert [line for line in shown if ".svg" not in line] == [
        "[saved lesson_cell_2.png]", "[saved lesson_cell_3.png]", "after",
        "[saved lesson_cell_4.png]", "[saved lesson_cell_4_2.png]", "[saved lesson_cell_5.gv]",
        "[saved lesson_cell_6.png]",
    ]  # fmt: skip
    for name in ("2", "3", "4", "4_2", "6"):
        assert (tmp_path / f"lesson_cell_{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "lesson_cell_5.gv").read_text() == "digraph G { a -> b }\n"


def test_a_notebook_runs_in_its_own_folder(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    write_notebook(folder / "a.ipynb", "import os, sys, helper\nos.getcwd(), sys.path[0], helper.x")
    (folder / "helper.py").write_text("x = 1\n")
    done = kkori_run(tmp_path, "run", "notes/a.ipynb")
    assert done.returncode == 0, done.stderr
    assert str(folder) in done.stdout and done.stdout.rstrip().endswith("1)")


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"cells": 3}', '{"cells": [1]}',
                                  "[" * 100_000])  # fmt: skip
def test_files_that_are_no_notebooks(text, tmp_path):
    (tmp_path / "bad.ipynb").write_text(text)
    done = kkori_run(tmp_path, "run", "bad.ipynb")
    assert done.returncode == 2 and done.stderr.startswith("kkori: can't read notebook")
    assert "Traceback" not in done.stderr


# The parts that need no process


@pytest.mark.parametrize("cell, python", [
    ("x = 1", "x = 1"),
    ("!ls -l", "get_ipython().system('ls -l')"),
    ("  %time f()", "  get_ipython().run_line_magic('time', 'f()')"),
    ("a, b = !ls", "a, b = get_ipython().getoutput('ls')"),
    ("x = %env HOME", "x = get_ipython().run_line_magic('env', 'HOME')"),
    ("!a \\\n  b\nx", "get_ipython().system('a b')\n\nx"),
    ("torch.ones?", "get_ipython().run_line_magic('pinfo', 'torch.ones')"),
    ("%%bash\nls\n", "get_ipython().run_cell_magic('bash', '', 'ls\\n')"),
    ("y = (1\n% 2)", "y = (1\n% 2)"),
    ("!x\ny = (1\n% 2)", "get_ipython().system('x')\ny = (1\n% 2)"),
    ("!x\ns = '''\n!y\n'''", "get_ipython().system('x')\ns = '''\n!y\n'''"),
])  # fmt: skip
def test_cells_as_python(cell, python):
    assert as_python(cell) == python


@pytest.mark.parametrize("text, silenced", [
    ("x;", True), ("x;  # c", True), ("x", False), ("'a;'", False), ("x # ;", False), ("", False),
    ("f(1);\n\n", True),
])  # fmt: skip
def test_a_semicolon_silences(text, silenced):
    assert is_silenced(text) is silenced


def test_pretty_values():
    assert pretty([1, {"a": (2,)}, set()]) == "[1, {'a': (2,)}, set()]"
    assert pretty({"k" * 40: "v" * 40, "l": 1}) == f"{{'{'k' * 40}': '{'v' * 40}',\n 'l': 1}}"
    plain = type("Plain", (), {"__module__": "m"})()
    assert pretty(plain) == f"<m.Plain at {id(plain):#x}>"
    deep: list = []
    for _ in range(300):
        deep = [deep]
    assert pretty(deep).count("[") == 301
