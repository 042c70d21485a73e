"""What `torchvision` is here: pictures to tensors and back, MNIST, and the course's transforms.

Pillow decodes and encodes; it is imported on first use.
"""

from __future__ import annotations

from kkori.version import TorchVersion
from kkori.vision import datasets, io, transforms, utils

__all__ = ["datasets", "io", "transforms", "utils"]

__version__ = TorchVersion("0.28.0+kkori")
