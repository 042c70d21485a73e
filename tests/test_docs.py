"""Examples in docstrings run and print what they show; pages quote what the code makes."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import kkori

MODULES = sorted(
    found.name for found in pkgutil.walk_packages(kkori.__path__, "kkori.")
    if not found.name.startswith("kkori.shims") and not found.name.endswith("__main__"))


@pytest.fixture(scope="module", autouse=True)
def recorded():
    """What is shown is what there is to see where loops are recorded."""
    from kkori.run import loops
    before = loops.enabled()
    loops.set_enabled(True)
    yield
    loops.set_enabled(before)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = sum(len(test.examples) for name in MODULES
                for test in finder.find(importlib.import_module(name)))
    assert found >= 40


# docs/how-it-runs.md quotes what the code makes.

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "how-it-runs.md").read_text(encoding="utf-8")
QUOTES = re.findall(r"^```\w+ \((.+?)\)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def listings():
    pytest.importorskip("llvmlite")
    source = ROOT / "docs" / "listings.py"
    spec = importlib.util.spec_from_file_location("listings", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.listings()


def test_the_page_quotes_every_kind_of_listing():
    assert [name for name, _ in QUOTES] == [
        "guard of sub", "call", "backward", "finish", "plan", "text", "machine", "text", "explain"]


@pytest.mark.parametrize(("name", "quote"), QUOTES, ids=[name for name, _ in QUOTES])
def test_what_the_page_quotes_is_what_is_made(name, quote, listings):
    if name == "machine":
        binding = pytest.importorskip("llvmlite.binding")
        if binding.llvm_version_info[0] != 22 or sys.platform != "linux":
            pytest.skip("the page shows what LLVM 22 makes for Linux")
    found = listings[name] + "\n"
    if name == "explain":
        found, quote = (re.sub(r"\d+", "N", text) for text in (found, quote))
    at = 0
    for part in quote.split("...\n"):
        place = found.find("\n" + part, at) + 1 if at or not found.startswith(part) else 0
        assert place > 0 or found.startswith(part), (
            f"not in `python docs/listings.py {name!r}`:\n{part}")
        at = place + len(part) - 1


# The other pages.


def test_examples_of_the_readme():
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False,
                              optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted >= 5
    assert result.failed == 0


def test_the_text_that_the_page_on_code_writes_is_code():
    pytest.importorskip("llvmlite")
    from kkori.codegen.assemble import compile_text
    page = (ROOT / "docs" / "codegen.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(block, names)
    assert compile_text(str(names["module"]), ["softplus"])["softplus"]


def test_the_page_on_code_names_every_file():
    page = (ROOT / "docs" / "codegen.md").read_text(encoding="utf-8")
    named = {name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
             for name in re.findall(r"`([\w*]+)`", row)}
    files = {path.stem for path in (ROOT / "kkori" / "codegen").glob("[!_]*.py")}
    assert files == {name for name in files if name in named or name.startswith("lower_")}
    assert named - files == {"lower_*"}
