"""Packing for convolutions: panels of pixels, with the kernel's taps and the channels as inner dimension, and of weights.

Nothing is unrolled into memory ("im2col") but a block that stays in the second-level cache.  The image's values are
zero outside its bounds.  A *problem* is described by words (`GEOMETRY`) and a table of taps; units of the inner
dimension are numbered ``unit_c * channel + unit_t * tap``, where with pairs two channels count as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from ..runtime import engine
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from .flow import Flow, function
from .micro import SIZE, Number

__all__ = ["GEOMETRY", "TAP_WORDS", "Geometry", "image_kernel", "image_request"]

GEOMETRY = (
    "x_n", "x_c", "x_d", "x_h", "x_w",  # strides of the image in elements
    "in_d", "in_h", "in_w",  # its bounds
    "out_d", "out_h", "out_w",  # the grid of pixels
    "step_d", "step_h", "step_w",  # distance of pixels in the image
    "base_d", "base_h", "base_w",  # place of the first pixel
    "channels", "taps", "unit_c", "unit_t",
    "tap_table",  # byte offset of the table from the problem's words
)  # fmt: skip

TAP_WORDS = 4
"""Words of a tap: its offset in depth, height and width, and its offset in the weights."""


@dataclass(frozen=True)
class Geometry:
    """The words of `GEOMETRY` but for the table's place, and the table."""

    strides: tuple[int, int, int, int, int]
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
        numbers = (*self.strides, *self.bounds, *self.grid, *self.steps, *self.base)
        numbers = (*numbers, self.channels, len(self.taps), unit_c, unit_t, table)
        return dict(zip(GEOMETRY, numbers, strict=True))


def image_request(source: str, num: Number, isa: ISA, words: Sequence[str]) -> engine.Request:
    """What `image_kernel` asks the engine for."""
    name = f"image_{source}_{num.code}"

    def make() -> str:
        module = new_module(isa)
        args = [("ptr noalias", "to"), ("ptr", "from"), ("ptr", "words")]
        args += [("i64", n) for n in ("first", "count", "at", "units", "pitch")]
        function(module, isa, name, args, _ImagePacker(source, num, isa, words).write, linkage="")
        return module.text()

    return engine.Request(name, f"{name}|{isa.key}", make, isa)


@cache
def image_kernel(source: str, num: Number, isa: ISA, words: tuple[str, ...]) -> int:
    """The address of the packing function of pixels:

    ``image(ptr to, ptr from, ptr words, i64 first, i64 count, i64 at, i64 units, i64 pitch)``

    packs units [at, at + units) of ``count`` pixels from number ``first`` on (over all images).
    """
    request = image_request(source, num, isa, words)
    return engine.load(*request).address(request.name)


class _ImagePacker:
    """Writes the packing function.

    A panel's pixels fall into runs within a row of the grid.  For every run and tap the valid lanes are found once; then
    the channels follow in a tight loop.
    """

    def __init__(self, source: str, num: Number, isa: ISA, words: Sequence[str]) -> None:
        self.source, self.num, self.isa = source, num, isa
        self.index = {name: words.index(name) for name in GEOMETRY}
        self.memory, self.size = LLVM_TYPE[source], SIZE[source]
        self.lanes = isa.lanes(num.unit)

    def write(
        self, b: Flow, to: Val, origin: Val, words: Val, first: Val, count: Val, at: Val, units: Val, pitch: Val
    ) -> None:
        self.to, self.at, self.units, self.pitch = to, at, units, pitch
        self.w = {name: b.word(words, i) for name, i in self.index.items()}
        w = self.w
        table = b.bytes_at(words, w["tap_table"])
        row_pixels = b.imul(w["out_h"], w["out_w"])
        image, rest = b.idiv(first, b.imul(w["out_d"], row_pixels)), b.imod(first, b.imul(w["out_d"], row_pixels))
        place = [
            image,
            b.idiv(rest, row_pixels),
            b.idiv(b.imod(rest, row_pixels), w["out_w"]),
            b.imod(rest, w["out_w"]),
        ]
        with b.loop(0, count, carry=place) as run:
            n, d, h, ow = run.values
            length = b.imin(b.isub(w["out_w"], ow), b.isub(count, run.index))
            source = b.at(self.memory, origin, b.imul(n, w["x_n"]))
            z, y, x = (b.iadd(b.imul(i, w[f"step_{a}"]), w[f"base_{a}"]) for i, a in ((d, "d"), (h, "h"), (ow, "w")))
            with b.loop(0, w["taps"]) as t:
                tap = b.at("i64", table, b.imul(t.index, TAP_WORDS))
                self.tap(
                    b, source, run.index, length, t.index, *(b.iadd(v, b.word(tap, i)) for i, v in enumerate((z, y, x)))
                )
            # the next run starts a row
            run.step = length
            h_next = b.iadd(h, 1)
            over = b.icmp("sge", h_next, w["out_h"])
            d_next = b.iadd(d, b.cast("zext", over, "i64"))
            deep = b.icmp("sge", d_next, w["out_d"])
            n_next = b.iadd(n, b.cast("zext", deep, "i64"))
            zero = b.i64(0)
            run.next = [n_next, b.select(deep, zero, d_next), b.select(over, zero, h_next), zero]
        b.ret()

    def channel_range(self, b: Flow, tap: Val) -> tuple[Val, Val, Val]:
        """First and last-but-one channel (or pair) of a tap among the units wanted, and the panel row of the first."""
        w = self.w
        return channel_range(b, tap, w["channels"], w["unit_c"], w["unit_t"], self.at, self.units, self.num)

    def tap(self, b: Flow, source: Val, lane: Val, length: Val, tap: Val, z: Val, y: Val, x: Val) -> None:
        """Packs all channels of one tap for one run."""
        w, lanes = self.w, self.lanes
        c0, c1, row = self.channel_range(b, tap)
        count = b.isub(c1, c0)
        to = b.at(self.num.unit, self.to, b.iadd(b.imul(row, self.pitch), lane))
        step = b.imul(b.imul(w["unit_c"], self.pitch), self.num.unit_bytes)
        inside = b.op("and", b.icmp("ult", z, w["in_d"]), b.icmp("ult", y, w["in_h"]))
        offset = b.iadd(b.imul(z, w["x_d"]), b.imul(y, w["x_h"]))
        offset = b.iadd(offset, b.iadd(b.imul(x, w["x_w"]), b.imul(b.imul(c0, self.num.depth), w["x_c"])))
        line = b.at(self.memory, source, offset)
        stride = b.imul(w["step_w"], w["x_w"])
        even = b.op("and", b.icmp("eq", w["step_w"], 2), b.icmp("eq", w["x_w"], 1))
        places = vec_type("i32", lanes)
        with b.loop(0, length, lanes) as v:
            wanted = b.lane_mask(b.isub(length, v.index), lanes)
            begin = b.at(self.memory, line, b.imul(v.index, stride))
            target = b.at(self.num.unit, to, v.index)

            def within(start: Val, step: Val) -> Val:
                """Which of the places start, start + step ... lie in the row."""
                scaled = b.mul(b.iota(places), b.splat(b.cast("trunc", step, "i32"), lanes))
                spots = b.add(scaled, b.splat(b.cast("trunc", start, "i32"), lanes))
                return b.cmp("ult", spots, b.splat(b.cast("trunc", w["in_w"], "i32"), lanes))

            def copy(fetch: Callable[[Val, Val], Val]) -> None:
                """Loops over channels; ``fetch(pointer, extra)`` loads a vector, with nothing where not ``extra``."""
                channel_step = b.imul(b.imul(w["x_c"], self.num.depth), self.size)
                with b.loop(c0, c1, carry=[begin, target]) as c:
                    at, put = c.values
                    value = fetch(at, b.const("i1", 1))
                    if self.num.depth == 2:
                        odd = b.icmp("slt", b.iadd(b.imul(c.index, 2), 1), w["channels"])
                        after = fetch(b.at(self.memory, at, w["x_c"]), odd)
                        wide = vec_type("i32", lanes)
                        upper = b.op("shl", b.cast("zext", after, wide), b.const(wide, 16))
                        value = b.op("or", b.cast("zext", value, wide), upper)
                    else:
                        value = cast(b, value, self.source, self.num.packed)
                    b.masked_store(value, put, wanted, self.num.unit_bytes)
                    c.next = [b.bytes_at(at, channel_step), b.bytes_at(put, step)]

            def both(mask: Val, extra: Val) -> Val:
                return mask if extra.name == "true" else b.op("and", mask, b.splat(extra, lanes))

            def dense() -> None:
                type_ = vec_type(self.memory, lanes)
                mask = b.op("and", wanted, within(b.iadd(x, v.index), b.i64(1)))
                copy(lambda at, extra: b.masked_load(type_, at, both(mask, extra), self.size))

            def every_other() -> None:
                type_ = vec_type(self.memory, lanes)
                start = b.iadd(x, b.imul(v.index, 2))
                masks = [within(b.iadd(start, part * lanes), b.i64(1)) for part in range(2)]

                def fetch(at: Val, extra: Val) -> Val:
                    low, high = (
                        b.masked_load(type_, b.at(self.memory, at, part * lanes), both(masks[part], extra), self.size)
                        for part in range(2)
                    )
                    return b.shuffle(low, high, range(0, 2 * lanes, 2))

                copy(fetch)

            def sparse() -> None:
                type_ = vec_type(self.memory, lanes)
                mask = b.op("and", wanted, within(b.iadd(x, b.imul(v.index, w["step_w"])), w["step_w"]))
                long = vec_type("i64", lanes)
                offsets = b.mul(b.iota(long), b.splat(stride, lanes))
                pointers = vec_type("ptr", lanes)

                def fetch(at: Val, extra: Val) -> Val:
                    spots = b.new(pointers, f"getelementptr {self.memory}, {at}, {offsets}")
                    return b.masked_gather(type_, spots, both(mask, extra), self.size)

                copy(fetch)

            def nothing() -> None:
                zero = b.const(vec_type(self.num.unit, lanes), 0)
                with b.loop(0, count, carry=[target]) as c:
                    b.masked_store(zero, c.values[0], wanted, self.num.unit_bytes)
                    c.next = [b.bytes_at(c.values[0], step)]

            def something() -> None:
                b.either(b.icmp("eq", stride, 1), dense, lambda: b.either(even, every_other, sparse))

            b.either(inside, something, nothing)


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
