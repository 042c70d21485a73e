"""`torch.nn.modules`: PyTorch's map of the layers, a table of names over our files."""

from __future__ import annotations

import sys
from types import ModuleType

from kkori.nn import (
    activation,
    adaptive,
    attention,
    calling,
    containers,
    conv,
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

# PyTorch's file -> the files here whose names it has.
FILES: dict[str, tuple[ModuleType, ...]] = {
    "activation": (activation, attention), "adaptive": (adaptive,), "batchnorm": (normalization,),
    "channelshuffle": (shaping,), "container": (containers,), "conv": (conv,),
    "distance": (distance,), "dropout": (dropout,), "flatten": (shaping,), "fold": (shaping,),
    "instancenorm": (normalization,), "lazy": (lazy,), "linear": (linear,), "loss": (loss,),
    "module": (hooks, calling, state, module), "normalization": (normalization,),
    "padding": (padding,), "pixelshuffle": (shaping,), "pooling": (pooling,), "rnn": (rnn,),
    "sparse": (embedding,), "transformer": (transformer,), "upsampling": (shaping,),
}


def _under(name: str, sources: tuple[ModuleType, ...]) -> ModuleType:
    """A module called `name` with everything the sources have."""
    made = ModuleType(f"{__name__}.{name}", sources[0].__doc__)
    for source in sources:
        made.__dict__.update({key: value for key, value in vars(source).items()
                              if not key.startswith("__")})
    sys.modules[made.__name__] = made
    return made


for _name, _sources in FILES.items():
    globals()[_name] = _under(_name, _sources)
    for _source in _sources:
        globals().update({key: getattr(_source, key) for key in _source.__all__
                          if key[0].isupper()})

__all__ = [*FILES, "utils"]
