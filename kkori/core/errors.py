"""What a user reads when something is wrong: PyTorch's first line, then where, what and one fix."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

__all__ = ["explained", "inside", "message", "user_line", "warn"]

PLAIN = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError)
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def user_line() -> tuple[str, int, str] | None:
    """File, line number and text of the innermost frame outside kkori; None where there is none."""
    frame = _user_frame()
    if frame is None:
        return None
    return _line(frame, frame.f_lineno)


def _line(frame: Any, number: int) -> tuple[str, int, str]:
    import linecache  # only now: it takes longer to import than all of this file
    name = frame.f_code.co_filename
    return name, number, linecache.getline(name, number).strip()


def _is_ours(frame: Any) -> bool:
    return bool(frame.f_code.co_filename.startswith(PACKAGE))


def _user_frame() -> Any:
    frame: Any = sys._getframe(1)
    while frame is not None and _is_ours(frame):
        frame = frame.f_back
    return frame


class Text(str):
    """An error's text that can still learn in which modules the error arose."""

    first: str
    rest: tuple[str, ...]
    path: str  # from the outermost module known so far to the one that failed: "floors.1"
    module: Any  # the outermost module known so far
    failed: str  # how the module that failed is printed


def message(first: str, *, what: str = "", fix: str = "") -> Text:
    """An error text: `first` verbatim, then what was given, the user's line, and one fix."""
    rest = [f"  {line}" for line in what.splitlines()]
    rest += _place(user_line())
    return _text(first, "", (*rest, *_fix(fix or _hint(first))))


def warn(first: str, *, what: str = "", fix: str = "") -> None:
    """A UserWarning at the user's line, wherever in kkori it comes from: `first`, what, one fix."""
    text = "\n".join([first, *(f"  {line}" for line in what.splitlines()), *_fix(fix)])
    frame = _user_frame()
    if frame is None:
        warnings.warn(text, stacklevel=2)
        return
    known = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(text, UserWarning, frame.f_code.co_filename, frame.f_lineno,
                           registry=known)


def _hint(first: str) -> str:
    from kkori.core.hints import hint_for
    return hint_for(first)


def _fix(fix: str) -> list[str]:
    return [f"  fix: {fix}"] if fix else []


def _place(line: tuple[str, int, str] | None) -> list[str]:
    if line is None:
        return []
    file, number, text = line
    return [f"  at {file}:{number}" + (f": {text}" if text else "")]


def _text(first: str, where: str, rest: tuple[str, ...]) -> Text:
    text = Text("\n".join((first, where, *rest) if where else (first, *rest)))
    text.first, text.rest, text.path, text.module = first, rest, "", None
    return text


def renamed(text: Text, first: str) -> Text:
    """The same explanation under another first line."""
    return _text(first, "", text.rest)


def inside(error: BaseException, module: Any) -> None:
    """Say in the text of `error`, which passes through a call of `module`, where that is.

    Called once for each module on the way out, so the path grows from the inside: `1`, then
    `floors.1`, and before it the name that the user's own code has for the outermost module.
    """
    old = error.args[0] if error.args else None
    text = old if type(old) is Text else _adopted(error)
    if text is not None:
        try:
            error.args = (_located(text, module), *error.args[1:])
        except Exception:  # the user's own __repr__, say: their error matters, not this one
            return


def _located(old: Text, module: Any) -> Text:
    if old.module is None:
        path, failed = "", _one_line(repr(module))
    else:
        path, failed = _dotted(_name_within(module, old.module), old.path), old.failed
    name = _name_in_user_code(module)
    label = _dotted(name or type(module).__name__, path)
    new = _text(old.first, f"  in {label} = {failed}" if name or path else f"  in {failed}",
                old.rest)
    new.path, new.module, new.failed = path, module, failed
    return new


def no_parameters(module: Any) -> Text:
    """What ``next(module.parameters())`` says, besides StopIteration, where there are none."""
    fix = "parameters = list(net.parameters()), and see whether it is empty"
    for name, value in vars(module).items():
        if isinstance(value, (list, tuple)) and any(hasattr(x, "parameters") for x in value):
            fix = f"self.{name} = torch.nn.ModuleList(self.{name}): plain lists are not searched"
    return message("", what=f"{_one_line(repr(module))} has no parameters", fix=fix)


def _adopted(error: BaseException) -> Text | None:
    """The text of an error that kkori raised without `message`; None for all other errors."""
    if type(error) not in PLAIN or len(error.args) != 1 or not isinstance(error.args[0], str):
        return None
    trace, line = error.__traceback__, None
    while trace is not None:
        last = trace.tb_frame
        if not _is_ours(last):
            line = _line(last, trace.tb_lineno)
        trace = trace.tb_next
    if not _is_ours(last):
        return None
    first = error.args[0]
    return _text(first, "", (*_place(line or user_line()), *_fix(_hint(first))))


def explained(error: Exception) -> Exception:
    """`error`, with the user's line and a fix added if it is kkori's own and has none yet."""
    if type(error.args[0] if error.args else None) is not Text:
        text = _adopted(error)
        if text is not None:
            error.args = (text,)
    return error


def _one_line(text: str) -> str:
    """The text of a module, or only its beginning where it takes several lines."""
    first, several, _ = text.partition("\n")
    return f"{first}...)" if several else first


def _dotted(*names: str) -> str:
    return ".".join(name for name in names if name)


def _name_within(module: Any, child: Any) -> str:
    """The dotted name that `module` has for `child`; empty where it has none."""
    return next((name for name, each in module.named_modules() if each is child), "")


def _name_in_user_code(module: Any) -> str:
    """The variable that holds `module` where the user's code calls it; empty where none does."""
    frame = _user_frame()
    if frame is None:
        return ""
    for scope in (frame.f_locals, frame.f_globals):
        for name, value in scope.items():
            if value is module and name != "self":
                return str(name)
    return ""


def of_shape(shape: Any) -> str:
    """A shape as PyTorch writes it in messages: ``[2, 3]``."""
    return f"[{', '.join(map(str, shape))}]"


def not_broadcastable(shapes: Any) -> RuntimeError:
    """The first dimension, from the right, at which two shapes of an operation disagree."""
    first, second = shapes[0], shapes[1]
    for back in range(1, min(len(first), len(second)) + 1):
        a, b = first[-back], second[-back]
        if a != b and 1 not in (a, b):
            where = max(len(first), len(second)) - back
            return RuntimeError(message(
                f"The size of tensor a ({a}) must match the size of tensor b ({b}) at "
                f"non-singleton dimension {where}",
                what=f"shapes: {of_shape(first)} and {of_shape(second)}",
                fix=broadcast_hint(first, second)))
    return RuntimeError(f"shapes {of_shape(first)} and {of_shape(second)} do not match")


def named_shapes(error: ValueError, arrays: Any) -> Exception:
    """NumPy's error about shapes that do not broadcast, in PyTorch's words; others as they are."""
    if str(error).startswith("operands could not be broadcast"):
        shapes = [array.shape for array in arrays if hasattr(array, "shape")]
        for number, second in enumerate(shapes):
            for first in shapes[:number]:
                pairs = zip(first[::-1], second[::-1], strict=False)
                if any(a != b and 1 not in (a, b) for a, b in pairs):
                    return not_broadcastable((first, second))
    return error


def broadcast_hint(first: Any, second: Any) -> str:
    """The place for a length of 1 that makes two shapes fit, if there is one."""
    shorter, longer, name = (second, first, "b") if len(second) <= len(first) else (
        first, second, "a")
    for place in range(1, len(shorter) + 1 if len(shorter) < len(longer) else 0):
        shape = (*shorter[:place], 1, *shorter[place:])
        if all(x == y or 1 in (x, y) for x, y in zip(shape[::-1], longer[::-1], strict=False)):
            return f"{name}.unsqueeze({place}) has shape {of_shape(shape)}, which fits"
    return "print(a.shape, b.shape): equal lengths fit, and lengths of 1"


def no_cast(found: Any, wanted: Any) -> RuntimeError:
    """An in-place result that its tensor's type cannot hold."""
    return RuntimeError(message(
        f"result type {found.alias} can't be cast to the desired output type {wanted.alias}",
        what=f"the tensor keeps its dtype {wanted!r}; the result has {found!r}",
        fix=f"x = x.to({found!r}) first, or make a new tensor: y = x + 0.5"))


def bad_dimension(dim: int, ndim: int) -> IndexError:
    """A dimension number outside the tensor's."""
    low, high = (-ndim, ndim - 1) if ndim else (-1, 0)
    return IndexError(message(
        f"Dimension out of range (expected to be in range of [{low}, {high}], but got {dim})"))


def leaf_in_place() -> RuntimeError:
    """An in-place write to a parameter while its gradient is being followed."""
    return RuntimeError(message(
        "a leaf Variable that requires grad is being used in an in-place operation.",
        fix="wrap the update: with torch.no_grad(): w -= 0.1 * w.grad"))


def no_gradient_of_integers(tensor: Any, whose: str) -> RuntimeError:
    """Whole numbers and truth values have no gradient; PyTorch says so in three ways (`whose`)."""
    return RuntimeError(message(
        f"{whose} dtype can require gradients", what=f"this tensor has dtype {tensor.dtype!r}",
        fix="make the numbers floating: torch.tensor([1.0, 2.0]), or x.float()"))


# How C++ calls the types, which is how some of PyTorch's messages call them.
C_NAMES = {"float32": "float", "float64": "double", "int64": "long int", "int32": "int",
           "int16": "short int", "int8": "signed char", "uint8": "unsigned char", "bool": "bool",
           "uint16": "unsigned short", "uint32": "unsigned int", "uint64": "unsigned long",
           "float16": "c10::Half", "bfloat16": "c10::BFloat16",
           "complex64": "c10::complex<float>", "complex128": "c10::complex<double>"}


def gradient_of_other_type(found: Any, wanted: Any) -> RuntimeError:
    """A `.grad` that is assigned must have its tensor's type."""
    return RuntimeError(message(
        f"attempting to assign a gradient with dtype '{C_NAMES.get(found.name, found.name)}' to a "
        f"tensor with grad_dtype '{wanted.alias}'. The gradient must match the tensor's "
        "grad_dtype (defaults to the tensor's dtype). You can set the tensor's grad_dtype "
        "attribute with a specific dtype, or None to allow any dtype. Set grad_dtype with "
        "caution. Diverging the dtypes of a tensor and its gradient may break downstream systems "
        "that assume they match.", fix=f"x.grad = gradient.to({wanted!r})"))


# Operations whose kernels PyTorch's messages call by another name.
KERNELS = {"bitwise_left_shift": "lshift", "bitwise_right_shift": "rshift",
           "floor_divide": "div_floor"}


def not_implemented(name: str, array: Any, error: TypeError) -> Exception:
    """What to raise where NumPy has no loop for the type of `array`; other errors as they are."""
    if not str(error).startswith(("ufunc", "The numpy boolean")):
        return error
    if name == "neg":
        return RuntimeError(message(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
            "invert a mask, use the `~` or `logical_not()` operator instead.", fix="~mask"))
    return no_kernel(name, array)


def no_kernel(name: str, array: Any) -> NotImplementedError:
    """An operation that does not exist for the type of `array`."""
    from kkori.core import dtype as types
    kind = types.of(array.dtype)
    return NotImplementedError(message(
        f"\"{KERNELS.get(name, name)}_cpu\" not implemented for '{kind.alias}'",
        what=f"{name} has no meaning, or no kernel, for {kind!r}",
        fix="convert first: x.float() or x.long()"))


def refuse_overlap(array: Any) -> None:
    """RuntimeError where several elements of what is to be written are one place in memory."""
    if array.size and type(array).__name__ != "MetaArray" and any(
            n > 1 and step == 0 for n, step in zip(array.shape, array.strides, strict=True)):
        raise RuntimeError(message(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation.",
            fix="x = x.clone() before the write"))


def two_devices(*arrays: Any) -> str:
    """Operands that live in different places, one of which is where there are only shapes."""
    places = ["meta" if type(array).__name__ == "MetaArray" else "cpu" for array in arrays]
    shapes = " and ".join(f"{of_shape(getattr(array, 'shape', ()))} on {place}"
                          for array, place in zip(arrays, places, strict=True))
    other = next(place for place in places if place != places[0])
    return message(
        f"Tensor on device {other} is not on the expected device {places[0]}!",
        what=f"operands: {shapes}",
        fix="make both on one device, e.g. torch.ones(2, device=x.device)")
