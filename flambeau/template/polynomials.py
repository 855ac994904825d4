"""Orthogonal polynomials of a degree given for each element, on arrays.

All follow the three-term recurrences of Abramowitz and Stegun 22.7; a degree is rounded towards zero, and negative ones
give 0.  The Chebyshev polynomials of high degree are evaluated by their trigonometric form within (-1, 1) (22.3.15).

The time of a recurrence grows with the degree, which may be any number of 64 bits: beyond `_STEPS` the Chebyshev
polynomials are evaluated by their hyperbolic form outside of (-1, 1), and those of Legendre and Laguerre by their
asymptotic forms of Hilb's type (G. Szego, Orthogonal Polynomials, theorems 8.21.6 and 8.22.4), whose errors fall
with the degree: about 1e-8 and 2e-4 there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import i0e, j0

__all__ = [
    "chebyshev_t", "chebyshev_u", "chebyshev_v", "chebyshev_w", "hermite_h", "hermite_he", "laguerre_l", "legendre_p",
    "shifted_chebyshev_t",
    "shifted_chebyshev_u", "shifted_chebyshev_v", "shifted_chebyshev_w",
]  # fmt: skip

Array = np.ndarray
_Step = Callable[[int, Array, Array, Array], Array]  # (k, x, p[k - 1], p[k - 2]) -> p[k]
_TRIGONOMETRIC = 8  # degrees above it
_STEPS = 1 << 16  # of a recurrence at most


def _recurrence(x: Array, n: Array, first: Array, step: _Step) -> Array:
    """The n-th polynomial, where the 0-th is 1 and the next one is ``first``."""
    before, now = np.ones_like(x), first
    result = np.where(n == 0, before, np.where(n == 1, now, np.zeros_like(x)))
    top = int(np.max(n, initial=0))
    for k in range(2, top + 1):
        before, now = now, step(k, x, now, before)
        result = np.where(n == k, now, result)
        if np.isnan(now[n > k]).all():  # nothing but NaN can follow
            return np.where(n > k, np.nan, result)
    return result


def _degrees(n: Array) -> Array:
    whole = np.trunc(np.nan_to_num(np.asarray(n, np.float64), nan=-1.0, posinf=-1.0, neginf=-1.0))
    return whole.astype(np.int64)


def _double(k: int, x: Array, now: Array, before: Array) -> Array:
    return 2 * x * now - before


_Form = Callable[[Array, Array], Array]  # (degree, angle)


def _ratio(f: _Form, over: Callable[[Array], Array]) -> _Form:
    return lambda n, t: f(n, t) / over(t)


def _hyperbolic(n: Array, x: Array, right: _Form, left: _Form, steps: Array) -> Array:
    """A Chebyshev polynomial where ``|x| >= 1``: ``right`` for positive x, ``left`` for the others, ``steps`` where x
    is one of the ends, times (-1)^n for negative x."""
    t = np.arccosh(np.maximum(np.abs(x), 1.0))
    with np.errstate(all="ignore"):
        found = np.where(x > 0, right(n, t), left(n, t))
    found = np.where(np.abs(x) == 1, steps, np.where(np.isfinite(found), found, np.nan))
    return found * np.where((x < 0) & (np.fmod(n, 2) == 1), -1.0, 1.0)


def _chebyshev(
    x: Array, n: Array, out: Array, first: Array, trigonometric: _Form, right: _Form, left: _Form,
    ends: Callable[[Array, Array], Array],
) -> None:  # fmt: skip
    x = x.astype(np.float64)
    degree = _degrees(n)
    real = degree.astype(np.float64)
    inside = (np.abs(x) < 1) & (degree > _TRIGONOMETRIC)
    far = (np.abs(x) >= 1) & (degree > _STEPS)
    plain = _recurrence(x, np.where(inside | far, 0, degree), first.astype(np.float64), _double)
    theta = np.arccos(np.where(inside, x, 0.0))
    found = np.where(inside, trigonometric(real, theta), plain)
    if far.any():
        found = np.where(far, _hyperbolic(real, x, right, left, ends(real, x)), found)
    out[...] = found


def _cosh(shift: float) -> _Form:
    return lambda n, t: np.cosh((n + shift) * t)


def _sinh(shift: float) -> _Form:
    return lambda n, t: np.sinh((n + shift) * t)


_EVEN = _ratio(_cosh(0.5), lambda t: np.cosh(t / 2))
_ODD = _ratio(_sinh(0.5), lambda t: np.sinh(t / 2))


def chebyshev_t(x: Array, n: Array, out: Array) -> None:
    """Chebyshev polynomials of the first kind."""
    form = _cosh(0)
    _chebyshev(x, n, out, x, lambda n, t: np.cos(n * t), form, form, lambda n, x: np.ones_like(x))


def chebyshev_u(x: Array, n: Array, out: Array) -> None:
    """Chebyshev polynomials of the second kind."""
    form = _ratio(_sinh(1), np.sinh)
    _chebyshev(x, n, out, 2 * x, lambda n, t: np.sin((n + 1) * t) / np.sin(t), form, form, lambda n, x: n + 1)


def chebyshev_v(x: Array, n: Array, out: Array) -> None:
    """Chebyshev polynomials of the third kind."""
    _chebyshev(
        x, n, out, 2 * x - 1, lambda n, t: np.cos((n + 0.5) * t) / np.cos(t / 2), _EVEN, _ODD,
        lambda n, x: np.where(x > 0, 1, 2 * n + 1),
    )  # fmt: skip


def chebyshev_w(x: Array, n: Array, out: Array) -> None:
    """Chebyshev polynomials of the fourth kind."""
    _chebyshev(
        x, n, out, 2 * x + 1, lambda n, t: np.sin((n + 0.5) * t) / np.sin(t / 2), _ODD, _EVEN,
        lambda n, x: np.where(x > 0, 2 * n + 1, 1),
    )  # fmt: skip


def shifted_chebyshev_t(x: Array, n: Array, out: Array) -> None:
    """``chebyshev_t(2 x - 1)``"""
    chebyshev_t(2 * x - 1, n, out)


def shifted_chebyshev_u(x: Array, n: Array, out: Array) -> None:
    """``chebyshev_u(2 x - 1)``"""
    chebyshev_u(2 * x - 1, n, out)


def shifted_chebyshev_v(x: Array, n: Array, out: Array) -> None:
    """``chebyshev_v(2 x - 1)``"""
    chebyshev_v(2 * x - 1, n, out)


def shifted_chebyshev_w(x: Array, n: Array, out: Array) -> None:
    """``chebyshev_w(2 x - 1)``"""
    chebyshev_w(2 * x - 1, n, out)


def hermite_h(x: Array, n: Array, out: Array) -> None:
    """The physicists' Hermite polynomials."""
    x = x.astype(np.float64)
    out[...] = _recurrence(x, _degrees(n), 2 * x, lambda k, x, now, before: 2 * x * now - 2 * (k - 1) * before)


def hermite_he(x: Array, n: Array, out: Array) -> None:
    """The probabilists' Hermite polynomials."""
    x = x.astype(np.float64)
    out[...] = _recurrence(x, _degrees(n), x, lambda k, x, now, before: x * now - (k - 1) * before)


def _limited(x: Array, n: Array, out: Array, first: Array, step: _Step, limit: _Form) -> None:
    """The recurrence up to `_STEPS`, and the asymptotic form ``limit(degree, x)`` beyond."""
    degree = _degrees(n)
    far = degree > _STEPS
    found = _recurrence(x, np.where(far, 0, degree), first, step)
    if far.any():
        with np.errstate(all="ignore"):
            value = limit(degree.astype(np.float64), x)
        found = np.where(far, np.where(np.isfinite(value), value, np.nan), found)
    out[...] = found


def _laguerre_limit(n: Array, x: Array) -> Array:
    root = np.sqrt((4 * n + 2) * np.abs(x))
    return np.where(x > 0, np.exp(x / 2) * j0(root), np.exp(x / 2 + root) * i0e(root))


def _legendre_limit(n: Array, x: Array) -> Array:
    size = np.abs(x)
    angle = np.arccos(np.minimum(size, 1.0))
    within = np.sqrt(np.where(angle > 0, angle / np.sin(angle), 1.0)) * j0((n + 0.5) * angle)
    growth = np.arccosh(np.maximum(size, 1.0))
    beyond = np.sqrt(np.where(growth > 0, growth / np.sinh(growth), 1.0))
    beyond = beyond * np.exp((n + 0.5) * growth) * i0e((n + 0.5) * growth)
    return np.where(size <= 1, within, beyond) * np.where((x < 0) & (np.fmod(n, 2) == 1), -1.0, 1.0)


def laguerre_l(x: Array, n: Array, out: Array) -> None:
    """Laguerre polynomials."""
    x = x.astype(np.float64)
    step: _Step = lambda k, x, now, before: ((2 * k - 1 - x) * now - (k - 1) * before) / k  # noqa: E731
    _limited(x, n, out, 1 - x, step, _laguerre_limit)


def legendre_p(x: Array, n: Array, out: Array) -> None:
    """Legendre polynomials."""
    x = x.astype(np.float64)
    step: _Step = lambda k, x, now, before: ((2 * k - 1) * x * now - (k - 1) * before) / k  # noqa: E731
    _limited(x, n, out, x, step, _legendre_limit)
