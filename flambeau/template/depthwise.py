"""Convolutions of single channels with small dense windows: every place of the result from the rows of the image as
they lie, without a copy.

A piece is a plane of the result (a channel of one image).  It is computed in strips of one vector of places by a few
rows: each row of the image under them is loaded once for every column of the window and added to all rows of the result
that it reaches.  For a step of 2 across the image the loaded elements are taken apart into even and odd ones.  What is
outside of the image is zero:

* Where masks have registers (`_Masked`), every load has one.  A window of step 1 that has more factors than there are
  registers is gone through column by column, so that each factor is read once for all rows.
* Elsewhere (`_Inner`) only strips at the left and right edge load with masks, and rows above and below are passed over.
  The window is gone through in groups of columns whose factors have registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

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
_ROWS = 7
"""Rows of the result that are computed at a time at most."""
_FEWER = 4
"""The same where there are few registers; most networks' images have a multiple of one of these."""

_WORDS = (
    "chunks", "pool", "pieces", "share", "groups", "rows", "x_n", "x_group", "x_h", "in_h", "in_w", "base_h", "base_w",
    "w_group", "w_row", "c_n", "c_row", "c_h", "c_at", "out_h", "out_w", "taps", "last",
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
    values = {
        "chunks": chunks, "pool": pool if parallel else 0, "pieces": planes, "share": share,
        "groups": problem.groups, "rows": problem.rows, "x_n": g.strides[0], "x_group": problem.x_group,
        "x_h": g.strides[3], "in_h": g.bounds[1], "in_w": g.bounds[2], "base_h": top, "base_w": left,
        "w_group": problem.w_group, "w_row": problem.w_row, "c_n": c_n, "c_row": c_row, "c_h": c_h,
        "c_at": problem.c_at, "out_h": g.grid[1], "out_w": wide, "taps": 8 * (len(_WORDS) + len(tail_words)),
        "last": wide - lanes if overlaps else wide,
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

    def save(
        self, b: Flow, accs: list[Val], target: Val, y: Val, x: Val, first: Val, row: Val, group: Val, mask: Val | None
    ) -> None:  # fmt: skip
        """Stores the sums of a strip from row ``y`` and column ``x`` on."""
        w = self.w
        for i, acc in enumerate(accs):
            place = b.iadd(y, i)

            def put(acc: Val = acc, place: Val = place) -> None:
                col = b.iadd(first, b.iadd(b.imul(place, w["out_w"]), x))
                value = self.tail.emit(b, acc, row, col, group, mask, self.extras.__getitem__)
                spot = b.at(self.elem, target, b.iadd(b.imul(place, w["c_h"]), x))
                if mask is None:
                    b.store(value, spot, self.size)
                else:
                    b.masked_store(value, spot, mask, self.size)

            if i:
                with b.when(b.icmp("slt", place, w["out_h"])):
                    put()
            else:
                put()


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
                    self.save(b, accs, target, y.index, v, first, row, group, mask)

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
    """Rows of strips, of which those at the edges load with masks."""

    def __init__(self, name: str, spec: ConvSpec, isa: ISA) -> None:
        super().__init__(name, spec, isa)
        high, wide, _, step = self.window
        # what is loaded and the factors of some columns have registers beside the sums; a load of every other element
        # gives two columns
        room = isa.registers - 2 * step
        self.together = wide if high * wide + _FEWER <= room else min(step, wide)
        self.block = _ROWS if high * self.together + _ROWS <= room else _FEWER

    def start(self, b: Flow) -> None:
        """See `_Window`."""
        self.factors = b.alloca(f"[{self.window.high * self.window.wide} x {self.elem}]")

    def plane(self, b: Flow, source: Val, own: Val, target: Val, first: Val, row: Val, group: Val) -> None:
        """See `_Window`."""
        w, lanes, (high, wide, step_h, step_w) = self.w, self.lanes, self.window
        for tap in range(high * wide):
            b.store(self.factor(b, own, tap), b.at(self.elem, self.factors, tap), self.size)
        deep = (self.block - 1) * step_h + high
        reach = (wide - 1) // step_w * step_w + lanes * step_w
        with b.loop(0, w["out_h"], self.block) as y:
            y0 = b.iadd(b.imul(y.index, step_h), w["base_h"])
            rows = [b.iadd(y0, r) for r in range(deep)]
            lines = [b.at(self.elem, source, b.imul(r, w["x_h"])) for r in rows]
            with b.loop(0, w["out_w"], lanes) as v:
                x = b.imin(v.index, w["last"])
                left, x0 = b.isub(w["out_w"], x), b.iadd(b.imul(x, step_w), w["base_w"])
                inside = b.op("and", b.icmp("sge", x0, 0), b.icmp("sle", b.iadd(x0, reach), w["in_w"]))
                inside = b.op("and", inside, b.icmp("sge", left, lanes))

                def strip(edge: bool, y: Val = y.index, x: Val = x, x0: Val = x0, left: Val = left) -> None:
                    accs = self._sums(b, rows, lines, x0, edge)
                    mask = b.lane_mask(left, lanes) if edge else None
                    self.save(b, accs, target, y, x, first, row, group, mask)

                b.either(inside, lambda: strip(False), lambda: strip(True))

    def _sums(self, b: Flow, rows: list[Val], lines: list[Val], x0: Val, edge: bool) -> list[Val]:
        """The sums of a strip's rows from these rows of the image, at ``lines``, the first column of which is at place
        ``x0``."""
        wide, step_w = self.window.wide, self.window.step_w
        whole = wide // self.together
        accs = [b.const(self.vector, 0)] * self.block
        if whole > 1:  # a loop, before which LLVM cannot load the factors of all groups
            with b.loop(0, whole * self.together, self.together, carry=accs) as at:
                at.next = self._columns(b, rows, lines, b.iadd(x0, at.index), edge, at.index, self.together, at.values)
            accs = at.values
        else:
            accs = self._columns(b, rows, lines, x0, edge, b.i64(0), self.together, accs)
        if wide % self.together:
            first = whole * self.together
            accs = self._columns(b, rows, lines, b.iadd(x0, first), edge, b.i64(first), wide % self.together, accs)
        if step_w == 1:
            return accs
        places = [i // 2 for i in self._every_other()]
        return [b.shuffle(acc, acc, [places.index(i) for i in range(self.lanes)]) for acc in accs]

    def _columns(
        self, b: Flow, rows: list[Val], lines: list[Val], x: Val, edge: bool, first: Val, count: int, accs: list[Val]
    ) -> list[Val]:
        """Adds what some columns of the window from ``first`` on see, which is at place ``x``."""
        high, wide, step, step_w = self.window
        spots = [b.iadd(x, at + half * self.lanes) for at in range(0, count, step_w) for half in range(step_w)]
        signs = [self._signs(b, spot) if edge else None for spot in spots]
        factors = {}
        for i in range(high):
            for j in range(count):
                factor = b.load(self.elem, b.at(self.elem, self.factors, b.iadd(first, i * wide + j)), self.size)
                factors[i, j] = b.splat(factor, self.lanes)

        def added(r: int, accs: list[Val]) -> list[Val]:
            loaded = [
                self._load(b, b.at(self.elem, lines[r], spot), sign) for spot, sign in zip(spots, signs, strict=True)
            ]
            accs = list(accs)
            for j, x in zip(range(count), self._apart(b, loaded), strict=False):
                for i in range(self.block):
                    if 0 <= r - i * step < high:
                        accs[i] = multiply_add(b, self.isa, factors[r - i * step, j], x, accs[i])
            return accs

        for r, row in enumerate(rows):
            accs = b.choose(b.icmp("ult", row, self.w["in_h"]), partial(added, r, accs), partial(list, accs))
        return accs

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
