"""What random operations refuse, in PyTorch's words and in its order of checking."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors, random_streams
from kkori.core.meta import MetaArray

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
COMPLEX = frozenset({"complex64", "complex128"})
INTEGERS = frozenset({"uint8", "int8", "int16", "int32", "int64"})
DIGITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}  # bits of the fraction
LOWEST, LARGEST = -2**63, 2**63 - 1  # of a 64-bit integer
CPP_NAMES = {  # what C++ calls the types, in messages about bounds
    "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float", "float64": "double",
    "uint8": "unsigned char", "int8": "signed char", "int16": "short int", "int32": "int",
    "int64": "long int", "uint16": "short unsigned int", "uint32": "unsigned int",
    "uint64": "long unsigned int", "bool": "bool", "complex64": "c10::complex<float>",
    "complex128": "c10::complex<double>"}


def name_of(array: np.ndarray) -> str:
    """The name of an array's type (NumPy's own `dtype.name` takes microseconds)."""
    return types.of(array.dtype).name


def not_implemented(kernel: str, array: np.ndarray) -> NotImplementedError:
    return NotImplementedError(errors.message(
        f'"{kernel}" not implemented for \'{types.of(array.dtype).alias}\'',
        fix="use a floating type: x.float()"))


def check_kind(kernel: str, array: np.ndarray, known: frozenset[str]) -> None:
    """NotImplementedError where `kernel` has no version for the array's type."""
    if name_of(array) not in known:
        raise not_implemented(kernel, array)


def refused(text: str, *, fix: str = "") -> RuntimeError:
    return RuntimeError(errors.message(text, fix=fix))


def cpp_name(array: np.ndarray) -> str:
    return CPP_NAMES[name_of(array)]


LIMITS = {name: (float(info.min), float(info.max)) for name, info in (
    (name, types.finfo(types.named(name))) for name in ("float16", "float32", "float64"))}
LIMITS["bfloat16"] = (-3.3895313892515355e38, 3.3895313892515355e38)


def check_uniform(array: np.ndarray, low: float, high: float) -> None:
    """The bounds of ``uniform_``, checked in PyTorch's order."""
    if array.dtype.kind == "c":
        return
    check_kind("check_uniform_bounds", array, FLOATS)
    least, most = LIMITS[name_of(array)]
    for name, bound in (("from", low), ("to", high)):
        if not least <= bound <= most:
            raise refused(f"{name} is out of bounds for {cpp_name(array)}")
    if not low <= high:
        raise refused("uniform_ expects to return a [from, to) range, but found "
                      f"from={low:g} > to={high:g}", fix=f"x.uniform_({high:g}, {low:g})")
    if high - low > most:
        raise refused(f"uniform_ expects to-from <= std::numeric_limits<"
                      f"{types.of(array.dtype).alias}>::max(), but found to={high:g} and "
                      f"from={low:g} which result in to-from to exceed the limit")


def check_normal(array: np.ndarray, mean: float, std: float) -> None:
    if not std >= 0:
        raise refused(f"normal expects std >= 0.0, but found std {std:g}", fix="std=1.0")
    if array.size:
        check_kind("normal_kernel_cpu", array, FLOATS | COMPLEX)


def check_exponential(array: np.ndarray, rate: float) -> None:
    if not rate > 0:
        raise refused(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")
    if array.size and name_of(array) not in FLOATS:
        raise refused("Exponential distribution is a continuous probability distribution. dtype "
                      f"must be a floating point but you specified {types.of(array.dtype).alias}")


def check_cauchy(array: np.ndarray, median: float, sigma: float) -> None:
    if not sigma > 0:
        raise refused(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    if name_of(array) not in FLOATS:
        raise refused("Cauchy distribution is a continuous probability distribution. dtype must "
                      f"be a floating point but you specified {cpp_name(array)}")


def check_log_normal(array: np.ndarray, mean: float, std: float) -> None:
    if not std > 0:
        raise refused(f"log_normal_ expects std > 0.0, but found std={std:g}")
    if array.size:
        check_kind("log_normal_cpu", array, FLOATS)


def check_geometric(array: np.ndarray, p: float) -> None:
    if not 0 < p < 1:
        raise refused(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    if array.size:
        check_kind("geometric_cpu", array, FLOATS | INTEGERS)


def check_bernoulli(array: np.ndarray, p: float) -> None:
    if not 0 <= p <= 1:
        raise refused(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    if array.size:
        check_kind("bernoulli_scalar_cpu_", array, FLOATS | INTEGERS | {"bool"})


# ---- tensors of probabilities, places in memory

def check_overlap(array: np.ndarray) -> None:
    """RuntimeError where several elements (of an expanded tensor) are one place in memory."""
    for stride, length in zip(array.strides, array.shape, strict=True):
        if stride == 0 and length > 1:
            raise refused(
                "unsupported operation: more than one element of the written-to tensor refers "
                "to a single memory location. Please clone() the tensor before performing the "
                "operation.", fix="x = x.clone()")


def check_chances(array: np.ndarray, p: np.ndarray) -> None:
    check_kind("bernoulli_tensor_cpu_self_", array, FLOATS | INTEGERS | {"bool"})
    _check_expands(p.shape, array.shape)
    check_kind("bernoulli_tensor_cpu_p_", p, FLOATS)
    if not isinstance(p, MetaArray):
        if not ((p >= 0) & (p <= 1)).all():
            raise refused(
                "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (Could this error "
                "message be improved?  If so, please report an enhancement request to PyTorch.)",
                fix="give probabilities between 0 and 1: torch.bernoulli(torch.sigmoid(x))")


def _check_expands(shape: Any, wanted: Any) -> None:
    """RuntimeError where a tensor of `shape` cannot be expanded to `wanted`."""
    if len(shape) > len(wanted):
        raise refused(
            f"expand({{{', '.join(map(str, shape))}}}, size={{{', '.join(map(str, wanted))}}})"
            f": the number of sizes provided ({len(wanted)}) must be greater or equal to the "
            f"number of dimensions in the tensor ({len(shape)})")
    ahead = len(wanted) - len(shape)
    for axis in reversed(range(len(shape))):
        if shape[axis] not in (1, wanted[axis + ahead]):
            raise refused(
                f"The expanded size of the tensor ({wanted[axis + ahead]}) must match the "
                f"existing size ({shape[axis]}) at non-singleton dimension {axis + ahead}.  "
                f"Target sizes: {errors.of_shape(wanted)}.  Tensor sizes: "
                f"{errors.of_shape(shape)}")


# ---- ranges of whole numbers

def integer_range(array: np.ndarray, low: int, to: int | None) -> tuple[int, int]:
    """First number and number of numbers of ``random_(low, to)``; RuntimeError where none fits."""
    floating = name_of(array) in DIGITS
    if to is None and low == LOWEST:
        _check_full_range(array)
        return 0, 2**64
    if to is None:
        if floating:
            low, last = _up(low, array), 1 << DIGITS[name_of(array)]
            if low >= last:
                raise refused(
                    "random_ expects 'from' casted to dtype to be less than or equal"
                    f" to 'to_inc' casted to dtype, but got from={low} > to_inc={last}")
        else:
            last = _largest(array)
    else:
        if low >= to:
            raise refused(
                "random_ expects 'from' to be less than 'to', but got "
                f"from={low} >= to={to}", fix=f"the upper end must be at least {low + 1}")
        if floating:
            low, to = _up(low, array), _down(to, array)
            if low >= to:
                raise refused(
                    "random_ expects 'from' casted to dtype to be less than 'to' "
                    f"casted to dtype, but got from={low} >= to={to}")
        last = to - 1
    _check_bounds(array, low, last)
    return low, last - low + 1


def _check_full_range(array: np.ndarray) -> None:
    kernel = "random_full_64_bits_range_kernel_cpu"
    if array.size:
        check_kind(kernel, array, (FLOATS | INTEGERS) - {"float16"})
        if name_of(array) not in FLOATS | {"int64"}:
            raise refused(f"{kernel} handles only int64, double, float and bfloat16")


def _largest(array: np.ndarray) -> int:
    if array.dtype == bool:
        return 1
    if array.dtype.kind not in "iu":
        raise refused("random_from_to_impl handles only integral, floating-point and boolean types")
    if array.dtype == np.uint64:
        return -1  # PyTorch looks at it as a signed number
    return int(np.iinfo(array.dtype).max)


def _rounded(number: int, array: np.ndarray) -> int:
    """`number` as the array's type has it."""
    cell = np.empty((), array.dtype)
    random_streams.put(cell, np.array(number))
    value = float(cell)
    return int(value) if math.isfinite(value) else LOWEST


def _up(low: int, array: np.ndarray) -> int:
    """The next number from `low` that the type can tell from its neighbours."""
    near = _rounded(low + 1, array)
    if near < low:
        low = near + _step(low + 1, array)
    return low


def _down(to: int, array: np.ndarray) -> int:
    near = _rounded(to - 1, array)
    if near >= to:
        to = near - _step(to - 1, array)
    return to


def _step(number: int, array: np.ndarray) -> int:
    return 1 << (abs(number).bit_length() - DIGITS[name_of(array)])


def _check_bounds(array: np.ndarray, low: int, last: int) -> None:
    name = name_of(array)
    if array.dtype.kind == "c":
        raise refused("check_random_bounds handles only integral, floating-point and boolean types")
    least, most = (LIMITS[name] if name in DIGITS else (0, 1) if name == "bool" else
                   (0, LARGEST) if name == "uint64" else
                   (np.iinfo(array.dtype).min, np.iinfo(array.dtype).max))
    for word, bound in (("from", low), ("to - 1", last)):
        if not least <= bound <= most:
            raise refused(f"{word} is out of bounds for {cpp_name(array)}")
    for word, bound in (("from", low), ("to - 1", last)) if name in DIGITS else ():
        if abs(bound) > 1 << DIGITS[name]:
            warnings.warn(
                f"{word} is out of bounds [-(2^{DIGITS[name]}), 2^{DIGITS[name]}]. Due to "
                f"precision limitations {cpp_name(array)} can support discrete uniform "
                "distribution only within this range. This warning will become an error in "
                "version 1.7 release, please fix the code in advance", UserWarning, stacklevel=6)


def check_holds(array: np.ndarray, n: int) -> None:
    """RuntimeError where numbers below `n` are too many for the array's type."""
    name = name_of(array)
    if name in DIGITS:
        most = (1 << DIGITS[name]) + 1
        if n > most:
            raise refused(
                f"n cannot be greater than {most} for "
                f"{types.of(array.dtype).alias} type.")
    elif name in INTEGERS:
        if n - 1 > np.iinfo(array.dtype).max:
            raise refused(
                f"value cannot be converted to type {'u' * (name[0] == 'u')}int"
                f"{array.itemsize * 8}_t without overflow")
    check_kind("randperm", array, FLOATS | INTEGERS)


