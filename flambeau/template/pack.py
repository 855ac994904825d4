"""Packing of a panel: some rows of A or columns of B by some values of k, in the order that micro-kernels read.

A panel is an array of units [k][pitch].  The source may have any strides; what differs in speed is whether
its elements are contiguous along the panel (copied), along k (transposed in registers) or along neither (one
by one).  Places beyond the valid rows or columns hold arbitrary values: results that depend on them are never stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from ..runtime import engine
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from ..target.turn import transpose
from .flow import Flow, function
from .micro import SIZE, Number, load_address

__all__ = ["pack_kernel", "pack_request", "spread_kernel", "spread_request"]


_AHEAD = 32
"""Values of k that are prefetched ahead where a panel is contiguous the other way."""
_AHEAD_WIDE = 16
"""The same where several panels are packed side by side, ..."""
_AHEAD_WRITING = 12
"""... and units that are fetched for writing."""


@cache
def pack_kernel(source: str, num: Number, isa: ISA) -> int:
    """The address of the packing function for elements of type ``source``, compiled when first needed:

    ``pack(ptr to, ptr from, i64 stride, i64 k_stride, i64 count, i64 k, i64 pitch)``

    ``stride`` (between rows or columns) and ``k_stride`` count elements of ``source``; ``count`` places of each unit
    are valid, and ``pitch``, a multiple of the vector length, is the distance of units.  ``k`` values of k are packed;
    the last unit is filled with zeros.
    """
    return load_address(pack_request(source, num, isa))


def pack_request(source: str, num: Number, isa: ISA) -> engine.Request:
    """What `pack_kernel` asks the engine for."""
    name = f"pack_{source}_{num.code}"

    def make() -> str:
        module = new_module(isa)
        args = [("ptr noalias", "to"), ("ptr noalias", "from")]
        args += [("i64", n) for n in ("stride", "kstride", "count", "k", "pitch")]
        function(module, isa, name, args, _Packer(source, num, isa).write, linkage="")
        return module.text()

    return engine.Request(name, f"{name}|{isa.key}", make, isa)


@cache
def spread_kernel(source: str, num: Number, isa: ISA) -> int:
    """The address of the function that packs panels side by side whose source is contiguous across all of them: their
    rows are read once, in memory's order, where one panel after the other would read a piece of every row:

    ``spread(ptr to, ptr from, i64 k_stride, i64 count, i64 k, i64 width, i64 pitch, i64 step)``

    ``count`` values of every k fill panels of ``width``, which lie ``step`` bytes apart.  The rest as in `pack_kernel`.
    """
    return load_address(spread_request(source, num, isa))


def spread_request(source: str, num: Number, isa: ISA) -> engine.Request:
    """What `spread_kernel` asks the engine for."""
    name = f"spread_{source}_{num.code}"

    def make() -> str:
        module = new_module(isa)
        args = [("ptr noalias", "to"), ("ptr noalias", "from")]
        args += [("i64", n) for n in ("kstride", "count", "k", "width", "pitch", "step")]
        function(module, isa, name, args, _Packer(source, num, isa).spread, linkage="")
        return module.text()

    return engine.Request(name, f"{name}|{isa.key}", make, isa)


class _Packer:
    """Writes the body of one packing function."""

    def __init__(self, source: str, num: Number, isa: ISA) -> None:
        self.source, self.num, self.isa = source, num, isa
        self.memory = LLVM_TYPE[source]
        self.size = SIZE[source]
        self.lanes = isa.lanes(num.unit)

    def write(self, b: Flow, to: Val, origin: Val, stride: Val, kstride: Val, count: Val, k: Val, pitch: Val) -> None:
        self.to, self.origin, self.stride, self.kstride = to, origin, stride, kstride
        self.count, self.k, self.pitch = count, k, pitch
        units = b.idiv(k, self.num.depth)
        # a few units are not worth a block of vectors
        deep = b.op("and", b.icmp("eq", kstride, 1), b.icmp("sge", units, 4))

        def turn() -> None:
            b.either(b.icmp("sge", units, self.lanes), lambda: self.turn(b), lambda: self.turn_short(b))
            if self.num.depth > 1:
                rest = b.imod(k, self.num.depth)
                with b.when(b.icmp("ne", rest, 0)):
                    self.gather(b, b.isub(k, rest), b.i64(1))

        def otherwise() -> None:
            b.either(deep, turn, lambda: self.gather(b, b.i64(0), kstride))

        b.either(b.icmp("eq", stride, 1), lambda: self.copy(b), otherwise)
        b.ret()

    def convert(self, b: Flow, value: Val) -> Val:
        """A loaded value in the type of the panel."""
        return value if self.num.pair else cast(b, value, self.source, self.num.packed)

    def place(self, b: Flow, unit: Val, lane: Val | int) -> Val:
        return b.at(self.num.unit, self.to, b.iadd(b.imul(unit, self.pitch), lane))

    def each_vector(self, b: Flow, row: Callable[[Callable[[Val], Val], Val], None]) -> None:
        """Calls ``row(fetch, lane)`` for every vector of a unit: ``fetch(pointer)`` loads the valid lanes."""
        lanes = self.lanes
        type_ = vec_type(self.memory, lanes)
        whole = b.op("and", self.count, b.i64(-lanes))
        with b.loop(0, whole, lanes) as v:
            row(lambda pointer: b.load(type_, pointer, self.size), v.index)
        with b.when(b.icmp("slt", whole, self.count)):
            mask = b.lane_mask(b.isub(self.count, whole), lanes)
            row(lambda pointer: b.masked_load(type_, pointer, mask, self.size), whole)

    # -- contiguous along the panel ------------------------------------------------------------------
    def spread(
        self, b: Flow, to: Val, origin: Val, kstride: Val, count: Val, k: Val, width: Val, pitch: Val, step: Val
    ) -> None:
        """The body of a function that packs several panels."""
        self.kstride, self.k, self.pitch = kstride, k, pitch

        def each(unit: Val, pack: Callable[[Val], None]) -> None:
            with b.loop(0, count, width, carry=[to]) as panel:
                self.to, self.origin = panel.values[0], b.at(self.memory, origin, panel.index)
                left = b.isub(count, panel.index)  # whole vectors, where they end before the row does
                self.count = b.select(b.icmp("sge", left, pitch), pitch, b.imin(left, width))
                pack(unit)
                panel.next = [b.bytes_at(panel.values[0], step)]

        self.copy(b, each)
        b.ret()

    def copy(self, b: Flow, each: Callable[[Val, Callable[[Val], None]], None] | None = None) -> None:
        """Packs unit by unit; ``each(unit, pack)`` calls ``pack(unit)`` for every panel, without it there is one."""
        depth = self.num.depth
        ahead, level = (_AHEAD_WIDE, 2) if each else (_AHEAD, 1)
        wide = vec_type("i32", self.lanes)

        def line(index: Val) -> Val:
            return b.at(self.memory, self.origin, b.imul(index, self.kstride))

        def pack(unit: Val, valid: Val | None) -> None:
            """One unit; of the last, only ``valid`` values are there."""
            first = b.imul(unit, depth)

            def row(fetch: Callable[[Val], Val], lane: Val) -> None:
                spot = b.at(self.memory, line(first), lane)
                b.prefetch(b.at(self.memory, spot, b.imul(self.kstride, ahead)), level=level)
                if each:  # panels that other threads have read are theirs as well, which delays the first write
                    b.prefetch(self.place(b, b.iadd(unit, _AHEAD_WRITING), lane), write=True)
                value = self.convert(b, fetch(spot))
                if depth > 1:  # the value of the first k in the lowest bits
                    value = b.cast("zext", value, wide)
                for i in range(1, depth):
                    at = b.iadd(first, i) if valid is None else b.iadd(first, b.imin(b.i64(i), b.isub(valid, 1)))
                    after = b.cast("zext", fetch(b.at(self.memory, line(at), lane)), wide)
                    upper = b.op("shl", after, b.const(wide, 8 * self.size * i))
                    if valid is not None:
                        upper = b.select(b.icmp("slt", b.i64(i), valid), upper, b.const(wide, 0))
                    value = b.op("or", value, upper)
                b.store(value, self.place(b, unit, lane), self.num.unit_bytes)

            self.each_vector(b, row)

        def panels(unit: Val, valid: Val | None) -> None:
            each(unit, partial(pack, valid=valid)) if each else pack(unit, valid)

        units = b.idiv(self.k, depth)
        with b.loop(0, units) as u:
            panels(u.index, None)
        if depth > 1:
            rest = b.imod(self.k, depth)
            with b.when(b.icmp("ne", rest, 0)):
                panels(units, rest)

    # -- contiguous along k --------------------------------------------------------------------------
    def turn(self, b: Flow) -> None:
        lanes = self.lanes
        elem = self.num.unit if self.num.pair else self.memory
        type_ = vec_type(elem, lanes)
        last = b.isub(self.count, 1)
        units = b.idiv(self.k, self.num.depth)
        with b.loop(0, self.count, lanes) as group:
            rows = [
                b.at(self.memory, self.origin, b.imul(b.imin(b.iadd(group.index, i), last), self.stride))
                for i in range(lanes)
            ]
            across = b.imul(b.imul(self.stride, lanes), self.size)
            with b.loop(0, units, lanes) as block:
                # the last block overlaps the one before
                at = b.imin(block.index, b.isub(units, lanes))
                spots = [b.at(elem, row, at) for row in rows]
                loaded = [b.load(type_, spot, self.size) for spot in spots]
                # what follows in the row if there is much, else the rows after these
                along = b.icmp("slt", b.iadd(at, 8 * lanes), units)
                ahead = b.select(along, b.i64(4 * lanes * self.num.unit_bytes), across)
                for spot in spots:
                    b.prefetch(b.bytes_at(spot, ahead))
                turned = transpose(b, [self.convert(b, v) for v in loaded], 8 * self.num.unit_bytes)
                for i, value in enumerate(turned):
                    b.store(value, self.place(b, b.iadd(at, i), group.index), self.num.unit_bytes)

    def turn_short(self, b: Flow) -> None:
        """The same for fewer units than a vector has lanes."""
        lanes = self.lanes
        elem = self.num.unit if self.num.pair else self.memory
        type_ = vec_type(elem, lanes)
        last = b.isub(self.count, 1)
        units = b.idiv(self.k, self.num.depth)
        mask = b.lane_mask(units, lanes)
        with b.loop(0, self.count, lanes) as group:
            values = []
            for i in range(lanes):
                row = b.imul(b.imin(b.iadd(group.index, i), last), self.stride)
                loaded = b.masked_load(type_, b.at(self.memory, self.origin, row), mask, self.size)
                values.append(self.convert(b, loaded))
            for i, value in enumerate(transpose(b, values, 8 * self.num.unit_bytes)):
                with b.when(b.icmp("sgt", units, i)):
                    b.store(value, self.place(b, b.i64(i), group.index), self.num.unit_bytes)

    # -- anything ------------------------------------------------------------------------------------
    def gather(self, b: Flow, start: Val, kstride: Val) -> None:
        """Packs k in [start, k) one by one; ``start`` is a multiple of the unit's depth."""
        depth = self.num.depth

        def fetch(row: Val, index: Val) -> Val:
            return b.load(self.memory, b.at(self.memory, row, b.imul(index, kstride)), self.size)

        with b.loop(start, self.k, depth) as at:
            unit = b.idiv(at.index, depth)
            with b.loop(0, self.count) as i:
                row = b.at(self.memory, self.origin, b.imul(i.index, self.stride))
                value = self.convert(b, fetch(row, at.index))
                if depth > 1:
                    value = b.cast("zext", value, "i32")
                for j in range(1, depth):
                    after = b.iadd(at.index, j)
                    upper = b.cast("zext", fetch(row, b.imin(after, b.isub(self.k, 1))), "i32")
                    upper = b.op("shl", upper, b.const("i32", 8 * self.size * j))
                    there = b.icmp("slt", after, self.k)
                    value = b.op("or", value, b.select(there, upper, b.const("i32", 0)))
                b.store(value, self.place(b, unit, i.index), self.num.unit_bytes)
