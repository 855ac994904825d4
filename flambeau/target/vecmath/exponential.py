"""exp and its relatives: exp, exp2, expm1, sigmoid, tanh.

All reduce ``x = n ln 2 + r`` with ``|r| <= ln(2) / 2`` by Cody and Waite's two-constant scheme (*Software
Manual for the Elementary Functions*, 1980): the high part of ln 2 has so few bits that ``n`` times it is
exact with and without a fused multiply-add.  Adding ``1.5 * 2^p`` rounds to an integer and leaves ``n`` in
the low bits of the sum, which shifts build powers of two from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import coefficients as table
from .lanes import Lanes, avx512, has_avx512, horner, mad, where
from .rare import improve

__all__ = [
    "FORMATS",
    "Format",
    "exp",
    "exp2",
    "exp2_terms",
    "exp_parts",
    "exp_reduced",
    "expm1",
    "power_of_two",
    "scaled",
    "sigmoid",
    "tanh",
]

LOG2E = 1.4426950408889634
TANH_SPLIT = 0.55


@dataclass(frozen=True)
class Format:
    """Numbers that depend on the element type."""

    mantissa: int  # stored significand bits
    bias: int  # of the exponent
    magic: float  # 1.5 * 2^mantissa: adding it rounds to an integer
    ln2_high: float
    ln2_low: float
    exp_low: float  # exp(x) rounds to 0 below
    exp_high: float  # exp(x) is infinite above
    expm1_low: float  # expm1(x) rounds to -1 below
    tanh_high: float  # tanh(x) rounds to 1 above
    tiny: float  # smallest normal number
    epsilon: float  # spacing of numbers above 1
    exp_terms: Sequence[float]
    exp2_terms: Sequence[float]


FORMATS = {
    "float": Format(
        mantissa=23,
        bias=127,
        magic=12582912.0,
        ln2_high=0.693145751953125,
        ln2_low=1.4286068203094173e-06,
        exp_low=-105.0,
        exp_high=89.0,
        expm1_low=-20.0,
        tanh_high=10.0,
        tiny=2.0**-126,
        epsilon=2.0**-23,
        exp_terms=table.EXP_F32,
        exp2_terms=table.EXP2_F32,
    ),
    "double": Format(
        mantissa=52,
        bias=1023,
        magic=6755399441055744.0,
        ln2_high=0.693147180559663,
        ln2_low=2.8235290563031577e-13,
        exp_low=-746.0,
        exp_high=710.0,
        expm1_low=-40.0,
        tanh_high=20.0,
        tiny=2.0**-1022,
        epsilon=2.0**-52,
        exp_terms=table.EXP_F64,
        exp2_terms=table.EXP2_F64,
    ),
}


def exp_reduced(x: Lanes, extra: int, negate: bool = False) -> tuple[Lanes, Lanes]:
    """``(t, p)``: x = n ln 2 + r, p = expm1(r), and t a number whose low bits hold ``n + extra``.

    ``negate`` reduces ``-x`` instead, at no cost.  x must be small enough for ``n`` to be an exponent.
    """
    form = FORMATS[x.elem]
    sign = -1.0 if negate else 1.0
    t = mad(x, sign * LOG2E, form.magic + extra)
    n = t - (form.magic + extra)
    r = mad(n, -form.ln2_high, -x if negate else x)
    r = mad(n, -form.ln2_low, r)
    return t, mad(r * r, horner(r, form.exp_terms), r)


def exp_parts(x: Lanes, extra: int) -> tuple[Lanes, Lanes, Lanes]:
    """As ``exp_reduced``, but with expm1(r) as a sum of a number without error and a smaller one."""
    form = FORMATS[x.elem]
    t = mad(x, LOG2E, form.magic + extra)
    n = t - (form.magic + extra)
    main = mad(n, -form.ln2_high, x)
    low = n * -form.ln2_low
    r = main + low
    return t, main, mad(r * r, horner(r, form.exp_terms), low)


def power_of_two(t: Lanes) -> Lanes:
    """``2^n`` from a sum ``t`` whose low bits hold ``n`` plus the exponent's bias."""
    return (t.bits() << FORMATS[t.elem].mantissa).as_float()


def scaled(value: Lanes, t: Lanes) -> Lanes:
    """``value * 2^n`` rounded once, for ``t`` whose low bits hold ``n`` plus twice the exponent's bias.

    Two factors, each half of the exponent, reach everything from denormal numbers to infinity.
    """
    form = FORMATS[t.elem]
    if has_avx512(t):
        return avx512(value, "scalef", t - (form.magic + 2 * form.bias))
    mantissa = form.mantissa
    bits = t.bits()
    half = bits >> 1
    return value * (half << mantissa).as_float() * ((bits - half) << mantissa).as_float()


def exp(x: Lanes) -> Lanes:
    """e to the power of x."""
    form = FORMATS[x.elem]
    t, p = exp_reduced(x.at_least(form.exp_low).at_most(form.exp_high), 2 * form.bias)
    return scaled(p + 1.0, t)


def exp2(x: Lanes) -> Lanes:
    """2 to the power of x."""
    form = FORMATS[x.elem]
    x = x.at_least(-(form.bias + form.mantissa + 3.0)).at_most(form.bias + 2.0)
    shift = form.magic + 2 * form.bias
    t = x + shift
    r = x - (t - shift)
    return scaled(exp2_terms(r), t)


def exp2_terms(r: Lanes) -> Lanes:
    """``2^r`` for ``|r| <= 1/2``."""
    return mad(horner(r, FORMATS[r.elem].exp2_terms), r, 1.0)


def expm1(x: Lanes) -> Lanes:
    """e to the power of x, less 1: accurate near 0.

    Vectors of zeros and all but zeros are done at once: what elu and its kin ask for where every lane is positive.
    """
    form = FORMATS[x.elem]

    def large() -> Lanes:
        # Half of 2^n, so that n = bias + 1 is still a number.
        t, main, tail = exp_parts(x.at_least(form.expm1_low).at_most(form.exp_high), form.bias - 1)
        half = power_of_two(t)
        result = mad(half, tail, mad(half, main, half - 0.5))
        return result + result

    return improve(~(x.abs() < form.epsilon / 8), x, large)


def sigmoid(x: Lanes) -> Lanes:
    """``1 / (1 + exp(-x))``, accurate where it is tiny too.

    With ``e = exp(-|x|)`` and ``q = e / (1 + e)`` it is ``1 - q`` or ``e - e q``: the rounding errors of q count
    little in both.
    """
    form = FORMATS[x.elem]
    t, p = exp_reduced((-x.abs()).at_least(form.exp_low), 2 * form.bias)
    e = scaled(p + 1.0, t)
    q = e / (e + 1.0)
    whole = where(x < 0.0, e, 1.0)
    return mad(-whole, q, whole)


def tanh(x: Lanes) -> Lanes:
    """Hyperbolic tangent: a polynomial for small magnitudes a, else ``1 - 2 / (exp(2a) + 1)``.

    (``expm1(2a) / (expm1(2a) + 2)`` needs no polynomial of its own but is up to 2.5 units off.)
    """
    form = FORMATS[x.elem]
    a = x.abs()
    z = a * a
    small = mad(a * z, horner(z, table.TANH_F32 if x.single else table.TANH_F64), a)
    bounded = a.at_most(form.tanh_high)
    t, p = exp_reduced(bounded + bounded, form.bias)
    large = 1.0 - 2.0 / mad(power_of_two(t), p + 1.0, 1.0)
    return where(a < TANH_SPLIT, small, large).copysign(x)
