"""Short-time Fourier transforms: ``torch.stft`` and ``torch.istft``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from kkori.core import dtype as types
from kkori.core import errors
from kkori.ops import fft
from kkori.ops.rearrange import _unfold, _unfold_back
from kkori.ops.table import TORCH, public
from kkori.tensor import Tensor, wrap

__all__ = ["stft", "istft"]


def described(name: str, kind: str, input: Tensor, settings: dict[str, Any]) -> str:
    """How PyTorch begins its messages here: the call, with all that was set."""
    shown = []
    for key, value in settings.items():
        if isinstance(value, Tensor):
            text = f"torch.{value.dtype.alias}Tensor{{{errors.of_shape(value._array.shape)}}}"
        else:
            text = str(int(value)) if isinstance(value, bool) else str(value)
        shown.append(f"{key}={text}")
    return (f"{name}({kind}{errors.of_shape(input._array.shape)}, {', '.join(shown)}) ")


def centered(window: Tensor | None, n_fft: int, length: int, kind: types.dtype) -> Tensor:
    """The window (ones where there is none) with zeros on both sides, `n_fft` long."""
    if window is None:
        window = wrap(np.ones(length, kind.to_real().numpy))
    left = (n_fft - length) // 2
    if length == n_fft:
        return window
    zeros = window.new_zeros
    found: Tensor = TORCH["cat"]([zeros((left,)), window, zeros((n_fft - length - left,))], 0)
    return found


def warn_no_window(window: Tensor | None) -> None:
    """A rectangle is a poor window; PyTorch says so once."""
    if window is None and not warned:
        warned.append(True)
        warnings.warn(
            "A window was not provided. A rectangular window will be applied,which is known to "
            "cause spectral leakage. Other windows such as torch.hann_window or "
            "torch.hamming_window are recommended to reduce spectral leakage.To suppress this "
            "warning and use a rectangular window, explicitly set `window=torch.ones(n_fft, "
            "device=<device>)`.", UserWarning, stacklevel=4)


warned: list[bool] = []


def check_stft(begin: str, input: Tensor, n_fft: int, hop: int, win: int,
               window: Tensor | None, least: int) -> None:
    """RuntimeError where a signal cannot be cut into such frames."""
    problem, length = "", input._array.shape[-1] if input._array.ndim else 0
    if input._array.dtype.kind not in "fc":
        problem = "expected a tensor of floating point or complex values"
    elif input._array.ndim not in (1, 2):
        problem = "expected a 1D or 2D tensor"
    elif not 0 < n_fft or least > length:
        problem = f"expected 0 < n_fft < {length}, but got n_fft={n_fft}"
    elif hop <= 0:
        problem = f"expected hop_length > 0, but got hop_length={hop}"
    elif not 0 < win <= n_fft:
        problem = f"expected 0 < win_length <= n_fft, but got win_length={win}"
    elif window is not None and window._array.shape != (win,):
        problem = (f"expected a 1D window tensor of size equal to win_length={win}, but got "
                   f"window with size {errors.of_shape(window._array.shape)}")
    if problem:
        raise RuntimeError(errors.message(f"{begin}: {problem}"))


def padded_ends(input: Tensor, width: int, mode: str) -> Tensor:
    """The signal continued on both sides, by reflection or as `mode` says."""
    from kkori.ops.pad import pad
    ndim = input._array.ndim
    wide = input.reshape((1,) * (3 - ndim) + tuple(input._array.shape))
    found: Tensor = pad(wide, [width, width], mode)
    return found.reshape(found._array.shape[3 - ndim:])


def sides_of(onesided: bool | None, is_complex: bool) -> bool:
    """Whether only half of the spectrum is meant."""
    if onesided and is_complex:
        raise RuntimeError(errors.message(
            "Cannot have onesided output if window or input is complex",
            fix="onesided=False"))
    return not is_complex if onesided is None else onesided


@public(out=False)
def stft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
         window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect",
         normalized: bool = False, onesided: bool | None = None,
         return_complex: bool | None = None, align_to_window: bool | None = None) -> Tensor:
    """Fourier transforms of overlapping frames: (..., L) gives (..., frequencies, frames).

    Frames are `n_fft` long, `hop_length` (a quarter of that) apart, times `window`. With
    `center` the signal is first continued by half a frame on both sides (``torch.stft``).
    """
    if center and align_to_window is not None:
        raise RuntimeError(errors.message(
            "stft align_to_window should only be set when center = false"))
    if center:
        input = padded_ends(input, n_fft // 2, pad_mode)
    hop = n_fft // 4 if hop_length is None else hop_length
    win = n_fft if win_length is None else win_length
    begin = described("stft", f"torch.{input.dtype.alias}Tensor", input, {
        "n_fft": n_fft, "hop_length": hop, "win_length": win, "window": window,
        "normalized": normalized, "onesided": onesided, "return_complex": return_complex,
        "align_to_window": align_to_window})
    check_stft(begin, input, n_fft, hop, win, window, win if align_to_window else n_fft)
    is_complex = input.is_complex() or (window is not None and window.is_complex())
    if return_complex is None and not is_complex:
        raise RuntimeError(errors.message(
            "stft requires the return_complex parameter be given for real inputs, and will "
            "further require that return_complex=True in a future PyTorch release.",
            fix="torch.stft(x, n_fft, return_complex=True)"))
    half = sides_of(onesided, is_complex)
    warn_no_window(window)
    if align_to_window:
        input = TORCH["cat"](around(input, (n_fft - win) // 2, n_fft - win), -1)
    found = frames_transformed(input, n_fft, hop, centered(window, n_fft, win, input.dtype),
                               normalized, half)
    return TORCH["view_as_real"](found) if return_complex is False else found  # type: ignore


def around(input: Tensor, left: int, both: int) -> list[Tensor]:
    """The signal between zeros, `left` of `both` before it."""
    ahead = input._array.shape[:-1]
    return [input.new_zeros((*ahead, left)), input, input.new_zeros((*ahead, both - left))]


def frames_transformed(input: Tensor, n_fft: int, hop: int, window: Tensor, normalized: bool,
                       half: bool) -> Tensor:
    """The spectra of all frames, frequencies before frames."""
    last = input._array.ndim - 1
    frames = _unfold(input, last, n_fft, hop) * window
    norm = "ortho" if normalized else None
    transform = fft.transform_real if half and not frames.is_complex() else fft.transform
    return transform(frames, [last + 1], [n_fft], norm, True).transpose(last, last + 1)


def check_istft(begin: str, input: Tensor, n_fft: int, hop: int, win: int,
                window: Tensor | None, half: bool) -> None:
    """RuntimeError where spectra do not make a signal."""
    shape, problem = input._array.shape, ""
    if not input._array.size:
        problem = ": input tensor cannot be empty."
    elif len(shape) not in (2, 3):
        problem = f": expected a tensor with 3 or 4 dimensions, but got {len(shape) + 1}"
    elif shape[-2] != (n_fft // 2 + 1 if half else n_fft):
        wanted = "n_fft / 2 + 1 when onesided=True" if half else "n_fft when onesided=False"
        problem = (": expected the frequency dimension (3rd to the last) of the input tensor to "
                   f"match {wanted}, but got {shape[-2]}")
    elif not 0 < hop <= win:
        problem = ": expected 0 < hop_length <= win_length"
    elif not 0 < win <= n_fft:
        problem = ": expected 0 < win_length <= n_fft"
    elif window is not None and window._array.shape != (win,):
        problem = ": Invalid window shape. window has to be 1D and length of `win_length`"
    if problem:
        raise RuntimeError(errors.message(begin + problem))


@public(out=False)
def istft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
          window: Tensor | None = None, center: bool = True, normalized: bool = False,
          onesided: bool | None = None, length: int | None = None,
          return_complex: bool = False) -> Tensor:
    """The signal of overlapping spectra, by least squares: undoes ``stft`` (``torch.istft``)."""
    hop = n_fft // 4 if hop_length is None else hop_length
    win = n_fft if win_length is None else win_length
    if not input.is_complex():
        raise RuntimeError(errors.message(
            "istft requires a complex-valued input tensor matching the output from stft with "
            "return_complex=True."))
    begin = described("istft", f"CPU{input.dtype.alias}Type", input, {
        "n_fft": n_fft, "hop_length": hop, "win_length": win, "window": window,
        "center": center, "normalized": normalized, "onesided": onesided, "length": length,
        "return_complex": return_complex})
    frequencies = input._array.shape[-2] if input._array.ndim > 1 else 0
    half = frequencies != n_fft if onesided is None else onesided
    if return_complex:
        half = sides_of(onesided, True)
    check_istft(begin, input, n_fft, hop, win, window, half)
    full = centered(window, n_fft, win, input.dtype)
    norm = "ortho" if normalized else None
    transform = fft.transform if return_complex else fft.transform_back
    last = input._array.ndim - 1
    frames = transform(input.transpose(last - 1, last), [last], [n_fft], norm, False)
    found = overlapped(frames, full, hop, begin, n_fft // 2 if center else 0, center, length)
    return found


def overlapped(frames: Tensor, window: Tensor, hop: int, begin: str, start: int, center: bool,
               length: int | None) -> Tensor:
    """Frames added where they belong, divided by what the windows add up to."""
    shape = frames._array.shape
    total = shape[-1] + hop * (shape[-2] - 1)
    place = len(shape) - 2
    added = _unfold_back(frames * window, (*shape[:-2], total), place, shape[-1], hop)
    squares = (window * window).expand(shape[-2:])
    weight = _unfold_back(squares, (total,), 0, shape[-1], hop)
    stop = min(start + length, total) if length is not None else total - start
    added, weight = added[..., start:stop], weight[start:stop]
    if (np.abs(weight._array) < 1e-11).any():
        raise RuntimeError(errors.message(
            f"{begin}window overlap add min: 1", what="the windows leave samples uncovered",
            fix="a shorter hop_length, or center=True"))
    found: Tensor = added / weight
    if length is not None and start + length > total:
        warnings.warn(
            "The length of signal is shorter than the length parameter. Result is being padded "
            "with zeros in the tail. Please check your center and hop_length settings.",
            UserWarning, stacklevel=3)
        zeros = found.new_zeros((*found._array.shape[:-1], start + length - total))
        found = TORCH["cat"]([found, zeros], -1)
    return found


