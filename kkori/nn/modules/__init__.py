"""`torch.nn.modules`: PyTorch's map of the layers, a table of names over our files."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from kkori.nn import (
    activation,
    adaptive,
    attention,
    calling,
    containers,
    conv,
    cross_map,
    distance,
    dropout,
    embedding,
    hooks,
    lazy,
    linear,
    loss,
    module,
    normalization,
    padding,
    pooling,
    rnn,
    shaping,
    state,
    transformer,
)
from kkori.nn.modules import utils

# PyTorch's file, where its classes are here, and words in their names where that file has others.
FILES: tuple[tuple[str, ModuleType, tuple[str, ...]], ...] = (
    ("activation", activation, ()), ("activation", attention, ()), ("adaptive", adaptive, ()),
    ("batchnorm", normalization, ("BatchNorm", "NormBase")),
    ("instancenorm", normalization, ("Instance",)), ("normalization", normalization, ()),
    ("normalization", cross_map, ()),
    ("channelshuffle", shaping, ("Channel",)), ("flatten", shaping, ("latten",)),
    ("fold", shaping, ("old",)), ("pixelshuffle", shaping, ("Pixel",)),
    ("upsampling", shaping, ("Up",)), ("container", containers, ()), ("conv", conv, ()),
    ("distance", distance, ()), ("dropout", dropout, ()), ("lazy", lazy, ()),
    ("linear", linear, ()), ("loss", loss, ()), ("module", hooks, ()), ("module", calling, ()),
    ("module", state, ()), ("module", module, ()), ("padding", padding, ()),
    ("pooling", pooling, ()), ("rnn", rnn, ()), ("sparse", embedding, ()),
    ("transformer", transformer, ()),
)


def torch_name(kind: Any) -> str:
    """Where PyTorch keeps the class that is `kind` here: `torch.nn.modules.linear.Linear`."""
    for file, source, words in FILES:
        if source.__name__ == kind.__module__ and (
                not words or any(word in kind.__name__ for word in words)):
            return f"torch.nn.modules.{file}.{kind.__qualname__}"
    return f"{kind.__module__.replace('kkori', 'torch', 1)}.{kind.__qualname__}"


for _file, _source, _ in FILES:
    _name = f"{__name__}.{_file}"
    _module = sys.modules.setdefault(_name, ModuleType(_name, _source.__doc__))
    _module.__dict__.update({key: value for key, value in vars(_source).items()
                             if not key.startswith("__")})
    globals()[_file] = _module
    globals().update({key: getattr(_source, key) for key in _source.__all__ if key[0].isupper()})

__all__ = [*sorted({file for file, _, _ in FILES}), "utils"]
