"""Functions and methods whose files are read when one of them is first asked for.

Linear algebra, special functions and windows are large and seldom the first thing a program
needs; `import kkori` leaves them alone. A test compares these lists with what the files define.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from kkori.ops.table import LATER, METHODS
from kkori.tensor import Tensor

__all__ = ["BOTH", "FUNCTIONS", "ONLY_METHODS"]

# file: names that are both ``torch.<name>`` and ``Tensor.<name>``
BOTH = {
    "linalg_public": "inverse det",
    "linalg_more": "matrix_power matrix_exp orgqr",
    "linalg_legacy": "slogdet logdet pinverse cholesky cholesky_inverse cholesky_solve "
                     "triangular_solve lu lu_solve qr geqrf ormqr svd",
    "special": "erf erf_ erfc erfc_ erfinv erfinv_ lgamma lgamma_ digamma digamma_ polygamma "
               "mvlgamma igamma igammac i0 i0_ sinc sinc_ logit logit_",
    "spectrum": "stft istft",
}
FUNCTIONS = {
    "linalg_legacy": "lu_unpack eig symeig lstsq solve matrix_rank",
    "lowrank": "svd_lowrank pca_lowrank",
    "tapers": "hann_window hamming_window blackman_window bartlett_window kaiser_window",
}
ONLY_METHODS = {"special": "polygamma_ mvlgamma_ igamma_ igammac_"}


def opening(room: str, name: str) -> Callable[..., Any]:
    """A method that reads its file, puts the real one in its place and calls that."""
    def method(self: Tensor, *args: Any, **options: Any) -> Any:
        importlib.import_module(f"kkori.ops.{room}")
        real = METHODS[name]
        setattr(Tensor, name, real)
        return real(self, *args, **options)
    method.__name__ = method.__qualname__ = name
    return method


for _lists in (BOTH, FUNCTIONS):
    for _room, _names in _lists.items():
        LATER[_room] = f"{LATER[_room]} {_names}" if _room in LATER else _names
for _lists in (BOTH, ONLY_METHODS):
    for _room, _names in _lists.items():
        for _name in _names.split():
            METHODS[_name] = opening(_room, _name)
