"""Window functions, for spectrograms and filters (Harris 1978)."""

from __future__ import annotations

import importlib
import math
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import Scalar, operator
from ..dtype import dtype as dtype_
from ..tensor import Tensor
from . import create
from .common import factory
from .convert import convert
from .fitted import FITTED
from .special import host

__all__ = ["bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window"]


@operator(method=False, function=False, differentiable=False, out=False)
def _cosine_sum(turn: Scalar, length: int, weights: tuple[float, ...], dtype: dtype_) -> Tensor:
    """``w0 - w1 cos(k turn) + w2 cos(2 k turn) - ...`` for k = 0 ... length - 1, in double precision."""
    g, work = prim.apply, dtypes.float64
    angle = g("mul", prim.cast(prim.iota((length,), 0), work), prim.cast(turn, work))
    total = prim.const(weights[0], work)
    for i, weight in enumerate(weights[1:], 1):
        wave = g("cos", g("mul", angle, prim.const(i, work)))
        total = g("add", total, g("mul", wave, prim.const((-1) ** i * weight, work)))
    return prim.cast(total, dtype)


@operator(method=False, function=False, differentiable=False, out=False)
def _sine_square(turn: Scalar, length: int, dtype: dtype_) -> Tensor:
    """``sin(k turn) ** 2`` for k = 0 ... length - 1, in double precision."""
    work = dtypes.float64
    wave = prim.apply("sin", prim.apply("mul", prim.cast(prim.iota((length,), 0), work), prim.cast(turn, work)))
    return prim.cast(prim.apply("mul", wave, wave), dtype)


@operator(method=False, function=False, differentiable=False, out=False)
def _triangle(slope: Scalar, length: int, dtype: dtype_) -> Tensor:
    """``1 - |k slope - 1|`` for k = 0 ... length - 1, in double precision."""
    g, work = prim.apply, dtypes.float64
    one = prim.const(1, work)
    along = g("sub", g("mul", prim.cast(prim.iota((length,), 0), work), prim.cast(slope, work)), one)
    return prim.cast(g("sub", one, g("abs", along)), dtype)


def _finish(
    name: str, length: int, periodic: bool, shape: Any, dtype: dtype_ | None, device: Any, requires_grad: bool
) -> Tensor:
    """The window that ``shape(length, n, dtype)`` makes, of n + 1 points; a periodic one is all but the last of one
    more point."""
    kind = dtype or dtypes.get_default_dtype()
    if kind.kind != "f":
        raise RuntimeError(f"{name}() expects floating point dtypes, got: {kind}")
    if length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={length}")
    if length <= 1:
        made = create.ones(length, dtype=kind, device=device)
    else:
        made = convert(shape(length, length if periodic else length - 1, kind), kind, device)
    return made.requires_grad_() if requires_grad else made  # type: ignore[attr-defined,no-any-return]


def _cosines(*weights: float) -> Any:
    """``w0 - w1 cos(x) + w2 cos(2 x)`` over one turn."""
    return lambda length, n, kind: _cosine_sum.function(2 * math.pi / n, length, weights, kind)


@operator(method=False, function=False, differentiable=False, out=False)
def _kaiser(step: Scalar, beta: Scalar, peak: Scalar, length: int, dtype: dtype_) -> Tensor:
    """``I0(beta sqrt(1 - t^2)) / I0(beta)`` at t = -1, step - 1, 2 step - 1 ..., in double precision; ``peak`` is
    ``I0(beta) / exp(beta)``."""
    g, work = prim.apply, dtypes.float64
    one, zero, top = prim.const(1, work), prim.const(0, work), prim.cast(beta, work)
    t = g("sub", g("mul", prim.cast(prim.iota((length,), 0), work), prim.cast(step, work)), one)
    x = g("mul", top, g("sqrt", g("max", g("sub", one, g("mul", t, t)), zero)))
    scaled = FITTED["i0e"](x) if dtype is dtypes.float32 else host("scipy.special", "i0e", x)
    return prim.cast(g("div", g("mul", scaled, g("exp", g("sub", x, top))), prim.cast(peak, work)), dtype)


def kaiser_points(length: int, n: int, beta: float, dtype: dtype_) -> Tensor:
    """The first ``length`` of n + 1 points of Kaiser's window (1974): ``I0(beta sqrt(1 - (2 k / n - 1)^2)) /
    I0(beta)``."""
    peak = float(importlib.import_module("scipy.special").i0e(beta))
    return _kaiser.function(2 / n, float(beta), peak, length, dtype)  # type: ignore[no-any-return]


@factory
def hann_window(
    window_length: int, periodic: bool = True, *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``sin(pi k / n) ** 2``, with n = ``window_length`` points a turn (one less if not ``periodic``)."""

    def shape(length: int, n: int, kind: dtype_) -> Tensor:
        return _sine_square.function(math.pi / n, length, kind)  # type: ignore[no-any-return]

    return _finish("hann_window", window_length, periodic, shape, dtype, device, requires_grad)


@factory
def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: dtype_ | None = None,
    layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``alpha - beta cos(2 pi k / n)``."""
    return _finish("hamming_window", window_length, periodic, _cosines(alpha, beta), dtype, device, requires_grad)


@factory
def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``0.42 - 0.5 cos(2 pi k / n) + 0.08 cos(4 pi k / n)``."""
    return _finish("blackman_window", window_length, periodic, _cosines(0.42, 0.5, 0.08), dtype, device, requires_grad)


@factory
def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A triangle: ``1 - |2 k / n - 1|``."""

    def shape(length: int, n: int, kind: dtype_) -> Tensor:
        return _triangle.function(2 / n, length, kind)  # type: ignore[no-any-return]

    return _finish("bartlett_window", window_length, periodic, shape, dtype, device, requires_grad)


@factory
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``I0(beta sqrt(1 - (2 k / n - 1) ** 2)) / I0(beta)`` (Kaiser 1974)."""

    def shape(length: int, n: int, kind: dtype_) -> Tensor:
        return kaiser_points(length, n, beta, kind)

    return _finish("kaiser_window", window_length, periodic, shape, dtype, device, requires_grad)
