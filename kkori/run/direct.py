"""Calls of models made of kkori's own layers, as functions of straight lines.

Where such a call has been computed as one round (`run/inference.py`) there is nothing to promise
and nothing to hold: a function written for it compares the arguments with the recorded ones, finds
the parameters where the module keeps them, and calls machine code. Where anything is different it
returns None, nothing has happened, and the general way is taken.
"""

from __future__ import annotations

from ctypes import addressof, c_char
from sys import getrefcount
from typing import Any

import numpy as np

from kkori.codegen.segment import address_of
from kkori.core.storage import Storage
from kkori.run.calls import place_of
from kkori.run.entry import CONSTANT, Layout
from kkori.run.finish import Finish, counted, simple
from kkori.run.guards import Guard
from kkori.tensor import Tensor

__all__ = ["forget_memory", "write", "write_end"]


class Calling(Guard):
    """The lines of the function, and the globals they refer to."""

    def __init__(self, tape: Any, runner: Any) -> None:
        super().__init__(tape, "def go(args):")
        self.runner = runner
        self.names.update(names_of(runner), ndarray=np.ndarray, len=len)

    def given(self, args: tuple[Any, ...], numbers: dict[int, list[int]],
              layouts: list[Layout]) -> None:
        """Compare the arguments; `numbers` says which inputs of the program each of them is."""
        self.check(f"len(args) != {len(args)}")
        for k, arg in enumerate(args):
            self.lines.append(f"  a{k} = args[{k}]")
            if not isinstance(arg, Tensor):
                self.constant(f"a{k}", CONSTANT, arg)
                continue
            layout = layouts[numbers[k][0]]
            self.lines.append(f"  b{k} = a{k}._array")
            self.check(f"b{k}.__class__ is not ndarray or b{k}.shape != "
                       f"{self.name('S', layout.shape)} or b{k}.dtype is not "
                       f"{self.name('D', layout.kind)} or b{k}.strides != "
                       f"{self.name('T', layout.strides)}")

    def kept(self, number: int, table: dict[str, Any], name: str, layouts: list[Layout]) -> None:
        """A parameter or buffer: where its array is another, that is looked at, and its address."""
        found, again = self.name("D", table), self.name("A", again_at)
        self.lines += [f"  p = {found}[{self.name('S', name)}]._array",
                       f"  if p is not INPUTS[{number}] and not {again}(RUNNER, {number}, p, "
                       f"{self.name('L', layouts[number])}): return None"]

    def compute(self, numbers: dict[int, list[int]]) -> None:
        """What `Segment.run` does; arguments are held only while it runs."""
        self.otherwise()
        passing = {number: f"b{k}" for k, all_of in numbers.items() for number in all_of}
        self.lines += [*lines_of_run(self.runner, passing),
                       " result = new(Tensor)", " result._array = RESULTS[0]"]
        if self.runner.is_large:
            self.lines.append(f" {self.name('M', forget_memory)}(RUNNER)")


def names_of(runner: Any) -> dict[str, Any]:
    """The globals that `lines_of_run` refers to."""
    return {"getrefcount": getrefcount, "sum": sum, "map": map, "addressof": addressof,
            "from_buffer": c_char.from_buffer, "address_of": address_of,
            "Doubtful": runner.Doubtful, "CALL": runner.call, "INPUTS": runner.inputs,
            "RESULTS": runner.results, "RUNNER": runner, "WORDS": runner.words}


def lines_of_run(runner: Any, passing: dict[int, str]) -> list[str]:
    """What `Segment.run` does; `passing` has the inputs that are held only while it runs."""
    lines = []
    for number, array in passing.items():
        lines += [f" try: WORDS[{number}] = addressof(from_buffer({array}))",
                  " except (TypeError, ValueError, BufferError): "
                  f"WORDS[{number}] = address_of({array})", f" INPUTS[{number}] = {array}"]
    lines.append(" if sum(map(getrefcount, RESULTS)) != RUNNER.free: RUNNER.refresh()")
    if runner.shared:
        lines.append(" RUNNER.settle_threads()")
    return [*lines, " try:", "  if CALL(): return None", " except Doubtful: return None",
            " finally:", *[f"  INPUTS[{number}] = None" for number in passing], "  pass"]


def forget_memory(runner: Any) -> None:
    """Keep nothing for the next call: it would be much."""
    runner.hidden.clear()
    runner.results[:] = [None] * len(runner.results)
    runner.free = -1


def again_at(runner: Any, number: int, array: Any, layout: Layout) -> bool:
    """Take another array for an input that stays from call to call; False where it is not like
    the recorded one."""
    if array.__class__ is not np.ndarray or array.shape != layout.shape or (
            array.dtype != layout.kind or array.strides != layout.strides):
        return False
    point_at(runner, number, array)
    return True


def write(tape: Any, module: Any, args: tuple[Any, ...], event: Any, runner: Any,
          entry: Any) -> Any:
    """``go(args)`` for calls like the one that was just computed; None where it needs more."""
    if event.counts or entry.number_count:
        return None
    layouts = [layout for one in entry.path() for layout in one.layouts]
    numbers: dict[int, list[int]] = {}
    places = []
    for number, tensor in enumerate(tape.bound[:entry.externals]):
        place = place_of(module, tensor)
        mine = [k for k, arg in enumerate(args) if arg is tensor]
        if len(mine) + (place is not None) != 1:
            return None  # an argument given twice, or one that is a parameter, too
        if place is not None:
            places.append((number, place))
        else:
            numbers.setdefault(mine[0], []).append(number)
    if any(isinstance(arg, Tensor) and k not in numbers for k, arg in enumerate(args)):
        return None
    guard = Calling(tape, runner)
    guard.check(f"{guard.name('E', event)}.away")
    guard.given(args, numbers, layouts)
    for number, (table, name) in places:
        guard.kept(number, table, name, layouts)
    guard.compute(numbers)
    go = guard.done(None, "result")
    go.event = event
    return go


class CallEnd(Finish):
    """The end of a call whose operations have been matched: ``finish(tape)``, True or None."""

    def __init__(self, tape: Any, held: Any, runner: Any) -> None:
        self.update = None
        self.hand(tape, held, runner)
        self.lines = ["def finish(tape):", " made = tape.made"]
        self.names = {**names_of(runner), **counted(), "new": object.__new__, "len": len,
                      "Storage": Storage, "ROOT": tape.root}

    def inputs(self, entry: Any) -> None:
        """Arrays of what is the model's are known by their addresses; others are new."""
        self.add(" if tape.originals: return None", " bound = tape.bound")
        ending = entry.runner
        for number in range(entry.externals):
            self.add(f" b{number} = bound[{number}]._array")
            if number not in ending.passing:
                self.add(f" if b{number} is not INPUTS[{number}]: "
                         f"{self.name('POINT', point_at)}(RUNNER, {number}, b{number})")
        if entry.number_count:
            self.add(f" numbers = tape.numbers[:{entry.number_count}]",
                     " if numbers != RUNNER.numbers: RUNNER.take(numbers)")
        self.lines += lines_of_run(self.runner, {number: f"b{number}" for number in ending.passing})

    def end(self) -> None:
        """Hand out what is held, and hold nothing."""
        self.arrays(" ")
        for known in self.tape.passing:
            name = self.name("KNOWN", known)
            self.add(f" {name}.tensor = {name}.array = ROOT")
        if self.runner.is_large:
            self.add(f" {self.name('FORGET', forget_memory)}(RUNNER)")
        self.to_root(" ")
        self.add(" return True")


def point_at(runner: Any, number: int, array: Any) -> None:
    """Take another array for an input that stays from call to call."""
    runner.inputs[number] = None
    runner.words[number] = address_of(array)
    runner.inputs[number] = array


def write_end(tape: Any, held: Any, runner: Any, entry: Any) -> Any:
    """``finish(tape)`` for calls that end like the one that is about to; None where that needs
    more than straight lines."""
    path = tape.here.path()
    if any(one.kind != "op" for one in path) or not simple(path, held) or len(held[0]) != len(
            held[1]):
        return None
    found = CallEnd(tape, held, runner)
    found.same_results()
    found.inputs(entry)
    found.end()
    return found.function()
