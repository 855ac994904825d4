"""Elementwise operations on complex numbers, as operations on their parts.

Formulas are the textbook ones (Abramowitz & Stegun 4.3, 4.4); division follows Smith's scaling
(R. L. Smith, CACM 5(8), 1962), which neither overflows nor underflows early.
"""

from __future__ import annotations

from collections.abc import Callable

from ..dtype import ALL
from ..loop.nodes import Expr, Pool

__all__ = ["COMPLEX", "PART", "Pair", "elementwise"]

Pair = tuple[Expr, Expr]

PART = {t.code: t.to_real().code for t in ALL if t.is_complex}
"""The type of the parts of a complex number, by its own."""


class _Maker:
    """Spells expressions on parts of one real type."""

    def __init__(self, pool: Pool, type_: str) -> None:
        self.pool, self.type = pool, type_

    def __call__(self, op: str, *args: Expr) -> Expr:
        result = "b1" if op in ("eq", "ne", "lt", "le", "gt", "ge", "isnan") else args[-1].type
        return self.pool.make(op, result, args)

    def number(self, value: float) -> Expr:
        return self.pool.const(float(value), self.type)


def _mul(m: _Maker, a: Pair, b: Pair) -> Pair:
    return (
        m("sub", m("mul", a[0], b[0]), m("mul", a[1], b[1])),
        m("add", m("mul", a[0], b[1]), m("mul", a[1], b[0])),
    )


def _div(m: _Maker, a: Pair, b: Pair) -> Pair:
    (x, y), (c, d) = a, b
    wide = m("ge", m("abs", c), m("abs", d))
    big, small = m("select", wide, c, d), m("select", wide, d, c)
    both_zero = m("eq", big, m.number(0))
    ratio = m("select", both_zero, m.number(0), m("div", small, big))
    scale = m("add", big, m("mul", small, ratio))
    # (x + iy)/(c + id): with |c| >= |d| the numerators are x + y r and y - x r, otherwise x r + y and y r - x
    re = m("select", wide, m("add", x, m("mul", y, ratio)), m("add", m("mul", x, ratio), y))
    im = m("select", wide, m("sub", y, m("mul", x, ratio)), m("sub", m("mul", y, ratio), x))
    return m("div", re, scale), m("div", im, scale)


def _exp(m: _Maker, z: Pair) -> Pair:
    grown = m("exp", z[0])
    zero = m("eq", z[1], m.number(0))  # exp(x + 0i) is real even where exp(x) is infinite
    return (
        m("select", zero, grown, m("mul", grown, m("cos", z[1]))),
        m("select", zero, z[1], m("mul", grown, m("sin", z[1]))),
    )


def _log(m: _Maker, z: Pair) -> Pair:
    return m("log", m("hypot", *z)), m("atan2", z[1], z[0])


def _sqrt(m: _Maker, z: Pair) -> Pair:
    """The root with non-negative real part: t = sqrt((|x| + |z|)/2), the other part is y/(2t)."""
    x, y = z
    half = m.number(0.5)
    # the scaled sum does not overflow where |z| does not
    t = m("sqrt", m("add", m("mul", half, m("abs", x)), m("mul", half, m("hypot", x, y))))
    zero = m("eq", t, m.number(0))
    other = m("select", zero, m.number(0), m("div", m("mul", half, m("abs", y)), t))
    positive = m("ge", x, m.number(0))
    return m("select", positive, t, other), m("copysign", m("select", positive, other, t), y)


def _scale(m: _Maker, z: Pair, factor: float) -> Pair:
    return m("mul", z[0], m.number(factor)), m("mul", z[1], m.number(factor))


def _by_i(m: _Maker, z: Pair) -> Pair:
    return m("neg", z[1]), z[0]


def _by_minus_i(m: _Maker, z: Pair) -> Pair:
    return z[1], m("neg", z[0])


def _one_plus(m: _Maker, z: Pair, sign: str = "add") -> Pair:
    return (m(sign, m.number(1), z[0]), z[1] if sign == "add" else m("neg", z[1]))


def _sinh(m: _Maker, z: Pair) -> Pair:
    return m("mul", m("sinh", z[0]), m("cos", z[1])), m("mul", m("cosh", z[0]), m("sin", z[1]))


def _cosh(m: _Maker, z: Pair) -> Pair:
    return m("mul", m("cosh", z[0]), m("cos", z[1])), m("mul", m("sinh", z[0]), m("sin", z[1]))


def _tanh(m: _Maker, z: Pair) -> Pair:
    """tanh(x+iy) = (t (1+u^2) + i u (1-t^2)) / (1 + t^2 u^2) with t = tanh x, u = tan y."""
    t, u = m("tanh", z[0]), m("tan", z[1])
    one = m.number(1)
    tt, uu = m("mul", t, t), m("mul", u, u)
    # cosh(x)^-2 keeps its digits where 1 - tanh^2 loses them
    c = m("cosh", z[0])
    sech = m("div", one, m("mul", c, c))
    below = m("add", one, m("mul", tt, uu))
    return m("div", m("mul", t, m("add", one, uu)), below), m("div", m("mul", u, sech), below)


def _asinh(m: _Maker, z: Pair) -> Pair:
    """log(z + sqrt(z^2 + 1)), taken in the right half plane (asinh is odd), where nothing cancels."""
    left = m("lt", z[0], m.number(0))
    w = (m("select", left, m("neg", z[0]), z[0]), m("select", left, m("neg", z[1]), z[1]))
    root = _sqrt(m, _one_plus(m, _mul(m, w, w)))
    r = _log(m, (m("add", w[0], root[0]), m("add", w[1], root[1])))
    return m("select", left, m("neg", r[0]), r[0]), m("select", left, m("neg", r[1]), r[1])


def _acosh(m: _Maker, z: Pair) -> Pair:
    """2 log(sqrt((z+1)/2) + sqrt((z-1)/2)) (Kahan 1987)."""
    half = m.number(0.5)
    a = _sqrt(m, (m("mul", half, m("add", z[0], m.number(1))), m("mul", half, z[1])))
    b = _sqrt(m, (m("mul", half, m("sub", z[0], m.number(1))), m("mul", half, z[1])))
    return _scale(m, _log(m, (m("add", a[0], b[0]), m("add", a[1], b[1]))), 2.0)


def _atanh(m: _Maker, z: Pair) -> Pair:
    """(log(1+z) - log(1-z)) / 2"""
    a, b = _log(m, _one_plus(m, z)), _log(m, _one_plus(m, z, "sub"))
    return _scale(m, (m("sub", a[0], b[0]), m("sub", a[1], b[1])), 0.5)


def _asin(m: _Maker, z: Pair) -> Pair:
    return _by_minus_i(m, _asinh(m, _by_i(m, z)))


def _acos(m: _Maker, z: Pair) -> Pair:
    s = _asin(m, z)
    return m("sub", m.number(1.5707963267948966), s[0]), m("neg", s[1])


def _pow(m: _Maker, a: Pair, b: Pair) -> Pair:
    """exp(b log a); 0 to a power of positive real part is 0, anything to the 0 is 1."""
    r = _exp(m, _mul(m, b, _log(m, a)))
    zero, one = m.number(0), m.number(1)
    base0 = m("and", m("eq", a[0], zero), m("eq", a[1], zero))
    power0 = m("and", m("eq", b[0], zero), m("eq", b[1], zero))
    flat = m("select", power0, one, zero)
    either = m("or", base0, power0)
    return m("select", either, flat, r[0]), m("select", either, zero, r[1])


def _sigmoid(m: _Maker, z: Pair) -> Pair:
    e = _exp(m, (m("neg", z[0]), m("neg", z[1])))
    return _div(m, (m.number(1), m.number(0)), _one_plus(m, e))


COMPLEX: dict[str, Callable[..., Pair]] = {
    "add": lambda m, a, b: (m("add", a[0], b[0]), m("add", a[1], b[1])),
    "sub": lambda m, a, b: (m("sub", a[0], b[0]), m("sub", a[1], b[1])),
    "mul": _mul,
    "div": _div,
    "neg": lambda m, z: (m("neg", z[0]), m("neg", z[1])),
    "fma": lambda m, a, b, c: COMPLEX["add"](m, _mul(m, a, b), c),
    "exp": _exp,
    "exp2": lambda m, z: _exp(m, _scale(m, z, 0.6931471805599453)),
    "expm1": lambda m, z: (m("sub", _exp(m, z)[0], m.number(1)), _exp(m, z)[1]),
    "log": _log,
    "log2": lambda m, z: _scale(m, _log(m, z), 1.4426950408889634),
    "log10": lambda m, z: _scale(m, _log(m, z), 0.4342944819032518),
    "log1p": lambda m, z: _log(m, _one_plus(m, z)),
    "sqrt": _sqrt,
    "rsqrt": lambda m, z: _div(m, (m.number(1), m.number(0)), _sqrt(m, z)),
    "sin": lambda m, z: _by_minus_i(m, _sinh(m, _by_i(m, z))),
    "cos": lambda m, z: _cosh(m, _by_i(m, z)),
    "tan": lambda m, z: _by_minus_i(m, _tanh(m, _by_i(m, z))),
    "sinh": _sinh,
    "cosh": _cosh,
    "tanh": _tanh,
    "asin": _asin,
    "acos": _acos,
    "atan": lambda m, z: _by_minus_i(m, _atanh(m, _by_i(m, z))),
    "asinh": _asinh,
    "acosh": _acosh,
    "atanh": _atanh,
    "pow": _pow,
    "sigmoid": _sigmoid,
}


def elementwise(pool: Pool, op: str, type_: str, args: list[Pair]) -> Pair:
    """``op`` on pairs of parts of ``type_``; raises KeyError where complex numbers have no such operation."""
    return COMPLEX[op](_Maker(pool, type_), *args)
