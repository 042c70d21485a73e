"""200 damaged files: each is read as what it still is, or refused with a clear error, and soon."""

from __future__ import annotations

import gzip
import io
import pickle
import re
import signal
import struct
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest

import kkori

MUTATIONS = 40  # of each of the five formats
SECONDS = 5
MOST_BYTES = 1 << 26  # that reading one of these small files may ask for


class Hang(BaseException):
    """Reading took too long; no `except Exception` may swallow this."""


@contextmanager
def limits():
    """Fail where the block takes more than its time or memory."""

    def too_long(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- whole files ----------------------------------------------------------------------------------


def whole_pt():
    kkori.manual_seed(0)
    net = kkori.nn.Sequential(kkori.nn.Linear(3, 4), kkori.nn.BatchNorm1d(4))
    file = io.BytesIO()
    kkori.save({"net": net.state_dict(), "epoch": 3, "losses": [0.5, 0.25], "name": "a"}, file)
    return file.getvalue()


def whole_safetensors():
    from kkori.io.safetensors import save

    return save({"weight": kkori.arange(12.0).reshape(3, 4), "bias": kkori.ones(4).half()})


def whole_png():
    from kkori.vision.io import encode_png

    picture = kkori.arange(3 * 20 * 30, dtype=kkori.int64).reshape(3, 20, 30) % 256
    return encode_png(picture.to(kkori.uint8)).numpy().tobytes()


def whole_idx():
    head = struct.pack(">BBBBIII", 0, 0, 8, 3, 5, 6, 7)
    return head + np.arange(5 * 6 * 7, dtype=np.uint8).tobytes()


def whole_csv():
    rows = "".join(f"{n},{n * 0.5},{'yes' if n % 2 else 'no'}\n" for n in range(20))
    return ("x,y,label\n" + rows).encode()


# --- readers --------------------------------------------------------------------------------------


def read_pt(path):
    return kkori.load(path)


def read_safetensors(path):
    from kkori.io.safetensors import load_file

    return load_file(path)


def read_png(path):
    return kkori.vision.io.read_image(str(path))


def read_idx(path):
    from kkori.vision.datasets.idx import read_idx

    return kkori.from_numpy(read_idx(path))


def read_csv(path):
    """What people do: pandas reads the table, its columns become tensors."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(path)
    return [kkori.tensor(frame["x"]), kkori.tensor(frame[["x", "y"]].values)]


def safetensors_error():
    from kkori.io.safetensors import SafetensorError

    return SafetensorError


FORMATS = {
    "pt": (whole_pt, read_pt, lambda: (RuntimeError, pickle.UnpicklingError, EOFError)),
    "safetensors": (whole_safetensors, read_safetensors, lambda: (safetensors_error(),)),
    "png": (whole_png, read_png, lambda: (RuntimeError,)),
    "idx": (whole_idx, read_idx, lambda: (ValueError,)),
    # KeyError is pandas's word for a column whose name was damaged.
    "csv": (whole_csv, read_csv, lambda: (ValueError, TypeError, KeyError)),
}


# --- damage ---------------------------------------------------------------------------------------


def cut(rng, content):
    return content[: rng.integers(len(content))]


def flip(rng, content):
    damaged = bytearray(content)
    for place in rng.integers(len(content), size=rng.integers(1, 4)):
        damaged[place] ^= 1 << rng.integers(8)
    return bytes(damaged)


def flip_head(rng, content):
    return flip(rng, content[:64]) + content[64:]


def huge_number(rng, content):
    place = rng.integers(len(content) - 8)
    return content[:place] + b"\xff" * int(rng.integers(1, 9)) + content[place + 8 :]


def huge_number_in_head(rng, content):
    place = rng.integers(24)
    return content[:place] + b"\xff\xff\xff\x7f" + content[place + 4 :]


def remove(rng, content):
    start, length = rng.integers(len(content)), rng.integers(1, 40)
    return content[:start] + content[start + length :]


def repeat(rng, content):
    start, length = rng.integers(len(content)), rng.integers(1, 200)
    return content[: start + length] + content[start:]


def insert(rng, content):
    place = rng.integers(len(content))
    return content[:place] + rng.bytes(int(rng.integers(1, 30))) + content[place:]


def blank(rng, content):
    start, length = rng.integers(len(content)), int(rng.integers(1, 100))
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def other_content(rng, content):
    return [b"", b"\0", b"<html>404 Not Found</html>", rng.bytes(len(content))][rng.integers(4)]


DAMAGES = [
    cut, flip, flip_head, huge_number, huge_number_in_head,
    remove, repeat, insert, blank, other_content,
]  # fmt: skip


def damaged(kind, number):
    rng = np.random.default_rng([list(FORMATS).index(kind), number])
    return DAMAGES[number % len(DAMAGES)](rng, FORMATS[kind][0]())


@pytest.mark.parametrize("kind", FORMATS)
def test_the_whole_file_is_read(kind, tmp_path):
    whole, read, _ = FORMATS[kind]
    path = tmp_path / f"whole.{kind}"
    path.write_bytes(whole())
    with limits():
        assert len(read(path)) > 0


@pytest.mark.parametrize("kind", FORMATS)
def test_most_damage_is_noticed(kind, tmp_path):
    """The damage below is damage: a reader that swallowed everything would pass otherwise."""
    _, read, errors = FORMATS[kind]
    refused = 0
    for number in range(MUTATIONS):
        path = tmp_path / f"{number}.{kind}"
        path.write_bytes(damaged(kind, number))
        try:
            read(path)
        except errors():
            refused += 1
    assert refused >= MUTATIONS // 4


@pytest.mark.parametrize("number", range(MUTATIONS))
@pytest.mark.parametrize("kind", FORMATS)
def test_damage_is_a_clear_error(kind, number, tmp_path):
    _, read, errors = FORMATS[kind]
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(damaged(kind, number))
    with limits():
        try:
            read(path)
        except errors() as error:
            assert re.search(r"\w+", str(error)), f"{type(error).__name__} says nothing"


def test_a_gzipped_idx_file_that_was_cut(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(whole_idx())[:-20])
    with limits(), pytest.raises(ValueError, match=r"images\.gz is not a whole idx file"):
        read_idx(path)


def test_foreign_code_is_refused_and_does_not_run(tmp_path):
    class Foreign:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    path = tmp_path / "foreign.pt"
    path.write_bytes(pickle.dumps(Foreign(), protocol=2))
    with pytest.raises(pickle.UnpicklingError):
        kkori.load(path)
    assert not (tmp_path / "touched").exists()
