"""What is shown, as summaries: numbers, histograms, images, text, hyperparameters."""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import Any

import numpy as np

import kkori
from kkori.tensor import Tensor
from kkori.utils.tensorboard.fields import (
    boolean,
    double,
    doubles,
    integer,
    message,
    single,
    text,
)

__all__ = ["as_array", "figure_image", "histogram", "hparams", "image", "scalar", "text_summary"]

_STRING, _BOOLEAN, _NUMBER = 1, 2, 3  # kinds of hyperparameters
_FLOAT, _DOUBLE, _TEXT = 1, 2, 7  # types of tensors in summaries
_SUCCESS = 1


def as_array(value: Any) -> np.ndarray:
    """Tensors, arrays and numbers as an array; NotImplementedError for anything else."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, Tensor):
        value = value.detach()
        return (value.float() if value.dtype is kkori.bfloat16 else value).numpy()
    if np.isscalar(value):
        return np.array([value])
    raise NotImplementedError(
        f"Got {type(value)}, but numpy array or torch tensor are expected."
    )


def _value(tag: str, *parts: bytes) -> bytes:
    """A summary of one tagged value."""
    return message(1, text(1, tag), *parts)


def _plugin(name: str, content: bytes = b"") -> bytes:
    """Metadata that says who shows a value."""
    return message(9, message(1, text(1, name), message(2, content)))


def scalar(tag: str, value: Any, new_style: bool = False, double_precision: bool = False) -> bytes:
    """A number. AssertionError for a tensor of several."""
    array = as_array(value).squeeze()
    if array.ndim != 0:
        raise AssertionError(
            f"Tensor should contain one element (0 dimensions).             Was given size: "
            f"{array.size} and {array.ndim} dimensions."
        )
    number = float(array)
    if not new_style:
        return _value(tag, single(2, number))
    packed = (
        integer(1, _DOUBLE) + doubles(6, [number])
        if double_precision
        else integer(1, _FLOAT) + single(5, number)
    )
    return _value(tag, message(8, packed), _plugin("scalars"))


def default_bins() -> list[float]:
    """Limits that grow by a tenth, from 1e-12 to 1e20, on both sides of zero."""
    count = math.ceil(math.log(1e32) / math.log(1.1))
    positive = [1e-12]
    while len(positive) <= count and positive[-1] * 1.1 < 1e20:
        positive.append(positive[-1] * 1.1)
    return [-limit for limit in reversed(positive)] + [0.0] + positive


def histogram(tag: str, values: Any, bins: Any, max_bins: int | None = None) -> bytes:
    """How often values fall into bins; empty bins at both ends are left out.

    ValueError where there are no values.
    """
    array = as_array(values).astype(np.float64).reshape(-1)
    if array.size == 0:
        raise ValueError("The input has no element.")
    counts, limits = np.histogram(array, bins=bins)
    if max_bins is not None and len(counts) > max_bins:
        counts, limits = _coarser(counts, limits, len(counts) // max_bins)
    filled = np.flatnonzero(counts)
    if not filled.size:
        raise ValueError("The histogram is empty, please file a bug report.")
    first, last = int(filled[0]), int(filled[-1]) + 1
    # One empty bin is kept before the first: its upper limit is the first one's lower limit.
    kept = [0, *counts[first:last].tolist()]
    return _value(
        tag,
        message(
            5,
            double(1, float(array.min())),
            double(2, float(array.max())),
            double(3, float(array.size)),
            double(4, float(array.sum())),
            double(5, float(array.dot(array))),
            doubles(6, limits[first : last + 1].tolist()),
            doubles(7, kept),
        ),
    )


def _coarser(counts: np.ndarray, limits: np.ndarray, factor: int) -> tuple[Any, Any]:
    """Every ``factor`` bins as one."""
    missing = -len(counts) % factor
    merged = np.pad(counts, (0, missing)).reshape(-1, factor).sum(axis=1)
    return merged, np.append(limits[:-1:factor], limits[-1])


def image(tag: str, value: Any, dataformats: str = "NCHW") -> bytes:
    """A picture, or several as a grid; floats from 0 to 1, or uint8.

    AssertionError where the format does not name every dimension once.
    """
    array = _height_width_channels(as_array(value), dataformats.upper())
    scale = 1 if array.dtype == np.uint8 else 255
    pixels = (array.astype(np.float32) * scale).clip(0, 255).astype(np.uint8)
    height, width, channels = pixels.shape
    parts = [integer(1, height), integer(2, width), integer(3, channels)]
    return _value(tag, message(4, *parts, message(4, png(pixels))))


def _height_width_channels(array: np.ndarray, dataformats: str) -> np.ndarray:
    if len(set(dataformats)) != len(dataformats):
        raise AssertionError(
            "You can not use the same dimension shorthand twice.             "
            f"input_format: {dataformats}"
        )
    if array.ndim != len(dataformats):
        raise AssertionError(
            "size of input tensor and input format are different.         "
            f"tensor shape: {array.shape}, input_format: {dataformats}"
        )
    if len(dataformats) == 4:
        return _grid(array.transpose([dataformats.find(letter) for letter in "NHWC"]))
    if len(dataformats) == 2:
        array = array.transpose([dataformats.find(letter) for letter in "HW"])[..., None]
    else:
        array = array.transpose([dataformats.find(letter) for letter in "HWC"])
    return np.repeat(array, 3, 2) if array.shape[2] == 1 else array


def _grid(images: np.ndarray, columns: int = 8) -> np.ndarray:
    """Pictures side by side, at most eight in a row."""
    count, height, width, channels = images.shape
    columns = min(count, columns)
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width, 3), images.dtype)
    sheet[:count] = images if channels == 3 else np.repeat(images[..., :1], 3, 3)
    sheet = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return sheet.reshape(rows * height, columns * width, 3)


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of an array of bytes: height, width, and 1, 3 or 4 channels."""
    height, width, channels = pixels.shape
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each starts with "no filter"
    rows[:, 1:] = pixels.reshape(height, -1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    found = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        found += struct.pack(">I", len(data)) + name + data
        found += struct.pack(">I", zlib.crc32(name + data))
    return found


def figure_image(figure: Any, close: bool) -> np.ndarray:
    """A matplotlib figure as an array: channels, height, width."""
    import matplotlib.image
    import matplotlib.pyplot as plt

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=figure.dpi)
    file.seek(0)
    pixels = (matplotlib.image.imread(file)[:, :, :3] * 255).round().astype(np.uint8)
    if close:
        plt.close(figure)
    return np.moveaxis(pixels, 2, 0)


def text_summary(tag: str, value: str) -> bytes:
    """A text, which is shown as Markdown."""
    tensor = integer(1, _TEXT) + message(2, message(2, integer(1, 1))) + text(8, value)
    return _value(f"{tag}/text_summary", message(8, tensor), _plugin("text"))


def hparams(
    hyper: dict[str, Any], metrics: dict[str, Any], domains: dict[str, list] | None = None
) -> list[bytes]:
    """The three summaries that tell of an experiment, its session's start and its end.

    TypeError for domains that do not fit, ValueError for values that are no number or text.
    """
    domains = domains or {}
    if not isinstance(domains, dict):
        raise TypeError(
            "parameter: hparam_domain_discrete should be a dictionary, nothing logged."
        )
    for name, domain in domains.items():
        _check_domain(name, domain, hyper)
    infos, values = [], []
    for name, value in hyper.items():
        if value is None:
            continue
        kind, packed = _hyperparameter(value)
        allowed = [message(1, _hyperparameter(choice)[1]) for choice in domains.get(name, ())]
        choices = message(5, *allowed) if name in domains else b""
        infos.append(message(4, text(1, name), integer(4, kind), choices))
        values.append(message(1, text(1, name), message(2, packed)))
    tags = [message(5, message(1, text(2, name))) for name in metrics]
    contents = {
        "experiment": message(2, *infos, *tags),
        "session_start_info": message(3, *values),
        "session_end_info": message(4, integer(1, _SUCCESS)),
    }
    return [
        _value(f"_hparams_/{name}", _plugin("hparams", content))
        for name, content in contents.items()
    ]


def _check_domain(name: str, domain: Any, hyper: dict[str, Any]) -> None:
    fits = name in hyper and isinstance(domain, list)
    if not fits or not all(isinstance(choice, type(hyper[name])) for choice in domain):
        raise TypeError(
            f"parameter: hparam_domain_discrete[{name}] should be a list of same type as "
            f"hparam_dict[{name}]."
        )


def _hyperparameter(value: Any) -> tuple[int, bytes]:
    """Its kind and its value; truth values count as numbers, as in PyTorch."""
    if isinstance(value, (int, float)):
        return _NUMBER, double(2, value)
    if isinstance(value, str):
        return _STRING, text(3, value)
    if isinstance(value, np.bool_):
        return _BOOLEAN, boolean(4, bool(value))
    if isinstance(value, Tensor):
        return _NUMBER, double(2, float(as_array(value).reshape(-1)[0]))
    raise ValueError("value should be one of int, float, str, bool, or torch.Tensor")
