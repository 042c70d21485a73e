"""DataLoader, samplers and datasets: the batches, the errors and the random numbers of PyTorch."""

from __future__ import annotations

import collections
import json
from pathlib import Path

import numpy as np
import pytest

import kkori
from kkori.utils import data as ours

FIGURES = json.loads((Path(__file__).parent / "figures" / "data.json").read_text())
LENGTH = FIGURES["length"]
Pair = collections.namedtuple("Pair", "left right")


def plain(value):
    """Tensors as (dtype, shape, values), containers kept, so that both libraries compare."""
    if hasattr(value, "tolist") and hasattr(value, "requires_grad"):
        return str(value.dtype), tuple(value.shape), value.tolist()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(plain, value))
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def outcome(function, lib):
    """What a call gives or raises, and the random number after it."""
    lib.manual_seed(7)
    try:
        result = plain(function(lib, lib.utils.data))
    except Exception as error:
        result = type(error).__name__, str(error).split("\n")[0]
    return result, lib.rand(2).tolist()


def same_in_torch(function):
    torch = pytest.importorskip("torch")
    found = outcome(function, kkori)
    assert found == outcome(function, torch)
    return found[0]


def tensors(lib):
    return lib.arange(46.0).view(23, 2), lib.arange(23)


def table(lib, data):
    return data.TensorDataset(*tensors(lib))


def subset(lib, data):
    return data.Subset(table(lib, data), [3, 1, 4, 1, 5, 9, 2, 6, 22, 0])


def halved_twice(lib, data):
    half = data.random_split(table(lib, data), [0.5, 0.5])[0]
    return data.random_split(half, [0.5, 0.5])[1]


def mixed(lib, data):
    return [
        (x, {"a": float(y), "b": [int(y), "s"]}, np.float32(y), np.arange(3), True)
        for x, y in zip(*tensors(lib), strict=True)
    ]


def joined(lib, data):
    return data.ConcatDataset([table(lib, data), table(lib, data)])


def stacked(lib, data):
    return data.StackDataset(x=data.TensorDataset(lib.arange(9)), y=range(9))


OPTIONS = [
    {},
    {"batch_size": 4},
    {"batch_size": 4, "shuffle": True},
    {"batch_size": 5, "shuffle": True, "drop_last": True},
    {"batch_size": None, "shuffle": True},
    {"batch_size": 46, "shuffle": True},
    {"batch_size": 46, "drop_last": True},
    {"batch_size": 4, "shuffle": True, "num_workers": 2},
    {"batch_size": 3, "num_workers": 3, "prefetch_factor": 1},
    {"batch_size": 4, "shuffle": True, "num_workers": 2, "persistent_workers": True},
]


# Processes are slow to start in the reference: two datasets are enough for options with workers.
LOADS = [
    (dataset, options)
    for dataset in (table, subset, halved_twice, mixed, joined, stacked)
    for options in OPTIONS
    if "num_workers" not in options or dataset in (table, subset)
]


@pytest.mark.oracle
@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize(("dataset", "options"), LOADS)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_batches_equal_torch(dataset, options, own_generator):
    def run(lib, data):
        generator = lib.Generator().manual_seed(3) if own_generator else None
        loader = data.DataLoader(dataset(lib, data), generator=generator, **options)
        passes = [list(loader), len(loader), list(loader)]
        return [*passes, lib.rand(2, generator=generator)]

    same_in_torch(run)


@pytest.mark.oracle
@pytest.mark.parametrize("make", [
    lambda data: data.WeightedRandomSampler(np.arange(23) + 1.0, 40),
    lambda data: data.WeightedRandomSampler([1.0] * 23, 10, replacement=False),
    lambda data: data.RandomSampler(range(23), replacement=True, num_samples=77),
    lambda data: data.RandomSampler(range(23), replacement=True, num_samples=64),
    lambda data: data.RandomSampler(range(23), num_samples=77),
    lambda data: data.RandomSampler(range(23), num_samples=5),
    lambda data: data.SubsetRandomSampler([1, 5, 7, 8, 2, 3]),
    lambda data: data.SequentialSampler(range(9)),
    lambda data: data.DistributedSampler(range(23), 3, 1),
    lambda data: data.DistributedSampler(range(23), 4, 3, drop_last=True),
    lambda data: data.DistributedSampler(range(23), 50, 49, shuffle=False),
    lambda data: data.DistributedSampler(range(24), 3, 0, seed=5),
])
def test_samplers_equal_torch(make):
    def run(lib, data):
        sampler = make(data)
        loader = data.DataLoader(table(lib, data), batch_size=5, sampler=sampler)
        batches = list(data.BatchSampler(sampler, 4, True))
        return [len(sampler), list(sampler), list(loader), batches]

    same_in_torch(run)


@pytest.mark.oracle
def test_an_epoch_of_a_distributed_sampler():
    def run(lib, data):
        sampler = data.DistributedSampler(range(23), 3, 1)
        sampler.set_epoch(4)
        return list(sampler)

    same_in_torch(run)


BATCHES = [
    [Pair(1, 2.0), Pair(3, 4.0)],
    [(1, "a"), (2, "b")],
    [{"a": 1, "b": [1, 2]}, {"a": 3, "b": [4, 5]}],
    [collections.OrderedDict(a=1), collections.OrderedDict(a=2)],
    [[1, 2], [3]],
    [[1, 2], [3, 4]],
    [True, False],
    [b"x", b"y"],
    ["x", "y"],
    [1, 2, 3],
    [1, 2.5],
    [0.5, 1.5],
    [np.int16(3), np.int16(4)],
    [np.float64(3), np.float64(4)],
    [np.bool_(True), np.bool_(False)],
    [np.arange(3), np.arange(3)],
    [np.array(3.0), np.array(4.0)],
    [np.array(["a"]), np.array(["b"])],
    [range(3), range(3)],
    [None, None],
    [object, 1],
    [{1}, {2}],
    "text",
    {"a": np.ones(2), "b": (1, np.float32(2))},
    (np.ones(1, np.int8), "s", 3),
    np.array(["text"]),
    np.str_("s"),
    3,
]


@pytest.mark.oracle
@pytest.mark.parametrize("batch", BATCHES, ids=repr)
@pytest.mark.parametrize("name", ["default_collate", "default_convert"])
def test_collating_equals_torch(name, batch):
    same_in_torch(lambda lib, data: getattr(data, name)(batch))


@pytest.mark.oracle
def test_tensors_of_different_sizes_are_not_collated():
    same_in_torch(lambda lib, data: data.default_collate([lib.ones(2), lib.ones(3)]))


def making(dataset=(1, 2), **options):
    return lambda lib, data: bool(data.DataLoader(list(dataset), **options))


def stream(data, items):
    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter(items)

    return Stream()


def making_stream(**options):
    return lambda lib, data: bool(data.DataLoader(stream(data, [1, 2]), **options))


def set_later(name):
    def run(lib, data):
        setattr(data.DataLoader([1, 2]), name, 3)

    return run


def half_overridden(lib, data):
    class Doubled(data.Subset):
        def __getitem__(self, index):
            return 2 * super().__getitem__(index)

    Doubled([1, 2], [0])


MISTAKES = [
    making(num_workers=-1),
    making(timeout=-1),
    making(prefetch_factor=2),
    making(prefetch_factor=-2, num_workers=1),
    making(persistent_workers=True),
    making(sampler=[1], shuffle=True),
    making(batch_sampler=[[1]], batch_size=3),
    making(batch_sampler=[[1]], shuffle=True),
    making(batch_size=None, drop_last=True),
    making(batch_size=0),
    making(batch_size=2.5),
    making(drop_last=3),
    making(multiprocessing_context="spawn"),
    making(multiprocessing_context="x", num_workers=2),
    making(multiprocessing_context=3, num_workers=2),
    making((), shuffle=True),
    making_stream(shuffle=True),
    making_stream(shuffle=False),
    making_stream(sampler=[1]),
    making_stream(batch_sampler=[[1]]),
    *map(set_later, ("batch_size", "sampler", "drop_last", "dataset", "num_workers")),
    half_overridden,
    lambda lib, data: data.random_split(range(10), [3, 3]),
    lambda lib, data: data.random_split(range(10), [1.5, -0.5]),
    lambda lib, data: data.TensorDataset(lib.ones(2), lib.ones(3)),
    lambda lib, data: data.ConcatDataset([]),
    lambda lib, data: data.ConcatDataset([stream(data, [1])]),
    lambda lib, data: data.ConcatDataset([[1, 2], [3]])[-4],
    lambda lib, data: list(data.ChainDataset([[1]])),
    lambda lib, data: len(data.ChainDataset([[1]])),
    lambda lib, data: data.StackDataset(),
    lambda lib, data: data.StackDataset([1], a=[1]),
    lambda lib, data: data.StackDataset([1], [1, 2]),
    lambda lib, data: data.Dataset()[0],
    lambda lib, data: len(data.Dataset()),
    lambda lib, data: data.RandomSampler(range(3), replacement=1),
    lambda lib, data: data.RandomSampler(range(3), num_samples=0),
    lambda lib, data: data.WeightedRandomSampler([1.0], 0),
    lambda lib, data: data.WeightedRandomSampler([[1.0]], 2),
    lambda lib, data: data.WeightedRandomSampler([1.0], 2, replacement=1),
    lambda lib, data: data.BatchSampler([1], True, False),
    lambda lib, data: data.DistributedSampler(range(3), 2, 2),
    lambda lib, data: list(data.DataLoader(table(lib, data), batch_sampler=[[1, 99]])),
    lambda lib, data: list(data.DataLoader(table(lib, data), batch_sampler=[[1, -24]])),
    lambda lib, data: list(data.DataLoader(table(lib, data), batch_sampler=[[]])),
    lambda lib, data: list(data.DataLoader(table(lib, data), batch_sampler=[[1.5]])),
    lambda lib, data: list(data.DataLoader(subset(lib, data), batch_sampler=[[99]])),
    lambda lib, data: list(data.DataLoader(table(lib, data), batch_size=2, timeout=3)),
]


@pytest.mark.oracle
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_as_by_torch(mistake):
    same_in_torch(mistake)


@pytest.mark.oracle
@pytest.mark.parametrize("run", [
    lambda lib, data: list(data.DataLoader(table(lib, data), batch_sampler=[[1, -1], (2,)])),
    lambda lib, data: list(data.DataLoader(data.Subset(range(9), [-1, 2]))),
    lambda lib, data: [list(part.indices) for part in data.random_split(range(11), [5, 6])],
    lambda lib, data: list(data.ConcatDataset([[1, 2], [3]]) + [4, 5])[-2:],
    lambda lib, data: data.ConcatDataset([[1, 2], [3]])[-1],
    lambda lib, data: list(stream(data, [1, 2]) + stream(data, [3])),
    lambda lib, data: list(data.DataLoader(stream(data, [1, 2, 3]), batch_size=2)),
    lambda lib, data: list(data.DataLoader(stream(data, [1, 2, 3]), batch_size=2, drop_last=True)),
    lambda lib, data: list(data.DataLoader(stream(data, [1, 2, 3]), batch_size=None)),
    lambda lib, data: data.Subset(table(lib, data), [4, 5])[[0, 1]],
    lambda lib, data: data.StackDataset([1, 2], "ab")[1],
    lambda lib, data: list(data.DataLoader(table(lib, data), 7, collate_fn=len)),
])
def test_odd_uses_equal_torch(run):
    same_in_torch(run)


@pytest.mark.oracle
def test_a_stream_that_draws_when_it_is_opened():
    def run(lib, data):
        class Shuffled(data.IterableDataset):
            def __iter__(self):
                return iter(lib.randperm(5).tolist())

        return list(data.DataLoader(Shuffled(), batch_size=2))

    same_in_torch(run)


# -- without PyTorch ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", FIGURES["loaders"], ids=lambda case: str(case["options"]))
def test_orders_are_the_committed_figures(case):
    kkori.manual_seed(5)
    loader = ours.DataLoader(ours.TensorDataset(kkori.arange(LENGTH)), **case["options"])
    orders = [[batch[0].tolist() for batch in loader] for _ in range(2)]
    assert orders == case["orders"]
    assert kkori.rand(2).tolist() == case["next"]


def test_samplers_are_the_committed_figures():
    expected = FIGURES["samplers"]
    kkori.manual_seed(6)
    parts = ours.random_split(range(LENGTH), [0.5, 0.3, 0.2])
    weights = expected["weights"]
    assert [list(part.indices) for part in parts] == expected["random_split"]
    assert list(ours.WeightedRandomSampler(weights, 12)) == expected["weighted"]
    once = ours.WeightedRandomSampler(weights, 3, replacement=False)
    assert list(once) == expected["weighted_once"]
    assert list(ours.RandomSampler(range(LENGTH), True, 40)) == expected["replacement"]
    assert list(ours.SubsetRandomSampler([3, 1, 4, 15])) == expected["subset"]
    assert kkori.rand(2).tolist() == expected["next"]


class Counting(ours.TensorDataset):
    """A table that notes which rows are asked for one by one."""

    asked: list[int] = []

    def __getitem__(self, index):
        self.asked.append(index)
        return tuple(2 * part for part in super().__getitem__(index))


def test_a_subclass_with_its_own_items_is_asked_for_each():
    dataset = Counting(kkori.arange(5))
    dataset.asked = []
    batches = [batch.tolist() for batch, in ours.DataLoader(dataset, batch_size=3)]
    assert batches == [[0, 2, 4], [6, 8]]
    assert dataset.asked == [0, 1, 2, 3, 4]


def test_a_table_is_never_asked_row_by_row(monkeypatch):
    def refuse(self, index):
        raise AssertionError("row by row")

    refuse_in = ours.TensorDataset(kkori.arange(12))
    part = ours.Subset(refuse_in, range(3, 9))
    for dataset, expected in ((refuse_in, [*range(12)]), (part, [*range(3, 9)])):
        loader = ours.DataLoader(dataset, batch_size=5, shuffle=True)
        iterator = iter(loader)
        monkeypatch.setattr(kkori.Tensor, "unbind", refuse)
        assert sorted(i for batch, in iterator for i in batch.tolist()) == expected


def test_changing_a_batch_leaves_the_data_alone():
    source = kkori.arange(6.0)
    for shuffle in (False, True):
        for batch, in ours.DataLoader(ours.TensorDataset(source), batch_size=3, shuffle=shuffle):
            batch.zero_()
    assert source.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_an_empty_part_is_warned_of():
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        ours.random_split(range(3), [1.0, 0.0])


def test_a_stream_longer_than_it_said_is_warned_of():
    class Liar(ours.IterableDataset):
        def __len__(self):
            return 2

        def __iter__(self):
            return iter(range(3))

    loader = ours.DataLoader(Liar())
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="was reported to be 2"):
        assert len(list(loader)) == 3


def test_the_module_names_programs_use():
    from kkori.utils.data._utils.collate import default_collate
    from kkori.utils.data.dataloader import DataLoader, _SingleProcessDataLoaderIter
    from kkori.utils.data.distributed import DistributedSampler
    from kkori.utils.data.sampler import RandomSampler

    assert default_collate is ours.default_collate
    assert isinstance(iter(DataLoader(range(2))), _SingleProcessDataLoaderIter)
    assert (DistributedSampler, RandomSampler) == (ours.DistributedSampler, ours.RandomSampler)
