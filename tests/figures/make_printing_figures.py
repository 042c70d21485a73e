"""Write printing.json: how PyTorch prints 500 seeded tensors.

Run as `python tests/figures/make_printing_figures.py` where PyTorch 2.13.0 is installed. The
recipe (`draw`) takes the module under test, so the tests make the very same tensors with kkori.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

COUNT = 500
FIGURES = Path(__file__).with_name("printing.json")
WHOLE = ["bool", "uint8", "int8", "int16", "int32", "int64"]
FLOATING = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
SIZES = [0, 1, 1, 2, 3, 4, 5, 7, 8, 12, 30]
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0]
OPTIONS = [
    {"precision": 2},
    {"profile": "short"},
    {"profile": "full", "linewidth": 60},
    {"threshold": 5},
    {"threshold": 10, "edgeitems": 1},
    {"threshold": 3, "edgeitems": 0},
    {"linewidth": 40},
    {"sci_mode": True},
    {"sci_mode": False},
    {"precision": 0},
    {"precision": 10, "linewidth": 120},
]


def draw(torch, index):
    """The options and the tensor of case `index`, made with the module `torch`."""
    rng = np.random.default_rng(index)
    options = OPTIONS[rng.integers(len(OPTIONS))] if index % 3 == 0 else {}
    shape = draw_shape(rng)
    floating = rng.random() < 0.7
    dtype = str(rng.choice(FLOATING if floating else WHOLE))
    array = draw_floating(rng, shape, dtype) if floating else draw_whole(rng, shape, dtype)
    tensor = torch.from_numpy(np.ascontiguousarray(array).reshape(shape)).to(getattr(torch, dtype))
    if floating and rng.random() < 0.2:
        tensor.requires_grad_()
        tensor = tensor * 2 if rng.random() < 0.5 else tensor
    return options, tensor


def draw_shape(rng):
    if rng.random() < 0.05:
        return (int(rng.integers(1001, 1100)),)
    shape = [int(size) for size in rng.choice(SIZES, size=rng.integers(0, 5))]
    while np.prod(shape) > 250:
        shape.pop(0)
    return tuple(shape)


def draw_whole(rng, shape, dtype):
    if dtype == "bool":
        return rng.random(shape) < 0.5
    info = np.iinfo(dtype)
    digits = int(rng.integers(1, len(str(info.max)) + 1))
    low, high = max(info.min, -(10**digits)), min(info.max, 10**digits)
    return rng.integers(low, high, shape, dtype=dtype, endpoint=True)


def draw_floating(rng, shape, dtype):
    double = dtype in ("float64", "complex128")
    real = draw_real(rng, shape, 300 if double else 30).astype("f8" if double else "f4")
    if dtype.startswith("complex"):
        return real + 1j * draw_real(rng, shape, 30).astype(real.dtype)
    # Through float16 first, so that both modules round to these types from the same number.
    return real.astype("f2").astype("f4") if dtype in ("float16", "bfloat16") else real


def draw_real(rng, shape, reach):
    """Numbers of one of six kinds: near one, whole, tiny or huge, far apart, positive, zero."""
    values = np.asarray(rng.standard_normal(shape))
    kind = rng.integers(6)
    if kind == 1:
        values = np.round(values * 10.0 ** rng.integers(0, 9))
    elif kind == 2:
        values = values * 10.0 ** rng.integers(-reach, reach)
    elif kind == 3:
        values = values * 10.0 ** rng.uniform(-5, 5, shape)
    elif kind == 4:
        values = np.abs(values)
    elif kind == 5:
        values = values * 0
    if rng.random() < 0.3:
        values = np.where(rng.random(shape) < 0.2, rng.choice(SPECIAL), values)
    return np.asarray(values)


def text(torch, index):
    """What the module `torch` prints for case `index`."""
    options, tensor = draw(torch, index)
    torch.set_printoptions(**options)
    try:
        return repr(tensor)
    finally:
        torch.set_printoptions(profile="default")


def empty(torch):
    return torch.empty(0), torch.empty(2, 0), torch.empty((0, 3), dtype=torch.int64)


def meta(torch):
    made = [torch.empty(2, 3, device="meta"), torch.empty(4, device="meta", dtype=torch.int64)]
    return [*made, torch.empty(4, device="meta", requires_grad=True)]


def recorded(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    made = [x, x * 2, (x * 2).sum(), x[0], x.exp().detach(), x @ x]
    return [*made, x.reshape(2, 1), x.to(torch.float64)]


def parameter(torch):
    one = torch.nn.Parameter(torch.ones(2, 2))
    return one, torch.nn.Parameter(torch.ones(()), requires_grad=False), one.data, one * 1


def subclasses(torch):
    class Picture(torch.Tensor):
        pass

    class Weight(torch.nn.Parameter):
        pass

    return torch.ones(3).as_subclass(Picture), Weight(torch.ones(3))


def views(torch):
    x = torch.arange(12.0).reshape(3, 4)
    return x.t(), x[:, ::2], x[1], x.flip(0), x[0, 0], x.expand(2, 3, 4)


def other_default(torch):
    torch.set_default_dtype(torch.float64)
    try:
        made = [torch.ones(2, dtype=kind) for kind in (torch.float32, torch.float64)]
        made += [torch.ones(2), torch.ones(2) * 1j, torch.empty(0), torch.empty(1, device="meta")]
        return [repr(tensor) for tensor in made]
    finally:
        torch.set_default_dtype(torch.float32)


KINDS = {
    make.__name__: make
    for make in (empty, meta, recorded, parameter, subclasses, views, other_default)
}


def texts_of_kind(torch, kind):
    """What the module `torch` prints for the special tensors called `kind`."""
    return [made if isinstance(made, str) else repr(made) for made in KINDS[kind](torch)]


def main():
    import torch

    with np.errstate(all="ignore"):
        texts = [text(torch, index) for index in range(COUNT)]
    kinds = {kind: texts_of_kind(torch, kind) for kind in KINDS}
    figures = {"torch": torch.__version__, "texts": texts, "kinds": kinds}
    FIGURES.write_text(json.dumps(figures, indent=0, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
