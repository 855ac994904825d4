"""Packing of a panel: ``width`` rows (of A) or columns (of B) by some values of k, in the order that micro-kernels read.

A panel is an array of units [k][pitch].  The source may have any strides; what differs in speed is whether
its elements are contiguous along the panel (copied), along k (transposed in registers) or along neither (one
by one).  Places beyond the valid rows or columns hold arbitrary values: results that depend on them are never stored.
"""

from __future__ import annotations

from ..target.builder import Module, Val, vec_type
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from .flow import Flow, function
from .micro import SIZE, Number

__all__ = ["define_pack", "transpose"]


def define_pack(module: Module, name: str, source: str, num: Number, isa: ISA, width: int, pitch: int) -> str:
    """Defines ``name(ptr to, ptr from, i64 stride, i64 k_stride, i64 count, i64 k)``; returns its symbol.

    ``stride`` (between rows or columns) and ``k_stride`` count elements of ``source``; ``count`` of the ``width``
    places are valid; ``k`` values of k are packed, the last unit of an odd number of pairs is filled with zero.
    """
    args = [("ptr noalias", "to"), ("ptr noalias", "from")]
    args += [("i64", n) for n in ("stride", "kstride", "count", "k")]
    packer = _Packer(module, source, num, isa, width, pitch)
    return function(module, isa, name, args, packer.write, attributes="noinline")


def transpose(b: Flow, rows: list[Val], elem_bits: int) -> list[Val]:
    """The transpose of a square block held in vectors: first inside 128-bit parts, then of the parts.

    Every shuffle takes half its lanes from each operand in an order that x86 and ARM have an instruction for.
    """
    size = len(rows)
    part = min(size, 128 // elem_bits)
    parts = size // part

    def pick(x: Val, y: Val, lanes: list[tuple[int, int]]) -> Val:
        """Lanes given as (operand, lane)."""
        return b.shuffle(x, y, [operand * size + lane for operand, lane in lanes])

    def interleave(x: Val, y: Val, run: int, upper: int) -> Val:
        """Alternates runs of lanes of the lower or upper half of every part."""
        lanes = []
        for p in range(parts):
            for g in range(part // run // 2):
                first = p * part + g * run + upper * part // 2
                lanes += [(operand, first + e) for operand in range(2) for e in range(run)]
        return pick(x, y, lanes)

    turned = list(rows)
    for base in range(0, size, part):
        group = turned[base : base + part]
        if part == 4:
            low, high = (
                [interleave(group[0], group[1], 1, u) for u in range(2)],
                [interleave(group[2], group[3], 1, u) for u in range(2)],
            )
            group = [interleave(low[i // 2], high[i // 2], 2, i % 2) for i in range(4)]
        elif part == 2:
            group = [interleave(group[0], group[1], 1, u) for u in range(2)]
        turned[base : base + part] = group

    def move(x: Val, y: Val, chosen: list[tuple[int, int]]) -> Val:
        """Whole parts given as (operand, part)."""
        return pick(x, y, [(operand, p * part + e) for operand, p in chosen for e in range(part)])

    out = list(turned)
    for j in range(part):
        column = [turned[p * part + j] for p in range(parts)]
        if parts == 2:
            x, y = column
            column = [move(x, y, [(0, p), (1, p)]) for p in range(2)]
        elif parts == 4:
            w, x, y, z = column
            left = [move(w, x, [(0, p), (0, p + 1), (1, p), (1, p + 1)]) for p in (0, 2)]
            right = [move(y, z, [(0, p), (0, p + 1), (1, p), (1, p + 1)]) for p in (0, 2)]
            column = [
                move(left[p // 2], right[p // 2], [(0, p % 2), (0, p % 2 + 2), (1, p % 2), (1, p % 2 + 2)])
                for p in range(4)
            ]
        for p in range(parts):
            out[p * part + j] = column[p]
    return out


class _Packer:
    """Writes the body of one packing function."""

    def __init__(self, module: Module, source: str, num: Number, isa: ISA, width: int, pitch: int) -> None:
        self.source, self.num, self.isa = source, num, isa
        self.width, self.pitch = width, pitch
        self.memory = LLVM_TYPE[source]
        self.size = SIZE[source]
        self.lanes = isa.lanes(num.unit)

    def write(self, b: Flow, to: Val, origin: Val, stride: Val, kstride: Val, count: Val, k: Val) -> None:
        lanes = self.lanes
        along = b.icmp("eq", stride, 1)
        deep = b.op("and", b.icmp("eq", kstride, 1), b.icmp("sge", k, lanes * self.num.depth))
        full = b.icmp("eq", count, self.width)

        def contiguous() -> None:
            if self.width % lanes == 0:
                b.either(full, lambda: self.copy(b, to, origin, kstride, k, None), masked)
            else:
                masked()

        def masked() -> None:
            self.copy(b, to, origin, kstride, k, count)

        def otherwise() -> None:
            b.either(
                deep,
                lambda: self.turn(b, to, origin, stride, count, k),
                lambda: self.gather(b, to, origin, stride, kstride, count, b.i64(0), k),
            )

        b.either(along, contiguous, otherwise)
        b.ret()

    def convert(self, b: Flow, value: Val) -> Val:
        """A loaded value in the type of the panel."""
        return value if self.num.pair else cast(b, value, self.source, self.num.packed)

    def place(self, b: Flow, to: Val, unit: Val, lane: Val | int) -> Val:
        return b.at(self.num.unit, to, b.iadd(b.imul(unit, self.pitch), lane))

    # -- contiguous along the panel ------------------------------------------------------------------
    def copy(self, b: Flow, to: Val, origin: Val, kstride: Val, k: Val, count: Val | None) -> None:
        lanes = self.lanes
        type_ = vec_type(self.memory, lanes)
        vectors = -(-self.width // lanes)
        masks = [None if count is None else b.lane_mask(b.isub(count, v * lanes), lanes) for v in range(vectors)]
        depth = self.num.depth

        def fetch(index: Val, v: int) -> Val:
            pointer = b.at(self.memory, origin, b.iadd(b.imul(index, kstride), v * lanes))
            mask = masks[v]
            return b.load(type_, pointer, self.size) if mask is None else b.masked_load(type_, pointer, mask, self.size)

        with b.loop(0, b.idiv(k, depth)) as u:
            for v in range(vectors):
                if depth == 1:
                    value = self.convert(b, fetch(u.index, v))
                else:
                    first = b.imul(u.index, 2)
                    value = self.join(b, fetch(first, v), fetch(b.iadd(first, 1), v))
                b.store(value, self.place(b, to, u.index, v * lanes), self.num.unit_bytes)
        if depth == 2:
            with b.when(b.icmp("ne", b.imod(k, 2), 0)):
                last = b.isub(k, 1)
                for v in range(vectors):
                    value = b.cast("zext", fetch(last, v), vec_type("i32", lanes))
                    b.store(value, self.place(b, to, b.idiv(last, 2), v * lanes), self.num.unit_bytes)

    def join(self, b: Flow, low: Val, high: Val) -> Val:
        """Pairs of two vectors of 16-bit values, the first one in the lower half."""
        wide = vec_type("i32", self.lanes)
        upper = b.op("shl", b.cast("zext", high, wide), b.const(wide, 16))
        return b.op("or", b.cast("zext", low, wide), upper)

    # -- contiguous along k --------------------------------------------------------------------------
    def turn(self, b: Flow, to: Val, origin: Val, stride: Val, count: Val, k: Val) -> None:
        lanes, depth = self.lanes, self.num.depth
        elem = self.num.unit if self.num.pair else self.memory
        type_ = vec_type(elem, lanes)
        last = b.isub(count, 1)
        units = b.idiv(k, depth)
        for group in range(-(-self.width // lanes)):
            rows = [
                b.at(self.memory, origin, b.imul(b.imin(b.i64(group * lanes + i), last), stride)) for i in range(lanes)
            ]
            with b.loop(0, units, lanes) as block:
                # the last block overlaps the one before
                at = b.imin(block.index, b.isub(units, lanes))
                loaded = [b.load(type_, b.at(elem, row, at), self.size) for row in rows]
                turned = transpose(b, [self.convert(b, v) for v in loaded], 8 * self.num.unit_bytes)
                for i, value in enumerate(turned):
                    b.store(value, self.place(b, to, b.iadd(at, i), group * lanes), self.num.unit_bytes)
        if depth == 2:
            with b.when(b.icmp("ne", b.imod(k, 2), 0)):
                self.gather(b, to, origin, stride, b.i64(1), count, b.isub(k, 1), k)

    # -- anything ------------------------------------------------------------------------------------
    def gather(
        self, b: Flow, to: Val, origin: Val, stride: Val, kstride: Val, count: Val, start: Val, k: Val
    ) -> None:
        """Packs k in [start, k) one by one; ``start`` is a multiple of the unit's depth."""
        depth = self.num.depth

        def fetch(row: Val, index: Val) -> Val:
            return b.load(self.memory, b.at(self.memory, row, b.imul(index, kstride)), self.size)

        with b.loop(start, k, depth) as at:
            unit = b.idiv(at.index, depth)
            with b.loop(0, count) as i:
                row = b.at(self.memory, origin, b.imul(i.index, stride))
                if depth == 1:
                    value = self.convert(b, fetch(row, at.index))
                else:
                    low = b.cast("zext", fetch(row, at.index), "i32")
                    after = b.iadd(at.index, 1)
                    (high,) = b.choose(
                        b.icmp("slt", after, k),
                        lambda row=row, after=after: [b.cast("zext", fetch(row, after), "i32")],
                        lambda: [b.const("i32", 0)],
                    )
                    value = b.op("or", low, b.op("shl", high, b.const("i32", 16)))
                b.store(value, self.place(b, to, unit, i.index), self.num.unit_bytes)
