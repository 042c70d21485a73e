"""Event files: framed and checksummed records of the messages TensorBoard reads."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

import kkori
from kkori.utils.tensorboard import SummaryWriter
from kkori.utils.tensorboard.fields import integer, single
from kkori.utils.tensorboard.records import checksum, record
from kkori.utils.tensorboard.summary import histogram, png


def varint(data, place):
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def fields(data):
    """A message as {number: [values]}: numbers for varints and floats, bytes for the rest."""
    found, place = {}, 0
    while place < len(data):
        key, place = varint(data, place)
        if key & 7 == 0:
            value, place = varint(data, place)
        elif key & 7 == 2:
            length, place = varint(data, place)
            value, place = data[place : place + length], place + length
        else:
            form, width = ("<d", 8) if key & 7 == 1 else ("<f", 4)
            (value,) = struct.unpack(form, data[place : place + width])
            place += width
        found.setdefault(key >> 3, []).append(value)
    return found


def events(folder):
    """The events of all files directly in a folder, whose checksums are right."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack("<Q", data[place : place + 8])
            content = data[place + 12 : place + 12 + length]
            assert record(content) == data[place : place + 16 + length]
            found.append(fields(content))
            place += 16 + length
        assert place == len(data)
    return found


def values(folder):
    """The summaries in a folder as (step, tag, fields)."""
    found = []
    for event in events(folder):
        for content in event.get(5, []):
            (value,) = fields(content)[1]
            found.append((event.get(2, [None])[0], fields(value)[1][0].decode(), fields(value)))
    return found


def doubles(packed):
    return list(struct.unpack(f"<{len(packed) // 8}d", packed))


def test_checksum_is_crc32c():
    assert checksum(b"123456789") == 0xE3069283


def test_numbers_are_written_as_protocol_buffers_write_them():
    assert integer(1, 300) == b"\x08\xac\x02"
    assert integer(2, -1) == b"\x10" + b"\xff" * 9 + b"\x01"
    assert single(1, 1e300) == b"\x0d" + struct.pack("<f", float("inf"))


def test_scalars(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        for step in range(25):
            writer.add_scalar("loss", kkori.tensor(1 / (step + 1)), step, walltime=7.0)
        writer.add_scalar("new", 0.5, 3, new_style=True, double_precision=True)
    first, *rest = events(tmp_path)
    assert first[3] == [b"brain.Event:2"]
    assert all(event[1] == [7.0] for event in rest[:25])
    found = values(tmp_path)
    assert [step for step, tag, _ in found] == [*range(25), 3]
    assert found[24][2][2] == [pytest.approx(0.04)]
    tensor = fields(found[25][2][8][0])
    assert (tensor[1], doubles(tensor[6][0])) == ([2], [0.5])
    assert fields(fields(found[25][2][9][0])[1][0])[1] == [b"scalars"]


def test_events_can_be_read_once_flushed_and_writing_goes_on_after_close(tmp_path):
    writer = SummaryWriter(tmp_path, max_queue=100)
    writer.add_scalar("a", 1.0)
    assert values(tmp_path) == []
    writer.flush()
    assert len(values(tmp_path)) == 1
    writer.close()
    writer.add_scalar("a", 2.0)
    writer.close()
    assert len(values(tmp_path)) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_several_scalars_get_folders_of_their_own(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalars("loss/all", {"train": 1, "test": 2.5}, 7)
    for name, number in (("train", 1.0), ("test", 2.5)):
        (found,) = values(tmp_path / f"loss_all_{name}")
        assert (found[0], found[1], found[2][2]) == (7, "loss/all", [number])


def test_histograms():
    (value,) = fields(histogram("h", kkori.tensor([1.0, 2.0, 2.0, 9.0]), bins=[0, 1, 2, 3, 9]))[1]
    found = fields(fields(value)[5][0])
    assert [found[number][0] for number in range(1, 6)] == [1.0, 9.0, 4.0, 14.0, 90.0]
    assert doubles(found[6][0]) == [1.0, 2.0, 3.0, 9.0]
    assert doubles(found[7][0]) == [0.0, 1.0, 2.0, 1.0]
    with pytest.raises(ValueError, match="The input has no element"):
        histogram("h", kkori.zeros(0), 3)


def test_default_bins_hold_every_value(tmp_path):
    numbers = np.random.RandomState(0).randn(300)
    with SummaryWriter(tmp_path) as writer:
        writer.add_histogram("h", numbers, 1)
        writer.add_histogram("coarse", numbers, 1, max_bins=20)
    for _, _, value in values(tmp_path):
        found = fields(value[5][0])
        limits, counts = doubles(found[6][0]), doubles(found[7][0])
        assert sum(counts) == 300
        assert len(limits) == len(counts)
        assert limits[0] <= numbers.min() and limits[-1] >= numbers.max()


def test_pictures():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    found, place, raw = png(pixels), 8, b""
    assert found[:8] == b"\x89PNG\r\n\x1a\n"
    while place < len(found):
        (length,) = struct.unpack(">I", found[place : place + 4])
        chunk = found[place + 4 : place + 8 + length]
        assert struct.unpack(">I", found[place + 8 + length : place + 12 + length]) == (
            zlib.crc32(chunk),
        )
        raw += chunk[4:] if chunk[:4] == b"IDAT" else b""
        place += 12 + length
    rows = np.frombuffer(zlib.decompress(raw), np.uint8).reshape(2, 10)
    assert rows[:, 0].tolist() == [0, 0]
    assert np.array_equal(rows[:, 1:].reshape(2, 3, 3), pixels)


@pytest.mark.parametrize(("shape", "dataformats", "size"), [
    ((3, 5, 7), "CHW", (5, 7, 3)),
    ((5, 7, 1), "HWC", (5, 7, 3)),
    ((5, 7), "HW", (5, 7, 3)),
    ((10, 1, 4, 4), "NCHW", (8, 32, 3)),
    ((2, 4, 4, 3), "NHWC", (4, 8, 3)),
])
def test_image_formats(tmp_path, shape, dataformats, size):
    with SummaryWriter(tmp_path) as writer:
        writer.add_image("i", kkori.rand(*shape), 1, dataformats=dataformats)
    ((_, _, value),) = values(tmp_path)
    found = fields(value[4][0])
    assert (found[1][0], found[2][0], found[3][0]) == size


def test_figures(tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    figure = plt.figure(figsize=(2, 1), dpi=50)
    with SummaryWriter(tmp_path) as writer:
        writer.add_figure("f", figure, 1)
    ((_, _, value),) = values(tmp_path)
    assert [fields(value[4][0])[number][0] for number in (1, 2)] == [50, 100]
    assert not plt.fignum_exists(figure.number)


def test_text(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_text("note", "**꼬리**", 4)
    ((step, tag, value),) = values(tmp_path)
    assert (step, tag) == (4, "note/text_summary")
    assert fields(value[8][0])[8][0].decode() == "**꼬리**"


def test_hyperparameters(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_hparams({"lr": 0.1, "name": "x"}, {"acc": 0.5}, {"lr": [0.1]}, run_name="run")
    found = values(tmp_path / "run")
    assert [tag for _, tag, _ in found] == [
        "_hparams_/experiment",
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
        "acc",
    ]
    content = fields(fields(fields(found[1][2][9][0])[1][0])[2][0])
    pairs = [fields(pair) for pair in fields(content[3][0])[1]]
    assert {pair[1][0].decode(): list(fields(pair[2][0]).values())[0][0] for pair in pairs} == {
        "lr": 0.1,
        "name": b"x",
    }
    with pytest.raises(TypeError, match="should be a list of same type"):
        writer.add_hparams({"lr": 0.1}, {}, {"lr": ["x"]})


def test_mistakes(tmp_path):
    writer = SummaryWriter(tmp_path)
    with pytest.raises(AssertionError, match="Tensor should contain one element"):
        writer.add_scalar("a", kkori.ones(2))
    with pytest.raises(NotImplementedError, match="numpy array or torch tensor are expected"):
        writer.add_scalar("a", [1])
    with pytest.raises(AssertionError, match="size of input tensor and input format"):
        writer.add_image("a", kkori.ones(2))
    writer.close()
    assert values(tmp_path) == []
