"""Packing for convolutions: panels of pixels by taps and channels (``patches.py``: of taps and channels by pixels).

Nothing is unrolled into memory ("im2col") but a block that stays in the second-level cache.  The image's values are
zero outside its bounds.  A *problem* is described by words (`GEOMETRY`) and a table of taps; units of the inner
dimension are numbered ``unit_c * channel + unit_t * tap``, where with pairs two channels count as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

from ..runtime import engine
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from ..target.turn import transpose
from .flow import Flow, function
from .micro import SIZE, Number, blocking, load_address

__all__ = [
    "GEOMETRY",
    "GRID",
    "TAP_WORDS",
    "Fetch",
    "Geometry",
    "ImageReader",
    "Packer",
    "channel_range",
    "image_kernel",
    "image_request",
    "packer_request",
]

GRID = ("out_d", "out_h", "out_w")

GEOMETRY = (
    "x_n", "x_c", "x_d", "x_h", "x_w",  # strides of the image in elements
    "in_d", "in_h", "in_w",  # its bounds
    *GRID,  # the pixels
    "step_d", "step_h", "step_w",  # distance of pixels in the image
    "base_d", "base_h", "base_w",  # place of the first pixel
    "channels", "taps", "unit_c", "unit_t",
    "tap_table",  # byte offset of the table from the problem's words
)  # fmt: skip


TAP_WORDS = 4
"""Words of a tap: its offset in depth, height and width, and its offset in the weights."""

_RUNS = 4
"""Runs of pixels that are merged into a vector at a time."""


@dataclass(frozen=True)
class Geometry:
    """The words of `GEOMETRY` but for the table's place, and the table."""

    strides: tuple[int, ...]
    bounds: tuple[int, int, int]
    grid: tuple[int, int, int]
    steps: tuple[int, int, int]
    base: tuple[int, int, int]
    channels: int
    taps: tuple[tuple[int, int, int, int], ...]

    @property
    def pixels(self) -> int:
        """Pixels of one image."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    def values(self, unit_c: int, unit_t: int, table: int) -> dict[str, int]:
        """The words by name."""
        numbers = [*self.strides, *self.bounds, *self.grid, *self.steps, *self.base]
        numbers += [self.channels, len(self.taps), unit_c, unit_t, table]
        return dict(zip(GEOMETRY, numbers, strict=True))


_ARGS = [("ptr noalias", "to"), ("ptr", "from"), ("ptr", "words")]
_ARGS += [("i64", n) for n in ("first", "count", "at", "units", "pitch")]


def image_request(source: str, num: Number, isa: ISA, words: tuple[str, ...]) -> engine.Request:
    """What `image_kernel` asks the engine for."""
    return packer_request("image", partial(_ImagePacker, source, num, isa, words), source, num, isa)


def packer_request(kind: str, packer: Callable[[], Packer], source: str, num: Number, isa: ISA) -> engine.Request:
    name = f"{kind}_{source}_{num.code}"

    def make() -> str:
        module = new_module(isa)
        function(module, isa, name, _ARGS, packer().write, linkage="")
        return module.text()

    return engine.Request(name, f"{name}|{isa.key}", make, isa)


@cache
def image_kernel(source: str, num: Number, isa: ISA, words: tuple[str, ...]) -> int:
    """The address of the packing function of pixels:

    ``image(ptr to, ptr from, ptr words, i64 first, i64 count, i64 at, i64 units, i64 pitch)``

    packs units [at, at + units) of ``count`` pixels from number ``first`` on (over all images).
    """
    return load_address(image_request(source, num, isa, words))


class ImageReader:
    """Code that walks over pixels and reads what taps meet; ``w`` are the words of `GEOMETRY` by name."""

    def __init__(self, source: str, lanes: int) -> None:
        self.source, self.lanes = source, lanes
        self.memory, self.size = LLVM_TYPE[source], SIZE[source]
        self.w: dict[str, Val] = {}

    def place(self, b: Flow, pixel: Val) -> list[Val]:
        """Image, depth, height and width of a pixel counted through all images."""
        w = self.w
        area = b.imul(w["out_h"], w["out_w"])
        pixels = b.imul(w["out_d"], area)
        rest = b.imod(pixel, pixels)
        in_area = b.imod(rest, area)
        return [b.idiv(pixel, pixels), b.idiv(rest, area), b.idiv(in_area, w["out_w"]), b.imod(in_area, w["out_w"])]

    def next_row(self, b: Flow, n: Val, d: Val, h: Val) -> list[Val]:
        """Image, depth and height of the row of pixels after this one."""
        w, zero = self.w, b.i64(0)
        over = b.icmp("sge", b.iadd(h, 1), w["out_h"])
        d_next = b.iadd(d, b.cast("zext", over, "i64"))
        deep = b.icmp("sge", d_next, w["out_d"])
        n_next = b.iadd(n, b.cast("zext", deep, "i64"))
        return [n_next, b.select(deep, zero, d_next), b.select(over, zero, b.iadd(h, 1))]

    def corner(self, b: Flow, d: Val, h: Val, w: Val) -> list[Val]:
        """Where the first tap of a pixel lies in the image."""
        return [b.iadd(b.imul(i, self.w[f"step_{a}"]), self.w[f"base_{a}"]) for i, a in ((d, "d"), (h, "h"), (w, "w"))]

    def line(self, b: Flow, image: Val, z: Val, y: Val, x: Val, channel: Val) -> tuple[Val, Val]:
        """Whether a row of the image exists, and the address of its place x (which may lie outside)."""
        w = self.w
        inside = b.op("and", b.icmp("ult", z, w["in_d"]), b.icmp("ult", y, w["in_h"]))
        offset = b.iadd(b.imul(z, w["x_d"]), b.imul(y, w["x_h"]))
        offset = b.iadd(offset, b.iadd(b.imul(x, w["x_w"]), b.imul(channel, w["x_c"])))
        return inside, b.at(self.memory, image, offset)

    def dense(self, b: Flow) -> Val:
        """Whether neighbouring pixels lie side by side."""
        return b.icmp("eq", b.imul(self.w["step_w"], self.w["x_w"]), 1)

    def even(self, b: Flow) -> Val:
        """Whether pixels are every other element."""
        return b.op("and", b.icmp("eq", self.w["step_w"], 2), b.icmp("eq", self.w["x_w"], 1))

    def each_kind(self, b: Flow, run: Callable[[str], None]) -> None:
        """Calls ``run(kind)`` in a branch for each kind of stride: "dense", "even" (see above) or "sparse"."""
        b.either(
            self.dense(b),
            lambda: run("dense"),
            lambda: b.either(self.even(b), lambda: run("even"), lambda: run("sparse")),
        )

    def fetch(self, b: Flow, kind: str, x: Val, wanted: Val) -> Fetch:
        """``fetch(pointer, extra, other)`` loads what pixels read, the first one of which reads place ``x`` of its row,
        at ``pointer``: zero outside the row and if not ``extra``, and ``other`` (default: zero) where not ``wanted``.
        (``other`` is zero where ``wanted``.)"""
        masks = self.masks(b, kind, x, wanted)

        def load(at: Val, extra: Val, other: Val | None = None) -> Val:
            return self.load(b, kind, at, [self._both(b, mask, extra) for mask in masks], wanted, other)

        return load

    def masks(self, b: Flow, kind: str, x: Val, wanted: Val) -> list[Val]:
        """The masks for `load`."""
        if kind != "even":
            step = b.i64(1) if kind == "dense" else self.w["step_w"]
            return [b.op("and", wanted, self._within(b, x, step))]
        some = b.icmp("ne", b.cast("zext", b.cast("bitcast", wanted, f"i{self.lanes}"), "i64"), 0)
        return [self._both(b, self._within(b, b.iadd(x, part * self.lanes), b.i64(1)), some) for part in range(2)]

    def load(
        self, b: Flow, kind: str, at: Val, masks: list[Val], wanted: Val | None = None, other: Val | None = None
    ) -> Val:
        """Loads what pixels read, the first one at ``at``; lanes not ``wanted`` (default: all are) are ``other``."""
        lanes = self.lanes
        type_ = vec_type(self.memory, lanes)
        if kind == "dense":
            return b.masked_load(type_, at, masks[0], self.size, other)
        if kind == "sparse":
            offsets = b.mul(b.iota(vec_type("i64", lanes)), b.splat(b.imul(self.w["step_w"], self.w["x_w"]), lanes))
            spots = b.new(vec_type("ptr", lanes), f"getelementptr {self.memory}, {at}, {offsets}")
            return b.masked_gather(type_, spots, masks[0], self.size, other)
        low, high = (
            b.masked_load(type_, b.at(self.memory, at, part * lanes), mask, self.size)
            for part, mask in enumerate(masks)
        )
        value = b.shuffle(low, high, range(0, 2 * lanes, 2))
        if wanted is None:
            return value
        return b.select(wanted, value, b.const(type_, 0) if other is None else other)

    def load_whole(self, b: Flow, kind: str, at: Val) -> Val:
        """Loads what pixels read, all of which lie in the row; ``kind`` is "dense" or "even"."""
        lanes = self.lanes
        type_ = vec_type(self.memory, lanes)
        low = b.load(type_, at, self.size)
        if kind == "dense":
            return low
        return b.shuffle(low, b.load(type_, b.at(self.memory, at, lanes), self.size), range(0, 2 * lanes, 2))

    def _within(self, b: Flow, start: Val, step: Val) -> Val:
        """Which of the places start, start + step ... lie in the row."""
        places, lanes = vec_type("i32", self.lanes), self.lanes
        scaled = b.mul(b.iota(places), b.splat(b.cast("trunc", step, "i32"), lanes))
        spots = b.add(scaled, b.splat(b.cast("trunc", start, "i32"), lanes))
        return b.cmp("ult", spots, b.splat(b.cast("trunc", self.w["in_w"], "i32"), lanes))

    def _both(self, b: Flow, mask: Val, extra: Val) -> Val:
        return mask if extra.name == "true" else b.op("and", mask, b.splat(extra, self.lanes))


Fetch = Callable[..., Val]
"""What `ImageReader.fetch` returns."""


class _Run(NamedTuple):
    """Pixels of one row: the image's address, where the first tap of the first pixel lies, lanes and their mask."""

    image: Val
    corner: list[Val]
    lane: Val
    length: Val
    wanted: Val


class Packer(ImageReader):
    """What both packing functions know."""

    names: tuple[str, ...] = GEOMETRY

    def __init__(self, source: str, num: Number, isa: ISA, words: Sequence[str]) -> None:
        super().__init__(source, isa.lanes(num.unit))
        self.num, self.isa, self.blk = num, isa, blocking(num, isa)
        self.index = {name: words.index(name) for name in self.names}

    def write(
        self, b: Flow, to: Val, origin: Val, words: Val, first: Val, count: Val, at: Val, units: Val, pitch: Val
    ) -> None:
        """Writes the function's body."""
        raise NotImplementedError


class _ImagePacker(Packer):
    """Packs pixels.

    A vector of pixels consists of *runs* within rows of the grid.  For every tap the places that up to `_RUNS` of them
    read are found once; then the channels follow in a tight loop that merges the runs and stores once.

    Where the channels of a pixel lie side by side, blocks of pixels by channels are turned in registers instead.
    """

    def write(
        self, b: Flow, to: Val, origin: Val, words: Val, first: Val, count: Val, at: Val, units: Val, pitch: Val
    ) -> None:
        self.to, self.at, self.units, self.pitch = to, at, units, pitch
        self.w = w = {name: b.word(words, i) for name, i in self.index.items()}
        table = b.bytes_at(words, w["tap_table"])
        together = b.op("and", b.icmp("eq", w["x_c"], 1), b.icmp("eq", w["unit_c"], 1))
        together = b.op("and", together, b.icmp("sge", w["channels"], self.lanes // 2))
        if self.num.depth == 2:
            together = b.op("and", together, b.icmp("eq", b.imod(w["channels"], 2), 0))
        self.pointers, self.valid = (b.alloca(f"[{self.lanes} x i64]") for _ in range(2))
        self.corners = b.alloca(f"[{3 * self.lanes} x i64]")
        b.either(
            together,
            lambda: self.turn(b, to, origin, first, count, table),
            lambda: self.merge(b, to, origin, first, count, table),
        )
        b.ret()

    def turn(self, b: Flow, to: Val, origin: Val, first: Val, count: Val, table: Val) -> None:
        """Packs pixels whose channels lie side by side."""
        w, lanes = self.w, self.lanes

        def entry(array: Val, lane: Val | int) -> Val:
            return b.at("i64", array, lane)

        with b.loop(0, count, lanes) as group:
            some = b.imin(b.isub(count, group.index), lanes)
            with b.loop(0, some, carry=self.place(b, b.iadd(first, group.index))) as lane:
                n, d, h, ow = lane.values
                corner = self.corner(b, d, h, ow)
                offset = b.imul(n, w["x_n"])
                for i, (v, axis) in enumerate(zip(corner, "dhw", strict=True)):
                    offset = b.iadd(offset, b.imul(v, w[f"x_{axis}"]))
                    b.store(v, entry(self.corners, b.iadd(lane.index, i * lanes)), 8)
                b.store(offset, entry(self.pointers, lane.index), 8)
                ended = b.icmp("eq", b.iadd(ow, 1), w["out_w"])
                following = [*self.next_row(b, n, d, h), b.i64(0)]
                same = (n, d, h, b.iadd(ow, 1))
                lane.next = [b.select(ended, x, y) for x, y in zip(following, same, strict=True)]
            with b.loop(some, lanes) as lane:
                b.store(b.i64(0), entry(self.pointers, lane.index), 8)
            with b.loop(0, w["taps"]) as t:
                tap = b.at("i64", table, b.imul(t.index, TAP_WORDS))
                shift = [b.word(tap, i) for i in range(3)]
                with b.loop(0, lanes) as lane:
                    z, y, x = (
                        b.iadd(b.load("i64", entry(self.corners, b.iadd(lane.index, i * lanes)), 8), shift[i])
                        for i in range(3)
                    )
                    inside = b.op("and", b.icmp("ult", z, w["in_d"]), b.icmp("ult", y, w["in_h"]))
                    inside = b.op("and", inside, b.icmp("ult", x, w["in_w"]))
                    inside = b.op("and", inside, b.icmp("slt", lane.index, some))
                    b.store(b.cast("sext", inside, "i64"), entry(self.valid, lane.index), 8)
                moved = b.i64(0)
                for v, axis in zip(shift, "dhw", strict=True):
                    moved = b.iadd(moved, b.imul(v, w[f"x_{axis}"]))
                self.turn_tap(b, b.at(self.memory, origin, moved), t.index, b.at(self.num.unit, to, group.index))

    def turn_tap(self, b: Flow, origin: Val, tap: Val, target: Val) -> None:
        """Turns all channels of one tap for a vector of pixels."""
        w, lanes, num = self.w, self.lanes, self.num
        elem = num.unit if num.pair else self.memory
        c0, c1, row = channel_range(b, tap, w["channels"], w["unit_c"], w["unit_t"], self.at, self.units, num)
        units = b.isub(c1, c0)
        target = b.at(num.unit, target, b.imul(row, self.pitch))
        start = b.imul(c0, num.depth)
        with b.loop(0, units, lanes) as block:
            # the last block overlaps the one before, if there is one
            at = b.imin(block.index, b.imax(b.isub(units, lanes), 0))
            left = b.isub(units, at)
            mask = b.lane_mask(left, lanes)
            rows = []
            for i in range(lanes):
                offset = b.iadd(b.word(self.pointers, i), start)
                valid = b.icmp("ne", b.word(self.valid, i), 0)
                spot = b.at(elem, b.at(self.memory, origin, offset), at)
                some = b.op("and", mask, b.splat(valid, lanes))
                value = b.masked_load(vec_type(elem, lanes), spot, some, self.size)
                rows.append(value if num.pair else cast(b, value, self.source, num.packed))
            turned = transpose(b, rows, 8 * num.unit_bytes)

            def put(i: int) -> None:
                spot = b.at(num.unit, target, b.imul(b.iadd(at, i), self.pitch))
                b.store(turned[i], spot, num.unit_bytes)

            def all_of_them() -> None:
                for i in range(lanes):
                    put(i)

            def some_of_them() -> None:
                for i in range(lanes):
                    with b.when(b.icmp("sgt", left, i)):
                        put(i)

            b.either(b.icmp("sge", left, lanes), all_of_them, some_of_them)

    def merge(self, b: Flow, to: Val, origin: Val, first: Val, count: Val, table: Val) -> None:
        """Packs pixels run by run."""
        w, lanes = self.w, self.lanes
        sparse = b.op("xor", b.op("or", self.dense(b), self.even(b)), b.const("i1", 1))
        self.groups = w["channels"] if self.num.depth == 1 else b.idiv(b.iadd(w["channels"], 1), 2)
        every = b.icmp("sge", self.units, b.imul(self.groups, w["taps"]))
        self.whole = b.op("and", b.icmp("eq", self.at, 0), every)
        with b.loop(0, count, carry=self.place(b, first)) as group:
            lane = b.op("and", group.index, b.i64(lanes - 1))
            room = b.imin(b.isub(lanes, lane), b.isub(count, group.index))
            room = b.select(sparse, b.imin(room, b.isub(w["out_w"], group.values[3])), room)
            runs, place, done = [], group.values, b.i64(0)
            for _ in range(_RUNS):
                n, d, h, ow = place
                length = b.imin(b.isub(w["out_w"], ow), b.isub(room, done))
                start = b.iadd(lane, done)
                done = b.iadd(done, length)
                wanted = b.op("xor", b.lane_mask(start, lanes), b.lane_mask(b.iadd(start, length), lanes))
                image = b.at(self.memory, origin, b.imul(n, w["x_n"]))
                runs.append(_Run(image, self.corner(b, d, h, ow), start, length, wanted))
                after = b.iadd(ow, length)
                ended = b.icmp("eq", after, w["out_w"])
                following = [*self.next_row(b, n, d, h), b.i64(0)]
                place = [b.select(ended, x, y) for x, y in zip(following, (n, d, h, after), strict=True)]
            group.step, group.next = done, place
            target = b.at(self.num.unit, to, b.isub(group.index, lane))
            stored = b.op("xor", b.lane_mask(lane, lanes), b.lane_mask(b.iadd(lane, done), lanes))
            with b.loop(0, w["taps"]) as t:
                tap = b.at("i64", table, b.imul(t.index, TAP_WORDS))
                self.tap(b, runs, t.index, [b.word(tap, i) for i in range(3)], target, stored)

    def tap(self, b: Flow, runs: list[_Run], tap: Val, shift: list[Val], target: Val, stored: Val) -> None:
        """Packs all channels of one tap for a vector of pixels."""
        w = self.w
        first, end, place = b.choose(
            self.whole,
            lambda: [b.i64(0), self.groups, b.imul(tap, w["unit_t"])],
            lambda: list(channel_range(b, tap, w["channels"], w["unit_c"], w["unit_t"], self.at, self.units, self.num)),
        )
        channels = first, end, place
        target = b.at(self.num.unit, target, b.imul(place, self.pitch))
        several = b.icmp("sgt", runs[1].length, 0)
        many = b.icmp("sgt", runs[2].length, 0)

        def some(kind: str, count: int) -> None:
            if count > 1 or kind == "sparse" or self.num.depth > 1:
                self.channels(b, kind, runs[:count], shift, channels, target, stored)
                return
            z, y, x = (b.iadd(v, s) for v, s in zip(runs[0].corner, shift, strict=True))
            inside, line = self.line(b, runs[0].image, z, y, x, first)
            last = b.iadd(x, b.imul(w["step_w"], self.lanes))
            fits = b.op("and", b.icmp("sge", x, 0), b.icmp("sle", last, w["in_w"]))
            fits = b.op("and", b.op("and", fits, inside), b.icmp("eq", runs[0].length, self.lanes))
            b.either(
                fits,
                lambda: self.inner_channels(b, kind, line, channels, target),
                lambda: self.channels(b, kind, runs[:1], shift, channels, target, stored),
            )

        def by_count(kind: str) -> None:
            if kind == "sparse":
                some(kind, 1)
                return
            b.either(
                many,
                lambda: some(kind, _RUNS),
                lambda: b.either(several, lambda: some(kind, 2), lambda: some(kind, 1)),
            )

        self.each_kind(b, by_count)

    def inner_channels(self, b: Flow, kind: str, line: Val, channels: tuple[Val, Val, Val], target: Val) -> None:
        """The loop over channels for a vector of pixels that read nothing but one row of the image."""
        step = b.imul(b.imul(self.w["unit_c"], self.pitch), self.num.unit_bytes)
        with b.loop(channels[0], channels[1], carry=[line, target]) as c:
            at, put = c.values
            b.store(cast(b, self.load_whole(b, kind, at), self.source, self.num.packed), put, self.num.unit_bytes)
            c.next = [b.at(self.memory, at, self.w["x_c"]), b.bytes_at(put, step)]

    def channels(
        self, b: Flow, kind: str, runs: list[_Run], shift: list[Val],
        channels: tuple[Val, Val, Val], target: Val, stored: Val,
    ) -> None:  # fmt: skip
        """The loop over channels for some runs."""
        w, depth, lanes = self.w, self.num.depth, self.lanes
        c0, c1, _ = channels
        step = b.imul(b.imul(w["unit_c"], self.pitch), self.num.unit_bytes)
        channel_step = b.imul(b.imul(w["x_c"], depth), self.size)
        sources = []
        for run in runs:
            z, y, x = (b.iadd(v, s) for v, s in zip(run.corner, shift, strict=True))
            # where lane 0 would read
            x = b.isub(x, b.imul(run.lane, w["step_w"]))
            inside, line = self.line(b, run.image, z, y, x, b.imul(c0, depth))
            sources.append((line, self.fetch(b, kind, x, b.op("and", run.wanted, b.splat(inside, lanes)))))

        def merged(offset: Val, extra: Val) -> Val:
            value = None
            for line, fetch in sources:
                value = fetch(b.bytes_at(line, offset), extra, value)
            assert value is not None
            return value

        with b.loop(c0, c1, carry=[b.i64(0), target]) as c:
            offset, put = c.values
            value = merged(offset, b.const("i1", 1))
            if depth == 2:
                odd = b.icmp("slt", b.iadd(b.imul(c.index, 2), 1), w["channels"])
                after = merged(b.iadd(offset, b.imul(w["x_c"], self.size)), odd)
                wide = vec_type("i32", lanes)
                upper = b.op("shl", b.cast("zext", after, wide), b.const(wide, 16))
                value = b.op("or", b.cast("zext", value, wide), upper)
            else:
                value = cast(b, value, self.source, self.num.packed)
            self.lay(b, value, put, runs[0].lane, stored)
            c.next = [b.iadd(offset, channel_step), b.bytes_at(put, step)]

    def lay(self, b: Flow, value: Val, to: Val, lane: Val, stored: Val) -> None:
        """Stores the lanes ``stored`` of a vector of a panel's unit, the first of which is ``lane``.  Those behind them
        come later or do not count, so that nothing but what lies before has to be kept."""
        size = self.num.unit_bytes
        if self.isa.masks:
            b.masked_store(value, to, stored, size)
            return

        def after() -> None:
            # LLVM would make a masked store of this, which is slow, if it could tell that both read the same
            before = b.new(value.type, f"freeze {b.load(value.type, to, size)}")
            b.store(b.select(stored, value, before), to, size)

        b.either(b.icmp("eq", lane, 0), lambda: b.store(value, to, size), after)


def channel_range(
    b: Flow, tap: Val, channels: Val, unit_c: Val, unit_t: Val, at: Val, units: Val, num: Number
) -> tuple[Val, Val, Val]:
    """The channels (or pairs) [c0, c1) whose unit of ``tap`` lies in [at, at + units), and the place of c0's unit
    after ``at``."""
    groups = channels if num.depth == 1 else b.idiv(b.iadd(channels, 1), 2)
    shift = b.imul(tap, unit_t)

    def upwards(unit: Val) -> Val:
        return b.idiv(b.iadd(b.imax(b.isub(unit, shift), 0), b.isub(unit_c, 1)), unit_c)

    c0 = upwards(at)
    c1 = b.imax(b.imin(groups, upwards(b.iadd(at, units))), c0)
    return c0, c1, b.isub(b.iadd(b.imul(c0, unit_c), shift), at)
