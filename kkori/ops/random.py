"""Tensors filled with random numbers, which are PyTorch's: in place, and new ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kkori.autograd.mode import before_write, switch
from kkori.autograd.views import check_writable, overwrite
from kkori.core import device as devices
from kkori.core import dtype as types
from kkori.core import (
    errors,
    meta,
    random_integers,
    random_normal,
    random_streams,
)
from kkori.core.generator import Generator, current, default_generator, unsigned
from kkori.core.layout import contiguous_format
from kkori.core.meta import MetaArray
from kkori.ops.random_checks import (
    COMPLEX,
    FLOATS,
    LARGEST,
    check_bernoulli,
    check_cauchy,
    check_chances,
    check_exponential,
    check_geometric,
    check_holds,
    check_kind,
    check_log_normal,
    check_normal,
    check_overlap,
    check_uniform,
    integer_range,
    name_of,
    refused,
)
from kkori.ops.signature import Signatures, Values, parsed
from kkori.ops.table import TORCH, method, op
from kkori.tensor import Tensor, wrap

__all__ = [
    "Generator", "default_generator", "manual_seed", "seed", "initial_seed", "get_rng_state",
    "set_rng_state", "rand", "randn", "randint", "randperm", "rand_like", "randn_like",
    "randint_like"]

# ---- the default generator

def manual_seed(seed: Any) -> Generator:
    """Start the default stream that belongs to `seed` (``torch.manual_seed``); returns it.

    ValueError outside [-2**63, 2**64).

    >>> import kkori as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.rand(2)
    tensor([0.4963, 0.7682])
    """
    return current().manual_seed(unsigned(int(seed)))


def seed() -> int:
    """Start a stream nobody has seen; returns its seed (``torch.seed``)."""
    return current().seed()


def initial_seed() -> int:
    """The seed of the present default stream (``torch.initial_seed``)."""
    return current().initial_seed()


def get_rng_state() -> Tensor:
    """The default stream's state: 5056 bytes that PyTorch reads too (uint8)."""
    return get_state(current())


def set_rng_state(new_state: Tensor) -> None:
    """Continue the default stream from `new_state`. RuntimeError for a malformed one."""
    set_state(current(), new_state)


def get_state(self: Generator) -> Tensor:
    """The stream's state: a uint8 tensor of 5056 bytes that PyTorch reads too."""
    return wrap(self.state_bytes())


def set_state(self: Generator, new_state: Tensor) -> Generator:
    """Continue from `new_state`. TypeError if it is no ByteTensor, RuntimeError if malformed."""
    if not isinstance(new_state, Tensor):
        raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
    if new_state._array.dtype != np.uint8:
        raise TypeError("RNG state must be a torch.ByteTensor")
    self.load_state_bytes(np.ascontiguousarray(new_state._array))
    return self


Generator.get_state = get_state  # type: ignore[attr-defined]
Generator.set_state = set_state  # type: ignore[attr-defined]


TORCH.update({
    "manual_seed": manual_seed, "seed": seed, "initial_seed": initial_seed,
    "get_rng_state": get_rng_state, "set_rng_state": set_rng_state})


# ---- in-place fills

def zero(g: Any) -> Any:
    """What was overwritten by random numbers has no say in them."""
    return g * 0


def _tail(name: str, node: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A row that puts random `values` in the place of `input`, for tensors that are followed."""
    def values_of(input: Any, values: Any) -> Any:
        return values
    return op(name, values_of, {"input": zero}, node=node)


TAILS = {node: _tail(f"{node}_values", node) for node in (
    "UniformBackward0", "NormalBackward0", "ExponentialBackward0", "CauchyBackward0",
    "LogNormalBackward0", "GeometricBackward0", "RandomBackward0", "RandomBackward1",
    "RandomBackward2", "BernoulliBackward1", "BernoulliBackward2")}


def fill(tensor: Tensor, node: str, sample: Callable[[np.ndarray], None]) -> Tensor:
    """Let `sample` fill the tensor's array; its version counts it, its tail says `node`."""
    array = tensor._array
    follow = switch.on and tensor._requires_grad
    if follow:
        check_writable(tensor)
    if array.__class__ is MetaArray:
        return tensor
    before_write(tensor)
    array = tensor._array
    if not array.flags.c_contiguous:
        check_overlap(array)
    if follow:
        values = empty_like(array, array.dtype)
        sample(values)
        return overwrite(tensor, TAILS[node](tensor, wrap(values)))
    sample(array)
    tensor.shared_storage().version += 1
    return tensor


def source(values: Values) -> Generator:
    """The generator that was asked for, or the default one."""
    return values["generator"] or current()


Check = Callable[..., None]
Sample = Callable[..., None]
FILLS: dict[str, tuple[str, str, Check, Sample]] = {
    # name: (parameters, name of the node, check, sampling)
    "uniform_": ("float from=0, float to=1", "UniformBackward0",
                 check_uniform, random_streams.uniform),
    "normal_": ("float mean=0, float std=1", "NormalBackward0",
                check_normal, random_normal.normal),
    "exponential_": ("float lambd=1", "ExponentialBackward0",
                     check_exponential, random_streams.exponential),
    "cauchy_": ("float median=0, float sigma=1", "CauchyBackward0",
                check_cauchy, random_streams.cauchy),
    "log_normal_": ("float mean=1, float std=2", "LogNormalBackward0",
                    check_log_normal, random_normal.log_normal),
    "geometric_": ("float p", "GeometricBackward0", check_geometric, random_streams.geometric),
}


def _fill_method(name: str, parameters: str, node: str, check: Check, sample: Sample) -> None:
    read = Signatures(f"{name}({parameters}, *, Generator generator=None)")

    def call(self: Tensor, *args: Any, **options: Any) -> Tensor:
        values = read.one(args, options)
        generator = source(values)
        numbers = list(values.values())[:-1]
        check(self._array, *numbers)
        return fill(self, node, lambda array: sample(generator, array, *numbers))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = (sample.__doc__ or "") + f"\n\n    ``{read.texts[0]}``"
    method(call, name=name)


for _name, _row in FILLS.items():
    _fill_method(_name, *_row)


_bernoulli_fill = Signatures(
    "bernoulli_(Tensor p, *, Generator generator=None)",
    "bernoulli_(float p=0.5, *, Generator generator=None)")


@method
def bernoulli_(self: Tensor, *args: Any, **options: Any) -> Tensor:
    """Fill with ones of probability `p` (a number, or a tensor of one for each) and zeros."""
    number, values = _bernoulli_fill(args, options)
    p, generator = values["p"], source(values)
    if number == 1:
        check_bernoulli(self._array, p)
        return fill(self, "BernoulliBackward2",
                    lambda array: random_streams.bernoulli(generator, array, p))
    if not self._array.size:
        return self
    check_chances(self._array, p._array)
    return fill(self, "BernoulliBackward1",
                lambda array: random_streams.bernoulli_each(generator, array, p._array))


# ---- whole numbers

_random_fill = Signatures(
    "random_(*, Generator generator=None)",
    "random_(int from, int? to, *, Generator generator=None)",
    "random_(int to, *, Generator generator=None)")


@method
def random_(self: Tensor, *args: Any, **options: Any) -> Tensor:
    """Fill with whole numbers: below `to`, in [from, to), or all that the type can hold."""
    number, values = _random_fill(args, options)
    generator = source(values)
    if number == 0:
        if self._array.size:
            check_kind("random_kernel_cpu", self._array, frozenset(random_integers.FULL))
        return fill(self, "RandomBackward2",
                    lambda array: random_integers.random_all(generator, array))
    return fill_between(self, values.get("from", 0), values["to"], generator,
                        "RandomBackward0" if number == 1 else "RandomBackward1")


def fill_between(tensor: Tensor, low: int, to: int | None, generator: Generator,
                 node: str = "RandomBackward0") -> Tensor:
    """Fill with whole numbers from `low` up to before `to`; None: up to what the type holds."""
    start, span = integer_range(tensor._array, low, to)
    return fill(tensor, node,
                lambda array: random_integers.random_between(generator, array, start, span))


# ---- new tensors

OPTIONS = ("Tensor out=None, dtype dtype=None, layout layout=None, device device=None, "
           "bool pin_memory=False, bool requires_grad=False")
LIKE = ("dtype dtype=None, layout layout=None, device device=None, bool pin_memory=False, "
        "bool requires_grad=False, format memory_format=None")


def new(shape: tuple[int, ...], values: Values, sample: Callable[[Tensor], Any],
        usual: types.dtype | None = None) -> Tensor:
    """A tensor of `shape` with the options in `values` (or its ``out``), filled by `sample`."""
    dtype, out = values["dtype"], values["out"]
    if out is not None:
        return _into(out, shape, dtype, sample)
    dtype = dtype or usual or types.get_default_dtype()
    place = devices.resolve(values["device"])
    tensor = wrap(empty(shape, dtype.numpy, place))
    _check_followable(tensor, values)
    sample(tensor)
    tensor._requires_grad = values["requires_grad"]
    return tensor


def empty(shape: tuple[int, ...], kind: np.dtype, place: devices.device) -> np.ndarray:
    if place.type == "meta":
        return meta.empty(shape, kind)
    if math.prod(shape) * kind.itemsize > LARGEST:
        raise RuntimeError("Storage size calculation overflowed with sizes="
                           f"{errors.of_shape(shape)}")
    try:
        return np.empty(shape, kind)
    except MemoryError:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
            f"memory: you tried to allocate {math.prod(shape) * kind.itemsize} bytes. Error code "
            "12 (Cannot allocate memory)") from None


def empty_like(array: np.ndarray, kind: np.dtype) -> np.ndarray:
    """An empty array laid out in memory as `array` is, but without gaps."""
    if isinstance(array, MetaArray):
        return meta.empty(array.shape, kind)
    if array.flags.c_contiguous:
        return np.empty(array.shape, kind)
    axes = random_streams.stream_axes(array)
    dense = np.empty([array.shape[axis] for axis in axes], kind)
    return dense.transpose(np.argsort(axes))


def _check_followable(tensor: Tensor, values: Values) -> None:
    if values["requires_grad"] and name_of(tensor._array) not in FLOATS | COMPLEX:
        raise RuntimeError(errors.message(
            "Only Tensors of floating point and complex dtype can require gradients",
            fix="dtype=torch.float32"))


def _into(out: Tensor, shape: tuple[int, ...], dtype: types.dtype | None,
          sample: Callable[[Tensor], Any]) -> Tensor:
    if dtype is not None and dtype is not out.dtype:
        raise RuntimeError(errors.message(
            f"dtype {dtype.alias} does not match dtype of out parameter ({out.dtype.alias})"))
    if tuple(out._array.shape) != shape:
        if out._requires_grad:
            raise refused("cannot resize variables that require grad")
        out.resize_(shape)
    sample(out)
    return out


def plain_size(args: tuple[Any, ...]) -> tuple[int, ...] | None:
    """The size in ``rand(2, 3)`` or ``rand((2, 3))``; None where it takes a closer look."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    elif not args:
        return None
    for length in args:
        if length.__class__ is not int or length < 0:
            return None
    return args


def _factory_method(name: str, doc: str, check: Check, sample: Sample) -> Any:
    """`rand` and `randn`: a shape, and numbers between 0 and 1 or around 0."""
    read = Signatures(
        f"{name}(size size, *, Generator? generator, {OPTIONS})",
        f"{name}(size size, *, {OPTIONS})")

    def call(*args: Any, **options: Any) -> Tensor:
        size = None if options else plain_size(args)
        if size is not None and devices.default() is devices.CPU:  # the same, in a hurry
            array = empty(size, types.get_default_dtype().numpy, devices.CPU)
            sample(current(), array)
            return wrap(array)
        values = read(args, options)[1]
        generator = values.get("generator") or current()

        def make(tensor: Tensor) -> None:
            check(tensor._array, 0.0, 1.0)
            fill(tensor, TAIL_OF[name], lambda array: sample(generator, array))

        return new(values["size"], values, make)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    return parsed(call)


TAIL_OF = {"rand": "UniformBackward0", "randn": "NormalBackward0"}
rand = _factory_method(
    "rand", """Uniform numbers in [0, 1) in a new tensor of `size` (``torch.rand``).

    >>> import kkori as torch
    >>> torch.rand(2, 3).shape
    torch.Size([2, 3])
    """, check_uniform, random_streams.uniform)
randn = _factory_method(
    "randn", """Standard normal numbers in a new tensor of `size` (``torch.randn``).

    >>> import kkori as torch
    >>> torch.randn(2, 3, dtype=torch.float64).dtype
    torch.float64
    """, check_normal, random_normal.normal)

_randint = Signatures(
    f"randint(int high, size size, *, Generator generator=None, {OPTIONS})",
    f"randint(int low, int high, size size, *, Generator generator=None, {OPTIONS})")


@parsed
def randint(*args: Any, **options: Any) -> Tensor:
    """Whole numbers in [low, high) in a new tensor of `size` (int64 unless `dtype` is given).

    >>> import kkori as torch
    >>> torch.randint(0, 1, (3,))
    tensor([0, 0, 0])
    """
    values = _randint(args, options)[1]
    generator = source(values)
    return new(values["size"], values, lambda tensor: fill_between(
        tensor, values.get("low", 0), values["high"], generator), types.int64)


_randperm = Signatures(
    f"randperm(int n, *, Generator? generator, {OPTIONS})", f"randperm(int n, *, {OPTIONS})")


@parsed
def randperm(*args: Any, **options: Any) -> Tensor:
    """The whole numbers below `n` in random order (int64 unless `dtype` is given).

    RuntimeError where the type cannot hold them.
    """
    values = _randperm(args, options)[1]
    n, generator = values["n"], values.get("generator") or current()
    if n < 0:
        raise refused(f"Trying to create tensor with negative dimension {n}: [{n}]")

    def sample(tensor: Tensor) -> None:
        array = tensor._array
        if isinstance(array, MetaArray):
            return
        check_holds(array, n)
        order = random_integers.permutation(generator, n)
        fill(tensor, "RandomBackward0", lambda target: random_streams.put(target, order))

    return new((n,), values, sample, types.int64)


def _like_method(name: str, parameters: str, doc: str, sample: Callable[..., Any]) -> Any:
    """`rand_like` and its kin: shape, type and layout of another tensor unless told otherwise."""
    read = Signatures(*(
        f"{name}({way}, *, {generator}{LIKE})" for way in parameters.split(" | ")
        for generator in ("Generator? generator, ", "")))

    def call(*args: Any, **options: Any) -> Tensor:
        values = read(args, options)[1]
        input = values["input"]
        tensor = wrap(_array_like(input, values))
        _check_followable(tensor, values)
        sample(tensor, values, values.get("generator") or current())
        tensor._requires_grad = values["requires_grad"]
        return tensor

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    return parsed(call)


def _array_like(input: Tensor, values: Values) -> np.ndarray:
    kind = (values["dtype"] or input.dtype).numpy
    place = input.device if values["device"] is None else devices.resolve(values["device"])
    if place.type == "meta":
        return meta.empty(input._array.shape, kind)
    if isinstance(input._array, MetaArray) or values["memory_format"] is contiguous_format:
        return np.empty(input._array.shape, kind)
    return empty_like(input._array, kind)


def _rand_like(tensor: Tensor, values: Values, generator: Generator) -> None:
    check_uniform(tensor._array, 0.0, 1.0)
    fill(tensor, "UniformBackward0", lambda array: random_streams.uniform(generator, array))


def _randn_like(tensor: Tensor, values: Values, generator: Generator) -> None:
    check_normal(tensor._array, 0.0, 1.0)
    fill(tensor, "NormalBackward0", lambda array: random_normal.normal(generator, array))


def _randint_like(tensor: Tensor, values: Values, generator: Generator) -> None:
    fill_between(tensor, values.get("low", 0), int(values["high"]), generator)


rand_like = _like_method(
    "rand_like", "Tensor input", "Uniform numbers in [0, 1), shaped and laid out as `input`.",
    _rand_like)
randn_like = _like_method(
    "randn_like", "Tensor input", "Standard normal numbers, shaped and laid out as `input`.",
    _randn_like)
randint_like = _like_method(
    "randint_like", "Tensor input, int high | Tensor input, int low, int high | "
    "Tensor input, Tensor high", "Whole numbers in [low, high), shaped and laid out as `input`.",
    _randint_like)
