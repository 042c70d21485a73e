"""The text of a tensor: what `repr`, `print` and f-strings show, letter for letter PyTorch's.

A tensor's text is `prefix + values + suffixes`. The values are written in three moves, all on the
NumPy array: keep the edges if there are too many values, choose one number style for everything
that is kept (integers as `1.`, fixed point or scientific, and a common width), then lay the
written numbers out in rows. Nothing here touches the autograd graph.
"""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from kkori.core.promise import Promise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kkori.tensor import Tensor

__all__ = ["get_printoptions", "printoptions", "set_printoptions", "tensor_repr"]


class PrintOptions:
    """How many digits, values and columns a printed tensor may take."""

    __slots__ = ("edgeitems", "linewidth", "precision", "sci_mode", "threshold")

    def __init__(
        self,
        precision: int = 4,
        threshold: float = 1000,
        edgeitems: int = 3,
        linewidth: int = 80,
        sci_mode: bool | None = None,
    ) -> None:
        self.precision = precision
        self.threshold = threshold
        self.edgeitems = edgeitems
        self.linewidth = linewidth
        self.sci_mode = sci_mode


PRINT_OPTS = PrintOptions()

# What a named profile sets; `precision=` and its neighbours are applied after it.
PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Choose how tensors are printed (`torch.set_printoptions`).

    Args:
        precision: digits after the point of a floating-point number (4 at the start).
        threshold: a tensor with more values than this shows only its edges (1000).
        edgeitems: how many values each edge shows in every dimension (3).
        linewidth: columns a line may take (80).
        profile: `"default"`, `"short"` or `"full"`; the arguments above win over it.
        sci_mode: `True` and `False` force and forbid scientific notation; `None`, which every
            call that does not name it goes back to, lets the values decide.

    >>> import kkori as torch
    >>> torch.set_printoptions(precision=2)
    >>> torch.tensor([3.14159])
    tensor([3.14])
    >>> torch.set_printoptions(profile="default")
    """
    chosen = dict(PROFILES.get(profile, {})) if profile is not None else {}
    asked = {"precision": precision, "threshold": threshold}
    asked |= {"edgeitems": edgeitems, "linewidth": linewidth}
    chosen |= {name: value for name, value in asked.items() if value is not None}
    for name, value in chosen.items():
        setattr(PRINT_OPTS, name, value)
    PRINT_OPTS.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options in force, as keyword arguments that `set_printoptions` takes."""
    names = ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")
    return {name: getattr(PRINT_OPTS, name) for name in names}


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Print with these options inside a `with` block, and as before after it."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


def tensor_repr(tensor: Tensor, *, tensor_contents: str | None = None) -> str:
    """The text of `repr(tensor)`.

    `tensor_contents` stands in for the values when a subclass wants to write those itself.

    >>> import kkori as torch
    >>> print(tensor_repr(torch.tensor([1.0, 2.5])))
    tensor([1.0000, 2.5000])
    """
    from kkori.tensor import Tensor

    kind = type(tensor)
    parameter = _is_parameter(tensor)
    plain = kind is Tensor or (parameter and kind.__name__ == "Parameter")
    prefix = "tensor(" if plain else f"{kind.__name__}("
    contents = _contents(tensor, len(prefix)) if tensor_contents is None else tensor_contents
    text = _with_suffixes(prefix + contents, _suffixes(tensor), len(prefix))
    return f"Parameter({text})" if parameter and not plain else text


def _is_parameter(tensor: Tensor) -> bool:
    """Whether it is a Parameter; where `nn` was never imported there are none."""
    module = sys.modules.get("kkori.nn.parameter")
    return module is not None and isinstance(tensor, module.Parameter)


# --- values ---------------------------------------------------------------------------------------


def _contents(tensor: Tensor, indent: int) -> str:
    if tensor.is_meta:
        return "..."
    return array_text(_values(tensor), indent)


def _values(tensor: Tensor) -> np.ndarray:
    """The tensor's numbers in a type NumPy itself can compare and list."""
    array = tensor._array
    if isinstance(array, Promise):
        array = array.peek()
    return array if array.dtype.kind in "?biufc" else array.astype(np.float32)


def array_text(array: np.ndarray, indent: int) -> str:
    """Write an array's numbers as nested brackets, the first of which stands in column `indent`."""
    if array.size == 0:
        return "[]"
    shortened = array.size > PRINT_OPTS.threshold and array.ndim > 0
    if shortened and not PRINT_OPTS.edgeitems:
        return "[...]"
    gaps = [shortened and size > 2 * PRINT_OPTS.edgeitems for size in array.shape]
    texts, width = _written(_edges(array, gaps))
    return texts[0] if array.ndim == 0 else _nested(texts, array.shape, gaps, indent, width)


def _edges(array: np.ndarray, gaps: list[bool]) -> np.ndarray:
    """Only the first and the last values of the dimensions that get a gap."""
    edge = PRINT_OPTS.edgeitems
    for dim, gap in enumerate(gaps):
        if gap:
            size = array.shape[dim]
            array = array.take([*range(edge), *range(size - edge, size)], axis=dim)
    return array


def _written(values: np.ndarray) -> tuple[list[str], int]:
    """Every value as text, all in one style, and the columns that a value takes."""
    if values.dtype.kind != "c":
        style = _style(values)
        return style.write(values), style.width
    real, imaginary = _style(values.real), _style(values.imag)
    pairs = zip(real.write(values.real), imaginary.write(values.imag), strict=True)
    texts = [left + _signed(right) for left, right in pairs]
    return texts, real.width + imaginary.width + 1


def _signed(number: str) -> str:
    """An imaginary part as it follows a real one: its sign, its digits and `j`."""
    number = number.lstrip()
    return f"{number}j" if number[0] in "+-" else f"+{number}j"


class Style:
    """One way to write every value of a tensor: a `%` template and the width it pads to.

    Infinities and NaN take no point after them, so whole floats (`1.`) need a second template.
    """

    __slots__ = ("nonfinite", "template", "width")

    def __init__(self, template: str, width: int, nonfinite: str | None = None) -> None:
        self.template = template
        self.width = width
        self.nonfinite = nonfinite

    def write(self, values: np.ndarray) -> list[str]:
        finite, nonfinite = self.template, self.nonfinite
        numbers = values.ravel().tolist()
        if nonfinite is None or np.isfinite(values).all():
            return [finite % number for number in numbers]
        isfinite = math.isfinite
        return [(finite if isfinite(number) else nonfinite) % number for number in numbers]


def _style(values: np.ndarray) -> Style:
    """Choose the style for these values, the way PyTorch chooses it."""
    if values.dtype.kind == "f":
        return _float_style(values)
    width = max(len(str(values.min())), len(str(values.max())))
    return Style(f"%{width}s" if values.dtype.kind == "b" else f"%{width}d", width)


def _float_style(values: np.ndarray) -> Style:
    counted = values[np.isfinite(values) & (values != 0)].astype(np.float64)
    if counted.size == 0:
        return Style("%.0f.", 1, "%.0f")
    digits = PRINT_OPTS.precision
    if _scientific(counted):
        width = _widest(f"%.{digits}e", counted)
        return Style(f"%{width}.{digits}e", width)
    if (counted == np.ceil(counted)).all():
        width = _widest("%.0f.", counted)
        return Style(f"%{width - 1}.0f.", width, f"%{width}.0f")
    width = _widest(f"%.{digits}f", counted)
    return Style(f"%{width}.{digits}f", width)


def _scientific(counted: np.ndarray) -> bool:
    """Do the sizes of these finite numbers, none of them zero, ask for exponents?"""
    if PRINT_OPTS.sci_mode is not None:
        return PRINT_OPTS.sci_mode
    sizes = np.abs(counted)
    smallest, largest = float(sizes.min()), float(sizes.max())
    return largest / smallest > 1000.0 or largest > 1.0e8 or smallest < 1.0e-4


def _widest(template: str, counted: np.ndarray) -> int:
    """The columns of the longest text that `template` gives one of these numbers.

    Among numbers of one sign the text grows with the size, or, by its exponent, with the smallness;
    so the extremes of each sign are the only candidates.
    """
    below, above = counted[counted < 0], counted[counted > 0]
    candidates = [f(side) for side in (below, above) if side.size for f in (np.min, np.max)]
    return max(len(template % candidate) for candidate in candidates)


# --- layout ---------------------------------------------------------------------------------------


def _nested(
    texts: list[str], shape: tuple[int, ...], gaps: list[bool], indent: int, width: int
) -> str:
    """Put brackets around `texts`, from the innermost dimension outwards."""
    last = len(shape) - 1
    rows = _chunks(texts, _shown(shape[last], gaps[last]))
    blocks = [_row(row, gaps[last], indent + last, width) for row in rows]
    for dim in range(last - 1, -1, -1):
        joint = "," + "\n" * (last - dim) + " " * (indent + dim + 1)
        groups = _chunks(blocks, _shown(shape[dim], gaps[dim]))
        blocks = [f"[{joint.join(_with_gap(group, gaps[dim], '...'))}]" for group in groups]
    return blocks[0]


def _shown(size: int, gap: bool) -> int:
    return 2 * PRINT_OPTS.edgeitems if gap else size


def _chunks(texts: list[str], length: int) -> list[list[str]]:
    return [texts[start : start + length] for start in range(0, len(texts), length)]


def _with_gap(texts: list[str], gap: bool, dots: str) -> list[str]:
    edge = PRINT_OPTS.edgeitems
    return [*texts[:edge], dots, *texts[edge:]] if gap else texts


def _row(texts: list[str], gap: bool, indent: int, width: int) -> str:
    """One innermost row, broken into as many lines as the line width asks for."""
    per_line = max(1, math.floor((PRINT_OPTS.linewidth - indent) / (width + 2)))
    lines = [", ".join(line) for line in _chunks(_with_gap(texts, gap, " ..."), per_line)]
    joint = ",\n" + " " * (indent + 1)
    return f"[{joint.join(lines)}]"


# --- suffixes -------------------------------------------------------------------------------------


def _suffixes(tensor: Tensor) -> list[str]:
    """What is worth saying after the values: only what they do not show already."""
    suffixes = []
    if tensor.device.type != "cpu":
        suffixes.append(f"device='{tensor.device}'")
    if _size_is_news(tensor):
        suffixes.append(f"size={tuple(tensor.shape)}")
    if _dtype_is_news(tensor):
        suffixes.append(f"dtype={tensor.dtype}")
    node = tensor._node if isinstance(tensor._array, Promise) else tensor.grad_fn
    if node is not None:
        suffixes.append(f"grad_fn=<{node.name()}>")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    return suffixes


def _size_is_news(tensor: Tensor) -> bool:
    if tensor.is_meta:
        return True
    if tensor.numel() == 0:
        return tensor.dim() != 1
    return not PRINT_OPTS.edgeitems


def _dtype_is_news(tensor: Tensor) -> bool:
    """Would `tensor([...])`, typed in again, come out with another dtype?"""
    from kkori.core import dtype as dtypes

    default = dtypes.get_default_dtype()
    if tensor.is_meta or tensor.numel() == 0:
        return tensor.dtype != default
    return tensor.dtype not in (default, default.to_complex(), dtypes.int64, dtypes.bool_)


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Append suffixes, each on the same line if it still fits there."""
    pieces = [text]
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if used + len(suffix) + 2 > PRINT_OPTS.linewidth:
            pieces.append(",\n" + " " * indent + suffix)
            used = indent + len(suffix)
        else:
            pieces.append(", " + suffix)
            used += len(suffix) + 2
    return "".join(pieces) + ")"
