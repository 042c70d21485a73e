"""The table: what a row is, and how names, methods, in-place forms and `out=` come from it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kkori.autograd.graph import (
    ALL_SHAPES,
    NEEDS,
    OUTPUT,
    REST,
    SHAPE,
    VALUE,
    node_type,
)
from kkori.autograd.views import overwrite
from kkori.core import dtype as types
from kkori.core import errors
from kkori.core.meta import MetaArray
from kkori.ops.calls import as_called, as_in_place
from kkori.run.immediate import binary_caller, caller, is_operand, unary_caller
from kkori.tensor import Tensor

__all__ = ["TABLE", "TORCH", "METHODS", "op", "unary", "binary", "public", "method", "Op"]

TABLE: dict[str, Op] = {}  # every row, by name
TORCH: dict[str, Callable[..., Any]] = {}  # torch.<name>
METHODS: dict[str, Any] = {}  # Tensor.<name>

Rule = Callable[..., Any]


class Op:
    """One row: an operation, its array rule, its gradient rules, and what kind it is."""

    __slots__ = ("name", "kind", "array", "args", "outputs", "view", "node_type", "node_name",
                 "differentiable", "plan", "saves", "rules", "joint", "joint_picks",
                 "followed", "keeps_values")

    def __init__(self, name: str, kind: str, array: Rule, args: Sequence[str], grad: Any,
                 outputs: Sequence[str], view: Any, node: str | None) -> None:
        if name in TABLE:
            raise ValueError(f"op table: there are two rows called '{name}'")
        self.name, self.kind, self.array, self.args = name, kind, array, tuple(args)
        self.outputs, self.view = tuple(outputs), view
        self.node_name = node or _camel(name) + "Backward0"
        self.node_type: Any = None
        self.differentiable = grad is not None
        self.plan: list[tuple[int, int | None]] = []
        self.rules: list[tuple[Rule | None, list[int]]] = []
        self.joint: Rule | None = None
        self.joint_picks: list[int] = []
        self.followed: Sequence[int] = ()  # arguments with gradients; none: all that have no names
        if grad is not None:
            self._differentiate(grad if isinstance(grad, dict) else {(): grad})
        # `plan`, and with each item the arguments whose rules ask for it (all of them: empty).
        self.saves = [(what, position, tuple(
            i for i, (_, picks) in enumerate(self.rules) if place in picks))
            for place, (what, position) in enumerate(self.plan)]
        self.keeps_values = any(what in (VALUE, OUTPUT) for what, _ in self.plan)
        TABLE[name] = self

    def _differentiate(self, grad: dict[Any, Rule]) -> None:
        """Take gradient rules: one an argument, or one for several, which are its key."""
        joint = next((key for key in grad if key.__class__ is tuple), None)
        if joint is not None:
            self.joint, self.joint_picks = grad[joint], self._picks(grad[joint])
        else:
            self._per_argument(grad)
        self.followed = [place for place, arg in enumerate(self.args) if arg in (joint or grad)]

    def _per_argument(self, grad: dict[str, Rule]) -> None:
        unknown = set(grad) - set(self.args)
        if unknown:
            raise ValueError(f"op table: '{self.name}' has no argument {sorted(unknown)}")
        for arg in self.args:
            rule = grad.get(arg)
            self.rules.append((rule, self._picks(rule) if rule is not None else []))

    def _picks(self, rule: Rule) -> list[int]:
        """Places in `plan` of what a gradient rule's parameters name."""
        names = rule.__code__.co_varnames[:rule.__code__.co_argcount]
        if not names or names[0] not in ("g", "gs"):
            raise ValueError(f"op table: a gradient rule of '{self.name}' must start with g")
        picks = []
        for name in names[1:]:
            item = self._wanted(name)
            if item not in self.plan:
                self.plan.append(item)
            picks.append(self.plan.index(item))
        return picks

    def _wanted(self, name: str) -> tuple[int, int | None]:
        if name == "needs":
            return NEEDS, None
        if name == "args_shapes":
            return ALL_SHAPES, None
        if name == "rest":
            return REST, len(self.args)
        if name in self.outputs:
            return OUTPUT, self.outputs.index(name)
        if name in self.args:
            return VALUE, self.args.index(name)
        if name == "out" and not self.outputs:
            return OUTPUT, None
        if name.endswith("_shape") and name[:-6] in self.args:
            return SHAPE, self.args.index(name[:-6])
        raise ValueError(f"op table: '{self.name}' has nothing called '{name}' to save")

    def make_node_type(self) -> Any:
        self.node_type = node_type(self.node_name)
        return self.node_type


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def op(name: str, array: Rule, grad: Any = None, *, outputs: Sequence[str] = (),
       view: bool | str = False, node: str | None = None,
       kind: str = "general") -> Callable[..., Any]:
    """A row whose array rule takes arrays and plain arguments; returns the function to call."""
    code = array.__code__
    args = code.co_varnames[:code.co_argcount]
    return caller(Op(name, kind, array, args, grad, outputs, view, node))


def operand(name: str, input: Any, other: Any, numbers: str = "both") -> Any:
    """`input`, as a tensor if both are numbers; TypeError, in PyTorch's words, for operands that
    are neither tensors nor the numbers that the operation takes (see `binary`)."""
    if input.__class__ is other.__class__ is Tensor:
        return input
    if numbers == "none":
        for place, label, value in ((1, "input", input), (2, "other", other)):
            if not isinstance(value, Tensor):
                raise not_a_tensor(name, label, place, value)
    elif numbers == "both":
        for place, label, value in ((1, "input", input), (2, "other", other)):
            if not is_operand(value):
                raise not_a_tensor(name, label, place, value)
    elif not (isinstance(input, Tensor) or numbers == "either" and isinstance(other, Tensor)
              ) or not is_operand(other) or not is_operand(input):
        raise invalid_combination(name, input, other)
    both = numbers == "both" and not isinstance(input, Tensor) and not isinstance(other, Tensor)
    return TORCH["as_tensor"](input) if both else input


def invalid_combination(name: str, *given: Any) -> TypeError:
    """Arguments that fit none of a function's forms."""
    kinds = ", ".join(type_name(value) for value in given)
    return TypeError(errors.message(
        f"{name}() received an invalid combination of arguments - got ({kinds}), but expected one "
        "of:"))


def unary(name: str, array: Rule, grad: Rule | None = None, *, floats: bool = False,
          torch: bool = True, inplace: bool = True, node: str | None = None,
          aliases: Sequence[str] = (), doc: str = "") -> Callable[..., Tensor]:
    """An elementwise row of one argument. `floats`: integer input becomes floating."""
    rules = None if grad is None else {"input": grad}
    row = Op(name, "unary", array, ("input",), rules, (), False, node)
    run = unary_caller(row, floats)
    if not torch:
        return run

    def call(input: Tensor, *, out: Tensor | None = None) -> Tensor:
        try:
            result = run(input)
        except AttributeError:
            if isinstance(input, Tensor):
                raise
            raise not_a_tensor(name, "input", 1, input) from None
        return result if out is None else write(out, result)

    call.__doc__ = doc or f"``torch.{name}``: elementwise, same shape as `input`."
    return _publish(name, call, inplace, aliases)


def binary(name: str, array: Rule, grad: dict[str, Rule] | None = None, *, floats: bool = False,
           torch: bool = True, inplace: bool = True, node: str | None = None,
           aliases: Sequence[str] = (), doc: str = "", numbers: str = "none",
           ) -> Any:
    """An elementwise row of two arguments, broadcast and promoted together.

    `numbers` says which may be a Python number: "none", "other" (the second), "either" or "both".
    """
    row = Op(name, "binary", array, ("input", "other"), grad, (), False, node)
    run = binary_caller(row, floats)
    if not torch:
        return run

    def call(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
        if input.__class__ is not Tensor or other.__class__ is not Tensor:
            try:
                input = operand(name, input, other, numbers)
            except TypeError as error:
                raise as_called(error, 2 if out is None else 3) from None
        result = run(input, other)
        return result if out is None else write(out, result)

    call.__doc__ = doc or f"``torch.{name}``: elementwise, `input` and `other` broadcast together."
    call.run = run  # type: ignore[attr-defined]
    return _publish(name, call, inplace, aliases)


def _publish(name: str, call: Any, inplace: bool, aliases: Sequence[str]) -> Any:
    for alias in (name, *aliases):
        TORCH[alias] = METHODS[alias] = call
        if inplace:
            METHODS[alias + "_"] = _in_place(alias, call)
            if call.__code__.co_argcount == 1:
                TORCH[alias + "_"] = METHODS[alias + "_"]
    call.__name__ = call.__qualname__ = name
    call.__module__ = "torch"
    return call


def _in_place(name: str, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
        try:
            return overwrite(self, call(self, *args, **options))
        except TypeError as error:
            raise as_in_place(error, name) from None
    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = f"In-place form of ``{name}``."
    return method


NUMPY_SPELLINGS = {"axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input",
                   "x2": "other"}


def public(function: Callable[..., Any] | None = None, *, name: str | None = None,
           aliases: Sequence[str] = (), torch: bool = True, method: bool = True,
           out: bool = True, inplace: bool = False, overloaded: bool = False) -> Any:
    """Make a function PyTorch's: ``torch.<name>``, ``Tensor.<name>``, ``out=``, ``<name>_``.

    `overloaded`: PyTorch has several forms of it, and says so where arguments fit none.
    """
    if function is None:
        return functools.partial(public, name=name, aliases=aliases, torch=torch, method=method,
                                 out=out, inplace=inplace, overloaded=overloaded)
    called = name or function.__name__
    code = function.__code__
    known = frozenset(code.co_varnames[:code.co_argcount + code.co_kwonlyargcount])
    inner = function

    def call(*args: Any, **options: Any) -> Any:
        if options:
            target = options.pop("out", None) if out else None
            options = {_spelling(key, known): value for key, value in options.items()}
            if options.get("dtype").__class__ not in PLAIN_TYPES:
                options["dtype"] = dtype_given(called, options["dtype"])
            try:
                result = inner(*args, **options)
            except (TypeError, AttributeError) as error:
                wrong = errors.explained(
                    _about_call(called, error, function, args, options, overloaded))
                raise as_called(wrong, len(args) + len(options)) from error.__cause__
            except errors.PLAIN as error:
                errors.explained(error)
                raise
            return result if target is None else write(target, result)
        try:
            return inner(*args)
        except (TypeError, AttributeError) as error:
            wrong = errors.explained(
                _about_call(called, error, function, args, options, overloaded))
            raise as_called(wrong, len(args)) from error.__cause__
        except errors.PLAIN as error:
            errors.explained(error)
            raise

    functools.update_wrapper(call, function)
    call.__name__ = call.__qualname__ = called
    for alias in (called, *aliases):
        if torch:
            TORCH[alias] = call
        if method:
            METHODS[alias] = call
        if inplace:
            METHODS[alias + "_"] = _in_place(alias, call)
    return call


PLAIN_TYPES = (types.dtype, type(None))


def dtype_given(name: str, given: Any) -> types.dtype:
    """The dtype that a Python type such as ``float`` stands for; TypeError for anything else."""
    if isinstance(given, type) and given in types.OF_PYTHON:
        return types.float64 if given is float else types.OF_PYTHON[given]
    raise TypeError(errors.message(
        f"{name}(): argument 'dtype' must be torch.dtype, not {type_name(given)}",
        fix=f"dtype=torch.{given if given in types.BY_NAME else 'float32'}"))


KINDS: dict[str, tuple[Any, ...]] = {"Tensor": (Tensor,), "int": (int, np.integer, Tensor),
                                     "bool": (bool, np.bool_)}


def _wrong_type(name: str, error: Exception, function: Any, args: Any, options: Any,
                overloaded: bool) -> Exception:
    """`error`, or what is wrong with the first argument that is not of its annotated type."""
    code = function.__code__
    names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
    given = {**dict(zip(names, args, strict=False)), **options}
    for place, argument in enumerate(names, 1):
        kind, _, rest = function.__annotations__.get(argument, "").partition(" | ")
        if argument not in given or kind not in KINDS or rest and given[argument] is None:
            continue
        if not isinstance(given[argument], KINDS[kind]):
            if overloaded:
                return invalid_combination(name, *args)
            where = f" (position {place})" if place <= len(args) else ""
            return TypeError(errors.message(
                f"{name}(): argument '{argument}'{where} must be {kind}, "
                f"not {type_name(given[argument])}"))
    return error


UNEXPECTED = re.compile(r"got an unexpected keyword argument '.*?'")
MISSING = re.compile(r"missing (\d+) required positional arguments?: (.*)")


def _about_call(name: str, error: Exception, function: Any, args: Any, options: Any,
                overloaded: bool) -> Exception:
    """An error of the call itself, arguments missing, unknown or of a wrong type, in PyTorch's
    words; the error as it is where the arguments are as they should be."""
    trace = error.__traceback__
    if trace is None or trace.tb_next is not None:
        return _wrong_type(name, error, function, args, options, overloaded)
    unexpected, missing = UNEXPECTED.search(str(error)), MISSING.search(str(error))
    if unexpected is not None:
        return TypeError(errors.message(f"{name}() {unexpected[0]}"))
    if missing is None:
        return error
    count, names = missing[1], ", ".join(f'"{each}"' for each in re.findall(r"'(\w+)'", missing[2]))
    plural = "s" if count == "1" else ""  # so it is in PyTorch
    return TypeError(errors.message(
        f"{name}() missing {count} required positional argument{plural}: {names}"))


def _spelling(key: str, known: frozenset[str]) -> str:
    return key if key in known else NUMPY_SPELLINGS.get(key, key)


def method(function: Any = None, *, name: str | None = None) -> Any:
    """Make a function a method of Tensor only."""
    if function is None:
        return functools.partial(method, name=name)
    METHODS[name or function.__name__] = function
    return function


def write(target: Any, result: Any) -> Any:
    """``out=``: resize `target` to the result's shape where needed and fill it."""
    if isinstance(target, (tuple, list)):
        for part, value in zip(target, result, strict=True):
            write(part, value)
        return type(result)(target) if hasattr(result, "_fields") else tuple(target)
    if 0 in target._array.strides:
        errors.refuse_overlap(target._array)
    if result._requires_grad or target._requires_grad:
        raise RuntimeError(
            "functions with out=... arguments don't support automatic differentiation, but one "
            "of the arguments requires grad.")
    if target._array.shape != result._array.shape:
        target.resize_(result._array.shape)
    return overwrite(target, result)


def not_a_tensor(name: str, argument: str, position: int, found: Any) -> TypeError:
    """An argument that had to be a tensor."""
    return TypeError(errors.message(
        f"{name}(): argument '{argument}' (position {position}) must be Tensor, "
        f"not {type_name(found)}"))


def type_name(value: Any) -> str:
    """The name of a value's type as PyTorch writes it in messages."""
    kind = type(value)
    if kind.__module__ in ("builtins", "torch"):
        return kind.__name__
    return kind.__name__ if not kind.__module__.startswith("numpy") else f"numpy.{kind.__name__}"


def bind() -> None:
    """Give Tensor its methods."""
    for name, function in METHODS.items():
        setattr(Tensor, name, function)


def is_meta(*tensors: Tensor) -> bool:
    """Whether any of them has shapes only."""
    return any(isinstance(tensor._array, MetaArray) for tensor in tensors)


# The files of the table, in the order in which they build on one another.
ROOMS = ("elementwise", "complex_numbers", "operators", "rounding", "move", "strided", "split",
         "reduce", "matmul", "fused", "index", "convert", "create",
         "scatter", "indexed", "masked", "sort", "ranks", "sets", "cumulative", "differences",
         "counting", "diagonal", "rearrange", "stacking", "contract",
         "products", "norms", "covariance", "compare", "copies",
         "sampling", "dropout", "activation", "later")
# Rooms that are opened when one of these names of theirs is first asked for.
LATER = {
    "loss": "binary_cross_entropy_with_logits",
    "norm": "batch_norm instance_norm layer_norm rms_norm group_norm native_batch_norm "
            "native_layer_norm native_group_norm",
    "embedding": "embedding embedding_bag",
    "conv": "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc "
            "convolution",
    "pool": "max_pool1d max_pool2d max_pool3d max_pool1d_with_indices avg_pool1d",
    "adaptive_pool": "adaptive_avg_pool1d adaptive_max_pool1d",
    "pad": "constant_pad_nd",
    "grid": "affine_grid_generator grid_sampler grid_sampler_2d grid_sampler_3d",
    "shuffle": "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle",
    "distance": "pairwise_distance cosine_similarity pdist bilinear",
    "composed_loss": "kl_div poisson_nll_loss hinge_embedding_loss margin_ranking_loss "
                     "cosine_embedding_loss triplet_margin_loss",
    "ctc": "ctc_loss",
}
LEGACY_TENSORS: dict[str, Any] = {}  # torch.FloatTensor and its like
