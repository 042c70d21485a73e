"""Fetches the examples of a batch from a dataset and makes the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import kkori
from kkori.tensor import Tensor
from kkori.utils.data.collate import default_collate
from kkori.utils.data.dataset import IterableDataset, Subset, TensorDataset

__all__ = ["Fetcher", "IterableFetcher", "WholeBatchFetcher", "make_fetcher"]

Rows = tuple[tuple[Tensor, ...], np.ndarray | None]


class Fetcher:
    """Takes examples by index; without batching, one index gives one converted example."""

    def __init__(self, dataset: Any, batched: bool, collate_fn: Callable, drop_last: bool) -> None:
        self.dataset = dataset
        self.batched = batched
        self.collate_fn = collate_fn
        self.drop_last = drop_last

    def fetch(self, index: Any) -> Any:
        """The batch of a list of indices."""
        if not self.batched:
            return self.collate_fn(self.dataset[index])
        if getattr(self.dataset, "__getitems__", None):
            return self.collate_fn(self.dataset.__getitems__(index))
        return self.collate_fn([self.dataset[i] for i in index])


class IterableFetcher(Fetcher):
    """Takes examples as they come; only the number of indices counts."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.stream = iter(self.dataset)
        self.ended = False

    def fetch(self, index: Any) -> Any:
        """The next batch; StopIteration where the stream has ended."""
        if self.ended:
            raise StopIteration
        if not self.batched:
            return self.collate_fn(next(self.stream))
        examples = []
        for _ in index:
            try:
                examples.append(next(self.stream))
            except StopIteration:
                self.ended = True
                break
        if not examples or (self.drop_last and len(examples) < len(index)):
            raise StopIteration
        return self.collate_fn(examples)


class WholeBatchFetcher(Fetcher):
    """Takes a batch of a `TensorDataset`, or of a subset of one, with one indexing a tensor.

    Gives what collating the rows gives, in fresh memory.
    """

    def __init__(self, rows: Rows, *args: Any) -> None:
        super().__init__(*args)
        self.tensors, self.places = rows
        self.length = len(self.tensors[0] if self.places is None else self.places)

    def fetch(self, index: Any) -> Any:
        """The batch of a range, an array or a list of indices."""
        rows = self._rows(index)
        if rows is None:  # row by row, which also raises what belongs to a wrong index
            return super().fetch(index.tolist() if isinstance(index, np.ndarray) else index)
        if isinstance(rows, range):
            return [tensor[rows.start : rows.stop].clone() for tensor in self.tensors]
        places = kkori.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))
        return [tensor.index_select(0, places) for tensor in self.tensors]

    def _rows(self, index: Any) -> Any:
        """Which rows of the tensors are meant: a range, an array, or None where that is unclear."""
        rows = index
        if not isinstance(index, range):
            rows = np.asarray(index)
            if rows.ndim != 1 or rows.dtype.kind != "i":
                return None
        if not _inside(rows, self.length):
            return None
        return rows if self.places is None else self.places[np.asarray(rows)]


def _inside(rows: Any, length: int) -> bool:
    if isinstance(rows, range):
        return rows.step == 1 and 0 <= rows.start < rows.stop <= length
    return bool(rows.size) and bool(rows.min() >= 0 and rows.max() < length)


def rows_of(dataset: Any) -> Rows | None:
    """The tensors behind a dataset and which of their rows it means (None: all, in order).

    None where one indexing a tensor might not give what fetching row by row gives.
    """
    places = None
    while type(dataset) is Subset:
        inner = _plain_indices(dataset.indices, dataset.dataset)
        if inner is None:
            return None
        places = inner if places is None else inner[places]
        dataset = dataset.dataset
    plain = (
        isinstance(dataset, TensorDataset)
        and type(dataset).__getitem__ is TensorDataset.__getitem__
        and not hasattr(dataset, "__getitems__")
        and bool(dataset.tensors)
        and all(type(tensor) is Tensor and tensor.dim() for tensor in dataset.tensors)
    )
    return (dataset.tensors, places) if plain else None


def _plain_indices(indices: Any, dataset: Any) -> np.ndarray | None:
    """Indices as an array, if they are whole numbers from 0 up to the dataset's length."""
    if not isinstance(indices, (list, tuple, range, np.ndarray)):
        return None
    found = np.asarray(indices)
    if found.ndim != 1 or found.dtype.kind != "i":
        return None
    inside = not found.size or (found.min() >= 0 and found.max() < len(dataset))
    return found.astype(np.int64, copy=False) if inside else None


def make_fetcher(dataset: Any, batched: bool, collate_fn: Callable, drop_last: bool) -> Fetcher:
    """The fetcher for a dataset: the fastest of those that give the same."""
    options = (dataset, batched, collate_fn, drop_last)
    if isinstance(dataset, IterableDataset):
        return IterableFetcher(*options)
    rows = rows_of(dataset) if batched and collate_fn is default_collate else None
    return Fetcher(*options) if rows is None else WholeBatchFetcher(rows, *options)
