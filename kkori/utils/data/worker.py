"""Worker threads: each takes tasks from its own queue and puts batches into a common one.

A thread holds the queues, the dataset and the functions, never the iterator that started it, so
an iterator that is dropped can tell its threads to end.
"""

from __future__ import annotations

import copy
import threading
import traceback
from collections.abc import Callable
from functools import cached_property
from queue import Empty, SimpleQueue
from random import Random
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

import kkori
from kkori.core import errors
from kkori.core import generator as generators
from kkori.utils.data.fetch import make_fetcher

__all__ = ["ENDED", "Failure", "Job", "WorkerInfo", "WorkerPool", "get_worker_info"]

ENDED = object()  # what a worker answers when its stream of examples is over
JOIN_SECONDS = 2.0  # how long to wait for threads that are inside the user's code


class WorkerStreams:
    """Random streams of a worker's own, all started from its seed, each made at the first use."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @cached_property
    def random_generator(self) -> Any:
        """A ``random.Random``."""
        return Random(self.seed)

    @cached_property
    def torch_generator(self) -> Any:
        """A ``torch.Generator``."""
        return kkori.Generator().manual_seed(self.seed)

    @cached_property
    def numpy_generator(self) -> Any:
        """A ``numpy.random.Generator``."""
        return np.random.default_rng(self.seed)


class WorkerInfo:
    """What ``get_worker_info`` tells: ``id``, ``num_workers``, ``seed``, ``dataset`` and ``rng``.

    The dataset is the worker's own shallow copy: attributes may be set on it. ``rng`` holds
    random streams of the worker's own, which do not disturb those of other threads.
    """

    __slots__ = ("id", "num_workers", "seed", "dataset", "rng", "worker_method")

    def __init__(self, id: int, num_workers: int, seed: int, dataset: Any) -> None:
        self.id = id
        self.num_workers = num_workers
        self.seed = seed
        self.dataset = dataset
        self.rng = WorkerStreams(seed)
        self.worker_method = "thread"

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"WorkerInfo({fields})"


class _Here(threading.local):
    info: WorkerInfo | None = None


_here = _Here()


def get_worker_info() -> WorkerInfo | None:
    """In a worker of a `DataLoader`, which one this is; elsewhere None."""
    return _here.info


class _KeyErrorText(str):
    """Text that stays readable as the argument of a KeyError, which shows the repr of it."""

    def __repr__(self) -> str:
        return str(self)


class Failure:
    """An exception of a worker as text, to be raised again where the batch was asked for."""

    def __init__(self, error: BaseException, where: str) -> None:
        self.kind = type(error)
        text = "".join(traceback.format_exception(error))
        self.message = f"Caught {self.kind.__name__} {where}.\nOriginal {text}"

    def reraise(self) -> None:
        """Raises the same type of exception with both tracebacks in its text."""
        if not issubclass(self.kind, Exception):
            raise RuntimeError(errors.message(
                f"DataLoader worker (pid(s) {threading.get_native_id()}) exited unexpectedly"))
        if getattr(self.kind, "message", None):
            raise self.kind(message=self.message)  # type: ignore[call-arg]
        try:
            is_key = self.kind is KeyError
            error = self.kind(_KeyErrorText(self.message) if is_key else self.message)
        except Exception:
            raise RuntimeError(self.message) from None  # its type wants other arguments
        raise error


class Job(NamedTuple):
    """What all workers of an iterator have in common."""

    dataset: Any
    batched: bool
    collate_fn: Callable
    drop_last: bool
    init_fn: Callable[[int], None] | None
    base_seed: int
    num_workers: int


class WorkerPool:
    """The threads of one iterator, with their queues.

    Tasks and results carry the pass they belong to: what is left of an earlier pass is ignored.
    """

    def __init__(self, job: Job) -> None:
        self.results: SimpleQueue[tuple[int, int, int, Any]] = SimpleQueue()
        self.tasks: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(job.num_workers)]
        self.stopping = threading.Event()
        self.threads = [
            threading.Thread(
                target=_work,
                args=(job, number, tasks, self.results, self.stopping),
                name=f"DataLoader worker {number}",
                daemon=True,
            )
            for number, tasks in enumerate(self.tasks)
        ]
        for thread in self.threads:
            thread.start()

    def receive(self, timeout: float) -> tuple[int, int, int, Any]:
        """The next result: pass, task, worker, batch. RuntimeError after ``timeout`` seconds."""
        if timeout > 0:
            try:
                return self.results.get(timeout=timeout)
            except Empty:
                raise RuntimeError(errors.message(
                    f"DataLoader timed out after {timeout} seconds")) from None
        while True:
            try:
                return self.results.get(timeout=1.0)  # wakes up, so that Ctrl-C is seen anywhere
            except Empty:
                continue

    def stop(self) -> None:
        """Ends the threads; one that is inside the user's code ends when it comes out of it."""
        self.stopping.set()
        for tasks in self.tasks:
            tasks.put(None)
        deadline = monotonic() + JOIN_SECONDS
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - monotonic()))


def _work(job: Job, number: int, tasks: Any, results: Any, stopping: threading.Event) -> None:
    """The life of a worker: one task after another until None comes."""
    worker = _Worker(job, number)
    while True:
        task = tasks.get()
        if task is None:
            return
        if not stopping.is_set():
            answer = worker.answer(*task)
            if answer is not None:
                results.put((*task[:2], number, answer[0]))
        task = answer = None  # a batch must not live on because a thread waits


class _Worker:
    """The state of one worker: its copy of the dataset, its fetcher, the pass it is in."""

    def __init__(self, job: Job, number: int) -> None:
        self.job = job
        self.dataset = own_copy(job.dataset)
        self.where = f"in DataLoader worker process {number}"
        self.current_pass = -1
        self.ended = False
        self.failure: Failure | None = None
        info = WorkerInfo(number, job.num_workers, job.base_seed + number, self.dataset)
        _here.info = info
        generators.here.generator = info.rng.torch_generator
        try:
            if job.init_fn is not None:
                job.init_fn(number)
        except BaseException as error:
            self.failure = Failure(error, self.where)

    def answer(self, number_of_pass: int, task: int, index: Any) -> tuple[Any] | None:
        """The batch of a task in a tuple; None where the stream ended before."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            return (failure,)
        try:
            if number_of_pass != self.current_pass:
                self._start_pass(number_of_pass)
            return None if self.ended else (self.fetcher.fetch(index),)
        except StopIteration as error:
            if not hasattr(self.fetcher, "stream"):
                return (Failure(error, self.where),)
            self.ended = True
            return (ENDED,)
        except BaseException as error:
            return (Failure(error, self.where),)

    def _start_pass(self, number_of_pass: int) -> None:
        job = self.job
        self.fetcher = make_fetcher(self.dataset, job.batched, job.collate_fn, job.drop_last)
        self.current_pass = number_of_pass
        self.ended = False


def own_copy(dataset: Any) -> Any:
    """A shallow copy, so that what a worker sets on its dataset is its own; data is shared."""
    if not hasattr(dataset, "__dict__"):
        return dataset
    try:
        return copy.copy(dataset)
    except Exception:
        return dataset  # it cannot be copied: the workers share it
