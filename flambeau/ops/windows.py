"""Window functions, for spectrograms and filters (Harris 1978)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .. import dtype as dtypes
from ..dtype import dtype as dtype_
from ..tensor import Tensor
from . import create

__all__ = ["bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window"]


def _finish(
    name: str, length: int, periodic: bool, shape: Any, dtype: dtype_ | None, device: Any, requires_grad: bool
) -> Tensor:
    """The window whose values at 0 ... n - 1 of n points are ``shape(k, n)``; a periodic one is all but the last of one
    more point."""
    kind = dtype or dtypes.get_default_dtype()
    if kind.kind != "f":
        raise RuntimeError(f"{name}() expects floating point dtypes, got: {kind}")
    if length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={length}")
    if length <= 1:
        values = np.ones(length)
    else:
        points = length + 1 if periodic else length
        values = shape(np.arange(length, dtype=np.float64), points - 1)
    made = create.tensor(values, dtype=kind, device=device)
    return made.requires_grad_() if requires_grad else made  # type: ignore[attr-defined,no-any-return]


def _cosines(*weights: float) -> Any:
    """``w0 - w1 cos(x) + w2 cos(2 x)`` over one turn."""
    return lambda k, n: sum((-1) ** i * w * np.cos(2 * np.pi * i * k / n) for i, w in enumerate(weights))


def hann_window(
    window_length: int, periodic: bool = True, *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``sin(pi k / n) ** 2``, with n = ``window_length`` points a turn (one less if not ``periodic``)."""
    return _finish(
        "hann_window", window_length, periodic, lambda k, n: np.sin(np.pi * k / n) ** 2, dtype, device, requires_grad
    )


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: dtype_ | None = None,
    layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``alpha - beta cos(2 pi k / n)``."""
    return _finish("hamming_window", window_length, periodic, _cosines(alpha, beta), dtype, device, requires_grad)


def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``0.42 - 0.5 cos(2 pi k / n) + 0.08 cos(4 pi k / n)``."""
    return _finish("blackman_window", window_length, periodic, _cosines(0.42, 0.5, 0.08), dtype, device, requires_grad)


def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A triangle: ``1 - |2 k / n - 1|``."""
    return _finish(
        "bartlett_window", window_length, periodic, lambda k, n: 1 - np.abs(2 * k / n - 1), dtype, device, requires_grad
    )


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``I0(beta sqrt(1 - (2 k / n - 1) ** 2)) / I0(beta)`` (Kaiser 1974)."""

    def shape(k: np.ndarray, n: int) -> np.ndarray:
        i0 = importlib.import_module("scipy.special").i0
        return i0(beta * np.sqrt(np.maximum(0, 1 - (2 * k / n - 1) ** 2))) / i0(beta)  # type: ignore[no-any-return]

    return _finish("kaiser_window", window_length, periodic, shape, dtype, device, requires_grad)
