"""Register-blocked micro-kernels of the matrix product, and the shape of the blocks they work on.

A micro-kernel multiplies a panel of A (``pitch`` values for each k, the first ``rows`` of them used) by a
panel of B (``columns`` values for each k) into a tile of ``rows`` x ``columns`` accumulators, all of which
live in vector registers.  Block structure: Goto and van de Geijn, "Anatomy of high-performance matrix
multiplication", ACM TOMS 34(3), 2008; Van Zee and van de Geijn, "BLIS", ACM TOMS 41(3), 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

from ..runtime import engine
from ..target.builder import Val, lanes_of, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from .flow import Flow, function
from .tiles import COLUMNS, ROWS, tile_module

__all__ = [
    "AHEAD", "LINE", "Blocking", "Number", "accumulate", "blocking", "load_address", "micro_kernel", "micro_request",
    "number",
]  # fmt: skip

AHEAD = 16
"""Units that micro-kernels prefetch ahead."""

LINE = 64
"""Bytes of a cache line, of which one prefetch is enough."""

_UNROLLED = 4
"""Units that one turn of a micro-kernel's loop takes at most."""

_PRODUCTS = 56
"""Vector products in a turn up to which it takes several units: fewer instructions that only count and step, which
matters most where two threads of a core share what decodes them."""

_FEW_PRODUCTS = 12
"""Those of one unit, where rows are in place, up to which a turn takes two: LLVM loads the factors of several units
first, which leaves too few registers for the sums of more units or of a larger block."""

WAYS = 8
"""Lines that one set of the first-level cache holds, at least."""

SIZE = {"i8": 1, "u8": 1, "i16": 2, "u16": 2, "f16": 2, "bf16": 2, "i32": 4, "f32": 4, "i64": 8, "f64": 8}


@dataclass(frozen=True)
class Number:
    """How a product of two element types is computed.

    ``packed`` is the type code in the panels, ``acc`` that of the accumulators; ``depth`` is the number of consecutive
    values of k in a panel's unit: 1, or as many as an i32 holds (dot products of two bfloat16, of four int8).
    ``tiles`` says that they are multiplied in tile registers (see `tiles`).
    """

    packed: str
    acc: str
    depth: int = 1
    tiles: bool = False

    @property
    def pair(self) -> bool:
        """Whether units are several values."""
        return self.depth > 1

    @property
    def code(self) -> str:
        """Names this kind of number in symbols."""
        return f"{self.packed}{('', 'pair', 'quad')[self.depth // 2]}{'tile' * self.tiles}_{self.acc}"

    @property
    def unit(self) -> str:
        """The LLVM type of one unit of a panel."""
        return "i32" if self.pair else LLVM_TYPE[self.packed]

    @property
    def unit_bytes(self) -> int:
        """The size of one unit of a panel."""
        return 4 if self.pair else SIZE[self.packed]

    @property
    def acc_type(self) -> str:
        """The LLVM type of an accumulator."""
        return LLVM_TYPE[self.acc]

    @property
    def acc_bytes(self) -> int:
        """The size of an accumulator."""
        return SIZE[self.acc]


def number(a: str, b: str, acc: str, isa: ISA, product: bool = False) -> Number:
    """The way to multiply elements of types ``a`` and ``b`` with accumulators of type ``acc``; ``product`` says that
    units may be four values, and that tiles may be used: convolutions pack neither."""
    if product and a == b and isa.name == "avx512":
        if acc == "f32" and a == "bf16" and isa.has("amx-bf16"):
            return Number("bf16", "f32", 2, True)
        if acc == "i32" and a == "i8" and isa.has("amx-int8"):
            return Number("i8", "i32", 4, True)
    if acc == "f32" and a == b == "bf16" and isa.has("avx512bf16"):
        return Number("bf16", "f32", 2)
    if product and acc == "i32" and a == b == "i8" and isa.name == "avx512" and isa.has("avx512vnni"):
        return Number("i8", "i32", 4)
    return Number(acc, acc)


@dataclass(frozen=True)
class Blocking:
    """The register block: ``rows`` x ``vectors`` vectors of ``lanes``; heights and widths of the kernels for tails."""

    lanes: int
    rows: int
    vectors: int
    pitch: int
    heights: tuple[int, ...]

    @property
    def columns(self) -> int:
        """The columns of the block."""
        return self.vectors * self.lanes

    def height(self, rows: int) -> int:
        """The rows that are computed for so many."""
        rest = rows % self.rows
        return rows - rest + min((h for h in self.heights if h >= rest), default=0) * (rest > 0)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of kernels, in vectors, widest first."""
        return tuple(range(self.vectors, 0, -1))


_REGISTER_BLOCK = {"avx512": (14, 2), "avx2": (6, 2), "x86-64": (4, 2), "neon": (8, 3), "generic": (4, 2)}


def blocking(num: Number, isa: ISA) -> Blocking:
    """The register block for this kind of number on this instruction set."""
    if num.tiles:
        return Blocking(isa.lanes(num.acc_type), ROWS, COLUMNS // isa.lanes(num.acc_type), ROWS, (ROWS, ROWS // 2))
    rows, vectors = _REGISTER_BLOCK[isa.name]
    rows -= 2 * (num.depth == 4)  # registers for what `SHIFT` adds
    lanes = isa.lanes(num.acc_type)
    heights = tuple(h for h in (14, 10, 8, 6, 4, 2, 1) if h < rows)
    return Blocking(lanes, rows, vectors, -(-rows // lanes) * lanes, (rows, *heights))


SHIFT = -0x7F7F7F80
"""128 in each byte: the instruction takes its first factor without a sign, so 128 is added to that."""


def multiply_add(b: Flow, num: Number, isa: ISA, x: Val, y: Val, acc: Val) -> Val:
    """``acc + x * y`` on vectors of units; of quads ``acc + (x + 128) * y``."""
    lanes = lanes_of(acc.type)
    if num.depth == 4:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
        quads = vec_type("i8", 4 * lanes)
        b.module.declare(name, acc.type, [acc.type, quads, quads])
        shifted = b.op("xor", x, b.const(x.type, SHIFT))
        return b.call(acc.type, "@" + name, acc, b.cast("bitcast", shifted, quads), b.cast("bitcast", y, quads))
    if num.pair:
        name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}"
        halves = vec_type("bfloat", 2 * lanes)
        b.module.declare(name, acc.type, [acc.type, halves, halves])
        left, right = b.cast("bitcast", x, halves), b.cast("bitcast", y, halves)
        return b.call(acc.type, "@" + name, acc, left, right)
    if num.acc in ("f32", "f64"):
        return b.fma(x, y, acc) if isa.fma else b.fadd(b.fmul(x, y), acc)
    return b.add(b.mul(x, y), acc)


def load_address(request: engine.Request) -> int:
    """The address of the function that a request is named after, compiled when first needed."""
    known = _addresses.get((request.name, request.key))
    if known is None:
        known = _addresses[request.name, request.key] = engine.load(*request).address(request.name)
    return known


_addresses: dict[tuple[str, str], int] = {}


@cache
def micro_kernel(num: Number, isa: ISA, in_place: bool = False, crowded: bool = False, listed: bool = False) -> int:
    """The address of the micro-kernels' dispatcher, compiled when first needed:

    ``micro(ptr a, i64 a_pitch, i64 a_row, ptr b, i64 b_pitch, i64 units, ptr tile, i64 tile_pitch, i64 fresh,
    i64 rows, i64 cols)``

    adds the product of panels ``a`` and ``b`` to the tile, or overwrites it when ``fresh`` is not 0.  Pitches are the
    distances in bytes of two units of a panel and of two rows of the tile.  At least ``rows`` x ``cols`` of the
    tile are valid after, and no more than the next height and width are written.

    The panel of A is packed, or with ``in_place`` one whose rows are ``a_row`` bytes apart; then neither it nor the
    tile is touched beyond its last row.  ``crowded`` says that such rows compete for one set of the first-level cache:
    at most `WAYS` of them are read side by side.  ``listed``: in the place of ``b_pitch`` comes the address of a list
    of the units' distances in bytes from ``b`` (and `AHEAD` more, of anything that may be read).
    """
    return load_address(micro_request(num, isa, in_place, crowded, listed))


def micro_request(
    num: Number, isa: ISA, in_place: bool = False, crowded: bool = False, listed: bool = False
) -> engine.Request:
    """What `micro_kernel` asks the engine for."""
    name = f"micro{'_rows' * in_place}{'_crowded' * crowded}{'_listed' * listed}_{num.code}"
    most = WAYS if crowded else blocking(num, isa).rows
    write = partial(_micro_module, name, num, isa, in_place, most, listed)
    return engine.Request(name, f"{name}|{isa.key}", write, isa)


def _micro_module(name: str, num: Number, isa: ISA, in_place: bool, most: int, listed: bool) -> str:
    module = new_module(isa)
    if num.tiles:
        return tile_module(module, name, num.packed, isa, in_place)
    blk = blocking(num, isa)
    pitch = ("ptr" if listed else "i64", "pitch")
    args = [("ptr noalias", "a"), ("i64", "apitch"), ("i64", "arow"), ("ptr noalias", "b"), pitch]
    args += [("i64", "units"), ("ptr noalias", "tile"), ("i64", "tilepitch"), ("i64", "fresh")]

    def define(h: int, w: int, by_rows: bool = False) -> str:
        write = partial(_write_micro, num=num, isa=isa, blk=blk, shape=(h, w), in_place=in_place, by_rows=by_rows)
        return function(module, isa, f"micro{h}x{w}{'_by_rows' * by_rows}", args, write, attributes="noinline")

    heights = [h for h in blk.heights if h <= most]
    kernels = {(h, w): define(h, w) for h in heights for w in range(1, blk.vectors + 1)}
    # what does nearly all the work of large products has a form whose distances are part of its instructions
    by_rows = define(heights[0], blk.vectors, True) if in_place else ""

    def call(b: Flow, h: int, inner: Sequence[Val], cols: Val, w: int = 1) -> None:
        """Calls the kernel of this height and the width that fits."""
        if w == blk.vectors:
            if by_rows and h == heights[0]:
                tidy = b.icmp("eq", inner[1], num.unit_bytes)
                b.either(tidy, lambda: b.call_void(by_rows, *inner), lambda: b.call_void(kernels[h, w], *inner))
            else:
                b.call_void(kernels[h, w], *inner)
        else:
            fits = b.icmp("sle", cols, w * blk.lanes)
            b.either(fits, lambda: b.call_void(kernels[h, w], *inner), lambda: call(b, h, inner, cols, w + 1))

    def dispatch(b: Flow, *v: Val) -> None:
        """To the least height that has room for the rows."""
        inner, rows, cols = v[:9], v[9], v[10]
        for h in reversed(blk.heights[1:]):
            fits, taller = b.label("fits"), b.label("taller")
            b.cond_br(b.icmp("sle", rows, h), fits, taller)
            b.place(fits)
            call(b, h, inner, cols)
            b.ret()
            b.place(taller)
        call(b, blk.rows, inner, cols)
        b.ret()

    def dispatch_exact(b: Flow, *v: Val) -> None:
        """To heights that make up the rows, each at most once."""
        inner, rows, cols = list(v[:9]), v[9], v[10]
        for h in heights:

            def some(h: int = h, rows: Val = rows) -> list[Val]:
                call(b, h, inner, cols)
                below = b.bytes_at(inner[0], b.imul(inner[2], h)), b.bytes_at(inner[6], b.imul(inner[7], h))
                return [*below, b.isub(rows, h)]

            def none(rows: Val = rows) -> list[Val]:
                return [inner[0], inner[6], rows]

            inner[0], inner[6], rows = b.choose(b.icmp("sge", rows, h), some, none)
        b.ret()

    write = dispatch_exact if in_place else dispatch
    function(module, isa, name, [*args, ("i64", "rows"), ("i64", "cols")], write, linkage="")
    return module.text()


def _write_micro(
    b: Flow, a: Val, a_pitch: Val, a_row: Val, bp: Val, pitch: Val, units: Val, tile: Val, tile_pitch: Val, fresh: Val,
    num: Number, isa: ISA, blk: Blocking, shape: tuple[int, int], in_place: bool, by_rows: bool,
) -> None:  # fmt: skip
    h, w = shape
    vector = vec_type(num.acc_type, blk.lanes)
    zero = b.const(vector, 0)
    spots = [(i, j) for i in range(h) for j in range(w)]

    lines = [b.bytes_at(tile, b.imul(tile_pitch, i)) for i in range(h)]

    def where(i: int, j: int) -> Val:
        return b.bytes_at(lines[i], j * blk.lanes * num.acc_bytes)

    start = b.choose(
        b.icmp("ne", fresh, 0),
        lambda: [zero for _ in spots],
        lambda: [b.load(vector, where(i, j), align=num.acc_bytes) for i, j in spots],
    )
    sums = accumulate(b, num, isa, shape, start, a, a_pitch, a_row if in_place else None, bp, pitch, units, by_rows)
    for (i, j), value in zip(spots, sums, strict=True):
        b.store(value, where(i, j), align=num.acc_bytes)
    b.ret()


def accumulate(
    b: Flow, num: Number, isa: ISA, shape: tuple[int, int], start: Sequence[Val], a: Val, a_pitch: Val,
    a_row: Val | None, bp: Val, pitch: Val, units: Val, by_rows: bool = False,
) -> list[Val]:  # fmt: skip
    """Adds to ``start``, ``shape`` = (rows, vectors of a row) accumulators row by row, the product of two panels, whose
    arguments are those of `micro_kernel`; with ``a_row`` None the one of A is packed.  ``by_rows``: units of A lie side
    by side, whatever ``a_pitch`` says."""
    h, w = shape
    blk = blocking(num, isa)
    in_place = a_row is not None
    a_step: Val | int = a_pitch if in_place and not by_rows else (1 if in_place else blk.pitch) * num.unit_bytes
    vector = vec_type(num.acc_type, blk.lanes)
    unit_vector = vec_type(num.unit, blk.lanes)
    listed = pitch.type == "ptr"
    ahead = b.i64(0) if listed else b.imul(pitch, AHEAD)
    excess = [b.const(vector, 0)] * w if num.depth == 4 else []  # 128 times the sums of B's columns
    # rows in place are addressed as one of several bases plus 0, 1 or 2 times their distance
    bases = [a] if a_row is None else [b.bytes_at(a, b.imul(a_row, i)) for i in range(0, h, 3)]
    distances = [] if a_row is None else [a_row, b.imul(a_row, 2)]
    none = b.const(unit_vector, 0)
    a_bytes = blk.pitch * num.unit_bytes

    def unit(values: list[Val], count: int) -> list[Val]:
        """What a further unit, the one with this number in its turn, makes of the values that the loop carries."""
        acc, over, (here, *now) = values[: h * w], values[h * w : h * w + len(excess)], values[h * w + len(excess) :]
        b_now = b.bytes_at(bp, b.load("i64", here, align=8)) if listed else here
        right = [b.load(unit_vector, b.bytes_at(b_now, j * blk.lanes * num.unit_bytes), align=4) for j in range(w)]
        # panels are read in one direction, but processors' own prefetching stops at every page
        b_ahead = b.bytes_at(bp, b.word(here, AHEAD)) if listed else b.bytes_at(b_now, ahead)
        for at in range(0, w * blk.lanes * num.unit_bytes, LINE):
            b.prefetch(b.bytes_at(b_ahead, at))
        if not in_place and count * a_bytes % LINE < a_bytes:
            b.prefetch(b.bytes_at(now[0], AHEAD * a_bytes))
        for i in range(h):
            if in_place:
                spot = b.bytes_at(now[i // 3], distances[i % 3 - 1]) if i % 3 else now[i // 3]
            else:
                spot = b.at(num.unit, now[0], i)
            left = b.splat(b.load(num.unit, spot, align=SIZE[num.packed]), blk.lanes)
            for j in range(w):
                acc[i * w + j] = multiply_add(b, num, isa, left, right[j], acc[i * w + j])
        over = [multiply_add(b, num, isa, none, y, x) for x, y in zip(over, right, strict=False)]
        return [*acc, *over, b.bytes_at(here, 8 if listed else pitch), *(b.bytes_at(p, a_step) for p in now)]

    values = [*start, *excess, pitch if listed else bp, *bases]
    several = min(_UNROLLED, max(1, _PRODUCTS // (h * w)))
    if in_place:
        several = min(several, 2) if h * w <= _FEW_PRODUCTS else 1
    evenly = b.isub(units, b.imod(units, several)) if several > 1 else units
    with b.loop(0, evenly, several, carry=values) as k:
        k.next = list(k.values)
        for count in range(several):
            k.next = unit(k.next, count)
    if several > 1:
        with b.loop(evenly, units, carry=k.values) as k:
            k.next = unit(list(k.values), 0)
    sums, over = k.values[: h * w], k.values[h * w : h * w + len(excess)]
    return [b.op("sub", value, over[i % w]) for i, value in enumerate(sums)] if over else sums
