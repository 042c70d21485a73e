import ctypes
import functools
import mmap
import sys

import numpy as np
import pytest

from kkori.codegen import assemble
from kkori.codegen import target as targets
from kkori.codegen.matmul_kernels import Product, emit, scratch_bytes
from kkori.codegen.matmul_plan import plan
from kkori.codegen.matmul_region import (
    context_of,
    emit_region,
    rows_of_a_chunk,
    scratch_step,
)
from kkori.codegen.pool import Pool
from kkori.codegen.text import Module

DTYPES = {"float": np.float32, "double": np.float64}
POINTER, SIZE = ctypes.c_void_p, ctypes.c_int64


def relu(value):
    return value.function.select(value > 0, value, 0)


def bias_and_relu(value, place):
    return relu(value + place.per_column(place.extra))


def row_factor(value, place):
    return value * place.per_row(place.extra)


@functools.cache
def kernel(product, target):
    module = Module(target)
    how = emit(module, "product", product)
    code = assemble.compile_text(str(module), ["product"], target)
    call = code.function("product", None, *[POINTER] * 3, *[SIZE] * 7, *[POINTER] * 2)
    return call, how


def aligned(size):
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start:start + size]


def multiply(product, target, a, b, c, extra=None, rows=None):
    """Run it on arrays whose last axis is contiguous; n, k and all rows follow from them."""
    (m, n), k = c.shape, a.shape[0 if product.transpose_a else 1]
    scratch = aligned(scratch_bytes(product, target, k) or 64)
    call, _ = kernel(product, target)
    strides = (max(x.strides[0] // x.itemsize, 1) for x in (a, b, c))
    call(a.ctypes.data, b.ctypes.data, c.ctypes.data, *(rows or (0, m)), n, k, *strides,
         scratch.ctypes.data, 0 if extra is None else extra.ctypes.data)


def operands(product, m, n, k, seed=0, pad=0):
    random, dtype = np.random.default_rng(seed), DTYPES[product.scalar]
    a = random.standard_normal((k, m + pad) if product.transpose_a else (m, k + pad))
    b = random.standard_normal((n, k + pad) if product.transpose_b else (k, n + pad))
    a, b = a.astype(dtype), b.astype(dtype)
    return (a[:, :m] if product.transpose_a else a[:, :k],
            b[:, :k] if product.transpose_b else b[:, :n])


def exact(product, a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a.T if product.transpose_a else a) @ (b.T if product.transpose_b else b)


def close(got, expected, k):
    scale = np.finfo(got.dtype).eps * max(k, 4) ** 0.5 * 8
    np.testing.assert_allclose(got, expected, rtol=scale, atol=scale * max(1, k) ** 0.5)


def check(product, target, m, n, k, seed=0):
    a, b = operands(product, m, n, k, seed, pad=3)
    whole = np.full((m + 1, n + 5), 7, a.dtype)
    c = whole[:m, :n]
    multiply(product, target, a, b, c)
    close(c, exact(product, a, b) + (7 if product.accumulate else 0), k)
    c[...] = 7
    assert (whole == 7).all(), "wrote outside of C"


def random_cases(count):
    random = np.random.default_rng(11)
    for number in range(count):
        m, n, k = (int(np.exp(random.uniform(0, 5.2))) for _ in range(3))
        ta, tb, accumulate = (bool(random.integers(2)) for _ in range(3))
        known = [size if random.integers(3) else None for size in (m, n, k)]
        scalar = "float" if number % 3 else "double"
        yield Product(scalar, *known, ta, tb, accumulate), m, n, k


@pytest.mark.parametrize("case", list(random_cases(24)),
                         ids=lambda case: "x".join(map(str, case[1:])))
def test_random_shapes(case, target):
    product, m, n, k = case
    check(product, target, m, n, k)


SHAPES = [(64, 64, 64), (13, 30, 300), (1, 50, 70), (50, 1, 70), (200, 3, 90), (7, 5, 3),
          (33, 17, 1), (100, 30, 700), (3, 100, 9), (40, 2, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("ta", [False, True], ids=["a", "at"])
@pytest.mark.parametrize("tb", [False, True], ids=["b", "bt"])
def test_known_shapes_both_transposes(shape, ta, tb):
    check(Product("float", *shape, ta, tb), targets.host(), *shape)


@pytest.mark.parametrize("ta", [False, True], ids=["a", "at"])
@pytest.mark.parametrize("tb", [False, True], ids=["b", "bt"])
def test_one_kernel_for_all_sizes(ta, tb, target):
    product = Product("float", None, None, None, ta, tb)
    for m, n, k in [*SHAPES, (1, 1, 1), (14, 32, 256), (15, 33, 257)]:
        check(product, target, m, n, k)


@pytest.mark.parametrize("way, product, size", [
    ("tile", Product("float", None, 40, 200, epilogue=bias_and_relu), (50, 40, 200)),
    ("tile", Product("float", 20, 300, None, True, epilogue=bias_and_relu), (20, 300, 900)),
    ("swapped", Product("double", None, 3, None, True, epilogue=bias_and_relu), (90, 3, 500)),
    ("dot", Product("float", None, 3, None, epilogue=bias_and_relu), (90, 3, 500)),
    ("dot", Product("double", 2, None, None, False, True, True, bias_and_relu), (2, 37, 129))],
    ids=["tile", "blocks", "swapped", "dot", "dot-accumulate"])
def test_epilogue_along_columns(way, product, size, target):
    if target.bits == 512:  # three columns are not few for narrow vectors
        assert plan(product, target).way == way
    a, b = operands(product, *size)
    bias = np.linspace(-9, 9, size[1]).astype(a.dtype)
    c = np.ones(size[:2], a.dtype)
    multiply(product, target, a, b, c, bias)
    expected = np.maximum(exact(product, a, b) + bias + product.accumulate, 0)
    close(c, expected, size[2])


@pytest.mark.parametrize("product, size", [
    (Product("float", None, 40, 200, epilogue=row_factor), (50, 40, 200)),
    (Product("float", None, 2, None, True, epilogue=row_factor), (90, 2, 500)),
    (Product("float", None, 1, None, epilogue=row_factor), (90, 1, 500))],
    ids=["tile", "swapped", "dot"])
def test_epilogue_along_rows(product, size, target):
    a, b = operands(product, *size)
    factor = np.linspace(1, 2, size[0]).astype(a.dtype)
    c = np.empty(size[:2], a.dtype)
    multiply(product, target, a, b, c, factor)
    close(c, exact(product, a, b) * factor[:, None], size[2])


@pytest.mark.parametrize("product", [
    Product("float", None, None, None), Product("float", None, 4, None, False, True),
    Product("double", None, 2, None, True)], ids=["tile", "dot", "swapped"])
def test_nothing_to_sum_gives_zeros(product, target):
    n = product.n or 20
    c = np.ones((9, n), DTYPES[product.scalar])
    a = np.empty((0, 9) if product.transpose_a else (9, 0), c.dtype)
    b = np.empty((n, 0) if product.transpose_b else (0, n), c.dtype)
    multiply(product, target, a, b, c)
    assert not c.any()


@pytest.mark.parametrize("product", [
    Product("float", None, 30, 300, epilogue=row_factor),
    Product("float", None, 2, 300, epilogue=row_factor),
    Product("float", None, 30, 300, False, True, epilogue=row_factor),
    Product("float", None, 2, 300, True, epilogue=row_factor),
    Product("float", None, 90, 3, epilogue=row_factor)],
    ids=["tile", "dot", "turned", "swapped", "along"])
def test_rows_do_not_depend_on_each_other(product, target):
    """Threads take rows each: the bits must not depend on how many they take."""
    m, n, k = 45, product.n, product.k
    a, b = operands(product, m, n, k)
    factor = np.linspace(1, 2, m).astype(np.float32)
    whole, parts = np.empty((m, n), np.float32), np.empty((m, n), np.float32)
    multiply(product, target, a, b, whole, factor)
    for rows in ((0, 7), (7, 8), (8, 8), (8, 31), (31, 45)):
        multiply(product, target, a, b, parts, factor, rows)
    assert np.array_equal(whole, parts)


def test_not_a_number_stays_in_its_row_and_column():
    product, target = Product("float", None, None, None), targets.host()
    a, b = operands(product, 20, 40, 50)
    a[3, 7], b[9, 5] = np.nan, np.inf
    c = np.empty((20, 40), np.float32)
    multiply(product, target, a, b, c)
    spoilt = ~np.isfinite(c)
    assert spoilt[3].all() and spoilt[:, 5].all()
    assert spoilt.sum() == 20 + 40 - 1


def at_the_end_of_memory(array):
    """A copy that ends where the process may read no further."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    pages = mmap.mmap(-1, size + page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(base + size), ctypes.c_size_t(page), 0) == 0
    copy = np.frombuffer(pages, array.dtype, array.size, size - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.skipif(sys.platform == "win32", reason="guards a page with mprotect")
@pytest.mark.parametrize("shape", [(13, 30, 33), (9, 3, 50), (3, 45, 7), (20, 1, 5)],
                         ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("known", [True, False], ids=["known", "open"])
def test_nothing_is_read_beyond_the_operands(shape, known, target):
    for ta, tb in ((False, False), (True, False), (False, True)):
        sizes = shape if known else (None, shape[1] if shape[1] < 4 else None, None)
        product = Product("float", *sizes, ta, tb)
        a, b = (at_the_end_of_memory(one) for one in operands(product, *shape))
        c = at_the_end_of_memory(np.zeros(shape[:2], np.float32))
        multiply(product, target, a, b, c)
        close(c, exact(product, a, b), shape[2])


@pytest.mark.parametrize("name", targets.FAMILIES)
def test_every_target_can_be_written(name):
    target = targets.named(name)
    for product in (Product("float", None, 30, 784), Product("double", 64, 64, 64, True, True),
                    Product("float", None, 1, 300)):
        module = Module(target)
        emit(module, "product", product)
        listing = assemble.assembly(str(module), target)
        assert "product" in listing
        assert "fma@PLT" not in listing and "$fma" not in listing and "bl\tfma" not in listing


def test_plans_fit_the_registers():
    for name in targets.FAMILIES:
        target = targets.named(name)
        for m in (None, 1, 5, 64):
            for n in (None, 1, 30, 64):
                how = plan(Product("float", m, n, None), target)
                if how.way != "dot":
                    assert how.rows[0] * how.vectors + how.vectors < target.registers


@pytest.mark.parametrize("product", [
    Product("float", None, 30, 784, False, True, epilogue=bias_and_relu),
    Product("float", None, 30, None, True, epilogue=bias_and_relu),
    Product("float", None, None, None, epilogue=bias_and_relu)], ids=["packed", "at", "open"])
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_share_the_rows(product, threads):
    target, (m, n, k) = targets.host(), (203, 30, 784)
    module = Module(target)
    emit_region(module, "region", product)
    code = assemble.compile_text(str(module), ["region"], target)
    a, b = operands(product, m, n, k)
    bias, c = np.linspace(-9, 9, n).astype(np.float32), np.empty((m, n), np.float32)
    scratch = aligned(threads * scratch_step(product, target, k) or 64)
    rows = rows_of_a_chunk(m, threads)
    strides = [x.strides[0] // 4 for x in (a, b, c)]
    context = context_of(product, target, rows, a.ctypes.data, b.ctypes.data, c.ctypes.data,
                         m, n, k, *strides, scratch.ctypes.data, bias.ctypes.data)
    pool = Pool(threads)
    try:
        for _ in range(20):
            c[...] = 0
            pool.run(code["region"], ctypes.addressof(context), -(-m // rows))
            close(c, np.maximum(exact(product, a, b) + bias, 0), k)
    finally:
        pool.stop()
