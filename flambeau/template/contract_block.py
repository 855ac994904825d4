"""One block of one matrix of a contraction, as a chunk computes it.

For every block of units, panels are packed unless they are shared (and so were packed before) or read where they lie,
and tiles are computed, outer panel by outer panel.  A tile that has all of its units is finished, or was computed where
it belongs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..target.builder import Val
from .contract_finish import call_finish, call_sweep
from .flow import Flow
from .frame import SCRATCH, SWEEP, Frame

if TYPE_CHECKING:
    from .contract import Contraction

__all__ = ["MatrixBlock"]


@dataclass(frozen=True)
class _Units:
    """A block of units: the first one, how many, whether it is the sum's first (1 or 0) and its last, and where the
    inner panels lie, so many bytes apart."""

    at: Val
    count: Val
    fresh: Val
    done: Val
    inner: Val
    inner_step: Val


@dataclass(frozen=True)
class _Tile:
    """A tile: its outer and inner panel, what it is made of, and its extent in the result.

    ``above`` and ``there`` are what `Contraction.direct_a` and `Contraction.direct` say of its panels.
    """

    x: Val
    y: Val
    left: Val
    right: Val
    pitch: Val
    """Bytes from one unit of B to the next."""
    above: tuple[Val, Val, Val, Val] | None
    there: tuple[Val, Val, Val] | None
    row0: Val
    rows: Val
    col0: Val
    cols: Val


class MatrixBlock:
    """Writes the computation of a block, whose chunk is of part ``split`` of the units."""

    def __init__(
        self, writer: Contraction, b: Flow, f: Frame, batch: Val, worker: Val, split: Val, inner_block: Val,
        outer_block: Val,
    ) -> None:  # fmt: skip
        self.writer, self.b, self.f, self.batch = writer, b, f, batch
        self.blk, self.num, self.tile_bytes = writer.blk, writer.num, writer.tile_bytes
        self.a, self.bb, self.c = (writer.matrix(b, f, which, batch) for which in "abc")
        self.y0, self.y1 = self._part(inner_block, f.inner_panels, f.inner_blocks)
        self.x0, self.x1 = self._part(outer_block, f.outer_panels, f.outer_blocks)
        self.k0 = b.imul(split, f.span)
        self.k1 = b.imin(b.iadd(self.k0, f.span), f.units)
        self.scratch = f.slot(SCRATCH)
        self.inner_b = b.icmp("ne", f.inner_b, 0)
        given = b.load("ptr", b.at("i64", f.block, b.select(self.inner_b, b.i64(2), b.i64(3))), align=8)
        given = b.bytes_at(given, b.imul(batch, f.ready_step))
        self.shared_outer = b.select(b.icmp("ne", f.ready, 0), given, self.scratch)
        self.mine = b.bytes_at(self.scratch, b.iadd(f.worker_at, b.imul(worker, f.worker_bytes)))
        self.outer_own = b.bytes_at(self.mine, f.outer_at)
        self.outer_shared, self.inner_shared = b.icmp("ne", f.outer_shared, 0), b.icmp("ne", f.inner_shared, 0)
        self.split_up = b.icmp("sgt", f.splits, 1)
        all_tiles = b.imul(f.outer_panels, f.inner_panels)
        partial_at = b.iadd(f.partial_at, b.imul(b.imul(split, all_tiles), self.tile_bytes))
        self.partial = b.bytes_at(self.scratch, partial_at)
        self.own_tiles = b.bytes_at(self.mine, f.tiles_at)
        self.count_y = b.isub(self.y1, self.y0)
        self.sweeps, self.wide = b.const("i1", 0), b.i64(1)
        if writer.joins:
            self.sweeps = b.cmp("ne", f.slot(SWEEP), b.const("ptr", 0))
            self.wide = b.select(self.sweeps, b.i64(1), f.wide)

    def _part(self, number: Val, panels: Val, blocks: Val) -> tuple[Val, Val]:
        """The panels of block ``number``: the first one, and that after the last one."""
        b = self.b
        first, end = (b.idiv(b.imul(b.iadd(number, i), panels), blocks) for i in range(2))
        return first, end

    def _not(self, condition: Val) -> Val:
        return self.b.op("xor", condition, self.b.const("i1", 1))

    def write(self) -> None:
        """The whole block."""
        b = self.b
        k_end = b.imax(self.k1, b.iadd(self.k0, 1))  # an empty sum still makes one pass
        with b.loop(self.k0, k_end, self.f.kc) as at:
            self._write_units(at.index)

    def _pack(self, inner: bool, to: Val, panel: Val, at: Val, units: Val) -> None:
        """Packs a panel of the inner or outer operand."""

        def missing(is_b: bool) -> None:
            matrix = self.bb if is_b else self.a
            self.writer.pack_missing(self.b, self.f, is_b, to, matrix, panel, at, units)

        self.b.either(self.inner_b, lambda: missing(inner), lambda: missing(not inner))

    def _write_units(self, at: Val) -> None:
        """Adds the products of the block of units from ``at`` on to all tiles."""
        b, f = self.b, self.f
        panel_bytes = partial(self.writer.panel_bytes, b, self.inner_b)
        units = b.imin(b.isub(self.k1, at), f.kc)
        inner_bytes, shared_bytes = panel_bytes(True, units), panel_bytes(True, f.units)
        shared_first = b.iadd(b.imul(self.y0, shared_bytes), panel_bytes(True, at))
        inner_step = b.select(self.inner_shared, shared_bytes, inner_bytes)
        shared_inner = b.bytes_at(self.scratch, b.iadd(f.inner_at, shared_first))
        inner = b.select(self.inner_shared, shared_inner, self.mine)
        fresh = b.cast("zext", b.icmp("eq", at, self.k0), "i64")
        last = b.icmp("sge", b.iadd(at, f.kc), self.k1)
        now = _Units(at, units, fresh, b.op("and", last, self._not(self.split_up)), inner, inner_step)

        with b.loop(self.y0, b.select(self.inner_shared, self.y0, self.y1)) as y:
            to = b.bytes_at(self.mine, b.imul(b.isub(y.index, self.y0), inner_bytes))
            self._pack(True, to, y.index, at, units)
        with b.loop(self.x0, self.x1) as x:
            self._write_outer(now, x.index)

    def _write_outer(self, now: _Units, x: Val) -> None:
        """The tiles of one outer panel."""
        b, f, joins = self.b, self.f, self.writer.joins
        offset = self.writer.panel_bytes(b, self.inner_b, False, b.iadd(b.imul(x, f.units), now.at))
        with b.when(self._not(self.outer_shared)):
            self._pack(False, self.outer_own, x, now.at, now.count)
        outer = b.select(self.outer_shared, b.bytes_at(self.shared_outer, offset), self.outer_own)
        following = b.op("and", self.inner_b, b.icmp("slt", b.iadd(x, 1), self.x1))
        with b.loop(self.y0, self.y1, carry=[b.i64(0)] * joins) as y:
            before = y.values[0] if joins else b.i64(0)
            tile = self._tile(now, x, y.index, outer)
            one = partial(self._write_tile, now, tile, before, following)
            lines = self.writer.lines(b, f, self.c, tile.row0, tile.col0, tile.cols) if joins else None
            if lines is None:
                one()
            else:
                usable, first, distance = lines
                only = b.op("and", now.done, b.icmp("eq", now.at, self.k0))  # there is one block of units
                usable = b.op("and", only, b.op("and", self.sweeps, usable))
                usable = b.op("and", usable, b.icmp("eq", tile.cols, self.blk.columns))
                several = partial(self._write_several, now, tile, first, distance, following)
                y.step, *y.next = b.choose(usable, several, one)

    def _tile(self, now: _Units, x: Val, y: Val, outer: Val) -> _Tile:
        """The tile of an outer panel, which lies packed at ``outer``, and an inner one."""
        b, f, writer, inner_b = self.b, self.f, self.writer, self.inner_b
        inner = b.bytes_at(now.inner, b.imul(b.isub(y, self.y0), now.inner_step))
        left, right = b.select(inner_b, outer, inner), b.select(inner_b, inner, outer)
        there = writer.direct(b, f, self.bb, b.select(inner_b, y, x), now.at)
        above = writer.direct_a(b, f, self.a, b.select(inner_b, x, y), now.at)
        pitch = b.i64(self.blk.columns * self.num.unit_bytes)
        if above is not None:
            left = b.select(above[0], above[1], left)
        if there is not None:
            right, pitch = b.select(there[0], there[1], right), b.select(there[0], there[2], pitch)
        return _Tile(x, y, left, right, pitch, above, there, *writer.extent(b, f, inner_b, x, y))

    def _write_tile(self, now: _Units, tile: _Tile, before: Val, following: Val) -> list[Val]:
        """One tile, before which ``before`` wait to be finished with it; where A has a panel that is ``following``, a
        part of that is prefetched.  Returns how many have been taken, and how many now wait."""
        b, f, writer = self.b, self.f, self.writer
        own = b.iadd(b.imul(b.isub(tile.x, self.x0), self.count_y), b.isub(tile.y, self.y0))
        whole = b.iadd(b.imul(tile.x, f.inner_panels), tile.y)
        own_at = b.iadd(b.imul(own, f.tile_step), b.imul(before, self.tile_bytes))
        to = b.select(
            self.split_up,
            b.bytes_at(self.partial, b.imul(whole, self.tile_bytes)),
            b.bytes_at(self.own_tiles, own_at),
        )
        here = writer.in_place(b, f, self.c, tile.row0, tile.col0, tile.rows, tile.cols)
        step, stored = b.i64(self.blk.columns * self.num.acc_bytes), b.const("i1", 0)
        if here is not None:
            stored = b.op("and", here[0], self._not(self.split_up))
            to, step = b.select(stored, here[1], to), b.select(stored, here[2], step)
        with b.when(b.op("or", now.done, stored)):
            with b.when(b.icmp("eq", self.wide, 1)):  # long rows of several tiles come by themselves
                writer.touch(b, f, self.c, tile.row0, tile.col0, tile.rows)
            writer.touch_near(b, f, self.batch, tile.row0, tile.col0, tile.rows)
        self._fetch_ahead(now, tile, following, b.isub(tile.y, self.y0), self.count_y)
        left_pitch, left_row = (b.i64(0), b.i64(0)) if tile.above is None else tile.above[2:]
        b.call_address(
            f.micro, tile.left, left_pitch, left_row, tile.right, tile.pitch, now.count, to, step, now.fresh,
            tile.rows, tile.cols,
        )  # fmt: skip
        return [b.i64(1), self._finish(now, tile, before, to, stored)]

    def _fetch_ahead(self, now: _Units, tile: _Tile, following: Val, part: Val, parts: Val) -> None:
        """Prefetches part ``part`` of ``parts`` of A's following panel, if it has one."""
        b = self.b
        with b.when(following):
            self.writer.fetch_ahead(b, self.f, self.a, b.iadd(tile.x, 1), now.at, now.count, part, parts)

    def _finish(self, now: _Units, tile: _Tile, before: Val, to: Val, stored: Val) -> Val:
        """Has the tile at ``to`` finished unless it is ``stored`` already, together with those ``before`` it where
        several are; returns how many wait."""
        b, f, joins = self.b, self.f, self.writer.joins
        row0, rows, col0, cols = tile.row0, tile.rows, tile.col0, tile.cols
        ended, waiting = b.const("i1", 1), b.i64(0)
        if joins:
            following = b.iadd(before, 1)
            ended = b.op("or", b.icmp("eq", following, self.wide), b.icmp("eq", b.iadd(tile.y, 1), self.y1))
            waiting = b.select(ended, b.i64(0), following)
        with b.when(b.op("and", b.op("and", now.done, ended), self._not(stored))):
            if joins:  # from the first of them on
                to = b.bytes_at(to, b.isub(0, b.imul(before, self.tile_bytes)))
                first = b.isub(tile.y, before)
                top, _, side, _ = self.writer.extent(b, f, self.inner_b, tile.x, first)
                rows, cols = b.isub(b.iadd(row0, rows), top), b.isub(b.iadd(col0, cols), side)
                row0, col0 = top, side
            call_finish(b, f, to, self.c, row0, col0, rows, cols, self.batch)
        return waiting

    def _write_several(self, now: _Units, tile: _Tile, first: Val, distance: Val, following: Val) -> list[Val]:
        """All tiles from this one on whose rows are contiguous in the result and equally far apart, swept; returns as
        `_write_tile` does."""
        b, f, unit_bytes = self.b, self.f, self.num.unit_bytes
        count = b.imin(self.writer.swept(b, f, tile.row0, tile.col0, tile.rows), b.isub(self.y1, tile.y))
        self._fetch_ahead(now, tile, following, b.i64(0), b.i64(1))
        left_pitch, left_row = b.i64(self.blk.pitch * unit_bytes), b.i64(unit_bytes)
        if tile.above is not None:
            usable, _, pitch, row = tile.above
            left_pitch, left_row = b.select(usable, pitch, left_pitch), b.select(usable, row, left_row)
        right_step = now.inner_step
        if tile.there is not None:
            right_step = b.select(tile.there[0], b.i64(self.blk.columns * unit_bytes), right_step)
        operands = tile.left, tile.right, left_pitch, left_row, tile.pitch, now.count
        place = tile.row0, tile.col0, tile.rows, self.batch
        call_sweep(self.writer, b, f, operands, first, distance, place, count, now.inner_step, right_step, self.inner_b)
        return [count, b.i64(0)]
