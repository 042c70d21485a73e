"""How a gamma number moves with its shape: -(dF/dshape) / pdf, F being the distribution function.

Three approximations share the plane (shape, number), as in PyTorch's `_standard_gamma_grad`: a
power series for small numbers, Rice's saddle point expansion for large shapes (M. Jankowiak and
F. Obermeyer 2018, appendix), and between them a rational function fitted to the exact values.
"""

from __future__ import annotations

import numpy as np

SMALL, LARGE = 0.8, 8.0  # numbers below, shapes above
TERMS = 5  # of the power series, after the first
PSI_SERIES = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
FIT = np.array([  # by powers of log(number / shape); four for the numerator, four below the line
    [0.16009398, -0.094634809, 0.025146376, -0.0030648343,
     1, 0.32668115, 0.10406089, 0.0014179084],
    [0.53487893, 0.1298071, 0.065735949, -0.0015649758,
     0.16639465, 0.020070113, -0.0035938915, -0.00058392623],
    [0.040121004, -0.0065914022, -0.0026286047, -0.0013441777,
     0.017050642, -0.0021309326, 0.00085092367, -1.5247877e-07]])


def gamma_gradient(shapes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """d number / d shape for gamma `numbers` of scale one, elementwise, in the type of `shapes`."""
    shape, x = np.broadcast_arrays(shapes.astype(np.float64), numbers.astype(np.float64))
    with np.errstate(all="ignore"):
        found = np.select([x < SMALL, shape > LARGE],
                          [_by_series(shape, x), _by_saddle_point(shape, x)], _by_fit(shape, x))
    return found.astype(shapes.dtype)


def _by_series(shape: np.ndarray, x: np.ndarray) -> np.ndarray:
    factor, below = np.ones_like(x), shape.copy()
    whole, inner = 1 / below, 1 / below**2
    for order in range(1, TERMS + 1):
        factor = factor * (-x / order)
        below = below + 1
        whole, inner = whole + factor / below, inner + factor / below**2
    power = x**shape
    slope = (np.log(x) - digamma(shape)) * (power * whole) - power * inner
    found = -slope / (x**(shape - 1) * np.exp(-x))
    return np.where(np.isnan(found), 0.0, found)


def digamma(x: np.ndarray) -> np.ndarray:
    """The logarithmic derivative of the gamma function, for positive numbers."""
    shift, x = np.zeros_like(x), x.copy()
    for _ in range(10):
        low = x < 10
        shift = np.where(low, shift - 1 / x, shift)
        x = np.where(low, x + 1, x)
    square, rest = 1 / (x * x), np.zeros_like(x)
    for coefficient in reversed(PSI_SERIES):
        rest = (rest + coefficient) * square
    return shift + np.log(x) - 0.5 / x - rest


def _by_saddle_point(shape: np.ndarray, x: np.ndarray) -> np.ndarray:
    near = (0.9 * shape <= x) & (x <= 1.1 * shape)
    above = (1 + 24 * shape * (1 + 12 * shape)) * (
        1440 * shape**2 + 6 * x * (53 - 120 * x) - 65 * x * x / shape + shape * (107 + 3600 * x))
    close = above / (1244160 * shape**4)
    apart, log_ratio = shape - x, np.log(x / shape)
    first = np.sqrt(8 * shape) / apart
    second = (-apart - shape * log_ratio) ** -1.5
    both = np.where(x < shape, first - second, first + second)
    slope = log_ratio * both - np.sqrt(2 / shape) * (shape + x) / apart**2
    stirling = 1 + 1 / (12 * shape) * (1 + 1 / (24 * shape))
    return np.where(near, close, -stirling * x * slope / np.sqrt(8 * shape))


def _by_fit(shape: np.ndarray, x: np.ndarray) -> np.ndarray:
    u, v = np.log(x / shape), np.log(shape)
    by_u = [FIT[0, i] + u * (FIT[1, i] + u * FIT[2, i]) for i in range(8)]
    above = by_u[0] + v * (by_u[1] + v * (by_u[2] + v * by_u[3]))
    below = by_u[4] + v * (by_u[5] + v * (by_u[6] + v * by_u[7]))
    return np.exp(above / below)
