"""Large products of arrays: layouts, edges, slabs, threads."""

import threading

import numpy as np
import pytest

from kkori.codegen import assemble, matmul_large
from kkori.codegen import target as targets
from kkori.codegen.matmul_blocks import Blocks, emit_blocks, tile_for
from kkori.codegen.matmul_choice import kind_of
from kkori.codegen.matmul_large import Packed, prepared
from kkori.codegen.text import Module
from kkori.core.threads import get_num_threads, set_num_threads


@pytest.fixture
def threads():
    before = get_num_threads()
    yield set_num_threads
    set_num_threads(before)


def matrix(rows, columns, layout="rows", kind="f", seed=0):
    """Random numbers, lying in one of several ways."""
    random = np.random.default_rng(seed)
    if layout == "rows":
        return random.standard_normal((rows, columns + 3)).astype(kind)[:, :columns]
    if layout == "columns":
        return random.standard_normal((columns, rows + 1)).astype(kind)[:, :rows].T
    return random.standard_normal((2 * rows, 2 * columns)).astype(kind)[::-2, ::2]


def close(got, a, b):
    """Within a few roundings of sums as long as k."""
    scale = np.finfo(got.dtype).eps * 8 * max(a.shape[1], 4) ** 0.5
    exact = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(got, exact, rtol=scale, atol=scale * max(1, a.shape[1]) ** 0.5)


def packed(a, b, target=None):
    """The own product of any size, for any target that runs here."""
    return Packed(kind_of(a, b), target or targets.host())


SHAPES = [(1, 1, 1), (28, 64, 32), (31, 70, 50), (200, 130, 900), (300, 70, 20), (3, 500, 9)]


@pytest.mark.parametrize("left", ["rows", "columns", "neither"])
@pytest.mark.parametrize("right", ["rows", "columns", "neither"])
@pytest.mark.parametrize("kind", "fd")
def test_layouts(left, right, kind, target):
    product = packed(matrix(2, 2, left, kind), matrix(2, 2, right, kind), target)
    for m, n, k in SHAPES:
        a, b = matrix(m, k, left, kind), matrix(k, n, right, kind, 1)
        if kind_of(a, b) == kind_of(matrix(2, 2, left, kind), matrix(2, 2, right, kind)):
            close(product(a, b), a, b)


def test_nothing_is_written_outside_of_the_result():
    a, b = matrix(31, 40), matrix(40, 70)
    whole = np.full((33, 90), 7, "f")
    packed(a, b)(a, b, whole[1:32, 5:75])
    close(whole[1:32, 5:75], a, b)
    whole[1:32, 5:75] = 7
    assert (whole == 7).all()


@pytest.mark.parametrize("panels, steps", [(1 << 14, 4096), (1 << 14, 100), (1 << 20, 64)])
def test_slabs(monkeypatch, panels, steps):
    monkeypatch.setattr(matmul_large, "PANELS_BYTES", panels)
    monkeypatch.setattr(matmul_large, "SLAB_STEPS", steps)
    a, b = matrix(45, 390, "columns"), matrix(390, 200)
    close(packed(a, b)(a, b), a, b)


def test_bits_do_not_depend_on_threads(threads):
    a, b = matrix(333, 800), matrix(800, 210)
    product, found = packed(a, b), []
    for number in (1, 2, 3):
        threads(number)
        found.append(product(a, b))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_not_a_number_stays_in_its_row_and_column():
    a, b = matrix(60, 50), matrix(50, 80)
    a[33, 7], b[9, 75] = np.nan, np.inf
    spoilt = ~np.isfinite(packed(a, b)(a, b))
    assert spoilt[33].all() and spoilt[:, 75].all() and spoilt.sum() == 60 + 80 - 1


def test_python_threads_at_once():
    a, b = matrix(200, 300), matrix(300, 250)
    product, found = packed(a, b), {}
    expected = product(a, b)

    def work(number):
        found[number] = [product(a, b) for _ in range(10)]

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(one, expected) for some in found.values() for one in some)
    assert len(found) == 3


def test_memory_is_kept_between_calls():
    a, b = matrix(100, 100), matrix(100, 100)
    product = packed(a, b)
    product(a, b)
    kept = matmul_large._kept[0]
    product(a, b)
    assert matmul_large._kept[0] is kept


@pytest.mark.parametrize("name", targets.FAMILIES)
def test_every_target_can_be_written(name):
    target = targets.named(name)
    for scalar in ("float", "double"):
        module = Module(target)
        emit_blocks(module, Blocks(scalar, False, False, *tile_for(target)))
        assert "multiply" in assemble.assembly(str(module), target)


def test_wide_vectors_only(monkeypatch):
    for name in targets.FAMILIES:
        monkeypatch.setattr(matmul_large, "current", lambda name=name: targets.named(name))
        monkeypatch.setattr(matmul_large, "Packed", lambda kind, target: target)
        found = prepared.__wrapped__(("float", False, True))
        assert (found is None) == (name != "avx512")
