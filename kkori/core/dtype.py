"""Element types: one row a dtype, with PyTorch's names on one side and NumPy's on the other."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["dtype", "finfo", "iinfo", "get_default_dtype", "set_default_dtype"]

BOOL, INTEGRAL, FLOATING, COMPLEX = range(4)  # PyTorch's promotion categories, in order


class dtype:
    """An element type, such as ``torch.float32``. There is one object a type: compare by ``is``."""

    __slots__ = ("name", "alias", "kind", "itemsize", "rank", "_numpy")

    def __init__(self, name: str, alias: str, kind: int, itemsize: int, rank: int) -> None:
        self.name, self.alias, self.kind, self.itemsize, self.rank = (
            name, alias, kind, itemsize, rank)
        self._numpy: Any = None

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype of the arrays that hold it (``bfloat16`` comes from ml_dtypes)."""
        if self._numpy is None:
            self._numpy = _numpy_type(self.name)
            BY_NUMBER[self._numpy.num] = self
        return self._numpy

    @property
    def is_floating_point(self) -> bool:
        return self.kind == FLOATING

    @property
    def is_complex(self) -> bool:
        return self.kind == COMPLEX

    @property
    def is_signed(self) -> bool:
        return self.name not in ("bool", "uint8", "uint16", "uint32", "uint64")

    def to_real(self) -> dtype:
        """The type of the real part: ``complex64`` gives ``float32``, real types themselves."""
        return REAL_OF.get(self.name, self)

    def to_complex(self) -> dtype:
        """The complex type whose parts have this type's precision."""
        return COMPLEX_OF.get(self.name, self if self.kind == COMPLEX else complex64)

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return named, (self.name,)


def _numpy_type(name: str) -> np.dtype:
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ImportError as error:
            raise ImportError("torch.bfloat16 needs ml_dtypes: pip install ml_dtypes") from error
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


BY_NAME: dict[str, dtype] = {}
BY_NUMBER: dict[int, dtype] = {}  # NumPy's type number -> dtype


def _row(name: str, alias: str, kind: int, itemsize: int, rank: int) -> dtype:
    row = BY_NAME[name] = dtype(name, alias, kind, itemsize, rank)
    if name != "bfloat16":
        BY_NUMBER[row.numpy.num] = row
    return row


# `rank` orders the types of one category for promotion; float16 and bfloat16 meet in float32.
bool_ = _row("bool", "Bool", BOOL, 1, 0)
uint8 = _row("uint8", "Byte", INTEGRAL, 1, 1)
int8 = _row("int8", "Char", INTEGRAL, 1, 1)
int16 = _row("int16", "Short", INTEGRAL, 2, 2)
int32 = _row("int32", "Int", INTEGRAL, 4, 3)
int64 = _row("int64", "Long", INTEGRAL, 8, 4)
uint16 = _row("uint16", "UInt16", INTEGRAL, 2, 2)
uint32 = _row("uint32", "UInt32", INTEGRAL, 4, 3)
uint64 = _row("uint64", "UInt64", INTEGRAL, 8, 4)
float16 = _row("float16", "Half", FLOATING, 2, 5)
bfloat16 = _row("bfloat16", "BFloat16", FLOATING, 2, 5)
float32 = _row("float32", "Float", FLOATING, 4, 6)
float64 = _row("float64", "Double", FLOATING, 8, 7)
complex64 = _row("complex64", "ComplexFloat", COMPLEX, 8, 8)
complex128 = _row("complex128", "ComplexDouble", COMPLEX, 16, 9)

for _twin in ("longlong", "ulonglong"):  # C's second name of a 64-bit integer, where it differs
    BY_NUMBER.setdefault(np.dtype(_twin).num, BY_NAME[np.dtype(_twin).name])

REAL_OF = {"complex64": float32, "complex128": float64}
COMPLEX_OF = {"float32": complex64, "float64": complex128, "float16": complex64}

ALIASES = {
    "bool": bool_, "half": float16, "float": float32, "double": float64, "short": int16,
    "int": int32, "long": int64, "cfloat": complex64, "cdouble": complex128,
}
OF_PYTHON = {bool: bool_, int: int64, float: float32, complex: complex64}


def named(name: str) -> dtype:
    """The dtype called `name`; pickles hold this call."""
    return BY_NAME[name]


def of(array_type: np.dtype) -> dtype:
    """The dtype of arrays of `array_type`; TypeError where PyTorch has none (text, objects)."""
    row = BY_NUMBER.get(array_type.num)
    if row is None:
        row = BY_NAME.get(array_type.name)
        if row is None or not row.numpy == array_type:
            raise TypeError(
                f"can't convert np.ndarray of type {array_type.type.__module__}."
                f"{array_type.type.__name__}. The only supported types are: float64, float32, "
                "float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, "
                "uint16, uint8, and bool.")
    return row


_default = [float32]


def get_default_dtype() -> dtype:
    """The floating type that new tensors of Python floats get (``torch.float32`` at start)."""
    return _default[0]


def set_default_dtype(d: dtype) -> None:
    """Make `d` the type of new floating tensors. TypeError unless `d` is a floating dtype."""
    if not isinstance(d, dtype):
        raise TypeError("invalid dtype object: only floating-point types are supported as the "
                        "default type")
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    _default[0] = d
    OF_PYTHON[float] = d
    OF_PYTHON[complex] = d.to_complex()


class finfo:
    """Limits of a floating type (of a complex type's parts): eps, max, min, tiny, resolution."""

    def __init__(self, type: dtype | None = None) -> None:
        row = type or get_default_dtype()
        if row.kind < FLOATING:
            raise TypeError(
                "torch.finfo() requires a floating point input type. Use torch.iinfo to handle "
                "'torch.finfo'")
        row = row.to_real()
        info = _ml_finfo(row) if row is bfloat16 else np.finfo(row.numpy)
        self.dtype, self.bits = row.name, row.itemsize * 8
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.smallest_normal)
        self.resolution = float(info.resolution)

    def __repr__(self) -> str:
        return (f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
                f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, "
                f"tiny={self.tiny:g}, dtype={self.dtype})")


def _ml_finfo(row: dtype) -> Any:
    import ml_dtypes
    return ml_dtypes.finfo(row.numpy)


class iinfo:
    """Limits of an integer type: bits, min, max."""

    def __init__(self, type: dtype) -> None:
        if type.kind != INTEGRAL:
            raise TypeError(
                "torch.iinfo() requires an integer input type. Use torch.finfo to handle "
                "'torch.iinfo'")
        info = np.iinfo(type.numpy)
        self.dtype, self.bits = type.name, info.bits
        self.min, self.max = int(info.min), int(info.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
