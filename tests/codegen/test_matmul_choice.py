"""When products leave NumPy: after enough work of a kind, never without a compiler."""

import os
import subprocess
import sys

import numpy as np
import pytest

import kkori
from kkori.codegen import blas, matmul_choice, matmul_large, toolchain
from kkori.ops.matmul import LARGE


@pytest.fixture(autouse=True)
def cold(monkeypatch):
    """As in a new process."""
    monkeypatch.setattr(matmul_choice, "_seen", {})
    monkeypatch.setattr(matmul_choice, "_own", {})
    monkeypatch.setattr(matmul_choice, "_sizes", [matmul_choice.LARGE])
    monkeypatch.setattr(matmul_choice, "_off", False)


@pytest.fixture
def own(monkeypatch):
    """Shapes of the products that own kernels computed."""
    seen, whole = [], matmul_large.Packed.__call__

    def counted(self, a, b, out=None):
        seen.append((*a.shape, b.shape[1]))
        return whole(self, a, b, out)

    monkeypatch.setattr(matmul_large.Packed, "__call__", counted)
    monkeypatch.setattr(blas, "uses_half_the_lanes", lambda: True)
    if matmul_large.current().bits < 512:
        pytest.skip("own kernels are for processors with 512 bits")
    return seen


def warm(monkeypatch, work=0):
    monkeypatch.setattr(matmul_choice, "WARM_UP", work)


def test_work_is_counted_by_kind(monkeypatch, own):
    a = np.ones((200, 200), "f")
    warm(monkeypatch, 3 * a.size * 200)
    for _ in range(3):
        matmul_choice.product(a, a)
    assert own == [] and not matmul_choice._own
    matmul_choice.product(a, a.T)
    matmul_choice.product(a, a)
    assert own == [(200, 200, 200)]


@pytest.mark.parametrize("a, b", [
    (np.ones((3, 4), "f"), np.ones((4, 5), "f")),
    (np.ones((200, 200), np.int64), np.ones((200, 200), np.int64)),
    (np.ones((200, 200), "F"), np.ones((200, 200), "F")),
    (np.ones((200, 200), "f"), np.ones((200, 200), "d")),
    (np.ones((200, 200), ">f4"), np.ones((200, 200), ">f4")),
    (np.ones((0, 200), "f"), np.ones((200, 200), "f")),
    (np.ones((200, 0), "f"), np.ones((0, 200), "f")),
    (np.ones((2000, 2100), "f"), np.ones(2100, "f"))],
    ids=["small", "integers", "complex", "mixed", "swapped", "no rows", "no sums", "vector"])
def test_what_does_not_fit_is_left_to_numpy(a, b, monkeypatch, own):
    warm(monkeypatch)
    found = matmul_choice.product(a, b)
    assert np.array_equal(found, np.dot(a, b)) and found.dtype == np.dot(a, b).dtype
    assert own == []


def test_what_is_suited_passes_the_first_look():
    """The room of operations looks at sizes of sides only, before it imports anything."""
    least, narrow = matmul_choice.LARGE
    for k in (narrow, 50, 100, 1000):
        assert least * k > LARGE


def test_smaller_products_follow_once_own_kernels_are_in_use(monkeypatch, own):
    warm(monkeypatch)
    small, large = np.ones((110, 110), "f"), np.ones((200, 200), "f")
    matmul_choice.product(small, small)
    assert own == []
    matmul_choice.product(large, large)
    assert (matmul_choice.product(small, small) == 110).all()
    assert own == [(200, 200, 200), (110, 110, 110)]


def test_products_and_their_gradients_are_ours(monkeypatch, own):
    warm(monkeypatch)
    a = kkori.randn(180, 200, requires_grad=True)
    b = kkori.randn(200, 190, dtype=kkori.float32, requires_grad=True)
    g = kkori.randn(180, 190)
    (a @ b).backward(g)
    assert own == [(180, 200, 190), (180, 190, 200), (200, 180, 190)]
    exact = [x.detach().numpy().astype("d") for x in (a, b, g)]
    np.testing.assert_allclose(a.grad.numpy(), exact[2] @ exact[1].T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(b.grad.numpy(), exact[0].T @ exact[2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("call", [
    lambda x, w, c: kkori.mm(x, w.T), lambda x, w, c: x @ w.T,
    lambda x, w, c: kkori.nn.functional.linear(x, w), lambda x, w, c: kkori.matmul(x, w.T),
    lambda x, w, c: kkori.nn.functional.linear(x, w, c) - c,
    lambda x, w, c: kkori.addmm(c, x, w.T, beta=0.5, alpha=2) / 2 - c / 4,
    lambda x, w, c: kkori.bmm(x[None], w.T[None])[0],
    lambda x, w, c: kkori.stack([x, x]) @ w.T[None].expand(2, -1, -1),
    lambda x, w, c: kkori.stack([x, x]) @ w.T],
    ids=["mm", "@", "linear", "matmul", "bias", "addmm", "bmm", "batch", "folded"])
@pytest.mark.parametrize("kind", [kkori.float32, kkori.float64])
def test_every_name_of_a_product(call, kind, monkeypatch, own):
    warm(monkeypatch)
    x, w, c = kkori.randn(170, 180, dtype=kind), kkori.randn(190, 180, dtype=kind), kkori.ones(190)
    found = call(x, w, c.to(kind)).numpy()
    assert own and found.dtype == x.numpy().dtype
    exact = x.numpy().astype("d") @ w.numpy().astype("d").T
    np.testing.assert_allclose(found, np.broadcast_to(exact, found.shape), rtol=1e-4, atol=1e-4)


def test_shapes_only(monkeypatch):
    warm(monkeypatch)
    a = kkori.empty(300, 300, device="meta")
    assert (a @ a).shape == (300, 300) and kkori.bmm(a[None], a[None]).shape == (1, 300, 300)


@pytest.mark.parametrize("error", [toolchain.MissingToolchain("none"), OSError(), ImportError()])
def test_without_a_compiler(error, monkeypatch):
    def missing(kind):
        raise error

    warm(monkeypatch)
    monkeypatch.setattr(matmul_large, "prepared", missing)
    a = kkori.ones(200, 200)
    assert ((a @ a) == 200).all() and ((a @ a) == 200).all()
    assert list(matmul_choice._own.values()) == [np.dot]


def test_where_the_library_has_good_kernels(monkeypatch, own):
    warm(monkeypatch)
    monkeypatch.setattr(blas, "uses_half_the_lanes", lambda: False)
    a = kkori.ones(200, 200)
    assert ((a @ a) == 200).all() and own == []


@pytest.mark.parametrize("core, wide", [("Haswell", True), ("Zen", True), ("SkylakeX", False),
                                        ("", False)])
def test_which_library_falls_behind(core, wide, monkeypatch):
    from numpy._core import _multiarray_umath as numpy_core

    monkeypatch.setattr(blas, "core_name", lambda path: core)
    monkeypatch.setitem(numpy_core.__cpu_features__, "AVX512F", True)
    assert blas.uses_half_the_lanes.__wrapped__() == wide
    monkeypatch.setitem(numpy_core.__cpu_features__, "AVX512F", False)
    assert not blas.uses_half_the_lanes.__wrapped__()


@pytest.mark.skipif(sys.platform == "win32", reason="a name is not looked up in what is linked")
def test_the_library_says_which_kernels_it_uses():
    from numpy._core import _multiarray_umath as numpy_core

    built_with = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    assert bool(blas.core_name(numpy_core.__file__)) == ("openblas" in built_with)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_multiplies_too(monkeypatch, own):
    warm(monkeypatch)
    a = np.ones((300, 300), "f")
    expected = matmul_choice.product(a, a)
    child = os.fork()
    if not child:
        os._exit(not np.array_equal(matmul_choice.product(a, a), expected))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(matmul_choice.product(a, a), expected)


def test_rows_that_are_one_row(monkeypatch, own):
    warm(monkeypatch)
    row = kkori.randn(1, 200)
    b = kkori.randn(200, 210)
    found = (row.expand(190, 200) @ b).numpy()
    np.testing.assert_allclose(found, np.broadcast_to((row @ b).numpy(), (190, 210)), atol=1e-4)
    assert own


PROGRAM = """
import sys, kkori
a = kkori.ones(1100, 1100)
for _ in range(8):
    assert ((a @ a) == 1100).all()
print("llvmlite" in sys.modules)
"""


@pytest.mark.parametrize("eager", ["", "1"])
def test_a_program_of_its_own(eager):
    """LLVM comes in when it pays, and not at all where the user says so."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True,
                          env={**os.environ, "KKORI_EAGER": eager}, check=False)
    wanted = not eager and toolchain.available() and blas.uses_half_the_lanes()
    assert done.stdout.split() == [str(wanted)], done.stderr


def test_compiled_rounds_use_them_too(monkeypatch, own):
    from recorded import Recorder

    from kkori.codegen.segment import build

    warm(monkeypatch)
    add = Recorder((300, 280), (270, 280))
    product = add("mm", ("input", 0), add("t", ("input", 1)))
    add.program.outputs = [add("relu", product)[1]]
    random = np.random.default_rng(0)
    a, b = (random.standard_normal(shape).astype("f") for shape in ((300, 280), (270, 280)))
    (found,) = build(add.program).run([a, b], [])
    np.testing.assert_allclose(found, np.maximum(a.astype("d") @ b.T, 0), rtol=1e-4, atol=1e-4)
    assert own == [(300, 280, 270)]
