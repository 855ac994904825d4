"""lgamma and digamma.

Both come down to an interval by recurrence, use an asymptotic series from about 6 on, and reflect negative
arguments.  Near 1 and 2 (where log gamma vanishes) and near digamma's root 1.4616 the relative error stays
small; near the roots on the negative axis only the absolute error does, which is why float lanes are computed
in full double precision.  Abramowitz and Stegun, chapter 6.
"""

from __future__ import annotations

from . import coefficients as table
from .arithmetic import rint
from .lanes import Lanes, horner, mad, two_prod, where
from .logarithm import log
from .rare import improve
from .trigonometric import sine_and_cosine

__all__ = ["digamma", "lgamma"]

_INFINITY = float("inf")
_STIRLING = 0.4189385332046727  # (log(2 pi) - 1) / 2
_LOG_PI = 1.1447298858494002
_PI = (3.141592653589793, 1.2246467991473532e-16)
_ROOT = (-0.03836785503163766, -1.6445603550442201e-18)  # digamma's root less 3/2
_TINY = 2.0**-60


def _sine_and_cosine_of_turns(a: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """``(r, sin(pi r), cos(pi r))`` with r the distance of a from the nearest integer, in [-1/2, 1/2]."""
    r = a - rint(a)
    size = r.abs()
    folded = size > 0.25
    v = where(folded, 0.5 - size, size)
    high, lost = two_prod(v, v.like(_PI[0]))
    (sine, sine_low), (cosine, cosine_low) = sine_and_cosine(high, mad(v, _PI[1], lost))
    sine, cosine = sine + sine_low, cosine + cosine_low
    return r, where(folded, cosine, sine).copysign(r), where(folded, sine, cosine)


def lgamma(x: Lanes) -> Lanes:
    """The logarithm of the magnitude of the gamma function (double)."""
    a = x.abs()
    y, product = a, a.like(1.0)
    for _ in range(4):
        above = y >= 2.25
        less = y - 1.0
        product, y = where(above, product * less, product), where(above, less, y)
    # y in [0, 2.25): gamma(2 + t) at t = y - 2, y - 1 or y, and the quotient of the two gammas.  (Split in the
    # middle, at 1.5 and 2.5, more digits would cancel where log gamma is the difference of two logarithms.)
    low_end, one_up = y < 0.25, y < 1.25
    t = where(low_end, y, where(one_up, y - 1.0, y - 2.0))
    divisor = where(low_end, mad(y, y, y), y)
    large = a >= 6.25
    logarithm = log(where(large, a, where(one_up, divisor, product)))
    middle = t * horner(t, table.LGAMMA)
    middle = middle + where(one_up, -logarithm, logarithm)
    inverse = 1.0 / a
    rest = mad(inverse, horner(inverse * inverse, table.STIRLING), _STIRLING)
    series = mad(a - 0.5, logarithm - 1.0, rest)
    result = where(large, series, middle)

    def reflected() -> Lanes:
        # gamma(x) gamma(-x) = -pi / (x sin(pi x))
        _, sine, _ = _sine_and_cosine_of_turns(a)
        value = (_LOG_PI - log(sine.abs() * a)) - result
        # from 2^52 on every number is an integer
        return where(a < _TINY, result, where(a < 2.0**52, value, _INFINITY))

    return improve(x < 0.0, result, reflected)


def digamma(x: Lanes) -> Lanes:
    """The derivative of log gamma (double)."""
    a = x.abs()
    y = a
    below_one = a < 1.0
    # The recurrence's terms 1/(y-1) + 1/(y-2) + ... (or -1/a) as one quotient
    above, below = where(below_one, a.like(-1.0), 0.0), where(below_one, a, 1.0)
    for _ in range(5):
        down = y >= 2.0
        less = y - 1.0
        above = where(down, mad(above, less, below), above)
        below = where(down, below * less, below)
        y = where(down, less, y)
    u = where(below_one, a - 0.5, y - 1.5)
    from_root = (u - _ROOT[0]) - _ROOT[1]
    between = from_root * horner(u, table.DIGAMMA)
    inverse = 1.0 / a
    w = inverse * inverse
    tail = mad(inverse, 0.5, w * horner(w, table.DIGAMMA_TAIL))
    result = where(a >= 6.5, log(a) - tail, between + above / below)

    def reflected() -> Lanes:
        # digamma(x) = digamma(-x) - 1/x + pi cot(-pi x)
        r, sine, cosine = _sine_and_cosine_of_turns(a)
        value = where(below_one, between, result + inverse) + cosine / sine * _PI[0]
        return where(r.equals(0.0), float("nan"), value)

    return where(a < _TINY, -1.0 / x, improve(x < 0.0, result, reflected))
