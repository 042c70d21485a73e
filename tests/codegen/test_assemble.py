import ctypes
import gc
import mmap
import os
import signal
import subprocess
import sys
import threading

import pytest

from kkori.codegen import assemble, target, toolchain
from kkori.codegen.text import FLOAT, Module

ADD = "define float @{name}(float %x) {{\n  %y = fadd float %x, {plus}\n  ret float %y\n}}\n"


def added(name="add", plus="1.0"):
    return ADD.format(name=name, plus=plus)


def call(code, name, value):
    return code.function(name, ctypes.c_float, ctypes.c_float)(value)


def test_text_becomes_a_function():
    code = assemble.compile_text(added(), ["add"])
    assert call(code, "add", 2.0) == 3.0
    assert code["add"] == code.addresses["add"]


def test_same_text_is_compiled_once():
    text = added("once", "7.0")
    first = assemble.compile_text(text, ["once"])
    compiles = assemble.statistics().compiles
    hits = assemble.statistics().memory_hits
    assert assemble.compile_text(text, ["once"]) is first
    assert assemble.statistics().compiles == compiles
    assert assemble.statistics().memory_hits == hits + 1


def test_equal_names_in_different_texts_do_not_meet():
    one, two = (assemble.compile_text(added("same", plus), ["same"]) for plus in ("1.0", "2.0"))
    assert (call(one, "same", 0.0), call(two, "same", 0.0)) == (1.0, 2.0)


def test_a_function_keeps_its_code_alive():
    function = assemble.compile_text(added("kept", "5.0"), ["kept"]).function(
        "kept", ctypes.c_float, ctypes.c_float)
    gc.collect()
    assert function(1.0) == 6.0


def test_symbols_are_given_at_link_time():
    prototype = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float)
    twice, thrice = prototype(lambda x: 2 * x), prototype(lambda x: 3 * x)
    module = Module(target.host())
    module.declare("outside", FLOAT, [FLOAT])
    with module.function("calls", FLOAT, [("x", FLOAT)]) as f:
        f.ret(f.call("outside", FLOAT, f.arguments[0]))
    for outside, expected in ((twice, 10.0), (thrice, 15.0)):
        address = ctypes.cast(outside, ctypes.c_void_p).value
        code = assemble.compile_text(str(module), ["calls"], symbols={"outside": address})
        assert call(code, "calls", 5.0) == expected


@pytest.mark.parametrize("text", ["nonsense", "define void @f() {\n  ret i32 0\n}\n"])
def test_bad_text_is_an_error(text):
    with pytest.raises(assemble.BadText):
        assemble.compile_text(text, ["f"])


def test_unknown_names_are_errors():
    with pytest.raises(assemble.BadText):
        assemble.compile_text(added(), ["missing"])
    with pytest.raises(assemble.BadText):
        assemble.compile_text("declare void @gone()\ndefine void @f() {\n  call void @gone()\n"
                              "  ret void\n}\n", ["f"])


def test_many_threads_compile():
    results = {}

    def work(number):
        code = assemble.compile_text(added(f"t{number}", f"{number}.0"), [f"t{number}"])
        results[number] = call(code, f"t{number}", 1.0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: number + 1.0 for number in range(8)}


@pytest.mark.parametrize("name", target.FAMILIES)
def test_every_target_can_be_written(name):
    there = target.named(name)
    assert assemble.object_code(added(), there)
    assert "add" in assemble.assembly(added(), there)
    if not there.runs_here:
        with pytest.raises(ValueError, match="cannot run"):
            assemble.compile_text(added(), ["add"], there)


def test_target_facts(monkeypatch):
    host = target.host()
    assert host.runs_here and host.name in target.FAMILIES
    assert host.lanes("float") == 2 * host.lanes("double") == host.bits // 32
    assert host.caches.l1 <= host.caches.l2
    assert len({target.named(name).key for name in target.FAMILIES}) == len(target.FAMILIES)
    monkeypatch.setenv("KKORI_TARGET", "x86-64")
    assert target.current().name == "x86-64"


def test_cache_sizes_without_sysfs(tmp_path):
    assert target._from_sysfs(str(tmp_path / "absent")) == {}
    assert target._bytes("48K") == 49152
    assert target._bytes("32M") == 32 << 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_compiles():
    child = os.fork()
    if child == 0:
        code = assemble.compile_text(added("child", "4.0"), ["child"])
        os._exit(0 if call(code, "child", 1.0) == 5.0 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_importing_codegen_does_not_load_llvm():
    program = ("import sys, kkori.codegen.assemble, kkori.codegen.target, kkori.codegen.text\n"
               "assert 'llvmlite' not in sys.modules")
    subprocess.run([sys.executable, "-c", program], check=True, env=dict(os.environ))


def test_without_llvmlite_the_error_helps(monkeypatch):
    monkeypatch.setattr(toolchain, "_loaded", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    assert not toolchain.available()
    with pytest.raises(toolchain.MissingToolchain, match="pip install llvmlite"):
        toolchain.binding()


@pytest.mark.skipif(sys.platform != "linux", reason="where the library lies is read in /proc")
def test_the_library_rests_between_compilations():
    """Its pages are given back, but those that were written to; then it compiles as before."""
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[2]) * mmap.PAGESIZE  # what belongs to files

    assemble.object_code(added("busy"))
    before = resident()
    toolchain.rest()
    assert resident() < before - (8 << 20)
    with open("/proc/self/maps") as file:
        lines = [line.split() for line in file]
    writable = [tuple(int(end, 16) for end in line[0].split("-"))
                for line in lines if "w" in line[1]]
    pieces = toolchain.unwritten()
    assert pieces and not any(
        begin < address + length and address < end
        for address, length in pieces for begin, end in writable)
    assert call(assemble.compile_text(added("rested", "3.0"), ["rested"]), "rested", 2.0) == 5.0


def test_an_interrupt_waits_until_nobody_holds_the_lock():
    """Or llvmlite's own lock could be left taken, and other threads would wait for ever."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are handled in the main thread only")
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with assemble.lock:
            with assemble.lock:
                signal.raise_signal(signal.SIGINT)
            assert not seen
        assert seen == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is not before
    finally:
        signal.signal(signal.SIGINT, before)
