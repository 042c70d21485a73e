"""Module: what every layer and model is — named parameters, buffers and children, and a forward."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from kkori.core import errors
from kkori.nn.attributes import make_direct
from kkori.nn.calling import CALL_TABLES, Calls
from kkori.nn.converting import Converts
from kkori.nn.hooks import registered
from kkori.nn.parameter import Buffer, Parameter
from kkori.nn.state import STATE_TABLES, Saves
from kkori.run.calls import changed, turned, watched
from kkori.tensor import Tensor

__all__ = ["Module", "typename"]

HOOK_TABLES = CALL_TABLES | STATE_TABLES
T = TypeVar("T", bound="Module")


class Module(Calls, Converts, Saves):
    """The base of layers and models (PyTorch's ``torch.nn.Module``).

    A subclass makes its parameters and children in ``__init__`` (after ``super().__init__()``) and
    computes in ``forward``. Assigning a Parameter, a Buffer or a Module to an attribute registers
    it: it then appears in ``parameters()``, ``state_dict()`` and the printed form.

    >>> import kkori as torch
    >>> class Line(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.slope = torch.nn.Parameter(torch.tensor(2.0))
    ...     def forward(self, x):
    ...         return self.slope * x
    >>> Line()(torch.tensor(3.0)).item()
    6.0
    """

    call_super_init = False
    dump_patches = False
    training: bool

    def __init__(self, *args: Any, **options: Any) -> None:
        if not self.call_super_init and (args or options):
            raise _no_such_argument(type(self).__name__, args, options)
        self.__dict__.update(training=True, _parameters={}, _buffers={}, _modules={},
                             _non_persistent_buffers_set=set(), _has_call_hooks=False)
        if self.call_super_init:
            super().__init__(*args, **options)

    # attributes -----------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        here = self.__dict__
        if "_modules" in here:
            found = here["_parameters"].get(name)  # what is asked for most, with least
            if found is not None:
                return found
            found = here["_modules"].get(name)
            if found is not None:
                return found
            for place in ("_parameters", "_buffers", "_modules"):
                if name in here[place]:
                    return here[place][name]
            if name in HOOK_TABLES:
                table: OrderedDict[int, Any] = OrderedDict()
                setattr(self, name, table)
                return table
        elif name == "_has_call_hooks":  # a call before Module.__init__(): PyTorch looks for this
            name = "_backward_hooks"
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'",
                             name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        here = self.__dict__
        if watched:
            if name == "training" and value.__class__ is bool:
                if value is not here.get(name):
                    turned(self, value)
            else:
                changed(self)
        if isinstance(value, Parameter):
            if "_modules" not in here:
                raise AttributeError(errors.message(
                    "cannot assign parameters before Module.__init__() call"))
            _make_room(here, name, "_parameters")
            self.register_parameter(name, value)
        elif "_modules" not in here:
            if isinstance(value, Module):
                raise AttributeError(errors.message(
                    "cannot assign module before Module.__init__() call"))
            object.__setattr__(self, name, value)
        elif name in here["_parameters"]:
            _only_none(value, f"parameter '{name}' (torch.nn.Parameter or None expected)")
            self.register_parameter(name, None)
        elif isinstance(value, Module):
            _make_room(here, name, "_modules")
            _put(self, "module", name, value)
        elif name in here["_modules"]:
            _only_none(value, f"child module '{name}' (torch.nn.Module or None expected)")
            _put(self, "module", name, None)
        elif name in here["_buffers"] or isinstance(value, Buffer):
            _set_buffer(self, name, value)
        else:
            if name in CALL_TABLES:
                here["_has_call_hooks"] = True
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        changed(self)
        for table in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules,
                 *self._buffers]
        return sorted(name for name in names if not name[0].isdigit())

    # registration ---------------------------------------------------------------------------

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (None keeps the name without one)."""
        changed(self)
        _check_name(self, "parameter", "_parameters", name)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(errors.message(
                    f"cannot assign '{typename(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"))
            if param.grad_fn is not None:
                raise ValueError(errors.message(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must "
                    f"be created explicitly. To express '{name}' as a function of another Tensor, "
                    "compute the value in the forward() method."))
            _put(self, "parameter", name, param)
        else:
            self._parameters[name] = None

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not trained; `persistent` ones are in the state dict."""
        changed(self)
        _check_name(self, "buffer", "_buffers", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(errors.message(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}' "
                "(torch Tensor or None required)"))
        _put(self, "buffer", name, tensor)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(errors.message(f"{typename(module)} is not a Module subclass"))
        if not isinstance(name, str):
            raise TypeError(errors.message(f"module name should be a string. Got {typename(name)}"))
        if hasattr(self, name) and name not in self._modules:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'module name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError('module name can\'t be empty string ""')
        changed(self)
        _put(self, "module", name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """`add_module` under its other name."""
        self.add_module(name, module)

    # by dotted name -------------------------------------------------------------------------

    def get_submodule(self, target: str) -> Module:
        """The module called `target`, such as ``encoder.0.linear``; AttributeError if none."""
        module = self
        for name in target.split(".") if target else ():
            module = _attribute(module, name)
            if not isinstance(module, Module):
                raise AttributeError(errors.message(f"`{name}` is not an nn.Module"))
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put `module` where `target` is (with `strict`, something must be there already)."""
        if target == "":
            raise ValueError(errors.message("Cannot set the submodule without a target name!"))
        if not isinstance(module, Module):
            raise ValueError(errors.message(f"`module` is not an nn.Module, found {type(module)}"))
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict or hasattr(parent, name):
            if not isinstance(_attribute(parent, name), Module):
                raise AttributeError(errors.message(f"`{name}` is not an nn.Module"))
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter called `target`; AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        found = _attribute(self.get_submodule(path), name)
        if not isinstance(found, Parameter):
            raise AttributeError(errors.message(f"`{name}` is not an nn.Parameter"))
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer called `target`; AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found = _attribute(module, name)
        if name not in module._buffers:
            raise AttributeError(errors.message(f"`{name}` is not a buffer"))
        return found

    # walks ----------------------------------------------------------------------------------

    def named_modules(self, memo: set[Any] | None = None, prefix: str = "",
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with dotted names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                below = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, below, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, with their names; one that appears twice, once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly below."""
        for _, module in self.named_children():
            yield module

    def _named_members(self, get_members_fn: Callable[[Module], Any], prefix: str = "",
                       recurse: bool = True,
                       remove_duplicate: bool = True) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules: Any = [(prefix, self)]
        if recurse:
            modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, module in modules:
            for name, member in get_members_fn(module):
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def named_parameters(self, prefix: str = "", recurse: bool = True,
                         remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """The parameters of this module (and, with `recurse`, all below) with dotted names."""
        yield from self._named_members(lambda module: module._parameters.items(), prefix=prefix,
                                       recurse=recurse, remove_duplicate=remove_duplicate)

    def parameters(self, recurse: bool = True) -> Generator[Parameter, None, Any]:
        """The parameters of this module (and, with `recurse`, of all below it)."""
        parameter = None
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter
        if parameter is None:
            # What is returned becomes the text of StopIteration.
            return errors.no_parameters(self)  # type: ignore[return-value]

    def named_buffers(self, prefix: str = "", recurse: bool = True,
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """The buffers of this module (and, with `recurse`, all below) with dotted names."""
        yield from self._named_members(lambda module: module._buffers.items(), prefix=prefix,
                                       recurse=recurse, remove_duplicate=remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module (and, with `recurse`, of all below it)."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def apply(self: T, fn: Callable[[Module], Any]) -> T:
        """Call `fn` with every module below, then with this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # modes ----------------------------------------------------------------------------------

    def train(self: T, mode: bool = True) -> T:
        """Set ``training`` here and below: what dropout and batch normalisation look at."""
        if not isinstance(mode, bool):
            raise ValueError(errors.message("training mode is expected to be boolean"))
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: T) -> T:
        """``train(False)``."""
        return self.train(False)

    def requires_grad_(self: T, requires_grad: bool = True) -> T:
        """Follow (or freeze) every parameter."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or fill them with zeros."""
        if getattr(self, "_is_replica", False):
            warnings.warn(_REPLICA, stacklevel=2)
        for parameter in self.parameters():
            gradient = parameter.grad
            if gradient is None:
                continue
            if set_to_none:
                parameter.grad = None
            elif gradient.grad_fn is not None:
                gradient.detach_().zero_()
            else:
                gradient.requires_grad_(False).zero_()

    # printed form, copies -------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands in the brackets of the printed form."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        own = extra.split("\n") if extra else []
        children = [f"({name}): {indented(repr(module))}"
                    for name, module in self._modules.items()]
        if len(own) <= 1 and not children:
            return f"{self._get_name()}({extra})"
        return "{}(\n  {}\n)".format(self._get_name(), "\n  ".join(own + children))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name, missing in (("_non_persistent_buffers_set", set()), ("_has_call_hooks", False)):
            self.__dict__.setdefault(name, missing)

    def _replicate_for_data_parallel(self: T) -> T:
        replica = self.__new__(type(self))
        replica.__dict__ = self.__dict__ | {"_parameters": {}, "_buffers": self._buffers.copy(),
                                            "_modules": self._modules.copy()}
        replica._is_replica = True
        return replica


def typename(thing: Any) -> str:
    """The name of a thing (or of its type) as PyTorch's messages write it: `torch.FloatTensor`."""
    if isinstance(thing, Tensor):
        return thing.type()  # type: ignore[attr-defined]
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    if (named.__module__ or "builtins") == "builtins":
        return named.__qualname__
    if named.__module__.startswith(__package__ + "."):
        from kkori.nn.modules import torch_name
        return torch_name(named)
    return f"{named.__module__}.{named.__qualname__}"


def indented(text: str, width: int = 2) -> str:
    """`text` with every line but the first moved right; empty lines stay empty."""
    first, *rest = text.split("\n")
    return "\n".join([first, *[" " * width + line if line.strip() else "" for line in rest]])


_addindent = indented  # the name by which modules of others import it


def _make_room(here: dict[str, Any], name: str, kept: str) -> None:
    """Remove whatever else is called `name`: a parameter or child is about to be."""
    here.pop(name, None)
    for table in ("_parameters", "_buffers", "_modules"):
        if table != kept:
            here[table].pop(name, None)
    here["_non_persistent_buffers_set"].discard(name)


def _put(module: Module, what: str, name: str, value: Any) -> None:
    """What every registration ends with."""
    module.__dict__[_TABLES[what]][name] = registered(what, module, name, value)
    make_direct(what, type(module), name, Module.__getattr__)


_TABLES = {"parameter": "_parameters", "buffer": "_buffers", "module": "_modules"}


def _set_buffer(module: Module, name: str, value: Any) -> None:
    if value is not None and not isinstance(value, Tensor):
        raise TypeError(errors.message(
            f"cannot assign '{typename(value)}' as buffer '{name}' "
            "(torch.nn.Buffer, torch.Tensor or None expected)"))
    if isinstance(value, Buffer):
        persistent = value.persistent
    else:
        persistent = name not in module._non_persistent_buffers_set
    module.register_buffer(name, value, persistent)


def _check_name(module: Module, what: str, table: str, name: str) -> None:
    if table not in module.__dict__:
        raise AttributeError(errors.message(f"cannot assign {what} before Module.__init__() call"))
    if not isinstance(name, str):
        raise TypeError(errors.message(f"{what} name should be a string. Got {typename(name)}"))
    if "." in name:
        raise KeyError(f'{what} name can\'t contain "."')
    if name == "":
        raise KeyError(f'{what} name can\'t be empty string ""')
    if name not in module.__dict__[table] and hasattr(module, name):
        raise KeyError(f"attribute '{name}' already exists")


def _attribute(module: Module, name: str) -> Any:
    if not hasattr(module, name):
        raise AttributeError(errors.message(f"{module._get_name()} has no attribute `{name}`"))
    return getattr(module, name)


def _only_none(value: Any, place: str) -> None:
    if value is not None:
        raise TypeError(errors.message(f"cannot assign '{typename(value)}' as {place}"))


def _no_such_argument(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> TypeError:
    if options:
        return TypeError(f"{name}.__init__() got an unexpected keyword argument "
                         f"'{next(iter(options))}'")
    return TypeError(f"{name}.__init__() takes 1 positional argument but {len(args) + 1} were "
                     "given")


_REPLICA = (
    "Calling .zero_grad() from a module created with nn.DataParallel() has no effect. The "
    "parameters are copied (in a differentiable manner) from the original module. This means they "
    "are not leaf nodes in autograd and so don't accumulate gradients. If you need gradients in "
    "your forward method, consider using autograd.grad instead.")
