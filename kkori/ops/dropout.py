"""Dropout in its four forms, and RReLU: activations met by random masks, as PyTorch draws them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.autograd.views import check_writable, overwrite
from kkori.core import dtype as types
from kkori.core import errors, meta, random_streams
from kkori.core.generator import Generator, current
from kkori.core.meta import MetaArray
from kkori.ops.elementwise import add, mul, where
from kkori.ops.random import empty_like, source
from kkori.ops.random_checks import FLOATS, name_of, not_implemented, refused
from kkori.ops.signature import Signatures, parsed
from kkori.ops.table import TORCH, op
from kkori.tensor import Tensor, wrap

__all__ = ["drop", "rrelu", "rrelu_", "native_dropout"]

SELU_LIMIT = 1.7580993408473766  # -alpha * scale of SELU: where dropped units go


def drop(input: Tensor, p: float, *, inplace: bool = False, features: bool = False,
         alpha: bool = False) -> Tensor:
    """`input` with zeros (or, for `alpha`, SELU's limit) at random places, the rest rescaled.

    `features` drops whole channels. This is what ``torch.dropout`` and its kin do when training.
    """
    if not 0 <= p <= 1:
        raise refused(f"dropout probability has to be between 0 and 1, but got {p:g}", fix="p=0.5")
    if p == 0:
        return input
    array = input._array
    if inplace and switch.on and input._requires_grad:
        check_writable(input)
    if p == 1:
        return _times(input, wrap(_zero(array)), inplace)
    _check_type(array)
    gain, shift = _levels(array, p, alpha)
    mask = _mask(array, p, features)
    result = _times(input, wrap(_chosen(mask, gain)), inplace)
    if not alpha:
        return result
    offsets = wrap(_chosen(mask, shift))
    return result.add_(offsets) if inplace else add(result, offsets)


def _times(input: Tensor, noise: Tensor, inplace: bool) -> Tensor:
    return input.mul_(noise) if inplace else mul(input, noise)


def _zero(array: np.ndarray) -> np.ndarray:
    kind = array.dtype
    return meta.empty((), kind) if isinstance(array, MetaArray) else np.zeros((), kind)


def _check_type(array: np.ndarray) -> None:
    if array.dtype.kind == "c":
        raise not_implemented("bernoulli_scalar_cpu_", array)
    if name_of(array) not in FLOATS:
        raise errors.no_cast(types.get_default_dtype(), types.of(array.dtype))


def _levels(array: np.ndarray, p: float, alpha: bool) -> tuple[np.ndarray, np.ndarray]:
    """What dropped and kept elements are multiplied by, and what is added to them.

    Reckoned in the array's own type, rounding after every step, as PyTorch does it.
    """
    keep = np.array([0, 1], array.dtype)
    work = np.float32 if name_of(array) in random_streams.HALVES else array.dtype.type
    if not alpha:
        return (keep / work(1 - p)).astype(array.dtype), keep
    scale = 1.0 / math.sqrt((SELU_LIMIT * SELU_LIMIT * p + 1) * (1 - p))
    shift = keep - keep[1]
    for step, number in ((np.multiply, SELU_LIMIT * scale), (np.add, SELU_LIMIT * scale * p)):
        shift = step(shift, work(number)).astype(array.dtype)
    return (keep * work(scale)).astype(array.dtype), shift


def _mask(array: np.ndarray, p: float, features: bool) -> np.ndarray:
    """True where an element (or a channel) is kept."""
    kind = np.dtype(bool)
    if not features:
        mask = empty_like(array, kind)
    elif array.ndim >= 2:
        shape = (*array.shape[:2], *(1,) * (array.ndim - 2))
        mask = meta.empty(shape, kind) if isinstance(array, MetaArray) else np.empty(shape, kind)
    else:
        raise refused("Feature dropout requires at least 2 dimensions in the input")
    if not isinstance(mask, MetaArray):
        random_streams.bernoulli(current(), mask, 1 - p)
    return mask


def _chosen(mask: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The second of two `levels` where `mask` holds, else the first."""
    if isinstance(mask, MetaArray):
        return meta.empty(mask.shape, levels.dtype)
    if levels[0] == 0:
        return np.multiply(mask, levels[1])
    return np.where(mask, levels[1], levels[0])


DROPS = {  # name: how it drops, in words
    "dropout": ({}, "Zero elements with probability `p`, scale the rest by 1 / (1 - p)."),
    "feature_dropout": ({"features": True}, "Zero whole channels (dimension 1) at random."),
    "alpha_dropout": ({"alpha": True}, "Dropout that keeps mean 0 and variance 1 after SELU."),
    "feature_alpha_dropout": ({"features": True, "alpha": True}, "The same for whole channels."),
}


def _drop_function(name: str, ways: dict[str, bool], doc: str) -> None:
    for spelled, inplace in ((name, False), (f"{name}_", True)):
        read = Signatures(f"{spelled}(Tensor input, float p, bool train)")
        parsed(_drop_call(spelled, read, ways, inplace, doc))


def _drop_call(name: str, read: Signatures, ways: dict[str, bool], inplace: bool,
               doc: str) -> Callable[..., Tensor]:
    def call(*args: Any, **options: Any) -> Tensor:
        values = read.one(args, options)
        p = values["p"]
        if values["train"]:
            return drop(values["input"], p, inplace=inplace, **ways)
        if not 0 <= p <= 1:
            raise refused(f"dropout probability has to be between 0 and 1, but got {p:g}")
        return values["input"]
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{doc} Nothing is dropped unless `train`."
    return call


for _name, (_ways, _doc) in DROPS.items():
    _drop_function(_name, _ways, _doc)
dropout = TORCH["dropout"]


_read_native = Signatures("native_dropout(Tensor input, float p, bool? train)")


@parsed
def native_dropout(*args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """What ``dropout`` does, with the mask (bool) as a second result."""
    values = _read_native.one(args, options)
    input, p = values["input"], values["p"]
    array = input._array
    mask = np.ones(array.shape, bool)
    if values["train"] is False or p == 0:
        return mul(input, 1.0), wrap(mask)
    random_streams.bernoulli(current(), mask, 1 - p)
    scale = 0.0 if p == 1 else 1.0 / (1.0 - p)
    return mul(mul(input, wrap(mask)), scale), wrap(mask)


# ---- RReLU

def rrelu_with_noise_array(input: Any, noise: Any, slope: Any) -> Any:
    """`input` times `noise` while training, else negative numbers times `slope`."""
    if slope is None:
        return input * noise
    return np.where(input > 0, input, input * input.dtype.type(slope))


def rrelu_gradient(g: Tensor, input: Tensor, noise: Any, slope: Any) -> Tensor:
    return g * noise if slope is None else where(input > 0, g, g * slope)  # type: ignore[operator]


_rrelu = op("rrelu_with_noise", rrelu_with_noise_array, {"input": rrelu_gradient})
_read_rrelu = {name: Signatures(
    f"{name}(Tensor input, Scalar lower=0.125, Scalar upper=0.3333333333333333, "
    "bool training=False, *, Generator generator=None)") for name in ("rrelu", "rrelu_")}


@parsed
def rrelu(*args: Any, **options: Any) -> Tensor:
    """Negative numbers times a random slope in [lower, upper), or times the mean slope.

    RuntimeError where `lower` is above `upper`. (Xu et al. 2015)
    """
    return _rrelu_of(**_read_rrelu["rrelu"].one(args, options))


@parsed
def rrelu_(*args: Any, **options: Any) -> Tensor:
    """In-place form of ``rrelu``."""
    values = _read_rrelu["rrelu_"].one(args, options)
    return overwrite(values["input"], _rrelu_of(**values))


def _rrelu_of(input: Tensor, lower: float, upper: float, training: bool,
              generator: Generator | None) -> Tensor:
    if lower > upper:
        raise refused("Lower bound should be less than or equal to the upper bound")
    array = input._array
    if name_of(array) not in FLOATS:
        raise not_implemented("rrelu_with_noise_out_cpu", array)
    if not training:
        return _rrelu(input, None, (lower + upper) / 2)
    noise = _slopes(array, float(lower), float(upper), source({"generator": generator}))
    return _rrelu(input, wrap(noise), None)


def _slopes(array: np.ndarray, lower: float, upper: float, generator: Generator) -> np.ndarray:
    """A slope for each number that is not positive, drawn in row-major order; else 1."""
    if isinstance(array, MetaArray):
        return meta.empty(array.shape, array.dtype)
    work = np.float64 if array.dtype == np.float64 else np.float32
    low, high = float(work(lower)), float(work(upper))
    noise = np.ones(array.shape, work)
    chosen = array <= 0
    noise[chosen] = random_streams.unit64(generator, int(chosen.sum())) * (high - low) + low
    return noise.astype(array.dtype)
