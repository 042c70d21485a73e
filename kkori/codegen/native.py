"""The whole text of a segment: its stages, and the drivers that run them between library calls."""

from __future__ import annotations

from typing import Any

from kkori.codegen import blueprint
from kkori.codegen.driver import RESERVED, Check, Driver, Run, Store, chunked, drive, linked
from kkori.codegen.emit import WORK_TO_SHARE, Emitted, emit_nest
from kkori.codegen.graph import Value, base
from kkori.codegen.products import EMIT, is_own
from kkori.codegen.program import Program
from kkori.codegen.schedule import Nest, Plan
from kkori.codegen.sharing import texts
from kkori.codegen.target import Target
from kkori.codegen.writer import Buffers

__all__ = ["Native"]

TINY = 100_000  # vector operations, about 20 microseconds: not worth to let other threads run


class Native:
    """The text of all nests and products, the drivers, and what threads may share."""

    def __init__(self, program: Program, schedule: Plan, doubts: list[Value], buffers: Buffers,
                 target: Target) -> None:
        self.drivers: list[Driver] = []
        self.works: list[int] = []  # of each driver
        self.shared: list[blueprint.Shared] = []
        self.scratch: list[tuple[int, int]] = []  # places in the context, bytes for a thread
        self.calls: list[Value] = []  # what a library computes, each after one driver
        self.pool = buffers.count + program.numbers
        self.places = self.pool + RESERVED
        self.target, self.buffers = target, buffers
        self.nests: list[Emitted] = []
        self.parts: list[str] = []  # of the text: other stages, drivers
        self.helpers: dict[str, str] = {}
        self.write(program, schedule, doubts)

    def write(self, program: Program, schedule: Plan, doubts: list[Value]) -> None:
        """All stages in their order; a driver ends where a library is called."""
        places = self.buffers.places
        check = Check([(places[value], value.dtype) for value in map(base, doubts)])
        waiting: list[Any] = []
        for number, stage in enumerate(schedule.stages):
            if number == schedule.barrier and doubts:
                waiting.append(check)
            if isinstance(stage, Nest):
                waiting.append(self.add(emit_nest(f"nest{number}", stage, schedule.stored,
                                                  self.buffers, self.target)))
            elif stage.value in self.buffers.shown:
                continue
            elif is_own(stage.value, self.buffers):
                waiting.append(self.add(self.product(f"product{number}", stage.value)))
            else:
                self.drive(waiting, False)
                self.calls.append(stage.value)
                waiting = []
        if schedule.barrier == len(schedule.stages) and doubts:
            waiting.append(check)
        waiting += [Store(place, program.inputs[place].dtype, self.buffers.count + number)
                    for place, number in program.stores]
        self.drive(waiting, True)

    def product(self, name: str, value: Value) -> Emitted:
        """A matrix product, several, a convolution, or parts joined, as a stage."""
        emit = EMIT[value.kind]
        stage, parts, scratch = emit(name, value, self.buffers, self.target, self.places)
        self.helpers.update(parts)
        if scratch:
            self.scratch.append((self.places, scratch))
        self.places += 1
        return stage

    def add(self, stage: Emitted) -> Run:
        """Take a stage's text; threads share it if it is large enough."""
        if stage.product:
            self.parts.append(stage.text)
        else:
            self.nests.append(stage)
        if stage.work < WORK_TO_SHARE * self.target.lanes("float") or (
                stage.extent <= stage.grain):
            return Run(stage)
        self.shared.append(blueprint.Shared(
            self.places, stage.extent, stage.grain, stage.work, stage.product,
            self.target.lanes("float")))
        self.parts.append(chunked(stage, self.places))
        self.places += 1
        return Run(stage, self.places - 1)

    def drive(self, actions: list[Any], last: bool) -> None:
        """A driver for what has been written since the last library call."""
        driver = drive(f"run{len(self.drivers)}", actions, self.pool, self.target, last)
        self.drivers.append(driver)
        self.works.append(sum(action.stage.work for action in actions
                              if isinstance(action, Run)))
        self.parts.append(str(driver))

    @property
    def names(self) -> list[str]:
        """What Python calls."""
        return [driver.name for driver in self.drivers]

    @property
    def text(self) -> str:
        """What LLVM gets."""
        return linked("\n\n".join([*texts(self.nests), *self.parts]), self.target, self.helpers)

    def described(self) -> list[blueprint.Driver]:
        """The drivers in plain terms."""
        most = TINY * self.target.lanes("float")
        return [blueprint.Driver(driver.name, driver.checks, work < most)
                for driver, work in zip(self.drivers, self.works, strict=True)]
