"""How gamma and Dirichlet numbers move with their parameters: kernels of implicit reparameterization gradients.

A sample x of a distribution with the cumulative function F(x; a) and the density p moves by dx/da = -(dF/da) / p when
a does and F(x; a) stays (M. Figurnov, S. Mohamed, A. Mnih, "Implicit Reparameterization Gradients", 2018).  With F
written as p times a series or a continued fraction, p cancels; what is left is differentiated term by term, in double
precision.  The expansions are those of the NIST Digital Library of Mathematical Functions: 8.7.1 (series of the
incomplete gamma function), 8.9.2 (its continued fraction), 8.17.22 (continued fraction of the incomplete beta
function), evaluated by the modified Lentz method (W. H. Press et al., "Numerical Recipes", 5.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..target import vecmath
from ..target.builder import Module, Val
from ..target.isa import ISA
from .flow import Flow
from .mersenne import F64, I64, PTR, export, get, libm, put
from .samplers import Maths, until

__all__ = ["dirichlet_gradient", "gamma_gradient"]

_Parts = Callable[[], list[Val]]

_TINY = 1e-300  # stands for a partial denominator of zero
_LIMIT = 100_000  # terms; enough for parameters up to 1e8
_BIG = 1e8  # shapes from here on: the cube root of a gamma number is as good as normal


class _Fraction:
    """A continued fraction being evaluated from the front, with the logarithmic derivative of its value."""

    def __init__(self, b: Flow) -> None:
        self.b, self.m = b, Maths(b)
        self.c, self.d, self.dc, self.dd, self.value, self.slope = (b.alloca(F64, align=8) for _ in range(6))

    def _get(self, slot: Val) -> Val:
        return self.b.load(F64, slot, 8)

    def start(self, denominator: Val, derivative: Val | float) -> None:
        """The value 1 / denominator."""
        b, m = self.b, self.m
        d = m.div(1, self._away(denominator))
        dd = m.mul(b.fneg(m.mul(d, d)), derivative)
        for slot, value in (
            (self.c, b.const(F64, 1 / _TINY)), (self.dc, b.const(F64, 0)), (self.d, d), (self.dd, dd), (self.value, d),
            (self.slope, m.div(dd, d)),
        ):  # fmt: skip
            b.store(value, slot, 8)

    def _away(self, x: Val) -> Val:
        """``x``, or a tiny number instead of zero."""
        small = self.m.is_("olt", self.m.abs(x), _TINY)
        return self.b.select(small, self.b.const(F64, _TINY), x)

    def step(self, a: Val, da: Val, denominator: Val | float, derivative: Val | float) -> Val:
        """One more level a / (denominator + ...); returns the relative change of the value and its derivative.

        Where a is 0 the value stays as it is from then on, but the derivative does not.
        """
        b, m = self.b, self.m
        c, d, dc, dd = (self._get(slot) for slot in (self.c, self.d, self.dc, self.dd))
        new_d = m.div(1, self._away(m.add(denominator, m.mul(a, d))))
        inner = m.add(m.add(derivative, m.mul(da, d)), m.mul(a, dd))
        new_dd = b.fneg(m.mul(m.mul(new_d, new_d), inner))
        new_c = self._away(m.add(denominator, m.div(a, c)))
        new_dc = m.sub(m.add(derivative, m.div(da, c)), m.div(m.mul(a, dc), m.mul(c, c)))
        factor = m.mul(new_c, new_d)
        value = m.mul(self._get(self.value), factor)
        up = m.div(new_dc, new_c)
        turn = m.add(up, m.div(new_dd, new_d))
        slope = m.add(self._get(self.slope), turn)
        for slot, new in (
            (self.c, new_c), (self.d, new_d), (self.dc, new_dc), (self.dd, new_dd), (self.value, value),
            (self.slope, slope),
        ):  # fmt: skip
            b.store(new, slot, 8)
        scale = m.add(m.add(m.abs(slope), m.abs(up)), _TINY)
        return m.add(m.abs(m.sub(factor, 1)), m.div(m.abs(turn), scale))

    def result(self) -> tuple[Val, Val]:
        """The value and its logarithmic derivative."""
        return self._get(self.value), self._get(self.slope)


def _counted(b: Flow, counter: Val) -> Val:
    """Adds 1 to the counter (i64) and returns it as a double."""
    index = b.iadd(b.load(I64, counter, 8), 1)
    b.store(index, counter, 8)
    return b.cast("sitofp", index, F64)


def _done(b: Flow, counter: Val, change: Val) -> Val:
    """Whether the change is below rounding, NaN, or the terms are too many."""
    small = b.cmp("ult", change, b.const(F64, 1e-15))
    return b.op("or", small, b.icmp("sgt", b.load(I64, counter, 8), _LIMIT))


def gamma_gradient(module: Module, isa: ISA, code: str) -> None:
    """``gamma_gradient(out, shapes, samples, count)``: d sample / d shape of gamma numbers of scale 1.

    NaN where there is no such number: beside a shape above 0 and a sample not below.
    """

    def write(b: Flow, out: Val, shapes: Val, samples: Val, count: Val) -> None:
        m = Maths(b)
        counter, fraction = b.alloca(I64, align=8), _Fraction(b)
        term, total, weight, moved = (b.alloca(F64, align=8) for _ in range(4))

        def series(a: Val, x: Val, logarithm: Val) -> list[Val]:
            """F = p x S with S the sum of x^n / (a (a + 1) ... (a + n)); ``weight`` is the last term's -d log / da."""
            first = m.div(1, a)
            for slot, value in ((term, first), (total, first), (weight, first), (moved, m.mul(first, first))):
                b.store(value, slot, 8)
            b.store(b.i64(0), counter, 8)

            def body() -> Val:
                place = m.add(a, _counted(b, counter))
                new = m.div(m.mul(b.load(F64, term, 8), x), place)
                slope = m.add(b.load(F64, weight, 8), m.div(1, place))
                sum_, sum_moved = m.add(b.load(F64, total, 8), new), m.add(b.load(F64, moved, 8), m.mul(new, slope))
                for slot, value in ((term, new), (weight, slope), (total, sum_), (moved, sum_moved)):
                    b.store(value, slot, 8)
                return _done(b, counter, m.div(m.mul(new, slope), sum_moved))

            until(b, body)
            return [m.mul(x, m.sub(b.load(F64, moved, 8), m.mul(b.load(F64, total, 8), logarithm)))]

        def continued(a: Val, x: Val, logarithm: Val) -> list[Val]:
            """1 - F = p x C with C = 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...))."""
            base = m.sub(m.add(x, 1), a)
            fraction.start(base, -1.0)
            b.store(b.i64(0), counter, 8)

            def body() -> Val:
                i = _counted(b, counter)
                return _done(b, counter, fraction.step(m.mul(i, m.sub(a, i)), i, m.add(base, m.mul(2, i)), -1.0))

            until(b, body)
            value, slope = fraction.result()
            return [m.mul(m.mul(x, value), m.add(logarithm, slope))]

        def expanded(a: Val, x: Val) -> list[Val]:
            logarithm = m.sub(m.log(x), vecmath.apply(b, "digamma", a))
            left = m.is_("olt", x, m.add(a, 1))
            return b.choose(left, lambda: series(a, x, logarithm), lambda: continued(a, x, logarithm))

        def cube(a: Val, x: Val) -> list[Val]:
            """x = a w^3 with w = 1 - 1 / (9 a) + z / (3 sqrt(a)) and z fixed (E. B. Wilson, M. M. Hilferty, 1931)."""
            w = libm(b, "cbrt", m.div(x, a))
            ninth = m.div(1 / 9, a)
            slope = m.div(m.sub(ninth, m.mul(0.5, m.add(m.sub(w, 1), ninth))), a)
            return [m.mul(m.mul(w, w), m.add(w, m.mul(m.mul(3, a), slope)))]

        with b.loop(0, count) as loop:
            a, x = (get(b, code, "f64", p, loop.index) for p in (shapes, samples))
            big, lawful = m.is_("oge", a, _BIG), b.op("and", m.is_("ogt", a, 0.0), m.is_("oge", x, 0.0))

            def usual(a: Val = a, x: Val = x, lawful: Val = lawful) -> list[Val]:
                return b.choose(lawful, lambda: expanded(a, x), lambda: [b.const(F64, math.nan)])

            [value] = b.choose(big, lambda a=a, x=x: cube(a, x), usual)  # type: ignore[misc]
            put(b, value, "f64", code, out, loop.index)

    args = [(PTR, "out"), (PTR, "shapes"), (PTR, "samples"), (I64, "count")]
    export(module, isa, "gamma_gradient", args, write)


def dirichlet_gradient(module: Module, isa: ISA, code: str) -> None:
    """``dirichlet_gradient(out, samples, shapes, totals, count)``: (d sample / d shape) / (1 - sample).

    A sample is of Beta(shape, total - shape), the law of one share of a Dirichlet number.  NaN where there is none:
    beside 0 <= sample <= 1 and 0 < shape <= total.
    """

    def write(b: Flow, out: Val, samples: Val, shapes: Val, totals: Val, count: Val) -> None:
        m = Maths(b)
        counter, fraction = b.alloca(I64, align=8), _Fraction(b)

        def beta_fraction(p: Val, q: Val, x: Val, first: bool) -> tuple[Val, Val]:
            """The fraction of I_x(p, q) = x^p (1 - x)^q / (p B(p, q)) C, and d log C by p (``first``) or by q."""
            both, next_ = m.add(p, q), m.add(p, 1)
            lead = m.div(m.mul(both, x), next_)
            if first:
                by = m.div(m.mul(x, m.sub(next_, both)), m.mul(next_, next_))
            else:
                by = m.div(x, next_)
            fraction.start(m.sub(1, lead), b.fneg(by))
            b.store(b.const(F64, 1), fraction.c, 8)
            b.store(b.i64(0), counter, 8)

            def body() -> Val:
                k = _counted(b, counter)
                even, odd = m.add(p, m.mul(2, k)), m.add(next_, m.mul(2, k))
                before = m.sub(even, 1)
                scale = m.div(m.mul(k, x), m.mul(before, even))
                a = m.mul(scale, m.sub(q, k))
                da = b.fneg(m.mul(a, m.add(m.div(1, before), m.div(1, even)))) if first else scale
                change = fraction.step(a, da, 1.0, 0.0)
                one, two = m.add(p, k), m.add(both, k)
                a = b.fneg(m.div(m.mul(m.mul(one, two), x), m.mul(even, odd)))
                slope = m.div(1, two)
                if first:
                    slope = m.sub(m.add(slope, m.div(1, one)), m.add(m.div(1, even), m.div(1, odd)))
                last = fraction.step(a, m.mul(a, slope), 1.0, 0.0)
                return _done(b, counter, m.add(change, last))

            until(b, body)
            return fraction.result()

        with b.loop(0, count) as loop:
            x, a, total = (get(b, code, "f64", p, loop.index) for p in (samples, shapes, totals))
            rest = m.sub(total, a)
            logarithm = m.add(m.sub(m.log(x), vecmath.apply(b, "digamma", a)), vecmath.apply(b, "digamma", total))

            def lower(x: Val = x, a: Val = a, rest: Val = rest, logarithm: Val = logarithm) -> list[Val]:
                value, slope = beta_fraction(a, rest, x, True)
                inner = m.sub(m.add(logarithm, slope), m.div(1, a))
                return [b.fneg(m.mul(m.mul(m.div(x, a), value), inner))]

            def upper(x: Val = x, a: Val = a, rest: Val = rest, logarithm: Val = logarithm) -> list[Val]:
                value, slope = beta_fraction(rest, a, m.sub(1, x), False)
                return [m.mul(m.mul(m.div(x, rest), value), m.add(logarithm, slope))]

            near = m.is_("olt", x, m.div(m.add(a, 1), m.add(total, 2)))
            lawful = b.op("and", m.is_("oge", x, 0.0), m.is_("ole", x, 1.0))
            lawful = b.op("and", lawful, b.op("and", m.is_("ogt", a, 0.0), m.is_("oge", rest, 0.0)))

            def usual(near: Val = near, lower: _Parts = lower, upper: _Parts = upper) -> list[Val]:
                return b.choose(near, lower, upper)

            [value] = b.choose(lawful, usual, lambda: [b.const(F64, math.nan)])
            put(b, value, "f64", code, out, loop.index)

    args = [(PTR, "out"), (PTR, "samples"), (PTR, "shapes"), (PTR, "totals"), (I64, "count")]
    export(module, isa, "dirichlet_gradient", args, write)
