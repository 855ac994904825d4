"""log, log2, log10 and log1p.

``x = 2^e m`` with m around 1, ``f = m - 1``.  In float ``log(1+f)`` is ``f + f^2 P(f)``; in double it is
``f - s (f - s^2 R(s^2))`` with ``s = f / (2 + f)``, from the series of the inverse hyperbolic tangent, which
needs half the terms.  The bases 2 and 10 multiply a sum of two numbers by a constant that is one too.
"""

from __future__ import annotations

from . import coefficients as table
from .exponential import FORMATS
from .lanes import Lanes, avx512, fast_two_sum, has_avx512, horner, mad, two_prod, two_sum, where

__all__ = ["log", "log1p", "log2", "log10", "log_pair", "split"]

_TWO_THIRDS = {"float": 0x3F2AAAAB, "double": 0x3FE5555555555555}
_MANTISSA_FROM_3_4 = 0b1011  # getmant: the interval [3/4, 3/2), NaN for negative numbers
_INFINITY_BITS = {"float": 0x7F800000, "double": 0x7FF0000000000000}
_LN2 = 0.6931471805599453
_LOG2E = {"float": (1.4426950216293335, 1.925963033500011e-08), "double": (1.4426950408889634, 2.0355273740931033e-17)}
_LOG10E = {
    "float": (0.4342944920063019, -1.0103049952192578e-08),
    "double": (0.4342944819032518, 1.098319650216765e-17),
}
_LOG10_2 = {"float": (0.301025390625, 4.605038981195214e-06), "double": (0.30102999566383914, 1.42050232272661e-13)}


def split(x: Lanes) -> tuple[Lanes, Lanes]:
    """``(m, e)``: x = 2^e m with m in [2/3, 4/3) or [3/4, 3/2) and e integral, for positive finite x, denormals
    included.  (0, infinity and NaN come out as what ``_special`` expects.)"""
    if has_avx512(x):
        m = avx512(x, "getmant", mode=_MANTISSA_FROM_3_4)
        return m, avx512(x, "getexp") - avx512(m, "getexp")
    form = FORMATS[x.elem]
    denormal = x < form.tiny
    bits = where(denormal, x * 2.0 ** (form.mantissa + 1), x).bits()
    low = _TWO_THIRDS[x.elem]
    shifted = bits + ((form.bias << form.mantissa) - low)
    m = ((shifted & ((1 << form.mantissa) - 1)) + low).as_float()
    # the biased exponent sits in the low bits of a number of known exponent
    e = ((shifted >> form.mantissa) | x.like(form.magic).bits()).as_float()
    shift = form.magic + form.bias
    return m, e - where(denormal, x.like(shift + form.mantissa + 1), shift)


def _special(x: Lanes, result: Lanes) -> Lanes:
    """``result`` where x is positive and finite; elsewhere what every logarithm gives: -inf at 0, NaN below,
    inf at inf, NaN at NaN."""
    if has_avx512(x):
        return result  # exponents and mantissas of 0, infinity, NaN and negative numbers lead there by themselves
    inside = (x.bits() - 1).below(_INFINITY_BITS[x.elem] - 1)
    outside = where(x > 0.0, x, where(x.equals(0.0), float("-inf"), x.like(float("nan"))))
    return where(inside, result, outside)


def _log1p_double(f: Lanes) -> Lanes:
    """``f - log(1+f)`` for f in [-1/3, 1/2] (double)."""
    s = f / (f + 2.0)
    z = s * s
    return s * (f - z * horner(z, table.LOG_F64))


def log(x: Lanes) -> Lanes:
    """Natural logarithm."""
    m, e = split(x)
    return _special(x, _assemble(m - 1.0, e))


def _assemble(f: Lanes, e: Lanes) -> Lanes:
    """``log(1+f) + e log 2``."""
    if f.single:
        return mad(e, _LN2, mad(f * f, horner(f, table.LOG_F32), f))
    form = FORMATS["double"]
    tail = mad(e, form.ln2_low, -_log1p_double(f))
    return mad(e, form.ln2_high, f + tail)


def log1p(x: Lanes) -> Lanes:
    """``log(1 + x)``, accurate near 0."""
    total = x + 1.0
    # What the rounding of 1 + x lost; infinite x would make it NaN.
    lost = where(x.abs() < 1.0, x - (total - 1.0), 1.0 - (total - x))
    m, e = split(total)
    lost = lost * power_of_two_of((-e).at_least(1.0 - FORMATS[x.elem].bias))
    result = _assemble((m - 1.0) + lost, e)
    if has_avx512(x):
        result = where(x < float("inf"), result, x)  # what an infinite sum lost is no number
    return _special(total, result).copysign(x)


def power_of_two_of(n: Lanes) -> Lanes:
    """``2^n`` for an integral n in the range of normal exponents."""
    form = FORMATS[n.elem]
    return ((n + (form.magic + form.bias)).bits() << form.mantissa).as_float()


def log_pair(f: Lanes) -> tuple[Lanes, Lanes]:
    """``log(1+f)`` as a sum of two numbers, the second small: about 10 bits more than one holds."""
    if f.single:
        square, lost = two_prod(f, f)
        half = square * -0.5
        high, low = fast_two_sum(f, half)
        return high, mad(f * square, horner(f, table.LOG_F32[1:]), mad(lost, -0.5, low))
    s = f / (f + 2.0)
    z = s * s
    square, lost = two_prod(f, f)
    half = square * 0.5
    high, low = fast_two_sum(f, -half)
    # log(1+f) = f - f^2/2 + s (f^2/2 + s^2 R)
    return high, low + mad(s, mad(z, horner(z, table.LOG_F64), half), lost * -0.5)


def log_sum(x: Lanes) -> tuple[Lanes, Lanes]:
    """``log(x)`` of a positive finite number as a sum of two (double): about 10 bits more than one holds."""
    form = FORMATS["double"]
    m, e = split(x)
    high, low = log_pair(m - 1.0)
    total, rest = fast_two_sum(e * form.ln2_high, high)
    return total, rest + mad(e, form.ln2_low, low)


def _in_base(x: Lanes, factor: tuple[float, float], unit: tuple[float, float]) -> Lanes:
    """``log(m) * factor + e * unit`` with pairs for both constants; ``e * unit[0]`` is exact."""
    m, e = split(x)
    high, low = log_pair(m - 1.0)
    main, lost = two_prod(high, high.like(factor[0]))
    small = mad(high, factor[1], mad(low, factor[0], lost))
    if unit[1]:
        small = mad(e, unit[1], small)
    total, rest = fast_two_sum(e * unit[0], main)
    result = total + (rest + small)
    if has_avx512(x):
        result = where(total.abs() < float("inf"), result, total)  # an infinite total has no rounding error
    return _special(x, result)


def log2(x: Lanes) -> Lanes:
    """Logarithm to base 2, exact at powers of two."""
    return _in_base(x, _LOG2E[x.elem], (1.0, 0.0))


def log10(x: Lanes) -> Lanes:
    """Logarithm to base 10, exact at powers of ten."""
    return _in_base(x, _LOG10E[x.elem], _LOG10_2[x.elem])


def log1p_pair(high: Lanes, low: Lanes, doubled: Lanes | None = None) -> Lanes:
    """``log(1 + high + low)`` for a sum of two numbers that is finite and at least 0.

    In lanes where ``doubled`` is set, ``log(2 high)`` instead.
    """
    total, lost = two_sum(high, high.like(1.0))
    lost = lost + low
    if doubled is not None:
        total, lost = where(doubled, high, total), where(doubled, 0.0, lost)
    m, e = split(total)
    f = (m - 1.0) + lost * power_of_two_of((-e).at_least(1.0 - FORMATS[high.elem].bias))
    return _assemble(f, e if doubled is None else where(doubled, e + 1.0, e))


def log_low(x: Lanes) -> Lanes:
    """Natural logarithm of positive finite numbers in double, to the accuracy of float (about 2^-34)."""
    m, e = split(x)
    s = (m - 1.0) / (m + 1.0)
    return mad(s, horner(s * s, table.LOG2_LOW), e) * _LN2
