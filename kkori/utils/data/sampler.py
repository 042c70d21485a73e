"""Samplers: in which order, and in which batches, examples are taken.

Our own samplers draw their indices in arrays (`ArraySampler`), as PyTorch does, with the same
random numbers; a loader that can use whole arrays takes them as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np

import kkori
from kkori.core import errors

__all__ = [
    "BatchSampler",
    "DistributedSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]

T = TypeVar("T", covariant=True)
Indices = range | np.ndarray


class Sampler(Generic[T]):
    """An order of examples: a subclass defines ``__iter__`` and usually ``__len__``."""

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError


class ArraySampler(Sampler[int]):
    """A sampler that draws its indices array by array, each when it is first needed."""

    def chunks(self) -> Iterator[Indices]:
        """The indices, in the pieces in which they are drawn."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        for chunk in self.chunks():
            yield from chunk if isinstance(chunk, range) else chunk.tolist()


class SequentialSampler(ArraySampler):
    """The order the examples are in."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def chunks(self) -> Iterator[Indices]:
        """All indices at once."""
        yield range(len(self.data_source))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(ArraySampler):
    """A random order, or random draws with ``replacement``.

    Without a ``generator`` each pass draws a seed from the default one. Raises TypeError or
    ValueError for arguments of the wrong kind.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(errors.message(
                f"replacement should be a boolean value, but got replacement={replacement}"))
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(errors.message(
                "num_samples should be a positive integer value, "
                f"but got num_samples={self.num_samples}"))

    @property
    def num_samples(self) -> int:
        """How many indices a pass draws; the length of the data unless it was given."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def chunks(self) -> Iterator[Indices]:
        """Permutations one after another, or draws in lots of 32."""
        count = len(self.data_source)
        generator = self.generator
        if generator is None:
            generator = kkori.Generator()
            generator.manual_seed(random_seed(None))
        if self.replacement:
            lots, rest = divmod(self.num_samples, 32)
            for size in (*[32] * lots, rest):
                drawn = kkori.randint(
                    high=count, size=(size,), dtype=kkori.int64, generator=generator
                )
                yield drawn.numpy()
        else:
            rounds, rest = divmod(self.num_samples, count)
            for size in (*[count] * rounds, rest):
                yield kkori.randperm(count, generator=generator).numpy()[:size]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in kkori.randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(ArraySampler):
    """Indices drawn with probabilities in proportion to ``weights``.

    Raises ValueError for a count that is not positive and weights that are not one row.
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Any = None,
    ) -> None:
        check_count("num_samples", num_samples)
        if not isinstance(replacement, bool):
            raise ValueError(errors.message(
                f"replacement should be a boolean value, but got replacement={replacement}"))
        row = kkori.as_tensor(weights, dtype=kkori.double)
        if len(row.shape) != 1:
            raise ValueError(errors.message(
                "weights should be a 1d sequence but given weights have shape "
                f"{tuple(row.shape)}"))
        self.weights = row
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def chunks(self) -> Iterator[Indices]:
        """All draws at once."""
        drawn = kkori.multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        yield drawn.numpy()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Another sampler's indices in lists of ``batch_size``; ``drop_last`` drops a shorter end."""

    def __init__(
        self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool
    ) -> None:
        check_count("batch_size", batch_size)
        if not isinstance(drop_last, bool):
            raise ValueError(errors.message(
                f"drop_last should be a boolean value, but got drop_last={drop_last}"))
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(islice(indices, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return whole if self.drop_last or not rest else whole + 1


def array_batches(batch_sampler: Any) -> Iterator[Indices] | None:
    """The batches of a batch sampler as ranges and arrays; None where a user wrote the order.

    Chunks are drawn no earlier than the plain iteration would draw them, so random numbers are
    consumed at the same moments.
    """
    if type(batch_sampler).__iter__ is not BatchSampler.__iter__:
        return None
    if type(batch_sampler.sampler).__iter__ is not ArraySampler.__iter__:
        return None
    return _cut(batch_sampler.sampler, batch_sampler.batch_size, batch_sampler.drop_last)


def _cut(sampler: ArraySampler, size: int, drop_last: bool) -> Iterator[Indices]:
    chunks = sampler.chunks()
    held: Indices = range(0)
    while True:
        while len(held) < size:
            chunk = next(chunks, None)
            if chunk is None:
                break
            held = np.concatenate((held, chunk)) if len(held) else chunk
        batch, held = held[:size], held[size:]
        if not len(batch) or (drop_last and len(batch) < size):
            return
        yield batch


class DistributedSampler(Sampler[int]):
    """The share of one of several processes; all shares have the same length.

    Raises ValueError for a rank that does not exist, and RuntimeError where neither the arguments
    nor a process group say how many processes there are.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            raise RuntimeError(errors.message("Requires distributed package to be available"))
        if rank >= num_replicas or rank < 0:
            raise ValueError(errors.message(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"))
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        left_over = len(dataset) % num_replicas if drop_last else 0
        self.num_samples = math.ceil(
            (len(dataset) - num_replicas if left_over else len(dataset)) / num_replicas
        )
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        indices = list(range(len(self.dataset)))
        if self.shuffle:
            generator = kkori.Generator()
            generator.manual_seed(self.seed + self.epoch)
            indices = kkori.randperm(len(self.dataset), generator=generator).tolist()
        rounds = 1 if self.drop_last else math.ceil(self.total_size / len(indices))
        return iter((indices * rounds)[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Makes the next pass shuffle differently; call it before every epoch."""
        self.epoch = epoch


def check_count(name: str, value: Any) -> None:
    """Raises ValueError for what is not a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(errors.message(
            f"{name} should be a positive integer value, but got {name}={value}"))


def random_seed(generator: Any) -> int:
    """A seed of 63 bits, as PyTorch draws one for a pass over a loader."""
    return int(kkori.empty((), dtype=kkori.int64).random_(generator=generator).item())
