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

import ctypes
import functools
from collections.abc import Callable, Sequence

from .. import settings
from ..runtime import engine
from ..target.builder import Module, Val, lanes_of, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import MEMORY_TYPE, cast
from .flow import Flow, function

__all__ = [
    "NORMAL", "NORMAL_VALID", "POSITION", "SEED", "SINGLE", "SINGLE_VALID", "STARTED", "STATE_BYTES", "WORDS", "kernel"
]  # fmt: skip

N, M = 624, 397  # words of the state, and the distance of the recurrence

# The state block, offsets in bytes.
WORDS = 0  # u32[624], the state; the 624 words after it are room for the next one
_NEXT = 4 * N
_OUTPUT = 8 * N  # u32[624], the state tempered: the numbers to be given out
POSITION = 12 * N  # i64, how many of them have been
STARTED = POSITION + 8  # i64, 0 from seeding to the first number
NORMAL = POSITION + 16  # double, the second normal of a pair
NORMAL_VALID = POSITION + 24  # i64, whether there is one
SEED = POSITION + 32  # u64, what the generator was seeded with
SINGLE = POSITION + 40  # float, only carried along: PyTorch's state has a place for a single-precision normal
SINGLE_VALID = POSITION + 44  # i32
STATE_BYTES = POSITION + 64

_PTR, _I64, _I32, _F32, _F64 = "ptr", "i64", "i32", "float", "double"
_CHUNK = 4096  # elements that a normal fill handles at a time: uniforms written, then read again from the cache
_STATE = (_PTR, "state")
_OUT = (_PTR, "out")
_COUNT = (_I64, "count")


# -- the engine ------------------------------------------------------------------------------------


def _temper(b: Flow, word: Val) -> Val:
    t = word.type
    word = b.op("xor", word, b.op("lshr", word, b.const(t, 11)))
    word = b.op("xor", word, b.op("and", b.op("shl", word, b.const(t, 7)), b.const(t, 0x9D2C5680)))
    word = b.op("xor", word, b.op("and", b.op("shl", word, b.const(t, 15)), b.const(t, 0xEFC60000)))
    return b.op("xor", word, b.op("lshr", word, b.const(t, 18)))


def _word_type(isa: ISA) -> tuple[int, str]:
    """Vectors of words that divide the state evenly: 624 is 39 times 16."""
    lanes = min(16, isa.lanes(_I32))
    return lanes, vec_type(_I32, lanes)


def _refill(module: Module, isa: ISA) -> str:
    """``refill(state)``: the next 624 words.

    The recurrence reads no nearer than 227 words back, so whole vectors advance at once; writing the new
    state behind the old one makes it the same formula for all 624.
    """

    def write(b: Flow, state: Val) -> None:
        lanes, t = _word_type(isa)
        fresh, output = b.bytes_at(state, _NEXT), b.bytes_at(state, _OUTPUT)
        with b.loop(0, N, lanes) as loop:
            i = loop.index
            here = b.load(t, b.at(_I32, state, i))
            after = b.load(t, b.at(_I32, state, b.iadd(i, 1)))
            ahead = b.load(t, b.at(_I32, state, b.iadd(i, M)))
            top = b.op("and", here, b.const(t, 0x80000000))
            mixed = b.op("or", top, b.op("and", after, b.const(t, 0x7FFFFFFF)))
            odd = b.cmp("ne", b.op("and", after, b.const(t, 1)), b.const(t, 0))
            twist = b.select(odd, b.const(t, 0x9908B0DF), b.const(t, 0))
            word = b.op("xor", b.op("xor", ahead, b.op("lshr", mixed, b.const(t, 1))), twist)
            b.store(word, b.at(_I32, fresh, i))
            b.store(_temper(b, word), b.at(_I32, output, i))
        with b.loop(0, N, lanes) as loop:
            b.store(b.load(t, b.at(_I32, fresh, loop.index)), b.at(_I32, state, loop.index))
        b.store(b.i64(0), b.bytes_at(state, POSITION), 8)
        b.store(b.i64(1), b.bytes_at(state, STARTED), 8)
        b.ret()

    return function(module, isa, "refill", [_STATE], write, attributes="noinline")


def _next32(module: Module, isa: ISA) -> str:
    """``next32(state) -> i32``: the next word."""

    def write(b: Flow, state: Val) -> None:
        place = b.bytes_at(state, POSITION)
        with b.when(b.icmp("eq", b.load(_I64, place, 8), N)):
            b.call_void(_refill(module, isa), state)
        position = b.load(_I64, place, 8)
        b.store(b.iadd(position, 1), place, 8)
        b.ret(b.load(_I32, b.at(_I32, b.bytes_at(state, _OUTPUT), position), 4))

    return function(module, isa, "next32", [_STATE], write, result=_I32, attributes="alwaysinline")


def _next64(module: Module, isa: ISA) -> str:
    """``next64(state) -> i64``: two words, the upper half first."""

    def write(b: Flow, state: Val) -> None:
        high, low = (b.cast("zext", b.call(_I32, _next32(module, isa), state), _I64) for _ in range(2))
        b.ret(b.op("or", b.op("shl", high, b.i64(32)), low))

    return function(module, isa, "next64", [_STATE], write, result=_I64, attributes="alwaysinline")


def next_uniform(b: Flow, isa: ISA, state: Val) -> Val:
    """The next uniform number in [0, 1) of 53 bits, as a double."""
    bits = b.op("and", b.call(_I64, _next64(b.module, isa), state), b.i64((1 << 53) - 1))
    return b.fmul(b.cast("sitofp", bits, _F64), b.const(_F64, 2.0**-53))


def libm(b: Flow, name: str, *args: Val) -> Val:
    """Calls a function of double precision of the C library."""
    symbol = b.module.declare(name, _F64, [_F64] * len(args))
    return b.call(_F64, symbol, *args)


def next_normal(b: Flow, isa: ISA, state: Val) -> Val:
    """The next normal number, as a double: the one kept in the state, or the first of a new pair."""

    def write(b: Flow, state: Val) -> None:
        kept, valid = b.bytes_at(state, NORMAL), b.bytes_at(state, NORMAL_VALID)

        def keep() -> list[Val]:
            b.store(b.i64(0), valid, 8)
            return [b.load(_F64, kept, 8)]

        def pair() -> list[Val]:
            first = next_uniform(b, isa, state)
            second = next_uniform(b, isa, state)
            logarithm = libm(b, "log1p", b.fneg(second))
            radius = b.intrinsic("llvm.sqrt", _F64, b.fmul(b.const(_F64, -2.0), logarithm))
            angle = b.fmul(b.const(_F64, 2 * 3.141592653589793), first)
            b.store(b.fmul(radius, libm(b, "sin", angle)), kept, 8)
            b.store(b.i64(1), valid, 8)
            return [b.fmul(radius, libm(b, "cos", angle))]

        [value] = b.choose(b.icmp("ne", b.load(_I64, valid, 8), 0), keep, pair)
        b.ret(value)

    name = function(b.module, isa, "next_normal", [_STATE], write, result=_F64, attributes="noinline")
    return b.call(_F64, name, state)


# -- fills that take a fixed number of words for each element --------------------------------------

_Apply = Callable[[Flow, list[Val], Val], None]


def _each(b: Flow, isa: ISA, state: Val, count: Val, words: int, lanes: int, apply: _Apply) -> None:
    """Calls ``apply(b, draws, index)`` for all elements from ``index`` on, ``lanes`` or 1 at a time.

    ``draws`` is [word], or [upper, lower] where ``words`` is 2, as integers of 32 bits.
    """
    place, output = b.bytes_at(state, POSITION), b.bytes_at(state, _OUTPUT)
    filled = b.alloca(_I64, align=8)
    b.store(b.i64(0), filled, 8)
    head, body, done = b.label("fill"), b.label("draw"), b.label("filled")

    def words_at(position: Val, width: int) -> list[Val]:
        pointer = b.at(_I32, output, position)
        if words == 1:
            return [b.load(vec_type(_I32, width), pointer, 4)]
        if width == 1:
            return [b.load(_I32, b.at(_I32, pointer, n), 4) for n in range(2)]
        both = b.load(vec_type(_I32, 2 * width), pointer, 4)
        return [b.shuffle(both, both, range(n, 2 * width, 2)) for n in range(2)]

    def available() -> None:
        """As many elements as the words at hand suffice for."""
        position, start = b.load(_I64, place, 8), b.load(_I64, filled, 8)
        number = b.imin(b.idiv(b.isub(N, position), words), b.isub(count, start))
        whole = b.op("and", number, b.i64(-lanes))
        if lanes > 1:
            with b.loop(0, whole, lanes) as loop:
                draws = words_at(b.iadd(position, b.imul(loop.index, words)), lanes)
                apply(b, draws, b.iadd(start, loop.index))
        with b.loop(whole if lanes > 1 else 0, number) as loop:
            draws = words_at(b.iadd(position, b.imul(loop.index, words)), 1)
            apply(b, draws, b.iadd(start, loop.index))
        b.store(b.iadd(position, b.imul(number, words)), place, 8)
        b.store(b.iadd(start, number), filled, 8)

    def across() -> None:
        """One element, whose words the refill may separate."""
        draws = [b.call(_I32, _next32(b.module, isa), state) for _ in range(words)]
        start = b.load(_I64, filled, 8)
        apply(b, draws, start)
        b.store(b.iadd(start, 1), filled, 8)

    b.br(head)
    b.place(head)
    b.cond_br(b.icmp("slt", b.load(_I64, filled, 8), count), body, done)
    b.place(body)
    b.either(b.icmp("sgt", b.load(_I64, place, 8), N - words), across, available)
    b.br(head)
    b.place(done)


def unit_float(b: Flow, word: Val) -> Val:
    """The uniform number in [0, 1) of 24 bits, as a float."""
    bits = b.op("and", word, b.const(word.type, (1 << 24) - 1))
    real = b.cast("sitofp", bits, vec_type(_F32, lanes_of(word.type)))
    return b.fmul(real, b.const(real.type, 2.0**-24))


def bits53(b: Flow, draws: list[Val]) -> Val:
    """The low 53 bits of two words, as i64."""
    wide = vec_type(_I64, lanes_of(draws[0].type))
    high = b.cast("zext", b.op("and", draws[0], b.const(draws[0].type, (1 << 21) - 1)), wide)
    return b.op("or", b.op("shl", high, b.const(wide, 32)), b.cast("zext", draws[1], wide))


def unit_double(b: Flow, draws: list[Val]) -> Val:
    """The uniform number in [0, 1) of 53 bits, as a double."""
    real = b.cast("sitofp", bits53(b, draws), vec_type(_F64, lanes_of(draws[0].type)))
    return b.fmul(real, b.const(real.type, 2.0**-53))


def _rounded(b: Flow, value: Val, source: str, code: str) -> Val:
    """A number converted as PyTorch does it: to narrow types by way of float32."""
    if source == "f64" and code in ("f16", "bf16"):
        value, source = b.cast("fptrunc", value, vec_type(_F32, lanes_of(value.type))), "f32"
    if source == "i64" and code in ("f16", "bf16"):
        value, source = b.cast("sitofp", value, vec_type(_F32, lanes_of(value.type))), "f32"
    return cast(b, value, source, code)


def put(b: Flow, value: Val, source: str, code: str, out: Val, index: Val) -> None:
    """Stores elements of the type ``code`` from ``index`` on."""
    value = _rounded(b, value, source, code)
    memory = MEMORY_TYPE[code]
    if code == "b1":
        value = b.cast("zext", value, vec_type(memory, lanes_of(value.type)))
    b.store(value, b.at(memory, out, index))


def get(b: Flow, code: str, target: str, pointer: Val, index: Val, lanes: int = 1) -> Val:
    """Loads elements of the type ``code`` from ``index`` on, converted to ``target``."""
    value = b.load(vec_type(MEMORY_TYPE[code], lanes), b.at(MEMORY_TYPE[code], pointer, index))
    return cast(b, value, code, target)


def _uniform(module: Module, isa: ISA, code: str) -> None:
    """``uniform(state, out, count, low, high)``."""
    double = code == "f64"
    elem, source = (_F64, "f64") if double else (_F32, "f32")

    def write(b: Flow, state: Val, out: Val, count: Val, low: Val, high: Val) -> None:
        low, high = (b.cast("fptrunc", v, elem) for v in (low, high))
        width = b.fsub(high, low)

        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            lanes = lanes_of(draws[0].type)
            lows, highs, widths = (b.splat(v, lanes) for v in (low, high, width))
            unit = unit_double(b, draws) if double else unit_float(b, draws[0])
            value = _rounded(b, b.fma(unit, widths, lows), source, code)
            bound = cast(b, _rounded(b, highs, source, code), code, source)
            reached = b.cmp("oeq", cast(b, value, code, source), bound)
            put(b, b.select(reached, _rounded(b, lows, source, code), value), code, code, out, index)

        lanes = isa.lanes(_I64) if double else isa.lanes(_I32)
        _each(b, isa, state, count, 2 if double else 1, lanes, apply)
        b.ret()

    args = [_STATE, _OUT, _COUNT, (_F64, "low"), (_F64, "high")]
    function(module, isa, "uniform", args, write, linkage="external")


def _bernoulli(module: Module, isa: ISA, code: str) -> None:
    """``bernoulli(state, out, count, threshold, value)``: ``value`` where 53 bits are below the integer threshold."""

    def write(b: Flow, state: Val, out: Val, count: Val, threshold: Val, value: Val) -> None:
        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            lanes = lanes_of(draws[0].type)
            below = b.cmp("slt", bits53(b, draws), b.splat(threshold, lanes))
            yes = b.splat(_rounded(b, value, "f64", code), lanes)
            put(b, b.select(below, yes, b.const(yes.type, 0)), code, code, out, index)

        _each(b, isa, state, count, 2, isa.lanes(_I64), apply)
        b.ret()

    args = [_STATE, _OUT, _COUNT, (_I64, "threshold"), (_F64, "value")]
    function(module, isa, "bernoulli", args, write, linkage="external")


def _bernoulli_each(module: Module, isa: ISA, code: str, chance: str) -> None:
    """``bernoulli_each(state, out, chances, count)``: trials with a probability each; 1 if one is none."""
    double = chance == "f64"
    source = "f64" if double else "f32"

    def write(b: Flow, state: Val, out: Val, chances: Val, count: Val) -> None:
        bad = b.alloca(_I64, align=8)
        b.store(b.i64(0), bad, 8)
        with b.loop(0, count) as loop:
            p = get(b, chance, source, chances, loop.index)
            inside = b.op("and", b.cmp("oge", p, b.const(p.type, 0)), b.cmp("ole", p, b.const(p.type, 1)))
            outside = b.cast("zext", b.op("xor", inside, b.const("i1", 1)), _I64)
            b.store(b.op("or", b.load(_I64, bad, 8), outside), bad, 8)
        with b.when(b.icmp("eq", b.load(_I64, bad, 8), 0)):

            def apply(b: Flow, draws: list[Val], index: Val) -> None:
                unit = unit_double(b, draws) if double else unit_float(b, draws[0])
                p = get(b, chance, source, chances, index, lanes_of(unit.type))
                put(b, b.cmp("olt", unit, p), "b1", code, out, index)

            lanes = isa.lanes(_I64) if double else isa.lanes(_I32)
            _each(b, isa, state, count, 2 if double else 1, lanes, apply)
        b.ret(b.load(_I64, bad, 8))

    args = [_STATE, _OUT, (_PTR, "chances"), _COUNT]
    function(module, isa, "bernoulli_each", args, write, result=_I64, linkage="external")


def _integers32(module: Module, isa: ISA, code: str) -> None:
    """``integers32(state, out, count, size, base)``: ``base`` + the remainder of one word by ``size``, 1 to 2^32 - 1.

    The remainder is taken in double precision, where words are exact: the quotient is off by at most one.
    """

    def write(b: Flow, state: Val, out: Val, count: Val, size: Val, base: Val) -> None:
        divisor = b.cast("uitofp", size, _F64)
        inverse = b.fdiv(b.const(_F64, 1.0), divisor)

        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            lanes = lanes_of(draws[0].type)
            real, wide = vec_type(_F64, lanes), vec_type(_I64, lanes)
            word = b.cast("uitofp", draws[0], real)
            sizes = b.splat(divisor, lanes)
            quotient = b.intrinsic("llvm.floor", real, b.fmul(word, b.splat(inverse, lanes)))
            # all three numbers are integers below 2^53: the product needs no fused operation to be exact
            rest = b.fsub(word, b.fmul(quotient, sizes))
            rest = b.select(b.cmp("olt", rest, b.const(real, 0)), b.fadd(rest, sizes), rest)
            rest = b.select(b.cmp("oge", rest, sizes), b.fsub(rest, sizes), rest)
            value = b.add(b.cast("fptosi", rest, wide), b.splat(base, lanes))
            put(b, value, "i64", code, out, index)

        _each(b, isa, state, count, 1, isa.lanes(_I64), apply)
        b.ret()

    args = [_STATE, _OUT, _COUNT, (_I64, "size"), (_I64, "base")]
    function(module, isa, "integers32", args, write, linkage="external")


def _integers64(module: Module, isa: ISA, code: str) -> None:
    """``integers64(state, out, count, size, base)``: as ``integers32`` with two words; size 0 stands for 2^64."""

    def write(b: Flow, state: Val, out: Val, count: Val, size: Val, base: Val) -> None:
        def fill(remainder: Callable[[Flow, Val], Val]) -> None:
            def apply(b: Flow, draws: list[Val], index: Val) -> None:
                high, low = (b.cast("zext", word, _I64) for word in draws)
                number = remainder(b, b.op("or", b.op("shl", high, b.i64(32)), low))
                put(b, b.add(number, base), "i64", code, out, index)

            _each(b, isa, state, count, 2, 1, apply)

        less = b.op("sub", size, b.i64(1))
        power = b.icmp("eq", b.op("and", size, less), 0)  # of two, 2^64 included: a mask
        b.either(
            power,
            lambda: fill(lambda b, number: b.op("and", number, less)),
            lambda: fill(lambda b, number: b.op("urem", number, size)),
        )
        b.ret()

    args = [_STATE, _OUT, _COUNT, (_I64, "size"), (_I64, "base")]
    function(module, isa, "integers64", args, write, linkage="external")


def _from_uniform(module: Module, isa: ISA, name: str, code: str, formula: Callable[[Flow, Val, Val, Val], Val]) -> None:
    """``name(state, out, count, x, y)``: ``formula(uniform, x, y)`` in double precision."""

    def write(b: Flow, state: Val, out: Val, count: Val, x: Val, y: Val) -> None:
        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            put_saturated(b, formula(b, unit_double(b, draws), x, y), code, out, index)

        _each(b, isa, state, count, 2, 1, apply)
        b.ret()

    args = [_STATE, _OUT, _COUNT, (_F64, "x"), (_F64, "y")]
    function(module, isa, name, args, write, linkage="external")


def put_saturated(b: Flow, value: Val, code: str, out: Val, index: Val) -> None:
    """Stores a double as the type ``code``; an integer that it does not fit becomes the lowest, as on x86."""
    if code[0] in "iu":
        wide = _I64 if code in ("i64", "u64", "u32") else _I32
        limit = 2.0**63 if wide == _I64 else 2.0**31
        inside = b.op("and", b.cmp("olt", value, b.const(_F64, limit)), b.cmp("oge", value, b.const(_F64, -limit)))
        whole = b.cast("fptosi", b.select(inside, value, b.const(_F64, -limit)), wide)
        put(b, whole, "i64" if wide == _I64 else "i32", code, out, index)
    else:
        put(b, value, "f64", code, out, index)


def _exponential(b: Flow, unit: Val, scale: Val, _: Val) -> Val:
    return b.fmul(scale, libm(b, "log1p", b.fneg(unit)))


def _geometric(b: Flow, unit: Val, log_failure: Val, _: Val) -> Val:
    return b.intrinsic("llvm.ceil", _F64, b.fdiv(libm(b, "log", unit), log_failure))


def _cauchy(b: Flow, unit: Val, median: Val, sigma: Val) -> Val:
    angle = b.fmul(b.const(_F64, 3.141592653589793), b.fsub(unit, b.const(_F64, 0.5)))
    return b.fma(sigma, libm(b, "tan", angle), median)


# -- normal numbers --------------------------------------------------------------------------------


def _normal_each(module: Module, isa: ISA, name: str, code: str, exponential: bool) -> None:
    """``name(state, out, count, mean, std)``: one by one in double precision, or the exponential of that."""

    def write(b: Flow, state: Val, out: Val, count: Val, mean: Val, std: Val) -> None:
        with b.loop(0, count) as loop:
            value = b.fma(next_normal(b, isa, state), std, mean)
            put(b, libm(b, "exp", value) if exponential else value, "f64", code, out, loop.index)
        b.ret()

    args = [_STATE, _OUT, _COUNT, (_F64, "mean"), (_F64, "std")]
    function(module, isa, name, args, write, linkage="external")


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
    f32, i32 = x.type, vec_type(_I32, lanes_of(x.type))
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
    f32, i32 = x.type, vec_type(_I32, lanes_of(x.type))
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
        sin, cos = _sincos_float(b, b.fmul(b.const(f32, 2 * 3.141592653589793), angles))
        return b.fma(b.fmul(radius, cos), stds, means), b.fma(b.fmul(radius, sin), stds, means)

    def write(b: Flow, data: Val, blocks: Val, mean: Val, std: Val) -> None:
        whole: Val | int = 0
        if isa.lanes(_F32) >= 16:  # two blocks fill the vectors
            whole = b.op("and", blocks, b.i64(-2))
            half = vec_type(_F32, 8)
            with b.loop(0, whole, 2) as loop:
                start = b.imul(loop.index, 16)
                places = [b.at(_F32, data, b.iadd(start, 8 * n)) for n in range(4)]
                parts = [b.load(half, place) for place in places]
                radii, angles = (b.shuffle(parts[n], parts[n + 2], range(16)) for n in range(2))
                values = transform(b, radii, angles, mean, std)
                for n, place in enumerate(places):
                    lanes = range(8 * (n // 2), 8 * (n // 2) + 8)
                    b.store(b.shuffle(values[n % 2], values[n % 2], lanes), place)
        lanes = min(8, isa.lanes(_F32))
        with b.loop(whole, blocks) as loop:
            start = b.imul(loop.index, 16)
            for part in range(0, 8, lanes):
                places = [b.at(_F32, data, b.iadd(start, part + n)) for n in (0, 8)]
                radii, angles = (b.load(vec_type(_F32, lanes), place) for place in places)
                for value, place in zip(transform(b, radii, angles, mean, std), places, strict=True):
                    b.store(value, place)
        b.ret()

    args = [(_PTR, "data"), (_I64, "blocks"), (_F32, "mean"), (_F32, "std")]
    return function(module, isa, "box_muller", args, write, attributes="noinline")


def _raw_uniform(module: Module, isa: ISA, code: str) -> str:
    """``raw_uniform(state, out, count)``: numbers in [0, 1) as float or double."""
    double = code == "f64"

    def write(b: Flow, state: Val, out: Val, count: Val) -> None:
        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            put(b, unit_double(b, draws) if double else unit_float(b, draws[0]), code, code, out, index)

        lanes = isa.lanes(_I64) if double else isa.lanes(_I32)
        _each(b, isa, state, count, 2 if double else 1, lanes, apply)
        b.ret()

    return function(module, isa, "raw_uniform", [_STATE, _OUT, _COUNT], write, attributes="noinline")


def _normal_blocks(module: Module, isa: ISA, code: str) -> None:
    """``normal_blocks(state, out, count, mean, std)``: 16 or more numbers in blocks of 16."""

    def write(b: Flow, state: Val, out: Val, count: Val, mean: Val, std: Val) -> None:
        if code == "f64":
            _normal_in_place(b, isa, state, out, count, "f64", lambda p, n: _box_muller_double(b, p, n, mean, std))
        elif code == "f32":
            mean, std = (b.cast("fptrunc", v, _F32) for v in (mean, std))
            _normal_in_place(
                b, isa, state, out, count, "f32",
                lambda p, n: b.call_void(_box_muller(module, isa), p, n, mean, std),
            )  # fmt: skip
        else:
            mean, std = (b.cast("fptrunc", v, _F32) for v in (mean, std))
            _normal_narrow(b, isa, state, out, count, code, mean, std)
        b.ret()

    args = [_STATE, _OUT, _COUNT, (_F64, "mean"), (_F64, "std")]
    function(module, isa, "normal_blocks", args, write, linkage="external")


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
    lanes = min(16, isa.lanes(_F32))

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
        first = b.at(_F64, data, b.iadd(b.imul(block, 2), lane))
        second = b.at(_F64, first, 8)
        logarithm = libm(b, "log", b.fsub(b.const(_F64, 1), b.load(_F64, first)))
        radius = b.intrinsic("llvm.sqrt", _F64, b.fmul(b.const(_F64, -2), logarithm))
        angle = b.fmul(b.const(_F64, 2 * 3.141592653589793), b.load(_F64, second))
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
            word = b.call(_I32, _next32(b.module, isa), state)
            return b.cast("zext", b.op("urem", word, b.cast("trunc", left, _I32)), _I64)

        def long(left: Val) -> Val:
            return b.op("urem", b.call(_I64, _next64(b.module, isa), state), left)

        with b.loop(0, count) as loop:
            put(b, loop.index, "i64", code, out, loop.index)
        limit = (2**32 - 1) // 20  # beyond it a word's remainder would be noticeably uneven
        b.either(b.icmp("slt", count, limit), lambda: shuffle(short), lambda: shuffle(long))
        b.ret()

    function(module, isa, "permutation", [_STATE, _OUT, _COUNT], write, linkage="external")


def _seed(module: Module, isa: ISA) -> None:
    """``seed(state, seed)``: the reference initialisation from the low 32 bits."""

    def write(b: Flow, state: Val, seed: Val) -> None:
        b.store(seed, b.bytes_at(state, SEED), 8)
        first = b.cast("trunc", seed, _I32)
        b.store(first, state, 4)
        with b.loop(1, N, carry=[first]) as loop:
            mixed = b.op("xor", loop.values[0], b.op("lshr", loop.values[0], b.const(_I32, 30)))
            word = b.add(b.op("mul", mixed, b.const(_I32, 1812433253)), b.cast("trunc", loop.index, _I32))
            b.store(word, b.at(_I32, state, loop.index), 4)
            loop.next = [word]
        for offset, value in ((POSITION, N), (STARTED, 0), (NORMAL, 0), (NORMAL_VALID, 0), (SINGLE, 0)):
            b.store(b.i64(value), b.bytes_at(state, offset), 8)
        b.ret()

    function(module, isa, "seed", [_STATE, (_I64, "seed")], write, linkage="external")


def _output(module: Module, isa: ISA) -> None:
    """``output(state)``: tempers the words of the state anew, after they were set from outside."""

    def write(b: Flow, state: Val) -> None:
        lanes, t = _word_type(isa)
        with b.loop(0, N, lanes) as loop:
            word = b.load(t, b.at(_I32, state, loop.index))
            b.store(_temper(b, word), b.at(_I32, b.bytes_at(state, _OUTPUT), loop.index))
        b.ret()

    function(module, isa, "output", [_STATE], write, linkage="external")


def _words(module: Module, isa: ISA) -> None:
    """``words(state, out, count)``: words as the engine gives them."""

    def write(b: Flow, state: Val, out: Val, count: Val) -> None:
        def apply(b: Flow, draws: list[Val], index: Val) -> None:
            b.store(draws[0], b.at(_I32, out, index))

        _each(b, isa, state, count, 1, isa.lanes(_I32), apply)
        b.ret()

    function(module, isa, "words", [_STATE, _OUT, _COUNT], write, linkage="external")


# -- loading ---------------------------------------------------------------------------------------

Writer = Callable[..., None]
_POINTER, _INTEGER, _REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_FILL = (_POINTER, _POINTER, _INTEGER)

# name -> what writes it, the types of its arguments.  Other files of samplers add theirs.
KERNELS: dict[str, tuple[Writer, tuple[type, ...]]] = {
    "seed": (_seed, (_POINTER, _INTEGER)),
    "output": (_output, (_POINTER,)),
    "words": (_words, _FILL),
    "uniform": (_uniform, (*_FILL, _REAL, _REAL)),
    "bernoulli": (_bernoulli, (*_FILL, _INTEGER, _REAL)),
    "bernoulli_each": (_bernoulli_each, (_POINTER, _POINTER, _POINTER, _INTEGER)),
    "integers32": (_integers32, (*_FILL, _INTEGER, _INTEGER)),
    "integers64": (_integers64, (*_FILL, _INTEGER, _INTEGER)),
    "normal": (lambda m, i, c: _normal_each(m, i, "normal", c, False), (*_FILL, _REAL, _REAL)),
    "log_normal": (lambda m, i, c: _normal_each(m, i, "log_normal", c, True), (*_FILL, _REAL, _REAL)),
    "normal_blocks": (_normal_blocks, (*_FILL, _REAL, _REAL)),
    "exponential": (lambda m, i, c: _from_uniform(m, i, "exponential", c, _exponential), (*_FILL, _REAL, _REAL)),
    "geometric": (lambda m, i, c: _from_uniform(m, i, "geometric", c, _geometric), (*_FILL, _REAL, _REAL)),
    "cauchy": (lambda m, i, c: _from_uniform(m, i, "cauchy", c, _cauchy), (*_FILL, _REAL, _REAL)),
    "permutation": (_permutation, _FILL),
}


def kernel(name: str, *codes: str) -> Callable[..., int]:
    """The kernel ``name`` for element types ``codes`` ("f32" ...), callable with addresses and numbers.

    Raises ``KeyError`` for an unknown name.
    """
    return _kernel(name, codes, settings.isa)


@functools.cache
def _kernel(name: str, codes: tuple[str, ...], isa_name: str) -> Callable[..., int]:
    isa = ISA.named(isa_name)
    write, arguments = KERNELS[name]

    def make() -> str:
        module = new_module(isa)
        write(module, isa, *codes)
        return module.text()

    label = "_".join(("random", name, *codes))
    address = engine.load(label, label, make, isa).address(name)
    return ctypes.CFUNCTYPE(_INTEGER, *arguments)(address)
