"""MNIST, Fashion-MNIST and KMNIST: digits, clothes and characters of 28 by 28 grey pixels."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kkori.io.fetch import Expected, fetch
from kkori.tensor import wrap
from kkori.utils.data import Dataset
from kkori.vision.datasets.idx import SPLITS, find_file, read_pair
from kkori.vision.pillow import image_module

__all__ = ["MNIST", "FashionMNIST", "KMNIST"]


class MNIST(Dataset):
    """Handwritten digits: 60000 for training, 10000 for testing (torchvision.datasets.MNIST).

    The idx files, plain or gzipped, are looked for in `root/MNIST/raw`, then in the folder that
    KKORI_DATA names; with `download=True` they are fetched where neither has them. An item is
    (picture, int): a Pillow picture, or what `transform` makes of it. `data` is a uint8 tensor
    (count, 28, 28), `targets` an int64 tensor. RuntimeError where there are no files, ValueError
    where one is damaged.
    """

    mirror = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    md5 = {"train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
           "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
           "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
           "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c"}
    classes = ["0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six",
               "7 - seven", "8 - eight", "9 - nine"]

    def __init__(self, root: Any = ".", train: bool = True, transform: Callable | None = None,
                 target_transform: Callable | None = None, download: bool = False) -> None:
        self.root, self.train = Path(root).expanduser(), train
        self.transform, self.target_transform = transform, target_transform
        start = SPLITS["training" if train else "testing"]
        images, labels = (self._file(f"{start}-{name}", download)
                          for name in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        pictures, names = read_pair(images, labels)
        self.data, self.targets = wrap(pictures), wrap(names.astype(np.int64))

    @property
    def raw_folder(self) -> str:
        """Where the idx files are, or go."""
        return os.path.join(self.root, type(self).__name__, "raw")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The number of each class name."""
        return {name: number for number, name in enumerate(self.classes)}

    def _file(self, name: str, download: bool) -> Path:
        places = [Path(self.raw_folder)]
        if type(self) is MNIST and os.environ.get("KKORI_DATA"):
            places.append(Path(os.environ["KKORI_DATA"]).expanduser())
        for place in places:
            if (found := find_file(place, name)) is not None:
                return found
        if not download:
            raise RuntimeError(
                "Dataset not found. You can use download=True to download it\n"
                f"  looked for {name} (or .gz) in {', '.join(map(str, places))}\n"
                "  fix: set KKORI_DATA to a folder that has it, or pass download=True")
        return fetch(f"{self.mirror}{name}.gz", places[0] / f"{name}.gz", Expected(self.md5[name]))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        picture: Any = image_module().fromarray(self.data._array[index])
        target: Any = int(self.targets._array[index])
        if self.transform is not None:
            picture = self.transform(picture)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return picture, target

    def __repr__(self) -> str:
        lines = [f"Number of datapoints: {len(self)}", f"Root location: {self.root}",
                 f"Split: {'Train' if self.train else 'Test'}"]
        if self.transform is not None:
            lines.append("StandardTransform\nTransform: " + repr(self.transform).replace(
                "\n", "\n           "))
        body = "\n".join(lines).replace("\n", "\n    ")
        return f"Dataset {type(self).__name__}\n    {body}"


class FashionMNIST(MNIST):
    """Clothes in place of digits (torchvision.datasets.FashionMNIST)."""

    mirror = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    md5 = {"train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
           "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
           "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
           "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310"}
    classes = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
               "Bag", "Ankle boot"]


class KMNIST(MNIST):
    """Cursive Japanese characters in place of digits (torchvision.datasets.KMNIST)."""

    mirror = "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"
    md5 = {"train-images-idx3-ubyte": "bdb82020997e1d708af4cf47b453dcf7",
           "train-labels-idx1-ubyte": "e144d726b3acfaa3e44228e80efcd344",
           "t10k-images-idx3-ubyte": "5c965bf0a639b31b8f53240b1b52f4d7",
           "t10k-labels-idx1-ubyte": "7320c461ea6c1c855c0b718fb2a4b134"}
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
