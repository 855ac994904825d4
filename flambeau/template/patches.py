"""Packing of the image for gradients of a convolution's weights: panels of taps and channels by pixels."""

from __future__ import annotations

from functools import cache, partial

from ..runtime import engine
from ..target.builder import Val, vec_type
from ..target.isa import ISA
from ..target.scalar import cast
from .flow import Flow
from .image import GEOMETRY, TAP_WORDS, Fetch, Packer, packer_request
from .micro import Number, load_address

__all__ = ["PIXELS", "patch_kernel", "patch_request"]

PIXELS = ("segment", "segment_units", "turn")
"""More words for `patch_kernel`.  Pixels come in segments, whose units are counted from a new unit on: an image, or a
row of pixels.  "segment" is its pixels, "segment_units" its units; "turn" the address of `pack.pack_kernel`."""

_GATHERED = 128
"""Pixels that are gathered at a time before they are transposed."""


def patch_request(source: str, num: Number, isa: ISA, words: tuple[str, ...]) -> engine.Request:
    """What `patch_kernel` asks the engine for."""
    return packer_request("patch", partial(_PatchPacker, source, num, isa, words), source, num, isa)


@cache
def patch_kernel(source: str, num: Number, isa: ISA, words: tuple[str, ...]) -> int:
    """The address of the packing function of patches, with the arguments of `image_kernel`: it packs columns
    ``unit_c * channel + unit_t * tap``; units are pixels (or pairs of them) as `PIXELS` counts them."""
    return load_address(patch_request(source, num, isa, words))


class _PatchPacker(Packer):
    """Packs taps and channels as columns.

    All columns of a panel are first gathered with some of their pixels side by side (columns with the same tap
    together), then transposed by the packer of matrices.
    """

    names = (*GEOMETRY, *PIXELS)

    def write(
        self, b: Flow, to: Val, origin: Val, words: Val, first: Val, count: Val, at: Val, units: Val, pitch: Val
    ) -> None:
        self.w = {name: b.word(words, i) for name, i in self.index.items()}
        self.table = b.bytes_at(words, self.w["tap_table"])
        together = b.op("and", b.icmp("eq", self.w["x_c"], 1), b.icmp("eq", self.w["unit_c"], 1))
        b.either(
            together,
            lambda: self.copy(b, to, origin, first, count, at, units, pitch),
            lambda: self.gather(b, to, origin, first, count, at, units, pitch),
        )
        b.ret()

    def copy(self, b: Flow, to: Val, origin: Val, first: Val, count: Val, at: Val, units: Val, pitch: Val) -> None:
        """Packs patches of an image whose channels lie side by side: a panel's row is a piece of a pixel."""
        w, lanes, depth = self.w, self.lanes, self.num.depth
        type_, wide = vec_type(self.memory, lanes), vec_type("i32", lanes)
        with b.loop(0, count) as slot:
            column = b.iadd(first, slot.index)
            tap, channel = b.idiv(column, w["unit_t"]), b.imod(column, w["unit_t"])
            some = b.imin(b.isub(count, slot.index), b.isub(w["channels"], channel))
            slot.step = some
            entry = b.at("i64", self.table, b.imul(tap, TAP_WORDS))
            shift = [b.word(entry, i) for i in range(3)]
            segment, inside_segment = b.idiv(at, w["segment_units"]), b.imod(at, w["segment_units"])
            pixel = b.iadd(b.imul(segment, w["segment"]), b.imul(inside_segment, depth))

            def source(n: Val, d: Val, h: Val, ow: Val) -> tuple[Val, Val]:
                """Whether a pixel's tap lies in the image, and where."""
                z, y, x = (b.iadd(v, s) for v, s in zip(self.corner(b, d, h, ow), shift, strict=True))
                inside, line = self.line(b, b.at(self.memory, origin, b.imul(n, w["x_n"])), z, y, x, channel)
                return b.op("and", inside, b.icmp("ult", x, w["in_w"])), line

            def following(n: Val, d: Val, h: Val, ow: Val) -> list[Val]:
                ended = b.icmp("eq", b.iadd(ow, 1), w["out_w"])
                row = [*self.next_row(b, n, d, h), b.i64(0)]
                return [b.select(ended, x, y) for x, y in zip(row, (n, d, h, b.iadd(ow, 1)), strict=True)]

            with b.loop(0, units, carry=[*self.place(b, pixel), inside_segment]) as unit:
                *here, position = unit.values
                sources = [source(*here)]
                after = following(*here)
                if depth == 2:
                    # the last unit of an odd segment is half a pair
                    paired = b.icmp("slt", b.iadd(b.imul(position, 2), 1), w["segment"])
                    inside, line = source(*after)
                    sources.append((b.op("and", inside, paired), line))
                    after = [b.select(paired, x, y) for x, y in zip(following(*after), after, strict=True)]
                over = b.icmp("eq", b.iadd(position, 1), w["segment_units"])
                unit.next = [*after, b.select(over, b.i64(0), b.iadd(position, 1))]
                target = b.at(self.num.unit, to, b.iadd(b.imul(unit.index, pitch), slot.index))
                with b.loop(0, some, lanes) as v:
                    mask = b.lane_mask(b.isub(some, v.index), lanes)
                    values = [
                        b.masked_load(type_, b.at(self.memory, line, v.index), self._both(b, mask, inside), self.size)
                        for inside, line in sources
                    ]
                    if depth == 2:
                        low, high = (b.cast("zext", value, wide) for value in values)
                        value = b.op("or", low, b.op("shl", high, b.const(wide, 16)))
                    else:
                        value = cast(b, values[0], self.source, self.num.packed)
                    b.masked_store(value, b.at(self.num.unit, target, v.index), mask, self.num.unit_bytes)

    def gather(self, b: Flow, to: Val, origin: Val, first: Val, count: Val, at: Val, units: Val, pitch: Val) -> None:
        """Packs patches by gathering pixels for every column, then turning them."""
        w, lanes, depth = self.w, self.lanes, self.num.depth
        room = _GATHERED + lanes
        widest = max(self.blk.columns, self.blk.rows)
        self.gathered = b.alloca(f"[{widest * room} x {self.memory}]")
        self.room = room
        with b.loop(0, units, _GATHERED // depth) as block:
            some = b.imin(b.isub(units, block.index), _GATHERED // depth)
            start = b.iadd(at, block.index)
            by_tap = b.icmp("eq", w["unit_c"], 1)
            # columns with the same tap follow each other, or are as many columns apart as there are taps
            end = b.select(by_tap, count, b.imin(count, w["unit_c"]))
            with b.loop(0, end) as slot:
                together = self.columns(b, origin, b.iadd(first, slot.index), slot.index, count, by_tap, start, some)
                slot.step = b.select(by_tap, together, b.i64(1))
            target = b.at(self.num.unit, to, b.imul(block.index, pitch))
            values = b.imul(some, depth)
            b.call_address(w["turn"], target, self.gathered, b.i64(room), b.i64(1), count, values, pitch)

    def columns(
        self, b: Flow, origin: Val, column: Val, slot: Val, count: Val, by_tap: Val, start: Val, units: Val
    ) -> Val:
        """Gathers ``column`` and all others of the panel that share its tap and come after it; returns how many."""
        w, depth = self.w, self.num.depth
        tap = b.select(by_tap, b.idiv(column, w["unit_t"]), b.imod(column, w["unit_c"]))
        channel = b.select(by_tap, b.imod(column, w["unit_t"]), b.idiv(column, w["unit_c"]))
        left = b.isub(count, slot)
        apart = b.idiv(b.iadd(left, b.isub(w["unit_c"], 1)), w["unit_c"])
        together = b.select(by_tap, b.imin(left, b.isub(w["channels"], channel)), apart)
        self.apart = b.imul(b.select(by_tap, b.i64(1), w["unit_c"]), self.room)
        entry = b.at("i64", self.table, b.imul(tap, TAP_WORDS))
        shift = [b.word(entry, i) for i in range(3)]
        first = b.at(self.memory, self.gathered, b.imul(slot, self.room))
        segment = b.idiv(start, w["segment_units"])
        inside_segment = b.imul(b.imod(start, w["segment_units"]), depth)
        pixel = b.iadd(b.imul(segment, w["segment"]), inside_segment)
        with b.loop(0, b.imul(units, depth), carry=self.place(b, pixel)) as run:
            n, d, h, ow = run.values
            length = b.imin(b.isub(w["out_w"], ow), b.isub(b.imul(units, depth), run.index))
            image = b.at(self.memory, origin, b.imul(n, w["x_n"]))
            z, y, x = (b.iadd(v, s) for v, s in zip(self.corner(b, d, h, ow), shift, strict=True))
            self.run(b, image, z, y, x, channel, together, length, b.at(self.memory, first, run.index))
            n_next, d_next, h_next = self.next_row(b, n, d, h)
            if depth == 2:
                # a segment of an odd number of pixels ends with half a unit, which is zero
                ended = b.op("or", b.icmp("eq", w["segment"], w["out_w"]), b.icmp("ne", n_next, n))
                odd = b.icmp("ne", b.imod(w["segment"], 2), 0)
                whole = b.icmp("eq", b.iadd(ow, length), w["out_w"])
                half = b.op("and", b.op("and", ended, odd), whole)
                with b.when(half):
                    with b.loop(0, together) as c:
                        spot = b.iadd(b.imul(c.index, self.apart), b.iadd(run.index, length))
                        b.store(b.const(self.memory, 0), b.at(self.memory, first, spot), self.size)
                run.step = b.iadd(length, b.cast("zext", half, "i64"))
            else:
                run.step = length
            run.next = [n_next, d_next, h_next, b.i64(0)]
        return together

    def run(
        self, b: Flow, image: Val, z: Val, y: Val, x: Val, channel: Val, channels: Val, length: Val, to: Val
    ) -> None:
        """Gathers a run of pixels for some channels of one tap."""
        w, lanes = self.w, self.lanes
        type_ = vec_type(self.memory, lanes)
        inside, line = self.line(b, image, z, y, x, channel)
        with b.loop(0, length, lanes) as v:
            wanted = b.lane_mask(b.isub(length, v.index), lanes)
            begin = b.at(self.memory, line, b.imul(v.index, b.imul(w["step_w"], w["x_w"])))
            target = b.at(self.memory, to, v.index)

            # whole vectors are stored: what lies behind the run is overwritten by the next, or is in the spare room
            def copy(fetch: Fetch) -> None:
                with b.loop(0, channels, carry=[begin, target]) as c:
                    at, put = c.values
                    b.store(fetch(at, b.const("i1", 1)), put, self.size)
                    c.next = [b.at(self.memory, at, w["x_c"]), b.at(self.memory, put, self.apart)]

            def something() -> None:
                spot = b.iadd(x, b.imul(v.index, w["step_w"]))
                last = b.iadd(spot, b.imul(w["step_w"], lanes))
                whole = b.op("and", b.icmp("sge", spot, 0), b.icmp("sle", last, w["in_w"]))
                whole = b.op("and", whole, b.icmp("sle", b.iadd(v.index, lanes), length))

                def kind(name: str) -> None:
                    if name == "sparse":
                        copy(self.fetch(b, name, spot, wanted))
                        return
                    b.either(
                        whole,
                        lambda: copy(lambda at, extra: self.load_whole(b, name, at)),
                        lambda: copy(self.fetch(b, name, spot, wanted)),
                    )

                self.each_kind(b, kind)

            def nothing() -> None:
                with b.loop(0, channels, carry=[target]) as c:
                    b.store(b.const(type_, 0), c.values[0], self.size)
                    c.next = [b.at(self.memory, c.values[0], self.apart)]

            b.either(inside, something, nothing)
