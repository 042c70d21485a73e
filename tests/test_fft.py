"""torch.fft, stft and windows: identities, gradients, messages, and PyTorch side by side."""

from __future__ import annotations

import math

import numpy as np
import pytest

import kkori
from kkori import fft
from kkori.autograd import gradcheck, gradgradcheck
from kkori.signal import windows

NORMS = (None, "backward", "forward", "ortho")


def signal(*shape, kind="complex128", seed=0):
    generator = np.random.default_rng(seed)
    real = generator.standard_normal(shape)
    wave = real + 1j * generator.standard_normal(shape)
    return kkori.tensor((wave if kind.startswith("complex") else real).astype(kind))


def close(a, b, tolerance=1e-10):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), tolerance, tolerance)


def by_definition(x, forward=True):
    """The sum that a Fourier transform is, along the last dimension."""
    n = x.shape[-1]
    sign = -1 if forward else 1
    return x @ np.exp(sign * 2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 12])
def test_the_sum_that_it_is(n):
    x = signal(2, n)
    close(fft.fft(x), by_definition(x.numpy()))
    close(fft.ifft(x), by_definition(x.numpy(), False) / n)
    r = signal(2, n, kind="float64")
    close(fft.rfft(r), by_definition(r.numpy())[:, :n // 2 + 1])
    close(fft.hfft(fft.ihfft(r), n), r)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 5)])
def test_there_and_back(shape, norm):
    x, r = signal(*shape), signal(*shape, kind="float64")
    close(fft.ifftn(fft.fftn(x, norm=norm), norm=norm), x)
    close(fft.irfftn(fft.rfftn(r, norm=norm), shape, norm=norm), r)
    close(fft.hfftn(fft.ihfftn(r, norm=norm), shape, norm=norm), r)
    close(fft.irfft(fft.rfft(r, norm=norm), shape[-1], norm=norm), r)
    if len(shape) > 1:
        close(fft.ifft2(fft.fft2(x, norm=norm), norm=norm), x)
        close(fft.irfft2(fft.rfft2(r, norm=norm), shape[-2:], norm=norm), r)


def test_energy_is_kept():
    x = signal(5, 6)
    close((fft.fftn(x, norm="ortho").abs() ** 2).sum(), (x.abs() ** 2).sum())


def test_longer_is_continued_with_zeros_and_shorter_cut():
    x = signal(5)
    longer = kkori.cat([x, kkori.zeros(3, dtype=x.dtype)])
    close(fft.fft(x, 8), fft.fft(longer))
    close(fft.fft(x, 3), fft.fft(x[:3]))
    assert fft.fftn(signal(2, 3), s=(-1, 5)).shape == (2, 5)


@pytest.mark.parametrize(("given", "found"), [
    ("float32", "complex64"), ("float64", "complex128"), ("int64", "complex64"),
    ("bool", "complex64"), ("complex64", "complex64")])
def test_types(given, found):
    x = kkori.ones(4).to(getattr(kkori, given))
    assert fft.fft(x).dtype is getattr(kkori, found)
    if given == "float32":
        assert fft.irfft(fft.rfft(x)).dtype is kkori.float32


def test_frequencies_and_shifts():
    close(fft.fftfreq(5), [0, 0.2, 0.4, -0.4, -0.2], 1e-7)
    close(fft.fftfreq(4, 0.5), [0, 0.5, -1, -0.5], 1e-7)
    close(fft.rfftfreq(5, dtype=kkori.float64), [0, 0.2, 0.4])
    x = signal(4, 5)
    for dim in (None, 0, (0, 1)):
        close(fft.fftshift(x, dim), np.fft.fftshift(x.numpy(), dim))
        close(fft.ifftshift(fft.fftshift(x, dim), dim), x)


ONE = {name: getattr(fft, name) for name in ("fft", "ifft", "irfft", "hfft")}
REAL = {name: getattr(fft, name) for name in ("rfft", "ihfft", "rfftn", "ihfftn")}
SEVERAL = {name: getattr(fft, name) for name in ("fftn", "ifftn", "irfftn", "hfftn")}


@pytest.mark.parametrize("norm", [None, "ortho"])
@pytest.mark.parametrize("name", [*ONE, *SEVERAL])
def test_gradients_of_complex_signals(name, norm):
    function = {**ONE, **SEVERAL}[name]
    x = signal(2, 3).requires_grad_(True)
    assert gradcheck(lambda a: function(a, norm=norm), (x,))
    assert gradcheck(lambda a: function(a, 4 if name in ONE else (4, 2)), (x,))


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("length", [4, 5])
def test_gradients_of_real_signals(name, length):
    x = signal(2, length, kind="float64").requires_grad_(True)
    assert gradcheck(REAL[name], (x,))
    assert gradgradcheck(lambda a: REAL[name](a).abs(), (x,), rtol=1e-3, atol=1e-4)


def test_gradients_of_shifts():
    assert gradcheck(fft.fftshift, (signal(3, 2).requires_grad_(True),))


WRONG = [
    (lambda: fft.fft(kkori.ones(4), 0), RuntimeError,
     "Invalid number of data points (0) specified"),
    (lambda: fft.fft(kkori.ones(4), norm="bad"), RuntimeError, 'Invalid normalization mode: "bad"'),
    (lambda: fft.fft(kkori.ones(4), dim=3), IndexError,
     "Dimension out of range (expected to be in range of [-1, 0], but got 3)"),
    (lambda: fft.fft(kkori.tensor(1.0)), IndexError,
     "Dimension specified as -1 but tensor has no dimensions"),
    (lambda: fft.fft(kkori.ones(4).half()), RuntimeError, "Unsupported dtype Half"),
    (lambda: fft.rfft(kkori.ones(4) + 0j), RuntimeError,
     "rfft expects a real input tensor, but got ComplexFloat"),
    (lambda: fft.rfft2(kkori.ones(2, 4) + 0j), RuntimeError,
     "rfftn expects a real-valued input tensor, but got ComplexFloat"),
    (lambda: fft.fft2(kkori.ones(3, 4), dim=(0, 0)), RuntimeError, "FFT dims must be unique"),
    (lambda: fft.fftn(kkori.ones(3, 4), s=(2, 2, 2)), RuntimeError,
     "Got shape with 3 values but input tensor only has 2 dimensions."),
    (lambda: fft.irfftn(kkori.ones(3, 4), dim=()), RuntimeError,
     "irfftn must transform at least one axis"),
    (lambda: fft.fft(kkori.ones(4), 2.5), TypeError,
     "fft_fft(): argument 'n' (position 2) must be int, not float"),
    (lambda: fft.fft(1), TypeError,
     "fft_fft(): argument 'input' (position 1) must be Tensor, not int"),
    (lambda: kkori.stft(kkori.ones(8), 4, window=kkori.ones(4)), RuntimeError,
     "stft requires the return_complex parameter be given for real inputs, and will further "
     "require that return_complex=True in a future PyTorch release."),
    (lambda: kkori.stft(kkori.ones(8), 4, window=kkori.ones(3), return_complex=True), RuntimeError,
     "stft(torch.FloatTensor[12], n_fft=4, hop_length=1, win_length=4, "
     "window=torch.FloatTensor{[3]}, normalized=0, onesided=None, return_complex=1, "
     "align_to_window=None) : expected a 1D window tensor of size equal to win_length=4, but got "
     "window with size [3]"),
    (lambda: kkori.istft(kkori.ones(3, 5), 4), RuntimeError,
     "istft requires a complex-valued input tensor matching the output from stft with "
     "return_complex=True."),
    (lambda: kkori.hann_window(-1), RuntimeError,
     "hann_window requires non-negative window_length, got window_length=-1"),
    (lambda: windows.gaussian(5, std=0), ValueError,
     "Standard deviation must be positive, got: 0 instead."),
]


@pytest.mark.parametrize(("call", "kind", "text"), WRONG)
def test_messages(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).splitlines()[0] == text


# Short-time transforms.

@pytest.mark.parametrize("options", [
    {}, {"normalized": True}, {"hop_length": 3}, {"onesided": False}, {"pad_mode": "constant"}])
def test_frames_and_back(options):
    x, window = signal(2, 40, kind="float64"), kkori.hann_window(8, dtype=kkori.float64)
    frames = kkori.stft(x, 8, window=window, return_complex=True, **options)
    options.pop("pad_mode", None)
    back = kkori.istft(frames, 8, window=window, length=36, **options)
    close(back, x[:, :36])


def test_one_frame_is_a_transform():
    x, window = signal(8, kind="float64"), kkori.hann_window(8, dtype=kkori.float64)
    frame = kkori.stft(x, 8, window=window, center=False, return_complex=True)
    assert frame.shape == (5, 1)
    close(frame[:, 0], fft.rfft(x * window))


def test_gradients_of_frames():
    x = signal(10, kind="float64").requires_grad_(True)
    window = kkori.hann_window(4, dtype=kkori.float64) + 0.1
    assert gradcheck(lambda a: kkori.stft(a, 4, window=window, return_complex=True), (x,))
    z = signal(3, 6).requires_grad_(True)
    assert gradcheck(lambda a: kkori.istft(a, 4, window=window), (z,))


# Windows.

def test_windows_by_their_formulas():
    k = np.arange(8)
    close(kkori.hann_window(8, dtype=kkori.float64), np.sin(np.pi * k / 8) ** 2)
    close(kkori.hann_window(8, False, dtype=kkori.float64), np.hanning(8))
    close(kkori.hamming_window(8, False, dtype=kkori.float64), np.hamming(8))
    close(kkori.blackman_window(8, False, dtype=kkori.float64), np.blackman(8))
    close(kkori.bartlett_window(8, False, dtype=kkori.float64), np.bartlett(8))
    close(kkori.kaiser_window(8, False, 5.0, dtype=kkori.float64), np.kaiser(8, 5.0))
    close(windows.gaussian(3, std=0.5, dtype=kkori.float64), [math.exp(-2), 1, math.exp(-2)])


@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_windows(length):
    for name in windows.__all__:
        extra = {"a": [1.0]} if name == "general_cosine" else {}
        assert getattr(windows, name)(length, **extra).shape == (length,)


# PyTorch side by side.

@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["float32", "complex64", "float64", "complex128"])
def test_like_pytorch(kind):
    torch = pytest.importorskip("torch")
    x = signal(3, 4, 5, kind=kind).numpy()
    loose = 1e-5 if kind in ("float32", "complex64") else 1e-11
    for name in kkori.fft.__all__:
        if "freq" in name or (name.lstrip("i")[0] in "rh" and "complex" in kind and name not in (
                "irfft", "irfft2", "irfftn", "hfft", "hfft2", "hfftn")):
            continue
        if name.startswith("ih") and "complex" in kind:
            continue
        theirs = getattr(torch.fft, name)(torch.tensor(x)).resolve_conj().numpy()
        ours = getattr(kkori.fft, name)(kkori.tensor(x)).numpy()
        assert theirs.dtype == ours.dtype, name
        np.testing.assert_allclose(ours, theirs, loose, loose * 10, err_msg=name)


@pytest.mark.oracle
@pytest.mark.parametrize("periodic", [False, True])
def test_windows_like_pytorch(periodic):
    torch = pytest.importorskip("torch")
    for length in (0, 1, 2, 5, 8):
        for name in ("hann_window", "hamming_window", "blackman_window", "bartlett_window",
                     "kaiser_window"):
            pair = [getattr(library, name)(length, periodic, dtype=library.float64).numpy()
                    for library in (torch, kkori)]
            close(*pair)
        for name in windows.__all__:
            extra = {"a": [0.3, 0.5, 0.2]} if name == "general_cosine" else {}
            pair = [getattr(library.signal.windows, name)(
                length, sym=not periodic, dtype=library.float64, **extra).numpy()
                for library in (torch, kkori)]
            close(*pair)
