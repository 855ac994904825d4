"""Arithmetic notation for LLVM values: ``Lanes`` makes ``a * b + c`` append instructions.

A ``Lanes`` is a scalar or vector value of a ``Builder`` with Python's operators.  Numbers mix in as
constants of the value's type.  On floating-point values comparisons are ordered (false for NaN) and ``!=``
is true for NaN; on integers arithmetic is modular, ``<`` is signed and ``>>`` shifts in zeros.

The error-free transformations are Dekker's and Knuth's (Muller et al., *Handbook of Floating-Point
Arithmetic*, chapter 4).  ``mad`` is for places where one rounding more does no harm: it is a fused
multiply-add where the machine has one and two instructions elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..builder import Builder, Val, elem_type, float_const, lanes_of, vec_type

__all__ = [
    "Lanes",
    "any_true",
    "avx512",
    "chop",
    "fast_two_sum",
    "has_avx512",
    "horner",
    "mad",
    "of_sixteen",
    "two_prod",
    "two_sum",
    "where",
]

_FLOATS = ("float", "double")
_SPLITTER = {"float": 4097.0, "double": 134217729.0}  # Veltkamp's 2^ceil(p/2) + 1
_INT_OF = {"float": "i32", "double": "i64"}
_FLOAT_OF = {"i32": "float", "i64": "double"}


class Lanes:
    """A value of ``builder`` with operators; ``value`` is the plain ``Val``."""

    __slots__ = ("builder", "value")

    def __init__(self, builder: Builder, value: Val) -> None:
        self.builder = builder
        self.value = value

    # -- description -----------------------------------------------------------------------------
    @property
    def type(self) -> str:
        """The LLVM type."""
        return self.value.type

    @property
    def elem(self) -> str:
        """The LLVM type of one lane."""
        return elem_type(self.value.type)

    @property
    def count(self) -> int:
        """The number of lanes."""
        return lanes_of(self.value.type)

    @property
    def is_float(self) -> bool:
        """Whether lanes are floats."""
        return self.elem in _FLOATS

    @property
    def single(self) -> bool:
        """Whether the elements are ``float`` (else ``double``)."""
        return self.elem == "float"

    # -- building --------------------------------------------------------------------------------
    def like(self, value: float | int | bool) -> Lanes:
        """The constant ``value`` in this value's type."""
        return Lanes(self.builder, self.builder.const(self.type, value))

    def _operand(self, other: Lanes | float | int) -> Val:
        return other.value if isinstance(other, Lanes) else self.builder.const(self.type, other)

    def _binary(self, float_op: str, int_op: str, other: Lanes | float | int) -> Lanes:
        name = float_op if self.is_float else int_op
        return Lanes(self.builder, self.builder.op(name, self.value, self._operand(other)))

    def _compare(self, float_op: str, int_op: str, other: Lanes | float | int) -> Lanes:
        name = float_op if self.is_float else int_op
        return Lanes(self.builder, self.builder.cmp(name, self.value, self._operand(other)))

    def __add__(self, other: Lanes | float | int) -> Lanes:
        return self._binary("fadd", "add", other)

    def __sub__(self, other: Lanes | float | int) -> Lanes:
        return self._binary("fsub", "sub", other)

    def __rsub__(self, other: float | int) -> Lanes:
        return self.like(other) - self

    def __mul__(self, other: Lanes | float | int) -> Lanes:
        return self._binary("fmul", "mul", other)

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return Lanes(self.builder, self.builder.fdiv(self.value, self._operand(other)))

    def __rtruediv__(self, other: float) -> Lanes:
        return self.like(other) / self

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Lanes:
        return Lanes(self.builder, self.builder.fneg(self.value)) if self.is_float else self.like(0) - self

    def __and__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.builder, self.builder.op("and", self.value, self._operand(other)))

    def __or__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.builder, self.builder.op("or", self.value, self._operand(other)))

    def __xor__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.builder, self.builder.op("xor", self.value, self._operand(other)))

    def __invert__(self) -> Lanes:
        return self ^ -1

    def __lshift__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.builder, self.builder.op("shl", self.value, self._operand(other)))

    def __rshift__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.builder, self.builder.op("lshr", self.value, self._operand(other)))

    def ashr(self, other: Lanes | int) -> Lanes:
        """Shift right keeping the sign."""
        return Lanes(self.builder, self.builder.op("ashr", self.value, self._operand(other)))

    def __lt__(self, other: Lanes | float | int) -> Lanes:
        return self._compare("olt", "slt", other)

    def __le__(self, other: Lanes | float | int) -> Lanes:
        return self._compare("ole", "sle", other)

    def __gt__(self, other: Lanes | float | int) -> Lanes:
        return self._compare("ogt", "sgt", other)

    def __ge__(self, other: Lanes | float | int) -> Lanes:
        return self._compare("oge", "sge", other)

    def equals(self, other: Lanes | float | int) -> Lanes:
        """Elementwise equality (``==`` is left to Python)."""
        return self._compare("oeq", "eq", other)

    def differs(self, other: Lanes | float | int) -> Lanes:
        """Elementwise inequality, true for NaN."""
        return self._compare("une", "ne", other)

    def below(self, other: Lanes | int) -> Lanes:
        """Unsigned ``<`` of integers."""
        return Lanes(self.builder, self.builder.cmp("ult", self.value, self._operand(other)))

    def is_nan(self) -> Lanes:
        """Where lanes are NaN."""
        return Lanes(self.builder, self.builder.cmp("uno", self.value, self.value))

    # -- conversions -----------------------------------------------------------------------------
    def bits(self) -> Lanes:
        """The bit patterns of floating-point elements, as integers of the same width."""
        return self.cast("bitcast", _INT_OF[self.elem])

    def as_float(self) -> Lanes:
        """Integer elements reinterpreted as floating-point ones of the same width."""
        return self.cast("bitcast", _FLOAT_OF[self.elem])

    def cast(self, how: str, elem: str) -> Lanes:
        """``how`` (``sitofp``, ``fpext`` ...) to elements of type ``elem``."""
        return Lanes(self.builder, self.builder.cast(how, self.value, vec_type(elem, self.count)))

    def widen(self) -> Lanes:
        """float as double, exactly."""
        return self.cast("fpext", "double")

    def narrow(self) -> Lanes:
        """double as float, rounded."""
        return self.cast("fptrunc", "float")

    # -- instructions of their own -----------------------------------------------------------------
    def _intrinsic(self, name: str, *others: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.intrinsic(name, self.type, self.value, *(o.value for o in others)))

    def abs(self) -> Lanes:
        """The magnitude of each lane."""
        return self._intrinsic("llvm.fabs")

    def sqrt(self) -> Lanes:
        """The square root of each lane, correctly rounded."""
        return self._intrinsic("llvm.sqrt")

    def rounded(self, how: str) -> Lanes:
        """``floor``, ``ceil``, ``trunc`` or ``rint``; only where the module has ``round_instructions``."""
        return self._intrinsic(f"llvm.{how}")

    def to_float(self) -> Lanes:
        """Signed integers as floating-point numbers of the same width."""
        return self.cast("sitofp", _FLOAT_OF[self.elem])

    def copysign(self, sign: Lanes) -> Lanes:
        """This magnitude with the sign of ``sign``."""
        return self._intrinsic("llvm.copysign", sign)

    def toggled_sign(self, other: Lanes) -> Lanes:
        """This value, negated where ``other`` has its sign bit set."""
        bit = -(1 << (31 if self.single else 63))
        return (self.bits() ^ (other.bits() & bit)).as_float()

    def at_most(self, bound: Lanes | float) -> Lanes:
        """The minimum with ``bound``; NaN stays NaN."""
        limit = bound if isinstance(bound, Lanes) else self.like(bound)
        return where(limit < self, limit, self)

    def at_least(self, bound: Lanes | float) -> Lanes:
        """The maximum with ``bound``; NaN stays NaN."""
        limit = bound if isinstance(bound, Lanes) else self.like(bound)
        return where(limit > self, limit, self)


def where(mask: Lanes, yes: Lanes | float | int, no: Lanes | float | int) -> Lanes:
    """Elementwise choice; at least one of ``yes`` and ``no`` must be ``Lanes``."""
    if not isinstance(yes, Lanes):
        assert isinstance(no, Lanes)
        yes = no.like(yes)
    if not isinstance(no, Lanes):
        no = yes.like(no)
    return Lanes(yes.builder, yes.builder.select(mask.value, yes.value, no.value))


def any_true(mask: Lanes) -> Val:
    """Whether any lane of an ``i1`` mask is set, as a scalar ``i1``."""
    if mask.count == 1:
        return mask.value
    return mask.builder.intrinsic("llvm.vector.reduce.or", "i1", mask.value, overload=mask.type)


def mad(a: Lanes, b: Lanes | float, c: Lanes | float) -> Lanes:
    """``a * b + c``, rounded once where the machine can fuse, else twice."""
    factor = b if isinstance(b, Lanes) else a.like(b)
    term = c if isinstance(c, Lanes) else a.like(c)
    if a.builder.module.fma:
        return Lanes(a.builder, a.builder.fma(a.value, factor.value, term.value))
    return a * factor + term


def horner(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """The polynomial with these coefficients, lowest power first."""
    result = x.like(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = mad(result, x, coefficient)
    return result


def horner_pair(x: Lanes, coefficients: Sequence[float], exact: int) -> tuple[Lanes, Lanes]:
    """``horner`` as a sum of two numbers: the last ``exact`` steps with what each rounded away (Graillat, Langlois and
    Louvet, "Compensated Horner scheme", 2005)."""
    value, low = horner(x, coefficients[exact:]), x.like(0.0)
    for coefficient in reversed(coefficients[:exact]):
        product, lost = two_prod(value, x)
        value, more = two_sum(product, x.like(coefficient))
        low = mad(low, x, lost + more)
    return value, low


def of_sixteen(index: Lanes, values: Sequence[float]) -> Lanes:
    """The one of sixteen float ``values`` that the low four bits of each 32-bit ``index`` name.

    Only where ``Module.avx512`` is set: a register holds the table and one instruction looks up sixteen lanes.
    Any number of lanes, a scalar too, gets the same values.
    """
    builder, width = index.builder, 16
    table = "<" + ", ".join(f"float {float_const(value, 'float')}" for value in values) + ">"
    type_, index_type = vec_type("float", width), vec_type("i32", width)
    symbol = builder.module.declare("llvm.x86.avx512.permvar.sf.512", type_, [type_, index_type])
    if index.count == 1:
        spread = builder.new(index_type, f"insertelement {index_type} poison, {index.value}, i32 0")
        found = builder.call(type_, symbol, Val(table, type_), spread)
        return Lanes(builder, builder.new("float", f"extractelement {found}, i32 0"))
    if index.count < width:
        mask = ", ".join(f"i32 {min(i, index.count - 1)}" for i in range(width))
        text = f"shufflevector {index.value}, {index.type} poison, <{width} x i32> <{mask}>"
        found = builder.call(type_, symbol, Val(table, type_), builder.new(index_type, text))
        return Lanes(builder, _piece(Lanes(builder, found), 0, index.count))
    results = [
        Lanes(builder, builder.call(type_, symbol, Val(table, type_), _piece(index, start, width)))
        for start in range(0, index.count, width)
    ]
    while len(results) > 1:
        results = [_join(a, b) for a, b in zip(results[::2], results[1::2], strict=True)]
    return results[0]


def has_avx512(x: Lanes) -> bool:
    """Whether ``avx512`` may be used on values of x's type."""
    return x.builder.module.avx512 and x.count >= (4 if x.single else 2) and x.count & (x.count - 1) == 0


def avx512(x: Lanes, name: str, other: Lanes | None = None, mode: int | None = None) -> Lanes:
    """The AVX-512 instruction ``getexp``, ``getmant`` (with ``mode``), ``scalef`` (with ``other``) or ``rsqrt14``."""
    builder = x.builder
    register = 512 // (32 if x.single else 64)
    width = next(w for w in (register, register // 2, register // 4) if x.count % w == 0)
    bits = width * (32 if x.single else 64)
    part_type = vec_type(x.elem, width)
    estimate = name == "rsqrt14"
    symbol = f"llvm.x86.avx512.{'' if estimate else 'mask.'}{name}.p{'s' if x.single else 'd'}.{bits}"
    mask = f"i{max(width, 8)}"
    results = []
    for start in range(0, x.count, width):
        args = [_piece(x, start, width)]
        if other is not None:
            args.append(_piece(other, start, width))
        if mode is not None:
            args.append(Val(str(mode), "i32"))
        args += [builder.const(part_type, 0.0), Val("-1", mask)]
        if bits == 512 and not estimate:
            args.append(Val("4", "i32"))  # round as the environment says
        builder.module.declare(symbol, part_type, [a.type for a in args])
        results.append(Lanes(builder, builder.call(part_type, "@" + symbol, *args)))
    while len(results) > 1:
        results = [_join(a, b) for a, b in zip(results[::2], results[1::2], strict=True)]
    return results[0]


def _piece(x: Lanes, start: int, width: int) -> Val:
    """Lanes ``start ... start + width - 1``."""
    if x.count == width:
        return x.value
    mask = ", ".join(f"i32 {start + i}" for i in range(width))
    return x.builder.new(vec_type(x.elem, width), f"shufflevector {x.value}, {x.type} poison, <{width} x i32> <{mask}>")


def _join(a: Lanes, b: Lanes) -> Lanes:
    """The lanes of a, then those of b."""
    count = 2 * a.count
    mask = ", ".join(f"i32 {i}" for i in range(count))
    text = f"shufflevector {a.value}, {b.value}, <{count} x i32> <{mask}>"
    return Lanes(a.builder, a.builder.new(vec_type(a.elem, count), text))


def fast_two_sum(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """``a + b`` and its rounding error, for ``|a| >= |b|`` (or ``a`` zero)."""
    total = a + b
    return total, b - (total - a)


def two_sum(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """``a + b`` and its rounding error."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def chop(a: Lanes) -> tuple[Lanes, Lanes]:
    """``a`` as a sum of two parts of at most half the significant bits (Veltkamp)."""
    scaled = a * _SPLITTER[a.elem]
    high = scaled - (scaled - a)
    return high, a - high


def two_prod(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """``a * b`` and its rounding error (exact unless it underflows; without FMA also unless near overflow)."""
    product = a * b
    if a.builder.module.fma:
        return product, mad(a, b, -product)
    a_high, a_low = chop(a)
    b_high, b_low = chop(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error
