"""Greatest common divisors of integers, element by element: the steps that one takes depend on its digits."""

from __future__ import annotations

from .builder import Builder, Val, elem_type, lanes_of

__all__ = ["gcd"]

_TEXT = """define internal i64 @gcd(i64 %a, i64 %b) ATTRIBUTES {
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


def gcd(b: Builder, signed: bool, x: Val, y: Val) -> Val:
    """The greatest common divisors of the lanes of two integers, not negative; 0 divides itself only.

    Stein's binary algorithm (1967): both odd, the smaller one is taken from the larger, which is even then.
    """
    for name in ("cttz", "umin", "umax"):
        b.module.declare(f"llvm.{name}.i64", "i64", ["i64", "i1" if name == "cttz" else "i64"])
    symbol = b.module.require("gcd", lambda: _TEXT.replace("ATTRIBUTES", b.module.attributes))
    if signed:
        zero = b.const(x.type, 0)
        x, y = (b.select(b.cmp("slt", v, zero), b.sub(zero, v), v) for v in (x, y))
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
