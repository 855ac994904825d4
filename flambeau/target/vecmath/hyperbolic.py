"""sinh, cosh and the inverse hyperbolic functions.

The inverses in double take the logarithm of a sum of two numbers.  For float lanes there are versions in
double arithmetic that need no such care.
"""

from __future__ import annotations

from . import coefficients as table
from .exponential import FORMATS, exp_reduced, scaled
from .lanes import Lanes, fast_two_sum, horner, mad, two_prod, two_sum, where
from .logarithm import log1p_pair, log_low

__all__ = ["acosh", "acosh_low", "asinh", "asinh_low", "atanh", "atanh_low", "cosh", "sinh"]

_INFINITY = float("inf")
_NEAR_ZERO = 2.0**-13  # below, two terms of a series are enough for float
_HUGE = 2.0**30  # from here on x^2 + 1 and x^2 - 1 are x^2


def _half_exp(a: Lanes) -> Lanes:
    """``exp(a) / 2`` for a >= 0, infinite only where that is."""
    form = FORMATS[a.elem]
    t, p = exp_reduced(a.at_most(form.exp_high + 1.0), 2 * form.bias - 1)
    return scaled(p + 1.0, t)


def sinh(x: Lanes) -> Lanes:
    """Hyperbolic sine: a polynomial up to 1, beyond it exponentials."""
    a = x.abs()
    z = a * a
    small = mad(a * z, horner(z, table.SINH_F32 if x.single else table.SINH_F64), a)
    half = _half_exp(a)
    return where(a < 1.0, small, half - 0.25 / half).copysign(x)


def cosh(x: Lanes) -> Lanes:
    """Hyperbolic cosine."""
    half = _half_exp(x.abs())
    return half + 0.25 / half


def _sqrt_pair(high: Lanes, low: Lanes) -> tuple[Lanes, Lanes]:
    """The square root of ``high + low`` as a sum of two numbers; 0 of 0."""
    root = high.sqrt()
    square, lost = two_prod(root, root)
    rest = (((high - square) - lost) + low) / (root + root)
    return root, where(root > 0.0, rest, 0.0)


def asinh(x: Lanes) -> Lanes:
    """Inverse hyperbolic sine (double): ``log(a + sqrt(a^2 + 1))``."""
    a = x.abs()
    bounded = a.at_most(_HUGE)
    square, lost = two_prod(bounded, bounded)
    total, rest = two_sum(square, x.like(1.0))
    root, root_low = _sqrt_pair(total, rest + lost)
    # a + sqrt(a^2 + 1) less 1, so that small arguments keep their digits: sqrt(a^2 + 1) - 1 is exact enough.
    above, above_low = fast_two_sum(root - 1.0, root_low)
    high, low = two_sum(bounded, above)
    huge = a > _HUGE
    result = log1p_pair(where(huge, a, high), where(huge, 0.0, low + above_low), huge)
    return where(a < 2.0**-27, a, where(a < _INFINITY, result, a)).copysign(x)


def acosh(x: Lanes) -> Lanes:
    """Inverse hyperbolic cosine (double): ``log1p(t + sqrt(t^2 + 2t))`` with t = x - 1."""
    t = x.at_most(_HUGE) - 1.0
    square, lost = two_prod(t, t)
    total, rest = two_sum(t + t, square)
    root, root_low = _sqrt_pair(total, rest + lost)
    high, low = two_sum(root, t)
    huge = x > _HUGE
    result = log1p_pair(where(huge, x, high), where(huge, 0.0, low + root_low), huge)
    return where(x >= 1.0, where(x < _INFINITY, result, x), float("nan"))


def atanh(x: Lanes) -> Lanes:
    """Inverse hyperbolic tangent (double): ``log1p(2a / (1 - a)) / 2``."""
    a = x.abs()
    below = 1.0 - a
    below_low = (1.0 - below) - a
    inverse = 1.0 / below
    double = a + a
    ratio = double * inverse
    product, lost = two_prod(ratio, below)
    rest = (((double - product) - lost) - ratio * below_low) * inverse
    result = log1p_pair(ratio, rest) * 0.5
    result = where(a < 2.0**-27, a, where(a < 1.0, result, where(a.equals(1.0), _INFINITY, a.like(float("nan")))))
    return result.copysign(x)


def asinh_low(x: Lanes) -> Lanes:
    """Inverse hyperbolic sine, in double for a float result."""
    a = x.abs()
    result = log_low(a + mad(a, a, 1.0).sqrt())
    small = mad(a * a * a, -1.0 / 6.0, a)
    return where(a < _NEAR_ZERO, small, where(a < _INFINITY, result, a)).copysign(x)


def acosh_low(x: Lanes) -> Lanes:
    """Inverse hyperbolic cosine, in double for a float result."""
    t = x - 1.0
    result = log_low(x + (t * (t + 2.0)).sqrt())
    return where(x >= 1.0, where(x < _INFINITY, result, x), float("nan"))


def atanh_low(x: Lanes) -> Lanes:
    """Inverse hyperbolic tangent, in double for a float result."""
    a = x.abs()
    result = log_low((a + 1.0) / (1.0 - a)) * 0.5
    small = mad(a * a * a, 1.0 / 3.0, a)
    large = where(a < 1.0, result, where(a.equals(1.0), _INFINITY, a.like(float("nan"))))
    return where(a < _NEAR_ZERO, small, large).copysign(x)
