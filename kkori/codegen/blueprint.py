"""What a program becomes: machine code, and all that has to be known to run it, in plain terms.

A blueprint holds numbers, words, tuples and bytes, so it can be kept on disk and serve another
process. It says nothing of addresses: as many segments as one likes are made of it.
"""

from __future__ import annotations

import marshal
from typing import Any, NamedTuple

__all__ = ["CONTEXT", "WORK_TO_SHARE", "Array", "Blueprint", "Call", "Driver", "Place", "Shared",
           "packed", "unpacked"]

CONTEXT = "kkori_context"  # the symbol that is the address of a segment's context
WORK_TO_SHARE = 150_000  # vector operations: about 30 microseconds


class Driver(NamedTuple):
    """A function that Python calls."""

    name: str
    checks: bool  # whether it may return 1
    tiny: bool  # whether it is done before another Python thread could do anything


class Shared(NamedTuple):
    """A stage that threads may share; its number of parts is at `word` of the context."""

    word: int
    extent: int
    grain: int
    work: int
    product: bool
    scale: int  # of how much work a part is worth it


class Place(NamedTuple):
    """An array that is made for a segment; its address is at `word` of the context."""

    shape: tuple[int, ...]
    dtype: str
    word: int


class Array(NamedTuple):
    """An array by where it is found, and what is seen of it.

    `where` is "input", "result" or "hidden", the three lists of a segment. `shape` is the array's;
    a view has a shape and a map of dimensions besides (see `graph`).
    """

    where: str
    number: int
    shape: tuple[int, ...]
    seen: tuple[int, ...] | None = None
    follows: tuple[int | None, ...] = ()


class Call(NamedTuple):
    """What a library computes after a driver: "dot", "reshape", or "row", a result of a step."""

    kind: str
    parts: tuple[Array, ...]
    out: Array
    step: int = 0
    result: int = 0


class Blueprint(NamedTuple):
    """What `Segment` needs besides the program."""

    kernels: int  # loop nests
    first_number: int  # where the run-time numbers begin in the context
    pool: int  # the first of the words that drivers need (see `driver`)
    words: int
    drivers: tuple[Driver, ...]
    shared: tuple[Shared, ...]
    scratch: tuple[tuple[int, int], ...]  # words, bytes for a thread
    results: tuple[Place, ...]
    hidden: tuple[Place, ...]
    calls: tuple[Call, ...]  # each after one driver
    rows: tuple[tuple[int, tuple[Any, ...]], ...]  # steps that NumPy computes (see `rows`)
    code: bytes


KINDS = {"drivers": Driver, "shared": Shared, "results": Place, "hidden": Place}


def packed(blueprint: Blueprint) -> bytes:
    """A blueprint as bytes."""
    return marshal.dumps(plain(blueprint), 2)


def plain(value: Any) -> Any:
    """Tuples of any kind as tuples."""
    return tuple(map(plain, value)) if isinstance(value, tuple) else value


def unpacked(data: bytes) -> Blueprint:
    """The blueprint that was packed. ValueError, TypeError or EOFError for other bytes."""
    found = Blueprint(*marshal.loads(data))
    kinds: dict[str, Any] = {name: tuple([kind(*item) for item in getattr(found, name)])
                             for name, kind in KINDS.items()}
    calls = tuple([Call(kind, tuple([Array(*part) for part in parts]), Array(*out), *rest)
                   for kind, parts, out, *rest in found.calls])
    return found._replace(calls=calls, **kinds)
