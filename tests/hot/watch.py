"""Running a program twice, immediately and recorded, and saying where it could tell the difference.

A program is source text that calls ``log(...)`` with whatever it looks at.
"""

from __future__ import annotations

import gc
import linecache
import math
import random
import re
import threading
import traceback
import warnings
from typing import Any

import numpy as np
from noise import Noise

import kkori as torch
from kkori.autograd import mode
from kkori.autograd.mode import switch
from kkori.run import callers, hot, loops
from kkori.run.asides import Asides

HEADER = """\
# Run it with tests/hot on the path, once with KKORI_EAGER=1 and once without.
from watch import Log
log = Log(True)
"""
START = """\
import copy, gc, io, os, pickle, threading, warnings, weakref
import numpy as np
import kkori as torch
from kkori import nn
import kkori.nn.functional as F
torch.manual_seed(3)
x, y = torch.randn(6, 2), torch.randn(6, 1)
net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
w, v = net[0].weight, net[2].bias
opt = torch.optim.Adam(net.parameters(), lr=0.01, eps=1e-2)
kept = []
"""
NUMBER = re.compile(r"(-?\d+\.\d*(?:e[-+]?\d+)?|\b(?:nan|inf)\b)")
LATE = ("all elements of input should be", "index out of range", "is out of bounds for dimension")
WHERE = re.compile(r"\n  at [^\n]*")
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
MARGIN, DISTURBED = 2, 3  # how much further than noise rounding may go; how often that is tried
TOLERANCE = {"torch.float32": 1e-5, "torch.float64": 1e-9}


class Log:
    """What a program saw; numbers are compared up to rounding, all else exactly."""

    def __init__(self, aloud: bool = False) -> None:
        self.seen: list[Any] = []
        self.aloud = aloud
        self.replayed = 0

    def __call__(self, *values: Any) -> None:
        for value in values:
            self.add(plain(value))

    def add(self, fact: Any) -> None:
        """One more fact."""
        self.seen.append(fact)
        if self.aloud:
            print(len(self.seen), fact)

    def count(self) -> None:
        """Note how many rounds have been replayed, while the loops are there; not compared."""
        self.replayed = replayed_rounds()

    def facts(self, *tensors: Any) -> None:
        """All there is to say of tensors but their numbers."""
        for tensor in tensors:
            self.add(facts_of(tensor))

    def text(self, value: Any) -> None:
        """What is printed; numbers in it are compared as printed numbers."""
        self.add(("text", ADDRESS.sub("0x", str(value))))

    def shared(self, *tensors: Any) -> None:
        """Which of them share memory, and which are views of which."""
        places = [tensor.untyped_storage().data_ptr() for tensor in tensors]
        self.add(("shared", [places.index(place) for place in places],
                  [[other._base is one for one in tensors] for other in tensors]))

    def tail(self, tensor: Any) -> None:
        """The names of the nodes behind a tensor."""
        self.add(("tail", names_of(tensor.grad_fn, 0)))

    def alive(self, *references: Any) -> None:
        """Which weakly held objects are still there."""
        self.add(("alive", [held() is not None for held in references]))

    def error(self, error: BaseException) -> None:
        """An exception: its type, text, and the lines of the program that it came through.

        Where a name has no value yet, CPython 3.11 gives the line before, too, once the code has
        run a few times; in threads that depends on who came first. And errors that depend on
        numbers may come at a later line (docs/how-it-runs.md).
        """
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
                 if frame.filename.startswith("program")]
        text = ADDRESS.sub("0x", str(error))
        if isinstance(error, UnboundLocalError):
            lines = lines[:-1]
        if any(words in text for words in LATE):
            text, lines = WHERE.sub("", text), []
        self.add(("error", type(error).__name__, ("text", text), lines))


def facts_of(tensor: Any) -> Any:
    node = tensor.grad_fn
    return ("facts", tuple(tensor.shape), tensor.stride(), tensor.storage_offset(),
            str(tensor.dtype), tensor.requires_grad, tensor.is_leaf, tensor._version,
            tensor.is_contiguous(), tensor.retains_grad, tensor._base is None,
            None if node is None else node.name(),
            tensor.is_leaf and tensor.grad is not None)


def names_of(node: Any, depth: int) -> Any:
    if node is None or depth > 5:
        return node is None
    variable = getattr(node, "variable", None)
    return (node.name(), None if variable is None else tuple(variable.shape),
            [(names_of(other, depth + 1), number) for other, number in node.next_functions])


def plain(value: Any) -> Any:
    """`value` without tensors in it."""
    if isinstance(value, torch.Tensor):
        return "tensor", facts_of(value), np.array(value.tolist()), str(value.dtype)
    if isinstance(value, (np.ndarray, np.generic)):
        return "tensor", value.shape, np.array(value), "torch." + value.dtype.name
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return [(plain(key), plain(item)) for key, item in value.items()]
    if isinstance(value, float):
        return "tensor", (), np.array(value), str(torch.get_default_dtype())
    return value if isinstance(value, (int, str, bytes, type(None))) else type(value).__name__


def difference(one: Any, two: Any, noisy: list[Any]) -> str:
    """What tells `one` from `two`; empty if nothing does. Starts with "number" if only rounding
    may be to blame. `noisy`: what was seen here where `one` was disturbed by noise."""
    if type(one) is not type(two):
        return f"{one!r} and {two!r}"
    if isinstance(one, (list, tuple)):
        if len(one) != len(two):
            return f"{one!r} and {two!r}"
        noisy = [other for other in noisy if type(other) is type(one) and len(other) == len(one)]
        if one and one[0] == "tensor":
            return difference(one[1], two[1], []) or difference(one[3], two[3], []) or (
                numbers_differ(one[2], two[2], TOLERANCE.get(one[3], 0),
                               [other[2] for other in noisy]))
        if one and one[0] == "text":
            return texts_differ(one[1], two[1])
        found = [difference(a, b, [other[n] for other in noisy])
                 for n, (a, b) in enumerate(zip(one, two, strict=True))]
        found.sort(key=lambda text: (not text, text.startswith("number")))
        return found[0] if found else ""
    return "" if one == two else f"{one!r} and {two!r}"


def numbers_differ(one: Any, two: Any, tolerance: float, noisy: list[Any]) -> str:
    if one.shape != two.shape or one.dtype != two.dtype:
        return f"{one!r} and {two!r}"
    if one.dtype.kind not in "fc":
        return "" if np.array_equal(one, two) else f"{one!r} and {two!r}"
    with np.errstate(all="ignore"):
        largest = max([abs(a) for a in one.ravel() if math.isfinite(abs(a))], default=0)
        least = max(tolerance * largest / 4, 1e-5 * tolerance)  # what should be zero is noise
        for other in noisy:
            if other.shape == one.shape and np.isfinite(other - one).all():
                least = max(least, MARGIN * abs(other - one).max(initial=0))
        close = np.isclose(one, two, rtol=tolerance, atol=least, equal_nan=True)
    return "" if close.all() else f"number: {one.tolist()} and {two.tolist()}"


def texts_differ(one: str, two: str) -> str:
    mine, other = NUMBER.split(one), NUMBER.split(two)
    if mine[::2] != other[::2]:
        return f"{one!r} and {two!r}"
    for a, b in zip(mine[1::2], other[1::2], strict=True):
        if a != b and not math.isclose(float(a), float(b), rel_tol=2e-4, abs_tol=1.1e-4):
            return f"number: {one!r} and {two!r}"
    return ""


def forget_rounds() -> None:
    """Begin as a new process would: this thread has no loop yet."""
    switch.tape = switch.free = switch.free_before = switch.loop = None
    switch.backwards = 0
    switch.callers = None
    loops._state["caution"] = 1


def replayed_rounds() -> int:
    """How many rounds of loops that still exist have been run as one call."""
    return sum(loop["replayed"] for loop in torch.explain().loops)


def run(source: str, on: bool, seed: Any = "", noise: int | None = None) -> tuple[list[Any], int]:
    """What a program sees, and how many of its rounds were replayed. `noise`: a seed of noise."""
    name = f"program {seed}"
    linecache.cache[name] = len(source), None, source.splitlines(True), name
    log = Log()
    before = hot.enabled()
    hot.set_enabled(on)
    counted, callers.CALLS_BEFORE_RECORDING = callers.CALLS_BEFORE_RECORDING, 2
    backwards, mode.BACKWARDS_BEFORE_RECORDING = mode.BACKWARDS_BEFORE_RECORDING, 3
    forget_rounds()
    switch.tape = None if noise is None else Noise(noise)
    Asides.followed_only = seed.__class__ is int and seed % 3 == 2  # as at a loop's second try
    names = {"log": log, "__name__": "program"}
    torch.manual_seed(0)
    random.seed(0)
    hook, threading.excepthook = threading.excepthook, lambda args: None
    gc.collect(1)
    earlier = replayed_rounds()
    default = torch.get_default_dtype()
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                exec(compile(source, name, "exec"), names)
            except Exception as error:
                log.error(error)
            names.clear()
            gc.collect(1)
        log.add(sorted([one.category.__name__, str(one.message), one.lineno]
                       for one in warned if one.filename == name))
    finally:
        threading.excepthook = hook
        torch.set_grad_enabled(True)
        torch.set_default_dtype(default)
        hot.set_enabled(before)
        callers.CALLS_BEFORE_RECORDING = counted
        Asides.followed_only = False
        mode.BACKWARDS_BEFORE_RECORDING = backwards
        forget_rounds()
    return log.seen, log.replayed - earlier


def first_difference(one: list[Any], two: list[Any], noisy: list[list[Any]]) -> str:
    noisy = [other for other in noisy if len(other) == len(one)]
    for number, (a, b) in enumerate(zip(one, two, strict=False), 1):
        found = difference(a, b, [other[number - 1] for other in noisy])
        if found:
            return found if found.startswith("number") else f"observation {number}: {found}"
    return "" if len(one) == len(two) else f"{len(one)} and {len(two)} observations"


def compare(source: str, seed: Any = "") -> tuple[str, int]:
    """How a program can tell that it is recorded ("" if not), and its number of replayed rounds.

    Where float32 numbers differ it is run with float64: if those agree, or do not differ by much
    more than noise makes them, it was rounding.
    """
    expected, _ = run(source, False, seed)
    found, rounds = run(source, True, seed)
    text = first_difference(expected, found, [])
    if text.startswith("number"):
        source = "import kkori\nkkori.set_default_dtype(kkori.float64)\n" + source
        expected, found = run(source, False, seed)[0], run(source, True, seed)[0]
        text = first_difference(expected, found, [])
        if text.startswith("number"):
            text = first_difference(expected, found, [
                run(source, False, seed, noise)[0] for noise in range(DISTURBED)])
    return text, rounds


def in_rounds(body: str) -> str:
    """A program that trains a small net, and does `body` in each of its rounds."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return f"{START}for k in range(30):\n{lines}log([p for p in net.parameters()], kept)\n"


def assert_cannot_tell(source: str, name: str) -> None:
    """A program sees the same, recorded or not."""
    text, _ = compare(source, name)
    assert not text, f"{text}\n\n{HEADER}{source}"


def smallest(source: str, seed: Any = "") -> str:
    """A shorter program that can tell, too: lines and blocks are left out as long as it can."""
    lines = source.splitlines()
    size = max(1, len(lines) // 2)
    while size:
        place = 0
        while place < len(lines):
            shorter = lines[:place] + lines[place + size:]
            if can_tell("\n".join(shorter), seed):
                lines = shorter
            else:
                place += 1 if size == 1 else size // 2 + 1
        lines = without_blocks(lines, seed)
        size //= 2
    return "\n".join(lines)


def without_blocks(lines: list[str], seed: Any) -> list[str]:
    """Blocks that need not be blocks, or are not needed at all, are gone."""
    place = 0
    while place < len(lines):
        if lines[place].rstrip().endswith(":"):
            end = place + 1
            while end < len(lines) and indent(lines[end]) > indent(lines[place]):
                end += 1
            inside = [line[4:] for line in lines[place + 1:end]]
            for middle in ([], inside):
                shorter = lines[:place] + middle + lines[end:]
                if can_tell("\n".join(shorter), seed):
                    lines = shorter
                    break
        place += 1
    return lines


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def can_tell(source: str, seed: Any) -> bool:
    try:
        compile(source, "program", "exec")
    except SyntaxError:
        return False
    return bool(compare(source, seed)[0])
