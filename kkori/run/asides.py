"""Operations beside a round: they are run at once, and are no part of what is recorded.

Programs go on with what a round has given when the next one has begun: ``loss.log10()`` behind the
step, ``outputs.max(1)`` to count what was right, a copy of a parameter for a picture. Such an
operation takes nothing that the new round has made. It is left out, and so is what only goes on
with its results; the round takes those as tensors from outside, if it takes them at all.

The same holds for writes in place that come first, such as clipping the weights: rounds begin
behind them. And for what is looked at before anything is followed: ``data[i:i + 64]`` with an `i`
that was drawn. A loop that could not be replayed so is tried once more, and then operations on data
alone are left out altogether (`followed_only`): a replay memory gives each round other numbers of
rows, another model is asked for targets; what is followed may be alike for all that.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from numpy import ndarray

from kkori.autograd.mode import switch
from kkori.core.promise import Promise
from kkori.core.storage import root_of
from kkori.run.entry import EXTERNAL, PLAIN, SLOT
from kkori.run.numbers import class_or_value
from kkori.tensor import Tensor

__all__ = ["Asides", "follows_nothing", "holds_tensors", "is_data", "is_earlier"]

MOST_BEGINNINGS = 32
MOST_EARLY = 64
LOOKS_BEFORE_LEAVING_OUT = 2
MOST_RESULTS = 256


class Asides:
    """What a tape has learned to leave out of rounds."""

    followed_only = False  # operations on data alone are no part of rounds, wherever they come

    def __init__(self) -> None:
        self.overwritten: dict[int, Any] = {}  # memory of parameters that others read: its owners
        self.written: dict[int, Any] = {}  # tensors that are written to before rounds begin
        self.beginnings: set[Any] = set()  # operations, from afar, with which no round begins
        self.early: set[Any] = set()  # operations, by rows and shapes, whose numbers are needed
        self.early_looks = 0  # how often such numbers were looked at
        self.results: dict[int, Any] = {}  # of operations that were left out: their arrays, by id
        self.forget()

    def forget(self) -> None:
        """Another round is recorded, or none."""
        self.so_far: list[Any] = []  # the first operations of the round, from afar
        self.others: list[Any] = []  # externals without gradients: who owns the memory, the tensor

    def met(self, tensor: Tensor) -> None:
        """An external is recorded."""
        root = root_of(tensor._array)
        if not tensor._requires_grad and isinstance(root, ndarray):
            self.others.append((ref(root), ref(tensor)))

    # What is left out.

    def goes_on(self, tape: Any, row: Any, args: Any, found: Any) -> bool:
        """Whether an operation only goes on with what was there before the round: then it is left
        out, and what goes on with its results will be."""
        if len(self.so_far) < MOST_BEGINNINGS:
            self.so_far.append(from_afar(row, args))
        if any(tape.recorded(arg._array) for arg in args if isinstance(arg, Tensor)) or not (
                self.are_before(args) or self.is_early(row, args)):
            return False
        if tape.at is tape.root:
            self.begins_no_round(row, args)
        self.leave_out(found)
        return True

    def are_before(self, args: Any) -> bool:
        """Whether arguments tell of what was there before the round; of the round itself, the
        caller knows."""
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        if not tensors or any(map(holds_tensors, args)):
            return False
        if self.followed_only and is_data(args):
            return True
        return any(map(is_earlier, tensors)) or not any(
            one._requires_grad for one in tensors) and any(
            self.knows(one) or self.reads_parameter(one) for one in tensors)

    def is_early(self, row: Any, args: Any) -> bool:
        """Whether an operation computes what is looked at before anything is followed."""
        if not self.early or (row.name, tuple(map(shape_of, args))) not in self.early:
            return False
        return not any(arg._requires_grad for arg in args if isinstance(arg, Tensor))

    def leave_out(self, found: Any) -> None:
        """What goes on with these results is left out, too."""
        if len(self.results) > MOST_RESULTS:
            self.results.clear()
        for tensor in found if found.__class__ is tuple else (found,):
            if isinstance(tensor, Tensor):
                self.results[id(tensor._array)] = ref(tensor._array)

    def knows(self, tensor: Tensor) -> bool:
        """Whether a tensor was made by an operation that was left out."""
        held = self.results.get(id(tensor._array))
        return held is not None and held() is tensor._array

    def reads_parameter(self, tensor: Tensor) -> bool:
        """Whether a tensor is another name for memory that steps overwrite."""
        if not self.overwritten:
            return False
        root = root_of(tensor._array)
        held = self.overwritten.get(id(root))
        return held is not None and held() is root

    # What is learned.

    def learn(self, optimizer: Any) -> bool:
        """Whether the round that was recorded reads parameters by other names; next time, that
        is left out."""
        found = False
        for param in [param for group in optimizer.param_groups for param in group["params"]]:
            root = root_of(param._array)
            if isinstance(root, ndarray) and any(
                    owner() is root and held() is not param for owner, held in self.others):
                self.overwritten[id(root)] = ref(root)
                found = True
        return found

    def looked_at(self, path: list[Any]) -> bool:
        """Whether these events, with which a round has begun, are left out from now on: nothing
        in them is followed, and the program needs their numbers."""
        self.early_looks += 1
        if self.early_looks < LOOKS_BEFORE_LEAVING_OUT or len(self.early) > MOST_EARLY:
            return False
        layouts = [layout for entry in path for layout in entry.layouts]
        for entry in path:
            self.early.add((entry.row.name, tuple(
                data.shape if kind == SLOT else layouts[data[0]].shape if kind == EXTERNAL
                else None for kind, data in entry.patterns)))
        return True

    def write_before_rounds(self, tensor: Tensor) -> None:
        """Writing to `tensor` is no part of a round; next time one will begin behind that."""
        self.written[id(tensor)] = ref(tensor)

    def comes_before(self, tensor: Tensor) -> bool:
        """Whether writing to `tensor` is no part of a round."""
        held = self.written.get(id(tensor))
        return held is not None and held() is tensor

    # How rounds begin.

    def begins_no_round(self, row: Any, args: Any) -> None:
        """Remember an operation that was left out before the first of its round."""
        if len(self.beginnings) < MOST_BEGINNINGS:
            self.beginnings.add(from_afar(row, args))

    def begin_later(self) -> None:
        """The round begins later than with the operations that have been seen so far."""
        if len(self.beginnings) < MOST_BEGINNINGS:
            self.beginnings.update(self.so_far)

    def first(self, row: Any, args: Any) -> Any:
        """What a round that begins with an operation is known by; None where none begins so."""
        found = from_afar(row, args)
        return None if found in self.beginnings else found


def is_data(args: Any) -> bool:
    """Whether arguments tell of data: there is a tensor, nothing is pending in any, and nobody
    follows what is done with them."""
    found, followed = False, switch.on
    for arg in args:
        if isinstance(arg, Tensor):
            if arg._array.__class__ is not ndarray or followed and arg._requires_grad:
                return False
            found = True
        elif holds_tensors(arg):
            return False
    return found


def shape_of(arg: Any) -> Any:
    return arg._array.shape if isinstance(arg, Tensor) else None


def follows_nothing(entry: Any) -> bool:
    """Whether an event is an operation on data, without gradients."""
    return entry.kind == "op" and not any(one.needs for one in (*entry.promises, *entry.layouts))


def is_earlier(tensor: Tensor) -> bool:
    """Whether a tensor has a tail, and no part in a round that is matched now."""
    return tensor._node is not None and not isinstance(tensor._array, Promise)


def from_afar(row: Any, args: Any) -> Any:
    """What an operation looks like, without a look at any number that may be another one."""
    return row.name, tuple(map(looks, class_or_value(row, args))), bool(row.view)


def looks(arg: Any) -> Any:
    if isinstance(arg, Tensor):
        return arg._array.shape, arg._requires_grad
    if arg.__class__ in (tuple, list):
        return tuple(map(looks, arg))
    return str(arg) if arg.__class__ in (*PLAIN, slice) else arg.__class__


def holds_tensors(value: Any) -> bool:
    """Whether there are tensors in a list or tuple."""
    return value.__class__ in (list, tuple) and any(
        isinstance(item, Tensor) or holds_tensors(item) for item in value)
