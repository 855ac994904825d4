"""The gradient of a convolution with 3x3 kernels and stride 1 by its weights, by Winograd's algorithm F(3x3, 2x2): 16
products instead of 36 for 2x2 pixels of the output gradient, with errors about 1.5 times those of the plain sum.

    V = B^T d B  for every 4x4 tile d of every channel of the image,  Y = A g A^T  for the 2x2 pixels g it meets
    M[p] = Y[p] V[p]^T  summed over all tiles, for each of the 16 places p;  the gradient of a kernel is G^T M G

It is the algorithm of `winograd` with the roles of result and weights exchanged, so the matrices are its own (A without
the sign of its last row, which is made good at the end).  Pixels are laid out with a panel's channels side by side, in
bands of tiles with their zero border, and transformed as vectors of channels: any strides of the image will do.

A chunk takes a block of rows (channels of the output gradient), one of columns (channels of the image) and, where there
are few of them, a part of the tiles; V, Y and M of a block of tiles stay in the second-level cache.  How tiles are
parted depends on the sizes alone, and the parts are summed in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..runtime import cpu
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.turn import transpose
from .blocking import GRAIN, STAY
from .conv_problem import ConvSpec
from .flow import Flow, phased_entry
from .gemm import Binding
from .image import Geometry
from .micro import Blocking, blocking, micro_kernel
from .pack import pack_kernel
from .winograd import PLACES, SIDE, full_window, turn_tile

__all__ = ["bind_winograd_weight", "suits", "winograd_weight_ir"]

_TAPS = 9
_CALL = 26_000
"""What more a call costs than one of the plain sum, in products of that."""
_BLOCK_TILES = 56
"""Tiles that a block has about."""
_BLOCK_ROWS = 70
"""Rows that a chunk has at most, and columns about: M, V and Y of a block share the second-level cache."""
_CHUNKS = 16
"""Chunks aimed at."""
_PART_TILES = 128
"""Tiles that a part has at least."""
_REDUCED = 4096
"""Elements of the result that a chunk of the last step sums."""
_LINE = 64

_WORDS = (
    "chunks", "pool", "reduce_chunks", "row_parts", "column_parts", "row_part", "column_part", "rows", "channels",
    "x_n", "x_c", "x_h", "x_w", "in_h", "in_w", "base_h", "base_w",
    "y_n", "y_c", "y_h", "y_w", "out_h", "out_w",
    "high", "across", "band", "bands", "piece", "pieces", "all_bands", "per_block", "part_bands", "parts",
    "w_row", "w_c", "w_tap", "size", "worker_at", "worker_bytes",
    "v_place", "v_panel", "y_at", "y_place", "y_panel", "m_at", "m_place", "pixels_at", "pack", "micro",
)  # fmt: skip


def suits(spec: ConvSpec, isa: ISA, g: Geometry, batch: int, rows: int, groups: int, dw_strides: Sequence[int]) -> bool:
    """Whether the algorithm is for this gradient, and faster than the plain sum."""
    if groups != 1 or spec.epilogue is not None or not spec.source == spec.acc == spec.out == "f32":
        return False
    offsets = full_window(g)
    if isa.name not in ("avx512", "avx2") or offsets is None:
        return False
    step = offsets[1]
    if offsets != [i * step for i in range(_TAPS)] or dw_strides[0] != _TAPS * g.channels:
        return False
    if (step, dw_strides[1]) not in ((1, _TAPS), (g.channels, 1)):
        return False
    # the plain sum costs less than finishing M where there are few pixels and the weights leave the cache
    channels, size = g.channels, rows * g.channels
    few = 16 if size * _TAPS * 4 <= cpu.cache_sizes().l2 else 56
    # in products of the plain sum, as measured
    tiles = batch * -(-g.grid[1] // 2) * -(-g.grid[2] // 2)
    plain = batch * g.pixels * (size + 14 * channels + rows)
    return batch * g.pixels >= few and plain > tiles * (1.6 * size + 12 * channels + 28 * rows) + _CALL


def _round(nbytes: int) -> int:
    return -(-nbytes // _LINE) * _LINE


def _even(total: int, most: int) -> int:
    """The size of the fewest equal parts of at most ``most``."""
    return -(-total // -(-total // most))


def bind_winograd_weight(
    spec: ConvSpec, isa: ISA, g: Geometry, dw_shape: Sequence[int], dw_strides: Sequence[int], batch: int,
    y_strides: Sequence[int], pool: int, workers: int,
) -> Binding:  # fmt: skip
    """The words for a gradient that `suits`; ``y_strides`` are those of the output gradient in five dimensions."""
    num = spec.number(isa)
    blk = blocking(num, isa)
    size, rows, channels = num.acc_bytes, dw_shape[0], g.channels
    offsets = full_window(g)
    assert offsets is not None
    high, across = -(-g.grid[1] // 2), -(-g.grid[2] // 2)
    piece = _even(across, _BLOCK_TILES)
    band = _even(high, max(1, _BLOCK_TILES // piece))
    pieces, bands = -(-across // piece), -(-high // band)
    all_bands = batch * pieces * bands
    per_block = max(1, _BLOCK_TILES // (band * piece))
    depth = per_block * band * piece
    row_panels, column_panels = -(-rows // blk.rows), -(-channels // blk.columns)
    row_part = _even(row_panels, max(1, _BLOCK_ROWS // blk.rows))
    column_part = _even(column_panels, max(1, _BLOCK_ROWS // blk.columns))
    row_parts, column_parts = -(-row_panels // row_part), -(-column_panels // column_part)
    blocks = -(-all_bands // per_block)
    parts = min(-(-_CHUNKS // (row_parts * column_parts)), batch * high * across // _PART_TILES, blocks)
    part_blocks = -(-blocks // max(1, parts))
    parts = -(-blocks // part_blocks)
    # places lie an odd number of lines apart: a tile's values go to all of them
    v_panel, y_panel = depth * blk.columns * size, depth * blk.pitch * size
    v_place, y_place = _round(column_part * v_panel) + _LINE, _round(row_part * y_panel) + _LINE
    m_place = _round(row_part * column_part * blk.rows * blk.columns * size) + _LINE
    y_at = PLACES * v_place
    m_at = y_at + PLACES * y_place
    pixels_at = m_at + PLACES * m_place
    worker_bytes = _round(pixels_at + (2 * band + 2) * (2 * piece + 2) * blk.columns * size)
    total = rows * channels * _TAPS
    worker_at = _round(parts * total * size) if parts > 1 else 0
    low = [min(tap[a] for tap in g.taps) + g.base[a] for a in range(3)]
    work = 2 * PLACES * batch * high * across * (rows * channels + 8 * channels + 17 * rows)  # and transforms
    y_n, y_c, _, y_h, y_w = y_strides
    values = {
        "chunks": parts * row_parts * column_parts, "pool": pool if work > max(STAY, GRAIN) else 0,
        "reduce_chunks": -(-total // _REDUCED) if parts > 1 else 0,
        "row_parts": row_parts, "column_parts": column_parts, "row_part": row_part, "column_part": column_part,
        "rows": rows, "channels": channels,
        "x_n": g.strides[0], "x_c": g.strides[1], "x_h": g.strides[3], "x_w": g.strides[4],
        "in_h": g.bounds[1], "in_w": g.bounds[2], "base_h": low[1], "base_w": low[2],
        "y_n": y_n, "y_c": y_c, "y_h": y_h, "y_w": y_w, "out_h": g.grid[1], "out_w": g.grid[2],
        "high": high, "across": across, "band": band, "bands": bands, "piece": piece, "pieces": pieces,
        "all_bands": all_bands, "per_block": per_block, "part_bands": part_blocks * per_block, "parts": parts,
        "w_row": dw_strides[0], "w_c": dw_strides[1], "w_tap": offsets[1], "size": total,
        "worker_at": worker_at, "worker_bytes": worker_bytes,
        "v_place": v_place, "v_panel": v_panel, "y_at": y_at, "y_place": y_place, "y_panel": y_panel,
        "m_at": m_at, "m_place": m_place, "pixels_at": pixels_at,
        "pack": pack_kernel(spec.source, num, isa), "micro": micro_kernel(num, isa),
    }  # fmt: skip
    return Binding([values[name] for name in _WORDS], worker_at + max(workers, 1) * worker_bytes)


def winograd_weight_ir(name: str, spec: ConvSpec, isa: ISA) -> str:
    """The module of the kernel."""
    return _WinogradWeight(name, spec, isa).text()


class _WinogradWeight:
    """Writes the functions of the kernel."""

    def __init__(self, name: str, spec: ConvSpec, isa: ISA) -> None:
        self.name, self.isa = name, isa
        num = spec.number(isa)
        self.blk: Blocking = blocking(num, isa)
        self.lanes, self.size = self.blk.lanes, num.acc_bytes
        self.elem = num.acc_type
        self.vector = vec_type(self.elem, self.lanes)
        self.module = new_module(isa)

    def text(self) -> str:
        """The module: the entry, what makes parts of the result, and what sums them."""
        arguments = ("params", "c", "a", "b", "scratch")
        phases = [("body", self._write_body, "chunks"), ("reduce", self._write_reduce, "reduce_chunks")]
        phased_entry(self.module, self.isa, self.name, arguments, _WORDS, phases)
        return self.module.text()

    def _open(self, b: Flow, block: Val) -> list[Val]:
        """Loads the words; returns the buffers (result, output gradient, image, scratch memory)."""
        params, *buffers = (b.load("ptr", b.at("i64", block, i), align=8) for i in range(5))
        self.w = {name: b.word(params, i) for i, name in enumerate(_WORDS)}
        return buffers

    def _write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        result, gradient, image, scratch = self._open(b, block)
        w, blk = self.w, self.blk
        mine = b.bytes_at(scratch, b.iadd(w["worker_at"], b.imul(worker, w["worker_bytes"])))
        left, panels_y = b.bytes_at(mine, w["y_at"]), w["row_part"]
        rest, column = b.idiv(chunk, w["column_parts"]), b.imod(chunk, w["column_parts"])
        part, row = b.idiv(rest, w["row_parts"]), b.imod(rest, w["row_parts"])
        row0, col0 = b.imul(b.imul(row, panels_y), blk.rows), b.imul(b.imul(column, w["column_part"]), blk.columns)
        rows = b.imin(b.isub(w["rows"], row0), b.imul(panels_y, blk.rows))
        cols = b.imin(b.isub(w["channels"], col0), b.imul(w["column_part"], blk.columns))
        first = b.imul(part, w["part_bands"])
        end = b.imin(b.iadd(first, w["part_bands"]), w["all_bands"])
        with b.loop(first, end, w["per_block"]) as bands:
            until = b.imin(b.iadd(bands.index, w["per_block"]), end)
            with b.loop(bands.index, until, carry=[b.i64(0)]) as band:
                at = band.values[0]
                rest, number = b.idiv(band.index, w["pieces"]), b.imod(band.index, w["pieces"])
                n, y = b.idiv(rest, w["bands"]), b.imul(b.imod(rest, w["bands"]), w["band"])
                x = b.imul(number, w["piece"])
                high = b.imin(w["band"], b.isub(w["high"], y))
                across = b.imin(w["piece"], b.isub(w["across"], x))
                self._panels(b, mine, image, "x", (n, y, x), (high, across), col0, cols, mine, at)
                self._panels(b, mine, gradient, "y", (n, y, x), (high, across), row0, rows, left, at)
                band.next = [b.iadd(at, b.imul(high, across))]
            self._products(b, mine, rows, cols, band.values[0], b.icmp("eq", bands.index, first))
        target = b.select(
            b.icmp("sgt", w["parts"], 1), b.at(self.elem, scratch, b.imul(part, w["size"])), result
        )  # fmt: skip
        self._finish(b, mine, target, row0, rows, col0, cols)
        b.ret()

    # -- operands ----------------------------------------------------------------------------------------
    def _panels(
        self, b: Flow, mine: Val, source: Val, which: str, place: tuple[Val, Val, Val], tiles: tuple[Val, Val],
        first: Val, count: Val, target: Val, at: Val,
    ) -> None:  # fmt: skip
        """Transforms a band of tiles of an operand, panel by panel."""
        w, image = self.w, which == "x"
        width, pitch = (self.blk.columns,) * 2 if image else (self.blk.rows, self.blk.pitch)
        pixels = b.bytes_at(mine, w["pixels_at"])
        border = 2 if image else 0
        high, across = (b.iadd(b.imul(t, 2), border) for t in tiles)
        n, y, x = place
        y, x = b.imul(y, 2), b.imul(x, 2)
        if image:
            y, x = b.iadd(y, w["base_h"]), b.iadd(x, w["base_w"])
        bounds = (w["in_h"], w["in_w"]) if image else (w["out_h"], w["out_w"])
        plane = b.at(self.elem, source, b.imul(n, w[f"{which}_n"]))
        panel_bytes, place_bytes = (w["v_panel"], w["v_place"]) if image else (w["y_panel"], w["y_place"])
        with b.loop(0, count, width, carry=[target]) as panel:
            own = b.imin(b.isub(count, panel.index), width)
            origin = b.at(self.elem, plane, b.imul(b.iadd(first, panel.index), w[f"{which}_c"]))
            self._spread(b, pixels, origin, which, (y, x), (high, across), bounds, own, pitch)
            to = b.at(self.elem, panel.values[0], b.imul(at, pitch))
            self._transform(b, pixels, across, tiles, to, place_bytes, pitch, own, image)
            panel.next = [b.bytes_at(panel.values[0], panel_bytes)]

    def _spread(
        self, b: Flow, pixels: Val, origin: Val, which: str, place: tuple[Val, Val], sizes: tuple[Val, Val],
        bounds: tuple[Val, Val], count: Val, pitch: int,
    ) -> None:  # fmt: skip
        """Lays pixels out with the channels of a panel side by side, zero outside of the image."""
        w, (y0, x0), (high, across) = self.w, place, sizes
        before = b.imin(b.imax(b.isub(0, x0), 0), across)
        inside = b.imax(b.isub(b.imin(across, b.isub(bounds[1], x0)), before), 0)
        line = b.imul(across, pitch)

        def clear(start: Val, stop: Val) -> None:
            with b.loop(b.imul(start, pitch), b.imul(stop, pitch), self.lanes) as i:
                b.store(b.const(self.vector, 0), b.at(self.elem, to, i.index), self.size)

        with b.loop(0, high, carry=[pixels]) as row:
            to = row.values[0]
            y = b.iadd(y0, row.index)
            there = b.op("and", b.icmp("ult", y, bounds[0]), b.icmp("sgt", inside, 0))

            def some(to: Val = to, y: Val = y) -> None:
                clear(b.i64(0), before)
                offset = b.iadd(b.imul(y, w[f"{which}_h"]), b.imul(b.iadd(x0, before), w[f"{which}_w"]))
                b.call_address(
                    w["pack"], b.at(self.elem, to, b.imul(before, pitch)), b.at(self.elem, origin, offset),
                    w[f"{which}_c"], w[f"{which}_w"], count, inside, b.i64(pitch),
                )  # fmt: skip
                clear(b.iadd(before, inside), across)

            b.either(there, some, lambda: clear(b.i64(0), across))
            row.next = [b.at(self.elem, to, line)]

    def _transform(
        self, b: Flow, pixels: Val, across: Val, tiles: tuple[Val, Val], to: Val, place_bytes: Val, pitch: int,
        count: Val, image: bool,
    ) -> None:  # fmt: skip
        """Transforms the tiles of a panel: B^T d B of the image, A g A^T of the gradient."""
        side = SIDE if image else 2
        turn = turn_tile if image else _turn_pixels
        kept = side - 2  # columns that a tile shares with the next one
        line = b.imul(across, pitch)
        with b.loop(0, count, self.lanes) as v, b.loop(0, tiles[0]) as y:
            corner = b.at(self.elem, b.at(self.elem, pixels, v.index), b.imul(b.imul(y.index, 2), line))
            rows = [b.at(self.elem, corner, b.imul(line, i)) for i in range(side)]

            def column(at: Val, j: int, rows: list[Val] = rows) -> list[Val]:
                spots = [b.at(self.elem, row, b.iadd(b.imul(at, 2 * pitch), j * pitch)) for row in rows]
                return turn(b, [b.load(self.vector, spot, self.size) for spot in spots])

            start = [value for j in range(kept) for value in column(b.i64(0), j)]
            target = b.at(self.elem, b.at(self.elem, to, v.index), b.imul(b.imul(y.index, tiles[1]), pitch))
            with b.loop(0, tiles[1], carry=[*start, target]) as x:
                *before, target = x.values
                after = [column(x.index, j) for j in range(kept, side)]
                columns = [before[j * SIDE : (j + 1) * SIDE] for j in range(kept)] + after
                for i in range(SIDE):
                    for j, value in enumerate(turn(b, [column[i] for column in columns])):
                        b.store(value, b.bytes_at(target, b.imul(place_bytes, i * SIDE + j)), self.size)
                shared = [value for column in after for value in column] if kept else []
                x.next = [*shared, b.at(self.elem, target, pitch)]

    # -- products ----------------------------------------------------------------------------------------
    def _products(self, b: Flow, mine: Val, rows: Val, cols: Val, units: Val, fresh: Val) -> None:
        """Adds the products of a block of tiles to M."""
        w, blk = self.w, self.blk
        tile, pitch, line = blk.rows * blk.columns * self.size, blk.pitch * self.size, blk.columns * self.size
        left, m = b.bytes_at(mine, w["y_at"]), b.bytes_at(mine, w["m_at"])
        new = b.cast("zext", fresh, "i64")
        with b.loop(0, PLACES, carry=[left, mine, m]) as place:
            start = [place.values[0], place.values[2]]
            with b.loop(0, rows, blk.rows, carry=start) as i:
                a, to = i.values
                some = b.imin(b.isub(rows, i.index), blk.rows)
                with b.loop(0, cols, blk.columns, carry=[place.values[1], to]) as j:
                    right, here = j.values
                    b.call_address(
                        w["micro"], a, b.i64(pitch), b.i64(self.size), right, b.i64(line), units, here, b.i64(line),
                        new, some, b.imin(b.isub(cols, j.index), blk.columns),
                    )  # fmt: skip
                    j.next = [b.bytes_at(right, w["v_panel"]), b.bytes_at(here, tile)]
                i.next = [b.bytes_at(a, w["y_panel"]), j.values[1]]
            place.next = [b.bytes_at(v, w[n]) for v, n in zip(place.values, ("y_place", "v_place", "m_place"))]

    # -- the result --------------------------------------------------------------------------------------
    def _finish(self, b: Flow, mine: Val, result: Val, row0: Val, rows: Val, col0: Val, cols: Val) -> None:
        """Turns M into kernels."""
        w, blk = self.w, self.blk
        tile, line = blk.rows * blk.columns * self.size, blk.columns * self.size
        panels = b.idiv(b.iadd(cols, blk.columns - 1), blk.columns)
        first = b.at(self.elem, result, b.iadd(b.imul(row0, w["w_row"]), b.imul(col0, w["w_c"])))
        m = b.bytes_at(mine, w["m_at"])
        with b.loop(0, rows) as row, b.loop(0, cols, self.lanes) as col:
            panel = b.iadd(
                b.imul(b.idiv(row.index, blk.rows), panels), b.idiv(col.index, blk.columns)
            )  # fmt: skip
            inside = b.iadd(
                b.imul(b.imod(row.index, blk.rows), line), b.imul(b.imod(col.index, blk.columns), self.size)
            )
            spot = b.bytes_at(m, b.iadd(b.imul(panel, tile), inside))
            values = [
                b.load(self.vector, b.bytes_at(spot, b.imul(w["m_place"], i)), self.size) for i in range(PLACES)
            ]  # fmt: skip
            columns = [_turn_back(b, values[j::SIDE]) for j in range(SIDE)]
            kernel = [v for i in range(3) for v in _turn_back(b, [column[i] for column in columns])]
            to = b.at(self.elem, first, b.iadd(b.imul(row.index, w["w_row"]), b.imul(col.index, w["w_c"])))
            count = b.imin(b.isub(cols, col.index), self.lanes)
            b.either(
                b.icmp("eq", w["w_tap"], 1),
                lambda: self._save_kernels(b, kernel, to, count),
                lambda: self._save_taps(b, kernel, to, count),
            )

    def _save_taps(self, b: Flow, kernel: list[Val], to: Val, count: Val) -> None:
        """Channels lie side by side."""
        spots = [b.at(self.elem, to, b.imul(self.w["w_tap"], t)) for t in range(_TAPS)]

        def every() -> None:
            for spot, value in zip(spots, kernel, strict=True):
                b.store(value, spot, self.size)

        def some() -> None:
            mask = b.lane_mask(count, self.lanes)
            for spot, value in zip(spots, kernel, strict=True):
                b.masked_store(value, spot, mask, self.size)

        b.either(b.icmp("eq", count, self.lanes), every, some)

    def _save_kernels(self, b: Flow, kernel: list[Val], to: Val, count: Val) -> None:
        """The elements of a kernel lie side by side: as many as fit are turned into a vector, the others follow."""
        lanes = self.lanes
        fit = min(lanes, _TAPS)
        turned = transpose(b, [*kernel[:fit], *[b.const(self.vector, 0)] * (lanes - fit)], 8 * self.size)

        def save(c: int) -> None:
            spot = b.at(self.elem, to, c * _TAPS)
            if fit < lanes:
                b.masked_store(turned[c], spot, b.lane_mask(b.i64(fit), lanes), self.size)
            else:
                b.store(turned[c], spot, self.size)
            for t in range(fit, _TAPS):
                b.store(b.extract(kernel[t], c), b.at(self.elem, spot, t), self.size)

        def some() -> None:
            for c in range(lanes):
                with b.when(b.icmp("sgt", count, c)):
                    save(c)

        def every() -> None:
            for c in range(lanes):
                save(c)

        b.either(b.icmp("eq", count, lanes), every, some)

    def _write_reduce(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Sums the parts of some elements of the result, which is dense."""
        result, _, _, scratch = self._open(b, block)
        w = self.w
        start = b.imul(chunk, _REDUCED)
        with b.loop(start, b.imin(b.iadd(start, _REDUCED), w["size"]), self.lanes) as v:
            mask = b.lane_mask(b.isub(w["size"], v.index), self.lanes)
            first = b.at(self.elem, scratch, v.index)
            with b.loop(1, w["parts"], carry=[b.masked_load(self.vector, first, mask, self.size)]) as part:
                spot = b.at(self.elem, first, b.imul(part.index, w["size"]))
                part.next = [b.fadd(part.values[0], b.masked_load(self.vector, spot, mask, self.size))]
            b.masked_store(part.values[0], b.at(self.elem, result, v.index), mask, self.size)
        b.ret()


def _turn_pixels(b: Flow, g: list[Val]) -> list[Val]:
    """A g, the last row without its sign."""
    return [g[0], b.fadd(g[0], g[1]), b.fsub(g[0], g[1]), g[1]]


def _turn_back(b: Flow, m: list[Val]) -> list[Val]:
    """G^T m, where the last row of m has the wrong sign."""
    half = b.const(m[0].type, 0.5)
    plus, minus = b.fmul(half, b.fadd(m[1], m[2])), b.fmul(half, b.fsub(m[1], m[2]))
    return [b.fadd(m[0], plus), minus, b.fsub(plus, m[3])]
