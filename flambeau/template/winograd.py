"""Convolutions with 3x3 kernels and stride 1 by Winograd's algorithm F(2x2, 3x3): 16 products instead of 36 for 2x2
pixels, with errors about 1.5 times those of the plain sum (larger tiles would need fewer products yet, but err more
than ten times as much).

    V = B^T d B  for every 4x4 tile d of every channel of the image,  U = G w G^T  for every kernel w
    M[p] = U[p] V[p]  summed over channels, for each of the 16 places p;  2x2 pixels are A^T M A

U is made first, for everyone, and so is V where several chunks need a part of it.  A chunk then takes a block of tiles
and some rows of weights: its V stays in the second level cache while the micro-kernel of the matrix product runs over
it, and a panel of M goes to its pixels right away.
Tiles are numbered through all images; a *run* of tiles lies in one row of tiles.

S. Winograd, "Arithmetic complexity of computations", 1980; A. Lavin and S. Gray, "Fast algorithms for convolutional
neural networks", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..runtime import cpu
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from .blocking import GRAIN, STAY
from .conv_problem import ConvSpec, Problem, by_pixels, dense_window
from .flow import Flow, phased_entry
from .gemm import Binding, Ready
from .image import Geometry
from .micro import Blocking, blocking, micro_kernel
from .pack import pack_kernel

__all__ = [
    "PLACES", "SIDE", "Winograd", "bind_winograd", "full_window", "suits", "turn_back", "turn_tile", "weight_values",
    "winograd_ir",
]  # fmt: skip

SIDE = 4
"""Rows and columns of a tile."""
PLACES = SIDE * SIDE
_CHUNKS = 16
"""Chunks aimed at."""
_LEAST_ROWS = 8
"""Panels of weights that a chunk has at least: it transforms its part of the image for itself."""
_GROUP = 16
"""Channels of weights that are transformed at a time."""
_SLICE = 64
"""Channels of the image that are transformed by a chunk, where they are for everyone."""
_RUN_WORDS = 5

WEIGHT_WORDS = ("w_row", "w_c", "w_at", "close", *(f"w_{i}" for i in range(9)))
"""How the weights lie: strides of rows and channels, the least offset of a tap, whether the taps fill 9 elements, their
offsets from the least."""

_WORDS = (
    "chunks", "pool", "pack_chunks", "x_n", "x_c", "x_h", "in_h", "in_w", "base_h", "base_w", "channels", "rows",
    "panels", "part", "parts", "tiles", "across", "high", "block", *WEIGHT_WORDS,
    "c_n", "c_row", "c_h", "c_at", "out_h", "out_w", "worker_at", "worker_bytes", "place_bytes", "m_at", "lines_at",
    "runs_at", "zeros_at", "depth", "pack", "micro", "ready", "blocks", "by_tiles", "image_chunks", "image_parts",
    "image_at", "image_bytes",
)  # fmt: skip


def full_window(g: Geometry) -> list[int] | None:
    """The offsets in the weights of a full 3x3 kernel of stride 1, by rows; None for another one."""
    found = dense_window(g)
    return found[2] if found is not None and found[0] == (3, 3, 1, 1) else None


def suits(spec: ConvSpec, isa: ISA, problems: Sequence[Problem]) -> bool:
    """Whether the algorithm is for these problems, and faster than the plain sum."""
    p = problems[0]
    g = p.geometry
    if len(problems) != 1 or p.groups != 1 or not spec.source == spec.acc == spec.out == "f32":
        return False
    if isa.name not in ("avx512", "avx2") or g.strides[4] != 1 or p.c_strides[4] != 1 or full_window(g) is None:
        return False
    # in products of the plain sum, as measured; vectors of tiles end with a row of them
    channels, rows, size = g.channels, p.rows, p.rows * g.channels
    high, across = -(-g.grid[1] // 2), -(-g.grid[2] // 2)
    lanes = isa.lanes("float")
    turning = p.batch * high * -(-across // lanes) * lanes * (13 * channels + 4 * rows)
    weights = 25 if size * PLACES * 4 <= 4 * cpu.cache_sizes().l2 else 38
    plain = p.batch * g.pixels * (size + 10 * channels + 2 * rows)
    return plain > (2.4 * p.batch * high * across + weights) * size + turning


def bind_winograd(
    spec: ConvSpec, isa: ISA, problem: Problem, pool: int, workers: int, tail_words: Sequence[int],
    ready: tuple[int, ...] | None = None,
) -> Binding:  # fmt: skip
    """The words for a problem that `suits`; ``ready`` says how weights lie that are given transformed."""
    g, num = problem.geometry, spec.number(isa)
    blk = blocking(num, isa)
    across, high = -(-g.grid[2] // 2), -(-g.grid[1] // 2)
    tiles = problem.batch * across * high
    panels = -(-problem.rows // blk.rows)
    width, size = blk.columns, num.acc_bytes
    # either a block of V stays in the second level cache, or one place of it does and M is kept for all panels
    room = cpu.cache_sizes().l2 * 5 // 8 // (PLACES * g.channels * size * width)
    deep = room == 0
    block = width * max(1, min(8 if deep else room, tiles // ((2 if deep else _CHUNKS) * width), 8))
    blocks = -(-tiles // block)
    parts = max(1, min(-(-_CHUNKS // blocks), panels // _LEAST_ROWS))
    part = -(-panels // parts)
    parts = -(-panels // part)
    place_bytes = block * g.channels * size
    image_bytes = PLACES * place_bytes
    shared = parts > 1
    m_at = 0 if shared else image_bytes
    depth = part if deep else 1
    lines_at = m_at + PLACES * depth * blk.rows * block * size
    zeros_at = lines_at + (4 * block + 2 * blk.lanes) * size
    runs_at = zeros_at + 64 * size
    worker_bytes = runs_at + -(-block * _RUN_WORDS * 8 // 64) * 64
    ready_bytes = PLACES * panels * g.channels * blk.pitch * size
    image_at = ready_bytes if ready is None else 0
    worker_at = image_at + blocks * image_bytes * shared
    image_parts = -(-g.channels // _SLICE)
    low = [min(tap[a] for tap in g.taps) + g.base[a] for a in range(3)]
    work = 2 * PLACES * tiles * (problem.rows * g.channels + 4 * problem.rows + 6 * g.channels)  # and transforms
    c_n, c_row, _, c_h, _ = problem.c_strides
    values = {
        "chunks": blocks * parts, "pool": pool if work > max(STAY, GRAIN) else 0, "pack_chunks": panels,
        "x_n": g.strides[0], "x_c": g.strides[1], "x_h": g.strides[3], "in_h": g.bounds[1], "in_w": g.bounds[2],
        "base_h": low[1], "base_w": low[2], "channels": g.channels, "rows": problem.rows, "panels": panels,
        "part": part, "parts": parts, "tiles": tiles, "across": across, "high": high, "block": block,
        **weight_values(problem),
        "c_n": c_n, "c_row": c_row, "c_h": c_h, "c_at": problem.c_at, "out_h": g.grid[1], "out_w": g.grid[2],
        "worker_at": worker_at, "worker_bytes": worker_bytes, "place_bytes": place_bytes, "m_at": m_at,
        "lines_at": lines_at, "runs_at": runs_at, "zeros_at": zeros_at, "depth": depth,
        "pack": pack_kernel(spec.source, num, isa), "micro": micro_kernel(num, isa), "ready": 0, "blocks": blocks,
        "by_tiles": int(by_pixels(problem, PLACES // 9 + 1)),
        "image_chunks": blocks * image_parts * shared, "image_parts": image_parts, "image_at": image_at,
        "image_bytes": image_bytes,
    }  # fmt: skip
    made = None
    if ready is not None:
        packing = values | {"chunks": 0, "image_chunks": 0}
        packing_words = (*(packing[name] for name in _WORDS), *tail_words)
        made = Ready(0, ("winograd", blk, *ready), ready_bytes, packing_words)
        values |= {"pack_chunks": 0, "ready": 1}
    words = [values[name] for name in _WORDS] + list(tail_words)
    return Binding(words, worker_at + max(workers, 1) * worker_bytes, False, made)


def winograd_ir(name: str, spec: ConvSpec, isa: ISA) -> str:
    """The module of the kernel."""
    return Winograd(name, spec, isa).text()


def weight_values(problem: Problem) -> dict[str, int]:
    """The `WEIGHT_WORDS` of a problem with a full window."""
    offsets = full_window(problem.geometry)
    assert offsets is not None
    places = [offset - min(offsets) for offset in offsets]
    close = int(sorted(places) == list(range(9)))
    return dict(zip(WEIGHT_WORDS, (problem.w_row, problem.w_c, min(offsets), close, *places), strict=True))


def turn_tile(b: Flow, d: list[Val]) -> list[Val]:
    """B^T d"""
    return [b.fsub(d[0], d[2]), b.fadd(d[1], d[2]), b.fsub(d[2], d[1]), b.fsub(d[1], d[3])]


def turn_back(b: Flow, x: list[Val]) -> list[Val]:
    """A^T x"""
    return [b.fadd(b.fadd(x[0], x[1]), x[2]), b.fsub(b.fsub(x[1], x[2]), x[3])]


class Winograd:
    """Writes the functions of the kernel."""

    names: tuple[str, ...] = _WORDS

    def __init__(self, name: str, spec: ConvSpec, isa: ISA) -> None:
        self.name, self.spec, self.isa, self.tail = name, spec, isa, spec.tail
        num = spec.number(isa)
        self.blk: Blocking = blocking(num, isa)
        self.lanes, self.size = self.blk.lanes, num.acc_bytes
        self.elem = num.acc_type
        self.vector = vec_type(self.elem, self.lanes)
        self.width, self.pitch = self.blk.rows, self.blk.pitch  # of a panel of U
        self.module = new_module(isa)

    def text(self) -> str:
        """The module: the entry, what makes U and V, and what makes blocks of the result."""
        arguments = ["params", "c", "a", "b", *(f"e{i}" for i in range(self.tail.buffers)), "scratch"]
        phases = [
            ("pack", self._write_pack, "pack_chunks"), ("image", self._write_image, "image_chunks"),
            ("body", self._write_body, "chunks"),
        ]  # fmt: skip
        phased_entry(self.module, self.isa, self.name, arguments, self.names, phases)
        return self.module.text()

    def _open(self, b: Flow, block: Val) -> tuple[Val, Val, Val, Val]:
        """Loads the words; returns the buffers (result, weights, image) and the scratch memory."""
        self.params = b.load("ptr", block, align=8)
        self.w = {name: b.word(self.params, i) for i, name in enumerate(self.names)}
        slots = (1, 2, 3, 4 + self.tail.buffers)
        c, weights, image, scratch = (b.load("ptr", b.at("i64", block, i), align=8) for i in slots)
        return c, weights, image, scratch

    def _extras(self, b: Flow, block: Val) -> list[Val]:
        """What the epilogue gets."""
        extras = [b.load("ptr", b.at("i64", block, 4 + i), align=8) for i in range(self.tail.buffers)]
        return extras + [b.word(self.params, len(self.names) + i) for i in range(self.tail.words)]

    def _write_pack(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Transforms one panel of weights: place by place, channel by channel, the rows side by side."""
        _, weights, _, scratch = self._open(b, block)
        w = self.w
        first = b.imul(chunk, self.width)
        count = b.imin(b.isub(w["rows"], first), self.width)
        line = b.at(self.elem, b.at(self.elem, weights, b.imul(first, w["w_row"])), w["w_at"])
        memory = b.alloca(f"[{_GROUP * 9 * self.pitch} x {self.elem}]")
        half = b.const(self.vector, 0.5)
        target = b.at(self.elem, scratch, b.imul(b.imul(chunk, w["channels"]), self.pitch))
        step = b.imul(b.imul(w["panels"], w["channels"]), self.pitch)

        def turn(x: list[Val]) -> list[Val]:
            """G x"""
            outer = b.fadd(x[0], x[2])
            return [x[0], b.fmul(half, b.fadd(outer, x[1])), b.fmul(half, b.fsub(outer, x[1])), x[2]]

        # the rows of some channels are laid side by side: all at once, a tap of all channels, a channel, or a tap
        close, single = b.icmp("ne", w["close"], 0), b.icmp("eq", w["w_c"], 1)
        whole = b.icmp("eq", b.imul(w["close"], w["w_c"]), 9)
        by_tap = b.op("and", single, b.icmp("eq", w["close"], 0))
        each_t = b.select(close, b.i64(9), b.i64(1))
        per_c = b.select(by_tap, b.i64(self.pitch), b.i64(9 * self.pitch))
        per_t = b.select(by_tap, b.i64(_GROUP * self.pitch), b.i64(self.pitch))

        def lay(group: Val, channels: Val) -> None:
            each_c = b.select(b.op("or", whole, by_tap), channels, b.i64(1))
            with b.loop(0, channels, each_c) as c, b.loop(0, 9, each_t) as t:
                tap = b.load("i64", b.at("i64", self.params, b.iadd(t.index, self.names.index("w_0"))), 8)
                offset = b.select(close, b.i64(0), tap)
                origin = b.at(self.elem, line, b.iadd(b.imul(b.iadd(group, c.index), w["w_c"]), offset))
                to = b.at(self.elem, memory, b.iadd(b.imul(c.index, per_c), b.imul(t.index, per_t)))
                k = b.imul(each_c, each_t)
                b.call_address(w["pack"], to, origin, w["w_row"], b.i64(1), count, k, b.i64(self.pitch))

        slots = [b.imul(b.select(close, w[f"w_{i}"], b.i64(i)), per_t) for i in range(9)]
        with b.loop(0, w["channels"], _GROUP) as group:
            channels = b.imin(b.isub(w["channels"], group.index), _GROUP)
            lay(group.index, channels)
            with b.loop(0, channels) as c, b.loop(0, self.pitch, self.lanes) as v:
                source = b.at(self.elem, memory, b.iadd(b.imul(c.index, per_c), v.index))
                loaded = [b.load(self.vector, b.at(self.elem, source, slot), 64) for slot in slots]
                columns = [turn(loaded[j::3]) for j in range(3)]
                rows = [turn([column[i] for column in columns]) for i in range(SIDE)]
                spot = b.at(self.elem, target, b.iadd(b.imul(b.iadd(group.index, c.index), self.pitch), v.index))
                for value in (v for row in rows for v in row):
                    b.store(value, spot, self.size)
                    spot = b.at(self.elem, spot, step)
        b.ret()

    def _write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        c, weights, image, scratch = self._open(b, block)
        w = self.w
        turned = b.select(b.icmp("ne", w["ready"], 0), weights, scratch)
        extras = self._extras(b, block)
        mine = b.bytes_at(scratch, b.iadd(w["worker_at"], b.imul(worker, w["worker_bytes"])))
        by_tiles = b.icmp("ne", w["by_tiles"], 0)
        several = b.select(by_tiles, w["parts"], w["blocks"])
        slow, fast = b.idiv(chunk, several), b.imod(chunk, several)
        number = b.select(by_tiles, slow, fast)
        tile0 = b.imul(number, w["block"])
        count = b.imin(w["block"], b.isub(w["tiles"], tile0))
        shared = b.icmp("ne", w["image_chunks"], 0)
        made = b.select(shared, self._image(b, scratch, number), mine)
        runs = self._runs(b, mine, made, image, tile0, count, b.i64(0), b.select(shared, b.i64(0), w["channels"]))
        first = b.imul(b.select(by_tiles, fast, slow), w["part"])
        end = b.imin(b.iadd(first, w["part"]), w["panels"])
        with b.loop(first, end, w["depth"]) as panel:
            row0 = b.imul(panel.index, self.blk.rows)
            rows = b.imin(b.isub(w["rows"], row0), b.imul(w["depth"], self.blk.rows))
            self._products(b, turned, made, mine, panel.index, b.imin(w["depth"], b.isub(end, panel.index)), count)
            with b.loop(0, rows) as row:
                self._pixels(b, mine, row.index, count)
                self._save(b, c, mine, runs, b.iadd(row0, row.index), extras)
        b.ret()

    # -- the image ---------------------------------------------------------------------------------------
    def _image(self, b: Flow, scratch: Val, number: Val) -> Val:
        """Where V of a block of tiles lies that several chunks read."""
        return b.bytes_at(scratch, b.iadd(self.w["image_at"], b.imul(number, self.w["image_bytes"])))

    def _write_image(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Transforms some channels of a block of tiles for everyone."""
        _, _, image, scratch = self._open(b, block)
        w = self.w
        mine = b.bytes_at(scratch, b.iadd(w["worker_at"], b.imul(worker, w["worker_bytes"])))
        number, part = b.idiv(chunk, w["image_parts"]), b.imod(chunk, w["image_parts"])
        tile0, first = b.imul(number, w["block"]), b.imul(part, _SLICE)
        count, end = b.imin(w["block"], b.isub(w["tiles"], tile0)), b.imin(b.iadd(first, _SLICE), w["channels"])
        self._runs(b, mine, self._image(b, scratch, number), image, tile0, count, first, end)
        b.ret()

    def _runs(self, b: Flow, mine: Val, made: Val, image: Val, tile0: Val, count: Val, first: Val, end: Val) -> Val:
        """Transforms some channels of a block of tiles run by run, and notes where the runs' pixels go; returns how
        many there are."""
        w, lanes = self.w, self.lanes
        zeros, table = b.bytes_at(mine, w["zeros_at"]), b.bytes_at(mine, w["runs_at"])
        for i in range(0, 64, lanes):
            b.store(b.const(self.vector, 0), b.at(self.elem, zeros, i), 64)
        per_image = b.imul(w["across"], w["high"])
        n, rest = b.idiv(tile0, per_image), b.imod(tile0, per_image)
        with b.loop(0, count, carry=[n, b.idiv(rest, w["across"]), b.imod(rest, w["across"]), b.i64(0)]) as run:
            n, high, across, number = run.values
            in_panel = b.imod(run.index, self.blk.columns)
            length = b.imin(b.imin(b.isub(w["across"], across), lanes), b.isub(count, run.index))
            length = b.imin(length, b.isub(self.blk.columns, in_panel))
            y, x = b.imul(high, 2), b.imul(across, 2)
            entry = b.at("i64", table, b.imul(number, _RUN_WORDS))
            pixel = b.iadd(b.imul(b.iadd(b.imul(n, w["out_h"]), y), w["out_w"]), x)
            target = b.iadd(b.iadd(w["c_at"], b.imul(n, w["c_n"])), b.iadd(b.imul(y, w["c_h"]), x))
            width = b.imin(b.imul(length, 2), b.isub(w["out_w"], x))
            some = b.imin(b.isub(w["out_h"], y), 2)
            for i, word in enumerate((b.imul(run.index, 2), width, target, some, pixel)):
                b.store(word, b.at("i64", entry, i), 8)
            with b.when(b.icmp("slt", first, end)):
                own = b.at(self.elem, image, b.iadd(b.imul(n, w["x_n"]), b.imul(first, w["x_c"])))
                self._tiles(b, made, own, zeros, y, x, run.index, length, first, end)
            run.step = length
            ended = b.icmp("eq", b.iadd(across, length), w["across"])
            down = b.iadd(high, b.cast("zext", ended, "i64"))
            over = b.icmp("eq", down, w["high"])
            run.next = [
                b.iadd(n, b.cast("zext", over, "i64")), b.select(over, b.i64(0), down),
                b.select(ended, b.i64(0), b.iadd(across, length)), b.iadd(number, 1),
            ]  # fmt: skip
        return run.values[3]

    def _tiles(
        self, b: Flow, made: Val, image: Val, zeros: Val, y: Val, x: Val, tile: Val, length: Val, first: Val, end: Val
    ) -> None:  # fmt: skip
        """Transforms a run of tiles of some channels, the first of which ``image`` is."""
        w, lanes = self.w, self.lanes
        x0, y0 = b.iadd(x, w["base_w"]), b.iadd(y, w["base_h"])
        places, limit = vec_type("i32", lanes), b.splat(b.cast("trunc", w["in_w"], "i32"), lanes)
        starts = (0, lanes, 2, lanes + 2)
        masks = [
            b.cmp("ult", b.add(b.iota(places), b.splat(b.cast("trunc", b.iadd(x0, s), "i32"), lanes)), limit)
            for s in starts
        ]
        lines, steps = [], []
        for i in range(SIDE):  # rows outside of the image are read from zeros
            row = b.iadd(y0, i)
            inside = b.icmp("ult", row, w["in_h"])
            line = b.at(self.elem, image, b.iadd(b.imul(row, w["x_h"]), x0))
            lines.append(b.select(inside, line, zeros))
            steps.append(b.select(inside, w["x_c"], b.i64(0)))
        panel, lane = b.idiv(tile, self.blk.columns), b.imod(tile, self.blk.columns)
        at = b.iadd(b.imul(b.iadd(b.imul(panel, w["channels"]), first), self.blk.columns), lane)

        def channels(mask: Val | None) -> None:
            with b.loop(first, end, carry=[*lines, b.at(self.elem, made, at)]) as c:
                *rows, target = c.values
                turned = []
                for line in rows:
                    parts = [
                        b.masked_load(self.vector, b.at(self.elem, line, s), m, self.size)
                        for s, m in zip(starts, masks, strict=True)
                    ]
                    d = [b.shuffle(parts[i], parts[i + 1], range(odd, 2 * lanes, 2)) for i in (0, 2) for odd in (0, 1)]
                    turned.append(turn_tile(b, d))
                for i, values in enumerate(zip(*[turn_tile(b, list(column)) for column in zip(*turned)])):
                    for j, value in enumerate(values):
                        spot = b.bytes_at(target, b.imul(w["place_bytes"], i * SIDE + j))
                        if mask is None:
                            b.store(value, spot, self.size)
                        else:
                            b.masked_store(value, spot, mask, self.size)
                c.next = [
                    *(b.at(self.elem, line, step) for line, step in zip(rows, steps, strict=True)),
                    b.at(self.elem, target, self.blk.columns),
                ]

        b.either(
            b.icmp("eq", length, lanes), lambda: channels(None), lambda: channels(b.lane_mask(length, lanes))
        )  # fmt: skip

    # -- products ----------------------------------------------------------------------------------------
    def _products(self, b: Flow, turned: Val, made: Val, mine: Val, first: Val, panels: Val, count: Val) -> None:
        """M of some panels of weights and all tiles of the block."""
        w, width = self.w, self.blk.columns
        u_bytes = b.imul(w["channels"], self.blk.pitch * self.size)
        v_bytes = b.imul(w["channels"], width * self.size)
        line = b.imul(w["block"], self.size)
        with b.loop(0, PLACES) as place, b.loop(0, panels) as own:
            panel = b.iadd(first, own.index)
            rows = b.imin(b.isub(w["rows"], b.imul(panel, self.blk.rows)), self.blk.rows)
            left = b.bytes_at(turned, b.imul(b.iadd(b.imul(place.index, w["panels"]), panel), u_bytes))
            right = b.bytes_at(made, b.imul(place.index, w["place_bytes"]))
            number = b.iadd(b.imul(place.index, w["depth"]), own.index)
            m = b.bytes_at(mine, b.iadd(w["m_at"], b.imul(number, b.imul(line, self.blk.rows))))
            with b.loop(0, count, width, carry=[right]) as j:
                cols = b.imin(b.isub(count, j.index), width)
                b.call_address(
                    w["micro"], left, b.i64(self.blk.pitch * self.size), b.i64(self.size), j.values[0],
                    b.i64(width * self.size), w["channels"], b.at(self.elem, m, j.index), line, b.i64(1), rows, cols,
                )  # fmt: skip
                j.next = [b.bytes_at(j.values[0], v_bytes)]

    # -- the result --------------------------------------------------------------------------------------
    def _pixels(self, b: Flow, mine: Val, row: Val, count: Val) -> None:
        """Two lines of pixels for a row of M."""
        w, lanes = self.w, self.lanes
        place = b.imul(w["block"], b.imul(w["depth"], self.blk.rows))
        m = b.at(self.elem, b.bytes_at(mine, w["m_at"]), b.imul(row, w["block"]))
        top = b.bytes_at(mine, w["lines_at"])
        lower = b.at(self.elem, top, b.imul(w["block"], 2))

        with b.loop(0, count, lanes) as v:
            spot = b.at(self.elem, m, v.index)
            values = [
                b.load(self.vector, b.at(self.elem, spot, b.imul(place, i)), self.size) for i in range(PLACES)
            ]  # fmt: skip
            columns = [turn_back(b, values[j::SIDE]) for j in range(SIDE)]
            for i, line in enumerate((top, lower)):
                left, right = turn_back(b, [column[i] for column in columns])
                for part in range(2):
                    order = [e // 2 + part * lanes // 2 + e % 2 * lanes for e in range(lanes)]
                    to = b.at(self.elem, line, b.iadd(b.imul(v.index, 2), part * lanes))
                    b.store(b.shuffle(left, right, order), to, self.size)

    def _save(self, b: Flow, c: Val, mine: Val, runs: Val, row: Val, extras: list[Val]) -> None:
        """Sends the pixels of a row of weights to the result, run by run."""
        w, lanes = self.w, self.lanes
        lines, table = b.bytes_at(mine, w["lines_at"]), b.bytes_at(mine, w["runs_at"])
        plane = b.at(self.elem, c, b.imul(row, w["c_row"]))
        with b.loop(0, runs) as run:
            source, width, target, some, pixel = (
                b.word(b.at("i64", table, b.imul(run.index, _RUN_WORDS)), i) for i in range(_RUN_WORDS)
            )
            start = [b.at(self.elem, lines, source), b.at(self.elem, plane, target), pixel]
            with b.loop(0, some, carry=start) as y:
                line, to, col = y.values
                with b.loop(0, width, lanes) as v:
                    acc = b.load(self.vector, b.at(self.elem, line, v.index), self.size)
                    spot, left = b.at(self.elem, to, v.index), b.isub(width, v.index)

                    def put(mask: Val | None) -> None:
                        value = self.tail.emit(
                            b, acc, row, b.iadd(col, v.index), b.i64(0), mask, extras.__getitem__
                        )  # fmt: skip
                        if mask is None:
                            b.store(value, spot, self.size)
                        else:
                            b.masked_store(value, spot, mask, self.size)

                    b.either(
                        b.icmp("sge", left, lanes), lambda: put(None), lambda: put(b.lane_mask(left, lanes))
                    )  # fmt: skip
                y.next = [
                    b.at(self.elem, line, b.imul(w["block"], 2)), b.at(self.elem, to, w["c_h"]), b.iadd(col, w["out_w"])
                ]  # fmt: skip
