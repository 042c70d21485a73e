"""fastai's data sets: named, fetched once, checked, resumed, unpacked; or found offline."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import struct
import tarfile
import threading

import numpy as np
import pytest

from kkori.io.fetch import Expected, fetch

pytest.importorskip("fastcore", reason="needs the `data` extra")
pytest.importorskip("matplotlib", reason="needs the `plot` extra")
pytest.importorskip("pandas", reason="needs the `data` extra")
pytest.importorskip("PIL", reason="needs the `vision` extra")

CONTENT = bytes(range(256)) * 4000


class Server(http.server.ThreadingHTTPServer):
    """Files from a dict, with ranges; notes what was asked for, and can break off."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/data.bin": CONTENT}
        self.asked: list[str | None] = []
        self.breaks_after: int | None = None
        self.knows_ranges = True

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        start = int(asked[6:-1]) if asked and self.server.knows_ranges else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.breaks_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def expected():
    return Expected(hashlib.md5(CONTENT).hexdigest(), len(CONTENT))


def test_a_file_is_fetched_once(server, expected, tmp_path):
    for _ in range(2):
        path = fetch(server.address("data.bin"), tmp_path / "new" / "data.bin", expected)
        assert path.read_bytes() == CONTENT
    assert server.asked == [None]
    fetch(server.address("data.bin"), path, expected, force=True)
    assert len(server.asked) == 2


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_interrupted_fetch_goes_on(server, expected, tmp_path, knows_ranges):
    target = tmp_path / "data.bin"
    server.breaks_after = 300_000
    with pytest.raises(RuntimeError, match="the connection ended after 300000 of 1024000 bytes"):
        fetch(server.address("data.bin"), target, expected)
    assert not target.exists()
    server.breaks_after, server.knows_ranges = None, knows_ranges
    assert fetch(server.address("data.bin"), target, expected).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.bin"]


def test_a_complete_part_is_not_fetched_again(server, expected, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    path = fetch(server.address("data.bin"), tmp_path / "data.bin", expected)
    assert path.read_bytes() == CONTENT


def test_other_content_is_refused(server, expected, tmp_path):
    server.files["/data.bin"] = b"<html>sorry</html>"
    with pytest.raises(RuntimeError, match="sent something else than expected"):
        fetch(server.address("data.bin"), tmp_path / "data.bin", expected)
    assert list(tmp_path.iterdir()) == []


def test_addresses_that_do_not_answer(server, tmp_path):
    with pytest.raises(RuntimeError, match=r"cannot fetch .*404[^$]*KKORI_DATA"):
        fetch(server.address("none"), tmp_path / "none")
    server.server_close()
    with pytest.raises(RuntimeError, match="cannot fetch"):
        fetch(server.address("data.bin"), tmp_path / "data.bin")


# untar_data


def packed(name="toy", more=()) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for path, content in ((f"{name}/a/1.txt", b"one"), (f"{name}/b/2.txt", b"two"), *more):
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTAI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KKORI_DATA", raising=False)
    return tmp_path / "home"


def untar_data(*arguments, **options):
    from kkori.shims.fastai.data.external import untar_data

    return untar_data(*arguments, **options)


def test_a_data_set_is_unpacked_once(server, home):
    server.files["/toy.tgz"] = packed()
    for _ in range(2):
        path = untar_data(server.address("toy.tgz"))
        assert path == home / "data" / "toy"
        assert (path / "b" / "2.txt").read_text() == "two"
    assert len(server.asked) == 1
    untar_data(server.address("toy.tgz"), force_download=True)
    assert len(server.asked) == 2


def test_a_damaged_archive_leaves_no_folder(server, home):
    server.files["/toy.tgz"] = packed()[:-30]
    with pytest.raises(RuntimeError, match="cannot unpack .*toy.tgz"):
        untar_data(server.address("toy.tgz"))
    assert list((home / "data").iterdir()) == []


def test_an_archive_cannot_write_elsewhere(server, home, tmp_path):
    server.files["/toy.tgz"] = packed(more=[("toy/../../../escaped.txt", b"x")])
    with pytest.raises(RuntimeError, match="cannot unpack"):
        untar_data(server.address("toy.tgz"))
    assert not list(tmp_path.rglob("escaped.txt"))


def test_an_archive_in_the_offline_folder(home, tmp_path, monkeypatch):
    monkeypatch.setenv("KKORI_DATA", str(tmp_path))
    (tmp_path / "toy.tgz").write_bytes(packed())
    assert untar_data("http://127.0.0.1:9/toy.tgz") == home / "data" / "toy"


def test_a_folder_in_the_offline_folder(home, tmp_path, monkeypatch):
    monkeypatch.setenv("KKORI_DATA", str(tmp_path))
    (tmp_path / "mnist_png").mkdir()
    from kkori.shims.fastai.data.external import URLs

    assert untar_data(URLs.MNIST) == tmp_path / "mnist_png"


def write_idx(path, array):
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_mnist_from_its_idx_files(home, tmp_path, monkeypatch):
    offline = tmp_path / "offline" / "mnist"
    offline.mkdir(parents=True)
    monkeypatch.setenv("KKORI_DATA", str(offline.parent))
    digits = np.arange(6 * 28 * 28).reshape(6, 28, 28) % 251
    write_idx(offline / "train-images-idx3-ubyte.gz", digits)
    write_idx(offline / "train-labels-idx1-ubyte.gz", np.array([3, 7, 3, 3, 0, 7]))
    write_idx(offline / "t10k-images-idx3-ubyte", digits[:2])
    write_idx(offline / "t10k-labels-idx1-ubyte", np.array([7, 7]))
    from kkori.shims.fastai.data.all import L, Path, URLs, pd, plt, torch
    from kkori.shims.fastai.data.all import np as numpy
    from kkori.vision.io import read_image

    path = untar_data(URLs.MNIST)
    assert repr(path) == f"Path('{home}/data/mnist_png')"
    assert path._str == f"{home}/data/mnist_png"
    assert sorted(part.name for part in path.ls()) == ["testing", "training"]
    threes = (path / "training/3").ls()
    assert isinstance(threes, L) and len(threes) == 3
    assert repr(threes).startswith("(#3) [Path('")
    found = read_image(str(path / "training/3/2.png"))
    assert found.shape == (1, 28, 28)
    assert (found.numpy()[0] == digits[2]).all()
    assert torch.__name__ == "kkori" and numpy is np
    assert isinstance(path, Path) and hasattr(pd, "DataFrame") and hasattr(plt, "plot")


def test_lists_are_shown_as_the_course_shows_them():
    from kkori.shims.fastai.vision.all import L

    assert repr(L(1, 2, 3)) == "(#3) [1,2,3]"
    assert repr(L(range(12))) == "(#12) [0,1,2,3,4,5,6,7,8,9...]"
    assert repr(L()) == "(#0) []"
    assert L(3, 1, 2).sorted() == [1, 2, 3]


def test_the_star_import_brings_what_the_course_uses():
    from kkori.shims.fastai.data import all as names

    wanted = {"torch", "nn", "F", "np", "pd", "plt", "Path", "L", "untar_data", "URLs", "tensor",
              "Tensor", "DataLoader", "partial", "random", "math", "os", "sys", "re", "json"}
    assert wanted <= set(names.__all__)
    assert not [name for name in names.__all__ if name.startswith("_")]
