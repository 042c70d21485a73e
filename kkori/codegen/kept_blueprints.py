"""Blueprints that are kept: in memory for this process, on disk for the next ones.

A program that trains a new model every few steps builds equal programs again and again; then only
the machine code is linked once more, to another context. And a process that finds a blueprint on
disk runs no pass of the compiler, nor imports any.

What is on disk holds for one source text of the compiler, one LLVM, one processor. Entries are
checked as a whole (`object_cache`); those that do not fit are made again.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable
from typing import Any

from kkori.codegen import assemble, toolchain
from kkori.codegen.blueprint import Blueprint, packed, unpacked
from kkori.codegen.object_cache import Recent, key_of
from kkori.codegen.program import Program, Unkeyable, key_of_program
from kkori.codegen.target import Target

__all__ = ["find", "forget", "is_kept"]

LIMIT_BYTES = 32 << 20

_recent = Recent(LIMIT_BYTES)


def find(program: Program, target: Target, anew: bool = False) -> Blueprint | None:
    """The blueprint of a program, compiled if no equal program was (or `anew`); None where
    something in it has no loop rule yet."""
    known = known_as(program, target)
    if known is None:
        return compile(program, target)
    with assemble.lock:
        if not anew and known in _recent:
            assemble.statistics().memory_hits += 1
        elif anew or not fetch(known, target):
            found = compile(program, target)
            if found is not None:
                assemble.disk_cache().put(name_of(known, target), packed(found))
            remember(known, found)
        return _recent[known]


def is_kept(program: Program, target: Target) -> bool:
    """Whether `find` would find the blueprint of a program without compiling it."""
    known = known_as(program, target)
    with assemble.lock:
        return known is not None and (known in _recent or fetch(known, target)) and (
            _recent[known] is not None)


def known_as(program: Program, target: Target) -> Any:
    """What a blueprint goes by in memory; None where the program has no key."""
    try:
        return key_of_program(program), target.key, target.caches
    except Unkeyable:
        return None


def name_of(known: Any, target: Target) -> str:
    """What it goes by on disk."""
    return key_of(known[0], repr(target.caches), *facts(target))


def remember(known: Any, found: Blueprint | None) -> None:
    """Keep it in memory."""
    _recent.put(known, found, len(known[0]) + (len(found.code) if found else 0))


def fetch(known: Any, target: Target) -> bool:
    """Bring it into memory, if the disk has it."""
    found = on_disk(name_of(known, target))
    if found is not None:
        remember(known, found)
    return found is not None


def compile(program: Program, target: Target) -> Blueprint | None:
    """By the passes of the compiler, and LLVM."""
    from kkori.codegen.compiler import compiled
    return compiled(program, target)


def forget() -> None:
    """Keep nothing in memory of what was built so far."""
    with assemble.lock:
        _recent.clear()


def on_disk(name: str) -> Blueprint | None:
    """What the disk has under a name."""
    data = assemble.disk_cache().get(name)
    if data is None:
        return None
    try:
        found = unpacked(data)
    except (ValueError, TypeError, EOFError):
        return None
    assemble.statistics().disk_hits += 1
    return found


def facts(target: Target) -> Iterable[str]:
    """All besides the program that decides what is compiled, or how it is written down."""
    yield source()
    yield f"{sys.implementation.cache_tag} {sys.byteorder}"
    yield from (target.key, toolchain.version(), str(assemble.CODEGEN_LEVEL))


@functools.cache
def source() -> str:
    """The compiler's files, by name, size and time of change: which is enough to tell two versions
    apart, and costs a tenth of reading them."""
    import kkori
    folder = os.path.dirname(__file__)
    try:
        with os.scandir(folder) as entries:
            files = sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
                           for entry in entries if entry.name.endswith(".py"))
    except OSError:  # an archive: a version is all there is
        files = []
    return f"{kkori.__version__} {files}"
