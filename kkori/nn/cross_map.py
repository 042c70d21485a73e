"""Local response normalisation as Lua Torch had it, window and gradient included."""

from __future__ import annotations

from typing import Any

from kkori.autograd.function import Function
from kkori.nn.layer import Layer
from kkori.ops.move import cat
from kkori.tensor import Tensor

__all__ = ["CrossMapLRN2d"]


class CrossMapLRN2d(Layer, shown="{size}, alpha={alpha}, beta={beta}, k={k}",
                    size=..., alpha=1e-4, beta=0.75, k=1):
    """x / (k + alpha / size * sum of squares over neighbouring channels)^beta, for (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        return _CrossMap.apply(input, self.size, self.alpha, self.beta, self.k)


class _CrossMap(Function):
    @staticmethod
    def forward(context: Any, input: Tensor, size: int, alpha: float, beta: float,
                k: float) -> Tensor:
        if input.dim() != 4:
            raise ValueError(
                f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead.")
        reach = int((size - 1) / 2 + 1)
        squares = input * input
        sums = _window(squares, reach - 1, 2 * reach - 1)
        sums[:, reach:] += squares[:, :1]  # the first channel never leaves the window
        scale = sums * (alpha / size) + k
        output = scale.pow(-beta) * input
        context.size, context.factor, context.beta = size, 2 * alpha * beta / size, beta
        context.save_for_backward(input, output, scale)
        return output

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, output, scale = context.saved_tensors
        size = context.size
        ratio = _window(gradient * output / scale, int(size - (size - 1) / 2), size)
        found = scale.pow(-context.beta) * gradient - context.factor * input * ratio
        return found, None, None, None, None


def _window(values: Tensor, before: int, length: int) -> Tensor:
    """Sums over the channels c - before ... c - before + length - 1 of each channel c."""
    channels = values.size(1)
    after = max(length - 1 - before, 0)
    edges = [values.new_zeros((values.size(0), count, *values.shape[2:]))
             for count in (before, after)]
    padded = cat([edges[0], values, edges[1]], 1)
    return sum(padded[:, shift:shift + channels] for shift in range(length))  # type: ignore
