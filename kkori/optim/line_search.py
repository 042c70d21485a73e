"""A line search for points that satisfy the strong Wolfe conditions.

Nocedal and Wright, *Numerical Optimization*, algorithms 3.5 and 3.6, with PyTorch's constants and
order of evaluations, so that L-BFGS visits the same points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kkori.tensor import Tensor

__all__ = ["strong_wolfe"]


class Point(NamedTuple):
    """A place on the line: step, loss, gradient there, and slope along the line."""

    step: Any
    loss: float
    grad: Tensor
    slope: Any


def cubic_minimum(a: Point, b: Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """The minimum, within bounds, of the cubic with the losses and slopes of two points."""
    low, high = bounds or ((a.step, b.step) if a.step <= b.step else (b.step, a.step))
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.step - b.step)
    square = d1**2 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = square.sqrt()
    first, second = (a, b) if a.step <= b.step else (b, a)
    width = second.step - first.step
    fraction = (second.slope + d2 - d1) / (second.slope - first.slope + 2 * d2)
    return min(max(second.step - width * fraction, low), high)


class _Search:
    """The conditions, and the count of evaluations, of one search."""

    def __init__(self, evaluate: Callable, start: Point, limits: tuple[float, float, int]):
        self.evaluate = evaluate
        self.start = start
        self.decrease, self.curvature, self.longest = limits
        self.iterations = 0
        self.evaluations = 0

    def visit(self, step: Any) -> Point:
        self.evaluations += 1
        loss, grad, slope = self.evaluate(step)
        return Point(step, loss, grad, slope)

    def too_high(self, point: Point) -> bool:
        return point.loss > self.start.loss + self.decrease * point.step * self.start.slope

    def flat(self, point: Point) -> bool:
        return abs(point.slope) <= -self.curvature * self.start.slope


def _bracket(search: _Search, step: Any) -> tuple[list[Point], bool]:
    """Walks outwards until a minimum lies between two points, or one satisfies the conditions."""
    previous, point = search.start._replace(step=0), search.visit(step)
    while search.iterations < search.longest:
        rising = search.iterations > 1 and point.loss >= previous.loss
        if search.too_high(point) or rising:
            return [previous, point], False
        if search.flat(point):
            return [point], True
        if point.slope >= 0:
            return [previous, point], False
        nearest = point.step + 0.01 * (point.step - previous.step)
        step = cubic_minimum(previous, point, (nearest, point.step * 10))
        previous, point = point, search.visit(step)
        search.iterations += 1
    return [search.start._replace(step=0), point], False


def _inside(bracket: list[Point], stuck: bool) -> tuple[Any, bool]:
    """The next step to try, kept off the ends of the bracket; whether progress was too little."""
    step = cubic_minimum(bracket[0], bracket[1])
    low, high = min(p.step for p in bracket), max(p.step for p in bracket)
    margin = 0.1 * (high - low)
    if not min(high - step, step - low) < margin:
        return step, False
    if not (stuck or step >= high or step <= low):
        return step, True
    nearer_high = abs(step - high) < abs(step - low)
    return (high - margin if nearer_high else low + margin), False


def _zoom(search: _Search, bracket: list[Point], direction_norm: Any, tolerance: float) -> Point:
    """Narrows the bracket until its better end satisfies the conditions."""
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    stuck = done = False
    while not done and search.iterations < search.longest:
        if abs(bracket[1].step - bracket[0].step) * direction_norm < tolerance:
            break
        step, stuck = _inside(bracket, stuck)
        point = search.visit(step)
        search.iterations += 1
        if search.too_high(point) or point.loss >= bracket[low].loss:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        done = bool(search.flat(point))
        if not done and point.slope * (bracket[high].step - bracket[low].step) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
    return bracket[low]


def strong_wolfe(
    evaluate: Callable[[Any], tuple[float, Tensor, Any]],
    step: Any,
    direction: Tensor,
    loss: float,
    grad: Tensor,
    slope: Any,
    longest: int = 25,
    tolerance: float = 1e-9,
) -> tuple[float, Tensor, Any, int]:
    """Looks along ``direction`` for a point where the loss fell enough and the slope is small.

    Args:
        evaluate: gives loss, flat gradient and slope at a step.
        step: the first step to try.
        loss, grad, slope: what they are at step 0.

    Returns the loss, the gradient and the step found, and how often ``evaluate`` was called.
    """
    start = Point(0, loss, grad.clone(), slope)
    search = _Search(evaluate, start, (1e-4, 0.9, longest))
    bracket, done = _bracket(search, step)
    point = bracket[0] if done else _zoom(search, bracket, direction.abs().max(), tolerance)
    return point.loss, point.grad, point.step, search.evaluations
