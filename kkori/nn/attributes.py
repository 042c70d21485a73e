"""Attributes that are registered names, found without a detour.

What a module has registered lies in three tables, and `Module.__getattr__` looks through them. But
Python calls ``__getattr__`` only after the ordinary way has failed, and the failing costs more
than everything else. So the first module of a class that registers a name leaves a descriptor of
that name in the class, which looks into the right table at once. It keeps nothing: a module that
has no such name goes on to ``__getattr__`` as ever, and the class looks as if it had no such
attribute. A class that looks attributes up in a way of its own gets no descriptors.
"""

from __future__ import annotations

from typing import Any

__all__ = ["make_direct"]


class Direct:
    """A registered name; each kind of table has a class, as this is asked for all the time."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def missing(self, owner: type) -> AttributeError:
        """What Python says of an attribute that a class does not have."""
        return AttributeError(f"type object '{owner.__name__}' has no attribute '{self.name}'")


class DirectParameter(Direct):
    __slots__ = ()

    def __get__(self, module: Any, owner: type) -> Any:
        try:
            return module._parameters[self.name]
        except (AttributeError, KeyError):
            raise self.missing(owner) from None


class DirectBuffer(Direct):
    __slots__ = ()

    def __get__(self, module: Any, owner: type) -> Any:
        try:
            return module._buffers[self.name]
        except (AttributeError, KeyError):
            raise self.missing(owner) from None


class DirectChild(Direct):
    __slots__ = ()

    def __get__(self, module: Any, owner: type) -> Any:
        try:
            return module._modules[self.name]
        except (AttributeError, KeyError):
            raise self.missing(owner) from None


KINDS = {"parameter": DirectParameter, "buffer": DirectBuffer, "module": DirectChild}


def make_direct(what: str, kind: type, name: str, usual: Any) -> None:
    """Let modules of class `kind` find the `what` called `name` at once, where nothing is in the
    way: `usual` is the ``__getattr__`` that looks through all tables."""
    if kind.__getattr__ is usual and name.isidentifier() and not any(  # type: ignore[attr-defined]
            name in vars(base) for base in kind.__mro__):
        type.__setattr__(kind, name, KINDS[what](name))
