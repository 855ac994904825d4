"""The incomplete gamma functions in single precision: straight code in double precision, the same for all elements.

Of the regularized P(a, x) and Q(a, x) = 1 - P three forms are computed, and one is chosen: the power series where x is
small, Legendre's continued fraction where it is large (both backwards from a fixed term, as quotients, so that there
is one division), and for a >= 20 and x near a Temme's uniform expansion with the coefficients of the NIST Digital
Library of Mathematical Functions, 8.7.1, 8.9.2, 8.12.3 to 8.12.14.  What is left out is below 1e-8 of the result.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

from .. import dtype as dtypes
from .. import primitives as prim
from ..tensor import Tensor

__all__ = ["incomplete_gamma"]

_WORK = dtypes.float64
_LARGE = 20.0  # of a: from here on Stirling's and Temme's expansions are good
_NEAR = (0.5, 2.0)  # x / a between which Temme's expansion is used
_SERIES, _FRACTION, _ALTERNATING = 36, 48, 16  # terms
_TINY = 1e-3  # of a
_ORDERS, _POWERS = 4, 16  # of Temme's expansion, in 1 / a and in eta


def _op(name: str, *args: Tensor | float) -> Tensor:
    return prim.apply(name, *[a if isinstance(a, Tensor) else prim.const(a, _WORK) for a in args])


def _sum_of_powers(coefficients: list[float], x: Tensor) -> Tensor:
    found: Tensor | float = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        found = _op("fma", found, x, c)
    assert isinstance(found, Tensor)
    return found


@functools.cache
def _temme() -> list[list[float]]:
    """The coefficients of eta**n in the factor of a**-k (DLMF 8.12.11 to 8.12.14)."""
    last = _POWERS + 2 * _ORDERS + 2
    alpha = [Fraction(0), Fraction(1)]
    for n in range(2, last + 1):
        rest = sum((j * alpha[j] * alpha[n - j + 1] for j in range(2, n)), Fraction(0))
        alpha.append((alpha[n - 1] - rest) / (n + 1))
    first = [Fraction(-1, 3)] + [(n + 2) * alpha[n + 2] for n in range(1, last - 1)]
    stirling = (Fraction(1), Fraction(1, 12), Fraction(1, 288), Fraction(-139, 51840))
    rows = [first]
    for k in range(1, _ORDERS):
        before = rows[-1]
        row = [(-1) ** k * stirling[k] * first[n] + (n + 2) * before[n + 2] for n in range(len(before) - 2)]
        rows.append(row)
    return [[float(c) for c in row[:_POWERS]] for row in rows]


def _series(a: Tensor, x: Tensor) -> Tensor:
    """1 + x/(a+1) + x^2/((a+1)(a+2)) + ..., scaled by a + 1 so that nothing overflows."""
    whole = _op("add", a, 1.0)
    step = _op("div", x, whole)
    inverse = _op("div", 1.0, whole)
    above, below = prim.const(1.0, _WORK), prim.const(1.0, _WORK)
    for k in range(_SERIES, 0, -1):
        below = _op("mul", below, _op("fma", float(k - 1), inverse, 1.0))  # (a + k) / (a + 1)
        above = _op("fma", step, above, below)
    return _op("div", above, below)


def _fraction(a: Tensor, x: Tensor) -> Tensor:
    """1 / (x+1-a - 1(1-a)/(x+3-a - 2(2-a)/(x+5-a - ...))), scaled by x."""
    inverse = _op("div", 1.0, x)
    share = _op("mul", a, inverse)
    base = _op("sub", 1.0, share)

    def middle(k: int) -> Tensor:
        return _op("fma", float(2 * k + 1), inverse, base)

    above, below = middle(_FRACTION), prim.const(1.0, _WORK)
    for k in range(_FRACTION, 0, -1):
        top = _op("mul", _op("mul", float(k), inverse), _op("sub", _op("mul", float(k), inverse), share))
        above, below = _op("sub", _op("mul", middle(k - 1), above), _op("mul", top, below)), above
    return _op("mul", _op("div", below, above), inverse)


def _complement(a: Tensor, x: Tensor) -> Tensor:
    """Q for a < 1e-3 and x < 1 + a, where 1 - P has nothing left: DLMF 8.7.1 without the 1, in powers of a."""
    log = _sum_of_powers([0.0, -0.5772156649015329, math.pi**2 / 12, -1.2020569031595942 / 3], a)  # log gamma(1 + a)
    exponent = _op("sub", _op("mul", a, _op("log", x)), log)
    parts = []
    for power in (1, 2, 3):
        signs = [0.0] + [(-1) ** (n + power) / (math.factorial(n) * n**power) for n in range(1, _ALTERNATING)]
        parts.append(_sum_of_powers(signs, x))
    total = _op("fma", _op("fma", parts[2], a, parts[1]), a, parts[0])
    return _op("fma", _op("mul", _op("exp", exponent), a), total, _op("neg", _op("expm1", exponent)))


def incomplete_gamma(a: Tensor, x: Tensor, upper: bool) -> Tensor:
    """Q(a, x) if ``upper``, else P(a, x), of float32 operands in the body of an operator.

    NaN for negative operands, and where both are zero or infinite.
    """
    kind = a.dtype
    given = [prim.cast(t, _WORK) for t in (a, x)]
    # what is put in place of ends and of invalid operands only has to be harmless
    a, x = (_op("min", _op("max", t, 1e-50), 1e50) for t in given)
    large = _op("ge", a, _LARGE)
    ratio = _op("div", x, a)
    off = _op("sub", ratio, 1.0)
    close = _op("lt", _op("abs", off), 0.5)
    phi = _op(
        "sub", off, _op("select", close, _op("log1p", _op("select", close, off, 0.0)), _op("log", ratio))
    )  # eta**2 / 2
    gauss = _op("exp", _op("neg", _op("mul", a, phi)))
    inverse = _op("div", 1.0, a)
    root = _op("div", gauss, _op("sqrt", _op("mul", a, 2 * math.pi)))
    square = _op("mul", inverse, inverse)
    stirling = _op("mul", inverse, _op("fma", square, -1 / 360, 1 / 12))
    few = _op("min", a, _LARGE)
    plain = _op("sub", _op("sub", _op("mul", few, _op("log", x)), x), _op("lgamma", _op("add", few, 1.0)))
    factor = _op("select", large, _op("mul", root, _op("exp", _op("neg", stirling))), _op("exp", plain))

    near = _op("and", large, _op("and", _op("gt", ratio, _NEAR[0]), _op("lt", ratio, _NEAR[1])))
    left = _op("lt", x, _op("add", a, 1.0))
    by_series = _op("mul", factor, _series(a, _op("min", x, _op("add", a, 1.0))))
    beyond = _op("max", x, _op("add", a, 1.0))
    by_fraction = _op("mul", _op("mul", factor, a), _fraction(a, beyond))

    eta = _op("copysign", _op("sqrt", _op("mul", phi, 2.0)), off)
    eta = _op("select", near, eta, 0.0)
    terms = [_sum_of_powers(row, eta) for row in _temme()]
    rest = terms[-1]
    for term in reversed(terms[:-1]):
        rest = _op("fma", rest, inverse, term)
    rest = _op("mul", root, rest)
    side = _op("mul", eta, _op("sqrt", _op("mul", a, 0.5)))
    if upper:
        uniform = _op("add", _op("mul", _op("erfc", side), 0.5), rest)
        value = _op("select", left, _op("sub", 1.0, by_series), by_fraction)
        tiny = _op("and", left, _op("lt", a, _TINY))
        value = _op("select", tiny, _complement(_op("min", a, _TINY), _op("min", x, 2.0)), value)
    else:
        uniform = _op("sub", _op("mul", _op("erfc", _op("neg", side)), 0.5), rest)
        value = _op("select", left, by_series, _op("sub", 1.0, by_fraction))
    value = _op("select", near, uniform, value)

    # P rises from 0 at x = 0 to 1 at infinity, and falls from 1 at a = 0 to 0 at infinity
    a, x = given
    none, all_ = (1.0, 0.0) if upper else (0.0, 1.0)
    value = _op("select", _op("eq", x, 0.0), none, _op("select", _op("eq", x, math.inf), all_, value))
    apart = _op("ne", a, x)
    at_zero, at_end = (_op("and", _op("eq", a, end), apart) for end in (0.0, math.inf))
    value = _op("select", at_zero, all_, _op("select", at_end, none, value))
    both = _op("and", _op("not", apart), _op("or", _op("eq", a, 0.0), _op("eq", a, math.inf)))
    valid = _op("and", _op("and", _op("ge", a, 0.0), _op("ge", x, 0.0)), _op("not", both))
    return prim.cast(_op("select", valid, value, math.nan), kind)
