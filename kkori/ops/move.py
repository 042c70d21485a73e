"""Views and rearrangements: the same elements in another shape or order."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from kkori.autograd.mode import before_write, switch
from kkori.core import errors
from kkori.core.layout import CHANNELS_LAST_ORDER, contiguous_format, preserve_format
from kkori.core.promise import settle
from kkori.core.promotion import all_alike
from kkori.ops.table import METHODS, TORCH, method, not_a_tensor, op, public
from kkori.tensor import Tensor, dimension, share, wrap


def lengths(size: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given as ``f(2, 3)`` or as ``f((2, 3))``."""
    if len(size) == 1 and not isinstance(size[0], (int, np.integer)):
        found = size[0]
        if isinstance(found, Tensor):
            return tuple(found.tolist()) if found.ndim else (int(found),)
        return tuple(map(int, found))
    return tuple(map(int, size))


# Shape.

def fill_in(shape: Sequence[int], found: Sequence[int]) -> tuple[int, ...]:
    """`shape` with its -1 worked out; RuntimeError where the elements do not fit."""
    count, given = prod(found), prod(shape)
    if given < 0 and count % given == 0 and min(shape) == -1 and tuple(shape).count(-1) == 1:
        return tuple([-count // given if n == -1 else n for n in shape])
    for place, length in enumerate(shape):
        if length < -1:
            raise RuntimeError(errors.message(
                f"invalid shape dimension {length} at index {place} of shape "
                f"{errors.of_shape(shape)}",
                fix="a length is a positive number, or once -1: it is then worked out"))
    if -1 not in shape:
        if given != count:
            raise invalid_shape(shape, found)
        return tuple(shape)
    if list(shape).count(-1) > 1:
        raise RuntimeError(errors.message("only one dimension can be inferred"))
    if given or count:
        raise invalid_shape(shape, found)
    raise RuntimeError(errors.message(
        f"cannot reshape tensor of 0 elements into shape "
        f"{errors.of_shape(shape)} because the unspecified dimension size -1 "
        "can be any value and is ambiguous"))


def invalid_shape(shape: Sequence[int], found: Sequence[int]) -> RuntimeError:
    return RuntimeError(errors.message(
        f"shape '{errors.of_shape(shape)}' is invalid for input of size {prod(found)}",
        what=f"the tensor has shape {errors.of_shape(found)}",
        fix="let one length be worked out: x.reshape(-1, 1)"))


def reshape_array(input: Any, shape: Any) -> Any:
    """A view where the strides allow it, else a copy."""
    return input.reshape(shape)


def reshaped(g: Tensor, input_shape: tuple[int, ...]) -> Tensor:
    """`g` in another shape, for gradient rules; see `flipped`."""
    if switch.on or switch.tape is not None:
        return _reshape(g, input_shape)
    return wrap(g._array.reshape(input_shape))


RESHAPE_GRADIENT = {"input": reshaped}
_reshape = op("reshape", reshape_array, RESHAPE_GRADIENT, view="maybe", node="ViewBackward0")
_reshape_copied = op("reshape_copied", lambda input, shape: input.reshape(shape),
                     RESHAPE_GRADIENT, node="UnsafeViewBackward0")


def reshape_to(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`input` with its elements in `shape`, -1 worked out."""
    found = input._array.shape
    if -1 in shape or prod(shape) != prod(found):
        shape = fill_in(shape, found)
    return _reshape(input, shape)


@public(method=False, out=False)
def reshape(input: Tensor, shape: Any) -> Tensor:
    """The elements in row-major order in `shape`; a view where possible (``torch.reshape``)."""
    return reshape_to(input, lengths((shape,)))


@method(name="reshape")
def reshape_method(self: Tensor, *shape: Any, **named: Any) -> Tensor:
    """The elements in row-major order in `shape`; one length may be -1."""
    return reshape_to(self, lengths(shape or (named["shape"],)))


@method
def view(self: Tensor, *shape: Any, **named: Any) -> Tensor:
    """The same memory in another shape, or read as another dtype (``Tensor.view``)."""
    given = shape or (named.get("size", named.get("dtype")),)
    if hasattr(given[0], "itemsize") and not isinstance(given[0], (int, np.integer)):
        return view_as_type(self, given[0])
    wanted = fill_in(lengths(given), self._array.shape)
    if not self._array.flags.c_contiguous and not viewable(self._array, wanted):
        raise RuntimeError(errors.message(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."))
    return _reshape(self, wanted)


def viewable(array: Any, shape: tuple[int, ...]) -> bool:
    """Whether reshaping to `shape`, of as many elements, needs no copy: none of its dimensions
    spans two pieces of memory."""
    lengths = iter(shape)
    for piece in pieces_of(array):
        while piece > 1:
            length = next(lengths)
            if piece % length:
                return False
            piece //= length
    return True


def pieces_of(array: Any) -> list[int]:
    """How many elements neighbouring dimensions have that lie in memory like one."""
    found: list[int] = []
    outer = 0
    for length, step in zip(array.shape, array.strides, strict=True):
        if length == 1:
            continue
        if found and outer == length * step:
            found[-1] *= length
        else:
            found.append(length)
        outer = step
    return found


def view_as_type(input: Tensor, dtype: Any) -> Tensor:
    """The same bytes read as another type."""
    result = share(input)
    result._array = input._array.view(dtype.numpy)
    result._base = input._base or input
    return result


@method
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """The same memory in the shape of `other`."""
    if not isinstance(other, Tensor):
        raise not_a_tensor("view_as", "other", 1, other)
    return self.view(other.shape)


@method
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """The elements in the shape of `other`."""
    return reshape_to(self, other.shape)


@public(out=False)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions `start_dim` to `end_dim` as one (``torch.flatten``)."""
    shape = input._array.shape
    start, end = dimension(start_dim, len(shape)), dimension(end_dim, len(shape))
    if start > end:
        raise RuntimeError(errors.message(
            "flatten() has invalid args: start_dim cannot come after end_dim"))
    if not shape:
        return reshape_to(input, (1,))
    if start == end:
        return input
    return reshape_to(input, (*shape[:start], prod(shape[start:end + 1]), *shape[end + 1:]))


@public(out=False)
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dimension as several (``torch.unflatten``)."""
    shape = input._array.shape
    place = dimension(dim, len(shape))
    parts = lengths((sizes,))
    if not parts:
        raise RuntimeError(errors.message("unflatten: sizes must be non-empty"))
    if prod(parts) != shape[place] and -1 not in parts:
        raise RuntimeError(errors.message(
            f"unflatten: Provided sizes {list(parts)} don't multiply up to the "
            f"size of dim {place} ({shape[place]}) in the input tensor"))
    return reshape_to(input, (*shape[:place], *fill_in(parts, (shape[place],)),
                              *shape[place + 1:]))


@public(out=False)
def ravel(input: Tensor) -> Tensor:
    """All elements in one row (``torch.ravel``)."""
    return reshape_to(input, (-1,))


# Repetition without memory.

def expand_array(input: Any, shape: Any) -> Any:
    """Lengths of 1 stretched by strides of 0."""
    if input.ndim == 0 and input.__class__ is np.ndarray:
        return np.ndarray(shape, input.dtype, input, 0, (0,) * len(shape))
    try:
        found = np.broadcast_to(input, shape, subok=True)
    except ValueError:
        raise not_expandable(input.shape, shape) from None
    if found.__class__ is np.ndarray and input.flags.writeable:
        return np.lib.stride_tricks.as_strided(input, found.shape, found.strides)
    return found


def not_expandable(found: Any, shape: Any) -> RuntimeError:
    for back in range(1, min(len(found), len(shape)) + 1):
        if found[-back] not in (1, shape[-back]):
            return RuntimeError(errors.message(
                f"The expanded size of the tensor ({shape[-back]}) must match the existing size "
                f"({found[-back]}) at non-singleton dimension {len(shape) - back}.  Target sizes: "
                f"{errors.of_shape(shape)}.  Tensor sizes: {errors.of_shape(found)}"))
    return RuntimeError(
        f"expand(torch.FloatTensor{{{errors.of_shape(found)}}}, size={errors.of_shape(shape)}): "
        f"the number of sizes provided ({len(shape)}) must be greater or equal to the number of "
        f"dimensions in the tensor ({len(found)})")


_expand = op("expand", expand_array, {"input": lambda g: g}, view=True)


def spread_out(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`tensor` repeated along new or short dimensions, for gradient rules; see `flipped`."""
    if switch.on or switch.tape is not None:
        return _expand(tensor, shape)
    return wrap(expand_array(tensor._array, shape))


@method
def expand(self: Tensor, *sizes: Any, implicit: bool = False, **named: Any) -> Tensor:
    """Lengths of 1 stretched to `sizes` without copying; -1 keeps a length."""
    wanted = lengths(sizes or (named["size"],))
    found = self._array.shape
    ahead = len(wanted) - len(found)
    if -1 in wanted:
        if -1 in wanted[:max(ahead, 0)]:
            raise RuntimeError(errors.message(
                f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing "
                f"dimension {wanted.index(-1)}"))
        wanted = tuple(found[d - ahead] if n == -1 else n for d, n in enumerate(wanted))
    return _expand(self, wanted)


@method
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Lengths of 1 stretched to the shape of `other`."""
    if not isinstance(other, Tensor):
        raise not_a_tensor("expand_as", "other", 1, other)
    return _expand(self, other._array.shape)


@public(out=False)
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """`input` stretched to `size` without copying (``torch.broadcast_to``)."""
    return expand(input, lengths((size,)))


@public(method=False, out=False)
def broadcast_tensors(*tensors: Any) -> list[Tensor]:
    """All `tensors` stretched to their common shape."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    shape = joined_shape(*(tensor._array.shape for tensor in given))
    return [_expand(tensor, tuple(shape)) for tensor in given]


def joined_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that operands of `shapes` broadcast to; RuntimeError where there is none."""
    joined: tuple[int, ...] = ()
    for shape in shapes:
        try:
            joined = np.broadcast_shapes(joined, shape)
        except ValueError:
            raise errors.not_broadcastable((joined, shape)) from None
    return joined


@public(method=False, out=False)
def broadcast_shapes(*shapes: Any) -> Any:
    """The shape that all `shapes` broadcast to."""
    from kkori.core.size import Size
    given = [(shape,) if isinstance(shape, int) else tuple(shape) for shape in shapes]
    try:
        return Size(np.broadcast_shapes(*given))
    except ValueError:
        raise not_joined(given) from None


def not_joined(shapes: list[tuple[int, ...]]) -> RuntimeError:
    """The first of `shapes` that does not broadcast with those before it."""
    joined: tuple[int, ...] = ()
    for number, shape in enumerate(shapes):
        for back in range(-1, -min(len(shape), len(joined)) - 1, -1):
            if shape[back] != joined[back] and 1 not in (shape[back], joined[back]):
                return RuntimeError(errors.message(
                    f"Attempting to broadcast a dimension of length {shape[back]} at {back}! "
                    f"Mismatching argument at index {number} had {shape}; but expected shape "
                    f"should be broadcastable to {list(joined)}"))
        joined = np.broadcast_shapes(joined, shape)
    raise AssertionError(errors.message("these shapes do broadcast together"))


# Order of dimensions.

def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes `order`."""
    return tuple(order.index(d) for d in range(len(order)))


_permute = op("permute", lambda input, order: input.transpose(order), {
    "input": lambda g, order: _permute(g, inverse(order))}, view=True)
_transpose = op("transpose", lambda input, first, second: input.swapaxes(first, second), {
    "input": lambda g, first, second: _transpose(g, first, second)}, view=True)
_t = op("t", lambda input: input.T, {"input": lambda g: flipped(g)}, view=True)


def flipped(matrix: Tensor) -> Tensor:
    """A matrix transposed, for gradient rules: what nobody follows needs no memory of its base."""
    if switch.on or switch.tape is not None:
        return _t(matrix)
    return wrap(matrix._array.T)


@public(method=False, out=False)
def permute(input: Tensor, dims: Any) -> Tensor:
    """Dimensions in the order `dims` (``torch.permute``)."""
    ndim = input._array.ndim
    wanted = lengths((dims,))
    if len(wanted) != ndim:
        raise RuntimeError(errors.message(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {ndim} is not equal "
            f"to len(dims) = {len(wanted)}"))
    order = tuple(dimension(d, ndim) for d in wanted)
    if len(set(order)) != ndim:
        raise RuntimeError(errors.message("permute(): duplicate dims are not allowed."))
    return _permute(input, order)


@method(name="permute")
def permute_method(self: Tensor, *dims: Any, **named: Any) -> Tensor:
    """Dimensions in the order `dims`."""
    return permute(self, lengths(dims or (named["dims"],)))


@public(out=False, aliases=("swapaxes", "swapdims"))
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged (``torch.transpose``)."""
    ndim = input._array.ndim
    first, second = dimension(dim0, ndim), dimension(dim1, ndim)
    return _transpose(input, first, second) if ndim else input


@public(out=False)
def t(input: Tensor) -> Tensor:
    """A matrix transposed; vectors and numbers as they are (``torch.t``)."""
    if input._array.ndim > 2:
        raise RuntimeError(errors.message(
            f"t() expects a tensor with <= 2 dimensions, but self is "
            f"{input._array.ndim}D"))
    return _t(input)


def reversed_dims(self: Tensor) -> Tensor:
    """All dimensions in reverse order (``Tensor.T``)."""
    if self._array.ndim != 2:
        import warnings
        warnings.warn(T_WARNING, UserWarning, stacklevel=2)
    return _permute(self, tuple(reversed(range(self._array.ndim))))


T_WARNING = (
    "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is deprecated "
    "and it will throw an error in a future release. Consider `x.mT` to transpose batches of "
    "matrices or `x.permute(*torch.arange(x.ndim - 1, -1, -1))` to reverse the dimensions of a "
    "tensor.")


def matrix_transposed(name: str, conjugate: bool) -> Any:
    def transposed(self: Tensor) -> Tensor:
        ndim = self._array.ndim
        if ndim < 2 and name != "H":
            raise RuntimeError(errors.message(
                f"tensor.{name} is only supported on matrices or batches of "
                f"matrices. Got {ndim}-D tensor."))
        if name == "H" and ndim not in (0, 2):
            hint = " For batches of matrices, consider using tensor.mH" if ndim > 2 else ""
            raise RuntimeError(errors.message(
                "tensor.H is only supported on matrices (2-D tensors). Got "
                f"{ndim}-D tensor.{hint}"))
        turned = _transpose(self, ndim - 2, ndim - 1) if ndim else self
        return turned.conj() if conjugate else turned
    return transposed


METHODS["T"] = property(reversed_dims)
METHODS["mT"] = property(matrix_transposed("mT", False))
METHODS["mH"] = property(matrix_transposed("mH", True))
METHODS["H"] = property(matrix_transposed("H", True))
TORCH["adjoint"] = METHODS["adjoint"] = matrix_transposed("mH", True)


@public(out=False, aliases=("moveaxis",))
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions `source` moved to places `destination` (``torch.movedim``)."""
    ndim = input._array.ndim
    sources = [dimension(d, ndim) for d in lengths((source,))]
    targets = [dimension(d, ndim) for d in lengths((destination,))]
    for name, given, places in (("source", source, sources), ("destination", destination, targets)):
        if len(set(places)) != len(places):
            raise RuntimeError(errors.message(
                f"movedim: repeated dim in `{name}` ({errors.of_shape(lengths((given,)))})"))
    if len(sources) != len(targets):
        raise RuntimeError(errors.message(
            "movedim: Invalid source or destination dims: source "
            f"({errors.of_shape(lengths((source,)))} dims) should contain the same number of dims "
            f"as destination ({errors.of_shape(lengths((destination,)))} dims)"))
    rest = iter(d for d in range(ndim) if d not in sources)
    place = dict(zip(targets, sources, strict=True))
    return _permute(input, tuple(place[d] if d in place else next(rest) for d in range(ndim)))


# Lengths of 1 put in and taken out.

_unsqueeze = op("unsqueeze", lambda input, dim: np.expand_dims(input, dim), {
    "input": lambda g, input_shape: _reshape(g, input_shape)}, view=True)
SQUEEZE = [op(f"squeeze_{number}", lambda input, shape: input.reshape(shape), RESHAPE_GRADIENT,
              view=True, node=f"SqueezeBackward{number}") for number in range(3)]
_squeeze = SQUEEZE[0]


@public(out=False, inplace=False)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A dimension of length 1 put in at `dim` (``torch.unsqueeze``)."""
    return _unsqueeze(input, dimension(dim, input._array.ndim + 1))


@public(out=False)
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Dimensions of length 1 taken out: all, or those in `dim` (``torch.squeeze``)."""
    shape = input._array.shape
    if dim is None:
        return _squeeze(input, tuple(n for n in shape if n != 1))
    chosen = {dimension(d, len(shape)) for d in ((dim,) if isinstance(dim, int) else dim)}
    return _squeeze(input, tuple(n for d, n in enumerate(shape) if n != 1 or d not in chosen))


def reshape_in_place(name: str, function: Any) -> None:
    """`x.squeeze_()` and its like: the tensor itself becomes the view."""
    def in_place(self: Tensor, *args: Any, **options: Any) -> Tensor:
        before_write(self)
        result = function(self, *args, **options)
        settle(result)
        self._storage = self.shared_storage()
        self._array = result._array
        if result._requires_grad and self._node is not None:
            self._node, self._output_nr = result._node, 0
        return self
    METHODS[name + "_"] = in_place


for _name, _function in {"squeeze": squeeze, "unsqueeze": unsqueeze, "transpose": transpose,
                         "t": t, "swapaxes": transpose, "swapdims": transpose}.items():
    reshape_in_place(_name, _function)

# Parts.

_narrow = op("narrow", lambda input, dim, start, length: input[
    (slice(None),) * dim + (slice(start, start + length),)],
    {"input": lambda g, input_shape, dim, start, length: _slice_back(
        g, input_shape, dim, start, start + length, 1)}, view=True, node="SliceBackward0")
_select = op("select", lambda input, dim, index: input[(slice(None),) * dim + (index, ...)], {
    "input": lambda g, input_shape, dim, index: _select_back(g, input_shape, dim, index)},
    view=True)
_slice = op("slice", lambda input, dim, start, stop, step: input[
    (slice(None),) * dim + (slice(start, stop, step),)],
    {"input": lambda g, input_shape, dim, start, stop, step: _slice_back(
        g, input_shape, dim, start, stop, step)}, view=True)


def put(g: Any, shape: Any, place: Any) -> Any:
    """Zeros of `shape` with `g` at `place`."""
    found = np.zeros_like(g, shape=shape)
    found[place] = g
    return found


_slice_back = op("slice_backward", lambda g, shape, dim, start, stop, step: put(
    g, shape, (slice(None),) * dim + (slice(start, stop, step),)),
    {"g": lambda g, dim, start, stop, step: _slice(g, dim, start, stop, step)})
_select_back = op("select_backward", lambda g, shape, dim, index: put(
    g, shape, (slice(None),) * dim + (index,)),
    {"g": lambda g, dim, index: _select(g, dim, index)})


@public(out=False)
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` elements of dimension `dim` from `start` on, a view (``torch.narrow``)."""
    if not input._array.ndim:
        raise RuntimeError(errors.message("narrow() cannot be applied to a 0-dim tensor."))
    if isinstance(start, Tensor) and (start._array.ndim or start._array.dtype.kind not in "iu"):
        raise RuntimeError(errors.message("start must be an 0-dim integral Tensor."))
    place = dimension(dim, input._array.ndim)
    size = input._array.shape[place]
    begin = int(start)
    if not -size <= begin <= size:
        raise IndexError(errors.message(
            f"start out of range (expected to be in range of [{-size}, {size}], but "
            f"got {begin})"))
    begin = begin + size if begin < 0 else begin
    if length < 0:
        raise RuntimeError(errors.message("narrow(): length must be non-negative."))
    if begin + length > size:
        raise RuntimeError(errors.message(
            f"start ({begin}) + length ({length}) exceeds dimension size ({size})."))
    return _narrow(input, place, begin, length)


@public(out=False)
def select(input: Tensor, dim: int, index: Any) -> Tensor:
    """One index of dimension `dim`, a view without it (``torch.select``)."""
    if not input._array.ndim:
        raise IndexError(errors.message("select() cannot be applied to a 0-dim tensor."))
    place = dimension(dim, input._array.ndim)
    size, at = input._array.shape[place], int(index)
    if not -size <= at < size:
        raise IndexError(errors.message(
            f"select(): index {at} out of range for tensor of size "
            f"{errors.of_shape(input._array.shape)} at dimension {place}"))
    return _select(input, place, at % size)


# Copies.

def clone_array(input: Any, order: Any) -> Any:
    """A copy, in the same order of dimensions or row-major."""
    return input.copy(order)


_clone = op("clone", clone_array, {"input": lambda g: g})


@public(out=False)
def clone(input: Tensor, *, memory_format: Any = preserve_format) -> Tensor:
    """A copy that gradients flow through (``torch.clone``)."""
    return _clone(input, memory_order(memory_format))


def memory_order(memory_format: Any) -> str:
    """NumPy's letter for a memory format."""
    return "K" if memory_format is preserve_format else "C"


@method
def contiguous(self: Tensor, memory_format: Any = contiguous_format) -> Tensor:
    """Itself if its elements lie in row-major order, else a copy in which they do."""
    if memory_format in CHANNELS_LAST_ORDER:
        return in_channels_last(self, CHANNELS_LAST_ORDER[memory_format])
    return self if self._array.flags.c_contiguous else _clone(self, "C")


def in_channels_last(input: Tensor, order: tuple[int, ...]) -> Tensor:
    """A copy whose channels lie next to each other in memory."""
    if input._array.transpose(order).flags.c_contiguous:
        return input
    return _permute(_clone(_permute(input, order), "C"), inverse(order))


@method
def is_contiguous(self: Tensor, memory_format: Any = contiguous_format) -> bool:
    """Whether elements lie in row-major order (or the given order)."""
    if memory_format in CHANNELS_LAST_ORDER:
        return bool(self._array.transpose(CHANNELS_LAST_ORDER[memory_format]).flags.c_contiguous)
    return bool(self._array.flags.c_contiguous)


# Joining.

def cat_array(dim: Any, *tensors: Any) -> Any:
    return np.concatenate(tensors, dim)


def cat_gradient(g: Tensor, dim: int, needs: Any, args_shapes: Any) -> Any:
    found: list[Any] = [None]
    start = 0
    for need, shape in zip(needs[1:], args_shapes[1:], strict=True):
        length = shape[dim]
        found.append(_narrow(g, dim, start, length) if need else None)
        start += length
    return found


_cat = op("cat", cat_array, cat_gradient)


def not_legacy_empty(tensor: Tensor) -> bool:
    """PyTorch skips empty one-dimensional tensors in cat()."""
    return tensor._array.shape != (0,)


@public(aliases=("concat", "concatenate"), method=False)
def cat(tensors: Any, dim: int = 0) -> Tensor:
    """Tensors joined along `dim`; their other lengths must agree (``torch.cat``)."""
    from kkori.ops.elementwise import same_type
    given = checked_tensors("cat", tensors)
    if not given:
        raise ValueError(errors.message("torch.cat(): expected a non-empty list of Tensors"))
    if all_alike([tensor._array for tensor in given]):
        return _cat(dimension(dim, given[0]._array.ndim), *given)
    for place, tensor in enumerate(given):
        if not tensor._array.ndim:
            raise RuntimeError(errors.message(
                f"zero-dimensional tensor (at position {place}) cannot be concatenated"))
        if tensor.is_meta is not given[0].is_meta:
            raise RuntimeError(errors.two_devices(given[0]._array, tensor._array))
    given = same_type(*given)
    parts = [tensor for tensor in given if not_legacy_empty(tensor)] or given[:1]
    place = dimension(dim, parts[0]._array.ndim)
    check_joinable(parts, place)
    return _cat(place, *parts)


def checked_tensors(name: str, tensors: Any) -> list[Tensor]:
    """A list or tuple of nothing but tensors, as a list; TypeError for anything else."""
    if isinstance(tensors, Tensor) or not hasattr(tensors, "__iter__"):
        raise TypeError(errors.message(
            f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not "
            f"{type(tensors).__name__}",
            fix=f"put them into a list: torch.{name}([a, b])"))
    given = list(tensors)
    for place, tensor in enumerate(given):
        if not isinstance(tensor, Tensor):
            raise TypeError(errors.message(
                f"expected Tensor as element {place} in argument 0, but got "
                f"{type(tensor).__name__}"))
    return given


def check_joinable(parts: list[Tensor], dim: int) -> None:
    """RuntimeError where lengths other than `dim` differ."""
    first = parts[0]._array.shape
    for number, tensor in enumerate(parts):
        shape = tensor._array.shape
        if len(shape) != len(first):
            raise RuntimeError(errors.message(
                f"Tensors must have same number of dimensions: got {len(first)} "
                f"and {len(shape)}"))
        for d, (a, b) in enumerate(zip(first, shape, strict=True)):
            if d != dim and a != b:
                raise RuntimeError(errors.message(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {a} "
                    f"but got size {b} for tensor number {number} in the list.",
                    what=f"shapes: {errors.of_shape(first)} and {errors.of_shape(shape)}",
                    fix=f"join along dimension {d} instead: torch.cat(tensors, dim={d})"))


@public(method=False)
def stack(tensors: Any, dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension (``torch.stack``)."""
    given = checked_tensors("stack", tensors)
    if not given:
        raise RuntimeError(errors.message("stack expects a non-empty TensorList"))
    first = given[0]._array.shape
    for place, tensor in enumerate(given):
        if tensor._array.shape != first:
            raise RuntimeError(errors.message(
                f"stack expects each tensor to be equal size, but got {errors.of_shape(first)} at "
                f"entry 0 and {errors.of_shape(tensor._array.shape)} at entry {place}"))
    from kkori.ops.elementwise import same_type
    return _stack(dimension(dim, len(first) + 1), *same_type(*given))


def stack_gradient(g: Tensor, dim: int, needs: Any) -> Any:
    return [None, *(_select(g, dim, k) if need else None for k, need in enumerate(needs[1:]))]


def stack_array(dim: Any, *tensors: Any) -> Any:
    return np.stack(tensors, dim)


_stack = op("stack", stack_array, stack_gradient)
