"""Convolutions of single channels with small dense windows: every place of the result from the rows of the image as
they lie, without a copy.

A piece is a plane of the result (a channel of one image).  It is computed in strips of one vector of places by a few
rows: each row of the image under them is loaded once for every column of the window, with masks that are off outside of
the image (what they do not load is zero, as the border is), and added to all rows of the result that it reaches.  For a
step of 2 across the image the loaded elements are taken apart into even and odd ones.  A window of step 1 that has more
factors than there are registers is gone through column by column, so that each factor is read once for all rows.
"""

from __future__ import annotations

from collections.abc import Sequence

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

_WORDS = (
    "chunks", "pool", "pieces", "share", "groups", "rows", "x_n", "x_group", "x_h", "in_h", "in_w", "base_h", "base_w",
    "w_group", "w_row", "c_n", "c_row", "c_h", "c_at", "out_h", "out_w", "taps",
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
    # without registers for masks, elements between those of a step of 2 cost more than packing
    widest = 2 if isa.name == "avx512" else 1
    return window if max(window.high, window.wide) <= _MOST and window.step_w <= widest else None


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
    values = {
        "chunks": chunks, "pool": pool if parallel else 0, "pieces": planes, "share": share,
        "groups": problem.groups, "rows": problem.rows, "x_n": g.strides[0], "x_group": problem.x_group,
        "x_h": g.strides[3], "in_h": g.bounds[1], "in_w": g.bounds[2], "base_h": top, "base_w": left,
        "w_group": problem.w_group, "w_row": problem.w_row, "c_n": c_n, "c_row": c_row, "c_h": c_h,
        "c_at": problem.c_at, "out_h": g.grid[1], "out_w": g.grid[2], "taps": 8 * (len(_WORDS) + len(tail_words)),
    }  # fmt: skip
    return Binding([values[name] for name in _WORDS] + list(tail_words) + offsets, 0)


def window_ir(name: str, spec: ConvSpec, isa: ISA) -> str:
    """The module of the kernel."""
    return _Window(name, spec, isa).text()


class _Window:
    """Writes the functions of the kernel."""

    def __init__(self, name: str, spec: ConvSpec, isa: ISA) -> None:
        assert spec.window is not None
        self.name, self.isa, self.tail, self.window = name, isa, spec.tail, spec.window
        self.elem, self.size = "float", 4
        self.lanes = isa.lanes(self.elem)
        self.vector = vec_type(self.elem, self.lanes)
        self.module = new_module(isa)
        taps = self.window.high * self.window.wide
        # for accumulators, and for the factors of a window where these fit beside them
        registers = isa.registers * 3 // 4
        self.registers = taps + 2 <= registers or (self.window.step_h, self.window.step_w) != (1, 1)
        # where they have none, more rows share what is loaded of the image
        self.block = min(_ROWS, registers - taps) if taps + 2 <= registers else _ROWS

    def text(self) -> str:
        arguments = ["params", "c", "a", "b", *(f"e{i}" for i in range(self.tail.buffers)), "scratch"]
        phases = [("body", self._write_body, "chunks")]
        phased_entry(self.module, self.isa, self.name, arguments, _WORDS, phases)
        return self.module.text()

    def _write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Makes the planes of a chunk."""
        params = b.load("ptr", block, align=8)
        self.w = w = {name: b.word(params, i) for i, name in enumerate(_WORDS)}
        c, weights, image = (b.load("ptr", b.at("i64", block, i), align=8) for i in (1, 2, 3))
        self.extras = [b.load("ptr", b.at("i64", block, 4 + i), align=8) for i in range(self.tail.buffers)]
        self.extras += [b.word(params, len(_WORDS) + i) for i in range(self.tail.words)]
        self.taps = b.bytes_at(params, w["taps"])
        if not self.registers:
            self.zeros = b.alloca(f"[2 x {self.vector}]", align=64)
            for i in range(2):
                b.store(b.const(self.vector, 0), b.at(self.vector, self.zeros, i), 64)
        start = b.imul(chunk, w["share"])
        pixels = b.imul(w["out_h"], w["out_w"])
        with b.loop(start, b.imin(b.iadd(start, w["share"]), w["pieces"])) as piece:
            rest, row = b.idiv(piece.index, w["rows"]), b.imod(piece.index, w["rows"])
            n, group = b.idiv(rest, w["groups"]), b.imod(rest, w["groups"])
            channel = b.iadd(b.imul(group, w["rows"]), row)
            source = b.at(self.elem, image, b.iadd(b.imul(n, w["x_n"]), b.imul(group, w["x_group"])))
            own = b.at(self.elem, weights, b.iadd(b.imul(group, w["w_group"]), b.imul(row, w["w_row"])))
            at = b.iadd(b.iadd(w["c_at"], b.imul(n, w["c_n"])), b.imul(channel, w["c_row"]))
            taps = range(self.window.high * self.window.wide) if self.registers else ()
            factors = [self._factor(b, own, tap) for tap in taps]
            self._plane(b, source, own, factors, b.at(self.elem, c, at), b.imul(n, pixels), row, group)
        b.ret()

    def _plane(
        self, b: Flow, source: Val, own: Val, factors: list[Val], target: Val, first: Val, row: Val, group: Val
    ) -> None:  # fmt: skip
        w, lanes = self.w, self.lanes
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
                        place = b.iadd(y.index, i)

                        def put(acc: Val = acc, place: Val = place) -> None:
                            col = b.iadd(first, b.iadd(b.imul(place, w["out_w"]), v))
                            value = self.tail.emit(b, acc, row, col, group, mask, self.extras.__getitem__)
                            spot = b.at(self.elem, target, b.iadd(b.imul(place, w["c_h"]), v))
                            if mask is None:
                                b.store(value, spot, self.size)
                            else:
                                b.masked_store(value, spot, mask, self.size)

                        if i:
                            with b.when(b.icmp("slt", place, w["out_h"])):
                                put()
                        else:
                            put()

            b.either(
                b.icmp("sge", left, lanes), lambda: strip(None), lambda: strip(b.lane_mask(left, lanes))
            )  # fmt: skip

    def _starts(self) -> list[int]:
        """Where vectors begin that are loaded of a row, from the first element under the strip on."""
        if self.window.step_w == 1:
            return list(range(self.window.wide))
        return [at + half * self.lanes for at in range(0, self.window.wide, 2) for half in range(2)]

    def _masks(self, b: Flow, x0: Val) -> list[Val]:
        """For each of these vectors, which elements lie in the image."""
        return [self._within(b, b.iadd(x0, start)) for start in self._starts()]

    def _within(self, b: Flow, x: Val) -> Val:
        """Which elements of a vector from place ``x`` of a row on lie in the image."""
        places = vec_type("i32", self.lanes)
        at, limit = (b.splat(b.cast("trunc", v, "i32"), self.lanes) for v in (x, self.w["in_w"]))
        return b.cmp("ult", b.add(b.iota(places), at), limit)

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
            accs, mask = j.values, self._within(b, b.iadd(x0, j.index))
            column = [b.masked_load(self.vector, b.at(self.elem, line, j.index), mask, self.size) for line in lines]
            for tap in range(high):
                factor = self._factor(b, own, b.iadd(j.index, tap * wide))
                accs = [multiply_add(b, self.isa, factor, column[i + tap], acc) for i, acc in enumerate(accs)]
            j.next = accs
        return j.values

    def _line(self, b: Flow, source: Val, line: Val, x0: Val) -> Val:
        """Where a strip begins in a row of the image; rows outside of it are read from zeros."""
        there = b.at(self.elem, source, b.iadd(b.imul(line, self.w["x_h"]), x0))
        return b.select(b.icmp("ult", line, self.w["in_h"]), there, self.zeros)

    def _factor(self, b: Flow, own: Val, tap: Val | int) -> Val:
        """A factor of the window in all lanes."""
        at = b.load("i64", b.at("i64", self.taps, tap), align=8)
        return b.splat(b.load(self.elem, b.at(self.elem, own, at), self.size), self.lanes)

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
