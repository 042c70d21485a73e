"""`from fastai.vision.all import *`: the same names as `fastai.data.all`."""

from __future__ import annotations

from kkori.shims.fastai.data.all import *
