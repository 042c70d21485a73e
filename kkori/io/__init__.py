"""Files: PyTorch's `.pt`, safetensors, and how anything is written whole or not at all."""

from __future__ import annotations

from kkori.io import serialization
from kkori.io.serialization import load, save

__all__ = ["load", "save", "serialization"]
