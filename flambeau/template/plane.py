"""Planes of an image (a channel of one image) in a worker's scratch memory, laid out so that windows are plain sums.

A plane is copied with its zero border, a step of s taken apart into s phases along each axis.  All windows then lie the
same way: with ``at[t]`` the offset of tap t, place i of the result is made of ``buffer[at[t] + i]``, for runs of places
that go on over the ends of rows.  So the loops over places are dense and need no masks, however small the plane is;
what lies between the rows of the result is computed and dropped.  Large planes are cut into bands of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..target.builder import Val, vec_type
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from .flow import Flow
from .micro import SIZE

__all__ = ["PLANE", "PlaneCopy", "Spread", "division", "multiply_add", "spread"]

_SHARE = 1 << 18
"""Multiplications in a chunk, about 20 us."""
_STAY = 1 << 18
"""Multiplications under which the caller's thread does all the work."""
_ROOM = 192 << 10
"""Bytes that the buffers of a band should take at most."""

PLANE = (
    "x_c", "x_d", "x_h", "x_w", "in_d", "in_h", "used", "step_d", "step_h", "step_w", "pad_d", "pad_h",
    "cells_d", "cells_h", "pitch", "phase", "channel", "channels", "filled", "band", "run", "grid_w", "residues",
)  # fmt: skip
"""Words that `PlaneCopy` uses.  A phase has ``cells_d`` x ``cells_h`` rows, ``pitch`` elements apart; "filled" are the
elements of the whole buffer, "used" the elements of a row of the image that are read, "residues" the byte offset of a
table from the words: for every place x below the step in width, where x goes in its row of the buffer, and how many of
x, x + step, ... do."""


@dataclass(frozen=True)
class Spread:
    """How planes are laid out: the words of `PLANE` but for strides and the table's place, that table, and for every
    list of taps the offsets of their first places."""

    values: dict[str, int]
    residues: list[int]
    offsets: list[list[int]]
    bands: int
    place: int
    """Places that are computed, a multiple of a block."""


def spread(
    bounds: Sequence[int],
    grid: Sequence[int],
    steps: Sequence[int],
    taps: Sequence[Sequence[Sequence[int]]],
    channels: int,
    planes_out: int,
    lanes: int,
    size: int,
    block: int,
    high: int = 1 << 30,
) -> Spread:
    """The layout for windows at ``grid`` places, ``steps`` apart, on planes of size ``bounds``.

    ``taps`` are lists of places (depth, height, width) in the image that the first window reads.  ``planes_out``
    results of the grid's size lie beside ``channels`` planes of elements of ``size`` bytes; places are computed in
    blocks of ``block`` vectors.  Bands have at most ``high`` rows of windows.
    """
    every = [tap for some in taps for tap in some] or [(0, 0, 0)]
    pads = [max(0, -min(t[a] for t in every)) for a in range(3)]
    reach = [max((t[a] + p) // s for t in every) for a, (p, s) in enumerate(zip(pads, steps))]
    cells = [n + r for n, r in zip(grid, reach)]
    pitch = cells[2]
    if steps[2] == 1:  # the border at the end of a row is that at the beginning of the next, but for places of windows
        pitch -= max(0, min(pads[2], cells[2] - pads[2] - bounds[2], reach[2]))
    phases = steps[0] * steps[1] * steps[2]
    row = (channels * phases + planes_out) * cells[0] * pitch * size
    bands = -(-grid[1] // min(high, max(4, _ROOM // row - reach[1])))
    band = -(-grid[1] // bands)
    high = band + reach[1]
    phase = cells[0] * high * pitch + lanes  # whole vectors are stored, also at the end
    used = max(0, min(bounds[2], cells[2] * steps[2] - pads[2]))
    residues = []
    for x in range(steps[2]):
        q = x + pads[2]
        residues += [q % steps[2] * phase + q // steps[2], max(0, -(-(used - x) // steps[2]))]
    run = ((grid[0] - 1) * high + band - 1) * pitch + grid[2]
    # Rows are read back in whole vectors, the last of which may reach beyond the run.
    place = -(-(run + lanes - 1) // (block * lanes)) * block * lanes

    def offset(tap: Sequence[int]) -> int:
        at = [t + p for t, p in zip(tap, pads)]
        number = (at[0] % steps[0] * steps[1] + at[1] % steps[1]) * steps[2] + at[2] % steps[2]
        inside = [q // s for q, s in zip(at, steps)]
        return number * phase + (inside[0] * high + inside[1]) * pitch + inside[2]

    values = {
        **dict(zip(("in_d", "in_h", "used", "step_d", "step_h", "step_w"), (*bounds[:2], used, *steps))),
        "pad_d": pads[0], "pad_h": pads[1], "cells_d": cells[0], "cells_h": high, "pitch": pitch, "phase": phase,
        "channel": phase * phases, "channels": channels,
        "filled": -(-(phase * phases * channels + pitch + place - run) // lanes) * lanes,
        "band": band, "run": run, "grid_w": grid[2],
    }  # fmt: skip
    return Spread(values, residues, [[offset(tap) for tap in some] for some in taps], bands, place)


def division(pieces: int, work: int) -> tuple[int, int, bool]:
    """Chunks, pieces in a chunk, and whether to use threads, for ``pieces`` of ``work`` multiplications each."""
    share = max(1, min(_SHARE // max(work, 1), -(-pieces // 16)))
    return -(-pieces // share), share, pieces * work > _STAY


def multiply_add(b: Flow, isa: ISA, x: Val, y: Val, acc: Val) -> Val:
    """``acc + x * y``, fused where that is an instruction."""
    return b.fma(x, y, acc) if isa.fma else b.fadd(b.fmul(x, y), acc)


class PlaneCopy:
    """Writes the code that fills a buffer; ``w`` are the words by name."""

    def __init__(self, source: str, acc: str, lanes: int, fill: float = 0.0) -> None:
        self.source, self.acc_code, self.lanes, self.fill = source, acc, lanes, fill
        self.memory, self.size = LLVM_TYPE[source], SIZE[source]
        self.acc, self.acc_size = LLVM_TYPE[acc], SIZE[acc]
        self.vector, self.memory_vector = vec_type(self.acc, lanes), vec_type(self.memory, lanes)

    def clear(self, b: Flow, buffer: Val, count: Val, value: float | int) -> None:
        """Fills ``count`` elements, whole vectors of them."""
        with b.loop(0, count, self.lanes) as i:
            b.store(b.const(self.vector, value), b.at(self.acc, buffer, i.index), self.acc_size)

    def copy(
        self, b: Flow, w: dict[str, Val], words: Val, buffer: Val, image: Val, h0: Val, d0: Val | None = None
    ) -> None:
        """Copies the planes of all channels from row ``h0`` of places on (and from depth ``d0`` on) into ``buffer``,
        the borders of whose rows are filled already.

        Rows are stored in whole vectors, the rest of which is border and is overwritten by the next row.
        """
        table = b.bytes_at(words, w["residues"])
        straight = b.icmp("eq", w["x_w"], 1)
        single = b.op("and", straight, b.icmp("eq", w["step_w"], 1))
        double = b.op("and", straight, b.icmp("eq", w["step_w"], 2))

        def planes(row: Callable[[Val, Val], None]) -> None:
            with b.loop(0, w["channels"]) as c, b.loop(0, w["step_d"]) as pd, b.loop(0, w["step_h"]) as ph:
                number = b.imul(b.iadd(b.imul(pd.index, w["step_h"]), ph.index), w["step_w"])
                start = b.iadd(b.imul(c.index, w["channel"]), b.imul(number, w["phase"]))
                with b.loop(0, w["cells_d"]) as zc:
                    deep = zc.index if d0 is None else b.iadd(zc.index, d0)
                    z = b.isub(b.iadd(b.imul(deep, w["step_d"]), pd.index), w["pad_d"])
                    source = b.iadd(b.imul(c.index, w["x_c"]), b.imul(z, w["x_d"]))
                    there = b.icmp("ult", z, w["in_d"])
                    y0 = b.isub(b.iadd(b.imul(h0, w["step_h"]), ph.index), w["pad_h"])
                    line = b.at(self.memory, image, b.iadd(source, b.imul(y0, w["x_h"])))
                    to = b.iadd(start, b.imul(b.imul(zc.index, w["cells_h"]), w["pitch"]))
                    across, along = b.imul(w["step_h"], w["x_h"]), w["pitch"]
                    with b.loop(0, w["cells_h"], carry=[y0, line, b.at(self.acc, buffer, to)]) as yc:
                        y, line, target = yc.values
                        inside = b.op("and", there, b.icmp("ult", y, w["in_h"]))

                        def some(target: Val = target, line: Val = line) -> None:
                            row(target, line)

                        def none(target: Val = target) -> None:
                            self._empty(b, w, table, target)

                        b.either(inside, some, none)
                        yc.next = [
                            b.iadd(y, w["step_h"]), b.at(self.memory, line, across), b.at(self.acc, target, along)
                        ]  # fmt: skip

        b.either(
            single,
            lambda: planes(lambda to, line: self._row(b, w, table, to, line)),
            lambda: b.either(
                double,
                lambda: planes(lambda to, line: self._pairs(b, w, table, to, line)),
                lambda: planes(lambda to, line: self._each(b, w, table, to, line)),
            ),
        )

    def _empty(self, b: Flow, w: dict[str, Val], table: Val, to: Val) -> None:
        fill = b.const(self.vector, self.fill)
        with b.loop(0, w["step_w"]) as r:
            entry = b.at("i64", table, b.imul(r.index, 2))
            start = b.at(self.acc, to, b.word(entry, 0))
            with b.loop(0, b.word(entry, 1), self.lanes) as i:
                b.store(fill, b.at(self.acc, start, i.index), self.acc_size)

    def part(self, b: Flow, line: Val, at: Val, count: Val) -> Val:
        """A vector of a row, of which ``count`` elements are read."""
        mask = b.lane_mask(count, self.lanes)
        value = b.masked_load(self.memory_vector, b.at(self.memory, line, at), mask, self.size)
        value = cast(b, value, self.source, self.acc_code)
        return b.select(mask, value, b.const(self.vector, self.fill)) if self.fill else value

    def _row(self, b: Flow, w: dict[str, Val], table: Val, to: Val, line: Val) -> None:
        lanes, count = self.lanes, w["used"]
        to = b.at(self.acc, to, b.word(table, 0))
        whole = b.op("and", count, b.i64(-lanes))
        with b.loop(0, whole, lanes) as v:
            value = b.load(self.memory_vector, b.at(self.memory, line, v.index), self.size)
            b.store(cast(b, value, self.source, self.acc_code), b.at(self.acc, to, v.index), self.acc_size)
        with b.when(b.icmp("ne", whole, count)):
            b.store(self.part(b, line, whole, b.isub(count, whole)), b.at(self.acc, to, whole), self.acc_size)

    def _pairs(self, b: Flow, w: dict[str, Val], table: Val, to: Val, line: Val) -> None:
        """Takes every other element apart."""
        lanes, count = self.lanes, w["used"]
        targets = [b.at(self.acc, to, b.word(table, 2 * r)) for r in range(2)]

        def put(v: Val, halves: list[Val]) -> None:
            for r in range(2):
                value = b.shuffle(halves[0], halves[1], range(r, 2 * lanes, 2))
                b.store(value, b.at(self.acc, targets[r], b.idiv(v, 2)), self.acc_size)

        whole = b.op("and", count, b.i64(-2 * lanes))
        with b.loop(0, whole, 2 * lanes) as v:
            spots = [b.at(self.memory, line, b.iadd(v.index, i * lanes)) for i in range(2)]
            loaded = [b.load(self.memory_vector, spot, self.size) for spot in spots]
            put(v.index, [cast(b, value, self.source, self.acc_code) for value in loaded])
        with b.when(b.icmp("ne", whole, count)):
            starts = [whole, b.iadd(whole, lanes)]
            put(whole, [self.part(b, line, at, b.isub(count, at)) for at in starts])

    def _each(self, b: Flow, w: dict[str, Val], table: Val, to: Val, line: Val) -> None:
        with b.loop(0, w["step_w"]) as r:
            entry = b.at("i64", table, b.imul(r.index, 2))
            spot, stride = b.at(self.acc, to, b.word(entry, 0)), b.imul(w["step_w"], w["x_w"])
            start = b.at(self.memory, line, b.imul(r.index, w["x_w"]))
            with b.loop(0, b.word(entry, 1)) as i:
                value = b.load(self.memory, b.at(self.memory, start, b.imul(i.index, stride)), self.size)
                b.store(cast(b, value, self.source, self.acc_code), b.at(self.acc, spot, i.index), self.acc_size)
