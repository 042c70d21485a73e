"""Reading a checkpoint's pickle: a small machine that knows the instructions of plain data.

It has no instruction that imports, and calls nothing but the entries of `rebuild.GLOBALS`. It
works through a stack of its own, so that nesting of any depth is only memory (instruction set:
Python's pickletools; which of them PyTorch accepts: torch._weights_only_unpickler).
"""

from __future__ import annotations

import pickle
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from kkori.io.rebuild import GLOBALS, Callee, build, check_key, refuse

__all__ = ["unpickle", "ForeignName"]

BLOCKED_MODULES = ("sys", "os", "posix", "nt")
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class ForeignName(pickle.UnpicklingError):
    """A file names something that is not plain data; `name` is what it names."""

    def __init__(self, module: str, name: str) -> None:
        self.name = name if module == "builtins" else f"{module}.{name}"
        self.blocked = module if module in BLOCKED_MODULES else None
        super().__init__(
            f"Trying to load unsupported GLOBAL {self.name} whose module {module} is blocked."
            if self.blocked else
            f"Unsupported global: GLOBAL {self.name} was not an allowed global by default.")


def unpickle(content: bytes, storage: Callable[[tuple], Any]) -> Any:
    """The object that a pickle describes; `storage` brings the buffers that it refers to.

    UnpicklingError for what is not plain data or makes no sense, EOFError where the pickle ends
    too early.
    """
    machine = Machine(content, storage)
    try:
        return machine.run()
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, struct.error,
            OverflowError) as error:
        if machine.position > len(content):
            raise EOFError("the pickle ends in the middle") from error
        raise refuse(f"{type(error).__name__} at byte {machine.position}: {error}") from error


class Machine:
    """The stack, the memo, and one method an instruction."""

    def __init__(self, content: bytes, storage: Callable[[tuple], Any]) -> None:
        self.content, self.position, self.storage = content, 0, storage
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Work through the instructions up to STOP."""
        while True:
            code = self.take(1)[0]
            if code == STOP:
                return self.stack.pop()
            step = STEPS.get(code)
            if step is None:
                raise refuse(f"Unsupported operand {code}")
            step(self)

    def take(self, count: int) -> bytes:
        """The next `count` bytes; EOFError where there are fewer."""
        start = self.position
        self.position += count
        if self.position > len(self.content):
            raise EOFError("the pickle ends in the middle")
        return self.content[start:self.position]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        end = self.content.index(b"\n", self.position)
        text = self.content[self.position:end].decode()
        self.position = end + 1
        return text

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def name(self) -> None:
        module, name = self.line(), self.line()
        module = PYTHON_2.get(module, module)
        if f"{module}.{name}" not in GLOBALS:
            raise ForeignName(module, name)
        self.stack.append(GLOBALS[f"{module}.{name}"])

    def call(self) -> None:
        args = self.stack.pop()
        callee = self.stack[-1]
        if not isinstance(callee, Callee) or type(args) is not tuple:
            raise refuse(f"Trying to call reduce for unrecognized function {type(callee).__name__}")
        self.stack[-1] = callee.make(*args)

    def build(self) -> None:
        state = self.stack.pop()
        build(self.stack[-1], state)

    def append(self) -> None:
        item = self.stack.pop()
        self.extend([item])

    def appends(self) -> None:
        self.extend(self.pop_mark())

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise refuse(f"Can only append to lists, but got {type(self.stack[-1])}")
        self.stack[-1].extend(items)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def set_items(self) -> None:
        self.update(self.pop_mark())

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict, Counter):
            raise refuse("Can only SETITEM for dict, collections.OrderedDict, collections.Counter, "
                         f"but got {type(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise refuse("a tuple of more items than there are")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def tuple_of_marked(self) -> None:
        items = tuple(self.pop_mark())
        self.stack.append(items)

    def stored(self) -> None:
        identity = self.stack.pop()
        if type(identity) is not tuple:
            raise refuse(f"persistent_load id must be tuple or int, but got {type(identity)}")
        if len(identity) != 5 or identity[0] != "storage":
            raise refuse("Only persistent_load of storage is allowed, but got "
                         f"{type(identity[0]) if identity else None}")
        self.stack.append(self.storage(identity))

    def text(self) -> None:
        self.stack.append(self.take(self.number("<I")).decode("utf-8", "surrogatepass"))

    def short_bytes(self) -> None:
        self.stack.append(self.take(self.number("<B")).decode("ascii"))

    def long(self) -> None:
        self.stack.append(int.from_bytes(self.take(self.number("<B")), "little", signed=True))

    def get(self, form: str) -> None:
        self.stack.append(self.memo[self.number(form)])

    def put(self, form: str) -> None:
        self.memo[self.number(form)] = self.stack[-1]


def _push(make: Callable[[], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(make())


def _push_number(form: str) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(machine.number(form))


STOP = pickle.STOP[0]
STEPS: dict[int, Callable[[Machine], None]] = {code[0]: step for code, step in {
    pickle.PROTO: lambda machine: machine.take(1),
    pickle.GLOBAL: Machine.name,
    pickle.REDUCE: Machine.call,
    pickle.NEWOBJ: Machine.call,
    pickle.BUILD: Machine.build,
    pickle.BINPERSID: Machine.stored,
    pickle.MARK: Machine.mark,
    pickle.APPEND: Machine.append,
    pickle.APPENDS: Machine.appends,
    pickle.SETITEM: Machine.set_item,
    pickle.SETITEMS: Machine.set_items,
    pickle.TUPLE: Machine.tuple_of_marked,
    pickle.TUPLE1: lambda machine: machine.tuple_of(1),
    pickle.TUPLE2: lambda machine: machine.tuple_of(2),
    pickle.TUPLE3: lambda machine: machine.tuple_of(3),
    pickle.NONE: _push(lambda: None),
    pickle.NEWFALSE: _push(lambda: False),
    pickle.NEWTRUE: _push(lambda: True),
    pickle.EMPTY_TUPLE: _push(tuple),
    pickle.EMPTY_LIST: _push(list),
    pickle.EMPTY_DICT: _push(dict),
    pickle.EMPTY_SET: _push(set),
    pickle.BININT: _push_number("<i"),
    pickle.BININT1: _push_number("<B"),
    pickle.BININT2: _push_number("<H"),
    pickle.BINFLOAT: _push_number(">d"),
    pickle.LONG1: Machine.long,
    pickle.BINUNICODE: Machine.text,
    pickle.SHORT_BINSTRING: Machine.short_bytes,
    pickle.BINGET: lambda machine: machine.get("<B"),
    pickle.LONG_BINGET: lambda machine: machine.get("<I"),
    pickle.BINPUT: lambda machine: machine.put("<B"),
    pickle.LONG_BINPUT: lambda machine: machine.put("<I"),
}.items()}
