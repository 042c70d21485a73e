"""Sequences of different lengths: padded into one tensor, or packed without the padding."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kkori.core.dtype import int64
from kkori.ops.create import arange, as_tensor, empty_like, full
from kkori.ops.move import cat
from kkori.tensor import Tensor

__all__ = ["PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence",
           "pad_packed_sequence", "pad_sequence", "unpack_sequence", "unpad_sequence"]


class PackedSequence_(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(PackedSequence_):
    """All first elements, then all second ones, ...: longest sequence first.

    `batch_sizes[t]` is how many sequences have an element number t.
    """

    def __new__(cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None,
                unsorted_indices: Any = None) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            if not (isinstance(data, (list, tuple)) and len(data) == 2):
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(_BATCH_SIZES_ON_CPU)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **options: Any) -> PackedSequence:
        """The same sequences with their data cast or moved."""
        data = self.data.to(*args, **options)
        if data is self.data:
            return self
        indices = [None if each is None else each.to(data.device)
                   for each in (self.sorted_indices, self.unsorted_indices)]
        return type(self)(data, self.batch_sizes, *indices)

    def cpu(self) -> PackedSequence:
        return self.to("cpu")

    def cuda(self, device: Any = "cuda") -> PackedSequence:
        return self.to(device)

    def pin_memory(self) -> PackedSequence:
        return self

    def is_pinned(self) -> bool:
        return False

    @property
    def is_cuda(self) -> bool:
        return self.data.is_cuda

    def _as(self, method: str) -> PackedSequence:
        return self.to(getattr(self.data, method)().dtype)

    def double(self) -> PackedSequence:
        return self._as("double")

    def float(self) -> PackedSequence:
        return self._as("float")

    def half(self) -> PackedSequence:
        return self._as("half")

    def long(self) -> PackedSequence:
        return self._as("long")

    def int(self) -> PackedSequence:
        return self._as("int")

    def short(self) -> PackedSequence:
        return self._as("short")

    def char(self) -> PackedSequence:
        return self._as("char")

    def byte(self) -> PackedSequence:
        return self._as("byte")


_BATCH_SIZES_ON_CPU = (
    "batch_sizes should always be on CPU. Instances of PackedSequence should never be created "
    "manually. They should be instantiated by functions like pack_sequence and "
    "pack_padded_sequences in nn.utils.rnn. https://pytorch.org/docs/stable/nn.html#torch.nn."
    "utils.rnn.pack_sequence")


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes `permutation`; None for None."""
    if permutation is None:
        return None
    places = arange(0, permutation.numel(), device=permutation.device)
    return empty_like(permutation).scatter_(0, permutation, places)


def pack_padded_sequence(input: Tensor, lengths: Any, batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:
    """Pack (time, batch, *), of which sequence i is `lengths[i]` long.

    Sequences must come longest first, unless `enforce_sorted` is False: then they are sorted.
    """
    lengths = (lengths.to(dtype=int64) if isinstance(lengths, Tensor)
               else as_tensor(lengths, dtype=int64))
    order = None
    if not enforce_sorted:
        lengths, order = lengths.sort(descending=True)
        order = order.to(input.device)
        input = input.index_select(0 if batch_first else 1, order)
    data = input.transpose(0, 1) if batch_first else input
    counts = lengths.tolist()
    _check_lengths(counts, data)
    sizes = [sum(count > t for count in counts) for t in range(counts[0])]
    packed = cat([data[t, :size] for t, size in enumerate(sizes)])
    return PackedSequence(packed, as_tensor(sizes, dtype=int64), order, None)


def _check_lengths(lengths: list[int], data: Tensor) -> None:
    if data.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if len(lengths) != data.size(1):
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got "
                           f"{len(lengths)} (batch_size={data.size(1)})")
    if lengths[-1] <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element "
                           "in 'lengths' that is <= 0")
    if any(a < b for a, b in zip(lengths, lengths[1:], strict=False)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You "
            "can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement if you do not need ONNX exportability.")
    if lengths[0] > data.size(0):
        raise RuntimeError("Expected length of all samples to be at most the length of the padded "
                           f"input, but got {lengths[0]} and {data.size(0)}")


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False,
                        padding_value: float = 0.0,
                        total_length: int | None = None) -> tuple[Tensor, Tensor]:
    """(padded tensor, lengths): the inverse of `pack_padded_sequence`."""
    sizes = sequence.batch_sizes.tolist()
    if total_length is not None and total_length < len(sizes):
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but "
            f"got total_length={total_length} and max sequence length being {len(sizes)}")
    lengths = [sum(size > i for size in sizes) for i in range(sizes[0])]
    rows, start = [], 0
    for size in [*sizes, *[0] * ((total_length or len(sizes)) - len(sizes))]:
        rows.append(_filled_up(sequence.data[start:start + size], sizes[0], padding_value))
        start += size
    padded = cat(rows).reshape((len(rows), sizes[0], *sequence.data.shape[1:]))
    padded = padded.transpose(0, 1) if batch_first else padded
    found, back = as_tensor(lengths, dtype=int64), sequence.unsorted_indices
    if back is None:
        return padded, found
    return padded.index_select(0 if batch_first else 1, back), found[back.cpu()]


def _filled_up(part: Tensor, length: int, value: float) -> Tensor:
    """`part` with rows of `value` added until it has `length`."""
    missing = length - part.shape[0]
    if not missing:
        return part
    rest = full((missing, *part.shape[1:]), value, dtype=part.dtype, device=part.device)
    return cat([part, rest])


def pad_sequence(sequences: Any, batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Tensor:
    """Sequences of shape (length, *) as one tensor (longest, batch, *).

    >>> import kkori as torch
    >>> torch.nn.utils.rnn.pad_sequence([torch.ones(3), torch.ones(1)], batch_first=True)
    tensor([[1., 1., 1.],
            [1., 0., 0.]])
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError("pad_sequence: Expected iterable for input sequences, but got arg of "
                           f"type: {type(sequences)}")
    if padding_side not in ("left", "right"):
        raise RuntimeError("Expected padding_side to be one of left or right, but got "
                           f"{padding_side}.")
    from kkori.ops.move import stack
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    longest = max(each.size(0) for each in sequences)
    padded = []
    for each in sequences:
        if padding_side == "left" and each.size(0) < longest:
            gap = full((longest - each.size(0), *each.shape[1:]), padding_value, dtype=each.dtype,
                       device=each.device)
            padded.append(cat([gap, each]))
        else:
            padded.append(_filled_up(each, longest, padding_value))
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor,
                   batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded tensor: the inverse of `pad_sequence`."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:int(length)] for row, length in zip(rows, lengths, strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences of shape (length, *)."""
    lengths = [each.size(0) for each in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a PackedSequence."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def apply_permutation(tensor: Tensor, permutation: Tensor, dim: int = 1) -> Tensor:
    """`tensor.index_select(dim, permutation)`, under its old name."""
    warnings.warn("`apply_permutation` is deprecated, please use `tensor.index_select(dim, "
                  "permutation)` instead", FutureWarning, stacklevel=2)
    return tensor.index_select(dim, permutation)
