"""The DataLoader: batches of a dataset, in PyTorch's order for the same seed.

Workers are threads: nothing has to be picklable, a notebook never waits for a process, and the
memory of a batch is handed over, not copied. NumPy and file reading run side by side.

A worker has its own default stream of random numbers, seeded as PyTorch seeds its processes. The
streams of NumPy (``np.random.rand``) and of Python (``random.random``) are the whole program's;
``get_worker_info().rng`` has some of the worker's own.
"""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from typing import Any, Generic, TypeVar

from kkori.core.errors import message
from kkori.utils.data.collate import default_collate, default_convert
from kkori.utils.data.dataset import IterableDataset
from kkori.utils.data.fetch import Fetcher, WholeBatchFetcher, make_fetcher
from kkori.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    array_batches,
    random_seed,
)
from kkori.utils.data.worker import ENDED, Failure, Job, WorkerPool, get_worker_info

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

T = TypeVar("T", covariant=True)


class _DatasetKind:
    Map = 0
    Iterable = 1


class _InfiniteConstantSampler(Sampler[None]):
    """The order of a stream: there is none."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader(Generic[T]):
    """Iterates over a dataset in batches.

    Args:
        dataset: examples by index, or a stream.
        batch_size: examples a batch; None gives single examples.
        shuffle: a new random order every pass.
        sampler, batch_sampler: an order of indices, or of lists of them, in place of ``shuffle``.
        num_workers: threads that prepare batches ahead; 0 prepares each when it is asked for.
        collate_fn: makes a batch of a list of examples.
        drop_last: leaves out a last batch that is shorter.
        timeout: seconds to wait for a worker's batch, 0 for ever.
        worker_init_fn: called with its number in each worker.
        generator: what order and seeds are drawn from.
        prefetch_factor: batches prepared ahead by each worker (2).
        persistent_workers: keeps the threads from one pass to the next.
        in_order: with workers, whether batches keep the order of their indices.
        pin_memory, pin_memory_device, multiprocessing_context: accepted, without effect.

    Raises ValueError for options that exclude each other, with PyTorch's messages.
    Source: ``torch.utils.data.DataLoader``.

    >>> import kkori as torch
    >>> data = torch.utils.data.TensorDataset(torch.arange(5))
    >>> [batch for batch, in torch.utils.data.DataLoader(data, batch_size=2)]
    [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """

    _fixed = frozenset(
        ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
    )
    _initialized = False
    _iterator: _BaseDataLoaderIter | None = None

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable | None = None,
        batch_sampler: Sampler[list] | Iterable[list] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        _check_context(multiprocessing_context, num_workers)
        streams = isinstance(dataset, IterableDataset)
        if streams:
            _check_stream(shuffle, sampler, batch_sampler)
        _check_order(batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size = None
        if sampler is None:
            sampler = _default_sampler(dataset, streams, shuffle, generator)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        if num_workers > 0 and prefetch_factor is None:
            prefetch_factor = 2
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        self._dataset_kind = _DatasetKind.Iterable if streams else _DatasetKind.Map
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        self.collate_fn = collate_fn or (
            default_convert if batch_sampler is None else default_collate
        )
        self.persistent_workers = persistent_workers
        self._IterableDataset_len_called: int | None = None
        self._initialized = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._initialized and name in self._fixed:
            raise ValueError(message(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"))
        super().__setattr__(name, value)

    def __iter__(self) -> _BaseDataLoaderIter:
        if not (self.persistent_workers and self.num_workers > 0):
            return self._get_iterator()
        if self._iterator is None:
            self._iterator = self._get_iterator()
        else:
            self._iterator._reset(self)
        return self._iterator

    def _get_iterator(self) -> _BaseDataLoaderIter:
        return (_ThreadDataLoaderIter if self.num_workers else _SingleProcessDataLoaderIter)(self)

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        return self.batch_sampler if self._auto_collation else self.sampler

    def __len__(self) -> int:
        if self._dataset_kind == _DatasetKind.Map:
            return len(self._index_sampler)
        length = self._IterableDataset_len_called = len(self.dataset)
        if self.batch_size is None:
            return length
        if self.drop_last:
            return length // self.batch_size
        return math.ceil(length / self.batch_size)


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    if num_workers < 0:
        raise ValueError(message(
            "num_workers option should be non-negative; "
            "use num_workers=0 to disable multiprocessing."))
    if timeout < 0:
        raise ValueError(message("timeout option should be non-negative"))
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(message(
            "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 "
            "to enable multiprocessing, otherwise set prefetch_factor to None."))
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError(message("prefetch_factor option should be non-negative"))
    if persistent_workers and num_workers == 0:
        raise ValueError(message("persistent_workers option needs num_workers > 0"))


def _check_context(context: Any, num_workers: int) -> None:
    """A start method is of no use to threads, but a wrong one is still told."""
    if context is None:
        return
    if num_workers <= 0:
        raise ValueError(message(
            "multiprocessing_context can only be used with multi-process loading "
            f"(num_workers > 0), but got num_workers={num_workers}"))
    import multiprocessing

    methods = multiprocessing.get_all_start_methods()
    if isinstance(context, str) and context not in methods:
        raise ValueError(message(
            "multiprocessing_context option should specify a valid start method in "
            f"{methods!r}, but got multiprocessing_context={context!r}"))
    if not isinstance(context, (str, multiprocessing.context.BaseContext)):
        raise TypeError(message(
            "multiprocessing_context option should be a valid context object or a string "
            f"specifying the start method, but got multiprocessing_context={context}"))


def _check_stream(shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
    given = {
        "shuffle": shuffle or None,
        "sampler": sampler,
        "batch_sampler": batch_sampler,
    }
    for name, value in given.items():
        if value is not None:
            raise ValueError(message(
                f"DataLoader with IterableDataset: expected unspecified {name} option, "
                f"but got {name}={value}",
                fix="a stream has its own order: shuffle in its __iter__",
            ))


def _check_order(
    batch_size: int | None, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    if sampler is not None and shuffle:
        raise ValueError(message(
            "sampler option is mutually exclusive with shuffle",
            fix="the sampler is the order: DataLoader(dataset, batch_size, sampler=sampler)",
        ))
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError(message(
                "batch_sampler option is mutually exclusive "
                "with batch_size, shuffle, sampler, and drop_last",
                fix="the batch sampler says it all: DataLoader(dataset, batch_sampler=batches)",
            ))
    elif batch_size is None and drop_last:
        raise ValueError(message(
            "batch_size=None option disables auto-batching "
            "and is mutually exclusive with drop_last"))


def _default_sampler(dataset: Any, streams: bool, shuffle: Any, generator: Any) -> Sampler:
    if streams:
        return _InfiniteConstantSampler()
    return RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)


class _BaseDataLoaderIter:
    """One pass over a loader: the order of indices, and the count of what was given out."""

    def __init__(self, loader: DataLoader) -> None:
        self._dataset = loader.dataset
        self._dataset_kind = loader._dataset_kind
        self._auto_collation = loader._auto_collation
        self._collate_fn = loader.collate_fn
        self._drop_last = loader.drop_last
        self._index_sampler = loader._index_sampler
        self._num_workers = loader.num_workers
        self._timeout = loader.timeout
        self._persistent_workers = loader.persistent_workers
        streams = self._dataset_kind == _DatasetKind.Iterable
        self._dataset_fetcher = None if streams else self._make_fetcher()
        self._start(loader)
        self._base_seed = random_seed(loader.generator)

    def _make_fetcher(self) -> Fetcher:
        options = (self._auto_collation, self._collate_fn, self._drop_last)
        return make_fetcher(self._dataset, *options)

    def _start(self, loader: DataLoader) -> None:
        whole = isinstance(self._dataset_fetcher, WholeBatchFetcher)
        order = array_batches(self._index_sampler) if whole else None
        self._sampler_iter = iter(self._index_sampler) if order is None else order
        self._num_yielded = 0
        self._IterableDataset_len_called = loader._IterableDataset_len_called

    def _reset(self, loader: DataLoader, first_iter: bool = False) -> None:
        self._start(loader)

    def __iter__(self) -> _BaseDataLoaderIter:
        return self

    def __next__(self) -> Any:
        data = self._next_data()
        self._num_yielded += 1
        promised = self._IterableDataset_len_called
        if promised is not None and self._num_yielded > promised:
            self._warn_of_length(promised)
        return data

    def _next_data(self) -> Any:
        raise NotImplementedError

    def _warn_of_length(self, promised: int) -> None:
        text = (
            f"Length of IterableDataset {self._dataset} was reported to be {promised}"
            f"(when accessing len(dataloader)), but {self._num_yielded} samples have been fetched. "
        )
        if self._num_workers > 0:
            text += (
                "For multiprocessing data-loading, this could be caused by not properly "
                "configuring the IterableDataset replica at each worker. Please see "
                "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset "
                "for examples."
            )
        warnings.warn(text, stacklevel=3)

    def __len__(self) -> int:
        return len(self._index_sampler)

    def __getstate__(self) -> Any:
        raise NotImplementedError("{} cannot be pickled", type(self).__name__)


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """Prepares each batch when it is asked for."""

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        if self._timeout != 0:
            raise AssertionError(message("_SingleProcessDataLoaderIter requires timeout == 0"))
        # A stream is opened last: it may draw random numbers of its own.
        self._fetch = (self._dataset_fetcher or self._make_fetcher()).fetch

    def _next_data(self) -> Any:
        return self._fetch(next(self._sampler_iter))


class _ThreadDataLoaderIter(_BaseDataLoaderIter):
    """Lets threads prepare batches ahead, a fixed number of them, in turn.

    Task numbers count up from 0 in every pass. ``_owners`` has the worker of each task that is not
    answered yet, ``_arrived`` the batches that came before their turn.
    """

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        if loader.prefetch_factor == 0:
            raise AssertionError(message(
                "prefetch_factor must be greater than 0 for MultiProcessingDataLoaderIter"))
        self._ahead = loader.prefetch_factor * self._num_workers  # type: ignore[operator]
        self._in_order = loader.in_order
        self._pass = -1
        self._pool = WorkerPool(
            Job(
                self._dataset,
                self._auto_collation,
                self._collate_fn,
                self._drop_last,
                loader.worker_init_fn,
                self._base_seed,
                self._num_workers,
            )
        )
        self._stop = weakref.finalize(self, self._pool.stop)
        self._begin_pass()

    def _reset(self, loader: DataLoader, first_iter: bool = False) -> None:
        super()._reset(loader, first_iter)
        self._begin_pass()

    def _begin_pass(self) -> None:
        self._pass += 1
        self._sent = self._due = 0
        self._owners: dict[int, int] = {}
        self._arrived: dict[int, Any] = {}
        self._active = [True] * self._num_workers
        self._turns = cycle(range(self._num_workers))
        for _ in range(self._ahead):
            self._send()

    def _send(self) -> None:
        """Gives the next indices, if there are any, to the next worker that still has examples."""
        index = next(self._sampler_iter, _NOTHING)
        if index is _NOTHING:
            return
        for _ in range(self._num_workers):
            worker = next(self._turns)
            if self._active[worker] and (self._in_order or not self._is_busy(worker)):
                break
        else:
            return
        self._owners[self._sent] = worker
        self._pool.tasks[worker].put((self._pass, self._sent, index))
        self._sent += 1

    def _is_busy(self, worker: int) -> bool:
        """Whether a worker has its full share of tasks; out of order, others are given more."""
        share = self._ahead // sum(self._active)
        return sum(owner == worker for owner in self._owners.values()) >= share

    def _next_data(self) -> Any:
        while True:
            while self._due < self._sent and not self._expected(self._due):
                self._due += 1
            if self._due in self._arrived:
                self._due += 1
                return self._give_out(self._arrived.pop(self._due - 1))
            if self._due >= self._sent and not self._owners:
                if not self._persistent_workers:
                    self._stop()
                raise StopIteration
            task, data = self._receive()
            if data is ENDED:
                self._send()
            elif task == self._due or not self._in_order:
                self._due += task == self._due
                return self._give_out(data)
            else:
                self._arrived[task] = data

    def _expected(self, task: int) -> bool:
        return task in self._owners or task in self._arrived

    def _receive(self) -> tuple[int, Any]:
        """The next answer of this pass; a worker whose stream ended will answer nothing more."""
        while True:
            number_of_pass, task, worker, data = self._pool.receive(self._timeout)
            if number_of_pass != self._pass:
                continue
            del self._owners[task]
            if data is ENDED:
                self._active[worker] = False
                self._owners = {t: w for t, w in self._owners.items() if w != worker}
            return task, data

    def _give_out(self, data: Any) -> Any:
        self._send()
        if isinstance(data, Failure):
            data.reraise()
        return data


_NOTHING = object()

# The name programs know the iterator with workers by.
_MultiProcessingDataLoaderIter = _ThreadDataLoaderIter
