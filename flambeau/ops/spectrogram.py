"""Spectrograms: ``stft`` and its inverse."""

from __future__ import annotations

from .. import device as devices
from ..dispatch.operator import operator
from ..tensor import Tensor
from . import create
from .fft import c2c, c2r, floating, r2c
from .pad import pad
from .shape import view_as_real

__all__: list[str] = []


def _window(name: str, window: Tensor | None, win_length: int, n_fft: int, like: Tensor) -> Tensor:
    """The window in the middle of ``n_fft`` points."""
    if window is not None and (window.ndim != 1 or window.shape[0] != win_length):
        raise RuntimeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={win_length}, but "
            f"got window with size {list(window.shape)}"
        )
    kind = like.dtype.to_real()
    w = create.ones(win_length, dtype=kind, device=like.device) if window is None else window
    if win_length == n_fft:
        return w
    left = (n_fft - win_length) // 2
    return w.new_zeros(n_fft).slice_scatter(w, 0, left, left + win_length)  # type: ignore[attr-defined,no-any-return]


@operator(kind="composite", out=False)
def stft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True,
    pad_mode: str = "reflect", normalized: bool = False, onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:  # fmt: skip
    """The short-time Fourier transform of signals (T,) or (B, T): (B, frequencies, frames).

    Frames of ``n_fft`` points, ``hop_length`` (by default a quarter) apart, are multiplied by ``window`` and
    transformed; with ``center``, frame t is centred at ``t * hop_length`` of the signal extended by ``pad_mode``.
    ``onesided`` (for real signals) keeps half of the frequencies.  Raises RuntimeError for sizes that do not fit.
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    if input.dtype.kind not in "fc":
        raise RuntimeError(f"stft: expected a tensor of floating point or complex values, got {input.dtype}")
    if input.dtype.wide is not input.dtype:
        raise RuntimeError(f"stft: {input.dtype} is not supported; convert the input to float32 or complex64 first")
    if input.ndim not in (1, 2):
        raise RuntimeError(f"stft: expected a 1D or 2D tensor, got {input.ndim}D")
    complex_ = input.dtype.is_complex or (window is not None and window.dtype.is_complex)
    if return_complex is None:
        if not complex_:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will "
                "further require that return_complex=True in a future PyTorch release."
            )
        return_complex = True
    if align_to_window is not None and center:
        raise RuntimeError("stft align_to_window should only be set when center = false.")
    x = input.unsqueeze(0) if input.ndim == 1 else input  # type: ignore[attr-defined]
    if center:
        x = pad.function(x, (n_fft // 2, n_fft // 2), pad_mode)
    n = x.shape[1]
    if not 0 < n_fft <= n:
        raise RuntimeError(f"stft: expected 0 < n_fft <= {n}, but got n_fft={n_fft}")
    if hop <= 0:
        raise RuntimeError(f"stft: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < width <= n_fft:
        raise RuntimeError(f"stft: expected 0 < win_length <= n_fft, but got win_length={width}")
    w = _window("stft", window, width, n_fft, x)
    if align_to_window and width < n_fft:
        left = (n_fft - width) // 2
        x = x.narrow(1, left, n - 2 * left) if left else x  # type: ignore[attr-defined]
    frames = x.unfold(1, n_fft, hop) * w  # type: ignore[attr-defined]
    half = (not complex_) if onesided is None else onesided
    if half and complex_:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    scale = 1 if normalized else 0
    found = r2c(frames, (2,), scale, True) if half else c2c(floating("stft", frames, True), (2,), scale, True)
    found = found.transpose(1, 2)
    found = found.squeeze(0) if input.ndim == 1 else found
    return found if return_complex else view_as_real.function(found)  # type: ignore[no-any-return]


@operator(kind="composite", out=False)
def istft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True,
    normalized: bool = False, onesided: bool | None = None, length: int | None = None, return_complex: bool = False,
) -> Tensor:  # fmt: skip
    """The signal whose ``stft`` is nearest to ``input`` (Griffin and Lim 1984): frames are transformed back, multiplied
    by the window, added where they overlap, and divided by the sum of the windows' squares, which must not be zero
    (RuntimeError)."""
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    if not input.dtype.is_complex:
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    if input.numel() == 0:
        raise RuntimeError("istft(...): input tensor cannot be empty.")
    if input.ndim not in (2, 3):
        raise RuntimeError(f"istft(...): expected a tensor with 2 or 3 dimensions, but got {input.ndim}")
    points = input.shape[-2]
    half = points != n_fft if onesided is None else onesided
    if (half and points != n_fft // 2 + 1) or (not half and points != n_fft):
        raise RuntimeError(
            "istft(...): expected the frequency dimension (3rd to the last) of the input tensor "
            f"to match {'n_fft / 2 + 1' if half else 'n_fft'} when onesided={half}, but got "
            f"{points}"
        )
    if not 0 < hop <= width:
        raise RuntimeError(
            f"istft(...): expected 0 < hop_length <= win_length, got hop_length={hop}, win_length={width}"
        )
    if not 0 < width <= n_fft:
        raise RuntimeError(f"istft(...): expected 0 < win_length <= n_fft, got win_length={width}")
    if return_complex and half:
        raise RuntimeError("cannot have onesided output if window or input is complex")
    if not return_complex and window is not None and window.dtype.is_complex:
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    x = (input.unsqueeze(0) if input.ndim == 2 else input).transpose(1, 2)  # type: ignore[attr-defined]
    w = _window("istft", window, width, n_fft, input)
    scale = 1 if normalized else 2
    if return_complex:
        frames = c2c(x, (2,), scale, False)
    else:
        frames = c2r(x if half else x.narrow(2, 0, n_fft // 2 + 1), (2,), scale, n_fft, False)
    count = frames.shape[1]
    total = n_fft + hop * (count - 1)
    signal = _overlap(frames * w, hop, total)
    weight = _overlap((w * w).expand((1, count, n_fft)), hop, total)  # type: ignore[attr-defined]
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - n_fft // 2 if center else total
    stop = min(end, total)
    signal, weight = signal.narrow(1, start, stop - start), weight.narrow(1, start, stop - start)  # type: ignore[attr-defined]
    if weight.device is not devices.meta and weight.numel() and float(abs(weight).min()) <= 1e-11:
        raise RuntimeError("window overlap add min: 1")
    signal = signal / weight
    if end > stop:
        signal = signal.new_zeros((signal.shape[0], end - start)).slice_scatter(signal, 1, 0, stop - start)
    return signal.squeeze(0) if input.ndim == 2 else signal


def _overlap(frames: Tensor, hop: int, total: int) -> Tensor:
    """Frames (B, count, n) added at their places in signals of ``total`` elements."""
    batch, count, n = frames.shape
    place = (create.arange(count).unsqueeze(-1) * hop + create.arange(n)).reshape(-1)  # type: ignore[attr-defined]
    return frames.new_zeros((batch, total)).index_add(1, place, frames.reshape(batch, count * n))  # type: ignore[attr-defined,no-any-return]
