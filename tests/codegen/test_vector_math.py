import ctypes
import functools
import itertools
import math
import re

import numpy as np
import pytest

from kkori.codegen import assemble
from kkori.codegen import target as targets
from kkori.codegen.text import I64, PTR, VOID, Module, type_of
from kkori.codegen.vector_math import FUNCTIONS, define, emit, inline

# name: float64 reference (of NumPy arrays), range of arguments, ulp bounds of float32 and float64
# (measured worst cases on AVX-512, AVX2 and SSE2, rounded up).
BOUNDS = {
    "exp": (np.exp, (-104, 89), 1.1, 1.1),
    "exp2": (np.exp2, (-150, 128), 1.2, 1.2),
    "expm1": (np.expm1, (-20, 89), 1.6, 2.0),
    "log": (np.log, (0, 1e38), 1.0, 0.9),
    "log2": (np.log2, (0, 1e38), 2.0, 1.6),
    "log1p": (np.log1p, (-1, 1e3), 1.6, 1.0),
    "tanh": (np.tanh, (-10, 10), 2.5, 2.2),
    "sigmoid": (lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-abs(x))), (-104, 104), 2.5, 2.0),
    "sigmoid_normal": (lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-abs(x))), (-87, 87),
                       2.5, 2.0),
    "sin": (np.sin, (-100, 100), 1.6, 1.8),
    "cos": (np.cos, (-100, 100), 1.6, 1.8),
    "erf": (np.vectorize(math.erf, otypes=["f8"]), (-5, 5), 1.3, 1.2),
    "atan": (np.arctan, (-50, 50), 2.0, 1.2),
    "sqrt": (np.sqrt, (0, 1e30), 0.501, 0.501),
    "rsqrt": (lambda x: 1 / np.sqrt(x), (0, 1e30), 1.5, 1.5),
    "reciprocal": (np.reciprocal, (-10, 10), 0.501, 0.501),
    "log10": (np.log10, (0, 1e38), 2.0, 1.5),
    "tan": (np.tan, (-100, 100), 3.3, 3.0),
    "asin": (np.arcsin, (-1, 1), 1.8, 1.4),
    "acos": (np.arccos, (-1, 1), 1.3, 1.2),
    "sinh": (np.sinh, (-89.4, 89.4), 2.2, 1.8),
    "cosh": (np.cosh, (-89.4, 89.4), 1.6, 1.2),
    "asinh": (np.arcsinh, (-1e6, 1e6), 2.0, 1.4),
    "acosh": (np.arccosh, (1, 1e6), 2.1, 1.4),
    "atanh": (np.arctanh, (-1, 1), 2.1, 1.5),
    "floor": (np.floor, (-1e9, 1e9), 0, 0),
    "ceil": (np.ceil, (-1e9, 1e9), 0, 0),
    "trunc": (np.trunc, (-1e9, 1e9), 0, 0),
    "round": (np.rint, (-1e9, 1e9), 0, 0),
    "pow": (np.power, None, 0.6, 1.2),
}
SCALARS = {"float": np.float32, "double": np.float64}


@functools.cache
def compiled(name, scalar, target, width=0):
    """out[i] = name(x[i], ...) over arrays whose length is a multiple of the width."""
    width = width or target.lanes(scalar)
    kind, module = type_of(scalar, width), Module(target)
    inputs = [f"x{number}" for number in range(FUNCTIONS[name][0])]
    arguments = [("out", PTR), *((label, PTR) for label in inputs), ("n", I64)]
    with module.function("map", VOID, arguments) as f:
        out, *sources, n = f.arguments
        with f.loop(0, n, width) as loop:
            values = [f.load(kind, f.offset(one, loop.index, scalar)) for one in sources]
            f.store(inline(name, f, *values), f.offset(out, loop.index, scalar))
        f.ret()
    code = assemble.compile_text(str(module), ["map"], target)
    return code.function("map", None, *[ctypes.c_void_p] * (len(inputs) + 1), ctypes.c_int64)


def apply(name, target, *arrays):
    scalar = {"f4": "float", "f8": "double"}[arrays[0].dtype.str[1:]]
    size = arrays[0].size
    padded = [np.concatenate([array, np.ones(-size % 64, array.dtype)]) for array in arrays]
    out = np.empty_like(padded[0])
    call = compiled(name, scalar, target)
    call(out.ctypes.data, *(array.ctypes.data for array in padded), out.size)
    return out[:size]


def ulps(got, exact):
    """Distances in units of the last place, of exact values given with more digits."""
    near = exact.astype(got.dtype)
    unit = np.spacing(np.maximum(abs(near), np.finfo(got.dtype).tiny)).astype(exact.dtype)
    with np.errstate(invalid="ignore"):
        distance = abs(got.astype(exact.dtype) - exact) / unit
    return np.where(got == near, np.where(np.isfinite(near), distance, 0), distance)


def arguments(name, dtype, count=16000):
    random = np.random.default_rng(7)
    if name == "pow":
        return (np.exp(random.uniform(-9, 9, count)).astype(dtype),
                random.uniform(-9, 9, count).astype(dtype))
    low, high = BOUNDS[name][1]
    small = random.choice([-1.0, 1.0], count) * np.exp(random.uniform(-80, 0, count))
    x = np.concatenate([random.uniform(low, high, count),
                        random.uniform(max(low, -2), min(high, 2), count), small])
    x = low + abs(x) if low >= 0 else x
    x = x.astype(dtype)
    return (x[x > low],)


@pytest.mark.parametrize("name", BOUNDS)
@np.errstate(all="ignore")
def test_float32_error_bounds(name, target):
    x = arguments(name, np.float32)
    exact = BOUNDS[name][0](*(one.astype(np.float64) for one in x))
    assert ulps(apply(name, target, *x), exact).max() <= BOUNDS[name][2]


def exact_of(name, mp):
    special = {"round": mp.nint, "trunc": lambda x: mp.sign(x) * mp.floor(abs(x)),
               "exp2": lambda x: mp.mpf(2) ** x, "log2": lambda x: mp.log(x) / mp.log(2),
               "sigmoid": lambda x: 1 / (1 + mp.exp(-x)), "rsqrt": lambda x: 1 / mp.sqrt(x),
               "reciprocal": lambda x: 1 / x, "pow": lambda x, y: x**y}
    return special.get(name.removesuffix("_normal")) or getattr(mp, name)


@pytest.mark.parametrize("name", BOUNDS)
def test_float64_error_bounds(name, target):
    mpmath = pytest.importorskip("mpmath", reason="exact values of float64 functions need mpmath")
    x = arguments(name, np.float64, 150)
    got = apply(name, target, *x)
    worst = 0.0
    with mpmath.workdps(40):
        function = exact_of(name, mpmath)
        for number, values in enumerate(zip(*x, strict=True)):
            exact = function(*(mpmath.mpf(float(value)) for value in values))
            unit = math.ulp(max(abs(float(exact)), 2.0**-1022))
            worst = max(worst, float(abs(mpmath.mpf(float(got[number])) - exact) / unit))
    assert worst <= BOUNDS[name][3]


FLUSHED = ("sigmoid_normal",)  # give 0 for what would be a denormal
EDGES = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -2.0, 2.0, 3.0, 1e-45, -1e-45,
         1e-40, -1e-40, 1.1754944e-38, -1.1754944e-38, 3.4028235e38, -3.4028235e38, 88.8, -87.5,
         -103.9, -104.1, 128.0, -149.0, -150.5, 20.0, -20.0, 1e-8, -1e-8, 16777217.0, -16777219.0]


def same_values(got, expected, tolerance):
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    real = ~np.isnan(expected)
    assert np.array_equal(np.signbit(got[real]), np.signbit(expected[real]))
    np.testing.assert_allclose(got[real], expected[real], rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", [name for name in BOUNDS if name != "pow"])
@np.errstate(all="ignore")
def test_special_values(name, target):
    x = np.array(EDGES, np.float32)
    expected = BOUNDS[name][0](x.astype(np.float64)).astype(np.float32)
    got = apply(name, target, x)
    denormal = (abs(expected) < 2.0**-126) & (expected != 0)
    if name in FLUSHED:
        expected[denormal] = 0
    np.testing.assert_allclose(got[denormal], expected[denormal], atol=2.9e-45)
    same_values(got[~denormal], expected[~denormal], 1e-6)


DOUBLE_EDGES = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, 5e-324, -5e-324, 1e-310,
                -1e-310, 2.3e-308, 1.7976931348623157e308, -1.7976931348623157e308, 709.9, -708.5,
                -744.0, -746.0, 1024.0, -1074.0, -1075.5, 1e-20, -1e-20, 40.0, -40.0]


@pytest.mark.parametrize("name", [name for name in BOUNDS if name != "pow"])
@np.errstate(all="ignore")
def test_special_values_of_doubles(name, target):
    x = np.array(DOUBLE_EDGES)
    expected = BOUNDS[name][0](x)
    got = apply(name, target, x)
    denormal = (abs(expected) < 2.0**-1022) & (expected != 0)
    if name in FLUSHED:
        expected[denormal] = 0
    np.testing.assert_allclose(got[denormal], expected[denormal], atol=1e-323)
    same_values(got[~denormal], expected[~denormal], 2e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@np.errstate(all="ignore")
def test_power_of_special_values(dtype, target):
    largest = float(np.finfo(dtype).max)
    edges = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0,
             1e-40, -1e-40, largest, -largest, 2.5, -2.5, 16777215.0, 1e20, -1e20, 33.0]
    x, y = (np.array(one, dtype) for one in zip(*itertools.product(edges, edges), strict=True))
    expected = np.power(x.astype(np.float64), y.astype(np.float64)).astype(dtype)
    got = apply("pow", target, x, y)
    normal = (abs(expected) >= np.finfo(dtype).tiny) | (expected == 0) | np.isnan(expected)
    same_values(got[normal], expected[normal], 1e-6 if dtype is np.float32 else 1e-15)
    np.testing.assert_allclose(got[~normal], expected[~normal], rtol=1e-5, atol=2e-45)


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_large_angles(name, target):
    mpmath = pytest.importorskip("mpmath", reason="remainders of huge angles need mpmath")
    random = np.random.default_rng(3)
    with mpmath.workdps(360):
        for dtype, top in ((np.float32, 88), (np.float64, 709)):
            x = (random.choice([-1, 1], 100) * np.exp(random.uniform(8, top, 100))).astype(dtype)
            x[::3] = random.uniform(-3, 3, x[::3].size)  # most lanes stay on the straight path
            exact = [float(getattr(mpmath, name)(mpmath.mpf(float(value)))) for value in x]
            got = apply(name, target, x)
            assert (ulps(got, np.array(exact, np.longdouble)) <= 2.5).all()


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("name", ["exp", "sin", "pow"])
def test_any_width_gives_the_same_values(name, width):
    target = targets.host()
    x = tuple(array[:320] for array in arguments(name, np.float32))
    usual, out = apply(name, target, *x), np.empty(320, np.float32)
    call = compiled(name, "float", target, width)
    call(out.ctypes.data, *(array.ctypes.data for array in x), out.size)
    assert np.array_equal(out, usual)


def called_in(listing):
    """Symbols that machine code calls (x86-64 may load their address first)."""
    return set(re.findall(r"(?:\$|\bbl\s+|\bcallq?\s+)([A-Za-z_][\w.]*)", listing))


@pytest.mark.parametrize("there", targets.FAMILIES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_target_calls_a_library(name, there):
    target = targets.named(there)
    for scalar in SCALARS:
        text, symbol = emit(name, target.lanes(scalar), scalar, target)
        kind = type_of(scalar, target.lanes(scalar)).text
        passed = ", ".join(f"{kind} %x{number}" for number in range(FUNCTIONS[name][0]))
        caller = f"define {kind} @caller({passed}) {{\n  %r = call {kind} @{symbol}({passed})\n" \
                 f"  ret {kind} %r\n}}\n"
        listing = assemble.assembly(text + "\n" + caller, target)
        used = called_in(listing)
        assert any(one.startswith(f"kkori.{name}") for one in used)
        assert all(one.startswith("kkori.") for one in used), used


@pytest.mark.parametrize("inlined", [True, False])
def test_definitions_merge(inlined):
    target = targets.host()
    lanes = target.lanes("float")
    one, two = (define(name, lanes, "float", target, inlined) for name in ("sin", "cos"))
    merged = "\n".join({**one.parts, **two.parts}.values())
    kind = type_of("float", lanes).text
    merged += (f"define {kind} @both({kind} %x) {{\n  %s = call {kind} @{one.symbol}({kind} %x)\n"
               f"  %c = call {kind} @{two.symbol}({kind} %s)\n  ret {kind} %c\n}}\n")
    assert (one.symbol in called_in(assemble.assembly(merged, target))) != inlined
    assert assemble.compile_text(merged, ["both"], target)["both"]
