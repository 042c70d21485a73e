import ctypes
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from kkori.codegen import assemble, float_mode
from kkori.codegen import target as targets
from kkori.codegen.pool import CHUNK, Pool
from kkori.codegen.pool_text import pool_text
from kkori.codegen.text import FLOAT, I64, PTR, VOID, Module

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*multi-threaded.*:DeprecationWarning")  # of os.fork: forking is what is tested


def count_text(work=0):
    """Adds 1 to ``context[chunk]`` and notes the slot in ``context[1000 + chunk]``."""
    module = Module(targets.host())
    with module.function("count", VOID, [("c", PTR), ("chunk", I64), ("slot", I64)]) as f:
        context, chunk, slot = f.arguments
        with f.loop(0, work, carried=[f.constant(1, FLOAT)]) as loop:
            loop.carry(loop.carried[0] * 1.0001)
        place = f.offset(context, chunk, "i64")
        f.store(f.load(I64, place) + 1, place)
        f.store(slot, f.offset(place, 1000, "i64"))
        f.store(loop.results[0], f.offset(place, 2000, "i64"))
        f.ret()
    return str(module)


@pytest.fixture(scope="module", params=[1, 2, 4], ids="{} threads".format)
def pool(request):
    made = Pool(request.param)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def count():
    return assemble.compile_text(count_text(), ["count"])


@pytest.fixture(scope="module")
def slow_count():
    return assemble.compile_text(count_text(20000), ["count"])


def test_every_chunk_runs_once(pool, count):
    for chunks in (0, 1, 2, 3, 7, 64, 999):
        seen = np.zeros(3000, np.int64)
        pool.run(count["count"], seen.ctypes.data, chunks)
        assert seen[:1000].tolist() == [1] * chunks + [0] * (1000 - chunks)


def test_many_regions_back_to_back(pool, count):
    seen = np.zeros(3000, np.int64)
    for _ in range(3000):
        pool.run(count["count"], seen.ctypes.data, 9)
    assert seen[:9].tolist() == [3000] * 9


def test_work_is_shared(slow_count):
    pool = Pool(2)
    try:
        slots = set()
        for _ in range(200):
            seen = np.zeros(3000, np.int64)
            pool.run(slow_count["count"], seen.ctypes.data, 64)
            assert (seen[:64] == 1).all()
            slots |= set(seen[1000:1064].tolist())
            if slots == {0, 1}:
                break
        assert slots == {0, 1}
    finally:
        pool.stop()


def test_kernels_call_it_natively(pool, count):
    module = Module(targets.host())
    module.declare("kkori_parallel", VOID, [PTR, PTR, PTR, I64])
    with module.function("steps", VOID,
                         [("pool", PTR), ("body", PTR), ("context", PTR), ("n", I64)]) as f:
        memory, body, context, n = f.arguments
        with f.loop(0, n):
            f.call("kkori_parallel", VOID, memory, body, context, f.constant(5, I64))
        f.ret()
    code = assemble.compile_text(str(module), ["steps"], symbols=pool.symbols)
    seen = np.zeros(3000, np.int64)
    steps = code.function("steps", None, *[ctypes.c_void_p] * 3, ctypes.c_int64)
    steps(pool.address, count["count"], seen.ctypes.data, 20000)
    assert seen[:5].tolist() == [20000] * 5


def test_several_python_threads_and_nesting(pool, count):
    def outer(context, chunk, slot):
        pool.run(count["count"], context + 8 * 16 * chunk, 16)

    body = CHUNK(outer)
    tables = [np.zeros(3000, np.int64) for _ in range(4)]

    def use(table):
        for _ in range(50):
            pool.run(ctypes.cast(body, ctypes.c_void_p).value, table.ctypes.data, 6)

    threads = [threading.Thread(target=use, args=(table,)) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for table in tables:
        assert table[:96].tolist() == [50] * 96


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_raising_callback_does_no_harm(pool, count, monkeypatch):
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda facts: raised.append(facts.exc_type))

    def fail(context, chunk, slot):
        raise ValueError("in a chunk")

    body = CHUNK(fail)
    pool.run(ctypes.cast(body, ctypes.c_void_p).value, 0, 5)
    assert raised == [ValueError] * 5
    seen = np.zeros(3000, np.int64)
    pool.run(count["count"], seen.ctypes.data, 5)
    assert seen[:5].tolist() == [1] * 5


def test_idle_workers_sleep_and_wake(slow_count):
    pool = Pool(3, spin_seconds=1e-3)
    try:
        pool.start()
        deadline = time.monotonic() + 5
        while pool.sleeping < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert pool.sleeping == 2
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.1
        for _ in range(30):
            seen = np.zeros(3000, np.int64)
            pool.run(slow_count["count"], seen.ctypes.data, 16)
            assert (seen[:16] == 1).all()
            time.sleep(0.003)
    finally:
        pool.stop()


def test_stop_and_start_again(count):
    pool = Pool(2)
    address = pool.address
    for _ in range(20):
        seen = np.zeros(3000, np.int64)
        pool.run(count["count"], seen.ctypes.data, 8)
        assert (seen[:8] == 1).all()
        pool.stop()
    assert pool.address == address
    pool.stop()
    assert not any(thread.name.startswith("kkori worker") and thread.is_alive()
                   and thread in pool._workers for thread in threading.enumerate())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork(count):
    pool = Pool(3)
    try:
        address = pool.address
        seen = np.zeros(3000, np.int64)
        child = os.fork()
        if child == 0:
            pool._parallel(address, count["count"], seen.ctypes.data, 9)  # serial: no workers
            pool.run(count["count"], seen.ctypes.data, 9)  # starts the child's own
            fine = (seen[:9] == 2).all() and pool.address == address
            pool.stop()
            os._exit(0 if fine else 1)
        assert os.waitpid(child, 0)[1] == 0
        pool.run(count["count"], seen.ctypes.data, 9)
        assert (seen[:9] == 1).all()
    finally:
        pool.stop()


EXIT = """
import numpy as np
from kkori.codegen import assemble
from kkori.codegen.pool import default_pool
code = assemble.compile_text('''define void @f(ptr %c, i64 %k, i64 %s) {
  ret void
}
''', ["f"])
pool = default_pool(4)
for _ in range(100):
    pool.run(code["f"], 0, 16)
{end}
"""


@pytest.mark.parametrize("end", ["", "import sys; sys.exit(0)", "del pool",
                                 "import time; time.sleep(0.05)"])
def test_clean_exit(end):
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", EXIT.replace("{end}", end)], timeout=30,
                          capture_output=True, text=True, env=dict(os.environ, KKORI_CACHE="off"))
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - begun < 20


def test_float_mode_is_set_and_restored(target):
    module = Module(target)
    with module.function("halve", FLOAT, [("x", FLOAT)]) as f:
        f.ret(f.arguments[0] * 0.5)
    with module.function("flushed", FLOAT, [("x", FLOAT)]) as f:
        before = float_mode.flush(f)
        result = f.arguments[0] * 0.5
        float_mode.restore(f, before)
        f.ret(result)
    code = assemble.compile_text(str(module), ["halve", "flushed"], target)
    halve, flushed = (code.function(name, ctypes.c_float, ctypes.c_float)
                      for name in ("halve", "flushed"))
    smallest = float(np.finfo(np.float32).tiny)
    assert halve(smallest) == smallest / 2
    assert flushed(smallest) == 0.0
    assert halve(smallest) == smallest / 2
    assert flushed(3.0) == 1.5


def test_workers_compute_in_the_callers_mode():
    """Half of the smallest normal number is a denormal, or 0 where the caller flushes."""
    module = Module(targets.host())
    with module.function("halve", VOID, [("c", PTR), ("chunk", I64), ("slot", I64)]) as f:
        context, chunk, slot = f.arguments
        with f.loop(0, 20000, carried=[f.constant(1, FLOAT)]) as loop:
            loop.carry(loop.carried[0] * 1.0001)
        tiny = f.load(FLOAT, context)
        place = f.offset(f.offset(context, 2, "i64"), chunk, "i64")
        halved = f.convert("zext", f.bits(tiny * 0.5), I64)
        f.store(halved + slot, place)
        f.store(loop.results[0], f.offset(context, 1, "float"))
        f.ret()
    module.declare("kkori_parallel", VOID, [PTR, PTR, PTR, I64])
    with module.function("flushed", VOID, [("pool", PTR), ("body", PTR), ("context", PTR)]) as f:
        before = float_mode.flush(f)
        f.call("kkori_parallel", VOID, *f.arguments, f.constant(40, I64))
        float_mode.restore(f, before)
        f.ret()
    pool = Pool(2)
    try:
        code = assemble.compile_text(str(module), ["halve", "flushed"], symbols=pool.symbols)
        flushed = code.function("flushed", None, *[ctypes.c_void_p] * 3)
        base = np.array([np.finfo(np.float32).tiny]).view(np.int32)[0]
        slots = set()
        for _ in range(60):
            for flushing in (True, False):
                table = np.zeros(64, np.int64)
                table[0] = base
                if flushing:
                    flushed(pool.address, code["halve"], table.ctypes.data)
                else:
                    pool.run(code["halve"], table.ctypes.data, 40)
                slot = table[2:42] - (0 if flushing else 0x00400000)
                assert set(slot.tolist()) <= {0, 1}
                slots |= set(slot.tolist())
        assert slots == {0, 1}
    finally:
        pool.stop()


@pytest.mark.parametrize("name", targets.FAMILIES)
def test_every_target_has_a_pool(name):
    assert assemble.object_code(pool_text(targets.named(name)), targets.named(name))


def test_thread_counts_are_checked():
    with pytest.raises(ValueError, match="1 to 256"):
        Pool(0)
