"""Orthogonal polynomials of a degree given for each element, on arrays.

All follow the three-term recurrences of Abramowitz and Stegun 22.7; a degree is rounded towards zero, and negative ones
give 0.  The Chebyshev polynomials of high degree are evaluated by their trigonometric form within (-1, 1) (22.3.15).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = [
    "chebyshev_t", "chebyshev_u", "chebyshev_v", "chebyshev_w", "hermite_h", "hermite_he", "laguerre_l", "legendre_p",
    "shifted_chebyshev_t",
    "shifted_chebyshev_u", "shifted_chebyshev_v", "shifted_chebyshev_w",
]  # fmt: skip

Array = np.ndarray
_Step = Callable[[int, Array, Array, Array], Array]  # (k, x, p[k - 1], p[k - 2]) -> p[k]
_TRIGONOMETRIC = 8  # degrees above it


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
    whole = np.trunc(np.nan_to_num(n, nan=-1.0, posinf=-1.0, neginf=-1.0))
    return whole.astype(np.int64)


def _double(k: int, x: Array, now: Array, before: Array) -> Array:
    return 2 * x * now - before


def _chebyshev(x: Array, n: Array, out: Array, first: Array, trigonometric: Callable[[Array, Array], Array]) -> None:
    x = x.astype(np.float64)
    degree = _degrees(n)
    inside = (np.abs(x) < 1) & (degree > _TRIGONOMETRIC)
    plain = _recurrence(x, np.where(inside, 0, degree), first.astype(np.float64), _double)
    theta = np.arccos(np.where(inside, x, 0.0))
    out[...] = np.where(inside, trigonometric(degree.astype(np.float64), theta), plain)


def chebyshev_t(x: Array, n: Array, out: Array) -> None:
    """Chebyshev polynomials of the first kind."""
    _chebyshev(x, n, out, x, lambda n, t: np.cos(n * t))


def chebyshev_u(x: Array, n: Array, out: Array) -> None:
    """Chebyshev polynomials of the second kind."""
    _chebyshev(x, n, out, 2 * x, lambda n, t: np.sin((n + 1) * t) / np.sin(t))


def chebyshev_v(x: Array, n: Array, out: Array) -> None:
    """Chebyshev polynomials of the third kind."""
    _chebyshev(x, n, out, 2 * x - 1, lambda n, t: np.cos((n + 0.5) * t) / np.cos(t / 2))


def chebyshev_w(x: Array, n: Array, out: Array) -> None:
    """Chebyshev polynomials of the fourth kind."""
    _chebyshev(x, n, out, 2 * x + 1, lambda n, t: np.sin((n + 0.5) * t) / np.sin(t / 2))


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


def laguerre_l(x: Array, n: Array, out: Array) -> None:
    """Laguerre polynomials."""
    x = x.astype(np.float64)
    out[...] = _recurrence(
        x, _degrees(n), 1 - x, lambda k, x, now, before: ((2 * k - 1 - x) * now - (k - 1) * before) / k
    )


def legendre_p(x: Array, n: Array, out: Array) -> None:
    """Legendre polynomials."""
    x = x.astype(np.float64)
    out[...] = _recurrence(x, _degrees(n), x, lambda k, x, now, before: ((2 * k - 1) * x * now - (k - 1) * before) / k)
