"""Convolutions by few rows of weights that read their image in place: a chunk copies the planes it needs into scratch
memory, spread out so that every tap sees a run of pixels (see `plane`), and the micro-kernel of the matrix product
finds every unit of the image by a list of distances.

Nothing is packed, where packing would write every pixel once for each tap.  Pixels are counted along the spread rows;
those between the rows of the result are computed and dropped.  A chunk is a band of rows of one group of one image (of
a volume at one depth, which copies all planes that its taps reach), with all rows of weights.  These are read where
they are if a row lists the units in order; otherwise, as in the gradient by the image, they are copied first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..target.builder import Val
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from .blocking import STAY
from .conv_problem import ConvSpec, Problem
from .flow import Flow, function, phased_entry
from .gemm import PAGE, Binding
from .micro import AHEAD, SIZE, Blocking, accumulate, blocking, micro_kernel
from .plane import PLANE, PlaneCopy, Spread, spread

__all__ = ["bind_planes", "planes_ir", "suits"]

_MOST_UNITS = 1000
"""Units that are summed in one pass over a tile."""
_PACKING = 17
"""What packing a vector of pixels takes, in rows of weights that are multiplied by it meanwhile."""
_CHUNKS = 16
"""Chunks aimed at."""
_SERVED = 256
"""Pixels that a copied weight should serve at least."""

_WORDS = (
    "chunks", "pool", "worker_bytes", "tile_at", "bands", *PLANE, "x_n", "x_group", "groups", "rows", "units", "list",
    "w_group", "w_row", "c_at", "c_n", "c_row", "c_d", "c_h", "out_d", "out_h", "out_w", "micro",
    "copied", "copy_at", "copy_list", "from_group", "from_row", "swept",
)  # fmt: skip
"""Besides those of `PLANE`: "swept" columns of a row of the result (0: none), "copied" rows of weights (0: none),
"copy_at" the byte offset of their copy in scratch memory, "copy_list" that of the list of their units' offsets from the
words."""


def suits(spec: ConvSpec, isa: ISA, problems: Sequence[Problem]) -> bool:
    """Whether the kernel is for these problems, and faster than packing pixels."""
    p = problems[0]
    g = p.geometry
    taps, units = len(g.taps), len(g.taps) * g.channels
    if len(problems) != 1 or p.jump != (1, 1, 1) or spec.source != spec.acc or spec.source not in ("f32", "f64"):
        return False
    if g.strides[4] != 1 or p.c_strides[4] != 1 or max(g.steps) > 2 or not 1 < taps <= units <= _MOST_UNITS:
        return False
    if 0 in g.grid or (not _natural(spec, p) and p.batch * g.pixels < _SERVED):
        return False
    blk = blocking(spec.number(isa), isa)
    layout = _layout(spec, isa, p)
    run, last = (_run(layout, rows) for rows in (layout.values["band"], g.grid[1] % layout.values["band"]))
    vectors = (g.grid[1] // layout.values["band"]) * -(-run // blk.lanes) + -(-last // blk.lanes)
    height = blk.height(p.rows)
    return g.grid[0] * vectors * height < -(-g.pixels // blk.lanes) * (height + _PACKING)


def _natural(spec: ConvSpec, p: Problem) -> bool:
    """Whether a row of weights lists the units in order, and rows do not compete for the same lines of the caches."""
    taps = p.geometry.taps
    ordered = [tap[3] for tap in taps] == list(range(len(taps))) and p.w_c == len(taps)
    return ordered and p.w_row * SIZE[spec.source] % PAGE != 0


def _layout(spec: ConvSpec, isa: ISA, p: Problem) -> Spread:
    g = p.geometry
    taps = [[x + t for x, t in zip(g.base, tap)] for tap in g.taps]
    lanes = isa.lanes(LLVM_TYPE[spec.acc])
    high = max(4, -(-g.grid[1] // -(-_CHUNKS // (p.batch * p.groups * g.grid[0]))))
    return spread(g.bounds, (1, *g.grid[1:]), g.steps, [taps], g.channels, 0, lanes, SIZE[spec.acc], 1, high)


def _run(layout: Spread, rows: int) -> int:
    """Pixels that are computed for so many rows of a band."""
    return (rows - 1) * layout.values["pitch"] + layout.values["grid_w"] if rows else 0


def _swept(width: int, pitch: int, blk: Blocking) -> int:
    """Columns that are swept of rows of so many, which lie ``pitch`` apart in the buffer: all that fill tiles, unless
    runs through the ends of rows have much fewer vectors."""
    vectors = -(-width // blk.lanes)
    return width - width % blk.columns if 10 * vectors * blk.lanes <= 11 * pitch else 0


def bind_planes(
    spec: ConvSpec, isa: ISA, p: Problem, pool: int, workers: int, tail_words: Sequence[int]
) -> Binding:  # fmt: skip
    """The words for a problem that `suits`."""
    g, size, num = p.geometry, SIZE[spec.acc], spec.number(isa)
    blk = blocking(num, isa)
    layout = _layout(spec, isa, p)
    units = g.channels * len(g.taps)
    # the last pixels are read, and those of a tile stored, in whole vectors
    tile_at = -(-(layout.values["filled"] + 2 * blk.columns) * size // 64) * 64
    worker_bytes = tile_at + (blk.rows * blk.columns + blk.lanes) * size
    names = ("x_n", "x_c", "x_d", "x_h", "x_w")
    c_n, c_row, c_d, c_h, _ = p.c_strides
    residues = len(_WORDS) + len(tail_words)
    copied = 0 if _natural(spec, p) else p.groups * p.rows
    copy_at = -(-worker_bytes // 64) * 64 * max(workers, 1)
    work = 2 * p.batch * p.groups * p.rows * g.pixels * units
    values = {
        **layout.values, **dict(zip(names, g.strides, strict=True)),
        "chunks": p.batch * p.groups * g.grid[0] * layout.bands, "pool": pool if work > STAY else 0,
        "worker_bytes": -(-worker_bytes // 64) * 64, "tile_at": tile_at, "bands": layout.bands,
        "residues": 8 * residues, "list": 8 * (residues + len(layout.residues)), "x_group": p.x_group,
        "groups": p.groups, "rows": p.rows, "units": units,
        "w_group": p.rows * units if copied else p.w_group, "w_row": units if copied else p.w_row,
        "c_at": p.c_at, "c_n": c_n, "c_row": c_row, "c_d": c_d, "c_h": c_h,
        "out_d": g.grid[0], "out_h": g.grid[1], "out_w": g.grid[2],
        "micro": micro_kernel(num, isa, in_place=True, listed=True),
        "copied": copied, "copy_at": copy_at, "copy_list": 8 * (residues + len(layout.residues) + units + AHEAD),
        "from_group": p.w_group, "from_row": p.w_row, "swept": _swept(g.grid[2], layout.values["pitch"], blk),
    }  # fmt: skip
    distances = [size * (c * values["channel"] + at) for c in range(g.channels) for at in layout.offsets[0]]
    words = [values[name] for name in _WORDS] + list(tail_words) + layout.residues + distances
    words += distances[-1:] * AHEAD
    if copied:
        words += [c * p.w_c + tap[3] for c in range(g.channels) for tap in g.taps]
    return Binding(words, copy_at + copied * units * size)


def planes_ir(name: str, spec: ConvSpec, isa: ISA) -> str:
    """The module of the kernel."""
    return _Planes(name, spec, isa).text()


class _Planes(PlaneCopy):
    """Writes the functions of the kernel."""

    def __init__(self, name: str, spec: ConvSpec, isa: ISA) -> None:
        super().__init__(spec.source, spec.acc, isa.lanes(LLVM_TYPE[spec.acc]))
        self.name, self.isa, self.tail = name, isa, spec.tail
        self.num = spec.number(isa)
        self.blk = blocking(self.num, isa)
        self.module = new_module(isa)
        self.out, self.out_size = LLVM_TYPE[spec.out], SIZE[spec.out]

    def text(self) -> str:
        """The module."""
        arguments = ["params", "c", "a", "b", *(f"e{i}" for i in range(self.tail.buffers)), "scratch"]
        phases = [("weights", self._write_weights, "copied"), ("body", self._write_body, "chunks")]
        phased_entry(self.module, self.isa, self.name, arguments, _WORDS, phases)
        return self.module.text()

    def _write_weights(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Copies a row of weights in the order of the units."""
        params, source, scratch = (b.load("ptr", b.at("i64", block, i), align=8) for i in (0, 2, 4 + self.tail.buffers))
        w = {name: b.word(params, i) for i, name in enumerate(_WORDS)}
        group, row = b.idiv(chunk, w["rows"]), b.imod(chunk, w["rows"])
        first = b.at(self.memory, source, b.iadd(b.imul(group, w["from_group"]), b.imul(row, w["from_row"])))
        target = b.at(self.memory, b.bytes_at(scratch, w["copy_at"]), b.imul(chunk, w["units"]))
        offsets = b.bytes_at(params, w["copy_list"])
        with b.loop(0, w["units"]) as unit:
            offset = b.load("i64", b.at("i64", offsets, unit.index), align=8)
            value = b.load(self.memory, b.at(self.memory, first, offset), self.size)
            b.store(value, b.at(self.memory, target, unit.index), self.size)
        b.ret()

    def _write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        def slot(index: int) -> Val:
            return b.load("ptr", b.at("i64", block, index), align=8)

        params = slot(0)
        self.w = w = {name: b.word(params, i) for i, name in enumerate(_WORDS)}
        self.extras = [slot(4 + i) for i in range(self.tail.buffers)]
        self.extras += [b.word(params, len(_WORDS) + i) for i in range(self.tail.words)]
        scratch = slot(4 + self.tail.buffers)
        buffer = b.bytes_at(scratch, b.imul(worker, w["worker_bytes"]))
        tile, distances = b.bytes_at(buffer, w["tile_at"]), b.bytes_at(params, w["list"])
        band, rest = b.imod(chunk, w["bands"]), b.idiv(chunk, w["bands"])
        d0, rest = b.imod(rest, w["out_d"]), b.idiv(rest, w["out_d"])
        group, n = b.imod(rest, w["groups"]), b.idiv(rest, w["groups"])
        h0 = b.imul(band, w["band"])
        source = b.iadd(b.imul(n, w["x_n"]), b.imul(group, w["x_group"]))
        self.clear(b, buffer, w["filled"], 0)
        self.copy(b, w, params, buffer, b.at(self.memory, slot(3), source), h0, d0)
        high = b.imin(w["band"], b.isub(w["out_h"], h0))
        run = b.iadd(b.imul(b.isub(high, 1), w["pitch"]), w["grid_w"])
        size, columns = self.acc_size, self.blk.columns
        given = b.select(b.icmp("ne", w["copied"], 0), b.bytes_at(scratch, w["copy_at"]), slot(2))
        weights = b.at(self.memory, given, b.imul(group, w["w_group"]))
        channel = b.imul(group, w["rows"])
        start = b.iadd(b.iadd(w["c_at"], b.imul(n, w["c_n"])), b.imul(channel, w["c_row"]))
        image = b.at(self.out, slot(1), b.iadd(start, b.imul(d0, w["c_d"])))
        deep = b.iadd(b.imul(n, w["out_d"]), d0)

        def span(row: Val, first: Val, end: Val) -> None:
            """Computes places of the run for the rows of weights from ``row`` on, tile by tile."""
            rows = b.imin(b.isub(w["rows"], row), self.blk.rows)
            own = b.at(self.memory, weights, b.imul(row, w["w_row"]))
            to = b.at(self.out, image, b.imul(row, w["c_row"]))
            with b.loop(first, end, columns) as at:
                cols = b.imin(b.isub(end, at.index), columns)
                b.call_address(
                    w["micro"], own, b.i64(size), b.imul(w["w_row"], size), b.at(self.acc, buffer, at.index),
                    distances, w["units"], tile, b.i64(columns * size), b.i64(1), rows, cols,
                )  # fmt: skip
                self._save(b, tile, to, at.index, cols, row, rows, h0, deep, group)

        def through() -> None:
            with b.loop(0, w["rows"], self.blk.rows) as row:
                span(row.index, b.i64(0), run)

        def by_lines() -> None:
            with b.loop(0, high) as y:
                at, line = b.imul(y.index, w["pitch"]), b.iadd(h0, y.index)
                to = b.at(self.out, image, b.imul(line, w["c_h"]))
                col = b.imul(b.iadd(b.imul(deep, w["out_h"]), line), w["out_w"])
                place = block, weights, b.at(self.acc, buffer, at), to, col, group
                self._sweep_line(b, place)
                first, end = b.iadd(at, w["swept"]), b.iadd(at, w["out_w"])
                with b.when(b.icmp("slt", first, end)), b.loop(0, w["rows"], self.blk.rows) as row:
                    span(row.index, first, end)

        if self.tail.straight:
            b.either(b.icmp("ne", w["swept"], 0), by_lines, through)
        else:
            through()
        b.ret()

    def _sweep_line(self, b: Flow, place: tuple[Val, ...]) -> None:
        """Sweeps a line of the result for all rows of weights: the highest tiles first."""
        args = [("ptr", "block"), ("ptr", "weights"), ("ptr", "image"), ("ptr", "to")]
        args += [("i64", n) for n in ("col", "group", "row", "end")]
        row: Val = b.i64(0)
        for height in self.blk.heights:
            write = partial(self._write_sweep, height=height)
            name = function(self.module, self.isa, f"{self.name}.sweep{height}", args, write, attributes="noinline")
            left = b.isub(self.w["rows"], row)
            end = b.iadd(row, b.isub(left, b.imod(left, height)))
            with b.when(b.icmp("slt", row, end)):
                b.call_void(name, *place, row, end)
            row = end

    def _write_sweep(
        self, b: Flow, block: Val, weights: Val, image: Val, to: Val, col: Val, group: Val, row: Val, end: Val,
        height: int,
    ) -> None:  # fmt: skip
        """Computes tiles of ``height`` rows of weights, of those from ``row`` to ``end``, along a line of a result."""
        params = b.load("ptr", block, align=8)
        w = {name: b.word(params, _WORDS.index(name)) for name in ("list", "units", "swept", "w_row", "c_row")}
        extras = [b.load("ptr", b.at("i64", block, 4 + i), align=8) for i in range(self.tail.buffers)]
        extras += [b.word(params, len(_WORDS) + i) for i in range(self.tail.words)]
        distances = b.bytes_at(params, w["list"])
        apart = b.imul(w["w_row"], self.acc_size)
        shape, lanes = (height, self.blk.vectors), self.blk.lanes
        zeros = [b.const(self.vector, 0)] * (height * self.blk.vectors)
        with b.loop(row, end, height) as block_of_rows, b.loop(0, w["swept"], self.blk.columns) as x:
            first = block_of_rows.index
            own = b.at(self.memory, weights, b.imul(first, w["w_row"]))
            source = b.at(self.acc, image, x.index)
            sums = accumulate(
                b, self.num, self.isa, shape, zeros, own, b.i64(self.size), apart, source, distances, w["units"], True
            )
            for i in range(height):
                number = b.iadd(first, i)
                line = b.at(self.out, to, b.iadd(b.imul(number, w["c_row"]), x.index))
                for j in range(self.blk.vectors):
                    acc, at = sums[i * self.blk.vectors + j], b.iadd(b.iadd(col, x.index), j * lanes)
                    value = self.tail.emit(b, acc, number, at, group, None, extras.__getitem__)
                    b.store(value, b.at(self.out, line, j * lanes), self.out_size)
        b.ret()

    def _save(
        self, b: Flow, tile: Val, to: Val, start: Val, cols: Val, row0: Val, rows: Val, h0: Val, deep: Val, group: Val
    ) -> None:  # fmt: skip
        """Stores the pixels of a tile, in runs that end with a row of the result; ``deep`` counts the planes of the
        result through all images."""
        w, lanes = self.w, self.lanes
        y, x = b.iadd(h0, b.idiv(start, w["pitch"])), b.imod(start, w["pitch"])
        with b.loop(0, cols, carry=[y, x]) as piece:
            y, x = piece.values
            width = b.imin(b.imin(b.isub(w["out_w"], x), b.isub(cols, piece.index)), lanes)
            line = b.at(self.out, to, b.iadd(b.imul(y, w["c_h"]), x))
            col = b.iadd(b.imul(b.iadd(b.imul(deep, w["out_h"]), y), w["out_w"]), x)
            spot = b.at(self.acc, tile, piece.index)

            def put(
                mask: Val | None, line: Val = line, col: Val = col, spot: Val = spot
            ) -> None:  # fmt: skip
                with b.loop(0, rows, carry=[spot, line]) as i:
                    acc = b.load(self.vector, i.values[0], self.acc_size)
                    row = b.iadd(row0, i.index)
                    value = self.tail.emit(b, acc, row, col, group, mask, self.extras.__getitem__)
                    if mask is None:
                        b.store(value, i.values[1], self.out_size)
                    else:
                        b.masked_store(value, i.values[1], mask, self.out_size)
                    i.next = [
                        b.at(self.acc, i.values[0], self.blk.columns), b.at(self.out, i.values[1], w["c_row"])
                    ]  # fmt: skip

            def some(width: Val = width, put=put) -> None:  # type: ignore[no-untyped-def]
                b.either(b.icmp("eq", width, lanes), lambda: put(None), lambda: put(b.lane_mask(width, lanes)))

            with b.when(b.icmp("sgt", width, 0)):
                some()
            # what lies behind the result's row is passed over
            after = b.select(b.icmp("sgt", width, 0), b.iadd(x, width), w["pitch"])
            ended = b.icmp("sge", after, w["pitch"])
            piece.step = b.isub(after, x)
            piece.next = [b.iadd(y, b.cast("zext", ended, "i64")), b.select(ended, b.i64(0), after)]
