import errno
import os
import subprocess
import sys
import time

import pytest

from kkori.codegen import assemble
from kkori.codegen.object_cache import ObjectCache, default_folder, key_of

PROGRAM = """
import ctypes, sys
from kkori.codegen import assemble
total = 0.0
for number in range(12):
    text = (f"define float @f(float %x) {{\\n  %y = fadd float %x, {number}.0\\n"
            f"  ret float %y\\n}}\\n")
    code = assemble.compile_text(text, ["f"])
    total += code.function("f", ctypes.c_float, ctypes.c_float)(0.5)
print(total, assemble.statistics().compiles, assemble.statistics().disk_hits)
"""


@pytest.fixture
def cache(tmp_path):
    return ObjectCache(str(tmp_path / "objects"))


def files_of(cache):
    return [path for path, _, _ in cache._entries()]


def test_get_returns_what_was_put(cache):
    assert cache.get(key_of("a")) is None
    assert cache.put(key_of("a"), b"code")
    assert cache.get(key_of("a")) == b"code"
    assert cache.get(key_of("b")) is None
    assert ObjectCache(cache.folder).get(key_of("a")) == b"code"


def test_keys_separate_their_facts():
    assert key_of("ab", "c") != key_of("a", "bc")
    assert key_of("ab") == key_of("ab")


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: data[:5], lambda data: b"",
    lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], lambda data: data + b"x"],
    ids=["cut", "stump", "empty", "flipped", "longer"])
def test_damaged_entries_are_absent(cache, damage):
    key = key_of("a")
    cache.put(key, b"code" * 100)
    (path,) = files_of(cache)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(damage(data))
    assert cache.get(key) is None
    assert files_of(cache) == []
    assert cache.put(key, b"anew") and cache.get(key) == b"anew"


def test_bounded_and_least_lately_used_goes_first(tmp_path):
    cache = ObjectCache(str(tmp_path / "objects"), limit=10_000)
    keys = [key_of(str(number)) for number in range(20)]
    now = time.time()
    for number, key in enumerate(keys):
        cache.put(key, bytes(1000))
        os.utime(cache._path(key), (now - 9000 + number,) * 2)
    assert cache.get(keys[0]) is not None  # reading makes it young
    cache.shrink()
    assert cache.size() <= 10_000
    assert cache.get(keys[0]) is not None
    assert cache.get(keys[1]) is None
    assert cache.get(keys[-1]) is not None


def test_storing_keeps_the_bound_by_itself(tmp_path):
    cache = ObjectCache(str(tmp_path / "objects"), limit=20_000)
    for number in range(200):
        cache.put(key_of(str(number)), bytes(1000))
    assert cache.size() <= 20_000 + 64 * 1100


def test_remains_of_dead_writers_are_swept(cache):
    cache.put(key_of("a"), b"code")
    stray = cache._path(key_of("a")) + ".1.2.new"
    with open(stray, "wb") as file:
        file.write(b"half")
    os.utime(stray, (1, 1))
    cache.shrink()
    assert not os.path.exists(stray)
    assert cache.get(key_of("a")) == b"code"


def test_off(monkeypatch, tmp_path):
    for word in ("0", "off", "none", ""):
        monkeypatch.setenv("KKORI_CACHE", word)
        assert default_folder() is None
    cache = ObjectCache(None)
    assert not cache.put(key_of("a"), b"code")
    assert cache.get(key_of("a")) is None and cache.size() == 0
    monkeypatch.setenv("KKORI_CACHE", str(tmp_path))
    assert default_folder() == str(tmp_path / "objects")


def test_a_full_disk_is_no_error(cache, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert not cache.put(key_of("a"), b"code")
    monkeypatch.undo()
    assert files_of(cache) == []


def test_a_place_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    cache = ObjectCache(str(tmp_path / "file" / "objects"))
    assert not cache.put(key_of("a"), b"code")
    assert cache.get(key_of("a")) is None
    cache.shrink()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_others_can_write_to_is_not_trusted(tmp_path):
    folder = tmp_path / "objects"
    folder.mkdir()
    folder.chmod(0o777)
    cache = ObjectCache(str(folder))
    assert not cache.put(key_of("a"), b"code")
    assert cache.get(key_of("a")) is None


def processes(folder, count):
    environment = dict(os.environ, KKORI_CACHE=str(folder))
    started = [subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, text=True,
                                stdout=subprocess.PIPE) for _ in range(count)]
    outputs = [process.communicate()[0].split() for process in started]
    assert all(process.returncode == 0 for process in started)
    return [(float(total), int(compiles), int(hits)) for total, compiles, hits in outputs]


def test_concurrent_processes_and_damage(tmp_path):
    expected = sum(range(12)) + 6.0
    for total, compiles, hits in processes(tmp_path, 3):
        assert total == expected and compiles + hits == 12
    assert processes(tmp_path, 1) == [(expected, 0, 12)]
    cache = ObjectCache(str(tmp_path / "objects"))
    entries = files_of(cache)
    assert len(entries) == 12
    with open(entries[0], "r+b") as file:
        file.truncate(100)
    assert processes(tmp_path, 1) == [(expected, 1, 11)]


def test_a_stored_object_that_does_not_link_is_made_again(tmp_path):
    text = "define i32 @seven() {\n  ret i32 7\n}\n"
    before = assemble.disk_cache()
    try:
        cache = assemble.disk_cache(ObjectCache(str(tmp_path / "objects")))
        cache.get = lambda key: b"whole, but not an object"
        assert not assemble.compile_text(text, ["seven"]).addresses == {}
    finally:
        assemble.disk_cache(before)


def test_reload_is_fast(tmp_path):
    from kkori.codegen import target

    before = assemble.disk_cache()
    text = "define i32 @quick() {\n  ret i32 7\n}\n"
    try:
        cache = assemble.disk_cache(ObjectCache(str(tmp_path / "objects")))
        assemble.compile_text(text, ["quick"])
        assert cache.size() > 0
        times = []
        for _ in range(20):
            begun = time.thread_time()
            code = assemble.compile_text(text, ["quick"], target.host())
            times.append(time.thread_time() - begun)
            assert code.from_disk
            del code
        assert sorted(times)[10] < 2e-3
    finally:
        assemble.disk_cache(before)
