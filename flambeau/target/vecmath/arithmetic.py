"""Rounding, roots and other functions that are nearly instructions."""

from __future__ import annotations

from ..builder import Builder, Val
from .exponential import FORMATS
from .lanes import Lanes, avx512, has_avx512, mad, two_prod, where
from .rare import patch

__all__ = ["ceil", "floor", "fmod", "fmod_low", "hypot", "hypot_low", "nextafter", "rint", "rsqrt", "sqrt", "trunc"]

_INFINITY = float("inf")


def sqrt(x: Lanes) -> Lanes:
    """Square root, correctly rounded."""
    return x.sqrt()


def rsqrt(x: Lanes) -> Lanes:
    """``1 / sqrt(x)``."""
    if not has_avx512(x):
        return 1.0 / x.sqrt()
    y = avx512(x, "rsqrt14")
    for _ in range(1 if x.single else 2):
        # Newton: with d = 1 - x y^2, y + y d / 2
        y_next = mad(y * 0.5, mad(-(x * y), y, 1.0), y)
        # 0, infinity and NaN come out of the instruction right, and of the step as NaN.
        y = where(y_next.equals(y_next), y_next, y)
    return y


def rint(x: Lanes) -> Lanes:
    """The nearest integer, halves to even."""
    if x.builder.module.round_instructions:
        return x.rounded("rint")
    a = x.abs()
    power = 2.0 ** FORMATS[x.elem].mantissa
    # Numbers from 2^mantissa on are integers (or not finite), and adding to those would lose bits.
    return where(a < power, (a + power) - power, a).copysign(x)


def floor(x: Lanes) -> Lanes:
    """The greatest integer that is not above x."""
    if x.builder.module.round_instructions:
        return x.rounded("floor")
    near = rint(x)
    return where(near > x, near - 1.0, near).copysign(x)


def ceil(x: Lanes) -> Lanes:
    """The least integer that is not below x."""
    if x.builder.module.round_instructions:
        return x.rounded("ceil")
    near = rint(x)
    return where(near < x, near + 1.0, near).copysign(x)


def trunc(x: Lanes) -> Lanes:
    """The integer part of x."""
    if x.builder.module.round_instructions:
        return x.rounded("trunc")
    a = x.abs()
    near = rint(a)
    return where(near > a, near - 1.0, near).copysign(x)


def nextafter(x: Lanes, y: Lanes) -> Lanes:
    """The neighbour of x towards y; y where they are equal."""
    bits = x.bits()
    away = (y > x) ^ (x < 0.0)
    stepped = where(away, bits + 1, bits - 1).as_float()
    smallest = x.like(0).bits() + 1
    stepped = where(x.equals(0.0), smallest.as_float().copysign(y), stepped)
    stepped = where(x.equals(y), y, stepped)
    return where(x.is_nan() | y.is_nan(), x + y, stepped)


def hypot_low(x: Lanes, y: Lanes) -> Lanes:
    """``sqrt(x^2 + y^2)`` in double for float operands: nothing overflows."""
    a, b = x.abs(), y.abs()
    root = mad(a, a, b * b).sqrt()
    return where(a.equals(_INFINITY) | b.equals(_INFINITY), _INFINITY, root)


def hypot(x: Lanes, y: Lanes) -> Lanes:
    """``sqrt(x^2 + y^2)`` (double), scaled by a power of two, with the roundings of sum and root made good."""
    a, b = x.abs(), y.abs()
    first = b > a
    long, short = where(first, b, a), where(first, a, b)
    field = 0x7FF << 52
    unit = long.at_least(2.0**-1022).at_most(2.0**1021).bits() & field
    scale = ((2046 << 52) - unit).as_float()
    long, short = long * scale, short * scale
    square, lost = two_prod(long, long)
    other, other_lost = two_prod(short, short)
    total = square + other
    rest = ((square - total) + other) + (lost + other_lost)
    root = total.sqrt()
    product, product_lost = two_prod(root, root)
    correction = (((total - product) - product_lost) + rest) / (root + root)
    root = where(total > 0.0, root + correction, total) * unit.as_float()
    return where(a.equals(_INFINITY) | b.equals(_INFINITY), _INFINITY, root)


def fmod(x: Lanes, y: Lanes) -> Lanes:
    """The remainder of x by y with the sign of x, exact for all magnitudes, as C's fmod.

    Where the quotient is small its integer part is at most one too large, and the remainder by it is exact
    (with a fused multiply-add; without one this goes the slow way from a quotient of 1 on).
    """
    a, c = x.abs(), y.abs()
    if x.builder.module.fma:
        return _fmod_by(x, y, mad(-trunc(a / c), c, a), 2.0 ** (FORMATS[x.elem].mantissa - 1))
    return _fmod_by(x, y, x.like(float("nan")), 1.0)


def fmod_low(x: Lanes, y: Lanes) -> Lanes:
    """fmod of floats in double, where the product of a quotient below 2^29 and y is exact."""
    a, c = x.abs(), y.abs()
    return _fmod_by(x, y, a - trunc(a / c) * c, 2.0**29, "fmod.low")


def _fmod_by(x: Lanes, y: Lanes, rest: Lanes, limit: float, name: str = "fmod") -> Lanes:
    """fmod from ``rest``, right up to one y while ``|x / y| < limit``."""
    a, c = x.abs(), y.abs()
    rest = where(a < c, a, where(rest < 0.0, rest + c, rest)).copysign(x)
    return patch(name, [x, y], rest, lambda xs: (xs[0].abs() / xs[1].abs()) >= limit, _define_fmod)


def _define_fmod(builder: Builder) -> str:
    """A scalar double function that divides the significands like integers, ten bits at a time."""
    module = builder.module

    def make() -> str:
        b = Builder(module)
        x, y = Lanes(b, Val("%x", "double")), Lanes(b, Val("%y", "double"))
        bad, fair = b.label("bad"), b.label("fair")
        proper = (x.abs() < _INFINITY) & (y.abs() > 0.0)
        b.cond_br(proper.value, fair, bad)
        b.place(bad)
        b.ret(b.const("double", float("nan")))
        b.place(fair)
        x_bits, x_power = _integer(x)
        y_bits, y_power = _integer(y)
        start = Lanes(b, b.op("urem", x_bits.value, y_bits.value))
        apart = x_power - y_power  # not negative, as x is no smaller than y
        loop, step, end = b.label("loop"), b.label("step"), b.label("end")
        b.br(loop)
        b.place(loop)
        rest, left = Lanes(b, Val("%rest", "i64")), Lanes(b, Val("%left", "i64"))
        b.emit(f"%rest = phi i64 [ {start.value.name}, %{fair} ], [ %rest.next, %{step} ]")
        b.emit(f"%left = phi i64 [ {apart.value.name}, %{fair} ], [ %left.next, %{step} ]")
        b.cond_br((left > 0).value, step, end)
        b.place(step)
        shift = where(left < 10, left, 10)
        b.emit(f"%rest.next = urem i64 {(rest << shift).value.name}, {y_bits.value.name}")
        b.emit(f"%left.next = sub i64 %left, {shift.value.name}")
        b.br(loop)
        b.place(end)
        # rest * 2^y_power, exact; the power may be below that of the smallest normal number
        half = y_power.ashr(1)
        value = rest.cast("sitofp", "double")
        for power in (half, y_power - half):
            value = value * ((power + 1023) << 52).as_float()
        b.ret(value.copysign(x).value)
        head = f"define internal double @fb.fmod.exact(double %x, double %y) noinline cold nounwind {module.attributes}"
        return f"{head} {{\nentry:\n{b.body()}\n}}"

    return module.require("fb.fmod.exact", make)


def _integer(x: Lanes) -> tuple[Lanes, Lanes]:
    """``(m, e)``: the magnitude of a finite double other than 0 is the integer m, of 53 bits, times 2^e."""
    bits = x.abs().bits()
    zeros = Lanes(x.builder, x.builder.intrinsic("llvm.ctlz", "i64", bits.value, Val("false", "i1"))) - 11
    field = bits >> 52
    denormal = field.equals(0)
    fraction = bits & ((1 << 52) - 1)
    whole = where(denormal, fraction << where(denormal, zeros, 0), fraction | (1 << 52))
    return whole, where(denormal, -zeros - 1074, field - 1075)
