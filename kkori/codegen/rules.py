"""How rows become values of the graph: the program, the table of rules, and formulas.

A rule is a short function registered under the names of its rows (`rule`); what is computed
element by element is written as a formula (`formula`), with operators on `Term`s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from functools import partial
from typing import TYPE_CHECKING, Any

from kkori.codegen.graph import DTYPES, Graph, Value, base
from kkori.codegen.program import Program, Spec, Step
from kkori.codegen.rows import ELEMENTWISE, Argument, as_run, table

__all__ = ["BY_ARRAY_RULE", "LOWER", "NoRule", "Program", "Rule", "Spec", "Step", "Term",
           "VARYING", "as_run", "convert", "formula", "lower", "reduced", "rule"]


class NoRule(Exception):
    """These arguments cannot be lowered: the row has to be run by its array rule."""


Rule = Callable[..., Any]
LOWER: dict[str, Rule] = {}
VARYING: dict[str, tuple[int, ...]] = {}  # by row: places of numbers that may be run-time numbers


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a lowering under the names of its rows."""
    def register(function: Rule) -> Rule:
        for name in names:
            LOWER[name] = function
        return function
    return register


def lower(program: Program, graph: Graph) -> dict[int, Value] | None:
    """The value of every slot; None where a step has no rule or computes in another type."""
    inputs = [graph.make("input", spec.shape, spec.dtype, (), number)
              for number, spec in enumerate(program.inputs)]
    if any(spec.dtype not in DTYPES or 0 in spec.shape for spec in program.inputs):
        return None
    graph.strides.update(zip(inputs, (spec.strides for spec in program.inputs), strict=True))
    slots: dict[int, Value] = {}
    for number, step in enumerate(program.steps):
        args = [argument(graph, kind, value, inputs, slots) for kind, value in step.args]
        try:
            function = LOWER.get(step.row)
            if function is None:
                raise NoRule(step.row)
            found = completed(graph, number, step, args, function(graph, *args))
            if not looks_right(found, step):
                raise NoRule("a result of another type")
        except NoRule:
            found = by_array_rule(graph, number, step, args)
            if found is None:
                return None
        found = found if isinstance(found, tuple) else (found,)
        for k, value in enumerate(found):
            if value.kind == "slice":
                graph.shown.setdefault(value, partial(shown, graph, number, step, args, k))
        slots.update(zip(step.slots, found, strict=True))
    return slots


def shown(graph: Graph, number: int, step: Step, args: list[Any], k: int) -> Value:
    """A slice as its array rule shows it, for what no loops compute."""
    return by_array_rule(graph, number, step, args)[k]


def completed(graph: Graph, number: int, step: Step, args: list[Any], found: Any) -> Any:
    """What a rule gives, with the array rule's results in place of functions: these are told which
    values those are. Nothing computes them where nobody reads them."""
    if not isinstance(found, tuple) or not any(map(callable, found)):
        return found
    made = by_array_rule(graph, number, step, args)
    if made is None:
        raise NoRule("no part in a compiled program")
    for part, value in zip(found, made, strict=True):
        if callable(part):
            part(value)
    return tuple(value if callable(part) else part
                 for part, value in zip(found, made, strict=True))


def looks_right(found: Any, step: Step) -> bool:
    """Whether values have the shapes and types that the array rule gives, as far as is known."""
    values = found if isinstance(found, tuple) else (found,)
    return not step.results or all(
        (value.shape, value.dtype) == (spec.shape, spec.dtype)
        for value, spec in zip(values, step.results, strict=True))


# Rows without loops that may be part of a compiled program all the same: what shape they give
# follows from the shapes they get, and they draw no random numbers. Rows of one or two tensors,
# element by element, are all of that kind, and so is every row with a loop rule.
FIXED_SHAPE = frozenset((
    "max_unpool", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "baddbmm", "addbmm",
    "block_diag", "select_backward", "select_scatter", "slice_backward", "slice_scatter", "unfold",
    "unfold_backward", "diagonal", "diagonal_backward", "diagonal_scatter", "diag_embed", "trace",
    "gather", "scatter", "scatter_add", "scatter_reduce", "index_put",
    "index_copy", "index_fill", "take", "put", "taken",
    "taken_backward", "masked_scatter", "pooled_gather", "flip", "roll", "repeat",
    "constant_pad_nd", "circular_pad1d", "circular_pad2d", "circular_pad3d", "reflect_pad1d",
    "reflect_pad2d", "reflect_pad3d", "replicate_pad1d", "replicate_pad2d", "replicate_pad3d",
    "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "prod", "prod_all", "nansum", "argmax",
    "argmin", "max_dim", "min_dim", "median", "median_dim", "nanmedian", "nanmedian_dim", "mode",
    "kthvalue", "sort", "topk", "searchsorted", "isclose", "isin", "polygamma", "glu", "tril",
    "triu", "resampled", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
    "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "im2col", "col2im", "multi_margin_loss",
    "multi_margin_loss_backward", "multilabel_margin_loss", "multilabel_margin_loss_backward",
    "ctc_loss", "ctc_loss_backward", "linalg_inv", "linalg_det", "linalg_slogdet", "linalg_solve",
    "linalg_cholesky", "linalg_qr", "linalg_eigh", "linalg_svd", "linalg_svdvals", "linalg_pinv",
    "linalg_matrix_exp", "linalg_solve_triangular"))
BY_MASKS = ("index", "index_backward")  # what shape these give depends on truth values they get


class _ByArrayRule(Set[str]):
    """The names of these rows, whichever of them there are by now."""

    def __contains__(self, name: object) -> bool:
        row = table().get(str(name))
        return name in FIXED_SHAPE or row is not None and row.kind in ELEMENTWISE and (
            name not in LOWER)

    def __iter__(self) -> Iterator[str]:
        return (name for name in table() if name in self)

    @classmethod
    def _from_iterable(cls, names: Iterable[str]) -> Set[str]:
        return frozenset(names)  # of differences and intersections

    def __len__(self) -> int:
        return sum(1 for _ in self)


BY_ARRAY_RULE: Set[str] = _ByArrayRule()


def by_array_rule(graph: Graph, number: int, step: Step, args: list[Any]) -> Any:
    """The results of a row that NumPy computes, between loops; None where it has no part in a
    compiled program."""
    operands = [arg for arg in args if isinstance(arg, Value) and base(arg).kind != "constant"]
    if not (step.row in LOWER or step.row in BY_ARRAY_RULE) or not step.results or any(
            spec.dtype not in DTYPES or 0 in spec.shape for spec in step.results) or any(
            base(arg).kind in ("number", "range") for arg in operands) or (
            step.row in BY_MASKS and any(arg.dtype == "b1" for arg in operands)):
        return None
    graph.rows[number] = tuple(map(in_words, args))
    operands = [graph.in_memory(operand) for operand in operands]
    return tuple(graph.make("row", spec.shape, spec.dtype, operands, (number, k))
                 for k, spec in enumerate(step.results))


def in_words(arg: Any) -> Argument:
    """What is known of a row's argument before the round (see `rows`)."""
    if not isinstance(arg, Value):
        return ("given",)
    leaf = base(arg)
    if leaf.kind != "constant":
        return ("array",)
    return "full", arg.shape, leaf.attr, {"b1": "?"}.get(leaf.dtype, leaf.dtype)


def argument(graph: Graph, kind: str, value: Any, inputs: Sequence[Value],
             slots: dict[int, Value]) -> Any:
    """An argument as its rule gets it: a Value for arrays and run-time numbers."""
    if kind == "input":
        return inputs[value]
    if kind == "slot":
        return slots[value]
    if kind == "number":
        return graph.make("number", (), "f8", (), value)
    return value


def alike(graph: Graph, *args: Any) -> list[Value]:
    """Operands in one type: that of the arrays; Python numbers and run-time numbers follow."""
    arrays = [arg for arg in args if isinstance(arg, Value) and arg.kind != "number"
              and arg.dtype != "b1"]
    if any(arg.dtype == "i8" for arg in arrays):
        raise NoRule("arithmetic of integers")
    kinds = {arg.dtype for arg in arrays if arg.shape} or {arg.dtype for arg in arrays}
    if len(kinds) != 1:
        raise NoRule("operands of several types, or none of a floating type")
    dtype = kinds.pop()
    return [convert(graph, arg, dtype) for arg in args]


def convert(graph: Graph, arg: Any, dtype: str) -> Value:
    """A number or array in `dtype`."""
    if isinstance(arg, Value):
        if arg.dtype != dtype == "i8":
            raise NoRule("a conversion to integers")
        return arg if arg.dtype == dtype else graph.map("cast", arg, dtype=dtype)
    if not isinstance(arg, (bool, int, float)):
        raise NoRule(f"a {type(arg).__name__} among the operands")
    return graph.constant(float(arg), dtype)


def reduced(graph: Graph, name: str, x: Value, axes: Any, keepdim: bool) -> Value:
    """A reduction with PyTorch's axes (None: all) and keepdim; what has no dimensions stays."""
    if x.dtype not in ("f4", "f8"):
        raise NoRule("a sum of truth values or integers")
    along = tuple(range(len(x.shape))) if axes is None or not x.shape else tuple(axes)
    found = graph.reduce(name, x, along)
    if not keepdim:
        return found
    return graph.reshape(found, tuple(1 if k in along else n for k, n in enumerate(x.shape)))


# Formulas.

Operator = Callable[..., "Term"]


class Term:
    """A value in a formula: arithmetic and comparisons make new ones."""

    __slots__ = ("graph", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, graph: Graph, value: Value) -> None:
        self.graph, self.value = graph, value

    @property
    def shape(self) -> tuple[int, ...]:
        """Its lengths."""
        return self.value.shape

    @property
    def dtype(self) -> str:
        """Its type."""
        return self.value.dtype

    if TYPE_CHECKING:  # set below, all alike
        __add__: Operator
        __radd__: Operator
        __sub__: Operator
        __rsub__: Operator
        __mul__: Operator
        __rmul__: Operator
        __truediv__: Operator
        __rtruediv__: Operator
        __lt__: Operator
        __le__: Operator
        __gt__: Operator
        __ge__: Operator
        __and__: Operator
        __or__: Operator
        __neg__: Operator
        __abs__: Operator
        __invert__: Operator
    def do(self, name: str, *others: Any) -> Term:
        """A scalar operation on this and others, in the type of those that are arrays."""
        given = [other.value if isinstance(other, Term) else other for other in others]
        return Term(self.graph, self.graph.map(name, *alike(self.graph, self.value, *given)))

    def logic(self, name: str, *others: Any) -> Term:
        """The same for truth values."""
        given = [self.value, *(truth_value(self.graph, other) for other in others)]
        if any(value.dtype != "b1" for value in given):
            raise NoRule("logic on numbers")
        return Term(self.graph, self.graph.map(name, *given))

    def choose(self, yes: Any, no: Any) -> Term:
        """`yes` where this truth value holds, else `no`."""
        if self.dtype != "b1":
            raise NoRule("a condition that is a number")
        given = [part.value if isinstance(part, Term) else part for part in (yes, no)]
        return Term(self.graph, self.graph.map("select", self.value, *alike(self.graph, *given)))

    def as_number(self, dtype: str) -> Term:
        """A truth value as 1 or 0, or a number in another type."""
        return Term(self.graph, convert(self.graph, self.value, dtype))

    def reduce(self, name: str, axes: Any, keepdim: bool) -> Term:
        """The sum ("add"), "max" or "min" along axes (None: all)."""
        return Term(self.graph, reduced(self.graph, name, self.value, axes, keepdim))

    def chunks(self, count: int, dim: int) -> list[Term]:
        """So many parts of equal length along a dimension."""
        length = self.shape[dim] // count
        return [Term(self.graph, self.graph.slice(self.value, dim, k * length, length))
                for k in range(count)]

    def reshape(self, shape: Any) -> Term:
        """The same elements in another shape."""
        return Term(self.graph, self.graph.reshape(self.value, shape))


def truth_value(graph: Graph, operand: Any) -> Value:
    """An operand of a logical operation: a term, or Python's True and False."""
    if isinstance(operand, bool):
        return graph.constant(operand, "b1")
    if not isinstance(operand, Term):
        raise NoRule("logic on numbers")
    return operand.value


def swapped(name: str) -> Callable[[Term, Any], Term]:
    """The operator with its operands the other way round."""
    def apply(self: Term, other: Any) -> Term:
        graph = self.graph
        return Term(graph, graph.map(name, *alike(graph, other, self.value)))
    return apply


def straight(name: str, logic: bool = False) -> Callable[..., Term]:
    """The operator that is one scalar operation."""
    def apply(self: Term, *others: Any) -> Term:
        return self.logic(name, *others) if logic else self.do(name, *others)
    return apply


for _symbol, _name in {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div"}.items():
    setattr(Term, f"__{_symbol}__", straight(_name))
    setattr(Term, f"__r{_symbol}__", swapped(_name))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "abs"):
    setattr(Term, f"__{_name}__", straight(_name))
for _symbol, _name in {"and": "and", "or": "or", "invert": "not"}.items():
    setattr(Term, f"__{_symbol}__", straight(_name, logic=True))


def formula(*names: str, varying: tuple[int, ...] = ()) -> Callable[[Rule], Rule]:
    """Register a rule that gets Terms for arrays and returns a Term (or several).

    `varying`: places of arguments that may be run-time numbers. They are elementwise operands,
    and gradient rules hand them on as they are: none computes with them in Python.
    """
    def register(function: Rule) -> Rule:
        def lowered(graph: Graph, *args: Any) -> Any:
            found = function(*[Term(graph, arg) if isinstance(arg, Value) else arg
                               for arg in args])
            if isinstance(found, tuple):
                return tuple(part.value for part in found)
            return found.value
        for name in names:
            LOWER[name] = lowered
            if varying:
                VARYING[name] = varying
        return function
    return register
