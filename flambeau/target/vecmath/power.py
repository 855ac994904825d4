"""pow and cbrt.

pow is ``2^(y log2 |x|)``.  In double the logarithm and the product are sums of two numbers (about 2^-65),
for the exponent magnifies their error up to a thousandfold; for float everything is plain double arithmetic.
"""

from __future__ import annotations

from . import coefficients as table
from .arithmetic import rint
from .exponential import FORMATS, exp2_terms, scaled
from .lanes import Lanes, fast_two_sum, has_avx512, horner, mad, two_prod, where
from .logarithm import power_of_two_of, split

__all__ = ["cbrt", "cbrt_low", "pow_"]

_INFINITY = float("inf")
_LOG2_C1 = (2.8853900817779268, 4.0710547481862066e-17)  # 2 / log 2
_LOG2_C3 = (0.9617966939259756, 5.0577616648125906e-17)  # a third of it


def pow_(x: Lanes, y: Lanes) -> Lanes:
    """x to the power of y, with the special cases of C's Annex F."""
    a = x.abs()
    m, e = split(a)
    if not has_avx512(x):
        e = where(a < _INFINITY, where(a.equals(0.0), -_INFINITY, e), a)
    if x.single:
        grown = _power_single(m.widen(), e.widen(), y.widen()).narrow()
    else:
        grown = _power_double(m, e, y)
    whole = rint(y).equals(y)
    half = y * 0.5
    odd = whole & rint(half).differs(half)
    grown = where(odd, grown.toggled_sign(x), grown)
    undefined = (x < 0.0) & (a < _INFINITY) & ~whole
    grown = where(undefined, float("nan"), grown)
    return where(y.equals(0.0) | x.equals(1.0), 1.0, grown)


def _power_single(m: Lanes, e: Lanes, y: Lanes) -> Lanes:
    """``(2^e m)^y`` in double, to the accuracy of float."""
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    logarithm = mad(s, horner(z, table.LOG2_LOW), e)
    # Bounded so that infinity times a logarithm of 0 is 0, and NaN stays.
    exponent = (y.at_least(-1e40).at_most(1e40) * logarithm).at_least(-200.0).at_most(200.0)
    form = FORMATS["double"]
    shift = form.magic + form.bias
    t = exponent + shift
    grown = horner(exponent - (t - shift), table.EXP2_LOW)
    return grown * (t.bits() << form.mantissa).as_float()


def _power_double(m: Lanes, e: Lanes, y: Lanes) -> Lanes:
    """``(2^e m)^y``, all in sums of two numbers."""
    form = FORMATS["double"]
    high, low = _log2_pair(m)
    high, rest = fast_two_sum(e, high)
    low = low + rest
    y = y.at_least(-(2.0**70)).at_most(2.0**70)
    main, lost = two_prod(y, high)
    exponent = main.at_least(-1100.0).at_most(1100.0)
    shift = form.magic + 2 * form.bias
    t = exponent + shift
    small = mad(y, low, lost)
    # Out of range (and at 0 and infinity) the small part is rubbish.
    small = where(main.abs() < 1100.0, small, 0.0)
    r = (exponent - (t - shift)) + small
    return scaled(exp2_terms(r), t)


def _log2_pair(m: Lanes) -> tuple[Lanes, Lanes]:
    """``log2(m)`` as a sum of two numbers, from ``log2 m = s (c1 + c3 s^2 + c5 s^4 + ...)``, s = (m-1)/(m+1)."""
    f = m - 1.0
    below, below_low = fast_two_sum(m.like(2.0), f)
    inverse = 1.0 / below
    s = f * inverse
    product, lost = two_prod(s, below)
    s_low = inverse * (((f - product) - lost) - s * below_low)
    z, z_low = two_prod(s, s)
    z_low = mad(s + s, s_low, z_low)
    u, u_low = fast_two_sum(m.like(_LOG2_C3[0]), z * horner(z, table.LOG2_TAIL))
    u_low = u_low + _LOG2_C3[1]
    v, v_low = two_prod(z, u)
    v_low = mad(z, u_low, mad(z_low, u, v_low))
    g, g_low = fast_two_sum(m.like(_LOG2_C1[0]), v)
    g_low = g_low + (v_low + _LOG2_C1[1])
    main, low = two_prod(s, g)
    return main, mad(s, g_low, mad(s_low, g, low))


def cbrt_low(x: Lanes) -> Lanes:
    """Cube root, in double for a float result."""
    a = x.abs()
    m, e = split(a)
    root = _power_single(m, e, m.like(1.0 / 3.0))
    return where((a > 0.0) & (a < _INFINITY), root, a).copysign(x)


def cbrt(x: Lanes) -> Lanes:
    """Cube root (double): Halley's iteration for the inverse root, then one step with an exact residual."""
    a = x.abs()
    m, e = split(a)
    third = rint(e * (1.0 / 3.0))
    v = m * power_of_two_of(mad(third, -3.0, e))  # in [1/3, 8/3)
    z = horner(v, table.INVERSE_CBRT)
    for _ in range(3):
        d = 1.0 - v * z * (z * z)
        z = mad(z * d, mad(d, 2.0 / 9.0, 1.0 / 3.0), z)
    square = z * z
    y = v * square
    y2, y2_low = two_prod(y, y)
    y3, y3_low = two_prod(y2, y)
    y = mad(((v - y3) - y3_low) - y2_low * y, square * (1.0 / 3.0), y)
    root = y * power_of_two_of(third)
    return where((a > 0.0) & (a < _INFINITY), root, a).copysign(x)
