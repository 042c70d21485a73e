"""What is asked of every row of the op table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from table import Row

import kkori

FIGURES = Path(__file__).parent / "figures.json"
DIGITS = {"float64": 12, "complex128": 12}  # kept in the figures; 6 for smaller types
TOLERANCE = {"float64": 1e-9, "complex128": 1e-9}


def tensors(library: Any, value: Any, follow: bool = False) -> Any:
    """`value` with every array in it as a tensor; floating ones followed by gradients."""
    if isinstance(value, np.ndarray):
        tensor = library.from_numpy(np.array(value))
        return tensor.requires_grad_() if follow and value.dtype == np.float64 else tensor
    if isinstance(value, dict):
        return {key: tensors(library, part, follow) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([tensors(library, part, follow) for part in value])
    return value


def leaves(value: Any) -> list[Any]:
    """The tensors (or plain results) in nested results."""
    if isinstance(value, dict):
        return leaves(list(value.values()))
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in leaves(part)]
    return [] if value is None else [value]


def run(library: Any, row: Row, probe: str, follow: bool = False) -> Any:
    """The operation on a probe; the result as it comes."""
    args, options = row.args(probe)
    return row.call(library, tensors(library, args, follow), tensors(library, options, follow))


def plain(result: Any) -> Any:
    """One result as a NumPy array, or itself if it is not a tensor."""
    return result.detach().resolve_conj().numpy() if hasattr(result, "detach") else result


# Figures: what PyTorch gives, as JSON.

def figure(library: Any, row: Row, probe: str) -> Any:
    """Shapes, types and values of the results; or the error and its first line."""
    try:
        found = leaves(run(library, row, probe))
    except ImportError:
        raise  # says what the machine lacks, not what the library does
    except Exception as error:
        return {"error": type(error).__name__, "line": str(error).split("\n")[0]}
    return [as_json(plain(result)) for result in found]


def as_json(array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        return array
    digits = DIGITS.get(array.dtype.name, 6)
    values = array.reshape(-1)
    if array.dtype.kind == "c":
        values = np.stack([values.real, values.imag], 1).reshape(-1)
    if array.dtype.kind in "fc":
        numbers: list[Any] = [float(f"{value:.{digits}g}") for value in values.tolist()]
    else:
        numbers = values.tolist()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "values": numbers}


def read_figures() -> dict[str, Any]:
    return json.loads(FIGURES.read_text())


def check_figure(found: Any, expected: Any) -> None:
    """Equal, apart from rounding."""
    if isinstance(expected, dict) or not isinstance(found, list):
        assert found == expected
        return
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        if not isinstance(theirs, dict):
            assert ours == theirs
            continue
        assert (ours["dtype"], ours["shape"]) == (theirs["dtype"], theirs["shape"])
        tolerance = TOLERANCE.get(theirs["dtype"], 2e-5)
        for a, b in zip(ours["values"], theirs["values"], strict=True):
            assert math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) or (
                a == b or math.isnan(a) and math.isnan(b)), (ours["values"], theirs["values"])


def check_values(row: Row, probe: str, expected: Any) -> None:
    """Values, types, shapes and errors are PyTorch's, or those of the row's own formula."""
    if row.expected is not None:
        args, _ = row.args(probe)
        with np.errstate(all="ignore"):
            wanted = np.asarray(row.expected(*args))
        np.testing.assert_allclose(plain(run(kkori, row, probe)), wanted, rtol=1e-6, atol=1e-12)
        return
    check_figure(figure(kkori, row, probe), expected)


# Derivatives, against differences.

def has_slopes(row: Row, probe: str) -> bool:
    """Whether the inputs are float64 and finite: only then differences say anything."""
    numbers = [part for part in leaves(list(row.args(probe))) if isinstance(part, np.ndarray)]
    floating = [part for part in numbers if part.dtype.kind == "f"]
    return bool(floating) and all(
        part.dtype == np.float64 and np.isfinite(part).all() for part in floating)


def finite(figure: Any) -> bool:
    """Whether all numbers of a figure are."""
    return all(math.isfinite(value) for part in figure if isinstance(part, dict)
               for value in part["values"])


class Slope:
    """The operation along a line through a probe, for derivatives."""

    def __init__(self, row: Row, probe: str) -> None:
        self.row, self.stream = row, np.random.RandomState(5)
        self.args, self.options = row.args(probe)
        self.points = [part for part in leaves([self.args, self.options])
                       if isinstance(part, np.ndarray) and part.dtype == np.float64]
        self.ways = [self.stream.uniform(-1, 1, point.shape) for point in self.points]
        self.weights: list[Any] = []

    def at(self, step: float) -> tuple[Any, list[Any]]:
        """A weighted sum of the results at the probe plus `step` ways, and its inputs."""
        moved = iter([point + step * way
                      for point, way in zip(self.points, self.ways, strict=True)])

        def place(value: Any) -> Any:
            if isinstance(value, np.ndarray) and value.dtype == np.float64:
                return np.asarray(next(moved))
            if isinstance(value, dict):
                return {key: place(part) for key, part in value.items()}
            if isinstance(value, (list, tuple)):
                return type(value)([place(part) for part in value])
            return value
        args = tensors(kkori, place(self.args), follow=True)
        options = tensors(kkori, place(self.options), follow=True)
        found = leaves(self.row.call(kkori, args, options))
        inputs = [leaf for leaf in leaves([args, options])
                  if hasattr(leaf, "requires_grad") and leaf.requires_grad]
        return self.total(found), inputs

    def total(self, found: list[Any]) -> Any:
        results = [part for part in found if hasattr(part, "grad_fn") and part.requires_grad]
        while len(self.weights) < len(results):
            shape = results[len(self.weights)].shape
            self.weights.append(self.stream.uniform(-1, 1, shape))
        total: Any = 0.0
        for part, weight in zip(results, self.weights, strict=False):
            real = part.real + part.imag if part.is_complex() else part
            total = total + (real * kkori.tensor(weight)).sum()
        return total

    def first(self, step: float, create_graph: bool = False) -> tuple[Any, list[Any]]:
        """The slope along the way at a step, from gradients; and the inputs."""
        total, inputs = self.at(step)
        if not hasattr(total, "grad_fn") or not total.requires_grad:
            return 0.0, inputs
        grads = kkori.autograd.grad(total, inputs, create_graph=create_graph, allow_unused=True)
        slope: Any = 0.0
        for g, way in zip(grads, self.ways, strict=True):
            if g is not None:
                slope = slope + (g * kkori.tensor(way)).sum()
        return slope, inputs

    def second(self) -> float:
        """The slope of the slope, from gradients of gradients."""
        slope, inputs = self.first(0.0, create_graph=True)
        if not hasattr(slope, "requires_grad") or not slope.requires_grad:
            return 0.0
        grads = kkori.autograd.grad(slope, inputs, allow_unused=True)
        return sum(float((g * kkori.tensor(way)).sum())
                   for g, way in zip(grads, self.ways, strict=True) if g is not None)


def check_derivatives(row: Row, probe: str, step: float = 1e-6) -> None:
    """First and second derivatives agree with central differences in float64."""
    line = Slope(row, probe)
    slope = float(line.first(0.0)[0])
    rise = float(line.at(step)[0]) - float(line.at(-step)[0])
    assert math.isclose(slope, rise / (2 * step), rel_tol=1e-5, abs_tol=1e-6), "first derivative"
    bend = float(line.first(step)[0]) - float(line.first(-step)[0])
    assert math.isclose(line.second(), bend / (2 * step), rel_tol=1e-4, abs_tol=1e-5), \
        "second derivative"


# The same numbers elsewhere in memory, written in place, written to a given tensor.

def in_other_order(value: Any) -> Any:
    """Arrays with the same numbers, laid out in memory the other way round."""
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return np.asfortranarray(value)
    if isinstance(value, np.ndarray) and value.ndim == 1:
        wide = np.zeros((value.size, 2), value.dtype)
        wide[:, 0] = value
        return wide[:, 0]
    if isinstance(value, dict):
        return {key: in_other_order(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([in_other_order(part) for part in value])
    return value


def views(value: Any) -> Any:
    """Arrays as tensors without copying them."""
    if isinstance(value, np.ndarray):
        return kkori.from_numpy(value)
    if isinstance(value, dict):
        return {key: views(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([views(part) for part in value])
    return value


def same(found: Any, expected: Any) -> None:
    for ours, theirs in zip(leaves(found), leaves(expected), strict=True):
        np.testing.assert_allclose(plain(ours), plain(theirs), rtol=1e-6, atol=1e-12)


def check_strides(row: Row, probe: str) -> None:
    """Results do not depend on how the inputs lie in memory, and inputs are not changed."""
    args, options = row.args(probe)
    moved, before = in_other_order(args), [np.array(part) for part in leaves(args)
                                           if isinstance(part, np.ndarray)]
    found = row.call(kkori, views(moved), views(in_other_order(options)))
    same(found, run(kkori, row, probe))
    after = [part for part in leaves(moved) if isinstance(part, np.ndarray)]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new, old)


def check_meta(row: Row, probe: str) -> None:
    """Without numbers, the result has the shape and type that it has with them."""
    expected = leaves(run(kkori, row, probe))
    args, options = row.args(probe)
    found = leaves(row.call(kkori, without_numbers(args), without_numbers(options)))
    for ours, theirs in zip(found, expected, strict=True):
        if isinstance(theirs, kkori.Tensor):
            assert (ours.shape, ours.dtype, ours.is_meta) == (theirs.shape, theirs.dtype, True)


def without_numbers(value: Any) -> Any:
    """Arrays as tensors on the meta device."""
    if isinstance(value, np.ndarray):
        return kkori.from_numpy(np.array(value)).to("meta")
    if isinstance(value, dict):
        return {key: without_numbers(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([without_numbers(part) for part in value])
    return value


def in_place_form(row: Row) -> Any:
    return getattr(kkori.Tensor, row.name.partition(":")[0] + "_", None)


def check_in_place(row: Row, probe: str) -> None:
    """The in-place form leaves in the tensor what the plain form returns."""
    expected = run(kkori, row, probe)
    args, options = row.args(probe)
    made, named = tensors(kkori, args), tensors(kkori, options)
    target = made[0]
    if not fits(target, expected):
        return
    found = in_place_form(row)(target, *made[1:], **named)
    assert found is target
    same(target, expected)


def fits(target: Any, result: Any) -> bool:
    return (isinstance(target, kkori.Tensor) and isinstance(result, kkori.Tensor)
            and result.shape == target.shape and result.dtype is target.dtype)


def check_out(row: Row, probe: str) -> None:
    """`out=` is filled with what the function would return, and returned."""
    expected = run(kkori, row, probe)
    args, options = row.args(probe)
    target = kkori.empty(0, dtype=expected.dtype)
    found = row.call(kkori, tensors(kkori, args), {**tensors(kkori, options), "out": target})
    assert found is target
    same(target, expected)
