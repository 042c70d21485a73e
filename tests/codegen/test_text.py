import ctypes
import math
import re
from pathlib import Path

import numpy as np
import pytest

from kkori.codegen import assemble
from kkori.codegen.text import DOUBLE, FLOAT, I64, PTR, VOID, Module, number, type_of

ADDRESS, COUNT = ctypes.c_void_p, ctypes.c_int64


def run(module, name, result, kinds, *values):
    code = assemble.compile_text(str(module), [name], module.target)
    return code.function(name, result, *kinds)(*values)


@pytest.mark.parametrize("value", [0.1, -0.0, 1e30, 1e-42, 3.0, 0.0625, float("inf"), float("nan")])
@pytest.mark.parametrize("scalar", ["float", "double"])
def test_constants_are_exact(target, value, scalar):
    kind, native = (FLOAT, ctypes.c_float) if scalar == "float" else (DOUBLE, ctypes.c_double)
    module = Module(target)
    with module.function("f", kind, []) as f:
        f.ret(f.constant(value, kind))
    got = run(module, "f", native, [])
    expected = native(value).value
    assert np.array_equal([got], [expected], equal_nan=True)
    assert np.signbit(got) == np.signbit(expected)


def test_legible_constants():
    assert number(-0.5, "float") == "-0.5"
    assert number(3, "i32") == "3"
    assert number(0.1, "float").startswith("0x")


def test_sum_with_a_ragged_tail(target):
    lanes = target.lanes("float")
    kind = type_of("float", lanes)
    module = Module(target)
    with module.function("sum", FLOAT, [("x", PTR), ("n", I64)]) as f:
        x, n = f.arguments
        with f.loop(0, n, lanes, carried=[f.constant(0, kind)]) as loop:
            mask = f.tail_mask(n - loop.index, lanes)
            part = f.load(kind, f.offset(x, loop.index, "float"), mask)
            loop.carry(loop.carried[0] + part)
        f.ret(f.total(loop.results[0]))
    for count in (0, 1, lanes - 1, lanes, lanes + 1, 100):
        data = np.arange(1, count + 1, dtype=np.float32)
        got = run(module, "sum", ctypes.c_float, [ADDRESS, COUNT], data.ctypes.data, count)
        assert got == data.sum()


def test_masked_store_leaves_the_rest(target):
    lanes = target.lanes("double")
    module = Module(target)
    with module.function("fill", VOID, [("x", PTR), ("n", I64)]) as f:
        x, n = f.arguments
        f.store(f.constant(5, type_of("double", lanes)), x, f.tail_mask(n, lanes))
        f.ret()
    for count in range(lanes + 1):
        data = np.zeros(lanes + 1)
        run(module, "fill", None, [ADDRESS, COUNT], data.ctypes.data, count)
        assert data.tolist() == [5.0] * count + [0.0] * (lanes + 1 - count)


def test_nested_loops_and_branches(target):
    module = Module(target)
    with module.function("count", I64, [("n", I64)]) as f:
        (n,) = f.arguments
        with f.loop(0, n, carried=[f.constant(0, I64)], name="row") as rows:
            with f.loop(0, rows.index, carried=rows.carried, name="column") as columns:
                (seen,) = columns.carried
                even = f.compare("==", f.operate("%", columns.index, 2), 0)
                columns.carry(*f.when(even, [seen], lambda seen=seen: [seen + 1]))
            rows.carry(*columns.results)
        f.ret(rows.results[0])
    expected = sum(column % 2 == 0 for row in range(9) for column in range(row))
    assert run(module, "count", COUNT, [COUNT], 9) == expected


def test_operators_and_numbers(target):
    module = Module(target)
    with module.function("f", DOUBLE, [("x", DOUBLE), ("y", DOUBLE)]) as f:
        x, y = f.arguments
        f.ret(f.select(x > y, 1 - x / 2, f.fma(x, y, -y * 3.0 + 1)))
    for x, y in ((3.0, 2.0), (2.0, 3.0), (float("nan"), 1.0)):
        expected = 1 - x / 2 if x > y else x * y + (-y * 3.0 + 1)
        got = run(module, "f", ctypes.c_double, [ctypes.c_double] * 2, x, y)
        assert np.array_equal([got], [expected], equal_nan=True)


def test_values_of_different_types_do_not_mix(target):
    module = Module(target)
    with pytest.raises(AssertionError), \
            module.function("f", VOID, [("x", FLOAT), ("y", DOUBLE)]) as f:
        f.arguments[0] + f.arguments[1]


def test_the_example_of_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "codegen.md").read_text(encoding="utf-8")
    names = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1), names)
    x = np.linspace(-5, 5, 101).astype(np.float32)
    out = np.empty_like(x)
    run(names["module"], "softplus", None, [ADDRESS, ADDRESS, COUNT], x.ctypes.data,
        out.ctypes.data, x.size)
    np.testing.assert_allclose(out, [math.log1p(math.exp(value)) for value in x], rtol=1e-6)


@pytest.mark.parametrize("write, wanted", [
    (lambda f, n: n + 0, "%n"), (lambda f, n: 0 + n, "%n"), (lambda f, n: n - 0, "%n"),
    (lambda f, n: n * 1, "%n"), (lambda f, n: f.constant(6, I64) * 7 - 2, "40"),
    (lambda f, n: f.select(f.constant(3, I64) < 4, n, 5), "%n"),
    (lambda f, n: f.select(f.constant(4, I64) < 4, n, 5), "5")])
def test_what_is_known_is_not_written(write, wanted, target):
    module = Module(target)
    with module.function("f", VOID, [("n", I64)]) as f:
        assert write(f, f.arguments[0]).name == wanted
        assert not f.lines
        f.ret()


@pytest.mark.parametrize("write", [
    lambda f, n: 0 - n, lambda f, n: 1 - n, lambda f, n: n * 0,
    lambda f, n: f.constant(1 << 62, I64) * 4])
def test_what_is_not_known_is_written(write, target):
    module = Module(target)
    with module.function("f", VOID, [("n", I64)]) as f:
        write(f, f.arguments[0])
        assert len(f.lines) == 1
        f.ret()
