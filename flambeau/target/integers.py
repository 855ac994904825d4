"""Operations on integers, element by element, of which the digits tell how many steps one takes."""

from __future__ import annotations

from .builder import Builder, Val, elem_type, lanes_of

__all__ = ["gcd", "power"]

_GCD = """define internal i64 @gcd(i64 %a, i64 %b) ATTRIBUTES {
  %either = or i64 %a, %b
  %product = icmp eq i64 %a, 0
  %other = icmp eq i64 %b, 0
  %trivial = or i1 %product, %other
  br i1 %trivial, label %same, label %start
same:
  ret i64 %either
start:
  %twos = call i64 @llvm.cttz.i64(i64 %either, i1 true)
  %mine = call i64 @llvm.cttz.i64(i64 %a, i1 true)
  %first = lshr i64 %a, %mine
  br label %step
step:
  %x = phi i64 [ %first, %start ], [ %less, %step ]
  %rest = phi i64 [ %b, %start ], [ %gap, %step ]
  %even = call i64 @llvm.cttz.i64(i64 %rest, i1 true)
  %y = lshr i64 %rest, %even
  %less = call i64 @llvm.umin.i64(i64 %x, i64 %y)
  %more = call i64 @llvm.umax.i64(i64 %x, i64 %y)
  %gap = sub i64 %more, %less
  %done = icmp eq i64 %gap, 0
  br i1 %done, label %end, label %step
end:
  %found = shl i64 %less, %twos
  ret i64 %found
}"""

_POWER = """define internal i64 @power(i64 %x, i64 %n) ATTRIBUTES {
  br label %step
step:
  %result = phi i64 [ 1, %0 ], [ %after, %step ]
  %square = phi i64 [ %x, %0 ], [ %next, %step ]
  %rest = phi i64 [ %n, %0 ], [ %fewer, %step ]
  %bit = and i64 %rest, 1
  %odd = icmp ne i64 %bit, 0
  %product = mul i64 %result, %square
  %after = select i1 %odd, i64 %product, i64 %result
  %next = mul i64 %square, %square
  %fewer = lshr i64 %rest, 1
  %done = icmp eq i64 %fewer, 0
  br i1 %done, label %end, label %step
end:
  ret i64 %after
}"""


def gcd(b: Builder, signed: bool, x: Val, y: Val) -> Val:
    """The greatest common divisors of the lanes of two integers, not negative; 0 divides itself only.

    Stein's binary algorithm (1967): both odd, the smaller one is taken from the larger, which is even then.
    """
    for name in ("cttz", "umin", "umax"):
        b.module.declare(f"llvm.{name}.i64", "i64", ["i64", "i1" if name == "cttz" else "i64"])
    if signed:
        zero = b.const(x.type, 0)
        x, y = (b.select(b.cmp("slt", v, zero), b.sub(zero, v), v) for v in (x, y))
    return _each(b, "gcd", _GCD, x, y)


def power(b: Builder, x: Val, n: Val) -> Val:
    """``x ** n`` in the bits of the type, the exponent without a sign: by squaring over its digits."""
    return _each(b, "power", _POWER, x, n)


def _each(b: Builder, name: str, text: str, x: Val, y: Val) -> Val:
    """A function of two i64 of the lanes of integers, which are extended without a sign."""
    symbol = b.module.require(name, lambda: text.replace("ATTRIBUTES", b.module.attributes))
    elem = elem_type(x.type)

    def one(p: Val, q: Val) -> Val:
        p, q = (v if elem == "i64" else b.cast("zext", v, "i64") for v in (p, q))
        found = b.call("i64", symbol, p, q)
        return found if elem == "i64" else b.cast("trunc", found, elem)

    if lanes_of(x.type) == 1:
        return one(x, y)
    result = Val("poison", x.type)
    for lane in range(lanes_of(x.type)):
        result = b.insert(result, one(b.extract(x, lane), b.extract(y, lane)), lane)
    return result
