"""Real handwritten digits (MNIST), shipped in examples/data.

    from digits import pixels
    X3 = pixels(3)               # the training images of a 3: (n, 28, 28), 0 is paper, 255 is ink
    T3 = pixels(3, test=True)    # every fifth image of a 3, kept aside to examine the network
"""
import gzip
from pathlib import Path

import torch

DATA = Path(__file__).parent.parent / "data"


def idx(name, header):
    return torch.frombuffer(bytearray(gzip.decompress((DATA / name).read_bytes())[header:]),
                            dtype=torch.uint8)


IMAGES = idx("digits-images.gz", header=16).reshape(-1, 28, 28)
LABELS = idx("digits-labels.gz", header=8)


def pixels(digit, test=False):
    images = IMAGES[LABELS == digit]
    kept_aside = torch.arange(len(images)) % 5 == 4
    return images[kept_aside == test]


def two_kinds(first, second, test=False):
    """Rows of 784 numbers and what they are: 0.0 for the first digit, 1.0 for the second."""
    A, B = pixels(first, test), pixels(second, test)
    X = torch.concat([A, B]).reshape(-1, 28 * 28).float()
    y = torch.tensor([0.0] * len(A) + [1.0] * len(B)).reshape(-1, 1)
    return X, y
