"""Random numbers: the Mersenne Twister and the distributions drawn from it, bit for bit PyTorch's CPU stream.

A kernel takes the address of a generator's *state block* (laid out below), a result in contiguous memory, its number
of elements and the parameters of the distribution; it advances the state.  What the numbers are:

* The engine is MT19937 (M. Matsumoto, T. Nishimura, "Mersenne Twister", ACM TOMACS 8, 1998), seeded by the reference
  initialisation with the low 32 bits of the seed.  A 64-bit number is two words, the upper half first.
* A uniform number in [0, 1) is the low 24 bits of one word (types up to float32) or the low 53 bits of two (float64);
  a range is applied by one fused multiply-add, and a result that rounds up to the excluded bound becomes the
  lower one.
* Normal numbers come from the transform of G. E. P. Box and M. E. Muller (Ann. Math. Stat. 29, 1958).  Fewer than 16
  elements are made one by one in double precision, two from each pair of uniforms, the second one kept in the state.
  From 16 on, blocks of 16 uniforms give 16 normals: the first eight are radii, the last eight angles; what is
  left over is made by drawing the last 16 elements anew.  In float32 (and narrower) blocks the logarithm, sine and
  cosine are those of the Cephes library in single precision (S. L. Moshier, "Methods and Programs for Mathematical
  Functions", 1989), every multiply-add fused, on any processor.
* Integers are the remainder of a word (of two words for ranges from 2^28 on) by the size of the range.
* A Bernoulli trial compares a uniform number with the probability: of 53 bits where the probability is a
  Python number or a float64 tensor, of 24 bits for tensors of narrower types.

Logarithms and so on in double precision are those of the C library, as they are in PyTorch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from .. import settings
from ..runtime import engine
from ..runtime.native import make_caller
from ..target import vecmath
from ..target.builder import Module, Val, lanes_of, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import MEMORY_TYPE, cast
from .flow import Flow, function
from .implicit import dirichlet_gradient, gamma_gradient
from .mersenne import (
    COUNT,
    F32,
    F64,
    I32,
    I64,
    OUT,
    PI,
    PTR,
    STATE,
    bits53,
    each_element,
    export,
    get,
    libm,
    next32,
    next64,
    next_normal,
    put,
    put_saturated,
    rounded,
    temper,
    unit_double,
    unit_float,
    word_type,
)
from .mersenne_state import LENGTH, NORMAL, NORMAL_VALID, OUTPUT, POSITION, SEED, SINGLE, STARTED
from .samplers import binomial, dirichlet, gamma, multinomial, poisson, rrelu

__all__ = ["kernel"]

_CHUNK = 4096  # elements that a normal fill handles at a time: uniforms written, then read again from the cache


# -- uniform numbers and what is made from one of them ---------------------------------------------


def _uniform(module: Module, isa: ISA, code: str) -> None:
    """``uniform(state, out, count, low, high)``."""
    double = code == "f64"
    elem, source = (F64, "f64") if double else (F32, "f32")

    def write(b: Flow, state: Val, out: Val, count: Val, low: Val, high: Val) -> None:
        low, high = (b.cast("fptrunc", v, elem) for v in (low, high))
        width = b.fsub(high, low)

        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            lanes = lanes_of(draws[0].type)
            lows, highs, widths = (b.splat(v, lanes) for v in (low, high, width))
            unit = unit_double(b, draws) if double else unit_float(b, draws[0])
            value = rounded(b, b.fma(unit, widths, lows), source, code)
            bound = cast(b, rounded(b, highs, source, code), code, source)
            reached = b.cmp("oeq", cast(b, value, code, source), bound)
            put(b, b.select(reached, rounded(b, lows, source, code), value), code, code, out, index)

        lanes = isa.lanes(I64) if double else isa.lanes(I32)
        each_element(b, isa, state, count, 2 if double else 1, lanes, apply)

    args = [STATE, OUT, COUNT, (F64, "low"), (F64, "high")]
    export(module, isa, "uniform", args, write)


def _bernoulli(module: Module, isa: ISA, code: str) -> None:
    """``bernoulli(state, out, count, threshold, value)``: ``value`` where 53 bits are below the integer threshold."""

    def write(b: Flow, state: Val, out: Val, count: Val, threshold: Val, value: Val) -> None:
        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            lanes = lanes_of(draws[0].type)
            below = b.cmp("slt", bits53(b, draws), b.splat(threshold, lanes))
            yes = b.splat(rounded(b, value, "f64", code), lanes)
            put(b, b.select(below, yes, b.const(yes.type, 0)), code, code, out, index)

        each_element(b, isa, state, count, 2, isa.lanes(I64), apply)

    args = [STATE, OUT, COUNT, (I64, "threshold"), (F64, "value")]
    export(module, isa, "bernoulli", args, write)


def _bernoulli_each(module: Module, isa: ISA, code: str, chance: str) -> None:
    """``bernoulli_each(state, out, chances, count)``: trials with a probability each; 1 if one is none."""
    double = chance == "f64"
    source = "f64" if double else "f32"

    def write(b: Flow, state: Val, out: Val, chances: Val, count: Val) -> Val:
        bad = b.alloca(I64, align=8)
        b.store(b.i64(0), bad, 8)
        with b.loop(0, count) as loop:
            p = get(b, chance, source, chances, loop.index)
            inside = b.op("and", b.cmp("oge", p, b.const(p.type, 0)), b.cmp("ole", p, b.const(p.type, 1)))
            outside = b.cast("zext", b.op("xor", inside, b.const("i1", 1)), I64)
            b.store(b.op("or", b.load(I64, bad, 8), outside), bad, 8)
        with b.when(b.icmp("eq", b.load(I64, bad, 8), 0)):

            def apply(b: Flow, draws: list[Val], index: Val) -> None:
                unit = unit_double(b, draws) if double else unit_float(b, draws[0])
                p = get(b, chance, source, chances, index, lanes_of(unit.type))
                put(b, b.cmp("olt", unit, p), "b1", code, out, index)

            lanes = isa.lanes(I64) if double else isa.lanes(I32)
            each_element(b, isa, state, count, 2 if double else 1, lanes, apply)
        return b.load(I64, bad, 8)

    args = [STATE, OUT, (PTR, "chances"), COUNT]
    export(module, isa, "bernoulli_each", args, write)


def _integers32(module: Module, isa: ISA, code: str) -> None:
    """``integers32(state, out, count, size, base)``: ``base`` + the remainder of one word by ``size``, 1 to 2^32 - 1.

    The remainder is taken in double precision, where words are exact: the quotient is off by at most one.
    """

    def write(b: Flow, state: Val, out: Val, count: Val, size: Val, base: Val) -> None:
        divisor = b.cast("uitofp", size, F64)
        inverse = b.fdiv(b.const(F64, 1.0), divisor)

        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            lanes = lanes_of(draws[0].type)
            real, wide = vec_type(F64, lanes), vec_type(I64, lanes)
            word = b.cast("uitofp", draws[0], real)
            sizes = b.splat(divisor, lanes)
            quotient = b.intrinsic("llvm.floor", real, b.fmul(word, b.splat(inverse, lanes)))
            # all three numbers are integers below 2^53: the product needs no fused operation to be exact
            rest = b.fsub(word, b.fmul(quotient, sizes))
            rest = b.select(b.cmp("olt", rest, b.const(real, 0)), b.fadd(rest, sizes), rest)
            rest = b.select(b.cmp("oge", rest, sizes), b.fsub(rest, sizes), rest)
            value = b.add(b.cast("fptosi", rest, wide), b.splat(base, lanes))
            put(b, value, "i64", code, out, index)

        each_element(b, isa, state, count, 1, isa.lanes(I64), apply)

    args = [STATE, OUT, COUNT, (I64, "size"), (I64, "base")]
    export(module, isa, "integers32", args, write)


def _integers64(module: Module, isa: ISA, code: str) -> None:
    """``integers64(state, out, count, size, base)``: as ``integers32`` with two words; size 0 stands for 2^64."""

    def write(b: Flow, state: Val, out: Val, count: Val, size: Val, base: Val) -> None:
        def fill(remainder: Callable[[Flow, Val], Val]) -> None:
            def apply(b: Flow, draws: list[Val], index: Val) -> None:
                high, low = (b.cast("zext", word, I64) for word in draws)
                number = remainder(b, b.op("or", b.op("shl", high, b.i64(32)), low))
                put(b, b.add(number, base), "i64", code, out, index)

            each_element(b, isa, state, count, 2, 1, apply)

        less = b.op("sub", size, b.i64(1))
        power = b.icmp("eq", b.op("and", size, less), 0)  # of two, 2^64 included: a mask
        b.either(
            power,
            lambda: fill(lambda b, number: b.op("and", number, less)),
            lambda: fill(lambda b, number: b.op("urem", number, size)),
        )

    args = [STATE, OUT, COUNT, (I64, "size"), (I64, "base")]
    export(module, isa, "integers64", args, write)


_Formula = Callable[[Flow, Val, Val, Val], Val]


def _from_uniform(
    module: Module, isa: ISA, name: str, code: str, formula: _Formula, estimate: _Formula | None = None
) -> None:
    """``name(state, out, count, x, y)``: ``formula(uniform, x, y)`` in double precision, by the C library.

    ``estimate`` is the same to within 2^-49, on vectors.  Where all numbers within 2^-46 of its result are stored as
    the same number, that is the result: nearly always, when the type is narrow or the numbers are whole.
    """

    def write(b: Flow, state: Val, out: Val, count: Val, x: Val, y: Val) -> None:
        units = b.alloca(vec_type(F64, 8))

        def exact(unit: Val, index: Val) -> None:
            put_saturated(b, formula(b, unit, x, y), code, out, index)

        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            unit = unit_double(b, draws)
            lanes = lanes_of(unit.type)
            if estimate is None or lanes == 1:
                exact(unit, index)
                return
            value = estimate(b, unit, b.splat(x, lanes), b.splat(y, lanes))
            margins = (b.fmul(value, b.const(value.type, 1 + sign * 2.0**-46)) for sign in (-1, 1))
            first, second = (_stored(b, margin, name) for margin in margins)
            agree = b.new("i1", f"call i1 @{_all(b, lanes)}({b.cmp('oeq', first, second)})")

            def each() -> None:
                b.store(unit, units)
                with b.loop(0, lanes) as loop:
                    exact(b.load(F64, b.at(F64, units, loop.index)), b.iadd(index, loop.index))

            b.either(agree, lambda: put_saturated(b, _stored(b, value, name), code, out, index), each)

        each_element(b, isa, state, count, 2, 1 if estimate is None else min(8, isa.lanes(I64)), apply)

    args = [STATE, OUT, COUNT, (F64, "x"), (F64, "y")]
    export(module, isa, name, args, write)


def _all(b: Flow, lanes: int) -> str:
    """The name of the intrinsic that tells whether all lanes hold."""
    symbol = f"llvm.vector.reduce.and.v{lanes}i1"
    b.module.declare(symbol, "i1", [vec_type("i1", lanes)])
    return symbol


def _stored(b: Flow, value: Val, name: str) -> Val:
    """Doubles rounded as far as ``name`` does before they are stored: to whole numbers, or to float32."""
    if name == "geometric":
        return b.intrinsic("llvm.ceil", value.type, value)
    return b.cast("fpext", b.cast("fptrunc", value, vec_type(F32, lanes_of(value.type))), value.type)


def _exponential(b: Flow, unit: Val, scale: Val, _: Val) -> Val:
    return b.fmul(scale, libm(b, "log1p", b.fneg(unit)))


def _exponential_estimate(b: Flow, unit: Val, scale: Val, _: Val) -> Val:
    return b.fmul(scale, vecmath.apply(b, "log", b.fsub(b.const(unit.type, 1), unit)))  # 1 - unit is exact


def _geometric(b: Flow, unit: Val, log_failure: Val, _: Val) -> Val:
    return b.intrinsic("llvm.ceil", F64, b.fdiv(libm(b, "log", unit), log_failure))


def _geometric_estimate(b: Flow, unit: Val, log_failure: Val, _: Val) -> Val:
    return b.fdiv(vecmath.apply(b, "log", unit), log_failure)


def _write_exponential(module: Module, isa: ISA, code: str) -> None:
    estimate = None if code == "f64" else _exponential_estimate
    _from_uniform(module, isa, "exponential", code, _exponential, estimate)


def _write_geometric(module: Module, isa: ISA, code: str) -> None:
    _from_uniform(module, isa, "geometric", code, _geometric, _geometric_estimate)


def _cauchy(b: Flow, unit: Val, median: Val, sigma: Val) -> Val:
    angle = b.fmul(b.const(F64, PI), b.fsub(unit, b.const(F64, 0.5)))
    return b.fma(sigma, libm(b, "tan", angle), median)


# -- normal numbers --------------------------------------------------------------------------------


def _normal_each(module: Module, isa: ISA, name: str, code: str, exponential: bool) -> None:
    """``name(state, out, count, mean, std)``: one by one in double precision, or the exponential of that."""

    def write(b: Flow, state: Val, out: Val, count: Val, mean: Val, std: Val) -> None:
        with b.loop(0, count) as loop:
            value = b.fma(next_normal(b, isa, state), std, mean)
            put(b, libm(b, "exp", value) if exponential else value, "f64", code, out, loop.index)

    args = [STATE, OUT, COUNT, (F64, "mean"), (F64, "std")]
    export(module, isa, name, args, write)


_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_LN2 = (0.693359375, -2.12194440e-4)  # the logarithm of 2 in two parts
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_PI_4 = (0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8)  # a quarter of pi in three parts


def _polynomial(b: Flow, x: Val, coefficients: Sequence[float]) -> Val:
    value = b.const(x.type, coefficients[0])
    for c in coefficients[1:]:
        value = b.fma(value, x, b.const(x.type, c))
    return value


def _log_float(b: Flow, x: Val) -> Val:
    """Cephes' logf of normal positive numbers."""
    f32, i32 = x.type, vec_type(I32, lanes_of(x.type))
    bits = b.cast("bitcast", x, i32)
    exponent = b.cast("sitofp", b.sub(b.op("lshr", bits, b.const(i32, 23)), b.const(i32, 126)), f32)
    fraction = b.op("or", b.op("and", bits, b.const(i32, 0x7FFFFF)), b.const(i32, 0x3F000000))
    mantissa = b.cast("bitcast", fraction, f32)
    small = b.cmp("olt", mantissa, b.const(f32, 0.5**0.5))
    exponent = b.fsub(exponent, b.select(small, b.const(f32, 1), b.const(f32, 0)))
    x = b.fadd(b.fsub(mantissa, b.const(f32, 1)), b.select(small, mantissa, b.const(f32, 0)))
    square = b.fmul(x, x)
    y = b.fmul(_polynomial(b, x, _LOG), x)
    y = b.fma(y, square, b.fmul(exponent, b.const(f32, _LN2[1])))
    y = b.fma(b.fneg(square), b.const(f32, 0.5), y)
    return b.fma(exponent, b.const(f32, _LN2[0]), b.fadd(x, y))


def _sincos_float(b: Flow, x: Val) -> tuple[Val, Val]:
    """Cephes' sinf and cosf of numbers from 0 to 2 pi."""
    f32, i32 = x.type, vec_type(I32, lanes_of(x.type))
    octant = b.cast("fptosi", b.fmul(x, b.const(f32, 1.27323954473516)), i32)
    octant = b.op("and", b.add(octant, b.const(i32, 1)), b.const(i32, -2))
    turns = b.cast("sitofp", octant, f32)
    for part in _PI_4:
        x = b.fma(turns, b.const(f32, -part), x)
    z = b.fmul(x, x)
    half = b.fmul(z, b.const(f32, 0.5))
    cosine = b.fma(b.fmul(_polynomial(b, z, _COS), z), z, b.fneg(half))
    cosine = b.fadd(cosine, b.const(f32, 1))
    sine = b.fma(b.fmul(_polynomial(b, z, _SIN), z), x, x)

    def bit(value: Val, which: int) -> Val:
        return b.cmp("ne", b.op("and", value, b.const(i32, which)), b.const(i32, 0))

    swap = bit(octant, 2)
    negative_cosine = bit(b.add(octant, b.const(i32, 2)), 4)
    sin = b.select(swap, cosine, sine)
    cos = b.select(swap, sine, cosine)
    return b.select(bit(octant, 4), b.fneg(sin), sin), b.select(negative_cosine, b.fneg(cos), cos)


def _box_muller(module: Module, isa: ISA) -> str:
    """``box_muller(data, blocks, mean, std)``: blocks of 16 uniform floats to normal ones, in place."""

    def transform(b: Flow, radii: Val, angles: Val, mean: Val, std: Val) -> tuple[Val, Val]:
        f32, lanes = radii.type, lanes_of(radii.type)
        means, stds = b.splat(mean, lanes), b.splat(std, lanes)
        logarithm = _log_float(b, b.fsub(b.const(f32, 1), radii))
        radius = b.intrinsic("llvm.sqrt", f32, b.fmul(b.const(f32, -2), logarithm))
        sin, cos = _sincos_float(b, b.fmul(b.const(f32, 2 * PI), angles))
        return b.fma(b.fmul(radius, cos), stds, means), b.fma(b.fmul(radius, sin), stds, means)

    def write(b: Flow, data: Val, blocks: Val, mean: Val, std: Val) -> None:
        whole: Val | int = 0
        if isa.lanes(F32) >= 16:  # two blocks fill the vectors
            whole = b.op("and", blocks, b.i64(-2))
            half = vec_type(F32, 8)
            with b.loop(0, whole, 2) as loop:
                start = b.imul(loop.index, 16)
                places = [b.at(F32, data, b.iadd(start, 8 * n)) for n in range(4)]
                parts = [b.load(half, place) for place in places]
                radii, angles = (b.shuffle(parts[n], parts[n + 2], range(16)) for n in range(2))
                values = transform(b, radii, angles, mean, std)
                for n, place in enumerate(places):
                    half_lanes = range(8 * (n // 2), 8 * (n // 2) + 8)
                    b.store(b.shuffle(values[n % 2], values[n % 2], half_lanes), place)
        lanes = min(8, isa.lanes(F32))
        with b.loop(whole, blocks) as loop:
            start = b.imul(loop.index, 16)
            for part in range(0, 8, lanes):
                places = [b.at(F32, data, b.iadd(start, part + n)) for n in (0, 8)]
                radii, angles = (b.load(vec_type(F32, lanes), place) for place in places)
                for value, place in zip(transform(b, radii, angles, mean, std), places, strict=True):
                    b.store(value, place)
        b.ret()

    args = [(PTR, "data"), (I64, "blocks"), (F32, "mean"), (F32, "std")]
    return function(module, isa, "box_muller", args, write, attributes="noinline")


def _raw_uniform(module: Module, isa: ISA, code: str) -> str:
    """``raw_uniform(state, out, count)``: numbers in [0, 1) as float or double."""
    double = code == "f64"

    def write(b: Flow, state: Val, out: Val, count: Val) -> None:
        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            put(b, unit_double(b, draws) if double else unit_float(b, draws[0]), code, code, out, index)

        lanes = isa.lanes(I64) if double else isa.lanes(I32)
        each_element(b, isa, state, count, 2 if double else 1, lanes, apply)
        b.ret()

    return function(module, isa, "raw_uniform", [STATE, OUT, COUNT], write, attributes="noinline")


def _normal_blocks(module: Module, isa: ISA, code: str) -> None:
    """``normal_blocks(state, out, count, mean, std)``: 16 or more numbers in blocks of 16."""

    def write(b: Flow, state: Val, out: Val, count: Val, mean: Val, std: Val) -> None:
        if code == "f64":
            _normal_in_place(b, isa, state, out, count, "f64", lambda p, n: _box_muller_double(b, p, n, mean, std))
        elif code == "f32":
            mean, std = (b.cast("fptrunc", v, F32) for v in (mean, std))
            _normal_in_place(
                b, isa, state, out, count, "f32",
                lambda p, n: b.call_void(_box_muller(module, isa), p, n, mean, std),
            )  # fmt: skip
        else:
            mean, std = (b.cast("fptrunc", v, F32) for v in (mean, std))
            _normal_narrow(b, isa, state, out, count, code, mean, std)

    args = [STATE, OUT, COUNT, (F64, "mean"), (F64, "std")]
    export(module, isa, "normal_blocks", args, write)


def _normal_in_place(
    b: Flow, isa: ISA, state: Val, out: Val, count: Val, code: str, transform: Callable[[Val, Val], None]
) -> None:
    """Uniforms for all elements, written where the normals go; then 16 more where 16 does not divide the count."""
    elem, draw = MEMORY_TYPE[code], _raw_uniform(b.module, isa, code)
    with b.loop(0, count, _CHUNK) as loop:
        place = b.at(elem, out, loop.index)
        number = b.imin(b.isub(count, loop.index), _CHUNK)
        b.call_void(draw, state, place, number)
        transform(place, b.idiv(number, 16))
    with b.when(b.icmp("ne", b.op("and", count, b.i64(15)), 0)):
        place = b.at(elem, out, b.isub(count, 16))
        b.call_void(draw, state, place, b.i64(16))
        transform(place, b.i64(1))


def _normal_narrow(b: Flow, isa: ISA, state: Val, out: Val, count: Val, code: str, mean: Val, std: Val) -> None:
    """Blocks made in float32 and rounded; unlike in wider types, no uniforms are drawn for the remainder first."""
    room = b.alloca(f"[{_CHUNK} x float]")
    draw, transform = _raw_uniform(b.module, isa, "f32"), _box_muller(b.module, isa)
    lanes = min(16, isa.lanes(F32))

    def fill(first: Val, number: Val) -> None:
        b.call_void(draw, state, room, number)
        b.call_void(transform, room, b.idiv(number, 16), mean, std)
        with b.loop(0, number, lanes) as loop:
            value = get(b, "f32", "f32", room, loop.index, lanes)
            put(b, value, "f32", code, out, b.iadd(first, loop.index))

    whole = b.op("and", count, b.i64(-16))
    with b.loop(0, whole, _CHUNK) as loop:
        fill(loop.index, b.imin(b.isub(whole, loop.index), _CHUNK))
    with b.when(b.icmp("ne", whole, count)):
        fill(b.isub(count, 16), b.i64(16))


def _box_muller_double(b: Flow, data: Val, blocks: Val, mean: Val, std: Val) -> None:
    with b.loop(0, b.imul(blocks, 8)) as loop:
        block, lane = b.op("and", loop.index, b.i64(-8)), b.op("and", loop.index, b.i64(7))
        first = b.at(F64, data, b.iadd(b.imul(block, 2), lane))
        second = b.at(F64, first, 8)
        logarithm = libm(b, "log", b.fsub(b.const(F64, 1), b.load(F64, first)))
        radius = b.intrinsic("llvm.sqrt", F64, b.fmul(b.const(F64, -2), logarithm))
        angle = b.fmul(b.const(F64, 2 * PI), b.load(F64, second))
        b.store(b.fma(b.fmul(radius, libm(b, "cos", angle)), std, mean), first)
        b.store(b.fma(b.fmul(radius, libm(b, "sin", angle)), std, mean), second)


# -- permutations and the state itself -------------------------------------------------------------


def _permutation(module: Module, isa: ISA, code: str) -> None:
    """``permutation(state, out, count)``: 0 to count - 1 shuffled (R. Durstenfeld, CACM 7, 1964), first place first."""
    memory = MEMORY_TYPE[code]

    def write(b: Flow, state: Val, out: Val, count: Val) -> None:
        def shuffle(draw: Callable[[Val], Val]) -> None:
            with b.loop(0, b.isub(count, 1)) as loop:
                here = b.at(memory, out, loop.index)
                there = b.at(memory, here, draw(b.isub(count, loop.index)))
                first, second = b.load(memory, here), b.load(memory, there)
                b.store(second, here)
                b.store(first, there)

        def short(left: Val) -> Val:
            word = b.call(I32, next32(b.module, isa), state)
            return b.cast("zext", b.op("urem", word, b.cast("trunc", left, I32)), I64)

        def long(left: Val) -> Val:
            return b.op("urem", b.call(I64, next64(b.module, isa), state), left)

        with b.loop(0, count) as loop:
            put(b, loop.index, "i64", code, out, loop.index)
        limit = (2**32 - 1) // 20  # beyond it a word's remainder would be noticeably uneven
        b.either(b.icmp("slt", count, limit), lambda: shuffle(short), lambda: shuffle(long))

    export(module, isa, "permutation", [STATE, OUT, COUNT], write)


def _seed(module: Module, isa: ISA) -> None:
    """``seed(state, seed)``: the reference initialisation from the low 32 bits."""

    def write(b: Flow, state: Val, seed: Val) -> None:
        b.store(seed, b.bytes_at(state, SEED), 8)
        first = b.cast("trunc", seed, I32)
        b.store(first, state, 4)
        with b.loop(1, LENGTH, carry=[first]) as loop:
            mixed = b.op("xor", loop.values[0], b.op("lshr", loop.values[0], b.const(I32, 30)))
            word = b.add(b.op("mul", mixed, b.const(I32, 1812433253)), b.cast("trunc", loop.index, I32))
            b.store(word, b.at(I32, state, loop.index), 4)
            loop.next = [word]
        for offset, value in ((POSITION, LENGTH), (STARTED, 0), (NORMAL, 0), (NORMAL_VALID, 0), (SINGLE, 0)):
            b.store(b.i64(value), b.bytes_at(state, offset), 8)

    export(module, isa, "seed", [STATE, (I64, "seed")], write)


def _output(module: Module, isa: ISA) -> None:
    """``output(state)``: tempers the words of the state anew, after they were set from outside."""

    def write(b: Flow, state: Val) -> None:
        lanes, t = word_type(isa)
        with b.loop(0, LENGTH, lanes) as loop:
            word = b.load(t, b.at(I32, state, loop.index))
            b.store(temper(b, word), b.at(I32, b.bytes_at(state, OUTPUT), loop.index))

    export(module, isa, "output", [STATE], write)


def _words(module: Module, isa: ISA) -> None:
    """``words(state, out, count)``: words as the engine gives them."""

    def write(b: Flow, state: Val, out: Val, count: Val) -> None:
        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            b.store(draws[0], b.at(I32, out, index))

        each_element(b, isa, state, count, 1, isa.lanes(I32), apply)

    export(module, isa, "words", [STATE, OUT, COUNT], write)


# -- loading ---------------------------------------------------------------------------------------

# name -> what writes it, the letters of its arguments (``runtime/native.py``)
KERNELS: dict[str, tuple[Callable[..., None], str]] = {
    "seed": (_seed, "pi"),
    "output": (_output, "p"),
    "words": (_words, "ppi"),
    "uniform": (_uniform, "ppidd"),
    "bernoulli": (_bernoulli, "ppiid"),
    "bernoulli_each": (_bernoulli_each, "pppi"),
    "integers32": (_integers32, "ppiii"),
    "integers64": (_integers64, "ppiii"),
    "normal": (lambda m, i, c: _normal_each(m, i, "normal", c, False), "ppidd"),
    "log_normal": (lambda m, i, c: _normal_each(m, i, "log_normal", c, True), "ppidd"),
    "normal_blocks": (_normal_blocks, "ppidd"),
    "exponential": (_write_exponential, "ppidd"),
    "geometric": (_write_geometric, "ppidd"),
    "cauchy": (lambda m, i, c: _from_uniform(m, i, "cauchy", c, _cauchy), "ppidd"),
    "permutation": (_permutation, "ppi"),
    "poisson": (poisson, "pppi"),
    "binomial": (binomial, "ppppi"),
    "gamma": (gamma, "pppi"),
    "dirichlet": (dirichlet, "ppppii"),
    "gamma_gradient": (gamma_gradient, "pppi"),
    "dirichlet_gradient": (dirichlet_gradient, "ppppi"),
    "multinomial": (multinomial, "ppppiii"),
    "rrelu": (rrelu, "ppppidd"),
}


def kernel(name: str, *codes: str) -> Callable[..., int]:
    """The kernel ``name`` for element types ``codes`` ("f32" ...), callable with addresses and numbers.

    It returns 0, or a number that says what is wrong with its arguments.  Raises ``KeyError`` for an unknown name.
    """
    return load(name, codes, settings.isa)


@functools.cache
def load(name: str, codes: tuple[str, ...], isa_name: str) -> Callable[..., int]:
    """``kernel`` for the instruction set called ``isa_name``."""
    isa = ISA.named(isa_name)
    write, arguments = KERNELS[name]

    def make() -> str:
        module = new_module(isa)
        write(module, isa, *codes)
        return module.text()

    label = "_".join(("random", name, *codes))
    address = engine.load(label, label, make, isa).address(name)
    return make_caller(address, arguments, release_gil=True)
