"""Threads for native code: a caller's loop is shared in half a microsecond, idle workers sleep.

Workers are Python threads that stay inside one native call (see `pool_text`), so the interpreter
lock is never needed to start or end a region. They spin for about half a millisecond after their
last chunk, which is the gap Python leaves between two steps, and then sleep until work comes.

Emitted kernels declare ``void @kkori_parallel(ptr pool, ptr function, ptr context, i64 chunks)``,
get its address through ``symbols=pool.symbols`` and the pool's memory as `pool.address`. The
function is ``void (ptr context, i64 chunk, i64 slot)``; `slot` is the thread's number, 0 for the
caller. Results do not depend on who runs a chunk, so sums stay deterministic if each chunk has its
own place for a partial sum and the number of chunks is fixed.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import time
import weakref
from typing import Any

from kkori.codegen.assemble import compile_text
from kkori.codegen.pool_text import FIELDS, WORKER, WORKER_BYTES, pool_text
from kkori.codegen.target import current

__all__ = ["CHUNK", "Pool", "default_pool"]

CHUNK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
MOST_WORKERS = 255
SPIN_SECONDS = 0.5e-3
JOIN_SECONDS = 5.0
MEASURED_TURNS = 4000

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_default: Pool | None = None
_default_lock = threading.Lock()
_kept: list[Any] = []


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _pass_function() -> int:
    """The system's "let another thread run"; 0 where it is not found."""
    try:
        if sys.platform == "win32":
            return _address(ctypes.windll.kernel32.SwitchToThread)
        return _address(ctypes.CDLL(None).sched_yield)
    except (OSError, AttributeError):
        return 0


class Pool:
    """`threads` threads with the caller's: 1 means that every region runs where it is called.

    Nothing is compiled or started before `start` or the first use of `address` or `run`.
    """

    def __init__(self, threads: int, spin_seconds: float = SPIN_SECONDS) -> None:
        if not 1 <= threads <= MOST_WORKERS + 1:
            raise ValueError(f"a pool has 1 to {MOST_WORKERS + 1} threads, not {threads}")
        self.threads, self.spin_seconds = threads, spin_seconds
        self._lock = threading.Lock()
        self._workers: list[threading.Thread] = []
        self._started = False
        self._native: Any = None
        size = FIELDS["worker"] + MOST_WORKERS * WORKER_BYTES
        self._memory = ctypes.create_string_buffer(size + 128)
        self._base = -(-ctypes.addressof(self._memory) // 128) * 128
        _pools.add(self)

    @property
    def address(self) -> int:
        """The memory to hand to kernels; it stays the same for the pool's life, forks included."""
        self.start()
        return self._base

    @property
    def symbols(self) -> dict[str, int]:
        """What kernels that call the pool are linked with."""
        return {"kkori_parallel": self._code()["kkori_parallel"]}

    @property
    def sleeping(self) -> int:
        """How many workers sleep now."""
        return sum(self._word(self._worker(number, "asleep")).value
                   for number in range(len(self._workers)))

    def run(self, function: int, context: int, chunks: int) -> None:
        """One region from Python: ``function(context, chunk, slot)`` for each chunk."""
        self.start()
        self._parallel(self._base, function, context, chunks)

    def start(self) -> None:
        """Have the workers running; cheap if they are."""
        if self._started:
            return
        with self._lock:
            if not self._started:
                self._start()
                self._started = True

    def stop(self) -> None:
        """End the workers; regions then run in their caller, until the next `start`."""
        with self._lock:
            if not self._started:
                return
            self._field("workers").value = 0
            self._field("stop").value = 1
            for number in range(len(self._workers)):
                self._rouse(number)
            for worker in self._workers:
                worker.join(JOIN_SECONDS)
            if any(worker.is_alive() for worker in self._workers):
                _kept.append((self._memory, self._native))  # stuck in a chunk: it still reads them
            self._workers, self._started = [], False

    def _code(self) -> Any:
        if self._native is None:
            target = current()
            self._native = compile_text(pool_text(target), (
                "kkori_parallel", "kkori_worker", "kkori_spin"), target)
            pointer, integer = ctypes.c_void_p, ctypes.c_int64
            self._parallel = self._native.function(
                "kkori_parallel", None, pointer, pointer, pointer, integer)
            self._work = self._native.function("kkori_worker", None, pointer, integer)
            self._spin = self._native.function("kkori_spin", None, pointer, integer)
        return self._native

    def _word(self, offset: int) -> ctypes.c_int64:
        return ctypes.c_int64.from_address(self._base + offset)

    def _field(self, name: str) -> ctypes.c_int64:
        return self._word(FIELDS[name])

    @staticmethod
    def _worker(number: int, name: str) -> int:
        return FIELDS["worker"] + number * WORKER_BYTES + WORKER[name]

    def _start(self) -> None:
        self._code()
        ctypes.memset(self._base, 0, FIELDS["worker"] + MOST_WORKERS * WORKER_BYTES)
        self._field("wake").value = _address(ctypes.pythonapi.PyThread_release_lock)
        self._field("sleep").value = _address(ctypes.pythonapi.PyThread_acquire_lock)
        self._field("pass").value = _pass_function()
        self._field("spins").value = self._turns(self.spin_seconds)
        for number in range(self.threads - 1):
            self._word(self._worker(number, "lock")).value = _locked_lock()
        self._workers = [self._thread(number) for number in range(self.threads - 1)]
        self._field("workers").value = len(self._workers)

    def _thread(self, number: int) -> threading.Thread:
        """A started worker. It holds the native code, not the pool, which may then be dropped."""
        thread = threading.Thread(target=self._work, args=(self._base, number + 1), daemon=True,
                                  name=f"kkori worker {number + 1}")
        thread.start()
        return thread

    def _turns(self, seconds: float) -> int:
        """How often a worker looks for work in so many seconds."""
        begun = time.perf_counter()
        self._spin(self._base, MEASURED_TURNS)
        taken = max(time.perf_counter() - begun, 1e-7)
        return max(1, int(seconds / taken * MEASURED_TURNS))

    def _rouse(self, number: int) -> None:
        """Wake a worker that sleeps or is about to; it looks at `stop` before it sleeps again.

        One that is busy with a chunk is left to end it, for some seconds.
        """
        asleep = self._word(self._worker(number, "asleep"))
        lock = self._word(self._worker(number, "lock")).value
        deadline = time.monotonic() + JOIN_SECONDS
        while self._workers[number].is_alive() and time.monotonic() < deadline:
            if asleep.value == 1:
                asleep.value = 0
                _release(lock)
                return
            time.sleep(1e-4)

    def _forget_threads(self) -> None:
        """In a forked child: the workers are gone, their locks in an unknown state."""
        self._lock = threading.Lock()
        self._workers, self._started = [], False
        ctypes.memset(self._base, 0, FIELDS["worker"])

    def __del__(self) -> None:
        if getattr(self, "_started", False) and not sys.is_finalizing():
            self.stop()


def _locked_lock() -> int:
    """A new lock of Python's own C interface, held, so that the first sleep really sleeps."""
    api = ctypes.pythonapi
    api.PyThread_allocate_lock.restype = ctypes.c_void_p
    lock = api.PyThread_allocate_lock()
    api.PyThread_acquire_lock(ctypes.c_void_p(lock), 1)
    return int(lock)


def _release(lock: int) -> None:
    ctypes.pythonapi.PyThread_release_lock(ctypes.c_void_p(lock))


def default_pool(threads: int | None = None) -> Pool:
    """The pool of this process; with a number that differs, one of that many threads instead."""
    global _default
    with _default_lock:
        if _default is None or (threads is not None and threads != _default.threads):
            if _default is not None:
                _default.stop()
            _default = Pool(threads or _cores())
        return _default


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _stop_all() -> None:
    for pool in list(_pools):
        pool.stop()


def _forget_all_threads() -> None:
    global _default_lock
    _default_lock = threading.Lock()
    for pool in list(_pools):
        pool._forget_threads()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all_threads)
