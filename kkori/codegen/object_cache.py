"""Object code kept, on disk above all, so that a program's second run compiles nothing.

An entry's name is a hash of everything its bytes depend on, so entries are never changed, only
added and removed: no locks are needed between processes. A file holds a checksum before the code,
and whatever does not match (torn, truncated, edited) counts as absent. Nothing here ever raises
because of the disk: a cache that cannot work is merely cold.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

try:  # the same without loading OpenSSL, which takes 2 ms
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

__all__ = ["ObjectCache", "Recent", "blake2b", "default_folder", "key_of"]

MAGIC = b"kkori object 1\n"
DIGEST_BYTES = 16
LIMIT_BYTES = 256 << 20
KEEP = 0.75  # of the limit survives a clearing, so that clearings are rare
STORES_BETWEEN_CHECKS = 64
STALE_SECONDS = 3600  # a reader touches an entry at most once an hour; a dead writer's file ages
OFF = ("0", "off", "none")


def default_folder() -> str | None:
    """Where objects go: ``KKORI_CACHE``, else the platform's place; None where it says off."""
    wished = os.environ.get("KKORI_CACHE")
    if wished is not None:
        off = not wished or wished.lower() in OFF
        return None if off else os.path.join(os.path.expanduser(wished), "objects")
    return os.path.join(_platform_folder(), "objects")


def _platform_folder() -> str:
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
        return os.path.join(local, "kkori", "Cache")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Caches", "kkori")
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "kkori")


def key_of(*facts: str | bytes) -> str:
    """A name for whatever the given texts determine together."""
    digest = blake2b(digest_size=20)
    for fact in facts:
        data = fact.encode() if isinstance(fact, str) else fact
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


class ObjectCache:
    """A folder of object files of at most `limit` bytes. `folder=None` is a cache turned off."""

    def __init__(self, folder: str | None, limit: int = LIMIT_BYTES) -> None:
        self.folder, self.limit = folder, limit
        self._stores = 0
        self._lock = threading.Lock()
        self._trusted: bool | None = None

    def get(self, key: str) -> bytes | None:
        """The object stored under `key`, or None where there is none that is whole."""
        if not self._usable():
            return None
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            return None
        data = content[len(MAGIC) + DIGEST_BYTES:]
        if content != MAGIC + _checksum(data) + data or not data:
            self._remove(path)
            return None
        self._touch(path)
        return data

    def put(self, key: str, data: bytes) -> bool:
        """Store `data`; False where the disk did not let us (which is no error)."""
        if not self._usable(make=True):
            return False
        path = self._path(key)
        passing = f"{path}.{os.getpid()}.{threading.get_ident()}.new"
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(passing, "wb") as file:
                file.write(MAGIC + _checksum(data) + data)
            os.replace(passing, path)
        except OSError:
            self._remove(passing)
            return False
        self._bound()
        return True

    def clear(self) -> None:
        """Remove every entry."""
        for path, _, _ in self._entries():
            self._remove(path)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(size for _, size, _ in self._entries())

    def _path(self, key: str) -> str:
        assert self.folder is not None
        return os.path.join(self.folder, key[:2], key[2:])

    def _usable(self, make: bool = False) -> bool:
        """Only a folder that nobody else can write to: its content is run as machine code."""
        if self.folder is None:
            return False
        if self._trusted is None and (make or os.path.isdir(self.folder)):
            self._trusted = _private(self.folder)
        return bool(self._trusted)

    def _touch(self, path: str) -> None:
        """Mark as used lately: entries unused for longest are the first to go."""
        with contextlib.suppress(OSError):
            if time.time() - os.stat(path).st_mtime > STALE_SECONDS:
                os.utime(path)

    @staticmethod
    def _remove(path: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(path)

    def _entries(self) -> Iterator[tuple[str, int, float]]:
        if self.folder is None:
            return
        for folder in _scan(self.folder):
            for entry in _scan(folder.path):
                with contextlib.suppress(OSError):
                    facts = entry.stat()
                    yield entry.path, facts.st_size, facts.st_mtime

    def _bound(self) -> None:
        """Every so often drop the least lately used, down to a part of the limit."""
        with self._lock:
            due = self._stores % STORES_BETWEEN_CHECKS == 0
            self._stores += 1
        if due:
            self.shrink()

    def shrink(self) -> None:
        """Bring the folder under its limit now, and sweep up after writers that died."""
        entries = sorted(self._entries(), key=lambda entry: entry[2])
        old = time.time() - STALE_SECONDS
        for path, _, used in entries:
            if path.endswith(".new") and used < old:
                self._remove(path)
        total = sum(size for _, size, _ in entries)
        goal = total if total <= self.limit else int(self.limit * KEEP)
        for path, size, _ in entries:
            if total <= goal:
                return
            self._remove(path)
            total -= size


class Recent:
    """The same in memory, for anything: what was used lately, up to about `limit` bytes.

    Whoever uses it from several threads holds a lock.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._entries: dict[Any, tuple[Any, int]] = {}  # the one used last is last

    def __contains__(self, key: Any) -> bool:
        return key in self._entries

    def __getitem__(self, key: Any) -> Any:
        entry = self._entries[key] = self._entries.pop(key)
        return entry[0]

    def put(self, key: Any, value: Any, size: int) -> None:
        """Keep `value`, which takes `size` bytes, and let go of what was not used for longest."""
        self.bytes += size - self._entries.pop(key, (None, 0))[1]
        self._entries[key] = value, size
        while self.bytes > self.limit and len(self._entries) > 1:
            self.bytes -= self._entries.pop(next(iter(self._entries)))[1]

    def clear(self) -> None:
        """Let go of everything."""
        self._entries.clear()
        self.bytes = 0


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _private(folder: str) -> bool:
    """Make `folder` if needed; whether it is ours and closed to others."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        facts = os.stat(folder)
    except OSError:
        return False
    if not hasattr(os, "getuid"):
        return True
    return facts.st_uid == os.getuid() and not facts.st_mode & 0o022
