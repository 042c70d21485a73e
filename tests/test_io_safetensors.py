"""The safetensors format: read and written as the reference library does, and strictly."""

from __future__ import annotations

import json
import re

import pytest

import kkori
from kkori.io import safetensors
from kkori.io.safetensors import SafetensorError


def file_of(head, content=b"", *, length=None) -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    size = len(text) if length is None else length
    return size.to_bytes(8, "little") + text + content


def tensors(module):
    return {
        "b": module.arange(12.0).reshape(3, 4),
        "a": module.tensor([True, False]),
        "half": module.tensor([1.5, -2.0]).to(module.bfloat16),
        "empty": module.ones(0, 3),
        "one": module.tensor(7),
        "é": module.tensor([1 + 2j]).to(module.complex64),
    }


def shown(found) -> dict[str, str]:
    return {name: repr(tensor) for name, tensor in sorted(found.items())}


def test_tensors_come_back(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.save_file(tensors(kkori), path, {"made by": "a test"})
    assert shown(safetensors.load_file(path)) == shown(tensors(kkori))
    assert shown(kkori.load(path)) == shown(tensors(kkori))
    assert shown(safetensors.load(path.read_bytes())) == shown(tensors(kkori))
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.keys() == sorted(tensors(kkori))
        assert file.metadata() == {"made by": "a test"}
        assert file.get_slice("b")[1:, :2].tolist() == [[4.0, 5.0], [8.0, 9.0]]
        with pytest.raises(SafetensorError, match="^File does not contain tensor none"):
            file.get_tensor("none")
    with safetensors.safe_open(path, framework="np") as file:
        assert file.get_tensor("one") == 7
    assert safetensors.load_file(path, device="meta")["b"].shape == (3, 4)


@pytest.mark.oracle
def test_files_are_those_of_the_reference_library(tmp_path):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    reference = pytest.importorskip("safetensors.torch", reason="compares with safetensors")
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    safetensors.save_file(tensors(kkori), ours)
    reference.save_file(tensors(torch), theirs)
    assert shown(reference.load_file(ours)) == shown(tensors(torch))
    assert shown(safetensors.load_file(theirs)) == shown(tensors(kkori))


def test_loaded_tensors_can_be_written_to():
    found = safetensors.load(safetensors.save({"x": kkori.zeros(3)}))["x"]
    found += 1
    assert found.tolist() == [1.0, 1.0, 1.0]


X = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BAD = {
    "nothing": (b"", "header too small"),
    "seven bytes": (b"1234567", "header too small"),
    "head beyond the end": (file_of(b"{}", length=3), "invalid header length: 3 bytes"),
    "huge head": (file_of(b"{}", length=2**63), "invalid header length"),
    "no brace": (file_of(b"[]"), "starts with"),
    "no JSON": (file_of(b"{x"), "invalid header"),
    "no UTF-8": (file_of(b'{"\xff":1}'), "invalid header"),
    "deep JSON": (file_of(b'{"a":' + b"[" * 200_000), "invalid header"),
    "a name twice": (file_of(b'{"a":1,"a":1}'), "twice"),
    "no fields": (file_of({"x": {}}), "needs dtype, shape, data_offsets"),
    "unknown field": (file_of({"x": {**X, "more": 1}}, bytes(8)), "needs dtype"),
    "unknown type": (file_of({"x": {**X, "dtype": "F99"}}, bytes(8)), "has dtype 'F99'"),
    "shape is text": (file_of({"x": {**X, "shape": "2"}}, bytes(8)), "for numbers"),
    "negative length": (file_of({"x": {**X, "shape": [-2]}}, bytes(8)), "the length -2"),
    "length is true": (file_of({"x": {**X, "shape": [True, 2]}}, bytes(8)), "the length True"),
    "huge shape": (file_of({"x": {**X, "shape": [2**40] * 60}}, bytes(8)), "takes"),
    "wrong size": (file_of({"x": {**X, "shape": [3]}}, bytes(8)), "takes 12 bytes"),
    "offsets turned": (file_of({"x": {**X, "data_offsets": [8, 0]}}, bytes(8)), "have -8"),
    "one offset": (file_of({"x": {**X, "data_offsets": [8]}}, bytes(8)), "two data_offsets"),
    "hole at the start": (file_of({"x": {**X, "data_offsets": [8, 16]}}, bytes(16)), "starts at"),
    "overlap": (file_of({"x": X, "y": {**X, "data_offsets": [4, 12]}}, bytes(12)), "starts at"),
    "cut": (file_of({"x": X}, bytes(7)), "incomplete file"),
    "more at the end": (file_of({"x": X}, bytes(9)), "incomplete file"),
    "metadata is a list": (file_of({"__metadata__": [], "x": X}, bytes(8)), "__metadata__"),
    "metadata of numbers": (file_of({"__metadata__": {"a": 1}, "x": X}, bytes(8)), "text to text"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_clear_errors(name, tmp_path):
    content, text = BAD[name]
    with pytest.raises(SafetensorError, match=text):
        safetensors.load(content)
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(SafetensorError, match=text) as caught:
        safetensors.load_file(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_mistakes_with_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        safetensors.load_file(tmp_path / "none.safetensors")
    with pytest.raises(SafetensorError, match="^framework tf is invalid"):
        safetensors.safe_open(tmp_path / "none.safetensors", framework="tf")


def mistakes(module):
    x = module.arange(4.0).reshape(2, 2)
    return {
        "not contiguous": {"a": x.t()},
        "shared": {"a": x, "b": x},
        "no tensor": {"a": 3},
        "no dict": [x],
    }


@pytest.mark.oracle
@pytest.mark.parametrize("name", mistakes(kkori))
def test_mistakes_with_save_read_as_in_the_reference_library(name):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    reference = pytest.importorskip("safetensors.torch", reason="compares with safetensors")
    with pytest.raises(Exception) as ours:
        safetensors.save(mistakes(kkori)[name])
    with pytest.raises(Exception) as theirs:
        reference.save(mistakes(torch)[name])
    assert type(ours.value) is type(theirs.value)
    first = [str(error.value).strip().split("\n")[0] for error in (ours, theirs)]
    first = [re.sub(r"\{'[ab]', '[ab]'\}", "{...}", line) for line in first]
    assert first[0] == first[1]


def test_nothing_is_written_where_saving_fails(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(TypeError, match="text to text"):
        safetensors.save_file({"a": kkori.ones(1)}, path, {"a": 1})
    with pytest.raises(ValueError, match="meta device"):
        safetensors.save_file({"a": kkori.empty(1, device="meta")}, path)
    assert not path.exists()


def test_models_with_shared_parameters(tmp_path):
    path = tmp_path / "net.safetensors"
    net = kkori.nn.Sequential(kkori.nn.Linear(2, 2), kkori.nn.Linear(2, 2))
    net[1].weight = net[0].weight
    safetensors.save_model(net, path)
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.keys() == ["0.bias", "0.weight", "1.bias"]
        assert file.metadata() == {"1.weight": "0.weight"}
    twin = kkori.nn.Sequential(kkori.nn.Linear(2, 2), kkori.nn.Linear(2, 2))
    twin[1].weight = twin[0].weight
    assert safetensors.load_model(twin, path) == (set(), [])
    assert twin[1].weight.tolist() == net[0].weight.tolist()
    with pytest.raises(RuntimeError, match='Unexpected key.*"0.bias"'):
        safetensors.load_model(kkori.nn.Identity(), path)
