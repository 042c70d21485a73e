"""torch.special: known values and identities, gradients, messages, and PyTorch side by side."""

from __future__ import annotations

import builtins
import math

import numpy as np
import pytest

import kkori
from kkori import special
from kkori.autograd import gradcheck, gradgradcheck

INF, NAN = math.inf, math.nan


def real(values):
    return kkori.tensor(np.asarray(values, np.float64))


def close(a, b, tolerance=1e-13):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), tolerance, tolerance / 100)


SPREAD = np.concatenate([np.linspace(-6, 6, 241), np.geomspace(1e-10, 1e-1, 20)])
POSITIVE = np.concatenate([np.linspace(0.05, 12, 240), np.geomspace(1e-9, 1e9, 37),
                           1 + np.geomspace(1e-12, 1e-1, 12), 2 - np.geomspace(1e-12, 1e-1, 12)])
NEGATIVE = np.linspace(-9.95, -0.05, 100)

# Against the standard library and NumPy.


@pytest.mark.parametrize(("ours", "theirs", "places"), [
    (special.erf, math.erf, SPREAD), (special.erfc, math.erfc, SPREAD),
    (special.ndtr, lambda x: math.erfc(-x / math.sqrt(2)) / 2, SPREAD),
    (special.i0, lambda x: float(np.i0(x)), SPREAD)], ids=["erf", "erfc", "ndtr", "i0"])
def test_like_the_standard_library(ours, theirs, places):
    close(ours(real(places)), [theirs(x) for x in places], 3e-14)


def test_log_gamma():
    np.testing.assert_allclose(kkori.lgamma(real(POSITIVE)).numpy(),
                               [math.lgamma(x) for x in POSITIVE], 4e-14, 1e-14)
    near = real([1 + 1e-9, 2 - 1e-9])  # where its zeros are: the slopes there times the distance
    close(kkori.lgamma(near), [-0.5772156641787e-9, -0.4227843348173e-9], 1e-7)
    np.testing.assert_allclose(kkori.lgamma(real(NEGATIVE)).numpy(),
                               [math.lgamma(x) for x in NEGATIVE], 0, 4e-14)


# Computed with mpmath to 40 digits: function, argument, value.
KNOWN = [
    ("digamma", 0.25, -4.2274535333762655),

    ("digamma", 3.7, 1.1671535393615113),

    ("digamma", -1.3, 2.8825405488661673),

    ("digamma", 100000000.0, 18.420680738952367),

    ("i0", 0.5, 1.0634833707413236),

    ("i0", 9.0, 1093.5883545113747),

    ("i1", 0.5, 0.2578943053908963),

    ("i1", -9.0, -1030.9147225169565),

    ("i0e", 50.0, 0.05656162664745419),

    ("i1e", 3.0, 0.19682671329730086),

    ("erfcx", 2.0, 0.25539567631050575),

    ("erfcx", 100.0, 0.005641613782989433),

    ("erfcx", -1.0, 5.008980080762283),

    ("erfinv", 0.5, 0.4769362762044699),

    ("erfinv", 0.999999, 3.458910737275499),

    ("ndtri", 0.3, -0.5244005127080408),

    ("log_ndtr", -40.0, -804.6084420137538),

    ("log_ndtr", 2.0, -0.02301290932896349),

    ("sinc", 0.3, 0.8583936913341398),

    ("ndtri", 1e-100, -21.273453560965326),

    ("spherical_bessel_j0", 0.4, 0.9735458557716262),

]


@pytest.mark.parametrize(("name", "place", "value"), KNOWN)
def test_known_values(name, place, value):
    found = getattr(special, name)(real(place)).item()
    assert found == pytest.approx(value, rel=2e-13)


def test_values_of_the_zeta_function():
    close(special.zeta(2.0, real([1, 2])), [math.pi ** 2 / 6, math.pi ** 2 / 6 - 1])
    close(special.zeta(real([4.0, 3.5]), 1.0), [math.pi ** 4 / 90, 1.1267338673170567])
    q = real([-2.5, -1.3, 0.4])
    for s in (2.0, 3.0):  # what one step to the right leaves behind
        close(special.zeta(s, q) - special.zeta(s, q + 1), q ** -s, 1e-12)
    assert special.zeta(3.0, real([-1e12 + 0.5])).isfinite()


def test_polygamma_by_its_steps_and_its_slope():
    x = real(np.linspace(-3.6, 6.15, 40))
    for n in range(5):
        step = special.polygamma(n, x + 1) - special.polygamma(n, x)
        wanted = (-1) ** n * math.factorial(n) * x ** (-n - 1)
        np.testing.assert_allclose(step.numpy(), wanted.numpy(), 1e-8, 1e-8)
    close(special.polygamma(1, real([0.5])), [math.pi ** 2 / 2])
    close(kkori.polygamma(30, real([1.0])) / math.factorial(30), [-1.0000000004656629], 1e-12)


def test_inverses():
    x = np.linspace(-0.9999, 0.9999, 401)
    close(special.erf(special.erfinv(real(x))), x)
    p = np.concatenate([np.geomspace(1e-300, 0.4, 50), np.linspace(0.01, 0.99, 99)])
    close(special.ndtr(special.ndtri(real(p))), p, 1e-11)
    close(special.expit(special.logit(real(p[50:]))), p[50:])


@pytest.mark.parametrize(("name", "places", "values"), [
    ("gammaln", [0.0, -1.0, INF, -INF, 1.0], [INF, INF, INF, INF, 0.0]),
    ("digamma", [0.0, -0.0, -1.0, INF, 1.0], [-INF, INF, NAN, INF, -0.5772156649015329]),
    ("erfinv", [1.0, -1.0, 2.0, 0.0], [INF, -INF, NAN, 0.0]),
    ("ndtri", [0.0, 1.0, -0.1, 0.5], [-INF, INF, NAN, 0.0]),
    ("log_ndtr", [-INF, INF], [-INF, 0.0]), ("erfcx", [INF, -INF], [0.0, INF]),
    ("entr", [1.0, 0.0, -1.0, NAN], [0.0, 0.0, -INF, NAN]),
    ("logit", [0.0, 1.0, 2.0, 0.5], [-INF, INF, NAN, 0.0]),
    ("i0e", [INF, 0.0], [0.0, 1.0]), ("i1e", [-INF, 0.0], [0.0, 0.0]),
    ("sinc", [0.0], [1.0]), ("spherical_bessel_j0", [0.0, INF], [1.0, 0.0])])
def test_at_the_ends(name, places, values):
    found = getattr(special, name)(real(places)).numpy()
    np.testing.assert_allclose(found, values, 1e-14)
    assert np.isnan(getattr(special, name)(real([NAN])).numpy()).all()


SINGLE = ["erf", "erfc", "erfinv", "gammaln", "digamma", "i0", "i0e", "i1", "i1e", "sinc", "ndtr",
          "ndtri", "log_ndtr", "erfcx", "entr", "expit", "logit"]


@pytest.mark.parametrize("name", SINGLE)
def test_float32_is_right_to_its_last_digits(name):
    x = np.linspace(0.02, 0.98, 97)
    wide = getattr(special, name)(real(x)).numpy()
    x32 = x.astype(np.float32)
    narrow = getattr(special, name)(kkori.tensor(x32))
    exact = getattr(special, name)(real(x32)).numpy()
    assert narrow.dtype is kkori.float32 and wide.dtype == np.float64
    np.testing.assert_allclose(narrow.numpy(), exact, 1e-6, 1e-7)


@pytest.mark.parametrize("name", ["erf", "lgamma", "digamma", "i0", "sinc", "logit", "erfinv"])
def test_other_types_and_the_ways_to_call(name):
    function, x = getattr(kkori, name), kkori.tensor([0.25, 0.5])
    assert function(kkori.tensor([1, 2])).dtype is kkori.float32
    assert function(x.half()).dtype is kkori.float16
    method = getattr(x, name)()
    assert method.equal(function(x)) and method.equal(function(x, out=kkori.empty(2)))
    assert getattr(x.clone(), name + "_")().equal(method)
    assert function(kkori.empty(3, device="meta")).shape == (3,)


def test_polynomials_by_their_formulas():
    x = real(np.linspace(-0.9, 0.9, 19))
    angle = kkori.arccos(x)
    for n in range(9):
        close(special.chebyshev_polynomial_t(x, n), kkori.cos(n * angle), 1e-12)
        close(special.chebyshev_polynomial_u(x, n),
              kkori.sin((n + 1) * angle) / kkori.sin(angle), 1e-11)
        close(special.shifted_chebyshev_polynomial_w((x + 1) / 2, n),
              special.chebyshev_polynomial_w(x, n), 1e-11)
    close(special.hermite_polynomial_h(x, 3), 8 * x ** 3 - 12 * x)
    close(special.hermite_polynomial_he(x, 3), x ** 3 - 3 * x)
    close(special.laguerre_polynomial_l(x, 2), x ** 2 / 2 - 2 * x + 1)
    close(special.legendre_polynomial_p(x, 3), (5 * x ** 3 - 3 * x) / 2, 1e-12)
    assert special.legendre_polynomial_p(x, -1).eq(0).all()
    assert special.chebyshev_polynomial_t(0.5, kkori.tensor([2.0, 3.0])).tolist() == [-0.5, -1.0]


def test_mvlgamma_is_a_sum():
    x = real([3.5, 6.0])
    p = 3
    wanted = sum(kkori.lgamma(x - i / 2) for i in range(p)) + p * (p - 1) / 4 * math.log(math.pi)
    close(kkori.mvlgamma(x, p), wanted)
    assert special.multigammaln(x, p).equal(x.mvlgamma(p))


# Gradients.

SMOOTH = {name: getattr(special, name) for name in (
    "erf", "erfc", "erfcx", "erfinv", "ndtr", "ndtri", "log_ndtr", "entr", "gammaln", "digamma",
    "i0", "i0e", "i1", "i1e", "sinc", "logit", "expit", "expm1", "log1p", "exp2")}
SMOOTH["polygamma"] = lambda x: special.polygamma(2, x)
SMOOTH["mvlgamma"] = lambda x: special.multigammaln(x + 2, 3)
SMOOTH["zeta"] = lambda x: special.zeta(2.5, x)
SMOOTH["logit with eps"] = lambda x: special.logit(x, 0.3)


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients(name):
    x = real([0.2, 0.45, 0.83]).requires_grad_(True)
    assert gradcheck(SMOOTH[name], (x,))
    assert gradgradcheck(SMOOTH[name], (x,))


def test_gradients_of_two():
    x, y = real([0.2, 1.5]).requires_grad_(True), real([0.7, 2.5]).requires_grad_(True)
    for function in (special.xlog1py, special.xlogy):
        assert gradcheck(function, (x, y)) and gradgradcheck(function, (x, y))


def test_slopes_at_zero():
    for name, slope in (("i1", 0.5), ("i1e", 0.5), ("sinc", 0.0), ("i0e", 0.0)):
        x = real([0.0]).requires_grad_(True)
        getattr(special, name)(x).backward()
        assert x.grad.tolist() == [slope], name


# What is refused, and how.

WRONG = [
    (lambda: special.erf(1), TypeError,
     "special_erf(): argument 'input' (position 1) must be Tensor, not int"),
    (lambda: kkori.erf(kkori.ones(2) + 0j), NotImplementedError,
     "\"erf_vml_cpu\" not implemented for 'ComplexFloat'"),
    (lambda: special.ndtri(kkori.ones(2).half()), NotImplementedError,
     "\"ndtri_cpu\" not implemented for 'Half'"),
    (lambda: special.polygamma(-1, kkori.ones(2)), RuntimeError,
     "polygamma(n, x) does not support negative n."),
    (lambda: kkori.polygamma(1.5, kkori.ones(2)), TypeError,
     "polygamma(): argument 'n' (position 1) must be int, not float"),
    (lambda: kkori.mvlgamma(kkori.ones(2), 0), RuntimeError,
     "p has to be greater than or equal to 1"),
    (lambda: special.zeta(kkori.ones(2).requires_grad_(True), 2.0).sum().backward(),
     NotImplementedError, "the derivative for 'special_zeta: self' is not implemented."),
]


@pytest.mark.parametrize(("call", "kind", "text"), WRONG)
def test_messages(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).splitlines()[0] == text


def test_without_scipy_the_command_that_installs_it(monkeypatch):
    from kkori.ops import special_extra

    def absent(name):
        raise ImportError(name)
    monkeypatch.setattr(special_extra.importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r"pip install 'kkori\[special\]'"):
        special.bessel_j0(kkori.ones(2))
    assert special.erf(kkori.zeros(1)).item() == 0


def test_files_that_are_read_later_define_what_their_lists_say():
    import subprocess
    import sys
    code = """if True:
        import importlib
        import kkori
        from kkori.ops import table
        wanted = {room: set(names.split()) for room, names in table.LATER.items()}
        waiting = dict(table.METHODS)
        before = set(table.TORCH)
        for room in ("linalg_public", "linalg_more", "linalg_legacy", "special", "spectrum",
                     "tapers", "lowrank"):
            importlib.import_module(f"kkori.ops.{room}")
            found = set(table.TORCH) - before
            before |= found
            assert found == wanted[room], (room, found ^ wanted[room])
        same = [n for n, method in table.METHODS.items() if waiting.get(n) is method
                and getattr(method, "__module__", "") == "kkori.ops.later"]
        new = set(table.METHODS) - set(waiting)
        assert not same and not new, (same, new)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_kkori_does_not_import_scipy():
    import subprocess
    import sys
    code = "import sys, kkori, kkori.special; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_with_scipy():
    pytest.importorskip("scipy")
    x = real([0.5, 3.0])
    close(special.bessel_j0(x), [0.9384698072408130, -0.2600519549019334])
    close(special.modified_bessel_k1(x), [1.6564411200033009, 0.0401564311281942], 1e-12)
    close(special.airy_ai(x), [0.2316936064808335, 0.0065911393574607], 1e-12)
    close(kkori.igamma(x, x) + kkori.igammac(x, x), [1, 1])
    y = real([0.7, 2.0]).requires_grad_(True)
    assert gradcheck(lambda b: special.gammainc(x, b), (y,))
    with pytest.raises(NotImplementedError, match="the derivative for 'igamma: input'"):
        kkori.igamma(y, x).sum().backward()


# PyTorch side by side.

@pytest.mark.oracle
def test_like_pytorch():
    torch = pytest.importorskip("torch")
    missing = {name for name in dir(torch.special) if callable(getattr(torch.special, name))
               and not name.startswith("_")} - set(special.__all__) - {"Tensor"}
    assert not missing
    x = np.linspace(0.05, 0.95, 31)
    pairs = {"zeta", "xlogy", "xlog1py", "gammainc", "gammaincc"}
    for name in special.__all__:
        if "polynomial" in name or name in pairs:
            rest: builtins.tuple = (3.0,)
        elif name in ("multigammaln", "softmax", "log_softmax", "logsumexp"):
            rest = (1,) if name == "multigammaln" else (0,)
        else:
            rest = ()
        results = []
        for library in (torch, kkori):
            a = library.tensor(x + (1 if name == "zeta" else 0)).requires_grad_(
                name not in ("zeta", "gammainc", "gammaincc"))
            function = getattr(library.special, name)
            if name.startswith("gammainc"):
                found = function(a, library.full_like(a, 3.0))
            else:
                found = function(2, a) if name == "polygamma" else function(a, *rest)
            slope = None
            if found.requires_grad:
                found.sum().backward()
                slope = a.grad.numpy()
            results.append((found.detach().numpy(), slope))
        (theirs, their_slope), (ours, our_slope) = results
        np.testing.assert_allclose(ours, theirs, 1e-9, 1e-9, err_msg=name)
        assert (our_slope is None) == (their_slope is None), name
        if our_slope is not None:
            np.testing.assert_allclose(our_slope, their_slope, 1e-7, 1e-8, err_msg=name)
