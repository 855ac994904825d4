"""The windows.  A symmetric one (``sym``) reaches its end; a periodic one is all but the last of one more point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from ... import ops
from ...dtype import dtype as dtype_
from ...dtype import float32, float64, get_default_dtype
from ...ops import members
from ...ops.windows import kaiser_points
from ...tensor import Tensor

__all__ = [
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming", "hann",
    "kaiser", "nuttall",
]  # fmt: skip


def _window(
    name: str,
    points: int,
    sym: bool,
    shape: Callable[[Any, int], Any],
    dtype: Any,
    layout: Any,
    device: Any,
    grad: bool,
) -> Tensor:
    """The values of ``shape(k, n)`` at k = 0 ... of n points, computed in double precision."""
    kind = dtype or get_default_dtype()
    if points < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={points}")
    if layout is not None and layout is not members.strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if kind not in (float32, float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {kind}")
    if points <= 1:
        values = ops.ones(points, dtype=float64)
    else:
        values = shape(ops.arange(points, dtype=float64), points if sym else points + 1)
    return values.to(device=device, dtype=kind).requires_grad_(grad)


def _turns(k: Any, n: int) -> Any:
    """The angle, once around over the window."""
    return k * (2 * math.pi / (n - 1))


def _defined(name: str, text: str, shape: Callable[..., Any]) -> Callable[..., Tensor]:
    """A window without parameters."""

    def window(
        M: int, *, sym: bool = True, dtype: dtype_ | None = None, layout: Any = members.strided, device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:  # fmt: skip
        return _window(name, M, sym, shape, dtype, layout, device, requires_grad)

    window.__name__ = window.__qualname__ = name
    window.__doc__ = f"{text} Raises ValueError for a negative length and for other types than float32 and float64."
    return window


def _cosines(k: Any, n: int, weights: Iterable[float]) -> Any:
    """``w0 - w1 cos x + w2 cos 2x - ...``."""
    angle = _turns(k, n)
    total: Any = 0.0
    for i, weight in enumerate(weights):
        total = total + (-1) ** i * weight * (i * angle).cos()
    return total


bartlett = _defined("bartlett", "A triangle from 0 to 1 to 0.", lambda k, n: 1 - (2 * k / (n - 1) - 1).abs())
blackman = _defined("blackman", "Three cosines: 0.42, 0.5, 0.08.", lambda k, n: _cosines(k, n, (0.42, 0.5, 0.08)))
cosine = _defined(
    "cosine", "Half a turn of a sine, between the points.", lambda k, n: ((k + 0.5) * (math.pi / n)).sin()
)
hann = _defined("hann", "A raised cosine from 0 to 1 to 0.", lambda k, n: _cosines(k, n, (0.5, 0.5)))
hamming = _defined("hamming", "A raised cosine, 0.54 and 0.46.", lambda k, n: _cosines(k, n, (0.54, 0.46)))
nuttall = _defined(
    "nuttall",
    "Four cosines (A. H. Nuttall, Some windows with very good sidelobe behavior, 1981).",
    lambda k, n: _cosines(k, n, (0.3635819, 0.4891775, 0.1365995, 0.0106411)),
)


def general_cosine(
    M: int, *, a: Iterable[float], sym: bool = True, dtype: dtype_ | None = None, layout: Any = members.strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A sum of cosines with weights ``a`` of alternating signs; ValueError for no weights, TypeError for no list."""
    if not isinstance(a, Iterable):
        raise TypeError(f"Coefficients must be a list/tuple, got {type(a).__name__}")
    weights = list(a)
    if not weights:
        raise ValueError("Coefficients cannot be empty")
    return _window("general_cosine", M, sym, lambda k, n: _cosines(k, n, weights), dtype, layout, device, requires_grad)


def general_hamming(
    M: int, *, alpha: float = 0.54, sym: bool = True, dtype: dtype_ | None = None, layout: Any = members.strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``alpha - (1 - alpha) cos x``."""
    weights = (alpha, 1.0 - alpha)
    return _window(
        "general_hamming", M, sym, lambda k, n: _cosines(k, n, weights), dtype, layout, device, requires_grad
    )


def gaussian(
    M: int, *, std: float = 1.0, sym: bool = True, dtype: dtype_ | None = None, layout: Any = members.strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The normal density of deviation ``std`` points, 1 in the middle; ValueError unless that is positive."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")

    def shape(k: Any, n: int) -> Any:
        return (-0.5 * ((k - (n - 1) / 2) / std).square()).exp()

    return _window("gaussian", M, sym, shape, dtype, layout, device, requires_grad)


def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, dtype: dtype_ | None = None,
    layout: Any = members.strided, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``exp(-|k - center| / tau)``, by default about the middle.

    Raises ValueError unless ``tau`` is positive, and for a ``center`` of a symmetric window.
    """
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError(f"Center must be None for symmetric windows, got {center}")

    def shape(k: Any, n: int) -> Any:
        return (-(k - ((n - 1) / 2 if center is None else center)).abs() / tau).exp()

    return _window("exponential", M, sym, shape, dtype, layout, device, requires_grad)


def kaiser(
    M: int, *, beta: float = 12.0, sym: bool = True, dtype: dtype_ | None = None, layout: Any = members.strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``I0(beta sqrt(1 - t^2)) / I0(beta)`` of t from -1 to 1; ValueError for a negative ``beta``."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")

    def shape(k: Any, n: int) -> Any:
        return kaiser_points(len(k), n - 1, beta, dtype or get_default_dtype())

    return _window("kaiser", M, sym, shape, dtype, layout, device, requires_grad)
