"""The end of a replayed round: the optimizer's rule as part of the program, and its numbers.

The rule is run twice with stand-ins. While recording, with symbols: every operation becomes a
step of the program, every float a run-time number. In each round, with probes: they compute
nothing and collect those floats, in the same order; so learning rates and bias corrections are
computed by the rule itself, as the user wrote it, every time, and a rule that does something else
than it did is noticed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core.storage import is_shared_with_numpy, root_of
from kkori.run.entry import EXTERNAL, NUMBER, SLOT, Entry
from kkori.run.tails import Tails
from kkori.run.tape import Tape
from kkori.tensor import Tensor

__all__ = ["Update", "Unupdatable", "look"]


class Unupdatable(Exception):
    """A step that cannot be part of a compiled round."""


class Unbuildable(Exception):
    """A program that the compiler has no form for, or fails to compile."""


class _Stand:
    """What stands for an array while a rule is run: operators and NumPy functions end in `do`."""

    __slots__ = ()
    __array_priority__ = 3000
    __neg__: Any

    def do(self, name: str, *operands: Any) -> Any:
        raise NotImplementedError

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        name = FUNCTIONS.get(ufunc.__name__)
        if name is None or method != "__call__" or options:
            raise Unupdatable(f"the rule uses {ufunc.__name__}")
        return self.do(name, *inputs)

    def __pow__(self, exponent: Any) -> Any:
        if exponent != 2:
            raise Unupdatable("the rule uses a power")
        return self.do("square", self)

    def __bool__(self) -> bool:
        raise Unupdatable("the rule looks at a value")


FUNCTIONS = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div",
             "true_divide": "div", "sqrt": "sqrt", "absolute": "abs", "maximum": "maximum",
             "minimum": "minimum", "negative": "neg", "exp": "exp"}


def _operators() -> None:
    for symbol, name in {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div"}.items():
        setattr(_Stand, f"__{symbol}__", lambda self, other, n=name: self.do(n, self, other))
        setattr(_Stand, f"__r{symbol}__", lambda self, other, n=name: self.do(n, other, self))
    _Stand.__neg__ = lambda self: self.do("neg", self)


_operators()


class Symbol(_Stand):
    """Stands for an array while the program is written."""

    __slots__ = ("ref", "writer", "place")

    def __init__(self, ref: tuple[str, Any], writer: Update, place: int) -> None:
        self.ref, self.writer, self.place = ref, writer, place

    def do(self, name: str, *operands: Any) -> Symbol:
        return self.writer.emit(name, operands)


class Probe(_Stand):
    """Collects the numbers of a rule and notes what it does (`done`); computes nothing."""

    __slots__ = ("found", "done", "place")

    def __init__(self, found: list[float], done: list[Any], place: int) -> None:
        self.found, self.done, self.place = found, done, place

    def do(self, name: str, *operands: Any) -> Probe:
        done = self.done
        for operand in operands:
            if operand.__class__ is Probe:
                done.append(operand.place)
            else:
                self.found.append(float(operand))
        done.append(name)
        return Probe(self.found, done, len(done))


class Trace:
    """A recorded path as steps of a program."""

    def __init__(self, end: Entry) -> None:
        from kkori.codegen.lowering import Program, Spec, Step
        path = end.path()
        self.program = program = Program()
        self.next_slot = end.slot_count
        for entry in path:
            for layout in entry.layouts:
                steps = tuple(step // layout.kind.itemsize for step in layout.strides)
                program.inputs.append(Spec(layout.shape, steps, layout.kind.str[1:]))
            for inner in (entry.inner if entry.kind == "backward" else [entry]):
                args = tuple(reference(pattern) for pattern in inner.patterns)
                results = tuple(Spec(kind.shape, (), kind.dtype.str[1:])
                                for kind in inner.promises)
                program.steps.append(Step(inner.row.name, args, tuple(inner.slots), results))
            for (_, source), slot in zip(entry.leaves, entry.slots, strict=False):
                program.steps.append(Step("clone", (("slot", source),), (slot,)))
        self.externals = len(program.inputs)
        self.views = {slot for entry in path if entry.view is not None
                      for slot in entry.slots}

    def build(self, outputs: list[int]) -> Any:
        """The compiled program that gives the slots in `outputs`; None if there is none."""
        from dataclasses import replace
        try:
            from kkori.codegen.segment import build
            found = build(replace(self.program, outputs=outputs))
        except Exception as error:  # whatever is wrong there: the program goes on without it
            raise Unbuildable(f"the compiler failed: {type(error).__name__}: {error}") from error
        if found is None:
            raise Unbuildable("the compiler has no form for this round yet")
        return found

    def check(self) -> None:
        """Unupdatable where a step has no loop rule."""
        from kkori.codegen import toolchain
        from kkori.codegen.graph import Graph
        from kkori.codegen.lowering import LOWER, lower
        if not toolchain.available():
            raise Unupdatable("compiling needs llvmlite, which is not installed")
        try:
            found = lower(self.program, Graph())
        except Exception as error:
            raise Unbuildable(f"the compiler failed: {type(error).__name__}: {error}") from error
        if found is None:
            for step in self.program.steps:
                if step.row not in LOWER:
                    raise Unupdatable(f"{step.row} has no loop rule yet")
            raise Unupdatable("an operation with options that have no loop rule yet")


def reference(pattern: tuple[int, Any]) -> tuple[str, Any]:
    kind, data = pattern
    if kind == SLOT:
        return "slot", data.slot
    if kind == NUMBER:
        return "value", data.item()
    return ("input", data[0]) if kind == EXTERNAL else ("value", data)


def look(end: Entry, slot: int) -> Any:
    """A program that computes one value of an unfinished round; None where there is none."""
    try:
        trace = Trace(end)
        trace.check()
        return trace.build([slot])
    except (Unbuildable, Unupdatable):
        return None


class Update:
    """One optimizer's step behind one recorded path, ready to be compiled and run."""

    def __init__(self, optimizer: Any, tape: Tape) -> None:
        self.trace = Trace(tape.at)
        self.program = self.trace.program
        self.extra: list[Tensor] = []  # parameters' states: inputs behind the externals
        self.groups: list[Any] = []
        self.states: list[tuple[Any, str, Tensor]] = []  # where each extra input must still be
        self.expected: dict[int, Any] = {}  # the promise that each parameter's gradient must be
        self.remembered: dict[int, Any] = {}  # of stateless groups: their options and numbers
        self.compiled: dict[tuple[int, ...], Any] = {}
        self.slots_written: set[int] = set()
        self.written: set[int] = set()  # numbers of the inputs that are overwritten
        self.verified: list[Any] = []
        self.roots: set[int] = set()  # whose memory is overwritten
        for group in optimizer.param_groups:
            self.add_group(optimizer, group, tape)
        if not self.groups:
            raise Unupdatable("a step that changes nothing")
        self.trace.check()
        self.tails = Tails(tape.at.path(), tape.nodes)

    # The program.

    def emit(self, name: str, operands: tuple[Any, ...]) -> Symbol:
        """One operation of the rule."""
        from kkori.codegen.lowering import Step
        args: list[Any] = []
        for operand in operands:
            if isinstance(operand, Symbol):
                args.append(operand.ref)
                self.done.append(operand.place)
            else:
                float(operand)
                args.append(("number", self.number))
                self.number += 1
        self.done.append(name)
        slot = self.trace.next_slot
        self.program.steps.append(Step(name, tuple(args), (slot,)))
        self.trace.next_slot += 1
        return Symbol(("slot", slot), self, len(self.done))

    number = 0
    done: list[Any]

    def add_group(self, optimizer: Any, group: Any, tape: Tape) -> None:
        """Run the rule with symbols for every parameter of a group."""
        if group.get("differentiable") or not optimizer.elementwise or group.get("capturable"):
            raise Unupdatable("an optimizer with options that need tensors")
        options = optimizer._plain_options(group, keep_tensors=False)
        start, end, counters, done = self.number, None, None, None
        members = []
        for param in group["params"]:
            if param._grad is None:
                continue
            place = tape.number_of(param)
            gradient = tape.recorded(param._grad._array)
            if place is None or gradient is None or gradient.shape != param._array.shape:
                raise Unupdatable("a gradient that this round did not make")
            state = optimizer.state.get(param, {})
            counts = {name: state[name].item() for name in optimizer.counters if name in state}
            if counters is not None and counts != counters:
                raise Unupdatable("parameters that have been updated differently often")
            counters = counts
            self.number, self.done = start, []
            self.expected[id(param)] = gradient
            try:
                self.add_parameter(optimizer, group, param, place, gradient.slot, state, options,
                                   counts)
            except (TypeError, ValueError, AttributeError) as error:
                raise Unupdatable(f"the rule of {type(optimizer).__name__}: {error}") from None
            if done is not None and done != self.done:
                raise Unupdatable("a rule that treats parameters differently")
            end, done = self.number, self.done
            members.append(param)
        self.number = start if end is None else end
        self.program.numbers = self.number
        if members:
            self.groups.append((group, members, done))

    def add_parameter(self, optimizer: Any, group: Any, param: Tensor, place: int, slot: int,
                      state: Any, options: Any, counts: Any) -> None:
        gradient: Any = Symbol(("slot", slot), self, -2)
        if group.get("maximize"):
            gradient = -gradient
        places = {"": place}
        slots: dict[str, Any] = dict(counts)
        for name, tensor in state.items():
            if name not in counts:
                places[name] = self.state_input(tensor)
                self.states.append((state, name, tensor))
                slots[name] = Symbol(("input", places[name]), self, -1 - len(places))
        value, found = type(optimizer).rule(Symbol(("input", place), self, -1), gradient, slots,
                                            **options)
        for name, new in {"": value, **found}.items():
            if name in counts:
                continue
            if not isinstance(new, Symbol) or name not in places:
                raise Unupdatable("a rule that makes new state")
            self.write(places[name], new)
            self.done.append((name, new.place))

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
        if slot in self.slots_written:
            raise Unupdatable("a rule that gives the same numbers twice")
        self.slots_written.add(slot)
        self.program.writes.append((place, slot))
        self.written.add(place)

    # A round.

    def numbers(self, optimizer: Any, tape: Tape) -> list[float] | None:
        """The rule's floats of this round; None where the optimizer is not as it was recorded."""
        for state, name, tensor in self.states:
            if state.get(name) is not tensor:
                return None
        found: list[float] = []
        seen = 0
        for group in optimizer.param_groups:
            for mine, members, done in self.groups:
                if mine is group:
                    seen += 1
                    if not self.probe(optimizer, group, members, done, found):
                        return None
                    break
            else:
                if any(param._grad is not None for param in group["params"]):
                    return None
        return found if seen == len(self.groups) and len(found) == self.program.numbers else None

    def probe(self, optimizer: Any, group: Any, members: list[Tensor], done: list[Any],
              found: list[float]) -> bool:
        """Run a group's rule for its numbers, once for all its parameters."""
        expected = self.expected
        for param in group["params"]:
            grad = param._grad
            if (None if grad is None else grad._array.__class__) is not expected.get(id(param)):
                return False
        if group.get("differentiable") or group.get("capturable"):
            return False
        states = optimizer.state
        state = states.get(members[0], {})
        options = optimizer._plain_options(group, keep_tensors=False)
        if not state and self.remembered.get(id(group), (None,))[0] == options:
            found += self.remembered[id(group)][1]  # nothing has changed since
            return True
        before = len(found)
        did: list[Any] = []
        slots: dict[str, Any] = {}
        place = -2
        for name, tensor in state.items():
            if name in optimizer.counters:
                slots[name] = tensor._array.item()
            else:
                place -= 1
                slots[name] = Probe(found, did, place)
        gradient = Probe(found, did, -2)
        try:
            value, new = type(optimizer).rule(
                Probe(found, did, -1), -gradient if group.get("maximize") else gradient, slots,
                **options)
            did.append(("", value.place))
            did += [(name, item.place) for name, item in new.items()
                    if name not in optimizer.counters]
            self.new_state = new
        except Exception:  # the rule itself will say so, on arrays
            return False
        for param in members[1:] if optimizer.counters and state else ():
            other = states.get(param, {})
            for name in optimizer.counters:
                if name in state and other[name]._array.item() != slots[name]:
                    return False
        if did != done or not new.keys() <= state.keys():
            return False
        self.remembered[id(group)] = options, found[before:]
        return True

    new_state: dict[str, Any] = {}

    def arrays(self, tape: Tape) -> list[Any] | None:
        """All inputs of the program; None where what is overwritten shares memory with others."""
        found = [tensor._array for tensor in tape.bound[:tape.at.externals]]
        found += [tensor._array for tensor in self.extra]
        known = self.verified
        if len(found) != len(known):
            return found if self.verify(tape, found) else None
        for place, array in enumerate(found):
            if array is known[place]:
                continue
            if place in self.written or not self.is_apart(place, array):
                return found if self.verify(tape, found) else None
            known[place] = array
        return found

    def is_apart(self, place: int, array: Any) -> bool:
        """Whether a new input has nothing to do with what is overwritten."""
        if place >= self.trace.externals:
            return False  # state: its layout is not matched every round
        return id(array if array.base is None else root_of(array)) not in self.roots

    def verify(self, tape: Tape, arrays: list[Any]) -> bool:
        """Whether what is overwritten is memory of its own, as it was laid out before."""
        counts: dict[int, int] = {}
        self.verified = []
        for array, spec in zip(arrays, self.program.inputs, strict=True):
            steps = tuple(step // array.itemsize for step in array.strides)
            if array.__class__ is not np.ndarray or (array.shape, steps, array.dtype.str[1:]) != (
                    spec.shape, spec.strides, spec.dtype):
                return False
            root = id(root_of(array))
            counts[root] = counts.get(root, 0) + 1
        self.roots = set()
        for place in self.written:
            root = root_of(arrays[place])
            if counts[id(root)] > 1 or root.__class__ is not np.ndarray or (
                    not arrays[place].flags.writeable):
                return False
            self.roots.add(id(root))
        for tensor in (*tape.bound, *self.extra):
            if tensor._storage is not None and tensor._storage.exports and (
                    tensor._requires_grad and is_shared_with_numpy(tensor._storage)):
                return False
        self.verified = list(arrays)
        return True

    def counted(self, optimizer: Any) -> None:
        """Count the step in the optimizer's state, and the writes in the storages."""
        for _, members, _ in self.groups:
            for param in members:
                (param._storage or param.shared_storage()).version += 1
                state = optimizer.state.get(param)
                if state:
                    for name, tensor in state.items():
                        (tensor._storage or tensor.shared_storage()).version += 1
                        if name in optimizer.counters:
                            tensor._array[...] = self.new_state[name]

    failure = ""

    def runner(self, live: tuple[int, ...]) -> Any:
        """The compiled round that also gives the slots in `live`; None where there is none."""
        if live not in self.compiled:
            try:
                self.compiled[live] = self.trace.build(list(live))
            except Unbuildable as reason:
                self.compiled[live], self.failure = None, str(reason)
        return self.compiled[live]
