"""The seam to LLVM: text in, addresses of functions out. Nothing else in kkori calls llvmlite.

No optimisation pass runs: kernels arrive as explicit vectors in registers, and passes would double
the time to compile without making them faster. What LLVM does here is choose instructions,
allocate registers and schedule (code generation level 2). The exception is a text that says
`alwaysinline` somewhere: those calls are inlined first, which takes about 1 ms.

One long-lived LLJIT links the objects: that takes 0.06 to 0.1 ms each, and, unlike MCJIT (0.03 ms),
it can unload what nobody uses.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from kkori.codegen import target as targets
from kkori.codegen import toolchain
from kkori.codegen.object_cache import ObjectCache, default_folder, key_of
from kkori.codegen.target import Target
from kkori.core.threads import undisturbed

__all__ = ["BadText", "Code", "assembly", "compile_text", "disk_cache", "load", "lock",
           "object_code", "statistics"]

CODEGEN_LEVEL = 2


class BadText(RuntimeError):
    """LLVM refused a text, or a function it names does not exist: a mistake of the emitter."""


class Statistics:
    """Counts for `explain()`: how often and for how long machine code was made or found."""

    __slots__ = ("compile_ms", "compiles", "disk_hits", "load_ms", "loads", "memory_hits")

    def __init__(self) -> None:
        self.compiles = self.loads = self.disk_hits = self.memory_hits = 0
        self.compile_ms = self.load_ms = 0.0

    def as_dict(self) -> dict[str, float]:
        """All counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class Code:
    """Loaded machine code; it stays in memory for as long as this object does.

    ``code["name"]`` is a function's address, ``code.function("name", result, *arguments)`` a
    callable of ctypes that releases the interpreter lock while it runs.
    """

    __slots__ = ("__weakref__", "_tracker", "addresses", "from_disk", "ms")

    def __init__(self, tracker: Any, names: Iterable[str], ms: float, from_disk: bool) -> None:
        self._tracker = tracker
        self.addresses = {name: int(tracker[name]) for name in names}
        self.ms, self.from_disk = ms, from_disk

    def __getitem__(self, name: str) -> int:
        return self.addresses[name]

    def function(self, name: str, result: Any, *arguments: Any) -> Any:
        """The function called `name` as a ctypes callable (it keeps this code alive)."""
        callable_: Any = ctypes.CFUNCTYPE(result, *arguments)(self.addresses[name])
        callable_.code = self
        return callable_

    def __del__(self, at_exit: Any = sys.is_finalizing) -> None:
        if not at_exit():
            with undisturbed():
                self._tracker = None


class _Lock:
    """A reentrant lock that is taken, held and given back without a signal being handled.

    Ctrl-C in between could leave llvmlite's own lock taken for ever, and other threads waiting.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.held: list[undisturbed] = []

    def __enter__(self) -> None:
        calm = undisturbed()
        calm.__enter__()
        self.lock.acquire()
        self.held.append(calm)

    def __exit__(self, *error: object) -> None:
        calm = self.held.pop()
        self.lock.release()
        calm.__exit__()


class _Assembler:
    """LLVM's state of this process, behind one lock (llvmlite has one of its own anyway)."""

    def __init__(self) -> None:
        self.lock = _Lock()
        self.statistics = Statistics()
        self.known: weakref.WeakValueDictionary[Any, Code] = weakref.WeakValueDictionary()
        self.machines: dict[str, Any] = {}
        self.libraries = 0
        self.jit: Any = None
        self.disk: ObjectCache | None = None

    def machine(self, target: Target) -> Any:
        """LLVM's code generator for `target`."""
        if target.key not in self.machines:
            llvm = toolchain.binding()
            if not target.runs_here:
                llvm.initialize_all_targets()
                llvm.initialize_all_asmprinters()
            triple = llvm.Target.from_triple(target.triple)
            self.machines[target.key] = triple.create_target_machine(
                cpu=target.cpu, features=target.features, opt=CODEGEN_LEVEL,
                jit=target.runs_here)
        return self.machines[target.key]

    def module(self, text: str, target: Target) -> tuple[Any, Any]:
        """The parsed and verified text, and the machine to make code with."""
        llvm, machine = toolchain.binding(), self.machine(target)
        try:
            parsed = llvm.parse_assembly(text, llvm.create_context())
            parsed.triple, parsed.data_layout = target.triple, str(machine.target_data)
            parsed.verify()
        except RuntimeError as error:
            raise BadText(f"LLVM does not accept this text: {error}") from error
        if "alwaysinline" in text:
            self.inline(parsed, machine)
        return parsed, machine

    @staticmethod
    def inline(parsed: Any, machine: Any) -> None:
        """Put the bodies of functions marked `alwaysinline` where they are called."""
        llvm = toolchain.binding()
        builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(0))
        passes = llvm.create_new_module_pass_manager()
        passes.add_always_inliner_pass()
        passes.run(parsed, builder)

    def link(self, data: bytes, names: Iterable[str], symbols: Mapping[str, int]) -> Any:
        """Load object code; the result tells addresses and unloads when it is dropped."""
        llvm = toolchain.binding()
        if self.jit is None:
            machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
            self.jit = llvm.create_lljit_compiler(machine, suppress_errors=True)
        builder = llvm.JITLibraryBuilder().add_object_img(data)
        for name in names:
            builder.export_symbol(name)
        for name, address in symbols.items():
            builder.import_symbol(name, address)
        self.libraries += 1
        try:
            return builder.link(self.jit, f"kkori.{os.getpid()}.{self.libraries}")
        except RuntimeError as error:
            raise BadText(f"an object does not link (a name is missing?): {error}") from error


_assembler = _Assembler()
lock = _assembler.lock  # also for what is kept of results

if hasattr(os, "register_at_fork"):  # a child must not inherit LLVM in the middle of a compile
    os.register_at_fork(before=lambda: _assembler.lock.lock.acquire(),
                        after_in_parent=lambda: _assembler.lock.lock.release(),
                        after_in_child=lambda: _assembler.lock.lock.release())


def compile_text(text: str, names: Iterable[str], target: Target | None = None,
                 symbols: Mapping[str, int] | None = None) -> Code:
    """Machine code of the functions `names` that `text` defines.

    `symbols` gives addresses of functions that the text only declares. They are no part of the
    object, so it can be used again by a process in which they lie elsewhere. The same text asked
    for twice is compiled once. Raises `BadText`, `MissingToolchain`, and ValueError for a target
    that this machine cannot run (use `object_code` or `assembly` to look at its code).
    """
    target = target or targets.current()
    if not target.runs_here:
        raise ValueError(f"code for {target.name} cannot run on this machine")
    names, symbols = tuple(names), dict(symbols or {})
    key = (key_of(text, target.key), names, tuple(sorted(symbols.items())))
    with _assembler.lock:
        code = _assembler.known.get(key)
        if code is not None:
            _assembler.statistics.memory_hits += 1
            return code
        code = _load(text, names, target, symbols)
        _assembler.known[key] = code
        toolchain.rest()
        return code


def load(data: bytes, names: Iterable[str], symbols: Mapping[str, int]) -> Code:
    """Object code (of `object_code`) in memory, linked to `symbols`. Raises `BadText`."""
    names = tuple(names)
    with _assembler.lock:
        begun = time.perf_counter()
        code = Code(_assembler.link(data, names, symbols), names, 0.0, True)
        code.ms = (time.perf_counter() - begun) * 1e3
        _assembler.statistics.loads += 1
        _assembler.statistics.load_ms += code.ms
        return code


def _load(text: str, names: tuple[str, ...], target: Target, symbols: dict[str, int]) -> Code:
    """Find or make the object, link it; what the disk remembers wrongly is made again."""
    begun = time.perf_counter()
    data, from_disk = _object(text, target)
    loading = time.perf_counter()
    try:
        tracker = _assembler.link(data, names, symbols)
    except BadText:
        if not from_disk:
            raise
        tracker = _assembler.link(object_code(text, target), names, symbols)
    ended = time.perf_counter()
    statistics_ = _assembler.statistics
    statistics_.loads += 1
    statistics_.load_ms += (ended - loading) * 1e3
    return Code(tracker, names, (ended - begun) * 1e3, from_disk)


def _object(text: str, target: Target) -> tuple[bytes, bool]:
    disk = disk_cache()
    key = key_of(text, target.key, toolchain.version(), str(CODEGEN_LEVEL))
    data = disk.get(key)
    if data is not None:
        _assembler.statistics.disk_hits += 1
        return data, True
    data = object_code(text, target)
    disk.put(key, data)
    return data, False


def object_code(text: str, target: Target | None = None) -> bytes:
    """The object file of `text`, for any target whether or not it runs here; never cached."""
    target = target or targets.current()
    with _assembler.lock:
        begun = time.perf_counter()
        module, machine = _assembler.module(text, target)
        data = bytes(machine.emit_object(module))
        _assembler.statistics.compiles += 1
        _assembler.statistics.compile_ms += (time.perf_counter() - begun) * 1e3
        return data


def assembly(text: str, target: Target | None = None) -> str:
    """The listing that `text` becomes, to be read."""
    target = target or targets.current()
    with _assembler.lock:
        module, machine = _assembler.module(text, target)
        return str(machine.emit_assembly(module))


def disk_cache(replacement: ObjectCache | None = None) -> ObjectCache:
    """The cache of objects in use; with an argument, use that one from now on."""
    with _assembler.lock:
        if replacement is not None:
            _assembler.disk = replacement
        if _assembler.disk is None:
            _assembler.disk = ObjectCache(default_folder())
        return _assembler.disk


def statistics() -> Statistics:
    """What was compiled, found and loaded in this process so far."""
    return _assembler.statistics
