"""`safetensors.torch`: the format's functions for tensors."""

from __future__ import annotations

from kkori.io.safetensors import (
    load,
    load_file,
    load_model,
    safe_open,
    save,
    save_file,
    save_model,
)

__all__ = ["load", "load_file", "load_model", "safe_open", "save", "save_file", "save_model"]
