"""The Mersenne Twister in LLVM text: the state of a generator, its words, and what kernels of random numbers share.

MT19937 (M. Matsumoto, T. Nishimura, "Mersenne Twister", ACM TOMACS 8, 1998) advances by whole vectors, 624 words at a
time; kernels then read the tempered words in order.  The state lives in one block of memory, whose address every
kernel takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..target.builder import Module, Val, lanes_of, vec_type
from ..target.isa import ISA
from ..target.scalar import MEMORY_TYPE, cast
from .flow import Flow, function
from .mersenne_state import DISTANCE, LENGTH, NEXT, NORMAL, NORMAL_VALID, OUTPUT, POSITION, STARTED

PTR, I64, I32, F32, F64 = "ptr", "i64", "i32", "float", "double"
STATE = (PTR, "state")
OUT = (PTR, "out")
COUNT = (I64, "count")
PI = 3.141592653589793


def export(
    module: Module, isa: ISA, name: str, args: Sequence[tuple[str, str]], write: Callable[..., Val | None]
) -> None:
    """Defines a kernel that Python calls: ``write`` returns its result (i64), or None for 0."""

    def whole(b: Flow, *arguments: Val) -> None:
        b.ret(write(b, *arguments) or b.i64(0))

    function(module, isa, name, args, whole, result=I64, linkage="external")


# -- the engine ------------------------------------------------------------------------------------


def temper(b: Flow, word: Val) -> Val:
    """The output of a word of state: M. Matsumoto and T. Nishimura, "Mersenne Twister" (1998), equations 2.2 to 2.5."""
    t = word.type
    word = b.op("xor", word, b.op("lshr", word, b.const(t, 11)))
    word = b.op("xor", word, b.op("and", b.op("shl", word, b.const(t, 7)), b.const(t, 0x9D2C5680)))
    word = b.op("xor", word, b.op("and", b.op("shl", word, b.const(t, 15)), b.const(t, 0xEFC60000)))
    return b.op("xor", word, b.op("lshr", word, b.const(t, 18)))


def word_type(isa: ISA) -> tuple[int, str]:
    """Vectors of words that divide the state evenly: 624 is 39 times 16."""
    lanes = min(16, isa.lanes(I32))
    return lanes, vec_type(I32, lanes)


def _refill(module: Module, isa: ISA) -> str:
    """``refill(state)``: the next 624 words.

    The recurrence reads no nearer than 227 words back, so whole vectors advance at once; writing the new
    state behind the old one makes it the same formula for all 624.
    """

    def write(b: Flow, state: Val) -> None:
        lanes, t = word_type(isa)
        fresh, output = b.bytes_at(state, NEXT), b.bytes_at(state, OUTPUT)
        with b.loop(0, LENGTH, lanes) as loop:
            i = loop.index
            here = b.load(t, b.at(I32, state, i))
            after = b.load(t, b.at(I32, state, b.iadd(i, 1)))
            ahead = b.load(t, b.at(I32, state, b.iadd(i, DISTANCE)))
            top = b.op("and", here, b.const(t, 0x80000000))
            mixed = b.op("or", top, b.op("and", after, b.const(t, 0x7FFFFFFF)))
            odd = b.cmp("ne", b.op("and", after, b.const(t, 1)), b.const(t, 0))
            twist = b.select(odd, b.const(t, 0x9908B0DF), b.const(t, 0))
            word = b.op("xor", b.op("xor", ahead, b.op("lshr", mixed, b.const(t, 1))), twist)
            b.store(word, b.at(I32, fresh, i))
            b.store(temper(b, word), b.at(I32, output, i))
        with b.loop(0, LENGTH, lanes) as loop:
            b.store(b.load(t, b.at(I32, fresh, loop.index)), b.at(I32, state, loop.index))
        b.store(b.i64(0), b.bytes_at(state, POSITION), 8)
        b.store(b.i64(1), b.bytes_at(state, STARTED), 8)
        b.ret()

    return function(module, isa, "refill", [STATE], write, attributes="noinline")


def next32(module: Module, isa: ISA) -> str:
    """``next32(state) -> i32``: the next word."""

    def write(b: Flow, state: Val) -> None:
        place = b.bytes_at(state, POSITION)
        with b.when(b.icmp("eq", b.load(I64, place, 8), LENGTH)):
            b.call_void(_refill(module, isa), state)
        position = b.load(I64, place, 8)
        b.store(b.iadd(position, 1), place, 8)
        b.ret(b.load(I32, b.at(I32, b.bytes_at(state, OUTPUT), position), 4))

    return function(module, isa, "next32", [STATE], write, result=I32, attributes="alwaysinline")


def next64(module: Module, isa: ISA) -> str:
    """``next64(state) -> i64``: two words, the upper half first."""

    def write(b: Flow, state: Val) -> None:
        high, low = (b.cast("zext", b.call(I32, next32(module, isa), state), I64) for _ in range(2))
        b.ret(b.op("or", b.op("shl", high, b.i64(32)), low))

    return function(module, isa, "next64", [STATE], write, result=I64, attributes="alwaysinline")


def next_uniform(b: Flow, isa: ISA, state: Val) -> Val:
    """The next uniform number in [0, 1) of 53 bits, as a double."""
    bits = b.op("and", b.call(I64, next64(b.module, isa), state), b.i64((1 << 53) - 1))
    return b.fmul(b.cast("sitofp", bits, F64), b.const(F64, 2.0**-53))


def libm(b: Flow, name: str, *args: Val) -> Val:
    """Calls a function of double precision of the C library."""
    symbol = b.module.declare(name, F64, [F64] * len(args))
    return b.call(F64, symbol, *args)


def next_normal(b: Flow, isa: ISA, state: Val) -> Val:
    """The next normal number, as a double: the one kept in the state, or the first of a new pair."""

    def write(b: Flow, state: Val) -> None:
        kept, valid = b.bytes_at(state, NORMAL), b.bytes_at(state, NORMAL_VALID)

        def keep() -> list[Val]:
            b.store(b.i64(0), valid, 8)
            return [b.load(F64, kept, 8)]

        def pair() -> list[Val]:
            first = next_uniform(b, isa, state)
            second = next_uniform(b, isa, state)
            logarithm = libm(b, "log1p", b.fneg(second))
            radius = b.intrinsic("llvm.sqrt", F64, b.fmul(b.const(F64, -2.0), logarithm))
            angle = b.fmul(b.const(F64, 2 * PI), first)
            b.store(b.fmul(radius, libm(b, "sin", angle)), kept, 8)
            b.store(b.i64(1), valid, 8)
            return [b.fmul(radius, libm(b, "cos", angle))]

        [value] = b.choose(b.icmp("ne", b.load(I64, valid, 8), 0), keep, pair)
        b.ret(value)

    name = function(b.module, isa, "next_normal", [STATE], write, result=F64, attributes="noinline")
    return b.call(F64, name, state)


# -- fills that take a fixed number of words for each element --------------------------------------

_Apply = Callable[[Flow, list[Val], Val], None]


def each_element(b: Flow, isa: ISA, state: Val, count: Val, words: int, lanes: int, apply: _Apply) -> None:
    """Calls ``apply(b, draws, index)`` for all elements from ``index`` on, ``lanes`` or 1 at a time.

    ``draws`` is [word], or [upper, lower] where ``words`` is 2, as integers of 32 bits.
    """
    place, output = b.bytes_at(state, POSITION), b.bytes_at(state, OUTPUT)
    filled = b.alloca(I64, align=8)
    b.store(b.i64(0), filled, 8)
    head, body, done = b.label("fill"), b.label("draw"), b.label("filled")

    def words_at(position: Val, width: int) -> list[Val]:
        pointer = b.at(I32, output, position)
        if words == 1:
            return [b.load(vec_type(I32, width), pointer, 4)]
        if width == 1:
            return [b.load(I32, b.at(I32, pointer, n), 4) for n in range(2)]
        both = b.load(vec_type(I32, 2 * width), pointer, 4)
        return [b.shuffle(both, both, range(n, 2 * width, 2)) for n in range(2)]

    def available() -> None:
        """As many elements as the words at hand suffice for."""
        position, start = b.load(I64, place, 8), b.load(I64, filled, 8)
        number = b.imin(b.idiv(b.isub(LENGTH, position), words), b.isub(count, start))
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
        draws = [b.call(I32, next32(b.module, isa), state) for _ in range(words)]
        start = b.load(I64, filled, 8)
        apply(b, draws, start)
        b.store(b.iadd(start, 1), filled, 8)

    b.br(head)
    b.place(head)
    b.cond_br(b.icmp("slt", b.load(I64, filled, 8), count), body, done)
    b.place(body)
    b.either(b.icmp("sgt", b.load(I64, place, 8), LENGTH - words), across, available)
    b.br(head)
    b.place(done)


def unit_float(b: Flow, word: Val) -> Val:
    """The uniform number in [0, 1) of 24 bits, as a float."""
    bits = b.op("and", word, b.const(word.type, (1 << 24) - 1))
    real = b.cast("sitofp", bits, vec_type(F32, lanes_of(word.type)))
    return b.fmul(real, b.const(real.type, 2.0**-24))


def bits53(b: Flow, draws: list[Val]) -> Val:
    """The low 53 bits of two words, as i64."""
    wide = vec_type(I64, lanes_of(draws[0].type))
    high = b.cast("zext", b.op("and", draws[0], b.const(draws[0].type, (1 << 21) - 1)), wide)
    return b.op("or", b.op("shl", high, b.const(wide, 32)), b.cast("zext", draws[1], wide))


def unit_double(b: Flow, draws: list[Val]) -> Val:
    """The uniform number in [0, 1) of 53 bits, as a double."""
    real = b.cast("sitofp", bits53(b, draws), vec_type(F64, lanes_of(draws[0].type)))
    return b.fmul(real, b.const(real.type, 2.0**-53))


def rounded(b: Flow, value: Val, source: str, code: str) -> Val:
    """A number converted as PyTorch does it: to narrow types by way of float32."""
    if source == "f64" and code in ("f16", "bf16"):
        value, source = b.cast("fptrunc", value, vec_type(F32, lanes_of(value.type))), "f32"
    if source == "i64" and code in ("f16", "bf16"):
        value, source = b.cast("sitofp", value, vec_type(F32, lanes_of(value.type))), "f32"
    return cast(b, value, source, code)


def put(b: Flow, value: Val, source: str, code: str, out: Val, index: Val) -> None:
    """Stores elements of the type ``code`` from ``index`` on."""
    value = rounded(b, value, source, code)
    memory = MEMORY_TYPE[code]
    if code == "b1":
        value = b.cast("zext", value, vec_type(memory, lanes_of(value.type)))
    b.store(value, b.at(memory, out, index))


def get(b: Flow, code: str, target: str, pointer: Val, index: Val, lanes: int = 1) -> Val:
    """Loads elements of the type ``code`` from ``index`` on, converted to ``target``."""
    value = b.load(vec_type(MEMORY_TYPE[code], lanes), b.at(MEMORY_TYPE[code], pointer, index))
    return cast(b, value, code, target)


def put_saturated(b: Flow, value: Val, code: str, out: Val, index: Val) -> None:
    """Stores doubles as the type ``code``; an integer that one does not fit becomes the lowest, as on x86."""
    if code[0] in "iu":
        wide = I64 if code in ("i64", "u64", "u32") else I32
        limit = b.const(value.type, 2.0**63 if wide == I64 else 2.0**31)
        lowest = b.fneg(limit)
        inside = b.op("and", b.cmp("olt", value, limit), b.cmp("oge", value, lowest))
        whole = b.cast("fptosi", b.select(inside, value, lowest), vec_type(wide, lanes_of(value.type)))
        put(b, whole, "i64" if wide == I64 else "i32", code, out, index)
    else:
        put(b, value, "f64", code, out, index)
