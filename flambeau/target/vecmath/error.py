"""erf, erfc and erfinv."""

from __future__ import annotations

from . import coefficients as table
from .exponential import FORMATS, exp_parts, exp_reduced, power_of_two, scaled
from .lanes import Lanes, fast_two_sum, horner, horner_pair, mad, of_sixteen, two_prod, where
from .logarithm import log, log_low

__all__ = ["erf", "erfc", "erfc_low", "erfinv", "erfinv_low"]

_INFINITY = float("inf")
_LOG2E = 1.4426950408889634
_TWO_OVER_SQRT_PI = {"float": 1.128379225730896, "double": 1.1283791670955126}
_ERFC_HEAD = 1.25  # most of the constant term of ERFC's polynomial
_ERF_HIGH = {"float": 3.94, "double": 5.93}
_PIECES_PER_UNIT = 15.49 / 3.94
_SLOPE_LOW = _TWO_OVER_SQRT_PI["double"] - _TWO_OVER_SQRT_PI["float"]
_ERF_TERMS = {"float": table.ERF_F32, "double": table.ERF_F64}


def erf(x: Lanes) -> Lanes:
    """The error function.

    With AVX-512, in float: sixteen polynomials, each around a quarter; their coefficients lie in registers.
    Elsewhere ``-expm1(-g(|x|))`` with ``g(a) = -log(erfc(a))``.

    g is ``a`` times a smooth function, well approximated by one polynomial; its relative error counts
    less and less as ``exp(-g)`` falls, so that the polynomial may be loose where its condition is bad.
    """
    a = x.abs().at_most(_ERF_HIGH[x.elem])
    if x.single and x.builder.module.avx512:
        return _piecewise(a).copysign(x)
    g = mad(a, _TWO_OVER_SQRT_PI[x.elem], a * horner(a, _ERF_TERMS[x.elem]))
    t, p = exp_reduced(g, FORMATS[x.elem].bias, negate=True)
    power = power_of_two(t)
    return mad(power, -p, 1.0 - power).copysign(x)


def _piecewise(a: Lanes) -> Lanes:
    """erf of floats from 0 to where it rounds to 1, by the polynomial around the nearest of sixteen quarters."""
    magic = FORMATS["float"].magic
    t = mad(a, _PIECES_PER_UNIT, magic)
    r = mad(t - magic, -0.25, a)
    first, *rest = (of_sixteen(t.bits(), values) for values in table.ERF_F32_PIECES)
    result = rest.pop()
    for coefficient in reversed(rest):
        result = mad(result, r, coefficient)
    # What rounding took from erf's derivative at 0; the constant terms of the other pieces are too large to change.
    return mad(result, r, mad(r, _SLOPE_LOW, first))


def _folded(a: Lanes) -> Lanes:
    """The variable in which ``(1 + 2a) exp(a^2) erfc(a)`` is a polynomial (Shepherd and Laframboise, 1981)."""
    return (a - 4.0) / (a + 4.0)


def erfc_low(x: Lanes) -> Lanes:
    """``1 - erf(x)``, in double for a float result."""
    form = FORMATS["double"]
    a = x.abs().at_most(10.4)
    shift = form.magic + form.bias
    exponent = a * a * -_LOG2E
    t = exponent + shift
    gauss = horner(exponent - (t - shift), table.EXP2_LOW) * power_of_two(t)
    small = gauss * horner(_folded(a), table.ERFC_LOW) / mad(a, 2.0, 1.0)
    return where(x < 0.0, 2.0 - small, small)


def erfc(x: Lanes) -> Lanes:
    """``1 - erf(x)``, accurate where it is tiny (double)."""
    form = FORMATS["double"]
    a = x.abs().at_most(27.5)
    square, square_low = two_prod(a, a)
    t, main, tail = exp_parts(-square, 2 * form.bias)
    # exp(-square) as a sum of two numbers, times exp(-square_low)
    high, low = fast_two_sum(main.like(1.0), main)
    low = low + mad(high + tail, -square_low, tail)
    factor, factor_low = fast_two_sum(a.like(_ERFC_HEAD), horner(_folded(a), table.ERFC))
    above, above_low = two_prod(high, factor)
    above_low = mad(low, factor, mad(high, factor_low, above_low))
    below, below_low = fast_two_sum(*_ordered(a + a, a.like(1.0)))
    ratio = above / below
    product, lost = two_prod(ratio, below)
    rest = ((above - product) - lost) + mad(ratio, -below_low, above_low)
    small = scaled(ratio + rest / below, t)
    # Near 0 the folded variable has too large an error.
    near = mad(-x, horner(x * x, table.ERF_NEAR), 1.0)
    return where(a < 0.5, near, where(x < 0.0, 2.0 - small, small))


def _ordered(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """The two of them, the larger first."""
    first = a > b
    return where(first, a, b), where(first, b, a)


def _at_one(x: Lanes, result: Lanes) -> Lanes:
    """``result`` inside (-1, 1), infinities at the ends, NaN beyond."""
    a = x.abs()
    return where(a < 1.0, result, where(a.equals(1.0), x.like(_INFINITY), float("nan"))).copysign(x)


def erfinv_low(x: Lanes) -> Lanes:
    """The inverse of erf, in double for a float result (Giles, "Approximating the erfinv function", 2011)."""
    w = -log_low(mad(x, -x, 1.0).at_least(2.0**-30))
    near = horner(w - 2.5, table.ERFINV_LOW_NEAR)
    far = horner(w.sqrt() - 3.0, table.ERFINV_LOW_FAR)
    return _at_one(x, where(w < 5.0, near, far) * x.abs())


def erfinv(x: Lanes) -> Lanes:
    """The inverse of erf (double), by Giles' method with three polynomials."""
    w = -log((1.0 - x) * (x + 1.0))
    root = w.sqrt()
    near, near_low = horner_pair(w - 3.125, table.ERFINV_NEAR, 6)
    middle, middle_low = horner_pair(root - 3.25, table.ERFINV_MIDDLE, 3)
    far, far_low = horner_pair(root - 5.0, table.ERFINV_FAR, 3)
    ratio = where(w < 6.25, near, where(w < 16.0, middle, far))
    low = where(w < 6.25, near_low, where(w < 16.0, middle_low, far_low))
    a = x.abs()
    product, lost = two_prod(ratio, a)
    return _at_one(x, product + mad(low, a, lost))
