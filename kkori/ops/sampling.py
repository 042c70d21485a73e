"""Samples of distributions whose parameters are tensors: bernoulli, normal, multinomial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.mode import switch
from kkori.core import dtype as types
from kkori.core import (
    errors,
    meta,
    random_choice,
    random_counts,
    random_normal,
    random_streams,
)
from kkori.core.gamma_gradient import gamma_gradient
from kkori.core.generator import Generator
from kkori.core.meta import MetaArray
from kkori.core.promise import peeked
from kkori.ops.random import OPTIONS, fill, new, source, zero
from kkori.ops.random_checks import (
    COMPLEX,
    FLOATS,
    check_bernoulli,
    check_chances,
    check_kind,
    check_normal,
    name_of,
    refused,
)
from kkori.ops.signature import Signatures, parsed
from kkori.ops.table import op, public, write
from kkori.tensor import Tensor, wrap

__all__ = ["bernoulli", "normal", "multinomial", "poisson", "binomial", "_standard_gamma",
           "_sample_dirichlet"]

PRECISE = frozenset({"float32", "float64"})
MOST_CATEGORIES = 2**24


def _finish(name: str, out: Tensor | None, result: Tensor) -> Tensor:
    """`result`, or `out` filled with it."""
    if out is None:
        return result
    if switch.on and result._requires_grad:
        raise RuntimeError(errors.message(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad.", fix="with torch.no_grad():"))
    return write(out, result)


def undefined(name: str) -> Callable[..., Any]:
    """The gradient rule of what PyTorch cannot differentiate either: an error in its words."""
    def rule(g: Any) -> Any:
        raise RuntimeError(f"derivative for aten::{name} is not implemented")
    return rule


# ---- bernoulli

def bernoulli_array(input: Any, generator: Any) -> Any:
    array = _empty(input.shape, input.dtype, input)
    if not isinstance(array, MetaArray):
        random_streams.bernoulli_each(generator, array, input)
    return array


def bernoulli_p_array(input: Any, p: Any, generator: Any) -> Any:
    array = _empty(input.shape, input.dtype, input)
    if not isinstance(array, MetaArray):
        random_streams.bernoulli(generator, array, p)
    return array


def _empty(shape: Any, kind: Any, like: np.ndarray) -> np.ndarray:
    return meta.empty(shape, kind) if isinstance(like, MetaArray) else np.empty(shape, kind)


_bernoulli = op("bernoulli", bernoulli_array, {"input": zero})
_bernoulli_p = op("bernoulli_p", bernoulli_p_array, {"input": undefined("bernoulli")},
                  node="NotImplemented")
_read_bernoulli = Signatures(
    "bernoulli(Tensor input, *, Generator generator=None, Tensor out=None)",
    "bernoulli(Tensor input, float p, *, Generator generator=None)")


@parsed(method=True)
def bernoulli(*args: Any, **options: Any) -> Tensor:
    """Ones with the probabilities that `input` holds (or with probability `p`), else zeros.

    RuntimeError for probabilities outside [0, 1].
    """
    number, values = _read_bernoulli(args, options)
    input, generator = values["input"], source(values)
    if number == 1:
        check_bernoulli(input._array, values["p"])
        return _bernoulli_p(input, values["p"], generator)
    out = values["out"]
    if input._array.size:
        check_chances(input._array, input._array)
    if out is not None and not (switch.on and input._requires_grad):
        if out._array.shape != input._array.shape:
            out.resize_(tuple(input._array.shape))
        return fill(out, "BernoulliBackward1", lambda array: random_streams.bernoulli_each(
            generator, array, input._array))
    return _finish("bernoulli", out, _bernoulli(input, generator))


# ---- normal

def normal_array(mean: Any, std: Any, generator: Any) -> Any:
    """Normal numbers with means and deviations that are broadcast; at least one is an array."""
    first = mean if isinstance(mean, np.ndarray) else std
    shape = np.broadcast_shapes(np.shape(mean), np.shape(std))
    samples = _empty(shape, first.dtype, first)
    if isinstance(samples, MetaArray):
        return samples
    scale = 1.0 if isinstance(std, np.ndarray) else std
    random_normal.normal(generator, samples, 0.0, scale)
    if isinstance(std, np.ndarray):
        np.copyto(samples, samples * std, casting="unsafe")
    added = samples + (samples.dtype.type(mean) if first is std else mean)
    return added.astype(samples.dtype, copy=False)


NORMALS = [op(f"normal_{ways}", normal_array, {"mean": zero, "std": zero}, node=node)
           for ways, node in (("tensor_tensor", "NormalBackward3"),
                              ("tensor_float", "NormalBackward1"),
                              ("float_tensor", "NormalBackward2"))]
_read_normal = Signatures(
    "normal(Tensor mean, Tensor std, *, Generator generator=None, Tensor out=None)",
    "normal(Tensor mean, float std=1, *, Generator generator=None, Tensor out=None)",
    "normal(float mean, Tensor std, *, Generator generator=None, Tensor out=None)",
    f"normal(float mean, float std, size size, *, Generator generator=None, {OPTIONS})")


@parsed
def normal(*args: Any, **options: Any) -> Tensor:
    """Normal numbers with the means `mean` and the deviations `std`; one may be a number.

    With two numbers a `size` is needed. RuntimeError for a negative deviation.

    >>> import kkori as torch
    >>> torch.normal(torch.tensor([0., 5.]), 0.0)
    tensor([0., 5.])
    """
    number, values = _read_normal(args, options)
    mean, std, generator = values["mean"], values["std"], source(values)
    if number == 3:
        def sample(tensor: Tensor) -> None:
            check_normal(tensor._array, mean, std)
            fill(tensor, "NormalBackward0",
                 lambda array: random_normal.normal(generator, array, mean, std))
        return new(values["size"], values, sample)
    _check_normal_tensors(mean, std)
    return _finish("normal", values["out"], NORMALS[number](mean, std, generator))


def _check_normal_tensors(mean: Any, std: Any) -> None:
    kind = mean._array if isinstance(mean, Tensor) else std._array
    if isinstance(std, Tensor):
        array = std._array
        if array.dtype.kind == "c":
            raise refused("normal expects standard deviation to be non-complex")
        if array.size and not isinstance(array, MetaArray) and not array.min() >= 0:
            raise refused("normal expects all elements of std >= 0.0")
    else:
        check_normal(kind[:0] if kind.ndim else kind.reshape(1)[:0], 0.0, std)
    if isinstance(mean, Tensor) and isinstance(std, Tensor):
        try:
            np.broadcast_shapes(mean._array.shape, std._array.shape)
        except ValueError:
            raise errors.not_broadcastable((mean._array.shape, std._array.shape)) from None
    if kind.size:
        check_kind("normal_kernel_cpu", kind, FLOATS | COMPLEX)


# ---- multinomial

_read_multinomial = Signatures(
    "multinomial(Tensor input, int num_samples, bool replacement=False, *, "
    "Generator generator=None, Tensor out=None)")


@parsed(method=True)
def multinomial(*args: Any, **options: Any) -> Tensor:
    """Indices of `num_samples` categories, drawn by the weights in each row of `input`.

    `input`: (categories) or (rows, categories), floating; the result is int64. RuntimeError for
    weights that are no distribution and for more samples than categories without `replacement`.
    """
    values = _read_multinomial.one(args, options)
    weights, count, out = peeked(values["input"]._array), values["num_samples"], values["out"]
    _check_multinomial(weights, count, values["replacement"], out)
    shape = (*weights.shape[:-1], count)
    if isinstance(weights, MetaArray):
        drawn: np.ndarray = meta.empty(shape, np.dtype(np.int64))
    elif 0 in shape:
        drawn = np.empty(shape, np.int64)
    else:
        drawn = random_choice.multinomial(source(values), weights, count, values["replacement"])
    return _finish("multinomial", out, wrap(drawn))


def _check_multinomial(weights: np.ndarray, count: int, again: bool, out: Tensor | None) -> None:
    if weights.ndim not in (1, 2):
        raise refused("prob_dist must be 1 or 2 dim")
    if name_of(weights) not in FLOATS:
        raise refused(
            "multinomial only supports floating-point dtypes for input, got: "
            + types.of(weights.dtype).alias, fix="weights.float()")
    if out is not None and out._array.dtype != np.int64:
        raise refused(
            "multinomial expects Long tensor out, got: "
            + out.dtype.alias)
    if count <= 0:
        raise refused("cannot sample n_sample <= 0 samples")
    if not again and count > weights.shape[-1]:
        raise refused(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement",
            fix="replacement=True")
    if weights.shape[-1] > MOST_CATEGORIES:
        raise refused("number of categories cannot exceed 2^24")


# ---- counts

def _drawn(function: Callable[..., np.ndarray], generator: Any, *arrays: Any) -> np.ndarray:
    """The samples of `function`; only their shape and type for meta tensors."""
    if isinstance(arrays[0], MetaArray):
        return meta.empty(arrays[0].shape, arrays[0].dtype)
    return function(generator, *arrays)


def poisson_array(input: Any, generator: Any) -> Any:
    return _drawn(random_counts.poisson, generator, input)


def binomial_array(count: Any, prob: Any, generator: Any) -> Any:
    return _drawn(random_counts.binomial, generator, *np.broadcast_arrays(count, prob))


def gamma_array(input: Any, generator: Any) -> Any:
    return _drawn(random_counts.gamma, generator, input)


def dirichlet_array(input: Any, generator: Any) -> Any:
    return _drawn(random_counts.dirichlet, generator, input)


_poisson = op("poisson", poisson_array, {"input": zero})
_binomial = op("binomial", binomial_array, dict.fromkeys(("count", "prob"), undefined("binomial")),
               node="NotImplemented")
_gamma_gradient = op("standard_gamma_grad", gamma_gradient)
_gamma = op("standard_gamma", gamma_array,
            {"input": lambda g, input, out: g * _gamma_gradient(input, out)})
_dirichlet = op("sample_dirichlet", dirichlet_array, {"input": undefined("_sample_dirichlet")},
                node="NotImplemented")

_read_poisson = Signatures("poisson(Tensor input, Generator generator=None)")
_read_binomial = Signatures("binomial(Tensor count, Tensor prob, Generator generator=None)")


@parsed
def poisson(*args: Any, **options: Any) -> Tensor:
    """Poisson numbers at the rates `input`, in its (floating) type.

    RuntimeError for negative rates.
    """
    values = _read_poisson.one(args, options)
    rates = values["input"]._array
    check_kind("poisson_cpu", rates, FLOATS)
    if not isinstance(rates, MetaArray):
        if not (rates >= 0).all():
            raise refused("invalid Poisson rate, expected rate to be non-negative")
    return _poisson(values["input"], source(values))


@parsed
def binomial(*args: Any, **options: Any) -> Tensor:
    """Successes in `count` trials of probability `prob` (both floating, of one type)."""
    values = _read_binomial.one(args, options)
    count, prob = values["count"], values["prob"]
    if name_of(count._array) not in FLOATS:
        raise ValueError("binomial only supports floating-point dtypes for count, got: "
                         + count.dtype.alias)
    if name_of(prob._array) not in FLOATS:
        raise ValueError("binomial only supports floating-point dtypes for prob, got: "
                         + prob.dtype.alias)
    if count.dtype is not prob.dtype:
        raise refused(f"Found dtype {prob.dtype.alias} but expected {count.dtype.alias}")
    check_kind("binomial_cpu", count._array, PRECISE)
    try:
        np.broadcast_shapes(count._array.shape, prob._array.shape)
    except ValueError:
        raise errors.not_broadcastable((count._array.shape, prob._array.shape)) from None
    return _binomial(count, prob, source(values))


@public(method=False, out=False)
def _standard_gamma(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma numbers of scale one and shapes `input` (float32 or float64)."""
    check_kind("gamma_cpu", input._array, PRECISE)
    return _gamma(input, source({"generator": generator}))


@public(method=False, out=False)
def _sample_dirichlet(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Points of a simplex for the concentrations in the last dimension."""
    check_kind("dirichlet", input._array, PRECISE)
    return _dirichlet(input, source({"generator": generator}))
