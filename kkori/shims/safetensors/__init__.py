"""`safetensors`: the names that programs import from the package itself."""

from __future__ import annotations

from kkori.io.safetensors import SafetensorError, safe_open

__all__ = ["SafetensorError", "safe_open"]

__version__ = "0.8.0+kkori"
