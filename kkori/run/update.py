"""The end of a replayed round: the optimizer's rule as part of the program, and its numbers.

The rule is run twice with stand-ins. While recording, with symbols: every operation becomes a
step of the program, every float a run-time number. In each round, with probes: they do nothing
but collect those floats, in the same order; so learning rates and bias corrections are computed
by the rule itself, as the user wrote it, every time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.run.tape import EXTERNAL, SLOT, Tape
from kkori.tensor import Tensor

__all__ = ["Update", "Unupdatable"]


class Unupdatable(Exception):
    """A step that cannot be part of a compiled round."""


class _Stand:
    """What stands for an array while a rule is run: operators and NumPy functions end in `do`."""

    __slots__ = ()
    __array_priority__ = 3000

    def do(self, name: str, *operands: Any) -> Any:
        raise NotImplementedError

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        name = FUNCTIONS.get(ufunc.__name__)
        if name is None or method != "__call__" or options:
            raise Unupdatable(f"the rule uses {ufunc.__name__}")
        return self.do(name, *inputs)

    def __bool__(self) -> bool:
        raise Unupdatable("the rule looks at a value")


FUNCTIONS = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div",
             "true_divide": "div", "sqrt": "sqrt", "absolute": "abs", "maximum": "maximum",
             "minimum": "minimum", "negative": "neg", "exp": "exp"}


def _operators() -> None:
    for symbol, name in {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div"}.items():
        setattr(_Stand, f"__{symbol}__", lambda self, other, n=name: self.do(n, self, other))
        setattr(_Stand, f"__r{symbol}__", lambda self, other, n=name: self.do(n, other, self))
    setattr(_Stand, "__neg__", lambda self: self.do("neg", self))


_operators()


class Symbol(_Stand):
    """Stands for an array while the program is written."""

    __slots__ = ("ref", "writer")

    def __init__(self, ref: tuple[str, Any], writer: Update) -> None:
        self.ref, self.writer = ref, writer

    def do(self, name: str, *operands: Any) -> Symbol:
        return self.writer.emit(name, operands)

    def __pow__(self, exponent: Any) -> Symbol:
        if exponent != 2:
            raise Unupdatable("the rule uses a power")
        return self.writer.emit("square", (self,))


class Probe(_Stand):
    """Collects the numbers of a rule and computes nothing."""

    __slots__ = ("found",)

    def __init__(self, found: list[float]) -> None:
        self.found = found

    def do(self, name: str, *operands: Any) -> Probe:
        for operand in operands:
            if operand.__class__ is not Probe:
                self.found.append(float(operand))
        return self

    def __pow__(self, exponent: Any) -> Probe:
        return self


class Update:
    """One optimizer's step behind one recorded path, ready to be compiled and run."""

    def __init__(self, optimizer: Any, tape: Tape) -> None:
        from kkori.codegen.lowering import Program
        self.path = tape.at.path()
        self.program = Program()
        self.extra: list[Tensor] = []  # parameters' states: inputs behind the externals
        self.groups: list[Any] = []
        self.states: list[tuple[Any, str, Tensor]] = []  # where each extra input must still be
        self.expected: dict[int, Any] = {}  # the promise that each parameter's gradient must be
        self.compiled: dict[frozenset[int], Any] = {}
        self.translate(tape)
        gradients = self.gradients()
        self.promises = {slot: kind for entry in self.path
                         for slot, kind in zip(entry.slots, entry.promises, strict=True)}
        self.bound_count = len(tape.bound)
        for group in optimizer.param_groups:
            self.add_group(optimizer, group, tape, gradients)

    # The program.

    def translate(self, tape: Tape) -> None:
        """The recorded operations as steps."""
        from kkori.codegen.lowering import Spec, Step
        program = self.program
        self.next_slot = tape.at.slot_count
        for tensor in tape.bound:
            array = tensor._array
            steps = tuple(step // array.itemsize for step in array.strides)
            program.inputs.append(Spec(array.shape, steps, array.dtype.str[1:]))
        for entry in self.path:
            for inner in (entry.inner if entry.kind == "backward" else [entry]):
                args = tuple(self.reference(pattern) for pattern in inner.patterns)
                program.steps.append(Step(inner.row.name, args, tuple(inner.slots)))
            for (_, source), slot in zip(entry.leaves, entry.slots, strict=False):
                program.steps.append(Step("clone", (("slot", source),), (slot,)))

    def reference(self, pattern: tuple[int, Any]) -> tuple[str, Any]:
        kind, data = pattern
        if kind == SLOT:
            return "slot", data.slot
        return ("input", data[0]) if kind == EXTERNAL else ("value", data)

    def gradients(self) -> dict[int, int]:
        """The slot of each leaf's gradient, by the leaf's number."""
        return {number: slot for entry in self.path if entry.kind == "backward"
                for (number, _), slot in zip(entry.leaves, entry.slots, strict=True)}

    def emit(self, name: str, operands: tuple[Any, ...]) -> Symbol:
        """One operation of the rule."""
        from kkori.codegen.lowering import Step
        args = []
        for operand in operands:
            if isinstance(operand, Symbol):
                args.append(operand.ref)
            else:
                args.append(("number", self.number))
                self.number += 1
        self.program.steps.append(Step(name, tuple(args), (self.next_slot,)))
        self.next_slot += 1
        return Symbol(("slot", self.next_slot - 1), self)

    number = 0

    def add_group(self, optimizer: Any, group: Any, tape: Tape, gradients: dict[int, int]) -> None:
        """Run the rule with symbols for every parameter of a group."""
        if group.get("differentiable") or not optimizer.elementwise or group.get("capturable"):
            raise Unupdatable("an optimizer with options that need tensors")
        options = optimizer._plain_options(group, keep_tensors=False)
        start, end, counters = self.number, None, None
        members = []
        for param in group["params"]:
            place = tape.external_of.get(id(param))
            if place is None or place not in gradients:
                if param._grad is None:
                    continue
                raise Unupdatable("a gradient that this round did not make")
            state = optimizer.state.get(param, {})
            counts = {name: state[name].item() for name in optimizer.counters if name in state}
            if counters is not None and counts != counters:
                raise Unupdatable("parameters that have been updated differently often")
            counters = counts
            self.number = start
            self.expected[id(param)] = self.promises[gradients[place]]
            self.add_parameter(optimizer, group, param, place, gradients[place], state, options,
                               counts)
            end = self.number
            members.append(param)
        self.number = start if end is None else end
        self.program.numbers = self.number
        if members:
            self.groups.append((group, members))

    def add_parameter(self, optimizer: Any, group: Any, param: Tensor, place: int, slot: int,
                      state: Any, options: Any, counts: Any) -> None:
        gradient = Symbol(("slot", slot), self)
        if group.get("maximize"):
            gradient = -gradient  # type: ignore[operator]
        places = {"": place}
        slots: dict[str, Any] = dict(counts)
        for name, tensor in state.items():
            if name not in counts:
                places[name] = self.state_input(tensor)
                self.states.append((state, name, tensor))
                slots[name] = Symbol(("input", places[name]), self)
        value, found = type(optimizer).rule(Symbol(("input", place), self), gradient, slots,
                                            **options)
        for name, new in {"": value, **found}.items():
            if name in counts:
                continue
            if not isinstance(new, Symbol) or name not in places:
                raise Unupdatable("a rule that makes new state")
            self.write(places[name], new)

    def state_input(self, tensor: Tensor) -> int:
        from kkori.codegen.lowering import Spec
        array = tensor._array
        if array.__class__ is not np.ndarray or array.dtype.str[1:] not in ("f4", "f8"):
            raise Unupdatable("state of a type that loops do not compute in")
        self.extra.append(tensor)
        steps = tuple(step // array.itemsize for step in array.strides)
        self.program.inputs.append(Spec(array.shape, steps, array.dtype.str[1:]))
        return len(self.program.inputs) - 1

    def write(self, place: int, symbol: Symbol) -> None:
        kind, slot = symbol.ref
        if kind != "slot":
            raise Unupdatable("a rule that gives back what it got")
        self.program.writes.append((place, slot))

    # A round.

    def numbers(self, optimizer: Any, tape: Tape) -> list[float] | None:
        """The rule's floats of this round; None where the optimizer is not as it was recorded."""
        if len(tape.bound) != self.bound_count or any(
                state.get(name) is not tensor for state, name, tensor in self.states):
            return None
        found: list[float] = []
        seen = 0
        for group in optimizer.param_groups:
            mine = next((members for g, members in self.groups if g is group), None)
            if mine is None:
                if any(param._grad is not None for param in group["params"]):
                    return None
                continue
            seen += 1
            if not self.probe(optimizer, group, mine, found):
                return None
        return found if seen == len(self.groups) and len(found) == self.program.numbers else None

    def probe(self, optimizer: Any, group: Any, members: list[Tensor], found: list[float]) -> bool:
        """Run a group's rule for its numbers, once for all its parameters."""
        for param in group["params"]:
            grad = param._grad
            if (None if grad is None else grad._array.__class__) is not self.expected.get(
                    id(param)):
                return False
        state = optimizer.state.get(members[0], {})
        stand = Probe(found)
        slots: dict[str, Any] = {}
        for name, tensor in state.items():
            slots[name] = tensor.item() if name in optimizer.counters else stand
        options = optimizer._plain_options(group, keep_tensors=False)
        try:
            _, self.new_state = type(optimizer).rule(stand, -stand if group.get("maximize")
                                                     else stand, slots, **options)
        except Unupdatable:
            return False
        return True

    new_state: dict[str, Any] = {}

    def externals(self, tape: Tape) -> list[Tensor]:
        """All inputs of the program."""
        return [*tape.bound, *self.extra]

    def counted(self, optimizer: Any) -> None:
        """Count the step in the optimizer's state, and the writes in the storages."""
        for group, members in self.groups:
            for param in members:
                param.shared_storage().version += 1
                state = optimizer.state.get(param, {})
                for name, tensor in state.items():
                    tensor.shared_storage().version += 1
                    if name in optimizer.counters:
                        tensor._array[...] = self.new_state[name]

    def runner(self, live: frozenset[int], tape: Tape) -> Any:
        """The compiled round that also gives the slots in `live`."""
        if live not in self.compiled:
            self.compiled[live] = self.compile(live)
        return self.compiled[live]

    def compile(self, live: frozenset[int]) -> Any:
        from dataclasses import replace
        try:
            from kkori.codegen.segment import build
            return build(replace(self.program, outputs=sorted(live)))
        except ImportError:
            return None

    def loop_given_up(self, optimizer: Any) -> None:
        from kkori.run.hot import loop_of
        loop_of(optimizer).given_up = "a step without a loop rule"

