"""Winograd's algorithm (see `winograd`) for images whose channels lie side by side.

    V = B^T d B  for vectors of channels of a tile;  M[p] = V[p] U[p], tiles by channels of the result;  A^T M A

Here tiles are the rows of the products and V is their left operand, which the micro-kernel reads where it is: a line of
channels for each tile and place.  So nothing is taken apart or turned over between image, product and result.  A chunk
takes a block of tiles and some panels of U; what it makes of the image stays in the second-level cache.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..runtime import cpu
from ..target.builder import Val
from ..target.isa import ISA
from .blocking import GRAIN, STAY
from .conv_problem import ConvSpec, Problem, by_pixels
from .flow import Flow, phased_entry
from .gemm import Binding, Ready
from .micro import LINE, blocking, micro_kernel
from .pack import pack_kernel
from .winograd import PLACES, SIDE, WEIGHT_WORDS, Winograd, full_window, turn_back, turn_tile, weight_values

__all__ = ["bind_winograd_last", "suits", "winograd_last_ir"]

_CHUNKS = 16
"""Chunks aimed at."""
_PANELS = 2
"""Panels of U that a chunk has at least."""
_TILES = 96
"""Tiles of a block at most."""
_LEAST = 24
"""Tiles of which all places of V should fit into the second-level cache; where they do not, one place of many tiles is
there at a time, and M is kept for all panels."""

_WORDS = (
    "chunks", "pool", "pack_chunks", "image_chunks", "x_n", "x_h", "x_w", "in_h", "in_w", "base_h", "base_w",
    "channels", "rows", "panels", "part", "parts", "tiles", "across", "high", "block", *WEIGHT_WORDS,
    "c_n", "c_h", "c_w", "c_at", "out_h", "out_w", "worker_at", "worker_bytes", "line", "place_bytes", "m_at",
    "m_bytes", "zeros_at", "depth", "pack", "micro", "ready", "blocks", "by_tiles", "image_at", "image_bytes",
)  # fmt: skip


def suits(spec: ConvSpec, isa: ISA, problems: Sequence[Problem]) -> bool:
    """Whether the algorithm is for these problems, and faster than the plain sum."""
    p = problems[0]
    g = p.geometry
    if len(problems) != 1 or p.groups != 1 or not spec.source == spec.acc == spec.out == "f32":
        return False
    if isa.name not in ("avx512", "avx2") or not hasattr(spec.tail, "transposed") or full_window(g) is None:
        return False
    lanes = isa.lanes("float")
    if g.strides[1] != 1 or p.c_strides[1] != 1 or min(g.channels, p.rows) < lanes:
        return False
    # in products of the plain sum
    size, tiles = p.rows * g.channels, p.batch * -(-g.grid[1] // 2) * -(-g.grid[2] // 2)
    turning = tiles * (13 * g.channels + 4 * p.rows)
    weights = 25 if size * PLACES * 4 <= 4 * cpu.cache_sizes().l2 else 38
    plain = p.batch * g.pixels * (size + 10 * g.channels + 2 * p.rows)
    return plain > (2.4 * tiles + weights) * size + turning


def bind_winograd_last(
    spec: ConvSpec, isa: ISA, problem: Problem, pool: int, workers: int, tail_words: Sequence[int],
    ready: tuple[int, ...] | None = None,
) -> Binding:  # fmt: skip
    """The words for a problem that `suits`; ``tail_words`` are for rows of pixels, and ``ready`` says how weights lie
    that are given transformed."""
    g, num = problem.geometry, spec.number(isa)
    blk = blocking(num, isa)
    width, size = blk.columns, num.acc_bytes
    across, high = -(-g.grid[2] // 2), -(-g.grid[1] // 2)
    tiles, panels = problem.batch * across * high, -(-problem.rows // width)
    # lines and places begin in different sets of the caches
    line = -(-g.channels // blk.lanes) * blk.lanes * size + LINE
    room = cpu.cache_sizes().l2 * 5 // 8
    deep = room // (PLACES * line) < _LEAST
    most = min(_TILES, room // (2 * line if deep else PLACES * line))
    block = max(1, min(most, -(-tiles // (2 if deep else _CHUNKS))) // blk.rows) * blk.rows
    blocks = -(-tiles // block)
    parts = max(1, min(-(-_CHUNKS // blocks), panels // _PANELS))
    part = -(-panels // parts)
    parts = -(-panels // part)
    place_bytes = block * line + LINE
    image_bytes = PLACES * place_bytes
    shared = parts > 1
    depth = part if deep else 1
    m_at = 0 if shared else image_bytes
    m_bytes = depth * block * width * size + LINE
    zeros_at = m_at + PLACES * m_bytes
    worker_bytes = zeros_at + line
    ready_bytes = PLACES * panels * g.channels * width * size
    image_at = ready_bytes if ready is None else 0
    worker_at = image_at + blocks * image_bytes * shared
    low = [min(tap[a] for tap in g.taps) + g.base[a] for a in range(3)]
    work = 2 * PLACES * tiles * (problem.rows * g.channels + 4 * problem.rows + 6 * g.channels)  # and transforms
    c_n, _, _, c_h, c_w = problem.c_strides
    values = {
        "chunks": blocks * parts, "pool": pool if work > max(STAY, GRAIN) else 0, "pack_chunks": panels,
        "image_chunks": blocks * shared, "x_n": g.strides[0], "x_h": g.strides[3], "x_w": g.strides[4],
        "in_h": g.bounds[1], "in_w": g.bounds[2], "base_h": low[1], "base_w": low[2], "channels": g.channels,
        "rows": problem.rows, "panels": panels, "part": part, "parts": parts, "tiles": tiles, "across": across,
        "high": high, "block": block, **weight_values(problem), "c_n": c_n, "c_h": c_h, "c_w": c_w,
        "c_at": problem.c_at, "out_h": g.grid[1], "out_w": g.grid[2], "worker_at": worker_at,
        "worker_bytes": worker_bytes, "line": line, "place_bytes": place_bytes, "m_at": m_at, "m_bytes": m_bytes,
        "zeros_at": zeros_at, "depth": depth, "pack": pack_kernel(spec.source, num, isa),
        "micro": micro_kernel(num, isa, in_place=True), "ready": 0, "blocks": blocks,
        "by_tiles": int(by_pixels(problem, PLACES // 9 + 1)), "image_at": image_at, "image_bytes": image_bytes,
    }  # fmt: skip
    made = None
    if ready is not None:
        packing = values | {"chunks": 0, "image_chunks": 0}
        packing_words = (*(packing[name] for name in _WORDS), *tail_words)
        made = Ready(1, ("winograd_last", blk, *ready), ready_bytes, packing_words)
        values |= {"pack_chunks": 0, "ready": 1}
    words = [values[name] for name in _WORDS] + list(tail_words)
    return Binding(words, worker_at + max(workers, 1) * worker_bytes, True, made)


def winograd_last_ir(name: str, spec: ConvSpec, isa: ISA) -> str:
    """The module of the kernel."""
    return _Last(name, spec, isa).text()


class _Last(Winograd):
    """Writes the functions of the kernel, whose entry takes the image before the weights."""

    names = _WORDS

    def __init__(self, name: str, spec: ConvSpec, isa: ISA) -> None:
        super().__init__(name, spec, isa)
        self.width = self.pitch = self.blk.columns

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
        c, image, weights, scratch = super()._open(b, block)
        return c, weights, image, scratch

    def _write_image(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Transforms a block of tiles for everyone."""
        _, _, image, scratch = self._open(b, block)
        w = self.w
        mine = b.bytes_at(scratch, b.iadd(w["worker_at"], b.imul(worker, w["worker_bytes"])))
        tile0 = b.imul(chunk, w["block"])
        count = b.imin(w["block"], b.isub(w["tiles"], tile0))
        self._tiles_of(b, self._image(b, scratch, chunk), image, mine, tile0, count)
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
        with b.when(b.icmp("eq", w["image_chunks"], 0)):
            self._tiles_of(b, made, image, mine, tile0, count)
        first = b.imul(b.select(by_tiles, fast, slow), w["part"])
        end = b.imin(b.iadd(first, w["part"]), w["panels"])
        with b.loop(first, end, w["depth"]) as panel:
            some = b.imin(w["depth"], b.isub(end, panel.index))
            self._products(b, turned, made, mine, panel.index, some, count)
            with b.loop(0, some) as own:
                self._save_panel(b, c, mine, tile0, count, b.iadd(panel.index, own.index), own.index, extras)
        b.ret()

    def _place(self, b: Flow, tile: Val) -> list[Val]:
        """The image of a tile, and its row and column among the image's tiles."""
        w = self.w
        per_image = b.imul(w["across"], w["high"])
        rest = b.imod(tile, per_image)
        return [b.idiv(tile, per_image), b.idiv(rest, w["across"]), b.imod(rest, w["across"])]

    def _following(self, b: Flow, n: Val, high: Val, across: Val) -> list[Val]:
        """Those of the next tile."""
        w, zero = self.w, b.i64(0)
        right = b.iadd(across, 1)
        ended = b.icmp("eq", right, w["across"])
        down = b.iadd(high, b.cast("zext", ended, "i64"))
        over = b.icmp("eq", down, w["high"])
        after = b.iadd(n, b.cast("zext", over, "i64"))
        return [after, b.select(over, zero, down), b.select(ended, zero, right)]

    def _tiles_of(self, b: Flow, made: Val, image: Val, mine: Val, tile0: Val, count: Val) -> None:
        """V of a block of tiles."""
        w, lanes = self.w, self.lanes
        zeros = b.bytes_at(mine, w["zeros_at"])
        with b.loop(0, w["channels"], lanes) as v:
            b.store(b.const(self.vector, 0), b.at(self.elem, zeros, v.index), self.size)
        with b.loop(0, count, carry=self._place(b, tile0)) as tile:
            n, high, across = tile.values
            tile.next = self._following(b, n, high, across)
            own = b.at(self.elem, image, b.imul(n, w["x_n"]))
            spots = []
            for i in range(SIDE):
                row = b.iadd(b.iadd(b.imul(high, 2), w["base_h"]), i)
                line, inside = b.at(self.elem, own, b.imul(row, w["x_h"])), b.icmp("ult", row, w["in_h"])
                for j in range(SIDE):
                    col = b.iadd(b.iadd(b.imul(across, 2), w["base_w"]), j)
                    there = b.op("and", inside, b.icmp("ult", col, w["in_w"]))
                    spots.append(b.select(there, b.at(self.elem, line, b.imul(col, w["x_w"])), zeros))
            target = b.bytes_at(made, b.imul(tile.index, w["line"]))

            def channels(at: Val, mask: Val | None, spots: list[Val] = spots, target: Val = target) -> None:
                places = [b.at(self.elem, spot, at) for spot in spots]
                if mask is None:
                    d = [b.load(self.vector, place, self.size) for place in places]
                else:
                    d = [b.masked_load(self.vector, place, mask, self.size) for place in places]
                columns = [turn_tile(b, d[j::SIDE]) for j in range(SIDE)]
                to = b.at(self.elem, target, at)
                for row in zip(*columns, strict=True):
                    for value in turn_tile(b, list(row)):
                        b.store(value, to, self.size)
                        to = b.bytes_at(to, w["place_bytes"])

            whole = b.op("and", w["channels"], b.i64(-lanes))
            with b.loop(0, whole, lanes) as v:
                channels(v.index, None)
            with b.when(b.icmp("ne", whole, w["channels"])):
                channels(whole, b.lane_mask(b.isub(w["channels"], whole), lanes))

    def _products(self, b: Flow, turned: Val, made: Val, mine: Val, first: Val, panels: Val, count: Val) -> None:
        """M of some panels of U and all tiles of the block."""
        w, step, size = self.w, self.blk.rows, self.size
        u_bytes = b.imul(w["channels"], self.width * size)
        row = self.width * size
        with b.loop(0, PLACES) as place, b.loop(0, panels) as own:
            panel = b.iadd(first, own.index)
            cols = b.imin(b.isub(w["rows"], b.imul(panel, self.width)), self.width)
            right = b.bytes_at(turned, b.imul(b.iadd(b.imul(place.index, w["panels"]), panel), u_bytes))
            left = b.bytes_at(made, b.imul(place.index, w["place_bytes"]))
            m = self._sums(b, mine, place.index, own.index)
            with b.loop(0, count, step) as i:
                rows = b.imin(b.isub(count, i.index), step)
                b.call_address(
                    w["micro"], b.bytes_at(left, b.imul(i.index, w["line"])), b.i64(size), w["line"], right, b.i64(row),
                    w["channels"], b.bytes_at(m, b.imul(i.index, row)), b.i64(row), b.i64(1), rows, cols,
                )  # fmt: skip

    def _sums(self, b: Flow, mine: Val, place: Val | int, own: Val) -> Val:
        """Where M lies for a place and one of the panels that are kept: a row of the panel's width for each tile."""
        w = self.w
        at = b.iadd(w["m_at"], b.imul(w["m_bytes"], place))
        return b.bytes_at(mine, b.iadd(at, b.imul(b.imul(own, w["block"]), self.width * self.size)))

    def _save_panel(
        self, b: Flow, c: Val, mine: Val, tile0: Val, count: Val, panel: Val, own: Val, extras: list[Val]
    ) -> None:
        """Makes pixels of a panel of M and stores them."""
        w, lanes = self.w, self.lanes
        first = b.imul(panel, self.width)
        cols = b.imin(b.isub(w["rows"], first), self.width)
        sums = [self._sums(b, mine, place, own) for place in range(PLACES)]
        with b.loop(0, count, carry=self._place(b, tile0)) as tile:
            n, high, across = tile.values
            tile.next = self._following(b, n, high, across)
            y, x = b.imul(high, 2), b.imul(across, 2)
            corner = b.iadd(b.iadd(w["c_at"], b.imul(n, w["c_n"])), b.iadd(b.imul(y, w["c_h"]), b.imul(x, w["c_w"])))
            pixel = b.iadd(b.imul(b.iadd(b.imul(n, w["out_h"]), y), w["out_w"]), x)
            at = b.imul(tile.index, self.width)
            with b.loop(0, cols, lanes) as v:
                place = b.iadd(at, v.index)
                m = [b.load(self.vector, b.at(self.elem, spot, place), self.size) for spot in sums]
                columns = [turn_back(b, m[j::SIDE]) for j in range(SIDE)]
                values = [turn_back(b, list(row)) for row in zip(*columns, strict=True)]
                channel, left = b.iadd(first, v.index), b.isub(cols, v.index)
                to = b.at(self.elem, c, b.iadd(corner, channel))

                def put(mask: Val | None) -> None:
                    for i, line in enumerate(values):
                        for j, acc in enumerate(line):
                            there = b.icmp("slt", b.iadd(y, i), w["out_h"])
                            there = b.op("and", there, b.icmp("slt", b.iadd(x, j), w["out_w"]))
                            with b.when(there):
                                row = b.iadd(pixel, b.iadd(b.imul(w["out_w"], i), j))
                                value = self.tail.emit(b, acc, row, channel, b.i64(0), mask, extras.__getitem__)
                                offset = b.iadd(b.imul(w["c_h"], i), b.imul(w["c_w"], j))
                                spot = b.at(self.elem, to, offset)
                                if mask is None:
                                    b.store(value, spot, self.size)
                                else:
                                    b.masked_store(value, spot, mask, self.size)

                b.either(b.icmp("sge", left, lanes), lambda: put(None), lambda: put(b.lane_mask(left, lanes)))
