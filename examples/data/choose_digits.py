"""Make digits-images.gz and digits-labels.gz out of MNIST's test files.

usage: choose_digits.py FOLDER
(FOLDER holds t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz)

All zeros, ones, threes and sevens are kept (the lessons train on them), and the first 20 of every
other digit. The order of MNIST is kept, and so is its idx format.
"""
import gzip
import sys
from pathlib import Path

import numpy as np

ALL_OF = (0, 1, 3, 7)
A_FEW = 20
HERE = Path(__file__).parent


def unpack(path, header):
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def pack(name, array):
    """Write an idx file: two zeros, the type (8: unsigned byte), the sizes, the bytes."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    # no time stamp inside: the same digits always give the same file
    (HERE / name).write_bytes(gzip.compress(header + array.tobytes(), mtime=0))


def main(folder):
    images = unpack(folder / "t10k-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)
    labels = unpack(folder / "t10k-labels-idx1-ubyte.gz", header=8)
    keep = np.isin(labels, ALL_OF)
    for digit in range(10):
        keep[np.flatnonzero(labels == digit)[:A_FEW]] = True
    pack("digits-images.gz", images[keep])
    pack("digits-labels.gz", labels[keep])
    print(f"kept {keep.sum()} of {len(labels)} digits:", np.bincount(labels[keep]).tolist())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
