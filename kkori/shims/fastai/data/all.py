"""`from fastai.data.all import *`: the names that fastai's star import puts at hand.

fastcore brings most (L, Path.ls, patch, ...); torch, NumPy, pandas and matplotlib come with it, as
they do in fastai.
"""

from __future__ import annotations

import collections
import functools
import glob
import itertools
import json
import math
import operator
import os
import random
import re
import shutil
import sys
import time
import warnings
from collections import Counter, OrderedDict, defaultdict, namedtuple
from copy import copy, deepcopy
from functools import partial, reduce
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from fastcore.all import *
from fastcore.basics import patch
from fastcore.foundation import L as _L

import kkori as torch
import kkori.nn.functional as F
from kkori import Tensor, nn, optim, tensor
from kkori.shims.fastai.data.external import URLs, untar_data
from kkori.utils.data import DataLoader, Dataset, TensorDataset

SHOWN = 10  # items of a list that its repr shows


class L(_L):
    """fastcore's list, shown as the course shows it: how many items, then the first ten."""

    def __repr__(self) -> str:
        shown = ",".join(map(repr, itertools.islice(self, SHOWN)))
        return f"(#{len(self)}) [{shown}{'...' if len(self) > SHOWN else ''}]"

    def _repr_pretty_(self, printer, cycle) -> None:
        printer.text("..." if cycle else repr(self))


_list_folder = Path.ls  # type: ignore[attr-defined]


@patch
def ls(self: Path, n_max=None, file_type=None, file_exts=None):
    """The paths in this folder, as an `L`."""
    return L(_list_folder(self, n_max=n_max, file_type=file_type, file_exts=file_exts))


__all__ = [name for name in globals() if not name.startswith("_") and name != "annotations"]
