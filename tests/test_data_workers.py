"""Workers of a DataLoader: order, errors, early ends. No test here may hang or leave a thread."""

from __future__ import annotations

import gc
import threading
import time

import pytest

import kkori
from kkori.utils import data as ours

PREFIX = "DataLoader worker"


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith(PREFIX)]


@pytest.fixture(autouse=True)
def no_worker_is_left():
    yield
    gc.collect()
    deadline = time.monotonic() + 5
    while workers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert workers() == []


def fragile(data):
    class Fragile(data.Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, index):
            if index == 5:
                raise KeyError("five")
            if index == 7:
                raise ValueError("seven")
            return index

    return Fragile()


def walk(lib, count=7, **options):
    """What each of some calls of ``next`` gives or raises."""
    data = lib.utils.data
    iterator, seen = iter(data.DataLoader(fragile(data), batch_size=2, **options)), []
    for _ in range(count):
        try:
            seen.append(next(iterator).tolist())
        except StopIteration:
            seen.append("the end")
        except Exception as error:
            seen.append((type(error).__name__, str(error).split("\n")[0]))
    return seen


def sharded(data, length):
    class Sharded(data.IterableDataset):
        def __iter__(self):
            info = data.get_worker_info()
            if info is None:
                return iter(range(length))
            return iter(range(info.id, length, info.num_workers))

    return Sharded()


@pytest.mark.oracle
@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_exceptions_equal_torch(count):
    torch = pytest.importorskip("torch")
    assert walk(kkori, num_workers=count) == walk(torch, num_workers=count)


@pytest.mark.oracle
@pytest.mark.parametrize("options", [
    {"num_workers": 1},
    {"num_workers": 2, "batch_size": 3},
    {"num_workers": 3, "batch_size": None, "prefetch_factor": 1},
    {"num_workers": 2, "batch_size": 3, "persistent_workers": True, "prefetch_factor": 4},
], ids=str)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_streams_of_workers_equal_torch(options):
    torch = pytest.importorskip("torch")

    def run(lib):
        loader = lib.utils.data.DataLoader(sharded(lib.utils.data, 11), **options)
        return [[batch if isinstance(batch, int) else batch.tolist() for batch in loader]
                for _ in range(2)]

    assert run(kkori) == run(torch)


def test_an_exception_names_the_worker_and_the_line():
    loader = ours.DataLoader(fragile(ours), batch_size=1, num_workers=1)
    with pytest.raises(KeyError) as caught:
        list(loader)
    text = str(caught.value)
    assert text.startswith("Caught KeyError in DataLoader worker process 0.\nOriginal Traceback")
    assert 'raise KeyError("five")' in text


def test_an_exception_whose_type_wants_other_arguments():
    class Odd(Exception):
        def __init__(self, code, text):
            super().__init__(code, text)

    class Raises:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise Odd(1, "x")

    with pytest.raises(RuntimeError, match="Caught Odd in DataLoader worker process 0"):
        list(ours.DataLoader(Raises(), num_workers=1))


def test_a_failing_worker_init_fn():
    def fail(number):
        raise OSError(f"no room for {number}")

    with pytest.raises(OSError, match="Caught OSError in DataLoader worker process 0"):
        list(ours.DataLoader(range(4), num_workers=1, worker_init_fn=fail))


def test_a_worker_that_exits():
    class Leaves:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            raise SystemExit(3)

    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited"):
        list(ours.DataLoader(Leaves(), num_workers=1))


def test_an_early_end_stops_the_threads():
    table = ours.TensorDataset(kkori.arange(100))
    for _ in range(3):
        for _batch in ours.DataLoader(table, batch_size=2, num_workers=2):
            break
    gc.collect()
    assert workers() == []


def test_a_finished_pass_stops_the_threads():
    assert len(list(ours.DataLoader(range(9), num_workers=3))) == 9
    assert workers() == []


def test_a_dropped_iterator_does_not_wait_for_slow_data():
    release = threading.Event()

    class Slow:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            release.wait(20)
            return index

    iterator = iter(ours.DataLoader(Slow(), num_workers=2))
    started = time.monotonic()
    del iterator
    gc.collect()
    assert time.monotonic() - started < 10
    release.set()


def test_an_exception_in_the_loop_stops_the_threads():
    with pytest.raises(ZeroDivisionError):
        for _batch in ours.DataLoader(range(100), num_workers=2):
            raise ZeroDivisionError
    gc.collect()
    assert workers() == []


def test_a_timeout():
    release = threading.Event()

    class Slow:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            release.wait(20)
            return index

    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.05 seconds"):
        try:
            list(ours.DataLoader(Slow(), num_workers=1, timeout=0.05))
        finally:
            release.set()


def test_persistent_workers_stay_and_start_afresh():
    loader = ours.DataLoader(
        ours.TensorDataset(kkori.arange(8)), 2, num_workers=2, persistent_workers=True
    )
    for _batch in loader:
        break  # what was prepared for this pass must not come up in the next
    first = {thread.ident for thread in workers()}
    assert [batch.tolist() for batch, in loader] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert {thread.ident for thread in workers()} == first
    assert len(first) == 2


def test_each_worker_knows_itself_and_has_its_own_attributes():
    class Range(ours.IterableDataset):
        def __init__(self, start, stop):
            self.start, self.stop = start, stop

        def __iter__(self):
            return iter(range(self.start, self.stop))

    def share(number):
        info = ours.get_worker_info()
        assert info.id == number
        assert info.num_workers == 2
        half = (info.dataset.stop - info.dataset.start) // 2
        info.dataset.start += number * half
        info.dataset.stop = info.dataset.start + half

    dataset = Range(0, 8)
    loader = ours.DataLoader(dataset, num_workers=2, worker_init_fn=share)
    assert sorted(batch.item() for batch in loader) == [*range(8)]
    assert (dataset.start, dataset.stop) == (0, 8)
    assert ours.get_worker_info() is None


def test_seeds_of_workers_follow_from_the_generator():
    seeds = []

    def note(number):
        seeds.append(ours.get_worker_info().seed - number)

    for _ in range(2):
        kkori.manual_seed(0)
        list(ours.DataLoader(range(2), num_workers=2, worker_init_fn=note))
    kkori.manual_seed(0)
    expected = kkori.empty((), dtype=kkori.int64).random_().item()
    assert seeds == [expected] * 4


def test_batches_out_of_order():
    """Without order, a batch that is ready is not held back by one that is not."""
    release = threading.Event()

    class FirstIsSlow:
        def __len__(self):
            return 6

        def __getitem__(self, index):
            if index == 0:
                release.wait(20)
            return index

    loader = ours.DataLoader(FirstIsSlow(), num_workers=2, in_order=False, prefetch_factor=1)
    iterator = iter(loader)
    first = [next(iterator).item() for _ in range(5)]
    release.set()
    assert sorted(first) == [1, 2, 3, 4, 5]
    assert [batch.item() for batch in iterator] == [0]


def test_batches_are_prepared_ahead_but_not_without_limit():
    taken = []

    class Noting:
        def __len__(self):
            return 100

        def __getitem__(self, index):
            taken.append(index)
            return index

    iterator = iter(ours.DataLoader(Noting(), num_workers=2, prefetch_factor=3))
    deadline = time.monotonic() + 5
    while len(taken) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sorted(taken) == [0, 1, 2, 3, 4, 5]
    next(iterator)


def test_an_iterator_cannot_be_pickled():
    with pytest.raises(NotImplementedError):
        iter(ours.DataLoader(range(2))).__getstate__()


def random_rows(data, lib):
    class Random(data.Dataset):
        def __len__(self):
            return 9

        def __getitem__(self, index):
            return lib.rand(2), lib.initial_seed() - data.get_worker_info().id

    return Random()


@pytest.mark.oracle
def test_random_numbers_of_workers_equal_torch():
    """Each worker draws from a stream of its own, and the main one goes on undisturbed."""
    torch = pytest.importorskip("torch")

    def run(lib):
        lib.manual_seed(3)
        data = lib.utils.data
        loader = data.DataLoader(random_rows(data, lib), batch_size=2, num_workers=2)
        batches = [(rows.tolist(), seeds.tolist()) for rows, seeds in loader]
        return batches, lib.rand(2).tolist()

    assert run(kkori) == run(torch)


def test_a_worker_that_seeds_leaves_the_main_stream_alone():
    kkori.manual_seed(1)
    expected = kkori.rand(3).tolist()[2]
    kkori.manual_seed(1)
    kkori.rand(1)
    list(
        ours.DataLoader(
            range(4),
            num_workers=2,
            generator=kkori.Generator().manual_seed(0),
            worker_init_fn=lambda number: kkori.manual_seed(number),
        )
    )
    kkori.rand(1)
    assert kkori.rand(1).item() == expected
