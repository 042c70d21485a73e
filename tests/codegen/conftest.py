"""Native-code tests: skipped without llvmlite, and never touching the user's own cache."""

import sys
from pathlib import Path

import pytest

from kkori.codegen import toolchain

sys.path.insert(0, str(Path(__file__).parent))  # for `ordinary` and `agreement`


def pytest_collection_modifyitems(items):
    if toolchain.available():
        return
    skip = pytest.mark.skip(reason="llvmlite is not installed: native code cannot be made here")
    for item in items:
        if "codegen" in item.path.parts:
            item.add_marker(skip)


@pytest.fixture(autouse=True, scope="session")
def no_disk_cache():
    from kkori.codegen import assemble
    from kkori.codegen.object_cache import ObjectCache

    assemble.disk_cache(ObjectCache(None))


def runnable():
    """Targets whose code runs on this machine: the host itself and the other families in it."""
    if not toolchain.available():
        return []
    from kkori.codegen import target

    host = target.host()
    found = [target.named(name) for name in target.FAMILIES if name != host.name]
    return [host, *(one for one in found if one.runs_here)]


@pytest.fixture(params=runnable(), ids=lambda target: f"{target.name}-{target.cpu}")
def target(request):
    return request.param
