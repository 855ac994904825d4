"""lgamma and digamma.

Both come down to an interval by recurrence, use an asymptotic series from about 6 on, and reflect negative
arguments; for positive ones, what sums and products round away is kept.  Near 1 and 2 (where log gamma vanishes) and
near digamma's root 1.4616 the relative error stays small; near the roots on the negative axis only the absolute error
does, which is why float lanes are computed in double precision, though without the parts that are rounded away.
Abramowitz and Stegun, chapter 6.
"""

from __future__ import annotations

from . import coefficients as table
from .arithmetic import rint
from .lanes import Lanes, horner, horner_pair, mad, two_prod, two_sum, where
from .logarithm import log, log_sum
from .rare import improve
from .trigonometric import sine_and_cosine

__all__ = ["digamma", "digamma_low", "lgamma", "lgamma_low"]

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
    y, product, product_low = a, a.like(1.0), a.like(0.0)
    for _ in range(4):
        above = y >= 2.25
        less = y - 1.0
        next_product, lost = two_prod(product, less)
        product_low = where(above, mad(product_low, less, lost), product_low)
        product, y = where(above, next_product, product), where(above, less, y)
    # y in [0, 2.25): gamma(2 + t) at t = y - 2, y - 1 or y, and the quotient of the two gammas.  (Split in the
    # middle, at 1.5 and 2.5, more digits would cancel where log gamma is the difference of two logarithms.)
    low_end, one_up = y < 0.25, y < 1.25
    t = where(low_end, y, where(one_up, y - 1.0, y - 2.0))
    squared, lost = two_prod(y, y)
    sum_, more = two_sum(squared, y)
    divisor, divisor_low = where(low_end, sum_, y), where(low_end, more + lost, 0.0)
    large = a >= 6.25
    argument = where(large, a, where(one_up, divisor, product))
    argument_low = where(large, 0.0, where(one_up, divisor_low, product_low))
    logarithm, logarithm_low = log_sum(argument)
    logarithm_low = logarithm_low + argument_low / argument
    slope, slope_low = horner_pair(t, table.LGAMMA, 4)
    middle, lost = two_prod(t, slope)
    middle_low = mad(t, slope_low, lost)
    sign = where(one_up, a.like(-1.0), 1.0)
    total, more = two_sum(middle, sign * logarithm)
    middle = total + (more + mad(sign, logarithm_low, middle_low))
    inverse = 1.0 / a
    rest = mad(inverse, horner(inverse * inverse, table.STIRLING), _STIRLING)
    power, less = two_sum(logarithm, a.like(-1.0))
    product, lost = two_prod(a - 0.5, power)
    lost = where(a < 2.0**900, lost, 0.0)  # beyond, the halves of a product without FMA overflow
    total, more = two_sum(product, rest)
    series = total + (more + mad(a - 0.5, less + logarithm_low, lost))
    series = where(total < _INFINITY, series, _INFINITY)  # an infinite total has no rounding error
    result = where(a < _INFINITY, where(a > 0.0, where(large, series, middle), _INFINITY), a)

    return _lgamma_everywhere(x, a, result)


def lgamma_low(x: Lanes) -> Lanes:
    """``lgamma`` in double for a float result."""
    a = x.abs()
    y, product = a, a.like(1.0)
    for _ in range(4):
        above = y >= 2.25
        less = y - 1.0
        product, y = where(above, product * less, product), where(above, less, y)
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
    return _lgamma_everywhere(x, a, result)


def _lgamma_everywhere(x: Lanes, a: Lanes, result: Lanes) -> Lanes:
    """lgamma(x) from ``result``, which is lgamma(a) at a = abs(x)."""

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
    # The recurrence's terms 1/(y-1) + 1/(y-2) + ... (or -1/a) as one quotient of sums of two numbers
    above, below = where(below_one, a.like(-1.0), 0.0), where(below_one, a, 1.0)
    above_low = below_low = a.like(0.0)
    for _ in range(5):
        down = y >= 2.0
        less = y - 1.0
        product, lost = two_prod(above, less)
        total, more = two_sum(product, below)
        above_low = where(down, mad(above_low, less, below_low + (lost + more)), above_low)
        product, lost = two_prod(below, less)
        below_low = where(down, mad(below_low, less, lost), below_low)
        above, below = where(down, total, above), where(down, product, below)
        y = where(down, less, y)
    quotient = above / below
    product, lost = two_prod(quotient, below)
    rest = ((above - product) - lost) + mad(quotient, -below_low, above_low)
    u = where(below_one, a - 0.5, y - 1.5)
    from_root = (u - _ROOT[0]) - _ROOT[1]
    slope, slope_low = horner_pair(u, table.DIGAMMA, 3)
    between, lost = two_prod(from_root, slope)
    between_low = mad(from_root, slope_low, lost)
    shifted, more = two_sum(quotient, between)
    shifted = shifted + (more + (between_low + rest / below))
    inverse = 1.0 / a
    w = inverse * inverse
    tail = mad(inverse, 0.5, w * horner(w, table.DIGAMMA_TAIL))
    result = where(a >= 6.5, log(a) - tail, shifted)

    return _digamma_everywhere(x, a, between, result)


def digamma_low(x: Lanes) -> Lanes:
    """``digamma`` in double for a float result."""
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
    return _digamma_everywhere(x, a, between, result)


def _digamma_everywhere(x: Lanes, a: Lanes, between: Lanes, result: Lanes) -> Lanes:
    """digamma(x) from ``result``, which is digamma(a) at a = abs(x), and ``between``, digamma(a + 1) for a < 1."""

    def reflected() -> Lanes:
        # digamma(x) = digamma(-x) - 1/x + pi cot(-pi x)
        r, sine, cosine = _sine_and_cosine_of_turns(a)
        value = where(a < 1.0, between, result + 1.0 / a) + cosine / sine * _PI[0]
        return where(r.equals(0.0), float("nan"), value)

    return where(a < _TINY, -1.0 / x, improve(x < 0.0, result, reflected))
