"""One elementwise operation as LLVM instructions, on scalars or vectors of any width.

Registers hold a type as follows: floating types as themselves, except bfloat16 (its bits, i16) and float8
(its bits, i8); integers as iN; b1 as i1 (in memory, a byte).
"""

from __future__ import annotations

from collections.abc import Callable

from . import vecmath
from .builder import Builder, Val, lanes_of, vec_type
from .integers import gcd, power

__all__ = ["FLOAT8", "LLVM_TYPE", "MEMORY_TYPE", "cast", "elementwise", "identity"]

LLVM_TYPE = {
    "b1": "i1", "i8": "i8", "u8": "i8", "i16": "i16", "u16": "i16", "i32": "i32", "u32": "i32", "i64": "i64",
    "u64": "i64",
    "f16": "half", "bf16": "i16", "f32": "float", "f64": "double", "e4m3": "i8", "e5m2": "i8",
    "e4m3z": "i8", "e5m2z": "i8", "e8m0": "i8",
}  # fmt: skip
MEMORY_TYPE = {**LLVM_TYPE, "b1": "i8"}
_BITS = {"b1": 1, "i8": 8, "u8": 8, "i16": 16, "u16": 16, "i32": 32, "u32": 32, "i64": 64, "u64": 64}
FLOAT8 = frozenset({"e4m3", "e5m2", "e4m3z", "e5m2z", "e8m0"})
_NARROW = FLOAT8 | {"f16", "bf16"}
_FLOATS = _NARROW | {"f32", "f64"}


def is_float(type_: str) -> bool:
    """Whether an element type is floating point."""
    return type_ in _FLOATS


def is_signed(type_: str) -> bool:
    """Whether an element type is a signed integer."""
    return type_[0] == "i"


def elementwise(b: Builder, op: str, type_: str, result: str, args: list[Val]) -> Val:
    """Emits ``op`` on operands of ``type_`` (a code such as "f32"); ``result`` is the code of the result."""
    if op in _SIMPLE:
        return _SIMPLE[op](b, type_, args)
    if op in _COMPARE:
        how = _COMPARE[op]
        return b.cmp(how[0] if is_float(type_) else how[1] if is_signed(type_) else how[2], args[0], args[1])
    if op == "select":
        cond, yes, no = args
        return b.select(cond, yes, no)
    if op == "bitcast":
        return b.cast("bitcast", args[0], vec_type(LLVM_TYPE[result], lanes_of(args[0].type)))
    if op in vecmath.NAMES:
        return vecmath.apply(b, op, *args)
    raise NotImplementedError(f"no code is generated for {op!r} on {type_!r}")


_COMPARE = {
    "eq": ("oeq", "eq", "eq"), "ne": ("une", "ne", "ne"), "lt": ("olt", "slt", "ult"), "le": ("ole", "sle", "ule"),
    "gt": ("ogt", "sgt", "ugt"), "ge": ("oge", "sge", "uge"),
}  # fmt: skip


def _arith(float_op: str, int_op: str) -> Callable[[Builder, str, list[Val]], Val]:
    return lambda b, t, a: b.op(float_op if is_float(t) else int_op, a[0], a[1])


def _neg(b: Builder, t: str, a: list[Val]) -> Val:
    return b.fneg(a[0]) if is_float(t) else b.sub(b.const(a[0].type, 0), a[0])


def _abs(b: Builder, t: str, a: list[Val]) -> Val:
    if is_float(t):
        return b.intrinsic("llvm.fabs", a[0].type, a[0])
    if is_signed(t):
        return b.select(b.cmp("slt", a[0], b.const(a[0].type, 0)), _neg(b, t, a), a[0])
    return a[0]


def _extreme(greater: bool) -> Callable[[Builder, str, list[Val]], Val]:
    def emit(b: Builder, t: str, a: list[Val]) -> Val:
        x, y = a
        if not is_float(t):
            if t == "b1":
                return b.op("or" if greater else "and", x, y)
            how = ("s" if is_signed(t) else "u") + ("gt" if greater else "lt")
            return b.select(b.cmp(how, x, y), x, y)
        if not y.name.startswith("%"):  # with a constant first, the second select does nothing
            x, y = y, x
        # a NaN in y survives the first select (an ordered comparison is false), one in x the second
        chosen = b.select(b.cmp("ogt" if greater else "olt", x, y), x, y)
        return b.select(b.cmp("uno", x, x), x, chosen)

    return emit


def _fma(b: Builder, t: str, a: list[Val]) -> Val:
    if is_float(t) and b.module.fma:
        return b.fma(*a)
    return _arith("fadd", "add")(b, t, [_arith("fmul", "mul")(b, t, a[:2]), a[2]])


def _division(what: str) -> Callable[[Builder, str, list[Val]], Val]:
    def emit(b: Builder, t: str, a: list[Val]) -> Val:
        # the processor traps on x/0 and on the lowest number / -1: neither reaches the instruction
        x, y = a
        zero, one = b.const(y.type, 0), b.const(y.type, 1)
        bad = b.cmp("eq", y, zero)
        if not is_signed(t):
            return b.op("u" + what, x, b.select(bad, one, y))
        minus = b.cmp("eq", y, b.const(y.type, -1))
        safe = b.op("s" + what, x, b.select(b.op("or", bad, minus), one, y))
        return b.select(minus, b.sub(zero, x) if what == "div" else zero, safe)

    return emit


def _shift(left: bool) -> Callable[[Builder, str, list[Val]], Val]:
    def emit(b: Builder, t: str, a: list[Val]) -> Val:
        x, n = a
        bits = _BITS[t]
        inside = b.cmp("ult", n, b.const(n.type, bits))
        if left or not is_signed(t):
            shifted = b.op("shl" if left else "lshr", x, b.select(inside, n, b.const(n.type, 0)))
            return b.select(inside, shifted, b.const(x.type, 0))
        return b.op("ashr", x, b.select(inside, n, b.const(n.type, bits - 1)))

    return emit


def _not(b: Builder, t: str, a: list[Val]) -> Val:
    return b.op("xor", a[0], b.const(a[0].type, -1 if t != "b1" else 1))


def _round(name: str) -> Callable[[Builder, str, list[Val]], Val]:
    return lambda b, t, a: vecmath.apply(b, name, a[0]) if is_float(t) else a[0]


def _signbit(b: Builder, t: str, a: list[Val]) -> Val:
    if not is_float(t):
        return b.cmp("slt", a[0], b.const(a[0].type, 0)) if is_signed(t) else b.const(_mask(a[0]), 0)
    bits = b.cast("bitcast", a[0], vec_type("i32" if t == "f32" else "i64", lanes_of(a[0].type)))
    return b.cmp("slt", bits, b.const(bits.type, 0))


def _mask(value: Val) -> str:
    return vec_type("i1", lanes_of(value.type))


_SIMPLE: dict[str, Callable[[Builder, str, list[Val]], Val]] = {
    "add": _arith("fadd", "add"),
    "sub": _arith("fsub", "sub"),
    "mul": _arith("fmul", "mul"),
    "div": lambda b, t, a: b.fdiv(a[0], a[1]),
    "neg": _neg,
    "abs": _abs,
    "max": _extreme(True),
    "min": _extreme(False),
    "fma": _fma,
    "idiv": _division("div"),
    "imod": _division("rem"),
    "gcd": lambda b, t, a: gcd(b, is_signed(t), *a),
    "ipow": lambda b, t, a: power(b, *a),
    "quot": lambda b, t, a: b.op("udiv", a[0], a[1]),
    "rem": lambda b, t, a: b.op("urem", a[0], a[1]),
    "shl": _shift(True),
    "shr": _shift(False),
    "and": lambda b, t, a: b.op("and", a[0], a[1]),
    "or": lambda b, t, a: b.op("or", a[0], a[1]),
    "xor": lambda b, t, a: b.op("xor", a[0], a[1]),
    "not": _not,
    "floor": _round("floor"),
    "ceil": _round("ceil"),
    "trunc": _round("trunc"),
    "rint": _round("rint"),
    "isnan": lambda b, t, a: b.cmp("uno", a[0], a[0]) if is_float(t) else b.const(_mask(a[0]), 0),
    "signbit": _signbit,
    "copysign": lambda b, t, a: b.intrinsic("llvm.copysign", a[0].type, a[0], a[1]),
    "sqrt": lambda b, t, a: b.intrinsic("llvm.sqrt", a[0].type, a[0]),
}


def identity(kind: str, type_: str) -> float | int | bool:
    """The number that leaves others unchanged under a reduction."""
    if kind in ("add", "or"):
        return 0
    if kind == "mul":
        return 1
    if kind == "and":
        return -1 if type_ != "b1" else 1
    greatest = kind in ("max", "argmax")
    if is_float(type_):
        return float("-inf") if greatest else float("inf")
    if type_ == "b1":
        return 0 if greatest else 1
    bits = _BITS[type_]
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed(type_) else (0, (1 << bits) - 1)
    return low if greatest else high


# -- conversions -----------------------------------------------------------------------------------


def cast(b: Builder, value: Val, source: str, target: str) -> Val:
    """Converts between element types as PyTorch does: to integers towards zero, to b1 by ``!= 0``, to
    narrower floating types to nearest even."""
    if source == target:
        return value
    lanes = lanes_of(value.type)
    if source in _NARROW:
        return cast(b, _widen(b, value, source), "f32", target)
    if target in _NARROW:
        return _narrow(b, cast(b, value, source, "f32"), target)
    to = vec_type(LLVM_TYPE[target], lanes)
    if target == "b1":
        return b.cmp("une" if is_float(source) else "ne", value, b.const(value.type, 0))
    if is_float(source):
        if is_float(target):
            return b.cast("fpext" if target == "f64" else "fptrunc", value, to)
        if target == "u64":
            # values from 2^63 on need the unsigned conversion, negative ones wrap through the signed one
            big = b.cmp("oge", value, b.const(value.type, 2.0**63))
            return b.select(big, b.cast("fptoui", value, to), b.cast("fptosi", value, to))
        wide = "i64" if target in ("i64", "u32") else "i32"
        converted = b.cast("fptosi", value, vec_type(wide, lanes))
        return b.cast("trunc", converted, to)
    if is_float(target):
        return b.cast("sitofp" if is_signed(source) else "uitofp", value, to)
    have, want = _BITS[source], _BITS[target]
    if have == want:
        return value
    if have > want:
        return b.cast("trunc", value, to)
    return b.cast("sext" if is_signed(source) else "zext", value, to)


def _widen(b: Builder, value: Val, source: str) -> Val:
    """A narrow floating type to float."""
    lanes = lanes_of(value.type)
    i32, f32 = vec_type("i32", lanes), vec_type("float", lanes)
    if source == "bf16":
        return b.cast("bitcast", b.op("shl", b.cast("zext", value, i32), b.const(i32, 16)), f32)
    if source == "f16":
        if b.module.half_instructions:
            return b.cast("fpext", value, f32)
        bits = b.cast("zext", b.cast("bitcast", value, vec_type("i16", lanes)), i32)
        return _widen_bits(b, bits, exponent=5, mantissa=10)
    bits = b.cast("zext", value, i32)
    if source == "e8m0":  # an exponent alone: 2 ** (x - 127), of which the least is a denormal float
        power = b.select(b.cmp("eq", bits, b.const(i32, 0)), b.const(i32, 1 << 22), b.op("shl", bits, b.const(i32, 23)))
        return b.cast("bitcast", b.select(b.cmp("eq", bits, b.const(i32, 255)), b.const(i32, 0x7FC00000), power), f32)
    return _widen_bits(b, bits, *((4, 3) if source.startswith("e4m3") else (5, 2)), source.endswith("z"))


def _widen_bits(b: Builder, bits: Val, exponent: int, mantissa: int, unsigned_zero: bool = False) -> Val:
    """A small IEEE-like format (in an i32) to float, exactly: the exponent is rebiased by a multiplication,
    which also normalises denormals.

    ``unsigned_zero``: a "fnuz" format, whose bias is greater by 1 and whose negative zero is its only NaN.
    """
    i32 = bits.type
    f32 = vec_type("float", lanes_of(i32))
    width = exponent + mantissa
    sign = b.op("shl", b.op("and", bits, b.const(i32, 1 << width)), b.const(i32, 31 - width))
    rest = b.op("and", bits, b.const(i32, (1 << width) - 1))
    bias = (1 << exponent - 1) - (not unsigned_zero)
    moved = b.cast("bitcast", b.op("shl", rest, b.const(i32, 23 - mantissa)), f32)
    scaled = b.cast("bitcast", b.fmul(moved, b.const(f32, 2.0 ** (127 - bias))), i32)
    if unsigned_zero:
        special = b.cmp("eq", bits, b.const(i32, 1 << width))
        nonfinite = b.const(i32, 0x7FC00000)
    elif exponent == 4:  # e4m3fn has no infinity, and one NaN
        special = b.cmp("eq", rest, b.const(i32, 0x7F))
        nonfinite = b.const(i32, 0x7FC00000)
    else:
        special = b.cmp("uge", rest, b.const(i32, ((1 << exponent) - 1) << mantissa))
        payload = b.op("and", b.op("shl", rest, b.const(i32, 23 - mantissa)), b.const(i32, 0x7FFFFF))
        nonfinite = b.op("or", payload, b.const(i32, 0x7F800000))
    return b.cast("bitcast", b.op("or", sign, b.select(special, nonfinite, scaled)), f32)


def _narrow(b: Builder, value: Val, target: str) -> Val:
    """A float to a narrow floating type, to nearest even."""
    lanes = lanes_of(value.type)
    i32 = vec_type("i32", lanes)
    if target == "f16" and b.module.half_instructions:
        return b.cast("fptrunc", value, vec_type("half", lanes))
    bits = b.cast("bitcast", value, i32)
    if target == "bf16":
        odd = b.op("and", b.op("lshr", bits, b.const(i32, 16)), b.const(i32, 1))
        rounded = b.add(bits, b.add(odd, b.const(i32, 0x7FFF)))
        # a NaN must not round up to infinity
        chosen = b.select(b.cmp("uno", value, value), b.const(i32, 0x7FC00000), rounded)
        return b.cast("trunc", b.op("lshr", chosen, b.const(i32, 16)), vec_type("i16", lanes))
    if target == "e8m0":
        return _narrow_exponent(b, bits)
    exponent, mantissa = {"f16": (5, 10), "e5m2": (5, 2), "e4m3": (4, 3)}[target.removesuffix("z")]
    small = _narrow_bits(b, value, bits, exponent, mantissa, target.endswith("z"))
    if target == "f16":
        return b.cast("bitcast", b.cast("trunc", small, vec_type("i16", lanes)), vec_type("half", lanes))
    return b.cast("trunc", small, vec_type("i8", lanes))


def _narrow_exponent(b: Builder, bits: Val) -> Val:
    """The bits of floats to the nearest power of two, away from zero in the middle; the sign is dropped."""
    i32 = bits.type
    exponent = b.op("and", b.op("lshr", bits, b.const(i32, 23)), b.const(i32, 255))
    rest = b.op("and", bits, b.const(i32, (1 << 23) - 1))
    # the least number is 2 ** -127, which the middle between zero and 2 ** -126 rounds to
    denormal = b.cmp("ugt", rest, b.const(i32, 1 << 22))
    up = b.select(
        b.cmp("eq", exponent, b.const(i32, 0)), b.cast("zext", denormal, i32), b.op("lshr", rest, b.const(i32, 22))
    )
    rounded = b.select(b.cmp("eq", exponent, b.const(i32, 255)), exponent, b.add(exponent, up))
    return b.cast("trunc", rounded, vec_type("i8", lanes_of(i32)))


def _narrow_bits(b: Builder, value: Val, bits: Val, exponent: int, mantissa: int, unsigned_zero: bool = False) -> Val:
    """A float to a small IEEE-like format (in an i32).  Denormals are rounded by adding a number whose last
    place is the format's smallest step; the others by adding half a step and the parity of the last bit."""
    i32, f32 = bits.type, value.type
    width = exponent + mantissa
    bias = (1 << exponent - 1) - (not unsigned_zero)
    shift = 23 - mantissa
    magnitude = b.op("and", bits, b.const(i32, 0x7FFFFFFF))
    sign = b.op("lshr", b.op("and", bits, b.const(i32, -(1 << 31))), b.const(i32, 31 - width))
    odd = b.op("and", b.op("lshr", magnitude, b.const(i32, shift)), b.const(i32, 1))
    half = b.add(b.const(i32, (1 << shift - 1) - 1), odd)
    rebias = (bias - 127) << 23
    normal = b.op("lshr", b.add(b.add(magnitude, half), b.const(i32, rebias)), b.const(i32, shift))
    step = 2.0 ** (1 - bias - mantissa)
    magic = b.const(f32, step * 2.0**23)
    shifted = b.cast("bitcast", b.fadd(b.cast("bitcast", magnitude, f32), magic), i32)
    denormal = b.sub(shifted, b.cast("bitcast", magic, i32))
    small = b.cmp("ult", magnitude, b.const(i32, (127 - bias + 1) << 23))
    result = b.select(small, denormal, normal)
    if unsigned_zero:  # of which NaN has the bits of negative zero
        nan = b.const(i32, 1 << width)
        odd_one = b.op("or", b.cmp("uno", value, value), b.cmp("ugt", result, b.const(i32, (1 << width) - 1)))
        signed = b.select(b.cmp("eq", result, b.const(i32, 0)), result, b.op("or", sign, result))
        return b.select(odd_one, nan, signed)
    if exponent == 4:  # no infinity: numbers end at 448
        overflow = b.cmp("ugt", result, b.const(i32, 0x7E))
        result = b.select(overflow, b.const(i32, 0x7E), result)
        top = 0x7F
    else:
        infinity = ((1 << exponent) - 1) << mantissa
        overflow = b.cmp("uge", result, b.const(i32, infinity))
        result = b.select(overflow, b.const(i32, infinity), result)
        top = infinity | 1 << mantissa - 1 if mantissa > 2 else (1 << width) - 1
    result = b.select(b.cmp("uno", value, value), b.const(i32, top), result)
    return b.op("or", sign, result)
