"""What a machine offers to emitted code: vector width, registers, fused multiply-add, caches.

Explicit vectors need a width before any text is written, and tiles need the number of registers,
so both are facts of a `Target` and not of LLVM. Four families are described by hand; the host is
the richest one whose features it has, refined by its own name so that LLVM schedules for it.
"""

from __future__ import annotations

import functools
import os
import platform
from typing import NamedTuple

from kkori.codegen import toolchain
from kkori.codegen.object_cache import blake2b

__all__ = ["FAMILIES", "Caches", "Target", "cache_sizes", "current", "host", "named"]


class Caches(NamedTuple):
    """Bytes of data cache a core sees at each level."""

    l1: int
    l2: int
    l3: int


class Family(NamedTuple):
    """Instruction sets that kernels are written for; `needs` are LLVM's names of features."""

    architecture: str
    cpu: str
    needs: frozenset[str]
    bits: int
    registers: int
    fma: bool


FAMILIES = {
    "avx512": Family("x86_64", "x86-64-v4", frozenset(
        ("avx512f", "avx512vl", "avx512dq", "avx512bw", "fma")), 512, 32, True),
    "avx2": Family("x86_64", "x86-64-v3", frozenset(("avx2", "fma")), 256, 16, True),
    "x86-64": Family("x86_64", "x86-64", frozenset(("sse2",)), 128, 16, False),
    "aarch64": Family("aarch64", "generic", frozenset(("neon",)), 128, 32, True),
}

UNKNOWN_CACHES = Caches(32 << 10, 512 << 10, 4 << 20)
ITEM_BYTES = {"float": 4, "double": 8, "i8": 1, "i16": 2, "i32": 4, "i64": 8}
ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}


class Target:
    """One kind of machine. Compare and cache by `key`; it does not change between processes."""

    __slots__ = ("caches", "cpu", "features", "family", "key", "name", "runs_here", "triple")

    def __init__(self, name: str, triple: str, cpu: str, features: str = "",
                 caches: Caches = UNKNOWN_CACHES, runs_here: bool = False) -> None:
        self.name, self.triple, self.cpu, self.features = name, triple, cpu, features
        self.family = FAMILIES[name]
        self.caches, self.runs_here = caches, runs_here
        facts = "|".join((triple, cpu, features)).encode()
        self.key = f"{name}-{blake2b(facts, digest_size=6).hexdigest()}"

    def __repr__(self) -> str:
        return f"Target({self.name!r}, cpu={self.cpu!r}, bits={self.bits}, fma={self.fma})"

    @property
    def bits(self) -> int:
        """Width of a vector register."""
        return self.family.bits

    @property
    def registers(self) -> int:
        """Number of vector registers."""
        return self.family.registers

    @property
    def fma(self) -> bool:
        """Whether a fused multiply-add is one instruction (without it LLVM would call libm)."""
        return self.family.fma

    @property
    def is_windows(self) -> bool:
        """Whether large stack frames would ask for a probe function that nobody links."""
        return "windows" in self.triple

    def lanes(self, scalar: str) -> int:
        """Values of LLVM type `scalar` in one register: ``lanes("float")`` is 16 on AVX-512."""
        return self.bits // (8 * ITEM_BYTES[scalar])


@functools.cache
def host() -> Target:
    """The machine this process runs on. Raises `MissingToolchain` where llvmlite is missing."""
    llvm = toolchain.binding()
    found = llvm.get_host_cpu_features()
    name = _richest({feature for feature, there in found.items() if there})
    return Target(name, llvm.get_process_triple(), llvm.get_host_cpu_name(), found.flatten(),
                  cache_sizes(), runs_here=True)


def _richest(features: set[str]) -> str:
    here = _architecture()
    for name, family in FAMILIES.items():
        if family.architecture == here and (family.needs <= features or name == "aarch64"):
            return name
    raise toolchain.MissingToolchain(f"no vector code is described for {platform.machine()}")


def _architecture() -> str:
    machine = platform.machine().lower()
    return ARCHITECTURES.get(machine, machine)


@functools.cache
def named(name: str) -> Target:
    """A family's plain member: text for it can be written anywhere, run where the host has it."""
    family = FAMILIES[name]
    llvm = toolchain.binding()
    same = family.architecture == _architecture()
    features = llvm.get_host_cpu_features() if same else {}
    runs = same and all(features.get(need) or need == "neon" for need in family.needs)
    triple = llvm.get_process_triple() if same else f"{family.architecture}-unknown-linux-gnu"
    return Target(name, triple, family.cpu, caches=cache_sizes(), runs_here=bool(runs))


def current() -> Target:
    """The host, or the family that ``KKORI_TARGET`` names (to reproduce another machine's code)."""
    wished = os.environ.get("KKORI_TARGET")
    return named(wished) if wished else host()


@functools.cache
def cache_sizes() -> Caches:
    """Data caches of core 0, from the kernel's files, then `sysconf`, then a modest guess."""
    found = _from_sysfs() or _from_sysconf()
    return Caches(*(found.get(level) or UNKNOWN_CACHES[level - 1] for level in (1, 2, 3)))


def _from_sysfs(folder: str = "/sys/devices/system/cpu/cpu0/cache") -> dict[int, int]:
    sizes: dict[int, int] = {}
    try:
        entries = [os.path.join(folder, name) for name in os.listdir(folder)
                   if name.startswith("index")]
        for entry in entries:
            level, kind, size = (_read(entry, name) for name in ("level", "type", "size"))
            if kind != "Instruction":
                sizes[int(level)] = _bytes(size)
    except (OSError, ValueError):
        return sizes
    return sizes


def _read(folder: str, name: str) -> str:
    with open(os.path.join(folder, name), encoding="ascii") as file:
        return file.read().strip()


def _bytes(text: str) -> int:
    unit = {"K": 10, "M": 20, "G": 30}.get(text[-1:], 0)
    return int(text.rstrip("KMG")) << unit


def _from_sysconf() -> dict[int, int]:
    names = {1: "SC_LEVEL1_DCACHE_SIZE", 2: "SC_LEVEL2_CACHE_SIZE", 3: "SC_LEVEL3_CACHE_SIZE"}
    known = getattr(os, "sysconf_names", {})
    return {level: os.sysconf(name) for level, name in names.items() if name in known}
