"""The gradient of a convolution by its weights, as a contraction over pixels.

    spec = ConvSpec("f32", "f32", "f32")                      # types of image and output gradient, accumulators, result
    kernel = engine.load(conv_weight.kernel_name(spec), conv_weight.key(spec, isa), ...)
    bound = conv_weight.bind(spec, isa, dw_shape, dw_strides, x_shape, x_strides, dy_shape, dy_strides, stride,
                             padding, dilation, groups, pool, workers)
    entry(params, dw, dy, x, *epilogue buffers, scratch)

To the epilogue a row is an output channel within its group, a batch a group, and a column a tap and channel in
the order of `bind` (so only epilogues that look at rows alone are of use).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ..runtime import engine
from ..target.builder import Val
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from . import conv_direct, winograd_weight
from .blocking import cut_long, part_of
from .contract import Contraction
from .conv_problem import ConvSpec, forward_geometry, single_stride, three
from .epilogue import Epilogue, Plain
from .flow import Flow, function
from .frame import Frame
from .gemm import Binding
from .image import GEOMETRY, TAP_WORDS
from .micro import SIZE, blocking, load_address, micro_kernel, micro_request
from .pack import pack_kernel, pack_request
from .patches import PIXELS, patch_kernel, patch_request
from .words import Words, common_values, scratch_bytes

__all__ = ["bind", "choose", "kernel_name", "key", "make_ir", "requests"]

_WORDS = Words(
    (*GEOMETRY, *PIXELS, "dy_n", "dy_c", "dy_d", "dy_h", "dy_p", "dy_direct", "c_row", "c_c", "c_flat", "c_plain",
     "pack_x"),
)  # fmt: skip


def kernel_name(spec: ConvSpec) -> str:
    """The symbol of the entry."""
    kind = "winogradw" if spec.winograd else f"convw{'d' * spec.direct}"
    return f"{kind}_{spec.source}_{spec.acc}_{spec.out}"


def key(spec: ConvSpec, isa: ISA) -> str:
    """Determines the code."""
    return f"{kernel_name(spec)}|{spec.tail.key}|{isa.key}"


def requests(spec: ConvSpec, isa: ISA) -> list[engine.Request]:
    """All code that a launch needs, the entry first: for ``engine.load_many``."""
    num = spec.number(isa)
    entry = engine.Request(kernel_name(spec), key(spec, isa), partial(make_ir, spec, isa), isa)
    if spec.direct:
        return [entry]
    if spec.winograd:
        return [entry, micro_request(num, isa), pack_request(spec.source, num, isa)]
    packs = [pack_request(spec.source, num, isa), patch_request(spec.source, num, isa, _WORDS.names)]
    return [entry, core_request(spec, isa), micro_request(num, isa), *packs]


def choose(
    spec: ConvSpec,
    isa: ISA,
    dw_shape: Sequence[int],
    dw_strides: Sequence[int],
    x_shape: Sequence[int],
    x_strides: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> ConvSpec:
    """The kernel for this gradient: Winograd's algorithm where it wins."""
    if spec.direct:
        return spec
    g = forward_geometry(x_shape, x_strides, dw_shape, dw_strides, stride, padding, dilation)
    suits = winograd_weight.suits(spec, isa, g, x_shape[0], dw_shape[0], groups, dw_strides)
    return replace(spec, winograd=True) if suits else spec


def bind(
    spec: ConvSpec,
    isa: ISA,
    dw_shape: Sequence[int],
    dw_strides: Sequence[int],
    x_shape: Sequence[int],
    x_strides: Sequence[int],
    dy_shape: Sequence[int],
    dy_strides: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pool: int,
    workers: int,
    epilogue_words: Sequence[int] = (),
) -> Binding:
    """The words for ``dw``, the gradient of ``conv(x, w)`` by w for the gradient dy of its result."""
    tail = spec.tail
    if len(epilogue_words) != tail.words:
        raise ValueError(f"conv_weight: {len(epilogue_words)} epilogue words, the epilogue has {tail.words}")
    g = forward_geometry(x_shape, x_strides, dw_shape, dw_strides, stride, padding, dilation)
    d, h, w = three(dy_strides[2:], 0)
    y_strides = (*dy_strides[:2], d, h, w)
    if spec.direct:
        return conv_direct.bind_weight(
            spec, isa, g, dw_shape, dw_strides, x_shape[0], y_strides, groups, pool, workers, epilogue_words
        )
    if spec.winograd:
        return winograd_weight.bind_winograd_weight(
            spec, isa, g, dw_shape, dw_strides, x_shape[0], y_strides, pool, workers
        )
    num = spec.number(isa)
    blk = blocking(num, isa)
    taps, channels, rows = len(g.taps), g.channels, dw_shape[0] // groups
    offsets = [tap[3] for tap in g.taps]
    # columns with the same tap are gathered together, so taps come first where there are channels enough
    # and pixels enough to outweigh that the result is then stored element by element
    side_by_side = x_strides[1] == 1 and channels >= blk.lanes // 2
    many = channels >= blk.lanes and x_shape[0] * g.pixels >= 4 * rows
    by_tap = taps == 1 or side_by_side or many
    unit_c, unit_t = (1, channels) if by_tap else (taps, 1)
    flat = dw_strides[1] == unit_c and offsets == [unit_t * t for t in range(taps)]
    step = single_stride(g.grid, (d, h, w))
    segment = g.grid[2] if step is None else g.pixels
    segment_units = -(-segment // num.depth)
    units = x_shape[0] * (g.pixels // segment if segment else 0) * segment_units
    m, n = rows, channels * taps
    # rows of the gradient a multiple of a page apart would meet in the same few lines of the first-level cache
    apart = dy_strides[1] * num.unit_bytes % 2048 != 0
    direct = num.depth == 1 and spec.source == num.packed and step == 1 and segment == g.pixels and apart
    direct = direct and part_of(max(segment, 1), 512) >= 128
    plan = cut_long(groups, m, n, units, num, blk, workers, segment if direct else 0)
    values = common_values(plan, (groups,), m, n, units, num, blk, micro_kernel(num, isa, direct), pool) | {
        **g.values(unit_c, unit_t, 8 * (len(_WORDS.names) + tail.words)),
        "problems": 1, "core": load_address(core_request(spec, isa)),
        "segment": segment, "segment_units": segment_units, "turn": pack_kernel(spec.source, num, isa),
        "pack_x": patch_kernel(spec.source, num, isa, _WORDS.names),
        "dy_n": dy_strides[0], "dy_c": dy_strides[1], "dy_d": d, "dy_h": h, "dy_p": w if step is None else step,
        "dy_direct": int(direct),
        "a_2": rows * dy_strides[1], "b_2": channels * x_strides[1], "c_2": rows * dw_strides[0],
        "c_row": dw_strides[0], "c_c": dw_strides[1], "c_flat": int(flat),
        "c_plain": int(flat and isinstance(tail, Plain)),
    }  # fmt: skip
    table = [word for tap in g.taps for word in tap]
    return Binding(_WORDS.pack(values, epilogue_words) + table, scratch_bytes(values, workers))


def make_ir(spec: ConvSpec, isa: ISA) -> str:
    """The LLVM module of the kernel."""
    if spec.direct:
        return conv_direct.weight_ir(kernel_name(spec), spec, isa)
    if spec.winograd:
        return winograd_weight.winograd_weight_ir(kernel_name(spec), spec, isa)
    return _WeightGradient(kernel_name(spec), spec, isa, spec.tail).text()


def core_request(spec: ConvSpec, isa: ISA) -> engine.Request:
    """What the code that all epilogues share asks the engine for."""
    name = kernel_name(spec) + "_core"
    return engine.Request(name, f"{name}|{isa.key}", lambda: _WeightGradient(name, spec, isa, None).core_text(), isa)


class _WeightGradient(Contraction):
    """Output gradient (rows of channels) by patches of the image (columns of taps and channels), over pixels."""

    pack_words = (*PIXELS, "out_d", "out_h", "out_w", "dy_n", "dy_c", "dy_d", "dy_h", "dy_p", "dy_direct", "pack_x")
    store_words = ("c_row", "c_c", "c_flat", "c_plain", "unit_c", "unit_t", "tap_table")

    def __init__(self, name: str, spec: ConvSpec, isa: ISA, tail: Epilogue | None) -> None:
        types = (spec.source, spec.source, spec.out)
        super().__init__(name, types, spec.number(isa), isa, tail, _WORDS)

    def pack(self, b: Flow, f: Frame, is_b: bool, to: Val, matrix: Val, panel: Val, at: Val, units: Val) -> None:
        width, pitch = (self.blk.columns,) * 2 if is_b else (self.blk.rows, self.blk.pitch)
        first = b.imul(panel, width)
        count = b.imin(b.isub(f.n if is_b else f.m, first), width)
        if is_b:
            b.call_address(f.pack_x, to, matrix, f.words, first, count, at, units, b.i64(pitch))
            return
        args = [("ptr", "to"), ("ptr", "from"), ("ptr", "words")]
        args += [("i64", n) for n in ("first", "count", "at", "units", "pitch")]
        pack = function(self.module, self.isa, "gradient", args, self._write_gradient, attributes="noinline")
        b.call_void(pack, to, matrix, f.words, first, count, at, units, b.i64(pitch))

    def direct_a(self, b: Flow, f: Frame, matrix: Val, panel: Val, at: Val) -> tuple[Val, Val, Val, Val] | None:
        """Pixels of the gradient that lie side by side need no packing: blocks of units lie in one image."""
        if self.num.depth != 1 or self.type_a != self.num.packed:
            return None
        size = SIZE[self.type_a]
        offset = b.iadd(b.imul(b.idiv(at, f.segment), f.dy_n), b.imod(at, f.segment))
        offset = b.iadd(offset, b.imul(b.imul(panel, self.blk.rows), f.dy_c))
        where = b.at(LLVM_TYPE[self.type_a], matrix, offset)
        return b.icmp("ne", f.dy_direct, 0), where, b.i64(size), b.imul(f.dy_c, size)

    def in_place(
        self, b: Flow, f: Frame, c: Val, row0: Val, col0: Val, rows: Val, cols: Val
    ) -> tuple[Val, Val, Val] | None:
        if self.type_c != self.num.acc:
            return None
        whole = b.op("and", b.icmp("eq", rows, self.blk.rows), b.icmp("eq", cols, self.blk.columns))
        where = b.at(LLVM_TYPE[self.type_c], c, b.iadd(b.imul(row0, f.c_row), col0))
        return b.op("and", b.icmp("ne", f.c_plain, 0), whole), where, b.imul(f.c_row, SIZE[self.type_c])

    def touch(self, b: Flow, f: Frame, c: Val, row0: Val, col0: Val, rows: Val) -> None:
        elem, size = LLVM_TYPE[self.type_c], SIZE[self.type_c]
        with b.when(b.icmp("ne", f.c_flat, 0)), b.loop(0, rows) as i:
            line = b.at(elem, c, b.iadd(b.imul(b.iadd(row0, i.index), f.c_row), col0))
            for offset in range(0, self.blk.columns * size, 64):
                b.prefetch(b.bytes_at(line, offset), write=True)

    def _write_gradient(
        self, b: Flow, to: Val, origin: Val, words: Val, first: Val, count: Val, at: Val, units: Val, pitch: Val
    ) -> None:
        """Packs pixels of ``count`` channels of the output gradient, segment by segment."""
        w = {name: b.word(words, self.words.index[name]) for name in self.pack_words}
        elem, depth = LLVM_TYPE[self.type_a], self.num.depth
        line = b.at(elem, origin, b.imul(first, w["dy_c"]))
        rows = b.imul(w["out_d"], w["out_h"])
        per_image = b.idiv(b.imul(rows, w["out_w"]), w["segment"])
        with b.loop(0, units) as u:
            unit = b.iadd(at, u.index)
            segment, inside = b.idiv(unit, w["segment_units"]), b.imod(unit, w["segment_units"])
            some = b.imin(b.isub(w["segment_units"], inside), b.isub(units, u.index))
            row = b.imod(segment, per_image)
            offset = b.iadd(b.imul(b.idiv(row, w["out_h"]), w["dy_d"]), b.imul(b.imod(row, w["out_h"]), w["dy_h"]))
            offset = b.iadd(offset, b.imul(b.idiv(segment, per_image), w["dy_n"]))
            pixel = b.imul(inside, depth)
            k = b.imin(b.isub(w["segment"], pixel), b.imul(some, depth))
            origin_k = b.at(elem, line, b.iadd(offset, b.imul(pixel, w["dy_p"])))
            target = b.at(self.num.unit, to, b.imul(u.index, pitch))
            b.call_address(w["turn"], target, origin_k, w["dy_c"], w["dy_p"], count, k, pitch)
            u.step = some
        b.ret()

    def store(
        self, b: Flow, f: Frame, c: Val, row: Val, col: Val, value: Val, left: Val, mask: Val | None, where: list[Val]
    ) -> None:  # fmt: skip
        elem = LLVM_TYPE[self.type_c]
        line = b.at(elem, c, b.imul(row, f.c_row))

        def each() -> None:
            table = b.bytes_at(f.words, f.tap_table)
            by_tap = b.icmp("eq", f.unit_c, 1)
            b.store(value, self.spill, 64)
            with b.loop(0, left) as run:
                place = b.iadd(col, run.index)
                tap = b.select(by_tap, b.idiv(place, f.unit_t), b.imod(place, f.unit_c))
                channel = b.select(by_tap, b.imod(place, f.unit_t), b.idiv(place, f.unit_c))
                offset = b.word(b.at("i64", table, b.imul(tap, TAP_WORDS)), 3)
                to = b.at(elem, line, b.iadd(offset, b.imul(channel, f.c_c)))
                # channels of the same tap are one stride apart
                together = b.imin(b.isub(left, run.index), b.isub(f.unit_t, channel))
                run.step = b.select(by_tap, together, b.i64(1))
                source = b.at(elem, self.spill, run.index)
                with b.loop(0, run.step) as e:
                    one = b.load(elem, b.at(elem, source, e.index), SIZE[self.type_c])
                    b.store(one, b.at(elem, to, b.imul(e.index, f.c_c)), SIZE[self.type_c])

        b.either(b.icmp("ne", f.c_flat, 0), lambda: self.store_vector(b, value, b.at(elem, line, col), mask), each)
