"""Datasets: what can be indexed or iterated for examples, and ways to join and split them."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

import kkori
from kkori.core.errors import message
from kkori.tensor import Tensor

__all__ = [
    "ChainDataset",
    "ConcatDataset",
    "Dataset",
    "IterableDataset",
    "StackDataset",
    "Subset",
    "TensorDataset",
    "random_split",
]

T = TypeVar("T", covariant=True)


class Dataset(Generic[T]):
    """Examples by index: a subclass defines ``__getitem__`` and usually ``__len__``.

    ``a + b`` is a `ConcatDataset`. Source: ``torch.utils.data.Dataset``.
    """

    def __getitem__(self, index: Any) -> T:
        raise NotImplementedError(message(
            "Subclasses of Dataset should implement __getitem__.",
            what=f"class: {type(self).__name__}",
            fix="def __getitem__(self, index): return self.x[index], self.y[index]",
        ))

    def __add__(self, other: Dataset[T]) -> ConcatDataset[T]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T], Iterable[T]):
    """Examples in a stream: a subclass defines ``__iter__``."""

    def __add__(self, other: Dataset[T]) -> ChainDataset:
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Tensors of the same length; an example is the tuple of their rows.

    A `DataLoader` takes a whole batch of it with one indexing a tensor. Raises AssertionError
    where the lengths differ.
    """

    def __init__(self, *tensors: Tensor) -> None:
        if any(tensors[0].size(0) != tensor.size(0) for tensor in tensors):
            raise AssertionError(message(
                "Size mismatch between tensors",
                what=f"lengths: {', '.join(str(len(tensor)) for tensor in tensors)}",
                fix="give tensors of one length: TensorDataset(x[:n], y[:n])",
            ))
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].size(0)


class StackDataset(Dataset[Any]):
    """Datasets side by side: an example is the tuple, or the dictionary, of their examples.

    Raises ValueError where the lengths differ or both spellings are used.
    """

    datasets: Any

    def __init__(self, *args: Dataset, **kwargs: Dataset) -> None:
        if args and kwargs:
            raise ValueError(message(
                "Supported either ``tuple``- (via ``args``) or``dict``- (via ``kwargs``) like "
                "input/output, but both types are given."))
        if not args and not kwargs:
            raise ValueError(message("At least one dataset should be passed"))
        self.datasets = args or kwargs
        parts = list(args or kwargs.values())
        self._length = len(parts[0])  # type: ignore[arg-type]
        if any(len(part) != self._length for part in parts):  # type: ignore[arg-type]
            raise ValueError(message("Size mismatch between datasets"))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {name: part[index] for name, part in self.datasets.items()}
        return tuple(part[index] for part in self.datasets)

    def __getitems__(self, indices: list) -> list:
        """The examples of a batch; parts that have ``__getitems__`` are asked once."""
        named = isinstance(self.datasets, dict)
        parts = self.datasets.values() if named else self.datasets
        columns = [_batch_of(part, indices) for part in parts]
        rows = zip(*columns, strict=True)
        return [dict(zip(self.datasets, row, strict=True)) for row in rows] if named else [*rows]

    def __len__(self) -> int:
        return self._length


def _batch_of(dataset: Any, indices: list) -> list:
    if not callable(getattr(dataset, "__getitems__", None)):
        return [dataset[index] for index in indices]
    items = dataset.__getitems__(indices)
    if len(items) != len(indices):
        raise ValueError(message(
            "Nested dataset's output size mismatch. "
            f"Expected {len(indices)}, got {len(items)}"))
    return items


class ConcatDataset(Dataset[T]):
    """Datasets one after another. Raises AssertionError for none, or for one that streams."""

    datasets: list[Dataset[T]]
    cumulative_sizes: list[int]

    @staticmethod
    def cumsum(sequence: Iterable[Any]) -> list[int]:
        """The lengths of the first, the first two, the first three, and so on."""
        return list(accumulate(len(part) for part in sequence))

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        super().__init__()
        self.datasets = list(datasets)
        if len(self.datasets) == 0:
            raise AssertionError(message("datasets should not be an empty iterable"))
        if any(isinstance(part, IterableDataset) for part in self.datasets):
            raise AssertionError(message("ConcatDataset does not support IterableDataset"))
        self.cumulative_sizes = self.cumsum(self.datasets)

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> T:
        if idx < 0:
            if -idx > len(self):
                raise ValueError(message(
                    "absolute value of index should not exceed dataset length"))
            idx = len(self) + idx
        part = bisect_right(self.cumulative_sizes, idx)
        start = self.cumulative_sizes[part - 1] if part else 0
        return self.datasets[part][idx - start]

    @property
    def cummulative_sizes(self) -> list[int]:
        """The name older programs know `cumulative_sizes` by."""
        warnings.warn(
            "`cummulative_sizes` attribute is renamed to `cumulative_sizes`",
            FutureWarning,
            stacklevel=2,
        )
        return self.cumulative_sizes


class ChainDataset(IterableDataset):
    """Streams one after another."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        super().__init__()
        self.datasets = datasets

    def _streams(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise AssertionError(message("ChainDataset only supports IterableDataset"))
            yield dataset

    def __iter__(self) -> Iterator[Any]:
        for dataset in self._streams():
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self._streams())


class Subset(Dataset[T]):
    """Some examples of a dataset, by their indices there."""

    dataset: Dataset[T]
    indices: Sequence[int]

    def __init__(self, dataset: Dataset[T], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices
        cls = type(self)
        own_item = cls.__getitem__ is not Subset.__getitem__
        if own_item and cls.__getitems__ is Subset.__getitems__:
            raise NotImplementedError(message(
                f"{cls.__name__} overrides __getitem__ but not __getitems__. When subclassing "
                "Subset and overriding __getitem__, you must also override __getitems__ to "
                "ensure DataLoader works correctly with your custom logic. A simple "
                "implementation:\n\ndef __getitems__(self, indices):\n"
                "    return [self.__getitem__(idx) for idx in indices]"))

    def __getitem__(self, idx: Any) -> T:
        if isinstance(idx, list):
            return self.dataset[[self.indices[i] for i in idx]]
        return self.dataset[self.indices[idx]]

    def __getitems__(self, indices: list[int]) -> list[T]:
        """The examples of a batch."""
        inner = [self.indices[index] for index in indices]
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.dataset.__getitems__(inner)  # type: ignore[attr-defined]
        return [self.dataset[index] for index in inner]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(
    dataset: Dataset[T], lengths: Sequence[int | float], generator: Any = None
) -> list[Subset[T]]:
    """Splits a dataset at random into parts of the given lengths, or fractions that sum to 1.

    What fractions leave over goes round robin to the first parts. Raises ValueError for lengths
    that do not sum to the dataset's and fractions outside [0, 1]; warns of an empty part.

    >>> import kkori as torch
    >>> first, second = torch.utils.data.random_split(range(10), [0.7, 0.3])
    >>> len(first), len(second)
    (7, 3)
    """
    total = sum(lengths)
    if math.isclose(total, 1) and total <= 1:
        lengths = _from_fractions(lengths, len(dataset))  # type: ignore[arg-type]
    if sum(lengths) != len(dataset):  # type: ignore[arg-type]
        raise ValueError(message(
            "Sum of input lengths does not equal the length of the input dataset!",
            what=f"lengths: {list(lengths)}, dataset: {len(dataset)}",  # type: ignore[arg-type]
            fix="give fractions: random_split(dataset, [0.8, 0.2])",
        ))
    indices = kkori.randperm(sum(lengths), generator=generator).tolist()
    ends = accumulate(lengths)
    return [
        Subset(dataset, indices[end - length : end])
        for end, length in zip(ends, lengths, strict=True)
    ]


def _from_fractions(fractions: Sequence[float], total: int) -> list[int]:
    for index, fraction in enumerate(fractions):
        if fraction < 0 or fraction > 1:
            raise ValueError(message(f"Fraction at index {index} is not between 0 and 1"))
    lengths = [math.floor(total * fraction) for fraction in fractions]
    for index in range(total - sum(lengths)):
        lengths[index % len(lengths)] += 1
    for index, length in enumerate(lengths):
        if length == 0:
            warnings.warn(
                f"Length of split at index {index} is 0. "
                "This might result in an empty dataset.",
                stacklevel=3,
            )
    return lengths
