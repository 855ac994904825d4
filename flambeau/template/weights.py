"""Packing of a convolution's weights into panels: rows, units of channels and taps, any strides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..target.builder import Val, vec_type
from ..target.scalar import LLVM_TYPE, cast
from ..target.turn import transpose
from .flow import Flow
from .image import TAP_WORDS, channel_range
from .micro import SIZE

if TYPE_CHECKING:
    from .contract import Contraction

__all__ = ["BY_CHANNEL", "BY_TAP", "FLAT", "SPAN", "write_weights"]

FLAT, BY_TAP, BY_CHANNEL = range(3)
"""How weights are packed: units are at even distances; tap by tap; channel by channel, whose taps are near each
other."""
SPAN = 64
"""Elements among which the taps of a channel are near each other."""
_AHEAD = 4
"""Channels that are prefetched ahead."""
_NEAR = 1024
"""Bytes of a channel's weights in a panel's rows up to which they are prefetched."""


def write_weights(
    writer: Contraction, b: Flow, to: Val, origin: Val, words: Val, first: Val, count: Val, at: Val, units: Val,
    pitch: Val,
) -> None:  # fmt: skip
    """The body of ``weights(to, from, words, first, count, at, units, pitch)``: packs units from ``at`` on of ``count``
    rows from ``first`` on."""
    w = {name: b.word(words, writer.words.index[name]) for name in writer.pack_words}
    source, num = writer.type_a, writer.num
    elem, depth = LLVM_TYPE[source], num.depth
    line = b.at(elem, origin, b.imul(first, w["w_row"]))
    table = b.bytes_at(words, w["tap_table"])

    def tap_offset(tap: Val) -> Val:
        return b.word(b.at("i64", table, b.imul(tap, TAP_WORDS)), 3)

    def put(place: Val, offset: Val, kstride: Val, k: Val, distance: Val) -> None:
        target = b.at(num.unit, to, b.imul(place, pitch))
        b.call_address(w["pack_w"], target, b.at(elem, line, offset), w["w_row"], kstride, count, k, distance)

    def flat() -> None:
        put(b.i64(0), b.iadd(w["w_at"], b.imul(at, w["w_k"])), w["w_k"], units, pitch)

    def by_tap() -> None:
        with b.loop(0, w["taps"]) as t:
            offset = tap_offset(t.index)
            c0, c1, place = channel_range(b, t.index, w["channels"], w["unit_c"], w["unit_t"], at, units, num)
            with b.when(b.icmp("slt", c0, c1)):
                start = b.imul(c0, depth)
                k = b.imin(b.isub(w["channels"], start), b.imul(b.isub(c1, c0), depth))
                offset = b.iadd(offset, b.imul(start, w["w_c"]))
                put(place, offset, w["w_c"], k, b.imul(pitch, w["unit_c"]))

    def by_channel() -> None:
        """What lies between a channel's first and last tap is turned over, row by row, then its taps are picked."""
        lanes, size = writer.isa.lanes(num.unit), SIZE[source]
        loaded, vector = vec_type(elem, lanes), vec_type(LLVM_TYPE[num.packed], lanes)
        width = -(-max(writer.blk.columns, writer.blk.pitch) // lanes) * lanes
        turned = b.alloca(f"[{SPAN * width} x {LLVM_TYPE[num.packed]}]")
        place, last, end = LLVM_TYPE[num.packed], b.isub(count, 1), b.iadd(at, units)
        nbytes = b.imul(b.imul(count, w["w_row"]), size)
        nbytes = b.select(b.icmp("sle", nbytes, _NEAR), nbytes, b.i64(0))
        with b.loop(b.idiv(at, w["taps"]), b.idiv(b.iadd(end, b.isub(w["taps"], 1)), w["taps"])) as c:
            start = b.imul(c.index, w["taps"])
            t0, t1 = b.imax(b.isub(at, start), 0), b.imin(b.isub(end, start), w["taps"])
            channel = b.at(elem, line, b.iadd(b.imul(c.index, w["w_c"]), w["w_at"]))
            ahead = b.at(elem, channel, b.imul(w["w_c"], _AHEAD))
            with b.loop(0, nbytes, 64) as spot:
                b.prefetch(b.bytes_at(ahead, spot.index))
            with b.loop(0, w["w_span"], lanes) as s, b.loop(0, count, lanes) as group:
                mask = b.lane_mask(b.imin(b.isub(w["w_span"], s.index), lanes), lanes)
                rows = []
                for i in range(lanes):
                    row = b.imul(b.imin(b.iadd(group.index, i), last), w["w_row"])
                    row_at = b.at(elem, channel, b.iadd(row, s.index))
                    rows.append(cast(b, b.masked_load(loaded, row_at, mask, size), source, num.packed))
                for i, value in enumerate(transpose(b, rows, 8 * SIZE[num.packed])):
                    column = b.iadd(b.imul(b.iadd(s.index, i), width), group.index)
                    b.store(value, b.at(place, turned, column), SIZE[num.packed])
            with b.loop(t0, t1) as t, b.loop(0, count, lanes) as group:
                column = b.iadd(b.imul(b.isub(tap_offset(t.index), w["w_at"]), width), group.index)
                target = b.iadd(b.imul(b.isub(b.iadd(start, t.index), at), pitch), group.index)
                value = b.load(vector, b.at(place, turned, column), SIZE[num.packed])
                b.store(value, b.at(num.unit, to, target), SIZE[num.packed])

    b.either(
        b.icmp("eq", w["w_mode"], FLAT),
        flat,
        lambda: by_tap() if depth > 1 else b.either(b.icmp("eq", w["w_mode"], BY_TAP), by_tap, by_channel),
    )
    b.ret()
