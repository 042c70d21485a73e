"""Parameters as one long vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from kkori.nn.module import typename
from kkori.ops.move import cat
from kkori.tensor import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def _on_one_device(parameters: Iterable[Tensor]) -> list[Tensor]:
    found = list(parameters)
    if len({each.get_device() for each in found}) > 1:
        raise TypeError("Found two parameters on different devices, this is currently not "
                        "supported.")
    return found


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of all parameters, in order, as one 1-dim tensor."""
    return cat([each.view(-1) for each in _on_one_device(parameters)])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give the parameters the elements of `vec`, whose memory they then share."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {typename(vec)}")
    start = 0
    for parameter in _on_one_device(parameters):
        end = start + parameter.numel()
        parameter.data = vec[start:end].view_as(parameter).data
        start = end
