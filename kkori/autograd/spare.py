"""Gradients that nobody else can see: what is computed from them may be written over them.

The walk back (`engine.py`) holds a gradient while one node uses it, and drops it after that. If
nobody else holds it - not another node, a hook, a user, a view, NumPy - its memory can take the
next gradient, and a step needs one large array less. Who else holds a tensor or its array is what
CPython counts anyway.

Three must agree before anything is overwritten: the engine has found that it alone holds the array
(`offer`), the gradient rule uses it once, as the operation's first argument (`last_use`), and the
array rule of that operation knows how to (`take`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from sys import getrefcount
from typing import Any

import numpy as np

from kkori.autograd.graph import Node
from kkori.tensor import Tensor, wrap

__all__ = ["LARGE", "holders", "is_ours", "last_use", "offer", "take", "uses_once"]

LARGE = 1 << 20  # bytes; smaller arrays are not worth the question
ndarray = np.ndarray


class _Offer(threading.local):
    array: Any = None


_offer = _Offer()


def offer(array: Any) -> None:
    """`array` may be overwritten by the next array rule that takes it; None: nothing may."""
    _offer.array = array


def take(array: Any) -> bool:
    """Whether `array` may be overwritten now; the offer holds for one taker."""
    if _offer.array is not array or array is None:
        return False
    _offer.array = None
    return True


def last_use(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a gradient rule that uses `g` once, as the first argument of an operation."""
    rule.last_use = True  # type: ignore[attr-defined]
    return rule


def holders(tensor: Tensor) -> tuple[int, int]:
    """How often `tensor` is held, and its array, as the caller sees it."""
    return getrefcount(tensor), getrefcount(tensor._array)


def owner_holders(array: Any) -> int:
    """How often the array that owns the memory of a view is held; 0 where none does."""
    owner = array.base
    return getrefcount(owner) if owner.__class__ is ndarray and owner.flags.owndata else 0


def _held_once() -> tuple[int, int]:
    tensor = wrap(np.empty(1))
    return holders(tensor)


HELD_ONCE = _held_once()  # what is counted for a tensor that one local variable holds
OWNER_HELD_ONCE = owner_holders(np.empty(1).reshape(1, 1))  # for an owner that one view holds


def is_ours(held: tuple[int, int], tensor: Any) -> bool:
    """Whether nobody but the caller can see the memory of `tensor`.

    `held` is what `holders` says to a caller that has `tensor` in one local variable, and nowhere
    else on its stack: so it is the first argument.
    """
    array = tensor._array
    if held != HELD_ONCE or tensor.__class__ is not Tensor or array.__class__ is not ndarray or (
            tensor._storage is not None or tensor._base is not None):
        return False
    flags = array.flags
    return bool(flags.writeable and flags.forc and (
        flags.owndata if array.base is None else owner_holders(array) == OWNER_HELD_ONCE))


def uses_once(node: Node) -> bool:
    """Whether the one gradient rule of `node` that will be run is marked as a `last_use`."""
    rules = [rule for edge, (rule, _) in zip(node.edges, node.row.rules, strict=False)
             if edge is not None]
    return len(rules) == 1 and getattr(rules[0], "last_use", False)
