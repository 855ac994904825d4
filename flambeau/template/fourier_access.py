"""How Fourier transforms read and write the points of a strip (``fourier.py``): the words that say where they are, and
the functions that bring them into a buffer and back."""

from __future__ import annotations

from collections.abc import Callable

from ..target.builder import Module, Val, vec_type
from ..target.isa import ISA
from ..target.turn import transpose
from .butterfly import Pair
from .flow import Flow, function

__all__ = [
    "ALONE", "COLUMNS", "FIXES", "FOLDED", "HEAD", "I64", "MAX_PASSES", "MAX_RANK", "PART", "PLANES", "PTR", "ROWS",
    "SCATTERED", "Access",
]  # fmt: skip

I64, PTR = "i64", "ptr"
ALONE = -1 << 62
MAX_RANK = 5  # dimensions over which lines lie
MAX_PASSES = 20
COLUMNS, ROWS, PLANES, SCATTERED, FOLDED = range(5)
"""How the points of a strip lie: complex numbers side by side across the lines; complex numbers (or pairs of real ones)
side by side along them; real numbers side by side across the lines; anyhow; or as the first, but of the spectrum of
real numbers, of which the second half is not there: it is the conjugate of the first, backwards."""
FIXES = ("none", "spread", "mirror", "separate")
"""What is done besides the passes: even and odd points are joined from half of a spectrum, or the spectrum is
completed, before them; or even and odd points are separated after them."""

HEAD = (
    "chunks",  # of the first part
    "pool",
    "later",  # chunks of the second part, 0 if there is none or a chunk does both
    "groups",  # of lines that are in the temporary memory together
    "each",  # lines of a group
    "lines",
    "space",  # bytes of scratch memory of a worker
    "room",  # bytes of a buffer
    "temporary",  # where the temporary memory begins, in a worker's scratch memory if a chunk does both parts
    "both",  # whether it does
    "grain",  # strips (lines, where a chunk does both parts) of a chunk of the first part
    "grain_later",
)
PART = (
    "points",
    "have",  # points that are read
    "made",  # points that are written
    "inner",  # lines that strips are made of
    "strips",
    "rank",
    "linear",  # whether the lines of a strip step evenly
    *(f"size{d}" for d in range(MAX_RANK)),
    *(f"in{d}" for d in range(MAX_RANK)),
    *(f"out{d}" for d in range(MAX_RANK)),
    "in_step",  # from point to point, and from the real to the imaginary part (ALONE: there is none), in numbers
    "in_other",
    "out_step",
    "out_other",
    "load",
    "store",
    "in_temporary",  # from line to line in the temporary memory, where that is read; 0 otherwise
    "out_temporary",
    "in_swap",  # whether real and imaginary parts are exchanged
    "out_swap",
    "scale",  # of the real and of the imaginary parts: bits of a double
    "scale_other",
    "fix",
    "sign",  # by which imaginary parts are multiplied before even and odd points are joined
    "roots",  # where in the table the factors of the even and odd points are
    "twist",  # and those between the parts, -1 if there are none
    "passes",
    *(f"{name}{k}" for k in range(MAX_PASSES) for name in ("radix", "near", "far", "factors", "cosines")),
)


class Access:
    """Writes the functions of one kernel that move points, and what all of them need."""

    def __init__(self, module: Module, isa: ISA, name: str, real: str) -> None:
        self.module, self.isa, self.name, self.real = module, isa, name, real
        self.size = 4 if real == "float" else 8
        self.lanes = isa.lanes(real)
        self.vector = vec_type(real, self.lanes)

    def function(self, name: str, args: list[str], write: Callable[..., None]) -> str:
        """Arguments in capitals are pointers, others are i64."""
        typed = [(PTR if a.isupper() else I64, a) for a in args]
        return function(self.module, self.isa, f"{self.name}.{name}", typed, write, attributes="noinline")

    def word(self, b: Flow, part: Val, name: str) -> Val:
        """One word of a part's table, by its name."""
        return b.word(part, PART.index(name))

    # -- numbers in memory -------------------------------------------------------------------------
    def place(self, b: Flow, base: Val, index: Val | int) -> Val:
        """The address of a number."""
        return b.at(self.real, base, index)

    def point(self, b: Flow, buffer: Val, index: Val | int) -> Val:
        """The address of a point in a buffer."""
        return self.place(b, buffer, b.imul(index, 2 * self.lanes))

    def get(self, b: Flow, point: Val) -> Pair:
        """The point at an address: real parts, imaginary parts."""
        full = self.lanes * self.size
        return b.load(self.vector, point, full), b.load(self.vector, self.place(b, point, self.lanes), full)

    def put(self, b: Flow, value: Pair, point: Val) -> None:
        """Writes a point to an address."""
        full = self.lanes * self.size
        b.store(value[0], point, full)
        b.store(value[1], self.place(b, point, self.lanes), full)

    def broadcast(self, b: Flow, place: Val) -> Val:
        """One number of memory in every lane."""
        return b.splat(b.load(self.real, place, self.size), self.lanes)

    def factor(self, b: Flow, place: Val) -> Pair:
        """A complex number of the table, in all lanes."""
        return self.broadcast(b, place), self.broadcast(b, self.place(b, place, 1))

    def swapped(self, b: Flow, flag: Val) -> tuple[Val, Val]:
        """Where in a point the real and the imaginary parts are."""
        real = b.imul(flag, self.lanes)
        return real, b.isub(self.lanes, real)

    # -- reading and writing -----------------------------------------------------------------------
    def _masks(self, b: Flow, width: Val) -> tuple[Val, Val, Val]:
        """Lanes of the first ``width`` numbers, and of as many pairs of numbers in two vectors."""
        twice = b.imul(width, 2)
        return tuple(b.lane_mask(n, self.lanes) for n in (width, twice, b.isub(twice, self.lanes)))  # type: ignore[return-value]

    def load_across(self, planes: bool) -> str:
        """``load(part, source, buffer, width)``: points whose lines lie side by side."""

        def write(b: Flow, part: Val, source: Val, buffer: Val, width: Val) -> None:
            have, step, other, swap = (self.word(b, part, n) for n in ("have", "in_step", "in_other", "in_swap"))
            real_at, imag_at = self.swapped(b, swap)

            def run(masks: tuple[Val, Val, Val] | None) -> None:
                def read(place: Val, which: int) -> Val:
                    if masks is None:
                        return b.load(self.vector, place, self.size)
                    return b.masked_load(self.vector, place, masks[which], self.size)

                with b.loop(0, have) as i:
                    p, q = self.place(b, source, b.imul(i.index, step)), self.point(b, buffer, i.index)
                    if planes:
                        real = read(p, 0)
                        imag = b.choose(
                            b.icmp("eq", other, ALONE),
                            lambda: [b.const(self.vector, 0)],
                            lambda: [read(self.place(b, p, other), 0)],
                        )[0]
                    else:
                        x, y = read(p, 1), read(self.place(b, p, self.lanes), 2)
                        real, imag = (b.shuffle(x, y, range(k, 2 * self.lanes, 2)) for k in (0, 1))
                    b.store(real, self.place(b, q, real_at), self.lanes * self.size)
                    b.store(imag, self.place(b, q, imag_at), self.lanes * self.size)

            b.either(b.icmp("eq", width, self.lanes), lambda: run(None), lambda: run(self._masks(b, width)))
            b.ret()

        return self.function(f"load_{'planes' if planes else 'columns'}", ["PART", "SOURCE", "BUFFER", "width"], write)

    def store_across(self, planes: bool) -> str:
        """``store(part, buffer, target, width)``: the opposite."""

        def write(b: Flow, part: Val, buffer: Val, target: Val, width: Val) -> None:
            made, step, other, swap = (self.word(b, part, n) for n in ("made", "out_step", "out_other", "out_swap"))
            places, scales = self.swapped(b, swap), self.scales(b, part)

            def run(masks: tuple[Val, Val, Val] | None) -> None:
                def keep(value: Val, place: Val, which: int) -> None:
                    if masks is None:
                        b.store(value, place, self.size)
                    else:
                        b.masked_store(value, place, masks[which], self.size)

                with b.loop(0, made) as i:
                    p = self.place(b, target, b.imul(i.index, step))
                    real, imag = self.scaled(b, self.point(b, buffer, i.index), places, scales)
                    if planes:
                        keep(real, p, 0)
                        with b.when(b.icmp("ne", other, ALONE)):
                            keep(imag, self.place(b, p, other), 0)
                    else:
                        order = [k + j * self.lanes for k in range(self.lanes) for j in range(2)]
                        keep(b.shuffle(real, imag, order[: self.lanes]), p, 1)
                        keep(b.shuffle(real, imag, order[self.lanes :]), self.place(b, p, self.lanes), 2)

            b.either(b.icmp("eq", width, self.lanes), lambda: run(None), lambda: run(self._masks(b, width)))
            b.ret()

        return self.function(f"store_{'planes' if planes else 'columns'}", ["PART", "BUFFER", "TARGET", "width"], write)

    def scales(self, b: Flow, part: Val) -> Pair:
        """The two factors of the result, each in every lane."""
        found = []
        for name in ("scale", "scale_other"):
            number = b.cast("bitcast", self.word(b, part, name), "double")
            found.append(b.splat(b.cast("fptrunc", number, self.real), self.lanes))
        return found[0], found[1]

    def scaled(self, b: Flow, point: Val, places: tuple[Val, Val], scales: Pair) -> Pair:
        """The real and the imaginary part of a result."""
        x, y = (b.load(self.vector, self.place(b, point, at), self.lanes * self.size) for at in places)
        return b.fmul(x, scales[0]), b.fmul(y, scales[1])

    def _backwards(self, b: Flow, width: Val) -> tuple[Val, Val]:
        """The masks of pairs of numbers in two vectors, of the last ``width`` lanes."""
        least = b.splat(b.cast("trunc", b.imul(b.isub(self.lanes, width), 2), "i32"), self.lanes)
        numbers = b.iota(vec_type("i32", self.lanes))
        later = b.op("add", numbers, b.const(numbers.type, self.lanes))
        return b.cmp("sge", numbers, least), b.cmp("sge", later, least)

    def _folded(self, b: Flow, base: Val, i: Val, count: Val, step: Val, first: Val) -> Val:
        """Where the conjugates of the i-th points of a strip are, that of its last lane first."""
        back = b.iadd(b.imul(first, 4), 2 * (self.lanes - 1))
        return self.place(b, base, b.isub(b.imul(b.isub(count, i), step), back))

    def load_folded(self) -> str:
        """``load_folded(part, source, buffer, width, first)``: the lines of a strip from ``first`` on."""

        def write(b: Flow, part: Val, source: Val, buffer: Val, width: Val, first: Val) -> None:
            have, step, swap = (self.word(b, part, n) for n in ("have", "in_step", "in_swap"))
            places, half = self.swapped(b, swap), b.idiv(b.iadd(have, 1), 2)

            def run(start: Val | int, stop: Val, masks: tuple[Val, Val], folded: bool) -> None:
                order = [2 * self.lanes - 2 - k if folded else k for k in range(0, 2 * self.lanes, 2)]
                with b.loop(start, stop) as i:
                    if folded:
                        p = self._folded(b, source, i.index, have, step, first)
                    else:
                        p = self.place(b, source, b.imul(i.index, step))
                    x = b.masked_load(self.vector, p, masks[0], self.size)
                    y = b.masked_load(self.vector, self.place(b, p, self.lanes), masks[1], self.size)
                    real, imag = b.shuffle(x, y, order), b.shuffle(x, y, [k + 1 for k in order])
                    for value, at in zip((real, b.fneg(imag) if folded else imag), places):
                        b.store(value, self.place(b, self.point(b, buffer, i.index), at), self.lanes * self.size)

            run(0, half, self._masks(b, width)[1:], False)
            run(half, have, self._backwards(b, width), True)
            b.ret()

        return self.function("load_folded", ["PART", "SOURCE", "BUFFER", "width", "first"], write)

    def store_folded(self) -> str:
        """``store_folded(part, buffer, target, width, first)``: the opposite."""

        def write(b: Flow, part: Val, buffer: Val, target: Val, width: Val, first: Val) -> None:
            made, step, swap = (self.word(b, part, n) for n in ("made", "out_step", "out_swap"))
            places, scales, half = self.swapped(b, swap), self.scales(b, part), b.idiv(b.iadd(made, 1), 2)

            def run(start: Val | int, stop: Val, masks: tuple[Val, Val], folded: bool) -> None:
                lanes = range(self.lanes)[:: -1 if folded else 1]
                order = [k + j * self.lanes for k in lanes for j in range(2)]
                with b.loop(start, stop) as i:
                    if folded:
                        p = self._folded(b, target, i.index, made, step, first)
                    else:
                        p = self.place(b, target, b.imul(i.index, step))
                    real, imag = self.scaled(b, self.point(b, buffer, i.index), places, scales)
                    imag = b.fneg(imag) if folded else imag
                    b.masked_store(b.shuffle(real, imag, order[: self.lanes]), p, masks[0], self.size)
                    later = self.place(b, p, self.lanes)
                    b.masked_store(b.shuffle(real, imag, order[self.lanes :]), later, masks[1], self.size)

            run(0, half, self._masks(b, width)[1:], False)
            run(half, made, self._backwards(b, width), True)
            b.ret()

        return self.function("store_folded", ["PART", "BUFFER", "TARGET", "width", "first"], write)

    def starts(self, b: Flow, base: Val, offsets: Val) -> list[Val]:
        """The addresses of the lines."""
        return [self.place(b, base, b.word(offsets, k)) for k in range(self.lanes)]

    def _blocks(self, b: Flow, points: Val, run: Callable[[Val, Val | None], None]) -> None:
        """``run(first point, mask of the numbers of a line)`` for blocks of half as many points as lanes."""
        step = self.lanes // 2
        whole = b.imul(b.idiv(points, step), step)
        with b.loop(0, whole, step) as i:
            run(i.index, None)
        with b.when(b.icmp("slt", whole, points)):
            run(whole, b.lane_mask(b.imul(b.isub(points, whole), 2), self.lanes))

    def load_rows(self) -> str:
        """``load_rows(part, source, offsets, buffer)``: points that follow each other in every line."""

        def write(b: Flow, part: Val, source: Val, offsets: Val, buffer: Val) -> None:
            lines = self.starts(b, source, offsets)
            places = self.swapped(b, self.word(b, part, "in_swap"))

            def run(first: Val, mask: Val | None) -> None:
                at = [self.place(b, line, b.imul(first, 2)) for line in lines]
                if mask is None:
                    rows = [b.load(self.vector, p, self.size) for p in at]
                else:
                    rows = [b.masked_load(self.vector, p, mask, self.size) for p in at]
                for k, column in enumerate(transpose(b, rows, 8 * self.size)):
                    point = self.point(b, buffer, b.iadd(first, k // 2))
                    b.store(column, self.place(b, point, places[k % 2]), self.lanes * self.size)

            self._blocks(b, self.word(b, part, "have"), run)
            b.ret()

        return self.function("load_rows", ["PART", "SOURCE", "OFFSETS", "BUFFER"], write)

    def store_rows(self) -> str:
        """``store_rows(part, buffer, target, offsets)``: the opposite."""

        def write(b: Flow, part: Val, buffer: Val, target: Val, offsets: Val) -> None:
            lines = self.starts(b, target, offsets)
            places, scales = self.swapped(b, self.word(b, part, "out_swap")), self.scales(b, part)

            def run(first: Val, mask: Val | None) -> None:
                columns: list[Val] = []
                for k in range(self.lanes // 2):
                    columns += self.scaled(b, self.point(b, buffer, b.iadd(first, k)), places, scales)
                # The lanes behind the last line have its address: it is written after them.
                for line, row in reversed(list(zip(lines, transpose(b, columns, 8 * self.size)))):
                    p = self.place(b, line, b.imul(first, 2))
                    if mask is None:
                        b.store(row, p, self.size)
                    else:
                        b.masked_store(row, p, mask, self.size)

            self._blocks(b, self.word(b, part, "made"), run)
            b.ret()

        return self.function("store_rows", ["PART", "BUFFER", "TARGET", "OFFSETS"], write)

    def load_scattered(self) -> str:
        """``load_scattered(part, source, offsets, buffer, width)``: numbers one by one."""

        def write(b: Flow, part: Val, source: Val, offsets: Val, buffer: Val, width: Val) -> None:
            have, step, other, swap = (self.word(b, part, n) for n in ("have", "in_step", "in_other", "in_swap"))
            real_at, imag_at = self.swapped(b, swap)
            with b.when(b.icmp("slt", width, self.lanes)), b.loop(0, have) as i:
                zero = b.const(self.vector, 0)
                self.put(b, (zero, zero), self.point(b, buffer, i.index))
            single, zero = b.icmp("eq", other, ALONE), b.const(self.real, 0)
            second = b.select(single, b.i64(0), other)
            with b.loop(0, width) as lane:
                line = self.place(b, source, b.load(I64, b.at(I64, offsets, lane.index), 8))
                with b.loop(0, have) as i:
                    p = self.place(b, line, b.imul(i.index, step))
                    q = self.place(b, self.point(b, buffer, i.index), lane.index)
                    imag = b.select(single, zero, b.load(self.real, self.place(b, p, second), self.size))
                    b.store(b.load(self.real, p, self.size), self.place(b, q, real_at), self.size)
                    b.store(imag, self.place(b, q, imag_at), self.size)
            b.ret()

        return self.function("load_scattered", ["PART", "SOURCE", "OFFSETS", "BUFFER", "width"], write)

    def store_scattered(self) -> str:
        """``store_scattered(part, buffer, target, offsets, width)``: the opposite."""

        def write(b: Flow, part: Val, buffer: Val, target: Val, offsets: Val, width: Val) -> None:
            made, step, other, swap = (self.word(b, part, n) for n in ("made", "out_step", "out_other", "out_swap"))
            places, scales = self.swapped(b, swap), [b.extract(s, 0) for s in self.scales(b, part)]
            with b.loop(0, width) as lane:
                line = self.place(b, target, b.load(I64, b.at(I64, offsets, lane.index), 8))
                with b.loop(0, made) as i:
                    p = self.place(b, line, b.imul(i.index, step))
                    q = self.place(b, self.point(b, buffer, i.index), lane.index)
                    real, imag = (
                        b.fmul(b.load(self.real, self.place(b, q, at), self.size), scale)
                        for at, scale in zip(places, scales)
                    )
                    b.store(real, p, self.size)
                    with b.when(b.icmp("ne", other, ALONE)):
                        b.store(imag, self.place(b, p, other), self.size)
            b.ret()

        return self.function("store_scattered", ["PART", "BUFFER", "TARGET", "OFFSETS", "width"], write)
