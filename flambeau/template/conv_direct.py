"""Convolutions with few channels a group (depthwise ones above all), computed without packing.

Planes of the image are spread out in a worker's scratch memory (see `plane`), where every tap is one dense sum.
`sum_ir` is the forward convolution and the input gradient: each chunk makes some planes (an output channel of an
image), or bands of them.  `weight_ir` is the gradient by the weights: each chunk sums over the pixels of some pairs of
an input and an output channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from .conv_problem import ConvSpec, Problem
from .flow import Flow, phased_entry
from .gemm import Binding
from .image import Geometry
from .micro import SIZE
from .plane import PLANE, PlaneCopy, Spread, division, multiply_add, spread

__all__ = ["bind_sum", "bind_weight", "sum_ir", "weight_ir"]

_BLOCK = 8
"""Vectors of places that are computed at a time."""
_TOGETHER = 24 << 10
"""Bytes of planes that are copied before they are read: what has just been stored is slow to load."""
_TAPS = 9
"""Taps of a weight gradient that are summed at a time."""

_COMMON = ("chunks", "pool", "pieces", "share", "worker_bytes", "second_at", "bands", "together", *PLANE)
_SUM = (
    *_COMMON, "x_n", "x_group", "groups", "rows", "w_group", "w_row", "c_n", "c_row", "c_d", "c_h", "c_w",
    "flat", "out_d", "out_h", "out_w", "jump_d", "jump_h", "jump_w", "place", "problems", "table",
)  # fmt: skip
_WEIGHT = (
    *_COMMON, "x_n", "x_group", "rows", "images", "grid_d", "grid_h", "dy_n", "dy_c", "dy_d", "dy_h", "dy_w",
    "c_row", "c_c", "taps", "table", "pair_channels", "sums_at",
)  # fmt: skip


def _geometry_words(g: Geometry, layout: Spread) -> dict[str, int]:
    names = ("x_n", "x_c", "x_d", "x_h", "x_w")
    return {**layout.values, **dict(zip(names, g.strides, strict=True)), "bands": layout.bands}


def bind_sum(
    spec: ConvSpec, isa: ISA, problems: list[Problem], pool: int, workers: int, tail_words: Sequence[int]
) -> Binding:
    """The words for the problems of a convolution or an input gradient."""
    first = problems[0]
    g, jump, size = first.geometry, first.jump, SIZE[spec.acc]
    grid = [max(p.geometry.grid[a] for p in problems) for a in range(3)]
    out = [
        max(p.phase[a] + (p.geometry.grid[a] - 1) * jump[a] + 1 if 0 not in p.geometry.grid else 0 for p in problems)
        for a in range(3)
    ]
    taps = [[[x + t for x, t in zip(p.geometry.base, tap)] for tap in p.geometry.taps] for p in problems]
    phases = jump[0] * jump[1] * jump[2]
    lanes = isa.lanes(LLVM_TYPE[spec.acc])
    layout = spread(g.bounds, [max(n, 1) for n in grid], g.steps, taps, g.channels, phases, lanes, size, _BLOCK)
    planes = first.batch * first.groups * first.rows * (0 not in out)
    entries = sum(map(len, taps)) * g.channels
    pieces = planes * layout.bands
    chunks, share, parallel = division(pieces, layout.place * entries)
    image_bytes, result_bytes = layout.values["filled"] * size, layout.place * phases * size
    together = max(1, min(share, _TOGETHER // (image_bytes + result_bytes)))
    worker_bytes = together * (image_bytes + result_bytes)
    residues = len(_SUM) + len(tail_words)
    strides = [s // j for s, j in zip(first.c_strides[2:], jump)]
    values = {
        "chunks": chunks, "pool": pool if parallel else 0, "pieces": pieces, "share": share,
        "worker_bytes": worker_bytes, "second_at": together * image_bytes, "together": together,
        **_geometry_words(g, layout),
        "residues": 8 * residues, "table": 8 * (residues + len(layout.residues)), "place": layout.place,
        "problems": len(problems), "x_group": first.x_group, "groups": first.groups, "rows": first.rows,
        "w_group": first.w_group, "w_row": first.w_row,
        "flat": int(strides[1:] == [out[2], 1]), "c_n": first.c_strides[0], "c_row": first.c_strides[1],
        **dict(zip(("c_d", "c_h", "c_w", "out_d", "out_h", "out_w"), (*strides, *out), strict=True)),
        **dict(zip(("jump_d", "jump_h", "jump_w"), jump, strict=True)),
    }  # fmt: skip
    # for every problem its place among the results, its first entry and how many it has; then the entries: a tap's
    # offset in the buffer and in the weights
    head: list[int] = []
    body: list[int] = []
    for p, offsets in zip(problems, layout.offsets, strict=True):
        number = (p.phase[0] * jump[1] + p.phase[1]) * jump[2] + p.phase[2]
        head += [number * layout.place, len(body) // 2, len(offsets) * g.channels]
        for c in range(g.channels):
            for offset, tap in zip(offsets, p.geometry.taps, strict=True):
                body += [c * layout.values["channel"] + offset, c * p.w_c + tap[3]]
    words = [values[name] for name in _SUM] + list(tail_words) + layout.residues + head + body
    return Binding(words, worker_bytes * max(workers, 1))


def bind_weight(
    spec: ConvSpec,
    isa: ISA,
    g: Geometry,
    dw_shape: Sequence[int],
    dw_strides: Sequence[int],
    images: int,
    dy_strides: Sequence[int],
    groups: int,
    pool: int,
    workers: int,
    tail_words: Sequence[int],
) -> Binding:
    """The words for a gradient by weights; ``dy_strides`` are those of images, channels and three dimensions."""
    rows, channels = dw_shape[0] // groups, dw_shape[1]
    pairs, size = dw_shape[0] * channels, SIZE[spec.acc]
    taps = [[x + t for x, t in zip(g.base, tap)] for tap in g.taps]
    lanes = isa.lanes(LLVM_TYPE[spec.acc])
    layout = spread(g.bounds, [max(n, 1) for n in g.grid], g.steps, [taps], 1, 1, lanes, size, 1)
    chunks, share, parallel = division(pairs, images * g.pixels * len(g.taps))
    # a gradient lies where its image does
    image_bytes = layout.values["filled"] * size
    together = max(1, min(images * layout.bands, _TOGETHER // (2 * image_bytes)))
    sums_at = 2 * together * image_bytes
    worker_bytes = sums_at + len(taps) * lanes * size
    residues = len(_WEIGHT) + len(tail_words)
    values = {
        "chunks": chunks, "pool": pool if parallel else 0, "pieces": pairs, "share": share,
        "worker_bytes": worker_bytes, "second_at": together * image_bytes, "together": together,
        **_geometry_words(g, layout),
        "residues": 8 * residues, "table": 8 * (residues + len(layout.residues)),
        "x_group": channels * g.strides[1], "rows": rows, "images": images * (g.pixels > 0),
        "grid_d": g.grid[0], "grid_h": g.grid[1],
        **dict(zip(("dy_n", "dy_c", "dy_d", "dy_h", "dy_w"), dy_strides, strict=True)),
        "c_row": dw_strides[0], "c_c": dw_strides[1], "taps": len(taps), "pair_channels": channels, "sums_at": sums_at,
    }  # fmt: skip
    table = [word for offset, tap in zip(layout.offsets[0], g.taps, strict=True) for word in (offset, tap[3])]
    words = [values[name] for name in _WEIGHT] + list(tail_words) + layout.residues + table
    return Binding(words, worker_bytes * max(workers, 1))


def sum_ir(name: str, spec: ConvSpec, isa: ISA) -> str:
    """The module of the kernel for forward convolutions and input gradients."""
    return _Sum(name, spec, isa, _SUM).text()


def weight_ir(name: str, spec: ConvSpec, isa: ISA) -> str:
    """The module of the kernel for gradients by weights."""
    return _Weight(name, spec, isa, _WEIGHT).text()


class _Direct(PlaneCopy):
    """What both kernels share: the entry, and reading the block."""

    def __init__(self, name: str, spec: ConvSpec, isa: ISA, words: tuple[str, ...]) -> None:
        super().__init__(spec.source, spec.acc, isa.lanes(LLVM_TYPE[spec.acc]))
        self.name, self.spec, self.isa, self.names = name, spec, isa, words
        self.tail = spec.tail
        self.module = new_module(isa)
        self.out, self.out_size = LLVM_TYPE[spec.out], SIZE[spec.out]

    def text(self) -> str:
        """The module."""
        arguments = ["params", "c", "a", "b", *(f"e{i}" for i in range(self.tail.buffers)), "scratch"]
        phases = [("body", self.write_body, "chunks")]
        phased_entry(self.module, self.isa, self.name, arguments, self.names, phases)
        return self.module.text()

    def write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Writes the work of a chunk."""
        (c, first, image), extras = self.open(b, block, worker)
        w = self.w
        start = b.imul(chunk, w["share"])
        self.clear(b, self.buffer, b.imul(w["filled"], w["together"]), self.fill)
        self.pieces(b, start, b.imin(b.iadd(start, w["share"]), w["pieces"]), c, first, image, extras)
        b.ret()

    def pieces(self, b: Flow, start: Val, end: Val, c: Val, first: Val, image: Val, extras: list[Val]) -> None:
        """Writes the work on some planes or pairs of planes."""
        raise NotImplementedError

    def open(self, b: Flow, block: Val, worker: Val) -> tuple[list[Val], list[Val]]:
        """Loads the words; returns the buffers (result, a, b) and what the epilogue gets."""

        def slot(index: int, type_: str = "ptr") -> Val:
            return b.load(type_, b.at("i64", block, index), align=8)

        self.words = slot(0)
        self.w = {name: b.word(self.words, i) for i, name in enumerate(self.names)}
        extras = [slot(4 + i) for i in range(self.tail.buffers)]
        scratch = slot(4 + self.tail.buffers)
        extras += [b.word(self.words, len(self.names) + i) for i in range(self.tail.words)]
        self.buffer = b.bytes_at(scratch, b.imul(worker, self.w["worker_bytes"]))
        self.second = b.bytes_at(self.buffer, self.w["second_at"])
        self.table = b.bytes_at(self.words, self.w["table"])
        return [slot(i) for i in (1, 2, 3)], extras

    def offset(self, b: Flow, *pairs: tuple[Val, str]) -> Val:
        """The sum of places times strides (given by name)."""
        total = b.i64(0)
        for place, stride in pairs:
            total = b.iadd(total, b.imul(place, self.w[stride]))
        return total


class _Sum(_Direct):
    """Planes of ``sum over channels and taps of w * x``."""

    def pieces(self, b: Flow, start: Val, end: Val, c: Val, first: Val, image: Val, extras: list[Val]) -> None:
        w = self.w
        entries = b.at("i64", self.table, b.imul(w["problems"], 3))
        results = b.imul(w["place"], b.imul(w["jump_d"], b.imul(w["jump_h"], w["jump_w"])))
        sizes = (w["bands"], w["rows"], w["groups"])
        state, rest = [], start
        for size in sizes:
            state.append(b.imod(rest, size))
            rest = b.idiv(rest, size)
        with b.loop(start, end, w["together"], carry=[*state, rest]) as some:
            count = b.imin(w["together"], b.isub(end, some.index))

            def each(make: Callable[[Val, Val, list[Val]], None]) -> list[Val]:
                """Goes through the pieces with their band, row, group and image; returns those of the next one."""
                with b.loop(0, count, carry=some.values) as i:
                    buffer = b.at(self.acc, self.buffer, b.imul(i.index, w["filled"]))
                    result = b.at(self.acc, self.second, b.imul(i.index, results))
                    make(buffer, result, i.values)
                    following, more = [], b.i64(1)
                    for value, size in zip(i.values, sizes, strict=False):
                        value = b.iadd(value, more)
                        over = b.icmp("eq", value, size)
                        following.append(b.select(over, b.i64(0), value))
                        more = b.cast("zext", over, "i64")
                    i.next = [*following, b.iadd(i.values[3], more)]
                return i.values

            def load(buffer: Val, result: Val, at: list[Val]) -> None:
                band, _, group, n = at
                source = b.at(self.memory, image, self.offset(b, (n, "x_n"), (group, "x_group")))
                self.copy(b, w, self.words, buffer, source, b.imul(band, w["band"]))

            def compute(buffer: Val, result: Val, at: list[Val]) -> None:
                own = b.at(self.memory, first, self.offset(b, (at[2], "w_group"), (at[1], "w_row")))
                with b.loop(0, w["problems"]) as problem:
                    head = b.at("i64", self.table, b.imul(problem.index, 3))
                    target = b.at(self.acc, result, b.word(head, 0))
                    begin = b.at("i64", entries, b.imul(b.word(head, 1), 2))
                    self.sums(b, buffer, own, begin, b.word(head, 2), target)

            def save(buffer: Val, result: Val, at: list[Val]) -> None:
                band, row, group, n = at
                channel = b.iadd(b.imul(group, w["rows"]), row)
                to = b.at(self.out, c, self.offset(b, (n, "c_n"), (channel, "c_row")))
                self.rows(b, result, to, b.imul(band, w["band"]), n, row, group, extras)

            for make in (load, compute, save):
                some.next = each(make)

    def sums(self, b: Flow, buffer: Val, own: Val, entries: Val, count: Val, target: Val) -> None:
        """All places of a result, a block of vectors at a time."""
        lanes = self.lanes
        zero = b.const(self.vector, 0)

        def some(start: Val, vectors: int) -> None:
            spot = b.at(self.acc, buffer, start)
            with b.loop(0, count, carry=[zero] * vectors) as e:
                entry = b.at("i64", entries, b.imul(e.index, 2))
                raw = b.load(self.memory, b.at(self.memory, own, b.word(entry, 1)), self.size)
                factor = b.splat(cast(b, raw, self.source, self.acc_code), lanes)
                line = b.at(self.acc, spot, b.word(entry, 0))
                e.next = [
                    multiply_add(
                        b, self.isa, factor, b.load(self.vector, b.at(self.acc, line, i * lanes), self.acc_size), acc
                    )
                    for i, acc in enumerate(e.values)
                ]
            for i, acc in enumerate(e.values):
                b.store(acc, b.at(self.acc, b.at(self.acc, target, start), i * lanes), 64)

        run = self.w["run"]
        with b.loop(0, run, _BLOCK * lanes) as v:
            left = b.isub(run, v.index)
            b.either(
                b.icmp("sgt", left, _BLOCK // 2 * lanes),
                lambda: some(v.index, _BLOCK),
                lambda: some(v.index, _BLOCK // 2),
            )

    def rows(self, b: Flow, result: Val, to: Val, h0: Val, n: Val, row: Val, group: Val, extras: list[Val]) -> None:
        """Stores the rows of a band."""
        w, lanes = self.w, self.lanes
        area = b.imul(w["out_h"], w["out_w"])
        first = b.imul(n, b.imul(w["out_d"], area))
        y0 = b.imul(h0, w["jump_h"])
        high = b.imin(b.imul(w["band"], w["jump_h"]), b.isub(w["out_h"], y0))
        spare = b.alloca(f"[{lanes} x {self.acc}]")
        stored = b.alloca(vec_type(self.out, lanes))

        def put(line: Val, pixel: Val, target: Val, fetch: Callable[[Val, Val], Val], room: Val) -> None:
            """Stores a row, after which ``room`` elements of the result from its start on are still to be stored."""

            def vector(v: Val, left: Val, mask: Val | None) -> None:
                value = self.tail.emit(b, fetch(line, v), row, b.iadd(pixel, v), group, mask, extras.__getitem__)
                spot = b.at(self.out, target, b.imul(v, w["c_w"]))

                def scatter() -> None:
                    b.store(value, stored, 64)
                    with b.loop(0, left) as e:
                        one = b.load(self.out, b.at(self.out, stored, e.index), self.out_size)
                        b.store(one, b.at(self.out, spot, b.imul(e.index, w["c_w"])), self.out_size)

                def straight() -> None:
                    if mask is None:
                        b.store(value, spot, self.out_size)
                        return
                    b.either(
                        b.icmp("sge", b.isub(room, v), lanes),
                        lambda: b.store(value, spot, self.out_size),
                        lambda: b.masked_store(value, spot, mask, self.out_size),
                    )

                b.either(b.icmp("eq", w["c_w"], 1), straight, scatter)

            whole = b.op("and", w["out_w"], b.i64(-lanes))
            with b.loop(0, whole, lanes) as v:
                vector(v.index, b.i64(lanes), None)
            with b.when(b.icmp("ne", whole, w["out_w"])):
                left = b.isub(w["out_w"], whole)
                vector(whole, left, b.lane_mask(left, lanes))

        def single(line: Val, v: Val) -> Val:
            return b.load(self.vector, b.at(self.acc, line, v), self.acc_size)

        def double(line: Val, v: Val) -> Val:
            at = b.at(self.acc, line, b.idiv(v, 2))
            parts = [b.load(self.vector, p, self.acc_size) for p in (at, b.at(self.acc, at, w["place"]))]
            return b.shuffle(parts[0], parts[1], [i // 2 + i % 2 * lanes for i in range(lanes)])

        def several(line: Val, v: Val) -> Val:
            with b.loop(0, lanes) as e:
                x = b.iadd(v, e.index)
                at = b.iadd(b.imul(b.imod(x, w["jump_w"]), w["place"]), b.idiv(x, w["jump_w"]))
                b.store(b.load(self.acc, b.at(self.acc, line, at), self.acc_size), b.at(self.acc, spare, e.index))
            return b.load(self.vector, spare, 64)

        def every(fetch: Callable[[Val, Val], Val]) -> None:
            across = b.imul(w["jump_w"], w["place"])
            with b.loop(0, w["out_d"]) as z:
                number = b.imul(b.imod(z.index, w["jump_d"]), w["jump_h"])
                inner = b.imul(b.imul(b.idiv(z.index, w["jump_d"]), w["cells_h"]), w["pitch"])
                line = b.at(self.acc, result, b.iadd(b.imul(number, across), inner))
                pixel = b.iadd(first, b.iadd(b.imul(z.index, area), b.imul(y0, w["out_w"])))
                target = b.at(self.out, to, self.offset(b, (z.index, "c_d"), (y0, "c_h")))
                with b.loop(0, high, w["jump_h"], carry=[line, pixel, target]) as r:
                    top = r.values[0]
                    count = b.imin(w["jump_h"], b.isub(high, r.index))
                    with b.loop(0, count, carry=r.values) as q:
                        line, pixel, target = q.values
                        room = b.imul(b.isub(high, b.iadd(r.index, q.index)), w["out_w"])
                        put(line, pixel, target, fetch, b.imul(room, w["flat"]))
                        q.next = [
                            b.at(self.acc, line, across), b.iadd(pixel, w["out_w"]), b.at(self.out, target, w["c_h"])
                        ]  # fmt: skip
                    r.next = [b.at(self.acc, top, w["pitch"]), *q.values[1:]]

        b.either(
            b.icmp("eq", w["jump_w"], 1),
            lambda: every(single),
            lambda: b.either(b.icmp("eq", w["jump_w"], 2), lambda: every(double), lambda: every(several)),
        )


class _Weight(_Direct):
    """Sums over pixels of ``dy * x`` for pairs of channels."""

    def pieces(self, b: Flow, start: Val, end: Val, c: Val, first: Val, image: Val, extras: list[Val]) -> None:
        w, lanes = self.w, self.lanes
        sums = b.bytes_at(self.buffer, w["sums_at"])
        self.clear(b, self.second, b.imul(w["filled"], w["together"]), 0)
        planes = b.imul(w["images"], w["bands"])
        with b.loop(start, end) as pair:
            row, channel = b.idiv(pair.index, w["pair_channels"]), b.imod(pair.index, w["pair_channels"])
            group = b.idiv(row, w["rows"])
            source = b.at(self.memory, image, self.offset(b, (group, "x_group"), (channel, "x_c")))
            gradient = b.at(self.memory, first, self.offset(b, (row, "dy_c")))
            self.clear(b, sums, b.imul(w["taps"], lanes), 0)
            with b.loop(0, planes, w["together"]) as some:
                count = b.imin(w["together"], b.isub(planes, some.index))
                with b.loop(0, count) as i:
                    plane, at = b.iadd(some.index, i.index), b.imul(i.index, w["filled"])
                    n, h0 = b.idiv(plane, w["bands"]), b.imul(b.imod(plane, w["bands"]), w["band"])
                    own = b.at(self.memory, source, b.imul(n, w["x_n"]))
                    self.copy(b, w, self.words, b.at(self.acc, self.buffer, at), own, h0)
                    line = b.at(self.memory, gradient, b.imul(n, w["dy_n"]))
                    self.gradient(b, line, h0, b.at(self.acc, self.second, at))
                # between the planes there are only zeros
                run = b.iadd(b.imul(b.isub(count, 1), w["filled"]), w["run"])
                with b.loop(0, w["taps"], _TAPS) as t:
                    self.taps(b, t.index, run, sums)
            to = b.at(self.out, c, self.offset(b, (row, "c_row"), (channel, "c_c")))
            self.finish(b, sums, to, b.imod(row, w["rows"]), channel, group, extras)

    def gradient(self, b: Flow, plane: Val, h0: Val, target: Val) -> None:
        """Copies the rows of a band of the output gradient; what lies between them stays zero."""
        w, lanes = self.w, self.lanes
        straight = b.icmp("eq", w["dy_w"], 1)
        with b.loop(0, w["grid_d"]) as d, b.loop(0, w["band"]) as h:
            at = b.imul(b.iadd(b.imul(d.index, w["cells_h"]), h.index), w["pitch"])
            to = b.at(self.acc, target, at)
            y = b.iadd(h0, h.index)
            line = b.at(self.memory, plane, self.offset(b, (d.index, "dy_d"), (y, "dy_h")))

            def vectors() -> None:
                with b.loop(0, w["grid_w"], lanes) as v:
                    left = b.isub(w["grid_w"], v.index)
                    b.store(self.part(b, line, v.index, left), b.at(self.acc, to, v.index), self.acc_size)

            def each() -> None:
                with b.loop(0, w["grid_w"]) as i:
                    value = b.load(self.memory, b.at(self.memory, line, b.imul(i.index, w["dy_w"])), self.size)
                    b.store(cast(b, value, self.source, self.acc_code), b.at(self.acc, to, i.index), self.acc_size)

            b.either(
                b.icmp("slt", y, w["grid_h"]),
                lambda: b.either(straight, vectors, each),
                lambda: self.clear(b, to, w["grid_w"], 0),
            )

    def taps(self, b: Flow, first: Val, run: Val, sums: Val) -> None:
        """Adds the products of the buffers to the sums of some taps."""
        w, lanes = self.w, self.lanes
        last = b.isub(w["taps"], 1)
        lines, spots = [], []
        for i in range(_TAPS):  # those that are too many are the last one's, and stored before it
            t = b.imin(b.iadd(first, _TAPS - 1 - i), last)
            lines.append(b.at(self.acc, self.buffer, b.word(b.at("i64", self.table, b.imul(t, 2)), 0)))
            spots.append(b.at(self.vector, sums, t))
        before = [b.load(self.vector, spot, 64) for spot in spots]
        with b.loop(0, run, lanes, carry=before) as v:
            gradient = b.load(self.vector, b.at(self.acc, self.second, v.index), 64)
            v.next = [
                multiply_add(
                    b, self.isa, gradient, b.load(self.vector, b.at(self.acc, line, v.index), self.acc_size), acc
                )
                for line, acc in zip(lines, v.values, strict=True)
            ]
        for spot, acc in zip(spots, v.values, strict=True):
            b.store(acc, spot, 64)

    def finish(self, b: Flow, sums: Val, to: Val, row: Val, channel: Val, group: Val, extras: list[Val]) -> None:
        """Adds up the lanes of every tap and stores the results, in vectors of one."""
        w = self.w
        with b.loop(0, w["taps"]) as t:
            acc = b.load(self.vector, b.at(self.vector, sums, t.index), 64)
            half = self.lanes
            while half > 1:  # halves are added to halves
                half //= 2
                order = [*range(half, 2 * half), *[0] * (self.lanes - half)]
                acc = b.fadd(acc, b.shuffle(acc, acc, order))
            vector = b.splat(b.extract(acc, 0), self.lanes)
            col = b.iadd(b.imul(channel, w["taps"]), t.index)
            mask = b.lane_mask(b.i64(1), self.lanes)
            value = self.tail.emit(b, vector, row, col, group, mask, extras.__getitem__)
            offset = b.word(b.at("i64", self.table, b.imul(t.index, 2)), 1)
            b.store(b.extract(value, 0), b.at(self.out, to, offset), self.out_size)
