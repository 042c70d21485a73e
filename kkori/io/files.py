"""Writing a file whole or not at all: into a temporary one beside it, then renamed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

__all__ = ["whole_file", "write_whole"]


@contextmanager
def whole_file(path: Any) -> Iterator[IO[bytes]]:
    """An open binary file that becomes `path` when the block ends, and vanishes if it fails.

    Links are followed; pipes and devices, which cannot be replaced, are written directly.
    """
    target = os.path.realpath(os.fspath(path))
    mode = _mode(target)
    if mode is not None and not stat.S_ISREG(mode):
        with open(target, "wb") as file:
            yield file
        return
    folder, name = os.path.split(target)
    part = os.path.join(folder, f".{name[:100]}.{os.urandom(6).hex()}.part")
    try:
        with open(part, "xb") as file:
            yield file
        if mode is not None:
            os.chmod(part, stat.S_IMODE(mode))
        os.replace(part, target)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise


def _mode(path: str) -> int | None:
    try:
        return os.stat(path).st_mode
    except OSError:
        return None


def write_whole(path: Any, content: bytes) -> None:
    """Make `content` the content of `path`."""
    with whole_file(path) as file:
        file.write(content)
