"""The idx format of MNIST's files: a four-byte head, the dimensions, the numbers.

Bytes 0 and 1 are zero, byte 2 names the type, byte 3 counts the dimensions; their lengths follow
as big-endian 32-bit numbers (the format's own page is at yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["read_idx", "find_splits", "write_pngs"]

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMENSIONS = 8
MOST_BYTES = 1 << 32

SPLITS = {"training": "train", "testing": "t10k"}  # folder in mnist_png -> start of file name
PLACES = (".", "mnist", "MNIST", "MNIST/raw", "raw")  # where below a folder the files may be


def read_idx(path: Any) -> np.ndarray:
    """The array in an idx file, or in a gzipped one. ValueError where the file is not whole."""
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return _parse(file)
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a whole idx file: {error}") from error


def _parse(file: Any) -> np.ndarray:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise ValueError(f"it starts with {head!r}, not with two zero bytes, a type and a count")
    kind, ndim = head[2], head[3]
    if kind not in TYPES:
        raise ValueError(f"byte 2 is {kind:#04x}, which names no type of the format")
    if not 1 <= ndim <= MOST_DIMENSIONS:
        raise ValueError(f"byte 3 says {ndim} dimensions")
    lengths = file.read(4 * ndim)
    if len(lengths) != 4 * ndim:
        raise ValueError(f"it ends before the lengths of its {ndim} dimensions")
    shape = struct.unpack(f">{ndim}I", lengths)
    dtype = np.dtype(TYPES[kind])
    size = math.prod(shape) * dtype.itemsize
    if size > MOST_BYTES:
        raise ValueError(f"its head promises {size} bytes (shape {shape})")
    content = file.read(size + 1)
    if len(content) != size:
        found = f"only {len(content)}" if len(content) < size else "more"
        raise ValueError(f"its head promises {size} bytes (shape {shape}), there are {found}")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def find_file(folder: Path, name: str) -> Path | None:
    """An idx file called `name`, plain or gzipped, in one of the usual places below `folder`."""
    for place in PLACES:
        for ending in ("", ".gz"):
            path = folder / place / (name + ending)
            if path.is_file():
                return path
    return None


def find_splits(folder: Path) -> dict[str, tuple[Path, Path]]:
    """The splits of MNIST that `folder` has: name of the split -> (images, labels)."""
    found = {}
    for split, start in SPLITS.items():
        images = find_file(folder, f"{start}-images-idx3-ubyte")
        labels = find_file(folder, f"{start}-labels-idx1-ubyte")
        if images and labels:
            found[split] = (images, labels)
    return found


def read_pair(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, height, width) uint8 and labels (count); ValueError where they differ."""
    pictures, names = read_idx(images), read_idx(labels)
    if pictures.ndim != 3 or pictures.dtype != np.uint8:
        raise ValueError(f"{images} holds {pictures.dtype} {pictures.shape}, not pictures")
    if names.shape != pictures.shape[:1]:
        raise ValueError(f"{images} holds {len(pictures)} pictures, "
                         f"but {labels} labels of shape {names.shape}")
    return pictures, names


def write_pngs(splits: dict[str, tuple[Path, Path]], folder: Path) -> None:
    """Write each picture as `<split>/<label>/<number>.png`, the layout of fastai's MNIST."""
    from kkori.vision.pillow import image_module
    fromarray = image_module().fromarray
    for split, (images, labels) in splits.items():
        pictures, names = read_pair(images, labels)
        for label in np.unique(names):
            (folder / split / str(label)).mkdir(parents=True, exist_ok=True)
        for number, (picture, label) in enumerate(zip(pictures, names, strict=True)):
            fromarray(picture).save(folder / split / str(label) / f"{number}.png")
