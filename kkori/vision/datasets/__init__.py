"""Data sets of pictures: MNIST and its relatives, read from idx files."""

from __future__ import annotations

from kkori.vision.datasets.mnist import KMNIST, MNIST, FashionMNIST

__all__ = ["FashionMNIST", "KMNIST", "MNIST"]
