"""Random samplers that draw until they accept, or walk a table: Poisson, binomial, gamma, Dirichlet, multinomial.

Written in scalar code over ``mersenne``; each takes the address of a generator's state first.  The algorithms:

* Poisson: from 10 on PTRS of W. Hoermann, "The transformed rejection method for generating Poisson random variables"
  (Insurance: Mathematics and Economics 12, 1993); below, the product of uniforms (D. E. Knuth, TAOCP 2, 3.4.1).
* Binomial: from a mean of 10 on BTRS of W. Hoermann, "The generation of binomial random variates" (J. Stat. Comput.
  Simul. 46, 1993); below, the sum of geometric numbers (L. Devroye, "Non-Uniform Random Variate Generation", X.4).
* Gamma: G. Marsaglia, W. W. Tsang, "A simple method for generating gamma variables" (ACM TOMS 26, 2000), with their
  boost for shapes below 1.
* Multinomial with replacement: bisection in the running sums of a row.

Products are not fused here, as the stream that these match was not made with fused ones.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from ..target.builder import Module, Val, float_const
from ..target.isa import ISA
from ..target.scalar import cast
from .flow import Flow, function
from .mersenne import COUNT, F32, F64, I64, OUT, PTR, STATE, export, get, libm, next_normal, next_uniform, put

__all__ = ["Maths", "binomial", "dirichlet", "gamma", "multinomial", "poisson", "rrelu", "until"]

_TINY = {"f32": 2.0**-126, "f64": 2.0**-1022}
_BELOW_ONE = {"f32": 1 - 2.0**-24, "f64": 1 - 2.0**-53}
_THIRD = struct.unpack("f", struct.pack("f", 1 / 3))[0]  # the stream's gamma numbers use 1/3 in single precision


def until(b: Flow, body: Callable[[], Val]) -> None:
    """Repeats ``body`` until the condition that it returns holds."""
    again, done = b.label("again"), b.label("accepted")
    b.br(again)
    b.place(again)
    b.cond_br(body(), done, again)
    b.place(done)


def _while(b: Flow, condition: Callable[[], Val], body: Callable[[], None]) -> None:
    """Runs ``body`` as long as the condition holds before it."""
    head, inside, done = b.label("while"), b.label("inside"), b.label("past")
    b.br(head)
    b.place(head)
    b.cond_br(condition(), inside, done)
    b.place(inside)
    body()
    b.br(head)
    b.place(done)


def _number(value: float) -> Val:
    """A constant of double precision."""
    return Val(float_const(value, F64), F64)


class Maths:
    """Arithmetic of doubles with Python numbers mixed in."""

    def __init__(self, b: Flow) -> None:
        self.b = b

    def _two(self, op: str, x: Val | float, y: Val | float) -> Val:
        x, y = (v if isinstance(v, Val) else _number(v) for v in (x, y))
        return self.b.op(op, x, y)

    def add(self, x: Val | float, y: Val | float) -> Val:
        """x + y."""
        return self._two("fadd", x, y)

    def sub(self, x: Val | float, y: Val | float) -> Val:
        """x - y."""
        return self._two("fsub", x, y)

    def mul(self, x: Val | float, y: Val | float) -> Val:
        """x * y."""
        return self._two("fmul", x, y)

    def div(self, x: Val | float, y: Val | float) -> Val:
        """x / y."""
        return self._two("fdiv", x, y)

    def is_(self, predicate: str, x: Val, y: Val | float) -> Val:
        """Whether x and y compare so (LLVM's predicate)."""
        return self.b.cmp(predicate, x, y if isinstance(y, Val) else _number(y))

    def sqrt(self, x: Val) -> Val:
        """The square root."""
        return self.b.intrinsic("llvm.sqrt", F64, x)

    def floor(self, x: Val) -> Val:
        """The greatest integer that is not above x."""
        return self.b.intrinsic("llvm.floor", F64, x)

    def abs(self, x: Val) -> Val:
        """The magnitude."""
        return self.b.intrinsic("llvm.fabs", F64, x)

    def log(self, x: Val) -> Val:
        """The logarithm, as the C library computes it: draws are PyTorch's bit for bit."""
        return libm(self.b, "log", x)

    def rounded(self, x: Val, code: str) -> Val:
        """``x`` rounded to float32 where the elements are."""
        return x if code == "f64" else self.b.cast("fpext", self.b.cast("fptrunc", x, F32), F64)


def _all(b: Flow, *conditions: Val) -> Val:
    result = conditions[0]
    for condition in conditions[1:]:
        result = b.op("and", result, condition)
    return result


def _not(b: Flow, condition: Val) -> Val:
    return b.op("xor", condition, b.const("i1", 1))


def _any_outside(b: Flow, count: Val, inside: Callable[[Val], Val]) -> Val:
    """1 (i64) if ``inside(index)`` fails for one of the indices, else 0."""
    with b.loop(0, count, carry=[b.i64(0)]) as loop:
        outside = b.cast("zext", _not(b, inside(loop.index)), I64)
        loop.next = [b.op("or", loop.values[0], outside)]
    return loop.values[0]


# -- Poisson ---------------------------------------------------------------------------------------


def _poisson_small(b: Flow, isa: ISA, state: Val, rate: Val, product: Val, number: Val) -> Val:
    m = Maths(b)
    limit = libm(b, "exp", b.fneg(rate))
    b.store(b.const(F64, 1), product, 8)
    b.store(b.const(F64, -1), number, 8)

    def body() -> Val:
        left = m.mul(b.load(F64, product, 8), next_uniform(b, isa, state))
        b.store(left, product, 8)
        b.store(m.add(b.load(F64, number, 8), 1), number, 8)
        return _not(b, m.is_("ogt", left, limit))

    until(b, body)
    return b.load(F64, number, 8)


def _poisson_big(b: Flow, isa: ISA, state: Val, rate: Val, accepted: Val, number: Val) -> Val:
    m = Maths(b)
    root, log_rate = m.sqrt(rate), m.log(rate)
    slope = m.add(0.931, m.mul(2.53, root))
    width = m.add(-0.059, m.mul(0.02483, slope))
    log_inverse = m.log(m.add(1.1239, m.div(1.1328, m.sub(slope, 3.4))))
    squeeze = m.sub(0.9277, m.div(3.6224, m.sub(slope, 2)))

    def body() -> Val:
        u = m.sub(next_uniform(b, isa, state), 0.5)
        v = next_uniform(b, isa, state)
        edge = m.sub(0.5, m.abs(u))
        inner = m.add(m.div(m.mul(2, width), edge), slope)
        k = m.floor(m.add(m.add(m.mul(inner, u), rate), 0.43))
        b.store(k, number, 8)
        fast = _all(b, m.is_("oge", edge, 0.07), m.is_("ole", v, squeeze))
        narrow = _all(b, m.is_("olt", edge, 0.013), m.is_("ogt", v, edge))
        reject = b.op("or", m.is_("olt", k, 0), narrow)
        b.store(b.cast("zext", fast, I64), accepted, 8)
        with b.when(_not(b, b.op("or", fast, reject))):
            bell = m.add(m.div(width, m.mul(edge, edge)), slope)
            left = m.sub(m.add(m.log(v), log_inverse), m.log(bell))
            right = m.sub(m.add(b.fneg(rate), m.mul(k, log_rate)), libm(b, "lgamma", m.add(k, 1)))
            b.store(b.cast("zext", m.is_("ole", left, right), I64), accepted, 8)
        return b.icmp("ne", b.load(I64, accepted, 8), 0)

    until(b, body)
    return b.load(F64, number, 8)


def poisson(module: Module, isa: ISA, code: str) -> None:
    """``poisson(state, out, rates, count)``: 1, and nothing drawn, if a rate is negative or NaN."""

    def write(b: Flow, state: Val, out: Val, rates: Val, count: Val) -> Val:
        m = Maths(b)
        first, second = (b.alloca(F64, align=8) for _ in range(2))
        bad = _any_outside(b, count, lambda i: m.is_("oge", get(b, code, "f64", rates, i), 0))
        with b.loop(0, b.select(b.icmp("eq", bad, 0), count, b.i64(0))) as loop:
            rate = get(b, code, "f64", rates, loop.index)

            def small(rate: Val = rate) -> list[Val]:
                def draw() -> list[Val]:
                    return [_poisson_small(b, isa, state, rate, first, second)]

                return b.choose(m.is_("oeq", rate, 0), lambda: [b.const(F64, 0)], draw)

            def big(rate: Val = rate) -> list[Val]:
                return [_poisson_big(b, isa, state, rate, first, second)]

            [value] = b.choose(m.is_("oge", rate, 10), big, small)
            put(b, value, "f64", code, out, loop.index)
        return bad

    args = [STATE, OUT, (PTR, "rates"), COUNT]
    export(module, isa, "poisson", args, write)


# -- binomial --------------------------------------------------------------------------------------

# The tail of Stirling's series, log(k!) - (k + 1/2) log(k + 1) + (k + 1) - log(2 pi) / 2, for k up to 9
_STIRLING = (
    0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
    0.0138761288230707, 0.0118967099458917, 0.0104112652619720, 0.00925546218271273, 0.00833056343336287,
)  # fmt: skip


def _stirling(b: Flow, isa: ISA, k: Val) -> Val:
    def write(b: Flow, k: Val) -> None:
        m = Maths(b)

        def table() -> list[Val]:
            value = b.const(F64, _STIRLING[9])
            for n in range(8, -1, -1):
                value = b.select(m.is_("oeq", k, float(n)), b.const(F64, _STIRLING[n]), value)
            return [value]

        def series() -> list[Val]:
            next_ = m.add(k, 1)
            square = m.mul(next_, next_)
            inner = m.sub(1 / 360, m.div(1 / 1260, square))
            return [m.div(m.sub(1 / 12, m.div(inner, square)), next_)]

        b.ret(b.choose(m.is_("ole", k, 9), table, series)[0])

    name = function(b.module, isa, "stirling", [(F64, "k")], write, result=F64)
    return b.call(F64, name, k)


def _binomial_small(b: Flow, isa: ISA, state: Val, n: Val, p: Val, total: Val, number: Val) -> Val:
    m = Maths(b)
    log_failure = libm(b, "log1p", b.fneg(p))
    b.store(b.const(F64, 0), total, 8)
    b.store(b.const(F64, -1), number, 8)

    def body() -> Val:
        gap = b.intrinsic("llvm.ceil", F64, m.div(m.log(next_uniform(b, isa, state)), log_failure))
        reached = m.add(b.load(F64, total, 8), gap)
        b.store(reached, total, 8)
        b.store(m.add(b.load(F64, number, 8), 1), number, 8)
        return m.is_("ogt", reached, n)

    until(b, body)
    return b.load(F64, number, 8)


def _binomial_big(b: Flow, isa: ISA, code: str, state: Val, n: Val, p: Val, accepted: Val, number: Val) -> Val:
    m = Maths(b)

    def narrow(value: Val) -> Val:
        return m.rounded(value, code)

    mean, failure = narrow(m.mul(n, p)), narrow(m.sub(1, p))
    deviation = narrow(m.sqrt(narrow(m.mul(mean, failure))))
    slope = m.add(1.15, m.mul(2.53, deviation))
    width = m.add(m.add(-0.0873, m.mul(0.0248, slope)), m.mul(0.01, p))
    centre = m.add(mean, 0.5)
    squeeze = m.sub(0.92, m.div(4.2, slope))
    odds = narrow(m.div(p, failure))
    alpha = m.mul(m.add(2.83, m.div(5.1, slope)), deviation)
    more = narrow(m.add(n, 1))
    mode = m.floor(narrow(m.mul(more, p)))

    def body() -> Val:
        u = m.sub(next_uniform(b, isa, state), 0.5)
        v = next_uniform(b, isa, state)
        edge = m.sub(0.5, m.abs(u))
        inner = m.add(m.div(m.mul(2, width), edge), slope)
        k = narrow(m.floor(m.add(m.mul(inner, u), centre)))
        b.store(k, number, 8)
        fast = _all(b, m.is_("oge", edge, 0.07), m.is_("ole", v, squeeze))
        reject = b.op("or", m.is_("olt", k, 0), m.is_("ogt", k, n))
        b.store(b.cast("zext", fast, I64), accepted, 8)
        with b.when(_not(b, b.op("or", fast, reject))):
            bell = m.add(m.div(width, m.mul(edge, edge)), slope)
            left = m.log(m.div(m.mul(v, alpha), bell))
            rest, rest_mode = narrow(m.add(narrow(m.sub(n, k)), 1)), m.add(m.sub(n, mode), 1)
            right = m.mul(m.add(mode, 0.5), m.log(m.div(m.add(mode, 1), m.mul(odds, rest_mode))))
            right = m.add(right, m.mul(more, m.log(m.div(rest_mode, rest))))
            right = m.add(right, m.mul(m.add(k, 0.5), m.log(m.div(m.mul(odds, rest), m.add(k, 1)))))
            right = m.add(right, _stirling(b, isa, mode))
            right = m.add(right, _stirling(b, isa, m.sub(n, mode)))
            right = m.sub(right, _stirling(b, isa, k))
            right = m.sub(right, _stirling(b, isa, m.sub(n, k)))
            b.store(b.cast("zext", m.is_("ole", left, right), I64), accepted, 8)
        return b.icmp("ne", b.load(I64, accepted, 8), 0)

    until(b, body)
    return b.load(F64, number, 8)


def binomial(module: Module, isa: ISA, code: str) -> None:
    """``binomial(state, out, numbers, chances, count)``: successes among ``numbers`` trials.

    NaN where either is NaN or the number infinite; a chance beyond 0 or 1 counts as 0 or 1.
    """

    def write(b: Flow, state: Val, out: Val, numbers: Val, chances: Val, count: Val) -> None:
        m = Maths(b)
        first, second = (b.alloca(F64, align=8) for _ in range(2))
        with b.loop(0, count) as loop:
            n, p = get(b, code, "f64", numbers, loop.index), get(b, code, "f64", chances, loop.index)
            many = m.is_("ogt", p, 0.5)
            q = b.select(many, m.rounded(m.sub(1, p), code), p)
            impossible = b.op("or", m.is_("ole", n, 0), m.is_("ole", p, 0))
            certain = m.is_("oge", p, 1)
            unknown = b.op("or", m.is_("uno", n, p), m.is_("oeq", n, float("inf")))

            def constant(impossible: Val = impossible, unknown: Val = unknown, n: Val = n) -> list[Val]:
                value = b.select(unknown, b.const(F64, float("nan")), n)
                return [b.select(impossible, b.const(F64, 0), value)]

            def draw(n: Val = n, q: Val = q, many: Val = many) -> list[Val]:
                [value] = b.choose(
                    m.is_("oge", m.rounded(m.mul(n, q), code), 10),
                    lambda: [_binomial_big(b, isa, code, state, n, q, first, second)],
                    lambda: [_binomial_small(b, isa, state, n, q, first, second)],
                )
                return [b.select(many, m.sub(n, value), value)]

            [value] = b.choose(b.op("or", b.op("or", impossible, certain), unknown), constant, draw)
            put(b, value, "f64", code, out, loop.index)

    args = [STATE, OUT, (PTR, "numbers"), (PTR, "chances"), COUNT]
    export(module, isa, "binomial", args, write)


# -- gamma -----------------------------------------------------------------------------------------


def _gamma(b: Flow, isa: ISA, state: Val, shape: Val, code: str) -> Val:
    """One gamma number of scale 1; NaN for a negative shape or NaN.

    ``code`` is the type in which the constants that depend on the shape are rounded.
    """

    def write(b: Flow, state: Val, shape: Val) -> None:
        m = Maths(b)
        accepted, number = b.alloca(I64, align=8), b.alloca(F64, align=8)

        def constant() -> list[Val]:
            return [b.select(m.is_("oeq", shape, 0), b.const(F64, 0), b.const(F64, float("nan")))]

        def boost() -> list[Val]:
            exponent = m.rounded(m.div(1, shape), code)
            scale = libm(b, "pow", m.sub(1, next_uniform(b, isa, state)), exponent)
            return [scale, m.rounded(m.add(shape, 1), code)]

        def draw() -> list[Val]:
            scale, raised = b.choose(m.is_("olt", shape, 1), boost, lambda: [b.const(F64, 1), shape])
            d = m.rounded(m.sub(raised, _THIRD), code)
            c = m.div(1, m.sqrt(m.mul(9, d)))

            def positive() -> Val:
                x = next_normal(b, isa, state)
                b.store(x, number, 8)
                return m.is_("ogt", m.add(1, m.mul(c, x)), 0)

            def body() -> Val:
                until(b, positive)
                x = b.load(F64, number, 8)
                y = m.add(1, m.mul(c, x))
                v = m.mul(m.mul(y, y), y)
                u = m.sub(1, next_uniform(b, isa, state))
                square = m.mul(x, x)
                fast = m.is_("olt", u, m.sub(1, m.mul(m.mul(0.0331, square), square)))
                b.store(b.cast("zext", fast, I64), accepted, 8)
                with b.when(_not(b, fast)):
                    right = m.add(m.mul(0.5, square), m.mul(d, m.add(m.sub(1, v), m.log(v))))
                    b.store(b.cast("zext", m.is_("olt", m.log(u), right), I64), accepted, 8)
                b.store(m.mul(m.mul(scale, d), v), number, 8)
                return b.icmp("ne", b.load(I64, accepted, 8), 0)

            until(b, body)
            return [b.load(F64, number, 8)]

        b.ret(b.choose(m.is_("ogt", shape, 0), draw, constant)[0])

    name = function(b.module, isa, "gamma_" + code, [STATE, (F64, "shape")], write, result=F64, attributes="noinline")
    return b.call(F64, name, state, shape)


def _at_least(b: Flow, value: Val, bound: float) -> Val:
    """``value``, or ``bound`` where it is smaller; NaN stays."""
    return b.select(b.cmp("olt", value, b.const(F64, bound)), b.const(F64, bound), value)


def gamma(module: Module, isa: ISA, code: str) -> None:
    """``gamma(state, out, shapes, count)``: of scale 1, never below the smallest normal number."""

    def write(b: Flow, state: Val, out: Val, shapes: Val, count: Val) -> None:
        with b.loop(0, count) as loop:
            value = _gamma(b, isa, state, get(b, code, "f64", shapes, loop.index), code)
            put(b, _at_least(b, value, _TINY[code]), "f64", code, out, loop.index)

    export(module, isa, "gamma", [STATE, OUT, (PTR, "shapes"), COUNT], write)


def dirichlet(module: Module, isa: ISA, code: str) -> None:
    """``dirichlet(state, out, shapes, scratch, rows, columns)``: rows of gamma numbers divided by their sum.

    No share is 0 or 1.  ``scratch`` has room for one row of doubles.
    """

    def write(b: Flow, state: Val, out: Val, shapes: Val, scratch: Val, rows: Val, columns: Val) -> None:
        with b.loop(0, rows) as row:
            first = b.imul(row.index, columns)
            with b.loop(0, columns, carry=[b.const(F64, 0)]) as loop:
                shape = get(b, code, "f64", shapes, b.iadd(first, loop.index))
                value = _at_least(b, _gamma(b, isa, state, shape, "f64"), _TINY["f64"])
                b.store(value, b.at(F64, scratch, loop.index), 8)
                loop.next = [b.fadd(loop.values[0], value)]
            total = loop.values[0]
            with b.loop(0, columns) as loop:
                share = b.fdiv(b.load(F64, b.at(F64, scratch, loop.index), 8), total)
                share = _at_least(b, share, _TINY[code])
                below = b.const(F64, _BELOW_ONE[code])
                share = b.select(b.cmp("ogt", share, below), below, share)
                put(b, share, "f64", code, out, b.iadd(first, loop.index))

    args = [STATE, OUT, (PTR, "shapes"), (PTR, "scratch"), (I64, "rows"), (I64, "columns")]
    export(module, isa, "dirichlet", args, write)


# -- multinomial and the randomised leaky ReLU -----------------------------------------------------


def multinomial(module: Module, isa: ISA, code: str) -> None:
    """``multinomial(state, out, weights, scratch, rows, columns, samples)``: indices drawn with replacement.

    ``out`` is i64 of (rows, samples), ``scratch`` has room for one row of doubles.  Returns 1 for a weight that is
    negative, infinite or NaN, and 2 for a row whose sum is not positive.
    """
    double = code == "f64"
    elem, source = (F64, "f64") if double else (F32, "f32")

    def write(b: Flow, state: Val, out: Val, weights: Val, scratch: Val, rows: Val, columns: Val, samples: Val) -> Val:
        result = b.alloca(I64, align=8)
        slots = b.alloca(I64, align=8), b.alloca(I64, align=8)
        b.store(b.i64(0), result, 8)

        def sums(row: Val) -> Val:
            """Writes the running sums of a row; returns the whole sum."""
            with b.loop(0, columns, carry=[b.const(elem, 0), b.i64(0)]) as loop:
                weight = get(b, code, source, weights, b.iadd(b.imul(row, columns), loop.index))
                infinity = b.const(elem, float("inf"))
                inside = _all(b, b.cmp("oge", weight, b.const(elem, 0)), b.cmp("olt", weight, infinity))
                total = b.fadd(loop.values[0], weight)
                b.store(total, b.at(elem, scratch, loop.index), 8)
                loop.next = [total, b.op("or", loop.values[1], b.cast("zext", _not(b, inside), I64))]
            total, bad = loop.values
            empty = b.cast("zext", _not(b, b.cmp("ogt", total, b.const(elem, 0))), I64)
            fault = b.select(b.icmp("ne", bad, 0), b.i64(1), b.imul(empty, 2))
            with b.when(b.icmp("eq", b.load(I64, result, 8), 0)):
                b.store(fault, result, 8)
            return total

        with b.loop(0, rows) as row:
            sums(row.index)  # all rows are checked before anything is drawn
        with b.loop(0, b.select(b.icmp("eq", b.load(I64, result, 8), 0), rows, b.i64(0))) as row:
            total = sums(row.index)
            with b.loop(0, columns) as loop:
                place = b.at(elem, scratch, loop.index)
                b.store(b.fdiv(b.load(elem, place, 8), total), place, 8)
            with b.loop(0, samples) as loop:
                unit = next_uniform(b, isa, state)
                found = _bisect(b, unit, elem, scratch, columns, slots)
                b.store(found, b.at(I64, out, b.iadd(b.imul(row.index, samples), loop.index)), 8)
        return b.load(I64, result, 8)

    args = [STATE, OUT, (PTR, "weights"), (PTR, "scratch"), (I64, "rows"), (I64, "columns"), (I64, "samples")]
    export(module, isa, "multinomial", args, write)


def _bisect(b: Flow, unit: Val, elem: str, sums: Val, columns: Val, slots: tuple[Val, Val]) -> Val:
    """The first index whose running sum is at least ``unit``, at most the last one."""
    low, high = slots
    b.store(b.i64(0), low, 8)
    b.store(b.isub(columns, 1), high, 8)

    def halve() -> None:
        middle = b.op("lshr", b.iadd(b.load(I64, low, 8), b.load(I64, high, 8)), b.i64(1))
        sum_ = b.load(elem, b.at(elem, sums, middle))
        less = b.cmp("olt", sum_ if elem == F64 else b.cast("fpext", sum_, F64), unit)
        b.store(b.select(less, b.iadd(middle, 1), b.load(I64, low, 8)), low, 8)
        b.store(b.select(less, b.load(I64, high, 8), middle), high, 8)

    _while(b, lambda: b.icmp("slt", b.load(I64, low, 8), b.load(I64, high, 8)), halve)
    return b.load(I64, low, 8)


def rrelu(module: Module, isa: ISA, code: str) -> None:
    """``rrelu(state, out, values, noise, count, low, high)``: values not above 0 times a slope drawn for each.

    ``noise`` becomes the slopes, 1 where the value is positive.
    """
    source = "f64" if code == "f64" else "f32"

    def write(b: Flow, state: Val, out: Val, values: Val, noise: Val, count: Val, low: Val, high: Val) -> None:
        m = Maths(b)
        low, high = (m.rounded(v, source) for v in (low, high))
        width = m.sub(high, low)
        with b.loop(0, count) as loop:
            value = get(b, code, source, values, loop.index)

            def slope() -> list[Val]:
                return [cast(b, m.add(m.mul(next_uniform(b, isa, state), width), low), "f64", source)]

            one = [b.const(value.type, 1)]
            [factor] = b.choose(b.cmp("ole", value, b.const(value.type, 0)), slope, one.copy)
            put(b, factor, source, code, noise, loop.index)
            put(b, b.fmul(value, factor), source, code, out, loop.index)

    args = [STATE, OUT, (PTR, "values"), (PTR, "noise"), COUNT, (F64, "low"), (F64, "high")]
    export(module, isa, "rrelu", args, write)
