"""The end of a replayed round: the optimizer's rule as part of the program, and its numbers.

While a step is recorded its rule is run with stand-ins (`symbols`) that write it down as part of
the round's program. In every later round a `Group` says whether the optimizer is still as it was,
and gives the rule's numbers, such as learning rates and bias corrections, anew.
"""

from __future__ import annotations

from functools import lru_cache
from operator import is_
from typing import Any
from weakref import ref

import numpy as np

from kkori.core.storage import Rounds, Storage, is_shared_with_numpy, root_of
from kkori.core.threads import undisturbed
from kkori.run.entry import PLAIN
from kkori.run.finish import Endings, write
from kkori.run.loops import MUCH_WORK, matches_needed
from kkori.run.memory import release
from kkori.run.renamed import is_of_result
from kkori.run.sums import replaced
from kkori.run.symbols import Formula, Probe, Symbol, function_of
from kkori.run.tails import Tails
from kkori.run.trace import Trace, Unbuildable, Unupdatable
from kkori.tensor import Tensor, wrap

__all__ = ["Update"]

PATIENCE_OF_BRANCHES = 4


class Group:
    """One parameter group as it was recorded, and the numbers of its rule."""

    def __init__(self, optimizer: Any, group: Any, members: list[Tensor], done: list[Any],
                 numbers: slice) -> None:
        self.rule, self.group = type(optimizer).rule, group
        self.members, self.done = members, done
        self.mine = numbers  # which of the program's numbers are new counts of this group
        self.params = group["params"]
        self.counters = optimizer.counters
        self.states = [optimizer.state[param] for param in members if optimizer.state.get(param)]
        self.exact = True  # counts are whole numbers, which are stored as they are
        self.forget()

    def forget(self) -> None:
        """Somebody may have changed options or counts: look at them again."""
        self.options: Any = None  # the group when `function` was made
        self.counts: tuple[Any, ...] = ()
        self.function: Any = None
        self.constant: Any = None  # what `function` gives where there are no counts

    def numbers(self, optimizer: Any) -> Any:
        """The rule's floats in this round, the new counts last; None if it does something else."""
        group = self.group
        if group != self.options and not self.examine(optimizer):
            return None
        if group["params"] is not self.params:
            return None
        return self.function(*self.counts)

    def examine(self, optimizer: Any) -> bool:
        """Run the rule with stand-ins; False if it is not the recorded one any more."""
        group = self.group
        if group.get("differentiable") or group.get("capturable"):
            return False
        try:
            names, counts = self.read_counts()
            options = optimizer._plain_options(group, keep_tensors=False)
            try:
                found, new = self.probe(options, {name: Formula(name) for name in names})
                lasting = all(map(is_plain, (group[name] for name in group if name != "params")))
            except Unupdatable:  # it looks at its counts: it has to be asked every time
                found, new = self.probe(options, dict(zip(names, counts, strict=True)))
                lasting = False
        except Exception:  # the rule itself will say so, on arrays
            found = None
        if found is None:
            self.forget()
            return False
        self.exact = all(getattr(new[name], "text", "") == f"({name} + (1))" for name in names)
        self.counts = counts
        self.function = function_of(names, [*found, *[new[name] for name in names]])
        self.constant = None if names else self.function()
        self.options = dict(group) if lasting else None  # last: an interrupt may come before
        return True

    def recount(self) -> None:
        """Steps may have been made that were not counted here."""
        if self.counts:
            try:
                self.counts = self.read_counts()[1]
            except (ValueError, KeyError):  # they differ, or somebody has cleared a state
                self.forget()

    def read_counts(self) -> tuple[list[str], tuple[Any, ...]]:
        """What the counters of this group say; ValueError if those of parameters differ."""
        found: list[tuple[Any, ...]] = []
        names = [name for name in self.counters if self.states and name in self.states[0]]
        for state in self.states:
            found.append(tuple(state[name]._array.item() for name in names))
        if any(counts != found[0] for counts in found):
            raise ValueError("parameters that have been updated differently often")
        return names, found[0] if found else ()

    def probe(self, options: Any, counts: dict[str, Any]) -> tuple[Any, Any]:
        """The rule's numbers and its new state; (None, None) if it is another rule now."""
        found: list[Any] = []
        did: list[Any] = []
        state = self.states[0] if self.states else {}
        slots, place = dict(counts), -2
        for name in state:
            if name not in counts:
                place -= 1
                slots[name] = Probe(found, did, place)
        gradient = Probe(found, did, -2)
        value, new = self.rule(Probe(found, did, -1), -gradient if self.group.get(
            "maximize") else gradient, slots, **options)
        did.append(("", value.place))
        did += [(name, item.place) for name, item in new.items() if name not in counts]
        if did != self.done or not new.keys() <= state.keys():
            return None, None
        return found, new

    def counted(self, counts: Any) -> None:
        """The step with these new counts has been made."""
        self.counts = counts if self.exact else tuple(
            np.asarray(count, state._array.dtype).item()
            for count, state in zip(counts, self.counted_states(), strict=True))

    def counted_states(self) -> list[Any]:
        state = self.states[0] if self.states else {}
        return [state[name] for name in self.counters if name in state]


def is_plain(value: Any) -> bool:
    """Whether an option is what it is: a tensor can change and still be the same."""
    return value.__class__ in PLAIN or value.__class__ is tuple and all(map(is_plain, value))


class Update:
    """One optimizer's step behind one recorded path, ready to be compiled and run."""

    def __init__(self, optimizer: Any, tape: Any) -> None:
        self.trace = Trace(tape.at)
        self.program = self.trace.program
        self.extra: list[Tensor] = []  # parameters' states: inputs behind the externals
        self.groups: list[Group] = []
        self.optimizer = ref(optimizer)
        self.state = optimizer.state
        self.states: list[tuple[Any, str, Tensor]] = []  # where each state tensor must still be
        self.counters: list[tuple[int, int]] = []  # counters: inputs, and numbers to store there
        self.expected: dict[int, Any] = {}  # the promise that each parameter's gradient must be
        self.place_of: dict[int, int] = {}  # which external each parameter is
        self.compiled: dict[tuple[int, ...], Any] = {}
        self.slots_written: set[int] = set()
        self.written: set[int] = set()  # numbers of the inputs that are overwritten
        self.verified: list[Any] = []
        self.storages: list[Storage] = []  # that are overwritten
        self.steps = Rounds()  # how often
        self.leaves_known: Any = ()
        self.forget()
        self.roots: set[int] = set()  # whose memory is overwritten
        self.path = tape.at.path()
        gone = replaced(self.path)
        self.gradients = [slot for entry in self.path if entry.kind == "backward"
                          for slot in entry.slots if slot not in gone]
        if any(is_of_result(entry) and entry.patterns[0][1].slot in self.gradients
               for entry in self.path):
            self.gradients = []  # they have been handed out
        self.number = self.given = tape.at.number_count  # the round's own numbers come first
        for group in optimizer.param_groups:
            self.add_group(optimizer, group, tape)
        if not self.groups:
            raise Unupdatable("a step that changes nothing")
        self.add_sums(tape)
        if type(optimizer)._update_group is not plain_update():
            raise Unupdatable("a step of its own kind")
        if any(place in self.trace.written for place in self.written):
            raise Unupdatable("a parameter that is written in place before the step")
        self.program.writes += self.trace.written.items()
        self.written |= self.trace.written.keys()
        self.program.numbers = self.number
        self.program.stores = self.counters
        self.matches = 0
        self.tails = Tails(self.path, tape)
        self.is_same = self.check_of_identity()
        ends = [entry for entry in self.path if entry.kind == "backward"]
        self.leaves = [pair for entry in ends for pair in entry.leaves]
        tensors = tape.leaves_by_number()
        made = {id(tensors.get(number)): kind for entry in ends
                for (number, _), kind in zip(entry.leaves, entry.promises, strict=True)}
        params = [param for group in optimizer.param_groups for param in group["params"]]
        self.outsiders = [param for param in params if id(param) not in made]
        clears_all = made.keys() <= {id(param) for param in params}
        self.cleared_by = self.optimizer if clears_all else nobody  # all gradients of the round
        tape.known += [self, *self.groups]
        tape.state_roots |= {id(root_of(tensor._array)) for tensor in self.extra}
        self.only_backward = ends[0] if len(ends) == 1 else None
        self.takes_all = self.only_backward is not None and all(
            made.get(id(param)) is self.expected.get(id(param)) for param in params)
        self.kept: dict[tuple[int, ...], bool] = {}  # whether it is there without compiling
        self.endings = Endings(write)
        self.outputs: dict[tuple[int, ...], list[int]] = {}  # slots in the order they come out

    def forget(self) -> None:
        """Somebody has written in place, or shows memory to NumPy: look at all again."""
        self.verified, self.admitted = [], -1
        self.leaves_known = ()

    # The program.

    def emit(self, name: str, operands: tuple[Any, ...]) -> Symbol:
        """One operation of the rule."""
        from kkori.codegen.program import Step
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

    done: list[Any]

    def add_group(self, optimizer: Any, group: Any, tape: Any) -> None:
        """Run the rule with symbols for every parameter of a group."""
        if group.get("differentiable") or not optimizer.elementwise or group.get("capturable"):
            raise Unupdatable("an optimizer with options that need tensors")
        options = optimizer._plain_options(group, keep_tensors=False)
        start, end, done = self.number, None, None
        members, places = [], []
        for param in group["params"]:
            if param._grad is None:
                continue
            place = tape.number_of(param)
            gradient = tape.recorded(param._grad._array)
            if place is None or gradient is None or gradient.shape != param._array.shape:
                raise Unupdatable("a gradient that this round did not make")
            self.number, self.done = start, []
            self.expected[id(param)], self.place_of[id(param)] = gradient, place
            try:
                places.append(self.add_parameter(optimizer, group, param, place, gradient.slot,
                                                 options))
            except (TypeError, ValueError, AttributeError) as error:
                raise Unupdatable(f"the rule of {type(optimizer).__name__}: {error}") from None
            if done is not None and done != self.done:
                raise Unupdatable("a rule that treats parameters differently")
            end, done = self.number, self.done
            members.append(param)
        if not members:
            return
        assert end is not None and done is not None
        self.number = end + len(places[0])
        for names in places:
            self.counters += [(place, end + k) for k, place in enumerate(names)]
        self.groups.append(Group(optimizer, group, members, done, slice(end, self.number)))

    def add_parameter(self, optimizer: Any, group: Any, param: Tensor, place: int, slot: int,
                      options: Any) -> list[int]:
        """Write the rule down for one parameter; the inputs that its counters are."""
        state = optimizer.state.get(param, {})
        gradient: Any = Symbol(("slot", slot), self, -2)
        if group.get("maximize"):
            gradient = -gradient
        places, counters = {"": place}, []
        slots: dict[str, Any] = {}
        for name, tensor in state.items():
            input = self.state_input(tensor)
            self.states.append((state, name, tensor))
            if name in optimizer.counters:
                slots[name] = tensor.item()
                counters.append((optimizer.counters.index(name), input))
            else:
                places[name] = input
                slots[name] = Symbol(("input", input), self, -1 - len(places))
        value, found = type(optimizer).rule(Symbol(("input", place), self, -1), gradient, slots,
                                            **options)
        for name, new in {"": value, **found}.items():
            if name in optimizer.counters:
                continue
            if not isinstance(new, Symbol) or name not in places:
                raise Unupdatable("a rule that makes new state")
            self.write(places[name], new)
            self.done.append((name, new.place))
        return [input for _, input in sorted(counters)]

    def add_sums(self, tape: Any) -> None:
        """Add gradients to those of earlier rounds; see run/sums.py."""
        self.sums: list[tuple[int, Any, Any]] = []
        leaves = tape.leaves_by_number()
        for number, slot in [pair for entry in self.path for pair in entry.sums]:
            leaf = leaves.get(number)
            if leaf is None:
                raise Unupdatable("a gradient is added to that of a leaf that is gone")
            array, self.done = leaf._grad._array, []
            place = self.state_input(wrap(array))
            old, new = Symbol(("input", place), self, -1), Symbol(("slot", slot), self, -2)
            self.write(place, self.emit("add", (old, new)))
            self.sums.append((number, leaf.__dict__, array))

    def state_input(self, tensor: Tensor) -> int:
        from kkori.codegen.program import Spec
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

    def check_of_identity(self) -> Any:
        """A function that says whether the round's parameters are the optimizer's, and all state
        tensors and their arrays where they were.

        It is one expression of identities: there may be hundreds, and every round asks.
        """
        names: dict[str, Any] = {}
        parts, bound = [], []
        for k, (state, name, tensor) in enumerate(self.states):
            names.update({f"s{k}": state, f"n{k}": name, f"t{k}": tensor, f"a{k}": tensor._array})
            parts.append(f"s{k}[n{k}] is t{k} and t{k}._array is a{k}")
        for k, param in enumerate(param for group in self.groups for param in group.members):
            state = self.state.get(param)
            names.update({f"p{k}": param, f"q{k}": state or None})
            bound.append(f"bound[{self.place_of[id(param)]}] is p{k}")
            parts.append(f"state[p{k}] is q{k}" if state else f"not state.get(p{k})")
        for k, (number, place, array) in enumerate(self.sums):
            names.update({f"d{k}": place, f"b{k}": array})
            parts.append(f"bound[{number}].__dict__ is d{k} and d{k}['_grad']._array is b{k}")
        for k, group in enumerate(self.groups):
            names[f"l{k}"] = group.params = group.group["params"]
            parts.append(f"len(l{k}) == {len(group.params)}")
            names.update({f"m{k}_{j}": param for j, param in enumerate(group.params)})
            parts += [f"l{k}[{j}] is m{k}_{j}" for j in range(len(group.params))]
        self.identities, self.identity_text = names, " and ".join(parts)  # where `bound` is known
        return eval(identity(" and ".join([*bound, *parts])), dict(names))

    # A round.

    def numbers(self, optimizer: Any, tape: Any) -> Any:
        """The floats of this round, the rule's last; None where the optimizer is not as it was
        recorded."""
        found = self.of_rule(optimizer, tape)
        return found if found is None or not self.given else tape.numbers[:self.given] + found

    def of_rule(self, optimizer: Any, tape: Any) -> Any:
        """The rule's floats of this round."""
        if tape.last is not self:
            self.recount(tape)
        groups, state = optimizer.param_groups, optimizer.state
        if state is not self.state or len(groups) != len(self.groups) and (
                not self.others_idle(groups)):
            return None
        try:
            if not self.is_same(state, tape.bound):
                return None
        except (KeyError, IndexError):
            return None
        if not (tape.due and self.takes_all) and not self.has_gradients(tape, groups):
            return None
        for param in self.outsiders:
            if param._grad is not None:
                return None
        if len(self.groups) == 1 and groups[0] is self.groups[0].group:
            return self.groups[0].numbers(optimizer)
        found: list[float] = []
        for mine in self.groups:
            numbers = mine.numbers(optimizer) if any(
                mine.group is group for group in groups) else None
            if numbers is None:
                return None
            found += numbers
        return found

    def recount(self, tape: Any) -> None:
        """The last round was not this one: counts have gone on elsewhere."""
        tape.last = self
        for group in self.groups:
            group.recount()

    def others_idle(self, groups: Any) -> bool:
        """Whether no parameter of a group that was not recorded has a gradient."""
        mine = [group.group for group in self.groups]
        return not any(param._grad is not None for group in groups
                       if not any(group is one for one in mine) for param in group["params"])

    def has_gradients(self, tape: Any, groups: Any) -> bool:
        """Whether all parameters have the gradients that this round has promised, or would have
        them if somebody looked."""
        promised: dict[int, Any] = {}
        for entry in tape.unasked() if tape.due else ():
            promised.update(zip([id(tape.bound[number]) for number, _ in entry.leaves],
                                entry.promises, strict=True))
        for group in groups:
            for param in group["params"]:
                grad = param._grad
                kind = promised.get(id(param)) if grad is None else grad._array.__class__
                if kind is not self.expected.get(id(param)):
                    return False
        return True

    def arrays(self, tape: Any) -> list[Any] | None:
        """All inputs of the program; None where what is overwritten shares memory with others."""
        known = self.verified
        found = tape.inputs(self.trace.externals)
        if not known or not all(map(is_, found, known)):
            found += [tensor._array for tensor in self.extra]
            if not (known and self.only_inputs_moved(found, known)):
                if not self.verify(tape, found):
                    return None
            else:
                self.verified = found
        self.admitted = tape.admitted
        return self.verified

    def only_inputs_moved(self, found: list[Any], known: list[Any]) -> bool:
        """Whether what is new is only read, and has nothing to do with what is overwritten."""
        return all(array is known[place] or place not in self.written and self.is_apart(
            place, array) for place, array in enumerate(found))

    def is_apart(self, place: int, array: Any) -> bool:
        """Whether a new input has nothing to do with what is overwritten."""
        if place >= self.trace.externals:
            return False  # state: its layout is not matched every round
        return id(array if array.base is None else root_of(array)) not in self.roots

    def verify(self, tape: Any, arrays: list[Any]) -> bool:
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
        for place in (*self.written, *[place for place, _ in self.counters]):
            root = root_of(arrays[place])
            if counts[id(root)] > 1 or root.__class__ is not np.ndarray or (
                    not arrays[place].flags.writeable):
                return False
            self.roots.add(id(root))
        extra = set(self.extra)
        for tensor in (*tape.bound[:self.trace.externals], *self.extra):
            if tensor._storage is not None and tensor._storage.exports and (
                    tensor._requires_grad or tensor in extra) and (
                    is_shared_with_numpy(tensor._storage)):
                return False
        self.verified = list(arrays)
        changing = [tensor for group in self.groups for tensor in group.members] + self.extra
        self.storages = [tensor.shared_storage() for tensor in changing]
        key = frozenset(map(id, self.storages))
        self.steps = tape.steps.setdefault(key, Rounds())  # other branches write to the same
        self.attach()
        return True

    def attach(self) -> None:
        """Let all that is overwritten know where that is counted."""
        self.steps.complete = True
        for storage in self.storages:
            storage.count_with(self.steps)

    def counted(self, numbers: Any) -> None:
        """Count the step in the groups, and the writes in the storages."""
        for group in self.groups:
            if group.counts:
                group.counted(tuple(numbers[group.mine]))
        if not self.steps.complete:
            self.attach()
        self.steps.count += 1
        for _, place, _ in self.sums:
            place["_grad"].shared_storage().version += 1

    def part_with_gradients(self) -> None:
        """Somebody has got the arrays of gradients: the next round needs others."""
        for runner in self.compiled.values():
            if runner is not None:
                runner.free = -1

    def leaf_tensors(self, tape: Any) -> Any:
        """The tensors that the round's gradients belong to."""
        if self.leaves_known == () or self.leaves_at != tape.admitted:
            self.leaves_known = [tape.bound[number] for number, _ in self.leaves]
            self.leaves_at = tape.admitted
        return self.leaves_known

    def rounds(self) -> int:
        """How many rounds this has run."""
        return sum(runner.rounds for runner in self.compiled.values() if runner is not None)

    def finish_later(self, tape: Any, runner: Any, before: int, numbers: Any, slots: list[int],
                     views: list[Any]) -> None:
        """An interrupt has come while a round was being ended: end it now, if it was computed."""
        from kkori.run.hot import finish
        with undisturbed():
            if runner.rounds == before:
                return
            found = [tape.made[slot] for slot in slots]
            if tape.here is not tape.root and all(tensor is not None for tensor in found):
                held = slots, found, [(entry, entry.results(tape.made)) for entry in views]
                finish(tape, self, held, runner.outputs(), numbers)
            tape.reset()

    failure = ""

    def is_worth_it(self, live: tuple[int, ...], tape: Any) -> bool:
        """Whether enough rounds have come that could have been replayed. In a loop that is
        compiled, other branches wait longer, but where there is much work, or nothing to do."""
        self.matches += 1
        needed = matches_needed(self.trace.work)
        if tape.replayed() and self.matches < needed * PATIENCE_OF_BRANCHES:
            if live not in self.kept:
                self.kept[live] = self.trace.work >= MUCH_WORK or (
                    self.trace.is_kept(self.outputs_for(live)))
            return self.kept[live] or any(self.compiled.values())
        return self.matches >= needed or any(self.compiled.values())

    def outputs_for(self, live: tuple[int, ...]) -> list[int]:
        """The slots that a round has to give: what is held, and gradients for whoever asks."""
        return [*live, *[slot for slot in self.gradients if slot not in live]]

    def runner(self, live: tuple[int, ...], tape: Any) -> Any:
        """The compiled round that also gives the slots in `live`; None where there is none."""
        if live not in self.compiled:
            try:
                if not self.compiled:
                    from kkori.codegen.blas import stop_turning
                    if not tape.replayed():
                        release()  # compiled rounds keep nothing in memory between operations
                    stop_turning()  # and need both the processors
                slots = self.outputs_for(live)
                self.compiled[live] = self.trace.build(slots)
                self.outputs[live] = slots
            except (Unbuildable, Unupdatable) as reason:
                self.compiled[live], self.failure = None, str(reason)
        return self.compiled[live]


@lru_cache(maxsize=64)
def identity(text: str) -> Any:
    """The code of a function that compares; branches of a loop share it."""
    return compile(f"lambda state, bound: {text}", "<state of an optimizer>", "eval")


def nobody() -> None:
    """Refers to no optimizer."""


def plain_update() -> Any:
    from kkori.optim.rule import RuleOptimizer
    return RuleOptimizer._update_group
