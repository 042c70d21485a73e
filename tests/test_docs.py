"""Examples in docstrings run and print what they show."""

import doctest
import importlib
import pkgutil

import pytest

import kkori

MODULES = sorted(
    found.name for found in pkgutil.walk_packages(kkori.__path__, "kkori.")
    if not found.name.startswith("kkori.shims") and not found.name.endswith("__main__"))


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
