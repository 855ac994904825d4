"""Convolutions of single channels with small dense windows: every place of the result from the rows of the image as
they lie, without a copy.

A piece is a plane of the result (a channel of one image).  It is computed in strips of one vector of places by a few
rows: each row of the image under them is loaded once for every column of the window and added to all rows of the result
that it reaches.  For a step of 2 across the image the loaded elements are taken apart into even and odd ones.  What is
outside of the image is zero:

* Where masks have registers (`_Masked`), every load has one.  A window of step 1 that has more factors than there are
  registers is gone through column by column, so that each factor is read once for all rows.
* Elsewhere (`_Inner`) only strips at the left and right edge load with masks, and rows above and below are passed over.
  Up to three strips side by side go down the image a row at a time, with the sums of all rows of the result that it
  reaches in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..runtime import cpu
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from .conv_problem import ConvSpec, Problem, Window, dense_window
from .flow import Flow, phased_entry
from .gemm import Binding
from .plane import division, multiply_add

__all__ = ["bind_window", "suits", "window_ir"]

_MOST = 7
"""Rows and columns of a window at most."""
_BESIDE = 3
"""Strips side by side at most: so many have enough sums to be added to at the same time."""
_FUNCTION = 6
"""Registers that an epilogue which computes functions wants."""
_AHEAD = 8
"""Rows of the image that are prefetched ahead."""
_BAND = 7
"""Rows of a band at least, in rows of the window."""
_ROWS = 7
"""Rows of the result that are computed at a time at most."""

_WORDS = (
    "chunks", "pool", "pieces", "share", "groups", "rows", "x_n", "x_group", "x_h", "in_h", "in_w", "base_h", "base_w",
    "w_group", "w_row", "c_n", "c_row", "c_h", "c_at", "out_h", "out_w", "taps", "last", "band",
)  # fmt: skip


def suits(spec: ConvSpec, isa: ISA, problems: Sequence[Problem]) -> Window | None:
    """The window of these problems if they are for this kernel."""
    p = problems[0]
    if len(problems) != 1 or not spec.source == spec.acc == spec.out == "f32" or isa.name not in ("avx512", "avx2"):
        return None
    if p.geometry.channels != 1 or p.geometry.strides[4] != 1 or p.c_strides[4] != 1 or p.jump != (1, 1, 1):
        return None
    found = dense_window(p.geometry)
    if found is None:
        return None
    window = found[0]
    return window if max(window.high, window.wide) <= _MOST and window.step_w <= 2 else None


def bind_window(
    spec: ConvSpec, isa: ISA, problem: Problem, pool: int, workers: int, tail_words: Sequence[int]
) -> Binding:
    """The words for a problem that `suits`."""
    g = problem.geometry
    found = dense_window(g)
    assert found is not None
    _, (top, left), offsets = found
    planes = problem.batch * problem.groups * problem.rows
    work = -(-g.grid[2] // 16) * 16 * g.grid[1] * (len(offsets) + 2)
    chunks, share, parallel = division(planes, work)
    c_n, c_row, _, c_h, _ = problem.c_strides
    lanes, wide = isa.lanes("float"), g.grid[2]
    # the last strip overlaps the one before, unless what it stores may be what the epilogue reads
    overlaps = wide >= lanes and not any(tail_words[2::3]) and not isa.masks
    # rows of the result that are made at a time: with what they are made of they stay in the first-level cache, but
    # there are enough of them for those of the image above that every strip begins with
    most = max(_BAND * found[0].high, cpu.cache_sizes().l1 * 3 // 4 // (4 * (g.bounds[2] * g.steps[1] + wide)))
    values = {
        "chunks": chunks, "pool": pool if parallel else 0, "pieces": planes, "share": share,
        "groups": problem.groups, "rows": problem.rows, "x_n": g.strides[0], "x_group": problem.x_group,
        "x_h": g.strides[3], "in_h": g.bounds[1], "in_w": g.bounds[2], "base_h": top, "base_w": left,
        "w_group": problem.w_group, "w_row": problem.w_row, "c_n": c_n, "c_row": c_row, "c_h": c_h,
        "c_at": problem.c_at, "out_h": g.grid[1], "out_w": wide, "taps": 8 * (len(_WORDS) + len(tail_words)),
        "last": wide - lanes if overlaps else wide, "band": -(-g.grid[1] // -(-g.grid[1] // most)) if g.grid[1] else 1,
    }  # fmt: skip
    return Binding([values[name] for name in _WORDS] + list(tail_words) + offsets, 0)


def window_ir(name: str, spec: ConvSpec, isa: ISA) -> str:
    """The module of the kernel."""
    return (_Masked if isa.masks else _Inner)(name, spec, isa).text()


class _Window:
    """Writes the functions of the kernel."""

    def __init__(self, name: str, spec: ConvSpec, isa: ISA) -> None:
        assert spec.window is not None
        self.name, self.isa, self.tail, self.window = name, isa, spec.tail, spec.window
        self.elem, self.size = "float", 4
        self.lanes = isa.lanes(self.elem)
        self.vector = vec_type(self.elem, self.lanes)
        self.module = new_module(isa)

    def text(self) -> str:
        """The module."""
        arguments = ["params", "c", "a", "b", *(f"e{i}" for i in range(self.tail.buffers)), "scratch"]
        phases = [("body", self._write_body, "chunks")]
        phased_entry(self.module, self.isa, self.name, arguments, _WORDS, phases)
        return self.module.text()

    def start(self, b: Flow) -> None:
        """Prepares the work on a chunk."""
        raise NotImplementedError

    def plane(self, b: Flow, source: Val, own: Val, target: Val, first: Val, row: Val, group: Val) -> None:
        """Makes a plane at ``target`` of that at ``source`` and the factors at ``own``; ``first`` is the number of its
        first place among those of all images."""
        raise NotImplementedError

    def _write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Makes the planes of a chunk."""
        params = b.load("ptr", block, align=8)
        self.w = w = {name: b.word(params, i) for i, name in enumerate(_WORDS)}
        c, weights, image = (b.load("ptr", b.at("i64", block, i), align=8) for i in (1, 2, 3))
        self.extras = [b.load("ptr", b.at("i64", block, 4 + i), align=8) for i in range(self.tail.buffers)]
        self.extras += [b.word(params, len(_WORDS) + i) for i in range(self.tail.words)]
        self.taps = b.bytes_at(params, w["taps"])
        self.start(b)
        start = b.imul(chunk, w["share"])
        pixels = b.imul(w["out_h"], w["out_w"])
        with b.loop(start, b.imin(b.iadd(start, w["share"]), w["pieces"])) as piece:
            rest, row = b.idiv(piece.index, w["rows"]), b.imod(piece.index, w["rows"])
            n, group = b.idiv(rest, w["groups"]), b.imod(rest, w["groups"])
            channel = b.iadd(b.imul(group, w["rows"]), row)
            source = b.at(self.elem, image, b.iadd(b.imul(n, w["x_n"]), b.imul(group, w["x_group"])))
            own = b.at(self.elem, weights, b.iadd(b.imul(group, w["w_group"]), b.imul(row, w["w_row"])))
            at = b.iadd(b.iadd(w["c_at"], b.imul(n, w["c_n"])), b.imul(channel, w["c_row"]))
            self.plane(b, source, own, b.at(self.elem, c, at), b.imul(n, pixels), row, group)
        b.ret()

    def factor(self, b: Flow, own: Val, tap: Val | int) -> Val:
        """A factor of the window."""
        at = b.load("i64", b.at("i64", self.taps, tap), align=8)
        return b.load(self.elem, b.at(self.elem, own, at), self.size)

    def within(self, b: Flow, x: Val) -> Val:
        """Which elements of a vector from place ``x`` of a row on lie in the image."""
        places = vec_type("i32", self.lanes)
        at, limit = (b.splat(b.cast("trunc", v, "i32"), self.lanes) for v in (x, self.w["in_w"]))
        return b.cmp("ult", b.add(b.iota(places), at), limit)

    def put(self, b: Flow, acc: Val, spot: Val, col: Val, row: Val, group: Val, mask: Val | None) -> None:
        """Stores sums at ``spot``, the first of which is number ``col`` of its plane through all images."""
        value = self.tail.emit(b, acc, row, col, group, mask, self.extras.__getitem__)
        if mask is None:
            b.store(value, spot, self.size)
        else:
            b.masked_store(value, spot, mask, self.size)


class _Masked(_Window):
    """All loads with masks, strip by strip from top to bottom."""

    def __init__(self, name: str, spec: ConvSpec, isa: ISA) -> None:
        super().__init__(name, spec, isa)
        taps = self.window.high * self.window.wide
        # for accumulators, and for the factors of a window where these fit beside them
        registers = isa.registers * 3 // 4
        self.registers = taps + 2 <= registers or (self.window.step_h, self.window.step_w) != (1, 1)
        # where they have none, more rows share what is loaded of the image
        self.block = min(_ROWS, registers - taps) if taps + 2 <= registers else _ROWS

    def start(self, b: Flow) -> None:
        """See `_Window`."""
        if not self.registers:
            self.zeros = b.alloca(f"[2 x {self.vector}]", align=64)
            for i in range(2):
                b.store(b.const(self.vector, 0), b.at(self.vector, self.zeros, i), 64)

    def plane(self, b: Flow, source: Val, own: Val, target: Val, first: Val, row: Val, group: Val) -> None:
        """See `_Window`."""
        w, lanes = self.w, self.lanes
        taps = range(self.window.high * self.window.wide) if self.registers else ()
        factors = [self._splat(b, own, tap) for tap in taps]
        with b.loop(0, w["out_w"], lanes) as v:
            left = b.isub(w["out_w"], v.index)
            x0 = b.iadd(b.imul(v.index, self.window.step_w), w["base_w"])
            masks = self._masks(b, x0)

            def strip(mask: Val | None, v: Val = v.index, x0: Val = x0, masks: list[Val] = masks) -> None:
                with b.loop(0, w["out_h"], self.block) as y:
                    if self.registers:
                        accs = self._sums(b, source, factors, y.index, x0, masks)
                    else:
                        accs = self._sums_by_column(b, source, own, y.index, x0)
                    for i, acc in enumerate(accs):
                        with b.when(b.icmp("slt", b.iadd(y.index, i), w["out_h"])):
                            place = b.iadd(y.index, i)
                            spot = b.at(self.elem, target, b.iadd(b.imul(place, w["c_h"]), v))
                            col = b.iadd(first, b.iadd(b.imul(place, w["out_w"]), v))
                            self.put(b, acc, spot, col, row, group, mask)

            b.either(
                b.icmp("sge", left, lanes), lambda: strip(None), lambda: strip(b.lane_mask(left, lanes))
            )  # fmt: skip

    def _splat(self, b: Flow, own: Val, tap: Val | int) -> Val:
        return b.splat(self.factor(b, own, tap), self.lanes)

    def _starts(self) -> list[int]:
        """Where vectors begin that are loaded of a row, from the first element under the strip on."""
        if self.window.step_w == 1:
            return list(range(self.window.wide))
        return [at + half * self.lanes for at in range(0, self.window.wide, 2) for half in range(2)]

    def _masks(self, b: Flow, x0: Val) -> list[Val]:
        """For each of these vectors, which elements lie in the image."""
        return [self.within(b, b.iadd(x0, start)) for start in self._starts()]

    def _sums(self, b: Flow, source: Val, factors: list[Val], y: Val, x0: Val, masks: list[Val]) -> list[Val]:
        """The sums of a strip's rows from ``y`` on."""
        high, wide, step = self.window.high, self.window.wide, self.window.step_h
        accs: list[Val | None] = [None] * self.block
        y0 = b.iadd(b.imul(y, step), self.w["base_h"])
        for r in range((self.block - 1) * step + high):
            line = b.iadd(y0, r)
            values = self._row(b, source, line, x0, masks)
            for j in range(wide):
                for i in range(self.block):
                    tap = r - i * step
                    if 0 <= tap < high:
                        x, acc, factor = values[j], accs[i], factors[tap * wide + j]
                        accs[i] = b.fmul(factor, x) if acc is None else multiply_add(b, self.isa, factor, x, acc)
        return [acc for acc in accs if acc is not None]

    def _sums_by_column(self, b: Flow, source: Val, own: Val, y: Val, x0: Val) -> list[Val]:
        """The same for a step of 1 where factors have no registers: column by column of the window, whose factors are
        read once for all rows."""
        high, wide = self.window.high, self.window.wide
        y0 = b.iadd(y, self.w["base_h"])
        lines = [self._line(b, source, b.iadd(y0, r), x0) for r in range(self.block - 1 + high)]
        with b.loop(0, wide, carry=[b.const(self.vector, 0)] * self.block) as j:
            accs, mask = j.values, self.within(b, b.iadd(x0, j.index))
            column = [b.masked_load(self.vector, b.at(self.elem, line, j.index), mask, self.size) for line in lines]
            for tap in range(high):
                factor = self._splat(b, own, b.iadd(j.index, tap * wide))
                accs = [multiply_add(b, self.isa, factor, column[i + tap], acc) for i, acc in enumerate(accs)]
            j.next = accs
        return j.values

    def _line(self, b: Flow, source: Val, line: Val, x0: Val) -> Val:
        """Where a strip begins in a row of the image; rows outside of it are read from zeros."""
        there = b.at(self.elem, source, b.iadd(b.imul(line, self.w["x_h"]), x0))
        return b.select(b.icmp("ult", line, self.w["in_h"]), there, self.zeros)

    def _row(self, b: Flow, source: Val, line: Val, x0: Val, masks: list[Val]) -> list[Val]:
        """What the columns of the window see of a row of the image."""
        w = self.w
        inside = b.icmp("ult", line, w["in_h"])
        at = b.at(self.elem, source, b.iadd(b.imul(line, w["x_h"]), x0))
        off = b.const(masks[0].type, 0)
        loaded = [
            b.masked_load(self.vector, b.at(self.elem, at, start), b.select(inside, mask, off), self.size)
            for start, mask in zip(self._starts(), masks, strict=True)
        ]
        if self.window.step_w == 1:
            return loaded
        found = []
        for pair in range(0, len(loaded), 2):
            for odd in range(2):
                found.append(b.shuffle(loaded[pair], loaded[pair + 1], range(odd, 2 * self.lanes, 2)))
        return found[: self.window.wide]


class _Inner(_Window):
    """Strips from top to bottom of a band of rows, some side by side, of which those at the edges load with masks.  A
    row of the image is loaded once for all rows of the result that it reaches, whose sums are in registers."""

    def __init__(self, name: str, spec: ConvSpec, isa: ISA) -> None:
        super().__init__(name, spec, isa)
        high, _, step_h, step_w = self.window
        self.alive = (high - 1) // step_h + 1
        # besides their sums, strips side by side want registers for what is loaded and for a factor
        room = isa.registers - 2 - (0 if self.tail.straight else _FUNCTION)
        self.beside = max(1, min(_BESIDE, room // (self.alive + step_w)))

    def start(self, b: Flow) -> None:
        """See `_Window`."""
        self.factors = b.alloca(f"[{self.window.high * self.window.wide} x {self.vector}]", align=64)

    def plane(self, b: Flow, source: Val, own: Val, target: Val, first: Val, row: Val, group: Val) -> None:
        """See `_Window`."""
        w, lanes, (high, wide, _, step_w) = self.w, self.lanes, self.window
        # a loop, so that LLVM cannot keep them as values: it would spill them to addresses that are not aligned
        with b.loop(0, high * wide) as tap:
            factor = b.splat(self.factor(b, own, tap.index), lanes)
            b.store(factor, b.at(self.vector, self.factors, tap.index), self.lanes * self.size)
        reach = (wide - 1) // step_w * step_w + lanes * step_w
        with b.loop(0, w["out_h"], w["band"]) as band, b.loop(0, w["out_w"]) as v:

            def strips(count: int, v: Val = v.index, band: Val = band.index) -> None:
                places = [b.imin(b.iadd(v, i * lanes), w["last"]) for i in range(count)]
                starts = [b.iadd(b.imul(x, step_w), w["base_w"]) for x in places]
                left = b.isub(w["out_w"], places[-1])
                inside = b.op("and", b.icmp("sge", starts[0], 0), b.icmp("sle", b.iadd(starts[-1], reach), w["in_w"]))
                inside = b.op("and", inside, b.icmp("sge", left, lanes))

                def down(edge: bool) -> None:
                    signs = [[self._signs(b, b.iadd(x, at)) for at in self._spots()] for x in starts] if edge else None
                    masks = [b.lane_mask(b.isub(w["out_w"], x), lanes) if edge else None for x in places]

                    def save(accs: list[Val], y: Val, line: Val) -> None:
                        for acc, x, mask in zip(accs, places, masks, strict=True):
                            col = b.iadd(first, b.iadd(b.imul(y, w["out_w"]), x))
                            self.put(b, acc, b.at(self.elem, line, x), col, row, group, mask)

                    self._down(b, source, target, band, starts, signs, save)

                b.either(inside, lambda: down(False), lambda: down(True))

            # rather two and two than three and one
            left = b.idiv(b.iadd(b.isub(w["out_w"], v.index), lanes - 1), lanes)
            some = b.select(
                b.icmp("eq", left, self.beside + 1), b.i64((self.beside + 2) // 2), b.imin(left, self.beside)
            )
            v.step = b.imul(some, lanes)

            def choose(count: int, some: Val = some) -> None:
                if count == 1:
                    strips(1)
                else:
                    b.either(b.icmp("eq", some, count), lambda: strips(count), lambda: choose(count - 1))

            choose(self.beside)

    def _spots(self) -> list[int]:
        """Where vectors begin that are loaded of a row, from the first element under a strip on."""
        step = self.window.step_w
        return [at + half * self.lanes for at in range(0, self.window.wide, step) for half in range(step)]

    def _down(
        self, b: Flow, source: Val, target: Val, band: Val, starts: list[Val], signs: list[list[Val]] | None,
        save: Callable[[list[Val], Val, Val], None],
    ) -> None:  # fmt: skip
        """Makes the rows of the result of the band from row ``band`` on in strips whose first columns are at ``starts``
        in the image; with ``signs`` (see `_signs`) for what is loaded of each.  `save` gets the sums of a row, its
        number and where it begins."""
        (high, _, step, _), count, zero = self.window, len(starts), b.const(self.vector, 0)
        new = range(max(0, high - step), high)  # the rows of a window that the one above does not have
        before = -(-new.start // step)
        w, above = self.w, b.isub(band, before)
        top = b.iadd(w["base_h"], b.imul(above, step))
        start = b.at(self.elem, source, b.imul(b.iadd(top, new.start), w["x_h"]))
        result = b.at(self.elem, target, b.imul(w["c_h"], above))
        sums = [zero] * (count * (self.alive - 1))
        end = b.imin(b.iadd(band, w["band"]), w["out_h"])
        with b.loop(above, end, carry=[start, result, top, *sums]) as y:
            line, result, top, *accs = y.values
            accs += [zero] * count
            for i in new:
                add = partial(self._add, b, line, starts, signs, i, accs)
                accs = b.choose(b.icmp("ult", b.iadd(top, i), w["in_h"]), add, partial(list, accs))
                line = b.at(self.elem, line, w["x_h"])
            done = self._in_order(b, accs[:count])
            with b.when(b.icmp("sge", y.index, band)):
                save(done, y.index, result)
            if step > high:
                line = b.at(self.elem, line, b.imul(w["x_h"], step - high))
            y.next = [line, b.at(self.elem, result, w["c_h"]), b.iadd(top, step), *accs[count:]]

    def _add(
        self, b: Flow, line: Val, starts: list[Val], signs: list[list[Val]] | None, i: int, accs: list[Val]
    ) -> list[Val]:
        """Adds what a row of the image, the ``i``-th of the first sum's window, gives to the sums of each row of the
        result that it reaches, strip by strip."""
        (high, wide, step, step_w), spots, accs = self.window, self._spots(), list(accs)
        below = b.at(self.elem, line, b.imul(self.w["x_h"], _AHEAD))
        for start in starts:
            b.prefetch(b.at(self.elem, below, start))
        for first in range(0, wide, step_w):
            columns = []
            for n, start in enumerate(starts):
                loaded = []
                for at in range(first, first + step_w):
                    place = b.at(self.elem, line, b.iadd(start, spots[at]))
                    loaded.append(self._load(b, place, None if signs is None else signs[n][at]))
                columns.append(self._apart(b, loaded))
            for j in range(first, min(first + step_w, wide)):
                for k in range(self.alive):
                    tap = i - k * step
                    if not 0 <= tap < high:
                        continue
                    place = b.at(self.vector, self.factors, tap * wide + j)
                    factor = b.load(self.vector, place, self.lanes * self.size)
                    for n in range(len(starts)):
                        at = k * len(starts) + n
                        accs[at] = multiply_add(b, self.isa, factor, columns[n][j - first], accs[at])
        return accs

    def _in_order(self, b: Flow, accs: list[Val]) -> list[Val]:
        """Sums for a step of 2, which come in the order of `_every_other`, in that of their places."""
        if self.window.step_w == 1:
            return accs
        places = [i // 2 for i in self._every_other()]
        return [b.shuffle(acc, acc, [places.index(i) for i in range(self.lanes)]) for acc in accs]

    def _signs(self, b: Flow, x: Val) -> Val:
        """Numbers that are negative where a vector from place ``x`` of a row on lies in the image: what a masked load
        looks at, where a vector of truth values would be made anew for each."""
        places = vec_type("i32", self.lanes)
        at, limit = (b.splat(b.cast("trunc", v, "i32"), self.lanes) for v in (x, self.w["in_w"]))
        place = b.add(b.iota(places), at)
        return b.op("and", b.sub(place, limit), b.op("xor", place, b.const(places, -1)))

    def _load(self, b: Flow, at: Val, signs: Val | None) -> Val:
        if signs is None:
            return b.load(self.vector, at, self.size)
        return b.masked_load(self.vector, at, b.cmp("slt", signs, b.const(signs.type, 0)), self.size)

    def _every_other(self) -> list[int]:
        """The even ones of two vectors' elements in the order that takes one instruction: within 128 bits."""
        part = 16 // self.size
        return [at + i for at in range(0, self.lanes, part) for v in (0, self.lanes) for i in range(v, v + part, 2)]

    def _apart(self, b: Flow, loaded: list[Val]) -> list[Val]:
        """What the columns see of what was loaded for them; for a step of 2 in the order of `_every_other`."""
        if self.window.step_w == 1:
            return loaded
        even = self._every_other()
        return [
            b.shuffle(loaded[i], loaded[i + 1], [e + odd for e in even])
            for i in range(0, len(loaded), 2) for odd in range(2)
        ]  # fmt: skip
