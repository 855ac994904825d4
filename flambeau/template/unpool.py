"""Elements added to zeros at positions in the planes of an image: the gradient of a pooling by maxima.

    spec = unpool.UnpoolSpec("f32")
    entry(params, out, x, positions, scratch)

A chunk is some planes, or with channels last some channels of an image: it clears its part of the result and adds its
elements one after another, so that what is added to what does not depend on threads.  Positions count the pixels of a
plane; the entry returns 1 if one lies outside.  Strides are any; pixels that are not evenly apart take a slower path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..runtime import engine
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from .conv_problem import single_stride, three
from .flow import Flow, phased_entry
from .gemm import Binding
from .micro import SIZE

__all__ = ["UnpoolSpec", "bind", "kernel_name", "requests"]

_SHARE = 1 << 14
"""Elements of the result and of the operand in a chunk, about 10 us."""
_CHANNELS = 16
"""Channels that a chunk takes at least of an image with channels last."""
_CHUNKS = 16
"""Chunks aimed at with channels last."""
_INDEX_ERROR = 1

_AXES = ("d", "h", "w")

_WORDS = (
    "chunks", "pool", "units", "share", "groups", "channels", "width", "rows", "columns", "area", "clear_rows",
    "clear_columns", "last", "even", *(f"{t}_{s}" for t in "oxp" for s in ("n", "c", "p", *_AXES)),
    "out_h", "out_w", "in_h", "in_w",
)  # fmt: skip


@dataclass(frozen=True)
class UnpoolSpec:
    """What determines the code: f32 or f64."""

    type: str


def kernel_name(spec: UnpoolSpec) -> str:
    """The symbol of the entry."""
    return f"unpool_{spec.type}"


def requests(spec: UnpoolSpec, isa: ISA) -> list[engine.Request]:
    """All code that a launch needs: for ``engine.load_many``."""
    name = kernel_name(spec)
    return [engine.Request(name, f"{name}|{isa.key}", lambda: _Unpool(spec, isa).text(), isa)]


def bind(
    out_shape: Sequence[int], out_strides: Sequence[int], x_shape: Sequence[int], x_strides: Sequence[int],
    p_strides: Sequence[int], pool: int,
) -> Binding:  # fmt: skip
    """The words for images (batch, channels, *spatial)."""
    n, channels, *_ = out_shape
    area, count = math.prod(out_shape[2:]), math.prod(x_shape[2:])
    operands = {"o": (out_shape, out_strides), "x": (x_shape, x_strides), "p": (x_shape, p_strides)}
    steps = {name: single_stride(shape[2:], strides[2:]) for name, (shape, strides) in operands.items()}
    last = out_strides[1] == 1 and channels > 1
    even = None not in steps.values() and (last or steps["o"] == 1)
    # rows of channels are cut only where there are few images, and in whole lines
    groups = min(-(-_CHUNKS // max(n, 1)), -(-channels // _CHANNELS))
    width = min(channels, -(-channels // (groups * _CHANNELS)) * _CHANNELS) if last else 1
    groups = -(-channels // width)
    units, work = n * groups, (area + count) * width
    share = max(1, _SHARE // max(1, work))
    values = {
        "chunks": -(-units // share), "pool": pool if units * work > 2 * _SHARE else 0, "units": units, "share": share,
        "groups": groups, "channels": channels, "width": width, "last": int(last), "even": int(even), "area": area,
        "rows": count if last else 1, "columns": count, "clear_rows": area if last else 1, "clear_columns": area,
        "out_h": three(out_shape[2:], 1)[1], "out_w": three(out_shape[2:], 1)[2],
        "in_h": three(x_shape[2:], 1)[1], "in_w": three(x_shape[2:], 1)[2],
    }  # fmt: skip
    for name, (_, strides) in operands.items():
        numbers = (*strides[:2], steps[name] or 0, *three(strides[2:], 0))
        values |= {f"{name}_{s}": v for s, v in zip(("n", "c", "p", *_AXES), numbers, strict=True)}
    return Binding([values[name] for name in _WORDS], 0)


class _Unpool:
    """Writes the functions of the kernel."""

    def __init__(self, spec: UnpoolSpec, isa: ISA) -> None:
        self.name, self.isa = kernel_name(spec), isa
        self.elem, self.size, self.lanes = LLVM_TYPE[spec.type], SIZE[spec.type], isa.lanes(LLVM_TYPE[spec.type])
        self.vector = vec_type(self.elem, self.lanes)
        self.module = new_module(isa)

    def text(self) -> str:
        """The module."""
        arguments = ("params", "out", "x", "positions", "scratch")
        phases = [("body", self._write_body, "chunks")]
        phased_entry(self.module, self.isa, self.name, arguments, _WORDS, phases)
        return self.module.text()

    def _write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        words, out, x, positions = (b.load("ptr", b.at("i64", block, i), align=8) for i in range(4))
        w = {name: b.word(words, i) for i, name in enumerate(_WORDS)}
        start = b.imul(chunk, w["share"])
        last = b.icmp("ne", w["last"], 0)
        with b.loop(start, b.imin(b.iadd(start, w["share"]), w["units"]), carry=[b.i64(0)]) as unit:
            n, c = b.idiv(unit.index, w["groups"]), b.imul(b.imod(unit.index, w["groups"]), w["width"])
            own = b.imin(w["width"], b.isub(w["channels"], c))

            def part(which: str, base: Val, elem: str, n: Val = n, c: Val = c) -> Val:
                return b.at(elem, base, b.iadd(b.imul(n, w[f"{which}_n"]), b.imul(c, w[f"{which}_c"])))

            to, source, at = part("o", out, self.elem), part("x", x, self.elem), part("p", positions, "i64")

            def evenly(to: Val = to, source: Val = source, at: Val = at, own: Val = own) -> list[Val]:
                self._clear(b, w, to, b.select(last, own, w["clear_columns"]))
                return b.choose(
                    last, lambda: self._channels(b, w, to, source, at, own), lambda: self._plane(b, w, to, source, at)
                )

            def anyhow(to: Val = to, source: Val = source, at: Val = at, own: Val = own) -> list[Val]:
                return self._anyhow(b, w, to, source, at, own)

            (wrong,) = b.choose(b.icmp("ne", w["even"], 0), evenly, anyhow)
            unit.next = [b.op("or", unit.values[0], wrong)]
        with b.when(b.icmp("ne", unit.values[0], 0)):
            b.store(b.i64(_INDEX_ERROR), b.at("i64", block, -1), align=8)
        b.ret()

    def _clear(self, b: Flow, w: dict[str, Val], to: Val, columns: Val) -> None:
        """Sets the result of a chunk to zero: a plane, or some channels of every pixel."""
        zero = b.const(self.vector, 0)
        whole = b.op("and", columns, b.i64(-self.lanes))
        with b.loop(0, w["clear_rows"]) as row:
            line = b.at(self.elem, to, b.imul(row.index, w["o_p"]))
            with b.loop(0, whole, self.lanes) as i:
                b.store(zero, b.at(self.elem, line, i.index), self.size)
            with b.when(b.icmp("ne", whole, columns)):
                mask = b.lane_mask(b.isub(columns, whole), self.lanes)
                b.masked_store(zero, b.at(self.elem, line, whole), mask, self.size)

    def _offset(self, b: Flow, w: dict[str, Val], pixel: Val, which: str) -> Val:
        """Where a pixel lies, counted in the order of rows."""
        high, wide = (w["out_h"], w["out_w"]) if which == "o" else (w["in_h"], w["in_w"])
        row, rest = b.idiv(pixel, wide), b.imod(pixel, wide)
        places = (b.idiv(row, high), b.imod(row, high), rest)
        total = b.i64(0)
        for place, axis in zip(places, _AXES, strict=True):
            total = b.iadd(total, b.imul(place, w[f"{which}_{axis}"]))
        return total

    def _add(self, b: Flow, w: dict[str, Val], to: Val, source: Val, at: Val, step: Val | None) -> Val:
        """Adds one element (``step``: the distance of pixels, None if they have none); returns 1 for a position
        outside, where nothing is written."""
        position = b.load("i64", at, 8)
        inside = b.icmp("ult", position, w["area"])
        with b.when(inside):
            offset = self._offset(b, w, position, "o") if step is None else b.imul(position, step)
            spot = b.at(self.elem, to, offset)
            b.store(b.fadd(b.load(self.elem, spot, self.size), b.load(self.elem, source, self.size)), spot, self.size)
        return b.cast("zext", b.op("xor", inside, b.const("i1", 1)), "i64")

    def _plane(self, b: Flow, w: dict[str, Val], to: Val, source: Val, at: Val) -> list[Val]:
        with b.loop(0, w["columns"], carry=[b.i64(0)]) as i:
            element, position = b.imul(i.index, w["x_p"]), b.imul(i.index, w["p_p"])
            wrong = self._add(b, w, to, b.at(self.elem, source, element), b.at("i64", at, position), b.i64(1))
            i.next = [b.op("or", i.values[0], wrong)]
        return [i.values[0]]

    def _channels(self, b: Flow, w: dict[str, Val], to: Val, source: Val, at: Val, own: Val) -> list[Val]:
        with b.loop(0, w["rows"], carry=[b.i64(0)]) as i:
            line, places = (
                b.at(e, p, b.imul(i.index, w[n])) for e, p, n in ((self.elem, source, "x_p"), ("i64", at, "p_p"))
            )
            with b.loop(0, own, carry=[i.values[0]]) as c:
                element, position = b.imul(c.index, w["x_c"]), b.imul(c.index, w["p_c"])
                wrong = self._add(
                    b, w, b.at(self.elem, to, c.index), b.at(self.elem, line, element), b.at("i64", places, position),
                    w["o_p"],
                )  # fmt: skip
                c.next = [b.op("or", c.values[0], wrong)]
            i.next = [c.values[0]]
        return [i.values[0]]

    def _anyhow(self, b: Flow, w: dict[str, Val], to: Val, source: Val, at: Val, own: Val) -> list[Val]:
        """Any strides, pixel by pixel."""
        zero = b.const(self.elem, 0)
        with b.loop(0, own, carry=[b.i64(0)]) as c:
            base, line, places = (
                b.at(e, p, b.imul(c.index, w[n]))
                for e, p, n in ((self.elem, to, "o_c"), (self.elem, source, "x_c"), ("i64", at, "p_c"))
            )
            with b.loop(0, w["area"]) as i:
                b.store(zero, b.at(self.elem, base, self._offset(b, w, i.index, "o")), self.size)
            with b.loop(0, w["columns"], carry=[c.values[0]]) as i:
                element, position = (self._offset(b, w, i.index, which) for which in "xp")
                wrong = self._add(b, w, base, b.at(self.elem, line, element), b.at("i64", places, position), None)
                i.next = [b.op("or", i.values[0], wrong)]
            c.next = [i.values[0]]
        return [c.values[0]]
