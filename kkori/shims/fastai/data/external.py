"""`untar_data`: a data set by its address, fetched once, checked, and unpacked into a folder.

`KKORI_DATA` names a folder to look in first, so that nothing need be fetched: it may hold the
unpacked folder, the archive, or, for MNIST, the four idx files of the original.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kkori.io.fetch import Expected, fetch

__all__ = ["URLs", "untar_data"]


class URLs:
    """Addresses of data sets, by fastai's names (those that the course and its exercises use)."""

    S3 = "https://s3.amazonaws.com/fast-ai-"
    URL = f"{S3}sample/"
    S3_IMAGE = f"{S3}imageclas/"
    MNIST = f"{S3_IMAGE}mnist_png.tgz"
    MNIST_SAMPLE = f"{URL}mnist_sample.tgz"
    MNIST_TINY = f"{URL}mnist_tiny.tgz"
    ADULT_SAMPLE = f"{URL}adult_sample.tgz"
    CIFAR = f"{URL}cifar10.tgz"
    HUMAN_NUMBERS = f"{URL}human_numbers.tgz"
    IMDB_SAMPLE = f"{URL}imdb_sample.tgz"
    ML_SAMPLE = f"{URL}movie_lens_sample.tgz"


HASHED = 1 << 20  # fastai publishes the MD5 of this many first bytes
CHECKS = {
    URLs.MNIST: Expected("03639f83c4e3d19e0a3a53a8a997c487", 15683414, HASHED),
    URLs.MNIST_SAMPLE: Expected("2dbc7ec6f9259b583af0072c55816a88", 3214948, HASHED),
    URLs.MNIST_TINY: Expected("56143e8f24db90d925d82a5a74141875", 342207, HASHED),
    URLs.ADULT_SAMPLE: Expected("64eb9d7e23732de0b138f7372d15492f", 968212, HASHED),
    URLs.CIFAR: Expected("a5f8c31371b63a406b23368042812d3c", 168168549, HASHED),
    URLs.HUMAN_NUMBERS: Expected("8a19c3bfa2bcb08cd787e741261f3ea2", 30252, HASHED),
    URLs.IMDB_SAMPLE: Expected("0842e61a9867caa2e6fbdb14fa703d61", 571827, HASHED),
    URLs.ML_SAMPLE: Expected("10961384dfe7c5181460390a460c1f77", 51790, HASHED),
}


def untar_data(url: str, archive: str | None = None, data: str | None = None, c_key: str = "data",
               force_download: bool = False, base: Any = None) -> Path:
    """Folder of the data set at `url`; fetched and unpacked where it is not there yet.

    `base` (or FASTAI_HOME, or ~/.fastai) holds `archive/` and `data/`; a folder named by
    KKORI_DATA is looked in first. RuntimeError where the archive is not what was published, or
    cannot be had; nothing half unpacked is left behind.
    """
    home = Path(base or os.environ.get("FASTAI_HOME", "~/.fastai")).expanduser()
    archives, folders = home / (archive or "archive"), home / (data or c_key)
    name = url.rsplit("/", 1)[-1]
    folder = folders / name.partition(".")[0]
    if force_download:
        shutil.rmtree(folder, ignore_errors=True)
    elif (offline := _offline(folder)) is not None:
        return offline
    elif folder.is_dir():
        return folder
    packed = _offline_archive(name) or fetch(url, archives / name, CHECKS.get(url), force_download)
    return unpack(packed, folder)


def _offline(folder: Path) -> Path | None:
    """What KKORI_DATA has of this data set, unpacked; MNIST's idx files are unpacked now."""
    place = os.environ.get("KKORI_DATA")
    if not place:
        return None
    here = Path(place).expanduser()
    if (here / folder.name).is_dir():
        return here / folder.name
    if folder.name == "mnist_png" and not folder.is_dir():
        from kkori.vision.datasets.idx import find_splits, write_pngs
        splits = find_splits(here)
        if splits:
            return _filled(folder, lambda part: write_pngs(splits, part))
    return None


def _offline_archive(name: str) -> Path | None:
    place = os.environ.get("KKORI_DATA")
    packed = Path(place or "").expanduser() / name
    return packed if place and packed.is_file() else None


def unpack(packed: Path, folder: Path) -> Path:
    """Unpack an archive whose only top-level folder becomes `folder`. RuntimeError if damaged."""
    return _filled(folder, lambda part: _extract(packed, part))


def _filled(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Make `folder` all at once: fill a temporary one beside it, then rename that."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=folder.name, dir=folder.parent) as place:
        part = Path(place) / folder.name
        part.mkdir()
        fill(part)
        inner = part / folder.name
        try:
            os.replace(inner if inner.is_dir() else part, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def _extract(packed: Path, part: Path) -> None:
    import tarfile
    import zipfile
    import zlib
    try:
        if zipfile.is_zipfile(packed):
            with zipfile.ZipFile(packed) as archive:
                archive.extractall(part)
            return
        if not hasattr(tarfile, "data_filter"):
            raise OSError("Python 3.11.4 or newer is needed to do this safely")
        with tarfile.open(packed) as tar:
            tar.extractall(part, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise RuntimeError(
            f"cannot unpack {packed}: {error}\n"
            "  fix: delete it and fetch it again: untar_data(url, force_download=True)") from error
