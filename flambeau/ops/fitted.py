"""Special functions in single precision by Chebyshev series that are fitted when they are first needed.

Each function is smooth on two intervals once what is not (a logarithm, an exponential, a square root, an oscillation)
is split off (Abramowitz & Stegun 9.2, 9.6, 9.7, 9.8).  The smooth parts are interpolated at Chebyshev points from
scipy's values in double precision, and the polynomials are evaluated by Horner's rule in double precision, so that the
result is that of the reference rounded once: the coefficients fall so fast that those of powers, which take one
operation each where Clenshaw's rule takes three, cost far less than single precision's digits.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtype as dtypes
from .. import primitives as prim
from ..tensor import Tensor

__all__ = ["FITTED", "fitted"]

_WORK = dtypes.float64
_DEGREE = 32  # of an interpolating polynomial; coefficients behind the last that counts are dropped
_LEAST = 1e-10  # what counts, relative to the largest
_NEAR, _FAR = 8.0, 2.0  # where the forms change: of I, J and Y, and of K
_QUARTER = math.pi / 4

Smooth = Callable[[Any, np.ndarray], np.ndarray]  # (scipy.special, points) -> values


def _number(value: float) -> Tensor:
    return prim.const(value, _WORK)


def _op(name: str, *args: Tensor | float) -> Tensor:
    return prim.apply(name, *[a if isinstance(a, Tensor) else _number(a) for a in args])


@functools.cache
def _coefficients(smooth: Smooth, top: float, least: float) -> tuple[float, ...]:
    """Of the polynomial in ``2 * x / top - 1`` on [0, top], by rising powers."""
    special = importlib.import_module("scipy.special")
    chebyshev = np.polynomial.chebyshev
    found = chebyshev.chebinterpolate(lambda t: smooth(special, (t + 1) * (top / 2)), _DEGREE)
    kept = np.flatnonzero(np.abs(found) > least * np.abs(found).max())
    return tuple(float(c) for c in chebyshev.cheb2poly(found[: kept[-1] + 1]))


def _series(smooth: Smooth, x: Tensor, top: float = 1.0, least: float = _LEAST) -> Tensor:
    """A smooth function at ``x`` in [0, top]."""
    *rest, last = _coefficients(smooth, top, least)
    t = _op("fma", x, 2 / top, -1.0)
    value = _number(last)
    for c in reversed(rest):
        value = _op("fma", value, t, c)
    return value


def _either(x: Tensor, bound: float, near: Callable[[Tensor], Tensor], far: Callable[[Tensor], Tensor]) -> Tensor:
    """``near`` up to a bound, ``far`` beyond it; both see only arguments of their own."""
    small = _op("le", x, bound)
    return _op("select", small, near(_op("min", x, bound)), far(_op("max", x, bound)))


# -- modified functions of the first kind ------------------------------------------------------------


def _i0e_near(s: Any, t: np.ndarray) -> np.ndarray:
    return s.i0e(t)  # type: ignore[no-any-return]


def _i0e_far(s: Any, u: np.ndarray) -> np.ndarray:
    return s.i0e(_NEAR / u) * np.sqrt(_NEAR / u)  # type: ignore[no-any-return]


def _i1e_near(s: Any, t: np.ndarray) -> np.ndarray:
    return s.i1e(t) / t  # type: ignore[no-any-return]


def _i1e_far(s: Any, u: np.ndarray) -> np.ndarray:
    return s.i1e(_NEAR / u) * np.sqrt(_NEAR / u)  # type: ignore[no-any-return]


def _i0e(x: Tensor) -> Tensor:
    def far(t: Tensor) -> Tensor:
        return _op("div", _series(_i0e_far, _op("div", _NEAR, t)), _op("sqrt", t))

    return _either(_op("abs", x), _NEAR, lambda t: _series(_i0e_near, t, _NEAR), far)


def _i1e(x: Tensor) -> Tensor:
    def far(t: Tensor) -> Tensor:
        return _op("div", _series(_i1e_far, _op("div", _NEAR, t)), _op("sqrt", t))

    size = _either(_op("abs", x), _NEAR, lambda t: _op("mul", t, _series(_i1e_near, t, _NEAR)), far)
    return _op("select", _op("lt", x, 0.0), _op("neg", size), size)


def _grown(scaled: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function times ``exp(|x|)``; an argument far beyond single precision's range stands for infinity."""

    def function(x: Tensor) -> Tensor:
        x = _op("select", _op("isnan", x), x, _op("min", _op("max", x, -200.0), 200.0))
        return _op("mul", scaled(x), _op("exp", _op("abs", x)))

    return function


# -- modified functions of the second kind -----------------------------------------------------------


def _i0_square(s: Any, w: np.ndarray) -> np.ndarray:
    return s.i0(np.sqrt(w))  # type: ignore[no-any-return]


def _k0_near(s: Any, w: np.ndarray) -> np.ndarray:
    t = np.sqrt(w)
    return s.k0(t) + np.log(t / 2) * s.i0(t)  # type: ignore[no-any-return]


def _k0_far(s: Any, u: np.ndarray) -> np.ndarray:
    return s.k0e(_FAR / u) * np.sqrt(_FAR / u)  # type: ignore[no-any-return]


def _i1_square(s: Any, w: np.ndarray) -> np.ndarray:
    return s.i1(np.sqrt(w)) / np.sqrt(w)  # type: ignore[no-any-return]


def _k1_near(s: Any, w: np.ndarray) -> np.ndarray:
    t = np.sqrt(w)
    return t * (s.k1(t) - np.log(t / 2) * s.i1(t))  # type: ignore[no-any-return]


def _k1_far(s: Any, u: np.ndarray) -> np.ndarray:
    return s.k1e(_FAR / u) * np.sqrt(_FAR / u)  # type: ignore[no-any-return]


def _second_kind(near: Callable[[Tensor], Tensor], far: Smooth, scaled: bool) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor) -> Tensor:
        def close(t: Tensor) -> Tensor:
            return _op("mul", near(t), _op("exp", t)) if scaled else near(t)

        def distant(t: Tensor) -> Tensor:
            value = _op("div", _series(far, _op("div", _FAR, t)), _op("sqrt", t))
            return value if scaled else _op("mul", value, _op("exp", _op("neg", t)))

        value = _either(x, _FAR, close, distant)
        value = _op("select", _op("eq", x, 0.0), math.inf, value)
        return _op("select", _op("lt", x, 0.0), math.nan, value)

    return function


def _k0_close(t: Tensor) -> Tensor:
    w, log = _op("mul", t, t), _op("log", _op("mul", t, 0.5))
    return _op("sub", _series(_k0_near, w, _FAR**2), _op("mul", log, _series(_i0_square, w, _FAR**2)))


def _k1_close(t: Tensor) -> Tensor:
    w, log = _op("mul", t, t), _op("log", _op("mul", t, 0.5))
    first = _op("mul", _op("mul", log, t), _series(_i1_square, w, _FAR**2))
    return _op("add", first, _op("div", _series(_k1_near, w, _FAR**2), t))


# -- functions that oscillate ------------------------------------------------------------------------


def _j0_square(s: Any, w: np.ndarray) -> np.ndarray:
    return s.j0(np.sqrt(w))  # type: ignore[no-any-return]


def _j1_square(s: Any, w: np.ndarray) -> np.ndarray:
    return s.j1(np.sqrt(w)) / np.sqrt(w)  # type: ignore[no-any-return]


def _y0_square(s: Any, w: np.ndarray) -> np.ndarray:
    t = np.sqrt(w)
    return s.y0(t) - 2 / np.pi * np.log(t / 2) * s.j0(t)  # type: ignore[no-any-return]


def _y1_square(s: Any, w: np.ndarray) -> np.ndarray:
    t = np.sqrt(w)
    return (s.y1(t) - 2 / np.pi * (np.log(t / 2) * s.j1(t) - 1 / t)) / t  # type: ignore[no-any-return]


@functools.cache
def _waves(order: int) -> tuple[Smooth, Smooth]:
    """P and Q of Hankel's expansion (Abramowitz & Stegun 9.2.5), as functions of (8 / t) ** 2."""

    def parts(s: Any, u: np.ndarray) -> tuple[np.ndarray, ...]:
        t = _NEAR / np.sqrt(u)
        angle = t - (2 * order + 1) * np.pi / 4
        size = np.sqrt(np.pi * t / 2)
        return size * s.jv(order, t), size * s.yv(order, t), np.cos(angle), np.sin(angle), t

    def even(s: Any, u: np.ndarray) -> np.ndarray:
        j, y, cos, sin, _ = parts(s, u)
        return j * cos + y * sin

    def odd(s: Any, u: np.ndarray) -> np.ndarray:
        j, y, cos, sin, t = parts(s, u)
        return (y * cos - j * sin) * t / _NEAR

    return even, odd


def _distant(order: int, second: bool, t: Tensor) -> Tensor:
    even, odd = _waves(order)
    ratio = _op("div", _NEAR, t)
    u = _op("mul", ratio, ratio)
    p, q = _series(even, u), _op("mul", ratio, _series(odd, u))
    angle = _op("sub", t, (2 * order + 1) * _QUARTER)
    cos, sin = _op("cos", angle), _op("sin", angle)
    wave = _op("add", _op("mul", p, sin), _op("mul", q, cos))
    if not second:
        wave = _op("sub", _op("mul", p, cos), _op("mul", q, sin))
    return _op("mul", wave, _op("sqrt", _op("div", 2 / math.pi, t)))


def _first(order: int) -> Callable[[Tensor], Tensor]:
    def near(t: Tensor) -> Tensor:
        w = _op("mul", t, t)
        return _op("mul", t, _series(_j1_square, w, _NEAR**2)) if order else _series(_j0_square, w, _NEAR**2)

    def function(x: Tensor) -> Tensor:
        value = _either(_op("abs", x), _NEAR, near, functools.partial(_distant, order, False))
        return _op("select", _op("lt", x, 0.0), _op("neg", value), value) if order else value

    return function


def _second(order: int) -> Callable[[Tensor], Tensor]:
    def near(t: Tensor) -> Tensor:
        w, log = _op("mul", t, t), _op("mul", _op("log", _op("mul", t, 0.5)), 2 / math.pi)
        if not order:
            return _op("add", _series(_y0_square, w, _NEAR**2), _op("mul", log, _series(_j0_square, w, _NEAR**2)))
        smooth = _op("add", _series(_y1_square, w, _NEAR**2), _op("mul", log, _series(_j1_square, w, _NEAR**2)))
        return _op("sub", _op("mul", t, smooth), _op("div", 2 / math.pi, t))

    def function(x: Tensor) -> Tensor:
        value = _either(x, _NEAR, near, functools.partial(_distant, order, True))
        value = _op("select", _op("eq", x, 0.0), -math.inf, value)
        return _op("select", _op("lt", x, 0.0), math.nan, value)

    return function


# -- Airy's function ---------------------------------------------------------------------------------

_AIRY_TURN = 2.0  # from here on Ai is an exponential times a series in 1 / zeta
_AIRY_TOP = 1 / (2 / 3 * _AIRY_TURN**1.5)
_DOUBLE = 2e-15  # coefficients below are rounding errors of the reference


def _airy_right(s: Any, t: np.ndarray) -> np.ndarray:
    return s.airy(t)[0]  # type: ignore[no-any-return]


def _airy_left(s: Any, t: np.ndarray) -> np.ndarray:
    return s.airy(-t)[0]  # type: ignore[no-any-return]


def _airy_decay(s: Any, u: np.ndarray) -> np.ndarray:
    x = (1.5 / u) ** (2 / 3)
    return s.airye(x)[0] * np.sqrt(np.sqrt(x))  # type: ignore[no-any-return]


def _airy_terms() -> tuple[float, ...]:
    """The coefficients c of the expansions in 1 / zeta (Abramowitz & Stegun 10.4.58); at 8 the last is 1e-13."""
    return tuple(math.prod(range(2 * k + 1, 6 * k, 2)) / (216**k * math.factorial(k)) for k in range(16))


def _airy(x: Tensor) -> Tensor:
    """Ai, to 3e-13 of its amplitude (Abramowitz & Stegun 10.4.59, 10.4.60)."""

    def decaying(t: Tensor) -> Tensor:
        root = _op("sqrt", t)
        zeta = _op("mul", _op("mul", t, root), 2 / 3)
        # a far argument is one whose exponential is zero
        size = _series(_airy_decay, _op("div", 1.0, zeta), _AIRY_TOP, _DOUBLE)
        return _op("div", _op("mul", size, _op("exp", _op("neg", zeta))), _op("sqrt", root))

    def waving(t: Tensor) -> Tensor:
        root = _op("sqrt", t)
        zeta = _op("mul", _op("mul", t, root), 2 / 3)
        u = _op("div", 1.0, zeta)
        square, terms = _op("neg", _op("mul", u, u)), _airy_terms()
        even, odd = _number(terms[14]), _number(terms[15])
        for k in range(12, -1, -2):
            even = _op("add", _op("mul", even, square), terms[k])
            odd = _op("add", _op("mul", odd, square), terms[k + 1])
        angle = _op("add", zeta, _QUARTER)
        wave = _op("sub", _op("mul", even, _op("sin", angle)), _op("mul", _op("mul", odd, u), _op("cos", angle)))
        return _op("div", wave, _op("mul", _op("sqrt", root), math.sqrt(math.pi)))

    def right(t: Tensor) -> Tensor:
        return _either(t, _AIRY_TURN, lambda r: _series(_airy_right, r, _AIRY_TURN, _DOUBLE), decaying)

    def left(t: Tensor) -> Tensor:
        return _either(t, _NEAR, lambda r: _series(_airy_left, r, _NEAR, _DOUBLE), waving)

    zero = _number(0.0)
    negative = _op("lt", x, 0.0)
    value = _op("select", negative, left(_op("max", _op("neg", x), zero)), right(_op("max", x, zero)))
    return _op("select", _op("lt", _op("abs", x), math.inf), value, math.nan)


# -- the error function's relatives ------------------------------------------------------------------


def _erfcx_fold(s: Any, y: np.ndarray) -> np.ndarray:
    """``t erfcx(t) + erfcx(t)`` by ``y = 4 / (4 + t)``, which takes [0, inf) to (0, 1]."""
    t = 4 / y - 4
    return s.erfcx(t) * (t + 1)  # type: ignore[no-any-return]


def _erfcx(x: Tensor) -> Tensor:
    t = _op("abs", x)
    value = _op("div", _series(_erfcx_fold, _op("div", 4.0, _op("add", t, 4.0))), _op("add", t, 1.0))
    mirrored = _op("sub", _op("mul", _op("exp", _op("mul", x, x)), 2.0), value)
    return _op("select", _op("lt", x, 0.0), mirrored, value)


def _log_ndtr(x: Tensor) -> Tensor:
    a = _op("mul", x, -math.sqrt(0.5))
    lower = _op("sub", _op("log", _op("mul", _erfcx(_op("max", a, -1.0)), 0.5)), _op("mul", a, a))
    upper = _op("log1p", _op("mul", _op("erfc", _op("neg", a)), -0.5))
    return _op("select", _op("gt", x, 0.0), upper, lower)


# -- the normal distribution's quantiles -------------------------------------------------------------

_MIDDLE = 0.425  # how far from 1/2 the quantile is an odd series
_TAIL, _END = 1.6, 10.2  # sqrt(-log(q)) of probabilities from 0.075 down to single precision's least


def _ndtri_middle(s: Any, w: np.ndarray) -> np.ndarray:
    d = np.sqrt(w)
    return s.ndtri(0.5 + d) / d  # type: ignore[no-any-return]


def _ndtri_tail(s: Any, r: np.ndarray) -> np.ndarray:
    return -s.ndtri(np.exp(-((r + _TAIL) ** 2)))  # type: ignore[no-any-return]


def _ndtri(x: Tensor) -> Tensor:
    """As Wichura's AS 241 (1988) cuts the interval."""
    d = _op("sub", x, 0.5)
    square = _op("min", _op("mul", d, d), _MIDDLE**2)
    middle = _op("mul", d, _series(_ndtri_middle, square, _MIDDLE**2))
    less = _op("max", _op("min", _op("min", x, _op("sub", 1.0, x)), 0.5 - _MIDDLE), 1e-45)
    tail = _series(_ndtri_tail, _op("sub", _op("sqrt", _op("neg", _op("log", less))), _TAIL), _END - _TAIL)
    tail = _op("select", _op("lt", d, 0.0), _op("neg", tail), tail)
    value = _op("select", _op("le", _op("abs", d), _MIDDLE), middle, tail)
    value = _op("select", _op("eq", x, 0.0), -math.inf, _op("select", _op("eq", x, 1.0), math.inf, value))
    return _op("select", _op("and", _op("ge", x, 0.0), _op("le", x, 1.0)), value, math.nan)


FITTED: dict[str, Callable[[Tensor], Tensor]] = {
    "i0": _grown(_i0e),
    "i0e": _i0e,
    "i1": _grown(_i1e),
    "i1e": _i1e,
    "k0": _second_kind(_k0_close, _k0_far, False),
    "k0e": _second_kind(_k0_close, _k0_far, True),
    "k1": _second_kind(_k1_close, _k1_far, False),
    "k1e": _second_kind(_k1_close, _k1_far, True),
    "j0": _first(0),
    "j1": _first(1),
    "y0": _second(0),
    "y1": _second(1),
    "erfcx": _erfcx,
    "log_ndtr": _log_ndtr,
    "airy": _airy,
    "ndtri": _ndtri,
}


def fitted(name: str, x: Tensor) -> Tensor:
    """The function of scipy's name at each element, in the body of an operator: in single precision, and Airy's in
    double precision too."""
    return prim.cast(FITTED[name](prim.cast(x, _WORK)), x.dtype)
