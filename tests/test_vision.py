"""Pictures to tensors and back, MNIST's files, and the transforms of the course."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zlib

import numpy as np
import pytest

import kkori

Image = pytest.importorskip("PIL.Image", reason="needs the `vision` extra")

from kkori import vision  # noqa: E402
from kkori.vision import transforms as T  # noqa: E402
from kkori.vision.datasets.idx import read_idx  # noqa: E402
from kkori.vision.transforms import functional as TF  # noqa: E402

RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4


def channels_first(pixels):
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


# Files


@pytest.mark.parametrize("pixels", [RGB, RGB[..., 0], RGB[..., [0, 1]], RGB[..., [0, 1, 2, 0]],
                                    RGB[..., 0].astype(np.uint16) * 200])  # fmt: skip
def test_pictures_are_read_as_they_are(pixels, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    for place in (path, str(path)):
        found = vision.io.read_image(place)
        assert (found.numpy() == channels_first(pixels)).all()
    assert found.dtype is (kkori.uint16 if pixels.dtype == np.uint16 else kkori.uint8)


def test_colours_of_a_palette_are_unfolded(tmp_path):
    Image.fromarray(RGB).quantize(60).save(tmp_path / "p.png")
    assert vision.io.read_image(tmp_path / "p.png").shape == (3, 4, 5)
    Image.fromarray(RGB[..., 0] > 50).save(tmp_path / "1.png")
    assert vision.io.read_image(tmp_path / "1.png").unique().tolist() == [0, 255]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP"])
def test_formats(format, tmp_path):
    Image.fromarray(RGB).save(tmp_path / "picture", format)
    assert vision.io.read_image(tmp_path / "picture").shape == (3, 4, 5)


@pytest.mark.parametrize("mode, channels", [("GRAY", 1), ("GRAY_ALPHA", 2), ("RGB", 3),
                                            ("RGB_ALPHA", 4), ("UNCHANGED", 3)])  # fmt: skip
def test_channels_that_are_asked_for(mode, channels, tmp_path):
    path = tmp_path / "picture.png"
    vision.io.write_png(kkori.from_numpy(channels_first(RGB).copy()), path)
    for asked in (vision.io.ImageReadMode[mode], mode):
        assert vision.io.read_image(path, asked).shape == (channels, 4, 5)


def test_writing_and_reading(tmp_path):
    picture = kkori.from_numpy(channels_first(RGB).copy())
    vision.io.write_png(picture, tmp_path / "a.png", compression_level=9)
    assert (vision.io.read_image(tmp_path / "a.png") == picture).all()
    assert (vision.io.decode_png(vision.io.encode_png(picture[:1])) == picture[:1]).all()
    vision.io.write_jpeg(picture, tmp_path / "a.jpg", quality=95)
    assert vision.io.decode_jpeg(vision.io.read_file(tmp_path / "a.jpg")).shape == (3, 4, 5)


def png(width=5, height=4, body=None):
    def part(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(
            ">I", zlib.crc32(kind + content))  # fmt: skip

    body = zlib.compress(bytes(height * (1 + width))) if body is None else body
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", body) + part(b"IEND", b"")


BAD_PICTURES = {
    "text": (b"hello", "^Unsupported image file"),
    "empty": (b"", "^Expected a non empty 1-dimensional tensor"),
    "start only": (png()[:20], "image"),
    "cut": (png()[:45], "image"),
    "no rows": (png(body=b""), "image"),
    "bad compression": (png(body=b"xxxxxx"), "image"),
    "huge": (png(width=10**6, height=10**6, body=zlib.compress(b"0")), "image"),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_bad_pictures_are_clear_errors(name, tmp_path):
    content, text = BAD_PICTURES[name]
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(RuntimeError, match=text) as caught:
        vision.io.read_image(tmp_path / "bad.png")
    assert "bad.png" in str(caught.value)


def test_the_picture_of_which_the_bad_ones_are_made_is_good():
    assert vision.io.decode_image(kkori.tensor(list(png()), dtype=kkori.uint8)).shape == (1, 4, 5)


def test_mistakes_with_pictures(tmp_path):
    with pytest.raises(RuntimeError, match=r"^\[Errno 2\] No such file or directory: '.*none.png'"):
        vision.io.read_image(tmp_path / "none.png")
    with pytest.raises(RuntimeError, match="^Input tensor dtype should be uint8"):
        vision.io.encode_png(kkori.ones(1, 2, 2))
    with pytest.raises(RuntimeError, match="^Input data should be a 3-dimensional tensor"):
        vision.io.encode_png(kkori.ones(2, 2, dtype=kkori.uint8))
    with pytest.raises(RuntimeError, match="^The number of channels should be 1 or 3, got: 2"):
        vision.io.encode_png(kkori.ones(2, 2, 2, dtype=kkori.uint8))
    with pytest.raises(RuntimeError, match="^Compression level should be between 0 and 9"):
        vision.io.encode_png(kkori.ones(1, 2, 2, dtype=kkori.uint8), 10)


# idx files and MNIST


def idx(array, kind=8):
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return head + array.tobytes()


DIGITS = (np.arange(4 * 28 * 28).reshape(4, 28, 28) % 251).astype(np.uint8)
LABELS = np.array([7, 2, 1, 0], np.uint8)


@pytest.mark.parametrize("code, dtype", [(8, "u1"), (9, "i1"), (0x0B, ">i2"), (0x0C, ">i4"),
                                         (0x0D, ">f4"), (0x0E, ">f8")])  # fmt: skip
def test_idx_files_of_every_type(code, dtype, tmp_path):
    array = np.array([[1, -2, 3], [4, 5, 6]]).astype(dtype)
    for path, content in ((tmp_path / "x", idx(array, code)),
                          (tmp_path / "x.gz", gzip.compress(idx(array, code)))):  # fmt: skip
        path.write_bytes(content)
        assert (read_idx(path) == array).all()
        assert read_idx(path).dtype.isnative


BAD_IDX = {
    "empty": (b"", "starts with"), "text": (b"hello", "starts with"),
    "type": (b"\0\0\x07\1\0\0\0\0", "names no type"), "no dimension": (b"\0\0\x08\0", "dimensions"),
    "many dimensions": (b"\0\0\x08\xff", "dimensions"),
    "short head": (b"\0\0\x08\3\0\0", "ends before the lengths"),
    "cut": (idx(DIGITS)[:-1], "promises 3136 bytes.* only 3135"),
    "too long": (idx(DIGITS) + b"x", "there are more"),
    "huge": (b"\0\0\x08\3" + b"\xff" * 12, "promises"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_IDX)
def test_bad_idx_files_are_clear_errors(name, tmp_path):
    content, text = BAD_IDX[name]
    (tmp_path / "bad").write_bytes(content)
    (tmp_path / "bad.gz").write_bytes(gzip.compress(content))
    for path in (tmp_path / "bad", tmp_path / "bad.gz"):
        with pytest.raises(ValueError, match=f"bad.*is not a whole idx file: .*{text}"):
            read_idx(path)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(idx(DIGITS))[:-20], b"\x1f\x8b\x08"])
def test_bad_gzip_files_are_clear_errors(content, tmp_path):
    (tmp_path / "bad.gz").write_bytes(content)
    with pytest.raises(ValueError, match="not a whole idx file"):
        read_idx(tmp_path / "bad.gz")


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    monkeypatch.delenv("KKORI_DATA", raising=False)
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(DIGITS))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    return tmp_path


def test_mnist(mnist):
    digits = vision.datasets.MNIST(mnist, train=False)
    assert len(digits) == 4 and digits.data.shape == (4, 28, 28)
    assert digits.targets.dtype is kkori.int64 and digits.targets.tolist() == [7, 2, 1, 0]
    picture, label = digits[1]
    assert picture.mode == "L" and label == 2 and (np.asarray(picture) == DIGITS[1]).all()
    assert digits.class_to_idx["7 - seven"] == 7
    digits = vision.datasets.MNIST(mnist, False, T.ToTensor(), target_transform=str)
    image, label = digits[0]
    assert image.shape == (1, 28, 28) and image.max() <= 1 and label == "7"
    assert repr(digits) == f"""Dataset MNIST
    Number of datapoints: 4
    Root location: {mnist}
    Split: Test
    StandardTransform
    Transform: ToTensor()"""


def test_mnist_in_a_data_loader(mnist):
    transform = T.Compose([T.ToTensor(), T.Normalize((0.1307,), (0.3081,))])
    digits = vision.datasets.MNIST(mnist, train=False, transform=transform)
    (batch,) = kkori.utils.data.DataLoader(digits, batch_size=4)
    assert batch[0].shape == (4, 1, 28, 28) and batch[1].tolist() == [7, 2, 1, 0]


def test_mnist_in_the_offline_folder(mnist, tmp_path, monkeypatch):
    monkeypatch.setenv("KKORI_DATA", str(mnist))
    assert len(vision.datasets.MNIST(tmp_path / "elsewhere", train=False)) == 4
    with pytest.raises(RuntimeError, match="^Dataset not found"):
        vision.datasets.FashionMNIST(tmp_path / "elsewhere", train=False)


def test_mnist_that_is_not_there_or_does_not_fit(mnist):
    with pytest.raises(RuntimeError, match="^Dataset not found. You can use download=True"):
        vision.datasets.MNIST(mnist, train=True)
    labels = mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(LABELS[:3])))
    with pytest.raises(ValueError, match="holds 4 pictures"):
        vision.datasets.MNIST(mnist, train=False)


# Transforms


def test_pictures_as_tensors():
    tensor = TF.to_tensor(Image.fromarray(RGB))
    assert tensor.dtype is kkori.float32
    assert (tensor.numpy() == channels_first(RGB).astype(np.float32) / np.float32(255)).all()
    assert (TF.to_tensor(RGB) == tensor).all()
    assert TF.to_tensor(np.ones((2, 3))).dtype is kkori.float64
    assert TF.pil_to_tensor(Image.fromarray(RGB)).dtype is kkori.uint8
    assert TF.to_tensor(Image.fromarray(RGB[..., 0] > 50)).unique().tolist() == [0.0, 1.0]
    with pytest.raises(TypeError, match="^pic should be PIL Image or ndarray. Got <class 'list'>"):
        TF.to_tensor([1])
    with pytest.raises(ValueError, match="^pic should be 2/3 dimensional. Got 1 dimensions."):
        TF.to_tensor(np.ones(3))


def test_tensors_as_pictures():
    for pixels in (RGB, RGB[..., 0]):
        picture = TF.to_pil_image(TF.to_tensor(pixels))
        assert (np.asarray(picture) == pixels).all()
    assert TF.to_pil_image(RGB).mode == "RGB"
    with pytest.raises(ValueError, match="^pic should not have > 4 channels. Got 5 channels."):
        TF.to_pil_image(kkori.ones(5, 2, 2))


def test_normalize():
    x = kkori.arange(24.0).reshape(2, 3, 4)
    found = T.Normalize((1.0, 2.0), (2.0, 4.0))(x)
    assert found[0].tolist() == ((x[0] - 1) / 2).tolist()
    assert found[1].tolist() == ((x[1] - 2) / 4).tolist()
    changed = x.clone()
    assert T.Normalize((1.0, 2.0), (2.0, 4.0), inplace=True)(changed) is changed
    assert (changed == found).all()
    with pytest.raises(ValueError, match="^std evaluated to zero after conversion"):
        TF.normalize(x, [0.0], [0.0])
    with pytest.raises(TypeError, match="^Input tensor should be a float tensor. Got torch.int64."):
        TF.normalize(kkori.ones(1, 2, 2, dtype=kkori.int64), [0.0], [1.0])
    with pytest.raises(ValueError, match="^Expected tensor to be a tensor image of size"):
        TF.normalize(kkori.ones(2), [0.0], [1.0])


def test_sizes():
    picture, tensor = Image.fromarray(RGB), TF.to_tensor(RGB)
    assert T.Resize(8)(picture).size == (10, 8)
    assert T.Resize((6, 7))(picture).size == (7, 6)
    assert T.Resize(8)(tensor).shape == (3, 8, 10)
    assert T.Resize(8, max_size=9)(tensor).shape == (3, 7, 9)
    assert T.Resize((4, 5))(tensor).numpy() == pytest.approx(tensor.numpy(), abs=1e-6)
    assert (T.CenterCrop(2)(tensor).numpy() == tensor.numpy()[:, 1:3, 2:4]).all()
    assert T.CenterCrop((2, 3))(picture).size == (3, 2)
    kkori.manual_seed(0)
    assert T.RandomCrop(3)(tensor).shape == (3, 3, 3)
    with pytest.raises(ValueError, match="larger than input image size"):
        T.RandomCrop(9)(tensor)


def test_flips_and_greys():
    picture, tensor = Image.fromarray(RGB), TF.to_tensor(RGB)
    assert (TF.to_tensor(T.RandomHorizontalFlip(1.0)(picture)) == tensor.flip(-1)).all()
    assert (T.RandomVerticalFlip(p=1.0)(tensor) == tensor.flip(-2)).all()
    assert T.RandomVerticalFlip(p=0.0)(tensor) is tensor
    grey = T.Grayscale()(tensor)
    assert grey.shape == (1, 4, 5)
    assert grey.numpy() == pytest.approx(TF.to_tensor(T.Grayscale()(picture)).numpy(), abs=0.01)
    assert T.Grayscale(3)(tensor).shape == (3, 4, 5)


def test_types():
    convert = TF.convert_image_dtype
    bytes_ = kkori.tensor([[[0, 255]]], dtype=kkori.uint8)
    assert convert(bytes_).tolist() == [[[0.0, 1.0]]]
    assert convert(convert(bytes_), kkori.uint8).tolist() == bytes_.tolist()
    assert convert(bytes_, kkori.int16).tolist() == [[[0, 255 * 128]]]
    assert convert(convert(bytes_, kkori.int16), kkori.uint8).tolist() == bytes_.tolist()
    with pytest.raises(RuntimeError, match="cannot be performed safely"):
        convert(kkori.ones(1), kkori.int64)


def test_transforms_show_their_settings():
    chain = T.Compose([T.ToTensor(), T.Normalize((0.5,), (0.5,)), T.Resize(28), T.CenterCrop(3)])
    assert repr(chain) == """Compose(
    ToTensor()
    Normalize(mean=(0.5,), std=(0.5,))
    Resize(size=28, interpolation=bilinear, max_size=None, antialias=True)
    CenterCrop(size=(3, 3))
)"""
    assert repr(T.RandomHorizontalFlip()) == "RandomHorizontalFlip(p=0.5)"
    assert repr(T.Grayscale()) == "Grayscale(num_output_channels=1)"
    assert repr(pickle.loads(pickle.dumps(chain))) == repr(chain)
    assert T.Lambda(lambda x: x + 1)(1) == 2
    with pytest.raises(TypeError, match="^Argument lambd should be callable"):
        T.Lambda(3)


# Grids


def test_grids():
    pictures = kkori.arange(5 * 1 * 2 * 3.0).reshape(5, 1, 2, 3)
    grid = vision.utils.make_grid(pictures, nrow=3, padding=1, pad_value=-1.0)
    assert grid.shape == (3, 7, 13)
    assert (grid[1, 1:3, 5:8] == pictures[1, 0]).all()
    assert (grid[0, 4:6, 9:] == -1).all()
    assert vision.utils.make_grid(list(pictures), nrow=3, padding=1).shape == (3, 7, 13)
    assert vision.utils.make_grid(pictures[0]).shape == (3, 2, 3)
    stretched = vision.utils.make_grid(pictures, normalize=True, scale_each=True, padding=0)
    assert stretched.min() == 0 and stretched.max() == 1 and stretched[0, 1, 2] == 1
    clipped = vision.utils.make_grid(pictures, normalize=True, value_range=(0, 1))
    assert clipped.max() == 1
    with pytest.raises(TypeError, match="^tensor or list of tensors expected, got <class 'int'>"):
        vision.utils.make_grid(3)


def test_saved_grids(tmp_path):
    vision.utils.save_image(kkori.ones(3, 4, 5) * 0.5, tmp_path / "a.png")
    assert vision.io.read_image(tmp_path / "a.png").unique().tolist() == [128]
    file = io.BytesIO()
    vision.utils.save_image(kkori.ones(2, 1, 4, 5), file, format="PNG", padding=0)
    assert Image.open(file).size == (10, 4)
