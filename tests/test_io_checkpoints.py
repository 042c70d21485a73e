"""`torch.save` and `torch.load`: kkori's files in PyTorch, PyTorch's in kkori, and the bad ones."""

from __future__ import annotations

import collections
import io
import os
import pickle
import re
import stat
import struct
import zipfile

import numpy as np
import pytest

import kkori

PLAIN = [
    None, True, False, 0, 255, 256, 65536, -1, 2**31, -(2**31) - 1, 2**70, -(2**70), 1.5,
    float("inf"), 1j, "é\ud800", b"\x00\xff", b"", bytearray(b"x"), (), (1,), (1, 2), (1, 2, 3),
    (1, 2, 3, 4), [[]], {}, {1: {2: 3}}, {"k": (1, "a")}, {1, 2}, collections.OrderedDict(a=1),
    collections.Counter("aab"), list(range(2500)), {str(i): i for i in range(2500)},
]  # fmt: skip
TYPES = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16",
    "bfloat16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip


def saved(value) -> bytes:
    file = io.BytesIO()
    kkori.save(value, file)
    return file.getvalue()


def again(value):
    return kkori.load(io.BytesIO(saved(value)))


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch")


@pytest.fixture
def to_torch(torch):
    return lambda value: torch.load(io.BytesIO(saved(value)), weights_only=True)


@pytest.fixture
def from_torch(torch):
    def load(value, **options):
        file = io.BytesIO()
        torch.save(value, file)
        return kkori.load(file, **options)

    return load


# Plain values


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:30])
def test_plain_values_come_back(value):
    found = again(value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.oracle
def test_plain_values_in_both_directions(to_torch, from_torch):
    assert to_torch(PLAIN) == PLAIN
    assert from_torch(PLAIN) == PLAIN


@pytest.mark.oracle
def test_types_devices_sizes_in_both_directions(torch, to_torch, from_torch):
    def values(module):
        return [
            module.float32, module.bool, module.device("cpu"), module.device("cuda", 1),
            module.Size([1, 2]), module.strided,
        ]  # fmt: skip

    assert to_torch(values(kkori)) == values(torch)
    assert from_torch(values(torch)) == values(kkori)


def test_one_object_stays_one():
    shared = [1]
    first, second = again((shared, shared))
    assert first is second
    circle: list = []
    circle.append(circle)
    assert again(circle)[0] is not circle
    found = again(circle)
    assert found[0] is found


def test_nesting_of_any_depth():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    found, depth = again(deep), 0
    while found:
        found, depth = found[0], depth + 1
    assert depth == 100_000


def test_numpy_numbers_and_arrays_come_back():
    values = [np.float32(1.5), np.int64(-3), np.bool_(True), np.complex128(1j)]
    assert again(values) == values
    assert [type(value) for value in again(values)] == [type(value) for value in values]
    for array in (np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3))[:, ::2], np.empty(0)):
        np.testing.assert_array_equal(again(array), array)


@pytest.mark.oracle
def test_numpy_values_in_both_directions(torch, from_torch):
    values = [np.float32(1.5), np.arange(6.0).reshape(2, 3), np.asfortranarray(np.eye(2))]
    ours = torch.load(io.BytesIO(saved(values)), weights_only=False)
    for found in (ours, from_torch(values)):
        for one, other in zip(found, values, strict=True):
            np.testing.assert_array_equal(one, other)


# Tensors


@pytest.mark.parametrize("name", TYPES)
def test_tensors_of_every_type_come_back(name):
    tensor = kkori.tensor([1, 0, 2]).to(getattr(kkori, name))
    found = again(tensor)
    assert found.dtype is tensor.dtype
    assert found.tolist() == tensor.tolist()


@pytest.mark.oracle
@pytest.mark.parametrize("name", TYPES)
def test_tensors_of_every_type_in_both_directions(name, torch, to_torch, from_torch):
    theirs = torch.tensor([1, 0, 2]).to(getattr(torch, name))
    ours = from_torch(theirs)
    assert repr(ours) == repr(theirs)
    assert repr(to_torch(ours)) == repr(theirs)


def views(module):
    x = module.arange(24.0).reshape(4, 6)
    return {"x": x, "part": x[1:, ::2], "turned": x.t(), "wide": x[0].expand(3, 6), "one": x[2, 3]}


def check_views(found):
    assert [tuple(found[name].stride()) for name in found] == [(6, 1), (6, 2), (1, 6), (0, 1), ()]
    assert [found[name].storage_offset() for name in found] == [0, 6, 0, 0, 15]
    found["x"][1, 0] = -1.0  # all see it, for the memory is one
    assert found["part"][0, 0] == -1.0
    assert found["turned"][0, 1] == -1.0


def test_views_share_memory_and_keep_their_strides():
    check_views(again(views(kkori)))


@pytest.mark.oracle
def test_views_in_both_directions(torch, to_torch, from_torch):
    check_views(to_torch(views(kkori)))
    check_views(from_torch(views(torch)))


def test_memory_is_saved_once():
    x = kkori.zeros(100_000)
    assert len(saved([x, x[10:], x.reshape(100, 1000)])) < 1.1 * x.nbytes


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0, 1), (1,) * 10])
def test_shapes_without_much_in_them(shape):
    assert again(kkori.ones(shape)).shape == shape


def test_gradients_are_asked_for_as_before():
    found = again([kkori.ones(2, requires_grad=True), kkori.ones(2, requires_grad=True) * 2])
    assert [tensor.requires_grad for tensor in found] == [True, True]
    assert all(tensor.is_leaf for tensor in found)


def test_attributes_set_by_a_user_are_kept():
    tensor = kkori.ones(1)
    tensor.note = "mine"
    assert again(tensor).note == "mine"


@pytest.mark.oracle
def test_odd_tensors_of_pytorch(torch, from_torch, to_torch):
    marked = torch.ones(1)
    marked.note = ["mine"]
    assert to_torch(from_torch(marked)).note == ["mine"]
    assert from_torch(torch.tensor([1 + 2j]).conj()).tolist() == [1 - 2j]
    assert from_torch(torch.empty(2, 3, device="meta")).device == kkori.device("meta")
    assert to_torch(kkori.empty(2, 3, device="meta")).device == torch.device("meta")
    parameter = from_torch(torch.nn.Parameter(torch.ones(2), requires_grad=False))
    assert isinstance(parameter, kkori.nn.Parameter) and not parameter.requires_grad
    assert isinstance(to_torch(parameter), torch.nn.Parameter)


@pytest.mark.oracle
def test_state_dicts_in_both_directions(torch, to_torch, from_torch):
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    adam = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 3)).sum().backward()
    adam.step()
    state = {"net": net.state_dict(), "adam": adam.state_dict(), "epoch": 3}
    ours = from_torch(state)
    assert ours["net"]._metadata == net.state_dict()._metadata
    assert repr(to_torch(ours)) == repr(state)
    twin = kkori.nn.Sequential(kkori.nn.Linear(3, 2), kkori.nn.BatchNorm1d(2))
    twin.load_state_dict(ours["net"])
    other = kkori.optim.Adam(twin.parameters())
    other.load_state_dict(ours["adam"])
    repeated = to_torch({"net": twin.state_dict(), "adam": other.state_dict(), "epoch": 3})
    net.load_state_dict(repeated["net"])
    adam.load_state_dict(repeated["adam"])
    assert repr(net.state_dict()) == repr(state["net"])
    assert repr(adam.state_dict()["state"]) == repr(state["adam"]["state"])


@pytest.mark.oracle
def test_files_are_laid_out_as_pytorch_lays_them_out(torch, tmp_path):
    ours, theirs = tmp_path / "model.pt", tmp_path / "theirs" / "model.pt"
    theirs.parent.mkdir()
    kkori.save([kkori.ones(3)], ours)
    torch.save([torch.ones(3)], theirs)
    with zipfile.ZipFile(ours) as one, zipfile.ZipFile(theirs) as other:
        assert one.namelist() == other.namelist()
        assert one.testzip() is None
    assert torch.load(ours, mmap=True)[0].tolist() == [1.0, 1.0, 1.0]


def test_contents_start_at_multiples_of_64(tmp_path):
    path = tmp_path / "m.pt"
    kkori.save([kkori.ones(n) for n in range(1, 9)], path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            at = record.header_offset
            name, extra = struct.unpack("<HH", content[at + 26 : at + 30])
            assert (at + 30 + name + extra) % 64 == 0


def test_equal_data_make_equal_files():
    assert saved({"w": kkori.arange(5)}) == saved({"w": kkori.arange(5)})


# Where things go


def test_places(tmp_path):
    data = saved(kkori.ones(2))
    for place in ("cpu", kkori.device("cpu"), {"cpu": "cpu"}, lambda storage, location: storage):
        assert kkori.load(io.BytesIO(data), map_location=place).device == kkori.device("cpu")
    for place in ("meta", {"cpu": "meta"}):
        assert kkori.load(io.BytesIO(data), map_location=place).device == kkori.device("meta")
    asked = []
    kkori.load(io.BytesIO(data), map_location=lambda storage, location: asked.append(location))
    assert asked == ["cpu"]
    with pytest.raises(RuntimeError, match="^Attempting to deserialize object on a CUDA device"):
        kkori.load(io.BytesIO(data), map_location="cuda")
    with pytest.raises(RuntimeError, match="^don't know how to restore data location"):
        kkori.load(io.BytesIO(data), map_location="nowhere")
    with pytest.raises(TypeError, match="'int' object is not callable"):
        kkori.load(io.BytesIO(data), map_location=3)


def test_paths_files_and_positions(tmp_path):
    for path in (tmp_path / "a.pt", str(tmp_path / "b.pt"), tmp_path / "é.pt", tmp_path / "none"):
        kkori.save([1], path)
        assert kkori.load(path) == [1]
    with open(tmp_path / "c.pt", "wb") as file:
        file.write(b"something first")
        kkori.save([2], file)
    with open(tmp_path / "c.pt", "rb") as file:
        file.seek(15)
        assert kkori.load(file) == [2]


def test_saving_is_all_or_nothing(tmp_path):
    path = tmp_path / "model.pt"
    kkori.save([1], path)
    os.chmod(path, 0o600)
    with pytest.raises(pickle.PicklingError):
        kkori.save([kkori.ones(2), lambda: 1], path)
    assert kkori.load(path) == [1]
    kkori.save([2], path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    link = tmp_path / "link.pt"
    link.symlink_to(path)
    kkori.save([3], link)
    assert link.is_symlink() and kkori.load(path) == [3]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link.pt", "model.pt"]


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        kkori.save([1], tmp_path / "m.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_writes_nothing_to_a_file_object():
    file = io.BytesIO()
    with pytest.raises(pickle.PicklingError):
        kkori.save({"f": print}, file)
    assert file.getvalue() == b""


# What cannot be saved


@pytest.mark.parametrize("value", [lambda: 1, object(), frozenset([1]), range(3),
                                   collections.defaultdict(list),
                                   collections.namedtuple("P", "x")(1)])  # fmt: skip
def test_what_is_not_plain_is_refused_with_its_place(value):
    with pytest.raises(pickle.PicklingError, match=re.escape("at obj['a'][1]")):
        kkori.save({"a": [0, value]}, io.BytesIO())


def test_a_module_is_refused_with_the_way_out():
    with pytest.raises(pickle.PicklingError, match=r"state_dict\(\)"):
        kkori.save(kkori.nn.Linear(1, 1), io.BytesIO())


def test_a_tuple_in_itself_is_refused():
    inner: list = []
    value = (inner,)
    inner.append(value)
    with pytest.raises(pickle.PicklingError, match="contains itself"):
        saved(value)


def test_mistakes_with_save(tmp_path):
    with pytest.raises(AttributeError, match="^expected 'f' to be string, path, or a file-like"):
        kkori.save(1, 5)
    with pytest.raises(RuntimeError, match="^Parent directory .* does not exist"):
        kkori.save(1, tmp_path / "no" / "m.pt")
    with pytest.raises(RuntimeError, match="cannot be opened"):
        kkori.save(1, tmp_path)
    x = kkori.ones(4)
    with pytest.raises(RuntimeError, match="^Cannot save multiple tensors or storages that view"):
        saved([x, x.view(kkori.int32)])


def test_mistakes_with_load(tmp_path):
    with pytest.raises(FileNotFoundError):
        kkori.load(tmp_path / "none.pt")
    with pytest.raises(AttributeError, match="only torch.load from a file that is seekable"):
        kkori.load(5)
    with pytest.raises(RuntimeError, match="explicit pickle_module"):
        kkori.load(io.BytesIO(saved(1)), pickle_module=pickle, weights_only=True)


# Files that are not what they should be


def archive(content: bytes, **records: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("archive/data.pkl", content)
        target.writestr("archive/version", b"3\n")
        for name, record in records.items():
            target.writestr("archive/" + name.replace("_", "/"), record)
    return file.getvalue()


def rezipped(drop=(), compression=zipfile.ZIP_STORED, **changes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved([1, kkori.ones(3)]))) as source:
        with zipfile.ZipFile(file, "w", compression) as target:
            for record in source.infolist():
                name = record.filename.partition("/")[2]
                if name not in drop:
                    key = name.replace("/", "_")
                    target.writestr(record.filename, changes.get(key, source.read(record)))
    return file.getvalue()


def tensor_pickle(offset=b"K\x00", size=b"K\x03\x85", stride=b"K\x01\x85", kind=b"FloatStorage",
                  location=b"cpu", count=b"K\x03"):  # fmt: skip
    text = b"X" + struct.pack("<I", len(location)) + location
    return (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n" + kind
            + b"\nX\x01\x00\x00\x000" + text + count + b"tQ" + offset + size + stride
            + b"\x89ccollections\nOrderedDict\n)RtR.")  # fmt: skip


DATA = struct.pack("<3f", 1, 2, 3)
MINUS_ONE = b"J\xff\xff\xff\xff"
HUGE = b"\x8a\x08" + (2**62).to_bytes(8, "little")
STREAM = "PytorchStreamReader failed"
WEIGHTS = "Weights only load failed"

BAD = {
    "empty file": (b"", EOFError, "empty"),
    "text": (b"hello world" * 5, pickle.UnpicklingError, WEIGHTS),
    "format from before 1.6": (pickle.dumps([1], 2), pickle.UnpicklingError, "before 1.6"),
    "start of a zip": (b"PK\x03\x04", RuntimeError, f"{STREAM} reading zip archive"),
    "first half": (rezipped()[:300], RuntimeError, "failed finding central directory"),
    "no pickle": (rezipped(["data.pkl"]), RuntimeError, f"{STREAM} locating file data.pkl"),
    "no data": (rezipped(["data/0"]), RuntimeError, f"{STREAM} locating file data/0"),
    "no version": (rezipped(["version"]), RuntimeError, r'^Expected hasRecord\("version"\)'),
    "version 99": (rezipped(version=b"99"), RuntimeError, "maximum supported version"),
    "version xx": (rezipped(version=b"xx"), RuntimeError, "version"),
    "byte order": (rezipped(byteorder=b"middle"), ValueError, "^Unknown endianness type: middle"),
    "short data": (rezipped(data_0=b"1234"), RuntimeError, r"^record size \(4 bytes\) does not"),
    "long data": (rezipped(data_0=b"1" * 40), RuntimeError, r"^record size \(40 bytes\) does not"),
    "bomb": (rezipped((), zipfile.ZIP_DEFLATED, data_0=bytes(10**7)),
             RuntimeError, STREAM),
    "os.system": (archive(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."),
                  pickle.UnpicklingError, "os.system whose module os is blocked"),
    "eval": (archive(b"\x80\x02c__builtin__\neval\nX\x02\x00\x00\x00ls\x85R."),
             pickle.UnpicklingError, "GLOBAL eval was not an allowed global"),
    "a class": (archive(b"\x80\x02cfoo.bar\nBaz\n)\x81."), pickle.UnpicklingError,
                "GLOBAL foo.bar.Baz was not an allowed global"),
    "no instruction": (archive(b""), EOFError, "ends"),
    "no end": (archive(b"\x80\x02]"), EOFError, "ends"),
    "long text": (archive(b"\x80\x02X\xff\xff\xff\xffa."), EOFError, "ends"),
    "empty stack": (archive(b"\x80\x02."), pickle.UnpicklingError, WEIGHTS),
    "no mark": (archive(b"\x80\x02t."), pickle.UnpicklingError, WEIGHTS),
    "unknown instruction": (archive(b"\x80\x02\x95."), pickle.UnpicklingError,
                            "Unsupported operand 149"),
    "no such memo": (archive(b"\x80\x02h\x07."), pickle.UnpicklingError, WEIGHTS),
    "call of None": (archive(b"\x80\x02NN\x85R."), pickle.UnpicklingError, "unrecognized function"),
    "append to None": (archive(b"\x80\x02NNa."), pickle.UnpicklingError, "only append to lists"),
    "item of None": (archive(b"\x80\x02NNNs."), pickle.UnpicklingError, "only SETITEM for dict"),
    "build of a list": (archive(b"\x80\x02]Nb."), pickle.UnpicklingError, "only build"),
    "storage None": (archive(b"\x80\x02NQ."), pickle.UnpicklingError, "persistent_load"),
    "list as key": (archive(b"\x80\x02}]Ns."), pickle.UnpicklingError, "unhashable"),
    "deep key": (archive(b"\x80\x02})" + b"\x85" * 200_000 + b"Ns."), pickle.UnpicklingError,
                 "nested more than"),
    "huge bytearray": (archive(b"\x80\x02c__builtin__\nbytearray\n" + HUGE + b"\x85R."),
                       pickle.UnpicklingError, "needs bytes"),
    "not latin": (archive(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip"
                          b"\x86R."), pickle.UnpicklingError, "bytes"),
    "object array": (archive(b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R."),
                     pickle.UnpicklingError, "not plain numbers"),
    "beyond the end": (archive(tensor_pickle(size=b"K\x09\x85"), data_0=DATA), RuntimeError,
                       "^Trying to resize storage that is not resizable"),
    "offset": (archive(tensor_pickle(offset=b"K\x01"), data_0=DATA), RuntimeError,
               "^Trying to resize storage that is not resizable"),
    "negative stride": (archive(tensor_pickle(stride=MINUS_ONE + b"\x85"), data_0=DATA),
                        RuntimeError, "^Storage size calculation overflowed"),
    "negative offset": (archive(tensor_pickle(offset=MINUS_ONE), data_0=DATA), RuntimeError,
                        "^Tensor: invalid storage offset -1"),
    "negative size": (archive(tensor_pickle(size=MINUS_ONE + b"\x85"), data_0=DATA), RuntimeError,
                      "^numel: integer multiplication overflow"),
    "huge size": (archive(tensor_pickle(size=HUGE + b"\x85", stride=b"K\x00\x85"), data_0=DATA),
                  RuntimeError, "^numel: integer multiplication overflow"),
    "dimensions": (archive(tensor_pickle(stride=b"K\x01K\x01\x86"), data_0=DATA), RuntimeError,
                   r"^unequal size length \(1\) and stride length \(2\)"),
    "size None": (archive(tensor_pickle(size=b"N\x85"), data_0=DATA), pickle.UnpicklingError,
                  "sizes and strides"),
    "huge count": (archive(tensor_pickle(count=HUGE), data_0=DATA), RuntimeError,
                   "^record size"),
    "not a storage": (archive(tensor_pickle(kind=b"float32"), data_0=DATA),
                      pickle.UnpicklingError, "storage"),
    "on a GPU": (archive(tensor_pickle(location=b"cuda:0"), data_0=DATA), RuntimeError,
                 "^Attempting to deserialize object on a CUDA device"),
    "somewhere": (archive(tensor_pickle(location=b"foo"), data_0=DATA), RuntimeError,
                  r"^don't know how to restore data location .* \(tagged with foo\)"),
}  # fmt: skip


def test_what_the_bad_files_are_made_of_is_good():
    assert again([1, kkori.ones(3)])[1].tolist() == [1.0, 1.0, 1.0]
    assert kkori.load(io.BytesIO(rezipped()))[0] == 1
    assert kkori.load(io.BytesIO(rezipped(compression=zipfile.ZIP_DEFLATED)))[0] == 1
    assert kkori.load(io.BytesIO(archive(tensor_pickle(), data_0=DATA))).tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_clear_errors(name):
    content, kind, text = BAD[name]
    with pytest.raises(kind, match=text) as caught:
        kkori.load(io.BytesIO(content))
    assert len(str(caught.value)) < 2000


SAME_FIRST_LINE = [
    "start of a zip", "first half", "no pickle", "no data", "no version", "byte order",
    "short data", "long data", "os.system", "eval", "a class", "unknown instruction",
    "call of None", "append to None", "item of None", "build of a list", "storage None",
    "beyond the end", "offset", "negative stride", "negative offset", "negative size",
    "dimensions", "on a GPU", "somewhere",
]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", SAME_FIRST_LINE)
def test_bad_files_get_pytorchs_first_line(name, torch):
    content = BAD[name][0]
    with pytest.raises(Exception) as ours:
        kkori.load(io.BytesIO(content))
    with pytest.raises(Exception) as theirs:
        torch.load(io.BytesIO(content))
    assert type(ours.value) is type(theirs.value)
    expected = str(theirs.value).split("\n")[0]
    found = str(ours.value).split("\n")[0]
    if name == "start of a zip":  # miniz says which check failed first
        expected, found = (re.sub("archive: [^.]*", "archive", line) for line in (expected, found))
    assert found == expected


def test_bytes_of_a_bool_are_truth_values():
    content = archive(tensor_pickle(kind=b"BoolStorage"), data_0=b"\x00\x01\x07")
    found = kkori.load(io.BytesIO(content))
    assert found.tolist() == [False, True, True]
    assert found.numpy().view(np.uint8).max() == 1


def test_a_damaged_record_is_noticed():
    content = bytearray(saved(kkori.ones(100)))
    content[content.index(struct.pack("<100f", *[1.0] * 100)) + 7] ^= 1
    with pytest.raises(RuntimeError, match=f"^{STREAM} reading file data/0: .*CRC"):
        kkori.load(io.BytesIO(content))


def test_the_other_byte_order_is_read():
    turned = np.ones(3, ">f4").tobytes()
    found = kkori.load(io.BytesIO(rezipped(byteorder=b"big", data_0=turned)))
    assert found[1].tolist() == [1.0, 1.0, 1.0]


def test_nothing_foreign_is_trusted():
    foreign = archive(b"\x80\x02cfoo.bar\nBaz\n)\x81.")
    with pytest.raises(pickle.UnpicklingError, match="foo.bar.Baz"):
        kkori.load(io.BytesIO(foreign), weights_only=False)
    serialization = kkori.io.serialization
    serialization.add_safe_globals([np.dtype, collections.OrderedDict])
    with pytest.raises(RuntimeError, match="cannot be trusted here"):
        with serialization.safe_globals([pytest.Mark]):
            pass
