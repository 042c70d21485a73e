"""From the graph to loop nests: what is stored, what is recomputed, and which loops are shared.

A value is *stored* where it must exist as an array: results, sums, matrix products, what they
read, and what would be recomputed at too high a price. Everything else is recomputed in registers
where it is used: a hidden layer of 20 million numbers never touches memory. So are sums of up to
`FEW` terms.

Each stored value wants a loop over its own dimensions (`out`) and, for a reduction, over the
reduced ones (`over`). Values that want the same loops share a nest if none of them needs another
one's finished result, except where it is finished in time. In the order in which it runs, a nest
computes

    sums    reductions, finished when its inner loops end; in a nest whose outer loop is short
            there may be such of the inner loops alone
    maps    elementwise values: an optimizer's update behind the gradient
    totals  reductions over the outer loop, of what it has just computed: a loss
    last    single numbers, behind everything
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

from kkori.codegen.graph import PARTS, Value, base, order

__all__ = ["Nest", "Plan", "plan"]

# Where in an array: for each dimension an axis, an index, None (index 0), or an axis, the index at
# which it begins, and the step by which it goes on; and of that, how many have one index, and the
# last index if there are more.
Shifted = tuple[str, int, int]
Stretched = tuple[str, int, int, int, "int | None"]
Address = tuple["str | int | None | Shifted | Stretched", ...]
Needs = Sequence[tuple[Value, Address]]  # what is read, and where

# What a scalar operation costs, in additions; recomputing is free up to LIMIT.
COST = {"div": 4, "sqrt": 6, "exp": 14, "log": 18, "log1p": 20, "expm1": 20, "tanh": 24,
        "sigmoid": 18, "sin": 16, "cos": 16, "erf": 30}
LIMIT = 80
FEW = 4  # a sum of so many terms needs no loop; so many outer turns are written one by one
# Kinds of values that no loop nest computes.
CALLED = ("dot", "batch", "cat", "conv", "pool", "gather", "scatter", "reshape", "row")
SEEN_THROUGH = ("view", *PARTS)  # kinds of values that are found in their operand


class Nest:
    """Loops over `out` and `over` (lengths), and the stored values computed in them."""

    def __init__(self, out: tuple[int, ...], over: tuple[int, ...]) -> None:
        self.out, self.over = out, over
        self.sums: list[Value] = []
        self.maps: list[Value] = []
        self.totals: list[Value] = []
        self.last: list[Value] = []

    def __repr__(self) -> str:
        return (f"Nest(out={self.out}, over={self.over}, sums={self.sums}, maps={self.maps}, "
                f"totals={self.totals}, last={self.last})")

    @property
    def values(self) -> list[Value]:
        """All that it computes."""
        return [*self.sums, *self.maps, *self.totals, *self.last]

    @property
    def loops(self) -> bool:
        """Whether there are loops at all: a few numbers need none."""
        return bool(self.over) or prod(self.out) > FEW

    @property
    def at_once(self) -> bool:
        """Whether sums of the inner loops alone stand beside others: all are done in one go."""
        return bool(self.out) and any(real(value.shape) == () for value in self.sums)


class Call:
    """What no loops compute, between the nests: a matrix product, parts joined, a reshape that has
    to copy, a row without loops."""

    def __init__(self, value: Value) -> None:
        self.value = value


class Plan:
    """Nests and calls in the order in which they run, what is stored, and where it is computed.

    From stage `barrier` on, nothing can go wrong any more: inputs may be overwritten.
    """

    def __init__(self, stored: set[Value]) -> None:
        self.stages: list[Any] = []
        self.stored = stored
        self.home: dict[Value, int] = {}
        self.readers: dict[Value, list[tuple[Value, Address]]] = {}  # who reads it, and where
        self.barrier = 0

    @property
    def nests(self) -> list[Nest]:
        """The stages that are loop nests."""
        return [stage for stage in self.stages if isinstance(stage, Nest)]

    def add(self, value: Value, number: int, needs: Needs) -> None:
        """Note that a stage computes `value`."""
        self.home[value] = number
        for need, where in needs:
            self.readers.setdefault(need, []).append((value, where))

    def remove(self, value: Value) -> None:
        """Take back the elementwise value that was put last."""
        for need, where in reads(value, self.stored):
            self.readers[need].remove((value, where))
        stage = self.stages[self.home.pop(value)]
        (stage.maps if value in stage.maps else stage.last).remove(value)
        if not stage.values:
            self.stages.remove(stage)
        self.stored.discard(value)


def real(shape: Sequence[int]) -> tuple[int, ...]:
    """Lengths that are not 1."""
    return tuple(n for n in shape if n != 1)


def loops_of(value: Value) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The lengths a stored value loops over: its own, and those that are summed away."""
    if value.kind != "reduce":
        return real(value.shape), ()
    axes = value.attr[1]
    shape = value.args[0].shape
    return (real([n for k, n in enumerate(shape) if k not in axes]),
            tuple(shape[k] for k in axes))


def addresses(value: Value) -> tuple[Value, Address]:
    """What the loops evaluate for a stored value, and at which axes: out axes o0, o1..., r0..."""
    names = iter(f"o{k}" for k in range(8))
    if value.kind != "reduce":
        return value, tuple(None if n == 1 else next(names) for n in value.shape)
    axes = value.attr[1]
    over = iter(f"r{k}" for k in range(8))
    operand = value.args[0]
    return operand, tuple(next(over) if k in axes else None if n == 1 else next(names)
                          for k, n in enumerate(operand.shape))


def own_address(value: Value) -> Address:
    """The address of a stored value's own elements in its nest."""
    names = iter(f"o{k}" for k in range(8))
    return tuple(None if n == 1 else next(names) for n in value.shape)


def through(value: Value, address: Address) -> Address:
    """The address in a view's operand of what the view has at `address`."""
    return tuple(None if d is None else address[d] for d in value.attr)


def shifted(value: Value, address: Address) -> Address:
    """The address in a slice's operand of what the slice has at `address`."""
    return tuple([moved(a, start, step) for a, (start, step) in zip(
        address, value.attr, strict=True)])


def moved(place: Any, start: int, step: int) -> Any:
    """A place along one dimension of a slice, in its operand."""
    if (start, step) == (0, 1):
        return place
    if place.__class__ is tuple:
        axis, first, by = place
        return axis, start + first * step, by * step
    if place.__class__ is str:
        return place, start, step
    return start + (place or 0) * step


def repeated(value: Value, address: Address) -> Address:
    """The address in a stretched value's operand of what is at `address`."""
    return tuple([a if times == 1 and n == length else within(a, times, n, length)
                  for a, times, n, length in zip(address, value.attr, value.args[0].shape,
                                                 value.shape, strict=True)])


def within(place: Any, times: int, n: int, length: int) -> Any:
    """A place along a dimension of which one element stands for so many."""
    last = n - 1 if length > n * times else None
    if place.__class__ is str:
        return place, 0, 1, times, last
    if place.__class__ is tuple:
        return *place, times, last
    return min((place or 0) // times, n - 1)


def narrowed(value: Value, address: Address) -> Address:
    """`address` with index 0 along dimensions of length 1."""
    if 1 not in value.shape:
        return address
    return tuple([None if n == 1 else a for n, a in zip(value.shape, address, strict=True)])


def cost(value: Value, stored: set[Value]) -> int:
    """What computing one element of `value` again costs."""
    seen: set[Any] = set()
    stack, total = [(value, 1)], 0
    while stack:
        part, times = stack.pop()
        if (part, times) in seen or (part in stored and part is not value):
            continue
        seen.add((part, times))
        if part.kind == "map":
            total += times * COST.get(part.attr, 1)
        if part.kind == "reduce":
            times *= terms(part)
            total += times
        if part.kind in ("map", "reduce", *SEEN_THROUGH):
            stack.extend((arg, times) for arg in part.args)
    return total


def terms(value: Value) -> int:
    """How many numbers a reduction takes to give one."""
    return prod(value.args[0].shape[axis] for axis in value.attr[1])


# What is stored.

Users = dict[Value, list[Value]]


def choose_stored(roots: Sequence[Value]) -> set[Value]:
    """The values that must exist as arrays."""
    stored = {base(root) for root in roots if base(root).kind not in ("input",)}
    values = order(roots)
    users = users_of(values)
    for value in values:
        if value.kind in CALLED or value.kind == "reduce" and terms(value) > FEW:
            stored.add(value)
        if value.kind in CALLED:
            stored.update(source(arg) for arg in value.args
                          if source(arg).kind in ("map", "reduce"))
        if value.kind == "stretch" and source(value).kind in ("map", "reduce"):
            stored.add(source(value))
    for value in values:
        if value.kind in ("map", "reduce") and value not in stored and (
                dear(value, users, stored)):
            stored.add(value)
    return stored


def users_of(values: Iterable[Value]) -> Users:
    """What is made of each value; views and slices are looked through."""
    users: Users = {}
    for value in values:
        users.setdefault(value, [])
        if value.kind not in SEEN_THROUGH:
            for arg in value.args:
                users[source(arg)].append(value)
    return users


def source(value: Value) -> Value:
    """Behind views and parts, what they show."""
    while value.kind in SEEN_THROUGH:
        value = value.args[0]
    return value


def dear(value: Value, users: Users, stored: set[Value]) -> bool:
    """Whether memory is cheaper than to compute it again wherever it is used."""
    price, size = cost(value, stored), prod(value.shape)
    if value.kind == "reduce" and price > LIMIT:
        return True
    if size == 1:
        return False
    if any(turns(user) > size and not (beside(user, users) and price <= LIMIT)
           for user in users[value]):
        return True
    return len(users[value]) > 1 and price > LIMIT


def turns(user: Value) -> int:
    """How often a user evaluates what it is made of."""
    return prod(user.shape if user.kind != "reduce" else user.args[0].shape)


def beside(user: Value, users: Users) -> bool:
    """Whether it only goes into reductions of few results: one nest computes those together."""
    if user.kind == "reduce":
        return terms(user) > FEW and prod(user.shape) <= FEW
    return bool(users[user]) and all(
        other.kind == "reduce" and beside(other, users) for other in users[user])


def reads(value: Value, stored: set[Value]) -> list[tuple[Value, Address]]:
    """Inputs and stored values that computing `value` reads, and where."""
    start, address = addresses(value)
    found, seen = [], set()
    stack = [(start, address)]
    while stack:
        part, where = stack.pop()
        where = narrowed(part, where)
        if (part, where) in seen:
            continue
        seen.add((part, where))
        if part.kind in ("input", "range") or (part in stored and part is not value):
            found.append((part, where))
        else:
            assert part.kind in ("map", "reduce", "constant", "number", *SEEN_THROUGH), part
            stack.extend(operands(part, where))
    return found


def functions(value: Value, stored: set[Value],
              names: Iterable[str]) -> list[tuple[Value, Address]]:
    """Operations of these names that computing `value` meets, operands first, and where."""
    found: list[tuple[Value, Address]] = []
    seen: set[Any] = set()
    stack = [(*addresses(value), False)]
    while stack:
        part, where, done = stack.pop()
        where = narrowed(part, where)
        if done:
            found.append((part, where))
        elif (part, where) not in seen and not (part in stored and part is not value):
            seen.add((part, where))
            if part.kind == "map" and part.attr in names:
                stack.append((part, where, True))
            stack.extend((*operand, False) for operand in operands(part, where))
    return found


def operands(value: Value, where: Address) -> list[tuple[Value, Address]]:
    """What an element is made of, and where."""
    if value.kind == "view":
        return [(value.args[0], through(value, where))]
    if value.kind == "slice":
        return [(value.args[0], shifted(value, where))]
    if value.kind == "stretch":
        return [(value.args[0], repeated(value, where))]
    if value.kind == "reduce":
        return [(value.args[0], at) for at in unrolled(value, where)]
    return [(arg, where) for arg in value.args]


def unrolled(value: Value, where: Address) -> list[Address]:
    """Where a reduction of few terms finds them."""
    axes, rest = value.attr[1], iter(where)
    found: list[Address] = [()]
    for axis, n in enumerate(value.args[0].shape):
        places = range(n) if axis in axes else [next(rest)]
        found = [(*at, place) for at in found for place in places]
    return found


# The nests.

def plan(roots: Sequence[Value], late: Iterable[Value] = (), doubts: Iterable[Value] = (),
         risky: Callable[[Value], bool] = lambda value: True) -> Plan:
    """Nests and calls, in order, that compute `roots`.

    Of `late` values (they overwrite inputs) as many as possible are computed behind the barrier,
    which lies behind all `doubts` and behind every call that is `risky`.
    """
    schedule = Plan(choose_stored(roots))
    late = set(late)
    needed = set(order(value for value in schedule.stored if value not in late))
    behind = [value for value in order(late) if value in late and value not in needed]
    for value in order(roots):
        if value in schedule.stored and value not in behind:
            put(value, schedule)
    homes = [schedule.home[value] for value in map(base, doubts)]
    homes += [k for k, stage in enumerate(schedule.stages)
              if isinstance(stage, Call) and risky(stage.value)]
    schedule.barrier = max(homes, default=-1) + 1
    for value in behind:
        put(value, schedule, schedule.barrier)
    return schedule


def put(value: Value, schedule: Plan, first: int = 0) -> None:
    """Into the first nest from stage `first` on that can compute it; else at the end."""
    schedule.stored.add(value)
    stages = schedule.stages
    if value.kind in CALLED:
        schedule.add(value, len(stages), [(source(arg), ()) for arg in value.args])
        stages.append(Call(value))
        return
    needs = reads(value, schedule.stored)
    for number in range(first, len(stages)):
        if isinstance(stages[number], Nest):
            part = part_for(value, needs, number, schedule)
            if part is not None:
                part.append(value)
                schedule.add(value, number, needs)
                return
    append(value, schedule)


def append(value: Value, schedule: Plan) -> None:
    """A new nest at the end, for this value."""
    nest = Nest(*loops_of(value))
    (nest.sums if value.kind == "reduce" else nest.maps).append(value)
    schedule.stored.add(value)
    schedule.add(value, len(schedule.stages), reads(value, schedule.stored))
    schedule.stages.append(nest)


def part_for(value: Value, needs: Needs, number: int, schedule: Plan) -> list[Value] | None:
    """The part of a nest that can compute `value`, all of whose needs are ready then."""
    nest, (out, over) = schedule.stages[number], loops_of(value)

    def ready(needs: Needs, *parts: list[Value]) -> bool:
        return all(need.kind in ("input", "range") or schedule.home[need] < number
                   or any(need in part for part in parts) and where == own_address(need)
                   for need, where in needs)

    if value.kind != "reduce":
        if out == nest.out and ready(needs, nest.sums, nest.maps):
            return nest.maps
        return nest.last if out == () and ready(
            needs, nest.sums, nest.totals, nest.last) else None
    if over == nest.over and (out == nest.out or side_by_side(out, nest)) and ready(needs):
        if out and not nest.out:
            nest.out, nest.maps, nest.last = out, [], [*nest.maps, *nest.last]
        return nest.sums
    if out == () and over == nest.out and len(over) == 1 and ready(
            [(need, outer_address(where)) for need, where in needs], nest.sums, nest.maps):
        return nest.totals
    return None


def side_by_side(out: tuple[int, ...], nest: Nest) -> bool:
    """Whether sums of the same inner loops can run together: few of one kind, one of the other."""
    return (out == () or nest.out == ()) and len((*out, *nest.out)) == 1 and (
        prod((*out, *nest.out)) <= FEW)


def outer_address(where: Address) -> Address:
    """An address of a reduction over the outer loop, as the nest's other values have it."""
    return tuple("o0" if axis == "r0" else ("o0", *axis[1:])
                 if axis.__class__ is tuple and axis[0] == "r0" else axis for axis in where)
