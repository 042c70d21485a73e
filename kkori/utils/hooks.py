"""The handle that registering a hook returns, under the name programs know."""

from kkori.nn.hooks import RemovableHandle

__all__ = ["RemovableHandle"]
