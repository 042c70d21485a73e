"""What needs an optional library is skipped, by the name of that library, where it is missing."""

import importlib.util

import pytest

OPTIONAL = ("ml_dtypes", "llvmlite", "scipy", "PIL", "matplotlib", "graphviz", "pandas", "fastcore",
            "tqdm")
MISSING = frozenset(name for name in OPTIONAL if importlib.util.find_spec(name) is None)


def missing_library(error):
    """The optional library whose absence is behind `error`; None where it is another error."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in MISSING:
            return error.name
        error = error.__cause__ or error.__context__
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    try:
        return (yield)
    except ImportError as error:
        name = missing_library(error)
        if name is None:
            raise
        pytest.skip(f"{name} is not installed")
