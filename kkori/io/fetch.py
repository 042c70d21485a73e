"""Fetching a file: once, going on where an interrupted attempt stopped, checked before use."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Expected", "fetch"]

CHUNK = 1 << 18
TIMEOUT_SECONDS = 30


class Expected(NamedTuple):
    """What a file must be: MD5 of its first `hashed` bytes (None: of all), and its size."""

    md5: str
    size: int | None = None
    hashed: int | None = None

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` is the one expected."""
        if self.size is not None and path.stat().st_size != self.size:
            return False
        return md5_of(path, self.hashed) == self.md5


def md5_of(path: Path, first: int | None = None) -> str:
    """MD5 of the first so many bytes of a file (None: of all), in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        if first is not None:
            digest.update(file.read(first))
        else:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def fetch(url: str, destination: Path, expected: Expected | None = None,
          force: bool = False) -> Path:
    """Bring `url` to `destination`, unless a good copy is there.

    What has arrived is kept in `<destination>.part`; a second call asks only for the rest.
    RuntimeError where the address cannot be reached, or sends something else than expected.
    """
    if destination.is_file() and not force:
        if expected is None or expected.matches(destination):
            return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    if force:
        part.unlink(missing_ok=True)
    try:
        _download(url, part)
    except OSError as error:  # URLError is one
        raise _unreachable(url, part, destination, error) from error
    if expected is not None and not expected.matches(part):
        size, digest = part.stat().st_size, md5_of(part, expected.hashed)
        part.unlink()
        raise RuntimeError(
            f"{url} sent something else than expected\n"
            f"  got {size} bytes with MD5 {digest}, expected {expected}")
    os.replace(part, destination)
    return destination


def _unreachable(url: str, part: Path, destination: Path, error: OSError) -> RuntimeError:
    return RuntimeError(
        f"cannot fetch {url}: {error}\n"
        f"  arrived so far: {part.stat().st_size if part.exists() else 0} bytes (kept)\n"
        f"  fix: run again to go on, or set KKORI_DATA to a folder that has {destination.name}")


def _download(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if have and error.code == 416:  # nothing is left to send
                return
        raise
    with answer:
        start = have if answer.status == 206 else 0  # 200: the server sends all of it again
        total = start + int(answer.headers.get("Content-Length", 0))
        with open(part, "ab" if start else "wb") as file:
            for chunk in _shown(_chunks(answer), start, total, part.stem):
                file.write(chunk)
    if part.stat().st_size < total:
        raise OSError(f"the connection ended after {part.stat().st_size} of {total} bytes")


def _chunks(answer: Any) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK):
        yield chunk


def _shown(chunks: Iterator[bytes], done: int, total: int, name: str) -> Iterator[bytes]:
    """The chunks, with the share that has arrived written to a terminal."""
    watched = sys.stderr.isatty() and total > 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if watched:
            print(f"\r{name}: {done / total:4.0%} of {total / 1e6:.1f} MB", end="", file=sys.stderr)
    if watched:
        print(file=sys.stderr)
