"""What `torch`, `torchvision`, `fastai` and `safetensors` mean in programs that kkori runs.

An import hook answers `import torch.nn` with kkori's own module of that name: `torch is kkori` and
`torch.nn is kkori.nn`. Nothing is copied, so there is one `Tensor` class, whatever it is called.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["install_as_torch", "uninstall_as_torch", "installed"]

# Borrowed name -> where kkori has it. The longest matching row counts, and what follows it is kept:
# `torch.optim.lr_scheduler` is `kkori.optim.lr_scheduler` by the row `torch`.
NAMES = {
    "torch": "kkori",
    "torch.serialization": "kkori.io.serialization",
    "torch.storage": "kkori.core.storage",
    "torch.torch_version": "kkori.version",
    "torchvision": "kkori.vision",
    "fastai": "kkori.shims.fastai",
    "safetensors": "kkori.shims.safetensors",
}
# Packages that are refused, with a clear message, where the real one is already in use.
ROOTS = ("torch", "torchvision", "fastai", "safetensors")


def target_of(name: str) -> str:
    """The kkori module that `name` stands for.

    >>> target_of("torch.utils.data")
    'kkori.utils.data'
    """
    row, rest = name, ""
    while row not in NAMES:
        row, _, last = row.rpartition(".")
        rest = f".{last}{rest}"
    return NAMES[row] + rest


class Finder(MetaPathFinder):
    """Finds the borrowed names; the hook that Python's import system asks first."""

    def __init__(self) -> None:
        self.lent: dict[str, ModuleType] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A spec for borrowed names that kkori has, None for all others: the search goes on."""
        if name.partition(".")[0] not in ROOTS:
            return None
        module = self._find(name, target_of(name))
        if module is None:
            return None
        return ModuleSpec(name, Lender(self.lent, module), is_package=hasattr(module, "__path__"))

    def _find(self, name: str, own_name: str) -> ModuleType | None:
        parent, _, last = own_name.rpartition(".")
        present = getattr(sys.modules.get(parent), last, None)
        if present is not None and not isinstance(present, ModuleType):
            # `torch.tensor` is a function; that kkori has a file of the name is its own affair.
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        try:
            return importlib.import_module(own_name)
        except ModuleNotFoundError as error:
            if error.name != own_name:
                raise  # kkori has the module, but something that it needs is missing
        return None


class Lender(Loader):
    """Hands out a module that is loaded already, and leaves it as it was."""

    def __init__(self, lent: dict[str, ModuleType], module: ModuleType) -> None:
        self.lent, self.module = lent, module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself; its own spec is remembered, for the import system replaces it."""
        self.own_spec = self.module.__spec__
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run: the module is ready. Give it its own spec back."""
        spec = module.__spec__
        assert spec is not None
        self.lent[spec.name] = module
        module.__spec__ = self.own_spec


_finder: Finder | None = None


def installed() -> bool:
    """Whether `import torch` means kkori here."""
    return _finder is not None


def install_as_torch() -> None:
    """Make `import torch` (torchvision, fastai, safetensors) mean kkori from here on.

    Calling it twice changes nothing. RuntimeError where the real torch is already imported: two
    kinds of Tensor in one program would only fail later, and less clearly.

    >>> import kkori
    >>> kkori.install_as_torch()
    >>> import torch
    >>> torch is kkori
    True
    >>> kkori.shims.uninstall_as_torch()
    """
    global _finder
    if _finder is not None:
        return
    for root in ROOTS:
        _refuse_foreign(root)
    _finder = Finder()
    sys.meta_path.insert(0, _finder)


def uninstall_as_torch() -> None:
    """Undo `install_as_torch`: the borrowed names mean again what is installed under them."""
    global _finder
    if _finder is None:
        return
    sys.meta_path.remove(_finder)
    for name, module in _finder.lent.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    _finder = None


def _refuse_foreign(root: str) -> None:
    present = sys.modules.get(root)
    if present is None or getattr(present, "__name__", "").partition(".")[0] == "kkori":
        return
    raise RuntimeError(
        f"cannot stand in for {root}: the real {root} is already imported\n"
        f"  it came from {getattr(present, '__file__', 'an unknown place')}\n"
        f"  fix: call kkori.install_as_torch() before anything imports {root}, "
        "or use: import kkori as torch")
