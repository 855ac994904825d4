"""Maxima with their positions, and sums, over the windows of a pooling in one to three dimensions.

    spec = pool.PoolSpec("f32", "max", last=False)
    entry(params, value, index, x, scratch)      # a maximum;  entry(params, total, x, scratch) for a sum

Where the pixels of a row lie side by side, planes are spread out in scratch memory (see `plane`) and a vector is places
of a row; with channels last it is channels.  A maximum is the first one in the order of rows; NaN is greater than all.
Padding counts as the least number, or zero.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..runtime import engine
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from .conv_problem import three
from .epilogue import number_word
from .flow import Flow, phased_entry
from .gemm import Binding
from .micro import SIZE
from .plane import PLANE, PlaneCopy, spread

__all__ = ["PoolSpec", "bind", "kernel_name", "key", "make_ir", "requests"]

_VECTORS = 4
"""Vectors that are computed at a time."""
_SHARE = 1 << 17
"""Elements of windows in a chunk, about 20 us."""

_AXES = "dhw"
_WORDS = (
    "chunks", "pool", "pieces", "share", "worker_bytes", "value_at", "index_at", "bands", *PLANE, "in_w", "out_d",
    "out_h", "out_w", "all_channels", "x_n", "v_n", "v_c", "v_d", "v_h", "v_w", "i_n", "i_c", "i_d", "i_h", "i_w",
    *(f"{name}_{a}" for name in ("kernel", "before", "dilation") for a in _AXES), "taps", "table", "divisor",
)  # fmt: skip


@dataclass(frozen=True)
class PoolSpec:
    """What determines the code: f32 or f64, "max" or "sum", and whether channels come last."""

    type: str
    kind: str
    last: bool

    @property
    def results(self) -> int:
        """How many results there are."""
        return 2 if self.kind == "max" else 1


def kernel_name(spec: PoolSpec) -> str:
    """The symbol of the entry."""
    return f"pool_{spec.kind}_{'last_' if spec.last else ''}{spec.type}"


def key(spec: PoolSpec, isa: ISA) -> str:
    """Determines the code."""
    return f"{kernel_name(spec)}|{isa.key}"


def requests(spec: PoolSpec, isa: ISA) -> list[engine.Request]:
    """All code that a launch needs: for ``engine.load_many``."""
    return [engine.Request(kernel_name(spec), key(spec, isa), lambda: make_ir(spec, isa), isa)]


def bind(
    spec: PoolSpec,
    isa: ISA,
    x_shape: Sequence[int],
    x_strides: Sequence[int],
    out_shape: Sequence[int],
    out_strides: Sequence[Sequence[int]],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    divisor: int,
    pool: int,
    workers: int,
) -> Binding:
    """The words for images (batch, channels, *spatial); ``out_strides`` are those of each result.  Sums are divided by
    ``divisor``."""
    sizes, steps, pads, gaps = three(kernel, 1), three(stride, 1), three(padding, 0), three(dilation, 1)
    bounds, grid = three(x_shape[2:], 1), three(out_shape[2:], 1)
    places = list(itertools.product(*map(range, sizes)))
    taps = [[k * d - p for k, d, p in zip(place, gaps, pads, strict=True)] for place in places]
    codes = [
        ((a * gaps[0]) * bounds[1] + b * gaps[1]) * bounds[2] + c * gaps[2] for a, b, c in places
    ]  # fmt: skip
    size, lanes = SIZE[spec.type], isa.lanes(LLVM_TYPE[spec.type])
    layout = spread(bounds, grid, steps, [taps], 1, spec.results, lanes, size, _VECTORS)
    image_bytes, result_bytes = layout.values["filled"] * size, layout.place * size
    pieces = x_shape[0] * (grid[0] * grid[1] if spec.last else x_shape[1] * layout.bands)
    work = len(taps) * (grid[2] * x_shape[1] if spec.last else layout.place)
    share = max(1, min(_SHARE // work, -(-pieces // 16)))
    worker_bytes = 0 if spec.last else image_bytes + spec.results * result_bytes
    strides = [(*s[:2], *three(s[2:], 0)) for s in (x_strides, *out_strides)]
    index = strides[-1]
    residues = len(_WORDS)
    values = {
        "chunks": -(-pieces // share), "pool": pool if pieces * work > _SHARE else 0, "pieces": pieces, "share": share,
        "worker_bytes": worker_bytes, "value_at": image_bytes, "index_at": image_bytes + result_bytes,
        "bands": layout.bands, **layout.values, "in_w": bounds[2], "all_channels": x_shape[1],
        **dict(zip(("x_n", "x_c", "x_d", "x_h", "x_w"), strides[0], strict=True)),
        **dict(zip(("v_n", "v_c", "v_d", "v_h", "v_w"), strides[1], strict=True)),
        **dict(zip(("i_n", "i_c", "i_d", "i_h", "i_w"), index, strict=True)),
        **{f"out_{a}": n for a, n in zip(_AXES, grid, strict=True)},
        **{f"kernel_{a}": n for a, n in zip(_AXES, sizes, strict=True)},
        **{f"before_{a}": n for a, n in zip(_AXES, pads, strict=True)},
        **{f"dilation_{a}": n for a, n in zip(_AXES, gaps, strict=True)},
        "divisor": number_word(divisor, spec.type),
        "taps": len(taps), "residues": 8 * residues, "table": 8 * (residues + len(layout.residues)),
    }  # fmt: skip
    table = [word for pair in zip(layout.offsets[0], codes, strict=True) for word in pair]
    return Binding([values[name] for name in _WORDS] + layout.residues + table, worker_bytes * max(workers, 1))


def make_ir(spec: PoolSpec, isa: ISA) -> str:
    """The LLVM module of the kernel."""
    return (_Last if spec.last else _Planes)(spec, isa).text()


class _Pool(PlaneCopy):
    """What both kernels share."""

    def __init__(self, spec: PoolSpec, isa: ISA) -> None:
        least = -math.inf if spec.kind == "max" else 0.0
        super().__init__(spec.type, spec.type, isa.lanes(LLVM_TYPE[spec.type]), least)
        self.spec, self.isa, self.name = spec, isa, kernel_name(spec)
        self.module = new_module(isa)
        self.place = f"i{8 * self.size}"
        self.places = vec_type(self.place, self.lanes)

    def text(self) -> str:
        """The module."""
        arguments = ["params", *(f"r{i}" for i in range(self.spec.results)), "x", "scratch"]
        phases = [("body", self._write_body, "chunks")]
        phased_entry(self.module, self.isa, self.name, arguments, _WORDS, phases)
        return self.module.text()

    def _write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        slots = [b.load("ptr", b.at("i64", block, i), align=8) for i in range(3 + self.spec.results)]
        self.words, *self.results, self.image, scratch = slots
        self.w = w = {name: b.word(self.words, i) for i, name in enumerate(_WORDS)}
        self.mine = b.bytes_at(scratch, b.imul(worker, w["worker_bytes"]))
        start = b.imul(chunk, w["share"])
        self.prepare(b)
        with b.loop(start, b.imin(b.iadd(start, w["share"]), w["pieces"])) as piece:
            self.piece(b, piece.index)
        b.ret()

    def prepare(self, b: Flow) -> None:
        """Writes what comes before the pieces of a chunk."""

    def piece(self, b: Flow, piece: Val) -> None:
        """Writes the work on a piece."""
        raise NotImplementedError

    def divided(self, b: Flow, total: Val) -> Val:
        """What is stored for a sum; a maximum as it is."""
        if self.spec.results == 2:
            return total
        divisor = cast(b, b.cast("bitcast", self.w["divisor"], "double"), "f64", self.acc_code)
        return b.fdiv(total, b.splat(divisor, self.lanes))

    def offset(self, b: Flow, *pairs: tuple[Val, str]) -> Val:
        """The sum of places times strides (given by name)."""
        total = b.i64(0)
        for place, stride in pairs:
            total = b.iadd(total, b.imul(place, self.w[stride]))
        return total

    def join(self, b: Flow, x: Val, code: Val, best: Val, at: Val | None) -> tuple[Val, Val | None]:
        """Takes the element ``x`` at place ``code`` (i64) into a result and its position."""
        if at is None:
            return b.fadd(best, x), None
        better = b.op("or", b.cmp("ogt", x, best), b.cmp("uno", x, x))
        number = b.splat(b.cast("trunc", code, self.place) if self.place != "i64" else code, self.lanes)
        return b.select(better, x, best), b.select(better, number, at)

    def wide(self, b: Flow, at: Val) -> Val:
        """Positions as i64."""
        return at if self.place == "i64" else b.cast("sext", at, vec_type("i64", self.lanes))

    def first(self, b: Flow, place: Val, axis: str) -> Val:
        """The first tap of the window at ``place`` that lies in the image."""
        w = self.w
        below = b.isub(w[f"before_{axis}"], b.imul(place, w[f"step_{axis}"]))
        gap = w[f"dilation_{axis}"]
        return b.idiv(b.iadd(b.imax(below, 0), b.isub(gap, 1)), gap)

    def corner(self, b: Flow, place: Val, axis: str) -> Val:
        """Where the window at ``place`` begins in the image."""
        return b.isub(b.imul(place, self.w[f"step_{axis}"]), self.w[f"before_{axis}"])


class _Planes(_Pool):
    """A vector is places of a row."""

    def prepare(self, b: Flow) -> None:
        self.values, self.at = (b.bytes_at(self.mine, self.w[n]) for n in ("value_at", "index_at"))
        self.stored = [b.alloca(vec_type(e, self.lanes)) for e in (self.acc, "i64")]
        self.numbers = b.alloca(self.places)
        self.clear(b, self.mine, self.w["filled"], self.fill)

    def piece(self, b: Flow, piece: Val) -> None:
        w = self.w
        plane, h0 = b.idiv(piece, w["bands"]), b.imul(b.imod(piece, w["bands"]), w["band"])
        n, c = b.idiv(plane, w["all_channels"]), b.imod(plane, w["all_channels"])
        source = b.at(self.memory, self.image, self.offset(b, (n, "x_n"), (c, "x_c")))
        self.copy(b, w, self.words, self.mine, source, h0)
        self.windows(b)
        high = b.imin(w["band"], b.isub(w["out_h"], h0))
        with b.loop(0, w["out_d"]) as z, b.loop(0, high) as r:
            line = b.imul(b.iadd(b.imul(z.index, w["cells_h"]), r.index), w["pitch"])
            y = b.iadd(h0, r.index)
            at = [
                b.at(elem, to, self.offset(b, (n, s + "n"), (c, s + "c"), (z.index, s + "d"), (y, s + "h")))
                for elem, to, s in zip((self.acc, "i64"), self.results, ("v_", "i_"))
            ]
            self.row(b, line, z.index, y, at)

    def windows(self, b: Flow) -> None:
        """All places of the band."""
        w, lanes = self.w, self.lanes
        table = b.bytes_at(self.words, w["table"])
        count = self.spec.results * _VECTORS
        begin = [b.const(self.vector, self.fill)] * _VECTORS + [b.const(self.places, -1)] * (count - _VECTORS)
        with b.loop(0, w["run"], _VECTORS * lanes) as v:
            spot = b.at(self.acc, self.mine, v.index)
            with b.loop(0, w["taps"], carry=begin) as t:
                entry = b.at("i64", table, b.imul(t.index, 2))
                line, code = b.at(self.acc, spot, b.word(entry, 0)), b.word(entry, 1)
                made = []
                for i in range(_VECTORS):
                    x = b.load(self.vector, b.at(self.acc, line, i * lanes), self.acc_size)
                    made.append(
                        self.join(b, x, code, t.values[i], t.values[_VECTORS + i] if count > _VECTORS else None)
                    )
                t.next = [best for best, _ in made] + [at for _, at in made if at is not None]
            for i, value in enumerate(t.values):
                target, elem = (self.values, self.acc) if i < _VECTORS else (self.at, self.place)
                b.store(value, b.at(elem, target, b.iadd(v.index, i % _VECTORS * lanes)), 64)

    def row(self, b: Flow, line: Val, z: Val, y: Val, to: list[Val]) -> None:
        """Stores a row of the results."""
        w, lanes = self.w, self.lanes
        begin = b.iadd(b.imul(self.corner(b, z, "d"), w["in_h"]), self.corner(b, y, "h"))
        begin = b.imul(begin, w["in_w"])
        with b.loop(0, w["out_w"], lanes) as v:
            left = b.imin(b.isub(w["out_w"], v.index), lanes)
            mask = b.lane_mask(left, lanes)
            at = b.iadd(line, v.index)
            value = self.divided(b, b.load(self.vector, b.at(self.acc, self.values, at), self.acc_size))
            self.put(b, 0, value, to[0], v.index, left, mask)
            if self.spec.results == 2:
                found = self.positions(b, begin, z, y, v.index, at, left, mask)
                self.put(b, 1, found, to[1], v.index, left, mask)

    def positions(self, b: Flow, begin: Val, z: Val, y: Val, v: Val, at: Val, left: Val, mask: Val) -> Val:
        """The positions of a vector's maxima in the image, in a row of which the windows' first lines begin at
        ``begin``."""
        w, lanes = self.w, self.lanes
        wide = vec_type("i64", lanes)
        codes = b.load(self.places, b.at(self.place, self.at, at), self.acc_size)
        base = b.iadd(begin, self.corner(b, v, "w"))
        found = b.add(b.splat(base, lanes), b.mul(b.iota(wide), b.splat(w["step_w"], lanes)))
        found = b.add(found, self.wide(b, codes))
        none = b.op("and", b.cmp("slt", codes, b.const(self.places, 0)), mask)
        some = b.icmp("ne", b.cast("zext", b.cast("bitcast", none, f"i{lanes}"), "i64"), 0)

        def repaired() -> list[Val]:
            """Windows of least numbers only have their maximum at their first element."""
            b.store(codes, self.numbers, 64)
            b.store(found, self.stored[1], 64)
            with b.loop(0, left) as e:
                code = b.load(self.place, b.at(self.place, self.numbers, e.index), self.size)
                with b.when(b.cmp("slt", code, b.const(self.place, 0))):
                    where = b.i64(0)
                    for axis, place in zip(_AXES, (z, y, b.iadd(v, e.index)), strict=True):
                        tap = b.imul(self.first(b, place, axis), w[f"dilation_{axis}"])
                        size = {"d": b.i64(1), "h": w["in_h"], "w": w["in_w"]}[axis]
                        where = b.iadd(b.imul(where, size), b.iadd(self.corner(b, place, axis), tap))
                    b.store(where, b.at("i64", self.stored[1], e.index), 8)
            return [b.load(wide, self.stored[1], 64)]

        return b.choose(some, repaired, lambda: [found])[0]

    def put(self, b: Flow, which: int, value: Val, line: Val, at: Val, left: Val, mask: Val) -> None:
        """Stores a vector of a row of a result."""
        elem, stride = (self.acc, "i64")[which], self.w[("v_w", "i_w")[which]]
        size = 8 if which else self.acc_size
        spot = b.at(elem, line, b.imul(at, stride))

        def straight() -> None:
            b.either(
                b.icmp("eq", left, self.lanes),
                lambda: b.store(value, spot, size),
                lambda: b.masked_store(value, spot, mask, size),
            )

        def scatter() -> None:
            b.store(value, self.stored[which], 64)
            with b.loop(0, left) as e:
                one = b.load(elem, b.at(elem, self.stored[which], e.index), size)
                b.store(one, b.at(elem, spot, b.imul(e.index, stride)), size)

        b.either(b.icmp("eq", stride, 1), straight, scatter)


class _Last(_Pool):
    """A vector is channels of a pixel; a piece is a row of pixels."""

    def piece(self, b: Flow, piece: Val) -> None:
        w, lanes = self.w, self.lanes
        y, rest = b.imod(piece, w["out_h"]), b.idiv(piece, w["out_h"])
        z, n = b.imod(rest, w["out_d"]), b.idiv(rest, w["out_d"])
        image = b.at(self.memory, self.image, b.imul(n, w["x_n"]))
        with b.loop(0, w["out_w"]) as x:
            window = [self.window(b, place, axis) for place, axis in zip((z, y, x.index), _AXES, strict=True)]
            to = [
                b.at(elem, t, self.offset(b, (n, s + "n"), (z, s + "d"), (y, s + "h"), (x.index, s + "w")))
                for elem, t, s in zip((self.acc, "i64"), self.results, ("v_", "i_"))
            ]
            whole = b.imul(b.idiv(w["all_channels"], _VECTORS * lanes), _VECTORS * lanes)
            with b.loop(0, whole, _VECTORS * lanes) as c:
                self.channels(b, image, window, to, c.index, _VECTORS, None)
            with b.loop(whole, w["all_channels"], lanes) as c:
                mask = b.lane_mask(b.isub(w["all_channels"], c.index), lanes)
                self.channels(b, image, window, to, c.index, 1, mask)

    def window(self, b: Flow, place: Val, axis: str) -> tuple[Val, Val, Val]:
        """Where a window begins along an axis, and its first tap and end in the image."""
        w = self.w
        begin, gap = self.corner(b, place, axis), w[f"dilation_{axis}"]
        room = b.imax(b.isub(w[f"in_{axis}"], begin), 0)
        end = b.imin(w[f"kernel_{axis}"], b.idiv(b.iadd(room, b.isub(gap, 1)), gap))
        return begin, self.first(b, place, axis), end

    def channels(
        self, b: Flow, image: Val, window: list[tuple[Val, Val, Val]], to: list[Val], c: Val, vectors: int,
        mask: Val | None,
    ) -> None:  # fmt: skip
        """Some vectors of channels of a pixel."""
        w, lanes = self.w, self.lanes
        many = self.spec.results == 2

        def position(taps: Sequence[Val]) -> list[Val]:
            """Where taps lie, by axis."""
            return [
                b.iadd(begin, b.imul(tap, w[f"dilation_{axis}"]))
                for (begin, _, _), tap, axis in zip(window, taps, _AXES, strict=True)
            ]

        def number(place: list[Val]) -> Val:
            return b.iadd(b.imul(b.iadd(b.imul(place[0], w["in_h"]), place[1]), w["in_w"]), place[2])

        carry = [b.const(self.vector, self.fill)] * vectors
        if many:
            start = number(position([first for _, first, _ in window]))
            start = start if self.place == "i64" else b.cast("trunc", start, self.place)
            carry += [b.splat(start, lanes)] * vectors
        (_, d0, d1), (_, h0, h1), (_, w0, w1) = window
        with b.loop(d0, d1, carry=carry) as d:
            with b.loop(h0, h1, carry=d.values) as h:
                with b.loop(w0, w1, carry=h.values) as k:
                    place = position((d.index, h.index, k.index))
                    pixel = b.at(
                        self.memory, image, b.iadd(c, self.offset(b, *zip(place, ("x_d", "x_h", "x_w"), strict=True)))
                    )  # fmt: skip
                    code = number(place)
                    made = []
                    for i in range(vectors):
                        spot = b.at(self.memory, pixel, i * lanes)
                        if mask is None:
                            x = b.load(self.vector, spot, self.size)
                        else:
                            x = b.masked_load(self.vector, spot, mask, self.size)
                        made.append(self.join(b, x, code, k.values[i], k.values[vectors + i] if many else None))
                    k.next = [best for best, _ in made] + [at for _, at in made if at is not None]
                h.next = k.values
            d.next = h.values
        for i, value in enumerate(d.values):
            elem, size, base = (self.acc, self.acc_size, to[0]) if i < vectors else ("i64", 8, to[-1])
            spot = b.at(elem, b.at(elem, base, c), i % vectors * lanes)
            made_value = self.divided(b, value) if i < vectors else self.wide(b, value)
            if mask is None:
                b.store(made_value, spot, size)
            else:
                b.masked_store(made_value, spot, mask, size)
